//! How a program becomes another one on Windows, which has no such thing: as a child, run by Wine.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{Mutex, PoisonError};

use crate::built::target;

/// Where Debian puts it.
pub(crate) const WINE: &str = "/usr/lib/wine/wine64";

/// A place with a Windows of its own, the program that becomes another one, and one that says how it
/// was started.
pub(crate) struct Place(tempfile::TempDir);

impl Place {
    pub(crate) fn new() -> Self {
        let place = Self(tempfile::Builder::new().prefix("wine").tempdir_in("/tmp").unwrap());
        fs::copy(target("static/windows-amd64/become.exe"), place.path("become.exe")).unwrap();
        compiled("told.c", &["-o"], &place.path("told.exe"));
        compiled("process_prng.c", &["-shared", "-o"], &place.path("bcryptprimitives.dll"));
        place.make_windows();
        place
    }

    /// Makes the Windows, which Wine does at its first start: several at once on a busy machine give up
    /// waiting for themselves, and say so by the exit code of whatever was to be started.
    fn make_windows(&self) {
        static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
        let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        let is_made = || self.run(&["cmd.exe", "/c", "exit 0"]).0 == Some(0);
        assert!((0..3).any(|_attempt| is_made()), "Wine makes no Windows here");
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env_clear().env("PATH", "/usr/bin:/bin").env("HOME", self.0.path());
        command.env("WINEPREFIX", self.path(".wine")).env("WINEDEBUG", "-all");
        command.current_dir(self.0.path()).stdin(Stdio::null());
        command
    }

    /// Runs a program with the words that follow as they stand.
    pub(crate) fn run(&self, words: &[&str]) -> (Option<i32>, String) {
        let output = self.command(WINE).args(words).output().unwrap();
        said(&output)
    }

    /// The same at a console, without which nobody is interrupted.
    pub(crate) fn run_at_a_console(&self, line: &str) -> (Option<i32>, String) {
        let line = format!("{WINE} {line}");
        let output = self.command("script").args(["-qec", &line, "/dev/null"]).output().unwrap();
        said(&output)
    }
}

/// Compiles a file that lies beside this one for Windows.
fn compiled(source: &str, words: &[&str], to: &Path) {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/static").join(source);
    let mut compile = Command::new("x86_64-w64-mingw32-gcc");
    let output = compile.args(words).arg(to).arg(source).arg("-ladvapi32").output().unwrap();
    assert!(output.status.success(), "{output:?}");
}

impl Drop for Place {
    fn drop(&mut self) {
        // What Wine has started in the background is of this place alone.
        let server = Path::new(WINE).with_file_name("wineserver64");
        let _gone = self.command(server.to_str().unwrap()).arg("-k").output();
    }
}

pub(crate) fn said(output: &Output) -> (Option<i32>, String) {
    let said = String::from_utf8_lossy(&output.stdout).replace('\r', "");
    (output.status.code(), said)
}

#[test]
fn on_windows_a_tool_gets_its_words_its_environment_and_its_exit_code() {
    let place = Place::new();
    // The words go to it as they were received, quotes included.
    let line = r#"become.exe told.exe told "a  b" c\"d "" e\\ last"#;
    fs::write(
        place.path("run.cmd"),
        format!("@set TOLD=it\r\n@{line}\r\n@exit /b %ERRORLEVEL%\r\n"),
    )
    .unwrap();
    let (code, said) = place.run(&["cmd.exe", "/c", "run.cmd"]);
    assert_eq!(code, Some(7), "{said}");
    let received = r#""a  b" c\"d "" e\\ last"#;
    let mut lines = said.lines();
    let first = lines.next().unwrap();
    assert!(first.ends_with(&format!(" {received}")), "{said}");
    let words: Vec<&str> = lines.collect();
    assert_eq!(words, ["[a  b]", "[c\"d]", "[]", r"[e\\]", "[last]", "TOLD=it"]);

    // Codes have 32 bits there; only who is of that system can see them.
    let codes = ["0", "1", "255", "256", "70000", "0xC0000005"];
    let expected = ["0", "1", "255", "256", "70000", "-1073741819"];
    let lines = codes.map(|code| {
        format!("@become.exe told.exe told exit {code}\r\n@echo code %ERRORLEVEL%\r\n")
    });
    fs::write(place.path("codes.cmd"), lines.concat()).unwrap();
    let (_code, said) = place.run(&["cmd.exe", "/c", "codes.cmd"]);
    let seen: Vec<&str> = said.lines().filter_map(|line| line.strip_prefix("code ")).collect();
    assert_eq!(seen, expected, "{said}");
}

#[test]
fn on_windows_what_cannot_be_started_is_an_error() {
    let place = Place::new();
    let output = place.command(WINE).args(["become.exe", "gone.exe", "gone"]).output().unwrap();
    assert_eq!(output.status.code(), Some(126), "{output:?}");
    assert!(!output.stderr.is_empty());
    // Batch files cut words in their own way: what cannot be quoted for them is refused, not run.
    fs::write(place.path("tool.cmd"), "@echo ran %1\r\n@exit /b 5\r\n").unwrap();
    let (code, said) = place.run(&["become.exe", "tool.cmd", "tool", "a b"]);
    assert_eq!((code, said.as_str()), (Some(5), "ran \"a b\"\n"));
    let (code, said) = place.run(&["become.exe", "tool.cmd", "tool", "a\r\necho b"]);
    assert_eq!((code, said.as_str()), (Some(126), ""));
}

#[test]
fn on_windows_ctrl_c_is_the_tools() {
    let place = Place::new();
    // Without somebody in between it is so; otherwise the console would not be one.
    let (alone, said) = place.run_at_a_console("told.exe interrupt");
    assert_eq!(alone, Some(42), "{said}");
    let (code, said) = place.run_at_a_console("become.exe told.exe told interrupt");
    assert_eq!(code, Some(42), "{said}");
}
