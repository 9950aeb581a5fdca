//! Versions that vanish, change or are withdrawn: what this machine has seen, it remembers.

use dbt_testkit::exits;
use dbt_testkit::people::{ALICE, MALLORY};
use dbt_testkit::repository::artifact;
use dbt_testkit::world::World;

use crate::pinned;

/// A machine that has run `deploy` 1.5.0, beside 1.4.0 in the repository.
fn seen() -> World {
    let world = pinned();
    world.repository().publish("deploy", "1.4.0").now();
    world.repository().publish("deploy", "1.5.0").now();
    world.dbt(["deploy"]).prints("deploy 1.5.0\n").says_nothing();
    world
}

fn strict(world: World) -> World {
    world.set("strict", true);
    world
}

#[test]
fn a_version_that_was_deleted_is_left_and_that_is_said_once() {
    let world = seen();
    world.repository().remove("deploy", "1.5.0");
    world
        .dbt(["deploy"])
        .prints("deploy 1.4.0\n")
        .says("warning: `deploy` 1.5.0 is not published any more; running 1.4.0\n");
    world.dbt(["deploy"]).prints("deploy 1.4.0\n").says_nothing();
    world.repository().publish("deploy", "1.6.0").now();
    world.dbt(["deploy"]).prints("deploy 1.6.0\n").says_nothing();
}

#[test]
fn a_strict_server_does_not_go_back() {
    let world = strict(seen());
    world.repository().remove("deploy", "1.5.0");
    world.dbt(["deploy"]).exits_with(exits::VERIFICATION_REFUSED).says(
        "\
error: the newest published `deploy` is 1.4.0, older than 1.5.0 which was seen before, and this server is `strict`
hint: ask its publisher; `dbt -o deploy` runs the newest cached copy
",
    );
    assert_eq!(world.tools_started(), ["deploy 1.5.0"]);
    assert_eq!(world.executables().len(), 1);
    world.dbt(["-o", "deploy"]).prints("deploy 1.5.0\n").says_nothing();
}

#[test]
fn asking_a_strict_server_for_an_older_version_by_name_is_no_rollback() {
    let world = strict(seen());
    world.dbt(["deploy@1.4.0"]).prints("deploy 1.4.0\n").says_nothing();
    world.dbt(["deploy"]).prints("deploy 1.5.0\n").says_nothing();
}

#[test]
fn a_version_that_was_published_again_runs_and_that_is_said_once() {
    let world = seen();
    world.repository().publish("deploy", "1.5.0").script("echo again").now();
    world.dbt(["deploy"]).prints("deploy 1.5.0\nagain\n").says(
        "warning: `deploy` 1.5.0 was published again with other contents; its signature is good\n",
    );
    world.dbt(["deploy"]).prints("deploy 1.5.0\nagain\n").says_nothing();
}

#[test]
fn a_strict_server_does_not_take_other_bytes_for_a_version() {
    let world = strict(seen());
    world.repository().publish("deploy", "1.5.0").script("echo again").now();
    let run = world.dbt(["deploy"]);
    run.exits_with(exits::VERIFICATION_REFUSED).mentions("was [DIGEST] before and is [DIGEST] now");
    assert_eq!(world.tools_started(), ["deploy 1.5.0"]);
    assert_eq!(world.executables().len(), 1);
    world.dbt(["-o", "deploy"]).prints("deploy 1.5.0\n").says_nothing();
}

#[test]
fn a_server_restored_from_a_backup_serves_what_it_has() {
    let world = pinned();
    world.repository().publish("deploy", "1.4.0").now();
    let backup = world.repository().backup();
    world.repository().publish("deploy", "1.5.0").now();
    world.dbt(["deploy"]).prints("deploy 1.5.0\n");
    world.repository().restore(&backup);
    world.dbt(["deploy"]).prints("deploy 1.4.0\n").mentions("is not published any more");
    world.set("strict", true);
    world.dbt(["deploy"]).exits_with(exits::VERIFICATION_REFUSED).mentions("`strict`");
    world.repository().publish("deploy", "1.6.0").now();
    world.dbt(["deploy"]).prints("deploy 1.6.0\n").says_nothing();
}

#[test]
fn a_withdrawn_version_never_runs_again() {
    for world in [seen(), strict(seen())] {
        world.repository().withdraw("deploy", 1, &["1.5.0"], &ALICE);
        let run = world.dbt(["deploy@1.5.0"]);
        run.exits_with(exits::VERIFICATION_REFUSED).says(
            "\
error: `deploy` 1.5.0 was withdrawn: deletes the database
hint: `dbt deploy` runs the newest version that is not withdrawn
",
        );
        assert_eq!(world.tools_started(), ["deploy 1.5.0"]);
    }
}

#[test]
fn withdrawn_bytes_do_not_run_under_a_newer_number_and_the_one_before_does() {
    for strict in [false, true] {
        let world = seen();
        world.set("strict", strict);
        let repository = world.repository();
        let bytes = repository.read(&artifact("deploy", "1.5.0"));
        repository.publish("deploy", "1.6.0").content(bytes).now();
        repository.withdraw_with_bytes("deploy", 1, "1.5.0", &ALICE);
        world
            .dbt(["deploy"])
            .prints("deploy 1.4.0\n")
            .says("warning: `deploy` 1.5.0 was withdrawn: deletes the database; running 1.4.0\n");
        world
            .dbt(["-V", "deploy"])
            .prints("deploy 1.4.0\n")
            .mentions("`deploy` 1.6.0 has bytes that were withdrawn: deletes the database\n");
        world.dbt(["deploy"]).prints("deploy 1.4.0\n").says_nothing();
        world.dbt(["deploy@1.6.0"]).exits_with(exits::VERIFICATION_REFUSED).says(
            "\
error: `deploy` 1.6.0 has bytes that were withdrawn: deletes the database
hint: `dbt deploy` runs the newest version that is not withdrawn
",
        );
        let started = ["deploy 1.5.0", "deploy 1.4.0", "deploy 1.4.0", "deploy 1.4.0"];
        assert_eq!(world.tools_started(), started, "once before they were withdrawn");
    }
}

#[test]
fn bytes_that_ran_under_two_numbers_are_withdrawn_under_both() {
    for strict in [false, true] {
        let world = seen();
        world.set("strict", strict);
        let repository = world.repository();
        let bytes = repository.read(&artifact("deploy", "1.5.0"));
        repository.publish("deploy", "1.6.0").content(bytes).now();
        world.dbt(["deploy"]).prints("deploy 1.5.0\n");
        repository.withdraw_with_bytes("deploy", 1, "1.5.0", &ALICE);
        world
            .dbt(["deploy"])
            .prints("deploy 1.4.0\n")
            .says("warning: `deploy` 1.6.0 was withdrawn: deletes the database; running 1.4.0\n");
        world.dbt(["deploy"]).prints("deploy 1.4.0\n").says_nothing();
        world.dbt(["-o", "deploy"]).prints("deploy 1.4.0\n").says_nothing();
    }
}

#[test]
fn where_everything_is_withdrawn_that_is_said_and_nothing_runs() {
    let world = seen();
    world.repository().withdraw("deploy", 1, &["1.5.0", "1.4.0"], &ALICE);
    for (words, named) in [("deploy", "`deploy`"), ("deploy@1", "`deploy` 1")] {
        world.dbt([words]).exits_with(exits::VERIFICATION_REFUSED).says(&format!(
            "\
error: every release of {named} is withdrawn: deletes the database
hint: ask its publisher for a new one; `dbt catalog show deploy` shows what is published
"
        ));
    }
    // By its bytes alone.
    let world = pinned();
    let repository = world.repository();
    repository.publish("deploy", "1.5.0").now();
    let bytes = repository.read(&artifact("deploy", "1.5.0"));
    repository.withdraw_with_bytes("deploy", 1, "1.5.0", &ALICE);
    repository.remove("deploy", "1.5.0");
    repository.publish("deploy", "1.6.0").content(bytes).now();
    let run = world.dbt(["deploy"]);
    run.exits_with(exits::VERIFICATION_REFUSED).mentions("every release of `deploy` is withdrawn");
    assert_eq!(world.executables().len(), 0, "nothing was downloaded");
    // One that cannot run here is something else.
    let world = seen();
    world.repository().withdraw("deploy", 1, &["1.5.0"], &ALICE);
    world.repository().delete(&format!("{}.asc", artifact("deploy", "1.4.0")));
    let run = world.dbt(["deploy"]);
    run.exits_with(exits::NOT_FOUND).mentions("is completely published for this platform");
}

#[test]
fn instead_of_a_withdrawn_version_the_one_before_runs() {
    let world = seen();
    world.repository().withdraw("deploy", 1, &["1.5.0"], &ALICE);
    let run = world.dbt(["deploy"]);
    run.prints("deploy 1.4.0\n")
        .says("warning: `deploy` 1.5.0 was withdrawn: deletes the database; running 1.4.0\n");
    world.dbt(["deploy"]).prints("deploy 1.4.0\n").says_nothing();
}

#[test]
fn a_withdrawal_is_no_leave_to_go_back_further_under_strict() {
    let world = pinned();
    world.set("strict", true);
    for version in ["1.3.0", "1.4.0", "1.5.0"] {
        world.repository().publish("deploy", version).now();
        world.dbt(["deploy"]).prints(&format!("deploy {version}\n"));
    }
    world.repository().withdraw("deploy", 1, &["1.5.0"], &ALICE);
    world.repository().remove("deploy", "1.4.0");
    let run = world.dbt(["deploy"]);
    run.exits_with(exits::VERIFICATION_REFUSED).mentions("is 1.3.0, older than 1.4.0");
}

#[test]
fn under_strict_instead_of_a_withdrawn_version_the_one_before_runs_too() {
    let world = strict(seen());
    world.repository().withdraw("deploy", 1, &["1.5.0"], &ALICE);
    world.dbt(["deploy"]).prints("deploy 1.4.0\n");
}

#[test]
fn a_withdrawn_version_does_not_run_from_the_cache_either() {
    let world = seen();
    world.repository().withdraw("deploy", 1, &["1.5.0"], &ALICE);
    world.dbt(["deploy"]).prints("deploy 1.4.0\n");
    world.dbt(["-o", "deploy"]).prints("deploy 1.4.0\n").says_nothing();
    let run = world.dbt(["-o", "deploy@1.5.0"]);
    run.exits_with(exits::VERIFICATION_REFUSED).mentions("was withdrawn: deletes the database");
}

#[test]
fn what_was_withdrawn_stays_withdrawn_when_the_list_is_deleted() {
    let world = seen();
    world.repository().withdraw("deploy", 1, &["1.5.0"], &ALICE);
    world.dbt(["deploy"]).prints("deploy 1.4.0\n");
    world.repository().delete("/dbt-tools/deploy/withdrawn.json");
    world.repository().delete("/dbt-tools/deploy/withdrawn.json.asc");
    world.dbt(["deploy"]).prints("deploy 1.4.0\n").says_nothing();
}

#[test]
fn a_later_withdrawal_is_seen_by_a_machine_that_knows_an_earlier_one() {
    let world = seen();
    world.repository().withdraw("deploy", 1, &["1.5.0"], &ALICE);
    world.dbt(["deploy"]).prints("deploy 1.4.0\n");
    world.repository().publish("deploy", "1.3.0").now();
    world.repository().withdraw("deploy", 2, &["1.5.0", "1.4.0"], &ALICE);
    world.dbt(["deploy"]).prints("deploy 1.3.0\n");
}

#[test]
fn a_list_of_withdrawn_versions_that_nobody_signed_is_refused() {
    let bindings = [Some("withdrawn/other"), None, Some("tool/deploy/1.5.0/linux/amd64")];
    for (signer, binding) in
        [(&MALLORY, Some("withdrawn/deploy"))].into_iter().chain(bindings.map(|it| (&ALICE, it)))
    {
        let world = seen();
        world.repository().withdraw_bound_to("deploy", 1, &["1.5.0"], signer, binding);
        let run = world.dbt(["deploy"]);
        run.exits_with(exits::VERIFICATION_REFUSED)
            .mentions("the list of withdrawn versions is refused");
        assert_eq!(world.tools_started(), ["deploy 1.5.0"]);
    }
}

#[test]
fn an_older_list_of_withdrawn_versions_is_refused() {
    let world = seen();
    world.repository().withdraw("deploy", 2, &["1.5.0"], &ALICE);
    world.dbt(["deploy"]).prints("deploy 1.4.0\n");
    world.repository().withdraw("deploy", 1, &[], &ALICE);
    let run = world.dbt(["deploy"]);
    run.exits_with(exits::VERIFICATION_REFUSED).mentions("went back from serial 2 to 1");
}
