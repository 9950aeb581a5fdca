//! What is counted rather than timed. (The tests hold the same numbers to their limits.)

use std::path::Path;

use dbt_bench::Fault;
use dbt_bench::measure::{Program, is_static};
use dbt_bench::report::{Goal, Row};
use dbt_bench::rounds::Between;
use dbt_bench::world::{ED25519, HUGE, Home, LARGE, TINY};

use crate::bench::{Bench, megabytes};

/// Which requests of a warm run wait for one another. (The test of it is `requests.rs` of the
/// client, with a server of its own.)
pub(crate) fn rounds(bench: &Bench) -> Result<Vec<Row>, Fault> {
    bench.world.publish(ED25519, TINY)?;
    let between = Between::listen(bench.web.plain)?;
    between.begin(1);
    let home = bench.world.home("P7", &format!("http://{}", between.address), ED25519)?;
    home.warm(TINY)?;
    between.begin(1);
    home.dbt([TINY.name]).output()?;
    let expected = between.counts().requests;
    between.begin(expected);
    home.dbt([TINY.name]).output()?;
    let counted = between.counts();
    let row = |what: &str, most: f64, count: u32| {
        let goal = Goal::at_most(most, most).without_stretch().in_unit("");
        Row::begin("P7", what, "").goal(goal).count(f64::from(count))
    };
    Ok(vec![
        row("requests of a warm run", 4.0, counted.requests),
        row("connections for them", 4.0, counted.connections),
        row("how often they wait for the server", 1.0, counted.rounds),
    ])
}

const MEMORY: Goal = Goal::at_most(16.0, 8.0).in_unit(" MiB");

pub(crate) fn peak_memory(bench: &Bench) -> Result<Vec<Row>, Fault> {
    let mut rows = Vec::new();
    for (tool, size) in [(LARGE, "100 MiB"), (HUGE, "1 GiB")] {
        bench.world.publish(ED25519, tool)?;
        let home = bench.world.home(&format!("memory-{}", tool.name), &bench.root(), ED25519)?;
        let row =
            |what: &str| Row::begin("P10", format!("peak memory, {what}, {size}"), "").goal(MEMORY);
        rows.push(row("cold").count(peak(&home, &[tool.name])?));
        rows.push(row("warm").count(peak(&home, &[tool.name])?));
        rows.push(row("offline").count(peak(&home, &["-o", tool.name])?));
        // It is in nobody's way afterwards.
        std::fs::remove_file(home.stored(tool)?)?;
    }
    Ok(rows)
}

/// Returns the peak memory of a run in MiB. A small program starts it, because a process inherits
/// the peak of who started it.
pub(crate) fn peak(home: &Home, words: &[&str]) -> Result<f64, Fault> {
    let report = home.path().join("peak");
    let time = Program::new("time").args(["-f", "%M", "-o"]).arg(&report);
    home.dbt(words.iter().copied()).through(time).output()?;
    let kibibytes: f64 = std::fs::read_to_string(&report)?.trim().parse()?;
    Ok(kibibytes / 1024.0)
}

pub(crate) fn system_calls(bench: &Bench) -> Result<Vec<Row>, Fault> {
    let home = bench.warm_home("P13", ED25519, TINY)?;
    let direct = Program::new(home.stored(TINY)?);
    let trace = home.path().join("trace");
    let above = |program: Program| calls_above(program, &direct, &trace);
    let calls = above(home.dbt(["-o", TINY.name]))?;
    let goal = Goal::at_most(150.0, 72.0).in_unit("");
    let ours = Row::begin("P13", "system calls, -o tiny, above direct exec", "").goal(goal);
    let dotslash = bench.dotslash(ED25519, TINY).and_then(above);
    let theirs = Row::begin("P13", "the same of DotSlash", "");
    Ok(vec![
        ours.count(calls),
        match dotslash {
            Ok(count) => theirs.goal(goal).count(count),
            Err(why) => theirs.not_measured(why.to_string()),
        },
    ])
}

/// Counts the system calls of a program above those of another, which it becomes.
pub(crate) fn calls_above(program: Program, direct: &Program, trace: &Path) -> Result<f64, Fault> {
    Ok(calls(program, trace)? - calls(direct.clone(), trace)?)
}

/// Counts the system calls of a program, its threads and what it becomes.
fn calls(program: Program, trace: &Path) -> Result<f64, Fault> {
    let strace = Program::new("strace").args(["-f", "-qq", "-e", "signal=none", "-o"]);
    program.through(strace.arg(trace)).output()?;
    let text = std::fs::read_to_string(trace)?;
    let calls = text.lines().filter(|line| line.contains('(') && !line.contains("resumed>"));
    Ok(f64::from(u32::try_from(calls.count())?))
}

pub(crate) fn size(bench: &Bench) -> Result<Vec<Row>, Fault> {
    let program = bench.world.program();
    let linked = if is_static(&program)? { "static" } else { "dynamic, not the one to ship" };
    let goal = Goal::at_most(8.0, 5.0).in_unit(" MB");
    let row = Row::begin("P14", format!("size of the program ({linked})"), "").goal(goal);
    Ok(vec![row.count(megabytes(program.metadata()?.len()))])
}
