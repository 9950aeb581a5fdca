//! The log: lines on standard error, of JSON or for people.

mod lines;

use std::cell::RefCell;
use std::error::Error;
use std::fmt;
use std::io;
use std::sync::OnceLock;
use std::thread;

use serde::Serialize;
use tracing::Dispatch;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;

use dbt_core::clock::Clock;

use crate::time;
use lines::Lines;

/// Says what went wrong, with its causes.
pub fn causes(error: &dyn Error) -> String {
    let mut said = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        said.extend([": ", &error.to_string()]);
        cause = error.source();
    }
    said
}

/// Where the log of this process goes, once it has begun.
static LOG: OnceLock<Log> = OnceLock::new();

struct Log {
    format: Format,
    lines: Lines<io::Stderr>,
}

/// The form of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// An object on each line.
    Json,
    /// Words, for people.
    Text,
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Json => "json",
            Self::Text => "text",
        })
    }
}

/// Sends everything that is logged from now on to standard error. Fails if there can be no thread
/// that does it.
pub fn start(format: Format) -> io::Result<()> {
    let mut is_first = false;
    let log = LOG.get_or_init(|| {
        is_first = true;
        Log { format, lines: Lines::new(io::stderr()) }
    });
    // Only tests start it twice, and the first is as good as the second.
    if !is_first {
        return Ok(());
    }
    thread::Builder::new().name("log".to_owned()).spawn(|| log.lines.keep_flushing())?;
    let dispatch = dispatch(format, || AtOnce(&log.lines));
    let _somebody_else_listens = tracing::dispatcher::set_global_default(dispatch);
    Ok(())
}

/// Writes what is told by events as lines.
fn dispatch<W>(format: Format, lines: impl Fn() -> W + Send + Sync + 'static) -> Dispatch
where
    W: io::Write + 'static,
{
    let common = tracing_subscriber::fmt()
        .with_timer(Now)
        .with_max_level(tracing::Level::INFO)
        .with_writer(lines)
        .with_ansi(false)
        .log_internal_errors(false);
    match format {
        Format::Json => common
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .with_span_list(false)
            .finish()
            .into(),
        Format::Text => common.finish().into(),
    }
}

/// Writes what waits to be written: the last that a process does.
pub fn finish() {
    if let Some(log) = LOG.get() {
        log.lines.flush();
    }
}

/// Writes lines without letting them wait: the process may be about to end.
struct AtOnce<'a>(&'a Lines<io::Stderr>);

impl io::Write for AtOnce<'_> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.write(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The line of a request that was answered. Never a query or a header, which could be secret.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Access<'a> {
    /// Its id.
    pub request: &'a str,
    /// Where it came from.
    pub peer: &'a str,
    /// Who sent it, as far as that was asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<&'a str>,
    /// Its method.
    pub method: &'a str,
    /// Its path.
    pub path: &'a str,
    /// What it asked for.
    pub route: &'a str,
    /// How it was answered.
    pub status: u16,
    /// How many bytes of the answer were sent.
    pub bytes: u64,
    /// Whether the client took all of it.
    pub whole: bool,
    /// How long it took.
    pub seconds: f64,
    /// When it came.
    pub at: &'a str,
}

impl Access<'_> {
    /// Logs it, soon.
    pub fn log(&self) {
        thread_local! {
            static LINE: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
        }
        let Some(log) = LOG.get() else { return };
        LINE.with_borrow_mut(|line| {
            line.clear();
            let now = time::rfc_3339(Clock::System.now());
            if self.write(log.format, &now, line).is_ok() {
                log.lines.collect(line);
            }
        });
    }

    /// Writes it as everything else in the log is written, without the detour that an event takes.
    fn write(&self, format: Format, timestamp: &str, line: &mut Vec<u8>) -> io::Result<()> {
        #[derive(Serialize)]
        struct Json<'a> {
            timestamp: &'a str,
            level: &'a str,
            #[serde(flatten)]
            about: &'a Access<'a>,
            target: &'a str,
        }
        match format {
            Format::Json => {
                let json = Json { timestamp, level: "INFO", about: self, target: "access" };
                serde_json::to_writer(&mut *line, &json)?;
            }
            Format::Text => self.write_text(timestamp, line)?,
        }
        line.push(b'\n');
        Ok(())
    }

    fn write_text(&self, timestamp: &str, line: &mut Vec<u8>) -> io::Result<()> {
        use io::Write as _;
        let Self { request, peer, method, path, route, .. } = self;
        let Self { status, bytes, whole, seconds, at, .. } = self;
        write!(line, "{timestamp}  INFO access: request={request:?} peer={peer:?}")?;
        if let Some(subject) = self.subject {
            write!(line, " subject={subject:?}")?;
        }
        write!(line, " method={method:?} path={path:?} route={route:?} status={status}")?;
        write!(line, " bytes={bytes} whole={whole} seconds={seconds:?} at={at:?}")
    }
}

struct Now;

impl FormatTime for Now {
    fn format_time(&self, writer: &mut Writer<'_>) -> fmt::Result {
        writer.write_str(&time::rfc_3339(Clock::System.now()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    /// What was logged.
    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// Logs by events, as everything else is logged, and returns the line and when it was written.
    fn by_event(format: Format, access: &Access<'_>) -> (String, String) {
        let kept = Kept::default();
        let all = kept.clone();
        let Access { request, peer, subject, method, path, route, .. } = *access;
        let Access { status, bytes, whole, seconds, at, .. } = *access;
        tracing::dispatcher::with_default(&dispatch(format, move || kept.clone()), || {
            tracing::info!(
                target: "access",
                request, peer, subject, method, path, route, status, bytes, whole, seconds, at
            );
        });
        let line = String::from_utf8(all.0.lock().unwrap().clone()).unwrap();
        let timestamp = match format {
            Format::Json => {
                let json: serde_json::Value = serde_json::from_str(&line).unwrap();
                json["timestamp"].as_str().unwrap().to_owned()
            }
            Format::Text => line.split(' ').next().unwrap().to_owned(),
        };
        (line, timestamp)
    }

    #[test]
    fn the_line_of_a_request_looks_as_if_an_event_had_written_it() {
        for format in [Format::Json, Format::Text] {
            for (subject, path, seconds) in [
                (None, "/dbt/latest", 0.001_234),
                (Some("ssh:alice"), "/\"quoted\"\\\u{1b}[31m\n\u{202e}ü", 0.0),
                (Some("basic:\r\nb"), "", 1e-7),
            ] {
                let (request, peer, method) = ("01KN", "2001:db8::1", "GET");
                let (route, status, bytes, whole) = ("file", 200, 1024, true);
                let at = "2026-11-22T00:00:00Z";
                let access = Access {
                    request,
                    peer,
                    subject,
                    method,
                    path,
                    route,
                    status,
                    bytes,
                    whole,
                    seconds,
                    at,
                };
                let (expected, timestamp) = by_event(format, &access);
                let mut line = Vec::new();
                access.write(format, &timestamp, &mut line).unwrap();
                assert_eq!(String::from_utf8(line).unwrap(), expected);
            }
        }
    }
}
