//! The vocabulary of dbt, in reading order, and everything about it that can be decided without
//! touching the world.
//!
//! Three rules hold in this crate:
//!
//! 1. It opens nothing: no files, no sockets, no environment. It reads from readers.
//! 2. It asks nobody the time: `now` is an argument.
//! 3. Proofs ([`trust::Fetched`], [`trust::Verified`]) have private fields, so nothing outside can
//!    forge "verified".

pub mod announcement;
pub mod brand;
pub mod clock;
pub mod digest;
pub mod layout;
pub mod listing;
pub mod name;
pub mod no_proxy;
pub mod platform;
pub mod release;
pub mod repo_path;
pub mod secret;
pub mod select;
pub mod timestamp;
pub mod trust;
pub mod version;
