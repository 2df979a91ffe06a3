//! The answers as charts. Pure.

use std::time::Duration;

use crate::{
    bench::{
        capacity::{Answer, Question},
        chart::{Axis, Chart, Line, Mark},
    },
    cli::words::{policy, time},
};

/// As far as anything is shown where no close holds its port for long.
const SHORTEST: Duration = Duration::from_secs(10);

/// The ports in use to one destination, from the beginning of the load to a while after its rise has ended.
pub(super) fn ports_over_time(question: &Question, answers: &[Answer]) -> Chart {
    let rises = answers.iter().map(|answer| answer.budget.hold);
    let horizon = rises.max().unwrap_or_default().mul_f64(1.2).max(SHORTEST);
    let lines = answers
        .iter()
        .map(|answer| Line::new(policy(&answer.demand), answer.ports_over_time(horizon)));
    let limit = Mark::Level {
        y: question.supply.limit() as f64,
        label: format!("limit: {} ports", question.supply.limit()),
    };
    let ends = answers.iter().filter_map(|answer| {
        let after = answer.runs_out()?;
        Some(Mark::At {
            x: after.as_secs_f64(),
            label: format!("{}: none left after {}", policy(&answer.demand), time(after)),
        })
    });
    Chart {
        lines: lines.collect(),
        marks: [limit].into_iter().chain(ends).collect(),
        ..Chart::new(
            "Source ports in use towards one destination",
            Axis::seconds("time from the beginning of the load"),
            Axis::count("ports").logarithmic(),
        )
    }
}
