//! The identity provider of many organisations' own servers (oidc-provider, in Node).

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use crate::world::{Reply, Server};

const AUDIENCE: &str = "https://dbt.example.com";

/// The provider. It is killed when this goes.
struct Provider {
    process: Child,
    url: String,
}

impl Provider {
    fn start() -> Self {
        let crates = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
        let peers = crates.join("../../target/peers");
        let mut process = Command::new(peers.join("idp/node"))
            .arg(crates.join("tests/peers/idp/idp.mjs"))
            .arg(peers.join("idp"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut first = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut first).unwrap();
        let url = first.trim().strip_prefix("listening on ").unwrap().to_owned();
        Self { process, url }
    }

    fn post(&self, path: &str, form: &str) -> String {
        let address = self.url.strip_prefix("http://").unwrap();
        let mut stream = TcpStream::connect(address).unwrap();
        write!(
            stream,
            "POST {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\
             Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{form}",
            form.len()
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        answer
    }

    /// Returns a token that is signed with an algorithm.
    fn token(&self, algorithm: &str) -> String {
        let form = format!(
            "grant_type=client_credentials&client_id=ci&client_secret=a-secret-of-the-client\
             &scope=publish&resource=https%3A%2F%2Fdbt.example.com%2F{algorithm}"
        );
        let answer = self.post("/token", &form);
        let json = &answer[answer.find('{').unwrap()..=answer.rfind('}').unwrap()];
        let answer: serde_json::Value = serde_json::from_str(json).unwrap();
        answer["access_token"].as_str().unwrap().to_owned()
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        let _already_dead = self.process.kill();
        let _already_waited = self.process.wait();
    }
}

fn put(server: &Server, path: &str, token: &str) -> Reply {
    let line = format!("Authorization: Bearer {token}");
    server.send("PUT", path, &[&line], b"body")
}

#[test]
fn tokens_of_a_real_provider_are_accepted_with_their_groups_and_after_a_rotation() {
    let provider = Provider::start();
    let members = |audience: &str| {
        format!(
            r#""authTypePut": "oidc",
            "authOptsPut": {{"oidc": {{"issuerUrl": "{}", "audiences": ["{audience}"]}}}},
            "policies": [{{"name": "robots", "subjects": ["group:robots"], "paths": ["/dbt/**"],
                "actions": ["create"]}}]"#,
            provider.url
        )
    };
    let server = Server::with(&members(AUDIENCE));
    let algorithms = ["RS256", "PS256", "ES256", "EdDSA"];
    for algorithm in algorithms {
        let token = provider.token(algorithm);
        let path = format!("/dbt/{algorithm}");
        assert_eq!(put(&server, &path, &token).status, 201, "{algorithm}; {}", server.log());
        put(&server, "/dbt-tools/x/1.0.0/linux/amd64/x", &token).is_refused(403, "forbidden");
        put(&server, "/dbt/altered", &token.replacen('.', ".e30", 1))
            .is_refused(401, "unauthorised");
    }
    let subject = format!("oidc:{}#ci", provider.url);
    server.eventually("recorded", |server| server.log().contains(&subject));
    let old = provider.token("ES256");
    assert_eq!(provider.post("/rotate", "").lines().last(), Some("rotated"));
    assert_eq!(put(&server, "/dbt/rotated", &provider.token("ES256")).status, 201);
    put(&server, "/dbt/old", &old).is_refused(401, "unauthorised");

    let other = Server::with(&members("https://other.example.com"));
    put(&other, "/dbt/x", &provider.token("RS256")).is_refused(401, "unauthorised");
    for server in [&server, &other] {
        assert!(!server.log().contains("eyJ"), "a token is in the log");
    }
}
