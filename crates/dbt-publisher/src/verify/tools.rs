//! The walk over everything that is published: which tools, which versions of each, and what only
//! shows when they are compared.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;

use dbt_client::anchor::in_one_line;
use dbt_client::beside;
use dbt_core::brand;
use dbt_core::layout::{Location, SIGNATURE_ENDING, WITHDRAWN_FILE};
use dbt_core::listing::{Listing, page};
use dbt_core::name::ToolName;
use dbt_core::platform::Platform;
use dbt_core::release::Subject;
use dbt_core::trust::Document;
use dbt_core::trust::openpgp::SIGNATURE_LIMIT;
use dbt_core::trust::withdrawn::{WITHDRAWN_LIMIT, Withdrawn};
use dbt_core::version::Version;
use dbt_ui::exit_code::ExitCode;
use dbt_ui::report::Report;

use super::Check;
use super::artifact::Judged;
use super::findings::{About, is_malformed};
use super::kind::Kind;
use crate::publish::plan;
use crate::stop::Stop;

/// How many requests are under way at once: as many as a server gets from one connector.
const AT_ONCE: usize = 32;

/// How many tools are looked at together. Their versions are in memory until all are checked.
const TOOLS_TOGETHER: usize = 64;

/// The most versions of a tool that are looked at. Nobody publishes so many; a server that lists
/// more wants to fill the memory.
const VERSIONS_LIMIT: usize = 10_000;

/// What of a tool is to be checked.
struct Releases {
    subject: Subject,
    /// The newest first, without those that are withdrawn.
    versions: Vec<Version>,
    /// What is withdrawn.
    withdrawn: Option<Withdrawn>,
}

impl Check<'_> {
    /// Checks the program and the tools.
    pub(crate) fn subjects(&self) -> Result<(), Stop> {
        let subjects = if self.scope.only.is_empty() {
            self.everything()?
        } else {
            self.scope.only.iter().cloned().collect()
        };
        for together in subjects.chunks(TOOLS_TOGETHER) {
            let releases = beside::each(together, AT_ONCE, |subject| self.releases(subject));
            let releases: Vec<Releases> = releases.into_iter().flatten().collect();
            let versions: Vec<(&Releases, &Version)> = releases
                .iter()
                .flat_map(|one| one.versions.iter().map(move |version| (one, version)))
                .collect();
            let judged = beside::each(&versions, AT_ONCE, |(of, version)| {
                self.version(&of.subject, version, of.withdrawn.as_ref())
            });
            let mut judged = judged.into_iter();
            for one in &releases {
                let judged: Vec<Vec<Judged>> = judged.by_ref().take(one.versions.len()).collect();
                self.compare(one, &judged);
            }
        }
        self.refuse_nothing()
    }

    /// Where nothing that was asked for is there, that is an error of who asks.
    fn refuse_nothing(&self) -> Result<(), Stop> {
        let looked_at = self.tally.tools.load(Ordering::Relaxed);
        if looked_at > 0 || self.scope.only.is_empty() || self.findings.counts().errors > 0 {
            return Ok(());
        }
        let names: Vec<String> = self.scope.only.iter().map(|one| format!("`{one}`")).collect();
        let message = format!("{} is not published", names.join(", "));
        Err(Report::new(ExitCode::NOT_FOUND, message).into())
    }

    /// Lists the program, if it is published, and the tools.
    fn everything(&self) -> Result<Vec<Subject>, Stop> {
        let at = Location::tools();
        let own = self.root(&Location::versions_of(&Subject::Program))?;
        let tools = self.root(&at)?;
        if own.is_none() && tools.is_none() {
            let message = format!("there is no repository at `{}`", self.reader.shown(&at));
            return Err(Report::new(ExitCode::UNREACHABLE, message)
                .hint(format!(
                    "`/{}` and `/{}` are below the root",
                    brand::REPOSITORY_PATH,
                    brand::TOOLS_PATH
                ))
                .into());
        }
        let program = own.filter(|listing| !listing.versions().is_empty());
        let mut subjects: Vec<Subject> =
            program.map(|_listing| Subject::Program).into_iter().collect();
        subjects.extend(self.tools(&tools.unwrap_or_default()).into_iter().map(Subject::Tool));
        Ok(subjects)
    }

    /// Lists a root. Without an answer nothing can be checked; a wrong one is a finding.
    fn root(&self, at: &Location) -> Result<Option<Listing>, Stop> {
        match self.reader.list(at) {
            Err(error) if is_malformed(&error) => {
                self.findings.failed(About::default(), &error);
                Ok(Some(Listing::default()))
            }
            listing => Ok(listing?),
        }
    }

    /// Returns the tools of a listing, after a look at their names.
    fn tools(&self, listing: &Listing) -> Vec<ToolName> {
        let root = Location::tools();
        let at = |name: &str| match root.path.join(name) {
            Ok(path) => self.reader.shown(&Location { tree: root.tree, path }),
            Err(_not_a_name) => self.reader.shown(&root),
        };
        // Some servers do not mark directories.
        let marked = listing.entries().iter().any(|entry| entry.directory);
        let mut tools = Vec::new();
        for entry in listing.entries().iter().filter(|entry| is_ours(&entry.name)) {
            if marked && !entry.directory {
                let found = "it is no tool's directory";
                self.findings.add(Kind::UNCLAIMED, About::default(), at(&entry.name), found);
                continue;
            }
            match entry.name.parse::<ToolName>() {
                Ok(tool) => tools.push(tool),
                Err(error) => {
                    let found = error.to_string();
                    self.findings.add(Kind::NAME_ILLEGAL, About::default(), at(&entry.name), found);
                }
            }
        }
        let mut spellings: BTreeMap<String, Vec<&ToolName>> = BTreeMap::new();
        for tool in &tools {
            spellings.entry(tool.as_str().to_ascii_lowercase()).or_default().push(tool);
        }
        for same in spellings.values().filter(|same| same.len() > 1) {
            let names: Vec<String> = same.iter().map(|name| format!("`{name}`")).collect();
            let found = format!("{} differ in capital letters alone", names.join(", "));
            self.findings.add(Kind::NAME_CASE, About::default(), self.reader.shown(&root), found);
        }
        tools
    }

    /// Lists the versions of a tool that may run; nothing where there is no such tool.
    fn releases(&self, subject: &Subject) -> Option<Releases> {
        if self.findings.are_given_up() {
            return None;
        }
        let at = Location::versions_of(subject);
        let listing = match self.reader.list(&at) {
            Ok(listing) => listing,
            Err(error) => {
                self.findings.failed(About::tool(subject), &error);
                return None;
            }
        };
        let Some(listing) = listing else {
            let (at, found) = (self.reader.shown(&at), "there is no such tool");
            self.findings.add(Kind::TOOL_EMPTY, About::tool(subject), at, found);
            return None;
        };
        self.tally.tools.fetch_add(1, Ordering::Relaxed);
        let mut versions = listing.versions();
        versions.reverse();
        if versions.len() > VERSIONS_LIMIT {
            let found = format!(
                "{} versions are listed; the newest {VERSIONS_LIMIT} are looked at",
                versions.len()
            );
            self.findings.add(Kind::MALFORMED, About::tool(subject), self.reader.shown(&at), found);
            versions.truncate(VERSIONS_LIMIT);
        }
        // Versions that are forbidden for ever stay so when they are deleted.
        if versions.is_empty() && !listing.contains(WITHDRAWN_FILE) {
            let (at, found) = (self.reader.shown(&at), "it has no version");
            self.findings.add(Kind::TOOL_EMPTY, About::tool(subject), at, found);
        }
        let mut withdrawn = None;
        match subject {
            Subject::Program => self.latest(&versions),
            Subject::Tool(tool) => {
                self.look_at_name(tool);
                self.look_at_names(tool, &listing);
                if listing.contains(WITHDRAWN_FILE) {
                    withdrawn = self.withdrawn(tool);
                    let runs = |version: &Version| {
                        let list = withdrawn.as_ref();
                        list.is_none_or(|list| list.reason_against(version, None).is_none())
                    };
                    let before = versions.len();
                    versions.retain(runs);
                    let gone = before.saturating_sub(versions.len()) as u64;
                    self.tally.withdrawn.fetch_add(gone, Ordering::Relaxed);
                    self.tally.versions.fetch_add(gone, Ordering::Relaxed);
                }
            }
        }
        self.look_at_spellings(subject, &versions);
        Some(Releases { subject: subject.clone(), versions, withdrawn })
    }

    fn look_at_name(&self, tool: &ToolName) {
        if plan::is_reserved(tool.as_str()) {
            let subject = Subject::Tool(tool.clone());
            let at = self.reader.shown(&Location::versions_of(&subject));
            let program = brand::PROGRAM;
            let found = format!(
                "`{tool}` is, or may become, a command of `{program}`, which hides the tool"
            );
            self.findings.add(Kind::NAME_RESERVED, About::tool(&subject), at, found);
        }
    }

    /// Looks at what lies beside a tool's versions.
    fn look_at_names(&self, tool: &ToolName, listing: &Listing) {
        let subject = Subject::Tool(tool.clone());
        let signature = format!("{WITHDRAWN_FILE}{SIGNATURE_ENDING}");
        let withdrawn = listing.contains(WITHDRAWN_FILE);
        for name in listing.names().filter(|name| is_ours(name)) {
            let is_known = name.parse::<Version>().is_ok()
                || name == WITHDRAWN_FILE
                || (name == signature && withdrawn);
            if !is_known {
                self.unclaimed(About::tool(&subject), &Location::versions_of(&subject), name);
            }
        }
    }

    /// Notes a file or directory that no client reads.
    pub(crate) fn unclaimed(&self, about: About, directory: &Location, name: &str) {
        // It comes from a listing, in which every name is one.
        let Ok(path) = directory.path.join(name) else { return };
        let at = self.reader.shown(&Location { tree: directory.tree, path });
        self.findings.add(Kind::UNCLAIMED, about, at, "no client reads it");
    }

    fn look_at_spellings(&self, subject: &Subject, versions: &[Version]) {
        let at = self.reader.shown(&Location::versions_of(subject));
        for pair in versions.windows(2) {
            let [one, other] = pair else { continue };
            if one.same_number(other) {
                let found = format!("`{one}` and `{other}` are the same version");
                self.findings.add(
                    Kind::VERSION_TWICE,
                    About::version(subject, other),
                    at.clone(),
                    found,
                );
            }
        }
        if !self.scope.migration {
            return;
        }
        for version in versions.iter().filter(|version| version.spelling().starts_with('v')) {
            let found = format!("`{version}` begins with `v`");
            self.findings.add(
                Kind::VERSION_SPELT_V,
                About::version(subject, version),
                at.clone(),
                found,
            );
        }
    }

    /// Verifies a tool's list of withdrawn versions as clients do, and returns it.
    fn withdrawn(&self, tool: &ToolName) -> Option<Withdrawn> {
        let at = Location::withdrawn(tool);
        let about = || About::tool(&Subject::Tool(tool.clone()));
        let refuse = |found: String| {
            self.findings.add(Kind::WITHDRAWN_REFUSED, about(), self.reader.shown(&at), found);
        };
        let read = |at: &Location, limit| {
            let read = self.reader.document(at, limit);
            read.inspect_err(|error| self.findings.failed(about(), error)).ok()
        };
        let bytes = read(&at, WITHDRAWN_LIMIT)?;
        let signature = read(&at.with_ending(SIGNATURE_ENDING), SIGNATURE_LIMIT)?;
        let (Some(bytes), Some(signature)) = (bytes, signature) else {
            refuse("the list or its signature is missing".to_owned());
            return None;
        };
        let document = Document::Withdrawn(tool.clone());
        // Without a truststore nothing can be said, and that is said already.
        let verified = self.trust?.verify_document(&document, &bytes, &signature, self.now);
        if let Err(error) = verified {
            refuse(in_one_line(&error));
            return None;
        }
        Withdrawn::parse(&bytes, tool).inspect_err(|error| refuse(in_one_line(error))).ok()
    }

    /// Finds what only shows beside other versions. `judged` is what came of each version.
    fn compare(&self, releases: &Releases, judged: &[Vec<Judged>]) {
        let Releases { subject, versions, .. } = releases;
        let any_bound = judged.iter().flatten().any(|one| one.bound == Some(true));
        for (version, judged) in versions.iter().zip(judged) {
            if any_bound && judged.iter().any(|one| one.bound == Some(false)) {
                let at = self.reader.shown(&Location::versions_of(subject));
                let found = format!(
                    "the signatures of {version} do not name what they are for, and others of \
                     `{subject}` do: machines that have seen those refuse it"
                );
                self.findings.add(Kind::UNBOUND, About::version(subject, version), at, found);
            }
        }
        if self.scope.migration {
            self.compare_platforms(releases, judged);
        }
    }

    /// Finds platforms that older releases have and the newest lacks.
    fn compare_platforms(&self, releases: &Releases, judged: &[Vec<Judged>]) {
        let Releases { subject, versions, .. } = releases;
        let of = |judged: &[Judged]| -> BTreeSet<Platform> {
            judged.iter().filter(|one| one.complete).map(|one| one.platform).collect()
        };
        let mut in_order =
            versions.iter().zip(judged).filter(|(version, _)| !version.is_pre_release());
        let Some((newest, its)) = in_order.next() else { return };
        let its = of(its);
        let mut missing: BTreeMap<Platform, &Version> = BTreeMap::new();
        for (version, judged) in in_order {
            for platform in of(judged).into_iter().filter(|platform| !its.contains(platform)) {
                missing.entry(platform).or_insert(version);
            }
        }
        for (platform, version) in missing {
            let at = self.reader.shown(&Location::versions_of(subject));
            let found = format!("{newest} is not there for {platform}; {version} is");
            let about = About { platform: Some(platform), ..About::version(subject, newest) };
            self.findings.add(Kind::PLATFORM_MISSING, about, at, found);
        }
    }
}

/// Whether a name is looked at: hidden ones are the host's, and pages are listings.
pub(crate) fn is_ours(name: &str) -> bool {
    !name.starts_with('.') && name != page::FILE
}
