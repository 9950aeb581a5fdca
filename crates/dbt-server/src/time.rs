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
    // Every request is logged with two of them, which is why nothing general formats them.
    let mut text = String::with_capacity("2026-01-01T00:00:00.123456789Z".len());
    for (number, digits, end) in
        [(year, 4, '-'), (month, 2, '-'), (day, 2, 'T'), (hour, 2, ':'), (minute, 2, ':')]
    {
        push_digits(&mut text, number, digits);
        text.push(end);
    }
    push_digits(&mut text, second, 2);
    if elapsed.subsec_nanos() != 0 {
        text.push('.');
        push_digits(&mut text, elapsed.subsec_nanos().into(), 9);
        text.truncate(text.trim_end_matches('0').len());
    }
    text.push('Z');
    text
}

/// Appends a number with at least so many digits.
fn push_digits(text: &mut String, number: u64, digits: u32) {
    if digits > 1 || number > 9 {
        push_digits(text, number / 10, digits.saturating_sub(1));
    }
    text.push(char::from_digit((number % 10) as u32, 10).unwrap_or('0'));
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

/// Returns a moment in UTC, given as year, month and day, and hour, minute and second; nothing for
/// what is none, or before 1970.
pub fn of_civil(day: (u64, u64, u64), clock: (u64, u64, u64)) -> Option<SystemTime> {
    let ((year, month, of_month), (hour, minute, second)) = (day, clock);
    if !(1970..=9999).contains(&year) || !(1..=12).contains(&month) {
        return None;
    }
    // The way back from `civil`: years begin in March.
    let year_of_march = if month <= 2 { year - 1 } else { year };
    let shifted_month = if month <= 2 { month + 9 } else { month - 3 };
    let day_of_year = (153 * shifted_month + 2) / 5 + of_month.checked_sub(1)?;
    let leap_days = year_of_march / 4 - year_of_march / 100 + year_of_march / 400;
    let days = (365 * year_of_march + leap_days + day_of_year).checked_sub(719_468)?;
    let is_real = civil(days) == day && hour < 24 && minute < 60 && second < 60;
    let seconds = days * 86_400 + hour * 3600 + minute * 60 + second;
    is_real.then(|| UNIX_EPOCH + Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_is_the_day_that_it_names_and_what_is_none_is_nothing() {
        for days in (0..2_900_000).step_by(37) {
            let at = UNIX_EPOCH + Duration::from_secs(days * 86_400 + 3_723);
            assert_eq!(of_civil(civil(days), (1, 2, 3)), Some(at));
        }
        for day in [(2023, 2, 29), (2024, 4, 31), (2024, 0, 1), (2024, 1, 0), (1969, 12, 31)] {
            assert_eq!(of_civil(day, (0, 0, 0)), None, "{day:?}");
        }
        for clock in [(24, 0, 0), (0, 60, 0), (0, 0, 60)] {
            assert_eq!(of_civil((2024, 1, 1), clock), None, "{clock:?}");
        }
    }

    #[test]
    fn times_are_written_as_rfc_3339_in_utc() {
        let at = |seconds, nanos| UNIX_EPOCH + Duration::new(seconds, nanos);
        assert_eq!(rfc_3339(at(0, 0)), "1970-01-01T00:00:00Z");
        assert_eq!(rfc_3339(at(951_782_400, 0)), "2000-02-29T00:00:00Z");
        assert_eq!(rfc_3339(at(1_795_306_753, 91_152_180)), "2026-11-22T00:19:13.09115218Z");
        assert_eq!(rfc_3339(at(4_107_542_399, 0)), "2100-02-28T23:59:59Z");
    }
}
