//! People whom the settings name: whom this server alone knows, and who is suspended.

use super::file::{Written, WrittenUser};
use super::policies::Names;
use super::{ConfigError, Decide};
use crate::authn::{AGENT, Subject, USER, federation, oidc, ssh, static_token};

/// The most people whom the settings name.
const MOST: usize = 10_000;

/// Somebody whom the settings manage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Managed {
    /// Who.
    pub subject: Subject,
    /// Whether nothing is permitted to them.
    pub suspended: bool,
}

/// Returns the names of those whom this server alone knows.
pub(super) fn named(written: &Written) -> Result<Vec<String>, ConfigError> {
    let mut names = Vec::new();
    for (index, user) in written.auth.users.iter().flatten().enumerate() {
        let Some(name) = own_name(name(index, user)?) else { continue };
        if !ssh::is_user_name(name) {
            let reason = "is no name of a person: 1 to 64 letters, digits and `._@-`";
            return Err(ConfigError::setting(key(index), reason));
        }
        names.push(name.to_owned());
    }
    Ok(names)
}

/// Returns the name of somebody whom this server alone knows, if a text is of one.
fn own_name(text: &str) -> Option<&str> {
    match text.split_once(':') {
        None => Some(text),
        Some((USER, name)) => Some(name),
        Some(_method) => None,
    }
}

fn key(index: usize) -> String {
    format!("auth.users[{index}].name")
}

fn name(index: usize, user: &WrittenUser) -> Result<&str, ConfigError> {
    let name = user.name.as_deref().unwrap_or_default().trim();
    if name.is_empty() {
        return Err(ConfigError::setting(key(index), "is needed"));
    }
    Ok(name)
}

impl Decide<'_> {
    /// Decides whom the settings manage. Whoever came by signing in with an identity provider is not theirs.
    pub(super) fn users(
        &mut self,
        written: &Written,
        names: &Names,
    ) -> Result<Vec<Managed>, ConfigError> {
        let entries = written.auth.users.as_deref().unwrap_or_default();
        if entries.len() > MOST {
            return Err(ConfigError::setting(
                "auth.users",
                format!("has more than {MOST} entries"),
            ));
        }
        let mut users: Vec<Managed> = Vec::new();
        for (index, entry) in entries.iter().enumerate() {
            let (name, refuse) =
                (name(index, entry)?, |why: String| ConfigError::setting(key(index), why));
            let word = name.split_once(':').map_or(USER, |(word, _name)| word);
            if word == oidc::NAME {
                self.notices.push(format!(
                    "the entry `{name}` of `auth.users` is ignored: they come by signing in with their \
                     identity provider; suspend them with `reposerver user suspend`"
                ));
                continue;
            }
            if [AGENT, static_token::NAME, federation::WORD].contains(&word) {
                let why = format!("is `{name}`, which is a program; revoke its tokens instead");
                return Err(refuse(why));
            }
            let subject = match own_name(name) {
                Some(own) => Subject::local(USER, own),
                None => names.subject(name).map_err(|why| refuse(format!("is {why}")))?,
            };
            if users.iter().any(|earlier| earlier.subject == subject) {
                return Err(refuse(format!("is `{subject}` a second time")));
            }
            users.push(Managed { subject, suspended: entry.suspended == Some(true) });
        }
        Ok(users)
    }
}
