//! The one HTTP client of a process: connections, time limits, proxies, and errors in words.
//!
//! What is retried, where redirects lead and what answers mean is decided in `http.rs`.

use std::fmt;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ureq::http::{HeaderMap, HeaderValue, Method, Request};
use ureq::unversioned::transport::{
    ConnectProxyConnector, Connector as _, SocksConnector, TcpConnector,
};
use ureq::{Agent, SendBody, Timeout};

use super::authorities::{CertificateRoots, Places};
use super::aws::Aws;
use super::body::Body;
use super::error::{Failure, FetchError};
use super::forward::ForwardConnector;
use super::names::Names;
use super::patience::Patience;
use super::proxy;
use super::system_store::SystemStore;
use super::target::Target;
use super::tls::{self, Handshake, Tls, TlsConnector};
use super::turns::{self, Turns};
use super::whole::WholeConnector;
use crate::settings::Network;

/// How connections are made. One for a process, shared by its threads; cheap to make, and loads
/// no certificates before the first secure connection.
pub struct Connector {
    agent: Agent,
    network: Network,
    tls: Arc<Tls>,
    turns: Arc<Turns>,
    aws: Aws,
}

/// The longest head of an answer.
const HEAD: usize = 16 * 1024;

/// What a connection reads at once. A head that is too long has to fit, to be found so. Most answers
/// are short, and every connection of a run fills its buffers with zeros first.
const INPUT: usize = HEAD + 8 * 1024;

/// What a connection sends at once: a record of TLS.
const OUTPUT: usize = 16 * 1024;

/// One request.
pub(super) struct Call<'a> {
    pub(super) method: Method,
    pub(super) target: &'a Target,
    pub(super) headers: HeaderMap,
    pub(super) patience: &'a Patience,
}

/// One answer, whatever its status.
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) body: Body,
}

impl Reply {
    /// Returns a header as text.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

impl Connector {
    /// Makes a connector. `ca_file` names certificate authorities beside the system's;
    /// `user_agent` is what servers are told (`dbt/4.0.0`).
    pub fn new(network: &Network, ca_file: Option<&Path>, user_agent: &str) -> Arc<Self> {
        Self::of(turns::LIMIT, network, ca_file, user_agent)
    }

    /// Makes one for very many small requests that wait for nothing else: with more connections
    /// to a server at once, 32 at most.
    pub fn wide(network: &Network, ca_file: Option<&Path>, user_agent: &str) -> Arc<Self> {
        Self::of(turns::WIDE, network, ca_file, user_agent)
    }

    fn of(
        at_once: usize,
        network: &Network,
        ca_file: Option<&Path>,
        user_agent: &str,
    ) -> Arc<Self> {
        let tls = Arc::new(Tls::new(Places {
            ca_file: ca_file.map(Path::to_owned),
            file: network.ssl_cert_file.clone(),
            directories: network.ssl_cert_dirs.clone(),
            system: SystemStore::of_this_host(network.remembered_roots.as_deref()),
        }));
        let config = Agent::config_builder()
            // The library would read the environment otherwise.
            .proxy(None)
            .http_status_as_error(false)
            .max_redirects(0)
            .user_agent(user_agent)
            .max_idle_connections_per_host(at_once)
            .max_idle_connections(at_once.max(10))
            .max_response_header_size(HEAD)
            .input_buffer_size(INPUT)
            .output_buffer_size(OUTPUT)
            .build();
        let connections =
            ().chain(SocksConnector::default())
                .chain(ConnectProxyConnector::default())
                .chain(TcpConnector::default())
                .chain(TlsConnector(Arc::clone(&tls)))
                .chain(ForwardConnector)
                .chain(WholeConnector);
        let agent = Agent::with_parts(config, connections, <Names>::default());
        let (network, aws) = (network.clone(), Aws::of(&network.aws));
        Arc::new(Self { agent, network, tls, turns: Turns::of(at_once), aws })
    }

    /// Returns the account that buckets are read and written with.
    pub(super) const fn aws(&self) -> &Aws {
        &self.aws
    }

    /// Returns which certificate authorities are used on this host, for `doctor`. Loads them.
    pub fn certificate_roots(&self) -> Result<CertificateRoots, FetchError> {
        let fail = |failure| FetchError::new("use", "certificate authorities".to_owned(), failure);
        self.tls.certificate_roots().map_err(fail)
    }

    /// Makes one request and returns the head of its answer.
    pub(super) fn send(&self, call: &Call<'_>) -> Result<Reply, Failure> {
        self.send_with(call, SendBody::none())
    }

    /// Makes one request with `length` bytes of `body`.
    pub(super) fn send_body(
        &self,
        call: &Call<'_>,
        body: &mut dyn Read,
        length: u64,
    ) -> Result<Reply, Failure> {
        let mut body = Exactly { body, left: length };
        self.send_with(call, SendBody::from_reader(&mut body))
    }

    fn send_with(&self, call: &Call<'_>, body: SendBody<'_>) -> Result<Reply, Failure> {
        let Call { method, target, headers, patience } = call;
        if patience.cancel.is_cancelled() {
            return Err(Failure::Cancelled);
        }
        let route = proxy::for_origin(&self.network, target.origin())?;
        let in_line = patience.connect + patience.first_byte;
        let in_line = patience.within_deadline(in_line).ok_or(Failure::TimeOver)?;
        let turn = Turns::take(&self.turns, target.origin(), in_line);

        let mut request = Request::builder().method(method).uri(target.uri());
        if let Some(built) = request.headers_mut() {
            built.extend(headers.clone());
            if let Some((name, value)) = route.sign_in()? {
                built.insert(name, value);
            }
        }
        let request = request.body(body).map_err(|error| Failure::Protocol(error.to_string()))?;
        let left = |limit| patience.within_deadline(limit);
        let in_all = left(Duration::MAX).ok_or(Failure::TimeOver)?;
        let request = self
            .agent
            .configure_request(request)
            .proxy(route.proxy().cloned())
            .timeout_resolve(left(patience.to_connect()))
            .timeout_connect(left(patience.to_connect()))
            .timeout_recv_response(left(patience.first_byte))
            .timeout_per_read(Some(patience.stall.max(patience.first_byte)))
            .timeout_per_write(Some(patience.stall))
            .timeout_global(patience.deadline.map(|_deadline| in_all))
            .build();
        let (head, body) = match self.agent.run(request) {
            Ok(response) => response.into_parts(),
            Err(error) => return Err(route.failure_of(error, patience)),
        };
        if let Some(failure) = route.refusal(head.status.as_u16(), &head.headers) {
            return Err(failure);
        }
        let expected = body.content_length();
        let reader = body.into_with_config().limit(u64::MAX).reader();
        let body = Body::new(reader, expected, (*patience).clone(), turn);
        Ok(Reply { status: head.status.as_u16(), headers: head.headers, body })
    }
}

impl fmt::Debug for Connector {
    /// Shows no proxies: their URLs hold passwords.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connector").field("tls", &self.tls).finish_non_exhaustive()
    }
}

/// Makes a header's value that no log shows.
pub(super) fn secret_header(value: &str) -> Result<HeaderValue, Failure> {
    let mut value = HeaderValue::from_str(value)
        .map_err(|_error| Failure::Protocol("a credential cannot be sent".to_owned()))?;
    value.set_sensitive(true);
    Ok(value)
}

/// Gives exactly the announced length: the library would wait for ever for what is missing.
struct Exactly<'a> {
    body: &'a mut dyn Read,
    left: u64,
}

impl Read for Exactly<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let content = |source| io::Error::other(Failure::Content { source });
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        if most == 0 {
            return Ok(0);
        }
        let space = buffer.get_mut(..most).unwrap_or_default();
        let count = self.body.read(space).map_err(content)?;
        if count == 0 {
            return Err(content(io::ErrorKind::UnexpectedEof.into()));
        }
        self.left -= count as u64;
        Ok(count)
    }
}

/// Says what the library's error is, in words.
#[expect(clippy::wildcard_enum_match_arm, reason = "the rest is told in the library's words")]
pub(super) fn failure_of(error: ureq::Error, patience: &Patience) -> Failure {
    match error {
        ureq::Error::Io(error) => failure_of_io(error),
        ureq::Error::Timeout(Timeout::Resolve | Timeout::Connect) => {
            Failure::ConnectTime { limit: patience.connect }
        }
        ureq::Error::Timeout(Timeout::PerRead | Timeout::PerWrite) => {
            Failure::Stall { limit: patience.stall }
        }
        ureq::Error::Timeout(_) => Failure::TimeOver,
        ureq::Error::BodyExceedsLimit(limit) => Failure::TooLarge { limit },
        ureq::Error::Other(error) => match error.downcast::<Failure>() {
            Ok(failure) => *failure,
            Err(other) => match other.downcast::<Handshake>() {
                Ok(handshake) => failure_of(handshake.error, patience),
                Err(other) => Failure::Protocol(other.to_string()),
            },
        },
        // Its text holds the whole URL, with what may be a secret query.
        ureq::Error::BadUri(_) => Failure::Protocol("the URL is not accepted".to_owned()),
        other => Failure::Protocol(other.to_string()),
    }
}

/// Says what an error of reading or writing is: those of other layers travel inside.
#[expect(clippy::wildcard_enum_match_arm, reason = "whatever else breaks, the connection broke")]
pub(super) fn failure_of_io(error: io::Error) -> Failure {
    if holds::<Failure>(&error) {
        return unwrapped::<Failure>(error, |failure| failure);
    }
    if holds::<rustls::Error>(&error) {
        return unwrapped::<rustls::Error>(error, |error| tls::failure(&error));
    }
    if holds::<ureq::Error>(&error) {
        return unwrapped::<ureq::Error>(error, |error| {
            failure_of(error, &Patience::for_artifact(1.0))
        });
    }
    match error.kind() {
        io::ErrorKind::ConnectionRefused
        | io::ErrorKind::HostUnreachable
        | io::ErrorKind::NetworkUnreachable
        | io::ErrorKind::AddrNotAvailable
        | io::ErrorKind::PermissionDenied => Failure::Connect { source: error },
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => Failure::TimeOver,
        io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput => {
            Failure::Protocol(error.to_string())
        }
        _ => Failure::Reset { source: error },
    }
}

fn holds<E: std::error::Error + 'static>(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|inner| inner.downcast_ref::<E>().is_some())
}

fn unwrapped<E: std::error::Error + 'static>(
    error: io::Error,
    failure: impl FnOnce(E) -> Failure,
) -> Failure {
    let Some(inner) = error.into_inner() else {
        return Failure::Protocol("there is no reason".to_owned());
    };
    match inner.downcast::<E>() {
        Ok(inner) => failure(*inner),
        Err(other) => Failure::Protocol(other.to_string()),
    }
}
