//! The one verifier: checksum, signature, signer, name.

use std::collections::BTreeSet;
use std::io::{self, Read, Seek};
use std::time::SystemTime;

use crate::digest::{Digest, InvalidDigest};
use crate::name::ToolName;
use crate::release::{self, ArtifactId, Subject};
use crate::version::Version;

use super::fingerprint::Fingerprint;
use super::keys::Certificate;
use super::metadata::{ListedArtifact, Status};
use super::openpgp::{
    ContentDigests, GoodSignature, SignatureBlock, SignatureFormatError, SignatureRefusal,
};
use super::proof::{Companions, Endorsement, Fetched, Origin, Standing, Verified};
use super::rules::{Scope, TrustRules};

/// The largest artifact that is looked at, in bytes: 4 GiB.
///
/// The largest tools known (machine-learning bundles) have about 2 GiB. Without a limit, an
/// endless answer would fill the disk before any signature could be looked at.
pub const ARTIFACT_LIMIT: u64 = 4 << 30;

/// A certificate and how it came to be trusted.
#[derive(Debug, Clone)]
pub struct Signer {
    /// The certificate, with every revocation that was ever seen.
    pub certificate: Certificate,
    /// How it came to be trusted.
    pub standing: Standing,
    /// The signed manifest lists it.
    pub in_manifest: bool,
}

/// Whether the server has just confirmed the truststore.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Confirmation {
    /// It has: new artifacts may be installed.
    Confirmed,
    /// It has not: only what is already here may run. Says why.
    Unconfirmed(String),
}

/// The certificates in force for one server, and the rules about them.
#[derive(Debug, Clone)]
pub struct TrustStore {
    signers: Vec<Signer>,
    rules: TrustRules,
    strict: bool,
    confirmation: Confirmation,
    /// Nothing is verified that signed metadata does not list.
    demands_listing: bool,
}

/// What the caller already knows, and what the artifact must agree with.
#[derive(Debug, Clone, Default)]
pub struct Expectation {
    /// This tool has been seen with signatures that name it: one that does not is refused.
    pub must_be_bound: bool,
    /// The signature must not be older than this.
    pub signed_since: Option<SystemTime>,
    /// What signed metadata says of it, where there is some.
    pub listed: Option<ListedArtifact>,
}

/// An artifact for a platform that this program does not know. It can be judged and never run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Foreign {
    /// What it is.
    pub subject: Subject,
    /// Its version.
    pub version: Version,
    /// Where it runs: two segments of a path, as `freebsd/386`.
    pub platform: String,
}

/// A signed document that is not an artifact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Document {
    /// A tool's withdrawn versions.
    Withdrawn(ToolName),
    /// The description of a version of a tool.
    Description(ToolName, Version),
    /// The root of signed metadata, by its version: whoever may sign the program itself may bring it to machines that
    /// know no root yet.
    Root(u64),
}

impl Document {
    /// Returns what its signature says it is for.
    pub fn binding(&self) -> String {
        match self {
            Self::Withdrawn(tool) => format!("withdrawn/{tool}"),
            Self::Root(version) => format!("root/{version}"),
            Self::Description(tool, version) => format!("description/{tool}/{version}"),
        }
    }

    fn subject(&self) -> Subject {
        match self {
            Self::Withdrawn(tool) | Self::Description(tool, _) => Subject::Tool(tool.clone()),
            Self::Root(_) => Subject::Program,
        }
    }
}

impl TrustStore {
    pub(super) const fn assembled(
        signers: Vec<Signer>,
        rules: TrustRules,
        strict: bool,
        confirmation: Confirmation,
    ) -> Self {
        Self { signers, rules, strict, confirmation, demands_listing: false }
    }

    pub(super) const fn demand_listing(&mut self) {
        self.demands_listing = true;
    }

    /// Returns the certificates, with their standing.
    pub fn signers(&self) -> &[Signer] {
        &self.signers
    }

    /// Says whether the server has just confirmed these certificates.
    pub const fn confirmation(&self) -> &Confirmation {
        &self.confirmation
    }

    /// Says whether new artifacts may be installed under these certificates now.
    pub fn is_confirmed(&self) -> bool {
        self.confirmation == Confirmation::Confirmed
    }

    /// Checks an artifact: its checksum, its signature, whether the signer may sign it, and that
    /// the signature was made for it. The content is read once.
    ///
    /// What comes from the network is refused outright while the truststore is unconfirmed.
    pub fn verify<C: Read + Seek>(
        &self,
        fetched: Fetched<C>,
        expectation: &Expectation,
        now: SystemTime,
    ) -> Result<Verified<C>, VerifyError> {
        let Fetched { id, mut content, companions, origin, remembered } = fetched;
        let artifact = id.to_string();

        if let (Origin::Network, Confirmation::Unconfirmed(reason)) = (origin, &self.confirmation) {
            return Err(VerifyError::Unconfirmed { artifact, reason: reason.clone() });
        }
        let claim = Claim::artifact(&id, expectation);
        if self.demands_listing && expectation.listed.is_none() {
            return Err(VerifyError::NotListed { artifact });
        }
        let (digests, endorsement) =
            self.check(&claim, &mut content, &companions, remembered, now)?;
        if let Some(listed) = &expectation.listed {
            agrees(listed, &artifact, digests.sha256(), &endorsement.signer)?;
        }
        if expectation.signed_since.is_some_and(|since| endorsement.made < since) {
            return Err(VerifyError::SignedEarlier { artifact });
        }
        Ok(Verified { id, content, companions, digests, endorsement })
    }

    /// Checks an artifact for a platform that this program does not know, by the same rules. What
    /// comes of it is an opinion; nothing that runs.
    pub fn verify_foreign<C: Read + Seek>(
        &self,
        foreign: &Foreign,
        content: &mut C,
        companions: &Companions,
        now: SystemTime,
    ) -> Result<Endorsement, VerifyError> {
        let Foreign { subject, version, platform } = foreign;
        let claim = Claim {
            shown: format!("{subject} {version} ({platform})"),
            binding: release::binding(subject, version, platform),
            subject: subject.clone(),
            must_be_bound: false,
            counts_for_ever: false,
        };
        self.check(&claim, content, companions, None, now).map(|(_digests, opinion)| opinion)
    }

    /// Checks content against its checksum and its signature.
    fn check<C: Read + Seek>(
        &self,
        claim: &Claim,
        content: &mut C,
        companions: &Companions,
        remembered: Option<ContentDigests>,
        now: SystemTime,
    ) -> Result<(ContentDigests, Endorsement), VerifyError> {
        let artifact = || claim.shown.clone();
        let expected = Digest::from_checksum_file(&companions.checksum)
            .map_err(|source| VerifyError::ChecksumFile { artifact: artifact(), source })?;
        let signatures = SignatureBlock::parse(&companions.signature)
            .map_err(|source| VerifyError::SignatureFile { artifact: artifact(), source })?;
        let digests = match remembered {
            Some(digests) => digests,
            None => hash(&signatures, content, &claim.shown)?,
        };
        if digests.sha256() != expected {
            let actual = digests.sha256();
            return Err(VerifyError::Checksum { artifact: artifact(), expected, actual });
        }
        let endorsement = self.endorse(claim, &signatures, &digests, now)?;
        Ok((digests, endorsement))
    }

    /// Checks a signed document in memory. Its signature must name it.
    pub fn verify_document(
        &self,
        document: &Document,
        bytes: &[u8],
        signature: &[u8],
        now: SystemTime,
    ) -> Result<Endorsement, VerifyError> {
        let claim = Claim {
            shown: document.binding(),
            binding: document.binding(),
            subject: document.subject(),
            must_be_bound: true,
            counts_for_ever: matches!(document, Document::Withdrawn(_) | Document::Root(_)),
        };
        let signatures = SignatureBlock::parse(signature).map_err(|source| {
            VerifyError::SignatureFile { artifact: claim.shown.clone(), source }
        })?;
        let mut content = bytes;
        let digests = signatures
            .hash(&mut content, ARTIFACT_LIMIT)
            .map_err(|source| VerifyError::Read { artifact: claim.shown.clone(), source })?;
        self.endorse(&claim, &signatures, &digests, now)
    }

    /// Finds a signature that counts for the claim; otherwise says what is wrong with the best.
    fn endorse(
        &self,
        claim: &Claim,
        signatures: &SignatureBlock,
        digests: &ContentDigests,
        now: SystemTime,
    ) -> Result<Endorsement, VerifyError> {
        let certificates: Vec<&Certificate> =
            self.signers.iter().map(|signer| &signer.certificate).collect();
        let judgement = signatures.judge(digests, &certificates, now);

        let mut refusal = None;
        for good in &judgement.good {
            match self.admit(claim, good, now) {
                Ok(endorsement) => return Ok(endorsement),
                Err(error) => refusal = refusal.or(Some(error)),
            }
        }
        let artifact = claim.shown.clone();
        Err(refusal.unwrap_or_else(|| match judgement.refused.into_iter().next() {
            Some(source) => VerifyError::Signature { artifact, source },
            None => VerifyError::NoSignature { artifact },
        }))
    }

    fn admit(
        &self,
        claim: &Claim,
        good: &GoodSignature,
        now: SystemTime,
    ) -> Result<Endorsement, VerifyError> {
        let artifact = claim.shown.clone();
        let signer = self
            .signers
            .iter()
            .find(|signer| signer.certificate.fingerprint() == &good.signer)
            .ok_or_else(|| VerifyError::NoSignature { artifact: artifact.clone() })?;

        if let Err(reason) = self.may_sign(signer, &claim.subject, now) {
            let signer = good.signer.clone();
            return Err(VerifyError::NotAllowed { artifact, signer, reason });
        }
        if claim.counts_for_ever && signer.standing == Standing::Newcomer {
            let signer = good.signer.clone();
            let reason = "no known key stands behind it, and what it says would count for ever";
            return Err(VerifyError::NotAllowed { artifact, signer, reason });
        }
        if self.strict && good.certificate_expires.is_some_and(|expires| expires <= now) {
            return Err(VerifyError::ExpiredUnderStrict { artifact, signer: good.signer.clone() });
        }
        let bound = claim.check_binding(&good.notations)?;
        Ok(Endorsement {
            signer: good.signer.clone(),
            name: signer.certificate.name(),
            standing: signer.standing,
            made: good.made,
            expires: good.certificate_expires,
            bound,
        })
    }

    /// Decides whether a signer may sign something: the one place.
    fn may_sign(
        &self,
        signer: &Signer,
        subject: &Subject,
        now: SystemTime,
    ) -> Result<(), &'static str> {
        if let Some(scope) = self.rules.signers_of(subject) {
            return if self.scope_admits(scope, signer, now) {
                Ok(())
            } else {
                Err("`trust` in the configuration names other signers for it")
            };
        }
        match (signer.standing, subject) {
            (Standing::Newcomer, Subject::Program) => {
                Err("the key appeared in the truststore later and no known key stands behind it")
            }
            (Standing::Newcomer, Subject::Tool(_)) if self.strict => Err(
                "the key appeared in the truststore later, no known key stands behind it, and this server is `strict`",
            ),
            (Standing::Newcomer, Subject::Tool(_))
            | (Standing::Pinned | Standing::Established | Standing::Vouched, _) => Ok(()),
        }
    }

    /// Says whether a scope of the configuration admits a signer: it is listed, or a listed one
    /// stands behind it, directly or by others. A manifest widens general scopes only.
    fn scope_admits(&self, scope: Scope<'_>, signer: &Signer, now: SystemTime) -> bool {
        let listed = |signer: &Signer| scope.listed.contains(signer.certificate.fingerprint());
        if listed(signer) {
            return true;
        }
        if signer.standing == Standing::Newcomer {
            return false;
        }
        if signer.in_manifest && !scope.specific {
            return true;
        }
        let mut admitted: BTreeSet<&Fingerprint> = BTreeSet::new();
        let mut vouchers: Vec<&Signer> = self.signers.iter().filter(|s| listed(s)).collect();
        while let Some(voucher) = vouchers.pop() {
            for candidate in &self.signers {
                let fingerprint = candidate.certificate.fingerprint();
                if candidate.standing == Standing::Newcomer
                    || admitted.contains(fingerprint)
                    || !candidate.certificate.is_certified_by(&voucher.certificate, now)
                {
                    continue;
                }
                if fingerprint == signer.certificate.fingerprint() {
                    return true;
                }
                admitted.insert(fingerprint);
                vouchers.push(candidate);
            }
        }
        false
    }
}

/// What a signature is asked to stand for.
struct Claim {
    shown: String,
    binding: String,
    subject: Subject,
    must_be_bound: bool,
    /// It cannot be taken back.
    counts_for_ever: bool,
}

impl Claim {
    fn artifact(id: &ArtifactId, expectation: &Expectation) -> Self {
        Self {
            shown: id.to_string(),
            binding: id.binding(),
            subject: id.subject.clone(),
            must_be_bound: expectation.must_be_bound,
            counts_for_ever: false,
        }
    }

    /// Checks that a signature which names what it signs names this; returns whether it does.
    fn check_binding(&self, notations: &[String]) -> Result<bool, VerifyError> {
        if notations.contains(&self.binding) {
            return Ok(true);
        }
        let artifact = self.shown.clone();
        match notations.first() {
            Some(found) => Err(VerifyError::SignedForOther {
                artifact,
                found: found.clone(),
                expected: self.binding.clone(),
            }),
            None if self.must_be_bound => Err(VerifyError::Unbound { artifact }),
            None => Ok(false),
        }
    }
}

/// Checks that signed metadata lists these bytes and names this signer for them: an attacker needs a key of both.
fn agrees(
    listed: &ListedArtifact,
    artifact: &str,
    found: Digest,
    signer: &Fingerprint,
) -> Result<(), VerifyError> {
    let artifact = artifact.to_owned();
    if let Status::Withdrawn { reason } = listed.status() {
        return Err(VerifyError::Withdrawn { artifact, reason: reason.clone() });
    }
    if listed.sha256() != found {
        let expected = listed.sha256();
        return Err(VerifyError::OtherThanListed { artifact, expected, actual: found });
    }
    if !listed.signers().contains(signer) {
        let reason = "signed metadata names other signers for it";
        return Err(VerifyError::NotAllowed { artifact, signer: signer.clone(), reason });
    }
    Ok(())
}

fn hash<C: Read + Seek>(
    signatures: &SignatureBlock,
    content: &mut C,
    artifact: &str,
) -> Result<ContentDigests, VerifyError> {
    content
        .rewind()
        .and_then(|()| signatures.hash(content, ARTIFACT_LIMIT))
        .map_err(|source| VerifyError::Read { artifact: artifact.to_owned(), source })
}

/// Why something was refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// Nothing new is installed in a run in which the truststore was not confirmed.
    #[error("`{artifact}` would be new here, and the truststore could not be confirmed: {reason}")]
    Unconfirmed {
        /// What was asked for.
        artifact: String,
        /// Why the truststore is unconfirmed.
        reason: String,
    },
    /// The `.sha256` file holds no checksum.
    #[error("failed to read the checksum of `{artifact}`")]
    ChecksumFile {
        /// What was asked for.
        artifact: String,
        /// What is wrong with the file.
        source: InvalidDigest,
    },
    /// The bytes are not the bytes that were published.
    #[error("checksum of `{artifact}` does not match: expected {expected}, got {actual}")]
    Checksum {
        /// What was asked for.
        artifact: String,
        /// What the `.sha256` file says.
        expected: Digest,
        /// What the content has.
        actual: Digest,
    },
    /// The `.asc` file is not exactly one block of signatures.
    #[error("failed to read the signature of `{artifact}`")]
    SignatureFile {
        /// What was asked for.
        artifact: String,
        /// What is wrong with the file.
        source: SignatureFormatError,
    },
    /// No signature counts; the first one's fault is the cause.
    #[error("no signature of `{artifact}` counts")]
    Signature {
        /// What was asked for.
        artifact: String,
        /// What is wrong with the first signature.
        source: SignatureRefusal,
    },
    /// There is no signature at all.
    #[error("`{artifact}` has no signature")]
    NoSignature {
        /// What was asked for.
        artifact: String,
    },
    /// The signature is good, but its key may not sign this.
    #[error("`{artifact}` is signed by {signer}, which may not sign it: {reason}")]
    NotAllowed {
        /// What was asked for.
        artifact: String,
        /// The signing certificate.
        signer: Fingerprint,
        /// Which rule says so.
        reason: &'static str,
    },
    /// The key has expired, and the server is configured `strict`.
    #[error("`{artifact}` is signed by {signer}, which has expired, and this server is `strict`")]
    ExpiredUnderStrict {
        /// What was asked for.
        artifact: String,
        /// The signing certificate.
        signer: Fingerprint,
    },
    /// The signature was made for something else.
    #[error("the signature of `{artifact}` was made for `{}`, not for `{expected}`", found.escape_debug())]
    SignedForOther {
        /// What was asked for.
        artifact: String,
        /// What the signature names.
        found: String,
        /// What it must name.
        expected: String,
    },
    /// Earlier signatures named the tool, this one does not.
    #[error(
        "the signature of `{artifact}` does not say what it was made for, and earlier ones did"
    )]
    Unbound {
        /// What was asked for.
        artifact: String,
    },
    /// Signed metadata does not list it, and nothing else counts on this server.
    #[error("`{artifact}` is not in the signed index of its server")]
    NotListed {
        /// What was asked for.
        artifact: String,
    },
    /// Signed metadata lists other bytes.
    #[error("`{artifact}` is not what the signed index lists: expected {expected}, got {actual}")]
    OtherThanListed {
        /// What was asked for.
        artifact: String,
        /// The digest that is listed.
        expected: Digest,
        /// The digest of what is here.
        actual: Digest,
    },
    /// Signed metadata says that it must not run.
    #[error("`{artifact}` was withdrawn: {}", reason.escape_debug())]
    Withdrawn {
        /// What was asked for.
        artifact: String,
        /// Why.
        reason: String,
    },
    /// The signature is older than the one it would replace.
    #[error("the signature of `{artifact}` is older than that of the running version")]
    SignedEarlier {
        /// What was asked for.
        artifact: String,
    },
    /// The content could not be read.
    #[error("failed to read `{artifact}` while checking it")]
    Read {
        /// What was asked for.
        artifact: String,
        /// What the system said.
        source: io::Error,
    },
}

impl VerifyError {
    /// Returns what the user can do about it, if anything.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Unconfirmed { .. }
            | Self::Read { .. }
            | Self::SignedEarlier { .. }
            | Self::Withdrawn { .. } => None,
            Self::NotListed { .. } | Self::OtherThanListed { .. } => Some(
                "the repository may be damaged, or somebody is at it; tell its administrator"
                    .to_owned(),
            ),
            Self::ChecksumFile { .. } | Self::Checksum { .. } | Self::SignatureFile { .. } => {
                Some("the repository may be damaged; tell its administrator".to_owned())
            }
            Self::Signature { .. } | Self::NoSignature { .. } | Self::SignedForOther { .. } => {
                Some("do not work around this; tell the repository's administrator".to_owned())
            }
            Self::NotAllowed { signer, .. } => {
                Some(format!("ask an administrator whether {signer} should be trusted"))
            }
            Self::ExpiredUnderStrict { .. } => Some(
                "the publisher must extend the key's life and publish the truststore".to_owned(),
            ),
            Self::Unbound { .. } => {
                Some("its publisher can sign it again with `publisher sign`".to_owned())
            }
        }
    }
}
