//! Exchanging the file between its verification and its start.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::store_world::{World, refused, said, script};

/// Starts a run, does something to the installed file once it is verified, and lets the run
/// go on.
fn run_exchanged(world: &World, command: &str, exchange: impl FnOnce(&Path)) -> Output {
    let path = world.install("tool");
    let mut run = world.probe(command, "tool");
    let run = run.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut run = run.spawn().unwrap();
    let mut stdout = BufReader::new(run.stdout.take().unwrap());
    let mut line = String::new();
    stdout.read_line(&mut line).unwrap();
    assert_eq!(line, "ready\n");
    exchange(&path);
    run.stdin.take().unwrap().write_all(b"go on\n").unwrap();
    let mut output = run.wait_with_output().unwrap();
    std::io::Read::read_to_end(&mut stdout, &mut output.stdout).unwrap();
    output
}

fn executable(path: &Path, content: &str) {
    fs::write(path, content).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o500)).unwrap();
}

fn rename(from: &Path, to: &Path) {
    dbt_client::fsx::rename(from, to).unwrap();
}

fn by_renaming(path: &Path) {
    let evil = path.with_file_name("evil");
    executable(&evil, &script("evil"));
    rename(&evil, path);
}

fn by_writing(path: &Path) {
    fs::set_permissions(path, fs::Permissions::from_mode(0o700)).unwrap();
    // The length and the time of the last change stay what they were; the kernel's own time of
    // change cannot be set.
    let modified = fs::metadata(path).unwrap().modified().unwrap();
    let file = fs::OpenOptions::new().write(true).open(path).unwrap();
    (&file).write_all(script("evil").as_bytes()).unwrap();
    file.set_modified(modified).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o500)).unwrap();
}

fn by_linking(path: &Path) {
    let evil = path.with_file_name("evil");
    executable(&evil, &script("evil"));
    fs::remove_file(path).unwrap();
    std::os::unix::fs::symlink(&evil, path).unwrap();
}

fn by_another_directory(path: &Path) {
    let directory = path.parent().unwrap();
    rename(directory, &directory.with_extension("aside"));
    fs::create_dir(directory).unwrap();
    executable(path, &script("evil"));
}

#[test]
fn what_is_exchanged_before_the_last_look_is_not_started() {
    for exchange in [by_renaming, by_writing, by_linking, by_another_directory] {
        let world = World::new();
        world.publish_word("tool", "good");
        let (code, words) = refused(&run_exchanged(&world, "pause", exchange));
        assert_eq!(code, 126, "{words}");
        assert!(words.contains("was changed or replaced while it was being verified"), "{words}");
        // The next run repairs it.
        assert_eq!(said(&world.probe("run", "tool").output().unwrap()), "good\n");
    }
}

#[test]
fn a_sealed_tool_is_the_verified_one_whatever_happens_to_its_file() {
    for exchange in [by_renaming, by_linking, by_another_directory] {
        let world = World::new();
        world.publish_word("tool", "good");
        assert_eq!(said(&run_exchanged(&world, "pause-sealed", exchange)), "good\n");
    }
    let world = World::new();
    world.publish_word("tool", "good");
    let (code, words) = refused(&run_exchanged(&world, "pause-sealed", by_writing));
    assert_eq!(code, 126, "{words}");
}

#[test]
fn a_sealed_tool_wins_every_race() {
    let world = World::new();
    world.publish_word("tool", "good");
    let path = world.install("tool");
    let good = path.with_file_name("good");
    executable(&good, &script("good"));
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                let evil = path.with_file_name("evil");
                let _any = fs::write(&evil, script("evil"));
                let _any = fs::set_permissions(&evil, fs::Permissions::from_mode(0o500));
                let _any = dbt_client::fsx::rename(&evil, &path);
                std::thread::sleep(Duration::from_micros(300));
            }
        });
        for round in 0..40 {
            let output = world.probe("run-sealed", "tool").output().unwrap();
            let text = String::from_utf8(output.stdout).unwrap();
            assert!(["", "good\n"].contains(&text.as_str()), "round {round}: {text}");
        }
        stop.store(true, Ordering::Relaxed);
    });
}
