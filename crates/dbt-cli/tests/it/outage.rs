//! The outage rule: every row of the register's table, with a verified copy and without.

use dbt_testkit::exits;
use dbt_testkit::http::Answer;
use dbt_testkit::people::MALLORY;
use dbt_testkit::repository::artifact;
use dbt_testkit::server::Fault;
use dbt_testkit::world::World;

use crate::pinned;

/// A world with `deploy` 1.4.0 in the repository, impatient so that silence is soon an outage.
fn published() -> World {
    let world = pinned();
    world.set("timeout", 1);
    world.repository().publish("deploy", "1.4.0").now();
    world
}

fn cached() -> World {
    let world = published();
    world.dbt(["deploy"]).prints("deploy 1.4.0\n").says_nothing();
    world
}

/// Under each of these everything is an outage: the copy runs with one warning, and without a
/// copy the exit code is 82.
#[track_caller]
fn is_an_outage(fault: impl Fn() -> Fault, words: &str) {
    let with_copy = cached();
    with_copy.set("timeout", 0.4);
    with_copy.server().fault("*", fault());
    let run = with_copy.dbt(["deploy"]);
    run.prints("deploy 1.4.0\n").mentions("warning: `[SERVER]/dbt` cannot be used").mentions(words);
    run.mentions("running `deploy` 1.4.0, confirmed [AGE] ago");
    assert_eq!(run.stderr().lines().count(), 1, "{}", run.stderr());

    let without = published();
    without.set("timeout", 0.4);
    without.server().fault("*", fault());
    without.dbt(["deploy"]).exits_with(exits::UNREACHABLE).mentions(words);
    without.nothing_happened();
}

#[test]
fn a_server_that_fails_does_not_stop_a_tool_that_was_verified() {
    for status in [500, 502, 503] {
        is_an_outage(|| Fault::Status(status), &format!("the server failed ({status})"));
    }
}

#[test]
fn a_server_that_is_too_busy_does_not_stop_a_tool_that_was_verified() {
    is_an_outage(|| Fault::Status(429), "too often (429)");
}

#[test]
fn a_server_that_does_not_answer_does_not_stop_a_tool_that_was_verified() {
    is_an_outage(|| Fault::Stall, "no complete answer in time");
}

#[test]
fn a_connection_that_is_reset_does_not_stop_a_tool_that_was_verified() {
    is_an_outage(|| Fault::Reset, "the connection broke");
}

#[test]
fn an_answer_that_is_cut_off_does_not_stop_a_tool_that_was_verified() {
    is_an_outage(|| Fault::CutAfter(10), "ended after 10 of");
}

#[test]
fn the_sign_in_page_of_a_hotel_does_not_stop_a_tool_that_was_verified() {
    is_an_outage(|| Fault::Portal, "");
}

#[test]
fn a_server_that_is_gone_does_not_stop_a_tool_that_was_verified() {
    let world = cached();
    world.server().stop();
    let run = world.dbt(["deploy"]);
    run.prints("deploy 1.4.0\n").mentions("warning: `[SERVER]/dbt` cannot be used");
    run.mentions("cannot connect");
}

#[test]
fn a_server_that_is_gone_is_named_where_nothing_is_cached() {
    let world = published();
    world.server().stop();
    world.dbt(["deploy"]).exits_with(exits::UNREACHABLE).mentions("cannot connect");
    world.nothing_happened();
}

#[test]
fn a_name_that_cannot_be_resolved_is_an_outage() {
    let world = published();
    world.set("truststore", "http://dbt.invalid/dbt/truststore");
    world
        .dbt(["deploy"])
        .exits_with(exits::UNREACHABLE)
        .mentions("`dbt.invalid` cannot be resolved");
    world.nothing_happened();
}

#[test]
fn a_repository_whose_root_is_missing_is_an_outage_and_not_a_missing_tool() {
    is_an_outage(|| Fault::Status(404), "404");
}

#[test]
fn only_an_unreadable_truststore_is_an_outage_too() {
    let world = published();
    world.repository().write("/dbt/truststore", b"nothing of the kind");
    world.dbt(["deploy"]).exits_with(exits::UNREACHABLE).mentions("truststore");
    world.nothing_happened();
}

#[test]
fn a_server_that_wants_a_sign_in_runs_the_copy_and_names_the_way_in() {
    let world = cached();
    world.server().fault("*", Fault::Status(401));
    world.dbt(["deploy"]).prints("deploy 1.4.0\n").mentions("dbt login");
}

#[test]
fn a_server_that_wants_a_sign_in_first_says_so() {
    let world = published();
    world.server().fault("*", Fault::Status(401));
    world.dbt(["deploy"]).exits_with(exits::REFUSED).mentions("sign in");
    world.nothing_happened();
}

#[test]
fn a_server_that_says_no_means_it_with_or_without_a_copy() {
    for world in [cached(), published()] {
        let before = world.tools_started().len();
        world.server().fault("*", Fault::Status(403));
        world.dbt(["deploy"]).exits_with(exits::REFUSED).mentions("(403)");
        assert_eq!(world.tools_started().len(), before);
    }
}

#[test]
fn a_tool_that_is_gone_while_the_repository_answers_is_gone() {
    let world = cached();
    std::fs::remove_dir_all(world.repository().file("/dbt-tools/deploy")).unwrap();
    world.dbt(["deploy"]).exits_with(exits::NOT_FOUND).says(
        "\
error: there is no tool `deploy` in the repository
hint: `dbt -o deploy` runs the cached copy
",
    );
    world.dbt(["-o", "deploy"]).prints("deploy 1.4.0\n").says_nothing();
}

#[test]
fn a_tool_that_never_was_is_not_found() {
    let world = published();
    world.dbt(["unknown"]).exits_with(exits::NOT_FOUND).says(
        "\
error: there is no tool `unknown` in the repository
hint: `dbt catalog list` shows what there is
",
    );
}

#[test]
fn a_version_being_published_leaves_the_newest_complete_one() {
    for strict in [false, true] {
        let world = cached();
        world.set("strict", strict);
        world.repository().publish("deploy", "1.5.0").without_signature().now();
        world.repository().publish("deploy", "1.6.0").without_checksum().now();
        world.dbt(["deploy"]).prints("deploy 1.4.0\n").says_nothing();
    }
}

#[test]
fn a_version_whose_artifact_is_missing_is_not_published() {
    for (with_copy, strict) in [(true, false), (false, false), (true, true), (false, true)] {
        let world = if with_copy { cached() } else { published() };
        world.set("strict", strict);
        world.repository().publish("deploy", "1.5.0").now();
        world.repository().delete(&artifact("deploy", "1.5.0"));
        world.dbt(["deploy"]).prints("deploy 1.4.0\n").says_nothing();
    }
}

#[test]
fn a_tool_with_no_complete_version_is_not_found() {
    let world = pinned();
    world.repository().publish("deploy", "1.5.0").without_signature().now();
    world.dbt(["deploy"]).exits_with(exits::NOT_FOUND);
    world.nothing_happened();
}

#[test]
fn a_bad_signature_on_the_new_version_stops_and_offers_the_copy() {
    let world = cached();
    world.repository().publish("deploy", "1.5.0").signed_by(&MALLORY).now();
    let run = world.dbt(["deploy"]);
    run.exits_with(exits::VERIFICATION_REFUSED)
        .mentions("`dbt -o deploy` runs the newest cached copy");
    assert_eq!(world.tools_started(), ["deploy 1.4.0"]);
    world.dbt(["-o", "deploy"]).prints("deploy 1.4.0\n");
}

#[test]
fn a_failed_server_is_left_alone_for_a_while() {
    let world = cached();
    world.server().fault("*", Fault::Status(500));
    world.dbt(["deploy"]).prints("deploy 1.4.0\n");
    world.server().take_requests();
    world.server().repair();
    world.dbt(["deploy"]).prints("deploy 1.4.0\n");
    assert_eq!(world.server().take_lines(), [""; 0]);
}

#[test]
fn without_a_terminal_an_outage_is_said_once_an_hour() {
    let world = cached();
    world.server().fault("*", Fault::Status(500));
    world.dbt(["deploy"]).prints("deploy 1.4.0\n").mentions("warning:");
    world.dbt(["deploy"]).prints("deploy 1.4.0\n").says_nothing();
}

#[test]
fn a_server_that_recovers_is_believed_again() {
    let world = cached();
    world.server().fault("*", Fault::Status(500));
    world.dbt(["deploy"]).prints("deploy 1.4.0\n");
    world.server().repair();
    world.repository().publish("deploy", "1.5.0").now();
    world.dbt(["update", "deploy"]).exits_with(0);
    world.dbt(["deploy"]).prints("deploy 1.5.0\n").says_nothing();
}

#[test]
fn the_administrator_can_look_up_the_request_that_failed() {
    let world = published();
    let answer = Answer::text(500, "").with("X-Request-Id", "7f3a9c");
    world.server().fault("*", Fault::Answer(answer));
    world.dbt(["deploy"]).exits_with(exits::UNREACHABLE).mentions("7f3a9c");
}

#[test]
fn a_download_that_stalls_is_not_waited_for_for_ever() {
    let world = published();
    world.set("timeout", 0.2);
    world.server().fault(&artifact("deploy", "1.4.0"), Fault::StallAfter(20));
    world.dbt(["deploy"]).exits_with(exits::UNREACHABLE).mentions("less than 1 KiB/s");
    world.nothing_happened();
}

#[test]
fn a_download_that_fails_leaves_the_version_before() {
    let world = cached();
    world.set("timeout", 0.2);
    world.repository().publish("deploy", "1.5.0").now();
    world.server().fault(&artifact("deploy", "1.5.0"), Fault::Status(500));
    world.dbt(["deploy"]).prints("deploy 1.4.0\n").mentions("cannot be used");
}

#[test]
fn offline_nothing_is_an_outage() {
    let world = cached();
    world.server().fault("*", Fault::Status(500));
    world.dbt(["-o", "deploy"]).prints("deploy 1.4.0\n").says_nothing();
    world.dbt(["-o", "other"]).exits_with(exits::UNREACHABLE).mentions("`other` is not cached");
}

#[test]
fn offline_on_a_fresh_machine_says_what_to_do() {
    let world = published();
    world.dbt(["-o", "deploy"]).exits_with(exits::UNREACHABLE).says(
        "\
error: `deploy` is not cached, and this run makes no request: offline
hint: `dbt fetch deploy` downloads it while the server can be reached
",
    );
    assert_eq!(world.server().take_lines(), [""; 0]);
}
