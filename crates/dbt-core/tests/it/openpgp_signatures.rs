//! Whose signatures count, and when.

use std::sync::OnceLock;

use dbt_core::digest::Digest;
use dbt_core::trust::openpgp::{ContentDigests, OverLimit, SignatureBlock};

use super::openpgp_gpg::{
    CONTENT, Gpg, SIGNING, TODAY, accepted, at, certificate, certificates, judge, judge_content,
    refused,
};

/// A key, a signature by it, and a signature with SHA-1 that claims to be of a time when that
/// was normal.
struct Alice {
    fingerprint: String,
    truststore: Vec<u8>,
    signature: Vec<u8>,
}

fn alice() -> &'static Alice {
    static ALICE: OnceLock<Alice> = OnceLock::new();
    ALICE.get_or_init(|| {
        let gpg = Gpg::new();
        let fingerprint = gpg.make_key("Alice", "ed25519", "sign", &[]);
        Alice { truststore: gpg.export(&[]), signature: gpg.sign(&fingerprint), fingerprint }
    })
}

#[test]
fn signatures_by_every_kind_of_key_that_gpg_makes_count() {
    let gpg = Gpg::new();
    for algorithm in
        ["rsa2048", "rsa3072", "rsa4096", "ed25519", "nistp256", "nistp384", "nistp521"]
    {
        let key = gpg.make_key(algorithm, algorithm, "sign", &[]);
        let certificates = certificates(&gpg.export(&[&key]));
        accepted(judge(&gpg.sign(&key), &certificates, TODAY), &key);
        accepted(
            judge(
                &gpg.sign_with(&key, SIGNING, &["--digest-algo", "SHA512"]),
                &certificates,
                TODAY,
            ),
            &key,
        );
    }
}

#[test]
fn a_key_that_gpg_makes_by_default_counts() {
    let gpg = Gpg::new();
    let key = gpg.make_key("Alice", "default", "default", &[]);
    accepted(judge(&gpg.sign(&key), &certificates(&gpg.export(&[])), TODAY), &key);
}

#[test]
fn a_signing_subkey_signs_for_its_certificate() {
    let gpg = Gpg::new();
    let key = gpg.make_key("Alice", "ed25519", "cert", &[]);
    for algorithm in ["ed25519", "rsa2048", "nistp256/ecdsa"] {
        let subkey = gpg.add_signing_subkey(&key, algorithm);
        let signature = gpg.sign_with(&format!("{subkey}!"), SIGNING, &[]);
        accepted(judge(&signature, &certificates(&gpg.export(&[])), TODAY), &key);
    }
}

#[test]
fn two_keys_of_one_certificate_are_one_signer() {
    let gpg = Gpg::new();
    let key = gpg.make_key("Alice", "ed25519", "sign", &[]);
    let subkey = gpg.add_signing_subkey(&key, "ed25519");
    let (primary, subkey) = (format!("{key}!"), format!("{subkey}!"));
    let both = gpg.sign_with(&primary, SIGNING, &["--local-user", &subkey]);
    accepted(judge(&both, &certificates(&gpg.export(&[])), TODAY), &key);
}

#[test]
fn several_signers_of_one_file_are_each_judged() {
    let gpg = Gpg::new();
    let alice = gpg.make_key("Alice", "ed25519", "sign", &[]);
    let bob = gpg.make_key("Bob", "rsa2048", "sign", &[]);
    let carol = gpg.make_key("Carol", "ed25519", "sign", &[]);
    let signature = gpg.sign_with(&alice, SIGNING, &["--local-user", &bob, "--local-user", &carol]);
    let judgement = judge(&signature, &certificates(&gpg.export(&[&alice, &bob])), TODAY);

    let mut signers: Vec<String> =
        judgement.good.iter().map(|good| good.signer.to_string()).collect();
    signers.sort();
    let mut expected = vec![alice, bob];
    expected.sort();
    assert_eq!(signers, expected);
    let words: Vec<String> = judgement.refused.iter().map(ToString::to_string).collect();
    assert_eq!(words, [format!("signed by {carol}, which is not in the truststore")]);
}

#[test]
fn a_key_of_a_kind_that_is_not_accepted_is_named_when_the_truststore_is_read_and_when_it_signs() {
    let gpg = Gpg::new();
    let alice = gpg.make_key("Alice", "ed25519", "sign", &[]);
    let dsa = gpg.make_key("Dora", "dsa1024", "sign", &[]);
    let certificates = certificates(&gpg.export(&[&alice]));
    let signature = gpg.sign_with(&dsa, SIGNING, &["--enable-dsa2", "--digest-algo", "SHA256"]);
    refused(&judge(&signature, &certificates, TODAY), "key algorithm DSA is not accepted");

    let brainpool = gpg.make_key("Brian", "brainpoolP256r1", "sign", &[]);
    let subkey = gpg.add_signing_subkey(&alice, "brainpoolP256r1/ecdsa");
    let signature = gpg.sign_with(&format!("{subkey}!"), SIGNING, &[]);
    let certificate = certificate(&gpg.export(&[&alice]));
    refused(
        &judge(&signature, &[certificate], TODAY),
        "key algorithm ECDSA over brainpoolP256r1 is not accepted",
    );
    let words =
        dbt_core::trust::keys::Keyring::parse(&gpg.export(&[&brainpool])).unwrap_err().to_string();
    assert!(words.ends_with("key algorithm ECDSA over brainpoolP256r1 is not accepted"), "{words}");
}

#[test]
fn a_small_rsa_subkey_signs_nothing() {
    let gpg = Gpg::new();
    let key = gpg.make_key("Alice", "ed25519", "cert", &[]);
    let subkey = gpg.add_signing_subkey(&key, "rsa1024");
    let signature = gpg.sign_with(&format!("{subkey}!"), SIGNING, &[]);
    let words = format!("RSA key {subkey} has only 1024 bits, at least 2048 are needed");
    refused(&judge(&signature, &certificates(&gpg.export(&[])), TODAY), &words);
}

#[test]
fn weak_hash_algorithms_are_refused_whatever_the_date() {
    let gpg = Gpg::new();
    let key = gpg.make_key("Alice", "rsa2048", "sign", &[]);
    let certificates = certificates(&gpg.export(&[]));
    for (algorithm, name) in [("SHA1", "SHA-1"), ("RIPEMD160", "RIPEMD-160"), ("SHA224", "SHA-224")]
    {
        for time in ["2013-01-01T00:00:00Z", SIGNING] {
            let signature = gpg.sign_with(&key, time, &["--digest-algo", algorithm]);
            let words = format!("hash algorithm {name} is not accepted");
            refused(&judge(&signature, &certificates, TODAY), &words);
        }
    }
}

#[test]
fn a_text_mode_signature_is_refused() {
    let gpg = Gpg::new();
    let key = gpg.make_key("Alice", "ed25519", "sign", &[]);
    let signature = gpg.sign_with(&key, SIGNING, &["--textmode"]);
    refused(
        &judge(&signature, &certificates(&gpg.export(&[])), TODAY),
        "text-mode signatures are not accepted, because they do not cover the exact bytes",
    );
}

#[test]
fn a_signature_from_the_future_is_refused_beyond_ten_minutes() {
    let gpg = Gpg::new();
    let key = gpg.make_key("Alice", "ed25519", "sign", &[]);
    let certificates = certificates(&gpg.export(&[]));
    let signature = gpg.sign_with(&key, "2025-01-01T00:10:00Z", &[]);
    accepted(judge(&signature, &certificates, "2025-01-01T00:00:00Z"), &key);
    refused(
        &judge(&signature, &certificates, "2024-12-31T23:59:59Z"),
        "the signature is dated in the future, 2025-01-01T00:10:00Z",
    );
}

#[test]
fn a_signature_older_than_its_key_is_refused() {
    let gpg = Gpg::new();
    let key = gpg.make_key("Alice", "ed25519", "sign", &[]);
    let signature = gpg.sign_with(&key, "2023-12-31T23:59:59Z", &[]);
    let words = format!("made before key {key} existed");
    refused(&judge(&signature, &certificates(&gpg.export(&[])), TODAY), &words);
}

#[test]
fn a_signature_older_than_its_subkey_is_refused() {
    let gpg = Gpg::new();
    let key = gpg.make_key("Alice", "ed25519", "cert", &[]);
    gpg.run("2025-06-01T00:00:00Z", &["--quick-add-key", &key, "ed25519", "sign", "never"], b"");
    let subkey = gpg.fingerprints(&key).pop().unwrap();
    let signature = gpg.sign_with(&format!("{subkey}!"), SIGNING, &[]);
    let words = format!("made before key {subkey} existed");
    refused(&judge(&signature, &certificates(&gpg.export(&[])), TODAY), &words);
}

#[test]
fn a_signature_made_in_time_outlives_its_certificate_and_a_later_one_is_refused() {
    let gpg = Gpg::new();
    let key = gpg.make_key("Alice", "ed25519", "sign", &[]);
    let late = gpg.sign_with(&key, "2025-07-01T00:00:01Z", &[]);
    let at_the_end = gpg.sign_with(&key, "2025-07-01T00:00:00Z", &[]);
    let in_time = gpg.sign_with(&key, "2025-06-30T23:59:59Z", &[]);
    gpg.run("2024-02-01T00:00:00Z", &["--quick-set-expire", &key, "20250701T000000"], b"");
    let certificates = certificates(&gpg.export(&[]));

    let good = accepted(judge(&in_time, &certificates, TODAY), &key);
    assert_eq!(good.certificate_expires, Some(at("2025-07-01T00:00:00Z")));
    assert_eq!(good.made, at("2025-06-30T23:59:59Z"));
    for signature in [late, at_the_end] {
        let words = format!("made after key {key} expired on 2025-07-01");
        refused(&judge(&signature, &certificates, TODAY), &words);
    }
}

#[test]
fn a_certificate_that_was_extended_counts_for_longer() {
    let gpg = Gpg::new();
    let key = gpg.make_key("Alice", "ed25519", "sign", &[]);
    gpg.run("2024-02-01T00:00:00Z", &["--quick-set-expire", &key, "20240701T000000"], b"");
    gpg.run("2024-06-01T00:00:00Z", &["--quick-set-expire", &key, "20270101T000000"], b"");
    let good = accepted(judge(&gpg.sign(&key), &certificates(&gpg.export(&[])), TODAY), &key);
    assert_eq!(good.certificate_expires, Some(at("2027-01-01T00:00:00Z")));
}

#[test]
fn an_expired_subkey_is_refused_although_its_certificate_is_valid() {
    let gpg = Gpg::new();
    let key = gpg.make_key("Alice", "ed25519", "cert", &[]);
    let subkey = gpg.add_signing_subkey(&key, "ed25519");
    let signer = format!("{subkey}!");
    let (in_time, late) =
        (gpg.sign_with(&signer, SIGNING, &[]), gpg.sign_with(&signer, "2025-08-01T00:00:00Z", &[]));
    gpg.run("2024-02-01T00:00:00Z", &["--quick-set-expire", &key, "20250701T000000", &subkey], b"");
    let certificates = certificates(&gpg.export(&[]));
    let good = accepted(judge(&in_time, &certificates, TODAY), &key);
    assert_eq!(good.certificate_expires, Some(at("2025-07-01T00:00:00Z")));
    refused(
        &judge(&late, &certificates, TODAY),
        &format!("made after key {subkey} expired on 2025-07-01"),
    );
}

#[test]
fn nothing_counts_that_a_key_signed_which_was_revoked_without_a_harmless_reason() {
    for reason in ["0", "1"] {
        let gpg = Gpg::new();
        let key = gpg.make_key("Alice", "ed25519", "sign", &[]);
        let before = gpg.sign_with(&key, SIGNING, &[]);
        gpg.revoke(&key, "2025-06-01T00:00:00Z", reason, &[]);
        refused(
            &judge(&before, &certificates(&gpg.export(&[])), TODAY),
            &format!("key {key} is revoked"),
        );
    }
}

#[test]
fn what_was_signed_before_a_key_was_given_up_stays_good() {
    for reason in ["2", "3"] {
        let gpg = Gpg::new();
        let key = gpg.make_key("Alice", "ed25519", "sign", &[]);
        let before = gpg.sign_with(&key, SIGNING, &[]);
        let after = gpg.sign_with(&key, "2025-06-02T00:00:00Z", &[]);
        gpg.revoke(&key, "2025-06-01T00:00:00Z", reason, &[]);
        let certificates = certificates(&gpg.export(&[]));
        assert!(certificates[0].is_revoked());
        accepted(judge(&before, &certificates, TODAY), &key);
        refused(
            &judge(&after, &certificates, TODAY),
            &format!("made after key {key} was revoked on 2025-06-01"),
        );
    }
}

#[test]
fn a_revocation_counts_also_with_sha_1() {
    let gpg = Gpg::new();
    let key = gpg.make_key("Alice", "rsa2048", "sign", &[]);
    let signature = gpg.sign(&key);
    gpg.revoke(&key, "2025-06-01T00:00:00Z", "1", &["--cert-digest-algo", "SHA1"]);
    refused(
        &judge(&signature, &certificates(&gpg.export(&[])), TODAY),
        &format!("key {key} is revoked"),
    );
}

#[test]
fn a_revoked_subkey_signs_nothing_and_its_certificate_still_does() {
    let gpg = Gpg::new();
    let key = gpg.make_key("Alice", "ed25519", "sign", &[]);
    let subkey = gpg.add_signing_subkey(&key, "ed25519");
    let by_subkey = gpg.sign_with(&format!("{subkey}!"), SIGNING, &[]);
    let by_primary = gpg.sign_with(&format!("{key}!"), SIGNING, &[]);
    gpg.revoke_subkey(&key, "2025-06-01T00:00:00Z", "1");
    let certificates = certificates(&gpg.export(&[]));
    assert!(certificates[0].has_revocation() && !certificates[0].is_revoked());
    refused(&judge(&by_subkey, &certificates, TODAY), &format!("key {subkey} is revoked"));
    accepted(judge(&by_primary, &certificates, TODAY), &key);
}

#[test]
fn a_subkey_that_was_given_up_keeps_what_it_signed_before() {
    let gpg = Gpg::new();
    let key = gpg.make_key("Alice", "ed25519", "sign", &[]);
    let subkey = gpg.add_signing_subkey(&key, "ed25519");
    let before = gpg.sign_with(&format!("{subkey}!"), SIGNING, &[]);
    let after = gpg.sign_with(&format!("{subkey}!"), "2025-07-01T00:00:00Z", &[]);
    gpg.revoke_subkey(&key, "2025-06-01T00:00:00Z", "3");
    let certificates = certificates(&gpg.export(&[]));
    accepted(judge(&before, &certificates, TODAY), &key);
    refused(
        &judge(&after, &certificates, TODAY),
        &format!("made after key {subkey} was revoked on 2025-06-01"),
    );
}

#[test]
fn self_signatures_with_sha_1_count_only_if_they_are_old() {
    let gpg = Gpg::new();
    let old = ["--cert-digest-algo", "SHA1"];
    gpg.run(
        "2022-01-01T00:00:00Z",
        &[&old[..], &["--quick-gen-key", "Old", "rsa2048", "sign", "never"]].concat(),
        b"",
    );
    let key = gpg.fingerprints("Old").remove(0);
    accepted(judge(&gpg.sign(&key), &certificates(&gpg.export(&[&key])), TODAY), &key);

    let new = gpg.make_key("New", "rsa2048", "sign", &old);
    let words =
        dbt_core::trust::keys::Keyring::parse(&gpg.export(&[&new])).unwrap_err().to_string();
    assert_eq!(
        words,
        format!(
            "the truststore has no usable certificate: certificate 1 (`{new}`): the certificate has no valid \
             self-signature (SHA-1 counts only before 2023-02-01)"
        )
    );
}

#[test]
fn a_signature_that_was_given_an_end_counts_until_then() {
    let gpg = Gpg::new();
    let key = gpg.make_key("Alice", "ed25519", "sign", &[]);
    let signature = gpg.sign_with(&key, SIGNING, &["--default-sig-expire", "30d"]);
    let certificates = certificates(&gpg.export(&[]));
    accepted(judge(&signature, &certificates, "2025-01-15T00:00:00Z"), &key);
    refused(&judge(&signature, &certificates, TODAY), "the signature itself has expired");
}

#[test]
fn a_signature_over_other_bytes_is_refused() {
    let Alice { fingerprint, truststore, signature } = alice();
    let certificates = certificates(truststore);
    accepted(judge(signature, &certificates, TODAY), fingerprint);
    let mut flipped = CONTENT.to_vec();
    flipped[3] ^= 1;
    for content in [&flipped, &CONTENT[..CONTENT.len() - 1], &[CONTENT, b"\n"].concat(), b""] {
        let words = format!("the bytes are not the bytes that {fingerprint} has signed");
        refused(&judge_content(signature, content, &certificates, TODAY), &words);
    }
}

#[test]
fn an_unknown_signer_is_named_in_full() {
    let gpg = Gpg::new();
    let stranger = gpg.make_key("Mallory", "ed25519", "sign", &[]);
    let words = format!("signed by {stranger}, which is not in the truststore");
    refused(&judge(&gpg.sign(&stranger), &certificates(&alice().truststore), TODAY), &words);
    refused(&judge(&gpg.sign(&stranger), &[], TODAY), &words);
}

#[test]
fn the_notation_says_what_a_signature_was_made_for() {
    let gpg = Gpg::new();
    let key = gpg.make_key("Alice", "ed25519", "sign", &[]);
    let certificates = certificates(&gpg.export(&[]));
    let value = "tool/deploy/1.4.0/linux/amd64";
    let ours = format!("artifact@dbt={value}");
    let signature = gpg.sign_with(
        &key,
        SIGNING,
        &["--sig-notation", "other@example.org=x", "--sig-notation", &ours],
    );
    assert_eq!(accepted(judge(&signature, &certificates, TODAY), &key).notations, [value]);

    let critical = gpg.sign_with(&key, SIGNING, &["--sig-notation", &format!("!{ours}")]);
    assert_eq!(accepted(judge(&critical, &certificates, TODAY), &key).notations, [value]);

    let none = gpg.sign_with(&key, SIGNING, &["--sig-notation", "artifact@dbt.example.org=x"]);
    assert_eq!(accepted(judge(&none, &certificates, TODAY), &key).notations, [""; 0]);
}

#[test]
fn a_critical_notation_that_is_not_ours_is_refused() {
    let gpg = Gpg::new();
    let key = gpg.make_key("Alice", "ed25519", "sign", &[]);
    let signature = gpg.sign_with(&key, SIGNING, &["--sig-notation", "!policy@example.org=strict"]);
    refused(
        &judge(&signature, &certificates(&gpg.export(&[])), TODAY),
        "the signature has a critical notation `policy@example.org`, which is not understood",
    );
}

#[test]
fn a_revoked_certificate_does_not_disable_the_signer_beside_it() {
    let Alice { fingerprint, truststore, signature } = alice();
    let gpg = Gpg::new();
    let revoked = gpg.make_key("Bob", "ed25519", "sign", &[]);
    gpg.revoke(&revoked, "2025-06-01T00:00:00Z", "1", &[]);
    let both = [&gpg.export(&[])[..], truststore].concat();
    accepted(judge(signature, &certificates(&both), TODAY), fingerprint);
}

#[test]
fn one_pass_gives_the_checksum_and_everything_judging_needs() {
    let Alice { fingerprint, truststore, signature } = alice();
    let block = SignatureBlock::parse(signature).unwrap();
    let digests = block.hash(&mut &*CONTENT, CONTENT.len() as u64).unwrap();
    assert_eq!((digests.sha256(), digests.length()), (Digest::of(CONTENT), CONTENT.len() as u64));

    let remembered = serde_json::to_string(&digests).unwrap();
    let remembered: ContentDigests = serde_json::from_str(&remembered).unwrap();
    assert_eq!(remembered, digests);
    let certificate = certificate(truststore);
    accepted(block.judge(&remembered, &[&certificate], at(TODAY)), fingerprint);
}

#[test]
fn content_that_is_too_long_is_not_read_to_its_end() {
    let block = SignatureBlock::parse(&alice().signature).unwrap();
    let error = block.hash(&mut std::io::repeat(7), 1_000_000).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::FileTooLarge);
    let limit = error.get_ref().unwrap().downcast_ref::<OverLimit>();
    assert_eq!(limit, Some(&OverLimit { at_most: 1_000_000 }));
    assert!(block.hash(&mut &*CONTENT, CONTENT.len() as u64 - 1).is_err());
}

#[test]
fn digests_of_another_signature_are_not_believed() {
    let Alice { truststore, signature, .. } = alice();
    let gpg = Gpg::new();
    let other = gpg.make_key("Bob", "ed25519", "sign", &[]);
    let other = SignatureBlock::parse(&gpg.sign(&other)).unwrap();
    let digests = other.hash(&mut &*CONTENT, u64::MAX).unwrap();
    let block = SignatureBlock::parse(signature).unwrap();
    let judgement = block.judge(&digests, &[&certificate(truststore)], at(TODAY));
    refused(&judgement, "the digests belong to another signature");
}
