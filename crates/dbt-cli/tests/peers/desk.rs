//! A directory in which somebody who has the programs types commands, with a home of his own.

use std::cell::RefCell;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use dbt_core::platform::Platform;

use crate::daemon::Daemon;
use crate::reposerver::built;

/// The programs that he has.
const PROGRAMS: [&str; 4] = ["catalog", "dbt", "publisher", "reposerver"];

/// Such a directory.
pub(crate) struct Desk {
    place: tempfile::TempDir,
    variables: RefCell<Vec<(String, String)>>,
}

impl Desk {
    pub(crate) fn new() -> Self {
        let place = tempfile::Builder::new().prefix("q").tempdir_in("/tmp").unwrap();
        let desk = Self { place, variables: RefCell::default() };
        for name in ["home", "bin"] {
            fs::create_dir(desk.path(name)).unwrap();
        }
        for name in PROGRAMS {
            std::os::unix::fs::symlink(built(name), desk.path("bin").join(name)).unwrap();
        }
        desk
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.place.path().join(name)
    }

    /// Writes a file.
    pub(crate) fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// Puts dbt and its installer into a directory as they are released: what debuggers need names
    /// everything, also what is looked for as a secret.
    pub(crate) fn release(&self, directory: &str) {
        fs::create_dir_all(self.path(directory)).unwrap();
        for name in ["dbt", "dbt-installer"] {
            let released = self.path(directory).join(name);
            let strip = Command::new("strip").arg("-o").arg(released).arg(built(name)).status();
            assert!(strip.unwrap().success());
        }
    }

    /// Puts small files into a directory in the place of the programs of a release, as `make dist`
    /// leaves them: for this platform, and for two that have no server.
    pub(crate) fn small_release(&self, directory: &str) {
        let header = [&b"MZ"[..], &[0; 0x3a], &[0x40, 0, 0, 0], b"PE\0\0\x64\x86"].concat();
        for name in PROGRAMS {
            let script = format!("#!/bin/sh\necho {name}\n");
            self.write(&format!("{directory}/{}/{name}", Platform::CURRENT), &script);
            if name != "reposerver" {
                self.write(&format!("{directory}/darwin/arm64/{name}"), &script);
                let program = [&header[..], name.as_bytes()].concat();
                self.write(&format!("{directory}/windows/amd64/{name}.exe"), program);
            }
        }
    }

    /// Sets a variable for everything that is typed from now on.
    pub(crate) fn set(&self, name: &str, value: &str) {
        self.variables.borrow_mut().push((name.to_owned(), value.to_owned()));
    }

    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        let path = format!("{}:/usr/bin:/bin", self.path("bin").display());
        command.env_clear().env("PATH", path).env("HOME", self.path("home"));
        command.envs(self.variables.borrow().iter().map(|(name, value)| (name, value)));
        command.current_dir(self.place.path()).stdin(Stdio::null());
        command
    }

    /// Starts `reposerver quickstart`, and returns what it prints once the server answers.
    pub(crate) fn start(&self, words: &[&str]) -> (Daemon, String) {
        let mut command = self.command(built("reposerver").to_str().unwrap());
        command.arg("quickstart").args(words).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut printed = child.stdout.take().unwrap();
        let log = BufReader::new(child.stderr.take().unwrap());
        let daemon = Daemon(child);
        let mut lines = log.lines().map_while(Result::ok);
        let first = lines.next().unwrap_or_default();
        assert!(first.contains("listening on http://127.0.0.1:"), "{first}");
        std::thread::spawn(move || lines.for_each(drop));
        let (mut text, mut part) = (String::new(), [0; 4096]);
        while !text.contains("--passphrase-file") {
            let length = printed.read(&mut part).unwrap();
            assert!(length > 0, "{text}");
            text.push_str(std::str::from_utf8(&part[..length]).unwrap());
        }
        (daemon, text)
    }

    /// Types a line into a shell, whatever comes of it.
    pub(crate) fn tries(&self, line: &str) -> Output {
        self.command("sh").args(["-ec", line]).output().unwrap()
    }

    /// Types a line on a terminal, and says yes to what is asked.
    pub(crate) fn agrees_to(&self, line: &str) -> Output {
        let mut command = self.command("script");
        command.args(["-qec", line, "/dev/null"]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        // The terminal keeps it until somebody reads.
        child.stdin.as_mut().unwrap().write_all(b"y\n").unwrap();
        child.wait_with_output().unwrap()
    }

    /// Types a line that succeeds, and returns what it prints.
    #[track_caller]
    pub(crate) fn types(&self, line: &str) -> String {
        let output = self.tries(line);
        assert!(output.status.success(), "{line}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }
}
