//! Which kinds of proof people may show, and that nothing else in the configuration contradicts that.

use super::file::{Written, WrittenMode};
use super::methods::{Door, Method};
use super::users::Managed;
use super::{ConfigError, Decide};
use crate::authn::{Mode, USER};

const KEY: &str = "auth.mode";

impl Decide<'_> {
    /// Decides the mode, if one is written. A way to sign in that it does not admit is refused, and so is
    /// one that it needs and that is not there.
    pub(super) fn mode(
        &mut self,
        written: &Written,
        doors: [&Door; 2],
        users: &[Managed],
    ) -> Result<Option<Mode>, ConfigError> {
        let Some(word) = written.auth.mode else { return Ok(None) };
        let mode = match word {
            WrittenMode::Token => Mode::Token,
            WrittenMode::Oidc => Mode::Oidc,
            WrittenMode::Both => Mode::Both,
        };
        let chosen = self.sourced(mode.as_str());
        self.keep(KEY, chosen);
        let refuse = |reason: String| Err(ConfigError::setting(KEY, reason));
        let methods = || doors.into_iter().flat_map(Door::methods);
        if let Some(method) = methods().find(|method| !admits(mode, method)) {
            return refuse(format!(
                "is `{}`, which does not admit `{}`; leave out one of the two",
                mode.as_str(),
                method.word()
            ));
        }
        let has_providers = methods().any(|method| matches!(method, Method::Oidc(_)));
        if mode.admits_providers() && !has_providers {
            let word = mode.as_str();
            return refuse(format!(
                "is `{word}`, and neither `authTypeGet` nor `authTypePut` names `oidc`"
            ));
        }
        let is_named = |user: &&Managed| user.subject.method == USER;
        if let Some(user) = users.iter().find(is_named).filter(|_user| !mode.admits_own_tokens()) {
            return refuse(format!(
                "is `{}`, and `auth.users` names `{}`, who has nothing but tokens of this server's own",
                mode.as_str(),
                user.subject
            ));
        }
        Ok(Some(mode))
    }
}

/// Says whether people may sign in by a method. Tokens that are written in the settings are of programs.
const fn admits(mode: Mode, method: &Method) -> bool {
    match method {
        Method::StaticTokens(_) | Method::ApiTokens => true,
        Method::Oidc(_) => mode.admits_providers(),
        Method::Htpasswd(_)
        | Method::SshFile { .. }
        | Method::SshCommand { .. }
        | Method::Ldap(_) => false,
    }
}
