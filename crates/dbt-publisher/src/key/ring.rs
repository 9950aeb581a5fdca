//! The directory of the user's key files: `keys` in our home, one file for each key.

use std::path::{Path, PathBuf};

use dbt_client::fsx;
use dbt_core::name::ToolName;
use dbt_core::secret::Secret;
use dbt_core::trust::fingerprint::Fingerprint;
use dbt_core::trust::keys::Certificate;
use dbt_ui::exit_code::ExitCode;
use dbt_ui::report::Report;

use super::secret::KeyFile;
use crate::env::Environment;
use crate::stop::Stop;

/// The most a key file may have. Keys with many subkeys and certifications stay far below.
const KEY_LIMIT: u64 = 1024 * 1024;

/// What a key file's name ends in.
const ENDING: &str = ".asc";

/// Returns the directory of key files.
pub(crate) fn directory(environment: &Environment) -> Result<PathBuf, Stop> {
    let home = environment.our_home().ok_or_else(|| {
        Report::new(ExitCode::CONFIGURATION, "the home directory is not known")
            .hint("set `HOME`, or name the key with `--signer file:PATH`")
    })?;
    Ok(home.join("keys"))
}

/// Returns where the key of this name is, or will be.
pub(crate) fn path_of(name: &ToolName, environment: &Environment) -> Result<PathBuf, Stop> {
    Ok(directory(environment)?.join(format!("{name}{ENDING}")))
}

/// Returns the file that `file:PATH` means: a path, or the name of a key of the user.
pub(crate) fn find(path: &Path, environment: &Environment) -> PathBuf {
    let name = path.to_str().and_then(|text| text.parse::<ToolName>().ok());
    let ours = name.and_then(|name| path_of(&name, environment).ok());
    match ours {
        Some(ours) if !path.exists() && ours.exists() => ours,
        _ => path.to_owned(),
    }
}

/// Reads a key file.
pub(crate) fn read(path: &Path) -> Result<Secret<String>, Stop> {
    let bytes = fsx::read_limited(path, KEY_LIMIT).map_err(|error| {
        let hints = error.is_missing().then(|| {
            "`publisher key list` shows your keys, `publisher key generate NAME` makes one"
                .to_owned()
        });
        Report::new(ExitCode::CONFIGURATION, error).hints(hints)
    })?;
    let bytes = Secret::new(bytes);
    match std::str::from_utf8(bytes.expose()) {
        Ok(text) => Ok(Secret::new(text.to_owned())),
        Err(_error) => Err(Report::new(
            ExitCode::CONFIGURATION,
            format!("`{}` is not an armored key", path.display()),
        )
        .into()),
    }
}

/// A key of the user.
#[derive(Debug)]
pub(crate) struct Entry {
    /// Its name.
    pub(crate) name: String,
    /// Its file.
    pub(crate) path: PathBuf,
    /// Its public half.
    pub(crate) certificate: Certificate,
}

/// Returns the user's keys, in the order of their names. What is no key is left out.
pub(crate) fn entries(environment: &Environment) -> Result<Vec<Entry>, Stop> {
    let directory = directory(environment)?;
    let files = match std::fs::read_dir(&directory) {
        Ok(files) => files,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(fsx::FsxError::new("list", directory, error).into()),
    };
    let mut entries: Vec<Entry> = files.flatten().filter_map(|file| entry(&file.path())).collect();
    entries.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(entries)
}

fn entry(path: &Path) -> Option<Entry> {
    let name = path.file_name()?.to_str()?.strip_suffix(ENDING)?.to_owned();
    let certificate = KeyFile::read(&read(path).ok()?).ok()?.certificate().ok()?;
    Some(Entry { name, path: path.to_owned(), certificate })
}

/// Finds a certificate by what a person calls it: the name of a key of the user, its
/// fingerprint, or nothing.
pub(crate) fn certificate(
    wanted: &str,
    environment: &Environment,
) -> Result<Option<Certificate>, Stop> {
    let fingerprint: Option<Fingerprint> = wanted.parse().ok();
    let found = entries(environment)?.into_iter().find(|entry| {
        entry.name == wanted || fingerprint.as_ref() == Some(entry.certificate.fingerprint())
    });
    Ok(found.map(|entry| entry.certificate))
}
