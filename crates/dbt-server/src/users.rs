//! People, as far as the server keeps something of them: who has signed in, whom the settings manage, and
//! who is suspended, to whom nothing is permitted that is not everybody's.
//!
//! [`Users::judge`] is the one place that says so. Every request that shows who it is from passes it, after
//! it was proved who that is and before anything is permitted. Who writes or administers is looked up each
//! time; for readers a list counts that is a second old at most.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use dbt_core::clock::Clock;
use rusqlite::Transaction;
use tokio::time::Instant;

use crate::audit::chain::{self, Draft};
use crate::audit::{Outcome, Record};
use crate::authn::{Caller, Scope, Subject, USER, is_method_of_people, ssh};
use crate::authz::rules::Rules;
use crate::config::{Managed, Names};
use crate::limits;
use crate::state::{
    self, Bar, Barred, Changed, Claim, Difference, Reconciled, State, StateError, Suspension,
    Unusable,
};
use crate::tokens::told_revoked;

/// How exactly is kept when somebody was last seen, so that signing in costs no writing.
const SEEN_KEPT_TO: Duration = Duration::from_hours(1);

/// How many roles somebody may be given.
const ROLES: usize = 16;

/// Why a caller of whom it is known who they are is let do nothing.
#[derive(Debug)]
pub enum Unadmitted {
    /// They are suspended, or whoever owns the token that they show.
    Suspended(String),
    /// That could not be found out.
    Away(StateError),
}

/// What to change of somebody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Nothing is to be permitted to them any more, and their tokens are to end.
    Suspend {
        /// Who wants it.
        by: String,
        /// Why, as they say.
        reason: String,
    },
    /// They are to be as others again. What ended stays ended.
    Reactivate,
    /// They are to be known, with these roles.
    Add {
        /// Who wants it.
        by: String,
        /// Which.
        roles: Vec<String>,
    },
    /// Whoever was added is to have these roles and no others that are given so.
    Give {
        /// Those that they have.
        before: Vec<String>,
        /// Those that they are to have.
        roles: Vec<String>,
    },
    /// They are not to be known any more, and their tokens are to end.
    Delete,
}

impl Change {
    /// Returns the word for it in the record.
    pub const fn effect(&self) -> &'static str {
        match self {
            Self::Suspend { .. } => "suspended",
            Self::Reactivate => "reactivated",
            Self::Add { .. } => "added",
            Self::Give { .. } => "given other roles",
            Self::Delete => "deleted",
        }
    }

    /// Returns what the record says of it beside who it is about.
    pub fn told(&self) -> String {
        let named = |roles: &[String]| match roles {
            [] => "no roles".to_owned(),
            roles => format!("roles {}", roles.join(", ")),
        };
        match self {
            Self::Suspend { reason, .. } => reason.clone(),
            Self::Reactivate | Self::Delete => String::new(),
            Self::Add { roles, .. } => named(roles),
            Self::Give { before, roles } => format!("{}; before: {}", named(roles), named(before)),
        }
    }
}

/// Who was seen since that was last written, and when everybody who was seen lately was.
#[derive(Debug, Default)]
struct Seen {
    new: HashMap<String, SystemTime>,
    lately: HashMap<String, SystemTime>,
}

/// The roles that were given, by to whom.
type RolesOf = HashMap<String, Vec<String>>;

/// What is kept of people.
#[derive(Debug)]
pub struct Users {
    state: Result<State, Unusable>,
    /// Whom the settings suspend, where that cannot be written down.
    unwritten: RwLock<HashSet<String>>,
    listed: Mutex<Option<(Instant, HashMap<String, bool>)>>,
    given: Mutex<Option<(Instant, RolesOf)>>,
    seen: Mutex<Seen>,
}

impl Users {
    /// Keeps them in a state, if it can be used.
    pub fn new(state: Result<State, Unusable>) -> Self {
        Self {
            state,
            unwritten: RwLock::default(),
            listed: Mutex::default(),
            given: Mutex::default(),
            seen: Mutex::default(),
        }
    }

    /// Returns the roles that somebody with the right to has given a caller. Programs and jobs have none.
    pub fn roles(&self, caller: &Caller, scope: Scope) -> Result<Vec<String>, Unadmitted> {
        let Some(subject) = caller.subject().filter(|_subject| caller.is_person()) else {
            return Ok(Vec::new());
        };
        let (subject, Ok(state)) = (subject.to_string(), &self.state) else {
            return Ok(Vec::new());
        };
        if scope == Scope::Writes {
            let addition = state.addition(&subject).map_err(Unadmitted::Away)?;
            return Ok(addition.map(|addition| addition.roles).unwrap_or_default());
        }
        let now = Instant::now();
        let mut given = locked(&self.given);
        let is_fresh =
            |then: Instant| now.saturating_duration_since(then) < limits::LISTED_SUSPENSIONS_TIME;
        if let Some((_then, all)) = given.as_ref().filter(|(then, _all)| is_fresh(*then)) {
            return Ok(all.get(&subject).cloned().unwrap_or_default());
        }
        let all = state.given_roles().map_err(Unadmitted::Away)?;
        let roles = all.get(&subject).cloned().unwrap_or_default();
        *given = Some((now, all));
        Ok(roles)
    }

    /// Returns who can be named, with whoever a text names whom somebody has added.
    pub fn names<'a>(
        &self,
        names: &'a Names,
        text: Option<&str>,
    ) -> Result<Cow<'a, Names>, StateError> {
        let (Some(text), Ok(state)) = (text, &self.state) else { return Ok(Cow::Borrowed(names)) };
        Ok(match own_name(text) {
            Some(name) if state.addition(text)?.is_some() => Cow::Owned(names.and_user(name)),
            Some(_) | None => Cow::Borrowed(names),
        })
    }

    /// Says whether something may be permitted to a caller at all: neither to somebody who is suspended,
    /// nor to who shows a token that belongs to somebody who is.
    pub fn judge(&self, caller: &Caller, scope: Scope) -> Result<(), Unadmitted> {
        let Some(subject) = caller.subject() else { return Ok(()) };
        let subject = subject.to_string();
        let unwritten = self.unwritten.read().unwrap_or_else(PoisonError::into_inner);
        if unwritten.contains(&subject) {
            return Err(Unadmitted::Suspended("suspended by the settings".to_owned()));
        }
        drop(unwritten);
        // Nothing is written then, and reading goes on.
        let Ok(state) = &self.state else { return Ok(()) };
        let token = caller.token().map(|token| token.id.as_str());
        if scope == Scope::Reads && self.may_read(state, &subject, token.is_some())? {
            return Ok(());
        }
        match state.bar(&subject, token).map_err(Unadmitted::Away)? {
            None => Ok(()),
            Some(bar) => Err(Unadmitted::Suspended(told(&subject, &bar))),
        }
    }

    /// Says of a reader whether the list alone clears them. Whose a token is only the state knows.
    fn may_read(&self, state: &State, subject: &str, has_token: bool) -> Result<bool, Unadmitted> {
        let now = Instant::now();
        let mut listed = locked(&self.listed);
        let is_fresh =
            |then: Instant| now.saturating_duration_since(then) < limits::LISTED_SUSPENSIONS_TIME;
        if let Some((_then, all)) = listed.as_ref().filter(|(then, _all)| is_fresh(*then)) {
            return Ok(clears(all, subject, has_token));
        }
        let all = state.barred().map_err(Unadmitted::Away)?.into_iter();
        let all: HashMap<String, bool> =
            all.map(|Barred { subject, suspended }| (subject, suspended)).collect();
        let is_clear = clears(&all, subject, has_token);
        *listed = Some((now, all));
        Ok(is_clear)
    }

    /// Returns how many people are suspended, where that is known.
    pub fn suspended(&self) -> Option<usize> {
        let unwritten = self.unwritten.read().unwrap_or_else(PoisonError::into_inner).clone();
        let barred = match &self.state {
            Ok(state) => state.barred().ok()?,
            Err(_unusable) => Vec::new(),
        };
        let kept = barred.into_iter().filter(|it| it.suspended).map(|it| it.subject);
        Some(kept.chain(unwritten).collect::<HashSet<String>>().len())
    }

    /// Notes that somebody signed in, if that is not known to the hour. Programs and jobs are not people.
    pub fn note_seen(&self, caller: &Caller, now: SystemTime) {
        let Some(subject) = caller.subject().filter(|it| it.method != USER && caller.is_person())
        else {
            return;
        };
        if self.state.is_err() {
            return;
        }
        let mut seen = locked(&self.seen);
        let is_known =
            |then: &SystemTime| now.duration_since(*then).is_ok_and(|since| since < SEEN_KEPT_TO);
        let subject = subject.to_string();
        if seen.lately.get(&subject).is_some_and(is_known) {
            return;
        }
        if seen.lately.len() >= limits::USERS as usize {
            seen.lately.clear();
        }
        seen.lately.insert(subject.clone(), now);
        if seen.new.len() < limits::USERS as usize {
            seen.new.insert(subject, now);
        }
    }

    /// Writes who was seen, all together.
    pub async fn keep_seen(&self) {
        let seen: Vec<_> = std::mem::take(&mut locked(&self.seen).new).into_iter().collect();
        let Ok(state) = &self.state else { return };
        if seen.is_empty() {
            return;
        }
        if let Err(error) = state.users_seen(seen).await {
            tracing::warn!(%error, "who signed in could not be kept");
        }
    }

    /// Changes something of somebody. It counts when this returns.
    pub async fn change(
        &self,
        subject: String,
        change: Change,
        clock: Clock,
    ) -> Result<Changed, StateError> {
        let state = self.state.as_ref().map_err(failed)?;
        let work = move |it: &Transaction<'_>| apply(it, &subject, &change, clock.now());
        let changed = state.write(Claim::Reserved, work).await;
        // Whoever reads need not wait until the lists are read again.
        *locked(&self.listed) = None;
        *locked(&self.given) = None;
        changed
    }

    /// Gives a token that counts another owner; says whether there is one.
    pub async fn own(
        &self,
        token: String,
        owner: String,
        clock: Clock,
    ) -> Result<bool, StateError> {
        let state = self.state.as_ref().map_err(failed)?;
        let work = move |it: &Transaction<'_>| state::own_token(it, &token, &owner, clock.now());
        state.write(Claim::Reserved, work).await
    }

    /// Makes of those whom the settings manage what these say, and records it in the same step; returns what
    /// an administrator should know. A server that writes nothing goes by the settings alone.
    pub fn reconcile(
        &self,
        managed: &[Managed],
        writes: bool,
        now: SystemTime,
    ) -> Result<Vec<String>, StateError> {
        let names: Vec<(String, bool)> =
            managed.iter().map(|user| (user.subject.to_string(), user.suspended)).collect();
        let (Ok(state), true) = (&self.state, writes) else {
            let suspended = names.into_iter().filter(|(_subject, suspended)| *suspended);
            *self.unwritten.write().unwrap_or_else(PoisonError::into_inner) =
                suspended.map(|(subject, _suspended)| subject).collect();
            return Ok(Vec::new());
        };
        let changes = state.write_and_wait(Claim::Reserved, move |transaction| {
            let changes = state::reconcile_users(transaction, &names, now)?;
            let drafts: Vec<Draft> = changes.iter().map(|change| draft(change, now)).collect();
            if !drafts.is_empty() {
                chain::append(transaction, &drafts)?;
            }
            Ok(changes)
        })?;
        *locked(&self.listed) = None;
        *locked(&self.given) = None;
        Ok(changes.iter().filter_map(notice).collect())
    }
}

/// Changes something of somebody, in a step with others.
pub(crate) fn apply(
    transaction: &Transaction<'_>,
    subject: &str,
    change: &Change,
    now: SystemTime,
) -> rusqlite::Result<Changed> {
    match change {
        Change::Suspend { by, reason } => {
            state::suspend_user(transaction, subject, by, reason, now)
        }
        Change::Reactivate => state::reactivate_user(transaction, subject, now),
        Change::Add { by, roles } => state::add_user(transaction, subject, by, roles, now),
        Change::Give { before, roles } => state::give_roles(transaction, subject, before, roles),
        Change::Delete => state::delete_user(transaction, subject, now),
    }
}

/// Returns the name of whoever has nothing but tokens of this server's own, if a text is of one.
pub(crate) fn own_name(text: &str) -> Option<&str> {
    text.strip_prefix(USER)?.strip_prefix(':')
}

/// Returns who is to be added, or why they cannot be. A bare name could be several people's.
pub(crate) fn to_be_added(
    names: &Names,
    admits_own_tokens: bool,
    text: &str,
) -> Result<Subject, String> {
    if let Some(name) = own_name(text) {
        if !ssh::is_user_name(name) {
            return Err("a `user:` is called with 1 to 64 letters, digits and `._@-`".to_owned());
        }
        if !admits_own_tokens {
            return Err("a `user:` has nothing but tokens of this server's own, and `auth.mode` \
                 admits none of people"
                .to_owned());
        }
        return Ok(Subject::local(USER, name));
    }
    if !text.contains(':') {
        let name = text.escape_debug();
        return Err(format!(
            "say how `{name}` signs in: `user:{name}` has nothing but tokens of this server's own"
        ));
    }
    let subject = names.subject(text)?;
    if !is_method_of_people(subject.method) {
        let text = text.escape_debug();
        return Err(format!("`{text}` is a program; what it may is said when its token is made"));
    }
    Ok(subject)
}

/// Returns roles that are to be given, each once, or says what is wrong with them.
pub(crate) fn roles_to_be_given(known: &Rules, roles: Vec<String>) -> Result<Vec<String>, String> {
    let mut given: Vec<String> = Vec::new();
    for role in roles {
        if !known.know_role(&role) {
            return Err(format!("there is no role `{}`", role.escape_debug()));
        }
        if !given.contains(&role) {
            given.push(role);
        }
    }
    if given.len() > ROLES {
        return Err(format!("nobody is given more than {ROLES} roles"));
    }
    given.sort();
    Ok(given)
}

/// Says whether a list of those who are or were suspended leaves nothing to be looked up.
fn clears(all: &HashMap<String, bool>, subject: &str, has_token: bool) -> bool {
    all.is_empty() || !has_token && !all.get(subject).copied().unwrap_or_default()
}

/// Says to whoever is refused, and for the record, who is suspended.
fn told(subject: &str, bar: &Bar) -> String {
    let (owner, is) = match bar {
        Bar::Suspended(Suspension { subject: it, .. }) if it == subject => {
            return format!("`{}` is suspended", subject.escape_debug());
        }
        Bar::Suspended(Suspension { subject, .. }) => (subject, "is suspended"),
        Bar::Disowned { subject, since: _ } => (subject, "was suspended or deleted"),
    };
    let owner = owner.escape_debug();
    format!("`{owner}` {is}, who owns the token; an administrator can take it over")
}

/// Says for the record, and to whoever wanted it, what was changed of somebody.
pub(crate) fn told_change(subject: &str, reason: &str, revoked: &[String]) -> String {
    let mut what = format!("`{}`", subject.escape_debug());
    if !reason.is_empty() {
        what.extend([" (", &reason.escape_debug().to_string(), ")"]);
    }
    if !revoked.is_empty() {
        what.push_str("; tokens revoked");
    }
    told_revoked(&what, revoked, &[], false)
}

/// Returns the record of something that the settings changed.
fn draft(change: &Reconciled, now: SystemTime) -> Draft {
    let Reconciled { subject, what, revoked } = change;
    let detail = format!("{} (by the settings)", told_change(subject, "", revoked));
    Draft::of(&Record {
        time: now,
        origin: None,
        actor: None,
        rule: None,
        action: "user",
        path: None,
        attempt: None,
        outcome: Outcome::Noted { effect: what.as_str(), detail },
    })
}

/// Says what of it an administrator may not expect.
fn notice(change: &Reconciled) -> Option<String> {
    let Reconciled { subject, what, revoked } = change;
    let who = subject.escape_debug();
    Some(match what {
        Difference::Added => return None,
        Difference::Suspended => {
            format!("`auth.users` suspends `{who}`; {} of their tokens are revoked", revoked.len())
        }
        Difference::Reactivated => format!(
            "`{who}` was suspended and is not any more: `auth.users` does not say so, and the settings win"
        ),
        Difference::Removed => format!(
            "`{who}` is not in `auth.users` any more and was deleted; {} of their tokens are revoked",
            revoked.len()
        ),
        Difference::Claimed => format!(
            "`{who}` was added otherwise: `auth.users` names them now, and the roles that were given to \
             them end"
        ),
        Difference::Released => format!(
            "`{who}` is not in `auth.users` any more, and stays suspended, as it was done otherwise"
        ),
    })
}

fn failed(unusable: &Unusable) -> StateError {
    StateError::Failed { reason: unusable.to_string() }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Every change is one step.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
