//! `dbt which`: which version runs, from where, by whose signature, and why not a newer one.

use dbt_client::prepare::{self, Eagerness, Outcome, Prepared, Request};
use dbt_client::session::Session;
use dbt_client::settings::{Settings, Updates};
use dbt_client::state::ToolRecord;
use dbt_core::timestamp::{self, Timestamp};
use dbt_ui::report::Report;
use dbt_ui::table::Table;
use serde_json::json;

use crate::cli::{ToolRequest, Which};
use crate::commands::failure;
use crate::commands::world::World;

/// Shows what would run now, without asking the server.
pub(crate) fn which(world: &World<'_>, asked: Which) -> Result<(), Report> {
    let Which { tool: ToolRequest { name, wanted }, json } = asked;
    let settings = Settings { offline: true, ..world.settings.clone() };
    let session = world.session_of(&settings);
    let request = Request { tool: name, wanted, eagerness: Eagerness::AsConfigured };
    let Outcome::Ready(prepared) =
        prepare::prepare(&session, &request).map_err(failure::preparing)?
    else {
        return Ok(());
    };
    let record = session.record(&prepared.id.subject).map_err(failure::remembering)?;
    let level = level(&session)?;
    let facts = facts(&session, &request, &record, &prepared, level);
    if json {
        let members = facts.iter().map(|(key, value)| ((*key).to_owned(), json!(value))).collect();
        return world.printer.json(serde_json::Value::Object(members));
    }
    let mut table = Table::without_headings();
    for (key, value) in &facts {
        table.row([&format!("{}:", key.replace('_', " ")), value]);
    }
    world.printer.data(table)
}

/// The level at which nothing runs that signed metadata does not list.
pub(crate) const SIGNED_INDEX: &str = "signed index";

/// Returns the name of the level that the server has reached on this machine.
pub(crate) fn level(session: &Session<'_>) -> Result<&'static str, Report> {
    let record = session.state.server().map_err(failure::remembering)?;
    Ok(if record.trust.demands_listing() {
        SIGNED_INDEX
    } else if record.trust.manifest.is_some() {
        "pinned"
    } else {
        "unsigned index"
    })
}

fn facts(
    session: &Session<'_>,
    request: &Request,
    record: &ToolRecord,
    prepared: &Prepared,
    level: &str,
) -> Vec<(&'static str, String)> {
    let server = &session.settings.server;
    let path = prepared.installed.path().map(|path| path.display().to_string());
    let mut facts = vec![
        ("tool", prepared.id.subject.to_string()),
        ("version", prepared.id.version.to_string()),
        ("platform", prepared.id.platform.to_string()),
        ("path", path.unwrap_or_else(|| "in memory".to_owned())),
        ("server", format!("{} ({})", server.name, server.tools)),
        ("signer", format!("{} {}", prepared.endorsement.signer, prepared.endorsement.name)),
        ("signed", timestamp::format(prepared.endorsement.made)),
        ("level", level.to_owned()),
    ];
    if let Some(Timestamp(checked)) = record.checked {
        facts.push(("last_check", timestamp::format(checked)));
    }
    if let Some(hold) = &record.hold {
        facts.push(("hold", format!("{} (left {})", hold.version, hold.left)));
    }
    facts.push(("why_not_newer", why_not_newer(session, request, record)));
    facts
}

fn why_not_newer(session: &Session<'_>, request: &Request, record: &ToolRecord) -> String {
    let server = &session.settings.server;
    if let Some(wanted) = &request.wanted {
        return format!("{wanted} was asked for");
    }
    if let Some(pin) = server.pins.get(&request.tool) {
        return format!("the configuration pins {pin}");
    }
    if let Some(hold) = &record.hold {
        return format!("held until something newer than {} is published", hold.left);
    }
    if let Some(version) = &record.newer_elsewhere {
        return format!("{version} is not, or not completely, published for this platform");
    }
    match server.updates {
        Updates::Manual => "the server is only asked by `update`".to_owned(),
        Updates::Always | Updates::Every(_) | Updates::After => {
            "it was the newest when the server last answered".to_owned()
        }
    }
}
