//! A chunked body, read from an endpoint that is not trusted (RFC 9112 7.1).

use bytes::{Buf, Bytes, BytesMut};
use http::HeaderMap;
use memchr::memchr;
use thiserror::Error;

use super::{
    FieldProblem,
    field::{self, MAX_LENGTH},
    is_forbidden_trailer,
};

/// What a decoder gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// Never empty; a piece of a chunk, or all of it.
    Data(Bytes),
    /// Once at most, never empty, without those that [may not be trailers](is_forbidden_trailer).
    Trailers(HeaderMap),
    /// The body is complete; what is left in the buffer is not part of it.
    End,
}

/// Ceilings for one body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChunkedLimits {
    /// Bytes of chunk extensions, over all chunks.
    pub max_extension_size: usize,
    /// Trailer lines, those included that are dropped.
    pub max_trailers: usize,
    /// Bytes of the trailer section, its blank line included.
    pub max_trailer_size: usize,
}

impl Default for ChunkedLimits {
    fn default() -> Self {
        Self {
            max_extension_size: 16 * 1024,
            max_trailers: 64,
            max_trailer_size: 16 * 1024,
        }
    }
}

/// Why the bytes of an endpoint are not a chunked body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("{}", self.description())]
pub enum ChunkedError {
    /// Not hexadecimal digits followed by CR or `;`.
    InvalidSize,
    /// More than 16 digits, or above 2^63-1.
    SizeTooLarge,
    ExtensionTooLarge,
    /// An extension holds a control byte.
    InvalidExtension,
    /// The data of a chunk go on beyond its size, or their CRLF is missing.
    MissingChunkEnd,
    /// A line ends in LF without CR, or a CR is not followed by LF.
    InvalidLineEnd,
    TooManyTrailers,
    TrailersTooLarge,
    Trailer(FieldProblem),
}

impl ChunkedError {
    /// The rule in words, for logs: reads well after "the endpoint's answer was malformed: ".
    pub fn description(self) -> &'static str {
        match self {
            Self::InvalidSize => "a chunk size is not a hexadecimal number",
            Self::SizeTooLarge => "a chunk size is too large",
            Self::ExtensionTooLarge => "its chunk extensions are larger than the limit",
            Self::InvalidExtension => "a chunk extension holds a control byte",
            Self::MissingChunkEnd => "a chunk does not end where its size says",
            Self::InvalidLineEnd => "a line of its chunked body does not end in CRLF",
            Self::TooManyTrailers => "it has more trailers than the limit",
            Self::TrailersTooLarge => "its trailers are larger than the limit",
            Self::Trailer(problem) => problem.description(),
        }
    }
}

/// Takes a chunked body apart, without a copy of its data.
///
/// Invariant: each byte is looked at once (twice in trailers), however the reads were split, since the lines around the
/// data are taken byte by byte and a half-received trailer line remembers how far it was searched.
#[derive(Debug)]
pub struct ChunkedDecoder {
    state: State,
    limits: ChunkedLimits,
    extension_size: usize,
    trailers: HeaderMap,
    trailer_count: usize,
    trailer_size: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Size {
        size: u64,
        digits: u8,
    },
    Extension {
        size: u64,
    },
    SizeLf {
        size: u64,
    },
    Data {
        left: u64,
    },
    DataCr,
    DataLf,
    /// So many bytes at the front of the buffer hold no LF.
    Trailer {
        searched: usize,
    },
    Ended,
    /// There is no border that could be trusted any more.
    Failed(ChunkedError),
}

impl State {
    const START: Self = Self::Size { size: 0, digits: 0 };

    fn is_framing(self) -> bool {
        matches!(
            self,
            Self::Size { .. } | Self::Extension { .. } | Self::SizeLf { .. } | Self::DataCr | Self::DataLf
        )
    }
}

impl ChunkedDecoder {
    pub fn new(limits: &ChunkedLimits) -> Self {
        Self {
            state: State::START,
            limits: *limits,
            extension_size: 0,
            trailers: HeaderMap::new(),
            trailer_count: 0,
            trailer_size: 0,
        }
    }

    /// The next part of the body. `Ok(None)`: more bytes are needed; until they come, the buffer is only added to.
    /// After [`Part::End`] it gives that again, and takes nothing.
    ///
    /// # Errors
    ///
    /// See [`ChunkedError`]; every later call gives the same one, and the connection is of no further use.
    pub fn decode(&mut self, buffer: &mut BytesMut) -> Result<Option<Part>, ChunkedError> {
        self.decode_part(buffer)
            .inspect_err(|error| self.state = State::Failed(*error))
    }

    fn decode_part(&mut self, buffer: &mut BytesMut) -> Result<Option<Part>, ChunkedError> {
        if self.state.is_framing() {
            self.take_framing(buffer)?;
        }
        match self.state {
            State::Data { left } if !buffer.is_empty() => {
                let size = usize::try_from(left).map_or(buffer.len(), |left| left.min(buffer.len()));
                let left = left - size as u64;
                self.state = if left == 0 { State::DataCr } else { State::Data { left } };
                Ok(Some(Part::Data(buffer.split_to(size).freeze())))
            }
            State::Trailer { .. } => self.take_trailers(buffer),
            State::Ended => Ok(Some(Part::End)),
            State::Failed(error) => Err(error),
            _ => Ok(None),
        }
    }

    /// Takes the bytes between the data of two chunks, as far as they are there.
    fn take_framing(&mut self, buffer: &mut BytesMut) -> Result<(), ChunkedError> {
        let mut taken = 0;
        for &byte in buffer.iter() {
            self.state = self.step(byte)?;
            taken += 1;
            if !self.state.is_framing() {
                break;
            }
        }
        buffer.advance(taken);
        Ok(())
    }

    #[inline]
    fn step(&mut self, byte: u8) -> Result<State, ChunkedError> {
        match (self.state, byte) {
            (State::Size { size, digits }, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') => {
                let digit = char::from(byte)
                    .to_digit(16)
                    .expect("the pattern lets only digits pass");
                let size = (size << 4) | u64::from(digit);
                if digits == 16 || size > MAX_LENGTH {
                    return Err(ChunkedError::SizeTooLarge);
                }
                Ok(State::Size {
                    size,
                    digits: digits + 1,
                })
            }
            (State::Size { size, digits: 1.. }, b'\r') => Ok(State::SizeLf { size }),
            (State::Size { size, digits: 1.. }, b';') => self.extend(size),
            (State::Size { digits: 1.., .. }, b'\n') => Err(ChunkedError::InvalidLineEnd),
            (State::Size { .. }, _) => Err(ChunkedError::InvalidSize),
            (State::Extension { size }, b'\r') => Ok(State::SizeLf { size }),
            (State::Extension { .. }, b'\n') => Err(ChunkedError::InvalidLineEnd),
            (State::Extension { size }, b'\t' | b' '..=b'~' | 0x80..) => self.extend(size),
            (State::Extension { .. }, _) => Err(ChunkedError::InvalidExtension),
            (State::SizeLf { size: 0 }, b'\n') => Ok(State::Trailer { searched: 0 }),
            (State::SizeLf { size }, b'\n') => Ok(State::Data { left: size }),
            (State::SizeLf { .. }, _) => Err(ChunkedError::InvalidLineEnd),
            (State::DataCr, b'\r') => Ok(State::DataLf),
            (State::DataLf, b'\n') => Ok(State::START),
            (State::DataCr | State::DataLf, _) => Err(ChunkedError::MissingChunkEnd),
            (state, _) => unreachable!("{state:?} is not framing"),
        }
    }

    fn extend(&mut self, size: u64) -> Result<State, ChunkedError> {
        self.extension_size += 1;
        if self.extension_size > self.limits.max_extension_size {
            return Err(ChunkedError::ExtensionTooLarge);
        }
        Ok(State::Extension { size })
    }

    fn take_trailers(&mut self, buffer: &mut BytesMut) -> Result<Option<Part>, ChunkedError> {
        loop {
            let Some(line) = self.take_trailer_line(buffer)? else {
                return Ok(None);
            };
            if line.is_empty() {
                self.state = State::Ended;
                let trailers = std::mem::take(&mut self.trailers);
                return Ok(Some(if trailers.is_empty() {
                    Part::End
                } else {
                    Part::Trailers(trailers)
                }));
            }
            self.add_trailer(&line).map_err(ChunkedError::Trailer)?;
            self.trailer_count += 1;
            if self.trailer_count > self.limits.max_trailers {
                return Err(ChunkedError::TooManyTrailers);
            }
        }
    }

    /// A line of the trailer section without its CRLF.
    fn take_trailer_line(&mut self, buffer: &mut BytesMut) -> Result<Option<Bytes>, ChunkedError> {
        let State::Trailer { searched } = self.state else {
            return Ok(None);
        };
        let lf = memchr(b'\n', buffer.get(searched..).unwrap_or_default()).map(|offset| searched + offset);
        let size = lf.map_or(buffer.len(), |lf| lf + 1);
        if self.trailer_size + size > self.limits.max_trailer_size {
            return Err(ChunkedError::TrailersTooLarge);
        }
        let Some(lf) = lf else {
            self.state = State::Trailer { searched: size };
            return Ok(None);
        };
        self.state = State::Trailer { searched: 0 };
        self.trailer_size += size;
        let mut line = buffer.split_to(size).freeze();
        if lf == 0 || line[lf - 1] != b'\r' {
            return Err(ChunkedError::InvalidLineEnd);
        }
        line.truncate(lf - 1);
        Ok(Some(line))
    }

    fn add_trailer(&mut self, line: &Bytes) -> Result<(), FieldProblem> {
        let (raw_name, raw_value) = field::split(line)?;
        let name = field::name(raw_name)?;
        let value = field::value(line, raw_value)?;
        if !is_forbidden_trailer(&name) {
            self.trailers.append(name, value);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Data and trailers of a whole body, and what is left behind it; `None`: it is not complete.
    type Decoded = Option<(Vec<u8>, HeaderMap, Vec<u8>)>;

    fn decode_within(limits: &ChunkedLimits, bytes: &[u8], read: usize) -> Result<Decoded, ChunkedError> {
        let mut decoder = ChunkedDecoder::new(limits);
        let (mut buffer, mut data, mut trailers) = (BytesMut::new(), Vec::new(), HeaderMap::new());
        let mut reads = bytes.chunks(read);
        loop {
            match decoder.decode(&mut buffer)? {
                Some(Part::Data(part)) => data.extend_from_slice(&part),
                Some(Part::Trailers(part)) => trailers = part,
                Some(Part::End) => {
                    return Ok(Some((
                        data,
                        trailers,
                        [&buffer, &reads.collect::<Vec<_>>().concat()[..]].concat(),
                    )));
                }
                None => match reads.next() {
                    Some(read) => buffer.extend_from_slice(read),
                    None => return Ok(None),
                },
            }
        }
    }

    /// Decodes in one read and byte by byte, which must agree.
    fn decode(bytes: &[u8]) -> Result<Decoded, ChunkedError> {
        let whole = decode_within(&ChunkedLimits::default(), bytes, usize::MAX);
        assert_eq!(
            whole,
            decode_within(&ChunkedLimits::default(), bytes, 1),
            "{}",
            bytes.escape_ascii()
        );
        whole
    }

    fn data(bytes: &[u8]) -> Vec<u8> {
        decode(bytes).expect("well formed").expect("complete").0
    }

    #[test]
    fn data_are_joined_and_what_follows_stays() {
        let (data, trailers, left) =
            decode(b"5\r\nhello\r\n1;a=\"b\";c\r\n \r\n00A\r\nwide world\r\n0\r\n\r\nHTTP/1.1")
                .expect("ok")
                .expect("complete");
        assert_eq!(data, b"hello wide world");
        assert!(trailers.is_empty());
        assert_eq!(left, b"HTTP/1.1");
    }

    #[test]
    fn an_empty_body_is_its_last_chunk() {
        assert_eq!(data(b"0\r\n\r\n"), b"");
        assert_eq!(data(b"000;x\r\n\r\n"), b"");
    }

    #[test]
    fn allowed_trailers_come_before_the_end() {
        let bytes =
            b"1\r\na\r\n0\r\nGrpc-Status: 0\r\nContent-Length: 5\r\nX-Forwarded-For: a\r\nx: 1\r\nx: 2\r\n\r\nrest";
        let (_, trailers, left) = decode(bytes).expect("ok").expect("complete");
        assert_eq!(trailers["grpc-status"], "0");
        assert_eq!(trailers.get_all("x").iter().count(), 2);
        assert_eq!((trailers.len(), &left[..]), (3, &b"rest"[..]));
    }

    #[test]
    fn a_body_without_its_end_is_not_complete() {
        let bytes = b"3;e\r\nabc\r\n0\r\nx: y\r\n\r\n";
        for end in 0..bytes.len() {
            assert_eq!(decode(&bytes[..end]), Ok(None), "{end}");
        }
    }

    #[test]
    fn each_malformed_body_names_its_rule() {
        use ChunkedError::*;
        let cases: [(&[u8], ChunkedError); 27] = [
            (b"\r\n", InvalidSize),
            (b"\n", InvalidSize),
            (b";a\r\n", InvalidSize),
            (b"g\r\n", InvalidSize),
            (b"+5\r\n", InvalidSize),
            (b"-5\r\n", InvalidSize),
            (b"0x5\r\n", InvalidSize),
            (b"5_0\r\n", InvalidSize),
            (b" 5\r\n", InvalidSize),
            (b"5 \r\n", InvalidSize),
            (b"5\t;a\r\n", InvalidSize),
            (b"00000000000000005\r\n", SizeTooLarge),
            (b"8000000000000000\r\n", SizeTooLarge),
            (b"ffffffffffffffff\r\n", SizeTooLarge),
            (b"10000000000000000\r\n", SizeTooLarge),
            (b"5\nhello\r\n", InvalidLineEnd),
            (b"5\rhello\r\n", InvalidLineEnd),
            (b"5;a\nhello\r\n", InvalidLineEnd),
            (b"5;a\rb\r\nhello", InvalidLineEnd),
            (b"5;a\0\r\nhello", InvalidExtension),
            (b"5\r\nhello!\r\n", MissingChunkEnd),
            (b"5\r\nhello\n", MissingChunkEnd),
            (b"5\r\nhello\r0", MissingChunkEnd),
            (b"0\r\na: b\n\r\n", InvalidLineEnd),
            (b"0\r\n\n", InvalidLineEnd),
            (b"0\r\na : b\r\n\r\n", Trailer(FieldProblem::SpaceBeforeColon)),
            (b"0\r\na: b\r\n c\r\n\r\n", Trailer(FieldProblem::Folded)),
        ];
        for (bytes, error) in cases {
            assert_eq!(decode(bytes), Err(error), "{}", bytes.escape_ascii());
        }
    }

    #[test]
    fn the_largest_size_is_the_signed_maximum() {
        let mut decoder = ChunkedDecoder::new(&ChunkedLimits::default());
        let mut buffer = BytesMut::from(&b"7fffffffffffffff\r\nab"[..]);
        assert_eq!(
            decoder.decode(&mut buffer),
            Ok(Some(Part::Data(Bytes::from_static(b"ab"))))
        );
        assert_eq!(decoder.state, State::Data { left: MAX_LENGTH - 2 });
    }

    #[test]
    fn limits_hold_to_the_byte_over_the_whole_body() {
        let limits = ChunkedLimits {
            max_extension_size: 4,
            max_trailers: 2,
            max_trailer_size: 14,
        };
        let decode = |bytes: &[u8]| {
            let whole = decode_within(&limits, bytes, usize::MAX).map(|decoded| decoded.is_some());
            assert_eq!(whole, decode_within(&limits, bytes, 1).map(|decoded| decoded.is_some()));
            whole
        };
        assert_eq!(decode(b"1;a\r\nx\r\n1;b\r\nx\r\n0\r\n\r\n"), Ok(true));
        assert_eq!(
            decode(b"1;a\r\nx\r\n1;b\r\nx\r\n0;\r\n\r\n"),
            Err(ChunkedError::ExtensionTooLarge)
        );
        assert_eq!(decode(b"0\r\na: b\r\nc: d\r\n\r\n"), Ok(true));
        assert_eq!(
            decode(b"0\r\na: b\r\nc: de\r\n\r\n"),
            Err(ChunkedError::TrailersTooLarge)
        );
        assert_eq!(
            decode(b"0\r\na: bbbbbbbbbbbbbbbbbbbbbb"),
            Err(ChunkedError::TrailersTooLarge)
        );
        assert_eq!(
            decode(b"0\r\na:\r\nb:\r\nc:\r\n\r\n"),
            Err(ChunkedError::TooManyTrailers)
        );
    }

    #[test]
    fn an_error_stays_and_takes_nothing_more() {
        let mut decoder = ChunkedDecoder::new(&ChunkedLimits::default());
        assert_eq!(
            decoder.decode(&mut BytesMut::from(&b"x"[..])),
            Err(ChunkedError::InvalidSize)
        );
        let mut buffer = BytesMut::from(&b"1\r\na\r\n"[..]);
        assert_eq!(decoder.decode(&mut buffer), Err(ChunkedError::InvalidSize));
        assert_eq!(buffer.len(), 6);
    }

    #[test]
    fn the_end_is_given_again_and_takes_nothing() {
        let mut decoder = ChunkedDecoder::new(&ChunkedLimits::default());
        let mut buffer = BytesMut::from(&b"0\r\n\r\n0\r\n"[..]);
        assert_eq!(decoder.decode(&mut buffer), Ok(Some(Part::End)));
        assert_eq!(decoder.decode(&mut buffer), Ok(Some(Part::End)));
        assert_eq!(buffer, &b"0\r\n"[..]);
    }
}
