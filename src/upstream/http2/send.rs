//! A request on its way through a cluster whose endpoints may speak HTTP/2.
//!
//! # What is sent twice?
//! * A request that the endpoint has not processed, as it says itself by GOAWAY (RFC 9113 6.8) or REFUSED_STREAM (8.7),
//!   whatever its method, if what was sent of its body has been kept. It goes to another connection, and after a refusal
//!   to another endpoint where there is one.
//! * A request on a connection that broke before any answer, if it may be repeated.
//! * Nothing else.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use h2::RecvStream;
use http::{Response, StatusCode, Version, header};
use tokio::time::Instant;

use super::{
    Connections, Found, Means, StreamPermit,
    body::Http2Body,
    exchange::{Sending, exchange},
    upload::Upload,
};
use crate::{
    pool::{CloseReason, Reused},
    upstream::{
        answer::{Answer, Failed, SendError, Timing},
        body::ResponseBody,
        cluster::Cluster,
        endpoint::InFlight,
        exchange::ExchangeError,
        find::pick,
        outgoing::{Encode, Local, Outgoing, Repeat},
        patience::Patience,
        request_body::RequestBody,
        send::send_http1_to,
        stale::StaleOutcome,
    },
};

/// Streams that one request may begin.
const MAX_TRIES: usize = 4;

/// Sends a request to one endpoint of the cluster and gives the head of its answer.
///
/// Cancellation: the stream is reset, and a place in a queue is given up.
pub(in crate::upstream) async fn send<E: Encode>(
    cluster: &Cluster,
    local: Local<'_>,
    outgoing: Outgoing<E>,
) -> Result<Answer, Failed> {
    let mut way = Way {
        cluster,
        local,
        refused: Vec::new(),
        connects: 0,
        tries: 0,
        timing: Timing::default(),
        last: None,
    };
    // Kept for HTTP/1, should the endpoint have chosen that.
    let mut outgoing = outgoing;
    let mut sending: Option<Box<Sending>> = None;
    loop {
        let (in_flight, found) = match way.next(&outgoing).await {
            Ok(found) => found,
            Err(failed) => return Err(failed),
        };
        let permit = match found {
            Found::Stream(permit) => permit,
            Found::Http1 => return send_http1_to(in_flight, cluster, local, outgoing).await,
        };
        let state = sending.get_or_insert_with(|| begin(cluster, local, &mut outgoing));
        let endpoint = Arc::clone(in_flight.endpoint());
        let Some(request) = outgoing.encode.http2(&endpoint) else {
            return Err(way.failed(ExchangeError::NoAuthority.into(), &in_flight));
        };
        way.timing.reused = permit.reused;
        match exchange(&permit, request, state).await {
            Ok((response, upload)) => {
                let sending = sending.expect("it has just been used");
                return Ok(answer(response, upload, sending, permit, in_flight, way.timing));
            }
            Err(error) => {
                let again = way.goes_again(error, &permit, &outgoing, state, &in_flight);
                if let Again::No(error) = again {
                    return Err(way.failed(error, &in_flight));
                }
            }
        }
    }
}

fn begin<E>(cluster: &Cluster, local: Local<'_>, outgoing: &mut Outgoing<E>) -> Box<Sending> {
    let body = RequestBody::new(
        outgoing.body.take(),
        outgoing.framing,
        outgoing.expectation,
        cluster.retry.max_replay_body,
    )
    .without(outgoing.reserved.clone());
    Box::new(Sending {
        interim: outgoing.interim.clone(),
        method: outgoing.method.clone(),
        body,
        timer: local.timers.timer(),
        patience: Patience::new(
            cluster.timeouts,
            outgoing.client_stall,
            outgoing.time_limit,
            local.timers,
        ),
    })
}

/// How far a request has come.
struct Way<'a> {
    cluster: &'a Cluster,
    local: Local<'a>,
    /// Endpoints that had their chance.
    refused: Vec<SocketAddr>,
    /// Of those, the ones that could not be connected to.
    connects: usize,
    tries: usize,
    timing: Timing,
    /// Where the request goes once more.
    last: Option<InFlight>,
}

enum Again {
    Yes,
    No(SendError),
}

impl Way<'_> {
    /// A picked endpoint and a stream to it; other endpoints are tried while none can be had.
    async fn next<E>(&mut self, outgoing: &Outgoing<E>) -> Result<(InFlight, Found), Failed> {
        let mut failure = (SendError::none_of(self.cluster), None);
        loop {
            let picked = self.last.take();
            let Some(in_flight) = picked.or_else(|| pick(self.cluster, self.local, &self.refused)) else {
                let (error, endpoint) = failure;
                return Err(Failed {
                    error,
                    endpoint,
                    timing: self.timing,
                });
            };
            let Some(connections) = in_flight.endpoint().http2.clone() else {
                return Ok((in_flight, Found::Http1));
            };
            let error = match self.stream(&connections, outgoing).await {
                Ok(found) => return Ok((in_flight, found)),
                Err(error) => error,
            };
            self.refused.push(in_flight.endpoint().address);
            let again =
                matches!(error, SendError::Connect(_)) && self.connects < self.cluster.retry.connect_attempts as usize;
            self.connects += 1;
            let endpoint = Arc::clone(in_flight.endpoint());
            if !again {
                return Err(Failed {
                    error,
                    endpoint: Some(endpoint),
                    timing: self.timing,
                });
            }
            failure = (error, Some(endpoint));
        }
    }

    async fn stream<E>(&mut self, connections: &Arc<Connections>, outgoing: &Outgoing<E>) -> Result<Found, SendError> {
        let means = Means {
            worker: self.local.worker,
            timers: self.local.timers,
            connect: self.cluster.timeouts.connect,
        };
        let start = Instant::now();
        let found = connections.checkout(outgoing.identity.as_ref(), means).await;
        let waited = start.elapsed();
        if let Ok(Found::Stream(StreamPermit { reused: Reused::No, .. })) = &found {
            self.timing.connect = Some(self.timing.connect.unwrap_or_default() + waited);
        } else if waited > Duration::ZERO {
            self.timing.wait += waited;
        }
        Ok(found?)
    }

    fn failed(&self, error: SendError, in_flight: &InFlight) -> Failed {
        Failed {
            error,
            endpoint: Some(Arc::clone(in_flight.endpoint())),
            timing: self.timing,
        }
    }

    /// Whether a request whose stream came to nothing may begin another one.
    fn goes_again<E>(
        &mut self,
        error: ExchangeError,
        permit: &StreamPermit,
        outgoing: &Outgoing<E>,
        sending: &mut Sending,
        in_flight: &InFlight,
    ) -> Again {
        let endpoint = in_flight.endpoint();
        let unprocessed = matches!(error, ExchangeError::Unprocessed);
        let broken = matches!(error, ExchangeError::Closed | ExchangeError::Silent);
        if matches!(error, ExchangeError::Silent) && permit.ends() == Some(CloseReason::EndpointSilent) {
            endpoint.connector.note_silence();
        }
        if !unprocessed && !broken {
            return Again::No(error.into());
        }
        if permit.is_over() {
            permit.retire();
        }
        self.tries += 1;
        if broken && permit.reused == Reused::No {
            return Again::No(error.into());
        }
        let outcome = if broken && outgoing.repeat == Repeat::Forbidden {
            StaleOutcome::NotIdempotent
        } else if self.tries >= MAX_TRIES {
            StaleOutcome::GaveUp
        } else if sending.body.rewind() {
            StaleOutcome::Replaced
        } else {
            StaleOutcome::BodyTooLarge
        };
        endpoint.counts.stale.add(&outgoing.method, outcome);
        match outcome {
            StaleOutcome::Replaced => {
                self.turn_from(in_flight, unprocessed);
                Again::Yes
            }
            StaleOutcome::BodyTooLarge => Again::No(SendError::StaleBody),
            _ if unprocessed => Again::No(error.into()),
            _ => Again::No(SendError::Stale),
        }
    }

    /// Where to next: after a refusal to another endpoint, if there is one; else to the same.
    fn turn_from(&mut self, in_flight: &InFlight, refused: bool) {
        if refused && !self.refused.contains(&in_flight.endpoint().address) {
            self.refused.push(in_flight.endpoint().address);
        }
        self.last = pick(self.cluster, self.local, &self.refused);
        if self.last.is_none() {
            self.refused.clear();
            self.last = Some(in_flight.endpoint().begin());
        }
    }
}

fn answer(
    response: Response<RecvStream>,
    upload: Upload,
    sending: Box<Sending>,
    permit: StreamPermit,
    in_flight: InFlight,
    timing: Timing,
) -> Answer {
    let (parts, stream) = response.into_parts();
    let bodiless = sending.method == http::Method::HEAD
        || matches!(parts.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    let length = parts.headers.get(header::CONTENT_LENGTH);
    let length = length.and_then(|length| length.to_str().ok()?.parse().ok());
    let body = if bodiless {
        // What would come is none of the answer (RFC 9110 6.4.1), unless it is nothing.
        if upload.is_done() {
            permit.let_end(stream);
        }
        ResponseBody::empty()
    } else {
        ResponseBody::http2(Http2Body::new(stream, length, upload, sending, permit))
    };
    Answer {
        status: parts.status,
        headers: parts.headers,
        version: Version::HTTP_2,
        upgrade: None,
        body,
        in_flight,
        timing,
    }
}
