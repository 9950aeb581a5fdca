//! `--self-test`: who this is, for the version that wants to replace itself by it.

use std::fs::File;

use dbt_client::self_update::SelfReport;
use dbt_core::brand;
use dbt_core::digest::Digest;
use dbt_ui::exit_code::ExitCode;
use dbt_ui::report::Report;

use crate::process::Process;

/// Answers with one line of JSON. A file that is not the one that was verified does not answer.
pub(crate) fn self_test(process: &Process, expected: Option<Digest>) -> Result<(), Report> {
    let unknown = || Report::internal("the system does not say where this program is".to_owned());
    let path = process.program.executable.as_deref().ok_or_else(unknown)?;
    let mut file = File::open(path).map_err(Report::internal)?;
    let (sha256, _length) = Digest::of_reader(&mut file).map_err(Report::internal)?;
    if expected.is_some_and(|expected| expected != sha256) {
        let message = format!("`{}` is not the file that was verified", path.display());
        return Err(Report::new(ExitCode::VERIFICATION_REFUSED, message));
    }
    let (program, version) = (brand::PROGRAM.to_owned(), process.program.version.to_string());
    let report = SelfReport { program, version, sha256 };
    let line = serde_json::to_string(&report).map_err(Report::internal)?;
    process.printer.data(line + "\n")
}
