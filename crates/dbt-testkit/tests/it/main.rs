//! The programs of the workshop, as a person uses them.

#![expect(clippy::unwrap_used, reason = "what is unexpected in a test fails it")]

mod changes;
mod evilrepo;
mod leftovers;
mod planted;
mod script;
mod short_writes;
