//! `leftovers`: it finds what was planted wherever it lies and whatever it looks like, says where and
//! not what, and looks into something.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use dbt_testkit::identity_provider::SigningKey;
use dbt_testkit::planted::PLANTED;
use serde_json::json;

fn leftovers(directory: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_leftovers")).arg(directory).output().unwrap()
}

/// What `cargo test` says of two tests that pass.
fn output(of_one: &str, of_two: &str) -> String {
    format!(
        "     Running tests/it/main.rs (target/debug/deps/it-0123)\n\n\
         running 2 tests\ntest a::one ... ok\ntest a::two ... ok\n\nsuccesses:\n\n\
         ---- a::one stdout ----\n{of_one}\n\n---- a::two stdout ----\n{of_two}\n\n\n\
         successes:\n    a::one\n    a::two\n\ntest result: ok. 2 passed\n"
    )
}

/// Expects that a directory is refused with these lines, none of which repeats the secret.
fn is_found(directory: &Path, secret: &str, lines: &[String]) {
    let found = leftovers(directory);
    assert_eq!(found.status.code(), Some(1), "{lines:?}");
    let said = String::from_utf8(found.stderr).unwrap();
    assert_eq!(said.lines().collect::<Vec<_>>(), lines);
    assert!(!said.contains(secret) && found.stdout.is_empty());
}

#[test]
fn what_was_planted_is_found_in_words_in_files_and_in_their_names() {
    let directory = tempfile::tempdir().unwrap();
    let at = |path: &str| directory.path().join(path);
    fs::create_dir_all(at("tmp/below")).unwrap();
    fs::write(at("output"), output("said", "more")).unwrap();
    fs::write(at("tmp/below/core"), b"\0\xff nothing").unwrap();
    let clean = leftovers(directory.path());
    assert!(clean.status.success(), "{clean:?}");
    let said = String::from_utf8(clean.stdout).unwrap();
    assert!(said.starts_with("no secret is in ") && said.ends_with(" and 1 files they left\n"));

    let (name, secret) = PLANTED[0];
    fs::write(at("output"), output("said", &format!("a {secret} more"))).unwrap();
    let two = "what is said by `a::two` of tests/it/main.rs (target/debug/deps/it-0123)";
    is_found(directory.path(), secret, &[format!("error: a secret is in {two}: {name}")]);
    fs::write(at("output"), output(secret, "more")).unwrap();
    let one = two.replace("two", "one");
    is_found(directory.path(), secret, &[format!("error: a secret is in {one}: {name}")]);

    fs::write(at("output"), output("said", "more")).unwrap();
    fs::write(at("tmp/below/core"), [b"\0\xff ", secret.as_bytes()].concat()).unwrap();
    let place = at("tmp/below/core");
    let line = format!("error: a secret is in {}: {name}", place.display());
    is_found(directory.path(), secret, &[line]);
    fs::remove_file(place).unwrap();

    fs::write(at("tmp").join(secret), "").unwrap();
    let place = format!("the name of a file below {}", directory.path().display());
    is_found(directory.path(), secret, &[format!("error: a secret is in {place}: {name}")]);
}

#[test]
fn where_there_is_nothing_it_says_so() {
    let directory = tempfile::tempdir().unwrap();
    assert_eq!(leftovers(directory.path()).status.code(), Some(1));
    assert_eq!(leftovers(&directory.path().join("none")).status.code(), Some(1));
    fs::write(directory.path().join("output"), "").unwrap();
    assert_eq!(leftovers(directory.path()).status.code(), Some(1));
}

/// Every byte as an escape in a URL, or only what needs one.
fn in_a_url(secret: &str, all: bool) -> String {
    let mut text = String::new();
    for byte in secret.bytes() {
        if all || !byte.is_ascii_alphanumeric() && !b"-_.~".contains(&byte) {
            write!(text, "%{byte:02X}").unwrap();
        } else {
            text.push(char::from(byte));
        }
    }
    text
}

/// What a secret looks like to who looks at a log.
fn forms(secret: &str) -> Vec<String> {
    let (mut hexadecimal, mut escaped) = (String::new(), String::new());
    for byte in secret.bytes() {
        write!(hexadecimal, "{byte:02x}").unwrap();
    }
    for character in secret.chars() {
        write!(escaped, "\\u{:04x}", u32::from(character)).unwrap();
    }
    let json = json!({ "password": secret }).to_string();
    let mut forms = vec![
        secret.to_owned(),
        hexadecimal.to_uppercase(),
        hexadecimal,
        in_a_url(secret, false),
        in_a_url(secret, true),
        in_a_url(secret, true).to_lowercase(),
        in_a_url(secret, false).replace("%20", "+"),
        json,
        escaped,
        format!("{:?}", Some(secret)),
    ];
    // Wherever in a group of three bytes it begins and ends, the name of a user before it.
    for user in ["", "a", "al", "ali", "alic", "alice"] {
        for rest in ["", "1", "12", "123"] {
            let pair = format!("{user}:{secret}{rest}");
            forms.push(format!("Authorization: Basic {}", STANDARD.encode(&pair)));
            forms.push(URL_SAFE_NO_PAD.encode(&pair));
            forms.push(json!(STANDARD.encode(&pair)).to_string().replace('/', "\\/"));
            forms.push(in_a_url(&STANDARD.encode(&pair), false));
        }
    }
    forms
}

#[test]
fn what_was_planted_is_found_whatever_it_looks_like() {
    let directory = tempfile::tempdir().unwrap();
    let words: Vec<(&str, String)> = PLANTED
        .iter()
        .flat_map(|(name, secret)| forms(secret).into_iter().map(move |form| (*name, form)))
        .collect();
    // A test for each, so that each has to be found.
    let mut output = "     Running it\n".to_owned();
    for (at, (_, form)) in words.iter().enumerate() {
        write!(output, "---- t{at} stdout ----\nx {form}\n").unwrap();
    }
    fs::write(directory.path().join("output"), output).unwrap();
    let found = leftovers(directory.path());
    assert_eq!(found.status.code(), Some(1));
    let said = String::from_utf8(found.stderr).unwrap();
    let mut lines = said.lines();
    for (at, (name, form)) in words.iter().enumerate() {
        let line = format!("error: a secret is in what is said by `t{at}` of it: {name}");
        assert_eq!(lines.next(), Some(&*line), "{form}");
    }
    assert_eq!(lines.next(), None);
    for (name, secret) in PLANTED {
        assert!(!said.contains(secret), "{name}");
    }
}

#[test]
fn a_signed_token_is_found_and_what_looks_like_a_part_of_one_is_not() {
    let directory = tempfile::tempdir().unwrap();
    let token = SigningKey::ed25519("key").token(&json!({"sub": "alice"}));
    let path = directory.path().join("output");
    fs::write(&path, output(&format!("Bearer {token}"), "")).unwrap();
    let one = "what is said by `a::one` of tests/it/main.rs (target/debug/deps/it-0123)";
    let line = format!("error: a secret is in {one}: a signed token");
    is_found(directory.path(), &token, &[line]);
    let head = token.rsplit_once('.').unwrap().0;
    for part in [head, &format!("{head}.short"), "open sesame", "hunter", "t0ken", "a%20b\\u00"] {
        fs::write(&path, output(part, "")).unwrap();
        let seen = leftovers(directory.path());
        assert!(seen.status.success(), "{part} {seen:?}");
    }
}
