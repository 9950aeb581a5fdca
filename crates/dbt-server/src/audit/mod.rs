//! The record of who did what, refusals included.
//!
//! A write is recorded before it happens: if that fails, it does not happen. If its outcome
//! cannot be recorded, no further write is taken until it is. What changes nothing (refusals, reads) is
//! gathered and recorded together; what strangers cause is counted, and never one record each.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use dbt_core::clock::Clock;

use crate::action::{Action, Kind};
use crate::authz::{Denied, Grant};
use crate::content::BoxFuture;
use crate::log::causes;
use crate::state::{Claim, StateError, Unusable};
use crate::storage::StoredFile;

pub mod chain;
pub mod checkpoint;
pub mod json_lines;
pub mod kept;
pub mod memory;
pub mod record;
pub mod segments;
pub mod signer;
mod strangers;
pub mod verify;
mod waiting;

use self::record::Failure;
pub use self::record::{Actor, Origin, Outcome, Record};
use self::strangers::Strangers;
use self::waiting::Waiting;

/// Where records go.
pub trait Audit: Send + Sync {
    /// Keeps records; they are kept when this is ready. Returns the number of the last.
    fn record(&self, records: Vec<Record>, claim: Claim) -> BoxFuture<'_, Result<u64, StateError>>;

    /// Signs what is new, and moves out what is old. `ending` is before the program ends.
    fn maintain(&self, _ending: bool) -> BoxFuture<'_, ()> {
        Box::pin(std::future::ready(()))
    }
}

/// How often what was gathered is recorded.
const GATHERING: Duration = Duration::from_secs(1);

/// How many records wait to be recorded together. More are counted.
const GATHERED: usize = 10_000;

/// The record of a server.
pub struct AuditLog {
    sink: Box<dyn Audit>,
    clock: Clock,
    unusable: Option<Unusable>,
    /// Outcomes that could not be recorded. Held while they are, so that no write goes before.
    outcomes: tokio::sync::Mutex<Vec<Record>>,
    gathered: Mutex<Gathered>,
    waiting: Waiting,
    strangers: Mutex<Strangers>,
    /// How many attempts have ended.
    ended: AtomicU64,
}

#[derive(Default)]
struct Gathered {
    records: Vec<Record>,
    lost: u64,
}

/// A record that was opened and must be closed with the outcome.
#[must_use]
pub struct OpenEntry {
    record: Record,
    number: u64,
}

impl AuditLog {
    /// Keeps records in `sink`.
    pub fn new(sink: Box<dyn Audit>, clock: Clock) -> Self {
        Self {
            sink,
            clock,
            unusable: None,
            outcomes: tokio::sync::Mutex::default(),
            gathered: Mutex::default(),
            waiting: Waiting::default(),
            strangers: Mutex::default(),
            ended: AtomicU64::new(0),
        }
    }

    /// Takes no writes, for a reason that an administrator must remove.
    #[must_use]
    pub fn stopped_by(self, unusable: Unusable) -> Self {
        Self { unusable: Some(unusable), ..self }
    }

    /// Returns why no writes are taken, if so.
    pub const fn unusable(&self) -> Option<&Unusable> {
        self.unusable.as_ref()
    }

    /// Says whether no more writes are taken.
    pub fn is_stopped(&self) -> bool {
        // While somebody records them, they are about to be recorded.
        self.outcomes.try_lock().is_ok_and(|outcomes| !outcomes.is_empty())
    }

    /// Says how old the oldest record is that is not on the disk yet.
    pub fn lag(&self) -> Duration {
        let gathered = locked(&self.gathered).records.first().map(|record| record.time);
        // While somebody records them, they are waited for.
        let outcomes = self.outcomes.try_lock().ok();
        let outcome = outcomes.and_then(|outcomes| outcomes.first().map(|record| record.time));
        let oldest = [gathered, outcome, self.waiting.oldest()].into_iter().flatten().min();
        let age = oldest.and_then(|oldest| self.clock.now().duration_since(oldest).ok());
        age.unwrap_or_default()
    }

    /// Records that a granted action is about to be carried out.
    pub async fn open<A: Action>(
        &self,
        origin: &Origin,
        grant: &Grant<A>,
    ) -> Result<OpenEntry, AuditError> {
        if let Some(unusable) = &self.unusable {
            return Err(AuditError::Unusable(unusable.clone()));
        }
        self.record_outcomes().await.map_err(|source| AuditError::Outcome { source })?;
        let record = self.granted(origin, grant, Outcome::Attempted);
        let number = self.put(vec![record.clone()], Claim::Reserved).await;
        let number = number.map_err(|source| AuditError::Write { source })?;
        Ok(OpenEntry { record, number })
    }

    /// Records what came of it.
    ///
    /// It has happened, so a failure here cannot undo it. The outcome is kept in memory then, and no
    /// further write is taken until it is recorded; if the program ends before, the next start
    /// records that the outcome is not known.
    pub async fn close(&self, entry: OpenEntry, outcome: Outcome) {
        // Whoever is told of the outcome must not be answered from before it.
        self.ended.fetch_add(1, Ordering::SeqCst);
        let OpenEntry { record, number } = entry;
        let record = Record { time: self.clock.now(), attempt: Some(number), outcome, ..record };
        if let Err(error) = self.put(vec![record.clone()], Claim::Reserved).await {
            self.outcomes.lock().await.push(record);
            tracing::error!(
                error = causes(&error),
                "the outcome of a write could not be recorded; no more writes are taken until it can"
            );
        }
    }

    /// Returns how many attempts to change something have ended: while it is the same number, what
    /// was read of the tree is what requests have made of it.
    pub fn ended(&self) -> u64 {
        self.ended.load(Ordering::SeqCst)
    }

    /// Records the outcomes that could not be recorded when they were known.
    async fn record_outcomes(&self) -> Result<(), StateError> {
        let mut outcomes = self.outcomes.lock().await;
        if outcomes.is_empty() {
            return Ok(());
        }
        self.put(outcomes.clone(), Claim::Reserved).await?;
        outcomes.clear();
        Ok(())
    }

    /// Records a refusal. Strangers' are counted: anybody can cause them.
    pub fn refused(&self, origin: &Origin, denied: &Denied) {
        let Some(actor) = Actor::of(&denied.caller, &denied.roles) else {
            self.strangers().refused(denied.kind, &origin.peer);
            return;
        };
        let outcome = Outcome::Refused { status: Some(403), reason: denied.reason.to_string() };
        self.gather(Record {
            actor: Some(actor),
            path: Some(denied.path.clone()),
            ..self.begin(Some(origin), denied.kind.as_str(), outcome)
        });
    }

    /// Records a credential that proved nothing; when there are many, they are counted.
    pub fn failed_sign_in(
        &self,
        origin: &Origin,
        kind: Kind,
        path: String,
        answer: &impl Failure,
        reason: &str,
    ) {
        let now = self.clock.now();
        if !self.strangers().may_record_sign_in(kind, &origin.peer, now) {
            return;
        }
        let outcome = Outcome::Refused { status: Some(answer.status()), reason: reason.to_owned() };
        let path = Some(path);
        self.gather(Record { path, ..self.begin(Some(origin), kind.as_str(), outcome) });
    }

    /// Records that a known caller was given a file.
    pub fn read<A: Action>(&self, origin: &Origin, grant: &Grant<A>, status: u16, file: &FileRead) {
        if grant.caller().is_anonymous() {
            return;
        }
        let outcome = Outcome::Done {
            effect: "read",
            status: Some(status),
            sha256: file.sha256.clone(),
            before: None,
            size: Some(file.size),
        };
        self.gather(self.granted(origin, grant, outcome));
    }

    /// Records what a known caller was given that changes nothing.
    pub fn noted<A: Action>(&self, origin: &Origin, grant: &Grant<A>, outcome: Outcome) {
        self.gather(self.granted(origin, grant, outcome));
    }

    /// Records something that the server does by itself, or that was done on its machine.
    pub async fn note(&self, action: &'static str, outcome: Outcome) -> Result<(), StateError> {
        let record = self.begin(None, action, outcome);
        self.put(vec![record], Claim::Reserved).await.map(|_number| ())
    }

    /// Records what was gathered.
    pub async fn flush(&self) {
        let Gathered { records, lost } = std::mem::take(&mut *locked(&self.gathered));
        if lost > 0 {
            tracing::error!(lost, "refusals and reads came faster than they could be recorded");
        }
        let count = records.len();
        if count > 0
            && let Err(error) = self.put(records, Claim::Ordinary).await
        {
            tracing::error!(
                error = causes(&error),
                count,
                "refusals and reads could not be recorded"
            );
        }
    }

    /// Records what is gathered and counted, and keeps the record, for ever.
    pub async fn keep(&self) {
        let mut tick = tokio::time::interval(GATHERING);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            self.count(false);
            self.flush().await;
            self.sink.maintain(false).await;
        }
    }

    /// Records what is left, before the program ends.
    pub async fn finish(&self) {
        self.count(true);
        self.flush().await;
        if let Err(error) = self.record_outcomes().await {
            tracing::error!(error = causes(&error), "outcomes of writes could not be recorded");
        }
        if let Err(error) = self.note("stop", Outcome::done("stopped")).await {
            tracing::error!(error = causes(&error), "that the server stops could not be recorded");
        }
        self.sink.maintain(true).await;
    }

    /// Gathers what was counted, when a minute is over or the program ends.
    fn count(&self, ending: bool) {
        let now = self.clock.now();
        let counted = self.strangers().counted(now, ending);
        for (action, outcome) in counted {
            self.gather(self.begin(None, action, outcome));
        }
    }

    /// Keeps records; until they are kept, they are waited for.
    async fn put(&self, records: Vec<Record>, claim: Claim) -> Result<u64, StateError> {
        let _waited_for = self.waiting.begin(self.clock.now());
        self.sink.record(records, claim).await
    }

    fn granted<A: Action>(&self, origin: &Origin, grant: &Grant<A>, outcome: Outcome) -> Record {
        Record {
            actor: Actor::of(grant.caller(), grant.roles()),
            rule: grant.rule().map(ToOwned::to_owned),
            path: Some(grant.action().path().to_string()),
            ..self.begin(Some(origin), A::KIND.as_str(), outcome)
        }
    }

    fn begin(&self, origin: Option<&Origin>, action: &'static str, outcome: Outcome) -> Record {
        Record {
            time: self.clock.now(),
            origin: origin.cloned(),
            actor: None,
            rule: None,
            action,
            path: None,
            attempt: None,
            outcome,
        }
    }

    fn gather(&self, record: Record) {
        let mut gathered = locked(&self.gathered);
        if gathered.records.len() < GATHERED {
            gathered.records.push(record);
        } else {
            gathered.lost += 1;
        }
    }

    fn strangers(&self) -> MutexGuard<'_, Strangers> {
        locked(&self.strangers)
    }
}

/// Takes a lock. Nothing that is done under one can leave half a change.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A file that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileRead {
    sha256: Option<String>,
    size: u64,
}

impl From<&StoredFile> for FileRead {
    fn from(file: &StoredFile) -> Self {
        Self { sha256: file.digest.map(|digest| digest.to_string()), size: file.length }
    }
}

/// Something could not be recorded, and so did not happen.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AuditError {
    /// The record could not be written.
    #[error("failed to record the attempt")]
    Write {
        /// Why.
        source: StateError,
    },
    /// The outcome of an earlier write could not be recorded yet.
    #[error("failed to record the outcome of an earlier write")]
    Outcome {
        /// Why.
        source: StateError,
    },
    /// What must not be forgotten cannot be used.
    #[error("no writes are taken")]
    Unusable(#[source] Unusable),
}
