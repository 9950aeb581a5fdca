//! The order to stop: nobody is cut off, and whoever sends connections here learns of it first.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use rustix::process::{Pid, Signal, kill_process};

use dbt_testkit::invocation::mounts_work;

use crate::world::{AUTHORIZED, Place, Reply, Server, WRITABLE};

#[test]
fn a_server_that_was_told_to_stop_says_so_and_still_takes_connections_for_a_while() {
    // Longer than any test; the second signal ends it.
    let mut server = Server::with(&format!(r#"{WRITABLE}, "drainDelay": 600"#));
    assert_eq!(server.get("/-/readyz").status, 200);
    server.signal(Signal::TERM);
    server.eventually("not ready", |server| server.get("/-/readyz").status == 503);
    assert_eq!(server.get("/-/readyz").json()["reads"]["reason"], "stopping");
    assert_eq!(server.get("/-/livez").status, 200);
    assert_eq!(server.put("/dbt/latest", b"1.0.0").status, 201);
    assert_eq!(server.get("/dbt/latest").text(), "1.0.0");

    let mut upload = server.connect();
    let head =
        format!("PUT /dbt/next HTTP/1.1\r\nHost: t\r\n{AUTHORIZED}\r\nContent-Length: 5\r\n\r\n2.");
    upload.write_all(head.as_bytes()).unwrap();
    server.eventually("begun", |server| server.unfinished().len() == 1);
    server.signal(Signal::TERM);
    server.eventually("closed", |server| TcpStream::connect(server.address).is_err());
    upload.write_all(b"0.0").unwrap();
    let reply = Reply::read(&mut upload, false);
    assert_eq!((reply.status, reply.header("connection")), (201, Some("close")));
    assert!(server.wait().success());
    assert_eq!(std::fs::read(server.root().join("dbt/next")).unwrap(), b"2.0.0");
    assert!(!server.state().join("admin.sock").exists());
}

#[test]
fn the_wait_ends_by_itself_and_nobody_waits_for_who_stops_it_by_hand() {
    for (signal, delay) in [(Signal::TERM, 1), (Signal::INT, 600)] {
        let mut server = Server::with(&format!(r#"{WRITABLE}, "drainDelay": {delay}"#));
        assert_eq!(server.put("/dbt/latest", b"1.0.0").status, 201);
        server.signal(signal);
        assert!(server.wait().success(), "{signal:?}");
    }
}

#[test]
fn the_first_process_of_a_container_obeys_too() {
    if !mounts_work() {
        return;
    }
    let mut server = Server::on(Place::new().being_the_first_process(), WRITABLE);
    assert_eq!(server.put("/dbt/latest", b"1.0.0").status, 201);
    let outside = server.process.id();
    let children = format!("/proc/{outside}/task/{outside}/children");
    let children = std::fs::read_to_string(children).unwrap();
    let first = Pid::from_raw(children.trim().parse().unwrap()).unwrap();
    kill_process(first, Signal::HUP).unwrap();
    server.eventually("read again", |server| server.log().contains("are in force"));
    kill_process(first, Signal::TERM).unwrap();
    assert!(server.wait().success());
    assert!(server.log().contains("stopping"));
}

#[test]
fn what_does_not_end_in_time_is_cut_off_and_leaves_nothing() {
    let mut server = Server::with(&format!(r#"{WRITABLE}, "shutdownGrace": 1"#));
    let mut upload = server.connect();
    let head =
        format!("PUT /dbt/next HTTP/1.1\r\nHost: t\r\n{AUTHORIZED}\r\nContent-Length: 5\r\n\r\n2.");
    upload.write_all(head.as_bytes()).unwrap();
    server.eventually("begun", |server| server.unfinished().len() == 1);
    server.signal(Signal::TERM);
    assert!(server.wait().success());
    assert_eq!(Reply::read(&mut upload, false).status, 0);
    let server = Server::on(server.kill(), WRITABLE);
    assert_eq!((server.tree(), server.unfinished()), (Vec::new(), Vec::new()));
}

#[test]
fn a_download_under_way_is_sent_to_its_end() {
    let mut server = Server::start();
    // More than the system's buffers hold, so that the server still has some of it.
    let bytes = vec![7; 32 * 1024 * 1024];
    server.put_on_disk("dbt/large", &bytes);
    let mut download = server.connect();
    download.write_all(b"GET /dbt/large HTTP/1.1\r\nHost: t\r\n\r\n").unwrap();
    let mut first = [0; 12];
    download.read_exact(&mut first).unwrap();
    assert_eq!(&first, b"HTTP/1.1 200");
    server.signal(Signal::TERM);
    server.eventually("closed", |server| TcpStream::connect(server.address).is_err());
    let mut rest = Vec::new();
    download.read_to_end(&mut rest).unwrap();
    assert!(rest.ends_with(&bytes), "{} bytes", rest.len());
    assert!(server.wait().success());
}
