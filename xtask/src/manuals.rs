//! What stands beside the programs of a release: manual pages and completions, made out of the
//! grammars by which the programs read what is typed.
//!
//! They carry the names of the brand that this program was built for.

use std::fs;
use std::path::Path;

use clap::CommandFactory as _;

use crate::completions;

/// Writes `man/man1` and `completions` below a directory.
pub(crate) fn write(directory: &Path) -> Result<(), String> {
    let pages = made(directory, "man/man1")?;
    let programs = [
        dbt_cli::help::grammar(),
        dbt_cli::cli::catalog_grammar(),
        dbt_cli::installer_grammar(),
        dbt_publisher::grammar(),
        dbt_server::args::Arguments::command(),
    ];
    for program in programs {
        let program = program.version(env!("CARGO_PKG_VERSION")).disable_version_flag(true);
        let name = program.get_name().to_owned();
        clap_mangen::generate_to(program, &pages)
            .map_err(|error| format!("failed to write the pages of `{name}`: {error}"))?;
    }
    let scripts = made(directory, "completions")?;
    for (path, script) in completions::scripts() {
        let name = Path::new(&path).file_name().unwrap_or_default();
        let file = scripts.join(name);
        fs::write(&file, script)
            .map_err(|error| format!("failed to write `{}`: {error}", file.display()))?;
    }
    Ok(())
}

fn made(directory: &Path, below: &str) -> Result<std::path::PathBuf, String> {
    let made = directory.join(below);
    fs::create_dir_all(&made)
        .map_err(|error| format!("failed to make `{}`: {error}", made.display()))?;
    Ok(made)
}
