//! Release archives: what the publisher takes out of them.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::path::Path;

use dbt_publisher::publish::archive::{self, Format};
use dbt_ui::printer::Colour;
use flate2::Compression;
use flate2::read::MultiGzDecoder;
use flate2::write::{DeflateEncoder, GzEncoder};

use crate::input::{Input, mutated};

/// What the program may be called.
const WANTED: [&str; 2] = ["deploy.exe", "deploy"];

/// The most bytes that an error may have, whatever names the archive has.
const WORDS: usize = 8 * 1024;

/// Reads an archive: any bytes, or one made as the input says, perhaps changed afterwards.
pub fn run(data: &[u8]) {
    let mut input = Input(data);
    match input.byte() % 6 {
        0 => any(Format::TarGz, &compressed(input.0)),
        1 => any(Format::TarGz, input.0),
        2 => any(Format::Zip, input.0),
        3 => made(Format::TarGz, &mut input),
        4 => made(Format::Zip, &mut input),
        _ => {
            let (members, zip) = (members(&mut input), input.byte() & 1 == 1);
            if zip {
                any(Format::Zip, &mutated(&zip_of(&members), input));
            } else {
                any(Format::TarGz, &compressed(&mutated(&tar_of(&members), input)));
            }
        }
    }
}

/// What came of an archive: the program, or the words.
fn outcome(format: Format, archive: &[u8]) -> Result<Vec<u8>, String> {
    let directory = tempfile::tempdir().unwrap();
    let name = if format == Format::Zip { "a.zip" } else { "a.tar.gz" };
    let path = directory.path().join(name);
    std::fs::write(&path, archive).unwrap();
    assert_eq!(Format::of(&path), Some(format));
    let outcome = program(&path, format);
    // The kernel knows which files we have open: nothing is written anywhere else.
    let names = std::fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().file_name());
    assert_eq!(names.collect::<Vec<_>>(), [name], "an archive's names are no paths");
    assert!(std::fs::read(&path).unwrap() == archive, "the archive is as it was");
    outcome
}

fn program(path: &Path, format: Format) -> Result<Vec<u8>, String> {
    let wanted = WANTED.map(str::to_owned);
    let mut file: File = archive::program_in(path, format, &wanted).map_err(|stop| {
        let words = stop.report().render(Colour::Never);
        assert!(words.len() <= WORDS, "{} bytes of words", words.len());
        assert!(words.chars().all(|it| it == '\n' || !it.is_control()), "{words:?}");
        words
    })?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).unwrap();
    Ok(bytes)
}

/// What is taken out of any bytes is in them.
fn any(format: Format, archive: &[u8]) {
    let Ok(program) = outcome(format, archive) else { return };
    match format {
        Format::TarGz => {
            let mut unpacked = Vec::new();
            MultiGzDecoder::new(archive).read_to_end(&mut unpacked).expect("all of it was read");
            let mut blocks = unpacked.chunks(BLOCK).enumerate();
            let is_there = |at: usize| unpacked[at * BLOCK..].starts_with(&program);
            assert!(blocks.any(|(at, _block)| is_there(at)), "{} bytes", program.len());
        }
        Format::Zip => {
            let mut sum = flate2::Crc::new();
            sum.update(&program);
            let (sum, length) = (sum.sum(), u32::try_from(program.len()).unwrap());
            let (sum, length) = (sum.to_le_bytes(), length.to_le_bytes());
            // The directory says both, with the packed length between them.
            let says = |it: &[u8]| it[..4] == sum && it[8..] == length;
            assert!(archive.windows(12).any(says), "{} bytes", program.len());
        }
    }
}

/// What an entry of a made archive is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    File,
    Directory,
    Link,
}

/// An entry of a made archive.
struct Member {
    path: String,
    kind: Kind,
    content: Vec<u8>,
    /// In a tar archive, how a header of its own says the path; in a zip archive, whether it is compressed.
    manner: u8,
}

fn members(input: &mut Input<'_>) -> Vec<Member> {
    const PATHS: [&str; 14] = [
        "deploy",
        "deploy.exe",
        "deploy-1.4.0/deploy",
        "../../deploy",
        "/etc/deploy",
        "bin\\deploy",
        "C:\\deploy.exe",
        "deploy/README",
        "deploy/",
        "deployer",
        "Deploy",
        "README",
        "deploy\u{1b}[2J",
        "",
    ];
    let count = input.below(6);
    let member = |_at| {
        let deep =
            if input.byte() == 1 { "directory/".repeat(input.below(40)) } else { String::new() };
        let path = format!("{deep}{}", input.one_of(&PATHS));
        let kind = input.one_of(&[Kind::File, Kind::File, Kind::File, Kind::Directory, Kind::Link]);
        let length = input.below(2000);
        let content: Vec<u8> =
            (0..length).map(|at| if at < 16 { input.byte() } else { b'x' }).collect();
        let content = if kind == Kind::File { content } else { Vec::new() };
        Member { path, kind, content, manner: input.byte() }
    };
    (0..count).map(member).collect()
}

/// An archive that is as it should be gives the one program in it, if there is one.
fn made(format: Format, input: &mut Input<'_>) {
    let members = members(input);
    let archive =
        if format == Format::Zip { zip_of(&members) } else { compressed(&tar_of(&members)) };
    let outcome = outcome(format, &archive);
    let is_program = |member: &&Member| {
        let name = member.path.rsplit(['/', '\\']).next().unwrap_or_default();
        WANTED.contains(&name) && member.kind != Kind::Directory
    };
    let programs: Vec<&Member> = members.iter().filter(is_program).collect();
    match programs.as_slice() {
        [only] if only.kind == Kind::File => {
            assert!(outcome.as_ref() == Ok(&only.content), "`{}`: {outcome:?}", only.path);
        }
        programs => {
            assert!(outcome.is_err(), "{} entries could be the program", programs.len());
        }
    }
}

const BLOCK: usize = 512;

fn compressed(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn tar_of(members: &[Member]) -> Vec<u8> {
    let mut archive = Vec::new();
    for Member { path, kind, content, manner } in members {
        let kind = match kind {
            Kind::File => b'0',
            Kind::Directory => b'5',
            Kind::Link => [b'1', b'2'][usize::from(manner >> 7)],
        };
        let too_long = path.len() > 100;
        match manner % 4 {
            1 => entry(&mut archive, "comment", b'x', &record("comment", "x")),
            2 => {
                entry(&mut archive, "link", b'K', b"the place of a link\0");
                entry(&mut archive, "long", b'L', format!("{path}\0").as_bytes());
            }
            3 => {
                entry(&mut archive, "long", b'L', format!("{path}\0").as_bytes());
                entry(&mut archive, "link", b'K', b"the place of a link\0");
            }
            _ => {}
        }
        if manner % 4 < 2 && (too_long || manner & 4 != 0) {
            entry(&mut archive, "long", b'x', &record("path", path));
        }
        entry(&mut archive, path.get(..100).unwrap_or(path), kind, content);
    }
    archive.resize(archive.len() + 2 * BLOCK, 0);
    archive
}

/// Returns a pax record, whose length counts its own digits.
fn record(key: &str, value: &str) -> Vec<u8> {
    let rest = format!(" {key}={value}\n");
    let mut length = rest.len();
    while length != rest.len() + length.to_string().len() {
        length = rest.len() + length.to_string().len();
    }
    format!("{length}{rest}").into_bytes()
}

fn entry(archive: &mut Vec<u8>, name: &str, kind: u8, content: &[u8]) {
    let mut block = vec![0; BLOCK];
    block[..name.len()].copy_from_slice(name.as_bytes());
    block[124..135].copy_from_slice(format!("{:011o}", content.len()).as_bytes());
    block[156] = kind;
    block[148..156].fill(b' ');
    let sum: u64 = block.iter().map(|byte| u64::from(*byte)).sum();
    block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    archive.extend(block);
    archive.extend(content);
    archive.resize(archive.len().next_multiple_of(BLOCK), 0);
}

fn zip_of(members: &[Member]) -> Vec<u8> {
    let (mut archive, mut directory) = (Vec::new(), Vec::new());
    for Member { path, kind, content, manner } in members {
        let mut sum = flate2::Crc::new();
        sum.update(content);
        let is_stored = manner & 1 == 0;
        let packed = if is_stored { content.clone() } else { deflated(content) };
        let mode: u32 = match kind {
            Kind::File => 0o100_755,
            Kind::Directory => 0o040_755,
            Kind::Link => 0o120_777,
        };
        let length = |bytes: &[u8]| u32::try_from(bytes.len()).unwrap().to_le_bytes();
        let mut common = vec![20, 0, 0, 0, if is_stored { 0 } else { 8 }, 0, 0, 0, 0, 0];
        common.extend(sum.sum().to_le_bytes());
        common.extend(length(&packed));
        common.extend(length(content));
        common.extend(u16::try_from(path.len()).unwrap().to_le_bytes());
        common.extend([0, 0]);
        let at = length(&archive);
        archive.extend(b"PK\x03\x04");
        archive.extend(&common);
        archive.extend(path.as_bytes());
        archive.extend(packed);
        directory.extend(b"PK\x01\x02\x14\x03");
        directory.extend(common);
        directory.extend([0; 6]);
        directory.extend((mode << 16).to_le_bytes());
        directory.extend(at);
        directory.extend(path.as_bytes());
    }
    let (size, from) = (directory.len(), archive.len());
    archive.extend(directory);
    archive.extend(b"PK\x05\x06\0\0\0\0");
    let count = u16::try_from(members.len()).unwrap().to_le_bytes();
    archive.extend([count, count].concat());
    for number in [size, from] {
        archive.extend(u32::try_from(number).unwrap().to_le_bytes());
    }
    archive.extend([0, 0]);
    archive
}

fn deflated(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}
