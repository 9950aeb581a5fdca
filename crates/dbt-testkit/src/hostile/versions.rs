//! Versions that go back, change, vanish or are only half there.

use super::{Case, case, next};
use crate::people::{ALICE, MALLORY};
use crate::server::Fault;

pub(super) const CASES: &[Case] = &[
    case(
        "C41-other-bytes",
        "the version that everybody has is published again, otherwise",
        |stage| {
            stage.repository.publish("deploy", "1.4.0").script(":").now();
        },
    ),
    case("C41-withdrawn", "a version that Alice has withdrawn is still there", |stage| {
        stage.publish_next();
        stage.repository.withdraw("deploy", 1, &["1.5.0"], &ALICE);
    }),
    case("C41-forged-list", "the attacker withdraws the version that everybody has", |stage| {
        stage.repository.withdraw("deploy", 1, &["1.4.0"], &MALLORY);
    }),
    case("L07-no-signature", "the next version has no signature yet", |stage| {
        stage.repository.publish("deploy", "1.5.0").without_signature().now();
    }),
    case("L07-no-checksum", "the next version has no checksum yet", |stage| {
        stage.repository.publish("deploy", "1.5.0").without_checksum().now();
    }),
    case("L07-no-file", "the next version has everything but its file", |stage| {
        stage.publish_next();
        stage.repository.delete(&next());
    }),
    case("L07-broken", "the next version cannot be fetched", |stage| {
        stage.publish_next();
        stage.server.fault(&next(), Fault::Status(500));
    }),
    case("L08-removed", "the version that everybody has is replaced by an older one", |stage| {
        stage.repository.remove("deploy", "1.4.0");
        stage.repository.publish("deploy", "1.3.0").now();
    }),
];
