//! A provider: who it is, where it is asked, and what it offers (OIDC Discovery).

use std::str::FromStr;

use super::answer;
use super::channel::Channel;
use super::error::OidcError;
use super::form::SecretPlace;
use crate::source::{EndpointUrl, InvalidEndpoint};

/// A provider as it calls itself: compared character by character, as its tokens are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issuer {
    text: String,
    url: EndpointUrl,
}

impl Issuer {
    /// Returns its name as it is written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Returns its name without a slash at its end: what paths are added to, and the audience of
    /// SSH-signed tokens (wire formats, 2.1).
    pub fn without_slash(&self) -> &str {
        self.text.strip_suffix('/').unwrap_or(&self.text)
    }
}

impl FromStr for Issuer {
    type Err = InvalidEndpoint;

    fn from_str(text: &str) -> Result<Self, InvalidEndpoint> {
        let url: EndpointUrl = text.parse()?;
        if text.contains('?') {
            return Err(InvalidEndpoint::with_query(&url));
        }
        Ok(Self { text: text.to_owned(), url })
    }
}

/// Where a provider is asked.
#[derive(Debug, Clone)]
pub struct Addresses {
    /// `issuerUrl`.
    pub issuer: Issuer,
    /// `discoveryUrl`: the whole URL of the document that says what it offers.
    pub discovery: Option<EndpointUrl>,
    /// `browserUrl`: where browsers reach it instead of at `issuer`.
    pub browser: Option<EndpointUrl>,
    /// `backchannelUrl`: where programs reach it instead of at `issuer`.
    pub backchannel: Option<EndpointUrl>,
    /// `jwksUri`: where its keys are, for who verifies what it signs. Nothing here does.
    pub keys: Option<EndpointUrl>,
}

impl Addresses {
    /// Returns the addresses of a provider that is where it says.
    pub fn of(issuer: Issuer) -> Self {
        Self { issuer, discovery: None, browser: None, backchannel: None, keys: None }
    }

    /// Returns where a provider says what it offers, unless the configuration names another place.
    fn usual_discovery(&self) -> Result<EndpointUrl, OidcError> {
        let url = format!("{}/.well-known/openid-configuration", self.issuer.without_slash());
        endpoint("issuerUrl", &self.for_programs(&url))
    }

    /// Returns a URL of the provider as programs reach it.
    fn for_programs(&self, url: &str) -> String {
        self.moved(url, self.backchannel.as_ref())
    }

    /// Returns a URL of the provider as browsers reach it.
    fn for_browsers(&self, url: &str) -> String {
        self.moved(url, self.browser.as_ref())
    }

    /// Puts what is below the issuer below another place, and what is beside it on the same server
    /// at the same path of the other server. What is elsewhere stays there.
    fn moved(&self, url: &str, to: Option<&EndpointUrl>) -> String {
        let (Some(to), Ok(from)) = (to, url.parse::<EndpointUrl>()) else { return url.to_owned() };
        let (uri, base) = (from.to_uri(), self.issuer.url.to_uri());
        let below = uri.strip_prefix(base.trim_end_matches('/'));
        if let Some(rest) = below.filter(|rest| rest.is_empty() || rest.starts_with(['/', '?'])) {
            return format!("{}{rest}", to.to_uri().trim_end_matches('/'));
        }
        match uri.strip_prefix(&from.origin().to_string()) {
            Some(rest) if from.origin() == self.issuer.url.origin() => {
                format!("{}{rest}", to.origin())
            }
            _ => uri,
        }
    }
}

/// Where Entra ID signs people in.
const ENTRA: &str = "https://login.microsoftonline.com/";

/// What a provider says of itself.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(default)]
struct Metadata {
    issuer: String,
    authorization_endpoint: Option<String>,
    token_endpoint: Option<String>,
    device_authorization_endpoint: Option<String>,
    revocation_endpoint: Option<String>,
    scopes_supported: Option<Vec<String>>,
    code_challenge_methods_supported: Option<Vec<String>>,
    token_endpoint_auth_methods_supported: Option<Vec<String>>,
    authorization_response_iss_parameter_supported: bool,
}

/// A provider that said what it offers.
#[derive(Debug)]
pub struct Provider {
    addresses: Addresses,
    metadata: Metadata,
}

impl Provider {
    /// Asks the provider what it offers. It must be who the configuration says.
    pub fn discover(channel: &Channel, addresses: &Addresses) -> Result<Self, OidcError> {
        let url = match &addresses.discovery {
            Some(url) => url.clone(),
            None => addresses.usual_discovery()?,
        };
        let body = channel.get(&url, None)?.into_result()?;
        let problem = "it is not a document that says what a provider offers";
        let metadata: Metadata = answer::object(body.expose())
            .ok_or_else(|| OidcError::Malformed { url: url.to_string(), problem })?;
        if metadata.issuer != addresses.issuer.as_str() {
            return Err(OidcError::OtherIssuer {
                url: url.to_string(),
                expected: addresses.issuer.as_str().to_owned(),
                found: super::error::harmless(&metadata.issuer, 200),
            });
        }
        Ok(Self { addresses: addresses.clone(), metadata })
    }

    /// Returns what a Dex offers, without asking it: the reference does not ask either, and it is a
    /// request less (wire formats, 2.3).
    pub fn of_dex(addresses: &Addresses) -> Self {
        let metadata = Metadata {
            issuer: addresses.issuer.as_str().to_owned(),
            token_endpoint: Some(format!("{}/token", addresses.issuer.without_slash())),
            token_endpoint_auth_methods_supported: Some(vec!["client_secret_post".to_owned()]),
            ..Metadata::default()
        };
        Self { addresses: addresses.clone(), metadata }
    }

    /// Returns who it is.
    pub const fn issuer(&self) -> &Issuer {
        &self.addresses.issuer
    }

    /// Says whether somebody can confirm a code on another machine.
    pub const fn offers_device_codes(&self) -> bool {
        self.metadata.device_authorization_endpoint.is_some()
    }

    /// Says whether somebody can sign in with a browser.
    pub const fn offers_browsers(&self) -> bool {
        self.metadata.authorization_endpoint.is_some()
    }

    /// Returns where tokens are asked for.
    pub fn token_endpoint(&self) -> Result<EndpointUrl, OidcError> {
        let url = self.offered(self.metadata.token_endpoint.as_ref(), "tokens")?;
        endpoint("token_endpoint", &self.addresses.for_programs(url))
    }

    /// Returns where tokens are given back, if anywhere.
    pub(super) fn revocation_endpoint(&self) -> Result<Option<EndpointUrl>, OidcError> {
        let url = self.metadata.revocation_endpoint.as_ref();
        let moved = |url: &String| self.addresses.for_programs(url);
        url.map(|url| endpoint("revocation_endpoint", &moved(url))).transpose()
    }

    /// Returns where codes are asked for.
    pub(super) fn device_endpoint(&self) -> Result<EndpointUrl, OidcError> {
        let url = self.metadata.device_authorization_endpoint.as_ref();
        let url = self.offered(url, "signing in by a code that is confirmed elsewhere")?;
        endpoint("device_authorization_endpoint", &self.addresses.for_programs(url))
    }

    /// Returns where browsers go.
    pub(super) fn authorization_endpoint(&self) -> Result<EndpointUrl, OidcError> {
        let url = self.metadata.authorization_endpoint.as_ref();
        let url = self.offered(url, "signing in with a browser")?;
        let methods = self.metadata.code_challenge_methods_supported.as_ref();
        if methods.is_some_and(|methods| !methods.iter().any(|method| method == "S256")) {
            return Err(self.not_offered("signing in with a browser safely (PKCE with S256)"));
        }
        endpoint("authorization_endpoint", &self.addresses.for_browsers(url))
    }

    /// Returns a page of the provider as browsers reach it.
    pub(super) fn page(&self, name: &'static str, url: &str) -> Result<EndpointUrl, OidcError> {
        endpoint(name, &self.addresses.for_browsers(url))
    }

    /// Returns the scopes to ask for: those that it knows. Some providers refuse everything for one
    /// that they do not.
    pub(super) fn scope(&self, wanted: &[&str]) -> String {
        let known = self.metadata.scopes_supported.as_ref();
        let is_known = |scope: &&&str| {
            **scope == "openid"
                || known.is_none_or(|known| known.iter().any(|known| known == **scope))
        };
        wanted.iter().filter(is_known).copied().collect::<Vec<_>>().join(" ")
    }

    /// Says whether people have to be asked, so that what lasts longer than they are there is given
    /// (OIDC Core, 11): strict providers ignore the wish without that.
    ///
    /// Entra ID gives it all the same. There, people who are asked are sent to their administrator,
    /// who may have consented for them long ago.
    pub(super) fn wants_consent_for(&self, scope: &str) -> bool {
        let lasts = scope.split(' ').any(|scope| scope == "offline_access");
        lasts && !self.issuer().as_str().starts_with(ENTRA)
    }

    /// Returns where it wants the client's secret. With the other fields, as the reference has it,
    /// where that is known to do (OIDC Discovery, 3: otherwise it does not).
    pub(super) fn secret_place(&self) -> SecretPlace {
        let methods = self.metadata.token_endpoint_auth_methods_supported.iter().flatten();
        let takes_fields = methods.into_iter().any(|method| method == "client_secret_post");
        if takes_fields { SecretPlace::Form } else { SecretPlace::Header }
    }

    /// Says whether browsers bring back who sent them (RFC 9207).
    pub(super) const fn says_who_it_is(&self) -> bool {
        self.metadata.authorization_response_iss_parameter_supported
    }

    fn offered<'a>(
        &self,
        endpoint: Option<&'a String>,
        what: &'static str,
    ) -> Result<&'a String, OidcError> {
        endpoint.ok_or_else(|| self.not_offered(what))
    }

    fn not_offered(&self, what: &'static str) -> OidcError {
        OidcError::NotOffered { issuer: self.issuer().as_str().to_owned(), what }
    }
}

fn endpoint(name: &'static str, url: &str) -> Result<EndpointUrl, OidcError> {
    url.parse().map_err(|source| OidcError::Url { name, source })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> EndpointUrl {
        text.parse().unwrap()
    }

    #[track_caller]
    fn check(issuer: &str, to: &str, from: &str, expected: &str) {
        let addresses = Addresses::of(issuer.parse().unwrap());
        assert_eq!(addresses.for_programs(from), from, "nothing is moved by itself");
        let addresses = Addresses { backchannel: Some(url(to)), ..addresses };
        assert_eq!(addresses.for_programs(from), expected);
        assert_eq!(addresses.for_browsers(from), from, "browsers go elsewhere");
    }

    #[test]
    fn what_is_below_the_issuer_is_reached_where_the_configuration_says() {
        let (issuer, here) = ("https://id.example.com/realms/x", "http://127.0.0.1:8080/realms/x");
        check(
            issuer,
            here,
            "https://id.example.com/realms/x/token?a=b",
            &format!("{here}/token?a=b"),
        );
        check(
            issuer,
            here,
            "https://id.example.com/other/token",
            "http://127.0.0.1:8080/other/token",
        );
        check(
            issuer,
            here,
            "https://id.example.com/realms/xyz",
            "http://127.0.0.1:8080/realms/xyz",
        );
        check(
            issuer,
            here,
            "https://elsewhere.example.com/token",
            "https://elsewhere.example.com/token",
        );
        check(
            "https://id.example.com/",
            "https://in.example.com",
            "https://id.example.com/token",
            "https://in.example.com/token",
        );
    }

    #[test]
    fn an_issuer_is_kept_as_it_is_written() {
        let issuer: Issuer = "https://ID.example.com/".parse().unwrap();
        assert_eq!(issuer.as_str(), "https://ID.example.com/");
        assert_eq!(issuer.without_slash(), "https://ID.example.com");
        for text in ["https://h/?tenant=x", "https://h/#x", "http://h", "dex"] {
            assert!(text.parse::<Issuer>().is_err(), "{text}");
        }
    }

    #[test]
    fn scopes_that_a_provider_does_not_know_are_not_asked_for() {
        let addresses = Addresses::of("https://h".parse().unwrap());
        let with = |known: Option<&[&str]>| {
            let known = known.map(|known| known.iter().map(|it| (*it).to_owned()).collect());
            let metadata = Metadata { scopes_supported: known, ..Metadata::default() };
            let provider = Provider { addresses: addresses.clone(), metadata };
            provider.scope(&["openid", "email", "groups"])
        };
        assert_eq!(with(None), "openid email groups");
        assert_eq!(with(Some(&["email", "profile"])), "openid email");
    }

    #[test]
    fn people_are_asked_for_what_lasts_but_not_where_that_leads_nowhere() {
        let wants = |issuer: &str, scope: &str| {
            let addresses = Addresses::of(issuer.parse().unwrap());
            Provider { addresses, metadata: Metadata::default() }.wants_consent_for(scope)
        };
        assert!(wants("https://id.example.com", "openid offline_access"));
        assert!(!wants("https://id.example.com", "openid email"));
        assert!(!wants("https://login.microsoftonline.com/x/v2.0", "openid offline_access"));
    }
}
