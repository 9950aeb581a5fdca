//! `dbt link`: a tool startable by its own name.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use dbt_client::fsx;
use dbt_core::name::ToolName;
use dbt_ui::exit_code::ExitCode;
use dbt_ui::report::Report;

use crate::cli::Link;
use crate::commands::world::World;

/// Makes links to this program under the tools' names: started by such a name it runs that tool.
pub(crate) fn link(world: &World<'_>, asked: &Link) -> Result<(), Report> {
    let (directory, program) = places(world)?;
    fsx::create_dir_all(&directory, 0o755).map_err(report)?;
    for tool in &asked.tools {
        let path = directory.join(tool.as_str());
        if is_ours(&path, &program) {
            continue;
        }
        make(&program, &path).map_err(|error| {
            Report::because(ExitCode::CONFIGURATION, failed("link", tool, &path), error)
        })?;
    }
    Ok(())
}

/// Removes such links; anything else of that name is left alone.
pub(crate) fn unlink(world: &World<'_>, asked: &Link) -> Result<(), Report> {
    let (directory, program) = places(world)?;
    for tool in &asked.tools {
        let path = directory.join(tool.as_str());
        if !is_ours(&path, &program) {
            let message = format!("`{}` is not a link that was made for `{tool}`", path.display());
            return Err(Report::new(ExitCode::NOT_FOUND, message));
        }
        fsx::remove(&path).map_err(report)?;
    }
    Ok(())
}

fn places(world: &World<'_>) -> Result<(PathBuf, PathBuf), Report> {
    let missing = |what: &str| Report::new(ExitCode::CONFIGURATION, what.to_owned());
    let directory = world.settings.places.links.clone();
    let program = world.settings.program.executable.clone();
    Ok((
        directory.ok_or_else(|| missing("there is no home directory to put links into"))?,
        program.ok_or_else(|| missing("the system does not say where the running program is"))?,
    ))
}

fn report(error: fsx::FsxError) -> Report {
    Report::new(ExitCode::CONFIGURATION, error)
}

fn failed(doing: &str, tool: &ToolName, path: &Path) -> String {
    format!("failed to {doing} `{tool}` as `{}`", path.display())
}

/// Says whether a link leads to this program.
fn is_ours(path: &Path, program: &Path) -> bool {
    fs::read_link(path).is_ok_and(|target| target == program)
}

#[cfg(unix)]
fn make(program: &Path, path: &Path) -> io::Result<()> {
    std::os::unix::fs::symlink(program, path)
}

#[cfg(not(unix))]
fn make(_program: &Path, _path: &Path) -> io::Result<()> {
    Err(io::Error::new(io::ErrorKind::Unsupported, "links are not made on this system"))
}
