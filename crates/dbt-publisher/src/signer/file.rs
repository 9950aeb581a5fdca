//! A signer whose secret key is in this process: from a file, or from a variable.

use std::io::Read;

use dbt_core::clock::Clock;
use dbt_core::secret::Secret;
use dbt_core::trust::keys::Certificate;
use dbt_ui::exit_code::ExitCode;
use dbt_ui::report::Report;

use super::Signer;
use crate::key::certificate;
use crate::key::passphrase::PassphraseSource;
use crate::key::secret::{KeyError, KeyFile, SecretKey};
use crate::stop::Stop;

/// An unlocked key.
pub(super) struct KeySigner {
    key: SecretKey,
    /// What it is called in errors.
    name: String,
    clock: Clock,
}

impl KeySigner {
    /// Reads and unlocks a key, asking for its passphrase if it needs one.
    pub(super) fn open(
        armored: &Secret<String>,
        name: &str,
        passphrase: &PassphraseSource<'_>,
        clock: Clock,
    ) -> Result<Self, Stop> {
        let unusable = |error| unusable(name, error);
        let file = KeyFile::read(armored).map_err(unusable)?;
        let passphrase =
            if file.is_locked() { passphrase.existing(name)? } else { Secret::new(String::new()) };
        let key = file.unlock(&passphrase).map_err(unusable)?;
        Ok(Self { key, name: name.to_owned(), clock })
    }
}

impl Signer for KeySigner {
    fn certificate(&self) -> &Certificate {
        self.key.certificate()
    }

    fn make_signature(&self, content: &mut dyn Read, binding: &str) -> Result<Vec<u8>, Stop> {
        let signature = self.key.sign(content, binding, self.clock.now());
        signature.map_err(|error| unusable(&self.name, error))
    }

    fn certify(&self, other: &Certificate) -> Result<Certificate, Stop> {
        let certified = self.key.certify(other, self.clock.now());
        let certified = certified.map_err(|error| unusable(&self.name, error))?;
        Ok(certificate::read_back(&certified)?)
    }
}

fn unusable(name: &str, error: KeyError) -> Stop {
    Report::because(ExitCode::CONFIGURATION, format!("cannot sign with {name}"), error).into()
}
