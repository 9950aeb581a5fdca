//! Checksums that are none, or of something else, beside a signature that is good.

use super::{Case, Stage, case, next, page};
use crate::http::Answer;
use crate::server::Fault;

pub(super) const CASES: &[Case] = &[
    case("C36-zeros", "the checksum is sixty-four zeros", |stage| written(stage, &"0".repeat(64))),
    case("C36-another", "the checksum is that of another file", |stage| {
        written(stage, &dbt_core::digest::Digest::of(b"another file").to_string());
    }),
    case("C36-empty", "the checksum is an empty file", |stage| written(stage, "")),
    case("C36-blank", "the checksum is white space", |stage| written(stage, " \n\t\n")),
    case("C36-word", "the checksum is a word", |stage| written(stage, "checksum\n")),
    case("C36-short", "the checksum lacks a digit", |stage| written(stage, &"0".repeat(63))),
    case("C36-long", "the checksum has a digit too many", |stage| {
        written(stage, "[DIGEST]0");
    }),
    case("C36-two", "the checksum is two, the second of them right", |stage| {
        written(stage, &format!("{}  other\n[DIGEST]  deploy\n", "0".repeat(64)));
    }),
    case("C36-nul", "the checksum has a NUL in it", |stage| written(stage, "[DIGEST]\0")),
    case("C36-minus", "the checksum has a sign before it", |stage| written(stage, "-[DIGEST]")),
    case("C36-page", "the checksum is a page, as a file", |stage| {
        written(stage, &String::from_utf8_lossy(&page()));
    }),
    case("C36-portal", "the checksum is answered by a page with status 200", |stage| {
        let answer = Answer::of(200, "text/html; charset=utf-8", page());
        answered(stage, Fault::Answer(answer));
    }),
    case("C36-gibibyte", "the checksum says that it has a gibibyte, and has", |stage| {
        let head = b"HTTP/1.1 200 OK\r\nContent-Length: 1073741824\r\n\r\n";
        answered(stage, Fault::Flood(head.to_vec(), vec![b'0'; 8192]));
    }),
    case("C36-endless", "the checksum never ends", |stage| answered(stage, Fault::Endless)),
    case("C36-204", "the checksum is an answer without content", |stage| {
        let answer = Answer { status: 204, headers: Vec::new(), body: Vec::new() };
        answered(stage, Fault::Answer(answer));
    }),
    case("C36-drip", "the checksum comes a byte a second", |stage| answered(stage, Fault::Drip)),
];

fn written(stage: &Stage<'_>, text: &str) {
    stage.repository.publish("deploy", "1.5.0").checksum(text).now();
}

fn answered(stage: &Stage<'_>, fault: Fault) {
    stage.publish_next();
    stage.server.fault(&format!("{}.sha256", next()), fault);
}
