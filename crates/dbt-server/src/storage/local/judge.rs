//! Whether a platform may be seen: its artifact, its checksum and its signature are there, belong
//! together, and, where uploads are verified, are what clients will accept.

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
use dbt_core::trust::{Companions, Expectation, Fetched, Foreign, TrustStore, VerifyError};

use super::Tree;
use super::commit::{follow, skip};
use super::drafts::below;
use crate::log::causes;
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
    /// It is what is being uploaded: nothing came after it, whatever the dates say.
    is_arriving: bool,
    modified: SystemTime,
}

impl Seen {
    /// Says whether a companion is that of an artifact before this one: of the one that is being
    /// replaced, or of an upload that was given up. Its successor is on its way.
    fn is_of_an_earlier_attempt(&self, artifact: &Self) -> bool {
        let came_before =
            !self.is_arriving && (artifact.is_arriving || self.modified < artifact.modified);
        artifact.is_new && (!self.is_new || came_before)
    }
}

impl Outlook<'_> {
    /// Judges the platform. Reads the artifact if that was not done before.
    pub(super) fn judge(&self) -> io::Result<Judgement> {
        let new = self.new_names()?;
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
        let companions =
            Companions { checksum: text, signature: read(&signature.file, SIGNATURE_LIMIT)? };
        let is_earlier = signature.is_of_an_earlier_attempt(&artifact);
        match self.verify(trust, artifact.file, companions) {
            Ok(()) => Ok(Judgement::Whole),
            Err(_error) if is_earlier => waits_for(signature_name),
            Err(error) => refused(causes(&error)),
        }
    }

    /// Returns the names of the files that are not in the tree yet.
    fn new_names(&self) -> io::Result<Vec<String>> {
        let entries = match &self.drafted {
            Some(place) => self.tree.root.entries(place)?,
            None => Vec::new(),
        };
        let mut names: Vec<String> = entries.into_iter().map(|(name, _kind)| name).collect();
        names.extend(self.arriving.map(|arriving| arriving.name.to_owned()));
        Ok(names)
    }

    fn find(&self, name: &str) -> io::Result<Option<Seen>> {
        if let Some(arriving) = self.arriving.filter(|arriving| arriving.name == name) {
            let file = arriving.file.try_clone()?;
            let modified = file.metadata()?.modified()?;
            let digest = Some(arriving.digest);
            return Ok(Some(Seen { file, digest, is_new: true, is_arriving: true, modified }));
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
        Ok(Some(Seen { file, digest, is_new, is_arriving: false, modified }))
    }

    /// Verifies an artifact as the clients of its platform would. There are more platforms than
    /// this program knows: others publish for them, and others' clients run there.
    fn verify(
        &self,
        trust: &TrustStore,
        mut artifact: File,
        companions: Companions,
    ) -> Result<(), VerifyError> {
        let (subject, now) = (self.inside.subject.clone(), Clock::System.now());
        let version = self.inside.release.clone();
        if let Ok(platform) = self.platform.as_str().parse::<Platform>() {
            let id = ArtifactId { subject, version, platform };
            let fetched = Fetched::from_network(id, artifact, companions);
            return trust.verify(fetched, &Expectation::default(), now).map(|_verified| ());
        }
        let foreign = Foreign { subject, version, platform: self.platform.to_string() };
        trust.verify_foreign(&foreign, &mut artifact, &companions, now).map(|_endorsement| ())
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
        let mut trust = None;
        let failed = |error| super::publish::writing("verify", path, error);
        let depth = content.segments().count();
        let mut judged = Vec::new();
        for file in self.files_below(content).map_err(failed)? {
            let seen = follow(path, &skip(&file, depth));
            let Some(inside) = InVersion::of(&seen) else { continue };
            let Some(platform) = inside.platform() else { continue };
            let place = follow(&inside.version, &platform);
            if judged.contains(&place) {
                continue;
            }
            if trust.is_none() {
                let Some(usable) = self.trust(Clock::System.now())? else { return Ok(()) };
                trust = Some(usable);
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
                trust: trust.as_ref(),
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
