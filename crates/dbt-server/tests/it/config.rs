//! Starting: what is refused, what is said, and how the program ends.

use std::io::Read as _;

use rustix::process::Signal;

use crate::world::{Place, Reply, Server, WRITABLE, looked_through};

#[test]
fn a_configuration_that_leaves_a_door_open_by_mistake_stops_the_start() {
    for (members, words) in [
        (r#""authGets": true"#, "error: `authGets` is true but `authTypeGet` is empty\n"),
        (r#""authGets": true, "authTypeGet": """#, "`authTypeGet` is empty\n"),
        (r#""authGets": true, "authTypeGet": " ""#, "`authTypeGet` is empty\n"),
        (r#""authTypePut": "static-token""#, "error: `static-token` needs a token"),
        (
            r#""authTypePut": "static-token", "authOptsPut": {"staticToken": ""}"#,
            "error: `static-token` needs a token",
        ),
        (
            r#""authTypePut": "static-token", "tokens": [{"name": "ci", "sha256": ""}]"#,
            "error: `tokens[0]",
        ),
        (r#""authTypePut": "static-token,""#, "empty place between its commas"),
        (r#""authTypePut": ",static-token""#, "empty place between its commas"),
        (r#""authTypePut": "static-token,,oidc""#, "empty place between its commas"),
        (r#""authTypePut": "static-token oidc""#, "is no method of authentication"),
        (r#""authTypePut": "statictoken""#, "is no method of authentication"),
        (r#""authTypePut": "ssh-agent-ldap""#, "`ssh-agent-ldap`, which is not available yet"),
        (r#""autGets": true"#, "unknown key `autGets`; the nearest known key is `authGets`"),
        (
            r#""authTypePut": "static-token", "authOptsPut": {"staticTokenEnv": "NOT_SET"}"#,
            "names the variable `NOT_SET`, which is not set",
        ),
        (r#""limits": {"maxUploads": "many"}"#, "wrong value at `limits.maxUploads`: invalid type"),
    ] {
        let place = Place::new();
        let said = place.refusal(members);
        assert!(said.contains(words), "{members}: {said}");
        assert!(!place.root().join(".reposerver").exists());
    }
}

#[test]
fn without_a_directory_to_serve_nothing_is_served() {
    let place = Place::new();
    let said = Place::refused(&mut place.bare_command());
    assert!(said.starts_with("error: no directory to serve"), "{said}");
    let said = Place::refused(place.bare_command().args(["--root", "missing"]));
    assert_eq!(
        said.lines().next(),
        Some("error: failed to open the directory to serve, `missing`")
    );
    let said = Place::refused(place.bare_command().env("REPOSERVER_PORT", "web"));
    assert!(said.contains("`REPOSERVER_PORT` is a port number"), "{said}");
}

#[test]
fn variables_alone_make_a_server_and_flags_go_before_them() {
    let place = Place::new();
    let root = place.root();
    let mut command = place.bare_command();
    command
        .args(["-a", "127.0.0.1", "--port", "0"])
        .env("REPOSERVER_ADDRESS", "256.0.0.1")
        .env("REPOSERVER_ROOT", &root)
        .env("REPOSERVER_AUTH_TYPE_PUT", "static-token")
        .env("REPOSERVER_STATIC_TOKEN_PUT", "open-sesame\n");
    let mut child = command.spawn().unwrap();
    let mut stderr = std::io::BufReader::new(child.stderr.take().unwrap());
    let mut first = String::new();
    std::io::BufRead::read_line(&mut stderr, &mut first).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(first.starts_with("reposerver listening on http://127.0.0.1:"), "{first}");
    assert!(first.ends_with(&format!(", serving {}\n", root.canonicalize().unwrap().display())));
}

/// As the description of containers has it: `-a 0.0.0.0 -p 9999 -r /var/dbt -f reposerver.json`.
#[test]
fn a_file_goes_with_flags_that_say_what_it_leaves_out_and_no_variable_does() {
    let place = Place::new();
    place.put_on_disk("dbt/latest", b"of the flag");
    std::fs::create_dir_all(place.beside("other/dbt")).unwrap();
    std::fs::write(place.beside("other/dbt/latest"), b"of the file").unwrap();
    let other = place.beside("other").canonicalize().unwrap();
    for (file, served) in [
        (r#"{"authGets": false}"#.to_owned(), place.root().canonicalize().unwrap()),
        (format!(r#"{{"address": "127.0.0.1", "port": 0, "serverRoot": {other:?}}}"#), other),
    ] {
        place.put_beside("reposerver.json", file.as_bytes());
        let mut command = place.bare_command();
        let typed = if file.contains("port") { ["256.0.0.1", "1"] } else { ["127.0.0.1", "0"] };
        command.args(["-a", typed[0], "-p", typed[1], "-r", "root", "-f", "reposerver.json"]);
        command.env("REPOSERVER_ROOT", "missing").env("REPOSERVER_ADDRESS", "256.0.0.1");
        let mut child = command.spawn().unwrap();
        let mut stderr = std::io::BufReader::new(child.stderr.take().unwrap());
        let mut first = String::new();
        std::io::BufRead::read_line(&mut stderr, &mut first).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(first.starts_with("reposerver listening on http://127.0.0.1:"), "{file}: {first}");
        assert!(first.ends_with(&format!(", serving {}\n", served.display())), "{file}: {first}");
        let output = looked_through(command.arg("check-config"));
        let said = String::from_utf8(output.stdout).unwrap();
        let words = "these variables are not read: `REPOSERVER_ADDRESS`, `REPOSERVER_ROOT`";
        assert!(said.contains(words), "{file}: {said}");
        let whence = if file.contains("port") { "(`reposerver.json`)" } else { "(flag for port)" };
        assert!(said.contains(&format!("port = 0  {whence}")), "{file}: {said}");
    }
    // Without a root from either there is none, whatever the variable says.
    place.put_beside("reposerver.json", b"{}");
    let mut command = place.bare_command();
    let said =
        Place::refused(command.args(["-f", "reposerver.json"]).env("REPOSERVER_ROOT", "root"));
    assert!(said.starts_with("error: no directory to serve"), "{said}");
}

#[test]
fn a_check_shows_every_setting_and_where_it_came_from_and_no_secret() {
    let place = Place::new().argument("check-config").variable("REPOSERVER_PORT", "1");
    let mut command = place.command(WRITABLE);
    let output = looked_through(&mut command);
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    for words in [
        "authTypePut = static-token  (`",
        "immutable = false  (default)",
        "not read: `REPOSERVER_PORT`",
    ] {
        assert!(text.contains(words), "{words}: {text}");
    }
    assert!(!text.contains("open-sesame"));
    let policies = r#""authTypePut": "static-token", "tokens": [{"name": "ci", "env": "T"}],
        "policies": [{"name": "p", "subjects": ["authenticated"], "paths": ["/**"], "actions": ["read"]}]"#;
    let by_rules = Place::new().argument("check-config").variable("T", "open-sesame");
    let output = looked_through(&mut by_rules.command(policies));
    let said = String::from_utf8(output.stdout).unwrap();
    let line = "authGets = true  (`policies`, which say who may read)\n";
    assert!(said.contains(line), "{said}");
    assert!(!place.root().join(".reposerver").exists(), "a check writes nothing");
    let said = place.refusal(r#""authGets": true"#);
    assert!(said.starts_with("error: `authGets` is true"), "{said}");
}

#[test]
fn the_version_is_told_in_the_words_of_the_reference() {
    for flag in ["--version", "-V", "-v"] {
        let place = Place::new().argument(flag);
        let mut command = place.bare_command();
        let output = looked_through(&mut command);
        assert_eq!(String::from_utf8(output.stdout).unwrap(), "reposerver version 4.0.0\n");
    }
}

#[test]
fn a_second_server_does_not_write_to_the_same_tree() {
    let server = Server::start();
    let place = Place::new();
    let root = server.root();
    let mut command = place.bare_command();
    command
        .args(["-a", "127.0.0.1", "-p", "0", "-r"])
        .arg(&root)
        .env("REPOSERVER_AUTH_TYPE_PUT", "static-token")
        .env("REPOSERVER_STATIC_TOKEN_PUT", "x");
    let said = Place::refused(&mut command);
    assert!(said.contains("error: another server holds `"), "{said}");
    assert_eq!(server.put("/dbt/latest", b"1").status, 201);
}

#[test]
fn a_signal_ends_the_program_after_what_is_under_way() {
    for signal in [Signal::TERM, Signal::INT] {
        let mut server = Server::start();
        let mut idle = server.connect();
        let mut upload = server.connect();
        let head = "PUT /dbt/latest HTTP/1.1\r\nHost: t\r\nAuthorization: Bearer open-sesame\r\nContent-Length: 5\r\n\r\n1.";
        std::io::Write::write_all(&mut upload, head.as_bytes()).unwrap();
        server.eventually("begun", |server| server.unfinished().len() == 1);
        server.signal(signal);
        server.eventually("told", |server| server.log().contains("stopping"));
        assert_eq!(idle.read(&mut [0; 1]).unwrap(), 0, "an idle connection is closed");
        std::io::Write::write_all(&mut upload, b"0.0").unwrap();
        assert_eq!(Reply::read(&mut upload, false).status, 201);
        assert!(server.wait().success());
        assert_eq!(server.tree(), ["dbt", "dbt/latest"]);
    }
}

#[test]
fn an_upload_that_never_ends_does_not_hold_the_end_up_for_ever() {
    let mut server = Server::with(&format!(r#"{WRITABLE}, "shutdownGrace": 0"#));
    let mut upload = server.connect();
    let head = "PUT /dbt/latest HTTP/1.1\r\nHost: t\r\nAuthorization: Bearer open-sesame\r\nContent-Length: 5\r\n\r\n1.";
    std::io::Write::write_all(&mut upload, head.as_bytes()).unwrap();
    server.eventually("begun", |server| server.unfinished().len() == 1);
    server.signal(Signal::TERM);
    assert!(server.wait().success());
    assert!(server.tree().is_empty());
}

#[test]
fn everything_after_the_first_line_is_json() {
    let server = Server::start();
    server.put("/dbt/latest", b"1");
    server.get("/dbt/latest");
    server.get("/healthz");
    server.eventually("logged", |server| server.log().lines().count() >= 4);
    for line in server.log().lines() {
        let value: serde_json::Value = serde_json::from_str(line).unwrap();
        assert!(value["timestamp"].is_string() && value["target"].is_string(), "{line}");
    }
    assert!(!server.log().contains("healthz"));
}
