//! The record of who did what, refusals included.
//!
//! A write is recorded before it happens: if that fails, it does not happen. If its outcome
//! cannot be recorded, no further write is taken.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

use dbt_core::clock::Clock;

use crate::action::{Action, Kind};
use crate::authn::Caller;
use crate::authz::{Denied, Grant};
use crate::request_id::RequestId;
use crate::storage::{Effect, EntryKind, Removed, StorageError, Written};

pub mod json_lines;
pub mod memory;

/// Where records go.
pub trait Audit: Send + Sync {
    /// Keeps one record.
    fn record(&self, record: &Record) -> io::Result<()>;
}

/// One line of the record. Holds no secrets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// When.
    pub time: SystemTime,
    /// In which request.
    pub request: RequestId,
    /// From which address.
    pub peer: String,
    /// Who, as method and name; nobody for strangers.
    pub subject: Option<String>,
    /// What was asked.
    pub action: &'static str,
    /// For which path.
    pub path: String,
    /// What came of it.
    pub outcome: Outcome,
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
        /// The digest of what is there now.
        sha256: Option<String>,
        /// The digest of what was there before.
        before: Option<String>,
        /// The size of what is there now.
        size: Option<u64>,
    },
    /// It was permitted and could not be carried out.
    Failed {
        /// Why.
        reason: String,
    },
    /// It was not permitted.
    Refused {
        /// Why.
        reason: String,
    },
}

/// The record of a server.
pub struct AuditLog {
    sink: Box<dyn Audit>,
    clock: Clock,
    stopped: AtomicBool,
}

/// The request that a record is about.
#[derive(Clone, Debug)]
pub struct Origin {
    /// Its id.
    pub request: RequestId,
    /// The address it came from.
    pub peer: String,
}

/// A record that was opened and must be closed with the outcome.
#[must_use]
pub struct OpenEntry(Record);

impl AuditLog {
    /// Keeps records in `sink`.
    pub fn new(sink: Box<dyn Audit>, clock: Clock) -> Self {
        Self { sink, clock, stopped: AtomicBool::new(false) }
    }

    /// Records that a granted action is about to be carried out.
    pub fn open<A: Action>(
        &self,
        origin: &Origin,
        grant: &Grant<A>,
    ) -> Result<OpenEntry, AuditError> {
        if self.stopped.load(Ordering::Acquire) {
            return Err(AuditError::Stopped);
        }
        let path = grant.action().path().to_string();
        let record = self.begin(origin, grant.caller(), A::KIND.as_str(), path, Outcome::Attempted);
        self.sink.record(&record).map_err(|source| AuditError::Write { source })?;
        Ok(OpenEntry(record))
    }

    /// Records what came of it.
    ///
    /// It has happened, so a failure here cannot undo it; it stops all further writes instead.
    pub fn close(&self, entry: OpenEntry, outcome: Outcome) {
        let record = Record { time: self.clock.now(), outcome, ..entry.0 };
        if let Err(error) = self.sink.record(&record) {
            self.stopped.store(true, Ordering::Release);
            tracing::error!(%error, "the outcome of a write could not be recorded; no more writes are taken");
        }
    }

    /// Records a refusal. Strangers' are only counted by the access log: anybody can cause them.
    pub fn refused(&self, origin: &Origin, denied: &Denied) {
        if denied.caller.is_anonymous() {
            return;
        }
        let outcome = Outcome::Refused { reason: denied.reason.to_string() };
        let (action, path) = (denied.kind.as_str(), denied.path.clone());
        self.note(&self.begin(origin, &denied.caller, action, path, outcome));
    }

    /// Records a credential that proved nothing.
    pub fn failed_sign_in(&self, origin: &Origin, kind: Kind, path: String, reason: &str) {
        let outcome = Outcome::Refused { reason: reason.to_owned() };
        self.note(&self.begin(origin, &Caller::anonymous(), kind.as_str(), path, outcome));
    }

    /// Records that a known caller was given a file.
    pub fn read<A: Action>(&self, origin: &Origin, grant: &Grant<A>) {
        if grant.caller().is_anonymous() {
            return;
        }
        let path = grant.action().path().to_string();
        let outcome = Outcome::Done { effect: "read", sha256: None, before: None, size: None };
        self.note(&self.begin(origin, grant.caller(), A::KIND.as_str(), path, outcome));
    }

    fn begin(
        &self,
        origin: &Origin,
        caller: &Caller,
        action: &'static str,
        path: String,
        outcome: Outcome,
    ) -> Record {
        Record {
            time: self.clock.now(),
            request: origin.request,
            peer: origin.peer.clone(),
            subject: caller.subject().map(ToString::to_string),
            action,
            path,
            outcome,
        }
    }

    /// Keeps a record of something that changes nothing; losing it stops nothing.
    fn note(&self, record: &Record) {
        if let Err(error) = self.sink.record(record) {
            tracing::error!(%error, "a refusal or a read could not be recorded");
        }
    }
}

impl Outcome {
    /// Returns the outcome of something that has no bytes of its own.
    pub fn of<T>(effect: &'static str, result: &Result<T, StorageError>) -> Self {
        match result {
            Ok(_done) => Self::Done { effect, sha256: None, before: None, size: None },
            Err(error) => Self::Failed { reason: error.to_string() },
        }
    }
}

impl From<&Result<Written, StorageError>> for Outcome {
    fn from(result: &Result<Written, StorageError>) -> Self {
        let written = match result {
            Ok(written) => written,
            Err(error) => return Self::Failed { reason: error.to_string() },
        };
        let effect = match written.effect {
            Effect::Created => "created",
            Effect::Replaced => "replaced",
            Effect::Unchanged => "unchanged",
        };
        Self::Done {
            effect,
            sha256: Some(written.digest.to_string()),
            before: written.before.map(|digest| digest.to_string()),
            size: Some(written.length),
        }
    }
}

impl From<&Result<Removed, StorageError>> for Outcome {
    fn from(result: &Result<Removed, StorageError>) -> Self {
        let effect = match result {
            Ok(Removed { kind: EntryKind::File }) => "deleted",
            Ok(Removed { kind: EntryKind::Directory }) => "deleted with everything below",
            Err(error) => return Self::Failed { reason: error.to_string() },
        };
        Self::Done { effect, sha256: None, before: None, size: None }
    }
}

/// Something could not be recorded, and so did not happen.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AuditError {
    /// The record could not be written.
    #[error("failed to record the attempt")]
    Write {
        /// What the system said.
        source: io::Error,
    },
    /// The outcome of an earlier write could not be recorded.
    #[error("an earlier outcome could not be recorded, so no writes are taken")]
    Stopped,
}
