//! One question to a service that gives credentials.

use std::io::Cursor;
use std::sync::Arc;

use dbt_core::digest::Digest;
use dbt_core::secret::Secret;
use ureq::http::header::{self, HeaderName};
use ureq::http::{HeaderMap, HeaderValue, Method};

use super::sign::{Scope, sign};
use super::{AwsError, Keys};
use crate::source::connector::{Call, Connector, secret_header};
use crate::source::error::{Failure, FetchError};
use crate::source::patience::Patience;
use crate::source::target::Target;

/// The most bytes of an answer.
const LIMIT: u64 = 256 * 1024;

/// One question.
pub(super) struct Question<'a> {
    /// Who is asked, for people.
    pub(super) who: &'a str,
    pub(super) method: Method,
    pub(super) url: &'a str,
    /// Headers that may hold secrets.
    pub(super) headers: Vec<(&'static str, Secret<String>)>,
    /// What is sent, and what it is.
    pub(super) body: Option<(&'static str, Secret<String>)>,
    /// Who asks, where that must be proved.
    pub(super) signed: Option<(&'a Keys, Scope<'a>)>,
}

/// One answer, whatever its status but those of an outage.
pub(super) struct Said {
    pub(super) status: u16,
    pub(super) body: Secret<Vec<u8>>,
}

impl Said {
    /// Reads it as JSON, if it is an answer.
    pub(super) fn json<T: serde::de::DeserializeOwned>(&self, who: &str) -> Result<T, AwsError> {
        let none = || AwsError::NoCredentials { who: who.to_owned() };
        if self.status != 200 {
            return Err(AwsError::Refused {
                who: who.to_owned(),
                code: self.status.to_string(),
                message: String::new(),
            });
        }
        serde_json::from_slice(self.body.expose()).map_err(|_error| none())
    }
}

impl Question<'_> {
    /// Begins one that reads.
    pub(super) fn get<'a>(who: &'a str, url: &'a str) -> Question<'a> {
        Question { who, method: Method::GET, url, headers: Vec::new(), body: None, signed: None }
    }

    /// Asks. Somebody who fails is asked once more.
    pub(super) fn ask(&self, connector: &Connector, patience: &Patience) -> Result<Said, AwsError> {
        let target =
            Target::of_endpoint(self.url).map_err(|problem| self.failed(problem.into()))?;
        let once = || self.once(&target, connector, patience);
        match once() {
            Err(failure) if failure.is_passing() => once(),
            outcome => outcome,
        }
        .map_err(|failure| self.failed(failure))
    }

    fn failed(&self, failure: Failure) -> AwsError {
        // The path and the query may hold what nobody should see: hosts of containers know one
        // from another by them.
        let target = Target::of_endpoint(self.url);
        let shown = target.map_or_else(|_no_url| self.who.to_owned(), |it| it.origin().to_string());
        let source = Arc::new(FetchError::new("ask", shown, failure));
        AwsError::Asked { who: self.who.to_owned(), source }
    }

    fn once(
        &self,
        target: &Target,
        connector: &Connector,
        patience: &Patience,
    ) -> Result<Said, Failure> {
        let mut headers = HeaderMap::new();
        for (name, value) in &self.headers {
            headers.insert(HeaderName::from_static(name), secret_header(value.expose())?);
        }
        let body = self.body.as_ref().map(|(_kind, body)| body.expose().as_bytes());
        let body = body.unwrap_or_default();
        if let Some((kind, _body)) = &self.body {
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
        }
        if let Some((keys, scope)) = self.signed {
            sign(keys, scope, &self.method, target, &mut headers, &Digest::of(body))?;
        }
        let sends = self.body.is_some() || self.method != Method::GET;
        if sends {
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from(body.len()));
        }
        let call = Call { method: self.method.clone(), target, headers, patience };
        let mut reply = if sends {
            connector.send_body(&call, &mut Cursor::new(body), body.len() as u64)?
        } else {
            connector.send(&call)?
        };
        let body = Secret::new(reply.body.read_all(LIMIT)?);
        match reply.status {
            429 => Err(Failure::Busy { retry_after: None }),
            status @ 500..=599 => Err(Failure::Server { status, retry_after: None }),
            status => Ok(Said { status, body }),
        }
    }
}
