//! A request on its way through a cluster: pick, check out or connect, exchange; and what is tried again.
//!
//! # What is sent twice?
//! * A request for which no connection could be opened goes to another endpoint, whatever its method: nothing of it was
//!   sent.
//! * A request that met a kept connection just as the endpoint closed it (no byte of an answer came) goes once more to
//!   the same endpoint, on a *fresh* connection, if it is idempotent and what was sent of it can be repeated
//!   (RFC 9110 9.2.2), or if the kernel took no byte of it. That is never held against the endpoint. If the endpoint
//!   takes no connection any more, the request goes to another one.
//! * Nothing else.

use std::{
    future::Future,
    net::SocketAddr,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use http::{HeaderMap, Method};
use hyper::body::Incoming;
use tokio::time::Instant;

use super::{
    body::{KeepAlive, ResponseBody},
    cluster::Cluster,
    connection::Connection,
    connector::ConnectError,
    endpoint::{Endpoint, InFlight},
    exchange::{ExchangeError, Patience, Sending, exchange},
    upload::{Expectation, RequestFraming, Upload},
};
use crate::{
    balance::PickState,
    http1::ResponseHead,
    pool::{Checkout, CheckoutError, CloseReason, OpenReason, Permit, Pooled, Reused},
    worker::Timers,
};

/// What the sending worker lends.
#[derive(Debug, Clone, Copy)]
pub struct Local<'a> {
    pub worker: usize,
    pub timers: &'a Timers,
    pub picks: &'a PickState,
}

/// A request, ready to be encoded for whichever endpoint is picked.
#[derive(Debug)]
pub struct Outgoing<F> {
    pub method: Method,
    /// Writes the head for an endpoint, framing fields included; also gives an empty map whose memory is used for the
    /// fields of the answer.
    pub encode: F,
    pub fits: Fits,
    pub framing: RequestFraming,
    /// `None` is a request without one.
    pub body: Option<Incoming>,
    pub expectation: Expectation,
    /// Longest time without a byte of the client's body.
    pub client_stall: Duration,
}

/// Which endpoints the same head serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fits {
    Any,
    /// It names its endpoint in Host.
    One,
}

/// The head of an answer, with the body on its way.
#[derive(Debug)]
pub struct Answer {
    pub head: ResponseHead,
    pub body: ResponseBody,
    pub in_flight: InFlight,
    pub timing: Timing,
}

/// Where the time of a request went, as far as it did.
#[derive(Debug, Clone, Copy)]
pub struct Timing {
    pub reused: Reused,
    /// Waiting for a connection of the pool; zero when one was at hand.
    pub wait: Duration,
    /// Opening a connection; `None` when a kept one was used.
    pub connect: Option<Duration>,
}

/// Why a request got no answer from a cluster.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    #[error("the cluster has no healthy endpoint")]
    NoEndpoint,
    #[error("the names of the cluster's endpoints cannot be looked up")]
    NotResolved,
    #[error(transparent)]
    Checkout(#[from] CheckoutError),
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error(transparent)]
    Exchange(#[from] ExchangeError),
    #[error("the endpoint closed the kept connection as the request was sent, and this method must not be sent twice")]
    Stale,
}

/// A failed request, with the endpoint at which it failed, if it got that far.
#[derive(Debug)]
pub struct Failed {
    pub error: SendError,
    pub endpoint: Option<Arc<Endpoint>>,
    pub timing: Timing,
}

/// Sends a request to one endpoint of the cluster and gives the head of its answer.
///
/// What is rarely needed is boxed, and the request itself too: every level of a future holds its own copy of what it is
/// given, and a future of 5 KiB cost 0.5 µs per request in copying alone.
///
/// Cancellation: the connection that the request was on is closed, and a place in a queue is given up.
#[allow(clippy::manual_async_fn, reason = "an async fn would hold its arguments twice")]
pub fn send<'a, F>(
    cluster: &'a Cluster,
    local: Local<'a>,
    outgoing: Outgoing<F>,
) -> impl Future<Output = Result<Answer, Failed>>
where
    F: FnOnce(&Endpoint) -> (Vec<u8>, HeaderMap),
{
    async move {
        let mut timing = Timing {
            reused: Reused::No,
            wait: Duration::ZERO,
            connect: None,
        };
        let (mut in_flight, pooled) = match attempt(cluster, local, &[]) {
            Some((in_flight, Some(Checkout::Reused(pooled)))) => (in_flight, pooled),
            first => match Box::pin(find_connection(cluster, local, first, Vec::new(), &mut timing)).await {
                Ok(found) => found,
                Err((error, endpoint)) => {
                    return Err(Failed {
                        error,
                        endpoint,
                        timing,
                    });
                }
            },
        };
        timing.reused = pooled.reused();
        let fits = outgoing.fits;
        let sending = Sending::new(cluster, local, in_flight.endpoint(), outgoing);
        let request = Request {
            cluster,
            local,
            in_flight: &mut in_flight,
            fits,
            replaced: 0,
            sending,
        };
        match request.run(pooled, &mut timing).await {
            Ok((head, body)) => Ok(Answer {
                head,
                body,
                in_flight,
                timing,
            }),
            Err(error) => Err(Failed {
                error,
                endpoint: Some(Arc::clone(in_flight.endpoint())),
                timing,
            }),
        }
    }
}

/// A picked endpoint, and what its pool has at once; `None` if there is nothing to pick.
type Attempt = Option<(InFlight, Option<Checkout<Connection>>)>;

/// Picks an endpoint other than `refused` and asks its pool.
fn attempt(cluster: &Cluster, local: Local<'_>, refused: &[SocketAddr]) -> Attempt {
    let usable = |index: usize| {
        let endpoint = &cluster.endpoints[index];
        endpoint.health.is_healthy() && !refused.contains(&endpoint.address)
    };
    let index = cluster
        .balancer
        .pick(local.picks, usable, |index| cluster.endpoints[index].load())?;
    let in_flight = cluster.endpoints[index].begin();
    let found = in_flight.endpoint().pool.try_checkout(local.worker, local.timers.now());
    Some((in_flight, found))
}

/// Goes on from the `first` attempt, at endpoints other than `refused`, until one has a connection.
async fn find_connection(
    cluster: &Cluster,
    local: Local<'_>,
    first: Attempt,
    mut refused: Vec<SocketAddr>,
    timing: &mut Timing,
) -> Result<(InFlight, Pooled<Connection>), (SendError, Option<Arc<Endpoint>>)> {
    let unresolved = cluster.unresolved && cluster.endpoints.is_empty();
    let mut failure = (
        if unresolved {
            SendError::NotResolved
        } else {
            SendError::NoEndpoint
        },
        None,
    );
    let mut attempted = first;
    while let Some((in_flight, found)) = attempted {
        let endpoint = in_flight.endpoint();
        let error = match connection(cluster, local, endpoint, found, timing).await {
            Ok(pooled) => return Ok((in_flight, pooled)),
            Err(error) => error,
        };
        refused.push(endpoint.address);
        let again = matches!(&error, SendError::Connect(_)) && refused.len() <= cluster.retry.connect_attempts as usize;
        failure = (error, Some(Arc::clone(endpoint)));
        if !again {
            break;
        }
        attempted = attempt(cluster, local, &refused);
    }
    Err(failure)
}

/// The connection that was found, or a new one, or the one that is waited for.
async fn connection(
    cluster: &Cluster,
    local: Local<'_>,
    endpoint: &Endpoint,
    found: Option<Checkout<Connection>>,
    timing: &mut Timing,
) -> Result<Pooled<Connection>, SendError> {
    let found = match found {
        Some(found) => found,
        None => {
            let now = Instant::now();
            let deadline = local.timers.sleep_until(now + cluster.pool.wait.timeout);
            let found = endpoint.pool.checkout(local.worker, now, deadline).await;
            timing.wait += now.elapsed();
            found?
        }
    };
    match found {
        Checkout::Reused(pooled) => Ok(pooled),
        Checkout::Open(permit, reason) => open(cluster, local, endpoint, permit, reason, timing).await,
    }
}

async fn open(
    cluster: &Cluster,
    local: Local<'_>,
    endpoint: &Endpoint,
    permit: Permit<Connection>,
    reason: OpenReason,
    timing: &mut Timing,
) -> Result<Pooled<Connection>, SendError> {
    let start = Instant::now();
    let connection = endpoint.connector.connect(local.timers, cluster.timeouts.connect).await;
    let now = Instant::now();
    timing.connect = Some(timing.connect.unwrap_or_default() + (now - start));
    match connection {
        Ok(connection) => {
            tracing::debug!(endpoint = %endpoint.address, reason = reason.as_str(), "opened a connection");
            Ok(endpoint
                .pool
                .opened(connection, permit, reason, now, cluster.pool.max_lifetime))
        }
        Err(error) => {
            endpoint.counts.connect_failures.fetch_add(1, Relaxed);
            Err(error.into())
        }
    }
}

/// A request at its endpoint.
struct Request<'a> {
    cluster: &'a Cluster,
    local: Local<'a>,
    /// Changes when the request goes to another endpoint.
    in_flight: &'a mut InFlight,
    fits: Fits,
    /// Stale connections that the request has met.
    replaced: usize,
    sending: Box<Sending>,
}

impl Sending {
    fn new<F>(cluster: &Cluster, local: Local<'_>, endpoint: &Endpoint, outgoing: Outgoing<F>) -> Box<Self>
    where
        F: FnOnce(&Endpoint) -> (Vec<u8>, HeaderMap),
    {
        let timeouts = cluster.timeouts;
        let (head, recycled) = (outgoing.encode)(endpoint);
        let replay = if outgoing.method.is_idempotent() {
            cluster.retry.max_replay_body
        } else {
            0
        };
        Box::new(Self {
            upload: Upload::new(head, outgoing.framing, outgoing.body, outgoing.expectation, replay),
            method: outgoing.method,
            recycled,
            timer: local.timers.timer(),
            patience: Patience {
                endpoint: timeouts,
                client_stall: outgoing.client_stall,
                deadline: (!timeouts.request.is_zero()).then(|| local.timers.after(timeouts.request)),
            },
        })
    }
}

impl Request<'_> {
    async fn run(
        mut self,
        mut pooled: Pooled<Connection>,
        timing: &mut Timing,
    ) -> Result<(ResponseHead, ResponseBody), SendError> {
        loop {
            let reused = pooled.reused();
            match exchange(&mut pooled, &mut self.sending).await {
                Ok(head) => {
                    let keep_alive = if head.keep_alive { KeepAlive::Yes } else { KeepAlive::No };
                    let body = ResponseBody::new(pooled, head.framing, keep_alive, self.sending, self.local.worker);
                    return Ok((head, body));
                }
                Err(ExchangeError::Closed) if reused == Reused::Yes => {
                    let permit = self.stale(pooled)?;
                    let reason = OpenReason::ReplacedStale;
                    let opened = open(
                        self.cluster,
                        self.local,
                        self.in_flight.endpoint(),
                        permit,
                        reason,
                        timing,
                    );
                    pooled = match Box::pin(opened).await {
                        Ok(pooled) => pooled,
                        Err(error) => Box::pin(self.elsewhere(error, timing)).await?,
                    };
                    timing.reused = pooled.reused();
                }
                Err(error) => {
                    pooled.close(close_reason(&error));
                    return Err(error.into());
                }
            }
        }
    }

    /// A connection to another endpoint, for a request that may be sent again and whose endpoint has just gone.
    async fn elsewhere(&mut self, gone: SendError, timing: &mut Timing) -> Result<Pooled<Connection>, SendError> {
        if self.fits == Fits::One {
            return Err(gone);
        }
        let refused = vec![self.in_flight.endpoint().address];
        let next = attempt(self.cluster, self.local, &refused);
        match find_connection(self.cluster, self.local, next, refused, timing).await {
            Ok((in_flight, pooled)) => {
                *self.in_flight = in_flight;
                Ok(pooled)
            }
            Err(_) => Err(gone),
        }
    }

    /// The right to open another connection in the place of a stale one, if the request may be sent again.
    fn stale(&mut self, pooled: Pooled<Connection>) -> Result<Permit<Connection>, SendError> {
        self.replaced += 1;
        let (counts, upload) = (&self.in_flight.endpoint().counts, &mut self.sending.upload);
        let allowed = self.sending.method.is_idempotent() || upload.is_untouched();
        if allowed && self.replaced <= self.cluster.endpoints.len() && upload.rewind() {
            counts.stale_replaced.fetch_add(1, Relaxed);
            return Ok(pooled.replace(CloseReason::Stale));
        }
        counts.stale_failed.fetch_add(1, Relaxed);
        pooled.close(CloseReason::Stale);
        Err(SendError::Stale)
    }
}

fn close_reason(error: &ExchangeError) -> CloseReason {
    match error {
        ExchangeError::Closed | ExchangeError::Truncated => CloseReason::AbortedResponse,
        ExchangeError::Malformed(_) | ExchangeError::TooManyInterim | ExchangeError::UnexpectedUpgrade => {
            CloseReason::ProtocolError
        }
        ExchangeError::WriteTimeout
        | ExchangeError::FirstByteTimeout
        | ExchangeError::RequestTimeout
        | ExchangeError::ClientStalled => CloseReason::Timeout,
        ExchangeError::ClientBody => CloseReason::ClientGone,
    }
}
