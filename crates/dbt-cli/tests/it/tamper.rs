//! Artifacts that are not what was published: refused, and nothing of them ever runs.

use dbt_testkit::exits;
use dbt_testkit::http::Answer;
use dbt_testkit::people::{ALICE, just_now};
use dbt_testkit::repository::artifact;
use dbt_testkit::server::Fault;
use dbt_testkit::world::World;

use crate::pinned;

/// Expects that nothing was run or kept, and that the words name the cause.
#[track_caller]
fn refused(world: &World, words: &str) {
    let run = world.dbt(["deploy"]);
    run.exits_with(exits::VERIFICATION_REFUSED).mentions(words).mentions("`deploy`");
    world.nothing_happened();
}

#[test]
fn a_tampered_tool_is_refused_and_leaves_no_trace() {
    let world = pinned();
    world.repository().publish("deploy", "1.4.0").now();
    world.repository().flip_a_bit("deploy", "1.4.0");
    world.dbt(["deploy"]).exits_with(exits::VERIFICATION_REFUSED).says(
        "\
error: refusing to run `deploy`
  caused by: checksum of `deploy 1.4.0 ([PLATFORM])` does not match: expected [DIGEST], got [DIGEST]
hint: the repository may be damaged; tell its administrator; `dbt -o deploy` runs the newest cached copy, if there is one
",
    );
    world.nothing_happened();
}

#[test]
fn a_tool_with_a_byte_too_many_or_too_few_is_refused() {
    for change in [1, -1] {
        let world = pinned();
        world.repository().publish("deploy", "1.4.0").now();
        let path = artifact("deploy", "1.4.0");
        let mut bytes = world.repository().read(&path);
        bytes.resize(bytes.len().saturating_add_signed(change), b'\n');
        world.repository().write(&path, &bytes);
        refused(&world, "checksum of `deploy 1.4.0");
    }
}

#[test]
fn a_tool_whose_checksum_was_made_to_fit_is_refused_by_its_signature() {
    let world = pinned();
    let signature = ALICE.sign(b"something else", None, just_now());
    world.repository().publish("deploy", "1.4.0").signature(signature).now();
    refused(&world, "no signature of `deploy 1.4.0");
}

#[test]
fn the_bytes_of_another_tool_version_or_platform_are_refused_where_they_are_named() {
    let names = [
        "tool/other/1.4.0/[PLATFORM]",
        "tool/deploy/1.3.0/[PLATFORM]",
        "tool/deploy/1.4.0/windows/arm64",
        "self/dbt/1.4.0/[PLATFORM]",
        "description/deploy/1.4.0",
    ];
    for name in names {
        for strict in [false, true] {
            let world = pinned();
            world.set("strict", strict);
            let platform = dbt_core::platform::Platform::CURRENT.to_string();
            let binding = name.replace("[PLATFORM]", &platform);
            world.repository().publish("deploy", "1.4.0").bound_to(&binding).now();
            refused(&world, &format!("was made for `{name}`"));
        }
    }
}

#[test]
fn signed_bytes_without_a_name_run_where_no_signature_ever_had_one() {
    let world = pinned();
    world.repository().publish("deploy", "1.4.0").unbound().now();
    world.dbt(["deploy"]).prints("deploy 1.4.0\n").says_nothing();
}

#[test]
fn once_signatures_name_the_tool_one_that_does_not_is_refused() {
    for strict in [false, true] {
        let world = pinned();
        world.set("strict", strict);
        world.repository().publish("deploy", "1.4.0").now();
        world.dbt(["deploy"]).prints("deploy 1.4.0\n");
        world.repository().publish("deploy", "1.5.0").unbound().now();
        let run = world.dbt(["deploy"]);
        run.exits_with(exits::VERIFICATION_REFUSED)
            .mentions("and earlier ones did")
            .mentions("publisher sign");
        assert_eq!(world.tools_started(), ["deploy 1.4.0"]);
        assert_eq!(world.executables().len(), 1);
    }
}

#[test]
fn every_spelling_of_a_checksum_that_people_write_is_read() {
    for spelling in ["[DIGEST]", "[DIGEST]\n", "[DIGEST]  deploy\n", "[DIGEST] *deploy\n"] {
        let world = pinned();
        world.repository().publish("deploy", "1.4.0").checksum(spelling).now();
        world.dbt(["deploy"]).prints("deploy 1.4.0\n").says_nothing();
        world.dbt(["deploy"]).prints("deploy 1.4.0\n").says_nothing();
    }
}

#[test]
fn an_upper_case_checksum_is_read() {
    let world = pinned();
    world.repository().publish("deploy", "1.4.0").now();
    let path = format!("{}.sha256", artifact("deploy", "1.4.0"));
    let upper = world.repository().read(&path).to_ascii_uppercase();
    world.repository().write(&path, &upper);
    world.dbt(["deploy"]).prints("deploy 1.4.0\n").says_nothing();
}

#[test]
fn a_checksum_that_is_none_is_refused_as_such() {
    for text in ["", "\n", "abc", "not a checksum at all", &"z".repeat(64)] {
        let world = pinned();
        world.repository().publish("deploy", "1.4.0").checksum(text).now();
        refused(&world, "failed to read the checksum of `deploy 1.4.0");
    }
}

#[test]
fn a_checksum_of_other_bytes_is_refused_though_the_signature_is_good() {
    let world = pinned();
    world.repository().publish("deploy", "1.4.0").checksum(&"0".repeat(64)).now();
    refused(&world, "does not match");
}

#[test]
fn a_page_or_an_endless_answer_instead_of_a_checksum_is_no_checksum() {
    for (fault, code) in
        [(Fault::Portal, exits::UNREACHABLE), (Fault::Endless, exits::VERIFICATION_REFUSED)]
    {
        let world = pinned();
        world.repository().publish("deploy", "1.4.0").now();
        world.server().fault(&format!("{}.sha256", artifact("deploy", "1.4.0")), fault);
        world.dbt(["deploy"]).exits_with(code);
        world.nothing_happened();
    }
}

#[test]
fn an_endless_artifact_is_cut_off_by_what_is_signed_or_by_the_disk_and_never_runs() {
    let world = pinned();
    world.repository().publish("deploy", "1.4.0").now();
    let path = artifact("deploy", "1.4.0");
    world.server().fault(&path, Fault::Length(-10));
    let run = world.dbt(["deploy"]);
    assert!(run.stdout().is_empty(), "{run:?}");
    world.nothing_happened();
}

#[test]
fn a_page_instead_of_an_artifact_never_runs() {
    let world = pinned();
    world.repository().publish("deploy", "1.4.0").now();
    world.server().fault(&artifact("deploy", "1.4.0"), Fault::Portal);
    let run = world.dbt(["deploy"]);
    run.exits_with(exits::UNREACHABLE).mentions("instead of data");
    world.nothing_happened();
}

#[test]
fn an_answer_that_is_no_whole_artifact_never_runs() {
    for status in [204, 206] {
        let world = pinned();
        world.repository().publish("deploy", "1.4.0").now();
        let answer = Answer { status, headers: Vec::new(), body: Vec::new() };
        world.server().fault(&artifact("deploy", "1.4.0"), Fault::Answer(answer));
        let run = world.dbt(["deploy"]);
        assert!(run.stdout().is_empty(), "{run:?}");
        world.nothing_happened();
    }
}

#[test]
fn redirects_in_a_circle_or_to_places_that_are_no_server_end() {
    let path = artifact("deploy", "1.4.0");
    for there in [path.as_str(), "file:///etc/passwd", "http://127.0.0.1:1/x", "gopher://x/"] {
        let world = pinned();
        world.repository().publish("deploy", "1.4.0").now();
        world.server().fault(&path, Fault::RedirectTo(there.to_owned()));
        let run = world.dbt(["deploy"]);
        run.mentions("redirect");
        assert!(run.stdout().is_empty(), "{run:?}");
        world.nothing_happened();
        assert!(world.server().take_requests().len() < 12);
    }
}

#[test]
fn a_redirect_within_the_server_is_followed() {
    let world = pinned();
    world.repository().publish("deploy", "1.4.0").now();
    let path = artifact("deploy", "1.4.0");
    let bytes = world.repository().read(&path);
    world.repository().write("/mirror/deploy", &bytes);
    world.server().fault(&path, Fault::RedirectTo("/mirror/deploy".to_owned()));
    world.dbt(["deploy"]).prints("deploy 1.4.0\n").says_nothing();
}

#[test]
fn a_truststore_that_moved_to_another_server_is_not_fetched_there() {
    let (world, other) = (crate::world(), crate::world());
    world.repository().publish("deploy", "1.4.0").now();
    let there = format!("{}/dbt/truststore", other.server().url());
    world.server().fault("/dbt/truststore", Fault::RedirectTo(there));
    let run = world.dbt(["deploy"]);
    assert!(run.stdout().is_empty(), "{run:?}");
    world.nothing_happened();
    assert_eq!(other.server().take_lines(), [""; 0]);
}

#[test]
fn a_hostile_listing_names_no_version_that_is_none() {
    let world = pinned();
    world.repository().publish("deploy", "1.4.0").now();
    let names = [
        "../../99.0.0/",
        "0099.2.3/",
        "1.2.99999999999999999999/",
        "9.9.99-rc1/",
        "http://evil.example.com/99.0.0/",
        "javascript:99.0.0",
        "99.0.0%2f..%2f/",
        "%39%39.0.0%00/",
        "99.0.0/../x/",
        "99.0.0 onx=/",
    ];
    let anchors: String = names.map(|name| format!("<a href=\"{name}\">{name}</a>\n")).concat();
    let page = format!("<pre>\n{anchors}<a href=\"1.4.0/\">1.4.0/</a>\n</pre>\n");
    let answer = Answer::of(200, "text/html; charset=utf-8", page.into_bytes());
    world.server().fault("/dbt-tools/deploy/", Fault::Answer(answer));
    world.dbt(["deploy"]).prints("deploy 1.4.0\n");
    let requests = world.server().take_lines();
    assert!(!requests.iter().any(|line| line.contains("99")), "{requests:?}");
}

#[test]
fn a_version_that_a_listing_invents_is_not_published() {
    let world = pinned();
    world.repository().publish("deploy", "1.4.0").now();
    let page = "<a href=\"99.0.0\" onx=\"\">99.0.0</a>\n<a href=\"1.4.0/\">1.4.0/</a>\n";
    let answer = Answer::of(200, "text/html; charset=utf-8", page.into());
    world.server().fault("/dbt-tools/deploy/", Fault::Answer(answer));
    world.dbt(["deploy"]).prints("deploy 1.4.0\n").says_nothing();
}

#[test]
fn a_listing_of_a_million_names_is_refused_or_read_and_ends() {
    let world = pinned();
    world.repository().publish("deploy", "1.4.0").now();
    let page = "<a href=\"x/\">x/</a>\n".repeat(1_000_000);
    let answer = Answer::of(200, "text/html; charset=utf-8", page.into_bytes());
    world.server().fault("/dbt-tools/deploy/", Fault::Answer(answer));
    world.dbt(["deploy"]).exits_with(exits::VERIFICATION_REFUSED);
    world.nothing_happened();
}

#[test]
fn a_cached_copy_that_rotted_is_fetched_again_and_never_runs() {
    let world = pinned();
    world.repository().publish("deploy", "1.4.0").now();
    world.dbt(["deploy"]).prints("deploy 1.4.0\n");
    let cached = world.executables().remove(0);
    overwrite(&cached, b"#!/bin/sh\necho owned\n");
    let run = world.dbt(["deploy"]);
    run.prints("deploy 1.4.0\n").mentions("the cached copy of `deploy` 1.4.0 is damaged");
    world.dbt(["deploy"]).prints("deploy 1.4.0\n").says_nothing();
}

#[test]
fn a_cached_copy_that_rotted_does_not_run_offline() {
    let world = pinned();
    world.repository().publish("deploy", "1.4.0").now();
    world.dbt(["deploy"]).prints("deploy 1.4.0\n");
    overwrite(&world.executables().remove(0), b"#!/bin/sh\necho owned\n");
    let run = world.dbt(["-o", "deploy"]);
    run.exits_with(exits::VERIFICATION_REFUSED);
    assert!(run.stdout().is_empty(), "{run:?}");
}

/// Replaces the content of a file of the store, as its owner can.
fn overwrite(file: &std::path::Path, content: &[u8]) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o700)).unwrap();
    std::fs::write(file, content).unwrap();
    std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o500)).unwrap();
}
