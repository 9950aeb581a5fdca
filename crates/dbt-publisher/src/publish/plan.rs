//! What is to be published, read and checked before anything is signed.

use std::fs::File;
use std::path::Path;

use dbt_client::source::Content;
use dbt_core::brand;
use dbt_core::digest::Digest;
use dbt_core::name::{BUILT_IN_WORDS, RESERVED_WORDS, ToolName};
use dbt_core::platform::Platform;
use dbt_core::release::{ArtifactId, Subject};
use dbt_core::version::Version;
use dbt_ui::exit_code::ExitCode;
use dbt_ui::printer::Printer;
use dbt_ui::report::Report;

use super::archive::{self, Format};
use super::inputs::Inputs;
use super::metadata::Named;
use crate::args::What;
use crate::binary::Kind;
use crate::stop::{Explained, Stop};

/// The built-in command that is also published as a tool.
const CATALOG: &str = "catalog";

/// What is to be published.
#[derive(Debug)]
pub(crate) struct Plan {
    /// The tool, or the program itself.
    pub(crate) subject: Subject,
    /// Its version.
    pub(crate) version: Version,
    /// What runs where.
    pub(crate) artifacts: Vec<Artifact>,
    /// One line about the tool, if one was given.
    pub(crate) description: Option<String>,
    /// The version that it was built as, where an older one is put back under this number.
    pub(crate) built_as: Option<Version>,
}

/// One file to be published.
#[derive(Debug)]
pub(crate) struct Artifact {
    /// What it will be.
    pub(crate) id: ArtifactId,
    /// The file, opened once: what is checked is what is signed and sent.
    pub(crate) file: File,
    /// Its length and digest.
    pub(crate) content: Content,
}

impl Plan {
    /// Reads the command line's words and the files they name.
    pub(crate) fn read(typed: &What, printer: &Printer) -> Result<Self, Stop> {
        let named = Named::of(typed)?;
        let reserved = Reserved::refused_unless(typed.force);
        Self::of(&named, typed.description.as_deref(), reserved, typed.force, printer)
    }

    /// Reads the files that were named. With `force`, one that runs elsewhere is only warned of.
    pub(crate) fn of(
        named: &Named,
        description: Option<&str>,
        reserved: Reserved,
        force: bool,
        printer: &Printer,
    ) -> Result<Self, Stop> {
        let subject = subject_of(&named.tool, reserved)?;
        let version = version_of(&named.version)?;
        let inputs = Inputs::of(&named.artifacts, &subject, &version)?;
        let description = description.or(inputs.description.as_deref());
        let description = description.or(named.description.as_deref());
        let description = description.map(description_of).transpose()?;
        if subject == Subject::Program && description.is_some() {
            return Err(Stop::usage(format!("`{}` itself has no description", brand::PROGRAM)));
        }
        let mut artifacts = Vec::new();
        for input in inputs.files {
            let platform = input.platform;
            let id = ArtifactId { subject: subject.clone(), version: version.clone(), platform };
            artifacts.push(Artifact::open(id, &input.path, force, printer)?);
        }
        Ok(Self { subject, version, artifacts, description, built_as: None })
    }
}

/// Whether names that mean something to the client are accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reserved {
    /// They are not.
    Refused,
    /// They are: it exists, or the organisation has taken the word back.
    Accepted,
}

impl Reserved {
    const fn refused_unless(force: bool) -> Self {
        if force { Self::Accepted } else { Self::Refused }
    }
}

/// Reads what is published: a tool, or the program itself.
pub(crate) fn subject_of(text: &str, reserved: Reserved) -> Result<Subject, Stop> {
    let name: ToolName = text.parse()?;
    if text == brand::PROGRAM {
        return Ok(Subject::Program);
    }
    if is_reserved(text) && reserved == Reserved::Refused {
        return Err(PlanError::Reserved { name: text.to_owned() }.into());
    }
    Ok(Subject::Tool(name))
}

/// Says whether a name is, or may become, a command of the client.
pub(crate) fn is_reserved(text: &str) -> bool {
    RESERVED_WORDS.contains(&text) || (BUILT_IN_WORDS.contains(&text) && text != CATALOG)
}

/// Reads a version. A leading `v` is dropped: clients of the reference do not see such versions.
pub(crate) fn version_of(text: &str) -> Result<Version, Stop> {
    let version: Version = text.parse()?;
    let bare = version.spelling().strip_prefix('v').map(str::parse).transpose()?;
    Ok(bare.unwrap_or(version))
}

/// The longest description, in bytes.
const DESCRIPTION_LIMIT: usize = 1024;

pub(crate) fn description_of(text: &str) -> Result<String, Stop> {
    let text = text.trim();
    if text.is_empty() || text.len() > DESCRIPTION_LIMIT || text.chars().any(char::is_control) {
        return Err(Stop::usage(format!(
            "a description is one line of 1 to {DESCRIPTION_LIMIT} bytes"
        )));
    }
    Ok(text.to_owned())
}

impl Artifact {
    /// Returns the same file as that of another version.
    pub(crate) fn numbered(self, version: &Version) -> Self {
        let Self { id, file, content } = self;
        Self { id: ArtifactId { version: version.clone(), ..id }, file, content }
    }

    fn open(id: ArtifactId, path: &Path, force: bool, printer: &Printer) -> Result<Self, Stop> {
        let failed = |error| {
            let message = format!("failed to read `{}`", path.display());
            Stop::from(Report::because(ExitCode::USAGE, message, error))
                .hint("an artifact is `OS/ARCH=FILE`; build the file first, or name where it is")
        };
        let mut file = match Format::of(path) {
            Some(format) => {
                let mut names = vec![id.file_name(), id.subject.name().to_owned()];
                names.dedup();
                archive::program_in(path, format, &names)?
            }
            None => File::open(path).map_err(failed)?,
        };
        let metadata = file.metadata().map_err(failed)?;
        if !metadata.is_file() || metadata.len() == 0 {
            return Err(Stop::usage(format!("`{}` is not a file with content", path.display())));
        }
        let kind = Kind::of(&mut file).map_err(failed)?;
        if !kind.runs_as(&id.file_name(), id.platform) {
            let path = path.display().to_string();
            let mismatch = PlanError::Platform { path, platform: id.platform, kind };
            if !force {
                return Err(mismatch.into());
            }
            printer.warning(mismatch);
        }
        std::io::Seek::rewind(&mut file).map_err(failed)?;
        let (sha256, length) = Digest::of_reader(&mut file).map_err(failed)?;
        Ok(Self { id, file, content: Content { length, sha256 } })
    }
}

/// Why something is not published as it is.
#[derive(Debug, thiserror::Error)]
enum PlanError {
    #[error(
        "`{name}` is, or may become, a command of `{}` and would hide the tool",
        brand::PROGRAM
    )]
    Reserved { name: String },
    #[error("`{path}` does not run on {platform}: it is {kind}")]
    Platform { path: String, platform: Platform, kind: Kind },
}

impl Explained for PlanError {
    fn code(&self) -> ExitCode {
        ExitCode::USAGE
    }

    fn hints(&self) -> Vec<String> {
        vec!["`--force` publishes it all the same".to_owned()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_the_client_are_refused_as_names_of_tools() {
        for name in RESERVED_WORDS.into_iter().chain(BUILT_IN_WORDS).filter(|name| *name != CATALOG)
        {
            assert!(subject_of(name, Reserved::Refused).is_err(), "{name}");
            assert!(subject_of(name, Reserved::Accepted).is_ok(), "{name}");
        }
        assert!(matches!(subject_of(CATALOG, Reserved::Refused), Ok(Subject::Tool(_))));
        assert!(matches!(subject_of(brand::PROGRAM, Reserved::Refused), Ok(Subject::Program)));
    }

    #[test]
    fn a_leading_v_is_dropped_and_what_is_no_version_refused() {
        assert_eq!(version_of("v1.2.3").unwrap().spelling(), "1.2.3");
        for text in ["", "1", "1.2", "latest", "vv1.2.3", "1.2.3/..", "01.2.3"] {
            assert!(version_of(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_description_is_one_line() {
        assert_eq!(description_of(" ships it \n").unwrap(), "ships it");
        for text in ["", "  ", "a\nb", "a\u{1b}[2J"] {
            assert!(description_of(text).is_err(), "{text:?}");
        }
    }
}
