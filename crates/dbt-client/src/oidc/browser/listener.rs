//! The page on this machine that a browser comes back to (RFC 8252, 7.3): on an address that no
//! other machine reaches, at a port by chance, until somebody has come.
//!
//! Anything that runs here, and any page in a browser, can knock. Only what brings this sign-in's
//! state ends it; the rest gets a short answer, is limited in size, time and number, and changes
//! nothing. Whoever only knocks keeps nobody out: the oldest of those who have asked nothing makes
//! room for who comes.

use std::collections::VecDeque;
use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use dbt_core::brand;

use super::callback::{Expected, Outcome, PATH};

/// The longest head of a request.
const HEAD_LIMIT: u64 = 16 * 1024;

/// How long one request may take. Browsers open connections that they may use later.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long the first byte of it may take.
const FIRST_BYTE: Duration = Duration::from_secs(2);

/// How many connections are looked at at once.
const CONNECTION_LIMIT: usize = 16;

/// Waits for the browser.
#[derive(Debug)]
pub(super) struct Listener {
    socket: TcpListener,
    address: SocketAddr,
    visitors: Arc<Visitors>,
}

/// Those who are looked at.
#[derive(Debug, Default)]
struct Visitors {
    count: AtomicUsize,
    /// Those whose request is not here yet, the one who came first before the others.
    waiting: Mutex<VecDeque<Arc<TcpStream>>>,
}

impl Visitors {
    /// Makes room for one more where there is none: whose request is not here yet may come again.
    fn enter(&self, visitor: &Arc<TcpStream>) -> bool {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if self.count.load(Ordering::SeqCst) >= CONNECTION_LIMIT {
            let Some(oldest) = waiting.pop_front() else { return false };
            // Its thread finds that there is nothing more to read.
            let _gone = oldest.shutdown(Shutdown::Both);
        }
        waiting.push_back(Arc::clone(visitor));
        self.count.fetch_add(1, Ordering::SeqCst);
        true
    }

    /// Notes that nobody is waited for here: the request has come, or never will.
    fn has_asked(&self, visitor: &Arc<TcpStream>) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.retain(|it| !Arc::ptr_eq(it, visitor));
    }

    fn leave(&self, visitor: &Arc<TcpStream>) {
        self.has_asked(visitor);
        self.count.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Listener {
    pub(super) fn start() -> io::Result<Self> {
        let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .or_else(|_no_ipv4| TcpListener::bind((Ipv6Addr::LOCALHOST, 0)))?;
        socket.set_nonblocking(true)?;
        let address = socket.local_addr()?;
        Ok(Self { socket, address, visitors: Arc::default() })
    }

    /// Returns the page's address, for the provider.
    pub(super) fn address(&self) -> String {
        format!("http://{}{PATH}", self.address)
    }

    /// Answers whoever has come, each in a thread of its own, and passes on what they bring.
    pub(super) fn take_those_who_came(&self, expected: &Arc<Expected>, found: &Sender<Outcome>) {
        while let Ok((stream, _from)) = self.socket.accept() {
            let stream = Arc::new(stream);
            if !self.visitors.enter(&stream) {
                continue;
            }
            let (expected, found) = (Arc::clone(expected), found.clone());
            let (visitors, host) = (Arc::clone(&self.visitors), self.address.to_string());
            let visitor = Arc::clone(&stream);
            let serve = move || {
                // Who breaks off comes again, or does not.
                let _broken = converse(&visitor, &host, &visitors, (&expected, &found));
                visitors.leave(&visitor);
            };
            // Where there are no threads the browser says so, and its address can be pasted.
            if thread::Builder::new().spawn(serve).is_err() {
                self.visitors.leave(&stream);
            }
        }
    }
}

/// Reads one request, answers it, and then passes on what it brought: the page is there before the
/// program ends.
fn converse(
    visitor: &Arc<TcpStream>,
    host: &str,
    visitors: &Visitors,
    (expected, found): (&Expected, &Sender<Outcome>),
) -> io::Result<()> {
    let mut stream: &TcpStream = visitor;
    stream.set_nonblocking(false)?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let head = read_head(stream)?;
    visitors.has_asked(visitor);
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
    let began = Instant::now();
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        let patience = if head.is_empty() { FIRST_BYTE } else { PATIENCE };
        let left = patience.saturating_sub(began.elapsed());
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
    fn whoever_only_knocks_keeps_nobody_out() {
        let listener = Listener::start().unwrap();
        let place = listener.address;
        let (state, issuer) = ("xyz".to_owned(), "https://dex.example.com".to_owned());
        let expected = Arc::new(Expected { state, issuer, says_who_it_is: false });
        let (found, finding) = std::sync::mpsc::channel();
        let come = || {
            let stream = TcpStream::connect(place).unwrap();
            listener.take_those_who_came(&expected, &found);
            stream
        };
        let mut idle: Vec<TcpStream> = (0..CONNECTION_LIMIT).map(|_one| come()).collect();
        // Half a request is none, either.
        idle[0].write_all(b"GET /").unwrap();
        let mut browser = come();
        let head = format!("GET /callback?code=s3cr3t&state=xyz HTTP/1.1\r\nHost: {place}\r\n\r\n");
        browser.write_all(head.as_bytes()).unwrap();
        let mut page = String::new();
        browser.read_to_string(&mut page).unwrap();
        assert!(page.starts_with("HTTP/1.1 200 "), "{page}");
        assert!(matches!(finding.recv(), Ok(Outcome::Code(_))));
        // The one who came first is gone. A reset is as good as an end.
        assert!(!idle[0].read(&mut [0; 1]).is_ok_and(|count| count > 0));
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
