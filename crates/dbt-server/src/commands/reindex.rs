//! `reposerver reindex`: the index of hashes, made anew from the files.

use std::io::Write;

use super::Outcome;
use crate::args::Flags;
use crate::config::Config;
use crate::env::Environment;
use crate::storage::local;

/// Hashes everything. A running server goes on meanwhile, and uses what was found.
pub(super) fn run(flags: &Flags, environment: &Environment, out: &mut dyn Write) -> Outcome {
    let config = Config::resolve(flags, environment)?;
    let count = local::reindex(&config.root, config.rules())
        .map_err(|error| format!("failed to index `{}`: {error}", config.root.display()))?;
    writeln!(out, "{count} files")?;
    Ok(())
}
