//! What this machine has seen of one tool: pure decisions about rollbacks and changes.
//! (Trust design, 2.5 `floors`, 2.7; product register, "Removed or changed releases".)

use std::cmp::Ordering;
use std::collections::BTreeMap;

use crate::digest::Digest;
use crate::release::ArtifactId;
use crate::version::{Version, Wanted};

use super::withdrawn::{Withdrawn, WithdrawnError, WithdrawnVersion};

/// What has been seen of one tool, or of dbt itself, on one server.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(default)]
pub struct History {
    /// The newest release that was ever chosen.
    newest: Option<Version>,
    /// The digest of each artifact, by `version/os/arch`.
    artifacts: BTreeMap<String, Digest>,
    /// A signature that names the tool has been seen.
    bound: bool,
    /// The removal of the newest release has been said, down to this version.
    removal_said: Option<Version>,
    /// The withdrawn versions last verified.
    withdrawn: Option<Withdrawn>,
}

/// How many digests are remembered for one tool: enough for every version that people keep, small
/// enough that a hostile listing cannot fill the disk.
const ARTIFACTS_LIMIT: usize = 256;

/// What differs from what was seen before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Deviation {
    /// The newest version seen is not published any more.
    Removed {
        /// What was the newest.
        seen: Version,
        /// What is the newest now.
        now: Version,
        /// It has been said before.
        said: bool,
    },
    /// The newest version seen was withdrawn by its publisher.
    Withdrawn {
        /// What was the newest.
        seen: Version,
        /// What is chosen now.
        now: Version,
        /// Why it was withdrawn. Text from outside.
        reason: String,
        /// It has been said before.
        said: bool,
    },
    /// A version has other bytes than before.
    Changed {
        /// The version.
        version: Version,
        /// What it had.
        before: Digest,
        /// What it has.
        after: Digest,
    },
}

impl History {
    /// Says whether signatures must name what they sign, because earlier ones did.
    pub const fn must_be_bound(&self) -> bool {
        self.bound
    }

    /// Returns the newest release that was ever chosen.
    pub const fn newest(&self) -> Option<&Version> {
        self.newest.as_ref()
    }

    /// Returns the digest that an artifact had when it was last verified.
    pub fn digest_of(&self, id: &ArtifactId) -> Option<Digest> {
        self.artifacts.get(&artifact_key(id)).copied()
    }

    /// Compares the newest published version with the newest ever seen.
    ///
    /// Leaving a version that its publisher withdrew is allowed by the signed list that says so,
    /// down to the newest release below it that was ever verified here.
    pub fn compare_newest(&self, newest: &Version) -> Option<Deviation> {
        let seen = self.newest.as_ref()?;
        if newest.cmp_number(seen).is_ge() {
            return None;
        }
        let (now, said) = (newest.clone(), self.removal_said.as_ref() == Some(newest));
        let Some(reason) = self.withdrawal_of(seen) else {
            return Some(Deviation::Removed { seen: seen.clone(), now, said });
        };
        match self.newest_below(seen) {
            Some(floor) if now.cmp_number(&floor).is_lt() => {
                Some(Deviation::Removed { seen: floor, now, said })
            }
            _ => {
                let (seen, reason) = (seen.clone(), reason.to_owned());
                Some(Deviation::Withdrawn { seen, now, reason, said })
            }
        }
    }

    /// Returns why a version was withdrawn: by its number, or by bytes that it had here.
    fn withdrawal_of(&self, version: &Version) -> Option<&str> {
        let list = self.withdrawn.as_ref()?;
        let had = self.artifacts.iter().filter(|(key, _digest)| {
            version_of(key).is_some_and(|other| other.same_number(version))
        });
        let mut had = had.map(|(_key, digest)| Some(*digest));
        list.reason_against(version, None)
            .or_else(|| had.find_map(|digest| list.reason_against(version, digest)))
    }

    /// Returns the newest release below a version that was verified here and is not withdrawn.
    fn newest_below(&self, version: &Version) -> Option<Version> {
        self.verified()
            .filter(|other| other.cmp_number(version).is_lt())
            .max_by(Version::cmp_number)
    }

    /// Compares an artifact's digest with the one seen before.
    pub fn compare_digest(&self, id: &ArtifactId, digest: Digest) -> Option<Deviation> {
        let before = self.digest_of(id)?;
        (before != digest).then(|| Deviation::Changed {
            version: id.version.clone(),
            before,
            after: digest,
        })
    }

    /// Remembers a verified artifact. `is_newest` says that it was chosen as the newest release.
    pub fn record(&mut self, id: &ArtifactId, digest: Digest, bound: bool, is_newest: bool) {
        self.bound |= bound;
        self.artifacts.insert(artifact_key(id), digest);
        while self.artifacts.len() > ARTIFACTS_LIMIT {
            self.artifacts.pop_first();
        }
        if !is_newest {
            return;
        }
        match self.newest.as_ref().map(|newest| id.version.cmp_number(newest)) {
            None | Some(Ordering::Greater) => {
                self.newest = Some(id.version.clone());
                self.removal_said = None;
            }
            // It is back.
            Some(Ordering::Equal) => self.removal_said = None,
            Some(Ordering::Less) => {}
        }
    }

    /// Returns what the server named last instead of the newest version seen, if it did: what is
    /// newer than this is not published any more.
    pub const fn went_back_to(&self) -> Option<&Version> {
        self.removal_said.as_ref()
    }

    /// Compares a version with the newest release that was verified here among those that
    /// `wanted` means, leaving out what is withdrawn.
    pub fn compare_under(&self, wanted: &Wanted, version: &Version) -> Option<Deviation> {
        let seen =
            self.verified().filter(|other| wanted.admits(other)).max_by(Version::cmp_number)?;
        let (now, said) = (version.clone(), self.removal_said.as_ref() == Some(version));
        now.cmp_number(&seen).is_lt().then_some(Deviation::Removed { seen, now, said })
    }

    /// Lists the releases that were verified here and are not withdrawn.
    fn verified(&self) -> impl Iterator<Item = Version> {
        let list = self.withdrawn.as_ref();
        let is_withdrawn = move |version: &Version, digest| {
            list.is_some_and(|list| list.reason_against(version, Some(digest)).is_some())
        };
        self.artifacts
            .iter()
            .filter_map(|(key, digest)| Some((version_of(key)?, *digest)))
            .filter(|(version, _digest)| !version.is_pre_release())
            .filter(move |(version, digest)| !is_withdrawn(version, *digest))
            .map(|(version, _digest)| version)
    }

    /// Remembers that the removal of the newest version has been said.
    pub fn removal_said(&mut self, now: &Version) {
        self.removal_said = Some(now.clone());
    }

    /// Returns the withdrawn versions, as last verified.
    pub const fn withdrawn(&self) -> Option<&Withdrawn> {
        self.withdrawn.as_ref()
    }

    /// Takes in a verified list of withdrawn versions; its serial may only rise, and what was
    /// withdrawn once stays withdrawn.
    pub fn withdraw(&mut self, mut list: Withdrawn) -> Result<(), WithdrawnError> {
        if let Some(known) = &self.withdrawn {
            if list.serial < known.serial {
                let (offered, known) = (list.serial, known.serial);
                return Err(WithdrawnError::Rollback { offered, known });
            }
            for entry in &known.versions {
                let same = |it: &&mut WithdrawnVersion| it.version.same_number(&entry.version);
                let Some(listed) = list.versions.iter_mut().find(same) else {
                    list.versions.push(entry.clone());
                    continue;
                };
                for digest in &entry.sha256 {
                    if !listed.sha256.contains(digest) {
                        listed.sha256.push(*digest);
                    }
                }
            }
        }
        self.withdrawn = Some(list);
        Ok(())
    }
}

/// Returns the version in the key of an artifact.
fn version_of(key: &str) -> Option<Version> {
    key.split('/').next()?.parse().ok()
}

fn artifact_key(id: &ArtifactId) -> String {
    format!("{}/{}", id.version, id.platform)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::name::ToolName;
    use crate::platform::Platform;
    use crate::release::Subject;

    fn id(version: &str) -> ArtifactId {
        ArtifactId {
            subject: Subject::Tool("deploy".parse().unwrap()),
            version: version.parse().unwrap(),
            platform: Platform::CURRENT,
        }
    }

    #[test]
    fn a_removed_newest_version_is_a_deviation_and_is_said_once() {
        let mut history = History::default();
        history.record(&id("1.5.0"), Digest::of(b"a"), false, true);
        let newest: Version = "1.4.0".parse().unwrap();
        let deviation = |history: &History, said| {
            assert_eq!(
                history.compare_newest(&newest),
                Some(Deviation::Removed {
                    seen: "1.5.0".parse().unwrap(),
                    now: newest.clone(),
                    said
                })
            );
        };
        deviation(&history, false);
        history.removal_said(&newest);
        deviation(&history, true);
        assert_eq!(history.compare_newest(&"1.5.0".parse().unwrap()), None);
    }

    #[test]
    fn leaving_a_withdrawn_version_is_allowed_down_to_the_one_before() {
        let tool: ToolName = "deploy".parse().unwrap();
        let mut history = History::default();
        for version in ["1.3.0", "1.4.0", "1.4.1-rc.1", "1.5.0"] {
            history.record(&id(version), Digest::of(version.as_bytes()), false, true);
        }
        history.newest = Some("1.5.0".parse().unwrap());
        let withdrawn = WithdrawnVersion {
            version: "1.5.0".parse().unwrap(),
            sha256: Vec::new(),
            reason: "bad".to_owned(),
        };
        let list = Withdrawn { serial: 1, versions: vec![withdrawn], ..Withdrawn::new(&tool) };
        history.withdraw(list).unwrap();
        let compare = |now: &str| history.compare_newest(&now.parse().unwrap());
        let (seen, now) = ("1.5.0".parse().unwrap(), "1.4.0".parse().unwrap());
        let left = Deviation::Withdrawn { seen, now, reason: "bad".to_owned(), said: false };
        assert_eq!(compare("1.4.0"), Some(left));
        assert!(matches!(compare("1.3.0"), Some(Deviation::Removed { .. })));
    }

    #[test]
    fn running_an_old_version_on_request_does_not_lower_the_floor() {
        let mut history = History::default();
        history.record(&id("1.5.0"), Digest::of(b"a"), false, true);
        history.record(&id("1.4.0"), Digest::of(b"b"), false, false);
        assert!(history.compare_newest(&"1.4.0".parse().unwrap()).is_some());
    }

    #[test]
    fn other_bytes_under_a_known_version_are_a_deviation() {
        let mut history = History::default();
        history.record(&id("1.5.0"), Digest::of(b"a"), true, true);
        assert!(history.must_be_bound());
        assert_eq!(history.compare_digest(&id("1.5.0"), Digest::of(b"a")), None);
        assert!(history.compare_digest(&id("1.5.0"), Digest::of(b"b")).is_some());
        assert_eq!(history.compare_digest(&id("1.6.0"), Digest::of(b"b")), None);
    }

    #[test]
    fn what_was_withdrawn_once_stays_withdrawn() {
        let tool: ToolName = "deploy".parse().unwrap();
        let entry = |version: &str| WithdrawnVersion {
            version: version.parse().unwrap(),
            sha256: Vec::new(),
            reason: "bad".to_owned(),
        };
        let list = |serial, versions: &[&str]| Withdrawn {
            serial,
            versions: versions.iter().map(|version| entry(version)).collect(),
            ..Withdrawn::new(&tool)
        };
        let mut history = History::default();
        history.withdraw(list(2, &["1.0.0"])).unwrap();
        assert!(history.withdraw(list(1, &[])).is_err());
        history.withdraw(list(3, &["2.0.0"])).unwrap();
        let known = history.withdrawn().unwrap();
        assert_eq!(known.reason_against(&"1.0.0".parse().unwrap(), None), Some("bad"));
    }

    #[test]
    fn bytes_that_were_withdrawn_stay_withdrawn_when_a_later_list_leaves_them_out() {
        let tool: ToolName = "deploy".parse().unwrap();
        let list = |serial, sha256: &[Digest]| {
            let version = WithdrawnVersion {
                version: "1.0.0".parse().unwrap(),
                sha256: sha256.to_vec(),
                reason: "bad".to_owned(),
            };
            Withdrawn { serial, versions: vec![version], ..Withdrawn::new(&tool) }
        };
        let mut history = History::default();
        history.withdraw(list(1, &[Digest::of(b"bad")])).unwrap();
        history.withdraw(list(2, &[])).unwrap();
        let known = history.withdrawn().unwrap();
        let again = "1.0.1".parse().unwrap();
        assert_eq!(known.reason_against(&again, Some(Digest::of(b"bad"))), Some("bad"));
    }

    #[test]
    fn what_the_server_went_back_to_is_known_until_the_newest_is_back() {
        let mut history = History::default();
        let record = |history: &mut History, version: &str| {
            history.record(&id(version), Digest::of(version.as_bytes()), false, true);
        };
        record(&mut history, "1.5.0");
        history.removal_said(&"1.4.0".parse().unwrap());
        record(&mut history, "1.4.0");
        assert_eq!(history.went_back_to().map(Version::spelling), Some("1.4.0"));
        record(&mut history, "1.5.0");
        assert_eq!(history.went_back_to(), None);
    }

    #[test]
    fn within_what_is_wanted_older_than_verified_before_is_a_deviation() {
        let mut history = History::default();
        for version in ["1.4.0", "1.5.0", "1.6.0-rc.1", "2.0.0"] {
            history.record(&id(version), Digest::of(version.as_bytes()), false, false);
        }
        let compare = |wanted: &str, now: &str| {
            history.compare_under(&wanted.parse().unwrap(), &now.parse().unwrap())
        };
        assert!(matches!(compare("1", "1.4.0"), Some(Deviation::Removed { .. })));
        assert_eq!(compare("1", "1.5.0"), None);
        assert_eq!(compare("1.4", "1.4.0"), None);
        assert_eq!(compare("3", "3.0.0"), None);
    }
}
