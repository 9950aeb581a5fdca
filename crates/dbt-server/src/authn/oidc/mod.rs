//! Tokens of an identity provider (OIDC): ID tokens, and access tokens that are JWTs.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use dbt_core::digest::Digest;
use serde_json::json;

use super::jwt::Jwt;
use super::keys::Algorithm;
use super::{
    Attempt, Authenticator, BadCredential, Identity, ProviderStanding, Subject, Verdict, Vouching,
};
use crate::authz::REALM;
use crate::content::BoxFuture;
use crate::limits;
use crate::outbound::SafeUrl;
use crate::outbound::proxy::Proxies;
use crate::outbound::tls::{Tls, TlsError};

pub mod claims;
pub mod keys;
pub mod provider;
pub mod roles;
pub mod shared;

use self::claims::Required;
use self::provider::Provider;
use self::roles::Mapping;

/// The method's name in the configuration, and before the names that it proves.
pub const NAME: &str = "oidc";

/// How an identity provider is believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Its `iss`, exactly.
    pub issuer: String,
    /// The audiences of which a token must have one.
    pub audiences: Vec<String>,
    /// The claim that names the user, instead of `sub`.
    pub username_claim: Option<String>,
    /// What claims must be.
    pub required_claims: Required,
    /// Groups of which the user must be in one, if there are any here.
    pub allowed_groups: Vec<String>,
    /// The claim that lists groups.
    pub groups_claim: String,
    /// Whether tokens count whatever their `iss`.
    pub any_issuer: bool,
    /// How long keys count without being asked for again.
    pub keys_fresh: Duration,
    /// Where the keys are, if that is not looked up.
    pub keys_at: Option<SafeUrl>,
    /// Where that is looked up.
    pub discovery: Option<SafeUrl>,
    /// The file of further certificate authorities.
    pub ca_file: Option<PathBuf>,
    /// How it is reached.
    pub proxies: Proxies,
    /// Whether anybody in the world can have a token.
    pub is_for_all: bool,
    /// Whether its users are people, who may make tokens of this server's own.
    pub is_for_people: bool,
    /// Which roles its users hold by what their tokens claim.
    pub role_mappings: Vec<Mapping>,
}

impl Settings {
    /// Returns the digest of what users must be, in whatever order it is written.
    pub(crate) fn demands(&self) -> Option<String> {
        if self.required_claims.is_empty() && self.allowed_groups.is_empty() {
            return None;
        }
        let sorted = |list: &[String]| list.iter().cloned().collect::<BTreeSet<_>>();
        let claims: BTreeMap<&String, BTreeSet<String>> =
            self.required_claims.iter().map(|(claim, one_of)| (claim, sorted(one_of))).collect();
        let groups = sorted(&self.allowed_groups);
        let claim = (!groups.is_empty()).then_some(&self.groups_claim);
        let written = json!({"claims": claims, "groups": groups, "in": claim}).to_string();
        Some(Digest::of(written.as_bytes()).to_string())
    }
}

/// Accepts the tokens of one identity provider, as `Bearer`, or as `Basic` password with any user
/// name for publishers that know nothing else.
pub struct Oidc {
    settings: Arc<Settings>,
    provider: Provider,
    warned: Mutex<Option<SystemTime>>,
}

impl Oidc {
    /// Believes a provider. It is not asked before there is a token of it.
    pub fn new(settings: Settings) -> Result<Self, TlsError> {
        let tls = Tls::trusting(settings.ca_file.as_deref())?;
        let settings = Arc::new(settings);
        let provider = Provider::new(Arc::clone(&settings), tls);
        Ok(Self { settings, provider, warned: Mutex::default() })
    }

    async fn judge(
        &self,
        token: &Jwt<'_>,
        client: Option<&str>,
        now: SystemTime,
    ) -> Result<Identity, BadCredential> {
        let refuse = |why: String| BadCredential::default().noting(why);
        match client {
            Some(client) => claims::is_out_of_place(token.claims(), &[client], now),
            None => claims::is_out_of_place(token.claims(), &self.settings.audiences, now),
        }
        .map_err(|(kind, why)| refuse(why).because(kind))?;
        let verified = self.provider.verify(token, now).await?;
        let identity = claims::identity(verified, &self.settings).map_err(refuse)?;
        if claims::has_overage(verified, &self.settings) && self.may_warn(now) {
            tracing::warn!(subject = %identity.subject, "{}", claims::OVERAGE);
        }
        Ok(identity)
    }

    /// One line a minute says it; more only fill the log.
    fn may_warn(&self, now: SystemTime) -> bool {
        let mut warned = self.warned.lock().unwrap_or_else(PoisonError::into_inner);
        let recently = |last: SystemTime| {
            now.duration_since(last).is_ok_and(|since| since < limits::LONGEST_PAUSE)
        };
        if warned.is_some_and(recently) {
            return false;
        }
        *warned = Some(now);
        true
    }
}

impl Authenticator for Oidc {
    fn identify<'a>(&'a self, attempt: &'a Attempt<'a>) -> BoxFuture<'a, Verdict> {
        Box::pin(async move {
            let text = attempt.credential.token().map(|text| text.expose().as_str());
            let Some(text) = text.filter(|text| Jwt::looks_like_one(text)) else {
                return Verdict::NotMine;
            };
            let token = match Jwt::parse(text, &Algorithm::ALL) {
                Ok(token) => token,
                Err(bad) => return Verdict::Refused(bad),
            };
            if token.text("iss") != Some(&self.settings.issuer) && !self.settings.any_issuer {
                return Verdict::NotMine;
            }
            self.judge(&token, attempt.presented.client, attempt.now).await.into()
        })
    }

    fn could_prove(&self, subject: &Subject) -> bool {
        subject.method == NAME
    }

    fn vouches_for<'a>(
        &'a self,
        subject: &'a Subject,
        _peer: IpAddr,
        _now: SystemTime,
    ) -> BoxFuture<'a, Result<Vouching, BadCredential>> {
        let is_of_it =
            subject.method == NAME && subject.issuer.as_ref() == Some(&self.settings.issuer);
        let vouching = match (is_of_it, self.settings.demands()) {
            (false, _) => Vouching::No,
            (true, None) => Vouching::Yes,
            (true, Some(_digest)) => Vouching::AsProven,
        };
        Box::pin(std::future::ready(Ok(vouching)))
    }

    fn demands(&self) -> Option<String> {
        self.settings.demands()
    }

    fn gives_default_rights(&self) -> bool {
        !self.settings.is_for_all
    }

    fn challenge(&self) -> String {
        format!("Bearer realm=\"{REALM}\"")
    }

    fn provider(&self, now: SystemTime) -> Option<ProviderStanding> {
        Some(self.provider.standing(now))
    }
}

#[cfg(test)]
mod tests;
