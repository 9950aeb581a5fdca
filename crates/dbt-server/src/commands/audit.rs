//! `reposerver audit`: the record, read from the files on the machine, beside a running server or
//! without one.

use std::fmt::Write as _;
use std::io::{self, Read as _, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::Connection;
use serde_json::{Value, json};

use super::Outcome;
use crate::args::{Audit, Flags};
use crate::audit::chain::{self, Line};
use crate::audit::checkpoint::UnverifiedNote;
use crate::audit::kept::public_key;
use crate::audit::segments;
use crate::audit::verify::{Outside, Report, verify};
use crate::config::Config;
use crate::env::Environment;
use crate::state::{Id, State};
use crate::storage::local;

/// How often `--follow` looks.
const LOOK: Duration = Duration::from_millis(500);

/// The longest checkpoint.
const NOTE_BYTES: u64 = 64 * 1024;

/// Does one of the commands.
pub(super) fn run(
    flags: &Flags,
    environment: &Environment,
    action: Audit,
    out: &mut dyn Write,
) -> Outcome {
    let place = |given: Option<PathBuf>| Place::find(given, flags, environment);
    match action {
        Audit::Verify { state, checkpoint, key, json } => {
            let outside = outside(checkpoint.as_deref(), key.as_deref())?;
            let place = place(state)?;
            let report = verify(&place.look()?, &place.directory, &place.id, &outside)?;
            let text = if json { told_as_json(&report) } else { told(&report, &outside) };
            out.write_all(text.as_bytes())?;
            if report.findings.is_empty() { Ok(()) } else { Err("the record does not hold".into()) }
        }
        Audit::Export { state, after } => {
            let place = place(state)?;
            place.each(after, &mut |line| writeln!(out, "{line}"))?;
            Ok(())
        }
        Audit::Tail { state, lines, follow, json } => {
            tail(&place(state)?, lines, follow, json, out)
        }
        Audit::Key { state } => {
            let place = place(state)?;
            let key = public_key(&place.directory, &place.id)?;
            let key = key.ok_or("there is no key yet; a server makes it when it starts")?;
            writeln!(out, "{key}")?;
            Ok(())
        }
    }
}

/// Where the record is.
struct Place {
    directory: PathBuf,
    id: Id,
}

impl Place {
    fn find(
        given: Option<PathBuf>,
        flags: &Flags,
        environment: &Environment,
    ) -> Result<Self, Box<dyn std::error::Error>> {
        let directory = if let Some(directory) = given {
            directory
        } else {
            let config = Config::resolve(flags, environment)?;
            local::state_directory(&config.root, &config.rules())?
        };
        let query = "SELECT value FROM about WHERE name = 'id'";
        let id: String = State::look_at(&directory)?.query_row(query, [], |row| row.get(0))?;
        Ok(Self { directory, id: id.parse()? })
    }

    fn look(&self) -> Result<Connection, crate::state::Unusable> {
        State::look_at(&self.directory)
    }

    fn each(
        &self,
        after: u64,
        each: &mut dyn FnMut(&str) -> io::Result<()>,
    ) -> Result<(), Box<dyn std::error::Error>> {
        segments::lines_after(&self.look()?, &self.directory, &self.id, after, each)?;
        Ok(())
    }
}

fn outside(
    checkpoint: Option<&Path>,
    key: Option<&str>,
) -> Result<Outside, Box<dyn std::error::Error>> {
    let key = key.map(str::parse).transpose()?;
    let Some(path) = checkpoint else { return Ok(Outside { checkpoint: None, key }) };
    let mut text = String::new();
    let failed = |error| format!("failed to read `{}`: {error}", path.display());
    if path == Path::new("-") {
        io::stdin().take(NOTE_BYTES).read_to_string(&mut text).map_err(failed)?;
    } else {
        let file = std::fs::File::open(path).map_err(failed)?;
        file.take(NOTE_BYTES).read_to_string(&mut text).map_err(failed)?;
    }
    let note: UnverifiedNote =
        note(&text).parse().map_err(|error| format!("`{}`: {error}", path.display()))?;
    Ok(Outside { checkpoint: Some(note), key })
}

/// Returns the checkpoint in a text: as it was posted, or the line of the log that holds it.
fn note(text: &str) -> String {
    let last = text.lines().rfind(|line| !line.trim().is_empty()).unwrap_or_default();
    let of_log = serde_json::from_str::<Value>(last).ok();
    let of_log = of_log.and_then(|line| line.get("checkpoint")?.as_str().map(ToOwned::to_owned));
    of_log.unwrap_or_else(|| text.to_owned())
}

fn told(report: &Report, outside: &Outside) -> String {
    let Report { first, last, dropped, signed, anchored, findings } = report;
    let mut text = String::new();
    // Writing to a String cannot fail.
    for finding in findings {
        let who = match (finding.first, finding.last) {
            (0, _) => "the record".to_owned(),
            (first, last) if first == last => format!("record {first}"),
            (first, last) => format!("records {first} to {last}"),
        };
        let _always_ok = writeln!(text, "{who}: {}", finding.what.escape_debug());
    }
    if findings.is_empty() {
        let _always_ok = writeln!(text, "records {first} to {last}: as they were written");
    }
    if dropped.0 > 0 {
        let _always_ok = writeln!(text, "{} records before them were dropped", dropped.1);
    }
    let _always_ok = writeln!(text, "signed on this machine up to record {signed}");
    let _always_ok = match anchored {
        Some(seq) => {
            writeln!(text, "anchored: the checkpoint from outside agrees up to record {seq}")
        }
        None if outside.checkpoint.is_some() => {
            writeln!(text, "unanchored: the checkpoint from outside does not agree")
        }
        None => writeln!(
            text,
            "unanchored: whoever has this machine could have made all of it anew; give the last \
             checkpoint that left it with `--checkpoint`"
        ),
    };
    text
}

fn told_as_json(report: &Report) -> String {
    let Report { first, last, dropped, signed, anchored, findings } = report;
    let findings: Vec<Value> = findings
        .iter()
        .map(|it| json!({ "first": it.first, "last": it.last, "what": it.what }))
        .collect();
    let report = json!({
        "holds": findings.is_empty(), "first": first, "last": last, "dropped": dropped.1,
        "signed": signed, "anchored": anchored, "findings": findings,
    });
    format!("{report}\n")
}

fn tail(place: &Place, lines: u64, follow: bool, json: bool, out: &mut dyn Write) -> Outcome {
    let mut after = chain::head(&place.look()?)?.seq.saturating_sub(lines);
    loop {
        let mut seen = after;
        place.each(after, &mut |line| {
            seen = Line::parse(line).and_then(|line| line.seq()).unwrap_or(seen);
            if json { writeln!(out, "{line}") } else { writeln!(out, "{}", for_people(line)) }
        })?;
        after = seen;
        if !follow {
            return Ok(());
        }
        out.flush()?;
        std::thread::sleep(LOOK);
    }
}

/// Returns a record as one line for people.
fn for_people(line: &str) -> String {
    let record: Value = Line::parse(line)
        .and_then(|line| serde_json::from_str(&line.record).ok())
        .unwrap_or_default();
    let text = |name: &str| match record.get(name) {
        Some(Value::String(text)) => text.escape_debug().to_string(),
        Some(other) if !other.is_null() => other.to_string(),
        _ => "-".to_owned(),
    };
    let mut words = vec![text("seq"), text("time"), text("subject"), text("action"), text("path")];
    words.push(text("outcome"));
    for name in ["count", "network", "status", "sha256", "reason", "detail"] {
        if record.get(name).is_some() {
            words.push(text(name));
        }
    }
    words.join("  ")
}
