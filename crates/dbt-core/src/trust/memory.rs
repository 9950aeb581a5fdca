//! What this machine remembers of one server's certificates, and how a truststore as served
//! becomes a [`TrustStore`]. (Trust design, 2.7: first use, vouching, removal.)

use std::collections::BTreeMap;
use std::time::SystemTime;

use super::fingerprint::Fingerprint;
use super::keys::{Certificate, Keyring};
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
}

/// What is remembered of one certificate.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
struct Remembered {
    /// It counts as established.
    established: bool,
    /// It was in the truststore at the last look.
    listed: bool,
    /// It was removed from the truststore once. It may come back, but only as a newcomer.
    #[serde(default)]
    removed: bool,
    /// Its name, for what is said when it goes.
    name: String,
    /// The certificate as it was when a revocation was first seen on it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    revoked: Option<String>,
}

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

    /// Remembers that a person approved a certificate; it is established from now on.
    pub fn approve(&mut self, fingerprint: &Fingerprint) {
        let remembered = self.certificates.entry(fingerprint.clone()).or_insert(Remembered {
            established: true,
            listed: false,
            removed: false,
            name: String::new(),
            revoked: None,
        });
        remembered.established = true;
        remembered.removed = false;
    }

    /// Turns certificates as served into a truststore, under what is already known.
    ///
    /// `previous` are the certificates of the last good truststore: one of them that was
    /// established may vouch for a newcomer even if it is no longer served.
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
        if !signers.iter().any(counts) {
            return Err(AssembleError::NoneEstablished {
                newcomers: signers.iter().map(introduce).collect(),
                pinned: self.is_first_contact(),
            });
        }
        let memory = self.updated(&signers);
        let mut changes = self.changes(&signers, demands);
        changes.extend(skipped.iter().map(|skipped| TrustChange::Skipped(skipped.to_string())));
        let store =
            TrustStore::assembled(signers, demands.rules.clone(), demands.strict, confirmation);
        Ok(Assembly { store, memory, changes })
    }

    /// Adds revocations seen earlier: one that was seen once counts for ever.
    fn recall_revocations(&self, certificate: &mut Certificate) {
        let revoked =
            self.certificates.get(certificate.fingerprint()).and_then(|it| it.revoked.as_ref());
        let Some(keyring) = revoked.and_then(|armored| Keyring::parse(armored.as_bytes()).ok())
        else {
            return;
        };
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
            self.manifest
                .as_ref()
                .is_some_and(|pinned| pinned.manifest.certs.contains(certificate.fingerprint()))
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
        let mut vouchers: Vec<Certificate> = previous
            .map(|keyring| keyring.certificates.iter().filter(was_established).cloned().collect())
            .unwrap_or_default();
        for voucher in &mut vouchers {
            self.recall_revocations(voucher);
        }
        let known = signers.iter().filter(|signer| signer.standing > Standing::Newcomer);
        vouchers.extend(known.map(|signer| signer.certificate.clone()));

        while let Some(voucher) = vouchers.pop() {
            if voucher.is_revoked() {
                continue;
            }
            for signer in signers.iter_mut().filter(|signer| signer.standing == Standing::Newcomer)
            {
                let came_back = self
                    .certificates
                    .get(signer.certificate.fingerprint())
                    .is_some_and(|remembered| remembered.removed);
                if !came_back && signer.certificate.is_certified_by(&voucher, now) {
                    signer.standing = Standing::Vouched;
                    vouchers.push(signer.certificate.clone());
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
            certificates.insert(
                certificate.fingerprint().clone(),
                Remembered {
                    established: signer.standing > Standing::Newcomer,
                    listed: true,
                    removed: signer.standing == Standing::Newcomer
                        && known.is_some_and(|it| it.removed),
                    name: certificate.name(),
                    revoked: certificate.has_revocation().then(|| certificate.armored()),
                },
            );
        }
        Self { certificates, manifest: self.manifest.clone() }
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

fn introduce(signer: &Signer) -> Introduction {
    Introduction {
        fingerprint: signer.certificate.fingerprint().clone(),
        name: signer.certificate.name(),
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
