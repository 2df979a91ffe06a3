//! Tunnels between two sides that a test plays.

use std::{
    cell::RefCell,
    io,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf, duplex},
    task::LocalSet,
};

use super::*;
use crate::worker::Timers;

const IDLE: Duration = Duration::from_secs(60);

/// A side whose peer is a test.
struct Puppet {
    io: DuplexStream,
    end: Rc<RefCell<&'static str>>,
    breaks: Rc<Cell<bool>>,
    gone: Rc<Cell<bool>>,
}

/// What a test has of a side.
struct Peer {
    io: DuplexStream,
    end: Rc<RefCell<&'static str>>,
    /// From now on reads fail; whoever waits for one is woken by the next byte.
    breaks: Rc<Cell<bool>>,
    gone: Rc<Cell<bool>>,
}

fn side(capacity: usize) -> (Puppet, Peer) {
    let (own, theirs) = duplex(capacity);
    let (end, breaks, gone): (Rc<RefCell<_>>, Rc<Cell<_>>, Rc<Cell<_>>) = Default::default();
    let puppet = Puppet {
        io: own,
        end: Rc::clone(&end),
        breaks: Rc::clone(&breaks),
        gone: Rc::clone(&gone),
    };
    let peer = Peer {
        io: theirs,
        end,
        breaks,
        gone,
    };
    (puppet, peer)
}

impl Side for Puppet {
    async fn close(self) {
        self.end.replace("closed");
    }

    fn is_gone(&self) -> bool {
        self.gone.get()
    }

    fn reset(self) {
        self.end.replace("reset");
    }
}

impl AsyncRead for Puppet {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.io).poll_read(context, buffer))?;
        if self.breaks.get() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Puppet {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(context)
    }
}

/// A tunnel that runs while `story` is told; gives how it ended, and how both sides were ended.
async fn run(
    capacity: usize,
    story: impl AsyncFnOnce(&mut Peer, &mut Peer, &Tally, &Cell<bool>),
) -> (End, &'static str, &'static str) {
    let run = async {
        let timers = Timers::start();
        let ((mut client, mut at_client), (mut endpoint, mut at_endpoint)) = (side(capacity), side(capacity));
        let (tally, cuts) = (Tally::default(), Cell::new(false));
        let cut = poll_fn(|_| if cuts.get() { Poll::Ready(()) } else { Poll::Pending });
        let tunnel = carry(&mut client, &mut endpoint, timers.timer(), IDLE, &tally, cut);
        let told = async {
            story(&mut at_client, &mut at_endpoint, &tally, &cuts).await;
            (at_client, at_endpoint)
        };
        let (outcome, (at_client, at_endpoint)) = tokio::join!(tunnel, told);
        outcome.apply(client, endpoint).await;
        (outcome.end, *at_client.end.borrow(), *at_endpoint.end.borrow())
    };
    LocalSet::new().run_until(run).await
}

async fn read(peer: &mut Peer, count: usize) -> Vec<u8> {
    let mut bytes = vec![0; count];
    peer.io.read_exact(&mut bytes).await.expect("they come");
    bytes
}

async fn at_end(peer: &mut Peer) -> bool {
    peer.io.read(&mut [0]).await.expect("an end comes") == 0
}

#[tokio::test(start_paused = true)]
async fn each_end_is_told_and_the_first_one_counts() {
    let outcome = run(64, async |client, endpoint, tally, _| {
        client.io.write_all(b"question").await.expect("it is taken");
        assert_eq!(read(endpoint, 8).await, b"question");
        client.io.shutdown().await.expect("it is taken");
        assert!(at_end(endpoint).await);
        endpoint.io.write_all(b"a long answer").await.expect("it is taken");
        endpoint.io.shutdown().await.expect("it is taken");
        assert_eq!(read(client, 13).await, b"a long answer");
        assert!(at_end(client).await);
        assert_eq!((tally.up.get(), tally.down.get()), (8, 13));
    });
    assert_eq!(outcome.await, (End::ClientClosed, "closed", "closed"));
}

#[tokio::test(start_paused = true)]
async fn what_breaks_is_broken_on_the_other_side() {
    let outcome = run(64, async |client, _, _, _| {
        client.breaks.set(true);
        client.io.write_all(b"x").await.expect("it is taken");
    });
    assert_eq!(outcome.await, (End::ClientReset, "reset", "reset"));
    let outcome = run(64, async |_, endpoint, _, _| {
        endpoint.breaks.set(true);
        endpoint.io.write_all(b"x").await.expect("it is taken");
    });
    assert_eq!(outcome.await, (End::EndpointReset, "reset", "reset"));
}

#[tokio::test(start_paused = true)]
async fn life_in_one_direction_is_enough() {
    let begin = Instant::now();
    let outcome = run(64, async |_, endpoint, _, _| {
        for _ in 0..10 {
            tokio::time::sleep(IDLE / 2).await;
            endpoint.io.write_all(b"x").await.expect("it is taken");
        }
    });
    assert_eq!(outcome.await, (End::IdleTimeout, "closed", "closed"));
    assert!(
        (IDLE * 6..IDLE * 6 + Duration::from_secs(1)).contains(&begin.elapsed()),
        "{:?}",
        begin.elapsed()
    );
}

#[tokio::test(start_paused = true)]
async fn what_a_receiver_does_not_take_is_not_read() {
    let outcome = run(16, async |client, endpoint, tally, cuts| {
        let writes = endpoint.io.write_all(&[7; 1 << 20]);
        assert!(tokio::time::timeout(Duration::from_secs(1), writes).await.is_err());
        assert_eq!(tally.down.get(), 16, "what the receiver's buffer holds");
        // There, on its way, and in the sender's buffer.
        assert_eq!(read(client, 48).await, [7; 48]);
        cuts.set(true);
        client.io.write_all(b"wake").await.expect("it is taken");
    });
    assert_eq!(outcome.await, (End::Drain, "closed", "closed"));
}

#[tokio::test(start_paused = true)]
async fn a_side_that_has_ended_its_half_may_go_unheard() {
    let outcome = run(64, async |client, endpoint, _, _| {
        client.io.shutdown().await.expect("it is taken");
        assert!(at_end(endpoint).await);
        client.gone.set(true);
    });
    assert_eq!(outcome.await, (End::ClientReset, "reset", "reset"));
    let outcome = run(64, async |client, endpoint, _, _| {
        endpoint.io.shutdown().await.expect("it is taken");
        assert!(at_end(client).await);
        endpoint.gone.set(true);
    });
    assert_eq!(
        outcome.await,
        (End::EndpointClosed, "closed", "reset"),
        "the client has heard it all"
    );
}

/// A duplex stream whose other half is dropped takes nothing more, and reads as ended.
#[tokio::test(start_paused = true)]
async fn an_endpoint_that_closes_for_good_does_not_cost_the_client_its_last_words() {
    let outcome = run(64, async |client, endpoint, _, _| {
        endpoint.io.write_all(b"last words").await.expect("it is taken");
        endpoint.io = duplex(1).0;
        client.io.write_all(b"too late").await.expect("it is taken");
        assert_eq!(read(client, 10).await, b"last words");
        assert!(at_end(client).await);
    });
    assert_eq!(outcome.await, (End::EndpointClosed, "closed", "reset"));
    let outcome = run(64, async |client, endpoint, _, _| {
        client.io = duplex(1).0;
        endpoint.io.write_all(b"too late").await.expect("it is taken");
    });
    assert_eq!(outcome.await, (End::ClientClosed, "reset", "reset"));
}
