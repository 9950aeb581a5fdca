//! The shared files of AWS: `~/.aws/config` and `~/.aws/credentials`.
//!
//! (AWS SDKs and Tools Reference Guide, "Format of the config file".) Only sections and their own
//! keys are read; what is nested below a key, and sections of other kinds, are passed over.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use dbt_core::secret::Secret;

use super::AwsError;
use crate::fsx;
use crate::settings::Aws;

/// The most bytes of one of the files.
const FILE_LIMIT: u64 = 1024 * 1024;

/// Keys and values of one section, by the key in lower case.
pub(super) type Section = BTreeMap<String, Secret<String>>;

/// What the two files say.
#[derive(Debug, Default)]
pub(super) struct SharedFiles {
    profiles: BTreeMap<String, Section>,
    sessions: BTreeMap<String, Section>,
}

/// Which of the two a file is: they name sections differently.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Config,
    Credentials,
}

impl SharedFiles {
    /// Reads what is there; a file that is not there is empty.
    pub(super) fn read(aws: &Aws) -> Result<Self, AwsError> {
        let mut files = Self::default();
        // What the second one says wins.
        for (kind, variable, name) in [
            (Kind::Config, "AWS_CONFIG_FILE", "config"),
            (Kind::Credentials, "AWS_SHARED_CREDENTIALS_FILE", "credentials"),
        ] {
            let usual = || Some(aws.home.as_ref()?.join(".aws").join(name));
            let named = aws.get(variable).map(|path| below_home(path, aws.home.as_deref()));
            let Some(path) = named.or_else(usual) else { continue };
            let bytes = match fsx::read_limited(&path, FILE_LIMIT) {
                Ok(bytes) => Secret::new(bytes),
                Err(error) if error.is_missing() => continue,
                Err(error) => {
                    let source = Arc::new(error.into_cause());
                    return Err(AwsError::File { path, source });
                }
            };
            let bad = |problem: &str| AwsError::BadFile {
                path: path.clone(),
                problem: problem.to_owned(),
            };
            let text = std::str::from_utf8(bytes.expose()).map_err(|_| bad("it is not text"))?;
            files.add(kind, text).map_err(|line| bad(&format!("line {line} is not understood")))?;
        }
        Ok(files)
    }

    /// Returns a profile.
    pub(super) fn profile(&self, name: &str) -> Option<&Section> {
        self.profiles.get(name)
    }

    /// Returns a session of IAM Identity Center.
    pub(super) fn session(&self, name: &str) -> Option<&Section> {
        self.sessions.get(name)
    }

    /// Adds what a file says, or returns the number of the line that is none.
    fn add(&mut self, kind: Kind, text: &str) -> Result<(), usize> {
        let mut section: Option<&mut Section> = None;
        for (number, line) in text.lines().enumerate() {
            let is_nested = line.starts_with([' ', '\t']);
            let line = line.trim();
            if line.is_empty() || line.starts_with(['#', ';']) || is_nested {
                continue;
            }
            if let Some(rest) = line.strip_prefix('[') {
                let (name, _comment) = rest.split_once(']').ok_or(number + 1)?;
                section = self.section(kind, name.trim());
                continue;
            }
            let (key, value) = line.split_once('=').ok_or(number + 1)?;
            if let Some(section) = &mut section {
                let value = [" #", " ;", "\t#", "\t;"]
                    .iter()
                    .fold(value, |value, mark| value.split(mark).next().unwrap_or_default());
                let value = Secret::new(value.trim().to_owned());
                section.insert(key.trim().to_ascii_lowercase(), value);
            }
        }
        Ok(())
    }

    fn section(&mut self, kind: Kind, name: &str) -> Option<&mut Section> {
        let words = name.split_once([' ', '\t']).map(|(kind, name)| (kind, unquoted(name.trim())));
        match (kind, words) {
            (Kind::Credentials, _) => {
                Some(self.profiles.entry(unquoted(name).to_owned()).or_default())
            }
            (Kind::Config, None) if name == "default" => {
                Some(self.profiles.entry(name.to_owned()).or_default())
            }
            (Kind::Config, Some(("profile", name))) => {
                Some(self.profiles.entry(name.to_owned()).or_default())
            }
            (Kind::Config, Some(("sso-session", name))) => {
                Some(self.sessions.entry(name.to_owned()).or_default())
            }
            (Kind::Config, _) => None,
        }
    }
}

fn unquoted(name: &str) -> &str {
    let quoted = |mark: char| name.strip_prefix(mark).and_then(|name| name.strip_suffix(mark));
    quoted('"').or_else(|| quoted('\'')).unwrap_or(name)
}

/// Returns a path as people write it, `~` for their home.
fn below_home(path: &str, home: Option<&Path>) -> PathBuf {
    match (path.strip_prefix("~/"), home) {
        (Some(rest), Some(home)) => home.join(rest),
        _ => PathBuf::from(path),
    }
}

/// Returns a value of a section that says something.
pub(super) fn value<'a>(section: &'a Section, key: &str) -> Option<&'a str> {
    section.get(key).map(|value| value.expose().as_str()).filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(kind: Kind, text: &str, profile: &str, key: &str, expected: Option<&str>) {
        let mut files = SharedFiles::default();
        files.add(kind, text).unwrap();
        let found = files.profile(profile).and_then(|section| value(section, key));
        assert_eq!(found, expected, "{text}");
    }

    #[test]
    fn sections_are_named_differently_in_the_two_files() {
        let text = "[default]\nregion = eu-west-1\n[profile a b]\nregion=x\n[profile \"c\"]\nregion=y\n[odd]\nregion=z\n";
        check(Kind::Config, text, "default", "region", Some("eu-west-1"));
        check(Kind::Config, text, "a b", "region", Some("x"));
        check(Kind::Config, text, "c", "region", Some("y"));
        check(Kind::Config, text, "odd", "region", None);
        check(Kind::Credentials, "[odd]\nregion=z", "odd", "region", Some("z"));
    }

    #[test]
    fn comments_and_what_is_nested_are_passed_over() {
        let text = "# a\n; b\n\n[default] # c\nREGION = x # d\ns3 =\n  region = y\nsource=a#b\r\n";
        check(Kind::Config, text, "default", "region", Some("x"));
        check(Kind::Config, text, "default", "s3", None);
        check(Kind::Config, text, "default", "source", Some("a#b"));
    }

    #[test]
    fn a_line_that_is_none_is_told_by_its_number() {
        let mut files = SharedFiles::default();
        assert_eq!(files.add(Kind::Config, "[default]\nregion"), Err(2));
        assert_eq!(files.add(Kind::Config, "[default"), Err(1));
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "[\\[\\]=#;a-z\" \t\n]{0,200}|\\PC{0,200}") {
            for kind in [Kind::Config, Kind::Credentials] {
                let _never_panics = SharedFiles::default().add(kind, &text);
            }
        }
    }
}
