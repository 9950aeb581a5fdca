//! Removing versions that nobody has run for a while. (Product register, `dbt cache`.)

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use dbt_core::digest::Digest;
use dbt_core::release::Subject;
use dbt_core::timestamp::Timestamp;
use dbt_core::version::{Version, Wanted};

use crate::fsx;
use crate::oidc::browser;
use crate::self_update;
use crate::session::Session;
use crate::settings::Settings;
use crate::state::{InstalledVersion, ServerState, StateError, ToolRecord};
use crate::store::{Removal, StoreError};
use crate::token_cache;

/// How many of the newest versions always stay.
const KEPT: usize = 3;

/// How long an older version stays after it was last run.
const UNUSED_FOR: Duration = Duration::from_hours(30 * 24);

/// A version that was removed, or would be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pruned {
    /// The tool.
    pub subject: Subject,
    /// The version.
    pub version: Version,
    /// Its size in bytes.
    pub length: u64,
}

/// Removes the versions of a tool that are neither among the newest three nor run lately; never
/// one that is pinned, held or running.
pub fn prune(session: &Session<'_>, subject: &Subject) -> Result<Vec<Pruned>, PruneError> {
    let record = session.state.tool(subject, &mut |_damaged| {})?;
    let superfluous =
        superfluous(&record, pin_of(session.settings, subject).as_ref(), session.now());
    let mut pruned = Vec::new();
    for entry in superfluous {
        // The record goes first: a file without one is found by nobody, a record without its
        // file is fetched again.
        session.state.change_tool(subject, |record| record.installed.retain(|it| *it != entry))?;
        if is_needed_elsewhere(session, entry.sha256) {
            continue;
        }
        if let Removal::Running = session.store.remove(entry.sha256)? {
            session.state.change_tool(subject, |record| record.installed.push(entry.clone()))?;
            continue;
        }
        pruned.push(Pruned {
            subject: subject.clone(),
            version: entry.version.clone(),
            length: entry.length,
        });
    }
    Ok(pruned)
}

/// Removes what killed runs have left behind, in the store, among what is remembered and
/// beside the program.
pub fn sweep(session: &Session<'_>) {
    let now = session.now();
    if let Some(executable) = session.settings.program.executable.as_deref() {
        self_update::sweep(session, executable);
    }
    session.store.sweep(now);
    let Some(home) = session.settings.places.home.as_deref() else { return };
    for path in left_behind(home, now) {
        let _best_effort = fsx::remove(&path);
    }
    for path in token_cache::locks(home) {
        fsx::remove_free_lock(&path, now);
    }
}

/// Lists what killed runs have left behind below our home: files that were to replace what is
/// remembered, or the configuration, and pages of sign-ins.
pub fn left_behind(home: &Path, now: SystemTime) -> Vec<PathBuf> {
    let staged = ["state", "conf"].map(|name| fsx::left_behind(&home.join(name), now));
    staged.into_iter().flatten().chain(browser::left_behind(home, now)).collect()
}

/// Lists the artifacts of one server's tools that stay whatever is cleared: those that a pin of
/// the configuration or a hold names.
pub fn kept(settings: &Settings) -> Result<BTreeSet<Digest>, PruneError> {
    let Settings { places, server, .. } = settings;
    let state = ServerState::open(places, &server.name, &server.repository);
    let mut kept = BTreeSet::new();
    for subject in state.tools() {
        let record = state.tool(&subject, &mut |_damaged| {})?;
        let pin = pin_of(settings, &subject);
        let stays = |entry: &&InstalledVersion| stays(entry, &record, pin.as_ref());
        kept.extend(record.installed.iter().filter(stays).map(|entry| entry.sha256));
    }
    Ok(kept)
}

/// Lists what [`prune`] would remove.
pub fn prunable(session: &Session<'_>, subject: &Subject) -> Result<Vec<Pruned>, PruneError> {
    let record = session.state.tool(subject, &mut |_damaged| {})?;
    let pruned = |entry: InstalledVersion| Pruned {
        subject: subject.clone(),
        version: entry.version,
        length: entry.length,
    };
    Ok(superfluous(&record, pin_of(session.settings, subject).as_ref(), session.now())
        .into_iter()
        .map(pruned)
        .collect())
}

fn pin_of(settings: &Settings, subject: &Subject) -> Option<Wanted> {
    match subject {
        Subject::Tool(tool) => settings.server.pins.get(tool).cloned(),
        Subject::Program => None,
    }
}

/// Decides which entries go.
fn superfluous(
    record: &ToolRecord,
    pin: Option<&Wanted>,
    now: SystemTime,
) -> Vec<InstalledVersion> {
    let mut entries: Vec<&InstalledVersion> = record.installed.iter().collect();
    entries.sort_by(|a, b| b.version.cmp(&a.version));
    let unused = |entry: &&InstalledVersion| {
        let Timestamp(used) = entry.used;
        now.duration_since(used).is_ok_and(|age| age > UNUSED_FOR)
    };
    let stays = |entry: &&InstalledVersion| stays(entry, record, pin);
    entries.into_iter().skip(KEPT).filter(unused).filter(|entry| !stays(entry)).cloned().collect()
}

/// Says whether a pin or a hold names a version.
fn stays(entry: &InstalledVersion, record: &ToolRecord, pin: Option<&Wanted>) -> bool {
    pin.is_some_and(|pin| pin.admits(&entry.version))
        || record.hold.as_ref().is_some_and(|hold| hold.version.same_number(&entry.version))
}

/// Says whether another record, of this server or another, names the same bytes.
fn is_needed_elsewhere(session: &Session<'_>, digest: Digest) -> bool {
    let Some(home) = session.settings.places.home.as_deref() else {
        return false;
    };
    referenced(&ServerState::all(home)).contains(&digest)
}

fn referenced(states: &[ServerState]) -> BTreeSet<Digest> {
    states
        .iter()
        .flat_map(|state| state.tools().into_iter().map(move |subject| (state, subject)))
        .filter_map(|(state, subject)| state.tool(&subject, &mut |_damaged| {}).ok())
        .flat_map(|record| record.installed.into_iter().map(|entry| entry.sha256))
        .collect()
}

/// Why something could not be removed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PruneError {
    /// What is remembered could not be read or written.
    #[error(transparent)]
    State(#[from] StateError),
    /// The store could not be changed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::Hold;

    fn record(versions: &[(&str, u64)], now: SystemTime) -> ToolRecord {
        let installed = versions
            .iter()
            .map(|(version, days)| InstalledVersion {
                version: version.parse().unwrap(),
                platform: "linux/amd64".to_owned(),
                sha256: Digest::of(version.as_bytes()),
                length: 1,
                signature: String::new(),
                signer: String::new(),
                installed: Timestamp(now),
                used: Timestamp(now - Duration::from_secs(days * 24 * 60 * 60)),
            })
            .collect();
        ToolRecord { installed, ..ToolRecord::default() }
    }

    fn check(versions: &[(&str, u64)], pin: Option<&str>, hold: Option<&str>, expected: &[&str]) {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
        let mut record = record(versions, now);
        record.hold = hold.map(|version| Hold {
            version: version.parse().unwrap(),
            left: "9.9.9".parse().unwrap(),
        });
        let pin: Option<Wanted> = pin.map(|pin| pin.parse().unwrap());
        let gone: Vec<String> = superfluous(&record, pin.as_ref(), now)
            .into_iter()
            .map(|entry| entry.version.to_string())
            .collect();
        assert_eq!(gone, expected);
    }

    #[test]
    fn the_newest_three_stay_however_old() {
        check(
            &[("1.0.0", 90), ("1.1.0", 90), ("1.2.0", 90), ("1.10.0", 90)],
            None,
            None,
            &["1.0.0"],
        );
    }

    #[test]
    fn what_was_run_lately_is_pinned_or_held_stays() {
        let versions =
            [("1.0.0", 90), ("1.1.0", 2), ("2.0.0", 90), ("3.0.0", 9), ("4.0.0", 9), ("5.0.0", 9)];
        check(&versions, None, None, &["2.0.0", "1.0.0"]);
        check(&versions, Some("1"), None, &["2.0.0"]);
        check(&versions, None, Some("2.0.0"), &["1.0.0"]);
    }
}
