//! Answers that are none, in the place of a file: nothing of them runs, and nobody waits for long.

use super::{Row, outage, play, refused};

const FILE: &str = "/dbt-tools/deploy/1.5.0/";

pub(super) const ROWS: &[Row] = &[
    outage("C37-page", "answered with a page (text/html; charset=utf-8) instead of data"),
    outage("C37-page-as-data", "answered with a page"),
    outage("C37-204", "unexpected answer (204)"),
    outage("C37-205", "unexpected answer (205)"),
    outage("C37-206", "unexpected answer (206)"),
    outage("C37-300", "unexpected answer (300)"),
    outage("C37-304", "unexpected answer (304)"),
    outage("C37-999", FILE),
    refused("C37-to-a-file", "the server redirects to a `file` URL"),
    refused("C37-to-http", "without TLS"),
    refused("C37-to-a-user", "the server redirects to a URL with a user name"),
    refused("C37-to-metadata", "`http://169.254.169.254`, without TLS"),
    refused("C37-to-gopher", "the server redirects to a `gopher` URL"),
    outage("C37-to-nowhere", "the server redirects without saying where to"),
    outage("C37-circle", "the server redirects in a circle"),
    outage("C37-300-hops", "the server redirects more than 3 times"),
    outage("C37-listing-elsewhere", "/dbt-tools/deploy/`: the server redirects to another server"),
    outage("C37-not-http", "the answer is malformed"),
    outage("C37-two-lengths", "the answer is malformed"),
    outage("C37-negative-length", "the answer is malformed"),
    outage("C37-bad-chunks", "the answer is malformed"),
    outage("C37-huge-chunk", "the answer is malformed"),
    outage("C37-not-compressed", "the answer is malformed"),
    outage("C37-endless-headers", "the answer is malformed"),
    outage("C37-endless-line", "the answer is malformed"),
    outage("C37-endless-continue", "the answer is malformed"),
    outage("C38-reset", "the connection broke").tried_again(),
    outage("C38-reset-at-99-percent", "cannot be used").tried_again(),
    outage("C38-cut", "the answer ended after 20 of").tried_again(),
    outage("C38-short", "the answer ended after").tried_again(),
    refused("C38-long", "checksum of `deploy 1.5.0"),
    outage("C38-no-answer", "cannot be used").impatient(),
    outage("C38-stall", "cannot be used").impatient(),
    outage("C38-stall-later", "cannot be used").impatient(),
    outage("C38-drip", "cannot be used").impatient(),
    outage("C38-everything-stalls", "cannot be used").impatient(),
    outage("C38-everything-drips", "cannot be used").impatient(),
];

fn play_kinds(kind: &str) {
    play(ROWS.iter().filter(|row| row.case.starts_with(kind)));
}

#[test]
fn answers_that_are_none_run_nothing() {
    play_kinds("C37");
}

#[test]
fn a_server_that_is_slow_or_breaks_off_keeps_nobody_waiting_and_runs_nothing() {
    play_kinds("C38");
}
