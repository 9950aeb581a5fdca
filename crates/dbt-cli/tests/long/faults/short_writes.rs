//! Every write takes fewer bytes than it is asked to, once. That is no fault: the run goes on with
//! the rest and ends as ever. Only where nothing is taken at all may it say so and stop.

use dbt_testkit::short_writes::{Report, ShortWrites, Takes, Which};

use super::{Deed, Run, Scenario};

impl Scenario {
    /// Shortens each write, in two ways, and then all of them.
    pub(super) fn shorten_writes(&mut self) {
        let short_writes = ShortWrites::compiled(&self.world);
        self.restore();
        let (clean, report) = short_writes.run(self.invoke(), Which::None, Takes::Half);
        assert_eq!((clean.code(), report.short.len()), (Some(0), 0), "{clean:?}");
        // What is written otherwise was never short, and nothing here would say so.
        assert_eq!(report.others, [""; 0]);
        assert_eq!(report.count == 0, self.writes_nothing, "{} writes", report.count);
        if self.writes_nothing {
            return;
        }
        let mut cases = vec![(Which::Every, Takes::Half)];
        let most = if self.keeps.is_some() || self.only.is_some() { 6 } else { 80 };
        for number in spread(report.count, most) {
            let other = [Takes::Nothing, Takes::One, Takes::Most][number % 3];
            cases.extend([Takes::Half, other].map(|takes| (Which::Only(number), takes)));
        }
        let (tried, mut hit) = (cases.len(), 0);
        for (which, takes) in cases {
            self.restore();
            let (run, report) = short_writes.run(self.invoke(), which, takes);
            assert_eq!(report.others, [""; 0]);
            hit += usize::from(!report.short.is_empty());
            self.judge_short(&clean, (which, takes), &run, report);
        }
        // Threads do not always write as often, and who copies a file asks until there is no more.
        assert!(hit * 2 >= tried, "{hit} of {tried} were short");
    }

    fn judge_short(
        &mut self,
        clean: &Run,
        (which, takes): (Which, Takes),
        run: &Run,
        report: Report,
    ) {
        let line = report.short.into_iter().next().unwrap_or_default();
        let what = format!("short write {which:?} ({takes:?}): {line}");
        let deed = Deed { what, is_kill: false, is_outage: line.contains(" socket:") };
        let is_as_ever = run.code() == Some(0)
            && run.stdout() == clean.stdout()
            && run.stderr() == clean.stderr();
        if takes != Takes::Nothing && !is_as_ever {
            self.problem(&deed, &format!("{run:?} said {}", run.stderr()));
        }
        self.judge(&deed, run);
    }
}

/// Lists `most` numbers from 1 to `count`, the first and the last among them: the pieces of a large
/// file differ in nothing else.
fn spread(count: usize, most: usize) -> impl Iterator<Item = usize> {
    let wanted = count.min(most);
    (0..wanted).map(move |index| 1 + index * (count - 1) / (wanted - 1).max(1))
}
