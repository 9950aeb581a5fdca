//! What the server asks of other servers: only where its configuration leads, over connections
//! that cannot be listened to, and bounded in time and size.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use hyper::Uri;
use tokio::net::{TcpStream, lookup_host};

pub mod discovery;
pub mod get;
pub mod proxy;
pub mod tls;

/// The URL of something whose answers can be believed: `https`, or `http` on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SafeUrl {
    text: String,
    uri: Uri,
    host: String,
    port: u16,
    secure: bool,
}

impl SafeUrl {
    /// Returns it as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Returns what is before its path: scheme, host and port, as they were written.
    pub fn origin(&self) -> String {
        let scheme = if self.secure { "https" } else { "http" };
        let authority = self.uri.authority().map_or(self.host.as_str(), |it| it.as_str());
        format!("{scheme}://{authority}")
    }

    /// Returns its host in lower case, an address of IPv6 without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Says whether it is reached over TLS.
    pub const fn is_secure(&self) -> bool {
        self.secure
    }
}

impl fmt::Display for SafeUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for SafeUrl {
    type Err = UnsafeUrl;

    fn from_str(text: &str) -> Result<Self, UnsafeUrl> {
        let uri: Uri = text.parse().map_err(|_error| UnsafeUrl::Malformed)?;
        let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
            return Err(UnsafeUrl::Malformed);
        };
        if authority.as_str().contains('@') || text.contains('#') {
            return Err(UnsafeUrl::Malformed);
        }
        let host = authority.host().trim_matches(['[', ']']).to_ascii_lowercase();
        let secure = match scheme {
            "https" => true,
            "http" if is_this_machine(&host) => false,
            "http" => return Err(UnsafeUrl::InTheClear),
            _ => return Err(UnsafeUrl::Malformed),
        };
        let port = authority.port_u16().unwrap_or(if secure { 443 } else { 80 });
        Ok(Self { text: text.to_owned(), host, port, secure, uri })
    }
}

/// Says whether a name can only mean this machine.
pub fn is_this_machine(host: &str) -> bool {
    let loopback = |ip: IpAddr| ip.is_loopback();
    host.eq_ignore_ascii_case("localhost") || host.parse().is_ok_and(loopback)
}

/// Connects. What is only safe on this machine stays on it, whatever a resolver says of its name.
pub async fn connect(host: &str, port: u16) -> std::io::Result<TcpStream> {
    if !is_this_machine(host) {
        return TcpStream::connect((host, port)).await;
    }
    let mut addresses: Vec<SocketAddr> = lookup_host((host, port)).await?.collect();
    addresses.retain(|address| address.ip().is_loopback());
    if addresses.is_empty() {
        addresses = vec![(Ipv4Addr::LOCALHOST, port).into(), (Ipv6Addr::LOCALHOST, port).into()];
    }
    TcpStream::connect(addresses.as_slice()).await
}

/// Why something is not asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnsafeUrl {
    /// It cannot be read as one, or holds what a URL to ask should not hold.
    #[error("is not the URL of a server, like `https://id.example.com/path`")]
    Malformed,
    /// Anybody between could answer.
    #[error("must begin with `https://`; `http://` is only for this machine")]
    InTheClear,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_tls_and_this_machine_are_safe() {
        for (text, secure, host, port) in [
            ("https://id.example.com", true, "id.example.com", 443),
            ("https://ID.example.com:8443/realms/x?y=z", true, "id.example.com", 8443),
            ("https://10.0.0.1/", true, "10.0.0.1", 443),
            ("http://127.0.0.1:8080/x", false, "127.0.0.1", 8080),
            ("http://localhost", false, "localhost", 80),
            ("http://[::1]:1/", false, "::1", 1),
        ] {
            let url: SafeUrl = text.parse().unwrap();
            assert_eq!((url.secure, url.host.as_str(), url.port), (secure, host, port), "{text}");
        }
    }

    #[test]
    fn everything_else_is_refused() {
        for (text, why) in [
            ("http://id.example.com", UnsafeUrl::InTheClear),
            ("http://169.254.169.254/latest/meta-data", UnsafeUrl::InTheClear),
            ("http://localhost.example.com/", UnsafeUrl::InTheClear),
            ("http://2130706433/", UnsafeUrl::InTheClear),
            ("file:///etc/passwd", UnsafeUrl::Malformed),
            ("ftp://127.0.0.1/", UnsafeUrl::Malformed),
            ("https://user@id.example.com/", UnsafeUrl::Malformed),
            ("http://127.0.0.1@evil.example/", UnsafeUrl::Malformed),
            ("https://id.example.com/#x", UnsafeUrl::Malformed),
            ("id.example.com", UnsafeUrl::Malformed),
            ("/path", UnsafeUrl::Malformed),
            ("https://", UnsafeUrl::Malformed),
            ("", UnsafeUrl::Malformed),
        ] {
            assert_eq!(text.parse::<SafeUrl>(), Err(why), "{text}");
        }
    }
}
