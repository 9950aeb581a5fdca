//! The user's netrc file: passwords by host, which other programs read too.
//!
//! Only an entry for exactly the host counts (`default` is for every server of the world), only
//! over TLS, and only where nobody but its owner can read the file: as the programs that know it
//! from the beginning have it.

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
        match (found, &contents.exposed) {
            (Some(_found), Some(problem)) => Err(problem.clone()),
            (found, _) => Ok(found.map(|(_host, login)| login)),
        }
    }
}

impl fmt::Debug for Netrc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Netrc({})", self.path.display())
    }
}

fn read(path: &Path) -> Result<Contents, NetrcProblem> {
    let nothing = Contents { logins: Vec::new(), exposed: None };
    let unreadable = |reason: String| NetrcProblem::Unreadable { path: path.to_owned(), reason };
    let (bytes, metadata) = match fsx::read_with_metadata(path, LIMIT) {
        Ok((bytes, metadata)) => (Secret::new(bytes), metadata),
        Err(error) if error.is_missing() => return Ok(nothing),
        Err(error) => return Err(unreadable(error.into_cause().to_string())),
    };
    let text = std::str::from_utf8(bytes.expose())
        .map_err(|_error| unreadable("it is not UTF-8 text".to_owned()))?;
    Ok(Contents { logins: logins_of(text), exposed: exposed(path, &metadata) })
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
struct Entry {
    host: String,
    user: Option<String>,
    password: Option<Secret<String>>,
}

/// Reads the entries of hosts that have a user and a password, in the order written.
fn logins_of(text: &str) -> Vec<(String, Login)> {
    let is_comment = |line: &&str| line.trim_start().starts_with('#');
    let lines: Vec<&str> = text.lines().filter(|line| !is_comment(line)).collect();
    let text = Secret::new(lines.join("\n"));
    let mut words = Words { rest: text.expose() };
    let mut entries: Vec<Entry> = Vec::new();
    // What stands behind `default` is for no host.
    let mut is_of_host = false;
    while let Some(word) = words.next() {
        let entry = entries.last_mut().filter(|_entry| is_of_host);
        match word.as_str() {
            "machine" => {
                let host = words.next().unwrap_or_default();
                entries.push(Entry { host, user: None, password: None });
                is_of_host = true;
            }
            "default" => is_of_host = false,
            "login" => {
                let user = words.next();
                if let Some(entry) = entry {
                    entry.user = user;
                }
            }
            "password" => {
                let password = words.next().map(Secret::new);
                if let Some(entry) = entry {
                    entry.password = password;
                }
            }
            "account" => drop(words.next()),
            "macdef" => words.skip_macro(),
            _ => {}
        }
    }
    let whole =
        |Entry { host, user, password }| Some((host, Login { user: user?, password: password? }));
    entries.into_iter().filter_map(whole).collect()
}

/// The words of the file: between spaces, or between quotes with backslashes before what is meant
/// as it is.
struct Words<'a> {
    rest: &'a str,
}

impl<'a> Words<'a> {
    fn next(&mut self) -> Option<String> {
        self.rest = self.rest.trim_start();
        if let Some(quoted) = self.rest.strip_prefix('"') {
            return Some(self.quoted(quoted));
        }
        let end = self.rest.find(char::is_whitespace).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at_checked(end)?;
        self.rest = rest;
        (!word.is_empty()).then(|| word.to_owned())
    }

    fn quoted(&mut self, quoted: &'a str) -> String {
        let mut word = String::with_capacity(quoted.len());
        let mut characters = quoted.char_indices();
        while let Some((_at, character)) = characters.next() {
            match character {
                '"' => break,
                '\\' => word.extend(characters.next().map(|(_at, literal)| literal)),
                _ => word.push(character),
            }
        }
        self.rest = characters.as_str();
        word
    }

    /// Skips the definition of a macro, which an empty line ends.
    fn skip_macro(&mut self) {
        self.rest = self.rest.split_once("\n\n").map_or("", |(_macro, rest)| rest);
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
            Self::Unreadable { .. } => self.to_string(),
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
        logins_of(text).into_iter().map(texts).collect()
    }

    fn entry(host: &str, user: &str, password: &str) -> (String, String, String) {
        (host.to_owned(), user.to_owned(), password.to_owned())
    }

    #[test]
    fn entries_are_read_as_other_programs_read_them() {
        let text = "# machine old login x password y\n\
                    machine one login a password b\n\
                    machine two\n\tlogin c account ignored\n\tpassword \"d \\\"e\\\\\"\n\
                    macdef init\nmachine no login no password no\n\n\
                    machine only-user login f\n\
                    default login g password h\n\
                    machine three password i#j login k";
        assert_eq!(
            found(text),
            [entry("one", "a", "b"), entry("two", "c", "d \"e\\"), entry("three", "k", "i#j"),]
        );
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
