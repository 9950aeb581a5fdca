//! The configuration as written, in a file or in variables. Nothing is decided here.

use std::collections::BTreeMap;

use dbt_core::secret::Secret;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize, Serializer};

use super::announce::WrittenAnnounce;
use super::federation::WrittenFederation;
use super::operating::{WrittenListen, WrittenLog, WrittenQuota};
use super::publishing::Switch;
use super::web::WrittenWeb;

/// The repository server's configuration.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
#[schemars(title = "reposerver", extend("$id" = "urn:dbt:schema:reposerver"))]
pub(super) struct Written {
    /// Where to listen.
    pub(super) address: Option<String>,
    /// The port to listen on; 0 takes any free one.
    pub(super) port: Option<u16>,
    /// The directory to serve.
    pub(super) server_root: Option<String>,
    /// The directory for what is known of the tree.
    pub(super) state_dir: Option<String>,
    /// Whether reading needs a credential.
    pub(super) auth_gets: Option<bool>,
    /// How readers prove who they are: methods, separated by commas.
    pub(super) auth_type_get: Option<String>,
    /// How writers prove who they are; without it nothing can be written.
    pub(super) auth_type_put: Option<String>,
    /// What the methods of `authTypeGet` need.
    pub(super) auth_opts_get: AuthOptions,
    /// What the methods of `authTypePut` need.
    pub(super) auth_opts_put: AuthOptions,
    /// The URLs under which clients know the server, which are also the audiences of what they
    /// sign with SSH keys.
    pub(super) public_urls: Option<Vec<String>>,
    /// What clients are told of signing in, where it is not what the settings come to.
    pub(super) announce: WrittenAnnounce,
    /// The file of users and passwords, where `idpFile` is something else.
    pub(super) htpasswd_file: Option<String>,
    /// The file of users and SSH keys, where `idpFile` is something else.
    pub(super) pubkeys_file: Option<String>,
    /// Tokens with names, for `static-token`.
    pub(super) tokens: Option<Vec<WrittenToken>>,
    /// The directory service, for `basic-ldap`.
    pub(super) ldap: Option<WrittenLdap>,
    /// Groups, roles and further identity providers.
    pub(super) auth: WrittenAuth,
    /// Who may do what. Once there is this list, `authTypePut` says only how writers prove who
    /// they are.
    pub(super) policies: Option<Vec<WrittenPolicy>>,
    /// Whether an artifact keeps the bytes it was first published with.
    pub(super) immutable: Option<bool>,
    /// Whether a name is refused that differs only in the case of letters from one that is there.
    pub(super) refuse_case_variants: Option<bool>,
    /// Whether what is published must be signed by somebody in the truststore.
    pub(super) verify_uploads: Option<Switch>,
    /// Where and how connections are taken.
    pub(super) listen: WrittenListen,
    /// Addresses and networks of proxies, whose word counts about where a request comes from.
    pub(super) trusted_proxies: Option<Vec<String>>,
    /// Pages for browsers.
    pub(super) web: WrittenWeb,
    /// The log.
    pub(super) log: WrittenLog,
    /// The record of who did what.
    pub(super) audit: WrittenAudit,
    /// How much of everything.
    pub(super) limits: WrittenLimits,
    /// Seconds that connections are still taken after the order to stop.
    pub(super) drain_delay: Option<u64>,
    /// Seconds that requests may go on after the order to stop.
    pub(super) shutdown_grace: Option<u64>,
}

/// Options of the methods of authentication.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub(super) struct AuthOptions {
    /// The file of users: an htpasswd for `basic-htpasswd`, public keys for `ssh-agent-file`.
    pub(super) idp_file: Option<String>,
    /// The command of `ssh-agent-func`, to which the user's name is added; run without a shell.
    pub(super) idp_func: Option<String>,
    /// The token of `static-token`.
    #[schemars(with = "Option<String>")]
    #[serde(serialize_with = "hidden")]
    pub(super) static_token: Option<Secret<String>>,
    /// The variable that holds the token instead.
    pub(super) static_token_env: Option<String>,
    /// The identity provider of `oidc`.
    pub(super) oidc: Option<OidcOptions>,
}

/// An identity provider.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub(super) struct OidcOptions {
    /// Its URL, exactly as in the `iss` of its tokens.
    pub(super) issuer_url: Option<String>,
    /// The audiences of which a token must have one.
    pub(super) audiences: Option<Vec<String>>,
    /// The claim that names the user; `sub` where a token has no such claim.
    pub(super) username_claim_key: Option<String>,
    /// Claims that must have these values.
    pub(super) required_claims: Option<BTreeMap<String, ClaimValue>>,
    /// Groups of which the user must be in one.
    pub(super) allowed_groups: Option<Vec<String>>,
    /// The claim that lists groups; dots lead into objects.
    pub(super) groups_claim: Option<String>,
    /// Says that its users are people and no jobs, so that they may make tokens of the server's own.
    pub(super) for_people: Option<bool>,
    /// Accepts tokens whatever their `iss`. Unsafe.
    pub(super) skip_issuer_verify: Option<bool>,
    /// Seconds after which the provider's keys are asked for again.
    pub(super) jwks_cache_seconds: Option<u64>,
    /// Where the keys are, if not where the provider's discovery document says.
    pub(super) jwks_uri: Option<String>,
    /// Where the discovery document is, if not below the issuer.
    pub(super) discovery_url: Option<String>,
    /// PEM file of further certificate authorities for this provider.
    pub(super) ca_file: Option<String>,
}

/// What a claim must be.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(untagged)]
pub(super) enum ClaimValue {
    /// This text.
    Text(String),
    /// This truth value.
    Truth(bool),
    /// This number.
    Number(i64),
    /// One of these texts.
    OneOf(Vec<String>),
}

impl ClaimValue {
    /// Returns the texts of which the claim must be one.
    pub(super) fn texts(&self) -> Vec<String> {
        match self {
            Self::Text(text) => vec![text.clone()],
            Self::Truth(truth) => vec![truth.to_string()],
            Self::Number(number) => vec![number.to_string()],
            Self::OneOf(several) => several.clone(),
        }
    }
}

/// A token with a name.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub(super) struct WrittenToken {
    /// The name by which policies and the record know it.
    pub(super) name: Option<String>,
    /// The SHA-256 of the token, in hexadecimal.
    pub(super) sha256: Option<String>,
    /// The variable that holds the token.
    pub(super) env: Option<String>,
    /// The file that holds the token.
    pub(super) file: Option<String>,
}

/// A directory service.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub(super) struct WrittenLdap {
    /// Its URL: `ldaps://…`, or `ldap://…` with `startTls` (without, only on this machine).
    pub(super) url: Option<String>,
    /// Whether an `ldap://` connection turns to TLS before anything is sent.
    pub(super) start_tls: Option<bool>,
    /// PEM file of further certificate authorities.
    pub(super) ca_file: Option<String>,
    /// The name that searches; without it the search is anonymous.
    pub(super) bind_dn: Option<String>,
    /// The variable that holds its password.
    pub(super) bind_password_env: Option<String>,
    /// The file that holds its password.
    pub(super) bind_password_file: Option<String>,
    /// Where users are.
    pub(super) user_base: Option<String>,
    /// How a user is found; `{username}` stands for the name.
    pub(super) user_filter: Option<String>,
    /// Where groups are; without it nobody is in one.
    pub(super) group_base: Option<String>,
    /// How a user's groups are found; `{dn}` and `{username}` stand for the user.
    pub(super) group_filter: Option<String>,
    /// The attribute that names a group.
    pub(super) group_attribute: Option<String>,
}

/// Groups, roles and further identity providers.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub(super) struct WrittenAuth {
    /// Identity providers for `oidc`, besides those of the reference's options.
    pub(super) issuers: Option<Vec<OidcOptions>>,
    /// Groups of this server's own: their names, and the subjects in them.
    pub(super) groups: Option<BTreeMap<String, Vec<String>>>,
    /// Who holds which role: `readonly`, `publisher`, `admin`, `agent-default`, or one that
    /// policies name.
    pub(super) roles: Option<BTreeMap<String, Vec<String>>>,
    /// Which kinds of proof people may show; without it, every kind that is configured.
    pub(super) mode: Option<WrittenMode>,
    /// The role of everybody who signs in as a person and holds no other.
    pub(super) default_role: Option<String>,
    /// Roles of those whom identity providers vouch for.
    pub(super) oidc: WrittenOidcRoles,
    /// People: whom this server alone knows, and who is suspended.
    pub(super) users: Option<Vec<WrittenUser>>,
    /// The server's own tokens.
    pub(super) api_tokens: WrittenApiTokens,
    /// Trusted publishing: what jobs of CI systems get for the identities that these give them.
    pub(super) federation: WrittenFederation,
}

/// Which kinds of proof people may show.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum WrittenMode {
    /// Tokens of this server's own.
    Token,
    /// Tokens of identity providers.
    Oidc,
    /// Both.
    Both,
}

/// Roles of those whom identity providers vouch for.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub(super) struct WrittenOidcRoles {
    /// The role of those who hold no other, before `auth.defaultRole`.
    pub(super) default_role: Option<String>,
    /// Roles by what tokens claim; all that match count.
    pub(super) role_mappings: Option<Vec<WrittenMapping>>,
}

/// A role by a claim.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub(super) struct WrittenMapping {
    /// The identity provider, where there are several.
    pub(super) issuer: Option<String>,
    /// The claim; dots lead into objects.
    pub(super) claim: Option<String>,
    /// What it must be, or hold.
    pub(super) value: Option<ClaimValue>,
    /// The role that it gives then.
    pub(super) role: Option<String>,
}

/// A person.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub(super) struct WrittenUser {
    /// Who: `alice`, whom this server alone knows, as `user:alice`; or somebody who signs in otherwise, as
    /// `ssh:alice`.
    pub(super) name: Option<String>,
    /// Whether nothing is permitted to them, and their tokens are revoked.
    pub(super) suspended: Option<bool>,
}

/// The server's own tokens.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub(super) struct WrittenApiTokens {
    /// How many days a token counts at most; without it, one may count for ever.
    pub(super) max_days: Option<u32>,
    /// How many tokens that count one subject may have.
    pub(super) max_per_subject: Option<u32>,
}

/// A rule: these subjects may do this there.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub(super) struct WrittenPolicy {
    /// Its name, for explanations.
    pub(super) name: Option<String>,
    /// Whom it is about: `ssh:alice`, `group:admins`, `role:publisher`, `authenticated`,
    /// `anonymous`.
    pub(super) subjects: Option<Vec<String>>,
    /// Where it holds: `/dbt-tools/foo/**`.
    pub(super) paths: Option<Vec<String>>,
    /// What it permits: `read`, `list`, `create`, `replace`, `delete` and more.
    pub(super) actions: Option<Vec<String>>,
    /// Whether it permits only writes and deletions that say what they expect to be there, by
    /// `If-Match` or `If-None-Match`.
    pub(super) require_precondition: Option<bool>,
}

/// The record of who did what.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub(super) struct WrittenAudit {
    /// How long and how much of it is kept: an age (`400d`), a size (`2GiB`), or both (`400d 2GiB`).
    pub(super) retain: Option<String>,
    /// A URL to which signed checkpoints are posted.
    pub(super) anchor_url: Option<String>,
}

/// Limits.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub(super) struct WrittenLimits {
    /// The largest upload, in bytes.
    pub(super) max_upload_bytes: Option<u64>,
    /// Uploads at the same time.
    pub(super) max_uploads: Option<u32>,
    /// Uploads of one caller at the same time.
    pub(super) max_uploads_per_caller: Option<u32>,
    /// Whether an upload must say its length.
    pub(super) require_length: Option<bool>,
    /// Connections at the same time.
    pub(super) max_connections: Option<usize>,
    /// Connections of one client at the same time; 0 for any number.
    pub(super) max_connections_per_client: Option<u32>,
    /// Requests of one client in a minute; 0 for any number.
    pub(super) requests_per_minute: Option<u32>,
    /// Seconds that a request's head may take.
    pub(super) header_seconds: Option<u64>,
    /// Bytes of a request's head.
    pub(super) max_header_bytes: Option<usize>,
    /// Header lines of a request.
    pub(super) max_headers: Option<usize>,
    /// Seconds that a connection may stay open without a request.
    pub(super) idle_seconds: Option<u64>,
    /// Seconds that a client may leave an answer untaken.
    pub(super) stall_seconds: Option<u64>,
    /// Bytes of a body that must arrive in `bodySeconds`.
    pub(super) min_body_bytes: Option<u64>,
    /// Seconds in which `minBodyBytes` of a body must arrive.
    pub(super) body_seconds: Option<u64>,
    /// Entries of a directory that is listed.
    pub(super) max_listing: Option<usize>,
    /// How much may lie at or below a path.
    pub(super) quotas: Option<Vec<WrittenQuota>>,
    /// Days for which what was deleted can be restored; 0 keeps nothing.
    pub(super) trash_days: Option<u32>,
}

/// Writes of a secret only that there is one.
#[expect(clippy::ref_option, reason = "serde calls it with a reference to the field")]
fn hidden<S: Serializer>(
    secret: &Option<Secret<String>>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    secret.as_ref().map(|_not_shown| "(not shown)").serialize(serializer)
}
