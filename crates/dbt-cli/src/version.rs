//! Which version this is, and of when.

use std::time::{Duration, SystemTime};

/// Returns the version of this build.
///
/// `DBT_BUILD_VERSION`, set when it is compiled, is the version under which it is published; a
/// build without it has the crate's.
pub const fn version() -> &'static str {
    match option_env!("DBT_BUILD_VERSION") {
        Some(version) => version,
        None => env!("CARGO_PKG_VERSION"),
    }
}

/// How a clock can be wrong so that anybody sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ImpossibleTime {
    /// Before this program was written.
    Early,
    /// Decades later.
    Late,
}

/// Says whether a clock that shows `now` cannot be right.
pub fn impossible(now: SystemTime) -> Option<ImpossibleTime> {
    /// The first of January 2026, when this program was being written.
    const WRITTEN: Duration = Duration::from_hours(490_896);
    const YEARS: Duration = Duration::from_hours(30 * 365 * 24);

    let written = SystemTime::UNIX_EPOCH + WRITTEN;
    match now.duration_since(written) {
        Err(_before) => Some(ImpossibleTime::Early),
        Ok(since) if since > YEARS => Some(ImpossibleTime::Late),
        Ok(_) => None,
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn our_version_is_one_that_can_be_published() {
        let version: dbt_core::version::Version = super::version().parse().unwrap();
        assert!(!version.spelling().starts_with('v'));
    }
}
