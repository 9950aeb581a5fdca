//! The configuration: what was written, typed and set, decided once.
//!
//! With a file, the file decides, and flags fill in the address, the port and the root that it
//! leaves out; variables are not read. Without one, flags go before variables. What cannot be
//! right stops the start.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::args::Flags;
use crate::authn;
use crate::authn::ssh::Audiences;
use crate::authz::{Access, Policy};
use crate::env::Environment;
use crate::limits::Limits;
use crate::log::Format;
use crate::operate::proxies::Network;
use crate::operate::tls::Files;
use crate::storage::local::VerifyUploads;
use crate::tokens;

mod announce;
mod api_tokens;
mod audit;
mod error;
mod federation;
mod file;
mod keys;
mod ldap;
mod methods;
mod mode;
mod oidc;
mod operating;
mod policies;
mod publishing;
mod roles;
mod users;
mod variables;
mod web;

pub use self::audit::AuditSettings;
pub use self::error::ConfigError;
use self::file::Written;
use self::methods::Verb;
pub use self::methods::{Door, Method};
pub use self::policies::Names;
pub use self::users::Managed;
pub use self::web::Web;

/// Everything decided.
#[derive(Clone, Debug)]
pub struct Config {
    /// The address to listen on.
    pub address: String,
    /// The port; 0 is any free one.
    pub port: u16,
    /// The directory to serve, without links in its path.
    pub root: PathBuf,
    /// The directory for what is known of the tree, if one is configured.
    pub state_dir: Option<PathBuf>,
    /// How readers prove who they are.
    pub reads: Door,
    /// How writers prove who they are.
    pub writes: Door,
    /// Who may do what.
    pub policy: Policy,
    /// What can be named in a policy.
    pub names: Names,
    /// Whether artifacts stay as they were first published.
    pub immutable: bool,
    /// Whether a name is refused that differs only in case from one that is there.
    pub refuse_case_variants: bool,
    /// Whether what is published must be signed by somebody in the truststore.
    pub verify_uploads: VerifyUploads,
    /// Which kinds of proof people may show, if that is limited.
    pub mode: Option<authn::Mode>,
    /// The people whom the settings manage.
    pub users: Vec<Managed>,
    /// How long the server's own tokens count, and how many there may be.
    pub tokens: tokens::Settings,
    /// Which jobs of CI systems get which rights, if any do.
    pub federation: Option<authn::federation::Settings>,
    /// How the record of who did what is kept.
    pub audit: AuditSettings,
    /// How much of everything.
    pub limits: Limits,
    /// Where this server's certificate is, if connections are encrypted here.
    pub tls: Option<Files>,
    /// An address of their own for metrics and health.
    pub metrics: Option<String>,
    /// What browsers see.
    pub web: Web,
    /// What clients are told before they are configured, as it is sent; nothing without a URL.
    pub announcement: Option<String>,
    /// Whose word counts about where requests come from.
    pub trusted_proxies: Vec<Network>,
    /// The form of the log.
    pub log: Format,
    /// Whether nothing is written, whoever asks.
    pub read_only: bool,
    /// Every file that was read, or is read while the server runs.
    pub files: Vec<PathBuf>,
    /// What an administrator should know, and need not change.
    pub notices: Vec<String>,
    settings: Vec<Setting>,
}

/// A setting as `check-config` shows it. Never a secret.
#[derive(Clone, Debug)]
struct Setting {
    name: String,
    value: String,
    origin: String,
}

const DEFAULT_ADDRESS: &str = "0.0.0.0";
const DEFAULT_PORT: u16 = 9999;

/// What holds without them, for settings that have no value of their own then.
const UNSET: [(&str, &str); 22] = [
    ("stateDir", "(`.reposerver/state` in `serverRoot`, once something is written)"),
    ("publicUrls", "(none: signing in with SSH keys works on this machine only)"),
    ("announce", "(none: clients look for the usual paths below the URL that they are given)"),
    ("policies", "(none: whoever may write may write everything)"),
    ("auth.roles", "(none)"),
    ("auth.groups", "(none)"),
    ("auth.issuers", "(none)"),
    ("auth.mode", "(none: people show what is configured)"),
    ("auth.defaultRole", "(none)"),
    ("auth.oidc.defaultRole", "(none)"),
    ("auth.oidc.roleMappings", "(none)"),
    ("auth.users", "(none)"),
    ("auth.apiTokens.maxDays", "(none: a token may count for ever)"),
    ("auth.federation.issuers", "(none)"),
    ("auth.federation.rules", "(none: jobs of CI systems have no rights of their own)"),
    ("tokens", "(none)"),
    ("limits.quotas", "(none: the disk is the limit)"),
    ("listen.metrics", "(none: `/-/metrics` is where everything else is, for `metrics.read`)"),
    ("listen.tls", "(none: connections are not encrypted here)"),
    ("web.signIn", "(none: browsers see what everybody may, or what a password opens)"),
    ("trustedProxies", "(none: requests come from who connects)"),
    ("audit.anchorUrl", "(none: checkpoints go to the log)"),
];

impl Config {
    /// Decides every setting.
    pub fn resolve(flags: &Flags, environment: &Environment) -> Result<Self, ConfigError> {
        let (written, source) = match &flags.file {
            Some(path) => (keys::read(path)?, Source::File(path)),
            None => (variables::read(environment)?, Source::Variables),
        };
        let mut decide = Decide { source, settings: Vec::new(), notices: Vec::new() };
        if matches!(source, Source::File(_)) {
            decide.name_unread_variables(environment);
        } else {
            decide.notices.extend(variables::unknown(environment));
        }

        let address = decide.either("address", flags.address.clone(), written.address.clone());
        let address = decide.or("address", address, DEFAULT_ADDRESS.to_owned());
        let port = decide.either("port", flags.port, written.port);
        let port = decide.or("port", port, DEFAULT_PORT);
        let root = decide.either(
            "serverRoot",
            path_text(flags.root.as_deref()),
            written.server_root.clone(),
        );
        let root = root.filter(|(root, _origin)| !root.is_empty()).ok_or(ConfigError::NoRoot)?;
        let root = decide.keep("serverRoot", root);
        let root = existing_root(Path::new(&root))?;
        nothing_private_is_served(&root, source, &written)?;

        let state_dir = decide.state_dir(&written, environment, &root)?;
        let (reads, writes) = decide.doors(&written, environment)?;
        let immutable = decide.or("immutable", decide.sourced_if(written.immutable), false);
        let refuse_case_variants = decide.sourced_if(written.refuse_case_variants);
        let refuse_case_variants = decide.or("refuseCaseVariants", refuse_case_variants, false);
        let verify_uploads = decide.verify_uploads(&written);
        let (mut policy, names) =
            policies::policy(&written, &reads, &writes, immutable, &mut decide.notices)?;
        let users = decide.users(&written, &names)?;
        let mode = decide.mode(&written, [&reads, &writes], &users)?;
        let federation = decide.federation(&written, environment, &reads, &writes)?;
        policy.rules = policy.rules.with(federation::rights(federation.as_ref()));
        decide.notice_audiences(&reads, &writes);
        decide.notice_issuers(&reads, &writes);
        let tokens = decide.api_tokens(&written)?;
        let audit = decide.audit(&written, environment)?;
        decide.keep_proxy(&reads, &writes);
        let limits = decide.limits(&written)?;
        let tls = Decide::tls(&written)?;
        let trusted_proxies = Decide::trusted_proxies(&written)?;
        let web = decide.web(&written, environment, &reads)?;
        let announcement = decide.announcement(&written, &reads)?;
        let log = decide.log(&written);
        decide.keep_the_rest(&written);
        let configuration = flags.file.iter().cloned();
        let files = configuration.chain(methods::files(&written)).collect();
        let Decide { source: _, settings, notices } = decide;
        Ok(Self {
            address,
            port,
            root,
            state_dir,
            reads,
            writes,
            policy,
            names,
            immutable,
            refuse_case_variants,
            verify_uploads,
            mode,
            users,
            tokens,
            federation,
            audit,
            limits,
            tls,
            metrics: written.listen.metrics.filter(|address| !address.trim().is_empty()),
            web,
            announcement,
            trusted_proxies,
            log,
            read_only: flags.read_only,
            files,
            notices,
            settings,
        })
    }

    /// Returns every setting with its value and where it came from, for people.
    pub fn explained(&self) -> String {
        let mut text = String::new();
        for Setting { name, value, origin } in &self.settings {
            // Writing to a String cannot fail.
            let _always_ok = writeln!(text, "{name} = {value}  ({origin})");
        }
        for notice in &self.notices {
            let _always_ok = writeln!(text, "warning: {notice}");
        }
        text
    }

    /// Returns the JSON Schema of the configuration file.
    pub fn schema() -> Value {
        keys::schema()
    }
}

fn path_text(path: Option<&Path>) -> Option<String> {
    path.map(|path| path.to_string_lossy().into_owned())
}

fn existing_root(root: &Path) -> Result<PathBuf, ConfigError> {
    let unusable = |source| ConfigError::Root { path: root.to_owned(), source };
    let canonical = root.canonicalize().map_err(unusable)?;
    if !canonical.is_dir() {
        return Err(unusable(std::io::ErrorKind::NotADirectory.into()));
    }
    if canonical.parent().is_none() {
        return Err(ConfigError::WholeSystem);
    }
    Ok(canonical)
}

/// Refuses a tree in which readers would find what must stay private.
fn nothing_private_is_served(
    root: &Path,
    source: Source<'_>,
    written: &Written,
) -> Result<(), ConfigError> {
    if let Source::File(file) = source
        && is_inside(root, file)
    {
        return Err(ConfigError::FileInRoot { what: "the configuration", path: file.to_owned() });
    }
    let found = |files: Vec<PathBuf>| files.into_iter().find(|file| is_inside(root, file));
    if let Some(path) = found(methods::private_files(written)) {
        return Err(ConfigError::FileInRoot { what: "the file of identities", path });
    }
    // Publishers could put another in its place, and it runs as we do.
    match found(methods::words_of_commands(written)) {
        Some(path) => Err(ConfigError::FileInRoot { what: "the command of identities", path }),
        None => Ok(()),
    }
}

/// Says whether a path lies in the tree, or would once it is made.
fn is_inside(root: &Path, path: &Path) -> bool {
    let Ok(path) = std::path::absolute(path) else { return false };
    let resolved = path.ancestors().find_map(|above| {
        let below = path.strip_prefix(above).ok()?;
        Some(above.canonicalize().ok()?.join(below))
    });
    resolved.is_some_and(|resolved| resolved.starts_with(root))
}

/// Where settings come from when no flag gives them.
#[derive(Clone, Copy, Debug)]
enum Source<'a> {
    File(&'a Path),
    Variables,
}

/// A value and where it came from.
type Chosen<T> = (T, String);

/// Decides, and keeps how.
struct Decide<'a> {
    source: Source<'a>,
    settings: Vec<Setting>,
    notices: Vec<String>,
}

impl Decide<'_> {
    /// Applies the precedence of a setting that also has a flag.
    fn either<T>(&self, name: &str, flag: Option<T>, written: Option<T>) -> Option<Chosen<T>> {
        let flag = flag.map(|value| (value, format!("flag for {name}")));
        match self.source {
            Source::File(_) => self.sourced_if(written).or(flag),
            Source::Variables => flag.or_else(|| self.sourced_if(written)),
        }
    }

    fn sourced_if<T>(&self, written: Option<T>) -> Option<Chosen<T>> {
        let origin = match self.source {
            Source::File(path) => format!("`{}`", path.display()),
            Source::Variables => "environment".to_owned(),
        };
        written.map(|value| (value, origin))
    }

    fn or<T: ToString>(&mut self, name: &str, chosen: Option<Chosen<T>>, default: T) -> T {
        self.keep(name, chosen.unwrap_or_else(|| (default, "default".to_owned())))
    }

    fn keep<T: ToString>(&mut self, name: &str, (value, origin): Chosen<T>) -> T {
        self.settings.push(Setting { name: name.to_owned(), value: value.to_string(), origin });
        value
    }

    /// Keeps every other setting that was written, and what holds where nothing was.
    fn keep_the_rest(&mut self, written: &Written) {
        let mut leaves = Vec::new();
        // What was read can be written.
        flatten("", &serde_json::to_value(written).unwrap_or_default(), &mut leaves);
        for (name, value) in leaves {
            if !self.settings.iter().any(|known| known.name == name) {
                let chosen = self.sourced(&value);
                self.keep(&name, chosen);
            }
        }
        for (name, value) in UNSET {
            if !self.settings.iter().any(|known| is_or_is_within(&known.name, name)) {
                self.keep(name, (value.to_owned(), "default".to_owned()));
            }
        }
    }

    fn name_unread_variables(&mut self, environment: &Environment) {
        let names: Vec<&str> = variables::names_in(environment).collect();
        if !names.is_empty() {
            let names = names.join("`, `");
            self.notices.push(format!(
                "with a configuration file, these variables are not read: `{names}`"
            ));
        }
    }

    /// Decides how readers and writers prove who they are.
    fn doors(
        &mut self,
        written: &Written,
        environment: &Environment,
    ) -> Result<(Door, Door), ConfigError> {
        let writes = self.writes(written, environment)?;
        let reads = self.reads(written, environment)?;
        if written.policies.is_none() || reads.access() == Access::Anyone {
            return Ok((reads, writes));
        }
        // Rules name who may read, however they proved who they are.
        let mut methods = reads.methods().to_vec();
        for method in writes.methods() {
            if !methods.contains(method) {
                methods.push(method.clone());
            }
        }
        Ok((Door::Guarded(methods), writes))
    }

    fn reads(&mut self, written: &Written, environment: &Environment) -> Result<Door, ConfigError> {
        let by_rules = policies::speak_of_reading(written);
        if by_rules && written.auth_gets == Some(false) {
            let reason =
                "is false, so everybody may read, and `policies` say who may; leave it out";
            return Err(ConfigError::setting("authGets", reason));
        }
        let decided = (true, "`policies`, which say who may read".to_owned());
        let chosen = self.sourced_if(written.auth_gets).or_else(|| by_rules.then_some(decided));
        let guarded = self.or("authGets", chosen, false);
        if guarded && written.policies.is_some() && !by_rules {
            let reason = "is true, and none of `policies` permits anybody to `read`";
            return Err(ConfigError::setting("authGets", reason));
        }
        let types = Verb::Get.types(written).map(String::as_str).unwrap_or_default();
        if !guarded {
            if !types.trim().is_empty() {
                self.notices.push(
                    "`authTypeGet` has no effect: `authGets` is false, so everybody may read"
                        .to_owned(),
                );
            }
            return Ok(Door::Open);
        }
        if types.trim().is_empty() {
            return if by_rules && written.auth_gets.is_none() {
                Ok(Door::Guarded(Vec::new()))
            } else {
                Err(ConfigError::NoTypeForReads)
            };
        }
        let types = self.keep("authTypeGet", self.sourced(types));
        methods::read(Verb::Get, &types, written, environment).map(Door::Guarded)
    }

    fn writes(
        &mut self,
        written: &Written,
        environment: &Environment,
    ) -> Result<Door, ConfigError> {
        let types = Verb::Put.types(written).map(String::as_str).unwrap_or_default();
        if types.trim().is_empty() {
            self.keep("authTypePut", ("(none: nobody may write)".to_owned(), "default".to_owned()));
            return Ok(Door::Closed);
        }
        let types = self.keep("authTypePut", self.sourced(types));
        methods::read(Verb::Put, &types, written, environment).map(Door::Guarded)
    }

    fn notice_audiences(&mut self, reads: &Door, writes: &Door) {
        let is_deaf = |method: &Method| method.audiences().is_some_and(Audiences::is_empty);
        if reads.methods().iter().chain(writes.methods()).any(is_deaf) {
            self.notices.push(
                "only clients on this machine can sign in with SSH keys: name the URLs that \
                 others use in `publicUrls`"
                    .to_owned(),
            );
        }
    }

    /// Shows through which proxy identity providers are asked.
    fn keep_proxy(&mut self, reads: &Door, writes: &Door) {
        let proxy = reads.methods().iter().chain(writes.methods()).find_map(Method::proxy);
        if let Some(proxy) = proxy {
            self.keep("proxy", (proxy.to_string(), "environment: `HTTPS_PROXY`".to_owned()));
        }
    }

    fn notice_issuers(&mut self, reads: &Door, writes: &Door) {
        for method in reads.methods().iter().chain(writes.methods()) {
            if let Method::Oidc(settings) = method
                && settings.any_issuer
            {
                self.notices.push(format!(
                    "`skipIssuerVerify` is true: whatever the keys of `{}` signed counts, whoever \
                     it says it is from",
                    settings.issuer
                ));
            }
        }
        self.notices.dedup();
    }

    fn sourced(&self, text: &str) -> Chosen<String> {
        self.sourced_if(Some(text.to_owned())).unwrap_or_default()
    }
}

/// Says whether a setting is one, or a part of it.
fn is_or_is_within(name: &str, whole: &str) -> bool {
    name.strip_prefix(whole).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}

/// Lists the settings in a value by the path of keys to each.
fn flatten(at: &str, value: &Value, into: &mut Vec<(String, String)>) {
    match value {
        Value::Null => {}
        Value::Object(object) => {
            for (key, value) in object {
                let below = if at.is_empty() { key.clone() } else { format!("{at}.{key}") };
                flatten(&below, value, into);
            }
        }
        Value::Array(items) if items.iter().any(Value::is_object) => {
            for (index, item) in items.iter().enumerate() {
                flatten(&format!("{at}[{index}]"), item, into);
            }
        }
        Value::String(text) => into.push((at.to_owned(), text.clone())),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) => {
            into.push((at.to_owned(), value.to_string()));
        }
    }
}

#[cfg(test)]
mod tests;
