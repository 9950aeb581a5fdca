//! Lists of what a server far away has.

use std::fs;
use std::time::Duration;

use dbt_bench::Fault;
use dbt_bench::measure::{Program, turns};
use dbt_bench::report::{Goal, Row};
use dbt_bench::world::{ED25519, Home, PLATFORM};
use serde_json::{Value, json};

use super::far::{Far, NOT_ALLOWED, ROUND_TRIP, Scheme};
use crate::bench::{Bench, Turns};

/// The version of every tool here.
const VERSION: &str = "1.4.0";

/// A repository with so many tools, whose files are all that a list looks at.
struct Catalog {
    name: String,
    tools: usize,
}

impl Catalog {
    fn publish(bench: &Bench, tools: usize) -> Result<Self, Fault> {
        let name = format!("catalog-{tools}");
        let place = bench.world.served().join(&name).join("dbt-tools");
        for number in 0..tools {
            let tool = format!("tool-{number:04}");
            let version = place.join(&tool).join(VERSION);
            fs::create_dir_all(version.join(PLATFORM))?;
            fs::write(version.join("description.txt"), format!("What {tool} is for.\n"))?;
            fs::write(version.join(PLATFORM).join(format!("{tool}.sha256")), "0".repeat(64))?;
        }
        Ok(Self { name, tools })
    }

    /// Publishes the same in one document, as a server of ours has it.
    fn in_one_document(&self, bench: &Bench) -> Result<String, Fault> {
        let newest = json!({ PLATFORM: { "version": VERSION, "size": 1_048_576, "modifiedAt":
            "2026-01-31T00:00:00Z" } });
        let tool = |number: usize| {
            let name = format!("tool-{number:04}");
            json!({ "name": name, "description": format!("What {name} is for."),
                "versions": [VERSION], "platforms": newest })
        };
        let tools: Vec<Value> = (0..self.tools).map(tool).collect();
        let api = bench.world.served().join(&self.name).join("-/api/v1");
        fs::create_dir_all(&api)?;
        fs::write(api.join("catalog"), json!({ "tools": tools, "next": null }).to_string())?;
        Ok(format!("/{}/-/api/v1/catalog", self.name))
    }

    fn home(&self, bench: &Bench, root: &str, goal: &str) -> Result<Home, Fault> {
        let tools = format!("{root}/{}/dbt-tools", self.name);
        let settings = json!({ "toolsRepository": tools });
        bench.world.home_with(&format!("{goal}-{}", self.name), root, ED25519, &settings)
    }

    /// Returns what the older client asks for, one after the other.
    fn older(&self, bench: &Bench, root: &str) -> Result<Program, Fault> {
        bench.older_catalog(&format!("{root}/{}", self.name), self.tools, VERSION)
    }
}

fn list(home: &Home) -> Program {
    home.dbt(["catalog", "list"])
}

pub(crate) fn by_listing(bench: &Bench) -> Result<Vec<Row>, Fault> {
    let row = |tools: usize| {
        let subject = format!("catalog of {tools}, 50 ms away");
        Row::begin("P11", subject, "the older client with 100, over it, tool by tool")
    };
    let goal = |stretch| Goal::at_least(20.0, stretch);
    let Some(far) = Far::create(bench)? else {
        let rows =
            [(100, 35.0), (1000, 55.0)].map(|(tools, stretch)| row(tools).goal(goal(stretch)));
        return Ok(rows.map(|row| row.not_measured(NOT_ALLOWED)).into());
    };
    let (_server, root) = far.server(Scheme::Http);
    let [few, many] = [Catalog::publish(bench, 100)?, Catalog::publish(bench, 1000)?];
    let homes = [few.home(bench, &root, "P11")?, many.home(bench, &root, "P11")?];
    for home in &homes {
        // That the server has no document is found out once a day.
        far.network.at_the_near_end(|| list(home).output())?;
    }
    let older = few.older(bench, &root)?;
    let [hundred, thousand] = homes.each_ref().map(list);
    let who = vec![turns(hundred), turns(thousand), turns(older)];
    far.network.set_round_trip(ROUND_TRIP);
    let compare = || bench.compare_waiting(Turns::Felt, &[2], who);
    let medians = far.network.at_the_near_end(compare)?;
    far.network.set_round_trip(Duration::ZERO);
    // It asks for one tool after the other: for ten times as many it takes ten times as long.
    let ratio = |who, times: f64| times * medians.of(2) / medians.of(who);
    Ok(vec![
        row(100).goal(goal(35.0)).ratio(ratio(0, 1.0), &medians),
        row(1000).goal(goal(55.0)).ratio(ratio(1, 10.0), &medians),
    ])
}

pub(crate) fn in_one_document(bench: &Bench) -> Result<Vec<Row>, Fault> {
    let row = Row::begin(
        "P12",
        "catalog of 1000 in one document, 50 ms away",
        "one GET of the same bytes",
    );
    let row = row.goal(Goal::at_most(1.15, 1.15).without_stretch());
    let Some(far) = Far::create(bench)? else { return Ok(vec![row.not_measured(NOT_ALLOWED)]) };
    let (server, root) = far.server(Scheme::Http);
    let catalog = Catalog::publish(bench, 1000)?;
    let path = catalog.in_one_document(bench)?;
    let home = catalog.home(bench, &root, "P12")?;
    let get = bench.anchor(["get", &server, &path]);
    let who = vec![turns(list(&home)), turns(get)];
    far.network.set_round_trip(ROUND_TRIP);
    let compare = || bench.compare_waiting(Turns::Few, &[1], who);
    let medians = far.network.at_the_near_end(compare)?;
    far.network.set_round_trip(Duration::ZERO);
    Ok(vec![row.ratio(medians.of(0) / medians.of(1), &medians)])
}
