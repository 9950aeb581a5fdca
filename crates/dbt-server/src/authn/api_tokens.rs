//! Tokens that the server itself made and keeps.
//!
//! Each is looked up whenever it is shown, so that one that was revoked a moment ago, also by a
//! command beside the server, proves nothing any more. It is found by its digest, of which nobody
//! can choose a part: how long that takes tells nothing of those that there are.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::jwt::CLOCK_SKEW;
use super::{
    AGENT, BadCredential, Caller, Credential, HOST, Identity, Job, Proof, Scope, Subject, USER,
    Why, away, federation, htpasswd, ldap, oidc, ssh, static_token,
};
use crate::authn::federation::rules::KnownRule;
use crate::authz::REALM;
use crate::authz::ceiling::Ceiling;
use crate::state::Ending;
use crate::tokens::text::{self, Form};
use crate::tokens::{About, ApiToken, Found, Tokens};

/// The method's name in the configuration and in the record.
pub const NAME: &str = "api-token";

/// The role of an agent whose token names none.
const AGENTS_ROLE: &str = "agent-default";

/// What of a token counts for what its bearer may do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeldToken {
    /// By what people and the record know it.
    pub id: String,
    /// Whether its subject is a program and no person.
    pub is_of_agent: bool,
    /// The roles that its bearer holds by it.
    pub roles: Vec<String>,
    /// What narrows its bearer's rights, all of it.
    pub ceilings: Vec<Ceiling>,
    /// What its subject proved when they made it for themselves.
    pub proven: Vec<Proof>,
    /// Who made the first of the tokens that lead to it, without showing one.
    pub origin: String,
    /// Until when it counts, if not for ever.
    pub expires: Option<SystemTime>,
    /// Whether the first token that is made with it ends it.
    pub once: bool,
    /// The rules of trusted publishing by which a job got it; it permits what they do.
    pub rules: Vec<KnownRule>,
}

/// What a credential is among the server's own tokens, unless it is one that does not count.
pub(super) enum Look {
    /// It was not meant as one.
    Other,
    /// It is none, though it begins as one.
    Unknown(BadCredential),
    /// It proves this.
    Proven(Box<Caller>),
}

/// Accepts tokens that this server made.
pub struct ApiTokens {
    tokens: Arc<Tokens>,
    named_for: Vec<Scope>,
    longest: Option<Duration>,
}

impl ApiTokens {
    /// Accepts the tokens that are kept. The settings name this method for `named_for`; without that,
    /// nobody is told to try it. None counts for longer than `longest`, whenever it was made.
    pub const fn new(
        tokens: Arc<Tokens>,
        named_for: Vec<Scope>,
        longest: Option<Duration>,
    ) -> Self {
        Self { tokens, named_for, longest }
    }

    /// Looks at a credential: first at what costs nothing, and for each once at what is kept.
    pub(super) fn look(
        &self,
        credential: &Credential,
        peer: IpAddr,
        now: SystemTime,
    ) -> Result<Result<Identity, Look>, BadCredential> {
        let malformed = |told| BadCredential::new(told).because(Why::Malformed);
        if !credential.is_meant_as_api_token() {
            return Ok(Err(Look::Other));
        }
        let offered = match credential.token() {
            Some(offered) if text::form(offered.expose()) != Form::Other => offered,
            _elsewhere => {
                let told = "the token is in the wrong place: send it as `Bearer`, or as the \
                            password, and nothing beside it";
                return Ok(Err(Look::Unknown(malformed(told))));
            }
        };
        if text::form(offered.expose()) == Form::Mistyped {
            let told = "the token is mistyped: its last character does not fit the others";
            return Ok(Err(Look::Unknown(malformed(told))));
        }
        let found = self.tokens.find(&text::digest(offered), peer);
        let found = found.map_err(|error| away(format!("tokens cannot be looked up: {error}")))?;
        let token = match found {
            Found::Kept(token) => token,
            Found::TooMany(wait) => {
                let noted = "not looked up: too many tokens from this address were wrong";
                return Ok(Err(Look::Unknown(BadCredential::too_many(wait).noting(noted))));
            }
            Found::Unknown => {
                let noted = "it is none of this server's tokens";
                return Ok(Err(Look::Unknown(BadCredential::default().noting(noted))));
            }
        };
        let identity = judge(&token, self.longest, now)?;
        let identity = self.tokens.under_rules(identity)?;
        self.tokens.note_use(&token, now);
        Ok(Ok(identity))
    }

    /// Returns the `WWW-Authenticate` challenge, where the settings name this method.
    pub fn challenge(&self, scope: Scope) -> Option<String> {
        self.named_for.contains(&scope).then(|| format!("Bearer realm=\"{REALM}\""))
    }
}

/// Judges a token that is kept. Whoever has it may know what became of it.
pub(crate) fn judge(
    token: &ApiToken,
    longest: Option<Duration>,
    now: SystemTime,
) -> Result<Identity, BadCredential> {
    let refuse =
        |told, why, noted: String| Err(BadCredential::new(told).because(why).noting(noted));
    let id = &token.id;
    match token.ended {
        Some((_when, Ending::Spent)) => {
            let told = "the token was for one use, and was used";
            return refuse(told, Why::Used, format!("the token {id} was for one use"));
        }
        Some((_when, Ending::Revoked)) => {
            let told = "the token was revoked";
            return refuse(told, Why::Revoked, format!("the token {id} was revoked"));
        }
        Some((_when, Ending::Restored)) => {
            let told = "the token counts no more since the server was put back from a backup";
            let noted = format!("the token {id} ended when the state was restored");
            return refuse(told, Why::Revoked, noted);
        }
        None => {}
    }
    if token.expires_within(longest).is_some_and(|expires| expires <= now) {
        return refuse(
            "the token has expired",
            Why::Expired,
            format!("the token {id} has expired"),
        );
    }
    // A clock that was put back says nothing of when a token ends.
    if token.created > now + CLOCK_SKEW {
        let noted = format!("the token {id} was made later than the server's clock says it is");
        return refuse("the token is not valid yet", Why::NotYetValid, noted);
    }
    identity(token).ok_or_else(|| {
        BadCredential::default().noting(format!("what is kept of the token {id} cannot be read"))
    })
}

/// Returns whom a token proves; nobody where what is kept of it cannot be read.
fn identity(token: &ApiToken) -> Option<Identity> {
    let about = token.about.as_ref()?;
    let About { method, issuer, of, once, exchanged, .. } = about;
    let method = word(method)?;
    // Each without the other would be somebody else.
    if (method == federation::WORD) != exchanged.is_some() {
        return None;
    }
    let subject = Subject { method, issuer: issuer.clone(), id: of.clone() };
    if subject.to_string() != token.subject {
        return None;
    }
    let held = HeldToken {
        id: token.id.clone(),
        is_of_agent: about.is_of_agent(),
        roles: given_roles(about),
        ceilings: about.ceilings()?,
        proven: about.proven.clone(),
        origin: token.origin.clone(),
        expires: token.expires,
        once: *once,
        rules: exchanged.iter().flat_map(|it| it.rules.iter().cloned()).collect(),
    };
    let job: Option<Job> = exchanged.as_ref().and_then(|it| it.job.clone());
    Some(Identity {
        groups: about.groups(),
        default_rights: ![AGENT, federation::WORD].contains(&method),
        job: job.map(Box::new),
        token: Some(Box::new(held)),
        ..Identity::of(subject)
    })
}

/// Returns the roles that a token gives: those of a user only narrow what the rules say.
fn given_roles(about: &About) -> Vec<String> {
    match (about.method == AGENT, about.roles.as_slice()) {
        (true, []) => vec![AGENTS_ROLE.to_owned()],
        (true, roles) => roles.to_vec(),
        (false, _only_narrow) => Vec::new(),
    }
}

impl Caller {
    /// Says whether the caller may see and revoke a token of their subject. Whoever shows one themselves
    /// may do that with it, with what it made, and with what is good for no more than it: it may be in
    /// other hands than the wider ones.
    pub(crate) fn reaches(&self, other: &ApiToken) -> bool {
        let Some(own) = self.token() else { return true };
        if other.id == own.id || other.made_with.as_ref() == Some(&own.id) {
            return true;
        }
        // One of which something cannot be read is good for nothing.
        let Some(about) = &other.about else { return own.ceilings.is_empty() };
        let Some(ceilings) = about.ceilings() else { return own.ceilings.is_empty() };
        given_roles(about).iter().all(|role| own.roles.contains(role))
            && about.groups().iter().all(|group| self.groups().contains(group))
            && own.ceilings.iter().all(|wide| ceilings.iter().any(|it| wide.includes(it)))
    }
}

/// Says whether a text is all that tokens say of whose they are: nobody else has the same name.
pub(crate) fn is_whole_name(text: &str) -> bool {
    let Some((before, name)) = text.split_once(':') else { return false };
    match word(before) {
        Some(oidc::NAME | federation::WORD) => name.contains('#'),
        Some(_method) => true,
        None => before == HOST,
    }
}

/// Returns the word before the names of a method.
fn word(text: &str) -> Option<&'static str> {
    let known = [
        AGENT,
        USER,
        static_token::NAME,
        htpasswd::WORD,
        ssh::WORD,
        oidc::NAME,
        ldap::WORD,
        federation::WORD,
    ];
    known.into_iter().find(|known| *known == text)
}

#[cfg(test)]
mod tests;
