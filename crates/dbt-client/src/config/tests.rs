//! Samples of both formats, and everything that can be wrong with a file.

use super::*;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;

fn of(text: &str) -> Result<ConfigFile, ConfigError> {
    ConfigFile::parse(text.as_bytes())
}

fn error_of(text: &str) -> String {
    let error = of(text).unwrap_err();
    let mut words = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(error) = cause {
        words = format!("{words}: {error}");
        cause = error.source();
    }
    words
}

fn shown(text: Option<&Text>) -> &str {
    text.map_or("", |text| text.as_written().expose())
}

const MULTI: &str = r#"{
  "servers": {
    "prod": {
      "repository": "https://dbt.example.com/dbt",
      "truststore": "https://dbt.example.com/dbt/truststore",
      "toolsRepository": "https://dbt.example.com/dbt-tools",
      "authType": "oidc", "issuerUrl": "https://dex.example.com", "oidcAudience": "dbt",
      "oidcClientId": "dbt-client", "oidcClientSecret": "s3cret", "oidcUsername": "alice",
      "connectorId": "ssh"
    },
    "dev": {
      "repository": "http://localhost:9999/dbt",
      "truststore": "http://localhost:9999/dbt/truststore",
      "toolsRepository": "http://localhost:9999/dbt-tools",
      "usernamefunc": "echo bob", "passwordfunc": "cat /run/secret"
    }
  },
  "defaultServer": "prod",
  "username": "carol", "password": "hunter2", "pubkeypath": "/home/carol/.ssh/id_ed25519.pub"
}"#;

const LEGACY: &str = r#"{
  "dbt": {"repository": "https://dbt.example.com/dbt", "truststore": "https://dbt.example.com/dbt/truststore"},
  "tools": {"repository": "https://dbt.example.com/dbt-tools"},
  "username": "", "password": "", "usernamefunc": "", "passwordfunc": "",
  "pubkey": "ssh-ed25519 AAAA", "pubkeyfunc": ""
}"#;

#[test]
fn several_servers_are_read_in_the_order_written() {
    let file = of(MULTI).unwrap();
    assert_eq!(file.names(), "`prod`, `dev`");
    assert_eq!(file.default_server.as_deref(), Some("prod"));
    let prod = file.server("prod").unwrap();
    assert_eq!(shown(prod.repository.as_ref()), "https://dbt.example.com/dbt");
    assert_eq!(shown(prod.sign_in.auth_type.as_ref()), "oidc");
    assert_eq!(prod.sign_in.oidc.len(), 4);
    let dev = file.server("dev").unwrap();
    assert_eq!(shown(dev.sign_in.password_command.as_ref()), "cat /run/secret");
    assert_eq!(shown(file.shared.username.as_ref()), "carol");
    assert!(file.unknown.is_empty(), "{:?}", file.unknown);

    let reversed = of(r#"{"servers": {"z": {}, "a": {}, "m": {}}}"#).unwrap();
    assert_eq!(reversed.names(), "`z`, `a`, `m`");
}

#[test]
fn the_legacy_format_is_one_server_called_default() {
    let file = of(LEGACY).unwrap();
    assert_eq!(file.names(), "`default`");
    let server = file.server("default").unwrap();
    assert!(server.legacy);
    assert_eq!(shown(server.tools_repository.as_ref()), "https://dbt.example.com/dbt-tools");
    assert_eq!(shown(file.shared.public_key.as_ref()), "ssh-ed25519 AAAA");
    assert!(file.shared.username.is_none() && file.unknown.is_empty());
}

#[test]
fn both_formats_may_stand_in_one_file_and_the_legacy_server_comes_last() {
    let both = r#"{"dbt": {"repository": "https://old"}, "servers": {"new": {}}, "strict": true}"#;
    let file = of(both).unwrap();
    assert_eq!(file.names(), "`new`, `default`");
    assert_eq!(file.server("default").unwrap().options.strict, Some(true));

    let taken =
        of(r#"{"dbt": {"repository": "https://old"}, "servers": {"default": {}}}"#).unwrap();
    assert_eq!(taken.names(), "`default`");
    assert!(!taken.server("default").unwrap().legacy);
}

#[test]
fn the_new_keys_of_a_server_are_read() {
    let file = of(r#"{"servers": {"prod": {
        "trust": {"dbt": ["AB"], "tool:pay-*": "CD", "root": "sha256:00"},
        "strict": true, "caFile": "ca.pem", "updates": "10m", "selfUpdate": "off", "timeout": 1.5,
        "pins": {"deploy": "1.4"}, "tokenFunc": "pass show dbt"
    }}, "selfUpdateFrom": "prod", "tools": ["doctor", "list"]}"#)
    .unwrap();
    let options = &file.server("prod").unwrap().options;
    let scopes: Vec<&str> = options.trust.iter().map(|(scope, _list)| scope.as_str()).collect();
    assert_eq!(scopes, ["dbt", "tool:pay-*", "root"]);
    assert_eq!(options.trust[1].1[0].path(), "servers.prod.trust.tool:pay-*");
    assert_eq!((options.strict, shown(options.updates.as_ref())), (Some(true), "10m"));
    assert_eq!(options.pins[0].0, "deploy");
    assert_eq!(file.tools.iter().map(ToolName::as_str).collect::<Vec<_>>(), ["doctor", "list"]);
    assert!(file.unknown.is_empty(), "{:?}", file.unknown);
}

#[test]
fn where_tokens_are_kept_is_one_of_two_places_and_the_file_unless_somebody_says() {
    let variables = BTreeMap::from([("STORE".to_owned(), OsString::from("keychain"))]);
    let store = |text: &str| of(text).unwrap().token_store(&variables);
    assert_eq!(store("{}").unwrap(), TokenStore::File);
    assert_eq!(store(r#"{"tokenStore": "file"}"#).unwrap(), TokenStore::File);
    assert_eq!(store(r#"{"tokenStore": "${STORE}"}"#).unwrap(), TokenStore::Keychain);
    let error = store(r#"{"tokenStore": "keyring"}"#).unwrap_err();
    assert_eq!(
        crate::anchor::in_one_line(&error),
        "`tokenStore` in the configuration is wrong: expected `file` or `keychain`, and it is `keyring`"
    );
}

#[test]
fn keys_match_without_regard_to_case_as_they_do_for_the_reference() {
    let file = of(r#"{"Servers": {"prod": {"REPOSITORY": "https://h"}}, "DefaultServer": "prod"}"#)
        .unwrap();
    assert_eq!(file.default_server.as_deref(), Some("prod"));
    assert_eq!(shown(file.server("prod").unwrap().repository.as_ref()), "https://h");
    assert!(file.unknown.is_empty());
}

#[test]
fn keys_that_nothing_reads_are_named_by_their_paths() {
    let file = of(
        r#"{"servers": {"a": {"repositry": "x", "strict": null}}, "strict": true, "colour": 1}"#,
    )
    .unwrap();
    let unknown: Vec<_> = file.unknown.iter().map(|it| (it.path.as_str(), it.nearest)).collect();
    let meant = [("servers.a.repositry", Some("repository")), ("strict", None), ("colour", None)];
    assert_eq!(unknown, meant);
}

#[test]
fn a_wrong_kind_of_value_is_named_by_its_path() {
    for (text, expected) in [
        (r"[]", "`the configuration` must be an object, and is a list"),
        (r#"{"servers": []}"#, "`servers` must be an object, and is a list"),
        (r#"{"servers": {"a": 1}}"#, "`servers.a` must be an object, and is a number"),
        (
            r#"{"servers": {"a": {"strict": "yes"}}}"#,
            "`servers.a.strict` must be true or false, and is a string",
        ),
        (
            r#"{"servers": {"a": {"timeout": true}}}"#,
            "`servers.a.timeout` must be a number or a string, and is true or false",
        ),
        (
            r#"{"servers": {"a": {"pins": {"t": 1}}}}"#,
            "`servers.a.pins.t` must be a string, and is a number",
        ),
        (
            r#"{"servers": {"a": {"trust": {"dbt": [1]}}}}"#,
            "`servers.a.trust.dbt[0]` must be a string, and is a number",
        ),
        (
            r#"{"tools": ["../x"]}"#,
            "`tools[0]` in the configuration is wrong: `../x` cannot be the name of a tool: only letters, digits and `.`, `_`, `+`, `-` are allowed",
        ),
        (r#"{"tools": "x"}"#, "`tools` must be an object, and is a string"),
        (
            r#"{"servers": {"": {}}}"#,
            "`servers` in the configuration is wrong: `` cannot be the name of a server: 1 to 256 printable characters are allowed",
        ),
    ] {
        assert_eq!(error_of(text), expected, "{text}");
    }
}

#[test]
fn a_key_or_a_server_that_stands_twice_is_refused() {
    for (text, expected) in [
        (
            r#"{"servers": {"a": {}, "b": {}, "a": {}}}"#,
            "`servers.a` stands in the configuration twice",
        ),
        (r#"{"password": "a", "Password": "b"}"#, "`password` stands in the configuration twice"),
    ] {
        assert_eq!(error_of(text), expected, "{text}");
    }
}

#[test]
fn what_is_not_json_is_refused_with_its_place() {
    let words = error_of("{\n  \"servers\": {,}\n}");
    assert!(
        words.starts_with("the configuration is not JSON: ") && words.contains("line 2"),
        "{words}"
    );
    assert!(of("").is_err() && of("{} {}").is_err());
    assert!(of("\u{feff}{}").is_ok());
    let deep = "[".repeat(100_000);
    assert!(of(&deep).is_err());
}

#[test]
fn a_text_may_name_variables() {
    let env = [("TOKEN", "t0ken"), ("EMPTY", "")];
    let env: BTreeMap<String, OsString> =
        env.into_iter().map(|(name, value)| (name.to_owned(), value.into())).collect();
    for (written, expected) in [
        ("${TOKEN}", "t0ken"),
        ("a${TOKEN}b${EMPTY}c", "at0kenbc"),
        ("$TOKEN ${} ${a b} ${1} ${", "$TOKEN ${} ${a b} ${1} ${"),
        ("$${TOKEN} $${", "${TOKEN} ${"),
        ("pa$$word", "pa$$word"),
    ] {
        let text = Text::new("k".to_owned(), written);
        assert_eq!(text.expand(&env).unwrap().expose(), expected, "{written}");
    }
    let text = Text::new("k".to_owned(), "$${TOKEN}${TOKEN}b${EMPTY}${1}");
    assert_eq!(text.variables().collect::<Vec<_>>(), ["TOKEN", "EMPTY"]);
    let text = Text::new("servers.a.token".to_owned(), "${NONE}");
    let words =
        "`servers.a.token` in the configuration names the variable `NONE`, which is not set";
    assert_eq!(text.expand(&env).unwrap_err().to_string(), words);
}

#[test]
fn debug_output_and_errors_show_no_secret() {
    let text = MULTI
        .replace("s3cret", "CANARY")
        .replace("hunter2", "CANARY")
        .replace("cat /run", "CANARY");
    let file = of(&text).unwrap();
    assert!(!format!("{file:?}").contains("CANARY"), "{file:?}");
    let document = load::parse(text.as_bytes()).unwrap();
    assert!(!format!("{document:?}").contains("CANARY"));
    assert!(!error_of(r#"{"password": {"CANARY": 1}}"#).contains("CANARY"));
    assert!(!error_of(r#"{"password": "CANARY"#).contains("CANARY"));
}

mod on_disk {
    use super::*;
    use std::fs;
    use std::path::Path;

    fn directory(text: &str) -> (tempfile::TempDir, PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("dbt.json");
        fs::write(&path, text).unwrap();
        (directory, path)
    }

    #[test]
    fn the_first_file_that_exists_counts_and_a_named_one_must_exist() {
        let (directory, path) = directory(MULTI);
        let missing = directory.path().join("conf").join("dbt.json");
        let found = load(None, &[missing.clone(), path.clone()]).unwrap().unwrap();
        assert_eq!(found.path, path);
        assert!(load(None, std::slice::from_ref(&missing)).unwrap().is_none());
        let error = load(Some(&missing), &[path]).unwrap_err();
        assert!(matches!(error, ConfigError::Missing { .. }), "{error}");
    }

    #[test]
    fn a_huge_file_is_refused_early() {
        let (_directory, path) = directory(&" ".repeat(2 * 1024 * 1024));
        assert!(matches!(load(Some(&path), &[]), Err(ConfigError::TooLong { .. })));
    }

    #[test]
    fn a_directory_in_its_place_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let error = load(None, &[directory.path().to_owned()]).unwrap_err();
        assert!(error.to_string().contains("is not a file"), "{error}");
    }

    #[cfg(unix)]
    fn set_mode(path: &Path, mode: u32) {
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[cfg(unix)]
    fn mode_of(path: &Path) -> u32 {
        use std::os::unix::fs::PermissionsExt;
        fs::metadata(path).unwrap().permissions().mode() & 0o7777
    }

    #[cfg(unix)]
    #[test]
    fn a_file_that_others_can_write_is_refused_with_the_cure() {
        let (_directory, path) = directory(MULTI);
        set_mode(&path, 0o666);
        let error = load(Some(&path), &[]).unwrap_err();
        assert!(error.to_string().contains("other users can write to"), "{error}");
        assert!(error.hint().unwrap().contains("chmod o-w"));
    }

    #[cfg(unix)]
    #[test]
    fn a_file_with_secrets_that_others_can_read_is_used_and_noticed() {
        let (_directory, path) = directory(MULTI);
        set_mode(&path, 0o644);
        assert_eq!(load(Some(&path), &[]).unwrap().unwrap().notices.len(), 1);
        set_mode(&path, 0o600);
        assert!(load(Some(&path), &[]).unwrap().unwrap().notices.is_empty());
        let (_directory, path) =
            directory(&MULTI.replace("s3cret", "${S}").replace("hunter2", "${P}"));
        set_mode(&path, 0o644);
        assert!(load(Some(&path), &[]).unwrap().unwrap().notices.is_empty());
    }

    fn new_server(name: &str) -> NewServer {
        let url = |end: &str| format!("https://new.example.com/{end}").parse().unwrap();
        NewServer {
            name: name.parse().unwrap(),
            repository: url("dbt"),
            tools: url("dbt-tools"),
            truststore: url("dbt/truststore"),
            trust: vec![("dbt".to_owned(), vec!["AB".repeat(20)])],
            sign_in: Vec::new(),
        }
    }

    proptest::proptest! {
        #![proptest_config(proptest::prelude::ProptestConfig::with_cases(64))]

        #[test]
        fn whatever_else_stands_there_stays_in_its_order(
            keys in proptest::collection::vec("x[a-zA-Z0-9 .-]{0,6}", 0..8),
            at in 0_usize..8,
        ) {
            let mut keys: Vec<String> =
                keys.iter().enumerate().map(|(at, key)| format!("{key}{at}")).collect();
            let member = |key: &String| format!("\"{key}\": [\"{key}\", {{\"b\": 1, \"a\": null}}]");
            let mut members: Vec<String> = keys.iter().map(member).collect();
            let at = at.min(members.len());
            members.insert(at, r#""servers": {"old": {"colour": "red"}}"#.to_owned());
            let (_directory, path) = directory(&format!("{{{}}}", members.join(",")));
            let mut document = Document::open(&path).unwrap();
            document.add(&new_server("new")).unwrap();
            document.save().unwrap();

            keys.insert(at, "servers".to_owned());
            keys.push("defaultServer".to_owned());
            let written = fs::read_to_string(&path).unwrap();
            let top = written.lines().filter_map(|line| line.strip_prefix("  \""));
            let top: Vec<&str> = top.filter_map(|line| line.split('"').next()).collect();
            proptest::prop_assert_eq!(&top, &keys);
            for key in keys.iter().filter(|key| key.starts_with('x')) {
                let kept = format!("\"{key}\": [\n    \"{key}\",\n    {{\n      \"b\": 1,\n      \"a\": null");
                proptest::prop_assert!(written.contains(&kept), "{}", written);
            }
        }
    }

    #[test]
    fn a_change_keeps_unknown_keys_and_the_order_of_everything() {
        let text = r#"{"z": {"y": [1, 2.5]}, "servers": {"b": {"colour": "red"}, "a": {}}, "password": "p"}"#;
        let (_directory, path) = directory(text);
        let mut document = Document::open(&path).unwrap();
        document.add(&new_server("c")).unwrap();
        document.save().unwrap();
        let written = fs::read_to_string(&path).unwrap();
        assert_eq!(
            written,
            r#"{
  "z": {
    "y": [
      1,
      2.5
    ]
  },
  "servers": {
    "b": {
      "colour": "red"
    },
    "a": {},
    "c": {
      "repository": "https://new.example.com/dbt",
      "truststore": "https://new.example.com/dbt/truststore",
      "toolsRepository": "https://new.example.com/dbt-tools",
      "trust": {
        "dbt": [
          "ABABABABABABABABABABABABABABABABABABABAB"
        ]
      }
    }
  },
  "password": "p",
  "defaultServer": "b"
}
"#
        );
        assert!(of(&written).is_ok());
    }

    #[cfg(unix)]
    #[test]
    fn a_new_file_and_its_directory_are_the_owners_alone_and_a_link_stays_a_link() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("conf").join("dbt.json");
        let mut document = Document::open(&path).unwrap();
        document.add(&new_server("prod")).unwrap();
        document.save().unwrap();
        assert_eq!((mode_of(&path), mode_of(path.parent().unwrap())), (0o600, 0o700));

        let link = directory.path().join("link.json");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        set_mode(&path, 0o644);
        let mut document = Document::open(&link).unwrap();
        document.add(&new_server("two")).unwrap();
        document.save().unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(mode_of(&path), 0o600);
        assert_eq!(load(Some(&path), &[]).unwrap().unwrap().config.names(), "`prod`, `two`");
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }

    #[test]
    fn servers_are_chosen_and_removed_by_their_exact_names() {
        let (_directory, path) =
            directory(r#"{"servers": {"Prod": {}, "prod": {}}, "defaultServer": "prod"}"#);
        let mut document = Document::open(&path).unwrap();
        assert!(matches!(document.add(&new_server("prod")), Err(ConfigError::ServerExists { .. })));
        let error = document.use_server(&"PROD".parse().unwrap()).unwrap_err();
        assert_eq!(error.to_string(), "the configuration has no server `PROD`");
        assert_eq!(error.hint().unwrap(), "it has `Prod`, `prod`");
        document.use_server(&"Prod".parse().unwrap()).unwrap();
        document.remove(&"prod".parse().unwrap()).unwrap();
        let config = document.config().unwrap();
        assert_eq!(
            (config.names().as_str(), config.default_server.as_deref()),
            ("`Prod`", Some("Prod"))
        );
        document.remove(&"Prod".parse().unwrap()).unwrap();
        assert_eq!(document.config().unwrap().default_server, None);
        assert_eq!(fs::read_to_string(&path).unwrap().matches("Prod").count(), 1);
    }

    /// Which server 3.x takes when nobody names one. (Wire formats, section 5.3: with several, never
    /// the legacy one; without a default that is among them, any.)
    fn chosen_by_the_reference(text: &str) -> Vec<String> {
        let written: serde_json::Value = serde_json::from_str(text).unwrap();
        let servers = written["servers"].as_object().filter(|servers| !servers.is_empty());
        let Some(servers) = servers else {
            return vec![written["dbt"]["repository"].as_str().unwrap().to_owned()];
        };
        let default = written["defaultServer"].as_str().and_then(|name| servers.get(name));
        let chosen = default.map_or_else(|| servers.values().collect(), |default| vec![default]);
        chosen.iter().map(|it| it["repository"].as_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn the_reference_stays_on_its_legacy_server_when_another_is_added() {
        let before = r#"{"pins": {"deploy": "1.4"}, "strict": true, "DBT": {"Repository": "https://old.example.com/dbt",
            "truststore": "https://old.example.com/t", "theirs": 1},
            "tools": {"repository": "https://old.example.com/tools"}, "username": "carol"}"#;
        let (_directory, path) = directory(before);
        let mut document = Document::open(&path).unwrap();
        document.add(&new_server("new")).unwrap();
        document.add(&new_server("further")).unwrap();
        document.save().unwrap();
        let written = fs::read_to_string(&path).unwrap();
        assert_eq!(chosen_by_the_reference(&written), ["https://old.example.com/dbt"]);
        let config = document.config().unwrap();
        assert_eq!(config.names(), "`default`, `new`, `further`");
        let server = config.server("default").unwrap();
        assert_eq!(shown(server.repository.as_ref()), "https://old.example.com/dbt");
        assert_eq!(shown(server.truststore.as_ref()), "https://old.example.com/t");
        assert_eq!(shown(server.tools_repository.as_ref()), "https://old.example.com/tools");
        // What stands at the top for it still counts for it, and for nobody else.
        assert_eq!((server.options.strict, server.options.pins.len()), (Some(true), 1));
        assert_eq!(config.server("new").unwrap().options.strict, None);
        let unknown: Vec<&str> = config.unknown.iter().map(|key| key.path.as_str()).collect();
        assert_eq!(unknown, ["dbt.theirs"]);

        document.remove(&"new".parse().unwrap()).unwrap();
        document.remove(&"further".parse().unwrap()).unwrap();
        document.save().unwrap();
        let after = fs::read_to_string(&path).unwrap();
        let json = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
        assert_eq!(json(&after), json(before));
    }

    #[test]
    fn what_was_added_beside_the_legacy_server_by_hand_stays() {
        let (_directory, path) = directory(
            r#"{"dbt": {"repository": "https://old"}, "servers": {"default": {"repository": "https://old", "strict": true}}}"#,
        );
        let mut document = Document::open(&path).unwrap();
        document.add(&new_server("new")).unwrap();
        document.remove(&"new".parse().unwrap()).unwrap();
        let server = document.config().unwrap();
        assert_eq!(server.server("default").unwrap().options.strict, Some(true));
        assert!(!document.forget_default("another").unwrap());
        assert!(document.forget_default("default").unwrap());
        assert_eq!(document.config().unwrap().default_server, None);
        document.remove(&"default".parse().unwrap()).unwrap();
        assert_eq!(document.config().unwrap().names(), "");
    }

    #[test]
    fn the_legacy_server_is_removed_without_its_neighbours() {
        let (_directory, path) = directory(LEGACY);
        let mut document = Document::open(&path).unwrap();
        document.add(&new_server("new")).unwrap();
        assert_eq!(document.config().unwrap().default_server.as_deref(), Some("default"));
        document.remove(&"default".parse().unwrap()).unwrap();
        let config = document.config().unwrap();
        assert_eq!(config.names(), "`new`");
        assert_eq!(shown(config.shared.public_key.as_ref()), "ssh-ed25519 AAAA");
    }
}
