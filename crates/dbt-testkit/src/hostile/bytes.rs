//! Files that are not what was signed, beside checksums and signatures that are.

use dbt_core::platform::Platform;

use super::{Case, case, next};
use crate::repository::artifact;

pub(super) const CASES: &[Case] = &[
    case("C30-bit", "one bit of the file is changed", |stage| {
        stage.publish_next();
        stage.repository.flip_a_bit("deploy", "1.5.0");
    }),
    case("C30-short", "the file lacks its last byte", |stage| {
        stage.exchange(|it| it.truncate(it.len() - 1));
    }),
    case("C30-long", "the file has a byte too many", |stage| stage.exchange(|it| it.push(b'\n'))),
    case("C30-much-longer", "the file goes on for a mebibyte behind its end", |stage| {
        stage.exchange(|it| it.resize(it.len() + (1 << 20), b'\n'));
    }),
    case("C30-twice", "the file is there twice, one behind the other", |stage| {
        stage.exchange(|it| it.extend_from_within(..));
    }),
    case("C30-empty", "the file is empty", |stage| stage.exchange(Vec::clear)),
    case("C30-line-ends", "the script has the line ends of Windows", |stage| {
        stage.exchange(|it| *it = String::from_utf8_lossy(it).replace('\n', "\r\n").into());
    }),
    case(
        "C30-version-before",
        "the file is the version before, with what belongs to the next",
        |stage| {
            let before = stage.repository.read(&artifact("deploy", "1.4.0"));
            stage.exchange(|it| *it = before);
        },
    ),
    case(
        "L01-another-tool",
        "the file and all beside it are another tool's, signed for it",
        |stage| {
            stage.repository.publish("other", "1.5.0").now();
            stage.repository.copy(&artifact("other", "1.5.0"), &next());
        },
    ),
    case("L01-another-version", "the file and all beside it are the version before", |stage| {
        stage.repository.copy(&artifact("deploy", "1.4.0"), &next());
    }),
    case("L01-another-platform", "the file and all beside it are for another platform", |stage| {
        stage
            .repository
            .publish("deploy", "1.5.0")
            .bound_to("tool/deploy/1.5.0/windows/arm64")
            .now();
    }),
    case("L01-dbt", "the file and all beside it were signed as dbt itself", |stage| {
        stage
            .repository
            .publish("deploy", "1.5.0")
            .bound_to(&format!("self/dbt/1.5.0/{}", Platform::CURRENT))
            .now();
    }),
    case("L01-description", "the file and all beside it were signed as a description", |stage| {
        stage.repository.publish("deploy", "1.5.0").bound_to("description/deploy/1.5.0").now();
    }),
    case("L01-nonsense", "the signature names something that is no artifact", |stage| {
        stage.repository.publish("deploy", "1.5.0").bound_to("tool/deploy/../deploy/1.5.0").now();
    }),
];
