//! Changing a server that the configuration has: what it does not concern stays, unknown keys too.

use std::collections::BTreeSet;

use dbt_core::name::ServerName;

use super::edit::{set, unset};
use super::json::Value;
use super::{ConfigError, Document, NewServer, ServerEntry, Text};

/// What stands for an anchor where there is none.
const NO_ANCHOR: &str = "none";

/// Returns what trust in a server begins with, as one word: the root of its signed metadata, else
/// the keys that may sign, else `none`.
pub fn anchor_of(entry: &ServerEntry) -> String {
    let trust = &entry.options.trust;
    let texts = |root: bool| -> BTreeSet<String> {
        let scopes = trust.iter().filter(|(scope, _texts)| (scope == "root") == root);
        let texts = scopes.flat_map(|(_scope, texts)| texts);
        texts.map(|text| plain(text.as_written().expose())).collect()
    };
    in_one_word(texts(true), texts(false))
}

/// Says whether a text is the anchor of a server, however it is written.
pub fn is_anchor(entry: &ServerEntry, text: &str) -> bool {
    let anchor = anchor_of(entry);
    if anchor == NO_ANCHOR {
        return text.trim().eq_ignore_ascii_case(NO_ANCHOR);
    }
    let words = text.split(',').map(str::trim).filter(|word| !word.is_empty());
    let words: BTreeSet<String> = words.map(plain).collect();
    anchor.split(',').map(str::to_owned).collect::<BTreeSet<_>>() == words
}

/// Writes a fingerprint or a root in one way.
fn plain(text: &str) -> String {
    match text.strip_prefix("sha256:") {
        Some(root) => format!("sha256:{}", root.to_ascii_lowercase()),
        None => text.split_whitespace().collect::<String>().to_ascii_uppercase(),
    }
}

/// Writes an anchor as one word.
fn in_one_word(roots: BTreeSet<String>, keys: BTreeSet<String>) -> String {
    let all = if roots.is_empty() { keys } else { roots };
    let all: Vec<String> = all.into_iter().collect();
    if all.is_empty() { NO_ANCHOR.to_owned() } else { all.join(",") }
}

impl NewServer {
    /// Returns what trust in it would begin with, as [`anchor_of`] does.
    pub fn anchor(&self) -> String {
        let values = |root: bool| -> BTreeSet<String> {
            let scopes = self.trust.iter().filter(|(scope, _values)| (scope == "root") == root);
            scopes.flat_map(|(_scope, values)| values).map(|value| plain(value)).collect()
        };
        in_one_word(values(true), values(false))
    }

    /// Says whether an entry lets the same keys sign the same things.
    pub fn trusts_as(&self, entry: &ServerEntry) -> bool {
        type Scopes = BTreeSet<(String, BTreeSet<String>)>;
        let offered: Scopes = self
            .trust
            .iter()
            .map(|(scope, values)| (scope.clone(), values.iter().map(|it| plain(it)).collect()))
            .collect();
        let texts = |texts: &Vec<Text>| {
            texts.iter().map(|text| plain(text.as_written().expose())).collect()
        };
        let present: Scopes = entry
            .options
            .trust
            .iter()
            .map(|(scope, written)| (scope.clone(), texts(written)))
            .collect();
        offered == present
    }
}

impl Document {
    /// Gives a server other places, another trust and another sign-in. Its further keys stay.
    pub fn replace(&mut self, server: &NewServer) -> Result<(), ConfigError> {
        let offered = server.to_json();
        let entry = self.entry(&server.name)?;
        // Who signed before does not go on doing so.
        unset(entry, "trust", |_value| true);
        for (key, value) in offered.members().unwrap_or_default() {
            set(entry, key, value.clone());
        }
        Ok(())
    }

    /// Says how one signs in to a server. Its further keys stay.
    pub fn set_sign_in(
        &mut self,
        name: &ServerName,
        keys: &[(String, String)],
    ) -> Result<(), ConfigError> {
        if keys.is_empty() {
            return Ok(());
        }
        let entry = self.entry(name)?;
        for (key, value) in keys {
            set(entry, key, Value::String(value.clone()));
        }
        Ok(())
    }

    /// Makes a server the only one that the program updates itself from.
    pub fn update_from(&mut self, name: &ServerName) -> Result<(), ConfigError> {
        self.must_exist(name)?;
        set(&mut self.root, "selfUpdateFrom", Value::String(name.to_string()));
        Ok(())
    }

    /// Says whether nothing is left in it that a person could miss: no server and no further key.
    pub fn is_empty(&self) -> bool {
        let is_nothing = |(key, value): &(String, Value)| {
            key.eq_ignore_ascii_case("servers") && value.members().is_some_and(<[_]>::is_empty)
        };
        self.root.members().is_some_and(|members| members.iter().all(is_nothing))
    }

    /// Returns a server's object. The older format's has none of its own.
    fn entry(&mut self, name: &ServerName) -> Result<&mut Value, ConfigError> {
        self.must_exist(name)?;
        let legacy = self.config()?.server(name.as_str()).is_some_and(|server| server.legacy);
        let found = self.servers().and_then(|servers| {
            servers.iter_mut().find(|(other, _value)| !legacy && other == name.as_str())
        });
        found
            .map(|(_name, value)| value)
            .ok_or_else(|| ConfigError::OlderFormat { name: name.clone() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Urls;

    fn document(text: &str) -> (tempfile::TempDir, Document) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("c.json");
        std::fs::write(&path, text).unwrap();
        let document = Document::open(&path).unwrap();
        (directory, document)
    }

    fn offered(key: &str) -> NewServer {
        let urls = Urls::below(&"https://new.example.com".parse().unwrap());
        let mut server = NewServer::at("acme".parse().unwrap(), urls);
        server.trust_for_everything([key.repeat(20)]);
        server
    }

    const KNOWN: &str = r#"{"later": [1], "servers": {"acme": {"repository": "https://old.example.com/dbt",
        "toolsRepository": "https://old.example.com/t", "strict": true, "theirs": "stays",
        "trust": {"dbt": ["ab ab abababababababababababababababab abab"], "tool:x": []}}}}"#;

    #[test]
    fn a_server_that_is_replaced_keeps_what_it_does_not_concern() {
        let (_directory, mut document) = document(KNOWN);
        document.replace(&offered("CD")).unwrap();
        document.update_from(&"acme".parse().unwrap()).unwrap();
        document.save().unwrap();
        let written: serde_json::Value =
            serde_json::from_slice(&std::fs::read(document.path()).unwrap()).unwrap();
        let server = &written["servers"]["acme"];
        assert_eq!(server["repository"], "https://new.example.com/dbt");
        assert_eq!(
            (server["strict"].as_bool(), server["theirs"].as_str()),
            (Some(true), Some("stays"))
        );
        let keys = serde_json::json!(["CD".repeat(20)]);
        assert_eq!(server["trust"], serde_json::json!({"dbt": keys, "tools": keys}));
        assert_eq!(written["later"], serde_json::json!([1]));
        assert_eq!(written["selfUpdateFrom"], "acme");
    }

    #[test]
    fn an_anchor_is_one_word_however_it_is_written() {
        let (_directory, document) = document(KNOWN);
        let config = document.config().unwrap();
        assert_eq!(anchor_of(&config.servers[0]), "AB".repeat(20));
        assert_eq!(offered("ab").anchor(), "AB".repeat(20));
        assert!(!offered("ab").trusts_as(&config.servers[0]));
    }

    #[test]
    fn the_older_formats_server_is_not_changed() {
        let (_directory, mut document) = document(
            r#"{"dbt": {"repository": "https://a.example.com/dbt"}, "tools": {"repository": "https://a.example.com/t"}}"#,
        );
        let mut server = offered("ab");
        server.name = "default".parse().unwrap();
        let error = document.replace(&server).unwrap_err();
        assert!(matches!(error, ConfigError::OlderFormat { .. }), "{error}");
        assert_eq!(anchor_of(&document.config().unwrap().servers[0]), "none");
    }
}
