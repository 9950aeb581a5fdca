//! Becoming the tool.
//!
//! The last thing that happens to a run: one more look at the file that was verified, then a
//! plain `execve` of its path, so that the tool sees the process as if it had been started
//! directly (trust design, 2.10). When that fails, the error says what is wrong with the file.

use std::ffi::OsString;
use std::io::{self, Read as _, Seek as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use dbt_core::brand;
use dbt_sys::cause::Cause;
use dbt_sys::exec::{Image, can_be_opened, inherited};
use dbt_sys::files::forbids_execution;

use crate::store::{self, Installed, StoreError};

/// How long a file may be open for writing elsewhere before we give up on executing it. A child
/// process that was forked while it was being written holds it for the moment until it executes
/// its own program.
const PATIENCE: Duration = Duration::from_secs(1);

/// Becomes the tool: same process, same descriptors, signals and everything else as we were
/// started with. Returns only if that failed.
///
/// `name` is what the tool sees as its own name. The environment is exactly `environment`.
///
/// An artifact that is in memory only, because nothing can be written, is executed from there as
/// [`become_sealed_tool`] does; so is a copy of one whose file system forbids executing.
pub fn become_tool(
    installed: Installed,
    name: &str,
    arguments: &[OsString],
    environment: &[(OsString, OsString)],
) -> ExecError {
    let Some(path) = installed.path().map(Path::to_owned) else {
        return become_sealed(installed.file(), Path::new(name), name, arguments, environment);
    };
    let image = match Image::new(&path, &vector(name, arguments), environment) {
        Ok(image) => image,
        Err(source) => return ExecError::Refused { path, source },
    };
    let begun = Instant::now();
    let mut pause = Duration::from_millis(1);
    loop {
        // Nothing may come between these two lines: whoever exchanges the file before the first
        // is found out, and what comes after it is as short as we can make it.
        if let Err(source) = installed.check_identity() {
            return ExecError::Changed(source);
        }
        let error = image.replace();

        if !dbt_sys::exec::is_busy(&error) || begun.elapsed() >= PATIENCE {
            // Somebody may have removed it in between.
            if let Err(source) = installed.check_identity() {
                return ExecError::Changed(source);
            }
            let explained = ExecError::explain(&installed, path, error);
            let ExecError::NoExec { path } = explained else { return explained };
            return become_copy(&installed, path, name, arguments, environment);
        }
        std::thread::sleep(pause);
        pause *= 2;
    }
}

/// Becomes a copy in memory, where the file system with the store forbids executing: homes are
/// mounted so against programs that nobody has vouched for, and this one is verified.
fn become_copy(
    installed: &Installed,
    path: PathBuf,
    name: &str,
    arguments: &[OsString],
    environment: &[(OsString, OsString)],
) -> ExecError {
    match sealed_copy(installed, name) {
        Ok(Some(copy)) => become_sealed(&copy, &path, name, arguments, environment),
        Ok(None) => ExecError::Changed(StoreError::Changed { path }),
        // The kernel allows no such memory either.
        Err(_no_memory) => ExecError::NoExec { path },
    }
}

/// Becomes a copy of the tool in sealed memory, which nobody can change or exchange: not even a
/// process of the same user, at any moment (Linux only).
///
/// The price: the tool sees a number instead of its path in `AT_EXECFN` and `$0`, and in
/// `/proc/self/exe` a name in memory; its process has another name on kernels before 6.14; a
/// script's interpreter inherits one open descriptor and needs `/proc`.
pub fn become_sealed_tool(
    installed: Installed,
    name: &str,
    arguments: &[OsString],
    environment: &[(OsString, OsString)],
) -> ExecError {
    let path = installed.path().map_or_else(|| PathBuf::from(name), Path::to_owned);
    match sealed_copy(&installed, name) {
        Ok(Some(copy)) => become_sealed(&copy, &path, name, arguments, environment),
        Ok(None) => ExecError::Changed(StoreError::Changed { path }),
        Err(source) => ExecError::Refused { path, source },
    }
}

fn become_sealed(
    file: &std::fs::File,
    path: &Path,
    name: &str,
    arguments: &[OsString],
    environment: &[(OsString, OsString)],
) -> ExecError {
    let refused = |source| ExecError::Refused { path: path.to_owned(), source };
    let image = match Image::new(path, &vector(name, arguments), environment) {
        Ok(image) => image,
        Err(source) => return refused(source),
    };
    let head = Head::read(file);
    let error = match stay_open(file, &head) {
        // Its interpreter would find nothing there, and say so in words that nobody understands.
        Ok(Some(copy)) if !can_be_opened(&copy) => {
            return ExecError::NoDescriptors { path: path.to_owned() };
        }
        Ok(Some(copy)) => image.replace_by_descriptor(&copy),
        Ok(None) => image.replace_by_descriptor(file),
        Err(source) => return refused(source),
    };
    head.explain(path, error, false)
}

/// Copies the artifact into memory, seals it, and then reads what was sealed. Nothing is returned
/// if that is not what was verified.
fn sealed_copy(installed: &Installed, name: &str) -> io::Result<Option<std::fs::File>> {
    let copy = store::create_memory(name)?;
    let mut from = installed.file();
    from.rewind()?;
    io::copy(&mut from, &mut &copy)?;
    Ok(store::seal_and_compare(&copy, installed.digest())?.then_some(copy))
}

/// Returns a descriptor that survives executing, if the file is a script: its interpreter opens
/// it by number.
fn stay_open(file: &std::fs::File, head: &Head) -> io::Result<Option<std::fs::File>> {
    if head.interpreter().is_none() {
        return Ok(None);
    }
    inherited(file).map(Some)
}

/// Puts the tool's name before its arguments.
fn vector(name: &str, arguments: &[OsString]) -> Vec<OsString> {
    std::iter::once(OsString::from(name)).chain(arguments.iter().cloned()).collect()
}

/// Why the tool could not be executed. Nothing of it has run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExecError {
    /// The file is no longer the one that was verified.
    #[error("refusing to execute")]
    Changed(#[source] StoreError),
    /// It is a program for another kind of machine.
    #[error("`{}` is a program for {built_for}, which this machine is not", path.display())]
    OtherMachine {
        /// The file.
        path: PathBuf,
        /// What it was built for.
        built_for: String,
    },
    /// It is nothing that the system can execute.
    #[error("`{}` is not a program: {found}", path.display())]
    NotAProgram {
        /// The file.
        path: PathBuf,
        /// What it is instead.
        found: &'static str,
    },
    /// The program that is to interpret it does not exist.
    #[error("`{}` needs `{}`, which does not exist here", path.display(), interpreter.escape_debug())]
    NoInterpreter {
        /// The file.
        path: PathBuf,
        /// What its first line, or its header, names.
        interpreter: String,
        /// It is a script, not a compiled program.
        script: bool,
    },
    /// The file system with the store forbids executing.
    #[error("the file system of `{}` forbids executing (it is mounted `noexec`)", path.display())]
    NoExec {
        /// The file.
        path: PathBuf,
    },
    /// It is a script in memory, and interpreters find such only by way of `/proc`.
    #[error("`{}` is a script, which cannot run from memory where `/proc` is not mounted", path.display())]
    NoDescriptors {
        /// The file.
        path: PathBuf,
    },
    /// The system refuses it.
    #[error("failed to execute `{}`", path.display())]
    Refused {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl ExecError {
    fn explain(installed: &Installed, path: PathBuf, error: io::Error) -> Self {
        let no_exec = forbids_execution(installed.file());
        Head::read(installed.file()).explain(&path, error, no_exec)
    }

    /// Returns what the user can do about it, if anything.
    pub fn hint(&self) -> Option<String> {
        let text = match self {
            Self::Changed(source) => return source.hint(),
            Self::OtherMachine { .. } => {
                "tell whoever publishes it: it lies in the directory of another platform".into()
            }
            Self::NotAProgram { .. } => {
                "tell whoever publishes it: a script must begin with `#!` and its interpreter"
                    .into()
            }
            Self::NoInterpreter { interpreter, .. } if interpreter.ends_with('\r') => {
                "tell whoever publishes it: its lines end as on Windows".into()
            }
            Self::NoInterpreter { script: true, interpreter, .. } => {
                format!("install `{}`", interpreter.escape_debug())
            }
            Self::NoInterpreter { script: false, .. } => {
                "it was built for another system's C library; ask for a static build".into()
            }
            Self::NoDescriptors { .. } => "mount `/proc`".into(),
            Self::NoExec { .. } => {
                let prefix = brand::ENV_PREFIX;
                format!("set {prefix}CACHE_DIR to a directory on another file system")
            }
            Self::Refused { source, .. } => return hint_for(source),
        };
        Some(text)
    }

    /// Says whether running again from the beginning may help.
    pub const fn may_pass(&self) -> bool {
        matches!(self, Self::Changed(source) if source.may_pass())
    }
}

fn hint_for(error: &io::Error) -> Option<String> {
    let known = [
        (io::ErrorKind::ArgumentListTooLong, "give it fewer arguments, or a smaller environment"),
        (io::ErrorKind::ExecutableFileBusy, "another process has the file open for writing"),
        (
            io::ErrorKind::PermissionDenied,
            "a security policy of this machine may forbid it; ask its administrator",
        ),
    ];
    let known = known.iter().find(|(kind, _text)| *kind == error.kind());
    known.map(|(_kind, text)| (*text).to_owned())
}

/// The beginning of a file, which says what it is.
struct Head {
    bytes: Vec<u8>,
}

impl Head {
    /// How much the kernel looks at, and more than any header's table of segments.
    const SIZE: u64 = 16 * 1024;

    fn read(file: &std::fs::File) -> Self {
        let mut bytes = Vec::new();
        let mut reader = file;
        let _less_is_known = reader.rewind();
        let _less_is_known = reader.take(Self::SIZE).read_to_end(&mut bytes);
        Self { bytes }
    }

    /// Says what an error of executing means for a file that begins like this.
    fn explain(&self, path: &Path, source: io::Error, no_exec: bool) -> ExecError {
        let path = path.to_owned();
        let cause = Cause::of(&source);
        if cause == Cause::NotAProgram {
            return match self.machine() {
                Some(built_for) => ExecError::OtherMachine { path, built_for },
                None => ExecError::NotAProgram { path, found: self.kind() },
            };
        }
        if cause == Cause::Missing {
            return match (self.interpreter(), self.loader()) {
                (Some(interpreter), _) => {
                    ExecError::NoInterpreter { path, interpreter, script: true }
                }
                (None, Some(interpreter)) => {
                    ExecError::NoInterpreter { path, interpreter, script: false }
                }
                (None, None) => ExecError::Refused { path, source },
            };
        }
        if cause == Cause::Denied && no_exec {
            return ExecError::NoExec { path };
        }
        ExecError::Refused { path, source }
    }

    /// Returns the interpreter that a script's first line names.
    fn interpreter(&self) -> Option<String> {
        let line = self.bytes.strip_prefix(b"#!")?.split(|byte| *byte == b'\n').next()?;
        let is_space = |byte: &u8| matches!(byte, b' ' | b'\t');
        let start = line.iter().position(|byte| !is_space(byte))?;
        let word = line.get(start..)?.split(is_space).next()?;
        Some(String::from_utf8_lossy(word).into_owned())
    }

    /// Says what a file is that the kernel does not know how to execute.
    fn kind(&self) -> &'static str {
        match self.bytes.as_slice() {
            [] => "it is empty",
            [b'M', b'Z', ..] if cfg!(windows) => "it is damaged, or for another kind of machine",
            [b'M', b'Z', ..] => "it is a Windows program",
            [0xCF | 0xCE, 0xFA, 0xED, 0xFE, ..] | [0xCA, 0xFE, 0xBA, 0xBE, ..] => {
                "it is a macOS program"
            }
            [b'P', b'K', ..] => "it is a ZIP archive",
            [0x1F, 0x8B, ..] => "it is compressed",
            [b'#', b'!', ..] => "its first line names no interpreter that can be used",
            [0x7F, b'E', b'L', b'F', ..] => "its header is damaged",
            bytes if bytes.iter().take(512).all(|byte| is_text(*byte)) => {
                "it is text without a first line that names an interpreter (`#!`)"
            }
            _ => "it has a form that this system does not know",
        }
    }

    /// Returns what an ELF file was built for, if that is not what we were built for.
    fn machine(&self) -> Option<String> {
        let number = self.number(18, 2)?;
        let name = match number {
            0x03 => "x86",
            0x28 => "arm",
            0x3E => "amd64",
            0xB7 => "arm64",
            0xF3 => "riscv64",
            0x15 => "ppc64",
            0x16 => "s390x",
            _ => return Some(format!("machine number {number}")),
        };
        let ours = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        };
        (name != ours).then(|| name.to_owned())
    }

    /// Returns the dynamic loader that an ELF file names.
    fn loader(&self) -> Option<String> {
        const INTERPRETER: u64 = 3;

        let wide = *self.bytes.get(4)? == 2;
        let (table, size, count) = if wide { (32, 54, 56) } else { (28, 42, 44) };
        let table = self.number(table, if wide { 8 } else { 4 })?;
        let (size, count) = (self.number(size, 2)?, self.number(count, 2)?);
        let headers = (0..count).map(|index| table.saturating_add(index * size));
        let mut headers = headers.filter_map(|at| usize::try_from(at).ok());
        let header = headers.find(|at| self.number(*at, 4) == Some(INTERPRETER))?;
        let (place, length) = if wide { (8, 32) } else { (4, 16) };
        let width = if wide { 8 } else { 4 };
        let start = usize::try_from(self.number(header.checked_add(place)?, width)?).ok()?;
        let length = usize::try_from(self.number(header.checked_add(length)?, width)?).ok()?;
        let text = self.bytes.get(start..start.checked_add(length)?)?;
        let text = text.split(|byte| *byte == 0).next()?;
        Some(String::from_utf8_lossy(text).into_owned())
    }

    /// Reads a number of an ELF header in its own byte order.
    fn number(&self, at: usize, width: usize) -> Option<u64> {
        let header = self.bytes.strip_prefix(b"\x7FELF")?;
        let big = *header.get(1)? == 2;
        let digits = self.bytes.get(at..at.checked_add(width)?)?;
        let join = |number: u64, digit: &u8| (number << 8) | u64::from(*digit);
        Some(if big { digits.iter().fold(0, join) } else { digits.iter().rev().fold(0, join) })
    }
}

fn is_text(byte: u8) -> bool {
    matches!(byte, b'\t' | b'\n' | b'\r' | 0x20..=0x7E | 0x80..)
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use super::*;

    fn explained(bytes: &[u8], code: rustix::io::Errno) -> String {
        let head = Head { bytes: bytes.to_vec() };
        let error = head.explain(Path::new("/store/tool"), code.into(), true);
        format!("{error} / {}", error.hint().unwrap_or_default())
    }

    /// A little-endian 64-bit ELF header for `machine`, with one segment that names a loader.
    fn elf(machine: u8, loader: &str) -> Vec<u8> {
        let mut bytes = vec![0_u8; 120];
        bytes[..6].copy_from_slice(b"\x7FELF\x02\x01");
        bytes[18] = machine;
        bytes[32] = 64;
        bytes[54] = 56;
        bytes[56] = 1;
        bytes[64] = 3;
        bytes[64 + 8] = 120;
        bytes[64 + 32] = u8::try_from(loader.len() + 1).unwrap();
        bytes.extend(loader.bytes().chain([0]));
        bytes
    }

    #[test]
    fn what_cannot_be_executed_is_named_for_what_it_is() {
        let other = if cfg!(target_arch = "x86_64") { (0xB7, "arm64") } else { (0x3E, "amd64") };
        let cases: [(&[u8], &str); 6] = [
            (b"", "it is empty"),
            (b"echo hello\n", "text without a first line that names an interpreter (`#!`)"),
            (b"MZ\0\0", "a Windows program"),
            (b"\xCF\xFA\xED\xFE\x07", "a macOS program"),
            (b"\0\x01\x02", "a form that this system does not know"),
            (&elf(other.0, ""), &format!("a program for {}, which this machine is not", other.1)),
        ];
        for (bytes, words) in cases {
            let text = explained(bytes, rustix::io::Errno::NOEXEC);
            assert!(text.contains(words), "{text}");
        }
    }

    #[test]
    fn a_missing_interpreter_is_named() {
        let missing = rustix::io::Errno::NOENT;
        let text = explained(b"#! /opt/bin/ruby -w\nputs 1\n", missing);
        assert!(text.contains("needs `/opt/bin/ruby`, which does not exist here"), "{text}");
        let text = explained(b"#!/bin/sh\r\necho\r\n", missing);
        assert!(text.contains(r"`/bin/sh\r`") && text.contains("as on Windows"), "{text}");
        let text = explained(&elf(0x3E, "/lib/ld-musl-x86_64.so.1"), missing);
        assert!(text.contains("`/lib/ld-musl-x86_64.so.1`") && text.contains("static"), "{text}");
    }

    #[test]
    fn damaged_headers_are_no_reason_to_panic() {
        let whole = elf(0x3E, "/lib/ld.so");
        for length in 0..whole.len() {
            let mut bytes = whole[..length].to_vec();
            let head = Head { bytes: bytes.clone() };
            let _any = (head.loader(), head.machine(), head.interpreter());
            bytes.iter_mut().skip(24).for_each(|byte| *byte = 0xFF);
            let head = Head { bytes };
            let _any = (head.loader(), head.machine(), head.kind());
        }
    }

    #[test]
    fn a_mount_that_forbids_executing_is_named() {
        let text = explained(b"#!/bin/sh\n", rustix::io::Errno::ACCESS);
        assert!(text.contains("noexec") && text.contains("CACHE_DIR"), "{text}");
    }
}
