//! Which published versions a request means.

use crate::version::{Version, Wanted};

/// Returns the versions that `wanted` means, best first.
///
/// Of two spellings of one number (`1.2.3`, `v1.2.3`) only the one without `v` is kept. A version
/// that is wanted exactly is returned even when it is not listed: repositories that pull through
/// from another list only what was fetched before.
pub fn candidates(published: &[Version], wanted: &Wanted) -> Vec<Version> {
    let mut versions: Vec<Version> =
        published.iter().filter(|version| wanted.admits(version)).cloned().collect();
    versions.sort_unstable_by(|a, b| b.cmp(a));
    versions.dedup_by(|later, kept| later.same_number(kept));

    if let (Wanted::Exactly(version), true) = (wanted, versions.is_empty()) {
        versions.push(version.clone());
    }
    versions
}

/// Returns the newest release among some versions; pre-releases do not count.
pub fn newest(published: &[Version]) -> Option<Version> {
    candidates(published, &Wanted::Newest).into_iter().next()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(published: &[&str], wanted: &str, expected: &[&str]) {
        let published: Vec<Version> = published.iter().map(|text| text.parse().unwrap()).collect();
        let wanted = if wanted == "newest" { Wanted::Newest } else { wanted.parse().unwrap() };
        let found = candidates(&published, &wanted);
        let found: Vec<&str> = found.iter().map(Version::spelling).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn the_newest_comes_first_by_number() {
        check(&["1.9.3", "1.10.0", "1.2.0"], "newest", &["1.10.0", "1.9.3", "1.2.0"]);
    }

    #[test]
    fn a_pre_release_is_only_chosen_by_name() {
        check(&["1.2.0", "2.0.0-rc.1"], "newest", &["1.2.0"]);
        check(&["1.2.0", "2.0.0-rc.1"], "2", &[]);
        check(&["1.2.0", "2.0.0-rc.1"], "2.0.0-rc.1", &["2.0.0-rc.1"]);
    }

    #[test]
    fn a_prefix_means_the_newest_release_under_it() {
        check(&["1.4.1", "1.4.9", "1.5.0"], "1.4", &["1.4.9", "1.4.1"]);
    }

    #[test]
    fn the_spelling_without_v_counts() {
        check(&["v1.2.3", "1.2.3", "v1.3.0"], "newest", &["v1.3.0", "1.2.3"]);
        check(&["v1.2.3"], "1.2.3", &["v1.2.3"]);
    }

    #[test]
    fn an_exact_version_is_asked_for_even_if_it_is_not_listed() {
        check(&["1.2.0"], "v3.0.0", &["3.0.0"]);
    }
}
