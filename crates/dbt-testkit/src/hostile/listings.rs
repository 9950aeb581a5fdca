//! Lists of versions that mislead.

use super::{Case, Stage, case};
use crate::http::Answer;
use crate::repository::TOOLS;
use crate::server::Fault;

pub(super) const CASES: &[Case] = &[
    case("C40-parent", "the list leads out of its directory", |stage| {
        named(stage, "../../99.0.0/");
    }),
    case("C40-parent-escaped", "the list leads out of its directory, escaped", |stage| {
        named(stage, "99.0.0%2f..%2f..%2f99.0.0/");
    }),
    case("C40-backslash", "the list leads out of its directory, as Windows writes it", |stage| {
        named(stage, "..\\99.0.0/");
    }),
    case("C40-attribute", "a version brings an attribute of its own", |stage| {
        listed(stage, "<a href=\"99.0.0\" onx=\"\">99.0.0</a>\n");
    }),
    case("C40-quote", "a version has quotes in its name", |stage| {
        named(stage, "99.0.0&#34; onx=/");
    }),
    case("C40-not-there", "a version is listed that is not there", |stage| named(stage, "99.0.0/")),
    case("C40-leading-zeros", "a version has leading zeros", |stage| named(stage, "0099.2.3/")),
    case("C40-too-large", "a version is larger than numbers are", |stage| {
        named(stage, "99.2.99999999999999999999/");
    }),
    case("C40-largest", "a version is as large as numbers get, and not there", |stage| {
        named(stage, "18446744073709551615.18446744073709551615.18446744073709551615/");
    }),
    case("C40-pre-release", "a pre-release is newer than any release", |stage| {
        named(stage, "99.9.9-rc1/");
    }),
    case("C40-absolute", "a version is on another server", |stage| {
        let there = format!("{}{TOOLS}/deploy/99.0.0/", stage.elsewhere.url());
        named(stage, &there);
    }),
    case("C40-same-scheme", "a version is on another server, without its scheme", |stage| {
        let there = stage.elsewhere.url().replace("http:", "");
        named(stage, &format!("{there}{TOOLS}/deploy/99.0.0/"));
    }),
    case("C40-script", "a version is a script for a browser", |stage| {
        named(stage, "javascript:99.0.0");
    }),
    case("C40-data", "a version is a page in a link", |stage| {
        named(stage, "data:text/html,99.0.0/");
    }),
    case("C40-nul", "a version has a NUL in its name", |stage| named(stage, "%39%39.0.0%00/")),
    case("C40-query", "a version is a query", |stage| named(stage, "?v=99.0.0/")),
    case("C40-comment", "a version stands in a comment", |stage| {
        listed(stage, "<!-- <a href=\"99.0.0/\">99.0.0/</a> -->\n");
    }),
    case("C40-million", "the list has a million names", |stage| {
        answered(stage, "<a href=\"x/\">x/</a>\n".repeat(1_000_000).into_bytes());
    }),
    case("C40-one-name", "the list is one name of sixteen mebibytes", |stage| {
        answered(
            stage,
            [b"<a href=\"".to_vec(), vec![b'9'; 16 << 20], b"\">x</a>".to_vec()].concat(),
        );
    }),
    case("C40-open-tags", "the list is a hundred thousand tags that never close", |stage| {
        let tags = "<a href=\"".repeat(100_000);
        listed(stage, &tags);
    }),
    case("C40-binary", "the list is bytes that are no text", |stage| {
        answered(stage, vec![0xff; 5000]);
    }),
    case("C40-empty", "the list is empty", |stage| answered(stage, Vec::new())),
];

/// The honest list with this name before all others.
fn named(stage: &Stage<'_>, name: &str) {
    listed(stage, &format!("<a href=\"{name}\">{name}</a>\n"));
}

fn listed(stage: &Stage<'_>, line: &str) {
    let page = format!("<pre>\n<a href=\"1.4.0/\">1.4.0/</a>\n{line}</pre>\n");
    answered(stage, page.into_bytes());
}

fn answered(stage: &Stage<'_>, page: Vec<u8>) {
    let answer = Answer::of(200, "text/html; charset=utf-8", page);
    stage.server.fault(&format!("{TOOLS}/deploy/"), Fault::Answer(answer));
}
