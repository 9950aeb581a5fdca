//! Who decided the exit code, for programs that start tools through us.
//!
//! The tool's own codes pass through and may be any number, so a number alone does not say
//! whether the tool failed or was never started.

use std::fs::OpenOptions;
use std::io::{self, Write as _};
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
    // Links are somebody's: they stay, and so do devices and pipes.
    let file = path.canonicalize();
    let is_replaced = file.as_ref().map_or_else(|_missing| !path.is_symlink(), |it| it.is_file());
    let _written = if is_replaced {
        let file = file.unwrap_or_else(|_missing| path.to_owned());
        fsx::write_atomic(&file, status.as_bytes(), 0o644).map_err(io::Error::from)
    } else {
        write_through(path, status)
    };
}

/// Writes into what is there. Nobody is waited for: a pipe that nobody reads gets nothing.
fn write_through(path: &Path, status: &str) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::custom_flags(
        &mut options,
        rustix::fs::OFlags::NONBLOCK.bits().cast_signed(),
    );
    options.open(path)?.write_all(status.as_bytes())
}
