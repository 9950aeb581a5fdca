//! One artifact with its companions: judged by the client's own verifier, and what a client does
//! not look at besides.

use std::io::{self, Cursor};

use dbt_client::anchor::in_one_line;
use dbt_client::source::{FetchError, Opened};
use dbt_core::digest::{CHECKSUM_FILE_LIMIT, Digest};
use dbt_core::layout::Location;
use dbt_core::platform::Platform;
use dbt_core::release::{ArtifactId, Subject};
use dbt_core::trust::keys::Certificate;
use dbt_core::trust::openpgp::{SIGNATURE_LIMIT, SignatureBlock, SignatureRefusal};
use dbt_core::trust::withdrawn::Withdrawn;
use dbt_core::trust::{Companions, Expectation, Fetched, TrustStore, VerifyError};

use super::findings::About;
use super::kind::Kind;
use super::reader::Passing;
use super::{Check, Depth};
use crate::binary::Kind as FileKind;

/// What a platform of a version is like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Judged {
    /// For which platform.
    pub(crate) platform: Platform,
    /// Everything that a client asks for is there, right or wrong.
    pub(crate) complete: bool,
    /// A signature that counts names what it signs; nothing where none does.
    pub(crate) bound: Option<bool>,
}

/// How often an artifact is read whose connection breaks in the middle.
const ATTEMPTS: usize = 3;

impl Check<'_> {
    /// Checks an artifact. A failure to read it is a finding.
    pub(crate) fn artifact(&self, id: &ArtifactId, withdrawn: Option<&Withdrawn>) -> Judged {
        let incomplete = Judged { platform: id.platform, complete: false, bound: None };
        let judged = self.try_artifact(id, withdrawn);
        judged.unwrap_or_else(|error| {
            self.findings.failed(About::artifact(id), &error);
            // It is not known to be incomplete.
            Judged { complete: true, ..incomplete }
        })
    }

    fn try_artifact(
        &self,
        id: &ArtifactId,
        withdrawn: Option<&Withdrawn>,
    ) -> Result<Judged, FetchError> {
        let at = Location::artifact(id);
        let checksum = self.reader.document(&Location::checksum(id), CHECKSUM_FILE_LIMIT)?;
        let signature = self.reader.document(&Location::signature(id), SIGNATURE_LIMIT)?;
        let opened = self.reader.open(&at)?;
        let missing = [
            (opened.is_none(), Kind::ARTIFACT_MISSING, at.clone()),
            (checksum.is_none(), Kind::CHECKSUM_MISSING, Location::checksum(id)),
            (signature.is_none(), Kind::SIGNATURE_MISSING, Location::signature(id)),
        ];
        let words = match (&opened, &checksum, &signature) {
            (None, None, None) => "there is nothing for this platform",
            (None, _, _) => "what belongs to the artifact is there without it",
            (Some(_), _, _) => "the artifact is there without it: clients skip this version",
        };
        for (_missing, kind, at) in missing.into_iter().filter(|(missing, ..)| *missing) {
            let nothing_at_all = opened.is_none() && kind != Kind::ARTIFACT_MISSING;
            if nothing_at_all {
                continue;
            }
            // The reference replaces itself by what has a checksum, whoever has made it (wire formats, 5.6).
            let is_accepted = kind == Kind::SIGNATURE_MISSING && id.subject == Subject::Program;
            let found = self.with_reference(words.to_owned(), is_accepted);
            self.findings.add(kind, About::artifact(id), self.reader.shown(&at), found);
        }
        let (Some(opened), Some(checksum), Some(signature)) = (opened, checksum, signature) else {
            return Ok(Judged { platform: id.platform, complete: false, bound: None });
        };
        self.look_at_form(id, &checksum);
        self.look_whether_withdrawn(id, &checksum, withdrawn);
        let companions = Companions { checksum, signature };
        let bound = match (self.scope.depth, self.trust) {
            (Depth::Quick, _) | (_, None) => {
                self.look_at_claims(id, &companions);
                None
            }
            (Depth::Full, Some(trust)) => self.verify(id, &companions, opened, trust)?,
        };
        Ok(Judged { platform: id.platform, complete: true, bound })
    }

    /// Three spellings are read; clients of the reference read one.
    fn look_at_form(&self, id: &ArtifactId, checksum: &[u8]) {
        let Ok(digest) = Digest::from_checksum_file(checksum) else { return };
        if checksum != digest.to_string().as_bytes() {
            let at = self.reader.shown(&Location::checksum(id));
            let found = "it is not the digest alone in lower case";
            self.findings.add(Kind::CHECKSUM_FORM, About::artifact(id), at, found);
        }
    }

    /// The bytes of a withdrawn version run under no other number either.
    fn look_whether_withdrawn(&self, id: &ArtifactId, checksum: &[u8], list: Option<&Withdrawn>) {
        let Ok(digest) = Digest::from_checksum_file(checksum) else { return };
        let reason = list.and_then(|list| list.reason_against(&id.version, Some(digest)));
        if let Some(reason) = reason {
            let at = self.reader.shown(&Location::artifact(id));
            let found = format!("it has the bytes of a version that is withdrawn: {reason}");
            self.findings.add(Kind::BYTES_WITHDRAWN, About::artifact(id), at, found);
        }
    }

    /// Lets the client's verifier judge what passes.
    fn verify(
        &self,
        id: &ArtifactId,
        companions: &Companions,
        opened: Opened,
        trust: &TrustStore,
    ) -> Result<Option<bool>, FetchError> {
        let at = Location::artifact(id);
        let mut opened = opened;
        for attempt in 1.. {
            let mut passing = Passing::new(opened, self.bar);
            let fetched = Fetched::from_network(id.clone(), &mut passing, companions.clone());
            let verdict = trust.verify(fetched, &Expectation::default(), self.now);
            let verdict = verdict.map(|verified| verified.endorsement().bound);
            if attempt < ATTEMPTS
                && verdict.as_ref().is_err_and(|error| kind_of(error) == Kind::UNREACHABLE)
                && let Some(again) = self.reader.open(&at)?
            {
                opened = again;
                continue;
            }
            // Companions that cannot be read are refused before anything else is.
            if verdict.is_ok() || passing.length() > 0 {
                self.tally.add_artifact(passing.length());
                self.look_at_header(id, passing.into_head());
            }
            return Ok(match verdict {
                Ok(bound) => Some(bound),
                Err(error) => {
                    self.refused(id, &error);
                    None
                }
            });
        }
        Ok(None)
    }

    /// Notes why the verifier has refused something.
    fn refused(&self, id: &ArtifactId, error: &VerifyError) {
        let kind = kind_of(error);
        let at = match kind {
            Kind::ARTIFACT_CHANGED | Kind::UNREACHABLE => Location::artifact(id),
            Kind::CHECKSUM_REFUSED => Location::checksum(id),
            _ => Location::signature(id),
        };
        let found = self.with_reference(in_one_line(error), reference_accepts(error));
        if kind == Kind::UNREACHABLE {
            self.findings.unread(About::artifact(id), self.reader.shown(&at), found);
        } else {
            self.findings.add(kind, About::artifact(id), self.reader.shown(&at), found);
        }
    }

    /// Adds, where that is wanted, that clients of the reference take what is refused here.
    fn with_reference(&self, mut found: String, is_accepted: bool) -> String {
        if self.scope.migration && is_accepted {
            found.push_str("; clients of the reference accept it");
        }
        found
    }

    fn look_at_header(&self, id: &ArtifactId, head: Vec<u8>) {
        // A file in memory is always read.
        let Ok(kind) = FileKind::of(&mut Cursor::new(head)) else { return };
        if kind.runs_as(&id.file_name(), id.platform) {
            return;
        }
        let found = format!("it does not run on {}: it is {kind}", id.platform);
        let what = match kind {
            FileKind::Unknown => Kind::NO_PROGRAM,
            FileKind::Script | FileKind::Program { .. } => Kind::WRONG_PLATFORM,
        };
        let at = self.reader.shown(&Location::artifact(id));
        self.findings.add(what, About::artifact(id), at, found);
    }

    /// Looks at what the companions say of themselves, where the artifact is not read: nothing of
    /// it is verified.
    fn look_at_claims(&self, id: &ArtifactId, companions: &Companions) {
        let say = |kind, at: Location, found: String| {
            self.findings.add(kind, About::artifact(id), self.reader.shown(&at), found);
        };
        if let Err(error) = Digest::from_checksum_file(&companions.checksum) {
            say(Kind::CHECKSUM_REFUSED, Location::checksum(id), in_one_line(&error));
        }
        let at = Location::signature(id);
        let block = match SignatureBlock::parse(&companions.signature) {
            Ok(block) => block,
            Err(error) => return say(Kind::SIGNATURE_REFUSED, at, in_one_line(&error)),
        };
        let Some(trust) = self.trust else { return };
        let certificates: Vec<&Certificate> =
            trust.signers().iter().map(|signer| &signer.certificate).collect();
        let claims = block.unverified_claims(&certificates);
        let named: Vec<&Certificate> = certificates
            .into_iter()
            .filter(|known| {
                claims.iter().any(|claim| claim.certificate.as_ref() == Some(known.fingerprint()))
            })
            .collect();
        if named.is_empty() {
            let issuer = claims.into_iter().find_map(|claim| claim.issuer);
            let issuer = issuer.unwrap_or_else(|| "nobody".to_owned());
            say(
                Kind::SIGNER_UNKNOWN,
                at,
                format!("it names {issuer}, which is not in the truststore"),
            );
        } else if named.iter().all(|certificate| certificate.is_revoked()) {
            let keys: Vec<String> = named.iter().map(|one| one.fingerprint().to_string()).collect();
            say(Kind::KEY_REVOKED, at, format!("it names {}, which is revoked", keys.join(", ")));
        }
    }
}

/// Returns what the verifier's refusal is.
#[expect(clippy::wildcard_enum_match_arm, reason = "a further refusal is a refused signature")]
fn kind_of(error: &VerifyError) -> Kind {
    match error {
        VerifyError::Checksum { .. } => Kind::ARTIFACT_CHANGED,
        VerifyError::ChecksumFile { .. } => Kind::CHECKSUM_REFUSED,
        VerifyError::SignedForOther { .. } => Kind::SIGNED_FOR_OTHER,
        VerifyError::Signature { source, .. } => match source {
            SignatureRefusal::UnknownSigner { .. } => Kind::SIGNER_UNKNOWN,
            SignatureRefusal::Revoked { .. } | SignatureRefusal::MadeAfterRevocation { .. } => {
                Kind::KEY_REVOKED
            }
            SignatureRefusal::MadeAfterExpiry { .. } => Kind::SIGNED_AFTER_EXPIRY,
            _ => Kind::SIGNATURE_REFUSED,
        },
        // More than any artifact may have is no failure of the network.
        VerifyError::Read { source, .. } if source.kind() == io::ErrorKind::FileTooLarge => {
            Kind::MALFORMED
        }
        VerifyError::Read { .. } => Kind::UNREACHABLE,
        _ => Kind::SIGNATURE_REFUSED,
    }
}

/// Says whether the reference takes a signature that is refused here (wire formats, 5.6).
fn reference_accepts(error: &VerifyError) -> bool {
    let VerifyError::Signature { source, .. } = error else { return false };
    matches!(
        source,
        SignatureRefusal::MadeAfterExpiry { .. }
            | SignatureRefusal::Hash { .. }
            | SignatureRefusal::KeyAlgorithm { .. }
            | SignatureRefusal::RsaTooSmall { .. }
            | SignatureRefusal::TextMode
            | SignatureRefusal::NotForSigning { .. }
    )
}
