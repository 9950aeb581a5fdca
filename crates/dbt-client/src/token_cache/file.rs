//! The file of the cache: whose it must be, and how it is read and written.

use std::path::{Path, PathBuf};
use std::time::Duration;

use dbt_core::digest::Digest;
use dbt_core::secret::Secret;
use dbt_core::timestamp::Timestamp;

use super::keychain::Item;
use super::{CacheProblem, Entry, Key, Recipient};
use crate::fsx::{self, FsxError, Lock};
use crate::oidc::Tokens;
use crate::url::RepositoryUrl;

/// The schema of the file; a higher one was written by a newer program.
const SCHEMA: u64 = 1;

/// The most bytes of the file.
const FILE_LIMIT: u64 = 4 * 1024 * 1024;

/// What the names of the locks of keys begin and end with.
const LOCK_NAME: (&str, &str) = ("tokens-", ".lock");

/// What the names of files say that are about to replace the file.
const LABEL: &str = "tokens";

/// How long a change waits for other ones: each takes milliseconds, on a slow disk much more, and
/// there may be many.
const LOCK_PATIENCE: Duration = Duration::from_secs(10);

/// Where the file is.
#[derive(Debug, Clone)]
pub(super) struct TokenFile {
    directory: PathBuf,
    /// How long a change waits for other ones.
    patience: Duration,
}

/// What is in the file.
#[derive(serde::Serialize, serde::Deserialize)]
struct Contents {
    schema: u64,
    tokens: Vec<Written>,
}

/// A secret on its way into the file or out of it: the one that may be written.
#[derive(serde::Deserialize)]
#[serde(transparent)]
struct InFile(Secret<String>);

impl serde::Serialize for InFile {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0.expose())
    }
}

/// One entry as it is written.
#[derive(serde::Serialize, serde::Deserialize)]
struct Written {
    issuer: String,
    client: String,
    audience: String,
    origin: String,
    /// The server that is sent it there, where another one may be at home.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    server: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    who: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    token: Option<InFile>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    refresh_token: Option<InFile>,
    /// What of it is for long is there.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    in_keychain: bool,
    received: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expires: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tried: Option<Timestamp>,
}

/// What every such file says, whoever wrote it.
#[derive(serde::Deserialize)]
struct Schema {
    schema: u64,
}

impl TokenFile {
    pub(super) fn in_directory(directory: PathBuf) -> Self {
        Self { directory, patience: LOCK_PATIENCE }
    }

    fn path(&self) -> PathBuf {
        self.directory.join("tokens.json")
    }

    /// Returns what is in the keychain for a key: one of its own for each of a user's homes.
    pub(super) fn item(&self, key: &Key) -> Item {
        let text = format!("{}\n{}", self.directory.display(), key.short());
        let id = Digest::of(text.as_bytes()).to_string().chars().take(32).collect();
        Item::new(id, &key.to.origin)
    }

    /// Says whether there is anything of its name.
    pub(super) fn is_there(&self) -> bool {
        std::fs::symlink_metadata(self.path()).is_ok()
    }

    /// Returns what is there, and changes nothing.
    pub(super) fn entries(&self) -> Result<Vec<Entry>, CacheProblem> {
        read(&self.path())
    }

    /// Says that what is to be changed cannot be.
    pub(super) fn cannot_be_changed(&self) -> CacheProblem {
        let source = std::io::Error::from(std::io::ErrorKind::ReadOnlyFilesystem);
        CacheProblem::Write(FsxError::new("write", self.path(), source))
    }

    /// Says that what gets the next token is not spent.
    pub(super) fn not_renewed(&self) -> CacheProblem {
        CacheProblem::NotRenewed { path: self.path() }
    }

    /// Says whether it can be written now, by writing what is there.
    pub(super) fn can_be_written(&self) -> bool {
        let lock = self.lock();
        lock.is_some_and(|lock| lock.is_held())
            && read(&self.path()).is_ok_and(|entries| self.write(&entries).is_ok())
    }

    /// Reads what is there. What cannot be used is nothing, and is taken away, under the lock: by
    /// then another process may have replaced it.
    pub(super) fn read(&self, say: &dyn Fn(&CacheProblem)) -> Vec<Entry> {
        match read(&self.path()) {
            Ok(entries) => entries,
            Err(problem) if problem.is_replaced() => {
                let _lock = self.lock();
                self.read_by_now(say)
            }
            Err(problem) => {
                say(&problem);
                Vec::new()
            }
        }
    }

    /// Does so for whoever holds the lock.
    fn read_by_now(&self, say: &dyn Fn(&CacheProblem)) -> Vec<Entry> {
        let problem = match read(&self.path()) {
            Ok(entries) => return entries,
            Err(problem) => problem,
        };
        let is_replaced = problem.is_replaced();
        say(&problem);
        if is_replaced && let Err(error) = fsx::remove(&self.path()) {
            say(&CacheProblem::Write(error));
        }
        Vec::new()
    }

    /// Changes what is there. Says what could not be read or written.
    pub(super) fn change(&self, say: &dyn Fn(&CacheProblem), change: impl FnOnce(&mut Vec<Entry>)) {
        if let Err(error) = fsx::create_dir_all(&self.directory, 0o700) {
            return say(&CacheProblem::Write(error));
        }
        // Where locks do not work the change is made without: what is written is whole.
        let lock = self.lock();
        if lock.as_ref().is_some_and(super::is_anothers) {
            // Written over, what that one keeps would be lost.
            return say(&CacheProblem::Busy { path: self.path(), waited: self.patience });
        }
        if lock.as_ref().is_some_and(Lock::is_held) {
            self.remove_staged();
        }
        if let Err(newer @ CacheProblem::Newer { .. }) = read(&self.path()) {
            return say(&newer);
        }
        let before = self.read_by_now(say);
        let mut after = before.clone();
        change(&mut after);
        if after == before {
            return;
        }
        if let Err(problem) = self.write(&after) {
            say(&problem);
        }
    }

    fn write(&self, entries: &[Entry]) -> Result<(), CacheProblem> {
        let tokens = entries.iter().map(Written::of).collect();
        let contents = serde_json::to_vec(&Contents { schema: SCHEMA, tokens });
        let contents = contents.map(Secret::new).map_err(|source| {
            CacheProblem::Write(FsxError::new("write", self.path(), std::io::Error::from(source)))
        })?;
        fsx::write_atomic_labelled(&self.path(), contents.expose(), 0o600, LABEL)
            .map_err(CacheProblem::Write)
    }

    /// Removes what killed writers were about to put in the place of the file, for whoever holds the
    /// lock: all tokens are in it, also one that is about to be forgotten.
    fn remove_staged(&self) {
        for path in fsx::staged(&self.directory, LABEL) {
            let _best_effort = fsx::remove(&path);
        }
    }

    fn lock(&self) -> Option<Lock> {
        fsx::lock_file(&self.directory.join("tokens.lock"), self.patience).ok()
    }

    /// Keeps other processes from getting a token for the same key at the same time.
    pub(super) fn lock_for(&self, key: &Key, patience: Duration) -> Option<Lock> {
        fsx::create_dir_all(&self.directory, 0o700).ok()?;
        let name = format!("{}{}{}", LOCK_NAME.0, key.short(), LOCK_NAME.1);
        fsx::lock_file(&self.directory.join(name), patience).ok()
    }
}

/// Lists the locks of keys below our home; those of keys that are gone, too.
pub(crate) fn locks(home: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(home.join("state")).into_iter().flatten().flatten();
    let locks = entries.map(|entry| entry.path()).filter(|path| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let digits = name.strip_prefix(LOCK_NAME.0).and_then(|name| name.strip_suffix(LOCK_NAME.1));
        digits.is_some_and(|it| it.len() == 16 && it.bytes().all(|byte| byte.is_ascii_hexdigit()))
    });
    locks.collect()
}

impl Written {
    fn of(entry: &Entry) -> Self {
        let entry =
            if entry.in_keychain { entry.clone().with_long_lived(None) } else { entry.clone() };
        let Entry { key, tokens, tried, in_keychain } = &entry;
        let Key { issuer, client, audience, to: Recipient { origin, guest }, who } = key;
        let Tokens { token, refresh_token, received, expires } = tokens;
        Self {
            issuer: issuer.clone(),
            client: client.clone(),
            audience: audience.clone(),
            origin: origin.to_string(),
            server: guest.clone(),
            who: who.clone(),
            token: Some(token.clone()).filter(|it| !it.expose().is_empty()).map(InFile),
            refresh_token: refresh_token.clone().map(InFile),
            in_keychain: *in_keychain,
            received: Timestamp(*received),
            expires: expires.map(Timestamp),
            tried: tried.map(Timestamp),
        }
    }

    /// Returns what is written, unless it is nothing that this program writes.
    fn read(self) -> Option<Entry> {
        let origin = self.origin.parse::<RepositoryUrl>().ok()?.origin()?.clone();
        let (issuer, client, audience) = (self.issuer, self.client, self.audience);
        let to = Recipient { origin, guest: self.server };
        let key = Key { issuer, client, audience, to, who: self.who };
        let in_keychain = self.in_keychain;
        let (token, refresh_token) = (self.token.map(|it| it.0), self.refresh_token.map(|it| it.0));
        if !refresh_token.iter().chain(&token).all(crate::oidc::is_token) {
            return None;
        }
        // One of them may be in the keychain, and which is known.
        let token = match token {
            Some(token) if !in_keychain || !key.is_of_server() => token,
            None if in_keychain && key.is_of_server() => Secret::new(String::new()),
            Some(_) | None => return None,
        };
        if in_keychain && refresh_token.is_some() {
            return None;
        }
        let tokens = Tokens {
            token,
            refresh_token,
            received: self.received.0,
            expires: self.expires.map(|Timestamp(time)| time),
        };
        Some(Entry { key, tokens, tried: self.tried.map(|Timestamp(time)| time), in_keychain })
    }
}

/// Reads the file if nobody else could have read or written it.
fn read(path: &Path) -> Result<Vec<Entry>, CacheProblem> {
    let damaged = || CacheProblem::Damaged { path: path.to_owned() };
    let failed = |source| CacheProblem::Read(FsxError::new("read", path, source));
    // What is not ours may not even be opened.
    match std::fs::symlink_metadata(path) {
        Ok(named) => judge(path, &named)?,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(error)),
    }
    let file = match fsx::open_nofollow(path) {
        Ok(file) => file,
        Err(error) if error.is_missing() => return Ok(Vec::new()),
        Err(error) => return Err(CacheProblem::Read(error)),
    };
    // By now it may be another one.
    let metadata = file.metadata().map_err(failed)?;
    judge(path, &metadata)?;
    let bytes = fsx::read_all(file, &metadata, FILE_LIMIT).map_err(failed)?;
    let bytes = Secret::new(bytes.ok_or_else(damaged)?);
    // What the parser says is not repeated: it may hold a part of the file.
    let Schema { schema } = serde_json::from_slice(bytes.expose()).map_err(|_error| damaged())?;
    if schema > SCHEMA {
        return Err(CacheProblem::Newer { path: path.to_owned() });
    }
    let contents: Contents = serde_json::from_slice(bytes.expose()).map_err(|_error| damaged())?;
    let entries = contents.tokens.into_iter().map(|written| written.read().ok_or_else(damaged));
    entries.collect()
}

/// Refuses what others could read or write: more than for what is remembered of servers, since
/// whoever reads a token has it.
#[cfg(unix)]
fn judge(path: &Path, metadata: &std::fs::Metadata) -> Result<(), CacheProblem> {
    use std::os::unix::fs::MetadataExt as _;
    let (owner, mode) = (metadata.uid(), metadata.mode() & 0o7777);
    if !metadata.is_file() {
        return Err(CacheProblem::NoFile { path: path.to_owned() });
    }
    if owner != dbt_sys::files::us() {
        return Err(CacheProblem::Foreign { path: path.to_owned(), owner });
    }
    if mode & 0o077 != 0 {
        return Err(CacheProblem::Open { path: path.to_owned(), mode });
    }
    Ok(())
}

#[cfg(not(unix))]
fn judge(_path: &Path, _metadata: &std::fs::Metadata) -> Result<(), CacheProblem> {
    // The directory is the user's own there, and what is in it is.
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::url::Origin;

    #[test]
    fn what_another_process_is_changing_is_not_written_over() {
        let directory = tempfile::tempdir().unwrap();
        let file = TokenFile {
            patience: Duration::ZERO,
            ..TokenFile::in_directory(directory.path().to_owned())
        };
        let held = fsx::lock_file(&directory.path().join("tokens.lock"), Duration::ZERO).unwrap();
        assert!(held.is_held());
        let said = std::cell::RefCell::new(Vec::new());
        let say = |problem: &CacheProblem| said.borrow_mut().push(problem.to_string());
        let origin: Origin =
            "https://h".parse::<RepositoryUrl>().unwrap().origin().unwrap().clone();
        let tokens = Tokens::without_end(
            Secret::new("s3cr3t".to_owned()),
            std::time::SystemTime::UNIX_EPOCH,
        );
        let entry = Entry::new(&Key::of_server(Recipient::at_home(origin)), &tokens);
        file.change(&say, |entries| entries.push(entry.clone()));
        assert!(!file.path().exists() && !file.can_be_written());
        let words =
            format!("`{}` is not changed: another process had it for 0 s", file.path().display());
        assert_eq!(said.take(), [words]);
        drop(held);
        // Programs that other tests are just starting hold it for a moment longer.
        let file = TokenFile { patience: LOCK_PATIENCE, ..file };
        file.change(&say, |entries| entries.push(entry));
        assert!(file.path().exists() && file.can_be_written() && said.take().is_empty());
    }
}
