//! What the bytes to and from an endpoint travel over: a socket, with TLS above it where the cluster asks for that.

use std::{
    io::{self, IoSlice, Read},
    pin::Pin,
    task::{Context, Poll},
};

use rustls::ClientConnection;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};
use tokio_rustls::client::TlsStream;

use super::handshake::H2;
use crate::pool::Liveness;

/// A byte stream to an endpoint.
#[derive(Debug)]
pub enum Wire {
    Plain(TcpStream),
    /// Boxed, since it is some 1.2 KiB, and connections are handed from place to place.
    Tls(Box<TlsStream<Socket>>),
}

/// A socket that can be taken out from under its TLS session, to be moved to the reactor of another worker.
///
/// Invariant: `Some` except while [`Wire::adopt`] moves it.
#[derive(Debug)]
pub struct Socket(Option<TcpStream>);

const PRESENT: &str = "it is away only while it is moved";

impl Wire {
    pub(super) fn tcp(&self) -> &TcpStream {
        match self {
            Self::Plain(stream) => stream,
            Self::Tls(stream) => stream.get_ref().0.get(),
        }
    }

    /// Whether the endpoint has chosen HTTP/2 in the handshake.
    pub(super) fn is_http2(&self) -> bool {
        match self {
            Self::Plain(_) => false,
            Self::Tls(stream) => stream.get_ref().1.alpn_protocol() == Some(H2),
        }
    }

    /// What the socket shows, while nothing is asked of the endpoint. No system call unless the reactor has seen
    /// something: the readiness flag says "would block" by itself.
    pub(super) fn look(&mut self) -> Liveness {
        match self {
            Self::Plain(stream) => seen(stream.try_read(&mut [0])),
            Self::Tls(stream) => {
                let (socket, session) = stream.get_mut();
                look_through(session, &mut Waiting(socket.get()))
            }
        }
    }

    /// As [`Wire::look`], where an end that is only announced inside TLS counts as silence until its FIN is there.
    pub(super) fn look_for_fin(&mut self) -> Liveness {
        match self.look() {
            Liveness::Closed => seen(self.tcp().try_read(&mut [0])),
            liveness => liveness,
        }
    }

    /// Moves the socket to the reactor of the calling worker, and looks at it with a system call, since what the other
    /// reactor had seen is lost.
    ///
    /// # Errors
    /// The kernel's; the socket is closed then.
    pub(super) fn adopt(self) -> io::Result<(Self, Liveness)> {
        match self {
            Self::Plain(stream) => {
                let moving = stream.into_std()?;
                let liveness = seen(moving.peek(&mut [0]));
                Ok((Self::Plain(TcpStream::from_std(moving)?), liveness))
            }
            Self::Tls(mut stream) => {
                let (socket, session) = stream.get_mut();
                let moving = socket.0.take().expect(PRESENT).into_std()?;
                let liveness = look_through(session, &mut &moving);
                socket.0 = Some(TcpStream::from_std(moving)?);
                Ok((Self::Tls(stream), liveness))
            }
        }
    }

    /// Tells the endpoint that our side is over (RFC 8446 6.1), ahead of the FIN. There is room for it: a connection
    /// that ends cleanly has nothing unsent.
    pub(super) fn send_close_notify(&mut self) {
        if let Self::Tls(stream) = self {
            let (socket, session) = stream.get_mut();
            session.send_close_notify();
            while session.wants_write() && session.write_tls(&mut Waiting(socket.get())).is_ok_and(|n| n > 0) {}
        }
    }
}

fn seen(read: io::Result<usize>) -> Liveness {
    match read {
        Ok(0) => Liveness::Closed,
        Ok(_) => Liveness::Readable,
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Liveness::Silent,
        Err(_) => Liveness::Reset,
    }
}

/// What an idle TLS session shows. It may well be readable without anything being wrong: tickets for later sessions come
/// behind the handshake (RFC 8446 4.6.1), and so may a new key.
fn look_through(session: &mut ClientConnection, socket: &mut dyn Read) -> Liveness {
    loop {
        match session.process_new_packets() {
            Ok(state) if state.plaintext_bytes_to_read() > 0 => return Liveness::Readable,
            Ok(state) if state.peer_has_closed() => return Liveness::Closed,
            Ok(_) => {}
            Err(_) => return Liveness::Readable,
        }
        match seen(session.read_tls(socket)) {
            Liveness::Readable => {}
            ended => return ended,
        }
    }
}

impl Socket {
    pub(super) fn new(stream: TcpStream) -> Self {
        Self(Some(stream))
    }

    fn get(&self) -> &TcpStream {
        self.0.as_ref().expect(PRESENT)
    }

    fn pin(self: Pin<&mut Self>) -> Pin<&mut TcpStream> {
        Pin::new(self.get_mut().0.as_mut().expect(PRESENT))
    }
}

/// Reads and writes without waiting and without touching the wakers that a task has left with the reactor.
struct Waiting<'a>(&'a TcpStream);

impl Read for Waiting<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.try_read(buffer)
    }
}

impl io::Write for Waiting<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.try_write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.pin().poll_read(context, buffer)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.pin().poll_write(context, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.pin().poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.pin().poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.pin().poll_shutdown(context)
    }
}

impl AsyncRead for Wire {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Tls(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Wire {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write_vectored(context, slices),
            Self::Tls(stream) => Pin::new(stream).poll_write_vectored(context, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(context),
            Self::Tls(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}
