//! Repositories made by hand, as README.md says, without any program of ours: served by whatever
//! is at hand, or by nothing at all.

mod daemon;
mod life;
mod recipe;

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, channel};

use daemon::{Daemon, PATIENCE};
use life::Served;
use recipe::Notations;

#[test]
fn a_repository_made_by_hand_works_behind_pythons_file_server() {
    let (world, handmade) = life::begin(Notations::Written);
    let server = Python::serve(&handmade.root());
    life::is_lived(&world, &handmade, &server);
    drop(server);
    life::goes_on_without_its_server(&world);
}

#[test]
fn a_repository_made_by_hand_works_as_a_directory() {
    let (world, handmade) = life::begin(Notations::Written);
    life::is_lived(&world, &handmade, &Directory(handmade.root().display().to_string()));
}

#[test]
fn a_repository_made_by_hand_works_by_the_url_of_its_directory() {
    let (world, handmade) = life::begin(Notations::Written);
    let url = format!("file://{}", handmade.root().display());
    life::is_lived(&world, &handmade, &Directory(url));
}

#[test]
fn a_repository_made_by_the_recipe_of_the_older_program_works_the_same() {
    let (world, handmade) = life::begin(Notations::Absent);
    let server = Python::serve(&handmade.root());
    life::is_lived(&world, &handmade, &server);
}

/// A directory, which nobody asks for anything.
struct Directory(String);

impl Served for Directory {
    fn root(&self) -> String {
        self.0.clone()
    }

    fn take_requests(&self) -> Vec<String> {
        Vec::new()
    }
}

/// `python3 -m http.server`.
struct Python {
    root: String,
    requests: Receiver<String>,
    _daemon: Daemon,
}

impl Python {
    fn serve(directory: &Path) -> Self {
        // It says on which port it listens, once it does.
        let mut child = Command::new("python3")
            .args(["-u", "-m", "http.server", "0", "--bind", "127.0.0.1", "--directory"])
            .arg(directory)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (stdout, stderr) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        let daemon = Daemon(child);
        let listens = lines_of(stdout);
        let line =
            listens.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("python3 does not listen"));
        let port = line.split_whitespace().skip_while(|word| *word != "port").nth(1);
        let root = format!("http://127.0.0.1:{}", port.unwrap());
        Self { root, requests: lines_of(stderr), _daemon: daemon }
    }
}

impl Served for Python {
    fn root(&self) -> String {
        self.root.clone()
    }

    fn take_requests(&self) -> Vec<String> {
        // A request is logged before it is answered: whatever was answered is here already, or in
        // the pipe, in front of what is asked for now.
        let mark = "/mark-the-place-in-the-log";
        life::ask(&self.root, mark);
        let lines = std::iter::from_fn(|| self.requests.recv_timeout(PATIENCE).ok());
        let requests = lines.filter_map(|line| request_of(&line));
        requests.take_while(|request| !request.ends_with(mark)).collect()
    }
}

/// Returns the request that a line of Python's log is about.
fn request_of(line: &str) -> Option<String> {
    let request = line.split('"').nth(1)?.strip_suffix(" HTTP/1.1");
    request.map(str::to_owned)
}

fn lines_of(pipe: impl std::io::Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    receiver
}
