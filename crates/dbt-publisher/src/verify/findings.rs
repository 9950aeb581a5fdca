//! What was found, from many threads, within a limit: a hostile repository must not fill the
//! memory with what is wrong about it.

use std::cmp::Ordering;
use std::fmt::Write as _;
use std::sync::atomic::{self, AtomicUsize};
use std::sync::{Mutex, MutexGuard, PoisonError};

use dbt_client::anchor::in_one_line;
use dbt_client::source::{Class, Failure, FetchError};
use dbt_core::platform::Platform;
use dbt_core::release::{ArtifactId, Subject};
use dbt_core::version::Version;
use dbt_ui::printable;
use serde_json::json;

use super::kind::{Kind, Severity};

/// How many findings are kept; further ones are counted.
const LIMIT: usize = 10_000;

/// The longest text of a finding, in bytes: names and answers in it are from outside.
const TEXT_LIMIT: usize = 1024;

/// After how many requests that no server answers the others are left out.
const GIVE_UP_AFTER: usize = 32;

/// What a finding is about.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct About {
    pub(crate) tool: Option<String>,
    pub(crate) version: Option<Version>,
    pub(crate) platform: Option<Platform>,
}

impl About {
    pub(crate) fn tool(subject: &Subject) -> Self {
        Self { tool: Some(subject.name().to_owned()), ..Self::default() }
    }

    pub(crate) fn version(subject: &Subject, version: &Version) -> Self {
        Self { version: Some(version.clone()), ..Self::tool(subject) }
    }

    pub(crate) fn artifact(id: &ArtifactId) -> Self {
        Self { platform: Some(id.platform), ..Self::version(&id.subject, &id.version) }
    }

    fn cmp(&self, other: &Self) -> Ordering {
        let Self { tool, version, platform } = self;
        tool.cmp(&other.tool)
            .then_with(|| version.cmp(&other.version))
            .then_with(|| platform.cmp(&other.platform))
    }
}

/// One thing that is wrong.
#[derive(Debug)]
struct Finding {
    kind: Kind,
    about: About,
    /// The URL or the path of the file or directory.
    at: String,
    /// What is the case.
    found: String,
}

/// Everything that is wrong.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    kept: Mutex<Vec<Finding>>,
    errors: AtomicUsize,
    warnings: AtomicUsize,
    unanswered: AtomicUsize,
    forbidden: AtomicUsize,
}

/// How many things are wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) errors: usize,
    pub(crate) warnings: usize,
    /// Of the errors: what no server answered.
    pub(crate) unanswered: usize,
    /// Of the errors: what the server did not show.
    pub(crate) forbidden: usize,
}

impl Counts {
    /// Says whether everything could be looked at.
    pub(crate) const fn is_complete(self) -> bool {
        self.unanswered == 0 && self.forbidden == 0
    }
}

impl Findings {
    /// Notes that something is wrong.
    pub(crate) fn add(
        &self,
        kind: Kind,
        about: About,
        at: impl Into<String>,
        found: impl Into<String>,
    ) {
        let counter = match kind.severity {
            Severity::Error => &self.errors,
            Severity::Warning => &self.warnings,
        };
        counter.fetch_add(1, atomic::Ordering::Relaxed);
        let mut kept = self.kept();
        if kept.len() < LIMIT {
            kept.push(Finding {
                kind,
                about,
                at: shortened(at.into()),
                found: shortened(found.into()),
            });
        }
    }

    /// Notes that something could not be read.
    pub(crate) fn failed(&self, about: About, error: &FetchError) {
        let kind = match error.class() {
            Class::Outage if is_malformed(error) => Kind::MALFORMED,
            Class::Outage => {
                self.unanswered.fetch_add(1, atomic::Ordering::Relaxed);
                Kind::UNREACHABLE
            }
            Class::SignIn | Class::Forbidden => {
                self.forbidden.fetch_add(1, atomic::Ordering::Relaxed);
                Kind::FORBIDDEN
            }
            Class::NotFound | Class::Refused => Kind::MALFORMED,
        };
        self.add(kind, about, error.url(), in_one_line(error));
    }

    /// Notes that something could not be read to its end.
    pub(crate) fn unread(&self, about: About, at: String, found: String) {
        self.unanswered.fetch_add(1, atomic::Ordering::Relaxed);
        self.add(Kind::UNREACHABLE, about, at, found);
    }

    /// Says whether so many requests were in vain that no more are made.
    pub(crate) fn are_given_up(&self) -> bool {
        self.unanswered.load(atomic::Ordering::Relaxed) >= GIVE_UP_AFTER
    }

    pub(crate) fn counts(&self) -> Counts {
        let of = |counter: &AtomicUsize| counter.load(atomic::Ordering::Relaxed);
        Counts {
            errors: of(&self.errors),
            warnings: of(&self.warnings),
            unanswered: of(&self.unanswered),
            forbidden: of(&self.forbidden),
        }
    }

    /// Returns the findings as JSON, errors first, then by tool, version and platform.
    pub(crate) fn json(&self) -> Vec<serde_json::Value> {
        let mut kept = self.kept();
        sort(&mut kept);
        let row = |finding: &Finding| {
            let Finding { kind, about: About { tool, version, platform }, at, found } = finding;
            json!({
                "id": kind.id, "severity": kind.severity.as_str(), "tool": tool,
                "version": version, "platform": platform.map(|it| it.to_string()),
                "at": at, "found": found, "fix": kind.fix,
            })
        };
        kept.iter().map(row).collect()
    }

    /// Returns the lines for people.
    pub(crate) fn text(&self) -> String {
        let mut kept = self.kept();
        sort(&mut kept);
        let mut text = String::new();
        // Writing to a string cannot fail.
        for Finding { kind, at, found, .. } in kept.iter() {
            let (severity, found) = (kind.severity.as_str(), printable::line(found));
            let at = printable::line(at);
            let _infallible = writeln!(text, "{severity}: {}: `{at}`: {found}", kind.id);
        }
        let Counts { errors, warnings, .. } = self.counts();
        let left = (errors + warnings).saturating_sub(kept.len());
        if left > 0 {
            let _infallible = writeln!(text, "and {left} more");
        }
        let mut fixes: Vec<Kind> = Vec::new();
        for finding in kept.iter() {
            if !fixes.contains(&finding.kind) {
                fixes.push(finding.kind);
            }
        }
        for kind in fixes {
            let _infallible = writeln!(text, "{}: {}", kind.id, kind.fix);
        }
        text
    }

    fn kept(&self) -> MutexGuard<'_, Vec<Finding>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Says whether a server has answered, and not as a repository does. To a client that is an outage:
/// something on the way may have answered in its place.
pub(crate) fn is_malformed(error: &FetchError) -> bool {
    let is_other_answer = matches!(
        error.failure(),
        Failure::Html { .. }
            | Failure::Listing(_)
            | Failure::Protocol(_)
            | Failure::Status { .. }
            | Failure::Redirect(_)
    );
    is_other_answer || error.class() == Class::Refused
}

/// Threads finish as they like; the same repository gives the same report.
fn sort(kept: &mut [Finding]) {
    kept.sort_by(|a, b| {
        let severity = a.kind.severity.cmp(&b.kind.severity);
        let rest = || a.about.cmp(&b.about).then_with(|| a.at.cmp(&b.at));
        severity.then_with(rest).then_with(|| a.kind.id.cmp(b.kind.id))
    });
}

fn shortened(mut text: String) -> String {
    if text.len() > TEXT_LIMIT {
        let end = (0..=TEXT_LIMIT).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        text.truncate(end);
        text.push_str("...");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_found_does_not_fill_the_memory_and_is_counted_all_the_same() {
        let findings = Findings::default();
        for number in 0..LIMIT + 5 {
            findings.add(Kind::UNCLAIMED, About::default(), number.to_string(), "é".repeat(5000));
        }
        assert_eq!(findings.json().len(), LIMIT);
        assert_eq!(findings.counts().warnings, LIMIT + 5);
        assert!(findings.text().contains("\nand 5 more\n"));
        let found = findings.json()[0]["found"].as_str().unwrap().len();
        assert!(found <= TEXT_LIMIT + 3, "{found}");
    }

    #[test]
    fn errors_come_before_warnings_and_then_by_tool_and_version() {
        let findings = Findings::default();
        let about = |tool: &str, version: &str| About {
            tool: Some(tool.to_owned()),
            version: Some(version.parse().unwrap()),
            platform: None,
        };
        findings.add(Kind::UNBOUND, About::default(), "w", "x");
        findings.add(Kind::ARTIFACT_CHANGED, about("b", "1.0.0"), "3", "x");
        findings.add(Kind::ARTIFACT_CHANGED, about("a", "1.10.0"), "2", "x");
        findings.add(Kind::ARTIFACT_CHANGED, about("a", "1.9.0"), "1", "x");
        let order: Vec<_> = findings.json().iter().map(|row| row["at"].clone()).collect();
        assert_eq!(order, ["1", "2", "3", "w"]);
    }
}
