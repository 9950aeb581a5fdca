//! `publisher installer`: puts an organisation's settings into prebuilt installers, for every platform
//! and without a compiler.
//!
//! The settings go into the room that each installer has ([`dbt_client::reserved`]); what a format
//! says about the bytes of its programs is brought up to date. Nothing is uploaded: `publisher
//! release` takes what is made here.

mod deb;
mod macho;
pub(crate) mod package;
mod pe;
mod room;
mod rpm;
mod trust;

use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use dbt_client::config::{ConfigError, OFFER_LIMIT, Offer};
use dbt_client::fsx;
use dbt_core::brand;
use dbt_core::digest::Digest;
use dbt_core::platform::{Os, Platform};
use dbt_ui::exit_code::ExitCode;
use dbt_ui::printer::Printer;
use dbt_ui::report::Report;
use serde_json::{Map, Value};

use crate::args::{Installer, Package};
use crate::binary::Kind;
use crate::env::Environment;
use crate::release::{INSTALLER_LIMIT, candidate};
use crate::stop::Stop;

use package::{Contents, PackageVersion};
use room::Room;

/// Bakes the settings into every installer that there is.
pub(crate) fn run(
    typed: Installer,
    environment: &Environment,
    printer: &Printer,
) -> Result<(), Stop> {
    // Before anything is shown, asked or made.
    let version: PackageVersion = typed.package_version.parse()?;
    let prebuilt = prebuilt(&typed.prebuilt)?;
    let Some(settings) = Settings::decided(&typed, environment, printer)? else {
        printer.note("nothing was made");
        return Ok(());
    };
    fsx::create_dir_all(&typed.output, 0o755)?;
    // Whole or not at all; signers look at the names of files, so those are the last ones already.
    let staged = tempfile::tempdir_in(&typed.output).map_err(|error| {
        let message = format!("failed to write in `{}`", typed.output.display());
        Report::because(ExitCode::CONFIGURATION, message, error)
    })?;
    let mut made = Vec::new();
    for installer in &prebuilt {
        let path = Path::new(&installer.path()).to_owned();
        let bytes = baked(installer, &settings)?;
        let file = staged.path().join(&path);
        write_program(&file, &bytes)?;
        if let Some(command) = &typed.sign_command {
            sign(command, &file)?;
            still_has(&file, &settings)?;
        }
        made.push(path);
        if installer.platform.os == Os::Linux {
            made.extend(packages(
                &staged,
                &file,
                installer.platform,
                &settings,
                (&typed.package, &version),
            )?);
        }
    }
    settings.show(printer);
    for path in made {
        let (from, to) = (staged.path().join(&path), typed.output.join(&path));
        if let Some(directory) = to.parent() {
            fsx::create_dir_all(directory, 0o755)?;
        }
        fsx::rename(&from, &to)?;
        let sha256 = Digest::of(&fsx::read_limited(&to, INSTALLER_LIMIT)?);
        printer.data(format!("{sha256}  {}\n", to.display()))?;
    }
    Ok(())
}

/// What is baked.
struct Settings {
    offer: Offer,
    bytes: Vec<u8>,
}

impl Settings {
    /// Reads them, and refuses what an installer would refuse. Nothing, if a person who was shown
    /// the keys of the server does not agree to them.
    fn decided(
        typed: &Installer,
        environment: &Environment,
        printer: &Printer,
    ) -> Result<Option<Self>, Stop> {
        let path = &typed.settings;
        let bytes = fsx::read_limited(path, OFFER_LIMIT)?;
        let mut offer = Offer::parse(&bytes).map_err(|error: ConfigError| {
            let (message, hint) = (format!("`{}` cannot be baked", path.display()), error.hint());
            Report::because(ExitCode::CONFIGURATION, message, error).hints(hint)
        })?;
        let mut document: Map<String, Value> =
            serde_json::from_slice(&bytes).map_err(Report::internal)?;
        if offer.server.trust.is_empty() && typed.trust_from_server {
            let ca_file = typed.ca_file.clone();
            let Some(server) = trust::agreed(offer.server, ca_file, environment, printer)? else {
                return Ok(None);
            };
            document.insert("trust".to_owned(), server.trust.iter().cloned().collect());
            offer.server = server;
        }
        if offer.server.trust.is_empty() {
            let message = format!("`{}` names nobody who may sign", path.display());
            let hint = "write the fingerprints of the truststore into `trust`: without them, \
                        installers believe whatever key they are shown first";
            return Err(Stop::from(Report::new(ExitCode::CONFIGURATION, message)).hint(hint).hint(
                "`--trust-from-server` shows the keys of the server's truststore, and asks",
            ));
        }
        // Spaces and line ends would only take room.
        let bytes = serde_json::to_vec(&document).map_err(Report::internal)?;
        Ok(Some(Self { offer, bytes }))
    }

    /// Shows what every user of these installers will be shown.
    fn show(&self, printer: &Printer) {
        let server = &self.offer.server;
        let organisation = self.offer.organisation.as_deref().unwrap_or("(not named)");
        printer.note(format!("organisation `{organisation}`, server `{}`", server.name));
        printer.note(format!("repository `{}`, anchor `{}`", server.repository, server.anchor()));
    }
}

/// An installer as it was built.
struct Prebuilt {
    platform: Platform,
    file: PathBuf,
    bytes: Vec<u8>,
}

impl Prebuilt {
    /// Reads one. Its header says what it is for.
    fn read(file: &Path) -> Result<Self, Stop> {
        let bytes = fsx::read_limited(file, INSTALLER_LIMIT)?;
        let kind = Kind::of(&mut Cursor::new(&bytes)).map_err(Report::internal)?;
        let mut platforms = Platform::ALL.into_iter().filter(|platform| kind.runs_on(*platform));
        if let (Some(platform), None, Kind::Program { .. }) =
            (platforms.next(), platforms.next(), &kind)
        {
            return Ok(Self { platform, file: file.to_owned(), bytes });
        }
        let file = file.display();
        Err(Stop::usage(format!("`{file}` is {kind}, and no installer for one platform")))
    }

    /// Returns where it goes, below the output.
    fn path(&self) -> String {
        let ending = if self.platform.os == Os::Windows { ".exe" } else { "" };
        format!("{}/{}{ending}", self.platform, brand::INSTALLER)
    }
}

/// Finds the installers in files and in directories as builds leave them.
fn prebuilt(typed: &[PathBuf]) -> Result<Vec<Prebuilt>, Stop> {
    let mut found: Vec<Prebuilt> = Vec::new();
    for path in typed {
        let files: Vec<PathBuf> = if path.is_dir() {
            let places = [path.clone(), path.join("installer")];
            let place = |platform| {
                places.iter().find_map(|place| candidate(place, brand::INSTALLER, platform))
            };
            Platform::ALL.into_iter().filter_map(place).collect()
        } else {
            vec![path.clone()]
        };
        if files.is_empty() {
            let message = format!("`{}` has no `{}`", path.display(), brand::INSTALLER);
            return Err(Stop::usage(message));
        }
        for file in files {
            let installer = Prebuilt::read(&file)?;
            if let Some(other) = found.iter().find(|other| other.platform == installer.platform) {
                return Err(Stop::usage(format!(
                    "`{}` and `{}` are both for {}",
                    other.file.display(),
                    file.display(),
                    installer.platform
                )));
            }
            found.push(installer);
        }
    }
    Ok(found)
}

/// Returns an installer with the settings in it.
fn baked(installer: &Prebuilt, settings: &Settings) -> Result<Vec<u8>, Stop> {
    let fill = |room: &mut Room<'_>| room.fill(&settings.bytes);
    let mut bytes = installer.bytes.clone();
    let outcome = match installer.platform.os {
        Os::Linux => fill(&mut Room::new(&mut bytes)).map(drop),
        Os::Darwin => macho::change(&mut bytes, fill),
        Os::Windows => pe::change(&mut bytes, fill),
    };
    outcome.map_err(|error| {
        let message = format!("failed to bake `{}`", installer.file.display());
        Report::because(ExitCode::USAGE, message, error)
    })?;
    Ok(bytes)
}

fn write_program(path: &Path, bytes: &[u8]) -> Result<(), Stop> {
    if let Some(directory) = path.parent() {
        fsx::create_dir_all(directory, 0o755)?;
    }
    Ok(fsx::write_atomic(path, bytes, 0o755)?)
}

/// Has a command sign an installer where it lies; its path is the command's last word.
fn sign(command: &str, file: &Path) -> Result<(), Stop> {
    let line = format!("{command} \"$1\"");
    let mut shell = Command::new("sh");
    shell.args(["-c", &line, "sh"]).arg(file).stdin(Stdio::null());
    // What it prints is not what is to be published.
    let outcome = shell.stdout(Stdio::null()).status();
    let failed = |why: String| {
        let message = format!("the command of `--sign-command` did not sign `{}`", file.display());
        Stop::from(Report::because(ExitCode::CANNOT_EXECUTE, message, why))
    };
    match outcome {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(failed(format!("it ended with {status}"))),
        Err(error) => Err(failed(error.to_string())),
    }
}

/// Refuses what a signer has made something else of.
fn still_has(file: &Path, settings: &Settings) -> Result<(), Stop> {
    let bytes = fsx::read_limited(file, INSTALLER_LIMIT)?;
    if room::settings_in(&bytes).is_some_and(|found| found == settings.bytes) {
        return Ok(());
    }
    let file = file.display();
    Err(Stop::refused(format!("`{file}` has lost its settings while it was signed")))
}

/// Makes the packages of an installer, and returns where they are below the staging directory.
fn packages(
    staged: &tempfile::TempDir,
    file: &Path,
    platform: Platform,
    settings: &Settings,
    (kinds, version): (&[Package], &PackageVersion),
) -> Result<Vec<PathBuf>, Stop> {
    let program = fsx::read_limited(file, INSTALLER_LIMIT)?;
    let contents = Contents {
        name: brand::INSTALLER,
        version,
        arch: platform.arch,
        organisation: settings.offer.organisation.as_deref(),
        repository: settings.offer.server.repository.to_string(),
        program: &program,
    };
    let mut made = Vec::new();
    for kind in kinds {
        let (name, package) = match kind {
            Package::Deb => (deb::file_name(&contents), deb::made(&contents)),
            Package::Rpm => (rpm::file_name(&contents), rpm::made(&contents)),
        };
        let package = package.map_err(|error| {
            Report::because(ExitCode::INTERNAL, format!("failed to make `{name}`"), error)
        })?;
        let path = Path::new(&platform.to_string()).join(name);
        fsx::write_atomic(&staged.path().join(&path), &package, 0o644)?;
        if !made.contains(&path) {
            made.push(path);
        }
    }
    Ok(made)
}
