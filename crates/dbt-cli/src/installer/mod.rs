//! The installer: this program, a server, and the way to both, on a machine that has none of them.
//!
//! What it is told comes from an organisation ([`found`]) and is shown before anything is done. The
//! program takes the road of an update: nothing is installed that was not verified. What is done is
//! written down ([`receipt`]), so that all of it can be taken back ([`uninstall`]).

mod args;
mod baked;
mod found;
mod plan;
mod profile;
mod receipt;
mod sign_in;
mod target;
mod uninstall;
mod user_path;

use dbt_client::anchor::in_one_line;
use dbt_client::config::{Document, LoadedFile};
use dbt_client::fsx;
use dbt_client::self_update::{self, Installed};
use dbt_client::settings::{Places, Settings};
use dbt_core::brand;
use dbt_core::name::ServerName;
use dbt_core::trust::Endorsement;
use dbt_ui::exit_code::ExitCode;
use dbt_ui::printable::Printable;
use dbt_ui::prompt::{self, Answer};
use dbt_ui::report::Report;

pub(crate) use self::args::grammar;

use crate::args::Flags;
use crate::commands::failure;
use crate::commands::server::{self, Introduced};
use crate::commands::world::World;
use crate::process::Process;
use crate::usage::UsageError;

use args::{Install, Invocation};
use found::Found;
use plan::Plan;
use receipt::Receipt;
use target::Target;

/// Does what the command line asks for.
pub(crate) fn run(process: &mut Process) -> Result<(), Report> {
    let words = process.line.get(1..).unwrap_or_default().to_vec();
    let (invocation, verbose) = args::parse(words).map_err(UsageError::report)?;
    process.take_flags(Flags { verbose, ..Flags::default() });
    match invocation {
        Invocation::Help(text) => process.printer.data(text),
        Invocation::Version => {
            let (program, version) = (brand::INSTALLER, &process.program.version);
            process.printer.data(format!("{program} version {version}\n"))
        }
        Invocation::Install(asked) => install(process, &asked),
        Invocation::Uninstall { yes } => uninstall::uninstall(process, yes),
    }
}

fn install(process: &mut Process, asked: &Install) -> Result<(), Report> {
    let mut receipt = Receipt::open(process)?;
    let found = found::find(process, asked)?;
    let target = Target::choose(process, asked)?;

    let mut document = server::open(process)?;
    let comes_from_older = plan::is_of_older(&document)?;
    let (mut introduced, plan) = introduce(process, asked, &found, &document)?;
    if !is_agreed(process, asked, &found, &introduced, &target)? {
        process.printer.note("nothing was changed");
        return Ok(());
    }
    let is_named = plan.names_somebody(&document)?;
    sign_in::decide(process, asked, &found, &mut introduced.server, is_named)?;
    plan.change(&mut document, &introduced.server)?;
    server::refuse_sign_in_of_another(process, &document, &plan.name)?;

    suppose(process, &document, &plan)?;
    sign_in::sign_in(process, asked)?;
    let (installed, endorsement) = obtain(process, &introduced, &plan, &target, &mut receipt)?;
    configure(process, &document, &plan, &mut receipt)?;
    make_room_for_older(process, &mut receipt)?;
    say_what_was_done(process, &installed, &endorsement, &document, &plan);
    let is_on_path = profile::offer(process, asked, &target, comes_from_older, &mut receipt)?;
    let config = document.config().map_err(failure::configuring)?;
    let is_default = server::is_default(&config, &plan.name);
    say_what_to_try(process, &target, is_on_path, (!is_default).then_some(&plan.name));
    Ok(())
}

/// Finds out whom this server lets sign, and what it means for the configuration.
fn introduce(
    process: &Process,
    asked: &Install,
    found: &Found,
    document: &Document,
) -> Result<(Introduced, Plan), Report> {
    let server = found.offer.server.clone();
    let mut introduced = if server.trust.is_empty() {
        server::show_keys(process, server)?
    } else {
        Introduced::pinned(server)
    };
    if !introduced.is_known_who_signs() {
        let name = &introduced.server.name;
        let message = format!("the server `{name}` shows its keys to nobody who has not signed in");
        return Err(Report::new(ExitCode::CONFIGURATION, message)
            .hint("its administrator puts `trust`, with the fingerprints, into the settings of this installer"));
    }
    let plan = Plan::make(process, document, &introduced.server, asked)?;
    introduced.server.name = plan.name.clone();
    Ok((introduced, plan))
}

/// Shows whose server this is, where it is and whom it lets sign, and asks.
fn is_agreed(
    process: &Process,
    asked: &Install,
    found: &Found,
    introduced: &Introduced,
    target: &Target,
) -> Result<bool, Report> {
    let printer = &process.printer;
    if let Some(organisation) = &found.offer.organisation {
        printer.talk(format!("organisation: {}\n", Printable::new(organisation)));
    }
    printer.talk(introduced.introduction());
    printer.talk(format!("anchor:       {}\n", introduced.server.anchor()));
    printer.talk(format!("settings:     {}\n", found.from));
    printer.talk(format!("program:      {}\n", target.path.display()));
    if asked.yes {
        return Ok(true);
    }
    match prompt::ask("install from this server, and trust these keys?") {
        Answer::Yes => Ok(true),
        Answer::No => Ok(false),
        Answer::NobodyThere => {
            let message = "nobody is there to say whether this server is trusted";
            let hint =
                "compare the anchor with what the administrator says, and add `--yes`".to_owned();
            Err(Report::new(ExitCode::USAGE, message).hint(hint))
        }
    }
}

/// Goes on as if the configuration were written.
fn suppose(process: &mut Process, document: &Document, plan: &Plan) -> Result<(), Report> {
    let config = document.config().map_err(failure::configuring)?;
    let path = document.path().to_owned();
    process.suppose(LoadedFile { path, config, notices: Vec::new() });
    let server = Some(plan.name.to_string());
    process.take_flags(Flags { server, ..process.flags.clone() });
    Ok(())
}

/// Fetches the program, verifies it and puts it into its place. What is learnt of a new server on
/// the way is forgotten: whatever is refused leaves nothing behind.
fn obtain(
    process: &Process,
    introduced: &Introduced,
    plan: &Plan,
    target: &Target,
    receipt: &mut Receipt,
) -> Result<(Installed, Endorsement), Report> {
    let mut settings = process.settings()?;
    if settings.offline {
        return Err(Report::new(ExitCode::USAGE, "nothing can be installed without a network"));
    }
    // What stays as it is says less about who signs than what was agreed to.
    if plan.keeps() && !introduced.server.trust.is_empty() {
        settings.server.rules = introduced.server.rules().map_err(failure::configuring)?;
    }
    let scratch = tempfile::Builder::new()
        .prefix(brand::INSTALLER)
        .tempdir_in(&settings.places.temporary)
        .map_err(|error| {
            let at = settings.places.temporary.display();
            Report::because(ExitCode::CONFIGURATION, format!("failed to write in `{at}`"), error)
        })?;
    if plan.is_new() {
        settings.places = forgotten(&settings, scratch.path());
    }
    let world = World::of(process, settings);
    let session = world.session();
    let verified = self_update::fetch_newest(&session).map_err(failure::installing)?;
    let endorsement = verified.endorsement().clone();
    let installed = target.install(process, &session.store, verified, receipt)?;
    Ok((installed, endorsement))
}

/// Returns places that end with this run.
fn forgotten(settings: &Settings, scratch: &std::path::Path) -> Places {
    Places {
        home: Some(scratch.join("home")),
        read_only_home: None,
        store: Some(scratch.join("store")),
        ..settings.places.clone()
    }
}

/// Writes the configuration, where it changes, and lets nobody else read it in any case.
fn configure(
    process: &Process,
    document: &Document,
    plan: &Plan,
    receipt: &mut Receipt,
) -> Result<(), Report> {
    if plan.keeps() {
        let path = document.path().display();
        match document.hide_from_others() {
            Ok(true) => process.printer.note(format!("`{path}` is readable by you alone now")),
            Ok(false) => {}
            Err(error) => {
                let why = in_one_line(&error);
                process.printer.warning(format!("`{path}` can be read by others: {why}"));
            }
        }
        return Ok(());
    }
    receipt.will_write_config(document.path(), plan.is_new().then_some(&plan.name));
    if plan.sets_default() {
        let config = document.config().map_err(failure::configuring)?;
        receipt.default_server = config.default_server;
    }
    receipt.save(process)?;
    document.save().map_err(|error| {
        let hint = format!("`{} uninstall` takes back what was done", brand::INSTALLER);
        failure::configuring(error).hint(hint)
    })
}

/// Makes the directory that the Go implementation expects, for machines that go back to it.
fn make_room_for_older(process: &Process, receipt: &mut Receipt) -> Result<(), Report> {
    let Some(home) = &process.found.places.home else { return Ok(()) };
    let directory = home.join(self_update::TRUST_OF_OLDER);
    if directory.exists() {
        return Ok(());
    }
    receipt.will_make_directories(&directory);
    fsx::create_dir_all(&directory, 0o700)
        .map_err(|error| Report::new(ExitCode::CONFIGURATION, error))?;
    receipt.save(process)
}

fn say_what_was_done(
    process: &Process,
    installed: &Installed,
    endorsement: &Endorsement,
    document: &Document,
    plan: &Plan,
) {
    let Installed { path, version, is_new, .. } = installed;
    let (program, signer) = (brand::PROGRAM, &endorsement.signer);
    process.printer.note(if *is_new {
        let path = path.display();
        format!("{program} {version} is installed as `{path}`; it is signed by {signer}")
    } else {
        format!("`{}` is the newest {program} already", path.display())
    });
    process.printer.note(plan.words(document.path()));
}

/// Says how the program is tried: at the server that was installed, whichever is the default.
fn say_what_to_try(
    process: &Process,
    target: &Target,
    is_on_path: profile::OnPath,
    to_name: Option<&ServerName>,
) {
    let name = target.name();
    let printer = &process.printer;
    let words = to_name.map_or_else(String::new, |server| format!("-s {server} ")) + "catalog list";
    let command = match is_on_path {
        profile::OnPath::Now => format!("`{name} {words}`"),
        profile::OnPath::InANewShell => format!("in a new shell, `{name} {words}`"),
        profile::OnPath::No => format!("`{} {words}`", target.path.display()),
    };
    if let Some(first) = target.hidden_by(process) {
        printer.warning(format!(
            "`{}` comes first in `PATH`, so `{name}` starts that",
            first.display()
        ));
    }
    printer.note(format!("to try it: {command}"));
}
