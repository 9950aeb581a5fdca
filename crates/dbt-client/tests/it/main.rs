//! The client's parts against real sockets, files and processes.

#![expect(clippy::unwrap_used, reason = "what is unexpected in a test fails it")]

mod aws;
mod download;
mod errors_page;
#[cfg(target_os = "linux")]
mod exec_fidelity;
#[cfg(target_os = "linux")]
mod exec_swap;
#[cfg(target_os = "linux")]
mod model;
mod oidc;
mod server;
mod source_certificates;
mod source_credentials;
mod source_destination;
mod source_directory;
mod source_http;
mod source_patience;
mod source_proxy;
mod source_redirects;
mod source_s3;
#[cfg(target_os = "linux")]
mod store_processes;
#[cfg(target_os = "linux")]
mod store_world;
mod tuf;
#[cfg(target_os = "linux")]
mod windows_names;
mod writing_s3;
