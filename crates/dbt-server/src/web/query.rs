//! What stands behind the `?` of a page: from a form, or from a provider that a browser comes back from.

use std::fmt::Write as _;

use crate::v1::decoded;

/// Returns a part of a query. One that is there twice, or that cannot be read, is none.
pub(super) fn part(query: Option<&str>, name: &str) -> Option<String> {
    let parts = query.unwrap_or_default().split('&').filter_map(|part| part.split_once('='));
    let mut values = parts.filter(|(known, _value)| *known == name).map(|(_name, value)| value);
    let value = values.next()?;
    if values.next().is_some() {
        return None;
    }
    // A form writes a space so.
    decoded(&value.replace('+', " "))
}

/// Returns a text as it stands in a form or a query.
pub(super) fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _always_ok = write!(escaped, "%{byte:02X}");
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_found_once_and_decoded() {
        let query = Some("a=x+y%2Bz&b=&a_b=c&d=%ff");
        assert_eq!(part(query, "a").as_deref(), Some("x y+z"));
        assert_eq!(part(query, "b").as_deref(), Some(""));
        for (query, name) in
            [(query, "c"), (query, "d"), (Some("a=1&a=2"), "a"), (Some("a"), "a"), (None, "a")]
        {
            assert_eq!(part(query, name), None, "{query:?} {name}");
        }
        let text = "a b&c=d/%é";
        assert_eq!(part(Some(&format!("x={}", escaped(text))), "x").as_deref(), Some(text));
    }
}
