//! What a program is made of, as a `CycloneDX` document.
//!
//! It is made from what cargo has resolved and locked, and says nothing of when and where, so that
//! two builds have the same one. It lists what is linked into the program for one target, each with
//! its licence and the checksum of its source; what only helps to compile it is left out.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::process::Command;

use serde_json::{Value, json};

/// The version of the format.
const FORMAT: &str = "1.6";

/// Returns the document of one program.
///
/// `besides` is what cargo does not know of and is linked in all the same, as `NAME=VERSION`.
pub(crate) fn document(
    program: &str,
    package: &str,
    target: &str,
    besides: &[&str],
) -> Result<String, String> {
    let resolved = resolved(target)?;
    let root = crate::workspace_root();
    let locked = fs::read_to_string(root.join("Cargo.lock"))
        .map_err(|error| format!("failed to read `Cargo.lock`: {error}"))?;
    let document = described(&resolved, &checksums(&locked), program, package, besides)?;
    serde_json::to_string_pretty(&document).map_err(|error| error.to_string())
}

/// Returns what cargo has resolved for a target. It looks at nothing but what is on this machine.
fn resolved(target: &str) -> Result<Value, String> {
    let words = ["metadata", "--locked", "--offline", "--format-version", "1"];
    let output = Command::new(env!("CARGO"))
        .args(words)
        .args(["--filter-platform", target])
        .current_dir(crate::workspace_root())
        .output()
        .map_err(|error| format!("failed to start cargo: {error}"))?;
    if !output.status.success() {
        return Err(format!("cargo metadata: {}", String::from_utf8_lossy(&output.stderr).trim()));
    }
    serde_json::from_slice(&output.stdout).map_err(|error| format!("cargo metadata: {error}"))
}

/// Returns the checksums of a lock file, by name and version.
fn checksums(locked: &str) -> BTreeMap<(String, String), String> {
    let quoted = |line: &str, key: &str| {
        let value = line.strip_prefix(key)?.strip_prefix(" = \"")?;
        Some(value.strip_suffix('"')?.to_owned())
    };
    let packages = locked.split("[[package]]").skip(1);
    let found = packages.filter_map(|package| {
        let find = |key: &str| package.lines().find_map(|line| quoted(line, key));
        Some(((find("name")?, find("version")?), find("checksum")?))
    });
    found.collect()
}

fn described(
    resolved: &Value,
    checksums: &BTreeMap<(String, String), String>,
    program: &str,
    package: &str,
    besides: &[&str],
) -> Result<Value, String> {
    let packages: BTreeMap<&str, &Value> = members(resolved, "/packages")
        .filter_map(|package| Some((package["id"].as_str()?, package)))
        .collect();
    let is_linked =
        |id: &str| !packages.get(id).is_some_and(|package| runs_in_the_compiler(package));
    let nodes: BTreeMap<&str, &Value> = members(resolved, "/resolve/nodes")
        .filter_map(|node| Some((node["id"].as_str()?, node)))
        .filter(|(id, _node)| is_linked(id))
        .collect();
    let root = packages
        .iter()
        .find(|(_id, it)| it["name"] == package && it["source"].is_null())
        .map(|(id, _package)| *id)
        .ok_or_else(|| format!("there is no package `{package}` in this workspace"))?;
    let linked = reached(&nodes, root);
    let reference = |id: &str| purl(packages.get(id).copied().unwrap_or(&Value::Null));
    let component = |id: &&str| packages.get(id).map(|package| of_package(package, checksums));
    let mut components: Vec<Value> =
        linked.iter().filter(|id| **id != root).filter_map(component).collect();
    for beside in besides {
        let (name, version) =
            beside.split_once('=').ok_or_else(|| format!("`{beside}` is not `NAME=VERSION`"))?;
        let reference = format!("pkg:generic/{name}@{version}");
        components.push(json!({
            "type": "library", "bom-ref": reference, "name": name, "version": version,
            "purl": reference,
        }));
    }
    components.sort_by_key(|component| component["bom-ref"].to_string());
    let mut dependencies: Vec<Value> = linked
        .iter()
        .map(|id| {
            let on: BTreeSet<String> = uses(&nodes, id).map(reference).collect();
            json!({ "ref": reference(id), "dependsOn": on })
        })
        .collect();
    dependencies.sort_by_key(|dependency| dependency["ref"].to_string());
    let whole = packages.get(root).copied().unwrap_or(&Value::Null);
    Ok(json!({
        "bomFormat": "CycloneDX",
        "specVersion": FORMAT,
        "version": 1,
        "metadata": { "component": {
            "type": "application",
            "bom-ref": purl(whole),
            "name": program,
            "version": whole["version"],
            "licenses": [{ "expression": whole["license"] }],
        } },
        "components": components,
        "dependencies": dependencies,
    }))
}

fn members<'a>(value: &'a Value, path: &str) -> impl Iterator<Item = &'a Value> {
    value.pointer(path).and_then(Value::as_array).into_iter().flatten()
}

/// Returns everything that is linked into a package, itself included.
fn reached<'a>(nodes: &BTreeMap<&str, &'a Value>, root: &'a str) -> BTreeSet<&'a str> {
    let mut reached = BTreeSet::new();
    let mut open = vec![root];
    while let Some(id) = open.pop() {
        if reached.insert(id) {
            open.extend(uses(nodes, id));
        }
    }
    reached
}

/// Says whether a package is a macro.
fn runs_in_the_compiler(package: &Value) -> bool {
    let mut kinds = members(package, "/targets").flat_map(|target| members(target, "/kind"));
    kinds.any(|kind| kind == "proc-macro")
}

/// Returns what a package itself uses once it runs: not for its tests, and not to be compiled.
fn uses<'a>(nodes: &BTreeMap<&str, &'a Value>, id: &str) -> impl Iterator<Item = &'a str> {
    let dependencies = nodes.get(id).copied().into_iter().flat_map(|node| members(node, "/deps"));
    let runs = |it: &&Value| members(it, "/dep_kinds").any(|kind| kind["kind"].is_null());
    let dependencies = dependencies.filter(runs);
    let ids = dependencies.filter_map(|dependency| dependency["pkg"].as_str());
    ids.filter(|id| nodes.contains_key(id))
}

fn purl(package: &Value) -> String {
    let text = |key: &str| package[key].as_str().unwrap_or_default().to_owned();
    format!("pkg:cargo/{}@{}", text("name"), text("version"))
}

fn of_package(package: &Value, checksums: &BTreeMap<(String, String), String>) -> Value {
    let text = |key: &str| package[key].as_str().unwrap_or_default().to_owned();
    let mut component = json!({
        "type": "library",
        "bom-ref": purl(package),
        "name": package["name"],
        "version": package["version"],
        "purl": purl(package),
    });
    if let Some(license) = package["license"].as_str() {
        // Older packages write a slash where the expression has a word.
        component["licenses"] = json!([{ "expression": license.replace('/', " OR ") }]);
    }
    if let Some(checksum) = checksums.get(&(text("name"), text("version"))) {
        component["hashes"] = json!([{ "alg": "SHA-256", "content": checksum }]);
    }
    component
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: &str = "x86_64-unknown-linux-musl";

    fn names(document: &Value) -> Vec<&str> {
        members(document, "/components").filter_map(|it| it["name"].as_str()).collect()
    }

    #[test]
    fn what_is_linked_is_listed_with_its_checksum_and_nothing_else_is() {
        let text = document("dbt", "dbt-cli", HERE, &["musl=1.2.5"]).unwrap();
        let document: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(document["metadata"]["component"]["name"], "dbt");
        let names = names(&document);
        for linked in ["dbt-client", "musl", "pgp", "rustls"] {
            assert!(names.contains(&linked), "{linked}");
        }
        for other in ["dbt-testkit", "proptest", "clap_derive", "rustls-platform-verifier"] {
            assert!(!names.contains(&other), "{other}");
        }
        for component in members(&document, "/components") {
            let name = component["name"].as_str().unwrap();
            let is_ours = name.starts_with("dbt-") || name == "musl";
            let checksum = component.pointer("/hashes/0/content").and_then(Value::as_str);
            assert_eq!(checksum.map(str::len), (!is_ours).then_some(64), "{component}");
            assert!(name == "musl" || component["licenses"][0]["expression"].is_string());
        }
        let listed: Vec<&Value> =
            members(&document, "/components").map(|it| &it["bom-ref"]).collect();
        for dependency in members(&document, "/dependencies") {
            for on in members(dependency, "/dependsOn") {
                assert!(listed.contains(&on), "{on}");
            }
        }
    }

    #[test]
    fn two_documents_are_the_same() {
        let twice = [(); 2].map(|()| document("publisher", "dbt-publisher", HERE, &[]).unwrap());
        assert_eq!(twice[0], twice[1]);
        // Nothing of this machine is in it.
        assert!(!twice[0].contains(env!("CARGO_MANIFEST_DIR")), "{}", twice[0]);
    }

    #[test]
    fn what_does_not_exist_is_named() {
        let error = document("x", "dbt-nothing", HERE, &[]).unwrap_err();
        assert_eq!(error, "there is no package `dbt-nothing` in this workspace");
        let error = document("dbt", "dbt-cli", HERE, &["musl"]).unwrap_err();
        assert_eq!(error, "`musl` is not `NAME=VERSION`");
    }
}
