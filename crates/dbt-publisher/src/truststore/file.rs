//! The text of a truststore, changed as little as possible.
//!
//! Blocks that a change does not concern stay byte for byte, with the comments in front of them:
//! the reference and people read this file too.

use dbt_core::trust::fingerprint::Fingerprint;
use dbt_core::trust::keys::{Certificate, Keyring, KeyringError};

/// What ends a block.
const END: &[u8] = b"-----END PGP PUBLIC KEY BLOCK-----";

/// A truststore that is being changed.
#[derive(Debug, Default)]
pub(crate) struct TruststoreFile {
    segments: Vec<Segment>,
}

/// The lines up to the end of a block, and the certificates in it.
#[derive(Debug)]
struct Segment {
    text: Vec<u8>,
    certificates: Vec<Certificate>,
}

impl TruststoreFile {
    /// Reads a truststore. An empty one is one.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, KeyringError> {
        if bytes.trim_ascii().is_empty() {
            return Ok(Self::default());
        }
        Keyring::parse(bytes)?;
        let mut segments = Vec::new();
        let mut text = Vec::new();
        for line in bytes.split_inclusive(|byte| *byte == b'\n') {
            text.extend_from_slice(line);
            if line.trim_ascii_end() == END {
                segments.push(Segment::of(std::mem::take(&mut text)));
            }
        }
        if !text.is_empty() {
            segments.push(Segment::of(text));
        }
        Ok(Self { segments })
    }

    /// Returns the usable certificates, each fingerprint once.
    pub(crate) fn certificates(&self) -> Vec<Certificate> {
        // A certificate that stands in two blocks is one.
        Keyring::parse(&self.bytes()).map(|keyring| keyring.certificates).unwrap_or_default()
    }

    /// Adds a certificate, or what is new about one that is there.
    pub(crate) fn put(&mut self, certificate: Certificate) {
        for segment in &mut self.segments {
            let known = segment
                .certificates
                .iter_mut()
                .find(|known| known.fingerprint() == certificate.fingerprint());
            if let Some(known) = known {
                *known = merged(known, certificate);
                segment.rewrite();
                return;
            }
        }
        if let Some(last) = self.segments.last_mut()
            && !last.text.ends_with(b"\n")
        {
            last.text.push(b'\n');
        }
        let text = certificate.armored().into_bytes();
        self.segments.push(Segment { text, certificates: vec![certificate] });
    }

    /// Takes a certificate out. Says whether it was there.
    pub(crate) fn remove(&mut self, fingerprint: &Fingerprint) -> bool {
        let mut found = false;
        for segment in &mut self.segments {
            let before = segment.certificates.len();
            segment.certificates.retain(|known| known.fingerprint() != fingerprint);
            if segment.certificates.len() < before {
                found = true;
                segment.rewrite();
            }
        }
        found
    }

    /// Returns the file.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.segments.iter().flat_map(|segment| segment.text.iter().copied()).collect()
    }
}

impl Segment {
    fn of(text: Vec<u8>) -> Self {
        let certificates = Keyring::parse(&text).map(|keyring| keyring.certificates);
        Self { text, certificates: certificates.unwrap_or_default() }
    }

    fn rewrite(&mut self) {
        self.text = self.certificates.iter().map(Certificate::armored).collect::<String>().into();
    }
}

/// Puts two states of one certificate together: certifications and revocations of both stay.
fn merged(known: &Certificate, new: Certificate) -> Certificate {
    let both = format!("{}{}", known.armored(), new.armored());
    let merged = Keyring::parse(both.as_bytes()).ok();
    merged.and_then(|keyring| keyring.certificates.into_iter().next()).unwrap_or(new)
}
