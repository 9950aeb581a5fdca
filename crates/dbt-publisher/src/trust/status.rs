//! `publisher trust status`: what is signed, until when, by whom, and which of the keys are here.

use dbt_client::tuf;
use dbt_core::clock::Clock;
use dbt_core::digest::Digest;
use dbt_core::layout::Tree;
use dbt_core::timestamp;
use dbt_ui::exit_code::ExitCode;
use dbt_ui::printer::Printer;
use dbt_ui::report::Report;
use dbt_ui::table::Table;
use serde_json::json;

use super::args::{Status, WithKeys};
use super::book::{self, Book};
use super::pin::Pin;
use super::{Desk, in_groups, root_of};
use crate::env::Environment;
use crate::stop::Stop;

/// Shows the metadata of a repository.
pub(crate) fn run(typed: Status, environment: &Environment, printer: &Printer) -> Result<(), Stop> {
    let Status { root, json, place, uploading } = typed;
    let typed = WithKeys { place, uploading, ..WithKeys::default() };
    let desk = Desk::of(&typed, environment, printer)?;
    if let Some(root) = root {
        pin(&desk, root_of(&root)?, environment)?;
    }
    let mut book = desk.book()?;
    for role in book.all_roles() {
        book.read(&role)?;
    }
    for role in book.that_end_soon() {
        printer.warning(format!("the `{role}` metadata ends soon"));
        printer.hint("`publisher trust renew` signs it again");
    }
    if json { show_json(&desk, &book, printer) } else { show(&desk, &book, printer) }
}

/// Begins to trust a root that a person has named.
fn pin(desk: &Desk<'_>, wanted: Digest, environment: &Environment) -> Result<(), Stop> {
    let repository = desk.place.tree(Tree::Repository)?;
    let found = book::root_with(&desk.exchange, repository, wanted)?;
    let root = found.ok_or_else(|| {
        let message = format!("`{repository}` has no root `sha256:{wanted}`");
        Stop(Report::new(ExitCode::VERIFICATION_REFUSED, message).hint(
            "compare it with what `publisher trust init` or `status` shows its administrator",
        ))
    })?;
    let pin = Pin::of(&desk.place, environment)?;
    Ok(tuf::init(pin.kept(), &root, Clock::System.now())?)
}

/// One line for each role.
fn lines(desk: &Desk<'_>, book: &Book<'_>) -> Vec<[String; 5]> {
    let line = |role: &String| {
        let signed = book.role(role)?;
        let (ids, threshold) = book.signers_of(role);
        let named = |id: &String| match desk.keys.name_of(id) {
            Some(name) => name.to_owned(),
            None => id.chars().take(16).collect(),
        };
        let keys: Vec<String> = ids.iter().map(named).collect();
        Some([
            role.clone(),
            signed["version"].to_string(),
            signed["expires"].as_str().unwrap_or_default().to_owned(),
            threshold.to_string(),
            keys.join(", "),
        ])
    };
    book.all_roles().iter().filter_map(line).collect()
}

fn show(desk: &Desk<'_>, book: &Book<'_>, printer: &Printer) -> Result<(), Stop> {
    let mut table = Table::new(["role", "version", "expires", "needs", "keys"]);
    for [role, version, expires, threshold, keys] in &lines(desk, book) {
        table.row([role, version, expires, threshold, keys]);
    }
    printer.data(table)?;
    let root = Digest::of(&book.root_bytes()?).to_string();
    let enforced = if book.is_enforced() { "enforced" } else { "on trial" };
    Ok(printer.data(format!(
        "root: {}\n\"trust\": {{\"root\": \"sha256:{root}\"}}\nsigned metadata is {enforced}\n",
        in_groups(&root)
    ))?)
}

fn show_json(desk: &Desk<'_>, book: &Book<'_>, printer: &Printer) -> Result<(), Stop> {
    let root = Digest::of(&book.root_bytes()?);
    let roles = book.all_roles().into_iter().filter_map(|role| {
        let signed = book.role(&role)?;
        let (ids, threshold) = book.signers_of(&role);
        let here: Vec<&str> = ids.iter().filter_map(|id| desk.keys.name_of(id)).collect();
        Some(json!({
            "role": role, "version": signed["version"], "expires": signed["expires"],
            "threshold": threshold, "keys": ids, "here": here,
        }))
    });
    let document = json!({
        "repositoryId": book.own_words()["repository_id"], "root": format!("sha256:{root}"),
        "enforced": book.is_enforced(), "roles": roles.collect::<Vec<_>>(),
        "at": timestamp::format(Clock::System.now()),
    });
    Ok(printer.json(document)?)
}
