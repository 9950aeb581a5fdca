//! What a withdrawal does, and to whom, before it is made: which further versions stop with the named
//! ones, and what each platform runs from then on.
//!
//! What is published is taken as the listings and checksums have it. Nothing is refused because of it: a
//! bad version must go even where the rest of the repository cannot be read.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use dbt_client::catalog::published;
use dbt_client::source::Patience;
use dbt_core::digest::Digest;
use dbt_core::layout::Location;
use dbt_core::name::ToolName;
use dbt_core::platform::Platform;
use dbt_core::release::{ArtifactId, Subject};
use dbt_core::trust::withdrawn::Withdrawn;
use dbt_core::version::Version;
use serde_json::{Value, json};

use crate::exchange::{Exchange, present};
use crate::place::Place;
use crate::stop::Stop;

/// How many of the newest versions are looked at.
const LOOKED_AT: usize = 200;

/// What a withdrawal changes.
#[derive(Debug, Default)]
pub(super) struct Review {
    /// Versions that run so far, and would not.
    stops: BTreeMap<Version, Stopped>,
    /// The newest release that each platform runs afterwards, if one is left.
    left: BTreeMap<Platform, Option<Version>>,
    /// Older versions, which nobody has looked at.
    unseen: usize,
}

/// A version that does not run any more.
#[derive(Debug, Default)]
struct Stopped {
    platforms: Vec<Platform>,
    /// It is not named, and has the bytes of one that is.
    by_bytes: bool,
}

impl Review {
    /// Compares the list before and after with what is published.
    pub(super) fn of(
        tool: &ToolName,
        (before, after): (&Withdrawn, &Withdrawn),
        place: &Place,
        exchange: &Exchange,
    ) -> Result<Self, Stop> {
        let subject = Subject::Tool(tool.clone());
        let at = Location::versions_of(&subject);
        let source = exchange.reading(place.tree(at.tree)?);
        let patience = || Patience::without_cached_copy(1.0);
        let listing = present(source.list(&at.path, &patience()))?.unwrap_or_default();
        let mut versions = listing.versions();
        versions.reverse();
        let unseen = versions.len().saturating_sub(LOOKED_AT);
        versions.truncate(LOOKED_AT);
        let found = published::checksums_of(source.as_ref(), &subject, &versions, &patience)?;
        let mut review = Self { unseen, ..Self::default() };
        for (id, digest) in found {
            // Without a checksum it runs nowhere.
            if let Some(digest) = digest {
                review.take(id, digest, before, after);
            }
        }
        Ok(review)
    }

    /// Takes the artifacts, those of the newest version first.
    fn take(&mut self, id: ArtifactId, digest: Digest, before: &Withdrawn, after: &Withdrawn) {
        let ArtifactId { version, platform, .. } = id;
        let runs = |list: &Withdrawn| list.reason_against(&version, Some(digest)).is_none();
        let is_named = after.reason_against(&version, None).is_some();
        let left = self.left.entry(platform).or_default();
        if left.is_none() && runs(after) && !version.is_pre_release() {
            *left = Some(version.clone());
        }
        if runs(before) && !runs(after) {
            let stopped = self.stops.entry(version.clone()).or_default();
            stopped.platforms.push(platform);
            stopped.platforms.sort_unstable();
            stopped.by_bytes = !is_named;
        }
    }

    /// Returns the lines about versions that nobody has named.
    pub(super) fn unnamed(&self, tool: &ToolName) -> String {
        self.stopped(tool, true)
    }

    /// Returns the lines for people.
    pub(super) fn lines(&self, tool: &ToolName) -> String {
        let mut text = self.stopped(tool, false);
        text.push_str(&self.stopped(tool, true));
        // Writing to a string cannot fail.
        for (platform, left) in &self.left {
            let _infallible = match left {
                Some(version) => writeln!(text, "{platform} runs {version}"),
                None => writeln!(text, "{platform} has nothing left to run"),
            };
        }
        if self.unseen > 0 {
            let unseen = self.unseen;
            let _infallible = writeln!(text, "{unseen} older versions were not looked at");
        }
        text
    }

    fn stopped(&self, tool: &ToolName, by_bytes: bool) -> String {
        let mut text = String::new();
        for (version, stopped) in self.stops.iter().filter(|(_, it)| it.by_bytes == by_bytes) {
            let platforms: Vec<String> =
                stopped.platforms.iter().map(Platform::to_string).collect();
            let why = if by_bytes { ", which has the same bytes" } else { "" };
            // Writing to a string cannot fail.
            let _infallible =
                writeln!(text, "never runs again: {tool} {version} ({}){why}", platforms.join(" "));
        }
        text
    }

    /// Returns the same for programs.
    pub(super) fn json(&self) -> Value {
        let stops = self.stops.iter().map(|(version, stopped)| {
            let platforms: Vec<String> =
                stopped.platforms.iter().map(Platform::to_string).collect();
            json!({ "version": version, "platforms": platforms, "named": !stopped.by_bytes })
        });
        let left = self.left.iter().map(|(platform, left)| (platform.to_string(), json!(left)));
        json!({ "stops": stops.collect::<Value>(), "runs": left.collect::<Value>() })
    }
}
