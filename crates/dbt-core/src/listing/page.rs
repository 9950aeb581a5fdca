//! Writes listings as links on a page, in the spelling that deployed clients read.
//!
//! (Contract: wire formats, section 4.4.)

use std::fmt::Write as _;

use super::Listing;

/// What the file of a directory's page is called where a server lists nothing itself. It is no entry
/// of the directory.
pub const FILE: &str = "index.html";

const HEAD: &str =
    "<!doctype html>\n<meta name=\"viewport\" content=\"width=device-width\">\n<pre>\n";

impl Listing {
    /// Returns the page that the reference's server shows for a directory with these entries, byte
    /// for byte.
    pub fn to_page(&self) -> String {
        let mut page = HEAD.to_owned();
        for entry in self.entries() {
            let slash = if entry.directory { "/" } else { "" };
            let (link, text) = (link(&entry.name, slash), escape_html(&entry.name));
            // Writing to a string cannot fail.
            let _always_ok = writeln!(page, "<a href=\"{link}\">{text}{slash}</a>");
        }
        page.push_str("</pre>\n");
        page
    }
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

/// Returns a text as it stands in a page.
pub fn escape_html(text: &str) -> String {
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

    #[test]
    fn a_page_is_that_of_the_reference_to_the_byte_and_reads_back() {
        let names = [("truststore", false), ("a&b?c#d.txt", false), ("1.0.0", true)];
        let listing = Listing::of_names(names).unwrap();
        let expected = "\
<!doctype html>
<meta name=\"viewport\" content=\"width=device-width\">
<pre>
<a href=\"1.0.0/\">1.0.0/</a>
<a href=\"a&b%3Fc%23d.txt\">a&amp;b?c#d.txt</a>
<a href=\"truststore\">truststore</a>
</pre>
";
        assert_eq!(listing.to_page(), expected);
        let read = Listing::parse(expected.as_bytes(), "https://host/dbt/").unwrap();
        assert!(read.contains("1.0.0") && read.contains("truststore"));
        let empty = Listing::default().to_page();
        assert_eq!(
            Listing::parse(empty.as_bytes(), "https://host/dbt/").unwrap(),
            Listing::default()
        );
    }
}
