//! The common beginning of all clients.

use std::sync::atomic::{AtomicUsize, Ordering::AcqRel};

use tokio::{sync::watch, time::Instant};

/// Holds every client back until all are ready.
#[derive(Debug)]
pub(super) struct Start {
    unready: AtomicUsize,
    at: watch::Sender<Option<Instant>>,
}

impl Start {
    pub fn new(clients: usize) -> Self {
        Self {
            unready: AtomicUsize::new(clients),
            at: watch::Sender::new(None),
        }
    }

    /// Says that one client is ready, and waits until all are; gives the time of that, the same to each.
    ///
    /// Cancellation: it counts as ready.
    pub async fn ready(&self) -> Instant {
        if self.unready.fetch_sub(1, AcqRel) == 1 {
            self.at.send_replace(Some(Instant::now()));
        }
        self.at().await
    }

    /// The time at which all clients were ready, once they are.
    ///
    /// Cancellation: nothing is lost.
    pub async fn at(&self) -> Instant {
        let mut at = self.at.subscribe();
        let at = at.wait_for(Option::is_some).await;
        at.expect("this value holds the sender").expect("it was waited for")
    }
}
