//! What jobs that withdraw may put in the place of a list of withdrawn versions: one in which all is
//! withdrawn that was.
//!
//! Everybody has read the earlier lists, with their signatures: whoever may only withdraw must not take a
//! withdrawal back with one of them, nor stop a tool with what is no list, or with one that nobody has
//! signed. Where uploads are verified, the signature is there first, as publishers write it, and is that
//! of the list.

use dbt_core::layout::{SIGNATURE_ENDING, WITHDRAWN_FILE};
use dbt_core::name::ToolName;
use dbt_core::repo_path::RepoPath;
use dbt_core::trust::Document;
use dbt_core::trust::openpgp::SignatureBlock;
use dbt_core::trust::withdrawn::{Withdrawn, WithdrawnVersion};
use hyper::body::Bytes;

use super::{There, broken, refusal};
use crate::error::ApiError;

/// How far a serial may be above the one that is there. Publishers count by one; after the highest that
/// there is nothing could be withdrawn any more.
const SERIAL_STEP: u64 = 1000;

/// Says whether a path is that of a list of withdrawn versions, or of its signature.
pub(super) fn is_one(path: &RepoPath) -> bool {
    path.file_name().is_some_and(|name| name == WITHDRAWN_FILE || is_signature(name))
}

fn is_signature(name: &str) -> bool {
    name.strip_suffix(SIGNATURE_ENDING) == Some(WITHDRAWN_FILE)
}

/// Checks a list by the one that is there, or that its signature is one.
pub(super) async fn check(there: &There<'_>, path: &RepoPath, new: &Bytes) -> Result<(), ApiError> {
    let name = path.file_name().unwrap_or_default();
    if is_signature(name) {
        return SignatureBlock::parse(new)
            .map(|_parsed| ())
            .map_err(|_error| refusal("it is no signature"));
    }
    if name != WITHDRAWN_FILE {
        return Err(refusal("it is neither the list of withdrawn versions nor its signature"));
    }
    let tool = path.parent().and_then(|tool| tool.file_name()?.parse::<ToolName>().ok());
    let tool = tool.ok_or_else(|| refusal("it is the list of no tool"))?;
    let old = there.read_file(name).await?;
    if old.as_ref() == Some(new) {
        return Ok(());
    }
    follows(old.as_deref(), new, &tool)?;
    let now = there.app.clock.now();
    let Some(trust) = there.app.storage.trust(now).await? else { return Ok(()) };
    let signature = there.read_file(&format!("{name}{SIGNATURE_ENDING}")).await?;
    let signature = signature.ok_or_else(|| refusal("its signature must be written first"))?;
    let (document, new) = (Document::Withdrawn(tool), new.clone());
    let verified = tokio::task::spawn_blocking(move || {
        let endorsed = trust.verify_document(&document, &new, &signature, now);
        endorsed.map(|_endorsement| ()).map_err(|error| broken(&error))
    });
    verified.await.map_err(|error| ApiError::Internal(error.to_string()))?
}

fn follows(old: Option<&[u8]>, new: &[u8], tool: &ToolName) -> Result<(), ApiError> {
    let after = Withdrawn::parse(new, tool).map_err(|error| broken(&error))?;
    let before = old.map(|old| Withdrawn::parse(old, tool)).transpose();
    let before = before.map_err(|error| broken(&error))?;
    let known = before.as_ref().map_or(0, |before| before.serial);
    if after.serial > known.saturating_add(SERIAL_STEP) {
        return Err(refusal("its serial is higher by far, so that none would be left"));
    }
    let Some(before) = before else { return Ok(()) };
    if after.serial <= before.serial {
        return Err(refusal("its serial is not higher"));
    }
    let stays = |it: &WithdrawnVersion| {
        let same = after.versions.iter().filter(|new| new.version == it.version);
        let digests: Vec<_> = same.clone().flat_map(|new| &new.sha256).collect();
        same.count() > 0 && it.sha256.iter().all(|digest| digests.contains(&digest))
    };
    match before.versions.iter().find(|it| !stays(it)) {
        Some(gone) => Err(refusal(&format!("`{}` would not be withdrawn any more", gone.version))),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn list(serial: u64, versions: &Value) -> Vec<u8> {
        let list = json!({
            "schema": "dbt.withdrawn/1", "tool": "deploy", "serial": serial,
            "issued": "2026-01-01T00:00:00Z", "versions": versions,
        });
        list.to_string().into_bytes()
    }

    #[test]
    fn a_list_follows_that_is_later_and_in_which_all_is_withdrawn_that_was() {
        let tool: ToolName = "deploy".parse().unwrap();
        let (a, b) = ("a".repeat(64), "b".repeat(64));
        let one = json!({"version": "1.0.0", "sha256": [a]});
        let old = list(2, &json!([one]));
        for (new, expected) in [
            (list(3, &json!([one])), ""),
            (list(3, &json!([{"version": "1.0.0", "sha256": [b, a]}, {"version": "2.0.0"}])), ""),
            (list(2, &json!([one, {"version": "2.0.0"}])), "its serial is not higher"),
            (list(1, &json!([one])), "its serial is not higher"),
            (list(1002, &json!([one])), ""),
            (list(1003, &json!([one])), "its serial is higher by far"),
            (list(u64::MAX, &json!([one])), "its serial is higher by far"),
            (list(3, &json!([])), "`1.0.0` would not be withdrawn any more"),
            (list(3, &json!([{"version": "1.0.0"}])), "`1.0.0` would not be withdrawn any more"),
            (
                list(3, &json!([{"version": "1.0.0", "sha256": [b]}])),
                "`1.0.0` would not be withdrawn any more",
            ),
            (b"bytes".to_vec(), "failed to read the list"),
        ] {
            let said = follows(Some(&old), &new, &tool)
                .map_or_else(|it| it.to_string(), |()| String::new());
            let text = String::from_utf8_lossy(&new);
            assert_eq!(said.is_empty(), expected.is_empty(), "{text}: {said}");
            assert!(said.contains(expected), "{text}: {said}");
        }
        assert!(follows(None, &old, &tool).is_ok());
        assert!(follows(None, &list(1000, &json!([one])), &tool).is_ok());
        assert!(follows(None, &list(1001, &json!([one])), &tool).is_err());
        assert!(follows(None, &old, &"other".parse().unwrap()).is_err());
        assert!(
            follows(Some(b"bytes"), &old, &tool).is_err(),
            "what cannot be read takes an administrator"
        );
    }
}
