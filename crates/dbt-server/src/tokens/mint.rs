//! Making tokens: who may make which. Nobody hands on more than they have, administrators aside, who
//! have everything.

use std::time::{Duration, SystemTime};

use serde::Deserialize;

use super::text::{self, Form};
use super::{About, ApiToken, KeptCeiling, NewToken, Settings, USUAL_LIFE};
use crate::authn::api_tokens::is_whole_name;
use crate::authn::{AGENT, Caller, Group, Proof, Subject};
use crate::authz::Policy;
use crate::authz::ceiling::Ceiling;
use crate::authz::permission::Permission;
use crate::authz::rules::ADMIN;
use crate::config::Names;
use crate::state::Making;
use crate::time;

/// The name of the agent whose tokens `admin bootstrap` makes.
pub const BOOTSTRAP: &str = "bootstrap";

/// How long such a token counts: long enough to carry it to another machine by hand.
const BOOTSTRAP_LIFE: Duration = Duration::from_mins(15);

/// The longest name of a token.
const NAME_LENGTH: usize = 100;

/// The most bytes of a subject, a role, a path or a group.
const TEXT_BYTES: usize = 512;

/// The most of each list of a token.
const LIST: usize = 16;

/// The most ceilings that a token may have from those before it.
const DEPTH: usize = 8;

/// The most bytes of what is kept of a token beside its names: what is made with it is narrowed by all
/// that narrows it.
const ABOUT_BYTES: usize = 4096;

/// The longest life that can be written: a hundred years.
const LONGEST: Duration = Duration::from_hours(100 * 365 * 24);

/// The longest life that somebody gives a token who does not manage them, where the settings say
/// nothing: a sign-in of minutes must not become one for good.
const LONGEST_OF_OWN: Duration = Duration::from_hours(366 * 24);

/// What is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Wanted {
    /// What to call it.
    pub name: String,
    /// Whose it is: `agent:ci`, `ssh:alice`; without it, the caller's.
    pub subject: Option<String>,
    /// A user's rights are narrowed to those of these roles; an agent holds them.
    #[serde(default)]
    pub roles: Vec<String>,
    /// Where it counts; everywhere, if there are none.
    #[serde(default)]
    pub paths: Vec<String>,
    /// Groups that an agent is in.
    #[serde(default)]
    pub groups: Vec<String>,
    /// For how many seconds it counts.
    pub expires_in: Option<u64>,
    /// Whether it counts until it is revoked.
    #[serde(default)]
    pub no_expiry: bool,
}

/// Somebody who makes a token.
#[derive(Clone, Copy, Debug)]
pub struct Minter<'a> {
    /// Who.
    pub caller: &'a Caller,
    /// Whether they may make tokens for others.
    pub manages: bool,
    /// Who may do what.
    pub policy: &'a Policy,
    /// Who can be named.
    pub names: &'a Names,
    /// How long and how many.
    pub settings: Settings,
    /// When.
    pub now: SystemTime,
}

/// Why a token is not made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// What is asked for makes no sense.
    #[error("{0}")]
    Wrong(String),
    /// It is more than the caller may hand on.
    #[error("{0}")]
    Beyond(String),
}

/// Checks a text that people will see: in lists, in the record, on a terminal.
pub fn plain(what: &str, text: &str, most: usize) -> Result<(), Refusal> {
    if text.trim().is_empty() || text.len() > most || text.chars().any(char::is_control) {
        return wrong(format!("{what} must have 1 to {most} bytes and no control characters"));
    }
    if text::has_token(text) {
        return wrong(format!("{what} is a name that everybody may see, and no token"));
    }
    Ok(())
}

/// Returns a subject whose tokens are asked for, as they name it. Whoever the settings do not know any
/// more has tokens by the whole name they had; a bare one must be somebody's.
pub fn subject_of_tokens(names: &Names, text: &str) -> Result<String, Refusal> {
    subject_is_plain(text)?;
    match names.subject(text) {
        Ok(subject) => Ok(subject.to_string()),
        Err(_unknown) if is_whole_name(text) => Ok(text.to_owned()),
        Err(why) => wrong(why),
    }
}

fn subject_is_plain(text: &str) -> Result<(), Refusal> {
    plain("a subject", text, TEXT_BYTES)?;
    if text::form(text) != Form::Other {
        return wrong("a subject is somebody's name, and no token".to_owned());
    }
    Ok(())
}

impl Minter<'_> {
    /// Decides what a token is that somebody asks for, or why there is none.
    pub fn decide(&self, id: String, wanted: &Wanted) -> Result<NewToken, Refusal> {
        let Wanted { name, roles, paths, .. } = wanted;
        plain("`name`", name, NAME_LENGTH)?;
        for (what, list) in [("a role", roles), ("a path", paths), ("a group", &wanted.groups)] {
            if list.len() > LIST {
                return wrong(format!("a list has more than {LIST} members"));
            }
            list.iter().try_for_each(|text| plain(what, text, TEXT_BYTES))?;
        }
        self.is_nobody_for_minutes()?;
        let subject = self.subject(wanted)?;
        let roles = self.roles(&subject, roles)?;
        let groups = self.groups(&subject, &wanted.groups)?;
        let own = Ceiling {
            roles: roles.clone(),
            paths: paths
                .iter()
                .map(|text| text.parse().map_err(|error| Refusal::Wrong(format!("{error}"))))
                .collect::<Result<_, _>>()?,
        };
        let with = self.caller.token();
        let spending = with.is_some_and(|token| token.once);
        let mut proven: Vec<Proof> = Vec::new();
        for proof in self.caller.proofs().iter().filter(|_proof| self.is_own(&subject)) {
            if !proven.contains(proof) {
                proven.push(proof.clone());
            }
        }
        let created_by = self.caller.subject().map(ToString::to_string).unwrap_or_default();
        // What a token for one use makes stands on its own: it is what that was made for.
        let parent = with.filter(|token| !token.once);
        let name_of_subject = subject.to_string();
        let about = About {
            name: name.trim().to_owned(),
            beginning: String::new(),
            method: subject.method.to_owned(),
            issuer: subject.issuer,
            of: subject.id,
            roles,
            groups: groups.into_iter().map(|group| (group.issuer, group.name)).collect(),
            ceilings: self.ceilings(own)?,
            proven,
            once: false,
            exchanged: None,
        };
        if about.text().len() > ABOUT_BYTES {
            return wrong(format!(
                "roles, paths and groups, with those that narrow what it is made with, would take more \
                 than {ABOUT_BYTES} bytes"
            ));
        }
        let token = ApiToken {
            id,
            subject: name_of_subject,
            origin: parent.map_or_else(|| created_by.clone(), |token| token.origin.clone()),
            created_by,
            made_with: parent.map(|token| token.id.clone()),
            created: time::whole_seconds(self.now),
            expires: self.expiry(wanted)?,
            used: None,
            ended: None,
            about: Some(about),
        };
        let with = with.map(|token| token.id.clone());
        let making = Making { each: self.settings.each, with, spending, alone: false };
        Ok(NewToken { token, making })
    }

    /// Refuses those to whom an identity provider gives another identity whenever they run. Most jobs do
    /// not say in their claims that they are some, so that providers of people have to be named.
    fn is_nobody_for_minutes(&self) -> Result<(), Refusal> {
        if self.caller.job().is_some() || self.caller.is_job() {
            return beyond(
                "a job has its own identity for as long as it runs, and makes no tokens".to_owned(),
            );
        }
        match self.caller.subject().and_then(|subject| self.names.issuer_of_no_people(subject)) {
            Some(issuer) => beyond(format!(
                "whom `{}` vouches for makes no tokens: it is not marked with `forPeople`",
                issuer.escape_debug()
            )),
            None => Ok(()),
        }
    }

    fn is_administrator(&self) -> bool {
        self.policy.is_administrator(self.caller)
    }

    fn is_own(&self, subject: &Subject) -> bool {
        self.caller.subject() == Some(subject)
    }

    fn subject(&self, wanted: &Wanted) -> Result<Subject, Refusal> {
        let subject = match &wanted.subject {
            Some(text) => {
                subject_is_plain(text)?;
                self.names.subject(text).map_err(Refusal::Wrong)?
            }
            None => match self.caller.subject().filter(|_it| !self.caller.is_on_the_host()) {
                Some(own) => own.clone(),
                None => return wrong("`subject` must say whose it is: `agent:NAME`".to_owned()),
            },
        };
        if subject.method == AGENT && subject.id == BOOTSTRAP {
            return wrong(format!("`{subject}` has tokens of `admin bootstrap` alone"));
        }
        if !self.is_own(&subject) && !self.manages {
            return beyond(format!(
                "a token for `{}` takes the permission `{}`",
                subject.to_string().escape_debug(),
                Permission::TokenManage
            ));
        }
        Ok(subject)
    }

    /// Decides on the roles. An agent gets them by the token, so that they must be the maker's;
    /// those of a user only narrow what the settings give.
    fn roles(&self, subject: &Subject, wanted: &[String]) -> Result<Vec<String>, Refusal> {
        if let Some(unknown) = wanted.iter().find(|role| !self.policy.rules.know_role(role)) {
            return wrong(format!("there is no role `{}`", unknown.escape_debug()));
        }
        let is_own = self.is_own(subject);
        let mut roles = wanted.to_vec();
        if roles.is_empty() && is_own && subject.method == AGENT {
            roles = self.caller.roles_of_token().to_vec();
        }
        if self.is_administrator() || (is_own && subject.method != AGENT) {
            return Ok(roles);
        }
        if roles.is_empty() {
            return beyond(format!(
                "without `roles` the token would have all the rights of `{}`, which only an \
                 administrator hands on",
                subject.to_string().escape_debug()
            ));
        }
        let held = self.policy.rules.roles(self.caller);
        match roles.iter().find(|role| !held.contains(&role.as_str())) {
            Some(role) => beyond(format!("you do not hold the role `{role}`")),
            None => Ok(roles),
        }
    }

    /// Decides on the groups. Somebody who can sign in otherwise has those that they are in then; what a
    /// token says would be true for longer than they are.
    fn groups(&self, subject: &Subject, wanted: &[String]) -> Result<Vec<Group>, Refusal> {
        let groups: Result<Vec<Group>, String> =
            wanted.iter().map(|text| self.names.group(text)).collect();
        let groups = groups.map_err(Refusal::Wrong)?;
        if !groups.is_empty() && subject.method != AGENT {
            return wrong("only an agent's token has `groups`".to_owned());
        }
        if !groups.is_empty() && !self.is_administrator() {
            return beyond("only an administrator puts an agent into a group".to_owned());
        }
        Ok(groups)
    }

    /// Returns all that narrows the token: what was asked for, and what narrows whoever makes it.
    fn ceilings(&self, own: Ceiling) -> Result<Vec<KeptCeiling>, Refusal> {
        let inherited = if self.is_administrator() { &[] } else { self.caller.ceilings() };
        let mut ceilings: Vec<KeptCeiling> = inherited.iter().map(KeptCeiling::from).collect();
        let own = if own.is_none() { None } else { Some(KeptCeiling::from(&own)) };
        ceilings.extend(own.filter(|own| !ceilings.contains(own)));
        if ceilings.len() > DEPTH {
            return beyond(format!("it would be narrowed by more than {DEPTH} tokens before it"));
        }
        Ok(ceilings)
    }

    /// Decides until when it counts. One that is made with another ends no later than that, unless that
    /// is an administrator's: theirs are short, and what they make with them is meant to stay.
    fn expiry(&self, wanted: &Wanted) -> Result<Option<SystemTime>, Refusal> {
        let Settings { longest, .. } = self.settings;
        let longest = longest.or((!self.manages).then_some(LONGEST_OF_OWN));
        let too_long = |longest: Duration| {
            let days = longest.as_secs() / (24 * 60 * 60);
            wrong(format!("such tokens count for {days} days at most here"))
        };
        let life = match (wanted.no_expiry, wanted.expires_in.map(Duration::from_secs), longest) {
            (true, Some(_life), _) => {
                return wrong("`noExpiry` and `expiresIn` contradict each other".to_owned());
            }
            (true, None, Some(longest)) => return too_long(longest),
            (true, None, None) => None,
            (false, Some(life), _) if life.is_zero() || life > LONGEST => {
                return wrong("`expiresIn` is no number of seconds to come".to_owned());
            }
            (false, Some(life), Some(longest)) if life > longest => return too_long(longest),
            (false, Some(life), _) => Some(life),
            (false, None, longest) => {
                Some(longest.map_or(USUAL_LIFE, |longest| longest.min(USUAL_LIFE)))
            }
        };
        let expires = life.map(|life| time::whole_seconds(self.now) + life);
        let with = self.caller.token().filter(|_token| !self.is_administrator());
        let Some(end) = with.and_then(|token| token.expires) else { return Ok(expires) };
        let is_asked_for = wanted.no_expiry || wanted.expires_in.is_some();
        if is_asked_for && expires.is_none_or(|expires| expires > end) {
            return beyond("it would outlive the token that it is made with".to_owned());
        }
        Ok(Some(expires.map_or(end, |expires| expires.min(end))))
    }
}

/// Decides on a token with which an administrator makes the first of their own. It makes one token and
/// does nothing else: a request that was refused does not end it, so that nobody is locked out by a
/// slip, and who finds it used knows that somebody else had it. Another one ends it.
pub fn bootstrap(id: String, by: &Caller, now: SystemTime) -> NewToken {
    let created_by = by.subject().map(ToString::to_string).unwrap_or_default();
    let created = time::whole_seconds(now);
    let token = ApiToken {
        id,
        subject: Subject::local(AGENT, BOOTSTRAP).to_string(),
        origin: created_by.clone(),
        created_by,
        made_with: None,
        created,
        expires: Some(created + BOOTSTRAP_LIFE),
        used: None,
        ended: None,
        about: Some(About {
            name: BOOTSTRAP.to_owned(),
            method: AGENT.to_owned(),
            of: BOOTSTRAP.to_owned(),
            roles: vec![ADMIN.to_owned()],
            once: true,
            ..About::default()
        }),
    };
    NewToken { token, making: Making { each: 1, with: None, spending: false, alone: true } }
}

fn wrong<T>(what: String) -> Result<T, Refusal> {
    Err(Refusal::Wrong(what))
}

fn beyond<T>(what: String) -> Result<T, Refusal> {
    Err(Refusal::Beyond(what))
}

#[cfg(test)]
mod tests;
