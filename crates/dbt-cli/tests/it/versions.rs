//! Which version runs: newest, pinned, asked for, held.

use dbt_testkit::exits;
use dbt_testkit::world::World;

use crate::pinned;

fn with_versions(versions: &[&str]) -> World {
    let world = pinned();
    for version in versions {
        world.repository().publish("deploy", version).now();
    }
    world
}

#[test]
fn a_new_version_runs_from_the_moment_it_is_published() {
    let world = with_versions(&["1.4.0"]);
    world.dbt(["deploy"]).prints("deploy 1.4.0\n");
    world.repository().publish("deploy", "1.5.0").now();
    world.dbt(["deploy"]).prints("deploy 1.5.0\n").says_nothing();
}

#[test]
fn versions_compare_as_numbers() {
    let world = with_versions(&["1.9.9", "1.10.0", "1.2.0"]);
    world.dbt(["deploy"]).prints("deploy 1.10.0\n");
}

#[test]
fn a_version_asked_for_runs_and_disturbs_no_other() {
    let world = with_versions(&["1.4.0", "1.5.0"]);
    world.dbt(["deploy"]).prints("deploy 1.5.0\n");
    world.dbt(["-v", "1.4.0", "deploy"]).prints("deploy 1.4.0\n").says_nothing();
    world.dbt(["deploy@1.4.0"]).prints("deploy 1.4.0\n").says_nothing();
    world.dbt(["deploy@v1.4.0"]).prints("deploy 1.4.0\n").says_nothing();
    world.server().take_requests();
    world.dbt(["deploy"]).prints("deploy 1.5.0\n").says_nothing();
    let requests = world.server().take_lines();
    assert!(!requests.iter().any(|line| line.ends_with("/deploy")), "{requests:?}");
}

#[test]
fn a_prefix_means_the_newest_release_under_it() {
    let world = with_versions(&["1.4.0", "1.4.7", "1.40.0", "2.0.0"]);
    world.dbt(["deploy@1.4"]).prints("deploy 1.4.7\n");
    world.dbt(["deploy@1"]).prints("deploy 1.40.0\n");
    world.dbt(["-v", "2", "deploy"]).prints("deploy 2.0.0\n");
}

#[test]
fn a_pre_release_runs_only_when_it_is_named() {
    let world = with_versions(&["1.4.0", "2.0.0-rc.1"]);
    world.dbt(["deploy"]).prints("deploy 1.4.0\n");
    world.dbt(["deploy@2.0.0-rc.1"]).prints("deploy 2.0.0-rc.1\n").says_nothing();
}

#[test]
fn a_version_with_a_v_in_its_directory_is_a_version() {
    let world = with_versions(&["v1.4.0"]);
    world.dbt(["deploy"]).prints("deploy v1.4.0\n").says_nothing();
    world.dbt(["deploy@1.4.0"]).prints("deploy v1.4.0\n").says_nothing();
}

#[test]
fn a_pin_in_the_configuration_counts_until_another_version_is_asked_for() {
    let world = with_versions(&["1.4.0", "1.5.0"]);
    world.set("pins", serde_json::json!({ "deploy": "1.4" }));
    world.dbt(["deploy"]).prints("deploy 1.4.0\n").says_nothing();
    world.dbt(["deploy@1.5.0"]).prints("deploy 1.5.0\n").says_nothing();
    world.dbt(["-o", "deploy"]).prints("deploy 1.4.0\n").says_nothing();
}

#[test]
fn pinning_and_the_newest_do_not_fight_over_the_cache() {
    let world = with_versions(&["1.4.0", "1.5.0"]);
    for version in ["1.4.0", "1.5.0"] {
        world.dbt(["fetch", &format!("deploy@{version}")]).exits_with(0);
    }
    world.server().take_requests();
    for _round in 0..2 {
        for version in ["1.4.0", "1.5.0"] {
            let run = world.dbt([format!("deploy@{version}")]);
            run.prints(&format!("deploy {version}\n")).says_nothing();
        }
    }
    let requests = world.server().take_lines();
    assert!(!requests.iter().any(|line| line.ends_with("/deploy")), "{requests:?}");
}

#[test]
fn an_unknown_version_is_named_in_the_error() {
    let world = with_versions(&["1.4.0"]);
    let run = world.dbt(["deploy@9.9.9"]);
    run.exits_with(exits::NOT_FOUND).says(
        "\
error: version `9.9.9` of `deploy` is not published for this platform
hint: `dbt catalog show deploy` shows what is published
",
    );
    world.nothing_happened();
}

#[test]
fn a_named_version_that_the_listing_hides_is_asked_for_by_its_path() {
    use dbt_testkit::http::Answer;
    use dbt_testkit::server::Fault;
    let world = with_versions(&["1.4.0", "1.5.0"]);
    let listing = "<pre>\n<a href=\"1.4.0/\">1.4.0/</a>\n</pre>\n";
    let answer = Answer::of(200, "text/html; charset=utf-8", listing.into());
    world.server().fault("/dbt-tools/deploy/", Fault::Answer(answer));
    world.dbt(["deploy"]).prints("deploy 1.4.0\n");
    world.dbt(["deploy@1.5.0"]).prints("deploy 1.5.0\n").says_nothing();
}

#[test]
fn a_version_for_other_platforms_only_leaves_the_newest_for_this_one() {
    let world = with_versions(&["1.4.0"]);
    world.repository().publish("deploy", "1.5.0").platform("windows/arm64").now();
    world.dbt(["deploy"]).prints("deploy 1.4.0\n").says_nothing();
    world.dbt(["-V", "deploy"]).prints("deploy 1.4.0\n").mentions("1.5.0");
    world.dbt(["deploy@1.5.0"]).exits_with(exits::NOT_FOUND);
}

#[test]
fn rolling_back_holds_this_machine_until_something_newer_appears() {
    let world = with_versions(&["1.4.0"]);
    world.dbt(["deploy"]).prints("deploy 1.4.0\n");
    world.repository().publish("deploy", "1.5.0").now();
    world.dbt(["deploy"]).prints("deploy 1.5.0\n");
    world.server().take_requests();
    let run = world.dbt(["rollback", "deploy"]);
    run.prints("")
        .says("dbt: `deploy` stays on 1.4.0 until a version newer than 1.5.0 is published\n");
    assert_eq!(world.server().take_lines(), [""; 0], "going back needs no network");
    world.dbt(["deploy"]).prints("deploy 1.4.0\n").says_nothing();
    world.dbt(["deploy"]).prints("deploy 1.4.0\n").says_nothing();
    world.repository().publish("deploy", "1.6.0").now();
    world.dbt(["deploy"]).prints("deploy 1.6.0\n").says_nothing();
}

#[test]
fn undoing_a_rollback_ends_the_hold() {
    let world = with_versions(&["1.4.0", "1.5.0"]);
    world.dbt(["deploy@1.4.0"]).prints("deploy 1.4.0\n");
    world.dbt(["deploy"]).prints("deploy 1.5.0\n");
    world.dbt(["rollback", "deploy", "1.4.0"]).exits_with(0);
    world.dbt(["-o", "deploy"]).prints("deploy 1.4.0\n").says_nothing();
    world.dbt(["rollback", "deploy", "--undo"]).exits_with(0);
    world.dbt(["deploy"]).prints("deploy 1.5.0\n").says_nothing();
}

#[test]
fn rolling_back_to_a_version_that_is_not_here_fetches_it() {
    let world = with_versions(&["1.4.0", "1.5.0"]);
    world.dbt(["deploy"]).prints("deploy 1.5.0\n");
    world.dbt(["rollback", "deploy", "1.4.0"]).exits_with(0);
    world.dbt(["deploy"]).prints("deploy 1.4.0\n").says_nothing();
}

#[test]
fn there_is_nothing_to_roll_back_to_on_a_fresh_machine() {
    let world = with_versions(&["1.4.0"]);
    world
        .dbt(["rollback", "deploy"])
        .exits_with(exits::NOT_FOUND)
        .says("error: no version of `deploy` is installed here\n");
    world.dbt(["deploy"]).prints("deploy 1.4.0\n");
    world.dbt(["rollback", "deploy"]).exits_with(exits::NOT_FOUND).mentions("no earlier version");
}

#[test]
fn updating_looks_for_newer_versions_of_everything_installed() {
    let world = with_versions(&["1.4.0"]);
    world.repository().publish("other", "0.1.0").now();
    world.set("updates", "manual");
    world.dbt(["deploy"]).prints("deploy 1.4.0\n");
    world.dbt(["other"]).prints("other 0.1.0\n");
    world.repository().publish("deploy", "1.5.0").now();
    world.repository().publish("other", "0.2.0").now();
    world.dbt(["deploy"]).prints("deploy 1.4.0\n").says_nothing();
    world.dbt(["update"]).prints("").says_nothing();
    world.dbt(["deploy"]).prints("deploy 1.5.0\n").says_nothing();
    world.dbt(["other"]).prints("other 0.2.0\n").says_nothing();
}

#[test]
fn which_says_what_would_run_by_whom_and_why_nothing_newer() {
    let world = with_versions(&["1.4.0", "1.5.0"]);
    world.set("pins", serde_json::json!({ "deploy": "1.4" }));
    world.dbt(["deploy"]).prints("deploy 1.4.0\n");
    let said = world.dbt(["which", "deploy"]).exits_with(0).stdout();
    for word in ["1.4.0", "Alice", "acme", "pins 1.4", world.dbt_home().to_str().unwrap()] {
        assert!(said.contains(word), "{word} in {said}");
    }
    let run = world.dbt(["which", "deploy", "--json"]);
    let json: serde_json::Value = serde_json::from_slice(run.stdout_bytes()).unwrap();
    assert_eq!(json["version"], "1.4.0");
    assert_eq!(world.tools_started().len(), 1);
}

#[test]
fn with_updates_afterwards_the_copy_starts_at_once_and_the_next_run_is_newer() {
    let world = with_versions(&["1.4.0"]);
    world.set("updates", "after");
    world.dbt(["deploy"]).prints("deploy 1.4.0\n");
    world.repository().publish("deploy", "1.5.0").now();
    world.server().take_requests();
    world.dbt(["deploy"]).prints("deploy 1.4.0\n").says_nothing();
    world.server().wait_until_asked("/dbt-tools/deploy/");
    // What looks for it in the background is not ours to wait for.
    let is_newer = |_try: &u32| world.dbt(["-o", "deploy"]).stdout() == "deploy 1.5.0\n";
    assert!((0..1000).any(|try_| is_newer(&try_)));
}
