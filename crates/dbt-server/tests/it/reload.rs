//! New settings without a restart: the good ones are in force, bad ones change nothing.

use std::io::Write as _;

use rustix::process::Signal;
use serde_json::json;

use crate::tokens::{Key, claims, key_file};
use crate::world::{AUTHORIZED, Place, Reply, Server, WRITABLE, sha256};

const OTHER: &str = r#""authTypePut": "static-token", "authOptsPut": {"staticToken": "other"}"#;

fn put_as(server: &Server, token: &str) -> u16 {
    let line = format!("Authorization: Bearer {token}");
    server.send("PUT", "/dbt/latest", &[&line], b"1.0.0").status
}

#[test]
fn a_changed_file_is_in_force_and_one_that_cannot_be_used_is_not() {
    let server = Server::with(&format!(r#"{WRITABLE}, "listen": {{"metrics": "127.0.0.1:0"}}"#));
    assert_eq!(put_as(&server, "open-sesame"), 201);
    let metrics = r#""listen": {"metrics": "127.0.0.1:0"}"#;
    server.configure(&format!("{OTHER}, {metrics}"));
    server.eventually("in force", |server| put_as(server, "other") == 200);
    assert_eq!(put_as(&server, "open-sesame"), 401);
    assert_eq!(server.metric("reposerver_config_last_reload_success").as_deref(), Some("1"));

    for bad in [r#""autGets": true"#, r#""authGets": true"#, r#""port": "#] {
        server.configure(bad);
        server.eventually("refused", |server| {
            server.metric("reposerver_config_last_reload_success").as_deref() == Some("0")
        });
        assert_eq!(put_as(&server, "other"), 200, "{bad}");
        server.configure(&format!("{OTHER}, {metrics}"));
        server.eventually("taken", |server| {
            server.metric("reposerver_config_last_reload_success").as_deref() == Some("1")
        });
    }
    let log = server.log();
    assert!(log.contains("those from before stay in force"), "{log}");
    assert!(log.contains("the nearest known key is `authGets`"), "{log}");
    assert!(server.metric("reposerver_config_reloads_total{result=\"refused\"}").is_some());
}

#[test]
fn a_signal_and_a_command_do_the_same_and_the_command_says_what_is_wrong() {
    let server = Server::start();
    server.configure(OTHER);
    server.signal(Signal::HUP);
    server.eventually("in force", |server| put_as(server, "other") == 201);
    assert_eq!(
        server.reload(WRITABLE),
        "the settings were read again and are in force\n\
         warning: there are no `policies`: whoever may write may write every tool and the program \
         itself\n"
    );
    assert_eq!((put_as(&server, "open-sesame"), put_as(&server, "other")), (200, 401));
    // The command reads the file too, to know where the server is; so the fault is one that only
    // the server can see.
    server.configure(&format!(
        r#"{OTHER}, "listen": {{"tls": {{"certFile": "a", "keyFile": "b"}}}}"#
    ));
    let output = server.try_command_beside(&["reload"]);
    // TLS cannot begin while a server runs, so that the files are not even read.
    assert!(output.status.success(), "{output:?}");
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(
        said.contains("warning: `listen.tls` changed and counts only after a restart"),
        "{said}"
    );
    assert_eq!(put_as(&server, "other"), 200);
}

#[test]
fn what_cannot_change_while_a_server_runs_is_named_and_kept() {
    let server = Server::start();
    let said = server.reload(&format!(
        r#"{WRITABLE}, "log": {{"format": "text"}}, "listen": {{"metrics": "127.0.0.1:0"}}"#
    ));
    for setting in ["log.format", "listen.metrics"] {
        let words = format!("warning: `{setting}` changed and counts only after a restart");
        assert!(said.contains(&words), "{setting}: {said}");
    }
    for line in server.log().lines() {
        assert!(line.starts_with('{'), "still JSON: {line}");
    }
    assert_eq!(server.put("/dbt/latest", b"1").status, 201);
}

#[test]
fn a_tree_that_was_opened_for_readers_takes_writes_only_after_a_restart() {
    let server = Server::with("");
    server.put_on_disk("dbt/latest", b"1");
    server.configure(WRITABLE);
    server.signal(Signal::HUP);
    server.eventually("read", |server| server.log().contains("authTypePut"));
    assert_eq!(server.put("/dbt/latest", b"2").status, 405);
    assert_eq!(server.get("/dbt/latest").text(), "1");
}

#[test]
fn a_mounted_configuration_is_exchanged_by_a_link() {
    let server = Server::start();
    let at = |name: &str| server.outside().join(name);
    let file = at("config.json");
    // As Kubernetes mounts one: the file is a link into a directory that is a link.
    for (version, members) in [("v1", WRITABLE), ("v2", OTHER)] {
        std::fs::create_dir(at(version)).unwrap();
        server.configure(members);
        server.put_beside(&format!("{version}/config.json"), std::fs::read(&file).unwrap());
        std::fs::remove_file(&file).unwrap();
    }
    std::os::unix::fs::symlink("v1", at("data")).unwrap();
    std::os::unix::fs::symlink("data/config.json", &file).unwrap();
    server.eventually("read", |server| server.log().contains("are in force"));
    assert_eq!(put_as(&server, "open-sesame"), 201);
    std::os::unix::fs::symlink("v2", at("data.new")).unwrap();
    rustix::fs::rename(at("data.new"), at("data")).unwrap();
    server.eventually("in force", |server| put_as(server, "other") == 200);
    assert_eq!(put_as(&server, "open-sesame"), 401);
}

#[test]
fn a_bad_file_of_users_leaves_the_users_and_is_counted() {
    let place = Place::new();
    let user = |name: &str| {
        format!("{name}:$2y$04$85ky.r11cMonBFtQcHMF5.9EnMTcAJ6bNdJbszYtARtJRuCATf77K\n")
    };
    place.put_beside("htpasswd", user("alice").as_bytes());
    let server = Server::on(
        place,
        r#""authTypePut": "basic-htpasswd", "htpasswdFile": "htpasswd",
           "listen": {"metrics": "127.0.0.1:0"}"#,
    );
    let put = |user: &str| {
        let line = format!("Authorization: Basic {}", basic(user, "pw"));
        server.send("PUT", "/dbt/latest", &[&line], b"1").status
    };
    assert_eq!(put("alice"), 201);
    std::fs::write(server.outside().join("htpasswd"), b"\xff").unwrap();
    server.eventually("counted", |server| {
        server.metric("reposerver_config_last_reload_success").as_deref() == Some("0")
    });
    assert_eq!(put("alice"), 200);
    std::fs::write(server.outside().join("htpasswd"), user("bob")).unwrap();
    server.eventually("good again", |server| {
        server.metric("reposerver_config_last_reload_success").as_deref() == Some("1")
    });
    assert_eq!((put("bob"), put("alice")), (200, 401));
}

fn basic(user: &str, password: &str) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"))
}

/// As an orchestrator mounts a secret: the file is a link that is made to lead elsewhere.
#[test]
fn a_token_in_a_file_changes_with_the_file() {
    let place = Place::new();
    for (name, text) in [("old", "the-old-token\n"), ("new", "the-new-token\n"), ("bad", " \n")] {
        place.put_beside(name, text.as_bytes());
    }
    std::os::unix::fs::symlink("old", place.beside("token")).unwrap();
    let server = Server::on(
        place,
        r#""authTypePut": "static-token", "listen": {"metrics": "127.0.0.1:0"},
           "tokens": [{"name": "ci", "file": "token"}]"#,
    );
    let lead_to = |name: &str| {
        let link = server.outside().join("token.link");
        std::os::unix::fs::symlink(name, &link).unwrap();
        rustix::fs::rename(&link, server.outside().join("token")).unwrap();
    };
    assert_eq!(put_as(&server, "the-old-token"), 201);
    assert_eq!(put_as(&server, "the-new-token"), 401);
    // One that is none leaves the token that was there.
    lead_to("bad");
    server.eventually("refused", |server| {
        server.metric("reposerver_config_last_reload_success").as_deref() == Some("0")
    });
    assert!(server.log().contains("`tokens[0]` is empty"), "{}", server.log());
    assert_eq!(put_as(&server, "the-old-token"), 200);
    lead_to("new");
    server.eventually("in force", |server| put_as(server, "the-new-token") == 200);
    assert_eq!(put_as(&server, "the-old-token"), 401);
    // Written in its place, as an editor does.
    std::fs::write(server.outside().join("new"), "the-newest-token").unwrap();
    server.eventually("in force", |server| put_as(server, "the-newest-token") == 200);
    assert_eq!(put_as(&server, "the-new-token"), 401);
}

#[test]
fn a_request_under_way_keeps_the_settings_it_began_with() {
    let server = Server::start();
    let mut upload = server.connect();
    let head = format!(
        "PUT /dbt/latest HTTP/1.1\r\nHost: t\r\n{AUTHORIZED}\r\nContent-Length: 5\r\n\r\n1."
    );
    upload.write_all(head.as_bytes()).unwrap();
    server.eventually("begun", |server| server.unfinished().len() == 1);
    server.reload(&format!(r#"{OTHER}, "limits": {{"maxUploadBytes": 1}}"#));
    assert_eq!(put_as(&server, "open-sesame"), 401);
    assert_eq!(put_as(&server, "other"), 413);
    upload.write_all(b"0.0").unwrap();
    assert_eq!(Reply::read(&mut upload, false).status, 201);
    // The next request of the same connection has the settings of its own time.
    upload.write_all(head.as_bytes()).unwrap();
    assert_eq!(Reply::read(&mut upload, false).status, 401);
}

#[test]
fn proofs_that_count_once_are_remembered_over_a_change_of_settings() {
    let place = Place::new();
    let key = Key::ed25519(b'a');
    place.put_beside("keys.json", key_file(&[("alice", key.line())]).as_bytes());
    let settings = r#""authTypePut": "ssh-agent-file", "pubkeysFile": "keys.json",
        "publicUrls": ["https://dbt.example.com"]"#;
    let server = Server::on(place, settings);
    let token = || {
        let mut claims = claims("alice");
        claims["jti"] = json!(sha256(format!("{:?}", std::time::Instant::now()).as_bytes()));
        format!("Token: {}", key.signed(&claims))
    };
    let put = |token: &str| server.send("PUT", "/dbt/latest", &[token], b"1").status;
    let (used, unused) = (token(), token());
    assert_eq!(put(&used), 201);
    server.reload(&format!(r#"{settings}, "limits": {{"maxUploads": 3}}"#));
    assert_eq!(put(&used), 401, "it was used before");
    assert_eq!(put(&unused), 200, "it was signed after the server's start");
}

#[test]
fn a_storm_of_signals_interrupts_nobody() {
    let server = Server::with(&format!(r#"{WRITABLE}, "listen": {{"metrics": "127.0.0.1:0"}}"#));
    server.put("/dbt/latest", b"1.0.0");
    let open = |server: &Server| server.metric("process_open_fds").unwrap().parse::<u32>().unwrap();
    let before = open(&server);
    for round in 0..100 {
        server.signal(Signal::HUP);
        if round % 10 == 0 {
            server.configure(if round % 20 == 0 { "nonsense" } else { WRITABLE });
        }
        assert_eq!(server.get("/dbt/latest").text(), "1.0.0");
        assert_eq!(server.put("/dbt/latest", b"1.0.0").status, 200);
    }
    server.configure(WRITABLE);
    server.eventually("good in the end", |server| {
        server.metric("reposerver_config_last_reload_success").as_deref() == Some("1")
    });
    server.eventually("descriptors are given back", |server| open(server) <= before + 2);
}

#[test]
fn rules_that_say_what_may_be_written_change_too() {
    let artifact = "/dbt-tools/x/1.0.0/linux/amd64/x";
    let server = Server::with(&format!(r#"{WRITABLE}, "verifyUploads": "off""#));
    let publish = |bytes: &[u8]| {
        let first = server.put(artifact, bytes).status;
        server.put(&format!("{artifact}.asc"), b"signature");
        server.put(&format!("{artifact}.sha256"), sha256(bytes).as_bytes());
        first
    };
    publish(b"one");
    assert_eq!(server.get(artifact).text(), "one");
    server.reload(&format!(r#"{WRITABLE}, "verifyUploads": "off", "immutable": true"#));
    server.put(artifact, b"two").is_refused(409, "immutable-conflict");
    assert_eq!(server.delete(artifact).status, 204);
    server.put(artifact, b"two").is_refused(409, "immutable-conflict");
}

#[test]
fn who_may_not_manage_users_has_no_settings_read() {
    let server = Server::start();
    let ask = |lines: &[&str]| server.send("POST", "/-/api/v1/reload", lines, b"");
    ask(&[]).is_refused(401, "unauthorised");
    ask(&[AUTHORIZED]).is_refused(403, "forbidden");
    ask(&[AUTHORIZED, "Origin: https://evil.example"]).is_refused(403, "forbidden");
    assert!(!server.log().contains("are in force"));
}

#[test]
fn the_socket_is_for_the_server_s_own_user() {
    use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
    let server = Server::start();
    let socket = server.state().join("admin.sock");
    let metadata = std::fs::metadata(&socket).unwrap();
    assert!(metadata.file_type().is_socket());
    assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
    server.command_beside(&["reload"]);
    server.eventually("recorded", |server| {
        let log = server.log();
        log.contains("settings read again") && log.contains("\"host:")
    });
    // Killed as by a power cut: the next one takes its place.
    let place = server.kill();
    let server = Server::on(place, WRITABLE);
    server.command_beside(&["reload"]);
}
