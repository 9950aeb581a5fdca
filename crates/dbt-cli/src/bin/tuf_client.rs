//! The client's updates of signed metadata as a program of their own, for suites that test clients
//! of The Update Framework. Not in releases.
//!
//! ```text
//! --metadata-dir DIR init ROOT_FILE
//! --metadata-dir DIR --metadata-url URL refresh
//! --metadata-dir DIR --metadata-url URL --target-name PATH... --target-base-url URL
//!     --target-dir DIR download
//! ```
//!
//! It ends with 0 or 1.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use dbt_client::fsx;
use dbt_client::settings::Network;
use dbt_client::source::{Connector, Files};
use dbt_client::tuf::{self, Kept, Web};
use dbt_core::clock::Clock;
use dbt_core::trust::metadata::Target;
use dbt_ui::exit_code::ExitCode as Code;
use dbt_ui::printer::{Colour, Printer, Verbosity};
use dbt_ui::report::Report;

/// The most bytes of a root that is brought by hand.
const ROOT_LIMIT: u64 = dbt_core::trust::metadata::ROOT_LIMIT;

#[derive(Parser)]
struct Line {
    /// Where trusted metadata is kept.
    #[arg(long)]
    metadata_dir: PathBuf,
    /// Where the repository's metadata is.
    #[arg(long)]
    metadata_url: Option<String>,
    /// What to download; may be given several times.
    #[arg(long)]
    target_name: Vec<String>,
    /// Where the repository's targets are.
    #[arg(long)]
    target_base_url: Option<String>,
    /// Where downloaded targets are put.
    #[arg(long)]
    target_dir: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Trusts a root from now on.
    Init {
        /// The root.
        root: PathBuf,
    },
    /// Updates the top-level metadata.
    Refresh,
    /// Updates the top-level metadata and downloads targets.
    Download,
}

type Failed = Box<dyn Error + Send + Sync>;

fn main() -> ExitCode {
    let outcome = Line::try_parse().map_err(Failed::from).and_then(|line| run(&line));
    let Err(error) = outcome else { return ExitCode::SUCCESS };
    let printer = Printer::standard(Verbosity::Normal, Colour::Never);
    printer.report(&Report::new(Code::VERIFICATION_REFUSED, error));
    ExitCode::FAILURE
}

fn run(line: &Line) -> Result<(), Failed> {
    // Once: everything is judged at the time at which the update begins.
    let now = Clock::System.now();
    let kept = Kept::open(&line.metadata_dir)?;
    match &line.command {
        Command::Init { root } => {
            tuf::init(&kept, &fsx::read_limited(root, ROOT_LIMIT)?, now)?;
        }
        Command::Refresh => {
            tuf::refresh(&kept, &web(line, false)?, now)?;
        }
        Command::Download => {
            let directory = line.target_dir.as_deref().ok_or("`--target-dir` is missing")?;
            let remote = web(line, true)?;
            let mut trusted = tuf::refresh(&kept, &remote, now)?;
            for name in &line.target_name {
                let target = tuf::find(&mut trusted, name, &kept, &remote)?;
                bring(target, trusted.has_consistent_snapshots(), directory, &remote)?;
            }
        }
    }
    Ok(())
}

fn web(line: &Line, with_targets: bool) -> Result<Web, Failed> {
    let connector = Connector::new(&Network::default(), None, env!("CARGO_BIN_NAME"));
    let at = |url: &str| Files::at(url, &connector);
    let metadata = line.metadata_url.as_deref().ok_or("`--metadata-url` is missing")?;
    let targets = match line.target_base_url.as_deref() {
        Some(url) if with_targets => Some(at(url)?),
        None if with_targets => return Err("`--target-base-url` is missing".into()),
        _ => None,
    };
    Ok(Web { metadata: at(metadata)?, targets, time_scale: 1.0 })
}

/// Puts a target where it belongs, unless it is there.
fn bring(
    target: Target,
    has_consistent_snapshots: bool,
    directory: &Path,
    remote: &Web,
) -> Result<(), Failed> {
    let file = directory.join(target.file_name());
    if let Ok(there) = fsx::read_own(&file, target.length())
        && target.clone().verify(there).is_ok()
    {
        return Ok(());
    }
    let matching = tuf::download(target, has_consistent_snapshots, remote)?;
    fsx::create_dir_all(directory, 0o700)?;
    Ok(fsx::write_atomic(&file, matching.bytes(), 0o600)?)
}
