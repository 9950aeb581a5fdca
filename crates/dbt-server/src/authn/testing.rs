//! What the tests of several methods need.

use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, SystemTime};

use hyper::{HeaderMap, Method, Uri};

use super::{Attempt, Authenticator, Credential, Presented, Scope, Verdict};

/// When the tests begin.
pub(crate) fn start() -> SystemTime {
    after(0)
}

/// So many seconds later.
pub(crate) fn after(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000 + seconds)
}

/// Returns what a method says of a credential that comes with a request to read.
pub(crate) async fn verdict(
    method: &impl Authenticator,
    credential: &Credential,
    now: SystemTime,
) -> Verdict {
    let headers = HeaderMap::new();
    let presented = Presented {
        headers: &headers,
        method: &Method::GET,
        uri: &Uri::from_static("/"),
        peer: IpAddr::V4(Ipv4Addr::LOCALHOST),
        scope: Scope::Reads,
        client: None,
    };
    method.identify(&Attempt { credential, presented: &presented, now }).await
}
