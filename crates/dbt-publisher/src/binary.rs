//! Whether a file is made for the platform it is to be published for: its first bytes say so.

use std::fmt;
use std::io::{self, Read, Seek, SeekFrom};

use dbt_core::platform::{Arch, Os, Platform};
use dbt_core::release::is_windows_script;

/// What a file's header says it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Starts with `#!`.
    Script,
    /// A program of one system, for the processors that it names (those that we know).
    Program {
        /// The format, which decides the system.
        format: Format,
        /// The processors. macOS programs may be for several.
        archs: Vec<Arch>,
    },
    /// Nothing that a system of ours runs.
    Unknown,
}

/// The format of a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// Linux.
    Elf,
    /// macOS.
    MachO,
    /// Windows.
    Pe,
}

impl Format {
    const fn name(self) -> &'static str {
        match self {
            Self::Elf => "an ELF program",
            Self::MachO => "a Mach-O program",
            Self::Pe => "a PE program",
        }
    }

    const fn os(self) -> Os {
        match self {
            Self::Elf => Os::Linux,
            Self::MachO => Os::Darwin,
            Self::Pe => Os::Windows,
        }
    }
}

impl Kind {
    /// Looks at the beginning of a file.
    pub(crate) fn of(file: &mut (impl Read + Seek)) -> io::Result<Self> {
        let head = read_at(file, 0, HEAD)?;
        if head.starts_with(b"#!") {
            return Ok(Self::Script);
        }
        let program = |format, archs: Vec<Option<Arch>>| Self::Program {
            format,
            archs: archs.into_iter().flatten().collect(),
        };
        if head.starts_with(b"\x7fELF") {
            return Ok(program(Format::Elf, vec![elf_arch(&head)]));
        }
        if head.starts_with(&[0xcf, 0xfa, 0xed, 0xfe]) {
            return Ok(program(Format::MachO, vec![u32_le(&head, 4).and_then(mach_arch)]));
        }
        if let Some(archs) = fat_archs(&head) {
            return Ok(program(Format::MachO, archs));
        }
        if head.starts_with(b"MZ") {
            let start = u32_le(&head, 0x3c).unwrap_or_default();
            let header = read_at(file, u64::from(start), 6)?;
            if header.starts_with(b"PE\0\0") {
                return Ok(program(Format::Pe, vec![pe_arch(&header)]));
            }
        }
        Ok(Self::Unknown)
    }

    /// Says whether this can run on a platform under the name of a file: what Windows makes of a script
    /// is decided by that, and its scripts begin with nothing that would tell them.
    pub(crate) fn runs_as(&self, file_name: &str, platform: Platform) -> bool {
        if platform.os == Os::Windows && is_windows_script(file_name) {
            return matches!(self, Self::Script | Self::Unknown);
        }
        self.runs_on(platform)
    }

    /// Says whether this can run on a platform.
    pub(crate) fn runs_on(&self, platform: Platform) -> bool {
        match self {
            // Windows knows no `#!`, and the artifact's name ends in `.exe` there.
            Self::Script => platform.os != Os::Windows,
            Self::Program { format, archs } => {
                format.os() == platform.os && archs.contains(&platform.arch)
            }
            Self::Unknown => false,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Script => f.write_str("a script"),
            Self::Unknown => f.write_str("neither a program nor a script with `#!`"),
            Self::Program { format, archs } => {
                let names: Vec<&str> = archs.iter().map(|arch| arch.as_str()).collect();
                let names = if names.is_empty() {
                    "another processor".to_owned()
                } else {
                    names.join(", ")
                };
                write!(f, "{} for {names}", format.name())
            }
        }
    }
}

/// How much of the beginning is looked at.
const HEAD: usize = 4096;

/// The most processors a macOS program is for. Java classes begin with the same four bytes, and
/// then a larger number.
const FAT_LIMIT: u32 = 20;

fn read_at(file: &mut (impl Read + Seek), from: u64, length: usize) -> io::Result<Vec<u8>> {
    file.seek(SeekFrom::Start(from))?;
    let mut bytes = Vec::with_capacity(length);
    file.take(length as u64).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn u32_le(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn u32_be(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

/// Class 64, little-endian, and the machine at offset 18.
fn elf_arch(head: &[u8]) -> Option<Arch> {
    if head.get(4..6) != Some(&[2, 1]) {
        return None;
    }
    match head.get(18..20)? {
        [0x3e, 0] => Some(Arch::Amd64),
        [0xb7, 0] => Some(Arch::Arm64),
        _ => None,
    }
}

const fn mach_arch(cpu: u32) -> Option<Arch> {
    match cpu {
        0x0100_0007 => Some(Arch::Amd64),
        0x0100_000c => Some(Arch::Arm64),
        _ => None,
    }
}

/// The processors of a universal program, if it is one.
fn fat_archs(head: &[u8]) -> Option<Vec<Option<Arch>>> {
    let entry = match u32_be(head, 0)? {
        0xcafe_babe => 20,
        0xcafe_babf => 32,
        _ => return None,
    };
    let count = u32_be(head, 4).filter(|count| (1..=FAT_LIMIT).contains(count))?;
    let starts = (0..usize::try_from(count).ok()?).map(|index| 8 + index * entry);
    Some(starts.map(|start| u32_be(head, start).and_then(mach_arch)).collect())
}

fn pe_arch(header: &[u8]) -> Option<Arch> {
    match header.get(4..6)? {
        [0x64, 0x86] => Some(Arch::Amd64),
        [0x64, 0xaa] => Some(Arch::Arm64),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    fn kind(bytes: &[u8]) -> Kind {
        Kind::of(&mut Cursor::new(bytes)).unwrap()
    }

    #[track_caller]
    fn runs_only_on(bytes: &[u8], platforms: &[&str]) {
        let kind = kind(bytes);
        let runs: Vec<String> = Platform::ALL
            .into_iter()
            .filter(|platform| kind.runs_on(*platform))
            .map(|platform| platform.to_string())
            .collect();
        assert_eq!(runs, platforms, "{kind}");
    }

    fn elf(machine: u8) -> Vec<u8> {
        let mut bytes = b"\x7fELF\x02\x01\x01".to_vec();
        bytes.resize(18, 0);
        bytes.extend([machine, 0]);
        bytes
    }

    fn pe(machine: [u8; 2]) -> Vec<u8> {
        let mut bytes = b"MZ".to_vec();
        bytes.resize(0x3c, 0);
        bytes.extend(0x80_u32.to_le_bytes());
        bytes.resize(0x80, 0);
        bytes.extend(b"PE\0\0");
        bytes.extend(machine);
        bytes
    }

    #[test]
    fn programs_run_where_their_header_says() {
        runs_only_on(&elf(0x3e), &["linux/amd64"]);
        runs_only_on(&elf(0xb7), &["linux/arm64"]);
        runs_only_on(&elf(0x28), &[]);
        runs_only_on(&[0xcf, 0xfa, 0xed, 0xfe, 7, 0, 0, 1], &["darwin/amd64"]);
        runs_only_on(&[0xcf, 0xfa, 0xed, 0xfe, 12, 0, 0, 1], &["darwin/arm64"]);
        runs_only_on(&pe([0x64, 0x86]), &["windows/amd64"]);
        runs_only_on(&pe([0x64, 0xaa]), &["windows/arm64"]);
    }

    #[test]
    fn a_universal_program_runs_on_each_of_its_processors() {
        let mut bytes = [0xcafe_babe_u32, 2, 0x0100_0007, 0, 0, 0, 0, 0x0100_000c, 0, 0, 0, 0]
            .iter()
            .flat_map(|word| word.to_be_bytes())
            .collect::<Vec<u8>>();
        runs_only_on(&bytes, &["darwin/amd64", "darwin/arm64"]);
        bytes[7] = 52;
        assert_eq!(kind(&bytes), Kind::Unknown, "a Java class begins with the same bytes");
    }

    #[test]
    fn a_script_runs_on_unix_and_other_files_nowhere() {
        let unix = ["darwin/amd64", "darwin/arm64", "linux/amd64", "linux/arm64"];
        runs_only_on(b"#!/bin/sh\n", &unix);
        for bytes in [&b""[..], b"MZ", b"\x7fEL", b"<html>", b"\xca\xfe\xba\xbe"] {
            runs_only_on(bytes, &[]);
        }
    }
}
