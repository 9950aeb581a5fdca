//! What the process looked like before Rust's runtime changed it.
//!
//! Before `main`, the standard library ignores SIGPIPE and opens `/dev/null` on those of the
//! descriptors 0, 1 and 2 that are closed. A tool we become must see neither: `yes | head` would
//! not end, and a daemon started with stdin closed would have one. So a function that the loader
//! runs before the runtime writes down how things were. The runtime's other changes (handlers for
//! SIGSEGV and SIGBUS, an alternate signal stack) end by themselves when a program is executed.
//!
//! One thing is changed here too: SIGXFSZ is ignored, so that a file that grows beyond what a
//! process may write (`ulimit -f`) is an error with words and not a silent death.

use std::sync::atomic::{AtomicU32, Ordering};

/// What [`record`] saw; 0 when it has not run.
static AT_START: AtomicU32 = AtomicU32::new(0);

const RECORDED: u32 = 1 << 31;
const SIGPIPE_IGNORED: u32 = 1 << 8;
const SIGXFSZ_IGNORED: u32 = 1 << 9;

/// The standard descriptors, whose numbers are also their bits in [`AT_START`].
const STANDARD: [i32; 3] = [0, 1, 2];

// The loader calls every function listed in this section before `main`; it passes arguments on
// some platforms, which a function without parameters ignores in every calling convention we
// build for.
#[used]
#[cfg_attr(target_vendor = "apple", unsafe(link_section = "__DATA,__mod_init_func"))]
#[cfg_attr(not(target_vendor = "apple"), unsafe(link_section = ".init_array"))]
static BEFORE_MAIN: extern "C" fn() = record;

/// Writes down what the runtime is about to change. It runs before the runtime exists, so it
/// allocates nothing and cannot panic.
extern "C" fn record() {
    let mut seen = RECORDED;
    if disposition_of(libc::SIGPIPE) == Some(libc::SIG_IGN) {
        seen |= SIGPIPE_IGNORED;
    }
    if disposition_of(libc::SIGXFSZ) == Some(libc::SIG_IGN) {
        seen |= SIGXFSZ_IGNORED;
    }
    set(libc::SIGXFSZ, libc::SIG_IGN);
    for descriptor in STANDARD {
        // SAFETY: F_GETFD takes no pointer and is defined for any number, open or not.
        if unsafe { libc::fcntl(descriptor, libc::F_GETFD) } == -1 {
            seen |= 1 << descriptor;
        }
    }
    AT_START.store(seen, Ordering::Relaxed);
}

fn disposition_of(signal: i32) -> Option<libc::sighandler_t> {
    let mut action = std::mem::MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: a null new action changes nothing; the old one is written to memory that is ours,
    // is large enough and lives until the call returns.
    let outcome = unsafe { libc::sigaction(signal, std::ptr::null(), action.as_mut_ptr()) };
    if outcome != 0 {
        return None;
    }
    // SAFETY: the call succeeded and has filled the structure in; all zeros were valid before.
    let action = unsafe { action.assume_init() };
    Some(action.sa_sigaction)
}

fn set(signal: i32, handler: libc::sighandler_t) {
    // SAFETY: `signal` takes no pointers of ours; SIG_DFL and SIG_IGN, the only values passed,
    // run no code of this process.
    unsafe { libc::signal(signal, handler) };
}

/// The process as it was handed to us. Dropping it brings back what the runtime needs, for the
/// case that executing failed and words have to be written.
pub(crate) struct AsHandedOver {
    seen: u32,
}

impl AsHandedOver {
    /// Undoes what the runtime and we changed. Signal mask, umask, limits and all other dispositions
    /// have never been touched.
    pub(crate) fn restore() -> Self {
        let seen = AT_START.load(Ordering::Relaxed);
        // Where nothing was recorded, nothing better is known than what a program starts with.
        for (signal, ignored) in
            [(libc::SIGPIPE, SIGPIPE_IGNORED), (libc::SIGXFSZ, SIGXFSZ_IGNORED)]
        {
            let ignored = seen & ignored != 0;
            set(signal, if ignored { libc::SIG_IGN } else { libc::SIG_DFL });
        }
        Self::mark(seen, libc::FD_CLOEXEC);
        Self { seen }
    }

    /// Marks the descriptors that were closed: the kernel closes them when it executes the new
    /// program, and if it does not, they are still there. Closing them here would let the next
    /// file we open become the standard error that a message is written to.
    fn mark(seen: u32, flags: i32) {
        for descriptor in STANDARD {
            if seen & (1 << descriptor) != 0 {
                // SAFETY: F_SETFD takes a number; a closed descriptor is an error without effect.
                unsafe { libc::fcntl(descriptor, libc::F_SETFD, flags) };
            }
        }
    }
}

impl Drop for AsHandedOver {
    fn drop(&mut self) {
        set(libc::SIGPIPE, libc::SIG_IGN);
        set(libc::SIGXFSZ, libc::SIG_IGN);
        Self::mark(self.seen, 0);
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::{Mutex, MutexGuard, PoisonError};

    use super::*;

    /// Tests that change the process's dispositions take turns.
    pub(crate) fn turn() -> MutexGuard<'static, ()> {
        static TURN: Mutex<()> = Mutex::new(());
        TURN.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[test]
    fn the_recorder_runs_before_the_tests_do() {
        let seen = AT_START.load(Ordering::Relaxed);
        assert_ne!(seen & RECORDED, 0);
    }

    #[test]
    fn restoring_is_undone_when_nothing_was_executed() {
        let _turn = turn();
        for signal in [libc::SIGPIPE, libc::SIGXFSZ] {
            assert_eq!(disposition_of(signal), Some(libc::SIG_IGN), "{signal} is ignored");
            drop(AsHandedOver::restore());
            assert_eq!(disposition_of(signal), Some(libc::SIG_IGN));
        }
    }
}
