//! A page on this machine that leads to the provider's.
//!
//! What makes an answer this sign-in's stands in the address of the provider's page, and all users of
//! a machine can read the arguments of its programs: with it another one could sign in as themselves,
//! and bring that back. So a browser is handed a file that nobody else can read. Browsers that are kept
//! from hidden directories (of Snap, for one) cannot, either: the address is shown to the person all
//! the same. A page of the listener would not do: its path would stand in the arguments, too.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use dbt_core::digest::Digest;

use crate::fsx::{self, FsxError};
use crate::ownership::{self, Distrust};
use crate::settings::Places;
use crate::url::RepositoryUrl;

/// What the names of the files begin and end with.
const NAME: (&str, &str) = ("sign-in-", ".html");

/// After this a page is nobody's any more: no sign-in takes so long.
const ABANDONED: Duration = Duration::from_hours(1);

/// The page. It is removed when this goes.
#[derive(Debug)]
pub struct LocalPage {
    path: PathBuf,
    url: RepositoryUrl,
}

impl LocalPage {
    /// Writes a page that leads to `address`, where nobody else can read or replace it, and takes
    /// away those that sign-ins have left behind which were killed.
    pub fn leading_to(
        address: &str,
        places: &Places,
        now: SystemTime,
    ) -> Result<Self, NoLocalPage> {
        let home = places.home.as_ref().ok_or(NoLocalPage::NoPlace)?;
        let directory = directory_in(home);
        ownership::of_ours(home, &directory).map_err(NoLocalPage::Distrusted)?;
        fsx::create_dir_all(&directory, 0o700).map_err(NoLocalPage::Write)?;
        for path in left_behind(home, now) {
            let _best_effort = fsx::remove(&path);
        }
        // Nobody guesses it: there are 256 bits by chance in the address.
        let name: String = Digest::of(address.as_bytes()).to_string().chars().take(16).collect();
        let path = directory.join(format!("{}{name}{}", NAME.0, NAME.1));
        let url = RepositoryUrl::of_directory(&path).map_err(|_error| NoLocalPage::NoPlace)?;
        let page = Self { path, url };
        fsx::write_atomic(&page.path, text(address).as_bytes(), 0o600)
            .map_err(NoLocalPage::Write)?;
        Ok(page)
    }

    /// Returns its address, a `file:` URL.
    pub fn url(&self) -> String {
        self.url.to_string()
    }
}

impl Drop for LocalPage {
    fn drop(&mut self) {
        let _best_effort = fsx::remove(&self.path);
    }
}

/// Lists the pages below our home that were left behind.
pub(crate) fn left_behind(home: &Path, now: SystemTime) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory_in(home)).into_iter().flatten().flatten();
    let pages = entries.map(|entry| entry.path()).filter(|path| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        name.starts_with(NAME.0) && name.ends_with(NAME.1) && fsx::is_older(path, ABANDONED, now)
    });
    pages.collect()
}

fn directory_in(home: &Path) -> PathBuf {
    home.join("state")
}

fn text(address: &str) -> String {
    let address = escaped(address);
    format!(
        "<!DOCTYPE html>\n<meta charset=\"utf-8\">\n\
         <meta name=\"referrer\" content=\"no-referrer\">\n\
         <meta http-equiv=\"refresh\" content=\"0; url={address}\">\n\
         <title>Signing in</title>\n<p><a href=\"{address}\">Sign in</a>\n"
    )
}

/// Writes an address so that it ends no attribute: a part of it is the provider's.
fn escaped(address: &str) -> String {
    let mut escaped = String::with_capacity(address.len());
    for character in address.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}

/// Why there is no page. The address is shown all the same.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NoLocalPage {
    /// There is no directory of ours that can be written.
    #[error("there is no place of ours for a page that only you can read")]
    NoPlace,
    /// Others could exchange it.
    #[error("others could exchange a page of ours: {0}")]
    Distrusted(Distrust),
    /// It could not be written.
    #[error(transparent)]
    Write(FsxError),
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use dbt_core::clock::Clock;

    use super::*;

    fn places(home: Option<&Path>) -> Places {
        Places {
            home: home.map(Path::to_owned),
            read_only_home: None,
            store: None,
            read_only_stores: Vec::new(),
            temporary: PathBuf::new(),
            links: None,
        }
    }

    fn pages(home: &Path) -> Vec<PathBuf> {
        let entries = fs::read_dir(home.join("state")).into_iter().flatten();
        entries.map(|entry| entry.unwrap().path()).collect()
    }

    #[test]
    fn a_page_is_its_users_alone_and_goes_with_its_sign_in() {
        let home = tempfile::tempdir().unwrap();
        let now = Clock::System.now();
        let address = "https://id.example.com/auth?a=1&state=s3cr3t&x='\"><script>";
        let page = LocalPage::leading_to(address, &places(Some(home.path())), now).unwrap();
        let [path] = pages(home.path()).try_into().unwrap();
        assert_eq!(page.url(), format!("file://{}", path.display()));
        assert!(!page.url().contains("s3cr3t"), "its name tells nothing");
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&path), mode(&home.path().join("state"))), (0o600, 0o700));
        let text = fs::read_to_string(&path).unwrap();
        let expected =
            "https://id.example.com/auth?a=1&amp;state=s3cr3t&amp;x=&#39;&quot;&gt;&lt;script&gt;";
        assert_eq!(text.matches(&format!("url={expected}\">")).count(), 1, "{text}");
        assert_eq!(text.matches(&format!("href=\"{expected}\">")).count(), 1, "{text}");
        drop(page);
        assert_eq!(pages(home.path()), [""; 0].map(PathBuf::from));
    }

    #[test]
    fn what_killed_sign_ins_left_goes_when_the_next_one_begins() {
        let home = tempfile::tempdir().unwrap();
        let state = home.path().join("state");
        let left = state.join("sign-in-0123456789abcdef.html");
        let theirs = state.join("notes.html");
        let at = |minutes| Clock::System.now() + Duration::from_mins(minutes);
        let page = |now| LocalPage::leading_to("https://h", &places(Some(home.path())), now);
        drop(page(at(0)).unwrap());
        for path in [&left, &theirs] {
            fs::write(path, "").unwrap();
        }
        drop(page(at(30)).unwrap());
        assert!(left.exists(), "another sign-in may go on");
        assert_eq!(left_behind(home.path(), at(90)), std::slice::from_ref(&left));
        drop(page(at(90)).unwrap());
        assert!(!left.exists() && theirs.exists());
    }

    #[test]
    fn where_others_could_exchange_it_there_is_none() {
        let home = tempfile::tempdir().unwrap();
        let now = Clock::System.now();
        let state = home.path().join("state");
        fs::create_dir(&state).unwrap();
        fs::set_permissions(&state, fs::Permissions::from_mode(0o777)).unwrap();
        let error = LocalPage::leading_to("https://h", &places(Some(home.path())), now);
        assert!(matches!(error, Err(NoLocalPage::Distrusted(_))), "{error:?}");
        assert_eq!(pages(home.path()), [""; 0].map(PathBuf::from));
        let nowhere = LocalPage::leading_to("https://h", &places(None), now);
        assert!(matches!(nowhere, Err(NoLocalPage::NoPlace)), "{nowhere:?}");
    }
}
