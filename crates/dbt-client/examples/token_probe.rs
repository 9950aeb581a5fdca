//! Gets a token the way a run does, for the tests: `token_probe HOME ISSUER`. Says the token's digest.

use std::error::Error;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use dbt_client::oidc::exchange::{Exchange, SubjectToken, with_keys};
use dbt_client::oidc::{Addresses, Channel, Client, Provider};
use dbt_client::settings::{Network, Places};
use dbt_client::source::Connector;
use dbt_client::token_cache::{Key, Need, Recipient, TokenCache};
use dbt_client::url::RepositoryUrl;
use dbt_core::clock::Clock;
use dbt_core::digest::Digest;
use dbt_core::secret::Secret;

#[expect(clippy::print_stderr, reason = "a program for tests has no other way to complain")]
fn main() -> ExitCode {
    let Err(error) = run() else { return ExitCode::SUCCESS };
    eprintln!("error: {error}");
    ExitCode::FAILURE
}

#[expect(clippy::print_stdout, reason = "the tests read it")]
fn run() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    let [home, issuer] = arguments.as_slice() else {
        return Err("usage: token_probe HOME ISSUER".into());
    };
    let home = PathBuf::from(home);
    let places = Places {
        temporary: home.clone(),
        home: Some(home),
        read_only_home: None,
        store: None,
        read_only_stores: Vec::new(),
        links: None,
    };
    let issuer = issuer.to_string_lossy().into_owned();
    let server: RepositoryUrl = "https://dbt.example.com".parse()?;
    let origin = server.origin().ok_or("no origin")?.clone();
    let client = Client { id: "app".to_owned(), secret: None, audience: None };
    let (issuer_of_key, client_of_key) = (issuer.clone(), client.id.clone());
    let (audience, who) = (String::new(), String::new());
    let key = Key {
        issuer: issuer_of_key,
        client: client_of_key,
        audience,
        to: Recipient::at_home(origin),
        who,
    };
    let cache = TokenCache::open(&places, |_problem| {});
    let need = Need { now: Clock::System.now(), patience: Duration::from_mins(2), refused: None };
    let provider = Provider::of_dex(&Addresses::of(issuer.parse()?));
    let connector = Connector::new(&Network::default(), None, "dbt/4.0.0");
    let channel = Channel::new(&connector, Clock::System, 1.0);
    let exchange = Exchange::Connector("ssh".to_owned());
    let tokens = cache.get_or_obtain(&key, &need, |_renewal| {
        let token = Secret::new("s3cr3t".to_owned());
        let keys = [Ok(SubjectToken { key: "a key".to_owned(), token })];
        with_keys(&channel, &provider, &client, &exchange, keys)
    })?;
    println!("{}", Digest::of(tokens.token.expose().as_bytes()));
    Ok(())
}
