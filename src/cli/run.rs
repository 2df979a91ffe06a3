//! `forebay run`: a proxy from a file.

use std::path::PathBuf;

use super::{CommandError, check::machine_warnings, load, server};
use crate::net::Kernel;

/// Run the proxy that a config file describes
///
/// Runs in the foreground. A changed file, or SIGHUP, is a reload: the new config takes over without a break, or its
/// problems are logged and the old one stays. SIGTERM or Ctrl-C finishes the running requests and ends; a second one
/// ends at once.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  forebay run --config /etc/forebay/forebay.toml
  kill -HUP $(pidof forebay)      # reload")]
pub(super) struct RunArgs {
    /// The config file (TOML)
    #[arg(short, long, value_name = "FILE")]
    config: PathBuf,
}

pub(super) fn run(args: &RunArgs) -> Result<(), CommandError> {
    let config = load(&args.config)?;
    let warnings = machine_warnings(&config, &Kernel::read());
    Ok(server::run(config, Some(args.config.clone()), &warnings)?)
}
