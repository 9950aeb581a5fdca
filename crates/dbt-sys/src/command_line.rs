//! The command line of a process on Windows, which is one text there, and is cut into words by each
//! program for itself.

/// Returns what follows the first `words` words of a command line, as it was received.
///
/// Words end where the C runtime of 2008 and later, and Rust's own, end them. The first is the
/// program's path, in which a backslash means nothing.
pub(crate) fn after(line: &[u16], words: usize) -> &[u16] {
    let mut rest = without_blanks(line);
    for index in 0..words {
        let length = if index == 0 { length_of_program(rest) } else { length_of_word(rest) };
        rest = without_blanks(&rest[length..]);
    }
    rest
}

const QUOTE: u16 = b'"' as u16;
const BACKSLASH: u16 = b'\\' as u16;

fn is_blank(unit: u16) -> bool {
    unit == u16::from(b' ') || unit == u16::from(b'\t')
}

fn without_blanks(line: &[u16]) -> &[u16] {
    let blanks = line.iter().take_while(|unit| is_blank(**unit)).count();
    &line[blanks..]
}

fn length_of_program(line: &[u16]) -> usize {
    let mut quoted = false;
    let ends = line.iter().position(|unit| {
        quoted ^= *unit == QUOTE;
        is_blank(*unit) && !quoted
    });
    ends.unwrap_or(line.len())
}

fn length_of_word(line: &[u16]) -> usize {
    let (mut quoted, mut backslashes, mut at) = (false, 0_usize, 0);
    while let Some(unit) = line.get(at).copied() {
        match unit {
            // A quote behind an odd number of backslashes is a character.
            QUOTE if backslashes.is_multiple_of(2) => {
                // So is the second of two within quotes.
                if quoted && line.get(at + 1) == Some(&QUOTE) {
                    at += 1;
                } else {
                    quoted = !quoted;
                }
            }
            blank if is_blank(blank) && !quoted => return at,
            _ => {}
        }
        backslashes = if unit == BACKSLASH { backslashes + 1 } else { 0 };
        at += 1;
    }
    line.len()
}

#[cfg(test)]
mod tests {
    use super::after;

    #[track_caller]
    fn check(line: &str, words: usize, expected: &str) {
        let units: Vec<u16> = line.encode_utf16().collect();
        assert_eq!(String::from_utf16(after(&units, words)).unwrap(), expected, "{line}");
    }

    #[test]
    fn what_follows_stays_as_it_was_written() {
        let line = r#"dbt.exe  -V deploy "a  b"   c\"d "" "e\\" 'f g'"#;
        check(line, 0, line);
        check(line, 1, r#"-V deploy "a  b"   c\"d "" "e\\" 'f g'"#);
        check(line, 3, r#""a  b"   c\"d "" "e\\" 'f g'"#);
        check(line, 4, r#"c\"d "" "e\\" 'f g'"#);
        check(line, 5, r#""" "e\\" 'f g'"#);
        check(line, 6, r#""e\\" 'f g'"#);
        check(line, 7, "'f g'");
        check(line, 9, "");
        check(line, 99, "");
    }

    #[test]
    fn quotes_and_backslashes_end_a_word_where_the_runtime_ends_it() {
        check(r#""C:\Program Files\dbt\" x"#, 1, "x");
        check(r#"a "b c"d e"#, 2, "e");
        check(r#"a "b""c d" e"#, 2, "e");
        check(r#"a b\\"c d" e"#, 2, "e");
        check(r#"a b\\\"c d" e""#, 2, r#"d" e""#);
        check("a\tb\t c", 2, "c");
        check(r#"a "never closed b"#, 2, "");
        check("", 1, "");
    }
}
