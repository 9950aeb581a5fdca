//! A person at a real browser: Debian's headless Chromium. `scripts/install-peers` brings it.

use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::oidc_provider::{installed, node, script};

/// What people sign in with.
pub const PASSWORD: &str = "wonderland";

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
    let mut command = chromium("browser.mjs", directory.path());
    command.args([page, name, PASSWORD]);
    if place == Place::Elsewhere {
        command.arg("elsewhere");
    }
    let seen = told(&mut command);
    let text = |name: &str| seen[name].as_str().unwrap().to_owned();
    Seen { address: text("address"), text: text("text") }
}

/// Has somebody do what the steps say, one after the other, as `visit.mjs` knows them; returns what
/// those have seen that look at something.
pub fn visit(steps: &Value) -> Vec<Value> {
    let directory = tempfile::tempdir().unwrap();
    let mut command = chromium("visit.mjs", directory.path());
    command.arg(installed().join("node_modules/axe-core/axe.min.js")).arg(steps.to_string());
    let seen = told(&mut command);
    seen.as_array().unwrap().clone()
}

/// Returns a script that tells a browser what to do, which keeps what it keeps in a directory.
fn chromium(name: &str, directory: &Path) -> Command {
    let mut command = node();
    command.arg(script(name)).arg("chromium-headless-shell").arg(directory);
    command.env("HOME", directory);
    command
}

/// Runs a script, and returns what it prints.
fn told(command: &mut Command) -> Value {
    let output = command.stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "the browser is not done: {said}");
    serde_json::from_slice(&output.stdout).unwrap()
}
