//! Why a configuration was refused.

use std::io;
use std::path::PathBuf;

/// Why a configuration was refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("failed to read the configuration `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },

    /// What should be JSON is not.
    #[error("{place} is not valid JSON")]
    Syntax {
        /// The file or variable.
        place: String,
        /// Where it stops being JSON.
        source: serde_json::Error,
    },

    /// A value is of the wrong type.
    #[error("{place} has a wrong value at `{key}`: {reason}")]
    Value {
        /// The file or variable.
        place: String,
        /// The path of keys to the value.
        key: String,
        /// What is wrong.
        reason: String,
    },

    /// A key is not known.
    #[error("{place} has an unknown key `{key}`; the nearest known key is `{nearest}`")]
    UnknownKey {
        /// The file or variable.
        place: String,
        /// The key, with those above it.
        key: String,
        /// What was perhaps meant.
        nearest: String,
    },

    /// A key occurs twice.
    #[error("{place} has the key `{key}` twice")]
    TwoKeys {
        /// The file or variable.
        place: String,
        /// The key, with those above it.
        key: String,
    },

    /// A variable has a value that makes no sense.
    #[error("the variable `{name}` is {expected}, not `{}`{}", value.escape_debug(), note(name))]
    Variable {
        /// The variable.
        name: String,
        /// What it should be.
        expected: &'static str,
        /// What it is.
        value: String,
    },

    /// No directory was named.
    #[error("no directory to serve: set `serverRoot`, `REPOSERVER_ROOT` or `--root`")]
    NoRoot,

    /// The directory cannot be served.
    #[error("failed to open the directory to serve, `{}`", path.display())]
    Root {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },

    /// The root of the file system is never what is meant.
    #[error("the directory to serve is the root of the file system")]
    WholeSystem,

    /// What must stay private would be served.
    #[error("{what} `{}` lies in the directory to serve", path.display())]
    FileInRoot {
        /// What it is.
        what: &'static str,
        /// The file.
        path: PathBuf,
    },

    /// A setting cannot be meant as it is written, for this reason.
    #[error("`{key}` {reason}")]
    Setting {
        /// The key.
        key: String,
        /// What is wrong with it.
        reason: String,
    },

    /// Reads are to be authenticated, but not how.
    #[error("`authGets` is true but `authTypeGet` is empty")]
    NoTypeForReads,

    /// A list of methods has an empty place.
    #[error("`{key}` has an empty place between its commas: `{value}`")]
    EmptyType {
        /// The key.
        key: &'static str,
        /// Its value.
        value: String,
    },

    /// A method that this version does not have.
    #[error("`{key}` names `{name}`, which is not available yet")]
    TypeNotYet {
        /// The key.
        key: &'static str,
        /// The method.
        name: String,
    },

    /// A method that does not exist.
    #[error(
        "`{key}` names `{name}`, which is no method of authentication; the nearest is `{nearest}`"
    )]
    UnknownType {
        /// The key.
        key: &'static str,
        /// The name.
        name: String,
        /// What was perhaps meant.
        nearest: String,
    },

    /// The method needs a token and there is none.
    #[error("`static-token` needs a token: set `{key}.staticToken` or `{key}.staticTokenEnv`")]
    NoToken {
        /// The options it should be in.
        key: &'static str,
    },

    /// The file of a secret cannot be read.
    #[error("`{key}` names the file `{}`, which cannot be read", path.display())]
    Secret {
        /// The key.
        key: String,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },

    /// The token's variable is not set.
    #[error("`{key}.staticTokenEnv` names the variable `{name}`, which is not set")]
    MissingVariable {
        /// The options that name it.
        key: &'static str,
        /// The variable.
        name: String,
    },

    /// The token's variable is blank.
    #[error("`{key}.staticTokenEnv` names the variable `{name}`, which is empty")]
    EmptyVariable {
        /// The options that name it.
        key: &'static str,
        /// The variable.
        name: String,
    },

    /// The token cannot be sent in a header.
    #[error("the token of `{key}` holds control characters")]
    BadToken {
        /// The options it is in.
        key: &'static str,
    },
}

impl ConfigError {
    /// Refuses a setting for a reason.
    pub(super) fn setting(key: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Setting { key: key.into(), reason: reason.into() }
    }
}

/// Explains what most likely set a port that is no port.
fn note(name: &str) -> &'static str {
    if name == "REPOSERVER_PORT" {
        " (Kubernetes sets it for a service named `reposerver`; `enableServiceLinks: false` stops that)"
    } else {
        ""
    }
}
