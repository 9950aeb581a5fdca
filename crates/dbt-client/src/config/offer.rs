//! What an installer is told of an organisation's server: one document, written by an administrator.
//!
//! It has the keys of an [announcement](super::announcement), and besides: `organisation`, `name`
//! (what the configuration calls the server), `url` (the server's root) and `oidcUsername`. The
//! document lies beside the installer or in it. It is shown to the person before anything is done,
//! and unlike an announcement it may send them to any identity provider, because it does not come
//! from the server. A key that nobody knows is refused: a misspelt `trust` would be no trust.

use dbt_core::announcement::SIGN_IN;
use dbt_core::name::{InvalidServerName, ServerName};
use dbt_core::trust::fingerprint::{Fingerprint, InvalidFingerprint};
use dbt_core::trust::rules::TrustRules;

use super::announcement::{self, literal, places_and_trust};
use super::object::Object;
use super::{ConfigError, NewServer, Text, Urls, load};
use crate::url::RepositoryUrl;

/// The most that the document may have, in bytes. The room in a prebuilt installer is for this much.
pub const OFFER_LIMIT: u64 = crate::reserved::LIMIT as u64;

/// The longest name of an organisation, in bytes.
const ORGANISATION_LIMIT: usize = 200;

/// A server that somebody is to be given.
#[derive(Debug, Clone)]
pub struct Offer {
    /// Whose it is, for people. Text from outside.
    pub organisation: Option<String>,
    /// The server.
    pub server: NewServer,
}

impl Offer {
    /// Reads the document.
    pub fn parse(bytes: &[u8]) -> Result<Self, ConfigError> {
        let document = load::parse(bytes)?;
        let mut top = Object::top(&document)?;
        let urls = match top.text("url")? {
            Some(text) => Urls::below(&announcement::url(&text, true)?),
            None => places(&mut top)?,
        };
        let name = match top.text("name")? {
            Some(text) => {
                let refuse = |error: InvalidServerName| text.refuse(error);
                literal(&text)?.parse().map_err(refuse)?
            }
            None => name_of(&urls.repository)?,
        };
        let mut server = NewServer::at(name, urls);
        places_and_trust(&mut top, &mut server, announcement::url)?;
        for key in SIGN_IN.into_iter().chain(["oidcUsername"]) {
            if let Some(text) = top.text(key)? {
                server.sign_in.push((key.to_owned(), literal(&text)?));
            }
        }
        let organisation = top.text("organisation")?.map(|text| organisation(&text)).transpose()?;
        match top.unknown().into_iter().next() {
            Some(key) => Err(ConfigError::UnknownKey { key: key.path, nearest: key.nearest }),
            None => Ok(Self { organisation, server }),
        }
    }

    /// Offers a server of which nobody has said whose it is.
    pub fn of(server: NewServer) -> Self {
        Self { organisation: None, server }
    }
}

impl NewServer {
    /// Returns who may sign what, as it was offered.
    pub fn rules(&self) -> Result<TrustRules, ConfigError> {
        let wrong = |reason: Box<dyn std::error::Error + Send + Sync>| ConfigError::BadValue {
            key: "trust".to_owned(),
            reason,
        };
        let mut rules = TrustRules::default();
        for (scope, values) in &self.trust {
            if scope == "root" {
                for value in values {
                    let digest = value.strip_prefix("sha256:").unwrap_or(value);
                    rules.set_root(digest.parse().map_err(
                        |error: dbt_core::digest::InvalidDigest| wrong(Box::new(error)),
                    )?);
                }
                continue;
            }
            let read = |value: &String| value.parse::<Fingerprint>();
            let fingerprints: Result<Vec<_>, InvalidFingerprint> =
                values.iter().map(read).collect();
            let fingerprints = fingerprints.map_err(|error| wrong(Box::new(error)))?;
            rules.allow(scope, fingerprints).map_err(|error| wrong(Box::new(error)))?;
        }
        Ok(rules)
    }
}

/// Returns the name that a server has when nobody gives it one: its host's, or its bucket's.
fn name_of(repository: &RepositoryUrl) -> Result<ServerName, ConfigError> {
    let name = repository.usual_name().unwrap_or_default();
    name.parse().map_err(|error: InvalidServerName| ConfigError::BadValue {
        key: "name".to_owned(),
        reason: Box::new(error),
    })
}

/// Returns the places where each is named by itself.
fn places(top: &mut Object<'_>) -> Result<Urls, ConfigError> {
    let missing = |key| ConfigError::NotOffered { key };
    let repository = top.text("repository")?.ok_or_else(|| missing("url"))?;
    let tools = top.text("toolsRepository")?.ok_or_else(|| missing("toolsRepository"))?;
    let repository = announcement::url(&repository, true)?;
    let truststore = Urls::truststore_in(&repository);
    Ok(Urls { repository, tools: announcement::url(&tools, true)?, truststore })
}

fn organisation(text: &Text) -> Result<String, ConfigError> {
    let name = literal(text)?;
    if name.len() > ORGANISATION_LIMIT {
        return Err(text.refuse(format!("expected at most {ORGANISATION_LIMIT} bytes")));
    }
    Ok(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offer_names_an_organisation_its_server_and_who_signs() {
        let key = "AB".repeat(20);
        let text = format!(
            r#"{{"organisation": "Acme Ltd", "name": "acme", "url": "https://dbt.acme.com",
                "trust": {{"dbt": ["{key}"]}}, "authType": "oidc", "issuerUrl": "https://id.acme.net",
                "oidcAudience": "https://elsewhere.acme.net"}}"#
        );
        let offer = Offer::parse(text.as_bytes()).unwrap();
        assert_eq!(offer.organisation.as_deref(), Some("Acme Ltd"));
        assert_eq!(offer.server.name.as_str(), "acme");
        assert_eq!(offer.server.tools.to_string(), "https://dbt.acme.com/dbt-tools");
        assert_eq!(offer.server.sign_in.len(), 3);
        assert!(offer.server.rules().unwrap().names(&key.parse().unwrap()));
    }

    #[test]
    fn the_repositories_may_be_in_two_places_and_a_name_is_found() {
        let text = r#"{"repository": "https://a.example.com/r", "toolsRepository": "https://b.example.com/t"}"#;
        let server = Offer::parse(text.as_bytes()).unwrap().server;
        assert_eq!(server.truststore.to_string(), "https://a.example.com/r/truststore");
        assert_eq!(server.name.as_str(), "a.example.com");
    }

    #[test]
    fn a_server_may_be_a_bucket_which_the_administrator_describes() {
        let offer = |text: &str| Offer::parse(text.as_bytes()).unwrap().server;
        let server = offer(
            r#"{"url": "s3://acme?region=eu-west-1", "toolsRepository": "s3://tools?profile=acme&endpoint=https://s3.acme.com"}"#,
        );
        let amazon = "https://acme.s3.eu-west-1.amazonaws.com/dbt";
        assert_eq!(server.repository.to_string(), amazon);
        assert_eq!(server.truststore.to_string(), format!("{amazon}/truststore"));
        let (tools, _key) = server.tools.bucket().unwrap();
        assert_eq!((tools.name(), tools.profile()), ("tools", Some("acme")));
        assert_eq!(server.name.as_str(), "acme");

        let server =
            offer(r#"{"repository": "s3://acme-dbt", "toolsRepository": "s3://acme-tools"}"#);
        assert_eq!(server.truststore.to_string(), "s3://acme-dbt/truststore");
        assert_eq!(server.name.as_str(), "acme-dbt");
    }

    #[test]
    fn what_is_misspelt_or_dangerous_is_refused() {
        for (text, words) in [
            (r"{}", "`url` is missing"),
            (r#"{"url": "https://a.example.com", "trsut": {}}"#, "`trsut`"),
            (r#"{"url": "http://a.example.com"}"#, "`url`"),
            (r#"{"url": "https://a.example.com", "oidcClientSecret": "x"}"#, "`oidcClientSecret`"),
            (r#"{"url": "https://a.example.com", "trust": {"dbt": ["x"]}}"#, "`trust.dbt"),
            (r#"{"url": "/srv/dbt"}"#, "`url`"),
            (r#"{"url": "s3://acme?endpoint=http://s3.acme.com"}"#, "`url`"),
            (
                r#"{"url": "s3://acme", "toolsRepository": "s3://t?endpoint=http://127.0.0.1:9"}"#,
                "`toolsRepository`",
            ),
        ] {
            let error = Offer::parse(text.as_bytes()).map(drop).unwrap_err();
            assert!(error.to_string().contains(words), "{text}: {error}");
        }
    }
}
