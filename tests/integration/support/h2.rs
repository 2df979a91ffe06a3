//! A client that speaks HTTP/2 in raw frames (RFC 9113), so that it can also speak it wrongly.

use std::net::SocketAddr;

use super::wire::{End, Wire};

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const PRIORITY: u8 = 2;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PUSH_PROMISE: u8 = 5;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;
pub const END_STREAM: u8 = 1;
pub const ACK: u8 = 1;
pub const END_HEADERS: u8 = 4;
pub const PADDED: u8 = 8;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

impl Frame {
    pub fn ends_stream(&self) -> bool {
        matches!(self.kind, DATA | HEADERS) && self.flags & END_STREAM != 0
    }
}

/// What the proxy says to something that it should not like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// GOAWAY with this code, or a close without one.
    Connection(Option<u32>),
    /// RST_STREAM with this code.
    Stream(u32),
    /// An answer.
    Answer,
    /// Nothing: it went on with the connection.
    Nothing,
}

/// A frame as bytes.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a frame is small").to_be_bytes();
    let mut frame = vec![length[1], length[2], length[3], kind, flags];
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// What became of a stream.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Answer {
    pub status: u16,
    pub body: Vec<u8>,
    /// Whether it was reset before its end.
    pub reset: Option<u32>,
}

pub struct H2Client {
    wire: Wire,
    next_stream: u32,
    /// Whether a GOAWAY has come.
    pub is_sent_off: bool,
}

impl H2Client {
    pub fn connect(address: SocketAddr) -> H2Client {
        H2Client::connect_behind(address, b"")
    }

    /// As [`H2Client::connect`], with `header` in one piece with the preface.
    pub fn connect_behind(address: SocketAddr, header: &[u8]) -> H2Client {
        let stream = std::net::TcpStream::connect(address).expect("the proxy accepts");
        H2Client::begin(stream, header, &[])
    }

    fn begin(stream: std::net::TcpStream, header: &[u8], settings: &[u8]) -> H2Client {
        let mut client = H2Client {
            wire: Wire::new(stream),
            next_stream: 1,
            is_sent_off: false,
        };
        client
            .wire
            .send(&[header, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"].concat())
            .expect("the proxy takes the preface");
        client.send(SETTINGS, 0, 0, settings);
        client
    }

    /// As [`H2Client::connect`], with these settings in the place of none.
    pub fn connect_with(address: SocketAddr, settings: &[(u16, u32)]) -> H2Client {
        let pair = |(id, value): &(u16, u32)| [&id.to_be_bytes()[..], &value.to_be_bytes()].concat();
        let settings: Vec<u8> = settings.iter().flat_map(pair).collect();
        let stream = std::net::TcpStream::connect(address).expect("the proxy accepts");
        H2Client::begin(stream, b"", &settings)
    }

    /// A client whose kernel takes in hardly anything that it does not read.
    pub fn connect_narrow(address: SocketAddr) -> H2Client {
        let socket = socket2::Socket::new(socket2::Domain::for_address(address), socket2::Type::STREAM, None);
        let socket = socket.expect("a socket can be made");
        socket.set_recv_buffer_size(8 * 1024).expect("a buffer size can be set");
        socket.connect(&address.into()).expect("the proxy accepts");
        H2Client::begin(socket.into(), b"", &[])
    }

    pub fn try_send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> std::io::Result<()> {
        self.wire.send(&frame(kind, flags, stream, payload))
    }

    /// Sends bytes as they are, to a proxy that may have had enough.
    pub fn try_send_bytes(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.wire.send(bytes)
    }

    /// Waits until the proxy has read everything so far and answered what it had to.
    pub fn sync(&mut self) -> Result<(), End> {
        // The first echo may overtake frames that were queued for streams.
        for round in 0..2 {
            let payload = [b'p', b'i', b'n', b'g', 0, 0, 0, round];
            if self.try_send(PING, 0, 0, &payload).is_err() {
                return Err(End::Reset);
            }
            loop {
                let frame = self.read_frame()?;
                if frame.kind == PING && frame.flags & ACK != 0 && frame.payload == payload {
                    break;
                }
            }
        }
        Ok(())
    }

    /// What the proxy makes of all that was sent.
    pub fn verdict(&mut self) -> Verdict {
        for round in 0..2 {
            let payload = [b'v', b'e', b'r', b'd', 0, 0, 0, round];
            // The proxy may have closed already, which the next read tells.
            let _ = self.try_send(PING, 0, 0, &payload);
            loop {
                let frame = match self.read_frame() {
                    Ok(frame) => frame,
                    Err(End::Deadline) => panic!("no word of the proxy"),
                    Err(_) => return Verdict::Connection(None),
                };
                match frame.kind {
                    GOAWAY => return Verdict::Connection(Some(code(&frame.payload[4..8]))),
                    RST_STREAM => return Verdict::Stream(code(&frame.payload)),
                    HEADERS => return Verdict::Answer,
                    PING if frame.payload == payload => break,
                    _ => {}
                }
            }
        }
        Verdict::Nothing
    }

    /// Reads to the end of the connection: the code and the words of a GOAWAY that names an error, if one came.
    pub fn farewell(&mut self) -> Option<(u32, String)> {
        let mut farewell = None;
        loop {
            match self.read_frame() {
                Ok(frame) if frame.kind == GOAWAY && code(&frame.payload[4..8]) != 0 => {
                    let words = String::from_utf8_lossy(&frame.payload[8..]).into_owned();
                    farewell = Some((code(&frame.payload[4..8]), words));
                }
                Ok(_) => {}
                Err(End::Deadline) => panic!("the proxy does not end the connection"),
                Err(_) => return farewell,
            }
        }
    }

    /// The number of the next stream, which is taken by this.
    pub fn next_stream(&mut self) -> u32 {
        self.next_stream += 2;
        self.next_stream - 2
    }

    pub fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        self.try_send(kind, flags, stream, payload)
            .expect("the proxy takes the frame");
    }

    /// Sends a head with these fields and gives the number of its stream.
    pub fn open(&mut self, fields: &[(&str, &str)], flags: u8) -> u32 {
        let stream = self.next_stream();
        self.send(HEADERS, flags | END_HEADERS, stream, &block(fields));
        stream
    }

    pub fn open_get(&mut self, path: &str) -> u32 {
        self.open(&get(path), END_STREAM)
    }

    pub fn get(&mut self, path: &str) -> Answer {
        let stream = self.open_get(path);
        self.answer(stream)
    }

    /// The next frame; settings and pings are acknowledged and a GOAWAY is noted on the way.
    pub fn read_frame(&mut self) -> Result<Frame, End> {
        let head = self.wire.read_exactly(9).map_err(|(_, end)| end)?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        let payload = self.wire.read_exactly(length).map_err(|(_, end)| end)?;
        let frame = Frame {
            kind: head[3],
            flags: head[4],
            stream,
            payload,
        };
        match frame.kind {
            // The proxy may be gone already, which the next read tells.
            SETTINGS if frame.flags & ACK == 0 => drop(self.try_send(SETTINGS, ACK, 0, &[])),
            PING if frame.flags & ACK == 0 => drop(self.try_send(PING, ACK, 0, &frame.payload)),
            GOAWAY => self.is_sent_off = true,
            _ => {}
        }
        Ok(frame)
    }

    /// Reads until this stream has ended; frames of other streams are passed over.
    pub fn answer(&mut self, stream: u32) -> Answer {
        let mut answer = Answer::default();
        loop {
            let frame = self
                .read_frame()
                .unwrap_or_else(|end| panic!("{end:?} before the end of stream {stream}"));
            if frame.stream != stream {
                continue;
            }
            match frame.kind {
                HEADERS if answer.status == 0 => answer.status = status(&frame.payload),
                DATA => answer.body.extend(&frame.payload),
                RST_STREAM => {
                    answer.reset = Some(code(&frame.payload));
                    return answer;
                }
                _ => {}
            }
            if frame.ends_stream() {
                return answer;
            }
        }
    }

    /// The next frame of this stream.
    pub fn frame_of(&mut self, stream: u32) -> Frame {
        loop {
            let frame = self
                .read_frame()
                .unwrap_or_else(|end| panic!("{end:?} before the next frame of stream {stream}"));
            if frame.stream == stream {
                return frame;
            }
        }
    }

    /// Reads to the end of the connection.
    pub fn end(&mut self) -> End {
        loop {
            if let Err(end) = self.read_frame() {
                return end;
            }
        }
    }
}

/// The fields of an extended CONNECT (RFC 8441 4).
pub fn extended<'a>(protocol: &'a str, path: &'a str) -> [(&'a str, &'a str); 6] {
    [
        (":method", "CONNECT"),
        (":protocol", protocol),
        (":scheme", "http"),
        (":authority", "test.example"),
        (":path", path),
        ("sec-websocket-version", "13"),
    ]
}

/// The fields of a GET.
pub fn get(path: &str) -> [(&str, &str); 4] {
    [
        (":method", "GET"),
        (":scheme", "http"),
        (":authority", "test.example"),
        (":path", path),
    ]
}

/// Fields as a block.
pub fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    fields.iter().flat_map(|(name, value)| literal(name, value)).collect()
}

/// An error code.
fn code(bytes: &[u8]) -> u32 {
    u32::from_be_bytes(bytes.try_into().expect("a code has four bytes"))
}

/// A field as a literal without indexing and without Huffman code (RFC 7541 6.2.2).
fn literal(name: &str, value: &str) -> Vec<u8> {
    let mut bytes = vec![0];
    for text in [name, value] {
        bytes.extend(integer(text.len()));
        bytes.extend(text.as_bytes());
    }
    bytes
}

/// With a prefix of seven bits (RFC 7541 5.1).
fn integer(mut number: usize) -> Vec<u8> {
    if number < 127 {
        return vec![number as u8];
    }
    number -= 127;
    let mut bytes = vec![127];
    while number >= 128 {
        bytes.push((number % 128) as u8 | 128);
        number /= 128;
    }
    bytes.push(number as u8);
    bytes
}

/// The status in a block whose first field it is, perhaps after a change of the table's size.
pub fn status(block: &[u8]) -> u16 {
    let start = block.iter().position(|&byte| byte & 0xe0 != 0x20).unwrap_or(0);
    match &block[start..] {
        [0x88, ..] => 200,
        [0x89, ..] => 204,
        [0x8c, ..] => 400,
        [0x8d, ..] => 404,
        [0x8e, ..] => 500,
        // A literal whose name is the eighth of the static table.
        [0x48 | 0x08, length, rest @ ..] => {
            let text = &rest[..usize::from(length & 0x7f)];
            let digits = if length & 0x80 == 0 {
                text.to_vec()
            } else {
                huffman_digits(text)
            };
            String::from_utf8_lossy(&digits).parse().unwrap_or(0)
        }
        _ => 0,
    }
}

/// Digits in the code of RFC 7541, appendix B: 0 to 2 have five bits, the others six.
fn huffman_digits(bytes: &[u8]) -> Vec<u8> {
    let mut bits = bytes
        .iter()
        .flat_map(|byte| (0..8).rev().map(move |shift| usize::from(byte >> shift & 1)));
    let mut digits = Vec::new();
    loop {
        let Some(five) = (0..5).try_fold(0, |value, _| Some(value << 1 | bits.next()?)) else {
            return digits;
        };
        match five {
            0..=2 => digits.push(b'0' + five as u8),
            12..=15 => match bits.next() {
                Some(bit) => digits.push(b'3' + ((five << 1 | bit) - 25) as u8),
                None => return digits,
            },
            // Padding.
            _ => return digits,
        }
    }
}
