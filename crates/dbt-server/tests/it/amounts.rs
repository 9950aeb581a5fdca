//! How much lies in the tree, and below a path with a quota: known without counting, and true.

use std::collections::BTreeSet;
use std::io::Write as _;

use serde_json::json;

use crate::world::{AUTHORIZED, Place, Reply, Server, WRITABLE, sha256};

const STORED: &str = "reposerver_bytes_stored";

/// What lies below `dbt-tools/x`, at most.
const QUOTA: u64 = 1_000_000;

fn members() -> String {
    format!(
        r#"{WRITABLE}, "listen": {{"metrics": "127.0.0.1:0"}},
        "limits": {{"quotas": [{{"path": "/dbt-tools/x", "bytes": {QUOTA}}}]}}"#
    )
}

/// Starts a server, and waits until it has counted.
fn counted(place: Place) -> Server {
    let server = Server::on(place, &members());
    server.eventually("counted", |server| server.metric(STORED).is_some());
    server
}

/// Returns how many files lie in the tree and in unfinished versions below a path, and their bytes.
fn found(server: &Server, below: &str) -> (u64, u64) {
    let size = |path: String| {
        let metadata = server.root().join(path).symlink_metadata().ok()?;
        metadata.is_file().then_some(metadata.len())
    };
    let published = server.tree().into_iter().filter(|path| path.starts_with(below));
    // All drafts here are of versions of this one tool.
    let drafts = server.drafts().into_iter().map(|path| format!(".reposerver/drafts/{path}"));
    published.chain(drafts).filter_map(size).fold((0, 0), |(files, all), it| (files + 1, all + it))
}

fn are_as_found(server: &Server) -> bool {
    let (files, bytes) = found(server, "");
    server.metric("reposerver_files_stored") == Some(files.to_string())
        && server.metric(STORED) == Some(bytes.to_string())
}

/// Does one thing after another that looks arbitrary and is the same each time.
struct Somebody<'a> {
    server: &'a Server,
    dice: u64,
    /// The artifact that was last sent of each version.
    sent: [Vec<u8>; 4],
    /// What was done with success.
    done: BTreeSet<&'static str>,
}

impl Somebody<'_> {
    fn number(&mut self, below: u64) -> usize {
        self.dice ^= self.dice << 13;
        self.dice ^= self.dice >> 7;
        self.dice ^= self.dice << 17;
        usize::try_from((self.dice >> 16) % below).unwrap()
    }

    fn bytes(&mut self) -> Vec<u8> {
        vec![u8::try_from(self.number(256)).unwrap(); self.number(2000)]
    }

    fn note(&mut self, what: &'static str, reply: &Reply) {
        assert!((200..500).contains(&reply.status), "{what}: {reply:?}");
        if reply.status < 300 {
            self.done.insert(what);
        }
    }

    fn do_something(&mut self) {
        let version = self.number(4);
        let directory = format!("/dbt-tools/x/{version}.0.0/");
        let artifact = format!("{directory}linux/amd64/x");
        let server = self.server;
        match self.number(12) {
            0 => {
                let (path, bytes) = (format!("/dbt/file-{version}"), self.bytes());
                let reply = server.put(&path, &bytes);
                self.note(if reply.status == 200 { "replace" } else { "create" }, &reply);
            }
            1 | 2 => {
                let bytes = self.bytes();
                let reply = server.put(&artifact, &bytes);
                if reply.status < 300 {
                    self.sent[version] = bytes;
                }
                self.note("artifact", &reply);
            }
            3 => {
                let bytes = self.bytes();
                self.note("signature", &server.put(&format!("{artifact}.asc"), &bytes));
            }
            4 | 5 => {
                let sum = sha256(&self.sent[version]);
                let reply = server.put(&format!("{artifact}.sha256"), sum.as_bytes());
                let is_seen = reply.status < 300 && reply.json()["published"] == true;
                self.note(if is_seen { "publish" } else { "checksum" }, &reply);
            }
            6 => {
                let bytes = self.bytes();
                let path = format!("{directory}description.txt");
                self.note("description", &server.put(&path, &bytes));
            }
            7 => self.note("delete a version", &server.delete(&directory)),
            8 => {
                let path = if version == 0 { artifact } else { format!("/dbt/file-{version}") };
                self.note("delete a file", &server.delete(&path));
            }
            9 => self.restore(),
            10 => self.release(version),
            _ => self.send_half(&artifact),
        }
    }

    fn restore(&mut self) {
        let trash = self.server.send("GET", "/-/api/v1/trash", &[AUTHORIZED], b"").json();
        let deleted = trash["deleted"].as_array().unwrap();
        if deleted.is_empty() {
            return;
        }
        let one = &deleted[self.number(deleted.len() as u64)];
        let path = format!("/-/api/v1/trash/{}/restore", one["id"].as_str().unwrap());
        self.note("restore", &self.server.send("POST", &path, &[AUTHORIZED], b""));
    }

    /// Begins a release, and commits it or gives it up with whatever is in it.
    fn release(&mut self, version: usize) {
        let wanted = json!({"tool": "x", "version": format!("{version}.0.0")}).to_string();
        let post = |path: &str, body: &[u8]| {
            self.server.send("POST", &format!("/-/api/v1/releases{path}"), &[AUTHORIZED], body)
        };
        let begun = post("", wanted.as_bytes());
        if begun.status >= 300 {
            return self.note("release", &begun);
        }
        let id = begun.json()["id"].as_str().unwrap().to_owned();
        let committed = post(&format!("/{id}/commit"), b"");
        if committed.status < 300 {
            return self.note("commit", &committed);
        }
        let path = format!("/-/api/v1/releases/{id}");
        self.note("give up", &self.server.send("DELETE", &path, &[AUTHORIZED], b""));
    }

    /// Ends a connection in the midst of an upload.
    fn send_half(&mut self, path: &str) {
        let mut stream = self.server.connect();
        let head = format!(
            "PUT {path} HTTP/1.1\r\nHost: t\r\n{AUTHORIZED}\r\nContent-Length: 1000\r\n\r\nhalf"
        );
        stream.write_all(head.as_bytes()).unwrap();
        self.server.eventually("begun", |server| server.unfinished().len() == 1);
        drop(stream);
        self.server.eventually("given up", |server| server.unfinished().is_empty());
        self.done.insert("give up half-way");
    }
}

#[test]
fn whatever_is_done_what_is_known_is_what_is_there() {
    let server = counted(Place::new());
    let mut somebody = Somebody {
        server: &server,
        dice: 0x9e37_79b9_7f4a_7c15,
        sent: Default::default(),
        done: BTreeSet::new(),
    };
    for number in 0..200 {
        somebody.do_something();
        assert!(are_as_found(&server), "after {number}: {:?}", found(&server, ""));
    }
    let kinds = [
        "artifact",
        "checksum",
        "commit",
        "create",
        "delete a file",
        "delete a version",
        "description",
        "give up",
        "give up half-way",
        "publish",
        "replace",
        "restore",
        "signature",
    ];
    assert_eq!(somebody.done.into_iter().collect::<Vec<_>>(), kinds);

    // Below the path with a quota there is room for what is left, and for no byte more.
    let (_files, there) = found(&server, "dbt-tools/x/");
    let left = usize::try_from(QUOTA - there).unwrap();
    let artifact = "/dbt-tools/x/9.0.0/linux/amd64/x";
    server.put(artifact, &vec![9; left + 1]).is_refused(507, "over-quota");
    assert_eq!(server.put(artifact, &vec![9; left]).status, 201);
    assert!(are_as_found(&server));
    // A later server counts the same.
    let server = counted(server.stop());
    assert!(are_as_found(&server));
    server.put("/dbt-tools/x/8.0.0/linux/amd64/x", b"x").is_refused(507, "over-quota");
}

#[test]
fn an_upload_counts_nothing_and_what_came_by_hand_is_counted_by_the_next_count() {
    let server = counted(Place::new());
    let artifact = |version: u32| format!("/dbt-tools/x/{version}.0.0/linux/amd64/x");
    server.put_on_disk(&artifact(1)[1..], &vec![1; 900_000]);
    assert_eq!(server.put(&artifact(2), &vec![2; 500_000]).status, 201);
    assert_eq!(server.metric(STORED).as_deref(), Some("500000"));
    // Whoever does not want to wait for an hour says so.
    server.command_beside(&["reload"]);
    server.eventually("counted", |server| server.metric(STORED).as_deref() == Some("1400000"));
    server.put(&artifact(3), b"x").is_refused(507, "over-quota");
    // More goes than was counted.
    server.put_on_disk("dbt/by-hand", &[3; 5000]);
    assert_eq!(server.delete("/dbt/by-hand").status, 204);
    assert_eq!(server.delete("/dbt-tools/x/").status, 204);
    server.command_beside(&["reload"]);
    server.eventually("counted", |server| server.metric(STORED).as_deref() == Some("0"));
    assert_eq!(server.put(&artifact(3), b"x").status, 201);
}

#[test]
fn a_quota_that_is_new_holds_from_the_first_upload_on() {
    let server = Server::with(&format!(r#"{WRITABLE}, "listen": {{"metrics": "127.0.0.1:0"}}"#));
    let artifact = |version: u32| format!("/dbt-tools/x/{version}.0.0/linux/amd64/x");
    assert_eq!(server.put(&artifact(1), &vec![1; 600_000]).status, 201);
    // Whether it was counted again by then or not.
    server.reload(&members());
    server.put(&artifact(2), &vec![2; 400_001]).is_refused(507, "over-quota");
    assert_eq!(server.put(&artifact(2), &vec![2; 400_000]).status, 201);
    server.put(&artifact(3), b"x").is_refused(507, "over-quota");
}

#[test]
fn a_quota_of_all_is_for_what_lies_there_and_not_for_the_trash() {
    let server = Server::with(&format!(
        r#"{WRITABLE}, "limits": {{"quotas": [{{"path": "/", "bytes": 1000}}]}}"#
    ));
    assert_eq!(server.put("/dbt/latest", &[1; 600]).status, 201);
    server.put("/dbt/other", &[1; 401]).is_refused(507, "over-quota");
    assert_eq!(server.delete("/dbt/latest").status, 204);
    assert_eq!(server.put("/dbt/other", &[1; 1000]).status, 201);
}
