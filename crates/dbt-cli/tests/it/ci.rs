//! The commands of `docs/ci.md`, taken from the page and run in places like those that they are
//! for.

mod recipe;

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use dbt_testkit::exits;
use dbt_testkit::invocation::{Invocation, READ_ONLY, Run, mounts_work};
use dbt_testkit::repository::artifact;
use dbt_testkit::server::Fault;
use dbt_testkit::world::World;

use crate::{is_root, world};
use recipe::{section, variables};

/// A world without a configuration file, with `deploy` published.
fn ci() -> World {
    let world = world();
    fs::remove_file(world.config_file()).unwrap();
    world.repository().publish("deploy", "1.4.0").now();
    world
}

/// Prepares to run lines of shell as a CI system does: it stops at the first that fails.
fn shell<'a>(world: &'a World, lines: &str) -> Invocation<'a> {
    let path = format!("{}:/usr/local/bin:/usr/bin:/bin", world.directory().join("b").display());
    world.invoke(["-ec", lines]).program("/bin/sh").env("PATH", path).env("HOME", "/root")
}

/// Gives a run the variables of a part of the page.
fn with<'a>(run: Invocation<'a>, variables: &[(String, String)]) -> Invocation<'a> {
    variables.iter().fold(run, |run, (name, value)| run.env(name, value))
}

/// Returns a part of the page, about this world, with its directories in `places`.
fn page(world: &World, title: &str, places: &[(&str, &Path)]) -> String {
    let mut text = section(title)
        .replace("https://dbt.example.com", &world.server().url())
        .replace("FINGERPRINT", &dbt_testkit::people::ALICE.fingerprint().to_string());
    for (name, path) in places {
        assert!(text.contains(name), "{title} does not mention {name}");
        text = text.replace(name, &path.display().to_string());
    }
    text
}

/// Makes a directory in which anybody may write.
fn directory_for_anybody(world: &World, name: &str) -> PathBuf {
    let directory = world.directory().join(name);
    fs::create_dir(&directory).unwrap();
    fs::set_permissions(&directory, Permissions::from_mode(0o777)).unwrap();
    directory
}

/// What somebody has signed in with.
const TOKEN: &str = "dbt_0123456789abcdef";

const NOBODY: [&str; 4] = ["setpriv", "--reuid=12345", "--regid=12345", "--clear-groups"];

fn artifact_was_asked_for(world: &World) -> bool {
    let line = format!("GET {}", artifact("deploy", "1.4.0"));
    world.server().take_lines().contains(&line)
}

/// Builds the image of the page: a directory in the place of `/var/lib/dbt`.
fn image(world: &World) -> (PathBuf, Vec<(String, String)>) {
    let lib = world.directory().join("lib");
    let text = page(world, "## An image", &[("/var/lib/dbt", &lib)]);
    let lines = recipe::of_dockerfile(&text);
    let variables = recipe::variables_of_dockerfile(&text);
    assert!(lines.lines().count() == 2 && variables.len() == 2, "{lines}{variables:?}");
    with(shell(world, &lines), &variables).run().exits_with(0).says_nothing();
    (lib, variables)
}

#[test]
fn an_image_runs_its_tools_for_anybody_without_a_download() {
    if !is_root() {
        return;
    }
    let world = ci();
    let (lib, variables) = image(&world);
    assert!(artifact_was_asked_for(&world));
    let run = |home: &str| {
        // The system's own store is the same with the variable.
        let run = with(shell(&world, "dbt deploy x"), &variables).env("HOME", home);
        run.env("DBT_STORE_PATH", lib.join("store")).through(&NOBODY).run()
    };
    let missing = world.directory().join("missing").display().to_string();
    for home in ["/", &missing] {
        run(home).prints("deploy 1.4.0\n[x]\n").says_nothing();
        assert!(!artifact_was_asked_for(&world));
    }
}

#[test]
fn an_image_that_remembers_what_its_build_saw_needs_no_server() {
    if !is_root() {
        return;
    }
    let world = ci();
    let (lib, variables) = image(&world);
    world.server().take_requests();
    let run = || {
        let run = with(shell(&world, "dbt deploy x"), &variables).env("HOME", "/");
        run.env("DBT_HOME", &lib).env("DBT_STORE_PATH", lib.join("store")).through(&NOBODY)
    };
    run().env("DBT_OFFLINE", "1").run().prints("deploy 1.4.0\n[x]\n").says_nothing();
    assert_eq!(world.server().take_lines(), [""; 0]);
    world.server().fault("*", Fault::Status(500));
    run().run().prints("deploy 1.4.0\n[x]\n").mentions("cannot be used");
    // Nothing of it has become another's.
    for file in ["state", "store"].map(|name| lib.join(name)) {
        assert!(file.is_dir(), "{}", file.display());
    }
}

/// Keeps a token where a job with these variables keeps things, as `dbt login` does.
fn sign_in(world: &World, variables: &[(String, String)]) {
    let login = with(world.invoke(["login", "--token"]), variables).stdin(TOKEN.as_bytes());
    login.run().exits_with(0).mentions("is sent to the server");
    let (_name, home) = variables.iter().find(|(name, _value)| name == "DBT_HOME").unwrap();
    let kept = fs::read_to_string(Path::new(home).join("state/tokens.json")).unwrap();
    assert!(kept.contains(TOKEN), "{kept}");
}

/// Expects that a directory, which goes into a cache, has files and none with that token.
#[track_caller]
fn holds_no_secret(directory: &Path) {
    let (mut found, mut left) = (0, vec![directory.to_owned()]);
    while let Some(directory) = left.pop() {
        for entry in fs::read_dir(&directory).unwrap().map(Result::unwrap) {
            if entry.file_type().unwrap().is_dir() {
                left.push(entry.path());
                continue;
            }
            found += 1;
            let bytes = fs::read(entry.path()).unwrap();
            let is_in = bytes.windows(TOKEN.len()).any(|bytes| bytes == TOKEN.as_bytes());
            assert!(!is_in, "{} goes into the cache", entry.path().display());
        }
    }
    assert!(found > 0, "{} is empty", directory.display());
}

#[test]
fn a_job_of_github_fetches_once_and_names_what_it_keeps() {
    let world = ci();
    let workspace = world.directory().join("ws");
    fs::create_dir(&workspace).unwrap();
    let text = page(&world, "## GitHub Actions", &[("${{ github.workspace }}", &workspace)]);
    let (lines, variables) = (recipe::of_github(&text), variables(&text));
    assert!(lines.lines().count() >= 4 && variables.len() == 4, "{lines}{variables:?}");
    let output = world.directory().join("output");
    let key = || {
        fs::write(&output, "").unwrap();
        sign_in(&world, &variables);
        let run = with(shell(&world, &lines), &variables).env("GITHUB_OUTPUT", &output).run();
        assert!(run.stdout().contains("[--fast]\n"), "{run:?}");
        run.exits_with(0);
        holds_no_secret(&workspace);
        fs::read_to_string(&output).unwrap()
    };
    let first = key();
    assert!(first.starts_with("key=") && first.len() == "key=\n".len() + 16, "{first}");
    assert!(artifact_was_asked_for(&world));
    assert_eq!(key(), first);
    assert!(!artifact_was_asked_for(&world), "a kept tool was fetched again");
    world.repository().publish("deploy", "1.5.0").now();
    assert_ne!(key(), first);
}

#[test]
fn a_job_of_gitlab_runs_as_root_and_as_nobody() {
    let world = ci();
    for (name, through) in [("p1", &[][..]), ("p2", &NOBODY)] {
        if !through.is_empty() && !is_root() {
            continue;
        }
        let project = directory_for_anybody(&world, name);
        let text = page(&world, "## GitLab CI", &[("$CI_PROJECT_DIR", &project)]);
        let (lines, variables) = (recipe::of_gitlab(&text), variables(&text));
        let leaves_out = "rm -f \"$DBT_HOME/state/tokens.json\"\n";
        assert_eq!(lines, format!("dbt deploy --fast\ndbt cache prune\n{leaves_out}"));
        let run = || {
            let run = with(shell(&world, &lines), &variables);
            run.env("HOME", if through.is_empty() { "/root" } else { "/" }).through(through).run()
        };
        world.server().take_requests();
        run().prints("deploy 1.4.0\n[--fast]\n").says_nothing();
        assert!(artifact_was_asked_for(&world));
        if through.is_empty() {
            sign_in(&world, &variables);
        }
        run().prints("deploy 1.4.0\n[--fast]\n").says_nothing();
        assert!(!artifact_was_asked_for(&world));
        holds_no_secret(&project);
    }
}

#[test]
fn executors_of_jenkins_share_one_directory_at_once() {
    let world = ci();
    let cache = world.directory().join("jenkins");
    let text = page(&world, "## Jenkins", &[("/var/cache/jenkins/dbt", &cache)]);
    let (lines, variables) = (recipe::of_jenkins(&text), variables(&text));
    assert!(lines.lines().count() == 2 && variables.len() == 4, "{lines}{variables:?}");
    let runs: Vec<_> =
        (0..8).map(|_executor| with(shell(&world, &lines), &variables).start()).collect();
    for run in runs {
        run.finish().prints("deploy 1.4.0\n[--fast]\n").says_nothing();
    }
    let download = format!("GET {}", artifact("deploy", "1.4.0"));
    let lines = world.server().take_lines();
    assert_eq!(lines.iter().filter(|line| **line == download).count(), 1, "{lines:?}");
}

/// Runs a container of the page in a read-only world with one writable volume.
fn container(world: &World, text: &str, volume: &Path) -> Run {
    let lines = recipe::of_kubernetes(text);
    let run = with(shell(world, &lines), &variables(text)).env("HOME", "/");
    let run = run.env("TMPDIR", world.directory().join("missing"));
    if mounts_work() {
        // Everything is read-only but the volume, and the list in which tools note that they ran.
        let keep =
            "mount --bind \"$0/work\" \"$0/work\" && mount --bind \"$0/started\" \"$0/started\"";
        let line = format!(
            "{READ_ONLY} && {keep} && mount -o remount,bind,rw \"$0/work\" && mount -o remount,bind,rw \"$0/started\""
        );
        assert_eq!(volume, world.directory().join("work"));
        return run.mounting(&line, world.directory()).run();
    }
    run.through(if is_root() { &NOBODY } else { &[] }).run()
}

#[test]
fn a_pod_of_kubernetes_fetches_with_the_network_and_runs_without() {
    let world = ci();
    let volume = directory_for_anybody(&world, "work");
    let token = world.directory().join("token");
    world.write_secret(&token, "a-secret-of-the-cluster\n");
    let places = [("/scratch/dbt", &*volume.join("dbt")), ("/run/secrets/dbt/token", &token)];
    let text = page(&world, "## Kubernetes", &places);
    let (init, main) = text.split_once("\n  containers:\n").unwrap();

    container(&world, init, &volume).exits_with(0).says_nothing();
    let sent = world.server().take_requests();
    let has_token = |header: Option<&str>| header == Some("Bearer a-secret-of-the-cluster");
    assert!(!sent.is_empty());
    assert!(sent.iter().all(|it| has_token(it.request.header("authorization"))), "{sent:?}");
    container(&world, main, &volume).prints("deploy 1.4.0\n[--fast]\n").says_nothing();
    assert_eq!(world.server().take_lines(), [""; 0]);
}

/// What a recipe of the page runs, with the place on it at which its job keeps things.
type Recipe = (&'static str, &'static str, fn(&str) -> String);

#[test]
fn jobs_of_every_kind_take_what_the_image_brings() {
    if !is_root() {
        return;
    }
    let recipes: [Recipe; 4] = [
        ("## GitHub Actions", "${{ github.workspace }}", recipe::of_github),
        ("## GitLab CI", "$CI_PROJECT_DIR", recipe::of_gitlab),
        ("## Jenkins", "/var/cache/jenkins", recipe::of_jenkins),
        ("## Kubernetes", "/scratch", recipe::of_kubernetes),
    ];
    let world = ci();
    let (lib, _variables) = image(&world);
    assert!(artifact_was_asked_for(&world));
    for (index, (title, place, commands)) in recipes.into_iter().enumerate() {
        let volume = directory_for_anybody(&world, &format!("w{index}"));
        let text = page(&world, title, &[(place, &volume)]);
        // A pod has two containers, of which the second must not ask anybody.
        for part in text.split("\n  containers:\n") {
            let lines = commands(part);
            assert!(lines.contains("deploy"), "{title}: {lines}");
            let mut variables = variables(part);
            // The secret of the cluster is another test's matter.
            variables.retain(|(name, _value)| name != "DBT_REPO_TOKEN_FILE");
            let run = with(shell(&world, &lines), &variables).env("HOME", "/");
            let run = run.env("GITHUB_OUTPUT", volume.join("output"));
            let run = run.env("DBT_STORE_PATH", lib.join("store")).through(&NOBODY).run();
            run.exits_with(0).says_nothing();
            let ran = run.stdout().contains("deploy 1.4.0\n[--fast]\n");
            assert!(ran || lines == "dbt fetch deploy\n", "{title}: {run:?}");
        }
        assert!(!artifact_was_asked_for(&world), "{title} fetched what the image has");
    }
}

#[test]
fn a_job_can_tell_whose_failure_it_was() {
    let world = ci();
    let text = page(&world, "## Whose failure it was", &[]);
    let lines = recipe::of_shell(&text);
    let variables = variables(&page(&world, "## Jenkins", &[]));
    let run = |code: i32| {
        world.repository().publish("deploy", "1.4.0").script(&format!("exit {code}")).now();
        let home = world.directory().join(format!("home{code}"));
        with(shell(&world, &lines), &variables).env("DBT_HOME", home)
    };
    run(0).run().exits_with(0).says_nothing();
    run(82).run().exits_with(82).says_nothing();
    world.server().stop();
    run(1).run().exits_with(exits::UNREACHABLE).mentions("dbt could not start the tool (82)");
}
