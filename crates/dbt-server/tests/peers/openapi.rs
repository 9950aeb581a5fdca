//! The description of the API, against the running server: schemathesis sends what the
//! description allows and what it forbids, and compares the answers with it.

use std::path::Path;
use std::process::Command;

use crate::world::{AUTHORIZED, Server};

#[test]
fn the_api_does_what_its_description_says() {
    let server = Server::start();
    server.put_on_disk("dbt-tools/x/1.0.0/linux/amd64/x", b"binary");
    server.put("/dbt/latest", b"1.0.0");
    server.delete("/dbt/latest");
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/peers/bin/schemathesis");
    assert!(program.exists(), "scripts/install-peers brings schemathesis");
    let output = Command::new(program)
        .args(["run", "--no-color", "--seed", "1", "--max-examples", "30"])
        .args(["--phases", "examples,coverage,fuzzing", "--checks", "all"])
        // Half of the API is open to everybody, so that a wrong credential is no refusal there.
        .args(["--exclude-checks", "ignored_auth,positive_data_acceptance"])
        .args(["-H", AUTHORIZED])
        .arg(format!("{}/-/api/v1/openapi.json", server.url()))
        .current_dir(server.outside())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(server.get("/healthz").text(), "ok");
}
