//! Programs in C that follow another one from call to call, compiled where they are needed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What they have in common.
const COMMON: (&str, &str) = ("traced.h", include_str!("traced.h"));

/// Compiles one into a directory.
pub(crate) fn compiled(directory: &Path, name: &str, source: &str) -> PathBuf {
    let (text, program) = (directory.join(format!("{name}.c")), directory.join(name));
    fs::write(directory.join(COMMON.0), COMMON.1).unwrap();
    fs::write(&text, source).unwrap();
    let made = Command::new("cc")
        .args(["-O1", "-Wall", "-Wextra", "-Werror", "-o"])
        .args([&program, &text])
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    program
}
