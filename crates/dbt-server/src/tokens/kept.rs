//! A token as it is kept, without its text, which nobody knows but its owner.

use std::time::{Duration, SystemTime};

use dbt_core::secret::Secret;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::text;
use crate::authn::federation::rules::KnownRule;
use crate::authn::{AGENT, Group, Job, Proof, federation, static_token};
use crate::authz::ceiling::Ceiling;
use crate::state::{Ending, Making, Row};
use crate::time;

/// How many characters of what limits a token are told in a line.
const TOLD: usize = 1000;

/// A token, without its text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiToken {
    /// By what people and the record know it.
    pub id: String,
    /// Whose it is, as rules name them.
    pub subject: String,
    /// Who made it.
    pub created_by: String,
    /// Who made the first of the tokens that lead to it, without showing one.
    pub origin: String,
    /// The token that it was made with and is revoked with.
    pub made_with: Option<String>,
    /// When it was made.
    pub created: SystemTime,
    /// Until when it counts, if not for ever.
    pub expires: Option<SystemTime>,
    /// When it was last used, to the minute.
    pub used: Option<SystemTime>,
    /// When and how it ended before its time.
    pub ended: Option<(SystemTime, Ending)>,
    /// What was decided when it was made; nothing where that cannot be read.
    pub about: Option<About>,
}

/// What is decided when a token is made, and never changes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct About {
    /// What its maker calls it.
    pub name: String,
    /// How its text begins.
    pub beginning: String,
    /// The word for how its subject signs in.
    pub method: String,
    /// Who vouches for the subject's name, where the method knows several.
    pub issuer: Option<String>,
    /// The subject's name.
    pub of: String,
    /// The roles that were asked for: a user's rights are narrowed to them, an agent holds them.
    pub roles: Vec<String>,
    /// The groups that an agent is in.
    pub groups: Vec<(String, String)>,
    /// What narrows it, all of it.
    pub ceilings: Vec<KeptCeiling>,
    /// What its subject proved when they made it for themselves.
    pub proven: Vec<Proof>,
    /// Whether the first token that is made with it ends it.
    pub once: bool,
    /// What a job got it by, where it is one's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exchanged: Option<Exchanged>,
}

/// By what a job got a token.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Exchanged {
    /// The rules, of which it has the rights as long as they are the very same.
    pub rules: Vec<KnownRule>,
    /// Which job, if its identity says that.
    pub job: Option<Job>,
}

/// A ceiling as it is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct KeptCeiling {
    /// See [`Ceiling`].
    pub roles: Vec<String>,
    /// See [`Ceiling`].
    pub paths: Vec<String>,
}

impl About {
    /// Says whether its subject is a program and no person.
    pub fn is_of_agent(&self) -> bool {
        [AGENT, static_token::NAME, federation::WORD].contains(&self.method.as_str())
    }

    /// Returns what is kept. It is made of texts alone.
    pub fn text(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Returns what narrows it; nothing where what was kept cannot be read, so that it is not taken
    /// for a token without ceilings.
    pub fn ceilings(&self) -> Option<Vec<Ceiling>> {
        self.ceilings.iter().map(KeptCeiling::read).collect()
    }

    /// Returns the groups that an agent is in.
    pub fn groups(&self) -> Vec<Group> {
        let group = |(issuer, name): &(String, String)| Group {
            issuer: issuer.clone(),
            name: name.clone(),
        };
        self.groups.iter().map(group).collect()
    }
}

impl From<&Ceiling> for KeptCeiling {
    fn from(ceiling: &Ceiling) -> Self {
        Self {
            roles: ceiling.roles.clone(),
            paths: ceiling.paths.iter().map(ToString::to_string).collect(),
        }
    }
}

impl KeptCeiling {
    fn read(&self) -> Option<Ceiling> {
        Some(Ceiling {
            roles: self.roles.clone(),
            paths: self.paths.iter().map(|text| text.parse().ok()).collect::<Option<_>>()?,
        })
    }
}

impl From<Row> for ApiToken {
    fn from(row: Row) -> Self {
        let about = serde_json::from_str(&row.about).ok();
        let Row { id, digest: _, subject, created_by, origin, made_with, .. } = row;
        let Row { created, expires, used, ended, .. } = row;
        Self { id, subject, created_by, origin, made_with, created, expires, used, ended, about }
    }
}

impl ApiToken {
    /// Returns when it ends by itself, where none counts for longer than `longest`.
    pub fn expires_within(&self, longest: Option<Duration>) -> Option<SystemTime> {
        let at_most = longest.and_then(|longest| self.created.checked_add(longest));
        self.expires.into_iter().chain(at_most).min()
    }

    /// Returns the row that is kept of it where this is its text.
    pub(super) fn row(&self, text: &Secret<String>) -> Row {
        let Self { id, subject, created_by, origin, made_with, .. } = self.clone();
        let Self { created, expires, used, ended, about, .. } = self.clone();
        let digest = text::digest(text);
        let about = about.as_ref().map(About::text).unwrap_or_default();
        Row {
            id,
            digest,
            subject,
            created_by,
            origin,
            made_with,
            about,
            created,
            expires,
            used,
            ended,
        }
    }

    /// Returns the word for how it is now.
    pub fn standing(&self, now: SystemTime) -> &'static str {
        match self.ended {
            Some((_when, ending)) => ending.as_str(),
            None if self.expires.is_some_and(|expires| expires <= now) => "expired",
            None if self.about.is_none() => "unreadable",
            None => "active",
        }
    }

    /// Says for the record, and on a terminal, what it is: of much, how it begins.
    pub fn told(&self) -> String {
        let subject = self.subject.escape_debug();
        let Some(About { name, roles, ceilings, groups, exchanged, .. }) = &self.about else {
            return format!("what cannot be read, for `{subject}`");
        };
        let end = match self.expires {
            Some(expires) => format!("until {}", time::rfc_3339(expires)),
            None => "for ever".to_owned(),
        };
        let groups: Vec<String> = groups.iter().map(|(from, it)| format!("{from}#{it}")).collect();
        let rules = exchanged.iter().flat_map(|it| it.rules.iter().map(|rule| rule.name.clone()));
        let rules: Vec<String> = rules.collect();
        let lists = [("roles", roles), ("groups", &groups), ("by the rules", &rules)].into_iter();
        let lists = lists.chain(ceilings.iter().map(|ceiling| ("within", &ceiling.paths)));
        let mut more = String::new();
        for (what, texts) in lists.filter(|(_what, texts)| !texts.is_empty()) {
            more.extend([", ", what, " `", &texts.join("`, `"), "`"]);
        }
        let mut more = more.escape_debug();
        let mut shown: String = more.by_ref().take(TOLD).collect();
        if more.next().is_some() {
            shown.push('…');
        }
        format!("`{}` for `{subject}`{shown}, {end}", name.escape_debug())
    }

    /// Returns what may be shown of it.
    pub fn shown(&self, now: SystemTime) -> Value {
        let about = self.about.clone().unwrap_or_default();
        let time = |time: Option<SystemTime>| time.map(time::rfc_3339);
        let groups: Vec<String> =
            about.groups.iter().map(|(issuer, name)| format!("{issuer}#{name}")).collect();
        let by = about.exchanged.iter().flat_map(|it| it.rules.iter().map(|rule| &rule.name));
        json!({
            "id": self.id,
            "prefix": about.beginning,
            "name": about.name,
            "subject": self.subject,
            "subjectType": if about.is_of_agent() { "agent" } else { "user" },
            "roles": about.roles,
            "groups": groups,
            "within": about.ceilings,
            "rules": by.collect::<Vec<_>>(),
            "createdBy": self.created_by,
            "madeWith": self.made_with,
            "created": time::rfc_3339(self.created),
            "expires": time(self.expires),
            "lastUsed": time(self.used),
            "ended": time(self.ended.map(|(when, _how)| when)),
            "state": self.standing(now),
        })
    }
}

/// A token that was decided and is not kept yet.
#[derive(Debug)]
pub struct NewToken {
    /// What it will be.
    pub token: ApiToken,
    /// What there has to be for it, and what it ends.
    pub making: Making,
}

impl NewToken {
    /// Says for the record what it is.
    pub fn told(&self) -> String {
        self.token.told()
    }

    /// Says that it would be no use.
    pub fn in_vain(&self) -> String {
        let subject = self.token.subject.escape_debug();
        format!(
            "a token of `{subject}` would prove nothing: they cannot sign in otherwise, or by a way of \
             which only they can show that it is open to them"
        )
    }

    /// Chooses its text. Only now there is a token that somebody could have.
    pub fn with_text(mut self) -> Result<(Secret<String>, Self), getrandom::Error> {
        let text = text::new()?;
        if let Some(about) = &mut self.token.about {
            about.beginning = text::beginning(&text);
        }
        Ok((text, self))
    }

    /// Returns the row that is kept.
    pub fn row(&self, text: &Secret<String>) -> Row {
        self.token.row(text)
    }
}
