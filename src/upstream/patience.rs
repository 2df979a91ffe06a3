//! How slow the two sides of a request may be.

use std::{
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::time::Instant;

use super::request_body::WaitsFor;
use crate::{
    config,
    worker::{Timer, Timers},
};

/// How long the client's body waits for the endpoint's `100 Continue` (RFC 9110 10.1.1: not indefinitely).
const CONTINUE_WAIT: Duration = Duration::from_secs(1);

/// How slow the two sides may be during one request.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    pub endpoint: config::ClusterTimeouts,
    /// Longest time without a byte of the client's body.
    pub client_stall: Duration,
    /// When the whole request must be over.
    pub deadline: Option<Instant>,
}

impl Patience {
    /// `limit` is the client's own, if it has one.
    pub(super) fn new(
        endpoint: config::ClusterTimeouts,
        client_stall: Duration,
        limit: Option<Duration>,
        timers: &Timers,
    ) -> Self {
        let own = (!endpoint.request.is_zero()).then_some(endpoint.request);
        let shortest = own.into_iter().chain(limit).min();
        Self {
            endpoint,
            client_stall,
            deadline: shortest.map(|shortest| timers.after(shortest)),
        }
    }

    /// Whether the time of the whole request has passed.
    pub(super) fn is_over(&self) -> bool {
        self.deadline.is_some_and(|deadline| Instant::now() >= deadline)
    }
}

/// The time that the head of an answer takes.
#[derive(Debug, Default)]
pub(super) struct Watch {
    /// How much of its time to answer the endpoint has had when the timer fires next.
    waited: Duration,
    /// What the timer was last set for, and how far the upload was then.
    stage: Option<(WaitsFor, u64)>,
}

/// What has taken too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Overdue {
    /// The whole request.
    Request,
    /// The endpoint's taking of the request.
    Write,
    /// The client's sending of it.
    Client,
    /// The endpoint's word on whether it wants the body: it is sent without.
    Continue,
    /// The answer.
    FirstByte,
    /// Any sign that an answer can come at all.
    Life,
}

impl Watch {
    /// Ready when something has taken too long. `sent` is how far the upload is. While an answer is waited for, it is
    /// asked as often as the time of a connect has passed whether it `is_hopeless`.
    pub(super) fn poll(
        &mut self,
        context: &mut Context<'_>,
        timer: &Timer,
        patience: &Patience,
        (waits_for, sent): (WaitsFor, u64),
        is_hopeless: impl Fn() -> bool,
    ) -> Poll<Overdue> {
        let stage = (waits_for, sent);
        if self.stage != Some(stage) {
            self.stage = Some(stage);
            let allowed = match waits_for {
                WaitsFor::Endpoint => patience.endpoint.between_bytes,
                WaitsFor::Client => patience.client_stall,
                WaitsFor::Continue => CONTINUE_WAIT,
                WaitsFor::Nothing => {
                    self.waited = patience.endpoint.connect.min(patience.endpoint.first_byte);
                    self.waited
                }
            };
            timer.set_after(allowed, patience.deadline);
        }
        loop {
            ready!(timer.poll(context));
            timer.clear();
            if patience.is_over() {
                return Poll::Ready(Overdue::Request);
            }
            match waits_for {
                WaitsFor::Endpoint => return Poll::Ready(Overdue::Write),
                WaitsFor::Client => return Poll::Ready(Overdue::Client),
                WaitsFor::Continue => return Poll::Ready(Overdue::Continue),
                WaitsFor::Nothing if is_hopeless() => return Poll::Ready(Overdue::Life),
                WaitsFor::Nothing => {}
            }
            let rest = patience.endpoint.first_byte.saturating_sub(self.waited);
            if rest.is_zero() {
                return Poll::Ready(Overdue::FirstByte);
            }
            let step = patience.endpoint.connect.min(rest);
            self.waited += step;
            timer.set_after(step, patience.deadline);
        }
    }
}
