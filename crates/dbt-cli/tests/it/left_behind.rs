//! What killed runs leave behind goes, and nothing of anybody else.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use dbt_testkit::times::days_ago;
use dbt_testkit::world::World;

use crate::programs::{next, programs};
use crate::published;

/// Writes a file as it would have been written two days ago.
fn leave(path: &Path) {
    fs::write(path, "half").unwrap();
    File::options().write(true).open(path).unwrap().set_modified(days_ago(2)).unwrap();
}

fn locks(world: &World) -> Vec<PathBuf> {
    let entries = fs::read_dir(world.dbt_home().join("tools").join("locks")).unwrap();
    entries.map(|entry| entry.unwrap().path()).collect()
}

#[test]
fn pruning_removes_what_killed_runs_left_and_nothing_else() {
    let world = published();
    world.dbt(["deploy"]).prints("deploy 1.4.0\n");
    let state = world.state_file("state.json");
    let beside = |path: &Path, name: &str| path.with_file_name(name);
    let (config, program) = (world.config_file(), world.program());
    let ours = [
        beside(&state, ".new-0123456789abcdef"),
        beside(&config, ".new-0123456789abcdef"),
        beside(&program, ".dbt.new-a1B2c3"),
    ];
    let theirs =
        [beside(&state, ".new-mine"), beside(&config, ".new-"), beside(&program, ".new-x")];
    let young = beside(&state, ".new-fedcba9876543210");
    fs::write(&young, "in a moment").unwrap();
    for path in ours.iter().chain(&theirs) {
        leave(path);
    }
    world.dbt(["cache", "prune", "--dry-run"]).exits_with(0);
    assert!(ours.iter().all(|path| path.exists()));
    let findings = world.dbt(["doctor", "--json"]).stdout();
    assert!(findings.contains("files-left-behind"), "{findings}");
    assert!(findings.contains("3 files, such as"), "{findings}");
    for path in &ours[..2] {
        fs::remove_file(path).unwrap();
    }
    let findings = world.dbt(["doctor", "--json"]).stdout();
    assert!(findings.contains("/.dbt.new-a1B2c3`"), "{findings}");
    for path in &ours[..2] {
        leave(path);
    }
    world.dbt(["cache", "prune"]).exits_with(0).says_nothing();
    assert!(!ours.iter().any(|path| path.exists()), "{ours:?}");
    assert!(theirs.iter().chain([&young]).all(|path| path.exists()), "{theirs:?}");
}

#[test]
fn locks_of_sign_ins_go_when_nobody_holds_them_and_pages_of_killed_ones_with_them() {
    let world = published();
    world.dbt(["deploy"]).prints("deploy 1.4.0\n");
    let state = world.dbt_home().join("state");
    let (free, held) =
        (state.join("tokens-0123456789abcdef.lock"), state.join("tokens-fedcba9876543210.lock"));
    let page = state.join("sign-in-0123456789abcdef.html");
    let theirs = [state.join("tokens-mine.lock"), state.join("sign-in.html")];
    for path in [&free, &held, &page].into_iter().chain(&theirs) {
        leave(path);
    }
    let somebody_signs_in = File::open(&held).unwrap();
    somebody_signs_in.lock().unwrap();
    world.dbt(["cache", "prune"]).exits_with(0).says_nothing();
    assert!(!free.exists() && !page.exists());
    assert!(held.exists() && theirs.iter().all(|path| path.exists()));
    drop(somebody_signs_in);
    world.dbt(["cache", "prune"]).exits_with(0).says_nothing();
    assert!(!held.exists());
}

#[test]
fn locks_that_nobody_holds_do_not_pile_up() {
    let world = published();
    for version in ["1.5.0", "1.6.0"] {
        world.dbt(["deploy"]).exits_with(0);
        world.repository().publish("deploy", version).now();
    }
    world.dbt(["deploy"]).prints("deploy 1.6.0\n");
    assert_eq!(locks(&world), [""; 0].map(PathBuf::from));
}

#[test]
fn an_update_after_one_that_failed_half_way_leaves_the_two_programs_alone() {
    let world = World::new(&programs().now);
    world.pin(&[&dbt_testkit::people::ALICE]);
    world.repository().publish("deploy", "1.4.0").now();
    world.dbt(["deploy"]).prints("deploy 1.4.0\n");
    // The present program was kept as the one before, and then the new one could not be put there.
    let previous = world.program().with_file_name(".dbt.prev");
    fs::hard_link(world.program(), &previous).unwrap();
    world.repository().publish_program("99.0.0", next()).now();
    world.dbt(["deploy"]).prints("deploy 1.4.0\n").says_nothing();
    assert_eq!(world.program_files(), [previous, world.program()]);
    assert!(fs::read(world.program()).unwrap() == next());
}
