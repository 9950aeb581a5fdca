use std::fs;

use dbt_core::secret::Secret;

use super::*;
use crate::authn::static_token::NamedToken;

/// A directory to serve, a place for configuration files, and what was typed and set.
struct World {
    directory: tempfile::TempDir,
    flags: Flags,
    environment: Environment,
}

impl World {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("root")).unwrap();
        Self { directory, flags: Flags::default(), environment: Environment::new() }
    }

    fn root(&self) -> String {
        self.directory.path().join("root").to_str().unwrap().to_owned()
    }

    fn variable(mut self, name: &str, value: &str) -> Self {
        self.environment.insert(name.to_owned(), value.to_owned());
        self
    }

    /// Writes a configuration file in which `ROOT` is the directory to serve.
    fn file(mut self, text: &str) -> Self {
        let path = self.directory.path().join("config.json");
        fs::write(&path, text.replace("ROOT", &self.root())).unwrap();
        self.flags.file = Some(path);
        self
    }

    fn resolve(&self) -> Result<Config, ConfigError> {
        Config::resolve(&self.flags, &self.environment)
    }

    /// Returns the refusal, without the parts that differ from run to run.
    fn refusal(&self) -> String {
        let error = self.resolve().unwrap_err();
        let directory = self.directory.path().to_str().unwrap();
        error.to_string().replace(directory, "[DIR]")
    }
}

/// The refusal of a configuration file.
fn file_refusal(text: &str) -> String {
    World::new().file(text).refusal()
}

/// The refusal of a configuration file of this world, beside the root.
fn file_refusal_in(world: &World, members: &str) -> String {
    let path = world.directory.path().join("config.json");
    let text = format!(r#"{{"serverRoot": "ROOT", {members}}}"#);
    fs::write(&path, text.replace("ROOT", &world.root())).unwrap();
    let flags = Flags { file: Some(path), ..Flags::default() };
    Config::resolve(&flags, &world.environment).unwrap_err().to_string()
}

/// The refusal of some variables besides the root.
fn variable_refusal(variables: &[(&str, &str)]) -> String {
    let world = World::new();
    let root = world.root();
    let start = world.variable("REPOSERVER_ROOT", &root);
    variables.iter().fold(start, |world, (name, value)| world.variable(name, value)).refusal()
}

#[test]
fn without_a_file_flags_go_before_variables_and_variables_before_defaults() {
    let mut world =
        World::new().variable("REPOSERVER_PORT", "1").variable("REPOSERVER_ADDRESS", "::1");
    let root = world.root();
    world = world.variable("REPOSERVER_ROOT", &root);
    world.flags.port = Some(2);
    let config = world.resolve().unwrap();
    assert_eq!((config.port, config.address.as_str()), (2, "::1"));

    let mut plain = World::new();
    plain.flags.root = Some(plain.root().into());
    let config = plain.resolve().unwrap();
    assert_eq!((config.port, config.address.as_str()), (9999, "0.0.0.0"));
    assert_eq!((config.reads.access(), config.writes.access()), (Access::Anyone, Access::Nobody));
    assert!(!config.immutable);
}

#[test]
fn with_a_file_the_file_decides_flags_fill_in_and_variables_are_not_read() {
    let mut world = World::new()
        .file(r#"{"Port": 0, "SERVERRooT": "ROOT", "immutable": true}"#)
        .variable("REPOSERVER_AUTH_TYPE_PUT", "static-token")
        .variable("REPOSERVER_PORT", "not looked at");
    world.flags.port = Some(2);
    world.flags.address = Some("127.0.0.1".to_owned());
    let config = world.resolve().unwrap();
    assert_eq!((config.port, config.address.as_str()), (0, "127.0.0.1"));
    assert_eq!(config.writes.access(), Access::Nobody);
    assert!(config.immutable);
    let notice = config.notices.join("\n");
    assert!(notice.contains("`REPOSERVER_AUTH_TYPE_PUT`, `REPOSERVER_PORT`"), "{notice}");
}

#[test]
fn an_unknown_key_stops_the_start_and_names_its_neighbour() {
    assert_eq!(
        file_refusal(r#"{"serverRot": "ROOT"}"#),
        "the configuration `[DIR]/config.json` has an unknown key `serverRot`; the nearest known key is `serverRoot`"
    );
    assert_eq!(
        file_refusal(r#"{"authoptsput": {"statictokn": "x"}}"#),
        "the configuration `[DIR]/config.json` has an unknown key `authOptsPut.statictokn`; the nearest known key is `authOptsPut.staticToken`"
    );
    let twice = file_refusal(r#"{"authGets": true, "AUTHGETS": false}"#);
    assert!(twice.contains("twice"), "{twice}");
}

#[test]
fn a_wrong_type_is_named_by_its_path() {
    let refusal = file_refusal(r#"{"authOptsGet": {"oidc": {"audiences": "one"}}}"#);
    assert!(refusal.contains("`authOptsGet.oidc.audiences`: invalid type: string"), "{refusal}");
    let refusal = file_refusal(r#"{"port": 70000}"#);
    assert!(refusal.contains("`port`: invalid value: integer `70000`"), "{refusal}");
    let refusal = file_refusal(r#"{"authGets": "false"}"#);
    assert!(refusal.contains("`authGets`: invalid type: string"), "{refusal}");
    assert!(file_refusal("{,}").contains("is not valid JSON"));
    assert!(file_refusal("[]").contains("wrong value"));
}

#[test]
fn what_leaves_reads_or_writes_unguarded_by_mistake_is_refused() {
    let cases = [
        (r#""authGets": true"#, "`authGets` is true but `authTypeGet` is empty"),
        (
            r#""authGets": true, "authTypeGet": " ""#,
            "`authGets` is true but `authTypeGet` is empty",
        ),
        (
            r#""authTypePut": "static-token""#,
            "`static-token` needs a token: set `authOptsPut.staticToken` or `authOptsPut.staticTokenEnv`",
        ),
        (
            r#""authTypePut": "static-token", "authOptsPut": {"staticToken": " "}"#,
            "`static-token` needs a token: set `authOptsPut.staticToken` or `authOptsPut.staticTokenEnv`",
        ),
        (
            r#""authTypePut": "static-token", "authOptsPut": {"staticTokenEnv": "NOT_SET"}"#,
            "`authOptsPut.staticTokenEnv` names the variable `NOT_SET`, which is not set",
        ),
        (
            r#""authTypePut": "static-token,", "authOptsPut": {"staticToken": "x"}"#,
            "`authTypePut` has an empty place between its commas: `static-token,`",
        ),
        (
            r#""authTypePut": "static-tokens""#,
            "`authTypePut` names `static-tokens`, which is no method of authentication; the nearest is `static-token`",
        ),
        (
            r#""authTypePut": "ssh-agent-ldap""#,
            "`authTypePut` names `ssh-agent-ldap`, which is not available yet",
        ),
        (
            r#""authGets": true, "authTypeGet": "ssh-agent-ldap""#,
            "`authTypeGet` names `ssh-agent-ldap`, which is not available yet",
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(
            file_refusal(&format!(r#"{{"serverRoot": "ROOT", {text}}}"#)),
            expected,
            "{text}"
        );
    }
}

#[test]
fn a_method_that_is_not_needed_does_not_stop_the_start() {
    let world =
        World::new().file(r#"{"serverRoot": "ROOT", "authGets": false, "authTypeGet": "oidc"}"#);
    let config = world.resolve().unwrap();
    assert_eq!(config.reads.access(), Access::Anyone);
    assert!(config.notices.join("").contains("everybody may read"));
}

#[test]
fn the_directory_to_serve_must_be_named_exist_and_hold_no_configuration() {
    assert_eq!(
        World::new().refusal(),
        "no directory to serve: set `serverRoot`, `REPOSERVER_ROOT` or `--root`"
    );
    assert!(file_refusal(r#"{"serverRoot": ""}"#).starts_with("no directory to serve"));
    assert!(file_refusal(r#"{"serverRoot": "ROOT/missing"}"#).contains("[DIR]/root/missing"));
    assert!(file_refusal(r#"{"serverRoot": "/"}"#).contains("root of the file system"));
    let mut inside = World::new();
    let path = PathBuf::from(inside.root()).join("config.json");
    fs::write(&path, format!(r#"{{"serverRoot": "{}"}}"#, inside.root())).unwrap();
    inside.flags.file = Some(path);
    assert!(inside.refusal().ends_with("lies in the directory to serve"));
}

#[test]
fn what_must_stay_private_lies_outside_also_when_it_is_made_later() {
    let world = World::new();
    let root = PathBuf::from(world.root());
    let link = world.directory.path().join("link");
    std::os::unix::fs::symlink(&root, &link).unwrap();
    fs::write(root.join("keys.sh"), "#!").unwrap();
    let link = link.to_str().unwrap();
    let above = format!("{link}/missing/../state");
    for (members, what) in [
        (r#""stateDir": "ROOT/state""#.to_owned(), "the state directory"),
        (format!(r#""stateDir": "{link}/state""#), "the state directory"),
        (format!(r#""stateDir": "{above}""#), "the state directory"),
        (r#""htpasswdFile": "ROOT/users""#.to_owned(), "the file of identities"),
        (
            r#""authTypePut": "ssh-agent-func", "publicUrls": ["https://dbt.example.com"],
               "authOptsPut": {"idpFunc": "sh ROOT/keys.sh"}"#
                .to_owned(),
            "the command of identities",
        ),
    ] {
        let refusal = file_refusal_in(&world, &members);
        assert!(
            refusal.starts_with(what) && refusal.contains("in the directory to serve"),
            "{refusal}"
        );
    }
}

#[test]
fn variables_say_yes_and_no_in_several_ways_and_nothing_else() {
    for (value, expected) in
        [("true", true), ("YES", true), ("1", true), ("no", false), ("0", false)]
    {
        let world = World::new().variable("REPOSERVER_IMMUTABLE", value);
        let root = world.root();
        let config = world.variable("REPOSERVER_ROOT", &root).resolve().unwrap();
        assert_eq!(config.immutable, expected, "{value}");
    }
    assert_eq!(
        variable_refusal(&[("REPOSERVER_AUTH_GETS", "on")]),
        "the variable `REPOSERVER_AUTH_GETS` is `true`, `false`, `1`, `0`, `yes` or `no`, not `on`"
    );
}

#[test]
fn a_port_that_is_none_is_refused_with_the_likely_cause() {
    let refusal = variable_refusal(&[("REPOSERVER_PORT", "tcp://10.0.0.1:9999")]);
    assert!(refusal.contains("not `tcp://10.0.0.1:9999` (Kubernetes sets it"), "{refusal}");
    assert!(variable_refusal(&[("REPOSERVER_PORT", "99999")]).contains("between 0 and 65535"));
}

#[test]
fn an_unknown_variable_is_only_mentioned() {
    let world = World::new().variable("REPOSERVER_AUTH_GET", "true");
    let root = world.root();
    let config = world.variable("REPOSERVER_ROOT", &root).resolve().unwrap();
    assert!(config.notices.join("").contains("nearest known one is `REPOSERVER_AUTH_GETS`"));
}

#[test]
fn the_variable_of_a_token_goes_before_the_written_one_and_loses_its_newline() {
    let options = r#""authTypePut": "static-token", "authOptsPut": {"staticToken": "written", "staticTokenEnv": "TOKEN"}"#;
    let text = format!(r#"{{"serverRoot": "ROOT", {options}}}"#);
    let token = |world: World| {
        let Door::Guarded(methods) = world.resolve().unwrap().writes else { panic!("not guarded") };
        let [Method::StaticTokens(tokens)] = methods.as_slice() else { panic!("{methods:?}") };
        tokens.clone()
    };
    let secret = |text: &str| Secret::new(text.to_owned());
    let only = |text: &str| vec![NamedToken::unnamed(&secret(text))];
    assert_eq!(token(World::new().file(&text).variable("TOKEN", "rotated\n")), only("rotated"));
    assert_eq!(token(World::new().file(&text).variable("TOKEN", " ")), only("written"));
    assert_eq!(token(World::new().file(&text)), only("written"));
}

#[test]
fn no_secret_shows_in_what_is_printed_of_a_configuration() {
    let world = World::new().file(
        r#"{"serverRoot": "ROOT", "authTypePut": "static-token", "authOptsPut": {"staticToken": "hunter2"}}"#,
    );
    let config = world.resolve().unwrap();
    assert!(!format!("{config:?}").contains("hunter2"));
    let explained = config.explained();
    assert!(!explained.contains("hunter2"));
    assert!(explained.contains("authTypePut = static-token  (`"), "{explained}");
    assert!(explained.contains("port = 9999  (default)"), "{explained}");
}

/// Returns the names of the settings in a schema.
fn names_in(node: &Value, schema: &Value, at: &str) -> Vec<String> {
    let mut names = Vec::new();
    for (key, below) in node["properties"].as_object().unwrap() {
        let name = if at.is_empty() { key.clone() } else { format!("{at}.{key}") };
        let references = [&below["$ref"], &below["anyOf"][0]["$ref"]];
        let definition = references
            .into_iter()
            .find_map(Value::as_str)
            .map_or(below, |reference| schema.pointer(&reference[1..]).unwrap());
        if definition["properties"].is_object() {
            names.extend(names_in(definition, schema, &name));
        } else {
            names.push(name);
        }
    }
    names
}

#[test]
fn what_is_not_written_is_shown_too() {
    let config = World::new().file(r#"{"serverRoot": "ROOT"}"#).resolve().unwrap();
    let explained = config.explained();
    let shown: Vec<&str> =
        explained.lines().map(|line| line.split_once(" = ").unwrap().0).collect();
    // What only matters to a way of signing in is shown with it.
    let is_of_a_method = |name: &str| {
        ["authTypeGet", "authOptsGet.", "authOptsPut.", "ldap.", "htpasswdFile", "pubkeysFile"]
            .iter()
            .any(|start| name.starts_with(start))
    };
    let schema = Config::schema();
    let names = names_in(&schema, &schema, "");
    assert!(names.len() > 60, "{names:?}");
    for name in names.iter().filter(|name| !is_of_a_method(name)) {
        assert!(shown.iter().any(|shown| is_or_is_within(name, shown)), "{name}: {explained}");
    }
}

#[test]
fn how_much_of_the_record_is_kept_and_where_its_checkpoints_go_must_make_sense() {
    let audit = |members: &str| {
        file_refusal(&format!(r#"{{"serverRoot": "ROOT", "audit": {{{members}}}}}"#))
    };
    assert_eq!(
        audit(r#""retain": "4 weeks""#),
        "`audit.retain` is an age like `400d`, a size like `2GiB`, or both: `400d 2GiB`"
    );
    assert_eq!(
        audit(r#""anchorUrl": "http://example.com/""#),
        "`audit.anchorUrl` must begin with `https://`; `http://` is only for this machine"
    );
}
