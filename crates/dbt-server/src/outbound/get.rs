//! One question by HTTP, or something small to keep: a small answer, soon, from the very server
//! that was asked.

use std::io;

use dbt_core::secret::Secret;
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, LOCATION, USER_AGENT};
use hyper::http::request::Builder;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::proxy::{Proxies, ProxyError};
use super::tls::Tls;
use super::{SafeUrl, connect};
use crate::limits;

/// Returns what is at a URL.
///
/// Redirects are not followed: whoever may send us elsewhere could send us to any host that only
/// this machine can reach.
pub async fn get(url: &SafeUrl, tls: &Tls, proxies: &Proxies) -> Result<Bytes, GetError> {
    let asking = Request::get(path(url)).header(ACCEPT, "application/json");
    let answer = timeout(limits::ASKING_TIME, at_leisure(url, tls, proxies, asking, String::new()));
    let response = answer.await.map_err(|_over| GetError::Time)??;
    if response.status == StatusCode::OK { Ok(response.body) } else { Err(response.refusal()) }
}

/// Sends a text to a URL to be kept there. Redirects are not followed here either.
pub async fn post(
    url: &SafeUrl,
    tls: &Tls,
    proxies: &Proxies,
    text: String,
) -> Result<(), GetError> {
    let asking = Request::post(path(url)).header(CONTENT_TYPE, "text/plain; charset=utf-8");
    let answer = timeout(limits::ASKING_TIME, at_leisure(url, tls, proxies, asking, text));
    let response = answer.await.map_err(|_over| GetError::Time)??;
    if response.status.is_success() { Ok(()) } else { Err(response.refusal()) }
}

/// Posts a form, and returns the answer, which is one of JSON. `authorization` is what the header of that
/// name says. Redirects are not followed here either.
pub async fn post_form(
    url: &SafeUrl,
    tls: &Tls,
    proxies: &Proxies,
    authorization: Option<&Secret<String>>,
    form: &Secret<String>,
) -> Result<Bytes, GetError> {
    let mut asking = Request::post(path(url))
        .header(ACCEPT, "application/json")
        .header(CONTENT_TYPE, "application/x-www-form-urlencoded");
    if let Some(line) = authorization {
        asking = asking.header(AUTHORIZATION, line.expose());
    }
    let answer =
        timeout(limits::ASKING_TIME, at_leisure(url, tls, proxies, asking, form.expose().clone()));
    let response = answer.await.map_err(|_over| GetError::Time)??;
    if response.status == StatusCode::OK { Ok(response.body) } else { Err(response.refusal()) }
}

fn path(url: &SafeUrl) -> &str {
    url.uri.path_and_query().map_or("/", |path| path.as_str())
}

/// What was answered.
struct Answer {
    status: StatusCode,
    location: Option<String>,
    body: Bytes,
}

impl Answer {
    fn refusal(self) -> GetError {
        GetError::Status { status: self.status.as_u16(), location: self.location }
    }
}

async fn at_leisure(
    url: &SafeUrl,
    tls: &Tls,
    proxies: &Proxies,
    asking: Builder,
    body: String,
) -> Result<Answer, GetError> {
    // What is not secure never leaves this machine.
    let proxy = proxies.for_server(&url.host, url.port).filter(|_proxy| url.secure);
    let stream = match proxy {
        None => connect(&url.host, url.port).await.map_err(GetError::Connect)?,
        Some(proxy) => {
            let of_proxy =
                |source: ProxyError| GetError::Proxy { proxy: proxy.to_string(), source };
            let opened = async {
                let mut stream = connect(&proxy.host, proxy.port).await?;
                proxy.open(&mut stream, &url.host, url.port).await?;
                Ok(stream)
            };
            opened.await.map_err(of_proxy)?
        }
    };
    if url.secure {
        let stream = tls.begin(&url.host, stream).await.map_err(GetError::Tls)?;
        over(stream, url, asking, body).await
    } else {
        over(stream, url, asking, body).await
    }
}

async fn over<S>(
    stream: S,
    url: &SafeUrl,
    asking: Builder,
    body: String,
) -> Result<Answer, GetError>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (mut sender, connection) = http1::Builder::new()
        .max_buf_size(limits::HEAD_BYTES)
        .max_headers(limits::HEADER_LINES)
        .handshake(TokioIo::new(stream))
        .await?;
    // Ends the connection with this function, however that ends.
    let mut connections = JoinSet::new();
    connections.spawn(connection);
    let authority = url.uri.authority().map_or(url.host.as_str(), |authority| authority.as_str());
    let request = asking
        .header(HOST, authority)
        .header(USER_AGENT, concat!("reposerver/", env!("CARGO_PKG_VERSION")))
        .body(Full::new(Bytes::from(body)))
        .map_err(io::Error::other)
        .map_err(GetError::Connect)?;
    let response = sender.send_request(request).await?;
    let status = response.status();
    let location = response.headers().get(LOCATION).and_then(|value| value.to_str().ok());
    let location = location.map(|text| text.chars().take(200).collect());
    if !status.is_success() {
        return Ok(Answer { status, location, body: Bytes::new() });
    }
    let body = Limited::new(response.into_body(), limits::ANSWER_BYTES).collect().await;
    let body = body.map_err(too_large)?.to_bytes();
    Ok(Answer { status, location, body })
}

fn too_large(error: Box<dyn std::error::Error + Send + Sync>) -> GetError {
    if error.is::<LengthLimitError>() {
        return GetError::TooLarge;
    }
    GetError::Connect(io::Error::other(error))
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum GetError {
    /// Nobody answers, or the connection ended.
    #[error("the connection failed: {0}")]
    Connect(#[source] io::Error),
    /// The proxy did not open the connection.
    #[error("the proxy `{proxy}` failed: {source}")]
    Proxy {
        /// Which.
        proxy: String,
        /// What it did.
        source: ProxyError,
    },
    /// TLS could not begin.
    #[error("the connection is not secure: {0}")]
    Tls(#[source] io::Error),
    /// What came is no HTTP.
    #[error("the answer is no HTTP: {0}")]
    Http(#[from] hyper::Error),
    /// The answer is something else than the document.
    #[error("the status is {status}{}", to(location.as_deref()))]
    Status {
        /// The status.
        status: u16,
        /// Where a redirect leads.
        location: Option<String>,
    },
    /// The answer is larger than any that is meant.
    #[error("the answer is longer than {} KiB", limits::ANSWER_BYTES / 1024)]
    TooLarge,
    /// It takes too long.
    #[error("there was no answer in {} seconds", limits::ASKING_TIME.as_secs())]
    Time,
}

fn to(location: Option<&str>) -> String {
    location.map_or_else(String::new, |to| {
        format!(", to `{}`, which is not followed", to.escape_debug())
    })
}
