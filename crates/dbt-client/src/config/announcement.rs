//! What a server says about itself, for `server add`: a small document beside its repositories.
//!
//! It names the keys of a server's entry in the configuration: `repository`, `toolsRepository`,
//! `truststore`, `trust`, and how one signs in. Nothing in it is believed by itself: it is shown
//! to the person together with the signing keys, and says nothing about this machine. How one signs
//! in is a question of its own: a server that names another one's provider, client and audience
//! would be sent what counts there.

use dbt_core::announcement::{AUDIENCE, PATH, SIGN_IN, is_own_audience};
use dbt_core::repo_path::RepoPath;
use dbt_core::trust::fingerprint::Fingerprint;
use dbt_core::trust::rules::TrustRules;

use super::object::Object;
use super::{ConfigError, NewServer, Text, load};
use crate::url::bucket::Bucket;
use crate::url::{InvalidUrl, RepositoryUrl};

/// The most that an announcement may have.
pub const LIMIT: u64 = 64 * 1024;

/// Returns where the announcement is, below a server's root.
pub fn path() -> RepoPath {
    let segments = PATH.split('/').filter(|segment| !segment.is_empty());
    // The segments are legal; were one not, the root would be asked and say nothing useful.
    segments.fold(RepoPath::root(), |path, segment| path.join(segment).unwrap_or(path))
}

/// Takes over what an announcement says.
pub fn read(bytes: &[u8], server: &mut NewServer) -> Result<(), ConfigError> {
    let document = load::parse(bytes)?;
    let mut top = Object::top(&document)?;
    // Where it is asked, and not where it says that it is.
    let host = server.repository.origin().map(|origin| origin.host().to_owned());
    let own = server.repository.clone();
    places_and_trust(&mut top, server, |text, is_here| announced(text, is_here, &own))?;
    for key in SIGN_IN {
        if let Some(text) = top.text(key)? {
            let value = literal(&text)?;
            if key == AUDIENCE && !is_own_audience(&value, host.as_deref()) {
                return Err(text.refuse("a server cannot announce tokens for another host"));
            }
            server.sign_in.push((key.to_owned(), value));
        }
    }
    Ok(())
}

/// Takes over where the parts of a server are, as `url` reads it, and who may sign what.
pub(super) fn places_and_trust(
    top: &mut Object<'_>,
    server: &mut NewServer,
    url: impl Fn(&Text, bool) -> Result<RepositoryUrl, ConfigError>,
) -> Result<(), ConfigError> {
    let is_here = server.repository.is_loopback();
    for (key, place) in [
        ("repository", &mut server.repository),
        ("toolsRepository", &mut server.tools),
        ("truststore", &mut server.truststore),
    ] {
        if let Some(text) = top.text(key)? {
            *place = url(&text, is_here)?;
        }
    }
    if let Some(trust) = top.object("trust")? {
        server.trust = trust_of(trust.lists_of_texts()?)?;
    }
    Ok(())
}

/// Reads a URL that a server says of itself. In a bucket, whoever reads shows what proves who they
/// are: to Amazon, or to the store that a person has named, and with the credentials that they have
/// chosen. A store of the server's choice could use that elsewhere.
fn announced(
    text: &Text,
    is_here: bool,
    own: &RepositoryUrl,
) -> Result<RepositoryUrl, ConfigError> {
    let url = url(text, is_here)?;
    let own = own.bucket().map(|(bucket, _key)| bucket);
    if let Some((bucket, _key)) = url.bucket() {
        if bucket.endpoint() != own.and_then(Bucket::endpoint) {
            return Err(text.refuse("a server cannot announce which store has a bucket"));
        }
        if bucket.profile() != own.and_then(Bucket::profile) {
            return Err(text.refuse("a server cannot announce whose credentials are for a bucket"));
        }
    }
    Ok(url)
}

/// Reads a URL. A server does not say where files of this machine are, nor gives up protection; nor
/// does one that is not here lead to something that is: that is a mistake, or a trap.
pub(super) fn url(text: &Text, is_here: bool) -> Result<RepositoryUrl, ConfigError> {
    let url: RepositoryUrl =
        literal(text)?.parse().map_err(|error: InvalidUrl| text.refuse(error))?;
    if url.directory().is_some() {
        return Err(text.refuse("a server cannot announce a directory"));
    }
    if url.is_plain_http() && !url.is_loopback() {
        return Err(text.refuse("a server cannot announce a URL without TLS"));
    }
    if url.is_loopback() && !is_here {
        return Err(text.refuse("a server elsewhere cannot announce a place on this machine"));
    }
    Ok(url)
}

/// Returns a text that would mean the same in a configuration: no variables of this machine.
pub(super) fn literal(text: &Text) -> Result<String, ConfigError> {
    let written = text.as_written().expose();
    if written.contains("${") {
        return Err(text.refuse("a server cannot name variables"));
    }
    Ok(written.clone())
}

fn trust_of(scopes: Vec<(String, Vec<Text>)>) -> Result<Vec<(String, Vec<String>)>, ConfigError> {
    let mut trust = Vec::new();
    for (scope, texts) in scopes {
        let mut values = Vec::new();
        for text in &texts {
            let value = literal(text)?;
            if scope == "root" {
                let digest = value.strip_prefix("sha256:").unwrap_or(&value);
                digest.parse::<dbt_core::digest::Digest>().map_err(|error| text.refuse(error))?;
                values.push(value);
            } else {
                let fingerprint: Fingerprint = value.parse().map_err(
                    |error: dbt_core::trust::fingerprint::InvalidFingerprint| text.refuse(error),
                )?;
                values.push(fingerprint.to_string());
            }
        }
        if scope != "root" {
            let unknown =
                |error| ConfigError::BadValue { key: "trust".into(), reason: Box::new(error) };
            TrustRules::default().allow(&scope, []).map_err(unknown)?;
        }
        trust.push((scope, values));
    }
    Ok(trust)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Urls;

    fn announced(text: &str) -> Result<NewServer, ConfigError> {
        let urls = Urls::below(&"https://h.example.com".parse().unwrap());
        let mut server = NewServer::at("h".parse().unwrap(), urls);
        read(text.as_bytes(), &mut server).map(|()| server)
    }

    #[test]
    fn an_announcement_moves_the_places_and_names_who_signs() {
        let text = format!(
            r#"{{"toolsRepository": "https://cdn.example.com/t", "trust": {{"tools": ["{}"]}}, "authType": "oidc", "password": "x", "later": 1}}"#,
            "ab".repeat(20)
        );
        let server = announced(&text).unwrap();
        assert_eq!(server.tools.to_string(), "https://cdn.example.com/t");
        assert_eq!(server.repository.to_string(), "https://h.example.com/dbt");
        assert_eq!(server.trust, [("tools".to_owned(), vec!["AB".repeat(20)])]);
        assert_eq!(server.sign_in, [("authType".to_owned(), "oidc".to_owned())]);
    }

    #[test]
    fn a_server_announces_an_audience_of_its_own_or_of_no_host() {
        for audience in
            ["https://h.example.com", "https://H.example.com:8443/x", "h.example.com", "dbt"]
        {
            let text = format!(r#"{{"oidcAudience": "{audience}"}}"#);
            let server = announced(&text).unwrap();
            assert_eq!(server.sign_in, [("oidcAudience".to_owned(), audience.to_owned())]);
        }
    }

    #[test]
    fn a_bucket_is_announced_at_amazon_or_in_the_store_that_a_person_has_named() {
        let tools = |root: &str, url: &str| {
            let urls = Urls::below(&root.parse().unwrap());
            let mut server = NewServer::at("h".parse().unwrap(), urls);
            let text = format!(r#"{{"toolsRepository": "{url}"}}"#);
            read(text.as_bytes(), &mut server).map(|()| server.tools.to_string())
        };
        let amazon = "https://tools.s3.eu-west-1.amazonaws.com/t";
        assert_eq!(tools("https://h.example.com", amazon).unwrap(), amazon);
        assert_eq!(tools("s3://acme", "s3://tools").unwrap(), "s3://tools");
        let own = "s3://acme?endpoint=https%3A%2F%2Fs3.acme.com";
        assert!(tools(own, "s3://tools?endpoint=https://s3.acme.com").is_ok());

        for (root, url, words) in [
            ("https://h.example.com", "s3://t?endpoint=https://evil.example.com", "which store"),
            ("s3://acme", "s3://t?endpoint=https://evil.example.com", "which store"),
            (own, "s3://t?endpoint=https://evil.example.com", "which store"),
            ("https://h.example.com", "s3://t?profile=admin", "whose credentials"),
            ("https://h.example.com", "s3://t?endpoint=http://127.0.0.1:9", "on this machine"),
            ("https://h.example.com", "s3://t?endpoint=http://s3.acme.com", "without TLS"),
        ] {
            let error = tools(root, url).unwrap_err();
            let cause = std::error::Error::source(&error).map(ToString::to_string);
            let said = format!("{error} {}", cause.unwrap_or_default());
            assert!(said.contains(words), "{root} {url}: {said}");
        }
    }

    #[test]
    fn an_announcement_cannot_reach_into_this_machine() {
        for text in [
            r#"{"repository": "/etc"}"#,
            r#"{"repository": "file:///etc"}"#,
            r#"{"repository": "http://other.example.com"}"#,
            r#"{"repository": "http://127.0.0.1:8080/dbt"}"#,
            r#"{"truststore": "https://localhost/dbt/truststore"}"#,
            r#"{"repository": "https://${HOME}.example.com"}"#,
            r#"{"issuerUrl": "https://evil/${SECRET}"}"#,
            r#"{"oidcAudience": "https://dbt.acme.com"}"#,
            r#"{"repository": "https://dbt.acme.com/r", "oidcAudience": "https://dbt.acme.com"}"#,
            r#"{"oidcAudience": "https://h.example.com@dbt.acme.com/"}"#,
            r#"{"oidcAudience": "dbt.acme.com"}"#,
            r#"{"oidcAudience": "//dbt.acme.com"}"#,
            r#"{"trust": {"tools": ["nobody"]}}"#,
            r#"{"trust": {"everything": []}}"#,
            "<html>",
        ] {
            assert!(announced(text).is_err(), "{text}");
        }
    }
}
