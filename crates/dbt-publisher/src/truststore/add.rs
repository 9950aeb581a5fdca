//! Finding the certificates that are to be added: in files, among the user's keys, in `gpg`.

use std::path::Path;

use dbt_client::fsx;
use dbt_core::trust::keys::{Certificate, Keyring, TRUSTSTORE_LIMIT};
use dbt_ui::exit_code::ExitCode;
use dbt_ui::printer::Printer;
use dbt_ui::report::Report;

use crate::env::Environment;
use crate::key::secret::KeyFile;
use crate::key::{certificate, ring};
use crate::signer;
use crate::stop::Stop;

/// Returns the certificates that the words name.
pub(super) fn certificates(
    words: &[String],
    environment: &Environment,
    printer: &Printer,
) -> Result<Vec<Certificate>, Stop> {
    let mut found: Vec<Certificate> = Vec::new();
    for word in words {
        for certificate in certificates_of(word, environment, printer)? {
            let known = |one: &Certificate| one.fingerprint() == certificate.fingerprint();
            if !found.iter().any(known) {
                found.push(certificate);
            }
        }
    }
    Ok(found)
}

fn certificates_of(
    word: &str,
    environment: &Environment,
    printer: &Printer,
) -> Result<Vec<Certificate>, Stop> {
    let path = Path::new(word);
    if path.is_file() {
        return in_file(path, printer);
    }
    if let Some(certificate) = ring::certificate(word, environment)? {
        return Ok(vec![certificate]);
    }
    if word.starts_with('-') || word.contains('/') {
        return Err(Stop::usage(format!("there is no file `{word}`")));
    }
    let found = signer::public_key_from_gpg(word).map_err(|stop| {
        stop.while_doing(format!("`{word}` is neither a file nor a key that is known here"))
    })?;
    Ok(vec![found])
}

fn in_file(path: &Path, printer: &Printer) -> Result<Vec<Certificate>, Stop> {
    let bytes = fsx::read_limited(path, TRUSTSTORE_LIMIT)?;
    // The user's own key, by its file: its public half is meant.
    if let Some(own) = ring::read(path).ok().and_then(|armored| KeyFile::read(&armored).ok()) {
        let unusable = |error| {
            Report::because(ExitCode::VERIFICATION_REFUSED, format!("`{}`", path.display()), error)
        };
        return Ok(vec![own.certificate().map_err(unusable)?]);
    }
    let keyring = Keyring::parse(&bytes).map_err(|error| {
        let message = format!("`{}` holds no certificate that clients accept", path.display());
        Report::because(ExitCode::VERIFICATION_REFUSED, message, error)
            .hint("`gpg --armor --export ID` writes one")
    })?;
    for skipped in &keyring.skipped {
        printer.warning(format!("`{}`: {skipped}", path.display()));
    }
    Ok(keyring.certificates)
}

/// Returns a certificate without what others have said of it.
pub(super) fn minimal(of: &Certificate) -> Result<Certificate, Stop> {
    Ok(certificate::read_back(&certificate::minimal(of)?)?)
}
