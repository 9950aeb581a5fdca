//! Passwords that a directory service knows (LDAP): the user's entry is looked for, and the
//! password is the right one if the directory lets the entry sign in with it.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use dbt_core::secret::Secret;
use ring::hmac;
use rustls::pki_types::CertificateDer;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::jwt::Jwt;
use super::keys::Algorithm;
use super::{
    Attempt, Authenticator, BadCredential, Credential, Group, Identity, Subject, Verdict, away,
};
use crate::authz::REALM;
use crate::content::BoxFuture;
use crate::limits;
use crate::outbound::tls::Tls;

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
    /// Further certificate authorities.
    pub authorities: Vec<CertificateDer<'static>>,
    /// The name that searches, and its password; without, nobody signs in for the search.
    pub service: Option<(String, Secret<String>)>,
    /// Below which entry users are.
    pub user_base: String,
    /// How a user is found.
    pub user_filter: Filter,
    /// Where groups are, and how a user's are found.
    pub groups: Option<Groups>,
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
        Ok(Self {
            tls: Tls::trusting(&settings.authorities)?,
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
        let dn = match self.find(directory, user).await? {
            Ok(dn) => dn,
            Err(bad) => return Ok(Err(bad)),
        };
        let outcome = directory.bind(&dn, password.expose()).await?;
        if outcome.is_trouble() {
            return Err(Trouble::Busy(outcome));
        }
        if outcome.code != Outcome::SUCCESS {
            let why = match outcome.code {
                Outcome::INVALID_CREDENTIALS => format!("the password of `{dn}` is wrong"),
                _ => format!("the directory does not let `{dn}` sign in: {outcome}"),
            };
            return Ok(Err(BadCredential::default().noting(why)));
        }
        let groups = self.groups(directory, user, &dn).await?;
        let subject = Subject::local(WORD, &dn);
        Ok(Ok(Identity { groups, ..Identity::of(subject) }))
    }

    async fn sign_in_to_search(&self, directory: &mut Directory) -> Result<(), Trouble> {
        let Some((dn, password)) = &self.settings.service else { return Ok(()) };
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
    ) -> Result<Vec<Group>, Trouble> {
        let Some(Groups { base, filter, attribute }) = &self.settings.groups else {
            return Ok(Vec::new());
        };
        self.sign_in_to_search(directory).await?;
        let filter = filter.about(About { username: user, dn });
        let attribute = Some(attribute.as_str());
        let query = Query { base, filter: &filter, attribute, most: limits::DIRECTORY_GROUPS };
        let (entries, outcome) = directory.search(query).await?;
        if outcome.code != Outcome::SUCCESS {
            return Err(Trouble::Search { base: base.clone(), outcome });
        }
        let group = |name| Group { issuer: WORD.to_owned(), name };
        Ok(entries.into_iter().flat_map(|entry| entry.values).map(group).collect())
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
            if user.is_empty() || Jwt::parse(password.expose(), &Algorithm::ALL).is_ok() {
                return Verdict::NotMine;
            }
            self.judge(user, password, attempt.now).await.into()
        })
    }

    fn could_prove(&self, subject: &Subject) -> bool {
        subject.method == WORD
    }

    fn challenge(&self) -> String {
        format!("Basic realm=\"{REALM}\", charset=\"UTF-8\"")
    }
}

/// Why a directory cannot be asked at all.
#[derive(Debug, thiserror::Error)]
pub enum LdapError {
    /// There is no TLS.
    #[error(transparent)]
    Tls(#[from] rustls::Error),
    /// There is no randomness.
    #[error("the system gives no random numbers")]
    Random,
}

#[cfg(test)]
mod tests;
