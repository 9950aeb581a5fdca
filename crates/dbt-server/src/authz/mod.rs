//! Who may do what: the only maker of a [`Grant`].

use dbt_core::brand;

use crate::action::{Action, Delete, Kind, Read, Write};
use crate::authn::{Caller, Scope};
use crate::writable;

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
}

impl Grant<Write> {
    /// Says whether what is there may be replaced.
    pub const fn overwrite(&self) -> Overwrite {
        self.overwrite
    }
}

/// Who may read and who may write.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    /// Who may read.
    pub reads: Access,
    /// Who may write and delete.
    pub writes: Access,
    /// Whether artifacts stay as they were first published.
    pub immutable: bool,
}

/// Who may do something.
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
    /// Says whether an action is open to everybody, so that credentials need not be looked at.
    pub fn is_open(self, kind: Kind) -> bool {
        self.access(kind) == Access::Anyone
    }

    /// Decides whether a caller may act. Nothing else makes a [`Grant`].
    pub fn authorise<A: Action + Guarded>(
        self,
        caller: Caller,
        action: A,
    ) -> Result<Grant<A>, Denied> {
        let scope = match A::KIND {
            Kind::Read => Scope::Reads,
            Kind::Write | Kind::Delete => Scope::Writes,
        };
        let allowed = match self.access(A::KIND) {
            Access::Anyone => true,
            Access::Proven => caller.is_proven_for(scope),
            Access::Nobody => false,
        };
        if !allowed {
            let reason =
                if caller.is_anonymous() { Reason::NotSignedIn } else { Reason::NotAllowed };
            return Err(Denied { caller, kind: A::KIND, path: action.path().to_string(), reason });
        }
        if let Some(why) = action.protected() {
            let path = action.path().to_string();
            return Err(Denied { caller, kind: A::KIND, path, reason: Reason::Protected(why) });
        }
        let frozen = self.immutable && writable::is_create_only(action.path());
        let overwrite = if frozen { Overwrite::SameBytesOnly } else { Overwrite::Allowed };
        Ok(Grant { caller, action, overwrite })
    }

    const fn access(self, kind: Kind) -> Access {
        match kind {
            Kind::Read => self.reads,
            Kind::Write | Kind::Delete => self.writes,
        }
    }
}

/// Paths on which nobody may act in some way.
pub trait Guarded {
    /// Says why not, if so.
    fn protected(&self) -> Option<&'static str>;
}

impl Guarded for Read {
    fn protected(&self) -> Option<&'static str> {
        None
    }
}

impl Guarded for Write {
    fn protected(&self) -> Option<&'static str> {
        None
    }
}

impl Guarded for Delete {
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
    #[error("this credential does not permit it")]
    NotAllowed,
    /// Nobody may.
    #[error("{0}")]
    Protected(&'static str),
}

/// The realm named to callers who must sign in.
pub const REALM: &str = brand::PROGRAM;

#[cfg(test)]
mod tests {
    use super::*;

    const GUARDED: Policy =
        Policy { reads: Access::Proven, writes: Access::Proven, immutable: true };

    fn write(path: &str) -> Write {
        Write::of(path.parse().unwrap()).unwrap()
    }

    #[test]
    fn each_right_needs_its_own_proof() {
        let nobody = Caller::anonymous;
        let reader = || Caller::proven_for_tests("alice", &[Scope::Reads]);
        let writer = || Caller::proven_for_tests("bob", &[Scope::Writes]);
        let reason = |caller, action| GUARDED.authorise(caller, action).unwrap_err().reason;

        assert_eq!(reason(nobody(), write("dbt/x")), Reason::NotSignedIn);
        assert_eq!(reason(reader(), write("dbt/x")), Reason::NotAllowed);
        assert!(GUARDED.authorise(writer(), write("dbt/x")).is_ok());
        assert!(GUARDED.authorise(reader(), Read::root()).is_ok());
        assert!(GUARDED.authorise(writer(), Read::root()).is_err());
        assert!(GUARDED.authorise(nobody(), Read::root()).is_err());
    }

    #[test]
    fn only_artifacts_are_frozen_and_only_when_that_is_configured() {
        let writer = || Caller::proven_for_tests("bob", &[Scope::Writes]);
        let overwrite =
            |policy: Policy, path| policy.authorise(writer(), write(path)).unwrap().overwrite();
        let artifact = "dbt-tools/x/1.0.0/linux/amd64/x";

        assert_eq!(overwrite(GUARDED, artifact), Overwrite::SameBytesOnly);
        assert_eq!(overwrite(GUARDED, "dbt/latest"), Overwrite::Allowed);
        assert_eq!(overwrite(Policy { immutable: false, ..GUARDED }, artifact), Overwrite::Allowed);
    }

    #[test]
    fn what_nobody_may_delete_is_refused_even_to_writers_but_strangers_are_not_told() {
        let root = || Delete::of("dbt".parse().unwrap()).unwrap();
        let writer = Caller::proven_for_tests("bob", &[Scope::Writes]);
        let denied = GUARDED.authorise(writer, root()).unwrap_err();
        assert!(matches!(denied.reason, Reason::Protected(_)));
        let denied = GUARDED.authorise(Caller::anonymous(), root()).unwrap_err();
        assert_eq!(denied.reason, Reason::NotSignedIn);
    }
}
