//! Users and passwords in a file.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::world::{Place, Reply, Server, looked_through};

/// Every form that is accepted, of the password `pw`.
const USERS: &str = "\
# users
apr1:$apr1$abcdefgh$5VEbMkemELfbhC5ck.U.z1
md5:$1$abcdefgh$IQtUouv7y7Q9dRWkQEPCc.
sha:{SHA}GpHWL3ymc5liWkNopqtdSjuqYHM=
bcrypt:$2y$04$85ky.r11cMonBFtQcHMF5.9EnMTcAJ6bNdJbszYtARtJRuCATf77K
";

const MEMBERS: &str = r#""authGets": true, "authTypeGet": "basic-htpasswd", "authTypePut": "basic-htpasswd",
    "htpasswdFile": "htpasswd""#;

fn server(users: &str) -> Server {
    let place = Place::new();
    place.put_beside("htpasswd", users.as_bytes());
    Server::on(place, MEMBERS)
}

fn basic(user: &str, password: &str) -> String {
    format!("Authorization: Basic {}", STANDARD.encode(format!("{user}:{password}")))
}

fn put(server: &Server, user: &str, password: &str) -> Reply {
    server.send("PUT", "/dbt/new", &[&basic(user, password)], b"body")
}

#[test]
fn every_form_lets_its_user_in_and_nobody_else() {
    let server = server(USERS);
    for (index, user) in ["apr1", "md5", "sha", "bcrypt"].into_iter().enumerate() {
        for wrong in ["", "PW", "pw2", "p", "pw\0", "p\u{e9}"] {
            put(&server, user, wrong).is_refused(401, "unauthorised");
        }
        assert_eq!(server.tree().is_empty(), index == 0, "{user}");
        assert!(matches!(put(&server, user, "pw").status, 200 | 201), "{user}");
    }
    for (user, password) in [("nobody", "pw"), ("", "pw"), ("# users", "pw"), ("APR1", "pw")] {
        put(&server, user, password).is_refused(401, "unauthorised");
    }
    let bearer = server.send("PUT", "/dbt/new", &["Authorization: Bearer pw"], b"body");
    bearer.is_refused(401, "unauthorised");
    server.eventually("recorded", |server| server.log().contains("\"htpasswd:apr1\""));
}

#[test]
fn a_refusal_asks_for_a_password_and_tells_nobody_who_exists() {
    let server = server(USERS);
    let told = |user: &str| {
        let reply = put(&server, user, "wrong");
        let mut problem = reply.json();
        problem["requestId"] = "".into();
        problem["instance"] = "".into();
        (reply.status, reply.stable_headers(), problem)
    };
    assert_eq!(told("apr1"), told("nobody"));
    let reply = server.send("PUT", "/dbt/new", &[], b"body");
    assert_eq!(reply.header("www-authenticate"), Some("Basic realm=\"dbt\", charset=\"UTF-8\""));
}

#[test]
fn lines_that_cannot_be_used_are_left_out_and_never_harm() {
    let users = format!(
        "no colon\n:x\na:b:c\nplain:pw\ndes:rqXexS6ZhobKA\nold:$2$04$85ky\nhuge:$2y$31$85ky\n\"quoted\nempty:\n{USERS}"
    );
    let server = server(&users);
    assert_eq!(put(&server, "bcrypt", "pw").status, 201);
    for user in ["plain", "des", "old", "huge", "a", "\"quoted"] {
        put(&server, user, "pw").is_refused(401, "unauthorised");
    }
    // Nothing after the colon is no password, and not the empty one.
    for password in ["", "pw", "\0"] {
        put(&server, "empty", password).is_refused(401, "unauthorised");
    }
    let place = Place::new().argument("check-config");
    place.put_beside("htpasswd", users.as_bytes());
    let output = looked_through(&mut place.command(MEMBERS));
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(
        text.contains(
            "warning: `htpasswd`: line 4 is left out: DES crypt and plain text are not accepted"
        ),
        "{text}"
    );
    assert!(!text.contains("rqXex"), "{text}");
}

#[test]
fn a_change_counts_at_once_and_a_file_that_went_away_leaves_what_was() {
    let server = server(USERS);
    assert_eq!(put(&server, "sha", "pw").status, 201);
    let file = server.outside().join("htpasswd");
    std::fs::remove_file(&file).unwrap();
    assert_eq!(put(&server, "sha", "pw").status, 200);
    std::fs::write(&file, b"\xff\xfe").unwrap();
    assert_eq!(put(&server, "sha", "pw").status, 200);
    std::fs::write(&file, "# nobody\n").unwrap();
    assert_eq!(put(&server, "sha", "pw").status, 401);
    std::fs::write(&file, USERS).unwrap();
    assert_eq!(put(&server, "sha", "pw").status, 200);
}

#[test]
fn a_missing_file_stops_the_start_and_one_without_users_does_not() {
    let said = Place::new().refusal(MEMBERS);
    assert!(said.contains("error: the users in `htpasswd` cannot be used"), "{said}");
    let server = server("# nobody may publish yet\n");
    put(&server, "sha", "pw").is_refused(401, "unauthorised");
}

#[test]
fn one_file_of_passwords_and_one_of_keys_work_side_by_side() {
    let key = crate::tokens::Key::ed25519(7);
    let place = Place::new();
    place.put_beside("htpasswd", USERS.as_bytes());
    let keys = crate::tokens::key_file(&[("alice", key.line())]);
    place.put_beside("keys.json", keys.as_bytes());
    let server = Server::on(
        place,
        r#""authTypePut": "static-token, basic-htpasswd, ssh-agent-file",
        "authOptsPut": {"staticToken": "open-sesame", "idpFile": "htpasswd"},
        "pubkeysFile": "keys.json", "publicUrls": ["https://dbt.example.com"]"#,
    );
    let alice = key.header_of("alice");
    let send = |lines: &[&str]| server.send("PUT", "/dbt/new", lines, b"body").status;
    assert_eq!(send(&[&alice]), 201);
    assert_eq!(send(&[&basic("sha", "pw")]), 200);
    assert_eq!(send(&["Authorization: Bearer open-sesame"]), 200);
    assert_eq!(send(&[&basic("any", "open-sesame")]), 200);
    // The reference's clients send both when both are configured; one that is right is enough.
    assert_eq!(send(&[&basic("sha", "wrong"), &key.header_of("alice")]), 200);
    assert_eq!(send(&[&basic("sha", "pw"), "Token: a.b.c"]), 200);
    assert_eq!(send(&[&basic("sha", "wrong"), "Token: a.b.c"]), 401);
    let reply = server.send("PUT", "/dbt/new", &[], b"body");
    assert_eq!(reply.all("www-authenticate").len(), 3, "{reply:?}");
}
