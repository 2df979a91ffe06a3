//! The byte stream of one client of HTTP/1: what is read of it and not yet understood, and what is on its way to it.
//!
//! It is shared by the engine and by the body of the request that it has in hand, both of which live in the task of the
//! connection.

use std::{
    cell::RefCell,
    io::{self, IoSlice},
    pin::Pin,
    rc::{Rc, Weak},
    task::{Context, Poll, ready},
};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, StatusCode};
use hyper::body::{Frame, SizeHint};
use tokio::io::ReadBuf;
use tokio_util::io::poll_read_buf;

use super::outbound::{Outbound, SLICES};
use crate::{
    downstream::{
        Client,
        interim::Hear,
        io::Stream,
        request_body::{ReadBody, RequestBroken},
        state::{ClientEnd, State},
    },
    http1::{self, ChunkedDecoder, ChunkedLimits, DecodedRequest, Framing, Limits, Part, RequestProblem},
    net::{self, Pace, Shortcut, Taken},
    worker::buffers,
};

/// How many parts of a body that nobody wants are read, rather than to end the connection.
const PASSED_OVER: usize = 8;
/// Where there is less room than this behind what was read, more is made.
const ROOM: usize = 1024;
/// Where more than this is unsent, no more interim answers are added.
const MOST_INTERIM: usize = 16 * 1024;
const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

#[derive(Debug)]
pub(super) struct Link<S>(RefCell<Inner<S>>);

#[derive(Debug)]
struct Inner<S> {
    /// `None` once the connection is no longer ours.
    stream: Option<S>,
    state: Rc<State>,
    /// Whose shortcut some of what is written may take.
    client: Rc<Client>,
    /// Without memory of its own while nothing has come.
    read: BytesMut,
    /// Whether what was read may hold a whole head.
    undecoded: bool,
    /// The client has ended its side.
    ended: bool,
    outbound: Outbound,
    /// Which request it is, so that the body of one before is told from its own.
    request: u64,
    body: Body,
    /// How it comes.
    pace: Pace,
    expectation: Expectation,
    answer: Answer,
    /// Whether the body has been asked for since the client was last looked after.
    body_polled: bool,
}

/// What is still to come of the present request.
#[derive(Debug)]
enum Body {
    Ended,
    Length(u64),
    Chunked(Box<ChunkedDecoder>),
    /// There is no border behind which another request could begin.
    Broken,
}

/// Whether the client waits for `100 Continue` before it sends its body (RFC 9110 10.1.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Expectation {
    None,
    Continue,
}

/// Whether the head of the present answer is written, behind which nothing may come but its body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    Awaited,
    Begun,
}

/// What comes next of a client.
#[expect(
    clippy::large_enum_variant,
    reason = "it is taken apart at once, and mostly is the large one"
)]
pub(super) enum Next {
    Request(DecodedRequest),
    Refused(RequestProblem),
    /// Nothing, or only a part of a head.
    End,
}

/// The body of the request of this number.
struct RequestBody<S> {
    link: Rc<Link<S>>,
    request: u64,
}

const PRESENT: &str = "the engine has the stream until its end";

impl<S: Stream> Link<S> {
    /// `read` is what was read of it already.
    pub(super) fn new(stream: S, read: BytesMut, client: Rc<Client>, state: Rc<State>) -> Rc<Self> {
        state.note_head(!read.is_empty());
        let link = Rc::new(Self(RefCell::new(Inner {
            stream: Some(stream),
            state,
            client: Rc::clone(&client),
            undecoded: !read.is_empty(),
            read,
            ended: false,
            outbound: Outbound::default(),
            request: 0,
            body: Body::Ended,
            pace: Pace::Dense,
            expectation: Expectation::None,
            answer: Answer::Begun,
            body_polled: false,
        })));
        let hearer: Weak<dyn Hear> = Rc::downgrade(&(Rc::clone(&link) as Rc<dyn Hear>));
        client.hearer.set(hearer);
        link
    }

    /// The stream, and what was read of it and is no part of a request.
    pub(super) fn take(&self) -> (S, BytesMut) {
        let mut inner = self.0.borrow_mut();
        inner.request += 1;
        inner.outbound.rest();
        inner.client.hearer.clear();
        let stream = inner.stream.take().expect(PRESENT);
        (stream, std::mem::take(&mut inner.read))
    }

    /// Reads the next head.
    pub(super) fn poll_next(&self, context: &mut Context<'_>) -> Poll<Next> {
        self.0.borrow_mut().poll_next(context)
    }

    /// The body that follows the head of the present request. `None` where there is none.
    pub(super) fn body(self: &Rc<Self>, framing: Framing, expectation: Expectation) -> Option<Rc<dyn ReadBody>> {
        let mut inner = self.0.borrow_mut();
        inner.request += 1;
        inner.body_polled = false;
        inner.pace = Pace::Dense;
        inner.answer = Answer::Awaited;
        inner.body = match framing {
            Framing::None | Framing::UntilClose => Body::Ended,
            Framing::Length(length) => Body::Length(length),
            Framing::Chunked => Body::Chunked(Box::new(ChunkedDecoder::new(&ChunkedLimits::default()))),
        };
        if matches!(inner.body, Body::Ended) {
            return None;
        }
        inner.expectation = expectation;
        Some(Rc::new(RequestBody {
            link: Rc::clone(self),
            request: inner.request,
        }))
    }

    /// Looks after a client that waits for its answer: whether it leaves, and whether it takes what it was sent.
    pub(super) fn watch(&self, context: &mut Context<'_>) {
        self.0.borrow_mut().watch(context);
    }

    /// Passes over what is there of a body that nobody wants. Gives whether that was all of it.
    pub(super) fn pass_over(&self, context: &mut Context<'_>) -> bool {
        self.0.borrow_mut().pass_over(context)
    }

    /// Ends the request that has been answered.
    pub(super) fn end_request(&self) {
        self.0.borrow_mut().end_request();
    }

    /// Notes whether something of the next request is there, before the present one ends.
    pub(super) fn note_read_ahead(&self) {
        let inner = self.0.borrow();
        let ahead = matches!(inner.body, Body::Ended) && !inner.read.is_empty();
        inner.state.note_head(ahead);
    }

    /// Whether bytes are left over.
    pub(super) fn has_read_ahead(&self) -> bool {
        !self.0.borrow().read.is_empty()
    }

    /// From here on no interim answer is sent.
    pub(super) fn begin_answer(&self) {
        let mut inner = self.0.borrow_mut();
        inner.expectation = Expectation::None;
        inner.answer = Answer::Begun;
    }

    /// Bytes that are not out.
    pub(super) fn unsent(&self) -> usize {
        self.0.borrow().outbound.len()
    }

    pub(super) fn write<R>(&self, write: impl FnOnce(&mut Vec<u8>) -> R) -> R {
        self.0.borrow_mut().outbound.write(write)
    }

    pub(super) fn push(&self, data: Bytes) {
        self.0.borrow_mut().outbound.push(data);
    }

    /// Sends all that is to be sent.
    pub(super) fn poll_flush(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.borrow_mut().poll_flush(context)
    }
}

impl<S: Stream> Inner<S> {
    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Next> {
        loop {
            if self.undecoded {
                self.undecoded = false;
                match self.decode() {
                    Ok(Some(request)) => return Poll::Ready(Next::Request(request)),
                    Ok(None) => {}
                    Err(problem) => return Poll::Ready(Next::Refused(problem)),
                }
            }
            if self.ended {
                return Poll::Ready(Next::End);
            }
            match self.poll_read(context, ROOM) {
                Poll::Ready(Ok(1..)) => self.state.note_head(true),
                Poll::Ready(Ok(0)) => self.ended = true,
                Poll::Ready(Err(error)) => {
                    tracing::debug!(%error, "a client connection ended");
                    self.ended = true;
                }
                Poll::Pending => {
                    self.lessen();
                    return Poll::Pending;
                }
            }
        }
    }

    /// Gives the memory back that nothing is in: a client that is idle keeps none, and one that takes its time with a
    /// head only what that needs.
    fn lessen(&mut self) {
        if self.read.is_empty() || self.read.len() < ROOM && self.read.capacity() > ROOM {
            let part = BytesMut::from(&self.read[..]);
            buffers::give_read(std::mem::replace(&mut self.read, part));
        }
    }

    fn decode(&mut self) -> Result<Option<DecodedRequest>, RequestProblem> {
        let limits = self.state.listener.config.limits;
        let of_head = Limits {
            max_head_size: limits.max_header_size,
            max_headers: limits.max_headers,
        };
        let mut fields = buffers::take_fields();
        let decoded = http1::decode_request_head(&mut self.read, &mut fields, &of_head, limits.max_uri_size);
        if let Ok(None) = decoded {
            buffers::give_fields(fields);
            // It may have been blank lines alone.
            self.state.note_head(!self.read.is_empty());
        }
        decoded
    }

    /// Reads what has come behind what was read, and makes `room` for it first where there is much less.
    fn poll_read(&mut self, context: &mut Context<'_>, room: usize) -> Poll<io::Result<usize>> {
        let is_large = room > buffers::READ_SIZE;
        if self.read.capacity() == 0 && !is_large {
            self.read = buffers::take_read();
        }
        let least = if is_large { room / 2 } else { room.min(ROOM) };
        if self.read.capacity() - self.read.len() < least {
            // What was read before goes first where its memory is free, so that this is seldom an allocation.
            self.read.reserve(room.max(buffers::READ_SIZE / 4));
        }
        let stream = self.stream.as_mut().expect(PRESENT);
        let read = ready!(poll_read_buf(Pin::new(stream), context, &mut self.read))?;
        self.undecoded |= read > 0;
        Poll::Ready(Ok(read))
    }

    fn watch(&mut self, context: &mut Context<'_>) {
        if !self.outbound.is_empty() {
            // What cannot be sent is told by the answer.
            let _ = self.poll_flush(context);
        }
        let asked = std::mem::take(&mut self.body_polled);
        if self.ended || asked {
            return;
        }
        if matches!(self.body, Body::Ended) {
            self.read_ahead(context);
        } else if S::HALF_CLOSE
            && let Some(end) = poll_ended(self.stream.as_ref().expect(PRESENT), context)
        {
            self.ended = true;
            self.state.note_client_ended(end);
        }
    }

    /// Reads as much of the next request as there is room for, so that the end of the client is seen behind it.
    fn read_ahead(&mut self, context: &mut Context<'_>) {
        while self.read.is_empty() || self.read.len() < self.read.capacity() {
            let end = match self.poll_read(context, 1) {
                Poll::Ready(Ok(1..)) => continue,
                Poll::Ready(Ok(0)) if S::HALF_CLOSE => ClientEnd::Closed,
                Poll::Ready(Ok(_) | Err(_)) => ClientEnd::Lost,
                Poll::Pending => return,
            };
            self.ended = true;
            return self.state.note_client_ended(end);
        }
    }

    fn pass_over(&mut self, context: &mut Context<'_>) -> bool {
        self.expectation = Expectation::None;
        for _ in 0..PASSED_OVER {
            if matches!(self.body, Body::Ended) || !matches!(self.poll_body(context, None), Poll::Ready(Some(Ok(_)))) {
                break;
            }
        }
        matches!(self.body, Body::Ended)
    }

    fn end_request(&mut self) {
        self.request += 1;
        self.undecoded = !self.read.is_empty();
        self.outbound.rest();
    }

    /// The next part of the present body; what stands in for it, where `shortcut` has taken it.
    fn poll_body(
        &mut self,
        context: &mut Context<'_>,
        shortcut: Option<&Shortcut>,
    ) -> Poll<Option<Result<Frame<Bytes>, RequestBroken>>> {
        self.body_polled = true;
        if std::mem::replace(&mut self.expectation, Expectation::None) == Expectation::Continue {
            self.outbound.write(|out| out.extend_from_slice(CONTINUE));
            let _ = self.poll_flush(context);
        }
        loop {
            match self.decode_body() {
                Ok(Some(Part::Data(data))) => return Poll::Ready(Some(Ok(Frame::data(data)))),
                Ok(Some(Part::Trailers(trailers))) => return Poll::Ready(Some(Ok(Frame::trailers(trailers)))),
                Ok(Some(Part::End)) => return Poll::Ready(None),
                Ok(None) => {}
                Err(error) => return Poll::Ready(Some(Err(self.broken(error)))),
            }
            if self.ended {
                return Poll::Ready(Some(Err(self.broken(RequestBroken::Truncated))));
            }
            let wanted = match self.body {
                Body::Length(left) => buffers::body_read(left),
                _ => buffers::body_read(u64::MAX),
            };
            let read = match shortcut.and_then(|shortcut| self.poll_shortcut(context, shortcut)) {
                Some(taken) => match ready!(taken) {
                    Ok(stand_in) if !stand_in.is_empty() => return Poll::Ready(Some(Ok(Frame::data(stand_in)))),
                    end => end.map(|_| 0),
                },
                None => ready!(self.poll_read(context, wanted)),
            };
            match read {
                Ok(read @ 1..) => self.pace = Pace::of(read),
                Ok(0) => self.ended = true,
                Err(error) => {
                    self.ended = true;
                    return Poll::Ready(Some(Err(self.broken(RequestBroken::Read(error)))));
                }
            }
        }
    }

    /// Takes what comes of a long body without reading it; `None` where it has to be read.
    fn poll_shortcut(&mut self, context: &mut Context<'_>, shortcut: &Shortcut) -> Option<Poll<io::Result<Bytes>>> {
        let Body::Length(left) = &mut self.body else {
            return None;
        };
        if *left < net::LONG || self.pace == Pace::Sparse || self.client.tls.is_some() {
            return None;
        }
        let tcp = self.stream.as_ref().expect(PRESENT).tcp();
        Some(match shortcut.poll_take(tcp, *left, context) {
            Poll::Ready(Ok(Taken::NoPipe)) => return None,
            Poll::Ready(Ok(Taken::Bytes(stand_in))) => {
                *left -= stand_in.len() as u64;
                if *left == 0 {
                    self.body = Body::Ended;
                }
                self.pace = Pace::of(stand_in.len());
                Poll::Ready(Ok(stand_in))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Ready(Ok(Taken::Occupied)) | Poll::Pending => Poll::Pending,
        })
    }

    /// What the bytes read so far give.
    fn decode_body(&mut self) -> Result<Option<Part>, RequestBroken> {
        let part = match &mut self.body {
            Body::Ended => return Ok(Some(Part::End)),
            Body::Broken => return Err(RequestBroken::Truncated),
            _ if self.read.is_empty() => return Ok(None),
            Body::Length(left) => {
                let length = usize::try_from(*left).unwrap_or(usize::MAX).min(self.read.len());
                *left -= length as u64;
                if *left == 0 {
                    self.body = Body::Ended;
                }
                return Ok(Some(Part::Data(self.read.split_to(length).freeze())));
            }
            Body::Chunked(decoder) => decoder.decode(&mut self.read).map_err(RequestBroken::Chunks)?,
        };
        // Nothing follows the trailers but the border.
        if let Some(Part::End | Part::Trailers(_)) = part {
            self.body = Body::Ended;
        }
        Ok(part)
    }

    fn broken(&mut self, error: RequestBroken) -> RequestBroken {
        self.body = Body::Broken;
        error
    }

    fn poll_flush(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = self.poll_write_out(context);
        match result {
            Poll::Pending => self.state.note_write_blocked(),
            Poll::Ready(_) => self.state.flushed(),
        }
        result
    }

    fn poll_write_out(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let stream = self.stream.as_mut().expect(PRESENT);
        while !self.outbound.is_empty() {
            let written = match (self.outbound.stand_in(), self.client.held_shortcut()) {
                (Some(stand_in), Some(shortcut)) => shortcut.poll_write(stream.tcp(), stand_in, context),
                _ => {
                    let mut slices = [IoSlice::new(&[]); SLICES];
                    match self.outbound.slices(&mut slices) {
                        1 => Pin::new(&mut *stream).poll_write(context, &slices[0]),
                        count => Pin::new(&mut *stream).poll_write_vectored(context, &slices[..count]),
                    }
                }
            };
            match ready!(written)? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                written => self.outbound.advance(written),
            }
            self.state.note_write_progress();
        }
        Pin::new(stream).poll_flush(context)
    }
}

/// Looks whether the client has ended its side, without taking anything of what it may have sent. No system call unless
/// the reactor has seen something.
fn poll_ended<S: Stream>(stream: &S, context: &mut Context<'_>) -> Option<ClientEnd> {
    let mut byte = [0];
    match stream.tcp().poll_peek(context, &mut ReadBuf::new(&mut byte)) {
        Poll::Ready(Ok(0)) => Some(ClientEnd::Closed),
        Poll::Ready(Err(_)) => Some(ClientEnd::Lost),
        Poll::Ready(Ok(_)) | Poll::Pending => None,
    }
}

impl<S: Stream> Hear for Link<S> {
    fn hear(&self, status: StatusCode, fields: &HeaderMap) {
        let mut inner = self.0.borrow_mut();
        // They are hints, and not worth the memory of a client that takes nothing.
        if inner.answer == Answer::Awaited && inner.outbound.len() <= MOST_INTERIM {
            inner
                .outbound
                .write(|out| http1::encode_interim_head(out, status, fields));
        }
    }
}

impl<S: Stream> ReadBody for RequestBody<S> {
    fn poll_frame(
        &self,
        context: &mut Context<'_>,
        shortcut: Option<&Shortcut>,
    ) -> Poll<Option<Result<Frame<Bytes>, RequestBroken>>> {
        let mut inner = self.link.0.borrow_mut();
        if inner.request != self.request {
            return Poll::Ready(Some(Err(RequestBroken::Truncated)));
        }
        inner.poll_body(context, shortcut)
    }

    fn size_hint(&self) -> SizeHint {
        let inner = self.link.0.borrow();
        match inner.body {
            Body::Ended => SizeHint::with_exact(0),
            Body::Length(left) => SizeHint::with_exact(left),
            Body::Chunked(_) | Body::Broken => SizeHint::default(),
        }
    }
}
