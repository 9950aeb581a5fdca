//! The outage rule: what a server can do, with a verified copy and without, offline and with a
//! version named. What the tables here assert is what `docs/outages.md` tells.

mod back_off;
mod matrix;
mod page;
mod part;
mod stuck;
mod trouble;

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use dbt_testkit::exits;
use dbt_testkit::http::Answer;
use dbt_testkit::people::{ALICE, MALLORY};
use dbt_testkit::repository::artifact;
use dbt_testkit::server::Fault;
use dbt_testkit::world::World;
use serde_json::json;

use crate::published;

/// A world with `deploy` 1.4.0 in the repository and in the cache.
fn cached() -> World {
    let world = published();
    world.dbt(["deploy"]).prints("deploy 1.4.0\n").says_nothing();
    world
}

/// Writes another world's server into this world's configuration, as `other`.
fn add_other(world: &World, other: &World) {
    let mut entry = other.server_entry();
    entry["trust"] = json!({ "tools": [ALICE.fingerprint().to_string()] });
    world.configure(|config| config["servers"]["other"] = entry);
}

/// How many cells of a table are tried at once: nearly all of their time is waiting.
const AT_ONCE: usize = 8;

/// How long a run may take for everything but waiting, on a machine with much to do.
const ALLOWANCE: Duration = Duration::from_secs(5);

/// Tries the cells of a table in several threads; returns what was wrong.
fn at_once<C: Sync>(
    cells: &[C],
    try_cell: impl Fn(&C) -> Result<(), String> + Sync,
) -> Vec<String> {
    let next = AtomicUsize::new(0);
    let wrong = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _worker in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some(cell) = cells.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if let Err(words) = try_cell(cell) {
                        wrong.lock().unwrap().push(words);
                    }
                }
            });
        }
    });
    wrong.into_inner().unwrap()
}

/// What is wrong with a cell.
enum Wrong {
    /// It took too long, and everything else was right; or it came to something else because it
    /// took too long.
    Late(String),
    Otherwise(String),
}

/// What is said where a limit of time was reached.
const LIMITS: [&str; 4] = [
    "there was no complete answer in time",
    "there was no connection within",
    "less than 1 KiB/s came for",
    "it did not finish within",
];

/// Says whether words may differ because a limit of time was reached: it is named, or nothing is
/// said of what could not be found out in time.
fn is_late(expected: &str, said: &str) -> bool {
    let is_named = |limit: &&str| said.contains(*limit) && !expected.contains(*limit);
    LIMITS.iter().any(is_named) || (said.is_empty() && !expected.is_empty())
}

/// Says whether words are as expected, where `…` stands for what only the system knows. Which
/// document failed first is left open: they are asked for together.
fn is_said(expected: &str, said: &str) -> bool {
    let said = &without_documents(said);
    let mut parts = expected.split('…');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = said.strip_prefix(first) else { return false };
    let mut parts: Vec<&str> = parts.collect();
    let Some(last) = parts.pop() else { return rest.is_empty() };
    for part in parts {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

/// Leaves out which document a reason is about, where it stands before the reason, and puts the
/// general hint in the place of one that knows more.
fn without_documents(said: &str) -> String {
    let mut words = said.to_owned();
    for knows_more in [
        "if your organisation, or its proxy, has a certificate authority of its own, name its file as `caFile` of the server in the configuration, or in `SSL_CERT_FILE`",
        "does this network want you to sign in first?",
        "if `https://login.example.com` is right, write it into the configuration",
    ] {
        let general = "`dbt doctor` checks the connection and the configuration";
        words = words.replace(&format!("\nhint: {knows_more}\n"), &format!("\nhint: {general}\n"));
    }
    for doing in
        ["(failed to read `", "(failed to list `", ": failed to read `", ": failed to list `"]
    {
        while let Some(at) = words.find(doing) {
            let start = at + doing.len() - doing.trim_start_matches(['(', ':', ' ']).len();
            let Some(end) = words[start..].find("`: ") else { break };
            words.replace_range(start..start + end + 3, "");
        }
    }
    words
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
fn a_version_that_was_named_is_named_in_what_can_be_done() {
    let world = cached();
    world.dbt(["-o", "deploy@1.3.0"]).exits_with(exits::UNREACHABLE).says(
        "\
error: `deploy` 1.3.0 is not cached, and this run makes no request: offline
hint: `dbt fetch deploy@1.3.0` downloads it while the server can be reached
",
    );
    std::fs::remove_dir_all(world.repository().file("/dbt-tools/deploy")).unwrap();
    world.dbt(["deploy@1.4.0"]).exits_with(exits::NOT_FOUND).says(
        "\
error: there is no tool `deploy` in the repository
hint: `dbt -o deploy@1.4.0` runs the cached copy
",
    );
    assert_eq!(world.tools_started(), ["deploy 1.4.0"]);
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
fn offline_on_a_fresh_machine_no_request_is_made() {
    let world = published();
    world.dbt(["-o", "deploy"]).exits_with(exits::UNREACHABLE);
    assert_eq!(world.server().take_lines(), [""; 0]);
    world.nothing_happened();
}
