//! Repositories with signed metadata of The Update Framework: any keys, versions and dates, right
//! or wrong, in memory.
//!
//! The metadata lies open as JSON, so that a test changes what it is about and nothing else. What is
//! signed is written in canonical form here, by code that shares nothing with the one under test.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::rc::Rc;
use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use dbt_core::digest::Digest;
use dbt_core::timestamp;
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, EcdsaKeyPair,
    EcdsaSigningAlgorithm, Ed25519KeyPair, KeyPair as _,
};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::times::DAY;

/// The roles of the root.
pub const TOP_LEVEL: [&str; 4] = ["root", "timestamp", "snapshot", "targets"];

/// A key that signs metadata.
pub struct Key {
    public: Value,
    pair: Pair,
}

enum Pair {
    Ed25519(Ed25519KeyPair),
    Ec(EcdsaKeyPair),
    Rsa(TempDir),
}

/// What stands before a point of P-256 in its `SubjectPublicKeyInfo` (RFC 5480), in hexadecimal.
const P256: &str = "3059301306072a8648ce3d020106082a8648ce3d030107034200";
/// The same for P-384.
const P384: &str = "3076301006072a8648ce3d020106052b81040022036200";

impl Key {
    /// Makes an ed25519 key, written as specified: 64 digits.
    pub fn ed25519() -> Rc<Self> {
        let bytes = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
        let pair = Ed25519KeyPair::from_pkcs8(bytes.as_ref()).unwrap();
        let public = hexadecimal(pair.public_key().as_ref());
        Self::of("ed25519", "ed25519", public, Pair::Ed25519(pair))
    }

    /// Makes a key on P-256.
    pub fn p256() -> Rc<Self> {
        Self::ec(&ECDSA_P256_SHA256_ASN1_SIGNING, P256, "ecdsa-sha2-nistp256")
    }

    /// Makes a key on P-384.
    pub fn p384() -> Rc<Self> {
        Self::ec(&ECDSA_P384_SHA384_ASN1_SIGNING, P384, "ecdsa-sha2-nistp384")
    }

    fn ec(algorithm: &'static EcdsaSigningAlgorithm, prefix: &str, scheme: &str) -> Rc<Self> {
        let random = SystemRandom::new();
        let bytes = EcdsaKeyPair::generate_pkcs8(algorithm, &random).unwrap();
        let pair = EcdsaKeyPair::from_pkcs8(algorithm, bytes.as_ref(), &random).unwrap();
        let mut info = bytes_of(prefix);
        info.extend_from_slice(pair.public_key().as_ref());
        Self::of("ecdsa", scheme, pem(&info), Pair::Ec(pair))
    }

    /// Makes an RSA key of so many bits, which signs with PSS. Small ones are only made by others, so
    /// that `openssl` has it.
    pub fn rsa(bits: u32) -> Rc<Self> {
        let directory = tempfile::tempdir().unwrap();
        let bits = format!("rsa_keygen_bits:{bits}");
        let place = directory.path();
        openssl(place, &["genpkey", "-algorithm", "RSA", "-pkeyopt", &bits, "-out", "key"]);
        let public = String::from_utf8(openssl(place, &["pkey", "-in", "key", "-pubout"])).unwrap();
        Self::of("rsa", "rsassa-pss-sha256", public, Pair::Rsa(directory))
    }

    fn of(keytype: &str, scheme: &str, public: String, pair: Pair) -> Rc<Self> {
        let public = json!({"keytype": keytype, "scheme": scheme, "keyval": {"public": public}});
        Rc::new(Self { public, pair })
    }

    /// Returns its name: the digest of its canonical form.
    pub fn id(&self) -> String {
        Digest::of(&canonical(&self.public)).to_string()
    }

    /// Returns it as it stands in metadata.
    pub const fn public(&self) -> &Value {
        &self.public
    }

    /// Returns its signature over what is signed.
    pub fn sign(&self, signed: &Value) -> String {
        let (bytes, random) = (canonical(signed), SystemRandom::new());
        hexadecimal(&match &self.pair {
            Pair::Ed25519(pair) => pair.sign(&bytes).as_ref().to_vec(),
            Pair::Ec(pair) => pair.sign(&random, &bytes).unwrap().as_ref().to_vec(),
            Pair::Rsa(directory) => {
                let place = directory.path();
                std::fs::write(place.join("signed"), &bytes).unwrap();
                let pss = ["-sigopt", "rsa_padding_mode:pss", "-sigopt", "rsa_pss_saltlen:digest"];
                let mut line = vec!["dgst", "-sha256", "-sign", "key"];
                line.extend(pss);
                line.push("signed");
                openssl(place, &line)
            }
        })
    }
}

/// A repository. Nothing a test changes is served before it is published.
pub struct TufRepository {
    /// What is signed of each role.
    pub roles: BTreeMap<String, Value>,
    /// Who signs each role.
    pub signers: BTreeMap<String, Vec<Rc<Key>>>,
    /// The metadata that is served, by name.
    pub metadata: BTreeMap<String, Vec<u8>>,
    /// The targets that are served, by path.
    pub targets: BTreeMap<String, Vec<u8>>,
    expires: String,
}

impl TufRepository {
    /// Makes a repository, good for 30 days from `now`, with a key of its own for each role, version 1
    /// of everything, and nothing in it.
    pub fn at(now: SystemTime) -> Self {
        let expires = timestamp::format(now + 30 * DAY);
        let mut repository = Self {
            roles: BTreeMap::new(),
            signers: BTreeMap::new(),
            metadata: BTreeMap::new(),
            targets: BTreeMap::new(),
            expires,
        };
        let mut root = repository.empty("root");
        root["consistent_snapshot"] = true.into();
        root["keys"] = json!({});
        root["roles"] = json!({});
        repository.roles.insert("root".to_owned(), root);
        for (role, content) in [("timestamp", "meta"), ("snapshot", "meta"), ("targets", "targets")]
        {
            let mut signed = repository.empty(role);
            signed[content] = json!({});
            repository.roles.insert(role.to_owned(), signed);
        }
        for role in TOP_LEVEL {
            repository.trust(role, 1, vec![Key::ed25519()]);
        }
        repository.publish_root();
        repository.publish();
        repository
    }

    fn empty(&self, kind: &str) -> Value {
        json!({"_type": kind, "spec_version": "1.0.31", "version": 1, "expires": self.expires})
    }

    /// Returns what is signed of a role, to be changed.
    pub fn role(&mut self, role: &str) -> &mut Value {
        self.roles.get_mut(role).expect("the role exists")
    }

    /// Has the root trust these keys, and no others, with a role, and has them sign it. The root is not
    /// published.
    pub fn trust(&mut self, role: &str, threshold: u64, keys: Vec<Rc<Key>>) {
        let ids: Vec<String> = keys.iter().map(|key| key.id()).collect();
        let root = self.role("root");
        for key in &keys {
            root["keys"][key.id()] = key.public().clone();
        }
        root["roles"][role] = json!({"keyids": ids, "threshold": threshold});
        self.signers.insert(role.to_owned(), keys);
    }

    /// Adds a delegation at the end of `delegator`'s list, to a role with a key of its own and nothing
    /// in it, unless the role exists.
    pub fn delegate(&mut self, delegator: &str, role: &str, paths: &[&str], terminating: bool) {
        if !self.roles.contains_key(role) {
            let mut signed = self.empty("targets");
            signed["targets"] = json!({});
            self.roles.insert(role.to_owned(), signed);
            self.signers.insert(role.to_owned(), vec![Key::ed25519()]);
        }
        let keys = self.signers[role].clone();
        let ids: Vec<String> = keys.iter().map(|key| key.id()).collect();
        let delegations = &mut self.role(delegator)["delegations"];
        if delegations.is_null() {
            *delegations = json!({"keys": {}, "roles": []});
        }
        for key in &keys {
            delegations["keys"][key.id()] = key.public().clone();
        }
        delegations["roles"].as_array_mut().unwrap().push(json!({
            "name": role, "keyids": ids, "threshold": 1, "terminating": terminating, "paths": paths,
        }));
    }

    /// Lists a target in a role, and serves it under both its names.
    pub fn add(&mut self, role: &str, path: &str, bytes: &[u8]) {
        let digest = Digest::of(bytes).to_string();
        self.role(role)["targets"][path] =
            json!({"length": bytes.len(), "hashes": {"sha256": digest}});
        let prefixed = match path.rsplit_once('/') {
            Some((directory, name)) => format!("{directory}/{digest}.{name}"),
            None => format!("{digest}.{path}"),
        };
        self.targets.insert(prefixed, bytes.to_vec());
        self.targets.insert(path.to_owned(), bytes.to_vec());
    }

    /// Raises a role's version by one.
    pub fn raise(&mut self, role: &str) {
        let version = self.version(role) + 1;
        self.role(role)["version"] = version.into();
    }

    /// Returns a role's version.
    pub fn version(&self, role: &str) -> u64 {
        self.roles[role]["version"].as_u64().expect("the version is a number")
    }

    /// Signs a role as it is now.
    pub fn signed(&self, role: &str) -> Vec<u8> {
        let signed = &self.roles[role];
        let signatures: Vec<Value> = self.signers[role]
            .iter()
            .map(|key| json!({"keyid": key.id(), "sig": key.sign(signed)}))
            .collect();
        serde_json::to_vec_pretty(&json!({"signatures": signatures, "signed": signed})).unwrap()
    }

    /// Serves the root as it is now, as the version it has.
    pub fn publish_root(&mut self) {
        let (name, bytes) = (format!("{}.root.json", self.version("root")), self.signed("root"));
        self.metadata.insert(name, bytes);
    }

    /// Raises the root's version and serves it.
    pub fn next_root(&mut self) {
        self.raise("root");
        self.publish_root();
    }

    /// Serves all targets roles as they are now, a snapshot that lists them, and a timestamp that names
    /// it.
    pub fn publish(&mut self) {
        let lists: Vec<String> = self
            .roles
            .keys()
            .filter(|role| !TOP_LEVEL[..3].contains(&role.as_str()))
            .cloned()
            .collect();
        for role in lists {
            self.serve(&role);
            let version = self.roles[&role]["version"].clone();
            self.role("snapshot")["meta"][format!("{role}.json")] = json!({"version": version});
        }
        self.publish_snapshot();
    }

    /// Serves the snapshot as it is now, and a timestamp that names it.
    pub fn publish_snapshot(&mut self) {
        self.serve("snapshot");
        let version = self.roles["snapshot"]["version"].clone();
        self.role("timestamp")["meta"]["snapshot.json"] = json!({"version": version});
        self.serve("timestamp");
    }

    /// Raises the versions of targets, snapshot and timestamp, and serves everything.
    pub fn release(&mut self) {
        for role in ["targets", "snapshot", "timestamp"] {
            self.raise(role);
        }
        self.publish();
    }

    /// Serves a role as it is now.
    pub fn serve(&mut self, role: &str) {
        let name = self.name_of(role);
        let bytes = self.signed(role);
        self.metadata.insert(name, bytes);
    }

    /// Returns the name that a role is served under now, escaped as in URLs.
    pub fn name_of(&self, role: &str) -> String {
        let is_versioned = self.roles["root"]["consistent_snapshot"] == true && role != "timestamp";
        let mut escaped = String::new();
        for byte in role.bytes() {
            match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'-' | b'_' | b'~' => {
                    escaped.push(char::from(byte));
                }
                _ => write!(escaped, "%{byte:02X}").unwrap(),
            }
        }
        if is_versioned {
            format!("{}.{escaped}.json", self.roles[role]["version"])
        } else {
            format!("{escaped}.json")
        }
    }

    /// Writes everything that is served into `metadata` and `targets` of a directory. Escaped names
    /// stay escaped.
    pub fn write_to(&self, directory: &Path) {
        for (place, files) in [("metadata", &self.metadata), ("targets", &self.targets)] {
            for (name, bytes) in files {
                let file = directory.join(place).join(name);
                std::fs::create_dir_all(file.parent().unwrap()).unwrap();
                std::fs::write(file, bytes).unwrap();
            }
        }
    }
}

/// Writes the canonical form that signatures are made over: keys sorted, no space, and only quotes
/// and backslashes escaped.
pub fn canonical(value: &Value) -> Vec<u8> {
    fn text(value: &str) -> String {
        format!("\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\""))
    }
    fn write(value: &Value) -> String {
        match value {
            Value::String(value) => text(value),
            Value::Array(items) => {
                format!("[{}]", items.iter().map(write).collect::<Vec<_>>().join(","))
            }
            Value::Object(fields) => {
                let sorted: BTreeMap<_, _> = fields.iter().collect();
                let fields =
                    sorted.iter().map(|(key, value)| format!("{}:{}", text(key), write(value)));
                format!("{{{}}}", fields.collect::<Vec<_>>().join(","))
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => value.to_string(),
        }
    }
    write(value).into_bytes()
}

fn openssl(place: &Path, line: &[&str]) -> Vec<u8> {
    let run = Command::new("openssl").args(line).current_dir(place).stderr(Stdio::null()).output();
    let run = run.expect("openssl can be run");
    assert!(run.status.success(), "openssl {line:?}");
    run.stdout
}

fn pem(der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let lines: Vec<&str> =
        text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
    format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", lines.join("\n"))
}

fn hexadecimal(bytes: &[u8]) -> String {
    let mut digits = String::new();
    for byte in bytes {
        write!(digits, "{byte:02x}").unwrap();
    }
    digits
}

fn bytes_of(digits: &str) -> Vec<u8> {
    let pairs = digits.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).unwrap());
    pairs.map(|pair| u8::from_str_radix(pair, 16).unwrap()).collect()
}
