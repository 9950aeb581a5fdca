//! What identity providers and servers answer to whoever signs in, through the real client.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::time::{Duration, SystemTime};

use dbt_client::oidc::ci::{self, Identity};
use dbt_client::oidc::device::{self, Invitation};
use dbt_client::oidc::exchange::{self, Exchange};
use dbt_client::oidc::{
    Addresses, Channel, Client, OidcError, Pace, Provider, Tokens, UnverifiedClaims, refresh,
};
use dbt_client::settings::Network;
use dbt_client::source::{Connector, EndpointUrl};
use dbt_client::url::{Origin, RepositoryUrl};
use dbt_core::clock::Clock;
use dbt_core::secret::Secret;
use serde_json::{Map, Value, json};

use crate::endpoint::Endpoint;
use crate::fixtures;
use crate::input::{Input, parts};

/// Who should answer. Programs reach it on this machine.
pub const ISSUER: &str = "https://id.example.com";

/// What is shown to whoever answers, and stands in no error.
const SHOWN: &str = "hunter2-and-a-good-deal-more";

/// The statuses that an input chooses from.
const STATUSES: [u16; 8] = [200, 201, 400, 401, 403, 409, 500, 503];

/// The longest that a token is kept, whatever its giver says.
const LONGEST: Duration = Duration::from_hours(24 * 366);

thread_local! {
    static ENDPOINT: Endpoint = Endpoint::start();
}

/// The first byte chooses what is asked, the second how it is answered.
pub fn run(data: &[u8]) {
    is_answered(data);
}

/// The same, and says whether it was answered with what was asked for.
pub fn is_answered(data: &[u8]) -> bool {
    let mut input = Input(data);
    let (question, status) = (input.byte() % 7, input.one_of(&STATUSES));
    let endpoint = ENDPOINT.with(Clone::clone);
    let mut bodies = parts(input.0);
    bodies.truncate(8);
    endpoint.say(bodies.iter().map(|body| (status, body.to_vec())));
    let asked = Asked { endpoint: &endpoint, status, bodies: &bodies };
    match question {
        0 => asked.what_a_provider_offers(),
        1 => asked.for_another_token(),
        2 => asked.by_a_device(),
        3 => asked.for_the_next_token(),
        4 => asked.who_a_job_is(),
        5 => asked.for_the_token_of_a_job(),
        _ => identity_of(input.0),
    }
}

/// Returns the way to every provider here.
pub fn channel() -> Channel {
    let connector = Connector::new(&Network::default(), None, "dbt/0.0.0");
    Channel::new(&connector, Clock::Fixed(fixtures::now()), 1.0)
}

/// Returns where the provider is asked.
pub fn addresses(endpoint: &Endpoint) -> Addresses {
    let here: EndpointUrl = endpoint.url().parse().unwrap();
    let issuer = ISSUER.parse().unwrap();
    Addresses { backchannel: Some(here), ..Addresses::of(issuer) }
}

/// Returns who we are at the provider.
pub fn client() -> Client {
    Client { id: "app".to_owned(), secret: Some(secret(SHOWN)), audience: None }
}

fn secret(text: &str) -> Secret<String> {
    Secret::new(text.to_owned())
}

/// Reads a JSON object by another way. It reads more strictly: what the client skips may have numbers
/// and depths that are none here, and then nothing is compared.
fn object(bytes: &[u8]) -> Option<Map<String, Value>> {
    match serde_json::from_slice(bytes) {
        Ok(Value::Object(members)) => Some(members),
        _ => None,
    }
}

/// Expects that an error says nothing that was shown, and writes no lines of its own.
fn is_discreet(error: &OidcError) {
    let words = format!("{error} {:?}", error.hint());
    assert!(!words.contains(SHOWN) && !format!("{error:?}").contains(SHOWN), "{words}");
    assert!(!words.contains(|letter: char| letter.is_control()), "{words:?}");
}

/// One question, and what is answered.
struct Asked<'a> {
    endpoint: &'a Endpoint,
    status: u16,
    bodies: &'a [&'a [u8]],
}

impl Asked<'_> {
    const fn is_success(&self) -> bool {
        matches!(self.status, 200 | 201)
    }

    /// Expects that so much was asked.
    fn count(&self, expected: usize) {
        let asked = self.endpoint.asked();
        assert_eq!(asked.len(), expected, "{asked:?}");
    }

    /// Returns what the last body says where that is good news.
    fn good_news(&self) -> Option<Map<String, Value>> {
        assert!(self.is_success(), "{}", self.status);
        let body = self.bodies[self.endpoint.asked().len() - 1];
        let said = object(body)?;
        // What stands there twice says nothing.
        let once = body.windows(7).filter(|window| window == b"\"error\"").count() == 1;
        assert!(!once || !said["error"].is_string(), "it says no: {said:?}");
        Some(said)
    }

    /// A document is about the very issuer, and leads nowhere without TLS.
    fn what_a_provider_offers(&self) -> bool {
        let provider = match Provider::discover(&channel(), &addresses(self.endpoint)) {
            Ok(provider) => provider,
            Err(error) => {
                is_discreet(&error);
                return false;
            }
        };
        self.count(1);
        assert!(self.is_success());
        let Some(said) = object(self.bodies[0]) else { return true };
        assert_eq!(said["issuer"], ISSUER);
        let text = |name: &str| said.get(name).and_then(Value::as_str);
        assert_eq!(provider.offers_browsers(), text("authorization_endpoint").is_some());
        assert_eq!(provider.offers_device_codes(), text("device_authorization_endpoint").is_some());
        let Ok(url) = provider.token_endpoint() else { return false };
        let written: EndpointUrl = text("token_endpoint").unwrap().parse().expect("it is a URL");
        let issuer: EndpointUrl = ISSUER.parse().unwrap();
        if written.origin() == issuer.origin() {
            assert_eq!(url.origin().to_string(), self.endpoint.url(), "programs reach it here");
        } else {
            assert_eq!(url, written, "what is elsewhere stays there");
        }
        is_protected(&url.to_uri());
        true
    }

    /// Nothing but a token is taken for one, and nothing that the answer does not hold.
    fn for_another_token(&self) -> bool {
        let provider = Provider::of_dex(&addresses(self.endpoint));
        let way = Exchange::Connector("ssh".to_owned());
        let outcome = exchange::one(&channel(), &provider, &client(), &way, &secret(SHOWN));
        self.count(1);
        let is_good = outcome.is_ok();
        match outcome {
            Ok(tokens) => {
                let Some(said) = self.good_news() else { return is_good };
                let kind = said.get("issued_token_type").and_then(Value::as_str);
                assert!(kind.is_none_or(|kind| kind.starts_with("urn:ietf:params:oauth:")));
                given(&tokens, &said);
                assert_eq!(
                    text_of(tokens.refresh_token.as_ref()),
                    said_text(&said, "refresh_token")
                );
            }
            Err(error) => is_discreet(&error),
        }
        is_good
    }

    /// Somebody is shown only what can be followed, and waited for as long as was said.
    fn by_a_device(&self) -> bool {
        let provider = offering_everything(self.endpoint);
        let (channel, pace, shown) = (channel(), Pauses::default(), RefCell::new(None));
        let answers = self.bodies.iter().map(|body| (self.status, body.to_vec()));
        self.endpoint.say(answers);
        let outcome = device::sign_in(&channel, &provider, &client(), &pace, &mut |invitation| {
            let before = shown.replace(Some(invitation.clone()));
            assert_eq!(before, None, "one code for one sign-in");
        });
        let pauses = pace.pauses.into_inner();
        self.count(pauses.len() + 1);
        match (shown.into_inner(), &outcome) {
            (Some(invitation), _) => self.is_an_invitation(&invitation, &pauses),
            (None, Ok(_)) => panic!("nobody was shown anything"),
            (None, Err(_)) => assert!(pauses.is_empty()),
        }
        let is_good = outcome.is_ok();
        match outcome {
            Ok(tokens) => {
                let Some(said) = self.good_news() else { return is_good };
                given(&tokens, &said);
                is_for_us(&said);
            }
            Err(error) => is_discreet(&error),
        }
        is_good
    }

    fn is_an_invitation(&self, invitation: &Invitation, pauses: &[Duration]) {
        let Invitation { page, code, complete_page, lasts } = invitation;
        let Some(said) = object(self.bodies[0]) else { return };
        assert_eq!(said["user_code"], *code);
        assert!((1..=64).contains(&code.chars().count()));
        assert!(!code.contains(|letter: char| letter.is_control()), "{code:?}");
        for page in complete_page.iter().chain([page]) {
            is_protected(page);
        }
        assert!(lasts.as_secs() <= said["expires_in"].as_u64().expect("a number").min(1800));
        assert!(pauses.iter().sum::<Duration>() <= *lasts, "{pauses:?}");
        assert!(pauses.iter().all(|pause| (1..=60).contains(&pause.as_secs())), "{pauses:?}");
        assert!(pauses.is_sorted(), "it is never asked more often than before: {pauses:?}");
    }

    /// What gets the next token is never lost, and nobody becomes somebody else.
    fn for_the_next_token(&self) -> bool {
        let provider = Provider::of_dex(&addresses(self.endpoint));
        // {"sub":"alice"}
        let token = secret("e30.eyJzdWIiOiJhbGljZSJ9.eA");
        let before = Tokens::without_end(token, fixtures::signed()).renewed_by(Some(secret(SHOWN)));
        let outcome = refresh::renewed(&channel(), &provider, &client(), &before);
        self.count(1);
        let is_good = outcome.is_ok();
        match outcome {
            Ok(after) => {
                let after = after.expect("there is something to renew");
                let Some(said) = self.good_news() else { return is_good };
                given(&after, &said);
                is_for_us(&said);
                let next = said_text(&said, "refresh_token").unwrap_or_else(|| SHOWN.to_owned());
                assert_eq!(text_of(after.refresh_token.as_ref()), Some(next));
                if let Some(id_token) = said_text(&said, "id_token") {
                    let claims = UnverifiedClaims::of(&secret(&id_token)).expect("it was read");
                    assert!(claims.text("sub").is_none_or(|sub| sub == "alice"));
                }
            }
            Err(error) => {
                if let Some(said) = object(self.bodies[0]) {
                    let is_over = said_text(&said, "error").as_deref() == Some("invalid_grant");
                    assert!(is_over || !error.ends_the_session(), "{error}");
                }
                is_discreet(&error);
            }
        }
        is_good
    }

    /// A job's identity is what was made for this server.
    fn who_a_job_is(&self) -> bool {
        let url = format!("{}/actions?api-version=2.0", self.endpoint.url());
        let variables = [
            ("ACTIONS_ID_TOKEN_REQUEST_URL", url.as_str()),
            ("ACTIONS_ID_TOKEN_REQUEST_TOKEN", SHOWN),
        ];
        let identity = Identity::find(&of_variables(&variables)).unwrap().expect("it is a job");
        let origin = origin("https://dbt.example.com");
        let outcome = identity.token(&channel(), &origin);
        self.count(1);
        let head = &self.endpoint.asked()[0].head;
        let asked = "GET /actions?api-version=2.0&audience=https%3A%2F%2Fdbt.example.com HTTP/1.1";
        assert_eq!(head.lines().next(), Some(asked));
        let is_good = outcome.is_ok();
        match outcome {
            Ok(token) => {
                assert!(self.is_success());
                let Some(said) = object(self.bodies[0]) else { return is_good };
                assert_eq!(said["value"], **token.expose());
                is_token(token.expose());
            }
            Err(error) => is_discreet(&error),
        }
        is_good
    }

    /// A server's own token is one, and its words repeat nothing.
    fn for_the_token_of_a_job(&self) -> bool {
        let here = origin(&self.endpoint.url());
        let outcome = ci::exchange(&channel(), &here, &secret(SHOWN), ci::Scope::Read);
        self.count(1);
        assert_eq!(
            self.endpoint.asked()[0].body,
            json!({"token": SHOWN, "scope": "read"}).to_string()
        );
        let is_good = outcome.is_ok();
        match outcome {
            Ok(tokens) => {
                assert!(self.is_success());
                let Some(said) = object(self.bodies[0]) else { return is_good };
                assert_eq!(said["token"], **tokens.token.expose());
                is_token(tokens.token.expose());
                lasts(&tokens, said.get("expires_in"));
                assert_eq!(tokens.refresh_token, None);
            }
            Err(error) => is_discreet(&error),
        }
        is_good
    }
}

/// What a variable or a file holds is an identity as it stands there, or none.
fn identity_of(bytes: &[u8]) -> bool {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("identity");
    std::fs::write(&path, bytes).unwrap();
    let origin = origin("https://dbt.example.com");
    let file = [("DBT_ID_TOKEN_FILE", path.to_str().unwrap())];
    let of_file = Identity::find(&of_variables(&file)).unwrap().expect("a file is named");
    let of_file = of_file.token(&channel(), &origin).ok();
    if let Some(token) = &of_file {
        assert_eq!(std::str::from_utf8(bytes).unwrap().trim(), token.expose());
        is_token(token.expose());
    }
    let text = std::str::from_utf8(bytes);
    assert!(text.is_ok() || of_file.is_none(), "what is no text is none");
    let Some(text) = text.ok().filter(|text| !text.is_empty()) else { return false };
    let variable = Identity::find(&of_variables(&[("DBT_ID_TOKEN", text)]));
    let of_variable = variable.ok().flatten().and_then(|it| it.token(&channel(), &origin).ok());
    assert_eq!(of_variable, of_file, "a variable says what a file says");
    of_file.is_some()
}

fn of_variables(set: &[(&str, &str)]) -> BTreeMap<String, OsString> {
    set.iter().map(|(name, value)| ((*name).to_owned(), OsString::from(value))).collect()
}

fn origin(url: &str) -> Origin {
    url.parse::<RepositoryUrl>().unwrap().origin().unwrap().clone()
}

/// Returns a provider that offers every way.
pub fn offering_everything(endpoint: &Endpoint) -> Provider {
    offering(endpoint, &json!({}))
}

/// Returns a provider that offers every way, with something else of what it says.
pub fn offering(endpoint: &Endpoint, others: &Value) -> Provider {
    let mut document = json!({
        "issuer": ISSUER,
        "authorization_endpoint": format!("{ISSUER}/auth"),
        "token_endpoint": format!("{ISSUER}/token"),
        "device_authorization_endpoint": format!("{ISSUER}/device"),
        "token_endpoint_auth_methods_supported": ["client_secret_post"],
    });
    document.as_object_mut().unwrap().extend(others.as_object().unwrap().clone());
    endpoint.say([(200, document.to_string().into_bytes())]);
    Provider::discover(&channel(), &addresses(endpoint)).expect("it says who it is")
}

/// Time that goes by in pauses alone.
#[derive(Default)]
struct Pauses {
    elapsed: Cell<Duration>,
    pauses: RefCell<Vec<Duration>>,
}

impl Pace for Pauses {
    fn elapsed(&self) -> Duration {
        self.elapsed.get()
    }

    fn wait(&self, pause: Duration) -> bool {
        self.elapsed.set(self.elapsed.get() + pause);
        self.pauses.borrow_mut().push(pause);
        true
    }
}

/// Expects that nobody else can listen to what is asked there.
fn is_protected(url: &str) {
    let is_here = ["http://127.", "http://localhost", "http://[::1]"]
        .iter()
        .any(|start| url.starts_with(start));
    assert!(url.starts_with("https://") || is_here, "{url}");
    let authority = url.split('/').nth(2).unwrap_or_default();
    assert!(!authority.contains('@') && !url.contains(|letter: char| letter.is_control()), "{url}");
}

fn text_of(token: Option<&Secret<String>>) -> Option<String> {
    token.map(|token| token.expose().clone())
}

fn said_text(said: &Map<String, Value>, name: &str) -> Option<String> {
    said.get(name).and_then(Value::as_str).map(ToOwned::to_owned)
}

fn is_token(text: &str) {
    assert!((1..=32 * 1024).contains(&text.len()) && text.bytes().all(|it| it.is_ascii_graphic()));
}

/// Expects that tokens are those of an answer, and are kept no longer than it says.
fn given(tokens: &Tokens, said: &Map<String, Value>) {
    let kind = said_text(said, "token_type").expect("it has a type").to_ascii_lowercase();
    assert!(kind == "bearer" || kind == "n_a", "{kind}");
    let id_token = said_text(said, "id_token");
    let expected = id_token.clone().or_else(|| said_text(said, "access_token"));
    assert_eq!(Some(tokens.token.expose()), expected.as_ref(), "the ID token, if there is one");
    is_token(tokens.token.expose());
    if let Some(token) = &tokens.refresh_token {
        is_token(token.expose());
    }
    // How long the access token is good says nothing about the other.
    lasts(tokens, said.get("expires_in").filter(|_seconds| id_token.is_none()));
}

fn lasts(tokens: &Tokens, said: Option<&Value>) {
    assert_eq!(tokens.received, fixtures::now());
    let expires: SystemTime = tokens.expires.expect("it ends");
    let life = expires.duration_since(tokens.received).expect("not before it came");
    assert!(life <= LONGEST, "{life:?}");
    let said = said.and_then(Value::as_u64).filter(|seconds| *seconds > 0);
    assert!(said.is_none_or(|seconds| life.as_secs() <= seconds), "{life:?} {said:?}");
}

/// Expects that an ID token, where there is one, is of this provider for this client.
fn is_for_us(said: &Map<String, Value>) {
    let Some(token) = said_text(said, "id_token") else { return };
    let claims = UnverifiedClaims::of(&secret(&token)).expect("it has claims");
    assert_eq!(claims.text("iss"), Some(ISSUER));
    assert!(claims.texts("aud").contains(&"app"));
    assert!(claims.text("azp").is_none_or(|party| party == "app"));
}
