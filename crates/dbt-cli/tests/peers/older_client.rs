//! The client of the older program against our server and publisher: the same requests in the
//! same order, and the same comparisons to the byte.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use dbt_core::platform::Platform;

use crate::reposerver::Reposerver;

const CLIENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/peers/older_client.py");

/// The older client on a machine, and our server.
struct Machine {
    server: Reposerver,
}

impl Machine {
    /// Its dbt is the published one, and `hello` 1.0.0 is there to be run.
    fn new() -> Self {
        let machine = Self { server: Reposerver::start() };
        machine.server.publish("dbt", "4.0.0", "echo the first dbt");
        machine.server.publish("hello", "1.0.0", "echo \"hello, $*\"; exit 7");
        let published = format!("dbt/4.0.0/{}/dbt", Platform::CURRENT);
        fs::copy(machine.server.served().join(published), machine.program()).unwrap();
        fs::set_permissions(machine.program(), Permissions::from_mode(0o755)).unwrap();
        machine
    }

    fn program(&self) -> PathBuf {
        self.server.place().join("dbt")
    }

    fn run(&self, words: &[&str]) -> (Output, Vec<String>) {
        run(self.server.root(), &self.program(), self.server.place(), words)
    }

    /// Runs `hello world` and returns the requests that it took.
    #[track_caller]
    fn says(&self, code: i32, expected: &str) -> Vec<String> {
        let (output, requests) = self.run(&["run", "hello", "world"]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{said}");
        assert_eq!(String::from_utf8_lossy(&output.stdout), expected, "{said}");
        let refused = requests.iter().filter(|line| !line.ends_with(" 200"));
        assert_eq!(refused.count(), 0, "{requests:?}");
        requests
    }

    #[track_caller]
    fn refuses(&self, words: &str) {
        let (output, _requests) = self.run(&["run", "hello", "world"]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0), "{said}");
        assert!(said.contains(words), "{said}");
    }
}

/// Runs the older client whose installed dbt is `program` against the repositories below `root`, and
/// returns the requests that it sent. `place` has room for its files, and the keyring that it checks
/// with.
pub(crate) fn run(
    root: &str,
    program: &Path,
    place: &Path,
    words: &[&str],
) -> (Output, Vec<String>) {
    // Whoever sets up a machine makes it: the client does not.
    fs::create_dir_all(place.join("older-home/.dbt/trust")).unwrap();
    run_of(root, "dbt", program, place, words)
}

/// Runs it as [`run`] does, with the repository of dbt itself at this path.
pub(crate) fn run_of(
    root: &str,
    repository: &str,
    program: &Path,
    place: &Path,
    words: &[&str],
) -> (Output, Vec<String>) {
    let (config, requests) = (place.join("client.json"), place.join("requests"));
    let written = serde_json::json!({
        "home": place.join("older-home"),
        "program": program,
        "repository": format!("{root}/{repository}"),
        "truststore": format!("{root}/dbt/truststore"),
        "toolsRepository": format!("{root}/dbt-tools"),
        "platform": Platform::CURRENT.to_string(),
        "requests": requests,
    });
    fs::write(&config, written.to_string()).unwrap();
    fs::write(&requests, "").unwrap();
    let output = Command::new("python3")
        .args(["-I".as_ref(), CLIENT.as_ref(), config.as_os_str()])
        .args(words)
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("GNUPGHOME", place)
        .output()
        .unwrap();
    let requests = fs::read_to_string(requests).unwrap();
    (output, requests.lines().map(str::to_owned).collect())
}

fn heads(requests: &[String]) -> usize {
    requests.iter().filter(|line| line.starts_with("HEAD ")).count()
}

#[test]
fn the_older_client_runs_what_our_publisher_wrote_with_its_own_requests() {
    let machine = Machine::new();
    let cold = machine.says(7, "hello, world\n");
    assert_eq!((cold.len(), heads(&cold)), (12, 3), "{cold:?}");
    let warm = machine.says(7, "hello, world\n");
    let platform = Platform::CURRENT;
    let program = format!("GET /dbt/4.0.0/{platform}/dbt.sha256 200");
    let tool = format!("GET /dbt-tools/hello/1.0.0/{platform}/hello.sha256 200");
    let expected = [
        "GET /dbt/truststore 200",
        "GET /dbt/ 200",
        "GET /dbt/ 200",
        &program,
        "GET /dbt-tools/hello/ 200",
        "GET /dbt-tools/hello/ 200",
        &tool,
    ];
    assert_eq!(warm, expected);
}

#[test]
fn the_older_client_finds_a_new_version_of_a_tool() {
    let machine = Machine::new();
    drop(machine.says(7, "hello, world\n"));
    machine.server.publish("hello", "1.9.0", "echo not the newest");
    machine.server.publish("hello", "1.10.0", "echo \"hello again, $*\"");
    let stale = machine.says(0, "hello again, world\n");
    assert_eq!((stale.len(), heads(&stale)), (13, 3), "{stale:?}");
    assert_eq!(machine.says(0, "hello again, world\n").len(), 7);
}

#[test]
fn the_older_client_replaces_itself_once_by_what_our_publisher_wrote() {
    let machine = Machine::new();
    drop(machine.says(7, "hello, world\n"));
    machine.server.publish("dbt", "4.0.1", "echo the second dbt");
    let requests = machine.says(7, "hello, world\n");
    assert_eq!((requests.len(), heads(&requests)), (9 + 7, 1), "{requests:?}");
    assert!(fs::read_to_string(machine.program()).unwrap().contains("the second dbt"));
    assert_eq!(machine.says(7, "hello, world\n").len(), 7);
}

#[test]
fn the_older_client_lists_our_tools_with_their_descriptions() {
    let machine = Machine::new();
    machine.server.publish("hello", "1.10.0", "echo");
    machine.server.publish("deploy", "2.0.0", "echo");
    let (output, requests) = machine.run(&["catalog"]);
    let listed = String::from_utf8(output.stdout).unwrap();
    assert_eq!(listed, "deploy 2.0.0 says hello\nhello 1.10.0 says hello\n");
    assert_eq!(requests.len(), 1 + 3 * 2, "{requests:?}");
}

#[test]
fn the_older_client_is_told_which_versions_it_may_delete() {
    let machine = Machine::new();
    machine.server.publish("hello", "1.10.0", "echo");
    machine.server.publish("hello", "1.9.0", "echo");
    let (output, requests) = machine.run(&["versions", "hello"]);
    let listed = String::from_utf8(output.stdout).unwrap();
    let versions: Vec<_> = listed.lines().filter_map(|line| line.split(' ').next()).collect();
    assert_eq!(versions, ["1.0.0", "1.9.0", "1.10.0"], "{listed}");
    assert_eq!(requests, ["GET /-/api/tools/hello/versions 200"]);
}

/// Were the emulation blind, the tests above would show nothing.
#[test]
fn the_older_client_refuses_what_was_changed_or_signed_by_another() {
    let machine = Machine::new();
    let directory = format!("dbt-tools/hello/1.0.0/{}", Platform::CURRENT);
    let directory = machine.server.served().join(directory);
    let (artifact, checksum) = (directory.join("hello"), directory.join("hello.sha256"));
    let right = fs::read(&checksum).unwrap();
    assert_eq!(right.len(), 64, "its client wants nothing but the digest");

    fs::write(&checksum, [&right[..], b"\n"].concat()).unwrap();
    machine.refuses("checksum of hello failed to verify");
    fs::write(&checksum, &right).unwrap();
    fs::write(&artifact, "#!/bin/sh\necho evil\n").unwrap();
    machine.refuses("checksum of hello failed to verify");
    let digest = dbt_core::digest::Digest::of(b"#!/bin/sh\necho evil\n");
    fs::write(&checksum, digest.to_string()).unwrap();
    machine.refuses("signing entity not in truststore");
}
