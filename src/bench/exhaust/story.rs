//! What has been seen, and what follows from it. Pure.

use std::time::Duration;

use super::{
    Plan, Scene, Subject,
    inside::{End, Sample, Seen},
};
use crate::{
    bench::chart::{Axis, Chart, Line, Mark},
    net::Kernel,
    ports::budget::{closes_per_second, hold, time_wait},
};

/// Rates are taken over so many seconds at the least, since in a fifth of one there may be a single request.
const WINDOW: f64 = 1.0;

/// And over such a part of the whole, which is as narrow as a chart can show it.
const PART: f64 = 0.01;

/// All that was seen of the three.
#[derive(Debug, Clone, PartialEq)]
pub struct Story {
    pub plan: Plan,
    /// In the order of time.
    pub samples: Vec<Sample>,
    /// As [`Subject::ALL`]; empty if it was broken off before.
    pub ends: Vec<End>,
}

/// What has come of one of the three.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Fate {
    pub subject: Subject,
    pub end: End,
    /// The most at one moment.
    pub ports: usize,
    /// The most at one moment.
    pub time_wait: usize,
    /// When requests had failed for the first time.
    pub failed: Option<Failure>,
    /// Answers per second in the last seconds.
    pub last_rate: f64,
}

/// The first look after which requests had failed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Failure {
    pub at: Duration,
    pub answered: u64,
    /// From then on, up to the end.
    pub answered_since: u64,
    pub errors_since: u64,
    pub lasted: Duration,
}

impl Story {
    pub fn new(plan: Plan) -> Self {
        Self {
            plan,
            samples: Vec::new(),
            ends: Vec::new(),
        }
    }

    /// One for each subject, in the order of [`Subject::ALL`].
    pub fn fates(&self) -> Vec<Fate> {
        Subject::ALL
            .into_iter()
            .enumerate()
            .map(|(index, subject)| self.fate(index, subject))
            .collect()
    }

    fn fate(&self, index: usize, subject: Subject) -> Fate {
        let most = |of: fn(&Seen) -> usize| self.seen(index).map(|(_, seen)| of(seen)).max().unwrap_or_default();
        let last = self.seen(index).last().map(|(_, seen)| *seen).unwrap_or_default();
        let counted = self.ends.get(index).copied();
        let end = counted.unwrap_or(End {
            answered: last.answered,
            errors: last.errors,
            ..End::default()
        });
        Fate {
            subject,
            end,
            ports: most(|seen| seen.ports),
            time_wait: most(|seen| seen.time_wait),
            failed: self.failure(index),
            last_rate: self
                .rates(index, |seen| seen.answered)
                .last()
                .map_or(0.0, |(_, rate)| *rate),
        }
    }

    fn failure(&self, index: usize) -> Option<Failure> {
        let (at, first) = self.seen(index).find(|(_, seen)| seen.errors > 0)?;
        let (end, last) = self.seen(index).last()?;
        Some(Failure {
            at: Duration::from_secs_f64(at),
            answered: first.answered,
            answered_since: last.answered - first.answered,
            errors_since: last.errors - first.errors,
            lasted: Duration::from_secs_f64(end - at),
        })
    }

    fn seen(&self, index: usize) -> impl Iterator<Item = (f64, &Seen)> {
        self.samples
            .iter()
            .filter_map(move |sample| Some((sample.at, sample.seen.get(index)?)))
    }

    /// How much a count grew per second, at each look from the first window on.
    fn rates(&self, index: usize, count: fn(&Seen) -> u64) -> Vec<(f64, f64)> {
        // The last look may come when the load is over.
        let length = self.plan.duration.as_secs_f64();
        let during = self.seen(index).filter(|(at, _)| *at <= length);
        let seen: Vec<_> = during.map(|(at, seen)| (at, count(seen))).collect();
        let window = WINDOW.max(PART * length);
        let mut first = 0;
        let rate = |&(at, now): &(f64, u64)| {
            while at - seen[first].0 > window * 1.1 {
                first += 1;
            }
            let (before, then) = seen[first];
            // Not of a part of a window, at the beginning or where the last look came early.
            (at - before > window / 2.0).then(|| (at, (now - then) as f64 / (at - before)))
        };
        seen.iter().filter_map(rate).collect()
    }

    /// Source ports that there are; `None`: those of this machine, which others may have too.
    pub fn ports(&self) -> Option<u16> {
        match self.plan.scene {
            Scene::Namespaces { ports } => Some(ports),
            Scene::Loopback => None,
        }
    }

    /// How long TIME_WAIT holds a port where the proxies are.
    pub fn time_wait(&self, kernel: &Kernel) -> Duration {
        match self.plan.scene {
            Scene::Namespaces { .. } => time_wait(Some(0), kernel.timestamps, None),
            Scene::Loopback => time_wait(kernel.tw_reuse, kernel.timestamps, Some([127, 0, 0, 1].into())),
        }
    }

    /// Requests per second that a subject without a pool can go on with for ever, as reckoned; `None`: any number.
    pub fn sustained(&self, subject: Subject, ports: usize, kernel: &Kernel) -> Option<f64> {
        closes_per_second(ports, 0, hold(subject.close(), self.time_wait(kernel)))
    }

    /// What is to be seen in the order in which it happens: requests, errors, and why.
    pub fn charts(&self) -> Vec<Chart> {
        let count = |title: &str, of: fn(&Seen) -> usize| {
            let points = |index| self.seen(index).map(|(at, seen)| (at, of(seen) as f64)).collect();
            self.chart(title, "sockets", points)
        };
        let limit = self.ports().map(|ports| Mark::Level {
            y: f64::from(ports),
            label: format!("all {ports} ports"),
        });
        let mut ports = count("Source ports held towards the endpoint", |seen| seen.ports);
        ports.y.label = "ports".to_owned();
        ports.marks.extend(limit);
        vec![
            self.chart("Requests answered", "requests/s", |index| {
                self.rates(index, |seen| seen.answered)
            }),
            self.chart("Requests that failed", "errors/s", |index| {
                self.rates(index, |seen| seen.errors)
            }),
            count("Connections in TIME_WAIT on the proxy's side", |seen| seen.time_wait),
            ports,
        ]
    }

    fn chart(&self, title: &str, y: &str, points: impl Fn(usize) -> Vec<(f64, f64)>) -> Chart {
        let lines = Subject::ALL.into_iter().enumerate();
        Chart {
            lines: lines
                .map(|(index, subject)| Line::new(subject.name(), points(index)))
                .collect(),
            marks: self.moment_of_failure().into_iter().collect(),
            ..Chart::new(title, Axis::seconds("time"), Axis::count(y))
        }
    }

    fn moment_of_failure(&self) -> Option<Mark> {
        let failures = (0..Subject::ALL.len()).filter_map(|index| self.failure(index));
        let first = failures.map(|failure| failure.at).min()?;
        Some(Mark::At {
            x: first.as_secs_f64(),
            label: "the first request without a port".to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first subject answers 10 requests per second for 5 s, and fails for 5 s; the others go on.
    fn story() -> Story {
        let mut story = Story::new(Plan {
            scene: Scene::Namespaces { ports: 50 },
            rate: 10.0,
            duration: Duration::from_secs(10),
        });
        for tenth in 0..=100_u64 {
            let first = Seen {
                answered: tenth.min(50),
                errors: tenth.saturating_sub(50),
                time_wait: tenth.min(50) as usize,
                ports: tenth.min(50) as usize,
            };
            let other = Seen {
                answered: tenth,
                ports: 1 + usize::from(tenth == 7),
                ..Seen::default()
            };
            let at = tenth as f64 / 10.0;
            let seen = vec![first, other, other];
            story.samples.push(Sample { at, seen });
        }
        story
    }

    #[test]
    fn a_failure_is_dated_and_what_came_after_it_is_counted() {
        let [fin, no_time_wait, pooled]: [Fate; 3] = story().fates().try_into().unwrap();
        let failure = fin.failed.unwrap();
        assert_eq!(
            (failure.at, failure.lasted),
            (Duration::from_millis(5100), Duration::from_millis(4900))
        );
        assert_eq!(
            (failure.answered, failure.answered_since, failure.errors_since),
            (50, 0, 49)
        );
        assert_eq!((fin.ports, fin.time_wait, fin.last_rate), (50, 50, 0.0));
        for other in [no_time_wait, pooled] {
            assert_eq!((other.failed, other.ports, other.time_wait), (None, 2, 0));
            assert!((other.last_rate - 10.0).abs() < 0.01, "{other:?}");
        }
    }

    #[test]
    fn what_was_broken_off_has_the_counts_of_the_last_look() {
        let fates = story().fates();
        assert_eq!(
            (fates[0].end.answered, fates[0].end.errors, fates[0].end.opened),
            (50, 50, 0)
        );
        assert_eq!(Story::new(story().plan).fates().len(), 3, "even of nothing");
    }

    #[test]
    fn rates_are_those_of_whole_windows() {
        let rates = story().rates(1, |seen| seen.answered);
        assert!(rates.iter().all(|(_, rate)| (rate - 10.0).abs() < 0.01), "{rates:?}");
        assert!(rates.first().is_some_and(|(at, _)| *at > WINDOW / 2.0));
    }

    #[test]
    fn the_charts_show_all_three_and_when_ports_ran_out() {
        let charts = story().charts();
        assert_eq!(charts.len(), 4);
        for chart in &charts {
            let names: Vec<_> = chart.lines.iter().map(|line| line.name.as_str()).collect();
            assert_eq!(names, Subject::ALL.map(Subject::name));
            assert!(
                matches!(chart.marks[0], Mark::At { x, .. } if (x - 5.1).abs() < 1e-9),
                "{:?}",
                chart.marks
            );
        }
        assert!(matches!(charts[3].marks[1], Mark::Level { y: 50.0, .. }));
    }

    #[test]
    fn what_is_sustained_is_the_formula() {
        let kernel = Kernel::default();
        let sustained = |subject| story().sustained(subject, 500, &kernel);
        assert_eq!(sustained(Subject::UnpooledFin), Some(500.0 / 61.0));
        assert!(sustained(Subject::UnpooledFinNoTimeWait).is_some_and(|rate| rate > 10_000.0));
    }
}
