//! What a command or a file gives for a password or a token.

use dbt_client::auth::{Credentials, SecretValue};
use dbt_client::url::RepositoryUrl;
use dbt_core::secret::Secret;

use crate::input::Input;

/// Reads a secret from a file, and now and then from a command that prints the same.
pub fn run(data: &[u8]) {
    let mut input = Input(data);
    let by_command = input.byte() == 1;
    let bytes = input.0;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("secret");
    std::fs::write(&path, bytes).unwrap();

    let from_file = header(|| SecretValue::file("tokenFile", path.clone()));
    for value in from_file.iter().flatten() {
        accepted(value, bytes);
    }
    if by_command {
        let line = format!("cat '{}'", path.display());
        let from_command = header(|| SecretValue::command("tokenFunc", line.clone()));
        assert_eq!(from_command, from_file, "a command says what a file says");
    }
}

/// Returns the headers that go out: as a token, and as a password. Nothing for an error.
fn header(secret: impl Fn() -> SecretValue) -> [Option<String>; 2] {
    let url: RepositoryUrl = "https://dbt.example.com".parse().unwrap();
    let other: RepositoryUrl = "https://other.example.com".parse().unwrap();
    let (origin, other) = (url.origin().unwrap().clone(), other.origin().unwrap().clone());
    let user = SecretValue::fixed("username", Secret::new("alice".to_owned()));
    let bearer = Credentials::bearer([origin.clone()], secret());
    let basic = Credentials::basic([origin.clone()], user, secret());
    [bearer, basic].map(|credentials| {
        assert!(credentials.headers_for(&other).unwrap().is_empty(), "it is nobody else's");
        let headers = credentials.headers_for(&origin).ok()?;
        headers.first().map(|header| header.value.expose().clone())
    })
}

fn accepted(value: &str, bytes: &[u8]) {
    assert!(value.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic()), "{value:?}");
    let text = std::str::from_utf8(bytes).expect("only text is sent");
    let line = text.strip_suffix('\n').unwrap_or(text);
    let line = line.strip_suffix('\r').unwrap_or(line);
    let basic = crate::fixtures::base64(format!("alice:{line}").as_bytes());
    assert!(value == format!("Bearer {line}") || value == format!("Basic {basic}"), "{value:?}");
}
