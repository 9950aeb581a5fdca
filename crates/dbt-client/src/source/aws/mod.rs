//! Credentials of AWS, found as every program for it finds them, and the signatures made with them.
//!
//! (AWS SDKs and Tools Reference Guide, "Standardized credential providers".) The chain is our own
//! (docs/design/0019): what is in the environment costs nothing, and what is good for a while is kept
//! in a file of ours, so that a run asks nobody.

mod ask;
mod chain;
mod error;
mod kept;
mod machine;
mod profile;
mod sign;
mod sso;
mod sts;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::SystemTime;

use dbt_core::digest::Digest;
use dbt_core::secret::Secret;

use self::chain::Way;
use self::kept::Kept;
use self::machine::Host;
use self::profile::SharedFiles;
use super::connector::Connector;
use super::patience::Patience;
use crate::settings::Aws as Settings;
use crate::url::Origin;
use crate::url::bucket::{Region, endpoint};

pub use error::AwsError;
pub(super) use sign::{Scope, sign};

/// What signs requests.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Keys {
    /// Which key it is. No secret.
    pub(super) id: String,
    pub(super) secret: Secret<String>,
    /// What belongs to a key that is good for a while.
    pub(super) token: Option<Secret<String>>,
    pub(super) expires: Option<SystemTime>,
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Keys({})", self.id)
    }
}

/// The account of a process at AWS, shared by its threads: everything is found out at most once.
pub(super) struct Aws {
    settings: Settings,
    found: Mutex<BTreeMap<Option<String>, Place>>,
    regions: Mutex<BTreeMap<(Option<Origin>, String), Region>>,
    /// What the shared files say besides credentials.
    files: OnceLock<SharedFiles>,
    /// The buckets whose store does not know the condition of a write.
    unconditional: Mutex<BTreeSet<String>>,
}

/// What was found out about one profile.
type Found = Result<Option<Keys>, AwsError>;

/// Where it is kept once it was found out; locked while somebody finds it out.
type Place = Arc<Mutex<Option<Found>>>;

impl Aws {
    pub(super) fn of(settings: &Settings) -> Self {
        Self {
            settings: settings.clone(),
            found: Mutex::default(),
            regions: Mutex::default(),
            files: OnceLock::new(),
            unconditional: Mutex::default(),
        }
    }

    pub(super) fn now(&self) -> SystemTime {
        self.settings.clock.now()
    }

    /// Returns what requests are signed with: nothing where there is nothing, and buckets are read
    /// as everybody may. Whoever comes second waits for what the first finds out.
    pub(super) fn keys(
        &self,
        profile: Option<&str>,
        connector: &Connector,
        patience: &Patience,
    ) -> Result<Option<Keys>, AwsError> {
        let place = self.place_of(profile);
        let mut found = locked(&place);
        // A publisher may work for longer than a session lasts.
        let has_ended = |found: &Found| {
            let keys = found.as_ref().ok().and_then(Option::as_ref);
            keys.and_then(|keys| keys.expires).is_some_and(|end| end <= self.now())
        };
        if let Some(found) = found.as_ref().filter(|found| !has_ended(found)) {
            return found.clone();
        }
        let outcome = self.find(profile, connector, patience, Freshness::MayBeKept);
        found.insert(outcome).clone()
    }

    /// Gets them anew, because `refused` ones have expired; says whether there are others now.
    pub(super) fn renew(
        &self,
        profile: Option<&str>,
        refused: &Keys,
        connector: &Connector,
        patience: &Patience,
    ) -> Result<bool, AwsError> {
        let place = self.place_of(profile);
        let mut found = locked(&place);
        // Another thread may have been faster.
        let is_other = |found: &Found| matches!(found, Ok(Some(keys)) if keys.id != refused.id || keys.token != refused.token);
        if found.as_ref().is_some_and(is_other) {
            return Ok(true);
        }
        let outcome = self.find(profile, connector, patience, Freshness::Anew);
        let outcome = found.insert(outcome);
        outcome.as_ref().map_err(Clone::clone)?;
        Ok(is_other(outcome))
    }

    /// Returns the region that a bucket was found in, or the one that is said for everything.
    pub(super) fn region_of(&self, endpoint: Option<&Origin>, bucket: &str) -> Option<Region> {
        let key = (endpoint.cloned(), bucket.to_owned());
        locked(&self.regions).get(&key).cloned()
    }

    /// Remembers in which region a bucket is.
    pub(super) fn learn_region(&self, endpoint: Option<&Origin>, bucket: &str, region: Region) {
        locked(&self.regions).insert((endpoint.cloned(), bucket.to_owned()), region);
    }

    /// Says whether the store of a bucket is not known to know no conditions of a write.
    pub(super) fn has_conditions(&self, bucket: &str) -> bool {
        !locked(&self.unconditional).contains(bucket)
    }

    /// Remembers that it knows none.
    pub(super) fn learn_no_conditions(&self, bucket: &str) {
        locked(&self.unconditional).insert(bucket.to_owned());
    }

    /// Returns the region that the environment or the profile says.
    pub(super) fn usual_region(&self, profile: Option<&str>) -> Option<Region> {
        let said = ["AWS_REGION", "AWS_DEFAULT_REGION"].into_iter();
        let mut said = said.filter_map(|name| self.settings.get(name)?.parse().ok());
        said.next().or_else(|| self.said_by_profile(profile, "region")?.parse().ok())
    }

    /// Returns the store that the environment or the profile names in the place of Amazon's.
    pub(super) fn usual_endpoint(&self, profile: Option<&str>) -> Result<Option<Origin>, AwsError> {
        for key in ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"] {
            if let Some(text) = self.settings.get(key) {
                let place = "the environment".to_owned();
                let bad = |problem: crate::url::Reason| AwsError::BadValue {
                    place,
                    key,
                    problem: problem.to_string(),
                };
                return endpoint(text).map(Some).map_err(bad);
            }
        }
        let key = "endpoint_url";
        let Some(text) = self.said_by_profile(profile, key) else { return Ok(None) };
        let place = format!("the AWS profile `{}`", self.profile_name(profile));
        endpoint(&text).map(Some).map_err(|problem| AwsError::BadValue {
            place,
            key,
            problem: problem.to_string(),
        })
    }

    /// Returns what the profile says of something else than credentials.
    fn said_by_profile(&self, profile: Option<&str>, key: &str) -> Option<String> {
        // Where the keys are in the environment no file is read for the rest, unless it is named.
        let is_named = profile.is_some() || self.settings.get("AWS_PROFILE").is_some();
        if self.settings.get("AWS_ACCESS_KEY_ID").is_some() && !is_named {
            return None;
        }
        // What is wrong with them is said where credentials are looked for.
        let read = || SharedFiles::read(&self.settings).unwrap_or_default();
        let files = self.files.get_or_init(read);
        let section = files.profile(&self.profile_name(profile))?;
        profile::value(section, key).map(str::to_owned)
    }

    fn profile_name(&self, profile: Option<&str>) -> String {
        profile.or_else(|| self.settings.get("AWS_PROFILE")).unwrap_or("default").to_owned()
    }

    fn find(
        &self,
        profile: Option<&str>,
        connector: &Connector,
        patience: &Patience,
        freshness: Freshness,
    ) -> Found {
        let asker = Asker { settings: &self.settings, connector, patience };
        for way in chain::ways(&self.settings, profile)? {
            if let Some(keys) = asker.keys(&way, freshness)? {
                return Ok(Some(keys));
            }
        }
        Ok(None)
    }

    fn place_of(&self, profile: Option<&str>) -> Place {
        Arc::clone(locked(&self.found).entry(profile.map(str::to_owned)).or_default())
    }
}

impl fmt::Debug for Aws {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Aws").field(&self.settings).finish()
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether what an earlier run was given may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Freshness {
    MayBeKept,
    /// It was refused.
    Anew,
}

/// Asks for credentials.
struct Asker<'a> {
    settings: &'a Settings,
    connector: &'a Connector,
    patience: &'a Patience,
}

impl Asker<'_> {
    fn now(&self) -> SystemTime {
        self.settings.clock.now()
    }

    /// Returns what a way leads to; nothing where there is nothing.
    fn keys(&self, way: &Way, freshness: Freshness) -> Result<Option<Keys>, AwsError> {
        if let Way::Written(keys) = way {
            return Ok(Some(keys.clone()));
        }
        let from = Digest::of(way.words().as_bytes()).to_string();
        let file = self.settings.kept.as_deref();
        if freshness == Freshness::MayBeKept
            && let Some(file) = file
            && let Some(kept) = kept::find(file, &from, self.now())
        {
            return Ok(match kept {
                Kept::Keys(keys) => Some(keys),
                Kept::Nothing => None,
            });
        }
        let host = self.ask(way)?;
        let keys = match host {
            Host::Keys(keys) => Some(keys),
            Host::Nothing => None,
            Host::Unknown => return Ok(None),
        };
        if let Some(file) = file {
            kept::keep(file, &from, keys.as_ref(), self.now());
        }
        Ok(keys)
    }

    fn ask(&self, way: &Way) -> Result<Host, AwsError> {
        let keys = match way {
            Way::Written(keys) => Ok(keys.clone()),
            Way::Program { profile, line } => machine::of_program(profile, line, self),
            Way::Role { role, source } => {
                let Some(keys) = self.keys(source, Freshness::MayBeKept)? else {
                    return Err(AwsError::NoCredentials { who: source.who() });
                };
                sts::assume(role, &keys, self)
            }
            Way::WebIdentity { role, token_file } => sts::exchange(role, token_file, self),
            Way::SignIn(account) => sso::credentials(account, self),
            Way::Container { url } => machine::of_container(url, self),
            Way::Machine { endpoint } => return machine::of_machine(endpoint, self),
        };
        keys.map(Host::Keys)
    }
}

/// Reads a time as AWS writes it: with or without fractions of a second, in UTC.
fn time(text: &str) -> Option<SystemTime> {
    let text = text.strip_suffix('Z').or_else(|| text.strip_suffix("+00:00"));
    let seconds = text?.split('.').next()?;
    dbt_core::timestamp::parse(&format!("{seconds}Z"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_they_are_written() {
        let expected = dbt_core::timestamp::parse("2026-11-23T10:00:00Z");
        for text in
            ["2026-11-23T10:00:00Z", "2026-11-23T10:00:00.123Z", "2026-11-23T10:00:00+00:00"]
        {
            assert_eq!(time(text), expected, "{text}");
        }
        for text in ["", "2026-11-23", "2026-11-23T10:00:00+01:00", "now"] {
            assert_eq!(time(text), None, "{text}");
        }
    }
}
