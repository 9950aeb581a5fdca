//! What a browser brings back: a code or a refusal, for this sign-in and from this provider.

use std::fmt;

use dbt_core::secret::Secret;

use crate::oidc::error::{ErrorCode, harmless};
use crate::oidc::form::decode;

/// The path of the page on this machine that the browser comes back to.
pub(super) const PATH: &str = "/callback";

/// The longest words of a provider that are repeated.
const WORDS_LIMIT: usize = 200;

/// What makes an answer this sign-in's.
pub(super) struct Expected {
    pub(super) state: String,
    pub(super) issuer: String,
    /// The provider says who it is, always.
    pub(super) says_who_it_is: bool,
}

/// Without the state: whoever knows it can end the sign-in.
impl fmt::Debug for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Expected").field("issuer", &self.issuer).finish_non_exhaustive()
    }
}

/// How it ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// What is turned into tokens.
    Code(Secret<String>),
    /// The provider, or the person, has said no.
    Refused { code: ErrorCode, description: Option<String> },
}

impl Expected {
    /// Reads an address as it is copied from a browser, or the query of one.
    pub(super) fn read_address(&self, address: &str) -> Result<Outcome, &'static str> {
        let query = address.split_once('?').map_or(address, |(_place, query)| query);
        self.read_query(query.split('#').next().unwrap_or_default())
    }

    /// Reads the query of the page's address, or says why it is not this sign-in's.
    pub(super) fn read_query(&self, query: &str) -> Result<Outcome, &'static str> {
        let pairs = decode(query).ok_or("its escapes are malformed")?;
        let value = |name: &str| {
            let mut values = pairs.iter().filter(|(other, _value)| other == name);
            let value = values.next().map(|(_name, value)| value.as_str());
            // Which of two counts would be for the attacker to choose (RFC 6749, 3.1).
            if values.next().is_some() { Err("it says something twice") } else { Ok(value) }
        };
        if value("state")?.ok_or("it does not say which sign-in it belongs to")? != self.state {
            return Err("it belongs to another sign-in");
        }
        match value("iss")? {
            Some(issuer) if issuer != self.issuer => return Err("another provider made it"),
            None if self.says_who_it_is => return Err("it does not say which provider made it"),
            Some(_) | None => {}
        }
        if let Some(error) = value("error")? {
            let words = value("error_description")?.map(|words| harmless(words, WORDS_LIMIT));
            let description = words.filter(|words| !words.is_empty());
            return Ok(Outcome::Refused { code: ErrorCode::of(error), description });
        }
        let code = value("code")?.filter(|code| !code.is_empty());
        let code = code.ok_or("there is no code in it")?;
        Ok(Outcome::Code(Secret::new(code.to_owned())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expected(says_who_it_is: bool) -> Expected {
        let (state, issuer) = ("xyz".to_owned(), "https://dex.example.com".to_owned());
        Expected { state, issuer, says_who_it_is }
    }

    #[test]
    fn a_code_is_taken_from_this_sign_in_and_this_provider() {
        let code = Outcome::Code(Secret::new("s3cr3t".to_owned()));
        for query in [
            "code=s3cr3t&state=xyz",
            "state=xyz&code=s3%63r3t&session_state=1&iss=https%3A%2F%2Fdex.example.com",
        ] {
            assert_eq!(expected(false).read_query(query).as_ref(), Ok(&code), "{query}");
            for address in [query.to_owned(), format!("http://127.0.0.1:1/callback?{query}#x")] {
                let read = expected(false).read_address(&address);
                assert_eq!(read.as_ref(), Ok(&code), "{address}");
            }
        }
        assert!(!format!("{code:?} {:?}", expected(true)).contains("s3cr3t"));
    }

    #[test]
    fn what_belongs_to_something_else_is_refused() {
        for (query, problem) in [
            ("", "it does not say which sign-in it belongs to"),
            ("code=s3cr3t", "it does not say which sign-in it belongs to"),
            ("code=s3cr3t&state=", "it belongs to another sign-in"),
            ("code=s3cr3t&state=xyZ", "it belongs to another sign-in"),
            ("code=a&code=b&state=xyz&iss=https://dex.example.com", "it says something twice"),
            ("code=a&state=xyz&state=xyz", "it says something twice"),
            ("code=a&state=xyz", "it does not say which provider made it"),
            ("code=a&state=xyz&iss=https://evil.example.com", "another provider made it"),
            ("code=&state=xyz&iss=https://dex.example.com", "there is no code in it"),
            ("code=%zz&state=xyz", "its escapes are malformed"),
        ] {
            assert_eq!(expected(true).read_query(query), Err(problem), "{query}");
        }
        let foreign = "code=a&state=xyz&iss=https://evil.example.com";
        assert_eq!(expected(false).read_query(foreign), Err("another provider made it"));
    }

    #[test]
    fn a_refusal_is_one_only_if_it_is_this_sign_ins() {
        let words = "error=access_denied&error_description=Not+you%0d%0a%1b[2J";
        let refused = Outcome::Refused {
            code: ErrorCode::AccessDenied,
            description: Some("Not you   [2J".to_owned()),
        };
        assert_eq!(expected(false).read_query(&format!("{words}&state=xyz")), Ok(refused));
        assert!(expected(false).read_query(words).is_err());
    }
}
