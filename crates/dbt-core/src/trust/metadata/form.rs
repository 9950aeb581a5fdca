//! What every metadata file must look like, beyond what its types demand.
//!
//! Each rule refuses what the library would read: a time in another notation, a version 0, a
//! timestamp that names no snapshot (after which an older one could follow unnoticed), two
//! names for one key (which would sign twice), roles with the same name.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::error::MetadataError;
use super::role::RoleName;
use crate::timestamp;

type Object = Map<String, Value>;

/// What a rule found wrong.
type Checked = Result<(), String>;

/// Checks the form of a file that claims to be metadata of `kind`: `root`, `timestamp`, `snapshot`
/// or `targets`. `role` is its name in errors. Signatures are looked at by nobody here.
pub(super) fn check(bytes: &[u8], kind: &str, role: &str) -> Result<(), MetadataError> {
    checked(bytes, kind).map_err(|reason| MetadataError::malformed(role, reason))
}

fn checked(bytes: &[u8], kind: &str) -> Checked {
    let value: Value = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    let signed = object(value.get("signed"), "signed")?;
    if signed.get("_type").and_then(Value::as_str) != Some(kind) {
        return Err(format!("`_type` is not `{kind}`"));
    }
    spec_version(signed)?;
    version(signed)?;
    let expires = signed.get("expires").and_then(Value::as_str);
    if expires.and_then(timestamp::parse).is_none() {
        return Err("`expires` is not a time like `2030-01-31T00:00:00Z`".to_owned());
    }
    match kind {
        "root" => root(signed),
        "timestamp" => listed(signed, "snapshot.json"),
        "snapshot" => listed(signed, "targets.json"),
        _ => targets(signed),
    }
}

fn object<'a>(value: Option<&'a Value>, name: &str) -> Result<&'a Object, String> {
    value.and_then(Value::as_object).ok_or_else(|| format!("`{name}` is not an object"))
}

/// Only the major version matters, but all of it has to be a version (specification, 4.3).
fn spec_version(signed: &Object) -> Checked {
    let text = signed.get("spec_version").and_then(Value::as_str).unwrap_or_default();
    let parts: Vec<&str> = text.split('.').collect();
    let are_numbers =
        parts.iter().all(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()));
    if parts.first() == Some(&"1") && (2..=3).contains(&parts.len()) && are_numbers {
        return Ok(());
    }
    Err("`spec_version` is not 1.N".to_owned())
}

fn version(of: &Object) -> Checked {
    match of.get("version").and_then(Value::as_u64) {
        Some(1..) => Ok(()),
        _ => Err("`version` is not a whole number above 0".to_owned()),
    }
}

fn root(signed: &Object) -> Checked {
    let keys = object(signed.get("keys"), "keys")?;
    let roles = object(signed.get("roles"), "roles")?;
    for role in ["root", "timestamp", "snapshot", "targets"] {
        signers(object(roles.get(role), role)?, keys, role)?;
    }
    match signed.get("consistent_snapshot") {
        None | Some(Value::Bool(_)) => Ok(()),
        Some(_) => Err("`consistent_snapshot` is neither true nor false".to_owned()),
    }
}

/// Checks who may sign for a role: at least one signature, and each key by one name only.
fn signers(role: &Object, keys: &Object, name: &str) -> Checked {
    if role.get("threshold").and_then(Value::as_u64).is_none_or(|threshold| threshold == 0) {
        return Err(format!("the threshold of `{name}` is not a whole number above 0"));
    }
    let ids = role.get("keyids").and_then(Value::as_array);
    let (mut names, mut publics) = (BTreeSet::new(), BTreeSet::new());
    for id in ids.ok_or_else(|| format!("`{name}` lists no keys"))? {
        let id = id.as_str().ok_or_else(|| format!("a key of `{name}` is not named by text"))?;
        if !names.insert(id) {
            return Err(format!("`{name}` lists a key twice"));
        }
        let Some(key) = keys.get(id) else { continue };
        kind(key).map_err(|reason| format!("a key of `{name}`: {reason}"))?;
        let public = key.pointer("/keyval/public").and_then(Value::as_str);
        // PEM and hexadecimal digits: how they are laid out makes no other key of them.
        let public = public.map(|text| {
            let text: String = text.split_whitespace().collect();
            if text.starts_with('-') { text } else { text.to_ascii_lowercase() }
        });
        if public.is_some_and(|public| !publics.insert(public)) {
            return Err(format!("`{name}` lists one key under two names"));
        }
    }
    Ok(())
}

/// Checks that what a key says of its kind fits. Of schemes that are not known nothing is: such a key
/// signs nothing, and does no harm beside others.
fn kind(key: &Value) -> Checked {
    let text = |field| key.get(field).and_then(Value::as_str).unwrap_or_default();
    let (keytype, scheme) = (text("keytype"), text("scheme"));
    let fits = match scheme {
        "ed25519" => keytype == "ed25519",
        // The older spelling is still in use.
        "ecdsa-sha2-nistp256" | "ecdsa-sha2-nistp384" => keytype == "ecdsa" || keytype == scheme,
        "rsassa-pss-sha256" | "rsassa-pss-sha384" | "rsassa-pss-sha512" => keytype == "rsa",
        _ => true,
    };
    if fits { Ok(()) } else { Err(format!("`{keytype}` is no kind of key for `{scheme}`")) }
}

/// Checks the list of a timestamp or a snapshot.
fn listed(signed: &Object, required: &str) -> Checked {
    let meta = object(signed.get("meta"), "meta")?;
    if !meta.contains_key(required) {
        return Err(format!("it does not list `{required}`"));
    }
    for (file, entry) in meta {
        let entry = object(Some(entry), file)?;
        version(entry).map_err(|reason| format!("`{file}`: {reason}"))?;
        if entry
            .get("length")
            .is_some_and(|length| length.as_u64().is_none_or(|length| length == 0))
        {
            return Err(format!("`{file}`: `length` is not a whole number above 0"));
        }
    }
    Ok(())
}

fn targets(signed: &Object) -> Checked {
    let Some(delegations) = signed.get("delegations") else { return Ok(()) };
    let delegations = object(Some(delegations), "delegations")?;
    let keys = object(delegations.get("keys"), "delegations.keys")?;
    let roles = match delegations.get("roles") {
        None => return Ok(()),
        Some(roles) => roles.as_array().ok_or("`delegations.roles` is not a list")?,
    };
    let mut names = BTreeSet::new();
    for role in roles {
        let role = object(Some(role), "a delegation")?;
        let name = role.get("name").and_then(Value::as_str).ok_or("a delegation has no name")?;
        RoleName::new(name).map_err(|error| error.to_string())?;
        if !names.insert(name) {
            return Err(format!("`{name}` is delegated to twice"));
        }
        signers(role, keys, name)?;
        let patterns = ["paths", "path_hash_prefixes"].map(|field| role.get(field).is_some());
        if patterns[0] == patterns[1] {
            return Err(format!("`{name}` needs either `paths` or `path_hash_prefixes`"));
        }
    }
    Ok(())
}
