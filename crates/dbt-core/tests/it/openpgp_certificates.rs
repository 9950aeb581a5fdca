//! What is known about one certificate, what is remembered of it, and who vouches for it.

use dbt_core::trust::keys::{Certificate, Keyring};

use super::openpgp_gpg::{
    BIRTH, Gpg, SIGNING, TODAY, accepted, armor, at, certificate, certificates, dearmor, join,
    judge, packets, refused,
};

/// Writes a certificate down and reads it again.
fn remembered(certificate: &Certificate) -> Certificate {
    let mut keyring = Keyring::parse(certificate.armored().as_bytes()).unwrap();
    assert_eq!(keyring.skipped, []);
    assert_eq!(keyring.certificates.len(), 1);
    keyring.certificates.remove(0)
}

/// A truststore whose maker has left out every signature of some types (their numbers).
fn without(truststore: &[u8], types: &[u8]) -> Vec<u8> {
    let mut packets = packets(&dearmor(truststore));
    // A signature's type is the second byte of its body; its header has two or three bytes.
    packets.retain(|(kind, packet)| {
        *kind != 2 || !types.contains(&packet[3 + usize::from(packet[0] & 1)])
    });
    armor("PUBLIC KEY BLOCK", &join(&packets))
}

#[test]
fn a_certificate_says_whose_it_is_and_for_how_long() {
    let gpg = Gpg::new();
    let key = gpg.make_key("Alice", "ed25519", "sign", &[]);
    let alice = certificate(&gpg.export(&[]));
    assert_eq!(alice.fingerprint().to_string(), key);
    assert_eq!(alice.name(), "Alice <alice@example.org>");
    assert_eq!(alice.created(), at(BIRTH));
    assert_eq!(alice.expires(), None);
    assert!(!alice.is_revoked() && !alice.has_revocation());
    assert_eq!(format!("{alice:?}"), format!("Certificate({key})"));

    gpg.run("2024-02-01T00:00:00Z", &["--quick-set-expire", &key, "20250701T000000"], b"");
    gpg.run(
        "2024-03-01T00:00:00Z",
        &["--quick-add-uid", &key, "Alice at work <alice@work.example>"],
        b"",
    );
    gpg.run(
        "2024-04-01T00:00:00Z",
        &["--quick-set-primary-uid", &key, "Alice <alice@example.org>"],
        b"",
    );
    let alice = certificate(&gpg.export(&[]));
    assert_eq!(alice.expires(), Some(at("2025-07-01T00:00:00Z")));
    assert_eq!(alice.name(), "Alice <alice@example.org>");

    gpg.run(
        "2024-05-01T00:00:00Z",
        &["--quick-revoke-uid", &key, "Alice <alice@example.org>"],
        b"",
    );
    assert_eq!(certificate(&gpg.export(&[])).name(), "Alice at work <alice@work.example>");
}

#[test]
fn a_name_that_its_owner_did_not_sign_is_not_shown() {
    let gpg = Gpg::new();
    gpg.make_key("Alice", "ed25519", "sign", &[]);
    let genuine = packets(&dearmor(&gpg.export(&[])));
    let mut claimed = genuine.clone();
    claimed.insert(1, (13, [&[0xb4, 5][..], b"Admin"].concat()));
    let certificate = certificate(&armor("PUBLIC KEY BLOCK", &join(&claimed)));
    assert_eq!(certificate.name(), "Alice <alice@example.org>");
}

#[test]
fn a_remembered_certificate_is_the_same_certificate() {
    let gpg = Gpg::new();
    let key = gpg.make_key("Alice", "rsa2048", "default", &[]);
    gpg.add_signing_subkey(&key, "ed25519");
    let other = gpg.make_key("Bob", "ed25519", "default", &[]);
    gpg.run(SIGNING, &["--local-user", &other, "--quick-sign-key", &key], b"");
    let alice = certificate(&gpg.export(&[&key]));
    assert_eq!(remembered(&alice), alice);

    gpg.revoke_subkey(&key, SIGNING, "1");
    gpg.revoke(&key, SIGNING, "3", &[]);
    let alice = certificate(&gpg.export(&[&key]));
    assert!(alice.is_revoked());
    assert_eq!(remembered(&alice), alice);
}

#[test]
fn a_revocation_once_seen_is_kept_when_the_server_no_longer_shows_it() {
    let gpg = Gpg::new();
    let key = gpg.make_key("Alice", "ed25519", "sign", &[]);
    let signature = gpg.sign(&key);
    gpg.revoke(&key, "2025-06-01T00:00:00Z", "1", &[]);
    let shown = gpg.export(&[]);
    let seen = certificate(&shown);

    let mut stripped = certificate(&without(&shown, &[0x20]));
    assert!(!stripped.is_revoked());
    accepted(judge(&signature, std::slice::from_ref(&stripped), TODAY), &key);
    stripped.merge_revocations(&remembered(&seen));
    assert!(stripped.is_revoked() && stripped.has_revocation());
    let words = format!("key {key} is revoked");
    refused(&judge(&signature, std::slice::from_ref(&stripped), TODAY), &words);
    refused(&judge(&signature, &[remembered(&stripped)], TODAY), &words);
}

#[test]
fn a_subkeys_revocation_once_seen_is_kept_even_if_the_subkey_disappears_and_returns() {
    let gpg = Gpg::new();
    let key = gpg.make_key("Alice", "ed25519", "sign", &[]);
    let subkey = gpg.add_signing_subkey(&key, "ed25519");
    let signature = gpg.sign_with(&format!("{subkey}!"), SIGNING, &[]);
    gpg.revoke_subkey(&key, "2025-06-01T00:00:00Z", "1");
    let shown = gpg.export(&[]);
    let seen = certificate(&shown);
    assert!(seen.has_revocation() && !seen.is_revoked());
    let words = format!("key {subkey} is revoked");
    let stripped = without(&shown, &[0x28]);

    let mut today = certificate(&stripped);
    accepted(judge(&signature, std::slice::from_ref(&today), TODAY), &key);
    today.merge_revocations(&remembered(&seen));
    assert!(today.has_revocation());
    refused(&judge(&signature, std::slice::from_ref(&today), TODAY), &words);

    let mut gone = packets(&dearmor(&shown));
    let subkey_at = gone.iter().position(|(kind, _packet)| *kind == 14).unwrap();
    gone.truncate(subkey_at);
    let mut today = certificate(&armor("PUBLIC KEY BLOCK", &join(&gone)));
    assert!(!today.has_revocation());
    today.merge_revocations(&remembered(&seen));
    assert!(today.has_revocation());
    let mut later = certificate(&stripped);
    later.merge_revocations(&remembered(&today));
    refused(&judge(&signature, &[later], TODAY), &words);
}

#[test]
fn a_revocation_by_somebody_else_revokes_nothing() {
    let gpg = Gpg::new();
    let alice = gpg.make_key("Alice", "ed25519", "sign", &[]);
    let mallory = gpg.make_key("Mallory", "ed25519", "sign", &[]);
    let alices = packets(&dearmor(&gpg.export(&[&alice])));
    gpg.revoke(&mallory, SIGNING, "1", &[]);
    let mallorys = packets(&dearmor(&gpg.export(&[&mallory])));
    let mut mixed = alices.clone();
    mixed.insert(1, mallorys[1].clone());
    let mixed = certificate(&armor("PUBLIC KEY BLOCK", &join(&mixed)));
    assert!(!mixed.has_revocation());

    let mut kept = certificate(&armor("PUBLIC KEY BLOCK", &join(&alices)));
    kept.merge_revocations(&certificate(&gpg.export(&[&mallory])));
    assert!(!kept.has_revocation());
}

/// Alice, whom Bob has certified with these options at this time.
fn certified_by_bob(gpg: &Gpg, time: &str, options: &[&str]) -> (Certificate, Certificate, String) {
    let alice = gpg.make_key("Alice", "ed25519", "sign", &[]);
    let bob = gpg.make_key("Bob", "ed25519", "sign", &[]);
    let sign = if options.contains(&"--quick-lsign-key") {
        "--quick-lsign-key"
    } else {
        "--quick-sign-key"
    };
    let options: Vec<&str> = options.iter().copied().filter(|option| *option != sign).collect();
    gpg.run(time, &[&options[..], &["--local-user", &bob, sign, &alice]].concat(), b"");
    let exported = gpg.run(
        TODAY,
        &["--export-options", "export-local-sigs", "--armor", "--export", &alice],
        b"",
    );
    (certificate(&exported), certificate(&gpg.export(&[&bob])), bob)
}

#[test]
fn an_ordinary_certification_vouches_and_a_strangers_does_not() {
    let gpg = Gpg::new();
    let (alice, bob, _) = certified_by_bob(&gpg, SIGNING, &[]);
    assert!(alice.is_certified_by(&bob, at(TODAY)));
    assert!(remembered(&alice).is_certified_by(&remembered(&bob), at(TODAY)));
    assert!(!bob.is_certified_by(&alice, at(TODAY)));
    assert!(!alice.is_certified_by(&alice, at(TODAY)));
    let mallory = gpg.make_key("Mallory", "ed25519", "sign", &[]);
    assert!(!alice.is_certified_by(&certificate(&gpg.export(&[&mallory])), at(TODAY)));
}

#[test]
fn a_certification_that_does_not_fit_does_not_vouch() {
    // Dated in the future.
    let (alice, bob, _) = certified_by_bob(&Gpg::new(), TODAY, &[]);
    assert!(!alice.is_certified_by(&bob, at(SIGNING)));
    // Meant for Bob alone.
    let (alice, bob, _) = certified_by_bob(&Gpg::new(), SIGNING, &["--quick-lsign-key"]);
    assert!(!alice.is_certified_by(&bob, at(TODAY)));
    // Before Bob's key existed.
    let (alice, bob, _) = certified_by_bob(&Gpg::new(), "2023-12-31T00:00:00Z", &[]);
    assert!(!alice.is_certified_by(&bob, at(TODAY)));
    // For thirty days.
    let (alice, bob, _) = certified_by_bob(&Gpg::new(), SIGNING, &["--default-cert-expire", "30d"]);
    assert!(alice.is_certified_by(&bob, at("2025-01-20T00:00:00Z")));
    assert!(!alice.is_certified_by(&bob, at(TODAY)));
}

#[test]
fn a_voucher_counts_only_while_it_is_valid() {
    let gpg = Gpg::new();
    let (alice, _, bob) = certified_by_bob(&gpg, "2025-06-01T00:00:00Z", &[]);
    gpg.run("2024-02-01T00:00:00Z", &["--quick-set-expire", &bob, "20250501T000000"], b"");
    assert!(!alice.is_certified_by(&certificate(&gpg.export(&[&bob])), at(TODAY)));

    for (reason, counts) in [("1", false), ("3", true)] {
        let gpg = Gpg::new();
        let (alice, _, bob) = certified_by_bob(&gpg, SIGNING, &[]);
        gpg.revoke(&bob, "2025-06-01T00:00:00Z", reason, &[]);
        let revoked = certificate(&gpg.export(&[&bob]));
        assert_eq!(alice.is_certified_by(&revoked, at(TODAY)), counts, "reason {reason}");
    }
}

#[test]
fn a_certification_that_was_withdrawn_no_longer_vouches() {
    let gpg = Gpg::new();
    let alice = gpg.make_key("Alice", "ed25519", "sign", &[]);
    let bob = gpg.make_key("Bob", "ed25519", "sign", &[]);
    gpg.run(SIGNING, &["--local-user", &bob, "--quick-sign-key", &alice], b"");
    let (with, voucher) = (certificate(&gpg.export(&[&alice])), certificate(&gpg.export(&[&bob])));
    assert!(with.is_certified_by(&voucher, at(TODAY)));
    gpg.run("2025-06-01T00:00:00Z", &["--quick-revoke-sig", &alice, &bob], b"");
    let withdrawn = certificate(&gpg.export(&[&alice]));
    assert!(!withdrawn.is_certified_by(&voucher, at(TODAY)));
}

#[test]
fn a_certification_moved_to_another_certificate_does_not_vouch() {
    let gpg = Gpg::new();
    let alice = gpg.make_key("Alice", "ed25519", "sign", &[]);
    let bob = gpg.make_key("Bob", "ed25519", "sign", &[]);
    gpg.run(SIGNING, &["--local-user", &bob, "--quick-sign-key", &alice], b"");
    let certification = packets(&dearmor(&gpg.export(&[&alice]))).pop().unwrap();
    let voucher = certificate(&gpg.export(&[&bob]));
    // Mallory takes the same name, and the certification with it.
    let impostor = Gpg::new();
    impostor.make_key("Alice", "ed25519", "sign", &[]);
    let mut forged = packets(&dearmor(&impostor.export(&[])));
    forged.push(certification);
    let forged = certificate(&armor("PUBLIC KEY BLOCK", &join(&forged)));
    assert_eq!(forged.name(), "Alice <alice@example.org>");
    assert!(!forged.is_certified_by(&voucher, at(TODAY)));
}

#[test]
fn certificates_cleaned_of_old_signatures_still_verify() {
    let gpg = Gpg::new();
    let key = gpg.make_key("Alice", "ed25519", "sign", &[]);
    let signature = gpg.sign(&key);
    gpg.run("2025-06-01T00:00:00Z", &["--quick-set-expire", &key, "20270101T000000"], b"");
    let minimal =
        gpg.run(TODAY, &["--armor", "--export-options", "export-minimal", "--export", &key], b"");
    accepted(judge(&signature, &certificates(&minimal), TODAY), &key);
}
