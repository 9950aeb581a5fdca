//! Uploads by checksum alone: a publisher says which bytes it would send, and where the caller
//! may read those bytes already, they need not be sent.
//!
//! Who may not read them gets the answer that there are none: knowing a checksum must not be a
//! way to read, nor to find out what is there.

use hyper::HeaderMap;

use crate::action::{Action as _, Read, Write};
use crate::app::App;
use crate::authz::Grant;
use crate::error::ApiError;
use crate::storage::{Detail, Found};
use crate::upload::{BodyReader, Upload};

/// Asks for an upload by checksum. As other artifact servers name it.
const X_CHECKSUM_DEPLOY: &str = "x-checksum-deploy";

/// Says whether a request wants that.
pub(crate) fn is_asked_for(headers: &HeaderMap) -> bool {
    headers
        .get(X_CHECKSUM_DEPLOY)
        .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"true"))
}

/// Gives an upload the bytes that it names, if the caller may read them somewhere.
pub(crate) async fn with_known_bytes(
    app: &App,
    grant: &Grant<Write>,
    upload: Upload,
) -> Result<Upload, ApiError> {
    let bad = |detail: &str| ApiError::BadRequest { code: "bad-header", detail: detail.to_owned() };
    let wanted = upload.declared.sha256();
    let wanted = wanted.ok_or_else(|| bad("`X-Checksum-Deploy` takes `X-Checksum-Sha256`"))?;
    if !upload.body.is_empty() {
        return Err(bad("an upload by `X-Checksum-Deploy` has no body"));
    }
    for path in app.storage.places_of(wanted).await {
        let Some(read) = Read::of(path) else { continue };
        let Ok(readable) = app.policy.authorise(grant.caller().clone(), read) else { continue };
        // What was there may have gone or changed since.
        let Ok(Found::File(file)) = app.storage.look(&readable, Detail::Names).await else {
            continue;
        };
        if file.digest != Some(wanted) || file.is_draft {
            continue;
        }
        tracing::debug!(from = %readable.action().path(), "bytes need not be sent");
        let body = BodyReader::new(&HeaderMap::new(), file.into_request_body(), &app.limits);
        return Ok(Upload { body, ..upload });
    }
    Err(ApiError::BodyWanted)
}
