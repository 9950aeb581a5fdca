//! One pass over a file.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use sha2::Digest;

/// How much is read at once: what fits into a processor's second cache.
const CHUNK: usize = 128 * 1024;

/// Returns the digest of a file, in hexadecimal.
pub fn file<D: Digest>(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let mut digest = D::new();
    let mut chunk = vec![0; CHUNK];
    loop {
        match file.read(&mut chunk)? {
            0 => break,
            count => digest.update(chunk.get(..count).unwrap_or_default()),
        }
    }
    let mut hexadecimal = String::new();
    for byte in digest.finalize() {
        // Writing to a string cannot fail.
        let _infallible = write!(hexadecimal, "{byte:02x}");
    }
    Ok(hexadecimal)
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_known_digest_comes_out() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "abc").unwrap();
        let digest = super::file::<sha2::Sha256>(file.path()).unwrap();
        assert!(digest.starts_with("ba7816bf8f01cfea"), "{digest}");
    }
}
