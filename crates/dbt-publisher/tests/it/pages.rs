//! The pages that make a directory a repository on hosts that list nothing themselves.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::world::{SCRIPT, World};

const LINE: &str = "publish deploy 1.4.0 linux/amd64=deploy --description x --to REPO \
                    --signer file:alice";

fn published() -> World {
    let world = World::with_alice();
    world.write("deploy", SCRIPT);
    world.run(LINE).says_nothing();
    world
}

#[test]
fn every_directory_has_a_page_with_what_is_in_it() {
    let world = published();
    let page = world.page("dbt-tools/deploy/1.4.0/linux/amd64");
    assert_eq!(page, ["deploy", "deploy.asc", "deploy.sha256"]);
    for (directory, names) in [
        ("dbt-tools", &["deploy"][..]),
        ("dbt-tools/deploy", &["1.4.0"]),
        ("dbt-tools/deploy/1.4.0/linux", &["amd64"]),
    ] {
        assert_eq!(world.page(directory), names, "{directory}");
    }
    assert!(world.page("dbt").contains(&"truststore".to_owned()));
    let page = String::from_utf8(world.read("repo/dbt-tools/index.html")).unwrap();
    let expected = "<!doctype html>\n<meta name=\"viewport\" content=\"width=device-width\">\n\
                    <pre>\n<a href=\"deploy/\">deploy/</a>\n</pre>\n";
    assert_eq!(page, expected, "as the reference's server shows it");
    let mode = fs::metadata(world.path("repo/dbt-tools/index.html")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o644, "the web server is another user");
}

#[test]
fn pages_follow_what_is_published_later() {
    let world = published();
    world.run(&LINE.replace("1.4.0", "1.10.0")).says_nothing();
    assert_eq!(world.page("dbt-tools/deploy"), ["1.10.0", "1.4.0"]);
    world.run(&LINE.replace("linux/amd64=", "darwin/arm64=")).says_nothing();
    assert_eq!(
        world.page("dbt-tools/deploy/1.4.0"),
        ["darwin", "description.txt", "description.txt.asc", "description.txt.sha256", "linux"]
    );
    world
        .run("withdraw deploy 1.4.0 --reason broken --to REPO --signer file:alice --yes")
        .succeeds();
    let page = world.page("dbt-tools/deploy");
    assert_eq!(page, ["1.10.0", "1.4.0", "withdrawn.json", "withdrawn.json.asc"]);
    let line = LINE.replace(" deploy 1.4.0", " dbt 4.0.0").replace("--description x", "--force");
    world.run(&line).says_nothing();
    let page = world.page("dbt");
    assert!(["4.0.0", "latest"].iter().all(|name| page.contains(&(*name).to_owned())), "{page:?}");
}

#[test]
fn pages_follow_what_is_deleted() {
    let world = published();
    world.run(&LINE.replace("1.4.0", "1.10.0")).says_nothing();
    world.run(&LINE.replace(" deploy ", " other ")).says_nothing();
    world.run("delete deploy 1.4.0 --yes --to REPO").succeeds();
    assert_eq!(world.page("dbt-tools/deploy"), ["1.10.0"]);
    world.run("delete deploy --all --yes --to REPO").succeeds();
    assert_eq!(world.page("dbt-tools"), ["other"]);
    assert!(!world.path("repo/dbt-tools/deploy").exists());
}

#[test]
fn the_same_again_changes_no_page_and_puts_back_those_that_are_missing() {
    let world = published();
    let before: Vec<_> = world.served();
    let stamps = |world: &World| -> Vec<_> {
        let file = |path: &String| world.path(&format!("repo/{path}"));
        world
            .served()
            .iter()
            .map(|path| file(path).metadata().unwrap().modified().unwrap())
            .collect()
    };
    let stamped = stamps(&world);
    world.run(LINE).says_nothing();
    assert_eq!(stamps(&world), stamped, "nothing is written that is there");
    for page in
        before.iter().filter(|path| path.ends_with("index.html") && !path.starts_with("dbt/"))
    {
        fs::remove_file(world.path(&format!("repo/{page}"))).unwrap();
    }
    world.run(LINE).says_nothing();
    assert_eq!(world.served(), before);
}

#[test]
fn what_is_hidden_or_leads_nowhere_is_on_no_page() {
    let world = published();
    world.write("repo/dbt-tools/.htaccess", b"x");
    std::os::unix::fs::symlink("nowhere", world.path("repo/dbt-tools/dangling")).unwrap();
    world.run(&LINE.replace("1.4.0", "1.5.0")).says_nothing();
    assert_eq!(world.page("dbt-tools"), ["deploy"]);
}

#[test]
fn a_dry_run_writes_no_page() {
    let world = World::with_alice();
    world.write("deploy", SCRIPT);
    let before = world.served();
    world.run(&format!("{LINE} --dry-run")).succeeds();
    assert_eq!(world.served(), before);
}
