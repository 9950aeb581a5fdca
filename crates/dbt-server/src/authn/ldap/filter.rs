//! Search filters (RFC 4515) in which `{username}` and `{dn}` stand for somebody.
//!
//! The filter is taken apart before any name is put in, and names go into values as bytes: no
//! name can become a part of the filter's structure, whatever characters it has.

use std::str::FromStr;

use super::ber;

/// How deep filters may be nested.
const DEPTH: usize = 16;

/// A filter with places for names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    node: Node,
    text: String,
}

/// Whom a search is about.
#[derive(Clone, Copy, Debug)]
pub struct About<'a> {
    /// The name that was typed.
    pub username: &'a str,
    /// The name of the entry, if it is known.
    pub dn: &'a str,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Node {
    /// `and`, `or` and `not`, by their tags.
    Combined(u8, Vec<Node>),
    /// Comparisons of an attribute with a value, by their tags.
    Compared(u8, String, Value),
    /// Whether there is the attribute.
    Present(String),
    /// Parts of a value in order: the beginning, some in the middle, the end.
    Substrings(String, Vec<Value>),
    /// A matching rule, as of nested groups.
    Rule { attribute: String, rule: String, in_dn: bool, value: Value },
}

/// A value in pieces.
type Value = Vec<Piece>;

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Bytes(Vec<u8>),
    Username,
    Dn,
}

impl Filter {
    /// Says whether the filter depends on the name that was typed.
    pub fn names_user(&self) -> bool {
        self.text.contains("{username}")
    }

    /// Says whether the filter depends on the name of the entry.
    pub fn names_entry(&self) -> bool {
        self.text.contains("{dn}")
    }

    /// Returns the filter about somebody, as it is sent.
    pub fn about(&self, about: About<'_>) -> Vec<u8> {
        self.node.encoded(about)
    }
}

impl FromStr for Filter {
    type Err = BadFilter;

    fn from_str(text: &str) -> Result<Self, BadFilter> {
        let (node, rest) = node(text.trim(), 0)?;
        if !rest.is_empty() {
            return Err(BadFilter("it goes on after its last parenthesis"));
        }
        Ok(Self { node, text: text.to_owned() })
    }
}

/// Why a filter cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadFilter(&'static str);

fn node(text: &str, depth: usize) -> Result<(Node, &str), BadFilter> {
    if depth > DEPTH {
        return Err(BadFilter("it is nested too deeply"));
    }
    let inner = text.strip_prefix('(').ok_or(BadFilter("a part does not begin with `(`"))?;
    let tag = match inner.chars().next() {
        Some('&') => 0xa0,
        Some('|') => 0xa1,
        Some('!') => 0xa2,
        _ => return item(inner),
    };
    let mut rest = inner.get(1..).unwrap_or_default();
    let mut nodes = Vec::new();
    while rest.starts_with('(') {
        let (node, after) = node(rest, depth + 1)?;
        nodes.push(node);
        rest = after;
    }
    let rest = rest.strip_prefix(')').ok_or(BadFilter("a part does not end with `)`"))?;
    if nodes.is_empty() || (tag == 0xa2 && nodes.len() != 1) {
        return Err(BadFilter("`&`, `|` or `!` has not as many parts as it needs"));
    }
    Ok((Node::Combined(tag, nodes), rest))
}

fn item(text: &str) -> Result<(Node, &str), BadFilter> {
    let (item, rest) = text.split_once(')').ok_or(BadFilter("a part does not end with `)`"))?;
    let (left, right) = item.split_once('=').ok_or(BadFilter("a comparison has no `=`"))?;
    if right.contains('(') {
        return Err(BadFilter("a value has a parenthesis; write it as `\\28`"));
    }
    let (tag, attribute) = match left.as_bytes().last() {
        Some(b'>') => (0xa5, left.trim_end_matches('>')),
        Some(b'<') => (0xa6, left.trim_end_matches('<')),
        Some(b'~') => (0xa8, left.trim_end_matches('~')),
        Some(b':') => return Ok((rule(left, right)?, rest)),
        _ => (0xa3, left),
    };
    let attribute = described(attribute)?;
    if tag == 0xa3 && right == "*" {
        return Ok((Node::Present(attribute), rest));
    }
    if tag == 0xa3 && right.contains('*') {
        let values = right.split('*').map(value).collect::<Result<_, _>>()?;
        return Ok((Node::Substrings(attribute, values), rest));
    }
    Ok((Node::Compared(tag, attribute, value(right)?), rest))
}

/// Reads `attribute:dn:rule:`.
fn rule(left: &str, right: &str) -> Result<Node, BadFilter> {
    let mut words: Vec<&str> = left.trim_end_matches(':').split(':').collect();
    let attribute = described(words.remove(0))?;
    let in_dn = words.first().is_some_and(|word| word.eq_ignore_ascii_case("dn"));
    let rule = match words.get(usize::from(in_dn)..) {
        Some([rule]) => described(rule)?,
        _ => return Err(BadFilter("a matching rule is not `attribute:rule:=value`")),
    };
    Ok(Node::Rule { attribute, rule, in_dn, value: value(right)? })
}

fn described(text: &str) -> Result<String, BadFilter> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-.;".contains(&byte);
    if text.is_empty() || !text.bytes().all(plain) {
        return Err(BadFilter("the name of an attribute is not one"));
    }
    Ok(text.to_owned())
}

fn value(text: &str) -> Result<Value, BadFilter> {
    let mut pieces = Vec::new();
    let mut bytes = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let name = [("{username}", Piece::Username), ("{dn}", Piece::Dn)];
        if let Some((word, piece)) = name.into_iter().find(|(word, _)| rest.starts_with(word)) {
            if !bytes.is_empty() {
                pieces.push(Piece::Bytes(std::mem::take(&mut bytes)));
            }
            pieces.push(piece);
            rest = rest.get(word.len()..).unwrap_or_default();
        } else if first == '\\' {
            let digits = rest.get(1..3).ok_or(BadFilter("`\\` is not followed by two digits"))?;
            let byte = u8::from_str_radix(digits, 16);
            bytes.push(byte.map_err(|_error| BadFilter("`\\` is not followed by two digits"))?);
            rest = rest.get(3..).unwrap_or_default();
        } else if first == '{' || first == '}' {
            return Err(BadFilter("only `{username}` and `{dn}` are known"));
        } else {
            let (character, after) = rest.split_at(first.len_utf8());
            bytes.extend(character.as_bytes());
            rest = after;
        }
    }
    if !bytes.is_empty() {
        pieces.push(Piece::Bytes(bytes));
    }
    Ok(pieces)
}

impl Node {
    fn encoded(&self, about: About<'_>) -> Vec<u8> {
        let filled = |value: &Value| filled(value, about);
        match self {
            Self::Combined(tag, nodes) => {
                let nodes: Vec<_> = nodes.iter().map(|node| node.encoded(about)).collect();
                ber::parts(*tag, &nodes)
            }
            Self::Compared(tag, attribute, value) => ber::parts(
                *tag,
                &[ber::text(ber::OCTETS, attribute), ber::element(ber::OCTETS, &filled(value))],
            ),
            Self::Present(attribute) => ber::text(0x87, attribute),
            Self::Substrings(attribute, values) => {
                let last = values.len() - 1;
                let parts: Vec<_> = values
                    .iter()
                    .enumerate()
                    .filter(|(_index, value)| !value.is_empty())
                    .map(|(index, value)| {
                        let tag = match index {
                            0 => 0x80,
                            index if index == last => 0x82,
                            _ => 0x81,
                        };
                        ber::element(tag, &filled(value))
                    })
                    .collect();
                let parts = ber::parts(ber::SEQUENCE, &parts);
                ber::parts(0xa4, &[ber::text(ber::OCTETS, attribute), parts])
            }
            Self::Rule { attribute, rule, in_dn, value } => {
                let mut parts = vec![
                    ber::text(0x81, rule),
                    ber::text(0x82, attribute),
                    ber::element(0x83, &filled(value)),
                ];
                if *in_dn {
                    parts.push(ber::element(0x84, &[0xff]));
                }
                ber::parts(0xa9, &parts)
            }
        }
    }
}

fn filled(value: &Value, about: About<'_>) -> Vec<u8> {
    let bytes = |piece: &Piece| match piece {
        Piece::Bytes(bytes) => bytes.clone(),
        Piece::Username => about.username.as_bytes().to_vec(),
        Piece::Dn => about.dn.as_bytes().to_vec(),
    };
    value.iter().flat_map(bytes).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(filter: &str, username: &str) -> Vec<u8> {
        filter.parse::<Filter>().unwrap().about(About { username, dn: "cn=x" })
    }

    #[test]
    fn filters_are_encoded_as_rfc_4511_says() {
        assert_eq!(encoded("(uid={username})", "al"), b"\xa3\x09\x04\x03uid\x04\x02al");
        assert_eq!(encoded("(uid=*)", "al"), b"\x87\x03uid");
        assert_eq!(encoded("(uid>=5)", "al"), b"\xa5\x08\x04\x03uid\x04\x015");
        assert_eq!(encoded("(!(a=b))", "al"), b"\xa2\x08\xa3\x06\x04\x01a\x04\x01b");
        assert_eq!(
            encoded("(&(a=b)(|(m={dn})(c~=\\2a)))", "al"),
            b"\xa0\x1d\xa3\x06\x04\x01a\x04\x01b\xa1\x13\xa3\x09\x04\x01m\x04\x04cn=x\xa8\x06\x04\x01c\x04\x01*"
        );
        assert_eq!(
            encoded("(a=x*{username}*z)", "al"),
            b"\xa4\x0f\x04\x01a\x30\x0a\x80\x01x\x81\x02al\x82\x01z"
        );
        assert_eq!(encoded("(a=x*)", "al"), b"\xa4\x08\x04\x01a\x30\x03\x80\x01x");
        assert_eq!(
            encoded("(member:1.2.840.113556.1.4.1941:={dn})", "al"),
            b"\xa9\x27\x81\x171.2.840.113556.1.4.1941\x82\x06member\x83\x04cn=x"
        );
    }

    #[test]
    fn no_name_changes_the_structure() {
        for username in [
            "*",
            "a*",
            "*)(uid=*",
            "al)(|(uid=*)",
            "\\2a",
            "(",
            ")",
            "&",
            "\u{0}",
            "{dn}",
            "{username}",
            "é",
            "a\nb",
        ] {
            let name = username.as_bytes();
            let value = ber::element(ber::OCTETS, name);
            let expected = ber::parts(0xa3, &[ber::text(ber::OCTETS, "uid"), value]);
            assert_eq!(encoded("(uid={username})", username), expected, "{username}");
        }
    }

    #[test]
    fn what_is_no_filter_is_refused() {
        let deep = format!("{}(a=b){}", "(!".repeat(DEPTH + 1), ")".repeat(DEPTH + 1));
        for text in [
            "",
            "uid={username}",
            "(uid={username}",
            "(uid)",
            "(=x)",
            "(&)",
            "(!(a=b)(c=d))",
            "(a=b)x",
            "(a=b)(c=d)",
            "(a=(b)",
            "(a=\\zz)",
            "(a=\\2)",
            "(a={user})",
            "(a=})",
            "(a b=c)",
            "(&(a=b)",
            "(a:b:c:=d)",
            "(:=d)",
            "(a:=)x",
            &deep,
        ] {
            assert!(text.parse::<Filter>().is_err(), "{text}");
        }
    }
}
