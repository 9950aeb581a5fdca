//! `publisher key ...`: makes, lists and exports signing keys.

use std::time::Duration;

use dbt_client::fsx;
use dbt_core::clock::Clock;
use dbt_core::name::ToolName;
use dbt_core::timestamp;
use dbt_core::trust::keys::Certificate;
use dbt_ui::exit_code::ExitCode;
use dbt_ui::printer::Printer;
use dbt_ui::report::Report;
use dbt_ui::table::Table;
use serde_json::json;

use super::passphrase::PassphraseSource;
use super::ring;
use super::secret::{self, NewKey};
use super::{certificate, enclose};
use crate::args::Key;
use crate::env::{Environment, Variable};
use crate::signer::{self, SignerChoice};
use crate::stop::Stop;

/// Does what a `key` command says.
pub(crate) fn run(command: Key, environment: &Environment, printer: &Printer) -> Result<(), Stop> {
    match command {
        Key::Generate { name, email, gpg, expires, passphrase_file, json } => {
            let user = user_id(&name, email.as_deref())?;
            let passphrase = PassphraseSource { file: passphrase_file, environment };
            let wanted = Wanted { name, user, expires };
            let certificate = if gpg {
                wanted.generate_in_gpg(&passphrase)?
            } else {
                wanted.generate_file(&passphrase, printer)?
            };
            introduce(&certificate, json, printer)
        }
        Key::Certificate { name, email, public_key, signer, expires } => {
            let SignerChoice::Command(command) = signer.parse()? else {
                return Err(Stop::usage("`--signer exec:COMMAND` signs with the key"));
            };
            let user = user_id(&name, email.as_deref())?;
            let lifetime = lifetime_of(&expires)?;
            let wanted = NewKey { user: &user, lifetime, now: Clock::System.now() };
            let certificate = enclose::certificate_of(&public_key, &command, &wanted)?;
            Ok(printer.data(certificate.armored())?)
        }
        Key::Export { key } => {
            let certificate = match ring::certificate(&key, environment)? {
                Some(certificate) => certificate,
                None => signer::public_key_from_gpg(&key)?,
            };
            let minimal = certificate::read_back(&certificate::minimal(&certificate)?)?;
            Ok(printer.data(minimal.armored())?)
        }
        Key::List { json } => list(json, environment, printer),
    }
}

/// What a key is asked to be.
struct Wanted {
    name: String,
    user: String,
    expires: String,
}

impl Wanted {
    fn generate_in_gpg(&self, passphrase: &PassphraseSource<'_>) -> Result<Certificate, Stop> {
        let expires = if self.expires == NEVER { NEVER } else { self.expires.as_str() };
        lifetime_of(expires)?;
        let given =
            passphrase.file.is_some() || passphrase.environment.is_set(Variable::SigningPassphrase);
        let passphrase = if given { Some(passphrase.new_one()?) } else { None };
        signer::generate_with_gpg(&self.user, expires, passphrase.as_ref())
    }

    fn generate_file(
        &self,
        passphrase: &PassphraseSource<'_>,
        printer: &Printer,
    ) -> Result<Certificate, Stop> {
        let environment = passphrase.environment;
        let name: ToolName = self.name.parse().map_err(|_error| {
            Stop::usage(format!("`{}` cannot be the name of a key file", self.name))
                .hint("letters, digits and `.`, `_`, `+`, `-` are allowed")
        })?;
        let path = ring::path_of(&name, environment)?;
        if path.symlink_metadata().is_ok() {
            return Err(Stop(Report::new(
                ExitCode::USAGE,
                format!("`{}` exists already", path.display()),
            )));
        }
        let lifetime = lifetime_of(&self.expires)?;
        let passphrase = passphrase.new_one()?;
        let wanted = NewKey { user: &self.user, lifetime, now: Clock::System.now() };
        let (armored, certificate) =
            secret::generate(&wanted, &passphrase).map_err(Report::internal)?;
        fsx::create_dir_all(&ring::directory(environment)?, 0o700)?;
        fsx::write_atomic(&path, armored.expose().as_bytes(), 0o600)?;
        printer.verbose(format!("`{}` is written", path.display()));
        Ok(certificate)
    }
}

/// For ever.
const NEVER: &str = "never";

const DAY: u64 = 24 * 60 * 60;

/// The longest lifetime: `OpenPGP` counts it in 32 bits of seconds.
const LONGEST: u64 = 100 * 366 * DAY;

/// Reads `2y`, `6m`, `4w`, `90d` or `never`, which `gpg` reads too.
fn lifetime_of(text: &str) -> Result<Option<Duration>, Stop> {
    if text == NEVER {
        return Ok(None);
    }
    let refuse =
        || Stop::usage(format!("`{text}` is not a time: expected `2y`, `6m`, `90d` or `never`"));
    let unit = text.chars().last().ok_or_else(refuse)?;
    let days = match unit {
        'y' => 365,
        'm' => 30,
        'w' => 7,
        'd' => 1,
        _ => return Err(refuse()),
    };
    let number = text.strip_suffix(unit).and_then(|digits| digits.parse::<u64>().ok());
    let seconds = number.and_then(|number| number.checked_mul(days * DAY));
    match seconds {
        Some(seconds @ 1..=LONGEST) => Ok(Some(Duration::from_secs(seconds))),
        _ => Err(refuse()),
    }
}

/// Puts a name and an address together, as certificates have them.
fn user_id(name: &str, email: Option<&str>) -> Result<String, Stop> {
    let bad = |c: char| c.is_control() || c == '<' || c == '>';
    let name = name.trim();
    if name.is_empty() || name.len() > 128 || name.starts_with('-') || name.contains(bad) {
        return Err(Stop::usage("a key needs a name of 1 to 128 printable characters"));
    }
    match email {
        None => Ok(name.to_owned()),
        Some(email) if !email.contains('@') || email.contains(bad) || email.contains(' ') => {
            Err(Stop::usage(format!("`{email}` is not an address")))
        }
        Some(email) => Ok(format!("{name} <{email}>")),
    }
}

/// Says when a certificate expires, for people.
pub(crate) fn expiry(certificate: &Certificate) -> String {
    certificate.expires().map_or_else(|| NEVER.to_owned(), timestamp::format_date)
}

/// Describes a certificate, for scripts.
pub(crate) fn described(certificate: &Certificate) -> serde_json::Value {
    json!({
        "fingerprint": certificate.fingerprint(),
        "user": certificate.name(),
        "created": timestamp::format(certificate.created()),
        "expires": certificate.expires().map(timestamp::format),
    })
}

fn introduce(certificate: &Certificate, as_json: bool, printer: &Printer) -> Result<(), Stop> {
    if as_json {
        return Ok(printer.json(described(certificate))?);
    }
    Ok(printer.data(format!("{}\n", certificate.fingerprint()))?)
}

fn list(as_json: bool, environment: &Environment, printer: &Printer) -> Result<(), Stop> {
    let entries = ring::entries(environment)?;
    if as_json {
        let keys = entries.iter().map(|entry| {
            let mut key = described(&entry.certificate);
            if let Some(key) = key.as_object_mut() {
                key.insert("name".to_owned(), json!(entry.name));
                key.insert("file".to_owned(), json!(entry.path));
            }
            key
        });
        return Ok(printer.json(json!(keys.collect::<Vec<_>>()))?);
    }
    if entries.is_empty() {
        return Ok(());
    }
    let mut table = Table::new(["name", "fingerprint", "expires", "user"]);
    for entry in &entries {
        let certificate = &entry.certificate;
        table.row([
            &entry.name,
            &certificate.fingerprint().to_string(),
            &expiry(certificate),
            &certificate.name(),
        ]);
    }
    Ok(printer.data(table)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lifetimes_are_read_as_gpg_reads_them() {
        let days = |text| lifetime_of(text).unwrap().map(|time| time.as_secs() / DAY);
        assert_eq!(days("2y"), Some(730));
        assert_eq!(days("6m"), Some(180));
        assert_eq!(days("90d"), Some(90));
        assert_eq!(days("never"), None);
        for text in ["", "2", "y", "0d", "-1y", "1000y", "2 years", "1é"] {
            assert!(lifetime_of(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_name_cannot_pretend_to_be_an_address() {
        assert_eq!(user_id("Alice", Some("a@example.org")).unwrap(), "Alice <a@example.org>");
        for (name, email) in
            [("", None), ("--help", None), ("A <b@c>", None), ("A", Some("x> <y@z"))]
        {
            assert!(user_id(name, email).is_err(), "{name}");
        }
    }
}
