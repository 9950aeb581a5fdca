//! `evilrepo`: it names its attacks, plays one, and leaves nothing behind.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Output, Stdio};

use dbt_testkit::hostile;

fn evilrepo(words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_evilrepo"));
    command.args(words);
    command
}

fn ran(words: &[&str]) -> Output {
    evilrepo(words).stdin(Stdio::null()).output().unwrap()
}

#[test]
fn every_attack_is_listed_with_a_line_about_it() {
    let listed = String::from_utf8(ran(&["list"]).stdout).unwrap();
    assert_eq!(listed.lines().count(), hostile::cases().len());
    for (line, case) in listed.lines().zip(hostile::cases()) {
        assert!(line.starts_with(case.name) && line.ends_with(case.what), "{line}");
    }
    let some = String::from_utf8(ran(&["list", "c36"]).stdout).unwrap();
    assert!(
        some.lines().count() > 3 && some.lines().all(|line| line.starts_with("C36-")),
        "{some}"
    );
}

#[test]
fn a_mistake_is_answered_in_words_and_status_1() {
    for (words, said) in [
        (&["list", "X99"][..], "no case is of the kind `X99`"),
        (&["serve", "C36"], "`C36` is not one case, but the beginning of: C36-"),
        (&["serve", "nothing"], "there is no case `nothing`"),
        (&["serve", "C36-zeros", "--port", "x"], "`--port` wants a number"),
        (&["serve", "C36-zeros", "--fast"], "unknown option `--fast`"),
        (&["frobnicate"], "usage: evilrepo list"),
    ] {
        let output = ran(words);
        assert_eq!(output.status.code(), Some(1), "{words:?}");
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(stderr.contains(said), "{words:?}: {stderr}");
    }
}

/// A server under way, and what it says.
struct Serving {
    child: Child,
    said: BufReader<ChildStdout>,
}

impl Serving {
    fn start(words: &[&str]) -> Self {
        let mut child =
            evilrepo(words).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let said = BufReader::new(child.stdout.take().unwrap());
        Self { child, said }
    }

    /// Reads on to the line that holds some words.
    fn line_with(&mut self, words: &str) -> String {
        let mut line = String::new();
        while !line.contains(words) {
            line.clear();
            assert_ne!(self.said.read_line(&mut line).unwrap(), 0, "`{words}` was never said");
        }
        line
    }

    fn press_enter(&mut self) {
        self.child.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
    }
}

/// The value of a variable in the line that sets them.
fn value<'a>(line: &'a str, name: &str) -> &'a str {
    let (_before, after) = line.split_once(&format!("{name}=")).unwrap();
    after.split_whitespace().next().unwrap()
}

fn get(server: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(server.trim_start_matches("http://")).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut head = String::new();
    BufReader::new(&mut stream).read_line(&mut head).unwrap();
    head
}

#[test]
fn an_attack_begins_when_it_is_told_to_and_ends_without_a_trace() {
    let mut serving = Serving::start(&["serve", "c02-511", "--later"]);
    assert!(serving.line_with("C02-511").contains("status 511"));
    let invitation = serving.line_with("DBT_SERVER=");
    let server = value(&invitation, "DBT_SERVER");
    let home = Path::new(value(&invitation, "DBT_HOME"));
    serving.line_with("dbt deploy");
    serving.line_with("honest until Enter is pressed");
    assert!(get(server, "/dbt/truststore").contains(" 200 "));
    serving.line_with("GET /dbt/truststore");
    serving.press_enter();
    serving.line_with("hostile until Enter is pressed");
    assert!(get(server, "/dbt/truststore").contains(" 511 "));
    assert!(home.parent().unwrap().exists());
    serving.press_enter();
    assert!(serving.child.wait().unwrap().success());
    assert!(!home.parent().unwrap().exists());
}

/// The lines of docs/hostile-cases.md, behind what builds the program.
#[test]
fn the_commands_of_the_page_are_ones_that_it_knows() {
    const PAGE: &str = include_str!("../../../../docs/hostile-cases.md");
    let block = PAGE.split("```console\n").nth(1).unwrap().split("```").next().unwrap();
    let build = "$ cargo run -p dbt-testkit --bin evilrepo -- ";
    let lines: Vec<Vec<&str>> = block
        .lines()
        .map(|line| line.strip_prefix(build).unwrap_or_else(|| panic!("{line}")))
        .map(|words| words.split(' ').collect())
        .collect();
    let [list, serve] = lines.as_slice() else { panic!("{lines:?}") };
    let listed = ran(list);
    assert!(listed.status.success() && !listed.stdout.is_empty(), "{listed:?}");
    let case = serve[1];
    assert!(String::from_utf8_lossy(&listed.stdout).contains(case), "{case}: {listed:?}");
    let mut serving = Serving::start(serve);
    let invitation = serving.line_with("DBT_SERVER=");
    assert!(get(value(&invitation, "DBT_SERVER"), "/dbt/").contains("HTTP/1.1 "));
    serving.press_enter();
    assert!(serving.child.wait().unwrap().success());
    assert_eq!(PAGE.matches("```console\n").count(), 1);
}
