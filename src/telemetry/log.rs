//! What the process says of itself: text lines on standard error.

use std::{io::IsTerminal, sync::OnceLock};

use tracing_subscriber::{EnvFilter, Registry, layer::SubscriberExt, reload, util::SubscriberInitExt};

/// How much is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

impl Level {
    /// The filter for this level. The libraries below us stay at `warn`: at `debug` they log every frame, which
    /// buries what was asked for. Those that speak HTTP stay at `error`: they warn of what clients and endpoints do, as
    /// often as they do it. `RUST_LOG` gets at them.
    fn directives(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn,h2=error,hyper=error",
            Self::Info => "warn,h2=error,hyper=error,forebay=info",
            Self::Debug => "warn,h2=error,hyper=error,forebay=debug",
            Self::Trace => "warn,h2=error,hyper=error,forebay=trace",
        }
    }
}

/// The way to change the level while the process runs.
#[derive(Debug, Clone)]
pub struct LogHandle {
    filter: reload::Handle<EnvFilter, Registry>,
    source: FilterSource,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum FilterSource {
    /// `RUST_LOG` is set, and wins over any level.
    Environment,
    Level,
}

impl LogHandle {
    /// Says more or less from now on; without effect where `RUST_LOG` is set.
    pub fn set_level(&self, level: Level) {
        if self.source == FilterSource::Level {
            // The only error is that somebody else's subscriber was installed first and ours is gone: then there is
            // nothing to filter.
            let _ = self.filter.reload(EnvFilter::new(level.directives()));
        }
    }
}

/// Starts the log on standard error at `level`, or as `RUST_LOG` says where it is set. Coloured on a terminal only.
///
/// May be called again (by a second proxy in the same process): that only sets the level. Where another subscriber is
/// already installed, that one stays.
pub fn init(level: Level) -> LogHandle {
    static LOG: OnceLock<LogHandle> = OnceLock::new();
    let log = LOG.get_or_init(|| install(level));
    log.set_level(level);
    log.clone()
}

fn install(level: Level) -> LogHandle {
    let wish = std::env::var(EnvFilter::DEFAULT_ENV).ok();
    let (filter, source, problem) = choose(level, wish.as_deref());
    let (filter, handle) = reload::Layer::new(filter);
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    // Not the first one to install a subscriber, for example under a test's own: see `init`.
    let _ = tracing_subscriber::registry().with(filter).with(lines).try_init();
    if let Some(problem) = problem {
        tracing::warn!("RUST_LOG is ignored: {problem}");
    }
    LogHandle { filter: handle, source }
}

/// The filter to begin with, where it comes from, and what is wrong with `wish`.
fn choose(level: Level, wish: Option<&str>) -> (EnvFilter, FilterSource, Option<String>) {
    let wish = wish.filter(|wish| !wish.trim().is_empty());
    match wish.map(|wish| EnvFilter::builder().parse(wish)) {
        Some(Ok(filter)) => (filter, FilterSource::Environment, None),
        Some(Err(e)) => (
            EnvFilter::new(level.directives()),
            FilterSource::Level,
            Some(e.to_string()),
        ),
        None => (EnvFilter::new(level.directives()), FilterSource::Level, None),
    }
}

#[cfg(test)]
mod tests {
    use tracing::level_filters::LevelFilter;

    use super::*;

    #[test]
    fn every_level_is_a_valid_filter() {
        for level in [Level::Error, Level::Warn, Level::Info, Level::Debug, Level::Trace] {
            let filter = EnvFilter::builder().parse(level.directives()).unwrap();
            let expected = format!("{level:?}").to_uppercase();
            assert_eq!(filter.max_level_hint().unwrap().to_string().to_uppercase(), expected);
        }
    }

    #[test]
    fn the_environment_wins_over_the_level() {
        let (filter, source, problem) = choose(Level::Error, Some("trace"));
        assert_eq!(filter.max_level_hint(), Some(LevelFilter::TRACE));
        assert_eq!(source, FilterSource::Environment);
        assert_eq!(problem, None);
    }

    #[test]
    fn an_empty_or_wrong_environment_leaves_the_level() {
        for (wish, wrong) in [(None, false), (Some(" "), false), (Some("forebay=loud"), true)] {
            let (filter, source, problem) = choose(Level::Error, wish);
            assert_eq!(filter.max_level_hint(), Some(LevelFilter::ERROR));
            assert_eq!((source, problem.is_some()), (FilterSource::Level, wrong), "{wish:?}");
        }
    }

    #[test]
    fn the_level_changes_while_running_and_init_may_be_repeated() {
        let (filter, handle) = reload::Layer::new(EnvFilter::new(Level::Warn.directives()));
        let log = LogHandle {
            filter: handle,
            source: FilterSource::Level,
        };
        let subscriber = tracing_subscriber::registry().with(filter);
        tracing::subscriber::with_default(subscriber, || {
            assert!(!tracing::enabled!(target: "forebay", tracing::Level::DEBUG));
            log.set_level(Level::Debug);
            assert!(tracing::enabled!(target: "forebay", tracing::Level::DEBUG));
            assert!(!tracing::enabled!(target: "h2", tracing::Level::DEBUG));
        });
        init(Level::Error);
        init(Level::Error).set_level(Level::Warn);
    }

    #[test]
    fn the_environment_is_not_overruled_by_a_reload() {
        let (filter, handle) = reload::Layer::new(EnvFilter::new("error"));
        let log = LogHandle {
            filter: handle,
            source: FilterSource::Environment,
        };
        let subscriber = tracing_subscriber::registry().with(filter);
        tracing::subscriber::with_default(subscriber, || {
            log.set_level(Level::Trace);
            assert!(!tracing::enabled!(target: "forebay", tracing::Level::WARN));
        });
    }
}
