//! How a machine comes to a signed index: only under trust that it has already. (Trust design, 2.1.)

use dbt_core::layout::{SIGNATURE_ENDING, Tree};
use dbt_core::timestamp::Timestamp;
use dbt_core::trust::memory::SignedIndex as Remembered;
use dbt_core::trust::metadata::{ROOT_LIMIT, Roots, TIMESTAMP_LIMIT};
use dbt_core::trust::openpgp::SIGNATURE_LIMIT;
use dbt_core::trust::{Document, TrustStore};
use serde_json::Value;

use super::kept::{OfServer, OwnWords, Place};
use super::{IndexError, SignedIndex};
use crate::session::Session;
use crate::source::{Answer, Ask, Patience};
use crate::tuf::{self, Beside, UpdateError};

impl SignedIndex {
    /// Begins to hold on to the signed index that a server has: its root must be signed by a key that counts for the
    /// program itself, and all of it must be right. Says whether it is enforced.
    pub(crate) fn adopt(
        session: &Session<'_>,
        trust: &TrustStore,
        patience: &Patience,
    ) -> Result<bool, IndexError> {
        let now = session.now();
        let timestamp = document(session, "timestamp.json", TIMESTAMP_LIMIT, patience)?;
        let version = newest_root(&timestamp);
        let name = format!("{version}.root.json");
        let root = document(session, &name, ROOT_LIMIT, patience)?;
        let signature = format!("{name}{SIGNATURE_ENDING}");
        let signature = document(session, &signature, SIGNATURE_LIMIT, patience)?;
        trust
            .verify_document(&Document::Root(version), &root, &signature, now)
            .map_err(IndexError::NotVouchedFor)?;

        let repository_id = OwnWords::of(&root).repository_id.ok_or(IndexError::Nameless)?;
        let record = session.state.server()?;
        if let Some(pinned) = &record.trust.manifest
            && pinned.manifest.repository_id != repository_id
        {
            return Err(IndexError::OtherRepository { found: repository_id });
        }
        Roots::pinned(&root, now)?;
        let place = Place::of(session)?;
        let kept = place.locked()?;
        tuf::init(&kept, &root, now)?;
        let beside = Beside::of(session.repository().tree(Tree::Repository), patience.clone());
        let remote = OfServer::new(&timestamp, &beside, Some(&repository_id));
        tuf::refresh(&kept, &remote, now)?;
        drop(kept);
        let enforced = place.own_words()?.enforce;
        session.state.change_server(|record| {
            let index = record.trust.signed_index.get_or_insert_with(|| Remembered {
                repository_id: repository_id.clone(),
                ..Remembered::default()
            });
            index.enforced |= enforced;
            record.root_probed = Some(Timestamp(now));
        })?;
        Ok(enforced)
    }
}

/// Returns what a timestamp that nobody has verified calls the newest root. Whoever is wrong there shows one that nobody
/// has signed, or an older one, which he could show anyway.
fn newest_root(timestamp: &[u8]) -> u64 {
    let timestamp: Value = serde_json::from_slice(timestamp).unwrap_or_default();
    timestamp["signed"]["x-dbt"]["root_version"].as_u64().unwrap_or(1)
}

fn document(
    session: &Session<'_>,
    name: &str,
    limit: u64,
    patience: &Patience,
) -> Result<Vec<u8>, IndexError> {
    let missing = || UpdateError::Missing { file: name.to_owned() };
    let path = tuf::path_of(name).ok_or_else(missing)?;
    let ask = Ask::document(limit, patience);
    match session.repository().tree(Tree::Repository).get(&path, &ask) {
        Ok(Answer::Document { bytes, .. }) => Ok(bytes),
        Ok(Answer::NotModified) => Err(missing().into()),
        Err(error) => Err(IndexError::Fetch(error)),
    }
}
