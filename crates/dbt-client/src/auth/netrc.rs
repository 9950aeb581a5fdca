//! The user's netrc file: passwords by host, which other programs read too.
//!
//! Only an entry for exactly the host counts (`default` is for every server of the world), only
//! over TLS, and only where nobody but its owner can read the file: as the programs that know it
//! from the beginning have it.
//!
//! Scripts write it, and a variable that is not set leaves a word without its value. Then it is no
//! longer clear whose password a password is, so that nothing from there on is used.

use std::fmt;
use std::fs::Metadata;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use dbt_core::secret::Secret;

use crate::fsx;
use crate::ownership::{self, Distrust};
use crate::url::{Origin, Scheme};

/// The most that is read of it.
const LIMIT: u64 = 256 * 1024;

/// The user's netrc file, read when it is first needed, and once.
pub struct Netrc {
    path: PathBuf,
    read: OnceLock<Result<Contents, NetrcProblem>>,
}

/// What is in it.
struct Contents {
    logins: Vec<(String, Login)>,
    /// Why nothing behind them is used.
    malformed: Option<NetrcProblem>,
    /// Why none of it is used.
    exposed: Option<NetrcProblem>,
}

/// A user name and a password.
#[derive(Debug)]
pub(super) struct Login {
    pub(super) user: String,
    pub(super) password: Secret<String>,
}

impl Netrc {
    /// Its name in the user's home.
    pub const NAME: &str = if cfg!(windows) { "_netrc" } else { ".netrc" };

    /// Names the file. It need not exist.
    pub fn at(path: PathBuf) -> Self {
        Self { path, read: OnceLock::new() }
    }

    /// Returns the file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the user who is known to an origin, if there is one.
    pub fn user(&self, origin: &Origin) -> Result<Option<&str>, NetrcProblem> {
        Ok(self.login(origin)?.map(|login| login.user.as_str()))
    }

    /// Returns what an origin is told. Where the file has nothing for it, nothing is wrong either.
    pub(super) fn login(&self, origin: &Origin) -> Result<Option<&Login>, NetrcProblem> {
        if origin.scheme() != Scheme::Https {
            return Ok(None);
        }
        let contents = self.read.get_or_init(|| read(&self.path)).as_ref().map_err(Clone::clone)?;
        let mut logins = contents.logins.iter();
        let found = logins.find(|(host, _login)| host.eq_ignore_ascii_case(origin.host()));
        // What could not be read may have been about this host.
        let problem = if found.is_some() { &contents.exposed } else { &contents.malformed };
        match problem {
            Some(problem) => Err(problem.clone()),
            None => Ok(found.map(|(_host, login)| login)),
        }
    }
}

impl fmt::Debug for Netrc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Netrc({})", self.path.display())
    }
}

fn read(path: &Path) -> Result<Contents, NetrcProblem> {
    let nothing = Contents { logins: Vec::new(), malformed: None, exposed: None };
    let unreadable = |reason: String| NetrcProblem::Unreadable { path: path.to_owned(), reason };
    let (bytes, metadata) = match fsx::read_with_metadata(path, LIMIT) {
        Ok((bytes, metadata)) => (Secret::new(bytes), metadata),
        Err(error) if error.is_missing() => return Ok(nothing),
        Err(error) => return Err(unreadable(error.into_cause().to_string())),
    };
    let text = std::str::from_utf8(bytes.expose())
        .map_err(|_error| unreadable("it is not UTF-8 text".to_owned()))?;
    let (logins, malformed) = logins_of(text);
    let malformed = malformed.map(|Malformed { line, problem }| NetrcProblem::Malformed {
        path: path.to_owned(),
        line,
        problem,
    });
    Ok(Contents { logins, malformed, exposed: exposed(path, &metadata) })
}

/// Says how others could read the file, or have written it.
fn exposed(path: &Path, metadata: &Metadata) -> Option<NetrcProblem> {
    if let Err(distrust) = ownership::of(path, metadata) {
        return Some(NetrcProblem::Distrusted(distrust));
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt as _;
        let mode = metadata.mode() & 0o7777;
        if mode & 0o077 != 0 {
            return Some(NetrcProblem::Exposed { path: path.to_owned(), mode });
        }
    }
    None
}

/// An entry that is being read.
#[derive(Default)]
struct Entry {
    /// What stands behind `default` is for no host.
    host: Option<String>,
    user: Option<String>,
    password: Option<Secret<String>>,
}

impl Entry {
    fn into_login(self) -> Option<(String, Login)> {
        let Self { host, user, password } = self;
        Some((host?, Login { user: user?, password: password? }))
    }
}

/// Where the file cannot be read on.
#[derive(Debug, PartialEq, Eq)]
struct Malformed {
    /// Counted from 1.
    line: usize,
    /// Why. It repeats nothing of the file: that may be a password.
    problem: &'static str,
}

/// Returns the entries of hosts that have a user and a password, in the order written, and where
/// reading stopped. The entry that it stopped in is none.
fn logins_of(text: &str) -> (Vec<(String, Login)>, Option<Malformed>) {
    let (mut logins, mut words) = (Vec::new(), Words { text, rest: text });
    let problem = read_entries(&mut words, &mut logins).err();
    (logins, problem.map(|problem| Malformed { line: words.line(), problem }))
}

fn read_entries(
    words: &mut Words<'_>,
    logins: &mut Vec<(String, Login)>,
) -> Result<(), &'static str> {
    const UNKNOWN: &str = "a word is none that stands in a netrc file there";
    let mut current = None::<Entry>;
    while let Some(word) = words.keyword() {
        match word {
            "machine" | "default" => {
                logins.extend(current.take().and_then(Entry::into_login));
                let host = if word == "machine" { Some(words.value()?) } else { None };
                current = Some(Entry { host, ..Entry::default() });
            }
            "login" | "user" => {
                let entry = current.as_mut().ok_or(UNKNOWN)?;
                once(&mut entry.user, words.value()?)?;
            }
            "password" => {
                let entry = current.as_mut().ok_or(UNKNOWN)?;
                once(&mut entry.password, Secret::new(words.value()?))?;
            }
            "account" => drop(words.value()?),
            "macdef" => {
                words.value()?;
                words.skip_macro();
            }
            _ => return Err(UNKNOWN),
        }
    }
    logins.extend(current.and_then(Entry::into_login));
    Ok(())
}

fn once<T>(place: &mut Option<T>, value: T) -> Result<(), &'static str> {
    match place.replace(value) {
        None => Ok(()),
        Some(_earlier) => Err("an entry has two users or two passwords"),
    }
}

/// The words of the file: between spaces, or between quotes with backslashes before what is meant
/// as it is.
struct Words<'a> {
    text: &'a str,
    rest: &'a str,
}

impl<'a> Words<'a> {
    /// Returns the next word that says what comes. Here, and nowhere else, a comment may begin.
    fn keyword(&mut self) -> Option<&'a str> {
        loop {
            self.rest = self.rest.trim_start();
            if !self.rest.starts_with('#') {
                break;
            }
            self.rest = self.rest.split_once('\n').map_or("", |(_comment, rest)| rest);
        }
        let word = self.until(char::is_whitespace);
        (!word.is_empty()).then_some(word)
    }

    /// Returns the value of the word before it, which is on the same line: what stands on the next
    /// one is something else's, where this one was forgotten.
    fn value(&mut self) -> Result<String, &'static str> {
        self.rest = self.rest.trim_start_matches([' ', '\t']);
        if let Some(quoted) = self.rest.strip_prefix('"') {
            return self.quoted(quoted);
        }
        match self.until(char::is_whitespace) {
            "" => Err("a word has no value behind it"),
            value => Ok(value.to_owned()),
        }
    }

    fn quoted(&mut self, quoted: &'a str) -> Result<String, &'static str> {
        let mut word = String::with_capacity(quoted.len());
        let mut characters = quoted.chars();
        loop {
            let character = match characters.next() {
                Some('"') => break,
                Some('\\') => characters.next(),
                character => character,
            };
            let character = character.filter(|character| *character != '\n');
            word.push(character.ok_or("a quote is not closed on its line")?);
        }
        self.rest = characters.as_str();
        Ok(word)
    }

    fn until(&mut self, is_end: fn(char) -> bool) -> &'a str {
        let end = self.rest.find(is_end).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at_checked(end).unwrap_or(("", ""));
        self.rest = rest;
        word
    }

    /// Skips the definition of a macro, which an empty line ends.
    fn skip_macro(&mut self) {
        // The first line is what is left of the one with the name.
        while let Some((_line, rest)) = self.rest.split_once('\n') {
            self.rest = rest;
            let next = rest.split('\n').next().unwrap_or_default();
            if next.trim_end_matches('\r').is_empty() {
                return;
            }
        }
        self.rest = "";
    }

    /// Returns the line that was read last.
    fn line(&self) -> usize {
        let read = self.text.len() - self.rest.len();
        self.text.as_bytes().iter().take(read).filter(|byte| **byte == b'\n').count() + 1
    }
}

/// Why what stands in a netrc file is not used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NetrcProblem {
    /// Others can read it.
    #[error("the password in `{}` is not used: others can read that file (mode {mode:04o})", path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// Others could have written it.
    #[error("the password of the netrc file is not used")]
    Distrusted(#[source] Distrust),
    /// It is not written as such a file is.
    #[error("`{}` is not used from line {line} on: {problem}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// The line.
        line: usize,
        /// What is wrong there. It repeats nothing of the file.
        problem: &'static str,
    },
    /// It cannot be read.
    #[error("`{}` is not used: {reason}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
}

impl NetrcProblem {
    /// Returns it and what the user can do about it, in one line.
    pub fn in_one_line(&self) -> String {
        match self {
            Self::Exposed { path, .. } => format!("{self}; `chmod 600 '{}'`", path.display()),
            Self::Distrusted(distrust) => format!("{self}: {distrust}; {}", distrust.hint()),
            Self::Malformed { .. } | Self::Unreadable { .. } => self.to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::url::RepositoryUrl;

    fn found(text: &str) -> Vec<(String, String, String)> {
        let texts = |(host, login): (String, Login)| {
            (host, login.user.clone(), login.password.expose().clone())
        };
        logins_of(text).0.into_iter().map(texts).collect()
    }

    /// Returns the line on which reading stopped, and why.
    fn stopped(text: &str) -> Option<(usize, &'static str)> {
        logins_of(text).1.map(|Malformed { line, problem }| (line, problem))
    }

    fn entry(host: &str, user: &str, password: &str) -> (String, String, String) {
        (host.to_owned(), user.to_owned(), password.to_owned())
    }

    const NO_VALUE: &str = "a word has no value behind it";
    const TWICE: &str = "an entry has two users or two passwords";
    const UNKNOWN: &str = "a word is none that stands in a netrc file there";
    const NOT_CLOSED: &str = "a quote is not closed on its line";

    #[test]
    fn a_word_without_its_value_makes_nobody_elses_password_ours() {
        let b = "machine b login bob password s3cret";
        for (text, problem) in [
            (format!("machine a login ci password \n{b}\n"), (1, NO_VALUE)),
            (format!("machine a login ci\r\npassword\r\n{b}\r\n"), (2, NO_VALUE)),
            (format!("machine a login ci password\u{b}{b}\n"), (1, NO_VALUE)),
            (format!("machine a login ci password {b}\n"), (1, UNKNOWN)),
            (format!("machine a login ci password\n#s3cret\n{b}"), (1, NO_VALUE)),
            (format!("machine a login ci password \"\n{b}\""), (1, NOT_CLOSED)),
            (format!("machine a login ci password \"x\\\n{b}\""), (1, NOT_CLOSED)),
            (format!("machine a login password s3cret\n{b}"), (1, UNKNOWN)),
            (format!("machine login ci password s3cret\n{b}"), (1, UNKNOWN)),
            (format!("machine a login ci password c\nlogin bob password s3cret\n{b}"), (2, TWICE)),
            (format!("machine a login ci password c\npassword s3cret\n{b}"), (2, TWICE)),
            (format!("machine\n{b}"), (1, NO_VALUE)),
            (format!("machine a login ci password c\n\nhost {b}"), (3, UNKNOWN)),
            (format!("machine a account\n{b}"), (1, NO_VALUE)),
            (format!("login bob password s3cret\n{b}"), (1, UNKNOWN)),
        ] {
            assert_eq!((found(&text), stopped(&text)), (vec![], Some(problem)), "{text}");
        }
        // What stands before it is whole.
        let text = format!("{b}\nmachine a login ci password\nmachine c login x password y");
        assert_eq!(found(&text), [entry("b", "bob", "s3cret")]);
        assert_eq!(stopped(&text), Some((2, NO_VALUE)));
    }

    #[test]
    fn comments_begin_where_a_word_may_and_are_none_in_a_value() {
        let text = "# machine x\n machine a login #c password d # e f\nmachine b # x\n  login g\n\
                    # login x\n  password #h\n#";
        assert_eq!(found(text), [entry("a", "#c", "d"), entry("b", "g", "#h")]);
        assert_eq!(stopped(text), None);
    }

    #[test]
    fn entries_are_read_as_other_programs_read_them() {
        let text = "# machine old login x password y\n\
                    machine one login a password b\n\
                    machine two\n\tlogin c account ignored\n\tpassword \"d \\\"e\\\\\"\n\
                    macdef init\nmachine no login no password no\n\n\
                    machine only-user login f\n\
                    machine \"quoted\" user \"\" password \"\"\n\
                    default login g password h\n\
                    machine three password i#j login k";
        assert_eq!(
            found(text),
            [
                entry("one", "a", "b"),
                entry("two", "c", "d \"e\\"),
                entry("quoted", "", ""),
                entry("three", "k", "i#j"),
            ]
        );
        assert_eq!(stopped(text), None);
        for text in [
            "",
            "machine",
            "machine h login",
            "login a password b",
            "default login a password b",
            "macdef x",
        ] {
            assert_eq!(found(text), [], "{text}");
        }
    }

    fn origin(url: &str) -> Origin {
        url.parse::<RepositoryUrl>().unwrap().origin().unwrap().clone()
    }

    #[cfg(unix)]
    fn file(text: &str, mode: u32) -> (tempfile::TempDir, Netrc) {
        use std::os::unix::fs::PermissionsExt as _;
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("netrc");
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        (directory, Netrc::at(path))
    }

    #[cfg(unix)]
    #[test]
    fn only_the_very_host_is_told_and_only_over_tls() {
        let text = "machine dbt.example.com login alice password b default login x password y";
        let (_place, netrc) = file(text, 0o600);
        let user = |url| netrc.user(&origin(url)).unwrap();
        assert_eq!(user("https://DBT.example.com:8443/dbt"), Some("alice"));
        for url in [
            "http://dbt.example.com",
            "https://example.com",
            "https://x.dbt.example.com",
            "https://dbt.example.com.evil.test",
            "http://127.0.0.1",
        ] {
            assert_eq!(user(url), None, "{url}");
        }
        let none = Netrc::at(netrc.path().with_file_name("none"));
        assert_eq!(none.user(&origin("https://dbt.example.com")), Ok(None));
    }

    #[cfg(unix)]
    #[test]
    fn a_file_that_others_can_read_is_not_used_and_that_is_said_of_hosts_in_it() {
        for mode in [0o640, 0o604, 0o644, 0o620] {
            let (_place, netrc) = file("machine h login alice password b", mode);
            let error = netrc.user(&origin("https://h")).unwrap_err();
            let path = netrc.path().display();
            assert_eq!(
                error.in_one_line(),
                format!(
                    "the password in `{path}` is not used: others can read that file \
                     (mode {mode:04o}); `chmod 600 '{path}'`"
                )
            );
            assert_eq!(netrc.user(&origin("https://other")), Ok(None));
        }
        let directory = tempfile::tempdir().unwrap();
        let error = Netrc::at(directory.path().to_owned()).user(&origin("https://h")).unwrap_err();
        assert!(error.to_string().ends_with("is not used: it is not a regular file"), "{error}");
    }

    #[cfg(unix)]
    #[test]
    fn debug_output_holds_no_secret() {
        let (_place, netrc) = file("machine h login alice password hunter2", 0o600);
        let login = netrc.login(&origin("https://h")).unwrap();
        assert!(!format!("{netrc:?} {login:?}").contains("hunter2"));
    }
}
