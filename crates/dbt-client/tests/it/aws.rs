//! Where credentials of AWS come from: files, programs, roles, sign-ins, hosts.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use dbt_client::settings::Network;
use dbt_client::source::{Ask, Class, Connector, FetchError};
use dbt_core::clock::Clock;
use dbt_core::timestamp;
use tempfile::TempDir;

use crate::server::{Reply, Request, TestServer, ok, reply};
use crate::source_http::{path, patience, said};
use crate::source_s3::{Bucket, open};

/// What the environment says, and nothing of this machine's own.
pub(crate) fn network(variables: &[(&str, &str)]) -> Network {
    let set = variables.iter().map(|(name, value)| ((*name).to_owned(), OsString::from(value)));
    Network::of(&set.collect::<BTreeMap<_, _>>()).unwrap()
}

const ID: &str = "AKOFTHETEST";
const SECRET: &str = "aws-secret-of-the-test";
const SESSION: &str = "aws-session-of-the-test";

/// A bucket that knows the key of the test, and somebody's home.
struct World {
    bucket: Bucket,
    home: TempDir,
}

impl World {
    fn new() -> Self {
        let world = Self { bucket: Bucket::new(), home: tempfile::tempdir().unwrap() };
        world.bucket.server.know(ID, SECRET, Some(SESSION));
        world
    }

    fn write(&self, file: &str, text: &str) {
        let file = self.home.path().join(file);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, text).unwrap();
    }

    fn connector(&self, variables: &[(&str, &str)]) -> Arc<Connector> {
        self.connector_at(variables, Clock::System)
    }

    fn connector_at(&self, variables: &[(&str, &str)], clock: Clock) -> Arc<Connector> {
        let mut network = network(variables);
        network.aws.home = Some(self.home.path().to_owned());
        network.aws.kept = Some(self.home.path().join("state/aws-credentials.json"));
        network.aws.clock = clock;
        Connector::new(&network, None, "dbt/4.0.0")
    }

    /// Reads something as whoever this environment and the files say.
    fn read(&self, variables: &[(&str, &str)]) -> Result<(), FetchError> {
        self.read_by(&self.connector(variables), "")
    }

    fn read_by(&self, connector: &Arc<Connector>, more: &str) -> Result<(), FetchError> {
        let url = format!("{}{more}", self.bucket.server.url("/dbt"));
        let ask = Ask::document(10, &patience());
        open(&url, connector).get(&path("truststore"), &ask).map(drop)
    }

    /// Returns who has signed since the last call.
    fn signers(&self) -> Vec<String> {
        let asked = self.bucket.server.take_requests();
        asked.into_iter().map(|asked| asked.key.unwrap_or_default()).collect()
    }
}

fn in_an_hour() -> String {
    timestamp::format(Clock::System.now() + Duration::from_hours(1))
}

/// What hosts of containers and machines, and programs, answer.
fn document(token: &str) -> String {
    format!(
        r#"{{"Version": 1, "Code": "Success", "AccessKeyId": "{ID}", "SecretAccessKey": "{SECRET}", "{token}": "{SESSION}", "Expiration": "{}"}}"#,
        in_an_hour()
    )
}

/// What STS answers.
fn given(action: &str) -> String {
    format!(
        "<{action}Response><{action}Result><Credentials><AccessKeyId>{ID}</AccessKeyId><SecretAccessKey>{SECRET}</SecretAccessKey><SessionToken>{SESSION}</SessionToken><Expiration>{}</Expiration></Credentials></{action}Result></{action}Response>",
        in_an_hour()
    )
}

#[test]
fn a_program_of_a_profile_is_run_once_while_its_credentials_are_good() {
    let world = World::new();
    world.write("credentials.json", &document("SessionToken"));
    let home = world.home.path().display();
    world.write(
        ".aws/config",
        &format!("[profile p]\ncredential_process = echo run >> {home}/runs; cat {home}/credentials.json\n"),
    );
    for _run in 0..3 {
        world.read(&[("AWS_PROFILE", "p")]).unwrap();
    }
    assert_eq!(world.signers(), [ID, ID, ID]);
    assert_eq!(fs::read_to_string(world.home.path().join("runs")).unwrap(), "run\n");
    // A profile of the URL comes before what the environment says.
    let other =
        [("AWS_ACCESS_KEY_ID", "AKOTHER"), ("AWS_SECRET_ACCESS_KEY", "aws-secret-of-other")];
    world.read_by(&world.connector(&other), "&profile=p").unwrap();
    assert_eq!(world.signers(), [ID]);
}

#[test]
fn credentials_that_were_kept_and_have_expired_are_got_anew_once() {
    let world = World::new();
    world.write("credentials.json", &document("SessionToken"));
    let home = world.home.path().display();
    world.write(
        ".aws/config",
        &format!("[default]\ncredential_process = cat {home}/credentials.json\n"),
    );
    world.read(&[]).unwrap();
    // The store ends them sooner than was said.
    world.bucket.server.expire(ID);
    world.bucket.server.know("AKNEXT", "aws-secret-of-next", Some("aws-session-of-next"));
    let next = document("SessionToken").replace(ID, "AKNEXT").replace("of-the-test", "of-next");
    world.write("credentials.json", &next);
    world.signers();
    world.read(&[]).unwrap();
    assert_eq!(world.signers(), ["", "AKNEXT"], "one refusal, and the next ones");
    world.read(&[]).unwrap();
    assert_eq!(world.signers(), ["AKNEXT"], "they were kept");

    // Where there are no others, that is what is said.
    world.bucket.server.expire("AKNEXT");
    let error = world.read(&[]).unwrap_err();
    assert_eq!(error.class(), Class::SignIn);
    assert!(said(&error).ends_with("the AWS key `AKNEXT` (ExpiredToken)"), "{}", said(&error));
    assert_eq!(world.signers().len(), 1);
}

#[test]
fn a_role_is_asked_for_with_the_credentials_of_its_source() {
    let world = World::new();
    let sts = TestServer::start(|request| {
        let body = String::from_utf8(request.body.clone()).unwrap();
        let proof = request.header("authorization").unwrap_or_default();
        assert!(proof.contains("/eu-west-1/sts/aws4_request"), "{proof}");
        match (body.contains("first"), proof.contains("AKBASE")) {
            (true, true) => ok(given("AssumeRole").replace(ID, "AKFIRST")),
            (false, false) if proof.contains("AKFIRST") => {
                assert_eq!(request.header("x-amz-security-token"), Some(SESSION));
                assert_eq!(
                    body,
                    "Action=AssumeRole&Version=2011-06-15&RoleArn=arn%3Aaws%3Aiam%3A%3A1%3Arole%2Fsecond&RoleSessionName=ci&DurationSeconds=900&ExternalId=x%2Fy"
                );
                ok(given("AssumeRole"))
            }
            _ => reply(
                403,
                &[],
                "<ErrorResponse><Error><Code>AccessDenied</Code><Message>no</Message></Error></ErrorResponse>",
            ),
        }
    });
    world.write(
        ".aws/credentials",
        "[base]\naws_access_key_id = AKBASE\naws_secret_access_key = aws-secret-of-the-base\n",
    );
    world.write(
        ".aws/config",
        "[profile first]\nrole_arn = arn:aws:iam::1:role/first\nsource_profile = base\nregion = eu-west-1\n\
         [profile second]\nrole_arn = arn:aws:iam::1:role/second\nsource_profile = first\nregion = eu-west-1\n\
         external_id = x/y\nrole_session_name = ci\nduration_seconds = 900\n\
         [profile third]\nrole_arn = arn:aws:iam::1:role/third\nsource_profile = base\nregion = eu-west-1\n",
    );
    let url = sts.url();
    let with = |profile: &'static str| [("AWS_PROFILE", profile), ("AWS_ENDPOINT_URL_STS", &url)];
    world.read(&with("second")).unwrap();
    world.read(&with("second")).unwrap();
    assert_eq!(world.signers(), [ID, ID]);
    assert_eq!(sts.requests().len(), 2, "both were kept");

    let error = world.read(&with("third")).unwrap_err();
    assert_eq!(error.class(), Class::SignIn);
    assert!(
        said(&error).ends_with("AWS STS refuses credentials: AccessDenied (no)"),
        "{}",
        said(&error)
    );
    assert_eq!(world.signers(), [""; 0], "nothing was asked of the bucket");
}

#[test]
fn a_token_of_a_provider_is_exchanged_without_a_signature() {
    let world = World::new();
    world.write("token", "aws-token-of-the-pod\n");
    let sts = TestServer::start(|request| {
        assert_eq!(request.header("authorization"), None);
        let body = String::from_utf8(request.body.clone()).unwrap();
        assert!(body.ends_with("&WebIdentityToken=aws-token-of-the-pod"), "{body}");
        ok(given("AssumeRoleWithWebIdentity"))
    });
    let token = world.home.path().join("token").display().to_string();
    let url = sts.url();
    let set = [
        ("AWS_WEB_IDENTITY_TOKEN_FILE", token.as_str()),
        ("AWS_ROLE_ARN", "arn:aws:iam::1:role/pod"),
        ("AWS_ENDPOINT_URL_STS", &url),
    ];
    world.read(&set).unwrap();
    assert_eq!(world.signers(), [ID]);
}

const SIGN_IN: &str = "[profile p]\nsso_session = corp\nsso_account_id = 123\nsso_role_name = Reader\n\
    [sso-session corp]\nsso_region = eu-west-1\nsso_start_url = https://acme.awsapps.com/start\n";

#[test]
fn somebody_who_has_signed_in_gets_credentials_and_the_sign_in_is_renewed_in_its_place() {
    let world = World::new();
    world.write(".aws/config", SIGN_IN);
    let center = TestServer::start(|request| {
        if request.path == "/token" {
            let body: serde_json::Value = serde_json::from_slice(&request.body).unwrap();
            assert_eq!(body["grantType"], "refresh_token");
            assert_eq!(body["refreshToken"], "aws-token-of-the-renewal");
            return ok(
                r#"{"accessToken": "aws-token-of-now", "expiresIn": 3600, "refreshToken": "aws-token-of-the-next"}"#,
            );
        }
        assert_eq!(request.path, "/federation/credentials?account_id=123&role_name=Reader");
        assert_eq!(request.header("x-amz-sso_bearer_token"), Some("aws-token-of-now"));
        let end = Clock::System.now() + Duration::from_hours(1);
        let end = end.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis();
        ok(format!(
            r#"{{"roleCredentials": {{"accessKeyId": "{ID}", "secretAccessKey": "{SECRET}", "sessionToken": "{SESSION}", "expiration": {end}}}}}"#
        ))
    });
    let url = center.url();
    let set =
        [("AWS_PROFILE", "p"), ("AWS_ENDPOINT_URL_SSO", &url), ("AWS_ENDPOINT_URL_SSO_OIDC", &url)];
    let error = world.read(&set).unwrap_err();
    let words = "nobody is signed in to IAM Identity Center at `https://acme.awsapps.com/start`, or no longer";
    assert!(said(&error).ends_with(words), "{}", said(&error));
    assert_eq!(error.hint().unwrap(), "run `aws sso login --profile p`");

    let file = sign_in_file();
    world.write(&file, r#"{"accessToken": "aws-token-of-before", "expiresAt": "2020-01-01T00:00:00Z", "clientId": "c", "clientSecret": "aws-secret-of-the-client", "refreshToken": "aws-token-of-the-renewal", "more": 1}"#);
    world.read(&set).unwrap();
    assert_eq!(world.signers(), [ID]);
    let kept: serde_json::Value =
        serde_json::from_slice(&fs::read(world.home.path().join(&file)).unwrap()).unwrap();
    assert_eq!(kept["refreshToken"], "aws-token-of-the-next");
    assert_eq!(kept["more"], 1, "what we do not know stays");
}

/// The SHA-1 of `corp`, as `sha1sum` says it.
fn sign_in_file() -> String {
    let output = std::process::Command::new("sh")
        .args(["-c", "printf corp | sha1sum | cut -c1-40"])
        .output()
        .unwrap();
    let digest = String::from_utf8(output.stdout).unwrap();
    format!(".aws/sso/cache/{}.json", digest.trim())
}

#[test]
fn the_host_of_a_container_is_shown_its_token() {
    let world = World::new();
    world.write("token", "aws-token-of-the-container\n");
    let host = TestServer::start(|request| match request.header("authorization") {
        Some("aws-token-of-the-container") => ok(document("Token")),
        _ => reply(401, &[], ""),
    });
    let url = format!("{}/v1/credentials", host.url());
    let token = world.home.path().join("token").display().to_string();
    let set = [
        ("AWS_CONTAINER_CREDENTIALS_FULL_URI", url.as_str()),
        ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", &token),
    ];
    world.read(&set).unwrap();
    assert_eq!(world.signers(), [ID]);

    let elsewhere = [("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://10.0.0.1/v1/credentials")];
    let error = World::new().read(&elsewhere).unwrap_err();
    assert!(
        said(&error).ends_with("without TLS only the host of this container is asked"),
        "{}",
        said(&error)
    );
}

/// Answers as the host of a machine with a role.
fn machine(request: &Request) -> Reply {
    let role = "/latest/meta-data/iam/security-credentials/";
    let is_known = request.header("x-aws-ec2-metadata-token") == Some("aws-token-of-the-machine");
    match (request.method.as_str(), request.path.strip_prefix(role)) {
        ("PUT", None) if request.path == "/latest/api/token" => {
            assert_eq!(request.header("x-aws-ec2-metadata-token-ttl-seconds"), Some("21600"));
            ok("aws-token-of-the-machine")
        }
        ("GET", Some("")) if is_known => ok("reader\n"),
        ("GET", Some("reader")) if is_known => ok(document("Token")),
        _ => reply(401, &[], ""),
    }
}

#[test]
fn the_host_of_a_machine_gives_what_its_role_has_and_is_asked_once() {
    let world = World::new();
    let host = TestServer::start(machine);
    let url = host.url();
    for _run in 0..2 {
        world.read(&[("AWS_EC2_METADATA_SERVICE_ENDPOINT", &url)]).unwrap();
    }
    assert_eq!(world.signers(), [ID, ID]);
    assert_eq!(host.requests().len(), 3);
}

#[test]
fn a_machine_without_a_role_is_asked_once_in_a_while() {
    let world = World::new();
    world.bucket.server.be_public();
    let host = TestServer::start(|_request| reply(404, &[], ""));
    let url = host.url();
    for _run in 0..3 {
        world.read(&[("AWS_EC2_METADATA_SERVICE_ENDPOINT", &url)]).unwrap();
    }
    assert_eq!(world.signers(), ["", "", ""]);
    assert_eq!(host.requests().len(), 1);
}

#[test]
fn what_is_found_out_is_found_out_once_for_all_threads() {
    let world = World::new();
    let host = TestServer::start(machine);
    let connector = world.connector(&[("AWS_EC2_METADATA_SERVICE_ENDPOINT", &host.url())]);
    std::thread::scope(|scope| {
        for _thread in 0..8 {
            scope.spawn(|| world.read_by(&connector, "").unwrap());
        }
    });
    assert_eq!((world.signers().len(), host.requests().len()), (8, 3));
}

#[test]
fn a_service_that_cannot_be_reached_is_an_outage() {
    let world = World::new();
    world.write(".aws/config", "[profile p]\nrole_arn = arn:x\ncredential_source = Environment\n");
    let set = [
        ("AWS_PROFILE", "p"),
        ("AWS_ENDPOINT_URL_STS", "http://127.0.0.1:1"),
        ("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://127.0.0.1:1/v2/aws-token-of-the-path"),
    ];
    // Without keys in the environment the role has no source.
    let error = world.read(&set).unwrap_err();
    assert_eq!(error.class(), Class::SignIn);
    let error = world.read(&set[1..]).unwrap_err();
    assert_eq!(error.class(), Class::Outage, "{error:?}");
    assert!(!format!("{error:?} {}", said(&error)).contains("aws-token-of-the-path"), "{error:?}");
    assert!(
        said(&error).contains("the container's host did not give credentials"),
        "{}",
        said(&error)
    );
}

#[test]
fn nothing_is_kept_of_keys_that_are_written() {
    let world = World::new();
    let text = format!(
        "[default]\naws_access_key_id = {ID}\naws_secret_access_key = {SECRET}\naws_session_token = {SESSION}\n"
    );
    world.write(".aws/credentials", &text);
    world.read(&[]).unwrap();
    assert!(!Path::new(&world.home.path().join("state")).exists());
}
