//! The repository server's configuration file.

use dbt_core::secret::Secret;
use dbt_server::args::Flags;
use dbt_server::authn::USER;
use dbt_server::authn::static_token::NamedToken;
use dbt_server::config::{Config, Door, Method};
use dbt_server::env::Environment;
use serde_json::Value;

/// Resolves a file: what is accepted guards what it says, and shows no secret.
pub fn run(data: &[u8]) {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("root");
    std::fs::create_dir(&root).unwrap();
    let file = directory.path().join("config.json");
    std::fs::write(&file, data).unwrap();
    let flags = Flags { root: Some(root), file: Some(file), ..Flags::default() };
    let environment = Environment::from([("TOKEN".to_owned(), "from-the-environment".to_owned())]);
    let Ok(config) = Config::resolve(&flags, &environment) else { return };

    let written: Value = serde_json::from_slice(data).expect("it is JSON");
    assert!(!matches!(config.writes, Door::Open), "writing is never open");
    let asked_for = |key: &str| {
        let members = written.as_object().expect("it is an object");
        members.iter().find(|(name, _value)| name.eq_ignore_ascii_case(key)).map(|(_, it)| it)
    };
    let guards_reads = asked_for("authGets").and_then(Value::as_bool).unwrap_or(false);
    let has_rules = asked_for("policies").is_some_and(|rules| !rules.is_null());
    if !has_rules {
        assert_eq!(matches!(config.reads, Door::Open), !guards_reads);
    }
    let explained = config.explained();
    let empty = NamedToken::unnamed(&Secret::new(String::new()));
    for door in [&config.reads, &config.writes] {
        let Door::Guarded(methods) = door else { continue };
        // Rules may let strangers read a part, where nobody can sign in.
        assert!(has_rules || !methods.is_empty(), "nobody could pass");
        for method in methods {
            let Method::StaticTokens(tokens) = method else { continue };
            assert!(!tokens.is_empty(), "nobody could pass");
            assert!(
                tokens.iter().all(|token| token.digest != empty.digest),
                "everybody could pass"
            );
        }
    }
    let methods = || config.reads.methods().iter().chain(config.writes.methods());
    if let Some(mode) = config.mode {
        let has_providers = methods().any(|method| matches!(method, Method::Oidc(_)));
        assert_eq!(has_providers, mode.admits_providers(), "{mode:?}");
        let has_own = config.users.iter().any(|user| user.subject.method == USER);
        assert!(mode.admits_own_tokens() || !has_own, "{mode:?}");
    }
    assert!(config.users.iter().all(|user| user.subject.issuer.is_none()), "{:?}", config.users);
    for key in ["authOptsGet", "authOptsPut"] {
        let members = asked_for(key).and_then(Value::as_object).into_iter().flatten();
        for (_name, value) in members.filter(|(name, _)| name.eq_ignore_ascii_case("staticToken")) {
            let token = value.as_str().unwrap_or_default();
            // A short one may be a word of the explanation.
            assert!(token.len() < 12 || !explained.contains(token), "{explained}");
        }
    }
    assert!(config.root.is_absolute() && config.root.parent().is_some());
}
