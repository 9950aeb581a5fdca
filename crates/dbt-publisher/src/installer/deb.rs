//! Packages for Debian and its relatives: an `ar` archive of three files, two of them compressed
//! `tar` archives. (Source: `deb(5)`, `deb-control(5)`.)
//!
//! The same input makes the same package: no time and no owner is in it.

use std::io::{self, Write as _};

use flate2::Compression;
use flate2::write::GzEncoder;

use super::package::Contents;

/// The size of a block of a `tar` archive.
const BLOCK: usize = 512;

/// Makes the package.
pub(super) fn made(contents: &Contents<'_>) -> io::Result<Vec<u8>> {
    let control = control(contents);
    let control =
        compressed(&[("./", 0o755, None), ("./control", 0o644, Some(control.as_bytes()))])?;
    let path = format!("./usr/bin/{}", contents.name);
    let data = compressed(&[
        ("./", 0o755, None),
        ("./usr/", 0o755, None),
        ("./usr/bin/", 0o755, None),
        (&path, 0o755, Some(contents.program)),
    ])?;
    let mut package = b"!<arch>\n".to_vec();
    for (name, content) in [
        ("debian-binary", b"2.0\n".as_slice()),
        ("control.tar.gz", &control),
        ("data.tar.gz", &data),
    ] {
        // Time, owner and group; then the mode.
        write!(package, "{name:<16}{:<12}{:<6}{:<6}{:<8}", 0, 0, 0, 100_644)?;
        writeln!(package, "{:<10}`", content.len())?;
        package.extend(content);
        if content.len() % 2 == 1 {
            package.push(b'\n');
        }
    }
    Ok(package)
}

/// Returns the name of the file, as such packages have it.
pub(super) fn file_name(contents: &Contents<'_>) -> String {
    format!("{}_{}_{}.deb", contents.name, contents.version(), contents.arch.as_str())
}

fn control(contents: &Contents<'_>) -> String {
    format!(
        "Package: {}\nVersion: {}\nArchitecture: {}\nMaintainer: {} <root@localhost>\n\
         Installed-Size: {}\nSection: utils\nPriority: optional\nHomepage: {}\n\
         Description: {}\n {}\n",
        contents.name,
        contents.version(),
        contents.arch.as_str(),
        contents.organisation(),
        contents.program.len().div_ceil(1024),
        contents.homepage(),
        contents.summary(),
        contents.description(),
    )
}

fn compressed(entries: &[(&str, u32, Option<&[u8]>)]) -> io::Result<Vec<u8>> {
    let mut archive = Vec::new();
    for (path, mode, content) in entries {
        archive.extend(header(path, *mode, *content));
        if let Some(content) = content {
            archive.extend_from_slice(content);
            archive.resize(archive.len().next_multiple_of(BLOCK), 0);
        }
    }
    archive.resize(archive.len() + 2 * BLOCK, 0);
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(&archive)?;
    encoder.finish()
}

/// Returns the header of a file, or of a directory where there is no content.
fn header(path: &str, mode: u32, content: Option<&[u8]>) -> Vec<u8> {
    let length = content.map_or(0, <[u8]>::len);
    let kind = if content.is_some() { b'0' } else { b'5' };
    let (mode, owner, time) = (format!("{mode:07o}\0"), "0000000\0", "00000000000\0");
    let length = format!("{length:011o}\0");
    // With spaces in the place of the sum, which is made over them.
    let mut header = Vec::with_capacity(BLOCK);
    header.extend(path.as_bytes());
    header.resize(100, 0);
    for text in [&mode, owner, owner, &length, time, "        "] {
        header.extend(text.as_bytes());
    }
    header.push(kind);
    header.resize(257, 0);
    header.extend(b"ustar\x0000root");
    header.resize(297, 0);
    header.extend(b"root");
    header.resize(BLOCK, 0);
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    for (to, from) in header.iter_mut().skip(148).zip(format!("{sum:06o}\0 ").bytes()) {
        *to = from;
    }
    header
}
