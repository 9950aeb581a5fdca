//! One artifact of one release: what is asked for, and what a signature may be bound to.

use std::fmt;

use crate::brand;
use crate::name::ToolName;
use crate::platform::{Os, Platform};
use crate::version::Version;

/// What an artifact is: a tool, or one of dbt's own programs.
///
/// The difference decides the repository, the rules about signers, and the name that signatures
/// are bound to, so it is never inferred from the name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Subject {
    /// dbt itself, in the repository.
    Program,
    /// A tool, in the tools' repository.
    Tool(ToolName),
}

impl Subject {
    /// Returns the name of its file.
    pub fn name(&self) -> &str {
        match self {
            Self::Program => brand::PROGRAM,
            Self::Tool(name) => name.as_str(),
        }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Names one artifact: subject, version and platform.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ArtifactId {
    /// What it is.
    pub subject: Subject,
    /// Its version, as spelt in the repository.
    pub version: Version,
    /// Where it runs.
    pub platform: Platform,
}

impl ArtifactId {
    /// Returns what a signature's notation must say when it says anything (trust design, 2.7).
    pub fn binding(&self) -> String {
        binding(&self.subject, &self.version, &self.platform)
    }

    /// Returns what a further notation says where a signer puts an older program back under this
    /// version, on purpose: which one it was built as.
    pub fn put_back(&self, built_as: &Version) -> String {
        format!("{}{PUT_BACK}{built_as}", self.binding())
    }

    /// Returns the name of the artifact's file. On Windows a program's ends in `.exe`; a script is
    /// what its tool is called.
    pub fn file_name(&self) -> String {
        let name = self.subject.name();
        match self.platform.os {
            Os::Windows if !is_windows_script(name) => format!("{name}.exe"),
            Os::Windows | Os::Linux | Os::Darwin => name.to_owned(),
        }
    }

    /// Returns the name that a tool's file may have instead where it is published: the reference's
    /// publishers leave `.exe` out.
    pub fn other_file_name(&self) -> Option<&str> {
        match &self.subject {
            Subject::Tool(name) if self.file_name() != name.as_str() => Some(name.as_str()),
            Subject::Tool(_) | Subject::Program => None,
        }
    }
}

/// Says whether a file on Windows is run by an interpreter, which goes by the end of its name.
pub fn is_windows_script(name: &str) -> bool {
    let ending = name.rsplit_once('.').map_or("", |(_name, ending)| ending);
    ["cmd", "ps1"].iter().any(|script| ending.eq_ignore_ascii_case(script))
}

/// What stands between an artifact's binding and the version that it was built as.
pub(crate) const PUT_BACK: char = '=';

/// Returns what a signature's notation must say for an artifact of a platform, also of one that
/// this program does not know.
pub(crate) fn binding(subject: &Subject, version: &Version, platform: &dyn fmt::Display) -> String {
    let kind = match subject {
        Subject::Program => "self",
        Subject::Tool(_) => "tool",
    };
    format!("{kind}/{}/{version}/{platform}", subject.name())
}

impl fmt::Display for ArtifactId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} ({})", self.subject, self.version, self.platform)
    }
}
