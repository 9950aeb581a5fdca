//! Lengths of time as people write them: `90s`, `10m`, `1h30m`, `2d`, `1w`.

use std::str::FromStr;
use std::time::Duration;

/// A length of time greater than nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Interval(pub Duration);

/// The units, in seconds; `ms` is treated apart because it is shorter than one.
const UNITS: [(&str, f64); 6] =
    [("ms", 0.001), ("s", 1.0), ("m", 60.0), ("h", 3_600.0), ("d", 86_400.0), ("w", 604_800.0)];

/// The longest that makes sense, in seconds: a hundred years.
const LONGEST: f64 = 100.0 * 366.0 * 86_400.0;

impl FromStr for Interval {
    type Err = InvalidInterval;

    fn from_str(text: &str) -> Result<Self, InvalidInterval> {
        let refuse = || InvalidInterval(text.chars().take(40).collect());
        let mut rest = text;
        let mut seconds = 0.0;
        while !rest.is_empty() {
            let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(refuse)?;
            let (number, after) = rest.split_at(digits);
            let end = after.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(after.len());
            let (unit, after) = after.split_at(end);
            let (_name, factor) =
                UNITS.iter().find(|(name, _factor)| *name == unit).ok_or_else(refuse)?;
            let number: f64 = number.parse().map_err(|_error| refuse())?;
            seconds += number * factor;
            rest = after;
        }
        if !(seconds > 0.0 && seconds <= LONGEST) {
            return Err(refuse());
        }
        let length = Duration::from_secs_f64(seconds);
        // What is shorter than a nanosecond became nothing.
        if length.is_zero() { Err(refuse()) } else { Ok(Self(length)) }
    }
}

/// Some text is not a length of time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{}` is not a length of time greater than zero: expected one like `90s`, `10m`, `1h30m` or `2d`", .0.escape_debug())]
pub struct InvalidInterval(String);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn lengths_of_time_are_read_as_people_write_them() {
        for (text, seconds) in [
            ("90s", 90.0),
            ("10m", 600.0),
            ("1h30m", 5_400.0),
            ("1.5h", 5_400.0),
            ("250ms", 0.25),
            ("2d", 172_800.0),
            ("1w", 604_800.0),
        ] {
            let expected = Duration::from_secs_f64(seconds);
            assert_eq!(text.parse(), Ok(Interval(expected)), "{text}");
        }
    }

    #[test]
    fn nothing_negative_and_nonsense_are_no_lengths_of_time() {
        for text in [
            "",
            "0",
            "0s",
            "0d",
            "-1d",
            "10",
            "m",
            "1 h",
            " 1h",
            "1h ",
            "1y",
            "1.2.3s",
            ".s",
            "1e9s",
            "9999999999w",
            "NaNs",
            "infs",
            "1H",
            "0.0000000001s",
        ] {
            assert!(text.parse::<Interval>().is_err(), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn whole_numbers_of_units_are_their_sum(days in 0_u64..900, hours in 0_u64..99, seconds in 1_u64..99) {
            let text = format!("{days}d{hours}h{seconds}s");
            let expected = Duration::from_secs(days * 86_400 + hours * 3_600 + seconds);
            prop_assert_eq!(text.parse(), Ok(Interval(expected)));
        }

        #[test]
        fn whatever_is_read_is_more_than_nothing_and_less_than_a_lifetime(
            text in "([0-9.]{1,12}(ms|s|m|h|d|w)){1,3}",
        ) {
            if let Ok(Interval(read)) = text.parse() {
                prop_assert!(!read.is_zero(), "{}", text);
                prop_assert!(read.as_secs_f64() <= LONGEST, "{}", text);
            }
        }
    }
}
