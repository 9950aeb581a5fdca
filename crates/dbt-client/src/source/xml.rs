//! As much of XML as S3 and STS speak: elements, and texts in them.

use quick_xml::Reader;
use quick_xml::events::Event;

/// An element that holds nothing but text.
pub(super) struct Leaf {
    /// The names from the outermost element to this one, with slashes between them.
    pub(super) path: String,
    pub(super) text: String,
}

impl Leaf {
    /// Returns its own name.
    pub(super) fn name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or_default()
    }
}

/// The most elements within each other.
const DEPTH: usize = 16;

/// Returns the leaves of a document in order; nothing when it is none, or one of another kind.
pub(super) fn leaves(bytes: &[u8]) -> Option<Vec<Leaf>> {
    let mut reader = Reader::from_str(std::str::from_utf8(bytes).ok()?);
    let mut leaves = Vec::new();
    let mut names: Vec<String> = Vec::new();
    // What was read since the last element began; nothing when one has ended since.
    let mut text: Option<String> = None;
    loop {
        match reader.read_event().ok()? {
            Event::Start(element) => {
                let name = element.local_name();
                names.push(name.as_ref().to_owned());
                if names.len() > DEPTH {
                    return None;
                }
                text = Some(String::new());
            }
            Event::Empty(element) => {
                let name = element.local_name();
                let name = name.as_ref();
                let path = names.iter().map(String::as_str).chain([name]).collect::<Vec<_>>();
                leaves.push(Leaf { path: path.join("/"), text: String::new() });
                text = None;
            }
            Event::Text(part) => {
                if let Some(text) = &mut text {
                    text.push_str(&part);
                }
            }
            Event::GeneralRef(reference) => {
                let character = match reference.resolve_char_ref().ok()? {
                    Some(character) => character,
                    None => named(&reference)?,
                };
                if let Some(text) = &mut text {
                    text.push(character);
                }
            }
            Event::CData(part) => {
                if let Some(text) = &mut text {
                    text.push_str(&part);
                }
            }
            Event::End(_) => {
                if let Some(text) = text.take() {
                    leaves.push(Leaf { path: names.join("/"), text });
                }
                names.pop()?;
            }
            // Entities of a document's own are the oldest way to make a small one large.
            Event::DocType(_) => return None,
            Event::Eof => return names.is_empty().then_some(leaves),
            Event::Decl(_) | Event::Comment(_) | Event::PI(_) => {}
        }
    }
}

fn named(entity: &str) -> Option<char> {
    match entity {
        "amp" => Some('&'),
        "lt" => Some('<'),
        "gt" => Some('>'),
        "quot" => Some('"'),
        "apos" => Some('\''),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Option<Vec<(String, String)>> {
        Some(leaves(text.as_bytes())?.into_iter().map(|leaf| (leaf.path, leaf.text)).collect())
    }

    #[test]
    fn leaves_are_found_with_their_place_and_their_text() {
        let text = "<?xml version='1.0'?>\n<a xmlns='x'>\n <b>1 &amp; &#65;<!-- no --></b>\n <c><b>2</b></c><d/>\n</a>\n";
        let expected = [("a/b", "1 & A"), ("a/c/b", "2"), ("a/d", "")];
        let expected = expected.map(|(path, text)| (path.to_owned(), text.to_owned()));
        assert_eq!(read(text).unwrap(), expected);
    }

    #[test]
    fn what_is_no_document_has_no_leaves() {
        for text in [
            "<a>",
            "<a></b>",
            "</a>",
            "<a>&other;</a>",
            "<!DOCTYPE a [<!ENTITY x \"y\">]><a>&x;</a>",
            &"<a>".repeat(100),
        ] {
            assert!(read(text).is_none(), "{text}");
        }
        assert_eq!(read("words"), Some(Vec::new()));
    }
}
