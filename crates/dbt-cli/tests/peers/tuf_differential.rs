//! Updates of signed metadata beside those of python-tuf, on repositories that python-tuf makes.

use std::path::Path;
use std::process::Command;

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/peers/tuf_differential.py");
const PYTHON: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/peers/bin/python");

/// Fixed, so that a failure can be looked at again.
const SEED: &str = "20260101";

#[test]
fn another_client_decides_the_same_about_the_same_repositories() {
    assert!(Path::new(PYTHON).exists(), "{PYTHON} is missing: scripts/install-peers");
    let output = Command::new(PYTHON)
        .args([SCRIPT, env!("CARGO_BIN_EXE_dbt-tuf-client"), "300", SEED])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}\n{errors}");
    // Both kinds of outcome were seen, and not only a few of each.
    let report: serde_json::Value = serde_json::from_str(&said).unwrap();
    for outcome in ["accepted by both", "refused by one or both"] {
        assert!(report["counts"][outcome].as_u64() > Some(300), "{said}");
    }
}
