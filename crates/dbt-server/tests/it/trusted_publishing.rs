//! Trusted publishing, seen from outside: jobs of CI systems exchange the identities that these give them
//! for tokens with the rights of a rule, for minutes.

use std::sync::{Arc, Barrier};

use dbt_testkit::identity_provider::SigningKey;
use dbt_testkit::people::{ALICE, MALLORY, just_now};
use serde_json::{Value, json};

use crate::oidc::Issuer;
use crate::world::{AS_ADMIN, Reply, Server};

pub(crate) const EXCHANGE: &str = "/-/api/v1/oidc/exchange";
pub(crate) const TOOL: &str = "/dbt-tools/deploy/1.0.0/linux/amd64/deploy";

/// Returns settings with these rules, in which reading needs a right and an administrator shows
/// `only-for-admins`.
pub(crate) fn settings(issuer: &Issuer, rules: &Value) -> String {
    let digest = crate::world::sha256(b"only-for-admins");
    let mut rules = rules.clone();
    for rule in rules.as_array_mut().unwrap() {
        rule["issuer"] = issuer.url().into();
    }
    let federation = json!({"rules": rules});
    format!(
        r#""authTypePut": "static-token", "tokens": [{{"name": "admin", "sha256": "{digest}"}}],
        "publicUrls": ["https://dbt.example.com/"], "verifyUploads": "off",
        "auth": {{"roles": {{"admin": ["admin"]}}, "federation": {federation}}},
        "policies": [{{"name": "everybody who signed in", "subjects": ["authenticated"], "paths": ["/**"],
            "actions": ["read", "list", "create", "replace", "delete"]}}]"#
    )
}

/// What a rule says of the jobs of GitHub, and what a job's identity says then.
pub(crate) fn github_rule() -> Value {
    json!({
        "name": "release deploy",
        "claims": {"repository_owner_id": 1234, "repository": "acme/deploy", "environment": "production"},
        "workflow": "release.yml", "tools": ["deploy"], "permits": ["publish", "withdraw"],
    })
}

pub(crate) fn github_claims() -> Value {
    json!({
        "jti": unique(), "repository": "acme/deploy", "repository_id": "99",
        "repository_owner": "acme", "repository_owner_id": "1234", "environment": "production",
        "ref": "refs/tags/v1", "sha": "abc123", "event_name": "push", "run_id": "77", "run_attempt": "1",
        "workflow": "anything", "actor": "alice",
        "workflow_ref": "acme/deploy/.github/workflows/release.yml@refs/tags/v1",
        "job_workflow_ref": "acme/deploy/.github/workflows/release.yml@refs/tags/v1",
    })
}

/// Returns a text that no other call returns.
pub(crate) fn unique() -> String {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NEXT: AtomicU64 = AtomicU64::new(0);
    format!("id-{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

pub(crate) const SUB: &str = "repo:acme/deploy:environment:production";

pub(crate) fn github(issuer: &Issuer, others: &Value) -> String {
    let mut claims = github_claims();
    for (claim, value) in others.as_object().unwrap() {
        if value.is_null() {
            claims.as_object_mut().unwrap().remove(claim);
        } else {
            claims[claim] = value.clone();
        }
    }
    issuer.token(SUB, &claims)
}

pub(crate) fn exchange_with(server: &Server, lines: &[&str], body: &Value) -> Reply {
    if let Some(identity) = body["token"].as_str() {
        server.keep_secret(identity);
        server.keep_secret(identity.rsplit('.').next().unwrap());
    }
    let reply = server.send("POST", EXCHANGE, lines, body.to_string().as_bytes());
    if reply.status == 200 {
        server.keep_secret(reply.json()["token"].as_str().unwrap());
        assert_eq!(reply.header("cache-control"), Some("no-store"));
    }
    reply
}

pub(crate) fn exchange(server: &Server, identity: &str) -> Reply {
    exchange_with(server, &[], &json!({"token": identity}))
}

pub(crate) fn exchange_to_read(server: &Server, identity: &str) -> Reply {
    exchange_with(server, &[], &json!({"token": identity, "scope": "read"}))
}

/// Exchanges an identity; returns the header line that shows the token.
pub(crate) fn exchanged(server: &Server, identity: &str) -> String {
    let reply = exchange(server, identity);
    assert_eq!(reply.status, 200, "{reply:?}");
    bearer(&reply)
}

pub(crate) fn bearer(reply: &Reply) -> String {
    format!("Authorization: Bearer {}", reply.json()["token"].as_str().unwrap())
}

pub(crate) fn put(server: &Server, header: &str, path: &str) -> Reply {
    server.send("PUT", path, &[header], b"bytes")
}

pub(crate) fn status(server: &Server, method: &str, path: &str, header: &str) -> u16 {
    server.send(method, path, &[header], if method == "PUT" { b"bytes" } else { b"" }).status
}

#[test]
fn a_job_gets_the_rights_of_its_rule_for_minutes_and_no_others_whatever_other_rules_say() {
    let issuer = Issuer::new();
    let server = Server::with(&settings(&issuer, &json!([github_rule()])));
    server.put_on_disk("dbt/latest", b"1.0.0");
    server.put_on_disk("dbt-tools/other/1.0.0/linux/amd64/other", b"other");
    let reply = exchange(&server, &github(&issuer, &json!({})));
    assert_eq!(reply.status, 200, "{reply:?}");
    let answer = reply.json();
    assert!(answer["token"].as_str().unwrap().starts_with("dbt_tp_"));
    assert!((895..=900).contains(&answer["expires_in"].as_u64().unwrap()), "{}", answer["expires"]);
    assert_eq!(answer["subject"], format!("ci:{}#{SUB}", issuer.url()));
    assert_eq!((&answer["scope"], &answer["rules"]), (&json!("write"), &json!(["release deploy"])));

    let job = bearer(&reply);
    let checksum = crate::world::sha256(b"bytes");
    let sum = server.send("PUT", &format!("{TOOL}.sha256"), &[&job], checksum.as_bytes());
    assert_eq!(sum.status, 201, "{sum:?}");
    for (method, path, expected) in [
        ("PUT", TOOL, 201),
        // What it uploads, it may look at before it is whole.
        ("GET", TOOL, 200),
        ("PUT", "/dbt-tools/deploy/1.0.0/linux/amd64/deploy.asc", 201),
        ("PUT", "/dbt-tools/deploy/1.0.0/description.txt", 201),
        ("GET", TOOL, 200),
        ("GET", "/dbt/latest", 200),
        ("GET", "/dbt-tools/deploy/", 200),
        // What withdraws nothing.
        ("PUT", "/dbt-tools/deploy/withdrawn.json", 403),
        ("PUT", "/dbt-tools/deploy/withdrawn.json.asc", 403),
        ("PUT", "/dbt-tools/deploy/withdrawn.json9", 403),
        // All that is another's, or more than publishing.
        ("PUT", "/dbt-tools/deploy/latest", 403),
        ("PUT", "/dbt-tools/deployEVIL/1.0.0/linux/amd64/deployEVIL", 403),
        ("PUT", "/dbt-tools/other/1.0.0/linux/amd64/other", 403),
        ("PUT", "/dbt-tools/other/withdrawn.json", 403),
        ("PUT", "/dbt/latest", 403),
        ("PUT", "/dbt/truststore", 403),
        ("PUT", "/dbt/tuf/1.root.json", 403),
        ("PUT", "/dbt/1.0.0/linux/amd64/dbt", 403),
        ("DELETE", TOOL, 403),
        ("DELETE", "/dbt-tools/deploy/1.0.0/", 403),
        ("DELETE", "/dbt-tools/deploy/withdrawn.json", 403),
        ("GET", "/dbt-tools/other/1.0.0/linux/amd64/other", 403),
        ("GET", "/dbt-tools/", 403),
        ("GET", "/-/metrics", 403),
        ("POST", "/-/api/v1/reload", 403),
        ("GET", "/-/api/v1/tokens", 403),
        ("POST", "/-/api/v1/tokens", 403),
        ("DELETE", "/-/api/v1/tokens?subject=agent:x", 403),
    ] {
        assert_eq!(status(&server, method, path, &job), expected, "{method} {path}");
    }
    // What is published stays, whatever the job builds the next time.
    let reply = server.send("PUT", TOOL, &[&job], b"other bytes");
    reply.is_refused(403, "forbidden");
    assert_eq!(server.send("PUT", TOOL, &[&job], b"bytes").status, 200, "the same is no change");
    // Rules that speak of everybody who signed in are about others.
    assert_eq!(status(&server, "PUT", "/dbt-tools/other/2.0.0/linux/amd64/other", AS_ADMIN), 201);
}

#[test]
fn a_role_gives_jobs_nothing_also_where_everybody_holds_it() {
    let issuer = Issuer::new();
    let settings = settings(&issuer, &json!([github_rule()]))
        .replace(
            r#"{"admin": ["admin"]}"#,
            r#"{"admin": ["admin"], "agent-default": ["anonymous"]}"#,
        )
        .replace(r#""subjects": ["authenticated"]"#, r#""subjects": ["role:agent-default"]"#);
    let server = Server::with(&settings);
    let job = exchanged(&server, &github(&issuer, &json!({})));
    let other = "/dbt-tools/other/1.0.0/linux/amd64/other";
    assert_eq!(status(&server, "PUT", other, &job), 403);
    assert_eq!(status(&server, "PUT", TOOL, &job), 201);
    assert_eq!(status(&server, "PUT", other, AS_ADMIN), 201);
}

#[test]
fn a_rule_that_only_publishes_withdraws_nothing_and_the_other_way_round() {
    let issuer = Issuer::new();
    let rule = |name: &str, permits: &str| {
        let mut rule = github_rule();
        rule["name"] = name.into();
        rule["permits"] = json!([permits]);
        rule["claims"]["environment"] = name.into();
        rule
    };
    let rules = json!([rule("p", "publish"), rule("w", "withdraw"), rule("r", "read")]);
    let server = Server::with(&settings(&issuer, &rules));
    let list = "/dbt-tools/deploy/withdrawn.json";
    let job = |environment: &str| {
        exchanged(&server, &github(&issuer, &json!({"environment": environment})))
    };
    let (publishes, withdraws) = (job("p"), job("w"));
    assert_eq!(status(&server, "PUT", list, &publishes), 403);
    assert_eq!(status(&server, "PUT", TOOL, &withdraws), 403);
    assert_eq!(status(&server, "PUT", TOOL, &publishes), 201);
    let withdraw = |versions: &[&str], serial: u64, header: &str| {
        let versions: Vec<Value> = versions.iter().map(|it| json!({"version": it})).collect();
        let body = json!({
            "schema": "dbt.withdrawn/1", "tool": "deploy", "serial": serial, "versions": versions,
            "issued": "2026-01-01T00:00:00Z",
        });
        server.send("PUT", list, &[header], body.to_string().as_bytes())
    };
    withdraw(&["1.0.0"], 1, &publishes).is_refused(403, "forbidden");
    assert_eq!(withdraw(&["1.0.0"], 1, &withdraws).status, 201);
    assert_eq!(withdraw(&["1.0.0"], 1, &withdraws).status, 200);
    assert_eq!(withdraw(&["1.0.0", "2.0.0"], 2, &withdraws).status, 200);
    // What was withdrawn stays so, also by a list that was signed once.
    // Nor does one take all serials that are left.
    let refused: [(&[&str], u64); 5] = [
        (&["1.0.0"], 1),
        (&["1.0.0"], 3),
        (&[], 3),
        (&["1.0.0", "2.0.0"], 1003),
        (&["1.0.0", "2.0.0"], u64::MAX),
    ];
    for (versions, serial) in refused {
        withdraw(versions, serial, &withdraws).is_refused(403, "forbidden");
    }
    let there = server.send("GET", list, &[&withdraws], b"").json();
    assert_eq!((&there["serial"], there["versions"].as_array().unwrap().len()), (&json!(2), 2));
    let reads = github(&issuer, &json!({"environment": "r"}));
    let refused = exchange(&server, &reads);
    refused.is_refused(403, "forbidden");
    let told = refused.json()["detail"].as_str().unwrap().to_owned();
    assert!(
        told.contains("others permit it to read") && told.contains("`environment` is `r`"),
        "{told}"
    );
    let reply = exchange_to_read(&server, &reads);
    assert_eq!(reply.status, 200, "{reply:?}");
    assert_eq!(status(&server, "GET", "/dbt-tools/deploy/", &bearer(&reply)), 200);
    assert_eq!(status(&server, "PUT", TOOL, &bearer(&reply)), 403);
}

#[test]
fn where_uploads_are_verified_a_job_withdraws_with_the_signature_of_the_list_alone() {
    let issuer = Issuer::new();
    let settings = settings(&issuer, &json!([github_rule()]));
    let server = Server::with(&settings.replace(r#""verifyUploads": "off","#, ""));
    server.put_on_disk("dbt/truststore", ALICE.certificate().as_bytes());
    let header = exchanged(&server, &github(&issuer, &json!({})));
    let list = "/dbt-tools/deploy/withdrawn.json";
    let body = json!({
        "schema": "dbt.withdrawn/1", "tool": "deploy", "serial": 1, "issued": "2026-01-01T00:00:00Z",
        "versions": [{"version": "1.0.0"}],
    });
    let body = body.to_string().into_bytes();
    let put = |path: &str, bytes: &[u8]| server.send("PUT", path, &[&header], bytes);
    let refused = |words: &str| {
        let reply = put(list, &body);
        reply.is_refused(403, "forbidden");
        let detail = reply.json()["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains(words), "{detail}");
        assert_eq!(server.send("GET", list, &[&header], b"").status, 404, "{words}");
    };
    refused("its signature must be written first");
    let binding = Some("withdrawn/deploy");
    for (why, signature, words) in [
        ("a stranger's", MALLORY.sign(&body, binding, just_now()), "no signature of"),
        ("of another list", ALICE.sign(b"other", binding, just_now()), "no signature of"),
        ("of another tool's", ALICE.sign(&body, Some("withdrawn/x"), just_now()), "was made for"),
        ("of no list", ALICE.sign(&body, None, just_now()), "withdrawn/deploy"),
    ] {
        let reply = put(&format!("{list}.asc"), signature.as_bytes());
        assert!([200, 201].contains(&reply.status), "{why}: {reply:?}");
        refused(words);
    }
    let signature = ALICE.sign(&body, binding, just_now());
    assert_eq!(put(&format!("{list}.asc"), signature.as_bytes()).status, 200);
    assert_eq!(put(list, &body).status, 201);

    // Now that clients read it, it keeps a signature that counts.
    let next = String::from_utf8(body.clone()).unwrap().replace(r#""serial":1"#, r#""serial":2"#);
    let next_signature = ALICE.sign(next.as_bytes(), binding, just_now());
    for (why, other) in [
        ("a stranger's", MALLORY.sign(&body, binding, just_now())),
        ("of another list", ALICE.sign(b"other", binding, just_now())),
        ("of the next one alone", next_signature.clone()),
        ("none", "signature".to_owned()),
    ] {
        put(&format!("{list}.asc"), other.as_bytes()).is_refused(403, "forbidden");
        let there = server.send("GET", &format!("{list}.asc"), &[&header], b"");
        assert_eq!(there.text(), signature, "{why}");
    }
    // A list beside the signature of the one before would stop clients as well.
    put(list, next.as_bytes()).is_refused(403, "forbidden");
    assert_eq!(server.send("GET", list, &[&header], b"").body, body);
    let both = together(&[&next_signature, &signature]);
    assert_eq!(put(&format!("{list}.asc"), both.as_bytes()).status, 200);
    assert_eq!(put(list, next.as_bytes()).status, 200);
    assert_eq!(server.send("GET", list, &[&header], b"").text(), next);
}

/// Puts signatures into one block.
fn together(signatures: &[&str]) -> String {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;

    let packets = signatures.iter().flat_map(|armored| {
        let body = armored.split("\n\n").nth(1).unwrap().lines();
        let lines: String = body.take_while(|line| !line.starts_with(['=', '-'])).collect();
        STANDARD.decode(lines).unwrap()
    });
    let text = STANDARD.encode(packets.collect::<Vec<u8>>());
    format!("-----BEGIN PGP SIGNATURE-----\n\n{text}\n-----END PGP SIGNATURE-----\n")
}

#[test]
fn an_identity_of_a_job_proves_nothing_anywhere_else() {
    let issuer = Issuer::new();
    let server = Server::with(&settings(&issuer, &json!([github_rule()])));
    let identity = github(&issuer, &json!({}));
    for method in ["GET", "PUT"] {
        let line = format!("Authorization: Bearer {identity}");
        assert_eq!(status(&server, method, TOOL, &line), 401, "{method}");
    }
    assert!(server.tree().is_empty());
    // Nor does a token that another credential comes with: the body alone says who asks.
    let reply = exchange_with(&server, &[AS_ADMIN], &json!({"token": "x.y.z"}));
    reply.is_refused(401, "unauthorised");
    let line = [AS_ADMIN];
    assert_eq!(exchange_with(&server, &line, &json!({"token": identity})).status, 200);
}

#[test]
fn each_claim_that_is_not_as_the_rule_says_is_named_and_nothing_happens() {
    let issuer = Issuer::new();
    let mut rule = github_rule();
    rule["claims"]["ref"] = "refs/tags/v*".into();
    rule["claims"]["repository_visibility"] = json!(["private", "internal"]);
    let server = Server::with(&settings(&issuer, &json!([rule])));
    let right = json!({"repository_visibility": "private"});
    let nearest = "the nearest is `release deploy`, but the claim ";
    for (claim, value, told) in [
        // Of whom is not their owner, nothing but their own identity is repeated.
        ("repository_owner_id", json!("999"), "this job: the claim `repository_owner_id` is `999`"),
        ("repository_owner_id", json!(["1234 "]), "this job: the claim `repository_owner_id` is"),
        ("repository_owner_id", json!("01234"), "`repository_owner_id` is `01234`"),
        ("repository_owner_id", json!({"a": 1}), "`repository_owner_id` is `{"),
        ("repository_owner_id", json!(null), "`repository_owner_id` is not there"),
        ("repository", json!("acme/deploy-evil"), "`repository` is `acme/deploy-evil`"),
        ("repository", json!("Acme/deploy"), "`repository` is `Acme/deploy`"),
        ("repository", json!(null), "`repository` is not there"),
        ("environment", json!("staging"), "`environment` is `staging`"),
        ("environment", json!(null), "`environment` is not there"),
        ("environment", json!(true), "`environment` is `true`"),
        ("ref", json!("refs/heads/main"), "`ref` is `refs/heads/main`"),
        ("ref", json!("refs/tags/v1/x"), "`ref` is `refs/tags/v1/x`"),
        ("repository_visibility", json!("public"), "`repository_visibility` is `public`"),
        (
            "event_name",
            json!("pull_request_target"),
            "`event_name` is `pull_request_target`: strangers",
        ),
        ("event_name", json!("workflow_run"), "`event_name` is `workflow_run`: strangers"),
        ("event_name", json!("issue_comment"), "`event_name` is `issue_comment`: strangers"),
        ("event_name", json!(7), "`event_name` is `7`"),
        ("jti", json!(null), "`jti` is not there"),
        ("jti", json!(""), "`jti` is ``"),
    ] {
        let mut claims = right.clone();
        claims[claim] = value.clone();
        let reply = exchange(&server, &github(&issuer, &claims));
        reply.is_refused(403, "forbidden");
        let detail = reply.json()["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains(told), "{claim} {value}: {detail}");
        let is_owner = claim != "repository_owner_id";
        assert_eq!(detail.contains(nearest), is_owner, "{claim} {value}: {detail}");
        assert_eq!(detail.contains("release deploy"), is_owner, "{claim} {value}: {detail}");
        for secret in ["1234", "refs/tags/v*", "internal", "production"] {
            let own = value.to_string().contains(secret);
            assert!(own || !detail.contains(secret), "{claim}: {detail}");
        }
    }
    // The file with the steps decides, and is told.
    for (claim, value) in [
        ("job_workflow_ref", "evil/shared/.github/workflows/release.yml@refs/tags/v1"),
        ("job_workflow_ref", "acme/deploy/.github/workflows/release.yml@x.yml@refs/tags/v1"),
        ("workflow_ref", "acme/deploy/.github/workflows/other.yml@refs/tags/v1"),
    ] {
        let mut claims = json!({"repository_visibility": "private", claim: value});
        if claim == "workflow_ref" {
            claims["job_workflow_ref"] = Value::Null;
        }
        let reply = exchange(&server, &github(&issuer, &claims));
        reply.is_refused(403, "forbidden");
        let detail = reply.json()["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains(&format!("`{claim}` is `{value}`")), "{detail}");
    }
    // The record says what was expected.
    server.eventually("recorded", |server| {
        let log = server.log();
        log.contains(
            "for `release deploy` the claim `environment` is `staging`, and not `production`",
        )
    });
    let listed = server.send("GET", "/-/api/v1/tokens", &[AS_ADMIN], b"").json();
    assert_eq!(listed["tokens"], json!([]), "nobody got anything");
    assert_eq!(exchange(&server, &github(&issuer, &right)).status, 200);
}

#[test]
fn what_is_no_identity_for_this_server_now_is_refused_in_words_that_it_says_itself() {
    let issuer = Issuer::new();
    let server = Server::with(&settings(&issuer, &json!([github_rule()])));
    let (unknown, other) = (SigningKey::p256("key"), Issuer::new());
    let claims = issuer.claims(SUB, &github_claims());
    let now = claims["iat"].as_u64().unwrap();
    let changed = |claim: &str, value: Value| {
        let mut claims = issuer.claims(SUB, &github_claims());
        claims[claim] = value;
        if claims[claim].is_null() {
            claims.as_object_mut().unwrap().remove(claim);
        }
        issuer.key().token(&claims)
    };
    let ours = "an identity with the audience `https://dbt.example.com` alone";
    let none = "the credential is not valid";
    let unsigned = |alg: &str| issuer.key().token_with(&json!({"alg": alg, "kid": "key"}), &claims);
    for (identity, told) in [
        (unknown.token(&claims), none),
        (github(&other, &json!({})), none),
        (other.token(SUB, &json!({"iss": issuer.url()})), none),
        (changed("iss", json!(format!("{}/", issuer.url()))), none),
        (changed("sub", json!("")), none),
        (changed("sub", Value::Null), none),
        (unsigned("none"), "the token's algorithm is not accepted"),
        (unsigned("HS256"), "the token's algorithm is not accepted"),
        ("a.b.c".to_owned(), "the token is malformed"),
        ("dbt_the_wrong_kind".to_owned(), "the token is malformed"),
        (changed("exp", json!(now - 100)), "it expired"),
        (changed("exp", json!("soon")), "its `exp` is no time"),
        (changed("exp", Value::Null), "it has no `exp`"),
        (changed("exp", json!(now + 25 * 3600)), "more than 24 hours"),
        (changed("iat", json!(now + 600)), "its `iat` is"),
        (changed("nbf", json!(now + 600)), "its `nbf` is"),
        (changed("aud", json!("https://other.example.com")), ours),
        (changed("aud", json!("https://dbt.example.com/")), ours),
        (changed("aud", json!(["https://dbt.example.com", "https://other.example.com"])), ours),
        (changed("aud", json!([])), ours),
        (changed("aud", Value::Null), ours),
        (changed("cnf", json!({"jkt": "x"})), "only together with a key"),
    ] {
        let reply = exchange(&server, &identity);
        reply.is_refused(401, "unauthorised");
        assert!(reply.header("www-authenticate").unwrap().starts_with("Bearer realm=\"dbt\""));
        let detail = reply.json()["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains(told), "{told}: {detail}");
    }
    // A list of one is one.
    let one = changed("aud", json!(["https://dbt.example.com"]));
    assert_eq!(exchange(&server, &one).status, 200);
    issuer.be_away(true);
    let rotated = SigningKey::p256("rotated").token(&claims);
    assert_eq!(exchange(&server, &rotated).status, 401, "the known keys go on to count");
    let fresh = Server::with(&settings(&issuer, &json!([github_rule()])));
    let reply = exchange(&fresh, &github(&issuer, &json!({})));
    reply.is_refused(503, "busy");
    assert!(reply.header("retry-after").is_some());
}

#[test]
fn what_is_no_request_for_an_exchange_is_refused_without_repeating_it() {
    let issuer = Issuer::new();
    let server = Server::with(&settings(&issuer, &json!([github_rule()])));
    let identity = github(&issuer, &json!({}));
    server.keep_secret(&identity);
    for body in [
        String::new(),
        "{".to_owned(),
        json!(identity).to_string(),
        json!([identity]).to_string(),
        json!({"token": ""}).to_string(),
        json!({"token": [identity]}).to_string(),
        json!({"token": identity, "scope": "admin"}).to_string(),
        json!({"token": identity, "scope": null}).to_string(),
        json!({"token": identity, "audience": "x"}).to_string(),
        json!({"token": "x".repeat(17_000)}).to_string(),
    ] {
        let reply = server.send("POST", EXCHANGE, &[], body.as_bytes());
        reply.is_refused(400, "bad-body");
    }
    for line in ["Idempotency-Key:", "Idempotency-Key: \u{e9}"] {
        let body = json!({"token": identity});
        exchange_with(&server, &[line], &body).is_refused(400, "bad-header");
        let long = format!("Idempotency-Key: {}", "x".repeat(256));
        exchange_with(&server, &[&long], &body).is_refused(400, "bad-header");
        let twice = ["Idempotency-Key: a", "Idempotency-Key: b"];
        exchange_with(&server, &twice, &body).is_refused(400, "bad-header");
    }
    let foreign = ["Origin: https://evil.example"];
    exchange_with(&server, &foreign, &json!({"token": identity})).is_refused(403, "forbidden");
    // None of it has used the identity up.
    assert_eq!(exchange(&server, &identity).status, 200);
    let audience = server.get("/-/api/v1/oidc/audience").json();
    assert_eq!(audience, json!({"audience": "https://dbt.example.com"}));
    let without = Server::start();
    without.get("/-/api/v1/oidc/audience").is_refused(404, "not-found");
    exchange(&without, &identity).is_refused(404, "not-found");
}

#[test]
fn an_identity_writes_once_and_a_lost_answer_is_given_again_to_who_knows_its_key() {
    let issuer = Issuer::new();
    let server = Server::with(&settings(&issuer, &json!([github_rule()])));
    let identity = github(&issuer, &json!({}));
    let body = json!({"token": identity});
    let key = ["Idempotency-Key: 3f6c6e1d-of-this-try"];
    let first = exchange_with(&server, &key, &body);
    assert_eq!(first.status, 200, "{first:?}");
    // Nobody has read that; the job asks again.
    let again = exchange_with(&server, &key, &body);
    assert_eq!(again.json()["token"], first.json()["token"]);
    assert_eq!(again.json()["id"], first.json()["id"]);
    for lines in [&[][..], &["Idempotency-Key: other"]] {
        exchange_with(&server, lines, &body).is_refused(409, "identity-used");
    }
    assert_eq!(put(&server, &bearer(&again), TOOL).status, 201, "it counts all the same");
    // Without a key, it is known to nobody that it is the same one who asks.
    let other = github(&issuer, &json!({}));
    assert_eq!(exchange(&server, &other).status, 200);
    for lines in [&[][..], &key] {
        let reply = exchange_with(&server, lines, &json!({"token": other}));
        reply.is_refused(409, "identity-used");
    }
    // Another signature under the same id is the same identity.
    let jti = json!({"jti": "the-same"});
    assert_eq!(exchange(&server, &github(&issuer, &jti)).status, 200);
    exchange(&server, &github(&issuer, &jti)).is_refused(409, "identity-used");
    // For reading it is shown as often as one likes, and still after it was used for writing.
    let reads: Vec<Value> =
        (0..3).map(|_again| exchange_to_read(&server, &identity).json()["token"].clone()).collect();
    assert!(reads[0].is_string() && reads.iter().all(|token| *token == reads[0]), "{reads:?}");
    // All of it is known after a restart.
    let place = server.kill();
    let server = Server::on(place, &settings(&issuer, &json!([github_rule()])));
    exchange(&server, &identity).is_refused(409, "identity-used");
    let again = exchange_with(&server, &key, &body);
    assert_eq!(again.json()["token"], first.json()["token"]);
    assert_eq!(exchange_to_read(&server, &identity).json()["token"], reads[0]);
}

#[test]
fn of_many_who_exchange_an_identity_at_once_one_gets_a_token() {
    let issuer = Issuer::new();
    let server = Server::with(&settings(&issuer, &json!([github_rule()])));
    let identity = github(&issuer, &json!({}));
    let same = github(&issuer, &json!({}));
    // The keys are asked for once, before.
    assert_eq!(exchange_to_read(&server, &identity).status, 200);
    let start = Arc::new(Barrier::new(8));
    let mut replies: Vec<(bool, u16, Value)> = Vec::new();
    std::thread::scope(|scope| {
        let asking: Vec<_> = (0..8)
            .map(|number| {
                let (start, identity, same, server) =
                    (Arc::clone(&start), &identity, &same, &server);
                scope.spawn(move || {
                    start.wait();
                    let has_key = number % 2 == 0;
                    let reply = if has_key {
                        exchange_with(server, &["Idempotency-Key: k"], &json!({"token": same}))
                    } else {
                        exchange(server, identity)
                    };
                    (has_key, reply.status, reply.json()["token"].clone())
                })
            })
            .collect();
        replies.extend(asking.into_iter().map(|asking| asking.join().unwrap()));
    });
    let of = |has_key: bool| replies.iter().filter(move |(it, _, _)| *it == has_key);
    assert_eq!(of(false).filter(|(_, status, _)| *status == 200).count(), 1, "{replies:?}");
    assert_eq!(of(false).filter(|(_, status, _)| *status == 409).count(), 3, "{replies:?}");
    let tokens: Vec<&Value> = of(true).map(|(_, _, token)| token).collect();
    assert!(tokens[0].is_string() && tokens.iter().all(|token| *token == tokens[0]), "{replies:?}");
}

/// As GitLab makes them: one identity for a whole job, in as many containers as it has.
pub(crate) fn gitlab_rule() -> Value {
    json!({
        "name": "release from GitLab",
        "claims": {"namespace_id": "72", "project_path": "acme/deploy", "ref_protected": true,
            "environment": "production"},
        "workflow": ".gitlab-ci.yml", "tools": ["deploy"], "permits": ["publish", "withdraw"],
        "replay": "until-expiry",
    })
}

pub(crate) fn gitlab(issuer: &Issuer, others: &Value) -> String {
    let mut claims = json!({
        "jti": unique(), "namespace_id": "72", "namespace_path": "acme", "project_id": "20",
        "project_path": "acme/deploy", "user_login": "alice", "pipeline_id": "574",
        "pipeline_source": "push", "job_id": "302", "ref": "main", "ref_type": "branch",
        "ref_protected": "true", "environment": "production", "environment_protected": "true",
        "sha": "714a629",
        "ci_config_ref_uri": "gitlab.example.com/acme/deploy//.gitlab-ci.yml@refs/heads/main",
    });
    for (claim, value) in others.as_object().unwrap() {
        if value.is_null() {
            claims.as_object_mut().unwrap().remove(claim);
        } else {
            claims[claim] = value.clone();
        }
    }
    issuer.token("project_path:acme/deploy:ref_type:branch:ref:main", &claims)
}

#[test]
fn one_job_with_one_identity_in_two_containers_reads_twice_publishes_once_and_asks_again() {
    let issuer = Issuer::new();
    let rules = json!([gitlab_rule()]);
    let server = Server::with(&settings(&issuer, &rules));
    let identity = gitlab(&issuer, &json!({}));
    // Each container starts with nothing but the identity, and reads.
    for _container in 0..2 {
        let reads = bearer(&exchange_to_read(&server, &identity));
        assert_eq!(status(&server, "GET", TOOL, &reads), 404);
        assert_eq!(status(&server, "PUT", TOOL, &reads), 403);
    }
    // One publishes. The answer to its exchange is lost, and that to its upload.
    assert_eq!(exchange(&server, &identity).status, 200);
    let job = exchanged(&server, &identity);
    assert_eq!(put(&server, &job, TOOL).status, 201);
    assert_eq!(put(&server, &job, TOOL).status, 200);
    // The other one does the same at the same time: it is the same job.
    let other = exchanged(&server, &identity);
    assert_eq!(other, job, "one token for an identity");
    assert_eq!(put(&server, &other, TOOL).status, 200);
    assert_eq!(server.send("PUT", TOOL, &[&other], b"other bytes").status, 403);
    let place = server.kill();
    let server = Server::on(place, &settings(&issuer, &rules));
    assert_eq!(exchanged(&server, &identity), job, "also after a restart");

    // Another job has another token; without a `jti`, too.
    let next = gitlab(&issuer, &json!({"job_id": "303", "jti": null}));
    let next_token = exchanged(&server, &next);
    assert_ne!(next_token, job);
    assert_eq!(exchanged(&server, &next), next_token);
    // What does not say which job it is counts for reading alone.
    let nameless = gitlab(&issuer, &json!({"job_id": null}));
    let refused = exchange(&server, &nameless);
    refused.is_refused(403, "forbidden");
    assert!(refused.json()["detail"].as_str().unwrap().contains("`job_id` is not there"));
    assert_eq!(exchange_to_read(&server, &nameless).status, 200);
    for (claim, value) in [
        ("pipeline_source", "merge_request_event"),
        ("pipeline_source", "parent_pipeline"),
        ("pipeline_source", "pipeline"),
        ("pipeline_source", "trigger"),
        ("ref_protected", "false"),
        ("environment", "staging"),
        ("namespace_id", "73"),
        ("ci_config_ref_uri", "gitlab.example.com/evil/deploy//.gitlab-ci.yml@refs/heads/main"),
        ("ci_config_ref_uri", "gitlab.example.com/acme/deploy//other.yml@refs/heads/main"),
    ] {
        let reply = exchange(&server, &gitlab(&issuer, &json!({claim: value})));
        reply.is_refused(403, "forbidden");
        let detail = reply.json()["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains(&format!("`{claim}` is `{value}`")), "{detail}");
    }
}
