//! Which of the file's credentials belong to which server.

use std::collections::BTreeSet;

use super::{ConfigError, ConfigFile, ServerEntry, SignIn, Surroundings, Text, Urls};
use crate::auth::SecretValue;
use crate::url::Origin;

/// Who asks a server: its own keys, with those at the top level behind them where they are its.
#[derive(Debug, Clone, Copy)]
pub struct Keys<'a> {
    own: &'a SignIn,
    shared: Option<&'a SignIn>,
}

impl ConfigFile {
    /// Decides which keys say who asks a server that is at these origins.
    pub fn keys_of<'a>(
        &'a self,
        entry: &'a ServerEntry,
        origins: &BTreeSet<Origin>,
        around: Surroundings<'_>,
    ) -> Keys<'a> {
        let owned = self.may_use_shared(entry, origins, around);
        Keys { own: &entry.sign_in, shared: owned.then_some(&self.shared) }
    }

    /// Says whether the top-level credentials are this server's: it owns them, or it is nowhere
    /// but where their owner is. The reference sends them to every server.
    fn may_use_shared(
        &self,
        entry: &ServerEntry,
        origins: &BTreeSet<Origin>,
        around: Surroundings<'_>,
    ) -> bool {
        self.owner_of_shared().is_some_and(|owner| {
            owner.name == entry.name
                || Urls::of(owner, around)
                    .is_ok_and(|urls| !origins.is_empty() && origins.is_subset(&urls.origins()))
        })
    }

    /// Returns the server that the top-level credentials belong to: the one named by
    /// `defaultServer`, the only one, or the legacy one. With several and no word about it,
    /// nobody's.
    fn owner_of_shared(&self) -> Option<&ServerEntry> {
        if let Some(name) = &self.default_server {
            return self.server(name);
        }
        match self.servers.as_slice() {
            [only] => Some(only),
            several => several.iter().find(|server| server.legacy),
        }
    }

    /// Says where credentials are that a server does not get, if there are any.
    pub fn withheld(&self, entry: &ServerEntry) -> Option<String> {
        let shared = &self.shared;
        let keys = [
            &shared.username,
            &shared.username_command,
            &shared.password,
            &shared.password_command,
            &shared.public_key,
            &shared.public_key_file,
            &shared.public_key_command,
            &shared.token,
            &shared.token_file,
            &shared.token_command,
            &shared.auth_type,
        ];
        let set: Vec<String> =
            keys.into_iter().flatten().map(|text| format!("`{}`", text.path())).collect();
        if set.is_empty() {
            return None;
        }
        let whose = match self.owner_of_shared() {
            Some(owner) => format!("belong to the server `{}`", owner.name),
            None => {
                "belong to no server, because there are several and no `defaultServer`".to_owned()
            }
        };
        Some(format!(
            "{} at the top level of the configuration {whose}; what is meant for this one stands in `servers.{}`",
            set.join(", "),
            entry.name
        ))
    }
}

impl<'a> Keys<'a> {
    /// Says whether the keys at the top level are this server's.
    pub fn own_the_shared(&self) -> bool {
        self.shared.is_some()
    }

    /// Returns one key.
    pub fn get(&self, key: impl Fn(&'a SignIn) -> &'a Option<Text>) -> Option<&'a Text> {
        key(self.own).as_ref().or_else(|| key(self.shared?).as_ref())
    }

    /// Returns one of the further keys of OIDC.
    pub(super) fn oidc(&self, name: &str) -> Option<&'a Text> {
        let of = |keys: &'a SignIn| {
            keys.oidc.iter().find(|(key, _text)| *key == name).map(|(_key, text)| text)
        };
        of(self.own).or_else(|| of(self.shared?))
    }

    /// Returns the user's name where it is written: `oidcUsername` stands in for `username`, unless it
    /// is empty. (The reference then signs in nobody's name.)
    fn written_username(&self) -> Option<&'a Text> {
        let own = self.get(|keys| &keys.oidc_username);
        let own = own.filter(|text| !text.as_written().expose().is_empty());
        own.or(self.get(|keys| &keys.username))
    }

    /// Returns the token.
    pub fn token(
        &self,
        around: Surroundings<'_>,
    ) -> Result<Option<(&'a Text, SecretValue)>, ConfigError> {
        self.secret(
            self.get(|keys| &keys.token),
            self.get(|keys| &keys.token_file),
            self.get(|keys| &keys.token_command),
            around,
        )
    }

    /// Returns the user's name.
    pub fn username(&self, around: Surroundings<'_>) -> Result<Option<SecretValue>, ConfigError> {
        let command = self.get(|keys| &keys.username_command);
        let username = self.secret(self.written_username(), None, command, around)?;
        Ok(username.map(|(_key, username)| username))
    }

    /// Returns the user's name where it can be shown: no command prints it.
    pub fn shown_username(&self, around: Surroundings<'_>) -> Result<Option<String>, ConfigError> {
        if self.get(|keys| &keys.username_command).is_some() {
            return Ok(None);
        }
        let written = self.written_username().map(|text| text.expand(around.variables));
        Ok(written.transpose()?.map(|name| name.expose().clone()))
    }

    /// Returns the password.
    pub fn password(&self, around: Surroundings<'_>) -> Result<Option<SecretValue>, ConfigError> {
        let command = self.get(|keys| &keys.password_command);
        let password = self.secret(self.get(|keys| &keys.password), None, command, around)?;
        Ok(password.map(|(_key, password)| password))
    }

    /// Returns the public half of the key in the SSH agent that signs in, and the key of the
    /// configuration that gives it.
    pub fn public_key(
        &self,
        around: Surroundings<'_>,
    ) -> Result<Option<(&'a Text, SecretValue)>, ConfigError> {
        self.secret(
            self.get(|keys| &keys.public_key),
            self.get(|keys| &keys.public_key_file),
            self.get(|keys| &keys.public_key_command),
            around,
        )
    }

    /// Returns the variables in which its secrets stand, as far as these count. What is started in
    /// this server's name does not get them.
    pub fn secret_variables(&self) -> BTreeSet<String> {
        let unless = |written: Option<&'a Text>, others: [Option<&'a Text>; 2]| {
            written.filter(|_written| others.iter().all(Option::is_none))
        };
        let token = unless(
            self.get(|keys| &keys.token),
            [self.get(|keys| &keys.token_file), self.get(|keys| &keys.token_command)],
        );
        let password = unless(
            self.get(|keys| &keys.password),
            [self.get(|keys| &keys.password_command), None],
        );
        let secrets = [token, password, self.oidc("oidcClientSecret")];
        secrets.into_iter().flatten().flat_map(Text::variables).map(str::to_owned).collect()
    }

    /// Returns a secret. A command beats a file, and a file what is written, as a command beats what
    /// is written for the reference.
    fn secret(
        &self,
        written: Option<&'a Text>,
        file: Option<&'a Text>,
        command: Option<&'a Text>,
        around: Surroundings<'_>,
    ) -> Result<Option<(&'a Text, SecretValue)>, ConfigError> {
        if let Some(text) = command {
            // The shell replaces the variables itself, with its own rules of quoting.
            let line = text.as_written().expose().clone();
            let value = SecretValue::command(text.path(), line);
            return Ok(Some((text, value.withholding(self.secret_variables()))));
        }
        if let Some(text) = file {
            return Ok(Some((text, SecretValue::file(text.path(), text.file(around)?))));
        }
        let fixed = |text: &'a Text| {
            Ok((text, SecretValue::fixed(text.path(), text.expand(around.variables)?)))
        };
        written.map(fixed).transpose()
    }
}
