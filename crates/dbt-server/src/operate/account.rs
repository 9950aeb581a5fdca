//! What is told of each request when its answer has ended: a line in the log, and what is counted.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::SystemTime;

use http_body_util::BodyExt as _;
use hyper::Method;
use hyper::body::{Body as HttpBody, Bytes, Frame, SizeHint};
use tokio::time::Instant;

use super::metrics::{Counter, Timer};
use crate::app::App;
use crate::content::Body;
use crate::log::Access;
use crate::request_id::RequestId;
use crate::time;
use crate::tokens::text;

/// What is known of a request. Never a query or a header, which could be secret.
pub struct Entry {
    /// Its id.
    pub request: RequestId,
    /// Where it came from.
    pub peer: String,
    /// Who sent it, as far as that was asked.
    pub subject: Option<String>,
    /// Its method.
    pub method: Method,
    /// Its path.
    pub path: String,
    /// What it asked for.
    pub route: &'static str,
    /// How it was answered.
    pub status: u16,
    /// When it came.
    pub began: SystemTime,
    /// When it came, for measuring.
    pub started: Instant,
}

/// An answer on its way. What is to be told of it is told when it has ended, or was given up.
struct Accounted {
    body: Body,
    app: Arc<App>,
    entry: Entry,
    sent: u64,
    ended: bool,
}

/// Tells of a request as soon as this body has ended.
pub fn accounted(app: &Arc<App>, entry: Entry, body: Body) -> Body {
    let app = Arc::clone(app);
    // An answer without bytes is never asked for any.
    let ended = body.is_end_stream();
    Accounted { body, app, entry, sent: 0, ended }.boxed_unsync()
}

impl HttpBody for Accounted {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        match &polled {
            Poll::Ready(Some(Ok(frame))) => {
                self.sent += frame.data_ref().map_or(0, |bytes| bytes.len() as u64);
                self.ended = self.body.is_end_stream();
            }
            Poll::Ready(None) => self.ended = true,
            Poll::Ready(Some(Err(_))) | Poll::Pending => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Accounted {
    fn drop(&mut self) {
        let Self { app, entry, sent, ended, body: _ } = self;
        let taken = entry.started.elapsed();
        let metrics = &app.running.metrics;
        metrics.observe(Timer::Request, entry.route, taken);
        let labels = [known(&entry.method).into(), entry.route.into(), entry.status.into()];
        metrics.count(Counter::Requests, &labels);
        if is_quiet(entry.route) {
            return;
        }
        let access = Access {
            request: entry.request.as_str(),
            peer: &entry.peer,
            subject: entry.subject.as_deref(),
            method: entry.method.as_str(),
            path: &entry.path,
            route: entry.route,
            status: entry.status,
            bytes: *sent,
            whole: *ended,
            seconds: taken.as_secs_f64(),
            at: &time::rfc_3339(entry.began),
        };
        access.log();
    }
}

/// Returns the path of a request as it is logged: as it came, unless somebody put a token into it, however
/// that is written.
pub fn logged(path: &str) -> String {
    if !path.contains('%') && !path.contains(text::PREFIX) {
        return path.to_owned();
    }
    let plain = unescaped(path);
    let masked = text::masked(&plain);
    if masked == plain { path.to_owned() } else { masked }
}

/// Reads the escapes of a path, as far as they stand for what may be in a token.
fn unescaped(path: &str) -> String {
    let (mut plain, mut rest) = (String::new(), path);
    while let Some((before, after)) = rest.split_once('%') {
        plain.push_str(before);
        let code = after.get(..2).and_then(|digits| u8::from_str_radix(digits, 16).ok());
        let code = code.filter(|code| code.is_ascii_alphanumeric() || *code == b'_');
        if let Some(code) = code {
            plain.push(char::from(code));
            rest = after.get(2..).unwrap_or_default();
        } else {
            plain.push('%');
            rest = after;
        }
    }
    plain + rest
}

/// Says whether requests come all the time that nobody wants to read about.
fn is_quiet(route: &str) -> bool {
    matches!(route, "health" | "metrics")
}

/// Returns the method as a word of ours.
fn known(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::PUT => "PUT",
        Method::POST => "POST",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_logged_as_it_came_unless_there_is_a_token_in_it() {
        let token = text::new().unwrap().expose().clone();
        let beginning = &token[..10];
        let escaped: Vec<String> = token.bytes().map(|byte| format!("%{byte:02x}")).collect();
        let escaped = escaped.concat();
        for (path, expected) in [
            (format!("/-/api/v1/tokens/{token}"), format!("/-/api/v1/tokens/{beginning}…")),
            (format!("/-/api/v1/tokens/{escaped}"), format!("/-/api/v1/tokens/{beginning}…")),
            (format!("/x/{}/y", token.replace('_', "%5F")), format!("/x/{beginning}…/y")),
            (format!("/x/%20{token}"), format!("/x/%20{beginning}…")),
            // Some of it is missing, or there is more.
            (format!("/{}", &token[..30]), format!("/{beginning}…")),
            (format!("/{token}{token}/{token}"), format!("/{beginning}…/{beginning}…")),
        ] {
            assert_eq!(logged(&path), expected);
        }
        for path in [
            "/dbt/latest",
            "/dbt-tools/dbt_helper/1.0.0/linux/amd64/dbt_helper",
            "/x/%64bt_",
            "/%",
            "/%zz%+1%é",
            "/a%2Fb%41",
        ] {
            assert_eq!(logged(path), path);
        }
    }
}
