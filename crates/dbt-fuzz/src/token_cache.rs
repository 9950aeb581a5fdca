//! The file in which tokens are kept, which a crash, a disk or a newer program may have changed.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use dbt_client::oidc::Tokens;
use dbt_client::settings::Places;
use dbt_client::token_cache::{CacheProblem, Key, Need, Recipient, TokenCache};
use dbt_client::url::{Origin, RepositoryUrl};
use dbt_core::secret::Secret;
use serde_json::Value;

use crate::fixtures;

/// A token that is kept beside what is there.
const OURS: &str = "hunter2-of-another-server";

/// Reads any bytes as what was kept before.
pub fn run(data: &[u8]) {
    let home = Home::with(data);
    let written = Written::by(data);
    if written.as_ref().is_some_and(Written::asks_a_keychain) {
        // Its program would be started.
        return;
    }
    let cache = home.cache();
    let mut kept = Vec::new();
    for key in written.iter().flat_map(Written::keys) {
        if let Some(tokens) = cache.peek(&key) {
            stands_there(&key, &tokens, written.as_ref().unwrap());
            kept.push((key, tokens));
        }
    }
    assert_eq!(cache.peek(&key("https://nobody.example.com")), None, "an origin has its own");
    let said = home.said();
    assert!(said.len() <= 1, "each of them is said once: {said:?}");
    assert!(said.is_empty() || kept.is_empty(), "a file is used whole, or not at all: {said:?}");

    let is_newer = said.iter().any(|words| words.contains("newer version"));
    if said.is_empty() || is_newer {
        assert_eq!(home.bytes().unwrap(), data, "a look changes nothing");
    } else {
        assert_eq!(home.bytes(), None, "what is of no use is taken away");
    }
    one_more(&home, &kept, is_newer, data);
}

/// Keeps another one, and forgets it again.
fn one_more(home: &Home, kept: &[(Key, Tokens)], is_newer: bool, data: &[u8]) {
    let ours = key("https://dbt.example.com");
    let tokens = Tokens::without_end(Secret::new(OURS.to_owned()), fixtures::now());
    home.cache().store(&ours, &tokens);
    if is_newer {
        assert_eq!(home.bytes().unwrap(), data, "a newer program still finds its own");
        return;
    }
    assert_eq!(home.mode(), 0o600);
    let after = home.cache();
    assert_eq!(after.peek(&ours).map(|it| it.token), Some(tokens.token.clone()));
    for (key, before) in kept.iter().filter(|(key, _tokens)| *key != ours) {
        // What has ended is dropped, and the oldest where there are too many.
        if let Some(now) = after.peek(key) {
            assert_eq!((&now.token, &now.refresh_token), (&before.token, &before.refresh_token));
        }
    }
    let need = Need { now: fixtures::now(), patience: Duration::ZERO, refused: None };
    let again = after.get_or_obtain(&ours, &need, |_renewal| Err::<Tokens, &str>("nobody asks"));
    assert_eq!(again.expect("it is good").token, tokens.token);

    let forgotten = home.cache().forget(std::slice::from_ref(&ours.to));
    assert!(forgotten.iter().all(|(key, _tokens)| key.to == ours.to));
    assert!(forgotten.iter().any(|(key, _tokens)| *key == ours));
    assert_eq!(home.cache().peek(&ours), None);
    let holds_it = |bytes: &[u8]| bytes.windows(OURS.len()).any(|window| window == OURS.as_bytes());
    assert!(holds_it(data) || !holds_it(&home.bytes().expect("it is there")), "it is gone");
    assert_eq!(home.said(), [""; 0]);
}

/// Expects that a token was written for this very key.
fn stands_there(key: &Key, tokens: &Tokens, written: &Written) {
    let is_it = |entry: &&Value| entry["token"] == **tokens.token.expose();
    let entry = written.of(key).into_iter().find(is_it).expect("it stands there");
    let refresh_token = tokens.refresh_token.as_ref().map(|it| it.expose().as_str());
    assert_eq!(entry.get("refresh_token").and_then(Value::as_str), refresh_token);
    assert_eq!(entry.get("expires").is_some_and(Value::is_string), tokens.expires.is_some());
    let texts = [Some(tokens.token.expose().as_str()), refresh_token];
    for text in texts.into_iter().flatten() {
        assert!(!text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic()), "{text:?}");
    }
}

/// What stands in a file, read by another way.
struct Written(Vec<Value>);

impl Written {
    fn by(bytes: &[u8]) -> Option<Self> {
        let document: Value = serde_json::from_slice(bytes).ok()?;
        let entries = document.get("tokens")?.as_array()?;
        // Lists are read like objects, but not here.
        entries.iter().all(Value::is_object).then(|| Self(entries.clone()))
    }

    fn keys(&self) -> impl Iterator<Item = Key> {
        let entries = self.0.clone();
        entries.into_iter().filter_map(|entry| {
            let text = |name: &str| entry[name].as_str().map(ToOwned::to_owned);
            let origin = origin_of(&text("origin")?)?;
            let (issuer, client) = (text("issuer")?, text("client")?);
            let who = text("who").unwrap_or_default();
            let to = Recipient { origin, guest: text("server").unwrap_or_default() };
            Some(Key { issuer, client, audience: text("audience")?, to, who })
        })
    }

    fn asks_a_keychain(&self) -> bool {
        self.0.iter().any(|entry| entry["in_keychain"] == true)
    }

    fn of(&self, key: &Key) -> Vec<&Value> {
        let is_its = |entry: &&Value| {
            let is = |name: &str, text: &str| entry[name] == *text;
            let said = |name: &str| entry[name].as_str().unwrap_or_default();
            said("who") == key.who
                && said("server") == key.to.guest
                && is("issuer", &key.issuer)
                && is("client", &key.client)
                && is("audience", &key.audience)
                && entry["origin"].as_str().and_then(origin_of).as_ref() == Some(&key.to.origin)
        };
        self.0.iter().filter(is_its).collect()
    }
}

fn origin_of(url: &str) -> Option<Origin> {
    url.parse::<RepositoryUrl>().ok()?.origin().cloned()
}

fn key(url: &str) -> Key {
    Key::of_server(Recipient::at_home(origin_of(url).unwrap()))
}

/// A home with such a file, and what was said about it.
struct Home {
    directory: tempfile::TempDir,
    said: Arc<Mutex<Vec<String>>>,
}

impl Home {
    fn with(bytes: &[u8]) -> Self {
        let home = Self { directory: tempfile::tempdir().unwrap(), said: Arc::default() };
        std::fs::create_dir(home.directory.path().join("state")).unwrap();
        let mut options = OpenOptions::new();
        options.write(true).create_new(true).mode(0o600);
        options.open(home.file()).unwrap().write_all(bytes).unwrap();
        home
    }

    fn file(&self) -> PathBuf {
        self.directory.path().join("state/tokens.json")
    }

    /// Opens the cache as another process does.
    fn cache(&self) -> TokenCache {
        let home = self.directory.path();
        let places = Places {
            home: Some(home.to_owned()),
            read_only_home: None,
            store: None,
            read_only_stores: Vec::new(),
            temporary: home.to_owned(),
            links: None,
        };
        let (said, path) = (Arc::clone(&self.said), self.file());
        TokenCache::open(&places, move |problem| said.lock().unwrap().push(words(problem, &path)))
    }

    fn said(&self) -> Vec<String> {
        std::mem::take(&mut *self.said.lock().unwrap())
    }

    fn bytes(&self) -> Option<Vec<u8>> {
        std::fs::read(self.file()).ok()
    }

    fn mode(&self) -> u32 {
        std::fs::metadata(self.file()).unwrap().permissions().mode() & 0o7777
    }
}

/// Returns what a problem says: where it is, and nothing of what is there.
fn words(problem: &CacheProblem, path: &Path) -> String {
    assert!(matches!(problem, CacheProblem::Damaged { .. } | CacheProblem::Newer { .. }));
    let words = format!("{problem} {problem:?}");
    let path = format!("`{}` ", path.display());
    assert!(words.starts_with(&path), "{words}");
    words
}
