//! People who are added over HTTP and beside the server, the roles that they are given, and their end.

use serde_json::{Value, json};

use crate::oidc::Issuer;
use crate::world::{AS_ADMIN, Reply, Server, sha256};

const USERS: &str = "/-/api/v1/users";
const TOKENS: &str = "/-/api/v1/tokens";
const FOO: &str = "/dbt-tools/foo/1.0.0/linux/amd64/foo";

/// The help desk, which manages people, and holds the role of one team.
const HELPER: &str = "Authorization: Bearer write-token";

/// A server on which people sign in with an identity provider, and may do nothing by that alone.
struct World {
    issuer: Issuer,
}

impl World {
    fn new() -> Self {
        Self { issuer: Issuer::new() }
    }

    fn members(&self, users: &Value) -> String {
        let mut options: Value = serde_json::from_str(&self.issuer.options()).unwrap();
        options["forPeople"] = json!(true);
        let token = |name: &str, secret: &[u8]| json!({"name": name, "sha256": sha256(secret)});
        let tokens = json!([token("admin", b"only-for-admins"), token("helper", b"write-token")]);
        let auth = json!({
            "issuers": [options], "users": users,
            "roles": {"admin": ["static-token:admin"], "desk": ["static-token:helper"],
                "team": ["static-token:helper"], "other-team": ["static-token:admin"]},
        });
        let team = |role: &str, tool: &str| {
            json!({"name": role, "subjects": [format!("role:{role}")],
                "paths": [format!("/dbt-tools/{tool}/**")], "actions": ["read", "create", "replace"]})
        };
        let policies = json!([
            team("team", "foo"), team("other-team", "bar"),
            {"name": "desk", "subjects": ["role:desk"], "paths": ["/**"],
             "actions": ["user.manage", "token.create_own"]},
            {"name": "all read", "subjects": ["authenticated"], "paths": ["/dbt/**"],
             "actions": ["read"]},
        ]);
        format!(
            r#""authTypePut": "oidc, static-token", "tokens": {tokens}, "auth": {auth},
            "verifyUploads": "off", "immutable": false, "policies": {policies}"#
        )
    }

    fn start(&self) -> Server {
        Server::with(&self.members(&json!([])))
    }

    fn subject(&self, name: &str) -> String {
        format!("{}{name}", self.issuer.word())
    }

    fn header(&self, name: &str) -> String {
        format!("Authorization: Bearer {}", self.issuer.token(name, &json!({})))
    }
}

fn ask(server: &Server, who: &str, method: &str, path: &str, body: &Value) -> Reply {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    server.send(method, path, &[who], body.as_bytes())
}

fn add(server: &Server, who: &str, subject: &str, roles: &[&str]) -> Reply {
    ask(server, who, "POST", USERS, &json!({"subject": subject, "roles": roles}))
}

fn put(server: &Server, who: &str, path: &str) -> u16 {
    server.send("PUT", path, &[who], b"bytes").status
}

fn get(server: &Server, who: &str, path: &str) -> u16 {
    server.send("GET", path, &[who], b"").status
}

/// Adds somebody as an administrator; returns where they are.
fn added(server: &Server, subject: &str, roles: &[&str]) -> String {
    let reply = add(server, AS_ADMIN, subject, roles);
    assert_eq!(reply.status, 201, "{reply:?}");
    assert_eq!(reply.json()["subject"], subject);
    assert_eq!(reply.json()["added"], json!({"by": "static-token:admin", "roles": roles}));
    let place = format!("{USERS}/{}", reply.json()["id"].as_str().unwrap());
    assert_eq!(reply.header("location"), Some(place.as_str()));
    place
}

/// Makes a token for somebody; returns a header line.
fn token(server: &Server, who: &str, subject: &str) -> Result<String, Reply> {
    let wanted = json!({"name": "laptop", "subject": subject});
    let reply = ask(server, who, "POST", TOKENS, &wanted);
    if reply.status != 201 {
        return Err(reply);
    }
    let text = reply.json()["token"].as_str().unwrap().to_owned();
    server.keep_secret(&text);
    Ok(format!("Authorization: Bearer {text}"))
}

fn detail(reply: &Reply) -> String {
    reply.json()["detail"].as_str().unwrap_or_default().to_owned()
}

/// Returns what the record says of people: what came of it, and the words.
fn recorded(server: &Server) -> Vec<(String, String)> {
    let text = server.command_beside(&["audit", "export"]);
    let records = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let text = |record: &Value, key: &str| record[key].as_str().unwrap_or_default().to_owned();
    let of_people = records
        .map(|mut line| line["record"].take())
        .filter(|it| text(it, "path").contains("api/v1/users") && it["outcome"] != "attempted");
    of_people.map(|it| (text(&it, "outcome"), text(&it, "detail"))).collect()
}

#[test]
fn whoever_is_added_has_their_roles_before_they_come_and_until_these_are_taken_back() {
    let world = World::new();
    let server = world.start();
    let (bob, bar) = (world.header("bob"), FOO.replace("foo", "bar"));
    assert_eq!((put(&server, &bob, FOO), get(&server, &bob, FOO)), (403, 403));
    let place = added(&server, &world.subject("bob"), &["team"]);
    assert_eq!((put(&server, &bob, FOO), put(&server, &bob, &bar)), (201, 403));
    assert_eq!(get(&server, &bob, FOO), 200, "also for readers at once");
    assert_eq!(put(&server, &world.header("carol"), FOO), 403, "nobody else has them");
    let whoami = server.send("GET", "/-/api/v1/whoami", &[&bob], b"").json();
    assert_eq!(whoami["roles"], json!(["team"]));
    let explain = ["explain", &world.subject("bob"), "PUT", FOO];
    assert!(server.command_beside(&explain).starts_with("allowed:"));

    // They outlive a restart and settings that are read again.
    let server = Server::on(server.stop(), &world.members(&json!([])));
    server.reload(&world.members(&json!([])));
    assert_eq!(put(&server, &bob, FOO), 200);
    let reply = ask(&server, AS_ADMIN, "PATCH", &place, &json!({"roles": ["other-team"]}));
    assert_eq!((reply.status, &reply.json()["added"]["roles"]), (200, &json!(["other-team"])));
    assert_eq!((put(&server, &bob, FOO), put(&server, &bob, &bar)), (403, 201));
    assert_eq!((get(&server, &bob, FOO), get(&server, &bob, &bar)), (403, 200));
    // Who is suspended has nothing by a role.
    let suspend = format!("{place}/suspend");
    assert_eq!(ask(&server, AS_ADMIN, "POST", &suspend, &Value::Null).status, 200);
    assert_eq!((put(&server, &bob, &bar), get(&server, &bob, &bar)), (403, 403));
    let reactivate = format!("{place}/reactivate");
    assert_eq!(ask(&server, AS_ADMIN, "POST", &reactivate, &Value::Null).status, 200);
    let reply = ask(&server, AS_ADMIN, "PATCH", &place, &json!({"roles": []}));
    assert_eq!(reply.status, 200, "{reply:?}");
    assert_eq!((put(&server, &bob, &bar), get(&server, &bob, &bar)), (403, 403));
    assert!(server.command_beside(&explain).starts_with("refused:"));

    let told: Vec<String> = recorded(&server).into_iter().map(|(came, _told)| came).collect();
    let expected = ["added", "given other roles", "suspended", "reactivated", "given other roles"];
    assert_eq!(told, expected);
    let (_came, told) = recorded(&server).swap_remove(1);
    assert!(told.contains("roles other-team; before: roles team"), "{told}");
}

#[test]
fn nobody_gives_a_role_that_they_do_not_hold_or_has_a_hand_in_what_administrators_may() {
    let world = World::new();
    let server = world.start();
    let (bob, eve) = (world.subject("bob"), world.subject("eve"));
    let place = added(&server, &bob, &["other-team"]);
    let chief = added(&server, &world.subject("chief"), &["admin"]);
    let before = server.send("GET", USERS, &[AS_ADMIN], b"").json();
    let give = |who: &str, place: &str, roles: &[&str]| {
        ask(&server, who, "PATCH", place, &json!({"roles": roles}))
    };
    for (reply, words) in [
        (add(&server, HELPER, &eve, &["other-team"]), "you do not hold the role `other-team`"),
        (add(&server, HELPER, &eve, &["team", "admin"]), "you do not hold the role `admin`"),
        (give(HELPER, &place, &["admin", "other-team"]), "you do not hold the role `admin`"),
        (give(HELPER, &chief, &[]), "only an administrator"),
        (ask(&server, HELPER, "DELETE", &chief, &Value::Null), "only an administrator"),
        (ask(&server, HELPER, "POST", &format!("{chief}/suspend"), &Value::Null), "only an admin"),
    ] {
        reply.is_refused(403, "forbidden");
        assert!(detail(&reply).contains(words), "{words}: {reply:?}");
    }
    // Whoever does not manage people adds nobody, also not themselves.
    let header = world.header("bob");
    add(&server, &header, &eve, &[]).is_refused(403, "forbidden");
    add(&server, &header, &bob, &["team"]).is_refused(403, "forbidden");
    give(&header, &place, &["team"]).is_refused(403, "forbidden");
    ask(&server, &header, "DELETE", &place, &Value::Null).is_refused(403, "forbidden");
    assert_eq!(server.send("GET", USERS, &[AS_ADMIN], b"").json(), before, "nothing happened");

    // What they hold, they give; what somebody has already, they may leave to them, or take.
    assert_eq!(give(HELPER, &place, &["other-team", "team"]).status, 200);
    assert_eq!(put(&server, &header, FOO), 201);
    assert_eq!(give(HELPER, &place, &["team"]).status, 200);
    give(HELPER, &place, &["other-team", "team"]).is_refused(403, "forbidden");
    let reply = add(&server, HELPER, &eve, &["team"]);
    assert_eq!((reply.status, &reply.json()["added"]["by"]), (201, &json!("static-token:helper")));
    // Who was made an administrator is one.
    assert_eq!(give(&world.header("chief"), &place, &["other-team"]).status, 200);
}

/// A token that is good for less must not make somebody who is good for more.
#[test]
fn with_a_token_that_is_narrowed_nobody_is_given_a_role() {
    let world = World::new();
    let server = world.start();
    added(&server, &world.subject("dora"), &["desk", "team"]);
    let dora = world.header("dora");
    let wanted = json!({"name": "narrow", "roles": ["desk"]});
    let reply = ask(&server, &dora, "POST", TOKENS, &wanted);
    assert_eq!(reply.status, 201, "{reply:?}");
    let text = reply.json()["token"].as_str().unwrap().to_owned();
    server.keep_secret(&text);
    let narrow = format!("Authorization: Bearer {text}");
    assert_eq!((put(&server, &narrow, FOO), put(&server, &dora, FOO)), (403, 201));
    let eve = world.subject("eve");
    let refused = add(&server, &narrow, &eve, &["team"]);
    refused.is_refused(403, "forbidden");
    assert!(detail(&refused).contains("a token that is narrowed"), "{refused:?}");
    assert_eq!(put(&server, &world.header("eve"), FOO), 403);
    assert_eq!(add(&server, &narrow, &eve, &[]).status, 201, "they may be added");
    assert_eq!(add(&server, &dora, &world.subject("frank"), &["team"]).status, 201);
}

#[test]
fn whoever_has_nothing_but_tokens_is_known_as_long_as_they_are_added() {
    let world = World::new();
    let server = world.start();
    let refused = token(&server, AS_ADMIN, "user:carol").unwrap_err();
    refused.is_refused(400, "bad-token");
    assert!(detail(&refused).contains("nobody added them"), "{refused:?}");
    let place = added(&server, "user:carol", &["team"]);
    let carol = token(&server, AS_ADMIN, "user:carol").unwrap();
    assert_eq!((put(&server, &carol, FOO), get(&server, &carol, FOO)), (201, 200));
    let words = ["token", "create", "user:carol"];
    let second = format!("Authorization: Bearer {}", server.command_beside(&words).trim());
    assert_eq!(put(&server, &second, FOO), 200);
    let explain = ["explain", "user:carol", "PUT", FOO];
    assert!(server.command_beside(&explain).starts_with("allowed:"));

    let reply = ask(&server, AS_ADMIN, "DELETE", &place, &Value::Null);
    assert_eq!(reply.status, 200, "{reply:?}");
    let body = reply.json();
    assert_eq!((&body["subject"], &body["suspended"]), (&json!("user:carol"), &json!(false)));
    assert_eq!(body["revokedTokens"].as_array().unwrap().len(), 2, "{body}");
    assert_eq!((put(&server, &carol, FOO), put(&server, &second, FOO)), (401, 401));
    assert_eq!(get(&server, AS_ADMIN, &place), 404);
    ask(&server, AS_ADMIN, "DELETE", &place, &Value::Null).is_refused(404, "not-found");
    token(&server, AS_ADMIN, "user:carol").unwrap_err().is_refused(400, "bad-token");
    assert!(server.refused_beside(&words).contains("nobody added them"));
    // Whoever comes again under the same name has none of what was.
    added(&server, "user:carol", &[]);
    assert_eq!((put(&server, &carol, FOO), put(&server, &second, FOO)), (401, 401));
    let third = token(&server, AS_ADMIN, "user:carol").unwrap();
    assert_eq!(put(&server, &third, FOO), 403);
}

#[test]
fn whom_the_settings_name_is_changed_there_and_whoever_was_added_is_theirs_from_then_on() {
    let world = World::new();
    let carol = json!([{"name": "carol"}]);
    let server = Server::with(&world.members(&carol));
    let managed = |server: &Server, change: &Reply| {
        change.is_refused(409, "user-managed");
        assert!(detail(change).contains("`auth.users` names `user:carol`"), "{change:?}");
        let shown = server.send("GET", &format!("{USERS}/user:carol"), &[AS_ADMIN], b"").json();
        assert_eq!((&shown["managed"], &shown["added"]), (&json!(true), &Value::Null));
    };
    let place = format!("{USERS}/user:carol");
    managed(&server, &add(&server, AS_ADMIN, "user:carol", &["team"]));
    let roles = json!({"roles": ["team"]});
    managed(&server, &ask(&server, AS_ADMIN, "PATCH", &place, &roles));
    managed(&server, &ask(&server, AS_ADMIN, "DELETE", &place, &Value::Null));
    assert!(server.refused_beside(&["user", "remove", "user:carol"]).contains("the settings win"));

    server.reload(&world.members(&json!([])));
    added(&server, "user:carol", &["team"]);
    let header = token(&server, AS_ADMIN, "user:carol").unwrap();
    assert_eq!(put(&server, &header, FOO), 201);
    let said = server.reload(&world.members(&carol));
    assert!(said.contains("`user:carol` was added otherwise"), "{said}");
    assert_eq!(put(&server, &header, FOO), 403, "what they may is said by the settings alone");
    managed(&server, &add(&server, AS_ADMIN, "user:carol", &["team"]));
}

#[test]
fn what_cannot_be_meant_adds_nobody() {
    let world = World::new();
    let server = world.start();
    let bob = world.subject("bob");
    for (subject, words) in [
        ("agent:ci", "is a program"),
        ("static-token:helper", "is a program"),
        ("carol", "`user:carol` has nothing but tokens"),
        ("user:a b", "is called with"),
        ("user:", "is called with"),
        ("host:0", "no configured method proves this"),
        ("ssh:alice", "no configured method proves this"),
        ("oidc:https://elsewhere.example.com#bob", "write it as"),
    ] {
        let refused = add(&server, AS_ADMIN, subject, &[]);
        refused.is_refused(400, "bad-user");
        assert!(detail(&refused).contains(words), "{subject}: {refused:?}");
    }
    let refused = add(&server, AS_ADMIN, &bob, &["none"]);
    refused.is_refused(400, "bad-user");
    assert!(detail(&refused).contains("there is no role `none`"), "{refused:?}");
    for body in [json!({"roles": []}), json!({"subject": bob, "groups": ["x"]}), json!([])] {
        ask(&server, AS_ADMIN, "POST", USERS, &body).is_refused(400, "bad-body");
    }
    let users = server.send("GET", USERS, &[AS_ADMIN], b"").json();
    assert_eq!(users["users"], json!([]), "nobody was added");

    let place = added(&server, &bob, &["team"]);
    add(&server, AS_ADMIN, &bob, &[]).is_refused(409, "user-exists");
    let unknown = format!("{USERS}/00000000000000000000000000000000");
    let roles = json!({"roles": ["team"]});
    ask(&server, AS_ADMIN, "PATCH", &unknown, &roles).is_refused(404, "not-found");
    ask(&server, AS_ADMIN, "PATCH", &place, &json!({"role": []})).is_refused(400, "bad-body");
    assert_eq!(put(&server, &world.header("bob"), FOO), 201, "as before");
}

#[test]
fn to_be_deleted_is_no_way_out_of_a_suspension_and_nobody_deletes_themselves() {
    let world = World::new();
    let server = world.start();
    let place = added(&server, &world.subject("bob"), &["team"]);
    let bob = world.header("bob");
    let suspend = format!("{place}/suspend");
    assert_eq!(ask(&server, AS_ADMIN, "POST", &suspend, &Value::Null).status, 200);
    let reply = ask(&server, HELPER, "DELETE", &place, &Value::Null);
    assert_eq!((reply.status, &reply.json()["suspended"]), (200, &json!(true)));
    let shown = server.send("GET", &place, &[AS_ADMIN], b"").json();
    assert!(shown["suspended"].is_object() && shown["added"].is_null(), "{shown}");
    assert_eq!(put(&server, &bob, FOO), 403);
    assert_eq!(add(&server, AS_ADMIN, &world.subject("bob"), &["team"]).status, 201);
    assert_eq!(put(&server, &bob, FOO), 403, "nor is to be added");

    let chief = added(&server, &world.subject("chief"), &["admin"]);
    let own = ask(&server, &world.header("chief"), "DELETE", &chief, &Value::Null);
    own.is_refused(403, "forbidden");
    assert!(detail(&own).contains("nobody deletes themselves"), "{own:?}");
    assert_eq!(get(&server, AS_ADMIN, &chief), 200);
}

#[test]
fn a_command_beside_the_server_adds_people_gives_them_roles_and_removes_them() {
    let world = World::new();
    let server = world.start();
    let (subject, bob) = (world.subject("bob"), world.header("bob"));
    let said = server.command_beside(&["user", "add", &subject, "--role", "team"]);
    assert!(said.starts_with("added") && said.contains("roles team"), "{said}");
    assert_eq!(put(&server, &bob, FOO), 201);
    let listed = server.command_beside(&["user", "list"]);
    assert!(listed.contains(&subject) && listed.contains("with team"), "{listed}");
    assert!(server.refused_beside(&["user", "add", &subject]).contains("was added before"));
    let unknown = server.refused_beside(&["user", "roles", &subject, "none"]);
    assert!(unknown.contains("there is no role `none`"), "{unknown}");
    let said = server.command_beside(&["user", "roles", &subject, "other-team"]);
    assert!(said.contains("before: roles team"), "{said}");
    assert_eq!(put(&server, &bob, FOO), 403);
    server.command_beside(&["user", "roles", &subject, "team"]);
    assert_eq!(put(&server, &bob, FOO), 200);
    let said = server.command_beside(&["user", "remove", &subject]);
    assert!(said.starts_with("deleted"), "{said}");
    assert_eq!(put(&server, &bob, FOO), 403);
    let again = server.refused_beside(&["user", "remove", &subject]);
    assert!(again.contains("nothing is kept of"), "{again}");
    let programs = server.refused_beside(&["user", "add", "agent:ci"]);
    assert!(programs.contains("is a program"), "{programs}");
    let came: Vec<String> = recorded(&server).into_iter().map(|(came, _told)| came).collect();
    assert_eq!(came, ["added", "given other roles", "given other roles", "deleted"]);
}

#[test]
fn where_people_show_no_tokens_of_the_servers_own_nobody_is_added_who_has_nothing_else() {
    let world = World::new();
    let members = world.members(&json!([]));
    let server = Server::with(&members.replace(r#""auth": {"#, r#""auth": {"mode": "oidc", "#));
    let refused = add(&server, AS_ADMIN, "user:carol", &[]);
    refused.is_refused(400, "bad-user");
    assert!(detail(&refused).contains("`auth.mode`"), "{refused:?}");
    assert_eq!(add(&server, AS_ADMIN, &world.subject("bob"), &["team"]).status, 201);
    assert_eq!(put(&server, &world.header("bob"), FOO), 201);
}
