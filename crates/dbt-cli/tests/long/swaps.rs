//! Somebody with the user's own rights exchanges a tool's file while it is verified and started.
//!
//! Once at every step of a run, between which the run stands still; at any moment of many runs; and
//! for many rounds by programs that do nothing else. A sealed run is promised to win always. One
//! that is not is promised that nothing runs that came before its last look at the file: what
//! comes between that and the start is the user's own doing, and the user is inside the boundary.

use std::fs::{self, Permissions};
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant, UNIX_EPOCH};

use dbt_core::clock::Clock;
use dbt_testkit::exits;
use dbt_testkit::faults::{self, Step, Stopped};
use dbt_testkit::invocation::Run;
use dbt_testkit::people::ALICE;
use dbt_testkit::world::World;
use rustix::fs::inotify;

use crate::programs::programs;

const GOOD: &str = "deploy 1.4.0\n";

/// How often the file is exchanged at some moment of a run that is not sealed.
const ROUNDS: u32 = 400;

/// How far beyond the end of a run that moment may be, as a multiple of what the run takes: with a
/// run that takes a little longer than the one before it, some moments are still after its end.
const BEYOND: f64 = 1.4;

/// How often the file is exchanged at least while sealed runs go on.
const EXCHANGES: usize = 100_000;

/// How long that goes on at least, so that there are runs however fast the file is exchanged.
const LASTS: Duration = Duration::from_secs(10);

/// How long it goes on at most: a machine with much to do needs longer.
const PATIENCE: Duration = Duration::from_mins(5);

/// How many exchanges answer one touch of the file, so that some come at every moment after it.
const BURST: usize = 50;

/// A world in which the tool has run, and its file.
fn world() -> (World, PathBuf) {
    let world = World::new(&programs().now);
    world.pin(&[&ALICE]);
    world.repository().publish("deploy", "1.4.0").now();
    world.dbt(["deploy"]).prints(GOOD);
    let tool = world.executables().remove(0);
    (world, tool)
}

/// Another tool of the same length.
fn evil(tool: &Path) -> Vec<u8> {
    let length = usize::try_from(fs::metadata(tool).unwrap().len()).unwrap();
    let mut script = b"#!/bin/sh\necho evil\nexit\n".to_vec();
    script.resize(length, b'#');
    script
}

fn by_renaming(tool: &Path, content: &[u8]) {
    let other = tool.with_file_name("other");
    fs::write(&other, content).unwrap();
    fs::set_permissions(&other, Permissions::from_mode(0o500)).unwrap();
    dbt_client::fsx::rename(&other, tool).unwrap();
}

/// The length and the time of the last change stay what they were.
fn by_writing(tool: &Path, content: &[u8]) {
    use std::io::Write as _;

    let modified = fs::metadata(tool).unwrap().modified().unwrap();
    fs::set_permissions(tool, Permissions::from_mode(0o700)).unwrap();
    let mut file = match fs::OpenOptions::new().write(true).open(tool) {
        // The system is starting it, and lets nobody write to it meanwhile.
        Err(error) if error.kind() == ErrorKind::ExecutableFileBusy => {
            return by_renaming(tool, content);
        }
        opened => opened.unwrap(),
    };
    file.write_all(content).unwrap();
    file.set_modified(modified).unwrap();
    drop(file);
    fs::set_permissions(tool, Permissions::from_mode(0o500)).unwrap();
}

/// The steps of a run from the moment it opens the tool's file until the tool starts.
fn steps(world: &World, tool: &Path, words: &[&str]) -> Vec<Step> {
    let (run, steps) = faults::steps(world, world.invoke(words));
    run.prints(GOOD);
    let tool = tool.display().to_string();
    let opens = |step: &Step| step.call == "openat" && step.line.contains(&format!("{tool}>"));
    let first = steps.iter().position(opens).unwrap();
    let mut steps = steps;
    steps.drain(..first);
    let starts = |step: &Step| step.call.starts_with("execve");
    let last = steps.iter().position(starts).unwrap();
    steps.truncate(last);
    steps
}

/// Exchanges the file after each step, and returns after which of them the other one ran.
fn exchanged_after_each(words: &[&str]) -> (Vec<Step>, Vec<usize>) {
    let (world, tool) = world();
    let evil = evil(&tool);
    world.backup();
    world.restore();
    let steps = steps(&world, &tool, words);
    let mut lost = Vec::new();
    for exchange in [by_renaming, by_writing] {
        for (index, step) in steps.iter().enumerate() {
            world.restore();
            let stopped = Stopped::after(&world, world.invoke(words), &step.call, step.number);
            let run = match stopped {
                Ok(stopped) => {
                    exchange(&tool, &evil);
                    stopped.go_on()
                }
                Err(run) => panic!("{step:?} was not reached: {run:?}"),
            };
            match run.stdout().as_str() {
                "evil\n" => lost.push(index),
                GOOD => assert!(words.contains(&"--sealed"), "{step:?}: {run:?}"),
                "" => {
                    let codes =
                        [exits::CANNOT_EXECUTE, exits::VERIFICATION_REFUSED, exits::UNREACHABLE];
                    assert!(codes.map(Some).contains(&run.code()), "{step:?}: {run:?}");
                    assert!(run.stderr().contains("error: "), "{run:?}");
                }
                other => panic!("{step:?}: {other}"),
            }
        }
    }
    (steps, lost)
}

#[test]
fn what_is_exchanged_before_the_last_look_never_runs() {
    let (steps, lost) = exchanged_after_each(&["-o", "deploy"]);
    let look = steps.iter().rposition(|step| step.call == "statx" || step.call == "newfstatat");
    assert_eq!(look, Some(steps.len() - 1), "something comes between the last look and the start");
    assert!(lost.iter().all(|index| Some(*index) == look), "{lost:?} of {steps:#?}");
}

#[test]
fn a_sealed_run_never_starts_another_file_whenever_it_is_exchanged() {
    let (steps, lost) = exchanged_after_each(&["-o", "--sealed", "deploy"]);
    assert!(lost.is_empty(), "{lost:?} of {steps:#?}");
}

/// Runs the tool, and exchanges its file after this time. Returns how long the run took, and when
/// the other file was in its place and when the run looked for the last time before it started the
/// tool, in microseconds; the latter only if it did.
fn exchanged_after(
    world: &World,
    after: Duration,
    exchange: impl FnOnce(),
) -> (Run, Duration, u128, Option<u128>) {
    let trace = world.directory().join("looks");
    let output = trace.display().to_string();
    let calls = "trace=statx,newfstatat,execve";
    let words = ["strace", "-f", "-qq", "--seccomp-bpf", "-ttt", "-o", &output, "-e", calls];
    let begun = Instant::now();
    let running = world.invoke(["-o", "deploy"]).through(&words).start();
    while begun.elapsed() < after {
        std::hint::spin_loop();
    }
    exchange();
    let exchanged = Clock::System.now().duration_since(UNIX_EPOCH).unwrap().as_micros();
    let run = running.finish();
    let lasted = begun.elapsed();
    let looked = last_look(world, &fs::read_to_string(&trace).unwrap());
    fs::remove_file(&trace).unwrap();
    (run, lasted, exchanged, looked)
}

/// Returns when the last look began before the tool started.
fn last_look(world: &World, trace: &str) -> Option<u128> {
    let start = format!("execve(\"{}/", world.dbt_home().join("tools").display());
    let lines: Vec<(&str, &str, &str)> = trace
        .lines()
        .filter_map(|line| {
            let (process, line) = line.split_once(' ')?;
            let (time, call) = line.trim_start().split_once(' ')?;
            Some((process, time, call))
        })
        .collect();
    let starts = |call: &str| call.starts_with(&start) && !call.contains(" = -1 ");
    let last = lines.iter().rposition(|(_, _, call)| starts(call))?;
    let looks = |call: &str| call.starts_with("statx(") || call.starts_with("newfstatat(");
    let is_look =
        |(process, _, call): &&(&str, &str, &str)| *process == lines[last].0 && looks(call);
    let (_, time, _) = lines[..last].iter().rfind(is_look)?;
    let (seconds, micros) = time.split_once('.')?;
    Some(seconds.parse::<u128>().ok()? * 1_000_000 + micros.parse::<u128>().ok()?)
}

#[test]
fn whenever_it_is_exchanged_a_plain_run_starts_nothing_that_came_before_its_last_look() {
    let (world, tool) = world();
    let (good, evil) = (fs::read(&tool).unwrap(), evil(&tool));
    let (mut verified, mut refused, mut lost) = (0, 0, 0);
    for round in 0..ROUNDS {
        // How long this run takes is what the same one took just now that nobody disturbed: a refused
        // one ends sooner, and tells nothing.
        let (run, lasts, _, looked) = exchanged_after(&world, Duration::ZERO, || {});
        assert_eq!(run.stdout(), GOOD);
        assert!(looked.is_some(), "no last look was seen");
        by_renaming(&tool, &good);

        // Everywhere in a run, and after it, in an order that repeats nothing.
        let part = (f64::from(round) * 0.618_034).fract() * BEYOND;
        let by = if round.is_multiple_of(3) { by_writing } else { by_renaming };
        let (run, _, exchanged, looked) =
            exchanged_after(&world, lasts.mul_f64(part), || by(&tool, &evil));
        match run.stdout().as_str() {
            GOOD => verified += 1,
            "evil\n" => {
                lost += 1;
                let looked = looked.unwrap();
                assert!(exchanged >= looked, "{part} of a run: {exchanged} before {looked}");
            }
            "" => {
                refused += 1;
                let codes =
                    [exits::CANNOT_EXECUTE, exits::VERIFICATION_REFUSED, exits::UNREACHABLE];
                assert!(codes.map(Some).contains(&run.code()), "{run:?}");
                assert!(run.stderr().contains("error: "), "{run:?}");
            }
            other => panic!("{other}"),
        }
        by_renaming(&tool, &good);
    }
    let seen = format!("{verified} runs of the tool, {refused} refused, {lost} of the other one");
    println!("{seen}");
    let least = ROUNDS / 20;
    assert!(verified > least && refused > least, "{seen}");
    world.dbt(["-o", "deploy"]).prints(GOOD).says_nothing();
}

/// Two contents of a tool's file, which are exchanged for each other. What they are exchanged by was
/// made before, so that an exchange by renaming takes two calls of the system.
struct Exchanger {
    tool: PathBuf,
    contents: [Vec<u8>; 2],
    spare: [PathBuf; 2],
    next: PathBuf,
    done: usize,
}

impl Exchanger {
    fn new(world: &World, tool: &Path) -> Self {
        let contents = [fs::read(tool).unwrap(), evil(tool)];
        // Beside the home, so that nobody but us touches them.
        let spare = ["good", "evil"].map(|name| world.directory().join(name));
        for (file, content) in spare.iter().zip(&contents) {
            fs::write(file, content).unwrap();
            fs::set_permissions(file, Permissions::from_mode(0o500)).unwrap();
        }
        let next = world.directory().join("next");
        Self { tool: tool.to_owned(), contents, spare, next, done: 0 }
    }

    /// Puts the other content into the place of the good one, and the good one back. Every tenth
    /// time the file stays the same, and its content is overwritten.
    fn exchange(&mut self) {
        let by_writing = (self.done / 2).is_multiple_of(10);
        for index in [1, 0] {
            if by_writing {
                self.overwrite(index);
            } else {
                fs::hard_link(&self.spare[index], &self.next).unwrap();
                dbt_client::fsx::rename(&self.next, &self.tool).unwrap();
            }
            self.done += 1;
        }
    }

    /// Nothing of the spare files may change: it begins with a file of its own.
    fn overwrite(&self, index: usize) {
        if index == 1 {
            by_renaming(&self.tool, &self.contents[0]);
        }
        by_writing(&self.tool, &self.contents[index]);
    }
}

/// Exchanges the file until told to stop: without pause, or for a while each time that somebody
/// opens or reads it.
fn exchange(mut exchanger: Exchanger, is_watching: bool, stop: &AtomicBool, count: &AtomicUsize) {
    let watch = inotify::init(inotify::CreateFlags::NONBLOCK).unwrap();
    let directory = exchanger.tool.parent().unwrap();
    let flags = inotify::WatchFlags::ACCESS | inotify::WatchFlags::OPEN;
    inotify::add_watch(&watch, directory, flags).unwrap();
    let mut buffer = [std::mem::MaybeUninit::uninit(); 4096];
    let mut events = inotify::Reader::new(&watch, &mut buffer);
    while !stop.load(Ordering::Relaxed) {
        if is_watching && events.next().is_err() {
            std::hint::spin_loop();
            continue;
        }
        for _round in 0..if is_watching { BURST } else { 1 } {
            exchanger.exchange();
        }
        count.store(exchanger.done, Ordering::Relaxed);
        // What was touched by ourselves is no reason for more.
        while is_watching && events.next().is_ok() {}
    }
}

/// What came of sealed runs while a tool's file was exchanged.
#[derive(Debug, Default)]
struct Tried {
    exchanges: usize,
    good: usize,
    refused: usize,
}

impl Tried {
    fn is_enough(&self) -> bool {
        self.exchanges >= EXCHANGES && self.good > 0 && self.refused > 0
    }
}

/// Runs the tool again and again, until its file was exchanged often enough.
fn race(is_watching: bool) -> Tried {
    let (world, tool) = world();
    let exchanger = Exchanger::new(&world, &tool);
    let (stop, count, mut tried) = (AtomicBool::new(false), AtomicUsize::new(0), Tried::default());
    std::thread::scope(|scope| {
        scope.spawn(|| exchange(exchanger, is_watching, &stop, &count));
        let begun = Instant::now();
        while begun.elapsed() < LASTS || (!tried.is_enough() && begun.elapsed() < PATIENCE) {
            let run = world.dbt(["-o", "--sealed", "deploy"]);
            match run.stdout().as_str() {
                GOOD => tried.good += 1,
                "" => tried.refused += 1,
                other => {
                    stop.store(true, Ordering::Relaxed);
                    panic!("{other}");
                }
            }
            tried.exchanges = count.load(Ordering::Relaxed);
        }
        stop.store(true, Ordering::Relaxed);
    });
    tried
}

#[test]
fn a_sealed_run_wins_every_race() {
    for is_watching in [false, true] {
        let tried = race(is_watching);
        println!("watching: {is_watching}: {tried:?}");
        assert!(tried.is_enough(), "{tried:?}");
    }
}
