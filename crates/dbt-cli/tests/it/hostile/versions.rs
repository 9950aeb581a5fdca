//! Versions that go back, change, vanish or are only half there.

use dbt_testkit::exits;
use dbt_testkit::hostile::Stage;
use dbt_testkit::server::FileServer;
use dbt_testkit::world::World;

use super::{Row, careful, case, deploy, harmless, outage, play, refused};

pub(super) const ROWS: &[Row] = &[
    harmless("C41-withdrawn").learning(),
    refused("C41-forged-list", "the list of withdrawn versions is refused"),
    harmless("L07-no-signature"),
    harmless("L07-no-checksum"),
    harmless("L07-no-file"),
    outage("L07-broken", "/dbt-tools/deploy/1.5.0/").tried_again(),
];

/// Attacks after which something else than the 1.4.0 of before may run, or that take long.
pub(super) const ALONE: &[&str] = &[
    "C41-other-bytes",
    "L08-removed",
    // It ends at four gibibytes, which is `an_endless_artifact_stops_at_its_limit`'s to show.
    "C37-endless",
];

fn play_kinds(kind: &str) {
    play(ROWS.iter().filter(|row| row.case.starts_with(kind)));
}

#[test]
fn a_list_of_withdrawn_versions_counts_if_it_is_signed_and_not_otherwise() {
    play_kinds("C41");
}

#[test]
fn a_version_that_is_broken_or_half_there_leaves_the_one_before() {
    play_kinds("L07");
}

/// A machine that has run 1.4.0, or has not, after an attack.
fn attacked(name: &str, strict: bool, known: bool) -> World {
    let world = careful(strict);
    if known {
        deploy(&world, &[]).prints("deploy 1.4.0\n");
    }
    let elsewhere = FileServer::start(&world.directory().join("s"));
    let (repository, server) = (world.repository(), world.server());
    case(name).play(&Stage { repository, server, elsewhere: &elsewhere });
    world
}

#[test]
fn a_version_published_again_with_other_bytes_is_said_once_and_refused_by_strict() {
    let world = attacked("C41-other-bytes", false, true);
    let said =
        "warning: `deploy` 1.4.0 was published again with other contents; its signature is good\n";
    deploy(&world, &[]).prints("deploy 1.4.0\n").says(said);
    deploy(&world, &[]).prints("deploy 1.4.0\n").says_nothing();

    let world = attacked("C41-other-bytes", true, true);
    let before = world.executables();
    let run = deploy(&world, &[]);
    run.exits_with(exits::VERIFICATION_REFUSED).mentions("was [DIGEST] before").mentions("hint: ");
    assert_eq!(world.executables(), before);
    assert_eq!(world.tools_started(), ["deploy 1.4.0"]);
    deploy(&world, &["-o"]).prints("deploy 1.4.0\n");

    for strict in [false, true] {
        let world = attacked("C41-other-bytes", strict, false);
        deploy(&world, &[]).prints("deploy 1.4.0\n").says_nothing();
    }
}

#[test]
fn a_version_that_was_withdrawn_runs_no_more_however_it_is_asked_for() {
    for strict in [false, true] {
        for known in [false, true] {
            let world = attacked("C41-withdrawn", strict, known);
            for words in [&["deploy@1.5.0"][..], &["-v", "1.5.0", "deploy"], &["deploy@1.5"]] {
                let run = world.dbt(words);
                assert_eq!(run.stdout(), "", "{words:?}: {}", run.stderr());
                assert!(run.code().is_some_and(|code| code >= exits::USAGE), "{words:?}");
            }
            let run = world.dbt(["deploy@1.5.0"]);
            run.exits_with(exits::VERIFICATION_REFUSED).mentions("`deploy` 1.5.0 was withdrawn");
            let run = world.dbt(["-o", "deploy@1.5.0"]);
            run.exits_with(exits::VERIFICATION_REFUSED).mentions("`deploy` 1.5.0 was withdrawn");
            assert!(!world.tools_started().contains(&"deploy 1.5.0".to_owned()));
            world.no_secret_is_remembered();
        }
    }
}

#[test]
fn an_older_version_in_the_place_of_the_newest_is_said_once_and_refused_by_strict() {
    let world = attacked("L08-removed", false, true);
    let said = "warning: `deploy` 1.4.0 is not published any more; running 1.3.0\n";
    deploy(&world, &[]).prints("deploy 1.3.0\n").says(said);
    deploy(&world, &[]).prints("deploy 1.3.0\n").says_nothing();

    let world = attacked("L08-removed", true, true);
    let run = deploy(&world, &[]);
    run.exits_with(exits::VERIFICATION_REFUSED)
        .mentions("the newest published `deploy` is 1.3.0, older than 1.4.0")
        .mentions("hint: ");
    assert_eq!(world.tools_started(), ["deploy 1.4.0"]);
    deploy(&world, &["-o"]).prints("deploy 1.4.0\n");

    for strict in [false, true] {
        let world = attacked("L08-removed", strict, false);
        deploy(&world, &[]).prints("deploy 1.3.0\n").says_nothing();
    }
}
