//! What token endpoints answer (RFC 6749, 5; RFC 8693, 2.2), read strictly: what is missing or is
//! something else than it must be is an error, and never an empty token.

use dbt_core::secret::Secret;

use super::error::{ErrorCode, OidcError, Refusal, What, harmless};
use super::form::{FORM, Form, SecretPlace};
use super::tokens::is_token;
use super::{Channel, Client, Tokens};
use crate::source::{EndpointReply, EndpointUrl, Failure};

/// The longest words of a provider that are repeated.
const WORDS_LIMIT: usize = 200;

/// A token endpoint's good answer.
#[derive(serde::Deserialize)]
pub(super) struct TokenAnswer {
    pub(super) access_token: Secret<String>,
    pub(super) token_type: String,
    #[serde(default)]
    pub(super) issued_token_type: Option<String>,
    #[serde(default)]
    pub(super) expires_in: Option<u64>,
    #[serde(default)]
    pub(super) refresh_token: Option<Secret<String>>,
    #[serde(default)]
    pub(super) id_token: Option<Secret<String>>,
}

/// A refusal as it is written.
#[derive(serde::Deserialize)]
struct Refused {
    error: String,
    /// Words; what is something else takes nothing from the refusal.
    #[serde(default)]
    error_description: serde_json::Value,
}

/// Asks a token endpoint.
pub(super) fn ask(
    channel: &Channel,
    url: &EndpointUrl,
    form: Form,
    (client, place): (&Client, SecretPlace),
    what: What,
) -> Result<TokenAnswer, OidcError> {
    let form = form.by(client, place);
    let body = (FORM, form.encoded());
    let reply = channel.post(url, body, place.header(client), Vec::new())?;
    let reply = accepted(reply, url, what, &form)?;
    TokenAnswer::read(reply.expose(), url)
}

/// Reads a JSON object; a list of the same values is none, although the parser would take it.
///
/// What the parser says is not handed on: it quotes what it did not expect.
pub(super) fn object<T: serde::de::DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    let is_object = bytes.trim_ascii_start().first() == Some(&b'{');
    if is_object { serde_json::from_slice(bytes).ok() } else { None }
}

/// Returns a good answer's body. What says why it is none is an error of its own, whatever its
/// status: some providers refuse with 200.
pub(super) fn accepted(
    reply: EndpointReply,
    url: &EndpointUrl,
    what: What,
    form: &Form,
) -> Result<Secret<Vec<u8>>, OidcError> {
    if let Some(Refused { error, error_description }) = object(reply.body.expose()) {
        let words = error_description.as_str();
        let words = words.map(|words| harmless(&form.hide_in(words), WORDS_LIMIT));
        let description = words.filter(|words| !words.is_empty());
        let code = ErrorCode::of(&form.hide_in(&error));
        return Err(Refusal { url: url.to_string(), what, code, description }.into());
    }
    let is_silent = reply.body.expose().trim_ascii().is_empty();
    reply.into_result().map_err(|error| {
        let is_no = is_silent && matches!(error.failure(), Failure::Status { status: 400 });
        if what != What::Renewal || !is_no {
            return error.into();
        }
        // Some say no more than that of a session that has ended.
        let (url, code) = (url.to_string(), ErrorCode::InvalidGrant);
        Refusal { url, what, code, description: None }.into()
    })
}

impl TokenAnswer {
    fn read(body: &[u8], url: &EndpointUrl) -> Result<Self, OidcError> {
        let malformed = |problem| OidcError::Malformed { url: url.to_string(), problem };
        let answer: Self = object(body).ok_or_else(|| {
            malformed("it is not the JSON object with an `access_token` that it must be")
        })?;
        // “N_A” stands for a token that is no access token (RFC 8693, 2.2.1).
        if !["bearer", "n_a"].iter().any(|known| answer.token_type.eq_ignore_ascii_case(known)) {
            return Err(malformed("its `token_type` is not `Bearer`"));
        }
        let tokens = [Some(&answer.access_token), answer.id_token.as_ref()];
        if !tokens.into_iter().flatten().chain(&answer.refresh_token).all(is_token) {
            return Err(malformed(
                "a token in it is empty, too long or has characters no token has",
            ));
        }
        Ok(answer)
    }

    /// Returns what is kept: the ID token is what a server is shown, if there is one.
    pub(super) fn into_tokens(self, channel: &Channel) -> Tokens {
        let received = channel.now();
        let tokens = match self.id_token {
            // How long the access token is good says nothing about this one.
            Some(id_token) if says_its_end(&id_token) => {
                Tokens::for_seconds(id_token, None, received)
            }
            Some(id_token) => Tokens::for_seconds(id_token, self.expires_in, received),
            None => Tokens::for_seconds(self.access_token, self.expires_in, received),
        };
        tokens.renewed_by(self.refresh_token)
    }
}

fn says_its_end(token: &Secret<String>) -> bool {
    super::UnverifiedClaims::of(token).is_some_and(|claims| claims.time("exp").is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: &str) -> Result<TokenAnswer, String> {
        let url: EndpointUrl = "https://dex.example.com/token".parse().unwrap();
        TokenAnswer::read(body.as_bytes(), &url).map_err(|error| error.to_string())
    }

    #[test]
    fn an_answer_is_read_as_providers_give_it() {
        let answer = read(
            r#"{"access_token":"s3cr3t","issued_token_type":"urn:x","token_type":"bearer",
                "expires_in":86399,"scope":"openid","not-before-policy":0}"#,
        );
        let answer = answer.unwrap();
        assert_eq!(answer.access_token.expose(), "s3cr3t");
        assert_eq!((answer.expires_in, answer.refresh_token), (Some(86399), None));
        read(r#"{"access_token":"a","token_type":"N_A","id_token":null}"#).unwrap();
    }

    #[test]
    fn what_is_no_answer_is_never_an_empty_token_and_is_not_repeated() {
        let no_object = "it is not the JSON object with an `access_token` that it must be";
        let no_bearer = "its `token_type` is not `Bearer`";
        let no_token = "a token in it is empty, too long or has characters no token has";
        for (body, problem) in [
            ("", no_object),
            ("s3cr3t", no_object),
            (r#"["s3cr3t"]"#, no_object),
            (r#"["s3cr3t", "bearer", null, 60, null, null]"#, no_object),
            (r#"{"token_type":"bearer"}"#, no_object),
            (r#"{"access_token":7,"token_type":"bearer"}"#, no_object),
            (r#"{"access_token":"a","token_type":"bearer","expires_in":"s3cr3t"}"#, no_object),
            (r#"{"access_token":"a","token_type":"bearer","expires_in":-1}"#, no_object),
            (r#"{"access_token":"a","access_token":"b","token_type":"bearer"}"#, no_object),
            (r#"{"access_token":"a"}"#, no_object),
            (r#"{"access_token":"a","token_type":"DPoP"}"#, no_bearer),
            (r#"{"access_token":"","token_type":"bearer"}"#, no_token),
            (r#"{"access_token":"a b","token_type":"bearer"}"#, no_token),
            (r#"{"access_token":"a\r\nb","token_type":"bearer"}"#, no_token),
            (r#"{"access_token":"a","id_token":"","token_type":"bearer"}"#, no_token),
            (r#"{"access_token":"a","refresh_token":"\u0000","token_type":"bearer"}"#, no_token),
        ] {
            let words = read(body).map(|_answer| ()).unwrap_err();
            let expected =
                format!("the answer of `https://dex.example.com/token` cannot be used: {problem}");
            assert_eq!(words, expected, "{body}");
        }
        let long = format!(r#"{{"access_token":"{}","token_type":"bearer"}}"#, "a".repeat(40_000));
        assert!(read(&long).is_err());
    }
}
