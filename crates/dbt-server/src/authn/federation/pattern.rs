//! Patterns of claims. What they are compared with comes from a stranger's token.

use std::fmt;
use std::str::FromStr;

/// The longest pattern, in bytes.
const PATTERN_BYTES: usize = 512;

/// The longest text that can match, in bytes: a comparison costs the product of both lengths.
const TEXT_BYTES: usize = 2048;

/// What separates the parts of claims: of paths, of `repo:OWNER/NAME:ref:REF`, of `FILE@REF`.
const SEPARATORS: [char; 3] = ['/', ':', '@'];

/// A pattern of texts: `refs/tags/v*`.
///
/// `*` stands for any text in which no part ends (no `/`, `:` or `@`), also none; `**` for any text at
/// all. So `repo:acme/*:ref:refs/heads/main` leaves nobody choose what comes after the name of a
/// repository. Everything else stands for itself; letters of another case are other letters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    text: String,
    steps: Vec<Step>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// This character.
    Exactly(char),
    /// `*`.
    InPart,
    /// `**`.
    Anything,
}

impl Pattern {
    /// Returns one that only a text itself matches.
    pub fn exactly(text: &str) -> Self {
        Self { text: text.to_owned(), steps: text.chars().map(Step::Exactly).collect() }
    }

    /// Says whether a text matches.
    ///
    /// It follows all ways through the pattern at once, so that no text costs more than its length times
    /// that of the pattern.
    pub fn matches(&self, text: &str) -> bool {
        if text.len() > TEXT_BYTES {
            return false;
        }
        // How many steps were taken, for each way there is.
        let mut ways = vec![false; self.steps.len() + 1];
        self.begin(&mut ways, 0);
        for character in text.chars() {
            let mut next = vec![false; ways.len()];
            for (taken, step) in self.steps.iter().enumerate() {
                if ways.get(taken) != Some(&true) {
                    continue;
                }
                match step {
                    Step::Exactly(known) if *known == character => self.begin(&mut next, taken + 1),
                    Step::InPart if !SEPARATORS.contains(&character) => {
                        self.begin(&mut next, taken);
                    }
                    Step::Anything => self.begin(&mut next, taken),
                    Step::Exactly(_) | Step::InPart => {}
                }
            }
            ways = next;
        }
        ways.last() == Some(&true)
    }

    /// Adds a way that has taken so many steps, and those on which wildcards stand for nothing.
    fn begin(&self, ways: &mut [bool], taken: usize) {
        for (step, way) in ways.iter_mut().enumerate().skip(taken) {
            *way = true;
            if matches!(self.steps.get(step), None | Some(Step::Exactly(_))) {
                return;
            }
        }
    }

    /// Says whether exactly one text matches.
    pub fn is_exact(&self) -> bool {
        self.steps.iter().all(|step| matches!(step, Step::Exactly(_)))
    }

    /// Says whether it has nothing in it that stands for itself.
    pub fn is_anything(&self) -> bool {
        !self.steps.iter().any(|step| matches!(step, Step::Exactly(_)))
    }

    /// Says whether it is a number, and nothing else.
    pub fn is_number(&self) -> bool {
        !self.text.is_empty() && self.text.bytes().all(|byte| byte.is_ascii_digit())
    }

    /// Returns it as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for Pattern {
    type Err = InvalidPattern;

    fn from_str(text: &str) -> Result<Self, InvalidPattern> {
        let invalid = |reason| Err(InvalidPattern { text: text.to_owned(), reason });
        if text.is_empty() || text.len() > PATTERN_BYTES {
            return invalid("it must have 1 to 512 bytes");
        }
        if text.trim() != text || text.contains(char::is_control) {
            return invalid("it has space around it, or control characters");
        }
        if text.contains("***") {
            return invalid("there are `*` and `**`, and nothing longer");
        }
        let mut steps: Vec<Step> = Vec::new();
        for character in text.chars() {
            match (character, steps.last_mut()) {
                ('*', Some(last @ Step::InPart)) => *last = Step::Anything,
                ('*', _) => steps.push(Step::InPart),
                (other, _) => steps.push(Step::Exactly(other)),
            }
        }
        Ok(Self { text: text.to_owned(), steps })
    }
}

/// Some text is no pattern of claims.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{}` is no pattern: {reason}", text.escape_debug())]
pub struct InvalidPattern {
    text: String,
    reason: &'static str,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> Pattern {
        text.parse().unwrap()
    }

    #[test]
    fn a_pattern_matches_whole_texts_and_a_star_ends_with_its_part() {
        for (written, text, expected) in [
            ("main", "main", true),
            ("main", "Main", false),
            ("main", "main2", false),
            ("main", "", false),
            ("refs/tags/v*", "refs/tags/v1.2.3", true),
            ("refs/tags/v*", "refs/tags/v", true),
            ("refs/tags/v*", "refs/tags/v1/2", false),
            ("refs/tags/v*", "refs/tags/w1", false),
            ("refs/tags/**", "refs/tags/v1/2", true),
            ("acme/*", "acme/deploy", true),
            ("acme/*", "acme-evil/deploy", false),
            ("acme/*", "acme/deploy/x", false),
            ("*/deploy", "acme/deploy", true),
            ("*/deploy", "evil/acme/deploy", false),
            ("repo:acme/*:ref:refs/heads/main", "repo:acme/x:ref:refs/heads/main", true),
            (
                "repo:acme/*:ref:refs/heads/main",
                "repo:acme/x:pull_request:ref:refs/heads/main",
                false,
            ),
            ("release.yml@*", "release.yml@refs/heads/main", false),
            ("release.yml@**", "release.yml@refs/heads/main", true),
            ("release.yml@**", "release.yml", false),
            ("a**b*c", "a/x/b1c", true),
            ("a**b*c", "a/x/b/c", false),
            ("a**b*c", "abbc", true),
            ("**:x", "a:x:x", true),
            ("a*a", "a", false),
            ("a*a", "aa", true),
            ("\u{e9}*", "\u{e9}\u{1F600}", true),
            ("12", "12", true),
            ("12", "012", false),
        ] {
            assert_eq!(pattern(written).matches(text), expected, "{written} {text}");
        }
    }

    #[test]
    fn what_means_nothing_or_two_things_is_no_pattern() {
        for text in ["", " ", "a ", " a", "a\nb", "***", "a****", &"a".repeat(513)] {
            assert!(text.parse::<Pattern>().is_err(), "{text:?}");
        }
        for text in ["*", "**", "a", "a b", "*/*", "**:**"] {
            assert_eq!(pattern(text).to_string(), text);
        }
        assert!(pattern("*").is_anything() && pattern("**").is_anything());
        assert!(!pattern("*/*").is_anything() && pattern("7").is_number());
        assert!(!pattern("7*").is_number() && !pattern("7*").is_exact() && pattern("x").is_exact());
        assert!(!Pattern::exactly("a*").matches("ab"));
        assert!(Pattern::exactly("a*").matches("a*"));
    }

    #[test]
    fn no_text_makes_a_comparison_long() {
        let hard = pattern(&format!("{}b", "**a*a".repeat(100)));
        let began = std::time::Instant::now();
        assert!(!hard.matches(&"a".repeat(TEXT_BYTES)));
        assert!(!pattern("**").matches(&"a".repeat(TEXT_BYTES + 1)), "it is not even looked at");
        assert!(began.elapsed() < std::time::Duration::from_secs(20), "{:?}", began.elapsed());
    }
}
