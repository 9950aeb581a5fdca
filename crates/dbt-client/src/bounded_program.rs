//! Programs that give a secret or keep one: each is told nothing that is not meant for it, has its
//! time, and is ended with what it has started when that is over.

use std::io::{self, Read as _, Write as _};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use dbt_core::secret::{Secret, withheld_variables};

/// The most that a program may give. Tokens are a few KiB at most; the rest is an accident that
/// should not fill the memory.
pub(crate) const OUTPUT_LIMIT: u64 = 64 * 1024;

/// How often a program is looked at after it closed its output.
const EXIT_POLL: Duration = Duration::from_millis(5);

/// How long its words are waited for after it has ended: something that it left behind may hold
/// the pipe.
const WORDS_LIMIT: Duration = Duration::from_millis(200);

/// How a program ended that did so in time.
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    pub(crate) output: Secret<Vec<u8>>,
    /// What it said on standard error, where that is a pipe.
    pub(crate) words: Secret<Vec<u8>>,
}

/// Why it did not.
pub(crate) enum NotEnded {
    /// It could not be started, or talked to.
    Run(io::Error),
    /// It gave more than [`OUTPUT_LIMIT`].
    TooLong,
    /// Time was over.
    TimeOver,
}

/// Runs a program. It has `input` on its standard input, which must fit into a pipe, or nothing; and
/// no variable of ours that holds a secret.
pub(crate) fn run(
    mut command: Command,
    input: Option<&Secret<String>>,
    limit: Duration,
) -> Result<Ended, NotEnded> {
    for name in withheld_variables() {
        command.env_remove(name);
    }
    let deadline = Instant::now() + limit;
    let stdin = if input.is_some() { Stdio::piped() } else { Stdio::null() };
    let child = command.stdin(stdin).stdout(Stdio::piped()).spawn();
    let mut child = child.map_err(NotEnded::Run)?;
    let outcome = talk(&mut child, input, deadline);
    if outcome.is_err() {
        stop(&mut child);
    }
    outcome
}

fn talk(
    child: &mut Child,
    input: Option<&Secret<String>>,
    deadline: Instant,
) -> Result<Ended, NotEnded> {
    let output = child.stdout.take().map(read_beside).transpose().map_err(NotEnded::Run)?;
    let words = child.stderr.take().map(read_beside).transpose().map_err(NotEnded::Run)?;
    if let (Some(mut stdin), Some(input)) = (child.stdin.take(), input) {
        // One that ends without reading says by its status what it thinks of that.
        let _not_taken = stdin.write_all(input.expose().as_bytes());
    }
    let left = || deadline.saturating_duration_since(Instant::now());
    let nothing = || Ok(Secret::new(Vec::new()));
    let output = match output.map_or_else(|| Ok(nothing()), |output| output.recv_timeout(left())) {
        Ok(output) => output.map_err(NotEnded::Run)?,
        Err(_time_over) => return Err(NotEnded::TimeOver),
    };
    if output.expose().len() as u64 > OUTPUT_LIMIT {
        return Err(NotEnded::TooLong);
    }
    let status = loop {
        match child.try_wait().map_err(NotEnded::Run)? {
            Some(status) => break status,
            None if left().is_zero() => return Err(NotEnded::TimeOver),
            None => thread::sleep(EXIT_POLL),
        }
    };
    let words = words.and_then(|words| words.recv_timeout(WORDS_LIMIT).ok());
    let words = words.unwrap_or_else(nothing).map_err(NotEnded::Run)?;
    Ok(Ended { status, output, words })
}

/// Reads a pipe in a thread, because it cannot be read with a limit of time; when time is over, the
/// thread is left behind with the pipe.
fn read_beside(
    pipe: impl io::Read + Send + 'static,
) -> io::Result<Receiver<io::Result<Secret<Vec<u8>>>>> {
    let (give, take) = mpsc::channel();
    let _left_behind = thread::Builder::new().spawn(move || give.send(read_bounded(pipe)))?;
    Ok(take)
}

/// Reads at most one byte more than is allowed, so that too much can be told from enough.
pub(crate) fn read_bounded(from: impl io::Read) -> io::Result<Secret<Vec<u8>>> {
    // Reserved at once: growing would leave copies of a secret behind in freed memory.
    let mut bytes = Vec::with_capacity(usize::try_from(OUTPUT_LIMIT).unwrap_or(0) + 2);
    from.take(OUTPUT_LIMIT + 1).read_to_end(&mut bytes)?;
    Ok(Secret::new(bytes))
}

/// Ends a program and what it has started; that it has already ended is as good.
fn stop(child: &mut Child) {
    // A group of processes of its own would end them at once, and keep commands that ask a person
    // from the terminal.
    #[cfg(target_os = "linux")]
    for process in started_by(child.id()) {
        let _ended = rustix::process::kill_process(process, rustix::process::Signal::KILL);
    }
    if child.kill().is_ok() {
        let _ended = child.wait();
    }
}

/// Lists what a process has started and not yet waited for, the last ones first; nothing where the
/// system does not say it.
#[cfg(target_os = "linux")]
fn started_by(process: u32) -> Vec<rustix::process::Pid> {
    let children = std::fs::read_to_string(format!("/proc/{process}/task/{process}/children"));
    let children = children.unwrap_or_default();
    let mut all = Vec::new();
    for child in children.split_whitespace().filter_map(|child| child.parse::<u32>().ok()) {
        all.extend(started_by(child));
        all.extend(rustix::process::Pid::from_raw(child.cast_signed()));
    }
    all
}
