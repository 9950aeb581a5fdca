//! What flags, environment and file decide together.

use std::time::Duration;

use dbt_client::config::Kind;

use super::*;

/// Everything that decides, as texts.
#[derive(Default)]
struct World<'a> {
    file: Option<&'a str>,
    env: &'a [(&'a str, &'a str)],
    server: Option<&'a str>,
    host: Host,
}

impl World<'_> {
    fn with<T>(&self, look: impl FnOnce(Inputs<'_>) -> T) -> T {
        let env = Environment::of(self.env.iter().copied());
        let file = self.file.map(|text| LoadedFile {
            path: PathBuf::from("/home/carol/.dbt/conf/dbt.json"),
            config: ConfigFile::parse(text.as_bytes()).unwrap(),
            notices: Vec::new(),
        });
        let flags = Flags { server: self.server.map(str::to_owned), ..Flags::default() };
        let places = Places {
            read_only_home: None,
            home: None,
            store: None,
            read_only_stores: Vec::new(),
            temporary: PathBuf::from("/tmp"),
            links: None,
        };
        let program =
            Program { version: "4.0.0".parse().unwrap(), executable: None, restarted: false };
        let tokens = Arc::new(TokenCache::in_memory());
        look(Inputs {
            flags: &flags,
            env: &env,
            file: file.as_ref(),
            host: &self.host,
            places: &places,
            platform: Platform::CURRENT,
            clock: Clock::System,
            program: &program,
            tokens: &tokens,
        })
    }

    fn resolve(&self) -> Result<Settings, SettingsError> {
        self.with(resolve)
    }

    #[track_caller]
    fn settings(&self) -> Settings {
        self.resolve().unwrap()
    }

    /// Returns the error as a person sees it.
    #[track_caller]
    fn error(&self) -> String {
        Report::from(self.resolve().unwrap_err()).to_string()
    }

    fn way_in(&self) -> WayIn {
        self.with(|inputs| {
            let Chosen::Entry(entry) = inputs.choose().unwrap() else { panic!("no entry") };
            inputs.way_in(entry).unwrap()
        })
    }
}

fn world(file: &str) -> World<'_> {
    World { file: Some(file), ..World::default() }
}

/// Makes a file of servers at `https://NAME.example.com`, with further members.
fn servers(names: &[&str], more: &str) -> String {
    let server = |name: &&str| {
        format!(
            r#""{name}": {{"repository": "https://{name}.example.com/dbt", "toolsRepository": "https://{name}.example.com/dbt-tools"}}"#
        )
    };
    let servers: Vec<String> = names.iter().map(server).collect();
    format!(r#"{{"servers": {{{}}}{more}}}"#, servers.join(", "))
}

/// Makes a file of one server with further keys.
fn server_with(keys: &str) -> String {
    format!(
        r#"{{"servers": {{"prod": {{"repository": "https://h/dbt", "toolsRepository": "https://h/dbt-tools", {keys}}}}}}}"#
    )
}

const LEGACY: &str = r#"{"dbt": {"repository": "https://old.example.com/dbt", "truststore": "https://old.example.com/dbt/truststore"},
    "tools": {"repository": "https://old.example.com/dbt-tools"}, "username": "carol", "password": "hunter2"}"#;

#[test]
fn a_flag_beats_a_variable_and_a_variable_beats_the_file() {
    let file = servers(&["zebra", "ant", "bee"], r#", "defaultServer": "bee""#);
    let chosen =
        |server, env| World { env, server, ..world(&file) }.settings().server.name.to_string();
    assert_eq!(chosen(Some("ant"), &[("DBT_SERVER", "zebra")]), "ant");
    assert_eq!(chosen(None, &[("DBT_SERVER", "zebra")]), "zebra");
    assert_eq!(chosen(None, &[]), "bee");
}

#[test]
fn without_a_default_the_first_server_written_counts_every_time() {
    for _round in 0..20 {
        assert_eq!(
            world(&servers(&["zebra", "ant", "bee"], "")).settings().server.name.as_str(),
            "zebra"
        );
    }
}

#[test]
fn a_server_that_does_not_exist_is_an_error_that_lists_those_that_do() {
    let file = servers(&["prod", "dev"], "");
    let with_default = servers(&["prod", "dev"], r#", "defaultServer": "prd""#);
    for (world, by) in [
        (World { server: Some("prd"), ..world(&file) }, "`-s`"),
        (World { env: &[("DBT_SERVER", "prd")], ..world(&file) }, "`DBT_SERVER`"),
        (world(&with_default), "`defaultServer`"),
    ] {
        assert_eq!(
            world.error(),
            format!(
                "error: there is no server `prd` in the configuration, named by {by}\nhint: it has `prod`, `dev`\n"
            )
        );
    }
}

#[test]
fn without_any_server_the_way_to_add_one_is_shown() {
    let expected = "error: no server is configured\nhint: `dbt server add URL` adds one\n";
    assert_eq!(World::default().error(), expected);
    assert_eq!(world("{}").error(), expected);
}

#[test]
fn the_legacy_server_is_called_default_and_can_be_named() {
    let by_name = World { env: &[("DBT_SERVER", "default")], ..world(LEGACY) };
    for settings in [world(LEGACY).settings(), by_name.settings()] {
        assert_eq!(settings.server.name.as_str(), "default");
        assert_eq!(settings.server.tools.to_string(), "https://old.example.com/dbt-tools");
        assert!(!settings.server.credentials.is_none());
    }
}

#[test]
fn a_url_needs_no_file() {
    let world = World { env: &[("DBT_SERVER", "https://dbt.example.com/")], ..World::default() };
    let settings = world.settings();
    assert_eq!(settings.server.name.as_str(), "https://dbt.example.com");
    assert_eq!(settings.server.repository.to_string(), "https://dbt.example.com/dbt");
    assert_eq!(settings.server.tools.to_string(), "https://dbt.example.com/dbt-tools");
    assert_eq!(settings.server.truststore.to_string(), "https://dbt.example.com/dbt/truststore");
    assert_eq!(settings.home_server, None);
}

#[test]
fn the_url_of_a_configured_server_means_that_server_with_its_trust() {
    let file = servers(&["prod", "dev"], "");
    let world = World { env: &[("DBT_SERVER", "https://dev.example.com")], ..world(&file) };
    assert_eq!(world.settings().server.name.as_str(), "dev");
    assert_eq!(world.settings().home_server.unwrap().as_str(), "prod");
}

#[test]
fn a_bad_url_is_named_without_what_may_be_secret_in_it() {
    let url = "https://alice:hunter2@dbt.example.com";
    let error = World { env: &[("DBT_SERVER", url)], ..World::default() }.error();
    assert!(error.contains("the environment variable `DBT_SERVER` is wrong"), "{error}");
    assert!(!error.contains("hunter2"), "{error}");
    let file =
        server_with("\"strict\": true").replace("https://h/dbt-tools", "https://h:0/dbt-tools");
    let error = world(&file).error();
    assert!(
        error.starts_with("error: `servers.prod.toolsRepository` in the configuration is wrong"),
        "{error}"
    );
    assert!(error.contains("port 0 does not exist"), "{error}");
}

#[test]
fn a_missing_key_is_named_and_a_broken_server_harms_only_itself() {
    let file = r#"{"servers": {"good": {"repository": "https://h/dbt", "toolsRepository": "https://h/t"},
        "empty": {}, "bad": {"repository": "ftp://h", "updates": "sometimes"}}}"#;
    assert_eq!(world(file).settings().server.name.as_str(), "good");
    let error = World { server: Some("empty"), ..world(file) }.error();
    assert_eq!(error, "error: the server `empty` has no `repository` in the configuration\n");
    assert!(World { server: Some("bad"), ..world(file) }.resolve().is_err());
}

#[test]
fn dbt_updates_itself_from_the_home_server_whatever_is_used_in_this_run() {
    let file = servers(&["prod", "dev"], r#", "defaultServer": "dev""#);
    let home = |world: World<'_>| world.settings().home_server.map(|name| name.to_string());
    assert_eq!(home(World { server: Some("prod"), ..world(&file) }), Some("dev".into()));
    let file = servers(&["prod", "dev"], r#", "defaultServer": "dev", "selfUpdateFrom": "prod""#);
    assert_eq!(home(world(&file)), Some("prod".into()));
    let file = servers(&["prod", "dev"], r#", "selfUpdateFrom": "gone""#);
    assert_eq!(home(world(&file)), None);
}

#[test]
fn the_keys_of_a_server_are_decided() {
    let file = server_with(
        r#""strict": true, "caFile": "ca.pem", "updates": "1h30m", "timeout": 2, "pins": {"deploy": "1.4"}, "selfUpdate": "notify""#,
    );
    let server = world(&file).settings().server;
    assert!(server.strict);
    assert_eq!(server.ca_file, Some(PathBuf::from("/home/carol/.dbt/conf/ca.pem")));
    assert_eq!(server.updates, Updates::Every(Duration::from_mins(90)));
    assert!((server.time_scale - 2.0).abs() < f64::EPSILON);
    assert_eq!(server.pins[&"deploy".parse().unwrap()].to_string(), "1.4");
    assert_eq!(server.self_update, SelfUpdate::Notify);

    for (updates, expected) in
        [("always", Updates::Always), ("after", Updates::After), ("manual", Updates::Manual)]
    {
        let file = server_with(&format!(r#""updates": "{updates}""#));
        assert_eq!(world(&file).settings().server.updates, expected);
    }
}

#[test]
fn time_limits_are_scaled_by_a_factor_or_by_a_time() {
    for (timeout, expected) in [("3", 3.0), ("0.5", 0.5), (r#""1m""#, 4.0)] {
        let scale =
            world(&server_with(&format!(r#""timeout": {timeout}"#))).settings().server.time_scale;
        assert!((scale - expected).abs() < 1e-9, "{timeout}: {scale}");
    }
    for timeout in ["0", "-1", "1000", r#""0s""#, r#""soon""#, r#""2h""#] {
        let file = server_with(&format!(r#""timeout": {timeout}"#));
        assert!(ConfigFile::parse(file.as_bytes()).is_err(), "{timeout}");
    }
}

#[test]
fn a_value_that_means_nothing_is_named_by_its_path() {
    for (keys, key) in [
        (r#""updates": "sometimes""#, "servers.prod.updates"),
        (r#""updates": "0m""#, "servers.prod.updates"),
        (r#""selfUpdate": "yes""#, "servers.prod.selfUpdate"),
        (r#""pins": {"deploy": "latest"}"#, "servers.prod.pins.deploy"),
        (r#""pins": {"../x": "1"}"#, "servers.prod.pins.../x"),
        (r#""trust": {"dbt": ["DEADBEEF"]}"#, "servers.prod.trust.dbt[0]"),
        (r#""trust": {"root": "sha256:00"}"#, "servers.prod.trust.root"),
        (r#""trust": {"everyone": []}"#, "trust"),
        (r#""repository": "x""#, "servers.prod.repository"),
    ] {
        let file = server_with(keys).replace(
            r#""repository": "https://h/dbt", "#,
            if key.ends_with("repository") { "" } else { r#""repository": "https://h/dbt", "# },
        );
        let error = world(&file).error();
        assert!(
            error.starts_with(&format!("error: `{key}` in the configuration is wrong")),
            "{error}"
        );
    }
}

#[test]
fn trust_of_the_environment_is_added_to_that_of_the_file() {
    let one = "AB".repeat(20);
    let two = "CD".repeat(20);
    let file = server_with(&format!(
        r#""trust": {{"tools": ["{one}"], "root": "sha256:{}"}}"#,
        "0".repeat(64)
    ));
    let spaced = format!("{} {}, {}", &two[..20], &two[20..], "EF".repeat(20));
    let rules = World { env: &[("DBT_TRUST", &spaced)], ..world(&file) }.settings().server.rules;
    for fingerprint in [&one, &two, &"EF".repeat(20)] {
        assert!(rules.names(&fingerprint.parse().unwrap()), "{fingerprint}");
    }
    assert!(rules.root().is_some());
    let error = World { env: &[("DBT_TRUST", "alice")], ..world(&file) }.error();
    assert!(error.contains("`DBT_TRUST` is wrong"), "{error}");
}

#[test]
fn dbt_replaces_itself_only_where_it_can_and_nobody_else_is_in_charge() {
    let plain = servers(&["prod"], "");
    let auto = server_with(r#""selfUpdate": "auto""#);
    let decide = |file: &str, env: &[(&str, &str)], can_replace_itself, in_container| {
        let host = Host { can_replace_itself, in_container, ..Host::default() };
        World { env, host, ..world(file) }.settings().server.self_update
    };
    assert_eq!(decide(&plain, &[], true, false), SelfUpdate::Auto);
    assert_eq!(decide(&plain, &[], false, false), SelfUpdate::Off);
    assert_eq!(decide(&plain, &[], true, true), SelfUpdate::Off);
    assert_eq!(decide(&auto, &[], true, true), SelfUpdate::Auto);
    assert_eq!(decide(&auto, &[], false, true), SelfUpdate::Off);
    assert_eq!(decide(&auto, &[("DBT_SELF_UPDATE", "off")], true, false), SelfUpdate::Off);
}

#[test]
fn credentials_at_the_top_belong_to_one_server_and_its_origins() {
    let shared = r#", "username": "carol", "password": "hunter2""#;
    let sent = |file: &str, server| {
        let world = World { server: Some(server), ..world(file) };
        let WayIn { kind, hint, .. } = world.way_in();
        (kind.is_sent(), hint.unwrap_or_default())
    };
    let with_default = servers(&["prod", "dev"], &format!(r#"{shared}, "defaultServer": "prod""#));
    assert_eq!(sent(&with_default, "prod"), (true, String::new()));
    let (got, hint) = sent(&with_default, "dev");
    assert!(!got);
    assert_eq!(
        hint,
        "`username`, `password` at the top level of the configuration belong to the server `prod`; \
         what is meant for this one stands in `servers.dev`"
    );
    assert!(sent(&servers(&["only"], shared), "only").0);
    let (got, hint) = sent(&servers(&["prod", "dev"], shared), "prod");
    assert!(!got && hint.contains("because there are several and no `defaultServer`"), "{hint}");

    let same_origin = with_default.replace("https://dev.example.com", "https://prod.example.com");
    assert!(sent(&same_origin, "dev").0);
    let other_port =
        with_default.replace("https://dev.example.com", "https://prod.example.com:8443");
    assert!(!sent(&other_port, "dev").0);
    let elsewhere_too =
        same_origin.replace("prod.example.com/dbt-tools\"}}", "evil.example.com/dbt-tools\"}}");
    assert!(!sent(&elsewhere_too, "dev").0);
}

#[test]
fn a_server_has_its_own_credentials_before_all_others() {
    for (keys, expected) in [
        (r#""username": "alice", "password": "p""#, Kind::Basic { username: Some("alice".into()) }),
        (
            r#""username": "a", "oidcUsername": "bob", "passwordfunc": "x""#,
            Kind::Basic { username: Some("bob".into()) },
        ),
        (
            r#""username": "a", "usernamefunc": "whoami", "password": "p""#,
            Kind::Basic { username: None },
        ),
        (r#""username": "alice""#, Kind::Nothing),
        (
            r#""token": "t", "username": "a", "password": "p""#,
            Kind::Token { from: "servers.prod.token".into() },
        ),
        (
            r#""tokenFunc": "pass dbt", "token": "t""#,
            Kind::Token { from: "servers.prod.tokenFunc".into() },
        ),
        (
            r#""authType": "oidc", "username": "a", "password": "p""#,
            Kind::NamelessProvider { key: "servers.prod.authType".into(), missing: "issuerUrl" },
        ),
        (
            r#""authType": "oidc", "issuerUrl": "https://i""#,
            Kind::NamelessProvider { key: "servers.prod.authType".into(), missing: "oidcClientId" },
        ),
        (
            r#""authType": "oidc", "issuerUrl": "https://i/", "oidcClientId": "app", "password": "p""#,
            Kind::Oidc { issuer: "https://i/".into() },
        ),
        (
            r#""pubkeypath": "/k.pub", "username": "alice""#,
            Kind::SshKey {
                key: "servers.prod.pubkeypath".into(),
                username: Some("alice".into()),
                with_password: false,
            },
        ),
        (
            r#""pubkey": "k", "pubkeyfunc": "x", "pubkeypath": "/k.pub", "usernamefunc": "x", "password": "p""#,
            Kind::SshKey {
                key: "servers.prod.pubkeyfunc".into(),
                username: None,
                with_password: true,
            },
        ),
        (
            r#""pubkey": "k", "password": "p""#,
            Kind::NamelessSshKey { key: "servers.prod.pubkey".into() },
        ),
    ] {
        assert_eq!(world(&server_with(keys)).way_in().kind, expected, "{keys}");
    }
    let env: &[_] = &[("DBT_REPO_TOKEN", "t")];
    let file = server_with(r#""authType": "oidc""#);
    let way_in = World { env, ..world(&file) }.way_in();
    assert_eq!(way_in.kind, Kind::Token { from: "DBT_REPO_TOKEN".into() });
}

#[test]
fn a_provider_of_which_not_enough_is_said_harms_nobody_until_it_is_needed() {
    let settings =
        world(&server_with(r#""authType": "oidc", "issuerUrl": "https://i""#)).settings();
    assert!(settings.server.credentials.is_none());
    assert_eq!(
        settings.server.sign_in_hint.unwrap(),
        "`servers.prod.authType` asks for sign-in through an identity provider, and `oidcClientId` \
         is missing beside it"
    );
}

#[test]
fn tokens_of_two_people_at_one_server_are_kept_apart() {
    let with = |keys: &str| {
        let provider = r#""authType": "oidc", "issuerUrl": "https://i", "oidcClientId": "app""#;
        let way_in = world(&server_with(&format!("{provider}{keys}"))).way_in();
        way_in.provider.unwrap().key().clone()
    };
    let keys = [
        with(""),
        with(r#", "username": "alice""#),
        with(r#", "username": "alice", "oidcUsername": "bot""#),
        with(r#", "usernamefunc": "alice""#),
        with(r#", "username": "alice", "connectorId": "ssh""#),
        with(r#", "username": "alice", "connectorId": "bots""#),
        with(r#", "username": "alice", "pubkeypath": "/alice.pub""#),
        with(r#", "username": "alice", "pubkeypath": "/bot.pub""#),
    ];
    for (index, key) in keys.iter().enumerate() {
        assert!(!keys[..index].contains(key), "{key:?}");
    }
    assert_eq!(with(r#", "username": "bot""#), keys[2]);
    assert!(keys[0].who.is_empty());
}

#[test]
fn a_provider_is_asked_over_tls_alone_and_its_key_is_named() {
    let file = server_with(
        r#""authType": "oidc", "issuerUrl": "http://id.example.com", "oidcClientId": "app""#,
    );
    let error = world(&file).error();
    assert!(error.contains("`servers.prod.issuerUrl`"), "{error}");
    assert!(error.contains("without TLS (`https`) only servers on this machine"), "{error}");
}

/// An identity with these claims that nobody has signed.
fn identity_for(audience: &str) -> String {
    use base64::Engine as _;
    let claims = format!(r#"{{"aud": "{audience}"}}"#);
    format!("e30.{}.eA", base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(claims))
}

#[test]
fn the_identity_of_a_job_is_for_one_server_and_comes_before_the_file() {
    let file = server_with(r#""username": "alice", "password": "p""#);
    let kind = |env: &[(&str, &str)]| World { env, ..world(&file) }.way_in().kind;
    let basic = Kind::Basic { username: Some("alice".into()) };
    let ours = identity_for("https://h");
    assert_eq!(kind(&[("DBT_ID_TOKEN", &ours)]), Kind::Job { from: "`DBT_ID_TOKEN`".into() });
    for other in ["https://other", "https://h/", "https://h:8443", "http://h"] {
        assert_eq!(kind(&[("DBT_ID_TOKEN", &identity_for(other))]), basic, "{other}");
    }
    // What every program of a job could have is not used where something is configured.
    let github = [
        ("ACTIONS_ID_TOKEN_REQUEST_URL", "https://actions.example.com"),
        ("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "x"),
    ];
    assert_eq!(kind(&github), basic);
    let plain = servers(&["prod"], "");
    let way_in = World { env: &github, ..world(&plain) }.way_in();
    assert_eq!(way_in.kind, Kind::Job { from: "GitHub Actions".into() });
}

#[test]
fn an_ssh_key_that_signs_in_nobodys_name_is_said_only_when_it_is_needed() {
    let settings = world(&server_with(r#""pubkey": "ssh-ed25519 x""#)).settings();
    assert!(settings.server.credentials.is_none());
    assert_eq!(
        settings.server.sign_in_hint.unwrap(),
        "`servers.prod.pubkey` names an SSH key, and nothing says in whose name it signs: write \
         `username` beside it"
    );
}

#[test]
fn a_variable_that_is_not_set_is_named_and_harms_only_its_server() {
    let file = server_with(r#""token": "${CI_TOKEN}""#);
    let error = world(&file).error();
    let expected = "error: `servers.prod.token` in the configuration names the variable `CI_TOKEN`, which is not set\n";
    assert!(error.starts_with(expected), "{error}");
    assert!(World { env: &[("CI_TOKEN", "x")], ..world(&file) }.resolve().is_ok());
}

#[test]
fn proxies_have_two_spellings_and_a_web_servers_is_not_believed() {
    let file = servers(&["prod"], "");
    let network = |env: &[(&str, &str)]| World { env, ..world(&file) }.settings().network;
    let both = network(&[
        ("https_proxy", "http://low"),
        ("HTTPS_PROXY", "http://up"),
        ("http_proxy", "http://h"),
    ]);
    assert_eq!(
        (both.https_proxy.as_deref(), both.http_proxy.as_deref()),
        (Some("http://up"), Some("http://h"))
    );
    let none = network(&[
        ("NO_PROXY", " a.example.com, 10.0.0.0/8 ,,"),
        ("REQUEST_METHOD", "GET"),
        ("HTTP_PROXY", "http://evil"),
    ]);
    assert_eq!(none.no_proxy, ["a.example.com", "10.0.0.0/8"]);
    assert_eq!(none.http_proxy, None);
}

#[test]
fn offline_is_a_flag_or_a_variable() {
    let file = servers(&["prod"], "");
    assert!(!world(&file).settings().offline);
    assert!(World { env: &[("DBT_OFFLINE", "1")], ..world(&file) }.settings().offline);
    let error = World { env: &[("DBT_OFFLINE", "perhaps")], ..world(&file) }.error();
    assert!(error.contains("expected `1` or `0`"), "{error}");
}

#[test]
fn no_secret_shows_when_settings_are_formatted() {
    let file = servers(
        &["prod"],
        r#", "username": "carol", "password": "CANARY", "tokenFunc": "echo CANARY", "oidcClientSecret": "CANARY""#,
    );
    let env: &[_] = &[("DBT_REPO_TOKEN", "CANARY"), ("HTTPS_PROXY", "http://u:CANARY@p")];
    let world = World { env, ..world(&file) };
    let shown = format!("{:?}", world.settings());
    assert!(!shown.contains("CANARY"), "{shown}");
    world.with(|inputs| {
        let shown =
            format!("{inputs:?} {:?}", inputs.way_in(&inputs.file.unwrap().config.servers[0]));
        assert!(!shown.contains("CANARY"), "{shown}");
    });
}
