//! What the kernel says of the TCP sockets of this machine (its network name space), ours and others'.
//!
//! Asked by `NETLINK_SOCK_DIAG` (`man 7 sock_diag`), for which no privilege is needed.

use std::{
    fs, io,
    net::{IpAddr, SocketAddr, SocketAddrV6},
};

use netlink_packet_core::{
    NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NLMSG_ALIGNTO, NLMSG_DONE, NLMSG_ERROR, NLMSG_OVERRUN, NetlinkBuffer,
    NetlinkHeader, NetlinkMessage, Parseable,
};
use netlink_packet_sock_diag::{
    SockDiagMessage,
    constants::{
        AF_INET, AF_INET6, IPPROTO_TCP, SOCK_DIAG_BY_FAMILY, TCP_CLOSE_WAIT, TCP_CLOSING, TCP_ESTABLISHED,
        TCP_FIN_WAIT1, TCP_FIN_WAIT2, TCP_LAST_ACK, TCP_SYN_SENT, TCP_TIME_WAIT,
    },
    inet::{ExtensionFlags, InetRequest, InetResponseHeader, SocketId, StateFlags},
};
use netlink_sys::{Socket, SocketAddr as NetlinkAddr, protocols::NETLINK_SOCK_DIAG};

/// The kernel fills at most 32 KiB at a time.
const DATAGRAM: usize = 64 << 10;
/// How often a list is asked for that changed in the middle, as the kernel saw it.
const ATTEMPTS: u32 = 3;

/// A TCP socket that holds a source port towards a destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TcpSocketRow {
    /// Our end. IPv4 also where a socket for both families carries IPv4.
    pub source: SocketAddr,
    pub destination: SocketAddr,
    pub state: TcpState,
}

/// The states of RFC 9293 3.3.2 in which a source port is held, except SYN-RECEIVED, which is a client's that comes in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TcpState {
    Established,
    SynSent,
    FinWait1,
    FinWait2,
    TimeWait,
    CloseWait,
    LastAck,
    Closing,
}

impl TcpState {
    const ALL: [Self; 8] = [
        Self::Established,
        Self::SynSent,
        Self::FinWait1,
        Self::FinWait2,
        Self::TimeWait,
        Self::CloseWait,
        Self::LastAck,
        Self::Closing,
    ];

    /// The word that `ss` has for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Established => "established",
            Self::SynSent => "syn-sent",
            Self::FinWait1 => "fin-wait-1",
            Self::FinWait2 => "fin-wait-2",
            Self::TimeWait => "time-wait",
            Self::CloseWait => "close-wait",
            Self::LastAck => "last-ack",
            Self::Closing => "closing",
        }
    }

    /// Its number in the kernel (`net/tcp_states.h`).
    fn number(self) -> u8 {
        match self {
            Self::Established => TCP_ESTABLISHED,
            Self::SynSent => TCP_SYN_SENT,
            Self::FinWait1 => TCP_FIN_WAIT1,
            Self::FinWait2 => TCP_FIN_WAIT2,
            Self::TimeWait => TCP_TIME_WAIT,
            Self::CloseWait => TCP_CLOSE_WAIT,
            Self::LastAck => TCP_LAST_ACK,
            Self::Closing => TCP_CLOSING,
        }
    }

    fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.number() == number)
    }
}

/// The TCP sockets of this machine that are `wanted`, in no order; listeners are never among them. The others are not
/// kept for a moment: there may be a hundred thousand of them.
///
/// A list, not a photograph: a socket that changes while it is made may be missing or stand there twice.
///
/// Blocks for the time that the kernel takes: 12 ms for 30,000 sockets in TIME_WAIT (of which 3.7 ms are the second walk
/// through its table, for IPv6), 0.6 ms where there are none.
///
/// # Errors
/// Those of a netlink socket; `ENOENT` where the kernel has no `tcp_diag`; `Other` when the list changed under the
/// kernel's hands several times in a row; `InvalidData` for an answer that cannot be read.
pub fn tcp_sockets(wanted: impl Fn(&TcpSocketRow) -> bool) -> io::Result<Vec<TcpSocketRow>> {
    let socket = Socket::new(NETLINK_SOCK_DIAG)?;
    // From here on only the kernel can write to it.
    socket.connect(&NetlinkAddr::new(0, 0))?;
    let mut datagram = vec![0; DATAGRAM];
    let mut rows = Vec::new();
    for family in [AF_INET, AF_INET6] {
        list_unchanged(&socket, family, &mut datagram, &wanted, &mut rows)?;
    }
    Ok(rows)
}

fn list_unchanged(
    socket: &Socket,
    family: u8,
    datagram: &mut [u8],
    wanted: &dyn Fn(&TcpSocketRow) -> bool,
    rows: &mut Vec<TcpSocketRow>,
) -> io::Result<()> {
    let before = rows.len();
    for attempt in 0..ATTEMPTS {
        rows.truncate(before);
        let sequence = u32::from(family) * ATTEMPTS + attempt;
        socket.send(&request(family, sequence), 0)?;
        let mut answer = Answer {
            sequence,
            changed: false,
            wanted,
            rows: &mut *rows,
        };
        while answer.read(receive(socket, datagram)?)? == Progress::More {}
        if !answer.changed {
            return Ok(());
        }
    }
    Err(io::Error::other("the list of sockets changed while it was made"))
}

fn receive<'a>(socket: &Socket, datagram: &'a mut [u8]) -> io::Result<&'a [u8]> {
    loop {
        // With the flag the length is the true one, also of what did not fit.
        match socket.recv(&mut &mut *datagram, libc::MSG_TRUNC) {
            Ok(length) => return datagram.get(..length).ok_or_else(|| unreadable("a truncated datagram")),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

fn request(family: u8, sequence: u32) -> Vec<u8> {
    let states = TcpState::ALL
        .iter()
        .fold(0, |states, state| states | 1 << state.number());
    let mut message = NetlinkMessage::new(
        NetlinkHeader::default(),
        SockDiagMessage::InetRequest(InetRequest {
            family,
            protocol: IPPROTO_TCP,
            extensions: ExtensionFlags::empty(),
            states: StateFlags::from_bits_truncate(states),
            // Not looked at in the request for a list.
            socket_id: SocketId::new_v4(),
        })
        .into(),
    );
    message.header.flags = NLM_F_REQUEST | NLM_F_DUMP;
    message.header.sequence_number = sequence;
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    bytes
}

/// What has come of the answer to one request.
struct Answer<'a> {
    sequence: u32,
    /// The kernel says that the list changed while it was made.
    changed: bool,
    wanted: &'a dyn Fn(&TcpSocketRow) -> bool,
    rows: &'a mut Vec<TcpSocketRow>,
}

#[derive(Debug, PartialEq, Eq)]
enum Progress {
    More,
    Ended,
}

impl Answer<'_> {
    /// Takes the rows out of one datagram. Those that make no sense are left out.
    fn read(&mut self, mut datagram: &[u8]) -> io::Result<Progress> {
        while !datagram.is_empty() {
            let message = NetlinkBuffer::new_checked(datagram).map_err(|_| unreadable("a message without a length"))?;
            if message.sequence_number() == self.sequence && self.read_message(&message)? == Progress::Ended {
                return Ok(Progress::Ended);
            }
            let length = (message.length() as usize).next_multiple_of(NLMSG_ALIGNTO.into());
            datagram = datagram.get(length..).unwrap_or_default();
        }
        Ok(Progress::More)
    }

    fn read_message(&mut self, message: &NetlinkBuffer<&[u8]>) -> io::Result<Progress> {
        self.changed |= message.flags() & NLM_F_DUMP_INTR != 0;
        match message.message_type() {
            SOCK_DIAG_BY_FAMILY => self
                .rows
                .extend(row(message.payload()).filter(|row| (self.wanted)(row))),
            NLMSG_ERROR => return Err(kernel_error(message.payload()).unwrap_or_else(|| unreadable("no list"))),
            NLMSG_DONE => return kernel_error(message.payload()).map_or(Ok(Progress::Ended), Err),
            NLMSG_OVERRUN => return Err(unreadable("a part was lost")),
            _ => {}
        }
        Ok(Progress::More)
    }
}

fn row(payload: &[u8]) -> Option<TcpSocketRow> {
    let header = InetResponseHeader::parse(payload).ok()?;
    let id = header.socket_id;
    let end = |address: IpAddr, port| match address.to_canonical() {
        // Only of such an address is the interface a part; else it says that the socket is bound to one.
        IpAddr::V6(v6) if v6.is_unicast_link_local() => SocketAddrV6::new(v6, port, 0, id.interface_id).into(),
        address => SocketAddr::new(address, port),
    };
    Some(TcpSocketRow {
        source: end(id.source_address, id.source_port),
        destination: end(id.destination_address, id.destination_port),
        state: TcpState::from_number(header.state)?,
    })
}

/// The error that a message of the kernel begins with: a negative `errno`, or 0.
fn kernel_error(payload: &[u8]) -> Option<io::Error> {
    let code = i32::from_ne_bytes(*payload.first_chunk()?);
    (code != 0).then(|| io::Error::from_raw_os_error(code.saturating_neg()))
}

fn unreadable(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// TIME_WAIT sockets of this machine, towards all destinations together; `None` where the kernel does not tell. Nearly
/// free: the kernel keeps count. It counts a FIN-WAIT-2 that no process holds any more with them, which
/// [`tcp_sockets`] tells apart.
pub fn time_wait_total() -> Option<u64> {
    parse_time_wait(&fs::read_to_string("/proc/net/sockstat").ok()?)
}

fn parse_time_wait(sockstat: &str) -> Option<u64> {
    let mut words = sockstat
        .lines()
        .find_map(|line| line.strip_prefix("TCP:"))?
        .split_ascii_whitespace();
    words.find(|word| *word == "tw")?;
    words.next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::{
        io::Read,
        net::{Ipv4Addr, Ipv6Addr, TcpListener, TcpStream},
    };

    use netlink_packet_core::{Emitable, NLMSG_NOOP};
    use netlink_packet_sock_diag::constants::AF_UNSPEC;
    use proptest::prelude::*;
    use socket2::{Domain, SockAddr, Type};

    use super::*;

    const SEQUENCE: u32 = 7;

    fn message(kind: u16, flags: u16, payload: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; (16 + payload.len()).next_multiple_of(4)];
        let mut buffer = NetlinkBuffer::new(&mut bytes);
        buffer.set_length(16 + payload.len() as u32);
        buffer.set_message_type(kind);
        buffer.set_flags(flags);
        buffer.set_sequence_number(SEQUENCE);
        buffer.payload_mut().copy_from_slice(payload);
        bytes
    }

    fn socket(family: u8, state: u8, source: (IpAddr, u16), destination: (IpAddr, u16)) -> Vec<u8> {
        let header = InetResponseHeader {
            family,
            state,
            timer: None,
            socket_id: SocketId {
                source_port: source.1,
                destination_port: destination.1,
                source_address: source.0,
                destination_address: destination.0,
                interface_id: 3,
                cookie: [0; 8],
            },
            recv_queue: 0,
            send_queue: 0,
            uid: 0,
            inode: 0,
        };
        let mut payload = vec![0; header.buffer_len()];
        header.emit(&mut payload);
        message(SOCK_DIAG_BY_FAMILY, 0, &payload)
    }

    fn v4(last: u8) -> IpAddr {
        Ipv4Addr::new(10, 0, 0, last).into()
    }

    fn read(datagram: &[u8]) -> (io::Result<Progress>, bool, Vec<TcpSocketRow>) {
        let mut rows = Vec::new();
        let mut answer = Answer {
            sequence: SEQUENCE,
            changed: false,
            wanted: &|_| true,
            rows: &mut rows,
        };
        let progress = answer.read(datagram);
        let changed = answer.changed;
        (progress, changed, rows)
    }

    fn sockets() -> Vec<TcpSocketRow> {
        tcp_sockets(|_| true).expect("this kernel lists its sockets")
    }

    fn state_of(source: SocketAddr, destination: SocketAddr) -> Option<TcpState> {
        let rows = sockets();
        let row = rows
            .iter()
            .find(|row| (row.source, row.destination) == (source, destination));
        row.map(|row| row.state)
    }

    #[test]
    fn rows_are_taken_from_several_messages_until_the_end() {
        let datagram = [
            socket(AF_INET, TCP_TIME_WAIT, (v4(1), 40000), (v4(2), 80)),
            message(NLMSG_NOOP, 0, &[]),
            socket(AF_INET, TCP_SYN_SENT, (v4(1), 40002), (v4(2), 80)),
        ]
        .concat();
        let (progress, _, rows) = read(&datagram);
        assert_eq!(progress.expect("readable"), Progress::More);
        let states: Vec<_> = rows.iter().map(|row| (row.source.port(), row.state)).collect();
        assert_eq!(states, [(40000, TcpState::TimeWait), (40002, TcpState::SynSent)]);
        assert_eq!(rows[0].destination, SocketAddr::new(v4(2), 80));

        let (progress, ..) = read(&message(NLMSG_DONE, 0, &0i32.to_ne_bytes()));
        assert_eq!(progress.expect("readable"), Progress::Ended);
    }

    #[test]
    fn ipv4_on_a_socket_for_both_families_is_given_as_ipv4() {
        let mapped = |last| IpAddr::from(Ipv4Addr::new(10, 0, 0, last).to_ipv6_mapped());
        let (_, _, rows) = read(&socket(AF_INET6, TCP_ESTABLISHED, (mapped(1), 1), (mapped(2), 2)));
        assert_eq!(rows[0].source, SocketAddr::new(v4(1), 1));
        assert_eq!(rows[0].destination, SocketAddr::new(v4(2), 2));
    }

    #[test]
    fn link_local_addresses_carry_their_interface_and_others_do_not() {
        let local = IpAddr::from(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1));
        let other = IpAddr::from(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1));
        let (_, _, rows) = read(&socket(AF_INET6, TCP_ESTABLISHED, (other, 1), (local, 2)));
        assert_eq!(rows[0].source, SocketAddr::new(other, 1));
        assert!(matches!(rows[0].destination, SocketAddr::V6(v6) if v6.scope_id() == 3));
    }

    #[test]
    fn rows_that_make_no_sense_are_left_out() {
        let datagram = [
            socket(AF_INET, 99, (v4(1), 1), (v4(2), 2)),
            socket(77, TCP_ESTABLISHED, (v4(1), 1), (v4(2), 2)),
            message(SOCK_DIAG_BY_FAMILY, 0, &[2, 1, 0]),
            socket(AF_INET, TCP_ESTABLISHED, (v4(1), 9), (v4(2), 2)),
        ]
        .concat();
        let (progress, _, rows) = read(&datagram);
        assert_eq!(progress.expect("readable"), Progress::More);
        assert_eq!(rows.len(), 1, "{rows:?}");
        assert_eq!(rows[0].source.port(), 9);
    }

    #[test]
    fn answers_to_another_request_are_not_looked_at() {
        let mut old = message(NLMSG_DONE, NLM_F_DUMP_INTR, &0i32.to_ne_bytes());
        NetlinkBuffer::new(&mut old).set_sequence_number(SEQUENCE - 1);
        let (progress, changed, _) = read(&old);
        assert_eq!(progress.expect("readable"), Progress::More);
        assert!(!changed);
    }

    #[test]
    fn a_list_that_changed_is_known_as_such_even_at_its_end() {
        let (progress, changed, _) = read(&message(NLMSG_DONE, NLM_F_DUMP_INTR, &0i32.to_ne_bytes()));
        assert_eq!(progress.expect("readable"), Progress::Ended);
        assert!(changed);
    }

    #[test]
    fn an_error_of_the_kernel_is_given_as_its_own() {
        for kind in [NLMSG_ERROR, NLMSG_DONE] {
            let (progress, ..) = read(&message(kind, 0, &(-libc::ENOENT).to_ne_bytes()));
            assert_eq!(progress.expect_err("an error").raw_os_error(), Some(libc::ENOENT));
        }
    }

    #[test]
    fn a_message_cut_short_is_an_error() {
        let whole = socket(AF_INET, TCP_ESTABLISHED, (v4(1), 1), (v4(2), 2));
        let (progress, ..) = read(&whole[..whole.len() - 1]);
        assert_eq!(progress.expect_err("cut").kind(), io::ErrorKind::InvalidData);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic_or_hang(datagram in proptest::collection::vec(any::<u8>(), 0..400)) {
            let _ = read(&datagram);
        }

        #[test]
        fn no_payload_makes_it_panic(kind in 0..30u16, payload in proptest::collection::vec(any::<u8>(), 0..120)) {
            let _ = read(&message(kind, 0, &payload));
        }
    }

    #[test]
    fn both_ends_of_a_connection_are_listed_and_its_listener_is_not() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
        let address = listener.local_addr().expect("bound");
        let client = TcpStream::connect(address).expect("connects");
        let (mut server, source) = listener.accept().expect("accepts");
        assert_eq!(state_of(source, address), Some(TcpState::Established));
        assert_eq!(state_of(address, source), Some(TcpState::Established));
        assert!(!sockets().iter().any(|row| row.destination.port() == 0));

        drop(client);
        assert_eq!(server.read(&mut [0]).expect("reads"), 0);
        assert_eq!(state_of(address, source), Some(TcpState::CloseWait));
    }

    #[test]
    fn ipv6_sockets_are_listed_and_ipv4_on_them_is_ipv4() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
        let address = listener.local_addr().expect("bound");
        let client = socket2::Socket::new(Domain::IPV6, Type::STREAM, None).expect("IPv6");
        let mapped = Ipv4Addr::LOCALHOST.to_ipv6_mapped();
        let destination = SockAddr::from(SocketAddr::from((mapped, address.port())));
        client.connect(&destination).expect("connects");
        let (_server, source) = listener.accept().expect("accepts");
        assert_eq!(state_of(source, address), Some(TcpState::Established));

        let Ok(listener) = TcpListener::bind("[::1]:0") else {
            return;
        };
        let address = listener.local_addr().expect("bound");
        let client = TcpStream::connect(address).expect("connects");
        let source = client.local_addr().expect("connected");
        assert_eq!(state_of(source, address), Some(TcpState::Established));
    }

    #[test]
    fn what_the_kernel_cannot_list_is_its_error() {
        let socket = Socket::new(NETLINK_SOCK_DIAG).expect("this kernel lists its sockets");
        socket.connect(&NetlinkAddr::new(0, 0)).expect("the kernel is there");
        let error = list_unchanged(&socket, AF_UNSPEC, &mut vec![0; DATAGRAM], &|_| true, &mut Vec::new());
        assert!(error.expect_err("no such family").raw_os_error().is_some());
    }

    #[test]
    fn a_datagram_that_does_not_fit_is_an_error() {
        let socket = Socket::new(NETLINK_SOCK_DIAG).expect("this kernel lists its sockets");
        socket.connect(&NetlinkAddr::new(0, 0)).expect("the kernel is there");
        let error = list_unchanged(&socket, AF_INET, &mut [0; 8], &|_| true, &mut Vec::new());
        assert_eq!(error.expect_err("too short").to_string(), "a truncated datagram");
    }

    #[test]
    fn each_state_has_its_own_number_and_word() {
        for state in TcpState::ALL {
            assert_eq!(TcpState::from_number(state.number()), Some(state));
            let alike = TcpState::ALL.iter().filter(|other| other.as_str() == state.as_str());
            assert_eq!(alike.count(), 1);
        }
        assert_eq!(TcpState::from_number(10), None, "a listener");
    }

    #[test]
    fn time_wait_is_read_from_the_line_of_tcp() {
        let text = "sockets: used 38\nTCP: inuse 23 orphan 0 tw 41 alloc 47 mem 0\nUDP: inuse 0 mem 0\n";
        assert_eq!(parse_time_wait(text), Some(41));
        assert_eq!(parse_time_wait("TCP: inuse 23 tw\n"), None);
        assert_eq!(parse_time_wait("UDP: tw 1\n"), None);
        assert!(time_wait_total().is_some());
    }
}
