//! What jobs that withdraw may put in the place of a list of withdrawn versions: one in which all is
//! withdrawn that was.
//!
//! Everybody has read the earlier lists, with their signatures: whoever may only withdraw must not take a
//! withdrawal back with one of them, nor stop a tool with what is no list, or with one that nobody has
//! signed: clients refuse to run a tool whose list does not verify.
//!
//! Where uploads are verified, the list that is there verifies at each moment. Publishers write the
//! signature first; it comes with the one of the list that is still there, and only then the list that
//! the new one is of. A signature alone can be anybody's that was ever public.

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

/// Checks a list, or a signature, by what is there.
pub(super) async fn check(there: &There<'_>, path: &RepoPath, new: &Bytes) -> Result<(), ApiError> {
    let name = path.file_name().unwrap_or_default();
    let tool = path.parent().and_then(|tool| tool.file_name()?.parse::<ToolName>().ok());
    let tool = tool.ok_or_else(|| refusal("it is the list of no tool"))?;
    if is_signature(name) {
        return check_signature(there, tool, new).await;
    }
    if name != WITHDRAWN_FILE {
        return Err(refusal("it is neither the list of withdrawn versions nor its signature"));
    }
    let old = there.read_file(name).await?;
    if old.as_ref() == Some(new) {
        return Ok(());
    }
    follows(old.as_deref(), new, &tool)?;
    let signature = there.read_file(&format!("{name}{SIGNATURE_ENDING}")).await?;
    match verify(there, tool, new, signature).await? {
        Verified::Not(why) => Err(refusal(&why)),
        Verified::NotSigned => Err(refusal("its signature must be written first")),
        Verified::Yes | Verified::NotAsked => Ok(()),
    }
}

/// Checks a signature: it leaves the list that is there with one that counts.
async fn check_signature(there: &There<'_>, tool: ToolName, new: &Bytes) -> Result<(), ApiError> {
    SignatureBlock::parse(new).map_err(|_error| refusal("it is no signature"))?;
    // Without a list, nobody asks for it.
    let Some(list) = there.read_file(WITHDRAWN_FILE).await? else { return Ok(()) };
    match verify(there, tool, &list, Some(new.clone())).await? {
        Verified::Not(why) => Err(refusal(&format!(
            "the list that is there would have no signature any more ({why}); write its own beside the new one"
        ))),
        Verified::Yes | Verified::NotSigned | Verified::NotAsked => Ok(()),
    }
}

/// What comes of verifying a list.
enum Verified {
    Yes,
    Not(String),
    NotSigned,
    /// Uploads are not verified here.
    NotAsked,
}

/// Verifies a list as a client would that comes for the first time.
async fn verify(
    there: &There<'_>,
    tool: ToolName,
    list: &Bytes,
    signature: Option<Bytes>,
) -> Result<Verified, ApiError> {
    let now = there.app.clock.now();
    let Some(trust) = there.app.storage.trust(now).await? else { return Ok(Verified::NotAsked) };
    let Some(signature) = signature else { return Ok(Verified::NotSigned) };
    let (document, list) = (Document::Withdrawn(tool), list.clone());
    let verified = tokio::task::spawn_blocking(move || {
        match trust.verify_document(&document, &list, &signature, now) {
            Ok(_endorsement) => Verified::Yes,
            Err(error) => Verified::Not(error.to_string()),
        }
    });
    verified.await.map_err(|error| ApiError::Internal(error.to_string()))
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
