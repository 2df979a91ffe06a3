//! The part that has to run where the proxies are: it makes the load and looks at the sockets of its namespace. A process
//! of its own, since a thread cannot go into another namespace alone; it tells what it sees in lines of JSON.

use std::{
    io::{self, Read, Write},
    net::SocketAddr,
    num::NonZeroUsize,
    sync::mpsc::{self, RecvTimeoutError},
    thread,
    time::Duration,
};

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::subject::Subject;
use crate::bench::{
    counters::{self, Counters},
    load::{self, Clients, Encryption, Load, LoadError, Outcome, Pace, Progress, Protocol, Stop},
    sockets::Lookout,
};

/// The distance of two looks.
pub const INTERVAL: Duration = Duration::from_millis(200);

/// Clients of each proxy; more than there are requests at once, unless something holds them up.
const CLIENTS: NonZeroUsize = NonZeroUsize::new(32).expect("it is not zero");

/// A request that has no answer by then is given up.
const TIMEOUT: Duration = Duration::from_secs(5);

/// What to do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Task {
    pub targets: Vec<Target>,
    /// Requests per second to each.
    pub rate: f64,
    pub duration: Duration,
}

/// A proxy, and where it leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    pub subject: Subject,
    pub proxy: SocketAddr,
    pub admin: SocketAddr,
    pub endpoint: SocketAddr,
}

/// A line of what is told.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Told {
    Sample(Sample),
    /// The last one: what has come of each target, in their order.
    End(Vec<End>),
}

/// What was to be seen at one moment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// Seconds since the load began.
    pub at: f64,
    /// Of each target, in their order.
    pub seen: Vec<Seen>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// Requests that have been answered since the beginning.
    pub answered: u64,
    /// Requests that have not.
    pub errors: u64,
    /// Sockets towards the endpoint that are in TIME_WAIT now.
    pub time_wait: usize,
    /// Source ports towards the endpoint that are held now, by sockets in any state.
    pub ports: usize,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct End {
    pub answered: u64,
    pub errors: u64,
    /// Connections that the proxy has opened to the endpoint.
    pub opened: u64,
    /// Times that the kernel had no port for the proxy: EADDRNOTAVAIL.
    pub no_port: u64,
    /// Times that the proxy did not ask the kernel, since it knew of no free port.
    pub held_back: u64,
}

/// Why nothing can be seen.
#[derive(Debug, thiserror::Error)]
pub enum InsideError {
    #[error("{} cannot be put under load", .0.name())]
    Load(Subject, #[source] LoadError),
    #[error("the kernel does not show its sockets")]
    Sockets(#[source] io::Error),
    #[error("a proxy does not tell its metrics")]
    Counters(#[source] io::Error),
    #[error("nobody listens")]
    Tell(#[source] io::Error),
}

/// A target under load.
struct Watched<'a> {
    target: &'a Target,
    lookout: Lookout,
    progress: Progress,
    before: Counters,
}

/// Does the task, and tells of it on standard output, until it is done or standard input ends.
///
/// # Errors
/// See [`InsideError`].
pub fn run(task: &Task) -> Result<(), InsideError> {
    let watched = task.targets.iter().map(Watched::new).collect::<Result<Vec<_>, _>>()?;
    let stop = Stop::default();
    // Ends with the process: nothing else ends a read.
    let stopper = stop.clone();
    thread::spawn(move || {
        let _ = io::stdin().read_to_end(&mut Vec::new());
        stopper.stop();
    });
    let (done, is_done) = mpsc::channel::<()>();
    let outcomes: Vec<_> = thread::scope(|scope| {
        let start = |watched| {
            let (done, stop) = (done.clone(), &stop);
            scope.spawn(move || {
                // Dropped when the load is over.
                let _done = done;
                apply(watched, task, stop)
            })
        };
        let running: Vec<_> = watched.iter().map(start).collect();
        drop(done);
        let looked = look_until(&watched, &is_done);
        if looked.is_err() {
            stop.stop();
        }
        let join = |thread: thread::ScopedJoinHandle<'_, _>| thread.join().expect("the load does not panic");
        let outcomes: Vec<Result<Outcome, InsideError>> = running.into_iter().map(join).collect();
        looked.map(|()| outcomes)
    })?;
    let ends = watched
        .iter()
        .zip(outcomes)
        .map(|(watched, outcome)| watched.end(&outcome?));
    tell(&Told::End(ends.collect::<Result<_, _>>()?))
}

fn apply(watched: &Watched<'_>, task: &Task, stop: &Stop) -> Result<Outcome, InsideError> {
    let load = Load {
        address: watched.target.proxy,
        authority: "bench".to_owned(),
        path: "/".to_owned(),
        tls: Encryption::Off,
        protocol: Protocol::Http1,
        clients: Clients::KeepAlive,
        connections: CLIENTS,
        threads: NonZeroUsize::MIN,
        pace: Pace::Open(task.rate),
        request_body: 0,
        timeout: TIMEOUT,
        duration: task.duration,
    };
    load::run(&load, &watched.progress, stop).map_err(|error| InsideError::Load(watched.target.subject, error))
}

/// Tells what is to be seen, until the other end of the channel is gone; then once more.
fn look_until(watched: &[Watched<'_>], is_done: &mpsc::Receiver<()>) -> Result<(), InsideError> {
    let begun = Instant::now();
    let mut is_over = false;
    for number in 1_u32.. {
        let seen = watched.iter().map(Watched::look).collect::<Result<_, _>>()?;
        let at = begun.elapsed().as_secs_f64();
        tell(&Told::Sample(Sample { at, seen }))?;
        if is_over {
            break;
        }
        let wait = (begun + INTERVAL * number).saturating_duration_since(Instant::now());
        is_over = is_done.recv_timeout(wait) != Err(RecvTimeoutError::Timeout);
    }
    Ok(())
}

fn tell(told: &Told) -> Result<(), InsideError> {
    let mut output = io::stdout().lock();
    let line = serde_json::to_string(told).expect("it can be written as JSON");
    writeln!(output, "{line}")
        .and_then(|()| output.flush())
        .map_err(InsideError::Tell)
}

impl<'a> Watched<'a> {
    fn new(target: &'a Target) -> Result<Self, InsideError> {
        Ok(Self {
            target,
            lookout: Lookout::new(&[target.endpoint]),
            progress: Progress::default(),
            before: counters::read(target.admin).map_err(InsideError::Counters)?,
        })
    }

    fn look(&self) -> Result<Seen, InsideError> {
        let sockets = self.lookout.look().map_err(InsideError::Sockets)?;
        let load = self.progress.read();
        Ok(Seen {
            answered: load.answered,
            errors: load.errors.total(),
            time_wait: sockets.time_wait_proxy,
            ports: sockets.ports,
        })
    }

    fn end(&self, outcome: &Outcome) -> Result<End, InsideError> {
        let counters = counters::read(self.target.admin).map_err(InsideError::Counters)? - self.before;
        Ok(End {
            answered: outcome.answered,
            errors: outcome.errors.total(),
            opened: counters.opened,
            no_port: counters.no_port,
            held_back: counters.held_back,
        })
    }
}
