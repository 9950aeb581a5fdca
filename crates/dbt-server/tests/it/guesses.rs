//! Wrong credentials, over and over, on the pipeline in memory: they slow down further ones, and
//! lock nobody out. The time is the runtime's own, and runs ahead when nobody has anything to do.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use dbt_core::clock::Clock;
use dbt_core::secret::Secret;
use dbt_server::app::App;
use dbt_server::audit::{self, AuditLog, Outcome};
use dbt_server::authn::htpasswd::Htpasswd;
use dbt_server::authn::static_token::{NamedToken, StaticTokens};
use dbt_server::authn::{AnyOf, Attempt, Authenticator, Presented, Scope, Subject, Verdict};
use dbt_server::authz::{Access, Policy};
use dbt_server::content::BoxFuture;
use dbt_server::limits;
use dbt_server::{pipeline, storage};
use http_body_util::{BodyExt as _, Full};
use hyper::{Request, StatusCode};
use tokio::task::JoinSet;
use tokio::time::Instant;

const HERE: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
const ELSEWHERE: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 2));

/// The users of a file, and how often they were asked for.
struct Counted {
    users: Htpasswd,
    asked: Arc<AtomicUsize>,
}

impl Authenticator for Counted {
    fn identify<'a>(&'a self, attempt: &'a Attempt<'a>) -> BoxFuture<'a, Verdict> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        self.users.identify(attempt)
    }

    fn could_prove(&self, subject: &Subject) -> bool {
        self.users.could_prove(subject)
    }

    fn challenge(&self) -> String {
        self.users.challenge()
    }
}

/// A server in memory to which the users of a file may write.
#[derive(Clone)]
struct World {
    app: Arc<App>,
    files: storage::memory::Memory,
    records: audit::memory::Memory,
    asked: Arc<AtomicUsize>,
    _users: Arc<tempfile::TempDir>,
}

impl World {
    fn new() -> Self {
        let users = tempfile::tempdir().unwrap();
        let file = users.path().join("htpasswd");
        let line = |name: &str| format!("{name}:{{SHA}}GpHWL3ymc5liWkNopqtdSjuqYHM=\n");
        std::fs::write(&file, ["alice", "bob"].map(line).concat()).unwrap();
        Self::knowing(&file, users)
    }

    fn knowing(file: &Path, users: tempfile::TempDir) -> Self {
        let asked = Arc::new(AtomicUsize::new(0));
        let method = Counted { users: Htpasswd::open(file).unwrap(), asked: Arc::clone(&asked) };
        let mut authn = AnyOf::new(Clock::System);
        let token = NamedToken::new("ci", &Secret::new("open-sesame".to_owned()));
        authn.add(&[Scope::Writes], Box::new(StaticTokens::new(vec![token])));
        authn.add(&[Scope::Writes], Box::new(method));
        let files = storage::memory::Memory::new(Clock::System);
        let records = audit::memory::Memory::default();
        let app = App::of_parts(
            authn,
            Policy::of_access(Access::Anyone, Access::Proven, false),
            Arc::new(files.clone()),
            AuditLog::new(Box::new(records.clone()), Clock::System),
            Clock::System,
        );
        Self { app: Arc::new(app), files, records, asked, _users: Arc::new(users) }
    }

    /// Writes as somebody; returns the status, after how many seconds, and when to come again.
    async fn put(&self, user: &str, password: &str, from: IpAddr) -> (u16, u64, Option<u64>) {
        let body = Full::from("body").map_err(|never| match never {}).boxed_unsync();
        let proof = STANDARD.encode(format!("{user}:{password}"));
        let request = Request::builder().method("PUT").uri("/dbt/x");
        let request = request.header("authorization", format!("Basic {proof}"));
        let began = Instant::now();
        let peer = SocketAddr::from((from, 1));
        let answer = pipeline::serve(&self.app, request.body(body).unwrap(), peer).await;
        let later = answer.headers().get("retry-after");
        let later = later.map(|value| value.to_str().unwrap().parse().unwrap());
        let status = answer.status();
        if status == StatusCode::TOO_MANY_REQUESTS {
            assert!(!answer.headers().contains_key("www-authenticate"));
            let problem = answer.into_body().collect().await.unwrap().to_bytes();
            let problem: serde_json::Value = serde_json::from_slice(&problem).unwrap();
            assert_eq!(problem["type"], "urn:dbt:problem:too-many-guesses");
            assert_eq!(problem["detail"], "too many credentials were wrong; try again later");
        }
        (status.as_u16(), began.elapsed().as_secs(), later)
    }

    fn take_asked(&self) -> usize {
        self.asked.swap(0, Ordering::Relaxed)
    }
}

#[tokio::test(start_paused = true)]
async fn guesses_are_slowed_down_and_the_right_password_still_lets_its_owner_in() {
    let world = World::new();
    for guess in 0..limits::GUESSES_OF_NAME {
        assert_eq!(world.put("alice", &guess.to_string(), HERE).await, (401, 0, None));
    }
    assert_eq!(world.put("alice", "another", HERE).await, (401, 5, None));
    assert!(world.files.paths().is_empty());
    // From elsewhere, and as somebody else, nobody notices.
    assert_eq!(world.put("bob", "pw", HERE).await, (201, 0, None));
    assert_eq!(world.put("bob", "pw", ELSEWHERE).await, (200, 0, None));
    assert_eq!(world.put("alice", "pw", HERE).await, (200, 5, None), "delayed, not locked out");
    assert_eq!(world.put("alice", "mistyped", HERE).await, (401, 0, None));
}

#[tokio::test(start_paused = true)]
async fn a_flood_from_one_address_is_judged_slowly_and_harms_nobody_who_was_in() {
    let world = World::new();
    assert_eq!(world.put("bob", "pw", HERE).await.0, 201);
    world.take_asked();
    let mut flood = JoinSet::new();
    for number in 0..2000 {
        let world = world.clone();
        flood.spawn(async move {
            let user = format!("user-{number}");
            world.put(if number % 2 == 0 { "alice" } else { &user }, &user, HERE).await
        });
    }
    let mut refused = 0;
    for (status, waited, later) in flood.join_all().await {
        assert!(waited <= limits::LONGEST_TURN.as_secs(), "{waited}");
        assert_eq!(status == 429, later.is_some_and(|later| later > 10), "{status} {later:?}");
        refused += usize::from(status == 429);
        assert!(matches!(status, 401 | 429), "{status}");
    }
    let judged = world.take_asked();
    assert_eq!(judged, 2000 - refused);
    let most = u64::from(limits::GUESSES_OF_ADDRESS) + limits::LONGEST_TURN.as_secs();
    assert!(judged as u64 <= most, "{judged}");
    // Who is known here goes on at once, and so does everybody elsewhere.
    assert_eq!(world.put("bob", "pw", HERE).await, (200, 0, None));
    assert_eq!(world.put("alice", "pw", ELSEWHERE).await, (200, 0, None));
    // Of a flood some are recorded, and the rest is counted.
    world.app.audit.flush().await;
    let is_refusal = |record: &audit::Record| matches!(record.outcome, Outcome::Refused { .. });
    let recorded = world.records.records().iter().filter(|record| is_refusal(record)).count();
    assert!((1..=120).contains(&recorded), "{recorded}");
    // An hour later all is forgotten.
    tokio::time::advance(Duration::from_hours(1)).await;
    assert_eq!(world.put("alice", "x", HERE).await, (401, 0, None));
}

#[tokio::test(start_paused = true)]
async fn who_goes_away_while_waiting_has_had_their_turn() {
    let world = World::new();
    for guess in 0..limits::GUESSES_OF_NAME {
        world.put("alice", &guess.to_string(), HERE).await;
    }
    world.take_asked();
    for number in 0..100 {
        let password = format!("impatient-{number}");
        let put = world.put("alice", &password, HERE);
        let _went_away = tokio::time::timeout(Duration::from_millis(1), put).await;
    }
    assert_eq!(world.take_asked(), 0, "nothing was judged for those who left");
    let (status, _waited, later) = world.put("alice", "patient", HERE).await;
    assert_eq!(status, 429);
    assert!(later.unwrap() > limits::LONGEST_TURN.as_secs());
    world.app.audit.flush().await;
    let reason = "not looked at: too many credentials of this name were wrong".to_owned();
    let refusal = Outcome::Refused { status: Some(429), reason };
    assert_eq!(world.records.records().pop().unwrap().outcome, refusal);
}

#[tokio::test(start_paused = true)]
async fn a_token_that_comes_as_a_password_is_compared_with_no_password() {
    let world = World::new();
    assert_eq!(world.put("alice", "open-sesame", HERE).await.0, 201);
    assert_eq!(world.take_asked(), 0, "it is known by then whose it is");
    // As of an identity provider that is not configured: nobody's password, and no guess.
    for _again in 0..1000 {
        assert_eq!(world.put("alice", "eyJhbGciOiJFUzI1NiJ9.e30.AAAA", HERE).await, (401, 0, None));
    }
    world.app.audit.flush().await;
    let said = |record: audit::Record| format!("{:?}", record.outcome);
    let last = world.records.records().into_iter().map(said).next_back().unwrap();
    assert!(last.contains("it is none of the static tokens") && !last.contains("user"), "{last}");
}

/// As when the configuration is read again.
#[tokio::test(start_paused = true)]
async fn what_was_guessed_is_not_forgotten_by_those_who_go_on_with_it() {
    let token = || NamedToken::new("ci", &Secret::new("open-sesame".to_owned()));
    let methods = || {
        let mut methods = AnyOf::new(Clock::System);
        methods.add(&[Scope::Writes], Box::new(StaticTokens::new(vec![token()])));
        methods
    };
    let earlier = methods();
    let guess = async |methods: &AnyOf, text: &str| {
        let began = Instant::now();
        let mut headers = hyper::HeaderMap::new();
        headers.insert("authorization", format!("Bearer {text}").parse().unwrap());
        let presented = Presented {
            headers: &headers,
            method: &hyper::Method::PUT,
            uri: &hyper::Uri::from_static("/"),
            peer: HERE,
            scope: Scope::Writes,
            client: None,
        };
        (methods.identify(&presented).await.is_ok(), began.elapsed().as_secs())
    };
    for number in 0..limits::GUESSES_OF_NAME {
        assert_eq!(guess(&earlier, &number.to_string()).await, (false, 0));
    }
    assert_eq!(guess(&methods().continuing(&earlier), "another").await, (false, 5));
    assert_eq!(guess(&methods(), "another").await, (false, 0));
}
