//! Real peers: web servers, tools as people build them, and the requests of the older program's
//! client. `make test-peers` runs this; `scripts/install-peers` brings what it needs.

#![expect(clippy::unwrap_used, reason = "what is unexpected in a test fails it")]

#[path = "../it/completions/shells.rs"]
mod completing;
#[path = "../it/handmade/daemon.rs"]
mod daemon;
#[path = "../it/handmade/life.rs"]
mod life;
#[path = "../it/handmade/recipe.rs"]
mod recipe;

mod announced;
mod apache;
mod build_installer;
mod bundle;
mod catalogs;
mod compiled;
mod desk;
mod disks;
mod examples;
mod first_steps;
mod gitlab;
mod installer;
mod installing;
mod keychain;
mod migration;
mod moto;
mod multicall;
mod network;
mod nginx;
mod older_client;
mod page;
mod pages;
mod pipelines;
mod place;
mod publishing;
mod quickstart;
mod releasing;
#[expect(dead_code, reason = "the long tests use the rest")]
mod reposerver;
mod secrets;
mod shells;
mod sign_in;
mod signing_in;
mod site;
mod staging;
mod started;
mod static_host;
mod traced;
mod tuf_differential;
mod web_server;
