//! What the metadata of a repository begins with. (Trust design, 2.4: the small set-up.)

use dbt_core::brand;
use serde_json::{Map, Value, json};

use super::book::NEW;
use super::keys::PublicKey;

/// The version of the specification that is followed.
const SPEC_VERSION: &str = "1.0.34";

/// What a new repository begins with.
pub(crate) struct Beginning<'a> {
    /// Its name for ever, whatever its URL.
    pub(crate) repository_id: String,
    /// Who may sign root and targets, each alone.
    pub(crate) admins: [&'a PublicKey; 2],
    /// What signs snapshot, timestamp and new tools.
    pub(crate) online: &'a PublicKey,
}

/// Returns a role that lists nothing, with version 0: nobody has signed it yet.
pub(super) fn empty(kind: &str, content: Value) -> Value {
    let member = if kind == "targets" { "targets" } else { "meta" };
    let mut signed = Map::new();
    signed.insert("_type".to_owned(), kind.into());
    signed.insert("spec_version".to_owned(), SPEC_VERSION.into());
    signed.insert("version".to_owned(), 0.into());
    signed.insert(member.to_owned(), content);
    Value::Object(signed)
}

/// Returns what a repository begins with. Lists have version 0 until they are signed.
pub(super) fn first_roles(beginning: &Beginning<'_>, url: &str) -> [(&'static str, Value); 5] {
    let Beginning { repository_id, admins, online } = beginning;
    let admin_ids = admins.map(|key| key.id.clone());
    let mut keys = Map::new();
    for key in admins.iter().chain([online]) {
        keys.insert(key.id.clone(), key.value.clone());
    }
    let by_admins = json!({"keyids": admin_ids, "threshold": 1});
    let by_server = json!({"keyids": [online.id], "threshold": 1});
    let root = json!({
        "_type": "root", "spec_version": SPEC_VERSION, "version": 0, "consistent_snapshot": true,
        "keys": keys,
        "roles": {
            "root": by_admins, "targets": by_admins, "snapshot": by_server, "timestamp": by_server,
        },
        // On trial: clients look and compare, and decide without it.
        "x-dbt": {"repository_id": repository_id, "repositories": [url], "enforce": false},
    });
    let mut targets = empty("targets", json!({}));
    targets["delegations"] = json!({
        "keys": {&online.id: online.value},
        "roles": [{
            "name": NEW, "keyids": [online.id], "threshold": 1, "terminating": false,
            "paths": [format!("{}/*/*/*/*/*", brand::TOOLS_PATH)],
        }],
    });
    [
        ("root", root),
        ("targets", targets),
        (NEW, empty("targets", json!({}))),
        ("snapshot", empty("snapshot", json!({}))),
        ("timestamp", empty("timestamp", json!({}))),
    ]
}
