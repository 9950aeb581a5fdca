//! Calls that change no file fail: those that look, lock, talk to the server, or start something.
//!
//! strace counts the calls of each kind and of each thread by themselves; of many on the same file the
//! first, the one in the middle and the last are tried.

use dbt_testkit::faults::{self, Effect};

use super::{Deed, Scenario};

impl Scenario {
    /// Lets each step fail that changes nothing, once.
    pub(super) fn disturb_others(&mut self) {
        self.restore();
        let (run, mut steps) = faults::steps(&self.world, self.invoke());
        assert_eq!(run.code(), Some(0), "{run:?}");
        steps.retain(|step| !step.is_change());
        for (index, step) in steps.iter().enumerate() {
            for error in step.failures(index) {
                self.restore();
                let run = step.run(self.invoke(), error);
                let what = format!("{error} at {} {}\n    {}", step.call, step.number, step.line);
                let is_outage = step.effect == Effect::Talks;
                self.judge(&Deed { what, is_kill: false, is_outage }, &run);
            }
        }
    }

    /// No file may be longer than so many bytes: the write that reaches that is short, and the next
    /// one fails, or ends the program.
    pub(super) fn limit_files(&mut self) {
        for limit in [0, 1, 40, 300, 1000, 200_000] {
            for (line, is_kill) in [
                ("trap '' XFSZ; exec prlimit --fsize=$0 -- \"$@\"", false),
                ("exec prlimit --core=0 --fsize=$0 -- \"$@\"", true),
            ] {
                self.restore();
                let words = ["sh", "-c", line, &limit.to_string()];
                let run = self.invoke().through(&words).run();
                let what = format!("no file longer than {limit} bytes, ended: {is_kill}");
                self.judge(&Deed { what, is_kill, is_outage: false }, &run);
            }
        }
    }
}
