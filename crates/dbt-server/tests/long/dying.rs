//! Servers to which something is done at a step of their own, and that may die of it.

use std::io::Write as _;
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use dbt_testkit::changes::{Begins, Changes, Disturbance, Report};
use rustix::process::Signal;
use serde_json::Value;

use crate::world::{AUTHORIZED, Place, Reply, Server, WRITABLE};

/// No step takes longer than this unless something is wrong.
const PATIENCE: Duration = Duration::from_secs(10);

/// Where it stands what was done to a server.
const REPORT: &str = "disturbed";

/// How often strace is started before it counts as forbidden.
const TRIES: u32 = 5;

impl Server {
    /// Starts a server to which something is done at one of its steps, from when they are counted.
    pub(crate) fn disturbed(changes: &Changes, disturbance: Disturbance) -> Self {
        let place = Place::new();
        let alone = place.command(WRITABLE);
        let directory = alone.get_current_dir().unwrap();
        let report = place.beside(REPORT);
        let words = changes.words(disturbance, Begins::AtSignal, directory, &report);
        let variables = alone.get_envs().filter_map(|(name, value)| Some((name, value?)));
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).arg(alone.get_program()).args(alone.get_args());
        command.env_clear().envs(variables).current_dir(directory);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        Self::started(place, command.spawn().unwrap())
    }

    /// Counts the steps of a server to be disturbed from now on.
    pub(crate) fn count_steps(&self) {
        self.signal(Signal::USR1);
    }

    /// Ends a disturbed server as a power cut would, and returns its place and what was done to it.
    pub(crate) fn end_disturbed(mut self) -> (Place, Report) {
        // What disturbs it must not go before it.
        self.signal(Signal::TERM);
        self.wait();
        let place = self.kill();
        let report = Report::read(&place.beside(REPORT));
        (place, report)
    }

    /// Writes down each of these steps that one of its threads takes. The result ends with the server.
    pub(crate) fn trace(&self, steps: &str, to: &Path, arguments: &[&str]) -> Child {
        let pid = self.process.id();
        let trace = || {
            Command::new("strace")
                .args(["-f", "-qq", "-p", &pid.to_string()])
                .arg("-o")
                .arg(to)
                .args(["-e", &format!("trace={steps}")])
                .args(arguments)
                .stdin(Stdio::null())
                .spawn()
                .unwrap()
        };
        let (began, mut tracer, mut ended) = (Instant::now(), trace(), 0);
        while !is_traced(pid) {
            assert!(began.elapsed() < PATIENCE, "strace does not get hold of the server");
            if tracer.try_wait().unwrap().is_some() {
                // It gives up where a thread is between the beginning and the end of a call when it
                // comes ("ptrace_syscall_info.op == 2"). Nothing has been asked of the server yet.
                ended += 1;
                assert!(ended < TRIES, "strace may not trace the server");
                tracer = trace();
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        tracer
    }

    /// Sends a request with `open-sesame` to a server that may die of it. Without a connection there
    /// is no answer; where that ends early, its status is 0.
    pub(crate) fn try_send(&self, method: &str, path: &str, body: &[u8]) -> Option<Reply> {
        let mut stream = TcpStream::connect(self.address).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let length = body.len();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: t\r\nConnection: close\r\n{AUTHORIZED}\r\n\
             Content-Length: {length}\r\n\r\n"
        );
        let _cut = stream.write_all(&[head.as_bytes(), body].concat());
        Some(Reply::read(&mut stream, false))
    }

    /// Checks that the record is as it was written, and returns it.
    pub(crate) fn verified_records(&self, what: &str) -> Vec<Value> {
        let verified = self.command_beside(&["audit", "verify"]);
        assert!(verified.contains(": as they were written"), "{what}: {verified}");
        let export = self.command_beside(&["audit", "export"]);
        let record = |line| serde_json::from_str::<Value>(line).unwrap()["record"].clone();
        export.lines().map(record).collect()
    }

    /// Checks that the record is as it was written and that every attempt in it has an outcome. Returns
    /// it, and what it says that nobody knows the outcome of.
    pub(crate) fn closed_records(&self, what: &str) -> (Vec<Value>, Vec<Value>) {
        let records = self.verified_records(what);
        for attempt in records.iter().filter(|record| record["outcome"] == "attempted") {
            let outcomes = records.iter().filter(|other| other["attempt"] == attempt["seq"]);
            assert_eq!(outcomes.count(), 1, "{what}: the outcomes of {attempt}");
        }
        let is_unknown = |record: &&Value| record["outcome"] == "interrupted";
        let unknown = records.iter().filter(is_unknown).cloned().collect();
        (records, unknown)
    }

    /// Writes a file with `open-sesame` to a server that may die of it; 0 is no answer.
    pub(crate) fn try_put(&self, path: &str, body: &[u8]) -> u16 {
        self.try_send("PUT", path, body).map_or(0, |reply| reply.status)
    }
}

/// Says whether all of an answer's body came that was announced.
pub(crate) fn is_whole(reply: &Reply) -> bool {
    let announced = reply.header("content-length");
    announced.is_some_and(|length| length == reply.body.len().to_string())
}

/// Says whether every thread of a process is traced.
fn is_traced(pid: u32) -> bool {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    tasks.map(|task| task.unwrap().path().join("status")).all(|status| {
        let text = std::fs::read_to_string(status).unwrap_or_default();
        text.lines().any(|line| line.starts_with("TracerPid:") && !line.ends_with("\t0"))
    })
}
