//! Who decided the exit code, for programs that start tools through us.
//!
//! The tool's own codes pass through and may be any number, so a number alone does not say
//! whether the tool failed or was never started.

use std::path::Path;

use dbt_client::fsx;
use dbt_ui::exit_code::ExitCode;

/// Writes that the tool is about to start: how it ends is its own.
pub(crate) fn tool_starts(path: Option<&Path>) {
    write(path, "{\"phase\":\"tool\",\"code\":null}\n");
}

/// Writes how this program ended by itself. The word is the wire's, whatever the brand.
pub(crate) fn ended(path: Option<&Path>, code: ExitCode) {
    write(path, &format!("{{\"phase\":\"dbt\",\"code\":{}}}\n", code.code()));
}

/// A status that cannot be written changes nothing about the run.
fn write(path: Option<&Path>, status: &str) {
    let Some(path) = path else { return };
    let _written = fsx::write_atomic(path, status.as_bytes(), 0o644);
}
