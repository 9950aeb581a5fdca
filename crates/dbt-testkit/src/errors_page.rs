//! docs/providers/errors.md, and pages like it, held to what programs say: each message that is said
//! is on it, and each that is on it was said.

use std::collections::HashSet;
use std::mem::{Discriminant, discriminant};

const PAGE: &str = include_str!("../../../docs/providers/errors.md");

/// The least that a message has beside its `…`: what is nothing else would fit everything.
const SPECIFIC: usize = 10;

/// The messages of one section.
#[derive(Debug)]
pub struct Section {
    messages: Vec<Message>,
}

/// What stands between double backticks; `…` is for anything.
#[derive(Debug)]
struct Message {
    parts: Vec<&'static str>,
    was_said: bool,
}

impl Message {
    /// Says whether it is in a text: a refusal has who refuses what before it, and other words behind it.
    fn is_in(&self, text: &str) -> bool {
        let is_specific = self.parts.iter().map(|part| part.len()).sum::<usize>() >= SPECIFIC;
        let mut rest = text;
        is_specific
            && self.parts.iter().all(|part| {
                let found = rest.split_once(part);
                found.map(|(_before, after)| rest = after).is_some()
            })
    }
}

impl Section {
    /// Reads the section with this heading.
    #[track_caller]
    pub fn of(heading: &str) -> Self {
        Self::on(PAGE, heading)
    }

    /// Reads a section of another page, whose messages stand in the first column, too.
    #[track_caller]
    pub fn on(page: &'static str, heading: &str) -> Self {
        let section = page.split(&format!("\n## {heading}\n")).nth(1);
        let section = section.unwrap_or_else(|| panic!("the page has lost `{heading}`"));
        let section = section.split("\n## ").next().unwrap_or(section);
        let cells = section.lines().filter_map(|line| line.split(" | ").next());
        let texts = cells.flat_map(|cell| cell.split("``").skip(1).step_by(2).map(str::trim));
        let message =
            |text: &'static str| Message { parts: text.split('…').collect(), was_said: false };
        Self { messages: texts.map(message).collect() }
    }

    /// Expects that one of the messages is in what was said.
    #[track_caller]
    pub fn has(&mut self, text: &str) {
        let mut is_there = false;
        for message in &mut self.messages {
            if message.is_in(text) {
                message.was_said = true;
                is_there = true;
            }
        }
        assert!(is_there, "the page lacks: {text}");
    }

    /// Expects that each message was said: a row of which nobody has seen that it is so may be one of
    /// earlier words.
    #[track_caller]
    pub fn was_all_said(&self) {
        let unsaid = self.messages.iter().filter(|message| !message.was_said);
        let unsaid: Vec<String> = unsaid.map(|message| message.parts.join("…")).collect();
        assert!(unsaid.is_empty(), "the page has what nothing said: {unsaid:#?}");
    }
}

/// Expects that there is one of each variant of an enum, whose module's text this is: who adds a variant
/// has to think of the page. A test cannot match on all of them, since the enum is `non_exhaustive`.
#[track_caller]
pub fn has_one_of_each<T>(samples: &[T], name: &str, module: &str) {
    let kinds: HashSet<Discriminant<T>> = samples.iter().map(discriminant).collect();
    let count = variants(module, name);
    assert_eq!(kinds.len(), count, "of {count} variants of `{name}` some are tried by nothing");
}

/// Counts the variants of an enum in the text of its module, as `rustfmt` writes it.
#[track_caller]
fn variants(module: &str, name: &str) -> usize {
    let body = module.split(&format!("pub enum {name} {{\n")).nth(1);
    let body = body.unwrap_or_else(|| panic!("`{name}` is not in that module"));
    let body = body.split("\n}\n").next().unwrap_or(body);
    let names = body.lines().filter_map(|line| line.strip_prefix("    "));
    names.filter(|text| text.starts_with(|first: char| first.is_ascii_uppercase())).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MODULE: &str = "/// Words.\npub enum Fault {\n    /// A.\n    #[error(\n        \"Text\"\n    )]\n    \
        A,\n    /// B.\n    B {\n        /// Of what.\n        Text: u8,\n    },\n    C(u8),\n}\n\nconst X: u8 = 1;\n";

    #[test]
    fn the_variants_of_an_enum_are_counted() {
        assert_eq!(variants(MODULE, "Fault"), 3);
        has_one_of_each(
            &[Some(1), None, Some(2)],
            "Two",
            "pub enum Two {\n    A(u8),\n    B,\n}\n",
        );
    }

    #[test]
    #[should_panic(expected = "of 3 variants of `Fault` some are tried by nothing")]
    fn a_variant_that_nothing_tries_is_missed() {
        has_one_of_each(&[Some(1), None], "Fault", MODULE);
    }
}
