//! Versions that wait on a `reposerver` for a signature: how they are begun, taken up, and compared
//! with what is published.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use dbt_client::source::{Begin, Class, Release, ReleaseError, Releases, Staged};
use dbt_core::digest::{CHECKSUM_FILE_LIMIT, Digest};
use dbt_core::layout::{CHECKSUM_ENDING, Location};
use dbt_core::platform::Platform;
use dbt_core::release::{ArtifactId, Subject};
use dbt_core::version::Version;
use dbt_ui::exit_code::ExitCode;
use serde_json::{Value, json};

use crate::exchange::{Exchange, Spot};
use crate::place::Place;
use crate::stop::{Explained, Stop};

/// Returns the releases of the server where something is published.
pub(crate) fn releases(
    subject: &Subject,
    place: &Place,
    exchange: &Exchange,
) -> Result<Releases, Stop> {
    let base = place.tree(Location::versions_of(subject).tree)?;
    exchange.releases(base).ok_or_else(|| {
        let (what, hint) = if base.directory().is_some() {
            ("a directory", "copy what was built to where the key is, and publish it from there: `publisher publish TOOL VERSION DIR`")
        } else {
            ("not one of the repositories of a server", "`--to URL` names the root of a `reposerver`")
        };
        Stop::usage(format!("`{base}` cannot hold a version back: it is {what}")).hint(hint)
    })
}

/// An open release that is ours.
pub(crate) struct Draft<'a> {
    releases: &'a Releases,
    pub(crate) release: Release,
}

impl<'a> Draft<'a> {
    /// Goes on with what was staged, by us or by another job, or begins.
    pub(crate) fn go_on(
        releases: &'a Releases,
        subject: &Subject,
        version: &Version,
    ) -> Result<Self, Stop> {
        let release = match releases.begin(subject, version, Begin::TakeUp) {
            Err(ReleaseError::Nothing) => releases.begin(subject, version, Begin::Own),
            known => known,
        };
        Ok(Self { releases, release: release? })
    }

    /// Begins one of our own, or goes on with it; nothing if the server knows none, or none for us:
    /// what may be written without is written file by file.
    pub(crate) fn own(
        releases: &'a Releases,
        subject: &Subject,
        version: &Version,
    ) -> Result<Option<Self>, Stop> {
        match releases.begin(subject, version, Begin::Own) {
            Err(ReleaseError::NotKnown { .. }) => Ok(None),
            Err(error) if is_refusal(&error) => Ok(None),
            release => Ok(Some(Self { releases, release: release? })),
        }
    }

    /// Makes what was staged ours; nothing if nothing is, or the server knows nothing of that.
    pub(crate) fn take_up(
        releases: &'a Releases,
        subject: &Subject,
        version: &Version,
    ) -> Result<Option<Self>, ReleaseError> {
        match releases.begin(subject, version, Begin::TakeUp) {
            // An older `reposerver` does not know the word (400).
            Err(
                ReleaseError::Nothing
                | ReleaseError::NotKnown { .. }
                | ReleaseError::Refused { status: 400, .. },
            ) => Ok(None),
            Err(error) => Err(error),
            Ok(release) => Ok(Some(Self { releases, release })),
        }
    }

    /// Lets everybody see it.
    pub(crate) fn commit(&self) -> Result<(), Stop> {
        Ok(self.releases.commit(&self.release)?)
    }

    /// Gives it up with everything in it.
    pub(crate) fn abandon(&self) -> Result<(), Stop> {
        match self.releases.abandon(&self.release) {
            Err(ReleaseError::Nothing) => Ok(()),
            outcome => Ok(outcome?),
        }
    }

    /// Returns the platforms of which there is something.
    pub(crate) fn platforms(&self) -> Result<Vec<Platform>, Stop> {
        let mut platforms = Vec::new();
        for held in &self.release.platforms {
            let platform = held.platform.parse().map_err(|_unknown| {
                Stop::refused(format!(
                    "refusing to sign something for `{}`: no client runs it",
                    held.platform
                ))
            })?;
            platforms.push(platform);
        }
        Ok(platforms)
    }

    /// Says who has uploaded it.
    pub(crate) fn by(&self) -> String {
        let Some(Staged { by, job }) = &self.release.staged else {
            return "uploaded by you".to_owned();
        };
        let mut words = format!("staged by `{by}`");
        if let Some(job) = job {
            // Writing to a string cannot fail.
            let _infallible = write!(words, ", run {} of `{}`", job.run, job.repository);
            if let Some(sha) = &job.sha {
                let _infallible = write!(words, " at {sha}");
            }
        }
        words
    }
}

/// The newest version that is published, to compare with.
pub(crate) struct Before {
    version: Version,
    platforms: BTreeMap<Platform, Known>,
}

/// What is published for a platform.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Known {
    length: Option<u64>,
    sha256: Option<Digest>,
}

/// What is about to be published for a platform.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Now {
    pub(crate) platform: Platform,
    pub(crate) length: u64,
    pub(crate) sha256: Digest,
}

impl Before {
    /// Looks for the newest version beside this one. It is shown, and nothing is decided by it.
    pub(crate) fn find(
        subject: &Subject,
        version: &Version,
        place: &Place,
        exchange: &Exchange,
    ) -> Result<Option<Self>, Stop> {
        let listing = exchange.list(&Spot::of(place, &Location::versions_of(subject))?)?;
        let published = listing.map(|listing| listing.versions()).unwrap_or_default();
        let newest = published.into_iter().filter(|one| !one.same_number(version)).max();
        let Some(newest) = newest else { return Ok(None) };
        let mut platforms = BTreeMap::new();
        for platform in Platform::ALL {
            let (subject, version) = (subject.clone(), newest.clone());
            let at = Location::artifact(&ArtifactId { subject, version, platform });
            let checksum = Spot::of(place, &at.with_ending(CHECKSUM_ENDING))?;
            let Some(checksum) = exchange.get(&checksum, CHECKSUM_FILE_LIMIT)? else { continue };
            let sha256 = Digest::from_checksum_file(&checksum).ok();
            let length = exchange.length(&Spot::of(place, &at)?)?;
            platforms.insert(platform, Known { length, sha256 });
        }
        Ok(Some(Self { version: newest, platforms }))
    }
}

/// Says in lines what changes.
pub(crate) fn changes(before: Option<&Before>, now: &[Now]) -> String {
    let mut lines = String::new();
    for Now { platform, length, sha256 } in now {
        let known =
            before.and_then(|before| Some((&before.version, before.platforms.get(platform)?)));
        let compared = match known {
            None => "new".to_owned(),
            Some((version, known)) if known.sha256 == Some(*sha256) => format!("as in {version}"),
            Some((version, Known { length: Some(old), .. })) => {
                let (sign, by) =
                    if length < old { ('-', old - length) } else { ('+', length - old) };
                format!("{sign}{by} since {version}")
            }
            Some((version, Known { length: None, .. })) => format!("not as in {version}"),
        };
        // Writing to a string cannot fail.
        let _infallible = writeln!(lines, "{platform}  {length} bytes ({compared})  {sha256}");
    }
    for (before, platform) in gone(before, now) {
        let _infallible = writeln!(lines, "{platform}  is in {before} and not in this version");
    }
    lines
}

/// Says the same for scripts.
pub(crate) fn changes_json(before: Option<&Before>, now: &[Now]) -> Value {
    let platforms: Vec<Value> = now
        .iter()
        .map(|Now { platform, length, sha256 }| {
            let known = before.and_then(|before| before.platforms.get(platform));
            let known = known.map(|it| json!({ "size": it.length, "sha256": it.sha256 }));
            json!({ "platform": platform.to_string(), "size": length, "sha256": sha256, "before": known })
        })
        .collect();
    let gone: Vec<String> =
        gone(before, now).map(|(_version, platform)| platform.to_string()).collect();
    let version = before.map(|before| &before.version);
    json!({ "since": version, "platforms": platforms, "gone": gone })
}

/// Returns the platforms that are left out.
fn gone<'a>(
    before: Option<&'a Before>,
    now: &'a [Now],
) -> impl Iterator<Item = (&'a Version, &'a Platform)> {
    let known = before.into_iter().flat_map(|it| it.platforms.keys().map(|one| (&it.version, one)));
    known.filter(|(_version, platform)| !now.iter().any(|now| now.platform == **platform))
}

impl Explained for ReleaseError {
    fn code(&self) -> ExitCode {
        match self {
            Self::Fetch(error) => error.code(),
            Self::NotKnown { .. } => ExitCode::USAGE,
            Self::Nothing => ExitCode::NOT_FOUND,
            Self::Incomplete { .. } | Self::Refused { .. } => ExitCode::REFUSED,
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            Self::Fetch(error) => error.hints(),
            Self::NotKnown { .. } => {
                vec!["where nothing can be held back, publish from where the key is".to_owned()]
            }
            Self::Nothing => {
                vec!["somebody else has taken it up meanwhile: look again".to_owned()]
            }
            Self::Incomplete { .. } => {
                let platforms = "somebody with the same sign-in publishes these platforms, or has";
                vec![format!("{platforms} begun to: all appear when they are complete")]
            }
            Self::Refused { .. } => Vec::new(),
        }
    }
}

/// Says whether a server refuses who asks.
pub(crate) fn is_refusal(error: &ReleaseError) -> bool {
    matches!(error, ReleaseError::Fetch(error) if matches!(error.class(), Class::SignIn | Class::Forbidden))
}
