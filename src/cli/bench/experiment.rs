//! The command line of `forebay bench` itself.

use std::{
    num::NonZeroUsize,
    path::PathBuf,
    time::{Duration, SystemTime},
};

use clap::{CommandFactory, ValueEnum, error::ErrorKind};

use super::stop_on_signals;
use crate::{
    bench::{
        chart::page,
        display::Display,
        experiment::{Experiment, Traffic},
        load::{Clients, Encryption, Pace, Protocol},
        machine::Machine,
        report::Report,
        subject::{Endpoints, Subject},
    },
    cli::{
        Cli, CommandError, check::parse_rate, check_writable, endpoint::parse_size, is_standard_output, print,
        write_file,
    },
    config::Endpoint,
    worker,
};

pub(super) const EXAMPLES: &str = "\
Examples:
  forebay bench
  forebay bench --duration 1s --rounds 1
      A first impression in a few seconds
  forebay bench --page bench.html --json bench.json
      With charts, and for programs
  forebay bench --rate 2000 --clients connection-per-request --tls
      2000 requests per second, however fast the answers come
  forebay bench --to 10.0.0.11:9000,10.0.0.12:9000 --path /healthz
      Endpoints of your own";

/// As many requests at once as browsers send, and more are rarely needed.
const STREAMS: u16 = 10;

/// As long as anybody should wait.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

#[derive(Debug, clap::Args)]
pub(super) struct ExperimentArgs {
    /// How long each run is measured; there are --rounds runs of each subject
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = parse_run_time)]
    duration: Duration,
    /// Time before each run that is not counted
    #[arg(long, value_name = "DURATION", default_value = "500ms", value_parser = parse_time)]
    warmup: Duration,
    /// How often each subject has its turn
    #[arg(long, value_name = "N", default_value = "3", value_parser = clap::value_parser!(u16).range(1..=1000))]
    rounds: u16,
    /// What is measured, by turns in this order
    #[arg(
        long,
        value_name = "SUBJECTS",
        value_delimiter = ',',
        default_value = "pooled,unpooled,direct"
    )]
    subjects: Vec<SubjectArg>,
    /// Requests per second, due at even times however fast the answers come; latency counts from when they are due
    /// [default: each client sends its next request when the last one is answered]
    #[arg(long, value_name = "NUMBER", value_parser = parse_rate)]
    rate: Option<f64>,
    /// Connections of clients at once
    #[arg(long, value_name = "N", default_value = "64", value_parser = clap::value_parser!(u32).range(1..=60_000))]
    connections: u32,
    /// Threads that make the load [default: half the cores]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
    /// What clients do with a connection after an answer
    #[arg(long, value_name = "CLIENTS", default_value = "keep-alive")]
    clients: ClientsArg,
    /// What clients speak with the proxies; straight to endpoints it is always HTTP/1.1
    #[arg(long, value_name = "PROTOCOL", default_value = "http1")]
    protocol: ProtocolArg,
    /// Requests at once on each connection, with --protocol http2 [default: 10]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1000))]
    streams: Option<u16>,
    /// Clients speak TLS with the proxies; straight to endpoints it is always in the clear
    #[arg(long)]
    tls: bool,
    /// Bytes of each answer, such as "1KiB" [default: a short line]
    #[arg(long, value_name = "SIZE", value_parser = parse_size, conflicts_with = "to")]
    size: Option<u64>,
    /// Bytes of each request's body, such as "1KiB"; none: GET, else POST
    #[arg(long, value_name = "SIZE", default_value = "0", value_parser = parse_request_body)]
    request_body: usize,
    /// What is asked for
    #[arg(long, value_name = "PATH", default_value = "/", value_parser = parse_path)]
    path: String,
    /// Endpoints to start for each subject
    #[arg(long, value_name = "N", default_value = "3", conflicts_with = "to",
        value_parser = clap::value_parser!(u16).range(1..=100))]
    endpoints: u16,
    /// Endpoints of your own instead, "10.0.0.11:9000" or "api.internal:9000"; may be repeated
    #[arg(long, value_name = "ADDR", value_delimiter = ',')]
    to: Vec<Endpoint>,
    /// Worker threads of each proxy [default: one per core]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    workers: Option<u16>,
    /// Write all figures, as JSON; "-" is standard output, in place of the table
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write a page with charts, as HTML
    #[arg(long, value_name = "FILE")]
    page: Option<PathBuf>,
}

/// What a load is sent through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum SubjectArg {
    Pooled,
    Unpooled,
    Direct,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ClientsArg {
    KeepAlive,
    ConnectionPerRequest,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ProtocolArg {
    Http1,
    Http2,
}

impl SubjectArg {
    fn subject(self) -> Subject {
        match self {
            Self::Pooled => Subject::Pooled,
            Self::Unpooled => Subject::Unpooled,
            Self::Direct => Subject::Direct,
        }
    }
}

/// Why a text is no value of a flag.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
enum ValueError {
    #[error("expected a time from 100ms to 24h, such as \"5s\"")]
    RunTime,
    #[error("expected a time of at most 24h, such as \"500ms\"")]
    Time,
    #[error("expected bytes, at most 64MiB, such as \"512\" or \"1KiB\"")]
    RequestBody,
    #[error("expected a path that begins with \"/\", without spaces")]
    Path,
}

/// What is wrong between arguments that are right by themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
enum ArgumentError {
    #[error("--streams needs --protocol http2: over HTTP/1.1 a connection carries one request at a time")]
    Streams,
    #[error("--subjects names one twice")]
    Twice,
}

fn parse_run_time(text: &str) -> Result<Duration, ValueError> {
    let time = humantime::parse_duration(text).map_err(|_| ValueError::RunTime)?;
    // Less is no measurement, only noise.
    (Duration::from_millis(100)..=LONGEST)
        .contains(&time)
        .then_some(time)
        .ok_or(ValueError::RunTime)
}

fn parse_time(text: &str) -> Result<Duration, ValueError> {
    let time = humantime::parse_duration(text).map_err(|_| ValueError::Time)?;
    (time <= LONGEST).then_some(time).ok_or(ValueError::Time)
}

fn parse_request_body(text: &str) -> Result<usize, ValueError> {
    let bytes = parse_size(text).map_err(|_| ValueError::RequestBody)?;
    // It is kept in memory.
    (bytes <= 64 << 20)
        .then_some(bytes as usize)
        .ok_or(ValueError::RequestBody)
}

fn parse_path(text: &str) -> Result<String, ValueError> {
    let is_path = text.starts_with('/') && text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#');
    is_path.then(|| text.to_owned()).ok_or(ValueError::Path)
}

pub(super) fn run(args: ExperimentArgs) -> Result<(), CommandError> {
    args.check().map_err(usage_error)?;
    let stop = stop_on_signals().map_err(CommandError::Signals)?;
    let files = [&args.page, &args.json];
    for file in files.into_iter().flatten() {
        check_writable(file)?;
    }
    let experiment = args.experiment();
    let begun = SystemTime::now();
    let display = Display::start(experiment.length());
    let results = experiment.run(&display, &stop);
    display.finish();
    let report = Report {
        results: results?,
        machine: Machine::look(),
        experiment,
        begun,
    };
    if let Some(file) = &args.json {
        write_file(file, &report.json())?;
    }
    let text = report.text();
    if let Some(file) = &args.page {
        let title = "What pooled connections are worth";
        write_file(file, &page(title, &text, &report.charts()))?;
    }
    if files.into_iter().flatten().any(|file| is_standard_output(file)) {
        return Ok(());
    }
    print(&text)
}

fn usage_error(error: ArgumentError) -> clap::Error {
    let mut command = Cli::command();
    // Gives the subcommands their full names.
    command.build();
    command
        .find_subcommand_mut("bench")
        .expect("the command has this subcommand")
        .error(ErrorKind::ArgumentConflict, error)
}

impl ExperimentArgs {
    fn experiment(&self) -> Experiment {
        let one_at_least = |number: usize| NonZeroUsize::new(number).unwrap_or(NonZeroUsize::MIN);
        // The other half is for the proxy and the endpoints.
        let half = worker::available().get() / 2;
        Experiment {
            subjects: self.subjects.iter().map(|subject| subject.subject()).collect(),
            rounds: one_at_least(usize::from(self.rounds)),
            warmup: self.warmup,
            endpoints: if self.to.is_empty() {
                Endpoints::Started {
                    count: one_at_least(usize::from(self.endpoints)),
                    size: self.size,
                }
            } else {
                Endpoints::Given(self.to.clone())
            },
            workers: self.workers.map(|workers| one_at_least(usize::from(workers))),
            traffic: Traffic {
                path: self.path.clone(),
                tls: if self.tls { Encryption::Tls } else { Encryption::Off },
                protocol: match self.protocol {
                    ProtocolArg::Http1 => Protocol::Http1,
                    ProtocolArg::Http2 => Protocol::Http2 {
                        streams: one_at_least(usize::from(self.streams.unwrap_or(STREAMS))),
                    },
                },
                clients: match self.clients {
                    ClientsArg::KeepAlive => Clients::KeepAlive,
                    ClientsArg::ConnectionPerRequest => Clients::ConnectionPerRequest,
                },
                connections: one_at_least(self.connections as usize),
                threads: one_at_least(self.threads.map_or(half, usize::from)),
                pace: self.rate.map_or(Pace::Closed, Pace::Open),
                request_body: self.request_body,
                duration: self.duration,
            },
        }
    }

    fn check(&self) -> Result<(), ArgumentError> {
        if self.streams.is_some() && self.protocol == ProtocolArg::Http1 {
            return Err(ArgumentError::Streams);
        }
        let twice = |(index, subject)| self.subjects[..index].contains(subject);
        if self.subjects.iter().enumerate().any(twice) {
            return Err(ArgumentError::Twice);
        }
        Ok(())
    }
}
