//! `forebay check`: is a config fine, here and for the load that is expected?

mod lookup;
mod machine;
mod plan;
mod report;
mod source;

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use clap::{CommandFactory, error::ErrorKind};
use rustls::pki_types::UnixTime;

use self::plan::Plan;
pub(super) use self::{
    machine::machine_warnings,
    source::{SourceError, check_sources},
};
use super::{Cli, CommandError, counted, eprint_line, load, print};
use crate::{
    config::{self, Config, Expect},
    net::Kernel,
    tls::ServerTls,
};

/// What a response is taken to last where the file does not say, as in the file.
const RESPONSE_TIME: Duration = Duration::from_millis(100);

/// Say what is wrong with a config file, or that nothing is
///
/// Reads the file and the certificates that it names, as `run` would. Every problem is shown at once, with its line
/// and with what to write instead. Warnings are of what is allowed and yet hardly meant, and of what on this machine
/// stands against it.
///
/// For each cluster whose load is known, from `expect` in the file or from --requests-per-second, it also shows whether
/// the source ports suffice, and what the same load would need without a pool.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Columns of the port budget, for each destination:
  sources, ports  source addresses, and ports of each that the kernel gives away
  limit           ports that may be in use at once, over all source addresses (`max_fill`)
  open            connections at once at the peaks, idle ones included
  closing         ports held by connections that are closed, most of them in TIME_WAIT
  needed          open and closing: what the load needs in the long run
  runs out        how long the ports last
  sustains        requests per second that can go on for ever

Exit codes: 0 the file is fine, 2 it has problems or cannot be read.

Examples:
  forebay check forebay.toml
  forebay check forebay.toml --requests-per-second 800
  forebay check forebay.toml && kill -HUP $(pidof forebay)")]
pub(super) struct CheckArgs {
    /// The config file (TOML)
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The load to reckon with, to each cluster, whatever `expect` says
    #[arg(long, value_name = "NUMBER", value_parser = parse_rate)]
    requests_per_second: Option<f64>,
    /// The cluster that --requests-per-second is for, instead of each
    #[arg(long, value_name = "NAME", requires = "requests_per_second")]
    cluster: Option<String>,
}

/// Why a text is no rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected a number above 0 and at most 1000000000, such as 800")]
pub(super) struct RateError;

pub(super) fn parse_rate(text: &str) -> Result<f64, RateError> {
    let rate: f64 = text.parse().map_err(|_| RateError)?;
    // As for the same key in the file.
    (f64::MIN_POSITIVE..=1e9)
        .contains(&rate)
        .then_some(rate)
        .ok_or(RateError)
}

pub(super) fn run(args: &CheckArgs) -> Result<(), CommandError> {
    let mut config = load(&args.file)?;
    if let Some(rate) = args.requests_per_second {
        expect(&mut config, rate, args.cluster.as_deref())?;
    }
    let kernel = Kernel::read();
    for warning in config::warnings(&config) {
        eprint_line(&format!("forebay: {}: warning: {warning}", args.file.display()));
    }
    for warning in certificate_warnings(&config) {
        eprint_line(&format!("forebay: {}: warning: {warning}", args.file.display()));
    }
    for warning in machine_warnings(&config, &kernel) {
        eprint_line(&format!("forebay: this machine: warning: {warning}"));
    }
    let report = report::render(&plans(&config, &kernel), &kernel);
    print(&format!("{}\n{report}", summary(&args.file, &config)))
}

/// What the files of TLS need, of which it is known that they can be used.
fn certificate_warnings(config: &Config) -> Vec<String> {
    let tls = config.listeners.iter().filter_map(|listener| listener.tls.as_ref());
    let made = tls.filter_map(|tls| ServerTls::new(tls, None).ok());
    made.flat_map(|tls| tls.warnings(UnixTime::now())).collect()
}

/// Puts the load of the command line in the place of the file's.
fn expect(config: &mut Config, requests_per_second: f64, cluster: Option<&str>) -> Result<(), CommandError> {
    if let Some(name) = cluster
        && !config.clusters.contains_key(name)
    {
        return Err(unknown_cluster(config, name).into());
    }
    let meant = |(name, _): &(&String, _)| cluster.is_none_or(|cluster| cluster == name.as_str());
    for (_, cluster) in config.clusters.iter_mut().filter(meant) {
        let known = cluster.expect;
        cluster.expect = Some(Expect {
            requests_per_second,
            response_time: known.map_or(RESPONSE_TIME, |known| known.response_time),
            endpoint_idle_timeout: known.and_then(|known| known.endpoint_idle_timeout),
        });
    }
    Ok(())
}

fn unknown_cluster(config: &Config, name: &str) -> clap::Error {
    let names: Vec<_> = config
        .clusters
        .keys()
        .map(|name| format!("`{}`", name.escape_debug()))
        .collect();
    let message = format!(
        "the file has no cluster `{}`; it has {}",
        name.escape_debug(),
        names.join(", ")
    );
    let mut command = Cli::command();
    // Gives the subcommands their full names.
    command.build();
    command
        .find_subcommand_mut("check")
        .expect("the command has this subcommand")
        .error(ErrorKind::InvalidValue, message)
}

fn plans(config: &Config, kernel: &Kernel) -> Vec<Plan> {
    let addresses = lookup::look_up(config);
    let plan = |(name, cluster): (&String, &config::Cluster)| {
        let destinations = lookup::destinations(&cluster.endpoints, &addresses);
        Plan::of(name, cluster, &destinations, kernel)
    };
    config.clusters.iter().filter_map(plan).collect()
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
    use clap::Parser;

    use super::*;
    use crate::cli::Command;

    const TWO: &str = "[[listener]]\naddress = \":1\"\n[[route]]\ncluster = \"a\"\n\
        [cluster.a]\nendpoints = [\"10.0.0.1:80\"]\nexpect = { requests_per_second = 1, response_time = \"5s\" }\n\
        [cluster.b]\nendpoints = [\"10.0.0.2:80\"]\n";

    fn parse(line: &str) -> Result<CheckArgs, clap::Error> {
        let words = ["forebay", "check"].into_iter().chain(line.split_whitespace());
        Cli::try_parse_from(words).map(|cli| match cli.command {
            Command::Check(args) => args,
            other => panic!("{other:?}"),
        })
    }

    fn rates(config: &Config) -> Vec<Option<f64>> {
        let expected = |cluster: &config::Cluster| cluster.expect.map(|expect| expect.requests_per_second);
        config.clusters.values().map(expected).collect()
    }

    #[test]
    fn a_rate_is_a_number_above_zero() {
        for (text, rate) in [("800", Some(800.0)), ("0.5", Some(0.5)), ("1e9", Some(1e9))] {
            assert_eq!(
                parse(&format!("f --requests-per-second {text}"))
                    .unwrap()
                    .requests_per_second,
                rate
            );
        }
        for text in ["0", "-1", "x", "", "nan", "inf", "1e10", "800/s"] {
            let error = parse(&format!("f --requests-per-second={text}")).unwrap_err();
            assert!(error.to_string().contains("--requests-per-second"), "{text}: {error}");
            assert_eq!(error.exit_code(), 2, "{text}");
        }
    }

    #[test]
    fn a_cluster_is_named_only_with_a_rate() {
        assert_eq!(
            parse("f --cluster a").unwrap_err().kind(),
            ErrorKind::MissingRequiredArgument
        );
        let args = parse("f --cluster a --requests-per-second 1").unwrap();
        assert_eq!(args.cluster.as_deref(), Some("a"));
    }

    #[test]
    fn the_rate_of_the_command_line_takes_the_place_of_the_files() {
        let config = config::parse(TWO, "f").unwrap();
        let with = |cluster| {
            let mut config = config.clone();
            expect(&mut config, 7.0, cluster).unwrap();
            config
        };
        assert_eq!(rates(&with(None)), [Some(7.0), Some(7.0)]);
        assert_eq!(rates(&with(Some("a"))), [Some(7.0), None]);
        assert_eq!(rates(&with(Some("b"))), [Some(1.0), Some(7.0)]);
        let response_times = with(None)
            .clusters
            .into_values()
            .map(|cluster| cluster.expect.unwrap().response_time);
        assert!(response_times.eq([Duration::from_secs(5), RESPONSE_TIME]));
    }

    #[test]
    fn a_cluster_that_is_not_there_is_wrong_usage() {
        let mut config = config::parse(TWO, "f").unwrap();
        let Err(CommandError::Usage(error)) = expect(&mut config, 7.0, Some("c")) else {
            panic!("there is no such cluster")
        };
        assert_eq!(error.exit_code(), 2);
        let shown = error.to_string();
        assert!(
            shown.contains("no cluster `c`") && shown.contains("`a`, `b`"),
            "{shown}"
        );
        assert_eq!(rates(&config), [Some(1.0), None]);
    }

    #[test]
    fn a_response_lasts_as_long_as_the_file_would_say() {
        let text = TWO.replace(", response_time = \"5s\"", "");
        let config = config::parse(&text, "f").unwrap();
        assert_eq!(config.clusters["a"].expect.unwrap().response_time, RESPONSE_TIME);
    }

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
