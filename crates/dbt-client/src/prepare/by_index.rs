//! A run where the server's signed index counts: one small request says whether anything is new, and nothing runs that is
//! not listed. And before that: how it is looked at on trial.

use dbt_core::listing::Listing;
use dbt_core::platform::Platform;
use dbt_core::release::Subject;
use dbt_core::timestamp::Timestamp;
use dbt_core::trust::TrustStore;
use dbt_core::trust::metadata::Status;
use dbt_core::version::Version;

use crate::anchor::in_one_line;
use crate::notice::Notice;
use crate::obtain::Obtained;
use crate::self_update;
use crate::signed_index::{IndexError, SignedIndex};

use super::{Failure, Outcome, PrepareError, Prepared, Run};

/// How long an index that is not adopted is left alone.
const RETRY: std::time::Duration = std::time::Duration::from_hours(24);

impl Run<'_> {
    /// Says whether the server's signed index is what counts here.
    pub(super) fn is_by_index(&self) -> Result<bool, PrepareError> {
        Ok(self.session.state.server()?.trust.demands_listing())
    }

    /// Prepares the tool by the signed index alone.
    pub(super) fn by_index(&self) -> Result<Outcome, PrepareError> {
        let read_ahead = |look: &dyn Fn()| self.copies.read_ahead(look);
        let subjects = [&self.subject, &Subject::Program];
        let index = SignedIndex::update(self.session, &subjects, &self.patience, read_ahead);
        let index = match index {
            Ok(index) => index,
            Err(error) => return self.after_failure(self.unusable(error)),
        };
        self.session.say_age(&index);
        let (is_too_old, truststore) =
            (index.freshness().is_too_old(), index.fetch_truststore(self.session, &self.patience));
        self.session.keep_index(index);
        if is_too_old {
            return self.go_on_with_old_index();
        }
        let taken = truststore.map_err(|error| self.unusable(error)).and_then(|bytes| {
            let anchored = self.session.anchor().confirm_listed(&bytes);
            anchored.map_err(|error| PrepareError::Trust(error).into())
        });
        let trust = match taken {
            Ok(anchored) => {
                anchored.notices.into_iter().for_each(|notice| self.session.say(notice));
                anchored.store
            }
            Err(failure) => return self.after_failure(failure),
        };
        if self_update::is_wanted(self.session) {
            let versions = self.listed_versions(&Subject::Program)?;
            let replaced = self_update::update(self.session, &versions, &trust, &self.patience);
            if let Some(replaced) = replaced {
                return Ok(Outcome::Replaced(replaced));
            }
        }
        match self.choose_listed(&trust) {
            Ok(prepared) => Ok(Outcome::Ready(Box::new(prepared))),
            Err(failure) => self.after_failure(failure),
        }
    }

    fn choose_listed(&self, trust: &TrustStore) -> Result<Prepared, Failure> {
        let versions = self.listed_versions(&self.subject)?;
        if versions.is_empty() {
            let (tool, wanted) = (self.request.tool.clone(), self.wanted.clone());
            let (names, cached) = (Vec::new(), self.has_cached_copy);
            return Err(PrepareError::NoTool { tool, wanted, names, cached }.into());
        }
        self.choose(versions, None, trust)
    }

    /// Returns the versions that are listed for this machine.
    fn listed_versions(&self, subject: &Subject) -> Result<Vec<Version>, PrepareError> {
        let platform = self.session.settings.platform;
        let platforms: Vec<Platform> =
            [Some(platform), platform.fallback()].into_iter().flatten().collect();
        let versions = self.session.index().map(|index| index.versions(subject, &platforms));
        versions.unwrap_or(Ok(Vec::new())).map_err(|source| self.refused_index(source))
    }

    /// Says that nothing new is installed any more, and runs what is here.
    fn go_on_with_old_index(&self) -> Result<Outcome, PrepareError> {
        if let Some(prepared) = self.best_cached("the signed index was not renewed")? {
            return Ok(Outcome::Ready(Box::new(prepared)));
        }
        let server = self.session.settings.server.name.to_string();
        Err(PrepareError::IndexTooOld { tool: self.request.tool.clone(), server })
    }

    /// Returns why a version must not run, if the signed index says so.
    pub(super) fn withdrawn_by_index(&self, version: &Version) -> Result<Option<String>, Failure> {
        for id in self.builds_of(version) {
            let listed = self.session.listed(&id).map_err(|error| self.unusable(error))?;
            match listed.as_ref().map(dbt_core::trust::metadata::ListedArtifact::status) {
                Some(Status::Withdrawn { reason }) => return Ok(Some(reason.clone())),
                Some(Status::Deprecated { reason, replaced_by }) => {
                    self.session.say(Notice::Deprecated {
                        tool: self.request.tool.clone(),
                        version: version.clone(),
                        reason: reason.clone(),
                        replaced_by: replaced_by.clone(),
                    });
                    return Ok(None);
                }
                Some(Status::Active) => return Ok(None),
                None => {}
            }
        }
        Ok(None)
    }

    /// Tells an index that cannot be had from one that is not to be believed.
    pub(super) fn unusable(&self, error: IndexError) -> Failure {
        match error {
            IndexError::Fetch(error) => error.into(),
            IndexError::State(error) => PrepareError::State(error).into(),
            IndexError::Gone
            | IndexError::TooOld
            | IndexError::OtherRepository { .. }
            | IndexError::Nameless
            | IndexError::Refused(_)
            | IndexError::NotVouchedFor(_)
            | IndexError::Keep(_) => self.refused_index(error).into(),
        }
    }

    fn refused_index(&self, source: IndexError) -> PrepareError {
        PrepareError::SignedIndex { tool: self.request.tool.clone(), source }
    }

    /// Looks at the signed index of a server where it does not count yet: adopts one that is there, and follows one that is
    /// on trial. Says whether it counts from now on.
    pub(super) fn look_at_index(
        &self,
        listing: Option<&Listing>,
        trust: &TrustStore,
    ) -> Result<bool, PrepareError> {
        let record = self.session.state.server()?;
        if record.trust.signed_index.is_some() {
            let subjects = [&self.subject];
            match SignedIndex::update(self.session, &subjects, &self.patience, |_look| {}) {
                Ok(index) => self.session.keep_index(index),
                Err(error) => self.say_disagreement(in_one_line(&error)),
            }
            return self.is_by_index();
        }
        let repository = self.session.repository();
        let is_there = listing.is_some_and(|listing| repository.shows_index(listing));
        let refused = record.index_refused.map(|Timestamp(refused)| refused);
        let rests = refused
            .is_some_and(|refused| self.now.duration_since(refused).is_ok_and(|it| it < RETRY));
        let is_kept = self.session.state.directory().is_some();
        if !is_there || rests || !is_kept || !trust.is_confirmed() {
            return Ok(false);
        }
        match SignedIndex::adopt(self.session, trust, &self.patience) {
            Ok(is_enforced) => Ok(is_enforced),
            Err(error) => {
                let server = &self.session.settings.server.name;
                self.session.say(Notice::Housekeeping(format!(
                    "the signed index on server `{server}` is ignored: {}",
                    in_one_line(&error)
                )));
                self.session.state.change_server(|record| {
                    record.index_refused = Some(Timestamp(self.now));
                })?;
                Ok(false)
            }
        }
    }

    /// Says what an index on trial would have refused.
    pub(super) fn compare_with_index(&self, obtained: &Obtained) {
        let Some(index) = self.session.index() else { return };
        let reason = match index.artifact(&obtained.id) {
            Ok(Some(listed)) if listed.sha256() == obtained.digest => return,
            Ok(Some(_other)) => "it lists other bytes".to_owned(),
            Ok(None) => "it does not list it".to_owned(),
            Err(error) => in_one_line(&error),
        };
        self.say_disagreement(format!("`{}` {}: {reason}", self.request.tool, obtained.id.version));
    }

    fn say_disagreement(&self, reason: String) {
        let server = self.session.settings.server.name.to_string();
        self.session.say(Notice::IndexDisagrees { server, reason });
    }
}
