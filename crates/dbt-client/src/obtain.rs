//! From a chosen artifact to an installed one: companions, content, verification, store.

use std::time::{Duration, SystemTime};

use dbt_core::digest::Digest;
use dbt_core::layout::Location;
use dbt_core::name::ToolName;
use dbt_core::release::{ArtifactId, Subject};
use dbt_core::trust::history::Deviation;
use dbt_core::trust::{
    ARTIFACT_LIMIT, Companions, Confirmation, Endorsement, Expectation, Fetched, TrustStore,
    VerifyError,
};

use crate::anchor::in_one_line;
use crate::cached_copy::CachedCopies;
use crate::download::{self, DownloadError};
use crate::notice::Notice;
use crate::repository::bytes_of;
use crate::session::Session;
use crate::source::{Class, FetchError, Patience};
use crate::state::{InstalledVersion, ToolRecord};
use crate::store::{Installed, Reservation, Store, StoreError, StoreFile, WritablePlace};

/// How long a run waits for another one that downloads the same bytes.
const RESERVATION_PATIENCE: Duration = Duration::from_mins(10);

/// How long it does without a word.
const SILENCE: Duration = Duration::from_secs(2);

/// And how much longer where a verified copy can run.
const LONGER_WITH_COPY: Duration = Duration::from_secs(8);

/// What is needed to obtain an artifact.
pub(crate) struct Job<'a> {
    pub(crate) session: &'a Session<'a>,
    pub(crate) record: &'a ToolRecord,
    pub(crate) trust: &'a TrustStore,
    pub(crate) patience: &'a Patience,
    pub(crate) copies: &'a CachedCopies<'a>,
    /// A verified copy runs where this takes too long.
    pub(crate) has_copy: bool,
    pub(crate) now: SystemTime,
}

/// An artifact that is here, verified.
#[derive(Debug)]
pub(crate) struct Obtained {
    pub(crate) installed: Installed,
    pub(crate) id: ArtifactId,
    pub(crate) endorsement: Endorsement,
    /// It has other bytes than when it was last seen.
    pub(crate) changed: Option<Deviation>,
    pub(crate) companions: Companions,
    pub(crate) digest: Digest,
    pub(crate) length: u64,
}

impl Job<'_> {
    /// Obtains an artifact; nothing when it is not, or not completely, published.
    ///
    /// `checksum` is the server's current `.sha256`, when it has been asked for already, at the first
    /// of the places where the artifact may be.
    pub(crate) fn obtain(
        &self,
        id: &ArtifactId,
        mut checksum: Option<Result<Vec<u8>, FetchError>>,
    ) -> Result<Option<Obtained>, ObtainError> {
        for at in Location::artifacts(id) {
            if let Some(obtained) = self.obtain_at(&at, id, checksum.take())? {
                return Ok(Some(obtained));
            }
        }
        Ok(None)
    }

    fn obtain_at(
        &self,
        at: &Location,
        id: &ArtifactId,
        checksum: Option<Result<Vec<u8>, FetchError>>,
    ) -> Result<Option<Obtained>, ObtainError> {
        let checksum = match checksum.transpose() {
            Ok(checksum) => checksum,
            Err(error) if error.class() == Class::NotFound => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        if let Some(obtained) = self.unchanged(id, checksum.as_deref()) {
            return Ok(Some(obtained));
        }
        let Some(companions) = self.companions(at, checksum)? else {
            return Ok(None);
        };
        match self.install(at, id, &companions) {
            // Whatever lies beside it, what is not there is not published.
            Err(ObtainError::Download(DownloadError::Fetch(error)))
                if error.class() == Class::NotFound =>
            {
                Ok(None)
            }
            outcome => outcome.map(Some),
        }
    }

    /// Returns the copy that is here, when the server names the same bytes and it still verifies.
    fn unchanged(&self, id: &ArtifactId, checksum: Option<&[u8]>) -> Option<Obtained> {
        let entry = self.entry(id)?;
        let served = Digest::from_checksum_file(checksum?).ok()?;
        if served != entry.sha256 {
            return None;
        }
        let fetched = self.copies.fetched(id.clone(), entry)?;
        // What does not verify any more, because it rotted or because another key counts now,
        // takes the long road: fresh companions, and fresh content if need be.
        self.verify_and_install(fetched).ok()
    }

    fn entry(&self, id: &ArtifactId) -> Option<&InstalledVersion> {
        let platform = id.platform.to_string();
        self.record.installed.iter().find(|entry| {
            entry.version.spelling() == id.version.spelling() && entry.platform == platform
        })
    }

    /// Fetches what lies beside the artifact, as far as it is not known yet.
    fn companions(
        &self,
        at: &Location,
        checksum: Option<Vec<u8>>,
    ) -> Result<Option<Companions>, ObtainError> {
        let repository = self.session.repository();
        let Some(checksum) = checksum else {
            return Ok(repository.companions(at, self.patience)?);
        };
        match bytes_of(repository.signature(at, self.patience)) {
            Ok(signature) => Ok(Some(Companions { checksum, signature })),
            Err(error) if error.class() == Class::NotFound => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Finds or downloads the content that the companions name, verifies and installs it.
    fn install(
        &self,
        at: &Location,
        id: &ArtifactId,
        companions: &Companions,
    ) -> Result<Obtained, ObtainError> {
        let digest = Digest::from_checksum_file(&companions.checksum)
            .map_err(|source| VerifyError::ChecksumFile { artifact: id.to_string(), source })?;
        // Nobody needs to download what will not run.
        self.refuse_withdrawn(id, digest)?;
        self.refuse_change(id, digest)?;
        if let Confirmation::Unconfirmed(reason) = self.trust.confirmation() {
            return Err(ObtainError::Unconfirmed(format!(
                "`{}` {} would be new here, and the truststore could not be confirmed: {reason}",
                id.subject.name(),
                id.version
            )));
        }
        let store = &self.session.store;
        let _reservation = self.reserve(id, digest)?;
        let fetched = |content| Fetched::from_network(id.clone(), content, companions.clone());
        if let Some((content, whose)) = self.content_here(store, id, digest) {
            match self.verify_and_install(fetched(content)) {
                Err(ObtainError::Verify(
                    error @ (VerifyError::Checksum { .. } | VerifyError::Read { .. }),
                )) => match whose {
                    Whose::Ours => self.discard(id, digest, &error),
                    // It is of whatever version the reference has run last, and stays there.
                    Whose::References => self.session.detail(|| in_one_line(&error)),
                },
                outcome => return outcome,
            }
        }
        let content = self.download(store, at, id)?;
        self.verify_and_install(fetched(content))
    }

    /// Waits until no other run downloads the same bytes; only a moment where a copy can run.
    fn reserve(&self, id: &ArtifactId, digest: Digest) -> Result<Reservation, ObtainError> {
        let (store, key) = (&self.session.store, digest.to_string());
        let reservation = store.reserve(&key, SILENCE);
        if reservation.is_held() || !reservation.has_waited() {
            return Ok(reservation);
        }
        let artifact = format!("`{}` {}", id.subject.name(), id.version);
        if self.has_copy {
            let reservation = store.reserve(&key, LONGER_WITH_COPY);
            if reservation.is_held() || !reservation.has_waited() {
                return Ok(reservation);
            }
            return Err(ObtainError::Reserved { artifact, waited: SILENCE + LONGER_WITH_COPY });
        }
        self.session.say(Notice::Waiting { artifact });
        Ok(store.reserve(&key, RESERVATION_PATIENCE))
    }

    /// Looks for bytes that may be the wanted ones: in the store, and else where the reference keeps
    /// its copy. Nothing is believed of them.
    fn content_here(
        &self,
        store: &Store,
        id: &ArtifactId,
        digest: Digest,
    ) -> Option<(StoreFile, Whose)> {
        let ours = store.find(digest, &id.file_name()).map(|content| (content, Whose::Ours));
        ours.or_else(|| match &id.subject {
            Subject::Tool(tool) => {
                let server = &self.session.settings.server.name;
                Some((store.find_reference_copy(server, tool)?, Whose::References))
            }
            Subject::Program => None,
        })
    }

    fn download(
        &self,
        store: &Store,
        at: &Location,
        id: &ArtifactId,
    ) -> Result<StoreFile, ObtainError> {
        let source = self.session.repository().tree(at.tree);
        let mut staged = store.staging()?;
        if let Some(concern) = store.why_elsewhere() {
            let place = match store.writable_place() {
                WritablePlace::Own(path) | WritablePlace::Temporary(path) => {
                    format!("in `{}`", path.display())
                }
                WritablePlace::Memory => "for this run only".to_owned(),
            };
            self.session.say(Notice::Housekeeping(format!("{concern}; tools are kept {place}")));
        }
        self.session.detail(|| format!("downloading {id}"));
        let progress = self.session.progress();
        let scale = self.session.settings.server.time_scale;
        let mut patience = Patience::for_artifact(scale);
        if self.has_copy {
            patience = patience.with_copy_at_hand(scale);
        }
        download::fetch(source, &at.path, ARTIFACT_LIMIT, staged.file_mut(), progress, &patience)
            .map_err(|error| error.at(staged.path()))?;
        Ok(staged)
    }

    fn verify_and_install(&self, fetched: Fetched<StoreFile>) -> Result<Obtained, ObtainError> {
        let expectation =
            Expectation { must_be_bound: self.record.history.must_be_bound(), signed_since: None };
        let verified = self.trust.verify(fetched, &expectation, self.now)?;
        let id = verified.id().clone();
        let (digest, length) = (verified.digest(), verified.length());
        self.refuse_withdrawn(&id, digest)?;
        let endorsement = verified.endorsement().clone();
        let companions = verified.companions().clone();
        let digests = verified.content_digests().clone();
        let changed = self.record.history.compare_digest(&id, digest);
        let installed = self.session.store.install(verified)?;
        self.session.store.remember(&installed, &digests, self.now);
        Ok(Obtained { installed, id, endorsement, changed, companions, digest, length })
    }

    /// Refuses bytes that were withdrawn, whatever number they have now.
    fn refuse_withdrawn(&self, id: &ArtifactId, digest: Digest) -> Result<(), ObtainError> {
        let list = self.record.history.withdrawn();
        match list.and_then(|list| list.reason_against(&id.version, Some(digest))) {
            Some(reason) => Err(ObtainError::Withdrawn { reason: reason.to_owned() }),
            None => Ok(()),
        }
    }

    /// Under `strict`, a version that has other bytes than before is refused before it is fetched.
    fn refuse_change(&self, id: &ArtifactId, digest: Digest) -> Result<(), ObtainError> {
        let strict = self.session.settings.server.strict;
        match self.record.history.compare_digest(id, digest) {
            Some(Deviation::Changed { version, before, after }) if strict => {
                Err(ObtainError::Changed { version: version.to_string(), before, after })
            }
            _ => Ok(()),
        }
    }

    /// Drops a copy that does not verify any more. It is fetched again, and that is said.
    fn discard(&self, id: &ArtifactId, digest: Digest, error: &VerifyError) {
        if let Subject::Tool(tool) = &id.subject {
            let (tool, version) = (tool.clone(), id.version.clone());
            let reason = in_one_line(error);
            self.session.say(Notice::CachedCopyDamaged { tool, version, reason });
        }
        // If it cannot be removed, the fresh copy replaces it or the install fails in words.
        let _removed = self.session.store.discard(digest, &id.file_name());
    }
}

/// Who has put a file where it was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Whose {
    Ours,
    References,
}

/// Why an artifact could not be obtained.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ObtainError {
    /// The server did not give a companion.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// It would be new, and nothing new is installed now.
    #[error("{0}")]
    Unconfirmed(String),
    /// Another run is at it, and a verified copy can run.
    #[error("another run has been downloading {artifact} for more than {} s", waited.as_secs())]
    Reserved {
        /// The tool and its version.
        artifact: String,
        /// How long it was waited for.
        waited: Duration,
    },
    /// The content could not be downloaded.
    #[error(transparent)]
    Download(#[from] DownloadError),
    /// It is not what it should be.
    #[error(transparent)]
    Verify(#[from] VerifyError),
    /// It could not be kept.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// It has bytes that were withdrawn by their publisher.
    #[error("its bytes were withdrawn: {}", .reason.escape_debug())]
    Withdrawn {
        /// Why.
        reason: String,
    },
    /// Under `strict`: the version has other bytes than before.
    #[error(
        "version {version} was {before} before and is {after} now, and this server is `strict`"
    )]
    Changed {
        /// The version.
        version: String,
        /// Its digest when it was last seen.
        before: Digest,
        /// Its digest now.
        after: Digest,
    },
}

impl ObtainError {
    /// Says whether nothing is wrong with what the server sent: this machine cannot keep it.
    pub(crate) const fn is_of_this_machine(&self) -> bool {
        match self {
            Self::Download(error) => !matches!(error, DownloadError::Fetch(_)),
            Self::Verify(error) => matches!(error, VerifyError::Read { .. }),
            // Trying again is the better answer to that.
            Self::Store(error) => !error.may_pass(),
            Self::Fetch(_)
            | Self::Unconfirmed(_)
            | Self::Reserved { .. }
            | Self::Withdrawn { .. }
            | Self::Changed { .. } => false,
        }
    }

    /// Says whether trying again from the beginning may help: another process was at work.
    pub(crate) const fn may_pass(&self) -> bool {
        matches!(self, Self::Store(error) if error.may_pass())
    }

    /// Returns what the user can do about it, if anything.
    pub fn hint(&self, tool: &ToolName) -> Option<String> {
        let offline = || {
            format!(
                "`{} -o {tool}` runs the newest cached copy, if there is one",
                dbt_core::brand::PROGRAM
            )
        };
        match self {
            Self::Verify(error) => {
                Some(error.hint().map_or_else(offline, |hint| format!("{hint}; {}", offline())))
            }
            Self::Changed { .. } => Some(offline()),
            Self::Store(error) => error.hint(),
            Self::Download(
                error @ (DownloadError::NoSpace { .. } | DownloadError::Limited { .. }),
            ) => Some(error.hint().map_or_else(offline, |hint| format!("{hint}; {}", offline()))),
            Self::Download(error) => error.hint(),
            Self::Fetch(_)
            | Self::Unconfirmed(_)
            | Self::Reserved { .. }
            | Self::Withdrawn { .. } => None,
        }
    }
}
