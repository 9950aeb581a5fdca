//! What was on a disk before an attack, to be compared with what is there after it.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use dbt_core::digest::Digest;
use serde_json::Value;

/// What state files note of any run, whatever it came to: when the server was last asked and what
/// was wrong with it, what has been said, that others have something newer, and on which day a
/// version was last used.
const NOTES: &[&str] = &[
    "checked",
    "confirmed",
    "failed",
    "failure",
    "failures",
    "manifest_refused",
    "newer_elsewhere",
    "said",
    "used",
];

/// A directory at one moment: each file's kind, mode and content.
#[derive(Debug, PartialEq, Eq)]
pub struct Snapshot(BTreeMap<PathBuf, String>);

impl Snapshot {
    /// Looks at everything below a directory.
    pub fn of(directory: &Path) -> Self {
        let mut files = BTreeMap::new();
        let mut directories = vec![directory.to_owned()];
        while let Some(next) = directories.pop() {
            for entry in fs::read_dir(&next).into_iter().flatten().map(Result::unwrap) {
                let path = entry.path();
                let metadata = fs::symlink_metadata(&path).unwrap();
                let content = if metadata.is_dir() {
                    directories.push(path.clone());
                    "a directory".to_owned()
                } else if metadata.is_symlink() {
                    format!("a link to {}", fs::read_link(&path).unwrap().display())
                } else {
                    content(&path)
                };
                let mode = metadata.permissions().mode() & 0o7777;
                let name = path.strip_prefix(directory).unwrap().to_owned();
                files.insert(name, format!("{mode:o} {content}"));
            }
        }
        Self(files)
    }

    /// Expects that nothing has changed since, but what any run notes.
    #[track_caller]
    pub fn still_holds(&self, directory: &Path, when: &str) {
        let now = Self::of(directory);
        for (path, before) in &self.0 {
            let after = now.0.get(path).map_or("nothing", String::as_str);
            assert_eq!(before, after, "{when}: {} has changed", path.display());
        }
        for path in now.0.keys() {
            assert!(self.0.contains_key(path), "{when}: {} is new", path.display());
        }
    }
}

/// What is in a file: of a record of ours what is not a note, of others the digest.
fn content(path: &Path) -> String {
    let bytes = fs::read(path).unwrap();
    match serde_json::from_slice(&bytes) {
        Ok(Value::Object(mut record)) => {
            record.retain(|key, _value| !NOTES.contains(&key.as_str()));
            without_notes(&mut record);
            Value::Object(record).to_string()
        }
        _ => Digest::of(&bytes).to_string(),
    }
}

fn without_notes(record: &mut serde_json::Map<String, Value>) {
    for value in record.values_mut() {
        for value in value.as_array_mut().into_iter().flatten() {
            if let Some(record) = value.as_object_mut() {
                record.remove("used");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::panic::catch_unwind;

    #[test]
    fn notes_may_change_and_nothing_else() {
        let directory = tempfile::tempdir().unwrap();
        let at = directory.path();
        let state = |text: &str| fs::write(at.join("state.json"), text).unwrap();
        state("{\"trust\":1,\"failures\":0}");
        fs::write(at.join("tool"), "x").unwrap();
        let before = Snapshot::of(at);
        state("{\"failures\":3,\"trust\":1,\"failed\":\"now\"}");
        before.still_holds(at, "noted");
        let holds = || catch_unwind(|| before.still_holds(at, "")).is_ok();

        state("{\"trust\":2,\"failures\":0}");
        assert!(!holds(), "what is remembered");
        state("{\"trust\":1,\"failures\":0}");
        assert!(holds());

        fs::write(at.join("tool"), "y").unwrap();
        assert!(!holds(), "a file's content");
        fs::write(at.join("tool"), "x").unwrap();
        fs::set_permissions(at.join("tool"), fs::Permissions::from_mode(0o755)).unwrap();
        assert!(!holds(), "a file's mode");
        fs::remove_file(at.join("tool")).unwrap();
        assert!(!holds(), "a file that is gone");
        fs::create_dir(at.join("tool")).unwrap();
        assert!(!holds(), "a directory in its place");
    }
}
