//! Listings of directories, byte for byte in the form that deployed clients read.
//!
//! (Contract: wire formats, section 4.4.)

use std::fmt::Write as _;

use crate::storage::{Entry, EntryKind};

/// Returns a directory's listing as HTML. Its only links are the entries.
pub fn html(entries: &[Entry]) -> String {
    let mut page = String::from(
        "<!doctype html>\n<meta name=\"viewport\" content=\"width=device-width\">\n<pre>\n",
    );
    for entry in entries {
        let slash = if entry.kind == EntryKind::Directory { "/" } else { "" };
        let link = link(&entry.name, slash);
        let text = escape_html(&entry.name);
        // Writing to a String cannot fail.
        let _always_ok = writeln!(page, "<a href=\"{link}\">{text}{slash}</a>");
    }
    page.push_str("</pre>\n");
    page
}

/// Returns a link to an entry beside the page, as Go's `url.URL` spells a bare path.
pub fn link(name: &str, slash: &str) -> String {
    // A first segment with a colon would be read as a scheme.
    let prefix = if name.contains(':') { "./" } else { "" };
    format!("{prefix}{}{slash}", escape_url(name))
}

fn escape_url(name: &str) -> String {
    let mut escaped = String::with_capacity(name.len());
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~$&+,/:;=@".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            let _always_ok = write!(escaped, "%{byte:02X}");
        }
    }
    escaped
}

fn escape_html(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&#34;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(names: &[&str]) -> Vec<Entry> {
        let entry = |name: &&str| match name.strip_suffix('/') {
            Some(name) => {
                Entry { name: name.to_owned(), kind: EntryKind::Directory, modified: None }
            }
            None => Entry { name: (*name).to_owned(), kind: EntryKind::File, modified: None },
        };
        names.iter().map(entry).collect()
    }

    #[test]
    fn a_listing_has_the_bytes_of_the_reference() {
        assert_eq!(
            html(&entries(&["1.0.0/", "a&b?c#d.txt", "truststore"])),
            "<!doctype html>\n<meta name=\"viewport\" content=\"width=device-width\">\n<pre>\n\
             <a href=\"1.0.0/\">1.0.0/</a>\n\
             <a href=\"a&b%3Fc%23d.txt\">a&amp;b?c#d.txt</a>\n\
             <a href=\"truststore\">truststore</a>\n\
             </pre>\n"
        );
    }

    #[test]
    fn hostile_names_stay_one_link_and_harmless_text() {
        let page = html(&entries(&[
            "99.0.0\" onx=\"alert(1)/",
            "<script>alert('x')</script>",
            "javascript:alert(1)",
            "http:evil/",
        ]));
        assert!(page.contains("<a href=\"99.0.0%22%20onx=%22alert%281%29/\">"), "{page}");
        assert!(page.contains("&lt;script&gt;alert(&#39;x&#39;)"), "{page}");
        assert!(page.contains("<a href=\"./javascript:alert%281%29\">"), "{page}");
        assert!(page.contains("<a href=\"./http:evil/\">"), "{page}");
        assert_eq!(page.matches("<a ").count(), 4);
        assert!(!page.contains("<script"));
    }
}
