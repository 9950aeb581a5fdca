//! Trying a candidate before it is switched to: it is started once and asked who it is.

use std::io::Read as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use dbt_core::brand;
use dbt_core::digest::Digest;
use dbt_core::version::Version;
use dbt_sys::cause::Cause;

use super::SelfUpdateError;
use crate::fsx;

/// What a candidate must answer when it is asked for `--self-test`, as one line of JSON.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct SelfReport {
    /// The brand's program name.
    pub program: String,
    /// The version it was built as.
    pub version: String,
    /// The digest of its own file, which it was told to expect.
    pub sha256: Digest,
}

/// How long a candidate may take to report.
const SELF_TEST_PATIENCE: Duration = Duration::from_secs(10);

/// How many times a busy file is tried again: another process may hold a descriptor it inherited
/// while the candidate was written.
const BUSY_TRIES: u32 = 20;

/// The first major version that can be asked for `--self-test`; those before are of the Go
/// implementation.
const FIRST_WITH_SELF_TEST: u64 = 4;

/// Where the Go implementation keeps its truststore, below `~/.dbt`.
pub const TRUST_OF_OLDER: &str = "trust";

/// Asks a candidate who it is. One that exits with a failure, hangs, or names another version or
/// brand than it was built as is not switched to.
pub(super) fn passes(
    candidate: &Path,
    built_as: &Version,
    sha256: Digest,
) -> Result<(), SelfUpdateError> {
    if built_as.major() < FIRST_WITH_SELF_TEST {
        return says_its_version(candidate, built_as);
    }
    let digest = sha256.to_string();
    let mut child = start(candidate, &["--self-test", "--expect-sha256", &digest])?;
    let output = finished(&mut child)?;
    let report: SelfReport = serde_json::from_slice(&output).map_err(|_error| mute())?;
    let reported: Option<Version> = report.version.parse().ok();
    if report.program != brand::PROGRAM {
        let program = report.program.escape_debug().to_string();
        return Err(SelfUpdateError::SelfTest(format!("it says that it is `{program}`")));
    }
    if !reported.is_some_and(|reported| reported.same_number(built_as)) {
        return Err(other_version(&report.version));
    }
    if report.sha256 != sha256 {
        let words = "it says that it is another file than the one that was verified";
        return Err(SelfUpdateError::SelfTest(words.to_owned()));
    }
    Ok(())
}

/// Asks a program of the Go implementation, which knows `--version` alone. (Wire formats, 6.1.)
fn says_its_version(candidate: &Path, built_as: &Version) -> Result<(), SelfUpdateError> {
    let mut child = start(candidate, &["--version"])?;
    let output = String::from_utf8_lossy(&finished(&mut child)?).into_owned();
    let before = format!("{} version ", brand::PROGRAM);
    let reported = output.trim().strip_prefix(&before).ok_or_else(mute)?;
    let is_right = reported.parse::<Version>().is_ok_and(|it| it.same_number(built_as));
    if is_right { Ok(()) } else { Err(other_version(reported)) }
}

/// Makes what a program of the Go implementation expects to be there, and never makes: without it
/// its runs end before they begin. (Wire formats, 5.2.)
pub(super) fn make_room_for(built_as: &Version, home: &Path) {
    if built_as.major() < FIRST_WITH_SELF_TEST {
        // It says so itself where that cannot be.
        let _best_effort = fsx::create_dir_all(&home.join(TRUST_OF_OLDER), 0o700);
    }
}

fn mute() -> SelfUpdateError {
    SelfUpdateError::SelfTest("it did not report who it is".to_owned())
}

fn other_version(reported: &str) -> SelfUpdateError {
    let reported = reported.escape_debug();
    SelfUpdateError::SelfTest(format!("it says that it is version `{reported}`"))
}

fn start(candidate: &Path, words: &[&str]) -> Result<Child, SelfUpdateError> {
    let mut command = Command::new(candidate);
    command
        .args(words)
        .env_clear()
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    let mut tries = 0;
    loop {
        match command.spawn() {
            Ok(child) => return Ok(child),
            Err(error) if dbt_sys::exec::is_busy(&error) && tries < BUSY_TRIES => {
                tries += 1;
                std::thread::sleep(Duration::from_millis(5 * u64::from(tries)));
            }
            Err(source) if is_shortage(&source) => {
                return Err(SelfUpdateError::Trial { path: candidate.to_owned(), source });
            }
            Err(error) => {
                return Err(SelfUpdateError::SelfTest(format!("it cannot be started: {error}")));
            }
        }
    }
}

/// Says whether this machine has nothing left to start any program with.
fn is_shortage(error: &std::io::Error) -> bool {
    matches!(Cause::of(error), Cause::Shortage | Cause::Full)
}

/// Waits for the report, for so long and no longer. What the candidate leaves running is not waited
/// for, and ended where it has not gone out of its way to live on.
fn finished(child: &mut Child) -> Result<Vec<u8>, SelfUpdateError> {
    let began = Instant::now();
    let failed = |error: std::io::Error| SelfUpdateError::SelfTest(error.to_string());
    while !has_ended(child).map_err(failed)? {
        if began.elapsed() >= SELF_TEST_PATIENCE {
            end_group(child);
            // It is ours and has no use any more; whether it is already gone does not matter.
            let _gone = child.kill().and_then(|()| child.wait());
            return Err(SelfUpdateError::SelfTest(
                "it did not finish within 10 seconds".to_owned(),
            ));
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    end_group(child);
    let status = child.wait().map_err(failed)?;
    if !status.success() {
        return Err(SelfUpdateError::SelfTest(format!("it ended with {status}")));
    }
    let mut output = Vec::new();
    if let Some(stdout) = child.stdout.take() {
        // It has written what it had to say; the end of the pipe may be held by others.
        #[cfg(unix)]
        rustix::fs::fcntl_setfl(&stdout, rustix::fs::OFlags::NONBLOCK)
            .map_err(|error| failed(error.into()))?;
        match stdout.take(4096).read_to_end(&mut output) {
            Err(error) if error.kind() != std::io::ErrorKind::WouldBlock => {
                return Err(failed(error));
            }
            Ok(_) | Err(_) => {}
        }
    }
    Ok(output)
}

/// Says whether a child has ended. It stays one: its number is nobody else's until it is waited for.
#[cfg(unix)]
fn has_ended(child: &mut Child) -> std::io::Result<bool> {
    use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    Ok(waitid(WaitId::Pid(Pid::from_child(child)), options)?.is_some())
}

#[cfg(not(unix))]
fn has_ended(child: &mut Child) -> std::io::Result<bool> {
    Ok(child.try_wait()?.is_some())
}

/// Ends what a child that leads a group of processes has started.
fn end_group(child: &Child) {
    #[cfg(unix)]
    {
        use rustix::process::{Pid, Signal, kill_process_group};
        let _gone = kill_process_group(Pid::from_child(child), Signal::KILL);
    }
    #[cfg(not(unix))]
    let _nothing = child;
}
