//! Packages for Fedora, Red Hat, SUSE and their relatives: a lead that nobody reads any more, a header
//! about the package's own bytes, the header proper, and a compressed `cpio` archive.
//!
//! Source: "RPM V4 Package format" and `rpmtag.h`. All numbers are big-endian. The same input makes
//! the same package: no time and no host is in it.

use std::io::{self, Write as _};

use dbt_core::digest::Digest;
use dbt_core::platform::Arch;
use flate2::Compression;
use flate2::write::GzEncoder;

use super::package::Contents;

/// What the lead begins with, and the size of it.
const LEAD: [u8; 4] = [0xed, 0xab, 0xee, 0xdb];
const LEAD_SIZE: usize = 96;
/// What a header begins with.
const HEADER: [u8; 8] = [0x8e, 0xad, 0xe8, 0x01, 0, 0, 0, 0];
/// The size of an entry of a header's index, and of what stands at the end of its region.
const ENTRY: usize = 16;
/// The regions: everything in the header about bytes, and everything in the header proper.
const SIGNATURES: u32 = 62;
const IMMUTABLE: u32 = 63;
/// A regular file that everybody may run.
const MODE: u16 = 0o100_755;
/// Needed of `rpm` itself, at most this version of it: `RPMSENSE_RPMLIB | LESS | EQUAL`.
const NEEDED: u32 = 0x0100_000a;
/// `RPMSENSE_EQUAL`.
const EQUAL: u32 = 8;
/// `PGPHASHALGO_SHA256`.
const SHA256: u32 = 8;

/// What a tag says.
enum Value {
    Text(String),
    /// A text that could be in several languages.
    Words(String),
    Texts(Vec<String>),
    Short(u16),
    Numbers(Vec<u32>),
}

impl Value {
    /// Returns the type, how many there are, and what the place of the first must be a multiple of.
    fn kind(&self) -> (u32, usize, usize) {
        match self {
            Self::Short(_) => (3, 1, 2),
            Self::Numbers(numbers) => (4, numbers.len(), 4),
            Self::Text(_) => (6, 1, 1),
            Self::Texts(texts) => (8, texts.len(), 1),
            Self::Words(_) => (9, 1, 1),
        }
    }

    fn write(&self, store: &mut Vec<u8>) {
        let mut text = |text: &str| {
            store.extend(text.as_bytes());
            store.push(0);
        };
        match self {
            Self::Text(one) | Self::Words(one) => text(one),
            Self::Texts(several) => several.iter().for_each(|one| text(one)),
            Self::Short(number) => store.extend(number.to_be_bytes()),
            Self::Numbers(numbers) => {
                store.extend(numbers.iter().flat_map(|number| number.to_be_bytes()));
            }
        }
    }
}

/// Makes the package.
pub(super) fn made(contents: &Contents<'_>) -> io::Result<Vec<u8>> {
    let payload = payload(contents)?;
    let header = header(IMMUTABLE, &tags(contents, &payload));
    let size = number(header.len() + payload.len());
    let about =
        [(273, Value::Text(Digest::of(&header).to_string())), (1000, Value::Numbers(vec![size]))];
    let mut package = lead(contents);
    package.extend(self::header(SIGNATURES, &about));
    package.resize(package.len().next_multiple_of(8), 0);
    package.extend(header);
    package.extend(payload);
    Ok(package)
}

/// Returns the architecture as `rpm` calls it, and its number in the lead.
const fn arch(arch: Arch) -> (&'static str, u8) {
    match arch {
        Arch::Amd64 => ("x86_64", 1),
        Arch::Arm64 => ("aarch64", 19),
    }
}

/// Returns the name of the file, as such packages have it.
pub(super) fn file_name(contents: &Contents<'_>) -> String {
    let (arch, _number) = arch(contents.arch);
    format!("{}-{}-1.{arch}.rpm", contents.name, contents.version())
}

fn lead(contents: &Contents<'_>) -> Vec<u8> {
    let (_name, number) = arch(contents.arch);
    let mut lead = LEAD.to_vec();
    // Version 3.0, a package of programs.
    lead.extend([3, 0, 0, 0, 0, number]);
    lead.extend(contents.name.bytes().take(65));
    lead.resize(76, 0);
    // Linux, and a header about bytes behind this.
    lead.extend([0, 1, 0, 5]);
    lead.resize(LEAD_SIZE, 0);
    lead
}

/// Returns what is said of the package, by number.
fn tags(contents: &Contents<'_>, payload: &[u8]) -> Vec<(u32, Value)> {
    let (version, (arch, _number)) = (contents.version(), arch(contents.arch));
    let name = contents.name.to_owned();
    let text = |text: &str| Value::Text(text.to_owned());
    let texts = |texts: &[&str]| Value::Texts(texts.iter().copied().map(str::to_owned).collect());
    let one = |number| Value::Numbers(vec![number]);
    let length = number(contents.program.len());
    vec![
        (100, texts(&["C"])),
        (1000, Value::Text(name.clone())),
        (1001, Value::Text(version.clone())),
        (1002, text("1")),
        (1004, Value::Words(contents.summary())),
        (1005, Value::Words(contents.description())),
        (1009, one(length)),
        (1014, text("Apache-2.0")),
        (1016, Value::Words("Unspecified".to_owned())),
        (1020, Value::Text(contents.homepage())),
        (1021, text("linux")),
        (1022, text(arch)),
        (1028, one(length)),
        (1030, Value::Short(MODE)),
        (1033, Value::Short(0)),
        (1034, one(0)),
        (1035, Value::Texts(vec![Digest::of(contents.program).to_string()])),
        (1036, texts(&[""])),
        (1037, one(0)),
        (1039, texts(&["root"])),
        (1040, texts(&["root"])),
        // Without it, it would be taken for a package of sources.
        (1044, Value::Text(format!("{name}-{version}-1.src.rpm"))),
        (1045, one(u32::MAX)),
        (1047, Value::Texts(vec![name.clone()])),
        (1048, Value::Numbers(vec![NEEDED; 3])),
        (
            1049,
            texts(&[
                "rpmlib(CompressedFileNames)",
                "rpmlib(FileDigests)",
                "rpmlib(PayloadFilesHavePrefix)",
            ]),
        ),
        (1050, texts(&["3.0.4-1", "4.6.0-1", "4.0-1"])),
        (1095, one(1)),
        (1096, one(1)),
        (1097, texts(&[""])),
        (1112, one(EQUAL)),
        (1113, Value::Texts(vec![format!("{version}-1")])),
        (1116, one(0)),
        (1117, Value::Texts(vec![name])),
        (1118, texts(&["/usr/bin/"])),
        (1124, text("cpio")),
        (1125, text("gzip")),
        (1126, text("9")),
        (5011, one(SHA256)),
        (5092, Value::Texts(vec![Digest::of(payload).to_string()])),
        (5093, one(SHA256)),
    ]
}

/// Writes a header, all of it in one region.
fn header(region: u32, tags: &[(u32, Value)]) -> Vec<u8> {
    let (mut index, mut store) = (Vec::new(), Vec::new());
    for (tag, value) in tags {
        let (kind, count, multiple) = value.kind();
        store.resize(store.len().next_multiple_of(multiple), 0);
        index.extend(entry(*tag, kind, number(store.len()), number(count)));
        value.write(&mut store);
    }
    let end = number(store.len());
    // The region is the first entry, and its end says how far back the index begins.
    let back = number(ENTRY * (tags.len() + 1)).wrapping_neg();
    store.extend(entry(region, 7, back, number(ENTRY)));
    let mut header = HEADER.to_vec();
    header.extend(number(tags.len() + 1).to_be_bytes());
    header.extend(number(store.len()).to_be_bytes());
    header.extend(entry(region, 7, end, number(ENTRY)));
    header.extend(index);
    header.extend(store);
    header
}

fn entry(tag: u32, kind: u32, place: u32, count: u32) -> Vec<u8> {
    [tag, kind, place, count].into_iter().flat_map(u32::to_be_bytes).collect()
}

/// Returns the compressed archive with the program.
fn payload(contents: &Contents<'_>) -> io::Result<Vec<u8>> {
    let mut archive = Vec::new();
    let path = format!("./usr/bin/{}", contents.name);
    add(&mut archive, 1, u32::from(MODE), &path, contents.program);
    add(&mut archive, 0, 0, "TRAILER!!!", &[]);
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(&archive)?;
    encoder.finish()
}

/// Adds an entry to a `cpio` archive of the newer portable format.
fn add(archive: &mut Vec<u8>, inode: u32, mode: u32, path: &str, content: &[u8]) {
    archive.extend(b"070701");
    let (length, path_length) = (number(content.len()), number(path.len() + 1));
    for field in [inode, mode, 0, 0, 1, 0, length, 0, 0, 0, 0, path_length, 0] {
        archive.extend(format!("{field:08x}").bytes());
    }
    archive.extend(path.bytes());
    archive.push(0);
    archive.resize(archive.len().next_multiple_of(4), 0);
    archive.extend_from_slice(content);
    archive.resize(archive.len().next_multiple_of(4), 0);
}

/// Takes a size as the number it is in a package. An installer is far smaller than 4 GiB.
fn number(size: usize) -> u32 {
    u32::try_from(size).unwrap_or(u32::MAX)
}
