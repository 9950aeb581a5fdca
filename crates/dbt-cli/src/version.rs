//! Which version this is.

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

#[cfg(test)]
mod tests {
    #[test]
    fn our_version_is_one_that_can_be_published() {
        let version: dbt_core::version::Version = super::version().parse().unwrap();
        assert!(!version.spelling().starts_with('v'));
    }
}
