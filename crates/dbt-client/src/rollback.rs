//! Holding this machine on an earlier version of a tool. (Product register, `dbt rollback`.)

use dbt_core::name::ToolName;
use dbt_core::release::Subject;
use dbt_core::version::Version;

use crate::session::Session;
use crate::state::{Hold, InstalledVersion, StateError, ToolRecord};

/// Holds a tool on an installed version: the one named, else the one before the newest here.
///
/// It needs no network. The hold ends by itself when a version newer than the one left behind is
/// published, or by [`undo`].
pub fn hold(
    session: &Session<'_>,
    tool: &ToolName,
    version: Option<&Version>,
) -> Result<Hold, RollbackError> {
    let subject = Subject::Tool(tool.clone());
    let record = session.record(&subject)?;
    let left = left_behind(&record).ok_or_else(|| RollbackError::NothingHere(tool.clone()))?;
    let chosen = if let Some(version) = version {
        installed(&record).find(|entry| entry.same_number(version))
    } else {
        let current = record.hold.as_ref().map_or(&left, |hold| &hold.version);
        installed(&record).filter(|entry| entry.cmp_number(current).is_lt()).max()
    };
    let version = chosen.cloned().ok_or_else(|| match version {
        Some(version) => RollbackError::NotHere { tool: tool.clone(), version: version.clone() },
        None => RollbackError::NoEarlier(tool.clone()),
    })?;
    let hold = Hold { version, left };
    session.state.change_tool(&subject, |record| record.hold = Some(hold.clone()))?;
    Ok(hold)
}

/// Ends a hold. Says what it was, if there was one.
pub fn undo(session: &Session<'_>, tool: &ToolName) -> Result<Option<Hold>, RollbackError> {
    let mut ended = None;
    session.state.change_tool(&Subject::Tool(tool.clone()), |record| ended = record.hold.take())?;
    Ok(ended)
}

/// The version that is left behind: of the first step back, if there are several.
fn left_behind(record: &ToolRecord) -> Option<Version> {
    record.hold.as_ref().map(|hold| hold.left.clone()).or_else(|| installed(record).max().cloned())
}

fn installed(record: &ToolRecord) -> impl Iterator<Item = &Version> {
    let may_run = |entry: &&InstalledVersion| {
        let withdrawn = record.history.withdrawn();
        withdrawn
            .is_none_or(|list| list.reason_against(&entry.version, Some(entry.sha256)).is_none())
    };
    record.installed.iter().filter(may_run).map(|entry| &entry.version)
}

/// Why a machine cannot be held on an earlier version.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RollbackError {
    /// Nothing of the tool is installed.
    #[error("no version of `{0}` is installed here")]
    NothingHere(ToolName),
    /// The version named is not installed.
    #[error("`{tool}` {version} is not installed here")]
    NotHere {
        /// The tool.
        tool: ToolName,
        /// The version.
        version: Version,
    },
    /// There is nothing older.
    #[error("no earlier version of `{0}` is installed here")]
    NoEarlier(ToolName),
    /// What is remembered could not be read or written.
    #[error(transparent)]
    State(#[from] StateError),
}

impl RollbackError {
    /// Returns what the user can do about it, if anything.
    pub fn hint(&self) -> Option<String> {
        let program = dbt_core::brand::PROGRAM;
        match self {
            Self::NotHere { tool, version } => {
                Some(format!("`{program} fetch {tool}@{version}` installs it"))
            }
            Self::NoEarlier(tool) => Some(format!(
                "`{program} catalog show {tool}` shows what is published; `{program} rollback {tool} VERSION` goes there"
            )),
            Self::NothingHere(_) | Self::State(_) => None,
        }
    }
}
