//! What is known of one client connection while it lives: which turn it is, since when, and what must end it.
//!
//! The engine of HTTP/1 ([`super::http1`]) notes here what it sees, and around that of HTTP/2 the socket under it
//! ([`super::io`]) and the service above it. Everything is a cell: a connection never leaves its worker.

use std::{
    cell::Cell,
    rc::Rc,
    task::{Context, Poll},
    time::Duration,
};

use tokio::time::Instant;

use super::{idle::Place, listener::Local};
use crate::worker::Timer;

/// How long a client must have been idle before its HTTP engine is dropped: long enough that a busy client never pays
/// for a new one, short enough that a burst does not leave engines behind.
const PARK_AFTER: Duration = Duration::from_millis(300);
/// How long an answer that has not begun is waited for on behalf of a client that has closed its side: most have closed
/// both, and the endpoint works in vain.
const HALF_CLOSED_WAIT: Duration = Duration::from_secs(1);
/// How long a drain waits for the first byte of a client that has only connected; its request may be on its way.
const SILENT_WAIT: Duration = Duration::from_secs(1);

/// One client connection.
#[derive(Debug)]
pub(super) struct State {
    pub(super) listener: Rc<Local>,
    place: Place,
    pub(super) timer: Timer,
    phase: Cell<Phase>,
    /// Requests begun and not yet answered whole; more than one only on HTTP/2.
    in_flight: Cell<u32>,
    requests: Cell<u64>,
    /// When it takes no further request; `None`: never.
    retires: Option<Instant>,
    /// Since when the client has taken nothing.
    write_blocked: Cell<Option<Instant>>,
    /// How the client has ended its side, and when.
    client_ended: Cell<Option<(ClientEnd, Instant)>>,
    /// Whether any byte of the present answer is out.
    answer_begun: Cell<bool>,
    /// Whether something of the next head is there.
    head_begun: Cell<bool>,
    ending: Cell<Ending>,
    /// Since when a part of an HTTP/2 connection has begun that has to be finished in time.
    block: Cell<Option<Instant>>,
    excess: Cell<Excess>,
}

/// Whether the client has lost the right to further work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Excess {
    No,
    Yes,
}

/// Whose turn it is, and since when.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Phase {
    Idle { since: Instant },
    ReadingHead { since: Instant },
    InFlight,
    Parked { since: Instant },
}

/// Whether the connection is to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    NotYet,
    /// With the next answer, or now if it is idle.
    Announced,
    /// An idle client gives way to a new one.
    Shed,
}

/// How a client ends its side of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ClientEnd {
    /// With FIN. It sends no more, and may still wait for the answer.
    Closed,
    /// With RST, or nobody knows where it is: it gets nothing any more.
    Lost,
}

/// What is due when the timer fires or the connection is woken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Due {
    Park,
    /// Idle too long, too old while idle, or drained.
    Close,
    HeaderTimeout,
    WriteStall,
    ClientGone,
}

impl State {
    pub(super) fn new(listener: Rc<Local>, timer: Timer, now: Instant) -> Rc<Self> {
        let policy = &listener.config.keep_alive;
        let retires = (!policy.max_age.is_zero())
            .then(|| now + policy.max_age.mul_f64(1.0 - policy.max_age_jitter * fastrand::f64()));
        let state = Rc::new_cyclic(|state| Self {
            place: listener.idle.place(state.clone()),
            timer,
            phase: Cell::new(Phase::ReadingHead { since: now }),
            in_flight: Cell::new(0),
            requests: Cell::new(0),
            retires,
            write_blocked: Cell::new(None),
            client_ended: Cell::new(None),
            answer_begun: Cell::new(false),
            head_begun: Cell::new(false),
            ending: Cell::new(Ending::NotYet),
            block: Cell::new(None),
            excess: Cell::new(Excess::No),
            listener,
        });
        state.set_phase(Phase::ReadingHead { since: now });
        state
    }

    /// Whether bytes of the next head are there.
    pub(super) fn note_head(&self, begun: bool) {
        self.head_begun.set(begun);
        if begun && let Phase::Idle { .. } | Phase::Parked { .. } = self.phase.get() {
            self.set_phase(Phase::ReadingHead { since: self.now() });
        }
    }

    /// A request has begun.
    pub(super) fn begin(&self) {
        self.in_flight.set(self.in_flight.get() + 1);
        self.requests.set(self.requests.get() + 1);
        self.answer_begun.set(false);
        self.head_begun.set(false);
        if let Some((ClientEnd::Closed, _)) = self.client_ended.get() {
            // It has closed behind this request too, and waits for this answer no less than for the one before.
            self.client_ended.set(Some((ClientEnd::Closed, self.now())));
        }
        self.set_phase(Phase::InFlight);
    }

    /// A request goes on beyond its answer.
    pub(super) fn begin_beyond(&self) {
        self.in_flight.set(self.in_flight.get() + 1);
    }

    /// The answer's last byte has been handed to the engine, or the request is gone.
    pub(super) fn end(&self) {
        let left = self.in_flight.get() - 1;
        self.in_flight.set(left);
        if left == 0 {
            let since = self.now();
            // The next head may have begun together with the end of this request.
            self.set_phase(if self.head_begun.get() {
                Phase::ReadingHead { since }
            } else {
                Phase::Idle { since }
            });
        }
    }

    /// Everything written so far is out.
    pub(super) fn flushed(&self) {
        if self.write_blocked.take().is_some() {
            self.arm();
        }
    }

    /// Whether nothing of the next head has come.
    pub(super) fn is_nothing_read(&self) -> bool {
        !self.head_begun.get()
    }

    /// As of the last tick.
    pub(super) fn now(&self) -> Instant {
        self.listener.timers.now()
    }

    /// The client has ended its side of the connection.
    pub(super) fn note_client_ended(&self, end: ClientEnd) {
        if self.client_ended.get().is_none() {
            self.client_ended.set(Some((end, Instant::now())));
            self.arm();
        }
    }

    pub(super) fn note_write_progress(&self) {
        self.answer_begun.set(true);
        if self.write_blocked.get().is_some() {
            self.write_blocked.set(None);
            self.arm();
        }
    }

    pub(super) fn note_write_blocked(&self) {
        if self.write_blocked.get().is_none() {
            self.write_blocked.set(Some(Instant::now()));
            self.arm();
        }
    }

    /// On HTTP/2, something has begun that may not take its time: the preface, a head, another frame that is no DATA.
    pub(super) fn begin_block(&self) {
        if self.block.get().is_none() {
            self.block.set(Some(self.now()));
            self.arm();
        }
    }

    /// It is whole.
    pub(super) fn end_block(&self) {
        if self.block.take().is_some() {
            self.arm();
        }
    }

    /// The client has gone too far, and its connection ends.
    pub(super) fn note_excess(&self) {
        self.excess.set(Excess::Yes);
    }

    pub(super) fn is_excessive(&self) -> bool {
        self.excess.get() == Excess::Yes
    }

    pub(super) fn in_flight(&self) -> usize {
        self.in_flight.get() as usize
    }

    /// Whether more requests of an HTTP/2 client are in flight than it may have streams: some of them it has reset
    /// already.
    pub(super) fn is_crowded(&self) -> bool {
        self.in_flight.get() > self.listener.config.http2.max_concurrent_streams
    }

    /// Whether the answer to the present request is the last one on this connection.
    pub(super) fn is_last_request(&self) -> bool {
        let now = self.now();
        let max = self.listener.config.keep_alive.max_requests;
        max > 0 && self.requests.get() >= max
            || self.retires.is_some_and(|at| now >= at)
            || self.ending.get() != Ending::NotYet
            || self.listener.is_draining()
    }

    /// Ends the connection: at once if it is idle, else with its answer.
    pub(super) fn end_with(&self, ending: Ending) {
        self.ending.set(ending);
        self.timer.fire();
    }

    /// The connection is no longer HTTP, and nothing of this is asked any more. As long as its request counts as in
    /// flight, it is neither idle nor does it give way.
    pub(super) fn begin_tunnel(&self) {
        self.timer.clear();
        self.listener.idle.note_memory_left();
    }

    pub(super) fn park(&self) {
        let since = match self.phase.get() {
            Phase::Idle { since } | Phase::Parked { since } => since,
            Phase::ReadingHead { since } => since,
            Phase::InFlight => Instant::now(),
        };
        self.set_phase(Phase::Parked { since });
    }

    /// An HTTP/2 client has connected: between two streams it is idle.
    pub(super) fn begin_idle(&self) {
        self.set_phase(Phase::Idle { since: Instant::now() });
    }

    /// The handshake is over: the time for the first head begins.
    pub(super) fn restart(&self) {
        self.set_phase(Phase::ReadingHead { since: self.now() });
    }

    /// As [`State::poll_due`], for a connection whose end has been announced: it is due when it is idle and `deadline`
    /// has passed.
    pub(super) fn poll_last(&self, context: &mut Context<'_>, deadline: Instant) -> Poll<Due> {
        loop {
            let now = Instant::now();
            if let Some(due) = self.overdue(now) {
                return Poll::Ready(due);
            }
            let idle = self.in_flight.get() == 0;
            if idle && now >= deadline {
                return Poll::Ready(Due::Close);
            }
            let deadlines = [self.stalls_at(), self.block_until(), idle.then_some(deadline)];
            match deadlines.into_iter().flatten().min() {
                Some(at) => self.timer.set(at),
                None => self.timer.clear(),
            }
            std::task::ready!(self.timer.poll(context));
        }
    }

    /// A parked client sends again.
    pub(super) fn unpark(&self) {
        self.set_phase(Phase::ReadingHead { since: self.now() });
    }

    /// Whether the connection is to end as soon as it is idle.
    pub(super) fn wants_end(&self) -> bool {
        self.ending.get() != Ending::NotYet || self.listener.is_draining()
    }

    /// What must be done now; registers the task for what comes later.
    pub(super) fn poll_due(&self, context: &mut Context<'_>) -> Poll<Due> {
        if self.is_settled() && self.wants_end() {
            return Poll::Ready(Due::Close);
        }
        if self.wants_end() && !self.timer.has_fired() && matches!(self.phase.get(), Phase::ReadingHead { .. }) {
            // The deadline may have come nearer.
            self.arm();
        }
        std::task::ready!(self.timer.poll(context));
        let now = Instant::now();
        if let Some(due) = self.overdue(now) {
            return Poll::Ready(due);
        }
        match self.phase.get() {
            Phase::InFlight if self.gone_at().is_some_and(|at| now >= at) => return Poll::Ready(Due::ClientGone),
            Phase::Idle { since } if self.is_settled() && now >= self.parked_until(since) => {
                return Poll::Ready(Due::Close);
            }
            Phase::Idle { since } if self.is_settled() && now >= since + PARK_AFTER => return Poll::Ready(Due::Park),
            Phase::ReadingHead { since } if now >= self.head_until(since) => {
                return Poll::Ready(Due::HeaderTimeout);
            }
            Phase::Parked { since } if now >= self.parked_until(since) => return Poll::Ready(Due::Close),
            Phase::Idle { .. } | Phase::ReadingHead { .. } | Phase::InFlight | Phase::Parked { .. } => {}
        }
        // Woken for something else.
        self.arm();
        self.timer.poll(context).map(|()| Due::Close)
    }

    fn set_phase(&self, phase: Phase) {
        match (self.phase.replace(phase), phase) {
            (_, Phase::Idle { since } | Phase::Parked { since }) => self.place.enter(since),
            (Phase::Idle { .. } | Phase::Parked { .. }, _) => self.place.leave(),
            _ => {}
        }
        self.arm();
    }

    /// Whether the client is idle and has been given all that it was to get.
    fn is_settled(&self) -> bool {
        matches!(self.phase.get(), Phase::Idle { .. } | Phase::Parked { .. }) && self.write_blocked.get().is_none()
    }

    /// Sets the timer to the first of all deadlines.
    fn arm(&self) {
        let config = &self.listener.config;
        let of_phase = match self.phase.get() {
            // What is not taken in time ends it first.
            Phase::Idle { .. } if self.write_blocked.get().is_some() => None,
            Phase::Idle { since } => Some(since + PARK_AFTER.min(config.keep_alive.idle_timeout)),
            Phase::ReadingHead { since } => Some(self.head_until(since)),
            Phase::Parked { since } => Some(self.parked_until(since)),
            Phase::InFlight => self.gone_at(),
        };
        match [of_phase, self.stalls_at(), self.block_until()]
            .into_iter()
            .flatten()
            .min()
        {
            Some(deadline) => self.timer.set(deadline),
            None => self.timer.clear(),
        }
    }

    /// What is too late whatever the phase.
    fn overdue(&self, now: Instant) -> Option<Due> {
        if self.stalls_at().is_some_and(|at| now >= at) {
            return Some(Due::WriteStall);
        }
        let is_late = self.block_until().is_some_and(|at| now >= at);
        is_late.then_some(Due::HeaderTimeout)
    }

    fn stalls_at(&self) -> Option<Instant> {
        let since = self.write_blocked.get()?;
        Some(since + self.listener.config.timeouts.write_stall)
    }

    fn block_until(&self) -> Option<Instant> {
        let since = self.block.get()?;
        Some(since + self.listener.config.timeouts.header_read)
    }

    /// When a client that has ended its side is taken to be gone. Of one that has closed it, the first byte of an answer
    /// shows whether it is.
    fn gone_at(&self) -> Option<Instant> {
        match self.client_ended.get()? {
            (ClientEnd::Lost, since) => Some(since),
            (ClientEnd::Closed, _) if self.answer_begun.get() => None,
            (ClientEnd::Closed, since) => Some(since + HALF_CLOSED_WAIT),
        }
    }

    /// When a head is too late. A client that has connected and is silent does not hold a drain up.
    fn head_until(&self, since: Instant) -> Instant {
        let header_read = self.listener.config.timeouts.header_read;
        let silent = self.wants_end() && self.is_nothing_read();
        since
            + if silent {
                header_read.min(SILENT_WAIT)
            } else {
                header_read
            }
    }

    fn parked_until(&self, since: Instant) -> Instant {
        let idle = since + self.listener.config.keep_alive.idle_timeout;
        self.retires.map_or(idle, |retires| idle.min(retires.max(since)))
    }
}
