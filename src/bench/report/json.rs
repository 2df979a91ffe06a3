//! The report for programs. Names end in their unit, and do not change.

use std::time::{Duration, SystemTime};

use serde_json::{Map, Value, json};

use super::Report;
use crate::bench::{
    experiment::{Ending, Run},
    figures::{Figures, MEASURES},
    load::{Clients, Encryption, Pace, Protocol},
    run::Moment,
    subject::{Endpoints, Subject},
};

impl Report {
    /// All that is known: the machine, what was asked for, and for each subject the medians and every run.
    pub fn json(&self) -> String {
        let whole = json!({
            "forebay_version": env!("CARGO_PKG_VERSION"),
            "begun_unix_seconds": seconds(self.begun.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()),
            "machine": self.machine_json(),
            "experiment": self.experiment_json(),
            "ending": match self.results.ending {
                Ending::Complete => "complete",
                Ending::WholeRounds(_) => "interrupted-whole-rounds",
                Ending::PartOfARound => "interrupted-first-round",
            },
            "measures": MEASURES.iter().map(|measure| (measure.key, measure.about.into())).collect::<Values>().0,
            "subjects": self.subjects().into_iter().map(|subject| self.subject_json(subject)).collect::<Vec<_>>(),
        });
        format!("{whole:#}\n")
    }

    fn machine_json(&self) -> Value {
        let machine = &self.machine;
        json!({
            "cores": machine.cores,
            "processor": machine.processor,
            "kernel": machine.kernel,
            "source_ports": machine.source_ports.map(|(low, high)| json!([low, high])),
            "tcp_tw_reuse": machine.tw_reuse,
        })
    }

    fn experiment_json(&self) -> Value {
        let (experiment, traffic) = (&self.experiment, &self.experiment.traffic);
        let (started, given) = match &experiment.endpoints {
            Endpoints::Started { count, .. } => (Some(count.get()), Vec::new()),
            Endpoints::Given(given) => (None, given.iter().map(ToString::to_string).collect()),
        };
        json!({
            "duration_seconds": seconds(traffic.duration),
            "warmup_seconds": seconds(experiment.warmup),
            "rounds": experiment.rounds,
            "connections": traffic.connections,
            "threads": traffic.threads,
            "rate_requests_per_second": match traffic.pace {
                Pace::Closed => None,
                Pace::Open(rate) => Some(rate),
            },
            "clients": match traffic.clients {
                Clients::KeepAlive => "keep-alive",
                Clients::ConnectionPerRequest => "connection-per-request",
            },
            "protocol": match traffic.protocol {
                Protocol::Http1 => "http1",
                Protocol::Http2 { .. } => "http2",
            },
            "streams": match traffic.protocol {
                Protocol::Http1 => 1,
                Protocol::Http2 { streams } => streams.get(),
            },
            "tls": traffic.tls == Encryption::Tls,
            "path": traffic.path,
            "request_body_bytes": traffic.request_body,
            "answer_bytes": match &experiment.endpoints {
                Endpoints::Started { size, .. } => *size,
                Endpoints::Given(_) => None,
            },
            "workers": experiment.workers,
            "endpoints_started": started,
            "endpoints_given": given,
        })
    }

    fn subject_json(&self, subject: Subject) -> Value {
        let medians = MEASURES.iter().map(|measure| {
            let spread = self.spread(subject, measure);
            let spread =
                spread.map(|spread| json!({ "median": spread.median, "low": spread.low, "high": spread.high }));
            (measure.key, spread.unwrap_or(Value::Null))
        });
        json!({
            "name": subject.as_str(),
            "about": subject.about(),
            "figures": medians.collect::<Values>().0,
            "runs": self.runs(subject).map(run_json).collect::<Vec<_>>(),
        })
    }
}

fn run_json(run: &Run) -> Value {
    json!({
        "round": run.round,
        "elapsed_seconds": seconds(run.figures.elapsed),
        "figures": figures_json(&run.figures),
        "moments": run.moments.iter().map(moment_json).collect::<Vec<_>>(),
    })
}

fn figures_json(figures: &Figures) -> Value {
    let values = MEASURES
        .iter()
        .map(|measure| (measure.key, (measure.of)(figures).into()));
    values.collect::<Values>().0
}

fn moment_json(moment: &Moment) -> Value {
    json!({
        "seconds": seconds(moment.at),
        "seconds_into_run": seconds(moment.into_run),
        "requests_per_second": moment.requests_per_second,
        "time_wait_proxy": moment.sockets.map(|sockets| sockets.time_wait_proxy),
        "time_wait_endpoint": moment.sockets.and_then(|sockets| sockets.time_wait_endpoint),
        "source_ports_in_use": moment.sockets.map(|sockets| sockets.ports),
    })
}

/// To the millisecond.
fn seconds(duration: Duration) -> f64 {
    duration.as_millis() as f64 / 1000.0
}

/// An object in the making.
struct Values(Value);

impl FromIterator<(&'static str, Value)> for Values {
    fn from_iter<I: IntoIterator<Item = (&'static str, Value)>>(values: I) -> Self {
        let values = values.into_iter().map(|(key, value)| (key.to_owned(), value));
        Self(Value::Object(values.collect::<Map<_, _>>()))
    }
}
