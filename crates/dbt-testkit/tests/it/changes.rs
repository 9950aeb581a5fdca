//! A program to which something is done at one of the calls by which it changes files.

use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Command, Output};

use dbt_testkit::changes::{Begins, Changes, Counted, Disturbance, Fault, Lasts, Report};
use tempfile::TempDir;

/// Changes files in two threads, one after the other, and says what came of it. The directory that is
/// made first and what is written to a pipe are not counted.
const PROGRAM: &str = r#"
import errno, os, signal, threading
os.mkdir("before")
os.kill(os.getppid(), signal.SIGUSR1)
def tried(name, call):
    try: call()
    except OSError as error: print(name, errno.errorcode[error.errno], flush=True)
    else: print(name, "well", flush=True)
def change(name):
    tried("mkdir", lambda: os.mkdir(name))
    tried("open", lambda: os.close(os.open(name + "/file", os.O_WRONLY | os.O_CREAT)))
    tried("look", lambda: os.close(os.open(name, os.O_RDONLY)))
for name in ["one", "two"]:
    thread = threading.Thread(target=change, args=[name])
    thread.start()
    thread.join()
"#;

fn run(counted: Counted, number: usize, fault: Fault, lasts: Lasts) -> (Output, Report) {
    let disturbance = Disturbance { counted, number, fault, lasts };
    let (directory, output, report) =
        run_at_place(disturbance, Begins::AtSignal, &["python3", "-S", "-c", PROGRAM], |_place| {});
    assert!(directory.path().join("place/before").exists(), "{output:?}");
    (output, report)
}

/// Runs something in a directory that is prepared and whose changes are counted.
fn run_at_place(
    disturbance: Disturbance,
    begins: Begins,
    what: &[&str],
    prepare: impl Fn(&Path),
) -> (TempDir, Output, Report) {
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path().join("place");
    std::fs::create_dir(&place).unwrap();
    prepare(&place);
    let report = directory.path().join("report");
    let words = Changes::compiled(directory.path()).words(disturbance, begins, &place, &report);
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]).args(what).current_dir(&place);
    let output = command.output().unwrap();
    (directory, output, Report::read(&report))
}

fn printed(output: &Output) -> Vec<&str> {
    str::from_utf8(&output.stdout).unwrap().lines().collect()
}

#[test]
fn changes_of_all_threads_are_counted_together() {
    let (output, report) = run(Counted::Changes, 0, Fault::Kill, Lasts::Once);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_eq!(printed(&output), ["mkdir well", "open well", "look well"].repeat(2));
    assert_eq!((report.count, report.was_disturbed()), (4, false));
}

#[test]
fn one_change_fails_and_is_not_made() {
    let (output, report) = run(Counted::Changes, 4, Fault::Error("ENOSPC"), Lasts::Once);
    let expected =
        ["mkdir well", "open well", "look well", "mkdir well", "open ENOSPC", "look well"];
    assert_eq!(printed(&output), expected, "{output:?}");
    assert_eq!((report.count, report.done), (4, vec!["4 openat two/file".to_owned()]));
}

#[test]
fn every_change_from_one_on_fails() {
    let (output, report) = run(Counted::Changes, 2, Fault::Error("EROFS"), Lasts::ForEver);
    let expected = ["mkdir well", "open EROFS", "look well", "mkdir EROFS", "open EROFS"];
    assert_eq!(printed(&output)[..5], expected, "{output:?}");
    assert_eq!((report.count, report.done.len()), (4, 3));
}

#[test]
fn a_program_is_ended_before_one_change() {
    let (output, report) = run(Counted::Changes, 3, Fault::Kill, Lasts::Once);
    assert_eq!(output.status.signal(), Some(9), "{output:?}");
    assert_eq!(printed(&output), ["mkdir well", "open well", "look well"]);
    assert_eq!(report.done.len(), 1, "{report:?}");
    assert!(report.done[0].starts_with("3 mkdir"), "{report:?}");
}

#[test]
fn opening_to_read_fails_by_itself() {
    let (output, report) = run(Counted::Looks, 1, Fault::Error("EIO"), Lasts::ForEver);
    let expected = ["mkdir well", "open well", "look EIO"].repeat(2);
    assert_eq!(printed(&output), expected, "{output:?}");
    assert_eq!((report.count, report.done.len()), (2, 2));
}

/// Four files are made: by a shell that lies at the place, by another that it starts, by a process that it
/// forks, and by the other that it becomes.
const SHELLS: &str = ": > one; /bin/sh -c ': > two'; (: > three; :); exec /bin/sh -c ': > four'";

fn run_shells(number: usize, fault: Fault) -> (TempDir, Output, Report) {
    let (counted, lasts) = (Counted::Changes, Lasts::ForEver);
    let disturbance = Disturbance { counted, number, fault, lasts };
    run_at_place(disturbance, Begins::AtProgram, &["./shell", "-c", SHELLS], |place| {
        std::fs::copy("/bin/sh", place.join("shell")).unwrap();
    })
}

#[test]
fn what_a_program_starts_or_becomes_is_counted_only_if_it_lies_at_the_place() {
    let (directory, output, report) = run_shells(0, Fault::Kill);
    assert!(output.status.success() && directory.path().join("place/four").exists(), "{output:?}");
    assert_eq!(report.counted, ["openat one", "openat three"]);
    assert_eq!((report.count, report.was_disturbed()), (2, false));
}

#[test]
fn what_other_programs_do_does_not_fail() {
    let (directory, output, report) = run_shells(2, Fault::Error("ENOSPC"));
    assert!(output.status.success(), "{output:?}");
    let is_there = |name: &str| directory.path().join("place").join(name).exists();
    assert_eq!(["one", "two", "three", "four"].map(is_there), [true, true, false, true]);
    assert_eq!(report.done, ["2 openat three"]);
}

#[test]
fn a_program_is_ended_before_what_its_child_does() {
    let (directory, output, report) = run_shells(2, Fault::Kill);
    assert_eq!(output.status.signal(), Some(9), "{output:?}");
    let is_there = |name: &str| directory.path().join("place").join(name).exists();
    assert_eq!(["one", "two", "three", "four"].map(is_there), [true, true, false, false]);
    assert_eq!(report.done, ["2 openat three"]);
}
