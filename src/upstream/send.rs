//! A request on its way through a cluster: pick, check out or connect, exchange; and what is tried again.
//!
//! # What is sent twice?
//! * A request for which no connection could be opened goes to another endpoint, whatever its method: nothing of it was
//!   sent.
//! * A request that met a kept connection just as the endpoint closed it (no byte of an answer came) goes once more to
//!   the same endpoint, on a *fresh* connection, if it is idempotent and what was sent of it can be repeated
//!   (RFC 9110 9.2.2), or if the kernel took no byte of it. That is never held against the endpoint.
//! * Nothing else.

use std::{sync::Arc, time::Duration};

use http::{HeaderMap, Method};
use hyper::body::Incoming;
use tokio::time::Instant;

use super::{
    body::{KeepAlive, Parts, ResponseBody},
    cluster::Cluster,
    connection::Connection,
    connector::ConnectError,
    endpoint::{Endpoint, InFlight},
    exchange::{Exchange, ExchangeError, Patience, exchange},
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
    pub framing: RequestFraming,
    pub body: Incoming,
    pub expectation: Expectation,
    pub patience: Patience,
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
/// Cancellation: the connection that the request was on is closed, and a place in a queue is given up.
pub async fn send<F>(cluster: &Cluster, local: Local<'_>, outgoing: Outgoing<F>) -> Result<Answer, Failed>
where
    F: FnOnce(&Endpoint) -> (Vec<u8>, HeaderMap),
{
    let mut timing = Timing {
        reused: Reused::No,
        wait: Duration::ZERO,
        connect: None,
    };
    let fail = |error, endpoint, timing| Failed {
        error,
        endpoint,
        timing,
    };
    let (in_flight, pooled) = match find_connection(cluster, local, &mut timing).await {
        Ok(found) => found,
        Err((error, endpoint)) => return Err(fail(error, endpoint, timing)),
    };
    timing.reused = pooled.reused();
    let request = Request::new(cluster, local, in_flight.endpoint(), outgoing);
    match request.run(pooled, &mut timing).await {
        Ok((head, body)) => Ok(Answer {
            head,
            body,
            in_flight,
            timing,
        }),
        Err(error) => Err(fail(error, Some(Arc::clone(in_flight.endpoint())), timing)),
    }
}

/// Picks endpoints until one of them has a connection.
async fn find_connection(
    cluster: &Cluster,
    local: Local<'_>,
    timing: &mut Timing,
) -> Result<(InFlight, Pooled<Connection>), (SendError, Option<Arc<Endpoint>>)> {
    let mut refused: Vec<usize> = Vec::new();
    loop {
        let usable = |index: usize| cluster.endpoints[index].health.is_healthy() && !refused.contains(&index);
        let picked = cluster
            .balancer
            .pick(local.picks, usable, |index| cluster.endpoints[index].load());
        let Some(index) = picked else {
            let unresolved = cluster.unresolved && cluster.endpoints.is_empty();
            return Err((
                if unresolved {
                    SendError::NotResolved
                } else {
                    SendError::NoEndpoint
                },
                None,
            ));
        };
        let endpoint = &cluster.endpoints[index];
        let in_flight = endpoint.begin();
        let error = match connection(cluster, local, endpoint, timing).await {
            Ok(pooled) => return Ok((in_flight, pooled)),
            Err(error) => error,
        };
        refused.push(index);
        let another =
            matches!(&error, SendError::Connect(_)) && refused.len() <= cluster.retry.connect_attempts as usize;
        let left =
            || (0..cluster.endpoints.len()).any(|i| cluster.endpoints[i].health.is_healthy() && !refused.contains(&i));
        if !another || !left() {
            return Err((error, Some(Arc::clone(endpoint))));
        }
    }
}

/// A connection of the endpoint's pool, or a new one.
async fn connection(
    cluster: &Cluster,
    local: Local<'_>,
    endpoint: &Endpoint,
    timing: &mut Timing,
) -> Result<Pooled<Connection>, SendError> {
    let now = Instant::now();
    let found = match endpoint.pool.try_checkout(local.worker, now) {
        Some(found) => found,
        None => {
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
            endpoint
                .counts
                .connect_failures
                .fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            Err(error.into())
        }
    }
}

/// A request at its endpoint.
struct Request<'a> {
    cluster: &'a Cluster,
    local: Local<'a>,
    endpoint: &'a Endpoint,
    method: Method,
    upload: Upload,
    recycled: HeaderMap,
    patience: Patience,
}

impl<'a> Request<'a> {
    fn new<F>(cluster: &'a Cluster, local: Local<'a>, endpoint: &'a Endpoint, outgoing: Outgoing<F>) -> Self
    where
        F: FnOnce(&Endpoint) -> (Vec<u8>, HeaderMap),
    {
        let Outgoing {
            method,
            encode,
            framing,
            body,
            expectation,
            patience,
        } = outgoing;
        let (head, recycled) = encode(endpoint);
        let replay = if method.is_idempotent() {
            cluster.retry.max_replay_body
        } else {
            0
        };
        let upload = Upload::new(head, framing, body, expectation, replay);
        Self {
            cluster,
            local,
            endpoint,
            method,
            upload,
            recycled,
            patience,
        }
    }

    async fn run(
        mut self,
        mut pooled: Pooled<Connection>,
        timing: &mut Timing,
    ) -> Result<(ResponseHead, ResponseBody), SendError> {
        let timer = self.local.timers.timer();
        loop {
            let reused = pooled.reused();
            let result = exchange(Exchange {
                connection: &mut pooled,
                upload: &mut self.upload,
                method: &self.method,
                recycled: &mut self.recycled,
                timer: &timer,
                patience: self.patience,
            })
            .await;
            match result {
                Ok(head) => {
                    let keep_alive = if head.keep_alive { KeepAlive::Yes } else { KeepAlive::No };
                    let parts = Parts {
                        connection: pooled,
                        framing: head.framing,
                        keep_alive,
                        upload: self.upload,
                        timer,
                        patience: self.patience,
                        worker: self.local.worker,
                    };
                    return Ok((head, ResponseBody::new(parts, Instant::now())));
                }
                Err(ExchangeError::Closed) if reused == Reused::Yes => {
                    let permit = self.stale(pooled)?;
                    let reason = OpenReason::ReplacedStale;
                    pooled = open(self.cluster, self.local, self.endpoint, permit, reason, timing).await?;
                    timing.reused = Reused::No;
                }
                Err(error) => {
                    pooled.close(close_reason(&error));
                    return Err(error.into());
                }
            }
        }
    }

    /// The right to open another connection in the place of a stale one, if the request may be sent again.
    fn stale(&mut self, pooled: Pooled<Connection>) -> Result<Permit<Connection>, SendError> {
        let counts = &self.endpoint.counts;
        let allowed = self.method.is_idempotent() || self.upload.is_untouched();
        if allowed && self.upload.rewind() {
            counts.stale_replaced.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            return Ok(pooled.replace(CloseReason::Stale));
        }
        counts.stale_failed.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
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
