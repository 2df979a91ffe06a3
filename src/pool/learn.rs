//! How long an endpoint keeps idle connections: what it says, and what it does. Pure: time comes in.

use std::time::Duration;

use tokio::time::Instant;

use super::SWEEP_INTERVAL;
use crate::config::IdleTimeout;

/// Where learning begins, and its ceiling.
const LONGEST: Duration = Duration::from_secs(60);
/// Shorter than this, nothing is kept long enough to be looked at.
const SHORTEST: Duration = Duration::from_millis(250);
/// The margin below the time that the endpoint keeps to: a tenth, and never less than the time that a request may need
/// to it and back.
const LEAST_MARGIN: Duration = Duration::from_millis(100);
/// The margin below what the endpoint says in whole seconds, but never more than half of it.
const STATED_MARGIN: Duration = Duration::from_secs(1);
/// Windows that an observation counts in.
const WINDOWS: usize = 10;
const WINDOW: Duration = Duration::from_secs(60);
/// By how much the learned time grows with each window, once the observations behind it are forgotten: slowly, since an
/// endpoint that has not changed answers each step too far with a close.
const GROWTH: f64 = 1.25;
/// Connections that an idle timeout ends at about the same time have been idle for about as long. If their idle ages lie
/// further apart than this, it was something else, such as a restart of the endpoint.
const SPREAD: Duration = Duration::from_millis(500);

/// What is known of one endpoint's idle timeout.
#[derive(Debug, Clone)]
pub struct Learning {
    /// `Keep-Alive: timeout=N` of its last answer that had it.
    stated: Option<Duration>,
    learned: Duration,
    /// The smallest idle age at which it closed a connection, by window; the newest last.
    seen: [Option<Duration>; WINDOWS],
    window_ends: Instant,
    /// Closes that are too fresh to be judged.
    fresh: Option<Closes>,
}

/// Closes of idle connections that came close together, by their idle ages.
#[derive(Debug, Clone, Copy)]
struct Closes {
    since: Instant,
    smallest: Duration,
    largest: Duration,
}

impl Learning {
    pub fn new(now: Instant) -> Self {
        Self {
            stated: None,
            learned: LONGEST,
            seen: [None; WINDOWS],
            window_ends: now + WINDOW,
            fresh: None,
        }
    }

    /// How long a connection may be idle.
    pub(super) fn idle_timeout(&self, configured: IdleTimeout) -> Duration {
        let base = match configured {
            IdleTimeout::After(timeout) => timeout,
            IdleTimeout::Learn => self.learned,
        };
        self.stated.map_or(base, |stated| base.min(below_stated(stated)))
    }

    /// The endpoint says how long it keeps connections. Says whether that is news.
    pub(super) fn note_stated(&mut self, timeout: Duration) -> bool {
        self.stated.replace(timeout) != Some(timeout)
    }

    /// The endpoint has closed idle connections; these are their idle ages. What they teach counts from
    /// [`SWEEP_INTERVAL`] later on, with [`Self::note_time`], when it is known which others it has closed with them.
    pub(super) fn note_closed(&mut self, ages: &[Duration], now: Instant) {
        self.note_time(now);
        for age in ages {
            let closes = self.fresh.get_or_insert(Closes {
                since: now,
                smallest: *age,
                largest: *age,
            });
            closes.smallest = closes.smallest.min(*age);
            closes.largest = closes.largest.max(*age);
        }
    }

    fn judge(&mut self, closes: Closes) {
        if closes.largest - closes.smallest > SPREAD {
            return;
        }
        let newest = &mut self.seen[WINDOWS - 1];
        *newest = Some(newest.map_or(closes.smallest, |known| known.min(closes.smallest)));
        self.learned = self.learned.min(below_seen(closes.smallest));
    }

    /// Judges what is old enough, and forgets what is too long ago.
    pub(super) fn note_time(&mut self, now: Instant) {
        if let Some(closes) = self.fresh.take_if(|closes| now >= closes.since + SWEEP_INTERVAL) {
            self.judge(closes);
        }
        while now >= self.window_ends {
            self.window_ends += WINDOW;
            self.seen.rotate_left(1);
            self.seen[WINDOWS - 1] = None;
            let smallest = self.seen.iter().flatten().min();
            let target = smallest.map_or(LONGEST, |smallest| below_seen(*smallest));
            if target > self.learned {
                self.learned = target.min(self.learned.mul_f64(GROWTH));
            }
        }
    }
}

fn below_stated(stated: Duration) -> Duration {
    (stated - STATED_MARGIN.min(stated / 2)).max(SHORTEST)
}

/// The endpoint may have closed up to one look earlier than was noticed.
fn below_seen(age: Duration) -> Duration {
    let closed = age.saturating_sub(SWEEP_INTERVAL);
    closed.saturating_sub((closed / 10).max(LEAST_MARGIN)).max(SHORTEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEARN: IdleTimeout = IdleTimeout::Learn;

    fn seconds(seconds: f64) -> Duration {
        Duration::from_secs_f64(seconds)
    }

    /// Closes at these ages, and what comes of it once it is judged.
    fn after(learning: &mut Learning, ages: &[f64], now: Instant) -> Duration {
        for age in ages {
            learning.note_closed(&[seconds(*age)], now);
        }
        learning.note_time(now + SWEEP_INTERVAL);
        learning.idle_timeout(LEARN)
    }

    #[test]
    fn a_fixed_timeout_yields_only_to_the_endpoints_own_word() {
        let now = Instant::now();
        let (mut learning, fixed) = (Learning::new(now), IdleTimeout::After(seconds(4.0)));
        after(&mut learning, &[1.0], now);
        assert_eq!(learning.idle_timeout(fixed), seconds(4.0));
        assert!(learning.note_stated(seconds(75.0)));
        assert_eq!(learning.idle_timeout(fixed), seconds(4.0));
        assert!(learning.note_stated(seconds(3.0)) && !learning.note_stated(seconds(3.0)));
        assert_eq!(learning.idle_timeout(fixed), seconds(2.0));
        learning.note_stated(seconds(1.0));
        assert_eq!(learning.idle_timeout(fixed), seconds(0.5));
        learning.note_stated(Duration::ZERO);
        assert_eq!(learning.idle_timeout(fixed), SHORTEST);
    }

    #[test]
    fn the_smallest_age_is_learned_less_a_margin() {
        let now = Instant::now();
        let mut learning = Learning::new(now);
        assert_eq!(learning.idle_timeout(LEARN), LONGEST);
        let learned = after(&mut learning, &[5.2, 5.1], now);
        assert!(learned < seconds(4.85) && learned > seconds(4.0), "{learned:?}");
        assert_eq!(after(&mut learning, &[9.0], now), learned);
        let learned = after(&mut learning, &[1.0], now + seconds(1.0));
        assert!(learned < seconds(0.75) && learned >= SHORTEST, "{learned:?}");
    }

    #[test]
    fn a_restart_of_the_endpoint_teaches_nothing() {
        let now = Instant::now();
        let mut learning = Learning::new(now);
        assert_eq!(after(&mut learning, &[0.3, 3.0, 1.2], now), LONGEST);
        learning.note_closed(&[], now);
        assert_eq!(after(&mut learning, &[], now + seconds(1.0)), LONGEST);
        let apart = now + seconds(2.0);
        learning.note_closed(&[seconds(0.3)], apart);
        learning.note_closed(&[seconds(3.0)], apart + SWEEP_INTERVAL / 2);
        learning.note_time(apart + SWEEP_INTERVAL);
        assert_eq!(learning.idle_timeout(LEARN), LONGEST);
    }

    #[test]
    fn it_is_forgotten_slowly_when_the_endpoint_changes() {
        let start = Instant::now();
        let mut learning = Learning::new(start);
        let learned = after(&mut learning, &[2.0], start);
        learning.note_time(start + WINDOW * (WINDOWS as u32 - 1));
        assert_eq!(learning.idle_timeout(LEARN), learned, "it still counts");
        learning.note_time(start + WINDOW * WINDOWS as u32);
        let grown = learning.idle_timeout(LEARN);
        assert!(
            grown > learned && grown < learned.mul_f64(1.3),
            "{grown:?} after {learned:?}"
        );
        learning.note_time(start + WINDOW * 60);
        assert_eq!(learning.idle_timeout(LEARN), LONGEST);
    }
}
