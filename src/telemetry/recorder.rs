//! What happens rarely is counted through the macros of the `metrics` crate; this keeps it for the page.
//!
//! A macro looks its series up under a lock each time, 60 to 195 ns against the 1 ns of a
//! [`Counter`](super::Counter): right for a reload or a change of health, wrong for a request.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, Once, atomic::Ordering::Acquire},
};

use metrics::{
    Counter, CounterFn, Gauge, GaugeFn, Histogram, HistogramFn, Key, KeyName, Metadata, SharedString, Unit,
    atomics::AtomicU64,
};

use super::page::{Kind, Page, label_of, name_of};

/// How many series one name may have. Labels name things that come and go; beyond this the series that was not asked
/// for the longest gives way, and begins at 0 should it come back, which Prometheus takes for a restart.
const MAX_SERIES: usize = 1000;

/// Keeps what the macros of `metrics` count.
///
/// A name belongs to the kind that it was first described or counted as; what is counted under it as another kind is
/// lost. A handle that is kept for long may outlive its series: see the limit on their number.
#[derive(Debug, Default)]
pub struct Recorder {
    families: Mutex<BTreeMap<String, Family>>,
}

#[derive(Debug)]
struct Family {
    kind: Kind,
    help: String,
    series: BTreeMap<Labels, Series>,
    /// How often any of its series was asked for.
    asked: u64,
}

/// Sorted by name.
type Labels = Vec<(String, String)>;

#[derive(Debug)]
struct Series {
    value: Arc<Value>,
    /// The family's `asked` as this series was asked for the last time.
    asked: u64,
}

/// A counter is in `count`, a gauge in `sum`, a summary in both. The sum is the bits of an `f64`.
#[derive(Debug, Default)]
struct Value {
    count: AtomicU64,
    sum: AtomicU64,
}

/// Makes the process' own recorder the one that the macros count with, the first time; gives it every time.
///
/// A program that embeds the proxy may have installed a recorder of its own before: then that one gets all numbers and
/// this one stays empty.
pub fn install() -> &'static Recorder {
    static RECORDER: Recorder = Recorder::new();
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        if metrics::set_global_recorder(&RECORDER).is_err() {
            tracing::warn!("this program has a recorder of metrics already: some are not on the admin listener's page");
        }
    });
    &RECORDER
}

impl Recorder {
    pub const fn new() -> Self {
        Self {
            families: Mutex::new(BTreeMap::new()),
        }
    }

    /// Puts all series on the page, and of names without series what they mean.
    pub fn render_into(&self, page: &mut Page) {
        for (name, family) in self.families().iter() {
            let (name, help) = (|| name.clone(), || family.help.clone());
            page.describe(name(), help(), family.kind);
            for (labels, Series { value, .. }) in &family.series {
                let labels: Vec<_> = labels.iter().map(|(name, value)| (&**name, &**value)).collect();
                match family.kind {
                    Kind::Counter => page.counter(name(), help(), &labels, value.count()),
                    Kind::Gauge => page.gauge(name(), help(), &labels, value.sum()),
                    Kind::Summary | Kind::Histogram => {
                        page.summary(name(), help(), &labels, value.count(), value.sum());
                    }
                }
            }
        }
    }

    fn describe(&self, kind: Kind, name: &KeyName, help: SharedString) {
        let mut families = self.families();
        let family = families
            .entry(name_of(name.as_str()))
            .or_insert_with(|| Family::new(kind));
        if family.kind == kind {
            family.help = help.into_owned();
        }
    }

    /// `None` if the name is of another kind.
    fn register(&self, kind: Kind, key: &Key) -> Option<Arc<Value>> {
        let mut labels: Labels = key
            .labels()
            .map(|label| (label_of(label.key()), label.value().to_owned()))
            .collect();
        labels.sort();
        // Prometheus refuses a whole page for one series that has a label twice.
        labels.dedup_by(|b, a| a.0 == b.0);
        let mut families = self.families();
        let family = families.entry(name_of(key.name())).or_insert_with(|| Family::new(kind));
        (family.kind == kind).then(|| family.value(labels))
    }

    fn families(&self) -> MutexGuard<'_, BTreeMap<String, Family>> {
        self.families.lock().expect("nothing panics while it holds this lock")
    }
}

impl Family {
    fn new(kind: Kind) -> Self {
        Self {
            kind,
            help: String::new(),
            series: BTreeMap::new(),
            asked: 0,
        }
    }

    fn value(&mut self, labels: Labels) -> Arc<Value> {
        self.asked += 1;
        let asked = self.asked;
        if self.series.len() >= MAX_SERIES && !self.series.contains_key(&labels) {
            let eldest = self.series.iter().min_by_key(|(_, series)| series.asked);
            if let Some(eldest) = eldest.map(|(labels, _)| labels.clone()) {
                self.series.remove(&eldest);
            }
        }
        let series = self.series.entry(labels).or_insert_with(|| Series {
            value: Arc::default(),
            asked,
        });
        series.asked = asked;
        Arc::clone(&series.value)
    }
}

impl Value {
    fn count(&self) -> u64 {
        self.count.load(Acquire)
    }

    fn sum(&self) -> f64 {
        f64::from_bits(self.sum.load(Acquire))
    }
}

impl CounterFn for Value {
    fn increment(&self, value: u64) {
        CounterFn::increment(&self.count, value);
    }

    fn absolute(&self, value: u64) {
        CounterFn::absolute(&self.count, value);
    }
}

impl GaugeFn for Value {
    fn increment(&self, value: f64) {
        GaugeFn::increment(&self.sum, value);
    }

    fn decrement(&self, value: f64) {
        GaugeFn::decrement(&self.sum, value);
    }

    fn set(&self, value: f64) {
        GaugeFn::set(&self.sum, value);
    }
}

impl HistogramFn for Value {
    fn record(&self, value: f64) {
        CounterFn::increment(&self.count, 1);
        GaugeFn::increment(&self.sum, value);
    }
}

impl metrics::Recorder for Recorder {
    fn describe_counter(&self, name: KeyName, _: Option<Unit>, help: SharedString) {
        self.describe(Kind::Counter, &name, help);
    }

    fn describe_gauge(&self, name: KeyName, _: Option<Unit>, help: SharedString) {
        self.describe(Kind::Gauge, &name, help);
    }

    fn describe_histogram(&self, name: KeyName, _: Option<Unit>, help: SharedString) {
        self.describe(Kind::Summary, &name, help);
    }

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        self.register(Kind::Counter, key)
            .map_or_else(Counter::noop, Counter::from_arc)
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        self.register(Kind::Gauge, key)
            .map_or_else(Gauge::noop, Gauge::from_arc)
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        self.register(Kind::Summary, key)
            .map_or_else(Histogram::noop, Histogram::from_arc)
    }
}

#[cfg(test)]
mod tests {
    use metrics::{counter, describe_counter, describe_histogram, gauge, histogram, with_local_recorder};

    use super::*;

    fn page_after(count: impl FnOnce()) -> String {
        let recorder = Recorder::new();
        with_local_recorder(&recorder, count);
        let mut page = Page::new();
        recorder.render_into(&mut page);
        page.render()
    }

    #[test]
    fn what_is_described_is_on_the_page_before_it_is_counted() {
        let page = page_after(|| describe_counter!("a_total", "Things."));
        assert_eq!(page, "# HELP a_total Things.\n# TYPE a_total counter\n");
    }

    #[test]
    fn counters_add_up_by_their_labels_in_whatever_order() {
        let page = page_after(|| {
            counter!("a_total", "b" => "1", "c" => "2").increment(3);
            counter!("a_total", "c" => "2", "b" => "1").increment(4);
            counter!("a_total", "b" => "\"").absolute(9);
            _ = counter!("b_total");
            describe_counter!("a_total", "Things.");
        });
        let expected = [
            "# HELP a_total Things.",
            "# TYPE a_total counter",
            "a_total{b=\"\\\"\"} 9",
            "a_total{b=\"1\",c=\"2\"} 7",
            "# HELP b_total ",
            "# TYPE b_total counter",
            "b_total 0",
        ];
        assert_eq!(page.lines().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn gauges_go_up_and_down() {
        let page = page_after(|| {
            gauge!("a").set(4);
            gauge!("a").decrement(1.5);
            gauge!("a").increment(8);
        });
        assert!(page.ends_with("# TYPE a gauge\na 10.5\n"), "{page}");
    }

    #[test]
    fn a_histogram_is_shown_as_its_count_and_sum() {
        let page = page_after(|| {
            describe_histogram!("a_seconds", "Time.");
            histogram!("a_seconds", "b" => "c").record(0.25);
            histogram!("a_seconds", "b" => "c").record_many(1.0, 2);
        });
        let expected = "# TYPE a_seconds summary\na_seconds_sum{b=\"c\"} 2.25\na_seconds_count{b=\"c\"} 3\n";
        assert!(page.ends_with(expected), "{page}");
    }

    #[test]
    fn a_name_is_of_one_kind() {
        let page = page_after(|| {
            counter!("a").increment(1);
            gauge!("a").set(5.0);
            describe_histogram!("a", "No counter.");
        });
        assert_eq!(page, "# HELP a \n# TYPE a counter\na 1\n");
    }

    #[test]
    fn what_prometheus_would_refuse_is_not_on_the_page() {
        let page = page_after(|| {
            counter!("1 a.b", "c:d" => "x", "c.d" => "y").increment(1);
            counter!("").increment(1);
        });
        let series: Vec<_> = page.lines().filter(|line| !line.starts_with('#')).collect();
        assert_eq!(series, ["_ 1", "_1_a_b{c_d=\"x\"} 1"]);
    }

    #[test]
    fn beyond_the_limit_the_series_that_was_not_asked_for_longest_gives_way() {
        let page = page_after(|| {
            let count = |number: usize| counter!("a_total", "n" => number.to_string()).increment(1);
            (0..MAX_SERIES).for_each(count);
            count(0);
            count(MAX_SERIES);
            count(MAX_SERIES);
        });
        assert_eq!(page.lines().count(), 2 + MAX_SERIES);
        let has = |number: usize, value| page.contains(&format!("{{n=\"{number}\"}} {value}\n"));
        assert!(has(0, 2) && has(MAX_SERIES, 2) && has(2, 1));
        assert!(!has(1, 1));
    }
}
