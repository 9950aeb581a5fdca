//! Runs that ask a server on this machine.

use std::time::Instant;

use dbt_bench::Fault;
use dbt_bench::authority::Handshake;
use dbt_bench::measure::{Sample, Turn, turns};
use dbt_bench::report::{Goal, Row};
use dbt_bench::world::{ED25519, LARGE, MIDDLE, SMALL, TINY, Tool};

use crate::bench::{Bench, LOOPBACK, Turns};

/// How many tools somebody may have on a machine.
const MANY: usize = 100;

pub(crate) fn warm(bench: &Bench) -> Result<Vec<Row>, Fault> {
    let row = |tool: Tool, size: &str, goal, turns_each| -> Result<Row, Fault> {
        let home = bench.warm_home(&format!("P5-{}", tool.name), ED25519, tool)?;
        let older = bench.older("warm", &bench.root(), tool, &home.stored(tool)?)?;
        let who = vec![turns(home.dbt([tool.name])), turns(older)];
        let medians = bench.compare(turns_each, &[1], who)?;
        let row = Row::begin("P5", format!("warm, loopback, {size}"), "the older client, over it");
        Ok(row.goal(goal).ratio(medians.of(1) / medians.of(0), &medians))
    };
    Ok(vec![
        row(SMALL, "1 MiB", Goal::at_least(8.0, 15.0), Turns::Long)?,
        row(MIDDLE, "20 MiB", Goal::at_least(3.5, 4.5), Turns::Long)?,
        row(LARGE, "100 MiB", Goal::at_least(3.0, 3.7), Turns::Few)?,
    ])
}

pub(crate) fn secure(bench: &Bench) -> Result<Vec<Row>, Fault> {
    let plain = bench.warm_home("P15-http", ED25519, TINY)?;
    let root = format!("https://{}", bench.web.secure);
    let secure = bench.world.home("P15-https", &root, ED25519)?;
    secure.warm(TINY)?;
    let handshake = Handshake::new(bench.world.directory(), LOOPBACK)?;
    let shake: Turn<'_> = Box::new(|| {
        let began = Instant::now();
        handshake.shake()?;
        let wall = began.elapsed();
        Ok(Sample { wall, cpu: wall })
    });
    let who = vec![turns(secure.dbt([TINY.name])), turns(plain.dbt([TINY.name])), shake];
    let medians = bench.compare(Turns::Short, &[2], who)?;
    let row =
        Row::begin("P15", "warm HTTPS, tiny, above warm HTTP", "one TLS handshake in process");
    let ratio = medians.above(0, 1) / medians.of(2);
    Ok(vec![row.goal(Goal::at_most(4.0, 2.5)).ratio(ratio, &medians)])
}

pub(crate) fn built_in(bench: &Bench) -> Result<Vec<Row>, Fault> {
    let home = bench.warm_home("P19", ED25519, TINY)?;
    home.know_more_tools(MANY)?;
    let row = |words: &'static str| -> Result<Row, Fault> {
        let who = vec![turns(home.dbt(words.split(' '))), turns(bench.hello())];
        let medians = bench.compare(Turns::Short, &[1], who)?;
        let row = Row::begin("P19", words, "a program in Rust that does nothing");
        let goal = Goal::at_most(2.0, 2.0).without_stretch();
        Ok(row.goal(goal).ratio(medians.of(0) / medians.of(1), &medians))
    };
    ["--help", "--version", "completions bash", "completions --tools"]
        .map(row)
        .into_iter()
        .collect()
}
