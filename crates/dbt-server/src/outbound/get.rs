//! One question by HTTP: a small answer, soon, from the very server that was asked.

use std::io;

use http_body_util::{BodyExt as _, Empty, LengthLimitError, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::{ACCEPT, HOST, LOCATION, USER_AGENT};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::tls::Tls;
use super::{SafeUrl, connect};
use crate::limits;

/// Returns what is at a URL.
///
/// Redirects are not followed: whoever may send us elsewhere could send us to any host that only
/// this machine can reach.
pub async fn get(url: &SafeUrl, tls: &Tls) -> Result<Bytes, GetError> {
    timeout(limits::ASKING_TIME, at_leisure(url, tls)).await.map_err(|_over| GetError::Time)?
}

async fn at_leisure(url: &SafeUrl, tls: &Tls) -> Result<Bytes, GetError> {
    let stream = connect(&url.host, url.port).await.map_err(GetError::Connect)?;
    if url.secure {
        let stream = tls.begin(&url.host, stream).await.map_err(GetError::Tls)?;
        over(stream, url).await
    } else {
        over(stream, url).await
    }
}

async fn over<S>(stream: S, url: &SafeUrl) -> Result<Bytes, GetError>
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
    let path = url.uri.path_and_query().map_or("/", |path| path.as_str());
    let authority = url.uri.authority().map_or(url.host.as_str(), |authority| authority.as_str());
    let request = Request::get(path)
        .header(HOST, authority)
        .header(ACCEPT, "application/json")
        .header(USER_AGENT, concat!("reposerver/", env!("CARGO_PKG_VERSION")))
        .body(Empty::<Bytes>::new())
        .map_err(io::Error::other)
        .map_err(GetError::Connect)?;
    let response = sender.send_request(request).await?;
    if response.status() != StatusCode::OK {
        let location = response.headers().get(LOCATION).and_then(|value| value.to_str().ok());
        let location = location.map(|text| text.chars().take(200).collect());
        return Err(GetError::Status { status: response.status().as_u16(), location });
    }
    let body = Limited::new(response.into_body(), limits::ANSWER_BYTES).collect().await;
    Ok(body.map_err(too_large)?.to_bytes())
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
