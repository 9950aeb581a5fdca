//! The cookies that hold a sign-in at the pages: which there are, how they come and how they go.
//!
//! No program ever gets one, and nothing but the pages looks at one: a browser sends cookies for whoever
//! tells it to, so what they open must be nothing that can be written.

use std::time::Duration;

use hyper::HeaderMap;
use hyper::header::{COOKIE, HeaderValue};

/// The most bytes of a cookie of ours that is looked at: the name of a tool and what is around it.
const VALUE_BYTES: usize = 512;

/// A cookie of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cookie {
    /// Which session a browser has.
    Session,
    /// Which sign-in a browser has begun.
    Attempt,
}

impl Cookie {
    /// Returns its name. With the prefix, a browser takes it from nobody but this very host over TLS, and
    /// gives it to nobody else (RFC 6265bis, 4.1.3.2).
    const fn name(self, is_secure: bool) -> &'static str {
        match (self, is_secure) {
            (Self::Session, true) => "__Host-catalog-session",
            (Self::Session, false) => "catalog-session",
            (Self::Attempt, true) => "__Host-catalog-sign-in",
            (Self::Attempt, false) => "catalog-sign-in",
        }
    }

    /// Returns what a request has in it. One that is there twice is none: somebody else set one of them.
    pub(super) fn of(self, headers: &HeaderMap, is_secure: bool) -> Option<&str> {
        let name = self.name(is_secure);
        let lines = headers.get_all(COOKIE).into_iter().filter_map(|line| line.to_str().ok());
        let pairs = lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.split_once('='));
        let mut values = pairs.filter(|(known, _value)| known.trim() == name);
        let (_name, value) = values.next()?;
        let is_alone = values.next().is_none();
        Some(value.trim()).filter(|value| is_alone && (1..=VALUE_BYTES).contains(&value.len()))
    }

    /// Returns the header that has a browser keep it for a while.
    pub(super) fn set(self, value: &str, is_secure: bool, time: Duration) -> Option<HeaderValue> {
        let (name, attributes) = (self.name(is_secure), attributes(is_secure));
        let line = format!("{name}={value}; Max-Age={}; {attributes}", time.as_secs());
        let mut line = HeaderValue::from_str(&line).ok()?;
        line.set_sensitive(true);
        Some(line)
    }

    /// Returns the header that has a browser forget it.
    pub(super) fn clear(self, is_secure: bool) -> Option<HeaderValue> {
        let (name, attributes) = (self.name(is_secure), attributes(is_secure));
        HeaderValue::from_str(&format!("{name}=; Max-Age=0; {attributes}")).ok()
    }
}

/// `Lax`, because a browser comes back from the provider by following a link of another site.
const fn attributes(is_secure: bool) -> &'static str {
    if is_secure {
        "Path=/; HttpOnly; SameSite=Lax; Secure"
    } else {
        "Path=/-/ui/; HttpOnly; SameSite=Lax"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(lines: &[&str], is_secure: bool) -> Option<String> {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(COOKIE, line.parse().unwrap());
        }
        Cookie::Session.of(&headers, is_secure).map(ToOwned::to_owned)
    }

    #[test]
    fn a_cookie_is_found_among_others_and_only_once() {
        assert_eq!(found(&["a=b; catalog-session=x; c=d"], false).as_deref(), Some("x"));
        assert_eq!(found(&["a=b", "catalog-session=x"], false).as_deref(), Some("x"));
        assert_eq!(found(&["__Host-catalog-session=x"], true).as_deref(), Some("x"));
        for lines in [
            &["catalog-session=x; catalog-session=y"][..],
            &["catalog-session=x", "catalog-session=x"],
            &["catalog-session="],
            &["catalog-session"],
            &["catalog-sessions=x"],
            &["__Host-catalog-session=x"],
            &[],
        ] {
            assert_eq!(found(lines, false), None, "{lines:?}");
        }
        // Over TLS, a name that anybody may set for the host counts for nothing.
        assert_eq!(found(&["catalog-session=x"], true), None);
        let long = format!("catalog-session={}", "x".repeat(VALUE_BYTES + 1));
        assert_eq!(found(&[&long], false), None);
    }

    #[test]
    fn a_cookie_is_out_of_reach_of_scripts_and_of_other_hosts() {
        let line = Cookie::Session.set("x", true, Duration::from_mins(1)).unwrap();
        assert!(line.is_sensitive());
        assert_eq!(
            line.to_str().unwrap(),
            "__Host-catalog-session=x; Max-Age=60; Path=/; HttpOnly; SameSite=Lax; Secure"
        );
        let line = Cookie::Attempt.clear(false).unwrap();
        assert_eq!(
            line.to_str().unwrap(),
            "catalog-sign-in=; Max-Age=0; Path=/-/ui/; HttpOnly; SameSite=Lax"
        );
    }
}
