//! What a request with one of the server's own tokens costs: how often it is looked up.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use dbt_core::clock::Clock;
use dbt_server::app::App;
use dbt_server::audit::{self, AuditLog};
use dbt_server::authn::api_tokens::ApiTokens;
use dbt_server::authn::static_token::{NamedToken, StaticTokens};
use dbt_server::authn::{AnyOf, Caller, Scope};
use dbt_server::authz::{Access, Policy};
use dbt_server::state::State;
use dbt_server::tokens::mint::{Minter, Wanted};
use dbt_server::tokens::{Settings, Tokens, text};
use dbt_server::{config, pipeline, storage};
use http_body_util::{BodyExt as _, Full};
use hyper::Request;

/// A server in memory that has one token, of an agent that may read.
struct World {
    app: Arc<App>,
    tokens: Arc<Tokens>,
    token: String,
    _directory: tempfile::TempDir,
}

impl World {
    async fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let tokens = Arc::new(Tokens::new(State::open(directory.path(), None)));
        let policy = Policy::of_access(Access::Proven, Access::Proven, false);
        let wanted = Wanted {
            name: "x".to_owned(),
            subject: Some("agent:x".to_owned()),
            roles: vec!["publisher".to_owned()],
            ..Wanted::default()
        };
        let minter = Minter {
            caller: &Caller::on_the_host(0),
            manages: true,
            policy: &policy,
            names: &config::Names::default(),
            settings: Settings::default(),
            now: Clock::System.now(),
        };
        let new = minter.decide("ID".to_owned(), &wanted).unwrap();
        let (token, new) = new.with_text().unwrap();
        tokens.add(new.row(&token), new.making, Clock::System).await.unwrap();
        let mut authn = AnyOf::new(Clock::System).with_api_tokens(ApiTokens::new(
            Arc::clone(&tokens),
            Vec::new(),
            None,
        ));
        let named = NamedToken::unnamed(&dbt_core::secret::Secret::new("open-sesame".to_owned()));
        authn.add(&Scope::ALL, Box::new(StaticTokens::new(vec![named])));
        let mut app = App::of_parts(
            authn,
            policy,
            Arc::new(storage::memory::Memory::new(Clock::System)),
            AuditLog::new(Box::new(audit::memory::Memory::default()), Clock::System),
            Clock::System,
        );
        app.tokens = Arc::clone(&tokens);
        let token = token.expose().clone();
        Self { app: Arc::new(app), tokens, token, _directory: directory }
    }

    /// Returns the answer to a request, and how often tokens were looked up for it.
    async fn ask(&self, method: &str, path: &str, line: &str) -> (u16, u64) {
        let before = self.tokens.lookups();
        let body = Full::from("body").map_err(|never| match never {}).boxed_unsync();
        let mut request = Request::builder().method(method).uri(path);
        if !line.is_empty() {
            request = request.header("authorization", line);
        }
        let peer = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
        let answer = pipeline::serve(&self.app, request.body(body).unwrap(), peer).await;
        (answer.status().as_u16(), self.tokens.lookups() - before)
    }
}

#[tokio::test]
async fn a_token_is_looked_up_once_and_once_more_before_what_came_with_it_is_published() {
    let world = World::new().await;
    let right = format!("Bearer {}", world.token);
    let unknown = format!("Bearer {}", text::new().unwrap().expose());
    let mistyped = right[..right.len() - 1].to_owned();
    let as_user = format!("Basic {}", STANDARD.encode(format!("{}:", world.token)));
    for (method, path, line, expected) in [
        ("PUT", "/dbt/x", right.as_str(), (201, 2)),
        ("GET", "/dbt/x", &right, (200, 1)),
        ("HEAD", "/dbt/x", &right, (200, 1)),
        ("GET", "/dbt/", &right, (200, 1)),
        ("GET", "/-/api/tools", &right, (200, 1)),
        ("GET", "/-/api/v1/tools", &right, (200, 1)),
        ("GET", "/-/metrics", &right, (403, 1)),
        ("POST", "/-/api/v1/reload", &right, (403, 1)),
        ("PUT", "/dbt/tuf/x", &right, (403, 1)),
        ("POST", "/-/api/v1/releases/01M81Z943VQVW0X8R1ESWY9315/commit", &right, (404, 1)),
        ("DELETE", "/dbt/x", &right, (204, 1)),
        ("GET", "/dbt/x", &unknown, (401, 1)),
        ("PUT", "/dbt/x", &unknown, (401, 1)),
        ("GET", "/dbt/x", &mistyped, (401, 0)),
        ("GET", "/dbt/x", &as_user, (401, 0)),
        ("GET", "/dbt/x", "Bearer open-sesame", (404, 0)),
        ("GET", "/dbt/x", "", (401, 0)),
        ("GET", "/healthz", &right, (200, 0)),
        ("PATCH", "/dbt/x", &right, (405, 0)),
    ] {
        assert_eq!(world.ask(method, path, line).await, expected, "{method} {path} {line}");
    }
}
