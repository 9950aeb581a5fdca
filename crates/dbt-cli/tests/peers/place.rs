//! A server, somebody who publishes there, and a page of the documentation that is typed.

use std::fs;

use dbt_core::digest::Digest;
use dbt_core::platform::Platform;
use dbt_core::trust::keys::Keyring;
use serde_json::json;

use crate::desk::Desk;
use crate::page::Page;
use crate::reposerver::{PASSPHRASE, Reposerver, TOKEN};

/// A server with a publisher, and what the page is typed on.
pub(crate) struct Place {
    pub(crate) server: Reposerver,
    pub(crate) desk: Desk,
    pub(crate) page: Page,
}

impl Place {
    /// Begins with a section of a page, or with all of it.
    pub(crate) fn of(text: &'static str, title: &str) -> Self {
        let server = Reposerver::with(&json!({
            "authOptsPut": {},
            "tokens": [{"name": "root", "sha256": Digest::of(TOKEN.as_bytes()).to_string()}],
            "auth": {"roles": {"admin": ["root"]}},
            "policies": [{"name": "reading", "subjects": ["anonymous"], "paths": ["/**"],
                "actions": ["read", "list"]}],
        }));
        let desk = Desk::new();
        desk.set("DBT_PUBLISH_TOKEN", TOKEN);
        desk.set("DBT_SIGNING_PASSPHRASE", PASSPHRASE);
        let root = server.root();
        let entry = json!({
            "repository": format!("{root}/dbt"), "truststore": format!("{root}/dbt/truststore"),
            "toolsRepository": format!("{root}/dbt-tools"),
        });
        desk.write("home/.dbt/conf/dbt.json", json!({"servers": {"work": entry}}).to_string());
        let key = server.key();
        let keys = desk.path("home/.dbt/keys");
        fs::create_dir_all(&keys).unwrap();
        fs::copy(key.strip_prefix("file:").unwrap(), keys.join("alice.asc")).unwrap();
        let etc = server.place().join("reposerver.json").display().to_string();
        let here = desk.path("").display().to_string();
        let old = fingerprint(&desk);
        let instead = [
            ("https://dbt.example.com", server.root()),
            ("/etc/reposerver/reposerver.json", &etc),
            ("/etc/reposerver/", &here),
            ("FINGERPRINT", &old),
        ];
        let page = match title {
            "" => Page::of(text, &instead),
            title => Page::section(text, title, &instead),
        };
        Self { server, desk, page }
    }

    /// Types the next command of the page.
    #[track_caller]
    pub(crate) fn types(&mut self, begin: &str) -> String {
        let line = self.page.next(begin);
        self.desk.types(&line)
    }

    /// Publishes a version of `deploy`.
    pub(crate) fn publish(&self, version: &str, key: &str) {
        let directory = format!("dist/{}/deploy", Platform::CURRENT);
        self.desk.write(&directory, format!("#!/bin/sh\necho deploy {version}\n"));
        let root = self.server.root();
        self.desk.types(&format!(
            "publisher publish deploy {version} dist --description 'makes a backup' --to {root} --signer file:{key}"
        ));
    }

    /// Returns the fingerprint of the key that the server began with.
    pub(crate) fn old(&self) -> String {
        fingerprint(&self.desk)
    }
}

fn fingerprint(desk: &Desk) -> String {
    let exported = desk.types("publisher key export alice");
    let keyring = Keyring::parse(exported.as_bytes()).unwrap();
    keyring.certificates[0].fingerprint().to_string()
}
