use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use dbt_core::clock::Clock;
use dbt_core::secret::Secret;
use hyper::header::AUTHORIZATION;
use hyper::{HeaderMap, Method, Uri};

use super::*;
use crate::args::Flags;
use crate::authn::{AnyOf, Attempt, Authenticator, Presented, Verdict};
use crate::config::Config;
use crate::content::BoxFuture;
use crate::env::Environment;
use crate::limits;
use crate::state::{Claim, Making, Revoked, Revoking, State, Unusable, Which};
use crate::tokens::{NewToken, mint};

fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000 + seconds)
}

struct World {
    tokens: Arc<Tokens>,
    token: Secret<String>,
    _directory: tempfile::TempDir,
}

impl World {
    /// Makes a token of an agent that counts for a quarter of an hour.
    async fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let tokens = Arc::new(Tokens::new(State::open(directory.path(), None)));
        let new = mint::bootstrap("ID".to_owned(), &Caller::on_the_host(0), at(100));
        let (token, new) = new.with_text().unwrap();
        tokens.add(new.row(&token), new.making, Clock::Fixed(at(100))).await.unwrap();
        Self { tokens, token, _directory: directory }
    }

    fn accepting(&self, now: SystemTime) -> AnyOf {
        self.accepting_for(None, now)
    }

    /// Accepts none for longer than that.
    fn accepting_for(&self, longest: Option<Duration>, now: SystemTime) -> AnyOf {
        let tokens = ApiTokens::new(Arc::clone(&self.tokens), Vec::new(), longest);
        AnyOf::new(Clock::Fixed(now)).with_api_tokens(tokens)
    }

    /// Revokes it, and says whether it counted until then.
    async fn revoke(&self, now: SystemTime) -> bool {
        let which = Which::One("ID".to_owned());
        let revoking = Revoking { which, keep_made: false, with: None };
        let revoked = self.tokens.revoke(revoking, Clock::Fixed(now)).await.unwrap();
        matches!(revoked, Revoked::Done { named, .. } if named.len() == 1)
    }

    async fn proved(&self, now: SystemTime) -> Result<String, (Why, String)> {
        identified(&self.accepting(now), self.token.expose()).await
    }
}

async fn identified(methods: &AnyOf, token: &str) -> Result<String, (Why, String)> {
    shown(methods, &format!("Bearer {token}")).await
}

fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
}

async fn shown(methods: &AnyOf, line: &str) -> Result<String, (Why, String)> {
    let mut headers = HeaderMap::new();
    headers.insert(AUTHORIZATION, line.parse().unwrap());
    let presented = Presented {
        headers: &headers,
        method: &Method::GET,
        uri: &Uri::from_static("/"),
        peer: IpAddr::V4(Ipv4Addr::LOCALHOST),
        scope: Scope::Writes,
        client: None,
    };
    let caller = methods.identify(&presented).await;
    let caller = caller.map_err(|bad| (bad.why(), bad.to_string()))?;
    assert!(caller.is_proven_for(Scope::Reads) && caller.is_proven_for(Scope::Writes));
    assert_eq!(caller.method(), Some(NAME));
    Ok(caller.subject().unwrap().to_string())
}

#[tokio::test]
async fn a_token_counts_from_when_it_was_made_until_its_end() {
    let world = World::new().await;
    let refused = |why, words: &str| Err((why, words.to_owned()));
    let early = refused(Why::NotYetValid, "the token is not valid yet");
    let late = refused(Why::Expired, "the token has expired");
    let good = Ok("agent:bootstrap".to_owned());
    let end = 100 + 15 * 60;
    // Clocks differ by a minute.
    for (now, expected) in
        [(39, &early), (40, &good), (100, &good), (end - 1, &good), (end, &late), (end + 1, &late)]
    {
        assert_eq!(world.proved(at(now)).await, *expected, "{now}");
    }
}

#[tokio::test]
async fn a_token_that_was_revoked_is_refused_at_once() {
    let world = World::new().await;
    let methods = world.accepting(at(101));
    assert!(identified(&methods, world.token.expose()).await.is_ok());
    assert!(world.revoke(at(101)).await);
    let refused = identified(&methods, world.token.expose()).await.unwrap_err();
    assert_eq!(refused, (Why::Revoked, "the token was revoked".to_owned()));
    assert!(!world.revoke(at(101)).await);
}

/// Time stands still here, so that whoever would have to wait would wait for ever.
#[tokio::test(start_paused = true)]
async fn wrong_tokens_are_looked_up_so_often_and_the_right_one_waits_for_none_of_them() {
    let world = World::new().await;
    let methods = world.accepting(at(101));
    let began = tokio::time::Instant::now();
    let mut whys = Vec::new();
    for _guess in 0..500 {
        let guess = text::new().unwrap();
        whys.push(identified(&methods, guess.expose()).await.unwrap_err().0);
    }
    assert_eq!(world.tokens.lookups(), u64::from(limits::FAILED_LOOKUPS));
    assert_eq!(whys.first(), Some(&Why::Wrong));
    assert_eq!(whys.last(), Some(&Why::TooMany));
    assert!(identified(&methods, world.token.expose()).await.is_ok(), "from the same address");
    assert_eq!(world.tokens.lookups(), u64::from(limits::FAILED_LOOKUPS) + 1);
    assert!(began.elapsed().is_zero());
    // One that is made meanwhile is known at once; within a second, if a command beside the server
    // made it.
    for by_the_server in [true, false] {
        let new = mint::bootstrap("NEW".to_owned(), &Caller::on_the_host(0), at(101));
        let (token, mut new) = new.with_text().unwrap();
        new.token.id = format!("NEW-{by_the_server}");
        let (row, clock) = (new.row(&token), Clock::Fixed(at(101)));
        if by_the_server {
            world.tokens.add(row, new.making, clock).await.unwrap();
        } else {
            let add = move |it: &rusqlite::Transaction<'_>| {
                crate::state::add_token(it, &row, &new.making, at(101))
            };
            world.tokens.state().unwrap().write(Claim::Reserved, add).await.unwrap();
            assert_eq!(identified(&methods, token.expose()).await.unwrap_err().0, Why::TooMany);
            tokio::time::advance(limits::LISTED_TOKENS_TIME).await;
        }
        assert!(identified(&methods, token.expose()).await.is_ok(), "{by_the_server}");
    }
    // And what was revoked meanwhile is refused, whatever is on the list.
    assert!(world.proved(at(101)).await.is_err());
}

#[tokio::test]
async fn each_request_costs_one_look_and_what_cannot_be_a_token_none() {
    let world = World::new().await;
    let methods = world.accepting(at(101));
    let (right, unknown) = (world.token.expose().clone(), text::new().unwrap().expose().clone());
    let mistyped = right[..35].to_owned();
    for (line, costs) in [
        (format!("Bearer {right}"), 1),
        (basic("any", &right), 1),
        (format!("Bearer {unknown}"), 1),
        (format!("Bearer {mistyped}"), 0),
        ("Bearer dbt_".to_owned(), 0),
        (format!("Bearer dbt_tp_{right}"), 0),
        (basic(&right, ""), 0),
        (basic("any", &format!(" {right}")), 0),
        (format!("Bearer Bearer {right}"), 0),
        (basic("alice", "password"), 0),
        ("Bearer open-sesame".to_owned(), 0),
    ] {
        let before = world.tokens.lookups();
        let _accepted_or_not = shown(&methods, &line).await;
        assert_eq!(world.tokens.lookups() - before, costs, "{line}");
    }
}

/// Says whether it was shown anything.
struct Spy(Arc<std::sync::atomic::AtomicBool>);

impl Authenticator for Spy {
    fn identify<'a>(&'a self, _attempt: &'a Attempt<'a>) -> BoxFuture<'a, Verdict> {
        self.0.store(true, std::sync::atomic::Ordering::SeqCst);
        Box::pin(std::future::ready(Verdict::NotMine))
    }

    fn could_prove(&self, _subject: &Subject) -> bool {
        true
    }

    fn challenge(&self) -> String {
        "Spy".to_owned()
    }
}

/// A directory service, a command and the log would otherwise see somebody's token.
#[tokio::test]
async fn what_begins_as_a_token_is_shown_to_nobody_else_wherever_it_stands() {
    let world = World::new().await;
    let (good, unknown) = (world.token.expose().clone(), text::new().unwrap().expose().clone());
    assert!(world.revoke(at(101)).await);
    for (line, is_shown) in [
        (format!("Bearer {good}"), false),
        (format!("Bearer {unknown}"), false),
        ("Bearer dbt_x".to_owned(), false),
        (basic("alice", &unknown), false),
        (basic("alice", "dbt_x"), false),
        (basic(&unknown, "password"), false),
        (basic(&good, ""), false),
        (basic("dbt_x", "x-oauth-basic"), false),
        // As a line of a header, or as it was cut out of something.
        (basic("alice", &format!(" {unknown}")), false),
        (basic("alice", &format!("Bearer {unknown}")), false),
        (basic("alice", &format!("bearer: \"{unknown}\"")), false),
        (basic(&format!("token={unknown}"), "x"), false),
        (format!("Bearer x{unknown}"), false),
        (basic("alice", "password"), true),
        (basic("alice", "my_dbt_password"), true),
    ] {
        for own in [true, false] {
            let seen = Arc::<std::sync::atomic::AtomicBool>::default();
            let mut methods =
                if own { world.accepting(at(101)) } else { AnyOf::new(Clock::Fixed(at(101))) };
            methods.add(&Scope::ALL, Box::new(Spy(Arc::clone(&seen))));
            assert!(shown(&methods, &line).await.is_err(), "{line}");
            let seen = seen.load(std::sync::atomic::Ordering::SeqCst);
            assert_eq!(seen, is_shown, "{line} {own}");
        }
    }
}

#[tokio::test]
async fn a_token_in_the_place_of_a_name_is_told_where_it_belongs() {
    let world = World::new().await;
    let line = basic(world.token.expose(), "x");
    let refused = shown(&world.accepting(at(101)), &line).await.unwrap_err();
    assert_eq!(refused.0, Why::Malformed);
    assert!(refused.1.contains("send it as `Bearer`"), "{}", refused.1);
}

#[tokio::test]
async fn no_token_counts_for_longer_than_the_settings_let_any_whenever_it_was_made() {
    let world = World::new().await;
    let ten_minutes = Some(Duration::from_mins(10));
    let proved =
        async |now| identified(&world.accepting_for(ten_minutes, now), world.token.expose()).await;
    assert!(proved(at(699)).await.is_ok());
    assert_eq!(proved(at(700)).await.unwrap_err().0, Why::Expired);
    assert!(world.proved(at(700)).await.is_ok(), "as it was made");
}

#[tokio::test]
async fn where_tokens_cannot_be_looked_up_none_is_judged() {
    let missing = Unusable::Missing { path: "state.db".into() };
    let tokens = Arc::new(Tokens::new(Err(missing)));
    let looking = ApiTokens::new(tokens, Vec::new(), None);
    let methods = AnyOf::new(Clock::Fixed(at(0))).with_api_tokens(looking);
    let token = text::new().unwrap();
    let refused = identified(&methods, token.expose()).await.unwrap_err();
    assert_eq!(refused.0, Why::Away);
}

/// Also where only a part of it is not what it should be: it must not be taken for one without.
#[tokio::test]
async fn a_token_of_which_something_cannot_be_read_counts_for_nothing() {
    for (from, to) in [
        (r#""once":true"#, r#""once":true,"more":1"#),
        (r#""ceilings":[]"#, r#""ceilings":[{"roles":[],"paths":["x"]}]"#),
        (r#""method":"agent""#, r#""method":"host""#),
        (r#""of":"bootstrap""#, r#""of":"other""#),
        ("{", ""),
    ] {
        let world = World::new().await;
        let state = world.tokens.state().unwrap();
        let spoil = move |transaction: &rusqlite::Transaction<'_>| {
            let query = "UPDATE api_tokens SET about = replace(about, ?1, ?2)";
            transaction.execute(query, [from, to])
        };
        assert!(world.proved(at(101)).await.is_ok());
        assert_eq!(state.write(Claim::Reserved, spoil).await, Ok(1));
        assert_eq!(world.proved(at(101)).await.unwrap_err().0, Why::Wrong, "{from}");
        // It can be seen and revoked.
        let token = ApiToken::from(state.token("ID").unwrap().unwrap());
        assert_eq!(token.shown(at(101))["subject"], "agent:bootstrap");
        assert!(world.revoke(at(102)).await);
    }
}

/// A token of somebody, made for them by an administrator, or by themselves with what they proved.
fn of(subject: &str, proven: Vec<Proof>) -> NewToken {
    let (method, rest) = subject.split_once(':').unwrap();
    let (issuer, of) = match rest.rsplit_once('#') {
        Some((issuer, of)) => (Some(issuer.to_owned()), of),
        None => (None, rest),
    };
    let about =
        About { method: method.to_owned(), issuer, of: of.to_owned(), proven, ..About::default() };
    let token = ApiToken {
        id: "ID".to_owned(),
        subject: subject.to_owned(),
        created_by: "host:0".to_owned(),
        origin: "host:0".to_owned(),
        made_with: None,
        created: at(100),
        expires: None,
        used: None,
        ended: None,
        about: Some(about),
    };
    NewToken { token, making: Making { each: 1, with: None, spending: false, alone: false } }
}

const KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAINdamAGCsQq31Uv+08lkBzoO4XLz2qYjJa8CGmj3B1Ea a@b";

/// A server that has for reading and for writing: files of users, lists of keys, providers, and tokens.
struct Sources {
    directory: tempfile::TempDir,
}

impl Sources {
    fn new() -> Self {
        let sources = Self { directory: tempfile::tempdir().unwrap() };
        let users = |names: &[&str]| -> String {
            let line = |name: &&str| [name, ":{SHA}qUqP5cyxm6YcTAhz05Hph5gvu9M=\n"].concat();
            names.iter().map(line).collect()
        };
        sources.put("readers", &users(&["reader", "both"]));
        sources.put("writers", &users(&["writer", "both"]));
        let keys = |names: &[&str]| -> Vec<serde_json::Value> {
            names
                .iter()
                .map(|name| serde_json::json!({"username": name, "publickey": KEY}))
                .collect()
        };
        let lists = serde_json::json!({
            "getUsers": keys(&["reader", "both"]), "putUsers": keys(&["writer", "both"])});
        sources.put("keys", &lists.to_string());
        sources
    }

    fn put(&self, name: &str, text: &str) {
        std::fs::write(self.directory.path().join(name), text).unwrap();
    }

    fn config(&self, types: &str, get: serde_json::Value, put: serde_json::Value) -> Config {
        self.config_of([types, types], get, put)
    }

    fn config_of(
        &self,
        [reads, writes]: [&str; 2],
        get: serde_json::Value,
        put: serde_json::Value,
    ) -> Config {
        let root = self.directory.path().join("root");
        std::fs::create_dir_all(&root).unwrap();
        let text = serde_json::json!({
            "serverRoot": root, "authGets": true, "authTypeGet": reads, "authTypePut": writes,
            "authOptsGet": get, "authOptsPut": put,
            "tokens": [{"name": "ci", "sha256": "0".repeat(64)}],
        });
        self.put("config.json", &text.to_string());
        let file = Some(self.directory.path().join("config.json"));
        Config::resolve(&Flags { file, ..Flags::default() }, &Environment::default()).unwrap()
    }

    fn file(&self, name: &str) -> serde_json::Value {
        serde_json::json!({ "idpFile": self.directory.path().join(name) })
    }
}

async fn scopes(config: &Config, new: &NewToken) -> Vec<Scope> {
    let methods = crate::app::signing_in(config, Vec::new()).unwrap();
    let here = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let bearer = methods.bearer(judge(&new.token, None, at(101)).unwrap(), here, at(101)).await;
    let scopes = |bearer: Caller| bearer.proofs().iter().map(|proof| proof.scope).collect();
    bearer.map_or_else(|_refused| Vec::new(), scopes)
}

/// Returns the digest of what a provider demands.
fn demands(method: &crate::config::Method) -> Option<String> {
    if let crate::config::Method::Oidc(settings) = method { settings.demands() } else { None }
}

/// Returns what somebody has proved for this who is all that a provider demands.
fn proved(config: &Config, own: &[Scope]) -> Vec<Proof> {
    let proof = |scope: &Scope| {
        let door = if *scope == Scope::Reads { &config.reads } else { &config.writes };
        let demands = door.methods().iter().find_map(demands);
        Proof { scope: *scope, demands }
    };
    own.iter().map(proof).collect()
}

#[tokio::test]
async fn a_user_s_token_counts_for_what_its_very_source_is_configured_for() {
    const R: &[Scope] = &[Scope::Reads];
    const W: &[Scope] = &[Scope::Writes];
    const RW: &[Scope] = &Scope::ALL;
    let sources = Sources::new();
    let oidc = |issuer: &str, groups: &[&str]| {
        serde_json::json!({"oidc": {"issuerUrl": format!("https://{issuer}.example.com"),
            "audiences": ["x"], "allowedGroups": groups}})
    };
    let users = sources.config("basic-htpasswd", sources.file("readers"), sources.file("writers"));
    let keys = sources.config("ssh-agent-file", sources.file("keys"), sources.file("keys"));
    let two = sources.config("oidc", oidc("a", &[]), oidc("b", &[]));
    let one = sources.config("oidc", oidc("a", &[]), oidc("a", &["publishers"]));
    let named = sources.config("static-token", serde_json::json!({}), serde_json::json!({}));
    let unnamed = sources.config(
        "static-token",
        serde_json::json!({"staticToken": "reads"}),
        serde_json::json!({"staticToken": "writes"}),
    );
    for (config, subject, own, expected) in [
        (&users, "htpasswd:reader", &[][..], R),
        (&users, "htpasswd:writer", &[], W),
        (&users, "htpasswd:both", &[], RW),
        (&users, "htpasswd:gone", &[], &[]),
        // What somebody proved once does not put them back into a file.
        (&users, "htpasswd:gone", RW, &[]),
        (&users, "htpasswd:reader", RW, R),
        (&users, "ssh:reader", &[], &[]),
        (&keys, "ssh:reader", &[], R),
        (&keys, "ssh:writer", &[], W),
        (&keys, "ssh:both", &[], RW),
        (&keys, "ssh:gone", RW, &[]),
        (&keys, "htpasswd:both", RW, &[]),
        (&two, "oidc:https://a.example.com#alice", &[], R),
        (&two, "oidc:https://b.example.com#alice", &[], W),
        (&two, "oidc:https://c.example.com#alice", RW, &[]),
        // Whether somebody is in a group of writers only their own sign-in says.
        (&one, "oidc:https://a.example.com#alice", &[], R),
        (&one, "oidc:https://a.example.com#alice", R, R),
        (&one, "oidc:https://a.example.com#alice", RW, RW),
        (&named, "static-token:ci", &[], RW),
        (&named, "static-token:gone", RW, &[]),
        (&unnamed, "static-token:ci", &[], RW),
        // There are two without a name, and they are not the same.
        (&unnamed, "static-token:static-token", &[], &[]),
        (&unnamed, "static-token:static-token", W, W),
        (&users, "agent:x", &[], RW),
    ] {
        let new = of(subject, proved(config, own));
        assert_eq!(scopes(config, &new).await, expected, "{subject} {own:?}");
    }
}

/// An administrator who asks for more of everybody asks it of those who have tokens, too.
#[tokio::test]
async fn what_somebody_proved_counts_no_more_when_something_else_is_demanded() {
    let sources = Sources::new();
    let config = |claims: serde_json::Value, groups: &[&str], groups_claim: &str| {
        let issuer = |claims: serde_json::Value, groups: &[&str]| {
            serde_json::json!({"oidc": {"issuerUrl": "https://a.example.com", "audiences": ["x"],
                "requiredClaims": claims, "allowedGroups": groups, "groupsClaim": groups_claim}})
        };
        sources.config("oidc", issuer(serde_json::json!({}), &[]), issuer(claims, groups))
    };
    let none = serde_json::json!({});
    let claims = serde_json::json!({"team": ["x", "y"], "hd": "example.com"});
    let then = config(claims.clone(), &["a", "b"], "groups");
    let new = of("oidc:https://a.example.com#alice", proved(&then, &Scope::ALL));
    let reordered = serde_json::json!({"hd": "example.com", "team": ["y", "x"]});
    for (claims, groups, claim, writes) in [
        (&claims, &["a", "b"][..], "groups", true),
        (&reordered, &["b", "a", "a"], "groups", true),
        (&none, &[], "groups", true),
        (&serde_json::json!({"team": "x", "hd": "example.com"}), &["a", "b"], "groups", false),
        (&serde_json::json!({"team": ["x", "y"], "hd": "a.com"}), &["a", "b"], "groups", false),
        (&claims, &["a"], "groups", false),
        (&claims, &["a", "b", "c"], "groups", false),
        (&claims, &["a", "b"], "roles", false),
        (&claims, &[], "groups", false),
        (&none, &["a", "b"], "groups", false),
    ] {
        let now = config(claims.clone(), groups, claim);
        let expected = if writes { &Scope::ALL[..] } else { &[Scope::Reads] };
        assert_eq!(scopes(&now, &new).await, expected, "{claims} {groups:?} {claim}");
    }
    // Nor does what was proved when nothing was demanded.
    let free = of("oidc:https://a.example.com#alice", proved(&config(none, &[], "x"), &Scope::ALL));
    assert_eq!(scopes(&then, &free).await, [Scope::Reads]);
}

/// Anybody in the world can sign in at such a provider, so that it means nothing.
#[tokio::test]
async fn a_token_of_somebody_whose_provider_is_for_everybody_has_no_rights_that_name_nobody() {
    let sources = Sources::new();
    let root = sources.directory.path().join("root");
    std::fs::create_dir_all(&root).unwrap();
    let issuer = |url: &str, claims: serde_json::Value| {
        serde_json::json!({
        "issuerUrl": url, "audiences": ["x"], "requiredClaims": claims})
    };
    let text = serde_json::json!({
        "serverRoot": root, "authTypePut": "oidc", "policies": [],
        "auth": {"issuers": [
            issuer("https://gitlab.com", serde_json::json!({"namespace_id": "7"})),
            issuer("https://id.example.com", serde_json::json!({})),
        ]},
    });
    sources.put("config.json", &text.to_string());
    let file = Some(sources.directory.path().join("config.json"));
    let flags = Flags { file, ..Flags::default() };
    let config = Config::resolve(&flags, &Environment::default()).unwrap();
    let methods = crate::app::signing_in(&config, Vec::new()).unwrap();
    let here = IpAddr::V4(Ipv4Addr::LOCALHOST);
    for (subject, expected) in
        [("oidc:https://gitlab.com#7", false), ("oidc:https://id.example.com#7", true)]
    {
        // What is demanded for reading is not said, so that only one issuer demands something.
        let demanded = config.writes.methods().iter().find_map(demands);
        let proof = Proof { scope: Scope::Writes, demands: demanded };
        let identity = judge(&of(subject, vec![proof]).token, None, at(101)).unwrap();
        let bearer = methods.bearer(identity, here, at(101)).await.unwrap();
        assert_eq!(bearer.has_default_rights(), expected, "{subject}");
        assert!(bearer.is_proven_for(Scope::Writes));
    }
}

/// Also what was made with that, by whomever.
#[tokio::test]
async fn what_a_token_of_the_settings_made_ends_with_its_name() {
    let sources = Sources::new();
    let config = sources.config("static-token", serde_json::json!({}), serde_json::json!({}));
    for (origin, counts) in [
        ("static-token:ci", true),
        ("static-token:gone", false),
        ("host:0", true),
        ("htpasswd:alice", true),
    ] {
        let mut new = of("agent:x", Vec::new());
        new.token.origin = origin.to_owned();
        assert_eq!(!scopes(&config, &new).await.is_empty(), counts, "{origin}");
    }
}

#[tokio::test]
async fn what_a_token_of_the_settings_made_is_good_for_no_more_than_that_is_today() {
    const R: &[Scope] = &[Scope::Reads];
    const W: &[Scope] = &[Scope::Writes];
    let sources = Sources::new();
    let config = |reads, writes| {
        let place = || sources.file("writers");
        sources.config_of([reads, writes], place(), place())
    };
    let (both, users) = ("static-token, basic-htpasswd", "basic-htpasswd");
    for (config, expected) in [
        (config(both, both), &Scope::ALL[..]),
        (config(both, users), R),
        (config(users, both), W),
        (config(users, users), &[]),
    ] {
        for subject in ["agent:x", "htpasswd:writer", "static-token:ci"] {
            let mut new = of(subject, proved(&config, &Scope::ALL));
            new.token.origin = "static-token:ci".to_owned();
            assert_eq!(scopes(&config, &new).await, expected, "{subject}");
        }
    }
    // Where nothing is left, the record says whose that was.
    let methods = crate::app::signing_in(&config(users, users), Vec::new()).unwrap();
    let mut new = of("agent:x", Vec::new());
    new.token.origin = "static-token:ci".to_owned();
    let here = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let refused = methods.bearer(judge(&new.token, None, at(101)).unwrap(), here, at(101)).await;
    let words =
        "the token ID comes from `static-token:ci`, who could not sign in otherwise any more";
    assert_eq!(refused.unwrap_err().noted(), words);
}

#[tokio::test]
async fn who_is_taken_out_of_a_file_has_no_token_that_counts_from_then_on() {
    let sources = Sources::new();
    let config = sources.config("basic-htpasswd", sources.file("readers"), sources.file("writers"));
    let methods = crate::app::signing_in(&config, Vec::new()).unwrap();
    let here = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let new = of("htpasswd:writer", Vec::new());
    let ask = || methods.bearer(judge(&new.token, None, at(101)).unwrap(), here, at(101));
    assert!(ask().await.is_ok());
    sources.put("writers", "");
    let refused = ask().await.unwrap_err();
    let words = "the token ID is of `htpasswd:writer`, who could not sign in otherwise any more";
    assert_eq!(refused.noted(), words);
    assert_eq!(refused.to_string(), "the credential is not valid");
}
