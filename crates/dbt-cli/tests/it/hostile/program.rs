//! A dbt that is offered and must not be taken: the tool runs all the same.

use std::fs;

use dbt_testkit::hostile::PINNED;
use dbt_testkit::world::World;

use super::{Outcome, Row, harmless, play_on, prepare};

/// The candidate is refused in these words, and the tool runs, with a copy and without.
const fn offered(case: &'static str, words: &'static str) -> Row {
    // That a candidate was refused is remembered, so that it is said once.
    Row::of(case, Outcome(0, words), Outcome(0, words)).learning()
}

/// It takes longer than the tool itself may take to be looked for.
const fn lasting(mut row: Row) -> Row {
    row.timeout = 0.5;
    row
}

pub(super) const ROWS: &[Row] = &[
    offered("C48-exits-1", "its self-test failed: it ended with exit status: 1"),
    offered("C48-signal", "its self-test failed: it ended with signal: 9"),
    lasting(offered("C48-hangs", "it did not finish within 10 seconds")),
    lasting(offered("C48-floods", "its self-test failed")),
    offered("C48-prose", "it did not report who it is"),
    offered("C48-another-program", "it says that it is `data`"),
    offered("C48-older", "it says that it is version `3.9.9`"),
    offered("C48-another-digest", "it says that it is another file than the one that was verified"),
    offered("C48-no-program", "its self-test failed: it cannot be started"),
    offered("C48-empty", "its self-test failed: it cannot be started"),
    offered("C48-checksum", "checksum of `dbt 99.0.0"),
    offered("C48-changed", "checksum of `dbt 99.0.0"),
    offered("C48-stranger", "which is not in the truststore"),
    offered("C48-newcomer", "`trust` in the configuration names other signers"),
    offered("C48-as-a-tool", "was made for `tool/dbt/99.0.0/[PLATFORM]`"),
    harmless("C48-unsigned").learning(),
    lasting(offered("C48-stalls", "there was no complete answer in time")),
    offered("C48-portal", "answered with a page"),
    offered("C48-elsewhere", "without TLS"),
];

/// A machine whose program is small enough to be copied and hashed often.
fn machine(strict: bool) -> World {
    let world = World::new(&crate::programs::programs().now);
    prepare(&world, strict);
    world.pin(&PINNED);
    world
}

fn play_candidates(lasting: bool) {
    let rows = ROWS.iter().filter(|row| (row.timeout < 1.0) == lasting);
    play_on(rows, machine, |world, when| {
        let installed = fs::read(&crate::programs::programs().now).unwrap();
        assert!(fs::read(world.program()).unwrap() == installed, "{when}: dbt has changed");
        let beside = fs::read_dir(world.program().parent().unwrap()).unwrap().count();
        assert_eq!(beside, 1, "{when}: something is left beside the program");
    });
}

#[test]
fn no_dbt_of_an_attackers_is_taken_and_the_tool_runs() {
    play_candidates(false);
}

#[test]
fn a_dbt_that_never_ends_takes_nothing_of_the_tools_time() {
    play_candidates(true);
}
