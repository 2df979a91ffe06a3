//! An IP address as text.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The longest IPv6 address: eight groups of four digits.
const LONGEST: usize = 39;

/// An IP address as text (RFC 5952), in no memory but its own: with the formatter of the standard library, it took 4 % of
/// the instructions of a connection with one request.
#[derive(Clone, Copy)]
pub struct IpText {
    bytes: [u8; LONGEST],
    length: u8,
}

impl IpText {
    pub fn new(ip: IpAddr) -> Self {
        match ip {
            IpAddr::V4(ip) => Self::v4(ip),
            IpAddr::V6(ip) => Self::v6(ip),
        }
    }

    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }

    const EMPTY: Self = Self {
        bytes: [0; LONGEST],
        length: 0,
    };

    fn v4(ip: Ipv4Addr) -> Self {
        let mut text = Self::EMPTY;
        for (place, octet) in ip.octets().into_iter().enumerate() {
            if place > 0 {
                text.push(b".");
            }
            text.push(itoa::Buffer::new().format(octet).as_bytes());
        }
        text
    }

    fn v6(ip: Ipv6Addr) -> Self {
        let mut text = Self::EMPTY;
        text.push(ip.to_string().as_bytes());
        text
    }

    fn push(&mut self, part: &[u8]) {
        let start = usize::from(self.length);
        self.bytes[start..start + part.len()].copy_from_slice(part);
        self.length += part.len() as u8;
    }
}

impl std::fmt::Debug for IpText {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}", self.as_bytes().escape_ascii())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_longest_addresses_fit() {
        for ip in [
            "255.255.255.255",
            "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
            "::",
            "0.0.0.0",
        ] {
            let parsed: IpAddr = ip.parse().expect("an address");
            assert_eq!(IpText::new(parsed).as_bytes(), ip.as_bytes());
        }
    }

    proptest! {
        #[test]
        fn the_text_is_that_of_the_standard_library(ip: IpAddr) {
            // An address that was mapped is the client's IPv4 address by then, and would be longer than all others.
            let ip = ip.to_canonical();
            let (text, expected) = (IpText::new(ip), ip.to_string());
            prop_assert_eq!(text.as_bytes(), expected.as_bytes());
        }
    }
}
