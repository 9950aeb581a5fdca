//! Users and passwords in a file as Apache's `htpasswd` makes it.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use sha2::{Digest as _, Sha256};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::passwords::{Effort, Stored};
use super::watched::{Unreadable, Watched};
use super::{
    Attempt, Authenticator, BadCredential, Credential, Identity, Subject, Verdict, Vouching, away,
};
use crate::authz::REALM;
use crate::content::BoxFuture;
use crate::limits;

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
    slots: Arc<Semaphore>,
    // Random, so that what is remembered is worth nothing outside this process.
    key: [u8; 32],
    right: Mutex<HashMap<[u8; 32], SystemTime>>,
}

/// The users of a file with their stored passwords.
#[derive(Debug, Default)]
pub struct Users {
    stored: HashMap<String, Stored>,
    // One of each effort that there is. What is wrong is compared with all of them, so that it
    // takes as long for every user, known or not.
    decoys: BTreeMap<Effort, Stored>,
    complaints: Vec<String>,
}

/// What a password is compared with.
#[derive(Debug)]
struct Comparison {
    own: Option<Stored>,
    decoys: Vec<Stored>,
}

/// What came of a comparison.
#[derive(Debug, PartialEq, Eq)]
struct Compared {
    is_right: bool,
    /// The effort of each comparison that was made.
    efforts: Vec<Effort>,
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
        for stored in users.stored.values() {
            users.decoys.entry(stored.effort()).or_insert_with(|| stored.clone());
        }
        for complaint in &users.complaints {
            tracing::warn!(complaint, "in the file of users and passwords");
        }
        Ok(users)
    }

    /// Returns what the password of a user is to be compared with.
    fn comparison(&self, user: &str) -> Comparison {
        let own = self.stored.get(user).cloned();
        let effort = own.as_ref().map(Stored::effort);
        let others = self.decoys.iter().filter(|(other, _stored)| Some(**other) != effort);
        Comparison { decoys: others.map(|(_effort, stored)| stored.clone()).collect(), own }
    }
}

impl Comparison {
    /// Compares. Only what is right is done sooner.
    fn with(&self, password: &str) -> Compared {
        let mut efforts = Vec::new();
        let mut accepts = |stored: &Stored| {
            efforts.push(stored.effort());
            stored.accepts(password)
        };
        let is_right = self.own.as_ref().is_some_and(&mut accepts);
        if !is_right {
            for decoy in &self.decoys {
                // Whatever it says: it is somebody else's.
                let _not_asked_for = std::hint::black_box(accepts(decoy));
            }
        }
        efforts.sort();
        Compared { is_right, efforts }
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
            slots: Arc::new(Semaphore::new(AT_ONCE)),
            key,
            right: Mutex::default(),
        })
    }

    /// Returns what cannot be used in the file.
    pub fn complaints(&self) -> Vec<String> {
        self.users.current().complaints.clone()
    }

    async fn accepts(
        &self,
        user: &str,
        password: &str,
        now: SystemTime,
    ) -> Result<(), BadCredential> {
        let failed = |error: tokio::task::JoinError| away(error.to_string());
        let watched = Arc::clone(&self.users);
        let users = tokio::task::spawn_blocking(move || watched.current()).await.map_err(failed)?;
        let known = users.stored.get(user);
        if let Some(stored) = known
            && self.remembers(self.mark(user, password, stored), now)
        {
            return Ok(());
        }
        let slot = timeout(limits::ASKING_TIME, Arc::clone(&self.slots).acquire_owned()).await;
        let Ok(Ok(slot)) = slot else { return Err(away("too many passwords are compared")) };
        let (comparison, text) = (users.comparison(user), password.to_owned());
        let compared = tokio::task::spawn_blocking(move || {
            let compared = comparison.with(&text);
            // Not before: who asks and goes away must not make more of them run at once.
            drop(slot);
            compared
        });
        let is_right = compared.await.map_err(failed)?.is_right;
        let refuse = |why: String| Err(BadCredential::default().noting(why));
        match known {
            Some(stored) if is_right => {
                self.remember(self.mark(user, password, stored), now);
                Ok(())
            }
            Some(_stored) => refuse(format!("the password of `{user}` is wrong")),
            None => refuse("there is no such user".to_owned()),
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
            // A token as password is for others, and costs no comparison.
            if attempt.credential.is_nobodys_password() {
                return Verdict::NotMine;
            }
            let accepted = self.accepts(user, password.expose(), attempt.now).await;
            accepted.map(|()| Identity::of(Subject::local(WORD, user))).into()
        })
    }

    fn could_prove(&self, subject: &Subject) -> bool {
        subject.method == WORD
    }

    fn vouches_for<'a>(
        &'a self,
        subject: &'a Subject,
        _peer: IpAddr,
        _now: SystemTime,
    ) -> BoxFuture<'a, Result<Vouching, BadCredential>> {
        Box::pin(async move {
            if subject.method != WORD {
                return Ok(Vouching::No);
            }
            let watched = Arc::clone(&self.users);
            let users = tokio::task::spawn_blocking(move || watched.current()).await;
            let users = users.map_err(|error| away(error.to_string()))?;
            Ok(Vouching::of(users.stored.contains_key(&subject.id)))
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

    /// Every effort at least twice, so that nothing is a decoy by chance.
    const MIXED: &str = "\
        sha:{SHA}GpHWL3ymc5liWkNopqtdSjuqYHM=\nsha2:{SHA}AAAAAAAAAAAAAAAAAAAAAAAAAAA=\n\
        apr1:$apr1$abcdefgh$5VEbMkemELfbhC5ck.U.z1\nmd5:$1$abcdefgh$IQtUouv7y7Q9dRWkQEPCc.\n\
        sha256:$5$saltsalt$0rl.MZtoLLPP3X0Rdl8riRnphIcAXJY27/aOAyK2hB5\n\
        bcrypt:$2y$04$85ky.r11cMonBFtQcHMF5.9EnMTcAJ6bNdJbszYtARtJRuCATf77K\n\
        old:$2a$04$85ky.r11cMonBFtQcHMF5.9EnMTcAJ6bNdJbszYtARtJRuCATf77K\n\
        slow:$2b$05$85ky.r11cMonBFtQcHMF5.9EnMTcAJ6bNdJbszYtARtJRuCATf77K\n";

    #[test]
    fn a_wrong_password_is_as_much_work_for_every_user_known_or_not() {
        let users = Users::parse(MIXED.as_bytes()).unwrap();
        assert!(users.complaints.is_empty(), "{:?}", users.complaints);
        let all: Vec<Effort> = users.decoys.keys().copied().collect();
        assert_eq!(all.len(), 5, "{all:?}");
        let unknown = ["nobody", "", "SHA", "sha "];
        for user in users.stored.keys().map(String::as_str).chain(unknown) {
            for password in ["wrong", "", "pw2", "pw\0", &"x".repeat(300)] {
                let compared = users.comparison(user).with(password);
                assert_eq!(compared, Compared { is_right: false, efforts: all.clone() }, "{user}");
            }
        }
        // Even the password of every decoy lets no unknown user in.
        assert!(unknown.iter().all(|user| !users.comparison(user).with("pw").is_right));
        // What is right is compared with its own alone.
        let right = users.comparison("bcrypt").with("pw");
        assert!(right.is_right && right.efforts.len() == 1, "{right:?}");
    }

    #[tokio::test]
    async fn who_asks_and_goes_away_makes_no_more_comparisons_run_at_once() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("htpasswd");
        // Some tenths of a second each.
        let slow = ALICE.replace("$04$", "$11$");
        std::fs::write(&path, slow).unwrap();
        let method = Htpasswd::open(&path).unwrap();
        let mut begun = 0;
        while method.slots.available_permits() > 0 {
            let mut accepts = Box::pin(method.accepts("alice", "wrong", at(0)));
            while method.slots.available_permits() + begun == AT_ONCE {
                let polled = timeout(Duration::from_millis(1), &mut accepts).await;
                assert!(polled.is_err(), "it ended before it was let go");
            }
            begun += 1;
            // The comparison goes on, and so does its slot.
            drop(accepts);
            assert_eq!(method.slots.available_permits(), AT_ONCE - begun);
        }
        let all = Arc::clone(&method.slots).acquire_many_owned(4).await.unwrap();
        assert_eq!(all.num_permits(), AT_ONCE, "and they come back");
    }
}
