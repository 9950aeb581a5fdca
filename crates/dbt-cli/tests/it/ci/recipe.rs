//! What `docs/ci.md` tells CI systems to run, read from the page: as much of each format as the
//! page uses.

use std::fs;
use std::path::Path;

/// Returns the text of a section of the page.
pub(super) fn section(title: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/ci.md");
    let page = fs::read_to_string(path).unwrap();
    let text = page.split(&format!("\n{title}\n")).nth(1);
    let text = text.unwrap_or_else(|| panic!("docs/ci.md has lost `{title}`"));
    text.split("\n## ").next().unwrap_or_default().to_owned()
}

/// Returns the variables named `DBT_…` that are set in YAML or Groovy.
pub(super) fn variables(text: &str) -> Vec<(String, String)> {
    text.lines().filter_map(variable).collect()
}

fn variable(line: &str) -> Option<(String, String)> {
    let bare = |text: &str| text.trim().trim_matches(['\'', '"']).to_owned();
    let line = line.trim();
    if let Some(inner) = line.strip_prefix("- { name: ").and_then(|it| it.strip_suffix(" }")) {
        let (name, value) = inner.split_once(", value: ")?;
        return Some((name.to_owned(), bare(value)));
    }
    let (name, value) = line.split_once(": ").or_else(|| line.split_once(" = "))?;
    name.starts_with("DBT_").then(|| (name.to_owned(), bare(value)))
}

/// Returns the commands of a Dockerfile that are not about the base image.
pub(super) fn of_dockerfile(text: &str) -> String {
    let commands = text.lines().filter_map(|line| line.strip_prefix("RUN "));
    lines(commands.filter(|command| !command.contains("apt-get")))
}

/// Returns what a Dockerfile sets.
pub(super) fn variables_of_dockerfile(text: &str) -> Vec<(String, String)> {
    let set = text.lines().filter_map(|line| line.strip_prefix("ENV ")?.split_once('='));
    set.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// Returns the lines below each `run: |`.
pub(super) fn of_github(text: &str) -> String {
    let indent = |line: &str| line.len() - line.trim_start().len();
    let mut commands = Vec::new();
    let mut below = None;
    for line in text.lines() {
        if below.is_some_and(|above| indent(line) > above) {
            commands.push(line.trim());
        } else {
            let key = line.trim_start_matches([' ', '-']);
            below = (key == "run: |").then(|| line.len() - key.len());
        }
    }
    lines(commands.into_iter())
}

/// Returns the items of `script` and `after_script`.
pub(super) fn of_gitlab(text: &str) -> String {
    lines(text.lines().filter_map(|line| line.strip_prefix("    - ")))
}

/// Returns what is between `sh '''` and `'''`.
pub(super) fn of_jenkins(text: &str) -> String {
    let script = text.split("sh '''").nth(1).and_then(|rest| rest.split("'''").next());
    lines(script.unwrap_or_default().lines().map(str::trim).filter(|line| !line.is_empty()))
}

/// Returns the command of a container.
pub(super) fn of_kubernetes(text: &str) -> String {
    let command =
        text.split("command: [sh, -c, \"").nth(1).and_then(|rest| rest.split("\"]").next());
    lines(command.into_iter())
}

/// Returns a block of shell.
pub(super) fn of_shell(text: &str) -> String {
    let block = text.split("```sh\n").nth(1).and_then(|rest| rest.split("```").next());
    block.unwrap_or_default().to_owned()
}

fn lines<'a>(commands: impl Iterator<Item = &'a str>) -> String {
    commands.flat_map(|command| [command, "\n"]).collect()
}
