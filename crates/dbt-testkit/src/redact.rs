//! What differs from run to run and from machine to machine, replaced by what it is.

use dbt_core::platform::Platform;

/// Replaces digests, fingerprints, dates, ages and this machine's platform.
pub(crate) fn redacted(text: &str) -> String {
    let platform = Platform::CURRENT.to_string();
    ages(&words(text)).replace(&platform, "[PLATFORM]")
}

/// Replaces what is recognised by its shape.
fn words(text: &str) -> String {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '-';
    let mut redacted = String::new();
    let mut rest = text;
    while let Some(start) = rest.find(is_part) {
        let (before, from) = rest.split_at(start);
        let (word, after) = from.split_at(from.find(|c| !is_part(c)).unwrap_or(from.len()));
        redacted.push_str(before);
        redacted.push_str(&shape(word));
        rest = after;
    }
    redacted + rest
}

fn shape(word: &str) -> String {
    let hex = |word: &str| word.bytes().all(|byte| byte.is_ascii_hexdigit());
    let is_date = || {
        word.len() == 10
            && word.bytes().enumerate().all(|(place, byte)| match place {
                4 | 7 => byte == b'-',
                _ => byte.is_ascii_digit(),
            })
    };
    let upper = !word.bytes().any(|byte| byte.is_ascii_lowercase());
    match word.len() {
        64 if hex(word) => "[DIGEST]".to_owned(),
        40 if hex(word) && upper => "[FINGERPRINT]".to_owned(),
        _ if is_date() => "[DATE]".to_owned(),
        _ => match word.rsplit_once('-') {
            Some((name, end)) if end.len() == 16 && hex(end) => format!("{name}-[HASH]"),
            _ => word.to_owned(),
        },
    }
}

/// Replaces `3 minutes ago`.
fn ages(text: &str) -> String {
    let mut redacted = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(" ago") {
        let (before, after) = rest.split_at(at);
        let start = before.rmatch_indices(' ').nth(1).map_or(0, |(place, _)| place + 1);
        let (before, age) = before.split_at(start);
        redacted.push_str(before);
        redacted.push_str(if age.starts_with(|c: char| c.is_ascii_digit()) {
            "[AGE]"
        } else {
            age
        });
        redacted.push_str(" ago");
        rest = after.strip_prefix(" ago").unwrap_or_default();
    }
    redacted + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_differs_is_replaced() {
        let text = format!(
            "`deploy` 1.4.0 ({}): {}, by {}, until 2027-01-31, confirmed 3 minutes ago in acme-{}.",
            Platform::CURRENT,
            "ab".repeat(32),
            "AB".repeat(20),
            "0".repeat(16),
        );
        let expected = "`deploy` 1.4.0 ([PLATFORM]): [DIGEST], by [FINGERPRINT], until [DATE], \
                        confirmed [AGE] ago in acme-[HASH].";
        assert_eq!(redacted(&text), expected);
    }
}
