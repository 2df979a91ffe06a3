//! Bytes on their way from one socket to another that do not come up to us.
//!
//! They are spliced into a pipe of the kernel and out of it. What stands between the two sockets, an HTTP engine above
//! all, gets stand-ins: bytes of the same number, which it counts, queues and writes as it does with any others. When they
//! are to be written, what they stand for goes out in their place.

use std::{
    cell::{Cell, RefCell},
    io,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use tokio::{io::Interest, net::TcpStream};

use super::{
    pipe::{self, CAPACITY, Pipe},
    sockopt,
};

/// How much has to be left of a body for it to be worth while: an answer of 1 MiB costs a third less processor time then,
/// a request of 1 MiB 45 % less, an answer of 64 KiB a fifth, and less than that next to nothing.
pub const LONG: u64 = 64 * 1024;
/// What comes in smaller pieces is read: the memory behind them is not counted while it is spliced, and a receiver that is
/// slower could make us hold a page for every byte.
const SMALL_PIECE: usize = 16 * 1024;

/// Told by its address. It is never read, so that it takes no memory, and never changed.
static STAND_IN: [u8; CAPACITY] = [0; CAPACITY];

/// One way, which ends at one socket.
#[derive(Debug, Default)]
pub struct Shortcut {
    /// Invariant: what stands in for it has been given to somebody who will write it here, and there is no other.
    held: RefCell<Option<Held>>,
    /// Whether somebody waits until nothing is held.
    awaited: Cell<Awaited>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Awaited {
    #[default]
    No,
    Yes,
}

#[derive(Debug)]
struct Held {
    pipe: Pipe,
    bytes: usize,
}

/// How bytes come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    Dense,
    /// In pieces so small that to read them costs less than to splice them.
    Sparse,
}

impl Pace {
    pub fn of(piece: usize) -> Self {
        if piece < SMALL_PIECE { Self::Sparse } else { Self::Dense }
    }
}

/// What was taken of a socket.
#[derive(Debug)]
pub enum Taken {
    /// These stand in for it; none are the end.
    Bytes(Bytes),
    /// What was taken before has not gone out. The task is woken when it has.
    Occupied,
    /// Nothing: there is no pipe to be had, and the bytes have to be read.
    NoPipe,
}

/// Whether these are to be written with [`Shortcut::poll_write`].
pub fn stands_in(bytes: &[u8]) -> bool {
    STAND_IN.as_ptr_range().contains(&bytes.as_ptr())
}

impl Shortcut {
    /// Takes up to `limit` bytes, and not more than a pipe holds. The calling task must be the one that writes them.
    ///
    /// # Errors
    /// As a read.
    pub fn poll_take(&self, from: &TcpStream, limit: u64, context: &mut Context<'_>) -> Poll<io::Result<Taken>> {
        // A pipe that holds something may be full though it holds less than its capacity, which looks as if the socket
        // had nothing more.
        if self.held.borrow().is_some() {
            self.awaited.set(Awaited::Yes);
            return Poll::Ready(Ok(Taken::Occupied));
        }
        let length = usize::try_from(limit).unwrap_or(CAPACITY).min(CAPACITY);
        loop {
            ready!(from.poll_read_ready(context))?;
            let Some(pipe) = Pipe::take() else {
                return Poll::Ready(Ok(Taken::NoPipe));
            };
            match from.try_io(Interest::READABLE, || sockopt::splice(from, &pipe.to, length)) {
                Ok(bytes) if bytes > 0 => {
                    self.held.replace(Some(Held { pipe, bytes }));
                    return Poll::Ready(Ok(Taken::Bytes(Bytes::from_static(&STAND_IN[..bytes]))));
                }
                result => {
                    pipe.give_back();
                    match result {
                        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                        Err(error) if is_refusal(&error) => {
                            pipe::refused(&error);
                            return Poll::Ready(Ok(Taken::NoPipe));
                        }
                        result => return Poll::Ready(result.map(|_| Taken::Bytes(Bytes::new()))),
                    }
                }
            }
        }
    }

    /// Writes what these bytes stand in for.
    ///
    /// # Errors
    /// As a write.
    pub fn poll_write(&self, to: &TcpStream, bytes: &[u8], context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut place = self.held.borrow_mut();
        let Some(held) = &mut *place else {
            return Poll::Ready(Err(io::ErrorKind::InvalidInput.into()));
        };
        loop {
            ready!(to.poll_write_ready(context))?;
            let length = held.bytes.min(bytes.len());
            match to.try_io(Interest::WRITABLE, || sockopt::splice(&held.pipe.from, to, length)) {
                Ok(written) => {
                    held.bytes -= written;
                    if held.bytes == 0
                        && let Some(Held { pipe, .. }) = place.take()
                    {
                        pipe.give_back();
                        if self.awaited.take() == Awaited::Yes {
                            context.waker().wake_by_ref();
                        }
                    }
                    return Poll::Ready(Ok(written));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

/// Whether the system cannot do it, as some that only look like Linux.
fn is_refusal(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported)
        || error.raw_os_error() == Some(libc::EPERM)
}

#[cfg(test)]
mod tests {
    use std::{future::poll_fn, sync::Arc, task::Wake};

    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
    };

    use super::*;

    /// Both ends of a connection.
    async fn connected() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let (near, far) = tokio::join!(TcpStream::connect(address), listener.accept());
        (near.expect("a connection"), far.expect("a connection").0)
    }

    async fn take(shortcut: &Shortcut, from: &TcpStream, limit: u64) -> Taken {
        let taken = poll_fn(|context| shortcut.poll_take(from, limit, context)).await;
        taken.expect("the connection lives")
    }

    #[derive(Default)]
    struct Woken(std::sync::atomic::AtomicBool);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.store(true, std::sync::atomic::Ordering::SeqCst);
        }
    }

    #[tokio::test]
    async fn what_stands_in_is_written_as_what_was_taken_and_whoever_waits_is_woken() {
        let (mut endpoint, from) = connected().await;
        let (to, mut client) = connected().await;
        endpoint.write_all(b"first second").await.expect("room");
        let shortcut = Shortcut::default();
        let Taken::Bytes(stand_in) = take(&shortcut, &from, 5).await else {
            panic!("there are pipes");
        };
        assert_eq!(stand_in.len(), 5);
        assert!(stands_in(&stand_in) && stands_in(&stand_in[3..]));
        assert!(matches!(take(&shortcut, &from, 7).await, Taken::Occupied));
        let woken = Arc::new(Woken::default());
        let waker = Arc::clone(&woken).into();
        let mut context = Context::from_waker(&waker);
        for (piece, empty) in [(&stand_in[..3], false), (&stand_in[3..], true)] {
            poll_fn(|_| shortcut.poll_write(&to, piece, &mut context))
                .await
                .expect("room");
            assert_eq!(woken.0.load(std::sync::atomic::Ordering::SeqCst), empty);
        }
        let mut read = [0; 5];
        client.read_exact(&mut read).await.expect("it was written");
        assert_eq!(&read, b"first");
        assert!(matches!(take(&shortcut, &from, 7).await, Taken::Bytes(bytes) if bytes.len() == 7));
    }

    #[tokio::test]
    async fn the_end_is_an_empty_piece() {
        let (endpoint, from) = connected().await;
        drop(endpoint);
        let taken = take(&Shortcut::default(), &from, 1).await;
        assert!(matches!(taken, Taken::Bytes(bytes) if bytes.is_empty()));
    }

    #[test]
    fn other_bytes_stand_for_themselves() {
        assert!(!stands_in(&[0; 100]) && !stands_in(b"") && !stands_in(&Bytes::from_static(b"x")));
    }
}
