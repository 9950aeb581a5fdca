//! docs/runbook.md: each alert has an entry, and the commands are ones that exist and do what it
//! says.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use clap::Parser as _;
use dbt_server::args::Arguments;

use crate::world::{Place, Server, WRITABLE};

const PAGE: &str = include_str!("../../../../docs/runbook.md");
const ALERTS: &str = include_str!("../../../../deploy/monitoring/alerts.yaml");

/// How the page begins a command of ours, as whom and with which configuration.
const OURS: &str = "runuser -u reposerver -- reposerver -f /etc/reposerver/reposerver.json ";

/// Where the page has backups.
const BACKUPS: &str = "/var/backups/reposerver/";

/// Programs of the system that the page uses.
const OTHERS: [&str; 11] = [
    "systemctl",
    "journalctl",
    "df",
    "dmesg",
    "findmnt",
    "cp",
    "rsync",
    "chown",
    "install",
    "mv",
    "find",
];

fn commands() -> impl Iterator<Item = &'static str> {
    let blocks = PAGE.split("```sh\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    blocks.flat_map(str::lines)
}

/// Returns what stands after the program's name and its configuration, each once, in order.
fn ours() -> Vec<&'static str> {
    let mut seen = BTreeSet::new();
    let ours = commands().filter_map(|command| command.strip_prefix(OURS));
    ours.filter(|words| seen.insert(*words)).collect()
}

/// Returns the words that a shell makes of a line on a day, where these are the backups.
fn words(line: &str, day: &str, backups: &Path) -> Vec<String> {
    let line = line.replace(BACKUPS, &format!("{}/", backups.display()));
    let script = format!(
        "set -e; date() {{ command date -d '{day} 03:00' \"$@\"; }}; printf '%s\\n' {line}"
    );
    let output = Command::new("sh").args(["-c", &script]).output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{line}: {output:?}");
    String::from_utf8(output.stdout).unwrap().lines().map(ToOwned::to_owned).collect()
}

/// Returns them as arguments.
fn borrowed(words: &[String]) -> Vec<&str> {
    words.iter().map(String::as_str).collect()
}

/// Returns the titles of a part of the page.
fn titles(part: &str) -> BTreeSet<&'static str> {
    let text = PAGE.split(&format!("\n## {part}\n")).nth(1).unwrap();
    let text = text.split("\n## ").next().unwrap();
    text.lines().filter_map(|line| line.strip_prefix("### ")).collect()
}

#[test]
fn every_alert_has_an_entry_and_every_entry_an_alert() {
    let mut names = BTreeSet::new();
    for rule in ALERTS.split("- alert: ").skip(1) {
        let name = rule.lines().next().unwrap();
        let link = format!("runbook: docs/runbook.md#{}\n", name.to_lowercase());
        assert!(rule.contains(&link), "{name}");
        names.insert(name);
    }
    assert!(names.len() > 10, "{names:?}");
    assert_eq!(titles("Alerts"), names);
    // Whether somebody is woken is said in both, by one word.
    for rule in ALERTS.split("- alert: ").skip(1) {
        let name = rule.lines().next().unwrap();
        let entry = PAGE.split(&format!("### {name}\n\n")).nth(1).unwrap();
        let severity = rule.split("severity: ").nth(1).unwrap().split(' ').next().unwrap();
        let word = match severity {
            "page" => "*Page.* ",
            "ticket" => "*Ticket.* ",
            other => panic!("{name}: {other}"),
        };
        assert!(entry.starts_with(word), "{name}: {word}");
    }
}

#[test]
fn every_command_is_one_that_exists() {
    let backups = tempfile::tempdir().unwrap();
    std::fs::create_dir(backups.path().join("state-1")).unwrap();
    let mut seen = 0;
    for command in commands() {
        seen += 1;
        if let Some(rest) = command.strip_prefix(OURS) {
            let rest = words(rest, "2026-11-22", backups.path());
            let words = ["reposerver", "-f", "x.json"].into_iter().chain(borrowed(&rest));
            assert!(Arguments::try_parse_from(words).is_ok(), "{command}");
            continue;
        }
        let first = command.split(' ').next().unwrap();
        let is_known = OTHERS.contains(&first)
            || command.starts_with("curl -fsS ")
            || command.starts_with("curl -sS http://127.0.0.1:9999/")
            || command == "reposerver --version";
        assert!(is_known, "{command}");
        if matches!(first, "systemctl" | "journalctl") {
            assert!(command.split(' ').any(|word| word == "reposerver"), "{command}");
        }
    }
    assert!(seen > 30, "{seen}");
}

/// Runs a command of the page on a place without a server.
fn run(place: &Place, words: &[&str]) {
    let output = place.run(WRITABLE, words);
    assert!(output.status.success(), "{words:?}: {output:?}");
}

#[test]
fn the_commands_run_and_put_back_what_was_lost() {
    let backups = tempfile::tempdir().unwrap();
    let backups = backups.path();
    let server = Server::start();
    assert_eq!(server.put("/dbt/latest", b"1.0.0").status, 201);
    let (stopped, beside_it): (Vec<_>, Vec<_>) = ours()
        .into_iter()
        .partition(|line| line.starts_with("restore ") || line.starts_with("state "));
    assert!(stopped.len() == 2 && beside_it.len() >= 7, "{stopped:?} {beside_it:?}");
    for line in &beside_it {
        server.command_beside(&borrowed(&words(line, "2026-11-22", backups)));
    }
    // The next night, by the same line.
    let nightly = beside_it.iter().find(|line| line.starts_with("backup ")).unwrap();
    assert_eq!(server.put("/dbt/between", b"the nights").status, 201);
    server.command_beside(&borrowed(&words(nightly, "2026-11-23", backups)));
    let kept = std::fs::read_dir(backups).unwrap().map(|it| it.unwrap().file_name());
    let kept: BTreeSet<String> = kept.map(|name| name.into_string().unwrap()).collect();
    let expected = ["state-2026-11-22-0300", "state-2026-11-23-0300"];
    assert_eq!(kept, expected.map(ToOwned::to_owned).into());
    for path in commands().filter_map(|it| it.split("http://127.0.0.1:9999").nth(1)) {
        assert_eq!(server.get(path.trim_end_matches('\'')).status, 200, "{path}");
    }

    let mut place = server.stop();
    for line in stopped {
        std::fs::remove_file(place.state().join("state.db")).unwrap();
        let server = Server::on(place, WRITABLE);
        assert_eq!(server.put("/dbt/latest", b"2.0.0").status, 503);
        assert_eq!(server.get("/-/readyz?for=write").json()["writes"]["reason"], "no-state");
        assert_eq!(server.get("/dbt/latest").text(), "1.0.0");
        place = server.stop();
        let words = words(line, "2026-11-24", backups);
        if words[0] == "restore" {
            assert!(words[1].ends_with("/state-2026-11-23-0300"), "not the newest: {words:?}");
        }
        run(&place, &borrowed(&words));
        run(&place, &["audit", "verify"]);
    }
    let server = Server::on(place, WRITABLE);
    assert_eq!(server.put("/dbt/latest", b"2.0.0").status, 200);
}
