//! `reposerver serve`, which is also what the program does without a command.

use std::io::{self, Write as _};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;

use super::Outcome;
use crate::app::{self, App};
use crate::args::Flags;
use crate::env::Environment;
use crate::log;
use crate::log::causes;
use crate::operate::live::{Live, Read};
use crate::operate::notify;
use crate::operate::socket::Socket;
use crate::serve::{self, Listeners, Signals};

/// Serves until told to stop.
pub(super) fn run(flags: &Flags, environment: &Environment) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let outcome = runtime.block_on(listen(flags, environment));
    runtime.shutdown_timeout(Duration::from_secs(2));
    log::finish();
    outcome
}

async fn listen(flags: &Flags, environment: &Environment) -> Outcome {
    let read = Read::of(flags, environment)?;
    let config = &read.config;
    // From here on they end nothing by themselves.
    let signals = Signals::listen()?;
    let app = App::new(config)?;
    let public = bind(&format!("{}:{}", config.address, config.port)).await?;
    let metrics = match &config.metrics {
        Some(place) => Some(bind(place).await?),
        None => None,
    };
    let host = app.storage.own_state().map(Socket::open);
    // The files of users were read before there is a log.
    let mut notices = config.notices.clone();
    notices.extend(app::complaints(config)?);
    notices.extend(app.notices.iter().cloned());
    let address = public.local_addr()?;
    // The first line is for people and scripts; the log comes after it.
    let root = config.root.display();
    let scheme = if config.tls.is_some() { "https" } else { "http" };
    writeln!(io::stderr(), "reposerver listening on {scheme}://{address}, serving {root}")?;
    log::start(config.log)?;
    if let Some(metrics) = &metrics {
        let address = metrics.local_addr()?;
        tracing::info!("metrics and health on http://{address}/-/metrics");
    }
    if let Some(state) = app.storage.state_within_the_tree() {
        let state = state.display();
        tracing::info!("`{state}` lies in the tree; other servers of this tree must not show it");
    }
    if let Some(unusable) =
        app.audit.unusable().filter(|_why| app.policy.writable && !config.read_only)
    {
        let hint = unusable.hint();
        tracing::error!("nothing can be written, and reading goes on: {unusable}; {hint}");
    }
    for notice in &notices {
        tracing::warn!("{notice}");
    }
    let live = Arc::new(Live::new(flags.clone(), environment.clone(), read, app));
    let listeners = Listeners { public, metrics, host: usable(host) };
    notify::ready(environment);
    serve::serve(live, listeners, signals).await?;
    Ok(())
}

async fn bind(place: &str) -> Result<TcpListener, String> {
    let bound = TcpListener::bind(place).await;
    bound.map_err(|error| format!("failed to listen on `{place}`: {error}"))
}

/// Returns the socket for commands on this machine. Without one, everything else works.
fn usable(host: Option<io::Result<Socket>>) -> Option<Socket> {
    match host? {
        Ok(socket) => Some(socket),
        Err(error) => {
            tracing::warn!(
                error = causes(&error),
                "commands on this machine cannot reach the server"
            );
            None
        }
    }
}
