//! Why the server's answers did not lead to a tool, by what may be done about it.

use crate::anchor;
use crate::source::{Class, FetchError};

use super::PrepareError;

/// Why the server's answers did not lead to a tool.
pub(super) enum Failure {
    /// The server, or a part that is needed, cannot be used now.
    Outage {
        /// What happened.
        reason: String,
        /// What the user can do about it, if anything is known.
        hint: Option<String>,
    },
    /// The server works and its truststore is refused, which has been said.
    Refused(String),
    /// What is configured to tell the server who asks cannot be had: it was not even asked.
    Credentials(FetchError),
    /// The server wants a sign-in.
    SignIn(FetchError),
    /// This machine cannot take in what the server gives.
    Machine(Box<PrepareError>),
    /// Anything that a cached copy does not help against.
    Final(PrepareError),
}

impl From<PrepareError> for Failure {
    fn from(error: PrepareError) -> Self {
        Self::Final(error)
    }
}

impl From<FetchError> for Failure {
    fn from(error: FetchError) -> Self {
        match error.class() {
            Class::Outage | Class::NotFound => {
                Self::Outage { reason: reason_of(&error), hint: error.hint() }
            }
            Class::SignIn if error.is_about_credentials() => Self::Credentials(error),
            Class::SignIn => Self::SignIn(error),
            Class::Forbidden => Self::Final(PrepareError::Forbidden(error)),
            Class::Refused => Self::Final(PrepareError::Fetch(error)),
        }
    }
}

/// Says what happened, with what the server calls the request: its administrator can look it up.
/// What is wrong with one document names it.
pub(super) fn reason_of(error: &FetchError) -> String {
    if error.failure().is_about_one_document() {
        return anchor::in_one_line(error);
    }
    let reason = anchor::in_one_line(error.failure());
    match error.request_id() {
        Some(id) => format!("{reason} (request {id})"),
        None => reason,
    }
}
