//! Users and passwords in a file as Apache's `htpasswd` makes it.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use sha2::{Digest as _, Sha256};
use tokio::sync::Semaphore;

use super::passwords::Stored;
use super::watched::{Unreadable, Watched};
use super::{Attempt, Authenticator, Credential, Identity, Subject, Verdict};
use crate::authz::REALM;
use crate::content::BoxFuture;

/// The method's name in the configuration.
pub const NAME: &str = "basic-htpasswd";

/// The word before the names it proves.
pub const WORD: &str = "htpasswd";

/// How many comparisons run at once: each keeps a processor busy.
const AT_ONCE: usize = 4;

/// How long a password that was right is believed without comparing again.
const REMEMBERED_FOR: Duration = Duration::from_mins(1);

/// How many right passwords are remembered.
const REMEMBERED: usize = 10_000;

/// Accepts the users of a file.
pub struct Htpasswd {
    users: Arc<Watched<Users>>,
    slots: Semaphore,
    // Random, so that what is remembered is worth nothing outside this process.
    key: [u8; 32],
    right: Mutex<HashMap<[u8; 32], SystemTime>>,
}

/// The users of a file with their stored passwords.
#[derive(Debug, Default)]
pub struct Users {
    stored: HashMap<String, Stored>,
    // Compared with for unknown users, so that they take as long as known ones.
    decoy: Option<Stored>,
    complaints: Vec<String>,
}

impl Users {
    /// Reads a file. A line that cannot be used is left out and complained of by its number.
    fn parse(bytes: &[u8]) -> Result<Self, String> {
        let text = std::str::from_utf8(bytes).map_err(|_error| "it is not UTF-8".to_owned())?;
        let mut users = Self::default();
        for (number, line) in (1..).zip(text.lines()) {
            if line.starts_with('#') || line.trim().is_empty() {
                continue;
            }
            match user(line) {
                Ok((name, stored)) => {
                    users.stored.insert(name.to_owned(), stored);
                }
                Err(why) => users.complaints.push(format!("line {number} is left out: {why}")),
            }
        }
        users.decoy = users.stored.values().max_by_key(|stored| stored.work()).cloned();
        for complaint in &users.complaints {
            tracing::warn!(complaint, "in the file of users and passwords");
        }
        Ok(users)
    }
}

fn user(line: &str) -> Result<(&str, Stored), &'static str> {
    let (name, stored) = line.split_once(':').ok_or("it has no `:`")?;
    let (name, stored) = (name.trim_start(), stored.trim());
    if name.is_empty() || name.contains(|c: char| c.is_control()) {
        return Err("it names nobody");
    }
    if stored.contains(':') {
        return Err("it has more than two fields");
    }
    Stored::parse(stored).map(|stored| (name, stored))
}

impl Htpasswd {
    /// Reads the file, and again whenever it changes.
    pub fn open(path: &Path) -> Result<Self, Unreadable> {
        let mut key = [0; 32];
        // Without randomness nothing is remembered longer than the process lives anyway.
        let _zero_is_as_good = getrandom::fill(&mut key);
        Ok(Self {
            users: Arc::new(Watched::open(path, Users::parse)?),
            slots: Semaphore::new(AT_ONCE),
            key,
            right: Mutex::default(),
        })
    }

    /// Returns what cannot be used in the file.
    pub fn complaints(&self) -> Vec<String> {
        self.users.current().complaints.clone()
    }

    async fn accepts(&self, user: &str, password: &str, now: SystemTime) -> Result<(), String> {
        let watched = Arc::clone(&self.users);
        let users = tokio::task::spawn_blocking(move || watched.current())
            .await
            .map_err(|error| error.to_string())?;
        let known = users.stored.get(user);
        if let Some(stored) = known
            && self.remembers(self.mark(user, password, stored), now)
        {
            return Ok(());
        }
        let Some(compared) = known.or(users.decoy.as_ref()).cloned() else {
            return Err("the file has no users".to_owned());
        };
        let Ok(_slot) = self.slots.acquire().await else { return Err("stopping".to_owned()) };
        let (mark, text) = (self.mark(user, password, &compared), password.to_owned());
        let right = tokio::task::spawn_blocking(move || compared.accepts(&text))
            .await
            .map_err(|error| error.to_string())?;
        match (known, right) {
            (Some(_stored), true) => {
                self.remember(mark, now);
                Ok(())
            }
            (Some(_stored), false) => Err(format!("the password of `{user}` is wrong")),
            (None, _) => Err("there is no such user".to_owned()),
        }
    }

    /// Names a password, a user and what is stored, in a way that leads back to none of them.
    fn mark(&self, user: &str, password: &str, stored: &Stored) -> [u8; 32] {
        let lengths = format!("{}:{}:", user.len(), password.len());
        let mark = Sha256::new()
            .chain_update(self.key)
            .chain_update(lengths)
            .chain_update(user)
            .chain_update(password)
            .chain_update(format!("{stored:?}"));
        // Twice, so that nobody can continue a hash that they have seen.
        Sha256::digest(mark.finalize()).into()
    }

    fn remembers(&self, mark: [u8; 32], now: SystemTime) -> bool {
        let right = self.right.lock().unwrap_or_else(PoisonError::into_inner);
        right.get(&mark).is_some_and(|until| *until > now)
    }

    fn remember(&self, mark: [u8; 32], now: SystemTime) {
        let mut right = self.right.lock().unwrap_or_else(PoisonError::into_inner);
        if right.len() >= REMEMBERED {
            right.clear();
        }
        right.insert(mark, now + REMEMBERED_FOR);
    }
}

impl Authenticator for Htpasswd {
    fn identify<'a>(&'a self, attempt: &'a Attempt<'a>) -> BoxFuture<'a, Verdict> {
        Box::pin(async move {
            let Credential::Basic { user, password } = attempt.credential else {
                return Verdict::NotMine;
            };
            match self.accepts(user, password.expose(), attempt.now).await {
                Ok(()) => Ok(Identity::of(Subject::local(WORD, user))).into(),
                Err(why) => Verdict::refused(why),
            }
        })
    }

    fn challenge(&self) -> String {
        basic_challenge()
    }
}

/// Returns the challenge that makes browsers ask for a password.
pub fn basic_challenge() -> String {
    format!("Basic realm=\"{REALM}\", charset=\"UTF-8\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALICE: &str = "alice:$2y$04$85ky.r11cMonBFtQcHMF5.9EnMTcAJ6bNdJbszYtARtJRuCATf77K\n";

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn bad_lines_are_left_out_by_number_and_the_last_of_two_counts() {
        let text = "# comment\n\nno colon\n:x\nbob:plain\na:b:c\nhtdigest:realm:d41d8cd98f00b204\n\
             \"quoted:x\nalice:{SHA}GpHWL3ymc5liWkNopqtdSjuqYHM=\r\n  carol:{SHA}GpHWL3ymc5liWkNopqtdSjuqYHM=\n";
        let users = Users::parse([text, ALICE].concat().as_bytes()).unwrap();
        let mut names: Vec<&String> = users.stored.keys().collect();
        names.sort();
        assert_eq!(names, ["alice", "carol"]);
        assert!(matches!(users.stored["alice"], Stored::Bcrypt(_)));
        assert_eq!(users.complaints.len(), 6, "{:?}", users.complaints);
        assert_eq!(users.complaints[0], "line 3 is left out: it has no `:`");
        assert!(users.complaints.iter().all(|complaint| !complaint.contains("plain:")));
        assert!(Users::parse(b"\xff").is_err());
    }

    #[tokio::test]
    async fn a_right_password_is_remembered_for_a_minute_and_never_after_it_changed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("htpasswd");
        std::fs::write(&path, ALICE).unwrap();
        let method = Htpasswd::open(&path).unwrap();
        assert!(method.accepts("alice", "pw", at(0)).await.is_ok());
        let stored = Stored::parse(ALICE.trim().split_once(':').unwrap().1).unwrap();
        let mark = method.mark("alice", "pw", &stored);
        assert!(method.remembers(mark, at(59)) && !method.remembers(mark, at(60)));
        assert!(method.accepts("alice", "other", at(1)).await.is_err());
        assert!(method.accepts("bob", "pw", at(1)).await.is_err());
        std::fs::write(&path, "alice:{SHA}AAAAAAAAAAAAAAAAAAAAAAAAAAA=\n").unwrap();
        assert!(method.accepts("alice", "pw", at(2)).await.is_err(), "changed");
    }

    #[tokio::test]
    async fn an_unknown_user_is_compared_with_what_takes_longest() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("htpasswd");
        std::fs::write(&path, format!("bob:{{SHA}}GpHWL3ymc5liWkNopqtdSjuqYHM=\n{ALICE}")).unwrap();
        let method = Htpasswd::open(&path).unwrap();
        let users = method.users.current();
        assert_eq!(users.decoy.as_ref(), users.stored.get("alice"));
        // Even the password of the decoy lets no unknown user in.
        assert!(method.accepts("nobody", "pw", at(0)).await.is_err());
    }
}
