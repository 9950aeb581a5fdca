//! What stands behind the `?` of a request to the API.

use std::collections::BTreeMap;

use crate::error::ApiError;

/// The parts of a query, each once.
#[derive(Debug, Default)]
pub(super) struct Query(BTreeMap<String, String>);

impl Query {
    /// Reads a query that may have these parts. A part that is not known is refused: who mistypes one
    /// must not get an answer to another question.
    pub(super) fn read(text: Option<&str>, known: &[&str]) -> Result<Self, ApiError> {
        let mut parts = BTreeMap::new();
        for part in text.unwrap_or_default().split('&').filter(|part| !part.is_empty()) {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            let unknown = || bad(format!("`{}` is not known", name.escape_debug()));
            let name = known.iter().find(|known| **known == name).ok_or_else(unknown)?;
            let value = decoded(value)
                .ok_or_else(|| bad(format!("`{name}` has an escape that cannot be read")))?;
            if parts.insert((*name).to_owned(), value).is_some() {
                return Err(bad(format!("`{name}` is there twice")));
            }
        }
        Ok(Self(parts))
    }

    /// Returns a part.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// Returns a part that is an id, or nothing.
    pub(super) fn id(&self, name: &str) -> Result<Option<&str>, ApiError> {
        let id = self.text(name).filter(|id| !id.is_empty());
        let is_one = |id: &str| id.len() <= 128 && id.bytes().all(|it| it.is_ascii_alphanumeric());
        match id {
            Some(id) if !is_one(id) => Err(bad(format!("`{name}` is no id"))),
            id => Ok(id),
        }
    }

    /// Returns a part that is `true` or `false`; without it, the latter.
    pub(super) fn is(&self, name: &str) -> Result<bool, ApiError> {
        match self.text(name) {
            None | Some("false") => Ok(false),
            Some("true") => Ok(true),
            Some(_other) => Err(bad(format!("`{name}` must be `true` or `false`"))),
        }
    }

    /// Returns a part that is a number from 1 to `most`; without it, `usual`.
    pub(super) fn number(&self, name: &str, usual: u32, most: u32) -> Result<u32, ApiError> {
        let Some(text) = self.text(name) else { return Ok(usual) };
        let number = text.parse().ok().filter(|number| (1..=most).contains(number));
        number.ok_or_else(|| bad(format!("`{name}` must be a number from 1 to {most}")))
    }
}

/// Refuses a query.
pub(super) const fn bad(detail: String) -> ApiError {
    ApiError::BadRequest { code: "bad-query", detail }
}

/// Decodes the escapes of a part; nothing where one cannot be read.
pub(crate) fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        if *first != b'%' {
            bytes.push(*first);
            rest = tail;
            continue;
        }
        let (digits, tail) = tail.split_at_checked(2)?;
        let digits = std::str::from_utf8(digits).ok()?;
        if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return None;
        }
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        rest = tail;
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_read_once_and_decoded() {
        let query = Query::read(Some("a=oidc%3Ahttps://x%23y&b=&&c"), &["a", "b", "c"]).unwrap();
        assert_eq!(query.text("a"), Some("oidc:https://x#y"));
        assert_eq!((query.text("b"), query.text("c"), query.text("d")), (Some(""), Some(""), None));
        assert!(Query::read(None, &[]).is_ok() && Query::read(Some(""), &[]).is_ok());
        for text in ["x=1", "a=1&a=1", "a=%", "a=%4", "a=%zz", "a=%+1", "a=%ff", "A=1"] {
            let error = Query::read(Some(text), &["a"]).unwrap_err();
            assert_eq!(error.status(), 400, "{text}");
        }
    }

    #[test]
    fn numbers_and_choices_are_what_they_may_be() {
        let read = |text: &'static str| Query::read(Some(text), &["n"]).unwrap();
        assert_eq!(read("").number("n", 5, 9).unwrap(), 5);
        assert_eq!(read("n=9").number("n", 5, 9).unwrap(), 9);
        for text in ["n=0", "n=10", "n=-1", "n=x", "n=", "n=99999999999"] {
            assert!(read(text).number("n", 5, 9).is_err(), "{text}");
        }
        assert_eq!(read("n=01M8Z").id("n").unwrap(), Some("01M8Z"));
        assert_eq!((read("n=").id("n").unwrap(), read("").id("n").unwrap()), (None, None));
        for text in ["n=%C2%84", "n=a b", "n=a-b", "n=%00"] {
            assert!(read(text).id("n").is_err(), "{text}");
        }
        assert!(read("n=true").is("n").unwrap() && !read("n=false").is("n").unwrap());
        assert!(!read("").is("n").unwrap());
        assert!(read("n=1").is("n").is_err() && read("n").is("n").is_err());
    }
}
