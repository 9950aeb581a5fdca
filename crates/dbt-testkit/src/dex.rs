//! What stands in for a Dex with the connector `ssh`: it verifies what SSH keys have signed (wire
//! formats, 2.4) and exchanges that for ID tokens (2.5), as the fork of Dex does, to the letter where
//! that is stranger than one would make it.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use dbt_core::clock::Clock;
use ring::signature::{self, UnparsedPublicKey};
use serde_json::{Value, json};

use crate::http::Answer;
use crate::p521;
use crate::ssh_agent::{fields, without_zeros};
use crate::token_endpoint::{Asked, TokenEndpoint, of_json, refusal};

/// The connector's name.
pub const CONNECTOR: &str = "ssh";

/// Who makes the tokens that it takes.
const ALLOWED_ISSUER: &str = "kubectl-ssh-oidc";

const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";
const ID_TOKEN: &str = "urn:ietf:params:oauth:token-type:id_token";

/// How long its tokens are good, in seconds.
const LIFETIME: u64 = 86_400;

/// Somebody whom it knows by keys.
#[derive(Debug, Clone)]
pub struct User {
    /// Who.
    pub name: String,
    /// The lines of their public keys.
    pub keys: Vec<String>,
    /// Where they are in.
    pub groups: Vec<String>,
}

/// The connector's configuration.
#[derive(Debug, Clone)]
pub struct Connector {
    /// `dex_instance_id`: the `aud` of what is signed.
    pub instance: String,
    /// `allowed_target_audiences`.
    pub target_audiences: Vec<String>,
    /// `users`.
    pub users: Vec<User>,
}

impl Connector {
    /// Returns whose a signed token is: of whoever's key it is that signed it, whatever it says.
    pub fn identify(&self, token: &str, now: u64) -> Option<&User> {
        let (signed, signature) = token.rsplit_once('.')?;
        let (header, claims) = signed.split_once('.')?;
        let decoded = |part: &str| URL_SAFE_NO_PAD.decode(part).ok();
        let json = |part: &str| serde_json::from_slice::<Value>(&decoded(part)?).ok();
        let (header, claims) = (json(header)?, json(claims)?);
        // Twice: the bytes that JWS carries are base64 themselves, of the other alphabet.
        let signature = STANDARD.decode(decoded(signature)?).ok()?;
        if header["alg"] != "SSH" || claims["sub"].as_str().is_none_or(str::is_empty) {
            return None;
        }
        let signed_it = |user: &&User| {
            user.keys.iter().any(|line| is_signed_by(line, signed.as_bytes(), &signature))
        };
        let user = self.users.iter().find(signed_it)?;
        let is_allowed = claims["aud"] == self.instance.as_str()
            && claims["iss"] == ALLOWED_ISSUER
            && self.target_audiences.iter().any(|it| claims["target_audience"] == it.as_str())
            && claims["exp"].as_u64().is_some_and(|end| end > now)
            && claims["nbf"].as_u64().is_none_or(|begin| begin <= now);
        is_allowed.then_some(user)
    }
}

/// Says whether the key of a line has made a signature in the form of SSH, with the one algorithm
/// that has the key's own name: SHA-1 for RSA.
fn is_signed_by(line: &str, signed: &[u8], signature: &[u8]) -> bool {
    let Some(blob) = line.split(' ').nth(1).and_then(|key| STANDARD.decode(key).ok()) else {
        return false;
    };
    let parts = fields(&blob);
    let point = parts[parts.len() - 1];
    let verified = match parts[0] {
        b"ssh-ed25519" => {
            UnparsedPublicKey::new(&signature::ED25519, point).verify(signed, signature)
        }
        b"ssh-rsa" => {
            let key = signature::RsaPublicKeyComponents {
                n: without_zeros(parts[2]),
                e: without_zeros(parts[1]),
            };
            let sha1 = &signature::RSA_PKCS1_2048_8192_SHA1_FOR_LEGACY_USE_ONLY;
            key.verify(sha1, signed, signature)
        }
        b"ecdsa-sha2-nistp256" => {
            let sha256 = &signature::ECDSA_P256_SHA256_FIXED;
            UnparsedPublicKey::new(sha256, point).verify(signed, &of_one_length(signature, 32))
        }
        b"ecdsa-sha2-nistp384" => {
            let sha384 = &signature::ECDSA_P384_SHA384_FIXED;
            UnparsedPublicKey::new(sha384, point).verify(signed, &of_one_length(signature, 48))
        }
        b"ecdsa-sha2-nistp521" => return p521::is_signed_by(line, signed, signature),
        _ => return false,
    };
    verified.is_ok()
}

/// Turns two numbers with their lengths before them into two of the same length; into something that
/// no key has signed where they are none.
fn of_one_length(signature: &[u8], length: usize) -> Vec<u8> {
    let is_framed = signature.first() == Some(&0);
    let numbers = if is_framed { fields(signature) } else { Vec::new() };
    let padded = numbers.iter().flat_map(|number| {
        let number = without_zeros(number);
        let zeros = length.saturating_sub(number.len());
        std::iter::repeat_n(0, zeros).chain(number.iter().copied())
    });
    padded.collect()
}

/// A running one. It knows users by their keys, and gives tokens for any audience that is asked for.
#[derive(Debug, Clone)]
pub struct Dex {
    endpoint: TokenEndpoint,
}

impl Dex {
    /// Starts one for these users, who sign for these audiences.
    pub fn start(users: Vec<User>, target_audiences: &[&str]) -> Self {
        let endpoint = TokenEndpoint::start();
        endpoint.give_for(LIFETIME);
        let connector = Connector {
            instance: endpoint.url(),
            target_audiences: target_audiences.iter().map(|it| (*it).to_owned()).collect(),
            users,
        };
        let signs = endpoint.clone();
        endpoint.exchange_by(move |asked, client| exchange(&connector, &signs, asked, client));
        Self { endpoint }
    }

    /// Returns `http://127.0.0.1:PORT`, which is its issuer, too.
    pub fn url(&self) -> String {
        self.endpoint.url()
    }

    /// Returns what it was asked since this was last called.
    pub fn take_asked(&self) -> Vec<Asked> {
        self.endpoint.take_asked()
    }
}

/// Answers as the token endpoint does, with its errors in its order.
fn exchange(connector: &Connector, signs: &TokenEndpoint, asked: &Asked, client: &str) -> Answer {
    let field = |name: &str| asked.field(name).unwrap_or_default();
    let is_known = |kind: &str| [ACCESS_TOKEN, ID_TOKEN].contains(&kind);
    let asks_for_something = !field("requested_token_type").is_empty();
    if !is_known(&field("subject_token_type"))
        || (asks_for_something && !is_known(&field("requested_token_type")))
    {
        return refusal(400, "request_not_supported", "");
    }
    if field("subject_token").is_empty() {
        return refusal(400, "invalid_request", "Missing subject_token");
    }
    if field("connector_id") != CONNECTOR {
        return refusal(400, "invalid_request", "Requested connector does not exist.");
    }
    let Some(user) = connector.identify(&field("subject_token"), now()) else {
        return refusal(401, "access_denied", "");
    };
    let scopes = field("scope");
    let has = |scope: &str| scopes.split(' ').any(|it| it == scope);
    let audience = asked.field("audience").unwrap_or_else(|| client.to_owned());
    let mut claims = json!({"sub": subject(&user.name), "aud": audience});
    if has("email") {
        claims["email"] = format!("{}@example.com", user.name).into();
        claims["email_verified"] = true.into();
    }
    if has("groups") {
        claims["groups"] = json!(user.groups);
    }
    if has("profile") {
        claims["name"] = user.name.as_str().into();
    }
    of_json(
        200,
        &json!({
            "access_token": signs.sign(claims), "issued_token_type": ID_TOKEN,
            "token_type": "bearer", "expires_in": LIFETIME - 1,
        }),
    )
}

/// Returns the subject as it writes it: a protocol buffer of the user and the connector.
fn subject(user: &str) -> String {
    let field = |tag: u8, text: &str| {
        let length = u8::try_from(text.len()).unwrap();
        [&[tag << 3 | 2, length], text.as_bytes()].concat()
    };
    URL_SAFE_NO_PAD.encode([field(1, user), field(2, CONNECTOR)].concat())
}

fn now() -> u64 {
    let now = Clock::System.now().duration_since(std::time::UNIX_EPOCH);
    now.unwrap_or_default().as_secs()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made without this code, and shown to the fork.
    const VECTORS: &str = include_str!("../../dbt-server/tests/it/vectors/ssh-jwt.json");

    #[test]
    fn it_accepts_and_refuses_what_the_fork_does() {
        let vectors: Value = serde_json::from_str(VECTORS).unwrap();
        let user = |name: &str, key: &str| User {
            name: name.to_owned(),
            keys: vec![vectors["keys"][key].as_str().unwrap().to_owned()],
            groups: Vec::new(),
        };
        let connector = Connector {
            instance: "https://dex.example.com".to_owned(),
            target_audiences: vec!["dbt-server".to_owned()],
            users: vec![user("alice", "ed25519"), user("bob", "rsa"), user("carol", "ecdsa-p256")],
        };
        let cases = vectors["dex_ssh_jwt"].as_array().unwrap();
        assert_eq!(cases.len(), 11);
        for case in cases {
            let found = connector.identify(case["jwt"].as_str().unwrap(), 1_800_000_000);
            let expected = case["expect_connector"].as_str().unwrap();
            let accepted = expected.strip_prefix("accept as ");
            let expected = accepted.map(|rest| rest.split(' ').next().unwrap());
            assert_eq!(found.map(|user| user.name.as_str()), expected, "{}", case["name"]);
        }
    }

    #[test]
    fn its_subjects_are_those_of_the_fork() {
        assert_eq!(subject("alice"), "CgVhbGljZRIDc3No");
    }
}
