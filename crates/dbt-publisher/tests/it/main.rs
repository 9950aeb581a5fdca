//! The real program, against a directory, a scripted server, and the user's `gpg`.

#![expect(clippy::unwrap_used, reason = "the helpers of tests are tests too")]

mod delete;
mod gpg;
mod http;
mod keys;
mod maintain;
mod publish;
mod truststore;
mod upload;
mod world;
