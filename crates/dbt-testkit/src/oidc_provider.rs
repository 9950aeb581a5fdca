//! A real identity provider: `oidc-provider` in Node, which many organisations build theirs with.
//! `scripts/install-peers` brings it.

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use crate::http;

/// The client for people and their machines. It has no secret.
pub const CLIENT: &str = "dbt";

/// A running provider. It is killed when this goes.
#[derive(Debug)]
pub struct OidcProvider {
    process: Child,
    url: String,
}

impl OidcProvider {
    /// Starts one.
    pub fn start() -> Self {
        let script = script("oidc-provider.mjs");
        let mut process = node()
            .arg(script)
            .arg(installed())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("node can be run: scripts/install-peers installs it");
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let first = lines.next().unwrap().unwrap();
        let url = first.strip_prefix("listening on ").unwrap().to_owned();
        // It ends when it cannot say what it wants to.
        std::thread::spawn(move || lines.map_while(Result::ok).for_each(drop));
        Self { process, url }
    }

    /// Returns `http://127.0.0.1:PORT`, which is its issuer, too.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Posts a form, and returns the answer, which must be a good one.
    pub fn post(&self, path: &str, form: &str) -> String {
        let (status, text) = self.answer_to(path, form);
        assert_eq!(status, 200, "{text}");
        text
    }

    /// Posts a form that it refuses, and returns its words.
    pub fn refuses(&self, path: &str, form: &str) -> String {
        let (status, text) = self.answer_to(path, form);
        assert_eq!(status, 400, "{text}");
        text
    }

    fn answer_to(&self, path: &str, form: &str) -> (u16, String) {
        let kind = "application/x-www-form-urlencoded";
        let url = format!("{}{path}", self.url);
        let answer = http::ask("POST", &url, &[], Some((kind, form))).unwrap();
        (answer.status, String::from_utf8(answer.body).unwrap())
    }

    /// Gives it new keys, and no old ones.
    pub fn rotate(&self) {
        assert_eq!(self.post("/rotate", ""), "rotated");
    }

    /// Has it exchange what the SSH key of this public line signs in somebody's name.
    pub fn trust(&self, name: &str, line: &str) {
        assert_eq!(self.post(&format!("/trust/{name}"), line), "trusted");
    }

    /// Ends what a refresh token stands for (RFC 7009), as whoever signs out does.
    pub fn revoke(&self, refresh_token: &str) {
        let form =
            format!("client_id={CLIENT}&token={refresh_token}&token_type_hint=refresh_token");
        self.post("/token/revocation", &form);
    }
}

impl Drop for OidcProvider {
    fn drop(&mut self) {
        let _already_dead = self.process.kill();
        let _already_waited = self.process.wait();
    }
}

/// Returns Node, in the version that is installed for tests.
pub(crate) fn node() -> Command {
    let mut command = Command::new(installed().join("node"));
    // Without the settings of whoever runs the tests.
    command.env_clear().env("PATH", "/usr/bin:/bin");
    command
}

/// Returns where the packages of the lock file are.
pub(crate) fn installed() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../target/peers/idp")
}

/// Returns one of the scripts beside the lock file.
pub(crate) fn script(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("peers").join(name)
}
