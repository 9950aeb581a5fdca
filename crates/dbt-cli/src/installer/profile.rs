//! The profile of a person's shell: asked before it is touched, and taken back.
//!
//! What is added stands between two marks, and is found by them again.

use std::fs;
use std::path::{Path, PathBuf};

use dbt_client::fsx::{self, FsxError};
use dbt_core::brand;
use dbt_ui::exit_code::ExitCode;
use dbt_ui::printable::Printable;
use dbt_ui::prompt::{self, Answer};
use dbt_ui::report::Report;

use super::args::Install;
use super::receipt::{Profile, Receipt};
use super::target::Target;
use super::user_path;
use crate::env::Variable;
use crate::process::Process;

/// The most bytes of a profile that is changed.
const LIMIT: u64 = 4 * 1024 * 1024;

/// Whether the program is found by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OnPath {
    /// It is, in this very shell.
    Now,
    /// It is, in shells that are started from now on.
    InANewShell,
    /// It is not.
    No,
}

/// The languages of profiles.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Language {
    Posix,
    Csh,
    Fish,
    PowerShell,
}

/// The profiles that a person's shell reads.
#[derive(Debug)]
enum Profiles {
    /// These may be changed.
    Known(Language, Vec<PathBuf>),
    /// What is written there is known, and a person writes it.
    LeftAlone(Language, PathBuf),
    /// Nothing is known of this shell.
    Unknown(String),
}

/// Puts the program's directory on the search path of shells, where a person wants that, and for who
/// comes from the older program has them told of flags that go to tools now.
pub(super) fn offer(
    process: &Process,
    asked: &Install,
    target: &Target,
    comes_from_older: bool,
    receipt: &mut Receipt,
) -> Result<OnPath, Report> {
    let directory = target.directory();
    let is_there = process.env.search_path().iter().any(|on_path| on_path == directory);
    if is_there && !comes_from_older {
        return Ok(OnPath::Now);
    }
    if cfg!(windows) {
        return user_path::offer(process, asked, target, receipt);
    }
    let mut words = vec![format!("`{}` to `PATH`", directory.display())];
    words.extend(comes_from_older.then(|| format!("`{}=1`", Variable::CompatWarn.name())));
    let words = words.join(" and ");
    let without_it = if is_there { OnPath::Now } else { OnPath::No };
    let (language, files, place) = match profiles(process) {
        Profiles::Known(language, files) => (language, files, String::new()),
        Profiles::LeftAlone(language, file) => {
            let place = format!(" in `{}`, which is left to you,", file.display());
            (language, Vec::new(), place)
        }
        Profiles::Unknown(shell) => {
            let name = Printable::new(&shell);
            process.printer.note(format!(
                "the profile of `{name}` is none that is known here; where it has its settings, add {words}"
            ));
            return Ok(without_it);
        }
    };
    // Both, also where one would do: a profile has what was written last.
    let mut lines = vec![line(language, directory, process.host.home.as_deref())];
    lines.extend(comes_from_older.then(|| warning_line(language)));
    if files.is_empty() || !is_wanted(asked, &words, &files) {
        say_lines(process, directory, is_there, (&lines, &place));
        return Ok(without_it);
    }
    for file in files {
        let changed = add(&file, &lines.join("\n"), receipt)
            .map_err(|error| Report::new(ExitCode::CONFIGURATION, error))?;
        receipt.save(process)?;
        if changed {
            process.printer.note(format!("`{}` adds {words}", file.display()));
        }
    }
    Ok(if is_there { OnPath::Now } else { OnPath::InANewShell })
}

fn is_wanted(asked: &Install, words: &str, files: &[PathBuf]) -> bool {
    if asked.modify_profile || asked.no_modify_profile {
        return asked.modify_profile;
    }
    let files: Vec<String> = files.iter().map(|file| format!("`{}`", file.display())).collect();
    prompt::ask(&format!("add {words} in {}?", files.join(" and "))) == Answer::Yes
}

/// Says what a person may add to a profile that was left alone, and in which one if that is said.
fn say_lines(
    process: &Process,
    directory: &Path,
    is_there: bool,
    (lines, place): (&[String], &str),
) {
    let [path, further @ ..] = lines else { return };
    if !is_there {
        let directory = directory.display();
        process.printer.note(format!("`{directory}` is not in `PATH`; this line{place} adds it:"));
        process.printer.further(format!("  {path}"));
    }
    for line in further {
        process.printer.note(format!(
            "flags behind the name of a tool go to the tool now; this line{place} has {} say where that matters:",
            brand::PROGRAM
        ));
        process.printer.further(format!("  {line}"));
    }
}

/// Returns the profiles that the person's shell reads, and what they are written in.
fn profiles(process: &Process) -> Profiles {
    let Some(home) = &process.host.home else {
        return Profiles::Known(Language::Posix, Vec::new());
    };
    let directory = |variable| process.env.path(variable).filter(|path| path.is_absolute());
    let settings = directory(Variable::ConfigDirectory).unwrap_or_else(|| home.join(".config"));
    let shell = process.env.path(Variable::Shell).unwrap_or_default();
    let shell = shell.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let (language, files) = match shell.as_str() {
        "zsh" => {
            let home = directory(Variable::ZshDirectory).unwrap_or_else(|| home.clone());
            (Language::Posix, vec![home.join(".zshrc")])
        }
        "fish" => {
            let name = format!("{}.fish", brand::PROGRAM);
            (Language::Fish, vec![settings.join("fish").join("conf.d").join(name)])
        }
        "pwsh" | "powershell" => {
            (Language::PowerShell, vec![settings.join("powershell").join("profile.ps1")])
        }
        "bash" => (Language::Posix, vec![home.join(".bashrc"), login_profile(home)]),
        // Where nobody says, the one that every system has.
        "" | "sh" | "ash" | "busybox" | "dash" | "ksh" | "ksh93" | "mksh" | "oksh" | "yash" => {
            (Language::Posix, vec![home.join(".profile")])
        }
        "csh" | "tcsh" => return Profiles::LeftAlone(Language::Csh, csh_profile(home, &shell)),
        _ => return Profiles::Unknown(shell),
    };
    Profiles::Known(language, files)
}

/// Returns the profile of these shells: tcsh reads that of csh only where it has none of its own.
fn csh_profile(home: &Path, shell: &str) -> PathBuf {
    let own = home.join(".tcshrc");
    if shell == "tcsh" && own.exists() { own } else { home.join(".cshrc") }
}

/// Returns the profile that bash reads when somebody logs in: the first that is there.
fn login_profile(home: &Path) -> PathBuf {
    let mut usual = [".bash_profile", ".bash_login"].map(|name| home.join(name)).into_iter();
    usual.find(|file| file.exists()).unwrap_or_else(|| home.join(".profile"))
}

/// Returns the line that puts a directory first on the search path, once.
fn line(language: Language, directory: &Path, home: Option<&Path>) -> String {
    let below_home = home.and_then(|home| directory.strip_prefix(home).ok());
    let text = directory.to_string_lossy();
    match language {
        Language::Posix => {
            // The profile may be shared between machines with other homes.
            let written = match below_home.filter(|it| is_plain(&it.to_string_lossy())) {
                Some(below) => format!("\"$HOME/{}\"", below.display()),
                None => format!("'{}'", text.replace('\'', r"'\''")),
            };
            format!(
                "case \":$PATH:\" in *:{written}:*) ;; *) export PATH={written}:\"$PATH\" ;; esac"
            )
        }
        Language::Csh => {
            let written = match below_home.filter(|it| is_plain(&it.to_string_lossy())) {
                Some(below) => format!("\"$HOME/{}\"", below.display()),
                // An exclamation mark recalls a line, quoted or not.
                None => format!("'{}'", text.replace('\'', r"'\''").replace('!', r"\!")),
            };
            format!("set path = ({written} $path)")
        }
        Language::Fish => {
            let written = format!("'{}'", text.replace('\\', r"\\").replace('\'', r"\'"));
            format!("contains -- {written} $PATH; or set -gx PATH {written} $PATH")
        }
        Language::PowerShell => {
            let written = format!("'{}'", text.replace('\'', "''"));
            format!("$env:PATH = {written} + [IO.Path]::PathSeparator + $env:PATH")
        }
    }
}

/// Returns the line that has the program warn of flags that the older one took for its own.
fn warning_line(language: Language) -> String {
    let name = Variable::CompatWarn.name();
    match language {
        Language::Posix => format!("export {name}=1"),
        Language::Csh => format!("setenv {name} 1"),
        Language::Fish => format!("set -gx {name} 1"),
        Language::PowerShell => format!("$env:{name} = '1'"),
    }
}

/// Says whether nothing in a text means anything to a shell.
fn is_plain(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/._-".contains(&byte))
}

fn marks() -> (String, String) {
    let name = brand::INSTALLER;
    (format!("# >>> {name} >>>\n"), format!("# <<< {name} <<<\n"))
}

/// Adds lines to a profile. Says whether the file changed: it may have them already.
fn add(path: &Path, lines: &str, receipt: &mut Receipt) -> Result<bool, FsxError> {
    let before = read(path)?;
    let (begin, end) = marks();
    let ours = format!("{begin}{lines}\n{end}");
    let text = without_ours(before.as_deref().unwrap_or_default());
    let gap = if text.is_empty() || text.ends_with(b"\n") { "" } else { "\n" };
    let after = [text.as_slice(), gap.as_bytes(), ours.as_bytes()].concat();
    if before.as_deref() == Some(after.as_slice()) {
        return Ok(false);
    }
    if let Some(directory) = path.parent() {
        receipt.will_make_directories(directory);
        fsx::create_dir_all(directory, 0o755)?;
    }
    write(path, &after)?;
    receipt.has_profile(Profile { path: path.to_owned(), made: before.is_none() });
    Ok(true)
}

/// Takes what was added out of a profile. Says whether it was still there.
pub(super) fn take_back(profile: &Profile) -> Result<bool, FsxError> {
    let Some(before) = read(&profile.path)? else { return Ok(false) };
    let after = without_ours(&before);
    if after == before {
        return Ok(false);
    }
    if after.is_empty() && profile.made {
        fsx::remove(&profile.path)?;
    } else {
        write(&profile.path, &after)?;
    }
    Ok(true)
}

/// Returns a profile without what is between the marks, and them.
fn without_ours(text: &[u8]) -> Vec<u8> {
    let (begin, end) = marks();
    let lines: Vec<&[u8]> = text.split_inclusive(|byte| *byte == b'\n').collect();
    let is = |line: &&&[u8], mark: &str| line.trim_ascii_end() == mark.trim_end().as_bytes();
    let first = lines.iter().position(|line| is(&line, &begin));
    let last = first.and_then(|first| {
        let behind = lines.get(first..)?.iter().position(|line| is(&line, &end))?;
        Some(first + behind)
    });
    match first.zip(last) {
        Some((first, last)) => {
            let kept = lines.iter().enumerate();
            let kept = kept.filter(|(index, _line)| *index < first || *index > last);
            kept.flat_map(|(_index, line)| line.iter().copied()).collect()
        }
        None => text.to_vec(),
    }
}

/// Reads a profile; nothing, if it is not there.
fn read(path: &Path) -> Result<Option<Vec<u8>>, FsxError> {
    match fsx::read_limited(path, LIMIT) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.is_missing() => Ok(None),
        Err(error) => Err(error),
    }
}

/// Writes a profile whole or not at all. A link stays a link, and a mode stays.
fn write(path: &Path, text: &[u8]) -> Result<(), FsxError> {
    let target = fs::canonicalize(path).unwrap_or_else(|_new_file| path.to_owned());
    fsx::write_atomic(&target, text, mode_of(&target))
}

#[cfg(unix)]
fn mode_of(path: &Path) -> u32 {
    use std::os::unix::fs::PermissionsExt as _;
    fs::metadata(path).map_or(0o644, |metadata| metadata.permissions().mode() & 0o7777)
}

#[cfg(not(unix))]
fn mode_of(_path: &Path) -> u32 {
    0o644
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_names_the_home_by_its_variable_and_quotes_what_is_strange() {
        let home = Path::new("/home/alice");
        let posix = |directory: &str| line(Language::Posix, Path::new(directory), Some(home));
        assert!(posix("/home/alice/.local/bin").contains(r#"*:"$HOME/.local/bin":*)"#));
        assert!(posix("/opt/it's here").contains(r"export PATH='/opt/it'\''s here':"));
        assert!(posix("/home/alice/$(x)").contains("'/home/alice/$(x)'"));
        let fish = line(Language::Fish, Path::new(r"/a'b\"), None);
        assert!(fish.starts_with(r"contains -- '/a\'b\\' $PATH;"), "{fish}");
        let csh = |directory: &str| line(Language::Csh, Path::new(directory), Some(home));
        assert_eq!(csh("/home/alice/.local/bin"), r#"set path = ("$HOME/.local/bin" $path)"#);
        assert_eq!(csh("/opt/it's!"), r"set path = ('/opt/it'\''s\!' $path)");
        let shell = line(Language::PowerShell, Path::new("/a'b"), None);
        assert!(shell.starts_with("$env:PATH = '/a''b' + "), "{shell}");
    }

    #[test]
    fn what_is_added_is_taken_back_to_the_byte() {
        let directory = tempfile::tempdir().unwrap();
        for before in [None, Some("alias l=ls\n"), Some("no end of line"), Some("\r\n\n")] {
            let path = directory.path().join("profile");
            if let Some(before) = before {
                fs::write(&path, before).unwrap();
            }
            let mut receipt = Receipt::default();
            assert!(add(&path, "export X", &mut receipt).unwrap());
            assert!(!add(&path, "export X", &mut receipt).unwrap(), "added twice");
            assert!(add(&path, "export Y", &mut receipt).unwrap());
            let text = fs::read_to_string(&path).unwrap();
            assert!(text.contains("export Y") && !text.contains("export X"), "{text}");
            assert_eq!(receipt.profiles.len(), 1);
            assert!(take_back(&receipt.profiles[0]).unwrap());
            let after = fs::read_to_string(&path).ok();
            // A last line without an end has one from then on.
            let expected =
                before.map(|it| if it == "no end of line" { "no end of line\n" } else { it });
            assert_eq!(after.as_deref(), expected);
            assert!(!take_back(&receipt.profiles[0]).unwrap());
            drop(fs::remove_file(&path));
        }
    }

    #[test]
    fn a_mark_without_its_end_takes_nothing_with_it() {
        let text = format!("a\n{}b\n", marks().0);
        assert_eq!(without_ours(text.as_bytes()), text.as_bytes());
    }
}
