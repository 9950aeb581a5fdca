//! Somebody with the user's own rights exchanges a tool's file while it is verified and started.
//!
//! Once at every step of a run, between which the run stands still; and for many rounds by
//! programs that do nothing else.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use dbt_testkit::exits;
use dbt_testkit::faults::{self, Step, Stopped};
use dbt_testkit::people::ALICE;
use dbt_testkit::world::World;
use rustix::fs::inotify;

use crate::programs::programs;

const GOOD: &str = "deploy 1.4.0\n";

/// How long programs exchange the file without pause.
const LASTS: Duration = Duration::from_secs(15);

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
    let mut file = fs::OpenOptions::new().write(true).open(tool).unwrap();
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

/// Exchanges the file without pause, or each time that somebody touches it, until told to stop.
fn exchange(tool: &Path, is_watching: bool, stop: &AtomicBool, rounds: &AtomicUsize) {
    let (good, evil) = (fs::read(tool).unwrap(), evil(tool));
    let mut buffer = [std::mem::MaybeUninit::uninit(); 4096];
    let watch = inotify::init(inotify::CreateFlags::NONBLOCK).unwrap();
    let flags = inotify::WatchFlags::ACCESS | inotify::WatchFlags::OPEN;
    inotify::add_watch(&watch, tool.parent().unwrap(), flags).unwrap();
    while !stop.load(Ordering::Relaxed) {
        if is_watching && inotify::Reader::new(&watch, &mut buffer).next().is_err() {
            std::hint::spin_loop();
            continue;
        }
        let round = rounds.fetch_add(1, Ordering::Relaxed);
        let by = if round.is_multiple_of(3) { by_writing } else { by_renaming };
        by(tool, &evil);
        by_renaming(tool, &good);
    }
}

#[test]
fn a_sealed_run_wins_every_race() {
    for is_watching in [false, true] {
        let (world, tool) = world();
        let (stop, rounds) = (AtomicBool::new(false), AtomicUsize::new(0));
        let (mut good, mut refused) = (0, 0);
        std::thread::scope(|scope| {
            scope.spawn(|| exchange(&tool, is_watching, &stop, &rounds));
            let begun = Instant::now();
            // A machine with much to do needs longer to show both.
            let shown = |good, refused| good > 0 && refused > 0;
            while begun.elapsed() < LASTS || (!shown(good, refused) && begun.elapsed() < LASTS * 8)
            {
                let run = world.dbt(["-o", "--sealed", "deploy"]);
                match run.stdout().as_str() {
                    GOOD => good += 1,
                    "" => refused += 1,
                    other => {
                        stop.store(true, Ordering::Relaxed);
                        panic!("{other}");
                    }
                }
            }
            stop.store(true, Ordering::Relaxed);
        });
        let rounds = rounds.into_inner();
        let tried = format!("{rounds} exchanges, {good} runs of the tool, {refused} refused");
        assert!(good > 0 && refused > 0 && rounds > 100, "{tried}");
    }
}
