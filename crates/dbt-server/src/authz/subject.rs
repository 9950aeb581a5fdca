//! Whom a rule is about.

use std::fmt;

use crate::authn::{Caller, Group, Scope, Subject};

/// Whom a rule is about. A caller may be several of these.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Who {
    /// Everybody, also those who have not signed in.
    Anyone,
    /// Whoever runs commands on the server's own machine, as the server or as root.
    Host,
    /// Everybody who has signed in.
    SignedIn,
    /// Those who proved themselves by a method that is configured for this.
    ProvenFor(Scope),
    /// One subject.
    One(Subject),
    /// The members of a group, as an identity provider names it.
    Group(Group),
    /// The holders of a role.
    Role(String),
    /// The jobs that got a token by this rule of trusted publishing.
    JobsOf(String),
}

impl Who {
    /// Says whether a caller, with the roles it holds, is meant.
    pub fn is(&self, caller: &Caller, roles: &[&str]) -> bool {
        // A job has what its own rules say, and what everybody has: nothing that other rules say of those
        // who have signed in, of somebody of its name, or of a role, also where everybody holds that.
        if caller.is_job() && !matches!(self, Self::Anyone | Self::JobsOf(_)) {
            return false;
        }
        match self {
            Self::Anyone => true,
            Self::Host => caller.is_on_the_host(),
            Self::SignedIn => !caller.is_anonymous(),
            Self::ProvenFor(scope) => caller.is_proven_for(*scope) && caller.has_default_rights(),
            Self::One(subject) => caller.subject() == Some(subject),
            Self::Group(group) => caller.groups().iter().any(|member| group.includes(member)),
            Self::Role(role) => roles.contains(&role.as_str()),
            Self::JobsOf(rule) => caller.rules_of_job().any(|name| name == rule),
        }
    }
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Anyone => f.write_str("anonymous"),
            Self::Host => f.write_str("the server's own machine"),
            Self::SignedIn => f.write_str("authenticated"),
            Self::ProvenFor(Scope::Reads) => f.write_str("whoever `authTypeGet` accepts"),
            Self::ProvenFor(Scope::Writes) => f.write_str("whoever `authTypePut` accepts"),
            Self::One(subject) => write!(f, "{subject}"),
            Self::Group(group) => write!(f, "group:{group}"),
            Self::Role(role) => write!(f, "role:{role}"),
            Self::JobsOf(rule) => write!(f, "rule:{rule}"),
        }
    }
}
