use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex};
use std::thread;
use std::time::SystemTime;

use dbt_testkit::keychain::Keychain as Fake;

use super::*;
use crate::settings::Places;
use crate::token_cache::{Need, Recipient, lock_memory};
use crate::url::RepositoryUrl;

const LIFE: u64 = 3600;

/// A home, a keychain, and who listens to what is said about them.
struct Home {
    directory: tempfile::TempDir,
    keychain: Fake,
    said: Arc<Mutex<Vec<String>>>,
}

impl Home {
    fn new() -> Self {
        let said = Arc::default();
        Self { directory: tempfile::tempdir().unwrap(), keychain: Fake::new(), said }
    }

    /// Opens the cache as a process does that keeps tokens there.
    fn open(&self, store: TokenStore) -> TokenCache {
        let home = self.directory.path().to_owned();
        let places = Places {
            temporary: home.clone(),
            home: Some(home),
            read_only_home: None,
            store: None,
            read_only_stores: Vec::new(),
            links: None,
        };
        let said = Arc::clone(&self.said);
        let cache = TokenCache::open(&places, move |problem| {
            lock_memory(&said).push(crate::anchor::in_one_line(problem));
        });
        let keychain = Keychain::at(self.keychain.program(), Duration::from_secs(30));
        cache.keeping_in(store).with_keychain(keychain)
    }

    fn cache(&self) -> TokenCache {
        self.open(TokenStore::Keychain)
    }

    fn file(&self) -> PathBuf {
        self.directory.path().join("state/tokens.json")
    }

    fn text(&self) -> String {
        fs::read_to_string(self.file()).unwrap_or_default()
    }

    fn said(&self) -> Vec<String> {
        std::mem::take(&mut *lock_memory(&self.said))
    }

    /// Expects that one thing was said, and that it has these words.
    #[track_caller]
    fn said_once(&self, words: &[&str]) {
        let said = self.said();
        assert_eq!(said.len(), 1, "{said:?}");
        assert!(words.iter().all(|words| said[0].contains(words)), "{said:?}");
        assert!(!said[0].contains("s3cr3t"), "{said:?}");
    }
}

fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000 + seconds)
}

fn secret(text: &str) -> Secret<String> {
    Secret::new(format!("s3cr3t-{text}"))
}

fn server() -> Recipient {
    let url: RepositoryUrl = "https://dbt.example.com".parse().unwrap();
    Recipient::at_home(url.origin().unwrap().clone())
}

fn key() -> Key {
    let issuer = "https://dex.example.com".to_owned();
    let (client, audience) = ("dbt".to_owned(), "dbt".to_owned());
    Key { issuer, client, audience, to: server(), who: String::new() }
}

/// A token that came at some second and is good for an hour, and what gets the next one.
fn tokens(name: &str, received: u64) -> Tokens {
    Tokens::for_seconds(secret(name), Some(LIFE), at(received))
        .renewed_by(Some(secret(&format!("next-after-{name}"))))
}

fn need(seconds: u64) -> Need<'static> {
    Need { now: at(seconds), patience: Duration::from_mins(1), refused: None }
}

fn nobody_is_asked(cache: &TokenCache, now: u64) -> Tokens {
    let outcome = cache.get_or_obtain(&key(), &need(now), |_renewal| -> Result<Tokens, String> {
        panic!("somebody was asked for a token")
    });
    outcome.unwrap()
}

/// Renews, and returns what it was done with.
fn renew(cache: &TokenCache, now: u64, next: Result<Tokens, &'static str>) -> Option<String> {
    let mut shown = None;
    let _outcome = cache.get_or_obtain(&key(), &need(now), |renewal| {
        shown = renewal.before().and_then(|before| before.refresh_token.clone());
        next
    });
    shown.map(|shown| shown.expose().clone())
}

#[test]
fn what_renews_a_sign_in_is_in_the_keychain_alone_and_a_good_token_asks_it_nothing() {
    let home = Home::new();
    home.cache().store(&key(), &tokens("first", 0));
    assert_eq!(home.keychain.secrets(), ["s3cr3t-next-after-first"]);
    let text = home.text();
    assert!(text.contains("s3cr3t-first") && !text.contains("next-after"), "{text}");
    let asked = home.keychain.take_asked();
    assert_eq!(asked.len(), 1);
    assert!(
        asked[0].starts_with("store --label=dbt:https://dbt.example.com application dbt item ")
    );
    assert!(!asked[0].contains("s3cr3t") && !home.keychain.variables().contains("s3cr3t"));

    for now in [0, 1, LIFE - 301] {
        assert_eq!(nobody_is_asked(&home.cache(), now).token, secret("first"), "{now}");
    }
    assert!(home.cache().peek(&key()).is_some());
    assert!(home.cache().is_kept(&key(), &tokens("first", 0)));
    assert_eq!(home.keychain.take_asked(), [""; 0]);
    assert_eq!(home.said(), [""; 0]);
}

#[test]
fn a_renewal_reads_the_keychain_tries_it_and_leaves_the_next_there() {
    let home = Home::new();
    home.cache().store(&key(), &tokens("first", 0));
    home.keychain.take_asked();
    let shown = renew(&home.cache(), LIFE, Ok(tokens("second", LIFE)));
    assert_eq!(shown.as_deref(), Some("s3cr3t-next-after-first"));
    assert_eq!(home.keychain.take_commands(), ["lookup", "store", "store"]);
    assert_eq!(home.keychain.secrets(), ["s3cr3t-next-after-second"]);
    assert_eq!(nobody_is_asked(&home.cache(), LIFE).token, secret("second"));

    // What counts on is not written again.
    let same = tokens("third", 2 * LIFE).renewed_by(Some(secret("next-after-second")));
    renew(&home.cache(), 2 * LIFE, Ok(same));
    assert_eq!(home.keychain.take_commands(), ["lookup", "store"]);
    assert_eq!(home.keychain.secrets(), ["s3cr3t-next-after-second"]);

    // What nothing renews any more leaves nothing there.
    renew(&home.cache(), 3 * LIFE, Ok(tokens("fourth", 3 * LIFE).renewed_by(None)));
    assert_eq!(home.keychain.secrets(), [""; 0]);
    assert_eq!(home.said(), [""; 0]);
}

#[test]
fn many_at_once_renew_once() {
    let home = Home::new();
    home.cache().store(&key(), &tokens("first", 0));
    home.keychain.take_asked();
    let (asked, start) = (AtomicUsize::new(0), Barrier::new(20));
    thread::scope(|scope| {
        for _process in 0..20 {
            let (home, asked, start) = (&home, &asked, &start);
            scope.spawn(move || {
                let cache = home.cache();
                start.wait();
                let outcome = cache.get_or_obtain(&key(), &need(LIFE), |renewal| {
                    asked.fetch_add(1, Ordering::SeqCst);
                    let before = renewal.before().unwrap().refresh_token.clone();
                    assert_eq!(before, Some(secret("next-after-first")));
                    Ok::<_, String>(tokens("second", LIFE))
                });
                assert_eq!(outcome.unwrap().token, secret("second"));
            });
        }
    });
    assert_eq!(asked.into_inner(), 1);
    assert_eq!(home.keychain.take_commands(), ["lookup", "store", "store"]);
    assert_eq!(home.said(), [""; 0]);
}

#[test]
fn a_token_of_the_servers_own_is_asked_of_the_keychain_by_each_process() {
    let home = Home::new();
    let key = Key::of_server(server());
    home.cache().store(&key, &Tokens::without_end(secret("own"), at(0)));
    assert_eq!(home.keychain.secrets(), ["s3cr3t-own"]);
    assert!(!home.text().contains("s3cr3t"), "{}", home.text());
    home.keychain.take_asked();
    assert_eq!(home.cache().peek(&key).unwrap().token, secret("own"));
    assert_eq!(home.keychain.take_commands(), ["lookup"]);

    home.keychain.now(Some("locked"));
    assert_eq!(home.cache().peek(&key), None);
    home.said_once(&[
        "the sign-in to `https://dbt.example.com` cannot be read from the keychain: ",
        "failed (exit status: 1): Cannot create an item in a locked collection",
    ]);
    home.keychain.now(None);
    assert_eq!(home.cache().peek(&key).unwrap().token, secret("own"), "it is still known");
}

#[test]
fn a_keychain_that_cannot_be_written_is_found_out_before_anything_is_spent() {
    for (is_there, store_before) in [(true, TokenStore::Keychain), (false, TokenStore::File)] {
        let home = Home::new();
        home.open(store_before).store(&key(), &tokens("first", 0));
        home.keychain.now(Some("fails"));
        assert_eq!(renew(&home.cache(), LIFE - 200, Err("nothing to renew with")), None);
        let words = if is_there { "cannot be read from" } else { "is not renewed, since" };
        home.said_once(&[words, "Cannot autolaunch D-Bus without X11 $DISPLAY"]);
        // The old one is good until it ends, and a minute later it is tried again.
        assert_eq!(nobody_is_asked(&home.cache(), LIFE - 199).token, secret("first"));
        home.keychain.now(None);
        let shown = renew(&home.cache(), LIFE - 100, Ok(tokens("second", LIFE - 100)));
        assert_eq!(shown.as_deref(), Some("s3cr3t-next-after-first"), "it was not lost");
        assert_eq!(home.keychain.secrets(), ["s3cr3t-next-after-second"]);
        assert!(!home.text().contains("next-after"), "{}", home.text());
    }
}

#[test]
fn a_keychain_that_only_reads_is_not_written_to_by_spending() {
    let home = Home::new();
    home.cache().store(&key(), &tokens("first", 0));
    home.keychain.now(Some("full-after-trials"));
    assert_eq!(renew(&home.cache(), LIFE, Err("nothing to renew with")), None);
    home.said_once(&["is not renewed, since the keychain cannot be written", "No space left"]);
}

#[test]
fn what_the_keychain_does_not_take_after_all_is_in_no_file_instead() {
    let home = Home::new();
    home.open(TokenStore::File).store(&key(), &tokens("first", 0));
    // It can be tried, and then takes nothing.
    home.keychain.now(Some("full-after-trials"));
    let shown = renew(&home.cache(), LIFE, Ok(tokens("second", LIFE)));
    assert_eq!(shown.as_deref(), Some("s3cr3t-next-after-first"));
    home.said_once(&["cannot be kept in the keychain: ", "No space left on device"]);
    assert!(home.text().contains("s3cr3t-second"), "{}", home.text());
    assert!(!home.text().contains("next-after"), "neither the old one nor the new one");

    // Somebody who signs in hears of it, and nothing is kept.
    let home = Home::new();
    home.keychain.now(Some("full-after-trials"));
    home.cache().store(&key(), &tokens("first", 0));
    assert!(!home.cache().is_kept(&key(), &tokens("first", 0)));
    assert!(!home.file().exists());
    home.said_once(&["cannot be kept in the keychain: "]);
}

#[test]
fn a_switch_moves_nothing_until_the_next_renewal() {
    let home = Home::new();
    home.open(TokenStore::File).store(&key(), &tokens("first", 0));
    assert_eq!(nobody_is_asked(&home.cache(), 1).token, secret("first"));
    assert!(home.text().contains("next-after-first") && home.keychain.secrets().is_empty());
    let shown = renew(&home.cache(), LIFE, Ok(tokens("second", LIFE)));
    assert_eq!(shown.as_deref(), Some("s3cr3t-next-after-first"));
    assert_eq!(home.keychain.secrets(), ["s3cr3t-next-after-second"]);
    assert!(!home.text().contains("next-after"), "{}", home.text());

    // And back.
    let back = || home.open(TokenStore::File);
    assert_eq!(nobody_is_asked(&back(), LIFE).token, secret("second"));
    let shown = renew(&back(), 2 * LIFE, Ok(tokens("third", 2 * LIFE)));
    assert_eq!(shown.as_deref(), Some("s3cr3t-next-after-second"));
    assert!(home.text().contains("next-after-third"), "{}", home.text());
    assert_eq!(home.keychain.secrets(), [""; 0]);
    assert_eq!(home.said(), [""; 0]);
}

#[test]
fn whoever_signs_out_takes_it_out_of_the_keychain_and_gets_it_to_end_the_session() {
    let home = Home::new();
    let own = Key::of_server(server());
    home.cache().store(&key(), &tokens("first", 0));
    home.cache().store(&own, &Tokens::without_end(secret("own"), at(0)));
    let mut forgotten = home.cache().forget(&[server()]);
    forgotten.sort_by_key(|(key, _tokens)| key.issuer.clone());
    let tokens_of_own = Tokens::without_end(secret("own"), at(0));
    assert_eq!(forgotten, [(own, tokens_of_own), (key(), tokens("first", 0))]);
    assert_eq!(home.keychain.secrets(), [""; 0]);
    assert!(!home.text().contains("s3cr3t"), "{}", home.text());
    assert_eq!(home.said(), [""; 0]);
}

#[test]
fn what_the_keychain_does_not_give_up_is_not_forgotten() {
    let home = Home::new();
    home.cache().store(&key(), &tokens("first", 0));
    home.keychain.now(Some("locked"));
    assert!(home.cache().forget(&[server()]).is_empty());
    home.said_once(&["is left in the keychain: ", "locked collection"]);
    home.keychain.now(None);
    assert_eq!(home.cache().forget(&[server()]).len(), 1, "and can be forgotten later");
    assert_eq!(home.keychain.secrets(), [""; 0]);
    // What is in the way of a new sign-in goes all the same.
    home.cache().store(&key(), &tokens("second", 0));
    home.keychain.now(Some("locked"));
    home.cache().make_way_for(&key(), &[server()]);
    assert!(!home.text().contains("s3cr3t"), "{}", home.text());
    home.said_once(&["is left in the keychain: "]);
}

#[test]
fn a_session_that_has_ended_leaves_nothing_in_the_keychain() {
    let home = Home::new();
    home.cache().store(&key(), &tokens("first", 0));
    let outcome = home.cache().get_or_obtain(&key(), &need(LIFE), |renewal| {
        renewal.forget();
        Err::<Tokens, _>("the session has ended")
    });
    assert!(outcome.is_err());
    assert_eq!(home.keychain.secrets(), [""; 0]);
    assert!(!home.text().contains("s3cr3t"), "{}", home.text());
}

#[test]
fn somebody_who_signs_out_during_a_renewal_finds_nothing_of_it_later() {
    let home = Home::new();
    home.cache().store(&key(), &tokens("first", 0));
    let outcome = home.cache().get_or_obtain(&key(), &need(LIFE), |_renewal| {
        // Another program does not wait for this one's lock, or waited long enough.
        fs::remove_file(home.file()).unwrap();
        Ok::<_, String>(tokens("second", LIFE))
    });
    assert_eq!(outcome.unwrap().token, secret("second"));
    assert_eq!(home.keychain.secrets(), [""; 0]);
    assert!(!home.file().exists());
}

#[test]
fn what_somebody_else_has_put_there_or_taken_away_is_said_and_signed_in_to_anew() {
    let home = Home::new();
    home.cache().store(&key(), &tokens("first", 0));
    home.keychain.replace_by("no token");
    assert_eq!(renew(&home.cache(), LIFE, Err("nothing to renew with")), None);
    home.said_once(&["what the keychain has in its place is no token"]);
    home.keychain.lose();
    assert_eq!(renew(&home.cache(), LIFE, Err("nothing to renew with")), None);
    home.said_once(&["the keychain does not have it any more"]);
    home.cache().store(&key(), &tokens("second", LIFE));
    assert_eq!(home.keychain.secrets(), ["s3cr3t-next-after-second"]);
}

#[test]
fn a_file_that_says_it_has_and_the_keychain_too_is_damaged() {
    let home = Home::new();
    home.cache().store(&key(), &tokens("first", 0));
    let text =
        home.text().replace("\"in_keychain\"", "\"refresh_token\":\"s3cr3t\",\"in_keychain\"");
    assert_ne!(text, home.text());
    fs::write(home.file(), text).unwrap();
    assert_eq!(home.cache().peek(&key()), None);
    home.said_once(&["is damaged"]);
}

#[test]
fn a_home_that_can_only_be_read_writes_nothing_to_the_keychain() {
    let home = Home::new();
    home.cache().store(&key(), &tokens("first", 0));
    home.keychain.take_asked();
    let places = Places {
        temporary: home.directory.path().to_owned(),
        home: None,
        read_only_home: Some(home.directory.path().to_owned()),
        store: None,
        read_only_stores: Vec::new(),
        links: None,
    };
    let cache = TokenCache::open(&places, |_problem| {}).keeping_in(TokenStore::Keychain);
    let cache = cache.with_keychain(home.cache().keychain);
    assert_eq!(renew(&cache, LIFE, Ok(tokens("second", LIFE))), None);
    assert_eq!(home.keychain.take_asked(), [""; 0]);
}
