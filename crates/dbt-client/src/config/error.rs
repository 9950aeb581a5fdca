//! What can be wrong with the configuration, and what a person can do about it.

use std::io;
use std::path::PathBuf;

use dbt_core::brand;
use dbt_core::name::ServerName;

use crate::fsx::FsxError;
use crate::ownership::Distrust;

/// Why the configuration cannot be used. Nothing was done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file that was named does not exist.
    #[error("there is no configuration file `{}`", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// The file could not be read.
    #[error("failed to read the configuration file `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Something else than a file.
    #[error("the configuration file `{}` is not a file", path.display())]
    NotAFile {
        /// The path.
        path: PathBuf,
    },
    /// The file could not be written.
    #[error("failed to change the configuration")]
    Write(#[source] FsxError),
    /// Other users could change whom we trust.
    #[error("refusing to use the configuration file `{}`: {distrust}", path.display())]
    Distrusted {
        /// The file.
        path: PathBuf,
        /// Who could.
        distrust: Distrust,
    },
    /// More than any configuration is.
    #[error("the configuration file `{}` is larger than {limit} bytes", path.display())]
    TooLong {
        /// The file.
        path: PathBuf,
        /// The most that is read.
        limit: u64,
    },
    /// Not JSON.
    #[error("the configuration is not JSON")]
    Syntax {
        /// Where and why.
        source: serde_json::Error,
    },
    /// A value of another kind than its key has.
    #[error("`{key}` must be {expected}, and is {found}")]
    WrongType {
        /// The key's path.
        key: String,
        /// What it must be.
        expected: &'static str,
        /// What it is.
        found: &'static str,
    },
    /// A key that stands twice.
    #[error("`{key}` stands in the configuration twice")]
    Twice {
        /// The key's path.
        key: String,
    },
    /// A value that means nothing.
    #[error("`{key}` in the configuration is wrong")]
    BadValue {
        /// The key's path.
        key: String,
        /// Why.
        #[source]
        reason: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A server without something it needs.
    #[error("the server `{server}` has no `{key}` in the configuration")]
    MissingKey {
        /// The server.
        server: ServerName,
        /// The key.
        key: &'static str,
    },
    /// A variable that is not set.
    #[error("`{key}` in the configuration names the variable `{name}`, which is not set")]
    UnsetVariable {
        /// The key's path.
        key: String,
        /// The variable.
        name: String,
    },
    /// Something in one file is wrong.
    #[error("failed to use the configuration file `{}`", path.display())]
    In {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: Box<Self>,
    },
    /// A server of this name exists already.
    #[error("the configuration has a server `{name}` already")]
    ServerExists {
        /// The name.
        name: ServerName,
    },
    /// The server of the older format, which has no room for what a server has today.
    #[error("the server `{name}` is written in the older format, which is not changed")]
    OlderFormat {
        /// The name.
        name: ServerName,
    },
    /// An offer without something it needs.
    #[error("`{key}` is missing: it says where the server is")]
    NotOffered {
        /// The key.
        key: &'static str,
    },
    /// A key of an offer that means nothing.
    #[error("`{}` means nothing here", key.escape_debug())]
    UnknownKey {
        /// Its path.
        key: String,
        /// The key that was probably meant.
        nearest: Option<&'static str>,
    },
    /// No server of this name exists.
    #[error("the configuration has no server `{name}`")]
    NoSuchServer {
        /// The name.
        name: ServerName,
        /// The names there are.
        names: String,
    },
}

impl ConfigError {
    /// Returns what the user can do about it, if anything.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Distrusted { distrust, .. } => Some(distrust.hint()),
            Self::UnsetVariable { .. } => Some(
                "`$${` stands for the two characters `${` where no variable is meant".to_owned(),
            ),
            Self::ServerExists { name } => {
                Some(format!("`{} server remove {name}` removes it", brand::PROGRAM))
            }
            Self::NoSuchServer { names, .. } if names.is_empty() => {
                Some(format!("`{} server add URL` adds one", brand::PROGRAM))
            }
            Self::NoSuchServer { names, .. } => Some(format!("it has {names}")),
            Self::In { source, .. } => source.hint(),
            Self::UnknownKey { nearest: Some(nearest), .. } => {
                Some(format!("`{nearest}` may be meant"))
            }
            Self::UnknownKey { key, nearest: None } if key == "oidcClientSecret" => {
                Some("only clients without a secret are given to everybody".to_owned())
            }
            Self::OlderFormat { .. } => {
                Some("give the new server another name: it is added beside this one".to_owned())
            }
            Self::Missing { .. }
            | Self::Read { .. }
            | Self::NotAFile { .. }
            | Self::Write(_)
            | Self::TooLong { .. }
            | Self::Syntax { .. }
            | Self::WrongType { .. }
            | Self::Twice { .. }
            | Self::MissingKey { .. }
            | Self::NotOffered { .. }
            | Self::UnknownKey { .. }
            | Self::BadValue { .. } => None,
        }
    }
}
