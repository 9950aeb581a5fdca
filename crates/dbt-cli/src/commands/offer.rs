//! The offer to sign in, where a run needs that and a person watches it.

use dbt_core::brand;
use dbt_ui::prompt::{self, Answer};
use dbt_ui::report::Report;

use super::login;
use super::provider::Asked;
use super::sign_in::selected;
use crate::process::Process;

/// Asks the person, and signs them in if they want that; says whether they are. `report` is why the
/// run cannot go on without, and is left to whoever asks where nobody is there or they say no.
pub(super) fn is_accepted(process: &Process, report: &Report) -> Result<bool, Report> {
    let (server, way_in) = selected(process)?;
    let Some(provider) = way_in.provider.as_ref().filter(|_| process.is_watched()) else {
        return Ok(false);
    };
    let program = brand::PROGRAM;
    process.printer.note(format!("{} (`{program} login`)", report.error()));
    if prompt::ask("sign in now?") != Answer::Yes {
        return Ok(false);
    }
    login::through_provider(process, &server, &way_in, provider, Asked::InARun)?;
    Ok(true)
}
