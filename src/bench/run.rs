//! One subject under load for a while, with all that is looked at meanwhile.

use std::{num::NonZeroUsize, sync::mpsc, thread, time::Duration};

use tokio::time::Instant;

use super::{
    counters,
    cpu::cpu_time,
    display::Display,
    experiment::{Experiment, ExperimentError, Run, TIMEOUT},
    figures::{Figures, Latency},
    load::{self, Clients, Encryption, Load, LoadError, Outcome, Progress, Protocol, Stop},
    sockets::{Lookout, Sockets},
    subject::{Stage, Subject},
};

/// The longest and the shortest distance of two looks. A look takes 10 ms where an experiment has left 30,000 sockets in
/// TIME_WAIT, which is 5 % of the shortest distance.
const LOOKS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_millis(200));

/// Looks in a run, if these bounds allow.
const LOOKS_PER_RUN: u32 = 10;

/// Where a run stands in the experiment.
#[derive(Debug)]
pub struct Place<'a> {
    pub begun: Instant,
    /// What lies behind it, without starts and ends.
    pub done: Duration,
    pub display: &'a Display,
}

/// What was to be seen at one moment of a run.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Moment {
    /// Since the begin of the experiment.
    pub at: Duration,
    /// Since the begin of the run, without its warm-up.
    pub into_run: Duration,
    /// Since the last moment.
    pub requests_per_second: f64,
    /// `None` where the kernel could not be asked.
    pub sockets: Option<Sockets>,
}

/// CPU time and counters at one moment, to be subtracted.
#[derive(Debug, Clone, Copy)]
struct Reading {
    proxy_cpu: Option<Duration>,
    endpoint_cpu: Option<Duration>,
    load_cpu: Option<Duration>,
    proxy: Option<counters::Counters>,
}

/// Warms up, measures, and gives what came of it; `None` if it was stopped before anything was answered.
pub fn measure(
    experiment: &Experiment,
    stage: &mut Stage,
    round: usize,
    place: &Place<'_>,
    stop: &Stop,
) -> Result<Option<Run>, ExperimentError> {
    if experiment.shares_endpoints() {
        // Where the kernel cannot be asked, it cannot be asked later either, and nothing will be counted.
        let _ = stage.lookout.disregard_the_present();
    }
    let subject = stage.subject;
    let failed = |error| ExperimentError::Load(subject, error);
    if !experiment.warmup.is_zero() {
        let loads = loads(experiment, stage, experiment.warmup);
        apply(&loads, &Progress::new(), stop).map_err(failed)?;
    }
    if stop.is_stopped() {
        return Ok(None);
    }
    let before = Reading::take(stage)?;
    let progress = Progress::new();
    let loads = loads(experiment, stage, experiment.traffic.duration);
    let watch = Watch {
        lookout: &stage.lookout,
        progress: &progress,
        place,
        warmup: experiment.warmup,
        interval: interval(experiment.traffic.duration),
    };
    let (outcome, moments) = watch.during(|| apply(&loads, &progress, stop));
    let outcome = outcome.map_err(failed)?;
    let after = Reading::take(stage)?;
    if stop.is_stopped() && outcome.answered == 0 {
        return Ok(None);
    }
    Ok(Some(Run {
        subject,
        round,
        figures: figures(&outcome, &before, &after, &moments),
        moments,
    }))
}

fn interval(duration: Duration) -> Duration {
    let (longest, shortest) = LOOKS;
    (duration / LOOKS_PER_RUN).clamp(shortest, longest)
}

/// One for each target, which share the clients evenly.
fn loads(experiment: &Experiment, stage: &Stage, duration: Duration) -> Vec<Load> {
    let traffic = &experiment.traffic;
    let mut load = Load {
        address: ([127, 0, 0, 1], 0).into(),
        authority: experiment.authority(),
        path: traffic.path.clone(),
        tls: traffic.tls,
        protocol: traffic.protocol,
        clients: traffic.clients,
        connections: traffic.connections,
        threads: traffic.threads,
        pace: traffic.pace,
        request_body: traffic.request_body,
        timeout: TIMEOUT,
        duration,
    };
    if stage.subject == Subject::Direct {
        make_plain(&mut load);
    }
    share(&load, &stage.targets())
}

/// As many requests at once over HTTP/1.1 in the clear, which is what endpoints speak.
fn make_plain(load: &mut Load) {
    load.tls = Encryption::Off;
    if let (Protocol::Http2 { streams }, Clients::KeepAlive) = (load.protocol, load.clients) {
        load.connections = load.connections.saturating_mul(streams);
    }
    load.protocol = Protocol::Http1;
}

fn share(load: &Load, targets: &[std::net::SocketAddr]) -> Vec<Load> {
    // Each has a client at least.
    let parts = targets.len().min(load.connections.get());
    let part = |whole: usize, index: usize| whole / parts + usize::from(index < whole % parts);
    let share = |(index, address): (usize, &std::net::SocketAddr)| Load {
        address: *address,
        connections: NonZeroUsize::new(part(load.connections.get(), index)).unwrap_or(NonZeroUsize::MIN),
        threads: NonZeroUsize::new(part(load.threads.get(), index)).unwrap_or(NonZeroUsize::MIN),
        pace: match load.pace {
            load::Pace::Closed => load::Pace::Closed,
            load::Pace::Open(rate) => load::Pace::Open(rate / parts as f64),
        },
        ..load.clone()
    };
    targets.iter().take(parts).enumerate().map(share).collect()
}

/// Runs them side by side.
fn apply(loads: &[Load], progress: &Progress, stop: &Stop) -> Result<Outcome, LoadError> {
    let outcomes: Vec<_> = thread::scope(|scope| {
        let running: Vec<_> = loads
            .iter()
            .map(|load| scope.spawn(move || load::run(load, progress, stop)))
            .collect();
        running
            .into_iter()
            .map(|thread| thread.join().expect("the load does not panic"))
            .collect()
    });
    let mut outcomes = outcomes.into_iter();
    let first = outcomes.next().expect("there is a target")?;
    outcomes.try_fold(first, |sum, outcome| Ok(sum.plus(&outcome?)))
}

fn figures(outcome: &Outcome, before: &Reading, after: &Reading, moments: &[Moment]) -> Figures {
    let at = |share| outcome.latency.value_at_quantile(share);
    let most = |of: fn(&Sockets) -> Option<usize>| moments.iter().filter_map(|moment| of(&moment.sockets?)).max();
    let between = |before: Option<Duration>, after: Option<Duration>| after?.checked_sub(before?);
    Figures {
        elapsed: outcome.elapsed,
        answered: outcome.answered,
        errors: outcome.errors,
        unsent: outcome.unsent,
        latency: Latency {
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p999: at(0.999),
            longest: outcome.latency.max(),
        },
        bytes: outcome.bytes,
        client_connections: outcome.connections,
        proxy_cpu: between(before.proxy_cpu, after.proxy_cpu),
        endpoint_cpu: between(before.endpoint_cpu, after.endpoint_cpu),
        load_cpu: between(before.load_cpu, after.load_cpu),
        proxy: after.proxy.zip(before.proxy).map(|(after, before)| after - before),
        time_wait_proxy: most(|sockets| Some(sockets.time_wait_proxy)),
        time_wait_endpoint: most(|sockets| sockets.time_wait_endpoint),
        ports: most(|sockets| Some(sockets.ports)),
    }
}

impl Reading {
    fn take(stage: &Stage) -> Result<Self, ExperimentError> {
        Ok(Self {
            proxy: stage
                .admin()
                .map(counters::read)
                .transpose()
                .map_err(ExperimentError::Counters)?,
            proxy_cpu: stage.proxy_cpu(),
            endpoint_cpu: stage.endpoint_cpu(),
            load_cpu: cpu_time(std::process::id()),
        })
    }
}

/// Looks at a run from aside.
struct Watch<'a> {
    lookout: &'a Lookout,
    progress: &'a Progress,
    place: &'a Place<'a>,
    warmup: Duration,
    interval: Duration,
}

impl Watch<'_> {
    /// Gives what `work` gives, and what was seen until then.
    fn during<T>(&self, work: impl FnOnce() -> T) -> (T, Vec<Moment>) {
        let (done, is_done) = mpsc::channel::<()>();
        thread::scope(|scope| {
            let watcher = scope.spawn(move || self.look_until(&is_done));
            let given = work();
            drop(done);
            (given, watcher.join().expect("looking does not panic"))
        })
    }

    /// Until the other end of the channel is gone; then once more.
    fn look_until(&self, is_done: &mpsc::Receiver<()>) -> Vec<Moment> {
        let begun = Instant::now();
        let mut last = (begun, 0);
        let mut moments = Vec::new();
        for number in 1.. {
            let due = begun + self.interval * number;
            let wait = due.saturating_duration_since(Instant::now());
            let is_over = is_done.recv_timeout(wait) == Err(mpsc::RecvTimeoutError::Disconnected);
            let (now, answered) = (Instant::now(), self.progress.read().answered);
            let passed = now - last.0;
            self.place
                .display
                .advance(self.place.done + self.warmup + (now - begun));
            // What is left at the end may be too short to tell a rate from.
            if !is_over || passed > self.interval / 2 || moments.is_empty() {
                moments.push(Moment {
                    at: now - self.place.begun,
                    into_run: now - begun,
                    requests_per_second: (answered - last.1) as f64 / passed.as_secs_f64(),
                    sockets: self.lookout.look().ok(),
                });
            } else if let Some(moment) = moments.last_mut() {
                moment.sockets = self.lookout.look().ok().or(moment.sockets);
            }
            if is_over {
                break;
            }
            last = (now, answered);
        }
        moments
    }
}
