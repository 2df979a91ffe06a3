//! A client's HTTP/2 stream that has become a tunnel (RFC 8441, RFC 9113 8.5).
//!
//! The engine gives it as a byte stream that knows neither how to reset the client nor that the client has reset: a
//! dropped writer ends the stream in order, and a reset reads as the end. Both are told here by the task that writes for
//! it, which the engine spawns as it hands the stream over.

use std::{
    cell::RefCell,
    io,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
};

use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    task::AbortHandle,
};

use super::{Opened, Tunnel};
use crate::tunnel::Side;

/// What is handed to the task that writes at once, which holds up to three such pieces for a slow client: one DATA frame
/// of the default size (RFC 9113 6.5.2).
const PIECE: usize = 16 * 1024;

/// The tasks that the engine spawns to write for tunnels.
#[derive(Debug, Clone, Default)]
pub(in crate::downstream) struct Writers {
    /// Where the next one is to be noted: the engine spawns the writer of a stream as soon as the service has answered.
    next: Rc<RefCell<Option<Writer>>>,
}

/// The task that writes for a stream.
type Writer = Rc<RefCell<Option<AbortHandle>>>;

impl Writers {
    /// The engine has spawned a task that is no stream.
    pub(in crate::downstream) fn note(&self, task: AbortHandle) {
        if let Some(writer) = self.next.take() {
            writer.replace(Some(task));
        }
    }

    /// Carries the bytes of a stream, once its answer is out, as a task that ends with the stream.
    pub(in crate::downstream) fn open<T: Tunnel>(&self, opened: Opened<T>, upgrade: OnUpgrade) {
        let writer = Writer::default();
        // Should the answer not get out, this notes some other tunnel's task, which nobody then asks for.
        self.next.replace(Some(Rc::clone(&writer)));
        tokio::task::spawn_local(async move {
            if let Ok(upgraded) = upgrade.await {
                opened.run(Stream::new(upgraded, writer)).await;
            }
        });
    }
}

#[derive(Debug)]
struct Stream {
    io: TokioIo<Upgraded>,
    writer: Writer,
    end: End,
    sent: Sent,
}

/// Whether the client has been told that it gets no more, with which the task that writes ends too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sent {
    Open,
    End,
}

/// What is known of the end of what the client sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    No,
    /// It has been read, and may be a reset.
    Doubtful,
    /// END_STREAM has come.
    Certain,
}

impl Stream {
    fn new(upgraded: Upgraded, writer: Writer) -> Self {
        Self {
            io: TokioIo::new(upgraded),
            writer,
            end: End::No,
            sent: Sent::Open,
        }
    }

    /// Whether the task that writes has ended early, as it does when the client resets the stream.
    fn is_reset(&self) -> bool {
        self.sent == Sent::Open && self.writer.borrow().as_ref().is_some_and(AbortHandle::is_finished)
    }
}

impl Side for Stream {
    async fn close(self) {}

    fn is_gone(&self) -> bool {
        self.is_reset()
    }

    fn reset(self) {
        if let Some(writer) = self.writer.take() {
            writer.abort();
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.end == End::No {
            let before = buffer.filled().len();
            ready!(Pin::new(&mut self.io).poll_read(context, buffer))?;
            if buffer.filled().len() > before {
                return Poll::Ready(Ok(()));
            }
            // The writer was woken by what came together with this task, and has its turn before the next one of this.
            self.end = End::Doubtful;
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        if self.end == End::Doubtful && self.is_reset() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        self.end = End::Certain;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(context, &bytes[..bytes.len().min(PIECE)])
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Before it is done: the writer's end and what it has to say come together.
        self.sent = Sent::End;
        Pin::new(&mut self.io).poll_shutdown(context)
    }
}
