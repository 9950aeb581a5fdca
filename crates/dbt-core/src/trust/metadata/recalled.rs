//! What earlier updates have accepted, read again where nobody can be asked.
//!
//! Signatures count, from the root on; versions and ends do not: the newest snapshot may list what this machine has never
//! fetched, and then the list that it has is the best that there is. Whoever uses it judges its age.

use std::collections::BTreeMap;

use sigstore_tuf::{Error, Metadata, RoleKeys, Root, Targets};

use super::error::MetadataError;
use super::form;

/// Lists that were accepted before.
#[derive(Debug)]
pub(super) struct Recalled(BTreeMap<String, Metadata<Targets>>);

impl Recalled {
    /// Reads the top-level targets: signed as the root demands.
    pub(super) fn of(root: &Root, bytes: &[u8]) -> Result<Self, MetadataError> {
        let targets = read(bytes, "targets")?;
        let of = |error| MetadataError::of("targets", error);
        let role = root.role("targets").ok_or_else(|| Error::UnknownRole("targets".to_owned()));
        let role = role.map_err(of)?;
        targets.verify_threshold(&root.keys, role, "targets").map_err(of)?;
        Ok(Self(BTreeMap::from([("targets".to_owned(), targets)])))
    }

    /// Takes in a delegated role: signed as its delegator demands.
    pub(super) fn admit(
        &mut self,
        role: &str,
        delegator: &str,
        bytes: &[u8],
    ) -> Result<(), MetadataError> {
        let targets = read(bytes, role)?;
        self.check(role, delegator, &targets)?;
        self.0.insert(role.to_owned(), targets);
        Ok(())
    }

    /// Returns a list.
    pub(super) fn role(&self, role: &str) -> Option<&Targets> {
        self.0.get(role).map(Metadata::signed)
    }

    /// Returns a delegated list if it is there, checked against this delegator.
    pub(super) fn delegated(
        &self,
        role: &str,
        delegator: &str,
    ) -> Result<Option<&Targets>, MetadataError> {
        let Some(targets) = self.0.get(role) else { return Ok(None) };
        self.check(role, delegator, targets)?;
        Ok(Some(targets.signed()))
    }

    fn check(
        &self,
        role: &str,
        delegator: &str,
        targets: &Metadata<Targets>,
    ) -> Result<(), MetadataError> {
        let of = |error| MetadataError::of(role, error);
        let unknown = || of(Error::UnknownRole(role.to_owned()));
        let delegations = self.role(delegator).and_then(|it| it.delegations.as_ref());
        let delegations = delegations.ok_or_else(unknown)?;
        let delegated = delegations.roles.iter().find(|one| one.name == role);
        let signers: RoleKeys = delegated.ok_or_else(unknown)?.role_keys();
        targets.verify_threshold(&delegations.keys, &signers, role).map_err(of)
    }
}

fn read(bytes: &[u8], role: &str) -> Result<Metadata<Targets>, MetadataError> {
    form::check(bytes, "targets", role)?;
    Metadata::<Targets>::from_slice(bytes).map_err(|error| MetadataError::of(role, error))
}
