//! Files that nobody's program makes by accident.
//!
//! Where `gpg` refuses to make something, it is made from `gpg`'s keys with the library.

use std::sync::OnceLock;

use dbt_core::trust::keys::{Certificate, Keyring};
use dbt_core::trust::openpgp::{SignatureBlock, SignatureFormatError};
use pgp::composed::{
    ArmorOptions, Deserializable as _, SignedPublicKey, SignedPublicSubKey, SignedSecretKey,
};
use pgp::crypto::hash::HashAlgorithm;
use pgp::packet::{KeyFlags, Signature, SignatureConfig, SignatureType, Subpacket, SubpacketData};
use pgp::types::{KeyDetails as _, KeyId, Password, Tag, Timestamp};
use proptest::prelude::{ProptestConfig, any, proptest};

use super::openpgp_gpg::{
    BIRTH, CONTENT, Gpg, SIGNING, TODAY, accepted, armor, at, certificate, certificates, dearmor,
    join, judge, packets, refused,
};

/// A signer with a subkey, another certificate, and their secret keys for the library.
struct World {
    alice: String,
    subkey: String,
    truststore: Vec<u8>,
    by_primary: Vec<u8>,
    by_subkey: Vec<u8>,
    public: SignedPublicKey,
    secret: SignedSecretKey,
    mallory: SignedPublicKey,
    mallorys_secret: SignedSecretKey,
}

fn world() -> &'static World {
    static WORLD: OnceLock<World> = OnceLock::new();
    WORLD.get_or_init(|| {
        let gpg = Gpg::new();
        let alice = gpg.make_key("Alice", "ed25519", "sign", &[]);
        let subkey = gpg.add_signing_subkey(&alice, "ed25519");
        let mallory = gpg.make_key("Mallory", "ed25519", "sign", &[]);
        let truststore = gpg.export(&[&alice]);
        let secret = |key: &str| {
            let exported = gpg.run(TODAY, &["--armor", "--export-secret-keys", key], b"");
            SignedSecretKey::from_armor_single(&exported[..]).unwrap().0
        };
        let public =
            |key: &str| SignedPublicKey::from_armor_single(&gpg.export(&[key])[..]).unwrap().0;
        World {
            by_primary: gpg.sign_with(&format!("{alice}!"), SIGNING, &[]),
            by_subkey: gpg.sign_with(&format!("{subkey}!"), SIGNING, &[]),
            public: public(&alice),
            secret: secret(&alice),
            mallory: public(&mallory),
            mallorys_secret: secret(&mallory),
            truststore,
            alice,
            subkey,
        }
    })
}

fn timestamp(time: &str) -> Timestamp {
    Timestamp::try_from(at(time)).unwrap()
}

/// A signature to be made by `key` at `time`, and nothing more said in it.
fn draft(kind: SignatureType, key: &SignedSecretKey, time: &str) -> SignatureConfig {
    let key = &key.primary_key;
    let mut config = SignatureConfig::v4(kind, key.algorithm(), HashAlgorithm::Sha256);
    config.hashed_subpackets = vec![
        Subpacket::critical(SubpacketData::SignatureCreationTime(timestamp(time))).unwrap(),
        Subpacket::regular(SubpacketData::IssuerFingerprint(key.fingerprint())).unwrap(),
    ];
    config
}

/// Alice's signature over the content, after `change` to what it says.
fn signed_by_alice(change: impl FnOnce(&mut SignatureConfig)) -> Vec<u8> {
    let world = world();
    let mut config = draft(SignatureType::Binary, &world.secret, SIGNING);
    change(&mut config);
    let signature = config.sign(&world.secret.primary_key, &Password::empty(), CONTENT).unwrap();
    armor("SIGNATURE", &packet(&signature))
}

fn packet(signature: &Signature) -> Vec<u8> {
    let mut bytes = Vec::new();
    pgp::packet::PacketTrait::to_writer_with_header(signature, &mut bytes).unwrap();
    bytes
}

fn truststore_of(key: &SignedPublicKey) -> Certificate {
    certificate(key.to_armored_string(ArmorOptions::default()).unwrap().as_bytes())
}

fn flags(set: impl FnOnce(&mut KeyFlags)) -> Subpacket {
    let mut flags = KeyFlags::default();
    set(&mut flags);
    Subpacket::regular(SubpacketData::KeyFlags(flags)).unwrap()
}

/// Mallory's certificate with Alice's signing subkey bound to it, and some embedded signature.
fn hijacked(embedded: Option<Subpacket>, hashed: bool) -> Certificate {
    let World { public, mallory, mallorys_secret, .. } = world();
    let subkey = public.public_subkeys[0].key.clone();
    let mut config = draft(SignatureType::SubkeyBinding, mallorys_secret, BIRTH);
    config.hashed_subpackets.push(flags(|flags| flags.set_sign(true)));
    if hashed { &mut config.hashed_subpackets } else { &mut config.unhashed_subpackets }
        .extend(embedded);
    let key = &mallorys_secret.primary_key;
    let binding =
        config.sign_subkey_binding(key, key.public_key(), &Password::empty(), &subkey).unwrap();
    let mut mallory = mallory.clone();
    mallory.public_subkeys = vec![SignedPublicSubKey { key: subkey, signatures: vec![binding] }];
    truststore_of(&mallory)
}

fn format_error(armored: &[u8]) -> String {
    SignatureBlock::parse(armored).unwrap_err().to_string()
}

#[test]
fn nobody_can_claim_the_signing_subkey_of_another() {
    let World { subkey, by_subkey, public, alice, truststore, .. } = world();
    let words = format!("subkey {subkey} has not confirmed that it belongs to its certificate");
    let genuine = public.public_subkeys[0].signatures[0].embedded_signature().unwrap().clone();
    let embedded = || {
        Some(
            Subpacket::regular(SubpacketData::EmbeddedSignature(Box::new(genuine.clone())))
                .unwrap(),
        )
    };
    // Without a back signature, and with the one that was made for Alice, in either area.
    for mallory in [hijacked(None, true), hijacked(embedded(), true), hijacked(embedded(), false)] {
        refused(&judge(by_subkey, std::slice::from_ref(&mallory), TODAY), &words);
        // Beside Alice's certificate it changes nothing.
        accepted(judge(by_subkey, &[mallory, certificate(truststore)], TODAY), alice);
    }
}

#[test]
fn a_subkey_without_its_binding_or_with_another_keys_binding_signs_nothing() {
    let World { subkey, by_subkey, truststore, mallory, public, .. } = world();
    let words = format!("key {subkey} is not bound to its certificate by a valid signature");
    let mut unbound = packets(&dearmor(truststore));
    unbound.pop();
    refused(
        &judge(by_subkey, &certificates(&armor("PUBLIC KEY BLOCK", &join(&unbound))), TODAY),
        &words,
    );

    let mut moved = mallory.clone();
    moved.public_subkeys.clone_from(&public.public_subkeys);
    refused(&judge(by_subkey, &[truststore_of(&moved)], TODAY), &words);
}

#[test]
fn a_new_binding_with_sha_1_is_none() {
    let World { by_subkey, subkey, public, .. } = world();
    let gpg = Gpg::new();
    gpg.run(
        "2020-01-01T00:00:00Z",
        &["--quick-gen-key", "Victor", "rsa2048", "cert", "never"],
        b"",
    );
    let exported = gpg.run(TODAY, &["--armor", "--export-secret-keys"], b"");
    let secret = SignedSecretKey::from_armor_single(&exported[..]).unwrap().0;
    let (mut certificate, _headers) =
        SignedPublicKey::from_armor_single(&gpg.export(&[])[..]).unwrap();
    let key = &secret.primary_key;
    // Who gets as far as the missing confirmation has a binding that counts.
    let theirs = &public.public_subkeys[0].key;
    for (hash, words) in [
        (
            HashAlgorithm::Sha256,
            format!("subkey {subkey} has not confirmed that it belongs to its certificate"),
        ),
        (
            HashAlgorithm::Sha1,
            format!("key {subkey} is not bound to its certificate by a valid signature"),
        ),
    ] {
        let mut config = draft(SignatureType::SubkeyBinding, &secret, BIRTH);
        config.hash_alg = hash;
        config.hashed_subpackets.push(flags(|flags| flags.set_sign(true)));
        let binding =
            config.sign_subkey_binding(key, key.public_key(), &Password::empty(), theirs).unwrap();
        certificate.public_subkeys =
            vec![SignedPublicSubKey { key: theirs.clone(), signatures: vec![binding] }];
        refused(&judge(by_subkey, &[truststore_of(&certificate)], TODAY), &words);
    }
}

#[test]
fn a_key_that_may_not_sign_signs_nothing() {
    let World { public, secret, by_primary, alice, .. } = world();
    for set in [KeyFlags::set_certify as fn(&mut KeyFlags, bool), KeyFlags::set_authentication] {
        let mut config = draft(SignatureType::CertPositive, secret, BIRTH);
        config.hashed_subpackets.push(flags(|flags| set(flags, true)));
        let user = &public.details.users[0].id;
        let key = &secret.primary_key;
        let claim = config
            .sign_certification(key, key.public_key(), &Password::empty(), Tag::UserId, user)
            .unwrap();
        let mut certificate = public.clone();
        certificate.details.users[0].signatures = vec![claim];
        let words = format!("key {alice} is not meant for signing files");
        refused(&judge(by_primary, &[truststore_of(&certificate)], TODAY), &words);
    }
}

#[test]
fn what_the_signer_marked_critical_and_we_do_not_know_is_refused() {
    let certificates = certificates(&world().truststore);
    let critical = |data| Subpacket::critical(data).unwrap();
    let fingerprint = world().mallory.primary_key.fingerprint();
    for (unknown, number) in [
        (SubpacketData::Experimental(101, b"x".to_vec().into()), 101),
        (SubpacketData::RegularExpression(b"<.*>\0".to_vec().into()), 6),
        (SubpacketData::IntendedRecipientFingerprint(fingerprint), 35),
    ] {
        let signature = signed_by_alice(|config| config.hashed_subpackets.push(critical(unknown)));
        let words = format!(
            "the signature has a critical subpacket of type {number}, which is not understood"
        );
        refused(&judge(&signature, &certificates, TODAY), &words);
    }
    let harmless = signed_by_alice(|config| {
        let unknown = SubpacketData::Other(99, b"x".to_vec().into());
        config.hashed_subpackets.push(Subpacket::regular(unknown).unwrap());
    });
    accepted(judge(&harmless, &certificates, TODAY), &world().alice);
    // The library does not make a critical one, so the bit is set afterwards.
    let mut bytes = dearmor(&harmless);
    let unknown = bytes.windows(3).position(|window| window == [2, 99, b'x']).unwrap();
    bytes[unknown + 1] |= 0x80;
    refused(
        &judge(&armor("SIGNATURE", &bytes), &certificates, TODAY),
        "the signature has a critical subpacket of type 99, which is not understood",
    );
}

#[test]
fn a_notation_outside_the_signed_part_says_nothing() {
    let certificates = certificates(&world().truststore);
    let notation = |value: &'static [u8]| {
        let notation = pgp::packet::Notation {
            readable: true,
            name: b"artifact@dbt"[..].into(),
            value: value.into(),
        };
        Subpacket::regular(SubpacketData::Notation(notation)).unwrap()
    };
    let unsigned = signed_by_alice(|config| config.unhashed_subpackets.push(notation(b"tool/a")));
    assert_eq!(accepted(judge(&unsigned, &certificates, TODAY), &world().alice).notations, [""; 0]);
    let signed = signed_by_alice(|config| config.hashed_subpackets.push(notation(b"tool/a")));
    assert_eq!(
        accepted(judge(&signed, &certificates, TODAY), &world().alice).notations,
        ["tool/a"]
    );
}

#[test]
fn a_date_outside_the_signed_part_or_twice_is_no_date() {
    let certificates = certificates(&world().truststore);
    let date =
        |time| Subpacket::regular(SubpacketData::SignatureCreationTime(timestamp(time))).unwrap();
    let outside = signed_by_alice(|config| {
        config.hashed_subpackets.remove(0);
        config.unhashed_subpackets.push(date(SIGNING));
    });
    let twice = signed_by_alice(|config| config.hashed_subpackets.push(date(BIRTH)));
    for signature in [outside, twice] {
        refused(
            &judge(&signature, &certificates, TODAY),
            "the signature does not say when it was made",
        );
    }
}

#[test]
fn a_key_id_is_only_a_hint_and_a_fingerprint_beats_it() {
    let World { public, mallory, alice, truststore, .. } = world();
    let key_id = |id: KeyId| Subpacket::regular(SubpacketData::IssuerKeyId(id)).unwrap();
    let alices = public.primary_key.legacy_key_id();
    let ours = certificates(truststore);
    // Only a key id, as Go's programs write it.
    let by_id = signed_by_alice(|config| {
        config.hashed_subpackets.pop();
        config.unhashed_subpackets.push(key_id(alices));
    });
    accepted(judge(&by_id, &ours, TODAY), alice);
    refused(
        &judge(&by_id, &[], TODAY),
        &format!("signed by {}, which is not in the truststore", &alice[24..]),
    );
    // A false key id beside the right fingerprint.
    let wrong_id = signed_by_alice(|config| {
        config.unhashed_subpackets.push(key_id(mallory.primary_key.legacy_key_id()));
    });
    accepted(judge(&wrong_id, &ours, TODAY), alice);
    // The right key id beside a false fingerprint.
    let other = mallory.primary_key.fingerprint();
    let wrong_fingerprint = signed_by_alice(|config| {
        config.hashed_subpackets.pop();
        config
            .hashed_subpackets
            .push(Subpacket::regular(SubpacketData::IssuerFingerprint(other.clone())).unwrap());
        config.unhashed_subpackets.push(key_id(alices));
    });
    refused(
        &judge(&wrong_fingerprint, &ours, TODAY),
        &format!("signed by {other:X}, which is not in the truststore"),
    );
    // Mallory's fingerprint on Alice's signature, with Mallory's certificate trusted.
    refused(
        &judge(&wrong_fingerprint, &[truststore_of(mallory)], TODAY),
        &format!("the bytes are not the bytes that {other:X} has signed"),
    );
    let nobody = signed_by_alice(|config| {
        config.hashed_subpackets.pop();
    });
    refused(&judge(&nobody, &ours, TODAY), "the signature does not say who made it");
}

#[test]
fn signatures_of_other_kinds_and_versions_are_refused() {
    let certificates = certificates(&world().truststore);
    let changed = |position: usize, value: u8| {
        let mut bytes = dearmor(&world().by_primary);
        bytes[2 + position] = value;
        armor("SIGNATURE", &bytes)
    };
    for (position, value, words) in [
        (1, 0x02, "a signature of type 0x02 is not a signature over a file"),
        (1, 0x13, "a signature of type 0x13 is not a signature over a file"),
        (1, 0x40, "a signature of type 0x40 is not a signature over a file"),
        (1, 0xff, "a signature of type 0xFF is not a signature over a file"),
        (0, 5, "signatures of version 5 are not accepted"),
        (3, 0, "hash algorithm number 0 is not accepted"),
        (3, 1, "hash algorithm MD5 is not accepted"),
        (3, 99, "hash algorithm number 99 is not accepted"),
        (2, 17, "key algorithm DSA is not accepted"),
        (2, 20, "key algorithm ElGamal is not accepted"),
        (2, 99, "key algorithm number 99 is not accepted"),
    ] {
        refused(&judge(&changed(position, value), &certificates, TODAY), words);
    }
    // An accepted kind of key, but not the signer's.
    let words = format!("the bytes are not the bytes that {} has signed", world().alice);
    refused(&judge(&changed(2, 19), &certificates, TODAY), &words);
}

#[test]
fn a_signature_file_is_exactly_one_block_of_signatures() {
    let signature = &world().by_primary;
    let text = String::from_utf8(signature.clone()).unwrap();
    let alice = certificates(&world().truststore);
    for harmless in [
        format!("\r\n  \n{}\n\n \t\n", text.replace('\n', "\r\n")),
        text.trim_end().to_owned(),
        text.replace(
            "SIGNATURE-----\n\n",
            "SIGNATURE-----\nVersion: GnuPG v2\nComment: https://example.org\n\n",
        ),
    ] {
        accepted(judge(harmless.as_bytes(), &alice, TODAY), &world().alice);
    }
    let outside = "the signature file has more after its first block";
    let no_begin = "the signature file does not begin with `-----BEGIN PGP SIGNATURE-----`";
    for (file, words) in [
        (String::new(), "the signature file is empty"),
        (" \n\r\n".to_owned(), "the signature file is empty"),
        (format!("{text}{text}"), outside),
        (format!("{text}x"), outside),
        (format!("hello\n{text}"), no_begin),
        (format!("-{text}"), no_begin),
        (format!("\u{feff}{text}"), no_begin),
        ("<html>not found</html>".to_owned(), no_begin),
        (
            text.replace("PGP SIGNATURE", "PGP MESSAGE"),
            "the signature file holds a block of type `MESSAGE`, not `SIGNATURE`",
        ),
        (
            format!("-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\nhello\n{text}"),
            "the signature file holds a block of type `SIGNED MESSAGE`, not `SIGNATURE`",
        ),
        (
            text.replace("-----END PGP SIGNATURE-----", ""),
            "the signature file has no `-----END PGP SIGNATURE-----`",
        ),
        (
            text.replace("END PGP SIGNATURE", "END PGP MESSAGE"),
            "the signature file has no `-----END PGP SIGNATURE-----`",
        ),
        (
            text.replace("SIGNATURE-----\n\n", "SIGNATURE-----\n"),
            "the armor headers are malformed, or the empty line after them is missing",
        ),
        (
            text.replace("SIGNATURE-----\n\n", "SIGNATURE-----\nno header\n\n"),
            "the armor headers are malformed, or the empty line after them is missing",
        ),
        (text.replace("\n=", "\n=A"), "the armored text is not base64"),
        (text.replace('i', "!"), "the armored text is not base64"),
    ] {
        if words.starts_with("the armored") {
            assert!(SignatureBlock::parse(file.as_bytes()).is_err(), "{file}");
        } else {
            assert_eq!(format_error(file.as_bytes()), words, "{file}");
        }
    }
    let padded = [&signature[..], &vec![b'\n'; 70_000]].concat();
    assert_eq!(format_error(&padded), "the signature file is longer than 64 KiB");
}

#[test]
fn nothing_but_one_to_sixteen_signatures_is_in_the_block() {
    let one = dearmor(&world().by_primary);
    let block = |parts: &[&[u8]]| armor("SIGNATURE", &parts.concat());
    accepted(
        judge(&block(&[&one.repeat(16)]), &certificates(&world().truststore), TODAY),
        &world().alice,
    );

    let literal = [&[0xcb, 11, b'b', 0, 0, 0, 0, 0][..], b"hello"].concat();
    let key = dearmor(&world().truststore);
    let foreign = |number: u8| SignatureFormatError::ForeignPacket(number).to_string();
    for (file, words) in [
        (block(&[]), "the signature file is empty".to_owned()),
        (block(&[&one.repeat(17)]), "the signature file holds more than 16 signatures".to_owned()),
        (block(&[&one, &literal]), foreign(11)),
        (block(&[&literal, &one]), foreign(11)),
        (block(&[&[0xca, 3], b"PGP", &one]), foreign(10)),
        (block(&[&one, &[0xd5, 1, 0]]), foreign(21)),
        (block(&[&one, &[0xe8, 1, 0]]), foreign(40)),
        (block(&[&key]), foreign(6)),
        (block(&[&one, b"\n"]), "the signature is malformed".to_owned()),
        (block(&[&one, &[0]]), "the signature is malformed".to_owned()),
        (block(&[&one[..one.len() - 1]]), "the signature is malformed".to_owned()),
        (block(&[&[0x88, one[1] + 1], &one[2..], &[0]]), "the signature is malformed".to_owned()),
        (block(&[&[0x88, 1, 4]]), "the signature is malformed".to_owned()),
        (block(&[&[0xc2, 0xe1, 4, 0], &one]), "the signature is malformed".to_owned()),
    ] {
        assert_eq!(format_error(&file), words);
    }
}

#[test]
fn lengths_that_promise_too_much_do_no_harm() {
    for body in [
        &[0x04, 0x00, 0x16, 0x08, 0xff, 0xff][..],
        &[0x06, 0x00, 0x1b, 0x08, 0xff, 0xff, 0xff, 0xff],
        &[0x04, 0x00, 0x01, 0x08, 0x00, 0x06, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02],
        &[0x04, 0x00, 0x01, 0x08, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0xff, 0xff],
    ] {
        let packet = [&[0xc2, u8::try_from(body.len()).unwrap()], body].concat();
        assert_eq!(format_error(&armor("SIGNATURE", &packet)), "the signature is malformed");
    }
}

#[test]
fn a_certificate_that_expires_after_the_end_of_time_does_not_wrap_around() {
    let World { public, secret, by_primary, alice, .. } = world();
    let mut config = draft(SignatureType::CertPositive, secret, BIRTH);
    config.hashed_subpackets.push(flags(|flags| flags.set_sign(true)));
    let lifetime = pgp::types::Duration::from_secs(u32::MAX);
    config
        .hashed_subpackets
        .push(Subpacket::regular(SubpacketData::KeyExpirationTime(lifetime)).unwrap());
    let user = &public.details.users[0].id;
    let key = &secret.primary_key;
    let claim = config
        .sign_certification(key, key.public_key(), &Password::empty(), Tag::UserId, user)
        .unwrap();
    let mut certificate = public.clone();
    certificate.details.users[0].signatures = vec![claim];
    let good = accepted(judge(by_primary, &[truststore_of(&certificate)], TODAY), alice);
    assert!(good.certificate_expires.unwrap() > at("2150-01-01T00:00:00Z"));
}

#[test]
fn a_certification_with_sha_1_does_not_vouch_whatever_its_date() {
    let World { public, mallory, .. } = world();
    let gpg = Gpg::new();
    gpg.run(
        "2020-01-01T00:00:00Z",
        &["--quick-gen-key", "Victor", "rsa2048", "sign", "never"],
        b"",
    );
    let exported = gpg.run(TODAY, &["--armor", "--export-secret-keys"], b"");
    let secret = SignedSecretKey::from_armor_single(&exported[..]).unwrap().0;
    let voucher = certificate(&gpg.export(&[]));
    let key = &secret.primary_key;
    for (hash, time, counts) in [
        (HashAlgorithm::Sha256, SIGNING, true),
        (HashAlgorithm::Sha1, SIGNING, false),
        (HashAlgorithm::Sha1, "2022-01-01T00:00:00Z", false),
        (HashAlgorithm::Md5, SIGNING, false),
    ] {
        let mut config = draft(SignatureType::CertGeneric, &secret, time);
        config.hash_alg = hash;
        let user = &public.details.users[0].id;
        let certification = config
            .sign_certification_third_party(
                key,
                &Password::empty(),
                &public.primary_key,
                Tag::UserId,
                user,
            )
            .unwrap();
        let mut alice = public.clone();
        alice.details.users[0].signatures.push(certification.clone());
        assert_eq!(
            truststore_of(&alice).is_certified_by(&voucher, at(TODAY)),
            counts,
            "{hash} {time}"
        );
        // On another certificate the same certification says nothing.
        let mut other = mallory.clone();
        other.details.users[0].signatures.push(certification);
        assert!(!truststore_of(&other).is_certified_by(&voucher, at(TODAY)));
    }
}

/// The version 6 key of RFC 9580, appendix A.4.
const VERSION_6_KEY: &str = "\
-----BEGIN PGP PRIVATE KEY BLOCK-----

xUsGY4d/4xsAAAAg+U2nu0jWCmHlZ3BqZYfQMxmZu52JGggkLq2EVD34laMAGXKB
exK+cH6NX1hs5hNhIB00TrJmosgv3mg1ditlsLfCsQYfGwoAAABCBYJjh3/jAwsJ
BwUVCg4IDAIWAAKbAwIeCSIhBssYbE8GCaaX5NUt+mxyKwwfHifBilZwj2Ul7Ce6
2azJBScJAgcCAAAAAK0oIBA+LX0ifsDm185Ecds2v8lwgyU2kCcUmKfvBXbAf6rh
RYWzuQOwEn7E/aLwIwRaLsdry0+VcallHhSu4RN6HWaEQsiPlR4zxP/TP7mhfVEe
7XWPxtnMUMtf15OyA51YBMdLBmOHf+MZAAAAIIaTJINn+eUBXbki+PSAld2nhJh/
LVmFsS+60WyvXkQ1AE1gCk95TUR3XFeibg/u/tVY6a//1q0NWC1X+yui3O24wpsG
GBsKAAAALAWCY4d/4wKbDCIhBssYbE8GCaaX5NUt+mxyKwwfHifBilZwj2Ul7Ce6
2azJAAAAAAQBIKbpGG2dWTX8j+VjFM21J0hqWlEg+bdiojWnKfA5AQpWUWtnNwDE
M0g12vYxoWM8Y81W+bHBw805I8kWVkXU6vFOi+HWvv/ira7ofJu16NnoUkhclkUr
k0mXubZvyl4GBg==
-----END PGP PRIVATE KEY BLOCK-----
";

#[test]
fn a_version_6_key_signs_with_its_salt() {
    let (secret, _headers) = SignedSecretKey::from_armor_single(VERSION_6_KEY.as_bytes()).unwrap();
    let public = secret.to_public_key();
    let certificate = truststore_of(&public);
    assert_eq!(certificate.fingerprint().as_bytes().len(), 32);
    assert_eq!(certificate.name(), "");
    let fingerprint = certificate.fingerprint().to_string();
    let key = &secret.primary_key;
    let sign = |hash: HashAlgorithm, salt: &[u8]| {
        let mut config = SignatureConfig::v6_with_salt(
            SignatureType::Binary,
            key.algorithm(),
            hash,
            salt.to_vec(),
        );
        config.hashed_subpackets = draft(SignatureType::Binary, &secret, SIGNING).hashed_subpackets;
        packet(&config.sign(key, &Password::empty(), CONTENT).unwrap())
    };
    let all = [
        sign(HashAlgorithm::Sha256, &[1; 16]),
        sign(HashAlgorithm::Sha256, &[2; 16]),
        sign(HashAlgorithm::Sha512, &[3; 32]),
        sign(HashAlgorithm::Sha3_512, &[4; 32]),
    ];
    let file = armor("SIGNATURE", &all.concat());
    accepted(judge(&file, std::slice::from_ref(&certificate), TODAY), &fingerprint);
    // Another salt is another signature.
    let mut changed = all[0].clone();
    let salt = changed.windows(16).position(|window| window == [1; 16]).unwrap();
    changed[salt] ^= 1;
    let words = format!("the bytes are not the bytes that {fingerprint} has signed");
    refused(&judge(&armor("SIGNATURE", &changed), &[certificate], TODAY), &words);
}

#[test]
fn signatures_with_different_hash_algorithms_are_all_judged_in_one_pass() {
    let signatures: Vec<u8> = [
        HashAlgorithm::Sha256,
        HashAlgorithm::Sha384,
        HashAlgorithm::Sha512,
        HashAlgorithm::Sha3_256,
        HashAlgorithm::Sha3_512,
    ]
    .into_iter()
    .flat_map(|hash| dearmor(&signed_by_alice(|config| config.hash_alg = hash)))
    .collect();
    let file = armor("SIGNATURE", &signatures);
    accepted(judge(&file, &certificates(&world().truststore), TODAY), &world().alice);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_changed_signature_never_counts_for_anyone_else_and_never_panics(
        position in any::<proptest::sample::Index>(),
        value in any::<u8>(),
    ) {
        let World { by_subkey, truststore, alice, .. } = world();
        let mut bytes = dearmor(by_subkey);
        let position = position.index(bytes.len());
        bytes[position] = value;
        if let Ok(block) = SignatureBlock::parse(&armor("SIGNATURE", &bytes)) {
            let digests = block.hash(&mut &*CONTENT, u64::MAX).unwrap();
            let judgement = block.judge(&digests, &[&certificate(truststore)], at(TODAY));
            assert!(judgement.good.iter().all(|good| good.signer.to_string() == *alice));
            assert_eq!(judgement.good.len() + judgement.refused.len(), 1);
        }
    }

    #[test]
    fn a_changed_truststore_never_panics(
        changes in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..4),
        cut in any::<proptest::sample::Index>(),
        keep in any::<bool>(),
    ) {
        let World { truststore, by_subkey, .. } = world();
        let mut bytes = dearmor(truststore);
        for (position, value) in changes {
            let position = position.index(bytes.len());
            bytes[position] = value;
        }
        if !keep {
            bytes.truncate(cut.index(bytes.len()));
        }
        if let Ok(keyring) = Keyring::parse(&armor("PUBLIC KEY BLOCK", &bytes)) {
            for certificate in &keyring.certificates {
                let again = Keyring::parse(certificate.armored().as_bytes()).unwrap();
                assert_eq!(&again.certificates[0], certificate);
                assert!(!certificate.is_certified_by(certificate, at(TODAY)));
                drop((certificate.name(), certificate.expires(), certificate.has_revocation()));
            }
            drop(judge(by_subkey, &keyring.certificates, TODAY));
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        drop(SignatureBlock::parse(&bytes));
        drop(SignatureBlock::parse(&armor("SIGNATURE", &bytes)));
        drop(Keyring::parse(&bytes));
        drop(Keyring::parse(&armor("PUBLIC KEY BLOCK", &bytes)));
        let length = u8::try_from(bytes.len().min(191)).unwrap();
        for first in [0xc2, 0xc6, 0xce] {
            let packet = [&[first, length][..], &bytes[..usize::from(length)]].concat();
            drop(SignatureBlock::parse(&armor("SIGNATURE", &packet)));
            let key = dearmor(&world().truststore);
            drop(Keyring::parse(&armor("PUBLIC KEY BLOCK", &[packet.clone(), key.clone()].concat())));
            drop(Keyring::parse(&armor("PUBLIC KEY BLOCK", &[key, packet].concat())));
        }
    }
}
