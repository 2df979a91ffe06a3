//! One HTTP/1 answer, taken from the bytes as they come; its body is counted and thrown away.

use bytes::{Buf, BytesMut};
use http::{HeaderMap, Method, StatusCode};

use crate::http1::{ChunkedDecoder, ChunkedLimits, Framing, Limits, Part, decode_response_head};

/// An answer that came whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Answer {
    pub status: StatusCode,
    /// Bytes of its body.
    pub body: u64,
    /// Whether another request may follow on the connection.
    pub reusable: bool,
}

/// What came was no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NoAnswer;

#[derive(Debug)]
pub(super) struct Decoder {
    method: Method,
    /// Recycled from one head to the next.
    fields: HeaderMap,
    limits: Limits,
    answer: Answer,
    place: Place,
}

#[derive(Debug)]
enum Place {
    Head,
    Length { left: u64 },
    Chunks(ChunkedDecoder),
    UntilClose,
}

impl Decoder {
    pub fn new(method: Method) -> Self {
        Self {
            method,
            fields: HeaderMap::new(),
            limits: Limits::default(),
            answer: Answer {
                status: StatusCode::OK,
                body: 0,
                reusable: false,
            },
            place: Place::Head,
        }
    }

    /// Takes what it can. `None`: more bytes are needed. After an answer the next call begins the next one.
    ///
    /// # Errors
    /// The connection is of no further use.
    pub fn decode(&mut self, buffer: &mut BytesMut) -> Result<Option<Answer>, NoAnswer> {
        loop {
            let ended = match &mut self.place {
                Place::Head => match self.decode_head(buffer)? {
                    None => return Ok(None),
                    Some(place) => {
                        self.place = place;
                        continue;
                    }
                },
                Place::Length { left } => {
                    let taken = buffer.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                    buffer.advance(taken);
                    self.answer.body += taken as u64;
                    *left -= taken as u64;
                    *left == 0
                }
                Place::Chunks(decoder) => match decoder.decode(buffer).map_err(|_| NoAnswer)? {
                    Some(Part::Data(data)) => {
                        self.answer.body += data.len() as u64;
                        continue;
                    }
                    Some(Part::Trailers(_)) => continue,
                    Some(Part::End) => true,
                    None => false,
                },
                Place::UntilClose => {
                    self.answer.body += buffer.len() as u64;
                    buffer.clear();
                    false
                }
            };
            if !ended {
                return Ok(None);
            }
            self.place = Place::Head;
            // Bytes that nobody asked for answer no request.
            self.answer.reusable &= buffer.is_empty();
            return Ok(Some(self.answer));
        }
    }

    /// The connection has ended: whole is now only what lasts until then.
    ///
    /// # Errors
    /// The answer is not whole.
    pub fn end(&mut self) -> Result<Answer, NoAnswer> {
        match self.place {
            Place::UntilClose => Ok(self.answer),
            _ => Err(NoAnswer),
        }
    }

    /// Reads over answers that only announce another (RFC 9110 15.2).
    fn decode_head(&mut self, buffer: &mut BytesMut) -> Result<Option<Place>, NoAnswer> {
        loop {
            if buffer.is_empty() {
                return Ok(None);
            }
            let decoded = decode_response_head(buffer, &self.method, &mut self.fields, &self.limits);
            let Some(head) = decoded.map_err(|_| NoAnswer)? else {
                return Ok(None);
            };
            self.fields = head.headers;
            self.fields.clear();
            if head.status == StatusCode::SWITCHING_PROTOCOLS {
                return Err(NoAnswer);
            }
            if head.status.is_informational() {
                continue;
            }
            self.answer = Answer {
                status: head.status,
                body: 0,
                reusable: head.keep_alive,
            };
            return Ok(Some(match head.framing {
                Framing::None => Place::Length { left: 0 },
                Framing::Length(left) => Place::Length { left },
                Framing::Chunked => Place::Chunks(ChunkedDecoder::new(&ChunkedLimits::default())),
                Framing::UntilClose => Place::UntilClose,
            }));
        }
    }
}
