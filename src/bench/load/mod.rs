//! Makes load: clients that send requests to one address, and a record of what came back.

use std::{net::SocketAddr, num::NonZeroUsize, time::Duration};

use hdrhistogram::Histogram;

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
    /// A request that has no whole answer by then is given up, with its connection.
    pub timeout: Duration,
    pub duration: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encryption {
    Off,
    /// Whoever answers is believed: this measures, it does not protect.
    Tls,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    Http1,
    /// Requests at once on each connection. In the clear with prior knowledge.
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
    /// (coordinated omission).
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
}

/// Requests that were not answered, by reason.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Errors {
    /// No connection to the subject.
    pub connect: u64,
    /// No connection since no source port was left on the client's side: the load's own limit, not the subject's.
    pub no_port: u64,
    /// The connection ended, or what came was no answer.
    pub broken: u64,
    pub timeout: u64,
    /// 400 to 499.
    pub status_4xx: u64,
    /// 500 to 599: the proxy's way to say that it found no connection to an endpoint.
    pub status_5xx: u64,
}
