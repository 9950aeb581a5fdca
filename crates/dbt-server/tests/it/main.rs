//! The real program, spoken to over real sockets; and, where time or failure must be arranged,
//! its pipeline in memory.

#![expect(clippy::unwrap_used, reason = "the helpers of tests are tests too")]

mod audit;
mod auth;
mod config;
mod crash;
mod deletes;
mod disks;
mod following;
mod htpasswd;
mod http2;
mod index;
mod ldap;
mod limits;
mod listing;
mod matrix;
mod memory;
mod oidc;
mod paths;
mod policies;
mod publishing;
mod ranges;
mod reads;
mod releases;
mod ssh;
mod ssh_agent;
mod tokens;
mod trash;
mod world;
mod writes;
