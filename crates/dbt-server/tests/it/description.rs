//! The description of the API, refusal by refusal: what it says of callers without a right is what
//! they get, whatever they ask for.

use serde_json::Value;

use crate::world::{Reply, Server, sha256};

const OPENAPI: &str = "/-/api/v1/openapi.json";
const RELEASE: &str = r#"{"tool": "x", "version": "2.0.0"}"#;

fn ask(server: &Server, who: &str, method: &str, path: &str, body: &str) -> Reply {
    let line = format!("Authorization: Bearer {who}");
    let lines: Vec<&str> = if who.is_empty() { Vec::new() } else { vec![&line] };
    server.send(method, path, &lines, body.as_bytes())
}

/// A server on which there is one of everything, and two callers: one may all, the other nothing.
fn with_everything() -> (Server, [String; 4]) {
    let token =
        |name: &str| format!(r#"{{"name": "{name}", "sha256": "{}"}}"#, sha256(name.as_bytes()));
    let server = Server::with(&format!(
        r#""authTypePut": "static-token", "tokens": [{}, {}],
        "auth": {{"roles": {{"admin": ["root"]}}, "federation": {{
            "issuers": [{{"issuerUrl": "https://ci.example.com", "audience": "x"}}],
            "rules": [{{"name": "jobs", "issuer": "https://ci.example.com", "claims": {{"sub": "x"}},
                "tools": ["x"], "permits": ["publish"]}}]}}}},
        "policies": [{{"name": "reading", "subjects": ["root"], "paths": ["/**"],
         "actions": ["read"]}}]"#,
        token("root"),
        token("nobody")
    ));
    server.put_on_disk("dbt-tools/x/1.0.0/linux/amd64/x", b"binary");
    server.put_on_disk("dbt/latest", b"1.0.0");
    assert_eq!(ask(&server, "root", "DELETE", "/dbt/latest", "").status, 204);
    let trash = ask(&server, "root", "GET", "/-/api/v1/trash", "").json();
    let deletion = trash["deleted"][0]["id"].as_str().unwrap().to_owned();
    let begun = ask(&server, "root", "POST", "/-/api/v1/releases", RELEASE).json();
    let release = begun["id"].as_str().unwrap().to_owned();
    let begun = ask(&server, "root", "POST", "/-/api/v1/uploads", "").json();
    let upload = begun["id"].as_str().unwrap().to_owned();
    let wanted = r#"{"name": "x", "subject": "agent:x"}"#;
    let made = ask(&server, "root", "POST", "/-/api/v1/tokens", wanted).json();
    let token = made["id"].as_str().unwrap().to_owned();
    (server, [release, deletion, upload, token])
}

#[test]
fn each_operation_refuses_strangers_and_who_may_nothing_as_it_is_described() {
    let (server, [release, deletion, upload, token]) = with_everything();
    let description = ask(&server, "root", "GET", OPENAPI, "").json();
    let known = description["components"]["securitySchemes"].as_object().unwrap();
    let schemes: Vec<&str> = known.keys().map(String::as_str).collect();
    assert_eq!(schemes, ["basic", "bearer", "token"]);
    assert_eq!(known["token"]["name"], "Token");
    let before = server.tree();

    let mut operations = 0;
    for (template, methods) in description["paths"].as_object().unwrap() {
        let path = template
            .replace("{tool}", "x")
            .replace("{release}", &release)
            .replace("{deletion}", &deletion)
            .replace("{upload}", &upload)
            .replace("{apiToken}", &token)
            .replace("{user}", "static-token:root");
        assert!(!path.contains('{'), "{template}");
        for (method, operation) in methods.as_object().unwrap() {
            let Some(responses) = operation["responses"].as_object() else { continue };
            let method = method.to_uppercase();
            if operation["security"] == serde_json::json!([{}]) {
                let reply = ask(&server, "", &method, &path, "");
                // Of the one that takes something, that is missing.
                let status = if method == "POST" { 400 } else { 200 };
                assert_eq!(reply.status, status, "{method} {path} is for everybody");
                continue;
            }
            let body = if template.ends_with("/releases") { RELEASE } else { "" };
            for (who, status) in [("", 401), ("wrong", 401), ("nobody", 403)] {
                let what = format!("{method} {path} as `{who}`");
                let reply = ask(&server, who, &method, &path, body);
                if (who, template.as_str()) == ("nobody", "/-/api/v1/whoami") {
                    // Who they are may be known by those who may nothing else.
                    assert_eq!(reply.status, 200, "{what}");
                    continue;
                }
                let code = if status == 401 { "unauthorised" } else { "forbidden" };
                assert_eq!(reply.status, status, "{what}: {reply:?}");
                reply.is_refused(status, code);
                assert_eq!(reply.header("www-authenticate").is_some(), status == 401, "{what}");
                let described: &Value = &responses[&status.to_string()];
                assert_eq!(described["$ref"], "#/components/responses/Problem", "{what}");
                let problem = "application/problem+json";
                assert_eq!(reply.header("content-type"), Some(problem), "{what}");
            }
            operations += 1;
        }
    }
    assert!(operations >= 11, "only {operations}");

    // Nothing of it has happened.
    assert_eq!(server.tree(), before);
    let path = format!("/-/api/v1/releases/{release}");
    assert_eq!(ask(&server, "root", "GET", &path, "").json()["state"], "open");
    let trash = ask(&server, "root", "GET", "/-/api/v1/trash", "").json();
    assert_eq!(trash["deleted"].as_array().unwrap().len(), 1);
    let path = format!("/-/api/v1/uploads/{upload}");
    assert_eq!(ask(&server, "root", "GET", &path, "").json()["offset"], 0);
    let path = format!("/-/api/v1/tokens/{token}");
    assert_eq!(ask(&server, "root", "GET", &path, "").json()["state"], "active");
    let suspended = server.command_beside(&["user", "list", "--suspended"]);
    assert_eq!(suspended, "");
}
