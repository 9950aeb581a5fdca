//! What a server says about itself, for `server add`.

use dbt_client::config::{NewServer, Urls, announcement};
use dbt_core::announcement::SIGN_IN;
use dbt_core::trust::Fingerprint;

/// Takes an announcement over: it moves places on the network and names signers, nothing else.
pub fn run(data: &[u8]) {
    let urls = Urls::below(&"https://dbt.example.com".parse().unwrap());
    let mut server = NewServer::at("acme".parse().unwrap(), urls);
    if announcement::read(data, &mut server).is_err() {
        return;
    }
    assert_eq!(server.name.as_str(), "acme");
    for url in [&server.repository, &server.tools, &server.truststore] {
        assert!(url.origin().is_some(), "{url} is on this machine");
        assert!(!url.is_loopback(), "{url} is on this machine");
        assert!(!url.is_plain_http(), "{url} is not protected");
        assert!(!url.to_string().contains("${"), "{url}");
    }
    for (scope, values) in &server.trust {
        for value in values {
            let digest = value.strip_prefix("sha256:").unwrap_or(value);
            let is_root = scope == "root" && digest.parse::<dbt_core::digest::Digest>().is_ok();
            assert!(is_root || value.parse::<Fingerprint>().is_ok(), "{scope:?} {value:?}");
        }
    }
    for (key, value) in &server.sign_in {
        assert!(SIGN_IN.contains(&key.as_str()) && !value.contains("${"), "{key:?} {value:?}");
    }
    taken_over(&server);
}

/// What was accepted makes a configuration that can be read.
fn taken_over(server: &NewServer) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("dbt.json");
    let mut document = dbt_client::config::Document::open(&path).unwrap();
    document.add(server).expect("there is none");
    document.save().expect("it can be written");
    let again = dbt_client::config::Document::open(&path).expect("and read");
    let config = again.config().unwrap();
    assert!(config.unknown.is_empty(), "{:?}", config.unknown);
}
