//! The program that was built for this test run, and the same one built as a later version.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The program and the same one built as version 99.0.0.
pub(crate) struct Programs {
    pub(crate) now: PathBuf,
    next: Vec<u8>,
}

/// Both without what debuggers need: they are hashed, copied and compared often.
pub(crate) fn programs() -> &'static Programs {
    static PROGRAMS: OnceLock<Programs> = OnceLock::new();
    PROGRAMS.get_or_init(|| {
        let now = Path::new(env!("CARGO_BIN_EXE_dbt"));
        let directory = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let next = stripped(&now.with_file_name("examples").join("dbt_next"), directory);
        Programs { now: stripped(now, directory), next: fs::read(next).unwrap() }
    })
}

pub(crate) fn stripped(program: &Path, directory: &Path) -> PathBuf {
    // Another process that runs these tests makes the same file.
    let staged = tempfile::NamedTempFile::new_in(directory).unwrap().into_temp_path();
    let strip = Command::new("strip").arg("-o").args([&*staged, program]).status();
    if !strip.is_ok_and(|status| status.success()) {
        return program.to_owned();
    }
    let target = directory.join(program.file_name().unwrap());
    staged.persist(&target).unwrap();
    target
}

/// Returns the program of version 99.0.0.
pub(crate) fn next() -> Vec<u8> {
    programs().next.clone()
}
