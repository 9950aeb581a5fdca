//! Who is signed in at the pages. It is kept in memory alone, and ends with the ID token, with a restart,
//! or when somebody signs out.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use dbt_core::digest::Digest;
use dbt_core::secret::Secret;

use crate::limits;

const ID_BYTES: usize = 32;

/// The sessions of browsers.
#[derive(Default)]
pub struct Sessions(Mutex<HashMap<Digest, Session>>);

/// A session: somebody's ID token, which is looked at again for every page.
#[derive(Clone)]
pub(in crate::web) struct Session {
    /// The token.
    pub(in crate::web) token: Secret<String>,
    /// Whose it is, as the rules know them.
    pub(in crate::web) subject: String,
    /// What people call whoever it is of.
    pub(in crate::web) name: String,
    /// When it ends.
    pub(in crate::web) until: SystemTime,
}

impl Sessions {
    /// Begins a session; returns what its cookie holds. Nothing where there is no randomness.
    pub(super) fn begin(&self, session: Session, now: SystemTime) -> Option<Secret<String>> {
        let mut id = [0; ID_BYTES];
        getrandom::fill(&mut id).ok()?;
        let id = Secret::new(URL_SAFE_NO_PAD.encode(id));
        let mut sessions = self.known();
        sessions.retain(|_id, known| known.until > now);
        // Whoever signs in often ends their own sessions early.
        end_early(&mut sessions, limits::SESSIONS_OF_ONE, |known| known.subject == session.subject);
        end_early(&mut sessions, limits::SESSIONS, |_known| true);
        // What is in memory is no cookie.
        sessions.insert(Digest::of(id.expose().as_bytes()), session);
        drop(sessions);
        Some(id)
    }

    /// Returns the session of a cookie.
    pub(in crate::web) fn find(&self, cookie: &str, now: SystemTime) -> Option<Session> {
        let session = self.known().get(&Digest::of(cookie.as_bytes())).cloned();
        session.filter(|session| session.until > now)
    }

    /// Ends a session.
    pub(in crate::web) fn end(&self, cookie: &str) {
        self.known().remove(&Digest::of(cookie.as_bytes()));
    }

    fn known(&self) -> MutexGuard<'_, HashMap<Digest, Session>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ends the sessions of some kind that would end first, until there is room for one more below a limit.
fn end_early(
    sessions: &mut HashMap<Digest, Session>,
    limit: usize,
    is_meant: impl Fn(&Session) -> bool,
) {
    let mut ends: Vec<(SystemTime, Digest)> = sessions
        .iter()
        .filter(|(_id, known)| is_meant(known))
        .map(|(id, known)| (known.until, *id))
        .collect();
    let room = limit.saturating_sub(1);
    if ends.len() > room {
        ends.sort_by_key(|(until, _id)| *until);
        for (_until, id) in ends.iter().take(ends.len() - room) {
            sessions.remove(id);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    fn session(seconds: u64) -> Session {
        session_of(&format!("alice {seconds}"), seconds)
    }

    fn session_of(subject: &str, seconds: u64) -> Session {
        let until = UNIX_EPOCH + Duration::from_secs(seconds);
        let (subject, name) = (subject.to_owned(), "alice".to_owned());
        Session { token: Secret::new(format!("token {seconds}")), subject, name, until }
    }

    #[test]
    fn a_session_ends_with_its_token_or_when_it_is_ended() {
        let sessions = Sessions::default();
        let at = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
        let cookie = sessions.begin(session(100), at(0)).unwrap();
        let other = sessions.begin(session(100), at(0)).unwrap();
        assert_ne!(cookie, other);
        assert_eq!(sessions.find(cookie.expose(), at(99)).unwrap().name, "alice");
        assert!(sessions.find(cookie.expose(), at(100)).is_none());
        assert!(sessions.find("", at(0)).is_none());
        sessions.end(cookie.expose());
        assert!(sessions.find(cookie.expose(), at(0)).is_none());
        assert!(sessions.find(other.expose(), at(0)).is_some());
    }

    #[test]
    fn there_are_never_more_than_so_many_and_the_first_to_end_go() {
        let sessions = Sessions::default();
        let first = sessions.begin(session(1000), UNIX_EPOCH).unwrap();
        for number in 0..limits::SESSIONS {
            sessions.begin(session_of(&number.to_string(), 2000), UNIX_EPOCH).unwrap();
        }
        assert_eq!(sessions.known().len(), limits::SESSIONS);
        assert!(sessions.find(first.expose(), UNIX_EPOCH).is_none());
        sessions.begin(session(9000), UNIX_EPOCH + Duration::from_secs(2000)).unwrap();
        assert_eq!(sessions.known().len(), 1, "what has ended goes");
    }

    #[test]
    fn whoever_signs_in_often_ends_their_own_sessions_and_nobody_elses() {
        let sessions = Sessions::default();
        let bobs = sessions.begin(session_of("bob", 100), UNIX_EPOCH).unwrap();
        let alices: Vec<_> = (0..=limits::SESSIONS_OF_ONE as u64)
            .map(|later| sessions.begin(session_of("alice", 200 + later), UNIX_EPOCH).unwrap())
            .collect();
        let is_there =
            |cookie: &Secret<String>| sessions.find(cookie.expose(), UNIX_EPOCH).is_some();
        assert!(is_there(&bobs));
        assert!(!is_there(&alices[0]), "the first to end goes");
        assert!(alices[1..].iter().all(is_there));
    }
}
