//! The programs as they are released, on hosts that need them to be: `make test-static` builds
//! them and runs this.

#![expect(clippy::unwrap_used, reason = "what is unexpected in a test fails it")]

mod branded;
mod built;
mod emulated;
mod hosts;
mod libraries;
mod verity;
mod windows;
mod windows_client;
