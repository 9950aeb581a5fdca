//! Who may do what: the only maker of a [`Grant`].

use dbt_core::brand;

use crate::action::{Action, Kind, Read, Write};
use crate::authn::{Caller, Scope};
use crate::writable;

pub mod ceiling;
pub mod glob;
pub mod permission;
pub mod rules;
pub mod subject;

use self::ceiling::Ceiling;
use self::permission::Permission;
use self::rules::{ADMIN, Extent, Permitted, Rules, Wish};

/// Permission for one caller to do one thing to one path.
///
/// Storage asks for it, and only [`Policy::authorise`] makes one:
///
/// ```compile_fail
/// use dbt_server::action::Read;
/// let forged = dbt_server::authz::Grant { action: Read::root() };
/// ```
///
/// A grant to read is none to delete:
///
/// ```compile_fail
/// use dbt_server::{action::{Delete, Read}, authz::Grant};
/// fn upgrade(grant: Grant<Read>) -> Grant<Delete> { grant }
/// ```
#[derive(Debug)]
pub struct Grant<A> {
    caller: Caller,
    action: A,
    overwrite: Overwrite,
    replacing: Replacing,
    extent: Extent,
    open: bool,
    rule: Option<String>,
    roles: Vec<String>,
}

/// Whether a granted write may put other bytes in the place of what is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overwrite {
    /// It may.
    Allowed,
    /// What was published stays; sending the same bytes again is no error.
    SameBytesOnly,
}

/// Whether a caller could replace a file, were it not for its being immutable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replacing {
    /// Yes.
    Permitted,
    /// If the request said what it expects to be there.
    WithPrecondition,
    /// No rule permits it.
    NotPermitted,
}

impl<A: Action> Grant<A> {
    /// Returns who was permitted.
    pub const fn caller(&self) -> &Caller {
        &self.caller
    }

    /// Returns what was permitted.
    pub const fn action(&self) -> &A {
        &self.action
    }

    /// Returns the name of the rule that permits it to somebody who is known.
    pub fn rule(&self) -> Option<&str> {
        self.rule.as_deref()
    }

    /// Returns the roles that the caller holds.
    pub fn roles(&self) -> &[String] {
        &self.roles
    }

    /// Says whether everybody would have been permitted, so that shared caches may keep the
    /// answer.
    pub const fn is_open(&self) -> bool {
        self.open
    }
}

impl Grant<Write> {
    /// Says whether what is there may be replaced.
    pub const fn overwrite(&self) -> Overwrite {
        self.overwrite
    }

    /// Says whether the caller could replace a file here.
    pub const fn replacing(&self) -> Replacing {
        self.replacing
    }

    /// Says whether only bytes that follow from those that are there may be written.
    pub fn must_follow(&self) -> bool {
        self.extent == Extent::Following
    }

    /// Lets the server itself, not the caller, look at a file beside the one to be written, to
    /// see whether the new bytes follow from it.
    pub(crate) fn look_beside(&self, name: &str) -> Option<Grant<Read>> {
        let path = self.action.path().parent()?.join(name).ok()?;
        Some(Grant {
            caller: self.caller.clone(),
            action: Read::of(path)?,
            overwrite: self.overwrite,
            replacing: Replacing::NotPermitted,
            extent: Extent::Full,
            open: false,
            rule: None,
            roles: Vec::new(),
        })
    }
}

/// Who may do what.
#[derive(Clone, Debug)]
pub struct Policy {
    /// The rules.
    pub rules: Rules,
    /// Whether anybody can write at all.
    pub writable: bool,
    /// Whether artifacts stay as they were first published.
    pub immutable: bool,
}

/// Who may do something, by the reference's settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Everybody; nobody is asked who they are.
    Anyone,
    /// Callers who have proved who they are, by a method that is valid for it.
    Proven,
    /// Nobody.
    Nobody,
}

impl Policy {
    /// Returns the policy that the reference's settings alone mean.
    pub fn of_access(reads: Access, writes: Access, immutable: bool) -> Self {
        let read = (reads != Access::Nobody).then(|| rules::reads_rule(reads == Access::Anyone));
        let write = (writes != Access::Nobody).then(rules::writes_rule);
        let rules = Rules::new(read.into_iter().chain(write).collect(), Vec::new());
        Self { rules, writable: writes != Access::Nobody, immutable }
    }

    /// Says whether an action is open to everybody, so that credentials need not be looked at.
    pub fn is_open<A: Action + Guarded>(&self, action: &A) -> bool {
        self.rules.permit(&Caller::anonymous(), &action.wish(action.permission())).is_some()
    }

    /// Says whether a caller may do something, without giving them the right to.
    pub fn would_permit(&self, caller: &Caller, wish: &Wish<'_>) -> bool {
        self.rules.permit(caller, wish).is_some()
    }

    /// Says whether a caller may do everything, and so hand on any right: an administrator, also one
    /// who shows a token that does not take that away.
    pub fn is_administrator(&self, caller: &Caller) -> bool {
        let holds = || self.rules.roles(caller).contains(&ADMIN);
        caller.is_on_the_host()
            || caller.is_proven_for(Scope::Writes)
                && caller.ceilings().iter().all(Ceiling::leaves_administrators)
                && holds()
    }

    /// Decides whether a caller may act. Nothing else makes a [`Grant`].
    pub fn authorise<A: Action + Guarded>(
        &self,
        caller: Caller,
        action: A,
    ) -> Result<Grant<A>, Denied> {
        let path = action.path();
        let roles = self.rules.roles(&caller).into_iter().map(ToOwned::to_owned).collect();
        let deny = |caller, roles, reason| {
            Err(Denied { caller, roles, kind: A::KIND, path: path.to_string(), reason })
        };
        let wish = action.wish(action.permission());
        let Some(permitted) = self.rules.permit(&caller, &wish) else {
            let reason = self.refusal(&caller, wish);
            return deny(caller, roles, reason);
        };
        for also in action.also_needs().iter().map(|permission| action.wish(*permission)) {
            if !self.would_permit(&caller, &also) {
                let reason = self.refusal(&caller, also);
                return deny(caller, roles, reason);
            }
        }
        if caller.is_for_one_use() && !action.is_for_one_use() && !self.is_open(&action) {
            return deny(caller, roles, Reason::NotAllowed(action.permission()));
        }
        if let Some(why) = action.protected() {
            return deny(caller, roles, Reason::Protected(why));
        }
        let replace_wish = Wish { reach: Reach::Path, ..action.wish(Permission::Replace) };
        let replace = self.rules.permit(&caller, &replace_wish);
        // Also where a token takes the right to replace away: it must not give more by that.
        let follows = |permitted: Option<Permitted<'_>>| {
            permitted.is_some_and(|permitted| permitted.extent == Extent::Following)
        };
        let replaces_following =
            follows(replace) || follows(self.rules.permit_without_token(&caller, &replace_wish));
        let extent = match (A::KIND, permitted.extent) {
            (Kind::Read, _) => Extent::Full,
            (Kind::Delete, Extent::Following) => return deny(caller, roles, Reason::Following),
            // Creating is no way around what replacing may not do, nor the other way round.
            (_, Extent::Full) if !replaces_following => Extent::Full,
            (_, Extent::Full | Extent::Following) => Extent::Following,
        };
        let frozen = self.immutable && writable::is_create_only(path);
        let overwrite =
            if frozen || replace.is_none() { Overwrite::SameBytesOnly } else { Overwrite::Allowed };
        let replacing = if replace.is_some() {
            Replacing::Permitted
        } else if self.would_permit(&caller, &Wish { conditional: true, ..replace_wish }) {
            Replacing::WithPrecondition
        } else {
            Replacing::NotPermitted
        };
        let open = self.is_open(&action);
        // What strangers may is recorded nowhere.
        let rule = (!caller.is_anonymous()).then(|| permitted.rule.name.clone());
        Ok(Grant { caller, action, overwrite, replacing, extent, open, rule, roles })
    }

    fn refusal(&self, caller: &Caller, wish: Wish<'_>) -> Reason {
        if caller.is_anonymous() {
            Reason::NotSignedIn
        } else if self.would_permit(caller, &Wish { conditional: true, ..wish }) {
            Reason::Unconditional
        } else {
            Reason::NotAllowed(wish.permission)
        }
    }
}

/// What an action needs, and paths on which nobody may act in some way.
pub trait Guarded {
    /// Returns what the caller must be permitted.
    fn permission(&self) -> Permission;

    /// Returns what they must be permitted besides.
    fn also_needs(&self) -> &'static [Permission] {
        &[]
    }

    /// Says whether whoever shows a token for one use may do it.
    fn is_for_one_use(&self) -> bool {
        false
    }

    /// Says where they must be.
    fn reach(&self) -> Reach {
        Reach::Path
    }

    /// Says whether it takes place only if what is there is what the caller expects.
    fn is_conditional(&self) -> bool {
        true
    }

    /// Returns the question that is put to the rules.
    fn wish(&self, permission: Permission) -> Wish<'_>
    where
        Self: Action,
    {
        let (reach, conditional) = (self.reach(), self.is_conditional());
        Wish { permission, path: self.path(), reach, conditional }
    }

    /// Says why nobody may do it here, if so.
    fn protected(&self) -> Option<&'static str> {
        None
    }
}

impl Guarded for Read {
    fn permission(&self) -> Permission {
        if self.lists() { Permission::List } else { Permission::Read }
    }
}

/// Where something must be permitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// At the path.
    Path,
    /// At the path and everywhere below.
    Below,
    /// Anywhere at all: what is found there is asked about again.
    Anywhere,
}

/// A caller may not do what was asked.
#[derive(Debug, thiserror::Error)]
#[error("{} of `/{path}` refused: {reason}", kind.as_str())]
pub struct Denied {
    /// Who asked.
    pub caller: Caller,
    /// The roles they hold.
    pub roles: Vec<String>,
    /// What was asked.
    pub kind: Kind,
    /// For which path.
    pub path: String,
    /// Why it was refused.
    pub reason: Reason,
}

/// Why an action was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// It needs a credential, and there was none.
    #[error("a credential is required")]
    NotSignedIn,
    /// The caller is known, and nothing is permitted to them, whatever rules say.
    #[error("{0}")]
    Suspended(String),
    /// The caller is known, and may not.
    #[error("no rule permits this caller to `{0}` here")]
    NotAllowed(Permission),
    /// The caller is known, and may if the request says what it expects to be there.
    #[error(
        "a rule demands a precondition here: send `If-Match` with the entity tag of what you saw, \
         or `If-None-Match: *` for what is new"
    )]
    Unconditional,
    /// Only an administrator may.
    #[error("only an administrator may delete what signs the repository")]
    Following,
    /// Nobody may.
    #[error("{0}")]
    Protected(&'static str),
}

/// The realm named to callers who must sign in.
pub const REALM: &str = brand::PROGRAM;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::action::Delete;

    fn guarded(immutable: bool) -> Policy {
        Policy::of_access(Access::Proven, Access::Proven, immutable)
    }

    fn write(path: &str) -> Write {
        Write::of(path.parse().unwrap()).unwrap()
    }

    fn delete(path: &str) -> Delete {
        Delete::of(path.parse().unwrap()).unwrap()
    }

    #[test]
    fn each_right_needs_its_own_proof() {
        let policy = guarded(true);
        let nobody = Caller::anonymous;
        let reader = || Caller::proven_for_tests("alice", &[Scope::Reads]);
        let writer = || Caller::proven_for_tests("bob", &[Scope::Writes]);
        let reason = |caller, action| policy.authorise(caller, action).unwrap_err().reason;

        assert_eq!(reason(nobody(), write("dbt/x")), Reason::NotSignedIn);
        assert_eq!(reason(reader(), write("dbt/x")), Reason::NotAllowed(Permission::Create));
        assert!(policy.authorise(writer(), write("dbt/x")).is_ok());
        assert!(policy.authorise(reader(), Read::root()).is_ok());
        assert!(policy.authorise(writer(), Read::root()).is_err());
        assert!(policy.authorise(nobody(), Read::root()).is_err());
    }

    #[test]
    fn only_artifacts_are_frozen_and_only_when_that_is_configured() {
        let writer = || Caller::proven_for_tests("bob", &[Scope::Writes]);
        let overwrite = |immutable, path| {
            guarded(immutable).authorise(writer(), write(path)).unwrap().overwrite()
        };
        let artifact = "dbt-tools/x/1.0.0/linux/amd64/x";

        assert_eq!(overwrite(true, artifact), Overwrite::SameBytesOnly);
        assert_eq!(overwrite(true, "dbt/latest"), Overwrite::Allowed);
        assert_eq!(overwrite(false, artifact), Overwrite::Allowed);
    }

    #[test]
    fn what_nobody_may_delete_is_refused_even_to_writers_but_strangers_are_not_told() {
        let policy = guarded(true);
        let writer = Caller::proven_for_tests("bob", &[Scope::Writes]);
        let denied = policy.authorise(writer, delete("dbt")).unwrap_err();
        assert!(matches!(denied.reason, Reason::Protected(_)));
        let denied = policy.authorise(Caller::anonymous(), delete("dbt")).unwrap_err();
        assert_eq!(denied.reason, Reason::NotSignedIn);
    }

    #[test]
    fn a_plain_writer_leaves_signed_metadata_alone_and_a_truststore_must_follow() {
        let policy = guarded(false);
        let writer = || Caller::proven_for_tests("bob", &[Scope::Writes]);
        for path in ["dbt/tuf/1.root.json", "dbt/tuf/timestamp.json"] {
            let denied = policy.authorise(writer(), write(path)).unwrap_err();
            assert_eq!(denied.reason, Reason::NotAllowed(Permission::Create), "{path}");
            assert!(policy.authorise(writer(), delete(path)).is_err(), "{path}");
        }
        assert!(policy.authorise(writer(), delete("dbt/tuf")).is_err());
        for path in ["dbt/truststore", "dbt/truststore.manifest.json"] {
            assert!(policy.authorise(writer(), write(path)).unwrap().must_follow(), "{path}");
            assert!(policy.authorise(writer(), delete(path)).is_err(), "{path}");
        }
        assert!(!policy.authorise(writer(), write("dbt/latest")).unwrap().must_follow());
    }
}
