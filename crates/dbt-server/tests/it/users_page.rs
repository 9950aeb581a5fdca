//! docs/users.md: its settings and commands are taken as they are, and do what it says.

use serde_json::{Value, json};

use crate::oidc::Issuer;
use crate::tokens::{Key, key_file};
use crate::world::{Place, Reply, Server};

const PAGE: &str = include_str!("../../../../docs/users.md");
const USERS: &str = "/-/api/v1/users";

/// The provider on the page.
const PROVIDER: &str = "https://id.example.com";

/// The claim of the page that lists groups.
const GROUPS: &str = "https://example.com/groups";

/// Returns the blocks of a language, with the provider of a test for that of the page.
fn blocks(language: &str, issuer: &Issuer) -> Vec<String> {
    let fence = format!("```{language}\n");
    let blocks = PAGE.split(&fence).skip(1).map(|rest| rest.split("```").next().unwrap());
    blocks.map(|block| block.replace(PROVIDER, &issuer.url())).collect()
}

/// Returns the settings of the page about roles, and the entries of `auth.users`.
fn settings(issuer: &Issuer) -> (Value, Value) {
    let blocks = blocks("json", issuer);
    let blocks: Vec<Value> = blocks.iter().map(|it| serde_json::from_str(it).unwrap()).collect();
    let [roles, users] = blocks.try_into().unwrap();
    (roles, users)
}

/// Returns the members of an object as they are written into a file with others.
fn members(settings: &Value) -> String {
    let text = settings.to_string();
    text.strip_prefix('{').and_then(|it| it.strip_suffix('}')).unwrap().to_owned()
}

/// Returns the commands of the page, as words.
fn commands(issuer: &Issuer) -> Vec<Vec<String>> {
    let blocks = blocks("sh", issuer).concat();
    let lines = blocks.lines().map(|line| line.strip_prefix("reposerver -f reposerver.json "));
    let words = |line: &str| {
        let parts = line.split('\'').enumerate().flat_map(|(index, part)| {
            // Between quotes, all is one word.
            let is_quoted = index % 2 == 1;
            if is_quoted { vec![part] } else { part.split_whitespace().collect() }
        });
        parts.map(str::to_owned).collect()
    };
    lines.map(|line| words(line.unwrap())).collect()
}

fn run(server: &Server, command: &[String]) -> String {
    server.command_beside(&command.iter().map(String::as_str).collect::<Vec<_>>())
}

fn ask(server: &Server, method: &str, path: &str, token: &str, body: &str) -> Reply {
    let line = format!("Authorization: Bearer {token}");
    server.send(method, path, &[&line], body.as_bytes())
}

/// Writes a tool's file.
fn put(server: &Server, token: &str, tool: &str, version: u8) -> u16 {
    let path = format!("/dbt-tools/{tool}/1.0.{version}/linux/amd64/{tool}");
    ask(server, "PUT", &path, token, "bytes").status
}

/// Returns the roles that the server says somebody holds.
fn roles(server: &Server, token: &str) -> Value {
    ask(server, "GET", "/-/api/v1/whoami", token, "").json()["roles"].clone()
}

/// Returns what an administrator is shown of somebody; nothing where nobody knows them.
fn shown(server: &Server, issuer: &Issuer, subject: &str) -> Value {
    let users = ask(server, "GET", USERS, &issuer.token("alice", &json!({})), "").json();
    let users = users["users"].as_array().unwrap().clone();
    users.into_iter().find(|user| user["subject"] == subject).unwrap_or_default()
}

#[test]
fn the_settings_of_the_page_give_the_roles_that_it_says() {
    let issuer = Issuer::new();
    let (settings, _users) = settings(&issuer);
    let server = Server::with(&members(&settings));
    let token = |claims: &Value| issuer.token("carol", claims);
    for (claims, expected) in [
        (json!({}), "readonly"),
        (json!({GROUPS: ["platform"]}), "publisher"),
        (json!({GROUPS: ["/platform"]}), "publisher"),
        (json!({GROUPS: ["Platform"]}), "readonly"),
        (json!({"department": "payments"}), "team-foo"),
        (json!({"department": ["sales", "billing"]}), "team-foo"),
        (json!({"department": "/payments"}), "readonly"),
    ] {
        assert_eq!(roles(&server, &token(&claims)), json!([expected]), "{claims}");
    }
    let alice = issuer.token("alice", &json!({}));
    assert!(roles(&server, &alice).as_array().unwrap().contains(&json!("admin")));
    // What the roles permit is said by the rules alone.
    for (version, claims, foo, other) in [
        (1, json!({}), 403, 403),
        (2, json!({GROUPS: ["platform"]}), 201, 201),
        (3, json!({"department": "billing"}), 201, 403),
        (4, json!({GROUPS: ["foo-maintainers"]}), 201, 403),
    ] {
        let token = token(&claims);
        let both = (put(&server, &token, "foo", version), put(&server, &token, "bar", version));
        assert_eq!(both, (foo, other), "{claims}");
    }
    let subject = format!("{}carol", issuer.word());
    let path = "/dbt-tools/foo/1.0.9/linux/amd64/foo";
    for (option, value, is_allowed) in [
        ("--claim", "department=payments", true),
        ("--claim", "department=sales", false),
        ("--group", "foo-maintainers", true),
        ("--group", "others", false),
    ] {
        let said = server.command_beside(&["explain", &subject, "PUT", path, option, value]);
        assert_eq!(said.starts_with("allowed:"), is_allowed, "{value}: {said}");
    }
}

#[test]
fn what_the_page_says_stops_the_start_stops_it() {
    let issuer = Issuer::new();
    let (good, users) = settings(&issuer);
    let with = |change: &dyn Fn(&mut Value)| {
        let mut changed = good.clone();
        change(&mut changed);
        Place::new().refusal(&members(&changed))
    };
    for (said, words) in [
        (
            with(&|it| it["auth"]["oidc"]["defaultRole"] = "admin".into()),
            "`auth.oidc.defaultRole` makes an administrator",
        ),
        (
            with(&|it| {
                let mapping = json!({"claim": "department", "value": "it", "role": "team-fo"});
                it["auth"]["oidc"]["roleMappings"].as_array_mut().unwrap().push(mapping);
            }),
            "of which no rule of `policies` speaks",
        ),
        (with(&|it| drop(it.as_object_mut().unwrap().remove("policies"))), "without `policies`"),
        (with(&|it| it["auth"]["mode"] = "token".into()), "`auth.mode`"),
        (
            with(&|it| {
                it["auth"]["mode"] = "oidc".into();
                it["auth"]["users"] = json!([users["auth"]["users"][0]]);
            }),
            "who has nothing but tokens of this server's own",
        ),
    ] {
        assert!(said.contains(words), "{words}: {said}");
    }
}

#[test]
fn the_commands_of_the_page_do_what_it_says() {
    let issuer = Issuer::new();
    let server = Server::with(&members(&settings(&issuer).0));
    let commands = commands(&issuer);
    let [add_dora, add_erin, roles_of_erin, remove_erin, suspend_bob, list, reactivate_bob] =
        commands.as_slice()
    else {
        panic!("{commands:?}");
    };
    let dora = issuer.token("dora", &json!({}));
    assert_eq!(roles(&server, &dora), json!(["readonly"]));
    run(&server, add_dora);
    server.eventually("given", |server| roles(server, &dora) == json!(["publisher"]));
    assert_eq!(put(&server, &dora, "foo", 1), 201);

    assert_eq!(shown(&server, &issuer, "user:erin"), Value::Null);
    run(&server, add_erin);
    assert_eq!(shown(&server, &issuer, "user:erin")["added"]["roles"], json!([]));
    run(&server, roles_of_erin);
    let given = shown(&server, &issuer, "user:erin")["added"]["roles"].clone();
    assert_eq!(given, json!(["publisher", "team-foo"]));
    run(&server, remove_erin);
    assert_eq!(shown(&server, &issuer, "user:erin"), Value::Null);

    let bob = issuer.token("bob", &json!({GROUPS: ["platform"]}));
    assert_eq!(put(&server, &bob, "foo", 2), 201);
    run(&server, suspend_bob);
    assert_eq!(put(&server, &bob, "foo", 3), 403, "the very next write");
    let suspended = shown(&server, &issuer, &format!("{}bob", issuer.word()))["suspended"].clone();
    assert_eq!(suspended["reason"], "left on Friday");
    let listed = run(&server, list);
    assert!(listed.contains(&format!("{}bob", issuer.word())), "{listed}");
    assert!(!listed.contains("dora"), "{listed}");
    run(&server, reactivate_bob);
    assert_eq!(put(&server, &bob, "foo", 3), 201);
}

/// Returns the body that the page shows for a request.
fn body(request: &str) -> &'static str {
    let row = PAGE.lines().find(|line| line.contains(&format!("`{request}`"))).unwrap();
    row.split('`').find(|span| span.starts_with('{')).unwrap()
}

#[test]
fn the_requests_of_the_page_are_answered_as_it_says() {
    let issuer = Issuer::new();
    let server = Server::with(&members(&settings(&issuer).0));
    let alice = issuer.token("alice", &json!({}));
    let erin = format!("{USERS}/user:erin");
    let added = body("POST /-/api/v1/users");
    let stranger = issuer.token("carol", &json!({}));
    ask(&server, "POST", USERS, &stranger, added).is_refused(403, "forbidden");
    assert_eq!(shown(&server, &issuer, "user:erin"), Value::Null);
    assert_eq!(ask(&server, "POST", USERS, &alice, added).status, 201);
    assert_eq!(shown(&server, &issuer, "user:erin")["added"]["roles"], json!(["publisher"]));
    let none = body("PATCH /-/api/v1/users/ID");
    assert_eq!(ask(&server, "PATCH", &erin, &alice, none).status, 200);
    assert_eq!(shown(&server, &issuer, "user:erin")["added"]["roles"], json!([]));
    let reason = body("POST /-/api/v1/users/ID/suspend");
    let suspend = format!("{erin}/suspend");
    assert_eq!(ask(&server, "POST", &suspend, &alice, reason).status, 200);
    assert_eq!(ask(&server, "GET", &erin, &alice, "").json()["suspended"]["reason"], "…");
    assert_eq!(ask(&server, "POST", &format!("{erin}/reactivate"), &alice, "").status, 200);
    assert_eq!(ask(&server, "GET", &erin, &alice, "").json()["suspended"], Value::Null);
    assert_eq!(ask(&server, "DELETE", &erin, &alice, "").status, 200);
    assert_eq!(shown(&server, &issuer, "user:erin"), Value::Null);
}

#[test]
fn every_request_of_the_page_is_in_the_description() {
    let description: Value =
        serde_json::from_str(include_str!("../../src/v1/openapi.json")).unwrap();
    let mut found = 0;
    for text in PAGE.split('`').skip(1).step_by(2) {
        let Some((method, path)) = text.split_once(" /-/") else { continue };
        let path = format!("/-/{}", path.replace("/ID", "/{id}"));
        let fits = |described: &String| {
            let (one, other) = (path.split('/'), described.split('/'));
            one.clone().count() == other.clone().count()
                && one.zip(other).all(|(asked, said)| asked == said || said.starts_with('{'))
        };
        let mut paths = description["paths"].as_object().unwrap().iter();
        let (_path, methods) =
            paths.find(|(path, _)| fits(path)).unwrap_or_else(|| panic!("{text}"));
        assert!(methods[method.to_lowercase()].is_object(), "{text}");
        found += 1;
    }
    assert!(found >= 8, "{found}");
}

#[test]
fn whom_the_settings_of_the_page_name_is_known_and_changed_there_alone() {
    let issuer = Issuer::new();
    let (mut settings, users) = settings(&issuer);
    settings["authTypePut"] = "oidc, ssh-agent-file".into();
    settings["pubkeysFile"] = "keys.json".into();
    settings["publicUrls"] = json!(["https://dbt.example.com"]);
    let mut named = settings.clone();
    named["auth"]["users"] = users["auth"]["users"].clone();
    let place = Place::new();
    place.put_beside("keys.json", key_file(&[("bob", Key::ed25519(7).line())]).as_bytes());
    let server = Server::on(place, &members(&named));
    let alice = issuer.token("alice", &json!({}));
    let carol = shown(&server, &issuer, "user:carol");
    assert_eq!((&carol["managed"], &carol["suspended"]), (&json!(true), &Value::Null));
    assert!(shown(&server, &issuer, "ssh:bob")["suspended"].is_object());
    let reply = ask(&server, "PATCH", &format!("{USERS}/user:carol"), &alice, r#"{"roles": []}"#);
    reply.is_refused(409, "user-managed");
    assert_eq!(shown(&server, &issuer, "user:carol"), carol);
    // Who is not suspended there and was by a command is not any more.
    server.command_beside(&["user", "suspend", "user:carol"]);
    server.reload(&members(&named));
    assert_eq!(shown(&server, &issuer, "user:carol")["suspended"], Value::Null);
    // Who comes by signing in is not named there, and who is not in it any more is deleted.
    let mut other = settings.clone();
    other["auth"]["users"] = json!([{"name": format!("{}eve", issuer.word())}]);
    server.reload(&members(&other));
    for subject in ["user:carol", &format!("{}eve", issuer.word())] {
        assert_eq!(shown(&server, &issuer, subject), Value::Null, "{subject}");
    }
}
