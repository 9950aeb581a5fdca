//! What every world of a test refuses: a secret where none was put, and one that nobody looks for.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::panic::{AssertUnwindSafe, catch_unwind};

use dbt_testkit::planted::{self, PLANTED, Secrets};
use dbt_testkit::token_endpoint::TokenEndpoint;
use dbt_testkit::world::World;
use serde_json::json;

/// Returns the words of the panic that something must end in.
fn refusal(attempt: impl FnOnce()) -> String {
    let panic = catch_unwind(AssertUnwindSafe(attempt)).unwrap_err();
    panic.downcast_ref::<String>().unwrap().clone()
}

#[test]
fn a_secret_is_refused_in_every_file_but_where_it_was_put() {
    let (name, secret) = PLANTED[0];
    let directory = tempfile::tempdir().unwrap();
    let at = |path: &str| directory.path().join(path);
    fs::create_dir_all(at("below/deep")).unwrap();
    fs::write(at("config"), secret).unwrap();
    let secrets = Secrets::default();
    let look = || secrets.are_not_below(directory.path());
    let is_in = |place: String| format!("a secret is in {place}: {name}");
    assert_eq!(refusal(look), is_in(at("config").display().to_string()));
    secrets.are_put_in(at("config"));
    look();

    for path in ["config.bak", "below/deep/.hidden"] {
        fs::write(at(path), format!("\0{secret}")).unwrap();
        assert_eq!(refusal(look), is_in(at(path).display().to_string()));
        fs::remove_file(at(path)).unwrap();
    }
    // A name is a place too, also of a link that leads nowhere.
    std::os::unix::fs::symlink("nowhere", at("below").join(secret)).unwrap();
    let place = format!("the name of a file below {}", directory.path().display());
    assert_eq!(refusal(look), is_in(place));
}

#[test]
fn a_client_that_says_or_keeps_a_secret_fails_its_test() {
    let (name, secret) = PLANTED[0];
    let world = World::new("/bin/true");
    let said = refusal(|| drop(world.invoke([secret]).program("/bin/echo").run()));
    assert_eq!(said, format!("a secret is in what `/bin/echo [SECRET]` prints: {name}"));
    let script = "echo \"$0\" >&2; kill -9 $$";
    let said = refusal(|| drop(world.invoke(["-c", script, secret]).program("/bin/sh").run()));
    assert!(said.ends_with(&format!("kill -9 $$ [SECRET]` says: {name}")), "{said}");
    // Where the user has written it, it may be.
    world.set("password", secret);
    world.write_secret(world.home().join("token"), secret);
    world.no_secret_is_remembered();
    for path in [world.temporary().join("x"), world.dbt_home().join("conf/dbt.json.old")] {
        fs::copy(world.config_file(), &path).unwrap();
        let said = refusal(|| world.no_secret_is_remembered());
        assert_eq!(said, format!("a secret is in {}: {name}", path.display()));
        fs::remove_file(path).unwrap();
    }
    fs::write(world.directory().join("core"), secret).unwrap();
    assert!(refusal(|| drop(world)).ends_with(&format!("/core: {name}")));
}

#[test]
fn what_a_request_shows_is_looked_for_from_then_on() {
    let secrets = Secrets::default();
    let signature = "QmVjYXVzZSBpdCBpcyBnb29k";
    let log = format!("refused: {signature}\n");
    secrets.are_not_in("the log", log.as_bytes());
    let token = format!("eyJhbGciOiJFZERTQSJ9.eyJzdWIiOiJhIn0.{signature}");
    secrets.add_those_of([("Authorization", &*format!("Bearer {token}"))]);
    let said = refusal(|| secrets.are_not_in("the log", log.as_bytes()));
    assert_eq!(said, "a secret is in the log: what a request of this test has shown");
    let log = "exchanged for 3f6c6e1d-of-this-request";
    secrets.are_not_in("the log", log.as_bytes());
    secrets.add_those_of([("idempotency-key", " 3f6c6e1d-of-this-request")]);
    let said = refusal(|| secrets.are_not_in("the log", log.as_bytes()));
    assert_eq!(said, "a secret is in the log: what a request of this test has shown");
}

#[test]
fn what_a_program_has_made_for_one_request_is_looked_for_in_every_world() {
    let (world, endpoint) = (World::new("/bin/true"), TokenEndpoint::start());
    let body = "grant_type=x&code_verifier=the-verifier-of-this-sign-in";
    let length = body.len();
    let post = format!("POST /token HTTP/1.1\r\nContent-Length: {length}\r\n\r\n{body}");
    let get = "GET / HTTP/1.1\r\nIdempotency-Key: the-key-of-this-exchange\r\n\r\n".to_owned();
    for (url, request, made) in [
        (endpoint.url(), post, "the-verifier-of-this-sign-in"),
        (world.server().url(), get, "the-key-of-this-exchange"),
    ] {
        let file = world.dbt_home().join("kept");
        fs::create_dir_all(world.dbt_home()).unwrap();
        fs::write(&file, made).unwrap();
        world.no_secret_is_remembered();
        let mut stream = TcpStream::connect(url.strip_prefix("http://").unwrap()).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        assert_eq!(stream.read(&mut [0]).unwrap(), 1, "it is answered");
        let said = refusal(|| world.no_secret_is_remembered());
        let place = file.display();
        assert_eq!(
            said,
            format!("a secret is in {place}: what a program has made for one request")
        );
        fs::remove_file(&file).unwrap();
    }
}

#[test]
fn a_credential_that_nobody_looks_for_is_refused_wherever_it_is_planted() {
    const STRANGE: &str = "nobody-looks-for-this";
    let basic = "Basic YWxpY2U6bm9ib2R5LWxvb2tzLWZvci10aGlz";
    let refusals = [
        refusal(|| planted::is_listed(STRANGE)),
        refusal(|| planted::is_listed_in_variable("DBT_REPO_TOKEN", STRANGE)),
        refusal(|| planted::are_listed_in_settings(&json!({"servers": [{"password": STRANGE}]}))),
        refusal(|| planted::are_listed_in_settings(&json!({"oidcClientSecret": STRANGE}))),
        refusal(|| planted::are_listed_in_headers([("token", STRANGE)])),
        refusal(|| planted::are_listed_in_headers([("authorization", basic)])),
        refusal(|| Secrets::default().add_those_of([("Cookie", STRANGE)])),
    ];
    for said in refusals {
        assert!(said.starts_with(&format!("`{STRANGE}` is a secret of a test that nobody")));
    }
    // What is no secret, or is listed, may be anywhere.
    for credential in ["short", "xxxxxxxxxxxxxxxxxxxx", PLANTED[0].1, "eyJhbGciOiJub25lIn0.e30."] {
        planted::is_listed(credential);
    }
    planted::is_listed_in_variable("HOME", STRANGE);
    planted::are_listed_in_settings(&json!({"repository": STRANGE}));
    planted::are_listed_in_headers([("host", STRANGE)]);
}
