//! What another thread sees of a load while it runs, and how it ends one early.

use std::sync::{
    Arc,
    atomic::{AtomicI64, AtomicU64, Ordering::Relaxed},
};

use tokio::sync::watch;

use super::{Errors, record::Failure};

/// More threads than stripes share some.
const STRIPES: usize = 16;

/// Counts that every client adds to and any thread may read. A clone is the same counts.
///
/// They go on from one load to the next: who wants those of one load, or of one second, subtracts.
#[derive(Debug, Clone, Default)]
pub struct Progress {
    stripes: Arc<[Stripe; STRIPES]>,
}

/// What had happened when it was read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Reading {
    /// As in [`Outcome`](super::Outcome).
    pub answered: u64,
    pub errors: Errors,
    /// Connections open now.
    pub open: u64,
}

/// The counts of one thread, on cache lines of their own.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Stripe {
    answered: AtomicU64,
    failed: [AtomicU64; Failure::COUNT],
    /// Signed, since a stripe may be read between two that moved.
    open: AtomicI64,
}

impl Progress {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn read(&self) -> Reading {
        let mut reading = Reading::default();
        let mut open = 0;
        for stripe in self.stripes.iter() {
            reading.answered += stripe.answered.load(Relaxed);
            for failure in Failure::ALL {
                *reading.errors.of(failure) += stripe.failed[failure as usize].load(Relaxed);
            }
            open += stripe.open.load(Relaxed);
        }
        reading.open = u64::try_from(open).unwrap_or(0);
        reading
    }

    pub(super) fn meter(&self, thread: usize) -> Meter {
        Meter {
            progress: self.clone(),
            stripe: thread % STRIPES,
        }
    }
}

/// Where one thread adds to the counts.
#[derive(Debug, Clone)]
pub(super) struct Meter {
    progress: Progress,
    stripe: usize,
}

impl Meter {
    pub fn answered(&self) {
        self.stripe().answered.fetch_add(1, Relaxed);
    }

    pub fn failed(&self, failure: Failure) {
        self.stripe().failed[failure as usize].fetch_add(1, Relaxed);
    }

    pub fn opened(&self) -> Open {
        self.stripe().open.fetch_add(1, Relaxed);
        Open(self.clone())
    }

    fn stripe(&self) -> &Stripe {
        &self.progress.stripes[self.stripe]
    }
}

/// Counts a connection as open until it is dropped.
#[derive(Debug)]
pub(super) struct Open(Meter);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.stripe().open.fetch_sub(1, Relaxed);
    }
}

/// Ends a load before its time. A clone ends the same load, and every later one that is given it.
#[derive(Debug, Clone)]
pub struct Stop {
    stopped: Arc<watch::Sender<bool>>,
}

impl Stop {
    pub fn new() -> Self {
        Self {
            stopped: Arc::new(watch::Sender::new(false)),
        }
    }

    /// From any thread, also before the load has begun; more than once is as once.
    pub fn stop(&self) {
        self.stopped.send_replace(true);
    }

    pub fn is_stopped(&self) -> bool {
        *self.stopped.borrow()
    }

    /// Until [`stop`](Self::stop) is called.
    ///
    /// Cancellation: nothing is lost.
    pub async fn stopped(&self) {
        let waited = self.stopped.subscribe().wait_for(|stopped| *stopped).await.map(|_| ());
        waited.expect("this value holds the sender");
    }
}

impl Default for Stop {
    fn default() -> Self {
        Self::new()
    }
}
