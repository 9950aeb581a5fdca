//! Making the system fail a program, or stop it, at one step of its run.
//!
//! A run is watched once under strace, which gives its steps: the system calls that touch the
//! world, in order. Then it is run again for each of them, and that one fails. strace can do this to
//! any program without knowing it, static ones included. It counts calls of each kind and of each
//! thread by themselves: whatever changes files is disturbed by [`crate::changes`].

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use crate::invocation::{Invocation, Run};
use crate::world::World;

/// What the calls of one kind do, and how they may fail. The first is the most likely.
const KINDS: &[(&str, Effect, &[&str])] = &[
    ("openat", Effect::Opens, &["EIO", "EACCES", "EMFILE", "EINTR", "ENOSPC", "EROFS"]),
    ("read", Effect::Reads, &["EIO", "EINTR"]),
    ("pread64", Effect::Reads, &["EIO", "EINTR"]),
    ("statx", Effect::Reads, &["EIO", "EACCES"]),
    ("newfstatat", Effect::Reads, &["EIO", "EACCES"]),
    ("fstat", Effect::Reads, &["EIO"]),
    ("getdents64", Effect::Reads, &["EIO"]),
    ("readlink", Effect::Reads, &["EIO", "EACCES"]),
    ("getrandom", Effect::Reads, &["ENOSYS", "EINTR"]),
    ("write", Effect::Changes, &["ENOSPC", "EIO", "EDQUOT", "EINTR"]),
    ("pwrite64", Effect::Changes, &["ENOSPC", "EIO", "EDQUOT", "EINTR"]),
    ("writev", Effect::Changes, &["ENOSPC", "EIO", "EDQUOT", "EINTR"]),
    ("copy_file_range", Effect::Changes, &["ENOSPC", "EIO", "EINTR"]),
    ("sendfile", Effect::Changes, &["ENOSPC", "EIO", "EINTR"]),
    ("ftruncate", Effect::Changes, &["EIO", "ENOSPC", "EINTR"]),
    ("fallocate", Effect::Changes, &["EOPNOTSUPP", "ENOSPC", "EIO"]),
    ("fsync", Effect::Changes, &["EIO", "ENOSPC", "EROFS"]),
    ("fdatasync", Effect::Changes, &["EIO", "ENOSPC", "EROFS"]),
    ("mkdir", Effect::Changes, &["EIO", "ENOSPC", "EACCES", "EROFS"]),
    ("mkdirat", Effect::Changes, &["EIO", "ENOSPC", "EACCES", "EROFS"]),
    ("link", Effect::Changes, &["EIO", "ENOSPC", "EPERM", "EMLINK"]),
    ("linkat", Effect::Changes, &["EIO", "ENOSPC", "EPERM", "EMLINK"]),
    ("symlink", Effect::Changes, &["EIO", "ENOSPC", "EPERM"]),
    ("symlinkat", Effect::Changes, &["EIO", "ENOSPC", "EPERM"]),
    ("rename", Effect::Changes, &["EIO", "ENOSPC", "EACCES", "EXDEV"]),
    ("renameat", Effect::Changes, &["EIO", "ENOSPC", "EACCES", "EXDEV"]),
    ("renameat2", Effect::Changes, &["EIO", "ENOSPC", "EINVAL", "EXDEV"]),
    ("unlink", Effect::Changes, &["EIO", "EACCES", "EROFS"]),
    ("unlinkat", Effect::Changes, &["EIO", "EACCES", "EROFS"]),
    ("rmdir", Effect::Changes, &["EIO", "EACCES"]),
    ("chmod", Effect::Changes, &["EPERM", "EIO", "EROFS"]),
    ("fchmod", Effect::Changes, &["EPERM", "EIO", "EROFS"]),
    ("fchmodat", Effect::Changes, &["EPERM", "EIO", "EROFS"]),
    ("utimensat", Effect::Changes, &["EPERM", "EIO", "EROFS"]),
    ("flock", Effect::Takes, &["ENOLCK", "EOPNOTSUPP", "EINTR", "EIO"]),
    ("memfd_create", Effect::Takes, &["ENOSYS", "EMFILE"]),
    ("socket", Effect::Talks, &["EMFILE", "EACCES"]),
    ("connect", Effect::Talks, &["ECONNREFUSED", "ENETUNREACH"]),
    ("sendto", Effect::Talks, &["ECONNRESET", "EPIPE"]),
    ("recvfrom", Effect::Talks, &["ECONNRESET", "EINTR"]),
    ("pipe2", Effect::Starts, &["EMFILE"]),
    ("clone", Effect::Starts, &["EAGAIN"]),
    ("clone3", Effect::Starts, &["EAGAIN"]),
    ("vfork", Effect::Starts, &["EAGAIN"]),
    ("execve", Effect::Starts, &["EACCES", "ENOMEM"]),
    ("execveat", Effect::Starts, &["EACCES", "ENOSYS"]),
];

/// What a call does to the world.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Effect {
    /// It changes files.
    Changes,
    /// It opens a file, and may make it.
    Opens,
    /// It only looks.
    Reads,
    /// It takes a lock, or memory.
    Takes,
    /// It needs the network.
    Talks,
    /// It starts a thread or a program.
    Starts,
}

/// One system call of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Its name.
    pub call: String,
    /// Which one of this name it is in its thread, from 1.
    pub number: usize,
    /// What it does.
    pub effect: Effect,
    /// How it was called, for people.
    pub line: String,
    errors: &'static [&'static str],
}

impl Step {
    /// Returns what it has in common with the calls that may stand for it: their name, and the
    /// open file that they are about. The `index`th step, where it is about none, stands for
    /// itself.
    fn group(&self, index: usize) -> String {
        const MOVES_BYTES: [&str; 5] =
            ["write", "pwrite64", "writev", "copy_file_range", "sendfile"];
        let repeats = matches!(self.effect, Effect::Reads | Effect::Talks)
            || MOVES_BYTES.contains(&self.call.as_str());
        let object = self.line.split_once(", ").map_or(self.line.as_str(), |(first, _)| first);
        if repeats { object.to_owned() } else { format!("{index} {object}") }
    }

    /// Says whether it changes a file, or opens one to be changed: what [`crate::changes`] counts.
    pub fn is_change(&self) -> bool {
        const TO_BE_CHANGED: [&str; 4] = ["O_WRONLY", "O_RDWR", "O_CREAT", "O_TRUNC"];
        let opens_to_change = || TO_BE_CHANGED.iter().any(|flag| self.line.contains(flag));
        self.effect == Effect::Changes || self.effect == Effect::Opens && opens_to_change()
    }

    /// Lists with which errors this step is to fail, when it is the `index`th and changes nothing: with the
    /// most likely one, and in turn with one of the others.
    pub fn failures(&self, index: usize) -> Vec<&'static str> {
        let likely = self.errors.iter().take(1).copied();
        // Only a call that may make a file needs room for one.
        let others = self.errors.iter().skip(1).copied();
        let others: Vec<&'static str> =
            others.filter(|error| !["ENOSPC", "EROFS"].contains(error)).collect();
        let other = others.get(index.checked_rem(others.len()).unwrap_or_default()).copied();
        // What only looks is the most, and whether it fails matters more than how.
        match self.effect {
            Effect::Reads if index.is_multiple_of(2) => likely.collect(),
            Effect::Reads => other.or(self.errors.first().copied()).into_iter().collect(),
            Effect::Changes | Effect::Opens | Effect::Takes | Effect::Talks | Effect::Starts => {
                likely.chain(other).collect()
            }
        }
    }

    /// Runs a program in which this step fails.
    pub fn run(&self, invocation: Invocation<'_>, error: &str) -> Run {
        let (what, when) = (format!("error={error}"), format!("when={}", self.number));
        invocation.through(&injecting(&self.call, &what, &when, "/dev/null").each()).run()
    }
}

/// Words that start a program through strace.
struct Words(Vec<String>);

impl Words {
    fn each(&self) -> Vec<&str> {
        self.0.iter().map(String::as_str).collect()
    }
}

fn injecting(calls: &str, what: &str, when: &str, output: &str) -> Words {
    let mut words = vec!["strace", "-f", "-qq", "-o", output];
    // The kernel then stops only for these calls, which is faster; but strace sends no signals.
    if what.starts_with("error=") {
        words.push("--seccomp-bpf");
    }
    let trace = format!("trace={calls}");
    let inject = format!("inject={calls}:{what}:{when}");
    words.extend(["-e", &trace, "-e", &inject]);
    Words(words.into_iter().map(str::to_owned).collect())
}

/// Runs a program in which every call of these kinds, from the `from`th on, fails alike.
pub fn failing_from(invocation: Invocation<'_>, calls: &str, error: &str, from: usize) -> Run {
    let words = injecting(calls, &format!("error={error}"), &format!("when={from}+"), "/dev/null");
    invocation.through(&words.each()).run()
}

/// Lists how calls of this name fail. The first is the most likely.
pub fn errors_of(call: &str) -> &'static [&'static str] {
    KINDS.iter().find(|(name, ..)| *name == call).map_or(&["EIO"], |(.., errors)| *errors)
}

/// Runs a program, and returns its steps until a tool starts, or the program itself anew.
///
/// What the loader and the libraries do to find out where they are is left out, and of many equal
/// ones all but three.
pub fn steps(world: &World, invocation: Invocation<'_>) -> (Run, Vec<Step>) {
    let (run, lines) = watched(world, invocation);
    let store = world.dbt_home().join("tools").display().to_string();
    let directory = world.directory().display().to_string();
    // Started with its own words again after an update, and not for a trial.
    let program = format!("\"{}\", [", world.program().display());
    let mut counts: BTreeMap<(String, &str), usize> = BTreeMap::new();
    let mut tools = BTreeSet::new();
    let mut seen = BTreeSet::new();
    let mut steps = Vec::new();
    // strace does not count the call that starts the program.
    for (process, line) in lines.iter().skip_while(|(_, line)| !line.starts_with("execve(")).skip(1)
    {
        let Some((call, _)) = line.split_once('(') else { continue };
        let Some((call, effect, errors)) = KINDS.iter().find(|(name, ..)| *name == call) else {
            continue;
        };
        let number = counts.entry((process.clone(), call)).or_default();
        *number += 1;
        if tools.contains(process) {
            continue;
        }
        let becomes = [store.as_str(), program.as_str(), "/memfd:"];
        if call.starts_with("execve") && becomes.iter().any(|it| line.contains(it)) {
            tools.insert(process.clone());
        }
        // Every path that is not below an open directory is shown with the present one.
        let object = line.replace(&format!("AT_FDCWD<{directory}>"), "");
        let touches = object.contains(&directory)
            || object.contains("/proc/self")
            || object.contains("/memfd:")
            || line.contains("<socket:")
            || line.contains("<TCP")
            || matches!(*effect, Effect::Talks | Effect::Starts)
            || *call == "getrandom";
        // Whatever comes first of this number, in any thread, is what would fail.
        if seen.insert((*call, *number)) && touches {
            let (call, line) = ((*call).to_owned(), line.clone());
            steps.push(Step { call, number: *number, effect: *effect, line, errors });
        }
    }
    (run, without_repetitions(steps))
}

/// Runs a program, and returns the calls of all kinds of each of its threads.
fn watched(world: &World, invocation: Invocation<'_>) -> (Run, Vec<(String, String)>) {
    let output = world.directory().join("trace");
    let calls = KINDS.iter().map(|(call, ..)| *call).collect::<Vec<_>>().join(",");
    let trace = format!("trace={calls}");
    let output_word = output.display().to_string();
    let words = [
        "strace",
        "-f",
        "--seccomp-bpf",
        "-qq",
        "-y",
        "-s",
        "200",
        "-o",
        &output_word,
        "-e",
        &trace,
    ];
    let run = invocation.through(&words).run();
    let text = fs::read_to_string(&output).unwrap();
    fs::remove_file(&output).unwrap();
    let lines = text.lines().filter_map(|line| line.split_once(' '));
    (run, lines.map(|(id, line)| (id.to_owned(), line.trim_start().to_owned())).collect())
}

/// Keeps of many calls of one kind on the same object the first, the one in the middle and the
/// last: the pieces of one download differ in nothing else.
fn without_repetitions(steps: Vec<Step>) -> Vec<Step> {
    let mut groups: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for (index, step) in steps.iter().enumerate() {
        groups.entry(step.group(index)).or_default().push(index);
    }
    let kept: BTreeSet<usize> = groups
        .into_values()
        .flat_map(|group| [0, group.len() / 2, group.len() - 1].map(|place| group[place]))
        .collect();
    let steps = steps.into_iter().enumerate();
    steps.filter(|(index, _)| kept.contains(index)).map(|(_, step)| step).collect()
}

/// A run that was stopped after one of its steps, and can be let go on.
///
/// strace sends the stop before the call is made, and the system delivers it when the call has
/// been made: the program stands between this step and the next.
#[derive(Debug)]
pub struct Stopped {
    running: crate::invocation::Running,
    process: rustix::process::Pid,
}

impl Stopped {
    /// Starts a run that stops after the `number`th call of this kind; nothing if it ends first.
    ///
    /// # Errors
    ///
    /// The run, if it has ended without getting so far.
    pub fn after(
        world: &World,
        invocation: Invocation<'_>,
        call: &str,
        number: usize,
    ) -> Result<Self, Run> {
        let output = world.directory().join("stopped");
        drop(fs::remove_file(&output));
        let words = injecting(
            call,
            "signal=STOP",
            &format!("when={number}"),
            &output.display().to_string(),
        );
        let mut running = invocation.through(&words.each()).start();
        loop {
            if let Some(process) = stopped_process(&output) {
                return Ok(Self { running, process });
            }
            if running.has_ended() {
                // It may have stopped and been ended by somebody in between: not by us.
                return Err(running.finish());
            }
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
    }

    /// Lets it go on to its end.
    pub fn go_on(self) -> Run {
        rustix::process::kill_process(self.process, rustix::process::Signal::CONT).unwrap();
        self.running.finish()
    }
}

/// Returns which process strace says to have stopped.
fn stopped_process(output: &Path) -> Option<rustix::process::Pid> {
    let text = fs::read_to_string(output).ok()?;
    let line = text.lines().find(|line| line.contains("--- stopped by SIGSTOP ---"))?;
    rustix::process::Pid::from_raw(line.split(' ').next()?.parse().ok()?)
}
