//! Releases, as the API and the storage speak of them.

use std::time::SystemTime;

use dbt_core::repo_path::RepoPath;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::authn::{Caller, Job};
use crate::time;

/// A step of a release.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReleaseStep {
    /// To begin it under this id, unless the caller has one of this version already.
    Begin {
        /// The id.
        id: String,
    },
    /// To begin it like that, and to leave it to whoever may publish the version to finish it.
    Stage {
        /// The id.
        id: String,
        /// Who does.
        by: Stager,
    },
    /// To make what somebody has staged the caller's own, under this id.
    TakeUp {
        /// The id.
        id: String,
    },
    /// To look how far it is.
    Look {
        /// The id.
        id: String,
    },
    /// To publish it.
    Commit {
        /// The id.
        id: String,
    },
    /// To give it up.
    Abandon {
        /// The id.
        id: String,
    },
}

impl ReleaseStep {
    /// Returns the id of the release.
    pub fn id(&self) -> &str {
        match self {
            Self::Begin { id }
            | Self::Stage { id, by: _ }
            | Self::TakeUp { id }
            | Self::Look { id }
            | Self::Commit { id }
            | Self::Abandon { id } => id,
        }
    }
}

/// Who has uploaded a release and left it to others to sign and commit.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Stager {
    /// As whom the server knew them.
    pub subject: String,
    /// The job, where it was one of a CI system.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<Job>,
}

impl Stager {
    /// Returns what is told of a caller.
    pub fn of(caller: &Caller) -> Self {
        let subject = caller.subject().map_or_else(|| "anonymous".to_owned(), ToString::to_string);
        Self { subject, job: caller.job().cloned() }
    }
}

/// How far a release is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReleaseState {
    /// Its id.
    pub id: String,
    /// The directory of its version.
    pub version: RepoPath,
    /// The platforms of which something was uploaded.
    pub platforms: Vec<PlatformState>,
    /// When it goes unless something is added.
    pub expires: SystemTime,
    /// Whether everybody sees it.
    pub is_published: bool,
    /// Who has left it to others to sign and commit, if somebody has.
    pub staged: Option<Stager>,
}

/// How far a platform of a release is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlatformState {
    /// Which, as `os/arch`.
    pub platform: String,
    /// The files that are missing; none if it is whole.
    pub waiting_for: Vec<String>,
}

impl ReleaseState {
    /// Returns it as the API shows it.
    pub fn to_json(&self) -> Value {
        let platform = |it: &PlatformState| {
            json!({
                "platform": it.platform,
                "whole": it.waiting_for.is_empty(),
                "waitingFor": it.waiting_for,
            })
        };
        let platforms: Vec<Value> = self.platforms.iter().map(platform).collect();
        let mut shown = json!({
            "id": self.id,
            "path": format!("/{}/", self.version),
            "state": if self.is_published { "published" } else { "open" },
            "platforms": platforms,
            "expires": time::rfc_3339(self.expires),
        });
        if let Some(Stager { subject, job }) = &self.staged {
            shown["staged"] = json!({ "by": subject });
            if let Some(job) = job {
                shown["staged"]["job"] = json!(job);
            }
        }
        shown
    }
}
