//! Who signs: the user's `gpg`, a key file, a key in a variable, or a command that has a key.
//!
//! Whatever a signer makes goes through [`sign`], which lets our own verifier judge it before
//! anything is uploaded: what we publish, our clients accept.

mod exec;
mod file;
mod gpg;

use std::io::{self, Read, Seek};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::SystemTime;

use dbt_core::clock::Clock;
use dbt_core::secret::Secret;
use dbt_core::trust::fingerprint::Fingerprint;
use dbt_core::trust::keys::Certificate;
use dbt_core::trust::openpgp::{SignatureBlock, SignatureFormatError, SignatureRefusal};
use dbt_ui::exit_code::ExitCode;
use dbt_ui::report::Report;

use crate::args::Signing;
use crate::env::Environment;
use crate::key::passphrase::PassphraseSource;
use crate::key::ring;
use crate::stop::{Explained, Stop};

pub(crate) use gpg::{generate as generate_with_gpg, public_key as public_key_from_gpg};

/// A key that signs.
pub(crate) trait Signer {
    /// Returns the public half.
    fn certificate(&self) -> &Certificate;

    /// Makes an armored detached signature with SHA-256 whose notation says `binding`. It has not
    /// been judged yet: use [`sign`].
    fn make_signature(&self, content: &mut dyn Read, binding: &str) -> Result<Vec<u8>, Stop>;

    /// Certifies another certificate, for everybody to see, and returns it with that and without
    /// what further people have said of it.
    fn certify(&self, other: &Certificate) -> Result<Certificate, Stop>;
}

/// A signature file that our verifier accepts for one content and one binding.
#[derive(Debug, Clone)]
pub(crate) struct Signed {
    armored: Vec<u8>,
}

impl Signed {
    /// Returns the signature file.
    pub(crate) fn armored(&self) -> &[u8] {
        &self.armored
    }
}

/// Signs some content and checks what came of it: the only maker of [`Signed`].
pub(crate) fn sign<C: Read + Seek>(
    signer: &dyn Signer,
    content: &mut C,
    binding: &str,
    now: SystemTime,
) -> Result<Signed, Stop> {
    content.rewind().map_err(SignError::Content)?;
    let armored = signer.make_signature(content, binding)?;
    let block = SignatureBlock::parse(&armored).map_err(SignError::Format)?;
    content.rewind().map_err(SignError::Content)?;
    let digests = block.hash(content, u64::MAX).map_err(SignError::Content)?;
    let judgement = block.judge(&digests, &[signer.certificate()], now);
    if let Some(source) = judgement.refused.into_iter().next() {
        let signer = signer.certificate().fingerprint().clone();
        return Err(SignError::Refused { signer, source }.into());
    }
    let says = |good: &&dbt_core::trust::openpgp::GoodSignature| {
        good.notations.as_slice() == [binding.to_owned()]
    };
    match judgement.good.iter().find(says) {
        Some(_good) => Ok(Signed { armored }),
        None => Err(SignError::Unbound.into()),
    }
}

/// Why a signature that was just made is not used.
#[derive(Debug, thiserror::Error)]
enum SignError {
    #[error("the content to sign could not be read")]
    Content(#[source] io::Error),
    #[error("the signer did not make a signature file")]
    Format(#[source] SignatureFormatError),
    #[error("clients would refuse a signature by `{signer}`")]
    Refused { signer: Fingerprint, source: SignatureRefusal },
    #[error("the signer left out what the signature is for")]
    Unbound,
}

impl Explained for SignError {
    fn code(&self) -> ExitCode {
        match self {
            Self::Content(_) => ExitCode::INTERNAL,
            Self::Format(_) | Self::Refused { .. } | Self::Unbound => {
                ExitCode::VERIFICATION_REFUSED
            }
        }
    }
}

/// `--signer` as typed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum SignerChoice {
    /// The user's `gpg`, with its default key or the one that is named.
    Gpg(Option<String>),
    /// A key file.
    File(PathBuf),
    /// A key in a variable of the environment.
    Variable(String),
    /// A key behind a command, which gets a digest and gives a signature.
    Command(String),
}

impl Default for SignerChoice {
    fn default() -> Self {
        Self::Gpg(None)
    }
}

impl FromStr for SignerChoice {
    type Err = UnknownSigner;

    fn from_str(text: &str) -> Result<Self, UnknownSigner> {
        match text.split_once(':') {
            None if text == "gpg" => Ok(Self::Gpg(None)),
            // An option could follow from there.
            Some(("gpg", id)) if !id.is_empty() && !id.starts_with('-') => {
                Ok(Self::Gpg(Some(id.to_owned())))
            }
            Some(("file", path)) if !path.is_empty() => Ok(Self::File(PathBuf::from(path))),
            Some(("env", name)) if !name.is_empty() => Ok(Self::Variable(name.to_owned())),
            Some(("exec", line)) if !line.trim().is_empty() => Ok(Self::Command(line.to_owned())),
            _ => Err(UnknownSigner(text.chars().take(80).collect())),
        }
    }
}

/// `--signer` names no kind of signer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a signer: expected `gpg`, `gpg:ID`, `file:PATH`, `env:VARIABLE` or `exec:COMMAND`"
)]
pub(crate) struct UnknownSigner(String);

/// Prepares who signs a delivery.
pub(crate) fn of(
    signing: &Signing,
    environment: &Environment,
    clock: Clock,
) -> Result<Box<dyn Signer>, Stop> {
    let passphrase = PassphraseSource { file: signing.passphrase_file.clone(), environment };
    let beside = Beside { passphrase, certificate: signing.certificate.clone() };
    open_typed(signing.signer.as_deref(), &beside, clock)
}

/// What is given beside a signer.
pub(crate) struct Beside<'a> {
    /// What a key is locked with.
    pub(crate) passphrase: PassphraseSource<'a>,
    /// The certificate of a key behind a command.
    pub(crate) certificate: Option<PathBuf>,
}

/// Prepares the signer that was typed, or the default one.
pub(crate) fn open_typed(
    typed: Option<&str>,
    beside: &Beside<'_>,
    clock: Clock,
) -> Result<Box<dyn Signer>, Stop> {
    let choice = typed.map(str::parse::<SignerChoice>).transpose()?.unwrap_or_default();
    open(&choice, beside, clock)
}

/// Prepares a signer: finds its certificate, unlocks its key. Nothing is signed yet.
fn open(choice: &SignerChoice, beside: &Beside<'_>, clock: Clock) -> Result<Box<dyn Signer>, Stop> {
    let passphrase = &beside.passphrase;
    match choice {
        SignerChoice::Gpg(id) => Ok(Box::new(gpg::Gpg::open(id.as_deref())?)),
        SignerChoice::File(path) => {
            let path = ring::find(path, passphrase.environment);
            let armored = ring::read(&path)?;
            let name = format!("`{}`", path.display());
            Ok(Box::new(file::KeySigner::open(&armored, &name, passphrase, clock)?))
        }
        SignerChoice::Variable(name) => {
            let armored = variable(name, passphrase.environment)?;
            let name = format!("the key in `{name}`");
            Ok(Box::new(file::KeySigner::open(&armored, &name, passphrase, clock)?))
        }
        SignerChoice::Command(line) => {
            Ok(Box::new(exec::ExecSigner::open(line, beside.certificate.as_deref(), clock)?))
        }
    }
}

fn variable(name: &str, environment: &Environment) -> Result<Secret<String>, Stop> {
    let armored = environment.text_of(name)?.map(Secret::new);
    armored.ok_or_else(|| {
        Report::new(
            ExitCode::CONFIGURATION,
            format!("the environment variable `{name}` is not set"),
        )
        .hint("`--signer env:VARIABLE` names a variable that holds an armored secret key")
        .into()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signers_are_read_as_typed_and_others_refused() {
        let read = |text: &str| text.parse::<SignerChoice>();
        assert_eq!(read("gpg"), Ok(SignerChoice::Gpg(None)));
        assert_eq!(
            read("gpg:alice@example.org"),
            Ok(SignerChoice::Gpg(Some("alice@example.org".into())))
        );
        assert_eq!(read("file:a:b"), Ok(SignerChoice::File("a:b".into())));
        assert_eq!(read("env:KEY"), Ok(SignerChoice::Variable("KEY".into())));
        assert_eq!(read("exec:a | b"), Ok(SignerChoice::Command("a | b".into())));
        for text in ["", "gpg:", "gpg:--output", "file:", "env:", "exec:", "exec: ", "alice"] {
            assert!(read(text).is_err(), "{text}");
        }
    }
}
