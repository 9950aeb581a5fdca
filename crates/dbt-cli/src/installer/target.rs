//! Where the program goes, and that nobody else's program is in the way.

use std::fs;
use std::path::{Path, PathBuf};

use dbt_client::fsx;
use dbt_client::self_update::{self, Installed};
use dbt_client::store::{Store, StoreFile};
use dbt_core::brand;
use dbt_core::trust::Verified;
use dbt_core::version::Version;
use dbt_ui::exit_code::ExitCode;
use dbt_ui::prompt;
use dbt_ui::report::Report;

use super::args::Install;
use super::receipt::Receipt;
use crate::commands::failure;
use crate::process::Process;

/// The place of the program.
#[derive(Debug)]
pub(super) struct Target {
    /// Its path.
    pub(super) path: PathBuf,
    /// The version of this product that has the place.
    present: Option<Version>,
}

impl Target {
    /// Chooses the place, and refuses one that another program has.
    pub(super) fn choose(process: &Process, asked: &Install) -> Result<Self, Report> {
        let directory = match (&asked.directory, &process.found.places.links) {
            (Some(directory), _) => {
                process.host.directory.clone().unwrap_or_default().join(directory)
            }
            (None, Some(links)) => links.clone(),
            (None, None) => {
                let message = "there is no home directory to install into";
                return Err(Report::new(ExitCode::CONFIGURATION, message)
                    .hint("`--directory DIR` names another place"));
            }
        };
        let name = asked.program_name.as_ref().map_or(brand::PROGRAM, |name| name.as_str());
        match Self::at(&directory, name) {
            Ok(target) => Ok(target),
            Err(taken) if asked.program_name.is_some() => Err(taken),
            Err(taken) => Self::under_another_name(&directory).unwrap_or(Err(taken)),
        }
    }

    /// Asks a person for another name.
    fn under_another_name(directory: &Path) -> Option<Result<Self, Report>> {
        let name = brand::PROGRAM;
        let question = format!(
            "`{}` is another program; another name for this one (Enter ends this)",
            directory.join(name).display()
        );
        let other = prompt::line(&question, None)?;
        let legal = other.parse::<dbt_core::name::ToolName>().ok()?;
        Some(Self::at(directory, legal.as_str()))
    }

    fn at(directory: &Path, name: &str) -> Result<Self, Report> {
        let path = directory.join(format!("{name}{}", std::env::consts::EXE_SUFFIX));
        if fs::symlink_metadata(&path).is_err() {
            return Ok(Self { path, present: None });
        }
        if let Some(present) = self_update::version_of(&path) {
            return Ok(Self { path, present: Some(present) });
        }
        let message = format!("refusing to replace `{}`", path.display());
        let why = format!("asked for its version, it does not answer as {}", brand::PROGRAM);
        let hint = "`--as NAME` gives this program another name, `--directory DIR` another place";
        Err(Report::because(ExitCode::CONFIGURATION, message, why).hint(hint))
    }

    /// Returns what is typed to start the program.
    pub(super) fn name(&self) -> String {
        self.path.file_stem().unwrap_or_default().to_string_lossy().into_owned()
    }

    /// Returns the directory of the program.
    pub(super) fn directory(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new("/"))
    }

    /// Returns the program of the same name that is found before this one.
    pub(super) fn hidden_by(&self, process: &Process) -> Option<PathBuf> {
        let name = self.path.file_name()?;
        let mut found = process.env.search_path().into_iter().map(|it| it.join(name));
        found.find(|path| path.exists()).filter(|first| *first != self.path)
    }

    /// Puts the verified program there, unless a newer one has the place.
    pub(super) fn install(
        &self,
        process: &Process,
        store: &Store,
        verified: Verified<StoreFile>,
        receipt: &mut Receipt,
    ) -> Result<Installed, Report> {
        let version = &verified.id().version;
        if let Some(present) = &self.present
            && present.cmp_number(version).is_gt()
        {
            let (path, program) = (self.path.display(), brand::PROGRAM);
            let message = format!("`{path}` is {program} {present}, and {version} is published");
            return Err(Report::new(ExitCode::CONFIGURATION, message)
                .hint("a version is never replaced by an older one; remove it first"));
        }
        receipt.will_make_directories(self.directory());
        fsx::create_dir_all(self.directory(), 0o755)
            .map_err(|error| Report::new(ExitCode::CONFIGURATION, error))?;
        let installed = self_update::install(store, verified, &self.path).map_err(|error| {
            receipt.remove_directories();
            failure::installing(error)
        })?;
        receipt.has_program(&installed);
        receipt.save(process)?;
        Ok(installed)
    }
}
