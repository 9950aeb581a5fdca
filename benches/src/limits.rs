//! What is counted and may not grow unnoticed: system calls, instructions, memory, size.
//!
//! Counts do not depend on how fast or busy a machine is, so they can be a test. A file says what
//! each kind of build needed when it was last renewed.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use dbt_bench::Fault;
use dbt_bench::measure::{Program, is_static};
use dbt_bench::world::{ED25519, HUGE, Home, LARGE, LAST_STEP_FAILS, TINY, Tool};
use serde_json::{Map, Value, json};

use crate::bench::{Bench, megabytes};
use crate::goals::counts::{calls_above, peak};

/// The exit code of a tool that cannot be executed.
const CANNOT_EXECUTE: i32 = 126;

/// Something that is counted.
struct Count {
    name: &'static str,
    value: f64,
    /// What it may never be, whatever the file says.
    must: Option<f64>,
    /// By how much it may exceed what was recorded: other kernels, C libraries and page sizes.
    allowance: Allowance,
}

#[derive(Clone, Copy)]
enum Allowance {
    More(f64),
    Percent(f64),
}

impl Allowance {
    fn above(self, recorded: f64) -> f64 {
        match self {
            Self::More(more) => recorded + more,
            Self::Percent(percent) => recorded * (1.0 + percent / 100.0),
        }
    }
}

/// Compares with what is allowed, and returns the table.
pub(crate) fn check(bench: &Bench, file: &Path) -> Result<String, Fault> {
    let kind = kind(bench)?;
    let recorded: Value = serde_json::from_slice(&fs::read(file)?)?;
    let mut table =
        format!("{kind} build\n{:34}{:>14}{:>14}{:>14}\n", "", "is", "recorded", "at most");
    let mut over = Vec::new();
    for count in counts(bench)? {
        let Count { name, value, must, allowance } = count;
        let before = recorded[kind][name].as_f64();
        let most = match (before.map(|before| allowance.above(before)), must) {
            (Some(recorded), Some(must)) => recorded.min(must),
            (Some(limit), None) | (None, Some(limit)) => limit,
            (None, None) => f64::INFINITY,
        };
        let before = before.map_or_else(|| "-".to_owned(), |before| format!("{before:.1}"));
        let _infallible = writeln!(table, "{name:34}{value:>14.1}{before:>14}{most:>14.1}");
        if value > most {
            over.push(name);
        }
    }
    if over.is_empty() {
        return Ok(table);
    }
    Err(format!(
        "too much: {}\n{table}If it is meant: `make test-costs COSTS=--renew` writes what it is now \
         into `{}`.",
        over.join(", "),
        file.display()
    )
    .into())
}

/// Writes what this kind of build needs into the file.
pub(crate) fn renew(bench: &Bench, file: &Path) -> Result<(), Fault> {
    let mut recorded: Map<String, Value> = serde_json::from_slice(&fs::read(file)?)?;
    let counts = counts(bench)?;
    let rounded = |value: f64| json!((value * 10.0).round() / 10.0);
    let counts: Map<String, Value> =
        counts.iter().map(|count| (count.name.to_owned(), rounded(count.value))).collect();
    recorded.insert(kind(bench)?.to_owned(), counts.into());
    Ok(fs::write(file, format!("{:#}\n", Value::Object(recorded)))?)
}

fn kind(bench: &Bench) -> Result<&'static str, Fault> {
    Ok(if is_static(&bench.world.program())? { "static" } else { "dynamic" })
}

fn counts(bench: &Bench) -> Result<Vec<Count>, Fault> {
    let mut counts = vec![system_calls(bench)?, instructions(bench)?, size(bench)?];
    for (tool, names) in [
        (LARGE, ["MiB of memory, 100 MiB, cold", "MiB of memory, 100 MiB, warm"]),
        (HUGE, ["MiB of memory, 1 GiB, cold", "MiB of memory, 1 GiB, warm"]),
    ] {
        counts.extend(memory(bench, tool, names)?);
    }
    Ok(counts)
}

fn system_calls(bench: &Bench) -> Result<Count, Fault> {
    let home = bench.warm_home("calls", ED25519, TINY)?;
    let direct = Program::new(home.stored(TINY)?);
    let run = home.dbt(["-o", TINY.name]);
    let value = calls_above(run, &direct, &home.path().join("trace"))?;
    // The goal is of the build that is shipped; the loader of the other makes calls of its own.
    let must = is_static(&bench.world.program())?.then_some(150.0);
    Ok(Count { name: "system calls, -o", value, must, allowance: Allowance::More(6.0) })
}

/// Counts in callgrind, where a program that becomes another is not counted to its end. So it runs
/// a tool that it cannot become.
fn instructions(bench: &Bench) -> Result<Count, Fault> {
    bench.world.publish(ED25519, LAST_STEP_FAILS)?;
    let home = bench.world.home("instructions", &bench.root(), ED25519)?;
    for words in [&["fetch", LAST_STEP_FAILS.name][..], &["fetch", LAST_STEP_FAILS.name]] {
        home.dbt(words.iter().copied()).output()?;
    }
    let report = home.path().join("callgrind");
    let valgrind =
        Program::new("valgrind").args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]);
    let valgrind = valgrind.arg(format!("--log-file={}", report.display()));
    let run = home.dbt(["-o", LAST_STEP_FAILS.name]).through(valgrind);
    let output = run.command().output()?;
    if output.status.code() != Some(CANNOT_EXECUTE) {
        return Err(format!("under valgrind: {output:?}").into());
    }
    let text = fs::read_to_string(report)?;
    let collected = text.lines().find_map(|line| line.split_once("Collected : "));
    let (_, number) = collected.ok_or("callgrind says nothing")?;
    let value = number.trim().parse::<f64>()? / 1e3;
    let allowance = Allowance::Percent(4.0);
    Ok(Count { name: "thousand instructions, -o", value, must: None, allowance })
}

fn size(bench: &Bench) -> Result<Count, Fault> {
    let value = megabytes(bench.world.program().metadata()?.len());
    let must = is_static(&bench.world.program())?.then_some(8.0);
    Ok(Count { name: "MB of the program", value, must, allowance: Allowance::Percent(5.0) })
}

fn memory(bench: &Bench, tool: Tool, names: [&'static str; 2]) -> Result<[Count; 2], Fault> {
    bench.world.publish(ED25519, tool)?;
    let home: Home = bench.world.home(&format!("peak-{}", tool.name), &bench.root(), ED25519)?;
    let [cold, warm] = [peak(&home, &[tool.name])?, peak(&home, &[tool.name])?];
    fs::remove_file(home.stored(tool)?)?;
    let [one, other] = names;
    // What several threads have at once differs from run to run by about half a MiB.
    let count =
        |name, value| Count { name, value, must: Some(16.0), allowance: Allowance::More(1.2) };
    Ok([count(one, cold), count(other, warm)])
}
