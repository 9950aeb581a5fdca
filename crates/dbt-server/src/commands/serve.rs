//! `reposerver serve`, which is also what the program does without a command.

use std::io::{self, Write as _};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;

use super::Outcome;
use crate::app::{self, App};
use crate::args::Flags;
use crate::config::Config;
use crate::env::Environment;
use crate::{log, serve};

/// Serves until told to stop.
pub(super) fn run(flags: &Flags, environment: &Environment) -> Outcome {
    let config = Config::resolve(flags, environment)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let outcome = runtime.block_on(listen(&config));
    runtime.shutdown_timeout(Duration::from_secs(2));
    outcome
}

async fn listen(config: &Config) -> Outcome {
    let app = Arc::new(App::new(config)?);
    let listener =
        TcpListener::bind((config.address.as_str(), config.port)).await.map_err(|error| {
            format!("failed to listen on `{}:{}`: {error}", config.address, config.port)
        })?;
    let address = listener.local_addr()?;
    // The first line is for people and scripts; everything after it is JSON.
    let root = config.root.display();
    writeln!(io::stderr(), "reposerver listening on http://{address}, serving {root}")?;
    log::start();
    if let Some(state) = app.storage.state_within_the_tree() {
        let state = state.display();
        tracing::info!("`{state}` lies in the tree; other servers of this tree must not show it");
    }
    // The files of users were read before there was a log.
    let complaints = app::complaints(config)?;
    for notice in config.notices.iter().chain(&complaints) {
        tracing::warn!("{notice}");
    }
    serve::serve(app, listener).await?;
    Ok(())
}
