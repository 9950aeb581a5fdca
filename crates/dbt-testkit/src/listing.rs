//! A directory as the reference's file server shows it (wire formats, 4.4), byte for byte.

use std::fs;
use std::path::Path;

const HEAD: &str =
    "<!doctype html>\n<meta name=\"viewport\" content=\"width=device-width\">\n<pre>\n";

/// Returns the page for a directory; nothing when it is none.
pub(crate) fn page(directory: &Path) -> Option<String> {
    let mut names: Vec<String> = fs::read_dir(directory)
        .ok()?
        .filter_map(Result::ok)
        .map(|entry| {
            let slash = if entry.path().is_dir() { "/" } else { "" };
            format!("{}{slash}", entry.file_name().to_string_lossy())
        })
        .collect();
    names.sort();
    let mut page = HEAD.to_owned();
    for name in &names {
        let (href, text) = (escaped_path(name), escaped_text(name));
        page += &["<a href=\"", &href, "\">", &text, "</a>\n"].concat();
    }
    Some(page + "</pre>\n")
}

/// Go's escaping of a URL's path.
fn escaped_path(name: &str) -> String {
    let prefix = if name.contains(':') { "./" } else { "" };
    let escaped = name.bytes().map(|byte| match char::from(byte) {
        letter if letter.is_ascii_alphanumeric() || "-_.~$&+,/:;=@".contains(letter) => {
            letter.to_string()
        }
        _ => format!("%{byte:02X}"),
    });
    prefix.to_owned() + &escaped.collect::<String>()
}

/// Go's escaping of text in HTML.
fn escaped_text(name: &str) -> String {
    name.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&#34;")
        .replace('\'', "&#39;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listing_is_that_of_the_reference_to_the_byte() {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("1.0.0")).unwrap();
        fs::write(directory.path().join("a&b?c#d.txt"), "").unwrap();
        fs::write(directory.path().join("truststore"), "").unwrap();
        let expected = "\
<!doctype html>
<meta name=\"viewport\" content=\"width=device-width\">
<pre>
<a href=\"1.0.0/\">1.0.0/</a>
<a href=\"a&b%3Fc%23d.txt\">a&amp;b?c#d.txt</a>
<a href=\"truststore\">truststore</a>
</pre>
";
        assert_eq!(page(directory.path()).unwrap(), expected);
    }
}
