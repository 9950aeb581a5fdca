//! Versions as published, and versions as wanted.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

/// The version of a release: `v?N.N.N[-pre][+build]`.
///
/// Numbers have up to 64 bits and no leading zeros. The directory's spelling is kept, because it
/// is part of the path; of two that are otherwise equal, the one without `v` is the greater.
#[derive(Clone, Debug)]
pub struct Version {
    spelling: String,
    number: semver::Version,
}

impl Version {
    /// Returns the version as its directory is spelt.
    pub fn spelling(&self) -> &str {
        &self.spelling
    }

    /// Says whether it is a pre-release, which runs only when it is named.
    pub fn is_pre_release(&self) -> bool {
        !self.number.pre.is_empty()
    }

    /// Returns the first number.
    pub const fn major(&self) -> u64 {
        self.number.major
    }

    /// Returns the release after it that changes the least: `1.2.4` after `1.2.3`; nothing when there
    /// is no greater number.
    pub fn next_patch(&self) -> Option<Self> {
        let patch = self.number.patch.checked_add(1)?;
        let number = semver::Version::new(self.number.major, self.number.minor, patch);
        Some(Self { spelling: number.to_string(), number })
    }

    /// Says whether both mean the same version, however they are spelt.
    pub fn same_number(&self, other: &Self) -> bool {
        self.number == other.number
    }

    /// Compares by number alone, so that a re-spelt version is not a newer one.
    pub fn cmp_number(&self, other: &Self) -> Ordering {
        self.number.cmp(&other.number)
    }
}

/// The longest version text that is looked at, in bytes.
const VERSION_LIMIT: usize = 128;

impl FromStr for Version {
    type Err = InvalidVersion;

    fn from_str(text: &str) -> Result<Self, InvalidVersion> {
        let refuse = || InvalidVersion(text.chars().take(VERSION_LIMIT).collect());
        if text.len() > VERSION_LIMIT {
            return Err(refuse());
        }
        let number = text.strip_prefix('v').unwrap_or(text);
        let number = semver::Version::parse(number).map_err(|_error| refuse())?;
        Ok(Self { spelling: text.to_owned(), number })
    }
}

impl Ord for Version {
    fn cmp(&self, other: &Self) -> Ordering {
        let plain = |version: &Self| !version.spelling.starts_with('v');
        self.number.cmp(&other.number).then_with(|| plain(self).cmp(&plain(other)))
    }
}

impl PartialOrd for Version {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Version {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Version {}

impl std::hash::Hash for Version {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.spelling.hash(state);
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.spelling)
    }
}

impl serde::Serialize for Version {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.spelling)
    }
}

impl<'de> serde::Deserialize<'de> for Version {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// Some text is not a version.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{}` is not a version: expected three numbers, as `1.2.3` or `1.2.3-rc.1`", .0.escape_debug())]
pub struct InvalidVersion(String);

/// Some text names no version and no beginning of one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{}` is not a version: expected `1.2.3`, `1.2.3-rc.1`, or its beginning (`1`, `1.2`)", .0.escape_debug())]
pub struct InvalidWanted(String);

/// Which version a person asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// The newest release.
    Newest,
    /// The newest release whose number begins so: `1` or `1.4`.
    Under {
        /// The first number.
        major: u64,
        /// The second number, if one was given.
        minor: Option<u64>,
    },
    /// Exactly this one.
    Exactly(Version),
}

impl Wanted {
    /// Says whether a published version is one of those meant. Pre-releases and builds count
    /// only when they are named in full.
    pub fn admits(&self, version: &Version) -> bool {
        match self {
            Self::Newest => !version.is_pre_release(),
            Self::Under { major, minor } => {
                !version.is_pre_release()
                    && version.number.major == *major
                    && minor.is_none_or(|minor| version.number.minor == minor)
            }
            Self::Exactly(wanted) => wanted.same_number(version),
        }
    }
}

impl FromStr for Wanted {
    type Err = InvalidWanted;

    /// Reads `1`, `1.4` or a whole version; a leading `v` is dropped.
    fn from_str(text: &str) -> Result<Self, InvalidWanted> {
        let bare = text.strip_prefix('v').unwrap_or(text);
        let refuse = || InvalidWanted(text.chars().take(VERSION_LIMIT).collect());
        let number = |part: &str| -> Result<u64, InvalidWanted> {
            let digits = !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
            let leading_zero = part.len() > 1 && part.starts_with('0');
            if !digits || leading_zero {
                return Err(refuse());
            }
            part.parse().map_err(|_error| refuse())
        };
        let parts: Vec<&str> = bare.split('.').collect();
        match parts.as_slice() {
            [major] => Ok(Self::Under { major: number(major)?, minor: None }),
            [major, minor] => {
                Ok(Self::Under { major: number(major)?, minor: Some(number(minor)?) })
            }
            // One `v` is dropped, not two.
            _ if bare.starts_with('v') => Err(refuse()),
            _ => bare.parse().map(Self::Exactly).map_err(|_error| refuse()),
        }
    }
}

impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Newest => f.write_str("newest"),
            Self::Under { major, minor: None } => write!(f, "{major}"),
            Self::Under { major, minor: Some(minor) } => write!(f, "{major}.{minor}"),
            Self::Exactly(version) => version.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn version(text: &str) -> Version {
        text.parse().unwrap()
    }

    const VERSION: &str = "v?(0|[1-9][0-9]{0,2})\\.(0|[1-9][0-9]{0,2})\\.(0|[1-9]){1}(-(0|[1-9][0-9]?|[a-z][a-z0-9-]{0,2})(\\.(0|[1-9]|rc[0-9]))?)?";

    /// Says where a version stands by the rules of semver.org, 11, in a way of its own.
    fn numbers(version: &Version) -> ([u64; 3], bool, Vec<(bool, u64, String)>) {
        let bare = version.spelling().trim_start_matches('v');
        let (release, pre) = bare.split_once('-').unwrap_or((bare, ""));
        let parts: Vec<u64> = release.split('.').map(|part| part.parse().unwrap()).collect();
        let identifier = |text: &str| match text.parse() {
            Ok(number) => (false, number, String::new()),
            Err(_text) => (true, 0, text.to_owned()),
        };
        let pre_release: Vec<_> =
            pre.split('.').filter(|text| !text.is_empty()).map(identifier).collect();
        (parts.try_into().unwrap(), pre.is_empty(), pre_release)
    }

    #[test]
    fn versions_compare_as_numbers_not_as_text() {
        let mut versions: Vec<Version> =
            ["10.0.0", "1.9.9", "1.10.0", "2.0.0", "2.0.0-rc.1", "v2.0.0"].map(version).into();
        versions.sort();
        let order: Vec<&str> = versions.iter().map(Version::spelling).collect();
        assert_eq!(order, ["1.9.9", "1.10.0", "2.0.0-rc.1", "v2.0.0", "2.0.0", "10.0.0"]);
    }

    #[test]
    fn what_is_no_version_is_refused() {
        for text in [
            "",
            "1",
            "1.2",
            "1.2.3.4",
            "0001.2.3",
            "1.2.99999999999999999999",
            " 1.2.3",
            "1.2.3 ",
            "latest",
            "../../..",
            "1.2.3/../4.5.6",
            "vv1.2.3",
            "1.2.3-",
            "1.2.x",
            "-1.2.3",
        ] {
            assert!(text.parse::<Version>().is_err(), "{text:?}");
        }
        assert!("1.2.18446744073709551615".parse::<Version>().is_ok());
    }

    #[test]
    fn a_wanted_version_may_be_a_prefix_or_whole_and_its_v_is_dropped() {
        let cases = [
            ("1", "1.9.0", true),
            ("1", "2.0.0", false),
            ("v1.4", "1.4.7", true),
            ("1.4", "1.40.0", false),
            ("1", "1.5.0-rc.1", false),
            ("1.5.0-rc.1", "1.5.0-rc.1", true),
            ("v1.2.3", "1.2.3", true),
            ("1.2.3", "v1.2.3", true),
            ("1.2.3", "1.2.4", false),
        ];
        for (wanted, published, expected) in cases {
            let wanted: Wanted = wanted.parse().unwrap();
            assert_eq!(wanted.admits(&version(published)), expected, "{wanted} {published}");
        }
    }

    #[test]
    fn nonsense_is_not_a_wanted_version() {
        for text in [
            "",
            "latest",
            "../../..",
            "1.2.3/../4.5.6",
            " 1.2.3",
            "01",
            "1.",
            ".1",
            "v",
            "vv1",
            "vv1.2.3",
        ] {
            assert!(text.parse::<Wanted>().is_err(), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn any_version_that_parses_is_safe_as_one_path_segment(text in "\\PC{0,40}") {
            if let Ok(version) = text.parse::<Version>() {
                let legal = |c: char| c.is_ascii_alphanumeric() || ".-+".contains(c);
                prop_assert!(version.spelling().chars().all(legal));
                prop_assert!(!version.spelling().starts_with('.'));
            }
        }

        #[test]
        fn versions_have_one_order_and_it_is_that_of_their_numbers(
            texts in proptest::collection::vec(VERSION, 2..6),
        ) {
            let versions: Vec<Version> = texts.iter().map(|text| version(text)).collect();
            for one in &versions {
                for other in &versions {
                    let (a, b) = (numbers(one), numbers(other));
                    prop_assert_eq!(one.cmp_number(other), a.cmp(&b), "{} {}", one, other);
                    prop_assert_eq!(one.cmp(other), other.cmp(one).reverse());
                    prop_assert_eq!(one == other, one.spelling() == other.spelling());
                    for third in &versions {
                        prop_assert!(!(one <= other && other <= third) || one <= third);
                    }
                }
            }
        }

        /// The older program compares three numbers and knows nothing else (wire formats, 5.3).
        #[test]
        fn releases_have_the_order_of_the_older_program(one: [u32; 3], other: [u32; 3]) {
            let text = |[a, b, c]: [u32; 3]| version(&format!("{a}.{b}.{c}"));
            prop_assert_eq!(text(one).cmp(&text(other)), one.cmp(&other));
        }

        #[test]
        fn the_spelling_is_kept_and_whoever_names_a_version_gets_it(text in VERSION) {
            let parsed = version(&text);
            prop_assert_eq!(parsed.spelling(), &text);
            let written = serde_json::to_string(&parsed).unwrap();
            prop_assert_eq!(&serde_json::from_str::<Version>(&written).unwrap(), &parsed);
            let wanted: Wanted = text.parse().unwrap();
            prop_assert!(wanted.admits(&parsed));
            prop_assert_eq!(wanted.to_string().parse::<Wanted>(), Ok(wanted));
        }

        #[test]
        fn a_wanted_version_is_exact_when_it_is_a_version(text in "v{0,2}[0-9]{1,2}(\\.[0-9x]{1,2}){0,3}(-[a-z0-9.]{0,4})?") {
            let exact = matches!(text.parse(), Ok(Wanted::Exactly(_)));
            prop_assert_eq!(exact, text.parse::<Version>().is_ok(), "{}", text);
        }

        #[test]
        fn three_numbers_are_always_a_version(a: u64, b: u64, c: u64) {
            let text = format!("{a}.{b}.{c}");
            prop_assert_eq!(text.parse::<Version>().unwrap().to_string(), text);
        }
    }
}
