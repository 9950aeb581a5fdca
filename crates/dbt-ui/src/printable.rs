//! Text from outside, made harmless for a terminal.
//!
//! Names, descriptions and error pages come from repositories; a description that moves the
//! cursor, hides a line or reverses the direction of writing could make a person read something
//! else than what is there.

use std::borrow::Cow;
use std::fmt;
use std::fmt::Write as _;

/// Text that is shown on one line, with everything escaped that a terminal would obey.
#[derive(Debug, Clone, Copy)]
pub struct Printable<'a>(&'a str);

impl<'a> Printable<'a> {
    /// Takes text from outside.
    pub const fn new(text: &'a str) -> Self {
        Self(text)
    }
}

impl fmt::Display for Printable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&line(self.0))
    }
}

/// Returns `text` for one line: line ends and tabs are escaped too.
pub fn line(text: &str) -> Cow<'_, str> {
    escaped(text, |_c| false)
}

/// Returns `text` for several lines: line ends and tabs stay.
pub fn lines(text: &str) -> Cow<'_, str> {
    escaped(text, |c| c == '\n' || c == '\t')
}

/// Returns the same JSON document with dangerous characters spelt `\uXXXX`. Outside its strings
/// JSON holds no such character but line ends, so it means the same.
pub fn json(document: &str) -> String {
    let mut safe = String::with_capacity(document.len());
    for c in document.chars() {
        if !obeyed_by_terminals(c) || c == '\n' {
            safe.push(c);
            continue;
        }
        for unit in c.encode_utf16(&mut [0; 2]) {
            // Writing to a string cannot fail.
            let _infallible = write!(safe, "\\u{unit:04x}");
        }
    }
    safe
}

/// Returns how many columns of a terminal a text takes.
pub fn width(text: &str) -> usize {
    text.chars().map(columns).sum()
}

/// Returns how many columns a character takes: two for those that are as wide as they are high (UAX #11,
/// "wide" and "fullwidth"), none for marks that stand above or below another one.
pub const fn columns(c: char) -> usize {
    match c {
        '\u{300}'..='\u{36f}' | '\u{20d0}'..='\u{20ff}' | '\u{fe00}'..='\u{fe0f}' => 0,
        '\u{1100}'..='\u{115f}'
        | '\u{2e80}'..='\u{303e}'
        | '\u{3041}'..='\u{4dbf}'
        | '\u{4e00}'..='\u{a4cf}'
        | '\u{a960}'..='\u{a97f}'
        | '\u{ac00}'..='\u{d7a3}'
        | '\u{f900}'..='\u{faff}'
        | '\u{fe30}'..='\u{fe6f}'
        | '\u{ff00}'..='\u{ff60}'
        | '\u{ffe0}'..='\u{ffe6}'
        | '\u{1f300}'..='\u{1f64f}'
        | '\u{1f680}'..='\u{1f6ff}'
        | '\u{1f900}'..='\u{1faff}'
        | '\u{20000}'..='\u{3fffd}' => 2,
        _ => 1,
    }
}

fn escaped(text: &str, kept: impl Fn(char) -> bool) -> Cow<'_, str> {
    let dangerous = |c: char| obeyed_by_terminals(c) && !kept(c);
    if !text.chars().any(dangerous) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if dangerous(c) {
            // Writing to a string cannot fail.
            let _infallible = write!(safe, "{}", c.escape_unicode());
        } else {
            safe.push(c);
        }
    }
    Cow::Owned(safe)
}

/// Says whether a terminal would do something with this character instead of showing it, or
/// would show nothing where there is something.
fn obeyed_by_terminals(c: char) -> bool {
    // Most text is nothing else, and there may be much of it.
    if c.is_ascii() {
        return c.is_ascii_control();
    }
    c.is_control()
        || matches!(
            c,
            // Directions of writing, and their isolates and overrides.
            '\u{061C}' | '\u{200E}' | '\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}'
            // Line and paragraph separators.
            | '\u{2028}' | '\u{2029}'
            // Nothing to see: two names that look alike would differ. The joiners U+200C and
            // U+200D stay, because ordinary words of some languages need them.
            | '\u{00AD}' | '\u{180E}' | '\u{200B}' | '\u{2060}'..='\u{2064}' | '\u{FEFF}'
            | '\u{FFF9}'..='\u{FFFB}' | '\u{E0000}'..='\u{E007F}'
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinary_text_of_any_language_is_shown_as_it_is() {
        for text in ["deploy", "naïve café", "日本語", "می\u{200C}خواهم", "a b", "`x`"]
        {
            assert!(matches!(line(text), Cow::Borrowed(same) if same == text), "{text}");
        }
    }

    #[test]
    fn nothing_that_a_terminal_obeys_gets_through() {
        let cases = [
            ("\u{1b}[2J", "\\u{1b}[2J"),
            ("\u{9b}31m", "\\u{9b}31m"),
            ("a\rb", "a\\u{d}b"),
            ("\u{7}", "\\u{7}"),
            ("good\u{202E}live", "good\\u{202e}live"),
            ("pay\u{200B}pal", "pay\\u{200b}pal"),
            ("x\u{E0041}", "x\\u{e0041}"),
            ("two\nlines\there", "two\\u{a}lines\\u{9}here"),
        ];
        for (hostile, expected) in cases {
            assert_eq!(line(hostile), expected);
            assert_eq!(Printable::new(hostile).to_string(), expected);
        }
    }

    #[test]
    fn a_longer_text_keeps_its_lines() {
        assert_eq!(lines("a\n\tb\u{1b}c"), "a\n\tb\\u{1b}c");
    }
}
