//! The program: read the arguments and the configuration, serve, report.

use std::error::Error;
use std::io::{self, Write as _};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Parser as _;
use dbt_server::app::App;
use dbt_server::args::{Arguments, Command};
use dbt_server::config::Config;
use dbt_server::{env, log, serve};
use tokio::net::TcpListener;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let outcome = match arguments.command.unwrap_or(Command::Serve) {
        Command::Serve => run(&arguments),
        Command::CheckConfig => check(&arguments),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            report(error.as_ref());
            ExitCode::FAILURE
        }
    }
}

fn check(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    let config = Config::resolve(&arguments.flags, &env::read())?;
    io::stdout().write_all(config.explained().as_bytes())?;
    Ok(())
}

fn run(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    let config = Config::resolve(&arguments.flags, &env::read())?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let outcome = runtime.block_on(listen(&config));
    runtime.shutdown_timeout(Duration::from_secs(2));
    outcome
}

async fn listen(config: &Config) -> Result<(), Box<dyn Error>> {
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
    for notice in &config.notices {
        tracing::warn!("{notice}");
    }
    serve::serve(app, listener).await?;
    Ok(())
}

/// Prints an error and its causes.
fn report(error: &dyn Error) {
    let mut text = format!("error: {error}\n");
    let mut cause = error.source();
    while let Some(error) = cause {
        text.extend(["  caused by: ", &error.to_string(), "\n"]);
        cause = error.source();
    }
    // If nobody can be told, the exit code still tells.
    let _nobody_listens = io::stderr().write_all(text.as_bytes());
}
