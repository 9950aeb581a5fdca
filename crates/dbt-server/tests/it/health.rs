//! How the server says that it is, to whoever keeps it running.

use dbt_testkit::invocation::mounts_work;

use crate::world::{AUTHORIZED, Place, Server, WRITABLE};

const WRITES: &str = "/-/readyz?for=write";

#[test]
fn whoever_keeps_a_server_running_needs_no_credential_and_fills_no_log() {
    let server = Server::with(
        r#""authGets": true, "authTypeGet": "static-token", "authOptsGet": {"staticToken": "t"}"#,
    );
    for path in ["/healthz", "/-/livez"] {
        let reply = server.get(path);
        assert_eq!((reply.status, reply.text().as_str()), (200, "ok"), "{path}");
    }
    let reply = server.get("/-/readyz");
    assert_eq!((reply.status, reply.header("cache-control")), (200, Some("no-store")));
    assert_eq!(reply.json()["reads"]["ready"], true);
    assert_eq!(reply.json()["writes"]["reason"], "no-writers");
    assert_eq!(server.get(WRITES).status, 503);
    for query in ["for=wirte", "for=", "for", "for=write&for=read", "x=1&for=WRITE"] {
        server.get(&format!("/-/readyz?{query}")).is_refused(400, "bad-query");
    }
    assert_eq!(server.get("/-/readyz?x=1&before=2").status, 200);
    assert_eq!(server.get("/dbt/latest").status, 401);
    server.eventually("logged", |server| server.log().contains("/dbt/latest"));
    let log = server.log();
    assert!(!log.contains("healthz") && !log.contains("livez") && !log.contains("readyz"), "{log}");
}

#[test]
fn a_full_disk_takes_writes_away_and_no_reads_and_room_gives_them_back() {
    if !mounts_work() {
        return;
    }
    let server = Server::on(Place::new().on_a_disk_of("size=2m"), WRITABLE);
    assert_eq!(server.put("/dbt/latest", b"1.0.0").status, 201);
    server.eventually("ready", |server| server.get(WRITES).status == 200);
    // As much as fits, and then less and less.
    let mut sizes = vec![64 * 1024; 40];
    sizes.extend([16 * 1024; 8].iter().chain(&[4096; 8]));
    for (number, size) in sizes.into_iter().enumerate() {
        server.put(&format!("/dbt/filler-{number}"), &vec![7; size]);
    }
    server.eventually("not ready", |server| server.get(WRITES).status == 503);
    let reply = server.get("/-/readyz");
    assert_eq!(reply.status, 200, "{reply:?}");
    assert_eq!(reply.json()["writes"]["reason"], "disk-full");
    assert_eq!(server.get("/dbt/latest").text(), "1.0.0");
    server.put("/dbt/more", &vec![7; 200_000]).is_refused(507, "out-of-space");
    server.eventually("said", |server| server.log().contains("writes are not taken"));
}

#[test]
fn a_server_that_only_reads_changes_nothing_whoever_asks() {
    let place = Place::new().argument("--read-only");
    place.put_on_disk("dbt/latest", b"1.0.0");
    let server = Server::on(place, WRITABLE);
    let before = server.tree();
    assert_eq!(server.get("/dbt/latest").text(), "1.0.0");
    assert_eq!(server.get("/-/readyz").status, 200);
    let reply = server.get(WRITES);
    assert_eq!((reply.status, &reply.json()["writes"]["reason"]), (503, &"read-only".into()));
    server.put("/dbt/latest", b"2").is_refused(503, "read-only");
    server.put("/dbt-tools/x/1.0.0/linux/amd64/x", b"2").is_refused(503, "read-only");
    server.delete("/dbt/latest").is_refused(503, "read-only");
    let begin = br#"{"tool": "x", "version": "1.0.0"}"#;
    let lines = [AUTHORIZED, "Content-Type: application/json"];
    server.send("POST", "/-/api/v1/releases", &lines, begin).is_refused(503, "read-only");
    server.send("POST", "/-/api/v1/uploads", &lines, b"").is_refused(503, "read-only");
    // Strangers are not told more than ever.
    server.send("PUT", "/dbt/latest", &[], b"2").is_refused(401, "unauthorised");
    assert_eq!(server.tree(), before);
    assert!(!server.root().join(".reposerver").exists());
    // It stays so, whatever the settings say.
    server.configure(&format!(r#"{WRITABLE}, "limits": {{"maxUploads": 2}}"#));
    server.signal(rustix::process::Signal::HUP);
    server.eventually("read again", |server| server.log().contains("are in force"));
    server.put("/dbt/latest", b"2").is_refused(503, "read-only");
}

#[test]
fn a_server_that_only_reads_stands_beside_one_that_writes() {
    let writer = Server::start();
    let place = Place::new().argument("--read-only");
    let mut command = place.bare_command();
    let root = writer.root();
    command.args(["-a", "127.0.0.1", "-p", "0", "-r"]).arg(&root);
    let mut reader = command.spawn().unwrap();
    let mut first = String::new();
    let mut said = std::io::BufReader::new(reader.stderr.take().unwrap());
    std::io::BufRead::read_line(&mut said, &mut first).unwrap();
    reader.kill().unwrap();
    reader.wait().unwrap();
    assert!(first.starts_with("reposerver listening on http://127.0.0.1:"), "{first}");
}

#[test]
fn a_root_that_was_removed_cannot_be_read() {
    let server = Server::start();
    assert_eq!(server.get("/-/readyz").status, 200);
    std::fs::remove_dir_all(server.root()).unwrap();
    server.eventually("not ready", |server| server.get("/-/readyz").status == 503);
    assert_eq!(server.get("/-/readyz").json()["reads"]["reason"], "unreadable");
    assert!(server.log().contains("the directory was removed"), "{}", server.log());
    assert_eq!(server.get("/-/livez").status, 200, "starting it again helps nobody");
}
