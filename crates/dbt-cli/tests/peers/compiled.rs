//! Compiled tools, dynamic and static: nothing tells them that dbt has started them.

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::started::Both;

const SOURCE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/peers/probe.c");

fn compiled(into: &TempDir, flags: &[&str]) -> PathBuf {
    let program = into.path().join("program");
    let compiler = Command::new("cc")
        .args(["-O1", "-Wall", "-Werror", "-o"])
        .arg(&program)
        .args(flags)
        .arg(SOURCE)
        .output()
        .unwrap();
    assert!(compiler.status.success(), "{}", String::from_utf8_lossy(&compiler.stderr));
    program
}

#[track_caller]
fn says(printed: &str, line: &str) {
    assert!(printed.lines().any(|other| other == line), "`{line}` is not in:\n{printed}");
}

fn sees_itself_started_directly(program: &Path) {
    let tool = Both::of("probe", program);
    let printed = tool.behave_alike(&[], &["a b", "--help", ""], 0);
    for line in ["argument probe", "argument a b", "execfn [SELF]", "exe [SELF]", "Name:\tprobe"] {
        says(&printed, line);
    }
}

#[test]
fn a_tool_for_the_c_library_of_this_machine_sees_itself_started_directly() {
    let place = TempDir::new().unwrap();
    sees_itself_started_directly(&compiled(&place, &[]));
}

#[test]
fn a_static_tool_sees_itself_started_directly() {
    let place = TempDir::new().unwrap();
    sees_itself_started_directly(&compiled(&place, &["-static"]));
}

#[test]
fn a_tool_that_needs_a_fixed_address_sees_itself_started_directly() {
    let place = TempDir::new().unwrap();
    sees_itself_started_directly(&compiled(&place, &["-no-pie"]));
}

#[test]
fn ignored_and_blocked_signals_stay_so_and_no_others() {
    let place = TempDir::new().unwrap();
    let tool = Both::of("probe", &compiled(&place, &[]));
    let signals = |printed: &str| {
        let line = |name: &str| {
            let found = printed.lines().find_map(|line| line.strip_prefix(name));
            u64::from_str_radix(found.unwrap().trim(), 16).unwrap()
        };
        (line("SigIgn:"), line("SigBlk:"))
    };
    let bit = |signal: u32| 1_u64 << (signal - 1);
    let (hup, pipe, term, usr1) = (bit(1), bit(13), bit(15), bit(10));

    let printed = tool.behave_alike(&["--default-signal"], &[], 0);
    assert_eq!(signals(&printed), (0, 0));
    let printed = tool.behave_alike(&["--default-signal", "--ignore-signal=PIPE"], &[], 0);
    assert_eq!(signals(&printed), (pipe, 0));
    let prefix = ["--default-signal", "--ignore-signal=HUP", "--block-signal=USR1,TERM"];
    let printed = tool.behave_alike(&prefix, &[], 0);
    assert_eq!(signals(&printed), (hup, usr1 | term));
}

#[test]
fn limits_priorities_and_the_mask_of_new_files_reach_the_tool_unchanged() {
    let place = TempDir::new().unwrap();
    let tool = Both::of("probe", &compiled(&place, &[]));
    let prefix = ["sh", "-c", "umask 027; ulimit -n 57; ulimit -c 0; exec nice -n 3 \"$@\"", "sh"];
    let printed = tool.behave_alike(&prefix, &[], 0);
    says(&printed, "Umask:\t0027");
    let files = printed.lines().find(|line| line.starts_with("Max open files")).unwrap();
    assert_eq!(files.split_whitespace().nth(3), Some("57"));
}

#[test]
fn a_long_name_is_cut_for_the_process_as_it_always_is() {
    let place = TempDir::new().unwrap();
    let tool = Both::of("a-tool-with-a-long-name", &compiled(&place, &[]));
    let printed = tool.behave_alike(&[], &[], 0);
    says(&printed, "argument a-tool-with-a-long-name");
    says(&printed, "Name:\ta-tool-with-a-l");
}

#[test]
fn from_sealed_memory_a_tool_sees_another_path_and_the_same_for_the_rest() {
    let place = TempDir::new().unwrap();
    for flags in [&[][..], &["-static"]] {
        let tool = Both::of("probe", &compiled(&place, flags));
        let directly = tool.behave_alike(&[], &["a b"], 0);
        let sealed = tool.run_sealed(&["a b"]).exits_with(0).says_nothing().stdout();
        let differs = |line: &&str| {
            ["execfn ", "exe ", "Name:", "SigIgn:"].iter().any(|word| line.starts_with(word))
        };
        let rest =
            |text: &str| text.lines().filter(|line| !differs(line)).collect::<Vec<_>>().join("\n");
        assert_eq!(rest(&sealed), rest(&directly));
    }
}
