//! What an identity provider says of itself (OIDC Discovery 1.0, 3 and 4.3).

use serde_json::Value;

use super::get::{GetError, get};
use super::proxy::Proxies;
use super::tls::Tls;
use super::{SafeUrl, UnsafeUrl};
use crate::strict_json;

/// The most of what somebody else wrote that is told to anybody, in characters.
const TOLD: usize = 200;

/// The document of one issuer.
pub struct Discovery {
    document: Value,
    /// Whether it came over TLS: then it leads nowhere else.
    is_secure: bool,
}

impl Discovery {
    /// Asks for the document of an issuer.
    pub async fn ask(
        place: &SafeUrl,
        issuer: &str,
        tls: &Tls,
        proxies: &Proxies,
    ) -> Result<Self, DiscoveryError> {
        let failed = |source| DiscoveryError::Get { url: place.to_string(), source };
        let answer = get(place, tls, proxies).await.map_err(failed)?;
        Self::read(&answer, place, issuer)
    }

    /// Reads a document that came from a place. It must be about this issuer, to the letter.
    pub fn read(document: &[u8], place: &SafeUrl, issuer: &str) -> Result<Self, DiscoveryError> {
        let url = || place.to_string();
        let document = strict_json::parse(document)
            .map_err(|_error| DiscoveryError::NoDocument { url: url() })?;
        let found = Self { document, is_secure: place.is_secure() };
        let said = found.text("issuer");
        if said != issuer {
            let issuer = said.chars().take(TOLD).collect();
            return Err(DiscoveryError::OtherIssuer { url: url(), issuer });
        }
        Ok(found)
    }

    /// Returns a place that it names, such as `jwks_uri`.
    pub fn place(&self, name: &'static str) -> Result<SafeUrl, DiscoveryError> {
        let written = self.text(name);
        let unusable = |why: String| {
            let written = written.chars().take(TOLD).collect();
            DiscoveryError::Place { name, written, why }
        };
        let place: SafeUrl =
            written.parse().map_err(|error: UnsafeUrl| unusable(error.to_string()))?;
        if self.is_secure && !place.is_secure() {
            return Err(unusable("must begin with `https://`, as its provider's".to_owned()));
        }
        Ok(place)
    }

    /// Says whether a list in it has a word.
    pub fn lists(&self, name: &str, word: &str) -> bool {
        let list = self.document.get(name).and_then(Value::as_array);
        list.is_some_and(|list| list.iter().any(|known| known == word))
    }

    fn text(&self, name: &str) -> &str {
        self.document.get(name).and_then(Value::as_str).unwrap_or_default()
    }
}

/// Why it is not known what a provider says of itself.
#[derive(Debug, thiserror::Error)]
pub enum DiscoveryError {
    /// It does not answer.
    #[error("`{url}`: {source}")]
    Get {
        /// What was asked for.
        url: String,
        /// What came instead.
        source: GetError,
    },
    /// The answer says nothing of a provider.
    #[error("`{url}` is not a discovery document")]
    NoDocument {
        /// What was asked for.
        url: String,
    },
    /// The answer is about another provider.
    #[error("`{url}` is about the issuer `{}`, not this one", issuer.escape_debug())]
    OtherIssuer {
        /// What was asked for.
        url: String,
        /// About whom it is.
        issuer: String,
    },
    /// A place that is needed is none, or cannot be believed.
    #[error("its `{name}`, `{}`, {why}", written.escape_debug())]
    Place {
        /// Which.
        name: &'static str,
        /// What stands there.
        written: String,
        /// Why that is none.
        why: String,
    },
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(document: &Value) -> Result<Discovery, DiscoveryError> {
        let place: SafeUrl = "https://id.example.com/discovery".parse().unwrap();
        Discovery::read(document.to_string().as_bytes(), &place, "https://id.example.com")
    }

    fn document() -> Value {
        json!({
            "issuer": "https://id.example.com",
            "token_endpoint": "https://id.example.com/token",
            "token_endpoint_auth_methods_supported": ["client_secret_post"],
        })
    }

    #[test]
    fn a_provider_says_where_it_is_asked() {
        let found = read(&document()).unwrap();
        let token = found.place("token_endpoint").unwrap();
        assert_eq!(token.as_str(), "https://id.example.com/token");
        assert!(found.lists("token_endpoint_auth_methods_supported", "client_secret_post"));
        assert!(!found.lists("token_endpoint_auth_methods_supported", "client_secret_basic"));
        assert!(!found.lists("scopes_supported", "openid"));
    }

    #[test]
    fn what_is_about_another_or_leads_out_of_tls_is_refused() {
        let with = |name: &str, value: Value| {
            let mut document = document();
            document[name] = value;
            read(&document)
                .and_then(|found| found.place("token_endpoint"))
                .err()
                .unwrap()
                .to_string()
        };
        for issuer in [json!("https://evil.example"), json!("https://id.example.com/"), json!(7)] {
            assert!(with("issuer", issuer).contains("is about the issuer"));
        }
        let places = ["http://id.example.com/token", "http://127.0.0.1/token", "file:///x", ""];
        for place in places.into_iter().map(Value::from).chain([json!(7)]) {
            let said = with("token_endpoint", place);
            assert!(said.starts_with("its `token_endpoint`, `"), "{said}");
        }
        let said = read(&json!(["issuer"])).err().unwrap().to_string();
        assert!(said.contains("is about the issuer ``"), "{said}");
    }
}
