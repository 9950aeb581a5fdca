//! Who is calling, and how that was proved.
//!
//! A credential that is wrong is refused; it never makes its bearer "anonymous".

use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use dbt_core::digest::Digest;
use hyper::{HeaderMap, Method, Uri};
use serde::{Deserialize, Serialize};

use crate::authz::ceiling::Ceiling;
use crate::content::BoxFuture;

mod any_of;
pub mod api_tokens;
mod credential;
pub mod federation;
pub mod guesses;
pub mod htpasswd;
pub mod job;
pub mod jwt;
pub mod keys;
pub mod ldap;
mod mode;
pub mod oidc;
mod passwords;
pub mod rate;
mod refused;
pub mod replay;
pub mod ssh;
pub mod ssh_keys;
pub mod static_token;
#[cfg(test)]
mod testing;
pub mod users;
pub mod verified;
pub mod watched;

pub use self::any_of::AnyOf;
use self::api_tokens::HeldToken;
pub use self::credential::Credential;
use self::federation::rules::Rule;
pub use self::job::Job;
pub use self::mode::Mode;
pub use self::refused::{BadCredential, Excess, Why, away};
use self::replay::Once;

/// For what a method of authentication is valid: the configuration has one list for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// For reading.
    Reads,
    /// For writing and deleting.
    Writes,
}

impl Scope {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Reads, Self::Writes];
}

/// That somebody proved who they are: for what it counts, and what it took.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Proof {
    /// For what.
    pub scope: Scope,
    /// The digest of what they had to be for it, beside who they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub demands: Option<String>,
}

impl From<Scope> for Proof {
    /// Returns a proof for which somebody had to be nothing else.
    fn from(scope: Scope) -> Self {
        Self { scope, demands: None }
    }
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

/// The word before the number of a user of the server's own machine.
pub const HOST: &str = "host";

/// The word before the name of a program that has nothing but tokens of this server's own.
pub const AGENT: &str = "agent";

/// The word before the name of a person whom the settings name, and who has nothing but tokens of this
/// server's own.
pub const USER: &str = "user";

/// Says whether those are people who sign in by a method.
pub fn is_method_of_people(method: &str) -> bool {
    [oidc::NAME, ssh::WORD, htpasswd::WORD, ldap::WORD, USER].contains(&method)
}

/// What the name of an owner begins with that is no subject alone. No method has such a name.
const WITHIN: &str = "(within ";

/// Returns the subject of an owner, whatever narrows what it may.
pub fn subject_of_owner(owner: &str) -> &str {
    let narrowed = owner.strip_prefix(WITHIN).and_then(|rest| rest.split_once(") "));
    narrowed.map_or(owner, |(_digest, subject)| subject)
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
    roles: Vec<String>,
    groups_left_out: bool,
    proofs: Vec<Proof>,
    default_rights: bool,
    job: Option<Box<Job>>,
    token: Option<Box<HeldToken>>,
}

impl Caller {
    /// Returns a caller of whom nothing is known.
    pub const fn anonymous() -> Self {
        Self {
            subject: None,
            groups: Vec::new(),
            roles: Vec::new(),
            groups_left_out: false,
            proofs: Vec::new(),
            default_rights: false,
            job: None,
            token: None,
        }
    }

    /// Returns whoever runs commands on the server's own machine, as the server or as root.
    pub fn on_the_host(user: u32) -> Self {
        let subject = Subject::local(HOST, &user.to_string());
        Self::assumed(subject, Vec::new(), vec![Scope::Reads, Scope::Writes])
    }

    /// Says whether it is whoever runs commands on the server's own machine.
    pub fn is_on_the_host(&self) -> bool {
        // No method of authentication has this name.
        self.subject.as_ref().is_some_and(|subject| subject.method == HOST)
    }

    /// Returns a caller of whom this is assumed, to say what it would be permitted.
    pub(crate) fn assumed(subject: Subject, groups: Vec<Group>, scopes: Vec<Scope>) -> Self {
        // An agent has what it was given, and nothing that everybody has.
        let default_rights = ![AGENT, federation::WORD].contains(&subject.method);
        let proofs = scopes.into_iter().map(Proof::from).collect();
        Self { subject: Some(subject), groups, proofs, default_rights, ..Self::anonymous() }
    }

    /// Assumes besides that what they claim gives them these roles, and whether anybody can have a proof
    /// like theirs.
    pub(crate) fn assumed_to_hold(self, roles: Vec<String>, is_for_all: bool) -> Self {
        let default_rights = self.default_rights && !is_for_all;
        Self { roles, default_rights, ..self }
    }

    /// Returns a job that a rule is about, to say what it would be permitted.
    pub(crate) fn job_of(rule: &Rule) -> Self {
        let id = format!("(any job of the rule `{}`)", rule.name);
        let issuer = Some(rule.issuer.clone());
        let subject = Subject { method: federation::WORD, issuer, id };
        let token = HeldToken { rules: vec![rule.known()], ..HeldToken::default() };
        let token = Some(Box::new(token));
        Self { token, ..Self::assumed(subject, Vec::new(), Scope::ALL.to_vec()) }
    }

    /// Returns whoever proved this.
    pub(crate) fn of(identity: Identity, proofs: Vec<Proof>) -> Self {
        let Identity {
            subject,
            groups,
            roles,
            groups_left_out,
            once: _admitted,
            default_rights,
            job,
            token,
        } = identity;
        let subject = Some(subject);
        Self { subject, groups, roles, groups_left_out, proofs, default_rights, job, token }
    }

    /// Has a caller hold these roles besides, which this server keeps of them.
    pub(crate) fn given(mut self, roles: Vec<String>) -> Self {
        self.roles.extend(roles);
        self
    }

    /// Says whether it is a person, and neither a program nor a job.
    pub fn is_person(&self) -> bool {
        let is_of_one = |subject: &Subject| is_method_of_people(subject.method);
        self.subject.as_ref().is_some_and(is_of_one) && self.job.is_none()
    }

    /// Says whether nothing is known of the caller.
    pub const fn is_anonymous(&self) -> bool {
        self.subject.is_none()
    }

    /// Says whether the caller's proof is valid for this.
    pub fn is_proven_for(&self, scope: Scope) -> bool {
        self.proofs.iter().any(|proof| proof.scope == scope)
    }

    /// Returns what the caller proved.
    pub fn proofs(&self) -> &[Proof] {
        &self.proofs
    }

    /// Says whether the reference's settings, which name nobody, are about this caller.
    pub const fn has_default_rights(&self) -> bool {
        self.default_rights
    }

    /// Returns the subject, if it is known.
    pub const fn subject(&self) -> Option<&Subject> {
        self.subject.as_ref()
    }

    /// Returns the job of a CI system that the caller is, if it is one.
    pub fn job(&self) -> Option<&Job> {
        self.job.as_deref()
    }

    /// Returns the token of this server's own that the caller showed, if it was one.
    pub fn token(&self) -> Option<&HeldToken> {
        self.token.as_deref()
    }

    /// Says whether what the caller showed makes one token, and does nothing else.
    pub fn is_for_one_use(&self) -> bool {
        self.token.as_deref().is_some_and(|token| token.once)
    }

    /// Returns what narrows the caller's rights, all of it.
    pub fn ceilings(&self) -> &[Ceiling] {
        self.token.as_deref().map_or(&[], |token| &token.ceilings)
    }

    /// Returns the roles that the caller holds by what an identity provider says of them, or because they
    /// were given to them.
    pub fn own_roles(&self) -> &[String] {
        &self.roles
    }

    /// Says whether an identity provider left out the groups that the caller is in, because they are too
    /// many.
    pub const fn has_groups_left_out(&self) -> bool {
        self.groups_left_out
    }

    /// Says whether the caller is somebody of whom all is known that could give them a role, so that one
    /// may be theirs for want of another. Programs and jobs are nobody in that sense, nor is who has a
    /// proof that anybody can have; and what an identity provider or a directory says of somebody is not
    /// known of a token of the server's own.
    pub fn may_have_default_role(&self) -> bool {
        let Some(subject) = &self.subject else { return false };
        let known_here = [ssh::WORD, htpasswd::WORD, USER].contains(&subject.method);
        let told = [oidc::NAME, ldap::WORD].contains(&subject.method) && self.token.is_none();
        (known_here || told) && self.default_rights && self.job.is_none()
    }

    /// Returns the roles that the caller holds by a token.
    pub fn roles_of_token(&self) -> &[String] {
        self.token.as_deref().map_or(&[], |token| &token.roles)
    }

    /// Says whether the caller is a job that exchanged its identity for the token that it shows.
    pub fn is_job(&self) -> bool {
        self.subject.as_ref().is_some_and(|subject| subject.method == federation::WORD)
    }

    /// Returns the names of the rules of trusted publishing that give the caller what it has.
    pub fn rules_of_job(&self) -> impl Iterator<Item = &str> {
        self.token.iter().flat_map(|token| &token.rules).map(|rule| rule.name.as_str())
    }

    /// Returns whose that is which the caller begins. What was begun with a token that is good for less
    /// than its subject's others is not theirs, nor is theirs its: it is narrowed, or a job got it by other
    /// rules than another job of one name.
    pub fn as_owner(&self) -> String {
        let subject = self.subject().map_or_else(|| "anonymous".to_owned(), ToString::to_string);
        let token = self.token.as_deref();
        let rules = token.iter().flat_map(|token| &token.rules);
        // By their names: what a rule says of a job may change while a version is uploaded by several.
        let mut grounds: Vec<String> = rules.map(|rule| format!("rule {}", rule.name)).collect();
        // The same settings in another order are the same rules.
        grounds.sort();
        grounds.extend(self.ceilings().iter().map(ToString::to_string));
        if grounds.is_empty() {
            return subject;
        }
        let digest = Digest::of(grounds.join("\n").as_bytes()).to_string();
        format!("{WITHIN}{}) {subject}", digest.get(..32).unwrap_or_default())
    }

    /// Returns the word for how the caller proved who it is.
    pub fn method(&self) -> Option<&'static str> {
        let method = self.subject.as_ref()?.method;
        Some(if self.token.is_some() && !self.is_job() { api_tokens::NAME } else { method })
    }

    /// Returns the groups that an identity provider says the caller is in.
    pub fn groups(&self) -> &[Group] {
        &self.groups
    }

    #[cfg(test)]
    pub(crate) fn being_a_job(self, job: Job) -> Self {
        Self { job: Some(Box::new(job)), ..self }
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
    /// The roles that they hold by what an identity provider says of them.
    pub roles: Vec<String>,
    /// Whether that left out the groups because they are too many.
    pub groups_left_out: bool,
    /// If the proof counts only once, how to know it again.
    pub once: Option<Once>,
    /// Whether somebody of whom no rule speaks may have the rights that everybody has. Not where
    /// anybody can get a proof.
    pub default_rights: bool,
    /// The job, where they are one of a CI system.
    pub job: Option<Box<Job>>,
    /// The token, where it is one of this server's own.
    pub token: Option<Box<HeldToken>>,
}

impl Identity {
    /// Returns somebody without groups, whose proof counts as often as it is shown.
    pub const fn of(subject: Subject) -> Self {
        Self {
            subject,
            groups: Vec::new(),
            roles: Vec::new(),
            groups_left_out: false,
            once: None,
            default_rights: true,
            job: None,
            token: None,
        }
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
    /// The client of an identity provider for whom a token has to be, in the place of this server: for
    /// what a browser's session keeps. What a request shows itself is for this server.
    pub client: Option<&'a str>,
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
    fn could_prove(&self, subject: &Subject) -> bool;

    /// Says what this method knows of somebody who shows a token of this server's own instead. A token
    /// never proves more than its subject could: whoever was taken out of a file proves nothing.
    fn vouches_for<'a>(
        &'a self,
        _subject: &'a Subject,
        _peer: IpAddr,
        _now: SystemTime,
    ) -> BoxFuture<'a, Result<Vouching, BadCredential>> {
        Box::pin(std::future::ready(Ok(Vouching::No)))
    }

    /// Returns the digest of what somebody must be for it, beside who they are: of that a proof says
    /// only that it was so.
    fn demands(&self) -> Option<String> {
        None
    }

    /// Says whether those whom it proves may have rights that everybody has.
    fn gives_default_rights(&self) -> bool {
        true
    }

    /// Says whether it only compares with what the settings say, so that it may be shown anything.
    fn is_of_settings(&self) -> bool {
        false
    }

    /// Returns the `WWW-Authenticate` challenge that names this method.
    fn challenge(&self) -> String;

    /// Returns how it stands with the identity provider that it asks, if it asks one.
    fn provider(&self, _now: SystemTime) -> Option<ProviderStanding> {
        None
    }
}

/// What a method knows of somebody who shows a token of this server's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Vouching {
    /// It would not prove them.
    No,
    /// It would, or is who decides that.
    Yes,
    /// It would if they are what it demands of each sign-in, which cannot be known now: they are taken
    /// for that as far as they proved the very same when they made the token.
    AsProven,
}

impl Vouching {
    /// Vouches, or does not.
    pub const fn of(is_so: bool) -> Self {
        if is_so { Self::Yes } else { Self::No }
    }
}

/// How it stands with an identity provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProviderStanding {
    /// Its `iss`.
    pub issuer: String,
    /// How old its keys are, if any are known.
    pub keys_age: Option<Duration>,
    /// How often it was asked for its keys and answered.
    pub answers: u64,
    /// How often it was asked and there were none.
    pub failures: u64,
}
