//! What binds a sign-in to the browser that began it.
//!
//! Nothing is kept here for it: a cookie holds a random seed, and all that is asked of the provider and
//! expected back (`state`, `nonce`, the PKCE verifier) follows from the seed and a key that never leaves
//! this process. Whoever has begun a thousand has cost nothing, and nobody finishes what another browser
//! began (RFC 6749, 10.12; RFC 7636; OIDC Core, 15.5.2).

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use dbt_core::digest::Digest;
use dbt_core::name::ToolName;
use dbt_core::secret::Secret;
use ring::hmac;

/// How long somebody has to sign in at the provider.
pub(super) const TIME: Duration = Duration::from_mins(10);

const SEED_BYTES: usize = 32;

/// Begins sign-ins, and knows them again.
pub struct Attempts {
    /// Nothing where there is no randomness: then nobody signs in.
    key: Option<hmac::Key>,
}

impl Default for Attempts {
    fn default() -> Self {
        let mut key = [0; SEED_BYTES];
        let is_random = getrandom::fill(&mut key).is_ok();
        Self { key: is_random.then(|| hmac::Key::new(hmac::HMAC_SHA256, &key)) }
    }
}

/// A sign-in that a browser has begun.
pub(super) struct Attempt {
    /// What the provider sends back as it came.
    pub(super) state: String,
    /// What has to be in the ID token.
    pub(super) nonce: String,
    /// What shows at the end that it was begun here.
    pub(super) verifier: Secret<String>,
    /// The page to which it leads; without a tool, the first one.
    pub(super) tool: Option<ToolName>,
}

impl Attempt {
    /// Returns what the provider is shown of the verifier at first (RFC 7636, 4.2).
    pub(super) fn challenge(&self) -> String {
        let digest = Digest::of(self.verifier.expose().as_bytes());
        URL_SAFE_NO_PAD.encode(digest.as_bytes())
    }
}

impl Attempts {
    /// Begins one that leads to the page of a tool; returns it with what its cookie holds. Nothing where
    /// there is no randomness.
    pub(super) fn begin(
        &self,
        tool: Option<&ToolName>,
        now: SystemTime,
    ) -> Option<(Attempt, String)> {
        let key = self.key.as_ref()?;
        let mut seed = [0; SEED_BYTES];
        getrandom::fill(&mut seed).ok()?;
        let seed = URL_SAFE_NO_PAD.encode(seed);
        let until = seconds(now + TIME);
        let name = tool.map_or("", ToolName::as_str);
        let mark = derived(key, "cookie", &format!("{seed}.{until}.{name}"));
        Some((attempt(key, &seed, tool.cloned()), format!("{seed}.{until}.{mark}.{name}")))
    }

    /// Returns the one that a browser's cookie is of, if the provider's answer belongs to it.
    pub(super) fn resume(&self, cookie: &str, state: &str, now: SystemTime) -> Option<Attempt> {
        let key = self.key.as_ref()?;
        let mut parts = cookie.splitn(4, '.');
        let (seed, until, mark, name) =
            (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        if !is(key, "cookie", &format!("{seed}.{until}.{name}"), mark)
            || !is(key, "state", seed, state)
        {
            return None;
        }
        if until.parse::<u64>().ok()? <= seconds(now) {
            return None;
        }
        let tool = if name.is_empty() { None } else { Some(name.parse().ok()?) };
        Some(attempt(key, seed, tool))
    }
}

fn attempt(key: &hmac::Key, seed: &str, tool: Option<ToolName>) -> Attempt {
    Attempt {
        state: derived(key, "state", seed),
        nonce: derived(key, "nonce", seed),
        verifier: Secret::new(derived(key, "verifier", seed)),
        tool,
    }
}

/// Returns what follows from a text for one use of it. 32 bytes are 43 letters, as many as a verifier has
/// at least (RFC 7636, 4.1).
fn derived(key: &hmac::Key, usage: &str, text: &str) -> String {
    URL_SAFE_NO_PAD.encode(hmac::sign(key, message(usage, text).as_bytes()))
}

/// Says whether something is what follows from a text, in the same time whatever it is.
fn is(key: &hmac::Key, usage: &str, text: &str, shown: &str) -> bool {
    URL_SAFE_NO_PAD
        .decode(shown)
        .is_ok_and(|mark| hmac::verify(key, message(usage, text).as_bytes(), &mark).is_ok())
}

fn message(usage: &str, text: &str) -> String {
    format!("{usage}\0{text}")
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> SystemTime {
        UNIX_EPOCH + Duration::from_hours(500_000)
    }

    #[test]
    fn an_attempt_is_known_again_by_its_cookie_and_its_state() {
        let attempts = Attempts::default();
        let tool: ToolName = "my.tool".parse().unwrap();
        let (begun, cookie) = attempts.begin(Some(&tool), now()).unwrap();
        let resumed = attempts.resume(&cookie, &begun.state, now()).unwrap();
        assert_eq!(resumed.tool, Some(tool));
        assert_eq!((resumed.nonce, resumed.state), (begun.nonce, begun.state));
        assert_eq!(resumed.verifier, begun.verifier);
        assert_eq!(begun.verifier.expose().len(), 43);
        assert!(!cookie.contains(begun.verifier.expose()), "the cookie holds no secret of it");
    }

    #[test]
    fn nothing_else_is_known_again() {
        let attempts = Attempts::default();
        let (begun, cookie) = attempts.begin(None, now()).unwrap();
        let (other, other_cookie) = attempts.begin(None, now()).unwrap();
        let resume = |cookie: &str, state: &str, at| attempts.resume(cookie, state, at).is_some();
        assert!(resume(&cookie, &begun.state, now()));
        assert!(!resume(&cookie, &other.state, now()), "the state of another browser");
        assert!(!resume(&other_cookie, &begun.state, now()), "the cookie of another browser");
        assert!(!resume(&cookie, "", now()) && !resume("", &begun.state, now()));
        assert!(!resume(&cookie, &begun.nonce, now()), "a nonce is no state");
        assert!(!resume(&cookie, &begun.state, now() + TIME), "too late");
        assert!(!resume(&format!("{cookie}evil"), &begun.state, now()), "another page");
        let later = cookie.replacen("1800000600", "1800009999", 1);
        assert_ne!(later, cookie);
        assert!(!resume(&later, &begun.state, now() + TIME), "a time that was put off");
        assert!(Attempts::default().resume(&cookie, &begun.state, now()).is_none(), "a new key");
    }
}
