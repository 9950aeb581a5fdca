use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Barrier, mpsc};
use std::thread;

use super::entry::{ENTRY_LIMIT, KEPT_AFTER_END, SERVER_LIMIT};
use super::*;
use crate::fsx;
use crate::url::Origin;
use crate::url::RepositoryUrl;

const LIFE: u64 = 3600;

/// A home, and who listens to what is said about it.
struct Home {
    directory: tempfile::TempDir,
    said: Arc<Mutex<Vec<String>>>,
}

impl Home {
    fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap(), said: Arc::default() }
    }

    /// Opens the cache as a process does.
    fn cache(&self) -> TokenCache {
        self.open(Some(self.directory.path().to_owned()), None)
    }

    fn open(&self, home: Option<PathBuf>, read_only_home: Option<PathBuf>) -> TokenCache {
        let places = self.places(home, read_only_home);
        let said = Arc::clone(&self.said);
        TokenCache::open(&places, move |problem| lock_memory(&said).push(problem.to_string()))
    }

    fn places(&self, home: Option<PathBuf>, read_only_home: Option<PathBuf>) -> Places {
        let temporary = self.directory.path().to_owned();
        let (store, read_only_stores, links) = (None, Vec::new(), None);
        Places { home, read_only_home, store, read_only_stores, temporary, links }
    }

    fn file(&self) -> PathBuf {
        self.directory.path().join("state/tokens.json")
    }

    /// Returns what was said, without the file's path.
    fn said(&self) -> Vec<String> {
        let file = self.file().display().to_string();
        std::mem::take(&mut *lock_memory(&self.said))
            .into_iter()
            .map(|words| words.replace(&file, "FILE"))
            .collect()
    }
}

fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000 + seconds)
}

fn secret(text: &str) -> Secret<String> {
    Secret::new(format!("s3cr3t-{text}"))
}

fn origin(url: &str) -> Origin {
    url.parse::<RepositoryUrl>().unwrap().origin().unwrap().clone()
}

fn home_of(server: &str) -> Recipient {
    Recipient::at_home(origin(server))
}

fn key() -> Key {
    key_of("https://dbt.example.com")
}

fn key_of(server: &str) -> Key {
    let issuer = "https://dex.example.com".to_owned();
    let (client, audience) = ("dbt".to_owned(), "dbt".to_owned());
    Key { issuer, client, audience, to: home_of(server), who: String::new() }
}

/// A token that came at some second and is good for an hour.
fn tokens(name: &str, received: u64) -> Tokens {
    Tokens::for_seconds(secret(name), Some(LIFE), at(received))
        .renewed_by(Some(secret(&format!("next-after-{name}"))))
}

fn need(seconds: u64) -> Need<'static> {
    Need { now: at(seconds), patience: Duration::from_mins(1), refused: None }
}

/// Gets a token, or says that it could not be had.
fn get(cache: &TokenCache, now: u64, given: Result<Tokens, &'static str>) -> String {
    let outcome = cache.get_or_obtain(&key(), &need(now), |_renewal| given);
    match outcome {
        Ok(tokens) => tokens.token.expose().trim_start_matches("s3cr3t-").to_owned(),
        Err(error) => error.to_string(),
    }
}

fn nobody_is_asked(cache: &TokenCache, now: u64) -> String {
    let outcome = cache.get_or_obtain(&key(), &need(now), |_renewal| -> Result<Tokens, String> {
        panic!("somebody was asked for a token")
    });
    outcome.unwrap().token.expose().trim_start_matches("s3cr3t-").to_owned()
}

#[test]
fn a_token_is_got_once_and_used_by_later_processes_until_it_ends() {
    let home = Home::new();
    assert_eq!(get(&home.cache(), 0, Ok(tokens("first", 0))), "first");
    assert_eq!(fs::metadata(home.file()).unwrap().permissions().mode() & 0o7777, 0o600);
    for now in [0, 1, LIFE - 301] {
        assert_eq!(nobody_is_asked(&home.cache(), now), "first", "{now}");
    }
    assert_eq!(get(&home.cache(), LIFE - 30, Ok(tokens("second", LIFE - 30))), "second");
    assert_eq!(nobody_is_asked(&home.cache(), LIFE), "second");
    assert_eq!(home.said(), [""; 0]);
}

#[test]
fn a_hundred_threads_and_processes_at_once_ask_once() {
    let home = Home::new();
    let (asked, start) = (AtomicUsize::new(0), Barrier::new(100));
    let shared = home.cache();
    thread::scope(|scope| {
        for index in 0..100 {
            let (home, shared, asked, start) = (&home, &shared, &asked, &start);
            scope.spawn(move || {
                let own = home.cache();
                let cache = if index % 2 == 0 { shared } else { &own };
                start.wait();
                let outcome = cache.get_or_obtain(&key(), &need(0), |_renewal| {
                    asked.fetch_add(1, Ordering::SeqCst);
                    Ok::<_, String>(tokens("first", 0))
                });
                assert_eq!(outcome.unwrap(), tokens("first", 0));
            });
        }
    });
    assert_eq!(asked.into_inner(), 1);
    assert_eq!(home.said(), [""; 0]);
}

#[test]
fn while_one_renews_a_token_that_is_still_good_the_others_go_on_with_it() {
    let home = Home::new();
    home.cache().store(&key(), &tokens("first", 0));
    let (is_renewing, renewing) = mpsc::channel();
    let (go_on, wait) = mpsc::channel::<()>();
    let home = &home;
    thread::scope(|scope| {
        let renewer = scope.spawn(move || {
            let outcome = home.cache().get_or_obtain(&key(), &need(LIFE - 200), |renewal| {
                assert_eq!(renewal.before(), Some(&tokens("first", 0)));
                is_renewing.send(()).unwrap();
                wait.recv().unwrap();
                Ok::<_, String>(tokens("second", LIFE - 200))
            });
            outcome.unwrap()
        });
        renewing.recv().unwrap();
        assert_eq!(nobody_is_asked(&home.cache(), LIFE - 200), "first");
        go_on.send(()).unwrap();
        assert_eq!(renewer.join().unwrap(), tokens("second", LIFE - 200));
    });
    assert_eq!(nobody_is_asked(&home.cache(), LIFE - 200), "second");
}

#[test]
fn a_renewal_that_fails_early_is_tried_again_a_minute_later() {
    let home = Home::new();
    home.cache().store(&key(), &tokens("first", 0));
    assert_eq!(get(&home.cache(), LIFE - 200, Err("away")), "first");
    assert_eq!(nobody_is_asked(&home.cache(), LIFE - 141), "first");
    assert_eq!(get(&home.cache(), LIFE - 140, Ok(tokens("second", LIFE - 140))), "second");

    // Once it has ended, the failure is one.
    let over = 2 * LIFE;
    assert_eq!(get(&home.cache(), over, Err("away")), "away");
    assert_eq!(get(&home.cache(), over, Ok(tokens("third", over))), "third");
}

#[test]
fn a_token_that_the_server_refuses_is_replaced_once_for_all_processes() {
    let home = Home::new();
    let (first, second) = (tokens("first", 0), tokens("second", 1));
    let early = home.cache();
    early.store(&key(), &first);
    let refused = Need { refused: Some(&first.token), ..need(1) };
    let outcome = home.cache().get_or_obtain(&key(), &refused, |renewal| {
        assert_eq!(renewal.before(), Some(&first));
        Ok::<_, String>(second.clone())
    });
    assert_eq!(outcome.unwrap(), second);
    // Whoever was refused at the same time takes what the other one got.
    let outcome = early.get_or_obtain(&key(), &refused, |_renewal| Err("asked again"));
    assert_eq!(outcome.unwrap(), second);
}

#[test]
fn tokens_of_other_servers_clients_and_audiences_are_apart() {
    let home = Home::new();
    let mut others = vec![key_of("https://dbt.example.com:8443"), key_of("http://127.0.0.1:1")];
    others.push(Key { issuer: "https://dex.example.com/".to_owned(), ..key() });
    others.push(Key { client: "other".to_owned(), ..key() });
    others.push(Key { audience: "other".to_owned(), ..key() });
    others.push(Key { who: "bot".to_owned(), ..key() });
    others.push(Key::of_server(home_of("https://dbt.example.com")));
    home.cache().store(&key(), &tokens("first", 0));
    for other in others {
        assert_eq!(home.cache().peek(&other), None, "{other:?}");
        let outcome = home.cache().get_or_obtain(&other, &need(0), |_renewal| Err("none"));
        assert_eq!(outcome.unwrap_err().to_string(), "none", "{other:?}");
    }
}

#[test]
fn the_token_of_a_job_ends_with_its_process() {
    let home = Home::new();
    let job = Key::of_job("digest of the identity read".to_owned(), key().to.origin);
    let cache = home.cache();
    let outcome =
        cache.get_or_obtain(&job, &need(0), |_renewal| Ok::<_, String>(tokens("jobs", 0)));
    assert_eq!(outcome.unwrap(), tokens("jobs", 0));
    assert_eq!(cache.peek(&job), Some(tokens("jobs", 0)), "this process has it");
    assert_eq!(home.cache().peek(&job), None);
    assert_eq!(fs::read_dir(home.directory.path()).unwrap().count(), 0, "nothing was written");
    // What an earlier version has left is nobody's.
    let left = Entry::new(&job, &tokens("left", 0));
    let mut entries = vec![left];
    make_room(&mut entries, at(1));
    assert!(entries.is_empty());
}

#[test]
fn who_signs_in_takes_nobody_elses_place() {
    let home = Home::new();
    let bot = Key { who: "bot".to_owned(), ..key() };
    let own = Key::of_server(key().to);
    let cache = home.cache();
    for key in [key(), bot.clone(), own.clone()] {
        cache.store(&key, &tokens("first", 0));
    }
    cache.make_way_for(&bot, &[key().to]);
    cache.store(&bot, &tokens("second", 1));
    assert_eq!(home.cache().peek(&bot), Some(tokens("second", 1)));
    assert_eq!(home.cache().peek(&key()), Some(tokens("first", 0)));
    assert_eq!(home.cache().peek(&own), None, "it would be sent in the place of the new one");
}

#[test]
fn what_was_written_before_anybody_was_named_is_read_and_nobodys_who_is() {
    let home = Home::new();
    home.cache().store(&key(), &tokens("first", 0));
    assert!(!fs::read_to_string(home.file()).unwrap().contains("who"));
    let bot = Key { who: "bot".to_owned(), ..key() };
    home.cache().store(&bot, &tokens("bots", 0));
    assert_eq!(home.cache().peek(&key()), Some(tokens("first", 0)));
    assert_eq!(home.cache().peek(&bot), Some(tokens("bots", 0)));
}

#[test]
fn signing_out_forgets_all_of_one_server_and_nothing_of_others() {
    let home = Home::new();
    let cache = home.cache();
    let other = key_of("https://other.example.com");
    let own = Key::of_server(home_of("https://dbt.example.com"));
    cache.store(&key(), &tokens("first", 0));
    cache.store(&own, &Tokens::without_end(secret("own"), at(0)));
    cache.store(&other, &tokens("others", 0));
    let forgotten = home.cache().forget(&[home_of("https://dbt.example.com")]);
    let mut keys: Vec<Key> = forgotten.into_iter().map(|(key, _tokens)| key).collect();
    keys.sort();
    assert_eq!(keys, [own.clone(), key()]);
    for key in [key(), own] {
        assert_eq!(home.cache().peek(&key), None);
    }
    assert_eq!(home.cache().peek(&other), Some(tokens("others", 0)));
    let text = fs::read_to_string(home.file()).unwrap();
    assert!(!text.contains("first") && text.contains("others"));
}

#[test]
fn who_signs_out_while_a_token_is_renewed_stays_signed_out() {
    let home = Home::new();
    home.cache().store(&key(), &tokens("first", 0));
    let outcome = home.cache().get_or_obtain(&key(), &need(LIFE), |_renewal| {
        assert_eq!(home.cache().forget(&[key().to]).len(), 1);
        Ok::<_, String>(tokens("second", LIFE))
    });
    assert_eq!(outcome.unwrap(), tokens("second", LIFE), "this run has it");
    assert_eq!(home.cache().peek(&key()), None, "no other one");
}

#[test]
fn what_its_giver_has_ended_is_forgotten_at_once_and_not_used() {
    let home = Home::new();
    home.cache().store(&key(), &tokens("first", 0));
    let outcome = home.cache().get_or_obtain(&key(), &need(LIFE - 200), |renewal| {
        renewal.forget();
        assert_eq!(home.cache().peek(&key()), None);
        Err("signed out elsewhere")
    });
    assert_eq!(outcome.unwrap_err().to_string(), "signed out elsewhere");
    assert_eq!(home.cache().peek(&key()), None);
}

#[test]
fn what_gets_the_next_token_is_kept_before_the_token_is_used() {
    let home = Home::new();
    home.cache().store(&key(), &tokens("first", 0));
    let second = tokens("second", LIFE);
    let got =
        home.cache().get_or_obtain(&key(), &need(LIFE), |_renewal| Ok::<_, String>(second.clone()));
    assert_eq!(home.cache().peek(&key()), Some(got.unwrap()));
    assert_eq!(home.cache().peek(&key()).unwrap().refresh_token, second.refresh_token);
}

#[test]
fn after_the_clock_was_put_back_nobody_relies_on_how_long_a_token_seems_good() {
    let home = Home::new();
    home.cache().store(&key(), &tokens("first", 7200));
    assert_eq!(nobody_is_asked(&home.cache(), 7200 - 60), "first");
    assert_eq!(get(&home.cache(), 7200 - 61, Ok(tokens("second", 7200 - 61))), "second");
    // Put forward, a token seems to have ended.
    assert_eq!(get(&home.cache(), 30_000, Ok(tokens("third", 30_000))), "third");
}

#[test]
fn short_lives_have_short_margins_and_some_tokens_have_no_end() {
    let life = |seconds| Tokens::for_seconds(secret("short"), Some(seconds), at(0));
    let standing = |tokens: Tokens, now| Entry::new(&key(), &tokens).standing(&need(now));
    let found = [0, 47, 48, 53, 54, 60].map(|now| standing(life(60), now));
    let [good, ends, over] = [Standing::Good, Standing::Ends, Standing::Over];
    assert_eq!(found, [good, good, ends, ends, over, over]);
    assert_eq!(standing(Tokens::without_end(secret("own"), at(0)), 1 << 40), good);
}

/// Puts something else in the place of the file; returns what was said about that.
#[track_caller]
fn spoilt(spoil: impl FnOnce(&Path)) -> Vec<String> {
    let home = Home::new();
    home.cache().store(&key(), &tokens("first", 0));
    spoil(&home.file());
    assert_eq!(home.cache().peek(&key()), None);
    let said = home.said();
    assert!(fs::symlink_metadata(home.file()).is_err(), "it was not taken away");
    assert_eq!(get(&home.cache(), 1, Ok(tokens("second", 1))), "second");
    assert_eq!(nobody_is_asked(&home.cache(), 2), "second");
    assert_eq!(home.said(), [""; 0], "it is said once");
    said
}

#[test]
fn a_file_that_others_could_read_is_not_used_but_said_and_replaced() {
    for mode in [0o604, 0o640, 0o660, 0o644] {
        let said = spoilt(|file| {
            fs::set_permissions(file, fs::Permissions::from_mode(mode)).unwrap();
        });
        let words = format!(
            "other users could read `FILE` (mode {mode:04o}); its tokens are not used, and it is taken away"
        );
        assert_eq!(said, [words]);
    }
}

#[test]
fn a_damaged_file_is_said_and_replaced() {
    let whole = |token: &str| {
        format!(
            r#"{{"schema":1,"tokens":[{{"issuer":"","client":"","audience":"","origin":"https://h",
                "token":{token},"received":"2026-11-22T00:07:13Z"}}]}}"#
        )
    };
    for text in [
        String::new(),
        "{\"schema\":1".to_owned(),
        "{\"tokens\":[]}".to_owned(),
        "[]".to_owned(),
        whole("7"),
        whole("\"\""),
        whole(r#""s3cr3t\r\nHost: evil""#),
        whole("\"s3cr3t\"").replace("https://h", "file:///h"),
    ] {
        let said = spoilt(|file| fs::write(file, &text).unwrap());
        assert_eq!(said, ["`FILE` is damaged; it is taken away"], "{text}");
    }
    let large = usize::try_from(5 * 1024 * 1024).unwrap();
    let said = spoilt(|file| fs::write(file, vec![b' '; large]).unwrap());
    assert_eq!(said, ["`FILE` is damaged; it is taken away"]);
}

#[test]
fn a_link_or_a_pipe_in_the_files_place_is_replaced_and_not_followed() {
    let elsewhere = tempfile::tempdir().unwrap();
    let target = elsewhere.path().join("target");
    let said = spoilt(|file| {
        fsx::rename(file, &target).unwrap();
        symlink(&target, file).unwrap();
    });
    assert_eq!(said, ["`FILE` is not a regular file; it is taken away"]);
    assert!(fs::read_to_string(&target).unwrap().contains("first"));
    let said = spoilt(|file| {
        fs::remove_file(file).unwrap();
        let made = std::process::Command::new("mkfifo").arg(file).status().unwrap();
        assert!(made.success());
    });
    assert_eq!(said, ["`FILE` is not a regular file; it is taken away"]);
}

#[test]
fn a_file_of_another_user_is_not_used() {
    if !rustix::process::geteuid().is_root() {
        // Only root can give a file away.
        return;
    }
    let said = spoilt(|file| std::os::unix::fs::chown(file, Some(7), None).unwrap());
    assert_eq!(said, ["`FILE` belongs to user 7; its tokens are not used, and it is taken away"]);
}

#[test]
fn what_a_newer_version_wrote_is_left_as_it_is() {
    let home = Home::new();
    home.cache().store(&key(), &tokens("first", 0));
    let newer = r#"{"schema": 2, "tokens": {"of": "another form"}}"#;
    fs::write(home.file(), newer).unwrap();
    let cache = home.cache();
    assert_eq!(get(&cache, 1, Ok(tokens("second", 1))), "second");
    let words =
        "`FILE` was written by a newer version; its tokens are not used, and none are remembered";
    assert_eq!(home.said(), [words]);
    assert_eq!(nobody_is_asked(&cache, 2), "second", "this process has it");
    assert_eq!(fs::read_to_string(home.file()).unwrap(), newer);
}

#[test]
fn to_look_at_what_cannot_be_used_leaves_nothing_behind() {
    let home = Home::new();
    home.cache().store(&key(), &tokens("first", 0));
    fs::remove_file(home.file().with_file_name("tokens.lock")).unwrap();
    fs::write(home.file(), r#"{"schema": 2, "tokens": []}"#).unwrap();
    assert_eq!(home.cache().peek(&key()), None);
    assert_eq!(home.said().len(), 1);
    let state = fs::read_dir(home.directory.path().join("state")).unwrap();
    let names: Vec<_> = state.map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["tokens.json"]);
}

#[test]
fn a_home_that_others_can_change_is_neither_read_nor_written() {
    let home = Home::new();
    home.cache().store(&key(), &tokens("first", 0));
    fs::set_permissions(home.directory.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let cache = home.cache();
    assert_eq!(home.said().len(), 1);
    assert_eq!(get(&cache, 1, Ok(tokens("second", 1))), "second");
    assert_eq!(nobody_is_asked(&cache, 2), "second");
    assert!(!fs::read_to_string(home.file()).unwrap().contains("second"));
}

#[test]
fn without_a_home_tokens_live_as_long_as_the_process() {
    let home = Home::new();
    for cache in [home.open(None, None), TokenCache::in_memory()] {
        assert_eq!(get(&cache, 0, Ok(tokens("first", 0))), "first");
        assert_eq!(nobody_is_asked(&cache, 1), "first");
        assert_eq!(cache.forget(&[key().to]).len(), 1);
        assert_eq!(get(&cache, 2, Err("none")), "none");
    }
    assert_eq!(fs::read_dir(home.directory.path()).unwrap().count(), 0);
}

#[test]
fn in_a_home_that_can_only_be_read_tokens_are_used_and_not_forgotten_silently() {
    let home = Home::new();
    home.cache().store(&key(), &tokens("first", 0));
    let cache = home.open(None, Some(home.directory.path().to_owned()));
    assert_eq!(nobody_is_asked(&cache, 1), "first");
    assert_eq!(get(&cache, LIFE, Ok(tokens("second", LIFE))), "second");
    assert_eq!(nobody_is_asked(&cache, LIFE + 1), "second");
    assert_eq!(home.cache().peek(&key()), Some(tokens("first", 0)));
    assert_eq!(cache.forget(&[key().to]).len(), 1);
    let places = home.places(None, Some(home.directory.path().to_owned()));
    assert!(TokenCache::is_left(&places, &[key().to]).unwrap());
    assert!(!TokenCache::is_left(&places, &[home_of("https://h")]).unwrap());
    let not_renewed = "a sign-in is not renewed, since `FILE` cannot be locked and written";
    assert_eq!(home.said(), [not_renewed, "tokens are not remembered"]);
}

#[test]
fn what_gets_the_next_token_is_spent_only_where_that_can_be_kept() {
    let shown = |home: &Home, cache: &TokenCache| {
        let mut shown = None;
        let _none = cache.get_or_obtain(&key(), &need(LIFE), |renewal| {
            shown = renewal.before().cloned();
            Err::<Tokens, _>("asked")
        });
        let kept = home.cache().peek(&key());
        assert_eq!(kept, Some(tokens("first", 0)), "it is there for whoever can");
        shown.unwrap().refresh_token.is_some()
    };
    let home = Home::new();
    home.cache().store(&key(), &tokens("first", 0));
    assert!(shown(&home, &home.cache()));
    assert_eq!(home.said(), [""; 0]);

    let read_only = home.open(None, Some(home.directory.path().to_owned()));
    assert!(!shown(&home, &read_only));
    let words = "a sign-in is not renewed, since `FILE` cannot be locked and written";
    assert_eq!(home.said(), [words]);

    let state = home.directory.path().join("state");
    for name in [format!("tokens-{}.lock", key().short()), "tokens.lock".to_owned()] {
        let lock = state.join(name);
        let _none_yet = fs::remove_file(&lock);
        fs::create_dir(&lock).unwrap();
        assert!(!shown(&home, &home.cache()), "{}", lock.display());
        assert_eq!(home.said(), [words]);
        fs::remove_dir(&lock).unwrap();
    }
    assert!(shown(&home, &home.cache()));
}

#[test]
fn who_waits_too_long_for_another_process_says_so() {
    let home = Home::new();
    let cache = home.cache();
    cache.store(&key(), &tokens("first", 0));
    let name = format!("state/tokens-{}.lock", key().short());
    let held = fsx::lock_file(&home.directory.path().join(name), Duration::ZERO).unwrap();
    assert!(held.is_held());
    let need = Need { patience: Duration::ZERO, ..need(LIFE) };
    let outcome = cache.get_or_obtain(&key(), &need, |_renewal| Err("asked all the same"));
    let words = outcome.unwrap_err().to_string();
    assert_eq!(words, "another process was still signing in after 0 s");
}

#[test]
fn where_locks_do_not_work_everybody_gets_a_token_and_the_file_is_whole() {
    let home = Home::new();
    let state = home.directory.path().join("state");
    for name in [format!("tokens-{}.lock", key().short()), "tokens.lock".to_owned()] {
        fs::create_dir_all(state.join(name)).unwrap();
    }
    let asked = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _process in 0..16 {
            scope.spawn(|| {
                let outcome = home.cache().get_or_obtain(&key(), &need(0), |_renewal| {
                    asked.fetch_add(1, Ordering::SeqCst);
                    Ok::<_, String>(tokens("first", 0))
                });
                assert_eq!(outcome.unwrap(), tokens("first", 0));
            });
        }
    });
    assert!((1..=16).contains(&asked.into_inner()));
    assert_eq!(nobody_is_asked(&home.cache(), 1), "first");
    assert_eq!(home.said(), [""; 0]);
}

#[test]
fn what_has_ended_makes_room() {
    let entry = |server: &str, tokens| Entry::new(&key_of(server), &tokens);
    let without_next = Tokens { refresh_token: None, ..tokens("ended", 0) };
    let mut entries = vec![entry("https://ended.example.com", without_next)];
    entries.extend((0..=ENTRY_LIMIT).rev().map(|index| {
        entry(&format!("https://h{index}.example.com"), tokens("more", LIFE + index as u64))
    }));
    make_room(&mut entries, at(LIFE + 1));
    let servers: Vec<&str> = entries.iter().map(|entry| entry.key.to.origin.host()).collect();
    let kept: Vec<String> = (2..=ENTRY_LIMIT).map(|it| format!("h{it}.example.com")).collect();
    assert_eq!(servers, kept, "with room for one more");
    make_room(&mut entries, at(LIFE) + KEPT_AFTER_END + Duration::from_secs(2 * LIFE));
    assert!(entries.is_empty());
}

#[test]
fn no_server_pushes_out_what_others_gave_nor_makes_the_file_too_large() {
    let home = Home::new();
    let cache = home.cache();
    let others = Key::of_server(home_of("https://other.example.com"));
    cache.store(&others, &Tokens::without_end(secret("others"), at(0)));
    // The longest that a token may be.
    let long =
        |index: u64| Tokens::for_seconds(Secret::new("x".repeat(32 * 1024)), Some(LIFE), at(index));
    for index in 1..=2 * SERVER_LIMIT as u64 {
        cache.store(&Key { client: format!("c{index}"), ..key() }, &long(index));
    }
    assert!(home.cache().peek(&others).is_some());
    let newest = Key { client: format!("c{}", 2 * SERVER_LIMIT), ..key() };
    assert!(home.cache().peek(&newest).is_some());
    let oldest = Key { client: "c1".to_owned(), ..key() };
    assert_eq!(home.cache().peek(&oldest), None);
    for server in 0..80 {
        let key = key_of(&format!("https://h{server}.example.com"));
        cache.store(&key, &long(100 + server).renewed_by(Some(Secret::new("y".repeat(32 * 1024)))));
        assert!(home.cache().peek(&key).is_some(), "{server}");
    }
    assert!(fs::metadata(home.file()).unwrap().len() < 4 * 1024 * 1024);
    assert_eq!(home.said(), [""; 0]);
}

#[test]
fn nothing_of_it_shows_a_secret() {
    let home = Home::new();
    let cache = home.cache();
    cache.store(&key(), &tokens("first", 0));
    let entry = cache.by_now(&key()).unwrap();
    let renewal = Renewal::of(&cache, &entry.key, Some(entry.clone()), None);
    let shown = format!("{cache:?} {entry:?} {renewal:?} {:?}", cache.peek(&key()));
    assert!(!shown.contains("s3cr3t"), "{shown}");
}

#[test]
fn what_is_sent_to_one_origin_for_two_servers_is_kept_apart() {
    let home = Home::new();
    let cache = home.cache();
    let evil: dbt_core::name::ServerName = "evil".parse().unwrap();
    let own = Key::of_server(key().to);
    let guest = Key::of_server(Recipient::guest(key().to.origin, &evil));
    let guests = Key { to: guest.to.clone(), ..key() };
    for key in [&own, &guest, &key(), &guests] {
        cache.store(key, &tokens(&key.to.guest, 0));
    }
    let read = home.cache();
    assert_eq!(read.peek(&own), Some(tokens("", 0)));
    assert_eq!(read.peek(&guest), Some(tokens("evil", 0)));
    // Neither who signs in to the one nor who signs out of it touches the other.
    cache.make_way_for(&guests, std::slice::from_ref(&guest.to));
    assert_eq!((home.cache().peek(&guest), home.cache().peek(&guests)), (None, None));
    assert!(home.cache().peek(&own).is_some() && home.cache().peek(&key()).is_some());
    cache.store(&guest, &tokens("evil", 0));
    assert_eq!(home.cache().forget(std::slice::from_ref(&guest.to)).len(), 1);
    assert!(home.cache().peek(&own).is_some() && home.cache().peek(&key()).is_some());
    cache.store(&guest, &tokens("evil", 0));
    assert_eq!(home.cache().forget(&[key().to]).len(), 2);
    assert!(home.cache().peek(&guest).is_some());
}

#[test]
fn what_killed_writers_left_goes_with_the_next_change_unless_somebody_writes() {
    let home = Home::new();
    home.cache().store(&key(), &tokens("first", 0));
    let state = home.file().parent().unwrap().to_owned();
    let (left, others) =
        (state.join(".new-tokens-0123456789abcdef"), state.join(".new-0123456789abcdef"));
    for path in [&left, &others] {
        fs::write(path, "s3cr3t-half").unwrap();
    }
    let _renewed = home.cache().peek(&key());
    assert!(left.exists(), "whoever reads changes nothing");
    home.cache().forget(&[home_of("https://other.example.com")]);
    assert!(!left.exists(), "also where nothing else is changed");
    assert!(others.exists(), "somebody may be about to write something else");
    assert_eq!(home.cache().peek(&key()), Some(tokens("first", 0)));
}

#[test]
fn tokens_that_agents_signed_for_are_theirs_who_bring_the_agent() {
    let of = |keys: &[&str]| {
        let keys: Vec<String> = keys.iter().map(ToString::to_string).collect();
        key().signed_by(&keys)
    };
    let (alice, bob) = (of(&["SHA256:a", "SHA256:both"]), of(&["SHA256:b", "SHA256:both"]));
    assert_ne!(alice, bob);
    assert_eq!(alice, of(&["SHA256:both", "SHA256:a"]), "in any order");
    assert!(alice.is_same_but_for_agent(&bob) && alice.is_same_but_for_agent(&key()));
    let other = Key { who: "bot".to_owned(), ..key() };
    assert!(!other.signed_by(&[]).is_same_but_for_agent(&key()));
    assert_ne!(alice.short(), bob.short());
}
