//! A person at a real browser: Debian's headless Chromium. `scripts/install-peers` brings it.

use std::process::Stdio;

use serde_json::Value;

use crate::oidc_provider::{node, script};

/// What people sign in with.
const PASSWORD: &str = "wonderland";

/// Where the browser runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// On the machine of the program that waits for it.
    Here,
    /// On another one: the page that it comes back to cannot be reached.
    Elsewhere,
}

/// What is seen at the end.
#[derive(Debug)]
pub struct Seen {
    /// What the address line shows.
    pub address: String,
    /// What the page says.
    pub text: String,
}

/// Opens a page and signs somebody in there, and on the pages that it leads to.
pub fn sign_in(name: &str, page: &str, place: Place) -> Seen {
    let directory = tempfile::tempdir().unwrap();
    let mut command = node();
    command.arg(script("browser.mjs")).arg("chromium-headless-shell").arg(directory.path());
    command.args([page, name, PASSWORD]);
    if place == Place::Elsewhere {
        command.arg("elsewhere");
    }
    // What it keeps by itself is kept there, too.
    command.env("HOME", directory.path());
    let output = command.stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "the browser is not done: {said}");
    let seen: Value = serde_json::from_slice(&output.stdout).unwrap();
    let text = |name: &str| seen[name].as_str().unwrap().to_owned();
    Seen { address: text("address"), text: text("text") }
}
