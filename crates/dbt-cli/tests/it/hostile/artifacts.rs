//! Files, signatures and checksums that are not what the author made: nothing of them runs.

use super::{Row, outage, play, refused};

const UNREAD_SIGNATURE: &str = "failed to read the signature of `deploy 1.5.0";
const UNREAD_CHECKSUM: &str = "failed to read the checksum of `deploy 1.5.0";
const OTHER_BYTES: &str = "checksum of `deploy 1.5.0";

pub(super) const ROWS: &[Row] = &[
    refused("C30-bit", OTHER_BYTES),
    refused("C30-short", OTHER_BYTES),
    refused("C30-long", OTHER_BYTES),
    refused("C30-much-longer", OTHER_BYTES),
    refused("C30-twice", OTHER_BYTES),
    refused("C30-empty", OTHER_BYTES),
    refused("C30-line-ends", OTHER_BYTES),
    refused("C30-version-before", OTHER_BYTES),
    refused("L01-another-tool", "was made for `tool/other/1.5.0/"),
    refused("L01-another-version", "was made for `tool/deploy/1.4.0/"),
    refused("L01-another-platform", "was made for `tool/deploy/1.5.0/windows/arm64`"),
    refused("L01-dbt", "was made for `self/dbt/1.5.0/[PLATFORM]`"),
    refused("L01-description", "was made for `description/deploy/1.5.0`"),
    refused("L01-nonsense", "was made for `tool/deploy/../deploy/1.5.0`"),
    refused("C32-another-file", "the bytes are not the bytes that [FINGERPRINT] has signed"),
    refused("C32-version-before", "the bytes are not the bytes that [FINGERPRINT] has signed"),
    refused("C32-stranger", "signed by [FINGERPRINT], which is not in the truststore"),
    refused("C32-not-for-this", "`trust` in the configuration names other signers").learning(),
    refused("C32-revoked", "key [FINGERPRINT] is revoked").learning(),
    refused("C32-revoked-long-ago", "key [FINGERPRINT] is revoked").learning(),
    refused("C32-after-expiry", "made after key [FINGERPRINT] expired on [DATE]").learning(),
    refused("C32-before-its-key", "made before key [FINGERPRINT] existed"),
    refused("C32-from-the-future", "the signature is dated in the future"),
    refused("C32-empty", UNREAD_SIGNATURE),
    refused("C32-no-armor", UNREAD_SIGNATURE),
    refused("C32-two-blocks", UNREAD_SIGNATURE),
    refused("C32-text-before", UNREAD_SIGNATURE),
    refused("C32-signed-message", UNREAD_SIGNATURE),
    refused("C32-large", "deploy.asc`\n  caused by: the answer has more than 65536 bytes"),
    refused("C32-endless", "deploy.asc`\n  caused by: the answer has more than 65536 bytes"),
    outage("C32-page", "deploy.asc`: `127.0.0.1` answered with a page"),
    outage("C32-portal", "deploy.asc`: `127.0.0.1` answered with a page"),
    refused("C33-sha-1", "hash algorithm SHA-1 is not accepted"),
    refused("C33-md5", "hash algorithm MD5 is not accepted"),
    refused("C33-ripemd-160", "hash algorithm RIPEMD-160 is not accepted"),
    refused("C33-sha-224", "hash algorithm SHA-224 is not accepted"),
    refused("C33-unknown-hash", "hash algorithm number 99 is not accepted"),
    refused("C33-text", "text-mode signatures are not accepted"),
    refused("C33-text-other-line-ends", "text-mode signatures are not accepted"),
    refused("C33-certification", "a signature of type 0x13 is not a signature over a file"),
    refused("C33-standalone", "a signature of type 0x02 is not a signature over a file"),
    refused("C36-zeros", OTHER_BYTES),
    refused("C36-another", OTHER_BYTES),
    refused("C36-empty", UNREAD_CHECKSUM),
    refused("C36-blank", UNREAD_CHECKSUM),
    refused("C36-word", UNREAD_CHECKSUM),
    refused("C36-short", UNREAD_CHECKSUM),
    refused("C36-long", UNREAD_CHECKSUM),
    refused("C36-two", UNREAD_CHECKSUM),
    refused("C36-nul", UNREAD_CHECKSUM),
    refused("C36-minus", UNREAD_CHECKSUM),
    outage("C36-page", "deploy.sha256`: `127.0.0.1` answered with a page"),
    outage("C36-portal", "deploy.sha256`: `127.0.0.1` answered with a page"),
    outage("C36-204", "deploy.sha256`: the server gave an unexpected answer (204)"),
    refused("C36-gibibyte", "deploy.sha256`\n  caused by: the answer has more than 4096 bytes"),
    refused("C36-endless", "deploy.sha256`\n  caused by: the answer has more than 4096 bytes"),
    outage("C36-drip", "cannot be used").impatient(),
];

fn play_kinds(kinds: &[&str]) {
    play(ROWS.iter().filter(|row| kinds.iter().any(|kind| row.case.starts_with(kind))));
}

#[test]
fn bytes_that_are_not_what_was_signed_never_run() {
    play_kinds(&["C30", "L01"]);
}

#[test]
fn signatures_that_do_not_count_run_nothing() {
    play_kinds(&["C32"]);
}

#[test]
fn weak_signatures_run_nothing() {
    play_kinds(&["C33"]);
}

#[test]
fn checksums_that_are_none_run_nothing() {
    play_kinds(&["C36"]);
}
