//! What a pool keeps, as the pool sees it.

use std::task::Context;

use super::{CloseReason, End, FirstClose, Identity};

/// What the pool asks of what it keeps.
pub trait Connection: Send + 'static {
    /// The state of an idle connection as the reactor of its worker last saw it, without a system call.
    fn liveness(&mut self) -> Liveness;

    /// What it was opened for; `None` where all connections are alike.
    fn identity(&self) -> Option<&Identity> {
        None
    }

    /// Has `context` woken as soon as an idle connection shows anything: it is dead then. A later read undoes that.
    fn watch(&self, context: &mut Context<'_>);

    /// Moves it to the calling worker's reactor and looks at the socket itself.
    ///
    /// # Errors
    /// Why it cannot be used, once it has been closed for that, and who closed it first.
    fn adopt(self) -> Result<Self, (CloseReason, FirstClose)>
    where
        Self: Sized;

    /// Ends it in the way that the end demands, and says to the end when it is done.
    fn close(self, end: End<Self>)
    where
        Self: Sized;
}

/// What an idle connection shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Liveness {
    Silent,
    Closed,
    Reset,
    /// Bytes that no request asked for.
    Readable,
    /// Its source address is not on this machine any more.
    SourceGone,
    /// It is for a client that has gone.
    ClientLeft,
}

impl Liveness {
    /// Why such a connection cannot be used; `None`: it can.
    pub fn reason_to_close(self) -> Option<CloseReason> {
        match self {
            Self::Silent => None,
            Self::Closed => Some(CloseReason::ClosedByEndpoint),
            Self::Reset => Some(CloseReason::ResetByEndpoint),
            Self::Readable => Some(CloseReason::UnexpectedBytes),
            Self::SourceGone => Some(CloseReason::SourceGone),
            Self::ClientLeft => Some(CloseReason::ClientLeft),
        }
    }
}
