//! Keys and signatures whose numbers are not what they should be: worthless points, numbers out
//! of range, and the second signature that every ECDSA signature has.

use dbt_core::trust::keys::Keyring;
use dbt_core::trust::openpgp::SignatureBlock;

use super::openpgp_gpg::{
    Gpg, SIGNING, TODAY, accepted, armor, certificates, dearmor, judge, refused,
};

/// An Ed25519 certificate whose key is the neutral point. Everything that it is said to have
/// signed satisfies the equation of RFC 8032, and needs no secret.
const SMALL_ORDER: &[u8] = include_bytes!("../../../dbt-testkit/src/hostile/small-order.asc");

/// What it is said to have signed: the content of these tests.
const FORGED: &[u8] = b"-----BEGIN PGP SIGNATURE-----

wksEABYIAB0Fgmd0hYAWIQTiamOuryeUBnU12mGnVqvagT31LQAAhuMA+QEAAAAA
AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=
-----END PGP SIGNATURE-----
";

/// The number of points of P-256, and of the part of Ed25519 that is used; the second as keys and
/// signatures write it, its lowest byte first.
const P256_ORDER: [u8; 32] = [
    0xff, 0xff, 0xff, 0xff, 0x00, 0x00, 0x00, 0x00, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    0xbc, 0xe6, 0xfa, 0xad, 0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
];
const ED25519_ORDER: [u8; 32] = [
    0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14,
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x10,
];

#[test]
fn a_key_for_which_every_signature_is_right_is_not_accepted() {
    let words = "anybody can make signatures that this key accepts (it is a point of small order)";
    let alone = Keyring::parse(SMALL_ORDER).unwrap_err().to_string();
    assert!(alone.ends_with(words), "{alone}");

    let gpg = Gpg::new();
    let alice = gpg.make_key("Alice", "ed25519", "sign", &[]);
    let both = [gpg.export(&[&alice]), SMALL_ORDER.to_vec()].concat();
    let keyring = Keyring::parse(&both).unwrap();
    assert_eq!(keyring.certificates.len(), 1);
    assert_eq!(keyring.skipped.len(), 1);
    assert!(SignatureBlock::parse(FORGED).is_ok(), "it is well-formed");
    let nobody =
        "signed by E26A63AEAF2794067535DA61A756ABDA813DF52D, which is not in the truststore";
    refused(&judge(FORGED, &keyring.certificates, TODAY), nobody);
}

/// A signature packet up to its numbers, and the numbers.
fn taken_apart(armored: &[u8]) -> (Vec<u8>, Vec<Vec<u8>>) {
    let packet = dearmor(armored);
    // `gpg` writes one byte of length, in the old form.
    assert_eq!(packet[0], 0x88);
    let body = &packet[2..];
    let length = |at: usize| usize::from(u16::from_be_bytes([body[at], body[at + 1]]));
    let unhashed = 6 + length(4);
    let mut at = unhashed + 2 + length(unhashed) + 2;
    let head = body[..at].to_vec();
    let mut numbers = Vec::new();
    while at < body.len() {
        let bytes = length(at).div_ceil(8);
        numbers.push(body[at + 2..at + 2 + bytes].to_vec());
        at += 2 + bytes;
    }
    (head, numbers)
}

/// The same with other numbers.
fn with_numbers(head: &[u8], numbers: &[Vec<u8>]) -> Vec<u8> {
    let mut body = head.to_vec();
    for number in numbers {
        let number: Vec<u8> = number.iter().copied().skip_while(|byte| *byte == 0).collect();
        let bits =
            number.first().map_or(0, |first| number.len() * 8 - first.leading_zeros() as usize);
        body.extend(u16::try_from(bits).unwrap().to_be_bytes());
        body.extend(number);
    }
    let header = [0x88, u8::try_from(body.len()).unwrap()];
    armor("SIGNATURE", &[&header[..], &body].concat())
}

/// `a - b`, the highest byte first.
fn difference(a: [u8; 32], b: &[u8]) -> Vec<u8> {
    let mut difference = a;
    let mut borrowed = 0;
    for place in 0..32 {
        let take = b.len().checked_sub(place + 1);
        let take = take.map_or(0, |at| i16::from(b[at])) + borrowed;
        let left = i16::from(a[31 - place]) - take;
        borrowed = i16::from(left < 0);
        difference[31 - place] = u8::try_from(left.rem_euclid(256)).unwrap();
    }
    difference.to_vec()
}

/// `a + b`, the lowest byte first.
fn sum(a: &[u8], b: [u8; 32]) -> Vec<u8> {
    let mut sum = b;
    let mut carried = 0;
    for (place, byte) in sum.iter_mut().enumerate() {
        let added = u16::from(*byte) + a.get(place).map_or(0, |byte| u16::from(*byte)) + carried;
        *byte = u8::try_from(added % 256).unwrap();
        carried = added / 256;
    }
    sum.to_vec()
}

#[test]
fn numbers_out_of_range_are_no_signature() {
    let gpg = Gpg::new();
    for (algorithm, order) in [("nistp256", P256_ORDER), ("ed25519", ED25519_ORDER)] {
        let alice = gpg.make_key(algorithm, algorithm, "sign", &[]);
        let certificates = certificates(&gpg.export(&[&alice]));
        let signature = gpg.sign_with(&format!("{alice}!"), SIGNING, &[]);
        let (head, numbers) = taken_apart(&signature);
        accepted(judge(&with_numbers(&head, &numbers), &certificates, TODAY), &alice);
        let (r, s) = (numbers[0].clone(), numbers[1].clone());
        let (zero, one, order) = (Vec::new(), vec![1], order.to_vec());
        for wrong in [
            [zero.clone(), zero.clone()],
            [r.clone(), zero.clone()],
            [zero, s.clone()],
            [one.clone(), one],
            [order.clone(), s.clone()],
            [r.clone(), order.clone()],
            [order.clone(), order],
            [s.clone(), r.clone()],
            [r.clone(), vec![0xff; 32]],
            [vec![0xff; 33], s.clone()],
            [vec![0xff; 60], s],
        ] {
            let changed = with_numbers(&head, &wrong);
            if SignatureBlock::parse(&changed).is_err() {
                continue;
            }
            let judgement = judge(&changed, &certificates, TODAY);
            assert!(judgement.good.is_empty(), "{algorithm}: {wrong:?}");
        }
        assert!(SignatureBlock::parse(&with_numbers(&head, &[r])).is_err(), "one is missing");
    }
}

#[test]
fn a_number_of_ed25519_is_written_in_one_way() {
    let gpg = Gpg::new();
    let alice = gpg.make_key("Alice", "ed25519", "sign", &[]);
    let certificates = certificates(&gpg.export(&[&alice]));
    let (head, numbers) = taken_apart(&gpg.sign_with(&format!("{alice}!"), SIGNING, &[]));
    // The number stands there with its highest bytes at the end, and loses zeros at its begin.
    let mut s = vec![0; 32 - numbers[1].len()];
    s.extend(&numbers[1]);
    let other = with_numbers(&head, &[numbers[0].clone(), sum(&s, ED25519_ORDER)]);
    assert!(judge(&other, &certificates, TODAY).good.is_empty());
}

#[test]
fn the_mirror_image_of_an_ecdsa_signature_says_the_same_of_the_same_bytes() {
    let gpg = Gpg::new();
    let alice = gpg.make_key("Alice", "nistp256", "sign", &[]);
    let certificates = certificates(&gpg.export(&[&alice]));
    let (head, numbers) = taken_apart(&gpg.sign_with(&format!("{alice}!"), SIGNING, &[]));
    let mirrored = with_numbers(&head, &[numbers[0].clone(), difference(P256_ORDER, &numbers[1])]);
    // Anybody can make it from the other, and it proves the same. Nothing here identifies
    // anything by the bytes of a signature.
    accepted(judge(&mirrored, &certificates, TODAY), &alice);
}
