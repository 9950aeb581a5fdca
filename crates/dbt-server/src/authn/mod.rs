//! Who is calling, and how that was proved.
//!
//! A credential that is wrong is refused; it never makes its bearer "anonymous".

use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;
use std::time::SystemTime;

use dbt_core::clock::Clock;
use hyper::{HeaderMap, Method, Uri};

use crate::content::BoxFuture;

mod credential;
pub mod htpasswd;
pub mod jwt;
pub mod keys;
pub mod ldap;
pub mod oidc;
mod passwords;
pub mod replay;
pub mod ssh;
pub mod ssh_keys;
pub mod static_token;
#[cfg(test)]
mod testing;
pub mod watched;

pub use self::credential::Credential;
use self::jwt::Jwt;
use self::keys::Algorithm;
use self::replay::{Once, Replay};

/// For what a method of authentication is valid: the configuration has one list for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// For reading.
    Reads,
    /// For writing and deleting.
    Writes,
}

/// Somebody, and the method that proved it: `ssh:alice`, `oidc:https://id.example.com#alice`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    /// The method.
    pub method: &'static str,
    /// Who vouches for the name, where the method knows several.
    pub issuer: Option<String>,
    /// The name, unique within method and issuer.
    pub id: String,
}

impl Subject {
    /// Names somebody whom the server itself knows.
    pub fn local(method: &'static str, id: &str) -> Self {
        Self { method, issuer: None, id: id.to_owned() }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.issuer {
            Some(issuer) => write!(f, "{}:{issuer}#{}", self.method, self.id),
            None => write!(f, "{}:{}", self.method, self.id),
        }
    }
}

/// A group, and who says that there is such a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// An identity provider, or the word for a directory.
    pub issuer: String,
    /// The group's name.
    pub name: String,
}

impl Group {
    /// Says whether a group that a caller is in is this one. Some providers put a slash before
    /// every name, and people leave it out.
    pub fn includes(&self, member: &Self) -> bool {
        let bare = |name: &str| name.strip_prefix('/').unwrap_or(name).to_owned();
        self.issuer == member.issuer && bare(&self.name) == bare(&member.name)
    }
}

impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}", self.issuer, self.name)
    }
}

/// Whoever sent a request: nobody known, or a subject with what it was proved for.
#[derive(Clone, Debug)]
pub struct Caller {
    subject: Option<Subject>,
    groups: Vec<Group>,
    scopes: Vec<Scope>,
    default_rights: bool,
}

impl Caller {
    /// Returns a caller of whom nothing is known.
    pub const fn anonymous() -> Self {
        Self { subject: None, groups: Vec::new(), scopes: Vec::new(), default_rights: false }
    }

    /// Returns a caller of whom this is assumed, to say what it would be permitted.
    pub(crate) fn assumed(subject: Subject, groups: Vec<Group>, scopes: Vec<Scope>) -> Self {
        Self { subject: Some(subject), groups, scopes, default_rights: true }
    }

    /// Says whether nothing is known of the caller.
    pub const fn is_anonymous(&self) -> bool {
        self.subject.is_none()
    }

    /// Says whether the caller's proof is valid for this.
    pub fn is_proven_for(&self, scope: Scope) -> bool {
        self.scopes.contains(&scope)
    }

    /// Says whether the reference's settings, which name nobody, are about this caller.
    pub const fn has_default_rights(&self) -> bool {
        self.default_rights
    }

    /// Returns the subject, if it is known.
    pub const fn subject(&self) -> Option<&Subject> {
        self.subject.as_ref()
    }

    /// Returns the groups that an identity provider says the caller is in.
    pub fn groups(&self) -> &[Group] {
        &self.groups
    }

    #[cfg(test)]
    pub(crate) fn proven_for_tests(id: &str, scopes: &[Scope]) -> Self {
        Self::assumed(Subject::local("test", id), Vec::new(), scopes.to_vec())
    }
}

/// What a method of authentication found out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Who it is.
    pub subject: Subject,
    /// The groups they are in.
    pub groups: Vec<Group>,
    /// If the proof counts only once, how to know it again.
    pub once: Option<Once>,
    /// Whether somebody of whom no rule speaks may have the rights that everybody has. Not where
    /// anybody can get a proof.
    pub default_rights: bool,
}

impl Identity {
    /// Returns somebody without groups, whose proof counts as often as it is shown.
    pub const fn of(subject: Subject) -> Self {
        Self { subject, groups: Vec::new(), once: None, default_rights: true }
    }
}

/// What a method of authentication says of a credential.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is of another kind.
    NotMine,
    /// It is of this kind, and proves nothing.
    Refused(BadCredential),
    /// It proves this.
    Proven(Box<Identity>),
}

impl Verdict {
    /// Refuses, in the words that tell a caller nothing, for a reason that the record keeps.
    pub fn refused(noted: impl Into<Cow<'static, str>>) -> Self {
        Self::Refused(BadCredential::default().noting(noted))
    }
}

impl From<Result<Identity, BadCredential>> for Verdict {
    fn from(result: Result<Identity, BadCredential>) -> Self {
        match result {
            Ok(identity) => Self::Proven(Box::new(identity)),
            Err(bad) => Self::Refused(bad),
        }
    }
}

/// A request, as far as it says who sent it and what a proof may be bound to.
#[derive(Clone, Copy, Debug)]
pub struct Presented<'a> {
    /// Its headers.
    pub headers: &'a HeaderMap,
    /// Its method.
    pub method: &'a Method,
    /// Its target.
    pub uri: &'a Uri,
    /// Where it came from.
    pub peer: IpAddr,
    /// For what a proof is needed.
    pub scope: Scope,
}

/// A credential with the request it came in.
#[derive(Clone, Copy, Debug)]
pub struct Attempt<'a> {
    /// What is offered.
    pub credential: &'a Credential,
    /// In which request.
    pub presented: &'a Presented<'a>,
    /// When.
    pub now: SystemTime,
}

/// A method of proving who one is.
pub trait Authenticator: Send + Sync {
    /// Looks at a credential.
    fn identify<'a>(&'a self, attempt: &'a Attempt<'a>) -> BoxFuture<'a, Verdict>;

    /// Says whether this method could prove the same subject as one that was proved already. One
    /// that could not is not asked any more.
    fn could_prove(&self, _subject: &Subject) -> bool {
        true
    }

    /// Returns the `WWW-Authenticate` challenge that names this method.
    fn challenge(&self) -> String;
}

/// Every configured method, in order, each with what it is valid for.
pub struct AnyOf {
    methods: Vec<(Vec<Scope>, Box<dyn Authenticator>)>,
    replay: Replay,
    clock: Clock,
}

impl AnyOf {
    /// Begins without any method. `clock` is asked whether proofs are still valid.
    pub fn new(clock: Clock) -> Self {
        Self { methods: Vec::new(), replay: Replay::new(clock.now()), clock }
    }

    /// Believes tokens that were issued since then: for tests, whose tokens are old.
    #[must_use]
    pub fn started_at(self, since: SystemTime) -> Self {
        Self { replay: Replay::new(since), ..self }
    }

    /// Adds a method.
    pub fn add(&mut self, scopes: &[Scope], method: Box<dyn Authenticator>) {
        self.methods.push((scopes.to_vec(), method));
    }

    /// Finds out who sent a request.
    ///
    /// The first method that accepts a credential names the caller; the proof counts for every
    /// scope in which the same subject is accepted.
    pub async fn identify(&self, presented: &Presented<'_>) -> Result<Caller, BadCredential> {
        let offered = Credential::all_of(presented.headers)?;
        let now = self.clock.now();
        let mut refused = None;
        for credential in &offered {
            let attempt = Attempt { credential, presented, now };
            match self.judge(&attempt).await {
                Ok(Some((identity, scopes))) => return self.admit(&attempt, identity, scopes),
                Ok(None) => {}
                Err(bad) => refused = Some(BadCredential::both(refused, bad)),
            }
        }
        if offered.is_empty() {
            return Ok(Caller::anonymous());
        }
        let refused = refused.unwrap_or_else(|| {
            BadCredential::default().noting("no configured method takes this kind of credential")
        });
        Err(offered
            .iter()
            .filter_map(said_issuer)
            .fold(refused, |all, said| BadCredential::both(Some(all), said)))
    }

    async fn judge(
        &self,
        attempt: &Attempt<'_>,
    ) -> Result<Option<(Identity, Vec<Scope>)>, BadCredential> {
        let mut proven: Option<(Identity, Vec<Scope>)> = None;
        let mut refused = None;
        for (scopes, method) in &self.methods {
            if proven.as_ref().is_some_and(|(first, _)| !method.could_prove(&first.subject)) {
                continue;
            }
            match method.identify(attempt).await {
                Verdict::NotMine => {}
                Verdict::Refused(bad) => refused = Some(BadCredential::both(refused, bad)),
                Verdict::Proven(identity) => match &mut proven {
                    None => proven = Some((*identity, scopes.clone())),
                    Some((first, so_far)) if first.subject == identity.subject => {
                        so_far.extend(scopes);
                    }
                    Some(_somebody_else) => {}
                },
            }
        }
        match (proven, refused) {
            (None, Some(bad)) => Err(bad),
            (proven, _) => Ok(proven),
        }
    }

    fn admit(
        &self,
        attempt: &Attempt<'_>,
        identity: Identity,
        scopes: Vec<Scope>,
    ) -> Result<Caller, BadCredential> {
        let Identity { subject, groups, once, default_rights } = identity;
        if let Some(once) = once {
            self.replay.admit(&once, attempt.presented.scope, attempt.now)?;
        }
        Ok(Caller { subject: Some(subject), groups, scopes, default_rights })
    }

    /// Returns the challenges of the methods that are valid for something, each once.
    pub fn challenges(&self, scope: Scope) -> Vec<String> {
        let mut challenges = Vec::new();
        for (valid_for, method) in &self.methods {
            let challenge = method.challenge();
            if valid_for.contains(&scope) && !challenges.contains(&challenge) {
                challenges.push(challenge);
            }
        }
        challenges
    }
}

/// Says for the record who a token says it is from, which nobody has checked.
fn said_issuer(credential: &Credential) -> Option<BadCredential> {
    let token = Jwt::parse(credential.token()?.expose(), &Algorithm::ALL).ok()?;
    let issuer: String = token.text("iss")?.chars().take(200).collect();
    let noted = format!("it says it is from `{}`", issuer.escape_debug());
    Some(BadCredential::default().noting(noted))
}

/// Refuses a credential that cannot be judged at the moment, for a reason that the record keeps.
pub fn away(noted: impl Into<Cow<'static, str>>) -> BadCredential {
    BadCredential::new("the credential cannot be checked now; try again in a minute").noting(noted)
}

/// A credential was offered and proves nothing.
///
/// What it says is for whoever sent it, and never more than they know already; the record also
/// gets the reason.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{told}")]
pub struct BadCredential {
    told: &'static str,
    noted: Option<Cow<'static, str>>,
}

impl BadCredential {
    /// Says what is wrong with what was sent.
    pub const fn new(told: &'static str) -> Self {
        Self { told, noted: None }
    }

    /// Adds a reason for the record alone.
    #[must_use]
    pub fn noting(self, noted: impl Into<Cow<'static, str>>) -> Self {
        Self { noted: Some(noted.into()), ..self }
    }

    /// Says what the first says, or the second where the first says nothing; the record gets the
    /// reasons of both.
    fn both(first: Option<Self>, second: Self) -> Self {
        let Some(first) = first else { return second };
        if first.noted() == second.noted() {
            return first;
        }
        let noted = format!("{}; {}", first.noted(), second.noted());
        let told = if first.told == Self::default().told { second.told } else { first.told };
        Self::new(told).noting(noted)
    }

    /// Returns the reason, for the record.
    pub fn noted(&self) -> &str {
        self.noted.as_deref().unwrap_or(self.told)
    }
}

impl Default for BadCredential {
    fn default() -> Self {
        Self::new("the credential is not valid")
    }
}
