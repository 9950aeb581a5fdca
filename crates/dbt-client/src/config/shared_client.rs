//! Servers that are one client at one identity provider.
//!
//! A provider says for which client and audience a token is, and not for which server. Where two
//! servers take the same ones, each can use at the other what it is sent: a server that is added to
//! a configuration, and names the sign-in of another one as its own, would be handed its users. The
//! same for a server whose audience is the address of another one. So nobody is signed in for a
//! server where what it would be sent counts elsewhere, too.
//!
//! An audience that looks like a URL and is nobody's address here is none of this: providers call
//! their interfaces so (Auth0, for one), and whose it is, only they know.

use std::collections::BTreeSet;

use dbt_core::name::ServerName;

use super::{ConfigFile, Keys, ServerEntry, Surroundings, Text, Urls};
use crate::url::{Origin, RepositoryUrl};

/// Another server, at which it would count what a server is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SharedClient {
    /// The server that is not signed in to.
    pub server: ServerName,
    /// The other one.
    pub other: ServerName,
    /// Their provider.
    pub issuer: String,
    /// Their client there.
    pub client: String,
    /// The audience of the server that is not signed in to, where it is the other one's address.
    pub address: Option<String>,
}

/// Who somebody is at a provider, and for whom its tokens are.
struct ClientThere {
    issuer: String,
    client: String,
    audience: Option<String>,
}

impl ConfigFile {
    /// Returns a server at which it counts what the server of this entry, which is at these origins,
    /// would be sent, unless it is only sent where that one is.
    ///
    /// An entry with a variable that is not set has no client here, and harms nobody else's.
    pub fn shared_client(
        &self,
        entry: &ServerEntry,
        origins: &BTreeSet<Origin>,
        around: Surroundings<'_>,
    ) -> Option<SharedClient> {
        let there = ClientThere::of(self.keys_of(entry, origins, around), around)?;
        let audience = there.audience.as_deref().filter(|audience| !names_one(audience, origins));
        for other in self.servers.iter().filter(|other| other.name != entry.name) {
            let others = Urls::of(other, around).map(|urls| urls.origins()).unwrap_or_default();
            if origins.is_subset(&others) {
                continue;
            }
            let address = audience.filter(|audience| names_one(audience, &others));
            let its = ClientThere::of(self.keys_of(other, &others, around), around);
            if address.is_some() || its.is_some_and(|its| there.is_shared_with(&its)) {
                return Some(SharedClient {
                    server: entry.name.clone(),
                    other: other.name.clone(),
                    address: address.map(str::to_owned),
                    issuer: there.issuer,
                    client: there.client,
                });
            }
        }
        None
    }
}

/// Says whether an audience is the address of a server at one of these origins: a URL there, or the
/// host.
fn names_one(audience: &str, origins: &BTreeSet<Origin>) -> bool {
    let url = audience.parse::<RepositoryUrl>().ok();
    match url.as_ref().and_then(RepositoryUrl::origin) {
        Some(origin) => origins.contains(origin),
        None => origins.iter().any(|origin| {
            let names = [origin.host().to_owned(), origin.authority()];
            names.iter().any(|name| name.eq_ignore_ascii_case(audience))
        }),
    }
}

impl SharedClient {
    /// Says what is wrong, and what ends it.
    pub fn words(&self) -> String {
        let Self { server, other, issuer, client, address } = self;
        if let Some(address) = address {
            return format!(
                "`{address}`, the `oidcAudience` of the server `{server}`, is the address of the server `{other}`, so that what `{server}` is sent would count there: write the one that its own administrator names, or leave it out"
            );
        }
        format!(
            "the servers `{server}` and `{other}` are the same client `{client}` at `{issuer}`, so that each could use at the other what it is sent: give both an `oidcAudience` of their own, which the other does not accept, or `{server}` another `oidcClientId`, or remove the one that you do not know"
        )
    }
}

impl ClientThere {
    fn of(keys: Keys<'_>, around: Surroundings<'_>) -> Option<Self> {
        let text = |text: Option<&Text>| {
            let text = text?.expand(around.variables).ok()?.expose().clone();
            (!text.is_empty()).then_some(text)
        };
        let is_meant = text(keys.get(|keys| &keys.auth_type)).is_some_and(|kind| kind == "oidc");
        is_meant.then_some(())?;
        Some(Self {
            issuer: text(keys.get(|keys| &keys.issuer_url))?,
            client: text(keys.oidc("oidcClientId"))?,
            audience: text(keys.oidc("oidcAudience")),
        })
    }

    /// A provider that knows no audiences gives the same token with one and without: only two that
    /// are both there, and differ, tell their servers apart.
    fn is_shared_with(&self, other: &Self) -> bool {
        let Self { issuer, client, audience } = self;
        let plain = |issuer: &str| issuer.trim_end_matches('/').to_ascii_lowercase();
        plain(issuer) == plain(&other.issuer)
            && *client == other.client
            && (audience.is_none() || other.audience.is_none() || *audience == other.audience)
    }
}
