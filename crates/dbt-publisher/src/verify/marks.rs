//! What points at what is published: the marker of the newest version, and the pages of hosts that
//! list nothing themselves.

use std::path::Path;

use dbt_core::layout::{Location, Tree};
use dbt_core::release::Subject;
use dbt_core::repo_path::RepoPath;
use dbt_core::select;
use dbt_core::version::Version;

use super::Check;
use super::findings::About;
use super::kind::Kind;
use crate::index;
use crate::place::Place;
use crate::publish::{LATEST_FILE, LATEST_LIMIT};
use crate::stop::Stop;

impl Check<'_> {
    /// Checks the marker of the newest version, which installers read, if there is one.
    pub(crate) fn latest(&self, published: &[Version]) {
        let Ok(path) = RepoPath::root().join(LATEST_FILE) else { return };
        let at = Location { tree: Tree::Repository, path };
        let about = || About::tool(&Subject::Program);
        let bytes = match self.reader.document(&at, LATEST_LIMIT) {
            Ok(Some(bytes)) => bytes,
            Ok(None) => return,
            Err(error) => return self.findings.failed(about(), &error),
        };
        let text = String::from_utf8_lossy(&bytes).trim().to_owned();
        let named = text.parse::<Version>().ok();
        let Some(named) = named.filter(|named| published.iter().any(|one| one.same_number(named)))
        else {
            let found = format!("it names `{}`, which is not published", text.escape_debug());
            return self.findings.add(Kind::LATEST_WRONG, about(), self.reader.shown(&at), found);
        };
        let newest = select::newest(published).filter(|newest| newest.cmp_number(&named).is_gt());
        if let Some(newest) = newest {
            let found = format!("it names {named}, and {newest} is published");
            self.findings.add(Kind::LATEST_STALE, about(), self.reader.shown(&at), found);
        }
    }

    /// In a directory, checks that its pages say what is there. What a server shows in the place
    /// of a page cannot be compared with anything.
    pub(crate) fn pages(&self, place: &Place) -> Result<(), Stop> {
        for tree in [Tree::Repository, Tree::Tools] {
            let Some(root) = place.tree(tree)?.directory() else { continue };
            let stale = index::stale(root)?;
            for stale in stale.into_iter().filter(|stale| self.concerns(root, tree, &stale.page)) {
                let about = About::default();
                let at = stale.page.display().to_string();
                self.findings.add(Kind::PAGE_STALE, about, at, stale.words());
            }
        }
        Ok(())
    }

    /// Whether a page is of something that is looked at.
    fn concerns(&self, root: &Path, tree: Tree, page: &Path) -> bool {
        let only = &self.scope.only;
        let is_of = |subject: &Subject| {
            let at = Location::versions_of(subject);
            let directory =
                at.path.segments().fold(root.to_owned(), |below, name| below.join(name));
            at.tree == tree && page.starts_with(directory)
        };
        only.is_empty() || only.iter().any(is_of)
    }
}
