//! Several copies at hand: the newest that is good runs, and nothing is waited for that a copy can
//! stand in for.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;

use dbt_testkit::exits;
use dbt_testkit::http::Answer;
use dbt_testkit::people::{ALICE, CAROL};
use dbt_testkit::repository::artifact;
use dbt_testkit::server::Fault;
use dbt_testkit::world::World;

use crate::{pinned, published, world};

/// A world with 1.4.0 and 1.5.0 in the cache.
fn with_two() -> World {
    let world = published();
    world.dbt(["deploy"]).prints("deploy 1.4.0\n");
    world.repository().publish("deploy", "1.5.0").now();
    world.dbt(["deploy"]).prints("deploy 1.5.0\n");
    world
}

/// Damages the cached copies of a version.
fn damage(world: &World, version: &str) {
    let is_it = |file: &std::path::PathBuf| {
        fs::read_to_string(file).unwrap().contains(&format!("deploy {version}"))
    };
    for file in world.executables().into_iter().filter(is_it) {
        fs::set_permissions(&file, Permissions::from_mode(0o700)).unwrap();
        fs::write(&file, "#!/bin/sh\necho owned\n").unwrap();
        fs::set_permissions(&file, Permissions::from_mode(0o500)).unwrap();
    }
}

const DAMAGED: &str = "the cached copy of `deploy` 1.5.0 cannot be used (checksum of \
                       `deploy 1.5.0 ([PLATFORM])` does not match: expected [DIGEST], got [DIGEST])";

#[test]
fn a_damaged_newest_copy_does_not_hide_a_good_older_one() {
    let world = with_two();
    damage(&world, "1.5.0");
    world
        .dbt(["-o", "deploy"])
        .prints("deploy 1.4.0\n")
        .says(&format!("warning: {DAMAGED}; running 1.4.0\n"));
    world.server().fault("*", Fault::Status(500));
    world
        .dbt(["deploy"])
        .prints("deploy 1.4.0\n")
        .mentions(DAMAGED)
        .mentions("the server failed (500)); running `deploy` 1.4.0, confirmed");
    // The server is left alone now, and what is said is what runs.
    world.dbt(["deploy"]).prints("deploy 1.4.0\n").mentions("running 1.4.0");
    // Who names it gets it or nothing.
    let run = world.dbt(["-o", "deploy@1.5.0"]);
    run.exits_with(exits::VERIFICATION_REFUSED).mentions("no cached copy of `deploy` can be used");
    world.server().repair();
    world.dbt(["update", "deploy"]).exits_with(0);
    world.dbt(["-o", "deploy"]).prints("deploy 1.5.0\n").says_nothing();
    assert!(!world.tools_started().iter().any(|tool| tool.contains("owned")));
}

#[test]
fn where_no_copy_is_good_the_hint_does_not_lead_back_to_it() {
    let world = with_two();
    damage(&world, "1.4.0");
    damage(&world, "1.5.0");
    world.dbt(["-o", "deploy"]).exits_with(exits::VERIFICATION_REFUSED).says(
        "error: no cached copy of `deploy` can be used\n  \
         caused by: checksum of `deploy 1.5.0 ([PLATFORM])` does not match: expected [DIGEST], got [DIGEST]\n\
         hint: `dbt fetch deploy` downloads it again while the server can be reached\n",
    );
    assert_eq!(world.tools_started(), ["deploy 1.4.0", "deploy 1.5.0"]);
}

#[test]
fn for_a_strict_server_no_older_copy_runs_in_the_place_of_a_damaged_one() {
    let world = with_two();
    world.set("strict", true);
    world.dbt(["deploy"]).prints("deploy 1.5.0\n");
    damage(&world, "1.5.0");
    let started = world.tools_started();
    let run = world.dbt(["-o", "deploy"]);
    run.exits_with(exits::VERIFICATION_REFUSED).mentions("no cached copy of `deploy` can be used");
    assert_eq!(world.tools_started(), started);
    world.dbt(["-o", "deploy@1.4.0"]).prints("deploy 1.4.0\n").says_nothing();
}

#[test]
fn a_copy_of_a_revoked_signer_does_not_hide_a_good_older_one() {
    let world = world();
    world.repository().trust(&[&ALICE, &CAROL]);
    world.repository().publish("deploy", "1.4.0").signed_by(&CAROL).now();
    world.dbt(["deploy"]).prints("deploy 1.4.0\n");
    world.repository().publish("deploy", "1.5.0").now();
    world.dbt(["deploy"]).prints("deploy 1.5.0\n");
    world.repository().publish("other", "1.0.0").signed_by(&CAROL).now();
    world.repository().truststore(&[ALICE.revoked(), CAROL.certificate()]);
    world.dbt(["other"]).prints("other 1.0.0\n");
    let run = world.dbt(["-o", "deploy"]);
    run.prints("deploy 1.4.0\n").mentions("`deploy` 1.5.0 cannot be used").mentions("revoked");
}

#[test]
fn an_older_copy_of_the_reference_is_no_damage() {
    let world = pinned();
    let old = world.dbt_home().join("tools").join("acme");
    fs::create_dir_all(&old).unwrap();
    fs::write(old.join("deploy"), "#!/bin/sh\necho deploy 1.3.0\n").unwrap();
    fs::set_permissions(old.join("deploy"), Permissions::from_mode(0o755)).unwrap();
    for version in ["1.4.0", "1.5.0"] {
        world.repository().publish("deploy", version).now();
        world.dbt(["deploy"]).prints(&format!("deploy {version}\n")).says_nothing();
    }
    // It is the reference's, and stays.
    let kept = fs::read_to_string(old.join("deploy")).unwrap();
    assert_eq!(kept, "#!/bin/sh\necho deploy 1.3.0\n");
}

#[test]
fn a_server_that_is_busy_for_a_while_is_not_waited_for_where_a_copy_can_run() {
    let world = published();
    world.dbt(["deploy"]).prints("deploy 1.4.0\n");
    world.repository().publish("deploy", "1.5.0").now();
    let busy = Answer::text(503, "busy").with("Retry-After", "9");
    let path = artifact("deploy", "1.5.0");
    world.server().fault(&path, Fault::Answer(busy));
    world.set("timeout", 1);
    world.server().take_requests();
    world.dbt(["deploy"]).prints("deploy 1.4.0\n").mentions("the server failed (503)");
    // It was asked once: each further time would have been nine seconds later.
    let asked = world.server().take_lines();
    assert_eq!(asked.iter().filter(|line| line.ends_with(&path)).count(), 1, "{asked:?}");
}

#[test]
fn a_list_of_withdrawn_versions_that_is_being_published_is_not_there_yet() {
    for cached in [false, true] {
        let world = published();
        if cached {
            world.dbt(["deploy"]).prints("deploy 1.4.0\n");
        }
        world.repository().publish("deploy", "1.5.0").now();
        world.repository().withdraw("deploy", 1, &["1.5.0"], &ALICE);
        let signature = "/dbt-tools/deploy/withdrawn.json.asc";
        let bytes = world.repository().read(signature);
        world.repository().delete(signature);
        world.dbt(["deploy"]).prints("deploy 1.5.0\n").says_nothing();
        // Nothing of it was taken in, so it is asked for again.
        world.repository().write(signature, &bytes);
        let run = world.dbt(["deploy"]);
        run.prints("deploy 1.4.0\n").mentions("`deploy` 1.5.0 was withdrawn");
    }
}

#[test]
fn a_run_that_downloads_without_end_keeps_no_other_from_its_copy() {
    let world = published();
    world.dbt(["deploy"]).prints("deploy 1.4.0\n");
    world.repository().publish("deploy", "1.5.0").now();
    let path = artifact("deploy", "1.5.0");
    world.server().fault(&path, Fault::StallAfter(10));
    let downloads = world.invoke(["deploy"]).start();
    world.server().wait_until_stalled(&path);
    world
        .dbt(["deploy"])
        .prints("deploy 1.4.0\n")
        .mentions("another run has been downloading `deploy` 1.5.0 for more than 10 s")
        .mentions("running `deploy` 1.4.0 from the cache");
    downloads.kill();
}

#[test]
fn who_has_no_copy_is_told_that_another_run_downloads() {
    let world = published();
    let path = artifact("deploy", "1.4.0");
    world.server().fault(&path, Fault::StallAfter(10));
    let downloads = world.invoke(["deploy"]).start();
    world.server().wait_until_stalled(&path);
    let said = world.directory().join("said");
    let into_file = ["sh", "-c", "exec \"$@\" 2>\"$0\"", said.to_str().unwrap()];
    let waits = world.invoke(["deploy"]).through(&into_file).start();
    let words = "dbt: another run is downloading `deploy` 1.4.0; waiting for it\n";
    let begun = std::time::Instant::now();
    while fs::read_to_string(&said).unwrap_or_default() != words {
        assert!(begun.elapsed() < std::time::Duration::from_mins(1));
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    world.server().repair();
    downloads.kill();
    waits.finish().prints("deploy 1.4.0\n");
    assert_eq!(fs::read_to_string(&said).unwrap(), words);
}
