//! The real program, against a directory, a scripted server, and the user's `gpg`.

#![expect(clippy::unwrap_used, reason = "the helpers of tests are tests too")]

mod delete;
mod exec;
mod gpg;
mod http;
mod init;
mod inputs;
mod interrupted;
mod keys;
mod maintain;
mod pages;
mod publish;
mod put_back;
mod release;
mod staging;
mod troubleshooting;
mod truststore;
mod upload;
mod verify;
mod world;
