//! The search for a target through delegations: pre-order, depth first (specification, 5.6.7).

use std::collections::{BTreeSet, VecDeque};

use super::VISITS_LIMIT;
use super::error::MetadataError;
use super::role::RoleName;
use super::target::Target;
use super::update::Trusted;

/// One search. It goes on with [`Trusted::step`] until it ends.
#[derive(Debug)]
pub struct Search {
    path: String,
    next: VecDeque<Visit>,
    visited: BTreeSet<String>,
}

/// A role to look into.
#[derive(Debug, Clone)]
enum Visit {
    Targets,
    Delegated(Wanted),
}

/// A delegated role whose metadata the search needs. [`Trusted::admit`] takes it in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    pub(super) role: RoleName,
    pub(super) delegator: String,
}

impl Wanted {
    /// Returns whose metadata is needed.
    pub const fn role(&self) -> &RoleName {
        &self.role
    }
}

/// How a search goes on.
#[derive(Debug)]
pub enum Step {
    /// The target is listed.
    Found(Target),
    /// First the metadata of a role is needed.
    Wanted(Wanted),
    /// Nobody who may list it does.
    NotFound,
}

impl Search {
    /// Begins to look for a target.
    pub fn of(path: &str) -> Self {
        Self {
            path: path.to_owned(),
            next: VecDeque::from([Visit::Targets]),
            visited: BTreeSet::new(),
        }
    }

    /// Puts the roles that `targets` delegates this path to before all others. Behind a terminating
    /// one nobody is asked any more, whoever delegated to it.
    fn delegate(
        &mut self,
        targets: &sigstore_tuf::Targets,
        delegator: &str,
    ) -> Result<(), MetadataError> {
        let roles = targets.delegations.iter().flat_map(|delegations| &delegations.roles);
        let mut children = VecDeque::new();
        for child in roles {
            let matches = child.matches_path(&self.path);
            if !matches.map_err(|error| MetadataError::of(delegator, error))? {
                continue;
            }
            let role = RoleName::new(&child.name)?;
            children.push_back(Visit::Delegated(Wanted { role, delegator: delegator.to_owned() }));
            if child.terminating {
                self.next.clear();
                break;
            }
        }
        children.append(&mut self.next);
        self.next = children;
        Ok(())
    }
}

impl Trusted {
    /// Returns the paths beneath `prefix` that are listed by the roles that a search has looked into. What a path
    /// there means, only a search for that path itself says.
    pub fn listed<'a>(
        &'a self,
        search: &'a Search,
        prefix: &'a str,
    ) -> impl Iterator<Item = &'a str> {
        let roles = search.visited.iter().filter_map(|role| self.set_role(role));
        let paths = roles.flat_map(|targets| targets.targets.keys());
        paths.map(String::as_str).filter(move |path| path.starts_with(prefix))
    }

    /// Goes on with a search until it ends or needs the metadata of another role.
    pub fn step(&self, search: &mut Search) -> Result<Step, MetadataError> {
        while let Some(visit) = search.next.pop_front() {
            let name = match &visit {
                Visit::Targets => "targets",
                Visit::Delegated(wanted) => wanted.role.as_str(),
            };
            if search.visited.contains(name) {
                continue;
            }
            if search.visited.len() >= VISITS_LIMIT {
                let path = search.path.clone();
                return Err(MetadataError::TooManyRoles { path, limit: VISITS_LIMIT });
            }
            let targets = match &visit {
                Visit::Targets => self.targets()?,
                Visit::Delegated(wanted) => {
                    let Some(targets) = self.delegated(wanted)? else {
                        let wanted = wanted.clone();
                        search.next.push_front(visit);
                        return Ok(Step::Wanted(wanted));
                    };
                    targets
                }
            };
            search.visited.insert(name.to_owned());
            if let Some(listed) = targets.target(&search.path) {
                return Ok(Step::Found(Target::new(&search.path, name, listed)));
            }
            search.delegate(targets, name)?;
        }
        Ok(Step::NotFound)
    }
}
