//! Tokens that an ssh-agent signed, in the header `Token`.
//!
//! Everything that a token says is checked before anybody's keys are looked up, so that nobody
//! makes the server ask about a name that is none; and the audience is what the configuration
//! says, never the `Host` header, so that a token given to one server is no use at another.

use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use hyper::Uri;
use serde_json::Value;

use super::jwt::Jwt;
use super::keys::Algorithm;
use super::replay::Once;
use super::ssh_keys::KeySource;
use super::verified::Verified;
use super::{
    Attempt, Authenticator, BadCredential, Credential, Identity, Presented, Subject, Verdict,
    Vouching, Why,
};
use crate::authz::REALM;
use crate::content::BoxFuture;

/// The method's name in the configuration, where keys are in a file.
pub const FILE_NAME: &str = "ssh-agent-file";

/// The method's name in the configuration, where a command finds keys.
pub const COMMAND_NAME: &str = "ssh-agent-func";

/// The word before the names it proves.
pub const WORD: &str = "ssh";

/// How long a token may be valid.
const LIFETIME: Duration = Duration::from_mins(5);

/// The longest id of a token.
const ID_LIMIT: usize = 128;

/// The names of this machine to itself, as clients make audiences of URLs: of `[::1]` the
/// reference's make `1`.
const LOOPBACK: [&str; 4] = ["localhost", "127.0.0.1", "::1", "1"];

/// Accepts tokens that are signed with the SSH keys of known users.
pub struct SshTokens {
    keys: KeySource,
    audiences: Audiences,
    verified: Verified,
}

/// For whom a token may be meant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Audiences {
    names: Vec<String>,
}

impl Audiences {
    /// Returns the audiences that clients make of these URLs: the host, with and without `www.`,
    /// and the origin.
    pub fn of_urls(urls: &[String]) -> Result<Self, String> {
        let mut names = Vec::new();
        for url in urls {
            let invalid = || format!("`{}` is no URL of a server", url.escape_debug());
            let uri: Uri = url.parse().map_err(|_error| invalid())?;
            let (Some(scheme @ ("http" | "https")), Some(authority)) =
                (uri.scheme_str(), uri.authority())
            else {
                return Err(invalid());
            };
            if authority.as_str().contains('@') {
                return Err(invalid());
            }
            let host = authority.host().trim_matches(['[', ']']).trim_end_matches('.');
            let host = host.to_ascii_lowercase();
            names.push(format!("{scheme}://{}", authority.as_str().to_ascii_lowercase()));
            names.extend(host.strip_prefix("www.").map(ToOwned::to_owned));
            names.push(host);
        }
        names.sort();
        names.dedup();
        Ok(Self { names })
    }

    /// Says whether nothing was configured.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    fn include(&self, audience: &str, peer: IpAddr) -> bool {
        if self.names.is_empty() {
            return peer.to_canonical().is_loopback() && LOOPBACK.contains(&audience);
        }
        self.names.iter().any(|name| name == audience)
    }
}

impl SshTokens {
    /// Accepts tokens for these audiences.
    pub fn new(keys: KeySource, audiences: Audiences) -> Self {
        Self { keys, audiences, verified: Verified::new() }
    }

    async fn judge(&self, token: &str, attempt: &Attempt<'_>) -> Result<Identity, BadCredential> {
        let jwt = Jwt::parse(token, &Algorithm::OF_SSH)?;
        let presented = attempt.presented;
        let subject = subject(&jwt)?;
        self.is_for_us(&jwt, presented.peer)?;
        let (issued, expires) = jwt.valid_at(attempt.now, LIFETIME)?;
        let id = jwt
            .text("jti")
            .filter(|id| id.len() <= ID_LIMIT)
            .ok_or_else(|| malformed("the token has no id (`jti`) by which to know it again"))?;
        self.is_for_this_request(&jwt, presented)?;

        let keys = self.keys.of_user(subject, presented.peer, attempt.now).await?;
        if keys.is_empty() {
            return Err(BadCredential::default().noting(format!("`{subject}` has no keys")));
        }
        if !keys.iter().any(|key| self.verified.is_signed_by(&jwt, key)) {
            let noted = format!("no key of `{subject}` made the signature");
            return Err(BadCredential::default().noting(noted));
        }
        let once = Once::new(subject, id, issued, expires + super::jwt::CLOCK_SKEW);
        Ok(Identity { once: Some(once), ..Identity::of(Subject::local(WORD, subject)) })
    }

    /// Checks the audience: a list of texts, one of which is us.
    fn is_for_us(&self, jwt: &Jwt<'_>, peer: IpAddr) -> Result<(), BadCredential> {
        let none = || malformed("the token's audience (`aud`) must be a list of texts");
        let list = jwt.claims().get("aud").and_then(Value::as_array).ok_or_else(none)?;
        let names: Option<Vec<&str>> = list.iter().map(Value::as_str).collect();
        let names = names.ok_or_else(none)?;
        if names.iter().any(|name| self.audiences.include(name, peer)) {
            return Ok(());
        }
        Err(elsewhere("the token is for another server (its `aud`)"))
    }

    /// Checks the method and URL that a token is bound to, if it is.
    fn is_for_this_request(
        &self,
        jwt: &Jwt<'_>,
        presented: &Presented<'_>,
    ) -> Result<(), BadCredential> {
        let claim = |name| jwt.claims().get(name).map(|value| value.as_str().unwrap_or_default());
        if claim("htm").is_some_and(|method| method != presented.method.as_str()) {
            return Err(elsewhere("the token is for another method (its `htm`)"));
        }
        let Some(url) = claim("htu") else { return Ok(()) };
        let matches = url.parse::<Uri>().is_ok_and(|uri| {
            let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
            let host = host.trim_end_matches('.').to_ascii_lowercase();
            uri.path() == presented.uri.path() && self.audiences.include(&host, presented.peer)
        });
        if matches { Ok(()) } else { Err(elsewhere("the token is for another URL (its `htu`)")) }
    }
}

fn malformed(told: &'static str) -> BadCredential {
    BadCredential::new(told).because(Why::Malformed)
}

fn elsewhere(told: &'static str) -> BadCredential {
    BadCredential::new(told).because(Why::Elsewhere)
}

/// Returns whose token it is: the same name twice, and one that can be one.
fn subject<'a>(jwt: &'a Jwt<'_>) -> Result<&'a str, BadCredential> {
    let subject = jwt.text("sub").filter(|name| is_user_name(name));
    let subject = subject.ok_or_else(|| malformed("the token names no user (its `sub`)"))?;
    if jwt.text("iss") != Some(subject) {
        return Err(malformed("the token's `iss` is not its `sub`"));
    }
    Ok(subject)
}

/// Says whether a text can be a user's name. It may become an argument of a command, so it begins
/// with a letter or a digit.
pub fn is_user_name(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._@-".contains(&byte);
    (1..=64).contains(&text.len())
        && text.bytes().all(plain)
        && text.starts_with(|first: char| first.is_ascii_alphanumeric())
}

impl Authenticator for SshTokens {
    fn identify<'a>(&'a self, attempt: &'a Attempt<'a>) -> BoxFuture<'a, Verdict> {
        Box::pin(async move {
            match attempt.credential {
                Credential::SshToken(token) => self.judge(token.expose(), attempt).await.into(),
                Credential::Bearer(_) | Credential::Basic { .. } => Verdict::NotMine,
            }
        })
    }

    fn could_prove(&self, subject: &Subject) -> bool {
        subject.method == WORD
    }

    fn vouches_for<'a>(
        &'a self,
        subject: &'a Subject,
        peer: IpAddr,
        now: SystemTime,
    ) -> BoxFuture<'a, Result<Vouching, BadCredential>> {
        Box::pin(async move {
            if subject.method != WORD {
                return Ok(Vouching::No);
            }
            let keys = self.keys.of_user(&subject.id, peer, now).await?;
            Ok(Vouching::of(!keys.is_empty()))
        })
    }

    /// Names the audience for people to read; a client must not take it from here.
    fn challenge(&self) -> String {
        let hosts = self.audiences.names.iter().filter(|name| !name.contains("://"));
        let hosts: Vec<&str> = hosts.map(String::as_str).collect();
        format!("DBT-SSH-JWT realm=\"{REALM}\", aud=\"{}\"", hosts.join(" "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{Ipv4Addr, Ipv6Addr};

    const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
    const OUTSIDE: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));

    #[test]
    fn audiences_are_what_clients_make_of_the_configured_urls_and_nothing_else() {
        let urls =
            ["https://www.DBT.example.com:8443/dbt", "http://[2001:db8::1]/", "https://b.test."];
        let ours = Audiences::of_urls(&urls.map(str::to_owned)).unwrap();
        for audience in [
            "dbt.example.com",
            "www.dbt.example.com",
            "https://www.dbt.example.com:8443",
            "2001:db8::1",
            "b.test",
        ] {
            assert!(ours.include(audience, OUTSIDE), "{audience}");
        }
        for audience in [
            "localhost",
            "127.0.0.1",
            "example.com",
            "x.dbt.example.com",
            "DBT.example.com",
            "https://www.dbt.example.com",
            "http://www.dbt.example.com:8443",
            "0.0.0.0",
            "",
        ] {
            // Where something is configured, this machine is no exception.
            assert!(!ours.include(audience, HERE), "{audience}");
        }
        for url in ["dbt.example.com", "ftp://x", "https://user@x", "https://", ""] {
            assert!(Audiences::of_urls(&[url.to_owned()]).is_err(), "{url}");
        }
    }

    #[test]
    fn without_any_only_this_machine_is_meant_and_only_when_it_asks() {
        let none = Audiences::default();
        let mapped = IpAddr::V6(Ipv4Addr::LOCALHOST.to_ipv6_mapped());
        for peer in [HERE, IpAddr::V6(Ipv6Addr::LOCALHOST), mapped] {
            for audience in LOOPBACK {
                assert!(none.include(audience, peer), "{audience} {peer}");
            }
            assert!(!none.include("0.0.0.0", peer) && !none.include("dbt.example.com", peer));
        }
        assert!(LOOPBACK.iter().all(|audience| !none.include(audience, OUTSIDE)));
    }
}
