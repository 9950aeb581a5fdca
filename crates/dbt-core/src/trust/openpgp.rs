//! Detached `OpenPGP` signatures: reading them, hashing what they cover, and judging them.
//!
//! The order is parse, hash, judge, and each step's result is what the next one needs. Judging
//! looks at no bytes of the content, so that the digests of a large file can be remembered while
//! its signature is still judged on every run, against today's certificates.
//!
//! The arithmetic is rPGP's. The policy is ours ([`SignatureBlock::judge`] and the modules below):
//! the library alone accepts revoked keys, SHA-1, and signatures from the future.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Read};
use std::time::SystemTime;

use pgp::crypto::hash::HashAlgorithm;
use pgp::packet::{PacketHeader, Signature, SignatureType, SignatureVersionSpecific};
use pgp::types::{KeyDetails, Tag, VerifyingKey};

use self::policy::WeakKey;
use super::fingerprint::Fingerprint;
use super::keys::{Certificate, SigningKey, seconds, time};
use crate::digest::{Digest, READ_SIZE};

pub(super) mod arithmetic;
pub(super) mod armor;
pub(super) mod keyring;
pub(super) mod packets;
pub(super) mod policy;
mod refusal;
pub(super) mod standing;

pub use self::refusal::{SignatureFormatError, SignatureRefusal};

/// The most bytes a signature file may have: 64 KiB.
pub const SIGNATURE_LIMIT: u64 = 64 * 1024;

/// The most signatures one file may hold.
pub const MAX_SIGNATURES: usize = 16;

/// The name of the notation (RFC 9580, section 5.2.3.24) that says what a signature was made for.
///
/// `gpg --sig-notation artifact@dbt=VALUE` writes it. It is the same in every brand.
pub const ARTIFACT_NOTATION: &str = "artifact@dbt";

/// The contents of a signature file: exactly one armored block with 1 to 16 detached signatures,
/// and nothing else.
#[derive(Debug, Clone)]
pub struct SignatureBlock {
    /// Of the decoded packets, so that digests cannot be used with another signature.
    digest: Digest,
    signatures: Vec<Detached>,
}

/// One signature packet, and what its form alone decides.
#[derive(Debug, Clone)]
struct Detached {
    packet: Signature,
    form: Result<Form, SignatureRefusal>,
}

/// What is hashed around the content, for a signature whose form is acceptable.
#[derive(Debug, Clone)]
struct Form {
    hash: HashAlgorithm,
    made: u64,
    /// Hashed before the content; empty before version 6.
    salt: Vec<u8>,
    /// Hashed after the content (RFC 9580, section 5.2.4): the bytes as they were read.
    trailer: Vec<u8>,
}

impl SignatureBlock {
    /// Reads a signature file.
    ///
    /// A second block, text around the block, a signed message, a clear-signed text, packets that
    /// are not signatures, or bytes after them: all refused, because another program could see in
    /// them something else than we do. White space around the block is allowed.
    pub fn parse(armored: &[u8]) -> Result<Self, SignatureFormatError> {
        if armored.len() as u64 > SIGNATURE_LIMIT {
            return Err(SignatureFormatError::TooLong);
        }
        let bytes = armor::decode(only_block(armored)?)?;
        let mut signatures = Vec::new();
        for packet in packets::packets(&bytes) {
            let packet = packet.map_err(|packets::BadFraming| SignatureFormatError::Malformed)?;
            if packet.tag != packets::tag::SIGNATURE {
                return Err(SignatureFormatError::ForeignPacket(packet.tag));
            }
            if signatures.len() == MAX_SIGNATURES {
                return Err(SignatureFormatError::TooMany);
            }
            signatures.push(Detached::read(packet.body)?);
        }
        if signatures.is_empty() {
            return Err(SignatureFormatError::Empty);
        }
        Ok(Self { digest: Digest::of(&bytes), signatures })
    }

    /// Reads `content` to its end, once, and returns everything that judging needs to know of it.
    ///
    /// Fails with [`OverLimit`] inside an [`io::ErrorKind::FileTooLarge`] as soon as there is more
    /// than `at_most` bytes. SHA-256 is always computed; a further algorithm costs a further
    /// hasher only if an acceptable signature uses it.
    pub fn hash(&self, content: &mut dyn Read, at_most: u64) -> io::Result<ContentDigests> {
        let start = |algorithm: HashAlgorithm| algorithm.new_hasher().map_err(io::Error::other);
        let mut plain = start(HashAlgorithm::Sha256)?;
        let mut hashers = BTreeMap::new();
        for form in self.signatures.iter().filter_map(|signature| signature.form.as_ref().ok()) {
            let key = form.hasher();
            if key != Form::PLAIN_SHA256 && !hashers.contains_key(&key) {
                let mut hasher = start(form.hash)?;
                hasher.update(&form.salt);
                hashers.insert(key, hasher);
            }
        }
        let mut length = 0_u64;
        let mut buffer = vec![0_u8; READ_SIZE];
        loop {
            let count = match content.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            length += count as u64;
            if length > at_most {
                return Err(io::Error::new(io::ErrorKind::FileTooLarge, OverLimit { at_most }));
            }
            let bytes = buffer.get(..count).unwrap_or_default();
            plain.update(bytes);
            for hasher in hashers.values_mut() {
                hasher.update(bytes);
            }
        }
        let with_trailers = self.signatures.iter().map(|signature| {
            let form = signature.form.as_ref().ok()?;
            let key = form.hasher();
            let hasher = if key == Form::PLAIN_SHA256 { Some(&plain) } else { hashers.get(&key) };
            let mut hasher = hasher?.box_clone();
            hasher.update(&form.trailer);
            Some(Hex(hasher.finalize().into_vec()))
        });
        let with_trailers = with_trailers.collect();
        let sha256 = <[u8; 32]>::try_from(&*plain.finalize()).map_err(io::Error::other)?;
        Ok(ContentDigests {
            sha256: Digest::from_bytes(sha256),
            length,
            signatures: self.digest,
            with_trailers,
        })
    }

    /// Judges every signature in the block against the certificates.
    ///
    /// The certificates are those that may sign this content; who that is, and how many distinct
    /// signers are needed, is the caller's decision. A signature is good if some key of some
    /// certificate made it over exactly these bytes, and if that key, its certificate and the
    /// signature were all in order when it says it was made (trust design, section 2.9). An
    /// unusable certificate is no reason to refuse what another one has signed.
    pub fn judge(
        &self,
        digests: &ContentDigests,
        certificates: &[&Certificate],
        now: SystemTime,
    ) -> Judgement {
        let now = seconds(now);
        let mut judgement = Judgement::default();
        let other_block = digests.signatures != self.digest
            || digests.with_trailers.len() != self.signatures.len();
        for (signature, digest) in self.signatures.iter().zip(&digests.with_trailers) {
            let verdict = if other_block {
                Err(SignatureRefusal::OtherDigests)
            } else {
                signature.judge(digest.as_ref(), certificates, now)
            };
            match verdict {
                Ok(good) => judgement.add(good),
                Err(refusal) => judgement.refused.push(refusal),
            }
        }
        if judgement.good.is_empty() && judgement.refused.is_empty() {
            judgement.refused.push(SignatureRefusal::OtherDigests);
        }
        judgement
    }
}

/// What a signature says of itself. Nothing of it is verified: anybody can write it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnverifiedClaim {
    /// Who made it: the fingerprint of a key if it names one, otherwise a key id.
    pub issuer: Option<String>,
    /// The certificate that has this key, among those that were looked at.
    pub certificate: Option<Fingerprint>,
    /// When it was made.
    pub made: Option<SystemTime>,
}

impl SignatureBlock {
    /// Returns what the signatures say of themselves, for lists: what is *run* is judged by
    /// [`Self::judge`], which needs the content.
    pub fn unverified_claims(&self, certificates: &[&Certificate]) -> Vec<UnverifiedClaim> {
        let claim = |signature: &Detached| {
            let names = |certificate: &&&Certificate| {
                certificate.keys_named_by(&signature.packet).next().is_some()
            };
            UnverifiedClaim {
                issuer: signature.issuer(),
                certificate: certificates.iter().find(names).map(|it| it.fingerprint().clone()),
                made: policy::made(&signature.packet).map(time),
            }
        };
        self.signatures.iter().map(claim).collect()
    }
}

/// Finds the lines between BEGIN and END of the only block, with nothing but white space around.
fn only_block(armored: &[u8]) -> Result<Vec<&[u8]>, SignatureFormatError> {
    let mut lines = armored.split(|byte| *byte == b'\n');
    let is_blank = |line: &&[u8]| line.trim_ascii().is_empty();
    let first = lines.by_ref().find(|line| !is_blank(line)).ok_or(SignatureFormatError::Empty)?;
    match armor::begins(first) {
        Some(b"SIGNATURE") => {}
        Some(kind) => {
            let kind = String::from_utf8_lossy(kind).escape_debug().to_string();
            return Err(SignatureFormatError::OtherBlock(kind));
        }
        None => return Err(SignatureFormatError::NotArmored),
    }
    let mut inside = Vec::new();
    for line in lines.by_ref() {
        if armor::ends(line) == Some(b"SIGNATURE") {
            if lines.all(|line| is_blank(&line)) {
                return Ok(inside);
            }
            return Err(SignatureFormatError::AfterTheBlock);
        }
        inside.push(line);
    }
    Err(SignatureFormatError::NoEnd)
}

impl Detached {
    fn read(body: &[u8]) -> Result<Self, SignatureFormatError> {
        let length = u32::try_from(body.len()).map_err(|_error| SignatureFormatError::TooLong)?;
        let mut rest = body;
        let packet =
            Signature::try_from_reader(PacketHeader::new_fixed(Tag::Signature, length), &mut rest);
        let packet = packet.map_err(|_error| SignatureFormatError::Malformed)?;
        if !rest.is_empty() {
            return Err(SignatureFormatError::Malformed);
        }
        let form = Form::of(&packet, body);
        Ok(Self { packet, form })
    }

    fn judge(
        &self,
        digest: Option<&Hex>,
        certificates: &[&Certificate],
        now: u64,
    ) -> Result<GoodSignature, SignatureRefusal> {
        let form = self.form.as_ref().map_err(Clone::clone)?;
        let digest = &digest.ok_or(SignatureRefusal::OtherDigests)?.0;
        if form.made > now.saturating_add(policy::CLOCK_SKEW) {
            return Err(SignatureRefusal::InTheFuture { made: time(form.made) });
        }
        if policy::until(&self.packet, form.made).is_some_and(|until| until <= now) {
            return Err(SignatureRefusal::SignatureExpired);
        }
        let issuer = self.issuer().ok_or(SignatureRefusal::NoIssuer)?;
        let mut refusal = SignatureRefusal::UnknownSigner { issuer };
        for certificate in certificates {
            for key in certificate.keys_named_by(&self.packet) {
                match self.judge_by(form, digest, certificate, key, now) {
                    Ok(good) => return Ok(good),
                    // Two keys can have one key id. What is said of the one that did sign is more
                    // useful than that the other one did not.
                    Err(SignatureRefusal::OtherBytes { .. })
                        if !matches!(refusal, SignatureRefusal::UnknownSigner { .. }) => {}
                    Err(error) => refusal = error,
                }
            }
        }
        Err(refusal)
    }

    fn judge_by(
        &self,
        form: &Form,
        digest: &[u8],
        certificate: &Certificate,
        key: SigningKey<'_>,
        now: u64,
    ) -> Result<GoodSignature, SignatureRefusal> {
        let fingerprint = match key {
            SigningKey::Primary(key) => self.verify(form, digest, key)?,
            SigningKey::Subkey(subkey) => self.verify(form, digest, &subkey.key)?,
        };
        let expires = certificate
            .may_sign_at(key, form.made, now)
            .map_err(|problem| SignatureRefusal::of_key(problem, fingerprint))?;
        Ok(GoodSignature {
            signer: certificate.fingerprint().clone(),
            made: time(form.made),
            certificate_expires: expires.map(time),
            notations: self.artifact_notations(),
        })
    }

    /// Checks that `key` is of an acceptable kind and that it signed this digest; returns its
    /// fingerprint.
    fn verify<K: VerifyingKey + KeyDetails>(
        &self,
        form: &Form,
        digest: &[u8],
        key: &K,
    ) -> Result<Fingerprint, SignatureRefusal> {
        let fingerprint = Fingerprint::of_key(key);
        match policy::check_key(key) {
            Ok(()) => {}
            Err(WeakKey::Algorithm(algorithm)) => {
                return Err(SignatureRefusal::KeyAlgorithm { algorithm });
            }
            Err(WeakKey::RsaBits(bits)) => {
                return Err(SignatureRefusal::RsaTooSmall { key: fingerprint, bits });
            }
            Err(WeakKey::SmallOrder) => {
                return Err(SignatureRefusal::SmallOrder { key: fingerprint });
            }
        }
        let config = self.packet.config();
        let same_kind = config.is_some_and(|config| {
            // Version 6 signatures are made by version 6 keys, and by nobody else (RFC 9580,
            // section 5.2.3).
            config.pub_alg == key.algorithm()
                && u8::from(config.version()) == u8::from(key.version())
        });
        let same_start =
            self.packet.signed_hash_value().is_some_and(|start| digest.starts_with(&start));
        let verified = same_kind
            && same_start
            && self
                .packet
                .signature()
                .is_some_and(|bytes| key.verify(form.hash, digest, bytes).is_ok());
        if verified {
            Ok(fingerprint)
        } else {
            Err(SignatureRefusal::OtherBytes { key: fingerprint })
        }
    }

    /// Who made it, as it says: a fingerprint if there is one, otherwise a key id.
    fn issuer(&self) -> Option<String> {
        let fingerprint =
            self.packet.issuer_fingerprint().first().map(|fingerprint| format!("{fingerprint:X}"));
        let key_id = || self.packet.issuer_key_id().first().map(|id| id.to_string().to_uppercase());
        fingerprint.or_else(key_id)
    }

    fn artifact_notations(&self) -> Vec<String> {
        let notations = self.packet.notations();
        let ours = notations
            .iter()
            .filter(|notation| notation.readable && notation.name == ARTIFACT_NOTATION);
        ours.map(|notation| String::from_utf8_lossy(&notation.value).into_owned()).collect()
    }
}

impl Form {
    /// The hasher that also gives the content's own digest.
    const PLAIN_SHA256: (u8, &'static [u8]) = (8, &[]);

    /// Signatures with the same value can share a hasher: the algorithm and the salt.
    fn hasher(&self) -> (u8, &[u8]) {
        (self.hash.into(), &self.salt)
    }

    /// Decides what can be decided without a key and without a clock.
    fn of(packet: &Signature, body: &[u8]) -> Result<Self, SignatureRefusal> {
        let version = u8::from(packet.version());
        let (4 | 6, Some(config)) = (version, packet.config()) else {
            return Err(SignatureRefusal::Version { version });
        };
        if config.typ == SignatureType::Text {
            return Err(SignatureRefusal::TextMode);
        }
        if config.typ != SignatureType::Binary {
            return Err(SignatureRefusal::Kind { kind: config.typ.into() });
        }
        if !policy::accepts_hash(config.hash_alg) {
            return Err(SignatureRefusal::Hash { algorithm: policy::hash_name(config.hash_alg) });
        }
        if !policy::accepts_key_algorithm(config.pub_alg) {
            return Err(SignatureRefusal::KeyAlgorithm {
                algorithm: policy::key_algorithm_name(config.pub_alg),
            });
        }
        if let Some(what) = policy::unknown_critical(packet) {
            return Err(SignatureRefusal::UnknownCritical { what });
        }
        let made = policy::made(packet).ok_or(SignatureRefusal::NoDate)?;
        let salt = if let SignatureVersionSpecific::V6 { salt } = &config.version_specific {
            salt.clone()
        } else {
            Vec::new()
        };
        let trailer = trailer(version, body).ok_or(SignatureRefusal::Version { version })?;
        Ok(Self { hash: config.hash_alg, made, salt, trailer })
    }
}

/// What is hashed after the content: the packet up to the end of the hashed area, then how long
/// that was (RFC 9580, section 5.2.4). Taken from the packet's own bytes, so that nothing depends
/// on the library writing them back as they were.
fn trailer(version: u8, body: &[u8]) -> Option<Vec<u8>> {
    let (fixed, hashed) = match version {
        4 => (6, usize::from(u16::from_be_bytes(body.get(4..6)?.try_into().ok()?))),
        6 => (8, usize::try_from(u32::from_be_bytes(body.get(4..8)?.try_into().ok()?)).ok()?),
        _ => return None,
    };
    let length = hashed.checked_add(fixed)?;
    let mut trailer = body.get(..length)?.to_vec();
    trailer.extend_from_slice(&[version, 0xff]);
    trailer.extend_from_slice(&u32::try_from(length).ok()?.to_be_bytes());
    Some(trailer)
}

/// What is known about some content and one signature block: enough to judge the signatures
/// without reading the content again.
///
/// It can be stored. Whoever reads it back must have kept it where nobody else can write: it *is*
/// the content as far as judging is concerned. Used with another signature block it is refused.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ContentDigests {
    sha256: Digest,
    length: u64,
    signatures: Digest,
    with_trailers: Vec<Option<Hex>>,
}

impl ContentDigests {
    /// Returns the SHA-256 digest of the content alone.
    pub fn sha256(&self) -> Digest {
        self.sha256
    }

    /// Returns the content's length in bytes.
    pub fn length(&self) -> u64 {
        self.length
    }
}

/// The content was longer than allowed. Found inside an [`io::Error`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("longer than the {at_most} bytes that are allowed")]
pub struct OverLimit {
    /// How many bytes were allowed.
    pub at_most: u64,
}

/// A digest of any length, written as hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Hex(Vec<u8>);

impl fmt::Display for Hex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl serde::Serialize for Hex {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for Hex {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let invalid = || serde::de::Error::custom("not a digest in hexadecimal digits");
        if text.len() % 2 != 0
            || text.len() > 128
            || !text.bytes().all(|digit| digit.is_ascii_hexdigit())
        {
            return Err(invalid());
        }
        let starts = (0..text.len()).step_by(2);
        let bytes = starts
            .map(|start| u8::from_str_radix(text.get(start..start + 2).unwrap_or_default(), 16));
        bytes.collect::<Result<_, _>>().map(Self).map_err(|_error| invalid())
    }
}

/// What a signature block is worth.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Judgement {
    /// The signers, each certificate once, however many of its keys have signed.
    pub good: Vec<GoodSignature>,
    /// Why the other signatures do not count, in the order of the file.
    pub refused: Vec<SignatureRefusal>,
}

impl Judgement {
    /// Counts a signer once. Several good signatures by one signer are one, dated as the newest,
    /// with the notations of all: none of them may be hidden by adding another.
    fn add(&mut self, good: GoodSignature) {
        let Some(known) = self.good.iter_mut().find(|known| known.signer == good.signer) else {
            self.good.push(good);
            return;
        };
        known.made = known.made.max(good.made);
        known.certificate_expires = match (known.certificate_expires, good.certificate_expires) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
        for notation in good.notations {
            if !known.notations.contains(&notation) {
                known.notations.push(notation);
            }
        }
    }
}

/// A signature that counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GoodSignature {
    /// The certificate: the fingerprint of its primary key, also if a subkey has signed.
    pub signer: Fingerprint,
    /// When it was made, as the signer says.
    pub made: SystemTime,
    /// When the certificate or the signing subkey expires, whichever is earlier. It may be past.
    pub certificate_expires: Option<SystemTime>,
    /// The values of the [`ARTIFACT_NOTATION`] in the signed part. From outside, not escaped.
    pub notations: Vec<String>,
}
