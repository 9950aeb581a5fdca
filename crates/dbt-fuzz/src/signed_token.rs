//! Signed tokens: any text, a good one that was changed, and any claims that were signed.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use dbt_core::clock::Clock;
use dbt_server::authn::oidc::roles::Mapping;
use dbt_server::authn::oidc::{Settings, claims};
use dbt_server::authn::ssh::{Audiences, SshTokens};
use dbt_server::authn::ssh_keys::{KeyFile, KeySource};
use dbt_server::authn::watched::Watched;
use dbt_server::authn::{AnyOf, Presented, Scope};
use dbt_server::outbound::proxy::Proxies;
use dbt_server::strict_json;
use hyper::header::HeaderValue;
use hyper::{HeaderMap, Method, Uri};
use serde_json::{Map, Value, json};
use tokio::runtime::Runtime;

use crate::input::{Input, mutated};
use crate::{fixtures, signer};

const AUDIENCE: &str = "dbt.example.com";

/// The first byte chooses what the rest is.
pub fn run(data: &[u8]) {
    is_accepted(data);
}

/// The same, and says whether the token proved somebody.
pub fn is_accepted(data: &[u8]) -> bool {
    let mut input = Input(data);
    match input.byte() % 4 {
        0 => {
            let text = String::from_utf8_lossy(input.0);
            assert!(judge(&text).is_none(), "nobody signed {text}");
            false
        }
        1 => {
            let good = good();
            let changed = mutated(good.as_bytes(), input);
            let changed = String::from_utf8_lossy(&changed);
            let accepted = judge(&changed);
            // Only these may stand around the value of a header (RFC 9110, 5.5).
            let bare = changed.trim_matches([' ', '\t']);
            assert_eq!(accepted.is_some(), bare == good, "{changed}");
            accepted.is_some()
        }
        2 => signed(input.0),
        _ => of_a_provider(input.0),
    }
}

fn now() -> f64 {
    fixtures::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64()
}

fn good() -> String {
    let now = fixtures::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let claims = json!({
        "iss": signer::NAME, "sub": signer::NAME, "aud": [AUDIENCE],
        "exp": now + 300, "nbf": now, "iat": now, "jti": "0123456789abcdef",
    });
    signer::token(signer::HEADER, claims.to_string().as_bytes())
}

/// Says whom a token proves for a write, by the real way; a second time it must prove nobody.
fn judge(token: &str) -> Option<String> {
    thread_local! {
        static RUNTIME: Runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        static KEYS: Arc<Watched<KeyFile>> = keys();
    }
    let file = KEYS.with(Arc::clone);
    let keys = KeySource::File { file, list: Scope::Writes };
    let audiences = Audiences::of_urls(&[format!("https://{AUDIENCE}")]).unwrap();
    let mut methods = AnyOf::new(Clock::Fixed(fixtures::now())).started_at(SystemTime::UNIX_EPOCH);
    methods.add(&[Scope::Writes], Box::new(SshTokens::new(keys, audiences)));
    let mut headers = HeaderMap::new();
    headers.insert("token", HeaderValue::from_str(token).ok()?);
    let presented = Presented {
        headers: &headers,
        method: &Method::PUT,
        uri: &Uri::from_static("/dbt/latest"),
        peer: IpAddr::V4(Ipv4Addr::LOCALHOST),
        scope: Scope::Writes,
        client: None,
    };
    RUNTIME.with(|runtime| {
        runtime.block_on(async {
            let caller = methods.identify(&presented).await.ok()?;
            let subject = caller.subject()?.to_string();
            assert!(methods.identify(&presented).await.is_err(), "it counts once");
            Some(subject)
        })
    })
}

fn keys() -> Arc<Watched<KeyFile>> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("keys.json");
    let entry = json!([{"username": signer::NAME, "publickey": signer::line()}]);
    std::fs::write(&path, json!({"putUsers": entry}).to_string()).unwrap();
    // What was read stays in force when the file has gone.
    Arc::new(KeyFile::open(&path).unwrap())
}

/// Signs any claims: what is accepted says everything that it must.
fn signed(claims: &[u8]) -> bool {
    let Some(subject) = judge(&signer::token(signer::HEADER, claims)) else { return false };
    assert_eq!(subject, format!("ssh:{}", signer::NAME));
    let claims: Map<String, Value> = serde_json::from_slice(claims).expect("it is an object");
    assert!(claims["iss"] == signer::NAME && claims["sub"] == signer::NAME);
    let audiences = claims["aud"].as_array().expect("a list");
    assert!(audiences.iter().all(Value::is_string));
    let ours = [AUDIENCE, "https://dbt.example.com"];
    assert!(audiences.iter().any(|one| ours.contains(&one.as_str().unwrap())), "{audiences:?}");
    let (issued, expires) = times(&claims);
    assert!(expires - issued <= 300.0, "{issued} {expires}");
    let id = claims["jti"].as_str().expect("a text");
    assert!((1..=128).contains(&id.len()));
    assert!(claims.get("htm").is_none_or(|method| method == "PUT"));
    assert!(claims.get("htu").is_none_or(|url| url.as_str().unwrap().contains("/dbt/latest")));
    true
}

/// Checks the times that every token must have, and returns when it was issued and expires.
fn times(claims: &Map<String, Value>) -> (f64, f64) {
    let time = |name: &str| claims.get(name).map(|time| time.as_f64().expect("a number"));
    let (issued, expires) = (time("iat").expect("a time"), time("exp").expect("a time"));
    assert!((0.0..1e12).contains(&issued) && (0.0..1e12).contains(&expires));
    assert!(now() < expires + 61.0 && issued <= now() + 61.0, "{issued} {expires}");
    assert!(time("nbf").is_none_or(|from| from <= now() + 61.0));
    (issued, expires)
}

/// Judges claims as if an identity provider had signed them.
fn of_a_provider(text: &[u8]) -> bool {
    let settings = Settings {
        issuer: "https://id.example.com".to_owned(),
        audiences: vec![AUDIENCE.to_owned()],
        username_claim: Some("email".to_owned()),
        required_claims: [("team".to_owned(), vec!["x".to_owned(), "7".to_owned()])].into(),
        allowed_groups: vec!["writers".to_owned()],
        groups_claim: "realm.groups".to_owned(),
        any_issuer: false,
        keys_fresh: Duration::from_hours(1),
        keys_at: None,
        discovery: None,
        ca_file: None,
        proxies: Proxies::default(),
        is_for_all: false,
        is_for_people: true,
        role_mappings: vec![Mapping {
            claim: "realm.groups".to_owned(),
            values: vec!["admins".to_owned()],
            role: "admin".to_owned(),
        }],
    };
    let Ok(Value::Object(said)) = strict_json::parse(text) else { return false };
    if claims::is_out_of_place(&said, &settings.audiences, fixtures::now()).is_err() {
        return false;
    }
    let (issued, expires) = times(&said);
    assert!(expires - issued <= 24.0 * 3600.0);
    let audiences = said["aud"].as_array().cloned().unwrap_or_else(|| vec![said["aud"].clone()]);
    assert!(audiences.iter().any(|one| one == AUDIENCE), "{audiences:?}");
    let Ok(identity) = claims::identity(&said, &settings) else { return false };

    let id = identity.subject.id.as_str();
    assert!((1..=255).contains(&id.len()) && !id.contains(char::is_control), "{id:?}");
    let email = said.get("email").map(|email| email.as_str().unwrap());
    assert_eq!(email.or(said["sub"].as_str()), Some(id));
    let is_verified = said.get("email_verified").is_some_and(|it| *it == true || it == "true");
    assert!(email.is_none() || is_verified);
    let team = &said["team"];
    let has = |value: &Value| value == "x" || value == "7" || value == 7;
    assert!(has(team) || team.as_array().is_some_and(|teams| teams.iter().any(has)), "{team}");
    let is_writer = |group: &&str| group.strip_prefix('/').unwrap_or(group) == "writers";
    let groups: Vec<&str> = identity.groups.iter().map(|group| group.name.as_str()).collect();
    assert!(groups.iter().any(is_writer), "{groups:?}");
    let is_admin = |group: &&str| group.strip_prefix('/').unwrap_or(group) == "admins";
    let roles: &[&str] = if groups.iter().any(is_admin) { &["admin"] } else { &[] };
    assert_eq!(identity.roles, roles, "{groups:?}");
    let text = Value::Object(said.clone()).to_string();
    let written = |group: &&str| text.contains(&Value::from(*group).to_string());
    assert!(groups.iter().all(written), "{groups:?} in {text}");
    true
}
