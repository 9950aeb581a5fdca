//! A web server from Debian, run as this user with a configuration of its own.

use std::cell::Cell;
use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::daemon::{Daemon, eventually};
use crate::life::{self, Served};

/// Where a server keeps its files, apart from what it serves.
const PLACE: &str = "server";

/// How many ports are tried: between choosing a free one and using it, another may take it.
const TRIES: u32 = 10;

/// A web server. It is stopped when this goes.
pub(crate) struct WebServer {
    root: String,
    place: PathBuf,
    read: Cell<usize>,
    _daemon: Daemon,
}

/// What a server is told.
pub(crate) struct Plan<'a> {
    /// The program.
    pub(crate) program: &'a str,
    /// Its arguments. They name `server.conf` in `[PLACE]`, the working directory.
    pub(crate) arguments: &'a [&'a str],
    /// The text of that file, with `[PORT]`, `[PLACE]` and `[ROOT]`.
    pub(crate) config: &'a str,
}

impl WebServer {
    /// Serves a directory. `world` has room for the server's own files.
    ///
    /// The server must write `pid` once it listens, and a line for each request, as
    /// `GET /path 200`, into `requests` when it has answered.
    pub(crate) fn serve(directory: &Path, world: &Path, plan: &Plan<'_>) -> Self {
        let place = world.join(PLACE);
        fs::create_dir(&place).unwrap();
        (0..TRIES)
            .find_map(|_| Self::on_a_free_port(directory, &place, plan))
            .unwrap_or_else(|| panic!("{}: {}", plan.program, words_of(&place)))
    }

    fn on_a_free_port(directory: &Path, place: &Path, plan: &Plan<'_>) -> Option<Self> {
        let port =
            TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
        let here = |text: &str| text.replace("[PLACE]", place.to_str().unwrap());
        let config = here(plan.config)
            .replace("[PORT]", &port.to_string())
            .replace("[ROOT]", directory.to_str().unwrap());
        fs::write(place.join("server.conf"), config).unwrap();
        let words = fs::File::create(place.join("words")).unwrap();
        let child = Command::new(plan.program)
            .args(plan.arguments.iter().map(|argument| here(argument)))
            .current_dir(place)
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .stdin(Stdio::null())
            .stdout(words.try_clone().unwrap())
            .stderr(words)
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}", plan.program));
        // Not a connection but its own file says that it listens: another server may have taken
        // the port before it.
        let mut daemon = Daemon(child);
        let mut ended = false;
        let listens = || fs::read(place.join("pid")).is_ok_and(|text| !text.is_empty());
        eventually(|| {
            ended = daemon.has_ended();
            ended || listens()
        });
        let root = format!("http://127.0.0.1:{port}");
        (!ended && listens()).then(|| Self {
            root,
            place: place.to_owned(),
            read: Cell::new(0),
            _daemon: daemon,
        })
    }
}

impl Served for WebServer {
    fn root(&self) -> String {
        self.root.clone()
    }

    fn take_requests(&self) -> Vec<String> {
        // What was answered before this is in the file before this.
        let mark = "/mark-the-place-in-the-log";
        life::ask(&self.root, mark);
        let mut lines = Vec::new();
        let came = eventually(|| {
            let text = fs::read_to_string(self.place.join("requests")).unwrap_or_default();
            lines = text.lines().skip(self.read.get()).map(str::to_owned).collect();
            text.ends_with('\n') && lines.iter().any(|line| line.contains(mark))
        });
        assert!(came, "no request is logged: {}", words_of(&self.place));
        self.read.set(self.read.get() + lines.len());
        let requests = lines.iter().filter(|line| !line.contains(mark));
        requests.filter_map(|line| Some(line.rsplit_once(' ')?.0.to_owned())).collect()
    }
}

/// Returns what a server has said about itself.
fn words_of(place: &Path) -> String {
    let files = ["words", "errors"].map(|file| fs::read_to_string(place.join(file)));
    files.into_iter().flatten().collect()
}
