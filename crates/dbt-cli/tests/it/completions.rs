//! Names of tools, offered while somebody types: from this machine alone, and whatever the line
//! or the disk holds, nothing is executed for it.

#[path = "completions/shells.rs"]
pub(crate) mod shells;

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use dbt_testkit::exits;
use dbt_testkit::world::World;

use self::shells::{knowing, path_of};
use crate::world;

/// What bash offers for the last of these words, with the script as it is printed.
fn offered(world: &World, words: &[&str]) -> Vec<String> {
    let line = r#"
        eval "$(dbt completions bash)"
        COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
        offer=$(complete -p dbt)
        offer=${offer##*-F } offer=${offer%% *}
        "${offer}" "$1" "${!#}" "${@: -2:1}"
        printf '%s\n' "${COMPREPLY[@]}"
    "#;
    let output = Command::new("bash")
        .args(["--norc", "--noprofile", "-uc", line, "bash"])
        .args(words)
        .env_clear()
        .env("HOME", world.home())
        .env("PATH", path_of(world))
        .current_dir(world.directory())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{words:?}");
    let stdout = String::from_utf8(output.stdout).unwrap();
    stdout.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect()
}

/// Where a record of each tool is.
fn records(world: &World) -> PathBuf {
    world.state_file("deploy.json").parent().unwrap().to_owned()
}

#[test]
fn bash_offers_the_names_of_tools_where_a_tool_can_stand() {
    let world = knowing();
    let both: &[&str] = &["depict", "deploy"];
    let rows: [(&[&str], &[&str]); 42] = [
        (&["dbt", "dep"], both),
        (&["dbt", "depl"], &["deploy"]),
        (&["dbt", "do"], &["doctor"]),
        (&["dbt", "-o", "depl"], &["deploy"]),
        (&["dbt", "-v", "1.4", "depl"], &["deploy"]),
        (&["dbt", "-s", "other", "rep"], &["report"]),
        (&["dbt", "--server", "=", "other", "rep"], &["report"]),
        (&["dbt", "-s", "other", "dep"], &[]),
        (&["dbt", "-s", "other", "which", "rep"], &["report"]),
        (&["dbt", "-s", "other", "fetch", "rep"], &["report"]),
        (&["dbt", "-s", "other", "catalog", "show", "rep"], &["report"]),
        (&["dbt", "-s", "=", "other", "run", "rep"], &["report"]),
        (&["dbt", "-sother", "rep"], &["report"]),
        (&["dbt", "-s=other", "rep"], &["report"]),
        (&["dbt", "-oVsother", "rep"], &["report"]),
        (&["dbt", "-os", "other", "rep"], &["report"]),
        (&["dbt", "--server=other", "rep"], &["report"]),
        (&["dbt", "which", "-s", "other", "rep"], &["report"]),
        (&["dbt", "fetch", "report", "--server", "=", "other", "rep"], &["report"]),
        (&["dbt", "--", "d"], both),
        (&["dbt", "run", "d"], both),
        (&["dbt", "which", "d"], both),
        (&["dbt", "fetch", "deploy", "d"], both),
        (&["dbt", "catalog", "show", "d"], both),
        (&["dbt", "trust", "explain", "d"], both),
        // No tool can stand here.
        (&["dbt", "-s", "d"], &[]),
        (&["dbt", "which", "deploy", "d"], &[]),
        (&["dbt", "catalog", "d"], &[]),
        (&["dbt", "cache", "d"], &[]),
        (&["dbt", "--off"], &["--offline"]),
        // This version deletes nothing from a repository.
        (&["dbt", "catalog", "purge", "d"], &[]),
        // The name of a server, and a version.
        (&["dbt", "--server", "="], &[]),
        (&["dbt", "--server", "=", "d"], &[]),
        (&["dbt", "fetch", "-s", "d"], &[]),
        (&["dbt", "fetch", "deploy", "@"], &[]),
        (&["dbt", "fetch", "deploy", "@", ""], &[]),
        (&["dbt", "fetch", "deploy", "@", "d"], &[]),
        (&["dbt", "which", "deploy", "@", ""], &[]),
        // What follows is the tool's.
        (&["dbt", "deploy", "d"], &[]),
        (&["dbt", "deploy", "--off"], &[]),
        (&["dbt", "--", "login", "d"], &[]),
        (&["dbt", "run", "deploy", "--off"], &[]),
    ];
    for (words, expected) in rows {
        let mut names = offered(&world, words);
        names.sort();
        assert_eq!(names, expected, "{words:?}");
    }
    let everything = offered(&world, &["dbt", ""]);
    for name in ["fetch", "doctor", "--offline", "deploy", "depict"] {
        assert!(everything.iter().any(|offer| offer == name), "{name}: {everything:?}");
    }
    assert_eq!(world.server().take_lines(), [""; 0]);
}

#[test]
fn bash_executes_nothing_of_what_the_line_or_the_disk_holds() {
    let world = knowing();
    let records = records(&world);
    for name in
        ["$(touch pwned).json", "`touch pwned`.json", "de ploy;touch pwned.json", "de\n.json"]
    {
        fs::write(records.join(name), "{}").unwrap();
    }
    // The program that is typed is in this directory, and not the one that is installed.
    let planted = world.directory().join("planted");
    fs::write(&planted, "#!/bin/sh\ntouch pwned\n").unwrap();
    fs::set_permissions(&planted, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    for words in [
        &["dbt", "de"][..],
        &["./planted", "de"],
        &["dbt", "-s", "$(touch pwned)", "de"],
        &["dbt", "-s", "`touch pwned`", "de"],
        &["dbt", "$(touch pwned)"],
    ] {
        let names = offered(&world, words);
        assert!(names.iter().all(|name| ["depict", "deploy"].contains(&&**name)), "{names:?}");
    }
    assert!(!world.directory().join("pwned").exists());
    assert_eq!(offered(&world, &["./planted", "de"]), ["depict", "deploy"]);
}

#[test]
fn names_are_of_this_machine_and_the_selected_server() {
    let world = knowing();
    let tools = ["completions", "--tools"];
    world.dbt(tools).prints("depict\ndeploy\n").says_nothing();
    world.dbt(["-s", "other", "completions", "--tools"]).prints("report\n").says_nothing();
    // A word that is no tool is not remembered as one.
    world.dbt(["deplyo"]).exits_with(exits::NOT_FOUND);
    world.server().take_requests();
    world.dbt(tools).prints("depict\ndeploy\n").says_nothing();
    world.dbt(["-s", "nowhere", "completions", "--tools"]).exits_with(exits::CONFIGURATION);
    assert_eq!(world.server().take_lines(), [""; 0]);
}

#[test]
fn asking_for_names_signs_in_nowhere_writes_nothing_and_ends() {
    let world = world();
    world.set("tokenFunc", "touch signed-in; sleep 60");
    let before = world.home_files();
    world.dbt(["completions", "--tools"]).prints("").says_nothing();
    assert_eq!(world.home_files(), before);
    assert!(!world.directory().join("signed-in").exists());
    assert_eq!(world.server().take_lines(), [""; 0]);

    world.repository().publish("deploy", "1.4.0").now();
    world.configure(|config| {
        let _removed = config["servers"]["acme"].as_object_mut().unwrap().remove("tokenFunc");
    });
    world.dbt(["fetch", "deploy"]).exits_with(0);
    for number in 0..1200 {
        fs::write(records(&world).join(format!("t{number:04}.json")), "{}").unwrap();
    }
    let run = world.dbt(["completions", "--tools"]);
    assert_eq!(run.stdout().lines().count(), 1000);
    assert!(run.stdout().starts_with("deploy\nt0000\n"), "{}", run.stdout());
}

#[test]
fn either_the_script_of_a_shell_or_the_names_are_printed() {
    let world = world();
    for words in [&["completions"][..], &["completions", "bash", "--tools"]] {
        world.dbt(words).exits_with(exits::USAGE);
    }
}
