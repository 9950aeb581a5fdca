//! Tokens of identity providers, seen from outside.

use std::time::UNIX_EPOCH;

use dbt_core::clock::Clock;
use dbt_testkit::identity_provider::{DISCOVERY, IdentityProvider, KEYS, SigningKey};
use serde_json::{Value, json};

use crate::world::{Place, Reply, Server, looked_through};

const AUDIENCE: &str = "https://dbt.example.com";

/// A provider, and its key.
pub(crate) struct Issuer {
    idp: IdentityProvider,
    key: SigningKey,
}

impl Issuer {
    pub(crate) fn new() -> Self {
        let key = SigningKey::p256("key");
        Self { idp: IdentityProvider::start(&[&key]), key }
    }

    pub(crate) fn claims(&self, sub: &str, others: &Value) -> Value {
        let now = Clock::System.now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let mut claims = json!({
            "iss": self.idp.url(), "sub": sub, "aud": AUDIENCE, "iat": now, "exp": now + 300,
        });
        for (claim, value) in others.as_object().unwrap() {
            claims[claim] = value.clone();
        }
        claims
    }

    pub(crate) fn token(&self, sub: &str, others: &Value) -> String {
        self.key.token(&self.claims(sub, others))
    }

    /// Returns the word before the names it proves.
    pub(crate) fn word(&self) -> String {
        format!("oidc:{}#", self.idp.url())
    }

    pub(crate) fn url(&self) -> String {
        self.idp.url()
    }

    /// Returns what it signs with.
    pub(crate) const fn key(&self) -> &SigningKey {
        &self.key
    }

    /// Has it answer nobody, or everybody again.
    pub(crate) fn be_away(&self, is_away: bool) {
        self.idp.be_away(is_away);
    }

    pub(crate) fn options(&self) -> String {
        format!(r#"{{"issuerUrl": "{}", "audiences": ["{AUDIENCE}"]}}"#, self.idp.url())
    }
}

fn ask(server: &Server, method: &str, path: &str, token: &str) -> Reply {
    let line = format!("Authorization: Bearer {token}");
    server.send(method, path, &[&line], if method == "PUT" { b"body" } else { b"" })
}

#[test]
fn the_settings_of_the_reference_are_enough() {
    let issuer = Issuer::new();
    let server = Server::with(&format!(
        r#""authGets": true, "authTypeGet": "oidc", "authTypePut": "oidc",
        "authOptsGet": {{"oidc": {}}},
        "authOptsPut": {{"oidc": {{"issuerUrl": "{}", "audiences": ["{AUDIENCE}"],
            "usernameClaimKey": "email", "requiredClaims": {{"team": "x"}}, "allowedGroups": ["writers"],
            "skipIssuerVerify": false, "jwksCacheSeconds": 300}}}}"#,
        issuer.options(),
        issuer.idp.url(),
    ));
    server.put_on_disk("dbt/latest", b"1.0.0");
    assert_eq!(issuer.idp.take_requests(), [""; 0], "the start asks nobody");
    let reader = issuer.token("alice", &json!({}));
    let writer = json!({
        "email": "alice@example.com", "email_verified": true, "team": "x", "groups": ["/writers"],
    });
    let writer = issuer.token("alice", &writer);
    assert_eq!(ask(&server, "GET", "/dbt/latest", &reader).text(), "1.0.0");
    assert_eq!(ask(&server, "GET", "/dbt/latest", &writer).status, 200);
    ask(&server, "PUT", "/dbt/new", &reader).is_refused(403, "forbidden");
    assert!(!server.root().join("dbt/new").exists());
    assert_eq!(ask(&server, "PUT", "/dbt/new", "x").status, 401);
    assert_eq!(server.get("/dbt/latest").status, 401);
}

#[test]
fn whoever_asks_is_told_what_the_provider_calls_them_and_until_when() {
    let issuer = Issuer::new();
    let put = format!(r#""authTypePut": "oidc", "authOptsPut": {{"oidc": {}}}"#, issuer.options());
    let server = Server::with(&put);
    let known = |others: &Value| {
        ask(&server, "GET", "/-/api/v1/whoami", &issuer.token("alice", others)).json()
    };
    let alice = known(&json!({
        "name": "Alice", "email": "alice@example.com", "email_verified": true, "groups": ["a"],
    }));
    assert_eq!(alice["subject"], format!("{}alice", issuer.word()));
    assert_eq!((&alice["name"], &alice["email"]), (&json!("Alice"), &json!("alice@example.com")));
    assert_eq!(alice["groups"].as_array().unwrap().len(), 1);
    assert!(alice["expires"].as_str().unwrap().ends_with('Z'), "{alice}");
    // What nobody has verified could be anybody's.
    let stranger = known(&json!({"preferred_username": "al", "email": "root@example.com"}));
    assert_eq!((&stranger["name"], &stranger["email"]), (&json!("al"), &Value::Null));
}

#[test]
fn a_token_may_come_as_a_password() {
    use base64::Engine as _;
    let issuer = Issuer::new();
    let put = format!(r#""authTypePut": "oidc", "authOptsPut": {{"oidc": {}}}"#, issuer.options());
    let server = Server::with(&put);
    let token = issuer.token("ci", &json!({}));
    let basic = |text: String| base64::engine::general_purpose::STANDARD.encode(text);
    let line = format!("Authorization: Basic {}", basic(format!("anybody:{token}")));
    assert_eq!(server.send("PUT", "/dbt/new", &[&line], b"body").status, 201);
    let line = format!("Authorization: Basic {}", basic(format!("anybody:{token}x")));
    let reply = server.send("PUT", "/dbt/other", &[&line], b"body");
    reply.is_refused(401, "unauthorised");
    assert_eq!(
        reply.header("www-authenticate").unwrap().split(',').next(),
        Some("Bearer realm=\"dbt\"")
    );
}

#[test]
fn several_issuers_each_have_their_own_users_and_groups() {
    let (staff, guests) = (Issuer::new(), Issuer::new());
    let server = Server::with(&format!(
        r#""authTypePut": "oidc", "auth": {{"issuers": [{}, {}]}}, "policies": [
            {{"name": "admins", "subjects": ["group:{}#admins"], "paths": ["/**"],
              "actions": ["read", "list", "create", "replace", "delete"]}},
            {{"name": "alice", "subjects": ["oidc:{}#alice"], "paths": ["/dbt-tools/x/**"],
              "actions": ["read", "create"]}}
        ]"#,
        staff.options(),
        guests.options(),
        staff.idp.url(),
        guests.idp.url(),
    ));
    let admins = json!({"groups": ["/admins"]});
    let path = "/dbt-tools/x/1.0.0/linux/amd64/x";
    for (issuer, sub, others, path, status) in [
        (&staff, "root", &admins, "/dbt/a", 201),
        (&guests, "root", &admins, "/dbt/b", 403),
        (&staff, "alice", &json!({}), path, 403),
        (&guests, "alice", &json!({}), path, 201),
        (&guests, "alice", &json!({}), "/dbt/c", 403),
        (&guests, "bob", &json!({}), "/dbt/c", 403),
    ] {
        let reply = ask(&server, "PUT", path, &issuer.token(sub, others));
        assert_eq!(reply.status, status, "{} {sub} {path}", issuer.idp.url());
    }
    // A token that one provider signed in the name of the other.
    let forged = guests.key.token(&staff.claims("root", &admins));
    ask(&server, "PUT", "/dbt/d", &forged).is_refused(401, "unauthorised");
    let third = Issuer::new();
    ask(&server, "PUT", "/dbt/d", &third.token("root", &admins)).is_refused(401, "unauthorised");
    assert_eq!(third.idp.take_requests(), [""; 0], "nobody is asked because a token says so");
    assert!(!server.root().join("dbt/d").exists());
    let said = format!("it says it is from `{}`", third.idp.url());
    server.eventually("recorded", |server| server.log().contains(&said));
}

#[test]
fn a_provider_that_is_down_stops_neither_the_start_nor_those_who_need_it_not() {
    let issuer = Issuer::new();
    issuer.idp.be_away(true);
    let server = Server::with(&format!(
        r#""authTypePut": "oidc, static-token",
        "authOptsPut": {{"staticToken": "open-sesame", "oidc": {}}}"#,
        issuer.options()
    ));
    assert_eq!(server.put("/dbt/new", b"body").status, 201);
    let reply = ask(&server, "PUT", "/dbt/other", &issuer.token("alice", &json!({})));
    reply.is_refused(401, "unauthorised");
    assert_eq!(
        reply.json()["detail"],
        "the credential cannot be checked now; try again in a minute"
    );
    server.eventually("logged", |server| {
        server.log().contains(
            "the identity provider's keys could not be read; it is asked again after 10 s",
        )
    });
    assert_eq!(issuer.idp.take_requests(), [DISCOVERY]);
}

#[test]
fn a_refusal_tells_a_stranger_nothing_and_the_record_why() {
    let issuer = Issuer::new();
    let put = format!(r#""authTypePut": "oidc", "authOptsPut": {{"oidc": {}}}"#, issuer.options());
    let server = Server::with(&put);
    let stranger = SigningKey::p256("key");
    let unknown = SigningKey::p256("strange-kid");
    let claims = issuer.claims("strange-sub", &json!({}));
    for (token, why) in [
        (issuer.token("strange-sub", &json!({"exp": 1})), "it expired"),
        (
            issuer.token("strange-sub", &json!({"aud": "other"})),
            "it is for `other`, not for this server",
        ),
        (
            issuer.token("strange-sub", &json!({"nbf": 9_999_999_999_u64})),
            "s in the future; are the clocks right?",
        ),
        (issuer.token("", &json!({})), "its `sub` is not a name"),
        (stranger.token(&claims), "the signature is not that of the key it names"),
        (unknown.token(&claims), "it names the key `strange-kid`"),
        (
            issuer.token("x", &json!({"iss": "https://other.example"})),
            "it says it is from `https://other.example`",
        ),
    ] {
        let reply = ask(&server, "PUT", "/dbt/new", &token);
        reply.is_refused(401, "unauthorised");
        assert_eq!(reply.json()["detail"], "the credential is not valid", "{why}");
        let challenge = "Bearer realm=\"dbt\", error=\"invalid_token\", error_description=\"the credential is not valid\"";
        assert_eq!(reply.header("www-authenticate"), Some(challenge));
        server.eventually(why, |server| server.log().contains(why));
        // A token that is not valid today may be tomorrow; its signature is what makes it one.
        let signature = token.rsplit_once('.').unwrap().1;
        let claims = token.split('.').nth(1).unwrap();
        assert!(!server.log().contains(signature) && !server.log().contains(claims));
    }
    assert!(!server.root().join("dbt").exists());
}

/// Providers that nobody should believe as they are written, and what is said of each.
const CARELESS: [(&str, &str); 15] = [
    ("", "oidc.issuerUrl` is needed"),
    (r#""issuerUrl": " ", "audiences": ["x"]"#, "oidc.issuerUrl` is needed"),
    (r#""issuerUrl": "https://id.example.com""#, "oidc.audiences` must name"),
    (r#""issuerUrl": "https://id.example.com", "audiences": [" "]"#, "oidc.audiences` must name"),
    (r#"X, "issuerUrl": "http://id.example.com""#, "oidc.issuerUrl` must begin with `https://`"),
    (r#"X, "issuerUrl": "id.example.com""#, "oidc.issuerUrl` is not the URL of a server"),
    (r#"X, ID, "jwksUri": "http://id.example.com/keys""#, "oidc.jwksUri` must begin"),
    (r#"X, ID, "discoveryUrl": "file:///etc/passwd""#, "oidc.discoveryUrl` is not"),
    (r#"X, ID, "caFile": "/nonexistent""#, "oidc.caFile` cannot be used"),
    (r#"X, ID, "requiredClaims": {"a": []}"#, "oidc.requiredClaims.a` must be"),
    (r#"X, ID, "requiredClaims": {"a": 1.5}"#, "wrong value at `authOptsPut.oidc.requiredClaims"),
    (r#"X, "issuerUrl": "https://gitlab.com""#, "oidc.requiredClaims` must name an owner"),
    (
        r#"X, "issuerUrl": "https://accounts.google.com", "allowedGroups": ["x"]"#,
        "oidc.requiredClaims` must name an owner",
    ),
    (
        r#"X, "issuerUrl": "https://token.actions.githubusercontent.com",
        "requiredClaims": {"ref": "refs/heads/main"}"#,
        "oidc.requiredClaims` must name an owner",
    ),
    (
        r#"X, "issuerUrl": "https://login.microsoftonline.com/common/v2.0", "requiredClaims": {"tid": "x"}"#,
        "oidc.issuerUrl` names no tenant",
    ),
];

#[test]
fn what_would_let_in_everybody_stops_the_start() {
    let place = Place::new();
    for (members, why) in CARELESS {
        let members = members
            .replace("X,", r#""audiences": ["x"],"#)
            .replace("ID,", r#""issuerUrl": "https://id.example.com","#);
        let put = format!(r#""authTypePut": "oidc", "authOptsPut": {{"oidc": {{{members}}}}}"#);
        let said = place.refusal(&put);
        assert!(said.contains(why), "{members}: {said}");
    }
    for (members, why) in [
        ("", "`authOptsPut.oidc.issuerUrl` is needed by `oidc`, or `auth.issuers`"),
        (
            r#", "auth": {"issuers": [{"issuerUrl": "https://a.example", "audiences": ["x"]},
                {"issuerUrl": "https://a.example", "audiences": ["y"]}]}"#,
            "`auth.issuers[1].issuerUrl` is `https://a.example` a second time",
        ),
        (
            r#", "auth": {"issuers": [
                {"issuerUrl": "https://a.example", "audiences": ["x"], "skipIssuerVerify": true},
                {"issuerUrl": "https://b.example", "audiences": ["y"]}]}"#,
            "`auth.issuers[1].skipIssuerVerify` cannot be true where there are several issuers",
        ),
        // The owner alone is not enough: rules must say who may do what.
        (
            r#", "auth": {"issuers": [{"issuerUrl": "https://token.actions.githubusercontent.com",
                "audiences": ["x"], "requiredClaims": {"repository_owner_id": 7}}]}"#,
            "`policies` is needed: anybody can have a token",
        ),
    ] {
        let said = place.refusal(&format!(r#""authTypePut": "oidc"{members}"#));
        assert!(said.contains(why), "{members}: {said}");
    }
    let said = place.refusal(
        r#""authTypePut": "oidc, oidc", "auth": {"issuers": [
            {"issuerUrl": "https://a.example", "audiences": ["x"]}]}"#,
    );
    assert!(said.contains("`authTypePut` names `oidc` twice"), "{said}");
}

#[test]
fn what_may_start_does_without_asking_anybody() {
    let place = Place::new().argument("check-config");
    for members in [
        r#""authTypePut": "oidc", "authOptsPut": {"oidc": {"issuerUrl": "https://id.example.com", "audiences": ["x"]}}"#,
        r#""authTypePut": "oidc", "publicUrls": ["https://dbt.example.com"],
           "auth": {"issuers": [{"issuerUrl": "https://id.example.com"}]}"#,
        r#""authTypePut": "oidc", "auth": {"issuers": [{"issuerUrl": "https://gitlab.com", "audiences": ["x"],
           "requiredClaims": {"namespace_id": ["7", "8"]}}]},
           "policies": [{"name": "ci", "subjects": ["authenticated"], "paths": ["/dbt-tools/x/**"], "actions": ["create"]}]"#,
        r#""authTypePut": "oidc", "auth": {"issuers": [{"issuerUrl": "http://inside.example", "audiences": ["x"],
           "jwksUri": "https://id.example.com/keys"}]}"#,
    ] {
        let output = looked_through(&mut place.command(members));
        assert!(output.status.success(), "{members}: {output:?}");
    }
    let loose = r#""authTypePut": "oidc", "authOptsPut": {"oidc": {"issuerUrl": "https://id.example.com",
        "audiences": ["x"], "skipIssuerVerify": true}}"#;
    let output = looked_through(&mut place.command(loose));
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(said.contains("warning: `skipIssuerVerify` is true: whatever the keys of"), "{said}");
}

#[test]
fn keys_that_are_rotated_are_found() {
    let issuer = Issuer::new();
    let put = format!(r#""authTypePut": "oidc", "authOptsPut": {{"oidc": {}}}"#, issuer.options());
    let server = Server::with(&put);
    assert_eq!(ask(&server, "PUT", "/dbt/a", &issuer.token("x", &json!({}))).status, 201);
    let second = SigningKey::rsa("second");
    issuer.idp.publish(&[&issuer.key, &second]);
    let token = second.token(&issuer.claims("x", &json!({})));
    assert_eq!(ask(&server, "PUT", "/dbt/b", &token).status, 201);
    assert_eq!(issuer.idp.take_requests(), [DISCOVERY, KEYS, DISCOVERY, KEYS]);
}
