//! A tool's withdrawn versions: signed, bound to the tool, and only ever growing.
//! (Trust design, 2.7.)

use crate::digest::Digest;
use crate::name::ToolName;
use crate::version::Version;

/// The schema name of the file.
pub const WITHDRAWN_SCHEMA: &str = "dbt.withdrawn/1";

/// The most bytes such a file may have.
pub const WITHDRAWN_LIMIT: u64 = 1024 * 1024;

/// The versions of one tool that never run again.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Withdrawn {
    /// [`WITHDRAWN_SCHEMA`].
    pub schema: String,
    /// The tool.
    pub tool: String,
    /// Rises with every change; a lower one is refused.
    pub serial: u64,
    /// When it was made, RFC 3339.
    pub issued: String,
    /// What is withdrawn.
    pub versions: Vec<WithdrawnVersion>,
}

/// One withdrawn version.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct WithdrawnVersion {
    /// The version.
    pub version: Version,
    /// The digests of its artifacts, so that the same bytes do not come back under another name.
    #[serde(default)]
    pub sha256: Vec<Digest>,
    /// Why, for people.
    #[serde(default)]
    pub reason: String,
}

impl Withdrawn {
    /// Starts a tool's file.
    pub fn new(tool: &ToolName) -> Self {
        Self {
            schema: WITHDRAWN_SCHEMA.to_owned(),
            tool: tool.to_string(),
            serial: 0,
            issued: String::new(),
            versions: Vec::new(),
        }
    }

    /// Reads a file and checks that it is about this tool.
    pub fn parse(bytes: &[u8], tool: &ToolName) -> Result<Self, WithdrawnError> {
        let withdrawn: Self = serde_json::from_slice(bytes).map_err(WithdrawnError::Json)?;
        if withdrawn.schema != WITHDRAWN_SCHEMA {
            return Err(WithdrawnError::Schema);
        }
        if withdrawn.tool != tool.as_str() {
            return Err(WithdrawnError::OtherTool(withdrawn.tool));
        }
        Ok(withdrawn)
    }

    /// Returns why a version may not run, if it is withdrawn, by its number or by its bytes.
    pub fn reason_against(&self, version: &Version, digest: Option<Digest>) -> Option<&str> {
        self.versions
            .iter()
            .find(|entry| {
                entry.version.same_number(version)
                    || digest.is_some_and(|digest| entry.sha256.contains(&digest))
            })
            .map(|entry| entry.reason.as_str())
    }
}

/// Why a file of withdrawn versions was not accepted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WithdrawnError {
    /// It is not JSON of the right shape.
    #[error("failed to read the list of withdrawn versions")]
    Json(#[source] serde_json::Error),
    /// A newer program wrote it.
    #[error("the list of withdrawn versions has a schema that this version does not know")]
    Schema,
    /// It is another tool's.
    #[error("the list of withdrawn versions is about `{}`", .0.escape_debug())]
    OtherTool(String),
    /// An older one is offered.
    #[error("the list of withdrawn versions went back from serial {known} to {offered}")]
    Rollback {
        /// The serial offered.
        offered: u64,
        /// The serial seen before.
        known: u64,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_withdrawn_by_its_number_and_by_its_bytes() {
        let tool: ToolName = "deploy".parse().unwrap();
        let mut withdrawn = Withdrawn::new(&tool);
        withdrawn.versions.push(WithdrawnVersion {
            version: "1.4.0".parse().unwrap(),
            sha256: vec![Digest::of(b"bad")],
            reason: "deletes the database".to_owned(),
        });
        let reason = |version: &str, bytes: &[u8]| {
            withdrawn.reason_against(&version.parse().unwrap(), Some(Digest::of(bytes)))
        };
        assert_eq!(reason("v1.4.0", b"other"), Some("deletes the database"));
        assert_eq!(reason("1.4.1", b"bad"), Some("deletes the database"));
        assert_eq!(reason("1.4.1", b"good"), None);
    }

    #[test]
    fn the_list_of_another_tool_is_refused() {
        let other: ToolName = "other".parse().unwrap();
        let bytes = serde_json::to_vec(&Withdrawn::new(&other)).unwrap();
        let error = Withdrawn::parse(&bytes, &"deploy".parse().unwrap()).unwrap_err();
        assert_eq!(error.to_string(), "the list of withdrawn versions is about `other`");
    }
}
