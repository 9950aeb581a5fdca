//! Whether a platform may be seen: its artifact, its checksum and its signature are there, belong
//! together, and, where uploads are verified, are what clients will accept.

use std::error::Error;
use std::fs::File;
use std::io::{self, Read as _};
use std::time::SystemTime;

use dbt_core::clock::Clock;
use dbt_core::digest::{CHECKSUM_FILE_LIMIT, Digest};
use dbt_core::layout::{CHECKSUM_ENDING, SIGNATURE_ENDING};
use dbt_core::platform::Platform;
use dbt_core::release::ArtifactId;
use dbt_core::repo_path::RepoPath;
use dbt_core::trust::openpgp::SIGNATURE_LIMIT;
use dbt_core::trust::{Companions, Expectation, Fetched, TrustStore};

use super::Tree;
use super::commit::{follow, skip};
use super::drafts::below;
use crate::storage::StorageError;
use crate::writable::{InVersion, belongs_to};

/// What is thought of a platform.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Judgement {
    /// It may be seen.
    Whole,
    /// These files are missing, or are those of what is being replaced.
    Waiting(Vec<String>),
    /// It will never be whole with what was uploaded, for this reason.
    Refused(String),
}

/// A file that is being uploaded and has no place yet.
#[derive(Clone, Copy)]
pub(super) struct Arriving<'a> {
    pub(super) name: &'a str,
    pub(super) file: &'a File,
    pub(super) digest: Digest,
}

/// The files of a platform as they would be with a draft, and an arriving file, in the tree.
pub(super) struct Outlook<'a> {
    pub(super) tree: &'a Tree,
    pub(super) inside: &'a InVersion,
    pub(super) platform: &'a RepoPath,
    /// Where the files of the platform lie that are not in the tree yet.
    pub(super) drafted: Option<RepoPath>,
    pub(super) arriving: Option<Arriving<'a>>,
    pub(super) trust: Option<&'a TrustStore>,
}

/// A file of the outlook.
struct Seen {
    file: File,
    digest: Option<Digest>,
    /// It is not in the tree yet.
    is_new: bool,
    modified: SystemTime,
}

impl Seen {
    /// Says whether a companion is that of an artifact before this one: of the one that is being
    /// replaced, or of an upload that was given up. Its successor is on its way.
    fn is_of_an_earlier_attempt(&self, artifact: &Self) -> bool {
        artifact.is_new && (!self.is_new || self.modified < artifact.modified)
    }
}

impl Outlook<'_> {
    /// Judges the platform. Reads the artifact if that was not done before.
    pub(super) fn judge(&self) -> io::Result<Judgement> {
        let new = self.new_names();
        let mut missing = Vec::new();
        let mut is_whole = false;
        for artifact in self.inside.artifact_names() {
            if !new.iter().any(|name| belongs_to(name, &artifact)) {
                continue;
            }
            match self.judge_artifact(&artifact)? {
                Judgement::Whole => is_whole = true,
                Judgement::Waiting(files) => missing.extend(files),
                refused @ Judgement::Refused(_) => return Ok(refused),
            }
        }
        Ok(if is_whole && missing.is_empty() {
            Judgement::Whole
        } else {
            Judgement::Waiting(missing)
        })
    }

    fn judge_artifact(&self, name: &str) -> io::Result<Judgement> {
        let names = ["", CHECKSUM_ENDING, SIGNATURE_ENDING].map(|ending| format!("{name}{ending}"));
        let [artifact_name, checksum_name, signature_name] = &names;
        let artifact = self.find(artifact_name)?;
        let checksum = self.find(checksum_name)?;
        let signature = self.find(signature_name)?;
        let waits_for = |name: &str| Ok(Judgement::Waiting(vec![self.shown(name)]));
        let refused = |reason: String| Ok(Judgement::Refused(reason));

        // What is wrong already is said before everything is there.
        let text = match &checksum {
            Some(checksum) => read(&checksum.file, CHECKSUM_FILE_LIMIT)?,
            None => Vec::new(),
        };
        let expected = Digest::from_checksum_file(&text);
        if let (Some(checksum), Err(error)) = (&checksum, &expected)
            && checksum.is_new
        {
            return refused(format!("`{}` holds no checksum: {error}", self.shown(checksum_name)));
        }
        let actual = match &artifact {
            Some(Seen { digest: None, file, .. }) => Some(super::hash(file)?),
            Some(Seen { digest, .. }) => *digest,
            None => None,
        };
        if let (Some(artifact), Some(checksum)) = (&artifact, &checksum)
            && let (Some(actual), Ok(expected)) = (&actual, &expected)
            && (artifact.is_new && checksum.is_new && actual != expected)
        {
            if checksum.is_of_an_earlier_attempt(artifact) {
                return waits_for(checksum_name);
            }
            return refused(format!(
                "the checksum of `{}` does not match: `{}` says {expected}, the file has {actual}",
                self.shown(artifact_name),
                self.shown(checksum_name)
            ));
        }
        let (Some(artifact), Some(checksum), Some(signature)) = (artifact, checksum, signature)
        else {
            let mut missing = Vec::new();
            for name in &names {
                if self.find(name)?.is_none() {
                    missing.push(self.shown(name));
                }
            }
            return Ok(Judgement::Waiting(missing));
        };
        if actual != expected.ok() {
            // One of the two is published, and the other one replaces it.
            return waits_for(if checksum.is_new { artifact_name } else { checksum_name });
        }
        let Some(trust) = self.trust else { return Ok(Judgement::Whole) };
        if !artifact.is_new && !checksum.is_new && !signature.is_new {
            return Ok(Judgement::Whole);
        }
        let Some(id) = self.id() else {
            return refused(format!(
                "no client knows the platform `{}`, so nothing can be verified for it",
                self.platform
            ));
        };
        let companions =
            Companions { checksum: text, signature: read(&signature.file, SIGNATURE_LIMIT)? };
        let is_earlier = signature.is_of_an_earlier_attempt(&artifact);
        let fetched = Fetched::from_network(id, artifact.file, companions);
        match trust.verify(fetched, &Expectation::default(), Clock::System.now()) {
            Ok(_verified) => Ok(Judgement::Whole),
            Err(_error) if is_earlier => waits_for(signature_name),
            Err(error) => refused(in_words(&error)),
        }
    }

    /// Returns the names of the files that are not in the tree yet.
    fn new_names(&self) -> Vec<String> {
        let drafted = self.drafted.as_ref();
        let entries = drafted.map(|place| self.tree.root.entries(place).unwrap_or_default());
        let mut names: Vec<String> =
            entries.unwrap_or_default().into_iter().map(|(name, _kind)| name).collect();
        names.extend(self.arriving.map(|arriving| arriving.name.to_owned()));
        names
    }

    fn find(&self, name: &str) -> io::Result<Option<Seen>> {
        if let Some(arriving) = self.arriving.filter(|arriving| arriving.name == name) {
            let file = arriving.file.try_clone()?;
            let modified = file.metadata()?.modified()?;
            return Ok(Some(Seen { file, digest: Some(arriving.digest), is_new: true, modified }));
        }
        if let Some(drafted) = &self.drafted
            && let Some(seen) = self.open(&below(drafted, name), true)?
        {
            return Ok(Some(seen));
        }
        self.open(&below(&follow(&self.inside.version, self.platform), name), false)
    }

    fn open(&self, place: &RepoPath, is_new: bool) -> io::Result<Option<Seen>> {
        let file = match self.tree.root.open(place) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) if super::beneath::is_not_a_directory(&error) => return Ok(None),
            Err(error) => return Err(error),
        };
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Ok(None);
        }
        let digest = self.tree.remembered.recall(place, super::Identity::of(&metadata));
        let modified = metadata.modified()?;
        Ok(Some(Seen { file, digest, is_new, modified }))
    }

    fn id(&self) -> Option<ArtifactId> {
        let version = self.inside.version.file_name()?.parse().ok()?;
        let platform: Platform = self.platform.as_str().parse().ok()?;
        Some(ArtifactId { subject: self.inside.subject.clone(), version, platform })
    }

    fn shown(&self, name: &str) -> String {
        below(self.platform, name).to_string()
    }
}

impl Tree {
    /// Refuses to put something back in the tree that could not be published there now.
    pub(super) fn refuse_what_does_not_verify(
        &self,
        path: &RepoPath,
        content: &RepoPath,
    ) -> Result<(), StorageError> {
        let Some(trust) = self.trust(Clock::System.now())? else { return Ok(()) };
        let failed = |error| super::publish::writing("verify", path, error);
        let depth = content.segments().count();
        let mut judged = Vec::new();
        for file in self.files_below(content) {
            let seen = follow(path, &skip(&file, depth));
            let Some(inside) = InVersion::of(&seen) else { continue };
            let Some(platform) = inside.platform() else { continue };
            let place = follow(&inside.version, &platform);
            if judged.contains(&place) {
                continue;
            }
            let is_alone = path == &seen;
            let open = self.root.open(&file).map_err(failed)?;
            let arriving = match (is_alone, seen.file_name()) {
                (true, Some(name)) => {
                    let digest = super::hash(&open).map_err(failed)?;
                    Some(Arriving { name, file: &open, digest })
                }
                _ => None,
            };
            let beyond = skip(&place, path.segments().count());
            let drafted = (!is_alone).then(|| follow(content, &beyond));
            let outlook = Outlook {
                tree: self,
                inside: &inside,
                platform: &platform,
                drafted,
                arriving,
                trust: Some(&trust),
            };
            if let Judgement::Refused(reason) = outlook.judge().map_err(failed)? {
                return Err(StorageError::NotPublishable { reason });
            }
            judged.push(place);
        }
        Ok(())
    }
}

fn read(mut file: &File, limit: u64) -> io::Result<Vec<u8>> {
    io::Seek::rewind(&mut file)?;
    let mut bytes = Vec::new();
    // One byte more than is allowed, so that a longer file is seen to be longer.
    file.take(limit + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Returns an error with its causes, for the publisher.
pub(super) fn in_words(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
