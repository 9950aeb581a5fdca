//! What a provider or a server gave: the token that is shown, how it is renewed, how long it is good.

use std::time::{Duration, SystemTime};

use dbt_core::secret::Secret;

use super::claims::UnverifiedClaims;

/// How long a token is good that says nothing about it, as the reference has it (wire formats,
/// 2.3). A server that refuses it earlier is shown another.
const USUAL_LIFETIME: Duration = Duration::from_hours(1);

/// The longest that a token is kept, whatever it says of itself.
const LONGEST_LIFETIME: Duration = Duration::from_hours(24 * 366);

/// The longest token that is sent: servers take no longer headers.
const TOKEN_LIMIT: usize = 32 * 1024;

/// Says whether some text can be a token: it can stand in a header, and is not empty.
pub(crate) fn is_token(text: &Secret<String>) -> bool {
    let bytes = text.expose().as_bytes();
    (1..=TOKEN_LIMIT).contains(&bytes.len()) && bytes.iter().all(u8::is_ascii_graphic)
}

/// What was given, and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tokens {
    /// What the server is shown, as `Authorization: Bearer`.
    pub token: Secret<String>,
    /// What gets the next one, where there is such.
    pub refresh_token: Option<Secret<String>>,
    /// When it came, by this machine's clock.
    pub received: SystemTime,
    /// Until when it is good, by this machine's clock; nothing where it ends only when it is
    /// revoked.
    pub expires: Option<SystemTime>,
}

impl Tokens {
    /// Takes a token that is good until it is revoked: one of a server's own, which somebody gave.
    pub fn without_end(token: Secret<String>, received: SystemTime) -> Self {
        Self { token, refresh_token: None, received, expires: None }
    }

    /// Takes a token whose giver says how many seconds it is good for; nothing, or zero, stands for
    /// an hour. What the token says of itself counts where that is less.
    pub fn for_seconds(token: Secret<String>, seconds: Option<u64>, received: SystemTime) -> Self {
        let said = seconds.filter(|seconds| *seconds > 0).map(Duration::from_secs);
        let own = UnverifiedClaims::of(&token).and_then(|claims| lifetime(&claims, received));
        let lifetime = said.into_iter().chain(own).min().unwrap_or(USUAL_LIFETIME);
        let expires = received.checked_add(lifetime.min(LONGEST_LIFETIME));
        Self { token, refresh_token: None, received, expires }
    }

    /// Returns the same with what gets the next one.
    #[must_use]
    pub fn renewed_by(mut self, refresh_token: Option<Secret<String>>) -> Self {
        self.refresh_token = refresh_token;
        self
    }
}

/// Returns how long a token that came now is good, as it says itself.
///
/// One that has ended by this machine's clock, and has just been given, tells that the clock is
/// wrong: then its whole life counts from now.
fn lifetime(claims: &UnverifiedClaims, now: SystemTime) -> Option<Duration> {
    let expires = claims.time("exp")?;
    let whole = claims.time("iat").and_then(|issued| expires.duration_since(issued).ok());
    match expires.duration_since(now) {
        Ok(left) if !left.is_zero() => Some(whole.map_or(left, |whole| whole.min(left))),
        _ => whole,
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;

    use super::*;

    fn jwt(claims: &str) -> Secret<String> {
        let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
        Secret::new(format!("{}.{}.{}", part("{}"), part(claims), part("x")))
    }

    fn good_for(claims: &str, seconds: Option<u64>) -> u64 {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(10_000);
        let tokens = Tokens::for_seconds(jwt(claims), seconds, now);
        tokens.expires.unwrap().duration_since(now).unwrap().as_secs()
    }

    #[test]
    fn the_lesser_of_what_its_giver_and_the_token_say_counts() {
        assert_eq!(good_for(r#"{"iat": 10000, "exp": 10300}"#, Some(900)), 300);
        assert_eq!(good_for(r#"{"iat": 10000, "exp": 20000}"#, Some(900)), 900);
        assert_eq!(good_for(r#"{"exp": 10100}"#, None), 100);
        assert_eq!(good_for("{}", Some(900)), 900);
    }

    #[test]
    fn what_nobody_says_anything_about_is_good_for_an_hour() {
        for claims in ["{}", "[]", "no object", r#"{"exp": "soon"}"#, r#"{"exp": -1}"#] {
            assert_eq!(good_for(claims, None), 3600, "{claims}");
            assert_eq!(good_for(claims, Some(0)), 3600, "{claims}");
        }
    }

    #[test]
    fn where_this_clock_is_wrong_a_token_lives_as_long_as_elsewhere() {
        // The provider's clock is an hour behind, or this one an hour ahead.
        assert_eq!(good_for(r#"{"iat": 6400, "exp": 6700}"#, None), 300);
        // This one is behind: the end seems further away than it is.
        assert_eq!(good_for(r#"{"iat": 13600, "exp": 13900}"#, None), 300);
        assert_eq!(good_for(r#"{"iat": 10000, "exp": 18446744073709551615}"#, Some(60)), 60);
    }
}
