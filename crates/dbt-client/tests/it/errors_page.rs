//! docs/providers/errors.md: what is said of that which a server would have been sent.

use std::io;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Duration;

use dbt_client::auth::agent::AgentError;
use dbt_client::auth::{CredentialsError, KeyProblem, NetrcProblem, SshError};
use dbt_client::oidc::OidcError;
use dbt_client::ownership::Distrust;
use dbt_client::url::RepositoryUrl;
use dbt_testkit::errors_page::{Section, has_one_of_each};

const LIMIT: Duration = Duration::from_secs(30);

fn key() -> String {
    "servers.acme.passwordfunc".to_owned()
}

fn fingerprint() -> String {
    "SHA256:bbXpuKG6zhzdmnxq256TlqzFBzRl2f6OOg722cYNbU8".to_owned()
}

fn failure() -> Arc<io::Error> {
    Arc::new(io::Error::from(io::ErrorKind::NotFound))
}

fn of_credentials() -> Vec<CredentialsError> {
    let url: RepositoryUrl = "http://dbt.example.com".parse().unwrap();
    let status = ExitStatus::default();
    vec![
        CredentialsError::PlainHttp { origin: url.origin().unwrap().clone() },
        CredentialsError::Run { key: key(), source: failure() },
        CredentialsError::Failed { key: key(), status },
        CredentialsError::TimeOver { key: key(), limit: LIMIT },
        CredentialsError::File { key: key(), path: PathBuf::from("/x"), source: failure() },
        CredentialsError::TooLong { key: key(), limit: 65536 },
        CredentialsError::NotText { key: key() },
        CredentialsError::BadCharacter { key: key() },
        CredentialsError::Colon,
        CredentialsError::Ssh(SshError::Made { source: failure() }),
        CredentialsError::Agent(AgentError::NoAgent),
        CredentialsError::Provider(Arc::new(OidcError::Cancelled)),
        CredentialsError::Busy { waited: LIMIT },
    ]
}

fn of_keys() -> Vec<SshError> {
    vec![
        SshError::Key { key: key(), source: KeyProblem::NoKey },
        SshError::NoKeys { key: key(), fingerprint: fingerprint() },
        SshError::NotHeld { key: key(), fingerprint: fingerprint() },
        SshError::Agent { key: key(), fingerprint: fingerprint(), source: AgentError::Refused },
        SshError::OtherSignature {
            key: key(),
            fingerprint: fingerprint(),
            algorithm: "ssh-rsa".to_owned(),
        },
        SshError::Made { source: failure() },
    ]
}

fn of_agents() -> Vec<AgentError> {
    vec![
        AgentError::NoAgent,
        AgentError::Connect { socket: PathBuf::from("/x"), source: failure() },
        AgentError::Exchange { source: failure() },
        AgentError::TimeOver { limit: LIMIT },
        AgentError::Refused,
        AgentError::Malformed,
    ]
}

fn of_netrc() -> Vec<NetrcProblem> {
    let path = || PathBuf::from("/home/alice/.netrc");
    vec![
        NetrcProblem::Exposed { path: path(), mode: 0o644 },
        NetrcProblem::Distrusted(Distrust::Mode { path: path(), mode: 0o777 }),
        NetrcProblem::Malformed { path: path(), line: 3, problem: "a word has no value behind it" },
        NetrcProblem::Unreadable { path: path(), reason: "no such file".to_owned() },
    ]
}

#[test]
fn every_message_about_what_would_be_sent_is_on_the_page_about_errors() {
    let mut section = Section::of("What dbt says of that which it would send");
    let (credentials, keys) = (of_credentials(), of_keys());
    let (agents, netrc) = (of_agents(), of_netrc());
    // What a provider says is in a section of its own.
    let is_ours = |error: &&CredentialsError| !matches!(error, CredentialsError::Provider(_));
    let said = credentials.iter().filter(is_ours).map(ToString::to_string);
    let said = said.chain(keys.iter().map(ToString::to_string));
    let said = said.chain(agents.iter().map(ToString::to_string));
    for message in said.chain(netrc.iter().map(ToString::to_string)) {
        section.has(&message);
    }
    section.was_all_said();
    has_one_of_each(&credentials, "CredentialsError", include_str!("../../src/auth/mod.rs"));
    has_one_of_each(&keys, "SshError", include_str!("../../src/auth/ssh_token.rs"));
    has_one_of_each(&agents, "AgentError", include_str!("../../src/auth/agent.rs"));
    has_one_of_each(&netrc, "NetrcProblem", include_str!("../../src/auth/netrc.rs"));
}
