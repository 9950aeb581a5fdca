//! An identity provider: keys made on the spot, tokens with any claims, and the two documents that
//! say where the keys are and what they are, honest or not.

use std::collections::HashMap;
use std::io::{BufReader, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::rand::SystemRandom;
use ring::rsa::PublicKeyComponents;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair,
    KeyPair as _, RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RSA_PKCS1_SHA512, RSA_PSS_SHA256,
    RSA_PSS_SHA384, RSA_PSS_SHA512, RsaKeyPair,
};
use serde_json::{Value, json};

use crate::http::{Answer, Request};
use crate::tls::listen;

/// Where a provider says what it is.
pub const DISCOVERY: &str = "/.well-known/openid-configuration";

/// Where the provider's keys are.
pub const KEYS: &str = "/keys";

/// A key that signs tokens.
#[derive(Debug)]
pub struct SigningKey {
    id: String,
    pair: Pair,
}

#[derive(Debug)]
enum Pair {
    Rsa(Box<RsaKeyPair>),
    Ec { curve: &'static str, pair: Box<EcdsaKeyPair> },
    Ed25519(Box<Ed25519KeyPair>),
}

impl SigningKey {
    /// Makes an RSA key of 2048 bits.
    pub fn rsa(id: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("key");
        let made = Command::new("ssh-keygen")
            .args(["-q", "-t", "rsa", "-b", "2048", "-m", "PKCS8", "-N", "", "-f"])
            .arg(&file)
            .stdin(Stdio::null())
            .status()
            .expect("ssh-keygen can be run");
        assert!(made.success());
        let text = std::fs::read_to_string(&file).unwrap();
        let lines = text.lines().filter(|line| !line.starts_with("-----"));
        let bytes = STANDARD.decode(lines.collect::<String>()).unwrap();
        let pair = RsaKeyPair::from_pkcs8(&bytes).unwrap();
        Self { id: id.to_owned(), pair: Pair::Rsa(Box::new(pair)) }
    }

    /// Makes a key on P-256.
    pub fn p256(id: &str) -> Self {
        let random = SystemRandom::new();
        let bytes =
            EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
        let pair =
            EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, bytes.as_ref(), &random);
        Self { id: id.to_owned(), pair: Pair::Ec { curve: "P-256", pair: Box::new(pair.unwrap()) } }
    }

    /// Makes a key on P-384.
    pub fn p384(id: &str) -> Self {
        let random = SystemRandom::new();
        let bytes =
            EcdsaKeyPair::generate_pkcs8(&ECDSA_P384_SHA384_FIXED_SIGNING, &random).unwrap();
        let pair =
            EcdsaKeyPair::from_pkcs8(&ECDSA_P384_SHA384_FIXED_SIGNING, bytes.as_ref(), &random);
        Self { id: id.to_owned(), pair: Pair::Ec { curve: "P-384", pair: Box::new(pair.unwrap()) } }
    }

    /// Makes an Ed25519 key.
    pub fn ed25519(id: &str) -> Self {
        let bytes = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
        let pair = Ed25519KeyPair::from_pkcs8(bytes.as_ref()).unwrap();
        Self { id: id.to_owned(), pair: Pair::Ed25519(Box::new(pair)) }
    }

    /// Returns the public key as providers publish it.
    pub fn public(&self) -> Value {
        let text = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let mut key = match &self.pair {
            Pair::Rsa(pair) => {
                let PublicKeyComponents { n, e } =
                    PublicKeyComponents::<Vec<u8>>::from(pair.public());
                json!({"kty": "RSA", "n": text(&n), "e": text(&e)})
            }
            Pair::Ec { curve, pair } => {
                let point = &pair.public_key().as_ref()[1..];
                let (x, y) = point.split_at(point.len() / 2);
                json!({"kty": "EC", "crv": curve, "x": text(x), "y": text(y)})
            }
            Pair::Ed25519(pair) => {
                json!({"kty": "OKP", "crv": "Ed25519", "x": text(pair.public_key().as_ref())})
            }
        };
        key["kid"] = self.id.as_str().into();
        key["use"] = "sig".into();
        key
    }

    /// Returns the algorithm that this key is mostly used with.
    pub fn algorithm(&self) -> &'static str {
        match &self.pair {
            Pair::Rsa(_) => "RS256",
            Pair::Ec { curve: "P-256", .. } => "ES256",
            Pair::Ec { .. } => "ES384",
            Pair::Ed25519(_) => "EdDSA",
        }
    }

    /// Returns a token with these claims.
    pub fn token(&self, claims: &Value) -> String {
        let header = json!({"alg": self.algorithm(), "kid": self.id, "typ": "JWT"});
        self.token_with(&header, claims)
    }

    /// Returns a token with this header. What the header says of the algorithm is obeyed where the
    /// key can.
    pub fn token_with(&self, header: &Value, claims: &Value) -> String {
        self.token_of_texts(&header.to_string(), &claims.to_string())
    }

    /// Returns a token of texts that may be no JSON.
    pub fn token_of_texts(&self, header: &str, claims: &str) -> String {
        let signed =
            format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
        let parsed: Value = serde_json::from_str(header).unwrap_or_default();
        let signature = self.sign(parsed["alg"].as_str().unwrap_or_default(), signed.as_bytes());
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    fn sign(&self, algorithm: &str, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match &self.pair {
            Pair::Rsa(pair) => {
                let mut signature = vec![0; pair.public().modulus_len()];
                let padding: &dyn ring::signature::RsaEncoding = match algorithm {
                    "RS384" => &RSA_PKCS1_SHA384,
                    "RS512" => &RSA_PKCS1_SHA512,
                    "PS256" => &RSA_PSS_SHA256,
                    "PS384" => &RSA_PSS_SHA384,
                    "PS512" => &RSA_PSS_SHA512,
                    _ => &RSA_PKCS1_SHA256,
                };
                pair.sign(padding, &random, message, &mut signature).unwrap();
                signature
            }
            Pair::Ec { pair, .. } => pair.sign(&random, message).unwrap().as_ref().to_vec(),
            Pair::Ed25519(pair) => pair.sign(message).as_ref().to_vec(),
        }
    }
}

/// A running identity provider.
#[derive(Debug)]
pub struct IdentityProvider {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    answers: HashMap<String, Answer>,
    requests: Vec<String>,
    away: bool,
    silent: bool,
    breaks_off: bool,
}

impl IdentityProvider {
    /// Starts one with these keys, which says that it is its own URL.
    pub fn start(keys: &[&SigningKey]) -> Self {
        let state = Arc::new(Mutex::new(State::default()));
        let shared = Arc::clone(&state);
        let address = listen(Ipv4Addr::LOCALHOST.into(), move |stream| converse(stream, &shared));
        let provider = Self { address, state };
        provider.call_itself(&provider.url());
        provider.publish(keys);
        provider
    }

    /// Returns `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Returns where it listens.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Has it say that it is this, with its keys below.
    pub fn call_itself(&self, issuer: &str) {
        self.say(DISCOVERY, &json!({"issuer": issuer, "jwks_uri": format!("{issuer}{KEYS}")}));
    }

    /// Has it publish these keys, and no others.
    pub fn publish(&self, keys: &[&SigningKey]) {
        let keys: Vec<Value> = keys.iter().map(|key| key.public()).collect();
        self.say(KEYS, &json!({"keys": keys}));
    }

    /// Has it answer a path with a document.
    pub fn say(&self, path: &str, document: &Value) {
        self.answer(path, Answer::of(200, "application/json", document.to_string().into_bytes()));
    }

    /// Has it answer a path with anything.
    pub fn answer(&self, path: &str, answer: Answer) {
        self.state.lock().unwrap().answers.insert(path.to_owned(), answer);
    }

    /// Has it close every connection, or no longer.
    pub fn be_away(&self, away: bool) {
        self.state.lock().unwrap().away = away;
    }

    /// Has it take requests and never answer.
    pub fn be_silent(&self) {
        self.state.lock().unwrap().silent = true;
    }

    /// Has it close every connection in the middle of an answer, or no longer.
    pub fn break_off(&self, breaks_off: bool) {
        self.state.lock().unwrap().breaks_off = breaks_off;
    }

    /// Returns the paths that were asked for since this was last called.
    pub fn take_requests(&self) -> Vec<String> {
        std::mem::take(&mut self.state.lock().unwrap().requests)
    }
}

fn converse(mut stream: TcpStream, state: &Mutex<State>) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    // A client that breaks off is what some tests are about.
    while let Ok(Some(request)) = Request::read(&mut reader) {
        let (answer, away, silent, breaks_off) = {
            let mut state = state.lock().unwrap();
            state.requests.push(request.path.clone());
            let answer = state.answers.get(&request.path).cloned();
            (answer, state.away, state.silent, state.breaks_off)
        };
        if away {
            return;
        }
        if silent {
            continue;
        }
        let answer = answer.unwrap_or_else(|| Answer::text(404, "not found"));
        let length = answer.body.len();
        let sent = if breaks_off { length / 2 } else { length };
        if answer.write_head(&mut stream, Some(length)).is_err()
            || stream.write_all(&answer.body[..sent]).is_err()
            || breaks_off
        {
            return;
        }
    }
}
