//! Signing in, against a provider of our own on a real socket.

mod browser;
mod ci;
mod device;
mod discovery;
mod exchange;
mod page;
#[cfg(target_os = "linux")]
mod processes;
mod refresh;

use std::error::Error;

use dbt_client::oidc::{Addresses, Channel, Client, OidcError, Provider};
use dbt_core::clock::Clock;
use dbt_core::secret::Secret;
use dbt_testkit::token_endpoint::TokenEndpoint;

use crate::source_http::connector;

/// The way to every provider here.
pub(crate) fn channel() -> Channel {
    Channel::new(&connector(), Clock::System, 1.0)
}

pub(crate) fn addresses(endpoint: &TokenEndpoint) -> Addresses {
    Addresses::of(endpoint.url().parse().unwrap())
}

pub(crate) fn discovered(endpoint: &TokenEndpoint) -> Provider {
    let provider = Provider::discover(&channel(), &addresses(endpoint)).unwrap();
    endpoint.take_asked();
    provider
}

/// A client that is installed on many machines, so that it has no secret.
pub(crate) fn client() -> Client {
    Client { id: "app".to_owned(), secret: None, audience: None }
}

pub(crate) fn secret(text: &str) -> Secret<String> {
    Secret::new(text.to_owned())
}

/// Returns an error and its causes, with the provider's URL as `URL`.
pub(crate) fn said(error: &OidcError, endpoint: &TokenEndpoint) -> String {
    let mut words = vec![error.to_string()];
    let mut cause = error.source();
    while let Some(error) = cause {
        words.push(error.to_string());
        cause = error.source();
    }
    words.join(": ").replace(&endpoint.url(), "URL")
}
