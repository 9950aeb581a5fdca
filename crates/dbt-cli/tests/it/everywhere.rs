//! The same suite for every way to read a repository: what a client does is decided once, whatever it
//! reads from.
//!
//! The suite itself is run again by this very program, in worlds whose client reads a directory or a
//! bucket. What is about web servers is left out: their requests, their faults, their sign-in.

use std::process::Command;

use dbt_testkit::bucket_server::{Asked, BUCKET, KEY, refusal};
use dbt_testkit::exits;
use dbt_testkit::repository::artifact;
use dbt_testkit::world::Reading;

use crate::pinned;

/// What is about a client and not about how it reads.
const SUITE: [&str; 8] = [
    "candidates::",
    "copies::",
    "interrupted::",
    "manifest::",
    "run::",
    "tamper::",
    "truststore::",
    "versions::",
];

/// What of it is about web servers: what they are asked, their faults, redirects and pages, what they
/// do not list, and the secrets that they are shown.
const ABOUT_SERVERS: [&str; 21] = [
    "a_candidate_that_comes_slowly_holds_up_one_run_for_a_limited_time",
    "what_a_candidate_leaves_running_is_not_waited_for",
    "a_damaged_newest_copy_does_not_hide_a_good_older_one",
    "a_server_that_is_busy_for_a_while_is_not_waited_for_where_a_copy_can_run",
    "a_run_that_downloads_without_end_keeps_no_other_from_its_copy",
    "who_has_no_copy_is_told_that_another_run_downloads",
    "hostile::",
    "a_command_that_prints_a_password_sees_no_other_secret_of_ours",
    "a_variable_in_which_a_secret_of_the_server_stands_reaches_neither_tools_nor_commands",
    "the_tool_sees_where_it_came_from_and_no_value_from_before",
    "a_listing_of_a_million_names_is_refused_or_read_and_ends",
    "a_page_instead_of_an_artifact_never_runs",
    "a_page_or_an_endless_answer_instead_of_a_checksum_is_no_checksum",
    "a_truststore_that_moved_to_another_server_is_not_fetched_there",
    "an_answer_that_is_no_whole_artifact_never_runs",
    "an_endless_artifact_is_cut_off_by_what_is_signed_or_by_the_disk_and_never_runs",
    "redirects_in_a_circle_or_to_places_that_are_no_server_end",
    "a_blocked_truststore_installs_nothing_new_and_tools_run",
    "an_endless_truststore_is_read_no_further_than_its_limit",
    "a_named_version_that_the_listing_hides_is_asked_for_by_its_path",
    "with_updates_afterwards_the_copy_starts_at_once_and_the_next_run_is_newer",
];

/// A key of AWS in the environment is the user's own, and tools get it; the test looks at everything
/// that a tool gets.
const WITH_A_KEY: &str = "credentials_and_our_own_variables_never_reach_a_tool";

/// Runs the suite, and expects that so many tests of it passed.
#[track_caller]
fn check(reading: Reading, at_least: usize) {
    let program = std::env::current_exe().unwrap();
    let skipped = ABOUT_SERVERS.into_iter().chain([WITH_A_KEY]);
    let output = Command::new(program)
        .env(Reading::VARIABLE, reading.name())
        .args(SUITE)
        .args(skipped.flat_map(|test| ["--skip", test]))
        .output()
        .unwrap();
    let words = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{}:\n{words}", reading.name());
    let passed = words.lines().filter(|line| line.ends_with(" ... ok")).count();
    assert!(passed >= at_least, "{passed} passed:\n{words}");
}

#[test]
fn a_directory_is_a_repository_like_any_other() {
    check(Reading::Directory, 90);
}

#[test]
fn a_bucket_is_a_repository_like_any_other() {
    check(Reading::Bucket, 90);
}

#[test]
fn a_warm_run_asks_a_bucket_for_no_more_than_a_server_and_all_at_once() {
    let world = pinned();
    world.read_by(Reading::Bucket);
    world.repository().publish("deploy", "1.4.0").now();
    world.dbt(["deploy"]).prints("deploy 1.4.0\n").says_nothing();
    world.bucket().take_requests();
    world.dbt(["deploy"]).prints("deploy 1.4.0\n").says_nothing();
    let asked = world.bucket().take_requests();
    let mut lines: Vec<String> = asked.iter().map(Asked::line).collect();
    lines.sort();
    let list = |prefix: &str| {
        format!("GET /{BUCKET}/?delimiter=%2F&encoding-type=url&list-type=2&prefix={prefix}")
    };
    assert_eq!(
        lines,
        [
            list("dbt%2F"),
            list("dbt-tools%2Fdeploy%2F"),
            format!("GET /{BUCKET}{}.sha256", artifact("deploy", "1.4.0")),
            format!("GET /{BUCKET}/dbt/truststore"),
        ]
    );
    assert!(asked.iter().all(|asked| asked.key.as_deref() == Some(KEY.0)), "{asked:?}");
    let truststore = asked.iter().find(|asked| asked.request.path.ends_with("/truststore"));
    assert_eq!(truststore.unwrap().status, 304);
    // What is in the environment is kept nowhere.
    assert!(!world.home_files().iter().any(|file| file.ends_with("aws-credentials.json")));
}

#[test]
fn without_leave_the_error_says_whose_and_with_a_copy_it_follows_the_rule_of_outages() {
    let world = pinned();
    world.read_by(Reading::Bucket);
    world.repository().publish("deploy", "1.4.0").now();
    world.bucket().deny("GetObject");
    world.bucket().deny("ListBucket");
    world.dbt(["deploy"]).exits_with(exits::REFUSED).mentions("has no permission `s3:");
    world.nothing_happened();
    let nobody = world
        .invoke(["deploy"])
        .env("AWS_ACCESS_KEY_ID", "")
        .env("AWS_EC2_METADATA_DISABLED", "true");
    nobody.run().exits_with(exits::REFUSED).mentions("no AWS credentials were found");
    world.nothing_happened();
}

#[test]
fn a_bucket_that_cannot_be_reached_is_an_outage_like_any_other() {
    let world = pinned();
    world.read_by(Reading::Bucket);
    world.repository().publish("deploy", "1.4.0").now();
    world.dbt(["deploy"]).prints("deploy 1.4.0\n").says_nothing();
    let busy = (0..40).map(|_| refusal(503, "SlowDown"));
    world.bucket().answer_next(busy);
    world.dbt(["deploy"]).prints("deploy 1.4.0\n").mentions("running `deploy` 1.4.0");
}

#[test]
fn the_catalog_of_a_bucket_is_listed() {
    let world = pinned();
    world.read_by(Reading::Bucket);
    for number in 0..12 {
        world.repository().publish(&format!("tool-{number}"), "1.0.0").now();
    }
    world.bucket().list_in_pages_of(5);
    let run = world.dbt(["catalog", "list", "--json"]);
    run.exits_with(0);
    assert_eq!(run.stdout().matches("\"tool-").count(), 12);
}

#[test]
fn doctor_says_what_is_wrong_with_a_bucket() {
    let world = pinned();
    world.read_by(Reading::Bucket);
    world.repository().publish("deploy", "1.4.0").now();
    let said = || {
        let words = world.dbt(["doctor"]).stdout();
        words.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    assert!(said().contains("it lists 1 tool"), "{}", said());
    world.bucket().expire(KEY.0);
    let words = said();
    assert!(words.contains("the store does not accept the AWS key `AKACMEREADER`"), "{words}");
    assert!(words.contains("`aws sts get-caller-identity`"), "{words}");
}
