//! The environment, read once.
//!
//! Nothing else in this crate looks at it; the configuration is given this table.

use std::collections::BTreeMap;

/// Every variable of the process whose name and value are text.
pub type Environment = BTreeMap<String, String>;

/// Reads the process's environment.
#[expect(clippy::disallowed_methods, reason = "the one place that reads the environment")]
pub fn read() -> Environment {
    let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
        Some((name.into_string().ok()?, value.into_string().ok()?))
    };
    std::env::vars_os().filter_map(text).collect()
}
