//! What was done to this machine, so that exactly that can be taken back: `state/installed.json`.

use std::path::{Path, PathBuf};

use dbt_client::fsx;
use dbt_client::self_update::Installed;
use dbt_core::digest::Digest;
use dbt_core::name::ServerName;
use dbt_core::version::Version;
use dbt_ui::exit_code::ExitCode;
use dbt_ui::report::Report;

use crate::process::Process;

/// The most bytes of the file.
const LIMIT: u64 = 1024 * 1024;

/// What installers have done here. Several of them, one after the other, write the same one.
#[derive(Debug, Default, serde::Serialize, serde::Deserialize)]
#[serde(default)]
pub(super) struct Receipt {
    /// The version of the installer that has written it last.
    installer: String,
    /// The programs.
    pub(super) programs: Vec<Program>,
    /// The servers that were added to the configuration.
    pub(super) servers: Vec<String>,
    /// The server that the configuration names as its default since, and named none before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) default_server: Option<String>,
    /// Configuration files that were not there before.
    pub(super) configs: Vec<PathBuf>,
    /// Profiles of shells.
    pub(super) profiles: Vec<Profile>,
    /// Directories that were put on the search path which the system keeps (Windows).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) search_path: Vec<PathBuf>,
    /// Directories that were not there before, the outer ones first.
    pub(super) directories: Vec<PathBuf>,
}

/// A program that was put somewhere. It replaces itself later.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
pub(super) struct Program {
    /// Where.
    pub(super) path: PathBuf,
    version: Version,
    sha256: Digest,
}

/// A profile that was changed.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
pub(super) struct Profile {
    /// The file.
    pub(super) path: PathBuf,
    /// It was not there before.
    pub(super) made: bool,
}

/// Returns where the receipt is.
pub(super) fn path(process: &Process) -> Result<PathBuf, Report> {
    let home = process.found.places.home.as_ref().ok_or_else(|| {
        Report::new(ExitCode::CONFIGURATION, "there is no home directory that can be written")
    })?;
    Ok(home.join("state").join("installed.json"))
}

impl Receipt {
    /// Reads what was done before; nothing, if nothing was.
    pub(super) fn open(process: &Process) -> Result<Self, Report> {
        let path = path(process)?;
        let bytes = match fsx::read_own(&path, LIMIT) {
            Ok(bytes) => bytes,
            Err(error) if error.is_missing() => return Ok(Self::default()),
            Err(error) => return Err(Report::new(ExitCode::CONFIGURATION, error)),
        };
        serde_json::from_slice(&bytes).map_err(|error| {
            let message = format!("`{}` does not say what was installed", path.display());
            Report::because(ExitCode::CONFIGURATION, message, error)
                .hint("remove it, if what was installed may stay")
        })
    }

    /// Says whether there is nothing to take back.
    pub(super) fn is_empty(&self) -> bool {
        // A default alone is nothing that could be taken back: it is with the servers.
        let Self {
            installer: _,
            programs,
            servers,
            default_server: _,
            configs,
            profiles,
            search_path,
            directories,
        } = self;
        programs.is_empty()
            && servers.is_empty()
            && configs.is_empty()
            && profiles.is_empty()
            && search_path.is_empty()
            && directories.is_empty()
    }

    /// Writes it.
    pub(super) fn save(&mut self, process: &Process) -> Result<(), Report> {
        let path = path(process)?;
        if let Some(directory) = path.parent() {
            self.will_make_directories(directory);
            fsx::create_dir_all(directory, 0o700)
                .map_err(|error| Report::new(ExitCode::CONFIGURATION, error))?;
        }
        self.installer = process.program.version.to_string();
        let bytes = serde_json::to_vec_pretty(self).map_err(Report::internal)?;
        fsx::write_atomic(&path, &bytes, 0o600)
            .map_err(|error| Report::new(ExitCode::CONFIGURATION, error))
    }

    /// Notes the program.
    pub(super) fn has_program(&mut self, installed: &Installed) {
        let Installed { path, sha256, version, is_new: _ } = installed.clone();
        self.programs.retain(|program| program.path != path);
        self.programs.push(Program { path, version, sha256 });
    }

    /// Notes that the configuration is about to be written, perhaps with a further server.
    pub(super) fn will_write_config(&mut self, path: &Path, added: Option<&ServerName>) {
        if let Some(directory) = path.parent() {
            self.will_make_directories(directory);
        }
        if !path.exists() && !self.configs.iter().any(|config| config == path) {
            self.configs.push(path.to_owned());
        }
        let added = added.map(ToString::to_string);
        self.servers.extend(added.filter(|added| !self.servers.contains(added)));
    }

    /// Notes that a profile was changed.
    pub(super) fn has_profile(&mut self, profile: Profile) {
        if !self.profiles.iter().any(|known| known.path == profile.path) {
            self.profiles.push(profile);
        }
    }

    /// Notes that a directory is about to be put on the search path.
    pub(super) fn has_search_path(&mut self, directory: &Path) {
        if !self.search_path.iter().any(|known| known == directory) {
            self.search_path.push(directory.to_owned());
        }
    }

    /// Notes the directories that are about to be made, down to this one.
    pub(super) fn will_make_directories(&mut self, directory: &Path) {
        let missing = directory.ancestors().take_while(|directory| !directory.exists());
        let mut missing: Vec<PathBuf> = missing.map(Path::to_owned).collect();
        missing.reverse();
        missing.retain(|directory| !self.directories.contains(directory));
        self.directories.extend(missing);
    }

    /// Removes the directories that were made and that nothing is in.
    pub(super) fn remove_directories(&self) {
        for directory in self.directories.iter().rev() {
            // What holds anything is not ours alone.
            let _still_used = std::fs::remove_dir(directory);
        }
    }
}
