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

    /// The file is not JSON.
    #[error("the configuration `{}` is not valid JSON", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Where it stops being JSON.
        source: serde_json::Error,
    },

    /// A value is of the wrong type.
    #[error("the configuration `{}` has a wrong value at `{key}`: {reason}", path.display())]
    Value {
        /// The file.
        path: PathBuf,
        /// The path of keys to the value.
        key: String,
        /// What is wrong.
        reason: String,
    },

    /// A key is not known.
    #[error("the configuration `{}` has an unknown key `{key}`; the nearest known key is `{nearest}`", path.display())]
    UnknownKey {
        /// The file.
        path: PathBuf,
        /// The key, with those above it.
        key: String,
        /// What was perhaps meant.
        nearest: String,
    },

    /// A key occurs twice.
    #[error("the configuration `{}` has the key `{key}` twice", path.display())]
    TwoKeys {
        /// The file.
        path: PathBuf,
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

    /// The configuration would be served.
    #[error("the configuration `{}` lies in the directory to serve", path.display())]
    FileInRoot {
        /// The file.
        path: PathBuf,
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
    #[error("`{key}` names `{name}`, which is no method of authentication; `static-token` is one")]
    UnknownType {
        /// The key.
        key: &'static str,
        /// The name.
        name: String,
    },

    /// The method needs a token and there is none.
    #[error("`static-token` needs a token: set `{key}.staticToken` or `{key}.staticTokenEnv`")]
    NoToken {
        /// The options it should be in.
        key: &'static str,
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

/// Explains what most likely set a port that is no port.
fn note(name: &str) -> &'static str {
    if name == "REPOSERVER_PORT" {
        " (Kubernetes sets it for a service named `reposerver`; `enableServiceLinks: false` stops that)"
    } else {
        ""
    }
}
