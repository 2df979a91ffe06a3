//! The course of the experiment, as charts.

use super::Report;
use crate::bench::{
    chart::{Axis, Chart, Line},
    run::Moment,
};

/// A value at a moment, where there is one.
type Pick = fn(&Moment) -> Option<f64>;

impl Report {
    /// Requests, TIME_WAIT at each end and ports, of all rounds, over the time within each run.
    pub fn charts(&self) -> Vec<Chart> {
        let picks: [(&str, &str, Pick); 4] = [
            ("Requests answered per second", "requests/s", |moment| {
                Some(moment.requests_per_second)
            }),
            ("TIME_WAIT at the proxy's end", "sockets", |moment| {
                Some(moment.sockets?.time_wait_proxy as f64)
            }),
            ("TIME_WAIT at the endpoints' end", "sockets", |moment| {
                Some(moment.sockets?.time_wait_endpoint? as f64)
            }),
            ("Source ports in use towards the endpoints", "ports", |moment| {
                Some(moment.sockets?.ports as f64)
            }),
        ];
        let charts = picks.map(|(title, unit, of)| self.chart(title, unit, of));
        charts.into_iter().filter(|chart| !chart.lines.is_empty()).collect()
    }

    /// One line for each subject, through all of its runs: time in which it was not its turn is a gap.
    fn chart(&self, title: &str, unit: &str, of: Pick) -> Chart {
        let mut chart = Chart::new(title, Axis::seconds("since the begin"), Axis::count(unit));
        for subject in self.subjects() {
            let mut points = Vec::new();
            for run in self.runs(subject) {
                let seen = run
                    .moments
                    .iter()
                    .filter_map(|moment| Some((moment.at.as_secs_f64(), of(moment)?)));
                points.extend(seen);
                // No number is drawn as a gap.
                points.extend(points.last().map(|(at, _)| (*at, f64::NAN)));
            }
            if !points.is_empty() {
                chart.lines.push(Line::new(subject.as_str(), points));
            }
        }
        chart
    }
}
