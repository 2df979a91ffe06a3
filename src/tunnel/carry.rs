//! Both directions of a tunnel, its clock, and what their ends mean for both sides.

use std::{
    cell::Cell,
    future::poll_fn,
    pin::pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::time::Instant;

use super::{
    End, Side,
    direction::{Broken, Direction, Fate},
};
use crate::worker::Timer;

/// How often a side is asked whether it has gone that has ended its half, so that no read tells it any more.
const ASK_INTERVAL: Duration = Duration::from_secs(5);

/// Bytes that were taken of a tunnel.
#[derive(Debug, Default)]
pub struct Tally {
    /// By the endpoint.
    pub up: Cell<u64>,
    /// By the client.
    pub down: Cell<u64>,
}

/// How a tunnel ended, and how both sides are to be ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outcome {
    pub end: End,
    client: Manner,
    endpoint: Manner,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Manner {
    Close,
    Reset,
}

/// Carries bytes both ways until both sides have ended, one has broken off, nothing has come for `idle`, or `cut` is
/// ready. Then [`Outcome::apply`] ends both.
///
/// Cancellation: the bytes on their way are lost with both sides.
pub async fn carry<C: Side, E: Side>(
    client: &mut C,
    endpoint: &mut E,
    timer: Timer,
    idle: Duration,
    tally: &Tally,
    cut: impl Future<Output = ()>,
) -> Outcome {
    let mut cut = pin!(cut);
    let mut pump = Pump {
        client,
        endpoint,
        up: Direction::default(),
        down: Direction::default(),
        first: None,
        clock: Clock::new(timer, idle),
        tally,
    };
    poll_fn(|context| {
        if let Poll::Ready(outcome) = pump.poll(context) {
            return Poll::Ready(outcome);
        }
        cut.as_mut().poll(context).map(|()| Outcome::closed(End::Drain))
    })
    .await
}

impl Outcome {
    /// Ends both sides.
    pub async fn apply(self, client: impl Side, endpoint: impl Side) {
        end(endpoint, self.endpoint).await;
        end(client, self.client).await;
    }

    fn closed(end: End) -> Self {
        Self {
            end,
            client: Manner::Close,
            endpoint: Manner::Close,
        }
    }

    fn reset(end: End) -> Self {
        Self {
            end,
            client: Manner::Reset,
            endpoint: Manner::Reset,
        }
    }
}

async fn end(side: impl Side, manner: Manner) {
    match manner {
        Manner::Close => side.close().await,
        Manner::Reset => side.reset(),
    }
}

struct Pump<'a, C, E> {
    client: &'a mut C,
    endpoint: &'a mut E,
    up: Direction,
    down: Direction,
    /// Who was first to say that it was done.
    first: Option<End>,
    clock: Clock,
    tally: &'a Tally,
}

impl<C: Side, E: Side> Pump<'_, C, E> {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Outcome> {
        let before = (self.tally.up.get(), self.tally.down.get());
        let up = self.up.poll(context, self.client, self.endpoint, &self.tally.up);
        let down = self.down.poll(context, self.endpoint, self.client, &self.tally.down);
        for (direction, end) in [(&self.up, End::ClientClosed), (&self.down, End::EndpointClosed)] {
            if direction.has_ended() && self.first.is_none() {
                self.first = Some(end);
                self.clock.timer.set_after(self.clock.left().min(ASK_INTERVAL), None);
            }
        }
        // A receiver that takes nothing more may have said something before, which is still there to be read; behind
        // that, its end shows what it was.
        match up {
            Poll::Ready(Err(Broken::Sender)) => return Poll::Ready(Outcome::reset(End::ClientReset)),
            Poll::Ready(Err(Broken::Receiver)) => self.up.give_up(),
            _ => {}
        }
        match down {
            Poll::Ready(Err(Broken::Sender)) => return Poll::Ready(Outcome::reset(End::EndpointReset)),
            Poll::Ready(Err(Broken::Receiver)) => self.down.give_up(),
            _ => {}
        }
        if let (Some(up), Some(down)) = (self.up.fate(), self.down.fate()) {
            return Poll::Ready(self.outcome(up, down));
        }
        if before != (self.tally.up.get(), self.tally.down.get()) {
            self.clock.note_life();
        }
        self.poll_clock(context)
    }

    /// Ready when nothing has come for too long, or when a side that has ended its half has gone meanwhile.
    fn poll_clock(&self, context: &mut Context<'_>) -> Poll<Outcome> {
        loop {
            ready!(self.clock.timer.poll(context));
            let left = self.clock.left();
            if left.is_zero() {
                return Poll::Ready(Outcome::closed(End::IdleTimeout));
            }
            if self.up.fate() == Some(Fate::Told) && self.client.is_gone() {
                return Poll::Ready(Outcome::reset(End::ClientReset));
            }
            if self.down.fate() == Some(Fate::Told) && self.endpoint.is_gone() {
                return Poll::Ready(self.outcome(Fate::Lost, Fate::Told));
            }
            let next = if self.first.is_some() {
                left.min(ASK_INTERVAL)
            } else {
                left
            };
            self.clock.timer.set_after(next, None);
        }
    }

    fn outcome(&self, up: Fate, down: Fate) -> Outcome {
        let first = self.first.unwrap_or(End::EndpointClosed);
        match (up, down) {
            (Fate::Told, Fate::Told) => Outcome::closed(first),
            // The endpoint has closed for good, and the client has heard all that it had to say: a reset must not take
            // that from it.
            (Fate::Lost, Fate::Told) => Outcome {
                endpoint: Manner::Reset,
                ..Outcome::closed(End::EndpointClosed)
            },
            // The client has closed for good, and the endpoint speaks to nobody.
            (_, Fate::Lost) => Outcome::reset(End::ClientClosed),
        }
    }
}

/// Notices when nothing comes any more. Setting the timer with every piece would cost more than looking once per timeout.
struct Clock {
    timer: Timer,
    idle: Duration,
    life: Instant,
}

impl Clock {
    fn new(timer: Timer, idle: Duration) -> Self {
        timer.set_after(idle, None);
        Self {
            life: timer.now(),
            timer,
            idle,
        }
    }

    fn note_life(&mut self) {
        self.life = self.timer.now();
    }

    /// How much longer nothing may come.
    fn left(&self) -> Duration {
        let silent = self.timer.now().saturating_duration_since(self.life);
        self.idle.saturating_sub(silent)
    }
}

#[cfg(test)]
mod tests;
