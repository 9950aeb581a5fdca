//! Signing in with a browser: an authorisation code for a page on this machine (RFC 6749, 4.1;
//! RFC 8252), bound to who began by PKCE (RFC 7636), to this sign-in by `state` and `nonce`, and to
//! the provider by `iss` (RFC 9207).
//!
//! Where no browser runs on this machine the last page cannot be reached: its address is copied
//! from the browser and pasted instead.

mod callback;
mod listener;
mod local_page;

use std::fmt;
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use dbt_core::digest::Digest;
use dbt_core::secret::Secret;

use self::callback::{Expected, Outcome};
use self::listener::Listener;
use super::answer;
use super::error::{OidcError, Refusal, What};
use super::form::{self, Form};
use super::{Channel, Client, Provider, Tokens, id_token};
use crate::source::{Cancel, EndpointUrl};

pub(crate) use self::local_page::left_behind;
pub use self::local_page::{LocalPage, NoLocalPage};

/// What is asked for: the groups are what servers decide by, and the last lets a sign-in last.
const SCOPES: [&str; 5] = ["openid", "profile", "email", "groups", "offline_access"];

/// How often is looked whether somebody has come back, in another way than by a message.
const LOOK: Duration = Duration::from_millis(20);

/// What a person does: open the page, and where the browser runs elsewhere, paste what its address
/// line shows at the end.
pub struct Invitation<'a> {
    /// The page. Whoever opens it signs in for this program, and whoever reads it can end the
    /// sign-in: it is for nobody but the person.
    pub page: &'a str,
    /// Takes what is pasted, also in another thread.
    pub paste: Paste,
}

/// Without the page: what makes an answer this sign-in's stands in it.
impl fmt::Debug for Invitation<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Invitation").finish_non_exhaustive()
    }
}

/// Takes the address that a browser could not reach.
#[derive(Debug, Clone)]
pub struct Paste {
    expected: Arc<Expected>,
    found: mpsc::Sender<Outcome>,
}

impl Paste {
    /// Takes what somebody has pasted, or says what is wrong with it: then they can paste again.
    pub fn address(&self, text: &Secret<String>) -> Result<(), OidcError> {
        let outcome = self.expected.read_address(text.expose().trim());
        let outcome = outcome.map_err(|problem| OidcError::Pasted { problem })?;
        // Nobody waits any more: somebody was faster.
        let _sent = self.found.send(outcome);
        Ok(())
    }
}

/// Signs somebody in, within `limit`. `invite` is handed the page to open, and returns at once.
pub fn sign_in(
    channel: &Channel,
    provider: &Provider,
    client: &Client,
    (limit, cancel): (Duration, &Cancel),
    invite: &mut dyn FnMut(&Invitation<'_>),
) -> Result<Tokens, OidcError> {
    let listener = Listener::start().map_err(OidcError::Listen)?;
    let attempt = Attempt::new(provider, listener.address())?;
    let (found, finding) = mpsc::channel();
    let page = attempt.page(provider, client)?;
    let paste = Paste { expected: Arc::clone(&attempt.expected), found: found.clone() };
    invite(&Invitation { page: &page, paste });
    let end = Instant::now() + limit;
    let outcome = loop {
        listener.take_those_who_came(&attempt.expected, &found);
        match finding.recv_timeout(LOOK) {
            Ok(outcome) => break outcome,
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {}
        }
        if cancel.is_cancelled() {
            return Err(OidcError::Cancelled);
        }
        if Instant::now() >= end {
            return Err(OidcError::TimeOver { limit });
        }
    };
    let code = match outcome {
        Outcome::Code(code) => code,
        Outcome::Refused { code, description } => {
            let url = provider.authorization_endpoint()?.to_string();
            return Err(Refusal { url, what: What::Authorization, code, description }.into());
        }
    };
    attempt.redeem(channel, provider, client, &code)
}

/// One sign-in: what only this program knows of it.
struct Attempt {
    expected: Arc<Expected>,
    redirect: String,
    nonce: String,
    verifier: Secret<String>,
}

impl Attempt {
    fn new(provider: &Provider, redirect: String) -> Result<Self, OidcError> {
        let expected = Expected {
            state: random()?,
            issuer: provider.issuer().as_str().to_owned(),
            says_who_it_is: provider.says_who_it_is(),
        };
        let (nonce, verifier) = (random()?, Secret::new(random()?));
        Ok(Self { expected: Arc::new(expected), redirect, nonce, verifier })
    }

    /// Returns the page that the browser goes to.
    fn page(&self, provider: &Provider, client: &Client) -> Result<String, OidcError> {
        let url: EndpointUrl = provider.authorization_endpoint()?;
        let challenge = Digest::of(self.verifier.expose().as_bytes());
        let challenge = URL_SAFE_NO_PAD.encode(challenge.as_bytes());
        let scope = provider.scope(&SCOPES);
        let audience = client.audience.as_deref().filter(|audience| !audience.is_empty());
        let pairs = [
            ("response_type", "code"),
            ("client_id", &client.id),
            ("redirect_uri", &self.redirect),
            ("scope", &scope),
            ("state", &self.expected.state),
            ("nonce", &self.nonce),
            ("code_challenge", &challenge),
            ("code_challenge_method", "S256"),
        ];
        let prompt = provider.wants_consent_for(&scope).then_some(("prompt", "consent"));
        let pairs = pairs.into_iter().chain(audience.map(|audience| ("audience", audience)));
        let pairs = pairs.chain(prompt);
        let uri = url.to_uri();
        let joint = if uri.contains('?') { '&' } else { '?' };
        Ok(format!("{uri}{joint}{}", form::encode(pairs)))
    }

    /// Turns what the browser brought back into tokens.
    fn redeem(
        &self,
        channel: &Channel,
        provider: &Provider,
        client: &Client,
        code: &Secret<String>,
    ) -> Result<Tokens, OidcError> {
        let url = provider.token_endpoint()?;
        let form = Form::default()
            .with("grant_type", "authorization_code")
            .with_secret("code", code)
            .with("redirect_uri", &self.redirect)
            .with_secret("code_verifier", &self.verifier);
        let who = (client, provider.secret_place());
        let answer = answer::ask(channel, &url, form, who, What::Code)?;
        if let Some(token) = &answer.id_token {
            id_token::check(token, provider.issuer(), client, Some(&self.nonce))?;
        }
        Ok(answer.into_tokens(channel))
    }
}

/// Returns 256 bits by chance, as 43 characters (RFC 7636, 4.1).
fn random() -> Result<String, OidcError> {
    let mut bytes = [0_u8; 32];
    getrandom::fill(&mut bytes).map_err(|_error| OidcError::NoRandomness)?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_invitation_does_not_show_what_belongs_to_its_sign_in() {
        let (found, _finding) = mpsc::channel();
        let (state, issuer) = ("s3cr3t".to_owned(), "https://dex.example.com".to_owned());
        let expected = Arc::new(Expected { state, issuer, says_who_it_is: false });
        let page = "https://dex.example.com/auth?state=s3cr3t&nonce=s3cr3t";
        let invitation = Invitation { page, paste: Paste { expected, found } };
        let shown = format!("{invitation:?} {:?}", invitation.paste);
        assert!(!shown.contains("s3cr3t"), "{shown}");
    }
}
