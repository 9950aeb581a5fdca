//! Letting a write of a program take fewer bytes than it is asked to.
//!
//! No call fails: the system may do that whenever it likes, and then says how many bytes it took.
//! strace can only pretend so, and what was to be written would be lost; `short_writes.c` shortens
//! the call itself, of any program.

use std::fs;
use std::path::PathBuf;

use crate::invocation::{Invocation, Run};
use crate::traced;
use crate::world::World;

/// The program that does it.
const SOURCE: &str = include_str!("short_writes.c");

/// Which write is short, in the order in which threads and children happen to write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// None of them: they are only counted.
    None,
    /// This one, from 1.
    Only(usize),
    /// Every one that is longer than a byte.
    Every,
}

/// How many bytes a short write takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Takes {
    /// None: a program that goes on asking may do so for ever.
    Nothing,
    /// One, of two or more.
    One,
    /// Half of them, where that is one or more.
    Half,
    /// All but the last one, of two or more.
    Most,
}

/// What became of the writes of a run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// How many there were.
    pub count: usize,
    /// Those that took fewer bytes than they were asked to, for people.
    pub short: Vec<String>,
    /// What was written by calls that are never short here, and not counted, for people.
    pub others: Vec<String>,
}

/// Runs programs in a world, some of whose writes are short: those to the files in the home
/// directory and beside the program, to files in memory, and to servers.
#[derive(Debug)]
pub struct ShortWrites {
    program: PathBuf,
    report: PathBuf,
    places: [String; 4],
}

impl ShortWrites {
    /// Compiles what is needed for it into a world.
    pub fn compiled(world: &World) -> Self {
        let program = traced::compiled(world.directory(), "short_writes", SOURCE);
        let beside = world.program().parent().unwrap().to_owned();
        let below = |directory: PathBuf| format!("{}/", directory.display());
        let places =
            [below(world.home()), below(beside), "/memfd:".to_owned(), "socket:".to_owned()];
        Self { program, report: world.directory().join("short"), places }
    }

    /// Runs a program, one of whose writes is short, or every one.
    pub fn run(&self, invocation: Invocation<'_>, which: Which, takes: Takes) -> (Run, Report) {
        let which = match which {
            Which::None => "0".to_owned(),
            Which::Only(number) => number.to_string(),
            Which::Every => "every".to_owned(),
        };
        let takes = match takes {
            Takes::Nothing => "none",
            Takes::One => "one",
            Takes::Half => "half",
            Takes::Most => "most",
        };
        let [program, report] = [&self.program, &self.report].map(|path| path.to_str().unwrap());
        let mut words = vec![program, report, &which, takes];
        words.extend(self.places.iter().map(String::as_str));
        words.push("--");
        let run = invocation.through(&words).run();
        let text = fs::read_to_string(&self.report).unwrap();
        fs::remove_file(&self.report).unwrap();
        (run, read(&text))
    }
}

/// Reads what was reported. Where the system has not done what it was asked to, as at the end of a
/// connection, no write was short.
fn read(text: &str) -> Report {
    let mut report = Report::default();
    for line in text.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["of", count] => report.count = count.parse().unwrap(),
            ["short", _call, _asked, left, answer, ..] if left == answer => {
                report.short.push(line.to_owned());
            }
            ["short", ..] => {}
            ["other", ..] => report.others.push(line.to_owned()),
            _ => panic!("{line}"),
        }
    }
    report
}
