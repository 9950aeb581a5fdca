//! The policy list: from the words of the configuration to rules.

use std::collections::{BTreeMap, BTreeSet};

use super::file::{Written, WrittenPolicy};
use super::methods::{Door, Method};
use super::roles::Given;
use super::{ConfigError, users};
use crate::authn::{AGENT, Group, Scope, Subject, USER, ssh};
use crate::authz::permission::Permission;
use crate::authz::rules::{self, BUILT_IN_ROLES, Paths, Rule, Rules};
use crate::authz::subject::Who;
use crate::authz::{Access, Policy};

/// What can be named in a policy: the methods that are configured, and groups and roles.
#[derive(Clone, Debug, Default)]
pub struct Names {
    methods: Vec<Enabled>,
    groups: BTreeMap<String, Vec<Who>>,
    roles: BTreeSet<String>,
    users: Vec<String>,
}

/// A configured method, as far as names go.
#[derive(Clone, Debug)]
struct Enabled {
    word: &'static str,
    issuers: Vec<String>,
    /// Those of the issuers that are not marked as being for people.
    not_for_people: Vec<String>,
    scopes: Vec<Scope>,
    tells_groups: bool,
}

impl Names {
    /// Collects what the methods of both lists can prove.
    pub(super) fn of(reads: &Door, writes: &Door) -> Self {
        let mut names = Self::default();
        for (scope, door) in [(Scope::Reads, reads), (Scope::Writes, writes)] {
            for method in door.methods() {
                names.add(scope, method);
            }
        }
        names
    }

    fn add(&mut self, scope: Scope, method: &Method) {
        // Its tokens are of subjects of other methods, and of agents.
        if *method == Method::ApiTokens {
            return;
        }
        let word = method.word();
        if !self.methods.iter().any(|known| known.word == word) {
            let (issuers, not_for_people, scopes) = (Vec::new(), Vec::new(), Vec::new());
            let tells_groups = method.tells_groups();
            self.methods.push(Enabled { word, issuers, not_for_people, scopes, tells_groups });
        }
        let known = self.methods.iter_mut().find(|known| known.word == word);
        let Some(enabled) = known else { return };
        enabled.scopes.push(scope);
        enabled.issuers.extend(method.issuer().map(ToOwned::to_owned));
        let issuer = method.issuer().filter(|_issuer| !method.is_for_people());
        enabled.not_for_people.extend(issuer.map(ToOwned::to_owned));
        enabled.issuers.sort();
        enabled.issuers.dedup();
    }

    /// Knows one more of those who have nothing but tokens of this server's own.
    #[must_use]
    pub fn and_user(&self, name: &str) -> Self {
        let mut names = self.clone();
        names.users.push(name.to_owned());
        names
    }

    /// Returns for what the method of a subject is configured.
    pub fn scopes(&self, subject: &Subject) -> &[Scope] {
        if [AGENT, USER].contains(&subject.method) {
            return &Scope::ALL;
        }
        let method = self.methods.iter().find(|known| known.word == subject.method);
        method.map_or(&[], |known| &known.scopes)
    }

    /// Returns who vouches for somebody, if that is not marked as being for people.
    pub fn issuer_of_no_people<'a>(&self, subject: &'a Subject) -> Option<&'a String> {
        let method = self.methods.iter().find(|known| known.word == subject.method)?;
        subject.issuer.as_ref().filter(|issuer| method.not_for_people.contains(issuer))
    }

    /// Reads whom a policy is about. A group of the configuration's own is several.
    fn who(&self, text: &str) -> Result<Vec<Who>, String> {
        match text {
            "anonymous" => return Ok(vec![Who::Anyone]),
            "authenticated" => return Ok(vec![Who::SignedIn]),
            _ => {}
        }
        if let Some(name) = text.strip_prefix("group:") {
            return match self.groups.get(name) {
                Some(members) => Ok(members.clone()),
                None => self.group(name).map(|group| vec![Who::Group(group)]),
            };
        }
        if let Some(role) = text.strip_prefix("role:") {
            let known = self.roles.contains(role) || BUILT_IN_ROLES.contains(&role);
            let unheld = || format!("`{text}`: nobody holds this role; give it in `auth.roles`");
            return known.then(|| vec![Who::Role(role.to_owned())]).ok_or_else(unheld);
        }
        self.subject(text).map(|subject| vec![Who::One(subject)])
    }

    /// Reads a subject: `ssh:alice`, `oidc:https://id.example.com#alice`, or a bare name where
    /// only one method could prove it.
    pub fn subject(&self, text: &str) -> Result<Subject, String> {
        if let Some(name) = text.strip_prefix("agent:") {
            return if ssh::is_user_name(name) {
                Ok(Subject::local(AGENT, name))
            } else {
                Err(format!(
                    "`{}` is no name of an agent: 1 to 64 letters, digits and `._@-`",
                    text.escape_debug()
                ))
            };
        }
        if let Some(name) = text.strip_prefix("user:") {
            return if self.users.iter().any(|known| known == name) {
                Ok(Subject::local(USER, name))
            } else {
                Err(format!(
                    "`{}`: they are not in `auth.users`, and nobody added them",
                    text.escape_debug()
                ))
            };
        }
        if self.methods.is_empty() && self.users.iter().any(|known| known == text) {
            return Ok(Subject::local(USER, text));
        }
        let prefixed = text.split_once(':').and_then(|(word, id)| {
            let method = self.methods.iter().find(|known| known.word == word)?;
            Some((method, id))
        });
        let (method, id) = match (prefixed, self.methods.as_slice()) {
            (Some(found), _) => found,
            (None, [only]) if !text.contains(':') => (only, text),
            (None, []) => {
                return Err(format!("`{text}`: no method of authentication is configured"));
            }
            (None, several) => {
                let words: Vec<&str> = several.iter().map(|known| known.word).collect();
                return Err(format!(
                    "`{text}`: no configured method proves this; begin with one of `{}:`",
                    words.join(":`, `")
                ));
            }
        };
        if id.is_empty() {
            return Err(format!("`{text}` names nobody"));
        }
        let (issuer, id) = match (method.issuers.as_slice(), id.rsplit_once('#')) {
            ([], _) => (None, id),
            (issuers, Some((issuer, id))) if issuers.iter().any(|known| known == issuer) => {
                (Some(issuer.to_owned()), id)
            }
            ([only], None) => (Some(only.clone()), id),
            (issuers, _) => {
                return Err(format!(
                    "`{text}`: write it as `{}:ISSUER#NAME`, where ISSUER is one of `{}`",
                    method.word,
                    issuers.join("`, `")
                ));
            }
        };
        Ok(Subject { method: method.word, issuer, id: id.to_owned() })
    }

    /// Reads a group of an identity provider: `ISSUER#NAME`, or a bare name where only one tells
    /// groups.
    pub fn group(&self, text: &str) -> Result<Group, String> {
        let telling = self.methods.iter().filter(|method| method.tells_groups);
        let sources: Vec<String> = telling
            .flat_map(|method| match method.issuers.as_slice() {
                [] => vec![method.word.to_owned()],
                issuers => issuers.to_vec(),
            })
            .collect();
        if let Some((issuer, name)) = text.rsplit_once('#')
            && sources.iter().any(|known| known == issuer)
        {
            return Ok(Group { issuer: issuer.to_owned(), name: name.to_owned() });
        }
        match sources.as_slice() {
            [only] if !text.is_empty() => Ok(Group { issuer: only.clone(), name: text.to_owned() }),
            [] => Err(format!(
                "`group:{text}`: it is not in `auth.groups`, and no configured method tells groups"
            )),
            several => Err(format!(
                "`group:{text}`: write it as `group:ISSUER#NAME`, where ISSUER is one of `{}`",
                several.join("`, `")
            )),
        }
    }
}

/// Decides the policy. With `policies`, they alone say who may write, and who may read as soon as
/// one of them speaks of it; without, the reference's settings do.
pub(super) fn policy(
    written: &Written,
    reads: &Door,
    writes: &Door,
    immutable: bool,
    notices: &mut Vec<String>,
) -> Result<(Policy, Names), ConfigError> {
    let mut names = Names::of(reads, writes);
    names.users = users::named(written)?;
    names.groups = own_groups(written, &names)?;
    let mut holders = holders(written, &names)?;
    let given = Given::read(written, [reads, writes])?;
    for role in given.names() {
        if !holders.iter().any(|(known, _subjects)| known == role) {
            holders.push((role.clone(), Vec::new()));
        }
    }
    names.roles = holders.iter().map(|(role, _subjects)| role.clone()).collect();
    let Some(policies) = &written.policies else {
        if let Some(method) =
            writes.methods().iter().chain(reads.methods()).find(|m| m.is_for_all())
        {
            return Err(ConfigError::setting(
                "policies",
                format!(
                    "is needed: anybody can have a token of `{}`, so rules must name who may do what",
                    method.issuer().unwrap_or_default()
                ),
            ));
        }
        if !holders.is_empty() {
            let key = given.key().unwrap_or("auth.roles");
            return Err(ConfigError::setting(key, "has no effect without `policies`"));
        }
        if writes.access() == Access::Proven {
            notices.push(
                "there are no `policies`: whoever may write may write every tool and the \
                 program itself"
                    .to_owned(),
            );
        }
        return Ok((Policy::of_access(reads.access(), writes.access(), immutable), names));
    };
    let mut rules = Vec::new();
    for (index, written) in policies.iter().enumerate() {
        let rule = rule(index, written, &names)?;
        if rules.iter().any(|earlier: &Rule| earlier.name == rule.name) {
            let reason = format!("has the name `{}` twice", rule.name);
            return Err(ConfigError::setting("policies", reason));
        }
        rules.push(rule);
    }
    let writable = writes.access() == Access::Proven;
    contradictions(&rules, &holders, writable)?;
    given.permit_something(&rules)?;
    notices.extend(given.notices([reads, writes]));
    if reads.access() == Access::Anyone {
        rules.push(rules::reads_rule(true));
    }
    let rules = Rules::new(rules, holders).otherwise(given.otherwise);
    Ok((Policy { rules, writable, immutable }, names))
}

/// Says whether the list speaks of reading, so that it and not `authGets` decides.
pub(super) fn speak_of_reading(written: &Written) -> bool {
    let mut actions =
        written.policies.iter().flatten().flat_map(|policy| &policy.actions).flatten();
    actions.any(|action| action == "read" || action == "list")
}

fn contradictions(
    rules: &[Rule],
    holders: &[(String, Vec<Who>)],
    writable: bool,
) -> Result<(), ConfigError> {
    for rule in rules {
        let writes = rule.actions.iter().find(|action| !action.only_reads());
        if let Some(action) = writes
            && rule.subjects.contains(&Who::Anyone)
        {
            let reason = format!("permits `{action}` to everybody, signed in or not");
            return Err(ConfigError::setting(format!("policies.{}", rule.name), reason));
        }
        if let Some(action) = writes
            && !writable
        {
            let reason =
                format!("permits `{action}`, and `authTypePut` is empty, so nobody can write");
            return Err(ConfigError::setting(format!("policies.{}", rule.name), reason));
        }
    }
    for (role, subjects) in holders {
        let harmless = role == "readonly" || role == "agent-default";
        if subjects.contains(&Who::Anyone) && !harmless {
            let reason = "is given to everybody, signed in or not";
            return Err(ConfigError::setting(format!("auth.roles.{role}"), reason));
        }
    }
    Ok(())
}

fn own_groups(written: &Written, names: &Names) -> Result<BTreeMap<String, Vec<Who>>, ConfigError> {
    let mut groups = BTreeMap::new();
    for (group, members) in written.auth.groups.iter().flatten() {
        let key = format!("auth.groups.{group}");
        let mut subjects = Vec::new();
        for member in members {
            let subject = names.subject(member).map_err(|why| ConfigError::setting(&key, why))?;
            subjects.push(Who::One(subject));
        }
        groups.insert(group.clone(), subjects);
    }
    Ok(groups)
}

fn holders(written: &Written, names: &Names) -> Result<Vec<(String, Vec<Who>)>, ConfigError> {
    let mut holders = Vec::new();
    for (role, subjects) in written.auth.roles.iter().flatten() {
        let key = format!("auth.roles.{role}");
        let mut held_by = Vec::new();
        for subject in subjects {
            if subject.starts_with("role:") {
                return Err(ConfigError::setting(key, format!("`{subject}`: roles hold no roles")));
            }
            held_by.extend(names.who(subject).map_err(|why| ConfigError::setting(&key, why))?);
        }
        holders.push((role.clone(), held_by));
    }
    Ok(holders)
}

/// Says whether a request for it can say what it expects to be there.
const fn takes_conditions(action: Permission) -> bool {
    matches!(action, Permission::Create | Permission::Replace | Permission::Delete)
}

fn rule(index: usize, written: &WrittenPolicy, names: &Names) -> Result<Rule, ConfigError> {
    let WrittenPolicy { name, subjects, paths, actions, require_precondition } = written;
    let name = name.as_deref().unwrap_or_default().trim();
    if name.is_empty() {
        return Err(ConfigError::setting(format!("policies[{index}]"), "has no `name`"));
    }
    let refuse = |part: &str, reason: String| {
        Err(ConfigError::setting(format!("policies.{name}.{part}"), reason))
    };
    let mut rule = Rule {
        name: name.to_owned(),
        subjects: Vec::new(),
        paths: Paths::Matching(Vec::new()),
        actions: Vec::new(),
        conditional: require_precondition.unwrap_or_default(),
    };
    for text in subjects.iter().flatten() {
        match names.who(text) {
            Ok(who) => rule.subjects.extend(who),
            Err(why) => return refuse("subjects", why),
        }
    }
    let mut globs = Vec::new();
    for text in paths.iter().flatten() {
        match text.parse() {
            Ok(glob) => globs.push(glob),
            Err(error) => return refuse("paths", format!("{error}")),
        }
    }
    for text in actions.iter().flatten() {
        match text.parse::<Permission>() {
            Ok(action) => rule.actions.push(action),
            Err(error) => {
                let known = Permission::ALL.into_iter().map(Permission::as_str);
                let nearest = super::keys::nearest(text, known);
                return refuse("actions", format!("{error}; the nearest is `{nearest}`"));
            }
        }
    }
    // An empty group is somebody's for later; an empty list is a mistake.
    for (part, is_empty) in [
        ("subjects", subjects.iter().flatten().next().is_none()),
        ("paths", globs.is_empty()),
        ("actions", rule.actions.is_empty()),
    ] {
        if is_empty {
            return refuse(part, "is empty, so the rule says nothing".to_owned());
        }
    }
    if rule.conditional && rule.actions.iter().all(|action| !takes_conditions(*action)) {
        let reason = "is about `create`, `replace` and `delete`, and the rule permits none of them";
        return refuse("requirePrecondition", reason.to_owned());
    }
    rule.paths = Paths::Matching(globs);
    Ok(rule)
}
