//! The real program, against a directory, a scripted server, and the user's `gpg`.

#![expect(clippy::unwrap_used, reason = "the helpers of tests are tests too")]

mod announcement;
mod bad_input;
mod bucket;
mod delete;
mod exec;
mod gpg;
mod http;
mod init;
mod inputs;
mod install_scripts;
mod installer;
mod interrupted;
mod keys;
mod maintain;
mod pages;
mod plain_servers;
mod publish;
mod put_back;
mod release;
mod signing_in_ci_page;
mod staging;
mod terminal;
mod troubleshooting;
mod truststore;
mod upload;
mod verify;
mod world;
