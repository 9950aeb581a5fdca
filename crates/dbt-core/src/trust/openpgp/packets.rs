//! The framing of `OpenPGP` packets (RFC 9580, section 4.2), so that we decide ourselves what may
//! stand where: the library's reader skips what it does not know.

/// One packet: its type and its body, header removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::trust) struct Packet<'a> {
    pub(in crate::trust) tag: u8,
    pub(in crate::trust) body: &'a [u8],
}

/// Packet types (RFC 9580, section 5).
pub(in crate::trust) mod tag {
    pub(in crate::trust) const SIGNATURE: u8 = 2;
    pub(in crate::trust) const SECRET_KEY: u8 = 5;
    pub(in crate::trust) const PUBLIC_KEY: u8 = 6;
    pub(in crate::trust) const SECRET_SUBKEY: u8 = 7;
    pub(in crate::trust) const MARKER: u8 = 10;
    pub(in crate::trust) const TRUST: u8 = 12;
    pub(in crate::trust) const USER_ID: u8 = 13;
    pub(in crate::trust) const PUBLIC_SUBKEY: u8 = 14;
    pub(in crate::trust) const USER_ATTRIBUTE: u8 = 17;
    pub(in crate::trust) const PADDING: u8 = 21;
    /// From here on, an unknown packet may be ignored (RFC 9580, section 4.3).
    pub(in crate::trust) const FIRST_NON_CRITICAL: u8 = 40;
}

/// Some bytes are not a sequence of whole packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a sequence of whole OpenPGP packets")]
pub(in crate::trust) struct BadFraming;

/// Walks over the packets in `bytes`. After an error nothing more comes.
///
/// Lengths must be stated: partial and indeterminate ones are for streams of data and have no
/// place in keys and detached signatures.
pub(in crate::trust) fn packets(
    bytes: &[u8],
) -> impl Iterator<Item = Result<Packet<'_>, BadFraming>> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let Some((packet, after)) = split_first(rest) else {
            rest = &[];
            return Some(Err(BadFraming));
        };
        rest = after;
        Some(Ok(packet))
    })
}

fn split_first(bytes: &[u8]) -> Option<(Packet<'_>, &[u8])> {
    let (first, rest) = bytes.split_first()?;
    let (tag, length, rest) = match first >> 6 {
        0b11 => {
            let (length, rest) = new_length(rest)?;
            (first & 0x3f, length, rest)
        }
        0b10 => {
            let width = match first & 0b11 {
                0 => 1,
                1 => 2,
                2 => 4,
                _ => return None,
            };
            let (length, rest) = big_endian(rest, width)?;
            ((first >> 2) & 0x0f, length, rest)
        }
        _ => return None,
    };
    if tag == 0 {
        return None;
    }
    let (body, rest) = rest.split_at_checked(length)?;
    Some((Packet { tag, body }, rest))
}

fn new_length(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let (first, rest) = bytes.split_first()?;
    match first {
        0..=191 => Some((usize::from(*first), rest)),
        192..=223 => {
            let (second, rest) = rest.split_first()?;
            Some((((usize::from(*first) - 192) << 8) + usize::from(*second) + 192, rest))
        }
        224..=254 => None,
        255 => big_endian(rest, 4),
    }
}

fn big_endian(bytes: &[u8], width: usize) -> Option<(usize, &[u8])> {
    let (digits, rest) = bytes.split_at_checked(width)?;
    let value = digits.iter().fold(0_u64, |value, byte| (value << 8) | u64::from(*byte));
    Some((usize::try_from(value).ok()?, rest))
}

/// Appends a packet in the current format, with the longest length encoding.
pub(in crate::trust) fn write(out: &mut Vec<u8>, tag: u8, body: &[u8]) {
    out.push(0b1100_0000 | tag);
    out.push(255);
    // A body never comes near four gigabytes: what we write, we have read below a limit.
    let length = u32::try_from(body.len()).unwrap_or(u32::MAX);
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(body);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(bytes: &[u8]) -> Result<Vec<(u8, Vec<u8>)>, BadFraming> {
        packets(bytes)
            .map(|packet| packet.map(|packet| (packet.tag, packet.body.to_vec())))
            .collect()
    }

    #[test]
    fn both_header_formats_are_read() {
        assert_eq!(all(&[0x88, 1, 7, 0xc2, 2, 8, 9]), Ok(vec![(2, vec![7]), (2, vec![8, 9])]));
        assert_eq!(all(&[0x99, 0, 1, 5]), Ok(vec![(6, vec![5])]));
        assert_eq!(all(&[0xc2, 255, 0, 0, 0, 1, 5]), Ok(vec![(2, vec![5])]));
        let long = [&[0xc2, 192, 1][..], &[1; 193]].concat();
        assert_eq!(all(&long), Ok(vec![(2, vec![1; 193])]));
    }

    #[test]
    fn a_written_packet_is_read_back() {
        let mut bytes = Vec::new();
        write(&mut bytes, tag::USER_ID, b"Alice");
        assert_eq!(all(&bytes), Ok(vec![(13, b"Alice".to_vec())]));
    }

    #[test]
    fn partial_indeterminate_short_and_reserved_packets_are_refused() {
        for bytes in [
            &[0xc2, 0xe0, 1][..],
            &[0x8b, 1],
            &[0xc2, 5, 1],
            &[0xc2],
            &[0xc2, 255, 0xff, 0xff, 0xff, 0xff],
            &[0x2d, 0x2d],
            &[0xc0, 0],
        ] {
            assert_eq!(all(bytes), Err(BadFraming), "{bytes:?}");
        }
    }
}
