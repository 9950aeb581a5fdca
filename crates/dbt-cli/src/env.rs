//! Every environment variable of the client, documented, and read here and nowhere else.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fmt::Write as _;
use std::path::PathBuf;

use dbt_client::config::{Variables, begins_with};
use dbt_client::settings::{AWS_VARIABLES, NETWORK_VARIABLES, NotText};
use dbt_core::brand;
use dbt_core::secret::Secret;

/// A variable that the client reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Variable {
    /// The configuration file.
    Config,
    /// The directory of our files.
    Home,
    /// The store of verified tools.
    CacheDir,
    /// Read-only stores.
    StorePath,
    /// The server's name or URL.
    Server,
    /// Make no request.
    Offline,
    /// Whether the program replaces itself.
    SelfUpdate,
    /// A token for the selected server.
    RepoToken,
    /// A file with a token for the selected server.
    RepoTokenFile,
    /// Further fingerprints of trusted signers.
    Trust,
    /// An identity of a CI system.
    IdToken,
    /// A file with one.
    IdTokenFile,
    /// Where the outcome is written.
    StatusFile,
    /// Say when a flag stands after the tool's name.
    CompatWarn,
    /// The guard against updating ourselves in a circle.
    ReExec,
    /// The user's home directory.
    UserHome,
    /// Where temporary files go.
    Temporary,
    /// No colour.
    NoColor,
    /// The kind of terminal.
    Term,
    /// Says that we run in a container.
    Container,
    /// Says that we run in a cluster.
    Kubernetes,
    /// Where programs are looked for.
    SearchPath,
    /// The socket of the SSH agent.
    SshAgent,
    /// Where GitHub Actions makes identities.
    GitHubIdentityUrl,
    /// Who may ask for them there.
    GitHubIdentityToken,
    /// The browser.
    Browser,
    /// The screen of X11.
    Display,
    /// The screen of Wayland.
    WaylandDisplay,
    /// Says that the person is elsewhere.
    SshConnection,
    /// The person's shell.
    Shell,
    /// Where the files of zsh are.
    ZshDirectory,
    /// Where programs have their settings.
    ConfigDirectory,
    /// The person's name on this machine.
    User,
}

/// One line of the documentation.
struct Row {
    variable: Variable,
    /// Without the prefix, where the name is ours.
    name: &'static str,
    ours: bool,
    default: &'static str,
    meaning: &'static str,
}

const fn ours(
    variable: Variable,
    name: &'static str,
    default: &'static str,
    meaning: &'static str,
) -> Row {
    Row { variable, name, ours: true, default, meaning }
}

const fn common(
    variable: Variable,
    name: &'static str,
    default: &'static str,
    meaning: &'static str,
) -> Row {
    Row { variable, name, ours: false, default, meaning }
}

const TABLE: [Row; 33] = [
    ours(
        Variable::Config,
        "CONFIG",
        "`~/{ours}/conf/{file}`, then the system's",
        "the configuration file",
    ),
    ours(
        Variable::Home,
        "HOME",
        "`~/{ours}`",
        "the directory of configuration, store, trust and state",
    ),
    ours(Variable::CacheDir, "CACHE_DIR", "`~/{ours}/tools`", "the store of verified tools"),
    ours(
        Variable::StorePath,
        "STORE_PATH",
        "",
        "read-only stores that are looked up first, separated as in `PATH`; what is found there is verified like anything else",
    ),
    ours(
        Variable::Server,
        "SERVER",
        "`defaultServer` of the configuration",
        "the server: a name of the configuration (`default` is the one of the legacy format), or a URL, for which no file is needed",
    ),
    ours(Variable::Offline, "OFFLINE", "`0`", "`1` is `-o`: use what is cached, make no request"),
    ours(
        Variable::SelfUpdate,
        "SELF_UPDATE",
        "`selfUpdate` of the configuration",
        "`auto`, `notify` or `off`: whether the program replaces itself by a newer version",
    ),
    ours(
        Variable::RepoToken,
        "REPO_TOKEN",
        "",
        "a token for the selected server, instead of what the configuration says; never given to a tool",
    ),
    ours(
        Variable::RepoTokenFile,
        "REPO_TOKEN_FILE",
        "",
        "a file that holds such a token; never given to a tool",
    ),
    ours(
        Variable::Trust,
        "TRUST",
        "",
        "fingerprints of signing keys, separated by commas or spaces, trusted beside those of the configuration",
    ),
    ours(
        Variable::IdToken,
        "ID_TOKEN",
        "",
        "the identity that a CI system has made for a job and for the selected server, which exchanges it: before what the configuration says; never given to a tool",
    ),
    ours(
        Variable::IdTokenFile,
        "ID_TOKEN_FILE",
        "",
        "a file that holds such an identity; never given to a tool",
    ),
    ours(
        Variable::StatusFile,
        "STATUS_FILE",
        "",
        "a file that gets `{\"phase\":\"dbt\"|\"tool\",\"code\":...}`: who decided the exit code; `code` is null where the process became the tool. Never given to a tool",
    ),
    ours(
        Variable::CompatWarn,
        "COMPAT_WARN",
        "`0`",
        "`1` says one line when a flag of ours stands after the tool's name, where it is the tool's",
    ),
    ours(
        Variable::ReExec,
        "REEXEC",
        "",
        "set by the program itself for one moment, while it restarts as its newer version; never given to a tool",
    ),
    common(
        Variable::UserHome,
        if cfg!(windows) { "USERPROFILE" } else { "HOME" },
        "the user's entry in `/etc/passwd`",
        "the user's home directory (`USERPROFILE` on Windows)",
    ),
    common(
        Variable::Temporary,
        if cfg!(windows) { "TEMP" } else { "TMPDIR" },
        "`/tmp`",
        "where files go that live for one run, when nothing else can be written (`TEMP` on Windows)",
    ),
    common(Variable::NoColor, "NO_COLOR", "", "set to anything: no colour"),
    common(Variable::Term, "TERM", "", "`dumb`: no colour and no progress"),
    common(
        Variable::Container,
        "container",
        "",
        "set by container engines: the program does not replace itself unless told to",
    ),
    common(Variable::Kubernetes, "KUBERNETES_SERVICE_HOST", "", "set by Kubernetes: the same"),
    common(
        Variable::SearchPath,
        "PATH",
        "",
        "where `doctor` looks for this program, for links and for a shell",
    ),
    common(
        Variable::SshAgent,
        "SSH_AUTH_SOCK",
        "",
        "the agent that signs in with the key named by `pubkey`, `pubkeypath` or `pubkeyfunc`, or for `connectorId`",
    ),
    common(
        Variable::GitHubIdentityUrl,
        "ACTIONS_ID_TOKEN_REQUEST_URL",
        "",
        "set by GitHub Actions for jobs with `id-token: write`: where an identity is made for a server that asks who it is, where nothing else is configured for it, or `authType` is `oidc` and no token of `login --token` is kept; a tool gets it: it is the job's own",
    ),
    common(
        Variable::GitHubIdentityToken,
        "ACTIONS_ID_TOKEN_REQUEST_TOKEN",
        "",
        "set by GitHub Actions too: what is shown there; a tool gets it",
    ),
    common(
        Variable::Browser,
        "BROWSER",
        "the system's",
        "the program that `login --browser` opens pages with; several with `:`, and `%s` where the page stands",
    ),
    common(
        Variable::Display,
        "DISPLAY",
        "",
        "set where there is a screen, so that `login` takes the browser",
    ),
    common(Variable::WaylandDisplay, "WAYLAND_DISPLAY", "", "the same"),
    common(
        Variable::SshConnection,
        "SSH_CONNECTION",
        "",
        "set by `ssh`: `login` takes a code that is confirmed elsewhere",
    ),
    common(Variable::Shell, "SHELL", "", "the shell whose profile the installer asks to change"),
    common(Variable::ZshDirectory, "ZDOTDIR", "the home directory", "where zsh has its profile"),
    common(
        Variable::ConfigDirectory,
        "XDG_CONFIG_HOME",
        "`~/.config`",
        "where fish and PowerShell have their profiles",
    ),
    common(
        Variable::User,
        if cfg!(windows) { "USERNAME" } else { "USER" },
        "",
        "the name that the installer offers where an identity provider wants one (`USERNAME` on Windows)",
    ),
];

impl Variable {
    /// Returns the variable's full name.
    pub fn name(self) -> String {
        match TABLE.iter().find(|row| row.variable == self) {
            Some(row) => row.full_name(),
            None => String::new(),
        }
    }
}

impl Row {
    fn full_name(&self) -> String {
        let prefix = if self.ours { brand::ENV_PREFIX } else { "" };
        format!("{prefix}{}", self.name)
    }
}

/// The environment of this process, as it was at the start.
#[derive(Clone)]
pub struct Environment {
    inherited: Vec<(OsString, OsString)>,
}

impl Environment {
    /// Reads the process's environment.
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the environment")]
    pub fn read() -> Self {
        Self::of(std::env::vars_os())
    }

    /// Takes an environment that somebody else made.
    pub fn of(
        variables: impl IntoIterator<Item = (impl Into<OsString>, impl Into<OsString>)>,
    ) -> Self {
        let pair = |(name, value): (_, _)| (Into::into(name), Into::into(value));
        Self { inherited: variables.into_iter().map(pair).collect() }
    }

    /// Returns everything, in order, to be handed on.
    pub fn inherited(&self) -> &[(OsString, OsString)] {
        &self.inherited
    }

    /// Returns everything but some variables, in order.
    pub fn without(&self, variables: &[Variable]) -> Vec<(OsString, OsString)> {
        let names: Vec<OsString> = variables.iter().map(|it| it.name().into()).collect();
        let stays =
            |(name, _): &&(OsString, OsString)| !names.iter().any(|gone| same_name(name, gone));
        self.inherited.iter().filter(stays).cloned().collect()
    }

    /// Returns any variable by name.
    pub fn lookup(&self, name: &str) -> Option<&OsStr> {
        let same = |other: &OsStr| same_name(other, OsStr::new(name));
        self.inherited
            .iter()
            .find(|(other, _value)| same(other))
            .map(|(_name, value)| value.as_os_str())
    }

    /// Says whether a variable is set to something.
    pub fn is_set(&self, variable: Variable) -> bool {
        self.get(variable).is_some()
    }

    /// Returns a variable as a path.
    pub fn path(&self, variable: Variable) -> Option<PathBuf> {
        self.get(variable).map(PathBuf::from)
    }

    /// Returns the directories in which programs are looked for.
    pub fn search_path(&self) -> Vec<PathBuf> {
        let path = self.get(Variable::SearchPath);
        path.map(|path| std::env::split_paths(path).collect()).unwrap_or_default()
    }

    /// Returns the names of the variables of ours, and of those of proxies and certificates, that
    /// are set.
    pub fn names_set(&self) -> Vec<String> {
        let unremarkable = [
            Variable::UserHome,
            Variable::SearchPath,
            Variable::Term,
            Variable::NoColor,
            Variable::Browser,
            Variable::Display,
            Variable::WaylandDisplay,
            Variable::SshConnection,
            Variable::Shell,
            Variable::ZshDirectory,
            Variable::ConfigDirectory,
            Variable::User,
        ];
        let rows = TABLE.iter().filter(|row| !unremarkable.contains(&row.variable));
        let ours = rows.filter(|row| self.is_set(row.variable)).map(Row::full_name);
        let shared = NETWORK_VARIABLES.iter().chain(&AWS_VARIABLES).map(|(name, _meaning)| *name);
        let shared = shared.filter(|name| self.lookup(name).is_some_and(|value| !value.is_empty()));
        ours.chain(shared.map(str::to_owned)).collect()
    }

    /// Returns a variable as text.
    pub fn text(&self, variable: Variable) -> Result<Option<String>, EnvironmentError> {
        let read = |value: &OsStr| value.to_str().map(str::to_owned);
        let refuse = || EnvironmentError::NotText { name: variable.name() };
        self.get(variable).map(|value| read(value).ok_or_else(refuse)).transpose()
    }

    /// Returns a variable that nobody should see.
    pub fn secret(&self, variable: Variable) -> Result<Option<Secret<String>>, EnvironmentError> {
        Ok(self.text(variable)?.map(Secret::new))
    }

    /// Returns a variable that is on or off.
    pub fn flag(&self, variable: Variable) -> Result<bool, EnvironmentError> {
        let Some(value) = self.text(variable)? else {
            return Ok(false);
        };
        match value.to_ascii_lowercase().as_str() {
            "1" | "true" | "yes" | "on" => Ok(true),
            "0" | "false" | "no" | "off" => Ok(false),
            _ => Err(EnvironmentError::NotAFlag { name: variable.name(), value }),
        }
    }

    /// Returns a variable's value. An empty one is as good as none.
    fn get(&self, variable: Variable) -> Option<&OsStr> {
        self.lookup(&variable.name()).filter(|value| !value.is_empty())
    }
}

/// Says whether two names are the same variable on this system.
pub(crate) fn same_name(one: &OsStr, other: &OsStr) -> bool {
    if cfg!(windows) { one.eq_ignore_ascii_case(other) } else { one == other }
}

impl Variables for Environment {
    /// `${NAME}` in the configuration means any variable, ours or not.
    fn variable(&self, name: &str) -> Option<&OsStr> {
        self.lookup(name)
    }

    fn has_any(&self, beginning: &str) -> bool {
        self.inherited.iter().any(|(name, _value)| begins_with(name, beginning))
    }
}

impl fmt::Debug for Environment {
    /// Shows no values: environments are full of secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Environment({} variables)", self.inherited.len())
    }
}

/// A variable has a value that means nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EnvironmentError {
    /// Not UTF-8.
    #[error("the environment variable `{name}` is not UTF-8 text")]
    NotText {
        /// Its name.
        name: String,
    },
    /// Neither on nor off.
    #[error("the environment variable `{name}` is `{}`: expected `1` or `0`", value.escape_debug())]
    NotAFlag {
        /// Its name.
        name: String,
        /// Its value.
        value: String,
    },
}

impl From<NotText> for EnvironmentError {
    fn from(error: NotText) -> Self {
        Self::NotText { name: error.name.to_owned() }
    }
}

/// Returns the documentation of the table, as `docs/environment.md` has it.
pub(crate) fn environment_md() -> String {
    let program = brand::PROGRAM;
    let mut text = format!(
        "# Environment variables\n\n\
         What `{program}` reads. A flag beats a variable, a variable beats the configuration file. A variable\n\
         that is set to nothing counts as not set.\n\n\
         This file is generated from `crates/dbt-cli/src/env.rs`: do not edit it.\n\n\
         | variable | default | meaning |\n|---|---|---|\n"
    );
    for row in &TABLE {
        let default = row
            .default
            .replace("{ours}", brand::HOME_DIRECTORY)
            .replace("{file}", brand::CONFIG_FILE);
        let meaning = row.meaning.replace('|', "\\|");
        text.push_str(
            &["| `", &row.full_name(), "` | ", &default, " | ", &meaning, " |\n"].concat(),
        );
    }
    for (name, meaning) in NETWORK_VARIABLES {
        let meaning = meaning.replace("`doctor`", &format!("`{program} doctor`"));
        // Writing to a string cannot fail.
        let _infallible = writeln!(text, "| `{name}` |  | {meaning} |");
    }
    for (name, meaning) in AWS_VARIABLES {
        let _infallible = writeln!(text, "| `{name}` |  | {meaning} |");
    }
    let given = crate::tool_environment::GIVEN.map(|name| format!("`{}{name}`", brand::ENV_PREFIX));
    let given = given.join(", ");
    let server = Variable::Server.name();
    // Writing to a string cannot fail.
    let _infallible = write!(
        text,
        "\n## What a tool sees\n\n\
         A tool has the environment that `{program}` was started with, except that {given}\n\
         say which server it came from, whatever they were before, and that variables marked above as\n\
         never given to a tool are not there, nor those that a `token`, `password` or `oidcClientSecret` of its\n\
         server names in the configuration (`${{NAME}}`). Of the four, only `{server}` is ever read as a setting.\n"
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_variable_has_one_line_and_a_meaning() {
        for (index, row) in TABLE.iter().enumerate() {
            assert_eq!(row.variable as usize, index, "{}", row.name);
            assert!(!row.meaning.is_empty() && !row.meaning.ends_with('.'), "{}", row.name);
        }
        assert_eq!(TABLE.len(), Variable::User as usize + 1);
    }

    #[test]
    fn an_empty_variable_is_as_good_as_none() {
        let env = Environment::of([("DBT_SERVER", ""), ("DBT_CONFIG", "/x")]);
        assert_eq!(env.text(Variable::Server), Ok(None));
        assert_eq!(env.path(Variable::Config), Some(PathBuf::from("/x")));
    }

    #[test]
    fn a_flag_is_on_or_off_and_nothing_else() {
        for (value, expected) in [("1", true), ("true", true), ("0", false), ("", false)] {
            let env = Environment::of([("DBT_OFFLINE", value)]);
            assert_eq!(env.flag(Variable::Offline), Ok(expected), "{value}");
        }
        let error =
            Environment::of([("DBT_OFFLINE", "maybe")]).flag(Variable::Offline).unwrap_err();
        let words = "the environment variable `DBT_OFFLINE` is `maybe`: expected `1` or `0`";
        assert_eq!(error.to_string(), words);
    }

    #[test]
    fn of_two_values_the_first_counts_as_it_does_for_other_programs() {
        let env = Environment::of([("DBT_SERVER", "a"), ("DBT_SERVER", "b")]);
        assert_eq!(env.text(Variable::Server), Ok(Some("a".to_owned())));
    }

    #[test]
    fn debug_output_shows_no_value() {
        let env = Environment::of([("DBT_REPO_TOKEN", "hunter2")]);
        assert!(!format!("{env:?}").contains("hunter2"));
    }
}
