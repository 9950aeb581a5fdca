//! What a run has to tell that is not an error: said by whoever listens, as often as it deserves.

use std::fmt;
use std::time::{Duration, SystemTime};

use dbt_core::name::ToolName;
use dbt_core::platform::Platform;
use dbt_core::timestamp;
use dbt_core::trust::Standing;
use dbt_core::trust::memory::{Introduction, TrustChange};
use dbt_core::version::Version;

/// What a key may sign that no known key stands behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Newcomers {
    /// Tools, and never this program.
    SignTools,
    /// What the configuration's `trust` does not speak of.
    SignTheRest,
    /// Nothing: the server is `strict`.
    SignNothing,
}

impl Newcomers {
    fn words(self) -> String {
        let program = dbt_core::brand::PROGRAM;
        match self {
            Self::SignTools => format!("it may sign tools, and never {program}"),
            Self::SignTheRest => {
                "it may sign nothing for which the configuration's `trust` names signers".to_owned()
            }
            Self::SignNothing => "it may sign nothing, because this server is `strict`".to_owned(),
        }
    }
}

/// Something that is said to the user.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Notice {
    /// The first contact with a server without an anchor (trust design, 2.7).
    FirstUse {
        /// The server's repository.
        server: String,
        /// Who is trusted from now on.
        keys: Vec<Introduction>,
    },
    /// The truststore has changed.
    TrustChanged {
        /// The server's name.
        server: String,
        /// What has changed.
        change: TrustChange,
        /// What a key that nobody stands behind may sign here.
        newcomers: Newcomers,
    },
    /// The server offers a truststore or manifest that is not accepted.
    TruststoreRefused {
        /// The server's name.
        server: String,
        /// Why.
        reason: String,
    },
    /// The truststore cannot be confirmed now; what is here runs.
    TruststoreUnconfirmed {
        /// The server's repository.
        server: String,
        /// What happened.
        reason: String,
    },
    /// The server cannot be used now; a verified copy runs.
    Outage {
        /// The server's repository.
        server: String,
        /// What happened.
        reason: String,
        /// What runs instead.
        tool: ToolName,
        /// Its version.
        version: Version,
        /// How long ago the server last confirmed it.
        age: Option<Duration>,
    },
    /// The server wants a sign-in; a verified copy runs.
    SignInNeeded {
        /// The server's name.
        server: String,
        /// What runs instead.
        tool: ToolName,
        /// Its version.
        version: Version,
    },
    /// Nothing new can be installed, because of this machine; a verified copy runs.
    NotInstalled {
        /// What happened.
        reason: String,
        /// What runs instead.
        tool: ToolName,
        /// Its version.
        version: Version,
    },
    /// What this run has learnt is not remembered, because of this machine.
    NotRemembered {
        /// What happened.
        reason: String,
    },
    /// The newest version seen before is not published any more.
    NewestRemoved {
        /// The tool.
        tool: ToolName,
        /// What was seen.
        seen: Version,
        /// What is chosen now.
        now: Version,
    },
    /// The newest version seen before was withdrawn by its publisher.
    Withdrawn {
        /// The tool.
        tool: ToolName,
        /// What was seen.
        seen: Version,
        /// Why it was withdrawn. Text from outside.
        reason: String,
        /// What is chosen now.
        now: Version,
    },
    /// A version came back with other bytes.
    BytesChanged {
        /// The tool.
        tool: ToolName,
        /// The version.
        version: Version,
    },
    /// The signer's key expires soon, or has expired.
    KeyExpiry {
        /// The signer's fingerprint.
        signer: String,
        /// When it expires or expired.
        expires: SystemTime,
        /// It has.
        expired: bool,
    },
    /// A version is being published, or was left half-published; an older one runs.
    Incomplete {
        /// The tool.
        tool: ToolName,
        /// The incomplete version.
        version: Version,
    },
    /// A version has the bytes of a withdrawn one; an older one runs.
    WithdrawnBytes {
        /// The tool.
        tool: ToolName,
        /// That version.
        version: Version,
        /// Why they were withdrawn. Text from outside.
        reason: String,
    },
    /// A newer version exists, but only for other platforms.
    NewerElsewhere {
        /// The tool.
        tool: ToolName,
        /// That version.
        version: Version,
    },
    /// A program for another platform runs by translation.
    Translated {
        /// The tool.
        tool: ToolName,
        /// The platform it was built for.
        platform: Platform,
    },
    /// A cached copy failed verification and is fetched again.
    CachedCopyDamaged {
        /// The tool.
        tool: ToolName,
        /// Its version.
        version: Version,
        /// What was wrong.
        reason: String,
    },
    /// A cached copy cannot be used and cannot be fetched again now; an older one runs.
    CachedCopyRefused {
        /// The tool.
        tool: ToolName,
        /// Its version.
        version: Version,
        /// What is wrong with it.
        reason: String,
        /// What runs instead.
        now: Version,
    },
    /// Another run downloads what this one needs.
    Waiting {
        /// The tool and its version.
        artifact: String,
    },
    /// A newer version of dbt was not taken over.
    SelfUpdateRefused {
        /// The version.
        version: Version,
        /// Why.
        reason: String,
    },
    /// A newer version of dbt exists, and the configuration says to tell so.
    SelfUpdateAvailable {
        /// The version.
        version: Version,
    },
    /// Something about our own files; the run goes on.
    Housekeeping(String),
    /// What only `-V` shows.
    Detail(String),
}

/// How often a notice is repeated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Repeat {
    /// Whenever it happens.
    Always,
    /// Once in this time for the same key.
    Every(Duration, String),
    /// Once in this time where nobody watches a terminal, otherwise whenever it happens.
    EveryUnwatched(Duration, String),
}

const HOUR: Duration = Duration::from_hours(1);
const DAY: Duration = Duration::from_hours(24);

impl Notice {
    /// Says whether it warns (something may need attention) or only informs.
    pub const fn is_warning(&self) -> bool {
        !matches!(
            self,
            Self::FirstUse { .. }
                | Self::Translated { .. }
                | Self::Waiting { .. }
                | Self::Detail(_)
        )
    }

    /// Says whether only `-V` shows it.
    pub const fn is_detail(&self) -> bool {
        matches!(
            self,
            Self::Detail(_)
                | Self::NewerElsewhere { .. }
                | Self::Incomplete { .. }
                | Self::WithdrawnBytes { .. }
        )
    }

    /// Returns what is said, line by line. Text from outside may hold line ends of its own: each
    /// line is to be shown as one.
    pub fn lines(&self) -> Vec<String> {
        if let Self::FirstUse { server, keys } = self {
            return first_use(server, keys);
        }
        vec![self.to_string()]
    }

    /// Returns how often it is repeated.
    pub fn repeat(&self) -> Repeat {
        match self {
            Self::Outage { .. } | Self::TruststoreUnconfirmed { .. } => {
                Repeat::EveryUnwatched(HOUR, "outage".to_owned())
            }
            Self::NotInstalled { .. } => Repeat::EveryUnwatched(HOUR, "not installed".to_owned()),
            Self::NotRemembered { .. } => Repeat::EveryUnwatched(HOUR, "not remembered".to_owned()),
            Self::SignInNeeded { .. } => Repeat::EveryUnwatched(HOUR, "sign-in".to_owned()),
            Self::TruststoreRefused { reason, .. } => {
                Repeat::Every(DAY, format!("truststore refused: {reason}"))
            }
            Self::KeyExpiry { signer, expired, .. } => {
                Repeat::Every(DAY, format!("key expiry {signer} {expired}"))
            }
            Self::SelfUpdateRefused { version, reason } => {
                Repeat::Every(DAY, format!("self-update refused {version}: {reason}"))
            }
            Self::SelfUpdateAvailable { version } => {
                Repeat::Every(DAY, format!("self-update available {version}"))
            }
            Self::TrustChanged { change: TrustChange::Skipped(what), .. } => {
                Repeat::Every(DAY, format!("certificate skipped {what}"))
            }
            Self::Housekeeping(what) => Repeat::EveryUnwatched(DAY, format!("housekeeping {what}")),
            Self::FirstUse { .. }
            | Self::TrustChanged { .. }
            | Self::NewestRemoved { .. }
            | Self::Withdrawn { .. }
            | Self::BytesChanged { .. }
            | Self::Incomplete { .. }
            | Self::WithdrawnBytes { .. }
            | Self::NewerElsewhere { .. }
            | Self::Translated { .. }
            | Self::CachedCopyDamaged { .. }
            | Self::CachedCopyRefused { .. }
            | Self::Waiting { .. }
            | Self::Detail(_) => Repeat::Always,
        }
    }
}

/// What is said of a version that has no build for this platform.
const ELSEWHERE: &str = "exists, but not for this platform";

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::FirstUse { server, keys } => f.write_str(&first_use(server, keys).join("\n")),
            Self::TrustChanged { server, change, newcomers } => {
                trust_changed(f, server, change, *newcomers)
            }
            Self::TruststoreRefused { server, reason } => write!(
                f,
                "the truststore that server `{server}` offers is refused: {reason}; tools run under the last good one, and nothing new is installed"
            ),
            Self::TruststoreUnconfirmed { server, reason } => write!(
                f,
                "the truststore of `{server}` cannot be read ({reason}); tools run under the last good one, and nothing new is installed"
            ),
            Self::Outage { server, reason, tool, version, age } => {
                write!(f, "`{server}` cannot be used ({reason}); running `{tool}` {version}")?;
                match age {
                    Some(age) => write!(f, ", confirmed {} ago", timestamp::in_words(*age)),
                    None => Ok(()),
                }
            }
            Self::SignInNeeded { server, tool, version } => write!(
                f,
                "server `{server}` wants you to sign in (`{} login`); running `{tool}` {version} from the cache",
                dbt_core::brand::PROGRAM
            ),
            Self::NotInstalled { reason, tool, version } => write!(
                f,
                "nothing newer can be installed ({reason}); running `{tool}` {version} from the cache"
            ),
            Self::NotRemembered { reason } => {
                write!(f, "what this run has learnt is not remembered ({reason})")
            }
            Self::NewestRemoved { tool, seen, now } => {
                write!(f, "`{tool}` {seen} is not published any more; running {now}")
            }
            Self::Withdrawn { tool, seen, reason, now } => {
                write!(f, "`{tool}` {seen} was withdrawn: {}; running {now}", one_line(reason))
            }
            Self::BytesChanged { tool, version } => write!(
                f,
                "`{tool}` {version} was published again with other contents; its signature is good"
            ),
            Self::KeyExpiry { signer, expires, expired } => {
                let date = timestamp::format_date(*expires);
                f.write_str(&key_expiry(signer, &date, *expired))
            }
            Self::Incomplete { tool, version } => {
                write!(f, "`{tool}` {version} is not completely published for this platform")
            }
            Self::WithdrawnBytes { tool, version, reason } => {
                write!(f, "`{tool}` {version} has bytes that were withdrawn: {}", one_line(reason))
            }
            Self::NewerElsewhere { tool, version } => write!(f, "`{tool}` {version} {ELSEWHERE}"),
            Self::Translated { tool, platform } => {
                write!(f, "`{tool}` has no build for this platform; running the one for {platform}")
            }
            Self::CachedCopyDamaged { tool, version, reason } => write!(
                f,
                "the cached copy of `{tool}` {version} is damaged ({reason}); fetching it again"
            ),
            Self::CachedCopyRefused { tool, version, reason, now } => write!(
                f,
                "the cached copy of `{tool}` {version} cannot be used ({reason}); running {now}"
            ),
            Self::Waiting { artifact } => {
                write!(f, "another run is downloading {artifact}; waiting for it")
            }
            Self::SelfUpdateRefused { version, reason } => write!(
                f,
                "version {version} of {} was offered and refused: {reason}",
                dbt_core::brand::PROGRAM
            ),
            Self::SelfUpdateAvailable { version } => write!(
                f,
                "version {version} of {program} is available; `{program} self update` installs it",
                program = dbt_core::brand::PROGRAM
            ),
            Self::Housekeeping(what) | Self::Detail(what) => f.write_str(what),
        }
    }
}

fn key_expiry(signer: &str, date: &str, expired: bool) -> String {
    if expired {
        format!(
            "the signing key {signer} expired on {date}; what it signed before still runs, and nothing newer will"
        )
    } else {
        format!(
            "the signing key {signer} expires on {date}; its owner must extend it and publish the truststore"
        )
    }
}

/// The first run's words: no question, because standard input belongs to the tool.
fn first_use(server: &str, keys: &[Introduction]) -> Vec<String> {
    let count = keys.len();
    let noun = if count == 1 { "key" } else { "keys" };
    let mut lines =
        vec![format!("first use of {server}: trusting {count} signing {noun} from now on:")];
    lines.extend(keys.iter().map(|key| {
        let end = match key.expires {
            Some(expires) => format!("expires {}", timestamp::format_date(expires)),
            None => "never expires".to_owned(),
        };
        format!("  {}  {}  {end}", key.fingerprint, one_line(&key.name))
    }));
    let list: Vec<String> = keys.iter().map(|key| format!("\"{}\"", key.fingerprint)).collect();
    let list = list.join(", ");
    lines.push(format!(
        "  to pin them elsewhere, put this into the server's configuration: \"trust\": {{\"dbt\": [{list}], \"tools\": [{list}]}}"
    ));
    lines
}

fn trust_changed(
    f: &mut fmt::Formatter<'_>,
    server: &str,
    change: &TrustChange,
    newcomers: Newcomers,
) -> fmt::Result {
    match change {
        TrustChange::FirstUse(keys) => f.write_str(&first_use(server, keys).join("\n")),
        TrustChange::Added(key) => {
            let (fingerprint, name) = (&key.fingerprint, one_line(&key.name));
            match key.standing {
                Standing::Newcomer => write!(
                    f,
                    "server `{server}` has a new signing key that no known key stands behind: {fingerprint} ({name}); {}",
                    newcomers.words()
                ),
                Standing::Vouched | Standing::Established | Standing::Pinned => write!(
                    f,
                    "server `{server}` has a new signing key, {}: {fingerprint} ({name})",
                    key.standing.as_str()
                ),
            }
        }
        TrustChange::Removed { fingerprint, name } => write!(
            f,
            "server `{server}` no longer trusts the signing key {fingerprint} ({})",
            one_line(name)
        ),
        TrustChange::Skipped(what) => {
            write!(
                f,
                "a certificate in the truststore of `{server}` is not used: {}",
                one_line(what)
            )
        }
    }
}

/// Names come from certificates: one that holds line ends could write lines of its own.
fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{FFFD}' } else { c }).collect()
}

/// Hears what a run has to tell.
pub trait Listener: Send + Sync {
    /// Takes one notice, at once.
    fn hear(&self, notice: &Notice);
    /// Says whether a person watches: stderr is a terminal.
    fn is_watched(&self) -> bool;
}
