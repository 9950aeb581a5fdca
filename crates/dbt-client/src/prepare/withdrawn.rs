//! What a tool's publisher has withdrawn: taken in where it is signed, and never forgotten.

use dbt_core::layout::Location;
use dbt_core::trust::withdrawn::{WITHDRAWN_LIMIT, Withdrawn};
use dbt_core::trust::{Document, TrustStore};
use dbt_core::version::Version;

use crate::anchor;
use crate::repository::bytes_of;
use crate::source::{Answer, Class, FetchError};
use crate::state::ToolRecord;

use super::{Failure, PrepareError, Run};

impl Run<'_> {
    /// Fetches a list of withdrawn versions that the listing shows for the first time.
    pub(super) fn first_withdrawn(&self, listed: bool) -> Option<Result<Answer, FetchError>> {
        let known = self.record.withdrawn_etag.is_some();
        (listed && !known).then(|| {
            let at = Location::withdrawn(&self.request.tool);
            self.session.repository().get(&at, WITHDRAWN_LIMIT, None, &self.patience)
        })
    }

    /// Takes in the tool's withdrawn versions. One that does not verify is refused: it may hide
    /// a withdrawal.
    pub(super) fn take_withdrawn(
        &self,
        answer: Result<Answer, FetchError>,
        trust: &TrustStore,
    ) -> Result<(), Failure> {
        let tool = &self.request.tool;
        let (bytes, etag) = match answer {
            Ok(Answer::Document { bytes, etag }) => (bytes, etag),
            Ok(Answer::NotModified) => return Ok(()),
            // What was withdrawn stays withdrawn without the file.
            Err(error) if error.class() == Class::NotFound => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        let at = Location::withdrawn(tool).with_ending(dbt_core::layout::SIGNATURE_ENDING);
        let limit = dbt_core::trust::openpgp::SIGNATURE_LIMIT;
        let signature = self.session.repository().get(&at, limit, None, &self.patience);
        let signature = match bytes_of(signature) {
            Ok(signature) => signature,
            // It is being published; without it the list would be as good as not there either.
            Err(error) if error.class() == Class::NotFound => {
                self.session.detail(|| anchor::in_one_line(&error));
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        };
        trust
            .verify_document(&Document::Withdrawn(tool.clone()), &bytes, &signature, self.now)
            .map_err(|source| PrepareError::Verify { tool: tool.clone(), source })?;
        let refused = |source| PrepareError::WithdrawnList { tool: tool.clone(), source };
        let list = Withdrawn::parse(&bytes, tool).map_err(refused)?;
        let mut outcome = Ok(());
        self.session
            .state
            .change_tool(&self.subject, |record| {
                outcome = record.history.withdraw(list.clone());
                if outcome.is_ok() {
                    record.withdrawn_etag = Some(etag.clone().unwrap_or_default());
                }
            })
            .map_err(PrepareError::from)?;
        outcome.map_err(refused)?;
        Ok(())
    }
}

/// Returns why a version may not run, if it is withdrawn by its number. Its bytes are looked at
/// where they are known.
pub(super) fn withdrawn_reason(record: &ToolRecord, version: &Version) -> Option<String> {
    record.history.withdrawn()?.reason_against(version, None).map(str::to_owned)
}
