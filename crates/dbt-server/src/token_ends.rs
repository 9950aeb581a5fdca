//! Tokens of the server's own that end while a request with them is under way: a body may take hours, and
//! a revocation is not to wait for that.

use std::sync::Arc;

use crate::app::App;
use crate::authn::{Caller, Scope};
use crate::error::ApiError;
use crate::state::Ending;
use crate::storage::StorageError;
use crate::upload::{BodyReader, UploadError};

/// Has a body end in a refusal where the token that was shown with it counts no more when all of it has
/// come.
pub(crate) fn while_it_counts(app: &Arc<App>, caller: &Caller, body: BodyReader) -> BodyReader {
    let Some(token) = caller.token() else { return body };
    let (app, id) = (Arc::clone(app), token.id.clone());
    body.provided(move || app.tokens.counts(&id, app.clock.now()))
}

/// Makes of that refusal the answer to it, which says how one can sign in.
pub(crate) fn answer(app: &App, error: ApiError) -> ApiError {
    if let ApiError::Storage(StorageError::Upload(UploadError::TokenGone)) = error {
        return refused(app, "the token counts no more");
    }
    error
}

/// Answers as if the token that was shown had been looked up only now.
pub(crate) fn ended(app: &App, ending: Option<Ending>) -> ApiError {
    let told = match ending {
        Some(Ending::Spent) => "the token was for one use, and was used",
        Some(Ending::Revoked | Ending::Restored) => "the token was revoked",
        None => "the token has expired",
    };
    refused(app, told)
}

/// Refuses whoever was admitted and would not be any more.
pub(crate) fn refused(app: &App, told: &str) -> ApiError {
    let challenges = app.authn.challenges(Scope::Writes);
    ApiError::Unauthorised { challenges, offered: true, detail: told.to_owned() }
}
