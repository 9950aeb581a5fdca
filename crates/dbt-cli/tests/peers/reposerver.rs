//! Our own server and publisher, as somebody else's program meets them.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::thread::JoinHandle;

use dbt_core::platform::Platform;
use dbt_testkit::planted;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::daemon::Daemon;

pub(crate) const TOKEN: &str = "a-token-for-this-test-alone";
pub(crate) const PASSPHRASE: &str = "correct horse battery staple";

/// A repository that `publisher` wrote and `reposerver` serves.
pub(crate) struct Reposerver {
    root: String,
    /// Ends before what it has written is looked through.
    daemon: Option<Daemon>,
    logs: Vec<JoinHandle<String>>,
    directory: TempDir,
}

impl Reposerver {
    /// Starts the server on a directory with nothing but a truststore.
    pub(crate) fn start() -> Self {
        Self::with(&serde_json::json!({}))
    }

    /// Starts it with further settings.
    pub(crate) fn with(settings: &serde_json::Value) -> Self {
        let server = Self::empty(settings);
        server.publisher(&["key", "generate", "demo", "--email", "demo@example.org"]);
        let key = server.key();
        server.publisher(&["truststore", "add", "demo", "--to", &server.root, "--signer", &key]);
        server
    }

    /// Starts it with these settings on a directory in which there is nothing.
    pub(crate) fn empty(settings: &serde_json::Value) -> Self {
        let directory = tempfile::Builder::new().prefix("w").tempdir_in("/tmp").unwrap();
        for name in ["served", "home"] {
            fs::create_dir(directory.path().join(name)).unwrap();
        }
        let mut config = serde_json::json!({
            "address": "127.0.0.1",
            "port": 0,
            "serverRoot": directory.path().join("served"),
            "authTypePut": "static-token",
            "authOptsPut": { "staticToken": TOKEN },
        });
        for (key, value) in settings.as_object().unwrap() {
            config[key] = value.clone();
        }
        let mut server = Self { root: String::new(), daemon: None, logs: Vec::new(), directory };
        fs::write(server.settings(), config.to_string()).unwrap();
        server.start_again();
        server
    }

    /// Starts the server, at another address than before.
    pub(crate) fn start_again(&mut self) {
        let mut child = Command::new(built("reposerver"));
        child.arg("-f").arg(self.settings());
        self.started(child);
    }

    /// Starts what starts the server.
    pub(crate) fn started(&mut self, mut command: Command) {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = BufReader::new(child.stderr.take().unwrap());
        self.daemon = Some(Daemon(child));
        let mut lines = log.lines().map_while(Result::ok);
        let mut said = String::new();
        let listens = lines.find_map(|line| {
            said.push_str(&line);
            said.push('\n');
            let (_, address) = line.split_once("listening on ")?;
            Some(address.split(',').next()?.to_owned())
        });
        self.root = listens.unwrap_or_else(|| panic!("reposerver does not listen: {said}"));
        // The server does not like to talk to nobody.
        let log = std::thread::spawn(move || said + &lines.collect::<Vec<_>>().join("\n"));
        self.logs.push(log);
    }

    /// Ends the server as a power cut would.
    pub(crate) fn kill(&mut self) {
        if let Some(mut daemon) = self.daemon.take() {
            daemon.0.kill().unwrap();
            daemon.0.wait().unwrap();
        }
    }

    /// Asks the server to end, and waits until it has.
    pub(crate) fn stop(&mut self) {
        drop(self.daemon.take());
    }

    /// Sends a signal to what started the server.
    pub(crate) fn signal(&self, signal: Signal) {
        let daemon = self.daemon.as_ref().unwrap();
        kill_process(Pid::from_child(&daemon.0), signal).unwrap();
    }

    /// Returns the file of the server's settings.
    pub(crate) fn settings(&self) -> PathBuf {
        self.directory.path().join("reposerver.json")
    }

    /// Returns where the server listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.root.strip_prefix("http://").unwrap().parse().unwrap()
    }

    /// Returns the address of both repositories.
    pub(crate) fn root(&self) -> &str {
        &self.root
    }

    /// Returns the directory that is served.
    pub(crate) fn served(&self) -> PathBuf {
        self.directory.path().join("served")
    }

    /// Returns the directory around it, with room for a client's files.
    pub(crate) fn place(&self) -> &Path {
        self.directory.path()
    }

    /// Publishes a version of a tool, or of dbt itself: a script that does this.
    pub(crate) fn publish(&self, tool: &str, version: &str, script: &str) {
        let file = self.directory.path().join("script");
        fs::write(&file, format!("#!/bin/sh\n{script}\n")).unwrap();
        let artifact = format!("{}={}", Platform::CURRENT, file.display());
        let key = self.key();
        let mut words = vec!["publish", tool, version, &artifact];
        words.extend(["--to", &self.root, "--signer", &key]);
        if tool == "dbt" {
            // It is a script here.
            words.push("--force");
        } else {
            words.extend(["--description", "says hello"]);
        }
        self.publisher(&words);
    }

    fn publisher(&self, words: &[&str]) {
        let output = self.publisher_as(words, ("DBT_PUBLISH_TOKEN", Path::new(TOKEN)));
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "publisher {words:?}: {said}");
    }

    /// Runs `publisher` with these words, and who it is in a variable.
    pub(crate) fn publisher_as(&self, words: &[&str], who: (&str, &Path)) -> Output {
        publisher(&self.home(), words, who).output().unwrap()
    }

    /// Returns the home of whoever publishes.
    pub(crate) fn home(&self) -> PathBuf {
        self.directory.path().join("home")
    }

    /// Returns the signer of what is published, for the command line.
    pub(crate) fn key(&self) -> String {
        let keys = self.directory.path().join("home/.dbt/keys");
        let mut files = fs::read_dir(keys).unwrap().map(|entry| entry.unwrap().path());
        let key = files.find(|file| file.extension().is_some_and(|ending| ending == "asc"));
        format!("file:{}", key.unwrap().display())
    }
}

/// What the programs showed to the server is in nothing that it has said, and in nothing that it serves or
/// keeps beside that.
impl Drop for Reposerver {
    fn drop(&mut self) {
        drop(self.daemon.take());
        let logs = self.logs.drain(..).map(|log| log.join().unwrap_or_default());
        let log: String = logs.collect();
        if std::thread::panicking() {
            return;
        }
        assert_eq!(planted::found_in(log.as_bytes()), None, "in the log of reposerver");
        for file in planted::files_below(&self.served()) {
            let bytes = fs::read(&file).unwrap_or_default();
            assert_eq!(planted::found_in(&bytes), None, "{}", file.display());
        }
    }
}

/// Returns what runs `publisher` with these words, and who it is in a variable.
pub(crate) fn publisher(home: &Path, words: &[&str], (name, value): (&str, &Path)) -> Command {
    // Whoever runs tests in the background may have them ignore Ctrl-C; a person does not.
    let mut command = Command::new("/usr/bin/env");
    command
        .arg("--default-signal=INT")
        .arg(built("publisher"))
        .args(words)
        .env_clear()
        .env("HOME", home)
        .env("PATH", "/usr/bin:/bin")
        .env(name, value)
        .env("DBT_SIGNING_PASSPHRASE", PASSPHRASE)
        .stdin(Stdio::null());
    command
}

/// Returns a program of another crate, which cargo puts beside ours.
pub(crate) fn built(name: &str) -> PathBuf {
    let program = Path::new(env!("CARGO_BIN_EXE_dbt")).with_file_name(name);
    assert!(program.exists(), "{} is not built: `make test-peers` does it", program.display());
    program
}
