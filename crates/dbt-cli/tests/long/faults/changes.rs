//! Everything that changes a file: for every n, the nth of them fails, or the run is killed before it.
//!
//! They are counted over all threads of dbt, and over the other dbt that it starts or becomes when it
//! updates itself; what the tool does is not. At each of them
//!
//! * the run is killed,
//! * the disk is full, once,
//! * the call fails once with another error that it can fail with, in turn,
//! * opening a file without a name is not supported, where it is that, and
//! * the disk is full from there on: up to the [`ALL_OF`]th at each, and then at [each fourth](SOME).

use dbt_testkit::changes::{Changes, Counted, Disturbance, Fault, Lasts, Report};
use dbt_testkit::faults;

use super::{Deed, Scenario};

/// Up to this change a disk that stays full is tried at each.
const ALL_OF: usize = 60;

/// Beyond that at each of so many.
const SOME: usize = 4;

/// A run may make fewer changes than the one in which they were counted by one of so many: in how many
/// pieces a download comes is not always the same.
const FEWER: usize = 16;

/// How often something is tried that was not done: a machine that stands still for some seconds makes the
/// server one that does not answer, and the run another one.
const TRIES: usize = 3;

const NOTHING: Disturbance =
    Disturbance { counted: Counted::Changes, number: 0, fault: Fault::Kill, lasts: Lasts::Once };

impl Scenario {
    /// Does something at every change, of which there are at least so many, and returns how many.
    pub(super) fn disturb_changes(&mut self, least: usize) -> usize {
        let changes = Changes::compiled(self.world.directory());
        self.restore();
        let (run, report) = changes.run(&self.world, self.invoke(), NOTHING);
        assert_eq!(run.code(), Some(0), "{run:?}");
        let Report { count, counted, .. } = report;
        assert!(count >= least && count == counted.len(), "{count} changes: {counted:#?}");
        for (index, call) in counted.iter().enumerate() {
            if self.only.is_some_and(|only| !only.iter().any(|it| call.starts_with(it))) {
                continue;
            }
            for disturbance in disturbances(index + 1, call) {
                let was_disturbed =
                    (0..TRIES).any(|_try| self.disturb(&changes, disturbance, call));
                if !was_disturbed && index < count - count / FEWER {
                    self.problems.push(format!("nothing was done of {count}: {disturbance:?}"));
                }
            }
        }
        // A run may make more changes than the one in which they were counted.
        let mut number = count + 1;
        let more = |number| Disturbance { number, ..NOTHING };
        while self.only.is_none() && self.disturb(&changes, more(number), "one more") {
            number += 1;
            assert!(number < 2 * count + least, "a run never gets through");
        }
        count
    }

    /// Does something to a run, judges it, and says whether it was done.
    fn disturb(&mut self, changes: &Changes, disturbance: Disturbance, call: &str) -> bool {
        self.restore();
        let (run, report) = changes.run(&self.world, self.invoke(), disturbance);
        let (Disturbance { number, fault, lasts, .. }, was_disturbed) =
            (disturbance, report.was_disturbed());
        let done = report.done.first().map_or("nothing", String::as_str);
        let what = format!("{fault:?} {lasts:?} at change {number}, `{call}`, was at `{done}`");
        let is_kill = fault == Fault::Kill && was_disturbed;
        let deed = Deed { what, is_kill, is_outage: false };
        if is_kill && run.code().is_some() {
            self.problem(&deed, &format!("it was not ended: {run:?}"));
        }
        self.judge(&deed, &run);
        was_disturbed
    }
}

/// Lists what is done at a change.
fn disturbances(number: usize, call: &str) -> Vec<Disturbance> {
    let fails = |error| Disturbance { number, fault: Fault::Error(error), ..NOTHING };
    let mut list = vec![Disturbance { number, ..NOTHING }, fails("ENOSPC")];
    let name = call.split(' ').next().unwrap();
    let errors = faults::errors_of(name).iter().filter(|error| **error != "ENOSPC");
    let errors: Vec<&'static str> = errors.copied().collect();
    list.push(fails(errors[number % errors.len()]));
    if call.ends_with("O_TMPFILE") {
        list.push(fails("EOPNOTSUPP"));
    }
    if number <= ALL_OF || number.is_multiple_of(SOME) {
        list.push(Disturbance { lasts: Lasts::ForEver, ..fails("ENOSPC") });
    }
    list
}
