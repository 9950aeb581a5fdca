//! People: suspending and reactivating them over HTTP, beside the server and in the settings, with a proof
//! that is good in their hands.

use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use dbt_testkit::planted;
use serde_json::{Value, json};

use crate::oidc::Issuer;
use crate::world::{AS_ADMIN, Place, Reply, Server, sha256};

const USERS: &str = "/-/api/v1/users";
const TOKENS: &str = "/-/api/v1/tokens";

/// A server on which Alice signs in with an identity provider and administers, Bob's tokens are the
/// settings', and both may write.
struct World {
    issuer: Issuer,
}

impl World {
    fn new() -> Self {
        Self { issuer: Issuer::new() }
    }

    /// Returns the members, with these entries of `auth.users`.
    fn members(&self, users: &Value) -> String {
        let mut options: Value = serde_json::from_str(&self.issuer.options()).unwrap();
        options["forPeople"] = json!(true);
        let token = |name: &str, secret: &[u8]| json!({"name": name, "sha256": sha256(secret)});
        let tokens = json!([token("admin", b"only-for-admins"), token("helper", b"write-token")]);
        let auth = json!({
            "issuers": [options], "users": users,
            "roles": {"admin": ["static-token:admin", self.subject("alice")], "publisher": ["authenticated"],
                "agents": ["authenticated"]},
        });
        let policies = json!([
            {"name": "all read", "subjects": ["authenticated"], "paths": ["/**"],
             "actions": ["read", "list"]},
            {"name": "help desk", "subjects": ["static-token:helper"], "paths": ["/**"],
             "actions": ["user.manage"]},
        ]);
        format!(
            r#""authTypePut": "oidc, static-token", "tokens": {tokens}, "auth": {auth},
            "policies": {policies}"#
        )
    }

    fn start(&self) -> Server {
        Server::with(&self.members(&json!([])))
    }

    fn subject(&self, name: &str) -> String {
        format!("{}{name}", self.issuer.word())
    }

    /// Returns a header line that stays good.
    fn header(&self, name: &str) -> String {
        format!("Authorization: Bearer {}", self.issuer.token(name, &json!({})))
    }
}

fn bearer(token: &str) -> String {
    format!("Authorization: Bearer {token}")
}

fn put(server: &Server, who: &str) -> u16 {
    server.send("PUT", "/dbt/latest", &[who], b"1.0.0").status
}

fn get(server: &Server, who: &str) -> u16 {
    server.send("GET", "/dbt/latest", &[who], b"").status
}

/// Finds somebody who has signed in, once that is written down.
fn seen(server: &Server, subject: &str) -> Value {
    let users = server.send("GET", USERS, &[AS_ADMIN], b"").json();
    let users = users["users"].as_array().unwrap().clone();
    users.into_iter().find(|user| user["subject"] == subject).unwrap_or_default()
}

fn post(server: &Server, who: &str, path: &str, body: &str) -> Reply {
    server.send("POST", path, &[who], body.as_bytes())
}

/// Makes a token; returns its id and a header line.
fn made(server: &Server, who: &str, wanted: &Value) -> (String, String) {
    let reply = post(server, who, TOKENS, &wanted.to_string());
    assert_eq!(reply.status, 201, "{reply:?}");
    let text = |name: &str| reply.json()[name].as_str().unwrap().to_owned();
    server.keep_secret(&text("token"));
    (text("id"), bearer(&text("token")))
}

fn agent(name: &str) -> Value {
    json!({"name": name, "subject": format!("agent:{name}"), "roles": ["publisher"]})
}

/// Returns the record from its lines.
fn records(server: &Server) -> Vec<Value> {
    let text = server.command_beside(&["audit", "export"]);
    text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["record"].take()).collect()
}

#[test]
fn whoever_is_suspended_is_refused_the_next_write_and_the_next_read_with_a_proof_that_is_good() {
    let world = World::new();
    let server = world.start();
    let bob = world.header("bob");
    assert_eq!((put(&server, &bob), get(&server, &bob)), (201, 200));
    let (own, own_header) = made(&server, &bob, &json!({"name": "bob's own"}));
    assert_eq!(put(&server, &own_header), 200);
    server.command_beside(&["user", "suspend", &world.subject("bob"), "--reason", "left"]);
    for (method, path) in [
        ("PUT", "/dbt/latest"),
        ("DELETE", "/dbt/latest"),
        ("GET", TOKENS),
        ("POST", TOKENS),
        ("POST", "/-/api/v1/uploads"),
    ] {
        let reply = server.send(method, path, &[&bob], b"{}");
        reply.is_refused(403, "forbidden");
        let told = format!("`{}` is suspended", world.subject("bob"));
        assert_eq!(reply.json()["detail"], told, "{method} {path}");
    }
    assert_eq!(std::fs::read(server.root().join("dbt/latest")).unwrap(), b"1.0.0");
    // A command beside the server changes what readers may within five seconds.
    let since = Instant::now();
    server.eventually("refused to read", |server| get(server, &bob) == 403);
    assert!(since.elapsed() < Duration::from_secs(5), "{:?}", since.elapsed());
    let whoami = server.send("GET", "/-/api/v1/whoami", &[&bob], b"");
    whoami.is_refused(403, "forbidden");
    let reply = server.send("PUT", "/dbt/latest", &[&own_header], b"1.0.0");
    reply.is_refused(401, "unauthorised");
    assert_eq!(reply.json()["detail"], "the token was revoked");
    // Others are as before.
    assert_eq!(put(&server, &world.header("carol")), 200);

    // The record has who was refused, how they proved it, and by whom they were suspended.
    let subject = world.subject("bob");
    server.eventually("recorded", |server| {
        records(server).iter().any(|it| it["outcome"] == "refused" && it["subject"] == subject)
    });
    let records = records(&server);
    let refused =
        records.iter().find(|it| it["subject"] == subject && it["status"] == 403).unwrap();
    assert_eq!(
        (&refused["method"], &refused["issuer"]),
        (&json!("oidc"), &json!(world.issuer.url()))
    );
    let done = records.iter().find(|it| it["outcome"] == "suspended").unwrap();
    assert_eq!((&done["action"], &done["subjectType"]), (&json!("user.suspend"), &json!("host")));
    let detail = done["detail"].as_str().unwrap();
    assert!(detail.contains("(left)") && detail.contains(&own), "{detail}");
}

/// Whoever holds a good proof could otherwise keep uploads under way, and let each end when it suits them.
#[test]
fn an_upload_that_is_under_way_when_somebody_is_suspended_is_not_published() {
    let world = World::new();
    let server = world.start();
    let bob = world.header("bob");
    for (suspended, status) in [(true, 401), (false, 201)] {
        let head = format!("PUT /dbt/latest HTTP/1.1\r\nHost: t\r\n{bob}\r\nContent-Length: 5\r\n");
        let mut stream = server.connect();
        // Its body is asked for when it was admitted.
        write!(stream, "{head}Expect: 100-continue\r\nConnection: close\r\n\r\n").unwrap();
        assert_eq!(stream.peek(&mut [0; 1]).unwrap(), 1);
        if suspended {
            server.command_beside(&["user", "suspend", &world.subject("bob")]);
        }
        stream.write_all(b"bytes").unwrap();
        assert_eq!(Reply::read(&mut stream, false).status, status, "{suspended}");
        assert_eq!(server.root().join("dbt/latest").exists(), !suspended);
        server.command_beside(&["user", "reactivate", &world.subject("bob")]);
    }
}

/// The token of the provider stays what it was; what the settings make of its bearer does not.
#[test]
fn whoever_is_taken_out_of_a_group_of_the_settings_may_nothing_more_by_it_with_the_next_request() {
    let world = World::new();
    let options = world.issuer.options();
    let members = |group: &[String]| {
        format!(
            r#""authTypePut": "oidc", "auth": {{"issuers": [{options}], "groups": {{"foo": {}}}}},
            "policies": [{{"name": "foo", "subjects": ["group:foo"], "paths": ["/dbt-tools/foo/**"],
              "actions": ["read", "create", "replace"]}}]"#,
            json!(group)
        )
    };
    let path = "/dbt-tools/foo/1.0.0/linux/amd64/foo";
    let server = Server::with(&members(&[world.subject("bob")]));
    let bob = world.header("bob");
    let ask = |method: &str| server.send(method, path, &[&bob], b"bytes").status;
    assert_eq!((ask("PUT"), ask("GET")), (201, 200));
    server.reload(&members(&[world.subject("carol")]));
    assert_eq!((ask("PUT"), ask("GET")), (403, 403));
    server.reload(&members(&[world.subject("bob")]));
    assert_eq!((ask("PUT"), ask("GET")), (200, 200));
}

#[test]
fn a_suspension_outlives_a_restart_and_a_reload_and_reactivation_revives_no_token() {
    let world = World::new();
    let server = world.start();
    let bob = world.header("bob");
    assert_eq!(put(&server, &bob), 201);
    let (_own, own) = made(&server, &bob, &json!({"name": "own"}));
    server.command_beside(&["user", "suspend", &world.subject("bob")]);
    server.reload(&world.members(&json!([])));
    assert_eq!(put(&server, &bob), 403);
    let server = Server::on(server.stop(), &world.members(&json!([])));
    assert_eq!((put(&server, &bob), get(&server, &bob)), (403, 403));
    let explained =
        server.command_beside(&["explain", &world.subject("bob"), "PUT", "/dbt/latest"]);
    assert!(explained.contains("refused all the same:"), "{explained}");
    assert!(explained.contains("is suspended since"), "{explained}");
    let listed = server.command_beside(&["user", "list", "--suspended"]);
    assert!(listed.contains(&world.subject("bob")) && listed.lines().count() == 1, "{listed}");

    let said = server.command_beside(&["user", "reactivate", &world.subject("bob")]);
    assert!(said.starts_with("reactivated"), "{said}");
    assert_eq!((put(&server, &bob), put(&server, &own)), (200, 401));
    let again = server.command_beside(&["user", "reactivate", &world.subject("bob")]);
    assert!(again.contains("was reactivated before"), "{again}");
    assert!(!server.command_beside(&["user", "list", "--suspended"]).contains("bob"));
}

#[test]
fn over_http_whoever_manages_users_suspends_them_and_nobody_themselves() {
    let world = World::new();
    let server = world.start();
    let (alice, bob) = (world.header("alice"), world.header("bob"));
    let helper = "Authorization: Bearer write-token";
    assert_eq!((put(&server, &alice), put(&server, &bob)), (201, 200));
    server.command_beside(&["user", "suspend", &world.subject("bob")]);
    server.command_beside(&["user", "reactivate", &world.subject("bob")]);
    let id = seen(&server, &world.subject("bob"))["id"].as_str().unwrap().to_owned();
    let (suspend, reactivate) =
        (format!("{USERS}/{id}/suspend"), format!("{USERS}/{id}/reactivate"));
    for who in [&bob, &world.header("carol")] {
        post(&server, who, &suspend, "").is_refused(403, "forbidden");
        server.send("GET", USERS, &[who], b"").is_refused(403, "forbidden");
    }
    assert_eq!(put(&server, &bob), 200, "nothing happened");
    // What it takes is the permission, not a role.
    let reply = post(&server, helper, &suspend, r#"{"reason": "lost a laptop"}"#);
    assert_eq!(reply.status, 200, "{reply:?}");
    assert_eq!(reply.json()["suspended"]["by"], "static-token:helper");
    assert_eq!(reply.json()["suspended"]["reason"], "lost a laptop");
    // At once, also for readers: this server did it.
    assert_eq!((get(&server, &bob), put(&server, &bob)), (403, 403));
    let shown = server.send("GET", &format!("{USERS}/{id}"), &[helper], b"").json();
    assert_eq!(shown["suspended"]["reason"], "lost a laptop");
    assert_eq!(post(&server, &alice, &reactivate, "").status, 200);
    assert_eq!((get(&server, &bob), put(&server, &bob)), (200, 200));

    // Whoever is no administrator has no hand in what administrators may.
    let admin = "/-/api/v1/users/static-token:admin/suspend";
    post(&server, helper, admin, "").is_refused(403, "forbidden");
    let own = "/-/api/v1/users/static-token:helper/suspend";
    post(&server, helper, own, "").is_refused(403, "forbidden");
    let text = post(&server, AS_ADMIN, own, r#"{"reasons": "x"}"#);
    text.is_refused(400, "bad-body");
    post(&server, AS_ADMIN, "/-/api/v1/users/host:0/suspend", "").is_refused(400, "bad-user");
    post(&server, AS_ADMIN, "/-/api/v1/users/nobody/suspend", "").is_refused(400, "bad-user");
    assert_eq!(get(&server, helper), 200, "nothing happened");
    let unknown = format!("{USERS}/00000000000000000000000000000000");
    server.send("GET", &unknown, &[AS_ADMIN], b"").is_refused(404, "not-found");
    assert_eq!(post(&server, AS_ADMIN, own, "").status, 200);
    assert_eq!(put(&server, helper), 403);
}

#[test]
fn who_signs_in_is_known_from_then_on_and_programs_are_not_people() {
    let world = World::new();
    let server = world.start();
    assert_eq!((put(&server, &world.header("bob")), put(&server, AS_ADMIN)), (201, 200));
    let members = world.members(&json!([]));
    // What was noted is written when the server stops.
    let server = Server::on(server.stop(), &members);
    let bob = seen(&server, &world.subject("bob"));
    assert_eq!((&bob["managed"], &bob["suspended"]), (&json!(false), &Value::Null));
    assert!(bob["lastSeen"].is_string() && bob["created"].is_string(), "{bob}");
    assert_eq!(seen(&server, "static-token:admin"), Value::Null);
    let listed: Value =
        serde_json::from_str(&server.command_beside(&["user", "list", "--json"])).unwrap();
    assert_eq!(listed["users"].as_array().unwrap().len(), 1);
}

#[test]
fn what_a_suspended_person_made_for_programs_counts_again_when_somebody_takes_it_over() {
    let world = World::new();
    let server = world.start();
    let (alice, bob) = (world.header("alice"), world.header("bob"));
    assert_eq!(put(&server, &bob), 201);
    // Alice's own token makes one for a program, and that program's makes another.
    let (_own, own) = made(&server, &alice, &json!({"name": "laptop"}));
    let admin = json!({"name": "ci", "subject": "agent:ci", "roles": ["admin"]});
    let (first, by_own) = made(&server, &own, &admin);
    let (second, by_agent) = made(&server, &by_own, &agent("deploy"));
    let (_other, others) = made(&server, AS_ADMIN, &agent("other"));
    let (left, by_alice) = made(&server, &alice, &agent("left"));
    let headers = [&own, &by_own, &by_agent, &others];
    assert_eq!(headers.map(|it| put(&server, it)), [200; 4]);
    assert_eq!(put(&server, &by_alice), 200);
    server.command_beside(&["user", "suspend", &world.subject("alice")]);
    assert_eq!(headers.map(|it| put(&server, it)), [401, 403, 403, 200]);
    let reply = server.send("PUT", "/dbt/latest", &[&by_agent], b"2.0.0");
    reply.is_refused(403, "forbidden");
    assert!(reply.json()["detail"].as_str().unwrap().contains("who owns the token"), "{reply:?}");
    let explained =
        server.command_beside(&["explain", &format!("token:{second}"), "PUT", "/dbt/latest"]);
    assert!(explained.contains("refused all the same:"), "{explained}");

    // Only an administrator takes one over, and only one that counts.
    let own_path = |id: &str| format!("{TOKENS}/{id}/own");
    post(&server, &bob, &own_path(&second), "").is_refused(403, "forbidden");
    post(&server, &others, &own_path(&second), "").is_refused(403, "forbidden");
    assert_eq!(put(&server, &by_agent), 403);
    assert_eq!(post(&server, AS_ADMIN, &own_path(&second), "").status, 204);
    assert_eq!(headers.map(|it| put(&server, it)), [401, 403, 200, 200]);
    let shown = server.send("GET", &format!("{TOKENS}/{second}"), &[AS_ADMIN], b"").json();
    assert_eq!(
        (&shown["owner"], &shown["createdBy"]),
        (&json!("static-token:admin"), &json!("agent:ci"))
    );
    let said = server.command_beside(&["token", "own", &first]);
    assert!(said.contains("is owned by `host:"), "{said}");
    assert_eq!(headers.map(|it| put(&server, it)), [401, 200, 200, 200]);

    // Whose suspension ends has nothing of it again by that alone.
    server.command_beside(&["user", "reactivate", &world.subject("alice")]);
    assert_eq!(
        (put(&server, &alice), put(&server, &own), put(&server, &by_alice)),
        (200, 401, 403)
    );
    assert_eq!(get(&server, &by_alice), 403);
    assert_eq!(post(&server, &alice, &own_path(&left), "").status, 204);
    assert_eq!((put(&server, &by_alice), get(&server, &by_alice)), (200, 200));
    assert!(
        server
            .refused_beside(&["token", "own", "01M81Z943VQVW0X8R1ESWY9315"])
            .contains("there is no token")
    );
}

#[test]
fn the_settings_name_people_suspend_them_and_delete_them_and_what_they_say_wins() {
    let world = World::new();
    let carol = json!({"name": "carol"});
    let server = Server::with(&world.members(&json!([carol])));
    let create =
        || server.command_beside(&["token", "create", "user:carol", "--role", "publisher"]);
    let first = bearer(create().trim());
    assert_eq!(put(&server, &first), 201);
    let suspended = json!([{"name": "carol", "suspended": true}]);
    let said = server.reload(&world.members(&suspended));
    assert!(said.contains("`auth.users` suspends `user:carol`; 1 of their tokens"), "{said}");
    assert_eq!(put(&server, &first), 401);
    let second = bearer(create().trim());
    assert_eq!((put(&server, &second), get(&server, &second)), (403, 403));
    let shown = seen(&server, "user:carol");
    assert_eq!(
        (&shown["managed"], &shown["suspended"]["by"]),
        (&json!(true), &json!("the settings"))
    );

    let said = server.reload(&world.members(&json!([carol])));
    assert!(said.contains("`user:carol` was suspended and is not any more"), "{said}");
    server.eventually("said", |server| server.log().contains("and the settings win"));
    assert_eq!((put(&server, &first), put(&server, &second)), (401, 401));
    let second = bearer(create().trim());
    assert_eq!(put(&server, &second), 200);

    // What is done otherwise counts at once, until the settings are read again.
    let reply = post(&server, AS_ADMIN, &format!("{USERS}/user:carol/suspend"), "");
    assert!(
        reply.json()["notice"].as_str().unwrap().contains("`auth.users` names them"),
        "{reply:?}"
    );
    assert_eq!(put(&server, &second), 401);
    let third = bearer(create().trim());
    assert_eq!(put(&server, &third), 403);
    let server = Server::on(server.stop(), &world.members(&json!([carol])));
    server.eventually("said", |server| server.log().contains("and the settings win"));
    assert_eq!(put(&server, &third), 401, "what was made meanwhile ends, too");
    let create =
        || server.command_beside(&["token", "create", "user:carol", "--role", "publisher"]);
    let third = bearer(create().trim());
    assert_eq!(put(&server, &third), 200);

    let said = server.reload(&world.members(&json!([])));
    assert!(
        said.contains("`user:carol` is not in `auth.users` any more and was deleted"),
        "{said}"
    );
    assert_eq!((put(&server, &third), seen(&server, "user:carol")), (401, Value::Null));
    let refused = server.refused_beside(&["token", "create", "user:carol"]);
    assert!(refused.contains("they are not in `auth.users`"), "{refused}");
    // Whoever comes again under the same name has none of what was.
    server.reload(&world.members(&json!([carol])));
    assert_eq!(put(&server, &third), 401);
    let effects: Vec<Value> = records(&server)
        .iter()
        .filter(|it| it["action"] == "user")
        .map(|it| it["outcome"].clone())
        .collect();
    assert_eq!(
        effects,
        ["added", "suspended", "reactivated", "reactivated", "removed", "added"].map(Value::from)
    );
}

#[test]
fn whom_somebody_else_suspended_stays_so_when_the_settings_forget_them() {
    let world = World::new();
    let server = Server::with(&world.members(&json!([{"name": "carol"}])));
    let token = bearer(server.command_beside(&["token", "create", "user:carol"]).trim());
    assert_eq!(get(&server, &token), 404);
    server.command_beside(&["user", "suspend", "user:carol"]);
    let said = server.reload(&world.members(&json!([])));
    assert!(said.contains("stays suspended, as it was done otherwise"), "{said}");
    let shown = seen(&server, "user:carol");
    assert!(shown["managed"] == false && shown["suspended"].is_object(), "{shown}");
}

#[test]
fn an_entry_of_somebody_who_came_by_signing_in_is_reported_and_ignored() {
    let world = World::new();
    let server = world.start();
    let bob = world.header("bob");
    assert_eq!(put(&server, &bob), 201);
    let entry = json!([{"name": world.subject("bob"), "suspended": true}]);
    let said = server.reload(&world.members(&entry));
    assert!(said.contains("of `auth.users` is ignored"), "{said}");
    assert!(server.command_beside(&["check-config"]).contains("of `auth.users` is ignored"));
    assert_eq!(put(&server, &bob), 200);
    assert_eq!(seen(&server, &world.subject("bob")), Value::Null);
}

#[test]
fn entries_that_cannot_be_meant_stop_the_start() {
    let world = World::new();
    for (users, words) in [
        (json!([{}]), "`auth.users[0].name` is needed"),
        (json!([{"name": "a b"}]), "is no name of a person"),
        (json!([{"name": "agent:ci"}]), "which is a program"),
        (json!([{"name": "static-token:admin"}]), "which is a program"),
        (json!([{"name": "ssh:alice"}]), "no configured method proves this"),
        (json!([{"name": "a"}, {"name": "user:a"}]), "is `user:a` a second time"),
        (
            json!([{"name": "a", "suspend": true}]),
            "the nearest known key is `auth.users[0].suspended`",
        ),
    ] {
        let said = Place::new().refusal(&world.members(&users));
        assert!(said.contains(words), "{users}: {said}");
    }
}

#[test]
fn how_many_are_suspended_is_told_and_not_who() {
    let world = World::new();
    let metrics = r#""listen": {"metrics": "127.0.0.1:0"}"#;
    let members = |users: &Value| format!("{}, {metrics}", world.members(users));
    let server = Server::with(&members(&json!([])));
    let told = |server: &Server| server.metric("reposerver_users_suspended").unwrap();
    assert_eq!(told(&server), "0");
    server.command_beside(&["user", "suspend", &world.subject("bob")]);
    assert_eq!(put(&server, &world.header("bob")), 403);
    assert_eq!(told(&server), "1");
    let suspended = json!([{"name": "carol", "suspended": true}]);
    server.reload(&members(&suspended));
    assert_eq!(told(&server), "2");
    server.command_beside(&["user", "reactivate", &world.subject("bob")]);
    assert_eq!(told(&server), "1");
    let refused =
        r#"reposerver_auth_attempts_total{method="bearer",result="refused",reason="suspended"}"#;
    assert_eq!(server.metric(refused).as_deref(), Some("1"));
    let text = server.get_beside("/-/metrics").text();
    assert!(!text.contains("bob") && !text.contains("carol"), "{text}");
    let server = Server::on(server.stop().argument("--read-only"), &members(&suspended));
    assert_eq!(told(&server), "1");
}

/// A server that only reads writes nothing down, and goes by the settings.
#[test]
fn a_server_that_only_reads_suspends_whom_the_settings_suspend() {
    let world = World::new();
    let server = Server::with(&world.members(&json!([{"name": "carol"}])));
    let token = bearer(server.command_beside(&["token", "create", "user:carol"]).trim());
    server.put_on_disk("dbt/latest", b"1.0.0");
    assert_eq!(get(&server, &token), 200);
    let place = server.stop().argument("--read-only");
    let server = Server::on(place, &world.members(&json!([{"name": "carol", "suspended": true}])));
    let reply = server.send("GET", "/dbt/latest", &[&token], b"");
    reply.is_refused(403, "forbidden");
    assert_eq!(reply.json()["detail"], "suspended by the settings");
}

/// Says whether any file below a directory holds a word.
fn is_kept(directory: &Path, word: &str) -> bool {
    planted::files_below(directory).iter().any(|path| {
        let bytes = std::fs::read(path).unwrap_or_default();
        bytes.windows(word.len()).any(|it| it == word.as_bytes())
    })
}

/// Whoever leaves a group would otherwise have its rights as long as it is remembered.
#[test]
fn the_groups_that_a_provider_tells_of_are_kept_in_no_file() {
    const GROUP: &str = "friends-of-the-white-rabbit";
    let world = World::new();
    let server = world.start();
    let bob = bearer(&world.issuer.token("bob", &json!({"groups": [GROUP]})));
    let whoami = server.send("GET", "/-/api/v1/whoami", &[&bob], b"").json();
    assert!(whoami["groups"].to_string().contains(GROUP), "{whoami}");
    assert_eq!((put(&server, &bob), get(&server, &bob)), (201, 200));
    // What he makes is kept with his name, and so is what he is refused.
    made(&server, &bob, &json!({"name": "laptop"}));
    server.send("DELETE", "/dbt/truststore", &[&bob], b"").is_refused(403, "forbidden");
    server.eventually("recorded", |server| {
        records(server).iter().any(|it| it["outcome"] == "refused")
    });
    let subject = world.subject("bob");
    let (state, root) = (server.state(), server.root());
    assert!(is_kept(&state, &subject), "the look finds what is kept");
    assert!(!is_kept(&state, GROUP) && !is_kept(&root, GROUP));
    // Who came is written down when the server stops.
    let place = server.stop();
    assert!(is_kept(&place.state(), &subject) && !is_kept(&place.state(), GROUP));
}
