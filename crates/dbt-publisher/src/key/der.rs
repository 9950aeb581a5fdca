//! As much of DER (X.690) as public keys and ECDSA signatures of key services need.

/// A sequence.
pub(crate) const SEQUENCE: u8 = 0x30;
/// An integer.
pub(crate) const INTEGER: u8 = 0x02;
/// A string of bits.
const BIT_STRING: u8 = 0x03;
/// The name of an algorithm.
const OBJECT_ID: u8 = 0x06;

const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
const ELLIPTIC: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
const P256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
const ED25519: &[u8] = &[0x2b, 0x65, 0x70];

/// Takes one value of a kind off the front; returns its content and what follows.
pub(crate) fn take(kind: u8, input: &[u8]) -> Option<(&[u8], &[u8])> {
    let (&found, rest) = input.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81 => (usize::from(*rest.first()?), rest.get(1..)?),
        0x82 => (usize::from(u16::from_be_bytes(rest.get(..2)?.try_into().ok()?)), rest.get(2..)?),
        _ => return None,
    };
    (found == kind).then_some((rest.get(..length)?, rest.get(length..)?))
}

/// Takes a value that is all there is.
fn only(kind: u8, input: &[u8]) -> Option<&[u8]> {
    take(kind, input).filter(|(_content, rest)| rest.is_empty()).map(|(content, _rest)| content)
}

/// Reads two integers in a sequence, as signatures by ECDSA are and public keys of RSA.
pub(crate) fn two_integers(input: &[u8]) -> Option<(&[u8], &[u8])> {
    let (first, rest) = take(INTEGER, only(SEQUENCE, input)?)?;
    Some((first, only(INTEGER, rest)?))
}

/// A public key as key services give it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum PublicNumbers<'a> {
    /// The modulus and the exponent.
    Rsa(&'a [u8], &'a [u8]),
    /// A point of NIST P-256, not compressed.
    P256(&'a [u8]),
    /// A point of Ed25519.
    Ed25519(&'a [u8]),
}

/// Reads a `SubjectPublicKeyInfo` (RFC 5280, 4.1) of a kind that clients accept.
pub(crate) fn public_key(input: &[u8]) -> Option<PublicNumbers<'_>> {
    let (algorithm, key) = take(SEQUENCE, only(SEQUENCE, input)?)?;
    let (name, parameters) = take(OBJECT_ID, algorithm)?;
    let (&unused, key) = only(BIT_STRING, key)?.split_first()?;
    if unused != 0 {
        return None;
    }
    if name == RSA {
        let (modulus, exponent) = two_integers(key)?;
        return Some(PublicNumbers::Rsa(modulus, exponent));
    }
    if name == ELLIPTIC && only(OBJECT_ID, parameters)? == P256 {
        return (key.len() == 65 && key.first() == Some(&4)).then_some(PublicNumbers::P256(key));
    }
    (name == ED25519 && key.len() == 32).then_some(PublicNumbers::Ed25519(key))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_cut_off_or_goes_on_is_nothing() {
        let signature = [SEQUENCE, 6, INTEGER, 1, 5, INTEGER, 1, 7];
        assert_eq!(two_integers(&signature), Some((&[5][..], &[7][..])));
        for length in 0..signature.len() {
            assert_eq!(two_integers(&signature[..length]), None, "{length}");
        }
        assert_eq!(two_integers(&[&signature[..], &[0]].concat()), None);
        assert_eq!(public_key(&signature), None);
    }

    #[test]
    fn an_ed25519_key_is_read() {
        // RFC 8410, section 10.1.
        let mut key = vec![0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0];
        key.extend([7; 32]);
        assert_eq!(public_key(&key), Some(PublicNumbers::Ed25519(&[7; 32])));
        key[8] = 0x71;
        assert_eq!(public_key(&key), None, "Ed448");
    }
}
