//! A server that failed is left alone: for a minute, for longer each time, and without a word
//! more than anybody needs.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use dbt_core::timestamp::Timestamp;
use dbt_testkit::server::Fault;
use dbt_testkit::world::World;
use serde_json::Value;

use super::{add_other, cached};
use crate::pinned;

/// Makes as if everything that is remembered of the server had happened so much earlier.
fn let_pass(world: &World, time: Duration) {
    let file: PathBuf = world.state_file("state.json");
    let mut state: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    let earlier = |value: &mut Value| {
        if !value.is_null() {
            let Timestamp(at) = serde_json::from_value(value.clone()).unwrap();
            *value = serde_json::to_value(Timestamp(at - time)).unwrap();
        }
    };
    for key in ["failed", "confirmed"] {
        earlier(&mut state[key]);
    }
    state["said"].as_object_mut().unwrap().values_mut().for_each(earlier);
    fs::write(&file, serde_json::to_vec(&state).unwrap()).unwrap();
}

/// Says whether a run asks the server.
fn asks(world: &World) -> bool {
    world.server().take_requests();
    world.dbt(["deploy"]).prints("deploy 1.4.0\n");
    !world.server().take_requests().is_empty()
}

const SECOND: Duration = Duration::from_secs(1);

/// Time that a slow machine may need between two of the steps below.
const SLACK: Duration = Duration::from_secs(30);

#[test]
fn a_failed_server_is_left_alone_for_a_minute_and_twice_as_long_each_time_up_to_ten() {
    let world = cached();
    world.set("timeout", 0.4);
    world.server().fault("*", Fault::Status(500));
    assert!(asks(&world));
    for minutes in [1, 2, 4, 8, 10, 10, 10] {
        let pause = Duration::from_mins(minutes);
        assert!(!asks(&world), "at once, with a pause of {minutes}");
        let_pass(&world, pause.checked_sub(SLACK).unwrap());
        assert!(!asks(&world), "before the end of {minutes} minutes");
        let_pass(&world, SLACK + SECOND);
        assert!(asks(&world), "after {minutes} minutes");
    }
}

#[test]
fn a_good_answer_ends_the_pauses() {
    let world = cached();
    world.set("timeout", 0.4);
    world.server().fault("*", Fault::Status(500));
    for _time in 0..3 {
        assert!(asks(&world));
        let_pass(&world, Duration::from_mins(11));
    }
    world.server().repair();
    world.dbt(["deploy"]).prints("deploy 1.4.0\n").says_nothing();
    world.server().fault("*", Fault::Status(500));
    assert!(asks(&world));
    let_pass(&world, Duration::from_mins(1) + SECOND);
    assert!(asks(&world));
}

#[test]
fn many_runs_that_fail_at_once_count_as_one_failure() {
    let world = cached();
    world.set("timeout", 0.4);
    world.server().fault("*", Fault::Stall);
    let runs: Vec<_> = (0..8).map(|_run| world.invoke(["deploy"]).start()).collect();
    for run in runs {
        run.finish().prints("deploy 1.4.0\n");
    }
    assert!(!asks(&world));
    let_pass(&world, Duration::from_mins(1) + SECOND);
    assert!(asks(&world));
}

#[test]
fn a_clock_that_was_set_back_does_not_make_a_pause_of_years() {
    let world = cached();
    world.set("timeout", 0.4);
    world.server().fault("*", Fault::Status(500));
    assert!(asks(&world));
    let file = world.state_file("state.json");
    let mut state: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    state["failed"] = "2040-01-01T00:00:00Z".into();
    fs::write(&file, serde_json::to_vec(&state).unwrap()).unwrap();
    assert!(asks(&world));
}

#[test]
fn without_a_terminal_each_server_is_warned_about_once_an_hour() {
    let (world, other) = (cached(), pinned());
    other.repository().publish("deploy", "2.0.0").now();
    add_other(&world, &other);
    world.set("timeout", 0.4);
    let on_other = || world.invoke(["-s", "other", "deploy"]).run();
    on_other().prints("deploy 2.0.0\n").says_nothing();

    world.server().fault("*", Fault::Status(500));
    world.dbt(["deploy"]).prints("deploy 1.4.0\n").mentions("warning: `[SERVER]/dbt`");
    other.server().stop();
    on_other().prints("deploy 2.0.0\n").mentions("cannot be used (cannot connect");
    for _time in 0..2 {
        world.dbt(["deploy"]).prints("deploy 1.4.0\n").says_nothing();
        on_other().prints("deploy 2.0.0\n").says_nothing();
    }

    let state = world.state_files().into_iter();
    let states = state.filter(|file| file.ends_with("state.json")).count();
    assert_eq!(states, 2);
}

#[test]
fn an_hour_later_it_is_said_again() {
    let world = cached();
    world.set("timeout", 0.4);
    world.server().fault("*", Fault::Status(500));
    world.dbt(["deploy"]).prints("deploy 1.4.0\n").mentions("warning:");
    let_pass(&world, Duration::from_mins(59));
    world.dbt(["deploy"]).prints("deploy 1.4.0\n").says_nothing();
    let_pass(&world, Duration::from_mins(1) + SECOND);
    let run = world.dbt(["deploy"]);
    run.prints("deploy 1.4.0\n").mentions("the server failed (500)");
}
