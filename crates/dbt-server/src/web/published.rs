//! What the pages show of the tools: what is there, as far as their visitor may list and read it.
//!
//! Nothing of it is verified here; whoever runs a tool verifies it.

use dbt_core::brand;
use dbt_core::layout::{SIGNATURE_ENDING, TRUSTSTORE_FILE, WITHDRAWN_FILE};
use dbt_core::name::ToolName;
use dbt_core::platform::Platform;
use dbt_core::repo_path::RepoPath;
use dbt_core::select;
use dbt_core::timestamp;
use dbt_core::trust::TrustStore;
use dbt_core::trust::keys::Certificate;
use dbt_core::trust::openpgp::{SIGNATURE_LIMIT, SignatureBlock};
use dbt_core::trust::withdrawn::{WITHDRAWN_LIMIT, Withdrawn};
use dbt_core::version::Version;
use hyper::body::Bytes;

use crate::action::{Action as _, Read};
use crate::app::App;
use crate::authz::Grant;
use crate::error::ApiError;
use crate::limits;
use crate::listing::in_units;
use crate::storage::{Detail, Entry, EntryKind, Found, StorageError, StoredFile};
use crate::v1::catalog::{self, Seen};

/// The name of a version's description.
const DESCRIPTION: &str = "description.txt";

/// How many versions of a tool are shown with all that is known of them.
const VERSIONS: usize = 20;

/// The most bytes of a description that are read.
const DESCRIPTION_LIMIT: u64 = 16 * 1024;

/// How many letters of a description stand in the list of tools.
const SUMMARY_LETTERS: usize = 240;

/// The list of tools.
pub(super) struct Catalog {
    pub(super) tools: Vec<ListedTool>,
    /// Whether there are more than can be shown.
    pub(super) goes_on: bool,
}

/// A tool in the list.
pub(super) struct ListedTool {
    pub(super) name: String,
    pub(super) newest: Option<String>,
    pub(super) description: Option<String>,
    pub(super) platforms: Vec<String>,
}

impl ListedTool {
    /// Returns what a search looks at.
    pub(super) fn words(&self) -> String {
        let description = self.description.as_deref().unwrap_or_default();
        format!("{} {description}", self.name).to_lowercase()
    }

    /// Says whether it has all words of a search.
    pub(super) fn fits(&self, query: &str) -> bool {
        let words = self.words();
        query.to_lowercase().split_whitespace().all(|word| words.contains(word))
    }
}

/// A tool on a page of its own.
pub(super) struct ShownTool {
    pub(super) name: String,
    pub(super) description: Option<String>,
    /// Newest first.
    pub(super) versions: Vec<ShownVersion>,
    /// How many older ones there are besides.
    pub(super) left_out: usize,
    newest: Option<String>,
}

impl ShownTool {
    /// Returns the newest release.
    pub(super) fn newest(&self) -> Option<&str> {
        self.newest.as_deref()
    }
}

/// A version on the page of its tool.
pub(super) struct ShownVersion {
    pub(super) version: String,
    pub(super) is_pre_release: bool,
    /// Whether what there is of it is shown at once.
    pub(super) is_open: bool,
    pub(super) published: Option<String>,
    pub(super) warning: Option<String>,
    pub(super) platforms: Vec<ShownArtifact>,
}

/// What is for one platform.
pub(super) struct ShownArtifact {
    pub(super) platform: String,
    pub(super) size: Option<String>,
    pub(super) signers: Vec<String>,
    /// Where its file is.
    pub(super) place: String,
}

/// Lists the tools that the caller may list.
pub(super) async fn tools(app: &App, grant: &Grant<Read>) -> Result<Catalog, ApiError> {
    let (mut tools, mut after) = (Vec::new(), None::<ToolName>);
    for _part in 0..limits::SHELVES_KEPT {
        let shelf = catalog::look(app, grant, after.clone()).await?;
        let seen = Seen { app, grant };
        // It may begin before.
        let further =
            shelf.tools.iter().filter(|tool| after.as_ref().is_none_or(|it| tool.name > *it));
        tools.extend(further.filter_map(|tool| seen.tool(tool)).map(|tool| listed(&tool)));
        after = shelf.tools.last().filter(|_last| shelf.goes_on).map(|tool| tool.name.clone());
        if after.is_none() {
            break;
        }
    }
    Ok(Catalog { tools, goes_on: after.is_some() })
}

fn listed(tool: &catalog::Tool<'_>) -> ListedTool {
    let description = tool.description.map(|text| harmless(text).replace('\n', " "));
    let description = description.map(|text| match text.char_indices().nth(SUMMARY_LETTERS) {
        Some((end, _letter)) => format!("{}…", text.get(..end).unwrap_or_default().trim_end()),
        None => text,
    });
    let running = tool.versions.iter().filter(|version| !tool.withdrawn.contains(version));
    let versions: Vec<Version> = running.filter_map(|version| version.parse().ok()).collect();
    ListedTool {
        name: tool.name.to_owned(),
        newest: select::newest(&versions).map(|version| version.to_string()),
        description,
        platforms: tool.platforms.keys().map(|platform| (*platform).to_owned()).collect(),
    }
}

/// Shows a tool: its newest versions with what there is of each.
pub(super) async fn tool(
    app: &App,
    grant: &Grant<Read>,
    tool: &ToolName,
) -> Result<ShownTool, ApiError> {
    let place = Place { app, grant };
    let Found::Directory(directory) = app.storage.look(grant, Detail::Versions).await? else {
        return Err(ApiError::NotFound);
    };
    let mut versions: Vec<(Version, Entry)> = directory
        .entries
        .into_iter()
        .filter(|entry| entry.kind == EntryKind::Directory)
        .filter_map(|entry| Some((entry.name.parse().ok()?, entry)))
        .collect();
    versions.sort_by(|(a, _), (b, _)| b.cmp(a));
    let all: Vec<Version> = versions.iter().map(|(version, _entry)| version.clone()).collect();
    let withdrawn = place.bytes(&[WITHDRAWN_FILE], WITHDRAWN_LIMIT).await;
    let withdrawn = withdrawn.and_then(|bytes| Withdrawn::parse(&bytes, tool).ok());
    let reason = |version: &Version| withdrawn.as_ref()?.reason_against(version, None);
    let running: Vec<Version> = all.iter().filter(|it| reason(it).is_none()).cloned().collect();
    let newest = select::newest(&running);
    let described = newest.as_ref().or(all.first());
    let description = match described {
        Some(version) => place.bytes(&[version.spelling(), DESCRIPTION], DESCRIPTION_LIMIT).await,
        None => None,
    };
    let description = description.map(|bytes| harmless(&String::from_utf8_lossy(&bytes)));
    let known = place.known_signers().await;
    let mut shown = Vec::new();
    for (version, entry) in versions.iter().take(VERSIONS) {
        shown.push(ShownVersion {
            version: version.to_string(),
            is_pre_release: version.is_pre_release(),
            is_open: described == Some(version),
            published: entry.modified.map(timestamp::format_date),
            warning: reason(version).map(|reason| match harmless(reason).as_str() {
                "" => "Withdrawn: it does not run any more.".to_owned(),
                reason => format!("Withdrawn, it does not run any more: {reason}"),
            }),
            platforms: place.artifacts(tool, &entry.name, known.as_ref()).await?,
        });
    }
    Ok(ShownTool {
        name: tool.to_string(),
        description: description.filter(|text| !text.is_empty()),
        left_out: versions.len().saturating_sub(VERSIONS),
        versions: shown,
        newest: newest.map(|version| version.to_string()),
    })
}

/// The directory of a tool, as the caller sees it.
struct Place<'a> {
    app: &'a App,
    grant: &'a Grant<Read>,
}

impl Place<'_> {
    /// Returns what a version has for each platform.
    async fn artifacts(
        &self,
        tool: &ToolName,
        version: &str,
        known: Option<&TrustStore>,
    ) -> Result<Vec<ShownArtifact>, ApiError> {
        let mut shown = Vec::new();
        for os in self.directories(&[version]).await? {
            for arch in self.directories(&[version, &os]).await? {
                let Ok(platform) = format!("{os}/{arch}").parse::<Platform>() else { continue };
                let names = [tool.to_string(), format!("{tool}.exe")];
                for name in names {
                    let segments = [version, &os, &arch, &name];
                    let Some(file) = self.file(&segments).await else { continue };
                    let signature = format!("{name}{SIGNATURE_ENDING}");
                    let signature = [version, &os, &arch, &signature];
                    let signature = self.bytes(&signature, SIGNATURE_LIMIT).await;
                    let Some(path) = self.path(&segments) else { continue };
                    shown.push(ShownArtifact {
                        platform: platform.to_string(),
                        size: Some(in_units(file.length)),
                        signers: signature.map(|it| signers(&it, known)).unwrap_or_default(),
                        place: format!("/{}", path.url_encoded()),
                    });
                    break;
                }
            }
        }
        Ok(shown)
    }

    /// Returns the certificates of the truststore, where uploads are verified with it and the caller may
    /// read it.
    async fn known_signers(&self) -> Option<TrustStore> {
        let path =
            RepoPath::root().join(brand::REPOSITORY_PATH).ok()?.join(TRUSTSTORE_FILE).ok()?;
        self.may(path)?;
        // Without names, signers are shown by their fingerprints.
        self.app.storage.trust(self.app.clock.now()).await.ok().flatten()
    }

    /// Lists the directories below one; none where the caller may not list it.
    async fn directories(&self, names: &[&str]) -> Result<Vec<String>, ApiError> {
        let action = self.path(names).and_then(Read::of).map(|action| action.listing(true));
        let grant = action
            .and_then(|action| self.app.policy.authorise(self.grant.caller().clone(), action).ok());
        let Some(grant) = grant else { return Ok(Vec::new()) };
        match self.app.storage.look(&grant, Detail::Names).await {
            Ok(Found::Directory(directory)) => Ok(directory
                .entries
                .into_iter()
                .filter(|entry| entry.kind == EntryKind::Directory)
                .map(|entry| entry.name)
                .collect()),
            // It went away meanwhile.
            Ok(Found::File(_)) | Err(StorageError::NotFound) => Ok(Vec::new()),
            Err(other) => Err(other.into()),
        }
    }

    /// Opens a file, if it is there for everybody who may read it and the caller may.
    async fn file(&self, names: &[&str]) -> Option<StoredFile> {
        let grant = self.may(self.path(names)?)?;
        match self.app.storage.look(&grant, Detail::Names).await {
            Ok(Found::File(file)) if !file.is_draft => Some(file),
            _ => None,
        }
    }

    /// Reads a file that is not too long.
    async fn bytes(&self, names: &[&str], limit: u64) -> Option<Bytes> {
        let file = self.file(names).await?;
        let length = usize::try_from(file.length).ok().filter(|_length| file.length <= limit)?;
        file.content.read_at(0, length).await.ok()
    }

    fn may(&self, path: RepoPath) -> Option<Grant<Read>> {
        self.app.policy.authorise(self.grant.caller().clone(), Read::of(path)?).ok()
    }

    fn path(&self, names: &[&str]) -> Option<RepoPath> {
        let tool = self.grant.action().path().clone();
        names.iter().try_fold(tool, |path, name| path.join(name).ok())
    }
}

/// Returns who signatures say that they are of: by name where the certificate is known, otherwise by the
/// key.
fn signers(signature: &[u8], known: Option<&TrustStore>) -> Vec<String> {
    let Ok(block) = SignatureBlock::parse(signature) else { return Vec::new() };
    let certificates: Vec<&Certificate> =
        known.iter().flat_map(|store| store.signers()).map(|signer| &signer.certificate).collect();
    let mut names: Vec<String> = Vec::new();
    for claim in block.unverified_claims(&certificates) {
        let of = claim.certificate.and_then(|fingerprint| {
            let certificate = certificates.iter().find(|it| *it.fingerprint() == fingerprint)?;
            Some(harmless(&certificate.name()))
        });
        let name = of.or(claim.issuer).unwrap_or_else(|| "a key it does not name".to_owned());
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

/// Takes out of a text from outside what would show it as another: control characters, and those that
/// turn the direction of reading.
fn harmless(text: &str) -> String {
    let turns = |letter: char| {
        let isolates = '\u{2066}'..='\u{2069}';
        let marks = ['\u{61c}', '\u{200e}', '\u{200f}'];
        marks.contains(&letter)
            || ('\u{202a}'..='\u{202e}').contains(&letter)
            || isolates.contains(&letter)
    };
    let is_shown = |letter: &char| *letter == '\n' || !letter.is_control() && !turns(*letter);
    text.trim().chars().filter(is_shown).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_search_looks_for_all_words_in_names_and_descriptions() {
        let tool = ListedTool {
            name: "Deploy-It".to_owned(),
            newest: None,
            description: Some("Brings releases to Production".to_owned()),
            platforms: Vec::new(),
        };
        for query in ["", " ", "deploy", "PRODUCTION", "production deploy", "ploy-i"] {
            assert!(tool.fits(query), "{query}");
        }
        for query in ["other", "deploy other", "deployit"] {
            assert!(!tool.fits(query), "{query}");
        }
    }

    #[test]
    fn a_text_does_not_show_itself_as_another() {
        assert_eq!(harmless(" a\u{202e}b\u{7}c\nd\u{2066}\u{200f}\u{61c} \r\n"), "abc\nd");
    }
}
