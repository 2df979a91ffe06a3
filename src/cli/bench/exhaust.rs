//! `forebay bench exhaust`: what happens when source ports run out.

mod report;

use std::{path::PathBuf, time::Duration};

use super::stop_on_signals;
use crate::{
    bench::{
        chart::{page, stacked},
        display::Display,
        exhaust::{ExhaustError, Plan, Scene, inside, story::Story},
        load::Stop,
    },
    cli::{CommandError, check::parse_rate, check_writable, eprint_line, is_standard_output, print, write_file},
    net::Kernel,
};

/// How much of the ports a proxy without a pool uses up in a second unless told otherwise: they last for four.
const SHARE_PER_SECOND: f64 = 0.25;

/// Show how a proxy runs out of source ports, and how it does not
///
/// Starts three proxies under the same load: one that opens a connection for each request and closes it with a FIN, one
/// that closes it without TIME_WAIT, and one that keeps its connections. As root they run in network namespaces of their
/// own, with few source ports and tcp_tw_reuse = 0, which are removed at the end. Else they run on the loopback
/// interface, where the kernel hides the problem, and only its cause is seen.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Columns:
  answered, failed  requests of clients
  connections       connections to the endpoint that the proxy has opened
  ports             source ports that it holds towards the endpoint, the most at one moment
  TIME_WAIT         those that are held by connections which it has closed, the most at one moment
  EADDRNOTAVAIL     times that the kernel had no port for it
  at last           requests answered per second in the last second

Examples:
  sudo forebay bench exhaust
  sudo forebay bench exhaust --page exhaust.html
  sudo forebay bench exhaust --duration 130s
      Long enough to see the ports come back a minute later, and go again
  forebay bench exhaust --loopback")]
pub(super) struct ExhaustArgs {
    /// Source ports of each proxy
    #[arg(long, value_name = "N", default_value = "500", value_parser = clap::value_parser!(u16).range(20..=30_000))]
    ports: u16,
    /// Requests per second to each proxy [default: a quarter of --ports]
    #[arg(long, value_name = "NUMBER", value_parser = parse_rate)]
    rate: Option<f64>,
    /// How long the load lasts
    #[arg(long, value_name = "DURATION", default_value = "20s", value_parser = parse_duration)]
    duration: Duration,
    /// Do without root what can be done without
    #[arg(long)]
    loopback: bool,
    /// Write requests, errors, TIME_WAIT and ports over time as charts (SVG)
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,
    /// Write the table with the charts, as an HTML page
    #[arg(long, value_name = "FILE")]
    page: Option<PathBuf>,
    /// Write all figures, as JSON; "-" is standard output, in place of the table
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// What [`INSIDE`](crate::bench::exhaust::INSIDE) is told.
#[derive(Debug, clap::Args)]
pub(super) struct InsideArgs {
    /// As JSON
    #[arg(value_parser = parse_task)]
    task: inside::Task,
}

/// Why a text is no value of a flag.
#[derive(Debug, thiserror::Error)]
enum ValueError {
    #[error("expected a time from 1s to 24h, such as \"20s\"")]
    Duration,
    #[error(transparent)]
    Task(#[from] serde_json::Error),
}

fn parse_duration(text: &str) -> Result<Duration, ValueError> {
    let duration = humantime::parse_duration(text).map_err(|_| ValueError::Duration)?;
    (Duration::from_secs(1)..=Duration::from_secs(24 * 3600))
        .contains(&duration)
        .then_some(duration)
        .ok_or(ValueError::Duration)
}

fn parse_task(text: &str) -> Result<inside::Task, ValueError> {
    Ok(serde_json::from_str(text)?)
}

pub(super) fn run_inside(args: &InsideArgs) -> Result<(), CommandError> {
    Ok(inside::run(&args.task)?)
}

pub(super) fn run(args: &ExhaustArgs) -> Result<(), CommandError> {
    let stop = stop_on_signals().map_err(CommandError::Signals)?;
    let files = [&args.plot, &args.page, &args.json];
    for file in files.into_iter().flatten() {
        check_writable(file)?;
    }
    let story = args.story(&stop)?;
    let kernel = Kernel::read();
    if let Some(file) = &args.plot {
        write_file(file, &stacked(&story.charts()))?;
    }
    if let Some(file) = &args.json {
        write_file(file, &report::json(&story, &kernel))?;
    }
    let text = report::text(&story, &kernel);
    if let Some(file) = &args.page {
        write_file(
            file,
            &page("How source ports run out, and how they do not", &text, &story.charts()),
        )?;
    }
    if files.into_iter().flatten().any(|file| is_standard_output(file)) {
        return Ok(());
    }
    print(&text)
}

impl ExhaustArgs {
    fn story(&self, stop: &Stop) -> Result<Story, ExhaustError> {
        let plan = Plan {
            scene: match self.loopback {
                true => Scene::Loopback,
                false => Scene::Namespaces { ports: self.ports },
            },
            rate: self.rate.unwrap_or(f64::from(self.ports) * SHARE_PER_SECOND),
            duration: self.duration,
        };
        let display = Display::start(self.duration);
        display.begin("requests go through three proxies".to_owned());
        let advance = |done| display.advance(done);
        let result = match plan.run(stop, advance) {
            Err(ExhaustError::Namespace(error)) if error.is_of_rights() => {
                eprint_line(&format!(
                    "forebay: {error}; as root (in a container: with SYS_ADMIN) it would show all"
                ));
                eprint_line("forebay: what follows runs on the loopback interface, with this machine's source ports");
                let scene = Scene::Loopback;
                Plan { scene, ..plan }.run(stop, advance)
            }
            other => other,
        };
        display.finish();
        result
    }
}
