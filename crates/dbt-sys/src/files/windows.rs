//! The side of Windows: paths below directories that are held in their place.

use std::ffi::c_void;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::windows::ffi::OsStrExt as _;
use std::os::windows::fs::OpenOptionsExt as _;
use std::os::windows::io::AsRawHandle as _;
use std::path::Path;
use std::time::Duration;

use super::{Directory, Facts, Links};
use crate::cause::{IN_USE, NO_DIRECTORY, STOPPED_ON_LINK};

/// What everything of ours is shown as: nobody else's, with the mode that is due.
const US: u32 = 0;
const MODE_OF_DIRECTORY: u32 = 0o040_700;
const MODE_OF_FILE: u32 = 0o100_500;

/// Opens a directory so that it stays where it is while it is open: whoever wants to rename or remove
/// it, or one above it, is refused.
pub(super) fn open_directory(path: &Path, links: Links) -> io::Result<File> {
    let more = match links {
        Links::Followed => 0,
        Links::Refused => OPEN_REPARSE_POINT,
    };
    let mut options = OpenOptions::new();
    options.read(true).share_mode(SHARE_READ | SHARE_WRITE).custom_flags(BACKUP_SEMANTICS | more);
    // Whoever tries to remove it has it for a moment in a way that excludes ours.
    let mut patience = 50;
    let directory = loop {
        match options.open(path) {
            Err(error) if error.raw_os_error() == Some(IN_USE) && patience > 0 => {
                patience -= 1;
                std::thread::sleep(Duration::from_millis(2));
            }
            outcome => break outcome?,
        }
    };
    let attributes = information_of(&directory)?.attributes;
    if links == Links::Refused && attributes & REPARSE_POINT != 0 {
        return Err(io::Error::from_raw_os_error(STOPPED_ON_LINK));
    }
    if attributes & DIRECTORY == 0 {
        return Err(io::Error::from_raw_os_error(NO_DIRECTORY));
    }
    Ok(directory)
}

pub(super) fn open_child(parent: &Directory, name: &str) -> io::Result<File> {
    open_directory(&parent.path.join(name), Links::Refused)
}

pub(super) fn make_directory(path: &Path) -> io::Result<()> {
    fs::create_dir(path)
}

pub(super) fn make_child(parent: &Directory, name: &str) -> io::Result<()> {
    make_directory(&parent.path.join(name))
}

pub(super) fn open_file(directory: &Directory, name: &str) -> io::Result<File> {
    open_without_links(&directory.path.join(name))
}

pub(super) fn open_without_links(path: &Path) -> io::Result<File> {
    unless_link(path, OpenOptions::new().read(true))
}

pub(super) fn append_without_links(path: &Path) -> io::Result<File> {
    unless_link(path, OpenOptions::new().append(true).create(true))
}

pub(super) fn open_lock(path: &Path) -> io::Result<File> {
    unless_link(path, OpenOptions::new().read(true).write(true).create(true).truncate(false))
}

fn unless_link(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    let file = options.custom_flags(BACKUP_SEMANTICS | OPEN_REPARSE_POINT).open(path)?;
    if information_of(&file)?.attributes & REPARSE_POINT != 0 {
        return Err(io::Error::from_raw_os_error(STOPPED_ON_LINK));
    }
    Ok(file)
}

pub(super) fn create_file(directory: &Directory, name: &str) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create_new(true).open(directory.path.join(name))
}

pub(super) fn create_unnamed(_directory: &Directory) -> Option<File> {
    None
}

pub(super) fn reopen(_file: &File) -> io::Result<File> {
    Err(unsupported("this system does not open a file by its number"))
}

pub(super) fn name_unnamed(_file: &File, _directory: &Directory, _name: &str) -> io::Result<()> {
    Err(unsupported("this system has no files without a name"))
}

fn unsupported(words: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::Unsupported, words)
}

pub(super) fn move_to_new(
    from: &Directory,
    name: &str,
    to: &Directory,
    new: &str,
) -> io::Result<()> {
    move_file(&from.path.join(name), &to.path.join(new), 0)
}

pub(super) fn move_over(from: &Directory, name: &str, to: &Directory, new: &str) -> io::Result<()> {
    move_file(&from.path.join(name), &to.path.join(new), REPLACE_EXISTING)
}

fn move_file(from: &Path, to: &Path, flags: u32) -> io::Result<()> {
    let (from, to) = (terminated(from), terminated(to));
    // SAFETY: both are texts that end with a zero and live until the call returns.
    let moved = unsafe { MoveFileExW(from.as_ptr(), to.as_ptr(), flags) };
    done(moved)
}

/// Returns the error of the call that has just failed, if it has.
fn done(outcome: i32) -> io::Result<()> {
    if outcome == 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

pub(super) fn link(from: &Directory, name: &str, to: &Directory, new: &str) -> io::Result<()> {
    fs::hard_link(from.path.join(name), to.path.join(new))
}

pub(super) fn remove_file(directory: &Directory, name: &str) -> io::Result<()> {
    fs::remove_file(directory.path.join(name))
}

pub(super) fn remove_directory(directory: &Directory, name: &str) -> io::Result<()> {
    fs::remove_dir(directory.path.join(name))
}

pub(super) fn check_writable(directory: &Directory) -> io::Result<()> {
    open_to(&directory.path, ADD_FILE).map(drop)
}

pub(super) fn can_work_in(directory: &Path) -> bool {
    open_to(directory, ADD_FILE).is_ok()
}

pub(super) fn touch(directory: &Directory) -> io::Result<()> {
    let handle = open_to(&directory.path, WRITE_ATTRIBUTES)?;
    let mut now = [0_u32; 2];
    // SAFETY: the time is written to two halves that are ours.
    unsafe { GetSystemTimeAsFileTime(&raw mut now) };
    // SAFETY: the handle is open, and the times live until the call returns; what is null stays.
    let set = unsafe {
        SetFileTime(handle.as_raw_handle(), std::ptr::null(), &raw const now, &raw const now)
    };
    done(set)
}

/// Opens a directory with certain rights, or finds that one does not have them.
fn open_to(directory: &Path, rights: u32) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.access_mode(rights).custom_flags(BACKUP_SEMANTICS).open(directory)
}

pub(super) fn can_read(path: &Path) -> bool {
    File::open(path).is_ok()
}

pub(super) fn facts_of_name(path: &Path) -> io::Result<Facts> {
    let mut options = OpenOptions::new();
    options.access_mode(READ_ATTRIBUTES).custom_flags(BACKUP_SEMANTICS | OPEN_REPARSE_POINT);
    facts_of(&options.open(path)?)
}

pub(super) fn facts_of_path(path: &Path) -> io::Result<Facts> {
    let mut options = OpenOptions::new();
    options.access_mode(READ_ATTRIBUTES).custom_flags(BACKUP_SEMANTICS);
    facts_of(&options.open(path)?)
}

pub(super) fn facts_of(file: &File) -> io::Result<Facts> {
    let information = information_of(file)?;
    let is_directory = information.attributes & DIRECTORY != 0;
    Ok(Facts {
        is_file: information.attributes & (DIRECTORY | REPARSE_POINT) == 0,
        device: information.volume.into(),
        number: joined(information.index),
        length: joined(information.length),
        mode: if is_directory { MODE_OF_DIRECTORY } else { MODE_OF_FILE },
        owner: US,
        names: information.names.into(),
        modified: since_1970(joined_low_first(information.modified).cast_signed()),
        changed: since_1970(changed(file)?),
        created: file.metadata().and_then(|metadata| metadata.created()).ok(),
    })
}

pub(super) fn us() -> u32 {
    US
}

#[expect(clippy::unnecessary_wraps, reason = "elsewhere there are modes")]
pub(super) fn set_mode(_file: &File, _mode: u32) -> io::Result<()> {
    Ok(())
}

pub(super) fn forbids_execution(_file: &File) -> bool {
    false
}

pub(super) fn is_held_as_a_program(path: &Path) -> bool {
    let opened = OpenOptions::new().write(true).open(path);
    opened.is_err_and(|error| error.raw_os_error() == Some(IN_USE))
}

/// Joins the halves of a number, the higher one first.
fn joined([high, low]: [u32; 2]) -> u64 {
    (u64::from(high) << 32) | u64::from(low)
}

fn joined_low_first([low, high]: [u32; 2]) -> u64 {
    joined([high, low])
}

/// Turns steps of 100 ns since 1601 into seconds since 1970 and the rest in nanoseconds.
fn since_1970(steps: i64) -> (i64, i64) {
    const STEPS: i64 = 10_000_000;
    const FROM_1601_TO_1970: i64 = 11_644_473_600;
    (steps.div_euclid(STEPS) - FROM_1601_TO_1970, steps.rem_euclid(STEPS) * 100)
}

fn information_of(file: &File) -> io::Result<Information> {
    let mut information = Information::default();
    // SAFETY: the handle is open, and the structure is the one that this call fills.
    let filled = unsafe { GetFileInformationByHandle(file.as_raw_handle(), &raw mut information) };
    done(filled).map(|()| information)
}

/// Returns when anything of a file changed.
fn changed(file: &File) -> io::Result<i64> {
    let mut basic = Basic::default();
    let length = u32::try_from(size_of::<Basic>()).unwrap_or(0);
    // SAFETY: the handle is open, and the structure is what this class of information is and so long.
    let filled = unsafe {
        GetFileInformationByHandleEx(
            file.as_raw_handle(),
            BASIC_INFORMATION,
            (&raw mut basic).cast(),
            length,
        )
    };
    done(filled).map(|()| basic.changed)
}

fn terminated(path: &Path) -> Vec<u16> {
    path.as_os_str().encode_wide().chain([0]).collect()
}

const SHARE_READ: u32 = 1;
const SHARE_WRITE: u32 = 2;
const ADD_FILE: u32 = 0x2;
const READ_ATTRIBUTES: u32 = 0x80;
const WRITE_ATTRIBUTES: u32 = 0x100;
const DIRECTORY: u32 = 0x10;
const REPARSE_POINT: u32 = 0x400;
const OPEN_REPARSE_POINT: u32 = 0x0020_0000;
const BACKUP_SEMANTICS: u32 = 0x0200_0000;
const BASIC_INFORMATION: i32 = 0;
const REPLACE_EXISTING: u32 = 1;

/// `BY_HANDLE_FILE_INFORMATION`. Times have their lower half first, all else its higher.
#[repr(C)]
#[derive(Default)]
struct Information {
    attributes: u32,
    created: [u32; 2],
    read: [u32; 2],
    modified: [u32; 2],
    volume: u32,
    length: [u32; 2],
    names: u32,
    index: [u32; 2],
}

/// `FILE_BASIC_INFO`.
#[repr(C)]
#[derive(Default)]
struct Basic {
    created: i64,
    read: i64,
    modified: i64,
    changed: i64,
    attributes: u32,
}

#[link(name = "kernel32")]
unsafe extern "system" {
    fn GetFileInformationByHandle(file: *mut c_void, information: *mut Information) -> i32;
    fn GetFileInformationByHandleEx(
        file: *mut c_void,
        class: i32,
        information: *mut c_void,
        length: u32,
    ) -> i32;
    fn GetSystemTimeAsFileTime(time: *mut [u32; 2]);
    fn SetFileTime(
        file: *mut c_void,
        created: *const [u32; 2],
        read: *const [u32; 2],
        modified: *const [u32; 2],
    ) -> i32;
    fn MoveFileExW(from: *const u16, to: *const u16, flags: u32) -> i32;
}
