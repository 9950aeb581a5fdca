//! What a run costs the server.

use dbt_testkit::people::ALICE;
use dbt_testkit::repository::artifact;
use dbt_testkit::world::World;

use crate::{pinned, world};

fn published(world: World) -> World {
    world.repository().publish("deploy", "1.4.0").now();
    world
}

#[test]
fn a_warm_run_with_nothing_new_costs_four_requests_sent_together() {
    let world = published(pinned());
    world.dbt(["deploy"]).prints("deploy 1.4.0\n");
    world.server().take_requests();
    world.server().answer_only_together(4);
    world.dbt(["deploy"]).prints("deploy 1.4.0\n").says_nothing();
    let checksum = format!("GET {}.sha256", artifact("deploy", "1.4.0"));
    assert_eq!(
        world.server().take_lines(),
        ["GET /dbt-tools/deploy/", &checksum, "GET /dbt/", "GET /dbt/truststore"]
    );
}

#[test]
fn a_warm_run_opens_at_most_four_connections() {
    let world = published(pinned());
    world.dbt(["deploy"]).exits_with(0);
    world.server().take_requests();
    world.dbt(["deploy"]).exits_with(0);
    let mut connections: Vec<usize> =
        world.server().take_requests().iter().map(|received| received.connection).collect();
    connections.sort_unstable();
    connections.dedup();
    assert!(connections.len() <= 4, "{connections:?}");
}

#[test]
fn a_warm_run_without_self_update_costs_three_requests() {
    let world = published(pinned());
    world.set("selfUpdate", "off");
    world.dbt(["deploy"]).exits_with(0);
    world.server().take_requests();
    world.server().answer_only_together(3);
    world.dbt(["deploy"]).exits_with(0).says_nothing();
    assert_eq!(world.server().take_requests().len(), 3);
}

#[test]
fn a_cold_run_costs_six_requests() {
    let world = published(pinned());
    world.dbt(["deploy"]).prints("deploy 1.4.0\n");
    let artifact = format!("GET {}", artifact("deploy", "1.4.0"));
    let mut expected = vec![
        "GET /dbt-tools/deploy/".to_owned(),
        artifact.clone(),
        format!("{artifact}.asc"),
        format!("{artifact}.sha256"),
        "GET /dbt/".to_owned(),
        "GET /dbt/truststore".to_owned(),
    ];
    expected.sort();
    assert_eq!(world.server().take_lines(), expected);
}

#[test]
fn a_cold_run_waits_for_the_server_three_times_at_most() {
    let world = published(pinned());
    // What there is; the companions; the artifact that they name.
    world.server().answer_only_in_rounds(&[3, 2, 1]);
    world.dbt(["deploy"]).prints("deploy 1.4.0\n").says_nothing();
    assert_eq!(world.server().take_requests().len(), 6);
}

#[test]
fn the_first_contact_with_a_manifest_costs_two_more() {
    let world = published(world());
    world.repository().manifest(1).publish(&[&ALICE]);
    world.dbt(["deploy"]).prints("deploy 1.4.0\n");
    let requests = world.server().take_lines();
    assert_eq!(requests.len(), 8, "{requests:?}");
    world.dbt(["deploy"]).prints("deploy 1.4.0\n");
    assert_eq!(world.server().take_requests().len(), 4);
}

#[test]
fn an_update_costs_the_checksum_signature_and_artifact_more() {
    let world = published(pinned());
    world.dbt(["deploy"]).prints("deploy 1.4.0\n");
    world.repository().publish("deploy", "1.5.0").now();
    world.server().take_requests();
    world.dbt(["deploy"]).prints("deploy 1.5.0\n");
    let requests = world.server().take_lines();
    assert!(requests.len() <= 7, "{requests:?}");
    let downloads = [artifact("deploy", "1.4.0"), artifact("deploy", "1.5.0")]
        .map(|path| requests.iter().filter(|line| **line == format!("GET {path}")).count());
    assert_eq!(downloads, [0, 1]);
}

#[test]
fn an_offline_run_costs_none() {
    let world = published(pinned());
    world.dbt(["deploy"]).prints("deploy 1.4.0\n");
    world.server().take_requests();
    world.dbt(["-o", "deploy"]).prints("deploy 1.4.0\n").says_nothing();
    let run = world.invoke(["deploy"]).env("DBT_OFFLINE", "1").run();
    run.prints("deploy 1.4.0\n").says_nothing();
    assert_eq!(world.server().take_lines(), [""; 0]);
}

#[test]
fn within_the_check_interval_a_run_costs_none() {
    let world = published(pinned());
    world.set("updates", "10m");
    world.dbt(["deploy"]).prints("deploy 1.4.0\n");
    world.server().take_requests();
    world.repository().publish("deploy", "1.5.0").now();
    world.dbt(["deploy"]).prints("deploy 1.4.0\n").says_nothing();
    assert_eq!(world.server().take_lines(), [""; 0]);
    world.dbt(["update", "deploy"]).exits_with(0);
    world.dbt(["deploy"]).prints("deploy 1.5.0\n").says_nothing();
}

#[test]
fn with_manual_updates_a_run_costs_none() {
    let world = published(pinned());
    world.set("updates", "manual");
    world.dbt(["deploy"]).prints("deploy 1.4.0\n");
    world.server().take_requests();
    world.dbt(["deploy"]).prints("deploy 1.4.0\n").says_nothing();
    assert_eq!(world.server().take_lines(), [""; 0]);
}

#[test]
fn help_and_version_cost_none() {
    let world = published(pinned());
    for words in [&["--help"][..], &["--version"], &["help", "run"], &[]] {
        world.dbt(words).exits_with(0).says_nothing();
    }
    assert_eq!(world.server().take_lines(), [""; 0]);
}

#[test]
fn an_unchanged_truststore_is_not_sent_again_to_who_names_its_tag() {
    let world = published(pinned());
    world.server().send_etags();
    world.dbt(["deploy"]).exits_with(0);
    world.server().take_requests();
    world.dbt(["deploy"]).prints("deploy 1.4.0\n").says_nothing();
    let requests = world.server().take_requests();
    let truststore = requests.iter().find(|received| received.request.path == "/dbt/truststore");
    assert_eq!(truststore.unwrap().status, 304);
}

#[test]
fn what_decides_about_trust_is_never_asked_for_by_date() {
    let world = published(pinned());
    world.dbt(["deploy"]).exits_with(0);
    world.dbt(["deploy"]).exits_with(0);
    for received in world.server().take_requests() {
        let is_listing = received.request.path.ends_with('/');
        let by_date = received.request.header("if-modified-since").is_some();
        assert!(is_listing || !by_date, "{}", received.line());
    }
}

#[test]
fn no_request_asks_for_html_of_a_tool_or_tells_more_than_the_version() {
    let world = published(pinned());
    world.dbt(["deploy"]).exits_with(0);
    for received in world.server().take_requests() {
        let agent = received.request.header("user-agent").unwrap_or_default();
        assert!(agent.starts_with("dbt/") && !agent.contains(' '), "{agent}");
        assert_eq!(received.request.header("cookie"), None);
        assert_eq!(received.request.header("authorization"), None);
    }
}
