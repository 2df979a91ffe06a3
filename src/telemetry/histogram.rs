//! Durations in fixed buckets, one histogram per worker, added up when scraped.

use std::{
    fmt::{self, Write},
    time::Duration,
};

use super::counter::Counter;

/// The upper bounds (inclusive) in nanoseconds, and as Prometheus shows them in seconds.
///
/// From what a proxy on the same machine takes to what a client waits before it gives up.
const BOUNDS: [(u64, &str); 19] = [
    (50_000, "0.00005"),
    (100_000, "0.0001"),
    (250_000, "0.00025"),
    (500_000, "0.0005"),
    (1_000_000, "0.001"),
    (2_500_000, "0.0025"),
    (5_000_000, "0.005"),
    (10_000_000, "0.01"),
    (25_000_000, "0.025"),
    (50_000_000, "0.05"),
    (100_000_000, "0.1"),
    (250_000_000, "0.25"),
    (500_000_000, "0.5"),
    (1_000_000_000, "1"),
    (2_500_000_000, "2.5"),
    (5_000_000_000, "5"),
    (10_000_000_000, "10"),
    (30_000_000_000, "30"),
    (60_000_000_000, "60"),
];

/// The bounds, and one bucket for what is beyond the last.
const BUCKETS: usize = BOUNDS.len() + 1;

/// For each bit length of a duration in nanoseconds the only two buckets that are possible: this one, or the next if
/// the duration is above the bound beside it. Two are enough because each bound is at least twice the one before.
const BY_BIT_LENGTH: [(u8, u64); 65] = {
    let mut table = [(0, 0); 65];
    let mut bits = 0;
    while bits <= 64 {
        let least = if bits == 0 { 0 } else { 1 << (bits - 1) };
        let mut bucket = 0;
        while bucket < BOUNDS.len() && BOUNDS[bucket].0 < least {
            bucket += 1;
        }
        let bound = if bucket < BOUNDS.len() {
            BOUNDS[bucket].0
        } else {
            u64::MAX
        };
        table[bits] = (bucket as u8, bound);
        bits += 1;
    }
    table
};

const _: () = {
    let mut i = 1;
    while i < BOUNDS.len() {
        assert!(BOUNDS[i].0 >= 2 * BOUNDS[i - 1].0, "two bounds may share a bit length");
        i += 1;
    }
};

fn bucket_of(nanos: u64) -> usize {
    let (bucket, bound) = BY_BIT_LENGTH[64 - nanos.leading_zeros() as usize];
    usize::from(bucket) + usize::from(nanos > bound)
}

/// How long something took, many times.
///
/// Invariant: one thread at a time calls [`observe`](Histogram::observe), as with [`Counter`]; any thread may merge.
#[derive(Debug, Default)]
pub struct Histogram {
    counts: [Counter; BUCKETS],
    /// Whole microseconds: nanoseconds would wrap within weeks where ten thousand requests always wait.
    sum_micros: Counter,
}

impl Histogram {
    pub fn new() -> Self {
        Self::default()
    }

    #[inline]
    pub fn observe(&self, duration: Duration) {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        self.counts[bucket_of(nanos)].add(1);
        // Rounded, not cut: the error of many is then none.
        self.sum_micros.add(nanos.saturating_add(500) / 1000);
    }
}

/// The sum of some histograms at one time.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Totals {
    counts: [u64; BUCKETS],
    sum_micros: u64,
}

impl Totals {
    pub fn merge(&mut self, histogram: &Histogram) {
        for (total, counter) in self.counts.iter_mut().zip(&histogram.counts) {
            *total = total.wrapping_add(counter.get());
        }
        self.sum_micros = self.sum_micros.wrapping_add(histogram.sum_micros.get());
    }

    /// How many durations were observed.
    pub fn count(&self) -> u64 {
        self.counts.iter().fold(0, |sum, count| sum.wrapping_add(*count))
    }

    /// All durations together, to the microsecond.
    pub fn sum(&self) -> Duration {
        Duration::from_micros(self.sum_micros)
    }

    /// Writes the series `name_bucket`, `name_sum` and `name_count` in Prometheus' text format. `labels` is what
    /// stands between the braces, already escaped, without a comma at its end; it may be empty.
    pub fn render(&self, out: &mut String, name: &str, labels: &str) -> fmt::Result {
        let comma = if labels.is_empty() { "" } else { "," };
        let bounds = BOUNDS.iter().map(|(_, bound)| *bound).chain(["+Inf"]);
        let mut below = 0u64;
        for (count, bound) in self.counts.iter().zip(bounds) {
            below = below.wrapping_add(*count);
            writeln!(out, "{name}_bucket{{{labels}{comma}le=\"{bound}\"}} {below}")?;
        }
        let (open, close) = if labels.is_empty() { ("", "") } else { ("{", "}") };
        let (seconds, micros) = (self.sum_micros / 1_000_000, self.sum_micros % 1_000_000);
        writeln!(out, "{name}_sum{open}{labels}{close} {seconds}.{micros:06}")?;
        // The same number as in the last bucket, whatever was observed meanwhile.
        writeln!(out, "{name}_count{open}{labels}{close} {below}")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bucket_by_search(nanos: u64) -> usize {
        BOUNDS.iter().take_while(|(bound, _)| *bound < nanos).count()
    }

    #[test]
    fn a_bound_belongs_to_its_own_bucket() {
        for (i, (bound, _)) in BOUNDS.iter().enumerate() {
            assert_eq!(bucket_of(bound - 1), i);
            assert_eq!(bucket_of(*bound), i);
            assert_eq!(bucket_of(bound + 1), i + 1);
        }
        assert_eq!(bucket_of(0), 0);
        assert_eq!(bucket_of(u64::MAX), BOUNDS.len());
    }

    #[test]
    fn the_text_of_a_bound_is_its_value() {
        for (bound, text) in BOUNDS {
            assert_eq!((text.parse::<f64>().unwrap() * 1e9).round() as u64, bound);
        }
    }

    proptest! {
        #[test]
        fn the_table_agrees_with_a_search(nanos in 0u64.., shift in 0u32..64) {
            prop_assert_eq!(bucket_of(nanos >> shift), bucket_by_search(nanos >> shift));
        }
    }

    #[test]
    fn histograms_of_workers_add_up() {
        let (one, two) = (Histogram::new(), Histogram::new());
        one.observe(Duration::from_micros(80));
        two.observe(Duration::from_micros(80));
        two.observe(Duration::from_secs(3600));
        let mut totals = Totals::default();
        totals.merge(&one);
        totals.merge(&two);
        assert_eq!(totals.count(), 3);
        assert_eq!(totals.sum(), Duration::from_micros(160) + Duration::from_secs(3600));
    }

    #[test]
    fn buckets_are_cumulative_and_end_with_the_count() {
        let histogram = Histogram::new();
        for micros in [10, 60, 60, 99_999_999] {
            histogram.observe(Duration::from_micros(micros));
        }
        let mut totals = Totals::default();
        totals.merge(&histogram);
        let mut text = String::new();
        totals.render(&mut text, "t", r#"a="b""#).unwrap();
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines[0], r#"t_bucket{a="b",le="0.00005"} 1"#);
        assert_eq!(lines[1], r#"t_bucket{a="b",le="0.0001"} 3"#);
        assert_eq!(lines[18], r#"t_bucket{a="b",le="60"} 3"#);
        assert_eq!(lines[19], r#"t_bucket{a="b",le="+Inf"} 4"#);
        assert_eq!(lines[20], r#"t_sum{a="b"} 100.000129"#);
        assert_eq!(lines[21], r#"t_count{a="b"} 4"#);
    }

    #[test]
    fn without_labels_there_are_no_empty_braces() {
        let mut text = String::new();
        Totals::default().render(&mut text, "t", "").unwrap();
        assert!(text.contains("t_bucket{le=\"1\"} 0\n"));
        assert!(text.ends_with("t_sum 0.000000\nt_count 0\n"));
    }

    #[test]
    fn an_endless_duration_is_only_the_last_bucket() {
        let histogram = Histogram::new();
        histogram.observe(Duration::MAX);
        let mut totals = Totals::default();
        totals.merge(&histogram);
        assert_eq!(totals.counts[BUCKETS - 1], 1);
    }
}
