//! A new program beside the one that runs: written, checked, and put into its place.

use std::fs::File;
use std::io::Seek as _;
use std::path::{Path, PathBuf};

use dbt_core::digest::Digest;

use super::SelfUpdateError;
use crate::fsx;
use crate::store::StoreFile;

/// What the names of candidates begin with.
pub(super) fn candidate_prefix(executable: &Path) -> String {
    let name = executable.file_name().unwrap_or_default().to_string_lossy();
    format!(".{name}{}", fsx::STAGED)
}

/// A new program that has no place yet; it is removed unless it is kept.
pub(super) struct Candidate {
    pub(super) file: File,
    path: tempfile::TempPath,
}

impl Candidate {
    /// Makes an empty one beside the program.
    pub(super) fn create(executable: &Path) -> Result<Self, SelfUpdateError> {
        let directory = executable.parent().unwrap_or_else(|| Path::new("/"));
        let staged = tempfile::Builder::new()
            .prefix(&candidate_prefix(executable))
            .tempfile_in(directory)
            .map_err(|source| SelfUpdateError::Write { path: directory.to_owned(), source })?;
        let (file, path) = staged.into_parts();
        hold(&file);
        Ok(Self { file, path })
    }

    /// Copies verified bytes beside the program.
    pub(super) fn copy_of(
        content: &mut StoreFile,
        sha256: Digest,
        executable: &Path,
    ) -> Result<Self, SelfUpdateError> {
        let mut candidate = Self::create(executable)?;
        let failed = |source| SelfUpdateError::Write { path: executable.to_owned(), source };
        content.rewind().map_err(failed)?;
        std::io::copy(content, &mut candidate.file).map_err(failed)?;
        candidate.seal(sha256)?;
        Ok(candidate)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Makes the copy durable, closes it for writing, reads it back, and makes it executable if
    /// it is what was verified.
    pub(super) fn seal(&mut self, sha256: Digest) -> Result<(), SelfUpdateError> {
        let path = self.path().to_owned();
        let failed = |source| SelfUpdateError::Write { path: path.clone(), source };
        self.file.sync_all().map_err(failed)?;
        // Executing a file that is open for writing fails, so this descriptor must go.
        let file = fsx::open_nofollow(&path)?;
        hold(&file);
        self.file = file;
        let (copied, _length) = Digest::of_reader(&mut self.file).map_err(failed)?;
        if copied != sha256 {
            return Err(SelfUpdateError::CopyDiffers { path });
        }
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            self.file.set_permissions(std::fs::Permissions::from_mode(0o755)).map_err(failed)?;
            self.file.sync_all().map_err(failed)?;
        }
        Ok(())
    }

    /// Gives it a name: that of the program, or of the one before it.
    pub(super) fn keep_as(self, path: &Path, program: &Path) -> Result<(), SelfUpdateError> {
        keep(self.path, path, program)
    }
}

/// Lets a sweep see that somebody needs this file.
fn hold(file: &File) {
    // Elsewhere a lock would keep ourselves from writing to it.
    if cfg!(unix) {
        let _without_locks = file.try_lock_shared();
    }
}

/// Gives a file its name, replacing what has it.
pub(super) fn keep(
    staged: tempfile::TempPath,
    path: &Path,
    program: &Path,
) -> Result<(), SelfUpdateError> {
    let before = staged.to_path_buf();
    let aside = Aside::of(path, program)?;
    staged.persist(path).map_err(|error| {
        aside.back();
        SelfUpdateError::Write { path: path.to_owned(), source: error.error }
    })?;
    // Where both are names of one file already, as after an update that failed, renaming keeps both.
    let _best_effort = fsx::remove(&before);
    // The names matter after a power loss; where they cannot be synchronised the old program is
    // still there.
    let _synced = path.parent().map(fsx::sync_dir);
    Ok(())
}

/// What was moved out of the way of a new program: on Windows nothing takes the name of one that is
/// executed, but that one may be given another. If this run is killed in between, the program is
/// found as the one before it.
pub(super) struct Aside<'a> {
    path: &'a Path,
    moved: Option<PathBuf>,
}

impl<'a> Aside<'a> {
    /// Moves aside what has the name, if it could not be replaced. It is named like the candidates of
    /// the program, which are swept away when nobody executes them any more.
    pub(super) fn of(path: &'a Path, program: &Path) -> Result<Self, SelfUpdateError> {
        if !dbt_sys::files::is_held_as_a_program(path) {
            return Ok(Self { path, moved: None });
        }
        let failed = |source| SelfUpdateError::Write { path: path.to_owned(), source };
        let directory = program.parent().unwrap_or_else(|| Path::new("/"));
        let moved = tempfile::Builder::new()
            .prefix(&candidate_prefix(program))
            .make_in(directory, |aside| Ok(fsx::rename(path, aside)?))
            .map_err(failed)?;
        let moved = moved.into_temp_path().keep().map_err(|error| failed(error.error))?;
        Ok(Self { path, moved: Some(moved) })
    }

    /// Gives it its name back, because there is nothing in its place.
    pub(super) fn back(&self) {
        if let Some(moved) = &self.moved {
            let _best_effort = fsx::rename(moved, self.path);
        }
    }
}
