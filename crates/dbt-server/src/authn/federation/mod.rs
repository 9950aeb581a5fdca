//! Trusted publishing: the identity that a CI system gives a job is exchanged for a token of this
//! server's own, with the rights that rules of the configuration give such jobs, and no others, for
//! minutes.
//!
//! An identity of such an issuer proves nothing anywhere else. Of the token, which is kept and looked up
//! like any other, `tokens` has the rest.

use std::sync::Arc;
use std::time::SystemTime;

use dbt_core::secret::Secret;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::jwt::{CLOCK_SKEW, Jwt};
use super::keys::Algorithm;
use super::oidc::Settings as IssuerSettings;
use super::oidc::claims::{self, Claims, lookup, plain};
use super::oidc::provider::Provider;
use super::{BadCredential, Identity, Job, ProviderStanding, Scope, Why};
use crate::limits;
use crate::outbound::SafeUrl;
use crate::outbound::tls::{Tls, TlsError};

pub mod pattern;
pub mod rules;

use self::rules::{KnownRule, Mismatch, Replay, Rule};

/// The method's name in the record, and before the names of jobs.
pub const WORD: &str = "ci";

/// What the configuration says of jobs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// For whom their identities must be: what is told to people.
    pub audience: String,
    /// Who gives them.
    pub issuers: Vec<IssuerSettings>,
    /// What they get.
    pub rules: Vec<Rule>,
}

/// Believes CI systems, as far as rules say.
pub struct Federation {
    audience: String,
    issuers: Vec<Arc<Issuer>>,
    rules: Vec<(KnownRule, Rule)>,
}

struct Issuer {
    settings: Arc<IssuerSettings>,
    provider: Provider,
}

/// A job that is known, and what it gets.
#[derive(Clone, Debug)]
pub struct Admitted {
    /// Who it is, and the job.
    pub identity: Identity,
    /// The rules that it gets something by.
    pub rules: Vec<KnownRule>,
    /// For what: with [`Scope::Writes`] for reading, too.
    pub scope: Scope,
    /// Until when what it gets counts.
    pub expires: SystemTime,
    /// By what its identity is known again.
    pub key: [u8; 32],
    /// What stands for its identity, for whatever it is shown and by whichever rule.
    pub source: [u8; 32],
    /// How long that has to be remembered.
    pub until: SystemTime,
    /// When the identity was issued.
    pub issued: SystemTime,
    /// Whether it may be exchanged again.
    pub repeats: bool,
}

/// Why a job gets nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// What it shows proves nothing.
    Unproven {
        /// What it is told.
        told: String,
        /// What the record is told.
        bad: BadCredential,
        /// Whether it came to its signature.
        verified: bool,
    },
    /// It is known, and no rule is about it.
    NoRule {
        /// What it is told.
        told: String,
        /// What the record is told.
        noted: String,
    },
}

impl Settings {
    /// Returns how each of the rules is known again: with what is said of its issuer.
    pub fn known(&self) -> Vec<KnownRule> {
        let known = |rule: &Rule| {
            let issuer = self.issuers.iter().find(|it| it.issuer == rule.issuer);
            issuer.map_or_else(|| rule.known(), |it| rule.known().with(&said_of(it)))
        };
        self.rules.iter().map(known).collect()
    }
}

impl Federation {
    /// Believes the issuers of rules. None is asked before there is an identity of it; what `before` knows
    /// of one stays known.
    pub fn new(settings: Settings, before: Option<&Self>) -> Result<Self, TlsError> {
        let knowns = settings.known();
        let Settings { audience, issuers, rules } = settings;
        let known = before.map_or(&[][..], |before| &before.issuers);
        let mut made = Vec::new();
        for settings in issuers {
            made.push(match known.iter().find(|known| *known.settings == settings) {
                Some(known) => Arc::clone(known),
                None => Arc::new(Issuer::new(settings)?),
            });
        }
        let rules = knowns.into_iter().zip(rules).collect();
        Ok(Self { audience, issuers: made, rules })
    }

    /// Returns for whom the identities of jobs must be, as people are told.
    pub fn audience(&self) -> &str {
        &self.audience
    }

    /// Returns the rules there are.
    pub fn rules(&self) -> impl Iterator<Item = &KnownRule> {
        self.rules.iter().map(|(known, _rule)| known)
    }

    /// Returns how it stands with each issuer.
    pub fn standings(&self, now: SystemTime) -> impl Iterator<Item = ProviderStanding> {
        self.issuers.iter().map(move |issuer| issuer.provider.standing(now))
    }

    /// Finds out which job shows an identity, and what it gets for reading or for writing.
    pub async fn admit(
        &self,
        text: &Secret<String>,
        scope: Scope,
        now: SystemTime,
    ) -> Result<Admitted, Refusal> {
        let token = Jwt::parse(text.expose(), &Algorithm::ALL)?;
        let said = token.text("iss");
        let Some(issuer) = self.issuers.iter().find(|it| said == Some(&it.settings.issuer)) else {
            let said: String = said.unwrap_or("(nobody)").chars().take(200).collect();
            let noted =
                format!("it says it is from `{}`, which no rule names", said.escape_debug());
            return Err(BadCredential::default().noting(noted).into());
        };
        issuer.judge_place(token.claims(), now)?;
        let unproven =
            |bad: BadCredential| Refusal::Unproven { told: bad.to_string(), bad, verified: true };
        let verified = issuer.provider.verify(&token, now).await.map_err(unproven)?;
        let identity = claims::identity(verified, &issuer.settings)
            .map_err(|why| unproven(BadCredential::default().noting(why)))?;
        let of_issuer =
            self.rules.iter().filter(|(_known, rule)| rule.issuer == issuer.settings.issuer);
        let mut matching: Vec<&(KnownRule, Rule)> = Vec::new();
        let mut nearest: Option<(Mismatch, &Rule)> = None;
        for pair in of_issuer {
            match pair.1.matches(verified, scope) {
                Ok(()) => matching.push(pair),
                Err(mismatch)
                    if nearest.as_ref().is_none_or(|(it, _)| it.right < mismatch.right) =>
                {
                    nearest = Some((mismatch, &pair.1));
                }
                Err(_farther) => {}
            }
        }
        if scope == Scope::Writes && !matching.iter().any(|(_known, rule)| rule.writes()) {
            return Err(no_rule(&identity, nearest, !matching.is_empty()));
        }
        if matching.is_empty() {
            return Err(no_rule(&identity, nearest, false));
        }
        Ok(admitted(identity, verified, text, &matching, scope, now))
    }
}

impl Issuer {
    fn new(settings: IssuerSettings) -> Result<Self, TlsError> {
        let tls = Tls::trusting(settings.ca_file.as_deref())?;
        let settings = Arc::new(settings);
        Ok(Self { provider: Provider::new(Arc::clone(&settings), tls), settings })
    }

    /// Judges whether an identity is valid now and for this server. All of it is in the identity itself, so
    /// that whoever shows it may know.
    fn judge_place(&self, claims: &Claims, now: SystemTime) -> Result<(), Refusal> {
        let unproven = |told: String, why: Why, noted: String| {
            let bad = BadCredential::default().because(why).noting(noted);
            Err(Refusal::Unproven { told, bad, verified: false })
        };
        if let Err((why, noted)) = claims::is_out_of_place(claims, &self.settings.audiences, now) {
            let told = if why == Why::Elsewhere {
                self.told_audience(&noted)
            } else {
                format!("the identity does not count here: {noted}")
            };
            return unproven(told, why, noted);
        }
        // One audience: who else it is for could bring it here.
        let several = claims.get("aud").and_then(Value::as_array).filter(|list| list.len() != 1);
        if several.is_some() {
            let noted = "it is for several audiences".to_owned();
            return unproven(self.told_audience(&noted), Why::Elsewhere, noted);
        }
        Ok(())
    }

    fn told_audience(&self, noted: &str) -> String {
        let ours = self.settings.audiences.first().map_or("", String::as_str);
        format!("{noted}; ask the CI system for an identity with the audience `{ours}` alone")
    }
}

/// Returns what is said of an issuer that decides whose identities count: who changes it, perhaps because
/// somebody else's did, ends what came of them.
fn said_of(settings: &IssuerSettings) -> String {
    let IssuerSettings { audiences, keys_at, discovery, ca_file, .. } = settings;
    let url = |url: &Option<SafeUrl>| url.as_ref().map(ToString::to_string);
    json!([audiences, url(keys_at), url(discovery), ca_file]).to_string()
}

/// Says that no rule is about a job: the first claim that is not as it should be, in the rule that fits
/// best. Which rule that is, only its owner learns.
fn no_rule(identity: &Identity, nearest: Option<(Mismatch, &Rule)>, reads: bool) -> Refusal {
    let subject = &identity.subject.id;
    let only_reads = if reads { " (others permit it to read)" } else { "" };
    let Some((mismatch, rule)) = nearest else {
        let told = "the rules for this job permit it to read, and nothing else".to_owned();
        return Refusal::NoRule {
            told,
            noted: format!("no rule permits `{}` to write", subject.escape_debug()),
        };
    };
    let Mismatch { is_of_owner, told, expected, .. } = mismatch;
    let noted = format!(
        "no rule is about the job `{}`{only_reads}; for `{}` {told}, and not {expected}",
        subject.escape_debug(),
        rule.name
    );
    let told = if is_of_owner {
        format!("no rule is about this job{only_reads}; the nearest is `{}`, but {told}", rule.name)
    } else {
        format!("no rule is about this job{only_reads}: {told}")
    };
    Refusal::NoRule { told, noted }
}

fn admitted(
    identity: Identity,
    claims: &Claims,
    text: &Secret<String>,
    matching: &[&(KnownRule, Rule)],
    scope: Scope,
    now: SystemTime,
) -> Admitted {
    let life = matching.iter().map(|(_known, rule)| rule.life).min().unwrap_or_default();
    let (issued, until) = times(claims, now);
    let writing = matching.iter().filter(|(_known, rule)| scope == Scope::Writes && rule.writes());
    // The strictest of those by which it writes.
    let jobs: Option<Vec<&Vec<String>>> = writing
        .map(|(_known, rule)| match &rule.replay {
            Replay::Once => None,
            Replay::UntilExpiry { job } => Some(job),
        })
        .collect();
    let from = identity.subject.issuer.clone().unwrap_or_default();
    let signed = text.expose().rsplit_once('.').map_or("", |(signed, _signature)| signed);
    let source = key(&["source", &from, signed]);
    let key = match (scope, &jobs) {
        (Scope::Reads, _) => key(&["read", &from, signed]),
        (Scope::Writes, None) => {
            let id = claims.get("jti").and_then(plain).unwrap_or_default();
            key(&["once", &from, &id])
        }
        (Scope::Writes, Some(jobs)) => {
            let text = |claim: &String| lookup(claims, claim).and_then(plain).unwrap_or_default();
            let of_job: Vec<String> = jobs.iter().flat_map(|job| job.iter().map(text)).collect();
            let mut parts = vec!["job", &from, signed];
            parts.extend(of_job.iter().map(String::as_str));
            key(&parts)
        }
    };
    let rules = matching.iter().map(|(known, _rule)| known.clone()).collect();
    let subject = super::Subject { method: WORD, ..identity.subject };
    let identity = Identity { subject, groups: Vec::new(), default_rights: false, ..identity };
    let repeats = scope == Scope::Reads || jobs.is_some();
    Admitted { identity, rules, scope, expires: now + life, key, source, until, issued, repeats }
}

/// Returns when an identity was issued, and until when it may be shown.
fn times(claims: &Claims, now: SystemTime) -> (SystemTime, SystemTime) {
    // Both were there and times when it was judged.
    let time = |claim| claims::time(claims, claim).ok().flatten();
    let until = time("exp").unwrap_or(now + limits::TOKEN_LIFE) + CLOCK_SKEW;
    (time("iat").unwrap_or(SystemTime::UNIX_EPOCH), until)
}

/// Returns what stands for some texts.
fn key(parts: &[&str]) -> [u8; 32] {
    let mut hashing = Sha256::new();
    for part in parts {
        // The length keeps apart what only together has the same letters.
        hashing.update((part.len() as u64).to_be_bytes());
        hashing.update(part);
    }
    hashing.finalize().into()
}

impl Refusal {
    /// Says whether a signature was verified for it: that is what a stranger can make us do.
    pub const fn was_verified(&self) -> bool {
        match self {
            Self::Unproven { bad, verified, .. } => *verified && !bad.is_away(),
            Self::NoRule { .. } => true,
        }
    }
}

impl Admitted {
    /// Returns the job, if its identity says which it is.
    pub fn job(&self) -> Option<&Job> {
        self.identity.job.as_deref()
    }
}

impl From<BadCredential> for Refusal {
    /// Tells what its words tell anybody.
    fn from(bad: BadCredential) -> Self {
        Self::Unproven { told: bad.to_string(), bad, verified: false }
    }
}

#[cfg(test)]
mod tests;
