//! Why a tool could not be made ready.

use dbt_core::name::ToolName;
use dbt_core::trust::VerifyError;
use dbt_core::trust::withdrawn::WithdrawnError;
use dbt_core::version::{Version, Wanted};

use crate::anchor::AnchorError;
use crate::nearest;
use crate::obtain::ObtainError;
use crate::source::FetchError;
use crate::state::StateError;

/// Why a tool could not be made ready. The exit code follows from the variant.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PrepareError {
    /// The server cannot be used and nothing is cached.
    #[error("{} is not cached, and `{server}` cannot be used: {reason}", named(tool, wanted))]
    Unreachable {
        /// The tool.
        tool: ToolName,
        /// The version wanted.
        wanted: Wanted,
        /// The server's repository.
        server: String,
        /// What happened.
        reason: String,
        /// What can be done about just that.
        hint: Option<String>,
    },
    /// Nothing is cached, and no request is made.
    #[error("{} is not cached, and this run makes no request: {reason}", named(tool, wanted))]
    NotCached {
        /// The tool.
        tool: ToolName,
        /// The version wanted.
        wanted: Wanted,
        /// Why no request is made.
        reason: String,
    },
    /// The server wants a sign-in and nothing is cached.
    #[error("server `{server}` wants you to sign in")]
    SignIn {
        /// The server's name.
        server: String,
        /// What the configuration makes of it.
        hint: Option<String>,
        /// What it said.
        source: FetchError,
    },
    /// What the configuration names to tell the server who asks cannot be had, and nothing is cached.
    #[error("the credentials for server `{server}` cannot be had")]
    Credentials {
        /// The server's name.
        server: String,
        /// Why.
        source: FetchError,
    },
    /// The server says no.
    #[error("the server does not allow it")]
    Forbidden(#[source] FetchError),
    /// The server gave an answer that no honest one gives, and a cached copy does not help.
    #[error("the server's answer is refused")]
    Fetch(#[source] FetchError),
    /// There is no such tool.
    #[error("there is no tool `{tool}` in the repository")]
    NoTool {
        /// What was asked for.
        tool: ToolName,
        /// The version wanted.
        wanted: Wanted,
        /// What there is.
        names: Vec<ToolName>,
        /// A verified copy is cached.
        cached: bool,
    },
    /// There is no such version, or none that is complete for this platform.
    #[error("{}", no_version(tool, wanted, published))]
    NoVersion {
        /// The tool.
        tool: ToolName,
        /// The version wanted.
        wanted: Wanted,
        /// What is published.
        published: Vec<Version>,
        /// A verified copy is cached.
        cached: bool,
    },
    /// The version was withdrawn by its publisher.
    #[error("`{tool}` {version} was withdrawn: {}", .reason.escape_debug())]
    Withdrawn {
        /// The tool.
        tool: ToolName,
        /// The version.
        version: Version,
        /// Why.
        reason: String,
    },
    /// The version has the bytes of one that was withdrawn by its publisher.
    #[error("`{tool}` {version} has bytes that were withdrawn: {}", .reason.escape_debug())]
    WithdrawnBytes {
        /// The tool.
        tool: ToolName,
        /// The version.
        version: Version,
        /// Why they were withdrawn.
        reason: String,
    },
    /// All that could be meant was withdrawn by its publisher.
    #[error("every release of {} is withdrawn: {}", named(tool, wanted), .reason.escape_debug())]
    AllWithdrawn {
        /// The tool.
        tool: ToolName,
        /// The version wanted.
        wanted: Wanted,
        /// Why the newest of them was.
        reason: String,
    },
    /// Under `strict`: the newest version is older than one seen before.
    #[error(
        "the newest published `{tool}` is {now}, older than {seen} which was seen before, and this server is `strict`"
    )]
    Rollback {
        /// The tool.
        tool: ToolName,
        /// What was seen.
        seen: Version,
        /// What is published now.
        now: Version,
    },
    /// The truststore is refused and there is no earlier one.
    #[error("the server's truststore {}", judged(.0))]
    Trust(#[source] AnchorError),
    /// The tool could not be fetched, or is not what it should be.
    #[error("refusing to run `{tool}`")]
    Obtain {
        /// The tool.
        tool: ToolName,
        /// Why.
        source: Box<ObtainError>,
    },
    /// What is cached is not what it should be, and nothing can be fetched now.
    #[error("no cached copy of `{tool}` can be used")]
    CachedCopy {
        /// The tool.
        tool: ToolName,
        /// What is wrong with the best of them.
        source: Box<ObtainError>,
    },
    /// The list of withdrawn versions is not signed as it should be.
    #[error("the list of withdrawn versions is refused")]
    Verify {
        /// The tool.
        tool: ToolName,
        /// Why.
        source: VerifyError,
    },
    /// The list of withdrawn versions makes no sense, or went back.
    #[error("the list of withdrawn versions is refused")]
    WithdrawnList {
        /// The tool.
        tool: ToolName,
        /// Why.
        source: WithdrawnError,
    },
    /// What this machine remembers could not be read or written.
    #[error(transparent)]
    State(#[from] StateError),
}

fn judged(error: &AnchorError) -> &'static str {
    if error.is_of_this_machine() { "cannot be judged" } else { "is refused" }
}

fn named(tool: &ToolName, wanted: &Wanted) -> String {
    match wanted {
        Wanted::Newest => format!("`{tool}`"),
        Wanted::Under { .. } | Wanted::Exactly(_) => format!("`{tool}` {wanted}"),
    }
}

/// Returns what is typed to get it again.
fn typed(tool: &ToolName, wanted: &Wanted) -> String {
    match wanted {
        Wanted::Newest => tool.to_string(),
        Wanted::Under { .. } | Wanted::Exactly(_) => format!("{tool}@{wanted}"),
    }
}

fn no_version(tool: &ToolName, wanted: &Wanted, published: &[Version]) -> String {
    if published.is_empty() {
        return format!("no version of `{tool}` is published");
    }
    match wanted {
        Wanted::Newest => {
            format!("no version of `{tool}` is completely published for this platform")
        }
        Wanted::Under { .. } | Wanted::Exactly(_) => {
            format!("version `{wanted}` of `{tool}` is not published for this platform")
        }
    }
}

impl PrepareError {
    /// Says whether trying again from the beginning may help: another process was at work.
    pub(super) fn may_pass(&self) -> bool {
        let (Self::Obtain { source, tool: _ } | Self::CachedCopy { source, tool: _ }) = self else {
            return false;
        };
        source.may_pass()
    }

    /// Returns what the user can do about it, if anything.
    pub fn hint(&self) -> Option<String> {
        let program = dbt_core::brand::PROGRAM;
        match self {
            Self::Unreachable { hint: None, .. } => {
                Some(format!("`{program} doctor` checks the connection and the configuration"))
            }
            Self::NotCached { tool, wanted, .. } => Some(format!(
                "`{program} fetch {}` downloads it while the server can be reached",
                typed(tool, wanted)
            )),
            Self::Unreachable { hint: Some(hint), .. } | Self::SignIn { hint: Some(hint), .. } => {
                Some(hint.clone())
            }
            Self::SignIn { hint: None, .. } => Some(format!("`{program} login` signs you in")),
            Self::Credentials { source, .. } => source.hint(),
            Self::Forbidden(_) => {
                Some("ask an administrator of the repository for the right to read it".to_owned())
            }
            Self::NoTool { tool, wanted, cached: true, .. } => Some(runs_copy(tool, wanted)),
            Self::NoTool { tool, names, cached: false, .. } => nearest(tool, names)
                .map(|name| {
                    format!("did you mean `{name}`? `{program} catalog list` shows what there is")
                })
                .or_else(|| Some(format!("`{program} catalog list` shows what there is"))),
            Self::NoVersion { tool, wanted, cached, .. } => {
                let list = format!("`{program} catalog show {tool}` shows what is published");
                Some(if *cached { format!("{}; {list}", runs_copy(tool, wanted)) } else { list })
            }
            Self::Withdrawn { tool, .. } | Self::WithdrawnBytes { tool, .. } => {
                Some(format!("`{program} {tool}` runs the newest version that is not withdrawn"))
            }
            Self::AllWithdrawn { tool, .. } => Some(format!(
                "ask its publisher for a new one; `{program} catalog show {tool}` shows what is published"
            )),
            Self::Rollback { tool, .. } => Some(format!(
                "ask its publisher; `{program} -o {tool}` runs the newest cached copy"
            )),
            Self::Trust(error) => error.hint(),
            Self::Obtain { tool, source } => source.hint(tool),
            Self::CachedCopy { tool, .. } => Some(format!(
                "`{program} fetch {tool}` downloads it again while the server can be reached"
            )),
            Self::Verify { tool, source } => {
                let offline = runs_offline(tool);
                Some(source.hint().map_or_else(|| offline.clone(), |it| format!("{it}; {offline}")))
            }
            Self::WithdrawnList { tool, .. } => {
                Some(format!("tell the repository's administrator; {}", runs_offline(tool)))
            }
            Self::Fetch(_) => Some(format!(
                "tell the repository's administrator; with `-o`, `{program}` runs the newest cached copy, if there is one"
            )),
            Self::State(error) => Some(error.hint()),
        }
    }
}

fn runs_copy(tool: &ToolName, wanted: &Wanted) -> String {
    format!("`{} -o {}` runs the cached copy", dbt_core::brand::PROGRAM, typed(tool, wanted))
}

fn runs_offline(tool: &ToolName) -> String {
    let program = dbt_core::brand::PROGRAM;
    format!("`{program} -o {tool}` runs the newest cached copy, if there is one")
}

/// Finds the name that was probably meant: at most two letters off.
fn nearest<'a>(tool: &ToolName, names: &'a [ToolName]) -> Option<&'a ToolName> {
    names
        .iter()
        .map(|name| (nearest::distance(tool.as_str(), name.as_str()), name))
        .filter(|(distance, _name)| *distance <= 2)
        .min()
        .map(|(_distance, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistyped_name_is_recognised() {
        for (from, to, expected) in [
            ("deploy", "deploy", 0),
            ("deploy", "deplou", 1),
            ("dpeloy", "deploy", 2),
            ("", "abc", 3),
        ] {
            assert_eq!(nearest::distance(from, to), expected, "{from} {to}");
        }
        let names: Vec<ToolName> = ["deploy", "catalog"].map(|name| name.parse().unwrap()).into();
        assert_eq!(nearest(&"depoly".parse().unwrap(), &names), names.first());
        assert_eq!(nearest(&"xyz".parse().unwrap(), &names), None);
    }
}
