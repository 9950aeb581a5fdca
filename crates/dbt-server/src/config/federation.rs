//! Trusted publishing: from the words of the configuration to rules about jobs. What would let in jobs of
//! others stops the start.

use std::collections::BTreeMap;
use std::time::Duration;

use dbt_core::brand;
use dbt_core::name::ToolName;
use hyper::Uri;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::file::{ClaimValue, OidcOptions, Written};
use super::methods::{Door, Method};
use super::{ConfigError, Decide, keys, oidc};
use crate::authn::federation::Settings;
use crate::authn::federation::pattern::Pattern;
use crate::authn::federation::rules::{Expected, Replay, Right, Rule, TRIGGERS, name_in_policy};
use crate::authn::oidc::{Settings as IssuerSettings, claims, shared};
use crate::authz::Access;
use crate::authz::permission::Permission;
use crate::authz::rules::{self, PartOfTool, Paths};
use crate::authz::subject::Who;
use crate::env::Environment;
use crate::outbound::proxy::Proxies;

/// What jobs of CI systems get for the identities that these give them.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub(super) struct WrittenFederation {
    /// What must be known of CI systems besides their URL.
    pub(super) issuers: Option<Vec<WrittenIssuer>>,
    /// Which jobs get which rights. All that are about a job count.
    pub(super) rules: Option<Vec<WrittenRule>>,
}

/// A CI system that gives jobs identities.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub(super) struct WrittenIssuer {
    /// Its URL, exactly as in the `iss` of its identities.
    pub(super) issuer_url: Option<String>,
    /// The audience of its identities, where it cannot be told to use the server's URL.
    pub(super) audience: Option<String>,
    /// Seconds after which its keys are asked for again.
    pub(super) jwks_cache_seconds: Option<u64>,
    /// Where the keys are, if not where its discovery document says.
    pub(super) jwks_uri: Option<String>,
    /// Where the discovery document is, if not below the issuer.
    pub(super) discovery_url: Option<String>,
    /// PEM file of further certificate authorities for it.
    pub(super) ca_file: Option<String>,
}

/// A rule: these jobs may do this with these tools.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub(super) struct WrittenRule {
    /// Its name, for the record and for whoever owns the repository that it is about.
    pub(super) name: Option<String>,
    /// The URL of the CI system; `github` and `gitlab` stand for those of the two.
    pub(super) issuer: Option<String>,
    /// What claims of the identity must be, all of them: a text, in which `*` stands for any text without
    /// `/`, `:` and `@` and `**` for any text, a number, or a list of which one must be it.
    pub(super) claims: Option<BTreeMap<String, ClaimValue>>,
    /// The file of the workflow or pipeline: `release.yml`, or a whole path with its repository.
    pub(super) workflow: Option<ClaimValue>,
    /// What may have started the job; what strangers have no hand in, if that is not said.
    pub(super) triggers: Option<Vec<String>>,
    /// The tools that it is about.
    pub(super) tools: Option<Vec<String>>,
    /// What it permits: `read`, `publish`, `withdraw`.
    pub(super) permits: Option<Vec<String>>,
    /// For how many minutes.
    pub(super) minutes: Option<u32>,
    /// How often an identity counts for writing: `once`, or `until-expiry`.
    pub(super) replay: Option<String>,
    /// With `until-expiry`, the claims that together name the job.
    pub(super) job: Option<Vec<String>>,
}

/// The issuers that have names.
const NAMED: [(&str, &str); 2] =
    [("github", "https://token.actions.githubusercontent.com"), ("gitlab", "https://gitlab.com")];

/// For how many minutes a token counts, unless a rule says otherwise.
const MINUTES: u32 = 15;

/// The most that a rule may say: a job that takes longer exchanges its identity again.
const MOST_MINUTES: u32 = 60;

/// Claims that every identity has, and that are judged anyway.
const JUDGED: [&str; 6] = ["iss", "aud", "exp", "nbf", "iat", "jti"];

/// Claims that say from which branch or tag a job comes, or that somebody approved it.
const NARROWING: [&str; 5] =
    ["ref", "sub", "workflow_ref", "job_workflow_ref", "ci_config_ref_uri"];

/// Claims that say of which repository a job is. Each `sub` begins with it, too.
const REPOSITORIES: [&str; 5] =
    ["repository", "repository_id", "project_path", "project_id", "sub"];

/// The CI systems of which it is known what they claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum System {
    GitHub,
    GitLab,
    Other,
}

impl System {
    /// Says which one a rule is about: by its issuer, or by the claims that it names.
    fn of(issuer: &str, claims: &[Expected]) -> Self {
        let host = issuer.split_once("://").map_or(issuer, |(_scheme, rest)| rest);
        let host = host.split(['/', ':']).next().unwrap_or_default().to_ascii_lowercase();
        // GitHub Enterprise.
        let is_at_github = host == "token.actions.githubusercontent.com"
            || issuer.trim_end_matches('/').ends_with("/_services/token");
        let names = |known: &[&str]| claims.iter().any(|it| known.contains(&it.claim.as_str()));
        let of_github = ["repository", "repository_owner", "workflow_ref", "job_workflow_ref"];
        if host != "gitlab.com"
            && (is_at_github || names(&of_github) || names(Self::GitHub.owners()))
        {
            return Self::GitHub;
        }
        let of_gitlab = ["project_path", "namespace_path", "ci_config_ref_uri"];
        if host == "gitlab.com" || names(&of_gitlab) || names(Self::GitLab.owners()) {
            return Self::GitLab;
        }
        Self::Other
    }

    /// Returns the numbers of which a rule must name one: names can be given up, and taken by others.
    const fn owners(self) -> &'static [&'static str] {
        match self {
            Self::GitHub => &["repository_owner_id", "repository_id"],
            Self::GitLab => &["namespace_id", "project_id"],
            Self::Other => &[],
        }
    }
}

impl Decide<'_> {
    /// Decides which jobs get which rights; nothing where there is no rule.
    pub(super) fn federation(
        &mut self,
        written: &Written,
        environment: &Environment,
        reads: &Door,
        writes: &Door,
    ) -> Result<Option<Settings>, ConfigError> {
        let WrittenFederation { issuers, rules } = &written.auth.federation;
        let further = issuers.as_deref().unwrap_or_default();
        let Some(written_rules) = rules.as_deref().filter(|rules| !rules.is_empty()) else {
            if further.is_empty() {
                return Ok(None);
            }
            let reason = "has no effect without `auth.federation.rules`";
            return Err(ConfigError::setting("auth.federation.issuers", reason));
        };
        let mut rules: Vec<Rule> = Vec::new();
        for (index, written) in written_rules.iter().enumerate() {
            let rule = rule(index, written)?;
            if rules.iter().any(|earlier| earlier.name == rule.name) {
                let reason = format!("has the name `{}` twice", rule.name);
                return Err(ConfigError::setting("auth.federation.rules", reason));
            }
            if rule.writes() && writes.access() != Access::Proven {
                let reason = "writes, and `authTypePut` is empty, so nobody can write; `api-token` is \
                              enough there";
                return Err(setting(&rule.name, "permits", reason.to_owned()));
            }
            self.notice_wide(&rule);
            rules.push(rule);
        }
        let audiences = origins(written)?;
        let issuers = issuers_of(further, &rules, &audiences, environment)?;
        is_no_way_to_sign_in(&issuers, reads, writes)?;
        let first = issuers.first().and_then(|issuer| issuer.audiences.first());
        let audience = audiences.first().or(first).cloned().unwrap_or_default();
        self.keep("audience of jobs", (audience.clone(), "`publicUrls`".to_owned()));
        Ok(Some(Settings { audience, issuers, rules }))
    }

    /// Says which rules leave it to everybody who may write to a repository.
    fn notice_wide(&mut self, rule: &Rule) {
        if System::of(&rule.issuer, &rule.claims) == System::Other || !rule.writes() {
            return;
        }
        let mut notice = |what: &str| {
            self.notices
                .push(format!("the rule `{}` of `auth.federation.rules` {what}", rule.name));
        };
        let workflows = &rule.workflow;
        let has_ref =
            |it: &Pattern| it.as_str().split_once('@').is_some_and(|(_, it)| is_narrow(it));
        if !rule.claims.iter().any(is_narrowing)
            && (workflows.is_empty() || !workflows.iter().all(has_ref))
        {
            notice(
                "is about jobs of any branch: name an `environment`, a `ref`, or a `workflow` with the ref \
                 behind it (`release.yml` alone is a file that each branch has as it likes)",
            );
        }
        let is_of_repository = |it: &Expected| {
            let is_named = |it: &Pattern| !it.as_str().starts_with('*');
            REPOSITORIES.contains(&it.claim.as_str()) && it.one_of.iter().all(is_named)
        };
        if !rule.claims.iter().any(is_of_repository) {
            notice(
                "is about jobs of every repository of the owner: name a `repository` or a `project_path`",
            );
        }
    }
}

/// Says whether a claim has to be what not everybody can choose who may write to some branch. An
/// environment that a job names and that is not there is made for it, without any protection.
fn is_narrowing(it: &Expected) -> bool {
    match it.claim.as_str() {
        "environment" => it.one_of.iter().all(Pattern::is_exact),
        "ref_protected" | "environment_protected" => {
            it.one_of.iter().all(|it| it.as_str() == "true")
        }
        claim => NARROWING.contains(&claim) && it.one_of.iter().all(|it| is_narrow(it.as_str())),
    }
}

/// Says whether a pattern leaves nothing open but the end of its last part: `refs/tags/v*`.
fn is_narrow(text: &str) -> bool {
    let last = text.rsplit(['/', ':', '@']).next().unwrap_or(text);
    let before = text.strip_suffix(last).unwrap_or_default();
    !text.contains("**") && !before.contains('*') && !text.ends_with("heads/*")
}

/// Returns the rights that rules give.
pub(super) fn rights(settings: Option<&Settings>) -> Vec<rules::Rule> {
    let mut rights = Vec::new();
    for rule in settings.into_iter().flat_map(|settings| &settings.rules) {
        let mut add = |part: PartOfTool, actions: &[Permission]| {
            rights.push(rules::Rule {
                name: name_in_policy(&rule.name),
                subjects: vec![Who::JobsOf(rule.name.clone())],
                paths: Paths::OfTools(rule.tools.clone(), part),
                actions: actions.to_vec(),
                conditional: false,
            });
        };
        // Whoever publishes looks at what is there.
        add(PartOfTool::Everything, &[Permission::Read, Permission::List]);
        for right in &rule.permits {
            match right {
                Right::Read => {}
                Right::Publish => add(PartOfTool::Versions, &[Permission::Create]),
                Right::Withdraw => add(
                    PartOfTool::Withdrawals,
                    &[Permission::Create, Permission::Replace, Permission::Withdraw],
                ),
            }
        }
    }
    rights
}

fn setting(rule: &str, key: &str, reason: String) -> ConfigError {
    ConfigError::setting(format!("auth.federation.rules.{rule}.{key}"), reason)
}

fn rule(index: usize, written: &WrittenRule) -> Result<Rule, ConfigError> {
    let name = written.name.as_deref().unwrap_or_default().trim();
    if name.is_empty() || name.len() > 100 || name.contains(char::is_control) {
        let key = format!("auth.federation.rules[{index}].name");
        return Err(ConfigError::setting(key, "must have 1 to 100 bytes"));
    }
    let issuer = written.issuer.as_deref().unwrap_or_default().trim();
    if issuer.is_empty() {
        return Err(setting(name, "issuer", "is needed: `github`, `gitlab`, or a URL".to_owned()));
    }
    let named = NAMED.into_iter().find(|(word, _url)| *word == issuer);
    let issuer = named.map_or(issuer, |(_word, url)| url).to_owned();
    let claims = expected(name, &issuer, written)?;
    let permits = permits(name, written)?;
    let tools = tools(name, written, &permits)?;
    let minutes = written.minutes.unwrap_or(MINUTES);
    if !(1..=MOST_MINUTES).contains(&minutes) {
        return Err(setting(name, "minutes", format!("must be 1 to {MOST_MINUTES}")));
    }
    let triggers = written.triggers.clone();
    if triggers.as_ref().is_some_and(|list| list.is_empty() || list.iter().any(String::is_empty)) {
        return Err(setting(name, "triggers", "must name what starts jobs".to_owned()));
    }
    let workflow = match &written.workflow {
        Some(value) => patterns(name, "workflow", value)?,
        None => Vec::new(),
    };
    let replay = replay(name, &issuer, &claims, written)?;
    let life = Duration::from_secs(60 * u64::from(minutes));
    let name = name.to_owned();
    Ok(Rule { name, issuer, claims, workflow, triggers, tools, permits, life, replay })
}

/// Decides what claims must be. Whose jobs they are about must be certain.
fn expected(name: &str, issuer: &str, written: &WrittenRule) -> Result<Vec<Expected>, ConfigError> {
    let mut claims = Vec::new();
    for (claim, value) in written.claims.iter().flatten() {
        let key = format!("claims.{claim}");
        let hint = match claim.as_str() {
            "workflow" => {
                "is what a workflow calls itself; use `workflow` of the rule, which is its file"
            }
            it if TRIGGERS.contains(&it) => "is for `triggers` of the rule",
            it if JUDGED.contains(&it) => "is judged anyway",
            _ => "",
        };
        if !hint.is_empty() {
            return Err(setting(name, &key, hint.to_owned()));
        }
        let one_of = patterns(name, &key, value)?;
        claims.push(Expected { claim: claim.clone(), one_of, names_owner: false });
    }
    if claims.is_empty() {
        let reason = "must say which jobs are meant, or all of the CI system's would be";
        return Err(setting(name, "claims", reason.to_owned()));
    }
    let system = System::of(issuer, &claims);
    let shared = shared::of(issuer).map_or(&[][..], |shared| shared.owners);
    for it in &mut claims {
        let claim = it.claim.as_str();
        it.names_owner = if system == System::Other {
            shared.contains(&claim) && it.one_of.iter().all(Pattern::is_exact)
        } else {
            system.owners().contains(&claim) && it.one_of.iter().all(Pattern::is_number)
        };
    }
    let must = if system == System::Other { shared } else { system.owners() };
    if !must.is_empty() && !claims.iter().any(|it| it.names_owner) {
        let what = if system == System::Other { "exactly" } else { "by its number" };
        let reason = format!(
            "must say {what} whose jobs are meant: one of `{}`. Others could come to have the name, or have \
             it already",
            must.join("`, `")
        );
        return Err(setting(name, "claims", reason));
    }
    // A stranger learns of nothing but whose jobs are meant.
    claims.sort_by_key(|it| !it.names_owner);
    Ok(claims)
}

fn patterns(name: &str, key: &str, value: &ClaimValue) -> Result<Vec<Pattern>, ConfigError> {
    let mut patterns = Vec::new();
    for text in value.texts() {
        let pattern: Pattern =
            text.parse().map_err(|error| setting(name, key, format!("{error}")))?;
        if pattern.is_anything() {
            let reason = format!("is `{pattern}`, which says nothing; leave it out");
            return Err(setting(name, key, reason));
        }
        patterns.push(pattern);
    }
    if patterns.is_empty() {
        return Err(setting(name, key, "must be something that a claim can be".to_owned()));
    }
    Ok(patterns)
}

fn permits(name: &str, written: &WrittenRule) -> Result<Vec<Right>, ConfigError> {
    let mut permits = Vec::new();
    for text in written.permits.iter().flatten() {
        let Some(right) = Right::ALL.into_iter().find(|right| right.as_str() == text) else {
            let nearest = keys::nearest(text, Right::ALL.into_iter().map(Right::as_str));
            let reason = format!("has `{text}`, which is no right; the nearest is `{nearest}`");
            return Err(setting(name, "permits", reason));
        };
        permits.push(right);
    }
    if permits.is_empty() {
        let reason = "must name what is permitted: `read`, `publish`, `withdraw`";
        return Err(setting(name, "permits", reason.to_owned()));
    }
    Ok(permits)
}

fn tools(
    name: &str,
    written: &WrittenRule,
    permits: &[Right],
) -> Result<Vec<Pattern>, ConfigError> {
    let refuse = |reason: String| Err(setting(name, "tools", reason));
    let mut tools = Vec::new();
    for text in written.tools.iter().flatten() {
        // A name of which a part is left open.
        let a_name = text.replace('*', "x");
        if a_name.parse::<ToolName>().is_err() || text.contains("**") {
            return refuse(format!("has `{text}`, which is no name of a tool"));
        }
        if text == brand::PROGRAM {
            return refuse(format!(
                "has `{text}`, and what everybody trusts is published by people"
            ));
        }
        let pattern: Pattern =
            text.parse().map_err(|error| setting(name, "tools", format!("{error}")))?;
        if pattern.is_anything() && permits.iter().any(|right| right.writes()) {
            return refuse(format!("is `{text}`: jobs that write do so for tools with names"));
        }
        tools.push(pattern);
    }
    if tools.is_empty() {
        return refuse("must name the tools that it is about".to_owned());
    }
    Ok(tools)
}

fn replay(
    name: &str,
    issuer: &str,
    claims: &[Expected],
    written: &WrittenRule,
) -> Result<Replay, ConfigError> {
    match (written.replay.as_deref(), &written.job) {
        (None | Some("once"), None) => Ok(Replay::Once),
        (None | Some("once"), Some(_job)) => {
            let reason = "has no effect without `\"replay\": \"until-expiry\"`";
            Err(setting(name, "job", reason.to_owned()))
        }
        (Some("until-expiry"), Some(job)) if job.is_empty() || job.iter().any(String::is_empty) => {
            Err(setting(name, "job", "must name claims".to_owned()))
        }
        (Some("until-expiry"), Some(job)) => Ok(Replay::UntilExpiry { job: job.clone() }),
        (Some("until-expiry"), None) if System::of(issuer, claims) == System::GitLab => {
            Ok(Replay::UntilExpiry { job: vec!["job_id".to_owned()] })
        }
        (Some("until-expiry"), None) => {
            let reason = "must name the claims that together name the job, for `until-expiry`";
            Err(setting(name, "job", reason.to_owned()))
        }
        (Some(other), _) => {
            let nearest = keys::nearest(other, ["once", "until-expiry"].into_iter());
            let reason = format!("is `{other}`, which is none; the nearest is `{nearest}`");
            Err(setting(name, "replay", reason))
        }
    }
}

/// Returns the origins of the URLs by which clients know the server: the audiences of identities.
fn origins(written: &Written) -> Result<Vec<String>, ConfigError> {
    let mut origins: Vec<String> = Vec::new();
    for url in written.public_urls.iter().flatten() {
        let uri: Option<Uri> = url.parse().ok();
        let parts =
            uri.as_ref().and_then(|uri| Some((uri.scheme_str()?, uri.authority()?.as_str())));
        let Some((scheme, authority)) = parts.filter(|(_scheme, it)| !it.contains('@')) else {
            let reason = format!("`{}` is no URL of a server", url.escape_debug());
            return Err(ConfigError::setting("publicUrls", reason));
        };
        let origin = format!("{scheme}://{}", authority.to_ascii_lowercase());
        if !origins.contains(&origin) {
            origins.push(origin);
        }
    }
    Ok(origins)
}

/// Returns the issuers of rules, each with what is written of it.
fn issuers_of(
    further: &[WrittenIssuer],
    rules: &[Rule],
    audiences: &[String],
    environment: &Environment,
) -> Result<Vec<IssuerSettings>, ConfigError> {
    let proxies = Proxies::of(environment)
        .map_err(|(name, bad)| ConfigError::setting(name, bad.to_string()))?;
    let mut issuers: Vec<IssuerSettings> = Vec::new();
    for (index, written) in further.iter().enumerate() {
        let key = format!("auth.federation.issuers[{index}]");
        let issuer = issuer(&key, written, audiences, proxies.clone())?;
        if !rules.iter().any(|rule| rule.issuer == issuer.issuer) {
            return Err(ConfigError::setting(key, "is that of no rule"));
        }
        if issuers.iter().any(|earlier| earlier.issuer == issuer.issuer) {
            let reason = format!("is `{}` a second time", issuer.issuer);
            return Err(ConfigError::setting(format!("{key}.issuerUrl"), reason));
        }
        issuers.push(issuer);
    }
    for rule in rules {
        if issuers.iter().any(|known| known.issuer == rule.issuer) {
            continue;
        }
        let issuer_url = Some(rule.issuer.clone());
        let written = WrittenIssuer { issuer_url, ..WrittenIssuer::default() };
        let key = format!("auth.federation.rules.{}", rule.name);
        issuers.push(issuer(&key, &written, audiences, proxies.clone())?);
    }
    Ok(issuers)
}

fn issuer(
    key: &str,
    written: &WrittenIssuer,
    audiences: &[String],
    proxies: Proxies,
) -> Result<IssuerSettings, ConfigError> {
    let WrittenIssuer {
        issuer_url,
        audience,
        jwks_cache_seconds,
        jwks_uri,
        discovery_url,
        ca_file,
    } = written.clone();
    let options = OidcOptions {
        issuer_url,
        jwks_cache_seconds,
        jwks_uri,
        discovery_url,
        ca_file,
        ..OidcOptions::default()
    };
    let oidc::Place { issuer, keys_at, discovery, keys_fresh, ca_file } =
        oidc::place(key, &options)?;
    let audiences = match audience {
        Some(audience) if audience.trim().is_empty() => {
            return Err(ConfigError::setting(format!("{key}.audience"), "is empty"));
        }
        Some(_audience) if NAMED.iter().any(|(_word, url)| *url == issuer) => {
            let reason = "is for systems that cannot be told the audience; this one can, and an identity \
                          that is for somebody else must not count here";
            return Err(ConfigError::setting(format!("{key}.audience"), reason));
        }
        Some(audience) => vec![audience],
        None if audiences.is_empty() => {
            let reason = "must be there: the identities of jobs are for one of these URLs";
            return Err(ConfigError::setting("publicUrls", reason));
        }
        None => audiences.to_vec(),
    };
    Ok(IssuerSettings {
        issuer,
        audiences,
        username_claim: None,
        required_claims: claims::Required::new(),
        allowed_groups: Vec::new(),
        groups_claim: "groups".to_owned(),
        any_issuer: false,
        keys_fresh,
        keys_at,
        discovery,
        ca_file,
        proxies,
        is_for_all: true,
        is_for_people: false,
        role_mappings: Vec::new(),
    })
}

/// Identities of an issuer that rules are about prove nothing but at the exchange.
fn is_no_way_to_sign_in(
    issuers: &[IssuerSettings],
    reads: &Door,
    writes: &Door,
) -> Result<(), ConfigError> {
    for method in reads.methods().iter().chain(writes.methods()) {
        let Method::Oidc(settings) = method else { continue };
        if settings.any_issuer || issuers.iter().any(|it| it.issuer == settings.issuer) {
            let reason = format!(
                "names jobs of a CI system by which people sign in (`oidc` of `{}`): their identities are \
                 for the exchange alone",
                settings.issuer
            );
            return Err(ConfigError::setting("auth.federation.rules", reason));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
