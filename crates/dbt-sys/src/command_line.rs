//! The command line of a process on Windows, which is one text there, and is cut into words by each
//! program for itself; and what runs a file there that is no program.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

/// Returns what runs a script of PowerShell, and the words before the script's own; nothing for other
/// files.
///
/// It is the one that is part of every Windows, at its own place: a program of that name further ahead in
/// `PATH` decides nothing. What may run was decided when the script was verified, so profiles are not
/// read, and the policy for scripts, which stops nobody from typing the same, is not asked.
pub(crate) fn powershell(
    path: &Path,
    environment: &[(OsString, OsString)],
) -> Option<(PathBuf, Vec<OsString>)> {
    let ending = path.extension().and_then(OsStr::to_str)?;
    if !ending.eq_ignore_ascii_case("ps1") {
        return None;
    }
    let root = environment.iter().find(|(name, _root)| name.eq_ignore_ascii_case("SystemRoot"));
    let root =
        root.map_or_else(|| PathBuf::from(r"C:\Windows"), |(_name, root)| PathBuf::from(root));
    let program = ["System32", "WindowsPowerShell", "v1.0", "powershell.exe"];
    let program = program.iter().fold(root, |path, part| path.join(part));
    let words = ["-NoProfile", "-ExecutionPolicy", "Bypass", "-File"].map(OsString::from);
    Some((program, words.into_iter().chain([path.as_os_str().to_owned()]).collect()))
}

/// Returns what follows the first `words` words of a command line, as it was received.
///
/// Words end where the C runtime of 2008 and later, and Rust's own, end them. The first is the
/// program's path, in which a backslash means nothing.
pub(crate) fn after(line: &[u16], words: usize) -> &[u16] {
    let mut rest = without_blanks(line);
    for index in 0..words {
        let length = if index == 0 { length_of_program(rest) } else { length_of_word(rest) };
        rest = without_blanks(&rest[length..]);
    }
    rest
}

const QUOTE: u16 = b'"' as u16;
const BACKSLASH: u16 = b'\\' as u16;

fn is_blank(unit: u16) -> bool {
    unit == u16::from(b' ') || unit == u16::from(b'\t')
}

fn without_blanks(line: &[u16]) -> &[u16] {
    let blanks = line.iter().take_while(|unit| is_blank(**unit)).count();
    &line[blanks..]
}

fn length_of_program(line: &[u16]) -> usize {
    let mut quoted = false;
    let ends = line.iter().position(|unit| {
        quoted ^= *unit == QUOTE;
        is_blank(*unit) && !quoted
    });
    ends.unwrap_or(line.len())
}

fn length_of_word(line: &[u16]) -> usize {
    let (mut quoted, mut backslashes, mut at) = (false, 0_usize, 0);
    while let Some(unit) = line.get(at).copied() {
        match unit {
            // A quote behind an odd number of backslashes is a character.
            QUOTE if backslashes.is_multiple_of(2) => {
                // So is the second of two within quotes.
                if quoted && line.get(at + 1) == Some(&QUOTE) {
                    at += 1;
                } else {
                    quoted = !quoted;
                }
            }
            blank if is_blank(blank) && !quoted => return at,
            _ => {}
        }
        backslashes = if unit == BACKSLASH { backslashes + 1 } else { 0 };
        at += 1;
    }
    line.len()
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;
    use std::path::Path;

    use super::{after, powershell};

    #[test]
    fn scripts_of_powershell_are_run_by_the_systems_own_and_other_files_by_nobody() {
        let environment = [("Path", "elsewhere"), ("SYSTEMROOT", "root")];
        let environment = environment.map(|(name, value)| (name.into(), OsString::from(value)));
        for script in ["tools/clean.ps1", "CLEAN.PS1"] {
            let (program, words) = powershell(Path::new(script), &environment).unwrap();
            let expected = Path::new("root/System32/WindowsPowerShell/v1.0/powershell.exe");
            assert_eq!(program, expected);
            assert_eq!(words, ["-NoProfile", "-ExecutionPolicy", "Bypass", "-File", script]);
        }
        for other in ["clean.cmd", "clean.exe", "clean", "ps1", "a.ps1.exe"] {
            assert_eq!(powershell(Path::new(other), &environment), None, "{other}");
        }
        let (program, _words) = powershell(Path::new("a.ps1"), &[]).unwrap();
        assert!(program.starts_with(r"C:\Windows"), "{}", program.display());
    }

    #[track_caller]
    fn check(line: &str, words: usize, expected: &str) {
        let units: Vec<u16> = line.encode_utf16().collect();
        assert_eq!(String::from_utf16(after(&units, words)).unwrap(), expected, "{line}");
    }

    #[test]
    fn what_follows_stays_as_it_was_written() {
        let line = r#"dbt.exe  -V deploy "a  b"   c\"d "" "e\\" 'f g'"#;
        check(line, 0, line);
        check(line, 1, r#"-V deploy "a  b"   c\"d "" "e\\" 'f g'"#);
        check(line, 3, r#""a  b"   c\"d "" "e\\" 'f g'"#);
        check(line, 4, r#"c\"d "" "e\\" 'f g'"#);
        check(line, 5, r#""" "e\\" 'f g'"#);
        check(line, 6, r#""e\\" 'f g'"#);
        check(line, 7, "'f g'");
        check(line, 9, "");
        check(line, 99, "");
    }

    #[test]
    fn quotes_and_backslashes_end_a_word_where_the_runtime_ends_it() {
        check(r#""C:\Program Files\dbt\" x"#, 1, "x");
        check(r#"a "b c"d e"#, 2, "e");
        check(r#"a "b""c d" e"#, 2, "e");
        check(r#"a b\\"c d" e"#, 2, "e");
        check(r#"a b\\\"c d" e""#, 2, r#"d" e""#);
        check("a\tb\t c", 2, "c");
        check(r#"a "never closed b"#, 2, "");
        check("", 1, "");
    }
}
