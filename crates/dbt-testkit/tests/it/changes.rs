//! A program to which something is done at one of the calls by which it changes files.

use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Command, Output};

use dbt_testkit::changes::{Changes, Counted, Disturbance, Lasts, Report};
use dbt_testkit::faults::Fault;

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
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path().join("place");
    std::fs::create_dir(&place).unwrap();
    let report = directory.path().join("report");
    let disturbance = Disturbance { counted, number, fault, lasts };
    let words = Changes::compiled(directory.path()).words(disturbance, &place, &report);
    let output = Command::new(&words[0])
        .args(&words[1..])
        .args(["python3", "-S", "-c", PROGRAM])
        .current_dir(&place)
        .output()
        .unwrap();
    assert!(Path::new(&place).join("before").exists(), "{output:?}");
    (output, Report::read(&report))
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
    assert_eq!((report.count, report.done), (4, vec!["4 openat".to_owned()]));
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
