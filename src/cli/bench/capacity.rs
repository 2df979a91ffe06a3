//! `forebay bench capacity`: what a load needs, on paper.

mod charts;
mod report;

use std::{path::PathBuf, time::Duration};

use clap::{
    ValueEnum,
    builder::{PossibleValuesParser, TypedValueParser},
};

use crate::{
    bench::{capacity::Question, chart::page},
    cli::{CommandError, check::parse_rate, is_standard_output, print, write_file},
    config::Close,
    net::Kernel,
    ports::budget::{Pooling, Search, Supply, ports_of, time_wait, usable_ports},
};

/// As long as anybody should ask for.
const LONGEST: Duration = Duration::from_secs(366 * 24 * 3600);

/// Reckon on paper how many source ports a load needs, pooled and unpooled
///
/// No load is made. What is not told of the machine (--range, --tcp-tw-reuse) is read from this one.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Columns, for each destination and over all source addresses, except for the last two:
  new/s        connections opened per second, which is also how many are closed
  open         connections at once at the peaks, idle ones included
  closing      ports held by connections that are closed, most of them in TIME_WAIT
  needed       open and closing: what the load needs in the long run
  runs out     how long the ports last
  one address  requests per second that one source address sustains towards one destination
  all          requests per second that all source addresses sustain towards all destinations

Examples:
  forebay bench capacity --requests-per-second 1000
  forebay bench capacity --requests-per-second 5000 --response-time 20ms --sources 2 --destinations 3
  forebay bench capacity --requests-per-second 1000 --range 1024-65535 --tcp-tw-reuse 0 --plot ports.svg")]
pub(super) struct CapacityArgs {
    /// The load, over all destinations
    #[arg(long, value_name = "NUMBER", default_value = "1000", value_parser = parse_rate)]
    requests_per_second: f64,
    /// From a request to the end of its answer, on average: how long a connection lives that is opened for one request
    #[arg(long, visible_alias = "connection-life", value_name = "DURATION", default_value = "100ms", value_parser = parse_time)]
    response_time: Duration,
    /// Source addresses
    #[arg(long, value_name = "N", default_value = "1", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    sources: u32,
    /// Endpoints, each of which gets an equal share of the requests
    #[arg(long, value_name = "N", default_value = "1", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    destinations: u32,
    /// Source ports, both ends included, such as "32768-60999" [default: this machine's]
    #[arg(long, value_name = "FIRST-LAST", value_parser = parse_range)]
    range: Option<(u16, u16)>,
    /// The number of source ports, in place of --range
    #[arg(long, value_name = "N", conflicts_with = "range", value_parser = clap::value_parser!(u16).range(1..))]
    ports: Option<u16>,
    /// The share of the source ports that may be in use [default: as much as is cheap on this kernel]
    #[arg(long, value_name = "SHARE", value_parser = parse_share)]
    max_fill: Option<f64>,
    /// How connections are closed; may be repeated [default: each way]
    #[arg(long, value_name = "POLICY", value_delimiter = ',',
        value_parser = PossibleValuesParser::new(Close::ALL.map(Close::name)).map(|name| close(&name)))]
    close: Vec<Close>,
    /// `tcp_tw_reuse`: 1 lets new connections have ports in TIME_WAIT after a second, 2 only towards loopback addresses
    /// [default: this machine's]
    #[arg(long, value_name = "0..2", value_parser = clap::value_parser!(u32).range(0..=2))]
    tcp_tw_reuse: Option<u32>,
    /// How long TIME_WAIT holds a port, for other systems than Linux [default: what --tcp-tw-reuse makes it]
    #[arg(long, value_name = "DURATION", conflicts_with = "tcp_tw_reuse", value_parser = parse_time)]
    time_wait: Option<Duration>,
    /// Whether connections are kept for further requests
    #[arg(
        long,
        value_name = "POOLING",
        value_delimiter = ',',
        default_value = "unpooled,pooled"
    )]
    pooling: Vec<PoolingArg>,
    /// How long a pool keeps a connection without a request
    #[arg(long, value_name = "DURATION", default_value = "4s", value_parser = parse_positive_time)]
    idle_timeout: Duration,
    /// Age after which a pool closes a connection; 0s: never
    #[arg(long, value_name = "DURATION", default_value = "10m", value_parser = parse_time)]
    max_lifetime: Duration,
    /// Requests on one connection of a pool; 0: no limit
    #[arg(
        long,
        visible_alias = "requests-per-connection",
        value_name = "N",
        default_value = "0"
    )]
    max_requests: u64,
    /// Write the ports in use over time as a chart (SVG)
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,
    /// Write the table with charts, as an HTML page
    #[arg(long, value_name = "FILE")]
    page: Option<PathBuf>,
    /// Write all figures, as JSON; "-" is standard output, in place of the table
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum PoolingArg {
    /// Each request has a connection of its own
    Unpooled,
    /// Connections are kept and used again
    Pooled,
}

/// Why a text is no value of a flag.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
enum ValueError {
    #[error("expected a time of at most a year, such as \"100ms\"")]
    Time,
    #[error("expected a time above 0 and of at most a year, such as \"4s\"")]
    PositiveTime,
    #[error("expected the first and the last port, such as \"32768-60999\"")]
    Range,
    #[error("expected a share above 0 and at most 1, such as 0.95")]
    Share,
}

fn parse_time(text: &str) -> Result<Duration, ValueError> {
    let time = humantime::parse_duration(text).map_err(|_| ValueError::Time)?;
    (time <= LONGEST).then_some(time).ok_or(ValueError::Time)
}

fn parse_positive_time(text: &str) -> Result<Duration, ValueError> {
    let time = parse_time(text).map_err(|_| ValueError::PositiveTime)?;
    (!time.is_zero()).then_some(time).ok_or(ValueError::PositiveTime)
}

/// With a hyphen, or with white space as the sysctl has it.
fn parse_range(text: &str) -> Result<(u16, u16), ValueError> {
    let is_between = |letter: char| letter == '-' || letter.is_ascii_whitespace();
    let (first, last) = text.trim().split_once(is_between).ok_or(ValueError::Range)?;
    let port = |text: &str| text.trim().parse::<u16>().ok().filter(|port| *port != 0);
    let range = port(first).zip(port(last)).ok_or(ValueError::Range)?;
    (range.0 <= range.1).then_some(range).ok_or(ValueError::Range)
}

fn parse_share(text: &str) -> Result<f64, ValueError> {
    let share: f64 = text.parse().map_err(|_| ValueError::Share)?;
    (f64::MIN_POSITIVE..=1.0)
        .contains(&share)
        .then_some(share)
        .ok_or(ValueError::Share)
}

/// The policy of a name that clap has found among those there are.
fn close(name: &str) -> Close {
    let named = Close::ALL.into_iter().find(|close| close.name() == name);
    named.expect("each name is one of theirs")
}

pub(super) fn run(args: &CapacityArgs) -> Result<(), CommandError> {
    let kernel = Kernel::read();
    let question = args.question(&kernel);
    let answers = question.answers();
    if let Some(file) = &args.plot {
        write_file(file, &charts::ports_over_time(&question, &answers).svg())?;
    }
    if let Some(file) = &args.json {
        write_file(file, &report::json(&question, &answers))?;
    }
    let table = report::table(args, &question, &answers, &kernel);
    if let Some(file) = &args.page {
        let charts = [
            charts::ports_over_time(&question, &answers),
            charts::ports_by_rate(&question),
        ];
        write_file(file, &page("Source ports, as reckoned", &table, &charts))?;
    }
    let files = [&args.plot, &args.page, &args.json];
    if files.into_iter().flatten().any(|file| is_standard_output(file)) {
        return Ok(());
    }
    print(&table)
}

impl CapacityArgs {
    fn question(&self, kernel: &Kernel) -> Question {
        let tw_reuse = self.tcp_tw_reuse.or(kernel.tw_reuse);
        let pooling = |arg: &PoolingArg| match arg {
            PoolingArg::Unpooled => Pooling::Off,
            PoolingArg::Pooled => Pooling::On {
                idle_timeout: self.idle_timeout,
                max_lifetime: self.max_lifetime,
                max_requests: self.max_requests,
                min_idle: 0,
            },
        };
        Question {
            requests_per_second: self.requests_per_second,
            response_time: self.response_time,
            supply: Supply {
                sources: self.sources as usize,
                ports: self.ports_of_each(kernel),
                max_fill: self.max_fill,
                search: Search::of(kernel),
            },
            destinations: self.destinations as usize,
            time_wait: self
                .time_wait
                .unwrap_or_else(|| time_wait(tw_reuse, kernel.timestamps, None)),
            poolings: distinct(&self.pooling).iter().map(pooling).collect(),
            closes: match self.close.as_slice() {
                [] => vec![Close::Fin, Close::FinNoTimeWait, Close::Rst, Close::AskEndpoint],
                some => distinct(some),
            },
        }
    }

    fn ports_of_each(&self, kernel: &Kernel) -> usize {
        match (self.ports, self.range) {
            (Some(ports), _) => usize::from(ports),
            // Which ports are reserved on another machine is not known.
            (None, Some(range)) => usable_ports(range, &[]),
            (None, None) => ports_of(kernel),
        }
    }
}

/// Without repetitions, in the order of the first mention.
fn distinct<T: Copy + PartialEq>(items: &[T]) -> Vec<T> {
    let mut found = Vec::new();
    for item in items {
        if !found.contains(item) {
            found.push(*item);
        }
    }
    found
}

#[cfg(test)]
fn parse(line: &str) -> Result<CapacityArgs, clap::Error> {
    use clap::{Args, FromArgMatches};

    let command = CapacityArgs::augment_args(clap::Command::new("capacity"));
    let matches = command.try_get_matches_from(["capacity"].into_iter().chain(line.split(' ')))?;
    CapacityArgs::from_arg_matches(&matches)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_told_as_a_range_or_as_a_number() {
        let kernel = Kernel {
            port_range: Some((1000, 1999)),
            reserved_ports: vec![1000..=1099],
            ..Kernel::default()
        };
        let ports = |line| parse(line).unwrap().question(&kernel).supply.ports;
        assert_eq!(ports("--sources=1"), 900);
        assert_eq!(ports("--range=1000-1999"), 1000, "another machine has nothing reserved");
        assert_eq!(ports("--range=1000\t1999"), 1000, "as the sysctl is read");
        assert_eq!(ports("--ports=60000"), 60_000);
        for wrong in [
            "--range=9-8",
            "--range=0-9",
            "--range=9",
            "--range=a-b",
            "--range=1-99999",
            "--ports=0",
        ] {
            assert_eq!(parse(wrong).unwrap_err().exit_code(), 2, "{wrong}");
        }
        assert!(parse("--ports=9 --range=1-9").is_err());
    }

    #[test]
    fn a_port_is_held_as_long_as_the_kernel_or_the_user_says() {
        let kernel = Kernel {
            tw_reuse: Some(1),
            ..Kernel::default()
        };
        let seconds = |line| parse(line).unwrap().question(&kernel).time_wait.as_secs();
        assert_eq!(seconds("--sources=1"), 1);
        assert_eq!(seconds("--tcp-tw-reuse=0"), 61);
        assert_eq!(seconds("--time-wait=240s"), 240);
        assert!(parse("--time-wait=240s --tcp-tw-reuse=0").is_err());
    }

    #[test]
    fn every_policy_is_asked_for_unless_some_are_named() {
        let of = |line| {
            let question = parse(line).unwrap().question(&Kernel::default());
            (question.poolings.len(), question.closes)
        };
        let (poolings, closes) = of("--sources=1");
        assert_eq!((poolings, closes.len()), (2, Close::ALL.len()));
        assert_eq!(
            of("--close=rst,fin,rst --pooling=pooled"),
            (1, vec![Close::Rst, Close::Fin])
        );
        let error = parse("--close=reset").unwrap_err().to_string();
        assert!(error.contains("fin-no-time-wait"), "{error}");
    }
}
