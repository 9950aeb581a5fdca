//! Real programs in front of the server and against it: curl, nginx and Apache as proxies, and a
//! tester of APIs. `make test-peers` runs this; `scripts/install-peers` brings what it needs.

#![expect(clippy::unwrap_used, reason = "the helpers of tests are tests too")]

#[path = "../it/world.rs"]
#[expect(dead_code, reason = "the other tests use the rest")]
mod world;

mod curl;
mod openapi;
mod proxies;
