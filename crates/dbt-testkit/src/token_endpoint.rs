//! A small identity provider that gives tokens: for what can be exchanged, for what it gave before,
//! for codes that somebody confirms and for what a browser brings back. Each answer can be another
//! one, and every question is kept.

use std::collections::{HashMap, HashSet, VecDeque};
use std::fmt;
use std::io::{self, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use dbt_core::clock::Clock;
use dbt_core::digest::Digest;
use serde_json::{Value, json};

use crate::http::{Answer, Request};
use crate::identity_provider::{DISCOVERY, KEYS, SigningKey};
use crate::planted;
use crate::tls::listen;

/// Where tokens are asked for.
pub const TOKEN: &str = "/token";

/// Where codes for devices are asked for.
pub const DEVICE_CODE: &str = "/device/code";

/// Where tokens are given back, where that is offered.
pub const REVOKE: &str = "/revoke";

/// Where browsers go.
pub const AUTHORIZE: &str = "/auth";

/// What its refresh tokens begin with.
pub const REFRESH_TOKEN: &str = "a-refresh-token";

/// What its access tokens begin with.
pub const ACCESS_TOKEN: &str = "an-access-token";

/// Who a subject token stands for; nothing where it is no good.
type Subject = dyn Fn(&str) -> Option<String> + Send + Sync;

/// What it answers to whoever shows a subject token, by the client's name.
type Exchange = dyn Fn(&Asked, &str) -> Answer + Send + Sync;

/// A running provider. Copies are the same one.
#[derive(Clone)]
pub struct TokenEndpoint {
    address: SocketAddr,
    key: Arc<SigningKey>,
    state: Arc<Mutex<State>>,
}

struct State {
    metadata: Value,
    scripted: HashMap<String, VecDeque<Answer>>,
    asked: Vec<Asked>,
    client_secret: Option<String>,
    lifetime: u64,
    subject: Arc<Subject>,
    exchange: Option<Arc<Exchange>>,
    /// What gets the next token, once.
    refresh_tokens: HashSet<String>,
    /// What it has given and still vouches for.
    tokens: HashSet<String>,
    /// Codes are confirmed before anybody has seen them.
    confirms: bool,
    codes: HashMap<String, Browser>,
    devices: HashMap<String, Device>,
    given: u64,
}

/// What a browser was sent with.
struct Browser {
    redirect: String,
    challenge: String,
    nonce: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Device {
    Waiting,
    Confirmed,
    Denied,
}

/// One question as it came.
#[derive(Debug, Clone)]
pub struct Asked {
    /// Its head.
    pub request: Request,
    /// Its body.
    pub body: String,
}

impl Asked {
    /// Returns the path without the query.
    pub fn path(&self) -> &str {
        self.request.path.split('?').next().unwrap_or_default()
    }

    /// Returns the fields of its form, or of its query where it has no body, as they stand there.
    pub fn fields(&self) -> Vec<(String, String)> {
        let query = self.request.path.split_once('?').map_or("", |(_path, query)| query);
        let text = if self.body.is_empty() { query } else { &self.body };
        let pairs = text.split('&').filter(|pair| !pair.is_empty());
        pairs
            .map(|pair| {
                let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
                (unescaped(name), unescaped(value))
            })
            .collect()
    }

    /// Returns one field.
    pub fn field(&self, name: &str) -> Option<String> {
        self.fields().into_iter().find(|(other, _)| other == name).map(|(_, value)| value)
    }
}

impl TokenEndpoint {
    /// Starts one that knows everybody and offers everything.
    pub fn start() -> Self {
        let state = State {
            metadata: Value::Null,
            scripted: HashMap::new(),
            asked: Vec::new(),
            client_secret: None,
            lifetime: 3600,
            subject: Arc::new(|_token| Some("alice".to_owned())),
            exchange: None,
            refresh_tokens: HashSet::new(),
            tokens: HashSet::new(),
            confirms: false,
            codes: HashMap::new(),
            devices: HashMap::new(),
            given: 0,
        };
        let (state, key) = (Arc::new(Mutex::new(state)), Arc::new(SigningKey::p256("key-1")));
        let (shared, signs) = (Arc::clone(&state), Arc::clone(&key));
        let address = listen(Ipv4Addr::LOCALHOST.into(), move |stream| {
            let local = stream.local_addr().unwrap();
            let provider =
                Self { address: local, key: Arc::clone(&signs), state: Arc::clone(&shared) };
            // Clients that break off are what some tests are about.
            drop(provider.converse(stream));
        });
        let provider = Self { address, key, state };
        let url = provider.url();
        provider.lock().metadata = json!({
            "issuer": url,
            "authorization_endpoint": format!("{url}{AUTHORIZE}"),
            "token_endpoint": format!("{url}{TOKEN}"),
            "device_authorization_endpoint": format!("{url}{DEVICE_CODE}"),
            "jwks_uri": format!("{url}{KEYS}"),
            "scopes_supported": ["openid", "email", "groups", "profile", "offline_access"],
            "code_challenge_methods_supported": ["S256"],
            "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"],
            "authorization_response_iss_parameter_supported": true,
        });
        provider
    }

    /// Returns `http://127.0.0.1:PORT`, which is its issuer, too.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Has it say something else of what it offers; `null` takes it away.
    pub fn offer(&self, name: &str, value: Value) {
        let mut state = self.lock();
        let members = state.metadata.as_object_mut().unwrap();
        if value.is_null() {
            members.remove(name);
        } else {
            members.insert(name.to_owned(), value);
        }
    }

    /// Returns what it says of what it offers.
    pub fn metadata(&self) -> Value {
        self.lock().metadata.clone()
    }

    /// Returns what it calls itself: where it is, unless it was told to say something else.
    fn issuer(&self) -> String {
        self.lock().metadata["issuer"].as_str().map_or_else(|| self.url(), str::to_owned)
    }

    /// Has it answer the next question to a path so, after those that it was told before.
    pub fn next(&self, path: &str, answer: Answer) {
        self.lock().scripted.entry(path.to_owned()).or_default().push_back(answer);
    }

    /// Has it refuse the next question to a path with one of the protocol's codes.
    pub fn refuse_next(&self, path: &str, status: u16, error: &str, description: &str) {
        let mut refusal = json!({"error": error});
        if !description.is_empty() {
            refusal["error_description"] = description.into();
        }
        self.next(path, of_json(status, &refusal));
    }

    /// Has it demand this secret of its clients.
    pub fn demand_secret(&self, secret: &str) {
        self.lock().client_secret = Some(secret.to_owned());
    }

    /// Has its tokens end after so many seconds.
    pub fn give_for(&self, seconds: u64) {
        self.lock().lifetime = seconds;
    }

    /// Has it decide whose a subject token is; nobody's is refused as a Dex does.
    pub fn know(&self, subject: impl Fn(&str) -> Option<String> + Send + Sync + 'static) {
        self.lock().subject = Arc::new(subject);
    }

    /// Has it exchange tokens so.
    pub fn exchange_by(&self, exchange: impl Fn(&Asked, &str) -> Answer + Send + Sync + 'static) {
        self.lock().exchange = Some(Arc::new(exchange));
    }

    /// Confirms every code that somebody waits for.
    pub fn confirm(&self) {
        self.decide(Device::Confirmed);
    }

    /// Says no to every code that somebody waits for.
    pub fn deny(&self) {
        self.decide(Device::Denied);
    }

    fn decide(&self, device: Device) {
        for waiting in self.lock().devices.values_mut() {
            *waiting = device;
        }
    }

    /// Confirms every code that is asked for from now on, before it is shown.
    pub fn confirm_at_once(&self) {
        self.lock().confirms = true;
    }

    /// Says whether it has given a token, and still vouches for it.
    pub fn vouches_for(&self, token: &str) -> bool {
        self.lock().tokens.contains(token)
    }

    /// Vouches for nothing any more that it has given; what gets the next token counts on.
    pub fn disown(&self) {
        self.lock().tokens.clear();
    }

    /// Ends all sessions: nothing that it gave gets a next token.
    pub fn end_sessions(&self) {
        self.lock().refresh_tokens.clear();
    }

    /// Gives a refresh token, as to somebody who has signed in before.
    pub fn refresh_token(&self) -> String {
        self.lock().next_refresh_token()
    }

    /// Returns how many tokens it has given.
    pub fn given(&self) -> u64 {
        self.lock().given
    }

    /// Returns what it was asked since this was last called.
    pub fn take_asked(&self) -> Vec<Asked> {
        std::mem::take(&mut self.lock().asked)
    }

    /// Signs claims, with the issuer and times of now where they do not say other ones.
    pub fn sign(&self, claims: Value) -> String {
        let now = Clock::System.now().duration_since(SystemTime::UNIX_EPOCH);
        let now = now.unwrap_or(Duration::ZERO).as_secs();
        let issuer = self.issuer();
        let mut all = json!({"iss": issuer, "iat": now, "exp": now + self.lock().lifetime});
        for (name, value) in claims.as_object().unwrap() {
            all[name] = value.clone();
        }
        self.key.token(&all)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn converse(&self, mut stream: TcpStream) -> io::Result<()> {
        let mut reader = BufReader::new(stream.try_clone()?);
        while let Some(request) = Request::read(&mut reader)? {
            let length = request.header("content-length").map_or(0, |it| it.parse().unwrap());
            let mut body = String::new();
            reader.by_ref().take(length).read_to_string(&mut body)?;
            let asked = Asked { request, body };
            // With it, whoever has the code gets the tokens (RFC 7636, 1).
            if let Some(verifier) = asked.field("code_verifier") {
                planted::was_made(&verifier);
            }
            let scripted = {
                let mut state = self.lock();
                state.asked.push(asked.clone());
                state.scripted.get_mut(asked.path()).and_then(VecDeque::pop_front)
            };
            let answer = scripted.unwrap_or_else(|| self.answer(&asked));
            answer.write_head(&mut stream, Some(answer.body.len()))?;
            stream.write_all(&answer.body)?;
            if asked.request.header("connection") == Some("close") {
                break;
            }
        }
        Ok(())
    }

    fn answer(&self, asked: &Asked) -> Answer {
        match (asked.request.method.as_str(), asked.path()) {
            ("GET", DISCOVERY) => of_json(200, &self.lock().metadata),
            ("GET", KEYS) => of_json(200, &json!({"keys": [self.key.public()]})),
            ("GET", AUTHORIZE) => self.authorize(asked),
            ("POST", DEVICE_CODE) => self.begin(),
            ("POST", TOKEN) => self.token(asked),
            ("POST", REVOKE) => self.revoke(asked),
            _ => Answer::text(404, "not found"),
        }
    }

    fn authorize(&self, asked: &Asked) -> Answer {
        let field = |name: &str| asked.field(name).unwrap_or_default();
        let is_whole = field("response_type") == "code"
            && field("code_challenge_method") == "S256"
            && field("scope").starts_with("openid");
        if !is_whole {
            return Answer::text(400, "this is no request of OpenID Connect with PKCE");
        }
        let (redirect, challenge) = (field("redirect_uri"), field("code_challenge"));
        let issuer = escaped(&self.issuer());
        let mut state = self.lock();
        state.given += 1;
        let code = format!("a-code-{}", state.given);
        let browser = Browser { redirect, challenge, nonce: asked.field("nonce") };
        let back =
            format!("{}?code={code}&state={}&iss={issuer}", browser.redirect, field("state"));
        state.codes.insert(code, browser);
        Answer::text(302, "").with("Location", &back)
    }

    fn begin(&self) -> Answer {
        let url = self.issuer();
        let mut state = self.lock();
        state.given += 1;
        let code = format!("a-device-code-{}", state.given);
        let (device, interval) =
            if state.confirms { (Device::Confirmed, 1) } else { (Device::Waiting, 5) };
        state.devices.insert(code.clone(), device);
        let begun = json!({
            "device_code": code, "user_code": "WDJB-MJHT", "expires_in": 300, "interval": interval,
            "verification_uri": format!("{url}/device"),
            "verification_uri_complete": format!("{url}/device?user_code=WDJB-MJHT"),
        });
        of_json(200, &begun)
    }

    fn token(&self, asked: &Asked) -> Answer {
        let Some(client) = self.client(asked) else {
            return refusal(401, "invalid_client", "Invalid client credentials.");
        };
        let field = |name: &str| asked.field(name).unwrap_or_default();
        match field("grant_type").as_str() {
            "urn:ietf:params:oauth:grant-type:token-exchange" => self.exchange(asked, &client),
            "refresh_token" => {
                if !self.lock().refresh_tokens.remove(&field("refresh_token")) {
                    return refusal(400, "invalid_grant", "Refresh token is invalid.");
                }
                self.give(&client, None)
            }
            "urn:ietf:params:oauth:grant-type:device_code" => self.redeem_device(asked, &client),
            "authorization_code" => self.redeem_code(asked, &client),
            _ => refusal(400, "unsupported_grant_type", ""),
        }
    }

    /// Returns who asks, if they know the secret.
    fn client(&self, asked: &Asked) -> Option<String> {
        let header = asked.request.header("authorization").and_then(|value| {
            let pair = STANDARD.decode(value.strip_prefix("Basic ")?).ok()?;
            let pair = String::from_utf8(pair).ok()?;
            let (id, secret) = pair.split_once(':')?;
            Some((unescaped(id), Some(unescaped(secret))))
        });
        let (id, secret) =
            header.or_else(|| Some((asked.field("client_id")?, asked.field("client_secret"))))?;
        (self.lock().client_secret == secret).then_some(id)
    }

    fn exchange(&self, asked: &Asked, client: &str) -> Answer {
        let exchange = self.lock().exchange.clone();
        if let Some(exchange) = exchange {
            return exchange(asked, client);
        }
        let token = asked.field("subject_token").unwrap_or_default();
        if token.is_empty() {
            return refusal(400, "invalid_request", "missing subject_token");
        }
        let subject = Arc::clone(&self.lock().subject);
        let Some(subject) = subject(&token) else { return refusal(401, "access_denied", "") };
        let audience = asked.field("audience").unwrap_or_else(|| client.to_owned());
        let lifetime = {
            let mut state = self.lock();
            state.given += 1;
            state.lifetime
        };
        let claims =
            json!({"sub": subject, "aud": audience, "email": format!("{subject}@example.com")});
        let token = self.sign(claims);
        self.lock().tokens.insert(token.clone());
        let answer = json!({
            "access_token": token, "token_type": "bearer", "expires_in": lifetime,
            "issued_token_type": "urn:ietf:params:oauth:token-type:id_token",
        });
        of_json(200, &answer)
    }

    /// Takes a token back; one that it does not know is as good as taken back (RFC 7009, 2.2).
    fn revoke(&self, asked: &Asked) -> Answer {
        if self.client(asked).is_none() {
            return refusal(401, "invalid_client", "Invalid client credentials.");
        }
        let token = asked.field("token").unwrap_or_default();
        let mut state = self.lock();
        state.refresh_tokens.remove(&token);
        state.tokens.remove(&token);
        Answer::text(200, "")
    }

    fn redeem_device(&self, asked: &Asked, client: &str) -> Answer {
        let code = asked.field("device_code").unwrap_or_default();
        let device = self.lock().devices.get(&code).copied();
        match device {
            None => refusal(400, "invalid_grant", ""),
            Some(Device::Waiting) => refusal(400, "authorization_pending", ""),
            Some(Device::Denied) => refusal(400, "access_denied", ""),
            Some(Device::Confirmed) => {
                self.lock().devices.remove(&code);
                self.give(client, None)
            }
        }
    }

    fn redeem_code(&self, asked: &Asked, client: &str) -> Answer {
        let field = |name: &str| asked.field(name).unwrap_or_default();
        let Some(browser) = self.lock().codes.remove(&field("code")) else {
            return refusal(400, "invalid_grant", "unknown code");
        };
        let digest = Digest::of(field("code_verifier").as_bytes());
        let is_its = URL_SAFE_NO_PAD.encode(digest.as_bytes()) == browser.challenge
            && field("redirect_uri") == browser.redirect;
        if !is_its {
            return refusal(400, "invalid_grant", "somebody else began this");
        }
        self.give(client, browser.nonce.as_deref())
    }

    /// Gives an ID token, an access token, and what gets the next ones.
    fn give(&self, client: &str, nonce: Option<&str>) -> Answer {
        let (refresh_token, number, lifetime) = {
            let mut state = self.lock();
            state.given += 1;
            (state.next_refresh_token(), state.given, state.lifetime)
        };
        let mut claims =
            json!({"sub": "alice", "aud": client, "groups": ["developers"], "number": number});
        if let Some(nonce) = nonce {
            claims["nonce"] = nonce.into();
        }
        claims["email"] = "alice@example.com".into();
        let token = self.sign(claims);
        self.lock().tokens.insert(token.clone());
        let answer = json!({
            "access_token": format!("{ACCESS_TOKEN}-{number}"), "token_type": "Bearer",
            "expires_in": lifetime, "refresh_token": refresh_token, "id_token": token,
        });
        of_json(200, &answer)
    }
}

impl State {
    fn next_refresh_token(&mut self) -> String {
        self.given += 1;
        let token = format!("{REFRESH_TOKEN}-{}", self.given);
        self.refresh_tokens.insert(token.clone());
        token
    }
}

impl fmt::Debug for TokenEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenEndpoint").field("address", &self.address).finish_non_exhaustive()
    }
}

/// Makes an answer of JSON, which nobody may keep.
pub fn of_json(status: u16, document: &Value) -> Answer {
    Answer::of(status, "application/json", document.to_string().into_bytes())
        .with("Cache-Control", "no-store")
}

/// Makes a refusal of the protocol.
pub(crate) fn refusal(status: u16, error: &str, description: &str) -> Answer {
    let mut refusal = json!({"error": error});
    if !description.is_empty() {
        refusal["error_description"] = description.into();
    }
    of_json(status, &refusal)
}

fn escaped(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
            _ if byte.is_ascii_alphanumeric() => char::from(byte).to_string(),
            _ => format!("%{byte:02X}"),
        })
        .collect()
}

fn unescaped(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digits = [rest.next().unwrap(), rest.next().unwrap()];
                u8::from_str_radix(std::str::from_utf8(&digits).unwrap(), 16).unwrap()
            }
            _ => byte,
        });
    }
    String::from_utf8(bytes).unwrap()
}
