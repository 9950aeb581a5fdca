//! How files get to where they are published: what is there and right stays, what is there and
//! other is not replaced unasked, and the rest is written in order.

use std::io::Cursor;
use std::path::Path;
use std::time::Duration;

use dbt_client::fsx;
use dbt_client::source::{Content, Releases, Replace};
use dbt_client::url::RepositoryUrl;
use dbt_core::clock::Clock;
use dbt_core::digest::{CHECKSUM_FILE_LIMIT, Digest};
use dbt_core::layout::Location;
use dbt_core::release::Subject;
use dbt_core::trust::keys::Certificate;
use dbt_core::trust::openpgp::{SIGNATURE_LIMIT, SignatureBlock};
use dbt_core::version::Version;
use dbt_ui::exit_code::ExitCode;
use dbt_ui::printer::Printer;
use dbt_ui::report::Report;

use super::together::{self, AT_ONCE};
use crate::exchange::{Body, Exchange, Known, Presence, Spot, content_of};
use crate::index;
use crate::place::Place;
use crate::staged::Draft;
use crate::stop::{Explained, Stop};

/// One file to be uploaded.
pub(crate) struct Item {
    /// Where it goes.
    pub(crate) at: Location,
    /// Its bytes.
    pub(crate) body: Box<dyn Body>,
    /// Their length and digest.
    pub(crate) content: Content,
    /// What it is.
    pub(crate) role: Role,
}

/// What a file is: this decides when one that is there already may stay or go.
pub(crate) enum Role {
    /// An artifact or a description.
    Content,
    /// The signature of the item before.
    Signature {
        /// What its notation says.
        binding: String,
    },
    /// The checksum of a file.
    Checksum,
}

impl Item {
    /// Makes an item of bytes in memory.
    pub(crate) fn in_memory(at: Location, bytes: Vec<u8>, role: Role) -> Self {
        let content = content_of(&bytes);
        Self { at, body: Box::new(Cursor::new(bytes)), content, role }
    }
}

/// A file that is where it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Uploaded {
    /// Its URL.
    pub(crate) url: String,
    /// The digest of its bytes.
    pub(crate) sha256: Digest,
    /// How it came there.
    pub(crate) outcome: Outcome,
}

/// How a file came to be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It was written (or, in a dry run, would be).
    Uploaded,
    /// It was there.
    Present,
}

impl Outcome {
    /// Returns one word for scripts.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Uploaded => "uploaded",
            Self::Present => "present",
        }
    }
}

/// Uploads files.
pub(crate) struct Uploader<'a> {
    pub(crate) exchange: &'a Exchange,
    pub(crate) place: &'a Place,
    /// Who signs: his earlier signatures stay. Nobody, where a version is staged.
    pub(crate) signer: Option<&'a Certificate>,
    pub(crate) clock: Clock,
    pub(crate) replace: bool,
    pub(crate) dry_run: bool,
    pub(crate) printer: &'a Printer,
}

/// A file that was dealt with.
struct Carried {
    /// Which of the items it is.
    index: usize,
    uploaded: Uploaded,
    /// Nobody sees it yet but whoever writes it.
    is_draft: bool,
}

/// A file to be dealt with.
struct Task<'a> {
    index: usize,
    item: &'a mut Item,
    decision: Decision,
}

impl Uploader<'_> {
    /// Uploads the files of one version. Where there is a signer, all of them are seen at once, as far as
    /// the place can do that.
    pub(crate) fn upload(
        &self,
        items: &mut [Item],
        subject: &Subject,
        version: &Version,
    ) -> Result<Vec<Uploaded>, Stop> {
        let versions = Location::versions_of(subject);
        let above = Spot::of(self.place, &versions)?;
        if let Some(directory) = above.url().directory()
            && !self.dry_run
            && !directory.join(version.spelling()).exists()
        {
            return self.upload_whole(items, directory, &above, version);
        }
        let releases = self.exchange.releases(&above.base);
        match releases.filter(|_there| !self.dry_run && self.signer.is_some()) {
            Some(releases) => self.upload_released(items, &releases, subject, version),
            None => self.upload_loose(items),
        }
    }

    /// Uploads files, each of which is seen as soon as the server shows it.
    pub(crate) fn upload_loose(&self, items: &mut [Item]) -> Result<Vec<Uploaded>, Stop> {
        let decided = self.decide_as_writer(items)?;
        Ok(uploaded(self.carry_out(items, decided)?))
    }

    /// Uploads the files of a version to a server that may hold them back until they are all there.
    ///
    /// One platform alone appears in one step anyway: so jobs of which each publishes one need not wait
    /// for each other.
    fn upload_released(
        &self,
        items: &mut [Item],
        releases: &Releases,
        subject: &Subject,
        version: &Version,
    ) -> Result<Vec<Uploaded>, Stop> {
        let decided = self.decide_as_writer(items)?;
        let draft = if artifacts(items, &decided, subject, version) > 1 {
            Draft::own(releases, subject, version)?
        } else {
            None
        };
        let carried = self.carry_out(items, decided).inspect_err(|stop| {
            // What was refused is refused again; nothing is left that keeps others from publishing.
            if let Some(draft) = draft.as_ref().filter(|_begun| !may_go_well(stop))
                && draft.release.platforms.is_empty()
            {
                drop(draft.abandon());
            }
        })?;
        let draft = match draft {
            None if self.is_held(items, &carried)? => Draft::own(releases, subject, version)?,
            draft => draft,
        };
        if let Some(draft) = draft {
            draft.commit()?;
        }
        Ok(uploaded(carried))
    }

    /// Says whether a try that was not finished holds back what is there now.
    fn is_held(&self, items: &[Item], carried: &[Carried]) -> Result<bool, Stop> {
        for one in carried.iter().filter(|one| one.is_draft) {
            let Some(item) = items.get(one.index) else { continue };
            // It was one when it came. What came after it may have completed its platform.
            if self.exchange.is_draft(&Spot::of(self.place, &item.at)?)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Decides about every file by what whoever writes can see, if there is anything to be written.
    fn decide_as_writer(&self, items: &mut [Item]) -> Result<Vec<Decision>, Stop> {
        let decided = self.decide(items)?;
        let is_complete = decided.iter().all(|decision| matches!(decision, Decision::Keep { .. }));
        // A version that an earlier try has not finished is shown to those alone who may write it.
        if !is_complete && !self.dry_run && self.exchange.begin_writing() {
            return self.decide(items);
        }
        Ok(decided)
    }

    /// Writes what is to be written, several files at once: everything else first, and then the
    /// checksums. Where they may replace others, each follows its own file at once.
    fn carry_out(&self, items: &mut [Item], decided: Vec<Decision>) -> Result<Vec<Carried>, Stop> {
        let (mut files, mut checksums) = (Vec::<Vec<Task<'_>>>::new(), Vec::new());
        let (mut count, mut length, mut is_local) = (0_u32, 0, false);
        for (index, (item, decision)) in items.iter_mut().zip(decided).enumerate() {
            if matches!(decision, Decision::Write(_)) {
                (count, length) = (count + 1, length + item.content.length);
            }
            is_local |= self.place.tree(item.at.tree)?.directory().is_some();
            let is_beginning = matches!(item.role, Role::Content);
            let is_last = matches!(item.role, Role::Checksum) && !self.replace;
            let task = Task { index, item, decision };
            match files.last_mut() {
                _ if is_last => checksums.push(vec![task]),
                Some(tasks) if !is_beginning => tasks.push(task),
                _ => files.push(vec![task]),
            }
        }
        let threads = if is_local { 1 } else { AT_ONCE };
        let bar = self.exchange.bar();
        if !self.dry_run && count > 0 {
            bar.begin(&format!("writing {count} files"), Some(length));
        }
        let mut carried = Vec::new();
        for round in [files, checksums] {
            let one_by_one = |tasks: Vec<Task<'_>>| {
                let carried = tasks.into_iter().map(|task| self.carry_out_one(task));
                carried.collect::<Result<Vec<Carried>, Stop>>()
            };
            let done = together::each(round, threads, || self.exchange.end(), one_by_one);
            carried.extend(done.inspect_err(|_stop| bar.end())?.into_iter().flatten());
        }
        bar.end();
        carried.sort_unstable_by_key(|one| one.index);
        if !self.dry_run {
            let spots: Result<Vec<Spot>, Stop> =
                items.iter().map(|item| Spot::of(self.place, &item.at)).collect();
            index::bucket::follow(&spots?, self.exchange)?;
        }
        Ok(carried)
    }

    /// Makes a version of a directory beside its place and renames it into it.
    fn upload_whole(
        &self,
        items: &mut [Item],
        directory: &Path,
        above: &Spot,
        version: &Version,
    ) -> Result<Vec<Uploaded>, Stop> {
        let failed = |error| fsx::FsxError::new("create a directory in", directory, error);
        std::fs::create_dir_all(directory).map_err(failed)?;
        remove_abandoned(directory, self.clock);
        let staging =
            tempfile::Builder::new().prefix(STAGING).tempdir_in(directory).map_err(failed)?;
        let base = RepositoryUrl::of_directory(staging.path())?;
        let length = items.iter().map(|item| item.content.length).sum();
        self.exchange.bar().begin(&format!("writing {} files", items.len()), Some(length));
        let mut uploaded = Vec::new();
        for item in items.iter_mut() {
            let staged = Spot { base: base.clone(), path: item.at.path.clone() };
            let published = Spot { base: above.base.clone(), path: item.at.path.clone() };
            self.exchange.write(&staged, &mut item.body, &item.content, Replace::CreateOnly)?;
            uploaded.push(Uploaded {
                url: published.url().to_string(),
                sha256: item.content.sha256,
                outcome: Outcome::Uploaded,
            });
        }
        self.exchange.bar().end();
        let made = staging.path().join(above.path.as_str()).join(version.spelling());
        index::fill(&made)?;
        fsx::rename(&made, &directory.join(version.spelling()))?;
        fsx::sync_dir(directory)?;
        let path = above.path.join(version.spelling()).map_err(Report::internal)?;
        index::follow(&Spot { base: above.base.clone(), path })?;
        Ok(uploaded)
    }

    /// Decides about every file before the first is written, so that what is refused leaves no
    /// trace.
    fn decide(&self, items: &mut [Item]) -> Result<Vec<Decision>, Stop> {
        let mut decided = Vec::new();
        let mut content_is_new = true;
        for index in 0..items.len() {
            let (before, rest) = items.split_at_mut(index);
            let Some(item) = rest.first_mut() else { break };
            let spot = Spot::of(self.place, &item.at)?;
            let decision = match &item.role {
                Role::Content => {
                    let decision = self.decide_content(&spot, &item.content)?;
                    content_is_new = !matches!(decision, Decision::Keep { .. });
                    decision
                }
                Role::Signature { binding } => {
                    let signed = before.last_mut().map(|item| &mut item.body);
                    self.decide_signature(&spot, signed, binding, content_is_new)?
                }
                Role::Checksum => self.decide_checksum(&spot, &item.content)?,
            };
            decided.push(decision);
        }
        Ok(decided)
    }

    fn decide_content(&self, spot: &Spot, content: &Content) -> Result<Decision, Stop> {
        match self.exchange.compare(spot, content)? {
            Presence::Absent => Ok(Decision::Write(Replace::CreateOnly)),
            Presence::Same { is_draft } => Ok(Decision::Keep { sha256: content.sha256, is_draft }),
            Presence::Different => self.replace_or_refuse(spot),
        }
    }

    /// A signature by the same key that is still good stays: it says the same with an older date.
    fn decide_signature(
        &self,
        spot: &Spot,
        signed: Option<&mut Box<dyn Body>>,
        binding: &str,
        content_is_new: bool,
    ) -> Result<Decision, Stop> {
        let Some(Known { bytes, is_draft }) = self.exchange.look(spot, SIGNATURE_LIMIT)? else {
            return Ok(Decision::Write(Replace::CreateOnly));
        };
        if self.is_ours(&bytes, signed, binding) {
            return Ok(Decision::Keep { sha256: Digest::of(&bytes), is_draft });
        }
        if content_is_new {
            // It belongs to nothing, or to what is being replaced.
            return Ok(Decision::Write(Replace::Allowed));
        }
        if self.replace {
            return Ok(Decision::Write(Replace::Allowed));
        }
        Err(UploadError::ForeignSignature { url: spot.url() }.into())
    }

    fn is_ours(&self, known: &[u8], signed: Option<&mut Box<dyn Body>>, binding: &str) -> bool {
        let (Ok(block), Some(content), Some(publishes)) =
            (SignatureBlock::parse(known), signed, self.signer)
        else {
            return false;
        };
        let digests = content.rewind().and_then(|()| block.hash(content, u64::MAX));
        digests.is_ok_and(|digests| {
            let judgement = block.judge(&digests, &[publishes], self.clock.now());
            judgement.good.iter().any(|good| good.notations.iter().any(|said| said == binding))
        })
    }

    fn decide_checksum(&self, spot: &Spot, content: &Content) -> Result<Decision, Stop> {
        let Some(Known { bytes, is_draft }) = self.exchange.look(spot, CHECKSUM_FILE_LIMIT)? else {
            return Ok(Decision::Write(Replace::CreateOnly));
        };
        if Digest::of(&bytes) == content.sha256 {
            return Ok(Decision::Keep { sha256: content.sha256, is_draft });
        }
        self.replace_or_refuse(spot)
    }

    fn replace_or_refuse(&self, spot: &Spot) -> Result<Decision, Stop> {
        if self.replace {
            return Ok(Decision::Write(Replace::Allowed));
        }
        let url = spot.url();
        Err(match self.signer {
            Some(_publishes) => UploadError::PublishedBytes { url },
            None => UploadError::StagedBytes { url },
        }
        .into())
    }

    fn carry_out_one(&self, task: Task<'_>) -> Result<Carried, Stop> {
        let Task { index, item, decision } = task;
        let spot = Spot::of(self.place, &item.at)?;
        let url = spot.url();
        let (outcome, sha256, is_draft) = match decision {
            Decision::Keep { sha256, is_draft } => {
                self.printer.verbose(format!("`{url}` is there"));
                if !self.dry_run {
                    // The try that wrote it may have ended before its page was written.
                    index::follow(&spot)?;
                }
                (Outcome::Present, sha256, is_draft)
            }
            Decision::Write(replace) => {
                let mut is_draft = false;
                if !self.dry_run {
                    self.printer.verbose(format!("writing `{url}`"));
                    let Item { body, content, .. } = item;
                    is_draft = self.exchange.write(&spot, body, content, replace)?;
                    index::follow(&spot)?;
                }
                (Outcome::Uploaded, item.content.sha256, is_draft)
            }
        };
        let uploaded = Uploaded { url: url.to_string(), sha256, outcome };
        Ok(Carried { index, uploaded, is_draft })
    }
}

fn uploaded(carried: Vec<Carried>) -> Vec<Uploaded> {
    carried.into_iter().map(|one| one.uploaded).collect()
}

/// Counts the artifacts of a version that are to be written.
fn artifacts(items: &[Item], decided: &[Decision], subject: &Subject, version: &Version) -> usize {
    let description = match subject {
        Subject::Tool(name) => Some(Location::description(name, version)),
        Subject::Program => None,
    };
    let is_artifact =
        |item: &Item| matches!(item.role, Role::Content) && Some(&item.at) != description.as_ref();
    let decided = items.iter().zip(decided);
    let is_new = |decision: &Decision| matches!(decision, Decision::Write(_));
    decided.filter(|(item, decision)| is_artifact(item) && is_new(decision)).count()
}

/// Says whether the same command may go well later. Where something was refused, it would be again.
pub(crate) fn may_go_well(stop: &Stop) -> bool {
    [ExitCode::UNREACHABLE, ExitCode::INTERNAL].contains(&stop.0.code())
}

/// What the name of a directory begins with in which a version is made.
const STAGING: &str = ".publishing-";

/// After which time nobody is still writing one.
const ABANDONED: Duration = Duration::from_hours(24);

/// Removes what publishers left behind that were ended. What cannot be removed is in nobody's way.
fn remove_abandoned(directory: &Path, clock: Clock) {
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        let is_staging = entry.file_name().to_string_lossy().starts_with(STAGING);
        let modified = entry.metadata().and_then(|metadata| metadata.modified());
        let age = modified.ok().and_then(|modified| clock.now().duration_since(modified).ok());
        if is_staging && age.is_some_and(|age| age > ABANDONED) {
            drop(std::fs::remove_dir_all(entry.path()));
        }
    }
}

/// What is done about one file.
#[derive(Debug, Clone, Copy)]
enum Decision {
    /// What is there stays.
    Keep {
        sha256: Digest,
        /// Nobody sees it yet but whoever writes it.
        is_draft: bool,
    },
    /// It is written.
    Write(Replace),
}

/// Why something that is published is not touched.
#[derive(Debug, thiserror::Error)]
enum UploadError {
    #[error("`{url}` is published with other content")]
    PublishedBytes { url: RepositoryUrl },
    #[error("`{url}` is staged or published with other content")]
    StagedBytes { url: RepositoryUrl },
    #[error("`{url}` is published, and is not a signature by this key that names what it signs")]
    ForeignSignature { url: RepositoryUrl },
}

impl Explained for UploadError {
    fn code(&self) -> ExitCode {
        ExitCode::VERIFICATION_REFUSED
    }

    fn hints(&self) -> Vec<String> {
        let hint = match self {
            Self::PublishedBytes { .. } => {
                "publish it as a new version; machines that have this one would see it change \
                 (`--replace` does it all the same)"
            }
            Self::StagedBytes { .. } => {
                "`--replace` gives up what is staged; what is published stays as it is: stage a \
                 new version"
            }
            Self::ForeignSignature { .. } => {
                "`publisher sign TOOL VERSION` adds a signature beside those that are there"
            }
        };
        vec![hint.to_owned()]
    }
}
