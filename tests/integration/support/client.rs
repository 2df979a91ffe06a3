//! A client that speaks in raw bytes.

use std::{
    io,
    net::{SocketAddr, TcpStream},
};

use super::wire::{Body, DEADLINE, End, Framing, Head, Wire};

/// One connection of a client.
pub struct Client {
    wire: Wire,
}

/// A response as it was on the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    pub status: u16,
    pub head: Head,
    pub body: Vec<u8>,
    pub trailers: Vec<(String, String)>,
    /// How the connection ended before the body did; `None` for a complete response.
    pub cut: Option<End>,
    /// The heads of the 1xx responses that came before.
    pub interim: Vec<Head>,
}

impl Response {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn field(&self, name: &str) -> Option<&str> {
        self.head.field(name)
    }

    /// Whether the response says that the connection ends after it.
    pub fn announces_close(&self) -> bool {
        self.head.lists("connection", "close")
    }

    /// The error type in `Proxy-Status` (RFC 9209), or nothing.
    pub fn error(&self) -> &str {
        let status = self.field("proxy-status").unwrap_or_default();
        let parameters = status.split(';').map(str::trim);
        parameters
            .filter_map(|parameter| parameter.strip_prefix("error="))
            .next()
            .unwrap_or_default()
    }
}

impl Client {
    pub fn connect(address: SocketAddr) -> Client {
        let stream = TcpStream::connect_timeout(&address, DEADLINE).expect("the proxy accepts");
        Client {
            wire: Wire::new(stream),
        }
    }

    /// A client whose kernel takes in hardly anything that it does not read.
    pub fn connect_narrow(address: SocketAddr) -> Client {
        let socket = socket2::Socket::new(socket2::Domain::for_address(address), socket2::Type::STREAM, None);
        let socket = socket.expect("a socket can be made");
        socket.set_recv_buffer_size(8 * 1024).expect("a buffer size can be set");
        socket.connect(&address.into()).expect("the proxy accepts");
        Client {
            wire: Wire::new(socket.into()),
        }
    }

    /// A client with an address of 127.0.0.0/8 of its own, and a port if one is given.
    pub fn connect_from(source: &str, address: SocketAddr) -> Client {
        let socket = socket2::Socket::new(socket2::Domain::for_address(address), socket2::Type::STREAM, None);
        let socket = socket.expect("a socket can be made");
        let source = source.parse().or_else(|_| format!("{source}:0").parse::<SocketAddr>());
        let source = source.expect("an address");
        socket.bind(&source.into()).expect("all of 127.0.0.0/8 is ours");
        socket.connect(&address.into()).expect("the proxy accepts");
        Client {
            wire: Wire::new(socket.into()),
        }
    }

    pub fn local_address(&self) -> SocketAddr {
        self.wire
            .stream()
            .local_addr()
            .expect("a connected socket has an address")
    }

    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.try_send(bytes).expect("the proxy takes the bytes");
    }

    /// As [`Client::send`], for a proxy that may have had enough.
    pub fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.wire.send(bytes.as_ref())
    }

    /// A GET for `target` with nothing but a `Host`.
    pub fn get(&mut self, target: &str) -> Response {
        self.send(format!("GET {target} HTTP/1.1\r\nHost: test.example\r\n\r\n"));
        self.response()
    }

    /// A POST of `body` with its length.
    pub fn post(&mut self, target: &str, body: impl AsRef<[u8]>) -> Response {
        let length = body.as_ref().len();
        self.send(format!(
            "POST {target} HTTP/1.1\r\nHost: test.example\r\nContent-Length: {length}\r\n\r\n"
        ));
        self.send(body);
        self.response()
    }

    /// The next final response to anything but a HEAD. Panics when the connection ends before its head does.
    pub fn response(&mut self) -> Response {
        self.try_response()
            .unwrap_or_else(|end| panic!("no response came; the connection ended with {end:?}"))
    }

    pub fn try_response(&mut self) -> Result<Response, End> {
        self.read_response(|status, head| match status {
            204 | 304 => Framing::Empty,
            _ => head.framing(Framing::UntilClose),
        })
    }

    /// The response to a HEAD.
    pub fn response_to_head(&mut self) -> Response {
        self.read_response(|_, _| Framing::Empty).expect("a response comes")
    }

    fn read_response(&mut self, framing: impl Fn(u16, &Head) -> Framing) -> Result<Response, End> {
        let mut interim = Vec::new();
        loop {
            let head = self.read_head()?;
            let status = status(&head);
            if status < 200 && status != 101 {
                interim.push(head);
                continue;
            }
            let Body { bytes, trailers, cut } = self.wire.read_body(framing(status, &head));
            return Ok(Response {
                status,
                head,
                body: bytes,
                trailers,
                cut,
                interim,
            });
        }
    }

    /// The next head, be it interim or final.
    pub fn read_head(&mut self) -> Result<Head, End> {
        self.wire.read_head()
    }

    pub fn read_some(&mut self) -> Result<Vec<u8>, End> {
        self.wire.read_some()
    }

    /// Exactly so many bytes; panics when the connection ends before.
    pub fn read_exactly(&mut self, count: usize) -> Vec<u8> {
        let read = self.wire.read_exactly(count);
        read.unwrap_or_else(|(bytes, end)| panic!("{end:?} after {} of {count} bytes", bytes.len()))
    }

    /// The same connection twice, for a thread that writes and one that reads.
    pub fn split(self) -> (Client, Client) {
        let other = self.wire.stream().try_clone().expect("a socket can be had twice");
        let other = Client { wire: Wire::new(other) };
        (other, self)
    }

    /// All that still comes, and how it ends.
    pub fn read_to_end(&mut self) -> (Vec<u8>, End) {
        self.wire.read_to_end()
    }

    /// Waits for the end of the connection; panics when bytes come before it.
    pub fn end(&mut self) -> End {
        let (bytes, end) = self.read_to_end();
        assert!(
            bytes.is_empty(),
            "bytes before the end: {:?}",
            String::from_utf8_lossy(&bytes)
        );
        end
    }

    /// Whether nothing, not even an end, has come so far.
    pub fn is_open(&self) -> bool {
        let stream = self.wire.stream();
        stream.set_nonblocking(true).expect("a connected socket");
        let peeked = stream.peek(&mut [0]);
        stream.set_nonblocking(false).expect("a connected socket");
        matches!(peeked, Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }

    /// Sends no more, but goes on reading.
    pub fn finish(&self) {
        self.wire.finish();
    }

    /// Resets the connection.
    pub fn reset(self) {
        self.wire.reset_on_close();
    }
}

fn status(head: &Head) -> u16 {
    assert!(head.start.starts_with("HTTP/1."), "no status line: {:?}", head.start);
    let status = head.start.split(' ').nth(1).expect("a status line has a status");
    status
        .parse()
        .unwrap_or_else(|_| panic!("{:?} has no status", head.start))
}
