//! Signatures that should not count.

use std::time::SystemTime;

use pgp::packet::{SignatureConfig, SignatureType};

use super::{Case, Stage, case, next};
use crate::http::Answer;
use crate::people::{ALICE, BOB, CAROL, MALLORY, OLGA, Person, block_of, just_now, packets_of};
use crate::repository::artifact;
use crate::server::Fault;
use crate::times::{days_ago, in_days};

pub(super) const CASES: &[Case] = &[
    case("C32-another-file", "the signature is Alice's, over another file", |stage| {
        let signature = ALICE.sign(b"another file", None, just_now());
        stage.repository.publish("deploy", "1.5.0").signature(signature).now();
    }),
    case("C32-version-before", "the signature is that of the version before", |stage| {
        let path = format!("{}.asc", artifact("deploy", "1.4.0"));
        let signature = stage.repository.read(&path);
        stage.repository.publish("deploy", "1.5.0").signature(signature).now();
    }),
    case("C32-stranger", "the signer is not in the truststore", |stage| {
        signed_by(stage, &MALLORY, just_now());
    }),
    case("C32-not-for-this", "the signer is known, and not named in the configuration", |stage| {
        stage.repository.trust(&[&ALICE, &CAROL, &BOB]);
        signed_by(stage, &BOB, just_now());
    }),
    case("C32-revoked", "the signer's key was revoked: it had been stolen", |stage| {
        stage.repository.truststore(&[ALICE.revoked(), CAROL.certificate()]);
        signed_by(stage, &ALICE, just_now());
    }),
    case(
        "C32-revoked-long-ago",
        "the signature is dated before its stolen key was revoked",
        |stage| {
            stage.repository.truststore(&[ALICE.revoked(), CAROL.certificate()]);
            signed_by(stage, &ALICE, days_ago(100));
        },
    ),
    case("C32-after-expiry", "the signature was made after the key expired", |stage| {
        stage.repository.trust(&[&ALICE, &CAROL, &OLGA]);
        signed_by(stage, &OLGA, just_now());
    }),
    case("C32-before-its-key", "the signature is older than its key", |stage| {
        signed_by(stage, &ALICE, days_ago(500));
    }),
    case("C32-from-the-future", "the signature will be made tomorrow", |stage| {
        signed_by(stage, &ALICE, in_days(1));
    }),
    case("C32-empty", "the signature is an empty file", |stage| signature(stage, b"")),
    case("C32-page", "the signature is a page, as a file", |stage| {
        signature(stage, &super::page());
    }),
    case("C32-no-armor", "the signature is bytes without armor", |stage| {
        signature(stage, &[0x88, 0x75, 0x04, 0x00, 0x16, 0x08]);
    }),
    case("C32-two-blocks", "the signature is two blocks, the second of them good", |stage| {
        stage.publish_next();
        let path = format!("{}.asc", next());
        let good = stage.repository.read(&path);
        let first = MALLORY.sign(b"another file", None, just_now()).into_bytes();
        stage.repository.write(&path, &[first, good].concat());
    }),
    case("C32-text-before", "the signature file begins with a text", |stage| {
        stage.publish_next();
        let path = format!("{}.asc", next());
        let good = stage.repository.read(&path);
        stage.repository.write(&path, &[b"hello\n".to_vec(), good].concat());
    }),
    case("C32-signed-message", "the signature file is a signed message", |stage| {
        let good = ALICE.sign(b"hello", None, just_now());
        let text = format!("-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\nhello\n{good}");
        signature(stage, text.as_bytes());
    }),
    case("C32-large", "the signature file is a mebibyte of blanks behind a good one", |stage| {
        stage.publish_next();
        let path = format!("{}.asc", next());
        let mut good = stage.repository.read(&path);
        good.resize(1 << 20, b'\n');
        stage.repository.write(&path, &good);
    }),
    case("C32-endless", "the signature never ends", |stage| {
        stage.publish_next();
        stage.server.fault(&format!("{}.asc", next()), Fault::Endless);
    }),
    case("C32-portal", "the signature is answered by a page with status 200", |stage| {
        stage.publish_next();
        let answer = Answer::of(200, "text/html; charset=utf-8", super::page());
        stage.server.fault(&format!("{}.asc", next()), Fault::Answer(answer));
    }),
    case("C33-sha-1", "the signature says that it is made with SHA-1", |stage| {
        claiming(stage, HASH, 2);
    }),
    case("C33-md5", "the signature says that it is made with MD5", |stage| {
        claiming(stage, HASH, 1);
    }),
    case("C33-ripemd-160", "the signature says that it is made with RIPEMD-160", |stage| {
        claiming(stage, HASH, 3);
    }),
    case("C33-sha-224", "the signature says that it is made with SHA-224", |stage| {
        claiming(stage, HASH, 11);
    }),
    case(
        "C33-unknown-hash",
        "the signature says that it is made with a hash of tomorrow",
        |stage| {
            claiming(stage, HASH, 99);
        },
    ),
    case("C33-text", "the signature is Alice's, over the text whatever its line ends", |stage| {
        weak(stage, |draft| draft.typ = SignatureType::Text);
    }),
    case(
        "C33-text-other-line-ends",
        "the same, and the script has the line ends of Windows",
        |stage| {
            stage.exchange(|it| *it = String::from_utf8_lossy(it).replace('\n', "\r\n").into());
            let script = stage.repository.read(&next());
            stage.repository.publish("deploy", "1.5.0").content(script).now();
            weak(stage, |draft| draft.typ = SignatureType::Text);
        },
    ),
    case("C33-standalone", "the signature says that it is over nothing at all", |stage| {
        claiming(stage, KIND, 0x02);
    }),
    case("C33-certification", "the signature says that it is over a certificate", |stage| {
        claiming(stage, KIND, 0x13);
    }),
];

fn signed_by(stage: &Stage<'_>, signer: &'static Person, at: SystemTime) {
    stage.repository.publish("deploy", "1.5.0").signed_by(signer).at(at).now();
}

fn signature(stage: &Stage<'_>, bytes: &[u8]) {
    stage.repository.publish("deploy", "1.5.0").signature(bytes).now();
}

/// Alice signs what is published, after `change` to how. It is what a thief of an old signature
/// would have, or who finds two files with one digest.
fn weak(stage: &Stage<'_>, change: impl FnOnce(&mut SignatureConfig)) {
    stage.publish_next();
    let bytes = stage.repository.read(&next());
    let signature = ALICE.sign_otherwise(&bytes, None, just_now(), change);
    stage.repository.write(&format!("{}.asc", next()), signature.as_bytes());
}

/// Where a signature packet says of what kind it is, and with which hash it is made: behind a
/// header of two bytes and the version.
const KIND: usize = 3;
const HASH: usize = 5;

/// Alice's signature with another claim in it. Her key makes none with an old hash; of such it is
/// not even asked whether they are right.
fn claiming(stage: &Stage<'_>, place: usize, claim: u8) {
    stage.publish_next();
    let bytes = stage.repository.read(&next());
    let mut packet = packets_of(&ALICE.sign(&bytes, None, just_now()));
    packet[place] = claim;
    let armored = block_of(&packet);
    stage.repository.write(&format!("{}.asc", next()), armored.as_bytes());
}
