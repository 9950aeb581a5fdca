//! What a server says about itself, for who adds it to a configuration: the document that
//! `reposerver` answers with, `publisher` writes for hosts that serve files alone, and clients read.
//!
//! It is open to everybody, also where reading needs a credential: whoever is to sign in has none
//! yet. So nothing secret is in it, and nothing in it is believed by itself.
//!
//! Clients know a further key, `trust`, which is never written here. A client that is given no
//! `trust` pins the keys that the truststore has at that moment, after a person has compared them;
//! a second copy of them would be one more place to bring up to date with every new key, and would
//! be served by the very host that it is to vouch for.

use serde_json::{Map, Value};

use crate::brand;
use crate::layout::TRUSTSTORE_FILE;

/// Where it is, below the root of a server (RFC 8615).
pub const PATH: &str = "/.well-known/dbt.json";

/// The key that says how one signs in.
pub const AUTH_TYPE: &str = "authType";

/// What [`AUTH_TYPE`] says of an identity provider. There is no other way that could be announced: for
/// the rest a client needs something of its own, a name or a key.
pub const OIDC: &str = "oidc";

/// The key of the identity provider's URL.
pub const ISSUER: &str = "issuerUrl";

/// The key that says for whom tokens have to be.
pub const AUDIENCE: &str = "oidcAudience";

/// The keys about signing in. No key that runs a command or holds a secret is among them.
pub const SIGN_IN: [&str; 5] = [AUTH_TYPE, ISSUER, AUDIENCE, "oidcClientId", "connectorId"];

/// Returns where the parts of a server are that is reached under a URL, by the keys of its entry in
/// a configuration. A slash at the end of the URL does not count.
pub fn places(root: &str) -> Map<String, Value> {
    let root = root.trim_end_matches('/');
    let repository = format!("{root}/{}", brand::REPOSITORY_PATH);
    let truststore = format!("{repository}/{TRUSTSTORE_FILE}");
    [
        ("repository", repository),
        ("toolsRepository", format!("{root}/{}", brand::TOOLS_PATH)),
        ("truststore", truststore),
    ]
    .into_iter()
    .map(|(key, value)| (key.to_owned(), value.into()))
    .collect()
}

/// Returns the document as it is served: readable for people, with a line break at the end.
pub fn text(document: &Map<String, Value>) -> String {
    let members: Vec<String> = document
        .iter()
        .map(|(key, value)| format!("  {}: {value}", Value::from(key.as_str())))
        .collect();
    format!("{{\n{}\n}}\n", members.join(",\n"))
}

/// Says whether an audience may be that of the server at a host: the host, a URL there, or a word that
/// is no host's. Clients refuse a server that announces tokens for another one.
pub fn is_own_audience(audience: &str, host: Option<&str>) -> bool {
    let named = match audience.split_once("://") {
        Some((_scheme, rest)) => rest.split(['/', '?', '#']).next().unwrap_or_default(),
        None if audience.contains(['.', ':', '/', '@']) => audience,
        None => return true,
    };
    let without_port = named.rsplit_once(':').map_or(named, |(before, port)| {
        if port.bytes().all(|byte| byte.is_ascii_digit()) { before } else { named }
    });
    host.is_some_and(|host| without_port.eq_ignore_ascii_case(host))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_says_where_its_parts_are() {
        for root in ["https://dbt.example.com/x", "https://dbt.example.com/x/"] {
            assert_eq!(
                text(&places(root)),
                "{\n  \"repository\": \"https://dbt.example.com/x/dbt\",\n  \
                 \"toolsRepository\": \"https://dbt.example.com/x/dbt-tools\",\n  \
                 \"truststore\": \"https://dbt.example.com/x/dbt/truststore\"\n}\n"
            );
        }
    }

    #[test]
    fn what_means_something_in_json_is_escaped() {
        let document = places("https://h/\"x\\");
        assert_eq!(
            serde_json::from_str::<Value>(&text(&document)).unwrap(),
            Value::Object(document)
        );
    }

    #[test]
    fn an_audience_is_the_servers_own_or_no_hosts() {
        let host = Some("h.example.com");
        for own in ["https://h.example.com", "https://H.example.com:8443/x", "h.example.com", "dbt"]
        {
            assert!(is_own_audience(own, host), "{own}");
        }
        for foreign in ["https://dbt.acme.com", "api://dbt", "https://h.example.com@dbt.acme.com/"]
        {
            assert!(!is_own_audience(foreign, host), "{foreign}");
        }
    }
}
