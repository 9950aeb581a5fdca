//! Everything a run needs to know, decided: below this nobody asks where a value came from.

mod aws;
mod network;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use dbt_core::clock::Clock;
use dbt_core::name::{ServerName, ToolName};
use dbt_core::platform::Platform;
use dbt_core::trust::rules::TrustRules;
use dbt_core::version::{Version, Wanted};

use crate::auth::Credentials;
use crate::url::RepositoryUrl;

pub use aws::{AWS_VARIABLES, Aws, KEPT_CREDENTIALS};
pub use network::{NETWORK_VARIABLES, Network, NotText};

/// One run's settings.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The server that tools come from in this run.
    pub server: Server,
    /// The only server that dbt updates itself from; nothing when there is no such server in the
    /// configuration (a URL was given instead of a file).
    pub home_server: Option<ServerName>,
    /// Where our files are.
    pub places: Places,
    /// Use what is cached, and make no request.
    pub offline: bool,
    /// What this machine runs.
    pub platform: Platform,
    /// Where the time comes from.
    pub clock: Clock,
    /// How connections leave this machine.
    pub network: Network,
    /// Copy the tool into sealed memory and run that copy (trust design, 2.10).
    pub sealed: bool,
    /// The program that is running.
    pub program: Program,
}

/// The program that is running.
#[derive(Debug, Clone)]
pub struct Program {
    /// The version it was built as.
    pub version: Version,
    /// Where it is; nothing when the system does not say.
    pub executable: Option<PathBuf>,
    /// It was started by an earlier version that replaced itself, in this very process: it does
    /// not replace itself again (trust design, 2.11).
    pub restarted: bool,
}

/// One configured server.
#[derive(Debug, Clone)]
pub struct Server {
    /// Its name in the configuration; `default` for the legacy format.
    pub name: ServerName,
    /// The repository of dbt itself.
    pub repository: RepositoryUrl,
    /// The repository of the tools.
    pub tools: RepositoryUrl,
    /// The truststore file.
    pub truststore: RepositoryUrl,
    /// What is sent to this server's origins, and to no other.
    pub credentials: Credentials,
    /// What a person can do when this server does not accept `credentials`, where the
    /// configuration explains it: credentials that belong to another server, or a way of signing
    /// in that this version does not have.
    pub sign_in_hint: Option<String>,
    /// The variables in which its secrets stand: nothing that is started gets them.
    pub secret_variables: BTreeSet<String>,
    /// Who may sign what, from `trust` in the configuration and from the environment.
    pub rules: TrustRules,
    /// Refuse what is otherwise said once: rollbacks, changed bytes, newcomers, expired keys.
    pub strict: bool,
    /// Further certificate authorities, a PEM file.
    pub ca_file: Option<PathBuf>,
    /// When the repository is asked.
    pub updates: Updates,
    /// Whether dbt replaces itself.
    pub self_update: SelfUpdate,
    /// Scales every time limit; 1.0 when nothing is configured.
    pub time_scale: f64,
    /// Versions this machine stays on.
    pub pins: BTreeMap<ToolName, Wanted>,
}

impl Server {
    /// Returns what a person can do when this server wants to know who asks, where more is known
    /// about it than how one signs in. Looks at the files that it could be told from.
    pub fn hint_to_sign_in(&self) -> Option<String> {
        self.sign_in_hint.clone().or_else(|| self.credentials.unused())
    }
}

/// Where our files are. A missing place means that nothing can be written there and the run goes
/// on with what it has in memory.
#[derive(Debug, Clone)]
pub struct Places {
    /// `~/.dbt`, or what `DBT_HOME` says.
    pub home: Option<PathBuf>,
    /// The same where it is there and can only be read: an image brought it, or a disk became
    /// read-only. What was remembered there still counts; what this run learns is forgotten.
    pub read_only_home: Option<PathBuf>,
    /// The store of verified artifacts; `tools` below `home` unless `DBT_CACHE_DIR` moves it.
    pub store: Option<PathBuf>,
    /// Stores that are looked up first and never written.
    pub read_only_stores: Vec<PathBuf>,
    /// Used when no store can be written: files there live for this run only.
    pub temporary: PathBuf,
    /// Where `dbt link` puts links.
    pub links: Option<PathBuf>,
}

/// When a run asks the repository for something newer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Updates {
    /// On every run.
    Always,
    /// When the last check is older than this.
    Every(Duration),
    /// After the cached copy has been started.
    After,
    /// Only when told to.
    Manual,
}

/// Whether dbt replaces itself by a newer version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SelfUpdate {
    /// Yes.
    Auto,
    /// Say that there is one.
    Notify,
    /// No.
    Off,
}
