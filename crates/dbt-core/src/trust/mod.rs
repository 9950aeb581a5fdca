//! Who may sign what, and whether some bytes are what they claim to be.

pub mod fingerprint;
pub mod keys;
pub mod openpgp;
pub mod rules;
