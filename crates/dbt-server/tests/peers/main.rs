//! Real programs in front of the server, beside it and against it: curl, jq, nginx and Apache as
//! proxies, a tester of APIs, an identity provider, a directory service, an ssh-agent
//! and a browser; and what
//! checks the files that it is deployed and watched with. `make test-peers` runs this;
//! `scripts/install-peers` brings what it needs.

#![expect(clippy::unwrap_used, reason = "what is unexpected in a test fails it")]

#[path = "../it/world.rs"]
#[expect(dead_code, reason = "the other tests use the rest")]
mod world;

#[path = "../it/tokens.rs"]
#[expect(dead_code, reason = "the other tests use the rest")]
mod tokens;

mod alerts;
mod curl;
mod identity_provider;
mod kubernetes;
mod monitoring;
mod openapi;
mod proxies;
mod slapd;
#[path = "../it/ssh_agent.rs"]
mod ssh_agent;
mod systemd;
mod trusted_publishing;
mod web;
