//! Tokens of the server's own that end, and people who are suspended, while a request is under way: a body
//! may take hours, and neither is to wait for that.

use std::sync::Arc;

use crate::app::App;
use crate::authn::{Caller, Scope};
use crate::error::ApiError;
use crate::state::Ending;
use crate::storage::StorageError;
use crate::upload::{BodyReader, UploadError};

/// Has a body end in a refusal where the token that was shown with it counts no more when all of it has
/// come, or whoever sent it is suspended; of a job, where the rule has gone that permits what it is for.
pub(crate) fn while_it_counts(
    app: &Arc<App>,
    caller: &Caller,
    permitted_by: Option<&str>,
    body: BodyReader,
) -> BodyReader {
    if caller.is_anonymous() || caller.is_on_the_host() {
        return body;
    }
    let (app, caller) = (Arc::clone(app), caller.clone());
    let permitted_by = permitted_by.map(ToOwned::to_owned);
    body.provided(move || {
        let (token, by) = (caller.token(), permitted_by.as_deref());
        token.is_none_or(|token| app.tokens.counts(token, by, app.clock.now()))
            && app.users.judge(&caller, Scope::Writes).is_ok()
    })
}

/// Makes of that refusal the answer to it, which says how one can sign in.
pub(crate) fn answer(app: &App, error: ApiError) -> ApiError {
    if let ApiError::Storage(StorageError::Upload(UploadError::TokenGone)) = error {
        return refused(app, "the credential counts no more");
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
