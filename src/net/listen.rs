//! Binds listening sockets.

use std::{
    io,
    net::{SocketAddr, TcpListener},
};

use socket2::{Domain, Protocol, Socket, Type};

use super::TcpOptions;

/// Connections that the kernel completes ahead of `accept()`; the kernel cuts it to `net.core.somaxconn`.
const BACKLOG: i32 = 4096;

/// Binds `count` sockets to one address, one for each worker, among which the kernel spreads new connections
/// (SO_REUSEPORT). Port 0 is settled by the first.
///
/// What is set here (TCP_NODELAY, keepalive, user timeout) is inherited by what the sockets accept, so that a client
/// connection costs no system call for its options.
///
/// # Errors
/// Those of `bind()`, among them `EADDRINUSE` when another process listens there without SO_REUSEPORT.
pub fn bind(address: SocketAddr, count: usize, tcp: &TcpOptions) -> io::Result<Vec<TcpListener>> {
    // Another process of the same user may share a port by SO_REUSEPORT without knowing it: a first bind without the
    // option finds that out, since two proxies that split each other's clients are a fault nobody sees.
    if address.port() != 0 {
        open(address, tcp)?.bind(&address.into())?;
    }
    let mut bound = address;
    let mut listeners = Vec::with_capacity(count);
    for _ in 0..count {
        let socket = open(bound, tcp)?;
        socket.set_reuse_port(true)?;
        socket.bind(&bound.into())?;
        socket.listen(BACKLOG)?;
        let listener = TcpListener::from(socket);
        bound = listener.local_addr()?;
        listeners.push(listener);
    }
    Ok(listeners)
}

fn open(address: SocketAddr, tcp: &TcpOptions) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.set_tcp_nodelay(true)?;
    tcp.apply(&(&socket).into())?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_sockets_share_the_port_that_the_first_got() {
        let listeners = bind("127.0.0.1:0".parse().expect("address"), 3, &TcpOptions::default()).expect("binds");
        let addresses: Vec<_> = listeners.iter().map(|l| l.local_addr().expect("bound")).collect();
        assert_ne!(addresses[0].port(), 0);
        assert!(addresses.iter().all(|a| *a == addresses[0]));
    }

    #[test]
    fn an_address_in_use_is_refused_even_if_its_owner_shares_it() {
        let first = bind("127.0.0.1:0".parse().expect("address"), 1, &TcpOptions::default()).expect("binds");
        let address = first[0].local_addr().expect("bound");
        let error = bind(address, 1, &TcpOptions::default()).expect_err("in use");
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    }
}
