//! Tokens that write once: how many one owner may show, and what counts after what was seen is
//! lost.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use dbt_core::clock::Clock;
use dbt_server::app::App;
use dbt_server::audit::{self, AuditLog, Outcome};
use dbt_server::authn::replay::{InMemory, Once, Replay as _};
use dbt_server::authn::ssh::{Audiences, SshTokens};
use dbt_server::authn::ssh_keys::{KeyFile, KeySource};
use dbt_server::authn::{AnyOf, Scope};
use dbt_server::authz::{Access, Policy};
use dbt_server::limits;
use dbt_server::{pipeline, storage};
use http_body_util::{BodyExt as _, Full};
use hyper::Request;
use serde_json::{Value, json};

use crate::tokens::{Key, claims, key_file, now};
use crate::world::{Place, Server};

/// A server in memory, to which some people with keys may write.
struct World {
    app: Arc<App>,
    files: storage::memory::Memory,
    records: audit::memory::Memory,
    replay: Arc<InMemory>,
}

impl World {
    fn knowing(users: &[(&str, String)]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("keys.json");
        std::fs::write(&path, key_file(users)).unwrap();
        let file = Arc::new(KeyFile::open(&path).unwrap());
        // What was read stays known when the file has gone.
        let keys = KeySource::File { file, list: Scope::Writes };
        let audiences = Audiences::of_urls(&["https://dbt.example.com".to_owned()]).unwrap();
        let replay = Arc::new(InMemory::new(SystemTime::UNIX_EPOCH));
        let mut authn = AnyOf::new(Clock::System).remembering(Arc::<InMemory>::clone(&replay));
        authn.add(&[Scope::Writes], Box::new(SshTokens::new(keys, audiences)));
        let files = storage::memory::Memory::new(Clock::System);
        let records = audit::memory::Memory::default();
        let app = App::of_parts(
            authn,
            Policy::of_access(Access::Anyone, Access::Proven, false),
            Arc::new(files.clone()),
            AuditLog::new(Box::new(records.clone()), Clock::System),
            Clock::System,
        );
        Self { app: Arc::new(app), files, records, replay }
    }

    /// Writes with a token of somebody's; returns the status, when to come again, and the problem.
    async fn put(&self, path: &str, token: &str) -> (u16, Option<u64>, Value) {
        let body = Full::from("body").map_err(|never| match never {}).boxed_unsync();
        let request = Request::builder().method("PUT").uri(path).header("token", token);
        let peer = SocketAddr::from(([192, 0, 2, 1], 1));
        let answer = pipeline::serve(&self.app, request.body(body).unwrap(), peer).await;
        let later = answer.headers().get("retry-after");
        let later = later.map(|value| value.to_str().unwrap().parse().unwrap());
        let status = answer.status().as_u16();
        let said = answer.into_body().collect().await.unwrap().to_bytes();
        (status, later, serde_json::from_slice(&said).unwrap())
    }
}

#[tokio::test]
async fn an_owner_with_too_many_tokens_is_told_when_to_come_again_and_others_go_on() {
    let (mallory, alice) = (Key::ed25519(1), Key::ed25519(2));
    let world = World::knowing(&[("mallory", mallory.line()), ("alice", alice.line())]);
    let at = Clock::System.now();
    for number in 0..limits::TOKENS_OF_OWNER {
        let once = Once::new("mallory", &number.to_string(), at, at + Duration::from_mins(6));
        world.replay.admit(&once, Scope::Writes, at).await.unwrap();
    }
    let (status, later, said) =
        world.put("/dbt/mallory", &mallory.signed(&claims("mallory"))).await;
    assert_eq!(status, 429, "{said}");
    assert!((300..=360).contains(&later.unwrap()), "{later:?}");
    assert_eq!(said["type"], "urn:dbt:problem:too-many-tokens");
    let words = "you have shown too many tokens; show one again for reads, or try again later";
    assert_eq!(said["detail"], words);
    assert!(world.files.paths().is_empty());
    world.app.audit.flush().await;
    let refusal = world.records.records().pop().unwrap().outcome;
    let reason = "10000 tokens of theirs are remembered, the most".to_owned();
    assert_eq!(refusal, Outcome::Refused { status: Some(429), reason });

    let (status, _later, said) = world.put("/dbt/alice", &alice.signed(&claims("alice"))).await;
    assert_eq!(status, 201, "{said}");
    // Who has no key of hers cannot take her places.
    for _forged in 0..10 {
        let forged = mallory.signed(&claims("alice"));
        assert_eq!(world.put("/dbt/forged", &forged).await.0, 401);
    }
    assert_eq!(world.files.paths(), ["dbt/alice"]);
}

const MEMBERS: &str = r#""authGets": true, "authTypeGet": "ssh-agent-file",
    "authTypePut": "ssh-agent-file", "pubkeysFile": "keys.json",
    "publicUrls": ["https://dbt.example.com"]"#;

/// The clock of a client is ahead, as far as is accepted: its token says that it is from later.
#[test]
fn what_may_have_been_used_before_the_memory_was_lost_or_put_back_writes_nothing() {
    let key = Key::ed25519(7);
    let header = |ahead: u64| {
        let mut claims = claims("alice");
        for claim in ["iat", "nbf"] {
            claims[claim] = json!(now() + ahead);
        }
        format!("Token: {}", key.signed(&claims))
    };
    for commands in [&[&["state", "init", "--accept-loss"][..]][..], &[&["restore", "backup"]]] {
        let place = Place::new();
        place.put_beside("keys.json", key_file(&[("alice", key.line())]).as_bytes());
        let server = Server::on(place, MEMBERS);
        server.put_on_disk("dbt/latest", b"1.0.0");
        assert!(server.try_command_beside(&["backup", "backup"]).status.success());
        let ahead = header(50);
        assert_eq!(server.send("PUT", "/dbt/new", &[&ahead], b"first").status, 201);
        let place = server.kill();
        std::fs::remove_dir_all(place.state()).unwrap();
        for command in commands {
            let output = place.run(MEMBERS, command);
            assert!(output.status.success(), "{command:?}: {output:?}");
        }
        let server = Server::on(place, MEMBERS);
        for token in [&ahead, &header(0), &header(50)] {
            let refused = server.send("PUT", "/dbt/new", &[token], b"again");
            let said = refused.is_refused(401, "unauthorised").json()["detail"].clone();
            assert!(said.as_str().unwrap().contains("sign another in a minute"), "{said}");
        }
        assert_eq!(std::fs::read(server.root().join("dbt/new")).unwrap(), b"first");
        assert_eq!(server.send("GET", "/dbt/latest", &[&header(0)], b"").text(), "1.0.0");
    }
}
