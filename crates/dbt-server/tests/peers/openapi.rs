//! The description of the API, against the running server: schemathesis sends what the
//! description allows and what it forbids, and compares the answers with it.

use std::path::Path;
use std::process::Command;

use crate::world::{AS_ADMIN, AUTHORIZED, Server, WRITABLE};

/// Lets schemathesis ask a server, with these further words.
fn ask_everything(server: &Server, words: &[&str]) {
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/peers/bin/schemathesis");
    assert!(program.exists(), "scripts/install-peers brings schemathesis");
    let description = server.outside().join("openapi.json");
    std::fs::write(&description, dbt_server::v1::DESCRIPTION).unwrap();
    let output = Command::new(program)
        .args(["run", "--no-color", "--seed", "1", "--max-examples", "30", "--url", &server.url()])
        .args(["--phases", "examples,coverage,fuzzing", "--checks", "all"])
        .args(words)
        .arg(description)
        .current_dir(server.outside())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(server.get("/healthz").text(), "ok");
}

fn with_something(members: &str) -> Server {
    let server = Server::with(members);
    server.put_on_disk("dbt-tools/x/1.0.0/linux/amd64/x", b"binary");
    server.put("/dbt/latest", b"1.0.0");
    server.delete("/dbt/latest");
    server
}

#[test]
fn the_api_does_what_its_description_says() {
    // Half of the API is open to everybody, so that a wrong credential is no refusal there.
    let words = ["--exclude-checks", "ignored_auth,positive_data_acceptance", "-H", AUTHORIZED];
    ask_everything(&with_something(WRITABLE), &words);
}

#[test]
fn a_guarded_api_refuses_as_its_description_says() {
    let reads = r#""authGets": true, "authTypeGet": "static-token",
        "authOptsGet": {"staticToken": "open-sesame"}"#;
    let server = with_something(&format!("{WRITABLE}, {reads}"));
    let before = server.tree();
    // Whoever it is, everything that is sent is refused, good or bad.
    let exclude = ["--exclude-checks", "positive_data_acceptance"];
    ask_everything(&server, &exclude);
    ask_everything(&server, &[&exclude[..], &["-H", "Authorization: Bearer wrong"]].concat());
    assert_eq!(server.tree(), before);
    ask_everything(&server, &[&exclude[..], &["-H", AUTHORIZED]].concat());
}

/// Who may make and revoke tokens; what is revoked may be the server's own, never those of the settings.
#[test]
fn the_api_does_what_its_description_says_for_an_administrator() {
    let words = ["--exclude-checks", "ignored_auth,positive_data_acceptance", "-H", AS_ADMIN];
    ask_everything(&Server::with_roles(), &words);
}
