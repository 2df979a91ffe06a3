//! `forebay bench`: what pooled connections are worth, measured here.

mod capacity;
mod experiment;

use super::CommandError;

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
}

pub(super) fn run(args: BenchArgs) -> Result<(), CommandError> {
    match args.part {
        Some(Part::Capacity(args)) => capacity::run(&args),
        None => experiment::run(args.experiment),
    }
}
