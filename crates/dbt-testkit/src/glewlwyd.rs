//! A second real identity provider: Debian's `glewlwyd`, in C, with a database of its own in a
//! directory of its own. `scripts/install-peers` brings it.
//!
//! It differs from the other one where providers do: its issuer has a path, its subjects are made by
//! chance, its redirects are compared with their ports, it does not say in the redirect who it is,
//! demands a pause between questions of a device, and gives no ID token when one is renewed.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::http::{Answer, ask};
use crate::oidc_provider::{CLIENT, node};

/// How long it may take to listen.
const PATIENCE: Duration = Duration::from_secs(20);

/// How many ports are tried: between choosing a free one and using it, another may take it.
const ATTEMPTS: u32 = 5;

/// The tables, and an administrator whose password is the usual one.
const TABLES: &str = "/usr/share/dbconfig-common/data/glewlwyd/install/sqlite3";

/// What it offers. Groups are in each ID token.
const PARAMETERS: &str = r#"{
    "jwks-show": true, "jwt-type": "ecdsa", "jwt-key-size": "256", "secret-type": "public",
    "access-token-duration": 3600, "refresh-token-duration": 86400, "code-duration": 600,
    "refresh-token-rolling": false, "refresh-token-one-use": "always", "allow-non-oidc": true,
    "auth-type-code-enabled": true, "auth-type-code-revoke-replayed": true,
    "auth-type-token-enabled": false, "auth-type-id-token-enabled": true,
    "auth-type-none-enabled": false, "auth-type-password-enabled": false,
    "auth-type-client-enabled": false, "auth-type-refresh-enabled": true,
    "auth-type-device-enabled": true, "device-authorization-expiration": 600,
    "device-authorization-interval": 1,
    "pkce-allowed": true, "pkce-method-plain-allowed": false, "pkce-required": true,
    "allowed-scope": ["openid", "groups", "email"], "scope": [], "additional-parameters": [],
    "name-claim": "mandatory", "email-claim": "mandatory", "scope-claim": "no",
    "claims": [{"name": "groups", "user-property": "groups", "type": "string",
        "mandatory": true, "on-demand": false, "scope": []}],
    "address-claim": {"type": "no"}
}"#;

/// A running provider, with the client of the other one, and Alice. It is killed when this goes.
#[derive(Debug)]
pub struct Glewlwyd {
    process: Child,
    url: String,
    administrator: Session,
    _directory: TempDir,
}

impl Glewlwyd {
    /// Starts one.
    pub fn start() -> Self {
        let started = (0..ATTEMPTS).find_map(|_attempt| Self::on_a_free_port());
        let provider = started.expect("glewlwyd starts: scripts/install-peers installs it");
        provider.prepare();
        provider
    }

    fn on_a_free_port() -> Option<Self> {
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        let directory = tempfile::tempdir().unwrap();
        let settings = directory.path().join("glewlwyd.conf");
        fs::write(&settings, configuration(port, &database_in(directory.path()))).unwrap();
        let mut process = Command::new("glewlwyd")
            .arg("--config-file")
            .arg(&settings)
            .env_clear()
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("glewlwyd can be run: scripts/install-peers installs it");
        let url = format!("http://127.0.0.1:{port}");
        let begun = Instant::now();
        let administrator = loop {
            // Who else listens there is not asked for anything.
            if process.try_wait().unwrap().is_some() {
                return None;
            }
            let session = Session::begin(&url, "admin", "password");
            if session.is_some() || begun.elapsed() > PATIENCE {
                break session;
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        let Some(administrator) = administrator else {
            let _dead = (process.kill(), process.wait());
            return None;
        };
        Some(Self { process, url, administrator, _directory: directory })
    }

    /// Returns what it calls itself.
    pub fn issuer(&self) -> String {
        format!("{}/api/oidc", self.url)
    }

    /// Gives it another key, and no old one.
    pub fn rotate(&self) {
        self.administrate("PUT", "/api/mod/plugin/oidc", Some(&self.plugin("key-2")));
        self.administrate("PUT", "/api/mod/plugin/oidc/reset/", None);
    }

    /// Has it send browsers there, as somebody has to say who gives a program a port of its own.
    pub fn allow(&self, redirect: &str) {
        let mut client = client();
        client["redirect_uri"] = json!([redirect]);
        let path = format!("/api/client/{CLIENT}?source=database");
        self.administrate("PUT", &path, Some(&client));
    }

    /// Signs Alice in, and lets the program have what it asks for.
    pub fn alice(&self) -> Session {
        let session = Session::begin(&self.url, "alice", "wonderland").unwrap();
        let scopes = json!({"scope": "openid groups email"});
        let url = format!("{}/api/auth/grant/{CLIENT}", self.url);
        assert_eq!(session.ask("PUT", &url, Some(&scopes)).status, 200);
        session
    }

    fn prepare(&self) {
        self.administrate("POST", "/api/mod/plugin/", Some(&self.plugin("key-1")));
        // Users have groups here only if they are told to.
        let module = self.administrate("GET", "/api/mod/user/database", None);
        let mut module: Value = serde_json::from_slice(&module.body).unwrap();
        module["parameters"]["data-format"]["groups"] =
            json!({"multiple": true, "read": true, "write": true});
        self.administrate("PUT", "/api/mod/user/database", Some(&module));
        self.administrate("PUT", "/api/mod/user/database/reset/", None);
        for name in ["groups", "email"] {
            let scope = json!({
                "name": name, "display_name": name, "password_required": false, "scheme": {}
            });
            self.administrate("POST", "/api/scope/", Some(&scope));
        }
        let alice = json!({
            "username": "alice", "name": "Alice", "email": "alice@example.com",
            "password": "wonderland", "enabled": true, "scope": ["openid", "groups", "email"],
            "groups": ["publishers", "staff"],
        });
        self.administrate("POST", "/api/user/?source=database", Some(&alice));
        self.administrate("POST", "/api/client/?source=database", Some(&client()));
    }

    fn administrate(&self, method: &str, path: &str, body: Option<&Value>) -> Answer {
        let answer = self.administrator.ask(method, &format!("{}{path}", self.url), body);
        let said = String::from_utf8_lossy(&answer.body);
        assert_eq!(answer.status, 200, "{method} {path}: {said}");
        answer
    }

    /// Returns what it is as an identity provider (OIDC).
    fn plugin(&self, key: &str) -> Value {
        let mut parameters: Value = serde_json::from_str(PARAMETERS).unwrap();
        parameters["iss"] = self.issuer().into();
        parameters["jwks-private"] = private_key(key).into();
        json!({
            "module": "oidc", "name": "oidc", "display_name": "oidc", "enabled": true,
            "parameters": parameters,
        })
    }
}

impl Drop for Glewlwyd {
    fn drop(&mut self) {
        let _already_dead = self.process.kill();
        let _already_waited = self.process.wait();
    }
}

/// Somebody who is signed in at the provider, as a browser keeps it.
#[derive(Debug)]
pub struct Session {
    cookie: String,
}

impl Session {
    fn begin(url: &str, name: &str, password: &str) -> Option<Self> {
        let body = json!({"username": name, "password": password}).to_string();
        let body = Some(("application/json", body.as_str()));
        let answer = ask("POST", &format!("{url}/api/auth/"), &[], body).ok()?;
        let cookie = answer.header("set-cookie")?.split(';').next()?.to_owned();
        (answer.status == 200).then_some(Self { cookie })
    }

    fn ask(&self, method: &str, url: &str, body: Option<&Value>) -> Answer {
        let body = body.map(Value::to_string);
        let body = body.as_ref().map(|body| ("application/json", body.as_str()));
        ask(method, url, &[("Cookie", &self.cookie)], body).unwrap()
    }

    /// Goes to a page of the provider, presses the button there that goes on, and returns the address
    /// that it leads to.
    pub fn go_on_at(&self, page: &str) -> String {
        let answer = self.ask("GET", &format!("{page}&g_continue"), None);
        let said = String::from_utf8_lossy(&answer.body).into_owned();
        answer.header("location").unwrap_or_else(|| panic!("{said}")).to_owned()
    }
}

fn client() -> Value {
    json!({
        "client_id": CLIENT, "name": CLIENT, "enabled": true, "confidential": false,
        "redirect_uri": ["http://127.0.0.1/callback"],
        "authorization_type": ["code", "refresh_token", "device_authorization"],
        "scope": ["openid", "groups", "email"],
    })
}

/// Makes a database with its tables, and returns its path.
fn database_in(directory: &Path) -> String {
    let path = directory.join("database");
    let tables = fs::File::open(TABLES).expect("scripts/install-peers installs the tables");
    let made = Command::new("sqlite3").arg(&path).stdin(tables).output().unwrap();
    assert!(made.status.success(), "{made:?}");
    path.display().to_string()
}

/// Makes a key on P-256 as a set of keys in the form that it is configured with.
fn private_key(id: &str) -> String {
    let program = format!(
        "const {{privateKey}} = crypto.generateKeyPairSync('ec', {{namedCurve: 'P-256'}});\
         JSON.stringify({{keys: [{{...privateKey.export({{format: 'jwk'}}), \
         alg: 'ES256', kid: '{id}'}}]}})"
    );
    let made = node().arg("-p").arg(program).stdin(Stdio::null()).output().unwrap();
    assert!(made.status.success(), "{made:?}");
    String::from_utf8(made.stdout).unwrap()
}

fn configuration(port: u16, database: &str) -> String {
    let modules = "/usr/lib/glewlwyd";
    format!(
        r#"
port = {port}
bind_address = "127.0.0.1"
external_url = "http://127.0.0.1:{port}"
login_url = "login.html"
api_prefix = "api"
log_mode = "console"
log_level = "NONE"
cookie_domain = "127.0.0.1"
cookie_secure = 0
session_key = "session"
admin_scope = "g_admin"
profile_scope = "g_profile"
user_module_path = "{modules}/user"
user_middleware_module_path = "{modules}/user_middleware"
client_module_path = "{modules}/client"
user_auth_scheme_module_path = "{modules}/scheme"
plugin_module_path = "{modules}/plugin"
hash_algorithm = "SHA256"
database = {{ type = "sqlite3" path = "{database}" }};
"#
    )
}
