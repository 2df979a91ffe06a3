//! What the probes of one endpoint add up to.

use std::sync::{
    Arc, Mutex, MutexGuard,
    atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
};

use tokio::time::Instant;

use crate::config;

/// What one probe said of its endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Succeeded,
    Failed,
    /// The probe could not be sent for want of something on this machine.
    Inconclusive,
}

/// A turn in the verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    BecameHealthy,
    BecameUnhealthy,
}

/// The verdict so far, and how many outcomes in a row speak against it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Streak {
    verdict: Verdict,
    /// Less than `rise` or `fall`, whichever would turn the verdict.
    against: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    /// Healthy for want of any answer; the first one decides alone.
    Presumed,
    Healthy,
    Unhealthy,
}

impl Default for Streak {
    fn default() -> Self {
        Self {
            verdict: Verdict::Presumed,
            against: 0,
        }
    }
}

impl Streak {
    /// Adds an outcome. A `rise` or `fall` of 0 counts as 1.
    pub fn observe(&mut self, outcome: Outcome, probe: &config::Probe) -> Option<Change> {
        let needed = match (self.verdict, outcome) {
            (_, Outcome::Inconclusive) => return None,
            (Verdict::Presumed | Verdict::Healthy, Outcome::Succeeded) => {
                *self = Self {
                    verdict: Verdict::Healthy,
                    against: 0,
                };
                return None;
            }
            (Verdict::Unhealthy, Outcome::Failed) => {
                self.against = 0;
                return None;
            }
            (Verdict::Presumed, Outcome::Failed) => 1,
            (Verdict::Healthy, Outcome::Failed) => probe.fall,
            (Verdict::Unhealthy, Outcome::Succeeded) => probe.rise,
        };
        self.against += 1;
        if self.against < needed {
            return None;
        }
        let (verdict, change) = match outcome {
            Outcome::Succeeded => (Verdict::Healthy, Change::BecameHealthy),
            _ => (Verdict::Unhealthy, Change::BecameUnhealthy),
        };
        *self = Self { verdict, against: 0 };
        Some(change)
    }
}

/// The health of one endpoint: read by every worker, written by its probe.
#[derive(Debug)]
pub struct Health {
    healthy: AtomicBool,
    succeeded: AtomicU64,
    failed: AtomicU64,
    record: Mutex<Record>,
}

#[derive(Debug)]
struct Record {
    streak: Streak,
    since: Instant,
    last: Option<Arc<str>>,
}

/// A [`Health`] at one time, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    pub healthy: bool,
    /// When the endpoint became what it is now.
    pub since: Instant,
    /// What the last probe found; `None` before the first.
    pub last: Option<Arc<str>>,
    pub succeeded: u64,
    /// Inconclusive probes are in neither count.
    pub failed: u64,
}

impl Health {
    /// The health of an endpoint that was not asked yet.
    pub fn new(now: Instant) -> Self {
        Self {
            healthy: AtomicBool::new(true),
            succeeded: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            record: Mutex::new(Record {
                streak: Streak::default(),
                since: now,
                last: None,
            }),
        }
    }

    /// One atomic load.
    pub fn is_healthy(&self) -> bool {
        self.healthy.load(Relaxed)
    }

    pub fn report(&self) -> Report {
        let record = self.record();
        Report {
            healthy: self.is_healthy(),
            since: record.since,
            last: record.last.clone(),
            succeeded: self.succeeded.load(Relaxed),
            failed: self.failed.load(Relaxed),
        }
    }

    /// Adds the outcome of a probe, told in words by `text`.
    pub fn record_probe(
        &self,
        outcome: Outcome,
        text: impl Into<Arc<str>>,
        probe: &config::Probe,
        now: Instant,
    ) -> Option<Change> {
        match outcome {
            Outcome::Succeeded => _ = self.succeeded.fetch_add(1, Relaxed),
            Outcome::Failed => _ = self.failed.fetch_add(1, Relaxed),
            Outcome::Inconclusive => {}
        }
        let mut record = self.record();
        record.last = Some(text.into());
        let change = record.streak.observe(outcome, probe)?;
        record.since = now;
        // Under the lock, so that a report never shows the new flag with the old time.
        self.healthy.store(change == Change::BecameHealthy, Relaxed);
        Some(change)
    }

    fn record(&self) -> MutexGuard<'_, Record> {
        self.record.lock().expect("nothing panics while it holds this lock")
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::ProbeKind;

    fn probe(rise: u32, fall: u32) -> config::Probe {
        let second = Duration::from_secs(1);
        config::Probe {
            kind: ProbeKind::Tcp,
            interval: second,
            timeout: second,
            rise,
            fall,
        }
    }

    /// One letter per probe: `+`, `-` or `?`; the answer has `H` or `U` where the verdict turns, else `.`.
    fn verdicts(outcomes: &str, rise: u32, fall: u32) -> String {
        let mut streak = Streak::default();
        let observe = |outcome| match outcome {
            '+' => Outcome::Succeeded,
            '-' => Outcome::Failed,
            _ => Outcome::Inconclusive,
        };
        outcomes
            .chars()
            .map(|outcome| match streak.observe(observe(outcome), &probe(rise, fall)) {
                Some(Change::BecameHealthy) => 'H',
                Some(Change::BecameUnhealthy) => 'U',
                None => '.',
            })
            .collect()
    }

    #[test]
    fn the_verdict_turns_after_enough_outcomes_in_a_row() {
        for (outcomes, rise, fall, expected) in [
            ("+---", 2, 3, "...U"),
            ("+--+--+---", 2, 3, ".........U"),
            ("+---++", 2, 3, "...U.H"),
            ("+---+-+-++", 2, 3, "...U.....H"),
            ("+-+-+", 1, 1, ".UHUH"),
            ("+-+-+", 0, 0, ".UHUH"),
            // After a turn, counting begins anew.
            ("+--++--", 2, 2, "..U.H.U"),
            // An outcome that says nothing neither adds to a row nor breaks it.
            ("+-?-?-", 2, 3, ".....U"),
        ] {
            assert_eq!(
                verdicts(outcomes, rise, fall),
                expected,
                "{outcomes} rise {rise} fall {fall}"
            );
        }
    }

    #[test]
    fn the_first_outcome_decides_alone() {
        assert_eq!(verdicts("-", 2, 3), "U");
        assert_eq!(verdicts("??-++", 2, 3), "..U.H");
        assert_eq!(verdicts("+-", 2, 3), "..");
    }

    #[tokio::test(start_paused = true)]
    async fn a_report_tells_since_when_and_what_was_found_last() {
        let health = Health::new(Instant::now());
        assert!(health.is_healthy());
        assert_eq!(health.report().last, None);
        let begin = Instant::now();
        tokio::time::advance(Duration::from_secs(5)).await;
        let change = health.record_probe(Outcome::Failed, "refused", &probe(1, 3), Instant::now());
        assert_eq!(change, Some(Change::BecameUnhealthy));
        tokio::time::advance(Duration::from_secs(5)).await;
        assert_eq!(
            health.record_probe(Outcome::Failed, "still refused", &probe(1, 3), Instant::now()),
            None
        );
        assert_eq!(
            health.record_probe(Outcome::Inconclusive, "no port", &probe(1, 3), Instant::now()),
            None
        );
        assert!(!health.is_healthy());
        let report = health.report();
        assert_eq!(report.since - begin, Duration::from_secs(5));
        assert_eq!((report.healthy, report.succeeded, report.failed), (false, 0, 2));
        assert_eq!(report.last.as_deref(), Some("no port"));
        assert_eq!(
            health.record_probe(Outcome::Succeeded, "200", &probe(1, 3), Instant::now()),
            Some(Change::BecameHealthy)
        );
        assert!(health.is_healthy());
        assert_eq!(health.report().since - begin, Duration::from_secs(10));
    }
}
