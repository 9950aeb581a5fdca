//! The page on this machine that a browser comes back to (RFC 8252, 7.3): on an address that no
//! other machine reaches, at a port by chance, until somebody has come.
//!
//! Anything that runs here, and any page in a browser, can knock. Only what brings this sign-in's
//! state ends it; the rest gets a short answer, is limited in size, time and number, and changes
//! nothing.

use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::Sender;
use std::thread;
use std::time::{Duration, Instant};

use dbt_core::brand;

use super::callback::{Expected, Outcome, PATH};

/// The longest head of a request.
const HEAD_LIMIT: u64 = 16 * 1024;

/// How long one request may take. Browsers open connections that they may use later.
const PATIENCE: Duration = Duration::from_secs(10);

/// How many connections are looked at at once.
const CONNECTION_LIMIT: usize = 16;

/// Waits for the browser.
#[derive(Debug)]
pub(super) struct Listener {
    socket: TcpListener,
    address: SocketAddr,
    busy: Arc<AtomicUsize>,
}

impl Listener {
    pub(super) fn start() -> io::Result<Self> {
        let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .or_else(|_no_ipv4| TcpListener::bind((Ipv6Addr::LOCALHOST, 0)))?;
        socket.set_nonblocking(true)?;
        let address = socket.local_addr()?;
        Ok(Self { socket, address, busy: Arc::default() })
    }

    /// Returns the page's address, for the provider.
    pub(super) fn address(&self) -> String {
        format!("http://{}{PATH}", self.address)
    }

    /// Answers whoever has come, each in a thread of its own, and passes on what they bring.
    pub(super) fn take_those_who_came(&self, expected: &Arc<Expected>, found: &Sender<Outcome>) {
        while let Ok((stream, _from)) = self.socket.accept() {
            if self.busy.fetch_add(1, Ordering::SeqCst) >= CONNECTION_LIMIT {
                self.busy.fetch_sub(1, Ordering::SeqCst);
                continue;
            }
            let (expected, found) = (Arc::clone(expected), found.clone());
            let (busy, host) = (Arc::clone(&self.busy), self.address.to_string());
            let serve = move || {
                // Who breaks off comes again, or does not.
                let _broken = converse(stream, &host, &expected, &found);
                busy.fetch_sub(1, Ordering::SeqCst);
            };
            // Where there are no threads the browser says so, and its address can be pasted.
            if thread::Builder::new().spawn(serve).is_err() {
                self.busy.fetch_sub(1, Ordering::SeqCst);
            }
        }
    }
}

/// Reads one request, answers it, and then passes on what it brought: the page is there before the
/// program ends.
fn converse(
    mut stream: TcpStream,
    host: &str,
    expected: &Expected,
    found: &Sender<Outcome>,
) -> io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let head = read_head(&stream)?;
    let (outcome, page) = answer(&head, host, expected);
    let written = stream.write_all(page.as_bytes());
    let _closed = stream.shutdown(Shutdown::Write);
    if let Some(outcome) = outcome {
        // Nobody waits any more: somebody was faster.
        let _sent = found.send(outcome);
    }
    written
}

/// Reads up to the empty line, however slowly it comes within all of the time.
fn read_head(stream: &TcpStream) -> io::Result<String> {
    let mut head = Vec::new();
    let mut buffer = [0_u8; 1024];
    let mut limited = stream.take(HEAD_LIMIT);
    let end = Instant::now() + PATIENCE;
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        let left = end.saturating_duration_since(Instant::now());
        // No time at all would be no limit.
        stream.set_read_timeout(Some(left.max(Duration::from_millis(1))))?;
        let count = if left.is_zero() { 0 } else { limited.read(&mut buffer)? };
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        head.extend_from_slice(buffer.get(..count).unwrap_or_default());
    }
    String::from_utf8(head).map_err(|_error| io::ErrorKind::InvalidData.into())
}

/// Decides what a request brings, and what is answered.
fn answer(head: &str, host: &str, expected: &Expected) -> (Option<Outcome>, String) {
    let mut lines = head.split("\r\n");
    let mut words = lines.next().unwrap_or_default().split(' ');
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    // A page elsewhere whose name leads here is not whom the browser comes from. What is behind the
    // empty line is no header.
    let is_for_us = lines.take_while(|line| !line.is_empty()).any(|line| {
        let header = line.split_once(':');
        header
            .is_some_and(|(name, value)| name.eq_ignore_ascii_case("host") && value.trim() == host)
    });
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    if method != "GET" || path != PATH || !is_for_us {
        return (None, page(404, "There is nothing here."));
    }
    let program = brand::PROGRAM;
    match expected.read_query(query) {
        Ok(outcome @ Outcome::Code(_)) => {
            let words = format!("You can close this page: {program} goes on where you started it.");
            (Some(outcome), page(200, &words))
        }
        Ok(outcome @ Outcome::Refused { .. }) => {
            let words = format!("You are not signed in; {program} says why where you started it.");
            (Some(outcome), page(200, &words))
        }
        Err(_problem) => {
            let words = format!(
                "This page does not belong to the sign-in that {program} waits for. Start with the \
                 address that it shows."
            );
            (None, page(400, &words))
        }
    }
}

/// Returns a whole answer: words of ours alone, and nothing that a browser would fetch or run.
fn page(status: u16, words: &str) -> String {
    let title = brand::LONG_NAME;
    let body = format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<title>{title}</title>\n<p>{words}</p>\n</html>\n"
    );
    let reason = if status == 200 { "OK" } else { "No" };
    format!(
        "HTTP/1.1 {status} {reason}\r\n\
         Content-Type: text/html; charset=utf-8\r\n\
         Content-Length: {}\r\n\
         Content-Security-Policy: default-src 'none'; frame-ancestors 'none'\r\n\
         Cache-Control: no-store\r\n\
         Referrer-Policy: no-referrer\r\n\
         X-Content-Type-Options: nosniff\r\n\
         Connection: close\r\n\r\n{body}",
        body.len()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: &str = "127.0.0.1:4711";

    fn answered(head: &str) -> (Option<Outcome>, String) {
        let (state, issuer) = ("xyz".to_owned(), "https://dex.example.com".to_owned());
        answer(head, HOST, &Expected { state, issuer, says_who_it_is: false })
    }

    #[test]
    fn only_what_belongs_to_this_sign_in_ends_it() {
        let good = format!("GET /callback?code=s3cr3t&state=xyz HTTP/1.1\r\nhost: {HOST}\r\n\r\n");
        let (outcome, page) = answered(&good);
        assert!(matches!(outcome, Some(Outcome::Code(_))));
        assert!(page.starts_with("HTTP/1.1 200 ") && page.contains("You can close this page"));
        for (head, status) in [
            (good.replace("xyz", "xyZ"), 400),
            (good.replace("/callback", "/"), 404),
            (good.replace("GET", "POST"), 404),
            (good.replace(HOST, "evil.example.com"), 404),
            (good.replace("host", "x-host"), 404),
            (good.replace("host", "\r\nhost"), 404),
            (String::new(), 404),
        ] {
            let (outcome, page) = answered(&head);
            assert_eq!(outcome, None, "{head}");
            assert!(page.starts_with(&format!("HTTP/1.1 {status} ")), "{head}: {page}");
            assert!(!page.contains("s3cr3t"), "{page}");
        }
    }

    #[test]
    fn the_page_fetches_nothing_and_is_not_kept() {
        let (_, page) = answered(&format!(
            "GET /callback?error=access_denied&state=xyz HTTP/1.1\r\nHost: {HOST}\r\n\r\n"
        ));
        assert!(page.contains("You are not signed in"), "{page}");
        assert!(page.contains("Content-Security-Policy: default-src 'none'"));
        assert!(page.contains("Cache-Control: no-store"));
        for part in ["src=", "href=", "<script", "<link", "<img", "http://", "https://"] {
            assert!(!page.contains(part), "{part}");
        }
        let (head, body) = page.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("Content-Length: {}\r\n", body.len())));
    }
}
