//! Whose SSH key is which: a file of public keys, or a command that is asked.

use std::collections::HashMap;
use std::net::IpAddr;
use std::path::Path;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use serde_json::Value;
use tokio::io::AsyncReadExt as _;
use tokio::process::Command;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::keys::PublicKey;
use super::watched::{Unreadable, Watched};
use super::{BadCredential, Scope};
use crate::strict_json;

/// Where the keys of users are found.
pub enum KeySource {
    /// In a file, under one of its two lists.
    File {
        /// The file.
        file: Arc<Watched<KeyFile>>,
        /// Which list.
        list: Scope,
    },
    /// By a command.
    Command(Arc<Lookup>),
}

impl KeySource {
    /// Returns the keys of a user; none, if the user is not known.
    pub async fn of_user(
        &self,
        user: &str,
        peer: IpAddr,
        now: SystemTime,
    ) -> Result<Vec<PublicKey>, BadCredential> {
        match self {
            Self::File { file, list } => {
                let file = Arc::clone(file);
                let keys = tokio::task::spawn_blocking(move || file.current()).await;
                let keys =
                    keys.map_err(|error| BadCredential::default().noting(error.to_string()))?;
                Ok(keys.of(user, *list).to_vec())
            }
            Self::Command(lookup) => lookup.of_user(user, peer, now).await,
        }
    }
}

/// The public keys of users: `{"getUsers": [{"username", "publickey"}], "putUsers": […]}`.
#[derive(Debug, Default)]
pub struct KeyFile {
    readers: HashMap<String, Vec<PublicKey>>,
    writers: HashMap<String, Vec<PublicKey>>,
    complaints: Vec<String>,
}

impl KeyFile {
    /// Watches a file.
    pub fn open(path: &Path) -> Result<Watched<Self>, Unreadable> {
        Watched::open(path, Self::parse)
    }

    /// Returns what cannot be used in the file.
    pub fn complaints(&self) -> &[String] {
        &self.complaints
    }

    fn of(&self, user: &str, list: Scope) -> &[PublicKey] {
        let users = match list {
            Scope::Reads => &self.readers,
            Scope::Writes => &self.writers,
        };
        users.get(user).map_or(&[], Vec::as_slice)
    }

    fn parse(bytes: &[u8]) -> Result<Self, String> {
        let value = strict_json::parse(bytes).map_err(|error| error.to_string())?;
        let mut file = Self::default();
        for (key, list) in [("getUsers", Scope::Reads), ("putUsers", Scope::Writes)] {
            let Some(entries) = field(&value, key).filter(|entries| !entries.is_null()) else {
                continue;
            };
            let entries = entries.as_array().ok_or_else(|| format!("`{key}` is no list"))?;
            for (index, entry) in entries.iter().enumerate() {
                if let Err(why) = file.add(entry, list) {
                    file.complaints.push(format!("`{key}[{index}]` is left out: {why}"));
                }
            }
        }
        if !value.is_object() {
            return Err("it is no JSON object".to_owned());
        }
        for complaint in &file.complaints {
            tracing::warn!(complaint, "in the file of public keys");
        }
        Ok(file)
    }

    fn add(&mut self, entry: &Value, list: Scope) -> Result<(), &'static str> {
        let text = |key| field(entry, key).and_then(Value::as_str).map(str::trim);
        let user = text("username").filter(|name| super::ssh::is_user_name(name));
        let user = user.ok_or("it has no `username` of letters, digits and `._@-`")?;
        let key = PublicKey::of_openssh(text("publickey").ok_or("it has no `publickey`")?)?;
        let users = match list {
            Scope::Reads => &mut self.readers,
            Scope::Writes => &mut self.writers,
        };
        users.entry(user.to_owned()).or_default().push(key);
        Ok(())
    }
}

/// Returns a member of an object, in whatever case its key is written.
fn field<'a>(value: &'a Value, key: &str) -> Option<&'a Value> {
    let mut members = value.as_object()?.iter();
    members.find(|(name, _)| name.eq_ignore_ascii_case(key)).map(|(_, value)| value)
}

/// How many commands run at once.
const AT_ONCE: usize = 4;

/// How long a command may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// The most that a command may say.
const OUTPUT_LIMIT: u64 = 64 * 1024;

/// How long an answer is believed, also that there are no keys.
const REMEMBERED_FOR: Duration = Duration::from_mins(1);

/// How many answers are remembered.
const REMEMBERED: usize = 10_000;

/// How many commands one address may cause in a minute.
const PER_PEER: u32 = 30;

/// A command that prints the public keys of a user, run without a shell: the name is one of its
/// arguments, and nothing else.
pub struct Lookup {
    argv: Vec<String>,
    // Variables that hold secrets of ours.
    hidden: Vec<String>,
    slots: Semaphore,
    answers: Mutex<HashMap<String, (SystemTime, Vec<PublicKey>)>>,
    peers: Mutex<HashMap<IpAddr, (SystemTime, u32)>>,
}

impl Lookup {
    /// Asks this command, with the user's name added, and without these variables.
    pub fn new(argv: Vec<String>, hidden: Vec<String>) -> Self {
        let (answers, peers) = (Mutex::default(), Mutex::default());
        Self { argv, hidden, slots: Semaphore::new(AT_ONCE), answers, peers }
    }

    async fn of_user(
        &self,
        user: &str,
        peer: IpAddr,
        now: SystemTime,
    ) -> Result<Vec<PublicKey>, BadCredential> {
        if let Some(keys) = self.remembered(user, now) {
            return Ok(keys);
        }
        if !self.admits(peer, now) {
            return Err(BadCredential::new("too many names were asked for; try again in a minute"));
        }
        let failed = |noted: String| BadCredential::default().noting(noted);
        let slot = self.slots.acquire().await;
        let _slot = slot.map_err(|error| failed(error.to_string()))?;
        // Somebody may have asked for the same name while this one waited.
        if let Some(keys) = self.remembered(user, now) {
            return Ok(keys);
        }
        let keys = match self.ask(user).await {
            Ok(text) => text.lines().filter_map(|line| PublicKey::of_openssh(line).ok()).collect(),
            Err(why) => {
                tracing::warn!(user, why, "the command that finds public keys found none");
                Vec::new()
            }
        };
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        if answers.len() >= REMEMBERED {
            answers.clear();
        }
        answers.insert(user.to_owned(), (now + REMEMBERED_FOR, Vec::clone(&keys)));
        Ok(keys)
    }

    fn remembered(&self, user: &str, now: SystemTime) -> Option<Vec<PublicKey>> {
        let answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        answers.get(user).filter(|(until, _keys)| *until > now).map(|(_until, keys)| keys.clone())
    }

    /// Counts a question of an address.
    fn admits(&self, peer: IpAddr, now: SystemTime) -> bool {
        let mut peers = self.peers.lock().unwrap_or_else(PoisonError::into_inner);
        if peers.len() >= REMEMBERED {
            peers.retain(|_peer, (until, _count)| *until > now);
        }
        let (until, count) = peers.entry(peer).or_insert((now + REMEMBERED_FOR, 0));
        if *until <= now {
            (*until, *count) = (now + REMEMBERED_FOR, 0);
        }
        *count += 1;
        *count <= PER_PEER
    }

    async fn ask(&self, user: &str) -> Result<String, String> {
        let (program, arguments) = self.argv.split_first().ok_or("it is empty")?;
        let mut command = Command::new(program);
        command.args(arguments).arg(user);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        command.kill_on_drop(true);
        for name in &self.hidden {
            command.env_remove(name);
        }
        let mut child = command.spawn().map_err(|error| error.to_string())?;
        let stdout = child.stdout.take().ok_or("it has no output")?;
        let answered = async {
            let mut text = String::new();
            let read = stdout.take(OUTPUT_LIMIT + 1).read_to_string(&mut text).await;
            read.map_err(|error| error.to_string())?;
            if text.len() as u64 > OUTPUT_LIMIT {
                return Err("it says more than 64 KiB".to_owned());
            }
            let status = child.wait().await.map_err(|error| error.to_string())?;
            if status.success() { Ok(text) } else { Err(format!("it ended with {status}")) }
        };
        let late = |_elapsed| Err("it takes longer than five seconds".to_owned());
        timeout(PATIENCE, answered).await.unwrap_or_else(late)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ED25519: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAINdamAGCsQq31Uv+08lkBzoO4XLz2qYjJa8CGmj3B1Ea a@b";

    #[test]
    fn a_file_has_two_lists_keys_in_any_case_and_several_keys_for_a_user() {
        let text = format!(
            r#"{{"GetUsers": [{{"username": "alice", "publickey": "{ED25519}"}}],
            "putUsers": [{{"Username": "alice", "PublicKey": "{ED25519}\n"}},
                         {{"username": "alice", "publickey": "{ED25519}", "more": 1}},
                         {{"username": "-x", "publickey": "{ED25519}"}},
                         {{"username": "bob", "publickey": "ssh-dss AAAA"}},
                         {{"username": "bob"}}, 7],
            "other": true}}"#
        );
        let file = KeyFile::parse(text.as_bytes()).unwrap();
        assert_eq!(file.of("alice", Scope::Reads).len(), 1);
        assert_eq!(file.of("alice", Scope::Writes).len(), 2);
        assert!(file.of("bob", Scope::Writes).is_empty());
        assert_eq!(file.complaints.len(), 4, "{:?}", file.complaints);
        assert_eq!(file.complaints[1], "`putUsers[3]` is left out: DSA is not accepted");
        for text in ["", "[]", "{\"getUsers\": 7}", "{\"getUsers\": [], \"getUsers\": []}"] {
            assert!(KeyFile::parse(text.as_bytes()).is_err(), "{text}");
        }
    }

    #[test]
    fn one_address_cannot_cause_commands_without_end() {
        let lookup = Lookup::new(vec!["true".to_owned()], Vec::new());
        let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        let (one, other) = ([127, 0, 0, 1].into(), [127, 0, 0, 2].into());
        for _question in 0..PER_PEER {
            assert!(lookup.admits(one, at(0)));
        }
        assert!(!lookup.admits(one, at(59)));
        assert!(lookup.admits(other, at(59)));
        assert!(lookup.admits(one, at(60)));
    }
}
