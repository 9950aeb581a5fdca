//! The help of the program and of each command, and the grammar that it shows.

use std::ffi::OsString;
use std::fmt::Write as _;

use clap::CommandFactory as _;
use dbt_core::brand;

use crate::cli::Cli;
use crate::usage::UsageError;

/// How the help of a command is laid out.
pub(crate) const TEMPLATE: &str = "{about-with-newline}\nUsage: {usage}\n\n{all-args}{after-help}";

/// How the program's own help is laid out; the commands stand in `before-help`, in groups.
const TOP_TEMPLATE: &str =
    "{about-with-newline}\nUsage: {usage}\n\n{before-help}Options:\n{options}\n\n{after-help}";

/// The built-in commands as the program's own help groups them.
const GROUPS: [(&str, &[&str]); 4] = [
    ("Tools", &["run", "fetch", "update", "rollback", "which", "link", "unlink"]),
    ("Repositories", &["catalog", "server", "trust", "login", "logout", "whoami"]),
    ("This machine", &["cache", "self", "doctor"]),
    ("Help", &["completions", "help"]),
];

/// Returns the whole grammar, for parsing and help.
pub fn grammar() -> clap::Command {
    commands().mut_subcommands(laid_out).help_template(TOP_TEMPLATE)
}

/// Returns what may be typed, without the layout of its help.
pub fn commands() -> clap::Command {
    let program = brand::PROGRAM;
    let run = clap::Command::new("run")
        .about("Run a tool, also one whose name is a command's")
        .override_usage(format!("{program} run [OPTIONS] <TOOL>[@VERSION] [ARGUMENTS]..."));
    let help = clap::Command::new("help")
        .about("Show the help of a command")
        .override_usage(format!("{program} help [COMMAND]..."));
    let about = "runs the current, verified version of your organisation's tools";
    Cli::command()
        .name(program)
        .bin_name(program)
        .about(format!("{}: {about}", brand::LONG_NAME))
        .override_usage(format!(
            "{program} [OPTIONS] <TOOL>[@VERSION] [ARGUMENTS]...\n       \
             {program} [OPTIONS] -- <TOOL> [ARGUMENTS]...\n       \
             {program} [OPTIONS] <COMMAND> ..."
        ))
        .subcommand(run)
        .subcommand(help)
}

/// Lays out the help of a command and of those below it.
pub(crate) fn laid_out(command: clap::Command) -> clap::Command {
    command.help_template(TEMPLATE).mut_subcommands(laid_out)
}

/// Returns the commands that the words name, as far as they do.
pub(crate) fn path_of(grammar: &clap::Command, words: &[OsString]) -> Vec<String> {
    let mut path = Vec::new();
    let mut here = grammar;
    for word in words.iter().filter(|word| !word.as_encoded_bytes().starts_with(b"-")) {
        let Some(below) = here.find_subcommand(word) else {
            break;
        };
        path.push(below.get_name().to_owned());
        here = below;
    }
    path
}

/// Returns the help of a command, or the program's own for an empty path.
pub fn help(path: &[String]) -> Result<String, UsageError> {
    let program = brand::PROGRAM;
    let grammar = grammar();
    let words: Vec<OsString> = path.iter().map(OsString::from).collect();
    let known = path_of(&grammar, &words);
    if let Some(unknown) = path.get(known.len()) {
        let mut command = vec![program.to_owned()];
        command.extend(known);
        let complaint = format!("`{}` has no command `{unknown}`", command.join(" "));
        return Err(UsageError::new(complaint)
            .hint(format!("for the help of a tool, `{program} TOOL --help` asks the tool")));
    }
    if !path.is_empty() {
        return Ok(help_of(grammar, path));
    }
    let commands = grouped(&grammar);
    let after = format!(
        "`{program} COMMAND --help` tells more about a command.\n\
         `{program} run TOOL` runs a tool whose name is a command's."
    );
    Ok(help_of(grammar.before_help(commands).after_help(after), &[]))
}

fn grouped(grammar: &clap::Command) -> String {
    let mut text = String::from("Everything after the tool's name goes to the tool.\n");
    for (title, names) in GROUPS {
        // Writing to a string cannot fail.
        let _infallible = writeln!(text, "\n{title}:");
        for name in names {
            let about = grammar.find_subcommand(name).and_then(clap::Command::get_about);
            let about = about.map(ToString::to_string).unwrap_or_default();
            let _infallible = writeln!(text, "  {name:<12} {about}");
        }
    }
    text
}

/// Returns the help of a command that exists.
pub(crate) fn help_of(mut grammar: clap::Command, path: &[String]) -> String {
    grammar.build();
    let mut here = &mut grammar;
    for word in path {
        let Some(below) = here.find_subcommand_mut(word) else {
            return String::new();
        };
        here = below;
    }
    let text = here.render_help().to_string();
    let mut lines: Vec<&str> = text.trim().lines().map(str::trim_end).collect();
    // The layout's parts bring line ends of their own; one empty line is enough.
    lines.dedup_by(|line, before| line.is_empty() && before.is_empty());
    format!("{}\n", lines.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use dbt_core::name::BUILT_IN_WORDS;

    #[test]
    fn the_commands_in_the_help_are_the_published_ones() {
        let sorted = |mut names: Vec<&'static str>| {
            names.sort_unstable();
            names
        };
        let published = sorted(BUILT_IN_WORDS.to_vec());
        assert_eq!(
            sorted(GROUPS.iter().flat_map(|(_title, names)| *names).copied().collect()),
            published
        );
        let grammar = grammar();
        let mut parsed: Vec<&str> =
            grammar.get_subcommands().map(clap::Command::get_name).collect();
        parsed.sort_unstable();
        assert_eq!(parsed, published);
    }

    #[test]
    fn every_command_and_flag_has_a_line_of_help() {
        fn visit(command: &clap::Command) {
            assert!(command.get_about().is_some(), "{}", command.get_name());
            for argument in command.get_arguments().filter(|argument| argument.get_id() != "help") {
                assert!(argument.get_help().is_some(), "{} {argument}", command.get_name());
            }
            command.get_subcommands().for_each(visit);
        }
        visit(&grammar());
    }

    #[test]
    fn every_command_has_help_and_an_unknown_one_is_named() {
        fn visit(command: &clap::Command, path: &[String]) {
            let text = help(path).unwrap();
            assert!(text.contains("Usage: dbt"), "{path:?}: {text}");
            for below in command.get_subcommands() {
                let mut longer = path.to_vec();
                longer.push(below.get_name().to_owned());
                visit(below, &longer);
            }
        }
        visit(&grammar(), &[]);
        let error = help(&["catalog".to_owned(), "frob".to_owned()]).unwrap_err();
        assert_eq!(error.to_string(), "`dbt catalog` has no command `frob`");
    }
}
