//! The periodic question to one endpoint.

use std::{error::Error, io, iter::successors, net::SocketAddr, sync::Weak, time::Duration};

use http::StatusCode;
use thiserror::Error;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::{Instant, sleep_until, timeout},
};

use super::{
    Change, Health, Outcome,
    exchange::{After, Answer, exchange, request},
    grpc::{Session, Verdict},
};
use crate::{
    config::{Probe, ProbeKind},
    http1::{ChunkedError, ResponseError},
    pool::{CloseReason, Liveness},
};

/// Share of the interval by which it is longer or shorter at random, so that the probes of many endpoints, and of
/// many proxies, do not fall into step.
const JITTER: f64 = 0.1;

/// The metric of changes of the verdict, by `endpoint` (its address) and what it became.
const CHANGES: &str = "forebay_health_changes_total";

/// What probes are sent over: opened and closed as the connections of requests are.
pub trait ProbeConnection {
    type Stream: AsyncRead + AsyncWrite + Unpin;

    fn stream(&mut self) -> &mut Self::Stream;

    /// What a kept connection shows.
    fn liveness(&mut self) -> Liveness;

    /// A probe begins: if the connection is dropped from now on, that is because its time was up.
    fn begin(&mut self);

    /// The probe is over, and the connection is kept for the next one.
    fn keep(&mut self);

    fn close(self, reason: CloseReason);
}

/// Tells the recorder what is counted here.
pub fn describe_metrics() {
    metrics::describe_counter!(CHANGES, "Endpoints that became healthy or unhealthy.");
}

/// Why a probe did not succeed.
#[derive(Debug, Error)]
pub enum ProbeError {
    #[error("no connection")]
    Connect(#[source] io::Error),
    #[error("no answer in time")]
    TimedOut,
    #[error("the connection broke")]
    Broken(#[source] io::Error),
    #[error("the endpoint closed before the end of its answer")]
    ClosedEarly,
    #[error("the head of the answer does not end")]
    EndlessHead,
    #[error("the answer is not valid HTTP")]
    NotHttp(#[source] ResponseError),
    #[error("the body of the answer is malformed")]
    BadChunks(#[source] ChunkedError),
    #[error("status {}", .0.as_u16())]
    Status(StatusCode),
    /// A gRPC server that does not say that it serves.
    #[error("{0}")]
    Grpc(String),
}

impl ProbeError {
    /// A connection that could not be opened for want of source ports, descriptors or memory says nothing about the
    /// endpoint.
    fn outcome(&self) -> Outcome {
        let Self::Connect(error) = self else {
            return Outcome::Failed;
        };
        let of_this_machine = [
            libc::EADDRNOTAVAIL,
            libc::EADDRINUSE,
            libc::EMFILE,
            libc::ENFILE,
            libc::ENOBUFS,
            libc::ENOMEM,
        ];
        match error.raw_os_error() {
            Some(code) if of_this_machine.contains(&code) => Outcome::Inconclusive,
            _ => Outcome::Failed,
        }
    }

    fn with_causes(&self) -> String {
        let causes = successors(Some(self as &dyn Error), |error| (*error).source());
        causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
    }
}

/// Probes `endpoint` for as long as its `health` exists, at once and then every `interval`.
///
/// `host_header` is sent where the probe has no host of its own. `connect` opens a connection to the endpoint; its
/// time is within the probe's timeout. A change of the verdict is logged and counted.
///
/// Cancellation: drop it at any time; the kept connection is closed.
pub async fn run<P: ProbeConnection>(
    endpoint: SocketAddr,
    host_header: String,
    probe: Probe,
    health: Weak<Health>,
    connect: impl AsyncFn() -> io::Result<P>,
) {
    let mut prober = Prober::new(&probe.kind, &host_header, connect);
    while health.strong_count() > 0 {
        let started = Instant::now();
        let result = match timeout(probe.timeout, prober.ask()).await {
            Ok(result) => result,
            Err(_) => Err(ProbeError::TimedOut),
        };
        let Some(health) = health.upgrade() else { return };
        record(endpoint, &health, result, &probe);
        drop(health);
        sleep_until(started + jittered(probe.interval, fastrand::f64())).await;
    }
}

fn record(endpoint: SocketAddr, health: &Health, result: Result<Success, ProbeError>, probe: &Probe) {
    let (outcome, text) = match result {
        Ok(Success::Connected) => (Outcome::Succeeded, "connected".to_owned()),
        Ok(Success::Serving) => (Outcome::Succeeded, "serving".to_owned()),
        Ok(Success::Status(status)) => (Outcome::Succeeded, format!("status {}", status.as_u16())),
        Err(error) => (error.outcome(), error.with_causes()),
    };
    tracing::debug!(%endpoint, ?outcome, found = text, "probe");
    let to = match health.record_probe(outcome, text.as_str(), probe, Instant::now()) {
        Some(Change::BecameHealthy) => "healthy",
        Some(Change::BecameUnhealthy) => "unhealthy",
        None => return,
    };
    tracing::info!(%endpoint, reason = text, "endpoint is {to}");
    metrics::counter!(CHANGES, "endpoint" => endpoint.to_string(), "to" => to).increment(1);
}

/// `random` is from 0 to 1.
fn jittered(interval: Duration, random: f64) -> Duration {
    interval.mul_f64(1.0 - JITTER + 2.0 * JITTER * random)
}

#[derive(Debug, PartialEq, Eq)]
enum Success {
    Connected,
    Serving,
    Status(StatusCode),
}

/// Asks one endpoint, over one connection for as long as the endpoint lets it live.
struct Prober<C, P> {
    question: Question,
    connect: C,
    kept: Option<P>,
    /// The same of gRPC.
    session: Option<Session<P>>,
}

enum Question {
    Http { request: Vec<u8>, statuses: (u16, u16) },
    Tcp,
    Grpc { authority: String, service: String },
}

impl<P: ProbeConnection, C: AsyncFn() -> io::Result<P>> Prober<C, P> {
    fn new(kind: &ProbeKind, host_header: &str, connect: C) -> Self {
        let question = match kind {
            ProbeKind::Tcp => Question::Tcp,
            ProbeKind::Grpc { service } => Question::Grpc {
                authority: host_header.to_owned(),
                service: service.clone(),
            },
            ProbeKind::Http { path, host, statuses } => Question::Http {
                request: request(path, host.as_deref().unwrap_or(host_header)),
                statuses: *statuses,
            },
        };
        Self {
            question,
            connect,
            kept: None,
            session: None,
        }
    }

    /// One probe. The caller bounds the time.
    ///
    /// Cancellation: the connection in use is out of `kept` then, so it is closed and the next probe opens another.
    async fn ask(&mut self) -> Result<Success, ProbeError> {
        let (request, statuses) = match &self.question {
            Question::Http { request, statuses } => (request, statuses),
            Question::Tcp => {
                connect(&self.connect).await?.close(CloseReason::ProbeEnded);
                return Ok(Success::Connected);
            }
            Question::Grpc { authority, service } => {
                let kept = match self.session.take() {
                    Some(session) => served_on_kept(session, authority, service).await,
                    None => None,
                };
                let (session, answer) = match kept {
                    Some(answered) => answered,
                    None => served_on(connect(&self.connect).await?, authority, service).await?,
                };
                self.session = Some(session);
                return answer.map(|()| Success::Serving);
            }
        };
        let kept = match self.kept.take() {
            Some(connection) => answer_on_kept(connection, request).await,
            None => None,
        };
        let (mut connection, answer) = match kept {
            Some(answered) => answered,
            None => answer_on(connect(&self.connect).await?, request).await?,
        };
        match answer.after {
            After::Keep => {
                connection.keep();
                self.kept = Some(connection);
            }
            After::Close(reason) => connection.close(reason),
        }
        let status = answer.status;
        if (statuses.0..=statuses.1).contains(&status.as_u16()) {
            Ok(Success::Status(status))
        } else {
            Err(ProbeError::Status(status))
        }
    }
}

async fn connect<P>(connect: &impl AsyncFn() -> io::Result<P>) -> Result<P, ProbeError> {
    connect().await.map_err(ProbeError::Connect)
}

/// `None` where the connection turned out dead: that says nothing about an endpoint that may open another.
async fn answer_on_kept<P: ProbeConnection>(mut connection: P, request: &[u8]) -> Option<(P, Answer)> {
    if let Some(reason) = connection.liveness().reason_to_close() {
        connection.close(reason);
        return None;
    }
    answer_on(connection, request).await.ok()
}

/// A connection without a whole answer is aborted: it is dead already, or in the middle of something.
async fn answer_on<P: ProbeConnection>(mut connection: P, request: &[u8]) -> Result<(P, Answer), ProbeError> {
    connection.begin();
    match exchange(connection.stream(), request).await {
        Ok(answer) => Ok((connection, answer)),
        Err(error) => {
            connection.close(CloseReason::AbortedResponse);
            Err(error)
        }
    }
}

/// An endpoint's answer, with the connection for the next question.
type Served<P> = (Session<P>, Verdict);

/// `None` where the connection turned out dead, as above.
async fn served_on_kept<P: ProbeConnection>(
    mut session: Session<P>,
    authority: &str,
    service: &str,
) -> Option<Served<P>> {
    match session.check(authority, service).await {
        Ok(verdict) => Some((session, verdict)),
        Err(_) => {
            session.close(CloseReason::ProbeEnded);
            None
        }
    }
}

async fn served_on<P: ProbeConnection>(connection: P, authority: &str, service: &str) -> Result<Served<P>, ProbeError> {
    let mut session = Session::open(connection).await?;
    match session.check(authority, service).await {
        Ok(verdict) => Ok((session, verdict)),
        Err(error) => {
            session.close(CloseReason::AbortedResponse);
            Err(error)
        }
    }
}

#[cfg(test)]
mod tests;
