//! Times as text: HTTP dates, and RFC 3339 for JSON.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Returns the time since 1970, or zero for anything before.
pub fn since_epoch(time: SystemTime) -> Duration {
    time.duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// Returns the time without its fraction of a second: what an HTTP date can say.
pub fn whole_seconds(time: SystemTime) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(since_epoch(time).as_secs())
}

/// Returns the time as an HTTP date.
pub fn http_date(time: SystemTime) -> String {
    httpdate::fmt_http_date(time)
}

/// Reads an HTTP date in any of its three forms.
pub fn parse_http_date(text: &str) -> Option<SystemTime> {
    httpdate::parse_http_date(text).ok()
}

/// Returns the time as RFC 3339 in UTC, with as many digits of the fraction as are needed.
pub fn rfc_3339(time: SystemTime) -> String {
    let elapsed = since_epoch(time);
    let (days, second) = (elapsed.as_secs() / 86_400, elapsed.as_secs() % 86_400);
    let (year, month, day) = civil(days);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    let mut text = format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}");
    if elapsed.subsec_nanos() != 0 {
        let fraction = format!(".{:09}", elapsed.subsec_nanos());
        text.push_str(fraction.trim_end_matches('0'));
    }
    text.push('Z');
    text
}

/// Turns days since 1970-01-01 into year, month and day of the Gregorian calendar.
///
/// Counts in eras of 400 years that begin on a first of March, so that the leap day is last.
const fn civil(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + if month <= 2 { 1 } else { 0 };
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_rfc_3339_in_utc() {
        let at = |seconds, nanos| UNIX_EPOCH + Duration::new(seconds, nanos);
        assert_eq!(rfc_3339(at(0, 0)), "1970-01-01T00:00:00Z");
        assert_eq!(rfc_3339(at(951_782_400, 0)), "2000-02-29T00:00:00Z");
        assert_eq!(rfc_3339(at(1_795_306_753, 91_152_180)), "2026-11-22T00:19:13.09115218Z");
        assert_eq!(rfc_3339(at(4_107_542_399, 0)), "2100-02-28T23:59:59Z");
    }
}
