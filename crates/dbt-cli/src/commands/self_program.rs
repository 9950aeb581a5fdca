//! `dbt self`: update this program itself, or go back.

use dbt_client::self_update;
use dbt_core::brand;
use dbt_ui::exit_code::ExitCode;
use dbt_ui::report::Report;

use crate::cli::SelfCommand;
use crate::commands::failure;
use crate::commands::world::World;

/// Updates this program, or goes back to the one before.
pub(crate) fn self_program(world: &World<'_>, asked: &SelfCommand) -> Result<(), Report> {
    let session = world.session();
    match asked {
        SelfCommand::Update => {
            only_from_home(world)?;
            let replaced = self_update::update_now(&session).map_err(failure::updating_itself)?;
            match replaced {
                Some(replaced) => world.printer.note(format!(
                    "{} {} replaced {}",
                    brand::PROGRAM,
                    replaced.version,
                    world.settings.program.version
                )),
                None => {
                    world
                        .printer
                        .note(format!("there is no newer {} to take over", brand::PROGRAM));
                }
            }
        }
        SelfCommand::Rollback => {
            let path = self_update::go_back(&session).map_err(failure::updating_itself)?;
            world.printer.note(format!("`{}` is the version before again", path.display()));
        }
    }
    Ok(())
}

/// dbt updates itself from one server only, whatever `-s` says.
fn only_from_home(world: &World<'_>) -> Result<(), Report> {
    let settings = &world.settings;
    if settings.home_server.as_ref() == Some(&settings.server.name) {
        return Ok(());
    }
    let home = settings.home_server.as_ref().map_or("none", |name| name.as_str());
    let message = format!(
        "{} updates itself only from its home server ({home}), not from `{}`",
        brand::PROGRAM,
        settings.server.name
    );
    Err(Report::new(ExitCode::CONFIGURATION, message))
}
