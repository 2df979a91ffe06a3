//! The kernel's view of TCP sockets in the namespace of the test.

use std::{
    collections::HashSet,
    fs,
    net::{IpAddr, SocketAddr},
};

/// States in `/proc/net/tcp` (include/net/tcp_states.h).
pub const ESTABLISHED: u8 = 1;
pub const FIN_WAIT1: u8 = 4;
pub const CLOSE_WAIT: u8 = 8;

/// IPv4 sockets in this state whose other end is `to`.
pub fn count(state: u8, to: SocketAddr) -> usize {
    let table = fs::read_to_string("/proc/net/tcp").expect("procfs is mounted");
    let IpAddr::V4(address) = to.ip() else {
        panic!("{to} is not in this table");
    };
    // The address as the kernel holds it in memory, in network order, printed as a number of this machine.
    let address = u32::from_ne_bytes(address.octets());
    let (to, state) = (format!("{address:08X}:{:04X}", to.port()), format!("{state:02X}"));
    let sockets = table
        .lines()
        .skip(1)
        .map(|line| line.split_whitespace().collect::<Vec<_>>());
    let found = sockets.filter(|words| words[2] == to && words[3] == state);
    // A table of many that is read while it changes may tell of the same one twice.
    found.map(|words| words[1]).collect::<HashSet<_>>().len()
}
