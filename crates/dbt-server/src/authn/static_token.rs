//! A token that is written in the configuration.

use dbt_core::secret::Secret;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use super::{Authenticator, Credential, Subject};
use crate::content::BoxFuture;

/// The method's name in the configuration, and its subject's name in logs.
pub const NAME: &str = "static-token";

/// Accepts one token, as `Bearer`, or as `Basic` password with any user name for publishers that
/// know nothing else.
pub struct StaticToken {
    // The digest, not the token: all comparisons take the same time whatever the length, and the
    // token does not stay in memory.
    digest: [u8; 32],
}

impl StaticToken {
    /// Accepts this token.
    pub fn new(token: &Secret<String>) -> Self {
        Self { digest: Sha256::digest(token.expose()).into() }
    }

    fn accepts(&self, offered: &Secret<String>) -> bool {
        let offered: [u8; 32] = Sha256::digest(offered.expose()).into();
        self.digest.ct_eq(&offered).into()
    }
}

impl Authenticator for StaticToken {
    fn identify<'a>(&'a self, credential: &'a Credential) -> BoxFuture<'a, Option<Subject>> {
        let offered = match credential {
            Credential::Bearer(token) => token,
            Credential::Basic { user: _, password } => password,
        };
        let subject = Subject { method: NAME, id: NAME.to_owned() };
        Box::pin(std::future::ready(self.accepts(offered).then_some(subject)))
    }

    fn challenge(&self) -> &'static str {
        "Bearer"
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authn::{AnyOf, Scope};
    use hyper::HeaderMap;
    use hyper::header::AUTHORIZATION;

    fn secret(text: &str) -> Secret<String> {
        Secret::new(text.to_owned())
    }

    async fn scopes(line: &str) -> Option<(bool, bool)> {
        let mut methods = AnyOf::default();
        methods.add(Scope::Reads, Box::new(StaticToken::new(&secret("read"))));
        methods.add(Scope::Writes, Box::new(StaticToken::new(&secret("write"))));
        methods.add(Scope::Reads, Box::new(StaticToken::new(&secret("both"))));
        methods.add(Scope::Writes, Box::new(StaticToken::new(&secret("both"))));
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, line.parse().unwrap());
        let caller = methods.identify(&headers).await.ok()?;
        Some((caller.is_proven_for(Scope::Reads), caller.is_proven_for(Scope::Writes)))
    }

    #[tokio::test]
    async fn a_token_counts_only_for_what_it_is_configured_for() {
        assert_eq!(scopes("Bearer read").await, Some((true, false)));
        assert_eq!(scopes("Bearer write").await, Some((false, true)));
        assert_eq!(scopes("Bearer both").await, Some((true, true)));
        // `any:write` and `:write`.
        assert_eq!(scopes("Basic YW55OndyaXRl").await, Some((false, true)));
        assert_eq!(scopes("Basic OndyaXRl").await, Some((false, true)));
    }

    #[tokio::test]
    async fn a_wrong_token_is_refused_not_anonymous() {
        for line in ["Bearer writ", "Bearer write2", "Bearer WRITE", "Basic d3JpdGU6"] {
            assert_eq!(scopes(line).await, None, "{line}");
        }
        assert_eq!(scopes("Bearer ").await, Some((false, false)));
    }
}
