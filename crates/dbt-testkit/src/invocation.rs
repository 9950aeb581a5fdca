//! The real program, started in a world, and what came of it.

use std::ffi::{OsStr, OsString};
use std::io::{Read, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;

use crate::planted::{self, Secrets};
use crate::redact::redacted;
use crate::world::World;

/// How long a run may take before the test gives up on it.
const PATIENCE: Duration = Duration::from_mins(1);

/// How many times a program that is open for writing somewhere is tried again.
const BUSY_TRIES: u32 = 50;

/// A run to be started.
#[derive(Debug)]
pub struct Invocation<'a> {
    world: &'a World,
    prefix: Vec<OsString>,
    program: PathBuf,
    arguments: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
    stdin: Vec<u8>,
    pipe: Option<PathBuf>,
}

impl<'a> Invocation<'a> {
    pub(crate) fn new(world: &'a World, arguments: Vec<OsString>) -> Self {
        let home = OsString::from(world.home());
        let of_the_world = world.variables().into_iter();
        let of_the_world = of_the_world.map(|(name, value)| (name.into(), value.into()));
        let usual = [
            ("HOME".into(), home),
            ("PATH".into(), "/usr/local/bin:/usr/bin:/bin".into()),
            ("TMPDIR".into(), world.temporary().into()),
        ];
        Self {
            world,
            prefix: Vec::new(),
            program: world.program(),
            arguments,
            environment: usual.into_iter().chain(of_the_world).collect(),
            stdin: Vec::new(),
            pipe: None,
        }
    }

    /// Sets a variable; `HOME`, `PATH` and `TMPDIR` are set already, and nothing else.
    #[must_use]
    #[track_caller]
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        planted::is_listed_in_variable(name, &value.as_ref().to_string_lossy());
        self.environment.retain(|(other, _)| other != name);
        self.environment.push((name.into(), value.as_ref().to_owned()));
        self
    }

    /// Gives it something to read.
    #[must_use]
    pub fn stdin(mut self, bytes: &[u8]) -> Self {
        self.stdin = bytes.to_vec();
        self
    }

    /// Has it read this, as it is written: a pipe with a name that a test writes to later.
    #[must_use]
    pub fn stdin_from(mut self, pipe: impl Into<PathBuf>) -> Self {
        self.pipe = Some(pipe.into());
        self
    }

    /// Starts another program than dbt.
    #[must_use]
    pub fn program(mut self, program: impl Into<PathBuf>) -> Self {
        self.program = program.into();
        self
    }

    /// Starts it through another program, which gets it as its last arguments.
    #[must_use]
    pub fn through(mut self, prefix: &[&str]) -> Self {
        self.prefix = prefix.iter().map(OsString::from).collect();
        self
    }

    /// Starts it with mounts of its own, made by a line of shell that sees `directory` as `$0`.
    /// Only where [`mounts_work`].
    #[must_use]
    pub fn mounting(mut self, line: &str, directory: &Path) -> Self {
        let line = format!("{line} && exec \"$@\"");
        self.prefix = ["unshare", "-rm", "sh", "-c", &line].map(OsString::from).to_vec();
        self.prefix.push(directory.as_os_str().to_owned());
        self
    }

    /// Starts it with mounts of its own, and within them through another program.
    #[must_use]
    pub fn through_mounts(self, line: &str, directory: &Path, prefix: &[&str]) -> Self {
        let mut mounted = self.mounting(line, directory);
        if std::fs::metadata("/proc/self").is_ok_and(|it| it.uid() == 0) {
            // Among this machine's users, of whom the other program may become one.
            mounted.prefix[1] = OsString::from("-m");
        }
        mounted.prefix.extend(prefix.iter().map(OsString::from));
        mounted
    }

    /// Runs it to its end.
    pub fn run(self) -> Run {
        self.start().finish()
    }

    /// Starts it.
    pub fn start(self) -> Running {
        let mut words = self.prefix.clone();
        words.push(self.program.clone().into_os_string());
        words.extend(self.arguments.iter().cloned());
        let mut command = Command::new(&words[0]);
        command
            .args(&words[1..])
            .env_clear()
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .current_dir(self.world.directory())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        if let Some(pipe) = &self.pipe {
            // Opened for both, which waits for nobody.
            let pipe = std::fs::OpenOptions::new().read(true).write(true).open(pipe);
            command.stdin(pipe.unwrap());
        }
        let mut child = spawn(&mut command);
        if let Some(mut to_child) = child.stdin.take() {
            let stdin = self.stdin.clone();
            // A tool that does not read breaks this pipe, which is its right.
            thread::spawn(move || drop(to_child.write_all(&stdin)));
        }
        let stdout = collect(child.stdout.take().unwrap());
        let stderr = collect(child.stderr.take().unwrap());
        let hidden = self.world.hidden();
        let secrets = self.world.secrets();
        Running { child, words, stdout, stderr, hidden, secrets }
    }
}

/// Says whether this machine lets us have mounts of our own. Where it does not, what needs them
/// cannot be tested: such a test fails, unless [`WITHOUT_MOUNTS`] says that this is known.
#[expect(clippy::disallowed_methods, reason = "whoever runs the tests says so there")]
pub fn mounts_work() -> bool {
    static WORK: OnceLock<bool> = OnceLock::new();
    let work = *WORK.get_or_init(|| {
        let line = "mount -t tmpfs none /mnt";
        let tried = Command::new("unshare").args(["-rm", "sh", "-c", line]).output();
        tried.is_ok_and(|output| output.status.success())
    });
    assert!(
        work || std::env::var_os(WITHOUT_MOUNTS).is_some(),
        "`unshare -rm` is forbidden here, and this test needs a disk of its own; \
         {WITHOUT_MOUNTS}=1 leaves such tests out"
    );
    work
}

/// The variable that leaves out tests for which this machine lacks mounts.
pub const WITHOUT_MOUNTS: &str = "DBT_TESTS_WITHOUT_MOUNTS";

/// The line of shell for [`Invocation::mounting`] that makes a directory read-only.
pub const READ_ONLY: &str = "mount --bind \"$0\" \"$0\" && mount -o remount,bind,ro \"$0\"";

/// A program that another thread has just written may be held open by a child that thread forked.
fn spawn(command: &mut Command) -> Child {
    for _ in 0..BUSY_TRIES {
        match command.spawn() {
            Err(error) if error.kind() == std::io::ErrorKind::ExecutableFileBusy => {
                thread::sleep(Duration::from_millis(10));
            }
            outcome => return outcome.unwrap_or_else(|error| panic!("{command:?}: {error}")),
        }
    }
    panic!("{command:?} stays open for writing")
}

fn collect(mut pipe: impl Read + Send + 'static) -> Receiver<Vec<u8>> {
    let (sender, receiver) = channel();
    thread::spawn(move || {
        let mut bytes = Vec::new();
        let whole = pipe.read_to_end(&mut bytes);
        drop(whole.map(|_length| sender.send(bytes)));
    });
    receiver
}

/// A run under way.
#[derive(Debug)]
pub struct Running {
    child: Child,
    words: Vec<OsString>,
    stdout: Receiver<Vec<u8>>,
    stderr: Receiver<Vec<u8>>,
    hidden: Vec<(String, &'static str)>,
    secrets: Arc<Secrets>,
}

impl Running {
    /// Returns its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Says whether it has ended.
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Kills it, as by `kill -9`, and waits until it is gone.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        // A process that it started may live on and keep these open.
        for pipe in [&self.stdout, &self.stderr] {
            let said = pipe.recv_timeout(Duration::from_secs(1)).unwrap_or_default();
            self.secrets
                .are_not_in(&format!("what `{}` says", without_secrets(&self.words)), &said);
        }
    }

    /// Waits until it has ended.
    pub fn finish(mut self) -> Run {
        let (Ok(stdout), Ok(stderr)) =
            (self.stdout.recv_timeout(PATIENCE), self.stderr.recv_timeout(PATIENCE))
        else {
            drop(self.child.kill());
            panic!("{:?} does not end", self.words);
        };
        let status = self.child.wait().unwrap();
        let run = Run { words: self.words, status, stdout, stderr, hidden: self.hidden };
        self.secrets
            .are_not_in(&format!("what `{}` prints", without_secrets(&run.words)), &run.stdout);
        self.secrets
            .are_not_in(&format!("what `{}` says", without_secrets(&run.words)), &run.stderr);
        run
    }
}

/// Returns what was typed, but for what is planted there.
fn without_secrets(words: &[OsString]) -> String {
    let is_secret = |word: &OsString| planted::found_in(word.as_encoded_bytes()).is_some();
    let words = words
        .iter()
        .map(|word| if is_secret(word) { "[SECRET]".into() } else { word.to_string_lossy() });
    words.collect::<Vec<_>>().join(" ")
}

/// What came of a run.
#[derive(Debug)]
pub struct Run {
    words: Vec<OsString>,
    status: ExitStatus,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
    hidden: Vec<(String, &'static str)>,
}

impl Run {
    /// Expects an exit code.
    #[track_caller]
    pub fn exits_with(&self, code: i32) -> &Self {
        let said = self.stderr();
        assert_eq!(self.status.code(), Some(code), "{:?} said:\n{said}", self.words);
        self
    }

    /// Returns its exit code; nothing when a signal ended it.
    pub fn code(&self) -> Option<i32> {
        self.status.code()
    }

    /// Expects that it was ended by a signal.
    #[track_caller]
    pub fn ends_by_signal(&self, signal: i32) -> &Self {
        assert_eq!(self.status.signal(), Some(signal), "{:?}", self.status);
        self
    }

    /// Expects success, and these lines on stdout, to the byte.
    #[track_caller]
    pub fn prints(&self, expected: &str) -> &Self {
        self.exits_with(0);
        assert_eq!(self.stdout(), expected, "{:?} said:\n{}", self.words, self.stderr());
        self
    }

    /// Expects these lines on stderr, after redaction, and no others.
    #[track_caller]
    pub fn says(&self, expected: &str) -> &Self {
        assert_eq!(self.stderr(), expected);
        self
    }

    /// Expects nothing on stderr.
    #[track_caller]
    pub fn says_nothing(&self) -> &Self {
        self.says("")
    }

    /// Expects some words on stderr.
    #[track_caller]
    pub fn mentions(&self, words: &str) -> &Self {
        let said = self.stderr();
        assert!(said.contains(words), "`{words}` is not in:\n{said}");
        self
    }

    /// Expects that some words are not on stderr.
    #[track_caller]
    pub fn does_not_mention(&self, words: &str) -> &Self {
        let said = self.stderr();
        assert!(!said.contains(words), "`{words}` is in:\n{said}");
        self
    }

    /// Returns what it printed, as it is.
    pub fn stdout(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Returns the bytes it printed.
    pub fn stdout_bytes(&self) -> &[u8] {
        &self.stdout
    }

    /// Returns what it said, redacted.
    pub fn stderr(&self) -> String {
        let mut said = String::from_utf8_lossy(&self.stderr).into_owned();
        for (text, name) in &self.hidden {
            said = said.replace(text, name);
        }
        redacted(&said)
    }
}
