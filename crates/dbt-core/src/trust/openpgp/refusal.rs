//! Why a signature file, or a signature in it, does not count: the words.

use std::time::SystemTime;

use super::MAX_SIGNATURES;
use super::armor::BadArmor;
use crate::timestamp;
use crate::trust::fingerprint::Fingerprint;
use crate::trust::keys::{KeyProblem, time};

/// Why a file is not a signature file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SignatureFormatError {
    /// Longer than [`SIGNATURE_LIMIT`].
    #[error("the signature file is longer than 64 KiB")]
    TooLong,
    /// There is nothing in it.
    #[error("the signature file is empty")]
    Empty,
    /// It does not begin as an armored signature: a web page, or a binary signature.
    #[error("the signature file does not begin with `-----BEGIN PGP SIGNATURE-----`")]
    NotArmored,
    /// It begins as something else: a message, a clear-signed text, a key.
    #[error("the signature file holds a block of type `{0}`, not `SIGNATURE`")]
    OtherBlock(String),
    /// It is cut off.
    #[error("the signature file has no `-----END PGP SIGNATURE-----`")]
    NoEnd,
    /// There is a second block, or text.
    #[error("the signature file has more after its first block")]
    AfterTheBlock,
    /// The armor is malformed or damaged.
    #[error("{0}")]
    Armor(String),
    /// The packets are malformed.
    #[error("the signature is malformed")]
    Malformed,
    /// A packet that is not a signature: literal data, a marker, padding.
    #[error("the signature file holds an OpenPGP packet of type {0}, which is not a signature")]
    ForeignPacket(u8),
    /// More than [`MAX_SIGNATURES`].
    #[error("the signature file holds more than {MAX_SIGNATURES} signatures")]
    TooMany,
}

impl From<BadArmor> for SignatureFormatError {
    fn from(error: BadArmor) -> Self {
        Self::Armor(error.to_string())
    }
}

/// Why a signature does not count. `key` is the key that signed, perhaps a subkey.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SignatureRefusal {
    /// A version before 4, a draft, or a future one.
    #[error("signatures of version {version} are not accepted")]
    Version {
        /// The version.
        version: u8,
    },
    /// Type 0x01: files that differ in their line ends would share the signature.
    #[error("text-mode signatures are not accepted, because they do not cover the exact bytes")]
    TextMode,
    /// A signature over something that is not a file.
    #[error("a signature of type 0x{kind:02X} is not a signature over a file")]
    Kind {
        /// The type (RFC 9580, section 5.2.1).
        kind: u8,
    },
    /// SHA-1, MD5, RIPEMD-160, or one we do not know.
    #[error("hash algorithm {algorithm} is not accepted")]
    Hash {
        /// Its name.
        algorithm: String,
    },
    /// DSA, `ElGamal`, or one we do not know.
    #[error("key algorithm {algorithm} is not accepted")]
    KeyAlgorithm {
        /// Its name.
        algorithm: String,
    },
    /// An RSA key that can be broken.
    #[error("RSA key {key} has only {bits} bits, at least 2048 are needed")]
    RsaTooSmall {
        /// The key.
        key: Fingerprint,
        /// Its size.
        bits: u16,
    },
    /// An Ed25519 key that is a point of small order.
    #[error("anybody can make signatures that key {key} accepts")]
    SmallOrder {
        /// The key.
        key: Fingerprint,
    },
    /// The signer demands that a reader who does not understand something refuses.
    #[error("the signature has a critical {what}, which is not understood")]
    UnknownCritical {
        /// What it is.
        what: String,
    },
    /// It does not say when it was made, or says it twice.
    #[error("the signature does not say when it was made")]
    NoDate,
    /// More than ten minutes ahead of our clock.
    #[error("the signature is dated in the future, {}", timestamp::format(*made))]
    InTheFuture {
        /// The date.
        made: SystemTime,
    },
    /// The signer has given the signature itself an end.
    #[error("the signature itself has expired")]
    SignatureExpired,
    /// It names no key.
    #[error("the signature does not say who made it")]
    NoIssuer,
    /// Nobody told us to trust that key.
    #[error("signed by {issuer}, which is not in the truststore")]
    UnknownSigner {
        /// A fingerprint if the signature has one, otherwise a key id.
        issuer: String,
    },
    /// The content or the signature was changed, or they do not belong together.
    #[error("the bytes are not the bytes that {key} has signed")]
    OtherBytes {
        /// The key that the signature names.
        key: Fingerprint,
    },
    /// Revoked without a harmless reason: nothing it signed counts.
    #[error("key {key} is revoked")]
    Revoked {
        /// The key.
        key: Fingerprint,
    },
    /// Given up before the signature was made.
    #[error("made after key {key} was revoked on {}", timestamp::format_date(*revoked))]
    MadeAfterRevocation {
        /// The key.
        key: Fingerprint,
        /// Since when it is revoked.
        revoked: SystemTime,
    },
    /// The key or its certificate had expired when the signature was made.
    #[error("made after key {key} expired on {}", timestamp::format_date(*expired))]
    MadeAfterExpiry {
        /// The key.
        key: Fingerprint,
        /// When it expired.
        expired: SystemTime,
    },
    /// The signature claims to be older than the key.
    #[error("made before key {key} existed")]
    MadeBeforeKey {
        /// The key.
        key: Fingerprint,
    },
    /// Its owner has not said that it may sign.
    #[error("key {key} is not meant for signing files")]
    NotForSigning {
        /// The key.
        key: Fingerprint,
    },
    /// No self-signature or binding of it counts.
    #[error("key {key} is not bound to its certificate by a valid signature")]
    NotBound {
        /// The key.
        key: Fingerprint,
    },
    /// Someone claims the subkey, and the subkey does not say so too.
    #[error("subkey {key} has not confirmed that it belongs to its certificate")]
    NotConfirmed {
        /// The subkey.
        key: Fingerprint,
    },
    /// The digests were computed for another signature file.
    #[error("the digests belong to another signature")]
    OtherDigests,
}

impl SignatureRefusal {
    pub(super) fn of_key(problem: KeyProblem, key: Fingerprint) -> Self {
        match problem {
            KeyProblem::Revoked => Self::Revoked { key },
            KeyProblem::RevokedSince(since) => {
                Self::MadeAfterRevocation { key, revoked: time(since) }
            }
            KeyProblem::Expired(until) => Self::MadeAfterExpiry { key, expired: time(until) },
            KeyProblem::NotYetMade => Self::MadeBeforeKey { key },
            KeyProblem::NotBound => Self::NotBound { key },
            KeyProblem::MayNotSign => Self::NotForSigning { key },
            KeyProblem::NotConfirmed => Self::NotConfirmed { key },
        }
    }
}
