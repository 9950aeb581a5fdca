//! What tools a server has: names, newest versions, descriptions.
//!
//! A server of ours says it in one document ([`index`]); any other is asked for each tool, many
//! at a time. All of it is for people and scripts: nothing here decides what runs, and nothing of
//! it is verified but the description that [`description::read`] returns.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use dbt_core::digest::CHECKSUM_FILE_LIMIT;
use dbt_core::layout::{CHECKSUM_ENDING, Location, WITHDRAWN_FILE};
use dbt_core::name::ToolName;
use dbt_core::platform::Platform;
use dbt_core::release::{ArtifactId, Subject};
use dbt_core::select;
use dbt_core::version::{Version, Wanted};

use crate::anchor::in_one_line;
use crate::beside;
use crate::repository::bytes_of;
use crate::session::Session;
use crate::source::{Ask, Class, FetchError, Patience, Source};

use self::withdrawals::Withdrawals;

pub mod description;
pub mod index;
pub mod published;
pub mod withdrawals;

/// How many requests are under way at once. A connector for many lets so many through.
pub(crate) const AT_ONCE: usize = 32;

/// How many releases are looked at before a tool counts as not published for a platform.
const LOOKED_AT: usize = 8;

/// After how many tools in vain a server is not asked for the others.
const GIVE_UP_AFTER: usize = AT_ONCE;

/// One tool of the catalog. Names and texts are from outside.
#[derive(Debug)]
pub struct CatalogEntry {
    /// Its name.
    pub tool: ToolName,
    /// Its published versions, newest first; pre-releases and withdrawn ones included.
    pub versions: Vec<Version>,
    /// Those of them that its publisher has withdrawn: they run nowhere any more.
    pub withdrawn: Vec<Version>,
    /// Why its list of withdrawn versions does not count, if there is one that does not.
    pub refused_list: Option<String>,
    /// Whether its listing shows such a list.
    has_list: bool,
    /// The newest release for each platform that was looked at and has one.
    pub platforms: BTreeMap<Platform, Version>,
    /// Its description, of the newest release. Unverified.
    pub description: Option<String>,
    /// What went wrong while it was looked at: one tool's fault does not hide the others.
    pub problem: Option<Problem>,
}

/// What went wrong while a tool was looked at.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// A request failed.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// Requests for so many other tools had failed that no more were made.
    #[error("not asked for, because requests for many others failed")]
    NotAsked,
}

/// For which platforms it is looked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Breadth {
    /// For this machine's, and the one whose programs run here too.
    ThisMachine(Platform),
    /// For all there are.
    Everywhere,
}

impl Breadth {
    fn includes(self, platform: Platform) -> bool {
        match self {
            Self::ThisMachine(here) => platform == here || here.fallback() == Some(platform),
            Self::Everywhere => true,
        }
    }
}

impl CatalogEntry {
    fn new(tool: &ToolName) -> Self {
        Self {
            tool: tool.clone(),
            versions: Vec::new(),
            withdrawn: Vec::new(),
            refused_list: None,
            has_list: false,
            platforms: BTreeMap::new(),
            description: None,
            problem: None,
        }
    }

    /// Takes what came of a question; the first that failed is what is told of the tool.
    fn take(&mut self, answer: Result<Answer, Problem>) {
        if self.problem.is_some() {
            return;
        }
        match answer {
            Ok(Answer::Platforms(platforms)) => self.platforms = platforms,
            Ok(Answer::Description(description)) => self.description = description,
            Err(problem) => self.problem = Some(problem),
        }
    }

    /// Returns the version that is described, as long as it is not known what runs here.
    fn described(&self) -> Option<Version> {
        self.newest().or_else(|| self.versions.first().cloned())
    }

    /// Returns the newest release that may run, whatever it is for.
    pub fn newest(&self) -> Option<Version> {
        select::newest(&self.running())
    }

    /// Lists the versions that are not withdrawn, newest first.
    fn running(&self) -> Vec<Version> {
        let is_withdrawn = |it: &Version| self.withdrawn.iter().any(|other| other.same_number(it));
        self.versions.iter().filter(|version| !is_withdrawn(version)).cloned().collect()
    }

    /// Takes what came of asking for its list of withdrawn versions.
    fn take_list(&mut self, answer: Result<Option<Withdrawals>, Problem>) {
        match answer {
            Ok(Some(Withdrawals::Verified(list) | Withdrawals::NotVerified(list))) => {
                let versions = self.versions.iter();
                let withdrawn = versions.filter(|it| list.reason_against(it, None).is_some());
                self.withdrawn = withdrawn.cloned().collect();
            }
            Ok(Some(Withdrawals::Refused(why))) => self.refused_list = Some(why),
            Ok(None) => {}
            Err(problem) => self.problem = Some(problem),
        }
    }

    /// Returns the newest release that runs on a platform.
    pub fn newest_for(&self, platform: Platform) -> Option<&Version> {
        let of = |platform| self.platforms.get(&platform);
        of(platform).or_else(|| platform.fallback().and_then(of))
    }
}

/// Lists the tools of a server, by name. Files beside them, and directories that cannot be a
/// tool's, are left out.
pub fn list(session: &Session<'_>, breadth: Breadth) -> Result<Vec<CatalogEntry>, FetchError> {
    let Some(mut entries) = index::ask(session)? else {
        let patience = session.patience(false);
        let listing = session.repository().list(&Location::tools(), &patience)?;
        let mut tools: Vec<ToolName> =
            listing.directories().filter_map(|name| name.parse().ok()).collect();
        tools.sort();
        return Ok(look_at_each(session, &tools, breadth));
    };
    // A server looks at the newest releases of a tool; ours may be behind them.
    let is_hidden = |entry: &CatalogEntry| match breadth {
        Breadth::ThisMachine(here) => {
            entry.newest_for(here).is_none() && entry.versions.len() > LOOKED_AT
        }
        Breadth::Everywhere => false,
    };
    let (hidden, shown): (Vec<_>, Vec<_>) = entries.into_iter().partition(is_hidden);
    let hidden: Vec<ToolName> = hidden.into_iter().map(|entry| entry.tool).collect();
    entries = shown;
    entries.extend(look_at_each(session, &hidden, breadth));
    entries.sort_by(|a, b| a.tool.cmp(&b.tool));
    for entry in &mut entries {
        entry.platforms.retain(|platform, _version| breadth.includes(*platform));
    }
    Ok(entries)
}

fn look_at_each(session: &Session<'_>, tools: &[ToolName], breadth: Breadth) -> Vec<CatalogEntry> {
    let source = session.repository().tree(Location::tools().tree);
    let look = Look { session, source, breadth, failed: AtomicUsize::new(0) };
    let mut entries = beside::each(tools, AT_ONCE, |tool| look.versions(tool));
    look.leave_out_withdrawn(&mut entries);
    // What it runs on and what it is for do not wait for one another: most often the newest release
    // is the one that is described.
    let both = [Half::Platforms, Half::Description];
    let asked: Vec<(&CatalogEntry, Half)> =
        entries.iter().flat_map(|entry| both.map(|half| (entry, half))).collect();
    let answers = beside::each(&asked, AT_ONCE, |(entry, half)| look.half(entry, *half));
    let mut answers = answers.into_iter();
    for entry in &mut entries {
        for answer in answers.by_ref().take(both.len()) {
            entry.take(answer);
        }
    }
    let described = beside::each(&entries, AT_ONCE, |entry| look.other_description(entry));
    for (entry, other) in entries.iter_mut().zip(described) {
        if let Some(other) = other {
            entry.description = None;
            entry.take(other.map(Answer::Description));
        }
    }
    entries
}

/// A look at many tools, one by one.
struct Look<'a> {
    session: &'a Session<'a>,
    source: &'a dyn Source,
    breadth: Breadth,
    /// How many requests have failed.
    failed: AtomicUsize,
}

/// What is asked of a tool once its versions are known.
#[derive(Debug, Clone, Copy)]
enum Half {
    Platforms,
    Description,
}

/// What comes of it.
enum Answer {
    Platforms(BTreeMap<Platform, Version>),
    Description(Option<String>),
}

impl Look<'_> {
    /// Asks, unless too many were asked in vain.
    fn ask<T>(
        &self,
        question: impl FnOnce(&Patience) -> Result<T, FetchError>,
    ) -> Result<T, Problem> {
        if self.failed.load(Ordering::Relaxed) >= GIVE_UP_AFTER {
            return Err(Problem::NotAsked);
        }
        question(&self.session.patience(false)).map_err(|error| {
            self.failed.fetch_add(1, Ordering::Relaxed);
            error.into()
        })
    }

    fn versions(&self, tool: &ToolName) -> CatalogEntry {
        let mut entry = CatalogEntry::new(tool);
        let at = Location::versions_of(&Subject::Tool(tool.clone()));
        match self.ask(|patience| self.source.list(&at.path, patience)) {
            Ok(listing) => {
                entry.versions = listing.versions();
                entry.has_list = listing.contains(WITHDRAWN_FILE);
            }
            Err(problem) => entry.problem = Some(problem),
        }
        entry.versions.sort_by(|a, b| b.cmp(a));
        entry
    }

    /// Asks for the lists of withdrawn versions that there are; tools without one cost nothing.
    fn leave_out_withdrawn(&self, entries: &mut [CatalogEntry]) {
        let listed: Vec<&mut CatalogEntry> =
            entries.iter_mut().filter(|entry| entry.has_list).collect();
        if listed.is_empty() {
            return;
        }
        // What this machine believes already: a look changes nothing about that.
        let trust = self.session.anchor().last_good("not asked");
        let trust = match &trust {
            Ok(trust) => trust.as_ref(),
            Err(error) => {
                let why = in_one_line(error);
                for entry in listed {
                    entry.refused_list = Some(why.clone());
                }
                return;
            }
        };
        let judge = (trust, self.session.now());
        let tools: Vec<ToolName> = listed.iter().map(|entry| entry.tool.clone()).collect();
        let answers = beside::each(&tools, AT_ONCE, |tool| {
            self.ask(|patience| withdrawals::read(self.source, tool, judge, patience))
        });
        for (entry, answer) in listed.into_iter().zip(answers) {
            entry.take_list(answer);
        }
    }

    fn half(&self, entry: &CatalogEntry, half: Half) -> Result<Answer, Problem> {
        match half {
            Half::Platforms if entry.versions.is_empty() => Ok(Answer::Platforms(BTreeMap::new())),
            Half::Platforms => self
                .ask(|patience| match self.breadth {
                    Breadth::ThisMachine(here) => newest_for(self.source, entry, here, patience),
                    Breadth::Everywhere => newest_everywhere(self.source, entry, patience),
                })
                .map(Answer::Platforms),
            Half::Description => {
                self.description(entry, entry.described()).map(Answer::Description)
            }
        }
    }

    fn description(
        &self,
        entry: &CatalogEntry,
        version: Option<Version>,
    ) -> Result<Option<String>, Problem> {
        let Some(version) = version else { return Ok(None) };
        self.ask(|patience| description::unverified(self.source, &entry.tool, &version, patience))
    }

    /// Describes the release that runs on this machine, where that is another one.
    fn other_description(&self, entry: &CatalogEntry) -> Option<Result<Option<String>, Problem>> {
        let Breadth::ThisMachine(here) = self.breadth else { return None };
        let version = entry.newest_for(here).filter(|_| entry.problem.is_none())?;
        let is_other = entry.described().as_ref() != Some(version);
        is_other.then(|| self.description(entry, Some(version.clone())))
    }
}

/// The releases that are looked at, newest first.
fn releases(entry: &CatalogEntry) -> impl Iterator<Item = Version> {
    select::candidates(&entry.running(), &Wanted::Newest).into_iter().take(LOOKED_AT)
}

/// Finds the newest release for one platform by its checksum, which costs one request where it is
/// the newest of all.
fn newest_for(
    source: &dyn Source,
    entry: &CatalogEntry,
    here: Platform,
    patience: &Patience,
) -> Result<BTreeMap<Platform, Version>, FetchError> {
    for version in releases(entry) {
        for platform in [Some(here), here.fallback()].into_iter().flatten() {
            let subject = Subject::Tool(entry.tool.clone());
            let id = ArtifactId { subject, version: version.clone(), platform };
            let limit = CHECKSUM_FILE_LIMIT;
            if published::companion(source, &id, CHECKSUM_ENDING, limit, patience)?.is_some() {
                return Ok(BTreeMap::from([(platform, version)]));
            }
        }
    }
    Ok(BTreeMap::new())
}

fn newest_everywhere(
    source: &dyn Source,
    entry: &CatalogEntry,
    patience: &Patience,
) -> Result<BTreeMap<Platform, Version>, FetchError> {
    let mut found = BTreeMap::new();
    for version in releases(entry) {
        let subject = Subject::Tool(entry.tool.clone());
        for platform in published::platforms(source, &subject, &version, patience)? {
            found.entry(platform).or_insert_with(|| version.clone());
        }
        if found.len() == Platform::ALL.len() {
            break;
        }
    }
    Ok(found)
}

/// Takes a text of a repository's as a description: without what stands around it, and nothing
/// where there is none.
fn trimmed(bytes: &[u8]) -> Option<String> {
    Some(String::from_utf8_lossy(bytes).trim().to_owned()).filter(|text| !text.is_empty())
}

/// Reads a small file, or nothing where there is none.
fn file(
    source: &dyn Source,
    at: &Location,
    limit: u64,
    patience: &Patience,
) -> Result<Option<Vec<u8>>, FetchError> {
    match bytes_of(source.get(&at.path, &Ask::document(limit, patience))) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.class() == Class::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
