//! Reads the brand that a build is for, and hands its names to `src/brand.rs`.
//!
//! `BRAND` is the name of the program (`nx`), from which all other names are made, or the path of a
//! file below the workspace that says some of them (docs/releasing.md). Without it nothing happens.

use std::collections::BTreeMap;
use std::io::{self, Write as _};
use std::path::Path;
use std::process::ExitCode;
use std::{env, fs};

/// The variable that names the brand.
const VARIABLE: &str = "BRAND";

/// What a file of a brand may say.
const KEYS: [&str; 10] = [
    "program",
    "name",
    "directory",
    "config-file",
    "repository-path",
    "tools-path",
    "installer",
    "environment-prefix",
    "oidc-client-id",
    "oidc-ssh-client-id",
];

/// Names of other programs that stand beside ours.
const TAKEN: [&str; 3] = ["catalog", "publisher", "reposerver"];

fn main() -> ExitCode {
    match told() {
        Ok(lines) => match io::stdout().write_all(lines.as_bytes()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(_closed) => ExitCode::FAILURE,
        },
        Err(problem) => {
            let line = format!("cargo::error=the brand cannot be used: {problem}\n");
            let _nobody_listens = io::stdout().write_all(line.as_bytes());
            ExitCode::FAILURE
        }
    }
}

/// Returns what cargo is told.
fn told() -> Result<String, String> {
    let mut lines = vec![
        format!("cargo::rerun-if-env-changed={VARIABLE}\n"),
        "cargo::rerun-if-changed=build.rs\n".to_owned(),
    ];
    #[expect(clippy::disallowed_methods, reason = "cargo tells build scripts by variables")]
    let (brand, package) = (env::var(VARIABLE).unwrap_or_default(), env::var("CARGO_MANIFEST_DIR"));
    if brand.is_empty() {
        return Ok(lines.concat());
    }
    let said = if brand.contains(['/', '.']) {
        let package = package.map_err(|error| error.to_string())?;
        let file = Path::new(&package).join("../..").join(&brand);
        lines.push(format!("cargo::rerun-if-changed={}\n", file.display()));
        let text = fs::read_to_string(&file)
            .map_err(|error| format!("failed to read `{}`: {error}", file.display()))?;
        read(&text).map_err(|problem| format!("`{brand}`: {problem}"))?
    } else {
        BTreeMap::from([("program".to_owned(), brand)])
    };
    let told = |(variable, name)| format!("cargo::rustc-env=BRAND_{variable}={name}\n");
    lines.extend(names(&said)?.into_iter().map(told));
    Ok(lines.concat())
}

/// Reads the lines `key = value` of a file; what follows a `#` at the start of a line is a comment.
pub(crate) fn read(text: &str) -> Result<BTreeMap<String, String>, String> {
    let mut said = BTreeMap::new();
    let lines = text.lines().map(str::trim).enumerate();
    for (index, line) in lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#')) {
        let number = index + 1;
        let (key, value) = line
            .split_once('=')
            .ok_or_else(|| format!("line {number} is not `key = value`: `{line}`"))?;
        let (key, value) = (key.trim(), value.trim());
        if !KEYS.contains(&key) {
            let known = KEYS.join("`, `");
            return Err(format!("line {number} has the unknown key `{key}`; known are `{known}`"));
        }
        if said.insert(key.to_owned(), value.to_owned()).is_some() {
            return Err(format!("line {number} says `{key}` once more"));
        }
    }
    Ok(said)
}

/// Returns every name: those that are said, and those that are made from the program's.
pub(crate) fn names(
    said: &BTreeMap<String, String>,
) -> Result<Vec<(&'static str, String)>, String> {
    let program = said.get("program").ok_or("it does not say `program`")?;
    let or = |key: &str, made: String| said.get(key).cloned().unwrap_or(made);
    let name = or("name", program.clone());
    let directory = or("directory", format!(".{program}"));
    let config = or("config-file", format!("{program}.json"));
    let repository = or("repository-path", program.clone());
    let tools = or("tools-path", format!("{program}-tools"));
    let installer = or("installer", format!("{program}-installer"));
    let prefix = or("environment-prefix", format!("{}_", program.to_uppercase()));

    let small = |text: &str| text.bytes().all(|it| it.is_ascii_lowercase() || it.is_ascii_digit());
    let begins = program.starts_with(|first: char| first.is_ascii_lowercase());
    if !begins || !small(program) || program.len() > 32 || TAKEN.contains(&program.as_str()) {
        return Err(format!(
            "`program` is `{program}`: expected up to 32 of `a-z` and `0-9`, the first a letter, because shells take \
             it into the names of functions; and none of `{}`",
            TAKEN.join("`, `")
        ));
    }
    for (key, value) in [
        ("directory", directory.trim_start_matches('.')),
        ("config-file", config.as_str()),
        ("repository-path", repository.as_str()),
        ("tools-path", tools.as_str()),
        ("installer", installer.as_str()),
    ] {
        let legal = |it: u8| it.is_ascii_alphanumeric() || b"._+-".contains(&it);
        let first = value.starts_with(|first: char| first.is_ascii_alphanumeric());
        if !first || !value.bytes().all(legal) || value.len() > 64 || value.ends_with('.') {
            return Err(format!(
                "`{key}` is `{value}`: expected one part of a path, up to 64 of `A-Z a-z 0-9 . _ + -`, the first a \
                 letter or digit, the last not a dot"
            ));
        }
    }
    if repository == tools {
        return Err(format!("`repository-path` and `tools-path` are both `{tools}`"));
    }
    let legal = |it: u8| it.is_ascii_uppercase() || it.is_ascii_digit() || it == b'_';
    let first = prefix.starts_with(|first: char| first.is_ascii_uppercase());
    if !first || !prefix.ends_with('_') || !prefix.bytes().all(legal) || prefix == "REPOSERVER_" {
        return Err(format!(
            "`environment-prefix` is `{prefix}`: expected `A-Z 0-9 _`, the first a letter, the last `_`; `REPOSERVER_` \
             is the server's"
        ));
    }
    if name.is_empty() || name.chars().any(char::is_control) {
        return Err("`name` is empty, or has characters that cannot be shown".to_owned());
    }
    Ok(vec![
        ("INSTALLER_FILE", format!("{installer}.json")),
        ("INSTALL_SCRIPT", format!("install_{program}.sh")),
        ("KEYCHAIN_INSTALL_SCRIPT", format!("install_{program}_mac_keychain.sh")),
        ("ROLLBACK_COMMAND", format!("{program}-rollback")),
        ("OIDC_CLIENT_ID", or("oidc-client-id", program.clone())),
        ("OIDC_SSH_CLIENT_ID", or("oidc-ssh-client-id", format!("{program}-ssh"))),
        ("MAC_CONFIG_DIRECTORY", format!("/Library/Application Support/{program}")),
        ("SYSTEM_CONFIG_DIRECTORY", format!("/etc/{program}")),
        ("SYSTEM_STORE", format!("/var/lib/{program}/store")),
        ("REPOSITORY_ALTERNATIVE", format!("/({repository}|")),
        ("PROGRAM", program.clone()),
        ("NAME", name),
        ("DIRECTORY", directory),
        ("CONFIG_FILE", config),
        ("REPOSITORY_PATH", repository),
        ("TOOLS_PATH", tools),
        ("INSTALLER", installer),
        ("ENVIRONMENT_PREFIX", prefix),
    ])
}
