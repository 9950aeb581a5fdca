//! Every step of what changes this machine fails once, or is the last: afterwards nothing
//! unverified can be executed, the next run is right, and nothing piles up.
//!
//! Each change of a file is a step of its own, [counted over everything that dbt does](changes). Of what
//! changes none, each kind of call on each file is tried ([`others`]), and writes are [short](short_writes).

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Instant;

use dbt_client::fsx;
use dbt_core::digest::Digest;
use dbt_testkit::invocation::{Invocation, Run};
use dbt_testkit::people::{ALICE, BOB, CAROL};
use dbt_testkit::times::days_ago;
use dbt_testkit::world::World;

use crate::programs::{next, programs};

mod changes;
mod others;
mod short_writes;

/// Something that is done to a machine, and what must be true of it afterwards.
pub(crate) struct Scenario {
    world: World,
    words: Vec<String>,
    /// A directory that stays while everything else is put back as it was: what is remembered of a
    /// file is about this very one, and not about a copy.
    pub(crate) keeps: Option<PathBuf>,
    /// Only these changes fail, or are the last: it makes too many of others that are alike.
    pub(crate) only: Option<&'static [&'static str]>,
    /// What the command may print when it succeeds.
    prints: Vec<&'static str>,
    /// What it prints begins with this instead, where that is a table.
    begins: Option<&'static str>,
    /// What puts the machine right where the command is not the run of a tool.
    then: Vec<Vec<String>>,
    /// What the tool prints in the end.
    newest: &'static str,
    /// It may say once what it has met: whose keys, or that a version was withdrawn.
    says_news: bool,
    /// It only makes links, or removes files: it has no write that could be short.
    writes_nothing: bool,
    /// The files that are there after it succeeded, and after the next run.
    files: BTreeSet<PathBuf>,
    known: BTreeSet<Digest>,
    tried: usize,
    problems: Vec<String>,
    said: BTreeSet<String>,
}

/// What was done to a run.
struct Deed {
    /// At which call, and how, for people.
    what: String,
    /// It was ended by that.
    is_kill: bool,
    /// The server could not be asked.
    is_outage: bool,
}

pub(crate) const OLD: &str = "deploy 1.4.0\n";
const NEW: &str = "deploy 1.5.0\n";

fn world() -> World {
    let world = World::new(&programs().now);
    world.repository().publish("deploy", "1.4.0").now();
    world
}

pub(crate) fn pinned() -> World {
    let world = world();
    world.pin(&[&ALICE]);
    world
}

/// A world in which 1.4.0 has run.
fn cached() -> World {
    let world = pinned();
    world.dbt(["deploy"]).prints(OLD);
    world
}

/// A world in which 1.4.0 has run, and then 1.5.0.
fn updated() -> World {
    let world = cached();
    world.repository().publish("deploy", "1.5.0").now();
    world.dbt(["deploy"]).prints(NEW);
    world
}

/// A version 99.0.0 of dbt that costs little to move and to hash, and is several pieces long all
/// the same: it says who it is, and leaves everything else to the program that was built as that.
fn light(world: &World) -> Vec<u8> {
    let built = world.directory().join("next");
    fs::write(&built, next()).unwrap();
    fs::set_permissions(&built, Permissions::from_mode(0o755)).unwrap();
    let report = r#"{"program":"dbt","version":"99.0.0","sha256":"%s"}\n"#;
    let mut script = format!(
        "#!/bin/sh\nif [ \"$1\" = --self-test ]; then printf '{report}' \"$3\"; exit; fi\nexec {} \"$@\"\n",
        built.display()
    );
    script.extend(std::iter::repeat_n('#', 300_000));
    script.into_bytes()
}

fn owned(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

impl Scenario {
    fn new(world: World, words: &[&str]) -> Self {
        Self {
            world,
            words: owned(words),
            keeps: None,
            only: None,
            prints: vec![""],
            begins: None,
            then: Vec::new(),
            newest: NEW,
            says_news: false,
            writes_nothing: false,
            files: BTreeSet::new(),
            known: BTreeSet::new(),
            tried: 0,
            problems: Vec::new(),
            said: BTreeSet::new(),
        }
    }

    /// The run of a tool that may print this.
    pub(crate) fn run_of_tool(world: World, prints: &[&'static str]) -> Self {
        let newest = prints[prints.len() - 1];
        Self { prints: prints.to_vec(), newest, ..Self::new(world, &["deploy"]) }
    }

    /// The command, whose temporary directory is empty and belongs to this world.
    fn invoke(&self) -> Invocation<'_> {
        self.world.invoke(&self.words).env("TMPDIR", self.temporary())
    }

    fn temporary(&self) -> PathBuf {
        self.world.home().join("tmp")
    }

    /// Tries every fault at every step, among them at least so many changes. Prints how many there were.
    #[expect(clippy::print_stdout, reason = "how much was tried is what such a test tells")]
    pub(crate) fn try_everything(mut self, least: usize) {
        let began = Instant::now();
        fs::create_dir(self.temporary()).unwrap();
        let open_to_all = Permissions::from_mode(0o1777);
        fs::set_permissions(self.temporary(), open_to_all).unwrap();
        self.with_kept_aside(World::backup);
        self.known = self.published();
        self.files = self.clean_files();
        let changes = self.disturb_changes(least);
        let at_changes = self.tried;
        if self.only.is_none() {
            assert!(at_changes >= 3 * changes, "{at_changes} faults at {changes} changes");
            self.disturb_others();
        }
        let before_writes = self.tried;
        self.limit_files();
        self.shorten_writes();
        let took = began.elapsed().as_secs();
        println!(
            "{at_changes} faults at {changes} changes, and {} in all, in {took} s",
            self.tried
        );
        let least = if self.only.is_some() { (10, 3) } else { (20, 5) };
        let seen = (before_writes, self.said.len());
        assert!(seen.0 > least.0 && seen.1 > least.1, "{} faults, {} answers", seen.0, seen.1);
        let problems = self.problems.join("\n");
        assert!(problems.is_empty(), "{} problems:\n{problems}", self.problems.len());
    }

    /// Puts everything back as it was.
    fn restore(&self) {
        self.with_kept_aside(World::restore);
    }

    fn with_kept_aside(&self, work: impl FnOnce(&World)) {
        let Some(kept) = &self.keeps else { return work(&self.world) };
        let aside = self.world.directory().join("aside");
        fsx::rename(kept, &aside).unwrap();
        work(&self.world);
        fsx::rename(&aside, kept).unwrap();
    }

    /// The digests of everything that may be executed.
    fn published(&self) -> BTreeSet<Digest> {
        let mut files = self.world.served_files();
        files.extend(self.world.program_files());
        files.push(programs().now.clone());
        files.iter().map(|file| digest_of(file)).collect()
    }

    /// The files that are there when nothing fails.
    fn clean_files(&self) -> BTreeSet<PathBuf> {
        let mut files = self.files_now();
        self.world.dbt(&self.words).exits_with(0);
        files.extend(self.files_now());
        for words in self.then.iter().chain([&owned(&["deploy"])]) {
            self.world.dbt(words).exits_with(0);
            files.extend(self.files_now());
        }
        files
    }

    fn files_now(&self) -> BTreeSet<PathBuf> {
        self.world.home_files().into_iter().chain(self.world.program_files()).collect()
    }

    fn problem(&mut self, deed: &Deed, words: &str) {
        self.problems.push(format!("{}: {words}", deed.what));
    }

    fn judge(&mut self, deed: &Deed, run: &Run) {
        self.tried += 1;
        for outcome in [self.outcome(deed, run), self.executables(), self.afterwards(deed)] {
            if let Err(words) = outcome {
                self.problem(deed, &words);
            }
        }
        self.said.insert(format!("{:?} {}", run.code(), run.stderr().replace('\n', " | ")));
    }

    /// What the run itself may do.
    fn outcome(&self, deed: &Deed, run: &Run) -> Result<(), String> {
        let (stdout, stderr) = (run.stdout(), run.stderr());
        let shown = format!("exit {:?}, stdout {stdout:?}, stderr {stderr:?}", run.code());
        if stderr.contains("panicked") {
            return Err(format!("a panic: {shown}"));
        }
        match run.code() {
            Some(0) if self.begins.is_some_and(|it| stdout.starts_with(it)) => Ok(()),
            Some(0) if self.prints.contains(&stdout.as_str()) => Ok(()),
            Some(80..=87 | 126) if stdout.is_empty() => {
                let names =
                    ["`", "the running program", "home directory", "its self-test", "this process"];
                let names_it = names.into_iter().any(|it| stderr.contains(it));
                let is_said = stderr.contains("error: ") && names_it;
                if is_said { Ok(()) } else { Err(format!("it does not say what failed: {shown}")) }
            }
            None if deed.is_kill => Ok(()),
            _ => Err(shown),
        }
    }

    /// Nothing can be executed but what was published, under the name that it has.
    fn executables(&self) -> Result<(), String> {
        let programs = self.world.program_files();
        if !programs.contains(&self.world.program()) {
            return Err("there is no program any more".to_owned());
        }
        for file in self.world.executables().iter().chain(&executable(programs)) {
            let digest = digest_of(file);
            if !self.known.contains(&digest) {
                return Err(format!("{} can be executed and was never published", file.display()));
            }
        }
        for file in self.world.home_files() {
            let named = file.parent().and_then(Path::file_name).and_then(|name| name.to_str());
            let Some(named) = named.and_then(|name| name.parse::<Digest>().ok()) else { continue };
            if digest_of(&file) != named {
                return Err(format!("{} has other content", file.display()));
            }
        }
        Ok(())
    }

    /// The next run is right, and what is left behind goes.
    fn afterwards(&self, deed: &Deed) -> Result<(), String> {
        for words in &self.then {
            let run = self.world.dbt(words);
            if run.code() != Some(0) {
                return Err(format!("then {words:?}: {run:?}"));
            }
        }
        let mut run = self.world.dbt(["deploy"]);
        if deed.is_outage {
            // After an outage the server is left alone for a while, unless a person asks.
            self.world.dbt(["update", "deploy"]);
            run = self.world.dbt(["deploy"]);
        }
        let is_quiet = run.stderr().is_empty() || self.says_news && !tells_of_damage(&run);
        if run.code() != Some(0) || run.stdout() != self.newest || !is_quiet {
            return Err(format!("the next run: {run:?} said {}", run.stderr()));
        }
        // What is in a store is kept on purpose, wherever there was a place for one.
        let stored = ["locks", "sha256"].map(std::ffi::OsStr::new);
        let is_left = |file: &&PathBuf| !file.iter().any(|name| stored.contains(&name));
        let files = self.files_now();
        let left: Vec<PathBuf> = files.difference(&self.files).filter(is_left).cloned().collect();
        if left.is_empty() {
            return Ok(());
        }
        for file in &left {
            let opened = File::options().read(true).open(file).unwrap();
            opened.set_modified(days_ago(2)).unwrap();
        }
        // The light version is none that could clean up beside itself.
        self.world.install(&programs().now);
        self.world.dbt(["cache", "prune"]);
        let left: Vec<&PathBuf> = left.iter().filter(|file| file.exists()).collect();
        if left.is_empty() { Ok(()) } else { Err(format!("left behind: {left:?}")) }
    }
}

fn tells_of_damage(run: &Run) -> bool {
    let said = run.stderr();
    ["error", "failed", "damaged"].iter().any(|word| said.contains(word))
}

fn executable(files: Vec<PathBuf>) -> Vec<PathBuf> {
    let is = |file: &PathBuf| fs::metadata(file).unwrap().permissions().mode() & 0o111 != 0;
    files.into_iter().filter(is).collect()
}

/// Returns the digest of a file's content. Programs are large and seldom change: they are read
/// once for each file that they are.
fn digest_of(path: &Path) -> Digest {
    static KNOWN: Mutex<BTreeMap<[i64; 6], Digest>> = Mutex::new(BTreeMap::new());
    let mut file = File::open(path).unwrap();
    let found = file.metadata().unwrap();
    // Numbers of files come back, and the times of their changes do not. Those that have several
    // names stay as long as the first, and change with every name.
    let is_shared = found.nlink() > 1;
    let changed = if is_shared { [0, 0] } else { [found.ctime(), found.ctime_nsec()] };
    let [ino, length] = [found.ino(), found.len()].map(u64::cast_signed);
    let key = [ino, length, found.mtime(), found.mtime_nsec(), changed[0], changed[1]];
    if let Some(digest) = KNOWN.lock().unwrap().get(&key) {
        return *digest;
    }
    let digest = Digest::of_reader(&mut file).unwrap().0;
    KNOWN.lock().unwrap().insert(key, digest);
    digest
}

#[test]
fn a_first_run_survives_every_fault() {
    Scenario::run_of_tool(pinned(), &[OLD]).try_everything(35);
}

#[test]
fn a_first_contact_survives_every_fault() {
    let scenario = Scenario::run_of_tool(world(), &[OLD]);
    Scenario { says_news: true, ..scenario }.try_everything(35);
}

#[test]
fn a_new_signing_key_survives_every_fault() {
    let world = world();
    world.dbt(["deploy"]).prints(OLD);
    world.repository().trust(&[&ALICE, &BOB]);
    let scenario = Scenario::run_of_tool(world, &[OLD]);
    Scenario { says_news: true, ..scenario }.try_everything(18);
}

#[test]
fn an_established_key_that_leaves_survives_every_fault() {
    let world = world();
    world.dbt(["deploy"]).prints(OLD);
    // Bob alone, whom Alice stands behind: where she is forgotten too early, he is a stranger.
    world.repository().truststore(&[BOB.certified_by(&ALICE)]);
    world.repository().publish("deploy", "1.4.0").signed_by(&BOB).now();
    let scenario = Scenario::run_of_tool(world, &[OLD]);
    Scenario { says_news: true, ..scenario }.try_everything(26);
}

#[test]
fn a_change_of_the_manifest_survives_every_fault() {
    let world = world();
    world.repository().manifest(1).publish(&[&ALICE]);
    world.dbt(["deploy"]).prints(OLD);
    world.repository().trust(&[&ALICE, &BOB]);
    world.repository().manifest(2).publish(&[&ALICE, &BOB]);
    let scenario = Scenario::run_of_tool(world, &[OLD]);
    Scenario { says_news: true, ..scenario }.try_everything(18);
}

#[test]
fn a_revocation_survives_every_fault() {
    let world = world();
    world.repository().trust(&[&ALICE, &CAROL]);
    world.repository().publish("deploy", "1.4.0").signed_by(&CAROL).now();
    world.dbt(["deploy"]).prints(OLD);
    world.repository().truststore(&[ALICE.revoked(), CAROL.certificate()]);
    let scenario = Scenario::run_of_tool(world, &[OLD]);
    Scenario { says_news: true, ..scenario }.try_everything(18);
}

#[test]
fn a_list_of_withdrawn_versions_survives_every_fault() {
    let world = updated();
    world.repository().withdraw("deploy", 1, &["1.5.0"], &ALICE);
    // What cannot be asked for is not known to be withdrawn.
    let scenario = Scenario::run_of_tool(world, &[NEW, OLD]);
    Scenario { says_news: true, ..scenario }.try_everything(12);
}

#[test]
fn an_update_survives_every_fault() {
    let world = cached();
    world.repository().publish("deploy", "1.5.0").now();
    Scenario::run_of_tool(world, &[OLD, NEW]).try_everything(17);
}

#[test]
fn a_run_with_nothing_new_survives_every_fault() {
    Scenario::run_of_tool(cached(), &[OLD]).try_everything(0);
}

#[test]
fn a_sealed_run_survives_every_fault() {
    let scenario = Scenario::run_of_tool(cached(), &[OLD]);
    Scenario { words: owned(&["--sealed", "deploy"]), ..scenario }.try_everything(0);
}

#[test]
fn an_update_of_dbt_itself_survives_every_fault() {
    let world = cached();
    world.repository().publish_program("99.0.0", light(&world)).now();
    Scenario::run_of_tool(world, &[OLD]).try_everything(78);
}

#[test]
fn an_update_by_hand_survives_every_fault() {
    let world = cached();
    world.repository().publish("deploy", "1.5.0").now();
    Scenario::new(world, &["update", "deploy"]).try_everything(16);
}

#[test]
fn an_update_of_dbt_by_hand_survives_every_fault() {
    let world = cached();
    world.repository().publish_program("99.0.0", light(&world)).now();
    let scenario = Scenario::new(world, &["self", "update"]);
    Scenario { newest: OLD, ..scenario }.try_everything(78);
}

#[test]
fn an_approved_key_survives_every_fault() {
    let world = world();
    world.dbt(["deploy"]).prints(OLD);
    world.repository().trust(&[&ALICE, &BOB]);
    world.dbt(["deploy"]).prints(OLD);
    let approve = ["trust", "approve", &BOB.fingerprint().to_string()].map(str::to_owned);
    let scenario = Scenario::new(world, &approve.each_ref().map(String::as_str));
    Scenario { then: vec![approve.to_vec()], newest: OLD, ..scenario }.try_everything(6);
}

#[test]
fn pruning_survives_every_fault() {
    let world = updated();
    for version in ["1.6.0", "1.7.0", "1.8.0"] {
        world.repository().publish("deploy", version).now();
        world.dbt(["update", "deploy"]).exits_with(0);
    }
    let record = world.state_file("tools/deploy.json");
    let text = fs::read_to_string(&record).unwrap();
    // Nothing has run for long.
    let mut known: serde_json::Value = serde_json::from_str(&text).unwrap();
    for version in known["installed"].as_array_mut().unwrap() {
        version["used"] = "2001-01-01T00:00:00Z".into();
    }
    fs::write(&record, known.to_string()).unwrap();
    assert_eq!(world.executables().len(), 5);
    let prints = "TOOL    VERSION  SIZE";
    let scenario = Scenario::new(world, &["cache", "prune"]);
    Scenario { newest: "deploy 1.8.0\n", begins: Some(prints), ..scenario }.try_everything(21);
}

#[test]
fn going_back_to_the_dbt_before_survives_every_fault() {
    let world = cached();
    world.repository().publish_program("99.0.0", next()).now();
    world.dbt(["deploy"]).prints(OLD);
    let scenario = Scenario::new(world, &["self", "rollback"]);
    Scenario { newest: OLD, ..scenario }.try_everything(11);
}

#[test]
fn a_rollback_survives_every_fault() {
    let then = vec![owned(&["rollback", "--undo", "deploy"])];
    Scenario { then, ..Scenario::new(updated(), &["rollback", "deploy"]) }.try_everything(6);
}

#[test]
fn the_end_of_a_rollback_survives_every_fault() {
    let world = updated();
    world.dbt(["rollback", "deploy"]).exits_with(0);
    let then = vec![owned(&["rollback", "--undo", "deploy"])];
    let scenario = Scenario::new(world, &["rollback", "--undo", "deploy"]);
    Scenario { then, ..scenario }.try_everything(6);
}

#[test]
fn clearing_the_cache_survives_every_fault() {
    let scenario = Scenario::new(updated(), &["cache", "clear", "--yes"]);
    Scenario { writes_nothing: true, ..scenario }.try_everything(10);
}

#[test]
fn a_link_survives_every_fault() {
    let then = vec![owned(&["link", "deploy"])];
    let scenario = Scenario::new(updated(), &["link", "deploy"]);
    Scenario { then, writes_nothing: true, ..scenario }.try_everything(4);
}

#[test]
fn a_change_of_the_configuration_survives_every_fault() {
    let then = vec![owned(&["server", "use", "acme"])];
    Scenario { then, ..Scenario::new(updated(), &["server", "use", "acme"]) }.try_everything(6);
}
