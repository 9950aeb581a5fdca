//! Lists of versions that mislead: they name no version that is none, and lead nowhere else.

use super::{Row, harmless, outage, play, refused};

pub(super) const ROWS: &[Row] = &[
    harmless("C40-parent"),
    harmless("C40-parent-escaped"),
    harmless("C40-backslash"),
    harmless("C40-attribute"),
    harmless("C40-quote"),
    harmless("C40-not-there"),
    harmless("C40-leading-zeros"),
    harmless("C40-too-large"),
    harmless("C40-largest"),
    harmless("C40-pre-release"),
    harmless("C40-absolute"),
    harmless("C40-same-scheme"),
    harmless("C40-script"),
    harmless("C40-data"),
    harmless("C40-nul"),
    harmless("C40-query"),
    harmless("C40-comment"),
    harmless("C40-open-tags"),
    refused("C40-million", "/dbt-tools/deploy/`\n  caused by: the answer has more than"),
    refused("C40-one-name", "/dbt-tools/deploy/`\n  caused by: the answer has more than"),
    outage("C40-binary", "the answer is not a listing of a directory"),
    outage("C40-empty", "the answer is not a listing of a directory"),
];

#[test]
fn a_list_of_versions_that_misleads_leads_nowhere() {
    play(ROWS);
}
