//! What a request offers as proof, read from its headers and not yet believed.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use dbt_core::secret::Secret;
use hyper::HeaderMap;
use hyper::header::{AUTHORIZATION, HeaderName, HeaderValue};

use super::jwt::Jwt;
use super::keys::Algorithm;
use super::{BadCredential, Why};
use crate::limits;
use crate::tokens::text::{self, Form};

/// Where the reference's clients put what an ssh-agent signed.
const TOKEN: HeaderName = HeaderName::from_static("token");

/// What a request offers as proof.
#[derive(Debug)]
pub enum Credential {
    /// `Authorization: Bearer`.
    Bearer(Secret<String>),
    /// `Authorization: Basic`.
    Basic {
        /// The user's name.
        user: String,
        /// The password.
        password: Secret<String>,
    },
    /// `Token`.
    SshToken(Secret<String>),
}

impl Credential {
    /// Reads the credentials of a request. Blank ones are none: publishers without credentials
    /// send `Basic Og==` on every request.
    pub fn all_of(headers: &HeaderMap) -> Result<Vec<Self>, BadCredential> {
        let token =
            one_line(headers, &TOKEN)?.map(|text| Self::SshToken(Secret::new(text.to_owned())));
        let authorization = match one_line(headers, &AUTHORIZATION)? {
            Some(text) => Self::of_authorization(text)?,
            None => None,
        };
        Ok(token.into_iter().chain(authorization).collect())
    }

    /// Returns what may be a token: what came as one, or as the password of a program that knows
    /// nothing else.
    pub const fn token(&self) -> Option<&Secret<String>> {
        match self {
            Self::Bearer(token) => Some(token),
            Self::Basic { user: _, password } => Some(password),
            Self::SshToken(_) => None,
        }
    }

    /// Names the kind of credential that a request shows, without looking at it.
    pub fn scheme(headers: &HeaderMap) -> &'static str {
        let text = headers.get(AUTHORIZATION).map(HeaderValue::as_bytes).unwrap_or_default();
        let begins =
            |word: &[u8]| text.get(..word.len()).is_some_and(|it| it.eq_ignore_ascii_case(word));
        if headers.contains_key(TOKEN) {
            "token"
        } else if begins(b"bearer ") {
            "bearer"
        } else if begins(b"basic ") {
            "basic"
        } else {
            "other"
        }
    }

    /// Says whether it is a token with a signature, which is not to be guessed, and nobody's
    /// password.
    pub fn is_signed_token(&self) -> bool {
        match self {
            Self::SshToken(_) => true,
            Self::Bearer(token) | Self::Basic { user: _, password: token } => {
                Jwt::parse(token.expose(), &Algorithm::ALL).is_ok()
            }
        }
    }

    /// Says whether a token of this server's own is in it, or how one begins, wherever that stands: then
    /// it is for nobody else to see.
    pub fn is_meant_as_api_token(&self) -> bool {
        let (user, secret) = match self {
            Self::Bearer(token) | Self::SshToken(token) => ("", token.expose()),
            Self::Basic { user, password } => (user.as_str(), password.expose()),
        };
        let begins = |text: &str| text::form(text) != Form::Other;
        // What is signed has the letters of one by chance now and then.
        begins(user)
            || begins(secret)
            || text::has_token(user)
            || text::has_token(secret) && !self.is_signed_token()
    }

    /// Says whether it can be nobody's password, so that nobody compares it with one, and no
    /// directory gets to see it.
    pub fn is_nobodys_password(&self) -> bool {
        self.is_meant_as_api_token() || self.is_signed_token()
    }

    fn of_authorization(line: &str) -> Result<Option<Self>, BadCredential> {
        let (scheme, rest) = line.split_once(' ').unwrap_or((line, ""));
        let rest = rest.trim();
        if scheme.eq_ignore_ascii_case("bearer") {
            return Ok((!rest.is_empty()).then(|| Self::Bearer(Secret::new(rest.to_owned()))));
        }
        if scheme.eq_ignore_ascii_case("basic") {
            return Self::basic(rest);
        }
        Err(malformed("the scheme of the credential is not supported"))
    }

    fn basic(encoded: &str) -> Result<Option<Self>, BadCredential> {
        let unreadable = || malformed("the `Basic` credential cannot be read");
        let bytes = STANDARD.decode(encoded).map_err(|_error| unreadable())?;
        let decoded = Secret::new(String::from_utf8(bytes).map_err(|_error| unreadable())?);
        if decoded.expose().is_empty() {
            return Ok(None);
        }
        let (user, password) = decoded.expose().split_once(':').ok_or_else(unreadable)?;
        if user.is_empty() && password.is_empty() {
            return Ok(None);
        }
        let password = Secret::new(password.to_owned());
        Ok(Some(Self::Basic { user: user.to_owned(), password }))
    }
}

fn malformed(told: &'static str) -> BadCredential {
    BadCredential::new(told).because(Why::Malformed)
}

/// Returns the one line of a header, without the space around it, if it is not blank.
fn one_line<'a>(
    headers: &'a HeaderMap,
    name: &HeaderName,
) -> Result<Option<&'a str>, BadCredential> {
    let mut lines = headers.get_all(name).iter();
    let line: Option<&HeaderValue> = lines.next();
    let Some(line) = line else { return Ok(None) };
    if lines.next().is_some() {
        return Err(malformed("a credential is sent twice"));
    }
    if line.len() > limits::CREDENTIAL_BYTES {
        return Err(malformed("the credential is too long"));
    }
    let not_text = |_error| malformed("the credential is not text");
    let text = line.to_str().map_err(not_text)?.trim();
    Ok((!text.is_empty()).then_some(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(lines: &[(HeaderName, &str)]) -> Result<Vec<(String, String)>, BadCredential> {
        let mut headers = HeaderMap::new();
        for (name, line) in lines {
            headers.append(name, line.parse().unwrap());
        }
        let pair = |credential| match credential {
            Credential::Bearer(token) => ("bearer".to_owned(), token.expose().clone()),
            Credential::SshToken(token) => ("token".to_owned(), token.expose().clone()),
            Credential::Basic { user, password } => (user, password.expose().clone()),
        };
        Ok(Credential::all_of(&headers)?.into_iter().map(pair).collect())
    }

    fn authorization(line: &str) -> Result<Vec<(String, String)>, BadCredential> {
        read(&[(AUTHORIZATION, line)])
    }

    fn pair(a: &str, b: &str) -> (String, String) {
        (a.to_owned(), b.to_owned())
    }

    #[test]
    fn a_signed_token_with_the_letters_of_one_of_ours_in_it_is_no_mistyped_one() {
        let part = |text: &str| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(text);
        let letters = format!("AAdbt_{}AA", "x".repeat(32));
        let signed = format!("{}.{}.{letters}", part(r#"{"alg":"RS256"}"#), part("{}"));
        let secret = || Secret::new(signed.clone());
        for credential in [
            Credential::Bearer(secret()),
            Credential::SshToken(secret()),
            Credential::Basic { user: "x".to_owned(), password: secret() },
        ] {
            assert!(credential.is_signed_token() && !credential.is_meant_as_api_token());
        }
        assert!(Credential::Bearer(Secret::new(letters)).is_meant_as_api_token());
    }

    #[test]
    fn credentials_are_read_in_any_case_and_with_spaces() {
        for line in ["Bearer abc", "bearer abc", "BEARER   abc ", " Bearer abc"] {
            assert_eq!(authorization(line), Ok(vec![pair("bearer", "abc")]), "{line}");
        }
        assert_eq!(authorization("basic YWxpY2U6YTpi"), Ok(vec![pair("alice", "a:b")]));
    }

    #[test]
    fn a_request_may_offer_two_kinds() {
        let both = read(&[(AUTHORIZATION, "Basic YWxpY2U6YTpi"), (TOKEN, "a.b.c")]);
        assert_eq!(both, Ok(vec![pair("token", "a.b.c"), pair("alice", "a:b")]));
    }

    #[test]
    fn blank_credentials_are_none() {
        for line in ["", "Bearer", "Bearer ", "Basic Og==", "Basic ", "Basic"] {
            assert_eq!(authorization(line), Ok(Vec::new()), "{line:?}");
        }
        assert_eq!(read(&[(TOKEN, " ")]), Ok(Vec::new()));
        assert_eq!(read(&[]), Ok(Vec::new()));
    }

    #[test]
    fn strange_credentials_are_refused_not_ignored() {
        let long = format!("Bearer {}", ".".repeat(limits::CREDENTIAL_BYTES));
        for lines in [
            &[(AUTHORIZATION, "Bearer a"), (AUTHORIZATION, "Bearer a")][..],
            &[(TOKEN, "a"), (TOKEN, "a")],
            &[(AUTHORIZATION, "Bearer\tabc")],
            &[(AUTHORIZATION, "Digest abc")],
            &[(AUTHORIZATION, "Basic !!!")],
            &[(AUTHORIZATION, "Basic YWxpY2U=")],
            &[(AUTHORIZATION, &long)],
            &[(TOKEN, &long)],
        ] {
            assert!(read(lines).is_err(), "{lines:?}");
        }
    }
}
