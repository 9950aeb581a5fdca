//! The policy list: rules that permit. All that match count, and there is none that forbids.

use dbt_core::brand;
use dbt_core::layout::{MANIFEST_ENDING, TRUSTSTORE_FILE};
use dbt_core::repo_path::RepoPath;
use dbt_core::version::Version;

use super::Reach;
use super::ceiling::Ceiling;
use super::glob::PathGlob;
use super::permission::Permission;
use super::subject::Who;
use crate::action::is_of_withdrawals;
use crate::authn::federation::pattern::Pattern;
use crate::authn::{Caller, Scope, oidc};

/// A rule: these may do this there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Its name, for explanations and the record.
    pub name: String,
    /// Whom it is about.
    pub subjects: Vec<Who>,
    /// Where it holds.
    pub paths: Paths,
    /// What it permits.
    pub actions: Vec<Permission>,
    /// Whether it permits only requests that say what they expect to be there.
    pub conditional: bool,
}

/// What somebody wants to do.
#[derive(Clone, Copy, Debug)]
pub struct Wish<'a> {
    /// What.
    pub permission: Permission,
    /// At which path.
    pub path: &'a RepoPath,
    /// How far around it.
    pub reach: Reach,
    /// Whether it takes place only if what is there is what they expect.
    pub conditional: bool,
}

/// Where a rule holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Paths {
    /// Where one of these matches.
    Matching(Vec<PathGlob>),
    /// Where plain writers may write: everywhere but in signed metadata, and to a truststore only
    /// what follows from the one that is there.
    PlainWriters,
    /// In a part of what belongs to some tools.
    OfTools(Vec<Pattern>, PartOfTool),
}

/// A part of what belongs to a tool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PartOfTool {
    /// All of it; and what everybody who installs it reads: the program itself, and the truststore.
    Everything,
    /// Its versions.
    Versions,
    /// The list of withdrawn versions, with what signs it; what was withdrawn stays so.
    Withdrawals,
}

/// How far a permission goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// Whatever the bytes are.
    Full,
    /// Only bytes that follow from those that are there.
    Following,
}

/// All rules, and who holds which role.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    list: Vec<Rule>,
    holders: Vec<(String, Vec<Who>)>,
    otherwise: DefaultRoles,
}

/// The roles of those who hold no other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DefaultRoles {
    /// Of those whom an identity provider vouches for, before the next.
    pub oidc: Option<String>,
    /// Of everybody who signs in as a person.
    pub everybody: Option<String>,
}

impl DefaultRoles {
    /// Returns the role of somebody who holds no other, if there is one.
    fn of(&self, caller: &Caller) -> Option<&str> {
        if !caller.may_have_default_role() {
            return None;
        }
        let is_of_provider = caller.subject().is_some_and(|it| it.method == oidc::NAME);
        let of_provider = self.oidc.as_deref().filter(|_role| is_of_provider);
        of_provider.or(self.everybody.as_deref())
    }
}

/// The rule that permits something.
#[derive(Clone, Copy, Debug)]
pub struct Permitted<'a> {
    /// Which.
    pub rule: &'a Rule,
    /// How far it goes here.
    pub extent: Extent,
}

/// The directory of signed metadata.
const METADATA: &str = "tuf";

/// The name of the role that may do everything.
pub const ADMIN: &str = "admin";

/// The roles that every server has, with what their holders may do.
pub const BUILT_IN_ROLES: [&str; 4] = ["readonly", "publisher", ADMIN, "agent-default"];

impl Rules {
    /// Puts rules together. The built-in roles are always there; `holders` says who has them.
    pub fn new(rules: Vec<Rule>, holders: Vec<(String, Vec<Who>)>) -> Self {
        let built_in = BUILT_IN_ROLES.into_iter().map(built_in_role).chain([host_rule()]);
        let list = rules.into_iter().chain(built_in).collect();
        Self { list, holders, otherwise: DefaultRoles::default() }
    }

    /// Gives roles to those who hold no other.
    #[must_use]
    pub fn otherwise(self, otherwise: DefaultRoles) -> Self {
        Self { otherwise, ..self }
    }

    /// Adds rules.
    #[must_use]
    pub fn with(mut self, further: Vec<Rule>) -> Self {
        self.list.extend(further);
        self
    }

    /// Returns the rule that permits a caller to do something to a path, the widest one if there
    /// are several. What the caller shows may narrow it.
    pub fn permit(&self, caller: &Caller, wish: &Wish<'_>) -> Option<Permitted<'_>> {
        let permitted = self.permit_without_token(caller, wish)?;
        let within = if caller.is_for_one_use() && wish.permission != Permission::TokenManage {
            None
        } else {
            let mut ceilings = caller.ceilings().iter();
            ceilings.try_fold(permitted, |so_far, ceiling| self.within(ceiling, wish, so_far))
        };
        // What everybody may is taken from nobody.
        within.or_else(|| self.widest(wish, |who| *who == Who::Anyone))
    }

    /// Returns the rule that permits something to a caller, whatever narrows what they show.
    pub fn permit_without_token(&self, caller: &Caller, wish: &Wish<'_>) -> Option<Permitted<'_>> {
        if !wish.permission.only_reads() && !caller.is_proven_for(Scope::Writes) {
            return None;
        }
        let roles = self.roles(caller);
        self.widest(wish, |who| who.is(caller, &roles))
    }

    /// Returns as much of what is permitted as a ceiling leaves.
    fn within<'a>(
        &'a self,
        ceiling: &Ceiling,
        wish: &Wish<'_>,
        permitted: Permitted<'a>,
    ) -> Option<Permitted<'a>> {
        if !ceiling.admits(wish) {
            return None;
        }
        if ceiling.roles.is_empty() {
            return Some(permitted);
        }
        let is_held = |who: &Who| matches!(who, Who::Role(role) if ceiling.roles.contains(role));
        let by_role = self.widest(wish, is_held)?;
        Some(if by_role.rank() > permitted.rank() { by_role } else { permitted })
    }

    /// Returns the rule that permits most to some of those it may be about.
    fn widest(&self, wish: &Wish<'_>, is_meant: impl Fn(&Who) -> bool) -> Option<Permitted<'_>> {
        let mut best: Option<Permitted<'_>> = None;
        for rule in &self.list {
            if !rule.actions.contains(&wish.permission)
                || (rule.conditional && !wish.conditional)
                || !rule.subjects.iter().any(&is_meant)
            {
                continue;
            }
            let Some(extent) = rule.paths.extent(wish) else { continue };
            let permitted = Permitted { rule, extent };
            match permitted.rank() {
                0 => return Some(permitted),
                rank if best.is_none_or(|best| rank < best.rank()) => best = Some(permitted),
                _narrower => {}
            }
        }
        best
    }

    /// Returns the roles that a caller holds: those that the settings give, by name, group or claim, those
    /// that the server keeps of them, and those of a token; for want of any, the one that is for those who hold none.
    pub fn roles<'a>(&'a self, caller: &'a Caller) -> Vec<&'a str> {
        let holds = |subjects: &[Who]| subjects.iter().any(|who| who.is(caller, &[]));
        let held = self.holders.iter().filter(|(_role, subjects)| holds(subjects));
        let mut roles: Vec<&str> = held.map(|(role, _subjects)| role.as_str()).collect();
        for role in caller.own_roles().iter().chain(caller.roles_of_token()) {
            if !roles.contains(&role.as_str()) {
                roles.push(role);
            }
        }
        if roles.is_empty() {
            roles.extend(self.otherwise.of(caller));
        }
        roles
    }

    /// Says whether there is a role: every server's, or one that the settings give to somebody.
    pub fn know_role(&self, role: &str) -> bool {
        BUILT_IN_ROLES.contains(&role) || self.holders.iter().any(|(known, _held_by)| known == role)
    }
}

impl Permitted<'_> {
    /// Returns a number that is smaller the more is permitted.
    fn rank(&self) -> u8 {
        let narrow = if self.extent == Extent::Following { 2 } else { 0 };
        narrow + u8::from(self.rule.conditional)
    }
}

impl Paths {
    fn extent(&self, wish: &Wish<'_>) -> Option<Extent> {
        let path = wish.path;
        match self {
            Self::Matching(globs) => {
                globs.iter().any(|glob| holds_at(glob, wish)).then_some(Extent::Full)
            }
            // Everybody who installs reads what signs the repository.
            Self::PlainWriters if wish.permission.only_reads() => Some(Extent::Full),
            Self::PlainWriters if is_metadata(path) => None,
            Self::PlainWriters if is_truststore(path) => Some(Extent::Following),
            Self::PlainWriters => Some(Extent::Full),
            Self::OfTools(tools, part) => part.holds(tools, wish).then_some(part.extent(wish)),
        }
    }
}

impl PartOfTool {
    /// Says how far something goes in this part.
    const fn extent(self, wish: &Wish<'_>) -> Extent {
        match self {
            Self::Withdrawals if !wish.permission.only_reads() => Extent::Following,
            Self::Everything | Self::Versions | Self::Withdrawals => Extent::Full,
        }
    }

    /// Says whether something is wanted in this part of one of these tools.
    fn holds(self, tools: &[Pattern], wish: &Wish<'_>) -> bool {
        if wish.reach == Reach::Anywhere {
            return true;
        }
        let segments: Vec<&str> = wish.path.segments().collect();
        let is_meant = |tool: &str| tools.iter().any(|pattern| pattern.matches(tool));
        match (self, segments.as_slice()) {
            (Self::Everything, [brand::REPOSITORY_PATH, ..]) => true,
            (Self::Everything, [brand::TOOLS_PATH]) => tools.iter().any(Pattern::is_anything),
            (Self::Everything, [brand::TOOLS_PATH, tool, ..]) => is_meant(tool),
            // What is put back, or taken over, with everything below is more than one version's files.
            (Self::Versions, [brand::TOOLS_PATH, tool, version, ..]) => {
                wish.reach == Reach::Path && version.parse::<Version>().is_ok() && is_meant(tool)
            }
            (Self::Withdrawals, [brand::TOOLS_PATH, tool, _file]) => {
                wish.reach == Reach::Path && is_of_withdrawals(wish.path) && is_meant(tool)
            }
            _ => false,
        }
    }
}

/// Says whether a pattern matches wherever something is wanted.
pub(super) fn holds_at(glob: &PathGlob, wish: &Wish<'_>) -> bool {
    match wish.reach {
        Reach::Path => glob.matches(wish.path),
        Reach::Below => glob.covers(wish.path),
        Reach::Anywhere => true,
    }
}

/// Says whether a path belongs to signed metadata.
pub fn is_metadata(path: &RepoPath) -> bool {
    let segments: Vec<&str> = path.segments().take(2).collect();
    segments == [brand::REPOSITORY_PATH, METADATA]
}

/// Says whether a path is the truststore, a manifest of it, or what signs a manifest.
pub fn is_truststore(path: &RepoPath) -> bool {
    let segments: Vec<&str> = path.segments().collect();
    let [brand::REPOSITORY_PATH, name] = segments.as_slice() else { return false };
    let Some(rest) = name.strip_prefix(TRUSTSTORE_FILE) else { return false };
    rest.is_empty() || is_manifest_ending(rest)
}

/// Says whether a file name's end is that of a manifest, a kept one (`.manifest.7.json`), or the
/// signature of either.
fn is_manifest_ending(rest: &str) -> bool {
    let rest = rest.strip_suffix(".asc").unwrap_or(rest);
    rest == MANIFEST_ENDING
        || rest.strip_prefix(".manifest.").and_then(|rest| rest.strip_suffix(".json")).is_some_and(
            |number| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()),
        )
}

/// Returns the rule of a built-in role.
fn built_in_role(role: &str) -> Rule {
    use Permission::{
        Create, Delete, List, Read, Replace, TokenCreateOwn, TokenRevokeOwn, Withdraw,
    };
    let everywhere = || Paths::Matching("/**".parse().into_iter().collect());
    let (paths, actions) = match role {
        "publisher" => (
            Paths::PlainWriters,
            vec![Read, List, Create, Replace, Delete, Withdraw, TokenCreateOwn, TokenRevokeOwn],
        ),
        ADMIN => (everywhere(), Permission::ALL.to_vec()),
        _ => (everywhere(), vec![Read, List]),
    };
    let subjects = vec![Who::Role(role.to_owned())];
    Rule { name: format!("built-in role {role}"), subjects, paths, actions, conditional: false }
}

/// Whoever runs commands on the server's own machine could change every file anyway.
fn host_rule() -> Rule {
    Rule {
        name: "the server's own machine".to_owned(),
        subjects: vec![Who::Host],
        paths: Paths::Matching("/**".parse().into_iter().collect()),
        actions: Permission::ALL.to_vec(),
        conditional: false,
    }
}

/// Returns what the reference's settings say about reading.
pub fn reads_rule(open: bool) -> Rule {
    let (name, who) = if open {
        ("`authGets` is false", Who::Anyone)
    } else {
        ("`authTypeGet`", Who::ProvenFor(Scope::Reads))
    };
    Rule {
        name: name.to_owned(),
        subjects: vec![who],
        paths: Paths::Matching("/**".parse().into_iter().collect()),
        actions: vec![Permission::Read, Permission::List],
        conditional: false,
    }
}

/// Returns what the reference's settings say about writing.
pub fn writes_rule() -> Rule {
    Rule {
        name: "`authTypePut`".to_owned(),
        subjects: vec![Who::ProvenFor(Scope::Writes)],
        paths: Paths::PlainWriters,
        actions: vec![Permission::Create, Permission::Replace, Permission::Delete],
        conditional: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authn::{Job, Subject};

    /// Somebody of whom this is proved, and who holds these roles by a claim.
    fn somebody(method: &'static str, claimed: &[&str], is_for_all: bool) -> Caller {
        let issuer = (method == oidc::NAME).then(|| "https://id.example.com".to_owned());
        let subject = Subject { method, issuer, id: "alice".to_owned() };
        let claimed = claimed.iter().map(|role| (*role).to_owned()).collect();
        Caller::assumed(subject, Vec::new(), Scope::ALL.to_vec())
            .assumed_to_hold(claimed, is_for_all)
    }

    #[test]
    fn a_default_role_is_for_people_who_hold_no_other_and_of_whom_that_can_be_known() {
        let holder = Who::One(Subject::local("ssh", "alice"));
        let holders = vec![("team".to_owned(), vec![holder])];
        let (of_providers, of_everybody) = ("of-providers", "of-everybody");
        let rules = |oidc: Option<&str>, everybody: Option<&str>| {
            let (oidc, everybody) = (oidc.map(ToOwned::to_owned), everybody.map(ToOwned::to_owned));
            Rules::new(Vec::new(), holders.clone()).otherwise(DefaultRoles { oidc, everybody })
        };
        let both = rules(Some(of_providers), Some(of_everybody));
        for (method, claimed, is_for_all, held) in [
            ("oidc", &[][..], false, &[of_providers][..]),
            ("oidc", &["publisher"], false, &["publisher"]),
            ("oidc", &["publisher", "team"], false, &["publisher", "team"]),
            ("oidc", &[], true, &[]),
            ("oidc", &["publisher"], true, &["publisher"]),
            ("ssh", &[], false, &["team"]),
            ("htpasswd", &[], false, &[of_everybody]),
            ("ldap", &[], false, &[of_everybody]),
            ("user", &[], false, &[of_everybody]),
            ("static-token", &[], false, &[]),
            ("agent", &[], false, &[]),
            ("ci", &[], false, &[]),
            ("host", &[], false, &[]),
        ] {
            let caller = somebody(method, claimed, is_for_all);
            assert_eq!(both.roles(&caller), held, "{method} {claimed:?} {is_for_all}");
        }
        assert_eq!(both.roles(&Caller::anonymous()), [""; 0]);
        let job =
            Job { repository: "a/b".to_owned(), run: "1".to_owned(), reference: None, sha: None };
        assert_eq!(both.roles(&somebody("oidc", &[], false).being_a_job(job)), [""; 0]);
        // The one for everybody is next, and none is none.
        let caller = somebody("oidc", &[], false);
        assert_eq!(rules(None, Some(of_everybody)).roles(&caller), [of_everybody]);
        assert_eq!(rules(None, None).roles(&caller), [""; 0]);
        assert_eq!(
            rules(Some(of_providers), None).roles(&somebody("htpasswd", &[], false)),
            [""; 0]
        );
    }

    #[test]
    fn what_belongs_to_trust_is_told_from_what_only_looks_like_it() {
        let path = |text: &str| text.parse::<RepoPath>().unwrap();
        for text in [
            "dbt/truststore",
            "dbt/truststore.manifest.json",
            "dbt/truststore.manifest.json.asc",
            "dbt/truststore.manifest.7.json",
            "dbt/truststore.manifest.7.json.asc",
        ] {
            assert!(is_truststore(&path(text)), "{text}");
        }
        for text in
            ["dbt/truststores", "dbt/truststore.sha256", "dbt-tools/truststore", "dbt/x/truststore"]
        {
            assert!(!is_truststore(&path(text)), "{text}");
        }
        for text in ["dbt/tuf", "dbt/tuf/1.root.json"] {
            assert!(is_metadata(&path(text)), "{text}");
        }
        // In the other tree, that is a tool of this name.
        for text in ["dbt/tufa", "dbt/x/tuf", "tuf/1.root.json", "dbt-tools/tuf/1.0.0"] {
            assert!(!is_metadata(&path(text)), "{text}");
        }
    }
}
