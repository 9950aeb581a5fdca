//! Which proxy a request goes through, and what is the proxy's fault.
//!
//! The HTTP library's own choice is not used: it takes the same proxy whatever the scheme, does
//! not read address ranges, and does not count subdomains.

use std::net::IpAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use dbt_core::no_proxy;
use ureq::Proxy;
use ureq::http::header::{self, HeaderName};
use ureq::http::{HeaderMap, HeaderValue};

use super::connector::{failure_of, secret_header};
use super::error::Failure;
use super::forward;
use super::patience::Patience;
use super::tls::Handshake;
use crate::settings::Network;
use crate::url::{Origin, Scheme};

/// How a server is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Route {
    /// Without a proxy.
    Direct,
    /// Through a connection that a proxy opens and does not look into.
    Tunnel(Proxy),
    /// By asking a proxy for whole URLs: plain `http` through an HTTP proxy.
    WholeUrls(Proxy),
}

/// Returns the way to a server. Servers on this machine, and what its host answers, are always
/// reached directly.
pub(super) fn for_origin(network: &Network, origin: &Origin) -> Result<Route, Failure> {
    let proxy = match origin.scheme() {
        Scheme::Https => network.https_proxy.as_deref(),
        Scheme::Http => network.http_proxy.as_deref(),
    };
    let Some(proxy) = proxy.map(str::trim).filter(|proxy| !proxy.is_empty()) else {
        return Ok(Route::Direct);
    };
    let excepts = |rule: &String| no_proxy::excepts(rule, origin.host(), origin.port());
    if origin.is_loopback() || is_at_hand(origin) || network.no_proxy.iter().any(excepts) {
        return Ok(Route::Direct);
    }
    // The error is not repeated: it may hold the password.
    let unreadable = |_error: ureq::Error| Failure::Proxy {
        proxy: "(not shown)".to_owned(),
        problem: "the variable does not hold a URL like `http://proxy.example.com:3128`".to_owned(),
    };
    let proxy = Proxy::new(proxy).map_err(unreadable)?;
    if origin.scheme() == Scheme::Http && forward::takes_urls(&proxy) {
        return forward::by_whole_urls(&proxy).map(Route::WholeUrls).map_err(unreadable);
    }
    Ok(Route::Tunnel(proxy))
}

/// Says whether an address is one of this very link, where no proxy leads: the host of a machine of
/// a cloud has such.
fn is_at_hand(origin: &Origin) -> bool {
    match origin.host().parse::<IpAddr>() {
        Ok(IpAddr::V4(address)) => address.is_link_local(),
        Ok(IpAddr::V6(address)) => address.segments().starts_with(&[0xfd00, 0xec2]),
        Err(_name) => false,
    }
}

/// Returns the proxy for a server, without its password, for `doctor`.
pub fn shown_for(network: &Network, origin: &Origin) -> Result<Option<String>, Failure> {
    Ok(for_origin(network, origin)?.proxy().map(shown))
}

fn shown(proxy: &Proxy) -> String {
    format!("{}:{}", proxy.host(), proxy.port())
}

impl Route {
    pub(super) const fn proxy(&self) -> Option<&Proxy> {
        match self {
            Self::Direct => None,
            Self::Tunnel(proxy) | Self::WholeUrls(proxy) => Some(proxy),
        }
    }

    /// Returns what tells the proxy who asks, where that is part of every request.
    pub(super) fn sign_in(&self) -> Result<Option<(HeaderName, HeaderValue)>, Failure> {
        let Self::WholeUrls(proxy) = self else { return Ok(None) };
        if proxy.username().is_none() && proxy.password().is_none() {
            return Ok(None);
        }
        let (user, password) = (proxy.username(), proxy.password());
        let both = format!("{}:{}", user.unwrap_or_default(), password.unwrap_or_default());
        let value = secret_header(&format!("Basic {}", STANDARD.encode(both)))?;
        Ok(Some((header::PROXY_AUTHORIZATION, value)))
    }

    /// Returns why an answer is the proxy's own and not the server's, where that can be known.
    pub(super) fn refusal(&self, status: u16, headers: &HeaderMap) -> Option<Failure> {
        let Self::WholeUrls(proxy) = self else { return None };
        let signed =
            ["proxy-status", "x-squid-error"].iter().any(|name| headers.contains_key(*name));
        let own = status == 407 || (signed && matches!(status, 403 | 500..=599));
        own.then(|| Failure::Proxy { proxy: shown(proxy), problem: said(status) })
    }

    /// Says what went wrong on the way, and names the proxy where it is what fails.
    pub(super) fn failure_of(&self, error: ureq::Error, patience: &Patience) -> Failure {
        let Some(proxy) = self.proxy() else { return failure_of(error, patience) };
        let of_proxy = |problem| Failure::Proxy { proxy: shown(proxy), problem };
        let is_to_proxy = |handshake: &Handshake| match self {
            Self::Direct | Self::WholeUrls(_) => true,
            Self::Tunnel(_) => handshake.host == proxy.host(),
        };
        if let ureq::Error::ConnectProxyFailed(problem) = &error {
            return of_proxy(status_in(problem).map_or_else(|| problem.clone(), said));
        }
        if let ureq::Error::Other(other) = &error
            && other.downcast_ref::<Handshake>().is_some_and(is_to_proxy)
        {
            return of_proxy(failure_of(error, patience).to_string());
        }
        let failure = failure_of(error, patience);
        if let Failure::Dns { .. } = failure {
            of_proxy("its name cannot be resolved".to_owned())
        } else if let Failure::Connect { source } = failure {
            of_proxy(source.to_string())
        } else {
            failure
        }
    }
}

/// Finds the status in the library's words: `proxy server responded 407/407`.
fn status_in(words: &str) -> Option<u16> {
    words.rsplit('/').next()?.parse().ok()
}

/// Says what a proxy's answer means.
fn said(status: u16) -> String {
    match status {
        407 => "it wants to know who asks (407): its user name and password belong into its URL, \
                `http://USER:PASSWORD@HOST:PORT`"
            .to_owned(),
        403 => "it does not allow this connection (403)".to_owned(),
        502..=504 => format!("it cannot reach the server ({status})"),
        status => format!("it answered {status}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::url::RepositoryUrl;
    use proptest::prelude::*;

    fn origin(url: &str) -> Origin {
        url.parse::<RepositoryUrl>().unwrap().origin().unwrap().clone()
    }

    #[track_caller]
    fn check(no_proxy: &str, url: &str, proxied: bool) {
        let network = Network {
            https_proxy: Some("http://secure-proxy:3128".to_owned()),
            http_proxy: Some("plain-proxy:8080".to_owned()),
            no_proxy: no_proxy.split(',').map(str::to_owned).collect(),
            ..Network::default()
        };
        let route = for_origin(&network, &origin(url)).unwrap();
        assert_eq!(route != Route::Direct, proxied, "NO_PROXY={no_proxy} {url}");
    }

    #[test]
    fn the_scheme_of_the_server_chooses_the_proxy() {
        let network = Network {
            https_proxy: Some("http://alice:hunter2@secure-proxy:3128".to_owned()),
            http_proxy: Some(" plain-proxy:8080 ".to_owned()),
            ..Network::default()
        };
        let chosen = |url| shown_for(&network, &origin(url)).unwrap();
        assert_eq!(chosen("https://h").as_deref(), Some("secure-proxy:3128"));
        assert_eq!(chosen("http://h").as_deref(), Some("plain-proxy:8080"));
        let none = Network { https_proxy: Some(String::new()), ..Network::default() };
        assert_eq!(for_origin(&none, &origin("https://h")).unwrap(), Route::Direct);
    }

    #[test]
    fn a_domain_excepts_its_subdomains_and_no_neighbour() {
        for rule in
            ["example.com", ".example.com", "*.example.com", " EXAMPLE.com ", "example.com."]
        {
            check(rule, "https://example.com", false);
            check(rule, "https://dbt.example.com", false);
            check(rule, "https://evilexample.com", true);
            check(rule, "https://example.com.evil.net", true);
        }
        check("example.com:8443", "https://dbt.example.com:8443", false);
        check("example.com:8443", "https://dbt.example.com", true);
        check("", "https://example.com", true);
        check(".", "https://example.com", true);
        check("*", "https://example.com", false);
    }

    #[test]
    fn addresses_and_ranges_are_excepted() {
        check("10.0.0.0/8", "http://10.200.3.4", false);
        check("10.0.0.0/8", "http://11.0.0.1", true);
        check("10.0.0.0/33", "http://10.0.0.1", true);
        check("0.0.0.0/0", "http://11.0.0.1", false);
        check("2001:db8::/32", "http://[2001:db8:1::1]", false);
        check("2001:db8::1", "http://[2001:db8:0::1]", false);
        check("[2001:db8::1]:81", "http://[2001:db8::1]:81", false);
        check("10.0.0.1", "http://10.0.0.10", true);
        check("10.0.0.0/8", "http://ten.example.com", true);
    }

    #[test]
    fn this_machine_is_reached_directly() {
        check("", "http://localhost:9999", false);
        check("", "https://127.0.0.1", false);
        check("", "https://[::1]", false);
    }

    #[test]
    fn a_proxy_that_is_no_url_is_an_error_without_its_password() {
        let network = Network {
            https_proxy: Some("http://alice:hunter2@:bad:port".to_owned()),
            ..Network::default()
        };
        let error = for_origin(&network, &origin("https://h")).unwrap_err();
        assert!(!format!("{error} {error:?}").contains("hunter2"));
    }

    fn direct(rule: &str, host: &str) -> bool {
        let origin = origin(&format!("http://{host}"));
        no_proxy::excepts(rule, origin.host(), origin.port())
    }

    proptest! {
        #[test]
        fn a_domain_means_itself_and_what_is_below_and_no_neighbour(
            domain in "[a-z]{1,6}\\.[a-z]{2,4}",
            label in "[a-z0-9]{1,6}",
        ) {
            let below = format!("{label}.{domain}");
            let neighbours = [format!("{label}{domain}"), format!("{domain}.x{label}")];
            for rule in [domain.clone(), format!(".{domain}"), format!("*.{domain}")] {
                prop_assert!(direct(&rule, &domain));
                prop_assert!(direct(&rule, &below));
                for neighbour in &neighbours {
                    prop_assert!(!direct(&rule, neighbour), "{} {}", rule, neighbour);
                }
            }
            let (port, other) = (format!(" {}:80 ", domain.to_uppercase()), format!("{domain}:81"));
            prop_assert!(direct(&port, &domain));
            prop_assert!(!direct(&other, &domain));
        }

        #[test]
        fn a_range_is_the_addresses_with_the_same_first_bits(
            network: [u8; 4],
            bits in 0_u32..=32,
            near in 0_u32..32,
        ) {
            let first = u32::from_be_bytes(network);
            let other = first ^ (1 << near);
            let spelt = |address: u32| std::net::Ipv4Addr::from(address).to_string();
            let rule = format!("{}/{bits}", spelt(first));
            prop_assert!(direct(&rule, &spelt(first)));
            // The bit that differs is the `32 - near`th.
            prop_assert_eq!(direct(&rule, &spelt(other)), 32 - near > bits);
        }
    }
}
