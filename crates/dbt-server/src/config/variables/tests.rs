//! Every variable, each with what it changes of the configuration, and what goes before it.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};

use super::NAMES;
use crate::args::Flags;
use crate::authn::static_token::NamedToken;
use crate::config::{Config, Door, Method};
use crate::env::Environment;
use dbt_core::secret::Secret;

/// A variable, and what the configuration is with it.
struct Row {
    /// Its name, without what all begin with.
    name: String,
    value: &'static str,
    /// What else must be set so that it has an effect.
    needs: Needs,
    /// The same in a configuration file.
    file: Value,
    /// What of the configuration it decides.
    effect: fn(&Config) -> String,
    expected: String,
}

/// Variables that must be set, and the same in a configuration file.
#[derive(Clone)]
struct Needs {
    variables: Vec<(String, &'static str)>,
    file: Value,
}

impl Needs {
    fn nothing() -> Self {
        Self { variables: Vec::new(), file: json!({}) }
    }

    /// Needs a method of authentication to be in use.
    fn method(verb: Verb, name: &'static str) -> Self {
        verb.needs().and(format!("AUTH_TYPE_{verb}"), name, verb.types(name))
    }

    fn and(mut self, name: impl Into<String>, value: &'static str, file: Value) -> Self {
        self.variables.push((name.into(), value));
        merge(&mut self.file, file);
        self
    }
}

/// Which of the two lists of methods is meant.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Verb {
    Get,
    Put,
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Get => "GET",
            Self::Put => "PUT",
        })
    }
}

impl Verb {
    /// What must be set so that anybody is asked who they are.
    fn needs(self) -> Needs {
        match self {
            Self::Get => Needs::nothing().and("AUTH_GETS", "true", json!({"authGets": true})),
            Self::Put => Needs::nothing(),
        }
    }

    fn types(self, name: &str) -> Value {
        match self {
            Self::Get => json!({"authTypeGet": name}),
            Self::Put => json!({"authTypePut": name}),
        }
    }

    fn options(self, options: &Value) -> Value {
        match self {
            Self::Get => json!({"authOptsGet": options}),
            Self::Put => json!({"authOptsPut": options}),
        }
    }

    /// What the variables of this list decide: its first method.
    fn effect(self) -> fn(&Config) -> String {
        match self {
            Self::Get => |config| method(&config.reads),
            Self::Put => |config| method(&config.writes),
        }
    }
}

fn merge(into: &mut Value, from: Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from,
    }
}

/// Says what the first method of a list needs and has.
fn method(door: &Door) -> String {
    let Some(method) = door.methods().first() else { return "(none)".to_owned() };
    match method {
        Method::StaticTokens(tokens) => {
            let secret = |text: &str| Secret::new(text.to_owned());
            let is_it = |token: &&NamedToken| {
                **token == NamedToken::new(&token.name, &secret("open-sesame"))
            };
            let names = tokens.iter().filter(is_it).map(|token| token.name.as_str());
            format!("open-sesame is {}", names.collect::<Vec<_>>().join(" "))
        }
        Method::Htpasswd(file) | Method::SshFile { file, .. } => file.display().to_string(),
        Method::SshCommand { argv, audiences, .. } => format!("{argv:?} {audiences:?}"),
        Method::Oidc(it) => format!(
            "{} {:?} {:?} {:?} {} {}",
            it.issuer,
            it.audiences,
            it.username_claim,
            it.allowed_groups,
            it.any_issuer,
            it.keys_fresh.as_secs()
        ),
        Method::Ldap(settings) => settings.place.host.clone(),
        Method::ApiTokens => String::new(),
    }
}

fn row(
    name: impl Into<String>,
    value: &'static str,
    file: Value,
    effect: fn(&Config) -> String,
    expected: impl Into<String>,
) -> Row {
    let (name, expected) = (name.into(), expected.into());
    Row { name, value, needs: Needs::nothing(), file, effect, expected }
}

impl Row {
    fn needing(self, needs: Needs) -> Self {
        Self { needs, ..self }
    }
}

/// The rows of a list of methods: those of the contract, which end with the verb.
fn rows_of(verb: Verb) -> Vec<Row> {
    let effect = verb.effect();
    let options = |options: Value| verb.options(&options);
    let token = options(json!({"staticToken": "open-sesame"}));
    let oidc = |name: &str, value: Value| options(json!({"oidc": {name: value}}));
    let issuer = ("https://id.example", oidc("issuerUrl", json!("https://id.example")));
    let audiences = ("us, them,", oidc("audiences", json!(["us", "them"])));
    let is_oidc = Needs::method(verb, "oidc");
    let with_issuer =
        is_oidc.clone().and(format!("OIDC_ISSUER_URL_{verb}"), issuer.0, issuer.1.clone());
    let provider =
        with_issuer.clone().and(format!("OIDC_AUDIENCES_{verb}"), audiences.0, audiences.1.clone());
    let is = |claim: &str, groups: &str, any: bool, seconds: u64| {
        format!("https://id.example [\"us\", \"them\"] {claim} {groups} {any} {seconds}")
    };
    let named = |name: &str| format!("{name}_{verb}");
    let types = verb.needs().and(named("STATIC_TOKEN"), "open-sesame", token.clone());
    vec![
        row(named("AUTH_TYPE"), "static-token", verb.types("static-token"), effect, IT)
            .needing(types),
        row(named("STATIC_TOKEN"), " open-sesame\n", token, effect, IT)
            .needing(Needs::method(verb, "static-token")),
        row(named("IDP_FILE"), "users", options(json!({"idpFile": "users"})), effect, "users")
            .needing(Needs::method(verb, "basic-htpasswd")),
        row(
            named("IDP_FUNC"),
            "find keys",
            options(json!({"idpFunc": "find keys"})),
            effect,
            r#"["find", "keys"] Audiences { names: ["a.example", "https://a.example"] }"#,
        )
        .needing(Needs::method(verb, "ssh-agent-func").and(
            "PUBLIC_URLS",
            "https://a.example",
            json!({"publicUrls": ["https://a.example"]}),
        )),
        row(named("OIDC_ISSUER_URL"), issuer.0, issuer.1, effect, is("None", "[]", false, 3600))
            .needing(is_oidc.and(named("OIDC_AUDIENCES"), audiences.0, audiences.1.clone())),
        row(
            named("OIDC_AUDIENCES"),
            audiences.0,
            audiences.1,
            effect,
            is("None", "[]", false, 3600),
        )
        .needing(with_issuer),
        row(
            named("OIDC_USERNAME_CLAIM"),
            "email",
            oidc("usernameClaimKey", json!("email")),
            effect,
            is("Some(\"email\")", "[]", false, 3600),
        )
        .needing(provider.clone()),
        row(
            named("OIDC_ALLOWED_GROUPS"),
            "staff,admins",
            oidc("allowedGroups", json!(["staff", "admins"])),
            effect,
            is("None", r#"["staff", "admins"]"#, false, 3600),
        )
        .needing(provider.clone()),
        row(
            named("OIDC_SKIP_ISSUER_VERIFY"),
            "yes",
            oidc("skipIssuerVerify", json!(true)),
            effect,
            is("None", "[]", true, 3600),
        )
        .needing(provider.clone()),
        row(
            named("OIDC_JWKS_CACHE"),
            "61",
            oidc("jwksCacheSeconds", json!(61)),
            effect,
            is("None", "[]", false, 61),
        )
        .needing(provider),
    ]
}

const IT: &str = "open-sesame is static-token";

/// The other rows of the contract, and those about who may do what.
fn rows_of_access() -> Vec<Row> {
    let writes = Verb::Put.effect();
    let tokens = r#"[{"name": "ci", "env": "REPOSERVER_ROOT"}]"#;
    let of_root = |config: &Config| match config.writes.methods() {
        [Method::StaticTokens(tokens)] => tokens.iter().map(|it| it.name.as_str()).collect(),
        methods => format!("{methods:?}"),
    };
    let ldap = r#"{"url": "ldaps://d.example", "userBase": "dc=x"}"#;
    let auth = r#"{"roles": {"admin": ["static-token:boss"]}}"#;
    let policies = r#"[{"name": "the rule", "subjects": ["authenticated"], "paths": ["/**"],
        "actions": ["create"]}]"#;
    let parsed = |text: &str| serde_json::from_str::<Value>(text).unwrap();
    let token = || {
        let file = json!({"authOptsPut": {"staticToken": "open-sesame"}});
        Needs::method(Verb::Put, "static-token").and("STATIC_TOKEN_PUT", "open-sesame", file)
    };
    let get_token = json!({"authOptsGet": {"staticToken": "x"}});
    vec![
        row("ADDRESS", "::1", json!({"address": "::1"}), |it| it.address.clone(), "::1"),
        row("PORT", " 1234 ", json!({"port": 1234}), |it| it.port.to_string(), "1234"),
        row(
            "ROOT",
            "[DIR]/other",
            json!({"serverRoot": "[DIR]/other"}),
            |it| it.root.display().to_string(),
            "[DIR]/other",
        ),
        row(
            "AUTH_GETS",
            "YES",
            json!({"authGets": true}),
            |it| format!("{:?}", it.reads.access()),
            "Proven",
        )
        .needing(
            Needs::nothing()
                .and("AUTH_TYPE_GET", "static-token", json!({"authTypeGet": "static-token"}))
                .and("STATIC_TOKEN_GET", "x", get_token),
        ),
        row(
            "PUBLIC_URLS",
            "https://a.example,https://b.example:1",
            json!({"publicUrls": ["https://a.example", "https://b.example:1"]}),
            writes,
            r#"["find"] Audiences { names: ["a.example", "b.example", "https://a.example", "https://b.example:1"] }"#,
        )
        .needing(Needs::method(Verb::Put, "ssh-agent-func").and(
            "IDP_FUNC_PUT",
            "find",
            json!({"authOptsPut": {"idpFunc": "find"}}),
        )),
        row("HTPASSWD_FILE", "users", json!({"htpasswdFile": "users"}), writes, "users")
            .needing(Needs::method(Verb::Put, "basic-htpasswd")),
        row("PUBKEYS_FILE", "keys", json!({"pubkeysFile": "keys"}), writes, "keys")
            .needing(Needs::method(Verb::Put, "ssh-agent-file")),
        row("TOKENS", tokens, json!({"tokens": parsed(tokens)}), of_root, "ci")
            .needing(Needs::method(Verb::Put, "static-token")),
        row("LDAP", ldap, json!({"ldap": parsed(ldap)}), writes, "d.example")
            .needing(Needs::method(Verb::Put, "basic-ldap")),
        row(
            "AUTH",
            auth,
            json!({"auth": parsed(auth)}),
            |it| format!("{:?}", it.policy).contains("boss").to_string(),
            "true",
        )
        .needing(token().and("POLICIES", "[]", json!({"policies": []}))),
        row(
            "POLICIES",
            policies,
            json!({"policies": parsed(policies)}),
            |it| format!("{:?}", it.policy).contains("the rule").to_string(),
            "true",
        )
        .needing(token()),
    ]
}

/// The rows about what is published and where it is kept.
fn rows_of_files() -> Vec<Row> {
    let quotas = r#"[{"path": "/dbt-tools/x", "bytes": 7}]"#;
    let quota = serde_json::from_str::<Value>(quotas).unwrap();
    vec![
        row(
            "STATE_DIR",
            "[DIR]/state",
            json!({"stateDir": "[DIR]/state"}),
            |it| it.state_dir.as_ref().map_or_else(String::new, |it| it.display().to_string()),
            "[DIR]/state",
        ),
        row("IMMUTABLE", "1", json!({"immutable": true}), |it| it.immutable.to_string(), "true"),
        row(
            "REFUSE_CASE_VARIANTS",
            "true",
            json!({"refuseCaseVariants": true}),
            |it| it.refuse_case_variants.to_string(),
            "true",
        ),
        row(
            "VERIFY_UPLOADS",
            "Off",
            json!({"verifyUploads": "off"}),
            |it| it.verify_uploads.to_string(),
            "off",
        ),
        row(
            "LIMITS_QUOTAS",
            quotas,
            json!({"limits": {"quotas": quota}}),
            |it| {
                let each = it.limits.quotas.iter();
                format!("{:?}", each.map(|it| (it.path.to_string(), it.bytes)).collect::<Vec<_>>())
            },
            r#"[("dbt-tools/x", 7)]"#,
        ),
        row(
            "LIMITS_REQUIRE_LENGTH",
            "yes",
            json!({"limits": {"requireLength": true}}),
            |it| it.limits.require_length.to_string(),
            "true",
        ),
        row(
            "LIMITS_TRASH_DAYS",
            "7",
            json!({"limits": {"trashDays": 7}}),
            |it| (it.limits.keep_deleted.as_secs() / 86_400).to_string(),
            "7",
        ),
    ]
}

/// The rows about connections and the record.
fn rows_of_running() -> Vec<Row> {
    let listen = r#"{"metrics": "127.0.0.1:9"}"#;
    vec![
        row(
            "LISTEN",
            listen,
            json!({"listen": {"metrics": "127.0.0.1:9"}}),
            |it| format!("{:?}", it.metrics),
            r#"Some("127.0.0.1:9")"#,
        ),
        row(
            "ANNOUNCE",
            r#"{"authType": "oidc", "issuerUrl": "https://id.example"}"#,
            json!({"announce": {"authType": "oidc", "issuerUrl": "https://id.example"}}),
            |it| it.announcement.as_ref().is_some_and(|it| it.contains("id.example")).to_string(),
            "true",
        )
        .needing(Needs::nothing().and(
            "PUBLIC_URLS",
            "https://a.example",
            json!({"publicUrls": ["https://a.example"]}),
        )),
        row(
            "WEB",
            r#"{"catalog": false}"#,
            json!({"web": {"catalog": false}}),
            |it| it.web.catalog.to_string(),
            "false",
        ),
        row(
            "TRUSTED_PROXIES",
            "192.0.2.0/24, 2001:db8::1",
            json!({"trustedProxies": ["192.0.2.0/24", "2001:db8::1"]}),
            |it| {
                let has = |address: &str| {
                    it.trusted_proxies.iter().any(|it| it.contains(address.parse().unwrap()))
                };
                format!("{} {} {}", has("192.0.2.9"), has("2001:db8::1"), has("192.0.3.1"))
            },
            "true true false",
        ),
        row(
            "LOG_FORMAT",
            "TEXT",
            json!({"log": {"format": "text"}}),
            |it| it.log.to_string(),
            "text",
        ),
        row(
            "DRAIN_DELAY",
            "7",
            json!({"drainDelay": 7}),
            |it| it.limits.drain_delay.as_secs().to_string(),
            "7",
        ),
        row(
            "SHUTDOWN_GRACE",
            "7",
            json!({"shutdownGrace": 7}),
            |it| it.limits.shutdown_grace.as_secs().to_string(),
            "7",
        ),
        row(
            "AUDIT_RETAIN",
            "1d 10MiB",
            json!({"audit": {"retain": "1d 10MiB"}}),
            |it| format!("{:?} {:?}", it.audit.retain.age, it.audit.retain.bytes),
            "Some(86400s) Some(10485760)",
        ),
        row(
            "AUDIT_ANCHOR_URL",
            "https://a.example/",
            json!({"audit": {"anchorUrl": "https://a.example/"}}),
            |it| it.audit.anchor.as_ref().map_or_else(String::new, ToString::to_string),
            "https://a.example/",
        ),
    ]
}

/// The rows of limits that are numbers.
fn rows_of_limits() -> impl Iterator<Item = Row> {
    type Effect = fn(&Config) -> String;
    let rows: [(&str, &str, Effect); 14] = [
        ("MAX_UPLOAD_BYTES", "maxUploadBytes", |it| it.limits.upload_bytes.to_string()),
        ("MAX_UPLOADS", "maxUploads", |it| it.limits.uploads.to_string()),
        ("MAX_UPLOADS_PER_CALLER", "maxUploadsPerCaller", |it| it.limits.uploads_each.to_string()),
        ("MAX_CONNECTIONS", "maxConnections", |it| it.limits.connections.to_string()),
        ("MAX_CONNECTIONS_PER_CLIENT", "maxConnectionsPerClient", |it| {
            it.limits.connections_per_client.to_string()
        }),
        ("REQUESTS_PER_MINUTE", "requestsPerMinute", |it| {
            it.limits.requests_per_minute.to_string()
        }),
        ("HEADER_SECONDS", "headerSeconds", |it| it.limits.header_time.as_secs().to_string()),
        ("MAX_HEADER_BYTES", "maxHeaderBytes", |it| it.limits.header_bytes.to_string()),
        ("MAX_HEADERS", "maxHeaders", |it| it.limits.header_lines.to_string()),
        ("IDLE_SECONDS", "idleSeconds", |it| it.limits.idle_time.as_secs().to_string()),
        ("STALL_SECONDS", "stallSeconds", |it| it.limits.stall_time.as_secs().to_string()),
        ("MIN_BODY_BYTES", "minBodyBytes", |it| it.limits.floor_bytes.to_string()),
        ("BODY_SECONDS", "bodySeconds", |it| it.limits.floor_window.as_secs().to_string()),
        ("MAX_LISTING", "maxListing", |it| it.limits.listing_entries.to_string()),
    ];
    rows.into_iter().map(|(name, key, effect)| {
        // A number that none of them is by itself, and that every one may be.
        row(format!("LIMITS_{name}"), "8765", json!({"limits": {key: 8765}}), effect, "8765")
    })
}

fn rows() -> Vec<Row> {
    let mut rows = rows_of_access();
    rows.extend(rows_of(Verb::Get));
    rows.extend(rows_of(Verb::Put));
    rows.extend(rows_of_files());
    rows.extend(rows_of_running());
    rows.extend(rows_of_limits());
    rows
}

/// Directories to serve, and what was typed, written and set.
struct World {
    directory: tempfile::TempDir,
    flags: Flags,
    environment: Environment,
}

impl World {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        for name in ["root", "other"] {
            fs::create_dir(directory.path().join(name)).unwrap();
        }
        Self { directory, flags: Flags::default(), environment: Environment::new() }
    }

    fn whole(&self, text: &str) -> String {
        text.replace("[DIR]", self.directory.path().to_str().unwrap())
    }

    fn set(&mut self, name: &str, value: &str) {
        self.environment.insert(format!("REPOSERVER_{name}"), self.whole(value));
    }

    /// Sets the root and what a row needs.
    fn with_variables(needs: &Needs) -> Self {
        let mut world = Self::new();
        world.set("ROOT", "[DIR]/root");
        needs.variables.iter().for_each(|(name, value)| world.set(name, value));
        world
    }

    /// Writes a file with what a row needs, and with this.
    fn with_file(needs: &Needs, members: &Value) -> Self {
        let mut world = Self::new();
        // What is named by a variable is the same whoever names it.
        let mut file = json!({"serverRoot": "[DIR]/root"});
        merge(&mut file, needs.file.clone());
        merge(&mut file, members.clone());
        let path = world.directory.path().join("config.json");
        fs::write(&path, world.whole(&file.to_string())).unwrap();
        world.flags.file = Some(path);
        world.environment.insert("REPOSERVER_ROOT".to_owned(), world.whole("[DIR]/other"));
        world
    }

    /// Returns what a row decides, or why nothing is decided.
    fn effect(&self, row: &Row) -> (String, String) {
        match Config::resolve(&self.flags, &self.environment) {
            Ok(config) => {
                let directory = self.directory.path().canonicalize().unwrap();
                let said = (row.effect)(&config).replace(directory.to_str().unwrap(), "[DIR]");
                (said, config.notices.join("\n"))
            }
            Err(error) => (format!("refused: {error}"), String::new()),
        }
    }
}

#[test]
fn every_variable_has_a_row_and_the_contract_has_24() {
    let rows: Vec<String> = rows().iter().map(|row| format!("REPOSERVER_{}", row.name)).collect();
    let names: BTreeSet<&str> = rows.iter().map(String::as_str).collect();
    assert_eq!(names.len(), rows.len(), "a variable has two rows");
    assert_eq!(names, NAMES.iter().copied().collect());
    let contract = NAMES.iter().position(|name| *name == "REPOSERVER_PUBLIC_URLS");
    assert_eq!(contract, Some(24));
}

#[test]
fn each_variable_decides_what_it_should_and_nothing_without_it() {
    for row in rows() {
        let mut world = World::with_variables(&row.needs);
        let without = world.effect(&row).0;
        assert_ne!(without, row.expected, "{}: it is so anyway", row.name);
        world.set(&row.name, row.value);
        let (said, notices) = world.effect(&row);
        assert_eq!(said, row.expected, "{}", row.name);
        assert!(!notices.contains("is not known"), "{}: {notices}", row.name);
        // A blank one is as none.
        if row.name != "ROOT" {
            world.set(&row.name, "");
            assert_eq!(world.effect(&row).0, without, "{}: blank", row.name);
        }
    }
}

#[test]
fn with_a_file_it_is_the_file_that_decides_and_each_variable_is_named() {
    for row in rows() {
        let mut world = World::with_file(&row.needs, &row.file);
        assert_eq!(world.effect(&row).0, row.expected, "{}: in the file", row.name);
        world.set(&row.name, "nonsense");
        let (said, notices) = world.effect(&row);
        assert_eq!(said, row.expected, "{}: in the file, and as a variable", row.name);
        let words = "with a configuration file, these variables are not read: ";
        let name = format!("`REPOSERVER_{}`", row.name);
        assert!(notices.contains(words) && notices.contains(&name), "{}: {notices}", row.name);

        let mut world = World::with_file(&row.needs, &json!({}));
        let without = world.effect(&row).0;
        world.set(&row.name, row.value);
        assert_eq!(world.effect(&row).0, without, "{}: it is not read", row.name);
        assert_ne!(without, row.expected, "{}", row.name);
    }
}

/// Three settings have flags: those go before variables, and fill in what a file leaves out.
#[test]
fn flags_go_before_variables_and_after_the_file() {
    let typed = |world: &mut World| {
        world.flags.address = Some("192.0.2.1".to_owned());
        world.flags.port = Some(1);
        world.flags.root = Some(PathBuf::from(world.whole("[DIR]/typed")));
        fs::create_dir(world.directory.path().join("typed")).unwrap();
    };
    let rows =
        || rows().into_iter().filter(|row| ["ADDRESS", "PORT", "ROOT"].contains(&&*row.name));
    assert_eq!(rows().count(), 3);
    for (row, from_flag) in rows().zip(["192.0.2.1", "1", "[DIR]/typed"]) {
        let mut world = World::with_variables(&row.needs);
        world.set(&row.name, row.value);
        typed(&mut world);
        assert_eq!(world.effect(&row).0, from_flag, "{}: flag and variable", row.name);

        let mut world = World::with_file(&row.needs, &row.file);
        typed(&mut world);
        assert_eq!(world.effect(&row).0, row.expected, "{}: file and flag", row.name);

        let mut world = World::new();
        let path = world.directory.path().join("config.json");
        fs::write(&path, "{}").unwrap();
        world.flags.file = Some(path);
        world.set(&row.name, row.value);
        typed(&mut world);
        assert_eq!(world.effect(&row).0, from_flag, "{}: a file without it", row.name);
    }
}
