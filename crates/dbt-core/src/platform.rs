//! Operating system and architecture, spelt as in repository paths (Go's names).

use std::fmt;
use std::str::FromStr;

/// An operating system that tools are published for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Os {
    /// Linux.
    Linux,
    /// macOS.
    Darwin,
    /// Windows.
    Windows,
}

/// A processor architecture that tools are published for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Arch {
    /// x86-64.
    Amd64,
    /// 64-bit ARM.
    Arm64,
}

/// Where an artifact runs. Shown and parsed as `linux/amd64`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Platform {
    /// The operating system.
    pub os: Os,
    /// The architecture.
    pub arch: Arch,
}

impl Platform {
    /// Every platform there is, in the order of the paths' names.
    pub const ALL: [Self; 6] = [
        Self { os: Os::Darwin, arch: Arch::Amd64 },
        Self { os: Os::Darwin, arch: Arch::Arm64 },
        Self { os: Os::Linux, arch: Arch::Amd64 },
        Self { os: Os::Linux, arch: Arch::Arm64 },
        Self { os: Os::Windows, arch: Arch::Amd64 },
        Self { os: Os::Windows, arch: Arch::Arm64 },
    ];

    /// The platform this program was built for.
    pub const CURRENT: Self = Self {
        os: if cfg!(target_os = "macos") {
            Os::Darwin
        } else if cfg!(windows) {
            Os::Windows
        } else {
            Os::Linux
        },
        arch: if cfg!(target_arch = "aarch64") { Arch::Arm64 } else { Arch::Amd64 },
    };

    /// Returns another platform whose programs run here by translation, if there is one.
    pub const fn fallback(self) -> Option<Self> {
        match (self.os, self.arch) {
            (Os::Darwin | Os::Windows, Arch::Arm64) => {
                Some(Self { os: self.os, arch: Arch::Amd64 })
            }
            _ => None,
        }
    }
}

impl Os {
    /// Returns the path segment.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Linux => "linux",
            Self::Darwin => "darwin",
            Self::Windows => "windows",
        }
    }
}

impl Arch {
    /// Returns the path segment.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Amd64 => "amd64",
            Self::Arm64 => "arm64",
        }
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os.as_str(), self.arch.as_str())
    }
}

impl FromStr for Platform {
    type Err = InvalidPlatform;

    fn from_str(text: &str) -> Result<Self, InvalidPlatform> {
        Self::ALL
            .into_iter()
            .find(|platform| platform.to_string() == text)
            .ok_or_else(|| InvalidPlatform(text.to_owned()))
    }
}

/// Some text is not a platform.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{}` is not a platform: expected `linux`, `darwin` or `windows`, a slash, and `amd64` or `arm64`",
    .0.escape_debug()
)]
pub struct InvalidPlatform(String);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_platform_reads_back_as_it_is_written() {
        for platform in Platform::ALL {
            assert_eq!(platform.to_string().parse(), Ok(platform));
        }
        assert!("linux/x86".parse::<Platform>().is_err());
        assert!("linux".parse::<Platform>().is_err());
    }

    #[test]
    fn only_apple_and_windows_arm_machines_run_programs_of_another_platform() {
        let fallbacks: Vec<String> = Platform::ALL
            .into_iter()
            .filter_map(|platform| platform.fallback().map(|other| format!("{platform}>{other}")))
            .collect();
        assert_eq!(fallbacks, ["darwin/arm64>darwin/amd64", "windows/arm64>windows/amd64"]);
    }
}
