//! docs/providers/errors.md: what is said of that which a server would have been sent; and docs/s3.md:
//! what is said of buckets.

use std::io;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Duration;

use dbt_client::auth::agent::AgentError;
use dbt_client::auth::{Credentials, CredentialsError, KeyProblem, NetrcProblem, SshError};
use dbt_client::oidc::OidcError;
use dbt_client::ownership::Distrust;
use dbt_client::settings::Network;
use dbt_client::source::{self, AwsError, BucketProblem, Connector, Patience};
use dbt_client::url::RepositoryUrl;
use dbt_core::repo_path::RepoPath;
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
        CredentialsError::Aws(Box::new(AwsError::Circle { name: "acme".to_owned() })),
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
    // What a provider says is in a section of its own, and what AWS says on a page of its own.
    let is_ours = |error: &&CredentialsError| {
        !matches!(error, CredentialsError::Provider(_) | CredentialsError::Aws(_))
    };
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

const BUCKETS: &str = include_str!("../../../../docs/s3.md");

fn of_aws() -> Vec<AwsError> {
    let (place, who) = (|| "the environment".to_owned(), || "AWS STS".to_owned());
    let name = || "acme".to_owned();
    let nowhere = source::open(
        &"/nowhere/at/all".parse().unwrap(),
        &Connector::new(&Network::default(), None, "dbt/4.0.0"),
        &Credentials::none(),
    );
    let patience = Patience::without_cached_copy(1.0);
    let asked = nowhere.list(&RepoPath::root(), &patience).unwrap_err();
    let problem = || "line 3 is neither a section nor a value".to_owned();
    vec![
        AwsError::File { path: PathBuf::from("/x"), source: failure() },
        AwsError::BadFile { path: PathBuf::from("/x"), problem: problem() },
        AwsError::NoProfile { name: name() },
        AwsError::Incomplete { place: place(), key: "AWS_SECRET_ACCESS_KEY" },
        AwsError::BadValue { place: place(), key: "AWS_ENDPOINT_URL", problem: problem() },
        AwsError::Circle { name: name() },
        AwsError::Code { name: name() },
        AwsError::Program(CredentialsError::NotText { key: "credential_process".to_owned() }),
        AwsError::NoCredentials { who: who() },
        AwsError::Asked { who: who(), source: Arc::new(asked) },
        AwsError::Refused { who: who(), code: "AccessDenied".to_owned(), message: String::new() },
        AwsError::NotSignedIn { start: "https://acme.awsapps.com".to_owned(), profile: name() },
    ]
}

fn of_buckets() -> Vec<BucketProblem> {
    let (bucket, key) = (|| "acme-tools".to_owned(), || "AKACME".to_owned());
    let code = || "AccessDenied".to_owned();
    let (is, said) = (|| "eu-west-1".to_owned(), || "us-east-1".to_owned());
    vec![
        BucketProblem::NoCredentials { bucket: bucket(), code: code() },
        BucketProblem::BadCredentials { key: key(), code: code() },
        BucketProblem::Renewed { key: key() },
        BucketProblem::Denied {
            key: key(),
            permission: "s3:PutObject",
            bucket: bucket(),
            code: code(),
        },
        BucketProblem::Region { bucket: bucket(), said: said(), is: is() },
        BucketProblem::Moved { bucket: bucket(), is: is() },
        BucketProblem::NoBucket { bucket: bucket() },
        BucketProblem::Clock { code: code() },
        BucketProblem::Conflict { code: code() },
        BucketProblem::Unknown { code: code() },
        BucketProblem::Refused { status: 400, code: code() },
    ]
}

#[test]
fn every_message_about_a_bucket_is_on_the_page_about_buckets() {
    let mut section = Section::on(BUCKETS, "When a bucket cannot be read or written");
    let (aws, buckets) = (of_aws(), of_buckets());
    // What a program does is said as of any command that gives a secret.
    let said = aws.iter().filter(|error| !matches!(error, AwsError::Program(_)));
    for message in said.map(ToString::to_string).chain(buckets.iter().map(ToString::to_string)) {
        section.has(&message);
    }
    section.was_all_said();
    has_one_of_each(&aws, "AwsError", include_str!("../../src/source/aws/error.rs"));
    has_one_of_each(&buckets, "BucketProblem", include_str!("../../src/source/s3/problem.rs"));
}
