//! The answers as charts. Pure.

use std::time::Duration;

use crate::{
    bench::{
        capacity::{Answer, Question},
        chart::{Axis, Chart, Line, Mark},
    },
    cli::words::{policy, rate, time},
};

/// As far as anything is shown where no close holds its port for long.
const SHORTEST: Duration = Duration::from_secs(10);

/// How far the rates reach on either side of the one that is asked about.
const REACH: f64 = 100.0;

/// Enough for lines that look smooth.
const STEPS: u32 = 60;

/// The ports in use to one destination, from the beginning of the load to a while after its rise has ended.
pub(super) fn ports_over_time(question: &Question, answers: &[Answer]) -> Chart {
    let rises = answers.iter().map(|answer| answer.budget.hold);
    let horizon = rises.max().unwrap_or_default().mul_f64(1.2).max(SHORTEST);
    let lines = answers
        .iter()
        .map(|answer| Line::new(policy(&answer.demand), answer.ports_over_time(horizon)));
    let ends = answers.iter().filter_map(|answer| {
        let after = answer.runs_out()?;
        Some(Mark::At {
            x: after.as_secs_f64(),
            label: format!("{}: none left after {}", policy(&answer.demand), time(after)),
        })
    });
    Chart {
        lines: lines.collect(),
        marks: [limit(question)].into_iter().chain(ends).collect(),
        ..Chart::new(
            "Source ports in use towards one destination",
            Axis::seconds("time from the beginning of the load"),
            Axis::count("ports").logarithmic(),
        )
    }
}

/// The ports that are needed to one destination in the long run, for loads below and above the one that is asked about.
pub(super) fn ports_by_rate(question: &Question) -> Chart {
    let rates = (0..=STEPS).map(|step| {
        let share = 2.0 * f64::from(step) / f64::from(STEPS) - 1.0;
        question.requests_per_second * REACH.powf(share)
    });
    let answers: Vec<_> = rates
        .map(|requests_per_second| {
            let question = Question {
                requests_per_second,
                ..question.clone()
            };
            (requests_per_second, question.answers())
        })
        .collect();
    let names = question.answers().into_iter().map(|answer| policy(&answer.demand));
    let line = |(index, name): (usize, String)| {
        let point = |(rate, answers): &(f64, Vec<Answer>)| (*rate, answers[index].budget.needed() as f64);
        Line::new(name, answers.iter().map(point).collect())
    };
    let asked = Mark::At {
        x: question.requests_per_second,
        label: format!("{} requests/s", rate(question.requests_per_second)),
    };
    Chart {
        lines: names.enumerate().map(line).collect(),
        marks: vec![limit(question), asked],
        ..Chart::new(
            "Source ports needed in the long run towards one destination",
            Axis::count("requests/s to all destinations").logarithmic(),
            Axis::count("ports").logarithmic(),
        )
    }
}

fn limit(question: &Question) -> Mark {
    let limit = question.supply.limit();
    Mark::Level {
        y: limit as f64,
        label: format!("limit: {limit} ports"),
    }
}

#[cfg(test)]
mod tests {
    use super::{super::parse, *};
    use crate::net::Kernel;

    #[test]
    fn what_is_drawn_at_the_rate_that_is_asked_about_is_what_is_printed() {
        let question = parse("--requests-per-second 1000 --ports 28000")
            .unwrap()
            .question(&Kernel::default());
        let answers = question.answers();
        let chart = ports_by_rate(&question);
        for (line, answer) in chart.lines.iter().zip(&answers) {
            let (at, needed) = line.points[STEPS as usize / 2];
            assert!((at - 1000.0).abs() < 1e-6);
            assert!((needed - answer.budget.needed() as f64).abs() <= 1.0, "{}", line.name);
            assert!(
                line.points.windows(2).all(|pair| pair[0].1 <= pair[1].1),
                "{}",
                line.name
            );
        }
        let over_time = ports_over_time(&question, &answers);
        let highest = over_time.lines[0].points.last().unwrap().1;
        assert_eq!(highest, answers[0].budget.limit as f64, "the first one runs out");
        assert_eq!(over_time.marks.len(), 2, "the limit, and when it is reached");
    }
}
