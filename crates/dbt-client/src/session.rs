//! One run's world: settings, state, store, and whoever listens.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

use dbt_core::digest::Digest;
use dbt_core::release::{ArtifactId, Subject};
use dbt_core::timestamp::Timestamp;
use dbt_core::trust::keys::KnownGood;
use dbt_core::trust::metadata::ListedArtifact;

use crate::anchor::Anchor;
use crate::notice::{Listener, Notice, Repeat};
use crate::progress::Progress;
use crate::repository::Repository;
use crate::settings::Settings;
use crate::signed_index::{Freshness, IndexError, SignedIndex};
use crate::source::{self, CertificateRoots, Connector, Destination, FetchError, Patience, Source};
use crate::state::{KnownSignatures, ServerState, StateError, ToolRecord};
use crate::store::Store;
use crate::url::RepositoryUrl;

/// Everything that one run works with.
pub struct Session<'a> {
    /// What was decided.
    pub settings: &'a Settings,
    /// What is remembered of the selected server.
    pub state: ServerState,
    /// Where verified artifacts are.
    pub store: Store,
    listener: &'a dyn Listener,
    progress: &'a dyn Progress,
    connector: Arc<Connector>,
    repository: OnceLock<Repository>,
    known: OnceLock<KnownGood>,
    index: OnceLock<SignedIndex>,
}

impl<'a> Session<'a> {
    /// Opens the state and the store; sends nothing.
    pub fn open(
        settings: &'a Settings,
        connector: Arc<Connector>,
        listener: &'a dyn Listener,
        progress: &'a dyn Progress,
    ) -> Self {
        let server = &settings.server;
        Self {
            settings,
            state: ServerState::open(&settings.places, &server.name, &server.repository),
            store: Store::open(&settings.places),
            listener,
            progress,
            connector,
            repository: OnceLock::new(),
            known: OnceLock::new(),
            index: OnceLock::new(),
        }
    }

    /// Returns the time of this run.
    pub fn now(&self) -> SystemTime {
        self.settings.clock.now()
    }

    /// Returns the server's repositories, prepared on first use: an offline run never needs them.
    pub fn repository(&self) -> &Repository {
        self.repository.get_or_init(|| Repository::open(&self.settings.server, &self.connector))
    }

    /// Returns another place of this server's, which its credentials are for as far as they go.
    pub(crate) fn source_at(&self, url: &RepositoryUrl) -> Box<dyn Source> {
        source::open(url, &self.connector, &self.settings.server.credentials)
    }

    /// Returns the repository of the tools, for deleting from it.
    pub fn tools_to_write(&self) -> Box<dyn Destination> {
        let server = &self.settings.server;
        source::open_destination(&server.tools, &self.connector, &server.credentials)
    }

    /// Returns the judge of the server's truststore.
    pub fn anchor(&self) -> Anchor<'_> {
        let known = self.known.get_or_init(|| {
            // Without it everything is verified anew.
            self.state.server().map(|record| record.known_good.known()).unwrap_or_default()
        });
        Anchor { server: &self.settings.server, state: &self.state, known, now: self.now() }
    }

    /// Lets this run decide by a signed index.
    pub(crate) fn keep_index(&self, index: SignedIndex) {
        // Another try of the same run has the same, or an older one of a moment ago.
        let _kept = self.index.set(index);
    }

    /// Returns the signed index that this run has looked at, if it has.
    pub(crate) fn index(&self) -> Option<&SignedIndex> {
        self.index.get()
    }

    /// Returns what the signed index says of an artifact; nothing where none counts, or it does not list it. Then the verifier
    /// refuses it.
    pub fn listed(&self, id: &ArtifactId) -> Result<Option<ListedArtifact>, IndexError> {
        if !self.state.server()?.trust.demands_listing() {
            return Ok(None);
        }
        if let Some(index) = self.index.get() {
            return index.artifact(id);
        }
        let index = SignedIndex::kept(self, &[&id.subject])?;
        self.say_age(&index);
        self.index.get_or_init(|| index).artifact(id)
    }

    /// Says that a signed index has ended, if it has.
    pub(crate) fn say_age(&self, index: &SignedIndex) {
        if let Freshness::Ended { role, age } = index.freshness() {
            let server = self.settings.server.name.to_string();
            let (role, age) = (role.clone(), *age);
            let is_too_old = index.freshness().is_too_old();
            self.say(Notice::IndexEnded { server, role, age, is_too_old });
        }
    }

    /// Keeps what was found out about the server's keys, so that no run finds it out again.
    pub(crate) fn remember_signatures(&self) {
        if let Some(digests) = self.known.get().and_then(KnownGood::learnt) {
            // It saves time and nothing else.
            let _kept = self.state.change_server(|record| {
                record.known_good = KnownSignatures::learnt(digests.clone());
            });
        }
    }

    /// Returns how long answers are waited for, which depends on whether a copy could run.
    pub fn patience(&self, has_cached_copy: bool) -> Patience {
        let scale = self.settings.server.time_scale;
        if has_cached_copy {
            Patience::with_cached_copy(scale)
        } else {
            Patience::without_cached_copy(scale)
        }
    }

    /// Returns which certificate authorities are used on this host. Loads them.
    pub fn certificate_roots(&self) -> Result<CertificateRoots, FetchError> {
        self.connector.certificate_roots()
    }

    /// Asks the server what time it is.
    pub fn server_time(&self) -> Option<SystemTime> {
        let patience = self.patience(true);
        source::time_at(&self.settings.server.repository, &self.connector, &patience)
    }

    /// Returns who follows long work.
    pub fn progress(&self) -> &dyn Progress {
        self.progress
    }

    /// Reads what is remembered of a tool; a damaged record is said and started anew.
    pub fn record(&self, subject: &Subject) -> Result<ToolRecord, StateError> {
        let mut damaged = None;
        let record =
            self.state.tool(subject, &mut |path: &Path| damaged = Some(path.to_owned()))?;
        if let Some(path) = damaged {
            self.say(Notice::Housekeeping(format!(
                "`{}` was damaged and has been set aside; `{subject}` is looked at as if for the first time",
                path.display()
            )));
        }
        Ok(record)
    }

    /// Says something, as often as it deserves.
    pub fn say(&self, notice: Notice) {
        let (every, key) = match notice.repeat() {
            Repeat::Always => return self.listener.hear(&notice),
            Repeat::EveryUnwatched(_, _) if self.listener.is_watched() => {
                return self.listener.hear(&notice);
            }
            Repeat::EveryUnwatched(every, key) | Repeat::Every(every, key) => (every, key),
        };
        let (now, key) = (self.now(), short(key));
        let mut due = true;
        // If the state cannot be kept, saying it once too often is the lesser evil.
        let _kept = self.state.change_server(|record| {
            let recent = |Timestamp(last)| now.duration_since(last).is_ok_and(|age| age < every);
            due = !record.said.get(&key).copied().is_some_and(recent);
            if due {
                record.said.retain(|_key, Timestamp(last)| {
                    now.duration_since(*last).is_ok_and(|age| age < FORGET_SAID)
                });
                forget_oldest(&mut record.said);
                record.said.insert(key.clone(), Timestamp(now));
            }
        });
        if due {
            self.listener.hear(&notice);
        }
    }

    /// Says something that only `-V` shows.
    pub fn detail(&self, words: impl FnOnce() -> String) {
        self.listener.hear(&Notice::Detail(words()));
    }
}

/// How long it is remembered that something was said.
const FORGET_SAID: std::time::Duration = std::time::Duration::from_hours(30 * 24);

/// How much is remembered of what was said. The words come from servers, and one that says
/// something else every time must not fill the disk, or a file until it cannot be read.
const SAID_LIMIT: usize = 256;

/// The longest key that is remembered as it is.
const KEY_LIMIT: usize = 100;

fn short(key: String) -> String {
    if key.len() <= KEY_LIMIT { key } else { Digest::of(key.as_bytes()).to_string() }
}

/// Makes room for one more.
fn forget_oldest(said: &mut BTreeMap<String, Timestamp>) {
    while said.len() >= SAID_LIMIT {
        let oldest = said.iter().min_by_key(|(_key, Timestamp(last))| *last);
        let Some(key) = oldest.map(|(key, _last)| key.clone()) else { return };
        said.remove(&key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn what_was_said_last_is_remembered_and_long_words_by_their_digest() {
        let at = |seconds| Timestamp(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds));
        let mut said: BTreeMap<String, Timestamp> =
            (0..300).map(|number| (format!("{number:03}"), at(number))).collect();
        forget_oldest(&mut said);
        assert_eq!(said.len(), SAID_LIMIT - 1);
        assert!(said.contains_key("299") && !said.contains_key("000"));

        assert_eq!(short("outage".to_owned()), "outage");
        assert_eq!(short("x".repeat(1 << 20)).len(), 64);
    }
}
