//! Roles by claims, and for those who hold no other: from the words of the configuration to what an identity
//! provider's users hold.

use super::ConfigError;
use super::file::{Written, WrittenMapping, WrittenOidcRoles};
use super::keys::nearest;
use super::methods::{Door, Method};
use crate::authn::oidc::NAME;
use crate::authn::oidc::roles::Mapping;
use crate::authz::rules::{ADMIN, BUILT_IN_ROLES, DefaultRoles, Rule};
use crate::authz::subject::Who;

const MAPPINGS: &str = "auth.oidc.roleMappings";
const OF_PROVIDERS: &str = "auth.oidc.defaultRole";
const OF_EVERYBODY: &str = "auth.defaultRole";

/// Roles that are given otherwise than by `auth.roles`.
pub(super) struct Given {
    /// The key of each, and the role.
    roles: Vec<(String, String)>,
    /// Those of everybody who holds no other.
    pub(super) otherwise: DefaultRoles,
}

impl Given {
    /// Reads which there are. Whom they are about must be able to sign in.
    pub(super) fn read(written: &Written, doors: [&Door; 2]) -> Result<Self, ConfigError> {
        let methods = || doors.into_iter().flat_map(Door::methods);
        let WrittenOidcRoles { default_role, role_mappings } = &written.auth.oidc;
        let is_used = methods().any(|method| matches!(method, Method::Oidc(_)));
        let idle = [(OF_PROVIDERS, default_role.is_some()), (MAPPINGS, role_mappings.is_some())];
        if let Some((key, _)) = idle.into_iter().find(|(_key, is_there)| *is_there && !is_used) {
            return Err(ConfigError::setting(key, format!("has no effect without `{NAME}`")));
        }
        let mut roles = Vec::new();
        let mappings = mappings(written)?.into_iter().enumerate();
        roles.extend(mappings.map(|(index, (_issuer, mapping))| {
            (format!("{MAPPINGS}[{index}].role"), mapping.role)
        }));
        let otherwise = DefaultRoles {
            oidc: default_role.clone(),
            everybody: written.auth.default_role.clone(),
        };
        for (key, role) in [(OF_PROVIDERS, &otherwise.oidc), (OF_EVERYBODY, &otherwise.everybody)] {
            if role.as_deref() == Some(ADMIN) {
                let reason = "makes an administrator of everybody who signs in";
                return Err(ConfigError::setting(key, reason));
            }
            roles.extend(role.iter().map(|role| (key.to_owned(), role.clone())));
        }
        Ok(Self { roles, otherwise })
    }

    /// Returns the roles.
    pub(super) fn names(&self) -> impl Iterator<Item = &String> {
        self.roles.iter().map(|(_key, role)| role)
    }

    /// Returns the key of one of them, if there are any.
    pub(super) fn key(&self) -> Option<&str> {
        self.roles.first().map(|(key, _role)| key.as_str())
    }

    /// Refuses a role that permits nothing: its name is mistyped.
    pub(super) fn permit_something(&self, rules: &[Rule]) -> Result<(), ConfigError> {
        let spoken_of = |role: &String| {
            let is_meant = |who: &Who| matches!(who, Who::Role(name) if name == role);
            rules.iter().any(|rule| rule.subjects.iter().any(is_meant))
        };
        for (key, role) in &self.roles {
            if BUILT_IN_ROLES.contains(&role.as_str()) || spoken_of(role) {
                continue;
            }
            let named = rules.iter().flat_map(|rule| &rule.subjects).filter_map(|who| match who {
                Who::Role(name) => Some(name.as_str()),
                Who::Anyone
                | Who::Host
                | Who::SignedIn
                | Who::ProvenFor(_)
                | Who::One(_)
                | Who::Group(_)
                | Who::JobsOf(_) => None,
            });
            let nearest = nearest(role, BUILT_IN_ROLES.into_iter().chain(named));
            let reason = format!(
                "is `{}`, of which no rule of `policies` speaks; the nearest is `{nearest}`",
                role.escape_debug()
            );
            return Err(ConfigError::setting(key, reason));
        }
        Ok(())
    }

    /// Says of whom a default role is not, though it may look so.
    pub(super) fn notices(&self, doors: [&Door; 2]) -> Vec<String> {
        let mut notices = Vec::new();
        if self.otherwise == DefaultRoles::default() {
            return notices;
        }
        for method in doors.into_iter().flat_map(Door::methods).filter(|it| it.is_for_all()) {
            let notice = format!(
                "users of `{}` have no default role: anybody can have a token of it",
                method.issuer().unwrap_or_default()
            );
            if !notices.contains(&notice) {
                notices.push(notice);
            }
        }
        notices
    }
}

/// Returns the mappings of one identity provider.
pub(super) fn of_issuer(written: &Written, issuer: &str) -> Result<Vec<Mapping>, ConfigError> {
    let all = mappings(written)?.into_iter();
    Ok(all.filter(|(of, _mapping)| of == issuer).map(|(_of, mapping)| mapping).collect())
}

/// Reads all mappings, each with its identity provider.
fn mappings(written: &Written) -> Result<Vec<(String, Mapping)>, ConfigError> {
    let issuers = issuers(written);
    let written = written.auth.oidc.role_mappings.iter().flatten().enumerate();
    written.map(|(index, written)| mapping(index, written, &issuers)).collect()
}

fn mapping(
    index: usize,
    written: &WrittenMapping,
    issuers: &[String],
) -> Result<(String, Mapping), ConfigError> {
    let refuse = |part: &str, reason: &str| {
        Err(ConfigError::setting(format!("{MAPPINGS}[{index}].{part}"), reason))
    };
    let WrittenMapping { issuer, claim, value, role } = written;
    // What one provider says of its users must not make others' administrators.
    let issuer = match (issuer.as_deref().map(str::trim), issuers) {
        (Some(named), known) if known.iter().any(|one| one == named) => named.to_owned(),
        (None, [only]) => only.clone(),
        (None | Some(_), known) => {
            return refuse("issuer", &format!("must be one of `{}`", known.join("`, `")));
        }
    };
    let filled = |text: &Option<String>| text.clone().filter(|text| !text.trim().is_empty());
    let Some(claim) = filled(claim) else { return refuse("claim", "is needed") };
    let Some(role) = filled(role) else { return refuse("role", "is needed") };
    let values = value.as_ref().map(super::file::ClaimValue::texts).unwrap_or_default();
    if values.is_empty() || values.iter().any(String::is_empty) {
        return refuse("value", "must be something that a claim can be");
    }
    Ok((issuer, Mapping { claim, values, role }))
}

/// Returns the identity providers that are written, each once.
fn issuers(written: &Written) -> Vec<String> {
    let ones = [&written.auth_opts_get, &written.auth_opts_put].into_iter();
    let ones = ones.filter_map(|options| options.oidc.as_ref());
    let all = ones.chain(written.auth.issuers.iter().flatten());
    let mut issuers: Vec<String> = all
        .filter_map(|options| options.issuer_url.as_deref())
        .map(|issuer| issuer.trim().to_owned())
        .filter(|issuer| !issuer.is_empty())
        .collect();
    issuers.sort();
    issuers.dedup();
    issuers
}
