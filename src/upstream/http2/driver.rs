//! What keeps one HTTP/2 connection going, on the worker that opened it, until its end.

use std::{
    cell::RefCell,
    future::{Future, poll_fn},
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, Weak,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use h2::{Ping, PingPong, RecvStream, client};
use tokio::time::Instant;

use super::{Connections, Means, io::Io, stream::Shared};
use crate::{
    config,
    pool::CloseReason,
    worker::{Timer, Timers},
};

thread_local! {
    static DRIVEN: RefCell<Vec<Weak<Life>>> = const { RefCell::new(Vec::new()) };
}

/// What the requests on a connection and its driver know of each other.
#[derive(Debug, Default)]
pub(super) struct Life {
    /// Requests that it carries.
    pub(super) streams: AtomicUsize,
    /// Why it ends, as soon as that is decided.
    pub(super) ends: OnceLock<CloseReason>,
    /// Answers that were read to their stated length, whose last frame, an empty one, is still to come.
    ending: Mutex<Ending>,
}

#[derive(Debug, Default)]
struct Ending {
    /// Since the last look.
    young: Vec<RecvStream>,
    old: Vec<RecvStream>,
}

impl Life {
    /// Lets a stream end by itself, for some seconds: to drop it would be to reset it, and endpoints count resets.
    pub(super) fn let_end(&self, stream: RecvStream) {
        self.ending().young.push(stream);
    }

    /// Gives up what has had its time.
    fn tidy(&self) {
        let mut ending = self.ending();
        let young = std::mem::take(&mut ending.young);
        let gone = std::mem::replace(&mut ending.old, young);
        drop(ending);
        // Outside the lock: a reset wakes the engine.
        drop(gone);
    }

    fn ending(&self) -> MutexGuard<'_, Ending> {
        self.ending.lock().expect("no panic under this lock")
    }
}

/// Whether a connection that this worker drives carries requests, perhaps of other workers.
pub fn drives_streams() -> bool {
    DRIVEN.with_borrow_mut(|driven| {
        driven.retain(|life| life.strong_count() > 0);
        let carries = |life: &Weak<Life>| life.upgrade().is_some_and(|life| life.streams.load(SeqCst) > 0);
        driven.iter().any(carries)
    })
}

/// One connection as its driver has it.
pub(super) struct Driver {
    io: Io,
    life: Arc<Life>,
    engine: client::Connection<Io, Bytes>,
    signs: Signs,
    /// Tells everybody who would still use it.
    listed: Listed,
}

/// A place among the connections that may be used; given up when dropped.
pub(super) struct Listed {
    pub(super) connections: Weak<Connections>,
    pub(super) life: Arc<Life>,
    pub(super) shared: Weak<Shared>,
    pub(super) worker: usize,
    pub(super) timers: Timers,
    pub(super) connect: Duration,
}

impl Listed {
    /// Takes note of what the endpoint has said of further requests.
    fn look(&self) {
        let (Some(shared), Some(connections)) = (self.shared.upgrade(), self.connections.upgrade()) else {
            return;
        };
        let allowed = shared.sender.current_max_send_streams();
        let is_more = allowed > shared.allowed.swap(allowed, SeqCst);
        if shared.is_over() && self.life.ends.set(CloseReason::EndpointAsked).is_ok() {
            connections.forget(&self.life);
        } else if !is_more {
            return;
        }
        connections.serve_waiters(self.worker);
        connections.regrow(Means {
            worker: self.worker,
            timers: &self.timers,
            connect: self.connect,
        });
    }
}

impl Drop for Listed {
    fn drop(&mut self) {
        if let Some(connections) = self.connections.upgrade() {
            connections.forget(&self.life);
        }
    }
}

impl Driver {
    pub(super) fn new(
        io: Io,
        life: Arc<Life>,
        mut engine: client::Connection<Io, Bytes>,
        listed: Listed,
        timers: &Timers,
        (http2, connect): (&config::UpstreamHttp2, Duration),
    ) -> Self {
        DRIVEN.with_borrow_mut(|driven| driven.push(Arc::downgrade(&life)));
        let pings = engine.ping_pong().filter(|_| !http2.ping_interval.is_zero());
        let signs = Signs {
            timer: timers.timer(),
            pings,
            sent: None,
            last: Instant::now(),
            ping_interval: http2.ping_interval,
            ping_timeout: http2.ping_timeout,
            look: connect,
        };
        Self {
            io,
            life,
            engine,
            signs,
            listed,
        }
    }

    /// Runs the connection to its end.
    ///
    /// Cancellation: the connection is cut.
    pub(super) async fn run(self) {
        let Self {
            io,
            life,
            mut engine,
            mut signs,
            listed,
        } = self;
        signs.set();
        let ended = poll_fn(|context| {
            if let Poll::Ready(result) = Pin::new(&mut engine).poll(context) {
                return Poll::Ready(result.err().map_or(End::Over, End::Failed));
            }
            if io.has_news() {
                listed.look();
            }
            signs.poll_silence(context, &io, &life).map(End::Hopeless)
        })
        .await;
        let busy = life.streams.load(SeqCst) > 0;
        let reason = match ended {
            End::Hopeless(reason) => reason,
            End::Over => *life.ends.get().unwrap_or(&CloseReason::ClosedByEndpoint),
            End::Failed(error) => {
                tracing::debug!(%error, "a connection over HTTP/2 ended");
                reason_of(&error, busy)
            }
        };
        // Whose request was on it looks here for the reason.
        let reason = *life.ends.get_or_init(|| reason);
        drop(listed);
        drop(engine);
        io.close(reason);
    }
}

enum End {
    Over,
    Failed(h2::Error),
    Hopeless(CloseReason),
}

fn reason_of(error: &h2::Error, busy: bool) -> CloseReason {
    if error.is_go_away() && error.is_remote() {
        CloseReason::EndpointAsked
    } else if !error.is_io() {
        CloseReason::ProtocolError
    } else if busy {
        CloseReason::AbortedResponse
    } else if error
        .get_io()
        .is_some_and(|io| io.kind() == std::io::ErrorKind::ConnectionReset)
    {
        CloseReason::ResetByEndpoint
    } else {
        CloseReason::ClosedByEndpoint
    }
}

/// Signs of life of the endpoint.
struct Signs {
    timer: Timer,
    /// Only where PINGs are wanted.
    pings: Option<PingPong>,
    /// When the PING went out that is unanswered.
    sent: Option<Instant>,
    /// When something came last.
    last: Instant,
    ping_interval: Duration,
    ping_timeout: Duration,
    /// How often it is asked whether the kernel of the endpoint still acknowledges.
    look: Duration,
}

impl Signs {
    fn set(&self) {
        let mut next = self.look;
        if self.pings.is_some() {
            next = next.min(self.ping_interval).min(self.ping_timeout);
        }
        self.timer.set_after(next, None);
    }

    /// Ready when the endpoint must be taken for dead.
    fn poll_silence(&mut self, context: &mut Context<'_>, io: &Io, life: &Life) -> Poll<CloseReason> {
        self.poll_pong(context);
        loop {
            ready!(self.timer.poll(context));
            let now = Instant::now();
            let has_read = io.has_read();
            if has_read {
                self.last = now;
            }
            life.tidy();
            if life.streams.load(SeqCst) > 0
                && !has_read
                && let Some(reason) = io.is_hopeless()
            {
                return Poll::Ready(reason);
            }
            if self.sent.is_some_and(|sent| now >= sent + self.ping_timeout) {
                return Poll::Ready(CloseReason::EndpointSilent);
            }
            self.ping(now);
            self.poll_pong(context);
            self.set();
        }
    }

    fn ping(&mut self, now: Instant) {
        if let Some(pings) = &mut self.pings
            && self.sent.is_none()
            && now >= self.last + self.ping_interval
            && pings.send_ping(Ping::opaque()).is_ok()
        {
            self.sent = Some(now);
        }
    }

    fn poll_pong(&mut self, context: &mut Context<'_>) {
        if let Some(pings) = &mut self.pings
            && self.sent.is_some()
            && pings.poll_pong(context).is_ready()
        {
            self.sent = None;
        }
    }
}
