//! A credential that proves nothing, and why.

use std::borrow::Cow;
use std::time::Duration;

/// Refuses a credential that cannot be judged at the moment, for a reason that the record keeps.
pub fn away(noted: impl Into<Cow<'static, str>>) -> BadCredential {
    let told = "the credential cannot be checked now; try again in a minute";
    BadCredential { away: true, ..BadCredential::new(told) }.because(Why::Away).noting(noted)
}

/// A credential was offered and proves nothing.
///
/// What it says is for whoever sent it, and never more than they know already; the record also
/// gets the reason.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{told}")]
pub struct BadCredential {
    told: &'static str,
    noted: Option<Cow<'static, str>>,
    why: Why,
    /// Whether it could not be judged.
    away: bool,
    /// After how long it would be looked at, and what there was too much of, if it was not.
    later: Option<(Duration, Excess)>,
}

/// Why a credential proves nothing, as a metric tells it: no more than these words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Why {
    /// It is none of those that are known, or somebody else's.
    #[default]
    Wrong,
    /// It is not what it should look like.
    Malformed,
    /// It is a token whose time is over.
    Expired,
    /// It is a token whose time has not come.
    NotYetValid,
    /// It is a token for another server or another request.
    Elsewhere,
    /// It is a token that counts once and was used.
    Used,
    /// It is a token that was taken back.
    Revoked,
    /// There were too many before it.
    TooMany,
    /// It could not be judged.
    Away,
}

impl Why {
    /// Returns the word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Wrong => "wrong",
            Self::Malformed => "malformed",
            Self::Expired => "expired",
            Self::NotYetValid => "not-yet-valid",
            Self::Elsewhere => "elsewhere",
            Self::Used => "used",
            Self::Revoked => "revoked",
            Self::TooMany => "too-many",
            Self::Away => "away",
        }
    }
}

/// What there can be too much of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Excess {
    /// Credentials that were wrong.
    Guesses,
    /// Tokens of one owner, each of which has to be remembered.
    Tokens,
    /// Exchanges of the identities of one subject, each of which is recorded.
    Exchanges,
}

impl Excess {
    /// Returns the stable code of the problem.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Guesses => "too-many-guesses",
            Self::Tokens => "too-many-tokens",
            Self::Exchanges => "too-many-exchanges",
        }
    }
}

impl BadCredential {
    /// Says what is wrong with what was sent.
    pub const fn new(told: &'static str) -> Self {
        Self { told, noted: None, why: Why::Wrong, away: false, later: None }
    }

    /// Says that it was not looked at, and after how long it would be.
    pub fn too_many(later: Duration) -> Self {
        let told = "too many credentials were wrong; try again later";
        Self { later: Some((later, Excess::Guesses)), ..Self::new(told) }.because(Why::TooMany)
    }

    /// Says that its owner has shown too many tokens, and after how long there is room for one.
    pub fn too_many_tokens(later: Duration) -> Self {
        let told = "you have shown too many tokens; show one again for reads, or try again later";
        Self { later: Some((later, Excess::Tokens)), ..Self::new(told) }.because(Why::TooMany)
    }

    /// Adds a reason for the record alone.
    #[must_use]
    pub fn noting(self, noted: impl Into<Cow<'static, str>>) -> Self {
        Self { noted: Some(noted.into()), ..self }
    }

    /// Says which kind of reason it is.
    #[must_use]
    pub fn because(self, why: Why) -> Self {
        Self { why, ..self }
    }

    /// Returns which kind of reason it is.
    pub const fn why(&self) -> Why {
        self.why
    }

    /// Says what the first says, or the second where the first says nothing; the record gets the
    /// reasons of both.
    pub(super) fn both(first: Option<Self>, second: Self) -> Self {
        let Some(first) = first else { return second };
        let (away, later) = (first.away || second.away, first.later.max(second.later));
        let told = if first.told == Self::default().told { second.told } else { first.told };
        let why = if first.why == Why::Wrong { second.why } else { first.why };
        let noted = if first.noted() == second.noted() {
            first.noted
        } else {
            Some(format!("{}; {}", first.noted(), second.noted()).into())
        };
        Self { told, noted, why, away, later }
    }

    /// Returns after how long it would be looked at, and what there was too much of, if it was not.
    pub const fn retry_after(&self) -> Option<(Duration, Excess)> {
        self.later
    }

    /// Says whether it could not be judged.
    pub const fn is_away(&self) -> bool {
        self.away
    }

    /// Returns the reason, for the record.
    pub fn noted(&self) -> &str {
        self.noted.as_deref().unwrap_or(self.told)
    }
}

impl Default for BadCredential {
    fn default() -> Self {
        Self::new("the credential is not valid")
    }
}
