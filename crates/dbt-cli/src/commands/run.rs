//! `dbt TOOL ...`: prepare, then become the tool.

use std::ffi::OsString;
use std::path::Path;
use std::process::{Command, Stdio};

use dbt_client::exec::{self, ExecError};
use dbt_client::notice::Notice;
use dbt_client::prepare::{self, Eagerness, Outcome, PrepareError, Prepared, Request};
use dbt_client::prune;
use dbt_client::self_update::Replaced;
use dbt_client::session::Session;
use dbt_client::settings::{Settings, Updates};
use dbt_core::brand;
use dbt_core::version::Wanted;
use dbt_sys::exec::Image;
use dbt_ui::exit_code::ExitCode;
use dbt_ui::report::Report;

use crate::args::ToolCall;
use crate::cli::{self, CatalogInvocation};
use crate::commands::world::World;
use crate::commands::{catalog, failure, offer, status, words};
use crate::env::Variable;
use crate::process::Process;
use crate::tool_environment::tool_environment;
use crate::usage::UsageError;

/// Makes the tool ready and becomes it. Returns only if that failed. Where the server wants a person
/// to sign in, and they do when they are asked, it is begun anew.
pub(crate) fn run(process: &mut Process, call: ToolCall) -> Result<(), Report> {
    match attempt(process, call.clone()) {
        Err(report) if offer::is_accepted(process, &report)? => attempt(process, call),
        outcome => outcome,
    }
}

fn attempt(process: &mut Process, call: ToolCall) -> Result<(), Report> {
    let world = World::open(process)?;
    let ToolCall { name, wanted, arguments } = call;
    let session = world.session();
    let request = Request {
        tool: name,
        wanted: (wanted != Wanted::Newest).then_some(wanted),
        eagerness: Eagerness::AsConfigured,
    };
    let mut left = CHANGED_TRIES;
    loop {
        let prepared = match prepare::prepare(&session, &request) {
            Ok(Outcome::Ready(prepared)) => *prepared,
            Ok(Outcome::Replaced(replaced)) => return Err(restart(process, &replaced)),
            Err(PrepareError::NoTool { tool, .. }) if tool.as_str() == cli::CATALOG => {
                drop(session);
                drop(world);
                return built_in_catalog(process, arguments);
            }
            Err(error) => {
                let meant = words::hints(request.tool.as_str());
                return Err(failure::preparing(error).hints(meant));
            }
        };
        if prepared.fresh {
            // Cleaning up never stops a tool.
            let _pruned = prune::prune(&session, &prepared.id.subject);
            prune::sweep(&session);
        }
        let settings = &world.settings;
        if left == CHANGED_TRIES && settings.server.updates == Updates::After && !settings.offline {
            check_afterwards(&session, &request);
        }
        let error = become_tool(process, settings, prepared, &arguments);
        // Somebody has cleared the cache or installed the same at this moment: it is fetched and
        // verified anew. Whoever does it again and again gets the refusal.
        if left == 0 || !error.may_pass() {
            return Err(failure::executing(error));
        }
        left -= 1;
    }
}

/// How often a tool is made ready again whose file was changed or removed before it started.
const CHANGED_TRIES: u32 = 3;

/// Answers for the tool `catalog` where the repository has none: the reference's users type
/// `dbt -- catalog list`.
fn built_in_catalog(process: &mut Process, words: Vec<OsString>) -> Result<(), Report> {
    match cli::parse_catalog(words).map_err(UsageError::report)? {
        CatalogInvocation::Help(text) => process.printer.data(text),
        CatalogInvocation::Version => {
            process.printer.data(format!("{} version {}\n", cli::CATALOG, process.program.version))
        }
        CatalogInvocation::Command(command, everywhere) => {
            let flags = process.flags.clone().and(everywhere);
            process.take_flags(flags);
            catalog::catalog(process, &command)
        }
    }
}

fn become_tool(
    process: &Process,
    settings: &Settings,
    prepared: Prepared,
    arguments: &[OsString],
) -> ExecError {
    let name = prepared.id.subject.name().to_owned();
    process.printer.verbose(format!(
        "running {} from `{}`, signed by {}",
        prepared.id,
        prepared.installed.path().unwrap_or(Path::new("memory")).display(),
        prepared.endorsement.signer,
    ));
    let environment = tool_environment(process.env.inherited(), settings);
    status::tool_starts(process.status_file().as_deref());
    let become_it = if settings.sealed { exec::become_sealed_tool } else { exec::become_tool };
    become_it(prepared.installed, &name, arguments, &environment)
}

/// Starts the program that has just replaced this one, with the same words. The variable counts
/// only with our own process id, so it stops a circle and nothing else.
pub(crate) fn restart(process: &Process, replaced: &Replaced) -> Report {
    process.printer.verbose(format!("this is {} {} now", brand::PROGRAM, replaced.version));
    let guard = format!("{}:{}", replaced.sha256, std::process::id());
    // The first of a name counts, so one that was inherited must not stand before ours.
    let name = Variable::ReExec.name();
    let mut environment = process.env.without(&[Variable::ReExec]);
    environment.push((name.into(), guard.into()));
    let path = &replaced.path;
    let message = || format!("failed to start `{}`, which has just been updated", path.display());
    match Image::new(path, &process.line, &environment) {
        Ok(image) => Report::because(ExitCode::CANNOT_EXECUTE, message(), image.replace()),
        Err(error) => Report::because(ExitCode::CANNOT_EXECUTE, message(), error),
    }
}

/// Looks for newer versions in the background, while the cached copy runs.
fn check_afterwards(session: &Session<'_>, request: &Request) {
    let Some(executable) = session.settings.program.executable.as_deref() else {
        return;
    };
    let mut command = beside(executable);
    // How this run ends is told by the tool, not by what happens beside it.
    command
        .env_remove(Variable::StatusFile.name())
        .args(["--server", session.settings.server.name.as_str(), "update"])
        .arg(request.tool.as_str())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    #[cfg(unix)]
    let begun = command.status();
    #[cfg(not(unix))]
    let begun = command.spawn();
    if let Err(error) = begun {
        session.say(Notice::Housekeeping(format!(
            "nothing looks for newer versions in the background, which takes a shell ({error}); `{} update` does",
            brand::PROGRAM
        )));
    }
}

/// Returns how this program is started beside the tool. A shell in between starts it and ends at
/// once, so that the tool has no child that it did not start.
#[cfg(unix)]
fn beside(executable: &Path) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", "\"$@\" </dev/null >/dev/null 2>&1 &", "sh"]).arg(executable);
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    command
}

/// Returns how this program is started beside the tool, which is a child of this process and not
/// this process: nobody waits for it, and it has no console on which somebody could interrupt it.
#[cfg(not(unix))]
fn beside(executable: &Path) -> Command {
    /// `DETACHED_PROCESS`.
    const DETACHED: u32 = 8;

    let mut command = Command::new(executable);
    std::os::windows::process::CommandExt::creation_flags(&mut command, DETACHED);
    command
}
