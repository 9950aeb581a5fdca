//! One secret of the configuration: written there, in a file, or printed by a command.

use std::collections::BTreeSet;
use std::fmt;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, mpsc};
use std::thread;
use std::time::Duration;

use dbt_core::digest::Digest;
use dbt_core::secret::Secret;

use super::CredentialsError;
use crate::bounded_program::{self, Ended, NotEnded, OUTPUT_LIMIT, read_bounded};

/// How long a command may take, or whoever writes into a pipe: long enough to find and touch a
/// hardware key.
const COMMAND_LIMIT: Duration = Duration::from_secs(30);

/// One secret, read when it is first needed and then kept, unless it is read anew.
pub struct SecretValue {
    /// What the user calls it: the key of the configuration, or the variable.
    key: String,
    place: Place,
    read: OnceLock<Read>,
    /// What was read later counts.
    was_renewed: AtomicBool,
    read_anew: Box<OnceLock<Read>>,
}

type Read = Result<Secret<String>, CredentialsError>;

enum Place {
    Fixed(Secret<String>),
    File { path: PathBuf, limit: Duration },
    Command { line: String, withheld: BTreeSet<String>, limit: Duration },
}

impl SecretValue {
    /// Takes a secret that is known.
    pub fn fixed(key: &str, value: Secret<String>) -> Self {
        Self::at(key, Place::Fixed(value))
    }

    /// Names a file that holds the secret, with or without a newline at its end.
    pub fn file(key: &str, path: PathBuf) -> Self {
        Self::at(key, Place::File { path, limit: COMMAND_LIMIT })
    }

    /// Names a command that prints the secret, with or without a newline at its end.
    ///
    /// It is run by `sh -c` (`cmd /C` on Windows) at most once. It has no standard input; what it
    /// says on standard error is seen by the user.
    pub fn command(key: &str, line: String) -> Self {
        let withheld = BTreeSet::new();
        Self::at(key, Place::Command { line, withheld, limit: COMMAND_LIMIT })
    }

    /// Keeps variables, in which other secrets stand, from its command.
    #[must_use]
    pub fn withholding(mut self, variables: BTreeSet<String>) -> Self {
        if let Place::Command { withheld, .. } = &mut self.place {
            *withheld = variables;
        }
        self
    }

    /// Returns what the user calls it.
    pub(crate) fn key(&self) -> &str {
        &self.key
    }

    /// Returns a digest of what the configuration says, without reading or running anything: the same
    /// for the same words, and no other's.
    pub(crate) fn digest_of_words(&self) -> Digest {
        let words = Secret::new(match &self.place {
            Place::Fixed(value) => format!("written\n{}", value.expose()),
            Place::File { path, limit: _ } => format!("file\n{}", path.display()),
            Place::Command { line, .. } => format!("command\n{line}"),
        });
        Digest::of(words.expose().as_bytes())
    }

    /// Returns the secret. The answer, good or bad, is the same every time until it is read anew.
    /// Whoever asks first says how long it is waited for.
    pub(crate) fn read(&self, limit: Duration) -> Result<&Secret<String>, CredentialsError> {
        let place: &OnceLock<Read> = if self.was_renewed() { &self.read_anew } else { &self.read };
        self.read_into(place, limit)
    }

    fn read_into<'a>(
        &'a self,
        place: &'a OnceLock<Read>,
        most: Duration,
    ) -> Result<&'a Secret<String>, CredentialsError> {
        match &self.place {
            Place::Fixed(value) => Ok(value),
            Place::File { path, limit } => {
                let read = || read_file(&self.key, path, most.min(*limit));
                place.get_or_init(read).as_ref().map_err(Clone::clone)
            }
            Place::Command { line, withheld, limit } => {
                let run = || run_command(&self.key, (line, withheld), most.min(*limit));
                place.get_or_init(run).as_ref().map_err(Clone::clone)
            }
        }
    }

    /// Reads it anew, once; says whether it is another one now.
    pub(super) fn renew(&self, limit: Duration) -> Result<bool, CredentialsError> {
        if matches!(self.place, Place::Fixed(_)) {
            return Ok(false);
        }
        let before = self.read_into(&self.read, limit)?;
        let anew = self.read_into(&self.read_anew, limit)?;
        self.was_renewed.store(true, Ordering::Release);
        Ok(before.expose() != anew.expose())
    }

    /// Says whether it was read anew.
    pub(super) fn was_renewed(&self) -> bool {
        self.was_renewed.load(Ordering::Acquire)
    }

    fn at(key: &str, place: Place) -> Self {
        Self {
            key: key.to_owned(),
            place,
            read: OnceLock::new(),
            was_renewed: AtomicBool::new(false),
            read_anew: Box::default(),
        }
    }
}

impl fmt::Debug for SecretValue {
    /// Shows where the secret is from. A command line is not shown: people write secrets there.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = match &self.place {
            Place::Fixed(_) => "written",
            Place::File { .. } => "in a file",
            Place::Command { .. } => "printed by a command",
        };
        write!(f, "SecretValue({}, {place})", self.key)
    }
}

fn read_file(key: &str, path: &Path, limit: Duration) -> Result<Secret<String>, CredentialsError> {
    let fail = |source| CredentialsError::File {
        key: key.to_owned(),
        path: path.to_owned(),
        source: Arc::new(source),
    };
    let metadata = std::fs::metadata(path).map_err(fail)?;
    if metadata.is_file() {
        let bytes = File::open(path).and_then(read_bounded).map_err(fail)?;
        return text_of(key, bytes);
    }
    // A pipe, such as a shell's `<(command)`: whoever writes to it may never come, nor end.
    let (give, take) = mpsc::channel();
    let path_of_pipe = path.to_owned();
    let read = move || give.send(File::open(path_of_pipe).and_then(read_bounded));
    let _left_behind = thread::Builder::new().spawn(read).map_err(fail)?;
    match take.recv_timeout(limit) {
        Ok(outcome) => text_of(key, outcome.map_err(fail)?),
        Err(_time_over) => {
            let words = format!("whoever writes into it did not end within {}", super::said(limit));
            Err(fail(io::Error::new(io::ErrorKind::TimedOut, words)))
        }
    }
}

fn run_command(
    key: &str,
    (line, withheld): (&str, &BTreeSet<String>),
    limit: Duration,
) -> Result<Secret<String>, CredentialsError> {
    let mut command = shell(line);
    for name in withheld {
        command.env_remove(name);
    }
    // A person sees what it says, and may be asked by it.
    command.stderr(Stdio::inherit());
    let Ended { status, output, words: _ } =
        bounded_program::run(command, None, limit).map_err(|error| match error {
            NotEnded::Run(source) => {
                CredentialsError::Run { key: key.to_owned(), source: Arc::new(source) }
            }
            NotEnded::TooLong => {
                CredentialsError::TooLong { key: key.to_owned(), limit: OUTPUT_LIMIT }
            }
            NotEnded::TimeOver => CredentialsError::TimeOver { key: key.to_owned(), limit },
        })?;
    if !status.success() {
        return Err(CredentialsError::Failed { key: key.to_owned(), status });
    }
    text_of(key, output)
}

/// Returns how a line of the user's shell is run: by `sh -c`, on Windows by `cmd /C`.
#[cfg(not(windows))]
pub fn shell(line: &str) -> Command {
    let mut command = Command::new("sh");
    command.arg("-c").arg(line);
    command
}

/// Returns how a line of the user's shell is run: by `sh -c`, on Windows by `cmd /C`.
#[cfg(windows)]
pub fn shell(line: &str) -> Command {
    use std::os::windows::process::CommandExt;
    let mut command = Command::new("cmd");
    // The line is `cmd`'s to read: quoting it by the usual rules would change it.
    command.arg("/C").raw_arg(line);
    command
}

/// Takes one newline from the end, as the reference does.
fn text_of(key: &str, bytes: Secret<Vec<u8>>) -> Result<Secret<String>, CredentialsError> {
    let bytes = bytes.expose();
    if bytes.len() as u64 > OUTPUT_LIMIT {
        return Err(CredentialsError::TooLong { key: key.to_owned(), limit: OUTPUT_LIMIT });
    }
    let text = std::str::from_utf8(bytes)
        .map_err(|_error| CredentialsError::NotText { key: key.to_owned() })?;
    let line = text.strip_suffix('\n').unwrap_or(text);
    // `cmd` and editors on Windows end lines with two characters.
    let line = line.strip_suffix('\r').unwrap_or(line);
    Ok(Secret::new(line.to_owned()))
}

#[cfg(all(test, unix))]
mod tests {
    use std::time::Instant;

    use super::*;

    fn command(line: &str) -> SecretValue {
        SecretValue::command("passwordfunc", line.to_owned())
    }

    #[track_caller]
    fn check(line: &str, expected: Result<&str, &str>) {
        let value = command(line);
        let read = value.read(Duration::MAX).map(|secret| secret.expose().as_str());
        let read = read.map_err(|error| error.to_string());
        assert_eq!(read, expected.map_err(str::to_owned), "{line}");
    }

    #[test]
    fn a_command_prints_the_secret_and_one_newline() {
        check("printf 'a b\\n'", Ok("a b"));
        check("printf 'ab\\n\\n'", Ok("ab\n"));
        check("printf ab", Ok("ab"));
        check("cat; echo no input", Ok("no input"));
        check("true", Ok(""));
    }

    #[test]
    fn a_command_that_fails_is_named_by_its_key() {
        check("echo half; exit 3", Err("the command of `passwordfunc` failed (exit status: 3)"));
        check("yes", Err("`passwordfunc` gives more than 65536 bytes"));
        check("printf '\\377'", Err("`passwordfunc` does not give UTF-8 text"));
    }

    #[test]
    fn a_command_that_does_not_end_is_ended() {
        let (line, limit) = ("exec sleep 60".to_owned(), Duration::from_millis(50));
        let place = Place::Command { line, withheld: BTreeSet::new(), limit };
        let value = SecretValue::at("tokenFunc", place);
        let began = Instant::now();
        assert!(matches!(value.read(Duration::MAX), Err(CredentialsError::TimeOver { .. })));
        assert!(began.elapsed() < Duration::from_secs(5));
    }

    #[test]
    fn a_command_runs_once_whoever_asks() {
        let directory = tempfile::tempdir().unwrap();
        let count = directory.path().join("count");
        let value = command(&format!("echo x >> {}; echo secret", count.display()));
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| assert_eq!(value.read(Duration::MAX).unwrap().expose(), "secret"));
            }
        });
        assert_eq!(std::fs::read_to_string(count).unwrap(), "x\n");
    }

    #[test]
    fn a_command_that_nobody_has_time_for_is_ended_sooner() {
        let value = command("exec sleep 60");
        let began = Instant::now();
        let words = value.read(Duration::from_millis(50)).unwrap_err().to_string();
        assert_eq!(words, "the command of `passwordfunc` did not end within 50 ms");
        assert!(began.elapsed() < Duration::from_secs(5));
    }

    #[test]
    fn a_secret_is_read_anew_once() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("token");
        let write = |text: &str| std::fs::write(&path, text).unwrap();
        let value = SecretValue::file("tokenFile", path.clone());
        let read = || value.read(Duration::MAX).unwrap().expose().clone();
        let renew = || value.renew(Duration::MAX).unwrap();
        write("first\n");
        assert_eq!(read(), "first");
        write("second\n");
        assert_eq!((read().as_str(), value.was_renewed()), ("first", false));
        assert!(renew());
        assert_eq!((read().as_str(), value.was_renewed()), ("second", true));
        write("third\n");
        assert!(renew());
        assert_eq!(read(), "second");

        // What is the same is no other one, nor is what is written in the configuration.
        let value = SecretValue::file("tokenFile", path.clone());
        assert!(!value.renew(Duration::MAX).unwrap());
        assert!(
            !SecretValue::fixed("token", Secret::new("x".to_owned())).renew(Duration::MAX).unwrap()
        );
    }

    #[test]
    fn a_secret_can_stand_in_a_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("token");
        std::fs::write(&path, "dbt_abc\r\n").unwrap();
        let value = SecretValue::file("tokenFile", path.clone());
        assert_eq!(value.read(Duration::MAX).unwrap().expose(), "dbt_abc");
        let directory_itself = SecretValue::file("tokenFile", directory.path().to_owned());
        assert!(matches!(directory_itself.read(Duration::MAX), Err(CredentialsError::File { .. })));
        let missing = SecretValue::file("tokenFile", path.with_extension("missing"));
        let words = missing.read(Duration::MAX).unwrap_err().to_string();
        assert!(words.contains("token.missing`, named by `tokenFile`"), "{words}");
    }

    #[test]
    fn a_pipe_in_the_place_of_a_file_is_read_and_not_waited_for_without_end() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("token");
        assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
        let place = Place::File { path: path.clone(), limit: Duration::from_millis(50) };
        let words =
            SecretValue::at("tokenFile", place).read(Duration::MAX).unwrap_err().to_string();
        assert!(words.contains("token`, named by `tokenFile`"), "{words}");
        // Lets the reader that was left behind come to its end.
        drop(File::options().write(true).open(&path).unwrap());

        // Another one: that reader may still be on its way to what is written.
        let path = directory.path().join("other");
        assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
        let value = SecretValue::file("tokenFile", path.clone());
        thread::scope(|scope| {
            scope.spawn(|| std::fs::write(&path, "dbt_abc\n").unwrap());
            assert_eq!(value.read(Duration::MAX).unwrap().expose(), "dbt_abc");
        });
    }
}
