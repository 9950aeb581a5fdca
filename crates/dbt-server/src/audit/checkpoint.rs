//! Checkpoints: where the chain ended at some time, signed, as a
//! [signed note](https://c2sp.org/signed-note). One that has left the machine shows later whether
//! what came before it is still as it was.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::signature::{ED25519, UnparsedPublicKey};
use sha2::{Digest as _, Sha256};

use super::chain::{Hash, Head};
use super::signer::Signer;

/// Where the chain of a server ended at some time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// Which chain.
    pub origin: String,
    /// Its end.
    pub head: Head,
    /// When, as RFC 3339.
    pub time: String,
}

/// A checkpoint as it was sent or kept. Its signature has not been checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnverifiedNote {
    text: String,
    signatures: Vec<(String, [u8; 4], Vec<u8>)>,
}

/// The public half of the key that signs a chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicKey {
    name: String,
    bytes: [u8; 32],
}

/// The number that stands for Ed25519 in signed notes.
const ED25519_NOTE: u8 = 1;

/// Begins each line of a signature.
const DASH: &str = "\u{2014} ";

/// Returns the name of a chain and of its key.
pub fn origin(state: &crate::state::Id) -> String {
    format!("audit/{state}")
}

impl Checkpoint {
    /// Returns the note that a signer makes of it.
    pub fn signed(&self, signer: &Signer) -> String {
        let Self { origin, head: Head { seq, hash }, time } = self;
        let text = format!("{origin}\n{seq}\n{}\n{time}\n", STANDARD.encode(hash));
        let mut signature = signer.public().id().to_vec();
        signature.extend(signer.sign(text.as_bytes()));
        let name = &signer.public().name;
        format!("{text}\n{DASH}{name} {}\n", STANDARD.encode(signature))
    }

    fn parse(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        let (origin, seq) = (lines.next()?.to_owned(), lines.next()?.parse().ok()?);
        let hash: Hash = STANDARD.decode(lines.next()?).ok()?.try_into().ok()?;
        let time = lines.next()?.to_owned();
        lines.next().is_none().then_some(Self { origin, head: Head { seq, hash }, time })
    }
}

impl FromStr for UnverifiedNote {
    type Err = BadNote;

    fn from_str(note: &str) -> Result<Self, BadNote> {
        let (text, signatures) = note.split_once("\n\n").ok_or(BadNote::Malformed)?;
        let signatures = signatures.lines().map(|line| {
            let (name, bytes) = line.strip_prefix(DASH)?.split_once(' ')?;
            let bytes = STANDARD.decode(bytes).ok()?;
            let (id, signature) = bytes.split_at_checked(4)?;
            Some((name.to_owned(), id.try_into().ok()?, signature.to_owned()))
        });
        let signatures: Option<Vec<_>> = signatures.collect();
        let signatures = signatures.ok_or(BadNote::Malformed)?;
        Ok(Self { text: format!("{text}\n"), signatures })
    }
}

impl UnverifiedNote {
    /// Returns the checkpoint, if a key has signed it.
    pub fn verify(&self, key: &PublicKey) -> Result<Checkpoint, BadNote> {
        let made = |(name, id, signature): &(String, [u8; 4], Vec<u8>)| {
            *name == key.name
                && *id == key.id()
                && UnparsedPublicKey::new(&ED25519, &key.bytes)
                    .verify(self.text.as_bytes(), signature)
                    .is_ok()
        };
        if !self.signatures.iter().any(made) {
            return Err(BadNote::NotSigned { key: key.to_string() });
        }
        Checkpoint::parse(&self.text).ok_or(BadNote::Malformed)
    }
}

impl PublicKey {
    pub(super) fn new(name: &str, bytes: [u8; 32]) -> Self {
        Self { name: name.to_owned(), bytes }
    }

    fn id(&self) -> [u8; 4] {
        let mut hasher = Sha256::new();
        hasher.update(&self.name);
        hasher.update([b'\n', ED25519_NOTE]);
        hasher.update(self.bytes);
        let hash: [u8; 32] = hasher.finalize().into();
        let [a, b, c, d, ..] = hash;
        [a, b, c, d]
    }
}

/// As keys of signed notes are written: name, id, and the key itself.
impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let id = u32::from_be_bytes(self.id());
        let mut bytes = vec![ED25519_NOTE];
        bytes.extend(self.bytes);
        write!(f, "{}+{id:08x}+{}", self.name, STANDARD.encode(bytes))
    }
}

impl FromStr for PublicKey {
    type Err = BadKey;

    fn from_str(text: &str) -> Result<Self, BadKey> {
        let mut parts = text.trim().splitn(3, '+');
        let (name, id, bytes) =
            (parts.next(), parts.next().ok_or(BadKey)?, parts.next().ok_or(BadKey)?);
        let bytes = STANDARD.decode(bytes).map_err(|_error| BadKey)?;
        let Some((&ED25519_NOTE, bytes)) = bytes.split_first() else { return Err(BadKey) };
        let bytes = bytes.try_into().map_err(|_length| BadKey)?;
        let key = Self::new(name.unwrap_or_default(), bytes);
        let is_its = id == format!("{:08x}", u32::from_be_bytes(key.id()));
        if is_its { Ok(key) } else { Err(BadKey) }
    }
}

/// A text is not the public key of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is not a key as `reposerver audit key` prints it")]
pub struct BadKey;

/// Why a note is no checkpoint of this record.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadNote {
    /// It is something else.
    #[error("it is not a signed checkpoint")]
    Malformed,
    /// Somebody else made it, or it was changed.
    #[error("it is not signed by {key}")]
    NotSigned {
        /// Who should have signed it.
        key: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the specification of signed notes, made by another implementation.
    const KEY: &str = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
    const NOTE: &str = "If you think cryptography is the answer to your problem,\n\
        then you don't know what your problem is.\n\n\
        \u{2014} PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n";

    #[test]
    fn a_note_of_another_implementation_is_verified() {
        let key: PublicKey = KEY.parse().unwrap();
        assert_eq!(key.to_string(), KEY);
        let note: UnverifiedNote = NOTE.parse().unwrap();
        // It is signed, and says something else than a checkpoint does.
        assert_eq!(note.verify(&key), Err(BadNote::Malformed));
        let changed: UnverifiedNote = NOTE.replace("problem is", "question is").parse().unwrap();
        assert!(matches!(changed.verify(&key), Err(BadNote::NotSigned { .. })));
    }

    #[test]
    fn a_checkpoint_is_believed_only_as_it_was_signed_and_from_its_key() {
        let directory = tempfile::tempdir().unwrap();
        let signer = Signer::make(directory.path(), "audit/x").unwrap();
        let head = Head { seq: 17, hash: [7; 32] };
        let time = "2026-11-22T12:00:00Z".to_owned();
        let checkpoint = Checkpoint { origin: "audit/x".to_owned(), head, time };
        let note = checkpoint.signed(&signer);
        let verify = |note: &str, key: &PublicKey| {
            note.parse::<UnverifiedNote>().and_then(|note| note.verify(key))
        };
        assert_eq!(verify(&note, signer.public()), Ok(checkpoint));
        let again = Signer::read(directory.path(), "audit/x").unwrap().unwrap();
        assert!(verify(&note, again.public()).is_ok(), "the key is kept");
        for changed in [note.replace("\n17\n", "\n16\n"), note.replace("12:00", "13:00")] {
            assert!(verify(&changed, signer.public()).is_err(), "{changed}");
        }
        let elsewhere = tempfile::tempdir().unwrap();
        let other = Signer::make(elsewhere.path(), "audit/x").unwrap();
        assert!(matches!(verify(&note, other.public()), Err(BadNote::NotSigned { .. })));
        let key: PublicKey = signer.public().to_string().parse().unwrap();
        assert_eq!(&key, signer.public());
        for text in ["", "x", "a+b+c", &signer.public().to_string().replace('+', "+0")] {
            assert_eq!(text.parse::<PublicKey>(), Err(BadKey), "{text}");
        }
    }
}
