//! The command line: what each command is told, and how its ending is shown.
//!
//! Exit codes: 0 fine, 1 something failed while running, 2 wrong usage or a config with problems. Errors are printed
//! here and nowhere else, once, with all that led to them.

mod bench;
mod check;
mod demo;
pub mod endpoint;
mod output;
mod proxy;
mod run;
mod value;
mod words;

use std::{
    error::Error,
    io::{self, IsTerminal, Write},
    iter,
    path::{Path, PathBuf},
    process::{self, ExitCode},
    thread,
};

use clap::{Parser, Subcommand};

use self::output::{check_writable, is_standard_output, print, write_file};
use crate::{
    bench::{
        children::ENDS_WITH_STDIN,
        exhaust::{ExhaustError, inside::InsideError},
        experiment::ExperimentError,
    },
    config::{self, Config, LoadError, Problems, Rendering},
    server::{self, ServerError},
    tls::{ServerTls, TlsError},
};

/// A reverse proxy that forwards requests over pooled, long-lived connections
///
/// Client connections end here, under one keep-alive policy; their requests go to the endpoints over connections that
/// are kept and used again, so that no client can wear the endpoints out with connections.
#[derive(Debug, Parser)]
#[command(name = "forebay", version, subcommand_required = true, after_help = EXAMPLES)]
struct Cli {
    /// End when standard input does, as the processes that `bench` starts
    #[arg(long = ENDS_WITH_STDIN, hide = true)]
    ends_with_stdin: bool,
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Examples:
  forebay demo
      Three endpoints, a proxy before them, and what to try
  forebay proxy --listen :8080 --to 10.0.0.11:9000,10.0.0.12:9000
      A proxy without a file
  forebay proxy --listen :8080 --to 10.0.0.11:9000 --print-config > forebay.toml
      The file that says the same
  forebay check forebay.toml && forebay run --config forebay.toml
      A proxy from a file";

#[derive(Debug, Subcommand)]
enum Command {
    Run(run::RunArgs),
    Proxy(proxy::ProxyArgs),
    Check(check::CheckArgs),
    Endpoint(endpoint::EndpointArgs),
    Demo(demo::DemoArgs),
    Bench(Box<bench::BenchArgs>),
}

/// Why a command did not end well.
#[derive(Debug, thiserror::Error)]
enum CommandError {
    #[error(transparent)]
    Usage(#[from] clap::Error),
    #[error(transparent)]
    Load(#[from] LoadError),
    #[error("{} of the listeners cannot speak TLS", .0.len())]
    Listeners(Vec<ListenerError>),
    #[error("{} of the source addresses cannot be used", .0.len())]
    Sources(Vec<check::SourceError>),
    #[error("cannot write to standard output")]
    Output(#[source] io::Error),
    #[error("cannot write {}", file.display())]
    File { file: PathBuf, source: io::Error },
    #[error("signals cannot be listened to")]
    Signals(#[source] io::Error),
    #[error(transparent)]
    Exhaust(#[from] ExhaustError),
    #[error(transparent)]
    Experiment(#[from] ExperimentError),
    #[error(transparent)]
    ExhaustInside(#[from] InsideError),
    #[error(transparent)]
    Server(#[from] ServerError),
    #[error(transparent)]
    Endpoint(#[from] endpoint::EndpointError),
    #[error(transparent)]
    Demo(#[from] demo::DemoError),
}

/// What a config's own text does not show: the files that it names cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("the listener `{}` cannot speak TLS", name.escape_debug())]
struct ListenerError {
    name: String,
    source: TlsError,
}

/// Runs the command that the process was started with, to its end.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    if cli.ends_with_stdin {
        thread::spawn(end_with_stdin);
    }
    match execute(cli.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            error.print();
            error.exit_code()
        }
    }
}

/// Reads standard input to its end, which is the end of the process that has started this one.
fn end_with_stdin() {
    let _ = io::copy(&mut io::stdin().lock(), &mut io::sink());
    // Nobody is left who could want anything finished.
    process::exit(0);
}

fn execute(command: Command) -> Result<(), CommandError> {
    match command {
        Command::Run(args) => run::run(&args),
        Command::Proxy(args) => proxy::run(&args),
        Command::Check(args) => check::run(&args),
        Command::Endpoint(args) => Ok(endpoint::run(args)?),
        Command::Demo(args) => Ok(demo::run(&args)?),
        Command::Bench(args) => bench::run(*args),
    }
}

impl CommandError {
    fn print(&self) {
        match self {
            // In clap's own form, with the usage and with colours where they are wanted.
            Self::Usage(error) => {
                let _ = error.print();
            }
            Self::Load(LoadError::Problems(problems)) => print_problems(problems),
            Self::Listeners(errors) => errors.iter().for_each(|error| print_error(error)),
            Self::Sources(errors) => errors.iter().for_each(|error| print_error(error)),
            other => print_error(other),
        }
    }

    fn exit_code(&self) -> ExitCode {
        match self {
            Self::Usage(_) | Self::Load(_) | Self::Listeners(_) | Self::Sources(_) => ExitCode::from(2),
            Self::Output(_)
            | Self::File { .. }
            | Self::Signals(_)
            | Self::Exhaust(_)
            | Self::Experiment(_)
            | Self::ExhaustInside(_)
            | Self::Server(_)
            | Self::Endpoint(_)
            | Self::Demo(_) => ExitCode::from(1),
        }
    }
}

fn print_error(error: &dyn Error) {
    eprint_line(&format!("forebay: {}", chain(error)));
}

fn print_problems(problems: &Problems) {
    let has_colours = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let rendering = if has_colours {
        Rendering::Colored
    } else {
        Rendering::Plain
    };
    let count = counted(problems.iter().count(), "problem");
    eprint_line(&format!("{}\n", problems.render(rendering)));
    eprint_line(&format!("forebay: {}: {count}", problems.file()));
}

/// Writes to standard error; nobody can be told if that fails.
fn eprint_line(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}

/// An error with all that led to it, on one line.
fn chain(error: &dyn Error) -> String {
    let levels: Vec<_> = iter::successors(Some(error), |&error| error.source())
        .map(ToString::to_string)
        .collect();
    levels.join(": ")
}

/// `1 route`, `2 routes`.
fn counted(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

/// The config of `file`, of which nothing is known to keep a proxy from running it.
fn load(file: &Path) -> Result<Config, CommandError> {
    let config = config::load(file)?;
    check_certificates(&config)?;
    check::check_sources(&config).map_err(CommandError::Sources)?;
    Ok(config)
}

/// Reads the certificates of every listener.
fn check_certificates(config: &Config) -> Result<(), CommandError> {
    let errors: Vec<_> = config
        .listeners
        .iter()
        .filter_map(|listener| {
            let source = ServerTls::new(listener.tls.as_ref()?, None).err()?;
            let name = listener.name.clone();
            Some(ListenerError { name, source })
        })
        .collect();
    if errors.is_empty() {
        Ok(())
    } else {
        Err(CommandError::Listeners(errors))
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_contradicts_itself_nowhere() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_is_described_in_the_help() {
        let help = Cli::command().render_help().to_string();
        for command in ["run", "proxy", "check", "endpoint", "demo", "bench"] {
            let described = help.lines().any(|line| {
                let mut words = line.split_whitespace();
                words.next() == Some(command) && words.next().is_some()
            });
            assert!(described, "{command} in {help}");
        }
    }

    #[test]
    fn an_error_is_one_line_with_its_sources() {
        let missing = config::load(Path::new("/nonexistent/forebay.toml")).unwrap_err();
        let error = CommandError::from(missing);
        assert_eq!(
            chain(&error),
            "cannot read /nonexistent/forebay.toml: No such file or directory (os error 2)"
        );
        assert_eq!(error.exit_code(), ExitCode::from(2));
    }

    #[test]
    fn every_listener_without_usable_certificates_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let (empty, file) = (folder.path().join("empty.pem"), folder.path().join("forebay.toml"));
        std::fs::write(&empty, "").unwrap();
        let listener = |name: &str, port: u16| {
            format!(
                "[[listener]]\nname = \"{name}\"\naddress = \":{port}\"\n\
                 tls = {{ certificates = [{{ chain = \"empty.pem\", key = \"empty.pem\" }}] }}\n"
            )
        };
        let rest = "[[route]]\ncluster = \"a\"\n[cluster.a]\nendpoints = [\"10.0.0.1:80\"]\n";
        std::fs::write(&file, listener("one", 1) + &listener("two", 2) + rest).unwrap();
        let error = load(&file).unwrap_err();
        assert_eq!(error.exit_code(), ExitCode::from(2));
        let CommandError::Listeners(errors) = error else {
            panic!("{error:?}")
        };
        let shown: Vec<_> = errors.iter().map(|error| chain(error)).collect();
        let because = format!("{} holds no certificate", empty.display());
        assert_eq!(
            shown,
            ["one", "two"].map(|name| format!("the listener `{name}` cannot speak TLS: {because}"))
        );
    }

    #[test]
    fn nouns_follow_their_number() {
        assert_eq!(
            [0, 1, 2].map(|count| counted(count, "route")),
            ["0 routes", "1 route", "2 routes"]
        );
    }
}
