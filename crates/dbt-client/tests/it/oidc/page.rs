//! docs/providers: the client's settings are read as they are written, and every message of a sign-in is
//! on the page about errors.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use dbt_client::config::ConfigFile;
use dbt_client::fsx::FsxError;
use dbt_client::oidc::{ErrorCode, OidcError, Provider, Refusal, TriedKey, What};
use dbt_client::ownership::Distrust;
use dbt_client::token_cache::{CacheProblem, KeychainError, KeychainProblem};
use dbt_client::url::RepositoryUrl;
use dbt_testkit::errors_page::{Section, has_one_of_each};
use dbt_testkit::http::Answer;
use dbt_testkit::identity_provider::DISCOVERY;
use dbt_testkit::token_endpoint::TokenEndpoint;
use serde_json::Value;

use super::{addresses, channel, said};

const SAFEKEEPING: &str = include_str!("../../../src/token_cache/safekeeping.rs");

fn pages() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/providers")
}

/// Returns the blocks of JSON of all pages in which a client is configured.
fn configurations() -> Vec<(String, Value)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(pages()).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        for block in text.split("```json\n").skip(1) {
            let block: Value = serde_json::from_str(block.split("```").next().unwrap()).unwrap();
            if block.get("servers").is_some() {
                found.push((path.file_name().unwrap().to_string_lossy().into_owned(), block));
            }
        }
    }
    found
}

#[test]
fn the_client_of_each_page_is_configured_as_it_is_written() {
    let configurations = configurations();
    assert_eq!(configurations.len(), 7);
    for (page, block) in configurations {
        let file = ConfigFile::parse(block.to_string().as_bytes());
        let file = file.unwrap_or_else(|error| panic!("{page}: {error}"));
        assert!(file.unknown.is_empty(), "{page}: {:?}", file.unknown);
        let [server] = file.servers.as_slice() else { panic!("{page}") };
        let written = &block["servers"][server.name.as_str()];
        let auth_type = server.sign_in.auth_type.as_ref().unwrap();
        assert_eq!(auth_type.as_written().expose(), "oidc", "{page}");
        let issuer = server.sign_in.issuer_url.as_ref().unwrap().as_written().expose();
        assert_eq!(written["issuerUrl"], **issuer, "{page}");
        issuer
            .parse::<dbt_client::oidc::Issuer>()
            .unwrap_or_else(|error| panic!("{page}: {error}"));
        assert!(written["oidcClientId"].is_string(), "{page}");
    }
}

fn refusals() -> Vec<OidcError> {
    use ErrorCode as Code;
    let of = |what, code| {
        let url = "https://id.example.com/token".to_owned();
        OidcError::from(Refusal { url, what, code, description: None })
    };
    vec![
        of(What::Exchange, Code::InvalidRequest),
        of(What::Device, Code::InvalidClient),
        of(What::Renewal, Code::InvalidGrant),
        of(What::Device, Code::InvalidGrant),
        of(What::Code, Code::InvalidGrant),
        of(What::Exchange, Code::InvalidGrant),
        of(What::DeviceCode, Code::UnauthorizedClient),
        of(What::DeviceCode, Code::UnsupportedGrantType),
        of(What::Authorization, Code::InvalidScope),
        of(What::Exchange, Code::InvalidTarget),
        of(What::Exchange, Code::AccessDenied),
        of(What::Authorization, Code::AccessDenied),
        of(What::Device, Code::ExpiredToken),
        of(What::Device, Code::ServerError),
        of(What::Device, Code::TemporarilyUnavailable),
        of(What::Device, Code::Other("odd".to_owned())),
    ]
}

fn errors() -> Vec<OidcError> {
    let url = || "https://id.example.com/token".to_owned();
    let issuer = || "https://id.example.com".to_owned();
    let key = |name: &str| TriedKey { name: name.to_owned(), answer: "no".to_owned() };
    let not_an_endpoint = || "x".parse::<dbt_client::source::EndpointUrl>().unwrap_err();
    let id_token = |problem| OidcError::IdToken { issuer: issuer(), problem };
    vec![
        OidcError::Url { name: "issuerUrl", source: not_an_endpoint() },
        OidcError::OtherIssuer { url: url(), expected: issuer(), found: "x".to_owned() },
        OidcError::NotOffered { issuer: issuer(), what: "tokens" },
        OidcError::Malformed { url: url(), problem: "it is none" },
        OidcError::NoKeyAccepted { url: url(), tried: vec![key("a")] },
        OidcError::NoKeyAccepted { url: url(), tried: vec![key("a"), key("b")] },
        OidcError::NoKey { url: url() },
        OidcError::TimeOver { limit: Duration::from_mins(5) },
        OidcError::Cancelled,
        OidcError::Listen(io::Error::from(io::ErrorKind::AddrInUse)),
        OidcError::Pasted { problem: "it belongs to another sign-in" },
        OidcError::NoRandomness,
        id_token("it is for another client"),
        id_token("another provider made it"),
        id_token("it belongs to another sign-in"),
        OidcError::IdentityFile {
            variable: "DBT_ID_TOKEN_FILE".to_owned(),
            path: PathBuf::from("/x"),
            source: io::Error::from(io::ErrorKind::NotFound),
        },
        OidcError::OtherAudience {
            variable: "DBT_ID_TOKEN".to_owned(),
            found: "`https://other.example.com`".to_owned(),
            expected: "https://dbt.example.com".to_owned(),
        },
        OidcError::NoIdentity { variable: "DBT_ID_TOKEN".to_owned() },
    ]
}

#[test]
fn every_message_of_a_sign_in_is_on_the_page_about_errors() {
    let mut section = Section::of("What dbt says of an identity provider");
    let mut errors = errors();
    errors.extend(refusals());
    for error in &errors {
        section.has(&error.to_string());
    }
    let endpoint = TokenEndpoint::start();
    for answer in [Answer::text(502, "away"), Answer::of(200, "text/html", b"<html>".to_vec())] {
        endpoint.next(DISCOVERY, answer);
        let error = Provider::discover(&channel(), &addresses(&endpoint)).unwrap_err();
        section.has(&said(&error, &endpoint));
        errors.push(error);
    }
    has_one_of_each(&errors, "OidcError", include_str!("../../../src/oidc/error.rs"));
    let origin = || {
        let url: RepositoryUrl = "https://dbt.example.com".parse().unwrap();
        url.origin().unwrap().clone()
    };
    let path = || PathBuf::from("/home/alice/.dbt/state/tokens.json");
    let failed = |action| FsxError::new(action, path(), io::Error::from(io::ErrorKind::Other));
    let problems = [
        CacheProblem::Distrusted(Distrust::Mode { path: path(), mode: 0o777 }),
        CacheProblem::Foreign { path: path(), owner: 7 },
        CacheProblem::Open { path: path(), mode: 0o644 },
        CacheProblem::NoFile { path: path() },
        CacheProblem::Damaged { path: path() },
        CacheProblem::Newer { path: path() },
        CacheProblem::NotRenewed { path: path() },
        CacheProblem::Busy { path: path(), waited: Duration::from_secs(10) },
        CacheProblem::Read(failed("read")),
        CacheProblem::Write(failed("write")),
        CacheProblem::Keychain(KeychainProblem::NotKept(origin(), KeychainError::Unsupported)),
    ];
    let of_keychain = [
        KeychainProblem::NotRead(origin(), KeychainError::Unsupported),
        KeychainProblem::NotKept(origin(), KeychainError::Unsupported),
        KeychainProblem::NotRenewed(origin(), KeychainError::Unsupported),
        KeychainProblem::NotRemoved(origin(), KeychainError::Unsupported),
    ];
    let said = problems.iter().map(ToString::to_string);
    for problem in said.chain(of_keychain.iter().map(ToString::to_string)) {
        section.has(&problem);
    }
    has_one_of_each(&of_keychain, "KeychainProblem", SAFEKEEPING);
    has_one_of_each(&problems, "CacheProblem", include_str!("../../../src/token_cache.rs"));
    section.was_all_said();
}
