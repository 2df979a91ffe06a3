//! Closes of the last minute, by the second: the TIME_WAIT sockets that they left behind. Pure: time comes in.

/// How long a TIME_WAIT holds its port, in seconds: 60 (`TCP_TIMEWAIT_LEN` of the kernel) and up to one of timer slack.
pub const TIME_WAIT_SECONDS: u64 = 61;

/// One bucket more than a TIME_WAIT lasts, since the bucket of the running second is not complete.
const BUCKETS: usize = TIME_WAIT_SECONDS as usize + 1;

/// Seconds over which the current rate is taken.
const RATE_SECONDS: u64 = 5;

/// Closes that left a TIME_WAIT, counted for as long as it lasts.
#[derive(Debug)]
pub(super) struct Recent {
    buckets: [u32; BUCKETS],
    /// The second of the newest bucket.
    second: u64,
    total: u64,
}

impl Recent {
    pub(super) fn new() -> Self {
        Self {
            buckets: [0; BUCKETS],
            second: 0,
            total: 0,
        }
    }

    pub(super) fn add(&mut self, second: u64) {
        self.move_to(second);
        self.buckets[index(self.second)] += 1;
        self.total += 1;
    }

    /// Those that still last.
    pub(super) fn total(&mut self, second: u64) -> u64 {
        self.move_to(second);
        self.total
    }

    /// Those of the last `seconds`, and of the running one.
    pub(super) fn within(&mut self, second: u64, seconds: u64) -> u64 {
        if seconds >= TIME_WAIT_SECONDS {
            return self.total(second);
        }
        self.move_to(second);
        let ages = 0..=seconds.min(self.second);
        ages.map(|age| u64::from(self.buckets[index(self.second - age)])).sum()
    }

    /// Closes per second, over the last [`RATE_SECONDS`] whole ones.
    pub(super) fn rate(&mut self, second: u64) -> f64 {
        self.move_to(second);
        let closes: u32 = (1..=RATE_SECONDS.min(self.second))
            .map(|ago| self.buckets[index(self.second - ago)])
            .sum();
        f64::from(closes) / RATE_SECONDS as f64
    }

    /// In how many seconds `free` further ports are used up if closes go on at the current rate; `None`: never, since
    /// as many come free as are taken.
    pub(super) fn exhausted_in(&mut self, second: u64, free: u64) -> Option<u64> {
        let rate = self.rate(second);
        if rate == 0.0 {
            return None;
        }
        let mut expired = 0_u64;
        for ahead in 1..=TIME_WAIT_SECONDS {
            // The bucket that is then as old as a TIME_WAIT gets.
            let age = TIME_WAIT_SECONDS + 1 - ahead;
            if let Some(of) = self.second.checked_sub(age) {
                expired += u64::from(self.buckets[index(of)]);
            }
            if rate * ahead as f64 >= (free + expired) as f64 {
                return Some(ahead);
            }
        }
        None
    }

    fn move_to(&mut self, second: u64) {
        let steps = second.saturating_sub(self.second).min(BUCKETS as u64);
        for step in 0..steps {
            let bucket = &mut self.buckets[index(second - step)];
            self.total -= u64::from(std::mem::take(bucket));
        }
        self.second = self.second.max(second);
    }
}

fn index(second: u64) -> usize {
    (second % BUCKETS as u64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_close_counts_for_as_long_as_its_time_wait_lasts() {
        let mut recent = Recent::new();
        recent.add(100);
        recent.add(100);
        recent.add(130);
        assert_eq!(recent.total(161), 3);
        assert_eq!(recent.total(162), 1);
        assert_eq!(recent.total(191), 1);
        assert_eq!(recent.total(192), 0);
        recent.add(10_000);
        assert_eq!(recent.total(10_000), 1);
        recent.add(10_002);
        assert_eq!(recent.within(10_003, 1), 1);
        assert_eq!(recent.within(10_003, 3), 2);
        assert_eq!(recent.within(10_003, 1_000), 2);
    }

    #[test]
    fn a_clock_that_stands_still_or_falls_back_harms_nothing() {
        let mut recent = Recent::new();
        recent.add(50);
        recent.add(49);
        assert_eq!(recent.total(48), 2);
    }

    #[test]
    fn the_rate_is_that_of_the_last_whole_seconds() {
        let mut recent = Recent::new();
        for second in 100..105 {
            for _ in 0..20 {
                recent.add(second);
            }
        }
        assert_eq!(recent.rate(105), 20.0);
        assert_eq!(recent.rate(110), 0.0);
    }

    #[test]
    fn exhaustion_is_foreseen_only_where_more_is_taken_than_comes_free() {
        let mut recent = Recent::new();
        for second in 100..105 {
            for _ in 0..20 {
                recent.add(second);
            }
        }
        assert_eq!(recent.exhausted_in(105, 200), Some(10));
        // 20 per second for 61 s are 1220 ports at most, and the 100 of before come free on the way.
        assert_eq!(recent.exhausted_in(105, 1121), None);
        assert_eq!(Recent::new().exhausted_in(105, 0), None);
    }

    proptest::proptest! {
        #[test]
        fn the_total_is_the_sum_of_what_lasts(gaps in proptest::collection::vec(0_u64..40, 0..200)) {
            let (mut recent, mut second, mut added) = (Recent::new(), 1000, Vec::new());
            for gap in gaps {
                second += gap;
                recent.add(second);
                added.push(second);
                let lasting = added.iter().filter(|at| second - **at <= TIME_WAIT_SECONDS).count();
                proptest::prop_assert_eq!(recent.total(second), lasting as u64);
            }
        }
    }
}
