//! Tokens that jobs get for the identity that their CI system gave them: one for each identity, which
//! counts as long as one of the rules that it came by is as it was then.

use std::collections::HashSet;
use std::sync::PoisonError;
use std::time::{Duration, SystemTime};

use dbt_core::secret::Secret;

use super::kept::{About, ApiToken, Exchanged};
use super::{Tokens, text};
use crate::authn::federation::rules::{KnownRule, name_in_policy};
use crate::authn::federation::{Admitted, Federation, WORD};
use crate::authn::replay::after_all_used;
use crate::authn::{BadCredential, Identity, Proof, Scope, Why};
use crate::state::{self, Ending, Exchange, State, StateError};
use crate::time;

/// How often it is looked again what came of an identity that others exchange at the same time.
const TRIES: usize = 8;

/// An identity that is to be exchanged.
#[derive(Clone, Copy, Debug)]
pub struct Exchanging<'a> {
    /// What it gives its job.
    pub admitted: &'a Admitted,
    /// Itself: nobody but the job has it.
    pub proof: &'a Secret<String>,
    /// What the job calls this try to exchange it, to be given the same answer again.
    pub key: Option<&'a str>,
    /// When.
    pub now: SystemTime,
}

/// What came of exchanging an identity.
#[derive(Debug)]
pub enum Came {
    /// This token, which is its job's now, or was before.
    Token(Secret<String>, Box<ApiToken>),
    /// It counts once, and was exchanged before.
    Used,
    /// What it was exchanged for was ended before its time.
    Ended(Ending),
    /// It may have been exchanged before the server began to remember that.
    BeforeMemory,
    /// Jobs of its subject have as many tokens as may be.
    TooMany,
    /// All jobs have.
    Full,
}

impl Exchanging<'_> {
    /// Decides on the token that the identity would be exchanged for now.
    pub fn token(&self, id: String) -> ApiToken {
        let Admitted { identity, rules, scope, expires, .. } = self.admitted;
        let Identity { subject, job, .. } = identity;
        let names: Vec<&str> = rules.iter().map(|rule| rule.name.as_str()).collect();
        let scopes = if *scope == Scope::Writes { &Scope::ALL[..] } else { &[Scope::Reads] };
        let owner = subject.to_string();
        let about = About {
            name: names.join(", ").chars().take(100).collect(),
            method: WORD.to_owned(),
            issuer: subject.issuer.clone(),
            of: subject.id.clone(),
            proven: scopes.iter().copied().map(Proof::from).collect(),
            exchanged: Some(Exchanged { rules: rules.clone(), job: job.as_deref().cloned() }),
            ..About::default()
        };
        ApiToken {
            id,
            subject: owner.clone(),
            created_by: owner.clone(),
            origin: owner,
            made_with: None,
            created: time::whole_seconds(self.now),
            expires: Some(time::whole_seconds(*expires)),
            used: None,
            ended: None,
            about: Some(about),
        }
    }

    /// Returns the token's text. Without a word of its own for the try, nobody gets it again who may have it
    /// once.
    ///
    /// The signature has no part in it: it can be written in several ways, and each would be another text.
    fn text(&self, salt: &[u8; 32]) -> Secret<String> {
        let scope = if self.admitted.scope == Scope::Writes { "write" } else { "read" };
        let key = if self.admitted.repeats { "" } else { self.key.unwrap_or_default() };
        let whole = self.proof.expose();
        let signed = whole.rsplit_once('.').map_or(whole.as_str(), |(signed, _signature)| signed);
        text::of_secret(salt, &Secret::new(signed.to_owned()), &[scope, key])
    }

    /// Says what comes of it after the identity was exchanged; nothing where it may be exchanged anew.
    fn again(&self, known: &state::Known) -> Option<Came> {
        let Admitted { repeats, rules, .. } = self.admitted;
        if let Some(ending) = known.ended {
            return Some(Came::Ended(ending));
        }
        let earlier = known.exchanged.as_ref()?;
        let anew = || if *repeats { None } else { Some(Came::Used) };
        let Some(row) = &earlier.row else { return anew() };
        let is_over = row.expires.is_some_and(|expires| expires <= self.now);
        let text = self.text(&earlier.salt);
        let is_same = text::digest(&text) == row.digest && (*repeats || self.key.is_some());
        let token = ApiToken::from(row.clone());
        let by = token.about.as_ref().and_then(|about| about.exchanged.as_ref());
        if is_over || !is_same || by.is_none_or(|by| by.rules != *rules) {
            return anew();
        }
        Some(Came::Token(text, Box::new(token)))
    }
}

impl Tokens {
    /// Says what an identity was exchanged for, if it was and may not be exchanged anew.
    pub fn exchanged(&self, asked: &Exchanging<'_>) -> Result<Option<Came>, StateError> {
        let state = self.usable()?;
        let Admitted { key, source, scope, .. } = asked.admitted;
        if let Some(came) = asked.again(&state.exchanged(key, source, asked.now)?) {
            return Ok(Some(came));
        }
        // Also where it may be exchanged again: what it was exchanged for may have been revoked.
        Ok((*scope == Scope::Writes && is_before_memory(state, asked)?)
            .then_some(Came::BeforeMemory))
    }

    /// Says whether jobs of the identity's subject, or all, have as many tokens as may be.
    pub fn is_full_for(&self, asked: &Exchanging<'_>) -> Result<Option<Came>, StateError> {
        let Admitted { identity, scope, .. } = asked.admitted;
        let subject = identity.subject.to_string();
        let full = self.usable()?.is_full_for(&subject, *scope == Scope::Writes, asked.now)?;
        Ok(match full {
            Some(state::Exchanging::TooMany) => Some(Came::TooMany),
            Some(state::Exchanging::Full) => Some(Came::Full),
            Some(state::Exchanging::Kept | state::Exchanging::Moved) | None => None,
        })
    }

    /// Exchanges an identity for this token. It is on the disk when this returns, unless somebody else
    /// exchanged the same at the same time: then both have one answer.
    pub async fn exchange(
        &self,
        asked: &Exchanging<'_>,
        token: &ApiToken,
    ) -> Result<Came, StateError> {
        let state = self.usable()?;
        for _try in 0..TRIES {
            let Admitted { key, source, until, scope, .. } = asked.admitted;
            let known = state.exchanged(key, source, asked.now)?;
            if let Some(came) = asked.again(&known) {
                return Ok(came);
            }
            let instead_of = known.exchanged.map(|earlier| earlier.token);
            let mut salt = [0; 32];
            getrandom::fill(&mut salt)
                .map_err(|error| StateError::Failed { reason: error.to_string() })?;
            let (text, mut token) = (asked.text(&salt), token.clone());
            if let Some(about) = &mut token.about {
                about.beginning = text::beginning(&text);
            }
            let (identity, source, until) = (*key, *source, *until);
            let writes = *scope == Scope::Writes;
            let exchange = Exchange { identity, source, salt, until, writes };
            let row = token.row(&text);
            match state.exchange(exchange, row, instead_of, asked.now).await? {
                state::Exchanging::Kept => {
                    *super::locked(&self.listed) = None;
                    return Ok(Came::Token(text, Box::new(token)));
                }
                state::Exchanging::Moved => {}
                state::Exchanging::TooMany => return Ok(Came::TooMany),
                state::Exchanging::Full => return Ok(Came::Full),
            }
        }
        Err(StateError::Failed {
            reason: "an identity is exchanged by too many at once".to_owned(),
        })
    }

    /// Notes which rules are in force. What came by others counts no more.
    pub fn take_rules(&self, federation: Option<&Federation>) {
        let rules = federation.into_iter().flat_map(Federation::rules);
        let digests: HashSet<String> = rules.map(|rule| rule.digest.clone()).collect();
        *self.rules.write().unwrap_or_else(PoisonError::into_inner) = digests;
    }

    /// Leaves of what somebody shows that came by rules what came by those that are in force.
    pub(crate) fn under_rules(&self, identity: Identity) -> Result<Identity, BadCredential> {
        under(identity, |rule| self.is_in_force(rule))
    }

    /// Says whether that is in force by which a job is let do something: the rule that permits it, and not
    /// others that it came by as well; where none is named, all by which it was admitted.
    pub(super) fn are_in_force(&self, rules: &[KnownRule], permitted_by: Option<&str>) -> bool {
        let permits =
            |rule: &&KnownRule| permitted_by.is_some_and(|by| by == name_in_policy(&rule.name));
        match rules.iter().find(permits) {
            Some(rule) => self.is_in_force(rule),
            None => rules.iter().all(|rule| self.is_in_force(rule)),
        }
    }

    fn is_in_force(&self, rule: &KnownRule) -> bool {
        let rules = self.rules.read().unwrap_or_else(PoisonError::into_inner);
        rules.contains(&rule.digest)
    }
}

/// Leaves of what somebody shows what came by some rules.
pub(crate) fn under(
    mut identity: Identity,
    is_in_force: impl Fn(&KnownRule) -> bool,
) -> Result<Identity, BadCredential> {
    let Some(token) = identity.token.as_mut().filter(|token| !token.rules.is_empty()) else {
        return Ok(identity);
    };
    token.rules.retain(is_in_force);
    if token.rules.is_empty() {
        let told = "the rule by which the job got the token was changed or taken away";
        let noted = format!("the token {} came by a rule that is not in force any more", token.id);
        return Err(BadCredential::new(told).because(Why::Revoked).noting(noted));
    }
    Ok(identity)
}

/// Says whether an identity may have been exchanged when nobody remembers it any more: the state was begun
/// or put back after it was issued.
fn is_before_memory(state: &State, asked: &Exchanging<'_>) -> Result<bool, StateError> {
    // A clock that was wrong when it was noted must not refuse identities for years.
    let since = state.tokens_since()?.min(after_all_used(asked.now));
    // Times in identities are whole seconds.
    Ok(asked.admitted.issued + Duration::from_secs(1) <= since)
}
