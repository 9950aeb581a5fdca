//! Everything that changes this machine, at the same time and many times over.

use std::collections::BTreeSet;
use std::fs;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use dbt_core::digest::Digest;
use dbt_testkit::faults;
use dbt_testkit::invocation::{Run, Running};
use dbt_testkit::people::ALICE;
use dbt_testkit::world::World;

use crate::programs::{next, programs};

/// How long everything happens at once.
const LASTS: Duration = Duration::from_secs(30);

fn world() -> World {
    let world = World::new(&programs().now);
    world.pin(&[&ALICE]);
    // Many programs share the machine with the server: it is slow, not gone.
    world.set("timeout", 30);
    world.repository().publish("deploy", "1.0.0").now();
    world
}

/// The program as version 99.0.`number`.
fn version_99(number: u8) -> Vec<u8> {
    let (mut program, old) = (next(), b"99.0.0");
    let places: Vec<usize> = program
        .windows(old.len())
        .enumerate()
        .filter(|(_, it)| it == old)
        .map(|(at, _)| at)
        .collect();
    for at in places {
        program[at + old.len() - 1] = b'0' + number;
    }
    program
}

/// What has been published so far.
struct Published {
    tools: AtomicU64,
    programs: AtomicUsize,
}

impl Published {
    /// Checks that a run of the tool was one of a published version.
    fn check(&self, run: &Run, before: u64) -> Result<(), String> {
        let stdout = run.stdout();
        let version = stdout.trim().strip_prefix("deploy 1.").and_then(|it| it.strip_suffix(".0"));
        let version: Option<u64> = version.and_then(|number| number.parse().ok());
        let now = self.tools.load(Ordering::SeqCst);
        match version {
            Some(version) if run.code() == Some(0) && version <= now => Ok(()),
            _ => Err(format!(
                "{:?} {stdout:?}, between 1.{before}.0 and 1.{now}.0: {}",
                run.code(),
                run.stderr()
            )),
        }
    }
}

/// Runs commands one after the other until told to stop; returns what was wrong.
fn repeat(
    world: &World,
    published: &Published,
    stop: &AtomicBool,
    commands: &[&[&str]],
) -> (usize, Vec<String>) {
    let (mut count, mut problems) = (0, Vec::new());
    while !stop.load(Ordering::Relaxed) {
        for words in commands {
            let before = published.tools.load(Ordering::SeqCst);
            let run = world.dbt(*words);
            count += 1;
            let is_tool = words[0].starts_with("deploy");
            let outcome = match run.code() {
                _ if is_tool => published.check(&run, before),
                Some(0 | 80..=87) if !run.stderr().contains("panicked") => Ok(()),
                _ => Err(format!("{run:?}")),
            };
            problems.extend(outcome.err().map(|words_of| format!("{words:?}: {words_of}")));
        }
    }
    (count, problems)
}

/// Nothing can be executed but what was published, and nothing has another name than its own.
fn check_executables(world: &World, known: &BTreeSet<Digest>) {
    for file in world.executables().iter().chain(&world.program_files()) {
        let digest = Digest::of(&fs::read(file).unwrap());
        assert!(known.contains(&digest), "{} was never published", file.display());
    }
}

fn known(world: &World) -> BTreeSet<Digest> {
    let served = world.served_files();
    let programs = [fs::read(&programs().now).unwrap(), next()];
    let all = served.iter().map(|file| fs::read(file).unwrap()).chain(programs);
    all.map(|bytes| Digest::of(&bytes)).collect()
}

#[test]
fn runs_updates_prunes_rollbacks_and_new_versions_at_once() {
    let world = world();
    let published = Published { tools: AtomicU64::new(0), programs: AtomicUsize::new(0) };
    let stop = AtomicBool::new(false);
    let commands: [&[&[&str]]; 7] = [
        &[&["deploy"]],
        &[&["deploy"], &["deploy@1.0.0"], &["deploy@1"]],
        &[&["cache", "prune"], &["deploy"]],
        &[&["cache", "clear", "--yes"], &["deploy"]],
        &[
            &["update", "deploy"],
            &["rollback", "deploy"],
            &["deploy"],
            &["rollback", "--undo", "deploy"],
        ],
        &[&["self", "update"], &["deploy"], &["self", "rollback"]],
        // The program at its path is a whole one at every moment.
        &[&["--version"]],
    ];
    let (counts, problems) = thread::scope(|scope| {
        let (world, published, stop) = (&world, &published, &stop);
        let repeat = |words| scope.spawn(move || repeat(world, published, stop, words));
        let threads: Vec<_> = commands.map(repeat).into_iter().collect();
        publish_for(world, published, LASTS);
        stop.store(true, Ordering::Relaxed);
        let results: Vec<_> = threads.into_iter().map(|it| it.join().unwrap()).collect();
        let counts: Vec<usize> = results.iter().map(|(count, _)| *count).collect();
        (counts, results.into_iter().flat_map(|(_, problems)| problems).collect::<Vec<_>>())
    });
    assert!(counts.iter().all(|count| *count > 0), "{counts:?}");
    assert!(problems.is_empty(), "{} problems:\n{}", problems.len(), problems.join("\n"));
    check_executables(&world, &known(&world));
    world.dbt(["rollback", "--undo", "deploy"]);
    let newest = format!("deploy 1.{}.0\n", published.tools.load(Ordering::SeqCst));
    world.dbt(["deploy"]).prints(&newest);
    world.dbt(["-o", "deploy"]).prints(&newest).says_nothing();
}

/// Publishes new versions of the tool, and a few of dbt, for so long.
fn publish_for(world: &World, published: &Published, lasts: Duration) {
    let begun = Instant::now();
    while begun.elapsed() < lasts {
        let number = published.tools.fetch_add(1, Ordering::SeqCst) + 1;
        world.repository().publish("deploy", &format!("1.{number}.0")).now();
        if number % 10 == 1 && number < 60 {
            let program = u8::try_from(published.programs.fetch_add(1, Ordering::SeqCst)).unwrap();
            let version = format!("99.0.{program}");
            world.repository().publish_program(&version, version_99(program)).now();
        }
        thread::sleep(Duration::from_millis(300));
    }
}

/// Starts the same run many times at once.
fn at_once(world: &World, count: usize) {
    let running: Vec<Running> = (0..count).map(|_| world.invoke(["deploy"]).start()).collect();
    for running in running {
        running.finish().prints("deploy 1.0.0\n").says_nothing();
    }
}

#[test]
fn many_updates_of_dbt_at_once_end_with_the_new_one_and_the_one_before() {
    let world = world();
    world.dbt(["deploy"]).prints("deploy 1.0.0\n");
    world.repository().publish_program("99.0.0", next()).now();
    world.backup();
    let old = fs::read(&programs().now).unwrap();
    for _round in 0..8 {
        world.restore();
        at_once(&world, 8);
        let files = world.program_files();
        assert_eq!(files.len(), 2, "{files:?}");
        assert!(fs::read(world.program()).unwrap() == next());
        assert!(
            fs::read(files.iter().find(|file| **file != world.program()).unwrap()).unwrap() == old
        );
    }
}

#[test]
fn without_locks_everything_is_as_right_as_with_them() {
    for error in ["ENOLCK", "EOPNOTSUPP"] {
        let world = world();
        world.repository().publish_program("99.0.0", next()).now();
        world.backup();
        for _round in 0..5 {
            world.restore();
            thread::scope(|scope| {
                let deploy = || faults::failing_from(world.invoke(["deploy"]), "flock", error, 1);
                let running: Vec<_> = (0..6).map(|_| scope.spawn(deploy)).collect();
                for run in running {
                    let run = run.join().unwrap();
                    run.prints("deploy 1.0.0\n");
                    assert!(!run.stderr().contains("error"), "{run:?}: {}", run.stderr());
                }
            });
            check_executables(&world, &known(&world));
            assert!(fs::read(world.program()).unwrap() == next());
            world.dbt(["deploy"]).prints("deploy 1.0.0\n").says_nothing();
            world.dbt(["-o", "deploy"]).prints("deploy 1.0.0\n").says_nothing();
        }
    }
}
