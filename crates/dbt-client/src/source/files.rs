//! Single files beneath a URL, whose names are escaped already: metadata and targets of repositories
//! that are not ours, where a name may hold what no path of ours does.

use std::sync::Arc;

use super::connector::Connector;
use super::error::{Failure, FetchError};
use super::http::Client;
use super::target::Target;
use super::{Answer, Ask};
use crate::auth::Credentials;

/// A place with files. Nobody says there who asks.
#[derive(Debug)]
pub struct Files {
    base: String,
    client: Client,
}

impl Files {
    /// Names the place. Nothing is read yet.
    pub fn at(base: &str, connector: &Arc<Connector>) -> Result<Self, FetchError> {
        let base = if base.ends_with('/') { base.to_owned() } else { format!("{base}/") };
        target_of(&base)?;
        Ok(Self { base, client: Client::new(connector, &Credentials::none()) })
    }

    /// Reads a file, or returns nothing where there is none.
    ///
    /// Object stores answer 403 for a file that is not there to who may not list the others.
    pub fn get(&self, name: &str, ask: &Ask) -> Result<Option<Vec<u8>>, FetchError> {
        let target = target_of(&format!("{}{name}", self.base))?;
        match self.client.document_at(target, ask) {
            Ok(Answer::Document { bytes, .. }) => Ok(Some(bytes)),
            Ok(Answer::NotModified) => Ok(None),
            Err(error) if matches!(error.failure(), Failure::NotFound | Failure::Forbidden) => {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}

fn target_of(url: &str) -> Result<Target, FetchError> {
    Target::of_endpoint(url).map_err(|problem| {
        FetchError::new("read", crate::url::without_secrets(url), Failure::from(problem))
    })
}
