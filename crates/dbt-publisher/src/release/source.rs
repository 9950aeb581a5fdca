//! The files of a release in a directory, as a build leaves them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use dbt_client::fsx;
use dbt_core::brand;
use dbt_core::platform::{Os, Platform};
use dbt_core::repo_path::RepoPath;
use dbt_core::version::Version;
use dbt_ui::exit_code::ExitCode;
use dbt_ui::printer::Printer;
use dbt_ui::report::Report;

use crate::args::Release;
use crate::publish::inputs::checked;
use crate::publish::metadata::Named;
use crate::publish::plan::{Plan, Reserved, version_of};
use crate::stop::{Explained, Stop};

/// The companions of the program that are published as tools, and what lists say of them.
pub(super) const TOOLS: [(&str, &str); 3] = [
    ("catalog", "Lists, searches, shows and purges tools"),
    ("publisher", "Signs, publishes and withdraws tools, and keeps the truststore"),
    ("reposerver", "Serves a repository of tools, and administers it"),
];

/// What is made for Linux alone, because it needs what only Linux has: scripts/released says the same.
const LINUX_ALONE: &str = "reposerver";

/// The files that say which version it is.
const VERSION_FILES: [&str; 2] = ["VERSION", "latest"];

/// The largest installer.
pub(crate) const INSTALLER_LIMIT: u64 = 256 * 1024 * 1024;

/// What is to be published.
pub(super) struct Found {
    pub(super) version: Version,
    /// The program first, then its companions.
    pub(super) plans: Vec<Plan>,
    /// What has no version.
    pub(super) extras: Vec<Extra>,
}

/// An installer, or a script that fetches one.
pub(super) struct Extra {
    /// Where it goes in the repository.
    pub(super) path: RepoPath,
    pub(super) bytes: Vec<u8>,
}

/// Which files are wanted: by a part of what they are, or of where they come from or go.
pub(super) struct Choice<'a> {
    pub(super) include: &'a [String],
    pub(super) exclude: &'a [String],
}

impl Choice<'_> {
    /// Says whether a file is wanted.
    pub(super) fn wants(&self, words: &str) -> bool {
        let names = |parts: &[String]| parts.iter().any(|part| words.contains(part.as_str()));
        (self.include.is_empty() || names(self.include)) && !names(self.exclude)
    }
}

/// What a signature says that an installer is.
pub(super) fn binding_of(path: &RepoPath) -> String {
    format!("installer/{path}")
}

/// Describes a program for a platform, for [`Choice::wants`].
pub(super) fn words_of(name: &str, version: &Version, platform: Platform) -> String {
    let file = if platform.os == Os::Windows { format!("{name}.exe") } else { name.to_owned() };
    if name == brand::PROGRAM {
        return format!("{name} {name}/{version}/{platform}/{file}");
    }
    format!("{name} {}/{name}/{version}/{platform}/{file}", brand::TOOLS_PATH)
}

/// Returns the names of all programs, that of the program itself first.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    [brand::PROGRAM].into_iter().chain(TOOLS.map(|(name, _text)| name))
}

/// Says whether a release is half of one when it has other programs for a platform, and not this one.
pub(super) fn is_due(name: &str, platform: Platform) -> bool {
    platform.os == Os::Linux || name != LINUX_ALONE
}

/// Says what is missing.
pub(super) fn missing(name: &str, platform: Platform, place: &str) -> Stop {
    let (name, place) = (name.to_owned(), place.to_owned());
    ReleaseError::Missing { name, platform, place }.into()
}

/// Finds the files of a release.
pub(super) fn find(
    directory: &Path,
    typed: &Release,
    choice: &Choice<'_>,
    printer: &Printer,
) -> Result<Found, Stop> {
    if !directory.is_dir() {
        return Err(Stop::usage(format!("`{}` is no directory", directory.display())));
    }
    let version = version_in(directory, typed.version.as_deref())?;
    let built =
        |platform: &Platform| names().any(|name| candidate(directory, name, *platform).is_some());
    let platforms: BTreeSet<Platform> = Platform::ALL.into_iter().filter(built).collect();
    let mut plans = Vec::new();
    for name in names() {
        let mut artifacts = Vec::new();
        for platform in platforms.iter().copied() {
            let found = candidate(directory, name, platform);
            let source = found.as_ref().map(|path| path.display().to_string()).unwrap_or_default();
            if !choice.wants(&format!("{} {source}", words_of(name, &version, platform))) {
                continue;
            }
            if found.is_none() && !is_due(name, platform) {
                continue;
            }
            let path =
                found.ok_or_else(|| missing(name, platform, &directory.display().to_string()))?;
            artifacts.push(format!("{platform}={}", checked(directory, path)?.display()));
        }
        let description = TOOLS.iter().find(|(tool, _text)| *tool == name);
        let description = description.map(|(_tool, text)| (*text).to_owned());
        let named =
            Named { tool: name.to_owned(), version: version.to_string(), artifacts, description };
        if !named.artifacts.is_empty() {
            plans.push(Plan::of(&named, None, Reserved::Accepted, typed.force, printer)?);
        }
    }
    let extras = installers(directory, choice)?;
    if plans.is_empty() && extras.is_empty() {
        return Err(ReleaseError::Nothing { directory: directory.to_owned() }.into());
    }
    Ok(Found { version, plans, extras })
}

/// Returns the file of a program for a platform, as builds call it.
pub(crate) fn candidate(directory: &Path, name: &str, platform: Platform) -> Option<PathBuf> {
    let (os, arch) = (platform.os.as_str(), platform.arch.as_str());
    let ending = if platform.os == Os::Windows { ".exe" } else { "" };
    let places = [
        format!("{os}/{arch}/{name}{ending}"),
        format!("{os}-{arch}/{name}{ending}"),
        format!("{name}_{os}_{arch}{ending}"),
    ];
    places.into_iter().map(|place| directory.join(place)).find(|path| path.is_file())
}

fn installers(directory: &Path, choice: &Choice<'_>) -> Result<Vec<Extra>, Stop> {
    let mut extras = Vec::new();
    let mut add = |path: String, file: PathBuf| {
        if !choice.wants(&format!("installer {}/{path} {}", brand::REPOSITORY_PATH, file.display()))
        {
            return Ok(());
        }
        let bytes = fsx::read_limited(&checked(directory, file)?, INSTALLER_LIMIT)?;
        let path = path.parse().map_err(Report::internal)?;
        extras.push(Extra { path, bytes });
        Ok::<(), Stop>(())
    };
    for script in brand::INSTALL_SCRIPTS {
        let file = directory.join(script);
        if file.is_file() {
            add(script.to_owned(), file)?;
        }
    }
    for platform in Platform::ALL {
        // What `publisher installer` has made there goes before the one that it was made of.
        let found = candidate(&directory.join("installer"), brand::INSTALLER, platform);
        if let Some(file) = found.or_else(|| candidate(directory, brand::INSTALLER, platform)) {
            add(installer_path(platform), file)?;
        }
    }
    Ok(extras)
}

/// Returns where the installer for a platform is.
pub(super) fn installer_path(platform: Platform) -> String {
    let ending = if platform.os == Os::Windows { ".exe" } else { "" };
    format!("installer/{platform}/{}{ending}", brand::INSTALLER)
}

/// Returns the version that was typed, or that a file of the directory names.
fn version_in(directory: &Path, typed: Option<&str>) -> Result<Version, Stop> {
    if let Some(text) = typed {
        return version_of(text);
    }
    for name in VERSION_FILES {
        let file = directory.join(name);
        if file.is_file() {
            let text = fsx::read_limited(&file, 256)?;
            return version_of(String::from_utf8_lossy(&text).trim());
        }
    }
    let [first, second] = VERSION_FILES;
    Err(Stop::usage("`--version` is missing").hint(format!(
        "a file `{first}` or `{second}` in `{}` can name the version, too",
        directory.display()
    )))
}

/// Why a directory is no release.
#[derive(Debug, thiserror::Error)]
enum ReleaseError {
    #[error("`{place}` has no `{name}` for {platform}")]
    Missing { name: String, platform: Platform, place: String },
    #[error("`{}` holds nothing of a release that is wanted", directory.display())]
    Nothing { directory: PathBuf },
}

impl Explained for ReleaseError {
    fn code(&self) -> ExitCode {
        ExitCode::USAGE
    }

    fn hints(&self) -> Vec<String> {
        vec![match self {
            Self::Missing { name, platform, .. } => {
                format!("build it, or leave it out: `--exclude {name}`, `--exclude {platform}`")
            }
            Self::Nothing { directory } => format!(
                "expected `{0}/OS/ARCH/{program}`, `{0}/OS-ARCH/{program}` or `{0}/{program}_OS_ARCH`",
                directory.display(),
                program = brand::PROGRAM
            ),
        }]
    }
}
