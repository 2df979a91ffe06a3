//! One thread of the load: a runtime of its own, and its share of the clients.

use std::{
    io, mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use http::Method;
use tokio::{
    runtime::{Builder, Runtime},
    sync::Semaphore,
    task::JoinSet,
};

use super::{
    Load, client,
    connect::Connector,
    progress::{Meter, Stop},
    record::{Failure, Record},
    request,
    start::Start,
};

/// Clients of a thread that connect at once before the load begins: fewer than the shortest usual backlog (128), so
/// that no connection has to wait for its SYN to be sent again.
const CONNECTING: usize = 64;

/// What the clients of one thread have in common.
#[derive(Debug)]
pub(super) struct Shared {
    pub load: Load,
    pub start: Arc<Start>,
    pub connector: Connector,
    pub request: Bytes,
    pub method: Method,
    pub connecting: Semaphore,
    pub meter: Meter,
    /// Never contended, since one thread runs all who use it.
    record: Mutex<Record>,
}

impl Shared {
    pub fn new(load: Load, start: Arc<Start>, meter: Meter) -> Self {
        Self {
            start,
            connector: Connector::new(),
            request: request::encode(&load),
            method: if load.request_body == 0 {
                Method::GET
            } else {
                Method::POST
            },
            connecting: Semaphore::new(CONNECTING),
            meter,
            record: Mutex::new(Record::new(&load)),
            load,
        }
    }

    pub fn record(&self) -> MutexGuard<'_, Record> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn fail(&self, failure: Failure) {
        self.record().fail(failure);
        self.meter.failed(failure);
    }
}

pub(super) fn runtime() -> io::Result<Runtime> {
    Builder::new_current_thread().enable_all().build()
}

/// Runs `clients` of them until they end, or until `stop`.
pub(super) fn run(runtime: &Runtime, shared: &Arc<Shared>, clients: usize, stop: &Stop) -> Record {
    runtime.block_on(async {
        let mut running = JoinSet::new();
        for _ in 0..clients {
            running.spawn(client::run(Arc::clone(shared)));
        }
        tokio::select! {
            biased;
            () = stop.stopped() => {}
            () = async { while running.join_next().await.is_some() {} } => {}
        }
        running.shutdown().await;
    });
    mem::replace(&mut *shared.record(), Record::new(&shared.load))
}
