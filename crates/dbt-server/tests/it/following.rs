//! What plain writers may put in the place of a truststore, and what not.

use dbt_core::digest::Digest;
use dbt_core::trust::manifest::{MANIFEST_SCHEMA, Manifest};
use dbt_testkit::people::{ALICE, BOB, CAROL, MALLORY, Person, just_now};

use crate::world::{Reply, Server, WRITABLE};

const TRUSTSTORE: &str = "/dbt/truststore";

fn truststore(server: &Server, certificates: &[String]) -> Reply {
    server.put(TRUSTSTORE, certificates.concat().as_bytes())
}

fn on_disk(server: &Server, name: &str) -> Option<Vec<u8>> {
    std::fs::read(server.root().join("dbt").join(name)).ok()
}

#[test]
fn a_truststore_keeps_who_counts_and_adds_only_whom_they_certify() {
    let server = Server::start();
    let first = [ALICE.certificate(), CAROL.certificate()];
    assert_eq!(truststore(&server, &first).status, 201, "there was none");
    let stays = on_disk(&server, "truststore");
    let cases: [(&str, Vec<String>); 8] = [
        ("another one", vec![MALLORY.certificate()]),
        ("one more", vec![ALICE.certificate(), MALLORY.certificate()]),
        ("certified by herself", vec![ALICE.certificate(), MALLORY.certified_by(&MALLORY)]),
        (
            "certified by a newcomer",
            vec![ALICE.certificate(), BOB.certified_by(&MALLORY), MALLORY.certificate()],
        ),
        ("nobody", vec!["nothing".to_owned()]),
        ("empty", Vec::new()),
        ("all revoked", vec![ALICE.revoked(), CAROL.revoked()]),
        ("only whom the lost one certified", vec![BOB.certified_by(&ALICE)]),
    ];
    for (what, certificates) in cases {
        let refused = truststore(&server, &certificates);
        refused.is_refused(403, "forbidden");
        assert!(refused.text().contains("does not follow from what is there"), "{what}");
        assert_eq!(on_disk(&server, "truststore"), stays, "{what}");
    }
    let good = [ALICE.certificate(), BOB.certified_by(&ALICE)];
    assert_eq!(truststore(&server, &good).status, 200);
    assert_eq!(truststore(&server, &good).status, 200, "the same again");
    let revoked = [ALICE.certificate(), BOB.revoked()];
    assert_eq!(truststore(&server, &revoked).status, 200);
    let forgetting = [ALICE.certificate(), BOB.certificate()];
    truststore(&server, &forgetting).is_refused(403, "forbidden");
    server.delete(TRUSTSTORE).is_refused(403, "forbidden");
}

/// A manifest for a truststore, with its signature.
fn manifest(
    version: u64,
    signer: &Person,
    truststore: &[u8],
    certs: &[&Person],
    before: Option<&[u8]>,
) -> (String, String) {
    let manifest = Manifest {
        schema: MANIFEST_SCHEMA.to_owned(),
        repository_id: "test".to_owned(),
        version,
        issued: "2026-01-01T00:00:00Z".to_owned(),
        expires: "2099-01-01T00:00:00Z".to_owned(),
        sha256: Digest::of(truststore),
        admins: vec![ALICE.fingerprint()],
        admin_threshold: 1,
        certs: certs.iter().map(|person| person.fingerprint()).collect(),
        prev: before.map(Digest::of),
    };
    let text = serde_json::to_string(&manifest).unwrap();
    let signature = signer.sign(text.as_bytes(), None, just_now());
    (text, signature)
}

/// Uploads a manifest as the publisher does, and returns the last answer.
fn publish(server: &Server, version: u64, (text, signature): &(String, String)) -> Reply {
    let mut last = None;
    for ending in [format!(".manifest.{version}.json"), ".manifest.json".to_owned()] {
        for (ending, bytes) in [(format!("{ending}.asc"), signature), (ending, text)] {
            let reply = server.put(&format!("{TRUSTSTORE}{ending}"), bytes.as_bytes());
            if reply.status >= 300 {
                return reply;
            }
            last = Some(reply);
        }
    }
    last.unwrap()
}

#[test]
fn a_manifest_is_the_next_one_and_vouches_for_whom_it_lists() {
    let server = Server::start();
    let old = ALICE.certificate();
    assert_eq!(truststore(&server, std::slice::from_ref(&old)).status, 201);
    let first = manifest(1, &ALICE, old.as_bytes(), &[&ALICE], None);
    assert_eq!(publish(&server, 1, &first).status, 201);
    let new = [ALICE.certificate(), BOB.certificate()].concat();

    let by_mallory =
        manifest(2, &MALLORY, new.as_bytes(), &[&ALICE, &BOB], Some(first.0.as_bytes()));
    publish(&server, 2, &by_mallory).is_refused(403, "forbidden");
    assert!(on_disk(&server, "truststore.manifest.2.json").is_none());
    assert_eq!(on_disk(&server, "truststore.manifest.json").unwrap(), first.0.as_bytes());
    server.put(TRUSTSTORE, new.as_bytes()).is_refused(403, "forbidden");
    for (version, named) in [(3, 3), (2, 3), (1, 1)] {
        let skipped = manifest(version, &ALICE, new.as_bytes(), &[&ALICE], Some(b"other"));
        publish(&server, named, &skipped).is_refused(403, "forbidden");
    }
    assert_eq!(on_disk(&server, "truststore.manifest.json").unwrap(), first.0.as_bytes());

    let next = manifest(2, &ALICE, new.as_bytes(), &[&ALICE, &BOB], Some(first.0.as_bytes()));
    // What somebody else left there as a signature does not stop the right one.
    assert_eq!(publish(&server, 2, &next).status, 200);
    assert_eq!(server.put(TRUSTSTORE, new.as_bytes()).status, 200);
    publish(&server, 1, &first).is_refused(403, "forbidden");
    assert_eq!(on_disk(&server, "truststore.manifest.json").unwrap(), next.0.as_bytes());
}

#[test]
fn what_a_rule_permits_needs_not_follow_and_metadata_is_for_administrators() {
    let server = Server::with(WRITABLE);
    assert_eq!(truststore(&server, &[ALICE.certificate()]).status, 201);
    for path in ["/dbt/tuf/1.root.json", "/dbt/tuf/timestamp.json"] {
        server.put(path, b"{}").is_refused(403, "forbidden");
    }
    assert!(!server.root().join("dbt/tuf").exists());
    let place = server.kill();
    let server = Server::on(
        place,
        r#""authTypePut": "static-token", "authOptsPut": {"staticToken": "open-sesame"},
        "auth": {"roles": {"admin": ["static-token"]}}, "policies": []"#,
    );
    assert_eq!(truststore(&server, &[MALLORY.certificate()]).status, 200);
    assert_eq!(server.put("/dbt/tuf/1.root.json", b"{}").status, 201);
}
