//! Runs without a server: what is added to the start of a tool.

use dbt_bench::Fault;
use dbt_bench::measure::{Program, turns};
use dbt_bench::report::{Goal, Row};
use dbt_bench::world::{
    ED25519, LARGE, LARGE_512, MIDDLE, MIDDLE_512, RSA4096, Signer, TINY, Tool,
};

use crate::bench::{Bench, Turns};

pub(crate) fn overhead_ed25519(bench: &Bench) -> Result<Vec<Row>, Fault> {
    overhead(bench, "P1", "-o tiny, Ed25519, above direct exec", ED25519, Goal::at_most(2.0, 1.0))
}

pub(crate) fn overhead_rsa(bench: &Bench) -> Result<Vec<Row>, Fault> {
    overhead(bench, "P2", "-o tiny, RSA-4096, above direct exec", RSA4096, Goal::at_most(4.0, 2.5))
}

fn overhead(
    bench: &Bench,
    id: &'static str,
    subject: &str,
    signer: Signer,
    goal: Goal,
) -> Result<Vec<Row>, Fault> {
    let home = bench.warm_home(id, signer, TINY)?;
    let direct = Program::new(home.stored(TINY)?);
    let dotslash = bench.dotslash(signer, TINY)?;
    let who = vec![turns(home.dbt(["-o", TINY.name])), turns(direct), turns(dotslash)];
    let medians = bench.compare(Turns::Short, &[1, 2], who)?;
    let ratio = medians.above(0, 1) / medians.above(2, 1);
    let row = Row::begin(id, subject, "DotSlash warm, above the same").goal(goal);
    Ok(vec![row.ratio(ratio, &medians)])
}

pub(crate) fn sha256(bench: &Bench) -> Result<Vec<Row>, Fault> {
    let goal = Goal::at_most(1.15, 1.05);
    let row = |tool, subject| pass(bench, "P3", subject, Pass::Sha256, tool, goal);
    Ok(vec![
        row(MIDDLE, "-o 20 MiB, SHA-256")?,
        row(LARGE, "-o 100 MiB, SHA-256 (digest remembered)")?,
    ])
}

pub(crate) fn sha512(bench: &Bench) -> Result<Vec<Row>, Fault> {
    let goal = Goal::at_most(1.7, 1.2);
    let row = |tool, subject| pass(bench, "P4", subject, Pass::Sha512, tool, goal);
    Ok(vec![
        row(MIDDLE_512, "-o 20 MiB, SHA-512 signature")?,
        row(LARGE_512, "-o 60 MiB, SHA-512 signature")?,
    ])
}

/// One pass over a file.
#[derive(Clone, Copy)]
enum Pass {
    Sha256,
    Sha512,
}

fn pass(
    bench: &Bench,
    id: &'static str,
    subject: &str,
    pass: Pass,
    tool: Tool,
    goal: Goal,
) -> Result<Row, Fault> {
    let home = bench.warm_home(tool.name, ED25519, tool)?;
    let file = home.stored(tool)?;
    let (algorithm, anchor) = match pass {
        Pass::Sha256 => ("sha256", "one SHA-256 pass"),
        Pass::Sha512 => ("sha512", "one SHA-512 pass"),
    };
    let hash = bench.hash(algorithm, &file);
    let run = home.dbt(["-o", tool.name]);
    let medians = bench.compare(Turns::Long, &[1], vec![turns(run), turns(hash)])?;
    let row = Row::begin(id, subject, anchor).goal(goal);
    Ok(row.ratio(medians.of(0) / medians.of(1), &medians))
}
