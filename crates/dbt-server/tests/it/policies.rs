//! The policy list: who may do what where, seen from outside.

use crate::world::{Place, Reply, Server, looked_through, sha256};

/// Administrators own the program's repository, two teams a tool each, and robots only read.
fn members() -> String {
    let token =
        |name: &str| format!(r#"{{"name": "{name}", "sha256": "{}"}}"#, sha256(name.as_bytes()));
    let tokens = ["root", "ci-foo", "ci-bar", "robot", "stranger"].map(token).join(", ");
    format!(
        r#""authTypePut": "static-token", "tokens": [{tokens}], "verifyUploads": "off",
        "auth": {{
            "groups": {{"foo": ["static-token:ci-foo"]}},
            "roles": {{"admin": ["root"], "readonly": ["robot"]}}
        }},
        "policies": [
            {{"name": "team foo", "subjects": ["group:foo"],
             "paths": ["/dbt-tools/foo/**"], "actions": ["read", "list", "create", "replace", "delete"]}},
            {{"name": "team bar", "subjects": ["ci-bar"],
             "paths": ["/dbt-tools/bar/**"], "actions": ["read", "list", "create"]}},
            {{"name": "listing", "subjects": ["authenticated"],
             "paths": ["/dbt-tools"], "actions": ["list"]}},
            {{"name": "installers", "subjects": ["anonymous"],
             "paths": ["/dbt/*.sh"], "actions": ["read"]}}
        ]"#
    )
}

fn ask(server: &Server, who: &str, method: &str, path: &str, body: &[u8]) -> Reply {
    let line = format!("Authorization: Bearer {who}");
    let lines: Vec<&str> = if who.is_empty() { Vec::new() } else { vec![&line] };
    server.send(method, path, &lines, body)
}

#[test]
fn each_team_owns_its_tool_and_nothing_else() {
    let server = Server::with(&members());
    server.put_on_disk("dbt/truststore", b"keys");
    server.put_on_disk("dbt/latest", b"1.0.0");
    server.put_on_disk("dbt/install_dbt.sh", b"#!");
    server.put_on_disk("dbt-tools/foo/1.0.0/description.txt", b"x");
    let before = server.tree();
    let cases = [
        ("ci-foo", "PUT", "/dbt-tools/bar/1.0.0/linux/amd64/bar", 403),
        ("ci-foo", "PUT", "/dbt-tools/fooEVIL/1.0.0/linux/amd64/fooEVIL", 403),
        ("ci-foo", "PUT", "/dbt/truststore", 403),
        ("ci-foo", "PUT", "/dbt/tuf/1.root.json", 403),
        ("ci-foo", "PUT", "/dbt/latest", 403),
        ("ci-foo", "DELETE", "/dbt-tools/bar", 403),
        ("ci-foo", "DELETE", "/dbt/latest", 403),
        ("ci-foo", "GET", "/dbt/latest", 403),
        ("ci-foo", "GET", "/", 403),
        ("ci-foo", "GET", "/.reposerver/lock", 403),
        ("ci-bar", "DELETE", "/dbt-tools/bar", 403),
        ("ci-bar", "DELETE", "/dbt-tools/foo", 403),
        ("robot", "PUT", "/dbt-tools/foo/1.0.0/linux/amd64/foo", 403),
        ("robot", "DELETE", "/dbt-tools/foo", 403),
        ("stranger", "GET", "/dbt-tools/foo/1.0.0/description.txt", 403),
        ("stranger", "PUT", "/dbt-tools/foo/1.0.0/linux/amd64/foo", 403),
        ("nobody", "GET", "/dbt/latest", 401),
        ("", "GET", "/dbt/latest", 401),
        ("", "GET", "/dbt-tools/", 401),
        ("", "GET", "/-/api/v1/tools", 401),
        ("", "PUT", "/dbt/install_dbt.sh", 401),
        ("root", "DELETE", "/dbt", 403),
    ];
    for (who, method, path, status) in cases {
        let reply = ask(&server, who, method, path, if method == "PUT" { b"body" } else { b"" });
        let code = if status == 401 { "unauthorised" } else { "forbidden" };
        reply.is_refused(status, code);
        assert_eq!(server.tree(), before, "{who} {method} {path}");
    }
    for (who, method, path, status) in [
        ("ci-foo", "PUT", "/dbt-tools/foo/1.0.0/linux/amd64/foo", 201),
        ("ci-foo", "GET", "/dbt-tools/foo/1.0.0/linux/amd64/foo", 200),
        ("ci-foo", "GET", "/dbt-tools/foo/", 200),
        ("ci-foo", "GET", "/dbt-tools/", 200),
        ("ci-foo", "GET", "/-/api/tools", 200),
        ("ci-foo", "GET", "/-/api/tools/foo/versions", 200),
        ("robot", "GET", "/dbt/latest", 200),
        ("robot", "GET", "/", 200),
        ("", "GET", "/dbt/install_dbt.sh", 200),
        ("nobody", "GET", "/dbt/install_dbt.sh", 200),
        ("root", "PUT", "/dbt/latest", 200),
        ("root", "PUT", "/dbt/tuf/1.root.json", 201),
        ("ci-foo", "DELETE", "/dbt-tools/foo/1.0.0", 204),
        ("ci-foo", "DELETE", "/dbt-tools/foo", 204),
    ] {
        let body: &[u8] = if method == "PUT" { b"body" } else { b"" };
        assert_eq!(ask(&server, who, method, path, body).status, status, "{who} {method} {path}");
    }
}

#[test]
fn who_may_create_but_not_replace_may_repeat_but_not_change() {
    let server = Server::with(&members());
    let path = "/dbt-tools/bar/1.0.0/linux/amd64/bar";
    let changes_nothing = |bytes: &[u8]| {
        let refused = ask(&server, "ci-bar", "PUT", path, bytes);
        refused.is_refused(403, "forbidden");
        assert!(refused.text().contains("`replace`"), "{}", refused.text());
        assert_eq!(ask(&server, "root", "GET", path, b"").text(), "bar");
    };
    let checksum = sha256(b"bar");
    let files = [("", "bar"), (".asc", "signature"), (".sha256", &*checksum)];
    for (ending, text) in files {
        let file = format!("{path}{ending}");
        assert_eq!(ask(&server, "ci-bar", "PUT", &file, text.as_bytes()).status, 201, "{file}");
    }
    assert_eq!(ask(&server, "ci-bar", "PUT", path, b"bar").status, 200);
    changes_nothing(b"other");
    assert_eq!(ask(&server, "root", "PUT", path, b"other").status, 200);
}

#[test]
fn what_only_some_may_read_is_not_for_shared_caches() {
    let server = Server::with(&members());
    server.put_on_disk("dbt/install_dbt.sh", b"#!");
    server.put_on_disk("dbt/latest", b"1.0.0");
    let caching =
        |path| ask(&server, "robot", "GET", path, b"").header("cache-control").unwrap().to_owned();
    assert_eq!(caching("/dbt/install_dbt.sh"), "no-cache");
    assert_eq!(caching("/dbt/latest"), "private, no-cache");
}

#[test]
fn what_there_is_is_told_to_those_who_may_list_it() {
    let server = Server::with(
        r#""authTypePut": "static-token", "authOptsPut": {"staticToken": "x"},
        "policies": [
            {"name": "files", "subjects": ["anonymous"], "paths": ["/**"], "actions": ["read"]},
            {"name": "names", "subjects": ["authenticated"], "paths": ["/dbt-tools/**"], "actions": ["list"]}
        ]"#,
    );
    server.put_on_disk("dbt-tools/foo/1.0.0/linux/amd64/foo", b"x");
    let lists = [
        "/dbt-tools/",
        "/dbt-tools/foo/",
        "/-/api/tools",
        "/-/api/tools/foo/versions",
        "/-/api/v1/tools",
        "/-/api/v1/tools/foo",
    ];
    for path in lists {
        let refused = ask(&server, "", "GET", path, b"");
        refused.is_refused(401, "unauthorised");
        assert!(!refused.text().contains("foo") || path.contains("foo"), "{path}");
        let told = ask(&server, "x", "GET", path, b"");
        assert_eq!(told.status, 200, "{path}: {}", told.text());
    }
    let shown = ask(&server, "x", "GET", "/-/api/v1/tools/foo", b"").text();
    assert!(shown.contains("linux/amd64"), "{shown}");
    let file = "/dbt-tools/foo/1.0.0/linux/amd64/foo";
    assert_eq!(ask(&server, "", "GET", file, b"").text(), "x");
}

#[test]
fn the_record_names_the_token() {
    let server = Server::with(&members());
    ask(&server, "ci-foo", "PUT", "/dbt-tools/foo/1.0.0/linux/amd64/foo", b"x");
    server.eventually("recorded", |server| server.log().contains("static-token:ci-foo"));
}

#[test]
fn an_explanation_names_the_rule() {
    let explain = |arguments: &[&str]| {
        let mut place = Place::new().argument("explain");
        for argument in arguments {
            place = place.argument(argument);
        }
        let output = looked_through(&mut place.command(&members()));
        assert!(!place.root().join(".reposerver").exists(), "an explanation writes nothing");
        let said = if output.status.success() { output.stdout } else { output.stderr };
        String::from_utf8(said).unwrap()
    };
    let foo = "/dbt-tools/foo/1.0.0/linux/amd64/foo";
    assert_eq!(
        explain(&["static-token:ci-foo", "PUT", foo]),
        format!(
            "allowed: `static-token:ci-foo` may `create` `{foo}` by the rule \u{201c}team foo\u{201d}\n\
             allowed: `static-token:ci-foo` may `replace` `{foo}` by the rule \u{201c}team foo\u{201d}\n"
        )
    );
    assert_eq!(
        explain(&["ci-bar", "delete", "/dbt-tools/bar"]),
        "refused: no rule permits `ci-bar` to `delete` `/dbt-tools/bar`\n"
    );
    assert_eq!(
        explain(&["anonymous", "GET", "/dbt/install_dbt.sh"]),
        "allowed: `anonymous` may `read` `/dbt/install_dbt.sh` by the rule \u{201c}installers\u{201d}\n"
    );
    let root = explain(&["root", "DELETE", "/dbt/1.0.0/"]);
    assert!(root.contains("by the rule \u{201c}built-in role admin\u{201d}"), "{root}");
    assert!(root.ends_with("`root` holds the roles `admin`\n"), "{root}");
    for (method, path, why) in [
        ("DELETE", "/dbt", "the root of a repository cannot be deleted"),
        ("DELETE", "/dbt/truststore", "the truststore can be replaced but not deleted"),
        ("DELETE", "/.reposerver/lock", "there is nothing that callers could see"),
        ("PUT", "/dbt", "it is the root of a repository"),
        ("PUT", "/dbt/.git/config", "a name must begin with a letter or a digit"),
        ("PUT", "/elsewhere", "it is not below one of the two repositories"),
        ("GET", "/.reposerver/lock", "there is nothing that callers could see"),
    ] {
        let said = explain(&["root", method, path]);
        let expected = format!("refused: nobody may {method} `{path}`: ");
        assert!(said.starts_with(&expected) && said.contains(why), "{said}");
        assert!(!said.contains("allowed"), "{said}");
    }
    for (arguments, words) in [
        (["ssh:alice", "GET", "/"], "no configured method proves this"),
        (["root", "FETCH", "/"], "`fetch` is no permission, nor a method"),
        (["root", "GET", "x"], "the path must begin with `/`"),
        (["root", "GET", "/a/../b"], "not allowed"),
    ] {
        let said = explain(&arguments);
        assert!(said.starts_with("error: ") && said.contains(words), "{said}");
    }
}

#[test]
fn a_policy_that_cannot_be_meant_stops_the_start() {
    let one = |subjects: &str, paths: &str, actions: &str| {
        format!(
            r#""authTypePut": "static-token", "authOptsPut": {{"staticToken": "x"}},
            "policies": [{{"name": "p", "subjects": [{subjects}], "paths": [{paths}], "actions": [{actions}]}}]"#
        )
    };
    let everywhere = r#""/**""#;
    for (members, words) in [
        (one(r#""ssh:alice""#, everywhere, r#""read""#), "no configured method proves this"),
        (one(r#""group:x""#, everywhere, r#""read""#), "no configured method tells groups"),
        (one(r#""role:x""#, everywhere, r#""read""#), "nobody holds this role"),
        (one(r#""anonymous""#, everywhere, r#""create""#), "permits `create` to everybody"),
        (
            r#""authTypePut": "static-token, ssh-agent-func",
            "authOptsPut": {"staticToken": "x", "idpFunc": "x"}, "policies": [{"name": "p",
            "subjects": ["alice"], "paths": ["/**"], "actions": ["read"]}]"#
                .to_owned(),
            "no configured method proves this; begin with one of `static-token:`, `ssh:`",
        ),
        (one("", everywhere, r#""read""#), "`policies.p.subjects` is empty"),
        (one(r#""anonymous""#, "", r#""read""#), "`policies.p.paths` is empty"),
        (one(r#""anonymous""#, everywhere, ""), "`policies.p.actions` is empty"),
        (one(r#""anonymous""#, r#""dbt/**""#, r#""read""#), "does not begin with `/`"),
        (one(r#""anonymous""#, everywhere, r#""reed""#), "the nearest is `read`"),
        (
            format!(r#""authGets": false, {}"#, one(r#""anonymous""#, everywhere, r#""read""#)),
            "`authGets` is false, so everybody may read, and `policies` say who may",
        ),
        (
            r#""policies": [{"name": "p", "subjects": ["authenticated"], "paths": ["/**"], "actions": ["create"]}]"#
                .to_owned(),
            "`authTypePut` is empty, so nobody can write",
        ),
        (
            r#""authTypePut": "static-token", "tokens": [{"name": "a", "env": "NOT_SET"}]"#.to_owned(),
            "`tokens[0]` names a variable in `env` that is not set",
        ),
        (
            r#""authTypePut": "static-token", "tokens": [{"name": "a", "sha256": "abc"}]"#.to_owned(),
            "`tokens[0]` has a `sha256` that is not 64 hexadecimal digits",
        ),
        (
            r#""authTypePut": "static-token", "tokens": [{"name": "a:b", "sha256": "abc"}]"#.to_owned(),
            "`tokens[0]` needs a `name`",
        ),
        (
            r#""authTypePut": "static-token", "tokens": [{"name": "a", "file": "missing"}]"#.to_owned(),
            "`tokens[0].file` names the file `missing`, which cannot be read",
        ),
        (
            r#""tokens": [], "Tokens": []"#.to_owned(),
            "has the key `tokens` twice",
        ),
        (
            r#""authTypePut": "static-token", "tokens": [{"name": "a", "file": "/dev/zero"}]"#
                .to_owned(),
            "`tokens[0].file` names the file `/dev/zero`, which cannot be read",
        ),
        (r#""tokens": [["ci"]]"#.to_owned(), "`tokens[0]`: it is a list and should be an object"),
        (r#""port": 1, "port": 2"#.to_owned(), "is not valid JSON"),
    ] {
        let said = Place::new().refusal(&members);
        assert!(said.contains(words), "{members}\n{said}");
    }
}

#[test]
fn a_token_that_is_blank_stops_the_start() {
    for (members, words) in [
        (r#""authTypePut": "static-token", "authOptsPut": {"staticTokenEnv": "BLANK"}"#, "`BLANK`"),
        (
            r#""authTypePut": "static-token", "tokens": [{"name": "a", "env": "BLANK"}]"#,
            "`tokens[0]` is empty",
        ),
    ] {
        let said = Place::new().variable("BLANK", " \n").refusal(members);
        assert!(said.contains(words) && said.contains("empty"), "{members}\n{said}");
    }
}

#[test]
fn without_policies_the_start_warns_and_with_them_it_does_not() {
    let server = Server::start();
    server.eventually("warned", |server| server.log().contains("there are no `policies`"));
    let server = Server::with(&members());
    server.get("/dbt/x");
    server.eventually("answered", |server| server.log().contains("\"target\":\"access\""));
    assert!(!server.log().contains("there are no `policies`"));
}

#[test]
fn a_check_shows_tokens_and_policies_without_what_is_secret() {
    let place = Place::new().argument("check-config").variable("TOKEN", "open-sesame");
    let members = r#""authTypePut": "static-token", "authOptsPut": {"staticToken": "hunter2"},
        "tokens": [{"name": "ci", "env": "TOKEN"}]"#;
    let output = looked_through(&mut place.command(members));
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("tokens[0].name = ci  (`"), "{text}");
    assert!(text.contains("authOptsPut.staticToken = (not shown)  (`"), "{text}");
    assert!(!text.contains("hunter2") && !text.contains("open-sesame"), "{text}");
}

#[test]
fn the_schema_is_that_of_the_types() {
    let place = Place::new().argument("check-config").argument("--schema");
    let output = looked_through(&mut place.bare_command());
    let printed: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let written = include_str!("../../../../docs/reposerver.schema.json");
    let written: serde_json::Value = serde_json::from_str(written).unwrap();
    let how = "write it: reposerver check-config --schema > docs/reposerver.schema.json";
    assert!(printed == written, "{how}");
    assert!(printed["properties"]["policies"]["items"]["properties"]["paths"].is_object());
    assert_eq!(printed["additionalProperties"], false);
}

#[test]
fn a_refusal_does_not_tell_whether_something_is_there() {
    let server = Server::with(&members());
    server.put_on_disk("dbt/latest", b"1.0.0");
    server.put_on_disk("dbt-tools/foo/1.0.0/linux/amd64/foo", b"binary");
    let said = |who: &str, method: &str, path: &str| {
        let reply = ask(&server, who, method, path, b"");
        let problem: serde_json::Value = serde_json::from_slice(&reply.body).unwrap_or_default();
        let length = reply.header("content-length").map(str::to_owned);
        (reply.status, problem["type"].clone(), problem["detail"].clone(), length)
    };
    let foo = "/dbt-tools/foo/1.0.0/linux/amd64/";
    let missing_foo = "/dbt-tools/foo/9.9.9/linux/amd64/";
    for (there, missing) in [
        ("/dbt/latest", "/dbt/missing"),
        ("/dbt/", "/missing/"),
        (foo, missing_foo),
        (&*format!("{foo}foo"), &*format!("{missing_foo}foo")),
        ("/-/api/tools/foo/versions", "/-/api/tools/missing/versions"),
        ("/-/api/v1/tools/foo", "/-/api/v1/tools/missing"),
    ] {
        for method in ["GET", "HEAD", "PUT", "DELETE"] {
            for who in ["stranger", "", "wrong"] {
                let (a, b) = (said(who, method, there), said(who, method, missing));
                if a.0 == 405 || a.0 == 400 {
                    continue;
                }
                assert_eq!(a, b, "{who} {method} {there}");
                assert_eq!(
                    a.0,
                    if who == "stranger" { 403 } else { 401 },
                    "{who} {method} {there}"
                );
            }
        }
    }
}
