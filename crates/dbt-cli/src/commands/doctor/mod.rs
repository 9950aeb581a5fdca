//! `dbt doctor`: everything that can be wrong on a machine and with a server.
//!
//! What is wrong never stops it: the worse a machine is, the more it is needed.

mod configuration;
mod connection;
mod findings;
mod kind;
mod machine;
mod server;

use dbt_client::settings::Settings;
use dbt_core::brand;
use dbt_core::clock::Clock;
use dbt_core::platform::Platform;
use dbt_core::timestamp;
use dbt_ui::exit_code::ExitCode;
use dbt_ui::report::Report;

use crate::cli::Doctor;
use crate::commands::world::{Configured, World, every_server};
use crate::process::Process;

pub(crate) use kind::doctor_md;

use findings::Findings;

/// Looks at everything and says what was found. Fails when something is an error.
pub(crate) fn doctor(process: &Process, asked: &Doctor) -> Result<(), Report> {
    let mut findings = Findings::default();
    machine::program(process, &mut findings);
    machine::process(process, &mut findings);
    machine::home(process, &mut findings);
    machine::store(process, &mut findings);
    if configuration::file(process, &mut findings) {
        configuration::tokens(process, &mut findings);
        servers(process, &mut findings);
    }
    show(process, asked, &findings)
}

/// Looks at every configured server, and at what the selected one needs.
fn servers(process: &Process, findings: &mut Findings) {
    let configured = match every_server(process) {
        Ok(configured) => configured,
        Err(report) => return configuration::unsettled(&report, findings),
    };
    if let Err(report) = process.settings() {
        // What is wrong with one of the servers is said there.
        if configured.iter().all(|server| server.settings.is_ok()) {
            configuration::unsettled(&report, findings);
        }
    }
    let usable = || configured.iter().filter_map(|it| it.settings.as_ref().ok());
    let is_home = |it: &&Settings| it.home_server.as_ref() == Some(&it.server.name);
    if let (Ok(Some(file)), Some(settings)) =
        (process.file(), usable().find(is_home).or_else(|| usable().next()))
    {
        configuration::self_update(process, file, settings, findings);
    }
    for Configured { name, settings } in &configured {
        findings.about_server(name);
        match settings {
            Ok(settings) => {
                configuration::background(process, settings, findings);
                let world = World::of(process, settings.clone());
                let session = world.session();
                server::server(&session, findings);
                if is_home(&settings) {
                    configuration::refused_updates(&session, findings);
                }
            }
            Err(report) => configuration::unsettled(report, findings),
        }
    }
}

fn show(process: &Process, asked: &Doctor, findings: &Findings) -> Result<(), Report> {
    let printer = &process.printer;
    if asked.json {
        printer.json(findings.json())?;
    } else if asked.report {
        printer.data(report(process, findings))?;
    } else {
        printer.data(findings.text())?;
    }
    match (findings.errors(), findings.warnings()) {
        (0, _) => Ok(()),
        (errors, warnings) => {
            let message = format!("{}, {}", count(errors, "error"), count(warnings, "warning"));
            Err(Report::new(ExitCode::CONFIGURATION, message))
        }
    }
}

fn count(count: usize, noun: &str) -> String {
    if count == 1 { format!("1 {noun}") } else { format!("{count} {noun}s") }
}

/// Returns one block for a ticket. Nothing in the findings is secret; the home directory, which
/// often names a person, is left out.
fn report(process: &Process, findings: &Findings) -> String {
    let (platform, time) = (Platform::CURRENT, timestamp::format(Clock::System.now()));
    let mut text = findings.text();
    let home = process.host.home.as_deref().and_then(std::path::Path::to_str);
    if let Some(home) = home.filter(|home| home.len() > 1) {
        text = text.replace(home, "~");
    }
    let set = process.env.names_set();
    let set = if set.is_empty() { "none".to_owned() } else { set.join(", ") };
    format!(
        "```text\n{} report, {platform}, {time}\nvariables set: {set}\n\n{text}```\n",
        brand::PROGRAM
    )
}
