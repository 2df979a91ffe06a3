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

#[cfg(test)]
mod tests {
    use super::*;

    /// What a connection that ends after these bytes gives, read at once and byte by byte, which must agree.
    fn read(bytes: &str) -> Result<Answer, NoAnswer> {
        let read = |size| {
            let mut decoder = Decoder::new(Method::GET);
            let mut buffer = BytesMut::new();
            for part in bytes.as_bytes().chunks(size) {
                buffer.extend_from_slice(part);
                if let Some(answer) = decoder.decode(&mut buffer)? {
                    return Ok(answer);
                }
            }
            decoder.end()
        };
        let whole = read(usize::MAX);
        assert_eq!(whole.map(|answer| answer.body), read(1).map(|answer| answer.body));
        whole
    }

    fn ok(body: u64) -> Answer {
        Answer {
            status: StatusCode::OK,
            body,
            reusable: true,
        }
    }

    #[test]
    fn every_framing_has_its_end() {
        let cases = [
            ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", ok(5)),
            ("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", ok(0)),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n1;a\r\n!\r\n0\r\na: b\r\n\r\n",
                ok(6),
            ),
            (
                "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n\
                 HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na",
                ok(1),
            ),
            (
                "HTTP/1.1 204 No Content\r\n\r\n",
                Answer {
                    status: StatusCode::NO_CONTENT,
                    ..ok(0)
                },
            ),
            (
                "HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nContent-Length: 1\r\n\r\na",
                Answer {
                    status: StatusCode::SERVICE_UNAVAILABLE,
                    body: 1,
                    reusable: false,
                },
            ),
            (
                "HTTP/1.0 200 OK\r\n\r\nuntil the end",
                Answer {
                    reusable: false,
                    ..ok(13)
                },
            ),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nab",
                Answer {
                    reusable: false,
                    ..ok(1)
                },
            ),
        ];
        for (bytes, answer) in cases {
            assert_eq!(read(bytes), Ok(answer), "{bytes}");
        }
    }

    #[test]
    fn what_is_cut_short_or_no_answer_is_none() {
        for bytes in [
            "",
            "HTTP/1.1 200 OK\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhell",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nhello",
            "HTTP/1.1 100 Continue\r\n\r\n",
            "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: a\r\n\r\n",
            "SSH-2.0-a\r\n",
        ] {
            assert_eq!(read(bytes), Err(NoAnswer), "{bytes}");
        }
    }

    #[test]
    fn one_answer_follows_another() {
        let mut decoder = Decoder::new(Method::GET);
        let mut buffer = BytesMut::new();
        for _ in 0..3 {
            buffer.extend_from_slice(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nab");
            assert_eq!(decoder.decode(&mut buffer), Ok(Some(ok(2))));
        }
    }
}
