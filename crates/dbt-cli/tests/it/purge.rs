//! Deleting versions from the repository: what goes, what stays, and what is refused.

use std::process::{Command, Stdio};

use dbt_testkit::exits;
use dbt_testkit::server::Fault;
use dbt_testkit::times::days_ago;
use dbt_testkit::world::World;

use crate::pinned;

/// Four releases of `deploy`, signed long ago and lately, on a server that deletes as the reference
/// does.
fn published() -> World {
    let world = pinned();
    for (version, days) in [("1.0.0", 100), ("1.2.0", 60), ("1.10.0", 40), ("2.0.0", 35)] {
        world.repository().publish("deploy", version).at(days_ago(days)).now();
    }
    world.repository().publish("other", "0.1.0").now();
    world.server().delete_what_is_asked();
    world
}

fn versions(world: &World) -> Vec<String> {
    let at = world.repository().file("/dbt-tools/deploy");
    let mut names: Vec<String> = std::fs::read_dir(at)
        .into_iter()
        .flatten()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn deletions(world: &World) -> Vec<String> {
    let requests = world.server().take_requests();
    let lines = requests.iter().map(dbt_testkit::server::Received::line);
    lines.filter(|line| !line.starts_with("GET ")).collect()
}

const ALL: [&str; 4] = ["1.0.0", "1.10.0", "1.2.0", "2.0.0"];

#[test]
fn d21_no_age_deletes_everything_and_the_newest_stays() {
    let world = published();
    for age in ["0d", "0", "-1d", "-30d", "0h"] {
        let age = format!("--older-than={age}");
        let run = world.dbt(["catalog", "purge", "deploy", &age, "--yes"]);
        run.exits_with(exits::USAGE).mentions("is not a length of time greater than zero");
    }
    assert_eq!(versions(&world), ALL);
    assert!(world.server().take_lines().is_empty(), "nothing was even asked");

    let run = world.dbt(["catalog", "purge", "deploy", "--older-than", "1s", "--yes"]);
    run.exits_with(0).prints("deleted deploy 1.0.0\ndeleted deploy 1.2.0\ndeleted deploy 1.10.0\n");
    assert_eq!(versions(&world), ["2.0.0"], "old as it is");
}

#[test]
fn d21_a_dry_run_asks_nothing_deletes_nothing_and_says_what_would_go() {
    let world = published();
    let words = ["catalog", "purge", "deploy", "--older-than", "50d", "--dry-run"];
    let run = world.dbt(words);
    let expected = [("1.0.0", 100), ("1.2.0", 60)].map(|(version, days)| {
        let date = dbt_core::timestamp::format_date(days_ago(days));
        format!("would delete deploy {version} (signed {date})\n")
    });
    run.exits_with(0).prints(&expected.concat()).says_nothing();
    assert!(deletions(&world).is_empty());
    assert_eq!(versions(&world), ALL);
}

#[test]
fn d21_without_a_tools_name_the_local_cache_is_meant_and_never_the_server() {
    let world = published();
    world.dbt(["deploy"]).exits_with(0);
    world.server().take_requests();
    for words in ["purge --all", "purge --older-than 1d", "purge --keep 1", "purge --dry-run"] {
        let run = world.dbt(std::iter::once("catalog").chain(words.split(' ')));
        run.exits_with(exits::USAGE).mentions("needs `<TOOL>`");
    }
    assert_eq!(world.executables().len(), 1);
    world.dbt(["catalog", "purge", "--yes"]).exits_with(0);
    assert_eq!(world.executables().len(), 0);
    assert!(deletions(&world).is_empty());
    assert_eq!(versions(&world), ALL);
}

#[test]
fn without_a_terminal_nothing_is_deleted_unless_a_flag_says_yes() {
    let world = published();
    let run = world.invoke(["catalog", "purge", "deploy", "--all"]).stdin(b"yes\n").run();
    run.exits_with(exits::USAGE).mentions("there is no terminal to ask on").mentions("`--yes`");
    run.mentions("to delete: deploy 1.0.0");
    assert!(run.stdout().is_empty());
    assert!(deletions(&world).is_empty());
    assert_eq!(versions(&world), ALL);
}

#[test]
fn what_is_to_go_has_to_be_said_and_said_once() {
    let world = published();
    for (words, told) in [
        ("", "it is not said which versions are to go"),
        ("--yes", "it is not said which versions are to go"),
        ("--keep 0", "`--keep 0` would keep nothing"),
        ("--older-than 1d --keep 0", "`--keep 0` would keep nothing"),
        ("--all --keep 1", "do not go together"),
        ("--all --older-than 1d", "do not go together"),
        ("--keep 1 --keep-latest", "do not go together"),
        ("--older-than 1y", "is not a length of time"),
        ("--keep=-1", "bad `--keep <COUNT>`"),
    ] {
        let run =
            world.dbt(["catalog", "purge", "deploy"].into_iter().chain(words.split_whitespace()));
        run.exits_with(exits::USAGE).mentions(told);
    }
    world.dbt(["-o", "catalog", "purge", "deploy", "--all", "--yes"]).exits_with(exits::USAGE);
    assert!(world.server().take_lines().is_empty());
    assert_eq!(versions(&world), ALL);
}

#[test]
fn the_newest_stay_as_many_as_are_to_and_the_pre_releases_beyond_them() {
    let world = published();
    world.repository().publish("deploy", "2.1.0-rc.1").now();
    world.dbt(["catalog", "purge", "deploy", "--keep", "2", "--yes"]).exits_with(0);
    assert_eq!(versions(&world), ["1.10.0", "2.0.0", "2.1.0-rc.1"]);
    world.dbt(["catalog", "purge", "deploy", "--keep-latest", "-y"]).exits_with(0);
    assert_eq!(versions(&world), ["2.0.0", "2.1.0-rc.1"]);
    let run = world.dbt(["catalog", "purge", "deploy", "--keep-latest", "-y"]);
    run.exits_with(0).says("dbt: nothing is to be deleted\n");
}

#[test]
fn a_version_of_unknown_age_stays_and_is_named() {
    let world = published();
    world.repository().publish("deploy", "1.1.0").without_signature().now();
    world.repository().publish("deploy", "1.3.0").signature("not a signature").now();
    let run = world.dbt(["catalog", "purge", "deploy", "--older-than", "50d", "--yes"]);
    run.exits_with(0).mentions("1.1.0 stays").mentions("1.3.0 stays");
    assert_eq!(versions(&world), ["1.1.0", "1.10.0", "1.3.0", "2.0.0"]);
}

#[test]
fn all_versions_go_and_with_them_the_empty_directory() {
    let world = published();
    world.dbt(["catalog", "purge", "deploy", "--all", "--yes"]).exits_with(0).says_nothing();
    let paths = ["1.0.0", "1.2.0", "1.10.0", "2.0.0", ""];
    let expected = paths.map(|path| format!("DELETE /dbt-tools/deploy/{path}"));
    let expected = expected.map(|line| line.trim_end_matches('/').to_owned());
    assert_eq!(deletions(&world), expected, "oldest first");
    assert!(!world.repository().file("/dbt-tools/deploy").exists());
    assert!(world.repository().file("/dbt-tools/other/0.1.0").exists());
}

#[test]
fn the_list_of_withdrawn_versions_outlives_the_versions() {
    let world = published();
    world.repository().withdraw("deploy", 1, &["1.0.0"], &dbt_testkit::people::ALICE);
    world.dbt(["catalog", "purge", "deploy", "--all", "--yes"]).exits_with(0);
    assert_eq!(versions(&world), ["withdrawn.json", "withdrawn.json.asc"]);
}

#[test]
fn what_cannot_be_deleted_is_named_and_the_others_go() {
    let world = published();
    world.server().fault("/dbt-tools/deploy/1.2.0", Fault::Status(403));
    let run = world.dbt(["catalog", "purge", "deploy", "--keep-latest", "--yes"]);
    run.exits_with(exits::REFUSED);
    run.mentions("failed to delete 1 of 3 versions of `deploy`").mentions("1.2.0 is still there");
    assert_eq!(run.stdout(), "deleted deploy 1.0.0\ndeleted deploy 1.10.0\n");
    assert_eq!(versions(&world), ["1.2.0", "2.0.0"]);
}

#[test]
fn a_server_that_deletes_nothing_says_so_and_keeps_everything() {
    let world = pinned();
    for version in ["1.0.0", "2.0.0"] {
        world.repository().publish("deploy", version).now();
    }
    let python = Python::serve(&world);
    world.move_server(&python.root);
    let said = world.dbt(["catalog", "list"]).exits_with(0).says_nothing().stdout();
    assert!(said.contains("deploy") && said.contains("2.0.0"), "{said}");
    let said = world.dbt(["catalog", "show", "deploy"]).exits_with(0).stdout();
    assert!(said.contains("1.0.0") && said.contains(" B "), "{said}");
    let run = world.dbt(["catalog", "purge", "deploy", "--all", "--yes"]);
    run.exits_with(exits::UNREACHABLE).mentions("failed to delete 2 of 2 versions");
    assert_eq!(versions(&world), ["1.0.0", "2.0.0"]);
}

#[test]
fn a_tool_that_is_not_there_is_an_error() {
    let world = published();
    let run = world.dbt(["catalog", "purge", "nothing", "--all", "--yes"]);
    run.exits_with(exits::NOT_FOUND);
    assert!(deletions(&world).is_empty());
}

/// `python3 -m http.server`, which answers `DELETE` with 501.
struct Python {
    root: String,
    process: std::process::Child,
}

impl Python {
    fn serve(world: &World) -> Self {
        use std::io::{BufRead as _, BufReader};
        let mut process = Command::new("python3")
            .args(["-u", "-m", "http.server", "0", "--bind", "127.0.0.1", "--directory"])
            .arg(world.repository().file("/"))
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let port = line.split(" port ").nth(1).unwrap().split(' ').next().unwrap();
        Self { root: format!("http://127.0.0.1:{port}"), process }
    }
}

impl Drop for Python {
    fn drop(&mut self) {
        let _gone = self.process.kill().and_then(|()| self.process.wait());
    }
}

#[test]
fn who_is_not_known_to_the_server_is_told_how_to_be() {
    let world = published();
    for version in ALL {
        world.server().fault(&format!("/dbt-tools/deploy/{version}"), Fault::Status(401));
    }
    let run = world.dbt(["catalog", "purge", "deploy", "--keep-latest", "--yes"]);
    run.exits_with(exits::REFUSED).mentions("the server wants to know who asks (401)");
    run.mentions("hint: `publisher delete --token-file FILE` deletes with a token of its own");
    run.mentions("`dbt login --token` keeps a token");
    assert_eq!(versions(&world), ALL);
}
