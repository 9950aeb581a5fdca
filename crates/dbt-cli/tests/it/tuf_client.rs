//! The client of signed metadata as a program: its command line, what it asks a server for, and what
//! it leaves on disk.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use dbt_core::clock::Clock;
use dbt_core::digest::Digest;
use dbt_testkit::server::{FileServer, Received};
use dbt_testkit::tuf::TufRepository;
use tempfile::TempDir;

struct Machine {
    repository: TufRepository,
    server: FileServer,
    place: TempDir,
}

impl Machine {
    /// A repository with the targets `file` and `path/to/file`, and a client that trusts its root.
    fn new() -> Self {
        let place = tempfile::tempdir().unwrap();
        let mut repository = TufRepository::at(Clock::System.now());
        repository.add("targets", "file", b"one");
        repository.add("targets", "path/to/file", b"two");
        repository.release();
        let served = place.path().join("served");
        fs::create_dir(&served).unwrap();
        let machine = Self { repository, server: FileServer::start(&served), place };
        machine.serve();
        machine.init();
        machine
    }

    fn at(&self, name: &str) -> PathBuf {
        self.place.path().join(name)
    }

    fn serve(&self) {
        self.repository.write_to(&self.at("served"));
    }

    fn init(&self) {
        let root = self.at("served/metadata/1.root.json");
        self.ends(0, &["init", root.to_str().unwrap()]);
    }

    /// Runs the program and returns what it says on stderr.
    #[track_caller]
    fn ends(&self, code: i32, words: &[&str]) -> String {
        let output = Command::new(env!("CARGO_BIN_EXE_dbt-tuf-client"))
            .arg("--metadata-dir")
            .arg(self.at("metadata"))
            .args(words)
            .output()
            .unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{said}");
        assert_eq!(output.stdout, b"");
        assert_eq!(said.is_empty(), code == 0, "{said}");
        said
    }

    #[track_caller]
    fn refresh(&self, code: i32) -> String {
        let url = format!("{}/metadata", self.server.url());
        self.ends(code, &["--metadata-url", &url, "refresh"])
    }

    #[track_caller]
    fn download(&self, code: i32, names: &[&str]) -> String {
        let metadata = format!("{}/metadata/", self.server.url());
        let targets = format!("{}/targets/", self.server.url());
        let directory = self.at("targets");
        let mut words = vec!["--metadata-url", &metadata, "--target-base-url", &targets];
        words.extend(["--target-dir", directory.to_str().unwrap()]);
        words.extend(names.iter().flat_map(|name| ["--target-name", name]));
        words.push("download");
        self.ends(code, &words)
    }

    /// Returns what was asked for since the last call, in order.
    fn asked(&self) -> Vec<String> {
        self.server.take_requests().iter().map(Received::line).collect()
    }
}

fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).into_iter().flatten();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_root_is_taken_without_asking_anybody_and_updated_with_one_request_after_the_other() {
    let machine = Machine::new();
    assert_eq!(machine.asked(), [""; 0]);
    assert_eq!(names(&machine.at("metadata")), ["lock", "root.json"]);
    machine.refresh(0);
    assert_eq!(machine.server.most_at_once(), 1);
    assert_eq!(
        machine.asked(),
        [
            "GET /metadata/2.root.json",
            "GET /metadata/timestamp.json",
            "GET /metadata/2.snapshot.json",
            "GET /metadata/2.targets.json",
        ]
    );
    for (kept, served) in [
        ("root.json", "1.root.json"),
        ("timestamp.json", "timestamp.json"),
        ("snapshot.json", "2.snapshot.json"),
        ("targets.json", "2.targets.json"),
    ] {
        let kept = fs::read(machine.at("metadata").join(kept)).unwrap();
        assert_eq!(kept, machine.repository.metadata[served]);
    }
}

#[test]
fn what_is_refused_is_said_and_ends_with_one() {
    let mut machine = Machine::new();
    machine.refresh(0);
    let before = fs::read(machine.at("metadata/timestamp.json")).unwrap();
    machine.repository.role("timestamp")["version"] = 1.into();
    machine.repository.serve("timestamp");
    machine.serve();
    let said = machine.refresh(1);
    let words = "version 1 of the timestamp metadata is older than version 2";
    assert!(said.contains(words), "{said}");
    assert_eq!(fs::read(machine.at("metadata/timestamp.json")).unwrap(), before);

    let said = machine.ends(1, &["init", machine.at("nothing").to_str().unwrap()]);
    assert!(said.contains("nothing"), "{said}");
    machine.ends(1, &["--metadata-url", "ftp://h/", "refresh"]);
    machine.ends(1, &["refresh"]);
    machine.ends(1, &["unknown"]);
    machine.server.stop();
    machine.refresh(1);
}

#[test]
fn targets_are_brought_in_order_and_not_again() {
    let mut machine = Machine::new();
    machine.download(0, &["path/to/file", "file"]);
    let digest = |bytes: &[u8]| Digest::of(bytes).to_string();
    assert_eq!(
        machine.asked()[4..],
        [
            format!("GET /targets/path/to/{}.file", digest(b"two")),
            format!("GET /targets/{}.file", digest(b"one")),
        ]
    );
    assert_eq!(names(&machine.at("targets")), ["file", "path%2Fto%2Ffile"]);
    assert_eq!(fs::read(machine.at("targets/path%2Fto%2Ffile")).unwrap(), b"two");

    // What is there and fits is left alone, even if the server has something else by now.
    let inode = |name: &str| fs::metadata(machine.at(name)).unwrap().ino();
    let before = inode("targets/file");
    fs::write(machine.at("served/targets").join(format!("{}.file", digest(b"one"))), b"bad")
        .unwrap();
    machine.download(0, &["file"]);
    assert_eq!(inode("targets/file"), before);
    assert_eq!(machine.asked(), ["GET /metadata/2.root.json", "GET /metadata/timestamp.json"]);

    // What does not fit is brought again; what comes does not fit either, and is not kept.
    fs::write(machine.at("targets/file"), b"changed").unwrap();
    let said = machine.download(1, &["file", "path/to/file"]);
    assert!(said.contains("`file` is not what is listed"), "{said}");
    assert_eq!(fs::read(machine.at("targets/file")).unwrap(), b"changed");
    // The first failure ended it.
    assert_eq!(machine.asked().len(), 3);

    machine.repository.add("targets", "file", b"three");
    machine.repository.release();
    machine.serve();
    machine.download(0, &["file"]);
    assert_eq!(fs::read(machine.at("targets/file")).unwrap(), b"three");
}

#[test]
fn a_target_that_nobody_lists_is_not_asked_for() {
    let machine = Machine::new();
    let said = machine.download(1, &["../../metadata/root.json"]);
    assert!(said.contains("is not listed by any role"), "{said}");
    assert!(machine.asked().iter().all(|line| line.starts_with("GET /metadata/")));
    assert_eq!(names(&machine.at("targets")), [""; 0]);
    assert_eq!(
        names(&machine.at("metadata")),
        ["lock", "root.json", "snapshot.json", "targets.json", "timestamp.json"]
    );
}

#[test]
fn a_target_whose_path_leads_elsewhere_stays_in_the_directory() {
    let mut machine = Machine::new();
    for path in ["../../outside", "/etc/x", "a b?c#d%e", "..", &"long/".repeat(80)] {
        machine.repository.role("targets")["targets"][path] = serde_json::json!({
            "length": 3, "hashes": {"sha256": Digest::of(b"one").to_string()},
        });
        machine.repository.release();
        machine.serve();
        machine.server.fault("/targets/*", answer(b"one"));
        // Some of these names lead out of the directory on the server as well.
        machine.server.fault("/outside*", answer(b"one"));
        machine.server.fault(&format!("/{}.outside", Digest::of(b"one")), answer(b"one"));
        machine.download(0, &[path]);
    }
    let kept = names(&machine.at("targets"));
    assert_eq!(kept.len(), 5, "{kept:?}");
    for name in kept {
        assert_eq!(fs::read(machine.at("targets").join(name)).unwrap(), b"one");
    }
    assert_eq!(names(machine.place.path()), ["metadata", "served", "targets"]);
}

fn answer(bytes: &[u8]) -> dbt_testkit::server::Fault {
    let head =
        format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", bytes.len());
    dbt_testkit::server::Fault::Raw([head.as_bytes(), bytes].concat())
}

#[test]
fn unusual_names_of_roles_are_escaped_in_requests() {
    for (role, escaped) in
        [("?", "%3F"), ("#", "%23"), ("/role", "%2Frole"), ("../role", "..%2Frole")]
    {
        let mut machine = Machine::new();
        machine.repository.delegate("targets", role, &["x"], false);
        machine.repository.release();
        machine.serve();
        let path = format!("/metadata/1.{escaped}.json");
        machine.server.fault(&path, answer(&machine.repository.metadata[&path[10..]]));
        let said = machine.download(1, &["x"]);
        assert!(said.contains("`x` is not listed by any role"), "{said}");
        assert_eq!(machine.asked().last().unwrap(), &format!("GET {path}"));
        let kept = fs::read(machine.at("metadata").join(format!("{escaped}.json"))).unwrap();
        assert_eq!(kept, machine.repository.metadata[&path[10..]]);
    }
}
