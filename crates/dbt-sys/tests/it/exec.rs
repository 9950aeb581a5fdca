//! Programs that were started through `become`, the example of this crate.

use std::path::PathBuf;
use std::process::Command;

/// The example, which cargo builds beside the tests.
fn become_program() -> PathBuf {
    let tests = std::env::current_exe().unwrap();
    let program = tests.parent().unwrap().with_file_name("examples").join("become");
    assert!(program.exists(), "run `cargo test -p dbt-sys`: it builds {}", program.display());
    program
}

/// Runs a line of shell in which `$BECOME` is the program, and returns what it printed.
fn shell(line: &str) -> String {
    let output =
        Command::new("sh").args(["-c", line]).env("BECOME", become_program()).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{line}: {} {errors}", output.status);
    String::from_utf8(output.stdout).unwrap()
}

/// What a started program sees must not depend on who started it.
fn same_with_and_without(before: &str, path: &str, arguments: &str) -> String {
    let direct = shell(&format!("{before} exec {path} {arguments}"));
    for how in ["", "--by-descriptor"] {
        let line = format!("{before} exec \"$BECOME\" {how} {path} {path} {arguments}");
        assert_eq!(shell(&line), direct, "{line}");
    }
    direct
}

#[test]
fn signals_are_handed_on_as_they_came() {
    let signals = "-E '^Sig(Blk|Ign|Cgt)|^Umask' /proc/self/status";
    let plain = same_with_and_without("", "/bin/grep", signals);
    let ignored = same_with_and_without("trap '' PIPE;", "/bin/grep", signals);
    let others = same_with_and_without("umask 027; trap '' INT HUP;", "/bin/grep", signals);
    let line = ignored.lines().find_map(|line| line.strip_prefix("SigIgn:\t")).unwrap();
    assert_ne!(u64::from_str_radix(line, 16).unwrap() & (1 << 12), 0, "{ignored}");
    assert!(plain != ignored && plain != others && ignored != others);
}

#[test]
fn closed_standard_descriptors_stay_closed() {
    let descriptors = "/proc/self/fd";
    let plain = same_with_and_without("", "/bin/ls", descriptors);
    let closed = same_with_and_without("exec <&-;", "/bin/ls", descriptors);
    let both = same_with_and_without("exec <&- 2>&-;", "/bin/ls", descriptors);
    assert_ne!(plain, closed);
    assert_ne!(closed, both);
}

#[test]
fn exactly_the_given_arguments_and_environment_arrive() {
    let line = r#"env -i A=1 B='x=y' C= "$BECOME" /usr/bin/env env"#;
    assert_eq!(shell(line), "A=1\nB=x=y\nC=\n");
    let line = r#"exec "$BECOME" /bin/sh 'a name' -c 'printf "[%s]" "$0" "$@"' '' 'two words' -x"#;
    assert_eq!(shell(line), "[][two words][-x]");
}

#[test]
fn a_failure_leaves_a_process_that_can_still_speak() {
    let line = r#""$BECOME" /nonexistent name 2>&1; test $? = 126 && echo code"#;
    assert_eq!(shell(line), "No such file or directory (os error 2)\ncode\n");
}
