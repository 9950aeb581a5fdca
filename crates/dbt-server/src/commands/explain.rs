//! `reposerver explain SUBJECT METHOD PATH`: what the policy says, and by which rule.

use std::io::Write;

use dbt_core::repo_path::RepoPath;

use super::Outcome;
use crate::args::{Explain, Flags};
use crate::authn::Caller;
use crate::authz::permission::Permission;
use crate::authz::rules::Extent;
use crate::config::Config;
use crate::env::Environment;

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
    for permission in needed(&question.method, directory)? {
        writeln!(out, "{}", decision(&config, &question.subject, &caller, permission, &path))?;
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
    let Some(permitted) = config.policy.rules.permit(caller, permission, path) else {
        return format!("refused: no rule permits `{subject}` to `{permission}` `/{path}`");
    };
    let rule = &permitted.rule.name;
    let only = match permitted.extent {
        Extent::Full => "",
        Extent::Following => ", as long as it follows from what is there",
    };
    format!(
        "allowed: `{subject}` may `{permission}` `/{path}` by the rule \u{201c}{rule}\u{201d}{only}"
    )
}

fn caller(question: &Explain, config: &Config) -> Result<Caller, String> {
    if question.subject == "anonymous" {
        return Ok(Caller::anonymous());
    }
    let subject = config.names.subject(&question.subject)?;
    let groups: Result<_, _> =
        question.groups.iter().map(|group| config.names.group(group)).collect();
    let scopes = config.names.scopes(&subject).to_vec();
    Ok(Caller::assumed(subject, groups?, scopes))
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
