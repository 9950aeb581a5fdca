//! What runs when the server is not asked, or cannot be used.

use dbt_core::timestamp::Timestamp;
use dbt_core::trust::{Expectation, Fetched};
use dbt_core::version::Wanted;

use crate::notice::Notice;
use crate::obtain::ObtainError;
use crate::state::InstalledVersion;
use crate::store::StoreFile;

use super::{Eagerness, Failure, Outcome, PrepareError, Prepared, Run, withdrawn_reason};

impl Run<'_> {
    /// Lists the verified versions here that the request admits, best first.
    pub(super) fn cached_versions(&self) -> impl Iterator<Item = &InstalledVersion> {
        let platform = self.session.settings.platform;
        let runs_here = |entry: &InstalledVersion| {
            entry.platform == platform.to_string()
                || platform.fallback().is_some_and(|other| entry.platform == other.to_string())
        };
        let mut entries: Vec<&InstalledVersion> = self
            .record
            .installed
            .iter()
            .filter(|entry| self.wanted.admits(&entry.version) && runs_here(entry))
            .filter(|entry| withdrawn_reason(&self.record, &entry.version).is_none())
            .collect();
        entries.sort_by(|a, b| b.version.cmp(&a.version));
        entries.into_iter()
    }

    /// Opens the content of an installed version, if it is still in the store.
    pub(super) fn content_of(&self, entry: &InstalledVersion) -> Option<StoreFile> {
        let id = entry.id(&self.subject)?;
        self.session.store.find(entry.sha256, &id.file_name())
    }

    /// Prepares the best verified version that is here. It takes the same road as a download.
    pub(super) fn use_cache(&self, reason: &str) -> Result<Outcome, PrepareError> {
        let Some(prepared) = self.best_cached(reason)? else {
            let (tool, wanted) = (self.request.tool.clone(), self.wanted.clone());
            if let Wanted::Exactly(version) = &wanted
                && let Some(reason) = withdrawn_reason(&self.record, version)
            {
                return Err(PrepareError::Withdrawn { tool, version: version.clone(), reason });
            }
            return Err(PrepareError::NotCached { tool, wanted, reason: reason.to_owned() });
        };
        Ok(Outcome::Ready(Box::new(prepared)))
    }

    /// Goes on after the server's answers did not lead to a tool.
    pub(super) fn after_failure(&self, failure: Failure) -> Result<Outcome, PrepareError> {
        match failure {
            Failure::Final(error) => Err(error),
            Failure::Outage(reason) => {
                self.remember_failure(&reason)?;
                let Some(prepared) = self.best_cached(&reason)? else {
                    let tool = self.request.tool.clone();
                    let server = self.session.settings.server.repository.to_string();
                    return Err(PrepareError::Unreachable { tool, server, reason });
                };
                self.say_outage_of(&prepared, &reason)?;
                Ok(Outcome::Ready(Box::new(prepared)))
            }
            Failure::SignIn(source) => {
                let server = self.session.settings.server.name.to_string();
                let Some(prepared) = self.best_cached("the server wants a sign-in")? else {
                    let hint = self.session.settings.server.sign_in_hint.clone();
                    return Err(PrepareError::SignIn { server, hint, source });
                };
                let (tool, version) = (self.request.tool.clone(), prepared.id.version.clone());
                self.session.say(Notice::SignInNeeded { server, tool, version });
                Ok(Outcome::Ready(Box::new(prepared)))
            }
        }
    }

    fn best_cached(&self, reason: &str) -> Result<Option<Prepared>, PrepareError> {
        let Some(trust) = self.session.anchor().last_good(reason).map_err(PrepareError::Trust)?
        else {
            return Ok(None);
        };
        for entry in self.cached_versions() {
            let Some(id) = entry.id(&self.subject) else { continue };
            let Some(content) = self.content_of(entry) else { continue };
            let remembered = self.session.store.remembered(&content, self.now);
            let expectation = Expectation {
                must_be_bound: self.record.history.must_be_bound(),
                signed_since: None,
            };
            let refused = |source: ObtainError| PrepareError::Obtain {
                tool: self.request.tool.clone(),
                source: Box::new(source),
            };
            let fetched = Fetched::from_store(id, content, entry.companions(), remembered);
            let verified = trust
                .verify(fetched, &expectation, self.now)
                .map_err(|error| refused(error.into()))?;
            let (id, endorsement) = (verified.id().clone(), verified.endorsement().clone());
            let installed =
                self.session.store.install(verified).map_err(|error| refused(error.into()))?;
            self.say_key_expiry(&endorsement);
            let unconfirmed = Some(reason.to_owned());
            return Ok(Some(Prepared { installed, id, endorsement, fresh: false, unconfirmed }));
        }
        Ok(None)
    }

    /// Says that a cached version runs instead of an answer, for a server that is left alone.
    pub(super) fn say_outage(&self, reason: &str) -> Result<(), PrepareError> {
        let Some(entry) = self.cached_versions().next() else {
            return Ok(());
        };
        self.say_outage_with(entry.version.clone(), reason)
    }

    pub(super) fn say_outage_of(
        &self,
        prepared: &Prepared,
        reason: &str,
    ) -> Result<(), PrepareError> {
        self.say_outage_with(prepared.id.version.clone(), reason)
    }

    fn say_outage_with(
        &self,
        version: dbt_core::version::Version,
        reason: &str,
    ) -> Result<(), PrepareError> {
        let confirmed = self.session.state.server()?.confirmed;
        let notice = Notice::Outage {
            server: self.session.settings.server.repository.to_string(),
            reason: reason.to_owned(),
            tool: self.request.tool.clone(),
            version,
            age: confirmed.and_then(|Timestamp(confirmed)| self.now.duration_since(confirmed).ok()),
        };
        // Who asks now is told by the outcome, and nothing runs.
        if self.request.eagerness == Eagerness::AsConfigured {
            self.session.say(notice);
        }
        Ok(())
    }

    /// Counts the failure, so that the server is left alone for a while.
    fn remember_failure(&self, reason: &str) -> Result<(), PrepareError> {
        let now = self.now;
        self.session.state.change_server(|record| {
            record.failures = record.failures.saturating_add(1);
            record.failed = Some(Timestamp(now));
            record.failure = Some(reason.to_owned());
        })?;
        Ok(())
    }
}
