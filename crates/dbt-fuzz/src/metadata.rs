//! Signed metadata: the files of a small repository, one of them foreign or changed.

use std::fmt::Write as _;
use std::sync::OnceLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use dbt_core::trust::metadata::{
    MetadataError, Roots, Search, Step, Stored, Trusted, Wanted, canonical,
};
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use serde_json::{Value, json};

use crate::input::{Input, mutated};

/// The files in the order in which an update takes them. The first root is trusted already.
const NAMES: [&str; 6] = ["first root", "root", "timestamp", "snapshot", "targets", "delegated"];

const PATH: &str = "tools/deploy/1.0.0/linux/amd64/deploy";

/// Updates with one of the files replaced. Nobody here has a key: what is accepted says what was signed.
pub fn run(data: &[u8]) {
    let mut input = Input(data);
    let which = usize::from(input.byte()) % NAMES.len();
    let original = &files()[which];
    let bytes = match input.byte() % 2 {
        0 => input.0.to_vec(),
        _ => mutated(original, input),
    };
    let mut changed = files().clone();
    changed[which] = bytes;
    let Ok(trusted) = updated(&changed) else { return };
    let (read, written) = (signed(&changed[which]), signed(original));
    assert_eq!(read, written, "{} was believed", NAMES[which]);
    // A pinned root that is no longer signed by itself is none, and everything else hangs from it.
    assert!(trusted.has_consistent_snapshots());
}

/// Returns what is signed, in the one form that signatures are made over.
fn signed(file: &[u8]) -> Vec<u8> {
    let file: Value = serde_json::from_slice(file).expect("it was accepted");
    canonical(&file["signed"]).expect("it was accepted")
}

/// Updates from the first root on, and looks for the target.
fn updated(files: &[Vec<u8>; 6]) -> Result<Trusted, MetadataError> {
    let [first, root, timestamp, snapshot, targets, delegated] = files;
    let mut roots = Roots::pinned(first, now())?;
    roots.follow(root)?;
    let mut rooted = roots.settle()?;
    // What is remembered is no better than what comes from the network.
    rooted
        .remember(Stored { timestamp: Some(timestamp.clone()), snapshot: Some(snapshot.clone()) });
    let (timed, _accepted) = rooted.timestamp(timestamp)?;
    let (listed, _accepted) = timed.snapshot(snapshot)?;
    let (mut trusted, _accepted) = listed.targets(targets)?;
    let mut search = Search::of(PATH);
    loop {
        match trusted.step(&mut search)? {
            Step::Found(target) => {
                assert_eq!((target.path(), target.role()), (PATH, "tool.deploy"));
                return Ok(trusted);
            }
            Step::NotFound => panic!("what is accepted lists the target"),
            Step::Wanted(wanted) => admit(&mut trusted, &wanted, delegated)?,
        }
    }
}

fn admit(trusted: &mut Trusted, wanted: &Wanted, bytes: &[u8]) -> Result<(), MetadataError> {
    trusted.admit(wanted, bytes).map(|_accepted| ())
}

fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_hours(500_000)
}

/// The files as they are right.
fn files() -> &'static [Vec<u8>; 6] {
    static FILES: OnceLock<[Vec<u8>; 6]> = OnceLock::new();
    FILES.get_or_init(|| {
        let keys = [1, 2, 3].map(|seed| Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap());
        let [offline, online, tool] = &keys;
        let role = |key| json!({"keyids": [id(key)], "threshold": 1});
        let root = |version: u64| {
            let mut root = of("root", version);
            root["consistent_snapshot"] = true.into();
            root["keys"] = json!({id(offline): public(offline), id(online): public(online)});
            root["roles"] = json!({
                "root": role(offline), "targets": role(offline),
                "snapshot": role(online), "timestamp": role(online),
            });
            root
        };
        let mut timestamp = of("timestamp", 5);
        timestamp["meta"] = json!({"snapshot.json": {"version": 4}});
        let mut snapshot = of("snapshot", 4);
        snapshot["meta"] =
            json!({"targets.json": {"version": 3}, "tool.deploy.json": {"version": 2}});
        let mut targets = of("targets", 3);
        targets["targets"] = json!({});
        targets["delegations"] = json!({
            "keys": {id(tool): public(tool)},
            "roles": [{
                "name": "tool.deploy", "keyids": [id(tool)], "threshold": 1,
                "terminating": true, "paths": ["tools/deploy/*/*/*/*"],
            }],
        });
        let mut delegated = of("targets", 2);
        delegated["targets"] = json!({PATH: {"length": 1, "hashes": {"sha256": "00".repeat(32)}}});
        let files = [
            file(&root(1), offline),
            file(&root(2), offline),
            file(&timestamp, online),
            file(&snapshot, online),
            file(&targets, offline),
            file(&delegated, tool),
        ];
        updated(&files).expect("the repository is right until it is changed");
        files
    })
}

fn of(kind: &str, version: u64) -> Value {
    json!({
        "_type": kind, "spec_version": "1.0.34", "version": version,
        "expires": "2100-01-01T00:00:00Z",
    })
}

fn file(signed: &Value, key: &Ed25519KeyPair) -> Vec<u8> {
    let signature = hexadecimal(key.sign(&canonical(signed).unwrap()).as_ref());
    let signatures = json!([{"keyid": id(key), "sig": signature}]);
    serde_json::to_vec(&json!({"signatures": signatures, "signed": signed})).unwrap()
}

fn public(key: &Ed25519KeyPair) -> Value {
    let point = hexadecimal(key.public_key().as_ref());
    json!({"keytype": "ed25519", "scheme": "ed25519", "keyval": {"public": point}})
}

fn id(key: &Ed25519KeyPair) -> String {
    dbt_core::digest::Digest::of(&canonical(&public(key)).unwrap()).to_string()
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut digits, byte| {
        write!(digits, "{byte:02x}").unwrap();
        digits
    })
}
