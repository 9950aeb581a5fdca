//! `reposerver`: the repository server.
//!
//! Every request takes one road ([`pipeline::serve`]): its path is parsed, its caller identified,
//! its action authorised, and only the [`authz::Grant`] that this gives opens the storage. Writes
//! and refusals are recorded.

pub mod action;
pub mod api;
pub mod app;
pub mod args;
pub mod audit;
pub mod authn;
pub mod authz;
pub mod commands;
pub mod conditions;
pub mod config;
pub mod connection;
pub mod content;
pub mod env;
pub mod error;
mod event_loops;
pub mod following;
pub mod limits;
pub mod listen;
pub mod listing;
pub mod log;
pub mod operate;
pub mod outbound;
pub mod pipeline;
mod possession;
pub mod ranges;
pub mod request_id;
pub mod respond;
pub mod router;
pub mod serve;
pub mod slots;
pub mod state;
pub mod storage;
pub mod strict_json;
pub mod target;
pub mod time;
mod token_ends;
pub mod tokens;
pub mod upload;
pub mod users;
pub mod v1;
pub mod web;
pub mod writable;
