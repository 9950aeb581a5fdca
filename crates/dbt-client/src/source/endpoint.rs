//! Endpoints: small questions to identity providers, and to what a server answers besides files.
//!
//! A question may hold secrets and so may its answer. So redirects are not followed, nothing is
//! repeated, and nothing goes without TLS but to this very machine.

use std::fmt;
use std::io::Cursor;
use std::str::FromStr;

use dbt_core::secret::Secret;
use ureq::http::header::{self, HeaderName};
use ureq::http::{HeaderMap, HeaderValue, Method};

use super::body;
use super::connector::{Call as Request, Connector, Reply as Head, secret_header};
use super::error::{Failure, FetchError, RedirectProblem};
use super::http::{Failed, failure_of_status};
use super::patience::Patience;
use super::target::Target;
use crate::url::{Origin, Scheme, without_secrets};

/// Where questions are asked: `https`, or `http` on this machine. It may have a query, which is not
/// shown.
#[derive(Clone, PartialEq, Eq)]
pub struct EndpointUrl(Target);

/// The longest URL that is accepted.
const URL_LIMIT: usize = 8192;

impl EndpointUrl {
    /// Returns what a server answers at a path of its own, which begins with a slash.
    pub fn of_server(origin: &Origin, path: &str) -> Result<Self, InvalidEndpoint> {
        format!("{origin}{path}").parse()
    }

    /// Returns scheme, host and port.
    pub const fn origin(&self) -> &Origin {
        self.0.origin()
    }

    /// Returns the escaped path.
    pub fn path(&self) -> &str {
        self.0.path()
    }

    /// Returns all of it, query included: for whoever goes there, and for no log.
    pub fn to_uri(&self) -> String {
        self.0.uri()
    }
}

impl FromStr for EndpointUrl {
    type Err = InvalidEndpoint;

    fn from_str(text: &str) -> Result<Self, InvalidEndpoint> {
        let refuse = |reason| InvalidEndpoint { shown: without_secrets(text), reason };
        if text.len() > URL_LIMIT {
            return Err(refuse("it is too long"));
        }
        if text.contains('#') {
            return Err(refuse("a fragment (`#…`) must not stand in it"));
        }
        let target = Target::of_endpoint(text).map_err(|problem| {
            if matches!(problem, RedirectProblem::UserInfo) {
                return refuse("a user name or password must not stand in it");
            }
            if matches!(problem, RedirectProblem::Scheme(_)) {
                return refuse("it begins neither with `https://` nor with `http://`");
            }
            refuse("it is no URL")
        })?;
        let origin = target.origin();
        if origin.scheme() == Scheme::Http && !origin.is_loopback() {
            return Err(refuse("without TLS (`https`) only servers on this machine are asked"));
        }
        Ok(Self(target))
    }
}

/// Without the query.
impl fmt::Display for EndpointUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for EndpointUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EndpointUrl({self})")
    }
}

/// Some text is no place where questions are asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{shown}` is not the URL of an endpoint: {reason}")]
pub struct InvalidEndpoint {
    shown: String,
    reason: &'static str,
}

impl InvalidEndpoint {
    /// Says that a query stands where none may.
    pub(crate) fn with_query(url: &EndpointUrl) -> Self {
        Self { shown: url.to_string(), reason: "a query (`?…`) must not stand in it" }
    }
}

/// One question.
pub(crate) struct Call<'a> {
    pub(crate) url: &'a EndpointUrl,
    /// What is posted, and what it is; without it the question is a `GET`.
    pub(crate) body: Option<(&'static str, Secret<String>)>,
    /// The value of `Authorization`.
    pub(crate) authorization: Option<Secret<String>>,
    /// Other headers.
    pub(crate) headers: Vec<(&'static str, String)>,
    /// The most bytes of the answer.
    pub(crate) limit: u64,
    pub(crate) patience: &'a Patience,
}

/// One answer, whatever its status.
pub(crate) struct Reply {
    /// What was answered. With the status of an answer it is no page for people.
    pub(crate) body: Secret<Vec<u8>>,
    /// What the status means, unless it is 200 or 201.
    failure: Option<Failed>,
    url: EndpointUrl,
}

impl Reply {
    /// Returns the error that the status is, if it is one.
    pub(crate) fn into_result(self) -> Result<Secret<Vec<u8>>, FetchError> {
        match self.failure {
            None => Ok(self.body),
            Some(failed) => Err(failed.into_error(ACTION, &self.url.0)),
        }
    }

    /// Says whether the status is that of an answer.
    pub(crate) const fn is_success(&self) -> bool {
        self.failure.is_none()
    }
}

/// What is done to an endpoint, in errors.
const ACTION: &str = "ask";

impl Call<'_> {
    /// Asks, once.
    pub(crate) fn send(self, connector: &Connector) -> Result<Reply, FetchError> {
        let url = self.url.clone();
        self.answered(connector).map_err(|failed| failed.into_error(ACTION, &url.0))
    }

    fn answered(self, connector: &Connector) -> Result<Reply, Failed> {
        let headers = self.head()?;
        let (target, patience) = (&self.url.0, self.patience);
        let mut head = match &self.body {
            None => connector.send(&Request { method: Method::GET, target, headers, patience })?,
            Some((_, body)) => {
                let call = Request { method: Method::POST, target, headers, patience };
                let length = body.expose().len() as u64;
                connector.send_body(&call, &mut Cursor::new(body.expose()), length)?
            }
        };
        let read = head.body.read_all(self.limit).map(Secret::new);
        if let Some(failure) = failure_of(&head) {
            let failed = Failed::after(&head, failure);
            let Ok(body) = read else { return Err(failed) };
            return Ok(Reply { body, failure: Some(failed), url: self.url.clone() });
        }
        let body = read.map_err(|failure| Failed::after(&head, failure))?;
        if body::is_html(body.expose()) {
            return Err(self.page(&head));
        }
        Ok(Reply { body, failure: None, url: self.url.clone() })
    }

    fn head(&self) -> Result<HeaderMap, Failure> {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
        if let Some((content_type, body)) = &self.body {
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from(body.expose().len()));
        }
        if let Some(value) = &self.authorization {
            headers.insert(header::AUTHORIZATION, secret_header(value.expose())?);
        }
        for (name, value) in &self.headers {
            let value = HeaderValue::from_str(value)
                .map_err(|error| Failure::Protocol(error.to_string()))?;
            headers.insert(HeaderName::from_static(name), value);
        }
        Ok(headers)
    }

    /// A page for people where data is due: most likely the sign-in page of a network.
    fn page(&self, head: &Head) -> Failed {
        let content_type = head.header("content-type").unwrap_or("without a type");
        let content_type = content_type.chars().take(100).collect();
        let host = self.url.origin().host().to_owned();
        Failed::after(head, Failure::Html { host, content_type })
    }
}

/// Returns what a status means that is no answer. Nothing here is a file or a directory.
fn failure_of(head: &Head) -> Option<Failure> {
    match head.status {
        200 | 201 => None,
        404 | 410 => Some(Failure::Status { status: head.status }),
        _ => Some(failure_of_status(head)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_read_with_their_query_and_shown_without() {
        let url: EndpointUrl = "HTTPS://Login.example.com:443/t/token?p=s3cr3t".parse().unwrap();
        assert_eq!(url.to_uri(), "https://login.example.com/t/token?p=s3cr3t");
        assert_eq!(format!("{url} {url:?}").matches("s3cr3t").count(), 0);
        assert_eq!(url.to_string(), "https://login.example.com/t/token");
        for here in ["http://127.0.0.1:5556/dex", "http://localhost:1", "http://[::1]/x"] {
            here.parse::<EndpointUrl>().unwrap();
        }
    }

    #[test]
    fn what_would_be_asked_without_tls_or_is_no_url_is_refused() {
        for (text, reason) in [
            (
                "http://dex.example.com",
                "without TLS (`https`) only servers on this machine are asked",
            ),
            ("https://alice:hunter2@h/", "a user name or password must not stand in it"),
            ("https://h/#hunter2", "a fragment (`#…`) must not stand in it"),
            ("file:///etc/passwd", "it begins neither with `https://` nor with `http://`"),
            ("dex.example.com", "it is no URL"),
            ("https:/h", "it is no URL"),
            ("https://h\\@evil", "it is no URL"),
            ("https://h/\r\nx", "it is no URL"),
            ("", "it is no URL"),
        ] {
            let words = text.parse::<EndpointUrl>().unwrap_err().to_string();
            assert!(words.ends_with(reason) && !words.contains("hunter2"), "{words}");
        }
    }
}
