//! The keys of an identity provider, read together.

use std::str::FromStr;
use std::sync::Arc;

use super::{ConfigError, Keys, Means, Surroundings, Text};
use crate::oidc::exchange::Exchange;
use crate::oidc::{Addresses, Client, Issuer, ProviderSettings};
use crate::source::EndpointUrl;

/// What the keys come to.
pub(super) enum Configured {
    Provider(Box<ProviderSettings>),
    /// This key is missing.
    Missing(&'static str),
}

/// Reads them. A key of the SSH agent signs without anybody noticing where `connectorId` or one of
/// the keys that name an SSH key says so.
pub(super) fn settings(
    keys: Keys<'_>,
    around: Surroundings<'_>,
    time_scale: f64,
    means: &Means,
) -> Result<Configured, ConfigError> {
    let Some(issuer) = written::<Issuer>(keys.get(|keys| &keys.issuer_url), around)? else {
        return Ok(Configured::Missing("issuerUrl"));
    };
    let text = |key| {
        let expanded = keys.oidc(key).map(|text| text.expand(around.variables)).transpose()?;
        Ok(expanded.filter(|text| !text.expose().is_empty()))
    };
    let Some(id) = text("oidcClientId")? else {
        return Ok(Configured::Missing("oidcClientId"));
    };
    let url = |key| written::<EndpointUrl>(keys.oidc(key), around);
    let addresses = Addresses {
        issuer,
        discovery: url("discoveryUrl")?,
        browser: url("browserUrl")?,
        backchannel: url("backchannelUrl")?,
        keys: url("jwksUri")?,
    };
    let audience = text("oidcAudience")?.map(|text| text.expose().clone());
    let client = Client { id: id.expose().clone(), secret: text("oidcClientSecret")?, audience };
    let connector = text("connectorId")?.map(|text| text.expose().clone());
    let public_key = keys.public_key(around)?.map(|(_text, key)| Arc::new(key));
    let exchange = match connector {
        Some(connector) => Some(Exchange::Connector(connector)),
        None => public_key.is_some().then_some(Exchange::Standard),
    };
    let username = keys.username(around)?.map(Arc::new);
    let (agent, clock) = (means.agent.clone(), means.clock);
    Ok(Configured::Provider(Box::new(ProviderSettings {
        addresses,
        client,
        exchange,
        username,
        public_key,
        agent,
        clock,
        time_scale,
    })))
}

/// Reads a key that holds a URL; one that is empty is as good as none.
fn written<T: FromStr>(
    text: Option<&Text>,
    around: Surroundings<'_>,
) -> Result<Option<T>, ConfigError>
where
    T::Err: std::error::Error + Send + Sync + 'static,
{
    let Some(text) = text else { return Ok(None) };
    let is_empty = text.expand(around.variables)?.expose().is_empty();
    if is_empty { Ok(None) } else { text.read(around.variables).map(Some) }
}
