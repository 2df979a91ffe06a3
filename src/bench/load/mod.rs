//! Makes load: clients that send requests to one address, and a record of what came back.
//!
//! # What is counted?
//!
//! Each request that a client takes on, once: answered, or an error with its reason, or cut off where the load is stopped
//! before its time. Nothing is tried again: a request that a connection fails under is an error, as it would be to one
//! who sends it.
//!
//! # From when does latency count?
//!
//! At the closed pace from when the client turns to the request, with the time to connect where it has to. At the open
//! pace from when the request was due, with the wait for a client that is free. A subject that stands still for a second
//! is so seen by every request of that second, where clients that wait for it would have sent one each and called the
//! others fast.
//!
//! # Whose limit is it?
//!
//! Clients give source ports back at once, without TIME_WAIT, so that they do not run out of them before the subject
//! does. What the machine of the load lacks all the same has a name of its own: [`Errors::no_port`], [`LoadError`].

mod alarm;
mod answer;
mod client;
mod connect;
mod http1;
mod http2;
mod patience;
mod progress;
mod record;
mod request;
mod schedule;
mod start;
mod stream;
mod thread;
mod wire;

use std::{
    io,
    net::SocketAddr,
    num::NonZeroUsize,
    sync::{Arc, mpsc},
    thread as os_thread,
    time::Duration,
};

use hdrhistogram::Histogram;
use thiserror::Error;

pub use self::progress::{Progress, Reading, Stop};
use self::{connect::Connector, record::Record, request::Request, schedule::Schedule, start::Start, thread::Shared};
use crate::{net::sockopt, tls::TlsError};

/// Open files of the process that are no connections of the load: event queues, timers, pipes, logs.
const FILES_BESIDE: u64 = 64;

/// Longer is as good as for ever, and can still be added to the time.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);

/// What is sent, by how many, and where to.
#[derive(Debug, Clone)]
pub struct Load {
    pub address: SocketAddr,
    /// For the Host field, and the server name over TLS.
    pub authority: String,
    pub path: String,
    pub tls: Encryption,
    pub protocol: Protocol,
    pub clients: Clients,
    /// Connections at once, over all threads.
    pub connections: NonZeroUsize,
    pub threads: NonZeroUsize,
    pub pace: Pace,
    /// Bytes of the body of each request; none: GET, else POST.
    pub request_body: usize,
    /// From when a client turns to a request, with the time to connect. One that has no whole answer by then is given up
    /// with its connection; over HTTP/2 the others on that connection may still end.
    pub timeout: Duration,
    pub duration: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encryption {
    Off,
    /// Whoever answers is believed: this measures, it does not protect. Every handshake is a full one.
    Tls,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    Http1,
    /// Requests at once on each connection that is kept. In the clear with prior knowledge; over TLS the subject has to
    /// choose it (RFC 9113 3.3), else there is no connection.
    Http2 {
        streams: NonZeroUsize,
    },
}

/// What clients do with a connection after an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Clients {
    KeepAlive,
    ConnectionPerRequest,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Pace {
    /// Each client sends its next request when the last one is answered.
    Closed,
    /// Requests per second over all clients, due at even times whether or not the last one is answered. Latency counts
    /// from the time that a request was due, so that a pause of the subject is not hidden by clients that wait for it
    /// (coordinated omission). Those that are due wait in order; what then still waits at the end of the duration is
    /// never sent.
    Open(f64),
}

/// What came back.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// Answered whole, with a status below 400.
    pub answered: u64,
    pub errors: Errors,
    /// Of the answered ones, in microseconds.
    pub latency: Histogram<u64>,
    /// Of the bodies that were answered.
    pub bytes: u64,
    /// Connections that clients opened.
    pub connections: u64,
    /// From the first request to the last answer.
    pub elapsed: Duration,
    /// Open pace only: requests that were due within the duration and were never sent, since no client was free.
    pub unsent: u64,
    /// Requests on their way when the load was stopped early; else 0.
    pub cut_off: u64,
}

impl Outcome {
    /// Of two loads that ran side by side.
    pub fn plus(mut self, other: &Self) -> Self {
        // Both come from the same maker, so that each has room for what the other holds.
        self.latency.add(&other.latency).expect("the bounds are the same");
        Self {
            answered: self.answered + other.answered,
            errors: self.errors.plus(&other.errors),
            latency: self.latency,
            bytes: self.bytes + other.bytes,
            connections: self.connections + other.connections,
            elapsed: self.elapsed.max(other.elapsed),
            unsent: self.unsent + other.unsent,
            cut_off: self.cut_off + other.cut_off,
        }
    }
}

/// Requests that were not answered, by reason.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Errors {
    /// No connection to the subject, also by the timeout or since the TLS handshake failed. The client then waits for
    /// 100 ms.
    pub connect: u64,
    /// No connection since no source port was left on the client's side: the load's own limit, not the subject's. The
    /// client then waits for 1 s.
    pub no_port: u64,
    /// The connection ended, or what came was no answer.
    pub broken: u64,
    pub timeout: u64,
    /// 400 to 499.
    pub status_4xx: u64,
    /// 500 to 599: the proxy's way to say that it found no connection to an endpoint.
    pub status_5xx: u64,
}

impl Errors {
    fn plus(&self, other: &Self) -> Self {
        Self {
            connect: self.connect + other.connect,
            no_port: self.no_port + other.no_port,
            broken: self.broken + other.broken,
            timeout: self.timeout + other.timeout,
            status_4xx: self.status_4xx + other.status_4xx,
            status_5xx: self.status_5xx + other.status_5xx,
        }
    }

    pub fn total(&self) -> u64 {
        let Self {
            connect,
            no_port,
            broken,
            timeout,
            status_4xx,
            status_5xx,
        } = self;
        connect + no_port + broken + timeout + status_4xx + status_5xx
    }
}

/// Why there was no load at all.
#[derive(Debug, Error)]
pub enum LoadError {
    #[error("no request can be made of this authority and path")]
    Request(#[source] http::Error),
    #[error("the authority is no server name")]
    ServerName,
    #[error("TLS cannot be had")]
    Tls(#[source] TlsError),
    #[error("{0} requests per second is no rate")]
    Rate(f64),
    /// Of the process, also where it may raise its soft limit.
    #[error("{needed} open files are needed and {limit} are allowed")]
    OpenFiles { needed: u64, limit: u64 },
    #[error("a thread of the load could not be started")]
    Thread(#[source] io::Error),
    #[error("a thread of the load got no event queue")]
    Runtime(#[source] io::Error),
}

/// Makes the load; blocks until it is over.
///
/// Clients that keep their connections open them first; the duration begins when all are open. When it is over no
/// further request is sent, and those on their way are waited for, each up to its timeout.
///
/// `stop` ends it at once with what it has, also while connections are opened.
///
/// # Errors
/// See [`LoadError`]. What the subject does is no error, but part of the outcome.
pub fn run(load: &Load, progress: &Progress, stop: &Stop) -> Result<Outcome, LoadError> {
    let load = &Load {
        timeout: load.timeout.min(LONGEST),
        duration: load.duration.min(LONGEST),
        ..load.clone()
    };
    let request = Request::new(load)?;
    let connector = Connector::new(load)?;
    check_rate(load.pace)?;
    check_open_files(load)?;
    let threads = load.threads.min(load.connections);
    let start = Arc::new(Start::new(load.clients_at_once()));
    let shared = |thread: usize| {
        let schedule = match load.pace {
            Pace::Closed => None,
            Pace::Open(rate) => Some(Schedule::new(rate, thread, threads.get(), load.duration)),
        };
        let (request, connector, start) = (request.clone(), connector.clone(), Arc::clone(&start));
        Arc::new(Shared::new(
            load.clone(),
            request,
            connector,
            start,
            schedule,
            progress.meter(thread),
        ))
    };
    run_threads(load, threads, &shared, stop)
}

fn run_threads(
    load: &Load,
    threads: NonZeroUsize,
    shared: &dyn Fn(usize) -> Arc<Shared>,
    stop: &Stop,
) -> Result<Outcome, LoadError> {
    let runtimes = (0..threads.get()).map(|_| thread::runtime());
    let runtimes: Vec<_> = runtimes.collect::<Result<_, _>>().map_err(LoadError::Runtime)?;
    os_thread::scope(|scope| {
        let mut running = Vec::new();
        for (index, runtime) in runtimes.iter().enumerate() {
            let (shared, connections) = (shared(index), share(load.connections, threads, index));
            // Nothing begins before all are there: after an error here the others learn it from the end of the channel.
            let (go, told) = mpsc::channel::<()>();
            let spawned = os_thread::Builder::new()
                .name(format!("load-{index}"))
                .spawn_scoped(scope, move || {
                    told.recv()
                        .is_ok()
                        .then(|| thread::run(runtime, &shared, connections, stop))
                });
            running.push((go, spawned.map_err(LoadError::Thread)?));
        }
        for (go, _) in &running {
            go.send(()).expect("the thread waits for it");
        }
        let mut record = Record::new(load);
        for (_, thread) in running {
            let share = thread.join().expect("a thread of the load does not panic");
            record.add(&share.expect("it was told to go"));
        }
        Ok(record.into_outcome())
    })
}

/// How many of the connections are those of one thread: as even as can be.
fn share(connections: NonZeroUsize, threads: NonZeroUsize, index: usize) -> usize {
    (connections.get() + index) / threads
}

fn check_rate(pace: Pace) -> Result<(), LoadError> {
    match pace {
        Pace::Open(rate) if !(rate.is_finite() && rate > 0.0) => Err(LoadError::Rate(rate)),
        Pace::Open(_) | Pace::Closed => Ok(()),
    }
}

/// Found out before, so that the want of them is not taken for the subject's.
fn check_open_files(load: &Load) -> Result<(), LoadError> {
    let needed = load.connections.get() as u64 + FILES_BESIDE;
    match sockopt::raise_open_file_limit() {
        Ok(limit) if limit < needed => Err(LoadError::OpenFiles { needed, limit }),
        // Where the limit cannot be read it may still be high enough.
        Ok(_) | Err(_) => Ok(()),
    }
}

impl Load {
    /// Requests that can be on their way at once.
    fn clients_at_once(&self) -> usize {
        match (self.protocol, self.clients) {
            (Protocol::Http2 { streams }, Clients::KeepAlive) => self.connections.get() * streams.get(),
            _ => self.connections.get(),
        }
    }
}

#[cfg(test)]
mod tests;
