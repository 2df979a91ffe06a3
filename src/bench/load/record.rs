//! What the clients of one thread have seen.

use std::time::Duration;

use hdrhistogram::Histogram;
use http::StatusCode;
use tokio::time::Instant;

use super::{Errors, Load, Outcome};

/// Why a request was not answered: the names of [`Errors`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Failure {
    Connect,
    NoPort,
    Broken,
    Timeout,
    Status4xx,
    Status5xx,
}

impl Failure {
    pub const ALL: [Self; 6] = [
        Self::Connect,
        Self::NoPort,
        Self::Broken,
        Self::Timeout,
        Self::Status4xx,
        Self::Status5xx,
    ];
    pub const COUNT: usize = Self::ALL.len();

    pub fn of_status(status: StatusCode) -> Option<Self> {
        match status.as_u16() {
            ..400 => None,
            400..500 => Some(Self::Status4xx),
            500.. => Some(Self::Status5xx),
        }
    }
}

impl Errors {
    pub(super) fn of(&mut self, failure: Failure) -> &mut u64 {
        match failure {
            Failure::Connect => &mut self.connect,
            Failure::NoPort => &mut self.no_port,
            Failure::Broken => &mut self.broken,
            Failure::Timeout => &mut self.timeout,
            Failure::Status4xx => &mut self.status_4xx,
            Failure::Status5xx => &mut self.status_5xx,
        }
    }
}

/// An [`Outcome`] in the making.
#[derive(Debug)]
pub(super) struct Record {
    /// Requests that a client has taken on, whatever became of them.
    begun: u64,
    answered: u64,
    errors: Errors,
    latency: Histogram<u64>,
    bytes: u64,
    pub connections: u64,
    pub unsent: u64,
    first: Option<Instant>,
    last: Option<Instant>,
}

impl Record {
    pub fn new(load: &Load) -> Self {
        // A request may wait for the whole duration until it is sent, and then take its timeout.
        let longest = load.duration.saturating_add(load.timeout).max(Duration::from_secs(1));
        let latency = Histogram::new_with_bounds(1, micros(longest), 3);
        Self {
            begun: 0,
            answered: 0,
            errors: Errors::default(),
            latency: latency.expect("bounds of at least a second, three digits"),
            bytes: 0,
            connections: 0,
            unsent: 0,
            first: None,
            last: None,
        }
    }

    pub fn begin(&mut self, now: Instant) {
        self.begun += 1;
        self.first.get_or_insert(now);
    }

    /// `latency` up to `now`, when the last byte of the answer was there.
    pub fn answer(&mut self, latency: Duration, body: u64, now: Instant) {
        self.answered += 1;
        self.bytes += body;
        self.latency.saturating_record(micros(latency));
        self.last = Some(now);
    }

    pub fn fail(&mut self, failure: Failure) {
        *self.errors.of(failure) += 1;
    }

    pub fn add(&mut self, other: &Self) {
        self.begun += other.begun;
        self.answered += other.answered;
        for failure in Failure::ALL {
            *self.errors.of(failure) += *other.errors.clone().of(failure);
        }
        let added = self.latency.add(&other.latency);
        added.expect("all histograms of a load have the same bounds");
        self.bytes += other.bytes;
        self.connections += other.connections;
        self.unsent += other.unsent;
        self.first = [self.first, other.first].into_iter().flatten().min();
        self.last = self.last.max(other.last);
    }

    pub fn into_outcome(self) -> Outcome {
        let elapsed = match (self.first, self.last) {
            (Some(first), Some(last)) => last.saturating_duration_since(first),
            _ => Duration::ZERO,
        };
        Outcome {
            answered: self.answered,
            errors: self.errors,
            latency: self.latency,
            bytes: self.bytes,
            connections: self.connections,
            elapsed,
            unsent: self.unsent,
            cut_off: self.begun - self.answered - self.errors.total(),
        }
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX / 2)
}
