//! Standing in for `execve` on Windows, which has none: the program becomes a child, and this process
//! waits for it, is not stopped by what is meant for it, and ends as it ends.

use std::ffi::{OsStr, OsString, c_void};
use std::io;
use std::os::windows::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::windows::io::AsRawHandle as _;
use std::os::windows::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command};

use crate::command_line;

/// Runs a program in the place of this process, and ends as it ends. Returns only when it could not be
/// started, and says why.
///
/// `arguments` are the words behind the program's name. Where this process was started with the same
/// words at its end, the program gets that end of the command line as it was received, because
/// programs cut it into words in ways of their own.
pub(crate) fn replace(
    path: &Path,
    arguments: &[OsString],
    environment: &[(OsString, OsString)],
) -> io::Error {
    let mut command = match command_line::powershell(path, environment) {
        Some((program, words)) => {
            let mut command = Command::new(program);
            command.args(words);
            command
        }
        None => Command::new(path),
    };
    command.env_clear().envs(environment.iter().map(|(name, value)| (name, value)));
    match as_received(arguments).filter(|_rest| !is_batch(path)) {
        Some(rest) => command.raw_arg(rest),
        // The interpreter of batch files cuts again, and differently: the library quotes for it, and
        // refuses what cannot be quoted.
        None => command.args(arguments),
    };
    leave_interrupts_to_the_child();
    let job = Job::new();
    let ended = command.spawn().and_then(|mut child| {
        job.add(&child);
        child.wait()
    });
    match ended {
        Ok(status) => end(status.code().unwrap_or(1)),
        Err(error) => error,
    }
}

/// Says whether a file is run by the interpreter of batch files.
fn is_batch(path: &Path) -> bool {
    let ending = path.extension().and_then(OsStr::to_str).unwrap_or_default();
    ["bat", "cmd"].iter().any(|batch| ending.eq_ignore_ascii_case(batch))
}

/// Returns the end of the command line with these words, if it is one.
fn as_received(arguments: &[OsString]) -> Option<OsString> {
    let words: Vec<OsString> = std::env::args_os().collect();
    let before = words.len().checked_sub(arguments.len()).filter(|before| *before > 0)?;
    if words[before..] != *arguments {
        return None;
    }
    let line = command_line();
    Some(OsString::from_wide(command_line::after(&line, before)))
}

fn command_line() -> Vec<u16> {
    // SAFETY: the function has no conditions. The text is the process's, ends with a zero, and nobody
    // changes it while the process lives.
    let start = unsafe { GetCommandLineW() };
    let mut line = Vec::new();
    loop {
        // SAFETY: every unit before this one is not the zero that ends the text.
        let unit = unsafe { start.add(line.len()) };
        // SAFETY: the unit is of the text, or the zero that ends it.
        match unsafe { unit.read() } {
            0 => return line,
            unit => line.push(unit),
        }
    }
}

/// Lets Ctrl-C and Ctrl-Break, which every process of the console gets, decide nothing here: the
/// program gets them too, and decides for both.
fn leave_interrupts_to_the_child() {
    // Not the null handler, which the child would inherit, and then never be interrupted.
    //
    // SAFETY: the handler is a function, which lives as long as the process, and touches nothing.
    let _without_a_console_nothing_comes = unsafe { SetConsoleCtrlHandler(Some(ours), 1) };
}

/// Says that an interrupt was dealt with. What ends the session is not.
unsafe extern "system" fn ours(event: u32) -> i32 {
    i32::from(matches!(event, CTRL_C_EVENT | CTRL_BREAK_EVENT))
}

/// What ends the program when this process is killed. Whatever the program starts itself is not in
/// it, and may live on as it would without us.
struct Job(*mut c_void);

impl Job {
    /// Makes one; where that fails, the program is started all the same.
    fn new() -> Self {
        // SAFETY: both may be null: nobody inherits it, and it has no name.
        let job = unsafe { CreateJobObjectW(std::ptr::null(), std::ptr::null()) };
        let limits = Limits { flags: KILL_ON_JOB_CLOSE | SILENT_BREAKAWAY_OK, ..Limits::default() };
        let length = u32::try_from(size_of::<Limits>()).unwrap_or(0);
        if !job.is_null() {
            // SAFETY: the job is open, and the limits are what this class of them is and so long.
            let _best_effort = unsafe {
                SetInformationJobObject(job, EXTENDED_LIMITS, (&raw const limits).cast(), length)
            };
        }
        Self(job)
    }

    fn add(&self, child: &Child) {
        if !self.0.is_null() {
            // SAFETY: both are open: the job as long as this process, and the child until it is waited for.
            let _best_effort = unsafe { AssignProcessToJobObject(self.0, child.as_raw_handle()) };
        }
    }
}

/// Returns the number of the process that has started this one; 0 if the system does not say it.
pub(crate) fn parent() -> u32 {
    let mut basic = Process::default();
    let length = u32::try_from(size_of::<Process>()).unwrap_or(0);
    let ourselves = -1_isize as *mut c_void;
    // SAFETY: the handle stands for this process, and the structure is what this class of information
    // is and so long.
    let status = unsafe {
        NtQueryInformationProcess(
            ourselves,
            BASIC_INFORMATION,
            (&raw mut basic).cast(),
            length,
            std::ptr::null_mut(),
        )
    };
    if status == 0 { u32::try_from(basic.parent).unwrap_or(0) } else { 0 }
}

/// Ends the process with a code of 32 bits, of which the library's own have eight.
fn end(code: i32) -> ! {
    // SAFETY: the function has no conditions.
    unsafe { ExitProcess(code.cast_unsigned()) }
}

const CTRL_C_EVENT: u32 = 0;
const CTRL_BREAK_EVENT: u32 = 1;
const EXTENDED_LIMITS: i32 = 9;
const SILENT_BREAKAWAY_OK: u32 = 0x1000;
const KILL_ON_JOB_CLOSE: u32 = 0x2000;

/// `JOBOBJECT_EXTENDED_LIMIT_INFORMATION`.
#[repr(C)]
#[derive(Default)]
struct Limits {
    process_time: i64,
    job_time: i64,
    flags: u32,
    working_set: [usize; 2],
    processes: u32,
    affinity: usize,
    priority: u32,
    scheduling: u32,
    transfers: [u64; 6],
    memory: [usize; 4],
}

const BASIC_INFORMATION: i32 = 0;

/// `PROCESS_BASIC_INFORMATION`.
#[repr(C)]
#[derive(Default)]
struct Process {
    status: i32,
    block: usize,
    affinity: usize,
    priority: i32,
    id: usize,
    parent: usize,
}

#[link(name = "ntdll")]
unsafe extern "system" {
    fn NtQueryInformationProcess(
        process: *mut c_void,
        class: i32,
        information: *mut c_void,
        length: u32,
        returned: *mut u32,
    ) -> i32;
}

#[link(name = "kernel32")]
unsafe extern "system" {
    fn GetCommandLineW() -> *const u16;
    fn SetConsoleCtrlHandler(
        handler: Option<unsafe extern "system" fn(u32) -> i32>,
        add: i32,
    ) -> i32;
    fn CreateJobObjectW(attributes: *const c_void, name: *const u16) -> *mut c_void;
    fn SetInformationJobObject(
        job: *mut c_void,
        class: i32,
        limits: *const c_void,
        length: u32,
    ) -> i32;
    fn AssignProcessToJobObject(job: *mut c_void, process: *mut c_void) -> i32;
    fn ExitProcess(code: u32) -> !;
}

/// Says whether a text has a zero, which would end it early.
pub(crate) fn has_zero(text: &OsStr) -> bool {
    text.encode_wide().any(|unit| unit == 0)
}
