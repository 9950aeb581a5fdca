//! Hostile servers: each attack of the kit (`evilrepo list`), against machines that have a copy
//! and machines that have none, `strict` and not.
//!
//! What every attack has in common is asserted here, once: nothing of the attacker's runs or could
//! run, what was there before is there still, no secret is anywhere, and it is over soon.

mod answers;
mod artifacts;
mod listings;
mod program;
mod settings;
mod state;
mod truststores;
mod typed;
mod versions;

use std::fs;
use std::panic::catch_unwind;
use std::path::Path;
use std::time::{Duration, Instant};

use dbt_core::digest::Digest;
use dbt_testkit::exits;
use dbt_testkit::hostile::{self, Case, PINNED, Stage};
use dbt_testkit::invocation::Run;
use dbt_testkit::repository::artifact;
use dbt_testkit::server::FileServer;
use dbt_testkit::snapshot::Snapshot;
use dbt_testkit::world::World;

/// The longest that any attack may keep a person waiting here, on a machine that is very busy.
/// (What is promised is `source_patience`'s to test, without other programs around.)
const PATIENCE: Duration = Duration::from_secs(40);

/// What no run may write or say.
const PASSWORD: &str = "canary-Xq7-password";
const TOKEN: &str = "dbt_canary_Kz5_token";

/// What comes of an attack on a machine: the exit code, and the words. 0 means that the honest
/// 1.4.0 runs; without words, silently.
#[derive(Clone, Copy)]
struct Outcome(i32, &'static str);

/// An attack, and what comes of it.
struct Row {
    case: &'static str,
    /// On a machine that has run 1.4.0 before.
    known: Outcome,
    /// On a machine that has never run anything.
    fresh: Outcome,
    /// What is remembered may change: a revocation, a newcomer, a withdrawal.
    learns: bool,
    /// The `timeout` of the configuration: long where a busy machine must not be an outage, and
    /// short where it takes until time is over.
    timeout: f64,
}

impl Row {
    const fn of(case: &'static str, known: Outcome, fresh: Outcome) -> Self {
        Self { case, known, fresh, learns: false, timeout: 4.0 }
    }

    const fn learning(mut self) -> Self {
        self.learns = true;
        self
    }

    /// The client tries again, and waits in between.
    const fn tried_again(mut self) -> Self {
        self.timeout = 1.0;
        self
    }

    const fn impatient(mut self) -> Self {
        self.timeout = 0.1;
        self
    }

    /// The machines on which it is played: what lasts, on every other one.
    fn machines(&self) -> impl Iterator<Item = (bool, bool)> {
        let all = [(false, false), (false, true), (true, false), (true, true)];
        all.into_iter().step_by(if self.timeout < 1.0 { 3 } else { 1 })
    }
}

/// The attack is recognised, and nothing runs: neither a copy nor anything else.
const fn refused(case: &'static str, words: &'static str) -> Row {
    let outcome = Outcome(exits::VERIFICATION_REFUSED, words);
    Row::of(case, outcome, outcome)
}

/// The attack is no more than an outage: a copy runs, with a warning.
const fn outage(case: &'static str, words: &'static str) -> Row {
    Row::of(case, Outcome(0, words), Outcome(exits::UNREACHABLE, words))
}

/// The attack comes to nothing.
const fn harmless(case: &'static str) -> Row {
    Row::of(case, Outcome(0, ""), Outcome(0, ""))
}

/// Plays a table, and expects what it says. Every row is played, whatever came of the others.
fn play<'a>(rows: impl IntoIterator<Item = &'a Row>) {
    play_on(rows, careful, |_world, _when| {});
}

/// The same on other machines, which are looked at afterwards.
fn play_on<'a>(
    rows: impl IntoIterator<Item = &'a Row>,
    machine: fn(bool) -> World,
    afterwards: fn(&World, &str),
) {
    let mut failed = Vec::new();
    for row in rows {
        for (strict, known) in row.machines() {
            let when = format!("{} (strict: {strict}, known: {known})", row.case);
            let played = catch_unwind(|| {
                let world = machine(strict);
                let outcome = if known { row.known } else { row.fresh };
                attack(&world, row, known, &when, |run| expect(run, outcome, &when));
                afterwards(&world, &when);
            });
            if played.is_err() {
                failed.push(when);
            }
        }
    }
    assert!(failed.is_empty(), "it went otherwise with {failed:#?}");
}

/// Returns the case of a name.
fn case(name: &str) -> &'static Case {
    hostile::find(name).unwrap_or_else(|| panic!("the kit has no case {name}"))
}

/// A machine that trusts the people it should, of the honest repository, with secrets in its
/// configuration.
fn careful(strict: bool) -> World {
    let world = World::new(env!("CARGO_BIN_EXE_dbt"));
    prepare(&world, strict);
    world.pin(&PINNED);
    world
}

fn prepare(world: &World, strict: bool) {
    hostile::honest(world.repository());
    world.set("strict", strict);
    if strict {
        world.set("username", "alice");
        world.set("password", PASSWORD);
    } else {
        world.set("token", TOKEN);
    }
}

/// Runs `deploy` where everything that it could leave behind is found.
fn deploy(world: &World, flags: &[&str]) -> Run {
    let at = |name: &str| world.directory().join(name);
    let words = flags.iter().copied().chain(["deploy"]);
    world.invoke(words).env("DBT_STATUS_FILE", at("status")).run()
}

/// Lets a machine run `deploy` under attack, on one that has run it before or has not, and expects
/// what no attack may change.
#[track_caller]
fn attack(world: &World, row: &Row, known: bool, when: &str, expect: impl FnOnce(&Run)) {
    let elsewhere = FileServer::start(&world.directory().join("s"));
    let honest = Digest::of(&world.repository().read(&artifact("deploy", "1.4.0")));
    if known {
        // A busy machine is no outage here either.
        let before = deploy(world, &[]);
        assert_eq!(before.stdout(), "deploy 1.4.0\n", "{when}: {}", before.stderr());
    }
    let before = Snapshot::of(&world.dbt_home().join("state"));
    let store = world.dbt_home().join("tools").join("sha256");
    let stored = Snapshot::of(&store);
    let program = fs::metadata(world.program()).unwrap();
    let (repository, server) = (world.repository(), world.server());
    case(row.case).play(&Stage { repository, server, elsewhere: &elsewhere });
    world.set("timeout", row.timeout);

    let began = Instant::now();
    let run = deploy(world, &[]);
    let took = began.elapsed();
    assert!(took < PATIENCE, "{when}: took {took:?}");
    expect(&run);
    if known {
        if !row.learns {
            before.still_holds(&world.dbt_home().join("state"), when);
        }
        stored.still_holds(&store, when);
        let offline = deploy(world, &["-o"]);
        assert_eq!(offline.stdout(), "deploy 1.4.0\n", "{when}: {}", offline.stderr());
    }
    if known && row.timeout > 1.0 {
        // Whoever tries again gets no further.
        drop(deploy(world, &[]));
    }
    nothing_of_the_attackers(world, honest, &elsewhere, when);
    let now = fs::metadata(world.program()).unwrap();
    assert_eq!(now.modified().unwrap(), program.modified().unwrap(), "{when}: dbt was replaced");
}

/// Expects that only the honest version has run or could run, and that no secret went anywhere.
#[track_caller]
fn nothing_of_the_attackers(world: &World, honest: Digest, elsewhere: &FileServer, when: &str) {
    for started in world.tools_started() {
        assert_eq!(started, "deploy 1.4.0", "{when}: something else has run");
    }
    for file in world.executables() {
        assert!(
            file.starts_with(world.dbt_home().join("tools/sha256")),
            "{when}: {}",
            file.display()
        );
        assert_eq!(Digest::of(&fs::read(&file).unwrap()), honest, "{when}: {}", file.display());
    }
    assert_eq!(left_in(&world.temporary()), 0, "{when}: temporary files");
    for received in elsewhere.take_requests() {
        let request = received.request;
        assert_eq!(request.header("authorization"), None, "{when}: {request:?}");
    }
    world.no_secret_is_remembered();
}

fn left_in(directory: &Path) -> usize {
    fs::read_dir(directory).unwrap().count()
}

/// Expects an exit code, words that name what was asked for and why not, and what can be done.
#[track_caller]
fn expect(run: &Run, Outcome(code, words): Outcome, when: &str) {
    let said = run.stderr();
    assert_eq!(run.code(), Some(code), "{when} said:\n{said}");
    assert!(said.contains(words), "{when}: `{words}` is not in:\n{said}");
    if code == 0 {
        assert_eq!(run.stdout(), "deploy 1.4.0\n", "{when} said:\n{said}");
        assert_eq!(said.is_empty(), words.is_empty(), "{when} said:\n{said}");
        assert!(said.lines().count() <= 2, "{when} said:\n{said}");
    } else {
        assert_eq!(run.stdout(), "", "{when}");
        assert!(said.contains("error: "), "{when} said:\n{said}");
        // Whoever has to sign in is told so, and how, in one line.
        let helps = ["hint: ", "`dbt login` signs you in"].iter().any(|help| said.contains(help));
        assert!(helps, "{when} said:\n{said}");
        let named = ["deploy", "acme", "[SERVER]", "the server's truststore"]
            .iter()
            .any(|name| said.contains(name));
        assert!(named, "{when} said:\n{said}");
    }
}

#[test]
fn every_attack_of_the_kit_is_in_a_table() {
    let tables: Vec<&str> = [
        truststores::ROWS,
        artifacts::ROWS,
        answers::ROWS,
        listings::ROWS,
        versions::ROWS,
        program::ROWS,
    ]
    .into_iter()
    .flatten()
    .map(|row| row.case)
    .chain(versions::ALONE.iter().copied())
    .collect();
    for case in hostile::cases() {
        let times = tables.iter().filter(|name| **name == case.name).count();
        assert_eq!(times, 1, "{} stands in {times} tables", case.name);
    }
    assert_eq!(tables.len(), hostile::cases().len());
}
