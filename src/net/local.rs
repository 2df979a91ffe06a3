//! Which addresses are this machine's.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
};

use netlink_packet_core::{NLM_F_REQUEST, NLMSG_ERROR, NetlinkBuffer};
use netlink_sys::{Socket, SocketAddr as NetlinkAddr, protocols::NETLINK_ROUTE};

/// Lengths in bytes of `struct nlmsghdr` and `struct rtmsg`, and where in the latter the type of the route stands.
const NETLINK_HEADER: usize = 16;
const ROUTE: usize = 12;
const ROUTE_TYPE: usize = 7;

/// How a source address is this machine's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// `bind()` takes it: an address of an interface, or, for IPv4, one of a prefix with a local route.
    Assigned,
    /// One of an IPv6 prefix with a local route (`ip -6 route add local fd00:1::/64 dev lo`); `bind()` takes it with
    /// `IPV6_FREEBIND` only.
    Routed,
}

/// Which source address the kernel chooses for a connection to `destination`; `None` where it knows no way there.
/// Sends nothing. A policy route by port or protocol is not seen.
pub fn source_towards(destination: IpAddr) -> Option<IpAddr> {
    let socket = UdpSocket::bind((unspecified(destination), 0)).ok()?;
    // "discard": any port but 0 does.
    socket.connect((destination, 9)).ok()?;
    socket.local_addr().ok().map(|address| address.ip())
}

fn unspecified(like: IpAddr) -> IpAddr {
    match like {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    }
}

/// Whether connections can be opened from `address` now, and how.
///
/// A `bind()` alone would not tell: it takes any address where `ip_nonlocal_bind` is 1 and any IPv6 address with
/// `IPV6_FREEBIND`, and the answers to such a connection would never come back. So the routing table is asked whether it
/// delivers what is sent to the address to this machine itself. (`/proc/net/ipv6_route` would not do: it mixes all
/// tables, also one that only marked packets use, as for transparent proxying.) No privilege is needed.
/// Takes 20 µs.
///
/// # Errors
/// `AddrNotAvailable`: it is not on this machine, or not yet (IPv6 looks for duplicates first). `InvalidInput`: it can
/// be no source at all. Others of `bind()`, such as too many open files.
pub fn check_source(address: IpAddr) -> io::Result<Reach> {
    if address.is_unspecified() {
        return Err(invalid("the unspecified address is no source address"));
    }
    if matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local()) {
        return Err(invalid("a link-local address needs its interface"));
    }
    let bound = UdpSocket::bind(SocketAddr::new(address, 0));
    match (bound, is_delivered_here(address)) {
        (Ok(_), Ok(Delivery::Here)) => Ok(Reach::Assigned),
        (Ok(_), Ok(Delivery::Elsewhere)) => Err(not_here()),
        // Where the routing table cannot be asked, there is only the word of `bind()`.
        (Ok(_), Err(_)) => Ok(Reach::Assigned),
        (Err(error), delivery) if error.kind() == io::ErrorKind::AddrNotAvailable => match delivery {
            Ok(Delivery::Here) if address.is_ipv6() => Ok(Reach::Routed),
            _ => Err(not_here()),
        },
        (Err(error), _) => Err(error),
    }
}

fn invalid(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, what)
}

fn not_here() -> io::Error {
    io::Error::new(
        io::ErrorKind::AddrNotAvailable,
        "no interface of this machine has the address, and no local route covers it",
    )
}

/// Where the routing table takes what is sent to an address.
#[derive(Debug, PartialEq, Eq)]
enum Delivery {
    Here,
    Elsewhere,
}

/// Asks the routing table (`RTM_GETROUTE`, `man 7 rtnetlink`).
fn is_delivered_here(address: IpAddr) -> io::Result<Delivery> {
    let socket = Socket::new(NETLINK_ROUTE)?;
    // From here on only the kernel can write to it.
    socket.connect(&NetlinkAddr::new(0, 0))?;
    socket.send(&route_request(address), 0)?;
    let mut answer = [0; 1024];
    // The kernel answers within `send()`, so there is nothing to wait for.
    let length = socket.recv(&mut &mut answer[..], libc::MSG_DONTWAIT)?;
    read_route(&answer[..length])
}

fn route_request(address: IpAddr) -> Vec<u8> {
    let (family, octets) = match address {
        IpAddr::V4(v4) => (libc::AF_INET as u8, v4.octets().to_vec()),
        IpAddr::V6(v6) => (libc::AF_INET6 as u8, v6.octets().to_vec()),
    };
    // `struct rtmsg`: the family, the length of the destination in bits, and nothing else asked for.
    let mut route = [0; ROUTE];
    route[0] = family;
    route[1] = (octets.len() * 8) as u8;
    // `struct rtattr`: its length with the four octets of its head, its type.
    let attribute = [(4 + octets.len()) as u16, libc::RTA_DST]
        .map(u16::to_ne_bytes)
        .concat();
    let payload = [&route[..], &attribute, &octets].concat();
    let mut bytes = vec![0; NETLINK_HEADER];
    let mut header = NetlinkBuffer::new(&mut bytes);
    header.set_length((NETLINK_HEADER + payload.len()) as u32);
    header.set_message_type(libc::RTM_GETROUTE);
    header.set_flags(NLM_F_REQUEST);
    bytes.extend(payload);
    bytes
}

fn read_route(answer: &[u8]) -> io::Result<Delivery> {
    let unreadable = || io::Error::new(io::ErrorKind::InvalidData, "an answer that is no route");
    let message = NetlinkBuffer::new_checked(answer).map_err(|_| unreadable())?;
    let payload = message.payload();
    match message.message_type() {
        libc::RTM_NEWROUTE => match payload.get(ROUTE_TYPE).ok_or_else(unreadable)? {
            &libc::RTN_LOCAL => Ok(Delivery::Here),
            _ => Ok(Delivery::Elsewhere),
        },
        NLMSG_ERROR => {
            let code = i32::from_ne_bytes(*payload.first_chunk().ok_or_else(unreadable)?);
            match code.saturating_neg() {
                // No route, and routes of the types unreachable, prohibit and blackhole.
                libc::ENETUNREACH | libc::EHOSTUNREACH | libc::EACCES | libc::EINVAL => Ok(Delivery::Elsewhere),
                error => Err(io::Error::from_raw_os_error(error)),
            }
        }
        _ => Err(unreadable()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    fn answer(kind: u16, payload: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; NETLINK_HEADER + payload.len()];
        let mut buffer = NetlinkBuffer::new(&mut bytes);
        buffer.set_length((NETLINK_HEADER + payload.len()) as u32);
        buffer.set_message_type(kind);
        buffer.payload_mut().copy_from_slice(payload);
        bytes
    }

    #[test]
    fn loopback_is_a_source_as_a_whole() {
        assert_eq!(check_source(address("127.0.0.1")).expect("local"), Reach::Assigned);
        assert_eq!(check_source(address("127.9.8.7")).expect("local"), Reach::Assigned);
    }

    #[test]
    fn addresses_of_documentation_are_not_on_this_machine() {
        for text in ["192.0.2.1", "2001:db8::1"] {
            let error = check_source(address(text)).expect_err("elsewhere");
            assert_eq!(error.kind(), io::ErrorKind::AddrNotAvailable, "{text}: {error}");
        }
    }

    #[test]
    fn what_bind_takes_but_no_connection_can_come_from_is_refused() {
        for text in ["0.0.0.0", "::", "fe80::1", "224.0.0.1", "255.255.255.255"] {
            assert!(check_source(address(text)).is_err(), "{text}");
        }
    }

    #[test]
    fn loopback_is_reached_from_loopback() {
        assert_eq!(source_towards(address("127.0.0.1")), Some(address("127.0.0.1")));
    }

    #[test]
    fn only_local_routes_are_deliveries_here() {
        let route = |kind: u8| {
            let mut payload = [0; ROUTE];
            payload[ROUTE_TYPE] = kind;
            read_route(&answer(libc::RTM_NEWROUTE, &payload)).expect("readable")
        };
        assert_eq!(route(libc::RTN_LOCAL), Delivery::Here);
        for kind in [
            libc::RTN_UNICAST,
            libc::RTN_BROADCAST,
            libc::RTN_MULTICAST,
            libc::RTN_ANYCAST,
        ] {
            assert_eq!(route(kind), Delivery::Elsewhere);
        }
    }

    #[test]
    fn no_route_is_an_answer_and_other_errors_are_none() {
        let error = |code: i32| read_route(&answer(NLMSG_ERROR, &(-code).to_ne_bytes()));
        assert_eq!(error(libc::ENETUNREACH).expect("an answer"), Delivery::Elsewhere);
        assert_eq!(error(libc::EHOSTUNREACH).expect("an answer"), Delivery::Elsewhere);
        let refused = error(libc::EOPNOTSUPP).expect_err("not to be asked");
        assert_eq!(refused.raw_os_error(), Some(libc::EOPNOTSUPP));
    }

    proptest! {
        #[test]
        fn no_answer_makes_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = read_route(&bytes);
        }

        #[test]
        fn no_payload_makes_it_panic(kind in 0..40u16, payload in proptest::collection::vec(any::<u8>(), 0..40)) {
            let _ = read_route(&answer(kind, &payload));
        }
    }
}
