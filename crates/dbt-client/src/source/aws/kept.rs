//! Credentials that are good for a while, in a file of ours, so that the next run asks nobody.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, SystemTime};

use dbt_core::secret::Secret;
use dbt_core::timestamp::Timestamp;

use super::Keys;
use crate::fsx;

/// The most bytes of the file.
const LIMIT: u64 = 1024 * 1024;

/// So long before they end, credentials are asked for anew: a download takes a while.
const BEFORE_THE_END: Duration = Duration::from_mins(5);

/// For how long it is believed that a machine has none of its own.
const NONE_FOR: Duration = Duration::from_mins(10);

/// What is in the file, by where it is from.
#[derive(Default, serde::Serialize, serde::Deserialize)]
struct Contents {
    credentials: BTreeMap<String, Entry>,
}

#[derive(serde::Serialize, serde::Deserialize)]
struct Entry {
    /// Nothing where there are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    keys: Option<Written>,
    expires: Timestamp,
}

#[derive(serde::Serialize, serde::Deserialize)]
struct Written {
    id: String,
    secret: InFile,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    token: Option<InFile>,
}

/// A secret on its way into the file or out of it: the one that may be written.
#[derive(Clone, serde::Deserialize)]
#[serde(transparent)]
struct InFile(Secret<String>);

impl serde::Serialize for InFile {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0.expose())
    }
}

/// What is kept of a place.
pub(super) enum Kept {
    Keys(Keys),
    /// It has none.
    Nothing,
}

/// Returns what is kept of a place, if that is still good.
pub(super) fn find(file: &Path, from: &str, now: SystemTime) -> Option<Kept> {
    let entry = read(file)?.credentials.remove(from)?;
    let Timestamp(expires) = entry.expires;
    let Some(Written { id, secret, token }) = entry.keys else {
        return (now < expires && expires <= now + NONE_FOR).then_some(Kept::Nothing);
    };
    let is_good = now + BEFORE_THE_END < expires;
    let token = token.map(|InFile(token)| token);
    is_good.then(|| Kept::Keys(Keys { id, secret: secret.0, token, expires: Some(expires) }))
}

/// Keeps what a place gave, as long as it is good. That it cannot be kept costs time and nothing
/// else.
pub(super) fn keep(file: &Path, from: &str, keys: Option<&Keys>, now: SystemTime) {
    let expires = match keys {
        Some(keys) => keys.expires,
        None => Some(now + NONE_FOR),
    };
    let Some(expires) = expires else { return };
    let mut contents = read(file).unwrap_or_default();
    contents.credentials.retain(|_from, entry| now < entry.expires.0);
    let keys = keys.map(|keys| Written {
        id: keys.id.clone(),
        secret: InFile(keys.secret.clone()),
        token: keys.token.clone().map(InFile),
    });
    contents.credentials.insert(from.to_owned(), Entry { keys, expires: Timestamp(expires) });
    let Ok(bytes) = serde_json::to_vec(&contents).map(Secret::new) else { return };
    let made = file.parent().map(|directory| fsx::create_dir_all(directory, 0o700));
    if matches!(made, Some(Ok(()))) {
        let _kept = fsx::write_atomic(file, bytes.expose(), 0o600);
    }
}

fn read(file: &Path) -> Option<Contents> {
    let bytes = Secret::new(fsx::read_own(file, LIMIT).ok()?);
    serde_json::from_slice(bytes.expose()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(expires: Option<SystemTime>) -> Keys {
        let secret = Secret::new("s3cret".to_owned());
        Keys { id: "AKID".to_owned(), secret, token: None, expires }
    }

    #[test]
    fn what_is_kept_is_found_until_shortly_before_its_end() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("state").join("aws.json");
        let now = SystemTime::UNIX_EPOCH + Duration::from_hours(1000);
        let end = now + Duration::from_hours(1);
        keep(&file, "a role", Some(&keys(Some(end))), now);
        let found = |from: &str, at| {
            find(&file, from, at).map(|kept| match kept {
                Kept::Keys(keys) => Some(keys.id),
                Kept::Nothing => None,
            })
        };
        assert_eq!(found("a role", now), Some(Some("AKID".to_owned())));
        assert_eq!(found("another", now), None);
        assert_eq!(found("a role", end - Duration::from_mins(4)), None);

        keep(&file, "machine", None, now);
        assert_eq!(found("machine", now), Some(None));
        assert_eq!(found("machine", now + Duration::from_mins(11)), None);
        assert_eq!(found("a role", now), Some(Some("AKID".to_owned())), "beside it");

        keep(&file, "for ever", Some(&keys(None)), now);
        assert_eq!(found("for ever", now), None);
    }

    #[test]
    #[cfg(unix)]
    fn nobody_else_can_read_what_is_kept() {
        use std::os::unix::fs::PermissionsExt as _;
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("state").join("aws.json");
        let now = SystemTime::UNIX_EPOCH;
        keep(&file, "x", Some(&keys(Some(now + Duration::from_hours(1)))), now);
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&file), mode(file.parent().unwrap())), (0o600, 0o700));
    }
}
