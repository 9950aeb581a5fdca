//! Whose files decide: ours and root's. What others could change is not believed, and what others
//! share is not changed.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};

use dbt_testkit::exits;
use dbt_testkit::invocation::Invocation;
use dbt_testkit::world::World;

use crate::{is_root, published};

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

/// A directory of the world with this mode.
fn directory(world: &World, name: &str, mode: u32) -> PathBuf {
    let path = world.directory().join(name);
    fs::create_dir_all(&path).unwrap();
    set_mode(&path, mode);
    path
}

fn with_cache<'a>(world: &'a World, words: &[&str], cache: &Path) -> Invocation<'a> {
    let temporary = directory(world, "tmp", 0o1777);
    world.invoke(words).env("DBT_CACHE_DIR", cache).env("TMPDIR", temporary)
}

fn names(directory: &Path) -> Vec<PathBuf> {
    fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect()
}

#[test]
fn a_directory_that_others_share_is_not_taken_for_a_store() {
    for shared in [0o1777, 0o777, 0o775] {
        let world = published();
        let cache = directory(&world, "cache", shared);
        fs::write(cache.join("somebody's"), "").unwrap();
        let before = names(&cache);
        let run = with_cache(&world, &["deploy"], &cache).run();
        run.prints("deploy 1.4.0\n").mentions(&format!(
            "`[WORLD]/cache` is not used: its mode is {shared:04o}; tools are kept in `[WORLD]/tmp/dbt-"
        ));
        // From there it runs again, and nothing is said.
        with_cache(&world, &["deploy"], &cache).run().prints("deploy 1.4.0\n").says_nothing();
        for words in [&["which", "deploy"][..], &["cache", "list"], &["doctor"]] {
            drop(with_cache(&world, words, &cache).run());
        }
        assert_eq!((mode(&cache), names(&cache)), (shared, before), "{shared:o}");
        let doctor = with_cache(&world, &["doctor"], &cache).run();
        assert!(!doctor.stdout().contains("rm -r"), "{}", doctor.stdout());
    }
}

#[test]
fn a_directory_that_is_given_to_dbt_alone_is_closed() {
    let world = published();
    let cache = directory(&world, "cache", 0o775);
    for _run in 0..2 {
        let run = with_cache(&world, &["deploy"], &cache).run();
        run.prints("deploy 1.4.0\n").says_nothing();
        assert_eq!(mode(&cache), 0o755);
        set_mode(&cache, 0o777);
    }
}

#[test]
fn an_empty_directory_that_may_be_meant_for_others_too_is_used_as_it_is() {
    // As a file system in memory is mounted.
    let world = published();
    let cache = directory(&world, "cache", 0o1777);
    for _run in 0..2 {
        let run = with_cache(&world, &["deploy"], &cache).run();
        run.prints("deploy 1.4.0\n").says_nothing();
        assert_eq!((mode(&cache), mode(&cache.join("sha256"))), (0o1777, 0o700));
    }
}

#[test]
fn a_store_that_others_could_exchange_is_named_by_doctor() {
    let world = published();
    let open = directory(&world, "open", 0o755);
    let cache = open.join("below/cache");
    with_cache(&world, &["deploy"], &cache).run().prints("deploy 1.4.0\n").says_nothing();
    let doctor =
        || with_cache(&world, &["doctor"], &cache).run().stdout().replace("\n         ", " ");
    let words = "is not safe: other users can write to `";
    assert!(!doctor().contains(words));
    set_mode(&open, 0o777);
    // Volumes of containers are like that, and nobody else is there.
    with_cache(&world, &["deploy"], &cache).run().prints("deploy 1.4.0\n").says_nothing();
    let said = doctor();
    let open = open.display();
    assert!(said.contains(words) && said.contains(&format!("fix: `chmod o-w '{open}'`")), "{said}");
}

/// Returns a path of the world as it is said.
fn shown(world: &World, path: &Path) -> String {
    let path = path.strip_prefix(world.directory()).unwrap().display().to_string();
    match path.rsplit_once("/acme-") {
        Some((before, _hash)) => format!("[WORLD]/{before}/acme-[HASH]"),
        None => format!("[WORLD]/{path}"),
    }
}

/// Expects that nothing is believed, in these words, and that nothing happens.
#[track_caller]
fn is_refused(world: &World, words: &str, hint: &str) {
    let started = world.tools_started();
    world.server().take_requests();
    for line in [&["deploy"][..], &["-o", "deploy"], &["update", "deploy"]] {
        let run = world.dbt(line);
        run.exits_with(exits::CONFIGURATION).mentions("refusing to").mentions(words);
        run.mentions(&format!("hint: {hint}"));
    }
    assert_eq!(world.server().take_lines(), [""; 0], "nobody is asked");
    assert_eq!(world.tools_started(), started);
}

#[test]
fn directories_of_ours_that_everybody_can_write_decide_nothing() {
    let world = published();
    world.dbt(["deploy"]).prints("deploy 1.4.0\n");
    let home = world.dbt_home();
    let state = world.state_file("state.json");
    let remembered = state.parent().unwrap();
    set_mode(&home, 0o755);
    for open in [&home, &home.join("conf"), &home.join("state"), remembered] {
        let before = mode(open);
        set_mode(open, 0o777);
        let shown = shown(&world, open);
        let words = format!("other users can write to `{shown}` (mode 0777)");
        is_refused(&world, &words, &format!("`chmod o-w '{shown}'`"));
        set_mode(open, before);
        world.dbt(["deploy"]).prints("deploy 1.4.0\n").says_nothing();
    }
    // Where nobody else can go, it does not matter.
    set_mode(&home, 0o700);
    set_mode(&home.join("state"), 0o777);
    world.dbt(["deploy"]).prints("deploy 1.4.0\n").says_nothing();
}

#[test]
fn what_belongs_to_another_user_decides_nothing() {
    if !is_root() {
        return;
    }
    let world = published();
    world.dbt(["deploy"]).prints("deploy 1.4.0\n");
    let home = world.dbt_home();
    let state = world.state_file("state.json");
    set_mode(&home, 0o755);
    for foreign in [&world.config_file(), &home.join("conf"), &home, state.parent().unwrap()] {
        chown(foreign, Some(12345), None).unwrap();
        let shown = shown(&world, foreign);
        let words = format!("`{shown}` belongs to user 12345, who could change it");
        is_refused(&world, &words, &format!("`sudo chown 0 '{shown}'`"));
        chown(foreign, Some(0), None).unwrap();
        world.dbt(["deploy"]).prints("deploy 1.4.0\n").says_nothing();
    }
}

#[test]
fn a_volume_that_root_has_opened_is_a_home() {
    if !is_root() {
        return;
    }
    let world = published();
    let volume = directory(&world, "volume", 0o777);
    let line = ["setpriv", "--reuid=12345", "--regid=12345", "--clear-groups"];
    for _run in 0..2 {
        let run = world.invoke(["deploy"]).env("DBT_HOME", &volume).through(&line);
        let run = run.env("DBT_SERVER", world.server().url());
        let trust = dbt_testkit::people::ALICE.fingerprint().to_string();
        run.env("DBT_TRUST", trust).run().prints("deploy 1.4.0\n").says_nothing();
    }
    assert!(volume.join("tools/sha256").is_dir());
}

#[test]
fn a_file_that_a_variable_names_is_judged_like_any_other() {
    let world = published();
    let open = directory(&world, "open", 0o777);
    let config = open.join("dbt.json");
    fs::copy(world.config_file(), &config).unwrap();
    let run = || world.invoke(["deploy"]).env("DBT_CONFIG", &config).run();
    run().exits_with(exits::CONFIGURATION).mentions("other users can write to `[WORLD]/open`");
    world.nothing_happened();
    set_mode(&open, 0o1777);
    run().prints("deploy 1.4.0\n").says_nothing();
    if is_root() {
        chown(&config, Some(12345), None).unwrap();
        run().exits_with(exits::CONFIGURATION).mentions("belongs to user 12345");
    }
    assert_eq!(world.tools_started(), ["deploy 1.4.0"]);
}
