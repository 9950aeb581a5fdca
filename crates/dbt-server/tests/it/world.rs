//! A server in a directory of its own, and a client that sends exactly what it is told.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use dbt_testkit::planted::{self, Secrets};

/// No answer takes longer than this unless something is wrong.
const PATIENCE: Duration = Duration::from_secs(10);

/// A configuration in which everybody may read and the token `open-sesame` may write.
pub(crate) const WRITABLE: &str =
    r#""authTypePut": "static-token", "authOptsPut": {"staticToken": "open-sesame"}"#;

/// A running server. It is killed when this goes.
pub(crate) struct Server {
    pub(crate) directory: tempfile::TempDir,
    pub(crate) process: Child,
    pub(crate) address: SocketAddr,
    log: Arc<Mutex<String>>,
    reader: Option<JoinHandle<()>>,
    environment: Vec<(String, String)>,
    secrets: Secrets,
}

impl Server {
    /// Starts a server that everybody may read and the token `open-sesame` may write.
    pub(crate) fn start() -> Self {
        Self::with(WRITABLE)
    }

    /// Starts a server with these members in its configuration file.
    pub(crate) fn with(members: &str) -> Self {
        Self::on(Place::new(), members)
    }

    /// Starts a server on a place that was prepared.
    pub(crate) fn on(place: Place, members: &str) -> Self {
        let process = place.command(members).spawn().unwrap();
        Self::started(place, process)
    }

    /// Takes a program that was started on a place for a server, once it listens.
    pub(crate) fn started(place: Place, mut process: Child) -> Self {
        let mut stderr = BufReader::new(process.stderr.take().unwrap());
        let mut first = String::new();
        stderr.read_line(&mut first).unwrap();
        let address = first
            .strip_prefix("reposerver listening on http")
            .map(|rest| rest.trim_start_matches('s').trim_start_matches("://"))
            .and_then(|rest| rest.split_once(", serving "))
            .unwrap_or_else(|| panic!("unexpected first line: {first}"));
        let address = address.0.parse().unwrap();
        let log = Arc::new(Mutex::new(String::new()));
        let lines = Arc::clone(&log);
        let reader = std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                let mut lines = lines.lock().unwrap();
                lines.push_str(&line);
                lines.push('\n');
            }
        });
        let Place { directory, environment, secrets, .. } = place;
        let reader = Some(reader);
        Self { directory, process, address, log, reader, environment, secrets }
    }

    /// Starts one on which `open-sesame` is a publisher's token, and another an administrator's.
    pub(crate) fn with_roles() -> Self {
        Self::with(&with_roles())
    }

    /// Returns the directory that is served.
    pub(crate) fn root(&self) -> PathBuf {
        self.directory.path().join("root")
    }

    /// Returns the directory of what the server knows beside the tree.
    pub(crate) fn state(&self) -> PathBuf {
        self.directory.path().join("state")
    }

    /// Runs another command of the program on the same configuration, and returns what it prints.
    pub(crate) fn command_beside(&self, words: &[&str]) -> String {
        let mut command = Command::new(env!("CARGO_BIN_EXE_reposerver"));
        command
            .arg("--file")
            .arg(self.directory.path().join("config.json"))
            .args(words)
            .env_clear()
            .env("STATE_DIRECTORY", self.state())
            .envs(self.environment.iter().cloned())
            .current_dir(self.outside());
        let output = run_through(&self.secrets, &mut command);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{words:?}: {said}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Puts these members into its configuration file, in one step.
    pub(crate) fn configure(&self, members: &str) {
        self.put_beside("config.new", configuration(&self.root(), members));
        rustix::fs::rename(
            self.outside().join("config.new"),
            self.directory.path().join("config.json"),
        )
        .unwrap();
    }

    /// Puts these members into its configuration file and has it read that; returns what is said.
    pub(crate) fn reload(&self, members: &str) -> String {
        self.configure(members);
        self.command_beside(&["reload"])
    }

    /// Reads a path at the address for metrics and health, of which the log tells.
    pub(crate) fn get_beside(&self, path: &str) -> Reply {
        let words = "metrics and health on http://";
        self.eventually("listening for metrics", |server| server.log().contains(words));
        let log = self.log();
        let address = log.split(words).nth(1).unwrap().split('/').next().unwrap();
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        Reply::read(&mut stream, false)
    }

    /// Returns the line of the metrics that begins with these words, without them.
    pub(crate) fn metric(&self, name: &str) -> Option<String> {
        let text = self.get_beside("/-/metrics").text();
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.map(ToOwned::to_owned)
    }

    /// Runs another command of the program on the same configuration; it may fail.
    pub(crate) fn try_command_beside(&self, words: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_reposerver"));
        command.arg("--file").arg(self.directory.path().join("config.json")).args(words);
        command.current_dir(self.directory.path());
        run_through(&self.secrets, command.env_clear().env("STATE_DIRECTORY", self.state()))
    }

    /// Stops the program as an orchestrator does, and returns its place.
    pub(crate) fn stop(mut self) -> Place {
        self.signal(rustix::process::Signal::TERM);
        assert!(self.wait().success(), "{}", self.log());
        self.kill()
    }

    /// Remembers something that must be found nowhere when the server ends.
    pub(crate) fn keep_secret(&self, secret: &str) {
        self.secrets.add(secret);
    }

    /// Looks for what was planted, and what was shown besides, wherever the server writes.
    fn check_leftovers(&self) {
        self.secrets.are_not_in("the log", self.log().as_bytes());
        self.secrets.are_not_below(self.directory.path());
    }

    /// Puts a file beside the directory to serve, as an administrator does; it may hold secrets.
    pub(crate) fn put_beside(&self, name: &str, bytes: impl AsRef<[u8]>) {
        self.secrets.are_put_in(self.outside().join(name));
        std::fs::write(self.outside().join(name), bytes).unwrap();
    }

    /// Runs another command of the program that must refuse, and returns what it says.
    pub(crate) fn refused_beside(&self, words: &[&str]) -> String {
        let mut command = Command::new(env!("CARGO_BIN_EXE_reposerver"));
        command.arg("--file").arg(self.directory.path().join("config.json")).args(words);
        Place::refused(command.env_clear().env("STATE_DIRECTORY", self.state()))
    }

    /// Returns the directory around it, which must never be reached.
    pub(crate) fn outside(&self) -> &Path {
        self.directory.path()
    }

    /// Puts a file on the disk behind the server's back.
    pub(crate) fn put_on_disk(&self, path: &str, bytes: &[u8]) {
        write_below(&self.root(), path, bytes);
    }

    /// Returns the paths of all files and directories that the disk holds, ours aside.
    pub(crate) fn tree(&self) -> Vec<String> {
        tree(&self.root()).into_iter().filter(|path| !path.starts_with(".reposerver")).collect()
    }

    /// Returns what lies in the server's own directory of uploads on their way.
    pub(crate) fn unfinished(&self) -> Vec<String> {
        tree(&self.root().join(".reposerver/tmp"))
    }

    /// Returns the files of versions that are not whole.
    pub(crate) fn drafts(&self) -> Vec<String> {
        let paths = tree(&self.root().join(".reposerver/drafts"));
        paths.into_iter().filter(|path| path.contains("/files/")).collect()
    }

    /// Opens a connection.
    pub(crate) fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// Opens a connection for more than a moment's work.
    pub(crate) fn connect_patiently(&self) -> TcpStream {
        let stream = self.connect();
        stream.set_read_timeout(Some(30 * PATIENCE)).unwrap();
        stream.set_write_timeout(Some(30 * PATIENCE)).unwrap();
        stream
    }

    /// Returns the most memory that the program ever held, in bytes.
    pub(crate) fn peak_memory(&self) -> u64 {
        let status = format!("/proc/{}/status", self.process.id());
        let text = std::fs::read_to_string(status).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().strip_suffix(" kB").unwrap().parse::<u64>().unwrap() * 1024
    }

    /// Sends bytes as they are and reads one answer.
    pub(crate) fn raw(&self, bytes: &[u8]) -> Reply {
        let text = String::from_utf8_lossy(bytes);
        let head = text.split("\r\n\r\n").next().unwrap_or_default();
        self.secrets.add_those_of(head.lines().skip(1).filter_map(|line| line.split_once(':')));
        let mut stream = self.connect();
        // The server may answer and close before it has read everything.
        let _cut = stream.write_all(bytes);
        let reply = Reply::read(&mut stream, bytes.starts_with(b"HEAD "));
        let headers = reply.headers.iter().map(|(name, value)| format!("{name}: {value}\n"));
        self.secrets.are_not_in("an answer's head", headers.collect::<String>().as_bytes());
        if reply.status >= 400 {
            self.secrets.are_not_in("a refusal", &reply.body);
        } else if is_of_the_api(head) && !gives_a_token(head) {
            self.secrets.are_not_in("an answer of the API", &reply.body);
        }
        reply
    }

    /// Sends a request with header lines and a body.
    pub(crate) fn send(&self, method: &str, path: &str, headers: &[&str], body: &[u8]) -> Reply {
        let mut request =
            format!("{method} {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n");
        for line in headers {
            request.push_str(line);
            request.push_str("\r\n");
        }
        if !body.is_empty() || method == "PUT" {
            request.push_str("Content-Length: ");
            request.push_str(&body.len().to_string());
            request.push_str("\r\n");
        }
        request.push_str("\r\n");
        self.raw(&[request.as_bytes(), body].concat())
    }

    /// Reads a path.
    pub(crate) fn get(&self, path: &str) -> Reply {
        self.send("GET", path, &[], b"")
    }

    /// Reads a path with `open-sesame`.
    pub(crate) fn get_as_writer(&self, path: &str) -> Reply {
        self.send("GET", path, &[AUTHORIZED], b"")
    }

    /// Writes a file with `open-sesame` and further header lines.
    pub(crate) fn put_with(&self, path: &str, headers: &[&str], body: &[u8]) -> Reply {
        let lines = [&[AUTHORIZED], headers].concat();
        self.send("PUT", path, &lines, body)
    }

    /// Writes a file with `open-sesame`.
    pub(crate) fn put(&self, path: &str, body: &[u8]) -> Reply {
        self.put_with(path, &[], body)
    }

    /// Deletes a path with `open-sesame` and further header lines.
    pub(crate) fn delete_with(&self, path: &str, headers: &[&str]) -> Reply {
        let lines = [&[AUTHORIZED], headers].concat();
        self.send("DELETE", path, &lines, b"")
    }

    /// Deletes a path with `open-sesame`.
    pub(crate) fn delete(&self, path: &str) -> Reply {
        self.delete_with(path, &[])
    }

    /// Returns what was logged so far.
    pub(crate) fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// Waits until something is so.
    pub(crate) fn eventually(&self, what: &str, mut is_so: impl FnMut(&Self) -> bool) {
        let started = Instant::now();
        while !is_so(self) {
            assert!(started.elapsed() < PATIENCE, "{what}: never; log:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.process);
        rustix::process::kill_process(pid, signal).unwrap();
    }

    /// Waits for the program to end by itself.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        let started = Instant::now();
        loop {
            if let Some(status) = self.process.try_wait().unwrap() {
                return status;
            }
            assert!(started.elapsed() < PATIENCE, "the server does not end; log:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Kills the program as a power cut would, and returns its place.
    pub(crate) fn kill(mut self) -> Place {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
        drop(self.reader.take().map(JoinHandle::join));
        self.check_leftovers();
        let directory = std::mem::replace(&mut self.directory, tempfile::tempdir().unwrap());
        Place { secrets: std::mem::take(&mut self.secrets), ..Place::around(directory) }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _already_dead = self.process.kill();
        let _already_waited = self.process.wait();
        if let Some(reader) = self.reader.take() {
            let _panicked = reader.join();
        }
        if !std::thread::panicking() {
            self.check_leftovers();
        }
    }
}

/// Returns the members of [`Server::with_roles`].
pub(crate) fn with_roles() -> String {
    let token = |name: &str, secret: &[u8]| {
        format!(r#"{{"name": "{name}", "sha256": "{}"}}"#, sha256(secret))
    };
    format!(
        r#""authTypePut": "static-token", "tokens": [{}, {}],
        "auth": {{"roles": {{"admin": ["admin"], "publisher": ["ci"]}}}}, "policies": []"#,
        token("admin", b"only-for-admins"),
        token("ci", b"open-sesame")
    )
}

/// The header line that shows `open-sesame`.
pub(crate) const AUTHORIZED: &str = "Authorization: Bearer open-sesame";

/// Who an administrator of [`Server::with_roles`] is.
pub(crate) const AS_ADMIN: &str = "Authorization: Bearer only-for-admins";

/// A directory for a server, and how to start one there.
pub(crate) struct Place {
    directory: tempfile::TempDir,
    disk: Option<String>,
    is_first_process: bool,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    secrets: Secrets,
}

impl Place {
    /// Makes a place with an empty directory to serve.
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir(directory.path().join("root")).unwrap();
        Self::around(directory)
    }

    /// Returns the place that a directory is.
    pub(crate) fn around(directory: tempfile::TempDir) -> Self {
        let (arguments, environment, secrets) = (Vec::new(), Vec::new(), Secrets::default());
        secrets.are_put_in(directory.path().join("config.json"));
        Self { directory, disk: None, is_first_process: false, arguments, environment, secrets }
    }

    /// Makes the server the first process of its system, as in a container.
    pub(crate) fn being_the_first_process(self) -> Self {
        Self { is_first_process: true, ..self }
    }

    /// Puts the directory to serve on a file system of its own in memory, with these options. Only
    /// the server sees it.
    pub(crate) fn on_a_disk_of(mut self, options: &str) -> Self {
        let root = self.root();
        let root = root.display();
        self.disk =
            Some(format!("mount -t tmpfs -o {options} none '{root}' && exec \"$0\" \"$@\""));
        self
    }

    /// Adds an argument.
    pub(crate) fn argument(mut self, argument: &str) -> Self {
        self.arguments.push(argument.to_owned());
        self
    }

    /// Sets a variable.
    pub(crate) fn variable(mut self, name: &str, value: &str) -> Self {
        planted::is_listed_in_variable(name, value);
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Returns the directory to serve.
    pub(crate) fn root(&self) -> PathBuf {
        self.directory.path().join("root")
    }

    /// Puts a file on the disk.
    pub(crate) fn put_on_disk(&self, path: &str, bytes: &[u8]) {
        write_below(&self.root(), path, bytes);
    }

    /// Returns the path of a file beside the directory to serve. Programs start there.
    pub(crate) fn beside(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Puts a file beside the directory to serve, as an administrator does; it may hold secrets.
    pub(crate) fn put_beside(&self, name: &str, bytes: &[u8]) {
        self.secrets.are_put_in(self.beside(name));
        std::fs::write(self.beside(name), bytes).unwrap();
    }

    /// Returns the program with these members in its configuration file.
    pub(crate) fn command(&self, members: &str) -> Command {
        let file = self.directory.path().join("config.json");
        std::fs::write(&file, configuration(&self.root(), members)).unwrap();
        let mut command = self.bare_command();
        command.arg("--file").arg(file);
        command
    }

    /// Returns the program without a configuration file.
    pub(crate) fn bare_command(&self) -> Command {
        let program = env!("CARGO_BIN_EXE_reposerver");
        let mut command = match &self.disk {
            None if self.is_first_process => {
                let mut command = Command::new("unshare");
                command.args(["-rpf", program]);
                command
            }
            None => Command::new(program),
            Some(line) => {
                let mut command = Command::new("unshare");
                command.args(["-rm", "sh", "-c", line, program]);
                command
            }
        };
        // Not the machine's own place, should it have one.
        let state = self.directory.path().join("state");
        command.args(&self.arguments).env_clear().env("STATE_DIRECTORY", state);
        command.env("TMPDIR", self.directory.path());
        command.env("PATH", "/usr/bin:/bin:/usr/sbin:/sbin");
        command.envs(self.environment.iter().cloned());
        command.current_dir(self.directory.path());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        command
    }

    /// Runs another command of the program while no server runs; it may fail.
    pub(crate) fn run(&self, members: &str, words: &[&str]) -> Output {
        let mut command = self.command(members);
        let output = run_through(&self.secrets, command.args(words));
        self.secrets.are_not_below(self.directory.path());
        output
    }

    /// Returns the directory of what the server knows beside the tree.
    pub(crate) fn state(&self) -> PathBuf {
        self.beside("state")
    }

    /// Runs the program, which must refuse to start, and returns what it says.
    pub(crate) fn refusal(&self, members: &str) -> String {
        let said = Self::refused(&mut self.command(members));
        self.secrets.are_not_below(self.directory.path());
        said
    }

    /// Runs a program that must refuse to start, and returns what it says.
    pub(crate) fn refused(command: &mut Command) -> String {
        let output = looked_through(command);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        String::from_utf8(output.stderr).unwrap()
    }
}

/// Runs a program to its end, and looks for what was planted in what it says.
pub(crate) fn looked_through(command: &mut Command) -> Output {
    run_through(&Secrets::default(), command)
}

/// Runs a program to its end, and looks for secrets in what it says.
fn run_through(secrets: &Secrets, command: &mut Command) -> Output {
    let output = command.stdout(Stdio::piped()).stderr(Stdio::piped()).output().unwrap();
    secrets.are_not_in("what a command says", &output.stderr);
    secrets.are_not_in("what a command prints", &output.stdout);
    output
}

/// Returns the configuration of a server of a directory with these members.
fn configuration(root: &Path, members: &str) -> String {
    if let Ok(settings) = serde_json::from_str(&format!("{{{members}}}")) {
        planted::are_listed_in_settings(&settings);
    }
    let root = serde_json::json!(root);
    // Nobody stands in front of a test who needs time to learn that a server stops.
    let drain = if members.contains("drainDelay") { "" } else { r#", "drainDelay": 0"# };
    let comma = if members.is_empty() { "" } else { ", " };
    format!(r#"{{"address": "127.0.0.1", "port": 0, "serverRoot": {root}{drain}{comma}{members}}}"#)
}

/// Says whether a request is for what the server itself has to say: everything else is a file.
fn is_of_the_api(head: &str) -> bool {
    head.split(' ').nth(1).is_some_and(|path| path.starts_with("/-/"))
}

/// Says whether a request is one of the two whose answer is a token of the server's own.
fn gives_a_token(head: &str) -> bool {
    ["POST /-/api/v1/tokens ", "POST /-/api/v1/oidc/exchange "]
        .iter()
        .any(|it| head.starts_with(it))
}

fn write_below(root: &Path, path: &str, bytes: &[u8]) {
    let full = root.join(path);
    std::fs::create_dir_all(full.parent().unwrap()).unwrap();
    std::fs::write(full, bytes).unwrap();
}

fn tree(root: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut waiting = vec![root.to_owned()];
    while let Some(directory) = waiting.pop() {
        let Ok(entries) = std::fs::read_dir(&directory) else { continue };
        for entry in entries.map(Result::unwrap) {
            let path = entry.path();
            found.push(path.strip_prefix(root).unwrap().to_str().unwrap().to_owned());
            if entry.file_type().unwrap().is_dir() {
                waiting.push(path);
            }
        }
    }
    found.sort();
    found
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Reply {
    /// Its status; 0 if the connection ended without one.
    pub(crate) status: u16,
    headers: Vec<(String, String)>,
    /// Its body, as long as `Content-Length` says or less if it was cut.
    pub(crate) body: Vec<u8>,
}

impl Reply {
    /// Reads one answer from a connection.
    pub(crate) fn read(stream: &mut TcpStream, is_head: bool) -> Self {
        let mut reader = BufReader::new(stream);
        loop {
            let (status, headers) = read_head(&mut reader);
            if status == 100 {
                continue;
            }
            let mut reply = Self { status, headers, body: Vec::new() };
            let length = reply.header("content-length").map(|text| text.parse().unwrap());
            if !is_head && status != 304 {
                let _cut = reader.take(length.unwrap_or(0)).read_to_end(&mut reply.body);
            }
            return reply;
        }
    }

    /// Returns a header's value.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(known, _value)| known == name)
            .map(|(_name, value)| value.as_str())
    }

    /// Returns the values of all headers of a name.
    pub(crate) fn all(&self, name: &str) -> Vec<&str> {
        let known = self.headers.iter().filter(|(known, _value)| known == name);
        known.map(|(_name, value)| value.as_str()).collect()
    }

    /// Returns the names and values of all headers but those that differ every time.
    pub(crate) fn stable_headers(&self) -> Vec<(String, String)> {
        let differs = |name: &str| matches!(name, "date" | "x-request-id");
        self.headers.iter().filter(|(name, _value)| !differs(name)).cloned().collect()
    }

    /// Returns the body as text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }

    /// Returns the body as JSON.
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Checks status and code of a refusal.
    pub(crate) fn is_refused(&self, status: u16, code: &str) -> &Self {
        assert_eq!(self.status, status, "{self:?}");
        let problem = self.json();
        assert_eq!(problem["type"], format!("urn:dbt:problem:{code}"), "{problem}");
        assert_eq!(problem["status"], status);
        assert_eq!(problem["requestId"].as_str(), self.header("x-request-id"), "{problem}");
        self
    }
}

fn read_head(reader: &mut BufReader<&mut TcpStream>) -> (u16, Vec<(String, String)>) {
    let mut line = || {
        let mut line = String::new();
        let _cut = reader.read_line(&mut line);
        line.trim_end().to_owned()
    };
    let status = line().split(' ').nth(1).map_or(0, |text| text.parse().unwrap());
    let mut headers = Vec::new();
    loop {
        let text = line();
        let Some((name, value)) = text.split_once(':') else { return (status, headers) };
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
}

/// Returns the lower-case hexadecimal SHA-256 of some bytes.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    dbt_core::digest::Digest::of(bytes).to_string()
}

/// Returns the SHA-256 of some bytes as the header `Repr-Digest` has it.
pub(crate) fn repr_digest(bytes: &[u8]) -> String {
    let digest = dbt_core::digest::Digest::of(bytes);
    let text = STANDARD.encode(digest.as_bytes());
    format!("sha-256=:{text}:")
}
