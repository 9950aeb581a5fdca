//! What is below a prefix (`ListObjectsV2`), page by page.

use dbt_core::listing::{LISTING_LIMIT, Listing, ListingError, page};
use dbt_core::repo_path::RepoPath;

use super::{Store, Wanted, plain};
use crate::source::error::{Failure, FetchError};
use crate::source::http::{Failed, until_good};
use crate::source::patience::Patience;
use crate::source::{encoded, xml};

/// The most keys that are read of one directory: as many as a listing has entries.
const KEYS: usize = 100_000;

/// How much of what is below a prefix is listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Depth {
    /// What is directly there.
    Directory,
    /// Everything.
    All,
}

/// One page.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Page {
    /// Keys of objects.
    pub(super) keys: Vec<String>,
    /// What is below one more slash; each ends with one.
    pub(super) prefixes: Vec<String>,
    /// Where the next page begins, if there is one.
    next: Option<String>,
}

impl Store {
    /// Lists a directory. It is there if anything is in it; what only marks it is nothing.
    pub(super) fn listing(
        &self,
        directory: &RepoPath,
        patience: &Patience,
    ) -> Result<Listing, FetchError> {
        let told = |failure: Failure| self.told("list", directory)(failure.into());
        let prefix = self.below(directory);
        let pages = self.pages(directory, Depth::Directory, patience)?;
        let files = pages.iter().flat_map(|page| &page.keys).map(|key| (key.as_str(), false));
        let directories = pages.iter().flat_map(|page| &page.prefixes);
        let directories = directories.filter_map(|key| Some((key.strip_suffix('/')?, true)));
        let names = files.chain(directories).filter_map(|(key, is_directory)| {
            Some((key.strip_prefix(prefix.as_str())?, is_directory))
        });
        let names: Vec<(&str, bool)> = names.filter(|(name, _)| is_entry(name)).collect();
        if names.is_empty() {
            let missing =
                if directory.is_root() { Failure::RootMissing } else { Failure::NotFound };
            return Err(told(missing));
        }
        Listing::of_names(names).map_err(|error| told(error.into()))
    }

    /// Returns everything below a directory, or what is directly in it.
    pub(super) fn pages(
        &self,
        directory: &RepoPath,
        depth: Depth,
        patience: &Patience,
    ) -> Result<Vec<Page>, FetchError> {
        let told = self.told("list", directory);
        let prefix = self.below(directory);
        let (mut pages, mut count, mut next) = (Vec::new(), 0, None);
        loop {
            let page = until_good(patience, &told, || {
                self.page(&prefix, next.as_deref(), depth, directory.is_root(), patience)
            })?;
            count += page.keys.len() + page.prefixes.len();
            next.clone_from(&page.next);
            pages.push(page);
            if next.is_none() {
                return Ok(pages);
            }
            if count > KEYS {
                return Err(told(Failure::from(ListingError::TooMany).into()));
            }
        }
    }

    /// Returns what the keys below a directory begin with.
    fn below(&self, directory: &RepoPath) -> String {
        let key = self.key(directory);
        if key.is_empty() { key } else { format!("{key}/") }
    }

    fn page(
        &self,
        prefix: &str,
        from: Option<&str>,
        depth: Depth,
        root: bool,
        patience: &Patience,
    ) -> Result<Page, Failed> {
        let mut query = String::new();
        if let Some(from) = from {
            query = format!("continuation-token={}&", encoded(from));
        }
        if depth == Depth::Directory {
            query.push_str("delimiter=%2F&");
        }
        query.push_str("encoding-type=url&list-type=2&prefix=");
        query.push_str(&encoded(prefix));
        let wanted = Wanted {
            query: &query,
            permission: "s3:ListBucket",
            root,
            ..Self::reading("", plain(), &[200])
        };
        let mut reply = self.send(&wanted, patience)?;
        let bytes = reply.body.read_all(LISTING_LIMIT);
        let bytes = bytes.map_err(|failure| Failed::after(&reply, failure))?;
        if crate::source::body::is_html(&bytes) {
            return Err(Failed::html(&reply, &self.target(&wanted, &self.region())?));
        }
        let malformed = || Failure::Listing(ListingError::NotAListing);
        Page::read(&bytes).ok_or_else(|| Failed::after(&reply, malformed()))
    }
}

/// Says whether a name is that of an entry: neither a mark, nor the page of a host of pages.
fn is_entry(name: &str) -> bool {
    !name.is_empty() && !name.contains('/') && name != page::FILE
}

impl Page {
    /// Reads one; nothing if it is none.
    fn read(bytes: &[u8]) -> Option<Self> {
        let mut page = Self::default();
        let (mut is_page, mut is_cut, mut next) = (false, false, None);
        for leaf in xml::leaves(bytes)? {
            let Some(path) = leaf.path.strip_prefix("ListBucketResult/") else { continue };
            is_page = true;
            match path {
                "Contents/Key" => page.keys.push(decoded(&leaf.text)?),
                "CommonPrefixes/Prefix" => page.prefixes.push(decoded(&leaf.text)?),
                "IsTruncated" => is_cut = leaf.text == "true",
                "NextContinuationToken" => next = Some(leaf.text),
                _ => {}
            }
        }
        // A page that is not the last one and leads nowhere would be half of the truth.
        if !is_page || (is_cut && next.is_none()) {
            return None;
        }
        page.next = next.filter(|_next| is_cut);
        Some(page)
    }
}

/// Resolves the escapes of `encoding-type=url`: those of forms.
fn decoded(text: &str) -> Option<String> {
    let text = text.replace('+', " ");
    String::from_utf8(crate::url::unescaped(&text)?).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_page_is_read_with_what_is_escaped_in_it() {
        let text = "<?xml version=\"1.0\"?><ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">\
            <Name>b</Name><Prefix>t/</Prefix><IsTruncated>true</IsTruncated>\
            <NextContinuationToken>a&amp;b=</NextContinuationToken>\
            <Contents><Key>t/a%2Bb+c</Key><ETag>&quot;x&quot;</ETag></Contents>\
            <CommonPrefixes><Prefix>t/1.0.0/</Prefix></CommonPrefixes></ListBucketResult>";
        let page = Page::read(text.as_bytes()).unwrap();
        assert_eq!(page.keys, ["t/a+b c"]);
        assert_eq!(page.prefixes, ["t/1.0.0/"]);
        assert_eq!(page.next.as_deref(), Some("a&b="));
    }

    #[test]
    fn what_is_no_page_or_half_of_one_is_refused() {
        for text in [
            "",
            "<Error><Code>x</Code></Error>",
            "<ListBucketResult><IsTruncated>true</IsTruncated></ListBucketResult>",
            "<ListBucketResult><Contents><Key>a</Key></Contents>",
            "<ListBucketResult><Contents><Key>%zz</Key></Contents></ListBucketResult>",
        ] {
            assert_eq!(Page::read(text.as_bytes()), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_page_or_none(text in "[<>/a-zA-Z&;% ]{0,200}|\\PC{0,200}") {
            let whole = format!("<ListBucketResult><Contents><Key>{text}</Key></Contents></ListBucketResult>");
            for bytes in [text.as_bytes(), whole.as_bytes()] {
                let _never_panics = Page::read(bytes);
            }
        }
    }
}
