//! The identity provider of many organisations' own servers (oidc-provider, in Node).

use dbt_testkit::oidc_provider::OidcProvider;

use crate::world::{Reply, Server};

const AUDIENCE: &str = "https://dbt.example.com";

/// Returns a token of the provider's client that is signed with an algorithm.
fn token(provider: &OidcProvider, algorithm: &str) -> String {
    let form = format!(
        "grant_type=client_credentials&client_id=ci&client_secret=a-secret-of-the-client\
         &scope=publish&resource=https%3A%2F%2Fdbt.example.com%2F{algorithm}"
    );
    let answer = provider.post("/token", &form);
    let answer: serde_json::Value = serde_json::from_str(&answer).unwrap();
    answer["access_token"].as_str().unwrap().to_owned()
}

fn put(server: &Server, path: &str, token: &str) -> Reply {
    let line = format!("Authorization: Bearer {token}");
    server.send("PUT", path, &[&line], b"body")
}

#[test]
fn tokens_of_a_real_provider_are_accepted_with_their_groups_and_after_a_rotation() {
    let provider = OidcProvider::start();
    let members = |audience: &str| {
        format!(
            r#""authTypePut": "oidc",
            "authOptsPut": {{"oidc": {{"issuerUrl": "{}", "audiences": ["{audience}"]}}}},
            "policies": [{{"name": "robots", "subjects": ["group:robots"], "paths": ["/dbt/**"],
                "actions": ["create"]}}]"#,
            provider.url()
        )
    };
    let server = Server::with(&members(AUDIENCE));
    let algorithms = ["RS256", "PS256", "ES256", "EdDSA"];
    for algorithm in algorithms {
        let token = token(&provider, algorithm);
        let path = format!("/dbt/{algorithm}");
        assert_eq!(put(&server, &path, &token).status, 201, "{algorithm}; {}", server.log());
        put(&server, "/dbt-tools/x/1.0.0/linux/amd64/x", &token).is_refused(403, "forbidden");
        put(&server, "/dbt/altered", &token.replacen('.', ".e30", 1))
            .is_refused(401, "unauthorised");
    }
    let subject = format!("oidc:{}#ci", provider.url());
    server.eventually("recorded", |server| server.log().contains(&subject));
    let old = token(&provider, "ES256");
    provider.rotate();
    assert_eq!(put(&server, "/dbt/rotated", &token(&provider, "ES256")).status, 201);
    put(&server, "/dbt/old", &old).is_refused(401, "unauthorised");

    let other = Server::with(&members("https://other.example.com"));
    put(&other, "/dbt/x", &token(&provider, "RS256")).is_refused(401, "unauthorised");
    for server in [&server, &other] {
        assert!(!server.log().contains("eyJ"), "a token is in the log");
    }
}
