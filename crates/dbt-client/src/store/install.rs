//! From verified to installed: how an artifact gets its name.
//!
//! The name appears in one step and only on a file that is complete and verified. If somebody
//! else was first, theirs is taken, after its bytes have been compared; what is in the way and is
//! not that is removed. A file that was already installed is looked at once more.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use dbt_core::digest::Digest;
use dbt_sys::cause::Cause;

use super::file::{Form, Installed, InstalledPlace, Placed, StagingName, StoreFile};
use super::root::{self, Concern, Directory, FileName, INSTALLED, Oddity, Opened, Root, Stamp};
use super::{Inner, StoreError, memory, staging, verity};
use crate::fsx::{self, FsxError};

/// Above this, a file is written to disk before it gets its name: it will not be read again on
/// every run, so that damage done by a power loss would stay unseen (trust design, 2.10).
pub(super) const LARGE: u64 = 64 * 1024 * 1024;

/// How often a collision with others is met before we give up. Each is with another process that
/// installs or removes the same artifact at the same moment.
const ATTEMPTS: usize = 16;

/// Installs a file whose content was verified to have this digest.
pub(super) fn keep(
    store: &Arc<Inner>,
    mut file: StoreFile,
    digest: Digest,
    name: &FileName,
) -> Result<Installed, StoreError> {
    if !Arc::ptr_eq(store, &file.store) {
        return Err(StoreError::Stranger { path: file.path });
    }
    let stamp = file.check_unchanged()?;
    match file.form {
        Form::Unnamed(ref root) => {
            let root = Arc::clone(root);
            let (kept, stamp) = verity::kept_by_the_kernel(file.file, stamp);
            file.file = kept;
            match give_name(&root, &file.file, Source::Unnamed, stamp, digest, name) {
                Err(StoreError::File(error)) if cannot_link(error.kind()) => {
                    let directory = root.make_room(staging::STAGING)?;
                    let named = staging::named(store, &root, directory)?;
                    keep_copy(store, file, named, digest, name)
                }
                outcome => outcome,
            }
        }
        Form::Named(ref root, mut staged) => {
            give_name(root, &file.file, Source::Named(&mut staged), stamp, digest, name)
        }
        Form::Memory => seal(file.file, digest),
        Form::Reference => adopt(store, file, digest, name),
        Form::Placed(placed) => {
            let remembered = file.remembered.load(Ordering::Relaxed);
            confirm(file.file, placed, stamp, digest, name, remembered)
        }
    }
}

/// Looks once more at what was already installed.
fn confirm(
    file: File,
    placed: Placed,
    stamp: Stamp,
    digest: Digest,
    name: &FileName,
    remembered: bool,
) -> Result<Installed, StoreError> {
    let path = placed.directory.path.join(placed.name.as_str());
    if placed.digest != digest || placed.name != *name {
        // The bytes are good, but not under this name: whoever asks for it must not find them.
        if placed.root.rule != root::Rule::ReadOnly {
            let _kept = remove(&placed.directory, &placed.name);
        }
        return Err(Concern::new(path, Oddity::Content).into());
    }
    mark_used(&placed.root, &placed.directory);
    let kept_as = verity::kept_as(&file, stamp);
    let place = InstalledPlace::Store { path, stamp, root: placed.root, name: placed.name };
    let installed = Installed { file, digest, place, remembered, kept_as };
    // The stamp is the open file's of this moment; that its name leads to it was not asked yet.
    installed.check_name()?;
    Ok(installed)
}

/// Installs what the reference had cached, by copying: its file stays where it is.
///
/// The copy is hashed, not the original: that one can change at any time.
fn adopt(
    store: &Arc<Inner>,
    file: StoreFile,
    digest: Digest,
    name: &FileName,
) -> Result<Installed, StoreError> {
    let copy = staging::create(store)?;
    keep_copy(store, file, copy, digest, name)
}

/// Says whether a file system cannot give a file without a name one, though it makes such files.
const fn cannot_link(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::PermissionDenied
            | ErrorKind::Unsupported
            | ErrorKind::CrossesDevices
            | ErrorKind::TooManyLinks
    )
}

/// Installs a copy of a file, which is hashed in its stead.
fn keep_copy(
    store: &Arc<Inner>,
    mut file: StoreFile,
    mut copy: StoreFile,
    digest: Digest,
    name: &FileName,
) -> Result<Installed, StoreError> {
    use std::io::Seek as _;

    let path = file.path.clone();
    let failed = |error| FsxError::new("copy", &path, error);
    file.rewind().map_err(failed)?;
    copy.fill(&mut file).map_err(failed)?;
    copy.rewind().map_err(failed)?;
    let (actual, _length) = Digest::of_reader(&mut copy).map_err(failed)?;
    if actual != digest {
        return Err(StoreError::Changed { path });
    }
    keep(store, copy, digest, name)
}

fn seal(file: File, digest: Digest) -> Result<Installed, StoreError> {
    let same = memory::seal_and_compare(&file, digest);
    if !same.map_err(|error| FsxError::new("seal", "memory", error))? {
        return Err(StoreError::Changed { path: "memory".into() });
    }
    Ok(Installed { file, digest, place: InstalledPlace::Memory, remembered: false, kept_as: None })
}

/// Where a staged file comes from.
#[derive(Debug)]
enum Source<'a> {
    Unnamed,
    Named(&'a mut StagingName),
}

/// Gives a staged file its name in the store, or finds that it is there already.
fn give_name(
    root: &Arc<Root>,
    file: &File,
    mut source: Source<'_>,
    stamp: Stamp,
    digest: Digest,
    name: &FileName,
) -> Result<Installed, StoreError> {
    let words = root.top.path.as_path();
    let refused = |oddity| Concern::new(words, oddity);
    root::set_mode(file, INSTALLED).map_err(refused)?;
    if stamp.length > LARGE {
        fsx::synced(file.sync_data())
            .map_err(|error| FsxError::new("write to disk in", words, error))?;
    }
    for _attempt in 0..ATTEMPTS {
        let Some(directory) = root.make_directory_of(digest)? else { continue };
        match link(file, &mut source, &directory, name) {
            Ok(()) => {}
            Err(error) if Cause::Exists.explains(&error) => {}
            // Somebody removed the empty directory: it is made again.
            Err(error) if Cause::Missing.explains(&error) => continue,
            Err(error) => return Err(FsxError::new("install in", &directory.path, error).into()),
        }
        match root.open_artifact(digest, name) {
            Ok(Some(opened)) if is_good(&opened, stamp, digest)? => {
                mark_used(root, &opened.directory);
                return Ok(installed(opened, root, digest, name));
            }
            Ok(Some(opened)) if opened.stamp.is_same_file(&stamp) => {
                remove(&directory, name)?;
                return Err(StoreError::Changed { path: opened.path });
            }
            Ok(Some(_)) | Err(_) => remove(&directory, name)?,
            Ok(None) => {}
        }
    }
    Err(StoreError::Contended { path: words.join(root::ARTIFACTS).join(digest.to_string()) })
}

/// Makes the file's name appear, in one step.
fn link(
    file: &File,
    source: &mut Source<'_>,
    directory: &Directory,
    name: &FileName,
) -> io::Result<()> {
    match source {
        Source::Unnamed => directory.name_unnamed(file, name.as_str()),
        Source::Named(staged) => move_name(staged, directory, name),
    }
}

/// Moves a staging file to its final name unless that exists.
fn move_name(staged: &mut StagingName, directory: &Directory, name: &FileName) -> io::Result<()> {
    if !staged.owned {
        // It was moved in an earlier attempt, and somebody has removed it since.
        return Err(Cause::missing());
    }
    let moved = staged.directory.move_to_new(&staged.name, directory, name.as_str());
    let Err(error) = moved else {
        staged.owned = false;
        return Ok(());
    };
    if !matches!(Cause::of(&error), Cause::Invalid | Cause::Unsupported) {
        return Err(error);
    }
    match link_and_remove(staged, directory, name) {
        // Neither is there a second name: what is replaced has the same bytes, or is in the way of
        // them.
        Err(error)
            if matches!(
                Cause::of(&error),
                Cause::NotPermitted | Cause::Unsupported | Cause::TooManyLinks
            ) =>
        {
            staged.directory.move_over(&staged.name, directory, name.as_str())?;
            staged.owned = false;
            Ok(())
        }
        outcome => outcome,
    }
}

/// Does in two steps what some network file systems cannot do in one. Between them the file has
/// two names, for which readers wait a moment.
pub(super) fn link_and_remove(
    staged: &mut StagingName,
    directory: &Directory,
    name: &FileName,
) -> io::Result<()> {
    staged.directory.link(&staged.name, directory, name.as_str())?;
    staged.owned = false;
    staged.directory.remove_file(&staged.name)
}

/// Says whether what has the name is what was staged and verified, or is the same in another
/// file, whose bytes are then read.
fn is_good(opened: &Opened, staged: Stamp, digest: Digest) -> Result<bool, StoreError> {
    if opened.stamp.is_same_file(&staged) {
        return Ok(opened.stamp.same_content(&staged));
    }
    let mut reader = &opened.file;
    let hashed = Digest::of_reader(&mut reader);
    let (actual, _length) = hashed.map_err(|error| FsxError::new("read", &opened.path, error))?;
    Ok(actual == digest)
}

fn installed(opened: Opened, root: &Arc<Root>, digest: Digest, name: &FileName) -> Installed {
    let Opened { path, directory: _, file, stamp } = opened;
    let place = InstalledPlace::Store { path, stamp, root: Arc::clone(root), name: name.clone() };
    Installed { file, digest, place, remembered: false, kept_as: None }
}

/// Removes what has an artifact's name: a file, a link, a FIFO or an empty directory.
pub(super) fn remove(directory: &Directory, name: &FileName) -> Result<(), StoreError> {
    let outcome = match directory.remove_file(name.as_str()) {
        Err(error) if matches!(Cause::of(&error), Cause::IsADirectory | Cause::NotPermitted) => {
            directory.remove_directory(name.as_str())
        }
        outcome => outcome,
    };
    match outcome {
        Err(source) if !Cause::Missing.explains(&source) => {
            let path = directory.path.join(name.as_str());
            Err(StoreError::InTheWay { path, source })
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Leaves a trace of the last use, to the day: the directory's time, which nothing else is needed
/// for.
fn mark_used(root: &Root, directory: &Directory) {
    const PRECISION: Duration = Duration::from_hours(12);

    let last = directory.file().metadata().and_then(|metadata| metadata.modified());
    let is_recent = last.is_ok_and(|last| last.elapsed().is_ok_and(|age| age < PRECISION));
    if root.rule != root::Rule::ReadOnly && !is_recent {
        let _best_effort = directory.touch();
    }
}
