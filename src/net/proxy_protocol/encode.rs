//! The header as a sender writes it.

use std::net::{IpAddr, SocketAddr};

use super::binary;

/// Which form of the header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// A line of text.
    V1,
    /// Binary.
    V2,
}

/// The header for a client at `source` that has connected to `destination`.
///
/// Where only one of them is IPv6, the other is written as an IPv4-mapped address, since a header has one family.
pub fn encode(version: Version, source: SocketAddr, destination: SocketAddr) -> Vec<u8> {
    let (source_ip, destination_ip) = one_family(source.ip(), destination.ip());
    let ports = [source.port(), destination.port()];
    match version {
        Version::V1 => {
            let family = if source_ip.is_ipv4() { "TCP4" } else { "TCP6" };
            let [source_port, destination_port] = ports;
            format!("PROXY {family} {source_ip} {destination_ip} {source_port} {destination_port}\r\n").into_bytes()
        }
        Version::V2 => {
            let mut rest = Vec::with_capacity(2 * (16 + 2));
            for ip in [source_ip, destination_ip] {
                match ip {
                    IpAddr::V4(ip) => rest.extend(ip.octets()),
                    IpAddr::V6(ip) => rest.extend(ip.octets()),
                }
            }
            rest.extend(ports.iter().flat_map(|port| port.to_be_bytes()));
            let family = if source_ip.is_ipv4() {
                binary::TCP_OVER_IPV4
            } else {
                binary::TCP_OVER_IPV6
            };
            let length = u16::try_from(rest.len()).expect("two addresses are at most 36 bytes");
            let mut header = Vec::with_capacity(binary::FIXED + rest.len());
            header.extend(binary::SIGNATURE);
            header.extend([binary::PROXY, family]);
            header.extend(length.to_be_bytes());
            header.extend(rest);
            header
        }
    }
}

/// The header of a connection that is the sender's own, behind which there is no client.
pub fn encode_own(version: Version) -> Vec<u8> {
    match version {
        Version::V1 => b"PROXY UNKNOWN\r\n".to_vec(),
        Version::V2 => [binary::SIGNATURE, &[binary::LOCAL, binary::UNSPECIFIED, 0, 0]].concat(),
    }
}

fn one_family(source: IpAddr, destination: IpAddr) -> (IpAddr, IpAddr) {
    let mapped = |ip: IpAddr| match ip {
        IpAddr::V4(ip) => IpAddr::V6(ip.to_ipv6_mapped()),
        IpAddr::V6(_) => ip,
    };
    match (source.to_canonical(), destination.to_canonical()) {
        (source @ IpAddr::V4(_), destination @ IpAddr::V4(_)) => (source, destination),
        (source, destination) => (mapped(source), mapped(destination)),
    }
}
