//! Who is calling, and how that was proved.
//!
//! A credential that is wrong is refused; it never makes its bearer "anonymous".

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use dbt_core::secret::Secret;
use hyper::HeaderMap;
use hyper::header::AUTHORIZATION;

use crate::content::BoxFuture;
use crate::limits;

pub mod static_token;

/// For what a method of authentication is valid: the configuration has one list for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// For reading.
    Reads,
    /// For writing and deleting.
    Writes,
}

/// Somebody's name, and the method that proved it: `static-token:static-token`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    /// The method, as in the configuration.
    pub method: &'static str,
    /// The name, unique within the method.
    pub id: String,
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.method, self.id)
    }
}

/// Whoever sent a request: nobody known, or a subject with what it was proved for.
#[derive(Clone, Debug)]
pub struct Caller {
    subject: Option<Subject>,
    scopes: Vec<Scope>,
}

impl Caller {
    /// Returns a caller of whom nothing is known.
    pub const fn anonymous() -> Self {
        Self { subject: None, scopes: Vec::new() }
    }

    /// Says whether nothing is known of the caller.
    pub const fn is_anonymous(&self) -> bool {
        self.subject.is_none()
    }

    /// Says whether the caller's proof is valid for this.
    pub fn is_proven_for(&self, scope: Scope) -> bool {
        self.scopes.contains(&scope)
    }

    /// Returns the subject, if it is known.
    pub const fn subject(&self) -> Option<&Subject> {
        self.subject.as_ref()
    }

    #[cfg(test)]
    pub(crate) fn proven_for_tests(id: &str, scopes: &[Scope]) -> Self {
        let subject = Subject { method: "test", id: id.to_owned() };
        Self { subject: Some(subject), scopes: scopes.to_vec() }
    }
}

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
}

impl Credential {
    /// Reads the credential of a request. Blank ones are none: publishers without credentials
    /// send `Basic Og==` on every request.
    pub fn of(headers: &HeaderMap) -> Result<Option<Self>, BadCredential> {
        let mut lines = headers.get_all(AUTHORIZATION).iter();
        let Some(line) = lines.next() else { return Ok(None) };
        if lines.next().is_some() {
            return Err(BadCredential("there are two `Authorization` headers"));
        }
        if line.len() > limits::CREDENTIAL_BYTES {
            return Err(BadCredential("the credential is too long"));
        }
        let text = line.to_str().map_err(|_error| BadCredential("the credential is not text"))?;
        let (scheme, rest) = text.trim().split_once(' ').unwrap_or((text.trim(), ""));
        let rest = rest.trim();
        if scheme.is_empty() {
            return Ok(None);
        }
        if scheme.eq_ignore_ascii_case("bearer") {
            return Ok((!rest.is_empty()).then(|| Self::Bearer(Secret::new(rest.to_owned()))));
        }
        if scheme.eq_ignore_ascii_case("basic") {
            return Self::basic(rest);
        }
        Err(BadCredential("the scheme of the credential is not supported"))
    }

    fn basic(encoded: &str) -> Result<Option<Self>, BadCredential> {
        let malformed = BadCredential("the `Basic` credential cannot be read");
        let bytes = STANDARD.decode(encoded).map_err(|_error| malformed)?;
        let decoded = Secret::new(String::from_utf8(bytes).map_err(|_error| malformed)?);
        if decoded.expose().is_empty() {
            return Ok(None);
        }
        let (user, password) = decoded.expose().split_once(':').ok_or(malformed)?;
        if user.is_empty() && password.is_empty() {
            return Ok(None);
        }
        let password = Secret::new(password.to_owned());
        Ok(Some(Self::Basic { user: user.to_owned(), password }))
    }
}

/// A method of proving who one is.
pub trait Authenticator: Send + Sync {
    /// Looks at a credential: the subject it proves, or nothing if it proves none.
    fn identify<'a>(&'a self, credential: &'a Credential) -> BoxFuture<'a, Option<Subject>>;

    /// Returns the `WWW-Authenticate` challenge that names this method, without its parameters.
    fn challenge(&self) -> &'static str;
}

/// Every configured method, in order, each with what it is valid for.
#[derive(Default)]
pub struct AnyOf {
    methods: Vec<(Scope, Box<dyn Authenticator>)>,
}

impl AnyOf {
    /// Adds a method.
    pub fn add(&mut self, scope: Scope, method: Box<dyn Authenticator>) {
        self.methods.push((scope, method));
    }

    /// Finds out who sent a request.
    ///
    /// The first method that accepts the credential names the caller; the proof counts for every
    /// scope in which the same subject is accepted.
    pub async fn identify(&self, headers: &HeaderMap) -> Result<Caller, BadCredential> {
        let Some(credential) = Credential::of(headers)? else { return Ok(Caller::anonymous()) };
        let mut caller = Caller::anonymous();
        for (scope, method) in &self.methods {
            let Some(subject) = method.identify(&credential).await else { continue };
            if caller.subject.get_or_insert_with(|| subject.clone()) == &subject {
                caller.scopes.push(*scope);
            }
        }
        if caller.is_anonymous() {
            return Err(BadCredential("the credential is not valid"));
        }
        Ok(caller)
    }

    /// Returns the challenges of the methods that are valid for something, each once.
    pub fn challenges(&self, scope: Scope) -> Vec<&'static str> {
        let mut challenges = Vec::new();
        for (valid_for, method) in &self.methods {
            let challenge = method.challenge();
            if *valid_for == scope && !challenges.contains(&challenge) {
                challenges.push(challenge);
            }
        }
        challenges
    }
}

/// A credential was offered and proves nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadCredential(pub &'static str);

#[cfg(test)]
mod tests {
    use super::*;

    fn credential(lines: &[&str]) -> Result<Option<(String, String)>, BadCredential> {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(AUTHORIZATION, line.parse().unwrap());
        }
        Ok(Credential::of(&headers)?.map(|credential| match credential {
            Credential::Bearer(token) => ("bearer".to_owned(), token.expose().clone()),
            Credential::Basic { user, password } => (user, password.expose().clone()),
        }))
    }

    #[test]
    fn credentials_are_read_in_any_case_and_with_spaces() {
        let bearer = Ok(Some(("bearer".to_owned(), "abc".to_owned())));
        for line in ["Bearer abc", "bearer abc", "BEARER   abc ", " Bearer abc"] {
            assert_eq!(credential(&[line]), bearer, "{line}");
        }
        let basic = Ok(Some(("alice".to_owned(), "a:b".to_owned())));
        assert_eq!(credential(&["basic YWxpY2U6YTpi"]), basic);
    }

    #[test]
    fn blank_credentials_are_none() {
        for line in ["", "Bearer", "Bearer ", "Basic Og==", "Basic ", "Basic"] {
            assert_eq!(credential(&[line]), Ok(None), "{line:?}");
        }
        assert_eq!(credential(&[]), Ok(None));
    }

    #[test]
    fn strange_credentials_are_refused_not_ignored() {
        let long = format!("Bearer {}", ".".repeat(limits::CREDENTIAL_BYTES));
        for lines in [
            &["Bearer a", "Bearer a"][..],
            &["Bearer\tabc"],
            &["Digest abc"],
            &["Basic !!!"],
            &["Basic YWxpY2U="],
            &[&long],
        ] {
            assert!(credential(lines).is_err(), "{lines:?}");
        }
    }
}
