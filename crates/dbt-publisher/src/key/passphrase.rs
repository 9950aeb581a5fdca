//! Where the passphrase of a key comes from: the environment, a file, or the person.

use std::path::{Path, PathBuf};

use dbt_client::fsx;
use dbt_core::secret::Secret;
use dbt_ui::exit_code::ExitCode;
use dbt_ui::prompt;
use dbt_ui::report::Report;

use crate::env::{Environment, Variable};
use crate::stop::Stop;

/// The most a file with a passphrase may have.
const PASSPHRASE_LIMIT: u64 = 4096;

/// Where a passphrase may come from.
#[derive(Debug, Clone)]
pub(crate) struct PassphraseSource<'a> {
    /// `--passphrase-file`.
    pub(crate) file: Option<PathBuf>,
    /// The environment.
    pub(crate) environment: &'a Environment,
}

impl PassphraseSource<'_> {
    /// Returns the passphrase of a key, asking the person if nothing else gives it.
    pub(crate) fn existing(&self, of: &str) -> Result<Secret<String>, Stop> {
        match self.given()? {
            Some(passphrase) => Ok(passphrase),
            None => self.asked(&format!("passphrase of {of}: ")),
        }
    }

    /// Returns the passphrase for a new key, asking twice.
    pub(crate) fn new_one(&self) -> Result<Secret<String>, Stop> {
        let passphrase = if let Some(given) = self.given()? {
            given
        } else {
            let first = self.asked("passphrase for the new key: ")?;
            let second = self.asked("the same again: ")?;
            if first != second {
                return Err(Stop::usage("the two passphrases are not the same"));
            }
            first
        };
        if passphrase.expose().is_empty() {
            return Err(Stop::usage("a signing key needs a passphrase")
                .hint("without one, whoever reads the file can sign in your name"));
        }
        Ok(passphrase)
    }

    fn given(&self) -> Result<Option<Secret<String>>, Stop> {
        if let Some(path) = &self.file {
            return first_line(path).map(Some);
        }
        Ok(self.environment.secret(Variable::SigningPassphrase)?)
    }

    #[expect(clippy::unused_self, reason = "it is one of the sources")]
    fn asked(&self, question: &str) -> Result<Secret<String>, Stop> {
        prompt::secret(question).map_err(|error| {
            let report = Report::because(
                ExitCode::USAGE,
                "there is no terminal to ask for the passphrase",
                error,
            );
            let variable = Variable::SigningPassphrase.name();
            Stop(report.hint(format!("`--passphrase-file FILE` or `{variable}` gives it")))
        })
    }
}

/// Reads a file that holds one secret, with or without a newline at its end.
pub(crate) fn first_line(path: &Path) -> Result<Secret<String>, Stop> {
    let bytes = Secret::new(fsx::read_limited(path, PASSPHRASE_LIMIT)?);
    let text = std::str::from_utf8(bytes.expose())
        .map_err(|_error| Stop::usage(format!("`{}` is not UTF-8 text", path.display())))?;
    let text = text.strip_suffix('\n').unwrap_or(text);
    Ok(Secret::new(text.strip_suffix('\r').unwrap_or(text).to_owned()))
}
