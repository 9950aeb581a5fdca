//! The real program, spoken to over real sockets; and, where time or failure must be arranged,
//! its pipeline in memory.

#![expect(clippy::unwrap_used, reason = "the helpers of tests are tests too")]

mod audit;
mod auth;
mod config;
mod crash;
mod deletes;
mod following;
mod htpasswd;
mod ldap;
mod limits;
mod listing;
mod matrix;
mod oidc;
mod paths;
mod policies;
mod ranges;
mod reads;
mod ssh;
mod ssh_agent;
mod tokens;
mod world;
mod writes;
