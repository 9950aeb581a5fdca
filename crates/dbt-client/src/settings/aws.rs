//! What the environment says of AWS: the variables that every program for it knows.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use dbt_core::clock::Clock;
use dbt_core::secret::Secret;

use crate::config::Variables;

/// A variable of AWS: its name, and what it means.
pub const AWS_VARIABLES: [(&str, &str); 22] = [
    ("AWS_ACCESS_KEY_ID", "repositories in S3: the key that signs requests"),
    ("AWS_SECRET_ACCESS_KEY", "the secret of that key"),
    ("AWS_SESSION_TOKEN", "what belongs to a key that is good for a while"),
    ("AWS_PROFILE", "the profile of the shared files, `default` if nobody says"),
    ("AWS_REGION", "the region, for what does not say its own"),
    ("AWS_DEFAULT_REGION", "the same; `AWS_REGION` wins"),
    ("AWS_CONFIG_FILE", "the shared configuration, `~/.aws/config` if nobody says"),
    ("AWS_SHARED_CREDENTIALS_FILE", "the shared credentials, `~/.aws/credentials` if nobody says"),
    ("AWS_ROLE_ARN", "the role that a token of `AWS_WEB_IDENTITY_TOKEN_FILE` is for"),
    ("AWS_ROLE_SESSION_NAME", "what the session of a role is called"),
    ("AWS_WEB_IDENTITY_TOKEN_FILE", "a file with a token that STS exchanges for credentials"),
    ("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "set by ECS: where the credentials of a task are"),
    ("AWS_CONTAINER_CREDENTIALS_FULL_URI", "set by EKS and others: the same as a whole URL"),
    ("AWS_CONTAINER_AUTHORIZATION_TOKEN", "what is shown there"),
    ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", "a file that holds it"),
    (
        "AWS_EC2_METADATA_DISABLED",
        "`true`: the credentials of the machine itself are not looked for",
    ),
    (
        "AWS_EC2_METADATA_SERVICE_ENDPOINT",
        "where they are, `http://169.254.169.254` if nobody says",
    ),
    ("AWS_ENDPOINT_URL_S3", "the store that has the buckets, where their URLs name none"),
    ("AWS_ENDPOINT_URL_STS", "where roles are asked for"),
    ("AWS_ENDPOINT_URL_SSO", "where IAM Identity Center gives credentials"),
    ("AWS_ENDPOINT_URL_SSO_OIDC", "where it renews a sign-in"),
    ("AWS_ENDPOINT_URL", "all of these"),
];

/// The name of the file, in the directory of our state, for [`Aws::kept`].
pub const KEPT_CREDENTIALS: &str = "aws-credentials.json";

/// The variables of AWS that are set, and where its files and ours are.
#[derive(Clone)]
pub struct Aws {
    set: BTreeMap<&'static str, Secret<String>>,
    /// The user's own home directory, below which the shared files are.
    pub home: Option<PathBuf>,
    /// The file in which credentials are kept that are good for a while.
    pub kept: Option<PathBuf>,
    /// Where the time comes from.
    pub clock: Clock,
}

impl Default for Aws {
    fn default() -> Self {
        Self { set: BTreeMap::new(), home: None, kept: None, clock: Clock::System }
    }
}

impl Aws {
    /// Takes what the environment has. What is set to nothing, or is no text, is not set.
    pub(super) fn of(variables: &dyn Variables) -> Self {
        // Most runs are of people who have none, and each looks at all of them once and not for each.
        if !variables.has_any("AWS_") {
            return Self::default();
        }
        let text = |name| variables.variable(name)?.to_str().filter(|value| !value.is_empty());
        let secret = |name| Some((name, Secret::new(text(name)?.to_owned())));
        let set = AWS_VARIABLES.iter().filter_map(|(name, _meaning)| secret(*name)).collect();
        Self { set, ..Self::default() }
    }

    /// Returns the value of a variable of the table.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.set.get(name).map(|value| value.expose().as_str())
    }
}

impl fmt::Debug for Aws {
    /// Shows what is set, and no values.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Aws")
            .field("set", &self.set.keys())
            .field("home", &self.home)
            .field("kept", &self.kept)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::*;

    #[track_caller]
    fn check(set: &[(&str, &str)], region: Option<&str>) {
        let set = set.iter().map(|(name, value)| ((*name).to_owned(), OsString::from(value)));
        let aws = Aws::of(&set.collect::<BTreeMap<_, _>>());
        assert_eq!(aws.get("AWS_REGION"), region);
    }

    #[test]
    fn what_is_set_is_found_among_whatever_else_is() {
        check(&[], None);
        check(&[("AWS", "x"), ("AWSOME", "x"), ("ZZZ", "x")], None);
        check(&[("A", "x"), ("AWS_REGION", "eu-west-1"), ("ZZZ", "x")], Some("eu-west-1"));
        check(&[("AWS_ZZZ", "x")], None);
        check(&[("AWS_REGION", "")], None);
    }
}
