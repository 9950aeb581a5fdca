//! How the places of a server are reached: proxies, and whose certificates are believed.

use std::collections::BTreeSet;

use dbt_client::anchor::in_one_line;
use dbt_client::session::Session;
use dbt_client::source;
use dbt_client::url::Scheme;

use super::findings::Findings;
use super::kind::Kind;

/// Looks at the way to one server, and says whether a request can set out. Sends nothing.
pub(super) fn connections(session: &Session<'_>, findings: &mut Findings) -> bool {
    let mut is_clear = true;
    let server = &session.settings.server;
    let places = [&server.repository, &server.tools, &server.truststore];
    let origins: BTreeSet<_> = places.into_iter().filter_map(|place| place.origin()).collect();
    for origin in &origins {
        match source::proxy_for(&session.settings.network, origin) {
            Ok(None) => {}
            Ok(Some(proxy)) => {
                let found = format!("`{origin}` is reached through the proxy `{proxy}`");
                findings.good("proxy", found);
            }
            Err(failure) => {
                let fix = "correct the proxy's variable";
                findings.wrong(Kind::SERVER_PROXY, failure.to_string(), fix);
                is_clear = false;
            }
        }
    }
    if origins.iter().any(|origin| origin.scheme() == Scheme::Https) {
        is_clear &= authorities(session, findings);
    }
    is_clear
}

/// Looks at whose certificates are believed, and says whether that is known.
fn authorities(session: &Session<'_>, findings: &mut Findings) -> bool {
    let roots = match session.certificate_roots() {
        Ok(roots) => roots,
        Err(error) => {
            let fix = "correct `caFile`, or `SSL_CERT_FILE`";
            findings.wrong(Kind::CERTIFICATES_FILE, in_one_line(&error), fix);
            return false;
        }
    };
    if !roots.places.is_empty() {
        let found = format!("certificate authorities: {}", roots.places.join(", "));
        findings.good("authorities", found);
    }
    if roots.is_mozilla {
        findings.wrong(
            Kind::CERTIFICATES_MOZILLA,
            "this host has no certificate authorities",
            "`apt install ca-certificates`, or `\"caFile\": \"FILE\"`",
        );
    }
    for unused in roots.unused {
        findings.wrong(Kind::CERTIFICATES_UNUSED, unused, "correct the variable, or unset it");
    }
    true
}
