//! What a token claims, and who that makes its bearer.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use serde_json::{Map, Value};

use super::{Settings, roles};
use crate::authn::jwt::CLOCK_SKEW;
use crate::authn::{Group, Identity, Job, Subject, Why};
use crate::limits;

/// The longest name of a subject (OIDC Core, 2).
const NAME_BYTES: usize = 255;

/// What a token claims.
pub type Claims = Map<String, Value>;

/// Says why a token is not valid now or not for one of these, and which kind of reason that is. What it claims need not be
/// verified yet: asking a provider about one that has expired would be in vain.
pub fn is_out_of_place(
    claims: &Claims,
    ours: &[impl AsRef<str>],
    now: SystemTime,
) -> Result<(), (Why, String)> {
    times(claims, now)?;
    audience(claims, ours).map_err(|why| (Why::Elsewhere, why))?;
    let wrong = |why: &str| Err((Why::Wrong, why.to_owned()));
    if claims.contains_key("events") {
        return wrong("it reports an event and proves no sign-in");
    }
    if claims.contains_key("cnf") {
        return wrong("it counts only together with a key, and that cannot be checked here");
    }
    Ok(())
}

/// Returns whom the verified claims of a token make its bearer.
pub fn identity(claims: &Claims, settings: &Settings) -> Result<Identity, String> {
    let sub = name(claims, "sub")?.ok_or("it has no `sub`")?;
    let id = match settings.username_claim.as_deref() {
        None | Some("sub") => sub,
        Some(claim) => named(claims, claim)?.unwrap_or(sub),
    };
    for (claim, accepted) in &settings.required_claims {
        required(claims, claim, accepted)?;
    }
    let groups = groups(claims, &settings.groups_claim);
    allowed(claims, settings, &groups)?;
    let group = |name: String| Group { issuer: settings.issuer.clone(), name };
    Ok(Identity {
        subject: Subject {
            method: super::NAME,
            issuer: Some(settings.issuer.clone()),
            id: id.to_owned(),
        },
        groups: groups.into_iter().map(group).collect(),
        roles: roles::held(claims, settings),
        groups_left_out: has_overage(claims, settings),
        once: None,
        default_rights: !settings.is_for_all,
        job: Job::of_claims(claims).map(Box::new),
        token: None,
    })
}

/// Says whether a provider left out the groups because they are too many.
pub fn has_overage(claims: &Claims, settings: &Settings) -> bool {
    let elsewhere = claims.get("_claim_names").and_then(Value::as_object);
    let left_out = elsewhere.is_some_and(|names| names.contains_key(&settings.groups_claim))
        || claims.get("hasgroups").is_some_and(is_true);
    left_out && groups(claims, &settings.groups_claim).is_empty()
}

/// What an administrator can do about it.
pub const OVERAGE: &str = "the provider left the groups out of the token because they are too many \
    (Entra's group overage); have it send only the groups assigned to this application, or use its \
    roles (`groupsClaim`: `roles`)";

fn times(claims: &Claims, now: SystemTime) -> Result<(), (Why, String)> {
    let skew = CLOCK_SKEW;
    let malformed = |why: String| (Why::Malformed, why);
    let needed = |claim| {
        let time = time(claims, claim).map_err(malformed)?;
        time.ok_or_else(|| malformed(format!("it has no `{claim}`")))
    };
    let (expires, issued) = (needed("exp")?, needed("iat")?);
    if expires + skew <= now {
        let ago = now.duration_since(expires).unwrap_or_default().as_secs();
        return Err((Why::Expired, format!("it expired {ago} s ago")));
    }
    for (claim, since) in [("iat", Some(issued)), ("nbf", time(claims, "nbf").map_err(malformed)?)]
    {
        if let Some(since) = since.filter(|since| *since > now + skew) {
            let ahead = since.duration_since(now).unwrap_or_default().as_secs();
            let why = format!("its `{claim}` is {ahead} s in the future; are the clocks right?");
            return Err((Why::NotYetValid, why));
        }
    }
    if expires.duration_since(issued).is_ok_and(|life| life > limits::TOKEN_LIFE) {
        let hours = limits::TOKEN_LIFE.as_secs() / 3600;
        return Err(malformed(format!("it is valid for more than {hours} hours")));
    }
    Ok(())
}

/// Returns a claim that is a time, if there is one.
pub(crate) fn time(claims: &Claims, claim: &str) -> Result<Option<SystemTime>, String> {
    let Some(value) = claims.get(claim) else { return Ok(None) };
    // Until the year 9999; what is later cannot be added to.
    let seconds = value.as_f64().filter(|seconds| (0.0..253_402_300_800.0).contains(seconds));
    let seconds = seconds.ok_or_else(|| format!("its `{claim}` is no time"))?;
    Ok(Some(SystemTime::UNIX_EPOCH + Duration::from_secs_f64(seconds)))
}

fn audience(claims: &Claims, ours: &[impl AsRef<str>]) -> Result<(), String> {
    let audiences: Vec<&str> = match claims.get("aud") {
        Some(Value::String(one)) => vec![one],
        Some(Value::Array(several)) => several
            .iter()
            .map(Value::as_str)
            .collect::<Option<_>>()
            .ok_or("its `aud` holds something else than texts")?,
        Some(_) => return Err("its `aud` is neither a text nor a list".to_owned()),
        None => return Err("it has no `aud`".to_owned()),
    };
    if !audiences.iter().any(|audience| ours.iter().any(|one| one.as_ref() == *audience)) {
        let shown: String = audiences.join("`, `").chars().take(200).collect();
        return Err(format!("it is for `{}`, not for this server", shown.escape_debug()));
    }
    let client = ["azp", "client_id"].into_iter().filter_map(|claim| claims.get(claim));
    let mut clients = 0;
    for client in client {
        if client.as_str().is_none_or(str::is_empty) {
            return Err("its `azp` or `client_id` is not the name of a client".to_owned());
        }
        clients += 1;
    }
    if audiences.len() > 1 && clients == 0 {
        return Err(
            "it is for several audiences and does not say (`azp`) who asked for it".to_owned()
        );
    }
    Ok(())
}

/// Returns the name in the claim that the configuration chose, if there is one.
fn named<'a>(claims: &'a Claims, claim: &str) -> Result<Option<&'a str>, String> {
    let Some(name) = name(claims, claim)? else { return Ok(None) };
    if claim == "email" {
        verified_email(claims)?;
    }
    Ok(Some(name))
}

/// Anybody can enter any address where nobody checks it.
fn verified_email(claims: &Claims) -> Result<(), String> {
    if claims.get("email_verified").is_some_and(is_true) {
        return Ok(());
    }
    Err("its `email` is not verified (`email_verified`)".to_owned())
}

fn name<'a>(claims: &'a Claims, claim: &str) -> Result<Option<&'a str>, String> {
    let Some(value) = lookup(claims, claim) else { return Ok(None) };
    let unusable = || format!("its `{claim}` is not a name");
    let name = value.as_str().ok_or_else(unusable)?;
    let is_name = (1..=NAME_BYTES).contains(&name.len())
        && !name.contains(|c: char| c.is_control())
        && name.trim() == name;
    if is_name { Ok(Some(name)) } else { Err(unusable()) }
}

/// Refuses claims of which one is none of those that are accepted.
pub(super) fn required(claims: &Claims, claim: &str, accepted: &[String]) -> Result<(), String> {
    let Some(value) = lookup(claims, claim) else {
        return Err(format!("it has no `{claim}`, which is required"));
    };
    let several = value.as_array().map_or_else(|| std::slice::from_ref(value), Vec::as_slice);
    let values: Vec<String> = several.iter().filter_map(plain).collect();
    if !values.iter().any(|value| accepted.contains(value)) {
        let shown: String = value.to_string().chars().take(200).collect();
        return Err(format!("its `{claim}` is {shown}, which is none that is required"));
    }
    if claim == "email" { verified_email(claims) } else { Ok(()) }
}

fn allowed(claims: &Claims, settings: &Settings, groups: &[String]) -> Result<(), String> {
    if settings.allowed_groups.is_empty() {
        return Ok(());
    }
    let is_allowed =
        |group: &String| settings.allowed_groups.iter().any(|one| bare(one) == bare(group));
    if groups.iter().any(is_allowed) {
        return Ok(());
    }
    if has_overage(claims, settings) {
        return Err(OVERAGE.to_owned());
    }
    Err(format!("none of its {} groups in `{}` is allowed", groups.len(), settings.groups_claim))
}

/// Returns a group's name without the slash that some providers put before every one.
pub(super) fn bare(name: &str) -> &str {
    name.strip_prefix('/').unwrap_or(name)
}

/// Returns the groups that a claim lists.
pub(super) fn groups(claims: &Claims, claim: &str) -> Vec<String> {
    let usable = |name: &&str| !name.is_empty() && !name.contains(|c: char| c.is_control());
    let names: Vec<&str> = match lookup(claims, claim) {
        Some(Value::String(one)) => vec![one],
        Some(Value::Array(several)) => several.iter().filter_map(Value::as_str).collect(),
        None | Some(Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_)) => {
            Vec::new()
        }
    };
    names.into_iter().filter(usable).map(ToOwned::to_owned).collect()
}

/// Finds a claim: by its whole name, which may have dots (`https://example.com/groups`), or along
/// the dots through objects (`realm_access.roles`).
pub(crate) fn lookup<'a>(claims: &'a Claims, path: &str) -> Option<&'a Value> {
    if let Some(value) = claims.get(path) {
        return Some(value);
    }
    path.match_indices('.').find_map(|(dot, _)| {
        let (outer, inner) = (path.get(..dot)?, path.get(dot + 1..)?);
        lookup(claims.get(outer)?.as_object()?, inner)
    })
}

fn is_true(value: &Value) -> bool {
    value == &Value::Bool(true) || value == "true"
}

/// Returns a value as configurations write it: providers send numbers as texts and the other way.
pub(crate) fn plain(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Bool(truth) => Some(truth.to_string()),
        Value::Number(number) => Some(number.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// The values of which a claim must have one, for each claim.
pub type Required = BTreeMap<String, Vec<String>>;
