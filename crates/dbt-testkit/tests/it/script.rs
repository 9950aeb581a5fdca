//! `scripts/test`, given something that speaks as `cargo test` does: what it shows, and how it ends.

use std::fs;
use std::path::Path;
use std::process::Command;

use dbt_testkit::planted::PLANTED;

/// What `cargo test` says of a test that passes and one that may fail.
fn output(of_one: &str, failures: &str, result: &str) -> String {
    format!(
        "     Running tests/it/main.rs\n\nrunning 2 tests\ntest one ... ok\n\nsuccesses:\n\n\
         ---- one stdout ----\n{of_one}\n\n\nsuccesses:\n    one\n\n{failures}\
         test result: {result}.\n"
    )
}

struct End {
    code: i32,
    shown: String,
    talk: String,
}

/// Lets tests say something, leave a file and end.
fn run(said: &str, left: &str, code: i32) -> End {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    fs::create_dir(at("debug")).unwrap();
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_leftovers"), at("debug/leftovers")).unwrap();
    fs::write(at("said"), said).unwrap();
    let tests =
        r#"cat "$0"; printf %s "$1" >"$TMPDIR/left"; [ "$4" = --show-output ] && exit "$2""#;
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts/test");
    let output = Command::new(script)
        .args(["sh", "-c", tests, at("said").to_str().unwrap(), left, &code.to_string()])
        .env("CARGO_TARGET_DIR", directory.path())
        .output()
        .unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    let (shown, mut talk) = (text(output.stdout), text(output.stderr));
    if let Some((said, kept)) = talk.split_once("what the tests said and left stays in ") {
        fs::remove_dir_all(kept.trim_end()).unwrap();
        talk = said.to_owned();
    }
    End { code: output.status.code().unwrap(), shown, talk }
}

#[test]
fn what_passing_tests_say_is_not_shown_and_what_failing_ones_say_is() {
    let end = run(&output("all is well", "", "ok"), "nothing", 0);
    assert_eq!((end.code, &*end.talk), (0, ""));
    let (shown, last) = end.shown.split_once("no secret is in ").unwrap();
    let result = "     Running tests/it/main.rs\n\nrunning 2 tests\ntest one ... ok\n\n";
    assert_eq!(shown, format!("{result}test result: ok.\n"));
    assert!(last.ends_with("the tests said and 1 files they left\n"), "{last}");

    // Who runs it learns how the tests ended, and reads last what failed.
    let failures = "failures:\n\n---- two stdout ----\nit is broken\n\n\nfailures:\n    two\n\n";
    let end = run(&output("all is well", failures, "FAILED"), "nothing", 101);
    assert_eq!((end.code, &*end.talk), (101, ""));
    assert_eq!(end.shown, format!("{result}{failures}test result: FAILED.\n"));
}

#[test]
fn a_secret_that_passing_tests_say_or_leave_fails_them() {
    let (name, secret) = PLANTED[0];
    let end = run(&output(secret, "", "ok"), "nothing", 0);
    let place = "what is said by `one` of tests/it/main.rs";
    assert_eq!((end.code, end.talk), (1, format!("error: a secret is in {place}: {name}\n")));
    assert!(!end.shown.contains(secret), "{}", end.shown);

    let end = run(&output("all is well", "", "ok"), secret, 0);
    assert_eq!(end.code, 1);
    assert!(end.talk.ends_with(&format!("/t/left: {name}\n")), "{}", end.talk);
}
