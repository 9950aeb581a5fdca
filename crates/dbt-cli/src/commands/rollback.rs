//! `dbt rollback`: hold this machine on an earlier version of a tool.

use dbt_client::prepare::{self, Eagerness, Outcome, Request};
use dbt_client::rollback::{self, RollbackError};
use dbt_core::version::Wanted;
use dbt_ui::report::Report;

use crate::cli::Rollback;
use crate::commands::world::World;
use crate::commands::{failure, run};
use crate::process::Process;

/// Holds, or ends a hold.
pub(crate) fn rollback(process: &Process, asked: Rollback) -> Result<(), Report> {
    let Rollback { tool, version, undo } = asked;
    let world = World::open(process)?;
    let session = world.session();
    if undo {
        match rollback::undo(&session, &tool).map_err(failure::holding)? {
            Some(hold) => {
                world.printer.note(format!("`{tool}` is no longer held on {}", hold.version));
            }
            None => world.printer.note(format!("`{tool}` was not held")),
        }
        return Ok(());
    }
    let hold = match rollback::hold(&session, &tool, version.as_ref()) {
        Err(RollbackError::NotHere { tool, version }) => {
            let wanted = Some(Wanted::Exactly(version.clone()));
            let request = Request { tool: tool.clone(), wanted, eagerness: Eagerness::Now };
            if let Outcome::Replaced(replaced) =
                prepare::prepare(&session, &request).map_err(failure::preparing)?
            {
                return Err(run::restart(process, &replaced));
            }
            rollback::hold(&session, &tool, Some(&version))
        }
        outcome => outcome,
    }
    .map_err(failure::holding)?;
    world.printer.note(format!(
        "`{tool}` stays on {} until a version newer than {} is published",
        hold.version, hold.left
    ));
    Ok(())
}
