//! A request on its way through a cluster: pick, check out or connect, exchange; and what is tried again.
//!
//! # What is sent twice?
//! * A request for which no connection could be opened goes to another endpoint, whatever its method: nothing of it was
//!   sent. If there is no source port towards any, it waits for a connection that comes back.
//! * A request that met a kept connection just as the endpoint closed it (no byte of an answer came) goes once more to
//!   the same endpoint, on a *fresh* connection, if it may be repeated ([`Repeat`]) and what was sent of it has been
//!   kept, or if the kernel took no byte of it. That is never held against the endpoint. If the endpoint takes no
//!   connection any more, the request goes to another one. A kept connection whose endpoint acknowledges nothing counts
//!   as closed.
//! * Nothing else.

use std::{future::Future, pin::Pin, sync::Arc};

use super::{
    answer::{Answer, Failed, SendError, Timing},
    body::{KeepAlive, ResponseBody},
    cluster::Cluster,
    connection::Connection,
    endpoint::{Endpoint, InFlight},
    exchange::{ExchangeError, Haste, Sending, exchange},
    find::{Attempt, ToOpen, ask, attempt, find_connection, open, wanted},
    http2,
    outgoing::{Encode, Fits, Local, Outgoing, Repeat},
    patience::Patience,
    request_body::RequestBody,
    stale::StaleOutcome,
    tunnel::Opens,
    upload::Upload,
};
use crate::{
    config::{Close, Protocol},
    http1::ResponseHead,
    pool::{Checkout, CloseReason, OpenReason, Permit, Pooled, Reused, Wanted},
};

/// Sends a request to one endpoint of the cluster and gives the head of its answer.
///
/// What a request needs nearly always, a kept connection, is looked for before there is a future, and what is rarely
/// needed is boxed: every level of a future holds its own copy of what it is given, and a future of 5 KiB cost 0.5 µs per
/// request in copying alone.
///
/// Cancellation: the connection that the request was on is closed, and a place in a queue is given up.
pub fn send<'a, E: Encode + 'a>(
    cluster: &'a Cluster,
    local: Local<'a>,
    outgoing: Outgoing<E>,
) -> impl Future<Output = Result<Answer, Failed>> + 'a {
    let begun = begin(cluster, local, outgoing);
    async move {
        match begun {
            Begun::Sending(request, pooled) => request.answer(pooled, Timing::default()).await,
            Begun::Longer(future) => future.await,
        }
    }
}

type Sent<'a> = Pin<Box<dyn Future<Output = Result<Answer, Failed>> + 'a>>;

enum Begun<'a> {
    /// On a kept connection of HTTP/1.1.
    Sending(Request<'a>, Pooled<Connection>),
    Longer(Sent<'a>),
}

fn begin<'a, E: Encode + 'a>(cluster: &'a Cluster, local: Local<'a>, mut outgoing: Outgoing<E>) -> Begun<'a> {
    // An endpoint that lets us choose gets an upgrade over HTTP/1.1.
    if cluster.protocol != Protocol::Http1 && outgoing.opens == Opens::Nothing {
        return Begun::Longer(Box::pin(http2::send(cluster, local, outgoing)));
    }
    if let Some(identity) = outgoing.identity.take() {
        return Begun::Longer(Box::pin(async move {
            let wanted = wanted(cluster, outgoing.repeat, Some(&identity));
            let first = attempt(cluster, local, wanted, &[]);
            send_http1(cluster, local, wanted, first, outgoing).await
        }));
    }
    let wanted = wanted(cluster, outgoing.repeat, None);
    match attempt(cluster, local, wanted, &[]) {
        Some((in_flight, Some(Checkout::Reused(pooled)))) => {
            let request = Request::new(cluster, local, wanted, in_flight, &pooled, outgoing);
            Begun::Sending(request, pooled)
        }
        first => Begun::Longer(Box::pin(send_http1(cluster, local, wanted, first, outgoing))),
    }
}

/// As [`send`], to an endpoint that has been picked and speaks HTTP/1.1.
pub(super) async fn send_http1_to<E: Encode>(
    in_flight: InFlight,
    cluster: &Cluster,
    local: Local<'_>,
    mut outgoing: Outgoing<E>,
) -> Result<Answer, Failed> {
    let identity = outgoing.identity.take();
    let wanted = wanted(cluster, outgoing.repeat, identity.as_ref());
    let first = Some(ask(in_flight, local, wanted));
    send_http1(cluster, local, wanted, first, outgoing).await
}

async fn send_http1<E: Encode>(
    cluster: &Cluster,
    local: Local<'_>,
    wanted: Wanted<'_>,
    first: Attempt,
    outgoing: Outgoing<E>,
) -> Result<Answer, Failed> {
    let mut timing = Timing::default();
    match find_connection(cluster, local, wanted, first, Vec::new(), &mut timing).await {
        Ok((in_flight, pooled)) => {
            let request = Request::new(cluster, local, wanted, in_flight, &pooled, outgoing);
            request.answer(pooled, timing).await
        }
        Err((error, endpoint)) => Err(Failed {
            error,
            endpoint,
            timing,
        }),
    }
}

/// Why the connection is to end with this request; `None`: it is not.
fn last_use(cluster: &Cluster, pooled: &Pooled<Connection>, local: Local<'_>) -> Option<CloseReason> {
    match cluster.pool.close {
        // Whoever wants a plain FIN of ours gets it: the endpoint is not asked to close first.
        Close::Fin => None,
        _ if cluster.pool.max_idle == 0 => Some(CloseReason::PoolingOff),
        Close::AskEndpoint => pooled.last_use(local.worker, local.timers.now()),
        Close::FinNoTimeWait | Close::Rst => None,
    }
}

/// A request at its endpoint.
struct Request<'a> {
    cluster: &'a Cluster,
    local: Local<'a>,
    /// Changes when the request goes to another endpoint.
    in_flight: InFlight,
    wanted: Wanted<'a>,
    fits: Fits,
    repeat: Repeat,
    /// Stale connections that the request has met.
    replaced: usize,
    sending: Box<Sending>,
}

impl Sending {
    fn new<E: Encode>(
        cluster: &Cluster,
        local: Local<'_>,
        endpoint: &Endpoint,
        outgoing: Outgoing<E>,
        last_use: Option<CloseReason>,
    ) -> Box<Self> {
        let keep_alive = if last_use.is_none() {
            KeepAlive::Yes
        } else {
            KeepAlive::No
        };
        let (head, recycled) = outgoing.encode.http1(endpoint, keep_alive);
        let replay = match outgoing.repeat {
            Repeat::Allowed => cluster.retry.max_replay_body,
            Repeat::Forbidden => 0,
        };
        Box::new(Self {
            upload: Upload::new(
                head,
                RequestBody::new(outgoing.body, outgoing.framing, outgoing.expectation, replay)
                    .without(outgoing.reserved),
            ),
            method: outgoing.method,
            opens: outgoing.opens,
            interim: outgoing.interim,
            recycled,
            last_use,
            timer: local.timers.timer(),
            patience: Patience::new(
                cluster.timeouts,
                outgoing.client_stall,
                outgoing.time_limit,
                local.timers,
            ),
        })
    }
}

impl<'a> Request<'a> {
    fn new<E: Encode>(
        cluster: &'a Cluster,
        local: Local<'a>,
        wanted: Wanted<'a>,
        in_flight: InFlight,
        pooled: &Pooled<Connection>,
        outgoing: Outgoing<E>,
    ) -> Self {
        let (fits, repeat) = (outgoing.fits, outgoing.repeat);
        let last_use = last_use(cluster, pooled, local);
        let sending = Sending::new(cluster, local, in_flight.endpoint(), outgoing, last_use);
        Self {
            cluster,
            local,
            in_flight,
            wanted,
            fits,
            repeat,
            replaced: 0,
            sending,
        }
    }

    #[allow(clippy::manual_async_fn, reason = "an async fn would hold its arguments twice")]
    fn answer(
        mut self,
        mut pooled: Pooled<Connection>,
        mut timing: Timing,
    ) -> impl Future<Output = Result<Answer, Failed>> + 'a {
        async move {
            let head = loop {
                timing.reused = pooled.reused();
                let haste = self.haste(pooled.reused());
                match exchange(&mut pooled, &mut self.sending, haste).await {
                    Ok(head) => break head,
                    Err(error) => match Box::pin(self.after(error, pooled, &mut timing)).await {
                        Ok(another) => pooled = another,
                        Err(error) => {
                            return Err(Failed {
                                error,
                                endpoint: Some(Arc::clone(self.in_flight.endpoint())),
                                timing,
                            });
                        }
                    },
                }
            };
            Ok(self.answered(head, pooled, timing))
        }
    }

    fn answered(self, head: ResponseHead, pooled: Pooled<Connection>, timing: Timing) -> Answer {
        if let Some(timeout) = head.keep_alive_timeout {
            pooled.note_stated_timeout(timeout);
        }
        let body = if self.sending.opens(&head) {
            ResponseBody::tunnel(pooled)
        } else {
            let keep_alive = if head.keep_alive { KeepAlive::Yes } else { KeepAlive::No };
            ResponseBody::new(pooled, head.framing, keep_alive, self.sending, self.local.worker)
        };
        Answer {
            status: head.status,
            headers: head.headers,
            version: head.version.into(),
            upgrade: head.upgrade,
            body,
            in_flight: self.in_flight,
            timing,
        }
    }

    /// Another connection for the request after an exchange that came to nothing, if it may be sent again.
    async fn after(
        &mut self,
        error: ExchangeError,
        pooled: Pooled<Connection>,
        timing: &mut Timing,
    ) -> Result<Pooled<Connection>, SendError> {
        let lost = match error {
            ExchangeError::Closed | ExchangeError::Tls(_) if pooled.reused() == Reused::Yes => CloseReason::Stale,
            ExchangeError::Silent if self.repeat == Repeat::Allowed => {
                if pooled.reservation().is_present() {
                    self.in_flight.endpoint().connector.note_silence();
                }
                CloseReason::EndpointSilent
            }
            error => {
                if let ExchangeError::Tls(_) = &error {
                    self.in_flight.endpoint().connector.complain(&error);
                }
                pooled.close(close_reason(&error));
                return Err(error.into());
            }
        };
        self.replace(pooled, lost, timing).await
    }

    /// Whether an endpoint that acknowledges nothing is given up early: where the request can still go elsewhere.
    fn haste(&self, reused: Reused) -> Haste {
        match (reused, self.repeat) {
            (Reused::Yes, Repeat::Allowed) => Haste::Silence,
            _ => Haste::None,
        }
    }

    /// Another connection for a request that the one before has lost.
    async fn replace(
        &mut self,
        pooled: Pooled<Connection>,
        reason: CloseReason,
        timing: &mut Timing,
    ) -> Result<Pooled<Connection>, SendError> {
        let permit = self.stale(pooled, reason)?;
        let to_open = ToOpen {
            permit,
            reason: OpenReason::ReplacedStale,
            identity: self.wanted.identity,
        };
        let opened = open(self.cluster, self.local, self.in_flight.endpoint(), to_open, timing);
        match opened.await {
            Ok(pooled) => Ok(pooled),
            Err(error) => self.elsewhere(error, timing).await,
        }
    }

    /// A connection to another endpoint, for a request that may be sent again and whose endpoint has just gone.
    async fn elsewhere(&mut self, gone: SendError, timing: &mut Timing) -> Result<Pooled<Connection>, SendError> {
        if self.fits == Fits::One {
            return Err(gone);
        }
        let refused = vec![self.in_flight.endpoint().address];
        let next = attempt(self.cluster, self.local, self.wanted, &refused);
        match find_connection(self.cluster, self.local, self.wanted, next, refused, timing).await {
            Ok((in_flight, pooled)) => {
                self.in_flight = in_flight;
                Ok(pooled)
            }
            Err(_) => Err(gone),
        }
    }

    /// The right to open another connection in the place of a stale one, if the request may be sent again.
    fn stale(&mut self, pooled: Pooled<Connection>, reason: CloseReason) -> Result<Permit<Connection>, SendError> {
        self.replaced += 1;
        let outcome = self.outcome_of_stale();
        let endpoint = self.in_flight.endpoint();
        endpoint.counts.stale.add(&self.sending.method, outcome);
        tracing::debug!(
            endpoint = %endpoint.address,
            method = %self.sending.method,
            outcome = outcome.as_str(),
            "a request met a kept connection as it was closed"
        );
        if outcome == StaleOutcome::Replaced {
            return Ok(pooled.replace(reason));
        }
        pooled.close(reason);
        Err(match outcome {
            StaleOutcome::BodyTooLarge => SendError::StaleBody,
            _ => SendError::Stale,
        })
    }

    fn outcome_of_stale(&mut self) -> StaleOutcome {
        let upload = &mut self.sending.upload;
        if self.repeat == Repeat::Forbidden && !upload.is_untouched() {
            StaleOutcome::NotIdempotent
        } else if self.replaced > self.cluster.endpoints.len() {
            StaleOutcome::GaveUp
        } else if upload.rewind() {
            StaleOutcome::Replaced
        } else {
            StaleOutcome::BodyTooLarge
        }
    }
}

fn close_reason(error: &ExchangeError) -> CloseReason {
    match error {
        ExchangeError::Closed | ExchangeError::Truncated => CloseReason::AbortedResponse,
        ExchangeError::Tls(_)
        | ExchangeError::Malformed(_)
        | ExchangeError::TooManyInterim
        | ExchangeError::UnexpectedUpgrade
        | ExchangeError::Unprocessed
        | ExchangeError::Reset(_)
        | ExchangeError::Protocol
        | ExchangeError::NoAuthority => CloseReason::ProtocolError,
        ExchangeError::Silent => CloseReason::EndpointSilent,
        ExchangeError::WriteTimeout
        | ExchangeError::FirstByteTimeout
        | ExchangeError::RequestTimeout
        | ExchangeError::ClientStalled => CloseReason::Timeout,
        ExchangeError::ClientBody => CloseReason::ClientGone,
    }
}
