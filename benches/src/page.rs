//! The marked part of a page of documentation, written from what was measured.

use std::fs;
use std::path::Path;

use dbt_bench::Fault;
use dbt_bench::report::{self, Row};

use crate::goals::felt::{self, Felt};

const BEGIN: &str = "<!-- `dbt-bench --write` writes what follows. -->\n";
const END: &str = "<!-- The end of what it writes. -->\n";

/// Rewrites the marked part.
pub(crate) fn write(file: &Path, machine: &str, rows: &[Row], felt: &[Felt]) -> Result<(), Fault> {
    let page = fs::read_to_string(file)?;
    let marked = page.split_once(BEGIN).zip(page.split_once(END));
    let Some(((before, _), (_, after))) = marked else {
        return Err(format!("`{}` has no place for it", file.display()).into());
    };
    let tables = format!("\n{machine}.\n\n{}\n{}\n", report::markdown(rows), felt::markdown(felt));
    Ok(fs::write(file, format!("{before}{BEGIN}{tables}{END}{after}"))?)
}
