//! A load on paper: what each policy makes of the same requests. Pure.

use std::time::Duration;

use crate::{
    config::Close,
    ports::budget::{Budget, Demand, Pooling, Supply, Verdict},
};

/// A load, and what there is to bear it.
#[derive(Debug, Clone, PartialEq)]
pub struct Question {
    /// To all destinations together, which have equal shares.
    pub requests_per_second: f64,
    /// From a request to the end of its answer, which is how long a connection lives that is opened for one request.
    pub response_time: Duration,
    /// Of each destination.
    pub supply: Supply,
    /// Never zero.
    pub destinations: usize,
    /// How long TIME_WAIT holds a port.
    pub time_wait: Duration,
    pub poolings: Vec<Pooling>,
    pub closes: Vec<Close>,
}

/// What one policy makes of it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Answer {
    /// To each destination.
    pub demand: Demand,
    /// Of each destination.
    pub budget: Budget,
    /// Requests per second that one source address sustains towards one destination; `None`: any number.
    pub of_one_address: Option<f64>,
    /// Requests per second that all source addresses sustain towards all destinations; `None`: any number.
    pub of_all: Option<f64>,
}

impl Question {
    /// One answer for each policy, by pooling and then by close.
    pub fn answers(&self) -> Vec<Answer> {
        let with = |&pooling: &Pooling| self.closes.iter().map(move |&close| self.answer(pooling, close));
        self.poolings.iter().flat_map(with).collect()
    }

    fn answer(&self, pooling: Pooling, close: Close) -> Answer {
        let demand = Demand {
            requests_per_second: self.requests_per_second / self.destinations as f64,
            response_time: self.response_time,
            // Only the ports are asked about here.
            max_connections: usize::MAX,
            pooling,
            close,
            time_wait: self.time_wait,
        };
        let ceiling = |supply: &Supply| Some(Budget::of(supply, &demand).ceiling?.requests_per_second);
        let one_address = Supply {
            sources: 1,
            ..self.supply
        };
        Answer {
            demand,
            budget: Budget::of(&self.supply, &demand),
            of_one_address: ceiling(&one_address),
            of_all: ceiling(&self.supply).map(|rate| rate * self.destinations as f64),
        }
    }
}

impl Answer {
    /// When the ports run out; `None`: never.
    pub fn runs_out(&self) -> Option<Duration> {
        match self.budget.verdict {
            Verdict::RunsOut { after } => Some(after),
            Verdict::Fine | Verdict::Tight | Verdict::Waits { .. } | Verdict::Expensive => None,
        }
    }

    /// The ports in use to one destination, as steps of `seconds`: from the beginning of the load to `horizon`.
    pub fn ports_over_time(&self, horizon: Duration) -> Vec<(f64, f64)> {
        let bends = [
            Duration::ZERO,
            self.budget.hold,
            self.runs_out().unwrap_or(horizon),
            horizon,
        ];
        let mut times: Vec<_> = (0..=STEPS).map(|step| horizon * step / STEPS).chain(bends).collect();
        times.retain(|time| *time <= horizon);
        times.sort_unstable();
        times.dedup();
        let point = |time: Duration| (time.as_secs_f64(), self.budget.ports_after(time));
        times.into_iter().map(point).collect()
    }
}

/// Enough for a curve that looks smooth on a logarithmic axis.
const STEPS: u32 = 200;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ports::budget::Search;

    fn pooled() -> Pooling {
        Pooling::On {
            idle_timeout: Duration::from_secs(4),
            max_lifetime: Duration::from_secs(600),
            max_requests: 0,
            min_idle: 0,
        }
    }

    fn question(requests_per_second: f64, sources: usize, destinations: usize) -> Question {
        Question {
            requests_per_second,
            response_time: Duration::ZERO,
            supply: Supply {
                sources,
                ports: 28_232,
                max_fill: Some(1.0),
                search: Search::Even,
            },
            destinations,
            time_wait: Duration::from_secs(60),
            poolings: vec![Pooling::Off, pooled()],
            closes: Close::ALL.to_vec(),
        }
    }

    fn unpooled_fin(question: &Question) -> Answer {
        let is_meant = |answer: &Answer| (answer.demand.pooling, answer.demand.close) == (Pooling::Off, Close::Fin);
        question.answers().into_iter().find(is_meant).expect("it is asked for")
    }

    #[test]
    fn a_port_is_a_matter_of_source_address_and_destination() {
        // 28,232 ports, each for 60 s: the figure of which all others are multiples.
        let close_to = |found: Option<f64>, expected: f64| (found.expect("a limit") - expected).abs() < 0.01;
        for (sources, destinations) in [(1, 1), (4, 1), (1, 3), (4, 3)] {
            let answer = unpooled_fin(&question(100.0, sources, destinations));
            assert!(close_to(answer.of_one_address, 28_232.0 / 60.0), "{answer:?}");
            let pairs = (sources * destinations) as f64;
            assert!(close_to(answer.of_all, pairs * 28_232.0 / 60.0), "{answer:?}");
        }
        let answer = unpooled_fin(&question(1000.0, 1, 1));
        assert_eq!(answer.runs_out(), Some(Duration::from_secs_f64(28.232)));
    }

    #[test]
    fn every_policy_has_its_answer() {
        let answers = question(1000.0, 1, 1).answers();
        let run_out = answers.iter().filter(|answer| answer.runs_out().is_some());
        assert_eq!((answers.len(), run_out.count()), (8, 1));
    }

    fn any_question() -> impl Strategy<Value = Question> {
        let numbers = (1.0..1e5, 0_u64..5000, 1_usize..9, 1_usize..9);
        let supply = (2_usize..64_512, 0.01..1.0, 0_u64..300);
        (numbers, supply).prop_map(
            |((rate, milliseconds, sources, destinations), (ports, fill, seconds))| Question {
                response_time: Duration::from_millis(milliseconds),
                supply: Supply {
                    sources,
                    ports,
                    max_fill: Some(fill),
                    search: Search::Even,
                },
                time_wait: Duration::from_secs(seconds),
                ..question(rate, sources, destinations)
            },
        )
    }

    proptest! {
        #[test]
        fn more_of_anything_never_makes_it_worse(question in any_question()) {
            let with = |change: fn(&mut Question)| {
                let mut changed = question.clone();
                change(&mut changed);
                changed.answers()
            };
            let better = [
                with(|question| question.supply.sources += 1),
                with(|question| question.supply.ports += 100),
                with(|question| question.destinations += 1),
                with(|question| question.requests_per_second /= 2.0),
                with(|question| question.time_wait /= 2),
            ];
            for (index, before) in question.answers().iter().enumerate() {
                let last_for = |answer: &Answer| answer.runs_out().unwrap_or(Duration::MAX);
                let all = |answer: &Answer| answer.of_all.unwrap_or(f64::INFINITY);
                for after in better.iter().map(|answers| &answers[index]) {
                    prop_assert!(last_for(after) >= last_for(before), "{before:?}\n{after:?}");
                    prop_assert!(all(after) >= all(before) * (1.0 - 1e-6), "{before:?}\n{after:?}");
                }
            }
        }

        #[test]
        fn a_rate_that_is_sustained_never_runs_out(question in any_question()) {
            for (index, answer) in question.answers().iter().enumerate() {
                let Some(all) = answer.of_all.filter(|rate| *rate > 0.0) else { continue };
                let at = |factor: f64| {
                    let asked = Question { requests_per_second: all * factor, ..question.clone() };
                    asked.answers()[index]
                };
                prop_assert_eq!(at(0.999).runs_out(), None);
                prop_assert!(at(1.01).runs_out().is_some(), "{:?}", at(1.01));
            }
        }

        #[test]
        fn ports_rise_to_what_is_needed_and_never_above_the_limit(question in any_question()) {
            for answer in question.answers() {
                let points = answer.ports_over_time(Duration::from_secs(400));
                prop_assert!(points.windows(2).all(|pair| pair[0].0 < pair[1].0 && pair[0].1 <= pair[1].1 + 1e-6));
                let last = points[points.len() - 1].1;
                let expected = answer.budget.needed().min(answer.budget.limit) as f64;
                prop_assert!((last - expected).abs() <= 2.0, "{last} {expected} {answer:?}");
            }
        }
    }
}
