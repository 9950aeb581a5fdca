//! What other shells than bash offer while somebody types: the real zsh and fish, as they read the
//! scripts that are printed for them.

use std::process::{Command, Stdio};

use dbt_core::platform::Platform;
use dbt_testkit::world::World;

use crate::completing::{knowing, path_of};

fn shell(world: &World, program: &str, words: &[&str]) -> String {
    let output = Command::new(program)
        .args(words)
        .env_clear()
        .env("HOME", world.home())
        .env("PATH", path_of(world))
        .env("TERM", "dumb")
        .current_dir(world.directory())
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("{program}: {error}; run scripts/install-peers"));
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// What fish offers for a line, without descriptions.
fn fish(world: &World, line: &str) -> Vec<String> {
    let script = "dbt completions fish | source; complete --do-complete $argv[1]";
    let text = shell(world, "fish", &["--no-config", "-c", script, line]);
    let mut names: Vec<String> =
        text.lines().filter_map(|line| line.split('\t').next()).map(str::to_owned).collect();
    names.sort();
    names
}

#[test]
fn fish_offers_the_names_of_tools() {
    let world = knowing();
    let rows: [(&str, &[&str]); 26] = [
        ("dbt dep", &["depict", "deploy"]),
        ("dbt -o depl", &["deploy"]),
        ("dbt -s other rep", &["report"]),
        ("dbt --server=other rep", &["report"]),
        ("dbt -s other dep", &[]),
        ("dbt -s other which rep", &["report"]),
        ("dbt -s other fetch rep", &["report"]),
        ("dbt -s other catalog show rep", &["report"]),
        ("dbt which --json -s other rep", &["report"]),
        ("dbt fetch deploy@", &[]),
        ("dbt run depl", &["deploy"]),
        ("dbt run --off", &["--offline"]),
        ("dbt which depl", &["deploy"]),
        ("dbt catalog show depl", &["deploy"]),
        ("dbt catalog purge dep", &[]),
        ("dbt cache dep", &[]),
        ("dbt fetch deploy dep", &["depict", "deploy"]),
        ("dbt which -V depl", &["deploy"]),
        // A command that takes one tool has it, and what stands after a tool that runs is its own:
        // names of files are offered, as for any program that nothing is known of.
        ("dbt which deploy dep", &[]),
        ("dbt rollback deploy dep", &[]),
        ("dbt catalog show deploy dep", &[]),
        ("dbt run deploy dep", &[]),
        ("dbt -o run -s acme deploy dep", &[]),
        ("dbt run deploy star", &["started"]),
        ("dbt run deploy --off", &[]),
        ("dbt deploy star", &["started"]),
    ];
    for (line, expected) in rows {
        assert_eq!(fish(&world, line), expected, "{line}");
    }
    let everything = fish(&world, "dbt ");
    for name in ["fetch", "doctor", "deploy", "depict"] {
        assert!(everything.iter().any(|offer| offer == name), "{name}: {everything:?}");
    }
    assert_eq!(world.server().take_lines(), [""; 0]);
}

/// Types lines into a zsh on a terminal, and returns everything that is then on it.
///
/// What is completed is executed with the end of the line, so that its output shows what it was.
const TYPED: &str = r#"
zmodload zsh/zpty || exit 1
zpty typed 'PS1="ready> " TERM=dumb zsh -f -i'
read_until() {
    local seen piece tries=0
    while [[ $seen != *$1* ]]; do
        zpty -r -t typed piece && seen+=$piece && continue
        (( ++tries > 3000 )) && { print -r -- "gave up: $seen"; exit 1 }
        zselect -t 1
    done
    print -rn -- "$seen"
}
zmodload zsh/zselect
read_until "ready> "
zpty -w typed 'autoload -U compinit; compinit -D -u; eval "$(dbt completions zsh)"; print of-$((1 + 1))'
read_until "of-2"
read_until "ready> "
for line in "$@"; do
    zpty -w -n typed "$line"$'\t'
    zpty -w typed "; print end-$((++number))-$((1 + 1))"
    read_until $'\n'"end-$number-2"
    read_until "ready> "
done
zpty -d typed
"#;

#[test]
fn zsh_offers_the_names_of_tools() {
    let world = knowing();
    let lines = [
        "dbt depl",
        "dbt -o depi",
        "dbt -s other rep",
        "dbt run depl",
        "dbt cache prun",
        "dbt -s other which rep",
        "dbt --server=other which --json rep",
        "dbt -s other catalog show rep",
        "dbt which -s other rep",
    ];
    let mut words = vec!["-f", "-c", TYPED, "zsh"];
    words.extend(lines);
    let text = shell(&world, "zsh", &words);
    let said = |words: &str| text.lines().filter(|line| line.trim_end() == words).count();
    assert_eq!(said("deploy 1.4.0"), 2, "{text}");
    assert_eq!(said("depict 1.4.0"), 1, "{text}");
    assert_eq!(said("report 1.4.0"), 1, "{text}");
    // What `which` and `catalog show` print.
    let is_of_report =
        |line: &&str| line.starts_with("tool:") && line.trim_end().ends_with("report");
    assert_eq!(text.lines().filter(is_of_report).count(), 2, "{text}");
    assert_eq!(text.matches("\"tool\":\"report\"").count(), 1, "{text}");
    assert_eq!(said(&format!("newest for {}: 1.4.0", Platform::CURRENT)), 1, "{text}");
    assert_eq!(text.matches("error:").count(), 0, "{text}");
}
