//! Signatures between keys: whose arithmetic was done before need not be done again.
//!
//! Whether a key made a signature depends on nothing but bytes, and finding out is the slow part
//! of reading a truststore. So it can be remembered. What the signature is *worth* (dates, hash
//! algorithms, revocations, who is trusted) is decided anew every time and never remembered.
//! (Trust design, 2.10: the checked certificate set, never "accepted".)

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pgp::packet::{PublicKey, PublicSubkey, Signature, UserId};
use pgp::ser::Serialize;
use pgp::types::Tag;

use crate::digest::Digest;

/// The most signatures that are remembered. A truststore of a hundred keys has about a thousand.
const LIMIT: usize = 4096;

/// Signatures between keys that are known to be good, shared by the certificates of one run.
///
/// What is stored of it is worth as much as the certificates themselves: whoever reads it back
/// must have kept it where nobody else can write.
#[derive(Debug, Clone, Default)]
pub struct KnownGood(Arc<Mutex<Known>>);

#[derive(Debug, Default)]
struct Known {
    before: BTreeSet<Digest>,
    learnt: BTreeSet<Digest>,
}

impl KnownGood {
    /// Names the arithmetic: what another edition has remembered is not believed.
    pub const EDITION: &str = concat!("1 ", env!("CARGO_PKG_VERSION"));

    /// Takes what [`learnt`](Self::learnt) gave to an earlier run of the same build.
    pub fn remembered(before: impl IntoIterator<Item = Digest>) -> Self {
        let before = before.into_iter().take(LIMIT).collect();
        Self(Arc::new(Mutex::new(Known { before, learnt: BTreeSet::new() })))
    }

    /// Returns everything that is worth remembering, if this run has found anything new.
    pub fn learnt(&self) -> Option<Vec<Digest>> {
        let known = self.known();
        if known.learnt.is_empty() {
            return None;
        }
        // What is new is needed now; of what is old, something may be of no use any more.
        Some(known.learnt.iter().chain(&known.before).take(LIMIT).copied().collect())
    }

    /// Forgets what this run has found: what was refused leaves no trace.
    pub fn forget(&self) {
        self.known().learnt.clear();
    }

    /// Checks that `signature` is good for a statement. Only good ones are remembered.
    pub(in crate::trust) fn admits(
        &self,
        statement: &Statement<'_>,
        signature: &Signature,
    ) -> bool {
        let Some(digest) = statement.digest(signature) else { return false };
        if self.known().before.contains(&digest) || self.known().learnt.contains(&digest) {
            return true;
        }
        let is_good = statement.is_signed_by(signature);
        if is_good {
            self.known().learnt.insert(digest);
        }
        is_good
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// It is a help and no part of what a certificate is.
impl PartialEq for KnownGood {
    fn eq(&self, _other: &Self) -> bool {
        true
    }
}

impl Eq for KnownGood {}

/// What a signature between keys is about (RFC 9580, section 5.2.1).
#[derive(Debug, Clone, Copy)]
pub(in crate::trust) enum Statement<'a> {
    /// The key, about itself.
    Key(&'a PublicKey),
    /// `by` says that this user id belongs to `key`.
    User { key: &'a PublicKey, id: &'a UserId, by: &'a PublicKey },
    /// The primary key, about its subkey: binding and revocation.
    Subkey { primary: &'a PublicKey, subkey: &'a PublicSubkey },
    /// The subkey, about its primary key.
    Back { subkey: &'a PublicSubkey, primary: &'a PublicKey },
}

impl Statement<'_> {
    fn is_signed_by(&self, signature: &Signature) -> bool {
        let verified = match *self {
            Self::Key(key) => signature.verify_key(key),
            Self::User { key, id, by } if key == by => {
                signature.verify_certification(key, Tag::UserId, id)
            }
            Self::User { key, id, by } => {
                signature.verify_third_party_certification(key, by, Tag::UserId, id)
            }
            Self::Subkey { primary, subkey } => signature.verify_subkey_binding(primary, subkey),
            Self::Back { subkey, primary } => signature.verify_primary_key_binding(subkey, primary),
        };
        verified.is_ok()
    }

    /// Names the question: every byte that the answer depends on, each part with its length.
    fn digest(&self, signature: &Signature) -> Option<Digest> {
        let signature = signature.to_bytes().ok()?;
        let (kind, parts) = match *self {
            Self::Key(key) => (0_u8, [key.to_bytes(), Ok(Vec::new()), Ok(Vec::new())]),
            Self::User { key, id, by } => (1, [key.to_bytes(), id.to_bytes(), by.to_bytes()]),
            Self::Subkey { primary, subkey } => {
                (2, [primary.to_bytes(), subkey.to_bytes(), Ok(Vec::new())])
            }
            Self::Back { subkey, primary } => {
                (3, [primary.to_bytes(), subkey.to_bytes(), Ok(Vec::new())])
            }
        };
        let mut question = vec![kind];
        let mut add = |part: &[u8]| {
            question.extend_from_slice(&(part.len() as u64).to_be_bytes());
            question.extend_from_slice(part);
        };
        add(&signature);
        for part in parts {
            add(&part.ok()?);
        }
        Some(Digest::of(&question))
    }
}
