//! What is answered with success is on the disk: no test that ends a process can tell, because the
//! system keeps what it was given. So the calls of the system are looked at, and their order.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use crate::world::{Place, Server, WRITABLE, sha256};

/// What changes directories, what flushes, and what answers.
const CALLS: &str = "fsync,fdatasync,rename,renameat,renameat2,link,linkat,mkdir,mkdirat,write,writev,\
                     sendto,sendmsg";

/// A call of the system, with the lines of the trace in which it began and ended.
struct Call {
    text: String,
    began: usize,
    ended: usize,
}

impl Call {
    fn is(&self, names: &[&str]) -> bool {
        names.iter().any(|name| self.text.starts_with(&format!("{name}(")))
            && (self.text.ends_with("= 0") || !self.text.starts_with(['f', 'r', 'l', 'm']))
    }

    /// Returns the paths of the descriptors that it was given.
    fn descriptors(&self) -> Vec<PathBuf> {
        let parts = self.text.split('<').skip(1);
        parts.filter_map(|part| Some(PathBuf::from(part.split_once('>')?.0))).collect()
    }

    /// Returns the texts that it was given.
    fn texts(&self) -> Vec<&str> {
        self.text.split('"').skip(1).step_by(2).collect()
    }

    /// Returns the path from which a file or directory is taken, and the one that it is given; of a
    /// directory that is made, only the latter.
    fn moves(&self) -> (Option<PathBuf>, PathBuf) {
        let (directories, names) = (self.descriptors(), self.texts());
        let mut paths = directories.iter().zip(names).map(|(directory, name)| directory.join(name));
        let (first, second) = (paths.next().unwrap(), paths.next());
        second.map_or((None, first.clone()), |second| (Some(first), second))
    }
}

/// Reads what strace wrote. A call that waited for others is in two lines.
fn calls(trace: &str) -> Vec<Call> {
    let mut waiting: HashMap<&str, (usize, &str)> = HashMap::new();
    let mut calls = Vec::new();
    for (number, line) in trace.lines().enumerate() {
        let Some((thread, text)) = line.split_once(' ') else { continue };
        let text = text.trim_start();
        if let Some(first) = text.strip_suffix(" <unfinished ...>") {
            waiting.insert(thread, (number, first));
        } else if let Some((_, rest)) = text.split_once(" resumed>") {
            let Some((began, first)) = waiting.remove(thread) else { continue };
            calls.push(Call { text: format!("{first}{rest}"), began, ended: number });
        } else {
            calls.push(Call { text: text.to_owned(), began: number, ended: number });
        }
    }
    calls
}

/// Uploads a file, and returns what the server called until it answered with this status.
fn traced(place: Place, path: &str, body: &[u8], status: u16) -> (Place, Vec<Call>) {
    let server = Server::on(place, WRITABLE);
    let trace = server.outside().join("calls");
    let mut tracer = server.trace(CALLS, &trace, &["-y", "-s", "16"]);
    assert_eq!(server.put(path, body).status, status, "{path}");
    let place = server.kill();
    tracer.wait().unwrap();
    let text = std::fs::read_to_string(place.beside("calls")).unwrap();
    let mut calls = calls(&text);
    let answers = format!("\"HTTP/1.1 {status}");
    let answer = calls.iter().find(|call| call.text.contains(&answers));
    let answered = answer.unwrap_or_else(|| panic!("no answer in {text}")).began;
    calls.retain(|call| call.ended < answered);
    (place, calls)
}

/// Checks that everything that was given a name is on the disk, and the name too, and so is the record
/// of it. Returns under which names, below the root.
fn named(place: &Place, calls: &[Call]) -> Vec<String> {
    let root = place.root().canonicalize().unwrap();
    let flushed = |path: &Path, from: usize, to: usize| {
        calls.iter().any(|call| {
            call.is(&["fsync", "fdatasync"])
                && call.descriptors() == [path]
                && (from..to).contains(&call.ended)
        })
    };
    let mut names = Vec::new();
    let moves = ["rename", "renameat", "renameat2", "link", "linkat", "mkdir", "mkdirat"];
    for call in calls.iter().filter(|call| call.is(&moves)) {
        let (from, to) = call.moves();
        let Ok(name) = to.strip_prefix(&root) else { continue };
        names.push(name.display().to_string());
        let directory = to.parent().unwrap();
        let is_kept = flushed(directory, call.ended, usize::MAX);
        assert!(is_kept, "{} is not flushed after {}", directory.display(), call.text);
        // A name of a file that was received: its bytes come first.
        if let Some(from) = from.filter(|from| from.parent() == Some(&root.join(".reposerver/tmp")))
        {
            let is_written = flushed(&from, 0, call.began);
            assert!(is_written, "the bytes are not flushed before {}", call.text);
            names.push("received".to_owned());
        }
    }
    let is_record = |call: &&Call| {
        let is_log = |path: &PathBuf| path.ends_with("state.db-wal");
        call.is(&["fsync", "fdatasync"]) && call.descriptors().iter().any(is_log)
    };
    assert!(calls.iter().any(|call| is_record(&call)), "the record is not flushed");
    names
}

#[test]
fn what_is_answered_with_success_is_on_the_disk_before_the_answer() {
    const X: &str = "/dbt-tools/x/1.0.0/linux/amd64/x";
    let sum = sha256(b"a tool").into_bytes();
    let rows: [(&str, &[u8], u16, &[&str]); 5] = [
        ("/dbt/new/file", b"1", 201, &["dbt", "dbt/new", "dbt/new/file", "received"]),
        ("/dbt/new/file", b"2", 200, &["dbt/new/file", "received"]),
        (X, b"a tool", 201, &["received"]),
        (&format!("{X}.asc"), b"sig", 201, &["received"]),
        (&format!("{X}.sha256"), &sum, 201, &["dbt-tools", "received"]),
    ];
    let mut place = Place::new();
    for (path, body, status, wanted) in rows {
        let (after, calls) = traced(place, path, body, status);
        let names = named(&after, &calls);
        for name in wanted {
            assert!(names.iter().any(|other| other == name), "{path}: no {name} in {names:?}");
        }
        place = after;
    }
}
