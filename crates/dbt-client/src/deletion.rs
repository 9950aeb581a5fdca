//! Deleting published versions: which ones, and then, one after the other, the deed.
//!
//! What is to go is decided and can be shown before anything is done ([`plan`]); what is done
//! follows the plan and nothing else ([`carry_out`]). A tool's list of withdrawn versions stays: it
//! keeps machines that have a copy from running it.

use std::time::{Duration, SystemTime};

use dbt_core::layout::Location;
use dbt_core::platform::Platform;
use dbt_core::release::{ArtifactId, Subject};
use dbt_core::select;
use dbt_core::timestamp;
use dbt_core::version::{Version, Wanted};

use crate::beside;
use crate::catalog::{AT_ONCE, published};
use crate::source::{Class, Destination, FetchError, Patience, Source};

/// Which versions are to go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Choice {
    /// These.
    Named(Vec<Version>),
    /// All there are.
    All,
    /// Those behind the newest releases, as far as they are older than this.
    Old {
        /// How many of the newest releases stay, with the pre-releases that are newer than those.
        keep: u32,
        /// How long ago they must have been signed, if that matters.
        older_than: Option<Duration>,
    },
}

/// What was typed of a choice, before it is one.
#[derive(Debug, Clone, Default)]
pub struct Asked {
    /// Versions by their names.
    pub versions: Vec<Version>,
    /// All of them.
    pub all: bool,
    /// Those that are older than this.
    pub older_than: Option<Duration>,
    /// How many of the newest stay.
    pub keep: Option<u32>,
    /// The newest stays.
    pub keep_latest: bool,
}

impl Asked {
    /// Decides what was meant. Whatever is not said plainly is refused: nothing is deleted by a guess.
    pub fn choice(self) -> Result<Choice, DeletionError> {
        let Self { versions, all, older_than, keep, keep_latest } = self;
        let keep = keep.or(keep_latest.then_some(1));
        let is_of_ages = older_than.is_some() || keep.is_some();
        let ways = [!versions.is_empty(), all, is_of_ages];
        match ways.iter().filter(|way| **way).count() {
            0 => Err(DeletionError::Unclear),
            1 if !versions.is_empty() => Ok(Choice::Named(versions)),
            1 if all => Ok(Choice::All),
            1 if keep == Some(0) => Err(DeletionError::KeepNothing),
            1 => Ok(Choice::Old { keep: keep.unwrap_or(1), older_than }),
            _several => Err(DeletionError::Contradictory),
        }
    }
}

/// What is to be done. Nothing is done yet.
#[derive(Debug)]
pub struct Plan {
    /// Of what.
    pub subject: Subject,
    /// What is to go, the oldest first.
    pub doomed: Vec<Doomed>,
    /// What stays only because nobody knows how old it is.
    pub of_unknown_age: Vec<Version>,
    /// How many versions there are.
    pub published: usize,
}

/// A version that is to go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Doomed {
    /// The version, as its directory is spelt.
    pub version: Version,
    /// When it says that it was signed, where that was asked.
    pub signed: Option<SystemTime>,
}

impl Doomed {
    /// Returns the line about it: `1.4.0 (signed 2026-01-31)`.
    pub fn words(&self) -> String {
        let signed = self.signed.map(|at| format!(" (signed {})", timestamp::format_date(at)));
        format!("{}{}", self.version, signed.unwrap_or_default())
    }
}

impl Plan {
    /// Returns what a person is asked.
    pub fn question(&self, place: &str) -> String {
        let Self { subject, doomed, published, .. } = self;
        let many = doomed.len();
        let all = if many == *published { "all " } else { "" };
        let of = if many == *published { String::new() } else { format!(" of {published}") };
        format!("delete {all}{many}{of} versions of `{subject}` from {place}?")
    }
}

/// A deletion that did not go well.
#[derive(Debug)]
pub struct NotDeleted {
    /// The version.
    pub version: Version,
    /// Why.
    pub error: FetchError,
}

/// Why nothing is deleted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DeletionError {
    /// It was not said what is to go.
    #[error("it is not said which versions are to go")]
    Unclear,
    /// Two ways of saying it.
    #[error(
        "versions, `--all`, and ages or numbers that stay (`--older-than`, `--keep`) do not go together"
    )]
    Contradictory,
    /// To keep none would be all.
    #[error("`--keep 0` would keep nothing")]
    KeepNothing,
    /// A version that is named is not there.
    #[error("version `{version}` of `{subject}` is not published")]
    NotPublished {
        /// The version.
        version: Version,
        /// Of what.
        subject: Subject,
    },
    /// All of the program itself.
    #[error("all versions of `{subject}` itself are not deleted: nobody could get it any more")]
    Program {
        /// Its name.
        subject: Subject,
    },
    /// What is published could not be found out.
    #[error(transparent)]
    Fetch(#[from] FetchError),
}

impl DeletionError {
    /// Returns what a person can do.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Unclear => Some(
                "`--older-than AGE`, `--keep COUNT`, `--keep-latest` or `--all` says it".to_owned(),
            ),
            Self::KeepNothing => Some("`--all` deletes every version".to_owned()),
            Self::Program { .. } => Some("`--keep-latest` leaves the newest".to_owned()),
            Self::Contradictory | Self::NotPublished { .. } => None,
            Self::Fetch(error) => error.hint(),
        }
    }
}

/// Decides which versions go. Only reads.
pub fn plan(
    source: &dyn Source,
    subject: &Subject,
    choice: &Choice,
    now: SystemTime,
    patience: &(impl Fn() -> Patience + Sync),
) -> Result<Plan, DeletionError> {
    if (subject, choice) == (&Subject::Program, &Choice::All) {
        return Err(DeletionError::Program { subject: subject.clone() });
    }
    let listing = source.list(&Location::versions_of(subject).path, &patience())?;
    let versions = listing.versions();
    let mut plan = Plan {
        subject: subject.clone(),
        doomed: Vec::new(),
        of_unknown_age: Vec::new(),
        published: versions.len(),
    };
    let undated = |version: Version| Doomed { version, signed: None };
    match choice {
        Choice::All => plan.doomed = versions.into_iter().map(undated).collect(),
        Choice::Named(named) => {
            for version in named {
                plan.doomed.push(undated(published_as(&versions, version, subject)?));
            }
            plan.doomed.sort_by(|a, b| a.version.cmp(&b.version));
            plan.doomed.dedup();
        }
        Choice::Old { keep, older_than: None } => {
            plan.doomed = behind(&versions, *keep).into_iter().map(undated).collect();
        }
        Choice::Old { keep, older_than: Some(age) } => {
            let behind = behind(&versions, *keep);
            let signed = beside::each(&behind, AT_ONCE, |version| {
                published::signed(source, subject, version, &patience())
            });
            for (version, signed) in behind.into_iter().zip(signed) {
                match signed? {
                    None => plan.of_unknown_age.push(version),
                    // What was signed in the time to come is not old.
                    Some(at) if now.duration_since(at).is_ok_and(|since| since > *age) => {
                        plan.doomed.push(Doomed { version, signed: Some(at) });
                    }
                    Some(_young) => {}
                }
            }
        }
    }
    Ok(plan)
}

/// Returns the versions behind the newest `keep` releases, the oldest first. None while there are
/// not more releases than those.
fn behind(versions: &[Version], keep: u32) -> Vec<Version> {
    let releases = select::candidates(versions, &Wanted::Newest);
    let keep = usize::try_from(keep).unwrap_or(usize::MAX);
    let Some(last) = releases.get(keep.saturating_sub(1)) else { return Vec::new() };
    // Of two spellings of one number both stay, or both go.
    let goes = |version: &&Version| *version < last && !version.same_number(last);
    versions.iter().filter(goes).cloned().collect()
}

/// Finds a version that was named, as its directory is spelt.
fn published_as(
    versions: &[Version],
    named: &Version,
    subject: &Subject,
) -> Result<Version, DeletionError> {
    let same = |version: &&Version| version.same_number(named);
    let not_published =
        || DeletionError::NotPublished { version: named.clone(), subject: subject.clone() };
    versions.iter().filter(same).max().cloned().ok_or_else(not_published)
}

/// Deletes what a plan says, the oldest first, and goes on where one cannot be deleted. `done` is
/// told of each that is gone.
pub fn carry_out(
    plan: &Plan,
    (source, destination): (&dyn Source, &dyn Destination),
    patience: &impl Fn() -> Patience,
    mut done: impl FnMut(&Version),
) -> Vec<NotDeleted> {
    let mut failed = Vec::new();
    for Doomed { version, signed: _ } in &plan.doomed {
        let (subject, platform) = (plan.subject.clone(), Platform::CURRENT);
        let id = ArtifactId { subject, version: version.clone(), platform };
        match destination.delete(&Location::version(&id).path, &patience()) {
            Ok(()) => done(version),
            // Somebody else was faster.
            Err(error) if error.class() == Class::NotFound => done(version),
            Err(error) => failed.push(NotDeleted { version: version.clone(), error }),
        }
    }
    let is_empty = failed.is_empty() && plan.doomed.len() == plan.published;
    if let (true, Subject::Tool(_)) = (is_empty, &plan.subject) {
        remove_if_empty(plan, (source, destination), patience);
    }
    failed
}

/// Removes the directory of a tool that has nothing left, so that it is not listed as one without
/// versions. Servers that remove it by themselves say that there is none.
fn remove_if_empty(
    plan: &Plan,
    (source, destination): (&dyn Source, &dyn Destination),
    patience: &impl Fn() -> Patience,
) {
    let at = Location::versions_of(&plan.subject).path;
    if source.list(&at, &patience()).is_ok_and(|listing| listing.entries().is_empty()) {
        // The versions are gone, which is what was asked for.
        let _only_tidier = destination.delete(&at, &patience());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn versions(texts: &[&str]) -> Vec<Version> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn the_newest_releases_stay_and_the_pre_releases_beyond_them() {
        let check = |published: &[&str], keep, expected: &[&str]| {
            let mut published = versions(published);
            published.sort();
            let gone = behind(&published, keep);
            let gone: Vec<&str> = gone.iter().map(Version::spelling).collect();
            assert_eq!(gone, expected, "{keep}");
        };
        let four = &["1.9.0", "1.10.0", "2.0.0-rc.1", "1.2.0", "1.10.0-rc.1"];
        check(four, 1, &["1.2.0", "1.9.0", "1.10.0-rc.1"]);
        check(four, 2, &["1.2.0"]);
        check(four, 3, &[]);
        check(four, u32::MAX, &[]);
        check(&["1.0.0-rc.1", "1.0.0-rc.2"], 1, &[]);
        check(&["v1.0.0", "1.0.0", "0.9.0"], 1, &["0.9.0"]);
        check(&[], 1, &[]);
    }

    #[test]
    fn nothing_is_deleted_by_a_guess() {
        let asked = Asked::default;
        let age = Some(Duration::from_secs(1));
        assert!(matches!(asked().choice(), Err(DeletionError::Unclear)));
        for contradictory in [
            Asked { all: true, keep: Some(1), ..asked() },
            Asked { all: true, older_than: age, ..asked() },
            Asked { all: true, versions: versions(&["1.0.0"]), ..asked() },
            Asked { versions: versions(&["1.0.0"]), keep_latest: true, ..asked() },
        ] {
            assert!(matches!(contradictory.choice(), Err(DeletionError::Contradictory)));
        }
        let none = Asked { keep: Some(0), older_than: age, ..asked() };
        assert!(matches!(none.choice(), Err(DeletionError::KeepNothing)));
        let old = Asked { older_than: age, ..asked() }.choice().unwrap();
        assert_eq!(old, Choice::Old { keep: 1, older_than: age }, "the newest stays");
        let two = Asked { keep: Some(2), ..asked() }.choice().unwrap();
        assert_eq!(two, Choice::Old { keep: 2, older_than: None });
    }
}
