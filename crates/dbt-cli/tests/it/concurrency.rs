//! Many runs at once, and runs that are killed.

use dbt_testkit::invocation::Running;
use dbt_testkit::repository::artifact;
use dbt_testkit::server::Fault;
use dbt_testkit::world::World;

use crate::{pinned, published};

fn downloads(world: &World, version: &str) -> usize {
    let line = format!("GET {}", artifact("deploy", version));
    world.server().take_lines().iter().filter(|other| **other == line).count()
}

#[test]
fn two_hundred_first_runs_at_once_download_the_tool_once() {
    let world = published();
    let running: Vec<Running> =
        (0..200).map(|n| world.invoke(["deploy", &n.to_string()]).start()).collect();
    for (n, running) in running.into_iter().enumerate() {
        running.finish().prints(&format!("deploy 1.4.0\n[{n}]\n")).says_nothing();
    }
    assert_eq!(downloads(&world, "1.4.0"), 1);
    assert_eq!(world.tools_started().len(), 200);
    assert_eq!(world.executables().len(), 1);
}

#[test]
fn a_run_killed_while_it_downloads_leaves_the_next_one_right() {
    let world = published();
    let path = artifact("deploy", "1.4.0");
    for count in [0, 1, 40, 60] {
        world.server().repair();
        world.server().fault(&path, Fault::StallAfter(count));
        let running = world.invoke(["deploy"]).start();
        world.server().wait_until_stalled(&path);
        running.kill();
        world.nothing_happened();
    }
    world.server().repair();
    world.dbt(["deploy"]).prints("deploy 1.4.0\n").says_nothing();
}

#[test]
fn a_run_killed_while_it_asks_leaves_the_next_one_right() {
    let world = published();
    for path in ["/dbt/truststore", "/dbt-tools/deploy/", "/dbt/"] {
        world.server().repair();
        world.server().fault(path, Fault::Stall);
        let running = world.invoke(["deploy"]).start();
        world.server().wait_until_stalled(path);
        running.kill();
    }
    world.server().repair();
    world.dbt(["deploy"]).prints("deploy 1.4.0\n").says_nothing();
}

#[test]
fn a_killed_download_does_not_make_others_wait() {
    let world = published();
    let path = artifact("deploy", "1.4.0");
    world.server().fault(&path, Fault::StallAfter(10));
    let first = world.invoke(["deploy"]).start();
    world.server().wait_until_stalled(&path);
    world.server().repair();
    let second = world.invoke(["deploy"]).start();
    first.kill();
    second.finish().prints("deploy 1.4.0\n").says_nothing();
}

#[test]
fn a_tool_that_is_running_is_not_disturbed_by_its_update() {
    let world = pinned();
    let script = "read line < \"$1\"; echo \"$line\"; wc -c < \"$0\" > /dev/null && echo whole";
    world.repository().publish("serve", "1.0.0").script(script).now();
    let gate = world.directory().join("gate");
    assert!(std::process::Command::new("mkfifo").arg(&gate).status().unwrap().success());
    let running = world.invoke(["serve".as_ref(), gate.as_os_str()]).start();
    // Opens when the tool opens the other end.
    let mut to_tool = std::fs::OpenOptions::new().write(true).open(&gate).unwrap();
    world.repository().publish("serve", "1.1.0").now();
    world.dbt(["update", "serve"]).exits_with(0);
    std::io::Write::write_all(&mut to_tool, b"still here\n").unwrap();
    drop(to_tool);
    running.finish().prints("serve 1.0.0\nstill here\nwhole\n");
    world.dbt(["serve"]).prints("serve 1.1.0\n");
}

#[test]
fn runs_of_different_versions_at_once_all_get_theirs() {
    let world = published();
    for version in ["1.5.0", "1.6.0", "1.7.0"] {
        world.repository().publish("deploy", version).now();
    }
    let versions = ["1.4.0", "1.5.0", "1.6.0", "1.7.0"];
    let running: Vec<(&str, Running)> = (0..24)
        .map(|n| versions[n % 4])
        .map(|version| (version, world.invoke([format!("deploy@{version}")]).start()))
        .collect();
    for (version, running) in running {
        running.finish().prints(&format!("deploy {version}\n")).says_nothing();
    }
    for version in versions {
        world.dbt(["-o", &format!("deploy@{version}")]).prints(&format!("deploy {version}\n"));
    }
}

#[test]
fn nothing_half_written_is_ever_in_the_store_or_beside_it() {
    let world = published();
    let path = artifact("deploy", "1.4.0");
    world.server().fault(&path, Fault::StallAfter(60));
    let running = world.invoke(["deploy"]).start();
    world.server().wait_until_stalled(&path);
    assert_eq!(world.executables(), [""; 0].map(std::path::PathBuf::from));
    running.kill();
    world.server().repair();
    world.dbt(["deploy"]).prints("deploy 1.4.0\n");
    let files = world.executables();
    assert_eq!(files.len(), 1, "{files:?}");
    let companions = files.iter().filter(|file| file.extension().is_some());
    assert_eq!(companions.count(), 0, "{files:?}");
}
