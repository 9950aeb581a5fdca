//! Which paths may be written, and which of them are artifacts.
//!
//! A writer must not be able to leave a file that no reader expects: under a version lie its
//! artifacts, their companions and a description, and nothing else.

use dbt_core::brand;
use dbt_core::layout::{
    CHECKSUM_ENDING, DESCRIPTION_FILE, SIGNATURE_ENDING, TRUSTSTORE_FILE, WITHDRAWN_FILE,
};
use dbt_core::listing::page;
use dbt_core::name::ToolName;
use dbt_core::release::Subject;
use dbt_core::repo_path::RepoPath;
use dbt_core::version::Version;

/// The most segments below one of the two repositories.
const DEPTH_LIMIT: usize = 16;

/// What is added to an artifact's name for the files beside it.
const COMPANIONS: [&str; 5] = [".asc", ".sha256", ".md5", ".sha1", ".intoto.jsonl"];

/// What may follow a tool's name on Windows; the reference's publishers leave `.exe` out.
const WINDOWS_ENDINGS: [&str; 4] = ["", ".exe", ".ps1", ".cmd"];

/// Says whether, and if not why, a file may be written at a path.
pub fn check(path: &RepoPath) -> Result<(), NotWritable> {
    let segments: Vec<&str> = path.segments().collect();
    let (tree, below) = match segments.split_first() {
        Some((&brand::REPOSITORY_PATH, below)) => (Tree::Repository, below),
        Some((&brand::TOOLS_PATH, below)) => (Tree::Tools, below),
        _ => return Err(NotWritable("it is not below one of the two repositories")),
    };
    if below.is_empty() {
        return Err(NotWritable("it is the root of a repository"));
    }
    if below.len() > DEPTH_LIMIT {
        return Err(NotWritable("it has more than 16 segments"));
    }
    below.iter().try_for_each(|segment| check_segment(segment))?;
    if is_below_what_is_signed(tree, below) {
        return Err(NotWritable(
            "it is below the name of a truststore or of a list that is signed",
        ));
    }
    match Versioned::of(tree, below)? {
        Some(versioned) => versioned.check(),
        None => Ok(()),
    }
}

/// Says whether a path makes a directory of what must be a file: then nobody could write that.
fn is_below_what_is_signed(tree: Tree, below: &[&str]) -> bool {
    let names = |name: &str, file: &str| {
        name.strip_prefix(file).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    };
    match (tree, below) {
        (Tree::Repository, [name, _, ..]) => {
            names(name, TRUSTSTORE_FILE) || names(name, WITHDRAWN_FILE)
        }
        (Tree::Tools, [_tool, name, _, ..]) => names(name, WITHDRAWN_FILE),
        _ => false,
    }
}

/// Says whether a path is that of a file of a release, and never of a directory.
pub fn is_release_file(path: &RepoPath) -> bool {
    let is_file = |segments: &[&str]| {
        let (tree, below) = match segments.split_first()? {
            (&brand::REPOSITORY_PATH, below) => (Tree::Repository, below),
            (&brand::TOOLS_PATH, below) => (Tree::Tools, below),
            _ => return None,
        };
        Some(Versioned::of(tree, below).ok()??.check().is_ok())
    };
    let segments: Vec<&str> = path.segments().collect();
    is_file(&segments).unwrap_or(false)
}

/// Says whether the bytes at a writable path must stay as they were first written: under a
/// version, all but signatures, old checksums and descriptions.
pub fn is_create_only(path: &RepoPath) -> bool {
    let segments: Vec<&str> = path.segments().collect();
    let versioned = match segments.split_first() {
        Some((&brand::REPOSITORY_PATH, below)) => Versioned::of(Tree::Repository, below),
        Some((&brand::TOOLS_PATH, below)) => Versioned::of(Tree::Tools, below),
        _ => return false,
    };
    let Ok(Some(Versioned { rest: [_os, _arch, file], .. })) = versioned else { return false };
    ![".asc", ".md5", ".sha1"].iter().any(|ending| file.ends_with(ending))
}

/// A writable file under the directory of a version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InVersion {
    /// The directory of the version.
    pub version: RepoPath,
    /// The version itself.
    pub release: Version,
    /// What it is a version of.
    pub subject: Subject,
    /// Where below the directory the file lies.
    pub place: Place,
}

/// Where a file of a version lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// Beside the platforms: a description.
    Beside,
    /// Among the files of a platform.
    Platform {
        /// The operating system, as written.
        os: String,
        /// The architecture, as written.
        arch: String,
    },
}

impl InVersion {
    /// Takes a writable path apart; nothing for one that is not under a version.
    pub fn of(path: &RepoPath) -> Option<Self> {
        let segments: Vec<&str> = path.segments().collect();
        let (tree, below) = match segments.split_first()? {
            (&brand::REPOSITORY_PATH, below) => (Tree::Repository, below),
            (&brand::TOOLS_PATH, below) => (Tree::Tools, below),
            _ => return None,
        };
        let versioned = Versioned::of(tree, below).ok()??;
        let depth = segments.len() - versioned.rest.len();
        let version: RepoPath = segments.get(..depth)?.join("/").parse().ok()?;
        let release = version.file_name()?.parse().ok()?;
        let subject = match tree {
            Tree::Repository => Subject::Program,
            Tree::Tools => Subject::Tool(versioned.name.parse().ok()?),
        };
        let place = match versioned.rest {
            [os, arch, _file] => Place::Platform { os: (*os).to_owned(), arch: (*arch).to_owned() },
            _ => Place::Beside,
        };
        Some(Self { version, release, subject, place })
    }

    /// Returns the directory of the file's platform below the version's.
    pub fn platform(&self) -> Option<RepoPath> {
        match &self.place {
            Place::Beside => None,
            Place::Platform { os, arch } => RepoPath::root().join(os).ok()?.join(arch).ok(),
        }
    }

    /// Returns the names that the artifact of a platform can have.
    pub fn artifact_names(&self) -> Vec<String> {
        let endings: &[&str] = match &self.place {
            Place::Platform { os, arch: _ } if os == "windows" => &WINDOWS_ENDINGS,
            Place::Platform { .. } => &[""],
            Place::Beside => &[],
        };
        endings.iter().map(|ending| format!("{}{ending}", self.subject.name())).collect()
    }
}

/// Says whether a file's name is that of an artifact or of one of its companions.
pub fn belongs_to(file: &str, artifact: &str) -> bool {
    file.strip_prefix(artifact).is_some_and(|rest| rest.is_empty() || COMPANIONS.contains(&rest))
}

/// The companions without which no client runs an artifact.
pub const NEEDED: [&str; 2] = [CHECKSUM_ENDING, SIGNATURE_ENDING];

#[derive(Clone, Copy)]
enum Tree {
    Repository,
    Tools,
}

/// A path at or below the directory of a version.
struct Versioned<'a> {
    name: &'a str,
    rest: &'a [&'a str],
}

impl<'a> Versioned<'a> {
    fn of(tree: Tree, below: &'a [&'a str]) -> Result<Option<Self>, NotWritable> {
        let is_version = |segment: &str| segment.parse::<Version>().is_ok();
        match (tree, below) {
            (Tree::Repository, [version, rest @ ..]) if is_version(version) => {
                Ok(Some(Self { name: brand::PROGRAM, rest }))
            }
            (Tree::Tools, [name, version, rest @ ..]) if is_version(version) => {
                if name.parse::<ToolName>().is_err() {
                    return Err(NotWritable("no tool can have that name"));
                }
                Ok(Some(Self { name, rest }))
            }
            _ => Ok(None),
        }
    }

    fn check(&self) -> Result<(), NotWritable> {
        match self.rest {
            [] => Err(NotWritable("a version is a directory")),
            [file] if without_companion(file) == DESCRIPTION_FILE => Ok(()),
            [os, arch, file] if is_platform_part(os) && is_platform_part(arch) => {
                self.check_artifact(os, file)
            }
            _ => Err(NotWritable("under a version lie only artifacts and `description.txt`")),
        }
    }

    fn check_artifact(&self, os: &str, file: &str) -> Result<(), NotWritable> {
        let is_artifact = |file: &str| {
            let endings: &[&str] = if os == "windows" { &WINDOWS_ENDINGS } else { &[""] };
            file.strip_prefix(self.name).is_some_and(|ending| endings.contains(&ending))
        };
        if is_artifact(file) || is_artifact(without_companion(file)) {
            return Ok(());
        }
        Err(NotWritable(
            "a version's files are named as its tool, with `.asc`, `.sha256`, `.md5`, `.sha1` or `.intoto.jsonl` added",
        ))
    }
}

fn without_companion(file: &str) -> &str {
    COMPANIONS.iter().find_map(|ending| file.strip_suffix(ending)).unwrap_or(file)
}

/// Go's names of systems and architectures: those we publish for, and those others do.
fn is_platform_part(segment: &str) -> bool {
    segment.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
}

fn check_segment(segment: &str) -> Result<(), NotWritable> {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"._+~@=-".contains(&byte);
    if !segment.starts_with(|first: char| first.is_ascii_alphanumeric()) {
        return Err(NotWritable("a name must begin with a letter or a digit"));
    }
    if !segment.bytes().all(legal) {
        return Err(NotWritable(
            "only letters, digits and `.`, `_`, `+`, `~`, `@`, `=`, `-` are allowed in a name",
        ));
    }
    if segment.eq_ignore_ascii_case(page::FILE) {
        return Err(NotWritable("`index.html` would hide the listing"));
    }
    Ok(())
}

/// No file may be written at a path, for this reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no file may be written there: {0}")]
pub struct NotWritable(pub &'static str);

#[cfg(test)]
mod tests {
    use super::*;

    fn is_writable(text: &str) -> bool {
        text.parse().is_ok_and(|path| check(&path).is_ok())
    }

    #[test]
    fn everything_that_publishers_upload_may_be_written() {
        for text in [
            "dbt/truststore",
            "dbt/latest",
            "dbt/install_dbt.sh.asc",
            "dbt/installer/linux/amd64/dbt-installer.sha256",
            "dbt/3.7.16/linux/amd64/dbt",
            "dbt/3.7.16/windows/amd64/dbt.exe.asc",
            "dbt/dbt-tools/catalog/3.7.16/linux/amd64/catalog",
            "dbt/tuf/1.root.json",
            "dbt-tools/catalog/3.7.16/linux/amd64/catalog",
            "dbt-tools/catalog/3.7.16/linux/amd64/catalog.intoto.jsonl",
            "dbt-tools/catalog/3.7.16/description.txt.md5",
            "dbt-tools/catalog/withdrawn.json",
            "dbt-tools/x.asc-viewer/v1.0.0-rc.1/freebsd/386/x.asc-viewer",
            "dbt-tools/tool/1.0.0/windows/arm64/tool.ps1.sha256",
        ] {
            assert!(is_writable(text), "{text}");
        }
    }

    #[test]
    fn everything_else_may_not() {
        let deep = format!("dbt/{}x", "a/".repeat(16));
        for text in [
            "",
            "dbt",
            "dbt-tools",
            "truststore",
            "dbtEVIL/x",
            "healthz",
            "-/api/tools",
            "dbt/index.html",
            "dbt/a/INDEX.html",
            "dbt/.git/config",
            "dbt/a b",
            "dbt/a%2fb",
            "dbt/a:b",
            "dbt/-rf",
            "dbt/\u{e9}",
            "dbt/..;/x",
            ".reposerver/tmp/x",
            "dbt/1.0.0",
            "dbt/1.0.0/linux/amd64/other",
            "dbt-tools/x/1.0.0",
            "dbt-tools/x/1.0.0/readme",
            "dbt-tools/x/1.0.0/linux/amd64/y",
            "dbt-tools/x/1.0.0/linux/amd64/x.exe",
            "dbt-tools/x/1.0.0/linux/amd64/x/y",
            "dbt-tools/x/1.0.0/Linux/amd64/x",
            "dbt-tools/CON/1.0.0/linux/amd64/CON",
            "dbt-tools/x/1.0.0/description.txt.bak",
            &deep,
        ] {
            assert!(!is_writable(text), "{text}");
        }
    }

    #[test]
    fn a_file_of_a_version_is_taken_apart() {
        let inside = |text: &str| InVersion::of(&text.parse().unwrap());
        let tool = inside("dbt-tools/x/v1.0.0/windows/amd64/x.exe.asc").unwrap();
        assert_eq!(tool.version.as_str(), "dbt-tools/x/v1.0.0");
        assert_eq!(tool.subject.name(), "x");
        assert_eq!(tool.platform().unwrap().as_str(), "windows/amd64");
        assert_eq!(tool.artifact_names(), ["x", "x.exe", "x.ps1", "x.cmd"]);
        let program = inside("dbt/1.0.0/linux/amd64/dbt").unwrap();
        assert_eq!((program.version.as_str(), program.subject.name()), ("dbt/1.0.0", "dbt"));
        assert_eq!(inside("dbt-tools/x/1.0.0/description.txt").unwrap().place, Place::Beside);
        for outside in ["dbt/truststore", "dbt/latest", "dbt-tools/x/withdrawn.json"] {
            assert_eq!(inside(outside), None, "{outside}");
        }
        assert!(belongs_to("x.exe.asc", "x.exe") && !belongs_to("x.exe.asc", "x"));
    }

    #[test]
    fn artifacts_and_their_checksum_are_create_only_and_signatures_are_not() {
        let create_only = |text: &str| is_create_only(&text.parse().unwrap());
        for text in ["linux/amd64/x", "linux/amd64/x.sha256", "windows/amd64/x.exe"] {
            assert!(create_only(&format!("dbt-tools/x/1.0.0/{text}")), "{text}");
        }
        for text in
            ["linux/amd64/x.asc", "linux/amd64/x.md5", "linux/amd64/x.sha1", "description.txt"]
        {
            assert!(!create_only(&format!("dbt-tools/x/1.0.0/{text}")), "{text}");
        }
        assert!(create_only("dbt/1.0.0/linux/amd64/dbt"));
        assert!(!create_only("dbt/latest"));
        assert!(!create_only("dbt/truststore"));
    }
}
