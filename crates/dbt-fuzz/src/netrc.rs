//! The user's netrc file, which other programs write.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use dbt_client::auth::{Credentials, Found, Netrc};
use dbt_client::url::{Origin, RepositoryUrl};

/// An entry of ours before or behind what is read.
const ENTRY: &str = "machine dbt.example.com login alice password hunter2";

/// Reads the file by itself, and with an entry of ours before it and behind it.
pub fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        assert_eq!(told(data), None, "what is no text is not used");
        return;
    };
    let is_plain = !text.contains(['"', '\\']);
    let alone = told(data);
    if let Some(login) = alone.as_ref().filter(|_login| is_plain) {
        stands_in(login, text);
    }
    // Of a host the first entry counts, whatever follows.
    let ours_first = told(format!("{ENTRY}\nmachine other\n{text}").as_bytes());
    assert_eq!(ours_first.as_deref(), Some("alice:hunter2"));
    if is_plain && alone.is_some() {
        let ours_last = told(format!("{text}\n\n{ENTRY}").as_bytes());
        assert_eq!(ours_last, alone, "what follows takes nothing from it");
    }
}

/// Writes the file so that it counts; returns what a host is told: the user's name, and the
/// password.
fn told(bytes: &[u8]) -> Option<String> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("netrc");
    let mut options = OpenOptions::new();
    let mut file = options.write(true).create_new(true).mode(0o600).open(&path).unwrap();
    file.write_all(bytes).unwrap();
    let found = Arc::new(Found::new(None, Some(Netrc::at(path)), &[]));
    let header = |url: &str| {
        let origin = origin(url);
        let credentials = Credentials::found([origin.clone()], Arc::clone(&found));
        let headers = credentials.headers_for(&origin).ok()?;
        headers.first().map(|header| header.value.expose().clone())
    };
    // An entry is for one host, and for nobody who could be listened to.
    for other in ["http://dbt.example.com", "http://127.0.0.1:1"] {
        assert_eq!(header(other), None, "{other}");
    }
    let names = |host: &[u8]| contains(bytes, host) || bytes.contains(&b'\\');
    assert!(header("https://example.com").is_none() || names(b"example.com"));
    let value = header("https://dbt.example.com:8443")?;
    let encoded = value.strip_prefix("Basic ").expect("it is a password");
    Some(String::from_utf8(STANDARD.decode(encoded).unwrap()).expect("it is text"))
}

fn origin(url: &str) -> Origin {
    url.parse::<RepositoryUrl>().unwrap().origin().unwrap().clone()
}

fn contains(bytes: &[u8], word: &[u8]) -> bool {
    let lower = bytes.to_ascii_lowercase();
    lower.windows(word.len()).any(|window| window == word)
}

/// Nothing is made up: without quotes, all of it stands in the file as it is sent.
fn stands_in(login: &str, text: &str) {
    let (user, password) = login.split_once(':').expect("both are sent");
    assert!(!password.is_empty() && !login.contains(char::is_whitespace), "{login:?}");
    for word in ["machine", "login", "password", user, password] {
        assert!(text.contains(word), "{word:?} in {text:?}");
    }
    assert!(contains(text.as_bytes(), b"dbt.example.com"), "{text:?}");
}
