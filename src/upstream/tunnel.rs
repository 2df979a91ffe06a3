//! A connection that has become a tunnel: the endpoint's side of it.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use http::{HeaderValue, StatusCode, header};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::connection::{Connection, Shut};
use crate::{
    http1::ResponseHead,
    net,
    pool::{CloseReason, FirstClose, Pooled},
    tunnel::Side,
    worker::buffers,
};

/// What a request would turn its connection into.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Opens {
    Nothing,
    /// Another protocol, if the endpoint agrees (RFC 9110 7.8).
    Upgrade(Box<Upgrade>),
    /// A tunnel to the host that it names (RFC 9110 9.3.6).
    Connect,
}

/// An upgrade that is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upgrade {
    /// The value of the Upgrade field that is sent: one protocol or several.
    pub protocols: HeaderValue,
    /// The Sec-WebSocket-Accept that has to come back, where the key was ours (RFC 6455 4.1).
    pub accept: Option<HeaderValue>,
}

impl Opens {
    /// Whether the bytes behind this head are no longer HTTP, as the request has asked.
    pub(super) fn is_granted_by(&self, head: &ResponseHead) -> bool {
        match self {
            Self::Nothing => false,
            Self::Connect => head.status.is_success(),
            Self::Upgrade(upgrade) => head.status == StatusCode::SWITCHING_PROTOCOLS && upgrade.is_granted_by(head),
        }
    }
}

impl Upgrade {
    fn is_granted_by(&self, head: &ResponseHead) -> bool {
        let asked = self.protocols.as_bytes();
        let mut asked = asked.split(|&byte| byte == b',').map(<[u8]>::trim_ascii);
        let Some(granted) = &head.upgrade else { return false };
        let accepted = self
            .accept
            .as_ref()
            .is_none_or(|accept| head.headers.get(header::SEC_WEBSOCKET_ACCEPT) == Some(accept));
        accepted && asked.any(|asked| asked.eq_ignore_ascii_case(granted.as_bytes()))
    }
}

/// The endpoint's side. Its connection never goes back to the pool, whose permit and source port it holds to its end.
#[derive(Debug)]
pub struct Tunnel {
    /// Invariant: `Some` until it is ended.
    connection: Option<Pooled<Connection>>,
}

const PRESENT: &str = "only an ending takes it, and that consumes self";

impl Tunnel {
    pub(super) fn new(mut connection: Pooled<Connection>) -> Self {
        // Most endpoints say nothing together with their answer, and a tunnel may live for hours.
        let early = std::mem::take(&mut connection.read);
        if early.is_empty() {
            buffers::give_read(early);
        } else {
            connection.read = early[..].into();
        }
        Self {
            connection: Some(connection),
        }
    }

    fn connection(&mut self) -> &mut Connection {
        self.connection.as_mut().expect(PRESENT)
    }

    fn end(&mut self) {
        if let Some(connection) = self.connection.take() {
            connection.close(CloseReason::Tunnel);
        }
    }
}

impl Side for Tunnel {
    async fn close(mut self) {
        self.end();
    }

    fn is_gone(&self) -> bool {
        let connection = self.connection.as_ref().expect(PRESENT);
        net::is_broken(connection.wire.tcp())
    }

    fn reset(mut self) {
        self.connection().shut = Shut::Reset;
        self.end();
    }
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        if let Some(connection) = &mut self.connection {
            connection.shut = Shut::Reset;
        }
        self.end();
    }
}

impl AsyncRead for Tunnel {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let connection = self.connection();
        if !connection.read.is_empty() {
            let length = connection.read.len().min(buffer.remaining());
            buffer.put_slice(&connection.read.split_to(length));
            if connection.read.is_empty() {
                connection.read = Default::default();
            }
            return Poll::Ready(Ok(()));
        }
        let before = buffer.filled().len();
        let result = ready!(Pin::new(&mut connection.wire).poll_read(context, buffer));
        let result = result.map(|()| buffer.filled().len() - before);
        if !matches!(result, Ok(read) if read > 0) {
            connection.note_end(&result);
        }
        Poll::Ready(result.map(drop))
    }
}

impl AsyncWrite for Tunnel {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.connection().wire).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.connection().wire).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let connection = self.connection();
        ready!(Pin::new(&mut connection.wire).poll_shutdown(context))?;
        let first = connection.received.unwrap_or(FirstClose::OurFin);
        connection.shut = Shut::Fin(first);
        Poll::Ready(Ok(()))
    }
}
