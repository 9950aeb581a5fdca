//! The signed index of a server (level 2): what its repository has, whoever serves it.
//!
//! Every run verifies what is kept from the pinned root on, and asks for one small document that says whether there is
//! anything newer. What the index lists is then the only thing that is run. (Trust design, 2.6 and 2.8.)

mod adopt;
mod error;
mod kept;

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use dbt_core::layout::{TRUSTSTORE_FILE, Tree};
use dbt_core::platform::Platform;
use dbt_core::release::{ArtifactId, Subject};
use dbt_core::timestamp::{self, Timestamp};
use dbt_core::trust::metadata::{
    ListedArtifact, MetadataError, Search, Step, Target, Trusted, directory_of,
};
use dbt_core::version::Version;

use crate::session::Session;
use crate::source::{Answer, Failure, FetchError, Patience};
use crate::tuf::{self, Beside, Remote, UpdateError};

pub use error::IndexError;

use kept::{OfServer, OnlyKept, Place};

/// How long after its end the index may still bring new versions. (2.8.)
const LATENESS: Duration = Duration::from_hours(3 * 24);

/// How long a root that the timestamp calls the newest one is believed to be that. (2.5.)
const ROOT_PROBE: Duration = Duration::from_hours(24);

/// What a repository has, as far as this run needs it.
#[derive(Debug)]
pub struct SignedIndex {
    trusted: Trusted,
    freshness: Freshness,
}

/// How old what is known is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Freshness {
    /// It is good now.
    Fresh,
    /// It has ended.
    Ended {
        /// What has.
        role: String,
        /// How long ago.
        age: Duration,
    },
}

impl Freshness {
    /// Says whether nothing new is installed any more.
    pub fn is_too_old(&self) -> bool {
        matches!(self, Self::Ended { age, .. } if *age > LATENESS)
    }
}

impl SignedIndex {
    /// Asks the server whether there is anything newer than what is kept, takes it in, and has what it says of these
    /// subjects at hand.
    pub(crate) fn update(
        session: &Session<'_>,
        subjects: &[&Subject],
        patience: &Patience,
        meanwhile: impl FnOnce(&dyn Fn()),
    ) -> Result<Self, IndexError> {
        let place = Place::of(session)?;
        let known = place.look().read("timestamp.json")?;
        let (timestamp, etag) = newest_timestamp(session, known.clone(), patience, meanwhile)?;
        let record = session.state.server()?;
        let now = session.now();
        let is_known = known.as_ref() == Some(&timestamp);
        let is_probed = record.root_probed.is_some_and(|Timestamp(probed)| {
            now.duration_since(probed).is_ok_and(|age| age < ROOT_PROBE)
        });
        if is_known && is_probed {
            let remote = OnlyKept { timestamp: &timestamp };
            // What is not here after all takes the long way.
            if let Ok(index) = Self::unchanged(&place.look(), &remote, subjects, now) {
                if record.timestamp_etag != etag {
                    session.state.change_server(|it| it.timestamp_etag.clone_from(&etag))?;
                }
                return Ok(index);
            }
        }
        let repository = session.repository().tree(Tree::Repository);
        let beside = Beside::of(repository, patience.clone());
        let known_id = record.trust.signed_index.as_ref().map(|it| it.repository_id.as_str());
        let remote = OfServer::new(&timestamp, &beside, known_id);
        let index = {
            let kept = place.locked()?;
            let updated = tuf::refresh(&kept, &remote, now);
            remote.refuse_other_repository()?;
            match updated {
                Ok(mut trusted) => {
                    look_into(&mut trusted, subjects, &kept, &remote)?;
                    Self { trusted, freshness: Freshness::Fresh }
                }
                Err(UpdateError::Refused(MetadataError::Expired { role, expires })) => {
                    Self::recall(&kept, subjects, ended(role, &expires, now), now)?
                }
                Err(error) => return Err(error.into()),
            }
        };
        let own = place.own_words()?;
        session.state.change_server(|record| {
            record.timestamp_etag.clone_from(&etag);
            record.root_probed = Some(Timestamp(now));
            if let Some(index) = &mut record.trust.signed_index {
                index.enforced |= own.enforce;
            }
        })?;
        Ok(index)
    }

    /// Reads what is kept of these subjects, and asks nobody.
    pub(crate) fn kept(session: &Session<'_>, subjects: &[&Subject]) -> Result<Self, IndexError> {
        let kept = Place::of(session)?.look();
        let freshness = match kept::end_of(&kept)? {
            Some(end) => freshness(TIMESTAMP, end, session.now()),
            None => ended(TIMESTAMP.to_owned(), "", session.now()),
        };
        Self::recall(&kept, subjects, freshness, session.now())
    }

    /// Reads what is kept, by signatures alone.
    fn recall(
        kept: &tuf::Kept,
        subjects: &[&Subject],
        freshness: Freshness,
        now: SystemTime,
    ) -> Result<Self, IndexError> {
        let mut trusted = tuf::recall(kept, now)?;
        look_into(&mut trusted, subjects, kept, &OnlyKept { timestamp: &[] })?;
        Ok(Self { trusted, freshness })
    }

    /// Verifies what is kept, from the root on, as the newest that there is.
    fn unchanged(
        kept: &tuf::Kept,
        remote: &dyn Remote,
        subjects: &[&Subject],
        now: SystemTime,
    ) -> Result<Self, IndexError> {
        let mut trusted = tuf::refresh(kept, remote, now)?;
        look_into(&mut trusted, subjects, kept, remote)?;
        Ok(Self { trusted, freshness: Freshness::Fresh })
    }

    /// Says how old it is.
    pub(crate) const fn freshness(&self) -> &Freshness {
        &self.freshness
    }

    /// Returns what it says of an artifact; nothing if it does not list it.
    pub(crate) fn artifact(&self, id: &ArtifactId) -> Result<Option<ListedArtifact>, IndexError> {
        let (_search, target) = self.find(&ListedArtifact::path_of(id))?;
        Ok(target.map(|target| ListedArtifact::of(&target, id)).transpose()?)
    }

    /// Returns the versions of a subject that it lists for one of these platforms.
    pub(crate) fn versions(
        &self,
        subject: &Subject,
        platforms: &[Platform],
    ) -> Result<Vec<Version>, IndexError> {
        let (search, _nothing) = self.find(&probe(subject))?;
        let directory = directory_of(subject);
        let versions: BTreeSet<Version> = self
            .trusted
            .listed(&search, &directory)
            .filter_map(|path| {
                let version: Version =
                    path.strip_prefix(&*directory)?.split('/').next()?.parse().ok()?;
                let id = |platform: &Platform| ArtifactId {
                    subject: subject.clone(),
                    version: version.clone(),
                    platform: *platform,
                };
                let is_for = |platform| ListedArtifact::path_of(&id(platform)) == path;
                platforms.iter().any(is_for).then(|| version.clone())
            })
            .collect();
        Ok(versions.into_iter().collect())
    }

    /// Returns what it says of the truststore.
    pub(crate) fn truststore(&self) -> Result<Target, IndexError> {
        let path = format!("{}{TRUSTSTORE_FILE}", directory_of(&Subject::Program));
        let (_search, target) = self.find(&path)?;
        target.ok_or_else(|| UpdateError::NoTarget { path }.into())
    }

    /// Fetches the truststore, unless it is the one that is known here.
    pub(crate) fn fetch_truststore(
        &self,
        session: &Session<'_>,
        patience: &Patience,
    ) -> Result<Vec<u8>, IndexError> {
        let target = self.truststore()?;
        if let Some(known) = session.state.truststore()?
            && let Ok(matching) = target.clone().verify(known)
        {
            return Ok(matching.bytes().to_vec());
        }
        let repository = session.repository().tree(Tree::Repository);
        let beside = Beside::of(repository, patience.clone());
        let matching = tuf::download(target, true, &beside)?;
        Ok(matching.bytes().to_vec())
    }

    fn find(&self, path: &str) -> Result<(Search, Option<Target>), IndexError> {
        let mut search = Search::of(path);
        let target = match self.trusted.step(&mut search)? {
            Step::Found(target) => Some(target),
            Step::NotFound => None,
            Step::Wanted(wanted) => {
                let file = format!("{}.json", wanted.role().escaped());
                return Err(UpdateError::Missing { file }.into());
            }
        };
        Ok((search, target))
    }
}

/// Returns the server's timestamp, which is the one that is kept if the server says so.
fn newest_timestamp(
    session: &Session<'_>,
    known: Option<Vec<u8>>,
    patience: &Patience,
    meanwhile: impl FnOnce(&dyn Fn()),
) -> Result<(Vec<u8>, Option<String>), IndexError> {
    let etag = session.state.server()?.timestamp_etag.filter(|_etag| known.is_some());
    match session.repository().timestamp(etag.as_deref(), patience, meanwhile) {
        Ok(Answer::Document { bytes, etag }) => Ok((bytes, etag)),
        Ok(Answer::NotModified) => Ok((known.unwrap_or_default(), etag)),
        Err(error) if is_gone(&error) => Err(IndexError::Gone),
        Err(error) => Err(IndexError::Fetch(error)),
    }
}

fn is_gone(error: &FetchError) -> bool {
    matches!(error.failure(), Failure::NotFound | Failure::RootMissing)
}

/// What says how long all of it is good.
const TIMESTAMP: &str = "timestamp";

fn freshness(role: &str, end: SystemTime, now: SystemTime) -> Freshness {
    match now.duration_since(end) {
        Ok(age) => Freshness::Ended { role: role.to_owned(), age },
        Err(_in_the_future) => Freshness::Fresh,
    }
}

fn ended(role: String, expires: &str, now: SystemTime) -> Freshness {
    // Not known to have ended just now: then it is as old as can be.
    let age = timestamp::parse(expires).and_then(|end| now.duration_since(end).ok());
    Freshness::Ended { role, age: age.unwrap_or(Duration::MAX) }
}

/// Takes in the metadata of every role that may list something of these subjects.
fn look_into(
    trusted: &mut Trusted,
    subjects: &[&Subject],
    kept: &tuf::Kept,
    remote: &dyn Remote,
) -> Result<(), IndexError> {
    for subject in subjects {
        match tuf::find(trusted, &probe(subject), kept, remote) {
            Ok(_) | Err(UpdateError::NoTarget { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Returns a path beneath a subject's directory that nothing has: no version is called so. Looking for it leads through
/// every role that may list something there.
fn probe(subject: &Subject) -> String {
    let (directory, name) = (directory_of(subject), subject.name());
    format!("{directory}-/-/-/{name}")
}
