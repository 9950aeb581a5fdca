//! The secrets that tests plant, and looking for them.
//!
//! What is listed here is looked for by every test: in all that a program says, in the directory of
//! its world when it ends, and after `make test` in everything that is left (`leftovers`). So a
//! secret is found too that gets into a world it never was in, or into a file that nobody thought
//! of. A world refuses a credential that is not listed: a new one joins by being made here.

mod forms;

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use self::forms::Forms;

/// What each of them is, and how it begins; no other text of a test may have that in it. The first
/// is shown where one is found, the second never.
pub const PLANTED: [(&str, &str); 43] = [
    ("a token of a cluster", "a-secret-of-the-cluster"),
    ("a code that a browser brings back", "a-code-"),
    ("a code that a device waits with", "a-device-code-"),
    ("the secret of a key of AWS", "aws-secret-of-"),
    ("a token of a session at AWS", "aws-session-of-"),
    ("a token that AWS exchanges", "aws-token-of-"),
    ("a token of one test", "a-token-for-this-test-alone"),
    ("a token of the publisher", "a-token-of-the-publisher"),
    ("a canary", "canary-"),
    ("the token of the hostile servers' user", "dbt_canary_"),
    ("a token that gets the next one", "a-refresh-token"),
    ("an access token of a provider", "an-access-token"),
    ("a phrase", "correct horse battery"),
    ("the password of a user", "correct-horse"),
    ("a token in a variable", "dbt_0123456789abcdef"),
    ("a token that is good no more", "dbt_another_old_token"),
    ("a token that is good for a while", "dbt_the_"),
    ("a token that nobody was given", "dbt_yet_another_token"),
    ("a password of `doctor`", "hunter-"),
    ("a password", "hunter2"),
    ("the token of an administrator", "only-for-admins"),
    ("the token that writes", "open-sesame"),
    ("a bearer token that counts for nothing", "planted-bearer"),
    ("a cookie", "planted-cookie"),
    ("a header", "planted-header"),
    ("a query", "planted-query"),
    ("a referring page", "planted-referer"),
    ("a password that counts for nothing", "planted-password"),
    ("a token that reads", "read-token"),
    ("the token of another administrator", "root-token"),
    ("the token of a proxy's test", "t0ken-of-the-repository"),
    ("a passphrase of no key", "jabberwocky"),
    ("the password of Alice in the directory", "wonderland"),
    ("the token of a file", "the-old-token"),
    ("the next token of a file", "the-new-token"),
    ("the last token of a file", "the-newest-token"),
    ("the passphrase of every key", "looking-glass"),
    ("a password of the client's unit tests", "s3cret"),
    ("a token of the client's unit tests", "s3cr3t"),
    ("a canary of the client's unit tests", "CANARY"),
    ("a wrong password", "wrong-horse"),
    ("another token that writes", "write-token"),
    ("a password of characters that are escaped", EVERY_CHARACTER),
];

/// What looks different wherever it is written.
pub const EVERY_CHARACTER: &str = "all \"of\\it\" 100%/+?\u{e9}";

/// The shortest that is looked for.
const SHORTEST: usize = 10;

/// Finds what is listed.
fn listed() -> &'static Forms {
    static LISTED: OnceLock<Forms> = OnceLock::new();
    LISTED.get_or_init(|| {
        let mut forms = Forms::default();
        for (name, secret) in PLANTED {
            forms.add(name, secret);
        }
        forms
    })
}

/// Returns what planted secret is in some bytes, or that a signed token is.
pub fn found_in(bytes: &[u8]) -> Option<&'static str> {
    listed().find(bytes)
}

/// Says whether a credential is a secret: shorter ones are words that may be anywhere, and one
/// character over and over is a strange request.
fn is_secret(credential: &str) -> bool {
    let first = credential.chars().next();
    credential.len() >= SHORTEST && credential.chars().any(|character| Some(character) != first)
}

/// Says whether a credential is a signed token, which is good once, or what is left of one.
fn is_signed(credential: &str) -> bool {
    credential.matches('.').count() == 2 || credential.starts_with("eyJ")
}

/// Says whether a credential is a token that a server made by chance, mistyped or not. Its world looks
/// for it from when it is shown.
fn is_made_by_a_server(credential: &str) -> bool {
    // What its pages give to a browser, mistyped or not, is nothing that a test has made.
    if ["catalog-session=", "catalog-sign-in=", "__Host-catalog-session="]
        .iter()
        .any(|it| credential.starts_with(it))
    {
        return true;
    }
    let mut beginnings = ["dbt_tp_", "dbt_", "dbt-"].into_iter();
    let by_chance = beginnings.find_map(|it| credential.strip_prefix(it));
    by_chance.is_some_and(|it| it.len() >= 31 && it.bytes().all(|it| it.is_ascii_alphanumeric()))
}

/// Expects that a credential of a test is one that is looked for.
#[track_caller]
pub fn is_listed(credential: &str) {
    let is_found = !is_secret(credential)
        || is_signed(credential)
        || is_made_by_a_server(credential)
        || found_in(credential.as_bytes()).is_some();
    assert!(
        is_found,
        "`{credential}` is a secret of a test that nobody looks for: \
         take one of `dbt_testkit::planted`, or list it there"
    );
}

/// Says whether a variable, or a key of a configuration, holds a secret.
fn is_for_secrets(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    ["token", "password", "passphrase", "secret"].iter().any(|end| name.ends_with(end))
}

/// Expects that a variable holds no secret but one that is looked for.
#[track_caller]
pub fn is_listed_in_variable(name: &str, value: &str) {
    if is_for_secrets(name) {
        is_listed(value);
    }
}

/// Expects that a configuration holds no secrets but those that are looked for.
#[track_caller]
pub fn are_listed_in_settings(settings: &Value) {
    match settings {
        Value::Object(members) => {
            for (key, value) in members {
                if let Value::String(value) = value {
                    is_listed_in_variable(key, value);
                }
                are_listed_in_settings(value);
            }
        }
        Value::Array(values) => {
            for value in values {
                are_listed_in_settings(value);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Expects that a request shows no secrets but those that are looked for.
#[track_caller]
pub fn are_listed_in_headers<'a>(headers: impl IntoIterator<Item = (&'a str, &'a str)>) {
    for proof in proofs(headers) {
        is_listed(&proof.secret);
    }
}

/// A credential of a request.
struct Proof {
    /// As it is in the header.
    word: String,
    /// As it is known to who shows it.
    secret: String,
}

/// Returns the credentials in the header lines of a request.
fn proofs<'a>(headers: impl IntoIterator<Item = (&'a str, &'a str)>) -> Vec<Proof> {
    let names = ["authorization", "proxy-authorization", "token", "cookie"];
    let is_one_of =
        |known: &[&str], name: &str| known.iter().any(|it| name.eq_ignore_ascii_case(it));
    let mut found = Vec::new();
    for (_, value) in headers.into_iter().filter(|(name, _)| is_one_of(&names, name)) {
        let mut is_basic = false;
        for word in value.split_ascii_whitespace() {
            if is_one_of(&["basic", "bearer", "digest"], word) {
                is_basic = word.eq_ignore_ascii_case("basic");
                continue;
            }
            let decoded = STANDARD.decode(word).ok().filter(|_| is_basic);
            let pair = decoded.and_then(|it| String::from_utf8(it).ok());
            let pair = pair.unwrap_or_else(|| word.to_owned());
            let secret = pair.split_once(':').map_or(&*pair, |(_user, password)| password);
            found.push(Proof { word: word.to_owned(), secret: secret.to_owned() });
        }
    }
    found
}

/// What may be nowhere in a world: what is listed, and what its test has shown besides, as tokens
/// that were signed for it.
#[derive(Debug, Default)]
pub struct Secrets {
    shown: Mutex<Shown>,
    /// Where a test has put secrets itself, as a user does: these, and what is below them.
    put: Mutex<Vec<PathBuf>>,
}

#[derive(Debug, Default)]
struct Shown {
    known: HashSet<String>,
    forms: Forms,
}

impl Shown {
    fn add(&mut self, name: &'static str, secret: &str) {
        if is_secret(secret) && self.known.insert(secret.to_owned()) {
            self.forms.add(name, secret);
        }
    }
}

/// What programs have made by chance and shown to a server of a test.
fn made() -> &'static Mutex<Shown> {
    static MADE: OnceLock<Mutex<Shown>> = OnceLock::new();
    MADE.get_or_init(Mutex::default)
}

/// Has every world look from now on for what a program has made by chance and shows to nobody but the
/// server that it was made for.
pub(crate) fn was_made(secret: &str) {
    lock(made()).add("what a program has made for one request", secret);
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Secrets {
    /// Looks for a secret from now on, whether or not it is listed.
    pub fn add(&self, secret: &str) {
        lock(&self.shown).add("what a request of this test has shown", secret);
    }

    /// Looks from now on for what the head of a request shows: credentials as they are and decoded,
    /// what makes a token one, its signature, and what gets the answer of an exchange again.
    #[track_caller]
    pub fn add_those_of<'a>(&self, headers: impl IntoIterator<Item = (&'a str, &'a str)>) {
        let headers: Vec<(&str, &str)> = headers.into_iter().collect();
        let is_key = |name: &str| name.eq_ignore_ascii_case("idempotency-key");
        for (_name, key) in headers.iter().filter(|(name, _)| is_key(name)) {
            self.add(key.trim());
        }
        for Proof { word, secret } in proofs(headers) {
            is_listed(&secret);
            self.add(&word);
            self.add(&secret);
            if is_signed(&secret) {
                self.add(secret.rsplit('.').next().unwrap_or_default());
            }
        }
    }

    /// Lets a file hold secrets, which a test has put there; or a directory.
    pub fn are_put_in(&self, path: impl Into<PathBuf>) {
        lock(&self.put).push(path.into());
    }

    /// Returns what is in some bytes and should not be.
    fn found_in(&self, bytes: &[u8]) -> Option<&'static str> {
        let shown = || lock(&self.shown).forms.find(bytes);
        found_in(bytes).or_else(shown).or_else(|| lock(made()).forms.find(bytes))
    }

    /// Expects that no secret is in what a place holds.
    #[track_caller]
    pub fn are_not_in(&self, place: &str, bytes: &[u8]) {
        if let Some(secret) = self.found_in(bytes) {
            panic!("a secret is in {place}: {secret}");
        }
    }

    /// Expects that no secret is in any file below a directory, or in its name, but where a test
    /// has put it. What cannot be read was taken away meanwhile, or is nobody's of ours.
    #[track_caller]
    pub fn are_not_below(&self, directory: &Path) {
        let put = lock(&self.put).clone();
        for path in files_below(directory) {
            if put.iter().any(|put| path.starts_with(put)) {
                continue;
            }
            let name = path.strip_prefix(directory).unwrap_or(&path).as_os_str();
            // Said without the name.
            let place = format!("the name of a file below {}", directory.display());
            self.are_not_in(&place, name.as_encoded_bytes());
            let is_read = path.symlink_metadata().is_ok_and(|it| it.is_file() && it.len() < LARGE);
            if is_read && let Ok(bytes) = fs::read(&path) {
                self.are_not_in(&path.display().to_string(), &bytes);
            }
        }
    }
}

/// Nothing that a program writes in a test is as large; programs are, and uploads that fill disks.
const LARGE: u64 = 4 * 1024 * 1024;

/// Returns everything below a directory but directories. Links are not followed.
pub fn files_below(directory: &Path) -> Vec<PathBuf> {
    let (mut found, mut waiting) = (Vec::new(), vec![directory.to_owned()]);
    while let Some(next) = waiting.pop() {
        for entry in fs::read_dir(&next).into_iter().flatten().flatten() {
            let is_directory = entry.file_type().is_ok_and(|it| it.is_dir());
            if is_directory { &mut waiting } else { &mut found }.push(entry.path());
        }
    }
    found.sort();
    found
}
