//! Where a request comes from, when proxies stand before the server.
//!
//! A header that says so is worth as much as whoever wrote it: it counts only from addresses that
//! the configuration names, and each name in it only as far as the next one is such an address.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::str::FromStr;
use std::sync::Arc;

use hyper::HeaderMap;
use hyper::header::{FORWARDED, HeaderName};

use crate::request_id::RequestId;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// How many addresses of a header are looked at. More proxies than that stand nowhere.
const DEPTH: usize = 16;

/// Addresses that begin with the same bits: `10.0.0.0/8`, `fd00::/8`, or one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    first: u128,
    bits: u32,
}

impl Network {
    /// Says whether an address is one of these.
    pub fn contains(&self, address: IpAddr) -> bool {
        (number(address) ^ self.first).leading_zeros() >= self.bits
    }
}

/// Numbers an address. Those of IPv4 are where IPv6 has a place for them, so that both spellings
/// of one are the same.
const fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().to_bits(),
        IpAddr::V6(address) => address.to_bits(),
    }
}

impl FromStr for Network {
    type Err = NotANetwork;

    fn from_str(text: &str) -> Result<Self, NotANetwork> {
        let bad = || NotANetwork(text.to_owned());
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits.parse::<u32>().map_err(|_error| bad())?)),
            None => (text, None),
        };
        let address: IpAddr = address.trim().parse().map_err(|_error| bad())?;
        let length = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.unwrap_or(length);
        if bits > length {
            return Err(bad());
        }
        let network = Self { first: number(address), bits: 128 - length + bits };
        // What is after the bits must be nothing, or one of the two was not meant.
        let rest = network.first.checked_shl(network.bits).unwrap_or_default();
        if rest == 0 { Ok(network) } else { Err(bad()) }
    }
}

/// A text names no network.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{}` is no address and no network such as `10.0.0.0/8`", .0.escape_debug())]
pub struct NotANetwork(String);

/// The proxies whose word counts. None by default.
#[derive(Clone, Debug, Default)]
pub struct Proxies(Arc<[Network]>);

/// What is said about where a request comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Said {
    /// The address that counts.
    pub client: IpAddr,
    /// The id that a proxy gave the request.
    pub request: Option<RequestId>,
    /// Why something that was said does not count.
    pub hint: Option<Hint>,
}

/// Something that an administrator may want to configure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hint {
    /// A header came from an address that is not trusted.
    Untrusted,
    /// Two headers name different clients.
    Contradiction,
}

impl fmt::Display for Hint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Untrusted => {
                "it says for whom it forwards a request, and is not one of `trustedProxies`, so its \
                 own address counts"
            }
            Self::Contradiction => {
                "`X-Forwarded-For` and `Forwarded` name different clients, so its own address \
                 counts; let the proxy remove the one that it does not write"
            }
        })
    }
}

impl Proxies {
    /// Trusts these.
    pub fn new(networks: Vec<Network>) -> Self {
        Self(networks.into())
    }

    /// Says whether the word of this address counts.
    pub fn trust(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(address))
    }

    /// Finds out where a request comes from that this peer sent.
    pub fn origin(&self, peer: IpAddr, headers: &HeaderMap) -> Said {
        let peer = peer.to_canonical();
        let is_forwarded = headers.contains_key(X_FORWARDED_FOR) || headers.contains_key(FORWARDED);
        if !self.trust(peer) {
            let hint = is_forwarded.then_some(Hint::Untrusted);
            return Said { client: peer, request: None, hint };
        }
        let request = given_id(headers);
        let plain = self.client(peer, headers, &X_FORWARDED_FOR, &plain_address);
        let standard = self.client(peer, headers, &FORWARDED, &forwarded_for);
        let (client, hint) = match (plain, standard) {
            // Who writes one of them may pass the other on as the client sent it.
            (Some(one), Some(other)) if one != other => (peer, Some(Hint::Contradiction)),
            (one, other) => (one.or(other).unwrap_or(peer), None),
        };
        Said { client, request, hint }
    }

    /// Follows a header from its end, as long as whoever wrote the next name is trusted.
    fn client(
        &self,
        peer: IpAddr,
        headers: &HeaderMap,
        name: &HeaderName,
        address: &dyn Fn(&str) -> Option<IpAddr>,
    ) -> Option<IpAddr> {
        let lines: Vec<&str> =
            headers.get_all(name).iter().map(|value| value.to_str().unwrap_or("?")).collect();
        if lines.is_empty() {
            return None;
        }
        let all = lines.join(",");
        let mut client = peer;
        for entry in all.rsplit(',').map(str::trim).take(DEPTH) {
            if !self.trust(client) {
                break;
            }
            let Some(before) = address(entry) else { break };
            client = before.to_canonical();
        }
        Some(client)
    }
}

/// Reads `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1` and `[2001:db8::1]:80`.
fn plain_address(text: &str) -> Option<IpAddr> {
    let bracketed =
        || -> Option<Ipv6Addr> { text.strip_prefix('[')?.strip_suffix(']')?.parse().ok() };
    let address = text.parse().ok();
    address
        .or_else(|| text.parse::<SocketAddr>().ok().map(|both| both.ip()))
        .or_else(|| bracketed().map(IpAddr::V6))
}

/// Reads the `for` of an entry of `Forwarded` (RFC 7239).
fn forwarded_for(entry: &str) -> Option<IpAddr> {
    let mut pairs = entry.split(';').filter_map(|pair| pair.trim().split_once('='));
    let (_name, value) = pairs.find(|(name, _value)| name.eq_ignore_ascii_case("for"))?;
    plain_address(value.trim().trim_matches('"'))
}

/// Returns the id that a proxy gave a request: its own, or that of the trace it is part of.
fn given_id(headers: &HeaderMap) -> Option<RequestId> {
    let text = |name| headers.get(name)?.to_str().ok();
    let of_trace = || {
        let mut parts = text(TRACEPARENT)?.split('-');
        let (_version, trace) = (parts.next()?, parts.next()?);
        let is_trace = trace.len() == 32 && trace.bytes().all(|byte| byte.is_ascii_hexdigit());
        is_trace.then(|| RequestId::of(trace)).flatten()
    };
    text(X_REQUEST_ID).and_then(RequestId::of).or_else(of_trace)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxies(networks: &[&str]) -> Proxies {
        Proxies::new(networks.iter().map(|text| text.parse().unwrap()).collect())
    }

    fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn networks_are_told_by_their_bits() {
        for (network, inside, outside) in [
            ("10.0.0.0/8", "10.255.0.1", "11.0.0.1"),
            ("192.0.2.7", "192.0.2.7", "192.0.2.8"),
            ("10.0.0.0/8", "::ffff:10.1.1.1", "::10.1.1.1"),
            ("fd00::/8", "fd12::1", "fe00::1"),
            ("::1", "::1", "::2"),
            ("0.0.0.0/0", "255.1.2.3", "::1"),
        ] {
            let parsed: Network = network.parse().unwrap();
            assert!(parsed.contains(inside.parse().unwrap()), "{network} {inside}");
            assert!(!parsed.contains(outside.parse().unwrap()), "{network} {outside}");
        }
        for text in ["", "10.0.0.0/33", "10.0.0.1/8", "::/129", "example.com", "10.0.0.0/"] {
            assert!(text.parse::<Network>().is_err(), "{text}");
        }
    }

    #[test]
    fn only_what_trusted_proxies_wrote_counts() {
        let one = proxies(&["10.0.0.0/8", "127.0.0.1"]);
        let (peer, other) = ("10.0.0.1", "192.0.2.99");
        for (peer, lines, client, hint) in [
            (peer, &[][..], peer, None),
            (peer, &[("x-forwarded-for", "192.0.2.1")], "192.0.2.1", None),
            // What the client itself wrote stands before it.
            (peer, &[("x-forwarded-for", "127.0.0.1, 192.0.2.1")], "192.0.2.1", None),
            (peer, &[("x-forwarded-for", "192.0.2.1, 10.9.9.9")], "192.0.2.1", None),
            (
                peer,
                &[("x-forwarded-for", "6.6.6.6"), ("x-forwarded-for", "1.1.1.1")],
                "1.1.1.1",
                None,
            ),
            (peer, &[("x-forwarded-for", "unknown")], peer, None),
            (peer, &[("x-forwarded-for", "1.1.1.1, ,")], peer, None),
            (peer, &[("x-forwarded-for", "[2001:db8::1]:4711")], "2001:db8::1", None),
            (peer, &[("forwarded", "for=192.0.2.1;proto=https")], "192.0.2.1", None),
            (peer, &[("forwarded", "For=\"[2001:db8::1]:80\"")], "2001:db8::1", None),
            (peer, &[("forwarded", "for=6.6.6.6, for=_hidden")], peer, None),
            (
                peer,
                &[("x-forwarded-for", "192.0.2.1"), ("forwarded", "for=6.6.6.6")],
                peer,
                Some(Hint::Contradiction),
            ),
            (other, &[("x-forwarded-for", "127.0.0.1")], other, Some(Hint::Untrusted)),
            (other, &[("forwarded", "for=127.0.0.1")], other, Some(Hint::Untrusted)),
        ] {
            let said = one.origin(peer.parse().unwrap(), &headers(lines));
            let expected: IpAddr = client.parse().unwrap();
            assert_eq!((said.client, said.hint), (expected, hint), "{peer} {lines:?}");
        }
    }

    #[test]
    fn an_id_is_taken_from_trusted_proxies_and_only_a_harmless_one() {
        let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let long = "x".repeat(65);
        for (peer, lines, id) in [
            ("10.0.0.1", &[("x-request-id", "abc-1")][..], Some("abc-1")),
            ("10.0.0.1", &[("traceparent", trace)], Some("4bf92f3577b34da6a3ce929d0e0e4736")),
            ("10.0.0.1", &[("x-request-id", "abc"), ("traceparent", trace)], Some("abc")),
            ("10.0.0.1", &[("x-request-id", "a b")], None),
            ("10.0.0.1", &[("x-request-id", "<script>")], None),
            ("10.0.0.1", &[("x-request-id", long.as_str())], None),
            ("10.0.0.1", &[("traceparent", "00-xyz-1-01")], None),
            ("192.0.2.1", &[("x-request-id", "abc-1")], None),
        ] {
            let said = proxies(&["10.0.0.0/8"]).origin(peer.parse().unwrap(), &headers(lines));
            assert_eq!(said.request.as_ref().map(RequestId::as_str), id, "{peer} {lines:?}");
        }
    }
}
