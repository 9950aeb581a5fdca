//! A dbt that is offered and must not be taken.

use dbt_core::platform::Platform;

use super::{Case, Stage, case};
use crate::people::{ALICE, CAROL, MALLORY};
use crate::repository::program;
use crate::server::Fault;

/// What offers itself as dbt 99.0.0: a script that would be known by what it prints.
const IMPOSTOR: &str = "#!/bin/sh\necho owned\n";

pub(super) const CASES: &[Case] = &[
    case("C48-exits-1", "a signed dbt ends with status 1", |stage| offered(stage, "exit 1")),
    case("C48-signal", "a signed dbt dies of a signal", |stage| offered(stage, "kill -9 $$")),
    case("C48-hangs", "a signed dbt hangs", |stage| offered(stage, "exec sleep 1000")),
    case("C48-floods", "a signed dbt talks without end", |stage| offered(stage, "exec yes")),
    case("C48-prose", "a signed dbt says something else than who it is", |stage| {
        offered(stage, "echo hello");
    }),
    case("C48-another-program", "a signed dbt says that it is another program", |stage| {
        reports(stage, "data", "99.0.0");
    }),
    case("C48-older", "a signed dbt says that it is an older version", |stage| {
        reports(stage, "dbt", "3.9.9");
    }),
    case("C48-another-digest", "a signed dbt does not know its own digest", |stage| {
        let zeros = "0".repeat(64);
        let said = format!("{{\"program\":\"dbt\",\"version\":\"99.0.0\",\"sha256\":\"{zeros}\"}}");
        offered(stage, &format!("echo '{said}'"));
    }),
    case("C48-no-program", "a signed dbt is no program of this machine", |stage| {
        stage.repository.publish_program("99.0.0", b"\x7fELF nothing that runs".to_vec()).now();
    }),
    case("C48-empty", "a signed dbt is an empty file", |stage| {
        stage.repository.publish_program("99.0.0", Vec::new()).now();
    }),
    case("C48-checksum", "a dbt whose checksum never matches", |stage| {
        let program = IMPOSTOR.as_bytes().to_vec();
        stage.repository.publish_program("99.0.0", program).checksum(&"0".repeat(64)).now();
    }),
    case("C48-changed", "a dbt that was changed after it was signed", |stage| {
        stage.repository.publish_program("99.0.0", IMPOSTOR.as_bytes().to_vec()).now();
        stage.repository.write(&program("99.0.0"), b"#!/bin/sh\necho owned too\n");
    }),
    case("C48-stranger", "a dbt that a stranger signed", |stage| {
        let program = IMPOSTOR.as_bytes().to_vec();
        stage.repository.publish_program("99.0.0", program).signed_by(&MALLORY).now();
    }),
    case("C48-newcomer", "a dbt that a newcomer of the truststore signed", |stage| {
        stage.repository.trust(&[&ALICE, &CAROL, &MALLORY]);
        let program = IMPOSTOR.as_bytes().to_vec();
        stage.repository.publish_program("99.0.0", program).signed_by(&MALLORY).now();
    }),
    case("C48-as-a-tool", "a dbt that was signed as a tool", |stage| {
        let program = IMPOSTOR.as_bytes().to_vec();
        let draft = stage.repository.publish_program("99.0.0", program);
        draft.bound_to(&format!("tool/dbt/99.0.0/{}", Platform::CURRENT)).now();
    }),
    case("C48-unsigned", "a dbt without a signature", |stage| {
        let program = IMPOSTOR.as_bytes().to_vec();
        stage.repository.publish_program("99.0.0", program).without_signature().now();
    }),
    case("C48-stalls", "a dbt whose download stops in the middle", |stage| {
        stage.repository.publish_program("99.0.0", IMPOSTOR.as_bytes().to_vec()).now();
        stage.server.fault(&program("99.0.0"), Fault::StallAfter(5));
    }),
    case("C48-portal", "a dbt that is the sign-in page of a hotel", |stage| {
        stage.repository.publish_program("99.0.0", IMPOSTOR.as_bytes().to_vec()).now();
        stage.server.fault(&program("99.0.0"), Fault::Portal);
    }),
    case("C48-elsewhere", "a dbt that is a redirect to another server", |stage| {
        stage.repository.publish_program("99.0.0", IMPOSTOR.as_bytes().to_vec()).now();
        let there = format!("{}{}", stage.elsewhere.url(), program("99.0.0"));
        stage.server.fault(&program("99.0.0"), Fault::RedirectTo(there));
    }),
];

fn offered(stage: &Stage<'_>, lines: &str) {
    let script = format!("#!/bin/sh\n{lines}\n").into_bytes();
    stage.repository.publish_program("99.0.0", script).now();
}

/// A candidate that reports itself in the right form, as this program and version.
fn reports(stage: &Stage<'_>, name: &str, version: &str) {
    let said = format!("{{\"program\":\"{name}\",\"version\":\"{version}\",\"sha256\":\"'$3'\"}}");
    offered(stage, &format!("echo '{said}'"));
}
