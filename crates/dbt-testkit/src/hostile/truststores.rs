//! Attacks on the truststore: who decides whose signatures count.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use dbt_core::digest::Digest;

use super::{Case, Stage, case, page};
use crate::http::Answer;
use crate::people::{ALICE, CAROL, MALLORY};
use crate::repository::REPOSITORY;
use crate::server::Fault;

pub(super) const CASES: &[Case] = &[
    case("C01-400", "the truststore is a page with status 400", |stage| answered(stage, 400)),
    case("C01-401", "the truststore is a page with status 401", |stage| answered(stage, 401)),
    case("C01-403", "the truststore is a page with status 403", |stage| answered(stage, 403)),
    case("C01-404", "the truststore is a page with status 404", |stage| answered(stage, 404)),
    case("C01-410", "the truststore is a page with status 410", |stage| answered(stage, 410)),
    case("C01-500", "the truststore is a page with status 500", |stage| answered(stage, 500)),
    case("C01-204", "the truststore is an answer without content", |stage| answered(stage, 204)),
    case("C01-206", "the truststore is a part that nobody asked for", |stage| answered(stage, 206)),
    case("C01-304", "the truststore is as it was for a client that has none", |stage| {
        answered(stage, 304);
    }),
    case("C01-page", "the truststore is a page with status 200", |stage| answered(stage, 200)),
    case("C01-elsewhere", "the truststore is a redirect to another server", |stage| {
        stage.publish_next();
        let there = format!("{}{REPOSITORY}/truststore", stage.elsewhere.url());
        stage.server.fault(&truststore(), Fault::RedirectTo(there));
    }),
    case("C02-portal", "every answer is the sign-in page of a hotel, with status 200", |stage| {
        stage.server.fault("*", Fault::Portal);
    }),
    case("C02-redirect", "every answer is a redirect to a sign-in page elsewhere", |stage| {
        let there = format!("{}/login", stage.elsewhere.url());
        stage.server.fault("*", Fault::RedirectTo(there));
    }),
    case("C02-511", "every answer is status 511: network authentication required", |stage| {
        stage.server.fault("*", Fault::Status(511));
    }),
    case("C03-empty", "the truststore is empty", |stage| written(stage, b"")),
    case("C03-blank", "the truststore is white space", |stage| written(stage, b" \n\t\r\n \n")),
    case("C03-nul", "the truststore is zeros", |stage| written(stage, &[0; 2000])),
    case("C03-text", "the truststore is prose", |stage| written(stage, b"hello\n")),
    case("C03-private", "the truststore is a private key", |stage| {
        let text = ALICE.certificate().replace("PUBLIC KEY", "PRIVATE KEY");
        written(stage, text.as_bytes());
    }),
    case("C03-binary", "the truststore is a keyring without armor", |stage| {
        written(stage, &[0x98, 0x33, 0x04, 0x5e, 0x0b, 0xe1, 0x00, 0x16]);
    }),
    case("C03-half", "the truststore ends within its only certificate", |stage| {
        let text = ALICE.certificate();
        written(stage, &text.as_bytes()[..text.len() / 2]);
    }),
    case(
        "C03-dsa",
        "the truststore has one certificate, of an algorithm that is too old",
        |stage| {
            written(stage, include_bytes!("dsa.asc"));
        },
    ),
    case(
        "C03-rsa1024",
        "the truststore has one certificate, with a key that is too short",
        |stage| {
            written(stage, include_bytes!("rsa1024.asc"));
        },
    ),
    case("C03-small-order", "the truststore has one key, for which anybody can sign", |stage| {
        written(stage, SMALL_ORDER);
    }),
    case("C04-added-key", "the attacker's key is added, and it signs the next version", |stage| {
        stage.repository.trust(&[&ALICE, &CAROL, &MALLORY]);
        stage.repository.publish("deploy", "1.5.0").signed_by(&MALLORY).now();
    }),
    case(
        "C04-only-key",
        "the attacker's key replaces all, and it signs the next version",
        |stage| {
            stage.repository.trust(&[&MALLORY]);
            stage.repository.publish("deploy", "1.5.0").signed_by(&MALLORY).now();
        },
    ),
    case(
        "C04-vouched-for-himself",
        "the attacker's key comes with his own certification",
        |stage| {
            let mallory = MALLORY.certified_by(&MALLORY);
            stage.repository.truststore(&[ALICE.certificate(), CAROL.certificate(), mallory]);
            stage.repository.publish("deploy", "1.5.0").signed_by(&MALLORY).now();
        },
    ),
    case("C07-endless", "the truststore never ends", |stage| {
        stage.publish_next();
        stage.server.fault(&truststore(), Fault::Endless);
    }),
    case("C07-ten-gibibytes", "the truststore says that it has ten gibibytes, and has", |stage| {
        stage.publish_next();
        let head = b"HTTP/1.1 200 OK\r\nContent-Length: 10737418240\r\n\r\n";
        let again = ALICE.certificate().into_bytes();
        stage.server.fault(&truststore(), Fault::Flood(head.to_vec(), again));
    }),
    case("C07-drip", "the truststore comes a byte a second", |stage| {
        stage.publish_next();
        stage.server.fault(&truststore(), Fault::Drip);
    }),
    case("C07-stall", "the truststore stops after its head", |stage| {
        stage.publish_next();
        stage.server.fault(&truststore(), Fault::StallAfter(0));
    }),
    case(
        "C23-forged",
        "the next version's signature is one that a worthless key in the truststore accepts",
        |stage| {
            let worthless = String::from_utf8_lossy(SMALL_ORDER).into_owned();
            stage.repository.truststore(&[ALICE.certificate(), CAROL.certificate(), worthless]);
            let content = b"#!/bin/sh\necho owned\n";
            let draft = stage.repository.publish("deploy", "1.5.0").content(content.as_slice());
            draft.signature(forged(content)).now();
        },
    ),
    case("L06-reset", "the connection breaks for the truststore alone", |stage| {
        stage.publish_next();
        stage.server.fault(&truststore(), Fault::Reset);
    }),
    case("L06-429", "too many ask for the truststore alone, says the server", |stage| {
        stage.publish_next();
        stage.server.fault(&truststore(), Fault::Status(429));
    }),
    case("L02-foreign-metadata", "metadata and a manifest of somebody else appear", |stage| {
        for name in ["root.json", "1.root.json", "timestamp.json", "snapshot.json"] {
            stage.repository.write(&format!("{REPOSITORY}/tuf/{name}"), b"{\"signed\":{}}");
        }
        stage
            .repository
            .manifest(1)
            .admins(&[&MALLORY])
            .signed_by(&[&MALLORY])
            .publish(&[&MALLORY]);
    }),
    case(
        "L04-revocation",
        "Alice's key is revoked: honest, before an attacker takes it back",
        |stage| {
            stage.repository.truststore(&[ALICE.revoked(), CAROL.certificate()]);
            stage.repository.publish("deploy", "1.5.0").now();
        },
    ),
];

/// A certificate of which every signature is right that says nothing.
const SMALL_ORDER: &[u8] = include_bytes!("small-order.asc");

/// Makes a signature over these bytes by the worthless key: right by arithmetic, and by nobody.
fn forged(content: &[u8]) -> Vec<u8> {
    // Version 4, over a file, Ed25519, SHA-256; made in 2025, by this fingerprint.
    let mut body = b"\x04\x00\x16\x08\x00\x1d\x05\x02\x67\x74\x85\x80\x16\x21\x04".to_vec();
    body.extend(
        *b"\xe2\x6a\x63\xae\xaf\x27\x94\x06\x75\x35\xda\x61\xa7\x56\xab\xda\x81\x3d\xf5\x2d",
    );
    let length = u8::try_from(body.len()).unwrap();
    let hashed = [content, body.as_slice(), &[4, 0xff, 0, 0, 0, length]].concat();
    let digest = Digest::of(&hashed).to_string();
    let start = u16::from_str_radix(&digest[..4], 16).unwrap();
    body.extend([0, 0]);
    body.extend(start.to_be_bytes());
    // The neutral point, and zero.
    body.extend([0x00, 0xf9, 0x01]);
    body.extend([0; 31]);
    body.extend([0, 0]);
    let packet = [&[0xc2, u8::try_from(body.len()).unwrap()], body.as_slice()].concat();
    // Lines of 64 characters, as armor has.
    let lines = packet.chunks(48).map(|line| STANDARD.encode(line));
    let text = lines.collect::<Vec<_>>().join("\n");
    format!("-----BEGIN PGP SIGNATURE-----\n\n{text}\n-----END PGP SIGNATURE-----\n").into_bytes()
}

fn truststore() -> String {
    format!("{REPOSITORY}/truststore")
}

/// The truststore is answered by a page, whatever the status says.
fn answered(stage: &Stage<'_>, status: u16) {
    stage.publish_next();
    let answer = Answer::of(status, "text/html; charset=utf-8", page());
    stage.server.fault(&truststore(), Fault::Answer(answer));
}

fn written(stage: &Stage<'_>, bytes: &[u8]) {
    stage.publish_next();
    stage.repository.write(&truststore(), bytes);
}
