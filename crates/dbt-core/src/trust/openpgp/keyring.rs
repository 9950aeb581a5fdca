//! Reading a truststore. One bad certificate never disables the others.

use std::fmt;

use super::arithmetic::KnownGood;
use super::armor::{self, BadArmor};
use super::packets::{self, Packet, tag};
use super::policy::WeakKey;
use super::standing::{Budget, OutOfBudget};
use crate::trust::fingerprint::Fingerprint;
use crate::trust::keys::{Certificate, assemble, fingerprint_of};

/// The most bytes a truststore may have: 1 MiB, room for a thousand certificates.
pub const TRUSTSTORE_LIMIT: u64 = 1024 * 1024;

/// The most certificates a truststore may hold.
const MAX_CERTIFICATES: usize = 512;

/// How many self-signatures are verified at most for a whole truststore.
const KEYRING_BUDGET: usize = 4096;

/// The certificates of a truststore.
#[derive(Debug, Clone, Default)]
pub struct Keyring {
    /// The usable ones, in the order of the file, each fingerprint once.
    pub certificates: Vec<Certificate>,
    /// What else was there, and why it does not count.
    pub skipped: Vec<SkippedCertificate>,
}

impl Keyring {
    /// Reads a truststore: armored public key blocks, one after the other.
    ///
    /// As the reference does, this tolerates text outside the blocks, CRLF, blanks at the end of
    /// lines, several certificates in one block, and a missing last newline. Unlike the reference
    /// it reads every block on its own: a bad one is skipped, with a reason. Certificates with
    /// the same fingerprint are merged.
    ///
    /// At least one certificate must be usable, otherwise the file is refused: then it is more
    /// likely an error page than a truststore. Expired and revoked certificates are usable.
    pub fn parse(bytes: &[u8]) -> Result<Self, KeyringError> {
        Self::parse_knowing(bytes, &KnownGood::default())
    }

    /// Does the same as [`parse`](Self::parse), faster: arithmetic that was done before is not
    /// done again, and what is done is added to `known`.
    pub fn parse_knowing(bytes: &[u8], known: &KnownGood) -> Result<Self, KeyringError> {
        if bytes.len() as u64 > TRUSTSTORE_LIMIT {
            return Err(KeyringError::TooLong);
        }
        let blocks = blocks(bytes);
        if blocks.is_empty() {
            return Err(KeyringError::without_blocks(bytes));
        }
        let budget = Budget::new(KEYRING_BUDGET, known);
        let mut reader = Reader { keyring: Self::default(), budget, position: 0 };
        for block in blocks {
            reader.read_block(block)?;
        }
        let keyring = reader.keyring;
        if keyring.certificates.is_empty() {
            return Err(KeyringError::NothingUsable { skipped: keyring.skipped });
        }
        Ok(keyring)
    }
}

/// One block of a truststore: the lines between BEGIN and END, or why there are none.
type Block<'a> = Result<Vec<&'a [u8]>, SkipReason>;

/// Finds the blocks. What is outside of them does not matter.
fn blocks(bytes: &[u8]) -> Vec<Block<'_>> {
    let mut blocks = Vec::new();
    let mut open: Option<(&[u8], Vec<&[u8]>)> = None;
    for line in bytes.split(|byte| *byte == b'\n') {
        if let Some(kind) = armor::begins(line) {
            if open.replace((kind, Vec::new())).is_some() {
                blocks.push(Err(SkipReason::NoEnd));
            }
        } else if let Some(kind) = armor::ends(line) {
            match open.take() {
                Some((begun, lines)) if begun == kind => blocks.push(block_of_kind(kind, lines)),
                Some(_) => blocks.push(Err(SkipReason::NoEnd)),
                None => {}
            }
        } else if let Some((_kind, lines)) = &mut open {
            lines.push(line);
        }
    }
    if open.is_some() {
        blocks.push(Err(SkipReason::NoEnd));
    }
    blocks
}

fn block_of_kind<'a>(kind: &[u8], lines: Vec<&'a [u8]>) -> Block<'a> {
    match kind {
        b"PUBLIC KEY BLOCK" => Ok(lines),
        b"PRIVATE KEY BLOCK" => Err(SkipReason::PrivateKey),
        _ => Err(SkipReason::OtherBlock(String::from_utf8_lossy(kind).escape_debug().to_string())),
    }
}

struct Reader {
    keyring: Keyring,
    budget: Budget,
    position: usize,
}

impl Reader {
    fn read_block(&mut self, block: Block<'_>) -> Result<(), KeyringError> {
        let bytes = match block.and_then(|lines| armor::decode(lines).map_err(SkipReason::from)) {
            Ok(bytes) => bytes,
            Err(reason) => return self.add(Err((None, reason))),
        };
        let mut certificate = Vec::new();
        for packet in packets::packets(&bytes) {
            let Ok(packet) = packet else {
                return self.add(Err((fingerprint_of(&certificate), SkipReason::Truncated)));
            };
            let begins = matches!(packet.tag, tag::PUBLIC_KEY | tag::SECRET_KEY);
            if begins && !certificate.is_empty() {
                self.read_certificate(&certificate)?;
                certificate.clear();
            }
            certificate.push(packet);
        }
        self.read_certificate(&certificate)
    }

    fn read_certificate(&mut self, packets: &[Packet<'_>]) -> Result<(), KeyringError> {
        let result = assemble(packets, &mut self.budget);
        self.add(result.map_err(|reason| (fingerprint_of(packets), reason)))
    }

    fn add(
        &mut self,
        read: Result<Certificate, (Option<Fingerprint>, SkipReason)>,
    ) -> Result<(), KeyringError> {
        self.position += 1;
        if self.position > MAX_CERTIFICATES {
            return Err(KeyringError::TooMany);
        }
        let position = self.position;
        let certificates = &mut self.keyring.certificates;
        let (fingerprint, reason) = match read {
            Ok(certificate) => {
                let known = certificates
                    .iter_mut()
                    .find(|known| known.fingerprint() == certificate.fingerprint());
                let Some(known) = known else {
                    certificates.push(certificate);
                    return Ok(());
                };
                let fingerprint = certificate.fingerprint().clone();
                let mut merged = known.clone();
                match merged.absorb(certificate, &mut self.budget) {
                    Ok(()) => {
                        *known = merged;
                        return Ok(());
                    }
                    Err(OutOfBudget) => (Some(fingerprint), SkipReason::TooLarge),
                }
            }
            Err(skipped) => skipped,
        };
        self.keyring.skipped.push(SkippedCertificate { position, fingerprint, reason });
        Ok(())
    }
}

/// Something in a truststore that does not count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SkippedCertificate {
    /// The how-manieth certificate or block of the file it is, from 1.
    pub position: usize,
    /// Its fingerprint, if that much could be read.
    pub fingerprint: Option<Fingerprint>,
    /// Why it does not count.
    pub reason: SkipReason,
}

impl fmt::Display for SkippedCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.fingerprint {
            Some(fingerprint) => {
                write!(f, "certificate {} (`{fingerprint}`): {}", self.position, self.reason)
            }
            None => write!(f, "certificate {}: {}", self.position, self.reason),
        }
    }
}

/// Why something in a truststore does not count.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SkipReason {
    /// The block is cut off.
    #[error("the block has no matching END line")]
    NoEnd,
    /// The block is not a public key block.
    #[error("a block of type `{0}` does not belong in a truststore")]
    OtherBlock(String),
    /// Somebody has published a secret key. It is not used, not even for its public half.
    #[error("a private key does not belong in a truststore")]
    PrivateKey,
    /// The armor is malformed or damaged.
    #[error("{0}")]
    Armor(String),
    /// A packet is longer than what is left.
    #[error("the certificate is cut off or damaged")]
    Truncated,
    /// The block has no public key in it.
    #[error("the block holds no certificate")]
    NoCertificate,
    /// The key packet cannot be read.
    #[error("the key is malformed")]
    Malformed,
    /// The key is of an old, a draft or a future version.
    #[error("keys of version {0} are not accepted")]
    Version(u8),
    /// The primary key is of a kind that is not accepted.
    #[error("key algorithm {0} is not accepted")]
    KeyAlgorithm(String),
    /// The primary key is too small.
    #[error("an RSA key of {0} bits is too small, at least 2048 are needed")]
    RsaTooSmall(u16),
    /// The primary key is a point of small order.
    #[error("anybody can make signatures that this key accepts (it is a point of small order)")]
    SmallOrder,
    /// A packet of this type does not belong in a certificate.
    #[error("a packet of type {0} does not belong in a certificate")]
    ForeignPacket(u8),
    /// The certificate is larger, or slower to check, than any real one.
    #[error("the certificate has too many parts")]
    TooLarge,
    /// There is no self-signature, or none is good enough.
    #[error("the certificate has no valid self-signature (SHA-1 counts only before 2023-02-01)")]
    NoSelfSignature,
}

impl From<BadArmor> for SkipReason {
    fn from(error: BadArmor) -> Self {
        Self::Armor(error.to_string())
    }
}

impl From<WeakKey> for SkipReason {
    fn from(weak: WeakKey) -> Self {
        match weak {
            WeakKey::Algorithm(name) => Self::KeyAlgorithm(name),
            WeakKey::RsaBits(bits) => Self::RsaTooSmall(bits),
            WeakKey::SmallOrder => Self::SmallOrder,
        }
    }
}

/// Why some bytes are not a truststore.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyringError {
    /// The file is longer than [`TRUSTSTORE_LIMIT`].
    #[error("the truststore is longer than 1 MiB")]
    TooLong,
    /// There is nothing in the file.
    #[error("the truststore is empty")]
    Empty,
    /// The file is a web page: a captive portal or an error page.
    #[error("the truststore is a web page, not a list of OpenPGP certificates")]
    WebPage,
    /// The file is a keyring in binary form, which other implementations cannot read.
    #[error("the truststore is in binary form; certificates must be armored")]
    Binary,
    /// The file has no armored blocks.
    #[error("the truststore has no `BEGIN PGP PUBLIC KEY BLOCK`")]
    NoBlocks,
    /// The file has more certificates than any real truststore.
    #[error("the truststore has more than {MAX_CERTIFICATES} certificates")]
    TooMany,
    /// There are blocks, but none of them counts.
    #[error("the truststore has no usable certificate: {}", join(skipped))]
    NothingUsable {
        /// What is there, and why it does not count.
        skipped: Vec<SkippedCertificate>,
    },
}

impl KeyringError {
    fn without_blocks(bytes: &[u8]) -> Self {
        let text = bytes.trim_ascii();
        match text.first() {
            None => Self::Empty,
            // Every packet begins with the highest bit set.
            Some(first) if first & 0x80 != 0 && std::str::from_utf8(text).is_err() => Self::Binary,
            Some(b'<') => Self::WebPage,
            Some(_) => Self::NoBlocks,
        }
    }
}

/// How many reasons an error repeats; the rest is in its field.
const REASONS_SHOWN: usize = 3;

fn join(skipped: &[SkippedCertificate]) -> String {
    let shown: Vec<String> = skipped.iter().take(REASONS_SHOWN).map(ToString::to_string).collect();
    shown.join("; ")
}
