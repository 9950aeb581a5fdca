use serde_json::{Value, json};

use super::*;
use crate::config::Source;
use crate::env::Environment;

const ISSUER_URL: &str = "https://id.example.com";

/// Decides what is announced with these settings, which go before those of a server whose readers
/// show tokens of one provider.
fn decide(further: &Value) -> Result<Option<Value>, String> {
    let mut settings = json!({
        "authGets": true, "authTypeGet": "oidc,static-token", "tokens": [{"name": "ci", "sha256": "00".repeat(32)}],
        "authOptsGet": {"oidc": {"issuerUrl": ISSUER_URL}},
        "publicUrls": ["https://dbt.example.com/x/", "https://other.example.com"],
    });
    for (key, value) in further.as_object().unwrap() {
        settings[key] = value.clone();
    }
    let written: Written = serde_json::from_value(settings).unwrap();
    let mut decide =
        Decide { source: Source::Variables, settings: Vec::new(), notices: Vec::new() };
    let (reads, _writes) = decide.doors(&written, &Environment::new()).unwrap();
    let decided = decide.announcement(&written, &reads).map_err(|error| error.to_string())?;
    Ok(decided.map(|text| serde_json::from_str(&text).unwrap()))
}

/// Returns what is said of signing in with these settings.
fn said(further: &Value) -> Value {
    let mut document = decide(further).unwrap().unwrap();
    let places = ["repository", "toolsRepository", "truststore"];
    let places = places.map(|key| document.as_object_mut().unwrap().remove(key).unwrap());
    assert!(places.iter().all(|place| place.as_str().unwrap().starts_with("http")), "{places:?}");
    document
}

#[test]
fn the_first_url_and_the_one_provider_of_readers_are_announced() {
    assert_eq!(
        decide(&json!({})).unwrap().unwrap(),
        json!({
            "repository": "https://dbt.example.com/x/dbt",
            "toolsRepository": "https://dbt.example.com/x/dbt-tools",
            "truststore": "https://dbt.example.com/x/dbt/truststore",
            "authType": "oidc", "issuerUrl": ISSUER_URL, "oidcAudience": "https://dbt.example.com/x/",
        })
    );
    let audiences = json!(["https://api.example.com", "dbt", "dbt.example.com"]);
    let oidc = json!({"oidc": {"issuerUrl": ISSUER_URL, "audiences": audiences}});
    assert_eq!(
        said(&json!({"authOptsGet": oidc}))["oidcAudience"],
        "dbt",
        "the first that is ours"
    );
}

#[test]
fn where_people_sign_in_otherwise_or_in_several_ways_nothing_is_said_of_it() {
    let with = |options: Value| json!({"authOptsGet": {"oidc": options}});
    let others =
        json!({"issuers": [{"issuerUrl": "https://other.example.com", "audiences": ["x"]}]});
    for further in [
        json!({"authGets": false}),
        json!({"authTypeGet": "static-token"}),
        json!({"authTypeGet": "oidc,basic-htpasswd", "htpasswdFile": "users"}),
        json!({ "auth": others }),
        with(json!({"issuerUrl": ISSUER_URL, "audiences": ["https://elsewhere.example.com"]})),
        with(json!({
            "issuerUrl": "https://gitlab.com", "requiredClaims": {"namespace_id": "1"},
        })),
        json!({"announce": {"authType": ""}}),
        json!({"announce": {"issuerUrl": ""}}),
    ] {
        assert_eq!(said(&further), json!({}), "{further}");
    }
}

#[test]
fn what_is_written_goes_before_what_the_settings_come_to() {
    let own = |announce: Value| said(&json!({ "announce": announce }));
    assert_eq!(
        own(json!({"oidcClientId": "dbt", "connectorId": "ssh", "oidcAudience": ""})),
        json!({"authType": "oidc", "issuerUrl": ISSUER_URL, "oidcClientId": "dbt", "connectorId": "ssh"})
    );
    // Of another provider nothing is known.
    let other = "https://other.example.com";
    assert_eq!(
        own(json!({"authType": "oidc", "issuerUrl": other})),
        json!({"authType": "oidc", "issuerUrl": other})
    );
    let open = json!({"authGets": false, "announce": {"authType": "oidc", "issuerUrl": other}});
    assert_eq!(said(&open), json!({"authType": "oidc", "issuerUrl": other}));
}

#[test]
fn what_no_client_takes_over_is_not_written() {
    for (announce, words) in [
        (json!({"authType": "basic"}), "`announce.authType` can only be `oidc`"),
        (json!({"issuerUrl": "https://other.example.com"}), "without `announce.authType`"),
        (json!({"authType": "", "oidcClientId": "dbt"}), "without `announce.authType`"),
        (json!({"authType": "oidc", "issuerUrl": ""}), "`announce.issuerUrl` is needed"),
        (
            json!({"authType": "oidc", "issuerUrl": "http://id.example.com"}),
            "must begin with `https://`",
        ),
        (json!({"oidcAudience": "https://dbt.acme.com"}), "`https://dbt.example.com`, or a word"),
        (json!({"oidcClientId": "${CLIENT}"}), "holds a variable or a control character"),
        (json!({"connectorId": "a\u{7}"}), "holds a variable or a control character"),
    ] {
        let refusal = decide(&json!({ "announce": announce })).unwrap_err();
        assert!(refusal.contains(words), "{announce}: {refusal}");
    }
}

#[test]
fn without_a_url_that_clients_would_go_to_nothing_is_announced() {
    let oidc = json!({"oidc": {"issuerUrl": ISSUER_URL, "audiences": ["x"]}});
    for urls in [
        json!(null),
        json!([]),
        json!(["http://dbt.example.com"]),
        json!(["https://user@dbt.example.com"]),
        json!(["https://dbt.example.com/?x"]),
        json!(["https://dbt.example.com/a/../b"]),
        json!(["https://dbt.example.com/${HOME}"]),
        json!(["dbt.example.com"]),
    ] {
        let mut settings = json!({"publicUrls": urls, "authOptsGet": oidc});
        assert_eq!(decide(&settings), Ok(None), "{urls}");
        settings["announce"] = json!({"oidcClientId": "dbt"});
        let refusal = decide(&settings).unwrap_err();
        assert!(refusal.contains("`announce` needs `publicUrls`"), "{urls}: {refusal}");
    }
    let here = json!({"publicUrls": ["http://127.0.0.1:9999"], "authGets": false});
    let repository = decide(&here).unwrap().unwrap()["repository"].clone();
    assert_eq!(repository, "http://127.0.0.1:9999/dbt");
}
