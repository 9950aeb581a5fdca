//! `docs/audit.md`: its commands run as they stand there, and say what it shows.

use std::process::{Command, Stdio};

use crate::world::{Place, Server, sha256};

const PAGE: &str = include_str!("../../../../docs/audit.md");

/// Returns the commands of the page, each with what it shows of their answer.
fn commands() -> Vec<(String, Vec<String>)> {
    let mut commands: Vec<(String, Vec<String>)> = Vec::new();
    for block in PAGE.split("```console\n").skip(1) {
        for line in block.split("```").next().unwrap().lines() {
            if let Some(command) = line.strip_prefix("$ ") {
                commands.push((command.to_owned(), Vec::new()));
            } else {
                commands.last_mut().unwrap().1.push(line.to_owned());
            }
        }
    }
    commands
}

/// Leaves out what differs: numbers, times and digests.
fn shape(line: &str) -> String {
    let mut words = Vec::new();
    for word in line.split(' ') {
        let is_number =
            !word.is_empty() && word.trim_end_matches(':').bytes().all(|it| it.is_ascii_digit());
        let is_time = word.len() > 18 && word.contains('-') && word.ends_with('Z');
        let is_digest = word.len() == 64 || word.ends_with('…');
        words.push(if is_number {
            "N"
        } else if is_time {
            "T"
        } else if is_digest {
            "H"
        } else {
            word
        });
    }
    words.join(" ")
}

#[test]
fn the_commands_of_the_page_run_and_say_what_it_shows() {
    let place = Place::new();
    let members = format!(
        r#""authTypePut": "static-token", "tokens": [{{"name": "ci", "sha256": "{}"}}],
        "policies": [{{"name": "ci publishes", "subjects": ["static-token:ci"], "paths": ["/**"],
          "actions": ["create"]}}]"#,
        sha256(b"open-sesame")
    );
    let server = Server::on(place, &members);
    assert_eq!(server.put("/dbt/latest", b"foo").status, 201);
    server.eventually("signed", |server| server.log().contains("audit.checkpoint"));
    let log = server.log();
    let line = log.lines().rfind(|line| line.contains("audit.checkpoint")).unwrap();
    let beside = server.outside().to_owned();
    std::fs::write(beside.join("last.txt"), line).unwrap();
    std::fs::write(beside.join("key.txt"), server.command_beside(&["audit", "key"])).unwrap();
    std::fs::copy(beside.join("config.json"), beside.join("reposerver.json")).unwrap();
    let state = server.state();
    let mut server = Some(server);
    let mut place = None;
    let mut seen = 0;
    for (command, shown) in commands() {
        if command.starts_with("rsync") {
            continue;
        }
        if command.contains(" restore ") {
            place = server.take().map(Server::stop);
        }
        let program = std::path::Path::new(env!("CARGO_BIN_EXE_reposerver")).parent().unwrap();
        let path = format!("{}:/usr/bin:/bin", program.display());
        let (line, needs_jq) = match command.split_once(" | jq") {
            Some((line, _filter)) => (line.to_owned(), true),
            None => (command.clone(), false),
        };
        let line = line.replace("/backup/", &format!("{}/", beside.display()));
        let output = Command::new("sh")
            .args(["-c", &line])
            .current_dir(&beside)
            .env_clear()
            .env("PATH", path)
            .env("STATE_DIRECTORY", &state)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{command}: {text} {:?}", output.stderr);
        seen += 1;
        if needs_jq {
            assert!(shown.iter().all(|line| text.contains(line.as_str())), "{command}: {text}");
        } else if !shown.is_empty() {
            let said: Vec<String> = text.lines().map(shape).collect();
            let shown: Vec<String> = shown.iter().map(|line| shape(line)).collect();
            assert_eq!(said, shown, "{command}");
        }
    }
    assert!(seen >= 7 && place.is_some(), "{seen}");
}
