//! Servers to which something is done at a step of their own, and that may die of it.

use std::io::Write as _;
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::world::{AUTHORIZED, Reply, Server};

/// No step takes longer than this unless something is wrong.
const PATIENCE: Duration = Duration::from_secs(10);

impl Server {
    /// Does something to the running server when one of its threads takes such a step for the
    /// `step`th time. The result ends with the server.
    pub(crate) fn inject(&self, steps: &str, what: &str, step: usize) -> Child {
        let pid = self.process.id();
        let mut tracer = Command::new("strace")
            .args(["-f", "-qq", "-o", "/dev/null", "-p", &pid.to_string()])
            .args(["-e", &format!("trace={steps}")])
            .args(["-e", &format!("inject={steps}:{what}:when={step}")])
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let began = Instant::now();
        while !is_traced(pid) {
            assert!(began.elapsed() < PATIENCE, "strace does not get hold of the server");
            assert!(tracer.try_wait().unwrap().is_none(), "strace may not trace the server");
            std::thread::sleep(Duration::from_millis(5));
        }
        tracer
    }

    /// Writes a file with `open-sesame` to a server that may die of it; 0 is no answer.
    pub(crate) fn try_put(&self, path: &str, body: &[u8]) -> u16 {
        let Ok(mut stream) = TcpStream::connect(self.address) else { return 0 };
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let length = body.len();
        let head = format!(
            "PUT {path} HTTP/1.1\r\nHost: t\r\nConnection: close\r\n{AUTHORIZED}\r\n\
             Content-Length: {length}\r\n\r\n"
        );
        let _cut = stream.write_all(&[head.as_bytes(), body].concat());
        Reply::read(&mut stream, false).status
    }
}

/// Says whether every thread of a process is traced.
fn is_traced(pid: u32) -> bool {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    tasks.map(|task| task.unwrap().path().join("status")).all(|status| {
        let text = std::fs::read_to_string(status).unwrap_or_default();
        text.lines().any(|line| line.starts_with("TracerPid:") && !line.ends_with("\t0"))
    })
}
