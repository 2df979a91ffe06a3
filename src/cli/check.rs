//! `forebay check`: is a config fine?

use std::path::{Path, PathBuf};

use super::{CommandError, counted, eprint_line, load, print};
use crate::config::{self, Config};

/// Say what is wrong with a config file, or that nothing is
///
/// Reads the file and the certificates that it names, as `run` would. Every problem is shown at once, with its line
/// and with what to write instead. Warnings are of what is allowed and yet hardly meant.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Exit codes: 0 the file is fine, 2 it has problems or cannot be read.

Examples:
  forebay check forebay.toml
  forebay check forebay.toml && kill -HUP $(pidof forebay)")]
pub(super) struct CheckArgs {
    /// The config file (TOML)
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

pub(super) fn run(args: &CheckArgs) -> Result<(), CommandError> {
    let config = load(&args.file)?;
    for warning in config::warnings(&config) {
        eprint_line(&format!("forebay: {}: warning: {warning}", args.file.display()));
    }
    print(&format!("{}\n", summary(&args.file, &config)))
}

fn summary(file: &Path, config: &Config) -> String {
    format!(
        "{}: ok, {}, {}, {}",
        file.display(),
        counted(config.listeners.len(), "listener"),
        counted(config.routes.len(), "route"),
        counted(config.clusters.len(), "cluster"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_good_file_is_summed_up_in_one_line() {
        let text = "[[listener]]\naddress = \":1\"\n[[listener]]\naddress = \":2\"\n\
                    [[route]]\ncluster = \"a\"\n[cluster.a]\nendpoints = [\"10.0.0.1:80\"]\n";
        let config = config::parse(text, "a.toml").unwrap();
        assert_eq!(
            summary(Path::new("a.toml"), &config),
            "a.toml: ok, 2 listeners, 1 route, 1 cluster"
        );
    }
}
