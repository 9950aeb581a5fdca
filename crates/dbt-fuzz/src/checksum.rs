//! Checksum files: `.sha256`.

use dbt_core::digest::Digest;

/// Reads a checksum file, and every spelling of a checksum with a file name.
pub fn run(data: &[u8]) {
    if let Ok(digest) = Digest::from_checksum_file(data) {
        accepted(data, digest);
    }
    if let Some((digest, name)) = data.split_first_chunk::<32>() {
        every_spelling_is_read(Digest::from_bytes(*digest), name);
    }
}

/// What is accepted says this digest, once, first, and nothing on another line.
fn accepted(data: &[u8], digest: Digest) {
    let lower = data.to_ascii_lowercase();
    let digits = digest.to_string().into_bytes();
    let at = lower.windows(64).position(|window| window == digits).expect("its digits are there");
    let before = &data[..at];
    let text = std::str::from_utf8(before).expect("it is text");
    assert!(text.chars().all(|c| c.is_whitespace() || c == '\\'), "{text:?}");
    let after = std::str::from_utf8(&data[at + 64..]).expect("it is text");
    assert!(after.is_empty() || after.starts_with(char::is_whitespace), "{after:?}");
    let (_line, others) = after.split_once('\n').unwrap_or((after, ""));
    assert!(others.trim().is_empty(), "{others:?}");
}

fn every_spelling_is_read(digest: Digest, name: &[u8]) {
    let name = String::from_utf8_lossy(name).replace(['\n', '\r'], "");
    let upper = digest.to_string().to_uppercase();
    for text in [
        digest.to_string(),
        format!("{digest}\n"),
        format!("{digest}\r\n"),
        format!("{upper}\n"),
        format!("{digest}  {name}\n"),
        format!("\\{digest} *{name}\r\n"),
    ] {
        assert_eq!(Digest::from_checksum_file(text.as_bytes()), Ok(digest), "{text:?}");
    }
}
