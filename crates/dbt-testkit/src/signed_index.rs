//! Signed metadata beside a repository's files, as clients of ours read it: what `publisher trust` writes, made by code that shares
//! nothing with it.

use dbt_core::digest::Digest;
use dbt_core::platform::Platform;
use serde_json::{Value, json};

use crate::people::{ALICE, Person, just_now};
use crate::repository::{REPOSITORY, TestRepository, artifact};
use crate::times::now;
use crate::tuf::TufRepository;

const REPOSITORY_ID: &str = "6f0c0d4e-8b1a-4a52-9a3c-3f5d2f6f1e55";

/// The metadata of a repository, which lists one tool, `deploy`. What a test changes is not served before it is published.
pub struct Index {
    /// It.
    pub metadata: TufRepository,
}

impl Index {
    /// Begins the metadata of a repository: the truststore, and a role for `deploy`. Nothing is served yet.
    pub fn of(repository: &TestRepository, enforce: bool) -> Self {
        let mut index = Self { metadata: TufRepository::at(now()) };
        index.metadata.delegate("targets", "tool.deploy", &["dbt-tools/deploy/*/*/*/*"], true);
        index.say(enforce);
        index.list_truststore(repository);
        index
    }

    /// Says in the root what clients of ours read, and that it is the newest one.
    pub fn say(&mut self, enforce: bool) {
        let own = json!({"repository_id": REPOSITORY_ID, "enforce": enforce});
        self.metadata.role("root")["x-dbt"] = own;
        self.metadata.publish_root();
        let version = self.metadata.version("root");
        self.metadata.role("timestamp")["x-dbt"] = json!({"root_version": version});
    }

    fn list_truststore(&mut self, repository: &TestRepository) {
        let bytes = repository.read(&format!("{REPOSITORY}/truststore"));
        let sha256 = Digest::of(&bytes).to_string();
        repository.write(&format!("{REPOSITORY}/tuf/targets/{sha256}.truststore"), &bytes);
        self.metadata.role("targets")["targets"]["dbt/truststore"] =
            json!({"length": bytes.len(), "hashes": {"sha256": sha256}});
    }

    /// Lists a published version of `deploy`.
    pub fn list(&mut self, repository: &TestRepository, version: &str) {
        self.list_as(repository, version, &json!({"status": "active"}));
    }

    /// Lists it with something else said of it.
    pub fn list_as(&mut self, repository: &TestRepository, version: &str, said: &Value) {
        let served = artifact("deploy", version);
        let bytes = repository.read(&served);
        let platform = Platform::CURRENT;
        let mut own = json!({
            "schema": 1, "kind": "tool", "tool": "deploy", "version": version,
            "os": platform.os.as_str(), "arch": platform.arch.as_str(),
            "pgp": {"signers": [ALICE.fingerprint()], "threshold": 1},
        });
        for (name, value) in said.as_object().expect("an object") {
            own[name] = value.clone();
        }
        self.metadata.role("tool.deploy")["targets"][served.trim_start_matches('/')] = json!({
            "length": bytes.len(), "hashes": {"sha256": Digest::of(&bytes).to_string()},
            "custom": {"dbt": own},
        });
    }

    /// Signs everything with higher versions, and serves it, every root with Alice's signature.
    pub fn publish(&mut self, repository: &TestRepository) {
        for role in ["tool.deploy", "targets", "snapshot", "timestamp"] {
            self.metadata.raise(role);
        }
        self.metadata.publish();
        self.serve(repository, &ALICE);
    }

    /// Serves what was signed, every root with the signature of somebody who vouches for it.
    pub fn serve(&self, repository: &TestRepository, vouches: &Person) {
        for (name, bytes) in &self.metadata.metadata {
            repository.write(&format!("{REPOSITORY}/tuf/{name}"), bytes);
            if let Some(version) = name.strip_suffix(".root.json") {
                let signature = vouches.sign(bytes, Some(&format!("root/{version}")), just_now());
                repository.write(&format!("{REPOSITORY}/tuf/{name}.asc"), signature.as_bytes());
            }
        }
    }
}
