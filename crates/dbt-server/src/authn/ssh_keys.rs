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
use tokio::time::{Instant, timeout};

use super::keys::PublicKey;
use super::rate::{Rate, Rates, network};
use super::watched::{Unreadable, Watched};
use super::{BadCredential, Scope, away};
use crate::{limits, strict_json};

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

/// Reads the keys that a command printed, one a line, and logs why others do not count.
fn usable_keys(user: &str, text: &str) -> Vec<PublicKey> {
    let mut keys = Vec::new();
    let lines = text.lines().map(str::trim).enumerate();
    for (index, line) in lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#')) {
        match PublicKey::of_openssh(line) {
            Ok(key) => keys.push(key),
            Err(why) => {
                let line = index + 1;
                tracing::warn!(user, line, why, "a key that the command printed is left out");
            }
        }
    }
    keys
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

/// A command that prints the public keys of a user, run without a shell: the name is one of its
/// arguments, and nothing else.
pub struct Lookup {
    argv: Vec<String>,
    // Variables that hold secrets of ours.
    hidden: Vec<String>,
    slots: Semaphore,
    answers: Mutex<HashMap<String, (SystemTime, Vec<PublicKey>)>>,
    peers: Mutex<Rates<IpAddr>>,
}

impl Lookup {
    /// Asks this command, with the user's name added, and without these variables.
    pub fn new(argv: Vec<String>, hidden: Vec<String>) -> Self {
        let peers = Rates::new(Rate {
            at_once: limits::COMMANDS_OF_ADDRESS,
            every: limits::COMMAND_OF_ADDRESS_EVERY,
        });
        let (answers, peers) = (Mutex::default(), Mutex::new(peers));
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
        if !self.admits(peer) {
            return Err(BadCredential::too_many(limits::COMMAND_OF_ADDRESS_EVERY)
                .noting("this address has too many names looked for"));
        }
        let slot = timeout(limits::ASKING_TIME, self.slots.acquire()).await;
        let Ok(Ok(_slot)) = slot else { return Err(away("too many wait for the command")) };
        // Somebody may have asked for the same name while this one waited.
        if let Some(keys) = self.remembered(user, now) {
            return Ok(keys);
        }
        let keys = match self.ask(user).await {
            Ok(text) => usable_keys(user, &text),
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
    fn admits(&self, peer: IpAddr) -> bool {
        let mut peers = self.peers.lock().unwrap_or_else(PoisonError::into_inner);
        peers.take_now(network(peer), Instant::now())
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

    #[tokio::test(start_paused = true)]
    async fn one_address_cannot_cause_commands_without_end() {
        let lookup = Lookup::new(vec!["true".to_owned()], Vec::new());
        let (one, other) = ([127, 0, 0, 1].into(), [127, 0, 0, 2].into());
        for _question in 0..limits::COMMANDS_OF_ADDRESS {
            assert!(lookup.admits(one));
        }
        assert!(!lookup.admits(one));
        assert!(lookup.admits(other));
        tokio::time::advance(limits::COMMAND_OF_ADDRESS_EVERY).await;
        assert!(lookup.admits(one));
        assert!(!lookup.admits(one));
    }

    /// A program that writes down what it was asked, and then does this.
    fn asking(script: &str) -> (tempfile::TempDir, Lookup) {
        use std::os::unix::fs::PermissionsExt as _;
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("lookup");
        let here = directory.path().display();
        let text = format!("#!/bin/sh\necho \"$1\" >>'{here}/asked'\n{script}\n");
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        let lookup = Lookup::new(vec![path.to_str().unwrap().to_owned()], Vec::new());
        (directory, lookup)
    }

    fn asked(directory: &tempfile::TempDir) -> usize {
        let text = std::fs::read_to_string(directory.path().join("asked"));
        text.map_or(0, |text| text.lines().count())
    }

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    const PEER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    #[tokio::test]
    async fn answers_count_for_a_minute_also_that_there_are_none() {
        let (directory, lookup) = asking(&format!("test \"$1\" = alice && echo '{ED25519}'"));
        for (seconds, user, keys, questions) in [
            (0, "alice", 1, 1),
            (59, "alice", 1, 1),
            (59, "bob", 0, 2),
            (60, "alice", 1, 3),
            (118, "bob", 0, 3),
            (119, "bob", 0, 4),
        ] {
            let found = lookup.of_user(user, PEER, at(seconds)).await.unwrap();
            assert_eq!((found.len(), asked(&directory)), (keys, questions), "{user} at {seconds}");
        }
    }

    /// The time is the runtime's own: it runs ahead as soon as nobody has anything else to do.
    #[tokio::test(start_paused = true)]
    async fn a_command_that_does_not_end_is_not_waited_for_long() {
        let (_directory, lookup) = asking("exec sleep 1000");
        let began = Instant::now();
        let found = lookup.of_user("alice", PEER, at(0)).await.unwrap();
        assert!(found.is_empty());
        assert_eq!(began.elapsed(), PATIENCE);
    }

    #[tokio::test]
    async fn no_more_than_four_commands_run_at_once() {
        let (directory, lookup) = asking("while ! test -e \"$0.go\"; do sleep 0.01; done");
        let lookup = Arc::new(lookup);
        let mut all = tokio::task::JoinSet::new();
        for number in 0..12 {
            let lookup = Arc::clone(&lookup);
            all.spawn(async move { lookup.of_user(&format!("user-{number}"), PEER, at(0)).await });
        }
        let began = std::time::Instant::now();
        while asked(&directory) < AT_ONCE {
            assert!(began.elapsed() < Duration::from_secs(20), "they do not begin");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert_eq!((lookup.slots.available_permits(), asked(&directory)), (0, AT_ONCE));
        std::fs::write(directory.path().join("lookup.go"), "").unwrap();
        // Those that wait have their turn.
        assert!(all.join_all().await.iter().all(Result::is_ok));
        assert_eq!(asked(&directory), 12);
    }
}
