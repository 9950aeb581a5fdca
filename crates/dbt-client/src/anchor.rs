//! What this run trusts: the truststore as served, judged by what this machine remembers.
//!
//! Whatever goes wrong here, the last good truststore stays, tools that were verified go on
//! running under it, and nothing new is installed. (Trust design, 2.7.)

use std::time::{Duration, SystemTime};

use dbt_core::digest::Digest;
use dbt_core::timestamp::Timestamp;
use dbt_core::trust::keys::{Certificate, Keyring, KeyringError, KnownGood};
use dbt_core::trust::manifest::{Manifest, ManifestError, PinnedManifest};
use dbt_core::trust::memory::{AssembleError, Assembly, Demands, TrustMemory};
use dbt_core::trust::{Confirmation, Standing, TrustStore};

use crate::notice::{Newcomers, Notice};
use crate::repository::Repository;
use crate::settings::Server;
use crate::source::{Answer, FetchError, Patience};
use crate::state::{Judged, ServerRecord, ServerState, StateError};
use crate::url::RepositoryUrl;

/// How many manifests in between are fetched when this machine has been away.
const MANIFEST_CHAIN_LIMIT: u64 = 256;

/// How often another run may learn something while this one judges.
const TRIES: u32 = 8;

/// How long a refused first manifest is left alone.
const MANIFEST_RETRY: Duration = Duration::from_hours(24);

/// Judges one server's truststore.
#[derive(Debug)]
pub struct Anchor<'a> {
    /// The server.
    pub server: &'a Server,
    /// What is remembered of it.
    pub state: &'a ServerState,
    /// The signatures between its keys that need not be verified again.
    pub known: &'a KnownGood,
    /// The time of this run.
    pub now: SystemTime,
}

/// What came of asking for the truststore.
#[derive(Debug)]
pub struct Anchored {
    /// What is trusted in this run.
    pub store: TrustStore,
    /// What is to be said.
    pub notices: Vec<Notice>,
}

impl Anchor<'_> {
    /// Returns what was trusted last, unconfirmed because of `reason`; nothing when this machine
    /// has never had a truststore of this server.
    pub fn last_good(&self, reason: &str) -> Result<Option<TrustStore>, AnchorError> {
        let Some(bytes) = self.state.truststore()? else {
            return Ok(None);
        };
        let record = self.state.server()?;
        let keyring = self.read(&bytes).map_err(AnchorError::Damaged)?;
        let confirmation = Confirmation::Unconfirmed(reason.to_owned());
        let assembly = self.assemble(&record.trust, keyring, None, confirmation)?;
        Ok(Some(assembly.store))
    }

    /// Takes the server's answer in. If it is not accepted the last good truststore counts,
    /// unconfirmed; without one, the refusal is the error.
    pub fn confirm(
        &self,
        answer: Answer,
        repository: &Repository,
        manifest_listed: bool,
        patience: &Patience,
    ) -> Result<Anchored, AnchorError> {
        self.refuse_blind_first_use()?;
        // Where the signed index counts it says which truststore does, whatever lies where it usually is.
        if self.state.server()?.trust.demands_listing()
            && let Some(listed) = self.state.truststore()?
        {
            return self.confirm_listed(&listed);
        }
        for _attempt in 0..TRIES {
            let known = self.state.truststore()?;
            let (bytes, etag) = match (&answer, &known) {
                (Answer::Document { bytes, etag }, _) => (bytes, etag.clone()),
                (Answer::NotModified, Some(known)) => (known, self.state.server()?.truststore_etag),
                (Answer::NotModified, None) => return Err(AnchorError::NothingToConfirm),
            };
            let (known, was_accepted) = (known.as_deref(), self.state.is_truststore_accepted()?);
            let offer = Offer { bytes, etag, known, was_accepted, manifest_listed };
            match self.accept(&offer, repository, patience) {
                Ok(Some(anchored)) => return Ok(anchored),
                // Another run has learnt something in between: it is judged anew.
                Ok(None) => {}
                Err(error @ (AnchorError::State(_) | AnchorError::PinnedMissing)) => {
                    return Err(error);
                }
                Err(refusal) => return self.refuse(refusal, offer.bytes),
            }
        }
        self.refuse(AnchorError::Contended, &[])
    }

    /// Takes over the truststore that the server's signed index lists: every certificate in it counts.
    pub(crate) fn confirm_listed(&self, bytes: &[u8]) -> Result<Anchored, AnchorError> {
        for _attempt in 0..TRIES {
            let known = self.state.truststore()?;
            let record = self.state.server()?;
            let keyring = self.read(bytes).map_err(AnchorError::Unreadable)?;
            let previous = known.as_deref().and_then(|bytes| self.read(bytes).ok());
            let mut memory = record.trust.clone();
            if let Some(index) = &mut memory.signed_index {
                let certs = keyring.certificates.iter();
                index.certs = certs.map(|one| one.fingerprint().clone()).collect();
            }
            let confirmation = Confirmation::Confirmed;
            let assembly = self.assemble(&memory, keyring, previous.as_ref(), confirmation)?;
            let (was_accepted, etag) =
                (self.state.is_truststore_accepted()?, record.truststore_etag.clone());
            let known = known.as_deref();
            let offer = Offer { bytes, etag, known, was_accepted, manifest_listed: false };
            if self.keep(&offer, &record, &assembly)? {
                let notices = self.words(&record, assembly.changes);
                return Ok(Anchored { store: assembly.store, notices });
            }
        }
        Err(AnchorError::Contended)
    }

    /// Plain http to another machine is trusted on first use by nobody: anyone on the way could
    /// be the server.
    pub(crate) fn refuse_blind_first_use(&self) -> Result<(), AnchorError> {
        let Server { repository, tools, truststore, rules, .. } = self.server;
        if rules.names_signers() || !self.state.server()?.trust.is_first_contact() {
            return Ok(());
        }
        let is_blind = |url: &&RepositoryUrl| url.is_plain_http() && !url.is_loopback();
        match [repository, tools, truststore].into_iter().find(is_blind) {
            Some(url) => Err(AnchorError::BlindFirstUse { url: url.to_string() }),
            None => Ok(()),
        }
    }

    /// Judges an offer and takes it over; nothing if another run was at work meanwhile.
    fn accept(
        &self,
        offer: &Offer<'_>,
        repository: &Repository,
        patience: &Patience,
    ) -> Result<Option<Anchored>, AnchorError> {
        let record = self.state.server()?;
        let keyring = self.read(offer.bytes).map_err(AnchorError::Unreadable)?;
        let previous = if offer.is_new() {
            offer.known.and_then(|bytes| self.read(bytes).ok())
        } else {
            Some(keyring.clone())
        };
        let mut notices = Vec::new();

        let mut memory = record.trust.clone();
        let evidence = Evidence {
            offer,
            keyring: &keyring,
            previous: previous.as_ref(),
            repository,
            patience,
        };
        if let Some(pinned) = &record.trust.manifest {
            if offer.is_new() {
                memory.manifest = Some(self.next_manifest(&record.trust, pinned, &evidence)?);
            }
        } else if offer.manifest_listed && may_try_manifest(&record, self.now) {
            match self.first_manifest(&record.trust, &evidence) {
                Ok(pinned) => memory.manifest = Some(pinned),
                Err(error) => notices.push(self.manifest_ignored(error)?),
            }
        }
        let assembly =
            self.assemble(&memory, keyring, previous.as_ref(), Confirmation::Confirmed)?;
        if !self.keep(offer, &record, &assembly)? {
            return Ok(None);
        }
        notices.extend(self.words(&record, assembly.changes));
        Ok(Some(Anchored { store: assembly.store, notices }))
    }

    fn read(&self, truststore: &[u8]) -> Result<Keyring, KeyringError> {
        Keyring::parse_knowing(truststore, self.known)
    }

    fn assemble(
        &self,
        memory: &TrustMemory,
        keyring: Keyring,
        previous: Option<&Keyring>,
        confirmation: Confirmation,
    ) -> Result<Assembly, AnchorError> {
        let demands = Demands { rules: &self.server.rules, strict: self.server.strict };
        memory.assemble(keyring, previous, demands, confirmation, self.now).map_err(|error| {
            match error {
                AssembleError::NoneEstablished { pinned: true, .. } => AnchorError::PinnedMissing,
                AssembleError::NoneEstablished { pinned: false, .. } => AnchorError::NobodyKnown,
            }
        })
    }

    /// Accepts the first manifest: only under certificates that count already.
    fn first_manifest(
        &self,
        memory: &TrustMemory,
        evidence: &Evidence<'_>,
    ) -> Result<PinnedManifest, AnchorError> {
        let (bytes, signature) = evidence.manifest(None)?;
        let Evidence { keyring, previous, offer, .. } = *evidence;
        let assembly = self.assemble(memory, keyring.clone(), previous, Confirmation::Confirmed)?;
        let trusted: Vec<&Certificate> = assembly
            .store
            .signers()
            .iter()
            .filter(|signer| signer.standing > Standing::Newcomer)
            .map(|signer| &signer.certificate)
            .collect();
        let pinned = PinnedManifest::first(&bytes, &signature, &trusted, self.now)?;
        offer.check_against(&pinned)?;
        Ok(pinned)
    }

    /// Follows the manifests from the pinned one to the one that names this truststore.
    fn next_manifest(
        &self,
        memory: &TrustMemory,
        pinned: &PinnedManifest,
        evidence: &Evidence<'_>,
    ) -> Result<PinnedManifest, AnchorError> {
        let certificates = memory.with_revocations(evidence.keyring, evidence.previous);
        let certificates: Vec<&Certificate> = certificates.iter().collect();
        let (bytes, signature) = evidence.manifest(None)?;
        let newest = Manifest::parse(&bytes)?.version;
        let behind = newest.saturating_sub(pinned.manifest.version);
        if behind > MANIFEST_CHAIN_LIMIT {
            return Err(AnchorError::TooFarBehind(behind));
        }
        let mut pinned = pinned.clone();
        for version in pinned.manifest.version + 1..newest {
            let (bytes, signature) = evidence.manifest(Some(version))?;
            pinned = pinned.follow(&bytes, &signature, &certificates, self.now)?;
        }
        let pinned = pinned.follow(&bytes, &signature, &certificates, self.now)?;
        evidence.offer.check_against(&pinned)?;
        Ok(pinned)
    }

    /// A manifest that is not accepted on a server without one changes nothing: it is ignored.
    fn manifest_ignored(&self, error: AnchorError) -> Result<Notice, AnchorError> {
        self.state.change_server(|record| record.manifest_refused = Some(Timestamp(self.now)))?;
        Ok(Notice::Housekeeping(format!(
            "the truststore's manifest on server `{}` is ignored: {}",
            self.server.name,
            in_one_line(&error)
        )))
    }

    /// Remembers what was accepted, if it was judged by all that is known by now. An unchanged
    /// truststore costs no write.
    fn keep(
        &self,
        offer: &Offer<'_>,
        read: &ServerRecord,
        assembly: &Assembly,
    ) -> Result<bool, AnchorError> {
        let now = self.now;
        let judged = Judged { trust: &read.trust, truststore: offer.known };
        let kept = self.state.accept_truststore(&judged, offer.bytes, |record| {
            record.trust = assembly.memory.clone();
            record.truststore_etag.clone_from(&offer.etag);
            record.truststore_sha256 = Some(Digest::of(offer.bytes));
            if is_due(record.confirmed, now) || record.failures > 0 {
                record.confirmed = Some(Timestamp(now));
            }
            record.failures = 0;
            record.failed = None;
            record.failure = None;
        })?;
        Ok(kept)
    }

    fn words(
        &self,
        record: &ServerRecord,
        changes: Vec<dbt_core::trust::memory::TrustChange>,
    ) -> Vec<Notice> {
        use dbt_core::trust::memory::TrustChange;
        let first = record.trust.is_first_contact();
        changes
            .into_iter()
            .map(|change| match change {
                TrustChange::FirstUse(keys) if first => {
                    Notice::FirstUse { server: self.server.repository.to_string(), keys }
                }
                change @ (TrustChange::FirstUse(_)
                | TrustChange::Added(_)
                | TrustChange::Removed { .. }
                | TrustChange::Skipped(_)) => {
                    let server = self.server.name.to_string();
                    Notice::TrustChanged { server, change, newcomers: self.newcomers() }
                }
            })
            .collect()
    }

    fn newcomers(&self) -> Newcomers {
        if self.server.strict {
            Newcomers::SignNothing
        } else if self.server.rules.names_signers() {
            Newcomers::SignTheRest
        } else {
            Newcomers::SignTools
        }
    }

    /// Goes on under the last good truststore. Only the revocations in what was offered are
    /// believed.
    fn refuse(&self, refusal: AnchorError, offered: &[u8]) -> Result<Anchored, AnchorError> {
        let reason = in_one_line(&refusal);
        if let Ok(keyring) = self.read(offered) {
            self.state.change_server(|record| record.trust.remember_revocations(&keyring))?;
        }
        self.known.forget();
        match self.last_good(&reason)? {
            Some(store) => {
                let server = self.server.name.to_string();
                Ok(Anchored { store, notices: vec![Notice::TruststoreRefused { server, reason }] })
            }
            None => Err(refusal),
        }
    }
}

/// What a manifest is judged by.
struct Evidence<'a> {
    offer: &'a Offer<'a>,
    keyring: &'a Keyring,
    previous: Option<&'a Keyring>,
    repository: &'a Repository,
    patience: &'a Patience,
}

impl Evidence<'_> {
    /// Fetches the current manifest, or the kept one of an earlier version, with its signature.
    fn manifest(&self, version: Option<u64>) -> Result<(Vec<u8>, Vec<u8>), AnchorError> {
        self.repository.manifest(version, self.patience).map_err(AnchorError::Manifest)
    }
}

/// A truststore as offered in this run.
struct Offer<'a> {
    bytes: &'a [u8],
    etag: Option<String>,
    known: Option<&'a [u8]>,
    /// What is remembered was made for the known one.
    was_accepted: bool,
    manifest_listed: bool,
}

impl Offer<'_> {
    fn is_new(&self) -> bool {
        !self.was_accepted || self.known != Some(self.bytes)
    }

    fn check_against(&self, pinned: &PinnedManifest) -> Result<(), AnchorError> {
        if pinned.manifest.sha256 == Digest::of(self.bytes) {
            Ok(())
        } else {
            Err(AnchorError::OtherTruststore)
        }
    }
}

fn may_try_manifest(record: &ServerRecord, now: SystemTime) -> bool {
    let refused = record.manifest_refused.map(|Timestamp(refused)| refused);
    refused
        .is_none_or(|refused| now.duration_since(refused).is_ok_and(|since| since > MANIFEST_RETRY))
}

/// Says whether a time of last confirmation is old enough to be written again: it is shown to
/// people in minutes, and a write on every run would cost more than it tells.
pub(crate) fn is_due(last: Option<Timestamp>, now: SystemTime) -> bool {
    const PRECISION: Duration = Duration::from_mins(5);
    last.is_none_or(|Timestamp(last)| now.duration_since(last).map_or(true, |age| age > PRECISION))
}

/// Joins an error and its causes, for a sentence. Whatever outside text they quote, it stays on its
/// line, wherever the sentence is kept or shown.
pub fn in_one_line(error: &dyn std::error::Error) -> String {
    let mut words = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        words = format!("{words}: {error}");
        cause = error.source();
    }
    if !words.contains(char::is_control) {
        return words;
    }
    let mut safe = String::with_capacity(words.len() + 16);
    for c in words.chars() {
        if c.is_control() {
            safe.extend(c.escape_unicode());
        } else {
            safe.push(c);
        }
    }
    safe
}

/// Why a truststore is not trusted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AnchorError {
    /// What is remembered could not be read or written.
    #[error(transparent)]
    State(#[from] StateError),
    /// The saved truststore is damaged.
    #[error("failed to read the truststore saved by an earlier run")]
    Damaged(#[source] KeyringError),
    /// The server's truststore is none.
    #[error("failed to read the truststore")]
    Unreadable(#[source] KeyringError),
    /// The server said "unchanged" of something this machine does not have.
    #[error("the server says that the truststore is unchanged, and there is none here")]
    NothingToConfirm,
    /// None of the certificates that the configuration names is there.
    #[error("none of the keys that the configuration's `trust` names is in the truststore")]
    PinnedMissing,
    /// First contact without an anchor, over a connection that anyone could have changed.
    #[error("first use of `{url}` over plain http without knowing its signing keys")]
    BlindFirstUse {
        /// Which URL.
        url: String,
    },
    /// Nothing new may be installed, and what was asked for would be new.
    #[error("nothing new is installed: {0}")]
    NothingNew(String),
    /// All certificates are strangers.
    #[error("no key that this machine knows is left in the truststore")]
    NobodyKnown,
    /// Other runs change what is remembered again and again.
    #[error("other runs are changing what is remembered of the server")]
    Contended,
    /// The manifest could not be fetched.
    #[error("failed to fetch the truststore's manifest")]
    Manifest(#[source] FetchError),
    /// The manifest is not accepted.
    #[error(transparent)]
    Refused(#[from] ManifestError),
    /// The manifest is about another truststore.
    #[error("the truststore is not the one that its signed manifest names")]
    OtherTruststore,
    /// Too many manifests are missing in between.
    #[error("this machine is {0} manifests behind, more than are followed at once")]
    TooFarBehind(u64),
}

impl AnchorError {
    /// Says whether nothing is wrong with what the server sent.
    pub const fn is_of_this_machine(&self) -> bool {
        matches!(self, Self::State(_))
    }

    /// Returns what the user can do about it, if anything.
    pub fn hint(&self) -> Option<String> {
        let ask = "ask an administrator for the fingerprints that count now";
        match self {
            Self::NothingNew(_) | Self::NobodyKnown | Self::PinnedMissing | Self::OtherTruststore | Self::Refused(_) => {
                Some(ask.to_owned())
            }
            Self::Unreadable(_) => {
                Some("tell the repository's administrator; a proxy or a sign-in page may answer instead of the server".to_owned())
            }
            Self::BlindFirstUse { .. } => Some(
                "use https, or put the fingerprints that an administrator gives you into the server's `trust`".to_owned(),
            ),
            Self::State(error) => Some(error.hint()),
            Self::Damaged(_) => Some(format!(
                "`{} update` fetches it again while the server can be reached",
                dbt_core::brand::PROGRAM
            )),
            Self::NothingToConfirm
            | Self::Contended
            | Self::Manifest(_)
            | Self::TooFarBehind(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sentence_stays_on_its_line_whatever_its_causes_quote() {
        let cause = std::io::Error::other("no `a\nb`\r\u{1b}[2J");
        let error =
            AnchorError::State(StateError::Write(crate::fsx::FsxError::new("write", "/x", cause)));
        let words = "failed to write the state of a server: failed to write `/x`: no `a\\u{a}b`\\u{d}\\u{1b}[2J";
        assert_eq!(in_one_line(&error), words);
    }
}
