//! What may be typed, in the places where names and versions stand: words that are none reach
//! neither the server nor the disk, whichever command they are given to.

use dbt_testkit::exits;
use dbt_testkit::snapshot::Snapshot;

use super::careful;

/// Words that are no tool's name.
const NO_NAMES: &[&str] = &[
    "../x",
    "..",
    ".",
    "",
    "a/b",
    "a\\b",
    "a%2fb",
    "CON",
    "com1.exe",
    "x.asc",
    "x.md5",
    "a\nb",
    "a\u{200B}b",
    "\u{202E}yolped",
    "d\u{435}ploy",
    "🦀",
    "deploy.",
    "deploy ",
    "\u{1b}[2Jdeploy",
];

/// Words that are no version.
const NO_VERSIONS: &[&str] =
    &["../../..", "latest", "1.2.3/../4.5.6", " 1.2.3", "1.2.3\n", "", "v", "1.2.3%2f", "*", "^1"];

/// Expects that a line is a mistake in its wording and nothing more.
#[track_caller]
fn a_mistake(lines: impl IntoIterator<Item = Vec<String>>) {
    let world = careful(false);
    world.dbt(["deploy"]).prints("deploy 1.4.0\n");
    world.server().take_requests();
    let before = Snapshot::of(&world.home());
    for line in lines {
        let run = world.dbt(&line);
        run.exits_with(exits::USAGE).mentions("error: ");
        assert_eq!(run.stdout(), "", "{line:?}");
        let said = run.stderr();
        assert!(!said.contains(['\u{1b}', '\u{202E}', '\u{200B}']), "{line:?}: {said:?}");
        assert!(said.len() < 2000, "{line:?} is answered by {} bytes", said.len());
        assert_eq!(world.server().take_lines(), [""; 0], "{line:?}");
        before.still_holds(&world.home(), &format!("{line:?}"));
    }
    assert_eq!(world.tools_started(), ["deploy 1.4.0"]);
    world.no_secret_is_remembered();
}

#[test]
fn no_command_takes_a_word_for_a_tool_that_is_none() {
    let long = "x".repeat(10_000);
    let names = NO_NAMES.iter().copied().chain([long.as_str()]);
    a_mistake(names.flat_map(|name| {
        [
            &["--", name][..],
            &["run", name],
            &["fetch", "--", name],
            &["update", "--", name],
            &["which", "--", name],
            &["rollback", "--", name],
            &["link", "--", name],
            &["unlink", "--", name],
            &["catalog", "show", "--", name],
        ]
        .map(|line| line.iter().map(|word| (*word).to_owned()).collect())
    }));
}

#[test]
fn no_command_takes_a_word_for_a_version_that_is_none() {
    a_mistake(NO_VERSIONS.iter().flat_map(|version| {
        let at = format!("deploy@{version}");
        [
            &["-v", version, "deploy"][..],
            &["--toolversion", version, "--", "deploy"],
            &[&at],
            &["fetch", &at],
            &["rollback", "deploy", version],
        ]
        .map(|line| line.iter().map(|word| (*word).to_owned()).collect())
    }));
}

#[test]
fn a_line_that_names_no_tool_is_a_mistake() {
    let lines =
        ["--", "-- --", "-o", "-o --", "-V", "--sealed", "-s acme", "-v 1.4.0", "run", "run --"];
    a_mistake(lines.map(|line| line.split(' ').map(str::to_owned).collect()));
}
