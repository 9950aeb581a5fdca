//! Settings of the server's own tokens.

use std::time::Duration;

use super::file::{Written, WrittenApiTokens};
use super::{ConfigError, Decide};
use crate::tokens::Settings;

impl Decide<'_> {
    /// Decides how long tokens count, and how many there may be.
    pub(super) fn api_tokens(&mut self, written: &Written) -> Result<Settings, ConfigError> {
        let WrittenApiTokens { max_days, max_per_subject } = &written.auth.api_tokens;
        let some = |key: &str, number: &Option<u32>| match number {
            Some(0) => Err(ConfigError::setting(key, "must be 1 or more")),
            given => Ok(*given),
        };
        let days = some("auth.apiTokens.maxDays", max_days)?;
        let each = some("auth.apiTokens.maxPerSubject", max_per_subject)?;
        let defaults = Settings::default();
        let longest = days.map(|days| Duration::from_hours(24 * u64::from(days)));
        let each = self.or("auth.apiTokens.maxPerSubject", self.sourced_if(each), defaults.each);
        Ok(Settings { longest, each })
    }
}
