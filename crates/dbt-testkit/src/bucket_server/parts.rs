//! Objects that come in parts.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use super::{State, etag, listing, put, refusal};
use crate::http::{Answer, Request};

/// What a store has of objects in parts.
#[derive(Debug, Default)]
pub(super) struct Uploads {
    /// Whether it takes none.
    pub(super) are_unknown: bool,
    /// Those that were begun, and neither finished nor given up.
    pub(super) begun: BTreeMap<String, Upload>,
    /// How many there ever were.
    count: usize,
    pub(super) fails_next: bool,
    /// What the next one ends with.
    pub(super) bad_end: Option<String>,
}

/// An upload that was begun: the head of the request that did so, and its parts by number.
#[derive(Debug)]
pub(super) struct Upload {
    head: Request,
    parts: BTreeMap<u32, Vec<u8>>,
}

/// Answers what is about uploads in parts; nothing to every other request.
pub(super) fn answer(
    request: &Request,
    file: &Path,
    body: &[u8],
    state: &mut State,
) -> Option<Answer> {
    let (_path, query) = request.path.split_once('?')?;
    let asked: BTreeMap<&str, String> = query
        .split('&')
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(name, value)| (name, listing::unescaped(value)))
        .collect();
    if asked.contains_key("uploads") {
        return Some(begin(request, state));
    }
    let id = asked.get("uploadId")?;
    if !state.parts.begun.contains_key(id) {
        return Some(refusal(404, "NoSuchUpload"));
    }
    Some(match request.method.as_str() {
        "PUT" => {
            let number = asked.get("partNumber").and_then(|number| number.parse().ok());
            let Some(number) = number else { return Some(refusal(400, "InvalidArgument")) };
            if std::mem::take(&mut state.parts.fails_next) {
                return Some(refusal(503, "SlowDown"));
            }
            let upload = state.parts.begun.get_mut(id).expect("it is there");
            upload.parts.insert(number, body.to_vec());
            Answer::of(200, "application/xml", Vec::new()).with("ETag", &etag(body))
        }
        "POST" => finish(request, id, file, body, state),
        _ => {
            state.parts.begun.remove(id);
            Answer { status: 204, headers: Vec::new(), body: Vec::new() }
        }
    })
}

fn begin(request: &Request, state: &mut State) -> Answer {
    if state.parts.are_unknown {
        return refusal(501, "NotImplemented");
    }
    state.parts.count += 1;
    // With what has to be escaped in a query.
    let id = format!("upload+{}/=", state.parts.count);
    let body = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<InitiateMultipartUploadResult><UploadId>{id}</UploadId></InitiateMultipartUploadResult>"
    );
    state.parts.begun.insert(id, Upload { head: request.clone(), parts: BTreeMap::new() });
    Answer::of(200, "application/xml", body.into_bytes())
}

/// Makes the object, if what is said of its parts is so and the condition holds.
fn finish(request: &Request, id: &str, file: &Path, body: &[u8], state: &mut State) -> Answer {
    if let Some(code) = state.parts.bad_end.take() {
        return Answer::of(200, "application/xml", refusal(500, &code).body);
    }
    let upload = &state.parts.begun[id];
    let mut named = String::new();
    for (number, part) in &upload.parts {
        let etag = etag(part);
        write!(named, "<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag></Part>")
            .expect("a string takes it");
    }
    if !String::from_utf8_lossy(body).contains(&format!(">{named}</")) {
        return refusal(400, "InvalidPart");
    }
    let whole: Vec<u8> = upload.parts.values().flatten().copied().collect();
    let mut head = upload.head.clone();
    head.headers.retain(|(name, _value)| name != "if-none-match");
    head.headers
        .extend(request.headers.iter().filter(|(name, _)| name == "if-none-match").cloned());
    let written = put(&head, file, &whole, state);
    if written.status != 200 {
        return written;
    }
    state.parts.begun.remove(id);
    let body = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<CompleteMultipartUploadResult><ETag>{}</ETag></CompleteMultipartUploadResult>",
        etag(&whole).replace('"', "&quot;")
    );
    Answer::of(200, "application/xml", body.into_bytes())
}
