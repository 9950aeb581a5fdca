//! Taking new settings without a restart.
//!
//! What the settings make is one value that never changes. Reading them again makes another, which
//! takes its place in one step; a request keeps the one that it began with. Settings that cannot
//! be used leave everything as it is.

use std::error::Error;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use tokio::signal::unix::Signal;
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};

use super::Order;
use super::metrics::Counter;
use crate::app::{self, App};
use crate::args::Flags;
use crate::audit::Outcome;
use crate::config::{Config, ConfigError};
use crate::env::Environment;
use crate::log::causes;

/// How often the files of the settings are looked at. A mounted configuration is exchanged by a
/// link, and network file systems tell nobody of changes; looking at some names always works.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// How many looks it takes until settings that could not be used are tried again, because what
/// was wrong may not be one of the files.
const TRY_AGAIN: u32 = 20;

/// The settings in force, and how to read them again.
pub struct Live {
    flags: Flags,
    environment: Environment,
    current: RwLock<Arc<App>>,
    state: Mutex<State>,
}

struct State {
    config: Config,
    /// What the files were when they were last read.
    read: Vec<Stamp>,
    /// Why they could not be used then.
    trouble: Option<String>,
}

/// What came of reading the settings again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reloaded {
    /// What an administrator should know.
    pub notices: Vec<String>,
    /// The settings that changed and count only after a restart.
    pub kept: Vec<String>,
}

/// What changes when a file does, or when a link leads to another one; nothing for a file that
/// is not there.
type Stamp = Option<(u64, u64, u64, i64, i64, i64, i64)>;

fn stamp(path: &Path) -> Stamp {
    let it = std::fs::metadata(path).ok()?;
    let (changed, changed_too) = (it.ctime(), it.ctime_nsec());
    Some((it.dev(), it.ino(), it.len(), it.mtime(), it.mtime_nsec(), changed, changed_too))
}

fn stamps(config: &Config) -> Vec<Stamp> {
    config.files.iter().map(|path| stamp(path)).collect()
}

/// Settings that were read, and what their files were just before.
pub struct Read {
    /// The settings.
    pub config: Config,
    stamps: Vec<Stamp>,
}

impl Read {
    /// Reads the settings for the first time.
    pub fn of(flags: &Flags, environment: &Environment) -> Result<Self, ConfigError> {
        // Which files there are is known only afterwards; what changes while they are read must
        // not be missed.
        let stamps = stamps(&Config::resolve(flags, environment)?);
        Ok(Self { config: Config::resolve(flags, environment)?, stamps })
    }
}

impl Live {
    /// Begins with settings that were read, and what they made.
    pub fn new(flags: Flags, environment: Environment, read: Read, app: App) -> Self {
        let Read { config, stamps } = read;
        app.running.settings.taken(app.clock.now());
        let state = State { config, read: stamps, trouble: None };
        let current = RwLock::new(Arc::new(app));
        Self { flags, environment, current, state: Mutex::new(state) }
    }

    /// Returns what is in force. Whoever has it keeps it.
    pub fn current(&self) -> Arc<App> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Reads the settings again. It waits for the disk.
    pub fn reload(&self, why: &str) -> Result<Reloaded, String> {
        let mut state = self.state();
        // Before they are read: what changes meanwhile is read once more.
        state.read = stamps(&state.config);
        let current = self.current();
        let made = self.make(&current, &state.config);
        let metrics = &current.running.metrics;
        match made {
            Ok((config, app, reloaded)) => {
                let before = std::mem::replace(&mut state.config, config);
                if before.files != state.config.files {
                    state.read = stamps(&state.config);
                }
                state.trouble = None;
                current.running.settings.taken(current.clock.now());
                *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(app);
                metrics.count(Counter::Reloads, &["taken".into()]);
                tracing::info!(why, "the settings were read again and are in force");
                for notice in &reloaded.notices {
                    tracing::warn!("{notice}");
                }
                for setting in &reloaded.kept {
                    tracing::warn!(setting, "this setting changed and counts only after a restart");
                }
                Ok(reloaded)
            }
            Err(error) => {
                let said = causes(error.as_ref());
                metrics.count(Counter::Reloads, &["refused".into()]);
                if state.trouble.as_deref() != Some(said.as_str()) {
                    tracing::error!(
                        why,
                        error = said,
                        "the settings cannot be used; those from before stay in force"
                    );
                }
                state.trouble = Some(said.clone());
                current.running.settings.refused();
                Err(said)
            }
        }
    }

    fn make(
        &self,
        current: &App,
        before: &Config,
    ) -> Result<(Config, App, Reloaded), Box<dyn Error>> {
        let mut config = Config::resolve(&self.flags, &self.environment)?;
        let mut kept = config.keep(before);
        let mut notices = config.notices.clone();
        // Opened by name, as at the start: a file that cannot be used is refused here.
        notices.extend(app::complaints(&config)?);
        let app = App::succeeding(current, &config, &mut kept)?;
        notices.extend(app.notices.iter().cloned());
        Ok((config, app, Reloaded { notices, kept }))
    }

    /// Reads the settings again whenever a signal, an order or a changed file asks for it.
    pub async fn govern(self: Arc<Self>, mut hangup: Signal, mut orders: mpsc::Receiver<Order>) {
        let mut look = interval(LOOK_EVERY);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut seen = None;
        let mut looks = 0_u32;
        loop {
            tokio::select! {
                _ = hangup.recv() => self.reload_and_record("a signal").await,
                Some(order) = orders.recv() => {
                    let outcome = self.reload_aside("an order").await;
                    // Whoever asked may have left.
                    let _left = order.send(outcome);
                }
                _ = look.tick() => {
                    looks = looks.wrapping_add(1);
                    let live = Arc::clone(&self);
                    let looking = tokio::task::spawn_blocking(move || live.looked());
                    let Ok((read, now, in_trouble)) = looking.await else { continue };
                    // Twice the same, so that a file is not read while it is being written.
                    let is_settled = seen.as_ref() == Some(&now);
                    let again = in_trouble && looks.is_multiple_of(TRY_AGAIN);
                    if now != read && is_settled {
                        self.reload_and_record("a changed file").await;
                    } else if again {
                        let _logged = self.reload_aside("another try").await;
                    }
                    seen = Some(now);
                }
            }
        }
    }

    fn looked(&self) -> (Vec<Stamp>, Vec<Stamp>, bool) {
        let state = self.state();
        (state.read.clone(), stamps(&state.config), state.trouble.is_some())
    }

    async fn reload_aside(self: &Arc<Self>, why: &'static str) -> Result<Reloaded, String> {
        let live = Arc::clone(self);
        let reloading = tokio::task::spawn_blocking(move || live.reload(why));
        reloading.await.unwrap_or_else(|error| Err(error.to_string()))
    }

    /// Reads the settings again because of something that is no request, which would be recorded.
    async fn reload_and_record(self: &Arc<Self>, why: &'static str) {
        let outcome = match self.reload_aside(why).await {
            Ok(_taken) => Outcome::done("settings read again"),
            Err(reason) => Outcome::Failed { status: None, reason },
        };
        if let Err(error) = self.current().audit.note("reload", outcome).await {
            tracing::error!(
                error = causes(&error),
                "that the settings were read again could not be recorded"
            );
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A panic while the settings were read left those from before.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
