//! How busy each worker is, for all to see: a fresh connection goes to the least busy one when the load is uneven.
//!
//! The kernel spreads connections over the workers' listening sockets by a hash, which is fair on average and not in
//! the single case: of 100 connections over 4 workers one may well get 35. Long-lived connections make that last.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use tokio::sync::mpsc;

/// The workers' connection counts, and a way to each worker for things of type `T`.
#[derive(Debug)]
pub struct Board<T> {
    seats: Box<[Place<T>]>,
}

/// Keeps neighbours off each other's cache line.
#[derive(Debug)]
#[repr(align(128))]
struct Place<T> {
    connections: AtomicUsize,
    sender: mpsc::UnboundedSender<T>,
}

/// What each worker receives.
pub type Seat<T> = mpsc::UnboundedReceiver<T>;

impl<T> Board<T> {
    pub fn new(workers: usize) -> (Self, Vec<Seat<T>>) {
        let (places, seats) = (0..workers)
            .map(|_| {
                let (sender, receiver) = mpsc::unbounded_channel();
                (
                    Place {
                        connections: AtomicUsize::new(0),
                        sender,
                    },
                    receiver,
                )
            })
            .unzip::<_, _, Vec<_>, Vec<_>>();
        (Self { seats: places.into() }, seats)
    }

    pub fn workers(&self) -> usize {
        self.seats.len()
    }

    pub fn connections(&self, worker: usize) -> usize {
        self.seats[worker].connections.load(Relaxed)
    }

    /// Counts a connection on `worker`, who has taken it or is about to be handed it.
    pub fn add(&self, worker: usize) {
        self.seats[worker].connections.fetch_add(1, Relaxed);
    }

    pub fn remove(&self, worker: usize) {
        self.seats[worker].connections.fetch_sub(1, Relaxed);
    }

    /// Who should serve a connection that `worker` has just accepted: itself, unless it has markedly more than the
    /// mean and another has fewer.
    pub fn place(&self, worker: usize) -> usize {
        if self.seats.len() == 1 {
            return worker;
        }
        let counts = self.seats.iter().map(|seat| seat.connections.load(Relaxed));
        place(worker, counts)
    }

    /// Sends to a worker; gives it back if that worker has ended.
    ///
    /// # Errors
    /// The thing itself.
    pub fn send(&self, worker: usize, thing: T) -> Result<(), T> {
        self.seats[worker].sender.send(thing).map_err(|error| error.0)
    }

    /// Sends to every worker that still runs.
    pub fn send_all(&self, mut make: impl FnMut() -> T) {
        for seat in &self.seats {
            let _ = seat.sender.send(make());
        }
    }
}

/// "Markedly more" is more than an eighth and at least two above the mean: less is not worth moving a connection, which
/// costs two system calls and a wake-up.
fn place(worker: usize, counts: impl ExactSizeIterator<Item = usize> + Clone) -> usize {
    let workers = counts.len();
    let total: usize = counts.clone().sum();
    let own = counts.clone().nth(worker).unwrap_or(0);
    let mean = total / workers;
    if own < mean + 2.max(mean / 8) {
        return worker;
    }
    let (least, count) = counts
        .enumerate()
        .min_by_key(|(_, count)| *count)
        .unwrap_or((worker, own));
    if count < own { least } else { worker }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_even_load_stays_where_it_was_accepted() {
        assert_eq!(place(0, [10, 10, 10, 10].into_iter()), 0);
        assert_eq!(place(0, [11, 10, 10, 10].into_iter()), 0);
    }

    #[test]
    fn a_markedly_uneven_load_goes_to_the_least_busy() {
        assert_eq!(place(0, [14, 10, 6, 10].into_iter()), 2);
        assert_eq!(place(2, [14, 10, 6, 10].into_iter()), 2);
    }

    #[test]
    fn a_hundred_connections_over_four_workers_end_even_whoever_accepts_them() {
        let mut counts = [0usize; 4];
        let mut random = fastrand::Rng::with_seed(7);
        for _ in 0..100 {
            let accepted_by = if random.u8(..) < 160 { 0 } else { random.usize(..4) };
            counts[place(accepted_by, counts.into_iter())] += 1;
        }
        assert!(counts.iter().all(|count| (18..=32).contains(count)), "{counts:?}");
    }
}
