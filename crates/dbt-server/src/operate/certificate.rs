//! Until when a certificate is valid: as much of X.509 as says that.

use std::time::SystemTime;

use crate::authn::ldap::ber::{self, Element};
use crate::time;

/// Times before 2050, with two digits of the year.
const UTC_TIME: u8 = 0x17;
/// Times with four digits of the year.
const GENERALIZED_TIME: u8 = 0x18;
/// Before the version, which the oldest certificates do not have.
const VERSION: u8 = 0xa0;

/// Returns until when a certificate (DER) is valid; nothing for what is none.
pub(super) fn end(certificate: &[u8]) -> Option<SystemTime> {
    let (whole, _rest) = Element::first(certificate)?;
    let signed = whole.inside()?.into_iter().next()?;
    let parts = signed.inside()?;
    let parts = match parts.split_first()? {
        (first, rest) if first.tag == VERSION => rest,
        _ => parts.as_slice(),
    };
    // Serial number, algorithm, issuer, validity.
    let validity = parts.get(3).filter(|it| it.tag == ber::SEQUENCE)?.inside()?;
    moment(*validity.get(1)?)
}

fn moment(element: Element<'_>) -> Option<SystemTime> {
    let text = element.text()?;
    let text = match element.tag {
        UTC_TIME => {
            let two: u32 = text.get(..2)?.parse().ok()?;
            format!("{}{text}", if two < 50 { "20" } else { "19" })
        }
        GENERALIZED_TIME => text.to_owned(),
        _ => return None,
    };
    let digits = text.strip_suffix('Z').filter(|text| text.len() == 14)?;
    let part = |from: usize, to: usize| digits.get(from..to)?.parse().ok();
    let (day, hour) = ((part(0, 4)?, part(4, 6)?, part(6, 8)?), part(8, 10)?);
    time::of_civil(day, (hour, part(10, 12)?, part(12, 14)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use dbt_testkit::tls::Authority;
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject as _;

    fn time(tag: u8, text: &str) -> Option<String> {
        moment(Element { tag, content: text.as_bytes() }).map(time::rfc_3339)
    }

    #[test]
    fn both_forms_of_time_are_read_and_nothing_else() {
        for (tag, text, expected) in [
            (UTC_TIME, "491231235959Z", Some("2049-12-31T23:59:59Z")),
            (UTC_TIME, "500101000000Z", None),
            (UTC_TIME, "990101000000Z", Some("1999-01-01T00:00:00Z")),
            (GENERALIZED_TIME, "20500101000000Z", Some("2050-01-01T00:00:00Z")),
            (GENERALIZED_TIME, "99991231235959Z", Some("9999-12-31T23:59:59Z")),
            (GENERALIZED_TIME, "20240229120000Z", Some("2024-02-29T12:00:00Z")),
            (GENERALIZED_TIME, "20501301000000Z", None),
            (GENERALIZED_TIME, "20500101000000", None),
            (GENERALIZED_TIME, "20500101000000+0100", None),
            (GENERALIZED_TIME, "2050-01-01T00Z", None),
            (UTC_TIME, "", None),
            (ber::OCTETS, "491231235959Z", None),
        ] {
            assert_eq!(time(tag, text).as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn of_a_certificate_it_is_the_end_and_what_is_cut_has_none() {
        let (pem, _key) = Authority::new("ours").server_files_until("localhost", 2031, 2, 3);
        let certificate = CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
        assert_eq!(end(&certificate).map(time::rfc_3339).as_deref(), Some("2031-02-03T00:00:00Z"));
        for length in 0..certificate.len() {
            assert_eq!(end(&certificate[..length]), None, "{length}");
        }
    }
}
