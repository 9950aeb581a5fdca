//! Keys that sign metadata: ed25519, in the same locked files as the user's other keys.
//!
//! Metadata is signed by the bare arithmetic, not by a signature of `OpenPGP`. The two cannot be taken for one another:
//! there a digest of 32 bytes is signed, here text that begins with a brace.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use ::ring::signature::{Ed25519KeyPair, KeyPair as _};
use dbt_client::fsx;
use dbt_core::digest::Digest;
use dbt_core::name::ToolName;
use dbt_core::secret::Secret;
use dbt_core::trust::metadata;
use dbt_ui::exit_code::ExitCode;
use dbt_ui::report::Report;
use serde_json::{Value, json};

use crate::env::Environment;
use crate::key::passphrase::PassphraseSource;
use crate::key::ring;
use crate::key::secret::{self, KeyFile, NewKey};
use crate::stop::Stop;

/// The public half of a key, as metadata has it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct PublicKey {
    /// Its name in metadata: the digest of its canonical form.
    pub(crate) id: String,
    /// The key.
    pub(crate) value: Value,
}

impl PublicKey {
    fn of(point: &[u8]) -> Result<Self, Stop> {
        let public = hexadecimal(point);
        let value =
            json!({"keytype": "ed25519", "scheme": "ed25519", "keyval": {"public": public}});
        let canonical = metadata::canonical(&value).map_err(Report::internal)?;
        Ok(Self { id: Digest::of(&canonical).to_string(), value })
    }
}

/// The keys of the user that may sign metadata. Each is unlocked when it is needed first.
pub(crate) struct Keys<'a> {
    passphrase: PassphraseSource<'a>,
    files: Vec<KeyOnDisk>,
    unlocked: RefCell<BTreeMap<String, Ed25519KeyPair>>,
}

struct KeyOnDisk {
    path: PathBuf,
    name: String,
    public: PublicKey,
}

impl<'a> Keys<'a> {
    /// Finds the user's keys, and one more in a file of its own, which may be on a stick.
    pub(crate) fn of_user(
        passphrase: PassphraseSource<'a>,
        further: Option<&Path>,
    ) -> Result<Self, Stop> {
        let entries = ring::entries(passphrase.environment)?;
        let paths = entries.into_iter().map(|entry| (entry.name, entry.path));
        let further = further.map(|path| {
            let path = ring::find(path, passphrase.environment);
            (path.display().to_string(), path)
        });
        let mut files = Vec::new();
        for (name, path) in paths.chain(further) {
            // A key of another kind signs files, and no metadata.
            if let Some(public) = public_half(&path)? {
                files.push(KeyOnDisk { path, name, public });
            }
        }
        Ok(Self { passphrase, files, unlocked: RefCell::default() })
    }

    /// Returns what the user calls a key, if it is one of his.
    pub(crate) fn name_of(&self, id: &str) -> Option<&str> {
        self.find(id).map(|file| file.name.as_str())
    }

    /// Returns the key that the user calls so.
    pub(crate) fn called(&self, name: &str) -> Result<&PublicKey, Stop> {
        let found = self.files.iter().find(|file| file.name == name);
        found.map(|file| &file.public).ok_or_else(|| {
            Report::new(ExitCode::CONFIGURATION, format!("there is no ed25519 key `{name}`"))
                .hint(format!(
                    "`publisher key list` shows your keys, `publisher key generate {name}` makes one"
                ))
                .into()
        })
    }

    /// Signs by one of the user's keys; nothing if it is not his.
    pub(crate) fn sign(&self, id: &str, canonical: &[u8]) -> Result<Option<String>, Stop> {
        let Some(file) = self.find(id) else { return Ok(None) };
        let mut unlocked = self.unlocked.borrow_mut();
        if let Some(pair) = unlocked.get(id) {
            return Ok(Some(hexadecimal(pair.sign(canonical).as_ref())));
        }
        let pair = unlock(&file.path, &self.passphrase)?;
        let signature = hexadecimal(pair.sign(canonical).as_ref());
        unlocked.insert(id.to_owned(), pair);
        Ok(Some(signature))
    }

    fn find(&self, id: &str) -> Option<&KeyOnDisk> {
        self.files.iter().find(|file| file.public.id == id)
    }
}

/// A key that is made, and where it will be.
pub(crate) struct NewKeyFile {
    path: PathBuf,
    armored: Secret<String>,
    /// What it is in metadata.
    pub(crate) public: PublicKey,
}

impl NewKeyFile {
    /// Makes a key for the user's directory. Nothing is written yet.
    pub(crate) fn of_user(
        name: &str,
        (passphrase, environment): (&Secret<String>, &Environment),
        now: std::time::SystemTime,
    ) -> Result<Self, Stop> {
        let file: ToolName = name.parse().map_err(|_error| {
            Stop::usage(format!("`{name}` cannot be the name of a key file"))
                .hint("letters, digits and `.`, `_`, `+`, `-` are allowed")
        })?;
        Self::at(ring::path_of(&file, environment)?, name, passphrase, now)
    }

    /// Makes a key for a file. Nothing is written yet.
    pub(crate) fn at(
        path: PathBuf,
        name: &str,
        passphrase: &Secret<String>,
        now: std::time::SystemTime,
    ) -> Result<Self, Stop> {
        if path.symlink_metadata().is_ok() {
            return Err(Stop::usage(format!("`{}` exists already", path.display()))
                .hint("a key is never written over another one"));
        }
        // It ends when metadata no longer names it, and not before.
        let wanted = NewKey { user: name, lifetime: None, now };
        let (armored, _certificate) = secret::generate(&wanted, passphrase)?;
        let file = KeyFile::read(&armored)?;
        let point = file.ed25519().ok_or_else(|| Report::internal("the new key is not ed25519"))?;
        Ok(Self { path, armored, public: PublicKey::of(&point)? })
    }

    /// Writes it, and reads it back as it will be read when it is needed.
    pub(crate) fn write(&self, passphrase: &PassphraseSource<'_>) -> Result<(), Stop> {
        if let Some(directory) = self.path.parent() {
            fsx::create_dir_all(directory, 0o700)?;
        }
        fsx::write_atomic(&self.path, self.armored.expose().as_bytes(), 0o600)?;
        let pair = unlock(&self.path, passphrase)?;
        if PublicKey::of(pair.public_key().as_ref())? != self.public {
            let message = format!("`{}` does not hold what was written", self.path.display());
            return Err(Report::new(ExitCode::INTERNAL, message).into());
        }
        Ok(())
    }
}

fn public_half(path: &Path) -> Result<Option<PublicKey>, Stop> {
    let Ok(file) = KeyFile::read(&ring::read(path)?) else { return Ok(None) };
    file.ed25519().map(|point| PublicKey::of(&point)).transpose()
}

fn unlock(path: &Path, passphrase: &PassphraseSource<'_>) -> Result<Ed25519KeyPair, Stop> {
    let name = format!("`{}`", path.display());
    let unusable = |error| {
        let message = format!("cannot sign with {name}");
        Stop::from(Report::because(ExitCode::CONFIGURATION, message, error))
    };
    let file = KeyFile::read(&ring::read(path)?).map_err(unusable)?;
    let passphrase =
        if file.is_locked() { passphrase.existing(&name)? } else { Secret::new(String::new()) };
    let key = file.unlock(&passphrase).map_err(unusable)?;
    let seed = key.ed25519_seed().ok_or_else(|| {
        Report::new(ExitCode::CONFIGURATION, format!("{name} is not an ed25519 key"))
    })?;
    Ed25519KeyPair::from_seed_unchecked(seed.expose())
        .map_err(|_rejected| Report::internal("a seed of 32 bytes was refused").into())
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut digits, byte| {
        let _infallible = write!(digits, "{byte:02x}");
        digits
    })
}
