//! The way out of an organisation's network: questions by `https` go through its proxy.
//!
//! The proxy opens the connection and sees only where it leads; TLS is with the server itself.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use dbt_core::no_proxy::excepts;
use dbt_core::secret::Secret;
use hyper::Uri;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use crate::env::Environment;

/// The variables that name the proxy; the first that is set counts.
const PROXY: [&str; 2] = ["HTTPS_PROXY", "https_proxy"];

/// The variables that name what is reached without it.
const EXCEPT: [&str; 2] = ["NO_PROXY", "no_proxy"];

/// The longest answer of a proxy before the connection is open.
const ANSWER_BYTES: usize = 16 * 1024;

/// Which servers are reached through a proxy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Proxies {
    proxy: Option<Proxy>,
    except: Vec<String>,
}

/// A proxy that opens connections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proxy {
    /// Its host.
    pub host: String,
    /// Its port.
    pub port: u16,
    sign_in: Option<Secret<String>>,
}

impl fmt::Display for Proxy {
    /// Shows where it is, and no password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

impl Proxies {
    /// Reads the variables that every program knows. The error names the variable, and does not
    /// repeat its value, which may hold a password.
    pub fn of(environment: &Environment) -> Result<Self, (&'static str, BadProxy)> {
        let set = |name: &&str| {
            environment.get(*name).map(|value| value.trim()).filter(|value| !value.is_empty())
        };
        let named = PROXY.into_iter().find_map(|name| Some((name, set(&name)?)));
        let proxy = match named {
            None => None,
            Some((name, value)) => Some(proxy(value).map_err(|bad| (name, bad))?),
        };
        let except = EXCEPT.iter().find_map(set).unwrap_or_default();
        let except = except.split(',').map(str::trim).filter(|rule| !rule.is_empty());
        Ok(Self { proxy, except: except.map(ToOwned::to_owned).collect() })
    }

    /// Returns the proxy, whatever it is for.
    pub const fn any(&self) -> Option<&Proxy> {
        self.proxy.as_ref()
    }

    /// Returns the proxy through which a server is reached. This machine is reached directly.
    pub fn for_server(&self, host: &str, port: u16) -> Option<&Proxy> {
        let is_excepted = || self.except.iter().any(|rule| excepts(rule, host, port));
        self.proxy.as_ref().filter(|_proxy| !super::is_this_machine(host) && !is_excepted())
    }
}

fn proxy(written: &str) -> Result<Proxy, BadProxy> {
    // As everywhere, the scheme may be left out.
    let whole =
        if written.contains("://") { written.to_owned() } else { format!("http://{written}") };
    let uri: Uri = whole.parse().map_err(|_error| BadProxy::Malformed)?;
    let authority = uri.authority().ok_or(BadProxy::Malformed)?;
    if uri.scheme_str() != Some("http") {
        return Err(BadProxy::Scheme);
    }
    let sign_in = authority.as_str().rsplit_once('@').map(|(both, _place)| decoded(both));
    let sign_in = sign_in.map(|both| Secret::new(STANDARD.encode(both)));
    let host = authority.host().trim_matches(['[', ']']).to_owned();
    if host.is_empty() {
        return Err(BadProxy::Malformed);
    }
    Ok(Proxy { host, port: authority.port_u16().unwrap_or(80), sign_in })
}

/// Undoes the escapes of a URL; what is none stays as it is.
fn decoded(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let digits = after.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        let escaped = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        if let Some(byte) = escaped.filter(|_byte| *first == b'%') {
            bytes.push(byte);
            rest = after.get(2..).unwrap_or_default();
        } else {
            bytes.push(*first);
            rest = after;
        }
    }
    bytes
}

impl Proxy {
    /// Has the proxy open the connection. What follows on the stream is the server's.
    pub async fn open(
        &self,
        stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
        host: &str,
        port: u16,
    ) -> Result<(), ProxyError> {
        let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
        let place = format!("{host}:{port}");
        let mut request = format!("CONNECT {place} HTTP/1.1\r\nHost: {place}\r\n");
        if let Some(both) = &self.sign_in {
            request.extend(["Proxy-Authorization: Basic ", both.expose(), "\r\n"]);
        }
        request.push_str("\r\n");
        stream.write_all(request.as_bytes()).await?;
        stream.flush().await?;
        // Read to the byte and no further: what comes after it is the server's.
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            if head.len() >= ANSWER_BYTES {
                return Err(ProxyError::NoHttp);
            }
            head.push(stream.read_u8().await?);
        }
        let status = std::str::from_utf8(&head).ok().and_then(|head| {
            let (version, rest) = head.split_once(' ')?;
            version.starts_with("HTTP/1.").then(|| rest.get(..3)?.parse::<u16>().ok())?
        });
        match status {
            Some(200..=299) => Ok(()),
            Some(407) => Err(ProxyError::SignIn),
            Some(status) => Err(ProxyError::Status(status)),
            None => Err(ProxyError::NoHttp),
        }
    }
}

/// Why a variable names no proxy that can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadProxy {
    /// It is no URL of one.
    #[error("is not like `http://proxy.example.com:3128`")]
    Malformed,
    /// It is spoken to in another way.
    #[error("must begin with `http://`; other kinds of proxies are not known")]
    Scheme,
}

/// Why a proxy did not open a connection.
#[derive(Debug, thiserror::Error)]
pub enum ProxyError {
    /// The connection to it failed.
    #[error(transparent)]
    Connection(#[from] std::io::Error),
    /// It wants to know who asks.
    #[error("it wants a user name and a password (407)")]
    SignIn,
    /// It refused.
    #[error("it answers {0}")]
    Status(u16),
    /// It does not speak HTTP.
    #[error("its answer is no HTTP")]
    NoHttp,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxies(variables: &[(&str, &str)]) -> Result<Proxies, (&'static str, BadProxy)> {
        let pair = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        Proxies::of(&variables.iter().map(pair).collect())
    }

    #[test]
    fn the_variables_say_which_servers_are_reached_through_a_proxy() {
        let all = proxies(&[
            ("https_proxy", "http://second:1"),
            ("HTTPS_PROXY", " http://alice:p%40ss@first.example:3128/ "),
            ("NO_PROXY", "inside.example, 10.0.0.0/8,, "),
        ])
        .unwrap();
        let through = |host, port| all.for_server(host, port).map(ToString::to_string);
        assert_eq!(through("id.example.com", 443).as_deref(), Some("first.example:3128"));
        for direct in ["id.inside.example", "10.1.2.3", "127.0.0.1", "localhost", "::1"] {
            assert_eq!(through(direct, 443), None, "{direct}");
        }
        let sign_in = all.any().unwrap().sign_in.as_ref().unwrap();
        assert_eq!(STANDARD.decode(sign_in.expose()).unwrap(), b"alice:p@ss");
        assert!(!format!("{all:?} {}", all.any().unwrap()).contains("YWxpY2U"));
        assert_eq!(proxies(&[("HTTPS_PROXY", " ")]), Ok(Proxies::default()));
        assert_eq!(proxies(&[]).unwrap().for_server("id.example.com", 443), None);
        let bare = proxies(&[("https_proxy", "proxy.example")]).unwrap();
        assert_eq!(bare.any().unwrap().to_string(), "proxy.example:80");
    }

    #[test]
    fn what_is_no_proxy_is_named_and_not_repeated() {
        for (value, why) in [
            ("socks5://proxy.example:1080", BadProxy::Scheme),
            ("https://proxy.example", BadProxy::Scheme),
            ("http://", BadProxy::Malformed),
            ("http://a b", BadProxy::Malformed),
        ] {
            assert_eq!(proxies(&[("HTTPS_PROXY", value)]), Err(("HTTPS_PROXY", why)), "{value}");
        }
    }

    #[tokio::test]
    async fn a_connection_is_open_when_the_proxy_says_so_and_nothing_after_that_is_taken() {
        let proxy = proxy("http://alice:secret@proxy.example:3128").unwrap();
        for (answer, outcome) in [
            ("HTTP/1.1 200 Connection established\r\nVia: x\r\n\r\nrest", "open"),
            ("HTTP/1.0 200 OK\r\n\r\nrest", "open"),
            ("HTTP/1.1 407 Who\r\n\r\n", "it wants a user name and a password (407)"),
            ("HTTP/1.1 302 Found\r\nLocation: x\r\n\r\n", "it answers 302"),
            ("SSH-2.0-OpenSSH\r\n\r\n", "its answer is no HTTP"),
            ("HTTP/1.1 200", "unexpected end of file"),
            (&*"x".repeat(100_000), "its answer is no HTTP"),
        ] {
            let (mut ours, mut theirs) = tokio::io::duplex(1 << 20);
            theirs.write_all(answer.as_bytes()).await.unwrap();
            theirs.shutdown().await.unwrap();
            let said = match proxy.open(&mut ours, "2001:db8::1", 443).await {
                Ok(()) => "open".to_owned(),
                Err(error) => error.to_string(),
            };
            assert_eq!(said, outcome);
            if outcome == "open" {
                let mut rest = String::new();
                ours.read_to_string(&mut rest).await.unwrap();
                assert_eq!(rest, "rest");
            }
            drop(ours);
            let mut asked = String::new();
            theirs.read_to_string(&mut asked).await.unwrap();
            let expected = "CONNECT [2001:db8::1]:443 HTTP/1.1\r\nHost: [2001:db8::1]:443\r\n\
                 Proxy-Authorization: Basic YWxpY2U6c2VjcmV0\r\n\r\n";
            assert_eq!(asked, expected);
        }
    }
}
