//! The configuration file, exactly as written: the one reader of all programs.
//!
//! Both formats of the reference are read: several servers, and the legacy one with a single
//! server, also in one file. (Contract: wire formats, section 5.3.) No setting is decided here;
//! the programs do that, with what they know of the machine. What belongs to the file itself is:
//! where its servers are ([`Urls`]), to which of them its credentials go ([`Keys`]), and which of
//! those are used ([`WayIn`]). Texts are kept as written, because `${NAME}` in them means something only for the server that is used.

pub mod announcement;
pub mod duration;
mod edit;
mod error;
mod json;
mod load;
mod object;
mod offer;
mod provider;
mod revise;
mod shared_client;
mod sign_in;
mod text;
mod urls;
mod way_in;

use std::collections::BTreeSet;

use dbt_core::name::{ServerName, ToolName};

use duration::Interval;
use json::Value;
use object::{NumberOrText, Object};

use crate::token_cache::TokenStore;

pub use edit::{Document, NewServer};
pub use error::ConfigError;
pub use load::{LoadedFile, load};
pub use object::UnknownKey;
pub use offer::{OFFER_LIMIT, Offer};
pub use revise::{anchor_of, is_anchor};
pub use shared_client::SharedClient;
pub use sign_in::Keys;
pub use text::{Surroundings, Text, Variables, begins_with};
pub use urls::Urls;
pub use way_in::{Asked, Kind, Means, WayIn};

/// The name that the server of the legacy format has.
pub const LEGACY_SERVER: &str = "default";

/// What the file says.
#[derive(Debug, Default)]
pub struct ConfigFile {
    /// The servers in the order written; the legacy one last.
    pub servers: Vec<ServerEntry>,
    /// Which server is used when nobody says.
    pub default_server: Option<String>,
    /// The one server the program updates itself from.
    pub self_update_from: Option<String>,
    /// `tokenStore`: where the tokens of the user are kept.
    pub token_store: Option<Text>,
    /// Built-in words that mean tools of the organisation.
    pub tools: BTreeSet<ToolName>,
    /// The credentials at the top level.
    pub shared: SignIn,
    /// The keys that nothing reads, by path, in the order written.
    pub unknown: Vec<UnknownKey>,
}

/// One server.
#[derive(Debug)]
pub struct ServerEntry {
    /// Its name.
    pub name: ServerName,
    /// Whether it is the legacy format's.
    pub legacy: bool,
    /// `repository`.
    pub repository: Option<Text>,
    /// `toolsRepository`.
    pub tools_repository: Option<Text>,
    /// `truststore`.
    pub truststore: Option<Text>,
    /// Who asks.
    pub sign_in: SignIn,
    /// The keys that the reference does not know.
    pub options: ServerOptions,
}

/// Who asks, as the file says it: at the top level or in a server.
#[derive(Debug, Default)]
pub struct SignIn {
    /// `username`.
    pub username: Option<Text>,
    /// `password`.
    pub password: Option<Text>,
    /// `usernamefunc`.
    pub username_command: Option<Text>,
    /// `passwordfunc`.
    pub password_command: Option<Text>,
    /// `pubkey`.
    pub public_key: Option<Text>,
    /// `pubkeypath`.
    pub public_key_file: Option<Text>,
    /// `pubkeyfunc`.
    pub public_key_command: Option<Text>,
    /// `token`.
    pub token: Option<Text>,
    /// `tokenFile`.
    pub token_file: Option<Text>,
    /// `tokenFunc`.
    pub token_command: Option<Text>,
    /// `authType`.
    pub auth_type: Option<Text>,
    /// `issuerUrl`.
    pub issuer_url: Option<Text>,
    /// `oidcUsername`, which stands in for `username` everywhere.
    pub oidc_username: Option<Text>,
    /// The remaining keys of OIDC that are set.
    pub oidc: Vec<(&'static str, Text)>,
}

/// The keys of a server that the reference does not know.
#[derive(Debug, Default)]
pub struct ServerOptions {
    /// `trust`: scopes and fingerprints, and the root under the scope `root`.
    pub trust: Vec<(String, Vec<Text>)>,
    /// `strict`.
    pub strict: Option<bool>,
    /// `caFile`.
    pub ca_file: Option<Text>,
    /// `updates`.
    pub updates: Option<Text>,
    /// `selfUpdate`.
    pub self_update: Option<Text>,
    /// `timeout`: scales all time limits.
    pub timeout: Option<f64>,
    /// `pins`: tools and versions.
    pub pins: Vec<(String, Text)>,
}

impl ConfigFile {
    /// Reads the text of a file.
    pub fn parse(text: &[u8]) -> Result<Self, ConfigError> {
        Self::of(&load::parse(text)?)
    }

    fn of(document: &Value) -> Result<Self, ConfigError> {
        let mut top = Object::top(document)?;
        let mut file = Self {
            default_server: top.plain_text("defaultServer")?,
            self_update_from: top.plain_text("selfUpdateFrom")?,
            token_store: top.text("tokenStore")?,
            shared: SignIn::of(&mut top)?,
            ..Self::default()
        };
        if let Some(servers) = top.object("servers")? {
            for (name, mut server) in servers.objects()? {
                file.servers.push(ServerEntry::of(&name, &mut server)?);
                file.unknown.extend(server.unknown());
            }
        }
        let mut legacy_tools = None;
        match top.get("tools")? {
            Some(Value::Array(_)) => file.tools = top.words("tools")?,
            Some(_) => legacy_tools = top.object("tools")?,
            None => {}
        }
        let legacy_dbt = top.object("dbt")?;
        if legacy_dbt.is_some() || legacy_tools.is_some() {
            file.add_legacy(&mut top, legacy_dbt, legacy_tools)?;
        }
        file.unknown.extend(top.unknown());
        Ok(file)
    }

    /// Adds the server of the legacy format, whose options stand at the top level. Where the
    /// other format has a server of its name, that one counts, as it does for the reference, and the
    /// options at the top level are still its own: nobody stops being `strict` because another server
    /// was added.
    fn add_legacy(
        &mut self,
        top: &mut Object<'_>,
        dbt: Option<Object<'_>>,
        tools: Option<Object<'_>>,
    ) -> Result<(), ConfigError> {
        let mut entry = ServerEntry::named(LEGACY_SERVER)?;
        entry.legacy = true;
        entry.options = ServerOptions::of(top)?;
        if let Some(mut object) = dbt {
            entry.repository = object.text("repository")?;
            entry.truststore = object.text("truststore")?;
            self.unknown.extend(object.unknown());
        }
        if let Some(mut object) = tools {
            entry.tools_repository = object.text("repository")?;
            self.unknown.extend(object.unknown());
        }
        let same = self.servers.iter_mut().find(|server| server.name == entry.name);
        match same {
            Some(same) => same.options.complete(entry.options),
            None => self.servers.push(entry),
        }
        Ok(())
    }

    /// Returns a server by its name.
    pub fn server(&self, name: &str) -> Option<&ServerEntry> {
        self.servers.iter().find(|server| server.name.as_str() == name)
    }

    /// Decides where the tokens of the user are kept.
    pub fn token_store(&self, variables: &dyn Variables) -> Result<TokenStore, ConfigError> {
        self.token_store.as_ref().map_or(Ok(TokenStore::default()), |text| text.read(variables))
    }

    /// Returns the names of the servers, for a message.
    pub fn names(&self) -> String {
        let names: Vec<String> =
            self.servers.iter().map(|server| format!("`{}`", server.name)).collect();
        names.join(", ")
    }

    /// Says whether a secret stands in the file itself.
    pub fn holds_secrets(&self) -> bool {
        let written = |sign_in: &SignIn| {
            let secrets = [&sign_in.password, &sign_in.token].into_iter().flatten();
            let client = sign_in.oidc.iter().filter(|(key, _text)| *key == "oidcClientSecret");
            let mut all = secrets.chain(client.map(|(_key, text)| text));
            all.any(|text| !text.as_written().expose().contains("${"))
        };
        written(&self.shared) || self.servers.iter().any(|server| written(&server.sign_in))
    }
}

impl ServerEntry {
    fn named(name: &str) -> Result<Self, ConfigError> {
        let bad =
            |error| ConfigError::BadValue { key: "servers".to_owned(), reason: Box::new(error) };
        Ok(Self {
            name: name.parse().map_err(bad)?,
            legacy: false,
            repository: None,
            tools_repository: None,
            truststore: None,
            sign_in: SignIn::default(),
            options: ServerOptions::default(),
        })
    }

    fn of(name: &str, object: &mut Object<'_>) -> Result<Self, ConfigError> {
        Ok(Self {
            repository: object.text("repository")?,
            tools_repository: object.text("toolsRepository")?,
            truststore: object.text("truststore")?,
            sign_in: SignIn::of(object)?,
            options: ServerOptions::of(object)?,
            ..Self::named(name)?
        })
    }
}

impl SignIn {
    fn of(object: &mut Object<'_>) -> Result<Self, ConfigError> {
        let mut oidc = Vec::new();
        for key in [
            "oidcAudience",
            "oidcClientId",
            "oidcClientSecret",
            "connectorId",
            "jwksUri",
            "discoveryUrl",
            "browserUrl",
            "backchannelUrl",
        ] {
            oidc.extend(object.text(key)?.map(|text| (key, text)));
        }
        Ok(Self {
            username: object.text("username")?,
            password: object.text("password")?,
            username_command: object.text("usernamefunc")?,
            password_command: object.text("passwordfunc")?,
            public_key: object.text("pubkey")?,
            public_key_file: object.text("pubkeypath")?,
            public_key_command: object.text("pubkeyfunc")?,
            token: object.text("token")?,
            token_file: object.text("tokenFile")?,
            token_command: object.text("tokenFunc")?,
            auth_type: object.text("authType")?,
            issuer_url: object.text("issuerUrl")?,
            oidc_username: object.text("oidcUsername")?,
            oidc,
        })
    }
}

impl ServerOptions {
    fn of(object: &mut Object<'_>) -> Result<Self, ConfigError> {
        let trust = match object.object("trust")? {
            Some(trust) => trust.lists_of_texts()?,
            None => Vec::new(),
        };
        let pins = match object.object("pins")? {
            Some(pins) => pins.texts()?,
            None => Vec::new(),
        };
        Ok(Self {
            trust,
            strict: object.flag("strict")?,
            ca_file: object.text("caFile")?,
            updates: object.text("updates")?,
            self_update: object.text("selfUpdate")?,
            timeout: scale(object, "timeout")?,
            pins,
        })
    }
}

impl ServerOptions {
    /// Takes from others what is not said here.
    fn complete(&mut self, others: Self) {
        let Self { trust, strict, ca_file, updates, self_update, timeout, pins } = others;
        if self.trust.is_empty() {
            self.trust = trust;
        }
        if self.pins.is_empty() {
            self.pins = pins;
        }
        self.strict = self.strict.or(strict);
        self.timeout = self.timeout.or(timeout);
        for (own, other) in [
            (&mut self.ca_file, ca_file),
            (&mut self.updates, updates),
            (&mut self.self_update, self_update),
        ] {
            if own.is_none() {
                *own = other;
            }
        }
    }
}

/// The largest factor that time limits are scaled by; with it, a dead server costs half an hour.
const LARGEST_SCALE: f64 = 100.0;

/// How long all metadata may take when nothing is configured, in seconds.
const USUAL_TIMEOUT: f64 = 15.0;

/// Reads `timeout`: a number scales all limits; an interval says how long all metadata may take,
/// and the other limits are scaled alike.
fn scale(object: &mut Object<'_>, key: &'static str) -> Result<Option<f64>, ConfigError> {
    let scale = match object.number_or_text(key)? {
        None => return Ok(None),
        Some(NumberOrText::Number(scale)) => scale,
        Some(NumberOrText::Text(text)) => {
            let read: Result<Interval, _> = text.as_written().expose().parse();
            read.map_err(|error| text.refuse(error))?.0.as_secs_f64() / USUAL_TIMEOUT
        }
    };
    if scale > 0.0 && scale <= LARGEST_SCALE {
        return Ok(Some(scale));
    }
    Err(ConfigError::BadValue {
        key: object.path_of(key),
        reason: format!("expected a factor above 0 and up to {LARGEST_SCALE}").into(),
    })
}

#[cfg(test)]
mod tests;
