//! What can be wrong with a server: what is configured and remembered of it, and what it answers
//! to what a run asks first.

use std::io::ErrorKind;
use std::time::Duration;

use dbt_client::anchor::in_one_line;
use dbt_client::auth::CredentialsError;
use dbt_client::session::Session;
use dbt_client::source::{Answer, BucketProblem, Failure, FetchError, TlsProblem};
use dbt_core::brand;
use dbt_core::layout::Location;
use dbt_core::timestamp;
use dbt_core::trust::TrustStore;
use dbt_core::trust::keys::{Certificate, Keyring};

use super::connection::connections;
use super::findings::Findings;
use super::kind::Kind;
use crate::commands::{trust, which};

/// What somebody else has to put right.
const TELL: &str = "tell the server's administrator";

/// Looks at one server.
pub(super) fn server(session: &Session<'_>, findings: &mut Findings) {
    let server = &session.settings.server;
    match which::level(session) {
        Ok(level) => findings.good("server", format!("{} (level: {level})", server.repository)),
        Err(report) => {
            let found = in_one_line(report.error());
            return findings.wrong(Kind::STATE_DAMAGED, found, restore());
        }
    }
    if session.state.directory().is_none() {
        let found = "nothing can be written to the directory `state`";
        let fix = match &session.settings.places.home {
            Some(home) => format!("`chmod -R u+rwX '{}'`", home.join("state").display()),
            None => "give it a home directory".to_owned(),
        };
        findings.wrong(Kind::STATE_MEMORY, found, fix);
    }
    without_tls(session, findings);
    let way_is_clear = connections(session, findings);
    let known = match session.anchor().last_good("not asked") {
        Ok(known) => known,
        Err(error) => {
            findings.wrong(Kind::STATE_DAMAGED, in_one_line(&error), restore());
            None
        }
    };
    let asks = way_is_clear && !session.settings.offline;
    let fetched = if asks { reach(session, known.as_ref(), findings) } else { None };
    let known_ones = known.iter().flat_map(TrustStore::signers).map(|signer| &signer.certificate);
    match &fetched {
        Some(keyring) => keyring.certificates.iter().for_each(|it| key(session, it, findings)),
        None => known_ones.for_each(|it| key(session, it, findings)),
    }
    for signer in known.iter().flat_map(TrustStore::signers) {
        let certificate = &signer.certificate;
        if !certificate.is_revoked() && !trust::counts(signer) {
            let found = format!("{} {}", certificate.fingerprint(), certificate.name());
            let fix = format!(
                "`{} trust approve FINGERPRINT`, once an administrator has told it",
                brand::PROGRAM
            );
            findings.wrong(Kind::KEY_NEWCOMER, found, fix);
        }
    }
}

fn restore() -> String {
    format!("restore the file, or `{} trust reset --anchor FINGERPRINT`", brand::PROGRAM)
}

/// Looks whether everybody on the way can read along.
fn without_tls(session: &Session<'_>, findings: &mut Findings) {
    let server = &session.settings.server;
    let urls = [&server.repository, &server.tools, &server.truststore];
    let Some(open) = urls.into_iter().find(|url| url.is_plain_http() && !url.is_loopback()) else {
        return;
    };
    let secure = open.to_string().replacen("http://", "https://", 1);
    let (found, fix) = (open.to_string(), format!("`{secure}`, where the server speaks it"));
    if server.credentials.is_none() {
        findings.wrong(Kind::SERVER_HTTP, found, fix);
    } else {
        findings.wrong(Kind::CREDENTIALS_HTTP, found, fix);
    }
}

/// Asks for what a run asks for first. Returns the keys that the server has now.
fn reach(
    session: &Session<'_>,
    known: Option<&TrustStore>,
    findings: &mut Findings,
) -> Option<Keyring> {
    let patience = session.patience(false);
    let repository = session.repository();
    let mut failed = None;
    let keyring = match repository.truststore(None, &patience) {
        Ok(Answer::Document { bytes, etag: _ }) => truststore(session, &bytes, known, findings),
        Ok(Answer::NotModified) => None,
        Err(error) => {
            failed = Some(fetching(session, &error, Asked::Truststore, findings));
            None
        }
    };
    match repository.list(&Location::tools(), &patience) {
        Ok(listing) => {
            let count = listing.directories().count();
            let noun = if count == 1 { "tool" } else { "tools" };
            findings.good("listing", format!("it lists {count} {noun}"));
        }
        Err(error) if failed == Some(kind_of(error.failure(), Asked::Listing)) => {}
        // A page is no listing either.
        Err(_) if failed == Some(Kind::SERVER_PAGE) => {}
        Err(error) => {
            fetching(session, &error, Asked::Listing, findings);
        }
    }
    if failed.is_none() {
        clock(session, findings);
    }
    keyring
}

/// What was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    Truststore,
    Listing,
}

/// Reports that a request failed.
fn fetching(
    session: &Session<'_>,
    error: &FetchError,
    asked: Asked,
    findings: &mut Findings,
) -> Kind {
    let kind = kind_of(error.failure(), asked);
    // That is said before anything is asked.
    if kind != Kind::CREDENTIALS_HTTP {
        let fix = fix_of(session, error, kind);
        findings.wrong(kind, in_one_line(error), fix);
    }
    kind
}

fn kind_of(failure: &Failure, asked: Asked) -> Kind {
    match (failure, asked) {
        (
            Failure::Dns { .. }
            | Failure::Connect { .. }
            | Failure::ConnectTime { .. }
            | Failure::Reset { .. }
            | Failure::Stall { .. }
            | Failure::TimeOver
            | Failure::Truncated { .. }
            | Failure::Local { .. },
            _,
        ) => Kind::SERVER_UNREACHABLE,
        (Failure::Proxy { .. }, _) => Kind::SERVER_PROXY,
        (Failure::Tls(_), _) => Kind::SERVER_TLS,
        (Failure::CertificateFile { .. }, _) => Kind::CERTIFICATES_FILE,
        (Failure::Unauthorized, _) => Kind::SERVER_SIGN_IN,
        (Failure::Credentials(CredentialsError::PlainHttp { .. }), _) => Kind::CREDENTIALS_HTTP,
        (Failure::Credentials(_), _) => Kind::CREDENTIALS_UNUSABLE,
        (Failure::Bucket(problem), _) => kind_of_bucket(problem),
        (Failure::Html { .. }, _) => Kind::SERVER_PAGE,
        (Failure::NotFound | Failure::RootMissing, Asked::Truststore) => Kind::TRUSTSTORE_MISSING,
        // Servers that are not to list directories forbid them.
        (
            Failure::NotFound | Failure::RootMissing | Failure::Forbidden | Failure::Listing(_),
            Asked::Listing,
        ) => Kind::SERVER_NO_LISTING,
        (Failure::Forbidden, Asked::Truststore) => Kind::SERVER_FORBIDDEN,
        _ => Kind::SERVER_BROKEN,
    }
}

fn kind_of_bucket(problem: &BucketProblem) -> Kind {
    use BucketProblem::{BadCredentials, Clock, Denied, NoCredentials};
    if matches!(problem, NoCredentials { .. } | BadCredentials { .. }) {
        Kind::SERVER_SIGN_IN
    } else if matches!(problem, Denied { .. }) {
        Kind::SERVER_FORBIDDEN
    } else if matches!(problem, Clock { .. }) {
        Kind::CLOCK_DIFFERS
    } else {
        Kind::SERVER_BROKEN
    }
}

fn fix_of(session: &Session<'_>, error: &FetchError, kind: Kind) -> String {
    let (settings, url) = (session.settings, error.url());
    let (network, name) = (&settings.network, &settings.server.name);
    let host = settings.server.repository.origin().map(|origin| origin.host().to_owned());
    let direct = format!("`export NO_PROXY={}`", host.clone().unwrap_or_default());
    let proxied = network.https_proxy.is_some() || network.http_proxy.is_some();
    let is = |problem| matches!(error.failure(), Failure::Tls(found) if *found == problem);
    if let Failure::Credentials(credentials) = error.failure() {
        return fix_of_credentials(credentials);
    }
    if let Failure::Bucket(_) = error.failure()
        && let Some(hint) = error.hint()
    {
        return hint;
    }
    match kind {
        Kind::SERVER_UNREACHABLE => {
            let place = host.unwrap_or_else(|| url.to_owned());
            format!(
                "look whether `{place}` can be reached, or correct its URL in the configuration"
            )
        }
        Kind::SERVER_PROXY => format!("correct the proxy's variable, or {direct}"),
        Kind::SERVER_PAGE if proxied => format!("{direct}, or sign in to the network: `{url}`"),
        Kind::SERVER_PAGE => format!("sign in to the network: open `{url}` in a browser"),
        Kind::SERVER_TLS if is(TlsProblem::Expired) || is(TlsProblem::NotYetValid) => {
            format!("look at the clock of this machine; if it is right, {TELL}")
        }
        Kind::SERVER_TLS if is(TlsProblem::NotTls) => format!("look at the port in `{url}`"),
        Kind::SERVER_TLS if is(TlsProblem::WrongHost) => {
            format!("correct the host in `{url}`, or {TELL}")
        }
        Kind::SERVER_TLS if !is_unknown_authority(error) => TELL.to_owned(),
        Kind::SERVER_TLS => {
            "`\"caFile\": \"FILE\"` for the server, with your organisation's certificate authority"
                .to_owned()
        }
        Kind::CERTIFICATES_FILE => "correct `caFile`, or `SSL_CERT_FILE`".to_owned(),
        Kind::SERVER_SIGN_IN => settings.server.hint_to_sign_in().unwrap_or_else(|| {
            format!(
                "`{} login`, or `username` and `password`, or `token`, in `servers.{name}`",
                brand::PROGRAM
            )
        }),
        Kind::SERVER_FORBIDDEN => "ask the server's administrator for leave to read".to_owned(),
        Kind::SERVER_NO_LISTING => {
            let tools = &settings.server.tools;
            format!(
                "turn listings of directories on, or correct `toolsRepository`, which is `{tools}`"
            )
        }
        Kind::TRUSTSTORE_MISSING => format!("correct `truststore`, which is `{url}`"),
        _ => TELL.to_owned(),
    }
}

/// Returns what helps where a password or token cannot be had.
fn fix_of_credentials(error: &CredentialsError) -> String {
    if let CredentialsError::File { path, key, .. } = error {
        return format!("make `{}` readable, or correct `{key}`", path.display());
    }
    if let CredentialsError::Run { key, source } = error
        && source.kind() == ErrorKind::NotFound
    {
        return format!(
            "install a shell (`sh`), which the command of `{key}` needs, or {}",
            without_command(key)
        );
    }
    error.hint().unwrap_or_else(|| "correct what the message names".to_owned())
}

/// Returns what can stand in the place of the command of a key. What a file holds is sent as a
/// token, and never as a password.
fn without_command(key: &str) -> String {
    let own = key.rsplit('.').next().unwrap_or(key);
    match own.strip_suffix("func") {
        Some(secret) => format!("write `{secret}` in its place, perhaps as `${{VARIABLE}}`"),
        None => "keep the token in a file (`tokenFile`)".to_owned(),
    }
}

/// Says whether the organisation's certificate authority may be all that is missing.
fn is_unknown_authority(error: &FetchError) -> bool {
    matches!(
        error.failure(),
        Failure::Tls(TlsProblem::UnknownIssuer { .. } | TlsProblem::SelfSigned { .. })
    )
}

/// Looks at the truststore as the server has it now.
fn truststore(
    session: &Session<'_>,
    bytes: &[u8],
    known: Option<&TrustStore>,
    findings: &mut Findings,
) -> Option<Keyring> {
    let keyring = match Keyring::parse(bytes) {
        Ok(keyring) => keyring,
        Err(error) => {
            findings.wrong(Kind::TRUSTSTORE_UNUSABLE, in_one_line(&error), TELL);
            return None;
        }
    };
    let rules = &session.settings.server.rules;
    let ask = "ask an administrator for the fingerprints that count now";
    let any = |is: &dyn Fn(&Certificate) -> bool| keyring.certificates.iter().any(is);
    let is_known = |it: &Certificate| {
        let mut known = known.into_iter().flat_map(TrustStore::signers);
        known.any(|signer| signer.certificate.fingerprint() == it.fingerprint())
    };
    if rules.names_signers() && !any(&|it| rules.names(it.fingerprint())) {
        let found = "none of the keys that the configuration's `trust` names is in it";
        findings.wrong(Kind::TRUSTSTORE_UNUSABLE, found, ask);
    } else if known.is_some() && !any(&is_known) {
        let found = "no key that this machine knows is left in it";
        findings.wrong(Kind::TRUSTSTORE_UNUSABLE, found, ask);
    } else {
        let count = keyring.certificates.len();
        let noun = if count == 1 { "key" } else { "keys" };
        findings.good("truststore", format!("it has {count} usable {noun}"));
    }
    let is_over = |it: &Certificate| {
        it.is_revoked() || it.expires().is_some_and(|expires| expires < session.now())
    };
    if keyring.certificates.iter().all(is_over) {
        findings.wrong(Kind::TRUSTSTORE_EXPIRED, "no key is left that can sign", TELL);
    }
    for skipped in &keyring.skipped {
        findings.wrong(Kind::TRUSTSTORE_SKIPPED, skipped.to_string(), TELL);
    }
    Some(keyring)
}

/// Looks at one key.
fn key(session: &Session<'_>, certificate: &Certificate, findings: &mut Findings) {
    const SOON: Duration = Duration::from_hours(60 * 24);
    let who = format!("{} {}", certificate.fingerprint(), certificate.name());
    if certificate.is_revoked() {
        return findings.wrong(Kind::KEY_REVOKED, who, TELL);
    }
    let Some(expires) = certificate.expires() else { return };
    let date = timestamp::format_date(expires);
    match expires.duration_since(session.now()) {
        Err(_past) => findings.wrong(Kind::KEY_EXPIRED, format!("{who}, on {date}"), TELL),
        Ok(left) if left < SOON => {
            findings.wrong(Kind::KEY_EXPIRES, format!("{who}, on {date}"), TELL);
        }
        Ok(_) => {}
    }
}

/// Compares the clocks.
fn clock(session: &Session<'_>, findings: &mut Findings) {
    const MUCH: Duration = Duration::from_mins(5);
    let Some(theirs) = session.server_time() else { return };
    let ours = session.now();
    let apart = ours.duration_since(theirs).unwrap_or_else(|error| error.duration());
    if apart > MUCH {
        let (ours, theirs) = (timestamp::format(ours), timestamp::format(theirs));
        let found = format!("it is {ours} here, and {theirs} there");
        let fix = "`timedatectl set-ntp true` here, unless the server's clock is wrong";
        findings.wrong(Kind::CLOCK_DIFFERS, found, fix);
    }
}
