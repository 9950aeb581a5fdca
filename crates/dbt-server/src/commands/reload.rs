//! `reposerver reload`: the running server reads its settings again.

use std::io::Write;

use serde_json::Value;

use super::Outcome;
use super::host::Host;
use crate::args::Flags;
use crate::config::Config;
use crate::env::Environment;

/// Has the server of this configuration read it again, and prints what came of it.
pub(super) fn run(flags: &Flags, environment: &Environment, out: &mut dyn Write) -> Outcome {
    let server = Host::of(&Config::resolve(flags, environment)?)?;
    let answer = server.ask("POST", "/-/api/v1/reload")?;
    writeln!(out, "the settings were read again and are in force")?;
    for notice in texts(&answer, "notices") {
        writeln!(out, "warning: {notice}")?;
    }
    for setting in texts(&answer, "afterRestart") {
        writeln!(out, "warning: `{setting}` changed and counts only after a restart")?;
    }
    Ok(())
}

fn texts<'a>(answer: &'a Value, key: &str) -> impl Iterator<Item = &'a str> {
    let list = answer.get(key).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    list.iter().filter_map(Value::as_str)
}
