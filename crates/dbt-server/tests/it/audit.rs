//! The record, on the pipeline in memory: what cannot be recorded does not happen.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use dbt_core::clock::Clock;
use dbt_core::secret::Secret;
use dbt_server::app::App;
use dbt_server::audit::{self, AuditLog, Outcome};
use dbt_server::authn::static_token::{NamedToken, StaticTokens};
use dbt_server::authn::{AnyOf, Scope};
use dbt_server::authz::{Access, Policy};
use dbt_server::{pipeline, storage};
use http_body_util::{BodyExt as _, Full};
use hyper::Request;

/// A server in memory that `read` may read and `write` may write.
struct World {
    app: Arc<App>,
    files: storage::memory::Memory,
    records: audit::memory::Memory,
}

impl World {
    fn new() -> Self {
        let token = |text: &str| {
            let token = NamedToken::unnamed(&Secret::new(text.to_owned()));
            Box::new(StaticTokens::new(vec![token]))
        };
        let mut authn = AnyOf::new(Clock::System);
        authn.add(&[Scope::Reads], token("read"));
        authn.add(&[Scope::Writes], token("write"));
        let files = storage::memory::Memory::new(Clock::System);
        let records = audit::memory::Memory::default();
        let app = App::of_parts(
            authn,
            Policy::of_access(Access::Proven, Access::Proven, false),
            Arc::new(files.clone()),
            AuditLog::new(Box::new(records.clone()), Clock::System),
            Clock::System,
        );
        Self { app: Arc::new(app), files, records }
    }

    async fn ask(&self, method: &str, path: &str, token: &str) -> u16 {
        let body = Full::from("body").map_err(|never| match never {}).boxed_unsync();
        let mut request = Request::builder().method(method).uri(path);
        if !token.is_empty() {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let peer = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
        let answer = pipeline::serve(&self.app, request.body(body).unwrap(), peer).await;
        self.app.audit.flush().await;
        answer.status().as_u16()
    }

    /// Returns the records as `subject action path: outcome`.
    fn records(&self) -> Vec<String> {
        let line = |record: audit::Record| {
            let outcome = match record.outcome {
                Outcome::Attempted => "attempted".to_owned(),
                Outcome::Done { effect, .. } => effect.to_owned(),
                Outcome::Failed { reason, .. } => format!("failed: {reason}"),
                Outcome::Refused { reason, .. } => format!("refused: {reason}"),
                Outcome::Noted { effect, .. } | Outcome::Counted { effect, .. } => {
                    effect.to_owned()
                }
            };
            let subject = record.actor.map_or_else(|| "nobody".to_owned(), |actor| actor.subject);
            format!("{subject} {} /{}: {outcome}", record.action, record.path.unwrap_or_default())
        };
        self.records.records().into_iter().map(line).collect()
    }
}

#[tokio::test]
async fn a_write_is_recorded_before_and_after() {
    let world = World::new();
    assert_eq!(world.ask("PUT", "/dbt/x", "write").await, 201);
    assert_eq!(world.ask("DELETE", "/dbt/x", "write").await, 204);
    assert_eq!(world.ask("DELETE", "/dbt/x", "write").await, 404);
    assert_eq!(
        world.records(),
        [
            "static-token:static-token write /dbt/x: attempted",
            "static-token:static-token write /dbt/x: created",
            "static-token:static-token delete /dbt/x: attempted",
            "static-token:static-token delete /dbt/x: deleted",
            "static-token:static-token delete /dbt/x: attempted",
            "static-token:static-token delete /dbt/x: failed: nothing is there",
        ]
    );
}

#[tokio::test]
async fn refusals_of_known_callers_and_bad_credentials_are_recorded_and_strangers_are_not() {
    let world = World::new();
    assert_eq!(world.ask("PUT", "/dbt/x", "read").await, 403);
    assert_eq!(world.ask("PUT", "/dbt/x", "wrong").await, 401);
    assert_eq!(world.ask("DELETE", "/dbt", "write").await, 403);
    assert_eq!(world.ask("PUT", "/dbt/x", "").await, 401);
    assert_eq!(
        world.records(),
        [
            "static-token:static-token write /dbt/x: refused: no rule permits this caller to `create` here",
            "nobody write /dbt/x: refused: it is none of the static tokens",
            "static-token:static-token delete /dbt: refused: the root of a repository cannot be deleted",
        ]
    );
    assert!(world.files.paths().is_empty());
}

#[tokio::test]
async fn reads_of_known_callers_are_recorded() {
    let world = World::new();
    world.files.seed("dbt/x".parse().unwrap(), "x");
    assert_eq!(world.ask("GET", "/dbt/x", "read").await, 200);
    assert_eq!(world.records(), ["static-token:static-token read /dbt/x: read"]);
}

#[tokio::test]
async fn what_cannot_be_recorded_does_not_happen() {
    let world = World::new();
    world.files.seed("dbt/x".parse().unwrap(), "x");
    world.records.set_broken(true);
    assert_eq!(world.ask("PUT", "/dbt/y", "write").await, 507);
    assert_eq!(world.ask("DELETE", "/dbt/x", "write").await, 507);
    assert_eq!(world.files.paths(), ["dbt/x"]);
    assert_eq!(world.ask("GET", "/dbt/x", "read").await, 200, "reading goes on");
    world.records.set_broken(false);
    assert_eq!(world.ask("PUT", "/dbt/y", "write").await, 201);
}

#[tokio::test]
async fn an_outcome_that_cannot_be_recorded_stops_writes_until_it_is() {
    let world = World::new();
    world.records.break_after(1);
    assert_eq!(world.ask("PUT", "/dbt/x", "write").await, 201, "it has happened");
    assert_eq!(world.ask("PUT", "/dbt/y", "write").await, 507);
    assert_eq!(world.ask("GET", "/dbt/x", "read").await, 200, "reading goes on");
    assert_eq!(world.files.paths(), ["dbt/x"]);
    world.records.set_broken(false);
    assert_eq!(world.ask("PUT", "/dbt/y", "write").await, 201);
    let records = world.records();
    let writes: Vec<&String> = records.iter().filter(|line| line.contains(" write ")).collect();
    assert_eq!(
        writes,
        [
            "static-token:static-token write /dbt/x: attempted",
            "static-token:static-token write /dbt/x: created",
            "static-token:static-token write /dbt/y: attempted",
            "static-token:static-token write /dbt/y: created",
        ]
    );
}
