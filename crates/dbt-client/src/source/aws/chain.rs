//! Where credentials are looked for, in order; and where a profile says that they are.

use std::path::PathBuf;

use dbt_core::brand;
use dbt_core::secret::Secret;

use super::profile::{Section, SharedFiles, value};
use super::{AwsError, Keys};
use crate::settings::Aws;
use crate::url::bucket::Region;

/// One way to credentials.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Way {
    /// They are written somewhere.
    Written(Keys),
    /// A program prints them.
    Program { profile: String, line: Secret<String> },
    /// STS gives them to whoever has others.
    Role { role: Role, source: Box<Way> },
    /// STS gives them for a token.
    WebIdentity { role: Role, token_file: PathBuf },
    /// IAM Identity Center gives them to somebody who has signed in.
    SignIn(Account),
    /// The container's host gives them.
    Container { url: String },
    /// The machine's host gives them.
    Machine { endpoint: String },
}

/// A role.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Role {
    pub(super) arn: String,
    pub(super) session: String,
    pub(super) external_id: Option<String>,
    pub(super) seconds: Option<u32>,
    pub(super) region: Option<Region>,
}

/// A role in an account of IAM Identity Center.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Account {
    pub(super) profile: String,
    pub(super) start: String,
    pub(super) region: Region,
    /// What the file of the sign-in is named after.
    pub(super) session: String,
    pub(super) number: String,
    pub(super) role: String,
}

/// What a session is called where nobody says.
const SESSION: &str = brand::PROGRAM;

/// Where the host of a task of ECS answers.
const TASKS: &str = "http://169.254.170.2";

/// Where the host of a machine answers.
const MACHINES: &str = "http://169.254.169.254";

/// Returns the ways, in the order in which they are tried. A profile that is named comes before
/// what the environment says.
pub(super) fn ways(aws: &Aws, profile: Option<&str>) -> Result<Vec<Way>, AwsError> {
    if profile.is_none()
        && let Some(keys) = in_environment(aws)?
    {
        return Ok(vec![Way::Written(keys)]);
    }
    let mut ways = Vec::new();
    let named = profile.or_else(|| aws.get("AWS_PROFILE"));
    let name = named.unwrap_or("default");
    let files = SharedFiles::read(aws)?;
    match files.profile(name) {
        Some(_section) => ways.extend(Profiles { aws, files: &files }.way(name, &mut Vec::new())?),
        None if named.is_some() => return Err(AwsError::NoProfile { name: name.to_owned() }),
        None => {}
    }
    ways.extend(web_identity(aws)?);
    ways.extend(container(aws));
    ways.extend(machine(aws));
    Ok(ways)
}

fn in_environment(aws: &Aws) -> Result<Option<Keys>, AwsError> {
    let Some(id) = aws.get("AWS_ACCESS_KEY_ID") else { return Ok(None) };
    let key = "AWS_SECRET_ACCESS_KEY";
    let secret = aws
        .get(key)
        .ok_or_else(|| AwsError::Incomplete { place: "the environment".to_owned(), key })?;
    let secret = Secret::new(secret.to_owned());
    let token = aws.get("AWS_SESSION_TOKEN").map(|token| Secret::new(token.to_owned()));
    Ok(Some(Keys { id: id.to_owned(), secret, token, expires: None }))
}

fn web_identity(aws: &Aws) -> Result<Option<Way>, AwsError> {
    let Some(token_file) = aws.get("AWS_WEB_IDENTITY_TOKEN_FILE") else { return Ok(None) };
    let arn = aws.get("AWS_ROLE_ARN").ok_or_else(|| AwsError::Incomplete {
        place: "the environment".to_owned(),
        key: "AWS_ROLE_ARN",
    })?;
    let role = Role {
        arn: arn.to_owned(),
        session: aws.get("AWS_ROLE_SESSION_NAME").unwrap_or(SESSION).to_owned(),
        external_id: None,
        seconds: None,
        region: region(aws),
    };
    Ok(Some(Way::WebIdentity { role, token_file: PathBuf::from(token_file) }))
}

fn container(aws: &Aws) -> Option<Way> {
    let relative = aws.get("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI");
    let url = match relative {
        Some(path) => format!("{TASKS}{path}"),
        None => aws.get("AWS_CONTAINER_CREDENTIALS_FULL_URI")?.to_owned(),
    };
    Some(Way::Container { url })
}

fn machine(aws: &Aws) -> Option<Way> {
    let is_off = aws.get("AWS_EC2_METADATA_DISABLED");
    if is_off.is_some_and(|said| said.eq_ignore_ascii_case("true")) {
        return None;
    }
    let endpoint = aws.get("AWS_EC2_METADATA_SERVICE_ENDPOINT").unwrap_or(MACHINES);
    Some(Way::Machine { endpoint: endpoint.trim_end_matches('/').to_owned() })
}

fn region(aws: &Aws) -> Option<Region> {
    ["AWS_REGION", "AWS_DEFAULT_REGION"].into_iter().find_map(|name| aws.get(name)?.parse().ok())
}

/// The profiles of the shared files.
struct Profiles<'a> {
    aws: &'a Aws,
    files: &'a SharedFiles,
}

impl Profiles<'_> {
    /// Returns where a profile says that its credentials are, if it says so; `before` are those
    /// that lead here.
    fn way(&self, name: &str, before: &mut Vec<String>) -> Result<Option<Way>, AwsError> {
        let no_profile = || AwsError::NoProfile { name: name.to_owned() };
        let section = self.files.profile(name).ok_or_else(no_profile)?;
        // A role may use the keys that stand beside it.
        let is_own_source = before.last().is_some_and(|last| last == name);
        if before.iter().any(|other| other == name) && !is_own_source {
            return Err(AwsError::Circle { name: name.to_owned() });
        }
        if let Some(arn) = value(section, "role_arn").filter(|_arn| !is_own_source) {
            before.push(name.to_owned());
            return self.role(name, section, arn, before).map(Some);
        }
        if let Some(account) = self.sign_in(name, section)? {
            return Ok(Some(Way::SignIn(account)));
        }
        if let Some(keys) = written(name, section)? {
            return Ok(Some(Way::Written(keys)));
        }
        if let Some(line) = value(section, "credential_process") {
            let line = Secret::new(line.to_owned());
            return Ok(Some(Way::Program { profile: name.to_owned(), line }));
        }
        if is_own_source {
            return Err(AwsError::Circle { name: name.to_owned() });
        }
        Ok(None)
    }

    fn role(
        &self,
        name: &str,
        section: &Section,
        arn: &str,
        before: &mut Vec<String>,
    ) -> Result<Way, AwsError> {
        if value(section, "mfa_serial").is_some() {
            return Err(AwsError::Code { name: name.to_owned() });
        }
        let seconds = value(section, "duration_seconds").map(|text| {
            text.parse().map_err(|_error| bad(name, "duration_seconds", "it is no number"))
        });
        let role = Role {
            arn: arn.to_owned(),
            session: value(section, "role_session_name").unwrap_or(SESSION).to_owned(),
            external_id: value(section, "external_id").map(str::to_owned),
            seconds: seconds.transpose()?,
            region: value(section, "region").and_then(|it| it.parse().ok()).or(region(self.aws)),
        };
        if let Some(source) = value(section, "source_profile") {
            let found = self.way(source, before)?;
            let source = found.ok_or_else(|| incomplete(source, "aws_access_key_id"))?;
            return Ok(Way::Role { role, source: Box::new(source) });
        }
        if let Some(source) = value(section, "credential_source") {
            let key = "credential_source";
            let found = match source {
                "Environment" => in_environment(self.aws)?.map(Way::Written),
                "EcsContainer" => container(self.aws),
                "Ec2InstanceMetadata" => machine(self.aws),
                _ => None,
            };
            let nothing = "it is none of `Environment`, `EcsContainer` and `Ec2InstanceMetadata`, \
                           or that has none";
            let source = found.ok_or_else(|| bad(name, key, nothing))?;
            return Ok(Way::Role { role, source: Box::new(source) });
        }
        if let Some(token_file) = value(section, "web_identity_token_file") {
            return Ok(Way::WebIdentity { role, token_file: PathBuf::from(token_file) });
        }
        Err(incomplete(name, "source_profile"))
    }

    fn sign_in(&self, name: &str, section: &Section) -> Result<Option<Account>, AwsError> {
        let session = value(section, "sso_session");
        let of_session = session.map(|session| {
            let found = self.files.session(session);
            found.ok_or_else(|| bad(name, "sso_session", "there is no such section"))
        });
        let of_session = of_session.transpose()?;
        let start = of_session.unwrap_or(section);
        let Some(start_url) = value(start, "sso_start_url") else { return Ok(None) };
        // A session alone is for programs that want its token and no credentials.
        let (Some(account), Some(role)) =
            (value(section, "sso_account_id"), value(section, "sso_role_name"))
        else {
            return Ok(None);
        };
        let region = value(start, "sso_region").ok_or_else(|| incomplete(name, "sso_region"))?;
        let region = region.parse().map_err(|_error| bad(name, "sso_region", "it is no region"))?;
        Ok(Some(Account {
            profile: name.to_owned(),
            start: start_url.to_owned(),
            region,
            session: session.unwrap_or(start_url).to_owned(),
            number: account.to_owned(),
            role: role.to_owned(),
        }))
    }
}

fn written(name: &str, section: &Section) -> Result<Option<Keys>, AwsError> {
    let Some(id) = value(section, "aws_access_key_id") else { return Ok(None) };
    let key = "aws_secret_access_key";
    let secret = section.get(key).cloned().ok_or_else(|| incomplete(name, key))?;
    let token = section.get("aws_session_token").cloned();
    Ok(Some(Keys { id: id.to_owned(), secret, token, expires: None }))
}

fn place(profile: &str) -> String {
    format!("the AWS profile `{}`", profile.escape_debug())
}

fn incomplete(profile: &str, key: &'static str) -> AwsError {
    AwsError::Incomplete { place: place(profile), key }
}

fn bad(profile: &str, key: &'static str, problem: &str) -> AwsError {
    AwsError::BadValue { place: place(profile), key, problem: problem.to_owned() }
}

impl Way {
    /// Returns who is asked, for people.
    pub(super) fn who(&self) -> String {
        match self {
            Self::Written(keys) => format!("the key `{}`", keys.id),
            Self::Program { profile, .. } => {
                format!("the `credential_process` of {}", place(profile))
            }
            Self::Role { .. } | Self::WebIdentity { .. } => "AWS STS".to_owned(),
            Self::SignIn(_) => "IAM Identity Center".to_owned(),
            Self::Container { .. } => "the container's host".to_owned(),
            Self::Machine { .. } => "the machine's host".to_owned(),
        }
    }

    /// Returns everything that decides what comes of it, so that what is kept of another way is not
    /// taken for it. No secret is in it but by its digest.
    pub(super) fn words(&self) -> String {
        match self {
            Self::Program { line, .. } => {
                format!("program\n{}", dbt_core::digest::Digest::of(line.expose().as_bytes()))
            }
            Self::Role { role, source } => format!("role\n{role:?}\n{}", source.words()),
            Self::Written(_)
            | Self::WebIdentity { .. }
            | Self::SignIn(_)
            | Self::Container { .. }
            | Self::Machine { .. } => format!("{self:?}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::ffi::OsString;
    use std::fs;

    use super::*;
    use crate::settings::Network;

    /// Returns the ways of an environment and of a configuration.
    fn found(variables: &[(&str, &str)], config: &str) -> Result<Vec<Way>, AwsError> {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join(".aws")).unwrap();
        fs::write(directory.path().join(".aws/config"), config).unwrap();
        let set = variables.iter().map(|(name, value)| ((*name).to_owned(), OsString::from(value)));
        let mut aws = Network::of(&set.collect::<BTreeMap<_, _>>()).unwrap().aws;
        aws.home = Some(directory.path().to_owned());
        ways(&aws, None)
    }

    /// The same in words, the last ones of all chains aside.
    #[track_caller]
    fn check(variables: &[(&str, &str)], config: &str, expected: &[&str]) {
        let mut variables = variables.to_vec();
        variables.push(("AWS_EC2_METADATA_DISABLED", "TRUE"));
        let ways = found(&variables, config).unwrap();
        let words: Vec<String> = ways.iter().map(Way::who).collect();
        assert_eq!(words, expected, "{config}");
    }

    #[track_caller]
    fn refused(variables: &[(&str, &str)], config: &str, expected: &str) {
        assert_eq!(found(variables, config).unwrap_err().to_string(), expected);
    }

    const KEYS: [(&str, &str); 2] =
        [("AWS_ACCESS_KEY_ID", "AKENV"), ("AWS_SECRET_ACCESS_KEY", "s3cret")];

    #[test]
    fn the_environment_comes_first_and_then_the_profile() {
        let config = "[default]\naws_access_key_id=AKFILE\naws_secret_access_key=s3cret\n";
        check(&KEYS, config, &["the key `AKENV`"]);
        check(&[], config, &["the key `AKFILE`"]);
        check(&[], "", &[]);
        let web = [("AWS_WEB_IDENTITY_TOKEN_FILE", "/t"), ("AWS_ROLE_ARN", "arn:x")];
        check(&web, config, &["the key `AKFILE`", "AWS STS"]);
        check(&web, "", &["AWS STS"]);
        let task = [("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "/v2/x")];
        check(&task, "", &["the container's host"]);
        let ways = found(&[], "").unwrap();
        assert_eq!(ways, [Way::Machine { endpoint: MACHINES.to_owned() }]);
    }

    #[test]
    fn a_profile_says_where_its_credentials_are() {
        let config = "[profile a]\ncredential_process = /bin/x\n\
            [profile b]\nrole_arn=arn:b\nsource_profile=a\n\
            [profile c]\nrole_arn=arn:c\nsource_profile=b\n\
            [profile own]\nrole_arn=arn:own\nsource_profile=own\naws_access_key_id=AKOWN\naws_secret_access_key=s3cret\n\
            [profile env]\nrole_arn=arn:env\ncredential_source=Environment\n\
            [profile p]\nsso_session=corp\nsso_account_id=1\nsso_role_name=r\n\
            [sso-session corp]\nsso_start_url=https://x.awsapps.com/start\nsso_region=eu-west-1\n";
        let profile = |name: &'static str| [("AWS_PROFILE", name)];
        check(&profile("a"), config, &["the `credential_process` of the AWS profile `a`"]);
        check(&profile("c"), config, &["AWS STS"]);
        check(&profile("own"), config, &["AWS STS"]);
        check(&profile("p"), config, &["IAM Identity Center"]);
        let ways = found(&profile("c"), config).unwrap();
        let Way::Role { role, source } = &ways[0] else { panic!("{ways:?}") };
        let Way::Role { role: before, source } = source.as_ref() else { panic!("{source:?}") };
        assert_eq!((role.arn.as_str(), before.arn.as_str()), ("arn:c", "arn:b"));
        assert!(matches!(source.as_ref(), Way::Program { .. }));
        assert_ne!(ways[0].words(), source.words());
        assert!(!format!("{ways:?}").contains("/bin/x"), "a command line may hold secrets");

        let ways = found(&profile("own"), config).unwrap();
        assert!(matches!(&ways[0], Way::Role { source, .. } if source.who() == "the key `AKOWN`"));
    }

    #[test]
    fn what_cannot_be_used_is_said_and_nothing_else_is_tried() {
        refused(&KEYS[..1], "", "the environment has no `AWS_SECRET_ACCESS_KEY`");
        let other = [("AWS_PROFILE", "other")];
        refused(&other, "", "the AWS profile `other` is in none of the shared files");
        let half = "[default]\naws_access_key_id=x\n";
        refused(&[], half, "the AWS profile `default` has no `aws_secret_access_key`");
        let circle = "[profile other]\nrole_arn=a\nsource_profile=b\n[profile b]\nrole_arn=b\nsource_profile=other\n";
        refused(&other, circle, "the AWS profile `other` gets its credentials from itself");
        let alone = "[profile other]\nrole_arn=a\nsource_profile=other\n";
        refused(&other, alone, "the AWS profile `other` gets its credentials from itself");
        let code = "[profile other]\nrole_arn=a\nsource_profile=b\nmfa_serial=c\n";
        refused(&other, code, "the role of the AWS profile `other` wants a code (`mfa_serial`)");
        refused(
            &[("AWS_WEB_IDENTITY_TOKEN_FILE", "/t")],
            "",
            "the environment has no `AWS_ROLE_ARN`",
        );
    }
}
