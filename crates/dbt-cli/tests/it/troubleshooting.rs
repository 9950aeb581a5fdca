//! docs/troubleshooting.md: what the page has dbt say, it says.

use std::fs;

use dbt_testkit::errors_page::Section;
use dbt_testkit::people::{ALICE, BOB, MALLORY};
use dbt_testkit::repository::artifact;
use dbt_testkit::server::Fault;
use dbt_testkit::world::World;

use crate::programs::next;
use crate::{pinned, world};

const PAGE: &str = include_str!("../../../../docs/troubleshooting.md");

/// What the page has, and what was said.
struct Page(Section);

impl Page {
    #[track_caller]
    fn has(&mut self, world: &World, words: &[&str]) {
        self.0.has(&world.dbt(words).stderr());
    }
}

/// A machine that has run `deploy` 1.4.0.
fn acquainted() -> World {
    let world = world();
    world.repository().publish("deploy", "1.4.0").now();
    world.dbt(["deploy"]).prints("deploy 1.4.0\n");
    world
}

#[test]
fn what_the_page_has_dbt_say_it_says() {
    let mut page = Page(Section::on(PAGE, "What dbt says"));
    what_was_typed(&mut page);
    what_the_server_answers(&mut page);
    whom_to_trust(&mut page);
    what_is_refused(&mut page);
    page.0.was_all_said();
}

fn what_was_typed(page: &mut Page) {
    let world = acquainted();
    page.has(&world, &["-s", "nowhere", "deploy"]);
    page.has(&world, &["nothing"]);
    page.has(&world, &["deploy@9.9.9"]);
    page.has(&world, &["--wrong", "deploy"]);
    page.has(&world, &["build"]);
    page.has(&world, &["-o", "nothing"]);
    world.repository().publish("elsewhere", "1.0.0").platform("windows/arm64").now();
    page.has(&world, &["elsewhere"]);
    fs::remove_file(world.config_file()).unwrap();
    page.has(&world, &["deploy"]);
}

fn what_the_server_answers(page: &mut Page) {
    let world = acquainted();
    world.server().fault("*", Fault::Status(500));
    page.has(&world, &["deploy"]);
    page.has(&world, &["nothing"]);
    for status in [401, 403] {
        let world = pinned();
        world.repository().publish("deploy", "1.4.0").now();
        world.server().fault("*", Fault::Status(status));
        page.has(&world, &["deploy"]);
    }
}

fn whom_to_trust(page: &mut Page) {
    let new = world();
    new.repository().publish("deploy", "1.4.0").now();
    page.has(&new, &["deploy"]);
    let world = acquainted();
    world.repository().trust(&[&ALICE, &MALLORY]);
    page.has(&world, &["deploy"]);
    let world = acquainted();
    world.repository().truststore(&[ALICE.certificate(), BOB.certified_by(&ALICE)]);
    page.has(&world, &["deploy"]);
    let world = acquainted();
    world.repository().trust(&[&MALLORY]);
    page.has(&world, &["deploy"]);
}

fn what_is_refused(page: &mut Page) {
    let refused = |publish: &dyn Fn(&World)| {
        let world = pinned();
        publish(&world);
        world
    };
    let deploy = |world: &World| world.repository().publish("deploy", "1.4.0").now();
    let changed = refused(&|world| {
        deploy(world);
        world.repository().flip_a_bit("deploy", "1.4.0");
    });
    page.has(&changed, &["deploy"]);
    let by_a_stranger =
        refused(&|world| world.repository().publish("deploy", "1.4.0").signed_by(&MALLORY).now());
    page.has(&by_a_stranger, &["deploy"]);
    let of_another = refused(&|world| {
        world.repository().publish("deploy", "1.4.0").bound_to("description/deploy/1.4.0").now();
    });
    page.has(&of_another, &["deploy"]);
    let offered = refused(&|world| {
        deploy(world);
        world.repository().publish_program("99.0.0", next()).signed_by(&MALLORY).now();
    });
    page.has(&offered, &["deploy"]);

    let withdrawn = acquainted();
    withdrawn.repository().withdraw("deploy", 1, &["1.4.0"], &ALICE);
    page.has(&withdrawn, &["deploy@1.4.0"]);
    let bytes = withdrawn.repository().read(&artifact("deploy", "1.4.0"));
    withdrawn.repository().withdraw_with_bytes("deploy", 2, "1.4.0", &ALICE);
    withdrawn.repository().publish("deploy", "1.5.0").content(bytes).now();
    page.has(&withdrawn, &["deploy@1.5.0"]);
    page.has(&withdrawn, &["deploy"]);
    let damaged = acquainted();
    for file in damaged.executables() {
        use std::os::unix::fs::PermissionsExt as _;
        fs::set_permissions(&file, fs::Permissions::from_mode(0o700)).unwrap();
        fs::write(&file, "#!/bin/sh\necho owned\n").unwrap();
    }
    page.has(&damaged, &["deploy"]);
}
