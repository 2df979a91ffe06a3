//! The experiment as a whole: subjects by turns, round after round.

use std::{io, num::NonZeroUsize, time::Duration};

use tempfile::TempDir;
use tokio::time::Instant;

use super::{
    certificate::{self, CertificateError},
    display::Display,
    figures::{Figures, REQUESTS},
    load::{Clients, Encryption, LoadError, Pace, Protocol, Stop},
    run::{self, Moment},
    subject::{Endpoints, ProxySetup, SetupError, Stage, Subject},
    text,
};
use crate::net::sockopt::raise_open_file_limit;

/// What started endpoints are called.
const LOCAL: &str = "localhost";

/// A request that has no answer by then is given up.
pub(super) const TIMEOUT: Duration = Duration::from_secs(10);

/// What is measured, and how.
#[derive(Debug, Clone, PartialEq)]
pub struct Experiment {
    /// None twice.
    pub subjects: Vec<Subject>,
    pub rounds: NonZeroUsize,
    /// Before each run, not counted.
    pub warmup: Duration,
    pub endpoints: Endpoints,
    /// Of each proxy; `None`: as many as it has by default.
    pub workers: Option<NonZeroUsize>,
    pub traffic: Traffic,
}

/// The load, wherever it goes.
#[derive(Debug, Clone, PartialEq)]
pub struct Traffic {
    pub path: String,
    /// With the proxies.
    pub tls: Encryption,
    /// With the proxies.
    pub protocol: Protocol,
    pub clients: Clients,
    pub connections: NonZeroUsize,
    pub threads: NonZeroUsize,
    pub pace: Pace,
    pub request_body: usize,
    pub duration: Duration,
}

/// One subject's turn.
#[derive(Debug, Clone, PartialEq)]
pub struct Run {
    pub subject: Subject,
    /// From 1.
    pub round: usize,
    pub figures: Figures,
    /// While it was measured, in the order of time.
    pub moments: Vec<Moment>,
}

/// What has been measured.
#[derive(Debug, Clone, PartialEq)]
pub struct Results {
    /// In the order of time.
    pub runs: Vec<Run>,
    pub ending: Ending,
}

/// How far it got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    Complete,
    /// Interrupted; the runs are those of the whole rounds before.
    WholeRounds(usize),
    /// Interrupted in the first round; the runs are all that there was, and the last one may be short.
    PartOfARound,
}

/// Why there are no results.
#[derive(Debug, thiserror::Error)]
pub enum ExperimentError {
    #[error("a temporary folder cannot be made")]
    Folder(#[source] io::Error),
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    #[error(transparent)]
    Setup(#[from] SetupError),
    #[error("{} cannot be put under load", .0.as_str())]
    Load(Subject, #[source] LoadError),
    #[error("the proxy does not tell its metrics")]
    Counters(#[source] io::Error),
    #[error("the threads of the load cannot be started")]
    Thread(#[source] io::Error),
    #[error("interrupted before anything was measured")]
    Interrupted,
}

impl Experiment {
    /// Runs it to the end, or until `stop` is set.
    ///
    /// # Errors
    /// Something cannot be started or reached, or there was nothing yet when it was stopped.
    pub fn run(&self, display: &Display, stop: &Stop) -> Result<Results, ExperimentError> {
        // A refusal shows in what can be opened.
        let _ = raise_open_file_limit();
        // Goes with all in it; the processes that have read it go before.
        let folder = TempDir::with_prefix("forebay-bench-").map_err(ExperimentError::Folder)?;
        let mut stages = self.set_up(&folder)?;
        let mut runs = Vec::new();
        let begun = Instant::now();
        let mut done = Duration::ZERO;
        for round in 1..=self.rounds.get() {
            for index in 0..stages.len() {
                // Each is first in its turn, so that none always finds the machine as the same other has left it.
                let place = (index + round - 1) % stages.len();
                let stage = &mut stages[place];
                display.begin(format!("round {round} of {}, {}", self.rounds, stage.subject.as_str()));
                let place = run::Place { begun, done, display };
                let run = run::measure(self, stage, round, &place, stop)?;
                if stop.is_stopped() {
                    return self.interrupted(runs, run);
                }
                done += self.warmup + self.traffic.duration;
                if let Some(run) = run {
                    display.tell(&self.line(&run));
                    runs.push(run);
                }
            }
        }
        let ending = Ending::Complete;
        Ok(Results { runs, ending })
    }

    fn set_up(&self, folder: &TempDir) -> Result<Vec<Stage>, ExperimentError> {
        let certificate = match self.traffic.tls {
            Encryption::Off => None,
            Encryption::Tls => Some(certificate::make(LOCAL, folder.path())?),
        };
        let setup = ProxySetup {
            workers: self.workers,
            connections: self.traffic.connections,
            certificate,
            folder: folder.path(),
        };
        let stages = self.subjects.iter();
        let stages = stages.map(|subject| Stage::set_up(*subject, &self.endpoints, &setup));
        Ok(stages.collect::<Result<_, _>>()?)
    }

    /// Keeps the whole rounds, or all that there is if there is none, with the run that was cut short.
    fn interrupted(&self, mut runs: Vec<Run>, cut: Option<Run>) -> Result<Results, ExperimentError> {
        let rounds = runs.len() / self.subjects.len();
        let ending = if rounds > 0 {
            runs.truncate(rounds * self.subjects.len());
            Ending::WholeRounds(rounds)
        } else {
            runs.extend(cut);
            Ending::PartOfARound
        };
        if runs.is_empty() {
            return Err(ExperimentError::Interrupted);
        }
        Ok(Results { runs, ending })
    }

    /// What a run has given, in a line.
    fn line(&self, run: &Run) -> String {
        let rate = (REQUESTS.of)(&run.figures).unwrap_or_default();
        let (round, rounds, subject) = (run.round, self.rounds, run.subject.as_str());
        format!("round {round} of {rounds}, {subject}: {} requests/s", text::count(rate))
    }

    /// How long it takes in all, but for starting and ending.
    pub fn length(&self) -> Duration {
        let runs = self.rounds.get() * self.subjects.len();
        (self.warmup + self.traffic.duration) * u32::try_from(runs).unwrap_or(u32::MAX)
    }

    /// What clients put into the Host field.
    pub(super) fn authority(&self) -> String {
        match &self.endpoints {
            Endpoints::Started { .. } => LOCAL.to_owned(),
            Endpoints::Given(given) => given.first().map_or_else(|| LOCAL.to_owned(), ToString::to_string),
        }
    }

    /// Whether what one subject leaves at the endpoints is there for the next one.
    pub fn shares_endpoints(&self) -> bool {
        matches!(self.endpoints, Endpoints::Given(_))
    }
}
