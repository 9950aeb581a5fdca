//! What a build takes for a brand, and what it refuses.

#[path = "../../build.rs"]
#[expect(dead_code, reason = "what cargo is told is not asked for here")]
mod build;

use std::collections::BTreeMap;

/// Returns the names that a file of a brand gives, or why it is refused.
fn names(text: &str) -> Result<BTreeMap<&'static str, String>, String> {
    let said = build::read(text)?;
    Ok(build::names(&said)?.into_iter().collect())
}

#[test]
fn all_names_are_made_from_the_programs() {
    let names = names("program = nx").unwrap();
    for (variable, name) in [
        ("PROGRAM", "nx"),
        ("NAME", "nx"),
        ("DIRECTORY", ".nx"),
        ("CONFIG_FILE", "nx.json"),
        ("REPOSITORY_PATH", "nx"),
        ("TOOLS_PATH", "nx-tools"),
        ("INSTALLER", "nx-installer"),
        ("ENVIRONMENT_PREFIX", "NX_"),
        ("OIDC_CLIENT_ID", "nx"),
        ("OIDC_SSH_CLIENT_ID", "nx-ssh"),
        ("SYSTEM_CONFIG_DIRECTORY", "/etc/nx"),
    ] {
        assert_eq!(names.get(variable).map(String::as_str), Some(name), "{variable}");
    }
    // None of them is the product's own.
    assert!(names.values().all(|name| !name.contains("dbt")), "{names:?}");
}

#[test]
fn what_a_file_says_stands() {
    let text = "# ours\n\nprogram = nx\n name =  Nimbus Exchange \nrepository-path=dbt\ndirectory = .nimbus\n";
    let names = names(text).unwrap();
    assert_eq!(names["NAME"], "Nimbus Exchange");
    assert_eq!(names["REPOSITORY_PATH"], "dbt");
    assert_eq!(names["DIRECTORY"], ".nimbus");
    assert_eq!(names["CONFIG_FILE"], "nx.json");
}

#[test]
fn names_that_cannot_be_are_refused_with_the_key() {
    for (text, words) in [
        ("name = Nimbus", "it does not say `program`"),
        ("program", "line 1 is not `key = value`: `program`"),
        ("program = nx\nprogramm = y", "line 2 has the unknown key `programm`"),
        ("program = nx\nprogram = ny", "line 2 says `program` once more"),
        ("program = Nx", "`program` is `Nx`: expected"),
        ("program = my-nx", "`program` is `my-nx`: expected"),
        ("program = 1nx", "`program` is `1nx`: expected"),
        ("program = catalog", "none of `catalog`, `publisher`, `reposerver`"),
        ("program = nx\ndirectory = ../x", "`directory` is `/x`: expected one part of a path"),
        ("program = nx\nconfig-file = a/b", "`config-file` is `a/b`: expected one part"),
        ("program = nx\ntools-path = nx", "`repository-path` and `tools-path` are both `nx`"),
        ("program = nx\nenvironment-prefix = nx_", "`environment-prefix` is `nx_`: expected"),
        ("program = nx\nenvironment-prefix = REPOSERVER_", "is the server's"),
        ("program = nx\nname =", "`name` is empty"),
    ] {
        let refused = names(text).unwrap_err();
        assert!(refused.contains(words), "{text}: {refused}");
    }
}
