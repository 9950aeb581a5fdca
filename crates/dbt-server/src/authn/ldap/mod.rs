//! Passwords that a directory service knows (LDAP): the user's entry is looked for, and the
//! password is the right one if the directory lets the entry sign in with it.

use std::collections::HashMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use dbt_core::secret::Secret;
use ring::hmac;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::watched::{Unreadable, Watched};
use super::{
    Attempt, Authenticator, BadCredential, Credential, Group, Identity, Subject, Verdict, Vouching,
    away,
};
use crate::authz::REALM;
use crate::content::BoxFuture;
use crate::limits;
use crate::outbound::tls::{Tls, TlsError};

pub mod ber;
pub mod directory;
pub mod filter;

use self::directory::{Directory, Entry, Outcome, Query, Trouble};
pub use self::filter::{About, BadFilter, Filter};

/// The method's name in the configuration.
pub const NAME: &str = "basic-ldap";

/// The word before the names that it proves.
pub const WORD: &str = "ldap";

/// A directory service and how it is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Where it is.
    pub place: Place,
    /// The file of further certificate authorities.
    pub ca_file: Option<PathBuf>,
    /// The name that searches, and its password; without, nobody signs in for the search.
    pub service: Option<(String, Password)>,
    /// Below which entry users are.
    pub user_base: String,
    /// How a user is found.
    pub user_filter: Filter,
    /// Where groups are, and how a user's are found.
    pub groups: Option<Groups>,
}

/// The password of the name that searches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Password {
    /// This one.
    Given(Secret<String>),
    /// What a file says now.
    File(PathBuf),
}

/// Where groups are, and how a user's are found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Groups {
    /// Below which entry.
    pub base: String,
    /// By which filter.
    pub filter: Filter,
    /// The attribute that names a group.
    pub attribute: String,
}

/// Where a directory service is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The host.
    pub host: String,
    /// The port.
    pub port: u16,
    /// How nobody can listen.
    pub security: Security,
}

/// How nobody between can listen or answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Security {
    /// TLS from the first byte.
    Tls,
    /// TLS that begins before anything secret is sent.
    StartTls,
    /// The connection does not leave this machine.
    Plain,
}

/// Accepts the passwords that a directory service accepts.
pub struct Ldap {
    settings: Settings,
    tls: Tls,
    password_file: Option<Arc<Watched<Secret<String>>>>,
    key: hmac::Key,
    remembered: Mutex<HashMap<[u8; 32], Remembered>>,
    quiet_until: Mutex<Option<SystemTime>>,
    conversations: Semaphore,
}

#[derive(Clone)]
struct Remembered {
    verdict: Result<Identity, BadCredential>,
    until: SystemTime,
}

impl Ldap {
    /// Believes a directory. It is not asked before there is a password.
    pub fn new(settings: Settings) -> Result<Self, LdapError> {
        let random = ring::rand::SystemRandom::new();
        let key = hmac::Key::generate(hmac::HMAC_SHA256, &random)
            .map_err(|_unspecified| LdapError::Random)?;
        let password_file = match &settings.service {
            Some((_dn, Password::File(path))) => Some(Arc::new(Watched::open(path, password)?)),
            Some((_, Password::Given(_))) | None => None,
        };
        Ok(Self {
            tls: Tls::trusting(settings.ca_file.as_deref())?,
            password_file,
            settings,
            key,
            remembered: Mutex::default(),
            quiet_until: Mutex::default(),
            conversations: Semaphore::new(limits::DIRECTORY_CONVERSATIONS),
        })
    }

    async fn judge(
        &self,
        user: &str,
        password: &Secret<String>,
        now: SystemTime,
    ) -> Result<Identity, BadCredential> {
        let refuse = |why: &'static str| Err(BadCredential::default().noting(why));
        // An empty password would be a sign-in without one, which many directories allow.
        if password.expose().is_empty() {
            return refuse("the password is empty");
        }
        if user.contains('\0') || password.expose().contains('\0') {
            return refuse("the name or the password holds a NUL");
        }
        if user.len() > limits::USER_BYTES || password.expose().len() > limits::PASSWORD_BYTES {
            return refuse("the name or the password is too long");
        }
        let key = self.key_of(user, password);
        if let Some(known) = self.remembered(&key, now) {
            return known;
        }
        let turn = timeout(limits::ASKING_TIME, self.conversations.acquire()).await;
        let Ok(Ok(_turn)) = turn else { return Err(away("too many ask the directory")) };
        if let Some(known) = self.remembered(&key, now) {
            return known;
        }
        if self.is_quiet(now) {
            return Err(away("the directory did not answer a moment ago"));
        }
        let answer = timeout(limits::ASKING_TIME, self.ask(user, password)).await;
        match answer.unwrap_or(Err(Trouble::Time)) {
            Ok(verdict) => {
                self.remember(key, &verdict, now);
                verdict
            }
            Err(trouble) => {
                let until = now + limits::DIRECTORY_PAUSE;
                *self.quiet_until.lock().unwrap_or_else(PoisonError::into_inner) = Some(until);
                tracing::warn!(host = self.settings.place.host, %trouble, "the directory could not be asked");
                Err(away(trouble.to_string()))
            }
        }
    }

    /// Has the directory judge a password. The outer error means that it did not.
    async fn ask(
        &self,
        user: &str,
        password: &Secret<String>,
    ) -> Result<Result<Identity, BadCredential>, Trouble> {
        let mut directory = Directory::open(&self.settings.place, &self.tls).await?;
        let verdict = self.converse(&mut directory, user, password).await?;
        directory.close().await;
        Ok(verdict)
    }

    async fn converse(
        &self,
        directory: &mut Directory,
        user: &str,
        password: &Secret<String>,
    ) -> Result<Result<Identity, BadCredential>, Trouble> {
        self.sign_in_to_search(directory).await?;
        let found = self.find(directory, user).await?;
        // Also where there is nobody: the time must not tell who is in the directory.
        let dn = found.as_ref().map_or_else(|_bad| self.nobody(), |dn| Ok(String::clone(dn)))?;
        if directory.is_used_up() {
            *directory = Directory::open(&self.settings.place, &self.tls).await?;
        }
        let outcome = directory.bind(&dn, password.expose()).await?;
        if outcome.is_trouble() {
            return Err(Trouble::Busy(outcome));
        }
        let dn = match found {
            Ok(dn) => dn,
            Err(bad) => return Ok(Err(bad)),
        };
        if outcome.code != Outcome::SUCCESS {
            let why = match outcome.code {
                Outcome::INVALID_CREDENTIALS => format!("the password of `{dn}` is wrong"),
                _ => format!("the directory does not let `{dn}` sign in: {outcome}"),
            };
            return Ok(Err(BadCredential::default().noting(why)));
        }
        let subject = Subject::local(WORD, &dn);
        let groups = self.groups(directory, user, &dn).await?;
        Ok(groups.map(|groups| Identity { groups, ..Identity::of(subject) }))
    }

    /// Returns the name of an entry that is none.
    fn nobody(&self) -> Result<String, Trouble> {
        let mut random = [0; 16];
        getrandom::fill(&mut random).map_err(|error| Trouble::Connect(error.into()))?;
        let name = u128::from_ne_bytes(random);
        Ok(format!("cn=nobody-{name:032x},{}", self.settings.user_base))
    }

    async fn sign_in_to_search(&self, directory: &mut Directory) -> Result<(), Trouble> {
        let Some((dn, written)) = &self.settings.service else { return Ok(()) };
        let password = match (written, &self.password_file) {
            (Password::Given(password), _) => password.clone(),
            (Password::File(_), Some(file)) => {
                let file = Arc::clone(file);
                let current = tokio::task::spawn_blocking(move || file.current()).await;
                let current = current.map_err(|error| Trouble::Connect(error.into()))?;
                Secret::clone(&current)
            }
            (Password::File(_), None) => return Err(Trouble::Unauthenticated),
        };
        match directory.bind(dn, password.expose()).await? {
            Outcome { code: Outcome::SUCCESS, .. } => Ok(()),
            refused => Err(Trouble::Service(refused)),
        }
    }

    /// Finds the one entry of a user.
    async fn find(
        &self,
        directory: &mut Directory,
        user: &str,
    ) -> Result<Result<String, BadCredential>, Trouble> {
        let base = &self.settings.user_base;
        let filter = self.settings.user_filter.about(About { username: user, dn: "" });
        let query = Query { base, filter: &filter, attribute: None, most: 2 };
        let (entries, outcome) = directory.search(query).await?;
        let refuse = |why: &'static str| Ok(Err(BadCredential::default().noting(why)));
        match (outcome.code, entries.as_slice()) {
            (Outcome::SUCCESS, []) => refuse("the directory has no such user"),
            (Outcome::SUCCESS, [Entry { dn, .. }]) if dn.is_empty() => {
                refuse("the entry of the user has no name")
            }
            (Outcome::SUCCESS, [Entry { dn, .. }]) => Ok(Ok(dn.clone())),
            (Outcome::SUCCESS | Outcome::SIZE_LIMIT, _) => {
                refuse("the directory has several entries for this user")
            }
            _ => Err(Trouble::Search { base: base.clone(), outcome }),
        }
    }

    /// Finds the groups of an entry; the name that searches asks, as the user may see none.
    async fn groups(
        &self,
        directory: &mut Directory,
        user: &str,
        dn: &str,
    ) -> Result<Result<Vec<Group>, BadCredential>, Trouble> {
        let Some(Groups { base, filter, attribute }) = &self.settings.groups else {
            return Ok(Ok(Vec::new()));
        };
        self.sign_in_to_search(directory).await?;
        let filter = filter.about(About { username: user, dn });
        let attribute = Some(attribute.as_str());
        let most = limits::DIRECTORY_GROUPS;
        let query = Query { base, filter: &filter, attribute, most };
        let (entries, outcome) = directory.search(query).await?;
        let count = entries.len();
        match outcome.code {
            Outcome::SUCCESS => {
                let group = |name| Group { issuer: WORD.to_owned(), name };
                Ok(Ok(entries.into_iter().flat_map(|entry| entry.values).map(group).collect()))
            }
            // It is theirs alone: the directory answers, and others are in fewer.
            Outcome::SIZE_LIMIT | Outcome::ADMIN_LIMIT if count >= most as usize => {
                let why = format!("`{dn}` is in more than {most} groups, which is the limit");
                Ok(Err(BadCredential::default().noting(why)))
            }
            Outcome::SIZE_LIMIT | Outcome::ADMIN_LIMIT => {
                let why = format!(
                    "`{dn}` is in more groups than the {count} that the directory names at most: \
                     {outcome}"
                );
                Ok(Err(BadCredential::default().noting(why)))
            }
            _ => Err(Trouble::Search { base: base.clone(), outcome }),
        }
    }

    /// Returns what stands for a name and a password in memory, from which neither can be told.
    fn key_of(&self, user: &str, password: &Secret<String>) -> [u8; 32] {
        let mut context = hmac::Context::with_key(&self.key);
        // The length keeps two pairs of the same letters apart.
        context.update(&user.len().to_be_bytes());
        context.update(user.as_bytes());
        context.update(password.expose().as_bytes());
        let mut key = [0; 32];
        key.iter_mut().zip(context.sign().as_ref()).for_each(|(to, from)| *to = *from);
        key
    }

    fn memory(&self) -> MutexGuard<'_, HashMap<[u8; 32], Remembered>> {
        self.remembered.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn remembered(
        &self,
        key: &[u8; 32],
        now: SystemTime,
    ) -> Option<Result<Identity, BadCredential>> {
        let memory = self.memory();
        let known = memory.get(key)?;
        // A clock that was set back must not keep a verdict for ever.
        let left = known.until.duration_since(now).ok()?;
        (left <= limits::PASSWORD_TIME).then(|| known.verdict.clone())
    }

    fn remember(&self, key: [u8; 32], verdict: &Result<Identity, BadCredential>, now: SystemTime) {
        let time = match verdict {
            Ok(_identity) => limits::PASSWORD_TIME,
            Err(_bad) => limits::WRONG_PASSWORD_TIME,
        };
        let mut memory = self.memory();
        if memory.len() >= limits::REMEMBERED_PASSWORDS {
            memory.retain(|_key, known| known.until > now);
        }
        if memory.len() >= limits::REMEMBERED_PASSWORDS {
            memory.clear();
        }
        memory.insert(key, Remembered { verdict: verdict.clone(), until: now + time });
    }

    fn is_quiet(&self, now: SystemTime) -> bool {
        let until = *self.quiet_until.lock().unwrap_or_else(PoisonError::into_inner);
        let left = until.and_then(|until| until.duration_since(now).ok());
        left.is_some_and(|left| !left.is_zero() && left <= limits::DIRECTORY_PAUSE)
    }
}

impl Authenticator for Ldap {
    fn identify<'a>(&'a self, attempt: &'a Attempt<'a>) -> BoxFuture<'a, Verdict> {
        Box::pin(async move {
            let Credential::Basic { user, password } = attempt.credential else {
                return Verdict::NotMine;
            };
            // Tokens as passwords are for others, and not for the directory to see.
            if user.is_empty() || attempt.credential.is_nobodys_password() {
                return Verdict::NotMine;
            }
            self.judge(user, password, attempt.now).await.into()
        })
    }

    fn could_prove(&self, subject: &Subject) -> bool {
        subject.method == WORD
    }

    /// The directory decides who signs in, and is not asked for each request with a token.
    fn vouches_for<'a>(
        &'a self,
        subject: &'a Subject,
        _peer: IpAddr,
        _now: SystemTime,
    ) -> BoxFuture<'a, Result<Vouching, BadCredential>> {
        Box::pin(std::future::ready(Ok(Vouching::of(subject.method == WORD))))
    }

    fn challenge(&self) -> String {
        format!("Basic realm=\"{REALM}\", charset=\"UTF-8\"")
    }
}

/// Reads the password of the name that searches from its file.
pub fn password(bytes: &[u8]) -> Result<Secret<String>, String> {
    let text = std::str::from_utf8(bytes).map_err(|_error| "it is not UTF-8".to_owned())?;
    let text = text.trim();
    if text.is_empty() || text.contains('\0') {
        return Err("the password in it is empty or holds a NUL".to_owned());
    }
    Ok(Secret::new(text.to_owned()))
}

/// Why a directory cannot be asked at all.
#[derive(Debug, thiserror::Error)]
pub enum LdapError {
    /// There is no TLS.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// There is no password to search with.
    #[error(transparent)]
    Password(#[from] Unreadable),
    /// There is no randomness.
    #[error("the system gives no random numbers")]
    Random,
}

#[cfg(test)]
mod tests;
