//! `forebay proxy`: a proxy from arguments alone, and the file that says the same.

use std::{collections::HashSet, fmt::Display, hash::Hash, net::SocketAddr, num::NonZeroUsize, path::PathBuf};

use clap::{ArgGroup, CommandFactory, builder::TypedValueParser, error::ErrorKind};

use super::{
    Cli, CommandError,
    check::machine_warnings,
    check_certificates, print, server,
    value::{parse_admin, parse_file},
};
use crate::config::{
    self, Admin, Certificate, Cluster, Config, Endpoint, Listener, LoadError, Process, Route, SourceAddress, Tls,
    parse_listen_address,
};
use crate::net::Kernel;

/// The cluster that all requests go to.
const CLUSTER: &str = "main";

/// Run a proxy without a config file
///
/// Every request goes to the endpoints after `--to`. Addresses to listen on may be written ":8080" (port 8080 of all
/// IPv4 interfaces). What may be given several times may also be written as one list with commas.
#[derive(Debug, clap::Args)]
#[command(
    group = ArgGroup::new("listeners").required(true).multiple(true).args(["listen", "tls_listen"]),
    after_help = EXAMPLES
)]
pub(super) struct ProxyArgs {
    /// Address to accept clients on; may be repeated
    #[arg(long, value_name = "ADDR", value_delimiter = ',', value_parser = parse_listen_address)]
    listen: Vec<SocketAddr>,
    /// Address to accept clients with TLS on; may be repeated
    #[arg(
        long,
        value_name = "ADDR",
        value_delimiter = ',',
        value_parser = parse_listen_address,
        requires = "cert",
        requires = "key"
    )]
    tls_listen: Vec<SocketAddr>,
    /// Certificate chain for --tls-listen, as PEM; may be repeated, the server name then chooses
    #[arg(long, value_name = "FILE", value_parser = parse_file, requires = "tls_listen")]
    cert: Vec<PathBuf>,
    /// Private key of the --cert at the same place, as PEM
    #[arg(long, value_name = "FILE", value_parser = parse_file, requires = "tls_listen")]
    key: Vec<PathBuf>,
    /// Endpoint to send requests to, "10.0.0.11:9000" or "api.internal:9000"; may be repeated
    #[arg(long, value_name = "ADDR", required = true, value_delimiter = ',')]
    to: Vec<Endpoint>,
    /// Address of this machine to connect to endpoints from, or a network such as "10.9.0.0/24"; may be repeated
    /// [default: the kernel's choice]
    #[arg(long, value_name = "IP", value_delimiter = ',')]
    source: Vec<SourceAddress>,
    /// Address of the admin listener (/metrics, /status, /healthz, /readyz), or "off" [default: 127.0.0.1:9900]
    #[arg(long, value_name = "ADDR|off", value_parser = parse_admin)]
    admin: Option<Admin>,
    /// Worker threads [default: one per core]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024).map(usize::from))]
    workers: Option<usize>,
    /// Open a connection for each request, and keep none
    #[arg(long)]
    no_pool: bool,
    /// Print the config file that says the same, and exit
    #[arg(long)]
    print_config: bool,
}

const EXAMPLES: &str = "\
Examples:
  forebay proxy --listen :8080 --to 127.0.0.1:9000
  forebay proxy --listen 127.0.0.1:8080 --to 10.0.0.11:9000,10.0.0.12:9000 --source 10.0.1.1,10.0.1.2
  forebay proxy --tls-listen :8443 --cert shop.pem --key shop.key --to 10.0.0.11:9000 --admin off
  forebay proxy --listen :8080 --to 10.0.0.11:9000 --print-config > forebay.toml";

/// What is wrong between arguments that are right by themselves.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
enum ArgumentError {
    #[error("--cert and --key belong together: there are {certificates} of the one and {keys} of the other")]
    Unpaired { certificates: usize, keys: usize },
    #[error("--{argument} has {value} twice")]
    Twice { argument: &'static str, value: String },
    #[error("--listen and --tls-listen both have {0}")]
    BothKinds(SocketAddr),
    #[error("the admin listener has the address {0} too; choose another with --admin, or write --admin off")]
    AdminAddress(SocketAddr),
    #[error("--source has {0} and {1}, of which one lies in the other; leave one of them out")]
    Overlap(SourceAddress, SourceAddress),
    #[error("no endpoint after --to can be reached from {0}")]
    UselessSource(SourceAddress),
    #[error("no address after --source can reach {0}")]
    Unreachable(Endpoint),
}

pub(super) fn run(args: &ProxyArgs) -> Result<(), CommandError> {
    let text = args.config().map_err(usage_error)?.to_toml();
    // What runs is what a file of this text says, and it is held to the same rules.
    let config = config::parse(&text, "command line").map_err(LoadError::Problems)?;
    check_certificates(&config)?;
    if args.print_config {
        return print(&text);
    }
    let warnings = machine_warnings(&config, &Kernel::read());
    Ok(server::run(config, None, &warnings)?)
}

fn usage_error(error: ArgumentError) -> clap::Error {
    let mut command = Cli::command();
    // Gives the subcommands their full names.
    command.build();
    command
        .find_subcommand_mut("proxy")
        .expect("the command has this subcommand")
        .error(ErrorKind::ArgumentConflict, error)
}

impl ProxyArgs {
    fn config(&self) -> Result<Config, ArgumentError> {
        let certificates = self.certificates()?;
        let admin = self.admin.clone().unwrap_or_default();
        self.check_addresses(&admin)?;
        self.check_sources()?;
        let mut listeners = named_listeners("http", &self.listen);
        for mut listener in named_listeners("https", &self.tls_listen) {
            listener.tls = Some(Tls::new(certificates.clone()));
            listeners.push(listener);
        }
        Ok(Config {
            process: Process {
                workers: self.workers.and_then(NonZeroUsize::new),
                ..Process::default()
            },
            admin,
            listeners,
            routes: vec![Route::forward_all(CLUSTER)],
            clusters: [(CLUSTER.to_owned(), self.cluster())].into(),
            ..Config::default()
        })
    }

    fn cluster(&self) -> Cluster {
        let mut cluster = Cluster::new(self.to.clone());
        cluster.source.addresses = self.source.clone();
        if self.no_pool {
            cluster.pool.max_idle = 0;
        }
        cluster
    }

    fn certificates(&self) -> Result<Vec<Certificate>, ArgumentError> {
        let (certificates, keys) = (self.cert.len(), self.key.len());
        if certificates != keys {
            return Err(ArgumentError::Unpaired { certificates, keys });
        }
        let pairs = self.cert.iter().cloned().zip(self.key.iter().cloned());
        Ok(pairs.map(|(chain, key)| Certificate { chain, key }).collect())
    }

    fn check_addresses(&self, admin: &Admin) -> Result<(), ArgumentError> {
        // Port 0 is another port each time.
        let fixed = |addresses: &[SocketAddr]| -> Vec<SocketAddr> {
            addresses
                .iter()
                .copied()
                .filter(|address| address.port() != 0)
                .collect()
        };
        let (plain, tls) = (fixed(&self.listen), fixed(&self.tls_listen));
        check_twice("listen", &plain)?;
        check_twice("tls-listen", &tls)?;
        let endpoints: Vec<_> = self.to.iter().map(ToString::to_string).collect();
        check_twice("to", &endpoints)?;
        check_twice("source", &self.source)?;
        if let Some(address) = plain.iter().find(|address| tls.contains(address)) {
            return Err(ArgumentError::BothKinds(*address));
        }
        match plain
            .iter()
            .chain(&tls)
            .find(|address| admin.address == Some(**address))
        {
            Some(address) => Err(ArgumentError::AdminAddress(*address)),
            None => Ok(()),
        }
    }

    /// Whether no two source addresses overlap, each leads to an endpoint and each endpoint has one; a host name may be
    /// of any family.
    fn check_sources(&self) -> Result<(), ArgumentError> {
        for (index, source) in self.source.iter().enumerate() {
            if let Some(other) = self.source[..index].iter().find(|other| other.overlaps(source)) {
                return Err(ArgumentError::Overlap(*other, *source));
            }
        }
        let fits = |source: &SourceAddress, endpoint: &Endpoint| {
            endpoint
                .ip()
                .is_none_or(|address| address.is_ipv6() == source.is_ipv6())
        };
        let useless = |source: &&SourceAddress| !self.to.iter().any(|endpoint| fits(source, endpoint));
        if let Some(source) = self.source.iter().find(useless) {
            return Err(ArgumentError::UselessSource(*source));
        }
        let unreachable = |endpoint: &&Endpoint| !self.source.iter().any(|source| fits(source, endpoint));
        match self.to.iter().find(unreachable) {
            Some(endpoint) if !self.source.is_empty() => Err(ArgumentError::Unreachable(endpoint.clone())),
            _ => Ok(()),
        }
    }
}

fn check_twice<T: Display + Eq + Hash>(argument: &'static str, values: &[T]) -> Result<(), ArgumentError> {
    let mut seen = HashSet::new();
    match values.iter().find(|value| !seen.insert(*value)) {
        Some(value) => Err(ArgumentError::Twice {
            argument,
            value: value.to_string(),
        }),
        None => Ok(()),
    }
}

/// Listeners called `name`, `name-2`, `name-3`, ...
fn named_listeners(name: &str, addresses: &[SocketAddr]) -> Vec<Listener> {
    let name_of = |index| match index {
        0 => name.to_owned(),
        _ => format!("{name}-{}", index + 1),
    };
    let named = addresses.iter().enumerate();
    named
        .map(|(index, address)| Listener::new(name_of(index), *address))
        .collect()
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use tempfile::NamedTempFile;

    use super::*;
    use crate::cli::Command;

    fn parse(line: &str) -> Result<ProxyArgs, clap::Error> {
        let words = ["forebay", "proxy"].into_iter().chain(line.split_whitespace());
        Cli::try_parse_from(words).map(|cli| match cli.command {
            Command::Proxy(args) => args,
            other => panic!("{other:?}"),
        })
    }

    fn config(line: &str) -> Config {
        parse(line).unwrap().config().unwrap()
    }

    fn wrong(line: &str) -> ArgumentError {
        parse(line).unwrap().config().unwrap_err()
    }

    fn listening(config: &Config) -> Vec<(&str, String)> {
        let listeners = config.listeners.iter();
        listeners
            .map(|listener| (listener.name.as_str(), listener.address.to_string()))
            .collect()
    }

    #[test]
    fn an_address_and_an_endpoint_are_enough() {
        let mut expected = Config {
            listeners: vec![Listener::new("http", ([0, 0, 0, 0], 8080).into())],
            routes: vec![Route::forward_all("main")],
            ..Config::default()
        };
        let endpoint = "10.0.0.11:9000".parse().unwrap();
        expected.clusters.insert("main".into(), Cluster::new(vec![endpoint]));
        assert_eq!(config("--listen :8080 --to 10.0.0.11:9000"), expected);
    }

    #[test]
    fn repetition_and_commas_are_the_same() {
        let rest = "--to 10.0.0.1:1,10.0.0.2:2 --to app:3 --source 10.1.0.1,10.9.0.0/24";
        let config = config(&format!("--listen :1 --listen :2,[::1]:3 {rest}"));
        let expected = [("http", "0.0.0.0:1"), ("http-2", "0.0.0.0:2"), ("http-3", "[::1]:3")];
        assert_eq!(
            listening(&config),
            expected.map(|(name, address)| (name, address.to_owned()))
        );
        let cluster = &config.clusters["main"];
        let endpoints: Vec<_> = cluster.endpoints.iter().map(ToString::to_string).collect();
        assert_eq!(endpoints, ["10.0.0.1:1", "10.0.0.2:2", "app:3"]);
        let sources: Vec<_> = cluster.source.addresses.iter().map(ToString::to_string).collect();
        assert_eq!(sources, ["10.1.0.1", "10.9.0.0/24"]);
    }

    #[test]
    fn flags_set_what_they_name() {
        let plain = "--listen :1 --to a:1";
        let config = config(&format!("{plain} --no-pool --workers 3 --admin off"));
        assert_eq!(config.clusters["main"].pool.max_idle, 0);
        assert_eq!(config.process.workers, NonZeroUsize::new(3));
        assert_eq!(config.admin.address, None);
        let admin = self::config(&format!("{plain} --admin :99")).admin.address;
        assert_eq!(admin, Some(([0, 0, 0, 0], 99).into()));
    }

    #[test]
    fn a_listener_with_tls_has_every_certificate() {
        let file = NamedTempFile::new().unwrap();
        let path = file.path().display();
        let pair = format!("--cert {path} --key {path}");
        let config = config(&format!("--tls-listen :443 {pair} {pair} --to a:1"));
        assert_eq!(listening(&config), [("https", "0.0.0.0:443".to_owned())]);
        let certificate = Certificate {
            chain: file.path().to_owned(),
            key: file.path().to_owned(),
        };
        let tls = config.listeners[0].tls.as_ref().unwrap();
        assert_eq!(*tls, Tls::new(vec![certificate.clone(), certificate]));
    }

    #[test]
    fn the_printed_config_says_the_same() {
        let file = NamedTempFile::new().unwrap();
        let path = file.path().display();
        for line in [
            "--listen :8080 --to 10.0.0.11:9000",
            "--listen 127.0.0.1:0,127.0.0.1:0 --to [::1]:1,app:2 --source ::1,fd00:1::/64 --workers 2 --no-pool --admin off",
            &format!("--listen :1 --tls-listen :2 --tls-listen :3 --cert {path} --key {path} --to a:1 --admin [::1]:9"),
        ] {
            let config = config(line);
            assert_eq!(config::parse(&config.to_toml(), "printed").unwrap(), config, "{line}");
        }
    }

    #[test]
    fn what_is_missing_is_refused() {
        let file = NamedTempFile::new().unwrap();
        let path = file.path().display().to_string();
        for line in [
            "--listen :1",
            "--to a:1",
            "--tls-listen :1 --to a:1",
            &format!("--tls-listen :1 --cert {path} --to a:1"),
            &format!("--listen :1 --cert {path} --key {path} --to a:1"),
        ] {
            let error = parse(line).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::MissingRequiredArgument, "{line}: {error}");
        }
    }

    #[test]
    fn a_wrong_value_is_refused_with_its_argument() {
        for (line, argument, reason) in [
            ("--listen 8080 --to a:1", "--listen", "\":8080\""),
            ("--listen :1 --to a", "--to", "add the port"),
            ("--listen :1 --to a:1,", "--to", "write host and port"),
            ("--listen :1 --to a:1 --source 10.0.0.1:1", "--source", "without port"),
            (
                "--listen :1 --to a:1 --source 10.9.0.7/24",
                "--source",
                "\"10.9.0.0/24\"",
            ),
            ("--listen :1 --to a:1 --admin on", "--admin", "127.0.0.1:8080"),
            ("--listen :1 --to a:1 --workers 0", "--workers", "1..=1024"),
            ("--tls-listen :1 --cert /nonexistent --to a:1", "--cert", "No such file"),
        ] {
            let error = parse(line).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ValueValidation, "{line}: {error}");
            let shown = error.to_string();
            assert!(shown.contains(argument) && shown.contains(reason), "{line}: {shown}");
        }
    }

    #[test]
    fn arguments_that_contradict_each_other_are_refused() {
        let file = NamedTempFile::new().unwrap();
        let pair = format!("--cert {0} --key {0}", file.path().display());
        let twice = |argument, value: &str| ArgumentError::Twice {
            argument,
            value: value.to_owned(),
        };
        let v4 = || "10.0.0.1:1".parse().unwrap();
        for (line, error) in [
            ("--listen :1,:1 --to a:1".to_owned(), twice("listen", "0.0.0.0:1")),
            ("--listen :1 --to a:1,A:1".to_owned(), twice("to", "a:1")),
            (
                "--listen :1 --to a:1 --source ::1,::1".to_owned(),
                twice("source", "::1"),
            ),
            (
                "--listen :1 --to a:1 --source 10.9.0.7,10.9.0.0/24".to_owned(),
                ArgumentError::Overlap("10.9.0.7".parse().unwrap(), "10.9.0.0/24".parse().unwrap()),
            ),
            (
                format!("--listen :1 --tls-listen :1 {pair} --to a:1"),
                ArgumentError::BothKinds(([0, 0, 0, 0], 1).into()),
            ),
            (
                "--listen 127.0.0.1:9900 --to a:1".to_owned(),
                ArgumentError::AdminAddress(([127, 0, 0, 1], 9900).into()),
            ),
            (
                format!("--tls-listen :1 {pair} --cert {} --to a:1", file.path().display()),
                ArgumentError::Unpaired {
                    certificates: 2,
                    keys: 1,
                },
            ),
            (
                "--listen :1 --to 10.0.0.1:1 --source ::1".to_owned(),
                ArgumentError::UselessSource("::1".parse().unwrap()),
            ),
            (
                "--listen :1 --to 10.0.0.1:1,[::1]:1 --source ::1".to_owned(),
                ArgumentError::Unreachable(v4()),
            ),
        ] {
            assert_eq!(wrong(&line), error, "{line}");
        }
    }

    #[test]
    fn a_contradiction_is_shown_with_the_usage_of_the_command() {
        let shown = usage_error(wrong("--listen :1,:1 --to a:1")).to_string();
        assert!(shown.contains("--listen has 0.0.0.0:1 twice"), "{shown}");
        assert!(shown.contains("Usage: forebay proxy"), "{shown}");
    }
}
