//! What may be typed: names and versions that are none reach neither the server nor the disk.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;

use dbt_testkit::exits;
use dbt_testkit::world::World;

use crate::published;

/// Expects a refusal before anything was asked or written.
#[track_caller]
fn refused_untouched(world: &World, words: &[&str]) {
    let run = world.dbt(words);
    run.exits_with(exits::USAGE).mentions("error:");
    assert!(run.stdout().is_empty(), "{run:?}");
    assert_eq!(world.server().take_lines(), [""; 0], "{words:?}");
    world.nothing_happened();
}

#[test]
fn a_word_that_is_no_tools_name_is_refused_before_anything_is_asked() {
    let world = published();
    let long = "x".repeat(10_000);
    for name in [
        "../x",
        "..",
        ".",
        "",
        "-h",
        "a/b",
        "/bin/sh",
        "a\\b",
        "a%2fb",
        "CON",
        "x.asc",
        "x.sha256",
        &long,
        "a\nb",
        "a\u{200B}b",
        "🦀",
        "deploy.",
        "deploy ",
        " deploy",
        "~",
        "$(id)",
        "a;b",
        "nul",
    ] {
        refused_untouched(&world, &["--", name]);
        refused_untouched(&world, &["run", "--", name]);
    }
}

#[test]
fn a_name_that_is_no_text_is_refused() {
    let world = published();
    let run = world.dbt([OsString::from_vec(b"dep\xffloy".to_vec())]);
    run.exits_with(exits::USAGE).mentions("not UTF-8");
    world.nothing_happened();
}

#[test]
fn a_version_that_is_none_is_refused_before_anything_is_asked() {
    let world = published();
    for version in [
        "../../..",
        "latest",
        "1.2.3/../4.5.6",
        " 1.2.3",
        "1.2.3 ",
        "",
        "1.2.3.4",
        "01.2.3",
        "-1.0.0",
        "1.2.x",
    ] {
        refused_untouched(&world, &["-v", version, "deploy"]);
        refused_untouched(&world, &[&format!("deploy@{version}")]);
    }
}

#[test]
fn a_line_without_a_tool_is_a_mistake_and_an_empty_one_shows_the_help() {
    let world = published();
    for words in [&["--"][..], &["-o"], &["-V"], &["--", "--"], &["-v", "1.4.0"], &["run"]] {
        refused_untouched(&world, words);
    }
    let run = world.dbt([""; 0]);
    run.exits_with(0).says_nothing();
    assert!(run.stdout().contains("dbt"), "{run:?}");
}

#[test]
fn an_unknown_flag_is_named() {
    let world = published();
    world
        .dbt(["--frobnicate", "deploy"])
        .exits_with(exits::USAGE)
        .mentions("unknown flag `--frobnicate`");
    world.nothing_happened();
}

#[test]
fn a_version_given_twice_is_a_mistake() {
    let world = published();
    world.dbt(["-v", "1.4.0", "deploy@1.4.0"]).exits_with(exits::USAGE).mentions("given twice");
    world.nothing_happened();
}

#[test]
fn after_two_dashes_or_run_a_built_in_word_is_a_tool() {
    let world = published();
    world.repository().publish("doctor", "1.0.0").now();
    world.dbt(["--", "doctor", "x"]).prints("doctor 1.0.0\n[x]\n");
    world.dbt(["run", "doctor"]).prints("doctor 1.0.0\n");
}

#[test]
fn a_built_in_word_can_be_given_back_to_the_organisation() {
    let world = published();
    world.repository().publish("doctor", "1.0.0").now();
    world.configure(|config| config["tools"] = serde_json::json!(["doctor"]));
    world.dbt(["doctor", "--json"]).prints("doctor 1.0.0\n[--json]\n");
}

#[test]
fn who_looks_for_the_other_program_of_this_name_is_told() {
    let world = published();
    for word in ["build", "debug", "test"] {
        let run = world.dbt([word]);
        run.exits_with(exits::NOT_FOUND).mentions("not the data build tool");
    }
}

#[test]
fn a_word_that_is_reserved_answers_with_the_command_that_was_meant() {
    let world = published();
    world.dbt(["list"]).exits_with(exits::NOT_FOUND).mentions("dbt catalog list");
}

#[test]
fn a_linked_name_runs_its_tool() {
    let world = published();
    world.dbt(["link", "deploy"]).exits_with(0);
    let link = world.home().join(".local/bin/deploy");
    let run = world.invoke(["-v", "--help"]).program(&link).run();
    run.prints("deploy 1.4.0\n[-v]\n[--help]\n").says_nothing();
    world.dbt(["unlink", "deploy"]).exits_with(0);
    assert!(!link.exists());
}
