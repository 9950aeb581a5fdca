//! Answers that are no answers, in the place of the next version's file.

use super::{Case, Stage, case, next, page};
use crate::http::Answer;
use crate::repository::TOOLS;
use crate::server::Fault;

pub(super) const CASES: &[Case] = &[
    case("C37-page", "the file is answered by a page with status 200", |stage| {
        answered(stage, Answer::of(200, "text/html; charset=utf-8", page()));
    }),
    case("C37-page-as-data", "the file is a page that says it is data", |stage| {
        answered(stage, Answer::of(200, "application/octet-stream", page()));
    }),
    case("C37-204", "the file is an answer without content", |stage| bare(stage, 204)),
    case("C37-205", "the file is an answer that resets a form", |stage| bare(stage, 205)),
    case("C37-206", "the file is a part that nobody asked for", |stage| {
        stage.publish_next();
        let bytes = stage.repository.read(&next());
        let range = format!("bytes 0-{}/{}", bytes.len() - 1, bytes.len());
        answered(stage, Answer::of(206, "text/plain", bytes).with("Content-Range", &range));
    }),
    case("C37-300", "the file is a choice", |stage| bare(stage, 300)),
    case("C37-304", "the file is as it was, for a client that has none", |stage| bare(stage, 304)),
    case("C37-999", "the file is answered with status 999", |stage| bare(stage, 999)),
    case("C37-to-a-file", "the file is a redirect to a file of the machine", |stage| {
        redirected(stage, "file:///etc/passwd");
    }),
    case("C37-to-http", "the file is a redirect to another server without TLS", |stage| {
        let there = format!("{}{}", stage.elsewhere.url(), next());
        redirected(stage, &there);
    }),
    case("C37-to-a-user", "the file is a redirect to a URL with a user name", |stage| {
        let there = stage.elsewhere.url().replace("http://", "http://good.example.com@");
        redirected(stage, &there);
    }),
    case("C37-to-metadata", "the file is a redirect to the cloud's own address", |stage| {
        redirected(stage, "http://169.254.169.254/latest/meta-data/");
    }),
    case("C37-to-gopher", "the file is a redirect to gopher", |stage| {
        redirected(stage, "gopher://x/");
    }),
    case("C37-to-nowhere", "the file is a redirect that does not say where to", |stage| {
        bare(stage, 302);
    }),
    case("C37-circle", "the file is a redirect to itself", |stage| redirected(stage, &next())),
    case("C37-300-hops", "the file is a chain of three hundred redirects", |stage| {
        stage.publish_next();
        stage.server.fault(&next(), Fault::Hops(300));
        stage.server.fault("/hop/*", Fault::Hops(300));
    }),
    case(
        "C37-listing-elsewhere",
        "the list of versions is a redirect to another server",
        |stage| {
            stage.publish_next();
            let there = format!("{}{TOOLS}/deploy/", stage.elsewhere.url());
            stage.server.fault(&format!("{TOOLS}/deploy/"), Fault::RedirectTo(there));
        },
    ),
    case("C37-not-http", "the file is answered in another language than HTTP", |stage| {
        faulty(stage, Fault::Raw(b"SSH-2.0-OpenSSH_9.2\r\n".to_vec()));
    }),
    case("C37-two-lengths", "the file has two lengths that differ", |stage| {
        let raw = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 500\r\n\r\nhello";
        faulty(stage, Fault::Raw(raw.to_vec()));
    }),
    case("C37-negative-length", "the file has a length below zero", |stage| {
        let raw = b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\nhello";
        faulty(stage, Fault::Raw(raw.to_vec()));
    }),
    case("C37-bad-chunks", "the file comes in chunks of a size that is no number", |stage| {
        let raw = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nhello\r\n0\r\n\r\n";
        faulty(stage, Fault::Raw(raw.to_vec()));
    }),
    case("C37-huge-chunk", "the file comes in a chunk larger than numbers are", |stage| {
        let raw = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\nx";
        faulty(stage, Fault::Raw(raw.to_vec()));
    }),
    case("C37-not-compressed", "the file says that it is compressed, and is not", |stage| {
        answered(stage, Answer::of(200, "text/plain", page()).with("Content-Encoding", "gzip"));
    }),
    case("C37-endless-headers", "the answer's headers never end", |stage| {
        let first = b"HTTP/1.1 200 OK\r\n".to_vec();
        faulty(stage, Fault::Flood(first, b"X-More: more\r\n".repeat(100)));
    }),
    case("C37-endless-line", "the answer's first line never ends", |stage| {
        faulty(stage, Fault::Flood(b"HTTP/1.1 200 ".to_vec(), vec![b'O'; 4096]));
    }),
    case("C37-endless-continue", "the answer is 100 Continue, for ever", |stage| {
        faulty(stage, Fault::Flood(Vec::new(), b"HTTP/1.1 100 Continue\r\n\r\n".repeat(50)));
    }),
    case("C37-endless", "the file never ends", |stage| faulty(stage, Fault::Endless)),
    case("C38-no-answer", "the server takes the request and says nothing", |stage| {
        faulty(stage, Fault::Stall);
    }),
    case("C38-stall", "the server stops after the head", |stage| {
        faulty(stage, Fault::StallAfter(0));
    }),
    case("C38-stall-later", "the server stops within the file", |stage| {
        faulty(stage, Fault::StallAfter(20));
    }),
    case("C38-drip", "the server sends a byte a second", |stage| faulty(stage, Fault::Drip)),
    case("C38-reset", "the connection is reset without an answer", |stage| {
        faulty(stage, Fault::Reset);
    }),
    case("C38-reset-at-99-percent", "the connection is reset before the last byte", |stage| {
        stage.publish_next();
        let length = stage.repository.read(&next()).len();
        stage.server.fault(&next(), Fault::ResetAfter(length - 1));
    }),
    case("C38-cut", "the connection ends within the file", |stage| {
        faulty(stage, Fault::CutAfter(20));
    }),
    case("C38-short", "the file is shorter than announced", |stage| {
        faulty(stage, Fault::Length(10));
    }),
    case("C38-long", "the file is longer than announced", |stage| {
        faulty(stage, Fault::Length(-10));
    }),
    case("C38-everything-stalls", "no request is answered at all", |stage| {
        stage.server.fault("*", Fault::Stall);
    }),
    case("C38-everything-drips", "every answer comes a byte a second", |stage| {
        stage.server.fault("*", Fault::Drip);
    }),
];

fn faulty(stage: &Stage<'_>, fault: Fault) {
    stage.publish_next();
    stage.server.fault(&next(), fault);
}

fn answered(stage: &Stage<'_>, answer: Answer) {
    faulty(stage, Fault::Answer(answer));
}

fn bare(stage: &Stage<'_>, status: u16) {
    answered(stage, Answer { status, headers: Vec::new(), body: Vec::new() });
}

fn redirected(stage: &Stage<'_>, there: &str) {
    faulty(stage, Fault::RedirectTo(there.to_owned()));
}
