//! `reposerver reindex`: the index of hashes, made anew from the files.

use std::io::Write;

use dbt_core::clock::Clock;

use super::Outcome;
use crate::args::Flags;
use crate::audit;
use crate::audit::kept::append_on_host;
use crate::config::Config;
use crate::env::Environment;
use crate::storage::local::{self, OnHost};

/// Hashes everything. A running server goes on meanwhile, and uses what was found.
pub(super) fn run(flags: &Flags, environment: &Environment, out: &mut dyn Write) -> Outcome {
    let config = Config::resolve(flags, environment)?;
    let count = local::reindex(&config.root, config.rules())
        .map_err(|error| format!("failed to index `{}`: {error}", config.root.display()))?;
    // Where the state is lost the index can be made anew all the same.
    if let Ok(state) = OnHost::open(&config.root, config.rules())?.records() {
        let outcome = audit::Outcome::Noted { effect: "indexed", detail: format!("{count} files") };
        append_on_host(&state, Clock::System.now(), "reindex", None, outcome)?;
    }
    writeln!(out, "{count} files")?;
    Ok(())
}
