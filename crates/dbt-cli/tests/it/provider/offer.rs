//! On a terminal: the offer to sign in, and the code that a telephone reads.

use std::path::PathBuf;

use dbt_testkit::invocation::Run;
use dbt_testkit::world::World;

use super::{asked, world};

/// Runs the program on a terminal of its own, where somebody types.
pub(crate) fn on_terminal(world: &World, words: &[&str], typed: &str) -> Run {
    // `script` is of util-linux; what is on its terminal comes out of its standard output.
    let line = format!("{} {}", world.program().display(), words.join(" "));
    world
        .invoke(["-qec", &line, "/dev/null"])
        .program(PathBuf::from("script"))
        .env("SHELL", "/bin/sh")
        .env("TERM", "xterm")
        .env("NO_COLOR", "1")
        .stdin(typed.as_bytes())
        .run()
}

#[test]
fn whoever_accepts_is_signed_in_and_the_run_goes_on() {
    let (provider, world) = world();
    provider.confirm_at_once();
    let run = on_terminal(&world, &["deploy"], "y\n");
    run.exits_with(0);
    let shown = run.stdout();
    for words in [
        "dbt: server `acme` wants you to sign in (`dbt login`)",
        "sign in now? [y/N] ",
        "and enter the code WDJB-MJHT",
        "signed in to the server `acme` as alice",
        "deploy 1.4.0",
    ] {
        assert!(shown.contains(words), "`{words}` is not in:\n{shown}");
    }
    assert_eq!(world.tools_started(), ["deploy 1.4.0"]);
}

#[test]
fn whoever_declines_has_the_error_and_nothing_happened() {
    let (provider, world) = world();
    let run = on_terminal(&world, &["deploy"], "n\n");
    run.exits_with(dbt_testkit::exits::REFUSED);
    let shown = run.stdout();
    assert!(shown.contains("sign in now? [y/N] "), "{shown}");
    assert!(shown.contains("`dbt login` signs you in"), "{shown}");
    assert!(asked(&provider).is_empty());
    world.nothing_happened();
}

#[test]
fn whoever_fetches_updates_or_looks_at_the_catalog_is_asked_too() {
    for (words, shown) in [
        (&["fetch", "deploy"][..], "signed in to the server `acme` as alice"),
        (&["update", "deploy"], "signed in to the server `acme` as alice"),
        (&["catalog", "list"], "deploy  1.4.0"),
        (&["catalog", "show", "deploy"], ": 1.4.0\r\n"),
        (&["--", "catalog", "list"], "deploy  1.4.0"),
    ] {
        let (provider, world) = world();
        let declined = on_terminal(&world, words, "n\n");
        declined.exits_with(dbt_testkit::exits::REFUSED);
        assert!(declined.stdout().contains("sign in now? [y/N] "), "{words:?}: {declined:?}");
        assert!(asked(&provider).is_empty(), "{words:?}");

        provider.confirm_at_once();
        let accepted = on_terminal(&world, words, "y\n");
        accepted.exits_with(0);
        assert!(accepted.stdout().contains(shown), "{words:?}: {accepted:?}");
        assert_eq!(accepted.stdout().matches("sign in now?").count(), 1, "{words:?}");
    }
}

#[test]
fn of_several_tools_one_question_is_asked() {
    let (provider, world) = world();
    let run = on_terminal(&world, &["update", "deploy", "other"], "n\n");
    run.exits_with(dbt_testkit::exits::REFUSED);
    assert_eq!(run.stdout().matches("wants you to sign in").count(), 2, "{run:?}");
    assert!(asked(&provider).is_empty());
    world.nothing_happened();
}

#[test]
fn a_code_for_telephones_is_drawn_on_terminals_alone() {
    let (provider, world) = world();
    provider.confirm_at_once();
    let shown = on_terminal(&world, &["login", "--device"], "").stdout();
    assert!(shown.contains('█'), "{shown}");
    let run = world.invoke(["login", "--device"]).env("TERM", "xterm").run();
    run.exits_with(0).does_not_mention("█");
}
