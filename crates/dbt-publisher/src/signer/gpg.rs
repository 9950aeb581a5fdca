//! The user's `gpg`: its keys, its agent, its smart cards.
//!
//! `gpg` asks for passphrases and PINs itself, by its own pinentry; we never see them. It is run
//! without questions of its own (`--batch`), and what it said is shown when it fails.

use std::io::{self, Read, Write};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::{Mutex, PoisonError};
use std::thread::{self, Builder, Scope, ScopedJoinHandle};

use dbt_core::secret::Secret;
use dbt_core::trust::fingerprint::Fingerprint;
use dbt_core::trust::keys::{Certificate, Keyring, KeyringError};
use dbt_core::trust::openpgp::ARTIFACT_NOTATION;
use dbt_ui::exit_code::ExitCode;

use super::Signer;
use crate::env::Environment;
use crate::key::certificate;
use crate::stop::{Explained, Stop};

/// The program.
const GPG: &str = "gpg";

/// The most lines of what `gpg` said that are repeated.
const WORDS_LIMIT: usize = 6;

/// A key in the user's keyring.
pub(super) struct Gpg {
    /// How `gpg` is told which key: as the user wrote it, or a fingerprint.
    local_user: String,
    certificate: Certificate,
}

impl Gpg {
    /// Finds the key: the one that is named, or the one that `gpg` would use.
    pub(super) fn open(id: Option<&str>) -> Result<Self, Stop> {
        let local_user = match id {
            Some(id) => id.to_owned(),
            None => default_key()?,
        };
        let certificate = public_key(&local_user)?;
        Ok(Self { local_user, certificate })
    }
}

impl Signer for Gpg {
    fn certificate(&self) -> &Certificate {
        &self.certificate
    }

    fn make_signature(&self, content: &mut dyn Read, binding: &str) -> Result<Vec<u8>, Stop> {
        let notation = format!("{ARTIFACT_NOTATION}={binding}");
        let arguments = [
            "--local-user",
            &self.local_user,
            "--digest-algo",
            "SHA256",
            "--sig-notation",
            &notation,
            "--armor",
            "--detach-sign",
        ];
        Ok(run("sign with", &arguments, Some(content))?)
    }

    fn certify(&self, other: &Certificate) -> Result<Certificate, Stop> {
        // The public half is certified in a keyring of its own, so that the user's keyring does
        // not fill with the keys of others; the secret half is used where it is.
        let place = tempfile::tempdir().map_err(GpgError::Start)?;
        let keyring = place.path().join("keys.kbx");
        let keyring = keyring.to_string_lossy();
        let apart = ["--no-default-keyring", "--keyring", &keyring, "--trust-model", "always"];
        let minimal = certificate::read_back(&certificate::minimal(other)?)?;
        let both = format!("{}{}", self.certificate.armored(), minimal.armored());
        run("hand keys to", &[&apart[..], &["--import"]].concat(), Some(&mut both.as_bytes()))?;

        let (ours, theirs) =
            (self.certificate.fingerprint().to_string(), other.fingerprint().to_string());
        let arguments =
            ["--local-user", &ours, "--cert-digest-algo", "SHA256", "--quick-sign-key", &theirs];
        run("certify a key with", &[&apart[..], &arguments].concat(), None)?;
        let exported = run(
            "export a key from",
            &[&apart[..], &["--armor", "--export", &theirs]].concat(),
            None,
        )?;
        Ok(certificate::only(&exported)?)
    }
}

/// Returns the certificate of a key in the user's keyring.
pub(crate) fn public_key(id: &str) -> Result<Certificate, Stop> {
    let arguments = ["--armor", "--export-options", "export-minimal", "--export", id];
    let exported = run("export a key from", &arguments, None)?;
    if exported.is_empty() {
        return Err(GpgError::NoKey { id: id.to_owned() }.into());
    }
    let keyring = Keyring::parse(&exported)
        .map_err(|source| GpgError::Unusable { id: id.to_owned(), source })?;
    let mut certificates = keyring.certificates;
    let found: Vec<Fingerprint> =
        certificates.iter().map(|certificate| certificate.fingerprint().clone()).collect();
    match (certificates.pop(), certificates.is_empty()) {
        (Some(certificate), true) => Ok(certificate),
        _ => Err(GpgError::Ambiguous { id: Some(id.to_owned()), found }.into()),
    }
}

/// Makes a key in the user's keyring and returns its certificate. Without a passphrase `gpg`
/// asks for one.
pub(crate) fn generate(
    user: &str,
    expires: &str,
    passphrase: Option<&Secret<String>>,
) -> Result<Certificate, Stop> {
    let making = ["--quick-generate-key", user, "ed25519", "sign", expires];
    let status = ["--status-fd", "1"];
    let told = match passphrase {
        Some(passphrase) => {
            let loopback = ["--pinentry-mode", "loopback", "--passphrase-fd", "0"];
            let mut passphrase = passphrase.expose().as_bytes();
            run(
                "make a key with",
                &[&status[..], &loopback, &making].concat(),
                Some(&mut passphrase),
            )
        }
        None => run("make a key with", &[&status[..], &making].concat(), None),
    }?;
    let told = String::from_utf8_lossy(&told);
    let created = told.lines().find_map(|line| line.strip_prefix("[GNUPG:] KEY_CREATED "));
    let fingerprint = created.and_then(|created| created.split(' ').nth(1));
    public_key(fingerprint.ok_or(GpgError::Silent)?)
}

/// Returns the key that `gpg` signs with when none is named: the only one that can, or the one
/// its configuration names. `gpg` itself would take the first of several; we do not guess.
fn default_key() -> Result<String, Stop> {
    let listing = run("list the keys of", &["--with-colons", "--list-secret-keys"], None)?;
    let mut found = signing_keys(&String::from_utf8_lossy(&listing));
    match (found.pop(), found.is_empty()) {
        (None, _) => Err(GpgError::NoSecretKey.into()),
        (Some(only), true) => Ok(only.to_string()),
        (Some(last), false) => configured_key().ok_or_else(|| {
            found.push(last);
            GpgError::Ambiguous { id: None, found }.into()
        }),
    }
}

/// The primary keys in a listing whose owner can sign with them now.
fn signing_keys(listing: &str) -> Vec<Fingerprint> {
    let mut keys = Vec::new();
    let mut usable = false;
    for line in listing.lines() {
        let fields: Vec<&str> = line.split(':').collect();
        match fields.first() {
            Some(&"sec") => {
                let over = fields.get(1).is_some_and(|state| ["e", "r", "i", "d"].contains(state));
                let can = fields.get(11).is_some_and(|can| can.contains('S') && !can.contains('D'));
                usable = can && !over;
            }
            // The first one after `sec` is the primary key's.
            Some(&"fpr") if usable => {
                keys.extend(fields.get(9).and_then(|digits| digits.parse().ok()));
                usable = false;
            }
            _ => {}
        }
    }
    keys
}

/// `default-key` of the user's `gpg.conf`.
fn configured_key() -> Option<String> {
    let mut command = Command::new("gpgconf");
    command.args(["--list-options", GPG]).stdin(Stdio::null());
    Environment::without_secrets(&mut command);
    let output = command.output().ok()?;
    let listing = String::from_utf8_lossy(&output.stdout).into_owned();
    let line = listing.lines().find(|line| line.starts_with("default-key:"))?;
    // The last field is what is configured, behind a quotation mark; empty if nothing is.
    let id = line.split(':').nth(9)?.strip_prefix('"')?;
    (!id.is_empty() && !id.contains('%')).then(|| id.to_owned())
}

/// Runs `gpg` and returns what it wrote. `doing` completes "failed to ... gpg".
fn run(
    doing: &'static str,
    arguments: &[&str],
    input: Option<&mut dyn Read>,
) -> Result<Vec<u8>, GpgError> {
    let mut command = Command::new(GPG);
    command.args(["--batch", "--yes", "--quiet", "--no-auto-check-trustdb"]).args(arguments);
    Environment::without_secrets(&mut command);
    command.stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() });
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|error| {
        let missing = error.kind() == io::ErrorKind::NotFound;
        if missing { GpgError::Missing } else { GpgError::Start(error) }
    })?;

    let stdin = child.stdin.take();
    let (stdout, stderr) = (Unread::new(child.stdout.take()), Unread::new(child.stderr.take()));
    let (fed, written, said) = thread::scope(|scope| {
        // All three at once: a pipe that nobody reads stops everything.
        let written = stdout.begin_reading(scope);
        let said = stderr.begin_reading(scope);
        let fed = feed(stdin, input);
        (fed, stdout.rest(written), stderr.rest(said))
    });
    let status = child.wait().map_err(GpgError::Start)?;
    if !status.success() {
        let said = String::from_utf8_lossy(&said.unwrap_or_default()).into_owned();
        return Err(GpgError::Failed { doing, status, said: GpgSaid::of(&said) });
    }
    fed.map_err(GpgError::Pipe)?;
    written.map_err(GpgError::Pipe)
}

/// What `gpg` writes, read by a thread; afterwards, where the system gives none, because `gpg`
/// writes little before it has read everything.
struct Unread<R>(Mutex<Option<R>>);

type Reading<'scope> = Option<ScopedJoinHandle<'scope, io::Result<Vec<u8>>>>;

impl<R: Read + Send> Unread<R> {
    fn new(stream: Option<R>) -> Self {
        Self(Mutex::new(stream))
    }

    fn begin_reading<'scope>(&'scope self, scope: &'scope Scope<'scope, '_>) -> Reading<'scope> {
        Builder::new().spawn_scoped(scope, || self.read()).ok()
    }

    fn rest(&self, reading: Reading<'_>) -> io::Result<Vec<u8>> {
        let Some(thread) = reading else { return self.read() };
        thread.join().unwrap_or_else(|_panic| Err(io::Error::other("a thread ended")))
    }

    fn read(&self) -> io::Result<Vec<u8>> {
        let stream = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        let mut bytes = Vec::new();
        if let Some(mut stream) = stream {
            stream.read_to_end(&mut bytes)?;
        }
        Ok(bytes)
    }
}

fn feed(stdin: Option<impl Write>, input: Option<&mut dyn Read>) -> io::Result<()> {
    let (Some(mut stdin), Some(input)) = (stdin, input) else {
        return Ok(());
    };
    match io::copy(input, &mut stdin) {
        // It ended without reading everything, and says why.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        outcome => outcome.map(|_length| ()),
    }
}

/// What `gpg` said, as the cause of an error.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct GpgSaid(String);

impl GpgSaid {
    fn of(said: &str) -> Self {
        let lines: Vec<&str> = said
            .lines()
            .map(|line| line.trim_start_matches("gpg: ").trim())
            .filter(|line| !line.is_empty() && !line.starts_with("[GNUPG:]"))
            .collect();
        let last = lines.get(lines.len().saturating_sub(WORDS_LIMIT)..).unwrap_or_default();
        if last.is_empty() {
            return Self(format!("`{GPG}` said nothing"));
        }
        Self(format!("`{GPG}` said: {}", last.join("; ")))
    }
}

/// Why `gpg` is of no use.
#[derive(Debug, thiserror::Error)]
enum GpgError {
    #[error("there is no `{GPG}` on this machine")]
    Missing,
    #[error("failed to start `{GPG}`")]
    Start(#[source] io::Error),
    #[error("failed to speak with `{GPG}`")]
    Pipe(#[source] io::Error),
    #[error("failed to {doing} `{GPG}` ({status})")]
    Failed {
        doing: &'static str,
        status: ExitStatus,
        #[source]
        said: GpgSaid,
    },
    #[error("`{GPG}` has no key `{id}`")]
    NoKey { id: String },
    #[error("`{GPG}` has no secret key that can sign")]
    NoSecretKey,
    #[error("{}", ambiguous(id.as_deref(), found))]
    Ambiguous { id: Option<String>, found: Vec<Fingerprint> },
    #[error("the key `{id}` in `{GPG}` is not one that clients accept")]
    Unusable { id: String, source: KeyringError },
    #[error("`{GPG}` did not say which key it made")]
    Silent,
}

fn ambiguous(id: Option<&str>, found: &[Fingerprint]) -> String {
    let found: Vec<String> = found.iter().map(ToString::to_string).collect();
    let found = found.join(", ");
    match id {
        Some(id) => format!("`{id}` names several keys in `{GPG}`: {found}"),
        None => format!("`{GPG}` has several secret keys that can sign: {found}"),
    }
}

impl Explained for GpgError {
    fn code(&self) -> ExitCode {
        ExitCode::CONFIGURATION
    }

    fn hints(&self) -> Vec<String> {
        let hint = match self {
            Self::Missing | Self::NoSecretKey => {
                "`publisher key generate NAME` makes a key, and `--signer file:NAME` signs with it"
            }
            Self::NoKey { .. } | Self::Ambiguous { .. } => {
                "`--signer gpg:FINGERPRINT` names the key; `gpg --list-secret-keys` shows yours"
            }
            Self::Failed { doing: "sign with" | "certify a key with", .. } => {
                "without a desktop, `export GPG_TTY=$(tty)` lets `gpg` ask for the passphrase"
            }
            Self::Start(_)
            | Self::Pipe(_)
            | Self::Failed { .. }
            | Self::Unusable { .. }
            | Self::Silent => return Vec::new(),
        };
        vec![hint.to_owned()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_keys_that_can_sign_today_are_found() {
        let listing = "\
sec:u:255:22:AAAAAAAAAAAAAAAA:1700000000:::u:::scESC:::+:::23::0:
fpr:::::::::AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA:
ssb:u:255:18:CCCCCCCCCCCCCCCC:1700000000::::::e:::+:::23:
fpr:::::::::CCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCC:
sec:e:255:22:BBBBBBBBBBBBBBBB:1600000000:1600000001::u:::sc:::+:::23::0:
fpr:::::::::BBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBB:
sec:u:255:22:DDDDDDDDDDDDDDDD:1700000000:::u:::cC:::+:::23::0:
fpr:::::::::DDDDDDDDDDDDDDDDDDDDDDDDDDDDDDDDDDDDDDDD:
";
        let found: Vec<String> = signing_keys(listing).iter().map(ToString::to_string).collect();
        assert_eq!(found, ["A".repeat(40)]);
    }

    #[test]
    fn the_last_words_of_gpg_are_repeated_on_one_line() {
        let said = GpgSaid::of("gpg: signing failed: No secret key\n\n[GNUPG:] X\n");
        assert_eq!(said.to_string(), "`gpg` said: signing failed: No secret key");
    }
}
