//! The byte stream of an HTTP/2 connection, as the HTTP/2 engine and the connection's driver share it: the engine cannot
//! give it back, and how it is closed is the driver's to say.

use std::{
    cell::{Cell, RefCell},
    io::{self, IoSlice},
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::{
    net::sockopt,
    pool::{CloseReason, Pooled},
    upstream::{connection::Connection, wire::Wire},
};

/// One handle of two.
#[derive(Debug, Clone)]
pub(super) struct Io(Rc<Inner>);

#[derive(Debug)]
struct Inner {
    /// `None` once it has been closed.
    connection: RefCell<Option<Pooled<Connection>>>,
    /// Whether anything was read since this was last asked.
    read: Cell<bool>,
    /// The same, for another who asks.
    news: Cell<bool>,
}

impl Io {
    pub(super) fn new(connection: Pooled<Connection>) -> Self {
        Self(Rc::new(Inner {
            connection: RefCell::new(Some(connection)),
            read: Cell::new(false),
            news: Cell::new(false),
        }))
    }

    pub(super) fn close(&self, reason: CloseReason) {
        let connection = self.0.connection.borrow_mut().take();
        if let Some(connection) = connection {
            connection.close(reason);
        }
    }

    /// Whether anything has come since this was last asked.
    pub(super) fn has_read(&self) -> bool {
        self.0.read.replace(false)
    }

    /// As [`Io::has_read`], asked apart from it: whether there are frames that nobody has judged yet.
    pub(super) fn has_news(&self) -> bool {
        self.0.news.replace(false)
    }

    /// Why no answer can come any more; `None`: one may.
    pub(super) fn is_hopeless(&self) -> Option<CloseReason> {
        let connection = self.0.connection.borrow();
        let connection = connection.as_ref()?;
        if !connection.reservation().is_present() {
            return Some(CloseReason::SourceGone);
        }
        let silent = sockopt::is_unacknowledged(connection.wire.tcp()).unwrap_or(false);
        silent.then_some(CloseReason::EndpointSilent)
    }

    fn with<T>(&self, poll: impl FnOnce(Pin<&mut Wire>) -> Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        match &mut *self.0.connection.borrow_mut() {
            Some(connection) => poll(Pin::new(&mut connection.wire)),
            None => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    }
}

impl AsyncRead for Io {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let result = self.with(|wire| wire.poll_read(context, buffer));
        if result.is_ready() {
            self.0.read.set(true);
            self.0.news.set(true);
        }
        result
    }
}

impl AsyncWrite for Io {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.with(|wire| wire.poll_write(context, bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.with(|wire| wire.poll_write_vectored(context, slices))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.with(|wire| wire.poll_flush(context))
    }

    /// The driver closes it, in the way that its end demands.
    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_flush(context)
    }
}
