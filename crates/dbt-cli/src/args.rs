//! What was typed, routed before any parser of ours looks at it.
//!
//! Everything after the tool's name is the tool's, whatever it looks like: bytes that are no
//! text, flags that are also ours, a second `--`. So the words up to the name are read here by
//! hand, and only the built-in commands go on to the parser in [`crate::cli`].

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::path::Path;

use dbt_core::brand;
use dbt_core::digest::Digest;
use dbt_core::name::{BUILT_IN_WORDS, ToolName};
use dbt_core::version::Wanted;

use crate::cli::{self, BuiltIn, Everywhere, Whoami};
use crate::usage::UsageError;

/// The flags before the tool's name: those are ours.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Flags {
    /// `-v`: which version.
    pub version: Option<Wanted>,
    /// `-o`: make no request.
    pub offline: bool,
    /// `-V`: say what is being done.
    pub verbose: bool,
    /// `-s`: which server of the configuration.
    pub server: Option<String>,
    /// `--sealed`: run a copy in sealed memory.
    pub sealed: bool,
}

impl Flags {
    /// Adds the flags that stood after a command's name.
    #[must_use]
    pub fn and(mut self, everywhere: Everywhere) -> Self {
        let Everywhere { server, offline, verbose } = everywhere;
        self.offline |= offline;
        self.verbose |= verbose;
        self.server = server.or(self.server);
        self
    }
}

/// What is to be done.
#[derive(Debug)]
pub enum Invocation {
    /// Show the help of a command, or the program's own when the path is empty.
    Help(Vec<String>),
    /// Show the version.
    Version,
    /// Say how this client signs in.
    AuthCheck(Whoami),
    /// Say who we are, for the program that wants to replace itself by us.
    SelfTest {
        /// The digest this executable must have.
        expected: Option<Digest>,
    },
    /// Run a tool.
    Tool(ToolCall),
    /// Run a built-in command.
    BuiltIn(Box<BuiltIn>),
}

/// A tool to run, with everything it gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolCall {
    /// Its name.
    pub name: ToolName,
    /// Which version; the newest when none is named.
    pub wanted: Wanted,
    /// Its arguments, untouched.
    pub arguments: Vec<OsString>,
}

/// The words of the command line, up to the first that is not ours.
#[derive(Debug)]
pub struct Words {
    /// The flags that stood before.
    pub flags: Flags,
    first: First,
}

#[derive(Debug)]
enum First {
    /// There is no word and no flag at all.
    Nothing,
    /// A flag asks for something itself.
    Asked(Asked),
    /// The first word, and what follows it.
    Word { word: OsString, rest: Vec<OsString>, meaning: Meaning },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    Help,
    Version,
    AuthCheck { json: bool },
    SelfTest(Option<Digest>),
}

/// What a word can be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Meaning {
    /// A built-in command or a tool.
    Any,
    /// A tool, because it stands after `--` or `run`, or the program was started under its name.
    Tool,
}

/// Returns the tool whose name this program was started under, if any.
///
/// `started_as` is the first word of the command line, `executable` the path of the file that
/// runs. A link has another name than its file; a file that was renamed (`dbt_linux_amd64`) has
/// not, and is still ourselves.
pub fn tool_of_link(started_as: &OsStr, executable: Option<&Path>) -> Option<OsString> {
    let name = stem(Path::new(started_as))?;
    let file = executable.and_then(stem);
    let ours = name == brand::PROGRAM
        || file.is_some_and(|file| file == name)
        || file.is_none() && name.to_str().is_some_and(looks_like_ourselves);
    (!ours).then(|| name.to_owned())
}

/// Returns the name of a program's file, without `.exe` on Windows.
fn stem(path: &Path) -> Option<&OsStr> {
    if cfg!(windows) { path.file_stem() } else { path.file_name() }
}

fn looks_like_ourselves(name: &str) -> bool {
    name.strip_prefix(brand::PROGRAM).is_some_and(|rest| rest.starts_with(['-', '_', '.']))
}

/// Reads the words up to the first that is not ours.
pub fn read(arguments: Vec<OsString>) -> Result<Words, UsageError> {
    if arguments.is_empty() {
        return Ok(Words { flags: Flags::default(), first: First::Nothing });
    }
    Reader { rest: arguments.into_iter().collect(), flags: Flags::default() }.read(Meaning::Any)
}

/// Makes the words of a link's call: all of them are the tool's.
pub fn linked(tool: OsString, arguments: Vec<OsString>) -> Words {
    let first = First::Word { word: tool, rest: arguments, meaning: Meaning::Tool };
    Words { flags: Flags::default(), first }
}

impl Words {
    /// Returns the built-in word that the configuration may give back to the organisation.
    pub fn built_in_word(&self) -> Option<&str> {
        let First::Word { word, meaning: Meaning::Any, .. } = &self.first else {
            return None;
        };
        word.to_str().filter(|word| BUILT_IN_WORDS.contains(word))
    }

    /// Decides what is to be done. `given_back` are built-in words that mean tools here.
    pub fn decide(
        self,
        given_back: &BTreeSet<ToolName>,
    ) -> Result<(Flags, Invocation), UsageError> {
        let is_built_in = self
            .built_in_word()
            .is_some_and(|word| !given_back.iter().any(|name| name.as_str() == word));
        let Self { flags, first } = self;
        let (word, rest) = match first {
            First::Nothing => return Ok((flags, Invocation::Help(Vec::new()))),
            First::Asked(asked) => return Ok((flags, asked.into())),
            First::Word { word, rest, .. } => (word, rest),
        };
        if !is_built_in {
            return tool_call(flags, &word, rest);
        }
        if word == "run" {
            return run(flags, rest);
        }
        built_in(flags, word, rest)
    }
}

impl From<Asked> for Invocation {
    fn from(asked: Asked) -> Self {
        match asked {
            Asked::Help => Self::Help(Vec::new()),
            Asked::Version => Self::Version,
            Asked::AuthCheck { json } => Self::AuthCheck(Whoami { json }),
            Asked::SelfTest(expected) => Self::SelfTest { expected },
        }
    }
}

/// Reads what stands after `run`: flags again, then a tool.
fn run(flags: Flags, rest: Vec<OsString>) -> Result<(Flags, Invocation), UsageError> {
    let words = Reader { rest: rest.into_iter().collect(), flags }.read(Meaning::Tool);
    let Words { flags, first } = words.map_err(|error| error.of_command("run"))?;
    match first {
        First::Asked(Asked::Help) => Ok((flags, Invocation::Help(vec!["run".to_owned()]))),
        First::Asked(asked) => Ok((flags, asked.into())),
        First::Word { word, rest, .. } => tool_call(flags, &word, rest),
        First::Nothing => Err(UsageError::no_tool().of_command("run")),
    }
}

fn built_in(
    mut flags: Flags,
    word: OsString,
    rest: Vec<OsString>,
) -> Result<(Flags, Invocation), UsageError> {
    if word == "help" {
        let path = rest.iter().map(|word| word.to_string_lossy().into_owned());
        return Ok((flags, Invocation::Help(path.filter(|word| word != "--").collect())));
    }
    let parsed = match cli::parse_built_in(word, rest)? {
        cli::Parsed::Help(path) => return Ok((flags, Invocation::Help(path))),
        cli::Parsed::Command(parsed) => parsed,
    };
    let command = match flags.version.take() {
        Some(version) => parsed.command.with_version(&version)?,
        None => parsed.command,
    };
    let flags = flags.and(parsed.everywhere);
    Ok((flags, Invocation::BuiltIn(Box::new(command))))
}

fn tool_call(
    mut flags: Flags,
    word: &OsStr,
    arguments: Vec<OsString>,
) -> Result<(Flags, Invocation), UsageError> {
    let Some(text) = word.to_str() else {
        return Err(UsageError::not_text("the name of a tool", word));
    };
    let (name, version) = match text.split_once('@') {
        Some((name, version)) => (name, Some(version)),
        None => (text, None),
    };
    let name: ToolName = name.parse().map_err(UsageError::caused_by)?;
    let wanted = match (version, flags.version.take()) {
        (None, named) => named.unwrap_or(Wanted::Newest),
        (Some(text), None) => text.parse().map_err(UsageError::caused_by)?,
        (Some(_), Some(_)) => {
            return Err(UsageError::version_twice(&name));
        }
    };
    Ok((flags, Invocation::Tool(ToolCall { name, wanted, arguments })))
}

/// Goes through the words before the tool's name.
struct Reader {
    rest: std::collections::VecDeque<OsString>,
    flags: Flags,
}

impl Reader {
    fn read(mut self, meaning: Meaning) -> Result<Words, UsageError> {
        while let Some(word) = self.rest.pop_front() {
            if word == "--" {
                return self.after_dashes();
            }
            if !is_flag(&word) {
                return Ok(self.word(word, meaning));
            }
            match self.flag(&word)? {
                None => {}
                Some(Asked::AuthCheck { .. }) => return self.auth_check(),
                Some(asked) => return Ok(self.asked(asked)),
            }
        }
        Err(UsageError::no_tool())
    }

    fn asked(self, asked: Asked) -> Words {
        Words { flags: self.flags, first: First::Asked(asked) }
    }

    /// Reads what stands after `--auth-check`, to the end: flags, and no tool. A word that nobody
    /// looks at could be the server that somebody means to have checked.
    fn auth_check(mut self) -> Result<Words, UsageError> {
        let mut json = false;
        while let Some(word) = self.rest.pop_front() {
            if word == "--json" {
                json = true;
            } else if word == "--" || !is_flag(&word) {
                return Err(UsageError::word_after("--auth-check", &word));
            } else {
                match self.flag(&word)? {
                    None | Some(Asked::AuthCheck { .. }) => {}
                    Some(asked) => return Ok(self.asked(asked)),
                }
            }
        }
        Ok(self.asked(Asked::AuthCheck { json }))
    }

    /// Reads a flag, and the next word where that is its value.
    fn flag(&mut self, word: &OsStr) -> Result<Option<Asked>, UsageError> {
        let Some(text) = word.to_str() else {
            return Err(UsageError::not_text("a flag", word));
        };
        match text.strip_prefix("--") {
            Some(long) => self.long(long),
            None => self.cluster(text.get(1..).unwrap_or_default()),
        }
    }

    fn word(self, word: OsString, meaning: Meaning) -> Words {
        let first = First::Word { word, rest: self.rest.into(), meaning };
        Words { flags: self.flags, first }
    }

    /// After `--` stands a tool; a second `--` is skipped, as the reference does.
    fn after_dashes(mut self) -> Result<Words, UsageError> {
        if self.rest.front().is_some_and(|word| word == "--") {
            self.rest.pop_front();
        }
        match self.rest.pop_front() {
            Some(word) => Ok(self.word(word, Meaning::Tool)),
            None => Err(UsageError::no_tool()),
        }
    }

    fn long(&mut self, text: &str) -> Result<Option<Asked>, UsageError> {
        let (name, value) = match text.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (text, None),
        };
        let flag = format!("--{name}");
        match name {
            "toolversion" => self.version(&flag, value)?,
            "server" => self.flags.server = Some(self.value(&flag, value)?),
            "offline" => self.flags.offline = truth(&flag, value)?,
            "verbose" => self.flags.verbose = truth(&flag, value)?,
            "sealed" => self.flags.sealed = truth(&flag, value)?,
            "help" => return truth(&flag, value).map(|yes| yes.then_some(Asked::Help)),
            "version" => return truth(&flag, value).map(|yes| yes.then_some(Asked::Version)),
            "auth-check" => {
                let asked = Asked::AuthCheck { json: false };
                return truth(&flag, value).map(|yes| yes.then_some(asked));
            }
            "self-test" => return self.self_test().map(Some),
            _ => return Err(UsageError::unknown_flag(&flag)),
        }
        Ok(None)
    }

    /// Reads `-oVv1.2` and its parts.
    fn cluster(&mut self, letters: &str) -> Result<Option<Asked>, UsageError> {
        let mut rest = letters.chars();
        while let Some(letter) = rest.next() {
            let flag = format!("-{letter}");
            let attached = Some(rest.as_str()).filter(|text| !text.is_empty());
            let attached = attached.map(|text| text.strip_prefix('=').unwrap_or(text));
            match letter {
                'o' => self.flags.offline = true,
                'V' => self.flags.verbose = true,
                'h' => return Ok(Some(Asked::Help)),
                'v' => return self.version(&flag, attached).map(|()| None),
                's' => {
                    self.flags.server = Some(self.value(&flag, attached)?);
                    return Ok(None);
                }
                _ => return Err(UsageError::unknown_flag(&flag)),
            }
        }
        Ok(None)
    }

    fn version(&mut self, flag: &str, attached: Option<&str>) -> Result<(), UsageError> {
        let text = self.value(flag, attached)?;
        self.flags.version = Some(text.parse().map_err(UsageError::caused_by)?);
        Ok(())
    }

    fn value(&mut self, flag: &str, attached: Option<&str>) -> Result<String, UsageError> {
        let value = if let Some(text) = attached {
            text.to_owned()
        } else {
            let missing = || UsageError::new(format!("the flag `{flag}` needs a value"));
            let word = self.rest.pop_front().ok_or_else(missing)?;
            let not_text = |word: OsString| UsageError::not_text("the value of a flag", &word);
            word.into_string().map_err(not_text)?
        };
        if value.is_empty() {
            return Err(UsageError::new(format!("the value of the flag `{flag}` is empty")));
        }
        Ok(value)
    }

    fn self_test(&mut self) -> Result<Asked, UsageError> {
        if self.rest.front().is_none_or(|word| word != "--expect-sha256") {
            return Ok(Asked::SelfTest(None));
        }
        self.rest.pop_front();
        let digest = self.value("--expect-sha256", None)?;
        digest.parse().map(|digest| Asked::SelfTest(Some(digest))).map_err(UsageError::caused_by)
    }
}

/// Says whether a word looks like a flag. A single dash is a word.
fn is_flag(word: &OsStr) -> bool {
    let bytes = word.as_encoded_bytes();
    bytes.starts_with(b"-") && bytes != b"-"
}

/// Reads the value that a flag without one may still be given (`--offline=false`).
fn truth(flag: &str, value: Option<&str>) -> Result<bool, UsageError> {
    match value {
        None | Some("true" | "1" | "t" | "T" | "TRUE" | "True") => Ok(true),
        Some("false" | "0" | "f" | "F" | "FALSE" | "False") => Ok(false),
        Some(_) => Err(UsageError::new(format!("the flag `{flag}` takes no value"))),
    }
}

/// Returns the first of a tool's arguments that the reference would have taken for its own flag.
///
/// `--help` and `--version` are not named: everybody means the tool's.
pub fn flag_for_the_tool(arguments: &[OsString]) -> Option<&str> {
    let texts = arguments.iter().take_while(|word| *word != "--").filter_map(|word| word.to_str());
    let mut ours = texts.filter(|text| {
        let name = text.split('=').next().unwrap_or_default();
        [
            "-v",
            "--toolversion",
            "-o",
            "--offline",
            "-V",
            "--verbose",
            "-s",
            "--server",
            "--auth-check",
        ]
        .contains(&name)
    });
    ours.next()
}

#[cfg(test)]
mod tests;
