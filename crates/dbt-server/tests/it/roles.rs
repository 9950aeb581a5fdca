//! Roles by what an identity provider claims, those of who holds no other, and which kinds of proof people
//! may show.

use serde_json::{Value, json};

use crate::oidc::Issuer;
use crate::world::{Place, Reply, Server, sha256};

const WHOAMI: &str = "/-/api/v1/whoami";
const FOO: &str = "/dbt-tools/foo/1.0.0/linux/amd64/foo";

fn ask(server: &Server, method: &str, path: &str, token: &str) -> Reply {
    let line = format!("Authorization: Bearer {token}");
    server.send(method, path, &[&line], if method == "PUT" { b"body" } else { b"" })
}

/// Returns the roles that the server says somebody holds.
fn roles(server: &Server, token: &str) -> Value {
    ask(server, "GET", WHOAMI, token).json()["roles"].clone()
}

/// Members with these issuers, `auth`, and a rule for the role `foo`, which nobody holds by name.
fn members(issuers: &[&Issuer], auth: &Value) -> String {
    let mut auth = auth.clone();
    auth["roles"] = json!({"foo": []});
    let options: Vec<Value> =
        issuers.iter().map(|issuer| serde_json::from_str(&issuer.options()).unwrap()).collect();
    auth["issuers"] = json!(options);
    let policies = json!([
        {"name": "foo", "subjects": ["role:foo"], "paths": ["/dbt-tools/foo/**"],
         "actions": ["read", "list", "create"]},
    ]);
    format!(r#""authTypePut": "oidc", "auth": {auth}, "policies": {policies}"#)
}

#[test]
fn a_role_is_held_as_long_as_the_token_says_so_and_its_rights_are_those_of_the_rules() {
    let issuer = Issuer::new();
    let server = Server::with(&members(
        &[&issuer],
        &json!({"oidc": {"roleMappings": [
            {"claim": "team", "value": "foo", "role": "foo"},
            {"claim": "groups", "value": ["admins", "root"], "role": "admin"},
        ]}}),
    ));
    let plain = issuer.token("alice", &json!({}));
    let foo = issuer.token("alice", &json!({"team": ["bar", "foo"]}));
    let admin = issuer.token("alice", &json!({"groups": ["/admins"], "team": "foo"}));
    assert_eq!(roles(&server, &plain), json!([]));
    assert_eq!(roles(&server, &foo), json!(["foo"]));
    assert_eq!(roles(&server, &admin), json!(["foo", "admin"]));
    ask(&server, "PUT", FOO, &plain).is_refused(403, "forbidden");
    assert!(!server.root().join("dbt-tools").exists());
    assert_eq!(ask(&server, "PUT", FOO, &foo).status, 201);
    ask(&server, "PUT", "/dbt/latest", &foo).is_refused(403, "forbidden");
    ask(&server, "PUT", FOO.replace("foo", "bar").as_str(), &foo).is_refused(403, "forbidden");
    assert_eq!(ask(&server, "PUT", "/dbt/latest", &admin).status, 201);
    // A change of group counts with the next token, at once: nothing of the last one is kept.
    ask(&server, "PUT", "/dbt/latest", &plain).is_refused(403, "forbidden");

    let subject = format!("{}alice", issuer.word());
    let explain =
        |claim: &str| server.command_beside(&["explain", &subject, "PUT", FOO, "--claim", claim]);
    assert!(
        explain("team=foo").contains("by the rule \u{201c}foo\u{201d}"),
        "{}",
        explain("team=foo")
    );
    assert!(explain("team=bar").contains("refused: no rule permits"));
    let by_group = server.command_beside(&["explain", &subject, "PUT", FOO, "--group", "admins"]);
    assert!(by_group.contains("holds the roles `admin`"), "{by_group}");
    assert!(
        server
            .refused_beside(&["explain", &subject, "PUT", FOO, "--claim", "x"])
            .contains("NAME=VALUE")
    );
    let checked = server.command_beside(&["check-config"]);
    assert!(checked.contains("auth.oidc.roleMappings[0].claim = team"), "{checked}");
    assert!(checked.contains("auth.mode = (none: people show what is configured)"), "{checked}");
}

#[test]
fn what_one_provider_claims_gives_no_role_to_the_users_of_another() {
    let (staff, guests) = (Issuer::new(), Issuer::new());
    let mapping = json!({"claim": "team", "value": "foo", "role": "foo"});
    let mut named = mapping.clone();
    named["issuer"] = json!(staff.url());
    let server =
        Server::with(&members(&[&staff, &guests], &json!({"oidc": {"roleMappings": [named]}})));
    let foo = json!({"team": "foo"});
    assert_eq!(roles(&server, &staff.token("alice", &foo)), json!(["foo"]));
    assert_eq!(roles(&server, &guests.token("alice", &foo)), json!([]));
    let said = Place::new()
        .refusal(&members(&[&staff, &guests], &json!({"oidc": {"roleMappings": [mapping]}})));
    assert!(said.contains("`auth.oidc.roleMappings[0].issuer` must be one of"), "{said}");
}

#[test]
fn who_holds_no_role_holds_the_one_that_is_for_them_and_programs_hold_none() {
    let issuer = Issuer::new();
    let members = |oidc: &Value| {
        let auth = json!({
            "oidc": oidc, "defaultRole": "readonly", "issuers": [
                serde_json::from_str::<Value>(&issuer.options()).unwrap()],
            "users": [{"name": "carol"}], "roles": {"publisher": ["user:carol", "static-token:root"]},
        });
        let policies = json!([{"name": "foo", "subjects": ["role:foo"],
            "paths": ["/dbt-tools/foo/**"], "actions": ["read", "create"]}]);
        let tokens = json!([
            {"name": "root", "sha256": sha256(b"root-token")},
            {"name": "ci", "sha256": sha256(b"write-token")},
        ]);
        format!(
            r#""authTypePut": "oidc, static-token", "tokens": {tokens}, "auth": {auth},
            "policies": {policies}"#
        )
    };
    let mapped = json!([{"claim": "team", "value": "foo", "role": "foo"}]);
    let server = Server::with(&members(&json!({"roleMappings": mapped})));
    let (plain, foo) =
        (issuer.token("alice", &json!({})), issuer.token("alice", &json!({"team": "foo"})));
    assert_eq!(roles(&server, &plain), json!(["readonly"]));
    assert_eq!(roles(&server, &foo), json!(["foo"]));
    assert_eq!(roles(&server, "write-token"), json!([]), "a program");
    let carol = server.command_beside(&["token", "create", "user:carol"]);
    assert_eq!(roles(&server, carol.trim()), json!(["publisher"]));
    // What a token of the server's own does not know of somebody is not made up for.
    let subject = format!("{}alice", issuer.word());
    let own = server.command_beside(&["token", "create", &subject]);
    assert_eq!(roles(&server, own.trim()), json!([]));

    server.reload(&members(&json!({"roleMappings": mapped, "defaultRole": "foo"})));
    assert_eq!(roles(&server, &plain), json!(["foo"]));
    assert_eq!(roles(&server, "write-token"), json!([]));
}

#[test]
fn roles_that_cannot_be_meant_stop_the_start() {
    let issuer = Issuer::new();
    let refused = |auth: &Value| Place::new().refusal(&members(&[&issuer], auth));
    let of = |mapping: Value| json!({"oidc": {"roleMappings": [mapping]}});
    for (auth, words) in [
        (
            of(json!({"claim": "a", "value": "b", "role": "fo"})),
            "`auth.oidc.roleMappings[0].role` is `fo`, of which no rule of `policies` speaks; the \
             nearest is `foo`",
        ),
        (of(json!({"value": "b", "role": "foo"})), "roleMappings[0].claim` is needed"),
        (of(json!({"claim": "a", "value": "b"})), "roleMappings[0].role` is needed"),
        (of(json!({"claim": "a", "role": "foo"})), "value` must be something that a claim can be"),
        (
            of(json!({"claim": "a", "value": "b", "role": "foo", "issuer": "https://x"})),
            "issuer` must be one of",
        ),
        (of(json!({"claim": "a", "value": "b", "roles": "foo"})), "unknown key"),
        (
            json!({"defaultRole": "admin"}),
            "`auth.defaultRole` makes an administrator of everybody who signs in",
        ),
        (
            json!({"oidc": {"defaultRole": "admin"}}),
            "`auth.oidc.defaultRole` makes an administrator",
        ),
        (json!({"defaultRole": "readnoly"}), "the nearest is `readonly`"),
    ] {
        let said = refused(&auth);
        assert!(said.contains(words), "{auth}: {said}");
    }
    let without_rules = r#""authTypePut": "static-token", "authOptsPut": {"staticToken": "open-sesame"},
        "auth": {"defaultRole": "readonly"}"#;
    let said = Place::new().refusal(without_rules);
    assert!(said.contains("`auth.defaultRole` has no effect without `policies`"), "{said}");
    let without_oidc = r#""authTypePut": "static-token", "authOptsPut": {"staticToken": "open-sesame"},
        "policies": [], "auth": {"oidc": {"defaultRole": "readonly"}}"#;
    let said = Place::new().refusal(without_oidc);
    assert!(said.contains("`auth.oidc.defaultRole` has no effect without `oidc`"), "{said}");
}

#[test]
fn somebody_whose_groups_were_left_out_learns_that_and_what_helps() {
    let issuer = Issuer::new();
    let server = Server::with(&members(
        &[&issuer],
        &json!({"oidc": {"roleMappings": [{"claim": "groups", "value": "admins", "role": "admin"}]}}),
    ));
    let overage = json!({
        "_claim_names": {"groups": "src1"},
        "_claim_sources": {"src1": {"endpoint": "https://graph.example.com"}},
    });
    let token = issuer.token("alice", &overage);
    let reply = ask(&server, "PUT", "/dbt/latest", &token);
    reply.is_refused(403, "forbidden");
    assert!(reply.json()["detail"].as_str().unwrap().contains("Entra's group overage"));
    assert_eq!(ask(&server, "GET", WHOAMI, &token).json()["groupsLeftOut"], true);
    let plain = ask(&server, "PUT", "/dbt/latest", &issuer.token("alice", &json!({})));
    assert!(!plain.json()["detail"].as_str().unwrap().contains("overage"));
}

/// Every kind of proof in every mode.
#[test]
fn a_mode_limits_what_people_show_and_leaves_programs_alone() {
    let issuer = Issuer::new();
    let members = |mode: &str, types: &str| {
        let mode = if mode.is_empty() { String::new() } else { format!(r#""mode": "{mode}", "#) };
        let users = if mode.contains("oidc") { "[]" } else { r#"[{"name": "carol"}]"# };
        format!(
            r#""authTypePut": "{types}", "tokens": [{{"name": "root", "sha256": "{}"}}],
            "auth": {{{mode}"users": {users}, "issuers": [{}]}}, "policies": [
            {{"name": "all", "subjects": ["authenticated"], "paths": ["/**"],
              "actions": ["read", "list", "create", "replace"]}}]"#,
            sha256(b"root-token"),
            issuer.options(),
        )
    };
    let subject = format!("{}alice", issuer.word());
    let server = Server::with(&members("", "oidc, static-token"));
    let create = |who: &str| server.command_beside(&["token", "create", who]).trim().to_owned();
    let (agent, carol, alice) = (create("agent:ci"), create("user:carol"), create(&subject));
    let jwt = issuer.token("alice", &json!({}));
    let path = "/dbt/latest";
    let statuses = || {
        [&jwt, &alice, &carol, &agent, "root-token"]
            .map(|it| ask(&server, "PUT", path, it).status / 100)
    };
    assert_eq!(statuses(), [2, 2, 2, 2, 2], "without a mode");
    server.reload(&members("both", "oidc, static-token"));
    assert_eq!(statuses(), [2, 2, 2, 2, 2], "both");
    server.reload(&members("oidc", "oidc, static-token"));
    assert_eq!(statuses(), [2, 4, 4, 2, 2], "oidc");
    let reply = ask(&server, "PUT", path, &alice);
    reply.is_refused(401, "unauthorised");
    let told = "people sign in with their identity provider here, and not with such tokens";
    assert_eq!(reply.json()["detail"], told);
    let said = server.refused_beside(&["token", "create", &subject]);
    assert!(said.contains("would prove nothing"), "{said}");
    server.reload(&members("token", "api-token, static-token"));
    // Alice has no way to sign in any more of which her token would be the other half; and Carol was not
    // in the settings for a while, with which her token ended.
    assert_eq!(statuses(), [4, 4, 4, 2, 2], "token");
    let carol = server.command_beside(&["token", "create", "user:carol"]);
    assert_eq!(ask(&server, "PUT", path, carol.trim()).status, 200);
    assert_eq!(ask(&server, "GET", WHOAMI, carol.trim()).json()["subject"], "user:carol");
}

#[test]
fn a_mode_that_something_else_contradicts_stops_the_start() {
    let issuer = Issuer::new();
    let place = || {
        let place = Place::new();
        place.put_beside("users", b"");
        place
    };
    for (mode, types, users, words) in [
        ("token", "oidc", "[]", "`auth.mode` is `token`, which does not admit `oidc`"),
        ("token", "basic-htpasswd", "[]", "which does not admit `htpasswd`"),
        ("oidc", "oidc, basic-htpasswd", "[]", "which does not admit `htpasswd`"),
        ("both", "oidc, basic-htpasswd", "[]", "which does not admit `htpasswd`"),
        ("oidc", "api-token", "[]", "neither `authTypeGet` nor `authTypePut` names `oidc`"),
        ("both", "api-token", "[]", "neither `authTypeGet` nor `authTypePut` names `oidc`"),
        (
            "oidc",
            "oidc",
            r#"[{"name": "carol"}]"#,
            "names `user:carol`, who has nothing but tokens",
        ),
        ("tokens", "api-token", "[]", "auth.mode"),
    ] {
        let said = place().refusal(&format!(
            r#""authTypePut": "{types}", "htpasswdFile": "users",
            "auth": {{"mode": "{mode}", "users": {users}, "issuers": [{}]}}, "policies": []"#,
            issuer.options()
        ));
        assert!(said.contains(words), "{mode} {types}: {said}");
    }
}
