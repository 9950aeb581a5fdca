//! IAM Identity Center: credentials for somebody who has signed in with `aws sso login`.
//!
//! What one signs in with lies in a file of the AWS command line; it is renewed there, as the
//! command line does it, so that either can go on.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use dbt_core::secret::Secret;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use sha1::{Digest as _, Sha1};
use ureq::http::Method;

use super::ask::Question;
use super::chain::Account;
use super::{Asker, AwsError, Keys, time};
use crate::fsx;
use crate::source::encoded;

/// Who it is, for people.
const WHO: &str = "IAM Identity Center";

/// The most bytes of the file of a sign-in.
const LIMIT: u64 = 256 * 1024;

/// So long before its end a sign-in is renewed.
const BEFORE_THE_END: Duration = Duration::from_mins(1);

/// What `GetRoleCredentials` answers.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    role_credentials: RoleCredentials,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RoleCredentials {
    access_key_id: String,
    secret_access_key: Secret<String>,
    session_token: Secret<String>,
    /// In milliseconds since 1970.
    expiration: u64,
}

/// What `CreateToken` answers.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Renewed {
    access_token: Secret<String>,
    expires_in: u64,
    #[serde(default)]
    refresh_token: Option<Secret<String>>,
}

/// Gets credentials of a role.
pub(super) fn credentials(account: &Account, asker: &Asker<'_>) -> Result<Keys, AwsError> {
    let file = file_of(account, asker)?;
    let mut sign_in = SignIn::read(&file, account)?;
    if !sign_in.is_good(asker.now()) {
        sign_in.renew(&file, account, asker)?;
    }
    let base = endpoint("AWS_ENDPOINT_URL_SSO", "portal.sso", account, asker);
    let url = format!(
        "{base}/federation/credentials?account_id={}&role_name={}",
        encoded(&account.number),
        encoded(&account.role)
    );
    let token = sign_in.text("accessToken").unwrap_or_default();
    let headers = vec![("x-amz-sso_bearer_token", Secret::new(token.to_owned()))];
    let question = Question { headers, ..Question::get(WHO, &url) };
    let said = question.ask(asker.connector, asker.patience)?;
    if said.status == 401 {
        return Err(not_signed_in(account));
    }
    if said.status == 403 {
        return Err(AwsError::Refused {
            who: WHO.to_owned(),
            code: "ForbiddenException".to_owned(),
            message: format!("the role `{}` of account {}", account.role, account.number),
        });
    }
    let Answer { role_credentials: given } = said.json(WHO)?;
    Ok(Keys {
        id: given.access_key_id,
        secret: given.secret_access_key,
        token: Some(given.session_token),
        expires: Some(SystemTime::UNIX_EPOCH + Duration::from_millis(given.expiration)),
    })
}

fn not_signed_in(account: &Account) -> AwsError {
    AwsError::NotSignedIn { start: account.start.clone(), profile: account.profile.clone() }
}

fn file_of(account: &Account, asker: &Asker<'_>) -> Result<PathBuf, AwsError> {
    let home = asker.settings.home.as_ref().ok_or_else(|| not_signed_in(account))?;
    let digest = Sha1::digest(account.session.as_bytes());
    let mut name = String::new();
    for byte in digest {
        // Writing to a string cannot fail.
        let _infallible = write!(name, "{byte:02x}");
    }
    Ok(home.join(".aws/sso/cache").join(name + ".json"))
}

fn endpoint(variable: &str, service: &str, account: &Account, asker: &Asker<'_>) -> String {
    let said = [variable, "AWS_ENDPOINT_URL"];
    let said = said.into_iter().find_map(|name| asker.settings.get(name));
    let region = &account.region;
    let usual = || format!("https://{service}.{region}.{}", region.domain());
    said.map_or_else(usual, |said| said.trim_end_matches('/').to_owned())
}

/// What lies in the file. Keys that we do not know are kept.
struct SignIn(Map<String, Value>);

impl SignIn {
    fn read(file: &Path, account: &Account) -> Result<Self, AwsError> {
        let bytes = match fsx::read_limited(file, LIMIT) {
            Ok(bytes) => Secret::new(bytes),
            Err(error) if error.is_missing() => return Err(not_signed_in(account)),
            Err(error) => {
                let source = Arc::new(error.into_cause());
                return Err(AwsError::File { path: file.to_owned(), source });
            }
        };
        let read = serde_json::from_slice(bytes.expose()).map(Self);
        read.map_err(|_error| AwsError::BadFile {
            path: file.to_owned(),
            problem: "it is no sign-in of IAM Identity Center".to_owned(),
        })
    }

    fn text(&self, key: &str) -> Option<&str> {
        self.0.get(key)?.as_str()
    }

    fn is_good(&self, now: SystemTime) -> bool {
        let expires = self.text("expiresAt").and_then(time);
        self.text("accessToken").is_some()
            && expires.is_some_and(|expires| now + BEFORE_THE_END < expires)
    }

    /// Renews it at the provider and in its file.
    fn renew(&mut self, file: &Path, account: &Account, asker: &Asker<'_>) -> Result<(), AwsError> {
        let said = |key| self.text(key).ok_or_else(|| not_signed_in(account));
        let body = json!({
            "clientId": said("clientId")?,
            "clientSecret": said("clientSecret")?,
            "grantType": "refresh_token",
            "refreshToken": said("refreshToken")?,
        });
        let url =
            format!("{}/token", endpoint("AWS_ENDPOINT_URL_SSO_OIDC", "oidc", account, asker));
        let question = Question {
            method: Method::POST,
            body: Some(("application/json", Secret::new(body.to_string()))),
            ..Question::get(WHO, &url)
        };
        let said = question.ask(asker.connector, asker.patience)?;
        if matches!(said.status, 400 | 401) {
            return Err(not_signed_in(account));
        }
        let renewed: Renewed = said.json(WHO)?;
        let expires = asker.now() + Duration::from_secs(renewed.expires_in);
        let expires = dbt_core::timestamp::format(expires);
        self.0.insert("accessToken".to_owned(), renewed.access_token.expose().clone().into());
        self.0.insert("expiresAt".to_owned(), expires.into());
        if let Some(next) = renewed.refresh_token {
            self.0.insert("refreshToken".to_owned(), next.expose().clone().into());
        }
        let text = Secret::new(Value::Object(self.0.clone()).to_string());
        // Not written, the sign-in would be lost: the old one counts no more.
        fsx::write_atomic(file, text.expose().as_bytes(), 0o600).map_err(|error| AwsError::File {
            path: file.to_owned(),
            source: Arc::new(error.into_cause()),
        })
    }
}
