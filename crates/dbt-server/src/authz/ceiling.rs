//! What narrows the rights of somebody who shows a token: never more than the rules permit, and of
//! that only so much.

use std::fmt;

use super::glob::PathGlob;
use super::rules::{ADMIN, Wish, holds_at};

/// A limit on whatever rights somebody has. An empty list limits nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ceiling {
    /// Only what one of these roles permits.
    pub roles: Vec<String>,
    /// Only where one of these matches.
    pub paths: Vec<PathGlob>,
}

impl Ceiling {
    /// Says whether it limits anything.
    pub const fn is_none(&self) -> bool {
        self.roles.is_empty() && self.paths.is_empty()
    }

    /// Says whether an administrator stays one within it, as far as what can be handed on goes.
    pub fn leaves_administrators(&self) -> bool {
        let is_everywhere = |glob: &PathGlob| glob.to_string() == "/**";
        (self.roles.is_empty() || self.roles.iter().any(|role| role == ADMIN))
            && (self.paths.is_empty() || self.paths.iter().any(is_everywhere))
    }

    /// Says whether whatever another leaves this one leaves, too, as far as that can be told from how
    /// they are written.
    pub fn includes(&self, other: &Self) -> bool {
        let in_paths = |it: &PathGlob| self.paths.iter().any(|wide| wide.includes(it));
        (self.roles.is_empty()
            || !other.roles.is_empty() && other.roles.iter().all(|it| self.roles.contains(it)))
            && (self.paths.is_empty()
                || !other.paths.is_empty() && other.paths.iter().all(in_paths))
    }

    /// Says whether what somebody wants to do is within it, roles aside.
    pub fn admits(&self, wish: &Wish<'_>) -> bool {
        self.paths.is_empty() || self.paths.iter().any(|glob| holds_at(glob, wish))
    }
}

/// One line, the same for ceilings that limit the same way.
impl fmt::Display for Ceiling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "roles {:?} paths", self.roles)?;
        self.paths.iter().try_for_each(|glob| write!(f, " {:?}", glob.to_string()))
    }
}
