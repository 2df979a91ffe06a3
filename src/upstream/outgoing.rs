//! A request that is to be sent, before it is known where to.

use std::{sync::Arc, time::Duration};

use http::{HeaderMap, Method};

use super::{
    body::KeepAlive,
    endpoint::Endpoint,
    request_body::{Expectation, RequestFraming},
    tunnel::Opens,
};
use crate::{
    balance::PickState,
    config::ReservedFields,
    downstream::{Incoming, Interim},
    pool::Identity,
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
pub struct Outgoing<E> {
    pub method: Method,
    /// See [`super::Cluster::identity`].
    pub identity: Option<Identity>,
    pub opens: Opens,
    pub encode: E,
    pub fits: Fits,
    pub repeat: Repeat,
    pub framing: RequestFraming,
    /// `None` is a request without one.
    pub body: Option<Incoming>,
    pub expectation: Expectation,
    /// Fields that the client's trailers may not have.
    pub reserved: Option<Arc<ReservedFields>>,
    /// Who is told of interim answers.
    pub interim: Option<Interim>,
    /// Longest time without a byte of the client's body.
    pub client_stall: Duration,
    /// What the client allows for the whole; `None`: as long as the cluster does.
    pub time_limit: Option<Duration>,
}

/// Writes the head of a request for whichever endpoint is picked.
pub trait Encode {
    /// The whole head, framing fields included, which tells the endpoint to close where the connection is not to live
    /// on; also an empty map whose memory is used for the fields of the answer.
    fn http1(self, endpoint: &Endpoint, keep_alive: KeepAlive) -> (Vec<u8>, HeaderMap);

    /// The pseudo-fields and fields of RFC 9113 8.3.1; `None` if the request names no host that they could carry.
    fn http2(&mut self, endpoint: &Endpoint) -> Option<http::Request<()>>;
}

/// Which endpoints the same head serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fits {
    Any,
    /// It names its endpoint in Host.
    One,
}

/// Whether the request may reach an endpoint twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repeat {
    /// It is idempotent (RFC 9110 9.2.2), or its client says so.
    Allowed,
    Forbidden,
}
