//! Version 2: a binary header, whose length stands in it, with typed values (TLVs) behind the addresses.

use std::net::{IpAddr, SocketAddr};

use super::{Addresses, Beginning, Header, MAX_SIZE, Malformed};

pub(super) const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// The signature, version and command, family and transport, and the length of what follows.
pub(super) const FIXED: usize = 16;

pub(super) const LOCAL: u8 = 0x20;
pub(super) const PROXY: u8 = 0x21;
pub(super) const UNSPECIFIED: u8 = 0x00;
pub(super) const TCP_OVER_IPV4: u8 = 0x11;
pub(super) const TCP_OVER_IPV6: u8 = 0x21;

/// Bytes of two paths of Unix sockets.
const UNIX: usize = 2 * 108;
/// The type of the TLV that holds a CRC32C of the whole header, computed with zeros in its place.
const CRC32C: u8 = 0x03;

pub(super) fn parse(bytes: &[u8]) -> Result<Beginning, Malformed> {
    let command = bytes.get(12);
    if command.is_some_and(|command| !matches!(*command, LOCAL | PROXY)) {
        return Err(Malformed::BadCommand);
    }
    let Some(fixed) = bytes.first_chunk::<FIXED>() else {
        return Ok(Beginning::Partial);
    };
    let length = FIXED + usize::from(u16::from_be_bytes([fixed[14], fixed[15]]));
    if length > MAX_SIZE {
        return Err(Malformed::TooLong);
    }
    let addresses = match fixed[12] {
        // The sender speaks for itself, and everything else has to be ignored.
        LOCAL => Size::Ignored,
        _ => Size::of(fixed[13])?,
    };
    let end_of_addresses = match addresses {
        Size::Ignored => FIXED,
        Size::Known(size) => FIXED + size,
    };
    if length < end_of_addresses {
        return Err(Malformed::TooShort);
    }
    let Some(whole) = bytes.get(..length) else {
        return Ok(Beginning::Partial);
    };
    if let Size::Known(_) = addresses {
        check_tlvs(whole, end_of_addresses)?;
    }
    let addresses = match (fixed[12], fixed[13]) {
        (PROXY, TCP_OVER_IPV4) => pair::<4>(&whole[FIXED..]),
        (PROXY, TCP_OVER_IPV6) => pair::<16>(&whole[FIXED..]),
        _ => None,
    };
    Ok(Beginning::Header(Header { length, addresses }))
}

/// Bytes of the two addresses.
#[derive(Clone, Copy)]
enum Size {
    Known(usize),
    /// Nothing behind the fixed part means anything to us.
    Ignored,
}

impl Size {
    fn of(family: u8) -> Result<Self, Malformed> {
        match family {
            0x00 => Ok(Self::Ignored),
            0x11 | 0x12 => Ok(Self::Known(2 * 4 + 2 * 2)),
            0x21 | 0x22 => Ok(Self::Known(2 * 16 + 2 * 2)),
            0x31 | 0x32 => Ok(Self::Known(UNIX)),
            _ => Err(Malformed::BadFamily),
        }
    }
}

/// Two addresses of `N` bytes, then their ports.
fn pair<const N: usize>(bytes: &[u8]) -> Option<Addresses>
where
    [u8; N]: Into<IpAddr>,
{
    let (source, rest) = bytes.split_first_chunk::<N>()?;
    let (destination, rest) = rest.split_first_chunk::<N>()?;
    let (source_port, rest) = rest.split_first_chunk::<2>()?;
    let (destination_port, _) = rest.split_first_chunk::<2>()?;
    let address = |ip: [u8; N], port| SocketAddr::new(ip.into(), u16::from_be_bytes(port));
    Some(Addresses {
        source: address(*source, *source_port),
        destination: address(*destination, *destination_port),
    })
}

/// Walks over the TLVs from `start` to the end. The only one that means something here is the checksum.
fn check_tlvs(header: &[u8], start: usize) -> Result<(), Malformed> {
    let mut at = start;
    let mut checksum = None;
    while at < header.len() {
        let [kind, high, low] = *header[at..].first_chunk::<3>().ok_or(Malformed::BadTlv)?;
        let value = at + 3..at + 3 + usize::from(u16::from_be_bytes([high, low]));
        at = value.end;
        let value_bytes = header.get(value.clone()).ok_or(Malformed::BadTlv)?;
        if kind == CRC32C {
            let stated: [u8; 4] = value_bytes.try_into().map_err(|_| Malformed::BadTlv)?;
            if checksum.replace((value.start, u32::from_be_bytes(stated))).is_some() {
                return Err(Malformed::BadTlv);
            }
        }
    }
    match checksum {
        Some((place, stated)) if stated != crc32c(header, place) => Err(Malformed::BadChecksum),
        _ => Ok(()),
    }
}

/// The CRC32C (Castagnoli, RFC 3720 B.4) of `header` with zeros in the four bytes from `zeros` on. Bit by bit: it is at
/// most 4 KiB, once per connection, and hardly any sender asks for it.
pub(super) fn crc32c(header: &[u8], zeros: usize) -> u32 {
    let byte = |(index, byte): (usize, &u8)| if (zeros..zeros + 4).contains(&index) { 0 } else { *byte };
    let sum = header.iter().enumerate().map(byte).fold(!0_u32, |sum, byte| {
        (0..8).fold(sum ^ u32::from(byte), |sum, _| {
            (sum >> 1) ^ (0x82f6_3b78 & (sum & 1).wrapping_neg())
        })
    });
    !sum
}
