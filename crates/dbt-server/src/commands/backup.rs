//! `reposerver backup`, `restore` and `state init`: what the server must not forget, copied while
//! it runs, and put back or begun anew while it does not.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use dbt_core::clock::Clock;

use super::Outcome;
use crate::args::Flags;
use crate::audit::kept::{append_on_host, draft_on_host};
use crate::audit::segments::{self, Segment};
use crate::audit::verify::{Outside, verify};
use crate::audit::{self, chain, signer};
use crate::authn::replay;
use crate::config::Config;
use crate::env::Environment;
use crate::state::{self, Id, State};
use crate::storage::local::{self, AloneOnHost};
use crate::time;

/// Copies the state, the key and the closed parts of the record to a new directory.
pub(super) fn backup(
    flags: &Flags,
    environment: &Environment,
    to: &Path,
    out: &mut dyn Write,
) -> Outcome {
    let config = Config::resolve(flags, environment)?;
    let from = local::state_directory(&config.root, &config.rules())?;
    DirBuilder::new()
        .mode(0o700)
        .create(to)
        .map_err(|error| format!("failed to make `{}`: {error}", to.display()))?;
    state::copy(&from, &to.join(state::FILE))?;
    copy_file(&from.join(signer::FILE), &to.join(signer::FILE))?;
    let (id, segments, last) = contents(to)?;
    for segment in segments.iter().filter(|segment| !segment.dropped) {
        let (source, target) = (segment.path(&from, &id), segment.path(to, &id));
        match copy_file(&source, &target) {
            Err(_gone) if !source.exists() && is_dropped_since(&from, segment) => {
                let copied = State::open_existing(to, None)?;
                let first = segment.first.cast_signed();
                copied.write_and_wait(state::Claim::Reserved, move |transaction| {
                    let query = "UPDATE segments SET dropped = 1 WHERE first = ?1";
                    transaction.execute(query, [first])
                })?;
            }
            other => other?,
        }
    }
    flush(to)?;
    let detail = format!("records up to {last}");
    let outcome = audit::Outcome::Noted { effect: "copied", detail };
    let original = State::open_existing(&from, Some(&id)).map_err(said_with_hint)?;
    append_on_host(&original, Clock::System.now(), "backup", None, outcome)?;
    writeln!(
        out,
        "copied records up to {last} and what else is not to be forgotten to `{}`",
        to.display()
    )?;
    writeln!(
        out,
        "the tree is copied by itself, after this: everything below `{}`",
        config.root.display()
    )?;
    Ok(())
}

/// Puts a copy in the place of a state that is lost, or of an older one.
pub(super) fn restore(
    flags: &Flags,
    environment: &Environment,
    from: &Path,
    keep_tokens: bool,
    out: &mut dyn Write,
) -> Outcome {
    let config = Config::resolve(flags, environment)?;
    let alone = AloneOnHost::open(&config.root, &config.rules())?;
    let (id, segments, last) = contents(from)?;
    if let Some(remembered) = alone.remembered()?.filter(|remembered| *remembered != id) {
        return Err(format!(
            "`{}` is of the state {id}, and this tree remembers {remembered}: it is the backup of \
             another server",
            from.display()
        )
        .into());
    }
    let report = verify(&State::look_at(from)?, from, &id, &Outside::default())?;
    if let Some(finding) = report.findings.first() {
        let (first, what) = (finding.first, &finding.what);
        return Err(format!("the backup does not hold: record {first}: {what}").into());
    }
    let directory = alone.directory();
    put_aside(directory, Clock::System.now())?;
    for segment in segments.iter().filter(|segment| !segment.dropped) {
        copy_file(&segment.path(from, &id), &segment.path(directory, &id))?;
    }
    copy_file(&from.join(signer::FILE), &directory.join(signer::FILE))?;
    // Last, and whole at once: before it the state is missing, after it everything is there. What must
    // not count any more does not count in it at any time.
    let to = directory.join(state::FILE);
    let ended = put_back(&from.join(state::FILE), &to, keep_tokens, Clock::System.now())?;
    alone.remember(&id)?;
    writeln!(out, "put back records up to {last}; the server can start")?;
    if ended > 0 {
        writeln!(
            out,
            "{ended} of the server's own tokens count no more, because they may have been revoked \
             after the backup; if none was, restore again with `--keep-tokens`"
        )?;
    }
    Ok(())
}

/// Puts a copy in the place of the state. Which signed tokens were used since is not known any more, nor
/// which of the server's own were revoked: those end. Returns how many.
fn put_back(
    from: &Path,
    to: &Path,
    keep_tokens: bool,
    now: SystemTime,
) -> Result<usize, state::BackupError> {
    let until = replay::after_all_used(now);
    state::amended_copy(from, to, |transaction| {
        state::forget_tokens_before(transaction, until)?;
        let ended = if keep_tokens {
            0
        } else {
            state::end_all_tokens(transaction, now, state::Ending::Restored)?
        };
        let last = chain::head(transaction)?.seq;
        let mut detail = format!("from a backup that ends with record {last}");
        match ended {
            _ if keep_tokens => detail.push_str("; its tokens count, as was asked for"),
            0 => {}
            ended => detail.extend(["; ", &ended.to_string(), " tokens count no more"]),
        }
        let outcome = audit::Outcome::Noted { effect: "restored", detail };
        chain::append(transaction, &[draft_on_host(now, "state.restore", None, outcome)])?;
        Ok(ended)
    })
}

/// Begins anew. What is there is put aside, not removed.
pub(super) fn begin_anew(
    flags: &Flags,
    environment: &Environment,
    accept_loss: bool,
    out: &mut dyn Write,
) -> Outcome {
    if !accept_loss {
        return Err("this forgets who did what, what was deleted and which tokens were used; say \
                    `--accept-loss` if there is no backup to `restore`"
            .into());
    }
    let config = Config::resolve(flags, environment)?;
    let alone = AloneOnHost::open(&config.root, &config.rules())?;
    let directory = alone.directory();
    if let Ok(state) = State::open_existing(directory, alone.remembered()?.as_ref())
        && !alone.has_damaged_list()
    {
        let path = state.directory().join(state::FILE);
        return Err(format!("`{}` is there and nothing is lost", path.display()).into());
    }
    let aside = put_aside(directory, Clock::System.now())?;
    alone.put_list_aside()?;
    let state = State::open(directory, None)?;
    tokens_before_are_unknown(&state)?;
    alone.remember(state.id())?;
    let detail = match aside {
        Some(aside) => format!("what was there is in `{}`", aside.display()),
        None => "nothing was there".to_owned(),
    };
    let outcome = audit::Outcome::Noted { effect: "begun anew", detail: detail.clone() };
    append_on_host(&state, Clock::System.now(), "state.init", None, outcome)?;
    writeln!(out, "begun anew as {}; {detail}", state.id())?;
    Ok(())
}

fn said_with_hint(unusable: state::Unusable) -> String {
    let hint = unusable.hint();
    format!("{unusable}; {hint}")
}

/// Returns which state lies in a directory, its closed parts, and its last record.
fn contents(directory: &Path) -> Result<(Id, Vec<Segment>, u64), Box<dyn std::error::Error>> {
    let connection = State::look_at(directory)?;
    let query = "SELECT value FROM about WHERE name = 'id'";
    let id: String = connection.query_row(query, [], |row| row.get(0))?;
    let last = chain::head(&connection)?.seq;
    Ok((id.parse()?, segments::all(&connection)?, last))
}

/// Says whether a closed part was dropped while it was being copied.
fn is_dropped_since(from: &Path, segment: &Segment) -> bool {
    let now = contents(from).map(|(_id, segments, _last)| segments).unwrap_or_default();
    now.iter().any(|it| it.first == segment.first && it.dropped)
}

fn tokens_before_are_unknown(state: &State) -> Result<(), state::StateError> {
    let until = replay::after_all_used(Clock::System.now());
    state.write_and_wait(state::Claim::Reserved, move |transaction| {
        state::forget_tokens_before(transaction, until)
    })
}

/// Moves what is there to a directory of its own; returns which.
fn put_aside(directory: &Path, now: SystemTime) -> io::Result<Option<PathBuf>> {
    let there: Vec<String> = ["", "-wal", "-shm"]
        .map(|ending| format!("{}{ending}", state::FILE))
        .into_iter()
        .filter(|name| directory.join(name).exists())
        .collect();
    if there.is_empty() {
        return Ok(None);
    }
    let seconds = time::since_epoch(now).as_secs();
    let aside = directory.join(format!("aside-{seconds}"));
    DirBuilder::new().recursive(true).mode(0o700).create(&aside)?;
    // The logs of changes first: without them the database is only older.
    for name in there.iter().rev() {
        rustix::fs::rename(directory.join(name), aside.join(name))?;
    }
    flush(directory)?;
    Ok(Some(aside))
}

/// Copies a file, whole at once and on the disk when this returns.
fn copy_file(from: &Path, to: &Path) -> Result<(), String> {
    let failed =
        |error| format!("failed to copy `{}` to `{}`: {error}", from.display(), to.display());
    let copied = || {
        let parent = to.parent().unwrap_or(to);
        DirBuilder::new().recursive(true).mode(0o700).create(parent)?;
        let new = to.with_extension("new");
        fs::copy(from, &new)?;
        File::open(&new)?.sync_all()?;
        rustix::fs::rename(&new, to)?;
        flush(parent)
    };
    copied().map_err(failed)
}

fn flush(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::{Claim, Ending, Making};

    const NOW: SystemTime = SystemTime::UNIX_EPOCH;

    /// Makes a state with a token that counts, and copies it.
    fn backup_with_a_token(directory: &Path) -> PathBuf {
        let state = State::open(directory, None).unwrap();
        let new = crate::tokens::mint::bootstrap(
            "ID".to_owned(),
            &crate::authn::Caller::on_the_host(0),
            NOW,
        );
        let (text, new) = new.with_text().unwrap();
        let (row, making) = (new.row(&text), Making { alone: false, ..new.making });
        let added = state
            .write_and_wait(Claim::Reserved, move |it| state::add_token(it, &row, &making, NOW));
        assert_eq!(added, Ok(state::Added::Kept { ended: 0 }));
        let to = directory.join("backup.db");
        state::copy(directory, &to).unwrap();
        to
    }

    fn ending(file: &Path) -> Option<String> {
        let connection = rusqlite::Connection::open(file).unwrap();
        connection.query_row("SELECT ending FROM api_tokens", [], |row| row.get(0)).unwrap()
    }

    fn record(file: &Path) -> String {
        let connection = rusqlite::Connection::open(file).unwrap();
        let query = "SELECT record FROM audit ORDER BY seq DESC LIMIT 1";
        connection.query_row(query, [], |row| row.get(0)).unwrap()
    }

    /// Wherever it is interrupted, there is no state in which what was revoked since counts.
    #[test]
    fn the_tokens_of_a_backup_have_ended_before_it_is_in_its_place() {
        let directory = tempfile::tempdir().unwrap();
        let backup = backup_with_a_token(directory.path());
        // Here the last step cannot take place.
        let to = directory.path().join("taken.db");
        fs::create_dir_all(to.join("inside")).unwrap();
        assert!(put_back(&backup, &to, false, NOW).is_err());
        let new = to.with_extension("new");
        assert_eq!(ending(&new).as_deref(), Some(Ending::Restored.as_str()));
        assert!(record(&new).contains("1 tokens count no more"), "{}", record(&new));
        assert_eq!(ending(&backup), None, "the backup stays as it is");

        // What the interrupted attempt left is no part of the next one.
        for left in ["taken.new-wal", "taken.new-journal", "taken.new-shm"] {
            fs::write(directory.path().join(left), b"left").unwrap();
        }
        fs::remove_dir_all(&to).unwrap();
        assert_eq!(put_back(&backup, &to, false, NOW).unwrap(), 1);
        assert_eq!(ending(&to).as_deref(), Some(Ending::Restored.as_str()));
        let left = fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().file_name());
        let left: Vec<_> =
            left.filter(|name| name.to_string_lossy().starts_with("taken")).collect();
        assert_eq!(left, ["taken.db"]);
        assert_eq!(put_back(&backup, &to, true, NOW).unwrap(), 0);
        assert_eq!(ending(&to), None, "as was asked for");
    }
}
