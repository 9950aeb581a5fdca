//! docs/providers: the settings of each page are taken as they are, and do what it says of its token;
//! and what is said of refusals is what is said.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use dbt_testkit::identity_provider::SigningKey;
use dbt_testkit::planted::files_below;
use serde_json::{Value, json};

use crate::oidc::Issuer;
use crate::tokens::{Key, claims, key_file, now};
use crate::world::{Place, Reply, Server, looked_through};

const ERRORS: &str = include_str!("../../../../docs/providers/errors.md");

/// The pages, and as whom the token of each is known.
const PAGES: [(&str, &str, &str); 7] = [
    ("Dex", include_str!("../../../../docs/providers/dex.md"), "alice@example.com"),
    ("Keycloak", include_str!("../../../../docs/providers/keycloak.md"), "alice"),
    ("Okta", include_str!("../../../../docs/providers/okta.md"), "alice@example.com"),
    ("Google", include_str!("../../../../docs/providers/google.md"), "alice@example.com"),
    (
        "Entra ID",
        include_str!("../../../../docs/providers/entra-id.md"),
        "00000000-0000-0000-66f3-3332eca7ea81",
    ),
    (
        "Auth0",
        include_str!("../../../../docs/providers/auth0.md"),
        "auth0|64f000000000000000000001",
    ),
    (
        "AWS IAM Identity Center",
        include_str!("../../../../docs/providers/aws-iam-identity-center.md"),
        "alice@example.com",
    ),
];

/// What is on a page.
struct Page {
    name: &'static str,
    server: Value,
    client: Value,
    token: Value,
    known_as: &'static str,
}

impl Page {
    fn all() -> Vec<Self> {
        let read = |(name, text, known_as): (&'static str, &str, &'static str)| {
            assert!(text.starts_with(&format!("# {name}\n")), "{name}");
            let blocks = text.split("```json\n").skip(1);
            let blocks: Vec<Value> = blocks
                .map(|rest| serde_json::from_str(rest.split("```").next().unwrap()).unwrap())
                .collect();
            let [server, client, token] = blocks.try_into().unwrap();
            Self { name, server, client, token, known_as }
        };
        PAGES.into_iter().map(read).collect()
    }

    fn issuer(&self) -> &Value {
        let issuers = self.server["auth"]["issuers"].as_array().unwrap();
        assert_eq!(issuers.len(), 1, "{}", self.name);
        &issuers[0]
    }

    /// Starts a server with the settings of the page, for an issuer of ours.
    fn serve(&self, issuer: &Issuer) -> Server {
        let mut settings = self.server.clone();
        settings["auth"]["issuers"][0]["issuerUrl"] = issuer.url().into();
        let server = Server::with(members(&settings));
        server.put_on_disk("dbt/latest", b"1.0.0");
        server
    }
}

/// Returns the members of an object as they are written into a file with others.
fn members(settings: &Value) -> &'static str {
    let text = settings.to_string();
    let members = text.strip_prefix('{').and_then(|it| it.strip_suffix('}')).unwrap();
    String::leak(members.to_owned())
}

fn ask(server: &Server, method: &str, path: &str, token: &str) -> Reply {
    let line = format!("Authorization: Bearer {token}");
    server.send(method, path, &[&line], if method == "PUT" { b"bytes" } else { b"" })
}

#[test]
fn the_settings_of_each_page_are_taken_as_they_are() {
    for page in Page::all() {
        let place = Place::new().argument("check-config");
        let output = looked_through(&mut place.command(members(&page.server)));
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{}: {output:?}", page.name);
        let issuer = page.issuer()["issuerUrl"].as_str().unwrap();
        assert!(said.contains(issuer), "{}: {said}", page.name);
        assert!(!said.contains("warning: "), "{}: {said}", page.name);
    }
}

#[test]
fn each_page_has_one_audience_and_both_sides_mean_it() {
    for page in Page::all() {
        let (name, issuer) = (page.name, page.issuer());
        let audiences = issuer["audiences"].as_array().unwrap();
        assert_eq!(audiences.len(), 1, "{name}");
        let entry = &page.client["servers"]["example"];
        assert_eq!(entry["issuerUrl"], issuer["issuerUrl"], "{name}");
        assert_eq!(entry["oidcClientId"], audiences[0], "{name}: the ID token is for the client");
        assert_eq!(page.token["aud"], audiences[0], "{name}");
        let asked = entry.get("oidcAudience").unwrap_or(&audiences[0]);
        assert_eq!(asked, &audiences[0], "{name}");
        let url = page.server["publicUrls"][0].as_str().unwrap();
        assert_eq!(entry["repository"], format!("{url}/dbt"), "{name}");
    }
}

/// A token that two servers accept can be shown to one by the other.
#[test]
fn no_page_gives_a_server_more_than_one_audience() {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut files: Vec<PathBuf> = ["README.md", "SECURITY.md"].map(|name| top.join(name)).to_vec();
    files.extend(
        ["docs", "kubernetes", "deploy"].into_iter().flat_map(|it| files_below(&top.join(it))),
    );
    let mut found = BTreeMap::new();
    for path in &files {
        let Ok(text) = std::fs::read_to_string(path) else { continue };
        for key in ["\"audiences\": [", "\"publicUrls\": ["] {
            for list in text.split(key).skip(1) {
                let list = list.split(']').next().unwrap();
                assert!(!list.contains(','), "{}: {key}{list}]", path.display());
                *found.entry(path.as_path()).or_insert(0) += 1;
            }
        }
    }
    assert!(found.values().sum::<usize>() >= 15, "{found:?}");
    let example = top.join("kubernetes/overlays/example/reposerver.json");
    assert_eq!(found.get(example.as_path()), Some(&2), "what people deploy is looked at, too");
}

#[test]
fn what_each_page_says_of_a_token_is_so() {
    let artifact = "/dbt-tools/deploy/1.0.0/linux/amd64/deploy";
    for page in Page::all() {
        let name = page.name;
        let issuer = Issuer::new();
        let server = page.serve(&issuer);
        let sub = page.token["sub"].as_str().unwrap();
        let token = issuer.token(sub, &page.token);
        let known = ask(&server, "GET", "/-/api/v1/whoami", &token).json();
        let expected = format!("{}{}", issuer.word(), page.known_as);
        assert_eq!(known["subject"], expected, "{name}: {known}");
        assert_eq!(known["roles"], json!(["publisher"]), "{name}: {known}");
        assert_eq!(ask(&server, "GET", "/dbt/latest", &token).text(), "1.0.0", "{name}");
        assert_eq!(ask(&server, "PUT", artifact, &token).status, 201, "{name}");

        let mut others = page.token.clone();
        others["aud"] = "another-client".into();
        let foreign = issuer.token(sub, &others);
        for (method, path) in [("GET", "/dbt/latest"), ("PUT", "/dbt-tools/other/latest")] {
            ask(&server, method, path, &foreign).is_refused(401, "unauthorised");
        }
        // The same person, without what makes a publisher.
        let mut nobody = page.token.clone();
        for claim in ["groups", "https://dbt.example.com/groups"] {
            nobody.as_object_mut().unwrap().remove(claim);
        }
        let name_of = if name == "Google" { "email" } else { "sub" };
        if name == "Google" {
            nobody[name_of] = "bob@example.com".into();
        }
        let nobody = issuer.token(sub, &nobody);
        assert_eq!(ask(&server, "GET", "/dbt/latest", &nobody).text(), "1.0.0", "{name}");
        ask(&server, "PUT", artifact, &nobody).is_refused(403, "forbidden");
    }
}

#[test]
fn what_the_page_of_google_says_of_everybody_else_is_so() {
    let page = Page::all().remove(3);
    let issuer = Issuer::new();
    let server = page.serve(&issuer);
    for (claim, value) in
        [("hd", json!("example.org")), ("hd", json!(null)), ("email_verified", json!(false))]
    {
        let mut claims = page.token.clone();
        claims[claim] = value;
        let token = issuer.token("x", &claims);
        ask(&server, "GET", "/dbt/latest", &token).is_refused(401, "unauthorised");
    }
    let mut unnamed = page.token.clone();
    unnamed["email"] = "carol@example.com".into();
    let token = issuer.token("x", &unnamed);
    ask(&server, "GET", "/dbt/latest", &token).is_refused(403, "forbidden");
    // For the real one, what the page warns of stops the start.
    let mut settings = page.server.clone();
    settings["auth"]["issuers"][0].as_object_mut().unwrap().remove("requiredClaims");
    let said = Place::new().refusal(members(&settings));
    assert!(said.contains("requiredClaims` must name an owner"), "{said}");
    settings["auth"]["issuers"][0] = page.issuer().clone();
    settings["auth"]["issuers"][0]["forPeople"] = true.into();
    let said = Place::new().refusal(members(&settings));
    assert!(said.contains("forPeople` cannot be true"), "{said}");
}

#[test]
fn what_the_page_of_entra_says_of_too_many_groups_is_so() {
    let page = Page::all().remove(4);
    let issuer = Issuer::new();
    let server = page.serve(&issuer);
    let mut claims = page.token.clone();
    claims.as_object_mut().unwrap().remove("groups");
    for (claim, value) in [("hasgroups", json!(true)), ("_claim_names", json!({"groups": "src1"}))]
    {
        let mut claims = claims.clone();
        claims[claim] = value;
        let token = issuer.token("x", &claims);
        assert_eq!(ask(&server, "GET", "/dbt/latest", &token).status, 200, "{claim}");
        let reply = ask(&server, "PUT", "/dbt-tools/x/1.0.0/linux/amd64/x", &token);
        let detail = reply.is_refused(403, "forbidden").json()["detail"].clone();
        let detail = detail.as_str().unwrap();
        assert!(detail.contains("the provider left the groups out of the token"), "{detail}");
        is_there(&messages("What the server answers"), detail);
    }
}

/// Returns the messages of one section of the page about errors; `…` stands for anything.
fn messages(heading: &str) -> Vec<Vec<String>> {
    let section = ERRORS.split(&format!("\n## {heading}\n")).nth(1).unwrap();
    let section = section.split("\n## ").next().unwrap();
    let rows = section.lines().filter(|line| line.starts_with("| ") && line.contains("``"));
    let first = |row: &str| row.split(" | ").next().unwrap().to_owned();
    let texts = rows.flat_map(|row| {
        let cell = first(row);
        let texts = cell.split("``").skip(1).step_by(2).map(str::trim).map(str::to_owned);
        texts.collect::<Vec<_>>()
    });
    texts.map(|text| text.split('…').map(str::to_owned).collect()).collect()
}

/// Expects that one of the messages is what was said; returns which.
#[track_caller]
fn is_there(messages: &[Vec<String>], said: &str) -> BTreeSet<usize> {
    let fits = |parts: &Vec<String>| {
        let mut rest = said;
        for (index, part) in parts.iter().enumerate() {
            let Some(at) = rest.find(part.as_str()) else { return false };
            if index == 0 && at > 0 {
                return false;
            }
            rest = &rest[at + part.len()..];
        }
        rest.is_empty() || parts.last().is_some_and(String::is_empty)
    };
    let fitting = messages.iter().enumerate().filter(|(_index, parts)| fits(parts));
    let found: BTreeSet<usize> = fitting.map(|(index, _parts)| index).collect();
    assert!(!found.is_empty(), "the page lacks: {said}");
    found
}

/// Expects that each message of a section was said: a row of which nobody has seen that it is so may be one
/// of earlier words.
#[track_caller]
fn all_were_said(messages: &[Vec<String>], found: &BTreeSet<usize>) {
    let unsaid = messages.iter().enumerate().filter(|(index, _parts)| !found.contains(index));
    let unsaid: Vec<String> = unsaid.map(|(_index, parts)| parts.join("…")).collect();
    assert!(unsaid.is_empty(), "the page has what nothing said: {unsaid:#?}");
}

/// A server that demands all that can be demanded.
fn demanding(issuer: &Issuer) -> Server {
    let settings = json!({
        "authGets": true, "authTypeGet": "oidc", "authTypePut": "oidc",
        "auth": {"issuers": [{
            "issuerUrl": issuer.url(), "audiences": ["dbt-example"], "usernameClaimKey": "email",
            "requiredClaims": {"hd": "example.com"}, "allowedGroups": ["writers"],
        }]},
    });
    Server::with(members(&settings))
}

#[test]
fn the_page_about_errors_has_every_reason_of_the_record() {
    let messages = messages("What the record says of a refused token");
    let issuer = Issuer::new();
    let server = demanding(&issuer);
    let good = json!({
        "aud": "dbt-example", "hd": "example.com", "email": "a@example.com",
        "email_verified": true, "groups": ["writers"],
    });
    let with = |claim: &str, value: Value| {
        let mut claims = good.clone();
        claims[claim] = value;
        claims
    };
    let without = |claim: &str| {
        let mut claims = good.clone();
        claims.as_object_mut().unwrap().remove(claim);
        claims
    };
    assert_eq!(ask(&server, "GET", "/", &issuer.token("x", &good)).status, 200);
    let (stranger, unknown) = (SigningKey::p256("key"), SigningKey::p256("other"));
    let now = issuer.claims("x", &json!({}))["iat"].as_u64().unwrap();
    let mut for_nobody = issuer.claims("x", &good);
    for_nobody.as_object_mut().unwrap().remove("aud");
    let tokens = [
        issuer.key().token(&for_nobody),
        issuer.token("x", &with("aud", json!("portal"))),
        issuer.token("x", &with("aud", json!(["dbt-example", "portal"]))),
        issuer.token("x", &with("iss", json!("https://other.example.com"))),
        issuer.token("x", &with("exp", json!(1))),
        issuer.token("x", &with("nbf", json!(now + 3600))),
        issuer.token("x", &with("exp", json!(now + 100_000))),
        issuer.token("x", &with("groups", json!(["readers"]))),
        issuer.token("x", &with("groups", json!([]))),
        issuer.token("x", &json!({"aud": "dbt-example", "hd": "example.com", "hasgroups": true})),
        issuer.token("x", &without("hd")),
        issuer.token("x", &with("hd", json!("example.org"))),
        issuer.token("x", &with("email_verified", json!(false))),
        issuer.token("x", &with("email", json!(["a"]))),
        stranger.token(&issuer.claims("x", &good)),
        unknown.token(&issuer.claims("x", &good)),
    ];
    for (index, token) in tokens.iter().enumerate() {
        let reply = ask(&server, "GET", "/", token);
        let reply = reply.is_refused(401, "unauthorised");
        assert_eq!(reply.json()["detail"], "the credential is not valid");
        let count = index + 1;
        server.eventually("recorded", |server| reasons(server).len() >= count);
    }
    let mut said = reasons(&server);
    assert_eq!(said.len(), tokens.len(), "{said:#?}");
    let away = Issuer::new();
    let server = demanding(&away);
    away.be_away(true);
    ask(&server, "GET", "/", &away.token("x", &good)).is_refused(401, "unauthorised");
    server.eventually("recorded", |server| !reasons(server).is_empty());
    said.extend(reasons(&server));
    let mut found = BTreeSet::new();
    for reason in said {
        // Behind it stands who made the token, as it says.
        let reason = reason.split("; it says it is from `").next().unwrap();
        found.extend(is_there(&messages, reason));
    }
    all_were_said(&messages, &found);
}

/// Returns why requests were refused, as the log has it.
fn reasons(server: &Server) -> Vec<String> {
    let log = server.log();
    let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let reason = |line: Value| {
        let of = |value: &Value| value["reason"].as_str().map(ToOwned::to_owned);
        of(&line).or_else(|| of(&line["fields"]))
    };
    lines.filter_map(reason).collect()
}

#[test]
fn the_page_about_errors_has_every_answer_of_the_server() {
    let messages = messages("What the server answers");
    let mut found = BTreeSet::new();
    let issuer = Issuer::new();
    let server = Page::all().remove(1).serve(&issuer);
    let good = json!({"aud": "dbt-example", "preferred_username": "alice"});
    let claims = issuer.claims("x", &good);
    let with = |header: Value| issuer.key().token_with(&header, &claims);
    let good = issuer.token("x", &good);
    for (method, path, token, status) in [
        ("GET", "/dbt/latest", format!("{good}x"), 401),
        ("GET", "/dbt/latest", with(json!({"alg": "HS256", "kid": "key"})), 401),
        (
            "GET",
            "/dbt/latest",
            with(json!({"alg": "ES256", "kid": "key", "typ": "logout+jwt"})),
            401,
        ),
        ("GET", "/dbt/latest", with(json!({"alg": "ES256", "kid": "key", "crit": ["x"]})), 401),
        ("GET", "/dbt/latest", format!("a{}", &good[1..]), 401),
        ("PUT", "/dbt-tools/x/latest", good.clone(), 403),
    ] {
        let reply = ask(&server, method, path, &token);
        assert_eq!(reply.status, status, "{token}");
        found.extend(is_there(&messages, reply.json()["detail"].as_str().unwrap()));
    }
    let foreign = issuer.token("x", &json!({"aud": "portal", "preferred_username": "alice"}));
    let reply = ask(&server, "GET", "/dbt/latest", &foreign);
    found.extend(is_there(&messages, reply.json()["detail"].as_str().unwrap()));
    // Who is stopped is told so, whatever they show.
    let subject = format!("{}alice", issuer.word());
    server.command_beside(&["user", "suspend", &subject]);
    let reply = ask(&server, "PUT", "/dbt-tools/x/latest", &good);
    reply.is_refused(403, "forbidden");
    let detail = reply.json()["detail"].as_str().unwrap().to_owned();
    assert!(detail.ends_with(" is suspended"), "{detail}");
    found.extend(is_there(&messages, &detail));

    let away = Issuer::new();
    let server = Page::all().remove(1).serve(&away);
    away.be_away(true);
    let claims = json!({"aud": "dbt-example", "preferred_username": "alice"});
    let reply = ask(&server, "GET", "/dbt/latest", &away.token("x", &claims));
    assert_eq!(reply.status, 401);
    found.extend(is_there(&messages, reply.json()["detail"].as_str().unwrap()));

    let strange = refusals_of_strange_credentials();
    for detail in refusals_of_ssh_keys().into_iter().chain(strange) {
        found.extend(is_there(&messages, &detail));
    }
    let page = Page::all().remove(4);
    let server = page.serve(&issuer);
    let mut claims = page.token.clone();
    claims.as_object_mut().unwrap().remove("groups");
    claims["hasgroups"] = true.into();
    let reply =
        ask(&server, "PUT", "/dbt-tools/x/1.0.0/linux/amd64/x", &issuer.token("x", &claims));
    found.extend(is_there(&messages, reply.json()["detail"].as_str().unwrap()));
    all_were_said(&messages, &found);
}

/// Returns what is answered to tokens that an SSH key signed.
fn refusals_of_ssh_keys() -> Vec<String> {
    let key = Key::ed25519(7);
    let place = Place::new();
    let users = key_file(&[("alice", key.line())]);
    place.put_beside("keys.json", users.as_bytes());
    let members = r#""authTypePut": "ssh-agent-file", "pubkeysFile": "keys.json",
        "publicUrls": ["https://dbt.example.com"]"#;
    let server = Server::on(place, members);
    let put = |claims: &Value| {
        let line = format!("Token: {}", key.signed(claims));
        server.send("PUT", "/dbt/latest", &[&line], b"1.0.0")
    };
    let with = |changes: &Value| {
        let mut claims = claims("alice");
        for (claim, value) in changes.as_object().unwrap() {
            claims[claim] = value.clone();
        }
        claims
    };
    let used = with(&json!({}));
    assert_eq!(put(&used).status, 201);
    let early = json!({"nbf": now() + 200, "iat": now() + 200, "exp": now() + 300});
    let late = json!({"nbf": now() - 400, "iat": now() - 400, "exp": now() - 100});
    let elsewhere = json!({"aud": ["other.example.com"]});
    // From before the server began.
    let old = json!({"nbf": now() - 100, "iat": now() - 100, "exp": now() + 100});
    let other_method = json!({"htm": "DELETE"});
    let other_url = json!({"htm": "PUT", "htu": "https://dbt.example.com/dbt/other"});
    let without = |claim: &str| {
        let mut claims = claims("alice");
        claims.as_object_mut().unwrap().remove(claim);
        claims
    };
    let refused = [
        used,
        with(&early),
        with(&late),
        with(&elsewhere),
        with(&old),
        with(&other_method),
        with(&other_url),
        with(&json!({"aud": "dbt.example.com"})),
        without("jti"),
        without("sub"),
        with(&json!({"iss": "bob"})),
        with(&json!({"exp": "soon"})),
        without("exp"),
        without("iat"),
        with(&json!({"exp": now() + 3600})),
    ];
    refused.iter().map(|claims| detail(&put(claims))).collect()
}

/// Returns what is answered to credentials that nobody who signs in sends.
fn refusals_of_strange_credentials() -> Vec<String> {
    let server = Server::start();
    let long = format!("Authorization: Bearer {}", ".".repeat(20 * 1024));
    let strange: [&[&str]; 5] = [
        &["Authorization: Bearer a", "Authorization: Bearer a"],
        &[long.as_str()],
        &["Authorization: Bearer \u{e9}"],
        &["Authorization: Digest abc"],
        &["Authorization: Basic !!!"],
    ];
    let put = |lines: &&[&str]| detail(&server.send("PUT", "/dbt/latest", lines, b"1.0.0"));
    let said = strange.iter().map(put).collect();
    assert!(!server.root().join("dbt/latest").exists());
    said
}

/// Returns why a request was refused for what it shows.
#[track_caller]
fn detail(reply: &Reply) -> String {
    reply.is_refused(401, "unauthorised");
    reply.json()["detail"].as_str().unwrap().to_owned()
}
