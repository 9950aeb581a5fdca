//! Just enough of Rust's grammar to tell code from comments, literals and tests.

use std::ops::RangeInclusive;

/// One Rust file, taken apart.
pub(crate) struct Source {
    /// The code line by line, with comments and the insides of literals left out.
    pub(crate) lines: Vec<String>,
    /// String literals as written between their quotes, with the line they begin on.
    pub(crate) literals: Vec<(usize, String)>,
    /// Documentation of items, with its line.
    pub(crate) docs: Vec<(usize, String)>,
    tests: Vec<RangeInclusive<usize>>,
}

impl Source {
    /// Takes a file apart. Never fails: what is not Rust gives nonsense, and does not compile.
    pub(crate) fn parse(text: &str) -> Self {
        let mut reader = Reader { rest: text, code: String::new(), line: 1, found: Vec::new() };
        while !reader.rest.is_empty() {
            reader.step();
        }
        let (code, found) = (reader.code, reader.found);
        let tests = test_lines(&code);
        let mut source = Self {
            lines: code.lines().map(str::to_owned).collect(),
            literals: Vec::new(),
            docs: Vec::new(),
            tests,
        };
        for (line, kind, text) in found {
            match kind {
                Found::Literal => source.literals.push((line, text)),
                Found::Doc => source.docs.push((line, text)),
            }
        }
        source
    }

    /// Returns the lines of code with their numbers, counted from one.
    pub(crate) fn numbered(&self) -> impl Iterator<Item = (usize, &str)> {
        self.lines.iter().enumerate().map(|(index, line)| (index + 1, line.as_str()))
    }

    /// Returns the numbered lines of code that are not below `#[cfg(test)]`.
    pub(crate) fn shipped(&self) -> impl Iterator<Item = (usize, &str)> {
        self.numbered().filter(|(line, _code)| !self.is_test(*line))
    }

    /// Says whether a line is below `#[cfg(test)]`.
    pub(crate) fn is_test(&self, line: usize) -> bool {
        self.tests.iter().any(|range| range.contains(&line))
    }
}

/// Says whether everything in the file at `path` is test code.
pub(crate) fn is_test_file(path: &str) -> bool {
    ["/tests/", "/examples/", "/benches/"].iter().any(|part| path.contains(part))
        || path.ends_with("/tests.rs")
        || ["benches/", "crates/dbt-testkit/", "crates/dbt-fuzz/"]
            .iter()
            .any(|room| path.starts_with(room))
}

/// What is kept beside the code.
enum Found {
    Literal,
    Doc,
}

/// Reads a file once, from the front.
struct Reader<'a> {
    rest: &'a str,
    code: String,
    line: usize,
    found: Vec<(usize, Found, String)>,
}

impl<'a> Reader<'a> {
    fn step(&mut self) {
        let word = self.rest.len() - self.rest.trim_start_matches(is_word).len();
        if word > 0 {
            self.word(word);
        } else if self.rest.starts_with("//") {
            self.line_comment();
        } else if self.rest.starts_with("/*") {
            self.block_comment();
        } else if self.rest.starts_with('"') {
            self.string();
        } else if self.rest.starts_with('\'') {
            self.quote();
        } else {
            let next = self.rest.chars().next().map_or(0, char::len_utf8);
            let text = self.take(next);
            self.code.push_str(text);
        }
    }

    /// Goes on by `length` bytes and counts the lines; the text is nobody's yet.
    fn take(&mut self, length: usize) -> &'a str {
        let (text, rest) = self.rest.split_at(length.min(self.rest.len()));
        self.rest = rest;
        self.line += text.matches('\n').count();
        text
    }

    /// Leaves text out of the code, but not its line ends.
    fn leave_out(&mut self, text: &str) {
        self.code.extend(text.chars().filter(|letter| *letter == '\n'));
    }

    /// A word, or the prefix of a string.
    fn word(&mut self, length: usize) {
        let word = self.take(length);
        self.code.push_str(word);
        let hashes = self.rest.len() - self.rest.trim_start_matches('#').len();
        let raw = matches!(word, "r" | "br" | "cr") && self.rest[hashes..].starts_with('"');
        if raw {
            self.take(hashes + 1);
            let line = self.line;
            let end = format!("\"{}", "#".repeat(hashes));
            let length = self.rest.find(&end).unwrap_or(self.rest.len());
            let text = self.take(length);
            self.take(end.len());
            self.literal(line, text);
        }
    }

    fn string(&mut self) {
        self.take(1);
        let line = self.line;
        let mut escaped = false;
        let end = self.rest.find(|letter| {
            let ends = letter == '"' && !escaped;
            escaped = letter == '\\' && !escaped;
            ends
        });
        let text = self.take(end.unwrap_or(self.rest.len()));
        self.take(1);
        self.literal(line, text);
    }

    fn literal(&mut self, line: usize, text: &str) {
        self.code.push_str("\"\"");
        self.leave_out(text);
        self.found.push((line, Found::Literal, text.to_owned()));
    }

    /// A character, or the beginning of a lifetime.
    fn quote(&mut self) {
        let mut letters = self.rest.char_indices().skip(1);
        let first = letters.next();
        let length = match (first, letters.next()) {
            (Some((_, '\\')), Some((escaped, _))) => {
                // The escaped character may itself be a quote.
                self.rest[escaped + 1..].find('\'').map(|end| escaped + 1 + end + 1)
            }
            (Some(_), Some((end, '\''))) => Some(end + 1),
            _ => None,
        };
        self.code.push('\'');
        self.take(length.unwrap_or(1));
    }

    fn line_comment(&mut self) {
        let line = self.line;
        let length = self.rest.find('\n').unwrap_or(self.rest.len());
        let text = self.take(length);
        let doc = text.strip_prefix("///").filter(|rest| !rest.starts_with('/'));
        if let Some(doc) = doc {
            self.found.push((line, Found::Doc, doc.trim().to_owned()));
        }
    }

    fn block_comment(&mut self) {
        let mut depth = 0_usize;
        loop {
            let opens = self.rest.starts_with("/*");
            let closes = self.rest.starts_with("*/");
            let length = match self.rest.chars().next() {
                None => return,
                Some(_) if opens || closes => 2,
                Some(letter) => letter.len_utf8(),
            };
            let text = self.take(length);
            self.leave_out(text);
            depth = (depth + usize::from(opens)).saturating_sub(usize::from(closes));
            if depth == 0 {
                return;
            }
        }
    }
}

fn is_word(letter: char) -> bool {
    letter.is_alphanumeric() || letter == '_'
}

/// Finds the lines of the items that `#[cfg(test)]` stands before.
fn test_lines(code: &str) -> Vec<RangeInclusive<usize>> {
    let line_at = |place: usize| code[..place].matches('\n').count() + 1;
    let mut ranges = Vec::new();
    for (begin, _attribute) in code.match_indices("#[cfg(test)]") {
        let mut depth = 0_usize;
        let end = code[begin..].char_indices().find(|(_place, letter)| {
            match letter {
                '{' => depth += 1,
                '}' => depth = depth.saturating_sub(1),
                _ => {}
            }
            depth == 0 && matches!(letter, '}' | ';')
        });
        let end = end.map_or(code.len(), |(place, _letter)| begin + place);
        ranges.push(line_at(begin)..=line_at(end));
    }
    ranges
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_literals_are_not_code() {
        let source = Source::parse(
            "let a = \"unsafe \\\" {\"; // unsafe\nlet b = r#\"un\"safe\"#; /* un /* saf */ e */ let c = 'x';\n/// Says so.\nfn f<'a>(c: char) -> &'a str { '\\'' }\n",
        );
        assert_eq!(source.lines[0], "let a = \"\"; ");
        assert_eq!(source.lines[1], "let b = r\"\";  let c = ';");
        assert_eq!(source.lines[3], "fn f<'a>(c: char) -> &'a str { ' }");
        assert_eq!(source.literals, [(1, "unsafe \\\" {".to_owned()), (2, "un\"safe".to_owned())]);
        assert_eq!(source.docs, [(3, "Says so.".to_owned())]);
    }

    #[test]
    fn lines_are_counted_across_literals_and_comments() {
        let source = Source::parse("let a = \"one\ntwo\";\n/* three\n*/ let b = \"four\";\n");
        assert_eq!(source.literals, [(1, "one\ntwo".to_owned()), (4, "four".to_owned())]);
        assert_eq!(source.lines.len(), 4);
    }

    #[test]
    fn tests_end_where_their_module_ends() {
        let source = Source::parse(
            "fn a() {}\n#[cfg(test)]\nmod tests {\n  fn b() { c('{'); }\n}\nfn d() {}\n#[cfg(test)]\nmod more;\nfn e() {}\n",
        );
        let shipped: Vec<usize> = source.shipped().map(|(line, _code)| line).collect();
        assert_eq!(shipped, [1, 6, 9]);
    }
}
