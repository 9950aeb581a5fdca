//! What is wrong with a command line, in our own words.

use std::error::Error;
use std::ffi::OsStr;
use std::fmt;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use dbt_core::brand;
use dbt_core::name::ToolName;
use dbt_ui::exit_code::ExitCode;
use dbt_ui::report::Report;

/// A command line that means nothing. Nothing has been done.
#[derive(Debug)]
pub struct UsageError {
    error: Box<dyn Error + Send + Sync>,
    hints: Vec<String>,
    /// The command whose help explains it, below the program's name.
    command: Vec<String>,
    program: &'static str,
}

impl UsageError {
    /// Says what is wrong.
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self::caused_by(message.into())
    }

    /// Takes an error that says what is wrong by itself.
    pub(crate) fn caused_by(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self {
            error: error.into(),
            hints: Vec::new(),
            command: Vec::new(),
            program: brand::PROGRAM,
        }
    }

    /// Says whose help explains it: that of another program of ours.
    #[must_use]
    pub(crate) fn in_program(self, program: &'static str) -> Self {
        Self { program, ..self }
    }

    /// Flags and no tool, or `--` and nothing.
    pub(crate) fn no_tool() -> Self {
        Self::new("no tool is named")
    }

    /// A flag that nobody knows.
    pub(crate) fn unknown_flag(flag: &str) -> Self {
        Self::new(format!("unknown flag `{flag}`")).hint("flags of the tool stand after its name")
    }

    /// A word after a flag that asks for something by itself.
    pub(crate) fn word_after(flag: &str, word: &OsStr) -> Self {
        Self::new(format!(
            "`{flag}` runs no tool, and does not expect `{}`",
            word.to_string_lossy()
        ))
    }

    /// A version after the name, and one before it.
    pub(crate) fn version_twice(tool: &ToolName) -> Self {
        Self::new(format!("the version of `{tool}` is given twice"))
            .hint("write `@VERSION` after the name, or `-v VERSION` before it")
    }

    /// A word that must be text is none.
    pub(crate) fn not_text(what: &str, word: &OsStr) -> Self {
        Self::new(format!("{what} is not UTF-8 text: `{}`", word.to_string_lossy()))
    }

    /// Adds something the user can do.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// Names the command whose help explains it.
    pub(crate) fn of_command(mut self, command: &str) -> Self {
        if self.command.is_empty() {
            self.command = command.split(' ').map(str::to_owned).collect();
        }
        if command == "run" {
            self.hints.extend(another_product());
        }
        self
    }

    /// Puts the parser's complaint into our words.
    pub(crate) fn of_parser(error: &clap::Error, program: &'static str, path: Vec<String>) -> Self {
        let command: Vec<&str> =
            std::iter::once(program).chain(path.iter().map(String::as_str)).collect();
        let mut usage = Self::new(complaint(error, &command.join(" ")));
        if let Some(similar) = [
            ContextKind::SuggestedSubcommand,
            ContextKind::SuggestedArg,
            ContextKind::SuggestedValue,
        ]
        .into_iter()
        .find_map(|kind| first_of(error, kind))
        {
            usage = usage.hint(format!("did you mean `{similar}`?"));
        }
        usage.command = path;
        usage.program = program;
        usage
    }

    /// Returns the report for the person.
    pub fn report(self) -> Report {
        let mut words = vec![self.program.to_owned()];
        words.extend(self.command);
        let help = format!("`{} --help` shows how it is used", words.join(" "));
        Report::new(ExitCode::USAGE, self.error).hints(self.hints).hint(help)
    }
}

/// Returns what is said where somebody seems to look for another program of our name; a brand's own
/// name has none.
pub(crate) fn another_product() -> Option<String> {
    let own = !brand::IS_REBRANDED;
    own.then(|| format!("this is the {}, not the data build tool", brand::LONG_NAME))
}

#[expect(clippy::wildcard_enum_match_arm, reason = "the parser may complain in new ways")]
fn complaint(error: &clap::Error, command: &str) -> String {
    let argument = first_of(error, ContextKind::InvalidArg).unwrap_or_default();
    let value = first_of(error, ContextKind::InvalidValue).unwrap_or_default();
    match error.kind() {
        ErrorKind::UnknownArgument if argument.starts_with('-') => {
            format!("`{command}` has no flag `{argument}`")
        }
        ErrorKind::UnknownArgument => format!("`{command}` does not expect `{argument}`"),
        ErrorKind::InvalidSubcommand => {
            let word = first_of(error, ContextKind::InvalidSubcommand).unwrap_or_default();
            format!("`{command}` has no command `{word}`")
        }
        ErrorKind::MissingRequiredArgument => {
            let missing = all_of(error, ContextKind::InvalidArg);
            format!("`{command}` needs {}", in_backticks(&missing))
        }
        ErrorKind::ArgumentConflict => {
            let other = first_of(error, ContextKind::PriorArg).unwrap_or_default();
            if other == argument || other.is_empty() {
                format!("`{argument}` is given twice")
            } else {
                format!("`{argument}` and `{other}` do not go together")
            }
        }
        ErrorKind::InvalidValue if value.is_empty() => format!("`{argument}` needs a value"),
        ErrorKind::InvalidValue => {
            let possible = all_of(error, ContextKind::ValidValue);
            format!("`{value}` is no `{argument}`: expected {}", in_backticks(&possible))
        }
        ErrorKind::ValueValidation => match error.source() {
            Some(cause) => format!("bad `{argument}`: {cause}"),
            None => format!("bad `{argument}`: `{value}`"),
        },
        ErrorKind::InvalidUtf8 => "an argument is not UTF-8 text".to_owned(),
        _ => plain(error),
    }
}

/// Returns the parser's own first line, for complaints that no line of ours can cause.
fn plain(error: &clap::Error) -> String {
    let text = error.to_string();
    let line = text.lines().next().unwrap_or_default();
    line.strip_prefix("error: ").unwrap_or(line).replace('\'', "`")
}

fn all_of(error: &clap::Error, kind: ContextKind) -> Vec<String> {
    match error.get(kind) {
        Some(ContextValue::String(text)) => vec![text.clone()],
        Some(ContextValue::Strings(texts)) => texts.clone(),
        Some(_) | None => Vec::new(),
    }
}

fn first_of(error: &clap::Error, kind: ContextKind) -> Option<String> {
    all_of(error, kind).into_iter().next()
}

fn in_backticks(words: &[String]) -> String {
    let quoted: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
    quoted.join(", ")
}

impl fmt::Display for UsageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}
