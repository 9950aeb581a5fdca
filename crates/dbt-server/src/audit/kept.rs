//! The record in `state.db`: chained, signed, moved out to files when it is old, and copied to the
//! log.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use dbt_core::clock::Clock;
use rusqlite::params;

use super::chain::{self, Draft, Head};
use super::checkpoint::{self, Checkpoint};
use super::json_lines::JsonLines;
use super::segments::{self, Segment};
use super::signer::Signer;
use super::{Actor, Audit, Outcome, Record, locked};
use crate::content::BoxFuture;
use crate::log::causes;
use crate::outbound::SafeUrl;
use crate::outbound::get::post;
use crate::outbound::proxy::Proxies;
use crate::outbound::tls::Tls;
use crate::state::{Claim, State, StateError};
use crate::time;

/// How often what is new is signed.
const SIGNING: Duration = Duration::from_mins(1);

/// How much of the record is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retain {
    /// Closed parts that are older are dropped.
    pub age: Option<Duration>,
    /// When closed parts are larger than this together, the oldest are dropped.
    pub bytes: Option<u64>,
}

/// When a part of the record is closed.
#[derive(Clone, Copy, Debug)]
pub struct Closing {
    /// When it has so many records.
    pub records: u64,
    /// When its first record is so old.
    pub age: Duration,
}

impl Default for Closing {
    fn default() -> Self {
        Self { records: 10_000, age: Duration::from_hours(24) }
    }
}

/// Where checkpoints are sent, besides the log.
pub struct Anchor {
    /// The URL that they are posted to.
    pub url: SafeUrl,
    /// Whose certificates are believed there.
    pub tls: Tls,
    /// The way there.
    pub proxies: Proxies,
}

/// The record in the state.
pub struct Kept {
    keeper: Arc<Keeper>,
    copy: JsonLines,
    anchor: Option<Anchor>,
    anchored: Mutex<Option<bool>>,
}

/// What is done on threads that may wait.
struct Keeper {
    state: State,
    signer: Signer,
    clock: Clock,
    retain: Retain,
    closing: Closing,
    progress: Mutex<Progress>,
}

#[derive(Default)]
struct Progress {
    looked: Option<SystemTime>,
    signed: Option<u64>,
}

impl Kept {
    /// Keeps the record in a state. That the server starts, what an earlier one left without an
    /// outcome, and a new key are its first records.
    pub fn open(
        state: State,
        clock: Clock,
        retain: Retain,
        anchor: Option<Anchor>,
        copy: JsonLines,
    ) -> Result<Self, StateError> {
        let name = checkpoint::origin(state.id());
        let signer = Signer::read(state.directory(), &name).and_then(|known| match known {
            Some(signer) => Ok(signer),
            None => Signer::make(state.directory(), &name),
        });
        let signer = signer.map_err(|error| StateError::Failed { reason: error.to_string() })?;
        begin(&state, signer.public().to_string(), clock.now())?;
        let (closing, progress) = (Closing::default(), Mutex::default());
        let keeper = Keeper { state, signer, clock, retain, closing, progress };
        Ok(Self { keeper: Arc::new(keeper), copy, anchor, anchored: Mutex::default() })
    }

    /// Closes parts of the record at other times than usual.
    #[cfg(test)]
    fn closing(mut self, closing: Closing) -> Self {
        if let Some(keeper) = Arc::get_mut(&mut self.keeper) {
            keeper.closing = closing;
        }
        self
    }

    /// Sends a checkpoint away. What cannot be sent is in the next one too.
    async fn anchor(&self, note: String) {
        let Some(Anchor { url, tls, proxies }) = &self.anchor else { return };
        let sent = post(url, tls, proxies, note).await;
        let was_well = locked(&self.anchored).replace(sent.is_ok());
        match sent {
            Err(error) if was_well != Some(false) => {
                tracing::warn!(%url, error = causes(&error), "the checkpoint of the record cannot be sent");
            }
            Ok(()) if was_well == Some(false) => {
                tracing::info!(%url, "checkpoints of the record are sent again");
            }
            Ok(()) | Err(_) => {}
        }
    }
}

impl Audit for Kept {
    fn record(&self, records: Vec<Record>, claim: Claim) -> BoxFuture<'_, Result<u64, StateError>> {
        Box::pin(async move {
            let drafts: Vec<Draft> = records.iter().map(Draft::of).collect();
            let append =
                move |transaction: &rusqlite::Transaction<'_>| chain::append(transaction, &drafts);
            let last = self.keeper.state.write(claim, append).await?;
            // The log is a copy; the record is whole without it.
            let _log_is_gone = self.copy.write(&records);
            Ok(last)
        })
    }

    fn maintain(&self, ending: bool) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            let now = self.keeper.clock.now();
            if !ending && !self.keeper.is_due(now) {
                return;
            }
            let keeper = Arc::clone(&self.keeper);
            let signed = tokio::task::spawn_blocking(move || keeper.maintain(now)).await;
            if let Ok(Some(note)) = signed {
                self.anchor(note).await;
            }
        })
    }
}

impl Keeper {
    fn is_due(&self, now: SystemTime) -> bool {
        let mut progress = locked(&self.progress);
        // A clock that went back must not keep it waiting until then.
        let is_over =
            |then| now.duration_since(then).map_or(true, |passed: Duration| passed >= SIGNING);
        let is_due = progress.looked.is_none_or(is_over);
        if is_due {
            progress.looked = Some(now);
        }
        is_due
    }

    /// Signs what is new, closes what is long, drops what is old. Returns a new checkpoint.
    fn maintain(&self, now: SystemTime) -> Option<String> {
        let signed = self.sign(now).unwrap_or_else(|error| {
            tracing::error!(error = causes(&error), "the record could not be signed");
            None
        });
        let tidied = self.close(now).and_then(|()| self.drop_old(now));
        if let Err(error) = tidied {
            tracing::error!(
                error = causes(&error),
                "closed parts of the record could not be moved out"
            );
        }
        signed
    }

    fn sign(&self, now: SystemTime) -> Result<Option<String>, StateError> {
        let head = self.state.look(chain::head)?;
        if locked(&self.progress).signed == Some(head.seq) || head.seq == 0 {
            return Ok(None);
        }
        let note = self.note(head, now);
        let kept = note.clone();
        self.state.write_and_wait(Claim::Reserved, move |transaction| {
            let query = "INSERT OR REPLACE INTO checkpoints VALUES (?1, ?2)";
            transaction.execute(query, params![head.seq.cast_signed(), kept])
        })?;
        locked(&self.progress).signed = Some(head.seq);
        let key = self.signer.public().to_string();
        tracing::info!(target: "audit.checkpoint", records = head.seq, checkpoint = note, key);
        Ok(Some(note))
    }

    fn note(&self, head: Head, now: SystemTime) -> String {
        let origin = checkpoint::origin(self.state.id());
        Checkpoint { origin, head, time: time::rfc_3339(now) }.signed(&self.signer)
    }

    /// Moves the open part of the record out to a file when it is long or old.
    fn close(&self, now: SystemTime) -> Result<(), StateError> {
        let query = "SELECT coalesce(min(seq), 0), coalesce(max(seq), 0) FROM audit";
        let (first, last) = self.state.look(|connection| {
            connection
                .query_row(query, [], |row| Ok((chain::number(row, 0)?, chain::number(row, 1)?)))
        })?;
        let began = self.state.look(|connection| began(connection, first))?;
        let age = now.duration_since(began).unwrap_or_default();
        let is_long = last + 1 - first >= self.closing.records || age >= self.closing.age;
        if first == 0 || !is_long {
            return Ok(());
        }
        let lines = self.state.look(|connection| segments::open_lines(connection, 0))?;
        let Some((last, end)) = lines.last() else { return Ok(()) };
        let Some(hash) = unhex(&end.hash) else {
            return Err(StateError::Failed { reason: format!("record {last} has no hash") });
        };
        let note = self.note(Head { seq: *last, hash }, now);
        let closed = time::since_epoch(now).as_secs();
        let mut segment = Segment { first, last: *last, closed, bytes: 0, note, dropped: false };
        let path = segment.path(self.state.directory(), self.state.id());
        segment.bytes = segments::write(&path, &lines, &segment.note).map_err(|error| {
            StateError::Failed { reason: format!("`{}`: {error}", path.display()) }
        })?;
        self.state.write_and_wait(Claim::Reserved, move |transaction| {
            segments::close(transaction, &segment)
        })
    }

    /// Drops the oldest closed parts. Where they ended stays known.
    fn drop_old(&self, now: SystemTime) -> Result<(), StateError> {
        let all = self.state.look(segments::all)?;
        let now = time::since_epoch(now).as_secs();
        let mut together: u64 =
            all.iter().filter(|it| !it.dropped).map(|segment| segment.bytes).sum();
        for segment in &all {
            let path = segment.path(self.state.directory(), self.state.id());
            if !segment.dropped {
                let is_old = self
                    .retain
                    .age
                    .is_some_and(|age| segment.closed.saturating_add(age.as_secs()) <= now);
                if !is_old && self.retain.bytes.is_none_or(|most| together <= most) {
                    break;
                }
                together = together.saturating_sub(segment.bytes);
                let (first, last) = (segment.first, segment.last);
                self.state.write_and_wait(Claim::Reserved, move |transaction| {
                    let query = "UPDATE segments SET dropped = 1 WHERE first = ?1";
                    transaction.execute(query, [first.cast_signed()])
                })?;
                tracing::info!(first, last, "an old part of the record is dropped");
            }
            if let Err(error) = std::fs::remove_file(&path)
                && error.kind() != std::io::ErrorKind::NotFound
            {
                tracing::warn!(error = causes(&error), "`{}` cannot be removed", path.display());
            }
        }
        Ok(())
    }
}

/// Appends something that was done on the server's machine, beside a server or without one.
pub fn append_on_host(
    state: &State,
    now: SystemTime,
    action: &'static str,
    path: Option<String>,
    outcome: Outcome,
) -> Result<(), StateError> {
    let draft = draft_on_host(now, action, path, outcome);
    state
        .write_and_wait(Claim::Reserved, move |transaction| {
            chain::append(transaction, std::slice::from_ref(&draft))
        })
        .map(|_number| ())
}

/// Returns the record of something that was done on the server's machine.
pub fn draft_on_host(
    now: SystemTime,
    action: &'static str,
    path: Option<String>,
    outcome: Outcome,
) -> Draft {
    let actor = Some(Actor::on_host());
    let record =
        Record { time: now, origin: None, actor, rule: None, action, path, attempt: None, outcome };
    Draft::of(&record)
}

/// Appends what every start says.
fn begin(state: &State, key: String, now: SystemTime) -> Result<(), StateError> {
    let said = |action, effect, detail: &str| {
        let outcome = Outcome::Noted { effect, detail: detail.to_owned() };
        let record = Record {
            time: now,
            origin: None,
            actor: None,
            rule: None,
            action,
            path: None,
            attempt: None,
            outcome,
        };
        Draft::of(&record)
    };
    let new_key = said("audit.key", "made", &key);
    let start = said("start", "started", concat!("version ", env!("CARGO_PKG_VERSION")));
    let time = time::rfc_3339(now);
    state.write_and_wait(Claim::Reserved, move |transaction| {
        let query =
            "SELECT key FROM signers WHERE key = ?1 AND since = (SELECT max(since) FROM signers)";
        if !transaction.prepare(query)?.exists([&key])? {
            let since = chain::append(transaction, std::slice::from_ref(&new_key))?;
            let query = "INSERT INTO signers VALUES (?1, ?2)";
            transaction.execute(query, params![since.cast_signed(), key])?;
        }
        chain::close_interrupted(transaction, &time)?;
        chain::append(transaction, std::slice::from_ref(&start)).map(|_number| ())
    })
}

/// Returns when a record was made, or the beginning of time.
fn began(connection: &rusqlite::Connection, seq: u64) -> rusqlite::Result<SystemTime> {
    // SQLite knows RFC 3339, and gives seconds.
    let query = "SELECT CAST(strftime('%s', json_extract(record, '$.time')) AS INTEGER) \
                 FROM audit WHERE seq = ?1";
    let mut query = connection.prepare(query)?;
    let mut rows = query.query([seq.cast_signed()])?;
    let Some(row) = rows.next()? else { return Ok(SystemTime::UNIX_EPOCH) };
    let seconds: Option<i64> = row.get(0)?;
    let seconds = u64::try_from(seconds.unwrap_or_default()).unwrap_or_default();
    Ok(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds))
}

/// Reads a hash from hexadecimal digits.
pub(super) fn unhex(digits: &str) -> Option<chain::Hash> {
    digits.parse::<dbt_core::digest::Digest>().ok().map(|digest| *digest.as_bytes())
}

/// Returns the public key of a state directory, if there is a key.
pub fn public_key(directory: &Path, state: &crate::state::Id) -> std::io::Result<Option<String>> {
    let signer = Signer::read(directory, &checkpoint::origin(state))?;
    Ok(signer.map(|signer| signer.public().to_string()))
}

#[cfg(test)]
mod tests;
