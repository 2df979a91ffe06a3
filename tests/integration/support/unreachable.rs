//! Addresses at which nobody answers.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    time::Duration,
};

use socket2::{Domain, Socket, Type};

/// An address that refuses connections for as long as the value lives.
pub struct Refusing {
    socket: Socket,
}

impl Refusing {
    pub fn new() -> Refusing {
        Refusing { socket: bound() }
    }

    pub fn address(&self) -> SocketAddr {
        address(&self.socket)
    }

    /// From now on connections are taken.
    pub fn listen(self) -> TcpListener {
        self.socket.listen(128).expect("a bound socket can listen");
        self.socket.into()
    }
}

/// An address at which connections are never established: its queue is full and nobody accepts.
pub struct Silent {
    socket: Socket,
    _queued: Vec<TcpStream>,
}

impl Silent {
    pub fn new() -> Silent {
        let socket = bound();
        socket.listen(0).expect("a bound socket can listen");
        let address = address(&socket);
        let mut queued = Vec::new();
        loop {
            match TcpStream::connect_timeout(&address, Duration::from_millis(200)) {
                Ok(stream) => queued.push(stream),
                Err(error) if error.kind() == io::ErrorKind::TimedOut => break,
                Err(error) => panic!("filling the queue: {error}"),
            }
        }
        Silent {
            socket,
            _queued: queued,
        }
    }

    pub fn address(&self) -> SocketAddr {
        address(&self.socket)
    }
}

fn bound() -> Socket {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket can be made");
    socket
        .bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into())
        .expect("loopback has a free port");
    socket
}

fn address(socket: &Socket) -> SocketAddr {
    socket
        .local_addr()
        .ok()
        .and_then(|address| address.as_socket())
        .expect("a bound socket has an address")
}
