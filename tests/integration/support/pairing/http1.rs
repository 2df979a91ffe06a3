//! One exchange over HTTP/1.1, in raw bytes.

use super::{Fields, Piece};
use crate::support::wire::{End, Framing, Wire, chunk};

/// What is still to be read of a body.
#[derive(Debug, Clone, Copy)]
enum Left {
    Length(usize),
    Chunks,
    UntilClose,
}

pub struct Channel<'a> {
    wire: &'a mut Wire,
    left: Left,
    outgoing: Framing,
    /// Set once the connection is of no further use.
    pub over: bool,
}

/// The head with its first line and its fields.
pub fn read_head(wire: &mut Wire) -> Result<(String, Fields), End> {
    let head = wire.read_through(b"\r\n\r\n")?;
    let end = head
        .windows(2)
        .position(|two| two == b"\r\n")
        .expect("a head has lines");
    let start = String::from_utf8(head[..end].to_vec()).expect("a start line is text");
    Ok((start, Fields::parse(&head[end + 2..])))
}

/// As RFC 9112 6.3 says, when neither method nor status say otherwise.
pub fn framing(fields: &Fields, otherwise: Framing) -> Framing {
    let length = fields.one("content-length");
    match (fields.one("transfer-encoding"), length) {
        (Some(coding), None) => {
            assert_eq!(coding, "chunked");
            Framing::Chunked
        }
        (None, Some(length)) => Framing::Length(length.parse().expect("a length is a number")),
        (None, None) => otherwise,
        both => panic!("both lengths: {both:?}"),
    }
}

impl<'a> Channel<'a> {
    pub fn new(wire: &'a mut Wire, incoming: Framing, outgoing: Framing) -> Channel<'a> {
        let mut channel = Channel {
            wire,
            left: Left::Length(0),
            outgoing,
            over: false,
        };
        channel.receive(incoming);
        channel
    }

    pub fn wire(&mut self) -> &mut Wire {
        self.wire
    }

    pub fn send(&mut self, bytes: &[u8]) {
        self.over |= self.wire.send(bytes).is_err();
    }

    pub fn receive(&mut self, incoming: Framing) {
        self.left = match incoming {
            Framing::Empty => Left::Length(0),
            Framing::Length(length) => Left::Length(length),
            Framing::Chunked => Left::Chunks,
            Framing::UntilClose => Left::UntilClose,
        };
    }

    pub fn set_outgoing(&mut self, outgoing: Framing) {
        self.outgoing = outgoing;
        self.over |= outgoing == Framing::UntilClose;
    }

    pub fn piece(&mut self) -> Piece {
        let piece = match self.left {
            Left::Length(0) => Ok(Piece::End(Fields::default())),
            Left::Length(left) => self.wire.read_some().map(|bytes| {
                assert!(bytes.len() <= left, "more came than the stated length");
                self.left = Left::Length(left - bytes.len());
                Piece::Data(bytes)
            }),
            Left::Chunks => self.chunk(),
            Left::UntilClose => match self.wire.read_some() {
                Err(End::Fin) => Ok(Piece::End(Fields::default())),
                other => other.map(Piece::Data),
            },
        };
        piece.unwrap_or_else(|end| {
            assert_ne!(end, End::Deadline, "nothing came of the body");
            self.over = true;
            Piece::Cut
        })
    }

    fn chunk(&mut self) -> Result<Piece, End> {
        let line = self.wire.read_through(b"\r\n")?;
        let size = std::str::from_utf8(&line[..line.len() - 2]).expect("a size is text");
        let size = usize::from_str_radix(size, 16).unwrap_or_else(|_| panic!("{size:?} is no size"));
        if size > 0 {
            let chunk = self.wire.read_exactly(size + 2).map_err(|(_, end)| end)?;
            assert!(chunk.ends_with(b"\r\n"), "a chunk ends in CRLF");
            return Ok(Piece::Data(chunk[..size].to_vec()));
        }
        let mut lines = Vec::new();
        loop {
            let line = self.wire.read_through(b"\r\n")?;
            if line == b"\r\n" {
                self.left = Left::Length(0);
                return Ok(Piece::End(Fields::parse(&lines)));
            }
            lines.extend(line);
        }
    }

    pub fn data(&mut self, bytes: &[u8]) {
        match self.outgoing {
            Framing::Chunked => self.send(&chunk(bytes)),
            Framing::Empty | Framing::Length(_) | Framing::UntilClose => self.send(bytes),
        }
    }

    pub fn end(&mut self, trailers: &Fields) {
        match self.outgoing {
            Framing::Chunked => self.send(&[&b"0\r\n"[..], &trailers.to_lines(), b"\r\n"].concat()),
            _ => assert_eq!(trailers, &Fields::default(), "only chunks have trailers"),
        }
    }

    pub fn break_off(&mut self) {
        self.wire.reset_on_close();
        self.over = true;
    }
}
