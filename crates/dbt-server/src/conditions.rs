//! Conditional requests: RFC 9110, section 13, in one place for reads and writes.

use std::time::SystemTime;

use hyper::HeaderMap;
use hyper::header::{
    HeaderName, IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, IF_UNMODIFIED_SINCE,
};

use crate::time;

/// An entity tag, without its quotes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntityTag {
    /// Whether it only promises that both mean the same, not that they are the same bytes.
    pub weak: bool,
    /// What stands between the quotes.
    pub value: String,
}

impl EntityTag {
    /// Returns the tag as it stands in a header.
    pub fn header(&self) -> String {
        format!("{}\"{}\"", if self.weak { "W/" } else { "" }, self.value)
    }

    fn is_same_bytes(&self, other: &Self) -> bool {
        !self.weak && !other.weak && self.value == other.value
    }

    fn means_the_same(&self, other: &Self) -> bool {
        self.value == other.value
    }
}

/// What a client's conditions are compared with.
#[derive(Clone, Debug)]
pub struct Validators {
    /// The entity tag.
    pub tag: EntityTag,
    /// When it was last modified, if that is worth comparing.
    pub modified: Option<SystemTime>,
}

/// The conditions of one request.
#[derive(Clone, Debug, Default)]
pub struct Conditions {
    tags: Option<Tags>,
    no_tags: Option<Tags>,
    modified_since: Option<SystemTime>,
    unmodified_since: Option<SystemTime>,
    range: Option<IfRange>,
}

#[derive(Clone, Debug)]
enum Tags {
    Any,
    These(Vec<EntityTag>),
}

#[derive(Clone, Debug)]
enum IfRange {
    Tag(EntityTag),
    /// Unreadable, or a date, which two files of one second share: matches nothing, so the whole
    /// file is sent.
    Nothing,
}

/// What the conditions say about a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Answer as if there were none.
    Proceed,
    /// The client has it already.
    NotModified,
    /// What the client demanded does not hold.
    Failed,
}

impl Conditions {
    /// Reads the conditions of a request. A list that cannot be read is an error: a client that
    /// sent one does not want its request carried out unconditionally.
    pub fn of(headers: &HeaderMap) -> Result<Self, BadCondition> {
        let date = |name| {
            let text = headers.get(name)?.to_str().ok()?;
            time::parse_http_date(text)
        };
        Ok(Self {
            tags: tags(headers, &IF_MATCH)?,
            no_tags: tags(headers, &IF_NONE_MATCH)?,
            modified_since: date(IF_MODIFIED_SINCE),
            unmodified_since: date(IF_UNMODIFIED_SINCE),
            range: headers.get(IF_RANGE).map(|value| if_range(value.to_str().unwrap_or(""))),
        })
    }

    /// Says whether a request states what it expects to be there.
    pub fn are_in(headers: &HeaderMap) -> bool {
        let date = headers.get(IF_UNMODIFIED_SINCE).and_then(|value| value.to_str().ok());
        headers.contains_key(IF_MATCH)
            || headers.contains_key(IF_NONE_MATCH)
            // A date that cannot be read is no condition (RFC 9110, 13.1.4).
            || date.and_then(time::parse_http_date).is_some()
    }

    /// Decides a read, in the order of RFC 9110, 13.2.2.
    pub fn judge_read(&self, current: &Validators) -> Verdict {
        match (&self.tags, self.unmodified_since) {
            (Some(tags), _) if !tags.admit(Some(&current.tag), EntityTag::is_same_bytes) => {
                return Verdict::Failed;
            }
            (None, Some(limit)) if current.modified.is_some_and(|modified| modified > limit) => {
                return Verdict::Failed;
            }
            _ => {}
        }
        match (&self.no_tags, self.modified_since) {
            (Some(tags), _) if tags.admit(Some(&current.tag), EntityTag::means_the_same) => {
                Verdict::NotModified
            }
            // An older date is that of other bytes too: they were put back, or copied there.
            (None, Some(date)) if current.modified == Some(date) => Verdict::NotModified,
            _ => Verdict::Proceed,
        }
    }

    /// Says whether a write may go ahead over what is there now.
    pub fn admit_write(&self, current: Option<&Validators>) -> bool {
        let tag = current.map(|validators| &validators.tag);
        let modified = current.and_then(|validators| validators.modified);
        let demanded = match (&self.tags, self.unmodified_since) {
            (Some(tags), _) => tags.admit(tag, EntityTag::is_same_bytes),
            (None, Some(limit)) => modified.is_some_and(|modified| modified <= limit),
            (None, None) => true,
        };
        let forbidden = match &self.no_tags {
            Some(tags) => tags.admit(tag, EntityTag::means_the_same),
            None => false,
        };
        demanded && !forbidden
    }

    /// Says whether a write depends on the entity tag of what is there, which may cost a hash.
    pub fn need_tag(&self) -> bool {
        let names = |tags: &Option<Tags>| matches!(tags, Some(Tags::These(_)));
        names(&self.tags) || names(&self.no_tags)
    }

    /// Says whether any condition was set on a write.
    pub fn is_unconditional(&self) -> bool {
        self.tags.is_none() && self.no_tags.is_none() && self.unmodified_since.is_none()
    }

    /// Says whether a range may be answered with a part, not the whole (RFC 9110, 13.1.5).
    pub fn admit_range(&self, current: &Validators) -> bool {
        match &self.range {
            None => true,
            Some(IfRange::Tag(tag)) => tag.is_same_bytes(&current.tag),
            Some(IfRange::Nothing) => false,
        }
    }
}

impl Tags {
    fn admit(&self, current: Option<&EntityTag>, same: fn(&EntityTag, &EntityTag) -> bool) -> bool {
        match (self, current) {
            (_, None) => false,
            (Self::Any, Some(_)) => true,
            (Self::These(tags), Some(current)) => tags.iter().any(|tag| same(tag, current)),
        }
    }
}

fn tags(headers: &HeaderMap, name: &HeaderName) -> Result<Option<Tags>, BadCondition> {
    let mut all = Vec::new();
    let mut present = false;
    for value in headers.get_all(name) {
        let text = value.to_str().map_err(|_error| BadCondition(name.clone()))?.trim();
        if text == "*" {
            return Ok(Some(Tags::Any));
        }
        present = true;
        let mut rest = text;
        while !rest.is_empty() {
            let (tag, after) = next_tag(rest).ok_or_else(|| BadCondition(name.clone()))?;
            all.push(tag);
            rest = after.trim_start_matches([' ', '\t', ',']);
        }
    }
    Ok(present.then_some(Tags::These(all)))
}

/// Takes one entity tag from the front of some text.
fn next_tag(text: &str) -> Option<(EntityTag, &str)> {
    let (weak, quoted) = text.strip_prefix("W/").map_or((false, text), |rest| (true, rest));
    let (value, rest) = quoted.strip_prefix('"')?.split_once('"')?;
    Some((EntityTag { weak, value: value.to_owned() }, rest))
}

fn if_range(text: &str) -> IfRange {
    match next_tag(text.trim()) {
        Some((tag, "")) => IfRange::Tag(tag),
        _ => IfRange::Nothing,
    }
}

/// A header with conditions cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the header `{0}` is neither `*` nor a list of quoted entity tags")]
pub struct BadCondition(HeaderName);

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, UNIX_EPOCH};

    fn conditions(lines: &[(&'static str, &str)]) -> Conditions {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, value.parse().unwrap());
        }
        Conditions::of(&headers).unwrap()
    }

    fn current() -> Validators {
        Validators {
            tag: EntityTag { weak: false, value: "abc".to_owned() },
            modified: Some(UNIX_EPOCH + Duration::from_secs(1_000_000_000)),
        }
    }

    type Line = (&'static str, &'static str);

    const BEFORE: &str = "Sun, 09 Sep 2001 01:46:39 GMT";
    const EXACTLY: &str = "Sun, 09 Sep 2001 01:46:40 GMT";
    const AFTER: &str = "Sun, 09 Sep 2001 01:46:41 GMT";

    #[test]
    fn reads_are_judged_in_the_order_of_the_standard() {
        let cases: &[(&[Line], Verdict)] = &[
            (&[], Verdict::Proceed),
            (&[("if-none-match", "\"abc\"")], Verdict::NotModified),
            (&[("if-none-match", "\"x\", W/\"abc\"")], Verdict::NotModified),
            (&[("if-none-match", "*")], Verdict::NotModified),
            (&[("if-none-match", "\"x\"")], Verdict::Proceed),
            (&[("if-modified-since", EXACTLY)], Verdict::NotModified),
            (&[("if-modified-since", BEFORE)], Verdict::Proceed),
            (&[("if-modified-since", AFTER)], Verdict::Proceed),
            (&[("if-modified-since", "yesterday")], Verdict::Proceed),
            // A tag that differs is news, whatever the date says.
            (&[("if-none-match", "\"x\""), ("if-modified-since", EXACTLY)], Verdict::Proceed),
            (&[("if-match", "\"x\"")], Verdict::Failed),
            (&[("if-match", "W/\"abc\"")], Verdict::Failed),
            (&[("if-match", "\"abc\"")], Verdict::Proceed),
            (&[("if-match", "\"abc\""), ("if-none-match", "\"abc\"")], Verdict::NotModified),
            (&[("if-unmodified-since", BEFORE)], Verdict::Failed),
            (&[("if-match", "\"abc\""), ("if-unmodified-since", BEFORE)], Verdict::Proceed),
        ];
        for (lines, expected) in cases {
            assert_eq!(conditions(lines).judge_read(&current()), *expected, "{lines:?}");
        }
    }

    #[test]
    fn writes_are_admitted_only_over_what_the_client_expects() {
        let cases: &[(&[Line], bool, bool)] = &[
            (&[], true, true),
            (&[("if-none-match", "*")], false, true),
            (&[("if-match", "*")], true, false),
            (&[("if-match", "\"abc\"")], true, false),
            (&[("if-match", "\"x\", \"y\"")], false, false),
            (&[("if-none-match", "\"abc\"")], false, true),
            (&[("if-unmodified-since", EXACTLY)], true, false),
            (&[("if-unmodified-since", BEFORE)], false, false),
        ];
        for (lines, over_existing, over_nothing) in cases {
            let conditions = conditions(lines);
            assert_eq!(conditions.admit_write(Some(&current())), *over_existing, "{lines:?}");
            assert_eq!(conditions.admit_write(None), *over_nothing, "{lines:?}");
        }
    }

    #[test]
    fn a_range_needs_the_same_bytes() {
        for (text, expected) in [
            ("\"abc\"", true),
            ("W/\"abc\"", false),
            ("\"x\"", false),
            (EXACTLY, false),
            (BEFORE, false),
            ("nonsense", false),
        ] {
            let conditions = conditions(&[("if-range", text)]);
            assert_eq!(conditions.admit_range(&current()), expected, "{text}");
        }
    }

    #[test]
    fn a_condition_that_cannot_be_read_is_an_error() {
        let mut headers = HeaderMap::new();
        headers.append(IF_MATCH, "abc".parse().unwrap());
        assert!(Conditions::of(&headers).is_err());
    }
}
