//! Publishing to a directory that is ended, or finds no room, at each of its steps: whoever reads the
//! tree meanwhile sees all of a version or nothing of it, and the same command again completes it.

use std::ffi::OsString;
use std::fs;
use std::path::Path;

use dbt_testkit::changes::{Begins, Changes, Counted, Disturbance, Fault, Lasts, Report};

use super::world::{Run, SCRIPT, World, artifact};

const LINE: &str = "publish deploy 1.4.0 linux/amd64=deploy --description x --to REPO \
                    --signer file:alice";

const VERSION: &str = "repo/dbt-tools/deploy/1.4.0";

/// A world with an older version, and the program, which is counted where it lies.
fn world(changes: &Path) -> (World, Changes) {
    let world = World::with_alice();
    world.write("deploy", SCRIPT);
    world.run(&LINE.replace("1.4.0", "1.3.0")).says_nothing();
    fs::create_dir(world.path("bin")).unwrap();
    fs::copy(env!("CARGO_BIN_EXE_publisher"), world.path("bin/publisher")).unwrap();
    (world, Changes::compiled(changes))
}

fn disturbed(world: &World, changes: &Changes, number: usize, fault: Fault) -> (Run, Report) {
    let lasts = if fault == Fault::Kill { Lasts::Once } else { Lasts::ForEver };
    let disturbance = Disturbance { counted: Counted::Changes, number, fault, lasts };
    let report = world.path("disturbed");
    let place = world.path("");
    // What comes before the last slash is the place.
    let place = Path::new(place.to_str().unwrap().trim_end_matches('/'));
    let mut words = changes.words(disturbance, Begins::AtProgram, place, &report);
    words.push(OsString::from(world.path("bin/publisher")));
    let run = world.run_through(&words, LINE);
    (run, Report::read(&report))
}

/// What is shown of the version is all of it; says whether it is shown.
#[track_caller]
fn is_whole_or_nothing(world: &World, told: &str) -> bool {
    let listed = world.page("dbt-tools/deploy").contains(&"1.4.0".to_owned());
    let there = world.path(VERSION).exists();
    assert!(there || !listed, "a page names what is not there, {told}");
    if there {
        let files = world.page("dbt-tools/deploy/1.4.0");
        assert_eq!(files.len(), 4, "{files:?}, {told}");
        assert!(
            world.client_accepts(&artifact("deploy", "1.4.0", "linux/amd64")).unwrap(),
            "{told}"
        );
    }
    assert!(world.client_accepts(&artifact("deploy", "1.3.0", "linux/amd64")).unwrap(), "{told}");
    there
}

/// Disturbs the same command at each of its changes, each time from the same beginning.
fn at_each_step(fault: Fault, judge: impl Fn(&World, &Run, &str)) {
    let directory = tempfile::tempdir().unwrap();
    let (world, changes) = world(directory.path());
    let page = world.read("repo/dbt-tools/deploy/index.html");
    let mut steps = 0;
    loop {
        steps += 1;
        let (run, report) = disturbed(&world, &changes, steps, fault);
        if !report.was_disturbed() {
            run.says_nothing();
            break;
        }
        let told = format!("at {:?}: {}", report.done.first(), run.talk);
        is_whole_or_nothing(&world, &told);
        judge(&world, &run, &told);

        world.run(LINE).says_nothing();
        assert!(is_whole_or_nothing(&world, &told), "it is completed, {told}");
        assert_eq!(world.page("dbt-tools/deploy"), ["1.3.0", "1.4.0"], "{told}");
        fs::remove_dir_all(world.path(VERSION)).unwrap();
        world.write("repo/dbt-tools/deploy/index.html", &page);
    }
    assert!(steps > 20, "{steps} steps are too few to be all");
}

#[test]
fn a_publisher_that_is_killed_at_any_step_leaves_a_whole_version_or_none() {
    at_each_step(Fault::Kill, |_world, run, told| assert_eq!(run.code, None, "{told}"));
}

#[test]
fn a_disk_that_is_full_at_any_step_is_said_and_leaves_a_whole_version_or_none() {
    at_each_step(Fault::Error("ENOSPC"), |world, run, told| {
        // What was in place may only lack what cannot fail it any more.
        if run.code == Some(0) {
            assert!(world.path(VERSION).exists(), "{told}");
            return;
        }
        assert!(run.talk.contains("No space left on device"), "{told}");
        assert!(run.talk.contains("hint: "), "{told}");
    });
}

#[test]
fn what_a_killed_publisher_left_is_on_no_page_and_goes_after_a_day() {
    let world = World::with_alice();
    world.write("deploy", SCRIPT);
    world.write("repo/dbt-tools/deploy/.publishing-old/deploy/1.4.0/linux/amd64/deploy", SCRIPT);
    world.write("repo/dbt-tools/deploy/.publishing-new/deploy/1.4.0/linux/amd64/deploy", SCRIPT);
    let yesterday = dbt_core::clock::Clock::System.now() - std::time::Duration::from_hours(25);
    let old = fs::File::open(world.path("repo/dbt-tools/deploy/.publishing-old")).unwrap();
    old.set_times(fs::FileTimes::new().set_modified(yesterday)).unwrap();
    world.run(LINE).says_nothing();
    assert!(!world.path("repo/dbt-tools/deploy/.publishing-old").exists());
    assert!(world.path("repo/dbt-tools/deploy/.publishing-new").exists(), "somebody may write it");
    assert_eq!(world.page("dbt-tools/deploy"), ["1.4.0"]);
}
