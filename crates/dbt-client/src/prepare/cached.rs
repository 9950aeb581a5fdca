//! What runs when the server is not asked, or cannot be used.

use dbt_core::release::ArtifactId;
use dbt_core::timestamp::Timestamp;
use dbt_core::trust::{Endorsement, Expectation, Fetched, TrustStore};
use dbt_core::version::{Version, Wanted};

use crate::anchor::{AnchorError, in_one_line};
use crate::notice::Notice;
use crate::obtain::ObtainError;
use crate::state::{InstalledVersion, ToolRecord};
use crate::store::{Installed, StoreFile};

use super::{Eagerness, Failure, Outcome, PrepareError, Prepared, Run, withdrawn_reason};

impl Run<'_> {
    /// Lists the verified versions in a record that the request admits, best first. What the
    /// server does not publish any more comes after what it does.
    pub(super) fn cached_versions<'r>(
        &self,
        record: &'r ToolRecord,
    ) -> impl Iterator<Item = &'r InstalledVersion> {
        let platform = self.session.settings.platform;
        let runs_here = |entry: &InstalledVersion| {
            entry.platform == platform.to_string()
                || platform.fallback().is_some_and(|other| entry.platform == other.to_string())
        };
        best_first(record, &self.wanted, runs_here).into_iter()
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

    /// Does so for a server that is left alone, and says why.
    pub(super) fn go_without(&self, reason: &str) -> Result<Outcome, PrepareError> {
        let outcome = self.use_cache(reason)?;
        if let Outcome::Ready(prepared) = &outcome {
            self.say_outage_of(prepared, reason)?;
        }
        Ok(outcome)
    }

    /// Goes on after the server's answers did not lead to a tool.
    pub(super) fn after_failure(&self, failure: Failure) -> Result<Outcome, PrepareError> {
        match failure {
            Failure::Final(error) => Err(error),
            Failure::Outage { reason, hint } => {
                self.remember_failure(&reason)?;
                let Some(prepared) = self.best_cached(&reason)? else {
                    let (tool, wanted) = (self.request.tool.clone(), self.wanted.clone());
                    let server = self.session.settings.server.repository.to_string();
                    return Err(PrepareError::Unreachable { tool, wanted, server, reason, hint });
                };
                self.say_outage_of(&prepared, &reason)?;
                Ok(Outcome::Ready(Box::new(prepared)))
            }
            Failure::Refused(reason) => match self.best_cached(&reason)? {
                Some(prepared) => Ok(Outcome::Ready(Box::new(prepared))),
                None => Err(PrepareError::Trust(AnchorError::NothingNew(reason))),
            },
            Failure::Machine(error) => {
                let cause = std::error::Error::source(&*error);
                let reason = cause.map_or_else(|| error.to_string(), in_one_line);
                let Some(prepared) = self.best_cached(&reason)? else { return Err(*error) };
                let (tool, version) = (self.request.tool.clone(), prepared.id.version.clone());
                self.session.say(Notice::NotInstalled { reason, tool, version });
                Ok(Outcome::Ready(Box::new(prepared)))
            }
            Failure::Credentials(source) => {
                let reason = in_one_line(source.failure());
                // It may have been waited for, which the next runs need not do again.
                self.remember_failure(&reason)?;
                let Some(prepared) = self.best_cached(&reason)? else {
                    let server = self.session.settings.server.name.to_string();
                    return Err(PrepareError::Credentials { server, source });
                };
                self.say_outage_of(&prepared, &reason)?;
                Ok(Outcome::Ready(Box::new(prepared)))
            }
            Failure::SignIn(source) => {
                let server = self.session.settings.server.name.to_string();
                let Some(prepared) = self.best_cached("the server wants a sign-in")? else {
                    let hint = self.session.settings.server.hint_to_sign_in();
                    return Err(PrepareError::SignIn { server, hint, source });
                };
                let (tool, version) = (self.request.tool.clone(), prepared.id.version.clone());
                self.session.say(Notice::SignInNeeded { server, tool, version });
                Ok(Outcome::Ready(Box::new(prepared)))
            }
        }
    }

    /// Verifies the copies that are here, best first, until one is good. What is wrong with a better
    /// one is said, and is the error where none is good, or where the server is `strict`.
    pub(super) fn best_cached(&self, reason: &str) -> Result<Option<Prepared>, PrepareError> {
        let Some(trust) = self.session.anchor().last_good(reason).map_err(PrepareError::Trust)?
        else {
            return Ok(None);
        };
        // This run may have learnt that a version is withdrawn.
        let record = self.session.record(&self.subject)?;
        let mut refused: Vec<(Version, ObtainError)> = Vec::new();
        for entry in self.cached_versions(&record) {
            let Some(id) = entry.id(&self.subject) else { continue };
            let Some(fetched) = self.copies.fetched(id, entry) else { continue };
            match self.kept(fetched, &trust, &record) {
                Ok((installed, id, endorsement)) => {
                    for (version, error) in refused {
                        self.session.say(Notice::CachedCopyRefused {
                            tool: self.request.tool.clone(),
                            version,
                            reason: in_one_line(&error),
                            now: id.version.clone(),
                        });
                    }
                    self.say_key_expiry(&endorsement);
                    let unconfirmed = Some(reason.to_owned());
                    let fresh = false;
                    return Ok(Some(Prepared { installed, id, endorsement, fresh, unconfirmed }));
                }
                // Trying again from the beginning is the better answer to that.
                Err(error @ ObtainError::Store(_)) if error.may_pass() => {
                    return Err(self.no_copy_good(error));
                }
                // Going back is what `strict` refuses.
                Err(error) if self.session.settings.server.strict => {
                    return Err(self.no_copy_good(error));
                }
                Err(error) => refused.push((entry.version.clone(), error)),
            }
        }
        match refused.into_iter().next() {
            Some((_best, error)) => Err(self.no_copy_good(error)),
            None => Ok(None),
        }
    }

    fn kept(
        &self,
        fetched: Fetched<StoreFile>,
        trust: &TrustStore,
        record: &ToolRecord,
    ) -> Result<(Installed, ArtifactId, Endorsement), ObtainError> {
        let must_be_bound = record.history.must_be_bound();
        let listed = self.session.listed(fetched.id())?;
        let expectation = Expectation { must_be_bound, signed_since: None, listed };
        let verified = trust.verify(fetched, &expectation, self.now)?;
        let (id, endorsement) = (verified.id().clone(), verified.endorsement().clone());
        Ok((self.session.store.install(verified)?, id, endorsement))
    }

    fn no_copy_good(&self, error: ObtainError) -> PrepareError {
        PrepareError::CachedCopy { tool: self.request.tool.clone(), source: Box::new(error) }
    }

    /// Says that a cached version runs instead of an answer.
    fn say_outage_of(&self, prepared: &Prepared, reason: &str) -> Result<(), PrepareError> {
        let confirmed = self.session.state.server()?.confirmed;
        let notice = Notice::Outage {
            server: self.session.settings.server.repository.to_string(),
            reason: reason.to_owned(),
            tool: self.request.tool.clone(),
            version: prepared.id.version.clone(),
            age: confirmed.and_then(|Timestamp(confirmed)| self.now.duration_since(confirmed).ok()),
        };
        // Who asks now is told by the outcome, and nothing runs.
        if self.request.eagerness == Eagerness::AsConfigured {
            self.session.say(notice);
        }
        Ok(())
    }

    /// Counts the failure, so that the server is left alone for a while.
    pub(super) fn remember_failure(&self, reason: &str) -> Result<(), PrepareError> {
        let state = &self.session.state;
        let known = state.server()?.failed;
        state.change_server(|record| record.count_failure(known, self.now, reason))?;
        Ok(())
    }
}

fn best_first<'r>(
    record: &'r ToolRecord,
    wanted: &Wanted,
    runs_here: impl Fn(&InstalledVersion) -> bool,
) -> Vec<&'r InstalledVersion> {
    let may_run = |entry: &InstalledVersion| {
        let withdrawn = record.history.withdrawn();
        withdrawn
            .is_none_or(|list| list.reason_against(&entry.version, Some(entry.sha256)).is_none())
    };
    let is_gone = |entry: &InstalledVersion| {
        let back_to = record.history.went_back_to().filter(|_| *wanted == Wanted::Newest);
        back_to.is_some_and(|back_to| entry.version.cmp_number(back_to).is_gt())
    };
    let mut entries: Vec<&InstalledVersion> = record
        .installed
        .iter()
        .filter(|entry| wanted.admits(&entry.version) && runs_here(entry) && may_run(entry))
        .collect();
    entries.sort_by(|a, b| is_gone(a).cmp(&is_gone(b)).then(b.version.cmp(&a.version)));
    entries
}

#[cfg(test)]
mod tests {
    use super::*;
    use dbt_core::digest::Digest;
    use dbt_core::trust::withdrawn::{Withdrawn, WithdrawnVersion};
    use std::time::SystemTime;

    fn record() -> ToolRecord {
        let entry = |version: &str| InstalledVersion {
            version: version.parse().unwrap(),
            platform: "linux/amd64".to_owned(),
            sha256: Digest::of(version.as_bytes()),
            length: 1,
            signature: String::new(),
            signer: String::new(),
            installed: Timestamp(SystemTime::UNIX_EPOCH),
            used: Timestamp(SystemTime::UNIX_EPOCH),
        };
        let installed = ["1.3.0", "1.4.0", "1.5.0"].map(entry).into();
        ToolRecord { installed, ..ToolRecord::default() }
    }

    #[track_caller]
    fn check(record: &ToolRecord, wanted: &Wanted, expected: &[&str]) {
        let best = best_first(record, wanted, |_| true);
        let best: Vec<&str> = best.iter().map(|entry| entry.version.spelling()).collect();
        assert_eq!(best, expected);
    }

    #[test]
    fn what_is_not_published_any_more_runs_from_the_cache_only_if_there_is_nothing_else() {
        let mut record = record();
        check(&record, &Wanted::Newest, &["1.5.0", "1.4.0", "1.3.0"]);
        record.history.removal_said(&"1.4.0".parse().unwrap());
        check(&record, &Wanted::Newest, &["1.4.0", "1.3.0", "1.5.0"]);
        check(&record, &Wanted::Exactly("1.5.0".parse().unwrap()), &["1.5.0"]);
    }

    #[test]
    fn withdrawn_bytes_do_not_run_under_another_number() {
        let mut record = record();
        let withdrawn = WithdrawnVersion {
            version: "1.0.0".parse().unwrap(),
            sha256: vec![Digest::of(b"1.5.0")],
            reason: "bad".to_owned(),
        };
        let list = Withdrawn::new(&"deploy".parse().unwrap());
        record.history.withdraw(Withdrawn { versions: vec![withdrawn], ..list }).unwrap();
        check(&record, &Wanted::Newest, &["1.4.0", "1.3.0"]);
    }
}
