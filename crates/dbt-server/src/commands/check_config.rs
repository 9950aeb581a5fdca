//! `reposerver check-config`: what the configuration means, without serving or writing anything.

use std::io::Write;

use super::Outcome;
use crate::app;
use crate::args::Flags;
use crate::config::Config;
use crate::env::Environment;

/// Prints every setting and where it came from, or fails as the server would.
pub(super) fn run(flags: &Flags, environment: &Environment, out: &mut dyn Write) -> Outcome {
    let config = Config::resolve(flags, environment)?;
    let complaints = app::complaints(&config)?;
    out.write_all(config.explained().as_bytes())?;
    for complaint in complaints {
        writeln!(out, "warning: {complaint}")?;
    }
    Ok(())
}

/// Prints the JSON Schema of the configuration file.
pub(super) fn schema(out: &mut dyn Write) -> Outcome {
    writeln!(out, "{:#}", Config::schema())?;
    Ok(())
}
