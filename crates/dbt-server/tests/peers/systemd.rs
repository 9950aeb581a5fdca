//! The units for systemd: it understands them, they are confined, and the server gets by with the
//! system calls that they leave it.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use rustix::process::{Pid, Signal, kill_process};

use crate::world::{Place, Server, WRITABLE};

const SERVER: &str = "reposerver.service";
const UNITS: [&str; 3] = [SERVER, "reposerver-audit.service", "reposerver-audit.timer"];

/// Where the units say that the program is.
const INSTALLED: &str = "/usr/local/bin/reposerver";

/// The exposure that systemd may find at most, of 100: it calls what is below 20 well.
const EXPOSURE: &str = "--threshold=13";

fn unit(name: &str) -> String {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/systemd");
    fs::read_to_string(directory.join(name)).unwrap()
}

/// Writes the units into a directory, with the program where it is here.
fn written(directory: &Path, change: impl Fn(String) -> String) -> Vec<PathBuf> {
    let here = env!("CARGO_BIN_EXE_reposerver");
    UNITS
        .iter()
        .map(|name| {
            let path = directory.join(name);
            fs::write(&path, change(unit(name).replace(INSTALLED, here))).unwrap();
            path
        })
        .collect()
}

fn analyze(words: &[&str], files: &[PathBuf]) -> Output {
    Command::new("systemd-analyze").args(words).args(files).output().unwrap()
}

#[test]
fn systemd_understands_the_units() {
    let directory = tempfile::tempdir().unwrap();
    let files = written(directory.path(), |text| text);
    let output = analyze(&["verify"], &files);
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    // A word that it does not know is named, so that silence means something.
    let files = written(directory.path(), |text| text.replace("ProtectHome=", "ProtectHouse="));
    let output = analyze(&["verify"], &files);
    assert!(String::from_utf8_lossy(&output.stderr).contains("ProtectHouse"), "{output:?}");
}

#[test]
fn the_services_can_do_little_beside_their_work() {
    let directory = tempfile::tempdir().unwrap();
    for file in written(directory.path(), |text| text) {
        if file.extension().is_some_and(|it| it == "service") {
            let output = analyze(&["security", "--offline=true", EXPOSURE], &[file]);
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        }
    }
    let files = written(directory.path(), |text| text.replace("NoNewPrivileges=yes\n", ""));
    let output = analyze(&["security", "--offline=true", EXPOSURE], &files[..1]);
    assert!(!output.status.success(), "{output:?}");
}

#[test]
fn the_service_tells_systemd_when_it_is_ready_and_has_time_to_stop() {
    let text = unit(SERVER);
    let value = |key: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        line.unwrap_or_else(|| panic!("{key}"))
    };
    assert_eq!(value("Type"), "notify");
    let server = Server::start();
    let start = value("ExecStart").strip_prefix(INSTALLED).unwrap();
    let reload = value("ExecReload").strip_prefix(INSTALLED).unwrap();
    assert_eq!(reload, format!("{start} reload"));
    assert!(server.command_beside(&["reload"]).contains("are in force"));
    // The unit of the timer checks what the server writes.
    let check = unit("reposerver-audit.service");
    assert!(check.contains(&format!("ExecStart={INSTALLED}{start} audit verify\n")));
    assert!(!server.command_beside(&["audit", "verify"]).is_empty());
    let settings = server.command_beside(&["check-config"]);
    let seconds = |key: &str| -> u64 {
        let line = settings.lines().find(|line| line.contains(key)).unwrap();
        let number = line.split(|it: char| !it.is_ascii_digit()).find(|it| !it.is_empty());
        number.unwrap().parse().unwrap()
    };
    let stop: u64 = value("TimeoutStopSec").strip_suffix('s').unwrap().parse().unwrap();
    assert!(stop > 5 + seconds("shutdownGrace"), "{stop}");
    for file in ["reposerver.sysusers", "reposerver.tmpfiles"] {
        assert!(unit(file).contains(" reposerver "), "{file}");
    }
    for path in value("ReadWritePaths").split(' ') {
        assert!(unit("reposerver.tmpfiles").contains(&format!("d {path} ")), "{path}");
    }
}

/// Returns the system calls of a set of systemd's, and of the sets in it.
fn calls_of(set: &str) -> BTreeSet<String> {
    let output = Command::new("systemd-analyze").args(["syscall-filter", set]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    let names = text.lines().skip(1).map(str::trim).filter(|it| !it.starts_with('#'));
    let mut calls = BTreeSet::new();
    for name in names.filter(|it| !it.is_empty()) {
        if name.starts_with('@') {
            calls.extend(calls_of(name));
        } else {
            calls.insert(name.to_owned());
        }
    }
    calls
}

/// Returns what the unit lets the server call.
fn permitted() -> BTreeSet<String> {
    let mut calls = BTreeSet::new();
    for line in unit(SERVER).lines().filter_map(|line| line.strip_prefix("SystemCallFilter=")) {
        let is_taken_away = line.starts_with('~');
        for set in line.trim_start_matches('~').split(' ') {
            if is_taken_away {
                calls = calls.difference(&calls_of(set)).cloned().collect();
            } else {
                calls.extend(calls_of(set));
            }
        }
    }
    assert!(calls.len() > 100 && !calls.contains("mount"), "{}", calls.len());
    calls
}

#[test]
fn the_server_gets_by_with_the_system_calls_that_it_is_left() {
    let place = Place::new();
    let traced = place.beside("traced");
    let bare = place.command(WRITABLE);
    let mut command = Command::new("strace");
    command.args(["-f", "-qq", "-o", traced.to_str().unwrap()]);
    command.arg(bare.get_program()).args(bare.get_args()).env_clear();
    for (name, value) in bare.get_envs() {
        command.env(name, value.unwrap());
    }
    command.current_dir(place.beside(".")).stderr(std::process::Stdio::piped());
    let mut server = Server::started(place, command.spawn().unwrap());
    let x = "/dbt-tools/x/1.0.0/linux/amd64/x";
    for (ending, bytes) in [("", "x"), (".asc", "y"), (".sha256", &crate::world::sha256(b"x"))] {
        let reply = server.put(&format!("{x}{ending}"), bytes.as_bytes());
        assert_eq!(reply.status, 201, "{reply:?}");
    }
    assert_eq!(server.get(x).text(), "x");
    assert_eq!(server.get("/dbt-tools/").status, 200);
    assert_eq!(server.put("/dbt/latest", b"1.0.0").status, 201);
    assert_eq!(server.put("/dbt/latest", b"1.0.1").status, 200);
    assert_eq!(server.delete("/dbt-tools/x/1.0.0/").status, 204);
    assert!(server.command_beside(&["reload"]).contains("are in force"));
    let strace = server.process.id();
    let children = fs::read_to_string(format!("/proc/{strace}/task/{strace}/children")).unwrap();
    let child = Pid::from_raw(children.trim().parse().unwrap()).unwrap();
    kill_process(child, Signal::TERM).unwrap();
    assert!(server.wait().success(), "{}", server.log());

    let permitted = permitted();
    let text = fs::read_to_string(traced).unwrap();
    let mut used = BTreeSet::new();
    for line in text.lines() {
        let call = line.split_once(' ').unwrap().1.trim_start();
        let name = call.trim_start_matches("<... ").split(['(', ' ']).next().unwrap();
        if name
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
            && !name.is_empty()
        {
            used.insert(name.to_owned());
        }
    }
    assert!(used.contains("openat2") && used.contains("accept4"), "{used:?}");
    // Refused with EPERM, the one only tells how many files may be open; SQLite calls the other
    // where it is root, as it may be here.
    let harmless = ["prlimit64", "fchown"].map(ToOwned::to_owned);
    let missing: Vec<_> =
        used.difference(&permitted).filter(|name| !harmless.contains(name)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}
