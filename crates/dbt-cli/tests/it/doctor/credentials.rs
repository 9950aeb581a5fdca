//! What is configured to say who asks, and cannot: named with its key, and waited for a moment.

use std::time::{Duration, Instant};

use dbt_testkit::world::World;
use serde_json::json;

use super::{Case, error, healthy, warning};

/// A machine on which a command prints the password.
fn asking(command: &str) -> World {
    let world = healthy();
    world.configure(|config| {
        let server = &mut config["servers"]["acme"];
        server["username"] = "alice".into();
        server["passwordfunc"] = json!(command);
    });
    world
}

const UNUSABLE: &str = "credentials-unusable";

#[test]
fn a_command_that_gives_no_secret_is_named_with_its_key() {
    let see = "run the command of `servers.acme.passwordfunc` in a shell to see what it does";
    for (command, found, fix) in [
        ("exit 3", "the command of `servers.acme.passwordfunc` failed (exit status: 3)", see),
        ("no-such-helper", "failed (exit status: 127)", see),
        ("printf '\\377'", "`servers.acme.passwordfunc` does not give UTF-8 text", "correct what"),
    ] {
        let world = asking(command);
        error(UNUSABLE, found, fix).is_named(&world, |run| run);
    }
    let world = healthy();
    world.set("tokenFunc", "exit 1");
    error(UNUSABLE, "the command of `servers.acme.tokenFunc` failed", "in a shell")
        .is_named(&world, |run| run);
    let world = healthy();
    world.set("usernamefunc", "exit 1");
    world.set("password", "hunter-35");
    error(UNUSABLE, "the command of `servers.acme.usernamefunc` failed", "in a shell")
        .is_named(&world, |run| run);
}

#[test]
fn a_command_that_hangs_is_named_and_not_waited_for_long() {
    let world = asking("exec sleep 86395");
    world.set("timeout", 0.05);
    let began = Instant::now();
    error(UNUSABLE, "passwordfunc` did not end within", "in a shell to see what it does")
        .is_named(&world, |run| run);
    assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
}

#[test]
fn a_file_with_a_token_that_is_not_there_is_named() {
    let world = healthy();
    world.set("tokenFile", "gone");
    error(UNUSABLE, "gone`, named by `servers.acme.tokenFile`", "gone` readable, or correct")
        .is_named(&world, |run| run);
}

#[test]
fn credentials_that_may_not_be_sent_are_named_once() {
    let world = healthy();
    for key in ["repository", "toolsRepository", "truststore"] {
        world.set(key, format!("http://dbt.invalid/{key}"));
    }
    world.set("token", "hunter-34");
    error("credentials-without-tls", "http://dbt.invalid/repository", "`https://dbt.invalid")
        .is_named(&world, |run| run);
}

#[test]
fn what_needs_a_shell_is_named_where_there_is_none() {
    for (key, found, fix) in [
        (
            "passwordfunc",
            "failed to run the command of `servers.acme.passwordfunc`",
            "install a shell (`sh`), which the command of `servers.acme.passwordfunc` needs, or write `password` in its place, perhaps as `${VARIABLE}`",
        ),
        (
            "usernamefunc",
            "failed to run the command of `servers.acme.usernamefunc`",
            "which the command of `servers.acme.usernamefunc` needs, or write `username` in its place, perhaps as `${VARIABLE}`",
        ),
        (
            "tokenFunc",
            "failed to run the command of `servers.acme.tokenFunc`",
            "which the command of `servers.acme.tokenFunc` needs, or keep the token in a file (`tokenFile`)",
        ),
    ] {
        let world = healthy();
        world.configure(|config| {
            let server = &mut config["servers"]["acme"];
            server["username"] = "alice".into();
            server["password"] = "${USER}".into();
            server[key] = "echo wonderland".into();
        });
        error(UNUSABLE, found, fix)
            .is_named(&world, |run| run.env("PATH", beside(&world)).env("USER", "alice"));
    }

    let world = healthy();
    world.set("updates", "after");
    let case =
        warning("shell-missing", "no directory of `PATH` has `sh`", "`\"updates\": \"10m\"`");
    case.is_named(&world, |run| run.env("PATH", beside(&world)));
    // With one there is nothing to say of it.
    let case =
        Case { id: "program-not-on-path", ..warning("", "is not on `PATH`", "export PATH=") };
    case.is_named(&world, |run| run.env("PATH", "/usr/bin:/bin"));
}

/// A `PATH` with nothing but the program.
fn beside(world: &World) -> String {
    world.program().parent().unwrap().display().to_string()
}
