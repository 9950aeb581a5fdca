//! What `make static` has built, and that it needs nothing but a kernel.

use std::fs;
use std::path::{Path, PathBuf};

/// Returns a file of what was built or installed for these tests.
pub(crate) fn target(path: &str) -> PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
    let file = target.join(path);
    assert!(file.exists(), "`{}` is missing; see `make test-static`", file.display());
    file
}

/// Returns a program as it is released for a platform such as `linux-amd64`.
pub(crate) fn released(platform: &str, program: &str) -> PathBuf {
    target(&format!("static/{platform}/{program}"))
}

/// The kinds of segments of a program that name what else it needs.
const DYNAMIC: u32 = 2;
const INTERPRETER: u32 = 3;

/// The entry of a dynamic section that names a library.
const NEEDED: u64 = 1;

fn number(bytes: &[u8], at: usize, length: usize) -> u64 {
    let bytes = &bytes[at..at + length];
    bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

fn position(bytes: &[u8], at: usize) -> usize {
    usize::try_from(number(bytes, at, 8)).unwrap()
}

/// Returns the kind, the place and the length of each segment of a program of 64 bits.
fn segments(elf: &[u8]) -> Vec<(u32, usize, usize)> {
    assert_eq!(&elf[..6], b"\x7fELF\x02\x01", "a program of 64 bits, lowest byte first");
    let table = position(elf, 0x20);
    let size = usize::try_from(number(elf, 0x36, 2)).unwrap();
    let count = usize::try_from(number(elf, 0x38, 2)).unwrap();
    let segment = |index: usize| {
        let at = table + index * size;
        let kind = u32::try_from(number(elf, at, 4)).unwrap();
        (kind, position(elf, at + 0x08), position(elf, at + 0x20))
    };
    (0..count).map(segment).collect()
}

#[test]
fn released_programs_name_no_loader_and_no_library() {
    for platform in ["linux-amd64", "linux-arm64"] {
        let elf = fs::read(released(platform, "dbt")).unwrap();
        for (kind, place, length) in segments(&elf) {
            assert_ne!(kind, INTERPRETER, "{platform} names a loader");
            if kind == DYNAMIC {
                let mut entries = elf[place..place + length].chunks(16);
                let needed = entries.any(|entry| number(entry, 0, 8) == NEEDED);
                assert!(!needed, "{platform} names a library");
            }
        }
    }
}

/// What a file of this format is when it can be loaded anywhere.
const MOVABLE: u64 = 3;

/// The relocations of a program, which its own first steps apply as nobody else does.
const PLACES: u64 = 7;

#[test]
fn released_programs_lie_elsewhere_in_every_run() {
    for platform in ["linux-amd64", "linux-arm64"] {
        let elf = fs::read(released(platform, "dbt")).unwrap();
        assert_eq!(number(&elf, 0x10, 2), MOVABLE, "{platform}");
        let segments = segments(&elf);
        let (_, place, length) = segments.iter().find(|(kind, ..)| *kind == DYNAMIC).unwrap();
        let mut entries = elf[*place..place + length].chunks(16);
        assert!(entries.any(|entry| number(entry, 0, 8) == PLACES), "{platform}");
    }
}

#[test]
fn a_program_that_is_not_released_names_a_loader() {
    // Otherwise the test above would find nothing whatever there is.
    let elf = fs::read("/bin/sh").unwrap();
    assert!(segments(&elf).iter().any(|(kind, ..)| *kind == INTERPRETER));
}

#[test]
fn the_client_is_small() {
    // The other processor's is compiled with less optimisation where it is only tried.
    let length = fs::metadata(released("linux-amd64", "dbt")).unwrap().len();
    assert!(length <= 8_000_000, "{length} bytes");
}
