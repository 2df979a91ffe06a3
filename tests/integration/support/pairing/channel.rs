//! The two bodies of one exchange, whatever carries them.

use super::{Fields, http1, http2};

/// What comes next of a body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    Data(Vec<u8>),
    /// The end, with the trailers.
    End(Fields),
    /// The other side gave it up.
    Cut,
}

/// One side of an exchange.
pub enum Channel<'a> {
    Http1(http1::Channel<'a>),
    Http2(http2::Channel),
}

impl Channel<'_> {
    pub fn piece(&mut self) -> Piece {
        match self {
            Channel::Http1(channel) => channel.piece(),
            Channel::Http2(channel) => channel.piece(),
        }
    }

    /// All that is left: the bytes, and the trailers unless it was cut.
    pub fn rest(&mut self) -> (Vec<u8>, Option<Fields>) {
        let mut body = Vec::new();
        loop {
            match self.piece() {
                Piece::Data(data) => body.extend(data),
                Piece::End(trailers) => return (body, Some(trailers)),
                Piece::Cut => return (body, None),
            }
        }
    }

    /// Sends a part of a body; what nobody takes any more is passed over.
    pub fn data(&mut self, bytes: &[u8]) {
        if bytes.is_empty() {
            // As a chunk it would be the end.
            return;
        }
        match self {
            Channel::Http1(channel) => channel.data(bytes),
            Channel::Http2(channel) => channel.data(bytes),
        }
    }

    pub fn end(&mut self) {
        self.end_with(&[]);
    }

    pub fn end_with(&mut self, trailers: &[(&str, &str)]) {
        match self {
            Channel::Http1(channel) => channel.end(&trailers.into()),
            Channel::Http2(channel) => channel.end(&trailers.into()),
        }
    }

    /// Whether the other side takes no more.
    pub fn is_given_up(&self) -> bool {
        match self {
            Channel::Http1(channel) => channel.over,
            Channel::Http2(channel) => channel.outgoing.is_none(),
        }
    }

    /// Gives the exchange up: resets the connection of HTTP/1, the stream of HTTP/2.
    pub fn break_off(&mut self) {
        match self {
            Channel::Http1(channel) => channel.break_off(),
            Channel::Http2(channel) => channel.break_off(),
        }
    }
}
