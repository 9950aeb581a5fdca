//! Listings: every page that a server may answer with, and every page that one of ours writes.

use dbt_core::listing::Listing;
use dbt_core::repo_path::RepoPath;
use dbt_server::storage::{Entry, EntryKind};

use crate::input::Input;

const URLS: [&str; 5] = [
    "https://dbt.example.com/dbt-tools/deploy/",
    "http://[::1]:8080/a%20b",
    "https://dbt.example.com",
    "file:///srv/dbt-tools",
    "",
];

/// Reads a page, and writes pages of its lines that must be read again.
pub fn run(data: &[u8]) {
    let mut input = Input(data);
    let url = input.one_of(&URLS);
    if let Ok(listing) = Listing::parse(input.0, url) {
        accepted(&listing, input.0);
    }
    if let Ok(text) = std::str::from_utf8(input.0) {
        what_servers_write_is_read(text, url);
    }
}

/// Names are single, legal, sorted and different, and the page has paid for each of them.
fn accepted(listing: &Listing, page: &[u8]) {
    let mut before: Option<&str> = None;
    for entry in listing.entries() {
        let name = entry.name.as_str();
        let path = RepoPath::root().join(name).expect("every name is one segment");
        assert_eq!(path.segments().count(), 1, "{name:?}");
        assert!(before < Some(name), "{before:?} before {name:?}");
        assert!(listing.contains(name));
        before = Some(name);
    }
    // A byte that is not UTF-8 becomes three.
    let held: usize = listing.names().map(str::len).sum();
    assert!(held <= 3 * page.len(), "{held} bytes of names in a page of {}", page.len());

    let versions = listing.versions();
    assert!(versions.is_sorted());
    assert!(versions.iter().all(|version| listing.contains(version.spelling())));
    let names = listing.entries().iter().map(|entry| (entry.name.as_str(), entry.directory));
    assert_eq!(&Listing::of_names(names).expect("they were read"), listing);
}

fn what_servers_write_is_read(text: &str, url: &str) {
    let entries = text.lines().filter_map(|line| {
        let (name, kind) = match line.strip_suffix('/') {
            Some(name) => (name, EntryKind::Directory),
            None => (line, EntryKind::File),
        };
        RepoPath::root().join(name).ok()?;
        Some(Entry { name: name.to_owned(), kind, size: None, modified: None })
    });
    let mut entries: Vec<Entry> = entries.collect();
    entries.sort_by(|one, other| one.name.cmp(&other.name));
    entries.dedup_by(|one, other| one.name == other.name);
    let names = entries.iter().map(|it| (it.name.as_str(), it.kind == EntryKind::Directory));
    let expected = Listing::of_names(names.clone()).expect("they are legal");

    // The links are the older program's to the byte, which leaves `&` as it is: a name with something
    // like `&lt;` in it is another one for every reader of HTML.
    let clear: Vec<Entry> = entries.iter().filter(|it| !it.name.contains('&')).cloned().collect();
    let html = dbt_server::listing::html(text, &clear);
    let read = Listing::parse(html.as_bytes(), url).expect("our server wrote it");
    let shown: Vec<&str> = clear.iter().map(|entry| entry.name.as_str()).collect();
    assert_eq!(read.names().collect::<Vec<_>>(), shown);
    assert!(read.entries().iter().all(|entry| expected.entries().contains(entry)), "{read:?}");
    let json = dbt_server::listing::json(&entries);
    assert_eq!(Listing::parse(json.as_bytes(), url).expect("our server wrote it"), expected);
    let nginx = names.clone().map(|(name, directory)| {
        let kind = if directory { "directory" } else { "file" };
        serde_json::json!({"name": name, "type": kind, "mtime": "Mon, 02 Jan 2006 15:04:05 GMT"})
    });
    let nginx = serde_json::Value::Array(nginx.collect()).to_string();
    assert_eq!(Listing::parse(nginx.as_bytes(), url).expect("nginx writes so"), expected);
    let artifactory = names
        .map(|(name, folder)| serde_json::json!({"uri": format!("/{name}"), "folder": folder}));
    let artifactory = serde_json::json!({"repo": "x", "children": artifactory.collect::<Vec<_>>()});
    let read = Listing::parse(artifactory.to_string().as_bytes(), url);
    assert_eq!(read.expect("Artifactory writes so"), expected);
}
