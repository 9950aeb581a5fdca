//! What this machine remembers of one server's certificates, and how a truststore as served
//! becomes a [`TrustStore`]. (Trust design, 2.7: first use, vouching, removal.)

use std::collections::{BTreeMap, BTreeSet};
use std::time::SystemTime;

use super::fingerprint::Fingerprint;
use super::keys::{Certificate, Keyring, SkippedCertificate};
use super::manifest::PinnedManifest;
use super::proof::Standing;
use super::rules::TrustRules;
use super::verify::{Confirmation, Signer, TrustStore};

/// What is remembered of one server's truststore.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(default)]
pub struct TrustMemory {
    certificates: BTreeMap<Fingerprint, Remembered>,
    /// The manifest this machine holds on to: level 1 when there is one.
    pub manifest: Option<PinnedManifest>,
    /// What signed metadata says of the truststore: level 2 when it is enforced.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signed_index: Option<SignedIndex>,
}

/// A server whose metadata this machine has adopted. It never goes back from there.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct SignedIndex {
    /// Names the repository for ever, whatever its URL.
    pub repository_id: String,
    /// Nothing runs that it does not list.
    pub enforced: bool,
    /// The certificates of the truststore that it lists.
    #[serde(default)]
    pub certs: BTreeSet<Fingerprint>,
}

/// What is remembered of one certificate.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own, kept by its name")]
struct Remembered {
    /// It counts as established.
    established: bool,
    /// It was in the truststore at the last look.
    listed: bool,
    /// It was removed from the truststore once. It may come back, but only as a newcomer.
    #[serde(default)]
    removed: bool,
    /// It was never more than a newcomer: of those only so many are remembered.
    #[serde(default)]
    stranger: bool,
    /// Its name, for what is said when it goes.
    name: String,
    /// Its key with every revocation that was ever seen on it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    revoked: Option<String>,
}

/// How many characters of a name, or of what is wrong with a certificate, are kept and shown: who
/// writes the truststore chooses them.
const WORDS_LIMIT: usize = 200;

/// How many certificates that are not used are named.
const SKIPPED_LIMIT: usize = 8;

/// How many strangers are remembered that are not in the truststore any more. Whoever can write
/// the truststore can put others there every day; what is remembered must not grow with that.
const STRANGERS_LIMIT: usize = 256;

/// The most bytes of remembered revocations of a certificate that has counted.
const REVOCATIONS_LIMIT: usize = 256 * 1024;

/// The same of a stranger: room for a key with a few subkeys.
const STRANGER_REVOCATIONS_LIMIT: usize = 8 * 1024;

/// A certificate, as it is introduced to people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Introduction {
    /// Its fingerprint.
    pub fingerprint: Fingerprint,
    /// Its name. Text from outside.
    pub name: String,
    /// When it expires, if ever.
    pub expires: Option<SystemTime>,
    /// How it came to be trusted.
    pub standing: Standing,
}

/// Something about the truststore that is said once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TrustChange {
    /// This machine has never seen this server's truststore: these are trusted from now on.
    FirstUse(Vec<Introduction>),
    /// A certificate is new.
    Added(Introduction),
    /// A certificate is gone.
    Removed {
        /// Its fingerprint.
        fingerprint: Fingerprint,
        /// Its name. Text from outside.
        name: String,
    },
    /// A certificate cannot be used.
    Skipped(String),
}

/// What a truststore amounts to on this machine.
#[derive(Debug)]
pub struct Assembly {
    /// The certificates in force.
    pub store: TrustStore,
    /// What must be remembered from now on.
    pub memory: TrustMemory,
    /// What must be said.
    pub changes: Vec<TrustChange>,
}

/// The server's rules, as configured.
#[derive(Debug, Clone, Copy)]
pub struct Demands<'a> {
    /// `trust` in the configuration.
    pub rules: &'a TrustRules,
    /// `strict` in the configuration.
    pub strict: bool,
}

impl TrustMemory {
    /// Says whether this machine has never seen the server's truststore.
    pub fn is_first_contact(&self) -> bool {
        self.certificates.is_empty()
    }

    /// Says whether nothing runs that signed metadata does not list.
    pub fn demands_listing(&self) -> bool {
        self.signed_index.as_ref().is_some_and(|index| index.enforced)
    }

    /// Remembers that a person approved a certificate; it is established from now on.
    pub fn approve(&mut self, fingerprint: &Fingerprint) {
        let remembered = self.certificates.entry(fingerprint.clone()).or_insert(Remembered {
            established: true,
            listed: false,
            removed: false,
            stranger: false,
            name: String::new(),
            revoked: None,
        });
        remembered.established = true;
        remembered.removed = false;
        remembered.stranger = false;
    }

    /// Remembers the revocations of certificates that this machine knows, and nothing else: also
    /// what is in a truststore that is refused. Only its owner can revoke a key, so whoever shows
    /// a revocation says the truth.
    pub fn remember_revocations(&mut self, served: &Keyring) {
        for certificate in &served.certificates {
            let Some(known) = self.certificates.get(certificate.fingerprint()) else {
                continue;
            };
            let stranger = known.stranger;
            let mut certificate = certificate.clone();
            self.recall_revocations(&mut certificate);
            if let Some(revoked) = revocations(&certificate, stranger)
                && let Some(known) = self.certificates.get_mut(certificate.fingerprint())
            {
                known.revoked = Some(revoked);
            }
        }
    }

    /// Returns the certificates of the truststore and of the one before it, each once, with every
    /// revocation that either of them or this machine's memory knows.
    pub fn with_revocations(
        &self,
        served: &Keyring,
        previous: Option<&Keyring>,
    ) -> Vec<Certificate> {
        let previous = previous.map_or(&[][..], |keyring| &keyring.certificates);
        let mut all = served.certificates.clone();
        for earlier in previous {
            match all.iter_mut().find(|it| it.fingerprint() == earlier.fingerprint()) {
                Some(certificate) => certificate.merge_revocations(earlier),
                None => all.push(earlier.clone()),
            }
        }
        for certificate in &mut all {
            self.recall_revocations(certificate);
        }
        all
    }

    /// Turns certificates as served into a truststore, under what is already known.
    ///
    /// `previous` are the certificates of the last good truststore: one of them that was
    /// established may vouch for a newcomer even if it is no longer served.
    ///
    /// A truststore that is to be confirmed must hold a certificate that counts. One that is only
    /// looked at again, because nothing newer is accepted, need not: each signature is judged by
    /// itself, and what a retired key signed in time stays good.
    pub fn assemble(
        &self,
        served: Keyring,
        previous: Option<&Keyring>,
        demands: Demands<'_>,
        confirmation: Confirmation,
        now: SystemTime,
    ) -> Result<Assembly, AssembleError> {
        let Keyring { mut certificates, skipped } = served;
        for certificate in &mut certificates {
            self.recall_revocations(certificate);
        }
        let signers = self.place(certificates, previous, demands, now);
        let counts = |signer: &Signer| {
            signer.standing > Standing::Newcomer && !signer.certificate.is_revoked()
        };
        if confirmation == Confirmation::Confirmed && !signers.iter().any(counts) {
            return Err(AssembleError::NoneEstablished {
                newcomers: signers.iter().map(introduce).collect(),
                pinned: self.is_first_contact(),
            });
        }
        let memory = self.updated(&signers);
        let mut changes = self.changes(&signers, demands);
        changes.extend(skipped_words(&skipped).into_iter().map(TrustChange::Skipped));
        let mut store =
            TrustStore::assembled(signers, demands.rules.clone(), demands.strict, confirmation);
        if self.demands_listing() {
            store.demand_listing();
        }
        Ok(Assembly { store, memory, changes })
    }

    /// Adds revocations seen earlier: one that was seen once counts for ever.
    fn recall_revocations(&self, certificate: &mut Certificate) {
        let revoked =
            self.certificates.get(certificate.fingerprint()).and_then(|it| it.revoked.as_ref());
        let keyring = revoked.and_then(|armored| {
            Keyring::parse_knowing(armored.as_bytes(), certificate.known()).ok()
        });
        let Some(keyring) = keyring else { return };
        for remembered in &keyring.certificates {
            certificate.merge_revocations(remembered);
        }
    }

    /// Decides the standing of each certificate.
    fn place(
        &self,
        certificates: Vec<Certificate>,
        previous: Option<&Keyring>,
        demands: Demands<'_>,
        now: SystemTime,
    ) -> Vec<Signer> {
        let trust_on_first_use = self.is_first_contact() && !demands.rules.names_signers();
        let in_manifest = |certificate: &Certificate| {
            let fingerprint = certificate.fingerprint();
            let enforced = self.signed_index.as_ref().filter(|index| index.enforced);
            self.manifest.as_ref().is_some_and(|it| it.manifest.certs.contains(fingerprint))
                || enforced.is_some_and(|index| index.certs.contains(fingerprint))
        };
        let standing = |certificate: &Certificate| {
            let fingerprint = certificate.fingerprint();
            let remembered = self.certificates.get(fingerprint);
            if demands.rules.names(fingerprint) {
                Standing::Pinned
            } else if trust_on_first_use || remembered.is_some_and(|it| it.established) {
                Standing::Established
            } else if in_manifest(certificate) {
                Standing::Vouched
            } else {
                Standing::Newcomer
            }
        };
        let mut signers: Vec<Signer> = certificates
            .into_iter()
            .map(|certificate| Signer {
                standing: standing(&certificate),
                in_manifest: in_manifest(&certificate),
                certificate,
            })
            .collect();
        self.vouch(&mut signers, previous, now);
        signers
    }

    /// Raises newcomers that a known certificate stands behind, until nothing changes.
    ///
    /// One that was removed and has come back is not raised: whoever removed it meant it.
    fn vouch(&self, signers: &mut [Signer], previous: Option<&Keyring>, now: SystemTime) {
        let was_established = |certificate: &&Certificate| {
            self.certificates.get(certificate.fingerprint()).is_some_and(|it| it.established)
        };
        let mut vouchers = Vec::new();
        let previous = previous.into_iter().flat_map(|keyring| &keyring.certificates);
        for voucher in previous.filter(was_established) {
            let mut voucher = voucher.clone();
            self.recall_revocations(&mut voucher);
            if voucher.is_revoked() {
                continue;
            }
            // One that is retired in this moment may leave successors; not one that was stolen.
            let served =
                |signer: &&Signer| signer.certificate.fingerprint() == voucher.fingerprint();
            if let Some(signer) = signers.iter().find(served) {
                voucher.merge_revocations(&signer.certificate);
            }
            vouchers.push(voucher);
        }
        let known = signers
            .iter()
            .filter(|signer| signer.standing > Standing::Newcomer)
            .filter(|signer| !signer.certificate.is_revoked());
        vouchers.extend(known.map(|signer| signer.certificate.clone()));

        while let Some(voucher) = vouchers.pop() {
            for signer in signers.iter_mut().filter(|signer| signer.standing == Standing::Newcomer)
            {
                let came_back = self
                    .certificates
                    .get(signer.certificate.fingerprint())
                    .is_some_and(|remembered| remembered.removed);
                if !came_back && signer.certificate.is_certified_by(&voucher, now) {
                    signer.standing = Standing::Vouched;
                    if !signer.certificate.is_revoked() {
                        vouchers.push(signer.certificate.clone());
                    }
                }
            }
        }
    }

    fn updated(&self, signers: &[Signer]) -> Self {
        let mut certificates = self.certificates.clone();
        for remembered in certificates.values_mut() {
            if remembered.listed {
                *remembered = Remembered {
                    established: false,
                    listed: false,
                    removed: true,
                    ..remembered.clone()
                };
            }
        }
        for signer in signers {
            let certificate = &signer.certificate;
            let known = self.certificates.get(certificate.fingerprint());
            let established = signer.standing > Standing::Newcomer;
            let stranger = !established && known.is_none_or(|it| it.stranger);
            certificates.insert(
                certificate.fingerprint().clone(),
                Remembered {
                    established,
                    listed: true,
                    removed: !established && known.is_some_and(|it| it.removed),
                    stranger,
                    name: shortened(&certificate.name()),
                    revoked: revocations(certificate, stranger)
                        .or_else(|| known.and_then(|it| it.revoked.clone())),
                },
            );
        }
        forget_strangers(&mut certificates);
        let (manifest, signed_index) = (self.manifest.clone(), self.signed_index.clone());
        Self { certificates, manifest, signed_index }
    }

    fn changes(&self, signers: &[Signer], demands: Demands<'_>) -> Vec<TrustChange> {
        if self.is_first_contact() {
            return if demands.rules.names_signers() {
                Vec::new()
            } else {
                vec![TrustChange::FirstUse(signers.iter().map(introduce).collect())]
            };
        }
        let was_listed = |fingerprint: &Fingerprint| {
            self.certificates.get(fingerprint).is_some_and(|it| it.listed)
        };
        let added = signers
            .iter()
            .filter(|signer| !was_listed(signer.certificate.fingerprint()))
            .map(|signer| TrustChange::Added(introduce(signer)));
        let removed = self.certificates.iter().filter(|(fingerprint, remembered)| {
            remembered.listed
                && !signers.iter().any(|signer| signer.certificate.fingerprint() == *fingerprint)
        });
        let removed = removed.map(|(fingerprint, remembered)| TrustChange::Removed {
            fingerprint: fingerprint.clone(),
            name: remembered.name.clone(),
        });
        added.chain(removed).collect()
    }
}

/// Forgets strangers that are gone, beyond as many as are worth remembering. Each of them may come
/// back as what it was: a newcomer.
fn forget_strangers(certificates: &mut BTreeMap<Fingerprint, Remembered>) {
    let gone = certificates.iter().filter(|(_, it)| it.stranger && !it.listed);
    let surplus: Vec<Fingerprint> =
        gone.skip(STRANGERS_LIMIT).map(|(fingerprint, _)| fingerprint.clone()).collect();
    for fingerprint in surplus {
        certificates.remove(&fingerprint);
    }
}

fn revocations(certificate: &Certificate, stranger: bool) -> Option<String> {
    let limit = if stranger { STRANGER_REVOCATIONS_LIMIT } else { REVOCATIONS_LIMIT };
    certificate.armored_revocations(limit)
}

/// Says what is not used, in a few lines: there may be hundreds.
fn skipped_words(skipped: &[SkippedCertificate]) -> Vec<String> {
    let (first, rest) = skipped.split_at(skipped.len().min(SKIPPED_LIMIT));
    let mut words: Vec<String> = first.iter().map(|it| shortened(&it.to_string())).collect();
    if !rest.is_empty() {
        words.push(format!("and {} more", rest.len()));
    }
    words
}

fn shortened(words: &str) -> String {
    words.chars().take(WORDS_LIMIT).collect()
}

fn introduce(signer: &Signer) -> Introduction {
    Introduction {
        fingerprint: signer.certificate.fingerprint().clone(),
        name: shortened(&signer.certificate.name()),
        expires: signer.certificate.expires(),
        standing: signer.standing,
    }
}

/// Why a truststore was not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AssembleError {
    /// Nobody in it is known to this machine.
    #[error("no certificate in the truststore is one that this machine knows")]
    NoneEstablished {
        /// Who is in it.
        newcomers: Vec<Introduction>,
        /// The configuration names signers and this is the first contact.
        pinned: bool,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trust::keys::SkipReason;

    #[test]
    fn a_flood_of_certificates_that_are_not_used_is_said_in_a_few_lines() {
        let skipped = |position| SkippedCertificate {
            position,
            fingerprint: None,
            reason: SkipReason::OtherBlock("x".repeat(1000)),
        };
        let words = skipped_words(&(1..=500).map(skipped).collect::<Vec<_>>());
        assert_eq!(words.len(), SKIPPED_LIMIT + 1);
        assert!(words.iter().all(|line| line.len() <= WORDS_LIMIT));
        assert_eq!(words.last().map(String::as_str), Some("and 492 more"));
        assert_eq!(skipped_words(&[skipped(1)]).len(), 1);
    }

    #[test]
    fn only_so_many_strangers_that_are_gone_are_remembered() {
        let remembered = |stranger, listed| Remembered {
            established: false,
            listed,
            removed: true,
            stranger,
            name: String::new(),
            revoked: None,
        };
        let fingerprint = |number: usize| format!("{number:040}").parse::<Fingerprint>().unwrap();
        let mut certificates: BTreeMap<_, _> = (0..2 * STRANGERS_LIMIT)
            .map(|number| (fingerprint(number), remembered(true, false)))
            .collect();
        certificates.insert(fingerprint(9000), remembered(false, false));
        certificates.insert(fingerprint(9001), remembered(true, true));
        forget_strangers(&mut certificates);
        assert_eq!(certificates.len(), STRANGERS_LIMIT + 2);
        assert!(certificates.contains_key(&fingerprint(9000)));
        assert!(certificates.contains_key(&fingerprint(9001)));
    }
}
