//! One function for each parser of foreign bytes: it takes any bytes, and panics when something is
//! not true that must be. Never shipped.
//!
//! `fuzz/` feeds them with libFuzzer; `tests/it/` with the committed corpus, on any compiler. None
//! of them only waits for a crash: each compares what was read with another way of knowing it.

#![expect(clippy::unwrap_used, reason = "a panic is how a target says that something is wrong")]
#![expect(clippy::expect_used, reason = "a panic is how a target says that something is wrong")]
#![expect(clippy::missing_panics_doc, reason = "the crate's documentation says it for all")]

pub mod announcement;
pub mod answer;
pub mod archive;
pub mod callback;
pub mod catalog;
pub mod checksum;
pub mod claims;
pub mod client_config;
pub mod command_line;
pub mod credential;
pub mod directory;
pub mod directory_filter;
pub mod documents;
pub mod endpoint;
pub mod fixtures;
pub mod function_output;
pub mod gomason;
pub mod grammar;
pub mod input;
pub mod job;
pub mod listing;
pub mod metadata;
pub mod netrc;
pub mod provider;
pub mod request;
pub mod server_config;
pub mod sign_in;
pub mod signature;
pub mod signed_token;
pub mod signer;
pub mod state;
pub mod token_cache;
pub mod truststore;
pub mod users;
pub mod web;

/// A parser of foreign bytes, and what is demanded of it.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// Its name: of the program in `fuzz/fuzz_targets` and of the directory in `fuzz/corpus`.
    pub name: &'static str,
    /// Reads any bytes; panics when something is not true that must be.
    pub run: fn(&[u8]),
}

/// All of them.
pub const TARGETS: &[Target] = &[
    Target { name: "announcement", run: announcement::run },
    Target { name: "answer", run: answer::run },
    Target { name: "archive", run: archive::run },
    Target { name: "callback", run: callback::run },
    Target { name: "catalog", run: catalog::run },
    Target { name: "checksum", run: checksum::run },
    Target { name: "claims", run: claims::run },
    Target { name: "client_config", run: client_config::run },
    Target { name: "command_line", run: command_line::run },
    Target { name: "credential", run: credential::run },
    Target { name: "directory", run: directory::run },
    Target { name: "directory_filter", run: directory_filter::run },
    Target { name: "documents", run: documents::run },
    Target { name: "function_output", run: function_output::run },
    Target { name: "gomason", run: gomason::run },
    Target { name: "grammar", run: grammar::run },
    Target { name: "job", run: job::run },
    Target { name: "listing", run: listing::run },
    Target { name: "metadata", run: metadata::run },
    Target { name: "netrc", run: netrc::run },
    Target { name: "provider", run: provider::run },
    Target { name: "request", run: request::run },
    Target { name: "server_config", run: server_config::run },
    Target { name: "sign_in", run: sign_in::run },
    Target { name: "signature", run: signature::run },
    Target { name: "signed_token", run: signed_token::run },
    Target { name: "state", run: state::run },
    Target { name: "token_cache", run: token_cache::run },
    Target { name: "truststore", run: truststore::run },
    Target { name: "users", run: users::run },
    Target { name: "web", run: web::run },
];
