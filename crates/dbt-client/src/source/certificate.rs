//! Who signed a certificate, in words.
//!
//! rustls says that nobody known signed a certificate, and not who did: the one thing that tells a
//! company's proxy from an attack. Nothing here decides anything.

use std::fmt;

use rustls::pki_types::CertificateDer;

/// The longest name that is shown.
const LONGEST: usize = 100;

/// Who signed the last certificate of a chain that was presented.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Issuer {
    /// Somebody of this name.
    Named(String),
    /// Only the server's certificate itself.
    Itself,
}

/// Returns who is missing: the issuer of the last certificate that a server presented, beginning
/// with its own and going on as far as the others fit.
pub(super) fn missing_issuer(
    end_entity: &CertificateDer<'_>,
    others: &[CertificateDer<'_>],
) -> Option<Issuer> {
    let mut last = Names::of(end_entity)?;
    if last.issuer == last.subject {
        return Some(Issuer::Itself);
    }
    let others: Vec<_> = others.iter().filter_map(|other| Names::of(other)).collect();
    for _ in 0..others.len() {
        let next = others.iter().find(|other| other.subject == last.issuer);
        match next {
            Some(next) if last.issuer != last.subject => last = *next,
            Some(_) | None => break,
        }
    }
    said(last.issuer).map(Issuer::Named)
}

/// Two names of a certificate, as they are encoded.
#[derive(Clone, Copy)]
struct Names<'a> {
    issuer: &'a [u8],
    subject: &'a [u8],
}

impl<'a> Names<'a> {
    /// Finds them (RFC 5280, 4.1): version, serial number, algorithm, issuer, validity, subject.
    fn of(certificate: &'a CertificateDer<'_>) -> Option<Self> {
        let (certificate, _) = Element::read(certificate.as_ref())?;
        let (tbs, _) = Element::read(certificate.content)?;
        let (first, rest) = Element::read(tbs.content)?;
        let rest = if first.tag == VERSION { Element::read(rest)?.1 } else { rest };
        let (_algorithm, rest) = Element::read(rest)?;
        let (issuer, rest) = Element::read(rest)?;
        let (_validity, rest) = Element::read(rest)?;
        let (subject, _) = Element::read(rest)?;
        Some(Self { issuer: issuer.content, subject: subject.content })
    }
}

const VERSION: u8 = 0xA0;
const BMP_STRING: u8 = 0x1E;
const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];
const ORGANISATION: &[u8] = &[0x55, 0x04, 0x0A];

/// Returns a name's common name and organisation.
fn said(mut name: &[u8]) -> Option<String> {
    let (mut common, mut organisation) = (None, None);
    while !name.is_empty() {
        let (set, rest) = Element::read(name)?;
        let (pair, _) = Element::read(set.content)?;
        let (kind, value) = Element::read(pair.content)?;
        let (value, _) = Element::read(value)?;
        match kind.content {
            COMMON_NAME => common = Some(value.text()),
            ORGANISATION => organisation = Some(value.text()),
            _ => {}
        }
        name = rest;
    }
    let words = match (common, organisation) {
        (Some(common), Some(organisation)) if !common.contains(&organisation) => {
            format!("{common} ({organisation})")
        }
        (Some(only), _) | (None, Some(only)) => only,
        (None, None) => return None,
    };
    // Whoever answers writes what is here, and nothing is known of them yet.
    let harmless = |c: char| if c.is_control() { '\u{FFFD}' } else { c };
    Some(words.chars().take(LONGEST).map(harmless).collect())
}

/// One element of DER.
struct Element<'a> {
    tag: u8,
    content: &'a [u8],
}

impl<'a> Element<'a> {
    /// Reads the first element; returns what follows it too.
    fn read(bytes: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let (&tag, rest) = bytes.split_first()?;
        let (&first, rest) = rest.split_first()?;
        let (length, rest) = if first < 0x80 {
            (usize::from(first), rest)
        } else {
            let (length, rest) = rest.split_at_checked(usize::from(first & 0x7F))?;
            // No certificate has 16 MiB.
            if length.len() > 3 {
                return None;
            }
            (length.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte)), rest)
        };
        let (content, rest) = rest.split_at_checked(length)?;
        Some((Self { tag, content }, rest))
    }

    fn text(&self) -> String {
        if self.tag != BMP_STRING {
            return String::from_utf8_lossy(self.content).into_owned();
        }
        let units = self.content.chunks_exact(2).filter_map(|pair| <[u8; 2]>::try_from(pair).ok());
        let units: Vec<u16> = units.map(u16::from_be_bytes).collect();
        String::from_utf16_lossy(&units)
    }
}

/// A certificate that nobody known signed; travels through rustls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Unknown {
    pub(super) issuer: Option<Issuer>,
    /// Places named by the environment that could not be used.
    pub(super) unused: Vec<String>,
}

impl fmt::Display for Unknown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("nobody known signed the certificate")
    }
}

impl std::error::Error for Unknown {}

#[cfg(test)]
mod tests {
    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};

    use super::*;

    fn params(common: &str, organisation: &str) -> CertificateParams {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, common);
        if !organisation.is_empty() {
            params.distinguished_name.push(DnType::OrganizationName, organisation);
        }
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params
    }

    fn key() -> KeyPair {
        KeyPair::generate().unwrap()
    }

    #[test]
    fn the_missing_authority_is_named_however_long_the_chain_is() {
        let root = CertifiedIssuer::self_signed(params("Root", "Acme"), key()).unwrap();
        let middle = CertifiedIssuer::signed_by(params("Middle", ""), key(), &root).unwrap();
        let leaf = params("leaf", "").signed_by(&key(), &middle).unwrap();
        let named = |text: &str| Some(Issuer::Named(text.to_owned()));
        assert_eq!(missing_issuer(leaf.der(), &[]), named("Middle"));
        let chain = [middle.der().clone()];
        assert_eq!(missing_issuer(leaf.der(), &chain), named("Root (Acme)"));
        // In any order, with the root, and with what does not belong there.
        let stray = params("stray", "").self_signed(&key()).unwrap();
        let chain = [stray.der().clone(), root.der().clone(), middle.der().clone()];
        assert_eq!(missing_issuer(leaf.der(), &chain), named("Root (Acme)"));
        assert_eq!(missing_issuer(root.der(), &[]), Some(Issuer::Itself));
    }

    #[test]
    fn what_is_no_certificate_has_no_issuer_and_harms_nobody() {
        let good = params("leaf", "").self_signed(&key()).unwrap();
        let good = good.der().as_ref();
        for end in 0..good.len().min(200) {
            let cut = CertificateDer::from(good.get(..end).unwrap().to_vec());
            assert_eq!(missing_issuer(&cut, &[]), None, "{end}");
        }
        for byte in 0..=u8::MAX {
            let mut bad = good.to_vec();
            for at in 0..80 {
                bad[at] = byte;
                let _any = missing_issuer(&CertificateDer::from(bad.clone()), &[]);
            }
        }
    }

    #[test]
    fn a_name_is_short_whatever_was_written() {
        let long = params(&"x".repeat(10_000), "");
        let leaf = CertifiedIssuer::self_signed(long, key()).unwrap();
        let other = params("leaf", "").signed_by(&key(), &leaf).unwrap();
        let Some(Issuer::Named(name)) = missing_issuer(other.der(), &[]) else { panic!() };
        assert_eq!(name.len(), LONGEST);
    }

    #[test]
    fn a_name_is_one_line_whatever_was_written() {
        let lines =
            CertifiedIssuer::self_signed(params("X\nerror: no", "\u{1b}[2J"), key()).unwrap();
        let other = params("leaf", "").signed_by(&key(), &lines).unwrap();
        let named = Issuer::Named("X\u{FFFD}error: no (\u{FFFD}[2J)".to_owned());
        assert_eq!(missing_issuer(other.der(), &[]), Some(named));
    }
}
