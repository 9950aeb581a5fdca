//! Doing something to a program at one of the calls by which it changes files, counted over all of its
//! threads.
//!
//! strace counts the calls of each kind and of each thread by themselves, so that in a program of many
//! threads few steps are ever the `n`th of theirs. `changes.c` counts them all together, and can leave
//! out any: it has the system stop the program at nothing else.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use crate::invocation::{Invocation, Run};
use crate::traced;
use crate::world::World;

/// The program that does it.
const SOURCE: &str = include_str!("changes.c");

/// Which calls are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counted {
    /// Those that change files, or open one to be changed.
    Changes,
    /// Those that open a file only to read it, or a directory.
    Looks,
}

/// From when calls are counted, and whose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Begins {
    /// From when the process that the words start gets a `SIGUSR1`, of whatever it started.
    AtSignal,
    /// From the first call on, of programs that lie at the place, and not of others that they start or
    /// become.
    AtProgram,
}

/// What is done to a program at one of its calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The call is not made and fails with this error.
    Error(&'static str),
    /// The program is ended before the call is made, as by `kill -9`.
    Kill,
}

/// For how long calls fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lasts {
    /// One does.
    Once,
    /// That one and all after it.
    ForEver,
}

/// What is done to a program, and at which of its calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Disturbance {
    /// What is counted.
    pub counted: Counted,
    /// Which one of them it is, from 1; 0 is none.
    pub number: usize,
    /// What is done.
    pub fault: Fault,
    /// For how long.
    pub lasts: Lasts,
}

/// What was done to a program.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// How many calls were counted.
    pub count: usize,
    /// Where nothing was to be done, each of them: its name, and its file.
    pub counted: Vec<String>,
    /// At which of them something was done, for people.
    pub done: Vec<String>,
}

/// Disturbs programs.
#[derive(Debug)]
pub struct Changes {
    program: PathBuf,
}

impl Changes {
    /// Compiles what is needed for it into a directory.
    pub fn compiled(directory: &Path) -> Self {
        Self { program: traced::compiled(directory, "changes", SOURCE) }
    }

    /// Returns the words that start a program to be disturbed, before its own. Of what it writes, what
    /// goes to files below `place` is counted. What was done is written to a file.
    ///
    /// On a `SIGTERM` the process that these words start ends the program as a power cut would.
    pub fn words(
        &self,
        disturbance: Disturbance,
        begins: Begins,
        place: &Path,
        report: &Path,
    ) -> Vec<OsString> {
        let Disturbance { counted, number, fault, lasts } = disturbance;
        let lasts = if lasts == Lasts::ForEver { "+" } else { "" };
        let counted = if counted == Counted::Looks { "looks" } else { "changes" };
        let what = if let Fault::Error(error) = fault { error } else { "kill" };
        let begins = if begins == Begins::AtSignal { "signal" } else { "program" };
        let mut below = place.as_os_str().to_owned();
        below.push("/");
        let mut words = vec![self.program.clone().into_os_string(), report.into()];
        words.extend([&*format!("{number}{lasts}"), counted, what, begins].map(OsString::from));
        words.extend([below, "--".into()]);
        words
    }

    /// Runs dbt in a world, and does something to it or to another dbt that it starts or becomes. What
    /// tools do is not counted: they are scripts.
    pub fn run(
        &self,
        world: &World,
        invocation: Invocation<'_>,
        disturbance: Disturbance,
    ) -> (Run, Report) {
        let report = world.directory().join("disturbed");
        let words = self.words(disturbance, Begins::AtProgram, world.directory(), &report);
        let words: Vec<&str> = words.iter().map(|word| word.to_str().unwrap()).collect();
        let run = invocation.through(&words).run();
        (run, Report::read(&report))
    }
}

impl Report {
    /// Reads what was done to a program that has ended.
    pub fn read(path: &Path) -> Self {
        let mut report = Self::default();
        for line in fs::read_to_string(path).unwrap().lines() {
            match line.split_once(' ').unwrap() {
                ("of", count) => report.count = count.parse().unwrap(),
                ("counted", call) => {
                    let (_number, call) = call.split_once(' ').unwrap();
                    report.counted.push(call.trim_end().to_owned());
                }
                ("done", call) => report.done.push(call.trim_end().to_owned()),
                _ => panic!("{line}"),
            }
        }
        report
    }

    /// Says whether something was done.
    pub fn was_disturbed(&self) -> bool {
        !self.done.is_empty()
    }
}
