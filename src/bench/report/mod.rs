//! What the experiment has shown: as rows and sentences for people ([`table`]), as charts ([`charts`]), and for programs
//! ([`json`]). Pure.

mod charts;
mod json;
mod sentences;
mod table;

use std::time::SystemTime;

use crate::bench::{
    experiment::{Ending, Experiment, Results, Run},
    figures::{
        ENDPOINT_CPU, ERRORS, Figures, LONGEST, Measure, NO_PORT, OPENED, P50, P90, P99, P999, PORTS, PROXY_CPU,
        REQUESTS, REUSE, Spread, TIME_WAIT_ENDPOINT, TIME_WAIT_PROXY, UNSENT,
    },
    machine::Machine,
    subject::Subject,
    text,
};

/// All that is known in the end.
#[derive(Debug)]
pub struct Report {
    pub experiment: Experiment,
    pub results: Results,
    pub machine: Machine,
    pub begun: SystemTime,
}

/// A line of the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    pub label: &'static str,
    /// Left out where there is none of it.
    pub only_if_any: bool,
    /// One for each subject of the report.
    pub cells: Vec<Cell>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cell {
    /// Empty where there is no such figure.
    pub value: String,
    /// How far the farthest round is from it; empty where that says nothing.
    pub spread: String,
}

/// How the figure of several runs is shown.
#[derive(Debug, Clone, Copy)]
enum Show {
    /// The median, with its spread.
    Median(fn(f64) -> String),
    /// The most of all runs.
    Most,
    /// The sum over all runs.
    Sum,
    /// The same, where there is anything at all.
    SumIfAny,
}

const ROWS: [(&str, Measure, Show); 16] = [
    ("requests per second", REQUESTS, Show::Median(text::count)),
    ("latency, 50 % within (ms)", P50, Show::Median(text::milliseconds)),
    ("latency, 90 % within (ms)", P90, Show::Median(text::milliseconds)),
    ("latency, 99 % within (ms)", P99, Show::Median(text::milliseconds)),
    ("latency, 99.9 % within (ms)", P999, Show::Median(text::milliseconds)),
    (
        "latency, slowest answer (ms)",
        LONGEST,
        Show::Median(text::milliseconds),
    ),
    ("CPU per request, proxy (us)", PROXY_CPU, Show::Median(text::decimal)),
    (
        "CPU per request, endpoints (us)",
        ENDPOINT_CPU,
        Show::Median(text::decimal),
    ),
    ("connections opened to endpoints", OPENED, Show::Median(whole)),
    ("requests on kept connections", REUSE, Show::Median(text::percent)),
    ("source ports in use, at most", PORTS, Show::Most),
    ("TIME_WAIT, proxy's end, at most", TIME_WAIT_PROXY, Show::Most),
    ("TIME_WAIT, endpoints' end, at most", TIME_WAIT_ENDPOINT, Show::Most),
    ("no source port (EADDRNOTAVAIL)", NO_PORT, Show::Sum),
    ("requests never sent, too late", UNSENT, Show::SumIfAny),
    ("failed requests", ERRORS, Show::Sum),
];

fn whole(value: f64) -> String {
    text::count(value.round())
}

/// Less than this is noise, and more digits than anybody reads.
const NARROW: f64 = 0.005;

impl Report {
    /// Those that something is known of, in the order that was asked for.
    pub fn subjects(&self) -> Vec<Subject> {
        let measured = |subject: &Subject| self.runs(*subject).next().is_some();
        self.experiment.subjects.iter().copied().filter(measured).collect()
    }

    pub fn runs(&self, subject: Subject) -> impl Iterator<Item = &Run> {
        self.results.runs.iter().filter(move |run| run.subject == subject)
    }

    pub fn figures(&self, subject: Subject) -> impl Iterator<Item = &Figures> {
        self.runs(subject).map(|run| &run.figures)
    }

    pub fn spread(&self, subject: Subject, measure: &Measure) -> Option<Spread> {
        measure.over(self.figures(subject))
    }

    fn sum(&self, subject: Subject, measure: &Measure) -> Option<f64> {
        self.figures(subject).map(measure.of).sum()
    }

    pub fn rows(&self) -> Vec<Row> {
        let subjects = self.subjects();
        let row = |(label, measure, show): &(&'static str, Measure, Show)| Row {
            label,
            only_if_any: matches!(show, Show::SumIfAny),
            cells: subjects
                .iter()
                .map(|subject| self.cell(*subject, measure, *show))
                .collect(),
        };
        ROWS.iter().map(row).collect()
    }

    fn cell(&self, subject: Subject, measure: &Measure, show: Show) -> Cell {
        let Some(spread) = self.spread(subject, measure) else {
            return Cell::default();
        };
        let only = |value: f64| Cell {
            value: text::count(value),
            spread: String::new(),
        };
        match show {
            Show::Most => only(spread.high),
            Show::Sum | Show::SumIfAny => self.sum(subject, measure).map_or_else(Cell::default, only),
            Show::Median(written) => Cell {
                value: written(spread.median),
                spread: match spread.width() {
                    width if width < NARROW || !width.is_finite() => String::new(),
                    width => format!("±{:.0}%", width * 100.0),
                },
            },
        }
    }

    /// How often each figure was taken, and what was interrupted.
    pub fn extent(&self) -> String {
        let asked = self.experiment.rounds.get();
        let seconds = humantime::format_duration(self.experiment.traffic.duration);
        let many = |rounds: usize| {
            if rounds == 1 {
                "1 round".to_owned()
            } else {
                format!("{rounds} rounds")
            }
        };
        match self.results.ending {
            Ending::Complete if asked == 1 => format!("One round, {seconds} for each."),
            Ending::Complete => format!(
                "Medians of {asked} rounds, {seconds} for each in turn, and how far the farthest round is from them."
            ),
            Ending::WholeRounds(whole) => format!(
                "Interrupted: of {asked} rounds, {} counted, {seconds} for each; what came later is left out.",
                if whole == 1 {
                    "one is".to_owned()
                } else {
                    format!("{} are", many(whole))
                }
            ),
            Ending::PartOfARound => {
                "Interrupted in the first round: what there was until then, of which the last run may be \
                                     shorter than the others."
                    .to_owned()
            }
        }
    }
}

#[cfg(test)]
mod tests;
