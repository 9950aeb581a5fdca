//! The user's own signing keys: making, storing, listing and exporting them.

pub(crate) mod certificate;
pub(crate) mod commands;
mod der;
mod enclose;
pub(crate) mod external;
pub(crate) mod passphrase;
pub(crate) mod ring;
pub(crate) mod secret;
