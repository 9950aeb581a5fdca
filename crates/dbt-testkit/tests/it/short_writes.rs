//! Writes that take fewer bytes: only those that can still take one, unless none is wanted.

use dbt_testkit::invocation::Run;
use dbt_testkit::short_writes::{Report, ShortWrites, Takes, Which};
use dbt_testkit::world::World;

/// Runs a line of shell, one of whose writes is short, or every one.
fn shell(world: &World, line: &str, which: Which, takes: Takes) -> (Run, Report) {
    let run = world.invoke(["-c", line]).program("/bin/sh");
    ShortWrites::compiled(world).run(run, which, takes)
}

#[test]
fn a_write_that_would_take_nothing_is_left_alone_unless_that_is_wanted() {
    let world = World::new("/bin/sh");
    let one = "printf a > \"$HOME/file\"; cat \"$HOME/file\"";
    for (which, takes, is_short) in [
        (Which::Only(1), Takes::One, false),
        (Which::Only(1), Takes::Half, false),
        (Which::Only(1), Takes::Most, false),
        (Which::Every, Takes::Half, false),
        (Which::Only(1), Takes::Nothing, true),
    ] {
        let (run, report) = shell(&world, one, which, takes);
        assert_eq!(run.code(), Some(0), "{which:?} {takes:?}: {run:?}");
        assert_eq!(report.short.len(), usize::from(is_short), "{which:?} {takes:?}: {report:?}");
        if !is_short {
            assert_eq!((report.count, run.stdout()), (1, "a".to_owned()), "{which:?} {takes:?}");
        }
    }
}

#[test]
fn each_way_leaves_what_it_says() {
    let world = World::new("/bin/sh");
    let four = "printf abcd > \"$HOME/file\"; cat \"$HOME/file\"";
    for (takes, left) in [(Takes::Nothing, 0), (Takes::One, 1), (Takes::Half, 2), (Takes::Most, 3)]
    {
        let (_run, report) = shell(&world, four, Which::Only(1), takes);
        let begins = format!("short write 4 {left} {left} ");
        assert!(report.short.iter().all(|line| line.starts_with(&begins)), "{report:?}");
        assert_eq!(report.short.len(), 1, "{takes:?}");
    }
}

#[test]
fn what_is_written_by_other_calls_is_named() {
    let world = World::new("/bin/sh");
    let line = |call: &str| {
        format!(
            "exec python3 -c 'import os, socket\n\
             file = os.open(os.environ[\"HOME\"] + \"/file\", os.O_CREAT | os.O_WRONLY)\n\
             near, far = socket.socketpair()\n\
             {call}'"
        )
    };
    for (call, name) in [
        ("os.writev(file, [b\"a\", b\"b\"])", "writev"),
        ("os.pwritev(file, [b\"a\", b\"b\"], 0)", "pwritev"),
        ("near.sendmsg([b\"a\", b\"b\"])", "sendmsg"),
    ] {
        let (run, report) = shell(&world, &line(call), Which::Every, Takes::Half);
        assert_eq!((run.code(), report.others.len()), (Some(0), 1), "{call}: {run:?} {report:?}");
        assert!(report.others[0].starts_with(&format!("other {name}")), "{report:?}");
    }
    let (run, report) = shell(&world, &line("os.write(file, b\"a\")"), Which::None, Takes::Half);
    assert_eq!((run.code(), report.others.len(), report.count), (Some(0), 0, 1), "{report:?}");
}
