//! What is published of the program where the server's signed index counts.

use dbt_core::release::Subject;
use dbt_core::trust::TrustStore;
use dbt_core::version::Version;

use super::SelfUpdateError;
use crate::session::Session;
use crate::signed_index::{IndexError, SignedIndex};
use crate::source::Patience;

/// Finds out which versions the index lists, and whose signatures count.
pub(super) fn look(
    session: &Session<'_>,
    patience: &Patience,
) -> Result<(Vec<Version>, TrustStore), SelfUpdateError> {
    let index = SignedIndex::update(session, &[&Subject::Program], patience, |_look| {});
    let index = index.map_err(SelfUpdateError::Index)?;
    if index.freshness().is_too_old() {
        return Err(SelfUpdateError::Index(IndexError::TooOld));
    }
    session.say_age(&index);
    let platforms = [session.settings.platform];
    let versions = index.versions(&Subject::Program, &platforms).map_err(SelfUpdateError::Index)?;
    let truststore = index.fetch_truststore(session, patience).map_err(SelfUpdateError::Index)?;
    session.keep_index(index);
    let anchored = session.anchor().confirm_listed(&truststore)?;
    anchored.notices.into_iter().for_each(|notice| session.say(notice));
    Ok((versions, anchored.store))
}
