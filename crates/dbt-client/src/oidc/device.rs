//! Signing in on a machine without a browser: somebody confirms a code elsewhere (RFC 8628).

use std::time::Duration;

use dbt_core::secret::Secret;

use super::answer;
use super::error::{ErrorCode, OidcError, Refusal, What, harmless};
use super::form::{FORM, Form};
use super::{Channel, Client, Pace, Provider, Tokens, id_token};
use crate::source::{Class, EndpointUrl};

/// How a confirmed code is turned into a token.
const GRANT: &str = "urn:ietf:params:oauth:grant-type:device_code";

/// What is asked for along with it, as the reference's installer has it.
const SCOPES: [&str; 5] = ["openid", "profile", "email", "groups", "offline_access"];

/// How often is asked where the provider does not say (RFC 8628, 3.2).
const USUAL_INTERVAL: Duration = Duration::from_secs(5);

/// How much slower after `slow_down` (RFC 8628, 3.5).
const SLOWER_BY: Duration = Duration::from_secs(5);

/// The longest pause.
const LONGEST_INTERVAL: Duration = Duration::from_mins(1);

/// How long somebody is waited for at most, whatever the provider says.
const LONGEST_WAIT: Duration = Duration::from_mins(30);

/// The longest code that a person types.
const CODE_LIMIT: usize = 64;

/// What a person does elsewhere: go to a page and type the code, or go to the complete one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invitation {
    /// The page.
    pub page: String,
    /// What is typed there.
    pub code: String,
    /// The page with the code in it, for links and QR codes; the code is compared there.
    pub complete_page: Option<String>,
    /// How long that is possible.
    pub lasts: Duration,
}

/// What a provider says to begin with.
#[derive(serde::Deserialize)]
struct Begun {
    device_code: Secret<String>,
    user_code: String,
    /// Google has another name for it.
    #[serde(alias = "verification_url")]
    verification_uri: String,
    #[serde(default)]
    verification_uri_complete: Option<String>,
    expires_in: u64,
    #[serde(default)]
    interval: Option<u64>,
}

/// Signs somebody in. `invite` is handed what to show; then the provider is asked until somebody
/// has confirmed the code, or said no, or its time is over.
pub fn sign_in(
    channel: &Channel,
    provider: &Provider,
    client: &Client,
    pace: &dyn Pace,
    invite: &mut dyn FnMut(&Invitation),
) -> Result<Tokens, OidcError> {
    let url = provider.token_endpoint()?;
    let begun = begin(channel, provider, client)?;
    let invitation = begun.invitation(provider)?;
    let begun_at = pace.elapsed();
    invite(&invitation);
    let mut interval = begun.interval();
    loop {
        let waited = pace.elapsed().saturating_sub(begun_at);
        if waited.saturating_add(interval) >= invitation.lasts {
            return Err(OidcError::TimeOver { limit: invitation.lasts });
        }
        if !pace.wait(interval) {
            return Err(OidcError::Cancelled);
        }
        match ask(channel, provider, client, &url, &begun.device_code) {
            Err(OidcError::Refused(Refusal { code: ErrorCode::AuthorizationPending, .. })) => {}
            Err(OidcError::Refused(Refusal { code: ErrorCode::SlowDown, .. })) => {
                interval = (interval + SLOWER_BY).min(LONGEST_INTERVAL);
            }
            // Somebody may be confirming it in this moment: an outage ends nothing but is asked
            // less often (RFC 8628, 3.5).
            Err(error) if error.class() == Class::Outage => {
                interval = (interval * 2).min(LONGEST_INTERVAL);
            }
            outcome => return outcome,
        }
    }
}

fn begin(channel: &Channel, provider: &Provider, client: &Client) -> Result<Begun, OidcError> {
    let url = provider.device_endpoint()?;
    let place = provider.secret_place();
    let form = Form::default()
        .with("scope", &provider.scope(&SCOPES))
        .with_if_any("audience", client.audience.as_deref())
        .by(client, place)
        // Its place is here even for who says it in a header, too.
        .with("client_id", &client.id);
    let reply = channel.post(&url, (FORM, form.encoded()), place.header(client), Vec::new())?;
    let body = answer::accepted(reply, &url, What::DeviceCode, &form)?;
    let problem = "it does not say what code to confirm, where, and for how long";
    answer::object(body.expose())
        .ok_or_else(|| OidcError::Malformed { url: url.to_string(), problem })
}

fn ask(
    channel: &Channel,
    provider: &Provider,
    client: &Client,
    url: &EndpointUrl,
    code: &Secret<String>,
) -> Result<Tokens, OidcError> {
    let form = Form::default().with("grant_type", GRANT).with_secret("device_code", code);
    let who = (client, provider.secret_place());
    let answer = answer::ask(channel, url, form, who, What::Device)?;
    if let Some(token) = &answer.id_token {
        id_token::check(token, provider.issuer(), client, None)?;
    }
    Ok(answer.into_tokens(channel))
}

impl Begun {
    /// Returns what is shown, if it can be: it comes from outside, and people follow it.
    fn invitation(&self, provider: &Provider) -> Result<Invitation, OidcError> {
        let page = provider.page("verification_uri", &self.verification_uri)?;
        let complete = self.verification_uri_complete.as_ref();
        let complete = complete.map(|url| provider.page("verification_uri_complete", url));
        let code = harmless(&self.user_code, CODE_LIMIT);
        if code != self.user_code || code.is_empty() {
            let url = provider.issuer().as_str().to_owned();
            return Err(OidcError::Malformed { url, problem: "its code cannot be typed" });
        }
        Ok(Invitation {
            page: page.to_uri(),
            code,
            complete_page: complete.transpose()?.map(|url| url.to_uri()),
            lasts: Duration::from_secs(self.expires_in).min(LONGEST_WAIT),
        })
    }

    fn interval(&self) -> Duration {
        let said = self.interval.filter(|seconds| *seconds > 0).map(Duration::from_secs);
        said.unwrap_or(USUAL_INTERVAL).min(LONGEST_INTERVAL)
    }
}
