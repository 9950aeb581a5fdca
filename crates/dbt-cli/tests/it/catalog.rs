//! What the catalog shows, and what it leaves out.

use dbt_testkit::exits;
use dbt_testkit::server::Fault;
use dbt_testkit::world::World;
use serde_json::Value;

use crate::pinned;

fn published() -> World {
    let world = pinned();
    world.repository().publish("deploy", "1.4.0").now();
    world.repository().publish("deploy", "1.10.0").now();
    world.repository().publish("other", "0.1.0").now();
    world
}

fn json(world: &World, words: &[&str]) -> Value {
    serde_json::from_slice(world.dbt(words).exits_with(0).stdout_bytes()).unwrap()
}

#[test]
fn every_tool_is_listed_with_its_newest_version_and_description() {
    let world = published();
    let said = world.dbt(["catalog", "list"]).exits_with(0).says_nothing().stdout();
    let line = |tool: &str| said.lines().find(|line| line.contains(tool)).unwrap().to_owned();
    assert!(line("deploy").contains("1.10.0") && line("deploy").contains("What deploy is for."));
    assert!(line("other").contains("0.1.0"));
    assert_eq!(world.tools_started(), [""; 0]);
}

#[test]
fn what_lies_beside_the_tools_is_no_tool() {
    let world = published();
    world.repository().write("/dbt-tools/notes.txt", b"x");
    world.repository().write("/dbt-tools/not a tool/1.0.0/x", b"x");
    let said = world.dbt(["catalog", "list"]).exits_with(0).stdout();
    assert!(!said.contains("notes") && !said.contains("not a tool"), "{said}");
}

#[test]
fn one_tool_that_fails_does_not_hide_the_others() {
    let world = published();
    world.set("timeout", 0.4);
    world.server().fault("/dbt-tools/other/*", Fault::Status(500));
    let run = world.dbt(["catalog", "list"]);
    assert!(run.stdout().contains("1.10.0"), "{run:?}");
    run.mentions("other");
}

#[test]
fn an_error_page_is_never_shown_as_a_description() {
    let world = published();
    world.server().fault("/dbt-tools/other/0.1.0/description.txt", Fault::Portal);
    let run = world.dbt(["catalog", "list"]);
    assert!(!run.stdout().contains("hotel"), "{run:?}");
}

#[test]
fn a_description_cannot_write_to_the_terminal_what_it_likes() {
    let world = published();
    let text = b"\x1b[2J\x1b]0;owned\x07good \xe2\x80\xae evil\nsecond line\n";
    world.repository().write("/dbt-tools/other/0.1.0/description.txt", text);
    for words in [&["catalog", "list"][..], &["catalog", "show", "other"]] {
        let said = world.dbt(words).exits_with(0).stdout();
        let is_safe = |c: char| c == '\n' || !(c.is_control() || c == '\u{202e}');
        assert!(said.chars().all(is_safe), "{said:?}");
    }
}

#[test]
fn the_catalog_costs_one_request_for_the_list_and_two_for_each_tool() {
    let world = published();
    world.dbt(["catalog", "list"]).exits_with(0);
    let requests = world.server().take_lines();
    assert_eq!(requests.len(), 5, "{requests:?}");
}

#[test]
fn scripts_get_the_same_as_json() {
    let world = published();
    let list = json(&world, &["catalog", "list", "--json"]);
    let text = list.to_string();
    assert!(text.contains("\"deploy\"") && text.contains("1.10.0"), "{text}");
    let show = json(&world, &["catalog", "show", "deploy", "--json"]).to_string();
    assert!(show.contains("1.4.0") && show.contains("1.10.0"), "{show}");
}

#[test]
fn a_server_that_cannot_be_reached_is_said_so() {
    let world = published();
    world.server().stop();
    let run = world.dbt(["catalog", "list"]);
    run.exits_with(exits::UNREACHABLE).mentions("cannot connect");
    assert!(run.stdout().is_empty(), "{run:?}");
}

#[test]
fn the_cache_is_listed_and_cleared() {
    let world = published();
    world.dbt(["deploy@1.4.0"]).prints("deploy 1.4.0\n");
    world.dbt(["other"]).prints("other 0.1.0\n");
    let said = world.dbt(["cache", "list"]).exits_with(0).stdout();
    assert!(said.contains("1.4.0") && said.contains("0.1.0"), "{said}");
    world.dbt(["cache", "clear", "--yes"]).exits_with(0);
    assert_eq!(world.executables().len(), 0);
    world.dbt(["-o", "other"]).exits_with(exits::UNREACHABLE);
    world.dbt(["other"]).prints("other 0.1.0\n").says_nothing();
}

#[test]
fn nothing_is_cleared_without_a_terminal_to_ask_on() {
    let world = published();
    world.dbt(["other"]).prints("other 0.1.0\n");
    assert_ne!(world.dbt(["cache", "clear"]).stderr(), "");
    world.dbt(["-o", "other"]).prints("other 0.1.0\n");
}

#[test]
fn the_cache_is_cleared_and_nothing_that_is_pinned_goes() {
    let world = published();
    world.set("pins", serde_json::json!({"deploy": "1.4"}));
    world.dbt(["deploy"]).exits_with(0);
    world.dbt(["cache", "clear", "--yes"]).exits_with(0);
    world.dbt(["-o", "deploy"]).prints("deploy 1.4.0\n");
}

#[test]
fn flags_after_the_name_of_the_catalog_count() {
    let world = published();
    let run = world.dbt(["--", "catalog", "list", "-o"]);
    run.exits_with(exits::USAGE).mentions("makes no request");
}
