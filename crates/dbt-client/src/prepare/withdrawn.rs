//! The tool's signed list of versions that never run again, where there is no signed index.

use dbt_core::layout::{Location, WITHDRAWN_FILE};
use dbt_core::listing::Listing;
use dbt_core::trust::withdrawn::{WITHDRAWN_LIMIT, Withdrawn};
use dbt_core::trust::{Document, TrustStore};

use crate::anchor;
use crate::repository::bytes_of;
use crate::source::{Answer, Class, FetchError};

use super::{Failure, PrepareError, Run};

impl Run<'_> {
    /// Fetches a list of withdrawn versions that the listing shows for the first time.
    pub(super) fn first_withdrawn(&self, listing: &Listing) -> Option<Result<Answer, FetchError>> {
        let listed = listing.contains(WITHDRAWN_FILE);
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
