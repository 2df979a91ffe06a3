//! The kernel's view of TCP sockets in the namespace of the test.

use std::{fs, net::SocketAddr};

/// `CLOSE_WAIT` in `/proc/net/tcp` (include/net/tcp_states.h).
pub const CLOSE_WAIT: u8 = 8;

/// IPv4 sockets in this state whose other end is `to`.
pub fn count(state: u8, to: SocketAddr) -> usize {
    let table = fs::read_to_string("/proc/net/tcp").expect("procfs is mounted");
    let (port, state) = (format!(":{:04X}", to.port()), format!("{state:02X}"));
    let sockets = table
        .lines()
        .skip(1)
        .map(|line| line.split_whitespace().collect::<Vec<_>>());
    sockets
        .filter(|words| words[2].ends_with(&port) && words[3] == state)
        .count()
}
