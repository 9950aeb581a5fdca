//! What is felt: whole runs over networks of different delays, as a person waits for them.

use std::fmt::Write as _;
use std::time::Duration;

use dbt_bench::Fault;
use dbt_bench::measure::turns;
use dbt_bench::world::{ED25519, MIDDLE};
use serde_json::json;

use crate::bench::{Bench, Turns};
use crate::goals::far::{Far, Scheme};

/// How it is asked for.
pub(crate) const ID: &str = "FELT";

const DELAYS: [u64; 4] = [1, 20, 50, 150];

/// One line of the table; times in milliseconds.
pub(crate) struct Felt {
    scheme: &'static str,
    delay: u64,
    checked: f64,
    unchecked: f64,
    older: f64,
    mise: Option<f64>,
}

/// Measures all of it; nothing where this user may have no networks.
pub(crate) fn table(bench: &Bench) -> Result<Vec<Felt>, Fault> {
    let mut table = Vec::new();
    let Some(far) = Far::create(bench)? else { return Ok(table) };
    let mise = bench.mise(ED25519, MIDDLE)?;
    for (scheme, name) in [(Scheme::Http, "HTTP"), (Scheme::Https, "HTTPS")] {
        let checked = far.warm_home(bench, &format!("felt-{name}"), scheme, &json!({}))?;
        let rarely = json!({ "updates": "1d" });
        let unchecked = far.warm_home(bench, &format!("felt-{name}-rarely"), scheme, &rarely)?;
        let (_server, root) = far.server(scheme);
        let file = checked.stored(MIDDLE)?;
        for delay in DELAYS {
            let older = bench.older("warm", &root, MIDDLE, &file)?;
            let ours = [checked.dbt([MIDDLE.name]), unchecked.dbt([MIDDLE.name])];
            let runs = ours.into_iter().chain([older]).chain(mise.clone());
            far.network.set_round_trip(Duration::from_millis(delay));
            let who = runs.map(turns).collect();
            let compare = || bench.compare_waiting(Turns::Felt, &[], who);
            let medians = far.network.at_the_near_end(compare)?;
            let [checked, unchecked, older, other] =
                [0, 1, 2, 3].map(|who| medians.of(who) * 1000.0);
            let mise = mise.is_some().then_some(other);
            table.push(Felt { scheme: name, delay, checked, unchecked, older, mise });
        }
    }
    Ok(table)
}

const HEADINGS: [&str; 6] = [
    "",
    "round trip",
    "dbt, asking the server",
    "dbt, within the interval",
    "the older client",
    "mise, asking and checking nothing",
];

fn cells(felt: &Felt) -> [String; 6] {
    let Felt { scheme, delay, checked, unchecked, older, mise } = felt;
    let milliseconds = |value: &f64| format!("{value:.0} ms");
    [
        (*scheme).to_owned(),
        format!("{delay} ms"),
        milliseconds(checked),
        milliseconds(unchecked),
        milliseconds(older),
        mise.as_ref().map_or_else(|| "-".to_owned(), milliseconds),
    ]
}

/// Returns the table for a terminal.
pub(crate) fn text(felt: &[Felt]) -> String {
    let mut text = String::from("What is felt, 20 MiB, warm:\n");
    for line in std::iter::once(HEADINGS.map(str::to_owned)).chain(felt.iter().map(cells)) {
        for (cell, heading) in line.iter().zip(HEADINGS) {
            let width = heading.len().max(5) + 2;
            // Writing to a string cannot fail.
            let _infallible = write!(text, "{cell:>width$}");
        }
        text.push('\n');
    }
    text
}

/// Returns the table for a page.
pub(crate) fn markdown(felt: &[Felt]) -> String {
    if felt.is_empty() {
        return "The table of what is felt was not measured: it needs CAP_NET_ADMIN.\n".to_owned();
    }
    let mut page = format!("| {} |\n|{}\n", HEADINGS.join(" | "), "---|".repeat(HEADINGS.len()));
    for line in felt.iter().map(cells) {
        let _infallible = writeln!(page, "| {} |", line.join(" | "));
    }
    page
}
