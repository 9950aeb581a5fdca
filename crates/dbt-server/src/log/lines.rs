//! Lines that wait a moment for others, so that many go out in one write.
//!
//! A write for each request was a good part of what answering it with a small file costs.

use std::io::Write;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

/// How long a line waits for others.
const SOON: Duration = Duration::from_millis(20);

/// How many bytes may wait. Whoever adds more writes them, and waits with whoever reads the log.
const MOST: usize = 1024 * 1024;

/// What is on its way to the log.
pub(super) struct Lines<W> {
    waiting: Mutex<Vec<u8>>,
    came: Condvar,
    /// Locked before `waiting`, so that lines go out in the order in which they came.
    out: Mutex<Out<W>>,
}

struct Out<W> {
    writer: W,
    /// Takes turns with `waiting`, so that neither has to grow anew.
    leaving: Vec<u8>,
}

impl<W: Write> Lines<W> {
    /// Nothing waits yet. Somebody has to [`Lines::keep_flushing`].
    pub(super) const fn new(out: W) -> Self {
        let out = Out { writer: out, leaving: Vec::new() };
        Self { waiting: Mutex::new(Vec::new()), came: Condvar::new(), out: Mutex::new(out) }
    }

    /// Adds a line that may wait for others: if the process is killed meanwhile, it is lost.
    pub(super) fn collect(&self, line: &[u8]) {
        let mut waiting = locked(&self.waiting);
        let (is_first, is_full) = (waiting.is_empty(), waiting.len() > MOST);
        waiting.extend_from_slice(line);
        drop(waiting);
        if is_full {
            self.flush();
        } else if is_first {
            self.came.notify_one();
        }
    }

    /// Writes a line, after those that wait.
    pub(super) fn write(&self, line: &[u8]) {
        let mut out = locked(&self.out);
        let Out { writer, leaving } = &mut *out;
        std::mem::swap(leaving, &mut locked(&self.waiting));
        leaving.extend_from_slice(line);
        // Without anybody who reads the log, everything else goes on.
        let _nobody_reads = writer.write_all(leaving);
        leaving.clear();
    }

    /// Writes the lines that wait.
    pub(super) fn flush(&self) {
        self.write(b"");
    }

    /// Writes lines soon after they came, for ever.
    pub(super) fn keep_flushing(&self) -> ! {
        loop {
            let waiting = self.came.wait_while(locked(&self.waiting), |waiting| waiting.is_empty());
            drop(waiting);
            thread::sleep(SOON);
            self.flush();
        }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing panics while it changes something.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, mpsc};

    /// Tells of each write.
    struct Told(mpsc::Sender<String>);

    impl Write for Told {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            if !bytes.is_empty() {
                self.0.send(String::from_utf8(bytes.to_vec()).unwrap()).unwrap();
            }
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn many_lines_go_out_together_and_those_that_may_not_wait_take_them_along() {
        let (told, writes) = mpsc::channel();
        let lines = Lines::new(Told(told));
        lines.collect(b"1\n");
        lines.collect(b"2\n");
        assert!(writes.try_recv().is_err());
        lines.write(b"3\n");
        assert_eq!(writes.try_recv().unwrap(), "1\n2\n3\n");
        lines.flush();
        assert!(writes.try_recv().is_err());
        lines.collect(b"4\n");
        lines.flush();
        assert_eq!(writes.try_recv().unwrap(), "4\n");
    }

    #[test]
    fn a_line_is_written_by_itself_after_a_moment() {
        let (told, writes) = mpsc::channel();
        let lines = Arc::new(Lines::new(Told(told)));
        let kept = Arc::clone(&lines);
        thread::spawn(move || kept.keep_flushing());
        for line in ["1\n", "2\n"] {
            lines.collect(line.as_bytes());
            assert_eq!(writes.recv_timeout(Duration::from_mins(1)).unwrap(), line);
        }
    }

    #[test]
    fn no_more_than_a_bound_waits() {
        let (told, writes) = mpsc::channel();
        let lines = Lines::new(Told(told));
        let line = [b'x'; 1024];
        for _ in 0..=MOST / line.len() {
            lines.collect(&line);
            assert!(writes.try_recv().is_err());
        }
        lines.collect(&line);
        assert_eq!(writes.try_recv().unwrap().len(), MOST + 2 * line.len());
    }
}
