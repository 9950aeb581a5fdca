//! Finds, fetches, verifies and keeps tools, and becomes them.
//!
//! This crate never prints, never reads the environment and never exits: it can be tested in
//! memory and is used by several programs.

pub mod anchor;
pub mod auth;
pub mod beside;
mod bounded_program;
mod cached_copy;
pub mod catalog;
pub mod config;
pub mod deletion;
pub mod download;
pub mod exec;
pub mod fsx;
mod nearest;
pub mod notice;
pub mod obtain;
pub mod oidc;
pub mod ownership;
pub mod prepare;
pub mod progress;
pub mod prune;
pub mod repository;
pub mod reserved;
pub mod rollback;
mod room;
mod round;
pub mod self_update;
pub mod session;
pub mod settings;
pub mod signed_index;
pub mod source;
pub mod state;
pub mod store;
pub mod token_cache;
pub mod tuf;
pub mod url;
pub mod whoami;
