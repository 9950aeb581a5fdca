//! Runs programs side by side, and compares what they take.
//!
//! Whoever is compared takes turns within one run, so that a busy machine disturbs all alike, and
//! medians are compared. Where the anchor itself jitters, it is measured again, and in the end
//! processor time decides.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::{Fault, kernel};

/// The most that an anchor's slow runs may take of its fast ones (90th of 10th percentile).
const CALM: f64 = 1.5;

/// How often a jittery comparison is made.
const TRIES: usize = 3;

/// What one turn took.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// By the clock on the wall.
    pub wall: Duration,
    /// Of processors.
    pub cpu: Duration,
}

/// A program with what it is started with.
#[derive(Clone, Debug)]
pub struct Program {
    words: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
}

impl Program {
    /// Names a program.
    pub fn new(path: impl AsRef<OsStr>) -> Self {
        let environment = vec![("PATH".into(), "/usr/sbin:/usr/bin:/sbin:/bin".into())];
        Self { words: vec![path.as_ref().to_owned()], environment }
    }

    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.words.push(argument.as_ref().to_owned());
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<A: AsRef<OsStr>>(mut self, arguments: impl IntoIterator<Item = A>) -> Self {
        self.words.extend(arguments.into_iter().map(|argument| argument.as_ref().to_owned()));
        self
    }

    /// Sets a variable; there is none but `PATH` otherwise.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.environment.push((name.into(), value.as_ref().to_owned()));
        self
    }

    /// Starts it through another program, which gets it as its last arguments.
    #[must_use]
    pub fn through(mut self, prefix: Program) -> Self {
        let mut words = prefix.words;
        words.append(&mut self.words);
        Self { words, environment: self.environment }
    }

    /// Returns the file that is started.
    pub fn path(&self) -> PathBuf {
        self.words.first().map(PathBuf::from).unwrap_or_default()
    }

    /// Runs it to its end, with nothing to read and nobody listening.
    pub fn time(&self) -> Result<Sample, Fault> {
        let mut command = self.command();
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let began = Instant::now();
        let child = command.spawn().map_err(|error| self.fault(&error.to_string()))?;
        let (status, cpu) = kernel::wait(child)?;
        let wall = began.elapsed();
        if !status.success() {
            // What it says is worth more than a number.
            return Err(self.fault(&format!("{status}")));
        }
        Ok(Sample { wall, cpu })
    }

    /// Runs it to its end, and returns what it printed.
    pub fn output(&self) -> Result<String, Fault> {
        let output = self.command().output().map_err(|error| self.fault(&error.to_string()))?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            return Err(self.fault(&format!("{}: {said}", output.status)));
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Returns the command that starts it. (The standard library starts it without copying this
    /// process, as long as nothing has to be done in between.)
    pub fn command(&self) -> Command {
        let mut words = self.words.iter();
        let mut command = Command::new(words.next().map_or(OsStr::new(""), OsString::as_os_str));
        command
            .args(words)
            .env_clear()
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null());
        command
    }

    fn fault(&self, problem: &str) -> Fault {
        let words: Vec<_> = self.words.iter().map(|word| word.to_string_lossy()).collect();
        format!("`{}`: {problem}", words.join(" ")).into()
    }
}

/// Somebody who is compared: takes a turn, and says what it took.
pub type Turn<'a> = Box<dyn FnMut() -> Result<Sample, Fault> + 'a>;

/// Returns turns of a program.
pub fn turns(program: Program) -> Turn<'static> {
    Box::new(move || program.time())
}

/// Returns turns of a program, each after something that is not timed.
pub fn turns_after<'a>(
    mut before: impl FnMut() -> Result<(), Fault> + 'a,
    program: Program,
) -> Turn<'a> {
    Box::new(move || {
        before()?;
        program.time()
    })
}

/// What decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Basis {
    /// The clock on the wall.
    Wall,
    /// Processor time, because the clock was no help.
    Cpu,
}

/// A comparison to be made: participants, and what is computed of their medians.
pub struct Comparison<'a> {
    /// Who takes turns.
    pub turns: Vec<Turn<'a>>,
    /// Which of them are not ours, and should be calm.
    pub anchors: &'a [usize],
    /// How many turns each has.
    pub rounds: usize,
    /// Whether processor time says something, because nobody waits for a network.
    pub cpu_counts: bool,
}

/// Medians of each participant, in seconds.
#[derive(Clone, Debug)]
pub struct Medians {
    /// One of each participant, in order.
    pub seconds: Vec<f64>,
    /// What they are of.
    pub basis: Basis,
}

impl Medians {
    /// Returns a participant's.
    pub fn of(&self, participant: usize) -> f64 {
        self.seconds.get(participant).copied().unwrap_or(f64::NAN)
    }

    /// Returns what a participant takes above another.
    pub fn above(&self, participant: usize, floor: usize) -> f64 {
        self.of(participant) - self.of(floor)
    }
}

impl Comparison<'_> {
    /// Makes it.
    pub fn run(mut self) -> Result<Medians, Fault> {
        let mut tries = 0;
        loop {
            let taken = interleave(&mut self.turns, self.rounds)?;
            tries += 1;
            let walls = |samples: &Vec<Sample>| seconds(samples, |sample| sample.wall);
            let is_calm =
                self.anchors.iter().filter_map(|anchor| taken.get(*anchor)).all(|samples| {
                    let walls = walls(samples);
                    percentile(&walls, 90) <= CALM * percentile(&walls, 10)
                });
            if is_calm || !self.cpu_counts {
                let medians = taken.iter().map(|samples| percentile(&walls(samples), 50));
                return Ok(Medians { seconds: medians.collect(), basis: Basis::Wall });
            }
            if tries == TRIES {
                let cpus = |samples: &Vec<Sample>| seconds(samples, |sample| sample.cpu);
                let medians = taken.iter().map(|samples| percentile(&cpus(samples), 50));
                return Ok(Medians { seconds: medians.collect(), basis: Basis::Cpu });
            }
        }
    }
}

/// Gives everybody so many turns, after one that warms caches and counts for nothing, and returns
/// what each took of each.
pub fn interleave(turns: &mut [Turn<'_>], rounds: usize) -> Result<Vec<Vec<Sample>>, Fault> {
    for turn in &mut *turns {
        turn()?;
    }
    let count = turns.len();
    let mut taken = vec![Vec::with_capacity(rounds); count];
    for round in 0..rounds {
        // Nobody always comes after the same other.
        for place in 0..count {
            let who = (round + place) % count;
            if let (Some(turn), Some(samples)) = (turns.get_mut(who), taken.get_mut(who)) {
                samples.push(turn()?);
            }
        }
    }
    Ok(taken)
}

/// Returns the median of what samples say, in seconds.
pub fn median(samples: &[Sample], of: impl Fn(&Sample) -> Duration) -> f64 {
    percentile(&seconds(samples, of), 50)
}

/// Returns sorted seconds.
fn seconds(samples: &[Sample], of: impl Fn(&Sample) -> Duration) -> Vec<f64> {
    let mut seconds: Vec<f64> = samples.iter().map(|sample| of(sample).as_secs_f64()).collect();
    seconds.sort_by(f64::total_cmp);
    seconds
}

/// Returns a percentile of sorted numbers.
pub fn percentile(sorted: &[f64], percent: usize) -> f64 {
    let last = sorted.len().saturating_sub(1);
    sorted.get((last * percent + 50) / 100).copied().unwrap_or(f64::NAN)
}

/// Says whether a program has nothing to load but itself.
pub fn is_static(program: &Path) -> Result<bool, Fault> {
    let headers = Program::new("readelf").args(["-lW".as_ref(), program.as_os_str()]).output()?;
    Ok(!headers.contains("INTERP"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_what_was_measured() {
        let numbers: Vec<f64> = (0..=100).map(f64::from).collect();
        for (percent, expected) in [(10, 10.0), (50, 50.0), (90, 90.0)] {
            assert!((percentile(&numbers, percent) - expected).abs() < f64::EPSILON);
        }
        assert!(percentile(&[], 50).is_nan());
    }

    #[test]
    fn a_jittery_anchor_leaves_the_decision_to_processor_time() {
        let mut turn = 0;
        let mut jittery = || {
            turn += 1;
            let wall = Duration::from_millis(if turn % 2 == 0 { 1 } else { 10 });
            Ok(Sample { wall, cpu: Duration::from_millis(2) })
        };
        let calm = || Ok(Sample { wall: Duration::from_millis(5), cpu: Duration::from_millis(4) });
        let comparison = Comparison {
            turns: vec![Box::new(calm), Box::new(&mut jittery)],
            anchors: &[1],
            rounds: 20,
            cpu_counts: true,
        };
        let medians = comparison.run().unwrap();
        assert_eq!(medians.basis, Basis::Cpu);
        assert!((medians.of(0) / medians.of(1) - 2.0).abs() < 1e-9);
        // A round for warming, and three comparisons.
        assert_eq!(turn, 3 * 21);
    }

    #[test]
    fn a_program_that_fails_is_not_measured() {
        assert!(Program::new("false").time().is_err());
        assert!(Program::new("true").time().is_ok());
    }
}
