//! The published exit codes, written down a second time: a test that took them from the program
//! would not notice when one changes.

/// The command line is wrong.
pub const USAGE: i32 = 80;
/// The configuration is wrong or missing.
pub const CONFIGURATION: i32 = 81;
/// The server cannot be used, and nothing usable is cached.
pub const UNREACHABLE: i32 = 82;
/// Not signed in, or not allowed.
pub const REFUSED: i32 = 83;
/// No such tool, version or platform.
pub const NOT_FOUND: i32 = 84;
/// A signature, checksum or version was refused.
pub const VERIFICATION_REFUSED: i32 = 86;
/// A mistake of ours, or of this machine.
pub const INTERNAL: i32 = 87;
/// The tool is verified and cannot be executed.
pub const CANNOT_EXECUTE: i32 = 126;
