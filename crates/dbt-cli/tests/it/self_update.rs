//! dbt replaces itself: by the same road as a tool, only forward, and never in a circle.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use dbt_testkit::exits;
use dbt_testkit::invocation::{READ_ONLY, mounts_work};
use dbt_testkit::people::{ALICE, MALLORY, just_now, together};
use dbt_testkit::repository::{REPOSITORY, program};
use dbt_testkit::times::days_ago;
use dbt_testkit::world::World;

use crate::programs::{next, programs};

fn unpinned() -> World {
    let world = World::new(&programs().now);
    world.repository().publish("deploy", "1.4.0").now();
    world
}

fn published() -> World {
    let world = unpinned();
    world.pin(&[&ALICE]);
    world
}

#[track_caller]
fn version_is(world: &World, version: &str) {
    let said = world.dbt(["--version"]).exits_with(0).stdout();
    assert!(said.trim().ends_with(version), "{said}");
}

/// Expects that the program did not change and the tool ran all the same, after these words.
#[track_caller]
fn stays(world: &World, words: &str) {
    let before = fs::read(world.program()).unwrap();
    let run = world.dbt(["deploy"]);
    run.prints("deploy 1.4.0\n").mentions(words);
    assert!(fs::read(world.program()).unwrap() == before, "the program changed");
    let beside: Vec<PathBuf> = fs::read_dir(world.program().parent().unwrap())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    assert_eq!(beside, [world.program()], "something was left beside the program");
}

#[test]
fn a_newer_dbt_takes_over_and_runs_the_tool_in_the_same_go() {
    let world = published();
    world.repository().publish_program("99.0.0", next()).now();
    world.dbt(["deploy", "a", "-v"]).prints("deploy 1.4.0\n[a]\n[-v]\n").says_nothing();
    version_is(&world, "99.0.0");
    assert!(fs::read(world.program()).unwrap() == next());
    world.server().take_requests();
    world.dbt(["deploy"]).prints("deploy 1.4.0\n").says_nothing();
    let requests = world.server().take_lines();
    assert_eq!(requests.len(), 4, "{requests:?}");
}

#[test]
fn the_version_before_can_be_had_back_and_stays() {
    let world = published();
    world.repository().publish_program("99.0.0", next()).now();
    let before = fs::read(world.program()).unwrap();
    world.dbt(["deploy"]).prints("deploy 1.4.0\n");
    world.dbt(["self", "rollback"]).exits_with(0);
    assert!(fs::read(world.program()).unwrap() == before);
    world.dbt(["deploy"]).prints("deploy 1.4.0\n");
    assert!(fs::read(world.program()).unwrap() == before, "it went forward again by itself");
}

#[test]
fn an_update_of_dbt_can_be_asked_for() {
    let world = published();
    world.repository().publish_program("99.0.0", next()).now();
    world.set("selfUpdate", "notify");
    world.dbt(["deploy"]).prints("deploy 1.4.0\n").mentions("99.0.0");
    world.dbt(["deploy"]).prints("deploy 1.4.0\n").says_nothing();
    world.dbt(["self", "update"]).exits_with(0).mentions("99.0.0");
    version_is(&world, "99.0.0");
}

#[test]
fn who_asks_for_an_update_that_was_refused_before_is_told_why_again() {
    let world = published();
    world.repository().publish_program("99.0.0", next()).signed_by(&MALLORY).now();
    stays(&world, "99.0.0 of dbt was offered and refused");
    let run = world.dbt(["self", "update"]);
    run.exits_with(exits::VERIFICATION_REFUSED).does_not_mention("current");
    run.mentions("error: failed to update dbt to version 99.0.0\n  caused by: ");
    version_is(&world, "4.0.0");
}

#[test]
fn who_asks_for_an_update_that_does_not_work_is_told_which_version_it_was() {
    let world = published();
    let program = b"#!/bin/sh\nexit 1\n".to_vec();
    world.repository().publish_program("99.0.0", program).now();
    let run = world.dbt(["self", "update"]);
    run.exits_with(exits::VERIFICATION_REFUSED).says(
        "error: failed to update dbt to version 99.0.0\n  \
         caused by: its self-test failed: it ended with exit status: 1\n",
    );
    version_is(&world, "4.0.0");
}

#[test]
fn a_dbt_signed_by_nobody_known_is_refused_and_the_tool_runs() {
    let world = published();
    world.repository().publish_program("99.0.0", next()).signed_by(&MALLORY).now();
    stays(&world, "99.0.0 of dbt was offered and refused");
    world.dbt(["deploy"]).prints("deploy 1.4.0\n").says_nothing();
}

#[test]
fn a_dbt_with_a_right_checksum_and_no_signature_is_not_taken() {
    let world = published();
    world.repository().publish_program("99.0.0", next()).without_signature().now();
    let before = fs::read(world.program()).unwrap();
    world.dbt(["deploy"]).prints("deploy 1.4.0\n");
    assert!(fs::read(world.program()).unwrap() == before);
}

#[test]
fn a_newcomer_of_the_truststore_never_signs_dbt() {
    for strict in [false, true] {
        let world = unpinned();
        world.set("strict", strict);
        world.dbt(["deploy"]).prints("deploy 1.4.0\n");
        world.repository().trust(&[&ALICE, &MALLORY]);
        world.repository().publish_program("99.0.0", next()).signed_by(&MALLORY).now();
        stays(&world, "no known key stands behind it");
    }
}

#[test]
fn an_older_dbt_is_never_taken() {
    let world = published();
    world.repository().publish_program("99.0.0", next()).now();
    world.dbt(["deploy"]).prints("deploy 1.4.0\n");
    fs::remove_dir_all(world.repository().file("/dbt/99.0.0")).unwrap();
    let old = fs::read(&programs().now).unwrap();
    world.repository().publish_program("4.0.0", old).now();
    world.dbt(["deploy"]).prints("deploy 1.4.0\n").says_nothing();
    version_is(&world, "99.0.0");
}

#[test]
fn an_old_dbt_under_a_new_number_is_found_out_by_asking_it() {
    for strict in [false, true] {
        let world = published();
        world.set("strict", strict);
        let running = fs::read(world.program()).unwrap();
        let mut other = running.clone();
        other.push(0);
        world.repository().publish_program("99.0.9", other).now();
        stays(&world, "it says that it is version `4.0.0`");
    }
}

/// Publishes a program that was built as one version under the number of another one, and signs that
/// it is meant so.
fn put_back(world: &World, number: &str, content: &[u8], built_as: &str) {
    let platform = dbt_core::platform::Platform::CURRENT;
    let binding = format!("self/dbt/{number}/{platform}");
    let at = just_now();
    let both = [Some(binding.clone()), Some(format!("{binding}={built_as}"))];
    let both = together(&both.map(|said| ALICE.sign(content, said.as_deref(), at)));
    world.repository().publish_program(number, content.to_vec()).signature(both).now();
}

#[test]
fn an_old_dbt_that_its_signer_puts_back_under_a_new_number_is_taken_once() {
    let world = published();
    world.repository().publish_program("99.0.0", next()).now();
    world.dbt(["deploy"]).prints("deploy 1.4.0\n");
    version_is(&world, "99.0.0");
    let old = fs::read(&programs().now).unwrap();
    put_back(&world, "99.0.1", &old, "4.0.0");
    world.dbt(["deploy"]).prints("deploy 1.4.0\n").says_nothing();
    version_is(&world, "4.0.0");
    assert!(fs::read(world.program()).unwrap() == old);
    // It knows by which number it came, so that it neither goes on nor back.
    world.server().take_requests();
    world.dbt(["deploy"]).prints("deploy 1.4.0\n").says_nothing();
    let requests = world.server().take_lines();
    assert!(!requests.iter().any(|line| line.ends_with("/dbt")), "{requests:?}");
    world.repository().publish_program("99.0.2", old).now();
    world.dbt(["deploy"]).prints("deploy 1.4.0\n").says_nothing();
    version_is(&world, "4.0.0");
}

#[test]
fn a_dbt_of_3_x_that_is_put_back_is_asked_for_its_version_and_runs_the_tool() {
    let old = |version: &str| {
        format!(
            "#!/bin/sh\n[ \"$1\" != --version ] || exec echo dbt version {version}\n\
             [ \"$1\" = --self-test ] && exit 1\necho \"the older program runs $*\"\n"
        )
    };
    let world = published();
    put_back(&world, "4.0.1", old("3.7.4").as_bytes(), "3.7.5");
    stays(&world, "it says that it is version `3.7.4`");
    let world = published();
    put_back(&world, "4.0.1", b"#!/bin/sh\necho hello\n", "3.7.5");
    stays(&world, "it did not report who it is");
    // Without the signer's word that it is meant so, the number decides.
    let world = published();
    world.repository().publish_program("4.0.1", old("3.7.5").into_bytes()).now();
    stays(&world, "its self-test failed: it ended with exit status: 1");

    let world = published();
    put_back(&world, "4.0.1", old("3.7.5").as_bytes(), "3.7.5");
    world.dbt(["deploy", "a"]).prints("the older program runs deploy a\n").says_nothing();
    assert_eq!(fs::read(world.program()).unwrap(), old("3.7.5").as_bytes());
    // It needs this one, and never makes it.
    assert!(world.dbt_home().join("trust").is_dir());
}

#[test]
fn who_cannot_sign_cannot_say_that_an_old_dbt_is_meant() {
    let platform = dbt_core::platform::Platform::CURRENT;
    let old = fs::read(&programs().now).unwrap();
    let other = [old, vec![0]].concat();
    let itself = format!("self/dbt/99.0.1/{platform}");
    let mallory = MALLORY.sign(&other, Some(&format!("{itself}=4.0.0")), just_now());
    let alice = ALICE.sign(&other, Some(&itself), just_now());
    let earlier =
        ALICE.sign(&other, Some(&format!("self/dbt/99.0.0/{platform}=4.0.0")), just_now());
    for beside in [mallory, earlier] {
        let world = published();
        let both = together(&[alice.clone(), beside]);
        world.repository().publish_program("99.0.1", other.clone()).signature(both).now();
        stays(&world, "it says that it is version `4.0.0`");
    }
}

#[test]
fn a_dbt_signed_for_another_version_is_refused() {
    let world = published();
    let platform = dbt_core::platform::Platform::CURRENT;
    let binding = format!("self/dbt/4.0.0/{platform}");
    world.repository().publish_program("99.0.0", next()).bound_to(&binding).now();
    stays(&world, "was made for `self/dbt/4.0.0");
}

#[test]
fn a_signature_older_than_that_of_the_running_dbt_is_refused() {
    let world = published();
    world.repository().publish_program("99.0.0", next()).now();
    world.dbt(["deploy"]).prints("deploy 1.4.0\n");
    let mut later = next();
    later.push(0);
    world.repository().publish_program("99.0.1", later).at(days_ago(30)).now();
    world
        .dbt(["deploy"])
        .prints("deploy 1.4.0\n")
        .mentions("is older than that of the running version");
    version_is(&world, "99.0.0");
}

#[test]
fn a_dbt_that_fails_lies_hangs_or_is_for_another_machine_is_not_switched_to() {
    let candidates: [(&[u8], &str); 5] = [
        (b"#!/bin/sh\nexit 1\n", "it ended with exit status: 1"),
        (b"#!/bin/sh\necho hello\n", "it did not report who it is"),
        (
            b"#!/bin/sh\necho '{\"program\":\"data\",\"version\":\"99.0.0\",\"sha256\":\"'$4'\"}'\n",
            "it says that it is `data`",
        ),
        (b"\x7fELF nothing that runs", "it cannot be started"),
        (b"#!/bin/sh\nexec sleep 1000\n", "it did not finish"),
    ];
    for (candidate, words) in candidates {
        let world = published();
        world.repository().publish_program("99.0.0", candidate.to_vec()).now();
        stays(&world, if words.contains("`data`") { "its self-test failed" } else { words });
        // Once a day is often enough.
        world.dbt(["deploy"]).prints("deploy 1.4.0\n").says_nothing();
    }
}

#[test]
fn a_checksum_with_a_line_end_does_not_make_dbt_start_itself_for_ever() {
    let world = published();
    world.repository().publish_program("99.0.0", next()).checksum("[DIGEST]\n").now();
    world.dbt(["deploy"]).prints("deploy 1.4.0\n").says_nothing();
    version_is(&world, "99.0.0");
    let requests = world.server().take_lines();
    assert!(requests.len() < 16, "{requests:?}");
}

#[test]
fn a_checksum_that_never_matches_does_not_make_dbt_start_itself_for_ever() {
    let world = published();
    world.repository().publish_program("99.0.0", next()).checksum(&"0".repeat(64)).now();
    stays(&world, "does not match");
    world.server().take_requests();
    world.dbt(["deploy"]).prints("deploy 1.4.0\n").says_nothing();
    let requests = world.server().take_lines();
    assert_eq!(requests.len(), 4, "{requests:?}");
}

#[test]
fn a_checksum_that_cannot_be_had_stops_no_tool() {
    use dbt_testkit::server::Fault;
    for fault in [Fault::Status(500), Fault::Portal, Fault::Reset] {
        let world = published();
        world.set("timeout", 0.4);
        world.repository().publish_program("99.0.0", next()).now();
        world.server().fault(&format!("{}.sha256", program("99.0.0")), fault);
        let before = fs::read(world.program()).unwrap();
        world.dbt(["deploy"]).prints("deploy 1.4.0\n");
        assert!(fs::read(world.program()).unwrap() == before);
    }
}

#[test]
fn a_dbt_for_other_platforms_only_stops_no_tool() {
    for strict in [false, true] {
        let world = published();
        world.set("strict", strict);
        world.repository().publish_program("99.0.0", next()).platform("windows/arm64").now();
        world.dbt(["deploy"]).prints("deploy 1.4.0\n").says_nothing();
        version_is(&world, "4.0.0");
    }
}

#[test]
fn a_half_published_dbt_does_not_hide_the_complete_one_before_it() {
    let world = published();
    world.repository().publish_program("99.0.0", next()).now();
    world.repository().publish_program("100.0.0", next()).without_signature().now();
    world.repository().publish_program("101.0.0", next()).without_checksum().now();
    world.dbt(["deploy"]).prints("deploy 1.4.0\n").says_nothing();
    version_is(&world, "99.0.0");
}

#[test]
fn a_second_server_never_replaces_dbt() {
    for strict in [false, true] {
        let (world, other) = (published(), published());
        other.repository().publish_program("99.0.0", next()).now();
        world.set("strict", strict);
        world.configure(|config| config["servers"]["other"] = other.server_entry());
        world.dbt(["-s", "other", "deploy"]).exits_with(0);
        let run = world.invoke(["deploy"]).env("DBT_SERVER", "other").run();
        run.exits_with(0);
        version_is(&world, "4.0.0");
        let run = world.dbt(["-s", "other", "self", "update"]);
        run.exits_with(exits::CONFIGURATION).mentions("only from its home server");
        version_is(&world, "4.0.0");
    }
}

/// How a release is tried by a few: they name another path, and the truststore and the tools stay.
#[test]
fn a_second_repository_path_updates_only_the_machines_that_name_it() {
    let world = published();
    world.repository().publish_program("99.0.0", next()).now();
    let canary = world.repository().file(&format!("{REPOSITORY}/canary"));
    fs::create_dir(&canary).unwrap();
    let at = world.repository().file(&format!("{REPOSITORY}/99.0.0"));
    dbt_client::fsx::rename(&at, &canary.join("99.0.0")).unwrap();
    let before = fs::read(world.program()).unwrap();
    world.dbt(["deploy"]).prints("deploy 1.4.0\n").says_nothing();
    assert!(fs::read(world.program()).unwrap() == before, "it has taken what is for the few");

    world.set("repository", format!("{}/{REPOSITORY}/canary", world.server().url()));
    world.dbt(["deploy"]).prints("deploy 1.4.0\n").says_nothing();
    assert!(fs::read(world.program()).unwrap() == next(), "it has not replaced itself");
    // Back among the others it stays: nobody goes back by themselves.
    world.set("repository", format!("{}/{REPOSITORY}", world.server().url()));
    world.dbt(["deploy"]).prints("deploy 1.4.0\n");
    version_is(&world, "99.0.0");
}

#[test]
fn another_program_called_dbt_in_the_path_is_left_alone() {
    let world = published();
    world.repository().publish_program("99.0.0", next()).now();
    let elsewhere = world.directory().join("path");
    fs::create_dir(&elsewhere).unwrap();
    let other = elsewhere.join("dbt");
    fs::write(&other, "#!/bin/sh\necho the data build tool\n").unwrap();
    fs::set_permissions(&other, Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:/usr/bin:/bin", elsewhere.display());
    world.invoke(["deploy"]).env("PATH", path).run().prints("deploy 1.4.0\n");
    assert!(fs::read_to_string(&other).unwrap().contains("data build tool"));
    version_is(&world, "99.0.0");
}

#[test]
fn where_the_program_cannot_be_replaced_tools_run() {
    if !mounts_work() {
        return;
    }
    let world = published();
    world.repository().publish_program("99.0.0", next()).now();
    let directory = world.program().parent().unwrap().to_owned();
    let run = world.invoke(["deploy"]).mounting(READ_ONLY, &directory).run();
    run.prints("deploy 1.4.0\n").says_nothing();
    version_is(&world, "4.0.0");
}

#[test]
fn a_dbt_that_is_a_link_keeps_its_link() {
    let world = published();
    world.repository().publish_program("99.0.0", next()).now();
    let link = world.directory().join("dbt");
    std::os::unix::fs::symlink(world.program(), &link).unwrap();
    world.invoke(["deploy"]).program(&link).run().prints("deploy 1.4.0\n").says_nothing();
    assert!(link.is_symlink());
    version_is(&world, "99.0.0");
}

#[test]
fn several_that_update_at_once_all_run_their_tool() {
    let world = published();
    world.repository().publish_program("99.0.0", next()).now();
    let running: Vec<_> = (0..8).map(|_| world.invoke(["deploy"]).start()).collect();
    for run in running.into_iter().map(dbt_testkit::invocation::Running::finish) {
        run.prints("deploy 1.4.0\n");
    }
    version_is(&world, "99.0.0");
}

#[test]
fn an_update_killed_at_any_moment_leaves_a_program_that_works() {
    use dbt_testkit::server::Fault;
    let world = published();
    world.repository().publish_program("99.0.0", next()).now();
    let path = program("99.0.0");
    for count in [0, 1, 100_000] {
        world.server().repair();
        world.server().fault(&path, Fault::StallAfter(count));
        let running = world.invoke(["deploy"]).start();
        world.server().wait_until_stalled(&path);
        running.kill();
        version_is(&world, "4.0.0");
    }
    world.server().repair();
    world.dbt(["deploy"]).prints("deploy 1.4.0\n").says_nothing();
    version_is(&world, "99.0.0");
}

#[test]
fn a_disk_that_is_full_leaves_the_program_that_runs() {
    if !mounts_work() {
        return;
    }
    let world = published();
    world.repository().publish_program("99.0.0", next()).now();
    // The program's directory has room for the program and little more.
    let line = "mv \"$0\" \"$0.old\" && mkdir \"$0\" \
                && mount -t tmpfs -o size=$(($(stat -c %s \"$0.old/dbt\") + 65536)) none \"$0\" \
                && cp \"$0.old/dbt\" \"$0/dbt\" && \"$0/dbt\" --version";
    let directory = world.program().parent().unwrap().to_owned();
    let run = world.invoke(["deploy"]).mounting(line, &directory).run();
    run.prints("dbt version 4.0.0\ndeploy 1.4.0\n").mentions("No space left");
    assert!(fs::read(directory.with_extension("old").join("dbt")).is_ok());
}
