//! Names that differ only in the case of letters: on some machines they are one name.

use std::sync::Arc;

use dbt_core::repo_path::RepoPath;
use tokio::sync::OwnedMutexGuard;

use super::Tree;
use super::beneath::Root;
use super::drafts::below;
use super::private;
use super::publish::writing;
use crate::storage::StorageError;

/// The right to make a new name, where each is to be there in one spelling. Held until it is made,
/// and always taken before the one to give names.
pub(super) type OnlySpelling = OwnedMutexGuard<()>;

impl Tree {
    /// Waits for the right to make a new name, where that matters.
    pub(super) async fn spelling_turn(&self) -> Option<OnlySpelling> {
        if !self.refuses_case_variants() {
            return None;
        }
        Some(Arc::clone(&self.spelling).lock_owned().await)
    }

    /// Waits for the right to make names on a path, on a thread that may wait, and checks the path.
    pub(super) fn only_spelling(
        &self,
        path: &RepoPath,
    ) -> Result<Option<OnlySpelling>, StorageError> {
        if !self.refuses_case_variants() {
            return Ok(None);
        }
        let turn = Arc::clone(&self.spelling).blocking_lock_owned();
        self.refuse_variants_of(path)?;
        Ok(Some(turn))
    }

    /// Refuses a path of which a part is there already in another case, if that is configured, or
    /// the disk does not tell them apart.
    pub(super) fn refuse_variants_of(&self, path: &RepoPath) -> Result<(), StorageError> {
        if !self.refuses_case_variants() {
            return Ok(());
        }
        let mut above = RepoPath::root();
        for segment in path.segments() {
            let entries = self.root.entries(&above);
            let entries = entries.map_err(|error| writing("list", &above, error))?;
            let is_there = entries.iter().any(|(name, _kind)| name == segment);
            if !is_there && entries.iter().any(|(name, _kind)| is_variant(name, segment)) {
                return Err(StorageError::CaseVariant);
            }
            above = below(&above, segment);
        }
        Ok(())
    }

    /// Says whether a path is written as it is on the disk. Only where the disk takes other
    /// spellings for the same name, it can be something else: rules are about one of them.
    pub(super) fn is_spelled(&self, path: &RepoPath) -> bool {
        !self.folds_case || is_exact(&self.root, path)
    }
}

/// Says whether the disk takes names that differ only in case for one.
pub(super) fn folds_case(root: &Root) -> bool {
    // Our own directory is always there, in small letters.
    root.open_directory(&below(&RepoPath::root(), &private::NAME.to_ascii_uppercase())).is_ok()
}

fn is_exact(root: &Root, path: &RepoPath) -> bool {
    let mut above = RepoPath::root();
    path.segments().all(|segment| {
        let entries = root.entries(&above).unwrap_or_default();
        above = below(&above, segment);
        entries.iter().any(|(name, _kind)| name == segment)
    })
}

fn is_variant(name: &str, segment: &str) -> bool {
    name != segment && name.eq_ignore_ascii_case(segment)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_exact_when_each_part_of_it_is_spelled_as_on_the_disk() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(directory.path().join("dbt-tools/Foo")).unwrap();
        std::fs::write(directory.path().join("dbt-tools/Foo/file"), "x").unwrap();
        let root = Root::open_root(directory.path()).unwrap();
        let exact = |text: &str| is_exact(&root, &text.parse().unwrap());
        assert!(exact("dbt-tools/Foo/file") && exact("dbt-tools") && exact(""));
        for text in ["dbt-tools/foo/file", "dbt-tools/Foo/File", "DBT-tools", "dbt-tools/Foo/x"] {
            assert!(!exact(text), "{text}");
        }
        assert!(is_variant("Foo", "foo") && !is_variant("foo", "foo") && !is_variant("fo", "foo"));
    }

    #[test]
    fn a_disk_that_tells_small_letters_from_capitals_is_known() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir(directory.path().join(".reposerver")).unwrap();
        let root = Root::open_root(directory.path()).unwrap();
        let is_folded = directory.path().join(".REPOSERVER").exists();
        assert_eq!(folds_case(&root), is_folded);
    }
}
