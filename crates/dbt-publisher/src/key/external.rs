//! A key whose secret half is behind a command: a key service, a smart card, a PKCS#11 module.
//!
//! The command gets the digest that is to be signed and gives the signature. Everything of
//! `OpenPGP` is ours: what is hashed, the packet around the signature, and the certificate.

use std::fmt;
use std::io::{self, Read, Write};
use std::process::{ExitStatus, Stdio};
use std::sync::{Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use dbt_client::auth::shell;
use pgp::crypto::hash::HashAlgorithm;
use pgp::crypto::public_key::PublicKeyAlgorithm;
use pgp::types::{
    Fingerprint, KeyDetails, KeyId, KeyVersion, Mpi, Password, PublicParams, SignatureBytes,
    SigningKey, Timestamp,
};

use super::der;
use crate::env::Environment;

/// The most that a command may write: no signature is as long.
const OUTPUT_LIMIT: u64 = 16 * 1024;

/// A public key, and the command that signs for it.
pub(crate) struct ExternalKey<'a> {
    command: &'a str,
    public: &'a dyn KeyDetails,
    /// What the library's error cannot hold.
    failure: Mutex<Option<CommandError>>,
}

impl<'a> ExternalKey<'a> {
    /// Puts both together. Nothing is run yet.
    pub(crate) const fn new(command: &'a str, public: &'a dyn KeyDetails) -> Self {
        Self { command, public, failure: Mutex::new(None) }
    }

    /// Returns why the command gave no signature, once.
    pub(crate) fn failure(&self) -> Option<CommandError> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn sign_digest(&self, digest: &[u8]) -> Result<SignatureBytes, CommandError> {
        let said = run(self.command, digest)?;
        // Key services give base64, some in lines. A signature that looks so by chance is as likely as
        // one that is guessed.
        let text: Vec<u8> =
            said.iter().copied().filter(|byte| !byte.is_ascii_whitespace()).collect();
        let decoded = STANDARD.decode(&text).ok().filter(|bytes| !bytes.is_empty());
        let bytes = decoded.unwrap_or_else(|| said.clone());
        signature_of(self.public.public_params(), &bytes)
            .ok_or(CommandError::NoSignature { length: said.len() })
    }
}

impl fmt::Debug for ExternalKey<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ExternalKey({:?})", self.public.fingerprint())
    }
}

impl KeyDetails for ExternalKey<'_> {
    fn version(&self) -> KeyVersion {
        self.public.version()
    }

    fn legacy_key_id(&self) -> KeyId {
        self.public.legacy_key_id()
    }

    fn fingerprint(&self) -> Fingerprint {
        self.public.fingerprint()
    }

    fn algorithm(&self) -> PublicKeyAlgorithm {
        self.public.algorithm()
    }

    fn created_at(&self) -> Timestamp {
        self.public.created_at()
    }

    fn legacy_v3_expiration_days(&self) -> Option<u16> {
        self.public.legacy_v3_expiration_days()
    }

    fn public_params(&self) -> &PublicParams {
        self.public.public_params()
    }
}

impl SigningKey for ExternalKey<'_> {
    fn sign(
        &self,
        _password: &Password,
        _hash: HashAlgorithm,
        digest: &[u8],
    ) -> pgp::errors::Result<SignatureBytes> {
        self.sign_digest(digest).map_err(|error| {
            let shown = io::Error::other(error.to_string());
            *self.failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
            shown.into()
        })
    }

    fn hash_alg(&self) -> HashAlgorithm {
        HashAlgorithm::Sha256
    }
}

/// Runs the command: a digest goes in, a signature comes out, and what it says to people is shown.
fn run(command: &str, digest: &[u8]) -> Result<Vec<u8>, CommandError> {
    let mut line = shell(command);
    Environment::without_secrets(&mut line);
    line.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = line.spawn().map_err(CommandError::Start)?;
    if let Some(mut stdin) = child.stdin.take() {
        // A command that reads nothing is judged by what it gives.
        drop(stdin.write_all(digest));
    }
    let mut said = Vec::new();
    let read = match child.stdout.take() {
        Some(stdout) => stdout.take(OUTPUT_LIMIT + 1).read_to_end(&mut said),
        None => Ok(0),
    };
    let status = child.wait().map_err(CommandError::Start)?;
    read.map_err(CommandError::Start)?;
    if said.len() as u64 > OUTPUT_LIMIT {
        return Err(CommandError::NoSignature { length: said.len() });
    }
    if !status.success() {
        return Err(CommandError::Failed { status });
    }
    Ok(said)
}

/// Puts what a service gives into the form of a packet: RSA as it is, ECDSA as DER or as both
/// numbers, Ed25519 as both halves.
#[expect(clippy::wildcard_enum_match_arm, reason = "other kinds of keys sign nothing here")]
fn signature_of(params: &PublicParams, bytes: &[u8]) -> Option<SignatureBytes> {
    let numbers = |first: &[u8], second: &[u8]| {
        SignatureBytes::Mpis(vec![Mpi::from_slice(first), Mpi::from_slice(second)])
    };
    match params {
        PublicParams::RSA(_) if bytes.len() >= 128 => {
            Some(SignatureBytes::Mpis(vec![Mpi::from_slice(bytes)]))
        }
        PublicParams::ECDSA(_) => match der::two_integers(bytes) {
            Some((r, s)) => Some(numbers(r, s)),
            None if [64, 96].contains(&bytes.len()) => {
                let (r, s) = bytes.split_at(bytes.len() / 2);
                Some(numbers(r, s))
            }
            None => None,
        },
        PublicParams::EdDSALegacy(_) if bytes.len() == 64 => {
            let (r, s) = bytes.split_at(32);
            Some(numbers(r, s))
        }
        PublicParams::Ed25519(_) if bytes.len() == 64 => {
            Some(SignatureBytes::Native(bytes.to_vec().into()))
        }
        _ => None,
    }
}

/// Why a command gave no signature.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CommandError {
    #[error("failed to run the command of `--signer exec:`")]
    Start(#[source] io::Error),
    #[error("the command of `--signer exec:` failed ({status})")]
    Failed { status: ExitStatus },
    #[error(
        "what the command of `--signer exec:` gives ({length} bytes) is no signature by a key of \
         this kind"
    )]
    NoSignature { length: usize },
}

impl crate::stop::Explained for CommandError {
    fn code(&self) -> dbt_ui::exit_code::ExitCode {
        dbt_ui::exit_code::ExitCode::CONFIGURATION
    }

    fn hints(&self) -> Vec<String> {
        match self {
            Self::Start(_) | Self::Failed { .. } => Vec::new(),
            Self::NoSignature { .. } => vec![
                "it gets a SHA-256 digest of 32 bytes and must write the signature alone, as bytes \
                 or base64; `docs/signing-in-ci.md` has commands for the usual services"
                    .to_owned(),
            ],
        }
    }
}
