//! Which file is published for which platform: as typed, or as found in a directory.
//!
//! A directory has the layout of a repository's version (`OS/ARCH/TOOL`, which is also what
//! gomason uploads from), or release archives and programs whose names say tool and platform.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use dbt_client::fsx;
use dbt_core::digest::{CHECKSUM_FILE_LIMIT, Digest};
use dbt_core::layout::{CHECKSUM_ENDING, DESCRIPTION_FILE};
use dbt_core::platform::{Arch, Os, Platform};
use dbt_core::release::{ArtifactId, Subject};
use dbt_core::version::Version;
use dbt_ui::exit_code::ExitCode;

use super::archive::Format;
use crate::stop::{Explained, Stop};

/// The most bytes that are read of a directory's file that describes the tool.
const DESCRIPTION_FILE_LIMIT: u64 = 4096;

/// What the command line's words name.
#[derive(Debug, Default)]
pub(super) struct Inputs {
    /// What runs where, each platform once.
    pub(super) files: Vec<Input>,
    /// The description that a directory holds.
    pub(super) description: Option<String>,
}

/// A file for a platform: the program, or an archive that holds it.
#[derive(Debug)]
pub(super) struct Input {
    pub(super) platform: Platform,
    pub(super) path: PathBuf,
}

impl Inputs {
    /// Reads the words. Directories are looked into; of files nothing but their names is read.
    pub(super) fn of(words: &[String], subject: &Subject, version: &Version) -> Result<Self, Stop> {
        let mut inputs = Self::default();
        for word in words {
            if let Some((platform, path)) = word.split_once('=') {
                inputs.add(platform.parse()?, PathBuf::from(path))?;
                continue;
            }
            let path = Path::new(word);
            if path.is_dir() {
                inputs.look_into(path, subject, version)?;
                continue;
            }
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            match platform_of(name, subject.name(), version) {
                Some(platform) => inputs.add(platform, path.to_owned())?,
                None => return Err(InputError::NoPlatform { word: word.clone() }.into()),
            }
        }
        Ok(inputs)
    }

    fn add(&mut self, platform: Platform, path: PathBuf) -> Result<(), Stop> {
        if let Some(known) = self.files.iter().find(|known| known.platform == platform) {
            let (first, second) = (known.path.clone(), path);
            return Err(InputError::Twice { platform, first, second }.into());
        }
        self.files.push(Input { platform, path });
        Ok(())
    }

    fn look_into(
        &mut self,
        directory: &Path,
        subject: &Subject,
        version: &Version,
    ) -> Result<(), Stop> {
        let before = self.files.len();
        for name in names_in(directory)? {
            let path = directory.join(&name);
            if path.is_dir() {
                self.look_into_system(&path, &name, subject, version)?;
            } else if let Some(platform) = platform_of(&name, subject.name(), version) {
                self.add(platform, checked(directory, path)?)?;
            }
        }
        if self.files.len() == before {
            let (name, directory) = (subject.name().to_owned(), directory.to_owned());
            return Err(InputError::Nothing { directory, name }.into());
        }
        let description = directory.join(DESCRIPTION_FILE);
        if self.description.is_none() && *subject != Subject::Program && description.is_file() {
            let description = checked(directory, description)?;
            let bytes = fsx::read_limited(&description, DESCRIPTION_FILE_LIMIT)?;
            self.description = Some(String::from_utf8_lossy(&bytes).into_owned());
        }
        Ok(())
    }

    /// Looks into a directory that may be an operating system's.
    fn look_into_system(
        &mut self,
        directory: &Path,
        name: &str,
        subject: &Subject,
        version: &Version,
    ) -> Result<(), Stop> {
        let Some(os) = system(name) else { return Ok(()) };
        let misspelt = |segment: &str| InputError::Misspelt { directory: directory.join(segment) };
        if name != os.as_str() {
            return Err(misspelt("").into());
        }
        for name in names_in(directory)? {
            let below = directory.join(&name);
            if !below.is_dir() {
                continue;
            }
            let arch = processor(&name).filter(|arch| arch.as_str() == name);
            let arch = arch.ok_or_else(|| misspelt(&name))?;
            let platform = Platform { os, arch };
            let id = ArtifactId { subject: subject.clone(), version: version.clone(), platform };
            let candidates = [id.file_name(), subject.name().to_owned()];
            let found = candidates.iter().map(|file| below.join(file)).find(|path| path.is_file());
            let found = found.ok_or_else(|| InputError::Missing {
                directory: below.clone(),
                name: id.file_name(),
            })?;
            self.add(platform, checked(directory, found)?)?;
        }
        Ok(())
    }
}

/// Returns the names in a directory, in order, without hidden ones.
fn names_in(directory: &Path) -> Result<Vec<String>, Stop> {
    let failed = |source| InputError::Read { path: directory.to_owned(), source };
    let mut names = Vec::new();
    for entry in fs::read_dir(directory).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        names.extend(name.to_str().filter(|name| !name.starts_with('.')).map(str::to_owned));
    }
    names.sort();
    Ok(names)
}

/// Returns a file that was found if it is within its directory and what its checksum file says,
/// where there is one: what a build leaves behind comes over networks and through caches.
pub(crate) fn checked(directory: &Path, path: PathBuf) -> Result<PathBuf, Stop> {
    let failed = |source| InputError::Read { path: path.clone(), source };
    let real = path.canonicalize().map_err(failed)?;
    if !real.starts_with(directory.canonicalize().map_err(failed)?) {
        return Err(InputError::Leaves { path }.into());
    }
    let mut checksum = path.clone().into_os_string();
    checksum.push(CHECKSUM_ENDING);
    let checksum = PathBuf::from(checksum);
    if checksum.is_file() {
        let said = fsx::read_limited(&checksum, CHECKSUM_FILE_LIMIT)?;
        let mut file = fs::File::open(&path).map_err(failed)?;
        let (actual, _length) = Digest::of_reader(&mut file).map_err(failed)?;
        if Digest::from_checksum_file(&said).ok() != Some(actual) {
            return Err(InputError::Checksum { path, checksum }.into());
        }
    }
    Ok(path)
}

/// Returns the platform that the name of a release's file says, if the file is the tool's and of
/// this version: `deploy_linux_amd64`, `deploy-1.4.0-x86_64-apple-darwin.tar.gz`.
fn platform_of(name: &str, tool: &str, version: &Version) -> Option<Platform> {
    let rest = name.strip_prefix(tool)?;
    let rest = rest.strip_suffix(Format::ending_of(name)).unwrap_or(rest);
    let rest = rest.strip_suffix(".exe").unwrap_or(rest);
    let rest = rest.replacen(version.spelling(), "", 1).to_ascii_lowercase();
    let rest = rest.replace("x86_64", "amd64");
    let mut words = rest.split(['-', '_', '.']);
    // What follows the tool's name is not the rest of another tool's.
    if words.next() != Some("") {
        return None;
    }
    let (mut os, mut arch) = (None, None);
    for word in words {
        match (system(word), processor(word)) {
            (Some(found), _) if os.is_none_or(|known| known == found) => os = Some(found),
            (_, Some(found)) if arch.is_none_or(|known| known == found) => arch = Some(found),
            // Parts of what compilers call a platform, and of a version's `v`.
            _ if ["", "v", "unknown", "pc", "apple", "gnu", "musl", "msvc", "static"]
                .contains(&word) => {}
            _ => return None,
        }
    }
    Some(Platform { os: os?, arch: arch? })
}

/// Returns the system that a word means, however it is spelt.
fn system(word: &str) -> Option<Os> {
    match word.to_ascii_lowercase().as_str() {
        "linux" => Some(Os::Linux),
        "darwin" | "macos" | "mac" | "osx" => Some(Os::Darwin),
        "windows" | "win" => Some(Os::Windows),
        _ => None,
    }
}

/// Returns the processor that a word means, however it is spelt.
fn processor(word: &str) -> Option<Arch> {
    match word.to_ascii_lowercase().as_str() {
        "amd64" | "x64" | "x86_64" => Some(Arch::Amd64),
        "arm64" | "aarch64" => Some(Arch::Arm64),
        _ => None,
    }
}

/// Why what is to be published was not found.
#[derive(Debug, thiserror::Error)]
enum InputError {
    #[error("failed to read `{}`", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("`{word}` is neither a directory nor a file whose name says for which platform it is")]
    NoPlatform { word: String },
    #[error(
        "`{platform}` is named twice: `{}` and `{}`",
        first.display(),
        second.display()
    )]
    Twice { platform: Platform, first: PathBuf, second: PathBuf },
    #[error("`{}` holds nothing of `{name}` to publish", directory.display())]
    Nothing { directory: PathBuf, name: String },
    #[error("`{}` is not named as platforms are", directory.display())]
    Misspelt { directory: PathBuf },
    #[error("`{}` has no `{name}`", directory.display())]
    Missing { directory: PathBuf, name: String },
    #[error("`{}` leads out of the directory that is published", path.display())]
    Leaves { path: PathBuf },
    #[error("`{}` is not what `{}` says", path.display(), checksum.display())]
    Checksum { path: PathBuf, checksum: PathBuf },
}

impl Explained for InputError {
    fn code(&self) -> ExitCode {
        let damaged = matches!(self, Self::Checksum { .. });
        if damaged { ExitCode::VERIFICATION_REFUSED } else { ExitCode::USAGE }
    }

    fn hints(&self) -> Vec<String> {
        let hint = match self {
            Self::NoPlatform { .. } => {
                "an artifact is `OS/ARCH=FILE`; a name that says it is `TOOL_OS_ARCH.tar.gz`, \
                 perhaps with this version in it"
                    .to_owned()
            }
            Self::Nothing { directory, name } => format!(
                "expected `{0}/OS/ARCH/{name}`, or files like `{0}/{name}_linux_amd64.tar.gz` \
                 (with no version in the name, or with this one)",
                directory.display()
            ),
            Self::Misspelt { .. } => "the systems are `linux`, `darwin` and `windows`; below \
                                      them, `amd64` and `arm64`"
                .to_owned(),
            Self::Missing { .. } => {
                "build it, or take the directory away: half a version is not published".to_owned()
            }
            Self::Checksum { .. } => {
                "copy both again from where they were built, or remove the old checksum".to_owned()
            }
            Self::Read { .. } | Self::Twice { .. } | Self::Leaves { .. } => return Vec::new(),
        };
        vec![hint]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_releases_say_their_platform() {
        let version = "1.4.0".parse().unwrap();
        let said =
            |name: &str| platform_of(name, "deploy", &version).map(|platform| platform.to_string());
        for (name, platform) in [
            ("deploy_linux_amd64", "linux/amd64"),
            ("deploy_windows_arm64.exe", "windows/arm64"),
            ("deploy-1.4.0-linux-arm64.tar.gz", "linux/arm64"),
            ("deploy_v1.4.0_Linux_x86_64.tgz", "linux/amd64"),
            ("deploy-x86_64-unknown-linux-musl.tar.gz", "linux/amd64"),
            ("deploy-aarch64-apple-darwin.zip", "darwin/arm64"),
            ("deploy_macOS_arm64.zip", "darwin/arm64"),
            ("deploy-x86_64-pc-windows-gnu.zip", "windows/amd64"),
        ] {
            assert_eq!(said(name).as_deref(), Some(platform), "{name}");
        }
        for name in [
            "deploy",
            "deploy_linux",
            "deploy_amd64",
            "deploy_linux_amd64.sha256",
            "deploy_linux_amd64.tar.gz.asc",
            "deploy_linux_amd64.tar.xz",
            "deploy-1.3.0-linux-amd64.tar.gz",
            "deploy-plugin_linux_amd64",
            "deployer_linux_amd64",
            "other_linux_amd64",
            "deploy_linux_386",
            "deploy_linux_darwin_amd64",
        ] {
            assert_eq!(said(name), None, "{name}");
        }
    }
}
