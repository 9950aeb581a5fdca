//! A signer whose secret key is behind a command, and whose certificate is given beside it.

use std::io::Read;
use std::path::Path;

use dbt_client::fsx;
use dbt_core::clock::Clock;
use dbt_core::trust::keys::{Certificate, TRUSTSTORE_LIMIT};
use dbt_ui::exit_code::ExitCode;
use dbt_ui::report::Report;
use pgp::composed::SignedPublicKey;
use pgp::types::KeyDetails;

use super::Signer;
use crate::key::certificate;
use crate::key::external::ExternalKey;
use crate::key::secret::{self, KeyError};
use crate::stop::Stop;

/// A key behind a command.
pub(super) struct ExecSigner {
    command: String,
    key: SignedPublicKey,
    certificate: Certificate,
    /// The subkey that signs files; nothing when the primary key does.
    signs: Option<usize>,
    clock: Clock,
}

impl ExecSigner {
    /// Reads the certificate. The command is not run yet.
    pub(super) fn open(
        command: &str,
        certificate: Option<&Path>,
        clock: Clock,
    ) -> Result<Self, Stop> {
        let path = certificate.ok_or_else(|| {
            Stop::usage("`--signer exec:` needs `--certificate FILE`: the public half of its key")
                .hint("`publisher key certificate` makes it from the public key of a key service")
        })?;
        let unusable = |error: certificate::BadCertificate| {
            let message = format!("`{}` is not a certificate that can be used", path.display());
            Stop::from(Report::because(ExitCode::CONFIGURATION, message, error))
        };
        let armored = fsx::read_limited(path, TRUSTSTORE_LIMIT)?;
        let certificate = certificate::only(&armored).map_err(unusable)?;
        let key = certificate::minimal(&certificate).map_err(unusable)?;
        let subkeys = key.public_subkeys.iter().enumerate().filter(|(_index, subkey)| {
            subkey.signatures.iter().any(|signature| signature.key_flags().sign())
        });
        let newest = subkeys.max_by_key(|(_index, subkey)| subkey.key.created_at().as_secs());
        let signs = newest.map(|(index, _subkey)| index);
        Ok(Self { command: command.to_owned(), key, certificate, signs, clock })
    }

    /// Returns the half of the key that the command has the other half of.
    fn public(&self) -> &dyn KeyDetails {
        match self.signs.and_then(|index| self.key.public_subkeys.get(index)) {
            Some(subkey) => &subkey.key,
            None => &self.key.primary_key,
        }
    }
}

impl Signer for ExecSigner {
    fn certificate(&self) -> &Certificate {
        &self.certificate
    }

    fn make_signature(&self, content: &mut dyn Read, binding: &str) -> Result<Vec<u8>, Stop> {
        let key = ExternalKey::new(&self.command, self.public());
        let signature = secret::detached(&key, content, binding, self.clock.now());
        let signature = signature.map_err(|error| explained(&key, error))?;
        Ok(certificate::armored_block(&[signature])?)
    }

    fn certify(&self, other: &Certificate) -> Result<Certificate, Stop> {
        let key = ExternalKey::new(&self.command, &self.key.primary_key);
        let certified = secret::certified(&key, other, self.clock.now());
        let certified = certified.map_err(|error| explained(&key, error))?;
        let certified = certificate::read_back(&certified)?;
        if !certified.is_certified_by(&self.certificate, self.clock.now()) {
            let message = "the command of `--signer exec:` does not sign with the primary key of \
                           its certificate, which alone can certify others";
            return Err(Stop::refused(message));
        }
        Ok(certified)
    }
}

/// Prefers what the command did to what the library made of it.
fn explained(key: &ExternalKey<'_>, error: KeyError) -> Stop {
    key.failure().map_or_else(|| error.into(), Stop::from)
}
