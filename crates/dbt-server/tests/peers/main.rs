//! Real programs in front of the server, beside it and against it: curl, nginx and Apache as
//! proxies, a tester of APIs, an identity provider and a directory service. `make test-peers` runs
//! this; `scripts/install-peers` brings what it needs.

#![expect(clippy::unwrap_used, reason = "what is unexpected in a test fails it")]

#[path = "../it/world.rs"]
#[expect(dead_code, reason = "the other tests use the rest")]
mod world;

mod curl;
mod identity_provider;
mod openapi;
mod proxies;
mod slapd;
