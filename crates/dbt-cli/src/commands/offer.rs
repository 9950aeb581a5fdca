//! The offer to sign in, where a command needs that and a person watches it.

use dbt_client::prepare::PrepareError;
use dbt_client::source::{Class, FetchError};
use dbt_core::brand;
use dbt_ui::prompt::{self, Answer};
use dbt_ui::report::Report;

use super::login;
use super::provider::Asked;
use super::sign_in::selected;
use crate::process::Process;

/// Does something; and once more, where the server wants a person to sign in, and they do when they
/// are asked.
pub(super) fn at_need(
    process: &Process,
    attempt: impl Fn() -> Result<(), Report>,
) -> Result<(), Report> {
    match attempt() {
        Err(report) if is_accepted(process, &report)? => attempt(),
        outcome => outcome,
    }
}

/// Asks the person if it is a sign-in that is missing, and signs them in if they want that; says
/// whether they are. `report` is why there is no going on without, and is left to whoever asks where
/// nobody is there or they say no.
pub(super) fn is_accepted(process: &Process, report: &Report) -> Result<bool, Report> {
    if !is_wanted(report) {
        return Ok(false);
    }
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

/// Says whether something failed for want of a sign-in. What is configured and cannot be had is
/// something else.
pub(super) fn is_wanted(report: &Report) -> bool {
    if let Some(error) = report.error().downcast_ref::<FetchError>() {
        return error.class() == Class::SignIn && !error.is_about_credentials();
    }
    matches!(report.error().downcast_ref(), Some(PrepareError::SignIn { .. }))
}
