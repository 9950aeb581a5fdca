//! Finding and reading the file.

use std::fs::{File, Metadata};
use std::io;
use std::path::{Path, PathBuf};

use dbt_core::brand;

use super::json::Value;
use super::{ConfigError, ConfigFile};
use crate::fsx;
use crate::ownership::{self, Distrust};

/// The most that a configuration may have; generated ones have a few KiB.
const LIMIT: u64 = 1024 * 1024;

/// A file that was found, and what it says.
#[derive(Debug)]
pub struct LoadedFile {
    /// Where it is.
    pub path: PathBuf,
    /// What it says.
    pub config: ConfigFile,
    /// What a person should know about the file itself.
    pub notices: Vec<String>,
}

/// Reads the first file that exists: `named` (which then must), else one of `usual`.
pub fn load(named: Option<&Path>, usual: &[PathBuf]) -> Result<Option<LoadedFile>, ConfigError> {
    if let Some(path) = named {
        let missing = || ConfigError::Missing { path: path.to_owned() };
        let (text, metadata) = read_file(path)?.ok_or_else(missing)?;
        return understand(path, &text, &metadata).map(Some);
    }
    for path in usual {
        if let Some((text, metadata)) = read_usual(path)? {
            return understand(path, &text, &metadata).map(Some);
        }
    }
    Ok(None)
}

fn understand(path: &Path, text: &[u8], metadata: &Metadata) -> Result<LoadedFile, ConfigError> {
    let within = |source| ConfigError::In { path: path.to_owned(), source: Box::new(source) };
    let document = parse(text).map_err(within)?;
    let config = ConfigFile::of(&document).map_err(within)?;
    let notices = notices(path, &config, metadata);
    Ok(LoadedFile { path: path.to_owned(), config, notices })
}

/// Reads a configuration file, if there is one and nobody else can write it.
pub(super) fn read_file(path: &Path) -> Result<Option<(Vec<u8>, Metadata)>, ConfigError> {
    let fail = |source| ConfigError::Read { path: path.to_owned(), source };
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if is_absent(&error) => return Ok(None),
        Err(error) => return Err(fail(error)),
    };
    let metadata = file.metadata().map_err(fail)?;
    read_opened(path, file, metadata).map(Some)
}

/// Reads the file of a place where one usually is. Opening or reading a pipe that somebody put
/// there would wait for ever; where the person names one, it is theirs.
fn read_usual(path: &Path) -> Result<Option<(Vec<u8>, Metadata)>, ConfigError> {
    let fail = |source| ConfigError::Read { path: path.to_owned(), source };
    let odd = || ConfigError::NotAFile { path: path.to_owned() };
    let file = match fsx::open_without_waiting(path) {
        Ok(file) => file,
        Err(error) if is_absent(&error) => return Ok(None),
        Err(_) if is_odd(path) => return Err(odd()),
        Err(error) => return Err(fail(error)),
    };
    let metadata = file.metadata().map_err(fail)?;
    if !metadata.is_file() {
        return Err(odd());
    }
    read_opened(path, file, metadata).map(Some)
}

/// Says whether something is there that is no file; a socket cannot even be opened.
fn is_odd(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|metadata| !metadata.is_file())
}

/// Reads an open file. What is judged is asked of it, so that it cannot become another one in
/// between.
fn read_opened(
    path: &Path,
    file: File,
    metadata: Metadata,
) -> Result<(Vec<u8>, Metadata), ConfigError> {
    let fail = |source| ConfigError::Read { path: path.to_owned(), source };
    if let Err(distrust) = judge(path, &metadata) {
        return Err(ConfigError::Distrusted { path: path.to_owned(), distrust });
    }
    match fsx::read_all(file, &metadata, LIMIT).map_err(fail)? {
        Some(text) => Ok((text, metadata)),
        None => Err(ConfigError::TooLong { path: path.to_owned(), limit: LIMIT }),
    }
}

/// Parses the text of a file. A byte order mark, which some editors write, is skipped.
pub(super) fn parse(text: &[u8]) -> Result<Value, ConfigError> {
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
    serde_json::from_slice(text).map_err(|source| ConfigError::Syntax { source })
}

fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// Judges who else could change what the file says, or put another in its place.
fn judge(path: &Path, metadata: &Metadata) -> Result<(), Distrust> {
    // A pipe is whatever the person who named it has connected it to.
    if !metadata.is_file() {
        return Ok(());
    }
    ownership::of(path, metadata)?;
    let Some(directory) = path.parent() else { return Ok(()) };
    let ours = directory.parent().filter(|home| home.ends_with(brand::HOME_DIRECTORY));
    ownership::of_ours(ours.unwrap_or(directory), directory)
}

#[cfg(unix)]
fn notices(path: &Path, config: &ConfigFile, metadata: &Metadata) -> Vec<String> {
    use std::os::unix::fs::MetadataExt;
    let readable = metadata.is_file() && metadata.mode() & 0o004 != 0;
    if readable && config.holds_secrets() {
        let path = path.display();
        return vec![format!(
            "the configuration file `{path}` holds secrets and other users can read it: `chmod 600 '{path}'`"
        )];
    }
    Vec::new()
}

#[cfg(not(unix))]
fn notices(_path: &Path, _config: &ConfigFile, _metadata: &Metadata) -> Vec<String> {
    Vec::new()
}
