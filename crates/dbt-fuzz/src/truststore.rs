//! Truststores: armored certificates, one after the other.

use std::collections::BTreeSet;

use dbt_core::trust::keys::{Keyring, KeyringError};

use crate::fixtures::{self, armored, dearmored};
use crate::input::{Input, mutated};

const BASES: [&[u8]; 5] =
    [fixtures::TRUSTED[0], fixtures::TRUSTED[3], fixtures::TRUSTED[4], fixtures::REVOKED, b""];

/// Reads a truststore as it is, or a certificate that was changed.
pub fn run(data: &[u8]) {
    let mut input = Input(data);
    let file = match input.byte() % 3 {
        0 => input.0.to_vec(),
        1 => armored("PUBLIC KEY BLOCK", &mutated(&base(&mut input), input)),
        _ => {
            // Foreign packets on a certificate that would be good.
            let mut packets = base(&mut input);
            packets.extend(input.0);
            armored("PUBLIC KEY BLOCK", &packets)
        }
    };
    match Keyring::parse(&file) {
        Ok(keyring) => accepted(&keyring),
        Err(KeyringError::NothingUsable { skipped }) => {
            assert!(!skipped.is_empty(), "there is a reason");
        }
        Err(_other) => {}
    }
    a_good_certificate_survives_what_follows(&file);
}

fn base(input: &mut Input<'_>) -> Vec<u8> {
    let base = input.one_of(&BASES);
    if base.is_empty() { Vec::new() } else { dearmored(base) }
}

fn accepted(keyring: &Keyring) {
    let mut seen = BTreeSet::new();
    for certificate in &keyring.certificates {
        assert!(seen.insert(certificate.fingerprint()), "each certificate once");
        let again = Keyring::parse(certificate.armored().as_bytes());
        let again = again.expect("what was read can be written and read").certificates;
        let [again] = again.as_slice() else { panic!("one was written") };
        assert_eq!(again.fingerprint(), certificate.fingerprint());
        assert_eq!(again.expires(), certificate.expires());
        assert_eq!(again.is_revoked(), certificate.is_revoked());
        assert_eq!(again.has_revocation(), certificate.has_revocation());
        only_owners_change_a_certificate(certificate);
    }
}

/// Nobody here has a secret key: what counts on a known certificate is what its owner made.
fn only_owners_change_a_certificate(read: &dbt_core::trust::keys::Certificate) {
    let known = &fixtures::keyring().certificates;
    let Some(original) = known.iter().find(|it| it.fingerprint() == read.fingerprint()) else {
        return;
    };
    // Bob's revocation is in the world.
    if read.is_revoked() || read.has_revocation() {
        let revoked = Keyring::parse(fixtures::REVOKED).expect("GnuPG wrote it").certificates;
        assert_eq!(read.fingerprint(), revoked[0].fingerprint(), "nobody else has revoked a key");
    }
    assert_eq!(read.expires(), original.expires(), "nobody has moved a date");
    for voucher in known {
        let certified = read.is_certified_by(voucher, fixtures::now());
        let known = original.is_certified_by(voucher, fixtures::now());
        assert!(known || !certified, "{voucher:?} has not certified {read:?}");
    }
}

fn a_good_certificate_survives_what_follows(file: &[u8]) {
    let good = fixtures::TRUSTED[1];
    match Keyring::parse(&[good, b"\n", file].concat()) {
        Ok(keyring) => {
            let rita = fixtures::keyring().certificates[1].fingerprint();
            assert!(keyring.certificates.iter().any(|it| it.fingerprint() == rita));
        }
        Err(KeyringError::NothingUsable { skipped }) => panic!("{skipped:?}"),
        // Limits on the whole file.
        Err(_other) => {}
    }
}
