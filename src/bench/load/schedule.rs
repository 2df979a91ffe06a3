//! The due times of requests at a constant rate.
//!
//! A request is due when its time has come, whether or not a client is free. Those that are due wait in order; a client
//! that is free takes the first of them, or waits for it. So the wait for a client counts into the latency, as it would
//! for somebody who comes at that time.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use tokio::{sync::Semaphore, time::Instant};

use super::alarm::Alarm;

/// The requests of one thread: each takes one of every so many.
#[derive(Debug)]
pub(super) struct Schedule {
    /// Requests per second of all threads.
    rate: f64,
    thread: usize,
    threads: usize,
    duration: Duration,
    /// One permit for each request that is due and not taken; closed when the duration is over.
    due: Semaphore,
    released: AtomicU64,
    taken: AtomicU64,
}

impl Schedule {
    pub fn new(rate: f64, thread: usize, threads: usize, duration: Duration) -> Self {
        Self {
            rate,
            thread,
            threads,
            duration,
            due: Semaphore::new(0),
            released: AtomicU64::new(0),
            taken: AtomicU64::new(0),
        }
    }

    /// Releases each request when it is due, until the duration is over.
    ///
    /// Cancellation: no further request becomes due.
    pub async fn run(&self, start: Instant, alarm: &Alarm) {
        let mut released = 0;
        let mut next = self.due_after(0);
        loop {
            let elapsed = start.elapsed();
            let before = released;
            while next <= elapsed && next < self.duration {
                released += 1;
                next = self.due_after(released);
            }
            self.released.store(released, Relaxed);
            self.due.add_permits((released - before) as usize);
            if elapsed >= self.duration {
                break;
            }
            alarm.until(start + next.min(self.duration)).await;
        }
        self.due.close();
    }

    /// Waits for the next request; gives the time since the start at which it was due. `None`: the duration is over.
    ///
    /// Cancellation: the request goes to another client.
    pub async fn take(&self) -> Option<Duration> {
        self.due.acquire().await.ok()?.forget();
        Some(self.due_after(self.taken.fetch_add(1, Relaxed)))
    }

    /// Requests that were due and that nobody took.
    pub fn unsent(&self) -> u64 {
        self.released.load(Relaxed) - self.taken.load(Relaxed)
    }

    /// From the start to the time of this thread's request of that number.
    fn due_after(&self, number: u64) -> Duration {
        let place = number * self.threads as u64 + self.thread as u64;
        Duration::try_from_secs_f64(place as f64 / self.rate).unwrap_or(Duration::MAX)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::{task::JoinSet, time};

    use super::*;

    const MILLISECOND: Duration = Duration::from_millis(1);

    /// Clients that each take a request and then need 1 ms for it; the one with number 100 needs a second longer.
    /// Gives the latencies from the due times, and how many were never sent.
    async fn run(clients: usize, rate: f64, duration: Duration) -> (Vec<Duration>, u64) {
        let schedule = Arc::new(Schedule::new(rate, 0, 1, duration));
        let start = Instant::now();
        let mut running = JoinSet::new();
        for _ in 0..clients {
            let schedule = Arc::clone(&schedule);
            running.spawn(async move {
                let mut latencies = Vec::new();
                while let Some(due) = schedule.take().await {
                    if schedule.taken.load(Relaxed) == 100 {
                        time::sleep(1000 * MILLISECOND).await;
                    }
                    time::sleep(MILLISECOND).await;
                    latencies.push(start.elapsed() - due);
                }
                latencies
            });
        }
        schedule.run(start, &Alarm::Runtime).await;
        let latencies = running.join_all().await.concat();
        (latencies, schedule.unsent())
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_is_in_the_latency_of_all_that_were_due_meanwhile() {
        let (latencies, unsent) = run(1, 100.0, Duration::from_secs(10)).await;
        assert_eq!((latencies.len(), unsent), (1000, 0));
        let slow = latencies.iter().filter(|latency| **latency > 100 * MILLISECOND);
        // One is due every 10 ms of the second, and the backlog shrinks by 9 ms with each that is made up for.
        assert_eq!(slow.count(), 101);
        let longest = latencies.iter().max().expect("some");
        assert_eq!(*longest, 1001 * MILLISECOND);
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_of_one_of_two_clients_keeps_no_other_request() {
        let (latencies, unsent) = run(2, 100.0, Duration::from_secs(10)).await;
        assert_eq!((latencies.len(), unsent), (1000, 0));
        let slow = latencies.iter().filter(|latency| **latency > 2 * MILLISECOND);
        assert_eq!(slow.count(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn what_nobody_was_free_for_is_unsent_when_the_duration_is_over() {
        // 1 ms each: at most 1000 in a second, less the one second that is lost.
        let (latencies, unsent) = run(1, 2000.0, Duration::from_secs(2)).await;
        assert_eq!(latencies.len() as u64 + unsent, 4000);
        assert!((990..=1000).contains(&latencies.len()), "{}", latencies.len());
    }

    #[test]
    fn threads_take_turns_at_even_times() {
        let schedules: Vec<_> = (0..3)
            .map(|thread| Schedule::new(1500.0, thread, 3, Duration::MAX))
            .collect();
        let of_all = (0..4).flat_map(|number| schedules.iter().map(move |schedule| schedule.due_after(number)));
        for (place, due) in of_all.enumerate() {
            assert_eq!(due, Duration::from_secs_f64(place as f64 / 1500.0));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_rate_of_less_than_one_in_the_duration_sends_the_first() {
        let (latencies, unsent) = run(1, 0.001, Duration::from_secs(3)).await;
        assert_eq!((latencies.len(), unsent), (1, 0));
    }
}
