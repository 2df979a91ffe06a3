//! `forebay bench`: what pooled connections are worth, measured here.

mod capacity;
mod exhaust;
mod experiment;
mod signals;

use self::signals::stop_on_signals;
use super::CommandError;
use crate::bench::exhaust::INSIDE;

/// Measure what pooled connections are worth on this machine
///
/// Starts endpoints, a proxy that pools and one that opens a connection for each request, and sends the same load
/// through both and straight to the endpoints, by turns. Prints a table; --json and --page write files.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true, after_help = experiment::EXAMPLES)]
pub(super) struct BenchArgs {
    #[command(subcommand)]
    part: Option<Part>,
    #[command(flatten)]
    experiment: experiment::ExperimentArgs,
}

/// What else can be measured or reckoned.
#[derive(Debug, clap::Subcommand)]
enum Part {
    Capacity(capacity::CapacityArgs),
    Exhaust(exhaust::ExhaustArgs),
    /// What `exhaust` starts where its proxies are
    #[command(name = INSIDE, hide = true)]
    ExhaustInside(exhaust::InsideArgs),
}

pub(super) fn run(args: BenchArgs) -> Result<(), CommandError> {
    match args.part {
        Some(Part::Capacity(args)) => capacity::run(&args),
        Some(Part::Exhaust(args)) => exhaust::run(&args),
        Some(Part::ExhaustInside(args)) => exhaust::run_inside(&args),
        None => experiment::run(args.experiment),
    }
}
