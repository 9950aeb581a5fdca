//! Homes, users, modes and processes as they come: whatever a run finds, it runs the tool or says
//! why not.

use std::ffi::OsStr;
use std::fs::{self, Permissions};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{PermissionsExt as _, chown, symlink};
use std::path::{Path, PathBuf};

use dbt_client::fsx;
use dbt_testkit::exits;
use dbt_testkit::invocation::{Invocation, READ_ONLY, Run, mounts_work};
use dbt_testkit::people::ALICE;
use dbt_testkit::world::World;

use crate::{is_root, pinned, published, world};

/// `deploy`, told by two variables what a configuration file would say.
fn without_file(world: &World) -> Invocation<'_> {
    let temporary = world.directory().join("tmp");
    fs::create_dir_all(&temporary).unwrap();
    world
        .invoke(["deploy"])
        .env("DBT_SERVER", world.server().url())
        .env("DBT_TRUST", ALICE.fingerprint().to_string())
        .env("TMPDIR", temporary)
}

fn runs(run: &Run) {
    run.prints("deploy 1.4.0\n").says_nothing();
}

#[test]
fn a_home_that_is_none_stops_no_tool() {
    let world = world();
    world.repository().publish("deploy", "1.4.0").now();
    let file = world.directory().join("file");
    fs::write(&file, "").unwrap();
    let homes: [&OsStr; 6] = [
        OsStr::new("/"),
        OsStr::new("/nonexistent/home"),
        OsStr::new("relative"),
        file.as_os_str(),
        OsStr::new("/dev/null"),
        OsStr::new("/proc"),
    ];
    for home in homes {
        println!("{}", home.display());
        runs(&without_file(&world).env("HOME", home).run());
    }
    let unset = ["env", "-u", "HOME", "DBT_HOME=/dev/null/dbt"];
    runs(&without_file(&world).through(&unset).run());
    runs(&without_file(&world).env("HOME", "").env("DBT_HOME", "/proc/dbt").run());
}

#[test]
fn a_home_of_any_name_is_a_home() {
    let long = ["x".repeat(200), "y".repeat(200), "z".repeat(200)].join("/");
    let names: [&[u8]; 5] =
        [b"with space", b"line\nend", b"\xff\xfe\x80", b"'; rm -rf \"$HOME\" #", long.as_bytes()];
    for name in names {
        let world = world();
        world.repository().publish("deploy", "1.4.0").now();
        let home = world.directory().join(OsStr::from_bytes(name));
        fs::create_dir_all(&home).unwrap();
        for _run in 0..2 {
            runs(&without_file(&world).env("HOME", &home).run());
        }
        assert!(home.join(".dbt/tools/sha256").is_dir(), "{}", home.display());
        let doctor = world.invoke(["doctor", "--json"]).env("HOME", &home).run();
        assert!(serde_json::from_str::<serde_json::Value>(&doctor.stdout()).is_ok(), "{doctor:?}");
    }
}

#[test]
fn files_get_their_modes_whatever_the_mask() {
    for mask in ["000", "022", "077", "277", "777"] {
        let world = published();
        let line = format!("umask {mask}; exec \"$@\"");
        let masked = ["sh", "-c", &line, "sh"];
        let run = world.invoke(["deploy"]).through(&masked).run();
        run.prints("deploy 1.4.0\n");
        world.dbt(["deploy"]).prints("deploy 1.4.0\n").says_nothing();
        for file in world.state_files().into_iter().chain(world.executables()) {
            let mode = fs::metadata(&file).unwrap().permissions().mode() & 0o777;
            assert_eq!(mode & 0o077, 0, "{mask}: {}", file.display());
        }
        assert_eq!(world.executables().len(), 1, "{mask}");
    }
}

#[test]
fn an_installed_file_that_others_could_change_is_fetched_again() {
    let world = published();
    world.dbt(["deploy"]).prints("deploy 1.4.0\n");
    let tool = world.executables()[0].clone();
    fs::set_permissions(&tool, Permissions::from_mode(0o777)).unwrap();
    fs::write(&tool, "#!/bin/sh\necho owned\n").unwrap();
    world.dbt(["deploy"]).prints("deploy 1.4.0\n");
    world.dbt(["deploy"]).prints("deploy 1.4.0\n").says_nothing();
    let mode = fs::metadata(&tool).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o500);
}

#[test]
fn directories_that_others_can_write_are_closed_or_refused() {
    let world = published();
    world.dbt(["deploy"]).prints("deploy 1.4.0\n");
    let tools = world.dbt_home().join("tools");
    for directory in [&tools, &tools.join("sha256"), &tools.join("staging")] {
        if directory.exists() {
            fs::set_permissions(directory, Permissions::from_mode(0o777)).unwrap();
        }
    }
    world.dbt(["deploy"]).prints("deploy 1.4.0\n").says_nothing();
    for directory in [tools.clone(), tools.join("sha256")] {
        let mode = fs::metadata(&directory).unwrap().permissions().mode() & 0o022;
        assert_eq!(mode, 0, "{}", directory.display());
    }
}

#[test]
fn a_linked_home_is_followed_and_a_linked_store_below_it_is_not() {
    let world = published();
    let elsewhere = world.directory().join("elsewhere");
    fsx::rename(&world.dbt_home(), &elsewhere).unwrap();
    symlink(&elsewhere, world.dbt_home()).unwrap();
    world.dbt(["deploy"]).prints("deploy 1.4.0\n").says_nothing();
    assert!(elsewhere.join("tools/sha256").is_dir());

    fsx::rename(&elsewhere.join("tools/sha256"), &world.directory().join("moved")).unwrap();
    symlink(world.directory().join("moved"), elsewhere.join("tools/sha256")).unwrap();
    let run = world.dbt(["deploy"]);
    run.exits_with(exits::CANNOT_EXECUTE).mentions("is not used: it is not a directory");
    assert_eq!(world.tools_started(), ["deploy 1.4.0"]);
}

/// Starts as a nameless user.
const STRANGER: [&str; 4] = ["setpriv", "--reuid=12345", "--regid=12345", "--clear-groups"];

#[test]
fn a_home_of_another_user_is_not_used() {
    if !is_root() {
        return;
    }
    let world = published();
    world.dbt(["deploy"]).prints("deploy 1.4.0\n");
    // The files of a user of root's, as `sudo` makes them: readable, and not his.
    fs::set_permissions(world.config_file(), Permissions::from_mode(0o644)).unwrap();
    let run = without_file(&world).through(&STRANGER).env("TMPDIR", "/nonexistent").run();
    run.prints("deploy 1.4.0\n");

    chown(world.dbt_home().join("tools"), Some(54321), None).unwrap();
    let run = without_file(&world).env("HOME", world.home()).run();
    run.prints("deploy 1.4.0\n");
}

#[test]
fn root_with_another_users_home_uses_its_own() {
    if !is_root() || !mounts_work() {
        return;
    }
    let world = world();
    world.repository().publish("deploy", "1.4.0").now();
    for name in ["Users", "home"] {
        let home = world.directory().join(name).join("alice");
        fs::create_dir_all(&home).unwrap();
        chown(&home, Some(501), None).unwrap();
        let roots = world.directory().join("root");
        fs::create_dir_all(&roots).unwrap();
        // In mounts of its own, so that this machine's root keeps his files.
        let run = without_file(&world).env("HOME", &home);
        let run = run.mounting("mount --bind \"$0\" /root", &roots).run();
        run.prints("deploy 1.4.0\n").says_nothing();
        assert_eq!(fs::read_dir(&home).unwrap().count(), 0, "nothing was written there");
        assert!(roots.join(".dbt/tools/sha256").is_dir());
    }
}

#[test]
fn a_shared_read_only_store_serves_a_nameless_user_who_can_write_nowhere() {
    if !is_root() || !mounts_work() {
        return;
    }
    let world = published();
    let store = world.directory().join("store");
    world.invoke(["fetch", "deploy"]).env("DBT_CACHE_DIR", &store).run().exits_with(0);
    // As a package or an image brings it.
    open_to_all(&store);
    let line = "mount --bind \"$0\" \"$0\" && mount -o remount,bind,ro \"$0\"";
    world.server().take_requests();
    for _run in 0..2 {
        let run = without_file(&world)
            .env("HOME", "/")
            .env("TMPDIR", "/nonexistent")
            .env("DBT_STORE_PATH", &store)
            .through_mounts(line, &store, &STRANGER)
            .run();
        runs(&run);
    }
    let lines = world.server().take_lines();
    assert!(!lines.iter().any(|line| line.ends_with("/deploy")), "{lines:?}");
    // The same, changed by whoever made the image: it is fetched instead.
    let tool = files(&store).into_iter().find(|file| file.ends_with("deploy")).unwrap();
    fs::set_permissions(&tool, Permissions::from_mode(0o755)).unwrap();
    fs::write(&tool, "#!/bin/sh\necho owned\n").unwrap();
    let run = without_file(&world)
        .env("HOME", "/")
        .env("TMPDIR", "/nonexistent")
        .env("DBT_STORE_PATH", &store)
        .through_mounts(line, &store, &STRANGER)
        .run();
    run.prints("deploy 1.4.0\n");
}

fn open_to_all(directory: &Path) {
    fs::set_permissions(directory, Permissions::from_mode(0o755)).unwrap();
    for path in files(directory) {
        fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
    }
}

/// Lists everything below a directory.
fn files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        }
        found.push(path);
    }
    found
}

#[test]
fn a_process_is_taken_as_it_was_started() {
    let world = published();
    let surroundings = [
        "exec <&- && exec \"$@\"",
        "exec 2>&- && exec \"$@\"",
        "exec <&- 2>&- && exec \"$@\"",
        "mkdir gone && cd gone && rmdir ../gone && exec \"$@\"",
        "ulimit -n 24 && exec \"$@\"",
        "ulimit -s 256 && exec \"$@\"",
        "PATH= && exec \"$@\"",
        "unset PATH && exec \"$@\"",
    ];
    for line in surroundings {
        let run = world.invoke(["deploy"]).through(&["/bin/sh", "-c", line, "sh"]).run();
        assert_eq!(run.stdout(), "deploy 1.4.0\n", "{line}: {run:?}");
    }
    let nobody_hears = ["sh", "-c", "exec >&- && exec \"$@\"", "sh"];
    let before = world.tools_started().len();
    drop(world.invoke(["deploy"]).through(&nobody_hears).run());
    assert_eq!(world.tools_started().len(), before + 1);
}

#[test]
fn descriptors_that_were_closed_are_not_given_to_files_of_ours() {
    let world = published();
    // What the tool writes to its closed stdout must not land in a file that we have opened.
    world
        .repository()
        .publish("leak", "1.0.0")
        .script("echo leaked; echo leaked >&2\nls -l /proc/self/fd > \"$1\"")
        .now();
    let list = world.directory().join("list");
    let line = "exec <&- >&- 2>&- && exec \"$@\"";
    for _run in 0..2 {
        drop(
            world
                .invoke([OsStr::new("leak"), list.as_os_str()])
                .through(&["sh", "-c", line, "sh"])
                .run(),
        );
        let open = fs::read_to_string(&list).unwrap();
        assert!(!open.contains(".dbt/state") && !open.contains("lock"), "{open}");
        for file in world.state_files() {
            assert!(!String::from_utf8_lossy(&fs::read(&file).unwrap()).contains("leaked"));
        }
    }
}

#[test]
fn a_limit_on_the_size_of_files_is_said_and_leaves_nothing_half_written() {
    let world = pinned();
    let mut big = b"#!/bin/sh\necho big\nexit 0\n".to_vec();
    big.resize(1 << 20, b'#');
    world.repository().publish("big", "1.0.0").content(big).now();
    let limited = ["sh", "-c", "ulimit -f 200 && exec \"$@\"", "sh"];
    let run = world.invoke(["big"]).through(&limited).run();
    run.exits_with(exits::INTERNAL).mentions("a file as large as the download of 1048576 bytes");
    run.mentions("hint: `ulimit -f unlimited`");
    world.nothing_happened();
    world.dbt(["big"]).prints("big\n");
}

#[test]
fn any_way_of_naming_the_program_starts_it() {
    let world = published();
    let program = world.program();
    let link = world.directory().join("other-name");
    symlink(&program, &link).unwrap();
    let relative = ["sh", "-c", "cd b && shift && exec ./dbt \"$@\"", "sh"];
    world.invoke(["deploy"]).through(&relative).run().prints("deploy 1.4.0\n");
    let by_path = ["sh", "-c", "shift && PATH=b:$PATH exec dbt \"$@\"", "sh"];
    world.invoke(["deploy"]).through(&by_path).run().prints("deploy 1.4.0\n");
    let named = world.directory().join("deploy");
    symlink(&program, &named).unwrap();
    world.invoke(["x y"]).program(&named).run().prints("deploy 1.4.0\n[x y]\n");
}

#[test]
fn a_machine_without_proc_runs_tools() {
    if !mounts_work() {
        return;
    }
    let line = "mount -t tmpfs none /proc";
    let world = published();
    for _run in 0..2 {
        let run = world.invoke(["deploy"]).mounting(line, Path::new("/")).run();
        run.prints("deploy 1.4.0\n").says_nothing();
    }
    assert_eq!(world.executables().len(), 1);
    // A script cannot run from memory there: its interpreter opens it by way of `/proc`.
    let run = world.invoke(["--sealed", "deploy"]).mounting(line, Path::new("/")).run();
    assert_eq!(run.stdout(), "");
    run.exits_with(exits::CANNOT_EXECUTE).mentions("/proc");
}

#[test]
fn a_read_only_root_with_nothing_but_memory_runs_tools() {
    if !mounts_work() {
        return;
    }
    let world = world();
    world.repository().publish("deploy", "1.4.0").now();
    let home = world.home();
    let run = without_file(&world).env("TMPDIR", world.home()).mounting(READ_ONLY, &home).run();
    runs(&run);
    assert!(world.executables().is_empty());
}

#[test]
fn a_clock_that_cannot_be_right_is_named_where_it_matters_and_stops_nothing_that_is_here() {
    let world = published();
    let early = crate::other_time(&world, 1000);
    let run = world.invoke(["deploy"]).env("LD_PRELOAD", &early).run();
    run.exits_with(exits::VERIFICATION_REFUSED);
    run.mentions("the clock of this machine shows").mentions("which cannot be: set it");
    world.nothing_happened();
    // What counts seconds since 1970 in 32 bits ends in 2038; signatures have until 2106.
    let late = crate::other_time(&world, 3_000_000_000);
    for _run in 0..2 {
        world.invoke(["deploy"]).env("LD_PRELOAD", &late).run().prints("deploy 1.4.0\n");
    }
    world.dbt(["deploy"]).prints("deploy 1.4.0\n");
}

#[test]
fn a_cached_tool_runs_from_a_disk_that_has_filled_up() {
    if !mounts_work() {
        return;
    }
    let world = published();
    let disk = world.directory().join("disk");
    fs::create_dir(&disk).unwrap();
    let fills = [
        "size=4m|cat /dev/zero > \"$0/filled\"",
        "nr_inodes=60|i=0; while : > \"$0/f$i\"; do i=$((i+1)); done",
    ];
    for fill in fills {
        let (options, fill) = fill.split_once('|').unwrap();
        let line = format!(
            "mount -t tmpfs -o {options} none \"$0\" && \"$@\" && {{ ({fill}) 2>/dev/null; true; }}"
        );
        let run = world
            .invoke(["deploy"])
            .mounting(&line, &disk)
            .env("DBT_HOME", disk.join("dbt"))
            .env("DBT_CONFIG", world.config_file())
            .run();
        assert_eq!(run.stdout(), "deploy 1.4.0\ndeploy 1.4.0\n", "{options}: {}", run.stderr());
    }
}

#[test]
fn a_disk_without_room_for_another_file_is_named() {
    if !mounts_work() {
        return;
    }
    let world = published();
    let disk = world.directory().join("disk");
    fs::create_dir(&disk).unwrap();
    let line = "mount -t tmpfs -o nr_inodes=10 none \"$0\" && mkdir -m 700 \"$0/store\" && \
                { (i=0; while : > \"$0/f$i\"; do i=$((i+1)); done) 2>/dev/null; true; }";
    let run = world
        .invoke(["deploy"])
        .mounting(line, &disk)
        .env("DBT_CACHE_DIR", disk.join("store"))
        .run();
    run.exits_with(exits::CANNOT_EXECUTE).mentions("No space left").mentions("disk/store");
    assert_eq!(run.stdout(), "");
}
