//! The scripts by which shells complete what is typed, made out of the client's grammar.
//!
//! The grammar does not know the tools of a machine. Bash, fish and zsh ask the program for their
//! names, by what is added here; the other shells offer commands and flags alone.

use std::fmt::Write as _;

use clap::{Arg, Command};
use clap_complete::Shell;

/// Where the client finds them; each has the name of its shell.
const DIRECTORY: &str = "crates/dbt-cli/completions";

const SHELLS: [Shell; 5] = [Shell::Bash, Shell::Elvish, Shell::Fish, Shell::PowerShell, Shell::Zsh];

/// What stands for the program's name in what is added.
const PROGRAM: &str = "[PROGRAM]";

/// The command after whose tool everything is the tool's.
const RUN: &str = "run";

/// Returns every script with its path.
pub(crate) fn scripts() -> [(String, String); 5] {
    SHELLS.map(|shell| {
        let mut grammar =
            dbt_cli::help::commands().mut_subcommands(|command| match command.get_name() {
                // Its words are read by hand, so the grammar does not say that one is a tool.
                RUN => command.arg(Arg::new("tool").required(true).help("The tool")),
                _ => command,
            });
        let (program, mut script) = (grammar.get_name().to_owned(), Vec::new());
        clap_complete::generate(shell, &mut grammar, program.clone(), &mut script);
        let script = String::from_utf8_lossy(&script).into_owned();
        let script = if shell == Shell::Bash {
            bash(&script, &grammar, &program)
        } else if shell == Shell::Fish {
            fish(script, &grammar, &program)
        } else if shell == Shell::Zsh {
            zsh(&script, &program)
        } else {
            script
        };
        (format!("{DIRECTORY}/{shell}"), script)
    })
}

/// How many tools a command takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Takes {
    None,
    One,
    Many,
}

fn takes(command: &Command) -> Takes {
    let has = |name: &str| command.get_positionals().any(|it| it.get_id() == name);
    match (has("tool"), has("tools")) {
        (_, true) => Takes::Many,
        (true, false) => Takes::One,
        (false, false) => Takes::None,
    }
}

/// Returns the commands that take tools, `catalog show` as well as `which`.
fn nested(grammar: &Command) -> impl Iterator<Item = (&Command, &Command)> {
    let below = |command| Command::get_subcommands(command).map(move |below| (command, below));
    grammar.get_subcommands().flat_map(below).filter(|(_, below)| takes(below) != Takes::None)
}

fn bash(script: &str, grammar: &Command, program: &str) -> String {
    let words = |which: Takes| -> String {
        let commands = grammar.get_subcommands();
        let commands = commands.filter(|it| takes(it) == which && it.get_name() != RUN);
        let words = commands.map(|command| format!("\"{} \"*", command.get_name()));
        words.collect::<Vec<_>>().join(" | ")
    };
    let nested = nested(grammar)
        .map(|(above, below)| format!("\"{} {}\"", above.get_name(), below.get_name()));
    let added = include_str!("completions/tools.bash")
        .replace("[RUN]", RUN)
        .replace("[MANY]", &words(Takes::Many))
        .replace("[NESTED]", &nested.collect::<Vec<_>>().join(" | "))
        .replace("[ONE]", &words(Takes::One))
        .replace("[OTHERS]", &words(Takes::None))
        .replace(PROGRAM, program);
    let end = "if [[ \"${BASH_VERSINFO[0]}\" -eq 4";
    let offered = format!("complete -F _{program} ");
    let script = script.replacen(end, &(added + end), 1);
    script.replace(&offered, &format!("complete -F _{program}_and_tools "))
}

fn fish(script: String, grammar: &Command, program: &str) -> String {
    let using = |name: &str| format!("__fish_{program}_using_subcommand {name}");
    let awaits = |words: &str| format!("__fish_{program}_awaits_tool {words}");
    // The flags of what runs a tool stand before the tool; after it they are the tool's.
    let (before, after) = (format!("\"{}\"", using(RUN)), format!("\"{}\"", awaits(RUN)));
    let mut script = script.replace(&before, &after);
    let added = include_str!("completions/tools.fish").replace(PROGRAM, program);
    script.push_str(&added.replace("[RUN]", RUN));
    let mut offer = |condition: &str| {
        // Writing to a string cannot fail.
        let _infallible = writeln!(
            script,
            "complete -c {program} -n \"{condition}\" -f -a \"(__fish_{program}_tools)\" -d 'Tool'"
        );
    };
    offer(&format!("__fish_{program}_needs_command"));
    for command in grammar.get_subcommands() {
        match takes(command) {
            Takes::None => {}
            Takes::One => offer(&awaits(command.get_name())),
            Takes::Many => offer(&using(command.get_name())),
        }
    }
    for (above, below) in nested(grammar) {
        offer(&awaits(&format!("{} {}", above.get_name(), below.get_name())));
    }
    script
}

fn zsh(script: &str, program: &str) -> String {
    let commands = format!("_{program}_commands\" \\");
    // The words of a command are read like a line of their own: what the flags before it said
    // would be forgotten.
    let script = script.replacen("    local ret=1\n", "    local ret=1 server_before\n", 1);
    let lines = script.lines().map(|line| {
        if line.trim_start() == "words=($line[1] \"${words[@]}\")" {
            let said = "${opt_args[-s]:-${opt_args[--server]:-$server_before}}";
            return format!("        server_before=\"{said}\"\n{line}\n");
        }
        let takes_tool = line.contains(":tool -- ") || line.contains(":tools -- ");
        if let Some(before) = line.strip_suffix(":_default' \\").filter(|_line| takes_tool) {
            return format!("{before}:_{program}_tools' \\\n");
        }
        match line.strip_suffix(commands.as_str()) {
            Some(before) if before == "\":: :" => {
                format!("{before}_{program}_commands_and_tools\" \\\n")
            }
            _ => format!("{line}\n"),
        }
    });
    let added = include_str!("completions/tools.zsh").replace(PROGRAM, program);
    let end = "if [ \"$funcstack[1]\" = ";
    lines.collect::<String>().replacen(end, &(added + end), 1)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn the_scripts_are_current() {
        for (path, script) in scripts() {
            let written = fs::read_to_string(crate::workspace_root().join(&path));
            let is_current = written.unwrap_or_default() == script;
            assert!(is_current, "{path} is not current: run `cargo xtask generate`");
        }
    }
}
