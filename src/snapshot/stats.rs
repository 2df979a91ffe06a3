//! Counters of the data path: each worker has its own, and they are added up when somebody looks.

use std::sync::Arc;

use crate::telemetry::{Counter, Histogram};

/// One `T` for each worker, each on cache lines of its own.
#[derive(Debug)]
pub struct Stats<T>(Box<[Padded<T>]>);

#[derive(Debug, Default)]
#[repr(align(128))]
struct Padded<T>(T);

impl<T: Default> Stats<T> {
    pub fn new(workers: usize) -> Arc<Self> {
        Arc::new(Self((0..workers).map(|_| Padded::default()).collect()))
    }

    /// Invariant: only `worker` itself writes there.
    pub fn of(&self, worker: usize) -> &T {
        &self.0[worker].0
    }

    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.0.iter().map(|padded| &padded.0)
    }
}

/// The requests of one cluster on one worker.
#[derive(Debug, Default)]
pub struct ClusterStats {
    /// By the hundreds of the status that the client got: index 2 is 2xx.
    pub responses: [Counter; 6],
    /// From the request's head to the end of its answer.
    pub duration: Histogram,
    /// Calls of gRPC by their status.
    pub grpc: [Counter; GRPC_CODES.len()],
}

/// What one worker did, whatever the cluster.
#[derive(Debug)]
pub struct ProxyStats {
    /// Answers by the hundreds of their status, those of the proxy itself included.
    pub responses: [Counter; 6],
    /// By `proxy::Reason`.
    pub failures: [Counter; REASONS],
    pub tunnels_opened: Counter,
    /// By `tunnel::End`.
    pub tunnels_ended: [Counter; TUNNEL_ENDS],
}

impl Default for ProxyStats {
    fn default() -> Self {
        Self {
            responses: Default::default(),
            failures: std::array::from_fn(|_| Counter::default()),
            tunnels_opened: Counter::default(),
            tunnels_ended: Default::default(),
        }
    }
}

/// The status codes of gRPC by their number.
pub const GRPC_CODES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

/// Room for every `proxy::Reason`, which lives on a higher floor; a test there holds this to it.
pub const REASONS: usize = 39;

/// As [`REASONS`], for every `tunnel::End`.
pub const TUNNEL_ENDS: usize = 6;
