//! Tokens that are written in the configuration.

use std::net::IpAddr;
use std::time::SystemTime;

use dbt_core::secret::Secret;
use sha2::{Digest as _, Sha256};
use subtle::{Choice, ConditionallySelectable as _, ConstantTimeEq as _};

use super::{Attempt, Authenticator, BadCredential, Identity, Subject, Verdict, Vouching};
use crate::authz::REALM;
use crate::content::BoxFuture;

/// The method's name in the configuration, and the name of the reference's one token.
pub const NAME: &str = "static-token";

/// A token that is written in the configuration: its name, and the digest of its text.
///
/// The digest, not the text: all comparisons take the same time whatever the length, and the
/// token does not stay in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedToken {
    /// The name by which rules and the record know it.
    pub name: String,
    /// The SHA-256 of the token.
    pub digest: [u8; 32],
}

impl NamedToken {
    /// Takes the token that has no name of its own.
    pub fn unnamed(token: &Secret<String>) -> Self {
        Self::new(NAME, token)
    }

    /// Takes a token with a name.
    pub fn new(name: &str, token: &Secret<String>) -> Self {
        Self { name: name.to_owned(), digest: Sha256::digest(token.expose()).into() }
    }
}

/// Accepts tokens, as `Bearer`, or as `Basic` password with any user name for publishers that
/// know nothing else.
pub struct StaticTokens {
    tokens: Vec<NamedToken>,
}

impl StaticTokens {
    /// Accepts these tokens.
    pub const fn new(tokens: Vec<NamedToken>) -> Self {
        Self { tokens }
    }

    /// Compares with every token, whichever it is, so that the time tells nothing.
    fn accepted(&self, offered: &Secret<String>) -> Option<&NamedToken> {
        let offered: [u8; 32] = Sha256::digest(offered.expose()).into();
        let found = position(self.tokens.iter().map(|token| &token.digest), &offered);
        self.tokens.get(usize::try_from(found).ok()?)
    }
}

/// Returns which digest is this one, or a number that none has. It looks at every one of them.
fn position<'a>(digests: impl Iterator<Item = &'a [u8; 32]>, offered: &[u8; 32]) -> u64 {
    let mut found = u64::MAX;
    for (index, digest) in (0_u64..).zip(digests) {
        let equal: Choice = digest.ct_eq(offered);
        found.conditional_assign(&index, equal);
    }
    found
}

impl Authenticator for StaticTokens {
    fn identify<'a>(&'a self, attempt: &'a Attempt<'a>) -> BoxFuture<'a, Verdict> {
        let verdict = match attempt.credential.token() {
            None => Verdict::NotMine,
            Some(offered) => match self.accepted(offered) {
                Some(token) => Ok(Identity::of(Subject::local(NAME, &token.name))).into(),
                None => Verdict::refused("it is none of the static tokens"),
            },
        };
        Box::pin(std::future::ready(verdict))
    }

    fn could_prove(&self, subject: &Subject) -> bool {
        subject.method == NAME
    }

    fn vouches_for<'a>(
        &'a self,
        subject: &'a Subject,
        _peer: IpAddr,
        _now: SystemTime,
    ) -> BoxFuture<'a, Result<Vouching, BadCredential>> {
        let is_here =
            subject.method == NAME && self.tokens.iter().any(|token| token.name == subject.id);
        // Readers' and writers' tokens without a name are not the same one.
        let vouching = match (is_here, subject.id == NAME) {
            (false, _) => Vouching::No,
            (true, false) => Vouching::Yes,
            (true, true) => Vouching::AsProven,
        };
        Box::pin(std::future::ready(Ok(vouching)))
    }

    fn is_of_settings(&self) -> bool {
        true
    }

    fn challenge(&self) -> String {
        format!("Bearer realm=\"{REALM}\"")
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;
    use crate::authn::{AnyOf, Presented, Scope};
    use dbt_core::clock::Clock;
    use hyper::header::AUTHORIZATION;
    use hyper::{HeaderMap, Method, Uri};

    fn tokens(named: &[(&str, &str)]) -> StaticTokens {
        let token = |(name, text): &(&str, &str)| NamedToken::new(name, &secret(text));
        StaticTokens::new(named.iter().map(token).collect())
    }

    fn secret(text: &str) -> Secret<String> {
        Secret::new(text.to_owned())
    }

    async fn proved(line: &str) -> Option<(String, bool, bool)> {
        let mut methods = AnyOf::new(Clock::System);
        methods.add(
            &[Scope::Reads],
            Box::new(tokens(&[("r", "read"), ("b", "both"), ("old", "rotated")])),
        );
        methods.add(&[Scope::Writes], Box::new(tokens(&[("w", "write"), ("b", "both")])));
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, line.parse().unwrap());
        let presented = Presented {
            headers: &headers,
            method: &Method::GET,
            uri: &Uri::from_static("/"),
            peer: IpAddr::V4(Ipv4Addr::LOCALHOST),
            scope: Scope::Reads,
            client: None,
        };
        let caller = methods.identify(&presented).await.ok()?;
        let subject = caller.subject().map_or_else(|| "nobody".to_owned(), ToString::to_string);
        let proven = |scope| caller.is_proven_for(scope);
        Some((subject, proven(Scope::Reads), proven(Scope::Writes)))
    }

    /// What is compared are digests, all of one length, and every one of them each time: neither
    /// the length of what is offered, nor how much of it is right, nor which token it is, changes
    /// what is done.
    #[test]
    fn every_token_is_compared_with_whichever_is_offered() {
        let tokens = tokens(&[("a", "first"), ("b", "second"), ("c", "third")]).tokens;
        let digest = |text: &str| NamedToken::new("x", &secret(text)).digest;
        for (offered, expected) in [
            ("first", 0),
            ("second", 1),
            ("third", 2),
            ("", u64::MAX),
            ("firs", u64::MAX),
            ("first ", u64::MAX),
            (&*"x".repeat(10_000), u64::MAX),
        ] {
            let mut looked_at = 0;
            let digests = tokens.iter().map(|token| &token.digest).inspect(|_| looked_at += 1);
            assert_eq!(position(digests, &digest(offered)), expected, "{offered}");
            assert_eq!(looked_at, tokens.len(), "{offered}");
        }
        assert!(!format!("{tokens:?}").contains("first"), "the text is not kept");
    }

    #[tokio::test]
    async fn a_token_counts_only_for_what_it_is_configured_for() {
        let expect =
            |name: &str, reads, writes| Some((format!("static-token:{name}"), reads, writes));
        assert_eq!(proved("Bearer read").await, expect("r", true, false));
        assert_eq!(proved("Bearer rotated").await, expect("old", true, false));
        assert_eq!(proved("Bearer write").await, expect("w", false, true));
        assert_eq!(proved("Bearer both").await, expect("b", true, true));
        // `any:write` and `:write`.
        assert_eq!(proved("Basic YW55OndyaXRl").await, expect("w", false, true));
        assert_eq!(proved("Basic OndyaXRl").await, expect("w", false, true));
    }

    #[tokio::test]
    async fn a_wrong_token_is_refused_not_anonymous() {
        for line in ["Bearer writ", "Bearer write2", "Bearer WRITE", "Basic d3JpdGU6"] {
            assert_eq!(proved(line).await, None, "{line}");
        }
        assert_eq!(proved("Bearer ").await, Some(("nobody".to_owned(), false, false)));
    }
}
