//! The composition root: what is started, in which order, and what ends it.
//!
//! The control thread is the one that calls [`run`]. It reloads, probes, serves the admin listener and hears signals; no
//! request of a client ever waits for it.

mod files;
mod listeners;
mod lookout;
mod probes;
mod signals;
mod work;

use std::{io, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use files::{About, Files};
use listeners::{Bound, ListenError};
use probes::Probes;
use signals::{Event, Signals};
use tokio::runtime::{Builder, LocalOptions};
use work::Crew;

use crate::{
    admin::{self, Phase},
    config::{self, Config},
    health, net,
    pool::CloseReason,
    reload::{self, Source},
    snapshot::{self, BuildError, Snapshot},
    telemetry::{
        log::{self, LogHandle},
        recorder,
    },
    worker,
};

/// The metric of reloads, by `outcome`.
const RELOADS: &str = "forebay_reload_total";

/// How long tunnels may take to end once they are told to.
const CUT_WAIT: Duration = Duration::from_millis(250);

/// Why the proxy could not start.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    #[error("the runtime of the control thread could not be made")]
    Runtime(#[source] io::Error),
    #[error("the workers could not be started")]
    Workers(#[source] io::Error),
    #[error("the signals could not be watched")]
    Signals(#[source] io::Error),
    #[error("the config cannot be put in force")]
    Build(#[from] BuildError),
    #[error(transparent)]
    Listen(#[from] ListenError),
    #[error("the admin listener cannot be bound to {0}; `address` of [admin] or --admin chooses another, or \"off\"")]
    Admin(SocketAddr, #[source] io::Error),
    #[error("the config file cannot be read")]
    Source(#[source] io::Error),
}

/// Runs the proxy until it is told to end and has drained. Prints on standard output what listens where, and then
/// `ready`. With a `file`, which `config` came from, it reloads on SIGHUP and when the file changes. `warnings` of what
/// on this machine stands against the config are logged at the start.
///
/// # Errors
/// What kept it from starting. Once it runs, nothing but a signal ends it.
pub fn run(config: Config, file: Option<PathBuf>, warnings: &[String]) -> Result<(), ServerError> {
    let log = log::init(level(config.log.level));
    for warning in config::warnings(&config).iter().chain(warnings) {
        tracing::warn!("{warning}");
    }
    if let Err(error) = net::sockopt::use_small_pages() {
        tracing::debug!(%error, "the kernel may use huge pages");
    }
    let runtime = Builder::new_current_thread()
        .enable_all()
        .build_local(LocalOptions::default())
        .map_err(ServerError::Runtime)?;
    runtime.block_on(async move {
        let mut control = Control::start(config, file, log).await?;
        control.announce();
        control.serve().await;
        control.drain().await;
        Ok(())
    })
}

/// What the control thread holds.
struct Control {
    snapshots: Arc<ArcSwap<Snapshot>>,
    crew: Crew,
    bound: Vec<Bound>,
    probes: Probes,
    admin: Arc<admin::State>,
    admin_address: Option<SocketAddr>,
    signals: Signals,
    source: Option<Source>,
    files: Files,
    log: LogHandle,
}

impl Control {
    async fn start(config: Config, file: Option<PathBuf>, log: LogHandle) -> Result<Self, ServerError> {
        // Before anything that counts.
        let recorder = recorder::install();
        describe_metrics();
        // Before anything that takes long, so that a signal during the start is not missed.
        let signals = Signals::new().map_err(ServerError::Signals)?;
        // A refusal shows in what can be opened, and the operator has been warned of that.
        let _ = net::sockopt::raise_open_file_limit();
        let workers = config.process.workers.unwrap_or_else(worker::available).get();
        let config = Arc::new(config);
        let source = file.map(Source::new).transpose().map_err(ServerError::Source)?;
        let mut files = Files::default();
        files.watch(&config, source.as_ref());
        let snapshot = Arc::new(Snapshot::build(Arc::clone(&config), None, workers).await?);
        let bound = listeners::bind_all(&config, workers)?;
        let snapshots = Arc::new(ArcSwap::from(Arc::clone(&snapshot)));
        let crew = Crew::start(workers, &snapshots).map_err(ServerError::Workers)?;
        let admin = admin::State::new(Arc::clone(&snapshots), Arc::clone(&crew.board), recorder);
        let admin_address = match config.admin.address {
            Some(address) => {
                let started = admin::start(Arc::clone(&admin), address);
                Some(started.map_err(|error| ServerError::Admin(address, error))?)
            }
            None => None,
        };
        let mut probes = Probes::default();
        probes.set(&snapshot);
        lookout::start(&snapshot.ports);
        let bound = bound
            .into_iter()
            .map(|(bound, sockets)| bound.listen(&crew, sockets))
            .collect();
        Ok(Self {
            snapshots,
            crew,
            bound,
            probes,
            admin,
            admin_address,
            signals,
            source,
            files,
            log,
        })
    }

    fn announce(&self) {
        for bound in &self.bound {
            let scheme = if bound.config.tls.is_some() { "https" } else { "http" };
            println!(
                "listening on {} ({scheme}, listener {})",
                bound.listener.address, bound.listener.name
            );
        }
        if let Some(address) = self.admin_address {
            println!("admin on {address}");
        }
        println!("ready");
        self.tell_admin();
        self.admin.set_phase(Phase::Ready);
    }

    /// Until a signal says that it is over.
    async fn serve(&mut self) {
        loop {
            let resolve_interval = self.snapshots.load().resolve_interval();
            let resolve = async {
                match resolve_interval {
                    Some(interval) => tokio::time::sleep(interval).await,
                    None => std::future::pending().await,
                }
            };
            let event = tokio::select! {
                event = self.signals.next() => event,
                () = resolve => {
                    self.resolve().await;
                    continue;
                }
                () = self.files.changed() => {
                    self.look_at_files().await;
                    continue;
                }
            };
            match event {
                Event::End => return,
                Event::Reload => {
                    self.reload().await;
                    self.watch_files();
                }
                Event::ReopenLog => self.reopen_access_log(),
            }
        }
    }

    /// Looks the names of endpoints up again.
    async fn resolve(&mut self) {
        let running = self.snapshots.load_full();
        let workers = self.crew.board.workers();
        match Snapshot::build(Arc::clone(&running.config), Some(&running), workers).await {
            Ok(snapshot) if !snapshot.has_same_endpoints(&running) => {
                tracing::info!("the addresses of endpoints have changed");
                self.put_in_force(&running, Arc::new(snapshot));
            }
            Ok(_) => self.files.settle_clusters(),
            Err(error) => {
                let text = chain(&error);
                let about = match error {
                    BuildError::Tls(..) => About::ClusterFiles,
                    _ => About::Clusters,
                };
                if self.files.is_new(about, text.clone()) {
                    tracing::warn!("the endpoints stay as they were: {text}");
                }
            }
        }
    }

    fn put_in_force(&mut self, running: &Snapshot, snapshot: Arc<Snapshot>) {
        self.files.settle_clusters();
        snapshot.apply_policies();
        self.snapshots.store(Arc::clone(&snapshot));
        self.probes.set(&snapshot);
        reload::retire(running, &snapshot);
    }

    async fn reload(&mut self) {
        let Some(source) = &mut self.source else {
            tracing::warn!("there is no config file to reload: the proxy was started from the command line");
            return;
        };
        source.has_changed();
        let running = self.snapshots.load_full();
        let workers = self.crew.board.workers();
        let prepared = match reload::prepare(source, &running, workers).await {
            Ok(snapshot) => snapshot,
            Err(error) => return self.refuse(&error),
        };
        let planned = match listeners::plan(&self.bound, &prepared.config, workers) {
            Ok(planned) => planned,
            Err(error) => return self.refuse(&error),
        };
        warn_of_fixed(&running.config, &prepared.config);
        let snapshot = Arc::new(prepared);
        self.put_in_force(&running, Arc::clone(&snapshot));
        self.bound = planned.carry_out(std::mem::take(&mut self.bound), &self.crew);
        self.log.set_level(level(snapshot.config.log.level));
        self.tell_admin();
        metrics::counter!(RELOADS, "outcome" => "applied").increment(1);
        self.admin.note_reload(Ok(()));
        tracing::info!(generation = snapshot.generation, "reloaded {}", self.source_name());
    }

    /// Says why a reload is refused; what runs is untouched.
    fn refuse(&self, error: &(dyn std::error::Error + 'static)) {
        let text = chain(error);
        let file = self.source_name();
        tracing::error!("reload refused, the config before stays in force: {file}: {text}");
        metrics::counter!(RELOADS, "outcome" => "refused").increment(1);
        self.admin.note_reload(Err(text));
    }

    fn source_name(&self) -> String {
        self.source
            .as_ref()
            .map_or_else(String::new, |source| source.path().display().to_string())
    }

    fn tell_admin(&self) {
        let listening = |bound: &Bound| admin::Listening {
            listener: Arc::clone(&bound.listener),
            tls: bound.tls.clone(),
        };
        self.admin.set_listeners(self.bound.iter().map(listening).collect());
    }

    fn reopen_access_log(&self) {
        if let Some(log) = &self.snapshots.load().access_log
            && let Err(error) = log.reopen()
        {
            tracing::error!(%error, "the access log cannot be opened anew and goes on in the old file");
        }
    }

    /// Takes no new clients, closes the idle ones, lets running requests end, and closes upstream connections without
    /// TIME_WAIT. A second signal ends the process at once.
    async fn drain(mut self) {
        self.admin.set_phase(Phase::Draining);
        let snapshot = self.snapshots.load_full();
        let timeout = snapshot.config.process.drain_timeout;
        tracing::info!("draining for at most {}", config::format_duration(timeout));
        self.crew.drain();
        tokio::select! {
            () = self.crew.ended() => tracing::info!("drained"),
            () = tokio::time::sleep(timeout) => {
                tracing::warn!("the drain timeout has passed: what still runs is cut");
                self.crew.cut();
                // Tunnels end at once, and are written into the log; nothing else is waited for.
                let _ = tokio::time::timeout(CUT_WAIT, self.crew.ended()).await;
            }
            () = self.signals.end() => {
                tracing::warn!("ended by a second signal");
                std::process::exit(1);
            }
        }
        for (_, endpoint) in snapshot.endpoints() {
            endpoint.close(CloseReason::Drain);
        }
        if let Some(log) = &snapshot.access_log {
            log.flush(Duration::from_secs(1));
        }
    }
}

/// So that the metrics page tells what is counted rarely before it happens for the first time.
fn describe_metrics() {
    metrics::describe_counter!(RELOADS, "Reloads by outcome.");
    // Both are known, and a rate needs the 0 before the first.
    for outcome in ["applied", "refused"] {
        metrics::counter!(RELOADS, "outcome" => outcome).increment(0);
    }
    files::describe_metrics();
    health::describe_metrics();
    snapshot::describe_metrics();
}

/// What a reload cannot change.
fn warn_of_fixed(running: &Config, new: &Config) {
    if running.process.workers != new.process.workers {
        tracing::warn!("`workers` of [process] takes effect at the next start");
    }
    if running.admin != new.admin {
        tracing::warn!("`address` of [admin] takes effect at the next start");
    }
}

fn level(level: config::LogLevel) -> log::Level {
    match level {
        config::LogLevel::Error => log::Level::Error,
        config::LogLevel::Warn => log::Level::Warn,
        config::LogLevel::Info => log::Level::Info,
        config::LogLevel::Debug => log::Level::Debug,
        config::LogLevel::Trace => log::Level::Trace,
    }
}

/// An error with its causes, in one line each.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::{Page, Recorder};

    #[test]
    fn what_is_counted_rarely_is_described_from_the_start() {
        let recorder = Recorder::new();
        metrics::with_local_recorder(&recorder, describe_metrics);
        let mut page = Page::new();
        recorder.render_into(&mut page);
        let page = page.render();
        for line in [
            "# HELP forebay_reload_total Reloads by outcome.",
            "forebay_reload_total{outcome=\"applied\"} 0",
            "forebay_reload_total{outcome=\"refused\"} 0",
            "# TYPE forebay_discovery_lookup_failures_total counter",
            "# TYPE forebay_health_changes_total counter",
        ] {
            assert!(page.lines().any(|each| each == line), "no {line:?} in {page}");
        }
    }
}
