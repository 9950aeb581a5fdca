//! `reposerver user`: who is known, adding and deleting people, the roles that they are given, and suspending
//! and reactivating them, on the server's machine, beside a running server or without one.

use std::io::Write;
use std::time::SystemTime;

use dbt_core::clock::Clock;
use serde_json::{Value, json};

use super::Outcome;
use super::token::{Host, look};
use crate::action::users::place;
use crate::args::{self, Flags};
use crate::audit;
use crate::audit::chain;
use crate::audit::kept::draft_on_host;
use crate::authn::{HOST, Mode};
use crate::config::Config;
use crate::env::Environment;
use crate::limits;
use crate::state::{self, Addition, Bar, Changed, Claim, PageOfUsers, Suspension, User};
use crate::time;
use crate::tokens::mint::{plain, subject_of_tokens};
use crate::users::{Change, apply, roles_to_be_given, to_be_added, told_change};
use crate::v1;

/// How many people are read at once.
const PAGE: u32 = 1000;

/// Lists, suspends or reactivates.
pub(super) fn run(
    flags: &Flags,
    environment: &Environment,
    action: args::User,
    out: &mut dyn Write,
) -> Outcome {
    match action {
        args::User::List { suspended, json } => {
            list(&Config::resolve(flags, environment)?, suspended, json, out)
        }
        args::User::Show { subject, json } => {
            show(&Config::resolve(flags, environment)?, &subject, json, out)
        }
        args::User::Add { subject, roles } => {
            let host = Host::open(flags, environment)?;
            let admits = host.config.mode.is_none_or(Mode::admits_own_tokens);
            let subject = to_be_added(&host.config.names, admits, &subject)?.to_string();
            let roles = roles_to_be_given(&host.config.policy.rules, roles)?;
            let by = host.caller.subject().map(ToString::to_string).unwrap_or_default();
            change(&host, &subject, &Change::Add { by, roles }, out)
        }
        args::User::Roles { subject, roles } => {
            let host = Host::open(flags, environment)?;
            let subject = subject_of_tokens(&host.config.names, &subject)?;
            let roles = roles_to_be_given(&host.config.policy.rules, roles)?;
            let before = host.state.addition(&subject)?.map(|addition| addition.roles);
            let before = before.unwrap_or_default();
            change(&host, &subject, &Change::Give { before, roles }, out)
        }
        args::User::Remove { subject } => {
            change(&Host::open(flags, environment)?, &subject, &Change::Delete, out)
        }
        args::User::Suspend { subject, reason } => {
            let reason = reason.unwrap_or_default();
            if !reason.is_empty() {
                plain("`--reason`", &reason, v1::REASON_BYTES)?;
            }
            let host = Host::open(flags, environment)?;
            let by = host.caller.subject().map(ToString::to_string).unwrap_or_default();
            change(&host, &subject, &Change::Suspend { by, reason }, out)
        }
        args::User::Reactivate { subject } => {
            change(&Host::open(flags, environment)?, &subject, &Change::Reactivate, out)
        }
    }
}

/// Prints who is known. Nothing is changed for it, also where the server that runs is an earlier version.
fn list(config: &Config, only_suspended: bool, json: bool, out: &mut dyn Write) -> Outcome {
    let mut shown: Vec<Value> = Vec::new();
    for user in all(config)?.into_iter().filter(|it| !only_suspended || it.suspended.is_some()) {
        if json {
            shown.push(v1::shown_user(&user));
        } else {
            writeln!(out, "{}", line(&user))?;
        }
    }
    if json {
        writeln!(out, "{}", json!({ "users": shown }))?;
    }
    Ok(())
}

fn show(config: &Config, text: &str, json: bool, out: &mut dyn Write) -> Outcome {
    let subject = subject_of_tokens(&config.names, text)?;
    let user = all(config)?.into_iter().find(|user| user.subject == subject);
    let user = user.ok_or_else(|| format!("nothing is kept of `{}`", subject.escape_debug()))?;
    if json {
        writeln!(out, "{}", v1::shown_user(&user))?;
    } else {
        writeln!(out, "{}", line(&user))?;
    }
    Ok(())
}

fn all(config: &Config) -> Result<Vec<User>, Box<dyn std::error::Error>> {
    let connection = look(config)?;
    if !state::are_users_known(&connection)? {
        return Ok(Vec::new());
    }
    let (mut users, mut after): (Vec<User>, Option<String>) = (Vec::new(), None);
    loop {
        let page: PageOfUsers = state::page_of_users(&connection, after.as_deref(), PAGE)?;
        users.extend(page.users);
        after = page.next;
        if after.is_none() {
            users.sort_by(|a, b| a.subject.cmp(&b.subject));
            return Ok(users);
        }
    }
}

fn line(user: &User) -> String {
    let seen = user.seen.map_or_else(|| "never".to_owned(), time::rfc_3339);
    let managed = if user.managed { "  in `auth.users`" } else { "" };
    let added = user.added.as_ref().map(|Addition { by, roles }| {
        let roles = if roles.is_empty() { "no roles".to_owned() } else { roles.join(", ") };
        format!("  added by {} with {}", by.escape_debug(), roles.escape_debug())
    });
    let added = added.unwrap_or_default();
    let standing = user.suspended.as_ref().map_or_else(|| "active".to_owned(), told);
    format!("{}  {standing}  seen {seen}{managed}{added}", user.subject.escape_debug())
}

/// Says why nothing is permitted to somebody, or by their token.
pub(super) fn told_bar(bar: &Bar) -> String {
    match bar {
        Bar::Suspended(suspension) => {
            format!("`{}` is {}", suspension.subject.escape_debug(), told(suspension))
        }
        Bar::Disowned { subject, since } => format!(
            "`{}`, who owns the token, was suspended or deleted at {}",
            subject.escape_debug(),
            time::rfc_3339(*since)
        ),
    }
}

/// Says since when somebody is suspended, and by whom.
fn told(suspension: &Suspension) -> String {
    let Suspension { subject: _, since, by, reason } = suspension;
    let why =
        if reason.is_empty() { String::new() } else { format!(" ({})", reason.escape_debug()) };
    format!("suspended since {} by {}{why}", time::rfc_3339(*since), by.escape_debug())
}

/// Changes something of somebody and records it in one step, or neither.
fn change(host: &Host, text: &str, change: &Change, out: &mut dyn Write) -> Outcome {
    let subject = subject_of_tokens(&host.config.names, text)?;
    if subject.split_once(':').is_some_and(|(word, _number)| word == HOST) {
        return Err("whoever is on the server's own machine cannot be suspended".into());
    }
    let action = match change {
        Change::Suspend { .. } => "user.suspend",
        Change::Reactivate => "user.reactivate",
        Change::Add { .. } => "user.add",
        Change::Give { .. } => "user.roles",
        Change::Delete => "user.remove",
    };
    let (effect, told) = (change.effect(), change.told());
    let now: SystemTime = Clock::System.now();
    let path = Some(place(Some(&state::user_id(&subject))).to_string());
    let (who, change) = (subject.clone(), change.clone());
    let done = host.state.write_and_wait(Claim::Reserved, move |transaction| {
        let changed = apply(transaction, &who, &change, now)?;
        let Changed::Done { revoked } = &changed else { return Ok(Err(changed)) };
        let detail = told_change(&who, &told, revoked);
        let outcome = audit::Outcome::Noted { effect, detail: detail.clone() };
        chain::append(transaction, &[draft_on_host(now, action, path.clone(), outcome)])?;
        Ok(Ok(detail))
    })?;
    let name = subject.escape_debug();
    match done {
        Ok(detail) => writeln!(out, "{effect} {detail}")?,
        Err(Changed::Unchanged | Changed::Done { .. }) => {
            writeln!(out, "`{name}` was {effect} before")?;
        }
        Err(Changed::Managed) => return Err(v1::told_managed(&subject).into()),
        Err(Changed::Known) => return Err(format!("`{name}` was added before").into()),
        Err(Changed::Unknown) => {
            return Err(format!("nothing is kept of `{name}` that could be changed").into());
        }
        Err(Changed::Moved) => {
            return Err(format!("the roles of `{name}` were changed meanwhile").into());
        }
        Err(Changed::Full) => {
            let most = limits::ADDED_USERS;
            return Err(format!("{most} people were added, and no more can be").into());
        }
    }
    if host.config.users.iter().any(|user| user.subject.to_string() == subject) {
        writeln!(
            out,
            "warning: `auth.users` names them: what it says counts again when the settings are next read"
        )?;
    }
    Ok(())
}
