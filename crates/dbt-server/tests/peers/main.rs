//! Real peers of the repository server: an identity provider and a directory service as they are.
//! `make test-peers` runs this; `scripts/install-peers` brings what it needs.

#![expect(clippy::unwrap_used, reason = "what is unexpected in a test fails it")]

mod identity_provider;
mod slapd;
#[path = "../it/world.rs"]
#[expect(dead_code, reason = "other tests use the rest")]
mod world;
