//! What does not answer costs time once: the run that finds out is bounded, and the next ones do
//! not try.

use std::time::{Duration, Instant};

use dbt_testkit::black_hole::BlackHole;
use dbt_testkit::http::Answer;
use dbt_testkit::invocation::{READ_ONLY, mounts_work};
use dbt_testkit::repository::artifact;
use dbt_testkit::server::Fault;
use dbt_testkit::world::World;

use super::{ALLOWANCE, add_other, cached, published};
use crate::pinned;

/// How long a run with a copy waits in all, with `timeout` as it is by itself, and may take for
/// everything else.
const BOUND: Duration = Duration::from_secs(2).saturating_add(ALLOWANCE);

#[track_caller]
fn in_time(bound: Duration, run: impl FnOnce()) {
    let began = Instant::now();
    run();
    let took = began.elapsed();
    assert!(took < bound, "it took {took:?}");
}

#[test]
fn a_repository_that_swallows_connections_is_tried_once_a_minute() {
    let world = cached();
    world.set("timeout", 1);
    let mut hole = BlackHole::open();
    world.move_server(&hole.url());
    in_time(BOUND, || {
        let run = world.dbt(["deploy"]);
        run.prints("deploy 1.4.0\n").mentions("there was no connection within 1 s");
    });
    hole.make_room();
    for _time in 0..3 {
        world.dbt(["deploy"]).prints("deploy 1.4.0\n").says_nothing();
    }
    assert_eq!(hole.arrivals(), 0, "connections were attempted");
    // The same port does see who comes.
    world.dbt(["update", "deploy"]);
    assert_ne!(hole.arrivals(), 0);
}

#[test]
fn a_server_that_hangs_does_not_slow_down_the_tools_of_another() {
    let (world, other) = (cached(), pinned());
    other.repository().publish("other", "1.0.0").now();
    add_other(&world, &other);
    world.set("timeout", 100);
    world.server().fault("*", Fault::Stall);
    world.server().take_requests();
    // A run of the first one that hangs meanwhile changes nothing.
    let checksum = artifact("deploy", "1.4.0") + ".sha256";
    let hanging = world.invoke(["deploy"]).start();
    for path in ["/dbt/truststore", "/dbt/", "/dbt-tools/deploy/", &checksum] {
        world.server().wait_until_stalled(path);
    }
    world.server().take_requests();
    for _time in 0..2 {
        world.dbt(["-s", "other", "other"]).prints("other 1.0.0\n").says_nothing();
    }
    assert_eq!(world.server().take_lines(), [""; 0]);
    hanging.kill();
}

/// Expects that what hangs is waited for once, and not by the runs after it.
#[track_caller]
fn hangs_once(world: &World, path: &str) {
    world.set("timeout", 0.4);
    world.server().fault(path, Fault::Stall);
    world.server().take_requests();
    world.dbt(["deploy"]).prints("deploy 1.4.0\n");
    assert_ne!(world.server().take_lines(), [""; 0]);
    for _time in 0..2 {
        world.dbt(["deploy"]).prints("deploy 1.4.0\n").says_nothing();
        let lines = world.server().take_lines();
        assert!(!lines.contains(&format!("GET {path}")), "{lines:?}");
    }
}

#[test]
fn a_truststore_that_hangs_alone_is_waited_for_once() {
    hangs_once(&cached(), "/dbt/truststore");
}

#[test]
fn a_tool_that_hangs_alone_is_waited_for_once() {
    hangs_once(&cached(), "/dbt-tools/deploy/");
}

#[test]
fn versions_of_dbt_itself_that_hang_alone_are_waited_for_once() {
    hangs_once(&cached(), "/dbt/");
}

#[test]
fn a_busy_server_that_says_for_how_long_is_not_waited_for() {
    let world = cached();
    world.set("timeout", 1);
    let busy = Answer::text(429, "").with("Retry-After", "3600");
    world.server().fault("*", Fault::Answer(busy));
    in_time(BOUND, || {
        world.dbt(["deploy"]).prints("deploy 1.4.0\n").mentions("(429)");
    });
}

#[test]
fn versions_of_dbt_itself_that_hang_do_not_keep_a_new_tool_away() {
    let world = published();
    world.set("timeout", 0.4);
    world.server().fault("/dbt/", Fault::Stall);
    world.dbt(["deploy"]).prints("deploy 1.4.0\n").says_nothing();
}

#[test]
fn a_home_that_can_only_be_read_is_a_copy_like_any_other() {
    if !mounts_work() {
        return;
    }
    let world = cached();
    world.set("timeout", 0.4);
    let run = |words: &[&str]| world.invoke(words).mounting(READ_ONLY, &world.home()).run();
    run(&["-o", "deploy"]).prints("deploy 1.4.0\n").says_nothing();
    world.server().fault("*", Fault::Status(500));
    run(&["deploy"]).prints("deploy 1.4.0\n").mentions("the server failed (500)");
}
