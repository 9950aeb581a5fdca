//! What the program says about itself, and about command lines that mean nothing.

use std::process::{Command, Stdio};

use dbt_testkit::exits;
use dbt_testkit::world::World;

use crate::world;

/// Runs the catalog program in a world.
fn catalog(world: &World, words: &[&str]) -> dbt_testkit::invocation::Run {
    world.invoke(words).program(env!("CARGO_BIN_EXE_catalog")).run()
}

#[test]
fn help_is_data_and_names_every_command() {
    let world = world();
    for words in [&[][..], &["help"], &["--help"], &["-h"], &["-o", "--help", "deploy"]] {
        let run = world.dbt(words);
        run.exits_with(0).says_nothing();
        for word in dbt_core::name::BUILT_IN_WORDS {
            let line = format!("\n  {word} ");
            assert!(run.stdout().contains(&line), "{word}: {}", run.stdout());
        }
    }
    assert_eq!(world.server().take_lines(), [""; 0]);
}

#[test]
fn every_command_has_help_of_its_own() {
    let world = world();
    for (words, usage) in [
        (&["fetch", "--help"][..], "Usage: dbt fetch [OPTIONS] <TOOL[@VERSION]>..."),
        (&["help", "catalog", "list"], "Usage: dbt catalog list [OPTIONS]"),
        (&["catalog"], "Usage: dbt catalog [OPTIONS] <COMMAND>"),
        (&["run", "--help"], "Usage: dbt run [OPTIONS] <TOOL>[@VERSION] [ARGUMENTS]..."),
        (&["server", "add", "-h"], "Usage: dbt server add [OPTIONS]"),
    ] {
        let run = world.dbt(words);
        run.exits_with(0).says_nothing();
        assert!(run.stdout().contains(usage), "{words:?}: {}", run.stdout());
    }
}

#[test]
fn the_version_is_said_as_the_reference_says_it() {
    let world = world();
    let expected = format!("dbt version {}\n", dbt_cli::version::version());
    world.dbt(["--version"]).prints(&expected).says_nothing();
    let expected = format!("catalog version {}\n", dbt_cli::version::version());
    catalog(&world, &["--version"]).prints(&expected).says_nothing();
}

#[test]
fn a_command_line_that_means_nothing_is_said_in_our_words_and_nothing_happens() {
    let world = world();
    for (line, words) in [
        (
            "--frobnicate",
            "error: unknown flag `--frobnicate`\nhint: flags of the tool stand after its name\nhint: `dbt --help` shows how it is used\n",
        ),
        (
            "fetch",
            "error: `dbt fetch` needs `<TOOL[@VERSION]>...`\nhint: `dbt fetch --help` shows how it is used\n",
        ),
        (
            "fetch --frob x",
            "error: `dbt fetch` has no flag `--frob`\nhint: `dbt fetch --help` shows how it is used\n",
        ),
        (
            "catalog lst",
            "error: `dbt catalog` has no command `lst`\nhint: did you mean `list`?\nhint: `dbt catalog --help` shows how it is used\n",
        ),
        (
            "catalog list x",
            "error: `dbt catalog list` does not expect `x`\nhint: `dbt catalog list --help` shows how it is used\n",
        ),
        (
            "which ../x",
            "error: bad `<TOOL[@VERSION]>`: `../x` cannot be the name of a tool: only letters, digits and `.`, `_`, `+`, `-` are allowed\nhint: `dbt which --help` shows how it is used\n",
        ),
        (
            "rollback x 1.0.0 --undo",
            "error: `[VERSION]` and `--undo` do not go together\nhint: `dbt rollback --help` shows how it is used\n",
        ),
        (
            "login --ssh --device",
            "error: `--ssh` and `--device` do not go together\nhint: `dbt login --help` shows how it is used\n",
        ),
        (
            "catalog purge --all",
            "error: `dbt catalog purge` needs `<TOOL>`\nhint: `dbt catalog purge --help` shows how it is used\n",
        ),
        (
            "catalog purge x --older-than 0d",
            "error: bad `--older-than <AGE>`: `0d` is not a length of time greater than zero: expected one like `90s`, `10m`, `1h30m` or `2d`\nhint: `dbt catalog purge --help` shows how it is used\n",
        ),
        (
            "completions nonsense",
            "error: `nonsense` is no `[SHELL]`: expected `bash`, `elvish`, `fish`, `powershell`, `zsh`\nhint: `dbt completions --help` shows how it is used\n",
        ),
        (
            "-v 1 server list",
            "error: `-v` names the version of a tool, and this command runs none\nhint: `dbt --help` shows how it is used\n",
        ),
        (
            "help deploy",
            "error: `dbt` has no command `deploy`\nhint: for the help of a tool, `dbt TOOL --help` asks the tool\nhint: `dbt --help` shows how it is used\n",
        ),
    ] {
        world.dbt(line.split(' ')).exits_with(exits::USAGE).says(words);
    }
    assert_eq!(world.server().take_lines(), [""; 0]);
    world.nothing_happened();
}

#[test]
fn the_catalog_program_has_the_same_commands_and_says_its_own_name() {
    let world = world();
    let help = catalog(&world, &[]);
    help.exits_with(0).says_nothing();
    assert!(help.stdout().contains("Usage: catalog [OPTIONS] [COMMAND]"), "{}", help.stdout());
    catalog(&world, &["frob"]).exits_with(exits::USAGE).says(
        "error: `catalog` has no command `frob`\nhint: `catalog --help` shows how it is used\n",
    );
}

#[test]
fn completions_are_scripts_that_name_the_commands() {
    let world = world();
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let run = world.dbt(["completions", shell]);
        run.exits_with(0).says_nothing();
        assert!(run.stdout().contains("rollback"), "{shell}");
    }
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let world = world();
    let mut child = Command::new(world.program())
        .args(["completions", "bash"])
        .env("HOME", world.home())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}

#[test]
fn the_outcome_of_our_own_is_written_where_it_is_wanted() {
    let world = world();
    let file = world.directory().join("status");
    world.invoke(["--frobnicate"]).env("DBT_STATUS_FILE", &file).run().exits_with(exits::USAGE);
    let written: serde_json::Value =
        serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    assert_eq!(written, serde_json::json!({"phase": "dbt", "code": 80}));
}

#[test]
fn what_cannot_sign_in_says_so_and_what_can_says_as_whom() {
    let world = world();
    world.dbt(["whoami"]).prints("server: acme\nsigns in with: nothing\n");
    world
        .dbt(["login"])
        .exits_with(exits::CONFIGURATION)
        .mentions("nothing is configured to sign in");

    world.set("username", "alice");
    world.set("password", "wonderland");
    let origin = world.server().url();
    let expected = format!(
        "server: acme\nsigns in with: a user name and a password\nuser: alice\nsent to: {origin}\n"
    );
    world.dbt(["whoami"]).prints(&expected).says_nothing();
    world.dbt(["--auth-check"]).prints(&expected).says_nothing();
    world.dbt(["login"]).exits_with(0).mentions("nothing to do");
    world.dbt(["logout"]).exits_with(0).mentions("no sign-in to the server `acme` is kept here");

    world.set("authType", "oidc");
    for words in [&["whoami"][..], &["login"], &["--auth-check"]] {
        world.dbt(words).exits_with(exits::CONFIGURATION).mentions("`servers.acme.authType`");
    }
    // Only who has something to tell asks, and this server does not know the answer.
    assert_eq!(world.server().take_lines(), ["GET /-/api/v1/whoami"; 2]);
}

#[test]
fn who_moves_from_the_older_program_is_told_of_flags_that_now_go_to_the_tool() {
    let world = crate::pinned();
    world.repository().publish("deploy", "1.4.0").now();
    let told = "warning: `-o` stands after `deploy` and goes to it; to give it to dbt, write it before the name\n";
    world.invoke(["deploy", "x", "-o"]).env("DBT_COMPAT_WARN", "1").run().exits_with(0).says(told);
    world.invoke(["deploy", "--help"]).env("DBT_COMPAT_WARN", "1").run().says_nothing();
    world.dbt(["deploy", "x", "-o"]).says_nothing();
}
