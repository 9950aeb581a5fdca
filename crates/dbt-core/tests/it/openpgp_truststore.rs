//! What is read from a truststore, and what is said about the rest.

use std::sync::OnceLock;

use dbt_core::trust::keys::{Keyring, KeyringError, KnownGood, SkipReason, TRUSTSTORE_LIMIT};

use super::openpgp_gpg::{BIRTH, Gpg, TODAY, armor, certificates, dearmor, join, packets};

/// Three people's certificates, each in a block of its own, and all in one block.
struct People {
    fingerprints: [String; 3],
    blocks: [Vec<u8>; 3],
    together: Vec<u8>,
    secret: Vec<u8>,
    weak: Vec<u8>,
    dsa: Vec<u8>,
}

fn people() -> &'static People {
    static PEOPLE: OnceLock<People> = OnceLock::new();
    PEOPLE.get_or_init(|| {
        let gpg = Gpg::new();
        let fingerprints =
            ["Alice", "Bob", "Carol"].map(|name| gpg.make_key(name, "ed25519", "default", &[]));
        gpg.run(BIRTH, &["--quick-add-key", &fingerprints[0], "cv25519", "encr", "never"], b"");
        let blocks = fingerprints.each_ref().map(|key| gpg.export(&[key]));
        let together = gpg.export(&[]);
        let secret = gpg.run(TODAY, &["--armor", "--export-secret-keys", &fingerprints[0]], b"");
        let weak = gpg.make_key("Wendy", "rsa1024", "sign", &[]);
        let dsa = gpg.make_key("Dora", "dsa1024", "sign", &[]);
        People {
            blocks,
            together,
            secret,
            weak: gpg.export(&[&weak]),
            dsa: gpg.export(&[&dsa]),
            fingerprints,
        }
    })
}

fn fingerprints(truststore: &[u8]) -> Vec<String> {
    certificates(truststore)
        .iter()
        .map(|certificate| certificate.fingerprint().to_string())
        .collect()
}

fn error(truststore: &[u8]) -> String {
    Keyring::parse(truststore).unwrap_err().to_string()
}

#[test]
fn blocks_one_after_the_other_are_all_read() {
    let People { fingerprints: expected, blocks, .. } = people();
    assert_eq!(fingerprints(&blocks.concat()), expected);
}

#[test]
fn several_certificates_in_one_block_are_all_read() {
    let People { fingerprints: expected, together, .. } = people();
    let mut expected = expected.to_vec();
    expected.sort();
    let mut found = fingerprints(together);
    found.sort();
    assert_eq!(found, expected);
}

#[test]
fn line_ends_blanks_and_text_around_the_blocks_do_not_matter() {
    let People { fingerprints: expected, blocks, .. } = people();
    let plain = String::from_utf8(blocks.concat()).unwrap();
    let without_last_newline = plain.trim_end();
    for text in [
        plain.replace('\n', "\r\n"),
        plain.replace('\n', " \t\r\n"),
        without_last_newline.to_owned(),
        format!("# our keys: ask Alice\n\n{plain}\n# end\n"),
        plain.replace("-----BEGIN", "pub   ed25519 2024-01-01\n\n-----BEGIN"),
        plain.replace("BLOCK-----\n\n", "BLOCK-----\nVersion: GnuPG v2\nComment: Größe\n\n"),
    ] {
        assert_eq!(fingerprints(text.as_bytes()), expected, "{text}");
    }
}

/// Returns a line of base64 whose first letter is another one: which, is up to the key.
fn other_letter(line: &str) -> String {
    let other = if line.starts_with('A') { "B" } else { "A" };
    format!("{other}{}", &line[1..])
}

#[test]
fn a_corrupt_block_between_two_good_ones_is_skipped_with_its_reason() {
    let People { fingerprints, blocks: [alice, bob, carol], .. } = people();
    let bob = String::from_utf8(bob.clone()).unwrap();
    let lines: Vec<&str> = bob.lines().collect();
    let bytes = dearmor(bob.as_bytes());
    let flip = |position: usize| {
        let mut bytes = bytes.clone();
        bytes[position] ^= 0x40;
        armor("PUBLIC KEY BLOCK", &bytes)
    };
    let damaged = [
        (lines[..4].join("\n").into_bytes(), "the block has no matching END line"),
        (bob.replace(lines[3], "****").into_bytes(), "the armored text is not base64"),
        (
            bob.replace(lines[3], &other_letter(lines[3])).into_bytes(),
            "the armor checksum does not match: the text is damaged",
        ),
        (
            bob.replace("\n\n", "\n").into_bytes(),
            "the armor headers are malformed, or the empty line after them is missing",
        ),
        (
            armor("PUBLIC KEY BLOCK", &bytes[..bytes.len() - 1]),
            "the certificate is cut off or damaged",
        ),
        (armor("PUBLIC KEY BLOCK", b""), "the block holds no certificate"),
        (armor("PUBLIC KEY BLOCK", &[0x88, 1, 4]), "the block holds no certificate"),
        (flip(2), "keys of version 68 are not accepted"),
        (flip(7), "key algorithm number 86 is not accepted"),
        (armor("SIGNATURE", &bytes), "a block of type `SIGNATURE` does not belong in a truststore"),
    ];
    for (damaged, reason) in damaged {
        let keyring = Keyring::parse(&[alice, &damaged[..], b"\n", carol].concat()).unwrap();
        let found: Vec<String> =
            keyring.certificates.iter().map(|good| good.fingerprint().to_string()).collect();
        assert_eq!(found, [fingerprints[0].clone(), fingerprints[2].clone()], "{reason}");
        let said: Vec<String> =
            keyring.skipped.iter().map(|skipped| skipped.reason.to_string()).collect();
        assert_eq!(said, [reason]);
        assert_eq!(keyring.skipped[0].position, 2);
    }
}

#[test]
fn a_damaged_certificate_in_a_shared_block_is_skipped_alone() {
    let People { blocks, fingerprints, .. } = people();
    let [alice, bob, carol] = blocks.each_ref().map(|block| packets(&dearmor(block)));
    // Bob's self-signature over his user id does not verify.
    let mut bob = bob;
    let last = bob[2].1.len() - 1;
    bob[2].1[last] ^= 1;
    let bytes = [join(&alice), join(&bob), join(&carol)].concat();
    let keyring = Keyring::parse(&armor("PUBLIC KEY BLOCK", &bytes)).unwrap();
    assert_eq!(keyring.certificates.len(), 2);
    assert_eq!(keyring.skipped.len(), 1);
    assert_eq!(
        keyring.skipped[0].to_string(),
        format!(
            "certificate 2 (`{}`): the certificate has no valid self-signature (SHA-1 counts only before 2023-02-01)",
            fingerprints[1]
        )
    );
}

#[test]
fn the_same_certificate_twice_is_one_with_everything_of_both() {
    let gpg = Gpg::new();
    let key = gpg.make_key("Alice", "ed25519", "sign", &[]);
    let before = gpg.export(&[]);
    gpg.add_signing_subkey(&key, "ed25519");
    gpg.revoke(&key, "2025-06-01T00:00:00Z", "3", &[]);
    let after = gpg.export(&[]);
    for both in [[before.clone(), after.clone()].concat(), [after, before].concat()] {
        let merged = certificates(&both);
        assert_eq!(merged.len(), 1);
        assert!(merged[0].is_revoked());
    }
}

#[test]
fn a_private_key_is_never_accepted() {
    let People { secret, blocks, .. } = people();
    let words = "a private key does not belong in a truststore";
    assert_eq!(
        error(secret),
        format!("the truststore has no usable certificate: certificate 1: {words}")
    );
    // The same bytes under a false name.
    let disguised = armor("PUBLIC KEY BLOCK", &dearmor(secret));
    assert!(error(&disguised).ends_with(words));
    // A secret subkey in an otherwise public certificate.
    let mut mixed = packets(&dearmor(&blocks[0]));
    mixed.extend(packets(&dearmor(secret)).into_iter().filter(|(kind, _packet)| *kind == 7));
    assert!(error(&armor("PUBLIC KEY BLOCK", &join(&mixed))).ends_with(words));

    let keyring = Keyring::parse(&[&secret[..], &blocks[1]].concat()).unwrap();
    assert_eq!(keyring.certificates.len(), 1);
    assert_eq!(keyring.skipped[0].reason, SkipReason::PrivateKey);
}

#[test]
fn what_is_not_a_truststore_is_refused_in_words() {
    let People { blocks, .. } = people();
    assert_eq!(error(b""), "the truststore is empty");
    assert_eq!(error(b" \r\n\n\t"), "the truststore is empty");
    let page = b"\n<!DOCTYPE html><html><body>Please log in</body></html>";
    assert_eq!(error(page), "the truststore is a web page, not a list of OpenPGP certificates");
    assert_eq!(error(b"not found\n"), "the truststore has no `BEGIN PGP PUBLIC KEY BLOCK`");
    let binary = dearmor(&blocks[0]);
    assert_eq!(error(&binary), "the truststore is in binary form; certificates must be armored");
    assert!(error(&blocks[0][..100]).ends_with("the block has no matching END line"));
}

#[test]
fn a_truststore_of_keys_that_are_not_accepted_is_refused_and_says_which() {
    let People { weak, dsa, .. } = people();
    let error = Keyring::parse(&[&weak[..], dsa].concat()).unwrap_err();
    let words = error.to_string();
    assert!(
        words.contains("an RSA key of 1024 bits is too small, at least 2048 are needed"),
        "{words}"
    );
    assert!(words.contains("key algorithm DSA is not accepted"), "{words}");
    let KeyringError::NothingUsable { skipped } = error else { panic!("{error:?}") };
    assert!(skipped.iter().all(|skipped| skipped.fingerprint.is_some()));
}

#[test]
fn a_truststore_longer_than_a_mebibyte_is_refused() {
    let People { blocks, .. } = people();
    let room = usize::try_from(TRUSTSTORE_LIMIT).unwrap() - blocks[0].len();
    let padded = [&blocks[0][..], &vec![b'\n'; room]].concat();
    assert_eq!(certificates(&padded).len(), 1);
    assert_eq!(error(&[&padded[..], b"\n"].concat()), "the truststore is longer than 1 MiB");
}

#[test]
fn a_flood_of_certificates_is_refused() {
    let flood = armor("PUBLIC KEY BLOCK", &[0x98, 1, 4]).repeat(513);
    assert_eq!(error(&flood), "the truststore has more than 512 certificates");
}

#[test]
fn a_flooded_certificate_is_skipped_quickly_and_alone() {
    let People { blocks: [alice, bob, _], .. } = people();
    let alice = packets(&dearmor(alice));
    let [key, user, signature] = [&alice[0], &alice[1], &alice[2]].map(|packet| packet.1.clone());
    // Damaged at its end, so that the slow part of the check is reached every time.
    let mut bad = signature.clone();
    let last = bad.len() - 1;
    bad[last] ^= 1;
    let flooded = [&key[..], &user, &bad.repeat(2000), &signature].concat();
    let truststore = [&armor("PUBLIC KEY BLOCK", &flooded)[..], bob].concat();
    let keyring = Keyring::parse(&truststore).unwrap();
    assert_eq!(keyring.certificates.len(), 1);
    assert_eq!(keyring.skipped[0].reason, SkipReason::TooLarge);

    let named = [&key[..], &[&user[..], &signature].concat().repeat(200)].concat();
    let keyring = Keyring::parse(&[&armor("PUBLIC KEY BLOCK", &named)[..], bob].concat()).unwrap();
    assert_eq!(keyring.skipped[0].reason, SkipReason::TooLarge);
}

#[test]
fn what_gpg_adds_to_a_certificate_does_not_disable_it() {
    let gpg = Gpg::new();
    let key = gpg.make_key("Alice", "ed25519", "default", &[]);
    gpg.run(BIRTH, &["--quick-add-key", &key, "rsa2048", "encr", "never"], b"");
    gpg.run(BIRTH, &["--quick-add-uid", &key, "Alice at work <alice@work.example>"], b"");
    let exported = packets(&dearmor(&gpg.export(&[])));
    // A marker, a trust packet, a private one and one of the future, in between.
    let strange = [&[0xca, 3][..], b"PGP", &[0xb0, 2, 6, 0], &[0xfc, 1, 0], &[0xe8, 1, 0]].concat();
    let (first, rest) = exported.split_at(3);
    let bytes = [join(first), strange, join(rest)].concat();
    assert_eq!(fingerprints(&armor("PUBLIC KEY BLOCK", &bytes)), [key]);
}

#[test]
fn what_was_found_good_once_is_not_computed_again_and_nothing_else_becomes_good() {
    let People { blocks, .. } = people();
    let truststore = blocks.concat();
    let first = KnownGood::default();
    let plain = Keyring::parse(&truststore).unwrap();
    assert_eq!(
        Keyring::parse_knowing(&truststore, &first).unwrap().certificates,
        plain.certificates
    );
    let learnt = first.learnt().unwrap();
    // A self-signature for each.
    assert_eq!(learnt.len(), 3);

    let second = KnownGood::remembered(learnt.clone());
    let again = Keyring::parse_knowing(&truststore, &second).unwrap();
    assert_eq!(again.certificates, plain.certificates);
    assert_eq!(second.learnt(), None, "everything was known");

    // Bob's self-signature says something else: in the key, the name, the signed part, the arithmetic.
    let bob = packets(&dearmor(&blocks[1]));
    for (packet, at) in [(0, 20), (1, 2), (2, 10), (2, bob[2].1.len() - 1)] {
        let mut changed = bob.clone();
        changed[packet].1[at] ^= 1;
        let changed = armor("PUBLIC KEY BLOCK", &join(&changed));
        let known = KnownGood::remembered(learnt.clone());
        let outcome = Keyring::parse_knowing(&changed, &known);
        assert!(outcome.is_err(), "packet {packet} at {at}: {outcome:?}");
        assert_eq!(known.learnt(), None, "what is bad is not remembered");
    }
}
