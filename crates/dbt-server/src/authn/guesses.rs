//! How often somebody may guess: by the name that is tried, and by the address from which.
//!
//! Wrong credentials slow down further ones and lock nobody out. Who comes from elsewhere does not
//! notice, what was right lately never waits, and who waits is judged in the end or told when to
//! come again. What one address makes us compute, or ask a directory, is bounded.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ring::hmac;
use tokio::time::{Instant, sleep};

use super::rate::{Rate, Rates, make_room, network};
use super::{BadCredential, Credential};
use crate::limits;

/// What was guessed lately.
pub struct Guesses {
    // Random, so that what is remembered is worth nothing outside this process.
    key: hmac::Key,
    state: Mutex<State>,
}

struct State {
    names: Rates<Mark>,
    networks: Rates<IpAddr>,
    right: HashMap<Mark, Instant>,
    wrong: HashMap<Mark, Instant>,
}

/// What stands for a credential, or a name, in memory; it leads back to neither.
type Mark = [u8; 32];

/// A credential that may be a guess.
struct Guess {
    credential: Mark,
    name: Mark,
    network: IpAddr,
    counted: bool,
}

/// A credential that is being judged. What came of it must be said; otherwise it goes on counting.
#[must_use]
pub struct Turn<'a> {
    guesses: &'a Guesses,
    guess: Option<Guess>,
}

impl Guesses {
    /// Nothing was guessed yet.
    pub fn new() -> Self {
        let mut key = [0; 32];
        // Without randomness the marks still never leave this process.
        let _zero_is_as_good = getrandom::fill(&mut key);
        let names = Rates::new(Rate {
            at_once: limits::GUESSES_OF_NAME,
            every: limits::GUESS_OF_NAME_EVERY,
        });
        let networks = Rates::new(Rate {
            at_once: limits::GUESSES_OF_ADDRESS,
            every: limits::GUESS_OF_ADDRESS_EVERY,
        });
        let (right, wrong) = (HashMap::new(), HashMap::new());
        Self {
            key: hmac::Key::new(hmac::HMAC_SHA256, &key),
            state: Mutex::new(State { names, networks, right, wrong }),
        }
    }

    /// Waits until a credential may be judged, or says why it is not.
    pub async fn turn(
        &self,
        credential: &Credential,
        peer: IpAddr,
    ) -> Result<Turn<'_>, BadCredential> {
        // Nobody guesses a signature.
        if credential.is_signed_token() {
            return Ok(Turn { guesses: self, guess: None });
        }
        let mut guess = self.guess(credential, network(peer));
        let wait = self.reserve(&mut guess)?;
        if !wait.is_zero() {
            sleep(wait).await;
        }
        Ok(Turn { guesses: self, guess: Some(guess) })
    }

    /// Counts a guess, and returns how long it has to wait.
    fn reserve(&self, guess: &mut Guess) -> Result<Duration, BadCredential> {
        let now = Instant::now();
        let mut state = self.state();
        if remembers(&state.right, &guess.credential, now) {
            return Ok(Duration::ZERO);
        }
        let by_name = state.names.wait(&guess.name, now);
        let wait = by_name.max(state.networks.wait(&guess.network, now));
        // A program that repeats itself learns nothing, and must not keep others waiting.
        if !wait.is_zero() && remembers(&state.wrong, &guess.credential, now) {
            return Err(BadCredential::default().noting("it was wrong a moment ago"));
        }
        if wait > limits::LONGEST_TURN {
            let noted = if by_name.is_zero() { "from this address" } else { "of this name" };
            return Err(BadCredential::too_many(wait)
                .noting(format!("not looked at: too many credentials {noted} were wrong")));
        }
        state.names.take(guess.name, now);
        state.networks.take(guess.network, now);
        guess.counted = true;
        Ok(wait)
    }

    fn guess(&self, credential: &Credential, network: IpAddr) -> Guess {
        let (kind, user, secret) = match credential {
            Credential::Bearer(token) => ("bearer", "", token),
            Credential::Basic { user, password } => ("basic", user.as_str(), password),
            Credential::SshToken(token) => ("token", "", token),
        };
        let address = network.to_string();
        let whole = [kind.as_bytes(), user.as_bytes(), secret.expose().as_bytes()];
        let name = [address.as_bytes(), kind.as_bytes(), user.as_bytes()];
        Guess { credential: self.mark(&whole), name: self.mark(&name), network, counted: false }
    }

    fn mark(&self, parts: &[&[u8]]) -> Mark {
        let mut context = hmac::Context::with_key(&self.key);
        for part in parts {
            // The length keeps apart what only together has the same letters.
            context.update(&part.len().to_be_bytes());
            context.update(part);
        }
        let mut mark = Mark::default();
        mark.iter_mut().zip(context.sign().as_ref()).for_each(|(to, from)| *to = *from);
        mark
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Guesses {
    fn default() -> Self {
        Self::new()
    }
}

impl Turn<'_> {
    /// It was right: no guess, and no guess of this name before it counts any more.
    pub fn right(self) {
        let Some(guess) = self.guess else { return };
        let now = Instant::now();
        let mut state = self.guesses.state();
        if guess.counted {
            state.names.forget(&guess.name);
            state.networks.give_back(&guess.network);
        }
        remember(&mut state.right, guess.credential, now, limits::RIGHT_CREDENTIAL_TIME);
    }

    /// It was wrong.
    pub fn wrong(self) {
        let Some(guess) = self.guess else { return };
        let now = Instant::now();
        let mut state = self.guesses.state();
        if !guess.counted {
            // What was right for a long time is taken back: now it is a guess like any other.
            state.names.take(guess.name, now);
            state.networks.take(guess.network, now);
        }
        state.right.remove(&guess.credential);
        remember(&mut state.wrong, guess.credential, now, limits::WRONG_PASSWORD_TIME);
    }

    /// Nobody compared it with anything.
    pub fn not_judged(self) {
        let Some(guess) = self.guess.filter(|guess| guess.counted) else { return };
        let mut state = self.guesses.state();
        state.names.give_back(&guess.name);
        state.networks.give_back(&guess.network);
    }
}

fn remembers(marks: &HashMap<Mark, Instant>, mark: &Mark, now: Instant) -> bool {
    marks.get(mark).is_some_and(|until| *until > now)
}

fn remember(marks: &mut HashMap<Mark, Instant>, mark: Mark, now: Instant, time: Duration) {
    if !marks.contains_key(&mark) {
        make_room(marks, now);
    }
    marks.insert(mark, now + time);
}

#[cfg(test)]
mod tests {
    use super::*;
    use dbt_core::secret::Secret;
    use std::net::Ipv4Addr;
    use tokio::task::JoinSet;
    use tokio::time::{advance, timeout};

    const HERE: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
    const ELSEWHERE: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 2));

    fn basic(user: &str, password: &str) -> Credential {
        Credential::Basic { user: user.to_owned(), password: Secret::new(password.to_owned()) }
    }

    /// Tries a credential that is wrong, and returns how many seconds it waited.
    async fn wrong(guesses: &Guesses, user: &str, password: &str, peer: IpAddr) -> Option<u64> {
        let began = Instant::now();
        let turn = guesses.turn(&basic(user, password), peer).await.ok()?;
        turn.wrong();
        Some(began.elapsed().as_secs())
    }

    /// Tries one that is right, and returns how many seconds it waited.
    async fn right(guesses: &Guesses, user: &str, password: &str, peer: IpAddr) -> Option<u64> {
        let began = Instant::now();
        let turn = guesses.turn(&basic(user, password), peer).await.ok()?;
        turn.right();
        Some(began.elapsed().as_secs())
    }

    async fn exhaust(guesses: &Guesses, user: &str) {
        for number in 0..limits::GUESSES_OF_NAME {
            assert_eq!(wrong(guesses, user, &number.to_string(), HERE).await, Some(0));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn wrong_passwords_of_a_name_delay_further_ones_and_a_right_one_ends_that() {
        let guesses = Guesses::new();
        exhaust(&guesses, "alice").await;
        let every = limits::GUESS_OF_NAME_EVERY.as_secs();
        assert_eq!(wrong(&guesses, "alice", "a", HERE).await, Some(every));
        assert_eq!(wrong(&guesses, "alice", "b", HERE).await, Some(every));
        // Delayed, and not locked out.
        assert_eq!(right(&guesses, "alice", "right", HERE).await, Some(every));
        assert_eq!(wrong(&guesses, "alice", "c", HERE).await, Some(0), "it starts anew");
    }

    #[tokio::test(start_paused = true)]
    async fn neither_another_address_nor_another_name_waits() {
        let guesses = Guesses::new();
        exhaust(&guesses, "alice").await;
        assert_eq!(right(&guesses, "alice", "right", ELSEWHERE).await, Some(0));
        assert_eq!(right(&guesses, "bob", "right", HERE).await, Some(0));
        // It is right everywhere, so it is known everywhere.
        assert_eq!(right(&guesses, "alice", "right", HERE).await, Some(0));
        assert_eq!(wrong(&guesses, "alice", "other", HERE).await, Some(5));
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_right_lately_waits_for_no_flood_until_it_is_wrong_once() {
        let guesses = Guesses::new();
        assert_eq!(right(&guesses, "alice", "right", HERE).await, Some(0));
        let mut waiting = JoinSet::new();
        let guesses = std::sync::Arc::new(guesses);
        for number in 0..1000 {
            let guesses = std::sync::Arc::clone(&guesses);
            waiting
                .spawn(async move { wrong(&guesses, &format!("user-{number}"), "x", HERE).await });
        }
        tokio::task::yield_now().await;
        for _again in 0..50 {
            assert_eq!(right(&guesses, "alice", "right", HERE).await, Some(0));
        }
        // Taken back: now it is one guess more.
        assert_eq!(wrong(&guesses, "alice", "right", HERE).await, Some(0));
        let refused = guesses.turn(&basic("alice", "right"), HERE).await.err().unwrap();
        assert_eq!(refused.noted(), "it was wrong a moment ago");
        advance(limits::RIGHT_CREDENTIAL_TIME).await;
        assert!(waiting.join_all().await.iter().any(Option::is_none));
    }

    /// Whatever names are tried, and however many at once.
    #[tokio::test(start_paused = true)]
    async fn one_address_has_no_more_judged_than_the_rate_says() {
        let guesses = std::sync::Arc::new(Guesses::new());
        let began = Instant::now();
        let mut flood = JoinSet::new();
        for number in 0..5000 {
            let guesses = std::sync::Arc::clone(&guesses);
            flood.spawn(async move {
                let user = format!("user-{}", number % 700);
                wrong(&guesses, &user, &number.to_string(), HERE).await
            });
        }
        let judged = flood.join_all().await.into_iter().flatten().count();
        let most = u64::from(limits::GUESSES_OF_ADDRESS)
            + limits::LONGEST_TURN.as_secs() / limits::GUESS_OF_ADDRESS_EVERY.as_secs();
        assert_eq!(judged as u64, most);
        assert!(began.elapsed() <= limits::LONGEST_TURN, "nobody waits longer");
        // Elsewhere nobody notices.
        assert_eq!(right(&guesses, "user-1", "right", ELSEWHERE).await, Some(0));
    }

    #[tokio::test(start_paused = true)]
    async fn who_need_not_wait_here_is_told_when_to_come_again() {
        let guesses = Guesses::new();
        exhaust(&guesses, "alice").await;
        let mut waiting = Vec::new();
        for number in 0..2 {
            let credential = basic("alice", &format!("waits-{number}"));
            let turn = Box::pin(async { guesses.turn(&credential, HERE).await.map(Turn::wrong) });
            // Begun, and left waiting.
            let mut turn = turn;
            assert!(timeout(Duration::ZERO, &mut turn).await.is_err());
            drop(turn);
            waiting.push(number);
        }
        // Who goes away has had their turn: it is no way around the wait.
        let refused = guesses.turn(&basic("alice", "another"), HERE).await.err().unwrap();
        let (wait, _of) = refused.retry_after().unwrap();
        assert!(wait > limits::LONGEST_TURN, "{wait:?}");
        let words = "not looked at: too many credentials of this name were wrong";
        assert_eq!(refused.noted(), words);
        advance(wait).await;
        assert_eq!(wrong(&guesses, "alice", "another", HERE).await, Some(0));
    }

    /// The record tells whether it is one name that is tried, or one address that tries many.
    #[tokio::test(start_paused = true)]
    async fn the_record_says_what_there_was_too_much_of() {
        for (names, of) in [(1, "of this name"), (1000, "from this address")] {
            let guesses = Guesses::new();
            let refused = (0..100).find_map(|number: u32| {
                let user = (number % names).to_string();
                let credential = basic(&user, &number.to_string());
                guesses.reserve(&mut guesses.guess(&credential, network(HERE))).err()
            });
            let refused = refused.unwrap();
            let words = format!("not looked at: too many credentials {of} were wrong");
            assert_eq!(refused.noted(), words);
            assert_eq!(refused.to_string(), "too many credentials were wrong; try again later");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_program_that_repeats_a_wrong_password_keeps_nobody_waiting() {
        let guesses = Guesses::new();
        for _repeated in 0..100 {
            let began = Instant::now();
            if let Ok(turn) = guesses.turn(&basic("ci", "stale"), HERE).await {
                turn.wrong();
            }
            assert!(began.elapsed().is_zero());
        }
        let every = limits::GUESS_OF_NAME_EVERY.as_secs();
        assert_eq!(right(&guesses, "ci", "fresh", HERE).await, Some(every));
    }

    #[tokio::test(start_paused = true)]
    async fn what_nobody_compared_does_not_count_and_signatures_are_not_guessed() {
        let guesses = Guesses::new();
        for _again in 0..1000 {
            guesses.turn(&basic("alice", "x"), HERE).await.unwrap().not_judged();
            let token = Secret::new("eyJhbGciOiJFUzI1NiJ9.e30.AAAA".to_owned());
            for credential in [
                Credential::Bearer(token.clone()),
                Credential::SshToken(Secret::new("x".to_owned())),
                Credential::Basic { user: "alice".to_owned(), password: token.clone() },
            ] {
                guesses.turn(&credential, HERE).await.unwrap().wrong();
            }
        }
        assert_eq!(wrong(&guesses, "alice", "x", HERE).await, Some(0));
    }

    #[tokio::test(start_paused = true)]
    async fn memory_is_bounded() {
        let guesses = Guesses::new();
        let most = u32::try_from(limits::REMEMBERED_RATES).unwrap();
        for number in 0..2 * most {
            let peer = IpAddr::V4(Ipv4Addr::from_bits(number));
            let turn = guesses.turn(&basic(&number.to_string(), "x"), peer).await.unwrap();
            if number % 2 == 0 { turn.right() } else { turn.wrong() }
        }
        let state = guesses.state();
        for count in
            [state.names.count(), state.networks.count(), state.right.len(), state.wrong.len()]
        {
            assert!(count <= limits::REMEMBERED_RATES, "{count}");
        }
    }
}
