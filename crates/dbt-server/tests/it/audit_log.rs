//! The record of the real program: what is in it, that it survives, that it is found when somebody
//! touched it, and that what it cannot keep does not happen.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::process::Output;

use dbt_testkit::invocation::mounts_work;
use serde_json::Value;

use crate::world::{Place, Server, WRITABLE, sha256};

const RULES: &str = r#""authTypePut": "static-token", "tokens": [
      {"name": "root", "sha256": "ROOT"}, {"name": "ci", "sha256": "CI"}],
    "auth": {"roles": {"admin": ["static-token:root"]}},
    "policies": [{"name": "team x", "subjects": ["static-token:ci"], "paths": ["/dbt-tools/x/**"],
      "actions": ["create", "read"]},
      {"name": "lists", "subjects": ["anonymous"], "paths": ["/**"], "actions": ["list"]}]"#;

fn rules() -> String {
    RULES.replace("ROOT", &sha256(b"root-token")).replace("CI", &sha256(b"ci-token"))
}

fn said(output: &Output) -> String {
    let text = [output.stdout.as_slice(), output.stderr.as_slice()].concat();
    String::from_utf8(text).unwrap()
}

/// Returns the records of a running server.
fn records(server: &Server) -> Vec<Value> {
    let lines = server.command_beside(&["audit", "export"]);
    let record = |line: &str| serde_json::from_str::<Value>(line).unwrap()["record"].clone();
    lines.lines().map(record).collect()
}

fn find(records: &[Value], outcome: &str) -> Option<Value> {
    records.iter().find(|record| record["outcome"] == outcome).cloned()
}

fn as_ci(server: &Server, method: &str, path: &str, more: &[&str], body: &[u8]) -> u16 {
    let lines = [&["Authorization: Bearer ci-token"], more].concat();
    server.send(method, path, &lines, body).status
}

#[test]
fn who_did_what_by_which_rule_from_where_is_in_the_record() {
    let server = Server::with(&rules());
    let agent = ["User-Agent: publisher/4.0.0"];
    assert_eq!(as_ci(&server, "PUT", "/dbt-tools/x/latest", &agent, b"1.0.0"), 201);
    assert_eq!(as_ci(&server, "PUT", "/dbt-tools/y/latest", &agent, b"1.0.0"), 403);
    assert_eq!(as_ci(&server, "GET", "/dbt-tools/x/latest", &agent, b""), 200);
    let wrong = ["Authorization: Bearer wrong"];
    assert_eq!(server.send("PUT", "/dbt/latest", &wrong, b"x").status, 401);
    let root = ["Authorization: Bearer root-token"];
    assert_eq!(server.send("PUT", "/dbt-tools/x/latest", &root, b"2.0.0").status, 200);
    server.eventually("recorded", |server| find(&records(server), "read").is_some());
    let records = records(&server);
    let created = find(&records, "created").unwrap();
    let attempt = find(&records, "attempted").unwrap();
    for (name, value) in [
        ("action", "write"),
        ("path", "/dbt-tools/x/latest"),
        ("subject", "static-token:ci"),
        ("subjectType", "agent"),
        ("method", "static-token"),
        ("token", "ci"),
        ("rule", "team x"),
        ("peer", "127.0.0.1"),
        ("userAgent", "publisher/4.0.0"),
        ("sha256", &sha256(b"1.0.0")),
    ] {
        assert_eq!(created[name], value, "{name}: {created}");
    }
    assert_eq!((&created["status"], &created["size"]), (&201.into(), &5.into()));
    assert_eq!(created["attempt"], attempt["seq"]);
    assert_eq!(created["request"].as_str().unwrap().len(), 26);
    let replaced = find(&records, "replaced").unwrap();
    assert_eq!(replaced["before"], sha256(b"1.0.0"));
    assert_eq!(replaced["roles"], serde_json::json!(["admin"]));
    let read = find(&records, "read").unwrap();
    assert_eq!((&read["sha256"], &read["status"]), (&sha256(b"1.0.0").into(), &200.into()));
    let refused: Vec<&Value> = records.iter().filter(|it| it["outcome"] == "refused").collect();
    assert_eq!(refused.len(), 2, "{refused:?}");
    assert!(refused.iter().any(|it| it["subject"] == "static-token:ci" && it["status"] == 403));
    assert!(refused.iter().any(|it| it["subject"].is_null() && it["status"] == 401));
    for text in ["ci-token", "root-token", "wrong"] {
        assert!(!server.command_beside(&["audit", "export"]).contains(text), "{text}");
    }
}

#[test]
fn strangers_are_counted_and_never_one_record_each() {
    let server = Server::with(&rules());
    for _attempt in 0..200 {
        assert_eq!(server.send("PUT", "/dbt/latest", &[], b"x").status, 401);
    }
    for _attempt in 0..100 {
        let wrong = ["Authorization: Bearer wrong"];
        assert_eq!(server.send("PUT", "/dbt/latest", &wrong, b"x").status, 401);
    }
    let place = server.stop();
    let lines = said(&place.run(&rules(), &["audit", "export"]));
    let counted: Vec<&str> = lines.lines().filter(|line| line.contains("\"count\"")).collect();
    assert!(counted.iter().any(|line| line.contains("127.0.0.0/24")), "{counted:?}");
    let sum = |effect: &str| -> u64 {
        let of = |line: &&&str| line.contains(effect);
        let count = |line: &&str| {
            serde_json::from_str::<Value>(line).unwrap()["record"]["count"].as_u64().unwrap()
        };
        counted.iter().filter(of).map(count).sum()
    };
    assert_eq!(sum("refused without a credential"), 200);
    let single = lines.lines().filter(|line| line.contains("\"status\":401")).count() as u64;
    assert_eq!(single + sum("further failed sign-ins"), 100, "none is forgotten");
    // A minute may have passed meanwhile, but not many.
    assert!(counted.len() <= 8, "{counted:?}");
}

#[test]
fn the_record_verifies_after_a_kill_and_each_success_is_in_it() {
    let mut server = Server::start();
    let mut published = Vec::new();
    for round in 0..3 {
        for number in 0..5 {
            let path = format!("/dbt/file-{round}-{number}");
            assert_eq!(server.put(&path, b"x").status, 201);
            published.push(path);
        }
        server = Server::on(server.kill(), WRITABLE);
    }
    let text = server.command_beside(&["audit", "verify"]);
    assert!(text.contains(": as they were written") && text.contains("unanchored"), "{text}");
    let created: Vec<Value> =
        records(&server).into_iter().filter(|it| it["outcome"] == "created").collect();
    for path in &published {
        assert!(created.iter().any(|it| it["path"] == path.as_str()), "{path}");
    }
    let tail = server.command_beside(&["audit", "tail", "-n", "2"]);
    assert_eq!(tail.lines().count(), 2, "{tail}");
    assert!(tail.ends_with("start  -  started  version 4.0.0\n"), "{tail}");
    let json = server.command_beside(&["audit", "tail", "-n", "1", "--json"]);
    assert_eq!(serde_json::from_str::<Value>(&json).unwrap()["record"]["action"], "start");
}

#[test]
fn a_record_that_somebody_touched_does_not_verify() {
    let server = Server::start();
    assert_eq!(server.put("/dbt/latest", b"1.0.0").status, 201);
    let place = server.stop();
    let file = place.state().join("state.db");
    let bytes = fs::read(&file).unwrap();
    // One letter, of the same length, in the bytes of the file.
    let needle = b"/dbt/latest\",\"peer";
    let at = bytes.windows(needle.len()).position(|window| window == needle);
    let at = at.unwrap_or_else(|| {
        let needle = b"/dbt/latest";
        bytes.windows(needle.len()).position(|window| window == needle).unwrap()
    });
    let mut touched = bytes;
    touched[at + 5] = b'L';
    fs::write(&file, touched).unwrap();
    let output = place.run(WRITABLE, &["audit", "verify"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(said(&output).contains("it was changed"), "{}", said(&output));
    let output = place.run(WRITABLE, &["audit", "verify", "--json"]);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&report["holds"], output.status.code()), (&false.into(), Some(1)));
    assert!(report["findings"][0]["first"].as_u64().unwrap() > 2, "{report}");
}

/// Takes one request and returns its body.
fn receive(listener: &TcpListener) -> String {
    let (mut stream, _peer) = listener.accept().unwrap();
    let mut text = String::new();
    let mut buffer = [0; 4096];
    loop {
        let count = stream.read(&mut buffer).unwrap();
        text.push_str(std::str::from_utf8(&buffer[..count]).unwrap());
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.to_lowercase();
        let length = length.split("content-length: ").nth(1).unwrap();
        let length: usize = length.lines().next().unwrap().parse().unwrap();
        if body.len() >= length {
            stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").unwrap();
            return body.to_owned();
        }
    }
}

#[test]
fn checkpoints_leave_the_machine_and_anchor_the_record() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/checkpoints", listener.local_addr().unwrap());
    let (sender, notes) = std::sync::mpsc::channel();
    std::thread::spawn(move || while sender.send(receive(&listener)).is_ok() {});
    let members = format!(r#"{WRITABLE}, "audit": {{"anchorUrl": "{url}"}}"#);
    let server = Server::with(&members);
    let first = notes.recv_timeout(std::time::Duration::from_secs(10)).unwrap();
    assert!(first.starts_with("audit/"), "{first}");
    let key = server.command_beside(&["audit", "key"]);
    assert!(key.starts_with("audit/"), "{key}");
    assert_eq!(server.put("/dbt/latest", b"1.0.0").status, 201);
    server.eventually("in the log", |server| server.log().contains("audit.checkpoint"));
    let place = server.stop();
    let last = notes.recv_timeout(std::time::Duration::from_secs(10)).unwrap();
    place.put_beside("checkpoint", last.as_bytes());
    let verify = |key: &str| {
        let words = ["audit", "verify", "--checkpoint", "checkpoint", "--key", key];
        place.run(&members, &words)
    };
    let text = said(&verify(key.trim()));
    assert!(text.contains("anchored: the checkpoint from outside agrees"), "{text}");

    // Whoever has the machine begins anew, with a key of their own.
    fs::remove_dir_all(place.state()).unwrap();
    fs::remove_file(place.root().join(".reposerver/state-id")).unwrap();
    let server = Server::on(place, WRITABLE);
    assert_eq!(server.put("/dbt/latest", b"1.0.0").status, 200);
    let place = server.stop();
    let output = place.run(WRITABLE, &["audit", "verify", "--checkpoint", "checkpoint"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(said(&output).contains("another key was put in its place"), "{}", said(&output));
    assert!(said(&output).contains("unanchored"), "{}", said(&output));
}

#[test]
fn what_is_done_on_the_machine_is_recorded_too() {
    let server = Server::start();
    assert_eq!(server.put("/dbt/latest", b"1.0.0").status, 201);
    assert_eq!(server.delete("/dbt/latest").status, 204);
    let list = server.command_beside(&["trash", "list", "--json"]);
    let list: Value = serde_json::from_str(&list).unwrap();
    let id = list["deleted"][0]["id"].as_str().unwrap();
    server.command_beside(&["trash", "restore", id]);
    server.command_beside(&["trash", "forget", "/dbt"]);
    let output = server.try_command_beside(&["trash", "restore", id]);
    assert!(!output.status.success());
    let records = records(&server);
    let restored = find(&records, "restored").unwrap();
    assert!(restored["subject"].as_str().unwrap().starts_with("host:"), "{restored}");
    assert_eq!(
        (&restored["path"], &restored["subjectType"]),
        (&"/dbt/latest".into(), &"host".into())
    );
    assert!(find(&records, "forgotten").is_some());
    assert!(find(&records, "failed").is_some());
    assert!(server.command_beside(&["audit", "verify"]).contains(": as they were written"));
}

#[test]
fn where_the_disk_of_the_state_is_full_reading_goes_on_and_writing_says_why() {
    if !mounts_work() || std::path::Path::new("/var/lib/reposerver").exists() {
        return;
    }
    // The state lies below the root then, on the same small disk.
    let place = Place::new().on_a_disk_of("size=3m").variable("STATE_DIRECTORY", "");
    let server = Server::on(place, WRITABLE);
    assert_eq!(server.put("/dbt/latest", b"1.0.0").status, 201);
    let mut size = 1 << 20;
    let mut number = 0;
    // Fills what is left, first with large files and then with small ones.
    while size >= 4096 && number < 2000 {
        number += 1;
        let reply = server.put(&format!("/dbt/filler-{number}"), &vec![7; size]);
        if reply.status != 201 {
            reply.is_refused(507, "out-of-space");
            size /= 2;
        }
    }
    assert!(number < 2000, "the disk is never full");
    for _attempt in 0..200 {
        let reply = server.put("/dbt/one-more", &vec![7; 65536]);
        assert!(reply.status == 507, "{reply:?}");
        assert_eq!(server.get("/dbt/latest").text(), "1.0.0");
    }
    assert!(server.log().contains("the space kept free for the record is given up"));
}

#[test]
fn what_comes_is_shown_while_it_comes() {
    use std::io::BufRead as _;

    let server = Server::start();
    let mut process = std::process::Command::new(env!("CARGO_BIN_EXE_reposerver"))
        .args(["audit", "tail", "-n", "0", "--follow", "--state"])
        .arg(server.state())
        .env_clear()
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = std::io::BufReader::new(process.stdout.take().unwrap()).lines();
    // Whatever it begins with, each of these comes.
    let path = |number: usize| format!("/dbt/file-{number}");
    server.eventually("it looks", |server| {
        server.put(&path(0), b"x");
        fs::read_dir(format!("/proc/{}/fd", process.id())).is_ok_and(|it| it.count() > 3)
    });
    assert_eq!(server.put(&path(1), b"x").status, 201);
    let shown = lines.find(|line| line.as_ref().unwrap().contains("/dbt/file-1  created  201"));
    process.kill().unwrap();
    process.wait().unwrap();
    assert!(shown.is_some());
}
