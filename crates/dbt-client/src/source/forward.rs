//! Plain `http` through a proxy: the whole URL in the first line of a request (RFC 9112, 3.2.2).
//!
//! The HTTP library knows tunnels only, which most proxies open to port 443 alone. So the proxy is
//! given to it as one that it must not use for any host: it connects by itself then, the resolver
//! gives it the proxy's address, and the layer here writes the first line as a proxy wants it.

use std::fmt;

use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, Either, NextTimeout, Transport,
};
use ureq::{Proxy, ProxyProtocol};

/// Makes a proxy that takes whole URLs out of one that the library would open tunnels through.
///
/// Its name, port and password are the same; connections of both are never confused.
pub(super) fn by_whole_urls(proxy: &Proxy) -> Result<Proxy, ureq::Error> {
    let mut builder =
        Proxy::builder(proxy.protocol()).host(proxy.host()).port(proxy.port()).no_proxy("*");
    if let Some(username) = proxy.username() {
        builder = builder.username(username);
    }
    if let Some(password) = proxy.password() {
        builder = builder.password(password);
    }
    builder.build()
}

/// Says whether a proxy takes whole URLs.
pub(super) fn takes_urls(proxy: &Proxy) -> bool {
    matches!(proxy.protocol(), ProxyProtocol::Http | ProxyProtocol::Https)
}

/// Returns the proxy of [`by_whole_urls`] that a connection is to be made to.
pub(super) fn proxy_of<'a>(details: &'a ConnectionDetails<'_>) -> Option<&'a Proxy> {
    used(details.config, details.uri)
}

/// The same, before there is a connection.
pub(super) fn used<'a>(
    config: &'a ureq::config::Config,
    uri: &ureq::http::Uri,
) -> Option<&'a Proxy> {
    config.proxy().filter(|proxy| proxy.is_no_proxy(uri))
}

/// Wraps connections to such proxies.
#[derive(Debug)]
pub(super) struct ForwardConnector;

impl<In: Transport> Connector<In> for ForwardConnector {
    type Out = Either<In, Forwarded<In>>;

    fn connect(
        &self,
        details: &ConnectionDetails,
        chained: Option<In>,
    ) -> Result<Option<Self::Out>, ureq::Error> {
        let Some(transport) = chained else { return Ok(None) };
        let authority = details.uri.authority().map(|authority| format!("http://{authority}"));
        Ok(Some(match (proxy_of(details), authority) {
            (Some(_proxy), Some(server)) => {
                Either::B(Forwarded { transport, server, begins: true })
            }
            _ => Either::A(transport),
        }))
    }
}

/// A connection to a proxy, for requests to one server.
pub(super) struct Forwarded<T> {
    transport: T,
    /// `http://example.com`
    server: String,
    /// Whether what is sent next begins a request.
    begins: bool,
}

impl<T: Transport> Transport for Forwarded<T> {
    fn buffers(&mut self) -> &mut dyn Buffers {
        self.transport.buffers()
    }

    /// The library writes the first line in one piece with whatever else has room.
    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), ureq::Error> {
        if !std::mem::take(&mut self.begins) {
            return self.transport.transmit_output(amount, timeout);
        }
        let more = self.server.len();
        let output = self.transport.buffers().output();
        let space = output.iter().take(amount).position(|byte| *byte == b' ');
        let (Some(space), Some(output)) = (space, output.get_mut(..amount + more)) else {
            let words = "the head of a request is longer than proxies accept";
            return Err(ureq::Error::Io(std::io::Error::other(words)));
        };
        let place = space + 1;
        output.copy_within(place..amount, place + more);
        if let Some(gap) = output.get_mut(place..place + more) {
            gap.copy_from_slice(self.server.as_bytes());
        }
        self.transport.transmit_output(amount + more, timeout)
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, ureq::Error> {
        self.transport.await_input(timeout)
    }

    /// Asked by the library between two requests, and at no other time.
    fn is_open(&mut self) -> bool {
        self.begins = true;
        self.transport.is_open()
    }

    fn is_tls(&self) -> bool {
        self.transport.is_tls()
    }
}

impl<T> fmt::Debug for Forwarded<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Forwarded({})", self.server)
    }
}
