//! From hosts to addresses: once for all requests of a round, and without asking anybody what an
//! address in a URL says itself, or where this machine is.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{NextTimeout, time};

use super::error::Failure;
use super::forward;

/// How long addresses are used again: for the requests of one run, and not for hours of a download,
/// in which a machine may move to another network.
const FRESH: Duration = Duration::from_secs(10);

/// Resolves names, and says which name it was when that fails.
#[derive(Debug, Default)]
pub(super) struct Names<R = System> {
    system: R,
    known: Mutex<BTreeMap<String, Arc<Mutex<Option<Known>>>>>,
}

/// What was found out.
#[derive(Debug)]
struct Known {
    addresses: Vec<SocketAddr>,
    since: Instant,
}

impl<R: Resolver> Resolver for Names<R> {
    fn resolve(
        &self,
        uri: &Uri,
        config: &Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let uri = forward::used(config, uri).map_or(uri, ureq::Proxy::uri);
        let said = said(uri);
        if !said.is_empty() {
            return Ok(self.list(&said));
        }
        let began = Instant::now();
        let place = Arc::clone(self.known().entry(key_of(uri)).or_default());
        // Whoever comes second waits for the answer to the first, and not for longer altogether.
        let mut known = place.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(Known { addresses, since }) = known.as_ref()
            && since.elapsed() < FRESH
        {
            return Ok(self.list(addresses));
        }
        let addresses = self.ask(uri, config, less(timeout, began.elapsed())?)?;
        *known = Some(Known { addresses: addresses.to_vec(), since: Instant::now() });
        Ok(addresses)
    }
}

impl<R: Resolver> Names<R> {
    fn ask(
        &self,
        uri: &Uri,
        config: &Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let unknown = |source| {
            let host = uri.host().unwrap_or_default().to_owned();
            ureq::Error::Other(Box::new(Failure::Dns { host, source }))
        };
        match self.system.resolve(uri, config, timeout) {
            Err(ureq::Error::Io(source)) => Err(unknown(source)),
            Err(ureq::Error::HostNotFound) => Err(unknown(io::Error::other("it has no address"))),
            resolved => resolved,
        }
    }

    fn list(&self, addresses: &[SocketAddr]) -> ResolvedSocketAddrs {
        let mut list = self.empty();
        for address in addresses {
            list.push(*address);
        }
        list
    }

    fn known(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Arc<Mutex<Option<Known>>>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Asks the operating system, in a thread that is left behind when time is over. Where the system
/// gives no thread the asking has no limit of time.
#[derive(Debug, Default)]
pub(super) struct System;

impl Resolver for System {
    fn resolve(
        &self,
        uri: &Uri,
        config: &Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let without_limit = NextTimeout { after: time::Duration::NotHappening, ..timeout };
        let ask = move |uri: &Uri, config: &Config| {
            DefaultResolver::default().resolve(uri, config, without_limit)
        };
        let (give, take) = mpsc::sync_channel(1);
        let (its_uri, its_config) = (uri.clone(), config.clone());
        let asking = thread::Builder::new().spawn(move || {
            // Nobody waits any more when time is over.
            let _late = give.send(ask(&its_uri, &its_config));
        });
        match asking {
            Err(_no_thread) => ask(uri, config),
            Ok(_left_behind) => take
                .recv_timeout(*timeout.after)
                .unwrap_or(Err(ureq::Error::Timeout(timeout.reason))),
        }
    }
}

/// What addresses depend on: they hold the port.
fn key_of(uri: &Uri) -> String {
    let authority = uri.authority().map(ToString::to_string).unwrap_or_default();
    format!("{}//{authority}", uri.scheme_str().unwrap_or_default())
}

/// Returns the addresses that a URL says itself; nothing where somebody has to be asked.
///
/// `localhost` is this machine (RFC 6761, 6.3), and is told credentials without TLS. A resolver that
/// finds it in no file asks the network, which would say who gets them.
fn said(uri: &Uri) -> Vec<SocketAddr> {
    let host = uri.host().unwrap_or_default();
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let addresses = if host.eq_ignore_ascii_case("localhost") {
        vec![IpAddr::from(Ipv4Addr::LOCALHOST), IpAddr::from(Ipv6Addr::LOCALHOST)]
    } else {
        host.parse().into_iter().collect()
    };
    let port = uri.port_u16().or(match uri.scheme_str() {
        Some("http") => Some(80),
        Some("https") => Some(443),
        Some(_) | None => None,
    });
    let with_port = |port| addresses.iter().map(|it| SocketAddr::new(*it, port)).collect();
    port.map(with_port).unwrap_or_default()
}

/// Returns what is left of a time limit.
fn less(timeout: NextTimeout, waited: Duration) -> Result<NextTimeout, ureq::Error> {
    if timeout.after.is_not_happening() {
        return Ok(timeout);
    }
    match timeout.after.checked_sub(waited) {
        Some(left) => Ok(NextTimeout { after: left.into(), ..timeout }),
        None => Err(ureq::Error::Timeout(timeout.reason)),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// Knows one name.
    #[derive(Debug, Default)]
    struct OneName {
        asked: AtomicUsize,
    }

    impl Resolver for OneName {
        fn resolve(
            &self,
            uri: &Uri,
            _config: &Config,
            timeout: NextTimeout,
        ) -> Result<ResolvedSocketAddrs, ureq::Error> {
            self.asked.fetch_add(1, Ordering::Relaxed);
            if uri.host() == Some("slow.example") {
                thread::sleep(*timeout.after);
                return Err(ureq::Error::Timeout(timeout.reason));
            }
            let mut list = self.empty();
            list.push("192.0.2.1:80".parse().unwrap());
            Ok(list)
        }
    }

    /// Resolves the same name four times at once.
    fn together(names: &Names<OneName>, uri: &str, after: Duration) -> [bool; 4] {
        let uri: Uri = uri.parse().unwrap();
        let timeout = NextTimeout { after: after.into(), ..NextTimeout::default() };
        let one = || names.resolve(&uri, &Config::default(), timeout).is_ok();
        thread::scope(|scope| [(); 4].map(|()| scope.spawn(one)).map(|it| it.join().unwrap()))
    }

    #[test]
    fn a_name_is_asked_for_once_in_a_round() {
        let names = Names::<OneName>::default();
        assert_eq!(together(&names, "http://known.example/x", Duration::from_secs(9)), [true; 4]);
        assert_eq!(names.system.asked.load(Ordering::Relaxed), 1);
        assert_eq!(together(&names, "http://other.example/x", Duration::from_secs(9)), [true; 4]);
        assert_eq!(names.system.asked.load(Ordering::Relaxed), 2);
    }

    #[test]
    fn who_waits_for_anothers_question_waits_no_longer_than_for_its_own() {
        let names = Names::<OneName>::default();
        let (began, limit) = (Instant::now(), Duration::from_secs(1));
        assert_eq!(together(&names, "http://slow.example/", limit), [false; 4]);
        // One after another would be four times the limit.
        assert!(began.elapsed() < limit * 3, "{:?}", began.elapsed());
    }

    #[track_caller]
    fn check(uri: &str, expected: &[&str]) {
        let expected: Vec<SocketAddr> = expected.iter().map(|it| it.parse().unwrap()).collect();
        assert_eq!(said(&uri.parse().unwrap()), expected, "{uri}");
    }

    #[test]
    fn this_machine_is_found_without_asking_anybody() {
        check("http://localhost/x", &["127.0.0.1:80", "[::1]:80"]);
        check("https://LocalHost:8443/x", &["127.0.0.1:8443", "[::1]:8443"]);
        let names = Names::<OneName>::default();
        assert_eq!(together(&names, "http://localhost:9999/x", Duration::from_secs(9)), [true; 4]);
        assert_eq!(names.system.asked.load(Ordering::Relaxed), 0);
        // These lead where a resolver says, and count as no machine of ours.
        for uri in ["http://x.localhost/", "http://localhost./", "http://localhost.example.com/"] {
            check(uri, &[]);
        }
    }

    #[test]
    fn addresses_in_urls_need_nobody_to_resolve_them() {
        check("http://127.0.0.1/x", &["127.0.0.1:80"]);
        check("https://[::1]/x", &["[::1]:443"]);
        check("https://10.0.0.1:8443/x", &["10.0.0.1:8443"]);
        check("socks5://10.0.0.1:1080", &["10.0.0.1:1080"]);
        for uri in ["http://example.com/", "socks5://10.0.0.1", "http://1.2.3.4.example.com/"] {
            check(uri, &[]);
        }
    }
}
