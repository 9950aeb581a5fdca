//! Settings of the record: how much of it is kept, and where its checkpoints go.

use std::time::Duration;

use super::file::Written;
use super::{ConfigError, Decide};
use crate::audit::kept::Retain;
use crate::env::Environment;
use crate::outbound::SafeUrl;
use crate::outbound::proxy::Proxies;

/// How the record is kept.
#[derive(Clone, Debug)]
pub struct AuditSettings {
    /// How much of it is kept.
    pub retain: Retain,
    /// Where checkpoints are sent, besides the log.
    pub anchor: Option<SafeUrl>,
    /// The way there.
    pub proxies: Proxies,
}

/// Longer than a year, so that a yearly review sees all of it.
const RETAIN: &str = "400d";

const DAY: u64 = 24 * 60 * 60;

const UNITS: [(&str, u64); 3] = [("MiB", 1 << 20), ("GiB", 1 << 30), ("TiB", 1 << 40)];

impl Decide<'_> {
    pub(super) fn audit(
        &mut self,
        written: &Written,
        environment: &Environment,
    ) -> Result<AuditSettings, ConfigError> {
        let chosen = self.sourced_if(written.audit.retain.clone());
        let retain =
            retain(&self.or("audit.retain", chosen, RETAIN.to_owned())).ok_or_else(|| {
                let reason = "is an age like `400d`, a size like `2GiB`, or both: `400d 2GiB`";
                ConfigError::setting("audit.retain", reason)
            })?;
        let anchor = match &written.audit.anchor_url {
            None => None,
            Some(text) => {
                self.keep("audit.anchorUrl", self.sourced(text));
                let url = text.parse::<SafeUrl>();
                let url = url
                    .map_err(|error| ConfigError::setting("audit.anchorUrl", error.to_string()))?;
                Some(url)
            }
        };
        let proxies = Proxies::of(environment)
            .map_err(|(name, bad)| ConfigError::setting(name, bad.to_string()))?;
        Ok(AuditSettings { retain, anchor, proxies })
    }
}

fn retain(text: &str) -> Option<Retain> {
    let mut retain = Retain { age: None, bytes: None };
    for word in text.split([' ', ',']).filter(|word| !word.is_empty()) {
        if let Some(days) = word.strip_suffix('d') {
            let days: u64 = days.parse().ok().filter(|days| *days > 0)?;
            let age = Duration::from_secs(days.checked_mul(DAY)?);
            retain.age.replace(age).is_none().then_some(())?;
            continue;
        }
        let size = UNITS.iter().find_map(|(unit, bytes)| Some((word.strip_suffix(unit)?, bytes)));
        let (count, bytes) = size?;
        let bytes = count.parse::<u64>().ok().filter(|count| *count > 0)?.checked_mul(*bytes)?;
        retain.bytes.replace(bytes).is_none().then_some(())?;
    }
    (retain.age.is_some() || retain.bytes.is_some()).then_some(retain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_age_a_size_or_both_say_how_much_is_kept() {
        let days = |count| Some(Duration::from_secs(count * DAY));
        for (text, age, bytes) in [
            ("400d", days(400), None),
            ("2GiB", None, Some(2 << 30)),
            ("1d 10MiB", days(1), Some(10 << 20)),
            ("1TiB, 7d", days(7), Some(1 << 40)),
        ] {
            assert_eq!(retain(text), Some(Retain { age, bytes }), "{text}");
        }
        for text in
            ["", "0d", "d", "-1d", "4w", "2GB", "GiB", "1d 2d", "1d x", "99999999999999999d"]
        {
            assert_eq!(retain(text), None, "{text}");
        }
    }
}
