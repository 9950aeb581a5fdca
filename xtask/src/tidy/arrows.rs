//! Who may depend on whom: the diagram of ARCHITECTURE.md, compared with `cargo metadata`.

use std::collections::BTreeSet;
use std::process::Command;

use serde_json::Value;

use crate::tree::Tree;

/// A crate of ours, and the crates of ours it may use.
///
/// `dbt-sys` sits beside the core. The client and the server share the core alone: they meet on
/// the wire. Automation generates documents from what the programs say of themselves.
const ROOMS: &[(&str, &[&str])] = &[
    ("dbt-core", &[]),
    ("dbt-sys", &[]),
    ("dbt-ui", &["dbt-core"]),
    ("dbt-client", &["dbt-core", "dbt-sys"]),
    ("dbt-cli", &["dbt-core", "dbt-client", "dbt-ui", "dbt-sys"]),
    ("dbt-publisher", &["dbt-core", "dbt-client", "dbt-ui", "dbt-sys"]),
    ("dbt-server", &["dbt-core"]),
    ("dbt-testkit", &["dbt-core"]),
    ("dbt-fuzz", &["dbt-core", "dbt-client", "dbt-cli", "dbt-publisher", "dbt-server", "dbt-ui"]),
    ("dbt-bench", &["dbt-testkit"]),
    ("xtask", &["dbt-cli", "dbt-publisher", "dbt-server", "dbt-ui"]),
];

/// What tests may use besides, in any crate.
const WORKSHOP: &str = "dbt-testkit";

/// What is in no release, and may use what it likes.
const NEVER_SHIPPED: &[&str] = &[WORKSHOP, FUZZ, "dbt-bench"];

/// Fuzz targets: nothing uses them, and they use everything.
const FUZZ: &str = "dbt-fuzz";

/// Everything the core uses. A new line here is a decision: each of these is in every program.
const CORE: &[&str] = &[
    "base64",
    "jiff",
    "pgp",
    "ring",
    "semver",
    "serde",
    "serde_json",
    "sha2",
    "sigstore-crypto",
    "sigstore-tuf",
    "sigstore-types",
    "thiserror",
    "zeroize",
];

/// Crates that make a room what it is, and the only rooms that may use them.
const HEAVY: &[(&str, &[&str])] = &[
    ("hyper", &["dbt-server"]),
    ("tokio", &["dbt-server"]),
    ("ureq", &["dbt-client"]),
    ("libc", &["dbt-sys"]),
];

/// One dependency of a crate of ours.
struct Dependency {
    of: String,
    on: String,
    for_tests: bool,
}

/// Checks that our crates use one another as the diagram says.
pub(crate) fn rooms_depend_as_the_diagram_says(tree: &Tree) -> Vec<String> {
    check(tree, rooms)
}

fn rooms(dependencies: &[Dependency]) -> Vec<String> {
    let ours: BTreeSet<&str> = ROOMS.iter().map(|(room, _may)| *room).chain([WORKSHOP]).collect();
    let mut problems = Vec::new();
    for Dependency { of, on, for_tests } in dependencies {
        let Some((_room, may)) = ROOMS.iter().find(|(room, _may)| room == of) else {
            problems.push(format!("{of}: not in the diagram; add it there and to arrows.rs"));
            continue;
        };
        let allowed = may.contains(&on.as_str()) || (*for_tests && on == WORKSHOP);
        if ours.contains(on.as_str()) && !allowed {
            problems.push(format!("{of}: may not depend on {on}"));
        }
    }
    problems
}

/// Checks that the core's dependencies are the written ones, no more and no fewer.
pub(crate) fn the_core_has_the_dependencies_it_should(tree: &Tree) -> Vec<String> {
    check(tree, core)
}

fn core(dependencies: &[Dependency]) -> Vec<String> {
    let found: BTreeSet<&str> = dependencies
        .iter()
        .filter(|dependency| dependency.of == "dbt-core" && !dependency.for_tests)
        .map(|dependency| dependency.on.as_str())
        .collect();
    let written: BTreeSet<&str> = CORE.iter().copied().collect();
    let extra = found.difference(&written).map(|on| format!("dbt-core: uses {on} unwritten"));
    let gone = written.difference(&found).map(|on| format!("dbt-core: no longer uses {on}"));
    extra.chain(gone).collect()
}

/// Checks that an HTTP server, an async runtime, an HTTP client and the C library are each in one
/// room. Tests are free to use them.
pub(crate) fn heavy_crates_stay_in_their_room(tree: &Tree) -> Vec<String> {
    check(tree, heavy)
}

fn heavy(dependencies: &[Dependency]) -> Vec<String> {
    let shipped = dependencies.iter().filter(|dependency| {
        !dependency.for_tests && !NEVER_SHIPPED.contains(&dependency.of.as_str())
    });
    shipped
        .filter(|Dependency { of, on, .. }| {
            HEAVY.iter().any(|(heavy, rooms)| heavy == on && !rooms.contains(&of.as_str()))
        })
        .map(|Dependency { of, on, .. }| format!("{of}: {on} belongs to another room"))
        .collect()
}

/// Manifests with lints of their own, because one of the crate's files has `unsafe`.
const OWN_LINTS: &[&str] = &["crates/dbt-sys/Cargo.toml", "benches/Cargo.toml"];

/// Checks that every crate obeys the workspace's lints, but those in [`OWN_LINTS`].
pub(crate) fn every_crate_takes_the_workspace_lints(tree: &Tree) -> Vec<String> {
    tree.texts
        .iter()
        .filter(|(path, _text)| {
            path.ends_with("/Cargo.toml") && !OWN_LINTS.contains(&path.as_str())
        })
        .filter(|(_path, text)| !text.contains("[lints]\nworkspace = true\n"))
        .map(|(path, _text)| format!("{path}: does not take the workspace's lints"))
        .collect()
}

fn check(tree: &Tree, rule: fn(&[Dependency]) -> Vec<String>) -> Vec<String> {
    match read_dependencies(tree) {
        Ok(dependencies) => rule(&dependencies),
        Err(problem) => vec![problem],
    }
}

/// Asks cargo; needs no network and builds nothing.
fn read_dependencies(tree: &Tree) -> Result<Vec<Dependency>, String> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--offline", "--format-version", "1"])
        .current_dir(&tree.root)
        .output()
        .map_err(|error| format!("cannot run cargo metadata: {error}"))?;
    if !output.status.success() {
        return Err(format!("cargo metadata failed: {}", String::from_utf8_lossy(&output.stderr)));
    }
    let metadata: Value = serde_json::from_slice(&output.stdout)
        .map_err(|error| format!("cannot read what cargo metadata says: {error}"))?;
    let packages = metadata["packages"].as_array().ok_or("cargo metadata lists no packages")?;
    Ok(packages.iter().flat_map(dependencies_of).collect())
}

fn dependencies_of(package: &Value) -> Vec<Dependency> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let listed = package["dependencies"].as_array().into_iter().flatten();
    listed
        .map(|dependency| Dependency {
            of: text(&package["name"]),
            on: text(&dependency["name"]),
            for_tests: dependency["kind"] == "dev",
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dependency(of: &str, on: &str, for_tests: bool) -> Dependency {
        Dependency { of: of.to_owned(), on: on.to_owned(), for_tests }
    }

    #[test]
    fn an_arrow_that_is_not_drawn_is_refused() {
        let problems = rooms(&[
            dependency("dbt-cli", "dbt-client", false),
            dependency("dbt-cli", "serde", false),
            dependency("dbt-cli", "dbt-testkit", true),
            dependency("dbt-server", "dbt-client", false),
            dependency("dbt-client", "dbt-testkit", false),
            dependency("dbt-new", "serde", false),
        ]);
        assert_eq!(
            problems,
            [
                "dbt-server: may not depend on dbt-client",
                "dbt-client: may not depend on dbt-testkit",
                "dbt-new: not in the diagram; add it there and to arrows.rs",
            ]
        );
    }

    #[test]
    fn the_core_list_is_compared_both_ways() {
        let mut dependencies: Vec<_> =
            CORE[1..].iter().map(|on| dependency("dbt-core", on, false)).collect();
        dependencies.push(dependency("dbt-core", "proptest", true));
        dependencies.push(dependency("dbt-core", "reqwest", false));
        let problems = core(&dependencies);
        assert_eq!(
            problems,
            ["dbt-core: uses reqwest unwritten", "dbt-core: no longer uses base64"]
        );
    }

    #[test]
    fn a_runtime_in_the_client_is_refused() {
        let problems = heavy(&[
            dependency("dbt-client", "tokio", false),
            dependency("dbt-client", "tokio", true),
            dependency("dbt-bench", "libc", false),
            dependency("dbt-server", "tokio", false),
        ]);
        assert_eq!(problems, ["dbt-client: tokio belongs to another room"]);
    }
}
