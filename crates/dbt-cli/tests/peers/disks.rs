//! File systems that cannot do everything: what they answer is put into the answers of this one.

use std::fs;

use dbt_testkit::exits;
use dbt_testkit::invocation::{Run, mounts_work};
use dbt_testkit::people::ALICE;
use dbt_testkit::world::World;

/// A world in which one version was run, and a newer one is published.
fn world() -> World {
    let world = World::new(env!("CARGO_BIN_EXE_dbt"));
    world.pin(&[&ALICE]);
    world.repository().publish("deploy", "1.4.0").now();
    world.dbt(["deploy"]).prints("deploy 1.4.0\n");
    world.repository().publish("deploy", "1.5.0").now();
    world
}

/// Runs `deploy` where each of these calls is answered so.
fn deploy(world: &World, more: &[&str], answers: &[(&str, &str)]) -> Run {
    let mut words = vec!["strace", "-f", "-qq", "-o", "/dev/null"];
    let calls: Vec<&str> = answers.iter().map(|(calls, _answer)| *calls).collect();
    let trace = format!("trace={}", calls.join(","));
    let injected: Vec<String> =
        answers.iter().map(|(calls, answer)| format!("inject={calls}:{answer}")).collect();
    words.extend(["-e", &trace]);
    for inject in &injected {
        words.extend(["-e", inject]);
    }
    words.extend(more);
    world.invoke(["deploy"]).through(&words).run()
}

/// Expects that the newer version was installed, once, and that nothing is left beside it.
fn is_installed(world: &World, run: &Run, what: &str) {
    assert_eq!(run.stdout(), "deploy 1.5.0\n", "{what}: {}", run.stderr());
    assert_eq!(world.executables().len(), 2, "{what}");
    let staging = world.dbt_home().join("tools/staging");
    let left = fs::read_dir(staging).into_iter().flatten().count();
    assert_eq!(left, 0, "{what}: staging files");
    world.dbt(["deploy"]).prints("deploy 1.5.0\n").says_nothing();
    world.dbt(["-o", "deploy"]).prints("deploy 1.5.0\n").says_nothing();
}

#[test]
fn what_a_file_system_cannot_do_stops_no_tool() {
    let answers = [
        ("flock", "error=ENOLCK"),
        ("flock", "error=EOPNOTSUPP"),
        ("flock", "error=EINVAL"),
        ("fsync,fdatasync", "error=EINVAL"),
        ("fsync,fdatasync", "error=EOPNOTSUPP"),
        ("linkat", "error=EPERM"),
        ("linkat", "error=EXDEV"),
        ("linkat", "error=EMLINK"),
        ("linkat", "error=EOPNOTSUPP"),
        ("utimensat", "error=EPERM"),
        ("memfd_create", "error=EACCES"),
        ("memfd_create", "error=ENOSYS"),
        ("statx", "error=ENOSYS"),
        ("fallocate", "error=EOPNOTSUPP"),
        ("fallocate", "error=EFBIG"),
        ("fallocate,fstatfs,statfs", "error=ENOSYS"),
    ];
    for (call, answer) in answers {
        let world = world();
        let run = deploy(&world, &[], &[(call, answer)]);
        is_installed(&world, &run, &format!("{call} {answer}"));
    }
}

#[test]
fn a_file_system_without_files_without_names_installs_all_the_same() {
    for error in ["EOPNOTSUPP", "EISDIR", "EINVAL", "ENOENT"] {
        let more: [&[(&str, &str)]; 3] = [
            &[],
            &[("renameat2", "error=EINVAL")],
            &[("renameat2", "error=EINVAL"), ("linkat", "error=EPERM")],
        ];
        for more in more {
            let world = world();
            // Only the first that is opened in this directory is one without a name.
            let staging = world.dbt_home().join("tools/staging");
            fs::create_dir_all(&staging).unwrap();
            let first = format!("error={error}:when=1");
            let mut answers = vec![("openat", first.as_str())];
            answers.extend(more);
            let paths = ["-P", staging.to_str().unwrap()];
            let run = deploy(&world, &paths, &answers);
            is_installed(&world, &run, &format!("{error} {more:?}"));
        }
    }
}

/// Expects that the newer version was not installed, that the place and the reason were named, and
/// that the older one ran.
fn is_not_installed(world: &World, run: &Run, place: &str, reason: &str) {
    run.prints("deploy 1.4.0\n").mentions("warning: nothing newer can be installed");
    run.mentions(place).mentions(reason).mentions("running `deploy` 1.4.0 from the cache");
    assert_eq!(world.executables().len(), 1, "{reason}");
    world.dbt(["-o", "deploy"]).prints("deploy 1.4.0\n");
}

/// Expects that nothing ran or can be run, in words with a way out.
fn is_refused(world: &World, run: &Run, code: i32, reason: &str) {
    run.exits_with(code).mentions(reason).mentions("set DBT_CACHE_DIR to");
    assert_eq!(run.stdout(), "", "{reason}");
    assert_eq!(world.executables().len(), 0, "{reason}");
}

#[test]
fn a_file_system_without_modes_is_named_and_gets_nothing_newer() {
    let world = world();
    let answers = [("fchmod", "error=EPERM")];
    let run = deploy(&world, &[], &answers);
    is_not_installed(&world, &run, "/.dbt/tools`", "Operation not permitted");
    fs::remove_dir_all(world.dbt_home().join("tools")).unwrap();
    let run = deploy(&world, &[], &answers);
    is_refused(&world, &run, exits::CANNOT_EXECUTE, "Operation not permitted");
}

#[test]
fn a_quota_is_named_with_the_place_and_leaves_nothing_half_written() {
    for (error, reason) in [("EDQUOT", "quota exceeded"), ("ENOSPC", "No space left")] {
        let world = world();
        let staging = world.dbt_home().join("tools/staging");
        fs::create_dir_all(&staging).unwrap();
        let paths = ["-P", staging.to_str().unwrap()];
        let answer = format!("error={error}");
        let run = deploy(&world, &paths, &[("openat", &answer)]);
        is_not_installed(&world, &run, "tools/staging", reason);
        world.dbt(["deploy"]).prints("deploy 1.5.0\n");
    }
    // The file is there, and its room is not.
    for error in ["EDQUOT", "ENOSPC"] {
        let world = world();
        let answer = format!("error={error}");
        let run = deploy(&world, &[], &[("fallocate", &answer)]);
        is_not_installed(&world, &run, "tools/staging", "there is no space left");
        run.mentions("for the download of");
        world.dbt(["deploy"]).prints("deploy 1.5.0\n");
    }
}

#[test]
fn a_store_that_forbids_executing_where_memory_does_too_is_named() {
    if !mounts_work() {
        return;
    }
    let world = world();
    let store = world.directory().join("store");
    fs::create_dir(&store).unwrap();
    let line = "mount -t tmpfs -o noexec none \"$0\"";
    let inject = "inject=memfd_create:error=EACCES";
    let strace = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", inject];
    let run = world.invoke(["deploy"]).through_mounts(line, &store, &strace);
    let run = run.env("DBT_CACHE_DIR", &store).run();
    run.exits_with(exits::CANNOT_EXECUTE).mentions("forbids executing (it is mounted `noexec`)");
    run.mentions("hint: set DBT_CACHE_DIR to a directory on another file system");
    assert_eq!(run.stdout(), "");
}

/// Returns the ids of what `doctor` finds wrong where these calls are answered so.
fn found(world: &World, answers: &[&str]) -> Vec<String> {
    let mut words = vec!["strace", "-f", "-qq", "-o", "/dev/null"];
    let injected: Vec<String> = answers.iter().map(|answer| format!("inject={answer}")).collect();
    for inject in &injected {
        words.extend(["-e", inject]);
    }
    let run = world.invoke(["doctor", "--json"]).through(&words).run();
    let rows: Vec<serde_json::Value> = serde_json::from_str(&run.stdout()).unwrap();
    let wrong: Vec<_> = rows.iter().filter(|row| row["severity"] != "ok").collect();
    // For a person the same is said in lines.
    let said = world.invoke(["doctor"]).through(&words).run().stdout();
    let text = |row: &serde_json::Value, key: &str| row[key].as_str().unwrap().to_owned();
    for row in &wrong {
        let line = format!("{:<8} {}:", text(row, "severity"), text(row, "id"));
        let fix = format!("fix: {}", text(row, "fix"));
        assert!(said.contains(&line) && said.contains(&fix), "{line} {fix}\n{said}");
    }
    let ids = wrong.iter().map(|row| text(row, "id"));
    ids.filter(|id| id != "program-not-on-path").collect()
}

#[test]
fn doctor_names_what_a_machine_cannot_do() {
    let world = world();
    assert_eq!(found(&world, &["flock:error=ENOLCK"]), ["store-without-locks"]);
    assert_eq!(found(&world, &["memfd_create:error=EACCES"]), [""; 0]);
    fs::remove_dir_all(world.dbt_home()).unwrap();
    fs::write(world.dbt_home(), "").unwrap();
    let ids = found(&world, &["memfd_create:error=EACCES", "mkdirat,mkdir:error=EROFS"]);
    assert!(ids.contains(&"store-no-execution".to_owned()), "{ids:?}");
}
