//! `docs/outages.md`: its tables are the ones that are tested.

use std::fs;
use std::path::Path;

/// Expects a table's lines, after its head, behind the line that gives its name.
#[track_caller]
pub(super) fn has(table: &str, lines: impl Iterator<Item = String>) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/outages.md");
    let page = fs::read_to_string(path).unwrap_or_default();
    let mark = format!("<!-- Tested: {table}. -->\n");
    let written = page.split(&mark).nth(1).unwrap_or_default().trim_start();
    let written: String = written
        .lines()
        .skip(2)
        .take_while(|line| line.starts_with('|'))
        .collect::<Vec<_>>()
        .join("\n");
    let expected = lines.collect::<Vec<_>>().join("\n");
    assert!(written == expected, "docs/outages.md, {table}, should say:\n{expected}\n");
}
