//! What a machine remembers, spoilt: by a disk, by an accident, or by another program of the user.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use dbt_testkit::exits;
use dbt_testkit::invocation::Running;
use dbt_testkit::people::{ALICE, CAROL, MALLORY};
use dbt_testkit::world::World;

use super::{deploy, prepare};

type Damage = (&'static str, fn(&Path));

/// What can happen to a file.
const DAMAGES: [Damage; 11] = [
    ("emptied", |file| fs::write(file, "").unwrap()),
    ("cut in half", |file| {
        let bytes = fs::read(file).unwrap();
        fs::write(file, &bytes[..bytes.len() / 2]).unwrap();
    }),
    ("garbage", |file| fs::write(file, [0xff; 300]).unwrap()),
    ("zeros, as after a power failure", |file| {
        let length = usize::try_from(fs::metadata(file).unwrap().len()).unwrap();
        fs::write(file, vec![0; length]).unwrap();
    }),
    ("another shape", |file| fs::write(file, "[1, 2, 3]").unwrap()),
    ("nothing in it", |file| fs::write(file, "{}").unwrap()),
    ("of a newer version", |file| fs::write(file, "{\"schema\": 99}").unwrap()),
    ("larger than it may be", |file| {
        fs::OpenOptions::new().write(true).open(file).unwrap().set_len(17 << 20).unwrap();
    }),
    ("a directory", |file| {
        fs::remove_file(file).unwrap();
        fs::create_dir(file).unwrap();
    }),
    ("a link to another file", |file| {
        fs::remove_file(file).unwrap();
        symlink("/etc/passwd", file).unwrap();
    }),
    ("a pipe", |file| {
        fs::remove_file(file).unwrap();
        assert!(Command::new("mkfifo").arg(file).status().unwrap().success());
    }),
];

/// A machine that has met its server without anybody's word, so that all it knows it remembers.
fn acquainted() -> World {
    let world = World::new(env!("CARGO_BIN_EXE_dbt"));
    prepare(&world, false);
    // What is spoilt here is no server, and a busy machine is no outage.
    world.set("timeout", 4);
    let run = deploy(&world, &[]);
    assert_eq!(run.stdout(), "deploy 1.4.0\n", "{}", run.stderr());
    world
}

/// The attacker has the server too: everything is signed by a key that nobody knows.
fn taken_over(world: &World) {
    world.repository().trust(&[&MALLORY]);
    world.repository().publish("deploy", "1.5.0").signed_by(&MALLORY).now();
    world.repository().publish("deploy", "1.4.0").signed_by(&MALLORY).script("echo owned").now();
}

/// Expects that the server cannot use what happened to this machine.
#[track_caller]
fn nothing_is_taken_for_a_first_contact(world: &World, damaged: &Path, when: &str) {
    let before = world.executables();
    taken_over(world);
    for _again in 0..2 {
        let run = deploy(world, &[]);
        let said = run.stderr();
        assert!(["", "deploy 1.4.0\n"].contains(&run.stdout().as_str()), "{when}: {said}");
        assert!(!said.contains("first use"), "{when}: {said}");
        if run.code() != Some(0) {
            let name = damaged.file_name().unwrap().to_str().unwrap();
            let words = said.contains(name) || said.contains("truststore");
            assert!(words, "{when}: not named in {said}");
        }
    }
    assert_eq!(world.executables(), before, "{when}");
    world.no_secret_is_remembered();
}

/// The files of what is remembered, as paths below dbt's home.
fn remembered() -> Vec<PathBuf> {
    let world = acquainted();
    let home = world.dbt_home();
    world.state_files().iter().map(|file| file.strip_prefix(&home).unwrap().to_owned()).collect()
}

/// The directory of one server differs from world to world, because it is named by the URL.
fn same_in(world: &World, file: &Path) -> Option<PathBuf> {
    let server = fs::read_dir(world.dbt_home().join("state")).unwrap();
    let mut names = file.components();
    let (state, _server) = (names.next()?, names.next()?);
    let below = names.as_path();
    let found = server
        .map(|entry| entry.unwrap().path().join(below))
        .find(|path| below.components().next().is_some() && path.is_file());
    found.or_else(|| Some(world.dbt_home().join(state).join(file.file_name()?)))
}

#[test]
fn no_damage_to_what_is_remembered_is_taken_for_a_first_contact() {
    let files = remembered();
    assert!(files.len() >= 3, "{files:?}");
    for file in &files {
        for (kind, damage) in DAMAGES {
            let world = acquainted();
            let there = same_in(&world, file).unwrap();
            damage(&there);
            nothing_is_taken_for_a_first_contact(&world, &there, &format!("{file:?}, {kind}"));
        }
    }
}

#[test]
fn a_damaged_state_of_an_honest_server_runs_the_right_tool_or_says_why_not() {
    for file in &remembered() {
        for (kind, damage) in DAMAGES {
            let world = acquainted();
            let there = same_in(&world, file).unwrap();
            damage(&there);
            let run = deploy(&world, &[]);
            let said = run.stderr();
            if run.code() == Some(0) {
                assert_eq!(run.stdout(), "deploy 1.4.0\n", "{file:?}, {kind}: {said}");
            } else {
                let is_ours = run.code().is_some_and(|code| code >= exits::USAGE);
                assert!(is_ours && run.stdout().is_empty(), "{file:?}, {kind}: {said}");
                assert_ne!(run.code(), Some(exits::INTERNAL), "{file:?}, {kind}: {said}");
                assert!(said.contains("hint: "), "{file:?}, {kind}: {said}");
            }
            // Nobody followed a link out of the directory.
            assert!(!fs::read_to_string("/etc/passwd").unwrap().contains("schema"));
        }
    }
}

/// The user that a test becomes, so that permissions count.
const STRANGER: [&str; 4] = ["setpriv", "--reuid=12345", "--regid=12345", "--clear-groups"];

#[test]
fn what_is_remembered_and_cannot_be_read_is_named_and_not_forgotten() {
    for file in &remembered() {
        let world = acquainted();
        let there = same_in(&world, file).unwrap();
        fs::set_permissions(&there, Permissions::from_mode(0o000)).unwrap();
        taken_over(&world);
        let through: &[&str] = if rustix::process::geteuid().is_root() {
            let home = world.home();
            let chown = Command::new("chown").args(["-R", "12345"]).arg(home).status();
            assert!(chown.unwrap().success());
            &STRANGER
        } else {
            &[]
        };
        let run = world.invoke(["deploy"]).through(through).run();
        let said = run.stderr();
        assert!(!said.contains("first use"), "{file:?}: {said}");
        assert!(["", "deploy 1.4.0\n"].contains(&run.stdout().as_str()), "{file:?}: {said}");
        assert_ne!(run.code(), Some(exits::INTERNAL), "{file:?}: {said}");
        assert_eq!(world.executables().len(), 1, "{file:?}");
    }
}

/// The directory of one server's state.
fn of_the_server(world: &World) -> PathBuf {
    world.state_file("state.json").parent().unwrap().to_owned()
}

#[test]
fn something_else_in_the_place_of_a_directory_is_named_and_nothing_hangs() {
    let places: [fn(&World) -> PathBuf; 4] = [
        |world| world.dbt_home().join("state"),
        of_the_server,
        |world| of_the_server(world).join("tools"),
        |world| world.dbt_home().join("tools"),
    ];
    for place in places {
        for (kind, damage) in DAMAGES.into_iter().filter(|(_, it)| is_exchange(*it)) {
            let world = acquainted();
            let there = place(&world);
            fs::remove_dir_all(&there).unwrap();
            fs::write(&there, "").unwrap();
            damage(&there);
            let run = deploy(&world, &[]);
            let when = format!("{}, {kind}", there.display());
            let said = run.stderr();
            assert!(["", "deploy 1.4.0\n"].contains(&run.stdout().as_str()), "{when}: {said}");
            assert_ne!(run.code(), Some(exits::INTERNAL), "{when}: {said}");
            world.no_secret_is_remembered();
        }
    }
}

/// Says whether something else is left in the place.
fn is_exchange(damage: fn(&Path)) -> bool {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    fs::write(&file, "{\"schema\": 1}").unwrap();
    damage(&file);
    !fs::symlink_metadata(&file).unwrap().is_file()
}

#[test]
fn many_clients_that_learn_of_a_revocation_at_once_all_remember_it() {
    let world = acquainted();
    world.repository().truststore(&[ALICE.revoked(), CAROL.certificate()]);
    let running: Vec<Running> = (0..12).map(|_| world.invoke(["deploy"]).start()).collect();
    for run in running.into_iter().map(Running::finish) {
        assert_eq!(run.stdout(), "deploy 1.4.0\n", "{}", run.stderr());
    }
    world.repository().trust(&[&ALICE, &CAROL]);
    world.repository().publish("deploy", "1.5.0").signed_by(&ALICE).now();
    deploy(&world, &[]).exits_with(exits::VERIFICATION_REFUSED).mentions("revoked");
    for file in world.state_files() {
        if file.extension().is_some_and(|extension| extension == "json") {
            let record: Result<serde_json::Value, _> =
                serde_json::from_slice(&fs::read(&file).unwrap());
            assert!(record.is_ok(), "{}", file.display());
        }
    }
}

#[test]
fn clients_killed_while_they_learn_leave_what_was_or_what_is() {
    for round in 0..12 {
        let world = acquainted();
        world.repository().truststore(&[ALICE.revoked(), CAROL.certificate()]);
        world.server().take_requests();
        let running: Vec<Running> = (0..3).map(|_| world.invoke(["deploy"]).start()).collect();
        // Later in each round: before anything is asked, while it is asked, when it is known.
        world.server().wait_until_so_many(round);
        running.into_iter().for_each(Running::kill);
        let run = deploy(&world, &[]);
        assert_eq!(run.stdout(), "deploy 1.4.0\n", "{round}: {}", run.stderr());
        assert_eq!(world.executables().len(), 1, "{round}");
    }
}

#[test]
fn offline_without_anything_remembered_runs_nothing_and_says_what_to_do() {
    for strict in [false, true] {
        let world = super::careful(strict);
        let run = deploy(&world, &["-o"]);
        run.exits_with(exits::UNREACHABLE).mentions("`deploy` is not cached").mentions("dbt fetch");
        assert_eq!(world.server().take_lines(), [""; 0]);
        world.nothing_happened();

        // A store without the memory of whose it is proves nothing.
        let world = super::careful(strict);
        deploy(&world, &[]).prints("deploy 1.4.0\n");
        fs::remove_dir_all(world.dbt_home().join("state")).unwrap();
        world.server().take_requests();
        let run = deploy(&world, &["-o"]);
        run.exits_with(exits::UNREACHABLE).mentions("hint: ");
        assert_eq!(run.stdout(), "");
        assert_eq!(world.server().take_lines(), [""; 0]);
    }
    let world = acquainted();
    fs::remove_file(world.config_file()).unwrap();
    deploy(&world, &["-o"]).exits_with(exits::CONFIGURATION).mentions("no server is configured");
}
