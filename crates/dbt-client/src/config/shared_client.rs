//! Servers that are one client at one identity provider.
//!
//! A provider says for which client and audience a token is, and not for which server. Where two
//! servers take the same ones, each can use at the other what it is sent: a server that is added to
//! a configuration, and names the sign-in of another one as its own, would be handed its users. So
//! nobody is signed in for a server where what it would be sent counts elsewhere, too.

use std::collections::BTreeSet;

use dbt_core::name::ServerName;

use super::{ConfigFile, Keys, ServerEntry, Surroundings, Text, Urls};
use crate::url::Origin;

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
        let counts_at = |other: &&ServerEntry| {
            let others = Urls::of(other, around).map(|urls| urls.origins()).unwrap_or_default();
            !origins.is_subset(&others)
                && ClientThere::of(self.keys_of(other, &others, around), around)
                    .is_some_and(|its| there.is_shared_with(&its))
        };
        let mut others = self.servers.iter().filter(|other| other.name != entry.name);
        let other = others.find(counts_at)?.name.clone();
        let ClientThere { issuer, client, audience: _ } = there;
        Some(SharedClient { server: entry.name.clone(), other, issuer, client })
    }
}

impl SharedClient {
    /// Says what is wrong, and what ends it.
    pub fn words(&self) -> String {
        let Self { server, other, issuer, client } = self;
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
