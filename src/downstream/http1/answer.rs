//! An answer on its way to a client of HTTP/1: its head, then its body as far as the client takes it.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header};
use hyper::body::{Body, Frame};

use super::{date, link::Link};
use crate::{
    downstream::{in_flight::InFlight, io::Stream, state::State},
    http1::{self, CHUNK_END, Framing, Version},
};

/// What is taken of an answer before it waits for the client. With 64 KiB, a write for each read, 1 MiB costs a quarter
/// more processor time.
const WRITE_BUFFER: usize = 400 * 1024;

/// What an answer must know of its request.
pub(super) struct Asked {
    pub(super) method: Method,
    pub(super) version: Version,
    /// The client can be sent trailers that it was not told of (RFC 9110 6.5.1).
    pub(super) takes_trailers: bool,
    /// It lets the connection be used again.
    pub(super) keep_alive: bool,
}

/// Whether the connection lives on behind an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum After {
    KeepAlive,
    Close,
    Tunnel,
}

/// Why an answer did not get out whole.
#[derive(Debug)]
pub(super) enum Cutoff {
    Write(io::Error),
    Body(Border),
}

/// Whether a client notices by the framing that a body has broken off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Border {
    Stated,
    /// The answer ends when the connection does.
    None,
}

/// Writes the head of `response`, and says how the body follows it. `after` is what the answer is known to mean for the
/// connection.
pub(super) fn write_head<S: Stream, B: Body>(
    link: &Link<S>,
    state: &State,
    asked: &Asked,
    response: &Response<B>,
    mut after: After,
) -> (Framing, After) {
    let (status, headers) = (response.status(), response.headers());
    let (framing, said) = frame(asked, status, headers, response.body());
    if framing == Framing::UntilClose {
        after = After::Close;
    }
    let connection: Option<&[u8]> = match after {
        After::Close => Some(b"close"),
        After::Tunnel if status == StatusCode::SWITCHING_PROTOCOLS => Some(b"upgrade"),
        After::KeepAlive if asked.version == Version::Http10 => Some(b"keep-alive"),
        After::Tunnel | After::KeepAlive => None,
    };
    link.begin_answer();
    date::with(state.now(), |date| {
        link.write(|out| http1::encode_response_head(out, asked.version, status, headers, said, connection, date));
    });
    (framing, after)
}

/// How the body is framed, and what is said of that: a length may be told of a body that is left out (RFC 9110 8.6).
fn frame<B: Body>(asked: &Asked, status: StatusCode, headers: &HeaderMap, body: &B) -> (Framing, Framing) {
    let stated = || headers.get(header::CONTENT_LENGTH).and_then(length_of);
    if http1::opens_tunnel(&asked.method, status) || status.is_informational() || status == StatusCode::NO_CONTENT {
        return (Framing::None, Framing::None);
    }
    if asked.method == Method::HEAD || status == StatusCode::NOT_MODIFIED {
        let length = stated().or_else(|| body.size_hint().exact().filter(|&length| length > 0));
        return (Framing::None, length.map_or(Framing::None, Framing::Length));
    }
    let exact = if body.is_end_stream() {
        Some(0)
    } else {
        body.size_hint().exact().or_else(stated)
    };
    let framing = match exact {
        Some(length) => Framing::Length(length),
        None if asked.version == Version::Http10 => Framing::UntilClose,
        None => Framing::Chunked,
    };
    (framing, framing)
}

fn length_of(value: &HeaderValue) -> Option<u64> {
    value.to_str().ok()?.parse().ok()
}

/// A body on its way.
pub(super) struct Sending<'a, S, B: Body> {
    link: &'a Link<S>,
    /// `None` once its last byte is known, or it has broken off.
    body: Option<(B, InFlight)>,
    framing: Framing,
    takes_trailers: bool,
    broken: Option<Border>,
}

impl<'a, S: Stream, B: Body<Data = Bytes> + Unpin> Sending<'a, S, B> {
    pub(super) fn new(link: &'a Link<S>, body: B, in_flight: InFlight, framing: Framing, asked: &Asked) -> Self {
        let mut sending = Self {
            link,
            body: Some((body, in_flight)),
            framing,
            takes_trailers: asked.takes_trailers,
            broken: None,
        };
        if matches!(framing, Framing::None | Framing::Length(0)) {
            sending.let_go();
        }
        sending
    }

    /// Sends what there is, as far as the client takes it.
    pub(super) fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Cutoff>> {
        loop {
            let waits = self.fill(context);
            ready!(self.link.poll_flush(context)).map_err(Cutoff::Write)?;
            if self.body.is_none() {
                return Poll::Ready(self.broken.map_or(Ok(()), |border| Err(Cutoff::Body(border))));
            }
            ready!(waits);
        }
    }

    /// Takes as much of the body as may wait for the client. Pending when it is the endpoint's turn.
    fn fill(&mut self, context: &mut Context<'_>) -> Poll<()> {
        while let Some((body, _)) = &mut self.body {
            if self.link.unsent() >= WRITE_BUFFER {
                break;
            }
            match ready!(Pin::new(body).poll_frame(context)) {
                Some(Ok(frame)) => self.push(frame),
                Some(Err(_)) => self.break_off(),
                None => self.end(None),
            }
        }
        Poll::Ready(())
    }

    fn push(&mut self, frame: Frame<Bytes>) {
        let data = match frame.into_data() {
            Ok(data) if data.is_empty() => return,
            Ok(data) => data,
            Err(frame) => {
                if let Ok(trailers) = frame.into_trailers() {
                    self.end(Some(trailers));
                }
                return;
            }
        };
        match &mut self.framing {
            Framing::Length(left) => match left.checked_sub(data.len() as u64) {
                Some(rest) => {
                    *left = rest;
                    self.link.push(data);
                    if rest == 0 {
                        self.let_go();
                    }
                }
                // It would be taken for the next answer.
                None => self.break_off(),
            },
            Framing::Chunked => {
                self.link.write(|out| http1::chunk_head(out, data.len()));
                self.link.push(data);
                self.link.push(Bytes::from_static(CHUNK_END));
            }
            Framing::UntilClose | Framing::None => self.link.push(data),
        }
    }

    fn end(&mut self, trailers: Option<HeaderMap>) {
        match self.framing {
            Framing::Length(1..) => return self.break_off(),
            Framing::Chunked => {
                let trailers = trailers.filter(|_| self.takes_trailers);
                self.link.write(|out| http1::last_chunk(out, trailers.as_ref()));
            }
            Framing::Length(0) | Framing::None | Framing::UntilClose => {}
        }
        self.let_go();
    }

    fn break_off(&mut self) {
        self.broken = Some(match self.framing {
            Framing::UntilClose => Border::None,
            Framing::Length(_) | Framing::Chunked | Framing::None => Border::Stated,
        });
        self.let_go();
    }

    fn let_go(&mut self) {
        self.link.note_read_ahead();
        self.body = None;
    }
}
