//! AWS STS: credentials of a role.
//!
//! (AWS STS API Reference: `AssumeRole`, `AssumeRoleWithWebIdentity`.)

use std::path::Path;
use std::sync::Arc;

use dbt_core::secret::Secret;
use ureq::http::Method;

use super::ask::{Question, Said};
use super::chain::Role;
use super::sign::Scope;
use super::{Asker, AwsError, Keys, time};
use crate::fsx;
use crate::source::encoded;
use crate::source::xml;
use crate::url::bucket::Region;

/// Who it is, for people.
const WHO: &str = "AWS STS";

const FORM: &str = "application/x-www-form-urlencoded";

/// The most bytes of a token.
const TOKEN_LIMIT: u64 = 64 * 1024;

/// Gets credentials of a role for whoever has these keys.
pub(super) fn assume(role: &Role, keys: &Keys, asker: &Asker<'_>) -> Result<Keys, AwsError> {
    let mut form = form("AssumeRole", role);
    if let Some(id) = &role.external_id {
        form = format!("{form}&ExternalId={}", encoded(id));
    }
    let region = role.region.clone().unwrap_or_else(Region::usual);
    let scope = Scope { service: "sts", region: &region, now: asker.now() };
    send(role, form, Some((keys, scope)), asker)
}

/// Gets credentials of a role for a token of an identity provider that STS trusts.
pub(super) fn exchange(
    role: &Role,
    token_file: &Path,
    asker: &Asker<'_>,
) -> Result<Keys, AwsError> {
    let token = fsx::read_limited(token_file, TOKEN_LIMIT).map(Secret::new);
    let token = token.map_err(|error| AwsError::File {
        path: token_file.to_owned(),
        source: Arc::new(error.into_cause()),
    })?;
    let text = std::str::from_utf8(token.expose()).map_err(|_error| AwsError::BadFile {
        path: token_file.to_owned(),
        problem: "it holds no token".to_owned(),
    })?;
    let form = format!(
        "{}&WebIdentityToken={}",
        form("AssumeRoleWithWebIdentity", role),
        encoded(text.trim())
    );
    send(role, form, None, asker)
}

fn form(action: &str, role: &Role) -> String {
    let mut form = format!(
        "Action={action}&Version=2011-06-15&RoleArn={}&RoleSessionName={}",
        encoded(&role.arn),
        encoded(&role.session)
    );
    if let Some(seconds) = role.seconds {
        form = format!("{form}&DurationSeconds={seconds}");
    }
    form
}

fn send(
    role: &Role,
    form: String,
    signed: Option<(&Keys, Scope<'_>)>,
    asker: &Asker<'_>,
) -> Result<Keys, AwsError> {
    let form = Secret::new(form);
    let of_region = || match &role.region {
        Some(region) => format!("https://sts.{region}.{}", region.domain()),
        None => "https://sts.amazonaws.com".to_owned(),
    };
    let said = ["AWS_ENDPOINT_URL_STS", "AWS_ENDPOINT_URL"];
    let said = said.into_iter().find_map(|name| asker.settings.get(name));
    let url = said.map_or_else(of_region, str::to_owned);
    let url = format!("{}/", url.trim_end_matches('/'));
    let question = Question {
        who: WHO,
        method: Method::POST,
        url: &url,
        headers: Vec::new(),
        body: Some((FORM, form)),
        signed,
    };
    keys_of(&question.ask(asker.connector, asker.patience)?)
}

fn keys_of(said: &Said) -> Result<Keys, AwsError> {
    let mut leaves = xml::leaves(said.body.expose()).unwrap_or_default();
    let mut leaf = |name: &str| -> Option<String> {
        let at = leaves.iter().position(|leaf| leaf.name() == name)?;
        Some(leaves.swap_remove(at).text)
    };
    if said.status != 200 {
        return Err(AwsError::Refused {
            who: WHO.to_owned(),
            code: leaf("Code").unwrap_or_else(|| said.status.to_string()),
            message: leaf("Message").unwrap_or_default(),
        });
    }
    let none = || AwsError::NoCredentials { who: WHO.to_owned() };
    Ok(Keys {
        id: leaf("AccessKeyId").ok_or_else(none)?,
        secret: leaf("SecretAccessKey").map(Secret::new).ok_or_else(none)?,
        token: leaf("SessionToken").map(Secret::new),
        expires: leaf("Expiration").and_then(|text| time(&text)),
    })
}
