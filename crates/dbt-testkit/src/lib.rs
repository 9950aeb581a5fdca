//! Worlds for tests: people with keys, repositories on disk, a file server with faults, a home
//! directory, and the real program run in them. Never shipped.
//!
//! Everything here panics with words when the world itself is broken: a test that cannot be set
//! up has failed.

#![expect(clippy::unwrap_used, reason = "a world that cannot be made fails its test")]
#![expect(clippy::expect_used, reason = "a world that cannot be made fails its test")]
#![expect(clippy::missing_panics_doc, reason = "the crate's documentation says it for all")]

pub mod black_hole;
pub mod browser;
pub mod bucket_server;
pub mod changes;
pub mod dex;
pub mod directory_service;
pub mod errors_page;
pub mod exits;
pub mod faults;
pub mod glewlwyd;
pub mod hostile;
pub mod http;
pub mod identity_provider;
pub mod invocation;
pub mod keychain;
mod listing;
pub mod oidc_provider;
mod p521;
pub mod people;
pub mod planted;
pub mod proxy;
mod redact;
pub mod relay;
pub mod repository;
pub mod server;
pub mod short_writes;
pub mod snapshot;
pub mod ssh_agent;
pub mod stranger;
pub mod times;
pub mod tls;
pub mod token_endpoint;
mod traced;
pub mod tuf;
pub mod world;
