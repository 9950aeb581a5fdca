//! Listings of directories: a page for people, whose only links are the entries, so that deployed
//! clients read it too; and JSON for programs that ask for it.
//!
//! (Contract: wire formats, section 4.4.)

use std::fmt::Write as _;
use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use dbt_core::digest::Digest;
use dbt_core::listing::page::escape_html;
pub use dbt_core::listing::page::link;
use serde_json::{Value, json};

use crate::storage::{Directory, Entry, EntryKind};
use crate::time;

/// How the page looks. A browser applies it because the policy names its hash.
const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:60rem;\
padding:0 1rem;color-scheme:light dark}h1{font-size:1.2rem;font-weight:600;\
overflow-wrap:anywhere}table{border-collapse:collapse;width:100%}th,td{text-align:left;\
padding:.2rem 1rem .2rem 0}th{font-weight:500;opacity:.7}td:nth-child(2),th:nth-child(2)\
{text-align:right}td{border-top:1px solid #8884;font-variant-numeric:tabular-nums}\
td:first-child{overflow-wrap:anywhere}";

/// Returns what a browser may do with the page: show it with its own style, nothing else.
pub fn page_policy() -> String {
    let hash = STANDARD.encode(Digest::of(STYLE.as_bytes()).as_bytes());
    format!("default-src 'none'; style-src 'sha256-{hash}'; frame-ancestors 'none'")
}

/// Returns a directory's listing as HTML.
pub fn html(path: &str, entries: &[Entry]) -> String {
    // Clients tell an empty directory from a page of something else by these words.
    let title = format!("Index of {}", escape_html(path));
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n<title>{title}</title>\n\
         <style>{STYLE}</style>\n<h1>{title}</h1>\n<table>\n\
         <thead><tr><th>Name</th><th>Size</th><th>Modified (UTC)</th></tr></thead>\n<tbody>\n"
    );
    for entry in entries {
        let slash = if entry.kind == EntryKind::Directory { "/" } else { "" };
        let link = link(&entry.name, slash);
        let text = escape_html(&entry.name);
        let size = entry.size.map(in_units).unwrap_or_default();
        let modified = entry.modified.map(to_the_minute).unwrap_or_default();
        // Writing to a String cannot fail.
        let _always_ok = writeln!(
            page,
            "<tr><td><a href=\"{link}\">{text}{slash}</a></td><td>{size}</td><td>{modified}</td></tr>"
        );
    }
    page.push_str("</tbody>\n</table>\n</html>\n");
    page
}

/// Returns a directory's listing as JSON, in the form of nginx's.
pub fn json(entries: &[Entry]) -> String {
    let entry = |entry: &Entry| {
        let mut shown = json!({ "name": entry.name, "type": entry.kind });
        if let Some(size) = entry.size {
            shown["size"] = json!(size);
        }
        if let Some(modified) = entry.modified {
            shown["modified"] = json!(time::rfc_3339(modified));
        }
        shown
    };
    format!("{}\n", Value::Array(entries.iter().map(entry).collect()))
}

/// Returns when something was last changed that a listing shows.
pub fn modified(directory: &Directory) -> SystemTime {
    let entries = directory.entries.iter().filter_map(|entry| entry.modified);
    entries.fold(directory.modified, SystemTime::max)
}

/// Returns a size as people read it.
pub(crate) fn in_units(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];

    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut tenths = u128::from(bytes) * 10 / 1024;
    let mut unit = 0;
    while tenths >= 10_240 && unit + 1 < UNITS.len() {
        tenths /= 1024;
        unit += 1;
    }
    let name = UNITS.get(unit).copied().unwrap_or_default();
    format!("{}.{} {name}", tenths / 10, tenths % 10)
}

fn to_the_minute(time: SystemTime) -> String {
    time::rfc_3339(time).get(..16).unwrap_or_default().replace('T', " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(names: &[&str]) -> Vec<Entry> {
        let entry = |name: &&str| {
            let (name, kind) = match name.strip_suffix('/') {
                Some(name) => (name, EntryKind::Directory),
                None => (*name, EntryKind::File),
            };
            let size = (kind == EntryKind::File).then_some(1536);
            Entry { name: name.to_owned(), kind, size, modified: Some(SystemTime::UNIX_EPOCH) }
        };
        names.iter().map(entry).collect()
    }

    #[test]
    fn a_row_has_the_link_the_size_and_the_date() {
        let page = html("/dbt/", &entries(&["1.0.0/", "a&b?c#d.txt", "truststore"]));
        for row in [
            "<tr><td><a href=\"1.0.0/\">1.0.0/</a></td><td></td><td>1970-01-01 00:00</td></tr>\n",
            "<a href=\"a&b%3Fc%23d.txt\">a&amp;b?c#d.txt</a></td><td>1.5 KiB</td>",
            "<a href=\"truststore\">truststore</a>",
            "<h1>Index of /dbt/</h1>",
        ] {
            assert!(page.contains(row), "{row}\n{page}");
        }
        assert_eq!(page.matches("<a ").count(), 3);
    }

    #[test]
    fn sizes_are_in_the_unit_that_reads_best() {
        for (bytes, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (1024 * 1024 - 1, "1023.9 KiB"),
            (5 << 30, "5.0 GiB"),
            (u64::MAX, "16777215.9 TiB"),
        ] {
            assert_eq!(in_units(bytes), text);
        }
    }

    #[test]
    fn hostile_names_stay_one_link_and_harmless_text() {
        let page = html(
            "/<script>/",
            &entries(&[
                "99.0.0\" onx=\"alert(1)/",
                "<script>alert('x')</script>",
                "javascript:alert(1)",
                "http:evil/",
            ]),
        );
        assert!(page.contains("<a href=\"99.0.0%22%20onx=%22alert%281%29/\">"), "{page}");
        assert!(page.contains("&lt;script&gt;alert(&#39;x&#39;)"), "{page}");
        assert!(page.contains("<a href=\"./javascript:alert%281%29\">"), "{page}");
        assert!(page.contains("<a href=\"./http:evil/\">"), "{page}");
        assert_eq!(page.matches("<a ").count(), 4);
        assert!(!page.contains("<script"));
    }
}
