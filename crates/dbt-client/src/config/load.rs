//! Finding and reading the file.

use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::json::Value;
use super::{ConfigError, ConfigFile};
use crate::fsx;

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
        return load_one(path)?.ok_or_else(missing).map(Some);
    }
    for path in usual {
        // Reading a pipe that somebody put there would wait for ever. Where the person names
        // one, it is theirs.
        if std::fs::metadata(path).is_ok_and(|metadata| !metadata.is_file()) {
            return Err(ConfigError::NotAFile { path: path.clone() });
        }
        if let Some(loaded) = load_one(path)? {
            return Ok(Some(loaded));
        }
    }
    Ok(None)
}

fn load_one(path: &Path) -> Result<Option<LoadedFile>, ConfigError> {
    let Some((text, metadata)) = read_file(path)? else {
        return Ok(None);
    };
    let within = |source| ConfigError::In { path: path.to_owned(), source: Box::new(source) };
    let document = parse(&text).map_err(within)?;
    let config = ConfigFile::of(&document).map_err(within)?;
    let notices = notices(path, &config, &metadata);
    Ok(Some(LoadedFile { path: path.to_owned(), config, notices }))
}

/// Reads a configuration file, if there is one and nobody else can write it.
pub(super) fn read_file(path: &Path) -> Result<Option<(Vec<u8>, Metadata)>, ConfigError> {
    let fail = |source| ConfigError::Read { path: path.to_owned(), source };
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if is_absent(&error) => return Ok(None),
        Err(error) => return Err(fail(error)),
    };
    // Asked of the open file, so that it cannot become another one in between.
    let metadata = file.metadata().map_err(fail)?;
    if writable_by_others(&metadata) {
        return Err(ConfigError::WritableByOthers { path: path.to_owned() });
    }
    let mut text = fsx::room_for(&metadata, LIMIT);
    file.take(LIMIT + 1).read_to_end(&mut text).map_err(fail)?;
    if text.len() as u64 > LIMIT {
        return Err(ConfigError::TooLong { path: path.to_owned(), limit: LIMIT });
    }
    Ok(Some((text, metadata)))
}

/// Parses the text of a file. A byte order mark, which some editors write, is skipped.
pub(super) fn parse(text: &[u8]) -> Result<Value, ConfigError> {
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
    serde_json::from_slice(text).map_err(|source| ConfigError::Syntax { source })
}

fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// Says whether anybody on the machine could write the file. A group may: people share the
/// administration of a machine so.
#[cfg(unix)]
fn writable_by_others(metadata: &Metadata) -> bool {
    use std::os::unix::fs::MetadataExt;
    metadata.is_file() && metadata.mode() & 0o002 != 0
}

#[cfg(not(unix))]
fn writable_by_others(_metadata: &Metadata) -> bool {
    false
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
