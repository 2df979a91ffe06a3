//! One thread of the load: a runtime of its own, and its share of the clients.

use std::{
    io, mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::{
    runtime::{Builder, Runtime},
    sync::Semaphore,
    task::JoinSet,
};

use super::{
    Load,
    alarm::Alarm,
    client,
    connect::Connector,
    progress::{Meter, Open, Stop},
    record::{Failure, Record},
    request::Request,
    schedule::Schedule,
    start::Start,
    stream::Stream,
    wire::Wire,
};

/// Clients of a thread that connect at once before the load begins: fewer than the shortest usual backlog (128), so
/// that no connection has to wait for its SYN to be sent again.
const CONNECTING: usize = 64;

/// What the clients of one thread have in common.
pub(super) struct Shared {
    pub load: Load,
    pub request: Request,
    pub connector: Connector,
    pub connecting: Semaphore,
    pub start: Arc<Start>,
    /// `None`: the closed pace.
    pub schedule: Option<Schedule>,
    pub meter: Meter,
    /// Never contended, since one thread runs all who use it.
    record: Mutex<Record>,
}

impl Shared {
    pub fn new(
        load: Load,
        request: Request,
        connector: Connector,
        start: Arc<Start>,
        schedule: Option<Schedule>,
        meter: Meter,
    ) -> Self {
        Self {
            request,
            connector,
            connecting: Semaphore::new(CONNECTING),
            start,
            schedule,
            meter,
            record: Mutex::new(Record::new(&load)),
            load,
        }
    }

    /// See [`Connector::connect`].
    pub async fn connect(&self) -> Result<Stream, Failure> {
        self.connector.connect(&self.load).await
    }

    /// Counts a connection.
    pub fn opened(&self) -> Open {
        self.record().connections += 1;
        self.meter.opened()
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

/// Runs the clients of so many connections until they end, or until `stop`.
pub(super) fn run(runtime: &Runtime, shared: &Arc<Shared>, connections: usize, stop: &Stop) -> Record {
    runtime.block_on(async {
        let mut clients = JoinSet::new();
        for _ in 0..connections {
            for wire in Wire::of_connection(shared.load.protocol, shared.load.clients) {
                clients.spawn(client::run(Arc::clone(shared), wire));
            }
        }
        let run = async {
            if let Some(schedule) = &shared.schedule {
                schedule.run(shared.start.at().await, &Alarm::new()).await;
            }
            while clients.join_next().await.is_some() {}
        };
        tokio::select! {
            biased;
            () = stop.stopped() => {}
            () = run => {}
        }
        clients.shutdown().await;
    });
    let mut record = mem::replace(&mut *shared.record(), Record::new(&shared.load));
    record.unsent = shared.schedule.as_ref().map_or(0, Schedule::unsent);
    record
}
