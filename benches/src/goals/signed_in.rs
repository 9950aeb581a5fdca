//! Runs that show the server a token.

use std::time::Duration;

use dbt_bench::Fault;
use dbt_bench::measure::{Program, turns};
use dbt_bench::report::{Goal, Row};
use dbt_bench::world::MIDDLE;
use serde_json::json;

use super::far::{Far, NOT_ALLOWED, ROUND_TRIP, Scheme};
use crate::bench::{Bench, Turns};

/// Takes a token from its input, and keeps it for every run after.
const SIGN_IN: &str = r#"echo of-nobody | "$0" login --token"#;

pub(crate) fn warm(bench: &Bench) -> Result<Vec<Row>, Fault> {
    let row = Row::begin("P18", "warm over HTTPS, 50 ms away, with a kept token", "P6: without");
    let row = row.goal(Goal::at_most(1.15, 1.15).without_stretch());
    let Some(far) = Far::create(bench)? else {
        return Ok(vec![row.not_measured(NOT_ALLOWED)]);
    };
    let without = far.warm_home(bench, "P18-without", Scheme::Https, &json!({}))?;
    let with = without.copy("P18-with")?;
    let sign_in = Program::new("sh").args(["-c", SIGN_IN]).arg(bench.world.program());
    let sign_in = sign_in.env("HOME", with.path());
    far.network.set_round_trip(Duration::ZERO);
    far.network.at_the_near_end(|| sign_in.output())?;
    let who = vec![turns(with.dbt([MIDDLE.name])), turns(without.dbt([MIDDLE.name]))];
    far.network.set_round_trip(ROUND_TRIP);
    let compare = || bench.compare_waiting(Turns::Few, &[1], who);
    let medians = far.network.at_the_near_end(compare)?;
    Ok(vec![row.ratio(medians.of(0) / medians.of(1), &medians)])
}
