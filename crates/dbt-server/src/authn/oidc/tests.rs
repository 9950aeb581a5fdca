use dbt_core::secret::Secret;
use dbt_testkit::http::Answer;
use dbt_testkit::identity_provider::{DISCOVERY, IdentityProvider, KEYS, SigningKey};
use dbt_testkit::proxy::{Manner, Proxy};
use dbt_testkit::tls::{Authority, TlsServer};
use serde_json::{Value, json};

use super::*;
use crate::authn::Credential;
use crate::authn::testing::{after, start, verdict};

mod providers;
mod roles;
mod rotation;
mod tokens;

const AUDIENCE: &str = "https://dbt.example.com";

/// A provider with one key, and how it is believed.
struct World {
    idp: IdentityProvider,
    key: SigningKey,
    oidc: Oidc,
}

impl World {
    fn new() -> Self {
        Self::with(|_settings| ())
    }

    /// Believes the provider in another way.
    fn with(change: impl FnOnce(&mut Settings)) -> Self {
        let key = SigningKey::ed25519("first");
        let idp = IdentityProvider::start(&[&key]);
        let oidc = believing(&idp, change);
        Self { idp, key, oidc }
    }

    /// Returns claims that are right at the start.
    fn claims(&self) -> Value {
        json!({
            "iss": self.idp.url(),
            "sub": "alice",
            "aud": AUDIENCE,
            "iat": 1_800_000_000,
            "exp": 1_800_000_600,
        })
    }

    /// Returns the claims with others in their place; `null` takes one away.
    fn claims_with(&self, others: &Value) -> Value {
        let mut claims = self.claims();
        for (claim, value) in others.as_object().unwrap() {
            claims[claim] = value.clone();
        }
        claims.as_object_mut().unwrap().retain(|_claim, value| *value != json!("(none)"));
        claims
    }

    async fn judge(&self, others: &Value) -> Result<Identity, String> {
        self.judge_at(others, start()).await
    }

    async fn judge_at(&self, others: &Value, now: SystemTime) -> Result<Identity, String> {
        judge(&self.oidc, &self.key.token(&self.claims_with(others)), now).await
    }
}

fn believing(idp: &IdentityProvider, change: impl FnOnce(&mut Settings)) -> Oidc {
    let mut settings = Settings {
        issuer: idp.url(),
        audiences: vec![AUDIENCE.to_owned()],
        username_claim: None,
        required_claims: Required::new(),
        allowed_groups: Vec::new(),
        groups_claim: "groups".to_owned(),
        any_issuer: false,
        keys_fresh: Duration::from_hours(1),
        keys_at: None,
        discovery: Some(format!("{}{DISCOVERY}", idp.url()).parse().unwrap()),
        ca_file: None,
        proxies: Proxies::default(),
        is_for_all: false,
        is_for_people: false,
        role_mappings: Vec::new(),
    };
    change(&mut settings);
    Oidc::new(settings).unwrap()
}

/// Returns who somebody is, or why not as the record says it.
async fn judge(oidc: &Oidc, token: &str, now: SystemTime) -> Result<Identity, String> {
    let credential = Credential::Bearer(Secret::new(token.to_owned()));
    match verdict(oidc, &credential, now).await {
        Verdict::NotMine => Err("(not mine)".to_owned()),
        Verdict::Refused(bad) => {
            let told = [
                "the credential is not valid",
                "the credential cannot be checked now; try again in a minute",
                "the token is malformed",
                "the token is of another type",
                "the token's algorithm is not accepted",
                "the token's header asks for what is not supported",
            ];
            assert!(told.contains(&bad.to_string().as_str()), "{bad}");
            assert!(!bad.noted().contains(token));
            Err(bad.noted().to_owned())
        }
        Verdict::Proven(identity) => Ok(*identity),
    }
}

#[tokio::test]
async fn a_token_proves_its_subject_as_bearer_and_as_password() {
    let world = World::new();
    let token = world.key.token(&world.claims());
    let expected = format!("oidc:{}#alice", world.idp.url());
    for credential in [
        Credential::Bearer(Secret::new(token.clone())),
        Credential::Basic { user: "ci".to_owned(), password: Secret::new(token.clone()) },
        Credential::Basic { user: String::new(), password: Secret::new(token.clone()) },
    ] {
        let Verdict::Proven(identity) = verdict(&world.oidc, &credential, start()).await else {
            panic!("{credential:?}")
        };
        assert_eq!(identity.subject.to_string(), expected);
        assert!(identity.groups.is_empty() && identity.once.is_none() && identity.default_rights);
    }
    let elsewhere = Credential::SshToken(Secret::new(token));
    assert_eq!(verdict(&world.oidc, &elsewhere, start()).await, Verdict::NotMine);
}

#[tokio::test]
async fn a_provider_with_a_certificate_of_the_organisation_needs_its_authority() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("ca.pem");
    let authority = Authority::new("an organisation");
    authority.write_to(&file);
    let key = SigningKey::ed25519("first");
    let idp = IdentityProvider::start(&[&key]);
    let tls = TlsServer::start(authority.server("127.0.0.1"), idp.address());
    idp.call_itself(&tls.url());
    let claims = json!({
        "iss": tls.url(), "sub": "alice", "aud": AUDIENCE,
        "iat": 1_800_000_000, "exp": 1_800_000_600,
    });
    let over_tls = |settings: &mut Settings| {
        settings.issuer = tls.url();
        settings.discovery = Some(format!("{}{DISCOVERY}", tls.url()).parse().unwrap());
    };
    let stranger = believing(&idp, over_tls);
    let refusal = judge(&stranger, &key.token(&claims), start()).await.unwrap_err();
    assert!(refusal.contains("are not known"), "{refusal}");
    assert_eq!(idp.take_requests(), [""; 0], "nothing is sent before the certificate is right");
    let friend = believing(&idp, |settings| {
        over_tls(settings);
        settings.ca_file = Some(file.clone());
    });
    judge(&friend, &key.token(&claims), start()).await.unwrap();
    // What came over TLS must not lead away from it.
    idp.say(DISCOVERY, &json!({"issuer": tls.url(), "jwks_uri": format!("{}{KEYS}", idp.url())}));
    idp.take_requests();
    let downgraded = believing(&idp, |settings| {
        over_tls(settings);
        settings.ca_file = Some(file.clone());
    });
    judge(&downgraded, &key.token(&claims), start()).await.unwrap_err();
    assert_eq!(idp.take_requests(), [DISCOVERY]);
}

#[tokio::test]
async fn an_authority_is_read_again_when_its_file_changes() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("ca.pem");
    Authority::new("the old one").write_to(&file);
    let authority = Authority::new("the new one");
    let key = SigningKey::ed25519("first");
    let idp = IdentityProvider::start(&[&key]);
    let tls = TlsServer::start(authority.server("127.0.0.1"), idp.address());
    idp.call_itself(&tls.url());
    let claims = json!({
        "iss": tls.url(), "sub": "alice", "aud": AUDIENCE,
        "iat": 1_800_000_000, "exp": 1_800_000_600,
    });
    let token = key.token(&claims);
    let oidc = believing(&idp, |settings| {
        settings.issuer = tls.url();
        settings.discovery = Some(format!("{}{DISCOVERY}", tls.url()).parse().unwrap());
        settings.ca_file = Some(file.clone());
    });
    let refusal = judge(&oidc, &token, start()).await.unwrap_err();
    assert!(refusal.contains("are not known"), "{refusal}");
    // What is no certificate changes nothing, and harms nothing.
    std::fs::write(&file, "nonsense").unwrap();
    judge(&oidc, &token, after(100)).await.unwrap_err();
    authority.write_to(&file);
    judge(&oidc, &token, after(200)).await.unwrap();
}

#[tokio::test]
async fn a_provider_outside_is_asked_through_the_proxy() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("ca.pem");
    let authority = Authority::new("an organisation");
    authority.write_to(&file);
    let key = SigningKey::ed25519("first");
    let idp = IdentityProvider::start(&[&key]);
    // A name that nobody resolves here: only the proxy knows where it is.
    let url = "https://id.example.test";
    let tls = TlsServer::start(authority.server("id.example.test"), idp.address());
    idp.call_itself(url);
    let claims = json!({
        "iss": url, "sub": "alice", "aud": AUDIENCE, "iat": 1_800_000_000, "exp": 1_800_000_600,
    });
    let through = |variable: &str, except: &str| {
        let variables = [("HTTPS_PROXY", variable), ("NO_PROXY", except)];
        let pair = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
        let proxies = Proxies::of(&variables.into_iter().map(pair).collect()).unwrap();
        believing(&idp, |settings| {
            settings.issuer = url.to_owned();
            settings.discovery = Some(format!("{url}{DISCOVERY}").parse().unwrap());
            settings.ca_file = Some(file.clone());
            settings.proxies = proxies;
        })
    };
    let token = key.token(&claims);
    let proxy = Proxy::wanting_a_password(Manner::Tunnel(tls.address()));
    judge(&through(&proxy.url_with_password(), ""), &token, start()).await.unwrap();
    let opened = "CONNECT id.example.test:443";
    assert_eq!(proxy.asked(), [opened, opened], "for the document and for the keys");
    assert_eq!(idp.take_requests(), [DISCOVERY, KEYS]);
    judge(&through(&proxy.url(), ""), &token, start()).await.unwrap_err();
    judge(&through(&proxy.url_with_password(), "example.test"), &token, start()).await.unwrap_err();
    assert_eq!(idp.take_requests(), [""; 0]);
    // The proxy sees where a connection leads, and not what it carries.
    let spy = Proxy::start(Manner::Inspect(Arc::new(Authority::new("a spy")), idp.address()));
    judge(&through(&spy.url(), ""), &token, start()).await.unwrap_err();
    assert_eq!(idp.take_requests(), [""; 0]);
}

#[test]
fn providers_for_everybody_are_known_by_their_names() {
    for issuer in [
        "https://token.actions.githubusercontent.com",
        "https://token.actions.githubusercontent.com/octo-enterprise",
        "https://TOKEN.actions.githubusercontent.com./",
        "https://token.actions.githubusercontent.com:443",
        "https://gitlab.com",
        "https://accounts.google.com",
        "accounts.google.com",
        "https://login.microsoftonline.com/9188040d-6c67-4c5b-b112-36a304b66dad/v2.0",
        "https://login.microsoftonline.com/common/v2.0",
        "https://agent.buildkite.com",
    ] {
        assert!(shared::of(issuer).is_some(), "{issuer}");
    }
    for issuer in [
        "https://gitlab.example.com",
        "https://login.microsoftonline.com/11111111-2222-3333-4444-555555555555/v2.0",
        "https://id.example.com/gitlab.com",
        "https://id.example.com/realms/common",
    ] {
        assert!(shared::of(issuer).is_none(), "{issuer}");
    }
    assert!(shared::names_no_tenant("https://login.microsoftonline.com/organizations/v2.0"));
    assert!(!shared::names_no_tenant("https://login.microsoftonline.com/11111111/v2.0"));
}
