//! Who may do what: the only maker of a [`Grant`].

use dbt_core::brand;

use crate::action::{Action, Delete, Kind, Read, Write};
use crate::authn::Caller;
use crate::writable;

pub mod glob;
pub mod permission;
pub mod rules;
pub mod subject;

use self::permission::Permission;
use self::rules::{Extent, Rules};

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
    replaces: bool,
    extent: Extent,
    open: bool,
}

/// Whether a granted write may put other bytes in the place of what is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overwrite {
    /// It may.
    Allowed,
    /// What was published stays; sending the same bytes again is no error.
    SameBytesOnly,
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

    /// Says whether the caller could replace a file here, were it not for its being immutable.
    pub const fn may_replace(&self) -> bool {
        self.replaces
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
            replaces: false,
            extent: Extent::Full,
            open: false,
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
        let nobody = Caller::anonymous();
        self.rules.permit(&nobody, action.permission(), action.path()).is_some()
    }

    /// Decides whether a caller may act. Nothing else makes a [`Grant`].
    pub fn authorise<A: Action + Guarded>(
        &self,
        caller: Caller,
        action: A,
    ) -> Result<Grant<A>, Denied> {
        let (path, needed) = (action.path(), action.permission());
        let deny =
            |caller, reason| Err(Denied { caller, kind: A::KIND, path: path.to_string(), reason });
        let Some(permitted) = self.rules.permit(&caller, needed, path) else {
            let anonymous = caller.is_anonymous();
            let reason = if anonymous { Reason::NotSignedIn } else { Reason::NotAllowed(needed) };
            return deny(caller, reason);
        };
        if let Some(why) = action.protected() {
            return deny(caller, Reason::Protected(why));
        }
        let replace = self.rules.permit(&caller, Permission::Replace, path);
        let extent = match (A::KIND, permitted.extent) {
            (Kind::Read, _) => Extent::Full,
            (Kind::Delete, Extent::Following) => return deny(caller, Reason::Following),
            // Creating is no way around what replacing may not do, nor the other way round.
            (_, Extent::Full) => replace.map_or(Extent::Full, |replace| replace.extent),
            (_, Extent::Following) => Extent::Following,
        };
        let frozen = self.immutable && writable::is_create_only(path);
        let overwrite =
            if frozen || replace.is_none() { Overwrite::SameBytesOnly } else { Overwrite::Allowed };
        let open = self.is_open(&action);
        Ok(Grant { caller, overwrite, replaces: replace.is_some(), extent, open, action })
    }
}

/// What an action needs, and paths on which nobody may act in some way.
pub trait Guarded {
    /// Returns what the caller must be permitted.
    fn permission(&self) -> Permission;

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

impl Guarded for Write {
    fn permission(&self) -> Permission {
        Permission::Create
    }
}

impl Guarded for Delete {
    fn permission(&self) -> Permission {
        Permission::Delete
    }

    fn protected(&self) -> Option<&'static str> {
        Self::protected(self)
    }
}

/// A caller may not do what was asked.
#[derive(Debug, thiserror::Error)]
#[error("{} of `/{path}` refused: {reason}", kind.as_str())]
pub struct Denied {
    /// Who asked.
    pub caller: Caller,
    /// What was asked.
    pub kind: Kind,
    /// For which path.
    pub path: String,
    /// Why it was refused.
    pub reason: Reason,
}

/// Why an action was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// It needs a credential, and there was none.
    #[error("a credential is required")]
    NotSignedIn,
    /// The caller is known, and may not.
    #[error("no rule permits this caller to `{0}` here")]
    NotAllowed(Permission),
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
    use crate::authn::Scope;

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
