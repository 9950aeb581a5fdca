//! One version: its platforms, its description, and what else lies in its directory.

use std::sync::atomic::Ordering;

use dbt_client::anchor::in_one_line;
use dbt_client::catalog::description::{self, Description};
use dbt_client::source::FetchError;
use dbt_core::layout::Location;
use dbt_core::name::{COMPANION_ENDINGS, ToolName};
use dbt_core::platform::Platform;
use dbt_core::release::{ArtifactId, Subject};
use dbt_core::trust::withdrawn::Withdrawn;
use dbt_core::version::Version;

use super::Check;
use super::artifact::Judged;
use super::findings::About;
use super::kind::Kind;
use super::reader::patience;
use super::tools::is_ours;

/// What may lie beside an artifact besides what clients of ours read: clients of others read the
/// older checksums, and policies the provenance.
const FURTHER_ENDINGS: [&str; 1] = [".intoto.jsonl"];

impl Check<'_> {
    /// Checks a version, and returns what its platforms are like.
    pub(crate) fn version(
        &self,
        subject: &Subject,
        version: &Version,
        withdrawn: Option<&Withdrawn>,
    ) -> Vec<Judged> {
        if self.findings.are_given_up() {
            return Vec::new();
        }
        self.tally.versions.fetch_add(1, Ordering::Relaxed);
        let platforms = match self.platforms(subject, version) {
            Ok(platforms) => platforms,
            Err(error) => {
                self.findings.failed(About::version(subject, version), &error);
                return Vec::new();
            }
        };
        let id =
            |platform| ArtifactId { subject: subject.clone(), version: version.clone(), platform };
        let judged: Vec<Judged> =
            platforms.into_iter().map(|platform| self.artifact(&id(platform), withdrawn)).collect();
        if !judged.iter().any(|one| one.complete) {
            let at = self.reader.shown(&Location::version(&id(Platform::CURRENT)));
            let found = "no platform has artifact, checksum and signature: clients skip it";
            self.findings.add(Kind::VERSION_EMPTY, About::version(subject, version), at, found);
        }
        if let Subject::Tool(tool) = subject {
            self.description(tool, version);
        }
        judged
    }

    /// Lists the platforms of a version, and looks at what else is there.
    fn platforms(&self, subject: &Subject, version: &Version) -> Result<Vec<Platform>, FetchError> {
        let about = || About::version(subject, version);
        let (subject, version) = (subject.clone(), version.clone());
        let any = ArtifactId { subject, version, platform: Platform::CURRENT };
        let at = Location::version(&any);
        let mut platforms = Vec::new();
        let listing = self.reader.list(&at)?.unwrap_or_default();
        for name in listing.names().filter(|name| is_ours(name)) {
            if matches!(any.subject, Subject::Tool(_)) && is_of_description(name) {
                continue;
            }
            let below = at.path.join(name).ok().map(|path| Location { tree: at.tree, path });
            let known = Platform::ALL.iter().any(|platform| platform.os.as_str() == name);
            let Some(below) = below.filter(|_below| known) else {
                self.unclaimed(about(), &at, name);
                continue;
            };
            let listing = self.reader.list(&below)?.unwrap_or_default();
            for arch in listing.names().filter(|arch| is_ours(arch)) {
                match format!("{name}/{arch}").parse::<Platform>() {
                    Ok(platform) => {
                        self.look_at_files(&ArtifactId { platform, ..any.clone() })?;
                        platforms.push(platform);
                    }
                    Err(_no_platform) => self.unclaimed(about(), &below, arch),
                }
            }
        }
        Ok(platforms)
    }

    /// Looks at the names beside an artifact.
    fn look_at_files(&self, id: &ArtifactId) -> Result<(), FetchError> {
        let artifact = Location::artifact(id);
        let Some(path) = artifact.path.parent() else { return Ok(()) };
        let directory = Location { tree: artifact.tree, path };
        let listing = self.reader.list(&directory)?.unwrap_or_default();
        let file = id.file_name();
        for name in listing.names().filter(|name| is_ours(name)) {
            let ending = name.strip_prefix(file.as_str());
            let is_known = |ending: &str| {
                ending.is_empty()
                    || COMPANION_ENDINGS.contains(&ending)
                    || FURTHER_ENDINGS.contains(&ending)
            };
            if !ending.is_some_and(is_known) {
                self.unclaimed(About::artifact(id), &directory, name);
            }
        }
        Ok(())
    }

    /// Lets the client's code read the description.
    fn description(&self, tool: &ToolName, version: &Version) {
        let about = || About::version(&Subject::Tool(tool.clone()), version);
        let at = Location::description(tool, version);
        let source = self.reader.source(&at);
        let read = description::read(source, tool, version, (self.trust, self.now), &patience());
        match read {
            Ok(None | Some(Description::Signed { .. } | Description::NotVerified(_))) => {}
            Ok(Some(Description::Unsigned(_text))) => {
                let found = "nobody has signed it: whoever writes to the repository may change it";
                let at = self.reader.shown(&at);
                self.findings.add(Kind::DESCRIPTION_UNSIGNED, about(), at, found);
            }
            Ok(Some(Description::Refused(error))) => {
                let at = self.reader.shown(&at);
                self.findings.add(Kind::DESCRIPTION_REFUSED, about(), at, in_one_line(&error));
            }
            Err(error) => self.findings.failed(about(), &error),
        }
    }
}

fn is_of_description(name: &str) -> bool {
    let ending = name.strip_prefix("description.txt");
    ending.is_some_and(|ending| ending.is_empty() || COMPANION_ENDINGS.contains(&ending))
}
