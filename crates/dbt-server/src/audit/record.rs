//! One line of the record: who, how proved, what, where, by which rule, and what came of it.

use std::fmt::Display;
use std::time::SystemTime;

use serde_json::{Map, Value, json};

use crate::authn::{Caller, Job, Subject, static_token};
use crate::error::ApiError;
use crate::request_id::RequestId;
use crate::storage::{Effect, EntryKind, Removed, StorageError, Written};
use crate::time;
use crate::tokens::text;

/// One line of the record. Holds no secrets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// When.
    pub time: SystemTime,
    /// In which request, and from where; nothing for what the server does by itself.
    pub origin: Option<Origin>,
    /// Who; nobody for strangers and for the server itself.
    pub actor: Option<Actor>,
    /// The rule that permitted it.
    pub rule: Option<String>,
    /// What was asked.
    pub action: &'static str,
    /// For which path, without a slash before it.
    pub path: Option<String>,
    /// The record of the attempt, where this one is of its outcome.
    pub attempt: Option<u64>,
    /// What came of it.
    pub outcome: Outcome,
}

/// The request that a record is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// Its id.
    pub request: RequestId,
    /// The address it came from.
    pub peer: String,
    /// The program that sent it, as it says.
    pub user_agent: Option<String>,
}

/// Who did something, and by what they are known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Actor {
    /// The subject as rules name it: the method, the issuer, the name.
    pub subject: String,
    /// The method that proved it.
    pub method: String,
    /// Who vouches for the name, where the method knows several.
    pub issuer: Option<String>,
    /// What kind of subject.
    pub kind: ActorKind,
    /// The token, where one was shown: the id of one of the server's own, the name of one that is
    /// written in the configuration.
    pub token: Option<String>,
    /// The roles they held then.
    pub roles: Vec<String>,
    /// The job, where the subject is one of a CI system.
    pub job: Option<Job>,
}

/// What kind of subject somebody is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ActorKind {
    /// A person.
    #[default]
    User,
    /// A program with a credential of its own.
    Agent,
    /// Whoever is on the server's machine.
    Host,
}

/// What came of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was permitted and is about to be carried out.
    Attempted,
    /// It was carried out.
    Done {
        /// What changed.
        effect: &'static str,
        /// The status of the answer, where there is one.
        status: Option<u16>,
        /// The digest of what is there now.
        sha256: Option<String>,
        /// The digest of what was there before.
        before: Option<String>,
        /// The size of what is there now.
        size: Option<u64>,
    },
    /// It was permitted and could not be carried out.
    Failed {
        /// The status of the answer.
        status: Option<u16>,
        /// Why.
        reason: String,
    },
    /// It was not permitted.
    Refused {
        /// The status of the answer.
        status: Option<u16>,
        /// Why.
        reason: String,
    },
    /// It was done, and there is more to say.
    Noted {
        /// What changed.
        effect: &'static str,
        /// What else there is to say.
        detail: String,
    },
    /// So many of a kind, of which none is recorded by itself.
    Counted {
        /// What they have in common.
        effect: &'static str,
        /// How many.
        count: u64,
        /// From which network.
        network: String,
    },
}

/// What an error says of the answer that it becomes.
pub trait Failure: Display {
    /// Returns the status.
    fn status(&self) -> u16;
}

impl Failure for ApiError {
    fn status(&self) -> u16 {
        Self::status(self).as_u16()
    }
}

impl Failure for StorageError {
    fn status(&self) -> u16 {
        ApiError::status_of(self).as_u16()
    }
}

impl Actor {
    /// Returns who a caller is; nobody for a stranger.
    pub fn of(caller: &Caller, roles: &[String]) -> Option<Self> {
        let subject = caller.subject()?;
        let Subject { method, issuer, id } = subject;
        let is_static = *method == static_token::NAME;
        let held = caller.token();
        let is_agent =
            is_static || caller.job().is_some() || held.is_some_and(|held| held.is_of_agent);
        Some(Self {
            subject: subject.to_string(),
            method: caller.method().unwrap_or(method).to_owned(),
            issuer: issuer.clone(),
            kind: if is_agent { ActorKind::Agent } else { ActorKind::User },
            token: held.map_or_else(|| is_static.then(|| id.clone()), |held| Some(held.id.clone())),
            roles: roles.to_vec(),
            job: caller.job().cloned(),
        })
    }

    /// Returns whoever runs a command on the server's machine.
    pub fn on_host() -> Self {
        let user = rustix::process::getuid().as_raw();
        Self {
            subject: format!("host:{user}"),
            method: "host".to_owned(),
            kind: ActorKind::Host,
            ..Self::default()
        }
    }
}

impl ActorKind {
    /// Returns the word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Agent => "agent",
            Self::Host => "host",
        }
    }
}

impl Record {
    /// Returns the record as members of a JSON object, in the order in which they are written.
    /// What is not known is left out.
    pub fn members(&self) -> Map<String, Value> {
        let Self { time, origin, actor, rule, action, path, attempt, outcome } = self;
        let mut members = Map::new();
        let mut add = |name: &str, value: Value| {
            if !value.is_null() {
                members.insert(name.to_owned(), value);
            }
        };
        add("time", json!(time::rfc_3339(*time)));
        add("action", json!(action));
        add("path", json!(path.as_ref().map(|path| format!("/{}", text::masked(path)))));
        outcome.members(&mut add);
        add("attempt", json!(attempt));
        if let Some(Actor { subject, method, issuer, kind, token, roles, job }) = actor {
            add("subject", json!(subject));
            add("subjectType", json!(kind.as_str()));
            add("method", json!(method));
            add("issuer", json!(issuer));
            add("token", json!(token));
            add("roles", if roles.is_empty() { Value::Null } else { json!(roles) });
            if let Some(Job { repository, run, reference, sha }) = job {
                let texts = [
                    ("repository", Some(repository)),
                    ("run", Some(run)),
                    ("ref", reference.as_ref()),
                    ("sha", sha.as_ref()),
                ];
                let known = texts.into_iter().filter_map(|(name, text)| Some((name, text?)));
                let texts: Map<String, Value> =
                    known.map(|(name, text)| (name.to_owned(), json!(text))).collect();
                add("job", Value::Object(texts));
            }
        }
        add("rule", json!(rule));
        if let Some(Origin { request, peer, user_agent }) = origin {
            add("request", json!(request.as_str()));
            add("peer", json!(peer));
            add("userAgent", json!(user_agent));
        }
        members
    }
}

impl Outcome {
    fn members(&self, add: &mut impl FnMut(&str, Value)) {
        match self {
            Self::Attempted => add("outcome", json!("attempted")),
            Self::Noted { effect, detail } => {
                add("outcome", json!(effect));
                add("detail", json!(detail));
            }
            Self::Done { effect, status, sha256, before, size } => {
                add("outcome", json!(effect));
                add("status", json!(status));
                add("sha256", json!(sha256));
                add("before", json!(before));
                add("size", json!(size));
            }
            Self::Failed { status, reason } => {
                add("outcome", json!("failed"));
                add("status", json!(status));
                add("reason", json!(reason));
            }
            Self::Refused { status, reason } => {
                add("outcome", json!("refused"));
                add("status", json!(status));
                add("reason", json!(reason));
            }
            Self::Counted { effect, count, network } => {
                add("outcome", json!(effect));
                add("count", json!(count));
                add("network", json!(network));
            }
        }
    }

    /// Returns that something without an answer of its own was done.
    pub const fn done(effect: &'static str) -> Self {
        Self::Done { effect, status: None, sha256: None, before: None, size: None }
    }

    /// Returns the outcome of something that has no bytes of its own.
    pub fn of<T, E: Failure>(effect: &'static str, result: &Result<T, E>) -> Self {
        match result {
            Ok(_done) => Self::answered(effect, 200),
            Err(error) => Self::failed(error),
        }
    }

    /// Returns that something permitted could not be carried out.
    pub fn failed(error: &impl Failure) -> Self {
        Self::Failed { status: Some(error.status()), reason: error.to_string() }
    }

    /// Returns that something was not permitted.
    pub fn refused(error: &impl Failure) -> Self {
        Self::Refused { status: Some(error.status()), reason: error.to_string() }
    }

    const fn answered(effect: &'static str, status: u16) -> Self {
        let status = Some(status);
        Self::Done { effect, status, sha256: None, before: None, size: None }
    }
}

impl<E: Failure> From<&Result<Written, E>> for Outcome {
    fn from(result: &Result<Written, E>) -> Self {
        let written = match result {
            Ok(written) => written,
            Err(error) => return Self::failed(error),
        };
        let (effect, status) = match written.effect {
            Effect::Created => ("created", 201),
            Effect::Replaced => ("replaced", 200),
            Effect::Unchanged => ("unchanged", 200),
        };
        Self::Done {
            effect,
            status: Some(status),
            sha256: Some(written.digest.to_string()),
            before: written.before.map(|digest| digest.to_string()),
            size: Some(written.length),
        }
    }
}

impl<E: Failure> From<&Result<Removed, E>> for Outcome {
    fn from(result: &Result<Removed, E>) -> Self {
        match result {
            Ok(Removed { kind: EntryKind::File }) => Self::answered("deleted", 204),
            Ok(Removed { kind: EntryKind::Directory }) => {
                Self::answered("deleted with everything below", 204)
            }
            Err(error) => Self::failed(error),
        }
    }
}
