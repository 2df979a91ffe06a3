//! The bytes after an upgrade or a CONNECT: both ways at once, until both sides have ended.
//!
//! # What does an idle tunnel cost?
//! Two sockets and a timer. Bytes are read into one piece of scratch memory per worker and written from there; a
//! direction has memory of its own only while its receiver takes less than it was sent, and then nothing more is read
//! from the sender.
//!
//! # How does an end travel?
//! As what it was. The end of one direction is passed on while the other goes on, and a reset is passed on as a reset
//! ([`carry()`]).

mod carry;
mod direction;

use tokio::io::{AsyncRead, AsyncWrite};

pub use carry::{Outcome, Tally, carry};

/// One side of a tunnel. A read of no bytes is the end of what it sends; `poll_shutdown` ends what it is sent.
pub trait Side: AsyncRead + AsyncWrite + Unpin {
    /// Ends it when nothing is missing on its way.
    fn close(self) -> impl Future<Output = ()>;

    /// Whether its peer takes nothing more, as is known without a write. Asked now and then once the peer has ended what it
    /// sends, since then no read tells it.
    fn is_gone(&self) -> bool;

    /// Ends it so that its peer notices that something is missing.
    fn reset(self);
}

/// Who ended a tunnel, or what did: one word each, the same in log and metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The client was the first to say that it was done.
    ClientClosed,
    /// The endpoint was.
    EndpointClosed,
    /// The client broke it off.
    ClientReset,
    /// The endpoint broke it off.
    EndpointReset,
    /// Nothing came from either side for too long.
    IdleTimeout,
    /// The process ended.
    Drain,
}

impl End {
    pub const ALL: [Self; 6] = [
        Self::ClientClosed,
        Self::EndpointClosed,
        Self::ClientReset,
        Self::EndpointReset,
        Self::IdleTimeout,
        Self::Drain,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::ClientClosed => "client-closed",
            Self::EndpointClosed => "endpoint-closed",
            Self::ClientReset => "client-reset",
            Self::EndpointReset => "endpoint-reset",
            Self::IdleTimeout => "idle-timeout",
            Self::Drain => "drain",
        }
    }
}
