//! One direction of a tunnel.

use std::{
    cell::{Cell, RefCell},
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// One read, and so the most that a direction keeps for a slow receiver.
const SCRATCH: usize = 64 * 1024;
/// Reads in a row before others have their turn.
const ROUNDS: usize = 8;

thread_local! {
    static SCRATCH_MEMORY: RefCell<Box<[u8]>> = RefCell::new(vec![0; SCRATCH].into_boxed_slice());
}

/// What is on its way from one side to the other.
#[derive(Debug, Default)]
pub(super) struct Direction {
    /// What the receiver has not taken yet, from `taken` on. Empty and without memory while it takes everything.
    held: Vec<u8>,
    taken: usize,
    stage: Stage,
    /// Whether the receiver may hold what it was given.
    unflushed: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Stage {
    #[default]
    Open,
    /// The sender has ended; the receiver is to be told once it has everything.
    Ending,
    /// The receiver has been told.
    Told,
    /// The receiver takes nothing any more.
    Lost,
}

/// How a direction ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// The receiver has everything, and knows that it has.
    Told,
    /// The receiver was gone before.
    Lost,
}

/// Which side a direction failed at.
#[derive(Debug)]
pub(super) enum Broken {
    Sender,
    Receiver,
}

impl Direction {
    /// Whether the sender has said that it is done.
    pub(super) fn has_ended(&self) -> bool {
        matches!(self.stage, Stage::Ending | Stage::Told)
    }

    /// How it ended, if it has.
    pub(super) fn fate(&self) -> Option<Fate> {
        match self.stage {
            Stage::Open | Stage::Ending => None,
            Stage::Told => Some(Fate::Told),
            Stage::Lost => Some(Fate::Lost),
        }
    }

    /// Nothing of what the sender has to say can be told any more.
    pub(super) fn give_up(&mut self) {
        self.stage = Stage::Lost;
        self.held = Vec::new();
    }

    /// Carries what can be carried now, and adds what the receiver took to `carried`. Ready once the end has been told.
    ///
    /// Cancellation: this is a step of a state machine; nothing is lost between two calls.
    pub(super) fn poll(
        &mut self,
        context: &mut Context<'_>,
        sender: &mut (impl AsyncRead + Unpin),
        receiver: &mut (impl AsyncWrite + Unpin),
        carried: &Cell<u64>,
    ) -> Poll<Result<(), Broken>> {
        for _ in 0..ROUNDS {
            ready!(self.poll_held(context, receiver, carried)).map_err(|_| Broken::Receiver)?;
            match self.stage {
                Stage::Open => {}
                Stage::Ending => {
                    ready!(Pin::new(&mut *receiver).poll_shutdown(context)).map_err(|_| Broken::Receiver)?;
                    self.stage = Stage::Told;
                    return Poll::Ready(Ok(()));
                }
                Stage::Told | Stage::Lost => return Poll::Ready(Ok(())),
            }
            ready!(self.poll_piece(context, sender, receiver, carried))?;
        }
        context.waker().wake_by_ref();
        Poll::Pending
    }

    /// Ready once the receiver has taken all that it was sent.
    fn poll_held(
        &mut self,
        context: &mut Context<'_>,
        receiver: &mut (impl AsyncWrite + Unpin),
        carried: &Cell<u64>,
    ) -> Poll<io::Result<()>> {
        while self.taken < self.held.len() {
            let written = ready!(Pin::new(&mut *receiver).poll_write(context, &self.held[self.taken..]))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.taken += written;
            add(carried, written);
        }
        if self.taken > 0 {
            (self.held, self.taken) = (Vec::new(), 0);
        }
        if self.unflushed {
            ready!(Pin::new(&mut *receiver).poll_flush(context))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    /// One read, and a write of it.
    fn poll_piece(
        &mut self,
        context: &mut Context<'_>,
        sender: &mut (impl AsyncRead + Unpin),
        receiver: &mut (impl AsyncWrite + Unpin),
        carried: &Cell<u64>,
    ) -> Poll<Result<(), Broken>> {
        SCRATCH_MEMORY.with_borrow_mut(|scratch| {
            let read = match ready!(poll_fill(context, sender, scratch)) {
                Ok(read) => read,
                Err(_) => return Poll::Ready(Err(Broken::Sender)),
            };
            if read == 0 {
                self.stage = Stage::Ending;
                return Poll::Ready(Ok(()));
            }
            self.unflushed = true;
            let piece = &scratch[..read];
            let mut written = 0;
            while written < piece.len() {
                match Pin::new(&mut *receiver).poll_write(context, &piece[written..]) {
                    Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(Err(Broken::Receiver)),
                    Poll::Ready(Ok(some)) => written += some,
                    Poll::Pending => break,
                }
            }
            add(carried, written);
            self.held = Vec::from(&piece[written..]);
            Poll::Ready(Ok(()))
        })
    }
}

/// Reads until `memory` is full or nothing more is there: TLS and HTTP/2 give small pieces. A socket that gave less than
/// there was room for is not asked again, since its reactor knows.
fn poll_fill(
    context: &mut Context<'_>,
    sender: &mut (impl AsyncRead + Unpin),
    memory: &mut [u8],
) -> Poll<io::Result<usize>> {
    let mut buffer = ReadBuf::new(memory);
    while buffer.remaining() > 0 {
        let before = buffer.filled().len();
        match Pin::new(&mut *sender).poll_read(context, &mut buffer) {
            Poll::Ready(Ok(())) if buffer.filled().len() > before => {}
            Poll::Ready(Ok(())) => break,
            // Many who speak TLS close without saying so first; that is the end of what they send, as it is without TLS.
            Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => break,
            // What came before is carried first; the next read says it again.
            Poll::Ready(Err(_)) if before > 0 => break,
            Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
            Poll::Pending if before > 0 => break,
            Poll::Pending => return Poll::Pending,
        }
    }
    Poll::Ready(Ok(buffer.filled().len()))
}

fn add(carried: &Cell<u64>, bytes: usize) {
    carried.set(carried.get() + bytes as u64);
}
