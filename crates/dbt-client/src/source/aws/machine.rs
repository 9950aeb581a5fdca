//! Credentials that this machine gives: a program on it, the host of a container, the host of the
//! machine itself.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use dbt_core::secret::Secret;
use serde::Deserialize;
use ureq::http::Method;

use super::ask::Question;
use super::{Asker, AwsError, Keys, time};
use crate::auth::SecretValue;
use crate::source::error::Failure;
use crate::source::target::Target;
use crate::url::{Origin, Scheme};

/// What all of them answer.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    access_key_id: String,
    secret_access_key: Secret<String>,
    #[serde(default, alias = "SessionToken")]
    token: Option<Secret<String>>,
    #[serde(default)]
    expiration: Option<String>,
}

impl From<Answer> for Keys {
    fn from(answer: Answer) -> Self {
        Self {
            id: answer.access_key_id,
            secret: answer.secret_access_key,
            token: answer.token,
            expires: answer.expiration.as_deref().and_then(time),
        }
    }
}

/// Runs the program of `credential_process`.
pub(super) fn of_program(
    profile: &str,
    line: &Secret<String>,
    asker: &Asker<'_>,
) -> Result<Keys, AwsError> {
    let program = SecretValue::command("credential_process", line.expose().clone());
    let output = program.read(asker.patience.for_credentials())?;
    let answer: Answer = serde_json::from_str(output.expose()).map_err(|_error| {
        let who = format!("the `credential_process` of the AWS profile `{profile}`");
        AwsError::NoCredentials { who }
    })?;
    Ok(answer.into())
}

/// Asks the host of a container: ECS, EKS Pod Identity, Greengrass.
pub(super) fn of_container(url: &str, asker: &Asker<'_>) -> Result<Keys, AwsError> {
    const WHO: &str = "the container's host";
    let bad = |problem: &str| AwsError::BadValue {
        place: "the environment".to_owned(),
        key: "AWS_CONTAINER_CREDENTIALS_FULL_URI",
        problem: problem.to_owned(),
    };
    let target = Target::of_endpoint(url).map_err(|_problem| bad("it is no URL"))?;
    if !is_a_host_of_containers(target.origin()) {
        return Err(bad("without TLS only the host of this container is asked"));
    }
    let file = "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE";
    let token = if let Some(path) = asker.settings.get(file) {
        let value = SecretValue::file(file, path.into());
        Some(value.read(asker.patience.for_credentials())?.clone())
    } else {
        let token = asker.settings.get("AWS_CONTAINER_AUTHORIZATION_TOKEN");
        token.map(|token| Secret::new(token.to_owned()))
    };
    let headers = token.map(|token| ("authorization", token)).into_iter().collect();
    let question = Question { headers, ..Question::get(WHO, url) };
    let answer: Answer = question.ask(asker.connector, asker.patience)?.json(WHO)?;
    Ok(answer.into())
}

/// Says whether credentials may be asked for there: what AWS gives containers, and no other host
/// without TLS.
fn is_a_host_of_containers(origin: &Origin) -> bool {
    let is_given = match origin.host().parse::<IpAddr>() {
        Ok(IpAddr::V4(address)) => matches!(address.octets(), [169, 254, 170, 2 | 23]),
        Ok(IpAddr::V6(address)) => address.segments() == [0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x23],
        Err(_name) => false,
    };
    origin.scheme() == Scheme::Https || origin.is_loopback() || is_given
}

/// How long the machine's host is waited for: it is near, or not there.
const NEAR: Duration = Duration::from_secs(1);

/// What the machine's host has.
pub(super) enum Host {
    /// Credentials of the machine's role.
    Keys(Keys),
    /// None, or nobody is there: that will be so for a while.
    Nothing,
    /// There was no time to find out.
    Unknown,
}

/// Asks the host of the machine (EC2, `IMDSv2`).
pub(super) fn of_machine(endpoint: &str, asker: &Asker<'_>) -> Result<Host, AwsError> {
    const WHO: &str = "the machine's host";
    let mut patience = asker.patience.clone();
    patience.connect = patience.connect.min(NEAR);
    patience.first_byte = patience.first_byte.min(NEAR);
    let url = format!("{endpoint}/latest/api/token");
    let seconds = Secret::new("21600".to_owned());
    let question = Question {
        method: Method::PUT,
        headers: vec![("x-aws-ec2-metadata-token-ttl-seconds", seconds)],
        ..Question::get(WHO, &url)
    };
    let began = Instant::now();
    let token = match question.ask(asker.connector, &patience) {
        Ok(said) if said.status == 200 => text(said.body),
        Ok(_) => None,
        Err(AwsError::Asked { source, .. }) => {
            let is_waited_for = began.elapsed() >= NEAR * 9 / 10;
            let is_refused = matches!(source.failure(), Failure::Connect { .. });
            let is_known = is_waited_for || is_refused;
            return Ok(if is_known { Host::Nothing } else { Host::Unknown });
        }
        Err(other) => return Err(other),
    };
    let Some(token) = token else { return Ok(Host::Nothing) };
    let get = |path: &str| {
        let url = format!("{endpoint}/latest/meta-data/iam/security-credentials/{path}");
        let headers = vec![("x-aws-ec2-metadata-token", token.clone())];
        Question { headers, ..Question::get(WHO, &url) }.ask(asker.connector, &patience)
    };
    let roles = get("")?;
    if roles.status == 404 {
        return Ok(Host::Nothing);
    }
    let roles = text(roles.body);
    let role = roles.as_ref().and_then(|roles| roles.expose().lines().next()).unwrap_or_default();
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"+=,.@_-".contains(&byte);
    if role.is_empty() || !role.bytes().all(is_name) {
        return Err(AwsError::NoCredentials { who: WHO.to_owned() });
    }
    let answer: Answer = get(role)?.json(WHO)?;
    Ok(Host::Keys(answer.into()))
}

fn text(bytes: Secret<Vec<u8>>) -> Option<Secret<String>> {
    let text = std::str::from_utf8(bytes.expose()).ok()?.trim();
    (!text.is_empty()).then(|| Secret::new(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_come_without_tls_from_the_host_of_the_container_alone() {
        let is_asked =
            |url: &str| is_a_host_of_containers(Target::of_endpoint(url).unwrap().origin());
        for url in [
            "http://169.254.170.2/x",
            "http://169.254.170.23/x",
            "http://[fd00:ec2::23]/x",
            "http://127.0.0.1:5/x",
            "https://h/x",
        ] {
            assert!(is_asked(url), "{url}");
        }
        for url in ["http://169.254.169.254/x", "http://10.0.0.1/x", "http://h/x"] {
            assert!(!is_asked(url), "{url}");
        }
    }
}
