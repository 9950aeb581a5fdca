//! `reposerver explain SUBJECT METHOD PATH`: what the policy says, and by which rule.

use std::error::Error;
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr};

use dbt_core::clock::Clock;
use dbt_core::repo_path::RepoPath;
use serde_json::{Value, json};

use super::Outcome;
use crate::action::{self, Delete, Read};
use crate::app;
use crate::args::{Explain, Flags};
use crate::authn::federation::Settings;
use crate::authn::federation::rules::{KnownRule, Rule};
use crate::authn::oidc::claims::Claims;
use crate::authn::oidc::roles;
use crate::authn::{BadCredential, Caller, Subject, USER, api_tokens, oidc};
use crate::authz::permission::Permission;
use crate::authz::rules::{Extent, Wish};
use crate::authz::{Guarded as _, Reach};
use crate::config::{Config, Method};
use crate::env::Environment;
use crate::state::{self, Addition};
use crate::tokens::{self, ApiToken};
use crate::users::own_name;

/// Prints a line for each permission that is needed: whether there is it, and why.
pub(super) fn run(
    question: &Explain,
    flags: &Flags,
    environment: &Environment,
    out: &mut dyn Write,
) -> Outcome {
    let config = Config::resolve(flags, environment)?;
    let caller = caller(question, &config)?;
    let (path, directory) = path(&question.path)?;
    let needed = needed(&question.method, directory)?;
    if let Some(why) = refused_to_all(&question.method, &path) {
        let method = question.method.to_ascii_uppercase();
        writeln!(out, "refused: nobody may {method} `/{path}`: {why}")?;
        return Ok(());
    }
    for permission in needed {
        writeln!(out, "{}", decision(&config, &question.subject, &caller, permission, &path))?;
    }
    if let Some(suspended) = suspended(&config, &caller) {
        writeln!(out, "refused all the same: {suspended}")?;
    }
    let roles = config.policy.rules.roles(&caller);
    if !roles.is_empty() {
        writeln!(out, "`{}` holds the roles `{}`", question.subject, roles.join("`, `"))?;
    }
    Ok(())
}

fn decision(
    config: &Config,
    subject: &str,
    caller: &Caller,
    permission: Permission,
    path: &RepoPath,
) -> String {
    // A precondition is the caller's to send, so it is assumed and said.
    let delete = Delete::of(path.clone()).filter(|_delete| permission == Permission::Delete);
    let reach = delete.map_or(Reach::Path, |delete| delete.reach());
    let wish = Wish { permission, path, reach, conditional: true };
    let Some(permitted) = config.policy.rules.permit(caller, &wish) else {
        return format!("refused: no rule permits `{subject}` to `{permission}` `/{path}`");
    };
    let rule = &permitted.rule.name;
    let precondition =
        if permitted.rule.conditional { ", with `If-Match` or `If-None-Match`" } else { "" };
    let only = match permitted.extent {
        Extent::Full => "",
        Extent::Following => ", as long as it follows from what is there",
    };
    format!(
        "allowed: `{subject}` may `{permission}` `/{path}` by the rule \u{201c}{rule}\u{201d}{precondition}{only}"
    )
}

fn caller(question: &Explain, config: &Config) -> Result<Caller, Box<dyn Error>> {
    if question.subject == "anonymous" {
        return Ok(Caller::anonymous());
    }
    if let Some(id) = question.subject.strip_prefix("token:") {
        return bearer(id, config);
    }
    if let Some(name) = question.subject.strip_prefix("rule:") {
        return job(name, config);
    }
    let named = config.names.subject(&question.subject);
    let (subject, addition) = match (named, own_name(&question.subject)) {
        (Ok(subject), _) => {
            let addition = addition(config, &subject.to_string());
            (subject, addition)
        }
        (Err(unknown), own) => {
            let addition = addition(config, &question.subject);
            let name = own.filter(|_name| addition.is_some()).ok_or(unknown)?;
            (Subject::local(USER, name), addition)
        }
    };
    let given = addition.map(|addition| addition.roles).unwrap_or_default();
    let groups: Result<_, _> =
        question.groups.iter().map(|group| config.names.group(group)).collect();
    let scopes = config.names.scopes(&subject).to_vec();
    let claims = claims(&question.claims)?;
    let (mut mapped, mut is_for_all) = (Vec::new(), false);
    for method in config.reads.methods().iter().chain(config.writes.methods()) {
        if let Method::Oidc(settings) = method
            && subject.issuer.as_ref() == Some(&settings.issuer)
        {
            let mut claims = claims.clone();
            add_groups(&mut claims, &question.groups, settings);
            mapped = roles::held(&claims, settings);
            is_for_all = settings.is_for_all;
        }
    }
    let assumed = Caller::assumed(subject, groups?, scopes).assumed_to_hold(mapped, is_for_all);
    Ok(assumed.given(given))
}

/// Reads what an identity provider claims of somebody, as it was typed: several of a name are a list.
fn claims(typed: &[String]) -> Result<Claims, Box<dyn Error>> {
    let mut claims = Claims::new();
    for text in typed {
        let Some((name, value)) = text.split_once('=') else {
            return Err(format!("`{}` is no `NAME=VALUE`", text.escape_debug()).into());
        };
        let values = claims.entry(name).or_insert_with(|| json!([]));
        if let Value::Array(values) = values {
            values.push(json!(value));
        }
    }
    // Whoever asks knows it, and means one that counts.
    claims.entry("email_verified").or_insert(json!(true));
    Ok(claims)
}

/// Adds the groups of which it is said that somebody is in them, without who says so.
fn add_groups(claims: &mut Claims, groups: &[String], settings: &oidc::Settings) {
    if groups.is_empty() {
        return;
    }
    let values = claims.entry(&settings.groups_claim).or_insert_with(|| json!([]));
    for group in groups {
        let name = group.strip_prefix(&format!("{}#", settings.issuer)).unwrap_or(group);
        if let Value::Array(values) = values {
            values.push(json!(name));
        }
    }
}

/// Says who is suspended of those by whom a caller may do something, as far as there is a state to look at.
fn suspended(config: &Config, caller: &Caller) -> Option<String> {
    let subject = caller.subject()?.to_string();
    let connection = super::token::look(config).ok()?;
    let token = caller.token().map(|token| token.id.as_str());
    let known = state::are_users_known(&connection).ok()?;
    let found = known.then(|| state::bar(&connection, &subject, token).ok()).flatten()??;
    Some(super::user::told_bar(&found))
}

/// Returns a job that a rule of trusted publishing is about.
fn job(name: &str, config: &Config) -> Result<Caller, Box<dyn Error>> {
    let Some(rule) = rules(config).find(|rule| rule.name == name) else {
        let names: Vec<&str> = rules(config).map(|rule| rule.name.as_str()).collect();
        return Err(format!("there is no rule `{name}`, but `{}`", names.join("`, `")).into());
    };
    Ok(Caller::job_of(rule))
}

fn rules(config: &Config) -> impl Iterator<Item = &Rule> {
    config.federation.iter().flat_map(|federation| &federation.rules)
}

/// Returns whoever shows one of the server's own tokens, which is only looked at.
fn bearer(id: &str, config: &Config) -> Result<Caller, Box<dyn Error>> {
    let connection = super::token::look(config)?;
    let row = if state::are_tokens_known(&connection)? {
        state::find_token(&connection, id)?
    } else {
        None
    };
    let row = row.ok_or_else(|| super::token::unknown(id))?;
    let (now, here) = (Clock::System.now(), IpAddr::V4(Ipv4Addr::LOCALHOST));
    let refused = |bad: BadCredential| bad.noted().to_owned();
    let longest = config.tokens.longest;
    let identity = api_tokens::judge(&ApiToken::from(row), longest, now).map_err(refused)?;
    let in_force: Vec<KnownRule> =
        config.federation.as_ref().map(Settings::known).unwrap_or_default();
    let identity = tokens::under(identity, |rule| in_force.contains(rule)).map_err(refused)?;
    let subject = identity.subject.to_string();
    let addition = state::addition_of(&connection, &subject)?;
    let added = addition.as_ref().and_then(|_added| own_name(&subject)).map(ToOwned::to_owned);
    let methods = app::signing_in(config, added.into_iter().collect())?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let caller = runtime.block_on(methods.bearer(identity, here, now)).map_err(refused)?;
    let given = addition.filter(|_addition| caller.is_person()).map(|addition| addition.roles);
    Ok(caller.given(given.unwrap_or_default()))
}

/// Says by whom somebody was added, as far as there is a state to look at.
fn addition(config: &Config, subject: &str) -> Option<Addition> {
    let connection = super::token::look(config).ok()?;
    state::addition_of(&connection, subject).ok()?
}

/// Reads a path as it stands in a URL, and whether it is that of a directory.
fn path(text: &str) -> Result<(RepoPath, bool), String> {
    let below = text.strip_prefix('/').ok_or("the path must begin with `/`")?;
    let (below, directory) = match below.strip_suffix('/') {
        Some(below) => (below, true),
        None => (below, below.is_empty()),
    };
    let path = below.parse().map_err(|error| format!("{error}"))?;
    Ok((path, directory))
}

/// Says why a path is refused to everybody, before any rule is asked, if so.
fn refused_to_all(method: &str, path: &RepoPath) -> Option<String> {
    const HIDDEN: &str = "there is nothing that callers could see";
    match method.to_ascii_uppercase().as_str() {
        "GET" | "HEAD" => Read::of(path.clone()).is_none().then(|| HIDDEN.to_owned()),
        "PUT" => action::Write::of(path.clone()).err().map(|error| error.to_string()),
        "DELETE" => match Delete::of(path.clone()) {
            Some(delete) => delete.protected().map(ToOwned::to_owned),
            None => Some(HIDDEN.to_owned()),
        },
        _ => None,
    }
}

/// Returns what a method needs. A write that finds other bytes also needs to replace them.
fn needed(method: &str, directory: bool) -> Result<Vec<Permission>, String> {
    let needed = match method.to_ascii_uppercase().as_str() {
        "GET" | "HEAD" if directory => vec![Permission::List],
        "GET" | "HEAD" => vec![Permission::Read],
        "PUT" => vec![Permission::Create, Permission::Replace],
        "DELETE" => vec![Permission::Delete],
        _ => vec![method.to_ascii_lowercase().parse().map_err(|error| {
            format!("{error}, nor a method; methods are `GET`, `HEAD`, `PUT` and `DELETE`")
        })?],
    };
    Ok(needed)
}
