//! HTTP/1 as bytes on a socket, read strictly: what is not canonical fails the test that meets it.

use std::{
    io::{self, ErrorKind, Read, Write},
    net::{Shutdown, TcpStream},
    time::Duration,
};

use socket2::SockRef;

use super::tls_session::Session;

/// How long a read or a write may take before it counts as "it never comes".
pub const DEADLINE: Duration = Duration::from_secs(15);

/// How the other side's bytes came to an end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The other side closed in order.
    Fin,
    /// The other side reset the connection.
    Reset,
    /// Nothing came until the deadline.
    Deadline,
    /// This side closed first.
    Ours,
}

/// A start line and its fields, as they were on the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    pub start: String,
    pub fields: Vec<(String, String)>,
}

impl Head {
    /// Panics when a line has no colon or ends otherwise than in CRLF.
    pub fn parse(bytes: &[u8]) -> Head {
        let text = String::from_utf8_lossy(bytes);
        let text = text.strip_suffix("\r\n\r\n").expect("a head ends in an empty line");
        let mut lines = text.split("\r\n");
        let start = lines.next().expect("split gives at least one part").to_owned();
        let fields = lines.map(field).collect();
        assert!(
            !text.replace("\r\n", "").contains(['\r', '\n', '\0']),
            "a bare control character in {text:?}"
        );
        Head { start, fields }
    }

    pub fn field(&self, name: &str) -> Option<&str> {
        self.all(name).first().copied()
    }

    pub fn all(&self, name: &str) -> Vec<&str> {
        let named = self.fields.iter().filter(|(other, _)| other.eq_ignore_ascii_case(name));
        named.map(|(_, value)| value.as_str()).collect()
    }

    /// Whether the list field `name` has the member `token`.
    pub fn lists(&self, name: &str, token: &str) -> bool {
        self.all(name)
            .iter()
            .flat_map(|value| value.split(','))
            .any(|member| member.trim().eq_ignore_ascii_case(token))
    }

    /// The second word of a request line.
    pub fn target(&self) -> &str {
        self.start.split(' ').nth(1).unwrap_or_default()
    }

    pub fn method(&self) -> &str {
        self.start.split(' ').next().unwrap_or_default()
    }

    /// The framing of a body that follows this head, when nothing else (method, status) says otherwise.
    pub fn framing(&self, otherwise: Framing) -> Framing {
        if self.lists("transfer-encoding", "chunked") {
            return Framing::Chunked;
        }
        match self.field("content-length") {
            Some(length) => Framing::Length(length.parse().expect("a length is a number")),
            None => otherwise,
        }
    }
}

fn field(line: &str) -> (String, String) {
    let (name, value) = line
        .split_once(':')
        .unwrap_or_else(|| panic!("no colon in the field line {line:?}"));
    assert!(
        !name.is_empty() && !name.contains([' ', '\t']),
        "a bad field name in {line:?}"
    );
    (name.to_owned(), value.trim_matches([' ', '\t']).to_owned())
}

/// Where a body ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    Empty,
    Length(usize),
    Chunked,
    UntilClose,
}

/// What came of a body.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Body {
    pub bytes: Vec<u8>,
    pub trailers: Vec<(String, String)>,
    /// How the connection ended before the body did; `None` for a whole body.
    pub cut: Option<End>,
}

type Tap = Box<dyn FnMut(&[u8]) + Send>;

/// One side of a connection.
pub struct Wire {
    stream: TcpStream,
    /// Above the socket.
    tls: Option<Box<Session>>,
    unread: Vec<u8>,
    tap: Tap,
}

impl Wire {
    pub fn new(stream: TcpStream) -> Wire {
        Wire::tapped(stream, Box::new(|_| ()))
    }

    /// A wire that shows every byte it reads to `tap`.
    pub fn tapped(stream: TcpStream, tap: Tap) -> Wire {
        stream.set_read_timeout(Some(DEADLINE)).expect("a duration above zero");
        stream.set_write_timeout(Some(DEADLINE)).expect("a duration above zero");
        stream.set_nodelay(true).expect("a connected socket");
        Wire {
            stream,
            tls: None,
            unread: Vec::new(),
            tap,
        }
    }

    /// From here on everything goes through a session that has been set up on the socket.
    pub fn over(mut self, session: Session) -> Wire {
        self.tls = Some(Box::new(session));
        self
    }

    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// The session, and the socket below it.
    pub fn tls(&mut self) -> Option<(&mut Session, &mut TcpStream)> {
        self.tls.as_deref_mut().map(|session| (session, &mut self.stream))
    }

    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.tls {
            None => self.stream.write_all(bytes),
            Some(session) => session.write(&mut self.stream, bytes),
        }
    }

    /// The bytes that are there, at least one.
    pub fn read_some(&mut self) -> Result<Vec<u8>, End> {
        if self.unread.is_empty() {
            self.fill()?;
        }
        Ok(std::mem::take(&mut self.unread))
    }

    fn fill(&mut self) -> Result<(), End> {
        let mut chunk = [0; 64 * 1024];
        loop {
            let read = match &mut self.tls {
                None => self.stream.read(&mut chunk),
                Some(session) => session.read(&mut self.stream, &mut chunk),
            };
            match read {
                Ok(0) => return Err(End::Fin),
                Ok(count) => {
                    (self.tap)(&chunk[..count]);
                    self.unread.extend_from_slice(&chunk[..count]);
                    return Ok(());
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    return Err(End::Deadline);
                }
                Err(_) => return Err(End::Reset),
            }
        }
    }

    /// Whether nothing, not even an end, comes within `patience`.
    pub fn is_silent_for(&mut self, patience: Duration) -> bool {
        if !self.unread.is_empty() {
            return false;
        }
        let stream = &self.stream;
        stream.set_read_timeout(Some(patience)).expect("a duration above zero");
        // An end stays there for the next read.
        let silent = self.fill() == Err(End::Deadline);
        self.stream
            .set_read_timeout(Some(DEADLINE))
            .expect("a duration above zero");
        silent
    }

    /// Everything through the next `mark`.
    pub fn read_through(&mut self, mark: &[u8]) -> Result<Vec<u8>, End> {
        let mut searched = 0;
        loop {
            let found = self.unread[searched..]
                .windows(mark.len())
                .position(|window| window == mark);
            if let Some(position) = found {
                return Ok(self.take(searched + position + mark.len()));
            }
            searched = self.unread.len().saturating_sub(mark.len() - 1);
            self.fill()?;
        }
    }

    fn take(&mut self, count: usize) -> Vec<u8> {
        let rest = self.unread.split_off(count);
        std::mem::replace(&mut self.unread, rest)
    }

    pub fn read_head(&mut self) -> Result<Head, End> {
        self.read_through(b"\r\n\r\n").map(|bytes| Head::parse(&bytes))
    }

    pub fn read_exactly(&mut self, count: usize) -> Result<Vec<u8>, (Vec<u8>, End)> {
        while self.unread.len() < count {
            if let Err(end) = self.fill() {
                return Err((std::mem::take(&mut self.unread), end));
            }
        }
        Ok(self.take(count))
    }

    pub fn read_body(&mut self, framing: Framing) -> Body {
        match framing {
            Framing::Empty => Body::default(),
            Framing::Length(length) => match self.read_exactly(length) {
                Ok(bytes) => Body {
                    bytes,
                    ..Body::default()
                },
                Err((bytes, end)) => Body {
                    bytes,
                    cut: Some(end),
                    ..Body::default()
                },
            },
            Framing::Chunked => self.read_chunks(),
            Framing::UntilClose => {
                let (bytes, end) = self.read_to_end();
                Body {
                    bytes,
                    cut: (end != End::Fin).then_some(end),
                    ..Body::default()
                }
            }
        }
    }

    fn read_chunks(&mut self) -> Body {
        let mut body = Body::default();
        body.cut = self.read_chunks_into(&mut body).err();
        body
    }

    fn read_chunks_into(&mut self, body: &mut Body) -> Result<(), End> {
        loop {
            let line = self.read_through(b"\r\n")?;
            let size = std::str::from_utf8(&line[..line.len() - 2]).expect("a chunk size is text");
            let size =
                usize::from_str_radix(size, 16).unwrap_or_else(|_| panic!("{size:?} is no canonical chunk size"));
            if size == 0 {
                break;
            }
            match self.read_exactly(size + 2) {
                Ok(chunk) => {
                    assert!(chunk.ends_with(b"\r\n"), "a chunk does not end in CRLF");
                    body.bytes.extend_from_slice(&chunk[..size]);
                }
                Err((part, end)) => {
                    body.bytes.extend_from_slice(&part[..part.len().min(size)]);
                    return Err(end);
                }
            }
        }
        loop {
            let line = self.read_through(b"\r\n")?;
            if line == b"\r\n" {
                return Ok(());
            }
            body.trailers
                .push(field(&String::from_utf8_lossy(&line[..line.len() - 2])));
        }
    }

    /// All that still comes, and how it ends.
    pub fn read_to_end(&mut self) -> (Vec<u8>, End) {
        loop {
            if let Err(end) = self.fill() {
                return (std::mem::take(&mut self.unread), end);
            }
        }
    }

    /// Sends no more, but goes on reading.
    pub fn finish(&self) {
        // The other side may be gone already; then there is nothing left to say to it.
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    /// Makes the close that follows a reset.
    pub fn reset_on_close(&self) {
        SockRef::from(&self.stream)
            .set_linger(Some(Duration::ZERO))
            .expect("linger can be set on a connected socket");
    }
}

/// `bytes` as one chunk of a chunked body.
pub fn chunk(bytes: &[u8]) -> Vec<u8> {
    [format!("{:x}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat()
}

/// `count` bytes of which every stretch differs from its neighbours, so that a loss or a swap shows.
pub fn pattern(count: usize) -> Vec<u8> {
    (0..count as u64)
        .map(|index| (index.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_split_into_its_fields() {
        let head = Head::parse(b"GET /x HTTP/1.1\r\nHost: a\r\nConnection: close, x-a\r\n\r\n");
        assert_eq!(head.method(), "GET");
        assert_eq!(head.target(), "/x");
        assert_eq!(head.field("host"), Some("a"));
        assert!(head.lists("connection", "X-A"));
        assert_eq!(head.framing(Framing::Empty), Framing::Empty);
    }

    #[test]
    #[should_panic(expected = "bare control character")]
    fn a_head_with_a_bare_line_feed_is_no_head() {
        Head::parse(b"GET / HTTP/1.1\r\nHost: a\nX: b\r\n\r\n");
    }
}
