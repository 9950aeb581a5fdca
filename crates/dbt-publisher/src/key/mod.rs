//! The user's own signing keys: making, storing, listing and exporting them.

pub(crate) mod certificate;
pub(crate) mod commands;
pub(crate) mod passphrase;
pub(crate) mod ring;
pub(crate) mod secret;
