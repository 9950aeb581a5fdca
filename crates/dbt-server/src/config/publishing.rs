//! Settings of how files are published and deleted.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::file::Written;
use super::is_inside;
use super::{Config, ConfigError, Decide};
use crate::env::Environment;
use crate::storage::local::{Rules, VerifyUploads};

/// `true`, `false`, `"on"` or `"off"`.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(untagged)]
pub(super) enum Switch {
    /// As JSON has it.
    Flag(bool),
    /// As people say it.
    Word(Word),
}

#[derive(Clone, Copy, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Word {
    On,
    Off,
}

impl Switch {
    const fn is_on(self) -> bool {
        matches!(self, Self::Flag(true) | Self::Word(Word::On))
    }
}

impl fmt::Display for VerifyUploads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::WithTruststore => "on as soon as there is a truststore",
            Self::Always => "on",
            Self::Never => "off",
        })
    }
}

const DAY: u64 = 24 * 60 * 60;

impl Decide<'_> {
    pub(super) fn verify_uploads(&mut self, written: &Written) -> VerifyUploads {
        let given = written.verify_uploads.map(|switch| {
            if switch.is_on() { VerifyUploads::Always } else { VerifyUploads::Never }
        });
        self.or("verifyUploads", self.sourced_if(given), VerifyUploads::default())
    }

    pub(super) fn keep_deleted(&mut self, written: &Written, default: Duration) -> Duration {
        let days = self.sourced_if(written.limits.trash_days);
        let days = self.or(
            "limits.trashDays",
            days,
            u32::try_from(default.as_secs() / DAY).unwrap_or(u32::MAX),
        );
        Duration::from_secs(u64::from(days) * DAY)
    }
}

/// What systemd says of the directory that it made for us.
const STATE_DIRECTORY: &str = "STATE_DIRECTORY";

impl Decide<'_> {
    /// Finds the directory for what is known of the tree; without one, the storage chooses.
    pub(super) fn state_dir(
        &mut self,
        written: &Written,
        environment: &Environment,
        root: &Path,
    ) -> Result<Option<PathBuf>, ConfigError> {
        let given = written.state_dir.clone().filter(|path| !path.is_empty());
        let made = environment.get(STATE_DIRECTORY).filter(|path| !path.is_empty());
        let chosen = self.sourced_if(given).or_else(|| {
            // Several are separated by colons.
            let first = made?.split(':').next()?.to_owned();
            Some((first, format!("variable `{STATE_DIRECTORY}`")))
        });
        let Some(chosen) = chosen else { return Ok(None) };
        let path = PathBuf::from(self.keep("stateDir", chosen));
        if is_inside(root, &path) {
            return Err(ConfigError::FileInRoot { what: "the state directory", path });
        }
        Ok(Some(path))
    }
}

impl Config {
    /// Returns how the tree may be changed.
    pub fn rules(&self) -> Rules {
        Rules {
            state_dir: self.state_dir.clone(),
            immutable: self.immutable,
            refuse_case_variants: self.refuse_case_variants,
            verify: self.verify_uploads,
            keep_deleted: self.limits.keep_deleted,
            listing_entries: self.limits.listing_entries,
            with_quota: self.limits.quotas.iter().map(|quota| quota.path.clone()).collect(),
        }
    }
}
